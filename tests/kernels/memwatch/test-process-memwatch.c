/* SPDX-License-Identifier: MIT */
/*
 * test-process-memwatch.c - the system call itself, without the library: what
 * the kernel of build.sh has to do. Run by the kernel matrix.
 */
#include "../../test.h"

#include <sys/syscall.h>

#define GET 1u
#define CLEAR 2u
#define NO_REUSED 4u

#define N 64
#define HUGE_PAGES (((size_t)2 << 20) / PAGE)
#define EXISTING NO_REUSED /* what was written, not what is new */

static loff_t vec[8192];

static long memwatch(int pidfd, void *start, long len, unsigned flags,
		     loff_t *out, int room)
{
	long r = syscall(451, pidfd, start, len, flags, out, room);

	return r < 0 ? -errno : r;
}

static long get(char *m, size_t npages, unsigned flags, int room)
{
	memset(vec, 0xff, sizeof(vec));
	return memwatch(0, m, (long)(npages * PAGE), GET | flags, vec, room);
}

static void clear(char *m, size_t npages)
{
	assert_int_equal(memwatch(0, m, (long)(npages * PAGE), CLEAR, NULL, 0),
			 0);
}

static char *clean_map(size_t npages)
{
	char *m = test_map(npages);

	clear(m, npages);
	return m;
}

static void wrong_arguments_are_refused(void **state)
{
	char *m = clean_map(2);

	assert_int_equal(memwatch(0, m, 4096, 0, vec, 1), -EINVAL);
	assert_int_equal(memwatch(0, m, 4096, 8, vec, 1), -EINVAL);
	assert_int_equal(memwatch(0, m, 4096, NO_REUSED, vec, 1), -EINVAL);
	assert_int_equal(memwatch(0, m + 1, 4096, GET, vec, 1), -EINVAL);
	assert_int_equal(memwatch(0, m, 0, GET, vec, 1), -EINVAL);
	assert_int_equal(memwatch(0, m, -4096, GET, vec, 1), -EINVAL);
	assert_int_equal(memwatch(0, m, 4096, GET, NULL, 1), -EINVAL);
	assert_int_equal(memwatch(0, m, 4096, GET, vec, 0), -EINVAL);
	assert_int_equal(memwatch(-1, m, 4096, GET, vec, 1), -EBADF);
	assert_int_equal(memwatch(1000, m, 4096, GET, vec, 1), -EBADF);
	assert_int_equal(memwatch(0, m, 4096, GET | CLEAR, (loff_t *)8, 1),
			 -EFAULT);
	test_unmap(m, 2);
}

static void a_failed_copy_clears_nothing(void **state)
{
	char *m = clean_map(2);

	m[0] = 1;
	assert_int_equal(memwatch(0, m, 4096, GET | CLEAR, (loff_t *)8, 1),
			 -EFAULT);
	assert_int_equal(get(m, 2, EXISTING, 2), 1);
	test_unmap(m, 2);
}

static void written_pages_are_returned_as_offsets(void **state)
{
	char *m = clean_map(N);

	assert_int_equal(get(m, N, 0, N), 0);
	test_write(m, 3, 4, 40, -1);
	(void)*(volatile char *)(m + 9 * PAGE); /* read */
	assert_int_equal(get(m, N, 0, N), 3);
	assert_int_equal(vec[0], 3 * PAGE);
	assert_int_equal(vec[1], 4 * PAGE);
	assert_int_equal(vec[2], 40 * PAGE);
	/* from the start of the call */
	assert_int_equal(get(m + 4 * PAGE, N - 4, 0, N), 2);
	assert_int_equal(vec[0], 0);
	/* reading clears nothing, both together clear what was read */
	assert_int_equal(get(m, N, CLEAR, N), 3);
	assert_int_equal(get(m, N, 0, N), 0);
	m[4 * PAGE] = 2;
	assert_int_equal(get(m, N, 0, N), 1);
	test_unmap(m, N);
}

static void the_length_is_rounded_up(void **state)
{
	char *m = clean_map(4);

	test_write(m, 1, 2, -1);
	assert_int_equal(memwatch(0, m, (long)PAGE + 1, GET, vec, 4), 1);
	assert_int_equal(vec[0], PAGE);
	test_unmap(m, 4);
}

static void a_new_mapping_is_dirty_unless_that_is_ignored(void **state)
{
	char *m = test_map(N);

	assert_int_equal(get(m, N, 0, N), N);
	assert_int_equal(get(m, N, NO_REUSED, N), 0);
	m[5 * PAGE] = 1;
	assert_int_equal(get(m, N, NO_REUSED, N), 1);
	/* a part of it, to the page, and then the rest */
	assert_int_equal(get(m, N, CLEAR, 10), 10);
	assert_int_equal(vec[9], 9 * PAGE);
	assert_int_equal(get(m, N, 0, N), N - 10);
	assert_int_equal(vec[0], 10 * PAGE);
	clear(m, N);
	assert_int_equal(get(m, N, 0, N), 0);
	test_unmap(m, N);
}

static void a_full_vector_clears_what_it_holds(void **state)
{
	char *m = clean_map(N);
	int i, seen = 0;

	for (i = 0; i < N; i += 2)
		m[i * PAGE] = 1;
	while (seen < N / 2) {
		long n = get(m, N, CLEAR, 5);

		assert_true(n == 5 || n == N / 2 - seen);
		for (i = 0; i < n; i++)
			assert_int_equal(vec[i], (seen + i) * 2 * PAGE);
		/* nothing behind the room is touched */
		assert_int_equal(vec[5], -1);
		seen += (int)n;
	}
	assert_int_equal(get(m, N, 0, N), 0);
	test_unmap(m, N);
}

static void clearing_alone_clears_the_range_alone(void **state)
{
	char *m = clean_map(N);

	test_write(m, 0, 10, 11, 12, 63, -1);
	clear(m + 11 * PAGE, 1);
	assert_int_equal(get(m, N, 0, N), 4);
	assert_int_equal(vec[2], 12 * PAGE);
	test_unmap(m, N);
}

static void holes_are_skipped(void **state)
{
	char *m = clean_map(N);

	test_write(m, 1, 20, 40, -1);
	munmap(m + 10 * PAGE, 20 * PAGE);
	assert_int_equal(get(m, N, CLEAR, N), 2);
	assert_int_equal(vec[0], PAGE);
	assert_int_equal(vec[1], 40 * PAGE);
	munmap(m, N * PAGE);
	assert_int_equal(get(m, N, 0, N), 0);
}

static void many_pages_come_at_once(void **state)
{
	size_t n = 8192, i;
	char *m = clean_map(n);

	for (i = 0; i < n; i++)
		m[i * PAGE] = 1;
	assert_int_equal(get(m, n, CLEAR | EXISTING, 8192), n);
	for (i = 0; i < n; i++)
		assert_int_equal(vec[i], i * PAGE);
	assert_int_equal(get(m, n, 0, 8192), 0);
	test_unmap(m, n);
}

/* 2 MiB of one huge page, written; NULL: there is none. */
static char *huge_map(void)
{
	size_t len = HUGE_PAGES * PAGE;
	char *raw = mmap(NULL, 2 * len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *m = (char *)(((uintptr_t)raw + len - 1) / len * len);
	char line[128];
	FILE *f;
	long kib = 0;

	assert_int_equal(madvise(m, len, MADV_HUGEPAGE), 0);
	clear(m, HUGE_PAGES);
	m[0] = 1;
	f = fopen("/proc/self/smaps_rollup", "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "AnonHugePages: %ld", &kib);
	fclose(f);
	assert_int_equal(kib, 2048); /* or this case proves nothing */
	return m;
}

static void a_huge_page_is_cleared_whole(void **state)
{
	char *m = huge_map();

	assert_int_equal(get(m, HUGE_PAGES, CLEAR | EXISTING, 512), 512);
	assert_int_equal(vec[511], 511 * PAGE);
	assert_int_equal(get(m, HUGE_PAGES, EXISTING, 512), 0);
	m[7 * PAGE] = 1; /* it still is one */
	assert_int_equal(get(m, HUGE_PAGES, EXISTING, 512), 512);
	munmap(m, HUGE_PAGES * PAGE);
}

static void half_a_huge_page_is_cleared_alone(void **state)
{
	char *m = huge_map();

	assert_int_equal(get(m, 256, CLEAR | EXISTING, 512), 256);
	assert_int_equal(get(m, HUGE_PAGES, EXISTING, 512), 256);
	assert_int_equal(vec[0], 256 * PAGE);
	m[7 * PAGE] = 1;
	assert_int_equal(get(m, 256, EXISTING, 512), 1);
	munmap(m, HUGE_PAGES * PAGE);
}

static void a_huge_page_that_does_not_fit_is_split(void **state)
{
	char *m = huge_map();

	assert_int_equal(get(m, HUGE_PAGES, EXISTING, 100), 100);
	assert_int_equal(get(m, HUGE_PAGES, CLEAR | EXISTING, 100), 100);
	assert_int_equal(get(m, HUGE_PAGES, EXISTING, 512), 412);
	assert_int_equal(vec[0], 100 * PAGE);
	munmap(m, HUGE_PAGES * PAGE);
}

static void other_processes_are_watched_with_the_right_to(void **state)
{
	struct test_sleeper child;
	char *m = test_map(4);
	int pidfd;
	long r;

	test_write(m, 0, 1, 2, -1);
	child = test_sleeper_start();
	pidfd = (int)syscall(SYS_pidfd_open, child.pid, 0);
	assert_true(pidfd >= 0);
	r = memwatch(pidfd, m, (long)(4 * PAGE), GET | CLEAR | EXISTING, vec,
		     4);
	assert_int_equal(r, 3);
	/* the child's, not ours */
	assert_int_equal(get(m, 4, EXISTING, 4), 3);
	test_sleeper_end(child);
	r = memwatch(pidfd, m, (long)(4 * PAGE), GET, vec, 4);
	assert_int_equal(r, -ESRCH);
	close(pidfd);
	if (getuid() != 0) {
		pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
		assert_true(pidfd >= 0);
		assert_int_equal(memwatch(pidfd, m, 4096, GET, vec, 4),
				 -EPERM);
		close(pidfd);
	}
	test_unmap(m, 4);
}

static atomic_bool quit;
static atomic_long stores;

static void *write_once_each(void *arg)
{
	char *m = arg;
	size_t i;

	for (i = 0; i < 8192; i++) {
		m[i * PAGE] = 1;
		atomic_fetch_add(&stores, 1);
	}
	atomic_store(&quit, true);
	return NULL;
}

static void no_racing_write_is_lost(void **state)
{
	static bool seen[8192];
	size_t n = 8192, i;
	char *m = clean_map(n);
	pthread_t t;
	bool done;

	pthread_create(&t, NULL, write_once_each, m);
	do {
		long k;

		done = atomic_load(&quit);
		k = get(m, n, CLEAR | EXISTING, 37);
		assert_true(k >= 0);
		done = done && k < 37;
		while (k-- > 0)
			seen[(size_t)vec[k] / PAGE] = true;
	} while (!done);
	pthread_join(t, NULL);
	for (i = 0; i < n; i++)
		if (!seen[i])
			fail_msg("page %zu was lost", i);
	test_unmap(m, n);
}

static void ten_thousand_rounds_agree(void **state)
{
	char *m = clean_map(N);
	unsigned x = 12345;
	int round;

	for (round = 0; round < 10000; round++) {
		size_t page;

		x = x * 1103515245 + 12345;
		page = x >> 8 & (N - 1);
		m[page * PAGE]++;
		assert_int_equal(get(m, N, CLEAR | EXISTING, 3), 1);
		assert_int_equal(vec[0], page * PAGE);
	}
	test_unmap(m, N);
}

int main(void)
{
	static const struct CMUnitTest cases[] = {
		CASE(wrong_arguments_are_refused),
		CASE(a_failed_copy_clears_nothing),
		CASE(written_pages_are_returned_as_offsets),
		CASE(the_length_is_rounded_up),
		CASE(a_new_mapping_is_dirty_unless_that_is_ignored),
		CASE(a_full_vector_clears_what_it_holds),
		CASE(clearing_alone_clears_the_range_alone),
		CASE(holes_are_skipped),
		CASE(many_pages_come_at_once),
		CASE(a_huge_page_is_cleared_whole),
		CASE(half_a_huge_page_is_cleared_alone),
		CASE(a_huge_page_that_does_not_fit_is_split),
		CASE(other_processes_are_watched_with_the_right_to),
		CASE(no_racing_write_is_lost),
		CASE(ten_thousand_rounds_agree),
	};

	return cmocka_run_group_tests_name("process_memwatch", cases, NULL,
					   NULL);
}
