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

static void *count_up(void *arg)
{
	volatile unsigned *counter = (volatile unsigned *)(void *)m;

	while (!atomic_load(&quit))
		(*counter)++;
	return NULL;
}

/* 5.10 to 7.2. An emulator that lets a processor go on with the translations that it
 * has breaks this: then a closed page is written without a fault, and that is lost. */
static void no_store_lands_behind_mprotect(void **state)
{
	struct sigaction act = { .sa_handler = wait_until_open }, old;
	const int rounds = 3000;
	unsigned late = 0;
	pthread_t t;
	int i, k;

	m = test_map(1);
	atomic_store(&is_open, true);
	sigaction(SIGSEGV, &act, &old);
	assert_int_equal(pthread_create(&t, NULL, count_up, NULL), 0);
	for (i = 0; i < rounds; i++) {
		volatile unsigned *counter = (volatile unsigned *)(void *)m;
		unsigned closed;

		atomic_store(&is_open, false);
		assert_int_equal(mprotect(m, PAGE, PROT_READ), 0);
		closed = *counter;
		for (k = 0; k < 300; k++)
			late += *counter != closed;
		assert_int_equal(mprotect(m, PAGE, RW), 0);
		atomic_store(&is_open, true);
		for (k = 0; *counter == closed && k < 100000; k++)
			sched_yield();
	}
	atomic_store(&quit, true);
	pthread_join(t, NULL);
	sigaction(SIGSEGV, &old, NULL);
	print_message("  %d closings, %u faults\n", rounds,
		      atomic_load(&faults));
	assert_int_equal(late, 0);
	assert_true(atomic_load(&faults) > 0);
	test_unmap(m, 1);
}

TEST_MAIN("mprotect-facts", CASE(no_store_lands_behind_mprotect))
