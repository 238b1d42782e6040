/* SPDX-License-Identifier: MIT */
/*
 * turns.c - a store lands after a bounded number of faults.
 *
 * Called by the backends that let stores fault; calls sys.c. Invariant: a reset
 * waits for a writer LONG_NS at most, and never for itself.
 */
#include "core/turns.h"

#include "kernel/sys.h"

#define AGAIN_NS 1000000u /* openings within it are "in a row" */
/* So are openings within this, if the page was closed within AGAIN_NS of its opening:
 * where threads are many, or the writer's priority is low, it gets its turn only
 * after the time slices of others. */
#define LATE_NS 100000000u
#define WAIT_NS 50000u
#define MOST_NS 400000u
/* After each eighth opening in a row, until the writer has run: of its own time it
 * was given MOST_NS. */
#define LONG_NS 12800000u
#define LOOK_NS 100000u

static struct ww_turn *turn_of(struct ww_turns *self, uintptr_t page)
{
	uintptr_t h = page >> 12;

	return &self->turn[(h ^ h >> 6 ^ h >> 12) % WW_TURNS];
}

/* How many places of the table can have pages of [start, end): one for each 4 KiB, by
 * which turn_of() goes, or all of them if those are fewer. */
static unsigned places(uintptr_t start, uintptr_t end)
{
	uintptr_t n = (end - start) >> 12;

	return n < WW_TURNS ? (unsigned)n : WW_TURNS;
}

/* The i-th of them. */
static struct ww_turn *place(struct ww_turns *self, uintptr_t start,
			     unsigned of, unsigned i)
{
	return of < WW_TURNS ? turn_of(self, start + ((uintptr_t)i << 12))
			     : &self->turn[i];
}

/* What is noted is a guess at whose turn it is, and orders nothing else: an ordered
 * store would cost each fault some 7 ns. */
#define NOTE(to, value)                                                        \
	atomic_store_explicit(&(to), value, memory_order_relaxed)

/* Openings that are not counted after a reset by the writer itself, 2 to 9: not always
 * as many, or two writers that take turns might be counted at the same one of them for
 * ever. The product, since a clock's last bits may be zeros (16 ns on an arm64). */
#define TRUSTED(now) (2 + (unsigned)((now)*UINT64_C(0x9e3779b97f4a7c15) >> 61))

/* How long a writer is given to run, after so many openings in a row. */
static uint64_t wait_after(unsigned times)
{
	if (times < 2)
		return 0;
	if (times % 8 == 0)
		return LONG_NS;
	return times < 5 ? (uint64_t)WAIT_NS << (times - 2) : MOST_NS;
}

/* Before the long wait. A writer that slept since the seventh opening was not
 * starving: its store landed. Where the helper thread opens pages nobody can say. */
static void before_long_wait(struct ww_turn *t, unsigned times, unsigned thread,
			     bool own)
{
	if (own && times % 8 == 7)
		NOTE(t->sleeps, ww_sys_sleeps_of_thread());
	if (times == 0 || times % 8)
		return;
	if (own && atomic_load(&t->sleeps) != ww_sys_sleeps_of_thread())
		NOTE(t->times, 1);
	else
		NOTE(t->cpu, ww_sys_thread_ns(thread));
}

WW_OFTEN void ww_turns_opened(struct ww_turns *self, uintptr_t page,
			      unsigned thread)
{
	struct ww_turn *t = turn_of(self, page);
	uint64_t now = ww_sys_now_ns();
	uint64_t again = atomic_load(&t->hasty) ? LATE_NS : AGAIN_NS;
	unsigned trusted = atomic_load(&t->trusted);
	bool own = !thread;

	if (atomic_load(&t->page) != page ||
	    now - atomic_load(&t->when) >
		    again + wait_after(atomic_load(&t->times))) {
		NOTE(t->page, page);
		NOTE(t->thread, thread);
		NOTE(t->times, 1);
		NOTE(t->trusted, 0);
	} else if (trusted) {
		NOTE(t->trusted, trusted - 1);
	} else {
		/* asked for only now: most faults need no such system call */
		if (own)
			thread = ww_sys_thread_id();
		if (atomic_exchange(&t->thread, thread) == thread ||
		    atomic_load(&t->times) == 1)
			before_long_wait(t, atomic_fetch_add(&t->times, 1) + 1,
					 thread, own);
	}
	NOTE(t->when, now);
}

/* How long from now on the writer of a page has to be given. */
static uint64_t time_left(const struct ww_turn *t, uint64_t now)
{
	unsigned times = atomic_load(&t->times);
	uint64_t wait = wait_after(times);
	uint64_t since = now - atomic_load(&t->when);
	uint64_t then = atomic_load(&t->cpu), ran;

	if (since >= wait)
		return 0;
	if (times % 8 == 0 && then) {
		/* 0: the thread has ended */
		ran = ww_sys_thread_ns(atomic_load(&t->thread)) - then;
		if (ran >= MOST_NS)
			return 0;
		return LOOK_NS;
	}
	return wait - since;
}

/* Its writer resets a page: its store has landed. */
static void trust(struct ww_turn *t, uint64_t now)
{
	NOTE(t->times, 1);
	NOTE(t->trusted, TRUSTED(now));
}

/* The longest time that the writer of a page of [start, end) has to be given. */
static uint64_t longest(struct ww_turns *self, uintptr_t start, uintptr_t end,
			uint64_t now)
{
	uint64_t most = 0;
	unsigned n = places(start, end), i, me = 0;

	for (i = 0; i < n; i++) {
		struct ww_turn *t = place(self, start, n, i);
		uintptr_t page = atomic_load(&t->page);
		uint64_t left;

		if (page < start || page >= end || atomic_load(&t->times) < 2)
			continue;
		me = me ? me : ww_sys_thread_id();
		if (atomic_load(&t->thread) == me) {
			trust(t, now);
			continue;
		}
		left = time_left(t, now);
		most = left > most ? left : most;
	}
	return most;
}

/* Note which pages are closed right after their opening. Returns the time; 0: no
 * page of [start, end) was opened twice in a row. */
static uint64_t note_hasty(struct ww_turns *self, uintptr_t start,
			   uintptr_t end)
{
	unsigned n = places(start, end), i;
	bool again = false;
	uint64_t now = 0;

	for (i = 0; i < n; i++) {
		struct ww_turn *t = place(self, start, n, i);
		uintptr_t page = atomic_load(&t->page);

		if (page < start || page >= end || !atomic_load(&t->times))
			continue;
		now = now ? now : ww_sys_now_ns();
		NOTE(t->hasty, now - atomic_load(&t->when) < AGAIN_NS);
		again = again || atomic_load(&t->times) > 1;
	}
	return again ? now : 0;
}

void ww_turns_wait(struct ww_turns *self, uintptr_t start, uintptr_t end)
{
	uint64_t now = note_hasty(self, start, end);
	uint64_t deadline = now + LONG_NS, left;

	while (now && now < deadline) {
		left = longest(self, start, end, now);
		if (!left)
			break;
		ww_sys_sleep_ns((long)left);
		now = ww_sys_now_ns();
	}
}
