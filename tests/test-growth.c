/* SPDX-License-Identifier: MIT */
/*
 * test-growth.c - programs that were compiled with another header than the
 * library: structs one member shorter, structs with a longer end that is zero or
 * not; names and versions; backends by a list.
 */
#include "test.h"

#include <limits.h>

/* Room behind each struct, as a later header may have it. */
#define LATER 24

struct later_options {
	struct ww_options o;
	char more[LATER];
};

struct later_info {
	struct ww_backend_info i;
	char more[LATER];
};

struct later_range {
	struct ww_range_info i;
	char more[LATER];
};

static int open_with(const void *options)
{
	struct ww *ww = NULL;
	int r = ww_open(&ww, options);

	if (r == 0)
		ww_close(ww);
	else
		assert_null(ww);
	return r;
}

static void a_shorter_struct_in(void **state)
{
	struct later_options later;

	/* what is behind its end is not read */
	memset(&later, 0xff, sizeof(later));
	later.o = (struct ww_options)WW_OPTIONS_INIT;
	later.o.size = offsetof(struct ww_options, log_data);
	memset(&later.o.log_data, 0xff, sizeof(later.o.log_data));
	assert_int_equal(open_with(&later), 0);
	later.o.size = sizeof(size_t) - 1;
	assert_int_equal(open_with(&later), -EINVAL);
	later.o.size = 0;
	assert_int_equal(open_with(&later), -EINVAL);
}

static void a_longer_struct_in(void **state)
{
	struct later_options later;
	int i;

	memset(&later, 0, sizeof(later));
	later.o.size = sizeof(later);
	assert_int_equal(open_with(&later), 0);
	for (i = 0; i < LATER; i++) {
		later.more[i] = 1;
		assert_int_equal(open_with(&later), -EINVAL);
		later.more[i] = 0;
	}
	assert_int_equal(open_with(&later), 0);
}

static bool is_untouched(const char *p, size_t n)
{
	while (n--)
		if (*p++ != 0x5a)
			return false;
	return true;
}

static void structs_out(void **state)
{
	struct ww *ww = test_open();
	struct later_info info;
	struct later_range range;
	char *m = test_map(4);

	assert_int_equal(ww_watch(ww, m, 4 * PAGE, 0), 0);
	memset(&info, 0x5a, sizeof(info));
	info.i.size = sizeof(info);
	assert_int_equal(ww_info(ww, &info.i), 0);
	assert_int_equal(info.i.size, sizeof(info));
	assert_string_equal(info.i.name, getenv("WRITEWATCH_BACKEND"));
	assert_true(is_untouched(info.more, LATER));
	memset(&info, 0x5a, sizeof(info));
	info.i.size = offsetof(struct ww_backend_info, reason);
	assert_int_equal(ww_info(ww, &info.i), 0);
	assert_string_equal(info.i.name, getenv("WRITEWATCH_BACKEND"));
	assert_int_equal(info.i.status, 0);
	assert_true(is_untouched((char *)&info.i.reason, sizeof(info.i.reason)));
	memset(&range, 0x5a, sizeof(range));
	range.i.size = sizeof(range);
	assert_int_equal(ww_next_range(ww, NULL, &range.i), 0);
	assert_ptr_equal(range.i.range.start, m);
	assert_int_equal(range.i.range.len, 4 * PAGE);
	assert_true(is_untouched(range.more, LATER));
	memset(&range, 0x5a, sizeof(range));
	range.i.size = offsetof(struct ww_range_info, lost);
	assert_int_equal(ww_next_range(ww, NULL, &range.i), 0);
	assert_ptr_equal(range.i.range.start, m);
	assert_true(is_untouched((char *)&range.i.lost, sizeof(range.i.lost)));
	ww_close(ww);
	test_unmap(m, 4);
}

static void names_and_version(void **state)
{
	char text[32];
	unsigned bit;

	snprintf(text, sizeof(text), "%d.%d.%d", WRITEWATCH_VERSION_MAJOR,
		 WRITEWATCH_VERSION_MINOR, WRITEWATCH_VERSION_PATCH);
	assert_string_equal(ww_version(), text);
	assert_string_equal(ww_version(), WRITEWATCH_TEST_VERSION);
	for (bit = 0; bit < 32; bit++)
		assert_int_equal(ww_cap_name(1u << bit) != NULL,
				 1u << bit <= WW_CAP_FOREIGN_WRITES);
	assert_string_equal(ww_cap_name(WW_CAP_EXACT), "exact");
	assert_null(ww_cap_name(0));
	assert_null(ww_cap_name(WW_CAP_EXACT | WW_CAP_SHARED));
}

static int open_list(const char *list)
{
	struct ww_options o = WW_OPTIONS_INIT;

	o.backend = list;
	return open_with(&o);
}

/* Exactly these, in this order. */
static void backends_by_a_list(void **state)
{
	const char *mine = getenv("WRITEWATCH_BACKEND");
	struct ww_backend_info info = { .size = sizeof(info) };
	struct ww_options o = WW_OPTIONS_INIT;
	struct ww *ww;
	char list[128];

	snprintf(list, sizeof(list), "%s,mprotect", mine);
	o.backend = list;
	assert_int_equal(ww_open(&ww, &o), 0);
	assert_int_equal(ww_info(ww, &info), 0);
	assert_string_equal(info.name, mine);
	ww_close(ww);
	snprintf(list, sizeof(list), "mprotect,%s", mine);
	assert_int_equal(ww_open(&ww, &o), 0);
	assert_int_equal(ww_info(ww, &info), 0);
	assert_string_equal(info.name, "mprotect");
	ww_close(ww);
	assert_int_equal(open_list("no-such-one"), -ENOENT);
	assert_int_equal(open_list(""), -ENOENT);
	/* one that is not usable is passed over, one that is unmet too */
	o.backend = "mprotect";
	o.require = WW_CAP_KERNEL_WRITES;
	assert_int_equal(ww_open(&ww, &o), -EOPNOTSUPP);
}

TEST_MAIN("growth", CASE(a_shorter_struct_in), CASE(a_longer_struct_in),
	  CASE(structs_out), CASE(names_and_version), CASE(backends_by_a_list))
