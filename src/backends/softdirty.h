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
#include "kernel/pagemap.h"

/* The gate (softdirty-gate.c): the fork generation that closed it; 0: open. While it
 * is closed watched pages are read-only, and writers wait. */
extern atomic_uint ww_softdirty_gate;

/* Counted up when the gate closes and when it opens: the same number before and
 * after a look at a page means that the gate did not move meanwhile. */
extern atomic_uint ww_softdirty_moves;

/* Writers that had to wait for the gate. */
extern struct ww_turns ww_softdirty_turns;

/* Set, and never cleared, once a page could not be opened with the gate. */
extern atomic_bool ww_softdirty_stuck;

/* A writer sleeps so long between looks at the gate, in a signal handler. */
#define WW_GATE_NS 20000

/* An area's state. The handler knows the first member only. */
struct ww_soft_area {
	struct ww_prots prots;
	/* Of area->changers, while the gate is closed: `entered` says so. */
	struct ww_ticket ticket;
	bool entered;
	bool unclosed; /* some of it could not be closed in this gate */
};

static inline struct ww_soft_area *ww_softdirty_state(const struct ww_area *a)
{
	return a->state;
}

static inline size_t ww_softdirty_page(const struct ww_slice *s, uintptr_t at)
{
	return ww_area_page(s->area, at);
}

static inline int ww_softdirty_is_dirty(uint64_t entry)
{
	return (entry & PM_SOFT_DIRTY) != 0;
}

/* The backend's part of a tracker: ww->priv. */
struct ww_soft {
	struct ww_fd pagemap, clear_refs;
	/* While the gate is closed: the table that it closed, and its pin. */
	struct ww_ticket ticket;
	const struct ww_table *table;
};

/* The backend's fault(). */
bool ww_softdirty_fault(struct ww *ww, uintptr_t at);

/* --- softdirty-gate.c --- */

/* Once, before the others; harmless to call again. */
void ww_softdirty_init_locks(void);

/* One thread at a time has the gate, with its signals blocked. */
void ww_softdirty_take_gate(void);
void ww_softdirty_drop_gate(void);

/* The thread that has the gate: all that is dirty in the process becomes pending,
 * and clean. 0, -EPERM. */
int ww_softdirty_harvest(struct ww_soft *soft);

/* Open a slice that a gate closed. */
void ww_softdirty_open_slice(struct ww_soft *soft, const struct ww_slice *s);

/* --- softdirty-bits.c --- */

/* Count a tracker that uses the soft-dirty bits of this process. Kind 1 clears
 * all of them, kind -1 those of ranges. -EBUSY: there is a tracker of the other
 * kind, and kind 1 would clear the bits of kind -1. */
int ww_softdirty_claim(int kind);
void ww_softdirty_release(int kind);

#endif
