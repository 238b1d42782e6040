/* SPDX-License-Identifier: MIT */
/*
 * test-beside.c - calls beside others: what one call takes away from a range, a
 * fork, or the kernel hides nothing of the rest, and hangs nobody.
 */
#include "test.h"

#include <sched.h>

#define N 64

static struct ww *ww;
static char *m;

/* --- a thread that unwatches one page of the range --- */

enum { WAIT, GO, DONE, QUIT };

static atomic_int state_of_other;
static size_t gone;
static int delay;

static void *unwatch_one(void *arg)
{
	int i, now;

	for (;;) {
		while ((now = atomic_load(&state_of_other)) == WAIT ||
		       now == DONE)
			sched_yield();
		if (now == QUIT)
			return NULL;
		for (i = 0; i < delay; i++)
			atomic_signal_fence(memory_order_seq_cst);
		CHECK(ww_unwatch(ww, m + gone * PAGE, PAGE, 0) == 0);
		/* it is the program's again */
		*(volatile char *)(m + gone * PAGE) = 1;
		atomic_store(&state_of_other, DONE);
	}
}

static void each_round(void (*fn)(void))
{
	unsigned random = 1;
	pthread_t t;
	int i;

	ww = test_open();
	m = test_map(N);
	atomic_store(&state_of_other, WAIT);
	assert_int_equal(pthread_create(&t, NULL, unwatch_one, NULL), 0);
	for (i = 0; i < 3000 / test_slowness(); i++) {
		assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
		random = random * 1103515245 + 12345;
		gone = 1 + random / 65536 % (N - 2);
		delay = (int)(random / 16 % 4000);
		fn();
		assert_int_equal(ww_unwatch(ww, NULL, 0, WW_WINDOW), 0);
		atomic_store(&state_of_other, WAIT);
	}
	atomic_store(&state_of_other, QUIT);
	pthread_join(t, NULL);
	test_unmap(m, N);
	ww_close(ww);
}

/* Write all, and let the other begin. */
static void write_all(void)
{
	size_t i;

	for (i = 0; i < N; i++)
		((volatile char *)m)[i * PAGE] = 1;
	atomic_store(&state_of_other, GO);
}

static void wait_for_other(void)
{
	while (atomic_load(&state_of_other) != DONE)
		sched_yield();
}

static void get_all(bool told[N])
{
	void *pages[N];
	size_t n = N, i;

	assert_int_equal(ww_get(ww, m, N * PAGE, WW_RESET | WW_WINDOW, pages,
				&n, NULL),
			 0);
	for (i = 0; i < n; i++)
		told[(size_t)((char *)pages[i] - m) / PAGE] = true;
}

static void query_beside(void)
{
	bool told[N] = { false };
	size_t i;

	write_all();
	get_all(told);
	wait_for_other();
	for (i = 0; i < N; i++)
		if (i != gone && !told[i])
			fail_msg("page %zu is LOST, page %zu was unwatched", i,
				 gone);
}

static void a_query_beside_an_unwatch_sees_the_rest(void **state)
{
	each_round(query_beside);
}

static void reset_beside(void)
{
	bool told[N] = { false };
	size_t i;

	write_all();
	assert_int_equal(ww_reset(ww, m, N * PAGE, WW_WINDOW), 0);
	wait_for_other();
	get_all(told);
	for (i = 0; i < N; i++)
		if (i != gone && told[i])
			fail_msg("page %zu was not reset, page %zu unwatched",
				 i, gone);
}

static void a_reset_beside_an_unwatch_resets_the_rest(void **state)
{
	each_round(reset_beside);
}

/* --- a thread that holds --- */

#define MANY ((size_t)1 << 16)

static atomic_bool quit;

static void *hold_and_release(void *arg)
{
	while (!atomic_load(&quit)) {
		CHECK(ww_hold(ww, m, MANY * PAGE, 0) == 0);
		CHECK(ww_release(ww, m, MANY * PAGE, 0) == 0);
	}
	return NULL;
}

static bool is_dirty(char *page)
{
	void *pages[1];
	size_t n = 1;

	CHECK(ww_get(ww, page, PAGE, WW_RESET, pages, &n, NULL) == 0);
	return n == 1;
}

static void hold_and_release_once(void *arg)
{
	size_t i;

	CHECK(ww_reset(ww, m, MANY * PAGE, 0) == 0);
	for (i = 0; i < MANY; i += 997) {
		char *page = m + i * PAGE;

		CHECK(!is_dirty(page));
		CHECK(ww_hold(ww, page, 1, 0) == 0);
		CHECK(is_dirty(page));
		CHECK(ww_release(ww, page, 1, 0) == 0);
		CHECK(is_dirty(page));
		CHECK(!is_dirty(page));
	}
	_exit(0);
}

static void a_child_that_is_forked_beside_a_hold_holds_nothing(void **state)
{
	pthread_t t;
	int i;

	ww = test_open();
	m = test_map(MANY);
	assert_int_equal(ww_watch(ww, m, MANY * PAGE, 0), 0);
	atomic_store(&quit, false);
	pthread_create(&t, NULL, hold_and_release, NULL);
	for (i = 0; i < 30 && i < 90 / test_slowness(); i++) {
		usleep((useconds_t)(i * 37 % 1000));
		assert_int_equal(test_child(hold_and_release_once, NULL), 0);
	}
	atomic_store(&quit, true);
	pthread_join(t, NULL);
	ww_close(ww);
	test_unmap(m, MANY);
}

/* --- the kernel --- */

static void lock_all(void *arg)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
	ww = test_open();
	alarm((unsigned)(5 * test_slowness()));
	CHECK(mlockall(MCL_CURRENT) == 0 || errno == EPERM || errno == ENOMEM);
	_exit(0);
}

static void all_memory_can_be_locked(void **state)
{
	assert_int_equal(test_child(lock_all, NULL), 0);
}

/* Where the child finds no /proc, what it did not inherit is not taken for what it
 * mapped there itself. */
static void map_its_own(void *arg)
{
	char *mine = mmap(m, 4 * PAGE, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	void *pages[N];
	size_t n = N;
	int fd = memfd_create("x", MFD_CLOEXEC);
	int r;

	CHECK(mine == m);
	r = ww_get(ww, m, N * PAGE, WW_RESET | WW_WINDOW, pages, &n, NULL);
	CHECK(r < 0 || n == 0);
	ww_close(ww);
	/* it can be read, and not written */
	CHECK(write(fd, mine, 1) == 1 && lseek(fd, 0, SEEK_SET) == 0);
	CHECK(read(fd, mine, 1) == -1 && errno == EFAULT);
	_exit(0);
}

static void lose_proc(void *arg)
{
	char dir[] = "/tmp/ww-beside-XXXXXX";

	ww = test_open();
	m = test_map(N);
	CHECK(madvise(m, N * PAGE, MADV_DONTFORK) == 0);
	CHECK(ww_watch(ww, m, N * PAGE, 0) == 0);
	m[0] = 1;
	CHECK(mkdtemp(dir) && chroot(dir) == 0 && chdir("/") == 0);
	_exit(test_child(map_its_own, NULL) == 0 ? 0 : 1);
}

static void a_child_without_proc_leaves_its_own_memory_alone(void **state)
{
	if (getuid() != 0) {
		test_not_promised("chroot");
		return;
	}
	assert_int_equal(test_child(lose_proc, NULL), 0);
}

TEST_MAIN("beside", CASE(a_query_beside_an_unwatch_sees_the_rest),
	  CASE(a_reset_beside_an_unwatch_resets_the_rest),
	  CASE(a_child_that_is_forked_beside_a_hold_holds_nothing),
	  CASE(all_memory_can_be_locked),
	  CASE(a_child_without_proc_leaves_its_own_memory_alone))
