/* SPDX-License-Identifier: MIT */
/*
 * query.c - one query on its way.
 *
 * Called by collect.c and by the backends' collect(); calls area.c, hot.c and
 * bits.c. Invariant: entries ascend, and a page that was re-armed is either
 * stored in the caller's array or pending.
 */
#include "core/query.h"

/* The first slice of a span that ends behind an address. */
static unsigned find_slice(const struct ww_span *span, uintptr_t at)
{
	unsigned lo = 0, hi = span->n;

	if (hi == 1)
		return span->slice[0].end <= at;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (span->slice[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void ww_span_each(const struct ww_span *span, uintptr_t start, uintptr_t end,
		  void (*fn)(struct ww_area *a, uintptr_t start, uintptr_t end))
{
	unsigned i = find_slice(span, start);

	for (; i < span->n && span->slice[i].start < end; i++) {
		struct ww_slice s = ww_slice_part(&span->slice[i], start, end);

		fn(s.area, s.start, s.end);
	}
}

/* fn is called for what is not held, or not hot either. */
struct closer {
	int (*fn)(void *arg, struct ww_area *a, uintptr_t start, uintptr_t end);
	void *arg;
};

static int if_free(void *closer, struct ww_area *a, uintptr_t start,
		   uintptr_t end, bool held)
{
	const struct closer *c = closer;

	return held ? 0 : c->fn(c->arg, a, start, end);
}

int ww_span_each_free(const struct ww_span *span, uintptr_t start,
		      uintptr_t end,
		      int (*fn)(void *arg, struct ww_area *a, uintptr_t start,
				uintptr_t end),
		      void *arg)
{
	struct closer c = { fn, arg };
	unsigned i = find_slice(span, start);
	int r = 0;

	for (; r == 0 && i < span->n && span->slice[i].start < end; i++) {
		struct ww_slice s = ww_slice_part(&span->slice[i], start, end);

		r = ww_area_each_held_run(s.area, s.start, s.end, if_free, &c);
	}
	return r;
}

/* Given a run that is not held: fn is called for what is not hot in it. */
static int close_cold(void *arg, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	const struct closer *c = arg;
	size_t page, stop = ww_area_page(a, end);
	int r = 0;

	if (!ww_area_has_hot(a))
		return c->fn(c->arg, a, start, end);
	for (page = ww_area_page(a, start); r == 0 && page < stop;) {
		uintptr_t from = ww_area_at(a, page);
		bool keep;

		page = ww_hot_run(&a->hot, page, stop, &keep);
		if (!keep)
			r = c->fn(c->arg, a, from, ww_area_at(a, page));
	}
	return r;
}

int ww_query_close_each(const struct ww_query *q, uintptr_t start,
			uintptr_t end,
			int (*fn)(void *arg, struct ww_area *a, uintptr_t start,
				  uintptr_t end),
			void *arg)
{
	struct closer c = { fn, arg };

	return ww_span_each_free(&q->span, start, end, close_cold, &c);
}

int ww_span_runs(const struct ww_span *span, uintptr_t start, uintptr_t end,
		 struct ww_bits *(*bits)(struct ww_area *a),
		 int (*fn)(void *arg, uintptr_t start, uintptr_t end),
		 void *arg)
{
	unsigned i = find_slice(span, start);
	int r = 0;

	for (; i < span->n && span->slice[i].start < end; i++) {
		struct ww_slice s = ww_slice_part(&span->slice[i], start, end);
		struct ww_area *a = s.area;
		size_t at = ww_area_page(a, s.start);
		size_t stop = ww_area_page(a, s.end);
		size_t run, run_end;

		for (; r == 0 && ww_bits_next(bits(a), at, stop, SIZE_MAX,
					      false, &run, &run_end);
		     at = run_end)
			r = fn(arg, ww_area_at(a, run), ww_area_at(a, run_end));
	}
	return r;
}

/* Store the pending and the held pages of one slice in [q->pos, end). False: the
 * array is full. */
static bool flush_slice(struct ww_query *q, const struct ww_slice *s,
			uintptr_t end)
{
	struct ww_area *a = s->area;
	uintptr_t from = s->start > q->pos ? s->start : q->pos;
	size_t first, run_end, stop;

	if (end > s->end)
		end = s->end;
	if (from >= end)
		return true;
	first = ww_area_page(a, from);
	stop = ww_area_page(a, end);
	if (ww_area_is_quiet(a, first, stop))
		return true;
	while (!ww_query_full(q)) {
		size_t run;

		if (!ww_bits_next_of_two(&a->pending, &a->held, first, stop,
					 ww_query_pages_left(q), q->reset, &run,
					 &run_end))
			return true;
		ww_query_store(q, ww_area_at(a, run), ww_area_at(a, run_end));
		q->pos = ww_area_at(a, run_end);
		first = run_end;
	}
	return false;
}

static inline bool holds_none(struct ww_area *a, size_t first, size_t end)
{
	return !atomic_load(&a->nheld) || ww_bits_none(&a->held, first, end);
}

WW_OFTEN bool ww_query_is_plain(const struct ww_query *q, uintptr_t end)
{
	unsigned i = find_slice(&q->span, q->pos);

	if (end <= q->pos || ww_area_has_hot(q->span.slice[0].area))
		return false;
	for (; i < q->span.n && q->span.slice[i].start < end; i++) {
		struct ww_slice s =
			ww_slice_part(&q->span.slice[i], q->pos, end);
		struct ww_area *a = s.area;
		size_t first = ww_area_page(a, s.start);
		size_t stop = ww_area_page(a, s.end);

		/* A page that is released is pending first. One that begins to
		 * be held may be pending, until another query resets it: so
		 * `held` is looked at before and behind. */
		if (!holds_none(a, first, stop) ||
		    !ww_bits_none(&a->pending, first, stop) ||
		    !holds_none(a, first, stop))
			return false;
	}
	return true;
}

WW_OFTEN static bool flush_pending(struct ww_query *q, uintptr_t end)
{
	unsigned i = find_slice(&q->span, q->pos);

	for (; i < q->span.n && q->span.slice[i].start < end; i++)
		if (!flush_slice(q, &q->span.slice[i], end))
			return false;
	if (q->pos < end)
		q->pos = end;
	return true;
}

WW_OFTEN uintptr_t ww_query_offer(struct ww_query *q, uintptr_t start,
				  uintptr_t end)
{
	uintptr_t stored;

	if (!flush_pending(q, start) || ww_query_full(q))
		return start;
	stored = ww_query_store(q, start, end);
	/* The pages are in the array, so they need not be pending too. A mark
	 * set between the scan and this line is reported by this query as well:
	 * the caller reads the pages after it has returned. */
	if (q->reset && stored > start)
		ww_span_each(&q->span, start, stored, ww_area_forget);
	if (q->pos < stored)
		q->pos = stored;
	return stored;
}

WW_OFTEN void ww_query_found(struct ww_query *q, uintptr_t start, uintptr_t end)
{
	uintptr_t stored = ww_query_offer(q, start, end);

	if (q->reset && stored < end)
		ww_span_each(&q->span, stored, end, ww_area_mark);
}

WW_OFTEN void ww_query_done_below(struct ww_query *q, uintptr_t end)
{
	flush_pending(q, end);
}

void ww_query_undo(struct ww_query *q, struct ww_ranges *ranges)
{
	size_t i;

	for (i = 0; q->reset && i < q->n; i++) {
		if (q->pages)
			ww_ranges_mark(ranges, (uintptr_t)q->pages[i],
				       (uintptr_t)q->pages[i] + q->page);
		else
			ww_ranges_mark(ranges, (uintptr_t)q->ranges[i].start,
				       (uintptr_t)q->ranges[i].start +
					       q->ranges[i].len);
	}
}
