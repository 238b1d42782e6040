/* SPDX-License-Identifier: MIT */
/* test-own.c - the library's own memory is not watched. */
#include "test.h"

#include <inttypes.h>

#define N 16

static struct test_fixture f;

static void the_library_s_own_memory_is_refused(void **state)
{
	FILE *file = fopen("/proc/self/maps", "r");
	char line[512], flags[8];
	int refused = 0;

	f = test_begin(N, 0);
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		uintptr_t start, stop;

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &start,
			   &stop, flags) != 3 ||
		    flags[1] != 'w' || !strstr(line, "libwritewatch.so"))
			continue;
		assert_int_equal(ww_watch(f.ww, (void *)start, stop - start, 0),
				 -EOPNOTSUPP);
		refused++;
	}
	fclose(file);
	assert_true(refused > 0);
	/* the tracker itself lies in the heap that it is made from */
	assert_int_equal(ww_watch(f.ww, (void *)((uintptr_t)f.ww & ~(PAGE - 1)),
				  PAGE, 0),
			 -EOPNOTSUPP);
	test_end(f);
}

#define MOST_MAPPINGS 4096

/* Where writable mappings begin. */
static size_t writable(uintptr_t *start, uintptr_t *end)
{
	FILE *file = fopen("/proc/self/maps", "r");
	char line[512], flags[8];
	size_t n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) && n < MOST_MAPPINGS)
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &start[n],
			   &end[n], flags) == 3 &&
		    flags[1] == 'w')
			n++;
	fclose(file);
	return n;
}

/* What is gone again was the C library's (musl's stdio), or the parent's. */
static void check_refused(uintptr_t at)
{
	int r = ww_watch(f.ww, (void *)at, PAGE, 0);
	unsigned char there;

	if (r != -EFAULT || mincore((void *)at, PAGE, &there) == 0)
		CHECK(r == -EOPNOTSUPP);
}

static struct {
	uintptr_t before[MOST_MAPPINGS], start[MOST_MAPPINGS],
		end[MOST_MAPPINGS];
	size_t nbefore, n;
} writables;

static void all_is_refused(void *arg)
{
	size_t i, k;

	for (i = 0; i < writables.n; i++) {
		uintptr_t at = writables.start[i];

		for (k = 0; k < writables.nbefore && writables.before[k] != at;
		     k++)
			;
		if (k < writables.nbefore || at == (uintptr_t)f.m)
			continue;
		for (; at < writables.end[i] &&
		       at < writables.start[i] + 64 * PAGE;
		     at += PAGE)
			if (at < (uintptr_t)f.m ||
			    at >= (uintptr_t)f.m + N * PAGE)
				check_refused(at);
	}
}

/* Also what it has mapped beside its heap: a helper thread's stack and its bell. And
 * in children, what they inherited of it. */
static void what_a_tracker_maps_is_refused(void **state)
{
	struct ww *second;

	writables.nbefore = writable(writables.before, writables.end);
	f = test_begin(N, 0);
	second = test_open();
	writables.n = writable(writables.start, writables.end);
	all_is_refused(NULL);
	assert_int_equal(test_child(all_is_refused, NULL), 0);
	assert_int_equal(test_bare_child(all_is_refused, NULL), 0);
	ww_close(second);
	test_end(f);
}

/* The first asks what is mapped before there is a tracker. */
TEST_MAIN("own", CASE(what_a_tracker_maps_is_refused),
	  CASE(the_library_s_own_memory_is_refused))
