/* SPDX-License-Identifier: MIT */
/* test-query.c - what queries and resets say about watched memory. */
#include "test.h"

#define N 64

static void fresh_memory_is_clean(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

static void memory_written_before_the_watch_is_clean(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(N);

	/* as pages of 64 KiB they may be pieces of huge pages, which are
	 * reported whole where EXACT is not promised (test-kinds.c) */
	if (!PROMISED(ww, WW_CAP_EXACT))
		madvise(m, N * PAGE, MADV_NOHUGEPAGE);
	memset(m, 1, N * PAGE);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	test_expect(ww, m, N, 0, -1);
	test_write(m, 3, 5, -1);
	test_expect(ww, m, N, WW_RESET, 3, 5, -1);
	test_expect(ww, m, N, 0, -1);
	ww_close(ww);
	test_unmap(m, N);
}

static void written_pages_are_reported_in_order(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	test_write(f.m, 40, 0, 63, 7, 8, -1);
	EXPECT_DIRTY(f, PAGES(0, 7, 8, 40, 63));
	EXPECT_RESET(f, PAGES(0, 7, 8, 40, 63));
	EXPECT_DIRTY(f, NO_PAGES);
	test_write(f.m, 8, 9, -1);
	EXPECT_RESET(f, PAGES(8, 9));
	test_end(f);
}

static void reads_are_not_reported(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	volatile char sum = 0;
	int i;

	test_write(f.m, 4, -1);
	EXPECT_RESET(f, PAGES(4));
	if (!(test_caps(f.ww) & (WW_CAP_EXACT | WW_CAP_NO_THREAD))) {
		test_not_promised("reads are not reported");
		test_end(f);
		return;
	}
	for (i = 0; i < N; i++)
		sum += f.m[(size_t)i * PAGE];
	(void)sum;
	EXPECT_DIRTY(f, NO_PAGES);
	/* also in a small array, which zero pages must not fill */
	{
		void *page;
		size_t n = 1;

		test_write(f.m, 60, -1);
		assert_int_equal(ww_get(f.ww, f.m, N * PAGE, WW_RESET,
					&page, &n, NULL),
				 0);
		assert_int_equal(n, 1);
		assert_ptr_equal(page, f.m + 60 * PAGE);
	}
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

static void a_store_of_the_same_value_is_reported(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	if (test_only_compares()) {
		test_end(f);
		return;
	}
	f.m[0] = 1;
	EXPECT_RESET(f, PAGES(0));
	*(volatile char *)f.m = 1;
	EXPECT_RESET(f, PAGES(0));
	memset(f.m, 0, 2 * PAGE);
	EXPECT_RESET(f, PAGES(0, 1));
	test_end(f);
}

static void a_straddling_store_is_two_pages(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	memset(f.m + 3 * PAGE - 2, 1, 4);
	EXPECT_RESET(f, PAGES(2, 3));
	test_end(f);
}

static void a_full_array_resets_only_what_it_holds(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	void *pages[4];
	size_t n = 4;

	test_write(f.m, 1, 2, 3, 10, 11, 12, 13, -1);
	assert_int_equal(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n,
				NULL),
			 0);
	assert_int_equal(n, 4);
	assert_ptr_equal(pages[0], f.m + PAGE);
	assert_ptr_equal(pages[3], f.m + 10 * PAGE);
	EXPECT_DIRTY(f, PAGES(11, 12, 13));
	n = 1;
	while (ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) == 0 &&
	       n == 1)
		;
	assert_int_equal(n, 0);
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

static void a_full_array_of_ranges_resets_only_what_it_holds(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	struct ww_range runs[2];
	size_t n = 2;

	test_write(f.m, 1, 2, 3, 10, 11, 20, -1);
	assert_int_equal(ww_get_ranges(f.ww, f.m, N * PAGE, WW_RESET, runs,
				       &n),
			 0);
	assert_int_equal(n, 2);
	assert_ptr_equal(runs[0].start, f.m + PAGE);
	assert_int_equal(runs[0].len, 3 * PAGE);
	assert_ptr_equal(runs[1].start, f.m + 10 * PAGE);
	EXPECT_DIRTY(f, PAGES(20));
	test_end(f);
}

/* Of short ranges a query may look first which pages are dirty: if that would have
 * paid the last time, so each is asked three times. */
static void short_ranges_are_exact(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	static const struct {
		size_t first, last;
	} dirty[] = { { 0, 0 }, { 1, 1 }, { 0, 12 }, { 5, 20 }, { 34, 34 } };
	size_t npages, i, round, room, n;
	void *pages[2];

	for (npages = 1; npages < 36; npages++)
		for (i = 0; i < 5; i++)
			for (round = 0; round < 3; round++) {
				bool both = dirty[i].last > dirty[i].first &&
					    dirty[i].last < npages;
				bool one = dirty[i].first < npages;

				room = n = 1 + round % 2;
				test_write(f.m, (int)dirty[i].first,
					   (int)dirty[i].last, (int)npages, -1);
				assert_int_equal(ww_get(f.ww, f.m,
							npages * PAGE, WW_RESET,
							pages, &n, NULL),
						 0);
				assert_int_equal(n,
						 both && room == 2 ? 2 : one);
				if (n)
					assert_ptr_equal(pages[0],
							 f.m + dirty[i].first *
									 PAGE);
				if (n == 2)
					assert_ptr_equal(pages[1],
							 f.m + dirty[i].last *
									 PAGE);
				assert_int_equal(
					test_count(f.ww, f.m, npages, WW_RESET),
					(size_t)one + both - n);
				assert_true(test_count(f.ww, f.m, N,
						       WW_RESET) >= 1);
				test_write(f.m, (int)dirty[i].first,
					   (int)dirty[i].last, (int)npages, -1);
				assert_int_equal(ww_reset(f.ww, f.m,
							  npages * PAGE, 0),
						 0);
				assert_int_equal(
					test_count(f.ww, f.m, npages, 0), 0);
				assert_true(test_count(f.ww, f.m, N,
						       WW_RESET) >= 1);
			}
	test_end(f);
}

static void reset_cleans_only_the_range(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	test_write(f.m, 1, 2, 3, 4, -1);
	assert_int_equal(ww_reset(f.ww, f.m + 2 * PAGE, 2 * PAGE, 0), 0);
	EXPECT_DIRTY(f, PAGES(1, 4));
	assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
	EXPECT_DIRTY(f, NO_PAGES);
	test_write(f.m, 3, -1);
	EXPECT_DIRTY(f, PAGES(3));
	test_end(f);
}

static void a_query_looks_only_at_its_range(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	test_write(f.m, 9, 10, 19, 20, -1);
	test_expect(f.ww, f.m + 10 * PAGE, 10, WW_RESET, 0, 9, -1);
	EXPECT_DIRTY(f, PAGES(9, 20));
	test_end(f);
}

static void ranges_that_touch_are_one_for_a_query(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(N);
	struct ww_range run[2];
	size_t n = 2;
	int i;

	for (i = 0; i < N; i += 4)
		assert_int_equal(ww_watch(ww, m + (size_t)i * PAGE, 4 * PAGE, 0),
				 0);
	memset(m + 2 * PAGE, 1, 9 * PAGE);
	assert_int_equal(ww_get_ranges(ww, m, N * PAGE, 0, run, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(run[0].len, 9 * PAGE);
	test_expect(ww, m, N, WW_RESET, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1);
	test_expect(ww, m, N, 0, -1);
	ww_close(ww);
	test_unmap(m, N);
}

static void a_window_skips_what_is_not_watched(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(N);
	struct ww_range runs[8];
	size_t n = 8;

	assert_int_equal(ww_watch(ww, m + 8 * PAGE, 8 * PAGE, 0), 0);
	assert_int_equal(ww_watch(ww, m + 24 * PAGE, 8 * PAGE, 0), 0);
	test_write(m, 1, 8, 15, 20, 24, 40, -1);
	test_expect(ww, m, N, WW_WINDOW, 8, 15, 24, -1);
	/* the pages between are nobody's business: they stay as they are */
	assert_int_equal(ww_get_ranges(ww, NULL, 0,
				       WW_WINDOW | WW_RESET, runs, &n),
			 0);
	assert_int_equal(n, 3);
	test_expect(ww, m, N, WW_WINDOW, -1);
	ww_close(ww);
	test_unmap(m, N);
}

static void unwatch_of_a_part_splits(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	struct ww_range r;

	test_write(f.m, 1, 20, 40, -1);
	assert_int_equal(ww_unwatch(f.ww, f.m + 16 * PAGE, 16 * PAGE, 0), 0);
	test_write(f.m, 21, 41, -1);
	test_expect(f.ww, f.m, 16, 0, 1, -1);
	test_expect(f.ww, f.m, N, WW_WINDOW | WW_RESET, 1, 40, 41, -1);
	assert_int_equal(test_range_info(f.ww, f.m + 17 * PAGE, &r, NULL, NULL),
			 -ENOENT);
	assert_int_equal(test_range_info(f.ww, f.m + 40 * PAGE + 5, &r, NULL,
				       NULL),
			 0);
	assert_ptr_equal(r.start, f.m + 32 * PAGE);
	assert_int_equal(r.len, 32 * PAGE);
	/* and it can be watched again, clean */
	assert_int_equal(ww_watch(f.ww, f.m + 16 * PAGE, 16 * PAGE, 0), 0);
	EXPECT_DIRTY(f, NO_PAGES);
	test_write(f.m, 15, 16, 31, 32, -1);
	EXPECT_RESET(f, PAGES(15, 16, 31, 32));
	test_end(f);
}

static void memory_is_writable_after_unwatch_and_close(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	test_write(f.m, 1, -1);
	EXPECT_RESET(f, PAGES(1));
	assert_int_equal(ww_unwatch(f.ww, f.m, 8 * PAGE, 0), 0);
	/* as writable as before: a system call can tell without a handler */
	assert_int_equal(pread(open("/dev/zero", O_RDONLY | O_CLOEXEC), f.m,
			       8 * PAGE, 0),
			 8 * PAGE);
	ww_close(f.ww);
	assert_int_equal(pread(open("/dev/zero", O_RDONLY | O_CLOEXEC), f.m,
			       N * PAGE, 0),
			 N * PAGE);
	test_unmap(f.m, N);
}

static void mark_reports_whole_pages(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	assert_int_equal(ww_mark(f.ww, f.m + 3 * PAGE - 1, 2, 0), 0);
	assert_int_equal(ww_mark(f.ww, f.m + 9 * PAGE + 5, 0, 0), 0);
	assert_int_equal(ww_mark(f.ww, f.m - PAGE, 1, 0), 0); /* not watched */
	EXPECT_DIRTY(f, PAGES(2, 3));
	test_write(f.m, 1, 3, 4, -1);
	EXPECT_RESET(f, PAGES(1, 2, 3, 4));
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

/* Ranges that touch, one of them with a mark, one with a page that is held. */
static void ask_in_pieces(size_t room, bool runs)
{
	enum { RANGE = 4, MARKED = 10, HELD = 18 };
	struct ww *ww = test_open();
	char *m = test_map(N);
	bool told[N] = { false };
	size_t i, k, n, rounds;

	for (i = 0; i < N; i += RANGE)
		assert_int_equal(ww_watch(ww, m + i * PAGE, RANGE * PAGE, 0), 0);
	for (i = 1; i < N; i += RANGE)
		test_write(m, (int)i, -1);
	assert_int_equal(ww_mark(ww, m + MARKED * PAGE, 1, 0), 0);
	assert_int_equal(ww_hold(ww, m + HELD * PAGE, 1, 0), 0);
	for (rounds = 0, k = 0; k < N && rounds < 2 * N; rounds++) {
		struct ww_range run[N] = { 0 };
		void *pages[N];
		char *at = m + k * PAGE, *last = at - PAGE;

		n = room;
		if (runs)
			assert_int_equal(ww_get_ranges(ww, at, (N - k) * PAGE,
						       WW_RESET, run, &n),
					 0);
		else
			assert_int_equal(ww_get(ww, at, (N - k) * PAGE, WW_RESET,
						pages, &n, NULL),
					 0);
		for (i = 0; i < n; i++) {
			char *page = runs ? run[i].start : pages[i];

			assert_true(page > last);
			for (last = page;
			     last < page + (runs ? run[i].len : PAGE);
			     last += PAGE)
				told[(size_t)(last - m) / PAGE] = true;
			last -= PAGE;
		}
		k = n < room ? N : (size_t)(last - m) / PAGE + 1;
	}
	for (i = 0; i < N; i++)
		assert_int_equal(told[i], i % RANGE == 1 || i == MARKED ||
						  i == HELD);
	ww_close(ww);
	test_unmap(m, N);
}

static void touching_ranges_are_asked_in_pieces(void **state)
{
	size_t room;

	for (room = 1; room <= 24; room++) {
		ask_in_pieces(room, false);
		ask_in_pieces(room, true);
	}
}

static void marks_beyond_a_full_array_stay(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	void *pages[3];
	size_t n = 3;

	assert_int_equal(ww_mark(f.ww, f.m + 2 * PAGE, 3 * PAGE, 0), 0);
	test_write(f.m, 1, 3, 6, -1);
	assert_int_equal(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n,
				NULL),
			 0);
	assert_int_equal(n, 3);
	EXPECT_RESET(f, PAGES(4, 6));
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

/* More than a GiB, of which a backend may ask the kernel in several calls, with more
 * pages that are pending than those calls would be. */
static void marks_in_a_large_range_are_all_reported(void **state)
{
	const size_t npages = (size_t)0x50000000 / PAGE;
	struct test_fixture f = test_begin(npages, 0);
	void *pages[64];
	size_t i, n = 64;

	for (i = 0; i < 60; i++)
		assert_int_equal(ww_mark(f.ww, f.m + i * 10 * PAGE, PAGE, 0),
				 0);
	assert_int_equal(ww_get(f.ww, f.m, npages * PAGE, WW_RESET, pages, &n,
				NULL),
			 0);
	assert_int_equal(n, 60);
	for (i = 0; i < n; i++)
		assert_ptr_equal(pages[i], f.m + i * 10 * PAGE);
	assert_int_equal(test_count(f.ww, f.m, 600, 0), 0);
	test_end(f);
}

/* Every other page of 16 MiB: the first are written, the others are read, which makes
 * them zero pages; and a page at the end. */
static void zero_pages_behind_many_dirty_ones_are_not_reported(void **state)
{
	const size_t npages = ((size_t)16 << 20) / PAGE, written = npages * 3 / 8;
	struct test_fixture f = test_begin(npages, 0);
	static void *pages[4096];
	size_t n = 4096, i;
	unsigned lost;

	for (i = 0; i < npages - 4; i += 2)
		if (i < written)
			f.m[i * PAGE] = 1;
		else
			(void)*(volatile char *)(f.m + i * PAGE);
	f.m[(npages - 2) * PAGE] = 1;
	if (PROMISED(f.ww, WW_CAP_EXACT)) {
		assert_int_equal(ww_get(f.ww, f.m, npages * PAGE, WW_RESET,
					pages, &n, NULL),
				 0);
		assert_int_equal(n, written / 2 + 1);
		assert_ptr_equal(pages[n - 1], f.m + (npages - 2) * PAGE);
		for (i = 0; i < n - 1; i++)
			assert_ptr_equal(pages[i], f.m + i * 2 * PAGE);
		assert_int_equal(
			test_range_info(f.ww, f.m, NULL, NULL, &lost), 0);
		assert_int_equal(lost, 0);
	}
	test_end(f);
}

static void discard_cleans_and_empties(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	volatile char c;
	unsigned caps;

	memset(f.m, 1, N * PAGE);
	test_count(f.ww, f.m, N, WW_RESET);
	test_write(f.m, 1, 2, 3, 20, -1);
	assert_int_equal(ww_discard(f.ww, f.m + 2 * PAGE, 8 * PAGE, 0), 0);
	EXPECT_DIRTY(f, PAGES(1, 20));
	c = f.m[2 * PAGE];
	assert_int_equal(c, 0);
	c = f.m[9 * PAGE];
	assert_int_equal(test_range_info(f.ww, f.m, NULL, &caps, NULL), 0);
	if (caps & WW_CAP_EXACT || test_caps(f.ww) & WW_CAP_NO_THREAD) {
		EXPECT_DIRTY(f, PAGES(1, 20));
		test_write(f.m, 3, 4, -1);
		EXPECT_RESET(f, PAGES(1, 3, 4, 20));
	} else { /* the two that were read may look written, once */
		assert_true(test_count(f.ww, f.m, N, WW_RESET) <= 4);
		EXPECT_DIRTY(f, NO_PAGES);
	}
	test_end(f);
}

static void protect_neither_dirties_nor_cleans(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	if (test_only_compares()) {
		test_end(f);
		return;
	}
	test_write(f.m, 1, 2, 9, -1);
	assert_int_equal(ww_protect(f.ww, f.m, 4 * PAGE, PROT_READ, 0), 0);
	assert_int_equal(ww_protect(f.ww, f.m + 8 * PAGE, 4 * PAGE, PROT_NONE, 0),
			 0);
	EXPECT_DIRTY(f, PAGES(1, 2, 9));
	EXPECT_RESET(f, PAGES(1, 2, 9));
	assert_int_equal(ww_protect(f.ww, f.m, N * PAGE, RW, 0), 0);
	EXPECT_DIRTY(f, NO_PAGES);
	test_write(f.m, 2, 10, -1);
	EXPECT_RESET(f, PAGES(2, 10));
	test_end(f);
}

static void reserved_memory_can_be_watched_and_committed(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(N);

	mprotect(m, N * PAGE, PROT_NONE);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	test_expect(ww, m, N, 0, -1);
	assert_int_equal(ww_protect(ww, m + 4 * PAGE, 8 * PAGE, RW, 0), 0);
	test_expect(ww, m, N, 0, -1);
	test_write(m, 4, 11, -1);
	test_expect(ww, m, N, WW_RESET, 4, 11, -1);
	assert_int_equal(ww_reset(ww, m, N * PAGE, 0), 0);
	ww_close(ww);
	test_unmap(m, N);
}

static void foreign_mprotect_is_harmless_where_promised(void **state)
{
	struct test_fixture f = test_begin(N, 0);

	if (PROMISED(f.ww, WW_CAP_FOREIGN_MPROTECT)) {
		test_write(f.m, 1, 2, -1);
		mprotect(f.m, N * PAGE, PROT_READ);
		mprotect(f.m, N * PAGE, RW);
		test_write(f.m, 5, -1);
		EXPECT_RESET(f, PAGES(1, 2, 5));
		mprotect(f.m, 4 * PAGE, PROT_NONE);
		mprotect(f.m, N * PAGE, RW);
		EXPECT_DIRTY(f, NO_PAGES);
		test_write(f.m, 2, -1);
		EXPECT_RESET(f, PAGES(2));
	}
	test_end(f);
}

static void two_trackers_do_not_disturb_each_other(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	struct ww *other = test_open();
	char *m = test_map(N);

	assert_int_equal(ww_watch(other, m, N * PAGE, 0), 0);
	test_write(f.m, 1, -1);
	test_write(m, 2, -1);
	EXPECT_RESET(f, PAGES(1));
	test_expect(other, m, N, WW_RESET, 2, -1);
	ww_close(other);
	test_write(f.m, 3, -1);
	EXPECT_RESET(f, PAGES(3));
	test_unmap(m, N);
	test_end(f);
}

static void range_info_tells_the_range_as_watched(void **state)
{
	struct test_fixture f = test_begin(N, 0);
	struct ww_range r;
	unsigned caps = 0, lost = 9;

	assert_int_equal(test_range_info(f.ww, f.m + 5, &r, &caps, &lost), 0);
	assert_ptr_equal(r.start, f.m);
	assert_int_equal(r.len, N * PAGE);
	assert_int_equal(caps, test_caps(f.ww));
	assert_int_equal(lost, 0);
	test_end(f);
}

TEST_MAIN("query", CASE(fresh_memory_is_clean),
	  CASE(memory_written_before_the_watch_is_clean),
	  CASE(written_pages_are_reported_in_order),
	  CASE(reads_are_not_reported),
	  CASE(a_store_of_the_same_value_is_reported),
	  CASE(a_straddling_store_is_two_pages),
	  CASE(a_full_array_resets_only_what_it_holds),
	  CASE(a_full_array_of_ranges_resets_only_what_it_holds),
	  CASE(short_ranges_are_exact), CASE(reset_cleans_only_the_range),
	  CASE(a_query_looks_only_at_its_range),
	  CASE(ranges_that_touch_are_one_for_a_query),
	  CASE(a_window_skips_what_is_not_watched),
	  CASE(unwatch_of_a_part_splits),
	  CASE(memory_is_writable_after_unwatch_and_close),
	  CASE(mark_reports_whole_pages), CASE(marks_beyond_a_full_array_stay),
	  CASE(touching_ranges_are_asked_in_pieces),
	  CASE(marks_in_a_large_range_are_all_reported),
	  CASE(zero_pages_behind_many_dirty_ones_are_not_reported),
	  CASE(discard_cleans_and_empties),
	  CASE(protect_neither_dirties_nor_cleans),
	  CASE(reserved_memory_can_be_watched_and_committed),
	  CASE(foreign_mprotect_is_harmless_where_promised),
	  CASE(two_trackers_do_not_disturb_each_other),
	  CASE(range_info_tells_the_range_as_watched))
