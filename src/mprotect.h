/* SPDX-License-Identifier: MIT */
/*
 * mprotect.h - what the mprotect backend and its SIGSEGV handler share.
 *
 * A word for each page, zero at first:
 *
 *	bit 0      DIRTY: open (or about to be), and to be reported
 *	bits 1-3   the program's protection, as difference from the area's
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

#include <signal.h>

#include "backend.h"

#define WW_PAGE_DIRTY 1u

#define WW_MPROTECT_LAYERS 16u

struct ww_mprotect_area {
	/* Being let go: pages in here are opened, not closed any more. */
	_Atomic(uintptr_t) leaving_start, leaving_end;
	struct ww_bits dirty;	/* index of the DIRTY words */
	struct ww_bits changed; /* and of those with another protection */
	_Atomic(uint32_t) *word;
};

/* The protection that the program wants for a page, from its word. */
int ww_mprotect_wanted(const struct ww_area *a, uint32_t word);

/* The same for a page; and the end of the run from there on, below end, of
 * pages that want the same. */
int ww_mprotect_wanted_at(const struct ww_area *a, size_t page);
size_t ww_mprotect_same(const struct ww_area *a, size_t page, size_t end);

/* The word with another protection. */
uint32_t ww_mprotect_want(const struct ww_area *a, uint32_t word, int prot);

/* The protection of a page that its first write is to fault on. */
int ww_mprotect_closed_prot(int prot);

/* Give pages that the program may write to what their words want, open or
 * closed; the others have it anyway. 0 or -errno. */
int ww_mprotect_apply(struct ww_area *a, size_t first, size_t end, bool open);

/* Is some handler of this process opening the page? */
bool ww_mprotect_busy(uint32_t word);

/* Pages were closed: mappings may have become one again. */
void ww_mprotect_closed(void);

/* Pages were let go, but a thread that faulted before may not have reached the
 * handler yet. */
void ww_mprotect_left(void);

/* Open pages for writing and make them dirty. start, end: whole pages of one
 * slice. Pages that the program itself made read-only stay so. 0, -ENOMEM.
 * Lock-free, async-signal-safe. */
int ww_mprotect_open(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Handle faults for a tracker; install the handler unless the host has its own.
 * These are the backend's open and close. */
int ww_mprotect_register(struct ww *ww, const struct ww_options *options);
void ww_mprotect_unregister(struct ww *ww);

/* Does another tracker watch part of it this way? It would take our closing for
 * the program's protection. Writer's lock. */
bool ww_mprotect_overlap(const struct ww *ww, uintptr_t start, uintptr_t end);

/* May two more mappings be split off? Counts what is left before
 * vm.max_map_count, half of which is the program's. Writer's lock. */
bool ww_mprotect_may_split(void);

/* --- between the registry and the handler --- */

struct ww_roster {
	size_t n;
	struct ww *ww[];
};

struct ww_mprotect_registry {
	pthread_once_t once;
	struct ww_lock lock;		    /* guards changes */
	_Atomic(struct ww_roster *) roster; /* immutable; NULL: empty */
	struct ww_readers readers;	    /* who is using a roster */
	/* Whom we hand foreign signals to: who was there when we installed our
	 * handler last; below it, who was there the time before. */
	struct sigaction old[WW_MPROTECT_LAYERS];
	atomic_uint layers;
	atomic_uint left;	  /* counts ww_mprotect_left() */
	atomic_uint counted;	  /* times that may_split() was asked */
	atomic_long used, budget; /* mappings split off, and how many may be */
	atomic_long released;	  /* given back since they were counted */
	atomic_bool closed;	  /* some pages were, since they were counted */
};

extern struct ww_mprotect_registry ww_mprotect_registry;

void ww_mprotect_on_fault(int signo, siginfo_t *info, void *ucontext);

/* Mappings that we split off: two for each slice and each open run. */
long ww_mprotect_count_splits(void);

/* Take two mappings from the budget. Opening gives none back: when they are
 * used up, it is counted what is really split off. */
bool ww_mprotect_take_two(void);

#endif
