/* SPDX-License-Identifier: MIT */
/*
 * test-owners.c - who owns what at each moment: memory that two trackers want,
 * threads that are cancelled, locks that a host holds across fork(). Each was
 * proven to go wrong once.
 */
#include "test.h"

#include <sched.h>

#define N 64

static struct test_fixture f;
static struct ww *pair[2];

/* --- two trackers --- */

static pthread_barrier_t together;
static int result[2];

static void *watch_at_once(void *arg)
{
	uintptr_t k = (uintptr_t)arg;

	pthread_barrier_wait(&together);
	result[k] = ww_watch(pair[k], f.m, N * PAGE, 0);
	return NULL;
}

static void of_two_that_watch_at_once_the_winner_sees_all(void **state)
{
	int round;

	pair[0] = test_open();
	pair[1] = test_open();
	f.m = test_map(N);
	pthread_barrier_init(&together, NULL, 2);
	for (round = 0; round < 4000 / test_slowness(); round++) {
		pthread_t t[2];
		uintptr_t k;
		size_t i;

		for (k = 0; k < 2; k++)
			pthread_create(&t[k], NULL, watch_at_once, (void *)k);
		for (k = 0; k < 2; k++)
			pthread_join(t[k], NULL);
		for (i = 0; i < N; i += 7)
			((volatile char *)f.m)[i * PAGE] = 1;
		assert_true(result[0] != 0 || result[1] != 0);
		for (k = 0; k < 2; k++) {
			if (result[k] != 0) {
				assert_int_equal(result[k], -EBUSY);
				continue;
			}
			assert_int_equal(test_count(pair[k], f.m, N, 0), 10);
			assert_int_equal(ww_unwatch(pair[k], f.m, N * PAGE, 0),
					 0);
		}
	}
	pthread_barrier_destroy(&together);
	ww_close(pair[0]);
	ww_close(pair[1]);
	test_unmap(f.m, N);
}

static atomic_bool stop;

static void *watch_and_unwatch(void *arg)
{
	while (!atomic_load(&stop))
		if (ww_watch(pair[1], f.m, N * PAGE, 0) == 0) {
			((volatile char *)f.m)[PAGE] = 1;
			CHECK(ww_unwatch(pair[1], f.m, N * PAGE, 0) == 0);
		}
	return arg;
}

/* Closed pages of the one that goes look read-only to the one that comes. */
static void memory_changes_hands_without_a_loss(void **state)
{
	pthread_t t;
	int round;

	pair[0] = test_open();
	pair[1] = test_open();
	f.m = test_map(N);
	atomic_store(&stop, false);
	pthread_create(&t, NULL, watch_and_unwatch, NULL);
	for (round = 0; round < 3000 / test_slowness(); round++) {
		int r;

		do
			r = ww_watch(pair[0], f.m, N * PAGE, 0);
		while (r == -EBUSY);
		assert_int_equal(r, 0);
		((volatile char *)f.m)[5 * PAGE] = 1;
		assert_true(test_count(pair[0], f.m, N, 0) >= 1);
		assert_int_equal(ww_unwatch(pair[0], f.m, N * PAGE, 0), 0);
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	ww_close(pair[0]);
	ww_close(pair[1]);
	test_unmap(f.m, N);
}

static void *reset_the_other_half(void *arg)
{
	while (!atomic_load(&stop))
		CHECK(ww_reset(pair[0], f.m, N / 2 * PAGE, 0) == 0);
	return arg;
}

static void *store_in_this_half(void *arg)
{
	unsigned i;

	for (i = 0; !atomic_load(&stop); i++)
		__atomic_store_n(f.m + (N / 2 + i % (N / 2)) * PAGE, 1,
				 __ATOMIC_RELAXED);
	return arg;
}

/* What one closes for a reset may be let go by another meanwhile. */
static void stores_survive_an_unwatch_while_others_reset(void **state)
{
	pthread_t t[2];
	int round;

	pair[0] = test_open();
	f.m = test_map(N);
	assert_int_equal(ww_watch(pair[0], f.m, N / 2 * PAGE, 0), 0);
	atomic_store(&stop, false);
	pthread_create(&t[0], NULL, reset_the_other_half, NULL);
	pthread_create(&t[1], NULL, store_in_this_half, NULL);
	for (round = 0; round < 3000 / test_slowness() + 50; round++) {
		char *half = f.m + N / 2 * PAGE;

		assert_int_equal(ww_watch(pair[0], half, N / 2 * PAGE, 0), 0);
		assert_int_equal(ww_unwatch(pair[0], half, N / 2 * PAGE, 0), 0);
	}
	atomic_store(&stop, true);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	ww_close(pair[0]);
	test_unmap(f.m, N);
}

/* --- cancelled threads --- */

static void *call_until_cancelled(void *arg)
{
	char *mine = arg;

	for (;;) {
		void *pages[N];
		size_t n = N;

		CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		CHECK(ww_watch(f.ww, mine, PAGE, 0) == 0);
		mine[0] = 1;
		CHECK(ww_unwatch(f.ww, mine, PAGE, 0) == 0);
		pthread_testcancel();
	}
	return NULL;
}

static void *store_until_cancelled(void *arg)
{
	unsigned i;

	for (i = 0;; i++) {
		((volatile char *)f.m)[i % N * PAGE] = 1;
		if (i % 64 == 0)
			pthread_testcancel();
	}
	return arg;
}

static void cancel_threads(void *arg)
{
	char *mine = test_map(1);
	int round;

	f = (struct test_fixture){ test_open(), test_map(N), N };
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	for (round = 0; round < 600 / (int)test_slowness() + 5; round++) {
		pthread_t t[2];
		int k;

		pthread_create(&t[0], NULL, call_until_cancelled, mine);
		pthread_create(&t[1], NULL, store_until_cancelled, NULL);
		usleep(500);
		for (k = 0; k < 2; k++) {
			pthread_cancel(t[k]);
			pthread_join(t[k], NULL);
		}
		/* nothing is locked, and no page is closed for ever */
		memset(f.m, 1, N * PAGE);
		CHECK(test_count(f.ww, f.m, N, WW_RESET) == N);
	}
	ww_close(f.ww);
}

static void cancelled_threads_leave_nothing_locked(void **state)
{
	assert_int_equal(test_child(cancel_threads, NULL), 0);
}

/* --- a lock of the host's --- */

static pthread_mutex_t host = PTHREAD_MUTEX_INITIALIZER;

static void lock_host(void)
{
	pthread_mutex_lock(&host);
}

static void unlock_host(void)
{
	pthread_mutex_unlock(&host);
}

static void *collect_under_lock(void *arg)
{
	while (!atomic_load(&stop)) {
		void *pages[N];
		size_t n = N;

		pthread_mutex_lock(&host);
		((volatile char *)f.m)[3 * PAGE] = 1;
		CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		pthread_mutex_unlock(&host);
	}
	return arg;
}

/* Registered before our own, so it is taken after ours. */
static void fork_with_a_lock(void *arg)
{
	pthread_t t;
	int i;

	CHECK(pthread_atfork(lock_host, unlock_host, unlock_host) == 0);
	f = (struct test_fixture){ test_open(), test_map(N), N };
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	atomic_store(&stop, false);
	pthread_create(&t, NULL, collect_under_lock, NULL);
	for (i = 0; i < 500 / (int)test_slowness() + 5; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			/* forked in the middle of a gate, perhaps */
			memset(f.m, 2, N * PAGE);
			_exit(test_count(f.ww, f.m, N, WW_RESET) != N);
		}
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid &&
		      status == 0);
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	ww_close(f.ww);
}

static void a_lock_of_the_host_s_may_be_held_around_queries(void **state)
{
	assert_int_equal(test_child(fork_with_a_lock, NULL), 0);
}

TEST_MAIN("owners", CASE(of_two_that_watch_at_once_the_winner_sees_all),
	  CASE(memory_changes_hands_without_a_loss),
	  CASE(stores_survive_an_unwatch_while_others_reset),
	  CASE(cancelled_threads_leave_nothing_locked),
	  CASE(a_lock_of_the_host_s_may_be_held_around_queries))
