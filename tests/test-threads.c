/* SPDX-License-Identifier: MIT */
/*
 * test-threads.c - writers, collectors and changes at once; stopped worlds.
 * Races are bounded by iterations. Only the main thread asserts.
 */
#include "test.h"

#include <sched.h>
#include <signal.h>
#include <time.h>

#define N 4096

static struct test_fixture f;
static atomic_bool stop;

/* Each page is written exactly once, with collectors racing: a lost write has
 * no later one to hide it. */
struct once {
	unsigned first, step;
};

static void *write_once(void *arg)
{
	const struct once *o = arg;
	unsigned i;

	for (i = o->first; i < N; i += o->step)
		((volatile char *)f.m)[(size_t)i * PAGE] = 1;
	return NULL;
}

static atomic_uint seen[N];

static unsigned collect(size_t room)
{
	void *pages[512];
	size_t n = room, i;

	CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) == 0);
	for (i = 0; i < n; i++)
		atomic_fetch_add(&seen[((char *)pages[i] - f.m) / PAGE], 1);
	return (unsigned)n;
}

static void *collect_until_stop(void *arg)
{
	size_t room = *(size_t *)arg;

	while (!atomic_load(&stop))
		collect(room);
	return NULL;
}

static void once_only_writes_are_never_lost(void **state)
{
	static const size_t rooms[] = { 1, 7, 64, 512 };
	unsigned round, i;

	f = test_begin(N, 0);
	for (round = 0; round < (test_slowness() > 1 ? 2 : 12); round++) {
		struct once parts[2] = { { 0, 2 }, { 1, 2 } };
		size_t room[2] = { rooms[round % 4], rooms[(round + 2) % 4] };
		pthread_t writers[2], collectors[2];

		memset((void *)seen, 0, sizeof(seen));
		atomic_store(&stop, false);
		for (i = 0; i < 2; i++) {
			pthread_create(&collectors[i], NULL, collect_until_stop,
				       &room[i]);
			pthread_create(&writers[i], NULL, write_once,
				       &parts[i]);
		}
		for (i = 0; i < 2; i++)
			pthread_join(writers[i], NULL);
		atomic_store(&stop, true);
		for (i = 0; i < 2; i++)
			pthread_join(collectors[i], NULL);
		while (collect(512))
			;
		for (i = 0; i < N; i++)
			assert_true(seen[i] > 0);
	}
	test_end(f);
}

/* Ranges come and go next to one that is being queried and written. */
static void *churn(void *arg)
{
	char *mine = arg;
	unsigned i;

	for (i = 0; i < 3000 / (unsigned)test_slowness(); i++) {
		CHECK(ww_watch(f.ww, mine, 8 * PAGE, 0) == 0);
		((volatile char *)mine)[PAGE] = 1;
		CHECK(ww_unwatch(f.ww, mine + 2 * PAGE, 2 * PAGE, 0) == 0);
		CHECK(ww_unwatch(f.ww, mine, 2 * PAGE, 0) == 0);
		((volatile char *)mine)[5 * PAGE] = 1;
		CHECK(ww_unwatch(f.ww, mine + 4 * PAGE, 4 * PAGE, 0) == 0);
		((volatile char *)mine)[5 * PAGE] = 2;
	}
	return NULL;
}

static void *query_all(void *arg)
{
	struct ww_range runs[64];

	while (!atomic_load(&stop)) {
		size_t n = 64;

		CHECK(ww_get_ranges(f.ww, NULL, 0, WW_WINDOW | WW_RESET, runs,
				    &n) == 0);
	}
	return NULL;
}

static void ranges_come_and_go_while_others_query(void **state)
{
	pthread_t churners[2], queriers[2];
	char *area;
	int i;

	f.ww = test_open();
	area = test_map(64);
	assert_int_equal(ww_watch(f.ww, area + 30 * PAGE, 4 * PAGE, 0), 0);
	atomic_store(&stop, false);
	for (i = 0; i < 2; i++) {
		pthread_create(&queriers[i], NULL, query_all, NULL);
		pthread_create(&churners[i], NULL, churn,
			       area + (size_t)(i * 40 + 4) * PAGE);
	}
	for (i = 0; i < 2; i++)
		pthread_join(churners[i], NULL);
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++)
		pthread_join(queriers[i], NULL);
	test_write(area, 31, -1);
	test_expect(f.ww, area + 30 * PAGE, 4, WW_RESET, 1, -1);
	ww_close(f.ww);
	test_unmap(area, 64);
}

/* Protection changes under the feet of writers and collectors: pages end up
 * with the last protection, and no write is lost. */
static void *change_protection(void *arg)
{
	int i;

	for (i = 0; i < 2000 / test_slowness(); i++) {
		CHECK(ww_protect(f.ww, f.m + 64 * PAGE, 64 * PAGE, PROT_READ,
				 0) == 0);
		CHECK(ww_protect(f.ww, f.m + 64 * PAGE, 64 * PAGE, RW, 0) == 0);
	}
	return NULL;
}

static void *write_beside(void *arg)
{
	unsigned i = 0;

	while (!atomic_load(&stop))
		((volatile char *)f.m)[(i++ % 64) * PAGE] = 1;
	return NULL;
}

static void protection_changes_race_queries(void **state)
{
	size_t room = 64;
	pthread_t writer, collector, changer;
	int i;

	f = test_begin(N, 0);
	atomic_store(&stop, false);
	pthread_create(&writer, NULL, write_beside, NULL);
	pthread_create(&collector, NULL, collect_until_stop, &room);
	pthread_create(&changer, NULL, change_protection, NULL);
	pthread_join(changer, NULL);
	atomic_store(&stop, true);
	pthread_join(writer, NULL);
	pthread_join(collector, NULL);
	while (collect(512))
		;
	for (i = 64; i < 128; i++)
		test_write(f.m, i, -1);
	assert_int_equal(test_count(f.ww, f.m, N, WW_RESET), 64);
	test_end(f);
}

/* --- stopped worlds --- */

static atomic_int stopped;
static atomic_bool resume;

/* A collector's suspend handler. Plain sleeping: the thread must not run. */
static void suspend(int signo)
{
	int saved = errno;

	atomic_fetch_add(&stopped, 1);
	while (!atomic_load(&resume))
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	atomic_fetch_sub(&stopped, 1);
	errno = saved;
}

static void *mutate(void *arg)
{
	char *mine = f.m + (size_t)(uintptr_t)arg * 1024 * PAGE;
	unsigned i = 0;

	while (!atomic_load(&stop)) {
		void *pages[8];
		size_t n = 8;

		((volatile char *)mine)[(i++ % 512) * PAGE]++;
		CHECK(ww_get(f.ww, mine, 512 * PAGE, i & 1 ? WW_RESET : 0,
			     pages, &n, NULL) == 0);
		CHECK(ww_reset(f.ww, mine + 8 * PAGE, 4 * PAGE, 0) == 0);
		CHECK(ww_mark(f.ww, mine + 16 * PAGE, 1, 0) == 0);
	}
	return NULL;
}

/* Threads are stopped at random points, in the middle of our calls and faults
 * too; the collector must not wait for them, and may grow its heap. */
static void a_stopped_world_can_be_collected(void **state)
{
	struct sigaction act = { .sa_handler = suspend,
				 .sa_flags = SA_RESTART };
	pthread_t t[2];
	long round;
	int i;

	f = test_begin(N, 0);
	sigemptyset(&act.sa_mask);
	sigaction(SIGUSR2, &act, NULL);
	atomic_store(&stop, false);
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, mutate, (void *)(uintptr_t)i);
	alarm(50 + 10 * (unsigned)test_slowness()); /* a hang is a failure */
	for (round = 0; round < 300 / test_slowness() + 10; round++) {
		char *more = test_map(2);

		atomic_store(&resume, false);
		for (i = 0; i < 2; i++)
			pthread_kill(t[i], SIGUSR2);
		while (atomic_load(&stopped) < 2)
			sched_yield();
		/* the world stands still */
		assert_int_equal(ww_watch(f.ww, more, 2 * PAGE, 0), 0);
		collect(512);
		assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
		((volatile char *)f.m)[4000 * PAGE] = 1;
		assert_int_equal(ww_mark(f.ww, f.m + 3000 * PAGE, PAGE, 0), 0);
		test_expect(f.ww, f.m + 2048 * PAGE, 2048, WW_RESET, 952, 1952,
			    -1);
		test_write(more, 1, -1);
		test_expect(f.ww, more, 2, WW_RESET, 1, -1);
		atomic_store(&resume, true);
		while (atomic_load(&stopped))
			sched_yield();
		assert_int_equal(ww_unwatch(f.ww, more, 2 * PAGE, 0), 0);
		test_unmap(more, 2);
	}
	alarm(0);
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	test_end(f);
}

/* Stores race the unwatch of their memory: none may crash, and each must be
 * there. */
static atomic_ulong stores;

static void *store_always(void *arg)
{
	while (!atomic_load(&stop)) {
		unsigned i;

		for (i = 0; i < 64; i++)
			((volatile unsigned long *)(f.m + i * PAGE))[1]++;
		atomic_fetch_add(&stores, 1);
	}
	return NULL;
}

static void stores_race_unwatch_and_close(void **state)
{
	pthread_t t;
	unsigned i;

	f = (struct test_fixture){ test_open(), test_map(N), N };
	atomic_store(&stop, false);
	atomic_store(&stores, 0);
	pthread_create(&t, NULL, store_always, NULL);
	for (i = 0; i < 2000 / (unsigned)test_slowness(); i++) {
		assert_int_equal(ww_watch(f.ww, f.m, 64 * PAGE, 0), 0);
		if (i % 3 == 0)
			assert_int_equal(ww_reset(f.ww, f.m, 64 * PAGE, 0), 0);
		if (i % 100 == 0) {
			ww_close(f.ww);
			f.ww = test_open();
		} else {
			assert_int_equal(ww_unwatch(f.ww, f.m, 64 * PAGE, 0),
					 0);
		}
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	for (i = 0; i < 64; i++)
		assert_int_equal(((unsigned long *)(f.m + i * PAGE))[1],
				 atomic_load(&stores));
	test_end(f);
}

TEST_MAIN("threads", CASE(once_only_writes_are_never_lost),
	  CASE(ranges_come_and_go_while_others_query),
	  CASE(protection_changes_race_queries),
	  CASE(a_stopped_world_can_be_collected),
	  CASE(stores_race_unwatch_and_close))
