/* SPDX-License-Identifier: MIT */
/*
 * test-contract.c - what the program does behind our back: unmapped, replaced
 * and moved memory, closed and replaced descriptors.
 */
#include "test.h"

#define N 16

static struct test_fixture f;

static void unmapped_pages_are_neither_reported_nor_an_error(void **state)
{
	f = test_begin(N, 0);
	test_write(f.m, 1, 5, 9, -1);
	munmap(f.m + 4 * PAGE, 4 * PAGE);
	if (test_notices_replaced(f.ww))
		EXPECT_RESET(f, PAGES(1, 9));
	else
		assert_true(test_count(f.ww, f.m, N, WW_RESET) >= 2);
	assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
	ww_close(f.ww);
	munmap(f.m - PAGE, 5 * PAGE);
	munmap(f.m + 8 * PAGE, 9 * PAGE);
}

static void replaced_memory_is_dirty_once_and_armed_again(void **state)
{
	unsigned lost = 0;

	f = test_begin(N, 0);
	test_write(f.m, 1, 12, -1);
	assert_ptr_equal(mmap(f.m + 4 * PAGE, 4 * PAGE, RW,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 f.m + 4 * PAGE);
	if (test_notices_replaced(f.ww)) {
		test_write(f.m, 6, -1);
		EXPECT_RESET(f, PAGES(1, 4, 5, 6, 7, 12));
		EXPECT_DIRTY(f, NO_PAGES);
		test_write(f.m, 5, -1);
		EXPECT_RESET(f, PAGES(5));
		assert_int_equal(test_range_info(f.ww, f.m, NULL, NULL, &lost),
				 0);
		assert_int_equal(lost, 1);
	}
	test_end(f);
}

/* A scan of the kernel fails where memory was replaced, after some pages that it found. An
 * earlier answer had more of them. */
static void replaced_memory_brings_no_older_answer_back(void **state)
{
	size_t i;

	f = test_begin(N, 0);
	memset(f.m, 1, N * PAGE);
	assert_int_equal(test_count(f.ww, f.m, N, WW_RESET), N);
	for (i = 0; i < N; i += 2)
		f.m[i * PAGE]++;
	assert_int_equal(test_count(f.ww, f.m, N, WW_RESET), N / 2);
	mmap(f.m + (N - 4) * PAGE, 2 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (test_notices_replaced(f.ww)) {
		test_write(f.m, 1, 3, -1);
		EXPECT_RESET(f, PAGES(1, 3, N - 4, N - 3));
		EXPECT_DIRTY(f, NO_PAGES);
	}
	test_end(f);
}

static void a_small_array_does_not_lose_replaced_memory(void **state)
{
	void *pages[3];
	size_t n = 3;

	f = test_begin(N, 0);
	mmap(f.m + 4 * PAGE, 4 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (test_notices_replaced(f.ww)) {
		test_write(f.m, 1, 12, -1);
		assert_int_equal(
			ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL),
			0);
		assert_int_equal(n, 3);
		assert_ptr_equal(pages[2], f.m + 5 * PAGE);
		EXPECT_RESET(f, PAGES(6, 7, 12));
		EXPECT_DIRTY(f, NO_PAGES);
	}
	test_end(f);
}

/* Put other memory, or none, in the place of pages 5 and 6. */
static void replace(int how)
{
	char *at = f.m + 5 * PAGE;
	int fd = memfd_create("ww", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 2 * (off_t)PAGE), 0);
	if (how == 0)
		munmap(at, 2 * PAGE);
	else if (how == 1)
		mmap(at, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	else
		mmap(at, 2 * PAGE, how == 2 ? PROT_READ : RW,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	close(fd);
	if (how == 1 || how == 3)
		test_write(f.m, 5, 6, -1);
}

/* Ask with room for so many pages until all is told. */
static void ask_all(size_t room, bool told[N])
{
	char *at = f.m, *end = f.m + N * PAGE;
	size_t n = room, i;

	while (n == room && at < end) {
		void *pages[N];

		assert_int_equal(ww_get(f.ww, at, (size_t)(end - at),
					WW_RESET | WW_WINDOW, pages, &n, NULL),
				 0);
		for (i = 0; i < n; i++) {
			told[(size_t)((char *)pages[i] - f.m) / PAGE] = true;
			at = (char *)pages[i] + PAGE;
		}
	}
}

/* A run of dirty pages crosses the border of what was replaced. */
static void what_is_beside_replaced_memory_is_not_lost(void **state)
{
	static const size_t beside[] = { 3, 4, 7, 8 };
	bool notices;
	int how;
	size_t room, i;

	f = test_begin(N, 0);
	notices = test_notices_replaced(f.ww);
	test_end(f);
	for (how = 0; notices && how < 5; how++)
		for (room = 1; room <= N; room++) {
			bool told[N] = { false };

			f = test_begin(N, 0);
			test_write(f.m, 3, 4, 7, 8, -1);
			replace(how);
			ask_all(room, told);
			for (i = 0; i < 4; i++)
				if (!told[beside[i]])
					fail_msg("page %zu is LOST; case %d, room %zu",
						 beside[i], how, room);
			ww_close(f.ww);
			munmap(f.m - PAGE, 6 * PAGE);
			if (how > 0)
				munmap(f.m + 5 * PAGE, 2 * PAGE);
			munmap(f.m + 7 * PAGE, (N - 6) * PAGE);
		}
}

/* What was discarded is known to be clean: but not what comes in its place. */
static void memory_in_the_place_of_discarded_pages_is_dirty(void **state)
{
	f = test_begin(N, 0);
	assert_int_equal(ww_discard(f.ww, f.m + 4 * PAGE, 4 * PAGE, 0), 0);
	EXPECT_RESET(f, NO_PAGES);
	mmap(f.m + 5 * PAGE, 2 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (test_notices_replaced(f.ww)) {
		EXPECT_DIRTY(f, PAGES(5, 6));
		EXPECT_RESET(f, PAGES(5, 6));
		EXPECT_DIRTY(f, NO_PAGES);
		test_write(f.m, 5, -1);
		EXPECT_RESET(f, PAGES(5));
	}
	test_end(f);
}

static void replaced_memory_can_be_discarded(void **state)
{
	f = test_begin(N, 0);
	mmap(f.m + 5 * PAGE, 2 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (test_notices_replaced(f.ww)) {
		test_write(f.m, 5, -1);
		assert_int_equal(ww_discard(f.ww, f.m + 4 * PAGE, 4 * PAGE, 0),
				 0);
		test_write(f.m, 6, -1);
		EXPECT_RESET(f, PAGES(6));
		assert_int_equal(f.m[5 * PAGE], 0);
	}
	test_end(f);
}

static void memory_of_another_kind_is_armed_as_what_it_is(void **state)
{
	int fd = memfd_create("ww", MFD_CLOEXEC);

	f = test_begin(N, 0);
	assert_int_equal(ftruncate(fd, 4 * (off_t)PAGE), 0);
	mmap(f.m + 4 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	if (test_notices_replaced(f.ww)) {
		EXPECT_RESET(f, PAGES(4, 5, 6, 7));
		test_write(f.m, 3, 5, -1);
		madvise(f.m + 4 * PAGE, 4 * PAGE, MADV_DONTNEED);
		EXPECT_RESET(f, PAGES(3, 5));
		EXPECT_DIRTY(f, NO_PAGES);
		assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
	}
	test_end(f);
	close(fd);
}

static void moved_memory_is_replaced_memory(void **state)
{
	char *away;

	f = test_begin(N, 0);
	test_write(f.m, 5, -1);
	away = mremap(f.m + 4 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | 4);
	if (away == MAP_FAILED) { /* MREMAP_DONTUNMAP is for anonymous memory */
		test_not_promised("moved memory leaves a mapping behind");
		test_end(f);
		return;
	}
	if (test_notices_replaced(f.ww)) {
		(void)test_count(f.ww, f.m, N, WW_RESET);
		test_write(f.m, 6, -1);
		EXPECT_RESET(f, PAGES(6));
	}
	munmap(away, 4 * PAGE);
	test_end(f);
}

static void hugetlb_put_in_place_is_refused(void **state)
{
	size_t huge = test_huge_page(), n = 2 * huge / PAGE;
	char *area = mmap(NULL, 4 * huge, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);
	char *h = (char *)(((uintptr_t)area + huge - 1) & ~(huge - 1));
	void *pages[4];
	size_t count = 4;

	f.ww = test_open();
	assert_int_equal(ww_watch(f.ww, h, 2 * huge, 0), 0);
	test_write(h, 1, -1);
	if (mmap(h + huge, huge, RW,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED, -1,
		 0) != MAP_FAILED &&
	    test_notices_replaced(f.ww)) {
		assert_int_equal(ww_get(f.ww, h, 2 * huge, WW_RESET, pages,
					&count, NULL),
				 -EOPNOTSUPP);
		/* and what was dirty still is */
		mmap(h + huge, huge, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		assert_int_equal(ww_get(f.ww, h, PAGE * n, WW_RESET, pages,
					&count, NULL),
				 0);
		assert_int_equal(count, 4);
		assert_ptr_equal(pages[0], h + PAGE);
	}
	ww_close(f.ww);
	munmap(area, 4 * huge);
}

/* Close all descriptors of ours, as a daemonizing host does. */
static int each_descriptor(const char *what, int replacement)
{
	int fd, n = 0;

	for (fd = 3; fd < 100; fd++) {
		char link[64], target[256] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (readlink(link, target, sizeof(target) - 1) < 0 ||
		    !strstr(target, what))
			continue;
		n++;
		if (replacement < 0)
			close(fd);
		else
			dup2(replacement, fd);
	}
	return n;
}

static void never_clean_after(const char *what, int replacement)
{
	void *pages[N];
	size_t n = N;
	int r;

	f = test_begin(N, 0);
	test_write(f.m, 1, -1);
	test_count(f.ww, f.m, N, WW_RESET);
	each_descriptor(what, replacement);
	test_write(f.m, 2, -1);
	r = ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL);
	assert_true(r == -EPERM || (r == 0 && n >= 1));
	n = N;
	test_write(f.m, 3, -1);
	r = ww_get(f.ww, f.m, N * PAGE, 0, pages, &n, NULL);
	assert_true(r == -EPERM || (r == 0 && n >= 1));
	r = ww_reset(f.ww, f.m, N * PAGE, 0);
	if (r != -EPERM)
		assert_int_equal(r, 0);
	ww_unwatch(f.ww, f.m, N * PAGE, 0);
	ww_close(f.ww);
	/* writable as ever */
	memset(f.m, 1, N * PAGE);
	test_unmap(f.m, N);
}

static void a_closed_descriptor_is_never_clean(void **state)
{
	never_clean_after("userfaultfd", -1);
	never_clean_after("pagemap", -1);
	never_clean_after("maps", -1);
}

static void a_replaced_descriptor_is_not_used_or_closed(void **state)
{
	int other = open("/dev/null", O_RDWR | O_CLOEXEC), before;

	before = test_descriptors();
	never_clean_after("userfaultfd", other);
	never_clean_after("pagemap", other);
	/* what was put in place is still open: one each, at most */
	assert_true(test_descriptors() >= before);
	assert_true(fcntl(other, F_GETFD) >= 0);
	each_descriptor("/dev/null", -1);
}

/* Another process's pagemap in place of ours is the worst case: a query would
 * re-arm memory of that process. */
static void another_process_is_never_touched(void **state)
{
	struct test_sleeper other = test_sleeper_start();
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", other.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 200);
	never_clean_after("pagemap", fd);
	test_sleeper_end(other);
	each_descriptor("pagemap", -1);
}

static void no_descriptor_or_mapping_leaks(void **state)
{
	int before, i;

	f = test_begin(N, 0);
	ww_close(f.ww);
	before = test_descriptors();
	for (i = 0; i < 20; i++) {
		f.ww = test_open();
		assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
		test_write(f.m, 1, -1);
		ww_close(f.ww);
	}
	assert_int_equal(test_descriptors(), before);
	test_unmap(f.m, N);
}

TEST_MAIN("contract", CASE(unmapped_pages_are_neither_reported_nor_an_error),
	  CASE(replaced_memory_is_dirty_once_and_armed_again),
	  CASE(replaced_memory_brings_no_older_answer_back),
	  CASE(a_small_array_does_not_lose_replaced_memory),
	  CASE(what_is_beside_replaced_memory_is_not_lost),
	  CASE(memory_in_the_place_of_discarded_pages_is_dirty),
	  CASE(replaced_memory_can_be_discarded),
	  CASE(memory_of_another_kind_is_armed_as_what_it_is),
	  CASE(moved_memory_is_replaced_memory),
	  CASE(hugetlb_put_in_place_is_refused),
	  CASE(no_descriptor_or_mapping_leaks),
	  CASE(a_closed_descriptor_is_never_clean),
	  CASE(a_replaced_descriptor_is_not_used_or_closed),
	  CASE(another_process_is_never_touched))
