/* SPDX-License-Identifier: MIT */
/*
 * api.c - the public calls: check, lock or pin, one call of the backend.
 *
 * Called by programs, win32.c and select.c; calls watch.c, range.c,
 * query.c and the backend. Invariant: results pass ww_error(), which guards the
 * closed set of codes; a call that fails has changed nothing, and what it had
 * re-armed is pending.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "api.h"
#include "core/backend.h"
#include "core/trackers.h"
#include "kernel/sys.h"
#include "core/watch.h"

int ww_error(int r)
{
	switch (r) {
	case -EINVAL:
	case -ENOENT:
	case -EEXIST:
	case -EFAULT:
	case -EBUSY:
	case -EOPNOTSUPP:
	case -EPERM:
	case -ESRCH:
	case -ENOMEM:
	case -ENOSYS:
		return r;
	case -EACCES:
		return -EPERM;
	case -EBADF: /* descriptors that the caller gave */
	case -ENOTTY:
		return -EINVAL;
	case -EMFILE:
	case -ENFILE:
	case -EAGAIN:
		return -ENOMEM;
	default:
		return r < 0 ? -ENOSYS : r;
	}
}

/* --- fork child --- */

/* First use in a fork child. Its other threads, if it has any by now, wait: the
 * one place where a query may, and once. */
static int renew(struct ww *ww, unsigned generation)
{
	unsigned other = atomic_load(&ww->renewing);
	int r;

	while (atomic_load(&ww->generation) != generation) {
		if (other == generation) {
			ww_sys_sleep_ns(10000);
			other = atomic_load(&ww->renewing);
			continue;
		}
		if (!atomic_compare_exchange_strong(&ww->renewing, &other,
						    generation))
			continue;
		r = ww_watch_inherit(ww);
		if (r < 0) {
			atomic_store(&ww->renewing, 0);
			return r;
		}
		atomic_store(&ww->generation, generation);
	}
	return 0;
}

static int enter(struct ww *ww)
{
	unsigned generation = ww_fork_generation();

	if (atomic_load(&ww->generation) == generation)
		return 0;
	return renew(ww, generation);
}

/* --- open, close --- */

int ww_open_backend(struct ww **out, const struct ww_backend *backend,
		    const struct ww_options *options)
{
	struct ww *ww;
	void *memory;
	int r;

	r = ww_fork_init();
	if (r < 0)
		return r;
	/* Not malloc()ed: that memory may be watched (range.c). */
	r = ww_sys_mmap(sizeof(*ww), &memory);
	if (r < 0)
		return r;
	ww = memory;
	ww->backend = backend;
	ww->caps = backend->caps;
	ww->page = ww_sys_page_size();
	ww->flags = options->flags;
	ww->log = options->log;
	ww->log_data = options->log_data;
	atomic_store(&ww->generation, ww_fork_generation());
	r = ww_process_init(&ww->process, options->flags & WW_OPEN_PIDFD
						  ? options->pidfd
						  : -1);
	if (r < 0)
		goto err_free;
	r = ww_ranges_init(&ww->ranges);
	if (r < 0)
		goto err_process;
	r = ww_maps_open(&ww->maps, &ww->process);
	if (r < 0)
		goto err_ranges;
	r = backend->open(ww, options);
	if (r < 0)
		goto err_maps;
	ww_lock_init(&ww->lock, WW_LOCK_TRACKER);
	r = ww_faults_register(ww);
	if (r < 0)
		goto err_backend;
	*out = ww;
	return 0;
err_backend:
	ww_lock_finish(&ww->lock);
	backend->close(ww);
err_maps:
	ww_maps_close(&ww->maps);
err_ranges:
	ww_ranges_finish(&ww->ranges);
err_process:
	ww_process_finish(&ww->process);
err_free:
	ww_sys_munmap(ww, sizeof(*ww));
	return r;
}

void ww_close(struct ww *ww)
{
	if (!ww)
		return;
	enter(ww); /* in a child: never with the parent's descriptors */
	/* Pages that can not be opened (no mapping is left) need the handler:
	 * better to keep all than to free what it may find. */
	ww_lock_take(&ww->lock);
	if (ww_watch_remove_all(ww) < 0) {
		ww_lock_drop(&ww->lock);
		return;
	}
	ww_faults_unregister(ww);
	ww_lock_drop(&ww->lock);
	ww_lock_finish(&ww->lock);
	ww->backend->close(ww);
	ww_maps_close(&ww->maps);
	ww_ranges_finish(&ww->ranges);
	ww_process_finish(&ww->process);
	ww_sys_munmap(ww, sizeof(*ww));
}

int ww_info(const struct ww *ww, struct ww_backend_info *out)
{
	if (!ww || !out || out->size != sizeof(*out))
		return -EINVAL;
	out->name = ww->backend->name;
	out->caps = ww->caps;
	out->status = 0;
	out->reason = "in use";
	return 0;
}

/* --- ranges --- */

static int check(const struct ww *ww, const void *start, size_t len)
{
	uintptr_t at = (uintptr_t)start;

	if (!ww || !len || at % ww->page || len % ww->page || at + len < at)
		return -EINVAL;
	return 0;
}

int ww_watch(struct ww *ww, void *start, size_t len, unsigned flags)
{
	uintptr_t at = (uintptr_t)start;
	int r = check(ww, start, len);

	if (r < 0 ||
	    flags & ~(WW_WATCH_HUGE | WW_WATCH_COARSE | WW_WATCH_HOT_OK))
		return -EINVAL;
	r = enter(ww);
	if (r < 0)
		return ww_error(r);
	ww_lock_take(&ww->lock);
	if (ww_ranges_overlap(&ww->ranges, at, at + len))
		r = -EEXIST;
	else
		r = ww_watch_add(ww, at, at + len, flags);
	ww_lock_drop(&ww->lock);
	if (r < 0 && ww->log)
		ww->log(ww->log_data,
			r == -EOPNOTSUPP
				? "ww_watch: the backend can not track this memory"
				: "ww_watch: the memory can not be watched");
	return ww_error(r);
}

/* The common head of calls on watched memory that take the lock. */
static int lock_watched(struct ww *ww, const void *start, size_t len)
{
	uintptr_t at = (uintptr_t)start;
	int r = check(ww, start, len);

	if (r == 0)
		r = enter(ww);
	if (r < 0)
		return r;
	ww_lock_take(&ww->lock);
	if (ww_ranges_cover(&ww->ranges, at, at + len))
		return 0;
	ww_lock_drop(&ww->lock);
	return -ENOENT;
}

/* The same for what can not be done to another process's memory. */
static int lock_own(struct ww *ww, const void *start, size_t len)
{
	if (ww && ww_process_is_other(&ww->process))
		return check(ww, start, len) < 0 ? -EINVAL : -EOPNOTSUPP;
	return lock_watched(ww, start, len);
}

int ww_unwatch(struct ww *ww, void *start, size_t len)
{
	int r = lock_watched(ww, start, len);

	if (r < 0)
		return ww_error(r);
	r = ww_watch_remove(ww, (uintptr_t)start, (uintptr_t)start + len);
	ww_lock_drop(&ww->lock);
	return ww_error(r);
}

int ww_range_info(struct ww *ww, void *start, struct ww_range *watched,
		  unsigned *caps, unsigned *lost)
{
	unsigned weaker, times;
	struct ww_slice s;

	if (!ww)
		return -EINVAL;
	if (!ww_ranges_find(&ww->ranges, (uintptr_t)start, &s, &weaker, &times))
		return -ENOENT;
	if (watched)
		*watched =
			(struct ww_range){ (void *)s.start, s.end - s.start };
	if (caps)
		*caps = ww->caps & ~weaker;
	if (lost)
		*lost = times;
	return 0;
}

/* --- the program's changes --- */

typedef int slice_fn(struct ww *ww, struct ww_area *a, uintptr_t start,
		     uintptr_t end, int arg);

/* Writer: call fn for the part of each slice in [start, end). */
static int each_slice(struct ww *ww, uintptr_t start, uintptr_t end,
		      slice_fn *fn, int arg)
{
	const struct ww_table *t = ww_ranges_table(&ww->ranges);
	size_t i;
	int r = 0;

	/* Not pinned: what is called may wait for those that are. */
	for (i = ww_table_find(t, start);
	     r == 0 && i < t->n && t->slice[i].start < end; i++) {
		const struct ww_slice *s = &t->slice[i];

		r = fn(ww, s->area, s->start > start ? s->start : start,
		       s->end < end ? s->end : end, arg);
	}
	return r;
}

static int protect_slice(struct ww *ww, struct ww_area *a, uintptr_t start,
			 uintptr_t end, int prot)
{
	return ww->backend->protect(ww, a, start, end, prot);
}

int ww_protect(struct ww *ww, void *start, size_t len, int prot)
{
	uintptr_t at = (uintptr_t)start;
	int r;

	if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
		return -EINVAL;
	r = lock_own(ww, start, len);
	if (r < 0)
		return ww_error(r);
	r = each_slice(ww, at, at + len, protect_slice, prot);
	/* mprotect(2) says ENOMEM for both. */
	if (r == -ENOMEM && ww_watch_has_hole(ww, at, at + len))
		r = -EFAULT;
	ww_lock_drop(&ww->lock);
	return ww_error(r);
}

static int refuse_shared(struct ww *ww, struct ww_area *a, uintptr_t start,
			 uintptr_t end, int arg)
{
	(void)ww;
	(void)start;
	(void)end;
	(void)arg;
	return a->kind == WW_KIND_SHARED ? -EOPNOTSUPP : 0;
}

static int discard_slice(struct ww *ww, struct ww_area *a, uintptr_t start,
			 uintptr_t end, int arg)
{
	(void)arg;
	ww_area_forget(a, start, end);
	return ww->backend->discard(ww, a, start, end);
}

int ww_discard(struct ww *ww, void *start, size_t len)
{
	uintptr_t at = (uintptr_t)start;
	int r = lock_own(ww, start, len);

	if (r < 0)
		return ww_error(r);
	r = each_slice(ww, at, at + len, refuse_shared, 0);
	if (r == 0) {
		r = each_slice(ww, at, at + len, discard_slice, 0);
		/* Some is dropped, and what was dirty is not known any more. */
		if (r < 0)
			ww_ranges_mark(&ww->ranges, at, at + len);
	}
	ww_lock_drop(&ww->lock);
	return ww_error(r);
}

int ww_mark(struct ww *ww, void *start, size_t len)
{
	uintptr_t at = (uintptr_t)start, end = at + len;
	struct ww_pins pins;
	int r = 0;

	if (!ww || end < at || end > UINTPTR_MAX - ww->page)
		return -EINVAL;
	if (len == 0)
		return 0;
	at -= at % ww->page;
	end = (end + ww->page - 1) / ww->page * ww->page;
	while (at < end) {
		unsigned i;

		at = ww_ranges_pin(&ww->ranges, at, end, &pins);
		for (i = 0; i < pins.n; i++) {
			const struct ww_slice *s = &pins.slice[i];
			int e = 0;

			ww_area_mark(s->area, s->start, s->end);
			if (ww->backend->admit)
				e = ww->backend->admit(ww, s->area, s->start,
						       s->end);
			r = e < 0 ? e : r;
		}
		ww_pins_drop(&pins);
	}
	return ww_error(r);
}

/* --- queries --- */

/* The slices from i on that one call of the backend can take. */
static struct ww_span next_span(const struct ww *ww, const struct ww_pins *pins,
				unsigned i)
{
	const struct ww_slice *s = &pins->slice[i];
	unsigned n = 1;

	while (ww->backend->joins && i + n < pins->n &&
	       s[n].start == s[n - 1].end &&
	       s[n].area->kind == s[0].area->kind &&
	       s[n].area->flags == s[0].area->flags && !s[0].area->hot.word &&
	       !atomic_load(&s[n].area->mixed) &&
	       !atomic_load(&s[0].area->mixed))
		n++;
	return (struct ww_span){ s, n };
}

static uintptr_t span_end(const struct ww_span *span)
{
	return span->slice[span->n - 1].end;
}

static int collect(struct ww *ww, uintptr_t start, uintptr_t end,
		   struct ww_query *q)
{
	struct ww_pins pins;
	int r = 0;

	while (r == 0 && start < end && !ww_query_full(q)) {
		unsigned i;

		start = ww_ranges_pin(&ww->ranges, start, end, &pins);
		for (i = 0; r == 0 && i < pins.n && !ww_query_full(q);
		     i += q->span.n) {
			q->span = next_span(ww, &pins, i);
			q->pos = q->span.slice[0].start;
			if (q->reset && pins.slice[i].area->hot.word)
				ww_hot_begin(&pins.slice[i].area->hot, q->pos);
			r = ww->backend->collect(ww, q->pos, span_end(&q->span),
						 q);
		}
		ww_pins_drop(&pins);
	}
	return r;
}

static int query(struct ww *ww, void *start, size_t len, unsigned flags,
		 struct ww_query *q)
{
	uintptr_t at = (uintptr_t)start, end = at + len;
	int r;

	if (flags & ~(WW_GET_RESET | WW_GET_WINDOW) || !q->room)
		return -EINVAL;
	if (ww && flags & WW_GET_WINDOW && !start && !len)
		end = UINTPTR_MAX - (ww->page - 1);
	else if (check(ww, start, len) < 0)
		return -EINVAL;
	r = enter(ww);
	if (r < 0)
		return r;
	if (!(flags & WW_GET_WINDOW) && !ww_ranges_cover(&ww->ranges, at, end))
		return -ENOENT;
	q->page = ww->page;
	q->reset = flags & WW_GET_RESET;
	if (ww->backend->begin)
		r = ww->backend->begin(ww, q);
	if (r == 0)
		r = collect(ww, at, end, q);
	if (r < 0)
		ww_query_undo(q, &ww->ranges);
	return r;
}

int ww_get(struct ww *ww, void *start, size_t len, unsigned flags, void **pages,
	   size_t *count, size_t *granularity)
{
	struct ww_query q = { .pages = pages };
	int r;

	if (!pages || !count)
		return -EINVAL;
	q.room = *count;
	r = query(ww, start, len, flags, &q);
	if (r < 0)
		return ww_error(r);
	*count = q.n;
	if (granularity)
		*granularity = q.page;
	return 0;
}

int ww_get_ranges(struct ww *ww, void *start, size_t len, unsigned flags,
		  struct ww_range *ranges, size_t *count)
{
	struct ww_query q = { .ranges = ranges };
	int r;

	if (!ranges || !count)
		return -EINVAL;
	q.room = *count;
	r = query(ww, start, len, flags, &q);
	if (r < 0)
		return ww_error(r);
	*count = q.n;
	return 0;
}

static int reset_span(struct ww *ww, const struct ww_span *span)
{
	unsigned i;

	for (i = 0; i < span->n; i++) {
		const struct ww_slice *s = &span->slice[i];

		ww_area_forget(s->area, s->start, s->end);
	}
	return ww->backend->rearm(ww, span, span->slice[0].start,
				  span_end(span));
}

int ww_reset(struct ww *ww, void *start, size_t len)
{
	uintptr_t at = (uintptr_t)start, end = at + len;
	struct ww_pins pins;
	int r = check(ww, start, len);

	if (r == 0)
		r = enter(ww);
	if (r < 0)
		return ww_error(r);
	if (!ww_ranges_cover(&ww->ranges, at, end))
		return -ENOENT;
	while (r == 0 && at < end) {
		struct ww_span span;
		unsigned i;

		at = ww_ranges_pin(&ww->ranges, at, end, &pins);
		for (i = 0; r == 0 && i < pins.n; i += span.n) {
			span = next_span(ww, &pins, i);
			r = reset_span(ww, &span);
		}
		ww_pins_drop(&pins);
	}
	/* Which of it was dirty is not known any more. */
	if (r < 0)
		ww_ranges_mark(&ww->ranges, (uintptr_t)start, end);
	return ww_error(r);
}
