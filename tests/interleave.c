/* SPDX-License-Identifier: MIT */
/* interleave.c - two threads, each held at one of its points. */
#include "interleave.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

static long used_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* The other one may be waiting for this one: not for ever. Measured in time that this
 * thread is given, as the other one is given some too then: on a busy machine, time
 * that passes may be all another program's. No machine is slower than 300; more is asked
 * for to have fewer rounds. */
static void wait_at_point(struct test_held *h)
{
	const long slow = test_slowness() < 300 ? test_slowness() : 300;
	const long end = used_ms() + 10 + slow / 2;

	atomic_store(&h->state, IS_HELD);
	while (!atomic_load(&h->go) && used_ms() < end)
		sched_yield();
}

void test_hold_at(struct test_held *h)
{
	int error = errno;

	if (atomic_load(&h->state) == RUNS && ++h->count == h->at)
		wait_at_point(h);
	errno = error;
}

static void *be_held(void *arg)
{
	struct test_held *h = arg;

	test_hold_me(h);
	h->fn();
	atomic_store(&h->state, HAS_ENDED);
	return NULL;
}

static void start(struct test_held *h)
{
	test_hold_begin(h);
	assert_int_equal(pthread_create(&h->thread, NULL, be_held, h), 0);
}

static void finish(struct test_held *h)
{
	atomic_store(&h->go, true);
	pthread_join(h->thread, NULL);
	test_hold_end(h);
}

bool test_interleave(void (*first)(void), long at, void (*beside)(void),
		     long then)
{
	struct test_held a = { .fn = first, .at = at };
	struct test_held b = { .fn = beside, .at = then };

	start(&a);
	while (atomic_load(&a.state) == RUNS)
		sched_yield();
	if (atomic_load(&a.state) == HAS_ENDED) {
		finish(&a);
		return false;
	}
	start(&b);
	while (atomic_load(&b.state) == RUNS &&
	       atomic_load(&a.state) != HAS_ENDED)
		sched_yield();
	finish(&a);
	finish(&b);
	return true;
}
