/* SPDX-License-Identifier: MIT */
/*
 * api.c - the public calls on memory: check, lock or pin, one inner call.
 *
 * Called by programs and by the Win32 face; calls core. Invariant: results pass
 * ww_error(), which guards the closed set of codes; a call that fails has
 * changed nothing, and no page has lost its dirty state.
 */
#include <errno.h>

#include "base/heap.h"
#include "core/backend.h"
#include "core/collect.h"
#include "core/error.h"
#include "core/inherit.h"
#include "core/protect.h"
#include "core/size.h"
#include "core/watch.h"

/* What a call is about. */
struct extent {
	uintptr_t start, end;
	bool window; /* may hold memory that is not watched */
};

/* Is it a range of whole pages, with flags of those that the call knows? */
WW_OFTEN static int check(const struct ww *ww, const void *start, size_t len,
			  unsigned flags, unsigned known, struct extent *out)
{
	uintptr_t at = (uintptr_t)start;

	if (!ww || flags & ~known)
		return -EINVAL;
	out->window = flags & WW_WINDOW;
	out->start = at;
	out->end = at + len;
	if (out->window && len == 0) /* to the end of the address space */
		out->end = UINTPTR_MAX - (ww->page - 1);
	if ((at | out->end) & (ww->page - 1) || out->end <= at)
		return -EINVAL;
	return 0;
}

/* Begin a call that resets. -ENOENT: not all is watched, and it is no window. */
static int begin(struct ww *ww, const struct extent *e)
{
	int r = ww_inherit(ww);

	if (r == 0 && !e->window &&
	    !ww_ranges_cover(&ww->ranges, e->start, e->end))
		r = -ENOENT;
	return r;
}

/* Begin a call that changes something. 0: the lock is taken. */
static int lock(struct ww *ww, const struct extent *e)
{
	ww_lock_take(&ww->lock);
	if (e->window || ww_ranges_cover(&ww->ranges, e->start, e->end))
		return 0;
	ww_lock_drop(&ww->lock);
	return -ENOENT;
}

static int unlock(struct ww *ww, int r)
{
	ww_lock_drop(&ww->lock);
	return ww_error(r);
}

/* --- ranges --- */

int ww_watch(struct ww *ww, void *start, size_t len, unsigned flags)
{
	const unsigned modes =
		WW_WATCH_HUGE_OK | WW_WATCH_COARSE_OK | WW_WATCH_HOT_OK;
	struct extent e;
	/* WW_WINDOW, whose bit is one of the modes', is not for this call */
	int r = flags & ~modes ? -EINVAL : check(ww, start, len, 0, 0, &e);

	if (r == 0)
		r = ww_inherit(ww);
	if (r < 0)
		return ww_error(r);
	ww_lock_take(&ww->lock);
	if (ww_table_meets(ww_ranges_table(&ww->ranges), e.start, e.end))
		r = -EEXIST;
	else if (!ww_process_is_other(&ww->process) &&
		 ww_heap_owns(e.start, e.end))
		r = -EOPNOTSUPP;
	else
		r = ww_watch_add(ww, e.start, e.end, flags);
	r = unlock(ww, r);
	if (r < 0 && ww->log)
		ww->log(ww->log_data,
			r == -EOPNOTSUPP
				? "ww_watch: the backend can not track this memory"
				: "ww_watch: the memory can not be watched");
	return r;
}

int ww_unwatch(struct ww *ww, void *start, size_t len, unsigned flags)
{
	struct extent e;
	int r = check(ww, start, len, flags, WW_WINDOW | WW_UNMAPPING, &e);

	if (r < 0)
		return r;
	ww_inherit_to_leave(ww);
	r = lock(ww, &e);
	if (r < 0)
		return r;
	return unlock(
		ww, ww_watch_remove(ww, e.start, e.end, flags & WW_UNMAPPING));
}

int ww_next_range(struct ww *ww, const void *at, struct ww_range_info *out)
{
	struct ww_range_info info = { .size = sizeof(info) };
	unsigned caps_lost;
	struct ww_slice s;
	int r;

	if (!ww || !ww_size_is_good(out, WW_LEAST(struct ww_range_info, caps)))
		return -EINVAL;
	r = ww_inherit(ww);
	if (r < 0)
		return ww_error(r);
	if (!ww_ranges_next(&ww->ranges, (uintptr_t)at, &s, &caps_lost,
			    &info.lost))
		return -ENOENT;
	info.range = (struct ww_range){ (void *)s.start, s.end - s.start };
	info.caps = ww->caps & ~caps_lost;
	info.modes = s.area->flags;
	ww_size_copy_out(out, &info, sizeof(info));
	return 0;
}

/* --- the program's changes --- */

/* As check() and lock(), for what can be done to our own memory only. */
static int lock_own(struct ww *ww, const void *start, size_t len,
		    unsigned flags, struct extent *e)
{
	int r = check(ww, start, len, flags, WW_WINDOW, e);

	if (r == 0 && ww_process_is_other(&ww->process))
		r = -EOPNOTSUPP;
	if (r == 0)
		r = ww_inherit(ww);
	return r < 0 ? ww_error(r) : lock(ww, e);
}

int ww_protect(struct ww *ww, void *start, size_t len, int prot, unsigned flags)
{
	struct extent e = { 0, 0, false };
	int r;

	if (!ww_prot_is_known(prot))
		return -EINVAL;
	r = lock_own(ww, start, len, flags, &e);
	if (r < 0)
		return r;
	/* A window to the end of the address space: not all of that is ours. */
	if (len == 0)
		return unlock(ww, -EINVAL);
	return unlock(ww, ww_protect_range(ww, e.start, e.end, prot));
}

int ww_discard(struct ww *ww, void *start, size_t len, unsigned flags)
{
	struct extent e = { 0, 0, false };
	int r = lock_own(ww, start, len, flags, &e);

	if (r < 0)
		return r;
	return unlock(ww, ww_discard_range(ww, e.start, e.end));
}

/* --- marks and holds: lock-free, for any bytes --- */

typedef int slice_fn(struct ww *ww, const struct ww_slice *s);

/* Call fn for what is watched of the pages that the bytes touch. */
static int each_touched(struct ww *ww, const void *start, size_t len,
			unsigned flags, slice_fn *fn)
{
	uintptr_t at = (uintptr_t)start, end = at + len;
	struct ww_pins pins;
	int r = 0;

	if (!ww || flags)
		return -EINVAL;
	if (len == 0)
		return 0;
	if (end < at || end > UINTPTR_MAX - ww->page)
		return -EINVAL;
	at -= at % ww->page;
	end = (end + ww->page - 1) / ww->page * ww->page;
	while (at < end) {
		unsigned i;

		at = ww_ranges_pin(&ww->ranges, at, end, false, &pins);
		for (i = 0; i < pins.n; i++) {
			int e = fn(ww, &pins.slice[i]);

			r = e < 0 ? e : r;
		}
		ww_pins_drop(&pins);
	}
	return ww_error(r);
}

static int mark(struct ww *ww, const struct ww_slice *s)
{
	ww_area_mark(s->area, s->start, s->end);
	return 0;
}

int ww_mark(struct ww *ww, void *start, size_t len, unsigned flags)
{
	return each_touched(ww, start, len, flags, mark);
}

/* Open what is watched still: the rest may be another tracker's by now. Who unwatches
 * waits for `changers`. */
static int admit(struct ww *ww, const struct ww_slice *s)
{
	struct ww_slice part = { 0, s->start, NULL };
	struct ww_ticket ticket;
	uint64_t mask;
	int r = 0;

	ww_sys_block_signals(&mask);
	ticket = ww_readers_enter(&s->area->changers);
	while (r == 0 && ww_ranges_next_still(&ww->ranges, s, part.end, &part))
		r = ww->backend->admit(ww, &part);
	ww_readers_leave(&s->area->changers, ticket);
	ww_sys_restore_signals(mask);
	return r;
}

static int hold(struct ww *ww, const struct ww_slice *s)
{
	ww_area_hold(s->area, s->start, s->end);
	return ww->backend->admit ? admit(ww, s) : 0;
}

static int release(struct ww *ww, const struct ww_slice *s)
{
	ww_area_release(s->area, s->start, s->end);
	return 0;
}

int ww_hold(struct ww *ww, void *start, size_t len, unsigned flags)
{
	int r = each_touched(ww, start, len, flags, hold);

	/* What could not be opened is not held, nor is the rest. */
	if (r < 0 && r != -EINVAL)
		each_touched(ww, start, len, flags, release);
	return r;
}

int ww_release(struct ww *ww, void *start, size_t len, unsigned flags)
{
	return each_touched(ww, start, len, flags, release);
}

/* --- queries --- */

/* q has the caller's array; *count becomes the entries that are filled. */
WW_OFTEN static int query(struct ww *ww, void *start, size_t len,
			  unsigned flags, struct ww_query *q, size_t *count)
{
	struct extent e;
	int r = check(ww, start, len, flags, WW_RESET | WW_WINDOW, &e);
	unsigned generation;

	if (r < 0 || !count || !*count)
		return -EINVAL;
	q->room = *count;
	q->page = ww->page;
	q->reset = flags & WW_RESET;
	for (;;) {
		generation = ww_fork_generation();
		q->n = 0;
		r = ww_inherit(ww);
		if (r == 0)
			r = ww_collect(ww, e.start, e.end, !e.window, q);
		if (ww_fork_generation() == generation)
			break;
		/* A signal handler called _Fork(), and this is the child. What was
		 * found is the parent's, or, if the fork came before all of it,
		 * this process's own and clean now: it is dirty again. Ask our own
		 * memory. */
		ww_query_undo(q, &ww->ranges);
	}
	if (r >= 0)
		*count = q->n;
	return ww_error(r);
}

WW_OFTEN int ww_get(struct ww *ww, void *start, size_t len, unsigned flags,
		    void **pages, size_t *count, size_t *granularity)
{
	struct ww_query q = { .pages = pages };
	int r = pages ? query(ww, start, len, flags, &q, count) : -EINVAL;

	if (r == 0 && granularity)
		*granularity = q.page;
	return r;
}

WW_OFTEN int ww_get_ranges(struct ww *ww, void *start, size_t len,
			   unsigned flags, struct ww_range *ranges,
			   size_t *count)
{
	struct ww_query q = { .ranges = ranges };

	return ranges ? query(ww, start, len, flags, &q, count) : -EINVAL;
}

static int reset(struct ww *ww, const struct extent *e)
{
	unsigned generation;
	int r;

	do {
		generation = ww_fork_generation();
		r = begin(ww, e);
		if (r == 0)
			r = ww_collect_nothing(ww, e->start, e->end);
	} while (ww_fork_generation() != generation);
	return ww_error(r);
}

int ww_reset(struct ww *ww, void *start, size_t len, unsigned flags)
{
	struct extent e;
	int r = check(ww, start, len, flags, WW_WINDOW, &e);

	return r < 0 ? r : reset(ww, &e);
}

int ww_reset_ranges(struct ww *ww, const struct ww_range *ranges, size_t count,
		    unsigned flags)
{
	struct extent e;
	size_t i;
	int r = ww && !flags && (ranges || !count) ? ww_inherit(ww) : -EINVAL;

	/* All of them are good, or nothing is reset. */
	for (i = 0; r == 0 && i < count; i++) {
		r = check(ww, ranges[i].start, ranges[i].len, 0, 0, &e);
		if (r == 0)
			r = begin(ww, &e);
	}
	if (r < 0)
		return ww_error(r);
	for (i = 0; r == 0 && i < count; i++) {
		check(ww, ranges[i].start, ranges[i].len, 0, 0, &e);
		r = reset(ww, &e);
	}
	/* What was dirty in the ranges before that one is not known any more: it
	 * could not be reset, or another thread has just unwatched it. */
	while (r < 0 && --i)
		ww_mark(ww, ranges[i - 1].start, ranges[i - 1].len, 0);
	return ww_error(r);
}
