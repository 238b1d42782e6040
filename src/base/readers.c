/* SPDX-License-Identifier: MIT */
/*
 * readers.c - counts of the threads that are using something.
 *
 * Called by range.c, api.c and the SIGSEGV handler; calls fork.c for the
 * generation and sys.c to sleep. Invariant: a reader enters before it loads the
 * pointer that it wants to use, a writer publishes the new pointer before it
 * looks at the counts; all seq_cst, so a reader that the writer did not see
 * sees the new pointer.
 */
#include "base/readers.h"

#include "base/fork.h"
#include "kernel/sys.h"

#define LEFT UINT32_C(0x80000000) /* a fork left readers behind */
#define COUNT(v) ((uint32_t)(v) & ~LEFT)
#define GENERATION(v) ((uint32_t)((v) >> 32))

WW_OFTEN struct ww_ticket ww_readers_enter(struct ww_readers *self)
{
	struct ww_ticket t = { atomic_load(&self->phase) & 1,
			       ww_fork_generation() };
	_Atomic(uint64_t) *count = &self->count[t.phase];
	uint64_t old = atomic_load(count);
	uint64_t new;

	do {
		if (GENERATION(old) == t.generation)
			new = old + 1;
		else /* the count is of threads that a fork left behind */
			new = (uint64_t)t.generation << 32 | 1 |
			      ((uint32_t)old ? LEFT : 0);
	} while (!atomic_compare_exchange_weak(count, &old, new));
	return t;
}

WW_OFTEN void ww_readers_leave(struct ww_readers *self, struct ww_ticket t)
{
	_Atomic(uint64_t) *count = &self->count[t.phase];
	uint64_t old = atomic_load(count);

	do {
		/* The ticket is the parent's: a signal handler inside the query
		 * forked, and this is the child. */
		if (GENERATION(old) != t.generation || !COUNT(old))
			return;
	} while (!atomic_compare_exchange_weak(count, &old, old - 1));
}

static bool idle(struct ww_readers *self, unsigned phase)
{
	uint64_t v = atomic_load(&self->count[phase]);

	return !COUNT(v) || GENERATION(v) != ww_fork_generation();
}

bool ww_readers_idle(struct ww_readers *self)
{
	return idle(self, 0) && idle(self, 1);
}

static bool left_behind(struct ww_readers *self, unsigned phase)
{
	uint64_t v = atomic_load(&self->count[phase]);

	return GENERATION(v) == ww_fork_generation() ? v & LEFT
						     : (uint32_t)v != 0;
}

bool ww_readers_left_behind(struct ww_readers *self)
{
	return left_behind(self, 0) || left_behind(self, 1);
}

void ww_readers_wait(struct ww_readers *self)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		long ns = 1000;

		/* Turn new readers to the other count, and wait for this. */
		atomic_store(&self->phase, !i);
		while (!idle(self, i)) {
			ww_sys_sleep_ns(ns);
			if (ns < 1000000)
				ns *= 2;
		}
	}
}
