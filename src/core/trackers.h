/* SPDX-License-Identifier: MIT */
/*
 * trackers.h - the trackers of this process, and who watches what.
 */
#ifndef WW_TRACKERS_H
#define WW_TRACKERS_H

#include "core/backend.h"

/* A tracker of our own memory comes and goes. The second takes the tracker's
 * memory over and frees it when no signal handler can be looking at it. */
int ww_trackers_add(struct ww *ww);
void ww_trackers_remove(struct ww *ww);

/* Call fn for each tracker while it returns false; true if one returned true.
 * Lock-free and async-signal-safe. */
bool ww_trackers_each(bool (*fn)(struct ww *ww, void *arg), void *arg);

/* The same for a longer stay: between the two no tracker is freed. */
struct ww_ticket ww_trackers_enter(void);
void ww_trackers_leave(struct ww_ticket ticket);

/* Memory is one tracker's: two would take each other's closing for the
 * program's protection, or clear each other's bits; and the kernel does not ask
 * whose userfaultfd it is that protects a page. Before a tracker looks at memory
 * that it is to watch, it claims it, -EBUSY if another one watches or claims
 * some of it; what it lets go it claims (never refused) until it is through.
 * The slices are the caller's until it claims none (NULL, 0). Writer's lock. */
int ww_trackers_claim(struct ww *ww, const struct ww_slice *slice, size_t n);
void ww_trackers_claim_back(struct ww *ww, const struct ww_slice *slice,
			    size_t n);

#endif
