/* SPDX-License-Identifier: MIT */
/*
 * softdirty-handler.c - a write that met the closed gate, inside SIGSEGV.
 *
 * Called by fault-handler.c; calls range.c, prots.c and sys.c. Invariant: no
 * page is opened here while this process's gate is closed.
 *
 * Global: the gate, which is closed for the process, as a clear is.
 */
#include "softdirty.h"

#include <sys/mman.h>

#include "sys.h"

atomic_uint ww_softdirty_gate;

/* A child of a bare clone(2) or vfork(2), made while its parent had the gate
 * closed: nobody is there to open it again. */
static void open_orphan(const struct ww_slice *s)
{
	ww_prots_apply(s->area->state, s->area, ww_area_page(s->area, s->start),
		       ww_area_page(s->area, s->end), true);
}

bool ww_softdirty_fault(struct ww *ww, uintptr_t at)
{
	struct ww_ticket ticket;
	struct ww_slice s;
	unsigned gate;
	bool ours;

	if (!ww_ranges_pin_one(&ww->ranges, at, &s, &ticket))
		return false;
	gate = atomic_load(&ww_softdirty_gate);
	ours = gate &&
	       ww_prots_at(s.area->state, s.area, ww_area_page(s.area, at)) &
		       PROT_WRITE;
	if (ours && gate != ww_fork_generation())
		open_orphan(&s);
	ww_readers_leave(&s.area->users, ticket);
	/* Not pinned: who opens the gate waits for nobody, but who unwatches
	 * would. A write that comes after the gate was opened again gets the
	 * free retry of ww_faults_left(). */
	while (ours && atomic_load(&ww_softdirty_gate) == gate &&
	       gate == ww_fork_generation())
		ww_sys_sleep_ns(WW_GATE_NS);
	return ours;
}
