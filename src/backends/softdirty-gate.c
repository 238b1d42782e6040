/* SPDX-License-Identifier: MIT */
/*
 * softdirty-gate.c - a clear of the soft-dirty bits that loses no write: for all
 * ranges of all trackers at once, with their pages closed.
 *
 * Called by softdirty.c; calls pagemap.c, prots.c, trackers.c and sys.c.
 * Invariant: whatever a clear takes away is pending before it.
 */
#include "backends/softdirty.h"

#include <errno.h>

#include "base/fork.h"
#include "core/trackers.h"
#include "kernel/sys.h"

/* One gate at a time in the process. Two locks make it fair: take `door`, take
 * `lock`, drop `door`. A thread that resets in a loop queues at the door like
 * the others; with one lock it would always win. Signals are blocked meanwhile:
 * a thread that a collector stops does not have the gate, and a handler of the
 * host's does not write to what its own thread has closed. */
WW_DATA static struct {
	struct ww_lock door, lock;
	uint64_t mask; /* of the thread that has the lock */
} serial;

void ww_softdirty_take_gate(void)
{
	uint64_t mask;

	ww_sys_block_signals(&mask);
	ww_lock_take_inside(&serial.door);
	ww_lock_take_inside(&serial.lock);
	ww_lock_drop_inside(&serial.door);
	serial.mask = mask;
}

void ww_softdirty_drop_gate(void)
{
	uint64_t mask = serial.mask;

	ww_lock_drop_inside(&serial.lock);
	ww_sys_restore_signals(mask);
}

void ww_softdirty_init_locks(void)
{
	ww_lock_init(&serial.door, WW_LOCK_GATE);
	ww_lock_init(&serial.lock, WW_LOCK_GATE);
}

/* --- the gate --- */

/* A step of the gate, done to every slice of every tracker, as the tables were
 * when the gate began. */
struct gate {
	struct ww_soft *mine; /* of the tracker that closed the gate */
	void (*fn)(struct ww_soft *mine, const struct ww_slice *s);
};

static struct ww_soft *soft_of(const struct ww *ww)
{
	return ww->backend->fault == ww_softdirty_fault ? ww->priv : NULL;
}

static bool each_slice_of(struct ww *ww, void *arg)
{
	const struct gate *g = arg;
	struct ww_soft *soft = soft_of(ww);
	struct ww_cursor c;

	/* a tracker that was opened since the gate began has no table here */
	if (!soft || !soft->table)
		return false;
	for (c = ww_table_seek(soft->table, 0); ww_cursor_slice(&c);
	     ww_cursor_next(&c))
		g->fn(g->mine, ww_cursor_slice(&c));
	return false;
}

static void each_slice(struct ww_soft *mine,
		       void (*fn)(struct ww_soft *mine,
				  const struct ww_slice *s))
{
	ww_trackers_each(each_slice_of, &(struct gate){ mine, fn });
}

static bool hold_table(struct ww *ww, void *arg)
{
	struct ww_soft *soft = soft_of(ww);

	if (soft) {
		soft->ticket = ww_readers_enter(&ww->ranges.readers);
		soft->table = ww_ranges_table(&ww->ranges);
	}
	return false;
}

static bool drop_table(struct ww *ww, void *arg)
{
	struct ww_soft *soft = soft_of(ww);

	if (soft && soft->table) {
		soft->table = NULL;
		ww_readers_leave(&ww->ranges.readers, soft->ticket);
	}
	return false;
}

/* A page that could not be closed may be written in the gate unseen. */
static void not_closed(struct ww_area *a, size_t first, size_t end)
{
	ww_area_note_lost(a, ww_area_at(a, first), ww_area_at(a, end));
	ww_softdirty_state(a)->unclosed = true;
}

/* For all slices before the first is closed: an area may have several. */
static void begin_slice(struct ww_soft *soft, const struct ww_slice *s)
{
	ww_softdirty_state(s->area)->unclosed = false;
}

/* Held pages stay open, and are reported whatever their bits say. A thread that
 * holds one meanwhile waits for the gate (ww_area_hold()). */
static int close_free(void *arg, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	ww_prots_apply_mapped(&ww_softdirty_state(a)->prots, a,
			      ww_area_page(a, start), ww_area_page(a, end),
			      false, not_closed);
	return 0;
}

static void close_slice(struct ww_soft *soft, const struct ww_slice *s)
{
	struct ww_span span = { s, 1, s->area->kind };

	ww_span_each_free(&span, s->start, s->end, close_free, NULL);
}

/* Another thread may have taken the room that closing gave back (RLIMIT_DATA,
 * mappings). The handler then tries again for each page that is written, and so
 * does the next gate. */
static void not_opened(struct ww_area *a, size_t first, size_t end)
{
	atomic_store(&ww_softdirty_stuck, true);
}

void ww_softdirty_open_slice(struct ww_soft *soft, const struct ww_slice *s)
{
	ww_prots_apply_mapped(&ww_softdirty_state(s->area)->prots, s->area,
			      ww_softdirty_page(s, s->start),
			      ww_softdirty_page(s, s->end), true, not_opened);
	/* A query may have taken what not_closed() marked before the clear. */
	if (ww_softdirty_state(s->area)->unclosed)
		ww_area_mark(s->area, s->start, s->end);
}

static int make_pending(void *area, int class, uintptr_t start, uintptr_t end)
{
	ww_area_mark(area, start, end);
	return 0;
}

static void save_slice(struct ww_soft *soft, const struct ww_slice *s)
{
	if (ww_pagemap_runs(&soft->pagemap, s->start, s->end,
			    ww_softdirty_is_dirty, make_pending, s->area) < 0)
		ww_area_mark(s->area, s->start, s->end); /* not known */
}

/* A thread that begins a hold waits until the gate is open again. One ticket
 * will do: there is one gate at a time, and an area is entered once. */
static void enter_slice(struct ww_soft *soft, const struct ww_slice *s)
{
	struct ww_soft_area *a = ww_softdirty_state(s->area);

	/* unless it was a thread of the parent's */
	if (!a->entered || a->ticket.generation != ww_fork_generation())
		a->ticket = ww_readers_enter(&s->area->changers);
	a->entered = true;
}

static void leave_slice(struct ww_soft *soft, const struct ww_slice *s)
{
	struct ww_soft_area *a = ww_softdirty_state(s->area);

	if (a->entered)
		ww_readers_leave(&s->area->changers, a->ticket);
	a->entered = false;
}

int ww_softdirty_harvest(struct ww_soft *soft)
{
	struct ww_ticket ticket;
	int r;

	if (!ww_fd_ok(&soft->clear_refs) || !ww_fd_ok(&soft->pagemap))
		return -EPERM;
	ticket = ww_trackers_enter();
	ww_trackers_each(hold_table, NULL);
	each_slice(soft, enter_slice);
	ww_turns_wait(&ww_softdirty_turns, 0, UINTPTR_MAX);
	/* Before a page is closed: a writer that faults must find the gate. */
	atomic_fetch_add(&ww_softdirty_moves, 1);
	atomic_store(&ww_softdirty_gate, ww_fork_generation());
	each_slice(soft, begin_slice);
	each_slice(soft, close_slice);
	each_slice(soft, save_slice);
	r = ww_sys_write(soft->clear_refs.fd, "4", 1) < 0 ? -EPERM : 0;
	each_slice(soft, ww_softdirty_open_slice);
	/* A thread that faulted on a closed page, and reaches the handler only
	 * now, finds it writable. */
	atomic_fetch_add(&ww_softdirty_moves, 1);
	atomic_store(&ww_softdirty_gate, 0);
	each_slice(soft, leave_slice);
	ww_trackers_each(drop_table, NULL);
	ww_trackers_leave(ticket);
	return r;
}
