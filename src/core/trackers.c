/* SPDX-License-Identifier: MIT */
/*
 * trackers.c - the trackers of this process, and who watches what.
 *
 * Called by open.c, watch.c, the backends and the SIGSEGV handler; calls
 * range.c and base. Invariant: a roster (the list of trackers) never changes,
 * except that a tracker that goes while there is no memory leaves a gap; a
 * tracker's memory is freed when no reader may have loaded its address.
 *
 * Global: the roster. A signal handler has no argument to find it by.
 */
#include "core/trackers.h"

#include <errno.h>

#include "base/heap.h"

struct roster {
	struct roster *retired;
	size_t n;
	_Atomic(struct ww *) ww[]; /* NULL: it has gone. Load it once */
};

WW_DATA static struct {
	struct ww_lock lock;		 /* guards changes */
	_Atomic(struct roster *) roster; /* NULL: empty */
	struct ww_readers readers;	 /* threads that are using a roster */
	struct roster *old_rosters;
	struct ww *old_trackers;
} trackers;

static size_t roster_bytes(size_t n)
{
	return sizeof(struct roster) + n * sizeof(struct ww *);
}

WW_OFTEN struct ww_ticket ww_trackers_enter(void)
{
	return ww_readers_enter(&trackers.readers);
}

void ww_trackers_leave(struct ww_ticket ticket)
{
	ww_readers_leave(&trackers.readers, ticket);
}

WW_OFTEN bool ww_trackers_each(bool (*fn)(struct ww *ww, void *arg), void *arg)
{
	struct ww_ticket ticket = ww_trackers_enter();
	const struct roster *r = atomic_load(&trackers.roster);
	bool found = false;
	size_t i;

	for (i = 0; r && !found && i < r->n; i++) {
		struct ww *ww = atomic_load(&r->ww[i]);

		found = ww && fn(ww, arg);
	}
	ww_trackers_leave(ticket);
	return found;
}

/* --- coming and going --- */

/* Free what is retired, unless there are readers: then a later change does. */
static void clean(void)
{
	struct roster *r;
	struct ww *ww;

	if (!ww_readers_idle(&trackers.readers))
		return;
	while ((r = trackers.old_rosters)) {
		trackers.old_rosters = r->retired;
		ww_heap_free(r, roster_bytes(r->n));
	}
	while ((ww = trackers.old_trackers)) {
		trackers.old_trackers = ww->retired;
		ww_ranges_finish(&ww->ranges);
		ww_heap_free(ww->priv, ww->backend->priv_bytes);
		ww_heap_free(ww, sizeof(*ww));
	}
}

/* Replace the roster by one with `add`, or without `drop`. */
static int change_roster(struct ww *add, const struct ww *drop)
{
	struct roster *old = atomic_load(&trackers.roster), *new;
	size_t i, k = 0, n = add ? 1 : 0;

	for (i = 0; old && i < old->n; i++)
		n += atomic_load(&old->ww[i]) &&
		     atomic_load(&old->ww[i]) != drop;
	new = ww_heap_new(roster_bytes(n));
	if (!new)
		return -ENOMEM;
	new->n = n;
	for (i = 0; old && i < old->n; i++) {
		struct ww *ww = atomic_load(&old->ww[i]);

		if (ww && ww != drop)
			atomic_init(&new->ww[k++], ww);
	}
	if (add)
		atomic_init(&new->ww[k], add);
	atomic_store(&trackers.roster, new);
	if (old) {
		old->retired = trackers.old_rosters;
		trackers.old_rosters = old;
	}
	return 0;
}

int ww_trackers_add(struct ww *ww)
{
	int r;

	ww_lock_init(&trackers.lock, WW_LOCK_TRACKERS);
	ww_lock_take_inside(&trackers.lock);
	clean();
	r = change_roster(ww, NULL);
	ww_lock_drop_inside(&trackers.lock);
	return r;
}

static void leave_gap(const struct ww *ww)
{
	struct roster *r = atomic_load(&trackers.roster);
	size_t i;

	for (i = 0; r && i < r->n; i++)
		if (atomic_load(&r->ww[i]) == ww)
			atomic_store(&r->ww[i], NULL);
}

void ww_trackers_remove(struct ww *ww)
{
	ww_lock_init(&trackers.lock, WW_LOCK_TRACKERS);
	ww_lock_take_inside(&trackers.lock);
	if (!ww_process_is_other(&ww->process) && change_roster(NULL, ww) < 0)
		leave_gap(ww);
	ww_lock_drop_inside(&trackers.lock);
}

void ww_trackers_retire(struct ww *ww)
{
	ww_lock_take_inside(&trackers.lock);
	ww->retired = trackers.old_trackers;
	trackers.old_trackers = ww;
	clean();
	ww_lock_drop_inside(&trackers.lock);
}

/* --- claims --- */

struct question {
	const struct ww *asks;
	const struct ww_slice *s;
};

static bool is_taken_by(struct ww *other, void *arg)
{
	const struct question *q = arg;
	struct ww_ticket ticket;
	bool taken;
	size_t i;

	if (other == q->asks)
		return false;
	for (i = 0; i < other->nclaimed; i++)
		if (other->claim[i].start < q->s->end &&
		    q->s->start < other->claim[i].end)
			return true;
	if (other->closing &&
	    ww_table_meets(other->closing, q->s->start, q->s->end))
		return true;
	ticket = ww_readers_enter(&other->ranges.readers);
	taken = ww_table_meets(ww_ranges_table(&other->ranges), q->s->start,
			       q->s->end);
	ww_readers_leave(&other->ranges.readers, ticket);
	return taken;
}

int ww_trackers_claim(struct ww *ww, const struct ww_slice *slice, size_t n)
{
	size_t i;
	int r = 0;

	if (ww_process_is_other(&ww->process))
		return 0;
	ww_lock_take_inside(&trackers.lock);
	for (i = 0; i < n && r == 0; i++)
		if (ww_trackers_each(is_taken_by,
				     &(struct question){ ww, &slice[i] }))
			r = -EBUSY;
	if (r == 0) {
		ww->claim = slice;
		ww->nclaimed = n;
	}
	ww_lock_drop_inside(&trackers.lock);
	return r;
}

void ww_trackers_claim_back(struct ww *ww, const struct ww_slice *slice,
			    size_t n)
{
	if (ww_process_is_other(&ww->process))
		return;
	ww_lock_take_inside(&trackers.lock);
	ww->claim = slice;
	ww->nclaimed = n;
	ww_lock_drop_inside(&trackers.lock);
}

void ww_trackers_closing(struct ww *ww, const struct ww_table *t)
{
	if (ww_process_is_other(&ww->process))
		return;
	ww_lock_take_inside(&trackers.lock);
	ww->closing = t;
	ww_lock_drop_inside(&trackers.lock);
}
