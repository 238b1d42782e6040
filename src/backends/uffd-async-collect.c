/* SPDX-License-Identifier: MIT */
/*
 * uffd-collect.c - the queries of the uffd-async backend: scans, and what they
 * found, on its way to the caller.
 *
 * Called by backend-uffd-async.c; calls query.c and pagemap.c. Invariant: a
 * scan that re-arms hands each page that it re-armed to the query, or to the
 * populated bitmap if it was a zero page.
 */
#include "backends/uffd-async.h"

/* Bytes scanned before it is asked how long that took. */
#define CHUNK ((uint64_t)1 << 30)
#define CHUNK_NS 2000000u

/* SPARSE: few runs. The kernel's faster walk shows where, and only those are
 * looked at exactly. FULL_OF_HOLES: it shows what does not exist as well. */
enum { UNKNOWN, SPARSE, FULL_OF_HOLES };

#define SPARSE_PAGES 2048u /* fewer are not worth two calls */
#define SPARSE_RUN 1000u   /* pages for each run, or it does not pay */

static struct ww_uffd_area *state(struct ww_area *a)
{
	return a->state;
}

static struct ww_bits *populated(struct ww_area *a)
{
	return &state(a)->populated;
}

int ww_uffd_scan(const struct ww *ww, struct ww_scan *s)
{
	const struct ww_uffd_async *u = ww->priv;

	return ww_pagemap_scan(&u->pagemap, s);
}

void ww_uffd_note_populated(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);

	if (!ww_bits_full(populated(a), first, stop))
		ww_bits_set(populated(a), first, stop);
}

void ww_uffd_forget_populated(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_bits_clear(populated(a), ww_area_page(a, start),
		      ww_area_page(a, end));
}

/* --- what a scan found --- */

struct found {
	struct ww_query *q;
	bool any; /* page counted */
};

static int found_run(void *arg, uintptr_t start, uintptr_t end)
{
	struct found *f = arg;

	ww_query_found(f->q, start, end);
	f->any = true;
	return 0;
}

static void count_hot(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);

	for (; a->hot.word && page < stop; page++)
		ww_hot_keep(&a->hot, page);
}

/* Never more than a zero page, unless the bitmap says so? */
static bool is_zero(const struct ww_query *q, const struct ww_scan *s, size_t i)
{
	return s->kind == WW_KIND_ANON &&
	       s->vec[i].categories & PAGE_IS_PFNZERO &&
	       !ww_uffd_keeps_huge(&q->span);
}

/* The usual case in one loop: private memory of one slice, and nothing pending.
 * How many regions it took; the first one that may be zero ends it. */
static size_t found_plain(struct ww_query *q, const struct ww_scan *s)
{
	struct ww_area *a = q->span.slice[0].area;
	size_t i = 0;

	if (q->span.n != 1 || s->kind != WW_KIND_ANON ||
	    s->walk_end <= q->pos || a->hot.word ||
	    !ww_bits_quiet(&a->pending, ww_area_page(a, q->pos),
			   ww_area_page(a, s->walk_end)))
		return 0;
	for (; i < s->vec_len && s->vec[i].end; i++) {
		uintptr_t start = (uintptr_t)s->vec[i].start;
		uintptr_t end = (uintptr_t)s->vec[i].end;

		if (s->vec[i].categories & PAGE_IS_PFNZERO || start < q->pos)
			break;
		ww_uffd_note_populated(a, start, end);
		q->pos = ww_query_store(q, start, end);
		if (q->reset && q->pos < end)
			ww_area_mark(a, q->pos, end);
	}
	return i;
}

/* Hand the regions of a scan to the query. True if any page counted. */
static bool found(struct ww_query *q, const struct ww_scan *s)
{
	size_t i = found_plain(q, s);
	struct found f = { q, i > 0 };

	for (; i < s->vec_len && s->vec[i].end; i++) {
		uintptr_t start = (uintptr_t)s->vec[i].start;
		uintptr_t end = (uintptr_t)s->vec[i].end;

		/* Of zero pages only those that were something else before. */
		if (is_zero(q, s, i)) {
			ww_span_runs(&q->span, start, end, populated, found_run,
				     &f);
			continue;
		}
		if (s->kind == WW_KIND_ANON && q->span.n == 1)
			ww_uffd_note_populated(q->span.slice[0].area, start,
					       end);
		else if (s->kind == WW_KIND_ANON)
			ww_span_each(&q->span, start, end,
				     ww_uffd_note_populated);
		if (q->reset && q->span.n == 1)
			count_hot(q->span.slice[0].area, start, end);
		found_run(&f, start, end);
	}
	return f.any;
}

/* --- scans --- */

/* How far to scan before the lock is dropped: long stretches of nothing are one
 * step, populated memory is some 3 ms a GiB. */
static uintptr_t chunk_end(uintptr_t start, uintptr_t end, uint64_t chunk)
{
	return end - start > chunk ? (uintptr_t)(start + chunk) : end;
}

/* An answer was all zero pages: where is the next page that counts? They would
 * eat the caller's room one call at a time. Nothing is re-armed. */
static int skip_zero(struct ww *ww, struct ww_query *q, struct ww_scan *s,
		     uintptr_t end)
{
	s->flags = 0;
	s->max_pages = 0;
	s->vec_len = WW_SCAN_VEC;
	s->end = end;
	while (s->start < end) {
		struct ww_query probe = { .ranges = &(struct ww_range){ 0 },
					  .room = 1,
					  .page = q->page,
					  .span = q->span,
					  .pos = s->start };
		int r = ww_uffd_scan(ww, s);

		if (r < 0)
			return r;
		/* Pending pages count too: the scan then goes on there. */
		if (found(&probe, s)) {
			s->start = (uintptr_t)probe.ranges[0].start;
			return 0;
		}
		s->start = s->walk_end;
	}
	return 0;
}

/* Adds the runs that were found to *runs. */
static int collect_exactly(struct ww *ww, enum ww_kind kind, uintptr_t start,
			   uintptr_t end, struct ww_query *q, size_t *runs)
{
	struct page_region vec[WW_SCAN_VEC];
	struct ww_scan s = { .start = start, .kind = kind, .vec = vec };
	uint64_t chunk = CHUNK;

	while (s.start < end && !ww_query_full(q)) {
		size_t left = ww_query_pages_left(q);
		size_t room = q->pages ? left : q->room - q->n, pages;
		bool timed = end - s.start > CHUNK;
		uint64_t t = timed ? ww_sys_now_ns() : 0;
		bool any;
		int r;

		s.end = chunk_end(s.start, end, chunk);
		s.flags = q->reset ? PM_SCAN_WP_MATCHING : 0;
		s.max_pages = q->pages ? left : 0;
		pages = (s.end - s.start) / q->page;
		room = room < pages ? room : pages;
		s.vec_len = room < WW_SCAN_VEC ? room : WW_SCAN_VEC;
		r = ww_uffd_scan(ww, &s);
		any = found(q, &s);
		if (r < 0)
			return r;
		*runs += (size_t)r;
		ww_query_settled(q, s.walk_end);
		s.start = s.walk_end;
		/* A call that got to its end in no time may have a longer one
		 * next. */
		if (timed && s.walk_end == s.end)
			chunk = ww_sys_now_ns() - t < CHUNK_NS ? chunk * 4
							       : CHUNK;
		if (r > 0 && !any && !ww_query_full(q)) {
			r = skip_zero(ww, q, &s, end);
			if (r < 0)
				return r;
			if (!ww_query_full(q))
				ww_query_settled(q, s.start);
		}
	}
	return 0;
}

/* Where the faster walk saw something; up to the end of what it walked. */
static int collect_candidates(struct ww *ww, uintptr_t start, uintptr_t end,
			      struct ww_query *q, size_t *runs)
{
	struct page_region vec[WW_SCAN_VEC / 8];
	const size_t room = sizeof(vec) / sizeof(vec[0]);
	struct ww_scan s = { .start = start, .end = end, .vec = vec };
	uintptr_t seen = 0;
	int n, i, r = 0;

	s.kind = WW_KIND_ANON;
	s.superset = true;
	s.vec_len = room;
	n = ww_uffd_scan(ww, &s);
	for (i = 0; i < n && r == 0; i++) {
		uintptr_t from = (uintptr_t)vec[i].start;
		uintptr_t to = (uintptr_t)vec[i].end;

		seen += to - from;
		ww_query_settled(q, from);
		if (!ww_query_full(q))
			r = collect_exactly(ww, WW_KIND_ANON, from, to, q,
					    runs);
	}
	if (n < 0 || r < 0)
		return n < 0 ? n : r;
	ww_query_settled(q, s.walk_end);
	if (seen > (end - start) / 2)
		atomic_store(&state(q->span.slice[0].area)->sparse,
			     FULL_OF_HOLES);
	/* Its room is full: the rest in the ordinary way. */
	return s.walk_end < end && !ww_query_full(q)
		       ? collect_exactly(ww, WW_KIND_ANON, s.walk_end, end, q,
					 runs)
		       : 0;
}

/* [start, end) is dirty: leave open what is hot, collect the rest exactly. */
static int collect_run(struct ww *ww, enum ww_kind kind, uintptr_t start,
		       uintptr_t end, struct ww_query *q, size_t *runs)
{
	struct ww_area *a = q->span.slice[0].area;
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r = 0;

	if (kind == WW_KIND_ANON)
		ww_uffd_note_populated(a, start, end);
	while (r == 0 && page < stop && !ww_query_full(q)) {
		uintptr_t from = ww_area_at(a, page), to;
		bool keep;

		page = ww_hot_run(&a->hot, page, stop, &keep);
		to = ww_area_at(a, page);
		if (keep)
			ww_query_offer(q, from, to);
		else
			r = collect_exactly(ww, kind, from, to, q, runs);
	}
	return r;
}

/* Hot pages are there: a scan that re-arms nothing tells what is dirty. */
static int collect_around(struct ww *ww, enum ww_kind kind, uintptr_t start,
			  uintptr_t end, struct ww_query *q, size_t *runs)
{
	struct page_region vec[WW_SCAN_VEC];
	struct ww_scan s = { .start = start, .kind = kind, .vec = vec };

	s.vec_len = WW_SCAN_VEC;
	while (s.start < end && !ww_query_full(q)) {
		int i, n, r = 0;

		s.end = chunk_end(s.start, end, CHUNK);
		n = ww_uffd_scan(ww, &s);
		for (i = 0; i < n && r == 0; i++) {
			uintptr_t from = (uintptr_t)vec[i].start;
			uintptr_t to = (uintptr_t)vec[i].end;

			if (is_zero(q, &s, (size_t)i))
				r = collect_exactly(ww, kind, from, to, q,
						    runs);
			else
				r = collect_run(ww, kind, from, to, q, runs);
		}
		if (n < 0 || r < 0)
			return n < 0 ? n : r;
		ww_query_settled(q, s.walk_end);
		s.start = s.walk_end;
	}
	return 0;
}

int ww_uffd_collect(struct ww *ww, enum ww_kind kind, uintptr_t start,
		    uintptr_t end, struct ww_query *q)
{
	const struct ww_uffd_async *u = ww->priv;
	atomic_uint *sparse = &state(q->span.slice[0].area)->sparse;
	size_t npages = (end - start) / q->page, runs = 0;
	unsigned was = atomic_load(sparse);
	int r = 0;

	if (q->reset && ww_hot_mostly(&q->span.slice[0].area->hot))
		return collect_around(ww, kind, start, end, q, &runs);
	if (kind != WW_KIND_ANON || !u->superset || npages < SPARSE_PAGES)
		return collect_exactly(ww, kind, start, end, q, &runs);
	while (r == 0 && start < end && atomic_load(sparse) == SPARSE &&
	       !ww_query_full(q)) {
		uintptr_t stop = chunk_end(start, end, CHUNK);

		r = collect_candidates(ww, start, stop, q, &runs);
		start = stop;
	}
	if (r == 0 && start < end && !ww_query_full(q))
		r = collect_exactly(ww, kind, start, end, q, &runs);
	if (r == 0 && !ww_query_full(q) && was != FULL_OF_HOLES &&
	    atomic_load(sparse) != FULL_OF_HOLES)
		atomic_store(sparse,
			     runs * SPARSE_RUN < npages ? SPARSE : UNKNOWN);
	return r;
}
