/* SPDX-License-Identifier: MIT */
/* test-fork.c - a child never touches its parent's memory and goes on tracking. */
#include "test.h"

#include <sched.h>

#define N 32

static struct test_fixture f;
static char *s;

/* Private memory, pages 0, 1, 2 and 5 populated, 5 dirty; shared memory, 3 dirty. */
static void begin(void)
{
	f = (struct test_fixture){ test_open(), test_map(N), N };
	test_write(f.m, 0, -1);
	s = mmap(NULL, N * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	if (PROMISED(f.ww, WW_CAP_SHARED))
		assert_int_equal(ww_watch(f.ww, s, N * PAGE, 0), 0);
	test_write(f.m, 1, 2, 5, -1);
	EXPECT_RESET(f, PAGES(1, 2, 5));
	test_write(f.m, 5, -1);
	test_write(s, 3, -1);
}

static void end(void)
{
	test_end(f);
	munmap(s, N * PAGE);
}

/* ww_get() in a child, where asserts of cmocka must not run. */
static bool says(const char *mem, int flags, ...)
{
	void *pages[N];
	size_t n = N, i;
	va_list ap;

	if (ww_get(f.ww, (char *)mem, N * PAGE, flags, pages, &n, NULL) != 0)
		return false;
	va_start(ap, flags);
	for (i = 0; i < n; i++)
		if (pages[i] != mem + (size_t)va_arg(ap, int) * PAGE)
			return false;
	return va_arg(ap, int) == -1;
}

static void child_tracks(void *arg)
{
	size_t n = N;
	void *pages[N];

	(*(volatile char *)(f.m + 9 * PAGE))++;
	/* what exists of private memory, once */
	CHECK(says(f.m, 0, 0, 1, 2, 5, 9, -1));
	CHECK(says(f.m, WW_RESET, 0, 1, 2, 5, 9, -1));
	CHECK(says(f.m, 0, -1));
	(*(volatile char *)(f.m + 2 * PAGE))++;
	(*(volatile char *)(f.m + 20 * PAGE))++;
	CHECK(says(f.m, WW_RESET, 2, 20, -1));
	/* all of shared memory, once */
	if (PROMISED(f.ww, WW_CAP_SHARED)) {
		CHECK(ww_get(f.ww, s, N * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		CHECK(n == N);
		CHECK(says(s, 0, -1));
		(*(volatile char *)(s + 7 * PAGE))++;
		CHECK(says(s, WW_RESET, 7, -1));
	}
	CHECK(ww_watch(f.ww, arg, PAGE, 0) == 0);
	CHECK(ww_unwatch(f.ww, arg, PAGE, 0) == 0);
	ww_close(f.ww);
}

static void a_child_reports_once_and_goes_on(void **state)
{
	char *extra = test_map(1);

	begin();
	assert_int_equal(test_child(child_tracks, extra), 0);
	/* and nothing of that happened to the parent */
	EXPECT_RESET(f, PAGES(5));
	test_write(f.m, 2, 6, -1);
	EXPECT_RESET(f, PAGES(2, 6));
	if (PROMISED(f.ww, WW_CAP_SHARED))
		test_expect(f.ww, s, N, WW_RESET, 3, -1);
	end();
	test_unmap(extra, 1);
}

static void grandchild_tracks(void *arg)
{
	CHECK(says(f.m, WW_RESET, 0, 1, 2, 5, -1));
	(*(volatile char *)(f.m + 2 * PAGE))++;
	fflush(NULL);
	if (fork() == 0) {
		CHECK(says(f.m, WW_RESET, 0, 1, 2, 5, -1));
		(*(volatile char *)(f.m + 8 * PAGE))++;
		CHECK(says(f.m, WW_RESET, 8, -1));
		_exit(0);
	}
	int status;

	wait(&status);
	CHECK(status == 0);
	CHECK(says(f.m, WW_RESET, 2, -1));
}

static void a_child_of_a_child_works(void **state)
{
	begin();
	assert_int_equal(test_child(grandchild_tracks, NULL), 0);
	EXPECT_RESET(f, PAGES(5));
	end();
}

/* No atfork handler runs for it, and glibc's fork is not used. */
static void a_child_of_bare_clone_works(void **state)
{
	int status;
	pid_t pid;

	begin();
	pid = test_bare_fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		CHECK(says(f.m, WW_RESET, 0, 1, 2, 5, -1));
		(*(volatile char *)(f.m + 8 * PAGE))++;
		CHECK(says(f.m, WW_RESET, 8, -1));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	EXPECT_RESET(f, PAGES(5));
	end();
}

static void child_closes(void *arg)
{
	ww_close(f.ww);
	memset(f.m, 1, N * PAGE);
}

static void close_in_a_child_leaves_the_parent_alone(void **state)
{
	begin();
	assert_int_equal(test_child(child_closes, NULL), 0);
	EXPECT_RESET(f, PAGES(5));
	test_write(f.m, 1, 31, -1);
	EXPECT_RESET(f, PAGES(1, 31));
	end();
}

static void child_resets(void *arg)
{
	CHECK(ww_reset(f.ww, f.m, N * PAGE, 0) == 0);
	CHECK(says(f.m, 0, -1));
	(*(volatile char *)(f.m + 1 * PAGE))++;
	CHECK(says(f.m, 0, 1, -1));
	CHECK(ww_protect(f.ww, f.m, PAGE, PROT_READ, 0) == 0);
	CHECK(ww_discard(f.ww, f.m + PAGE, PAGE, 0) == 0);
	CHECK(says(f.m, 0, -1));
}

static void reset_can_be_the_first_call_of_a_child(void **state)
{
	begin();
	assert_int_equal(test_child(child_resets, NULL), 0);
	EXPECT_RESET(f, PAGES(5));
	end();
}

/* While it lives it holds copies of the parent's descriptors. */
static void unwatch_unregisters_although_a_child_lives(void **state)
{
	struct test_sleeper child;
	struct ww *other;

	begin();
	child = test_sleeper_start();
	ww_close(f.ww);
	/* another tracker can have the memory */
	other = test_open();
	assert_int_equal(ww_watch(other, f.m, N * PAGE, 0), 0);
	test_write(f.m, 4, -1);
	test_expect(other, f.m, N, WW_RESET, 4, -1);
	ww_close(other);
	test_sleeper_end(child);
	test_unmap(f.m, N);
	munmap(s, N * PAGE);
}

static atomic_bool stop;

static void *busy(void *arg)
{
	char *mine = test_map(4);
	void *pages[4];

	while (!atomic_load(&stop)) {
		size_t n = 4;

		CHECK(ww_watch(f.ww, mine, 4 * PAGE, 0) == 0);
		*(volatile char *)mine = 1;
		CHECK(ww_get(f.ww, mine, 4 * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		if (n != 1)
			fprintf(stderr, "n = %zu\n", n);
		CHECK(n == 1);
		CHECK(ww_unwatch(f.ww, mine, 4 * PAGE, 0) == 0);
	}
	test_unmap(mine, 4);
	return NULL;
}

static void child_queries(void *arg)
{
	CHECK(says(f.m, WW_RESET, 0, 1, 2, 5, -1));
	(*(volatile char *)(f.m + 2 * PAGE))++;
	CHECK(says(f.m, WW_RESET, 2, -1));
	CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
}

static void fork_while_other_threads_are_inside(void **state)
{
	pthread_t t[2];
	int i;

	begin();
	atomic_store(&stop, false);
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, busy, NULL);
	for (i = 0; i < 50; i++)
		assert_int_equal(test_child(child_queries, NULL), 0);
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	EXPECT_RESET(f, PAGES(5));
	end();
}

static void exec_inherits_no_descriptor(void **state)
{
	int fd, n = 0;

	begin();
	for (fd = 3; fd < 100; fd++) {
		char link[64], target[256] = "";
		int flags = fcntl(fd, F_GETFD);

		if (flags < 0)
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		(void)!readlink(link, target, sizeof(target) - 1);
		if (strstr(target, "userfaultfd") || strstr(target, "pagemap") ||
		    strstr(target, "maps")) {
			assert_true(flags & FD_CLOEXEC);
			n++;
		}
	}
	assert_true(n >= 1);
	end();
}

static void vfork_children_share_and_change_nothing(void **state)
{
	pid_t pid;

	begin();
	pid = vfork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	EXPECT_RESET(f, PAGES(5));
	end();
}

TEST_MAIN("fork", CASE(a_child_reports_once_and_goes_on),
	  CASE(a_child_of_a_child_works), CASE(a_child_of_bare_clone_works),
	  CASE(close_in_a_child_leaves_the_parent_alone),
	  CASE(reset_can_be_the_first_call_of_a_child),
	  CASE(unwatch_unregisters_although_a_child_lives),
	  CASE(fork_while_other_threads_are_inside),
	  CASE(exec_inherits_no_descriptor),
	  CASE(vfork_children_share_and_change_nothing))
