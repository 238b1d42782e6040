/* SPDX-License-Identifier: MIT */
/*
 * test-contract.c - what the program does behind our back: unmapped, replaced
 * and moved memory, closed and replaced descriptors.
 */
#include "test.h"

#define N 16

static struct ww *ww;
static char *m;

static void begin(void)
{
	ww = test_open();
	m = test_map(N);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
}

static void unmapped_pages_are_neither_reported_nor_an_error(void **state)
{
	begin();
	test_write(m, 1, 5, 9, -1);
	munmap(m + 4 * PAGE, 4 * PAGE);
	if (test_notices_replaced(ww))
		test_expect(ww, m, N, WW_RESET, 1, 9, -1);
	else
		assert_true(test_count(ww, m, N, WW_RESET) >= 2);
	assert_int_equal(ww_reset(ww, m, N * PAGE, 0), 0);
	ww_close(ww);
	munmap(m - PAGE, 5 * PAGE);
	munmap(m + 8 * PAGE, 9 * PAGE);
}

static void replaced_memory_is_dirty_once_and_armed_again(void **state)
{
	unsigned lost = 0;

	begin();
	test_write(m, 1, 12, -1);
	assert_ptr_equal(mmap(m + 4 * PAGE, 4 * PAGE, RW,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 m + 4 * PAGE);
	if (test_notices_replaced(ww)) {
		test_write(m, 6, -1);
		test_expect(ww, m, N, WW_RESET, 1, 4, 5, 6, 7, 12, -1);
		test_expect(ww, m, N, 0, -1);
		test_write(m, 5, -1);
		test_expect(ww, m, N, WW_RESET, 5, -1);
		assert_int_equal(test_range_info(ww, m, NULL, NULL, &lost), 0);
		assert_int_equal(lost, 1);
	}
	ww_close(ww);
	test_unmap(m, N);
}

static void a_small_array_does_not_lose_replaced_memory(void **state)
{
	void *pages[3];
	size_t n = 3;

	begin();
	mmap(m + 4 * PAGE, 4 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (test_notices_replaced(ww)) {
		test_write(m, 1, 12, -1);
		assert_int_equal(ww_get(ww, m, N * PAGE, WW_RESET, pages,
					&n, NULL),
				 0);
		assert_int_equal(n, 3);
		assert_ptr_equal(pages[2], m + 5 * PAGE);
		test_expect(ww, m, N, WW_RESET, 6, 7, 12, -1);
		test_expect(ww, m, N, 0, -1);
	}
	ww_close(ww);
	test_unmap(m, N);
}

/* What was discarded is known to be clean: but not what comes in its place. */
static void memory_in_the_place_of_discarded_pages_is_dirty(void **state)
{
	begin();
	assert_int_equal(ww_discard(ww, m + 4 * PAGE, 4 * PAGE, 0), 0);
	test_expect(ww, m, N, WW_RESET, -1);
	mmap(m + 5 * PAGE, 2 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (test_notices_replaced(ww)) {
		test_expect(ww, m, N, 0, 5, 6, -1);
		test_expect(ww, m, N, WW_RESET, 5, 6, -1);
		test_expect(ww, m, N, 0, -1);
		test_write(m, 5, -1);
		test_expect(ww, m, N, WW_RESET, 5, -1);
	}
	ww_close(ww);
	test_unmap(m, N);
}

static void replaced_memory_can_be_discarded(void **state)
{
	begin();
	mmap(m + 5 * PAGE, 2 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (test_notices_replaced(ww)) {
		test_write(m, 5, -1);
		assert_int_equal(ww_discard(ww, m + 4 * PAGE, 4 * PAGE, 0), 0);
		test_write(m, 6, -1);
		test_expect(ww, m, N, WW_RESET, 6, -1);
		assert_int_equal(m[5 * PAGE], 0);
	}
	ww_close(ww);
	test_unmap(m, N);
}

static void memory_of_another_kind_is_armed_as_what_it_is(void **state)
{
	int fd = memfd_create("ww", MFD_CLOEXEC);

	begin();
	assert_int_equal(ftruncate(fd, 4 * (off_t)PAGE), 0);
	mmap(m + 4 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	if (test_notices_replaced(ww)) {
		test_expect(ww, m, N, WW_RESET, 4, 5, 6, 7, -1);
		test_write(m, 3, 5, -1);
		madvise(m + 4 * PAGE, 4 * PAGE, MADV_DONTNEED);
		test_expect(ww, m, N, WW_RESET, 3, 5, -1);
		test_expect(ww, m, N, 0, -1);
		assert_int_equal(ww_reset(ww, m, N * PAGE, 0), 0);
	}
	ww_close(ww);
	test_unmap(m, N);
	close(fd);
}

static void moved_memory_is_replaced_memory(void **state)
{
	char *away;

	begin();
	test_write(m, 5, -1);
	away = mremap(m + 4 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | 4);
	if (away == MAP_FAILED) { /* MREMAP_DONTUNMAP is for anonymous memory */
		ww_close(ww);
		test_unmap(m, N);
		return;
	}
	if (test_notices_replaced(ww)) {
		(void)test_count(ww, m, N, WW_RESET);
		test_write(m, 6, -1);
		test_expect(ww, m, N, WW_RESET, 6, -1);
	}
	munmap(away, 4 * PAGE);
	ww_close(ww);
	test_unmap(m, N);
}

static void hugetlb_put_in_place_is_refused(void **state)
{
	size_t huge = test_huge_page(), n = 2 * huge / PAGE;
	char *area = mmap(NULL, 4 * huge, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);
	char *h = (char *)(((uintptr_t)area + huge - 1) & ~(huge - 1));
	void *pages[4];
	size_t count = 4;

	ww = test_open();
	assert_int_equal(ww_watch(ww, h, 2 * huge, 0), 0);
	test_write(h, 1, -1);
	if (mmap(h + huge, huge, RW,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED, -1,
		 0) != MAP_FAILED &&
	    test_notices_replaced(ww)) {
		assert_int_equal(ww_get(ww, h, 2 * huge, WW_RESET, pages,
					&count, NULL),
				 -EOPNOTSUPP);
		/* and what was dirty still is */
		mmap(h + huge, huge, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		assert_int_equal(ww_get(ww, h, PAGE * n, WW_RESET, pages,
					&count, NULL),
				 0);
		assert_int_equal(count, 4);
		assert_ptr_equal(pages[0], h + PAGE);
	}
	ww_close(ww);
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

	begin();
	test_write(m, 1, -1);
	test_count(ww, m, N, WW_RESET);
	each_descriptor(what, replacement);
	test_write(m, 2, -1);
	r = ww_get(ww, m, N * PAGE, WW_RESET, pages, &n, NULL);
	assert_true(r == -EPERM || (r == 0 && n >= 1));
	n = N;
	test_write(m, 3, -1);
	r = ww_get(ww, m, N * PAGE, 0, pages, &n, NULL);
	assert_true(r == -EPERM || (r == 0 && n >= 1));
	r = ww_reset(ww, m, N * PAGE, 0);
	if (r != -EPERM)
		assert_int_equal(r, 0);
	ww_unwatch(ww, m, N * PAGE, 0);
	ww_close(ww);
	/* writable as ever */
	memset(m, 1, N * PAGE);
	test_unmap(m, N);
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

	begin();
	ww_close(ww);
	before = test_descriptors();
	for (i = 0; i < 20; i++) {
		ww = test_open();
		assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
		test_write(m, 1, -1);
		ww_close(ww);
	}
	assert_int_equal(test_descriptors(), before);
	test_unmap(m, N);
}

TEST_MAIN("contract", CASE(unmapped_pages_are_neither_reported_nor_an_error),
	  CASE(replaced_memory_is_dirty_once_and_armed_again),
	  CASE(a_small_array_does_not_lose_replaced_memory),
	  CASE(memory_in_the_place_of_discarded_pages_is_dirty),
	  CASE(replaced_memory_can_be_discarded),
	  CASE(memory_of_another_kind_is_armed_as_what_it_is),
	  CASE(moved_memory_is_replaced_memory),
	  CASE(hugetlb_put_in_place_is_refused),
	  CASE(no_descriptor_or_mapping_leaks),
	  CASE(a_closed_descriptor_is_never_clean),
	  CASE(a_replaced_descriptor_is_not_used_or_closed),
	  CASE(another_process_is_never_touched))
