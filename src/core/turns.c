/* SPDX-License-Identifier: MIT */
/*
 * turns.c - a store lands after a bounded number of faults.
 *
 * Called by the backends that let stores fault; calls sys.c. Invariant: a reset
 * waits for a writer LONG_NS at most, and never for itself.
 */
#include "core/turns.h"

#include "kernel/sys.h"

#define AGAIN_NS 1000000u /* faults within it are "in a row" */
/* So are faults within this, if the page was closed within AGAIN_NS of its opening:
 * on a machine with more threads than processors a writer gets its turn only after
 * the time slices of others. Less than a frame of a game. */
#define LATE_NS 10000000u
#define WAIT_NS 50000u
#define MOST_NS 400000u
/* The wait after each eighth opening in a row: on a machine that is busy or
 * emulated, a writer whose page was opened may take that long to run. Not after
 * each opening, because a page that is written again and again looks the same
 * as one whose writer starves. */
#define LONG_NS 6400000u

static struct ww_turn *turn_of(struct ww_turns *self, uintptr_t page)
{
	uintptr_t h = page >> 12;

	return &self->turn[(h ^ h >> 6 ^ h >> 12) % WW_TURNS];
}

/* How long a writer is given to run, after so many openings in a row. */
static uint64_t wait_after(unsigned times)
{
	if (times < 2)
		return 0;
	if (times % 8 == 0)
		return LONG_NS;
	return times < 5 ? (uint64_t)WAIT_NS << (times - 2) : MOST_NS;
}

void ww_turns_opened(struct ww_turns *self, uintptr_t page, unsigned thread)
{
	struct ww_turn *t = turn_of(self, page);
	uint64_t now = ww_sys_now_ns();
	uint64_t again = atomic_load(&t->hasty) ? LATE_NS : AGAIN_NS;

	if (atomic_load(&t->page) != page ||
	    now - atomic_load(&t->when) >
		    again + wait_after(atomic_load(&t->times))) {
		atomic_store(&t->page, page);
		atomic_store(&t->thread, thread);
		atomic_store(&t->times, 1);
	} else {
		/* asked for only now: most faults need no such system call */
		if (!thread)
			thread = ww_sys_thread_id();
		if (atomic_exchange(&t->thread, thread) == thread ||
		    atomic_load(&t->times) == 1)
			atomic_fetch_add(&t->times, 1);
	}
	atomic_store(&t->when, now);
}

/* How long from now on the writer of a page has to be given. */
static uint64_t time_left(const struct ww_turn *t, uint64_t now)
{
	uint64_t wait = wait_after(atomic_load(&t->times));
	uint64_t since = now - atomic_load(&t->when);

	return since < wait ? wait - since : 0;
}

void ww_turns_wait(struct ww_turns *self, uintptr_t start, uintptr_t end)
{
	uint64_t now = 0, most = 0;
	unsigned i, me = 0;

	for (i = 0; i < WW_TURNS; i++) {
		struct ww_turn *t = &self->turn[i];
		uintptr_t page = atomic_load(&t->page);
		uint64_t left;

		if (page < start || page >= end || !atomic_load(&t->times))
			continue;
		now = now ? now : ww_sys_now_ns();
		atomic_store(&t->hasty, now - atomic_load(&t->when) < AGAIN_NS);
		if (atomic_load(&t->times) < 2)
			continue;
		me = me ? me : ww_sys_thread_id();
		left = atomic_load(&t->thread) == me ? 0 : time_left(t, now);
		most = left > most ? left : most;
	}
	if (most)
		ww_sys_sleep_ns((long)most);
}
