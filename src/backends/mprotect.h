/* SPDX-License-Identifier: MIT */
/*
 * mprotect.h - what the mprotect backend and its SIGSEGV handler share.
 *
 * A word for each page, zero at first:
 *
 *	bit 0      DIRTY: open (or about to be), and to be reported
 *	bits 1-3   the program's protection (prots.h)
 *	bits 4-11  fork generation of the openers: a child ignores older ones
 *	bits 12-   OPENERS: handlers that are opening the page right now
 *
 * Opening: OPENERS + 1 and DIRTY, mprotect read-write, OPENERS - 1.
 * Closing: DIRTY without openers -> 0, then mprotect read-only; with openers
 * the page is reported and left dirty. Without the count a closing mprotect
 * could meet an opening one such that the page is open and clean, and its
 * writes are lost (64,000 of 307,200 once-only writes were).
 */
#ifndef WW_MPROTECT_H
#define WW_MPROTECT_H

#include "core/backend.h"
#include "backends/prots.h"

#define WW_PAGE_DIRTY 1u

struct ww_mprotect_area {
	/* Being let go: pages in here are opened, not closed any more. */
	_Atomic(uintptr_t) leaving_start, leaving_end;
	struct ww_bits dirty; /* index of the DIRTY words */
	struct ww_prots prots;
};

/* Is some handler of this process opening the page? */
bool ww_mprotect_busy(uint32_t word);

/* Open pages for writing and make them dirty. start, end: whole pages of one
 * slice. Pages that the program itself made read-only stay so. 0, -ENOMEM. */
int ww_mprotect_open(struct ww_area *a, uintptr_t start, uintptr_t end);

/* The backend's fault(). */
bool ww_mprotect_fault(struct ww *ww, uintptr_t at);

/* Pages were closed: mappings may have become one again. */
void ww_mprotect_closed(void);

/* Pages were let go. */
void ww_mprotect_left(void);

/* May two more mappings be split off? Counts what is left before
 * vm.max_map_count, half of which is the program's. Writer's lock. */
bool ww_mprotect_may_split(void);

#endif
