/* SPDX-License-Identifier: MIT */
/*
 * trackers.h - the trackers of this process, and who watches what.
 */
#ifndef WW_TRACKERS_H
#define WW_TRACKERS_H

#include "core/backend.h"

/* A tracker of our own memory is added when it opens. One that closes, of whatever
 * memory, is removed, and retired: freed when no signal handler can be looking at
 * it. All with signals blocked. */
int ww_trackers_add(struct ww *ww);
void ww_trackers_remove(struct ww *ww);
void ww_trackers_retire(struct ww *ww);

/* Call fn for each tracker while it returns false; true if one returned true.
 * Lock-free and async-signal-safe. */
bool ww_trackers_each(bool (*fn)(struct ww *ww, void *arg), void *arg);

/* Between the two no tracker is freed. */
struct ww_ticket ww_trackers_enter(void);
void ww_trackers_leave(struct ww_ticket ticket);

/* No two trackers may watch the same memory: each would take pages that the
 * other closed for the program's own protection, or clear the other's bits; and
 * the kernel does not ask whose userfaultfd it is that protects a page. So a
 * tracker claims memory before it looks at it to watch it: -EBUSY if another
 * tracker watches or claims some of it. While a tracker lets memory go it
 * claims it back, which never fails. The slices are not copied: they must live
 * until the tracker claims none (NULL, 0). The caller holds its lock. */
int ww_trackers_claim(struct ww *ww, const struct ww_slice *slice, size_t n);
void ww_trackers_claim_back(struct ww *ww, const struct ww_slice *slice,
			    size_t n);

/* While a tracker that closes lets go of all that it watches, nobody else may watch
 * that (NULL: it is over). */
void ww_trackers_closing(struct ww *ww, const struct ww_table *t);

#endif
