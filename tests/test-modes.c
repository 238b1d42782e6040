/* SPDX-License-Identifier: MIT */
/*
 * test-modes.c - WW_WATCH_COARSE_OK, _HOT_OK and _HUGE: more may be told than was
 * written, never less, and only where the range says so.
 */
#include "test.h"

#include <fcntl.h>

#define BLOCK 16u  /* pages that WW_WATCH_COARSE_OK opens at once */
#define LONGER 16u /* passes that WW_WATCH_HOT_OK tells a page longer */

static unsigned range_caps(struct ww *ww, char *m)
{
	unsigned caps;

	assert_int_equal(test_range_info(ww, m, NULL, &caps, NULL), 0);
	return caps;
}

/* Is more told for this range than its tracker would? */
static bool is_used(struct ww *ww, char *m)
{
	if ((test_caps(ww) & ~range_caps(ww, m)) == WW_CAP_EXACT)
		return true;
	test_not_promised("the permission is used");
	return false;
}

static bool told(struct ww *ww, char *m, size_t npages, size_t page)
{
	void *pages[1024];
	size_t n = 1024, i;

	assert_int_equal(
		ww_get(ww, m, npages * PAGE, WW_RESET, pages, &n, NULL), 0);
	for (i = 0; i < n && pages[i] != m + page * PAGE; i++)
		;
	return i < n;
}

static void a_permission_that_is_not_used_changes_nothing(void **state)
{
	static const unsigned flags[] = { WW_WATCH_COARSE_OK, WW_WATCH_HOT_OK,
					  WW_WATCH_HUGE_OK };
	struct ww *ww = test_open();
	size_t f, i;

	for (f = 0; f < 3; f++) {
		char *m = test_map(64);

		assert_int_equal(ww_watch(ww, m, 64 * PAGE, flags[f]), 0);
		if (!is_used(ww, m) && PROMISED(ww, WW_CAP_EXACT))
			for (i = 0; i < 40; i++) {
				test_write(m, 5, 40, -1);
				test_expect(ww, m, 64, WW_RESET, 5, 40, -1);
				test_expect(ww, m, 64, 0, -1);
			}
		assert_int_equal(ww_unwatch(ww, m, 64 * PAGE, 0), 0);
		test_unmap(m, 64);
	}
	ww_close(ww);
}

/* --- WW_WATCH_COARSE_OK --- */

static void coarse_tells_the_block_and_no_more(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(64);
	void *pages[64];
	size_t n = 64, i;

	memset(m, 1, 64 * PAGE);
	assert_int_equal(ww_watch(ww, m, 64 * PAGE, WW_WATCH_COARSE_OK), 0);
	if (!is_used(ww, m)) {
		ww_close(ww);
		test_unmap(m, 64);
		return; /* a_permission_that_is_not_used_changes_nothing */
	}
	test_write(m, 21, -1);
	assert_int_equal(
		ww_get(ww, m, 64 * PAGE, WW_RESET, pages, &n, NULL), 0);
	assert_int_equal(n, BLOCK);
	for (i = 0; i < n; i++)
		assert_ptr_equal(pages[i], m + (BLOCK + i) * PAGE);
	test_expect(ww, m, 64, 0, -1);
	/* closed again: each of them faults anew, and is told */
	test_write(m, 30, -1);
	assert_true(told(ww, m, 64, 30));
	ww_close(ww);
	test_unmap(m, 64);
}

static void coarse_ends_where_the_range_does(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(64);

	memset(m, 1, 64 * PAGE);
	/* 10 to 15 and 20 to 23 are somebody's who was promised exactness */
	assert_int_equal(ww_watch(ww, m + 16 * PAGE, 4 * PAGE, WW_WATCH_COARSE_OK),
			 0);
	assert_int_equal(ww_watch(ww, m + 10 * PAGE, 6 * PAGE, 0), 0);
	assert_int_equal(ww_watch(ww, m + 20 * PAGE, 4 * PAGE, 0), 0);
	test_write(m, 17, 24, 9, -1);
	if (PROMISED(ww, WW_CAP_EXACT)) {
		test_expect(ww, m + 10 * PAGE, 6, 0, -1);
		test_expect(ww, m + 20 * PAGE, 4, 0, -1);
	}
	assert_true(told(ww, m + 16 * PAGE, 4, 1));
	/* half of it unwatched */
	assert_int_equal(ww_unwatch(ww, m + 18 * PAGE, 2 * PAGE, 0), 0);
	test_write(m, 16, 18, 19, 22, -1);
	assert_true(told(ww, m + 16 * PAGE, 2, 0));
	assert_true(told(ww, m + 20 * PAGE, 4, 2));
	ww_close(ww);
	test_write(m, 16, 17, 18, 19, 20, 21, 22, 23, -1);
	test_unmap(m, 64);
}

static void coarse_keeps_what_the_program_made_read_only(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(16);
	int fd[2];

	memset(m, 1, 16 * PAGE);
	assert_int_equal(ww_watch(ww, m, 16 * PAGE, WW_WATCH_COARSE_OK), 0);
	assert_int_equal(ww_protect(ww, m + 4 * PAGE, 4 * PAGE, PROT_READ, 0), 0);
	test_write(m, 1, 9, -1);
	/* it still is */
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_int_equal(read(fd[0], m + 5 * PAGE, 1), -1);
	assert_int_equal(errno, EFAULT);
	close(fd[0]);
	close(fd[1]);
	assert_true(told(ww, m, 16, 9));
	ww_close(ww);
	test_unmap(m, 16);
}

/* A page that is not mapped is no error; its neighbours can be written. */
static void coarse_with_a_hole_in_the_block(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(32);

	memset(m, 1, 32 * PAGE);
	assert_int_equal(ww_watch(ww, m, 32 * PAGE, WW_WATCH_COARSE_OK), 0);
	assert_int_equal(munmap(m + 14 * PAGE, PAGE), 0);
	test_write(m, 15, 13, 20, -1);
	assert_true(told(ww, m + 15 * PAGE, 17, 0));
	assert_true(told(ww, m, 14, 13));
	ww_close(ww);
	test_unmap(m, 32);
}

/* --- WW_WATCH_HOT_OK --- */

/* Written before each of `rounds` passes. */
static void heat(struct ww *ww, char *m, size_t npages, size_t page,
		 unsigned rounds)
{
	while (rounds--) {
		m[page * PAGE]++;
		assert_true(told(ww, m, npages, page));
	}
}

/* 256 pages that are watched so. */
static char *may_be_hot(struct ww *ww)
{
	char *m = test_map(256);

	memset(m, 1, 256 * PAGE);
	assert_int_equal(ww_watch(ww, m, 256 * PAGE, WW_WATCH_HOT_OK), 0);
	return m;
}

static void hot_pages_are_told_until_they_cool_down(void **state)
{
	struct ww *ww = test_open();
	char *m = may_be_hot(ww);
	unsigned longer = 0;

	heat(ww, m, 256, 100, 40);
	while (longer <= LONGER && told(ww, m, 256, 100))
		longer++;
	assert_true(longer <= LONGER);
	if (PROMISED(ww, WW_CAP_EXACT)) /* else it does not show */
		assert_int_equal(longer > 0, is_used(ww, m));
	/* and is clean as any other then */
	if (PROMISED(ww, WW_CAP_EXACT))
		test_expect(ww, m, 256, 0, -1);
	test_write(m, 100, -1);
	assert_true(told(ww, m, 256, 100));
	if (PROMISED(ww, WW_CAP_EXACT))
		test_expect(ww, m, 256, 0, -1);
	ww_close(ww);
	test_unmap(m, 256);
}

static void hot_is_not_what_is_written_now_and_then(void **state)
{
	struct ww *ww = test_open();
	char *m = may_be_hot(ww);
	unsigned i;

	for (i = 0; i < 60; i++) {
		if (i % 4 != 3)
			test_write(m, 70, -1);
		if (PROMISED(ww, WW_CAP_EXACT))
			assert_int_equal(told(ww, m, 256, 70), i % 4 != 3);
	}
	ww_close(ww);
	test_unmap(m, 256);
}

/* One run of dirty pages, of which the first is left open. */
static void a_hot_page_beside_one_that_is_not(void **state)
{
	struct ww *ww = test_open();
	char *m = may_be_hot(ww);
	unsigned i;

	for (i = 0; i < 60; i++) {
		void *pages[256];
		size_t n = 256, k, seen = 0;

		test_write(m, 100, 102, -1);
		if (i % 3 == 0)
			test_write(m, 101, -1);
		assert_int_equal(ww_get(ww, m, 256 * PAGE, WW_RESET, pages, &n,
					NULL),
				 0);
		for (k = 0; k < n; k++)
			seen |= 1u << ((char *)pages[k] - m) / PAGE % 4;
		assert_int_equal(seen & 5, 5);
		assert_true(i % 3 || seen & 2);
	}
	ww_close(ww);
	test_unmap(m, 256);
}

/* Pages on both sides of hot ones are closed in each round. Where the kernel
 * fails to write, the page is closed. */
static void hot_pages_stay_open_between_others(void **state)
{
	struct ww *ww = test_open();
	char *m = may_be_hot(ww);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	unsigned closed = 0, i, round;

	for (round = 0; round < 40 + LONGER; round++) {
		void *pages[256];
		size_t n = 256;

		for (i = 30; i < 240; i += 30)
			m[i * PAGE]++;
		test_write(m, (int)(round % 29), 241 + (int)(round % 15), -1);
		assert_int_equal(ww_get(ww, m, 256 * PAGE, WW_RESET, pages, &n,
					NULL),
				 0);
		for (i = 30; round >= 40 && i < 240; i += 30)
			closed += read(zero, m + i * PAGE, 1) < 0;
	}
	/* each was closed once, to see whether it is still written */
	if (is_used(ww, m))
		assert_in_range(closed, 0, 7);
	close(zero);
	ww_close(ww);
	test_unmap(m, 256);
}

static void hot_pages_are_closed_by(int (*call)(struct ww *, void *, size_t,
						unsigned))
{
	struct ww *ww = test_open();
	char *m = may_be_hot(ww);

	heat(ww, m, 256, 100, 40);
	assert_int_equal(call(ww, m, 256 * PAGE, 0), 0);
	assert_int_equal(test_count(ww, m, 256, 0), 0);
	test_write(m, 100, -1);
	assert_true(told(ww, m, 256, 100));
	ww_close(ww);
	test_unmap(m, 256);
}

static void hot_pages_are_closed_by_a_reset(void **state)
{
	hot_pages_are_closed_by(ww_reset);
}

static void hot_pages_are_closed_by_a_discard(void **state)
{
	hot_pages_are_closed_by(ww_discard);
}

/* A pass by an array that is too short for it goes on behind the last page. */
static void hot_pages_in_passes_of_several_queries(void **state)
{
	struct ww *ww = test_open();
	char *m = may_be_hot(ww);
	unsigned round, seen = 0, wanted = 0;

	for (round = 0; round < 50; round++) {
		size_t at = 0, i;

		for (i = 0; i < 256; i += 3) {
			m[i * PAGE]++;
			wanted++;
		}
		while (at < 256) {
			void *pages[7];
			size_t n = 7;

			assert_int_equal(ww_get(ww, m + at * PAGE,
						(256 - at) * PAGE, WW_RESET,
						pages, &n, NULL),
					 0);
			for (i = 0; i < n; i++)
				seen += ((char *)pages[i] - m) /
						(ptrdiff_t)PAGE % 3 ==
					0;
			at = n < 7 ? 256
				   : (size_t)((char *)pages[6] - m) / PAGE + 1;
		}
	}
	assert_int_equal(seen, wanted);
	ww_close(ww);
	test_unmap(m, 256);
}

/* --- WW_WATCH_HUGE_OK --- */

static long huge_kb(void)
{
	char line[128];
	long kb = 0, one;
	FILE *f = fopen("/proc/self/smaps", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "AnonHugePages: %ld", &one) == 1)
			kb += one;
	fclose(f);
	return kb;
}

struct huge {
	char *map, *m; /* m: two huge pages */
	size_t size, npages;
};

/* False: there are none here. */
static bool make_huge(struct huge *h)
{
	h->size = test_huge_page();
	if (!h->size || h->size > (64u << 20))
		return false;
	h->npages = h->size / PAGE;
	h->map =
		mmap(NULL, 3 * h->size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(h->map, MAP_FAILED);
	h->m = (char *)(((uintptr_t)h->map + h->size - 1) & ~(h->size - 1));
	return madvise(h->m, 2 * h->size, MADV_HUGEPAGE) == 0;
}

static void huge_pages_are_kept_and_exact_after_the_first_report(void **state)
{
	struct ww *ww = test_open();
	void **pages;
	struct huge h;
	size_t n, i;

	if (!make_huge(&h)) {
		ww_close(ww);
		skip();
	}
	h.m[0] = 1; /* one exists, the other not */
	assert_int_equal(ww_watch(ww, h.m, 2 * h.size, WW_WATCH_HUGE_OK), 0);
	if (!is_used(ww, h.m)) {
		ww_close(ww);
		munmap(h.map, 3 * h.size);
		return; /* a_permission_that_is_not_used_changes_nothing */
	}
	assert_int_equal(huge_kb(), h.size / 1024);
	assert_int_equal(test_count(ww, h.m, 2 * h.npages, 0), 0);
	/* one page of the one that exists: it alone */
	h.m[3 * PAGE] = 1;
	assert_true(told(ww, h.m, h.npages, 3));
	assert_int_equal(test_count(ww, h.m, 2 * h.npages, 0), 0);
	h.m[5 * PAGE] = 1;
	test_expect(ww, h.m, h.npages, WW_RESET, 5, -1);
	/* the other one comes as a whole, once */
	h.m[h.size + 7 * PAGE] = 1;
	assert_int_equal(huge_kb() >= (long)h.size / 1024, 1);
	pages = calloc(h.npages, sizeof(*pages));
	n = h.npages;
	assert_int_equal(
		ww_get(ww, h.m + h.size, h.size, WW_RESET, pages, &n, NULL),
		0);
	assert_int_equal(n, h.npages);
	for (i = 0; i < n; i++)
		assert_ptr_equal(pages[i], h.m + h.size + i * PAGE);
	assert_int_equal(test_count(ww, h.m, 2 * h.npages, 0), 0);
	h.m[h.size + 9 * PAGE] = 1;
	test_expect(ww, h.m + h.size, h.npages, WW_RESET, 9, -1);
	free(pages);
	ww_close(ww);
	munmap(h.map, 3 * h.size);
}

/* Half of a huge page asked for, an array that ends inside of it. */
static void huge_pages_in_pieces(void **state)
{
	struct ww *ww = test_open();
	size_t got = 0, n;
	void *pages[100];
	struct huge h;

	if (!make_huge(&h)) {
		ww_close(ww);
		skip();
	}
	assert_int_equal(ww_watch(ww, h.m, 2 * h.size, WW_WATCH_HUGE_OK), 0);
	memset(h.m, 1, h.size);
	do {
		n = 100;
		assert_int_equal(ww_get(ww, h.m, h.size / 2, WW_RESET,
					pages, &n, NULL),
				 0);
		got += n;
	} while (n);
	assert_int_equal(got, h.npages / 2);
	assert_int_equal(test_count(ww, h.m, h.npages, WW_RESET),
			 h.npages / 2);
	ww_close(ww);
	munmap(h.map, 3 * h.size);
}

static void zeros_written_to_a_huge_page_that_is_split_are_told(void **state)
{
	struct ww *ww = test_open();
	struct huge h;
	size_t i, n;

	if (!make_huge(&h)) {
		ww_close(ww);
		skip();
	}
	assert_int_equal(ww_watch(ww, h.m, 2 * h.size, WW_WATCH_HUGE_OK), 0);
	h.m[0] = 1;
	for (i = 1; i < h.npages; i++)
		h.m[i * PAGE] = 0;
	/* reclaim splits it, and maps the zero page for what holds zeros */
	madvise(h.m, h.size, MADV_PAGEOUT);
	for (i = n = 0; i < h.npages; i += 100, n += 1)
		assert_int_equal(test_count(ww, h.m + i * PAGE, 1, 0), 1);
	ww_close(ww);
	munmap(h.map, 3 * h.size);
}

TEST_MAIN("modes", CASE(a_permission_that_is_not_used_changes_nothing),
	  CASE(coarse_tells_the_block_and_no_more),
	  CASE(coarse_ends_where_the_range_does),
	  CASE(coarse_keeps_what_the_program_made_read_only),
	  CASE(coarse_with_a_hole_in_the_block),
	  CASE(hot_pages_are_told_until_they_cool_down),
	  CASE(a_hot_page_beside_one_that_is_not),
	  CASE(hot_is_not_what_is_written_now_and_then),
	  CASE(hot_pages_stay_open_between_others),
	  CASE(hot_pages_are_closed_by_a_reset),
	  CASE(hot_pages_in_passes_of_several_queries),
	  CASE(hot_pages_are_closed_by_a_discard),
	  CASE(huge_pages_are_kept_and_exact_after_the_first_report),
	  CASE(huge_pages_in_pieces),
	  CASE(zeros_written_to_a_huge_page_that_is_split_are_told))
