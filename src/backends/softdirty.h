/* SPDX-License-Identifier: MIT */
/*
 * softdirty.h - what the soft-dirty backend and its part of the SIGSEGV handler
 * share, and who uses the bits.
 */
#ifndef WW_SOFTDIRTY_H
#define WW_SOFTDIRTY_H

#include "backends/prots.h"
#include "core/backend.h"
#include "core/turns.h"

/* The fork generation that closed the gate; 0: open. While it is closed the
 * watched pages of the process are read-only, and a writer waits. */
extern atomic_uint ww_softdirty_gate;

/* Counted up when it closes, and when it opens: the same number before and after
 * a look at a page means that the gate did not move meanwhile. */
extern atomic_uint ww_softdirty_moves;

/* Whom it held up. */
extern struct ww_turns ww_softdirty_turns;

/* Set for ever once a page could not be opened with its gate. */
extern atomic_bool ww_softdirty_stuck;

/* Sleeps while it is closed. In a signal handler. */
#define WW_GATE_NS 20000

/* An area's state. The handler knows the first member only. */
struct ww_soft_area {
	struct ww_prots prots;
	/* Of the gate that is closed. */
	struct ww_ticket ticket;
	bool entered;
	bool unclosed; /* some of it could not be closed in this gate */
};
_Static_assert(sizeof(struct ww_soft_area) % sizeof(void *) == 0,
	       "words lie behind it");

/* The backend's fault(). */
bool ww_softdirty_fault(struct ww *ww, uintptr_t at);

/* --- softdirty-bits.c --- */

/* Count a tracker that uses the bits of this process: 1: it clears all of them,
 * -1: by ranges. -EBUSY: there is one of the other kind, whose bits the first
 * would take. */
int ww_softdirty_claim(int kind);
void ww_softdirty_release(int kind);

#endif
