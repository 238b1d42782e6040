/* SPDX-License-Identifier: MIT */
/*
 * test-mprotect-facts.c - what mprotect and soft-dirty rely on in mprotect(2), without
 * our library: red here means the kernel, or the machine.
 */
#include "test.h"

#include <sched.h>
#include <signal.h>

static char *m;
static atomic_bool is_open, quit;
static atomic_uint faults;

static void wait_until_open(int signo)
{
	atomic_fetch_add(&faults, 1);
	while (!atomic_load(&is_open))
		sched_yield();
}

#define N 256

static volatile unsigned *counter(size_t page)
{
	return (volatile unsigned *)(void *)(m + page * PAGE);
}

static void *count_up(void *arg)
{
	const size_t pages = *(size_t *)arg;
	size_t i = 0;

	while (!atomic_load(&quit))
		(*counter(i++ * 7 % pages))++;
	return NULL;
}

/* Close `pages` pages again and again; what changes behind that? */
static void close_while_they_are_written(size_t pages)
{
	struct sigaction act = { .sa_handler = wait_until_open }, old;
	unsigned late = 0, closed[N];
	const int rounds = 3000 / (int)test_slowness() + 300;
	pthread_t t;
	size_t p;
	int i, k;

	m = test_map(pages);
	memset(m, 0, pages * PAGE);
	atomic_store(&quit, false);
	atomic_store(&is_open, true);
	sigaction(SIGSEGV, &act, &old);
	assert_int_equal(pthread_create(&t, NULL, count_up, &pages), 0);
	for (i = 0; i < rounds; i++) {
		unsigned before = atomic_load(&faults);

		atomic_store(&is_open, false);
		assert_int_equal(mprotect(m, pages * PAGE, PROT_READ), 0);
		for (p = 0; p < pages; p++)
			closed[p] = *counter(p);
		for (k = 0; k < 300; k++)
			for (p = 0; p < pages; p += pages > 1 ? 64 : 1)
				late += *counter(p) != closed[p];
		for (p = 0; p < pages; p++)
			late += *counter(p) != closed[p];
		assert_int_equal(mprotect(m, pages * PAGE, RW), 0);
		atomic_store(&is_open, true);
		for (k = 0; atomic_load(&faults) == before && k < 1000; k++)
			sched_yield();
	}
	atomic_store(&quit, true);
	pthread_join(t, NULL);
	sigaction(SIGSEGV, &old, NULL);
	print_message("  %d closings, %u faults\n", rounds,
		      atomic_load(&faults));
	assert_int_equal(late, 0);
	assert_true(atomic_load(&faults) > 0);
	test_unmap(m, pages);
}

/* 5.10 to 7.2. An emulator that lets a processor go on with the translations that it
 * has breaks this: then a closed page is written without a fault, and that is lost. */
static void no_store_lands_behind_mprotect(void **state)
{
	close_while_they_are_written(1);
}

static void no_store_lands_behind_mprotect_of_many(void **state)
{
	close_while_they_are_written(N);
}

TEST_MAIN("mprotect-facts", CASE(no_store_lands_behind_mprotect),
	  CASE(no_store_lands_behind_mprotect_of_many))
