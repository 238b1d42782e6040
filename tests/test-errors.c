/* SPDX-License-Identifier: MIT */
/* test-errors.c - every wrong argument gets its code and changes nothing. */
#include "test.h"

#include <sys/syscall.h>

#define N 8

static struct test_fixture f;

/* Watched, pages 1 and 3 dirty. */
static void begin(void)
{
	f = test_begin(N, 0);
	test_write(f.m, 1, 3, -1);
}

static void end(void)
{
	EXPECT_DIRTY(f, PAGES(1, 3)); /* nothing changed */
	test_end(f);
}

/* The same bad range, to every call that takes one. */
static void expect_range(void *start, size_t len, int code)
{
	void *pages[4] = { &pages, NULL, NULL, NULL };
	struct ww_range runs[4];
	size_t n = 4, granularity = 77;

	assert_int_equal(ww_get(f.ww, start, len, 0, pages, &n, &granularity),
			 code);
	assert_int_equal(
		ww_get(f.ww, start, len, WW_RESET, pages, &n, &granularity),
		code);
	assert_int_equal(ww_get_ranges(f.ww, start, len, WW_RESET, runs, &n),
			 code);
	assert_int_equal(n, 4);
	assert_int_equal(granularity, 77);
	assert_int_equal(ww_reset(f.ww, start, len, 0), code);
	assert_int_equal(ww_unwatch(f.ww, start, len, 0), code);
	assert_int_equal(ww_protect(f.ww, start, len, PROT_NONE, 0), code);
	assert_int_equal(ww_discard(f.ww, start, len, 0), code);
}

static void bad_ranges_are_einval(void **state)
{
	begin();
	expect_range(f.m + 1, PAGE, -EINVAL);
	expect_range(f.m, PAGE - 1, -EINVAL);
	expect_range(f.m, 0, -EINVAL);
	expect_range(f.m, -PAGE, -EINVAL);
	expect_range((void *)-PAGE, 2 * PAGE, -EINVAL);
	assert_int_equal(ww_watch(f.ww, f.m + 1, PAGE, 0), -EINVAL);
	assert_int_equal(ww_watch(f.ww, f.m, 5, 0), -EINVAL);
	assert_int_equal(ww_watch(f.ww, f.m, 0, 0), -EINVAL);
	assert_int_equal(ww_watch(f.ww, f.m, -PAGE, 0), -EINVAL);
	assert_int_equal(ww_mark(f.ww, f.m, SIZE_MAX, 0), -EINVAL);
	end();
}

static void memory_not_wholly_watched_is_enoent(void **state)
{
	begin();
	expect_range(f.m - PAGE, PAGE, -ENOENT);
	expect_range(f.m - PAGE, 2 * PAGE, -ENOENT);
	expect_range(f.m + (N - 1) * PAGE, 2 * PAGE, -ENOENT);
	expect_range(f.m, (N + 1) * PAGE, -ENOENT);
	assert_int_equal(
		test_range_info(f.ww, f.m + N * PAGE, NULL, NULL, NULL),
		-ENOENT);
	end();
}

/* More pieces than are looked at in one go. Nothing before the hole is reset. */
static void a_hole_behind_many_pieces_is_enoent(void **state)
{
	enum { PIECES = 200 };
	char *m = test_map(PIECES + 1);
	struct ww *ww = test_open();
	struct ww_range runs[4];
	size_t i, n = 4;

	for (i = 0; i < PIECES; i++)
		assert_int_equal(ww_watch(ww, m + i * PAGE, PAGE, 0), 0);
	test_write(m, 1, 150, -1);
	assert_int_equal(ww_get_ranges(ww, m, (PIECES + 1) * PAGE, WW_RESET,
				       runs, &n),
			 -ENOENT);
	assert_int_equal(ww_reset(ww, m, (PIECES + 1) * PAGE, 0), -ENOENT);
	test_expect(ww, m, PIECES, WW_RESET, 1, 150, -1);
	ww_close(ww);
	test_unmap(m, PIECES + 1);
}

static void bad_arguments_are_einval(void **state)
{
	struct ww_backend_info info = { .size = sizeof(size_t) };
	struct ww_range_info range = { .size = sizeof(range) };
	void *pages[4];
	struct ww_range runs[4];
	size_t n = 4, zero = 0;
	struct ww *none;

	begin();
	assert_int_equal(ww_get(f.ww, f.m, PAGE, 4, pages, &n, NULL), -EINVAL);
	assert_int_equal(ww_get(f.ww, f.m, PAGE, ~0u, pages, &n, NULL),
			 -EINVAL);
	assert_int_equal(ww_get(f.ww, f.m, PAGE, 0, NULL, &n, NULL), -EINVAL);
	assert_int_equal(ww_get(f.ww, f.m, PAGE, 0, pages, NULL, NULL),
			 -EINVAL);
	assert_int_equal(ww_get(f.ww, f.m, PAGE, 0, pages, &zero, NULL),
			 -EINVAL);
	assert_int_equal(ww_get(NULL, f.m, PAGE, 0, pages, &n, NULL), -EINVAL);
	assert_int_equal(ww_get(f.ww, NULL, 0, 0, pages, &n, NULL), -EINVAL);
	assert_int_equal(ww_get_ranges(f.ww, f.m, PAGE, 4, runs, &n), -EINVAL);
	assert_int_equal(ww_get_ranges(f.ww, f.m, PAGE, 0, NULL, &n), -EINVAL);
	assert_int_equal(ww_get_ranges(f.ww, f.m, PAGE, 0, runs, NULL),
			 -EINVAL);
	assert_int_equal(ww_get_ranges(f.ww, f.m, PAGE, 0, runs, &zero),
			 -EINVAL);
	assert_int_equal(ww_get_ranges(NULL, NULL, 0, WW_WINDOW, runs, &n),
			 -EINVAL);
	assert_int_equal(ww_watch(f.ww, f.m, PAGE, 1u << 3), -EINVAL);
	assert_int_equal(ww_watch(NULL, f.m, PAGE, 0), -EINVAL);
	assert_int_equal(ww_unwatch(NULL, f.m, PAGE, 0), -EINVAL);
	assert_int_equal(ww_reset(NULL, f.m, PAGE, 0), -EINVAL);
	assert_int_equal(ww_mark(NULL, f.m, PAGE, 0), -EINVAL);
	assert_int_equal(ww_discard(NULL, f.m, PAGE, 0), -EINVAL);
	assert_int_equal(ww_protect(NULL, f.m, PAGE, RW, 0), -EINVAL);
	assert_int_equal(ww_protect(f.ww, f.m, PAGE, 0x100, 0), -EINVAL);
	assert_int_equal(ww_next_range(NULL, f.m, &range), -EINVAL);
	assert_int_equal(ww_next_range(f.ww, f.m, NULL), -EINVAL);
	range.size = sizeof(size_t);
	assert_int_equal(ww_next_range(f.ww, f.m, &range), -EINVAL);
	assert_int_equal(ww_info(f.ww, &info), -EINVAL);
	assert_int_equal(ww_info(f.ww, NULL), -EINVAL);
	assert_int_equal(ww_info(NULL, &info), -EINVAL);
	assert_int_equal(ww_probe(0, &info), -EINVAL);
	assert_int_equal(ww_probe(0, NULL), -EINVAL);
	info.size = sizeof(info);
	assert_int_equal(ww_probe(1000, &info), -ENOENT);
	assert_int_equal(ww_open(NULL, NULL), -EINVAL);
	none = f.ww;
	{
		struct ww_options o = { .size = 4 };

		assert_int_equal(ww_open(&none, &o), -EINVAL);
		o.size = sizeof(o);
		o.flags = 1u << 30;
		assert_int_equal(ww_open(&none, &o), -EINVAL);
		o.flags = 0;
		o.require = 1u << 30;
		assert_int_equal(ww_open(&none, &o), -EINVAL);
	}
	assert_ptr_equal(none, f.ww);
	ww_close(NULL);
	end();
}

static void overlap_is_eexist(void **state)
{
	begin();
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), -EEXIST);
	assert_int_equal(ww_watch(f.ww, f.m + PAGE, PAGE, 0), -EEXIST);
	assert_int_equal(ww_watch(f.ww, f.m - PAGE, 2 * PAGE, 0), -EEXIST);
	assert_int_equal(ww_watch(f.ww, f.m + (N - 1) * PAGE, 2 * PAGE, 0),
			 -EEXIST);
	end();
}

static void unmapped_memory_and_holes_are_efault(void **state)
{
	char *h = test_map(N);

	begin();
	memset(h, 1, N * PAGE);
	munmap(h + 3 * PAGE, PAGE);
	assert_int_equal(ww_watch(f.ww, h + 3 * PAGE, PAGE, 0), -EFAULT);
	assert_int_equal(ww_watch(f.ww, h, N * PAGE, 0), -EFAULT);
	assert_int_equal(ww_watch(f.ww, h + 3 * PAGE, 2 * PAGE, 0), -EFAULT);
	assert_int_equal(ww_watch(f.ww, h + 2 * PAGE, 2 * PAGE, 0), -EFAULT);
	/* and the rest of it can be watched */
	assert_int_equal(test_range_info(f.ww, h, NULL, NULL, NULL), -ENOENT);
	assert_int_equal(ww_watch(f.ww, h, 3 * PAGE, 0), 0);
	test_write(h, 2, -1);
	test_expect(f.ww, h, 3, 0, 2, -1);
	assert_int_equal(ww_unwatch(f.ww, h, 3 * PAGE, 0), 0);
	munmap(h - PAGE, (N + 2) * PAGE);
	end();
}

static void protecting_a_hole_is_efault(void **state)
{
	begin();
	munmap(f.m + 6 * PAGE, PAGE);
	assert_int_equal(ww_protect(f.ww, f.m + 6 * PAGE, PAGE, RW, 0),
			 -EFAULT);
	end();
}

static void memory_of_the_wrong_kind_is_eopnotsupp(void **state)
{
	char *s = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *huge = mmap(NULL, test_huge_page(), RW,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	begin();
	if (PROMISED(f.ww, WW_CAP_SHARED)) {
		assert_int_equal(ww_watch(f.ww, s, PAGE, 0), 0);
		s[0] = 1;
		assert_int_equal(ww_discard(f.ww, s, PAGE, 0), -EOPNOTSUPP);
		test_expect(f.ww, s, 1, 0, 0, -1);
		assert_int_equal(ww_unwatch(f.ww, s, PAGE, 0), 0);
	} else {
		int r = ww_watch(f.ww, s, PAGE, 0);

		assert_true(r == 0 || r == -EOPNOTSUPP);
	}
	if (huge != MAP_FAILED) {
		assert_int_equal(ww_watch(f.ww, huge, test_huge_page(), 0),
				 -EOPNOTSUPP);
		munmap(huge, test_huge_page());
	}
	munmap(s, PAGE);
	end();
}

static void locked_pages_are_not_discarded(void **state)
{
	begin();
	/* the call itself: sanitizers make mlock() do nothing */
	if (syscall(SYS_mlock, f.m + 5 * PAGE, PAGE) == 0) {
		test_count(f.ww, f.m, N, WW_RESET);
		test_write(f.m, 1, 3, 5, -1);
		assert_int_equal(ww_discard(f.ww, f.m + 5 * PAGE, PAGE, 0),
				 -EOPNOTSUPP);
		/* nor are those before them */
		assert_int_equal(ww_discard(f.ww, f.m, N * PAGE, 0),
				 -EOPNOTSUPP);
		assert_int_equal(f.m[1 * PAGE + 1], 2);
		EXPECT_DIRTY(f, PAGES(1, 3, 5));
		syscall(SYS_munlock, f.m + 5 * PAGE, PAGE);
		assert_int_equal(ww_discard(f.ww, f.m + 5 * PAGE, PAGE, 0), 0);
	}
	end();
}

/* The bits of different calls' flags are the same numbers. */
static void an_empty_range_is_einval_with_any_flag(void **state)
{
	unsigned flags;
	char *m = test_map(1);

	begin();
	for (flags = 0; flags < 8; flags++)
		assert_int_equal(ww_watch(f.ww, m, 0, flags), -EINVAL);
	munmap(m, PAGE);
	end();
}

/* Pages that are not mapped are no error. */
static void discarding_passes_over_a_hole(void **state)
{
	begin();
	test_count(f.ww, f.m, N, WW_RESET);
	test_write(f.m, 1, 3, N - 1, -1);
	munmap(f.m + 5 * PAGE, PAGE);
	assert_int_equal(ww_discard(f.ww, f.m, N * PAGE, 0), 0);
	EXPECT_DIRTY(f, NO_PAGES);
	assert_int_equal(f.m[PAGE + 1], 0);
	assert_int_equal(f.m[(N - 1) * PAGE + 1], 0);
	test_end(f);
}

TEST_MAIN("errors", CASE(bad_ranges_are_einval),
	  CASE(memory_not_wholly_watched_is_enoent),
	  CASE(a_hole_behind_many_pieces_is_enoent),
	  CASE(bad_arguments_are_einval), CASE(overlap_is_eexist),
	  CASE(unmapped_memory_and_holes_are_efault),
	  CASE(protecting_a_hole_is_efault),
	  CASE(memory_of_the_wrong_kind_is_eopnotsupp),
	  CASE(locked_pages_are_not_discarded),
	  CASE(an_empty_range_is_einval_with_any_flag),
	  CASE(discarding_passes_over_a_hole))
