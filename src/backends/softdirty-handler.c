/* SPDX-License-Identifier: MIT */
/*
 * softdirty-handler.c - a write that met the closed gate, inside SIGSEGV.
 *
 * Called by sigsegv-handler.c; calls range.c, prots.c and sys.c. Invariant: no
 * page is opened here while this process's gate is closed.
 *
 * Globals: the gate and its counts, because a clear hits the whole process.
 */
#include "backends/softdirty.h"

#include <sys/mman.h>

#include "kernel/sys.h"

WW_DATA atomic_uint ww_softdirty_gate;
WW_DATA atomic_uint ww_softdirty_moves;
WW_DATA struct ww_turns ww_softdirty_turns;
WW_DATA atomic_bool ww_softdirty_stuck;

/* Wait until this process's gate is open. */
static void await_gate(void)
{
	unsigned gate = atomic_load(&ww_softdirty_gate);

	while (gate && gate == ww_fork_generation() &&
	       atomic_load(&ww_softdirty_gate) == gate)
		ww_sys_sleep_ns(WW_GATE_NS);
}

/* In a child of a bare clone(2) or vfork(2) that was made while its parent had
 * the gate closed, no thread will open the pages: open the slice here. */
static bool open_orphan(const struct ww_slice *s)
{
	int r = ww_prots_apply(s->area->state, s->area,
			       ww_area_page(s->area, s->start),
			       ww_area_page(s->area, s->end), true);

	await_gate(); /* the child's own gate may have closed meanwhile */
	ww_area_note_lost(s->area, s->start, s->end);
	return r == 0;
}

/* Open a page that could not be opened with the gate. A store to it from now on
 * may be reported twice. */
static bool open_stuck(struct ww_area *a, size_t page)
{
	uintptr_t at = ww_area_at(a, page);
	int r = ww_prots_apply(a->state, a, page, page + 1, true);

	await_gate(); /* a gate may have closed, and saved pages, meanwhile */
	if (r == 0)
		ww_area_note_lost(a, at, at + ((uintptr_t)1 << a->page_shift));
	return r == 0;
}

/* Is the page open by now, is the gate closed, or did it move since `moves` was
 * read? Then the fault is out of date, and the store is tried again. In this order:
 * who finds the gate open again finds that it has moved. */
static bool is_stale(uintptr_t at, unsigned moves)
{
	return ww_sys_is_writable(at) || atomic_load(&ww_softdirty_gate) ||
	       moves != atomic_load(&ww_softdirty_moves);
}

bool ww_softdirty_fault(struct ww *ww, uintptr_t at)
{
	struct ww_ticket ticket;
	struct ww_slice s;
	unsigned gate, moves;
	bool ours;

	if (!ww_ranges_pin_one(&ww->ranges, at, &s, &ticket)) {
		/* If the page was unwatched meanwhile, it is writable once the
		 * gate is open, and the caller has the store tried again. */
		await_gate();
		return false;
	}
	moves = atomic_load(&ww_softdirty_moves);
	gate = atomic_load(&ww_softdirty_gate);
	ours = ww_prots_at(s.area->state, s.area, ww_area_page(s.area, at)) &
	       PROT_WRITE;
	if (ours && !gate)
		ours = is_stale(at, moves) ||
		       (atomic_load(&ww_softdirty_stuck) &&
			open_stuck(s.area, ww_area_page(s.area, at)));
	else if (ours && gate != ww_fork_generation())
		ours = open_orphan(&s);
	ww_readers_leave(&s.area->users, ticket);
	/* Wait without a pin: a thread that waits here for long would keep the
	 * area. */
	if (ours) {
		await_gate();
		ww_turns_opened(&ww_softdirty_turns, at & ~(uintptr_t)4095, 0);
	}
	return ours;
}
