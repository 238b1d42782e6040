/* SPDX-License-Identifier: MIT */
/*
 * test-stopped.c - every call returns while all other threads are stopped by a
 * signal, wherever that hit them: inside every call of ours, and inside malloc(),
 * of which there is one arena.
 */
#include "test.h"

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

#include "writewatch-win32.h"

#define N 64
#define MUTATORS 3
#define GRAIN 0x10000u

static struct test_fixture f;
static char *mine[MUTATORS + 1];
static pid_t tids[MUTATORS];
static atomic_uint stopped, resume;
static atomic_uint progress; /* of the mutators, in calls */
static atomic_bool quit;

static void stop_here(int signo)
{
	unsigned round = atomic_load(&resume);

	atomic_fetch_add(&stopped, 1);
	while (atomic_load(&resume) == round)
		syscall(SYS_sched_yield);
}

/* One call of ours, on memory of the caller's own and on what all share. */
static void one_call(unsigned i, char *own)
{
	struct ww_range_info info = { .size = sizeof(info) };
	struct ww_range runs[8];
	void *pages[8];
	size_t n = 8, k;
	ww_DWORD old;
	struct ww *other;
	char *p;

	switch (i % 16) {
	case 0:
		CHECK(ww_watch(f.ww, own, 8 * PAGE, 0) == 0);
		own[2 * PAGE] = 1;
		break;
	case 1:
		CHECK(ww_get(f.ww, own, 8 * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		CHECK(n >= 1);
		break;
	case 2:
		CHECK(ww_get_ranges(f.ww, f.m, N * PAGE, 0, runs, &n) == 0);
		/* who stops the others lets go of it while they look */
		for (k = 0; k < 100; k++) {
			n = 8;
			CHECK(ww_get_ranges(f.ww, mine[MUTATORS], 8 * PAGE,
					    WW_WINDOW, runs, &n) == 0);
			atomic_fetch_add(&progress, 1);
		}
		break;
	case 3:
		CHECK(ww_mark(f.ww, own + 3 * PAGE, 5, 0) == 0);
		break;
	case 4:
		CHECK(ww_hold(f.ww, own, PAGE, 0) == 0);
		CHECK(ww_release(f.ww, own, PAGE, 0) == 0);
		break;
	case 5:
		CHECK(ww_protect(f.ww, own, 2 * PAGE, PROT_READ, 0) == 0);
		break;
	case 6:
		CHECK(ww_protect(f.ww, own, 2 * PAGE, RW, 0) == 0);
		break;
	case 7:
		CHECK(ww_reset(f.ww, own, 8 * PAGE, 0) == 0);
		break;
	case 8:
		CHECK(ww_discard(f.ww, own, 8 * PAGE, 0) == 0);
		break;
	case 9:
		CHECK(ww_next_range(f.ww, NULL, &info) == 0);
		break;
	case 10:
		CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		break;
	case 11:
		CHECK(ww_unwatch(f.ww, own, 4 * PAGE, 0) == 0);
		break;
	case 12:
		CHECK(ww_unwatch(f.ww, own + 4 * PAGE, 4 * PAGE,
				 WW_UNMAPPING) == 0);
		break;
	case 13:
		CHECK(ww_open(&other, NULL) == 0);
		ww_close(other);
		break;
	default:
		p = ww_VirtualAlloc(NULL, GRAIN,
				    WW_MEM_RESERVE | WW_MEM_COMMIT |
					    WW_MEM_WRITE_WATCH,
				    WW_PAGE_READWRITE);
		CHECK(p);
		p[GRAIN / 2] = 1;
		CHECK(ww_VirtualProtect(p, GRAIN, WW_PAGE_READWRITE, &old));
		CHECK(ww_VirtualFree(p, GRAIN, WW_MEM_DECOMMIT));
		CHECK(ww_ResetWriteWatch(p, GRAIN) == 0);
		CHECK(ww_VirtualFree(p, 0, WW_MEM_RELEASE));
	}
}

static void *mutate(void *arg)
{
	uintptr_t k = (uintptr_t)arg;
	unsigned i;

	tids[k] = (pid_t)syscall(SYS_gettid);
	for (i = 0; !atomic_load(&quit); i++) {
		void *p = malloc(100 + i % 5000);

		((volatile char *)f.m)[(i * 7 + k) % N * PAGE] = 1;
		one_call(i, mine[k]);
		free(p);
		atomic_fetch_add(&progress, 1);
	}
	/* leave it as it was found */
	for (; i % 16 != 0; i++)
		one_call(i, mine[k]);
	return NULL;
}

static void every_call_returns_in_a_stopped_world(void **state)
{
	struct sigaction act = { .sa_handler = stop_here,
				 .sa_flags = SA_RESTART };
	int round, rounds = (int)(600 / test_slowness()) + 8;
	uint64_t random = 88172645463325252u;
	pthread_t t[MUTATORS];
	uintptr_t k;

#ifdef M_ARENA_MAX /* glibc: all threads wait for one lock */
	mallopt(M_ARENA_MAX, 1);
#endif
	f = (struct test_fixture){ test_open(), test_map(N), N };
	CHECK(ww_win32_tracker());
	ww_close(test_open()); /* on top of cmocka's handler again */
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	sigaction(SIGUSR1, &act, NULL);
	for (k = 0; k <= MUTATORS; k++)
		mine[k] = test_map(8);
	one_call(0, mine[MUTATORS]);
	for (k = 0; k < MUTATORS; k++)
		pthread_create(&t[k], NULL, mutate, (void *)k);
	for (k = 0; k < MUTATORS; k++)
		while (!*(volatile pid_t *)&tids[k])
			sched_yield();
	alarm((unsigned)(200 * test_slowness()));
	for (round = 0; round < rounds; round++) {
		unsigned i, before = atomic_load(&progress);
		volatile unsigned delay;

		test_random(&random);
		/* on a busy machine they may not have run since the last round */
		while (atomic_load(&progress) - before < (random >> 32 & 3))
			sched_yield();
		for (delay = 0; delay < random % 20000; delay++)
			;
		atomic_store(&stopped, 0);
		for (k = 0; k < MUTATORS; k++)
			syscall(SYS_tgkill, getpid(), tids[k], SIGUSR1);
		while (atomic_load(&stopped) < MUTATORS)
			sched_yield();
		/* nothing here may wait for them, nor for malloc's lock */
		for (i = 1; i <= 16; i++)
			one_call(i, mine[MUTATORS]);
		atomic_fetch_add(&resume, 1);
	}
	atomic_store(&quit, true);
	for (k = 0; k < MUTATORS; k++)
		pthread_join(t[k], NULL);
	alarm(0);
	signal(SIGUSR1, SIG_DFL);
	ww_close(f.ww);
}

TEST_MAIN("stopped", CASE(every_call_returns_in_a_stopped_world))
