/* SPDX-License-Identifier: MIT */
/*
 * mprotect.h - what the mprotect backend and its SIGSEGV handler share.
 *
 * A bit for each page, in `dirty`: open (or about to be), and to be reported. And
 * a word, zero at first (bit 0 has no meaning):
 *
 *	bits 1-5   the program's protection (prots.h)
 *	bits 6-13  fork generation of the openers: a child ignores older ones
 *	bits 14-   OPENERS: handlers that are opening the page right now
 *
 * Opening: count up OPENERS, set the bit, mprotect read-write, count down.
 * Closing: clear the bit, look at OPENERS, mprotect read-only; with openers the
 * page is reported, and the bit is set again. Without the count a closing mprotect
 * could meet an opening one such that the page is open and its bit clear, and its
 * writes are lost (64,000 of 307,200 once-only writes were).
 *
 * The first two steps of both are seq_cst, so they have one order. If the look
 * finds no opener, an opener that comes later finds the bit clear, and sets it. If
 * an opener finds the bit set and leaves it so, the bit is cleared later, and the
 * look after that finds the opener, or its mprotect has ended.
 *
 * Both are done inside of area->changers, with signals blocked, and only for
 * pages that the table still has: a thread that unwatches pages waits for both,
 * and a query that goes on after a signal finds them gone.
 */
#ifndef WW_MPROTECT_H
#define WW_MPROTECT_H

#include "backends/prots.h"
#include "core/backend.h"
#include "core/turns.h"

#define WW_MP_OPENER (1u << 14)
#define WW_MP_OPENERS(word) ((word) / WW_MP_OPENER)

struct ww_mp_area {
	struct ww_bits dirty;
	struct ww_prots prots;
	/* Being unwatched: pages in here are opened, no more closed. */
	_Atomic(uintptr_t) leaving_start, leaving_end;
};

/* The backend's part of a tracker: ww->priv. */
struct ww_mp {
	struct ww_turns turns;
};

static inline struct ww_mp_area *ww_mp_state(const struct ww_area *a)
{
	return a->state;
}

/* Are the openers of a word handlers of this process? */
bool ww_mp_is_ours(uint32_t word);

/* Is some handler of this process opening the page? */
static inline bool ww_mp_is_busy(uint32_t word)
{
	return WW_MP_OPENERS(word) && ww_mp_is_ours(word);
}

/* Open the pages for writing and make them dirty. Pages that the program itself
 * made read-only stay so. With signals blocked. 0, -ENOMEM. */
int ww_mp_open(struct ww_area *a, uintptr_t start, uintptr_t end);

/* The same for those of [start, end) that are held. */
void ww_mp_open_held(struct ww_area *a, uintptr_t start, uintptr_t end);

/* The backend's fault(). */
bool ww_mp_fault(struct ww *ww, uintptr_t at);

/* The backend's open_runs(). */
long ww_mp_open_runs(const struct ww_slice *s);

#endif
