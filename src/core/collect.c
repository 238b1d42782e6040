/* SPDX-License-Identifier: MIT */
/*
 * collect.c - queries and resets of what is watched: span by span, and mapping
 * by mapping where memory was replaced.
 *
 * Called by api.c; calls range.c, query.c, maps.c, trackers.c and the backend's
 * collect() and rearm(). Invariant: memory that is not tracked any more is marked
 * before it is armed anew and once more after that, so it is dirty all the time.
 */
#include "core/collect.h"

#include <errno.h>

#include "core/trackers.h"
#include "kernel/advice.h"
#include "kernel/sys.h"

/* The slices from i on that one call of the backend can take. */
WW_OFTEN static struct ww_span next_span(const struct ww *ww,
					 const struct ww_pins *pins, unsigned i)
{
	const struct ww_slice *s = &pins->slice[i];
	unsigned n = 1;

	while (ww->backend->takes_spans && i + n < pins->n &&
	       s[n].start == s[n - 1].end &&
	       s[n].area->kind == s[0].area->kind &&
	       s[n].area->flags == s[0].area->flags &&
	       !ww_area_has_hot(s[0].area) && !atomic_load(&s[n].area->mixed) &&
	       !atomic_load(&s[0].area->mixed))
		n++;
	return (struct ww_span){ s, n, s->area->kind };
}

/* --- memory that is not ours any more --- */

/* Call fn for each part of a slice that was unwatched meanwhile. */
static void each_gone(struct ww *ww, const struct ww_slice *s,
		      void (*fn)(struct ww *ww, const struct ww_slice *gone))
{
	struct ww_slice gone = *s, still;

	for (; gone.start < s->end; gone.start = still.end) {
		ww_ranges_next_still(&ww->ranges, s, gone.start, &still);
		gone.end = still.start;
		if (gone.start < gone.end)
			fn(ww, &gone);
	}
}

static bool note_lost(struct ww *ww, void *gone)
{
	const struct ww_slice *s = gone;

	ww_ranges_note_lost(&ww->ranges, s->start, s->end);
	return false;
}

static void tell_trackers(struct ww *ww, const struct ww_slice *gone)
{
	struct ww_slice s = *gone;

	ww_trackers_each(note_lost, &s);
}

/* A reset is over, before which so many tables had been published. Where the backend
 * can not ask whose memory it re-arms, some of this may have been unwatched meanwhile,
 * and be watched anew, by another tracker or by this one. So it counts as written. */
WW_OFTEN static void reset_is_over(struct ww *ww, const struct ww_pins *pins,
				   unsigned published)
{
	unsigned i;

	if (published == ww_ranges_published() ||
	    !ww->backend->rearms_unasked || ww_process_is_other(&ww->process))
		return;
	for (i = 0; i < pins->n; i++)
		each_gone(ww, &pins->slice[i], tell_trackers);
}

/* --- memory that was replaced --- */

/* A walk over the mappings of a span: fn is called for the part of each slice
 * that lies in the mapping. */
struct walk {
	struct ww *ww;
	const struct ww_span *span;
	struct ww_query *q; /* NULL: rearm */
	int (*fn)(const struct walk *w, const struct ww_slice *s,
		  const struct ww_map *map);
};

static int in_map(void *arg, const struct ww_map *map)
{
	const struct walk *w = arg;
	unsigned i;
	int r = 0;

	for (i = 0; r == 0 && i < w->span->n; i++) {
		struct ww_slice s =
			ww_slice_part(&w->span->slice[i], map->start, map->end);

		if (s.start < s.end)
			r = w->fn(w, &s, map);
	}
	return r;
}

static void detach(struct ww *ww, const struct ww_slice *gone)
{
	ww->backend->detach(ww, gone, true);
}

static int attach_anew(struct ww *ww, const struct ww_slice *s,
		       const struct ww_map *map)
{
	uint64_t mask;
	int r = 0;

	if (map->huge || !(ww->backend->kinds >> map->kind & 1))
		return -EOPNOTSUPP;
	ww_sys_block_signals(&mask);
	if (ww->backend->plain_pages)
		r = ww_advise_plain_pages(s->start, s->end, false);
	if (r == 0)
		r = ww->backend->attach(ww, s, map->kind);
	if (r == 0 && ww->backend->detach)
		each_gone(ww, s, detach);
	ww_sys_restore_signals(mask);
	/* a failure on memory that was unmapped meanwhile is none */
	return r < 0 && !ww_sys_is_mapped(s->start) ? 0 : r;
}

/* Tracking of the slice was lost: arm the memory that is there now, as the kind
 * that it is. Mark it before, so that it is dirty for queries that come before
 * the arming; and once more after that, because of this order:
 *
 *	query B		takes the first mark, and reports the memory
 *	writer		stores, and is not tracked yet
 *	this query	arms the memory, which makes it clean
 *
 * All of the slice: the memory may have been replaced behind the part that this
 * query has reported. */
static int recover_part(struct ww *ww, const struct ww_slice *s,
			const struct ww_map *map)
{
	int tries = 4, r;

	if (map->kind != s->area->kind)
		atomic_store(&s->area->mixed, true);
	ww_area_mark(s->area, s->start, s->end);
	do /* another thread may replace it once more */
		r = attach_anew(ww, s, map);
	while (r == -EPERM && --tries);
	ww_area_note_lost(s->area, s->start, s->end);
	return r;
}

static int recover(struct ww *ww, const struct ww_slice *s,
		   const struct ww_map *map)
{
	struct ww_slice part = { 0, s->start, NULL };
	int r = 0;

	while (r == 0 && ww_ranges_next_still(&ww->ranges, s, part.end, &part))
		r = recover_part(ww, &part, map);
	return r;
}

/* --- queries --- */

static int collect_slice(const struct walk *w, const struct ww_slice *s,
			 const struct ww_map *map)
{
	struct ww_query *q = w->q;
	int r;

	if (ww_query_full(q) || s->end <= q->pos)
		return 0;
	q->span = (struct ww_span){ s, 1, map->kind };
	if (q->pos < s->start)
		q->pos = s->start;
	r = w->ww->backend->collect(w->ww, q);
	if (r != -EPERM || ww_query_full(q))
		return r == -EPERM ? 0 : r;
	/* A query without reset may not arm: report the rest of the slice. */
	if (!q->reset) {
		struct ww_slice part = { 0, q->pos, NULL };

		while (ww_ranges_next_still(&w->ww->ranges, s, part.end, &part))
			ww_query_found(q, part.start, part.end);
		return 0;
	}
	r = recover(w->ww, s, map);
	if (r == 0)
		ww_query_done_below(q, s->end);
	return r;
}

/* The backend gave up with -EPERM. q has what it found before: go on there. */
static int collect_by_mapping(struct ww *ww, const struct ww_span *span,
			      struct ww_query *q)
{
	struct walk w = { ww, span, q, collect_slice };
	/* whole mappings: of one that was replaced all is armed anew */
	int r = ww_maps_each(&ww->maps, ww_span_start(span), ww_span_end(span),
			     in_map, &w);

	q->span = *span;
	if (r == 0 && !ww_query_full(q))
		ww_query_done_below(q, ww_span_end(span));
	return r;
}

static int collect_span(struct ww *ww, struct ww_query *q)
{
	struct ww_area *a = q->span.slice[0].area;
	const struct ww_span span = q->span;
	int r = -EPERM;

	q->pos = ww_span_start(&span);
	if (q->reset && ww_area_has_hot(a))
		ww_hot_begin(&a->hot, q->pos);
	if (!atomic_load(&a->mixed))
		r = ww->backend->collect(ww, q);
	if (r == -EPERM && !ww_process_is_other(&ww->process))
		r = ww_query_full(q) ? 0 : collect_by_mapping(ww, &span, q);
	return r;
}

WW_OFTEN static int collect(struct ww *ww, uintptr_t start, uintptr_t end,
			    bool all, struct ww_query *q)
{
	struct ww_pins pins;
	bool first = true;
	int r = 0;

	for (; r == 0 && start < end && !ww_query_full(q); first = false) {
		unsigned published = ww_ranges_published();
		unsigned i, n;

		start = ww_ranges_pin(&ww->ranges, start, end, first && all,
				      &pins);
		if (!start)
			return -ENOENT;
		/* not before: a call that fails has changed nothing */
		if (first && ww->backend->begin)
			r = ww->backend->begin(ww, q);
		if (r < 0) {
			ww_pins_drop(&pins);
			return r;
		}
		for (i = 0; r == 0 && i < pins.n && !ww_query_full(q); i += n) {
			q->span = next_span(ww, &pins, i);
			n = q->span.n;
			r = collect_span(ww, q);
		}
		if (q->reset)
			reset_is_over(ww, &pins, published);
		ww_pins_drop(&pins);
	}
	return r;
}

WW_OFTEN int ww_collect(struct ww *ww, uintptr_t start, uintptr_t end, bool all,
			struct ww_query *q)
{
	int r = collect(ww, start, end, all, q);

	/* Queries of a process that has ended succeed, and find nothing. */
	if (r == 0)
		r = ww_process_check(&ww->process);
	if (r < 0)
		ww_query_undo(q, &ww->ranges);
	return r;
}

/* --- resets --- */

static int rearm_slice(const struct walk *w, const struct ww_slice *s,
		       const struct ww_map *map)
{
	struct ww_span span = { s, 1, map->kind };
	int r = w->ww->backend->rearm(w->ww, &span);

	return r == -EPERM ? recover(w->ww, s, map) : r;
}

static int rearm_span(struct ww *ww, const struct ww_span *span)
{
	struct walk w = { ww, span, NULL, rearm_slice };
	int r = -EPERM;
	unsigned i;

	for (i = 0; i < span->n; i++)
		ww_area_forget(span->slice[i].area, span->slice[i].start,
			       span->slice[i].end);
	if (!atomic_load(&span->slice[0].area->mixed))
		r = ww->backend->rearm(ww, span);
	if (r == -EPERM && !ww_process_is_other(&ww->process))
		r = ww_maps_each(&ww->maps, ww_span_start(span),
				 ww_span_end(span), in_map, &w);
	return r;
}

int ww_collect_nothing(struct ww *ww, uintptr_t start, uintptr_t end)
{
	uintptr_t at = start;
	struct ww_pins pins;
	int r = 0;

	while (r == 0 && at < end) {
		unsigned published = ww_ranges_published();
		struct ww_span span;
		unsigned i;

		at = ww_ranges_pin(&ww->ranges, at, end, false, &pins);
		for (i = 0; r == 0 && i < pins.n; i += span.n) {
			span = next_span(ww, &pins, i);
			r = rearm_span(ww, &span);
		}
		reset_is_over(ww, &pins, published);
		ww_pins_drop(&pins);
	}
	if (r == 0)
		r = ww_process_check(&ww->process);
	/* Which of it was dirty is not known any more. */
	if (r < 0)
		ww_ranges_mark(&ww->ranges, start, end);
	return r;
}
