/* SPDX-License-Identifier: MIT */
/*
 * uffd-async-collect.c - the queries of the uffd-async backend: scans, and what
 * they found, on its way to the caller.
 *
 * Called by uffd-async.c; calls query.c, pagemap.c and uffd.c. Invariant: a scan that
 * re-arms hands each page that it re-armed to the query, or to the populated
 * bitmap if it was a zero page.
 */
#include "backends/uffd-async.h"

#include <errno.h>

#include "base/fork.h"
#include "kernel/sys.h"
#include "kernel/uffd.h"

/* Bytes that a scan covers; after one that took less than CHUNK_NS, more. */
#define CHUNK ((uint64_t)1 << 30)
#define CHUNK_NS 2000000u

/* From this many existing pages in a row on a fast walk of their own pays. */
#define FAST_PAGES 1000u

/* --- a query --- */

struct collecting {
	struct ww *ww;
	struct ww_query *q;
	struct ww_async_room *room;
	uintptr_t end;
	/* Before the scan or, for pages that all exist, before that was seen. */
	unsigned discards;
	/* A reset: pages up to here, from the scan on, are all pending or held, or all
	 * are not: then they are plain. Good while ww_area_additions() is what it was. */
	uintptr_t alike;
	bool plain;
	unsigned additions;
	bool hot; /* pages are counted, for WW_WATCH_HOT_OK */
	bool any; /* some page of the scan was reported */
};

static int scan(struct collecting *c, struct ww_scan *s)
{
	if (s->asked == WW_ASK_EXISTING)
		c->discards = ww_async_discards(c->ww);
	return ww_async_scan(c->ww, s, c->room, c->q->span.slice[0].area);
}

/* Is the region of zero pages, which count only if the bitmap has them? */
static bool is_zero(const struct ww_query *q, const struct ww_scan *s, size_t i)
{
	return s->asked == WW_ASK_EXISTING &&
	       s->vec[i].categories & PAGE_IS_PFNZERO &&
	       !ww_async_keeps_huge(&q->span);
}

static void note(const struct collecting *c, const struct ww_scan *s,
		 uintptr_t start, uintptr_t end)
{
	if (c->q->span.kind != WW_KIND_ANON || s->asked == WW_ASK_WRITTEN)
		return;
	ww_async_note(c->ww, &c->q->span, c->discards, start, end);
}

static void count_hot(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);

	for (; ww_area_has_hot(a) && page < stop; page++)
		ww_hot_keep(&a->hot, page);
}

static int found_run(void *arg, uintptr_t start, uintptr_t end)
{
	struct collecting *c = arg;

	ww_query_found(c->q, start, end);
	c->any = true;
	return 0;
}

/* The usual case in one loop: nothing to be merged with, and no zero pages.
 * Returns how many regions were taken: the first that may be zero ends it. What
 * does not fit becomes pending. */
static size_t take_plain(struct collecting *c, const struct ww_scan *s)
{
	/* a copy, which the compiler keeps in registers */
	struct ww_query q = *c->q;
	uintptr_t start, end;
	size_t i = 0;

	if (c->hot || (!c->plain && !ww_query_is_plain(&q, s->walk_end)))
		return 0;
	for (; ww_scan_region(s, i, &start, &end); i++) {
		if (start < q.pos || is_zero(c->q, s, i))
			break;
		note(c, s, start, end);
		q.pos = ww_query_store(&q, start, end);
		if (q.reset && q.pos < end)
			ww_span_each(&c->q->span, q.pos, end, ww_area_mark);
		s->vec[i].end = 0; /* as it was found */
	}
	c->q->n = q.n;
	c->q->pos = q.pos;
	return i;
}

/* One page after the other, of n regions. Returns how many regions fitted. */
static size_t store_pages(struct ww_query *q, const struct ww_scan *s, size_t n)
{
	void **out = q->pages + q->n;
	const size_t page = q->page;
	size_t left = (q->room - q->n) * page, i; /* bytes */
	uintptr_t at, end;

	for (i = 0; i < n && ww_scan_region(s, i, &at, &end); i++) {
		if (end - at > left)
			break;
		left -= end - at;
		do
			*out++ = (void *)at;
		while ((at += page) < end);
		q->pos = end;
	}
	q->n = (size_t)(out - q->pages);
	return i;
}

/* Only the first region may go on where the array ends: the kernel has joined the
 * others. */
static size_t store_runs(struct ww_query *q, const struct ww_scan *s, size_t n)
{
	struct ww_range *out = NULL;
	uintptr_t at, end;
	size_t i;

	if (n > q->room - q->n)
		return 0;
	for (i = 0; i < n && ww_scan_region(s, i, &at, &end); i++) {
		if (i == 0) {
			ww_query_store(q, at, end);
			out = q->ranges + q->n - 1;
		} else {
			out[i] = (struct ww_range){ (void *)at, end - at };
		}
		q->pos = end;
	}
	q->n += i ? i - 1 : 0;
	return i;
}

/* The usual case in the shortest loop: nothing to be merged with, and no zero pages.
 * n: how many regions a scan without an error found. Returns how many were taken. */
static size_t take_written(struct collecting *c, const struct ww_scan *s,
			   size_t n)
{
	struct ww_query *q = c->q;
	size_t i;

	if (s->asked != WW_ASK_WRITTEN || c->hot ||
	    (!c->plain &&
	     (s->vec[0].start < q->pos || !ww_query_is_plain(q, s->walk_end))))
		return 0;
	i = q->pages ? store_pages(q, s, n) : store_runs(q, s, n);
	if (c->room->used < i)
		c->room->used = i;
	return i;
}

/* Hand the regions of a scan to the query; c->any: a page was reported. */
WW_OFTEN static void take(struct collecting *c, const struct ww_scan *s,
			  int found)
{
	uintptr_t start, end;
	size_t i;

	/* What became pending or held since the look may be in the kernel no more. */
	c->plain = c->plain && c->additions == ww_area_additions();
	i = found > 0 ? take_written(c, s, (size_t)found) : 0;
	i = i ? i : take_plain(c, s);
	c->any = i > 0;
	for (; ww_scan_region(s, i, &start, &end); i++) {
		/* Of zero pages only those that were something else before. */
		if (is_zero(c->q, s, i)) {
			ww_span_runs(&c->q->span, start, end,
				     ww_async_populated, found_run, c);
		} else {
			note(c, s, start, end);
			if (c->q->reset && c->q->span.n == 1)
				count_hot(c->q->span.slice[0].area, start, end);
			found_run(c, start, end);
		}
		s->vec[i].end = 0;
	}
}

/* An answer was all zero pages. max_pages counts them although they are
 * dropped, so that with an array of one each would cost a call: scan ahead,
 * unlimited and without re-arming, to the next page that will be reported. */
static int skip_zero(struct collecting *c, struct ww_scan *s, uintptr_t end)
{
	struct ww_query *q = c->q;
	int r = 0;

	s->flags = 0;
	s->max_pages = 0;
	s->vec_len = c->room->vec_len;
	s->end = end;
	while (r >= 0 && s->start < end) {
		struct ww_range first = { NULL, 0 };
		struct ww_query probe = { .ranges = &first,
					  .room = 1,
					  .page = q->page,
					  .span = q->span,
					  .pos = s->start };

		r = scan(c, s);
		c->q = &probe;
		take(c, s, r);
		c->q = q;
		/* `first` may be pending: the scan then goes on there. */
		if (c->any) {
			s->start = (uintptr_t)first.start;
			break;
		}
		s->start = s->walk_end;
	}
	return r < 0 ? r : 0;
}

/* The end of the pages from an address on that are all populated. */
WW_OFTEN static uintptr_t full_until(const struct ww_span *span, uintptr_t at)
{
	unsigned i;

	for (i = 0; i < span->n; i++) {
		const struct ww_slice *s = &span->slice[i];
		size_t page;

		if (s->end <= at)
			continue;
		page = ww_bits_first_clear(ww_async_populated(s->area),
					   ww_area_page(s->area, at),
					   ww_area_page(s->area, s->end));
		at = ww_area_at(s->area, page);
		if (at < s->end)
			break;
	}
	return at;
}

/* --- pages that were discarded meanwhile --- */

/* Was private memory scanned as if all its pages existed, and are pages being
 * discarded, or were they meanwhile? Then what is gone looks written. */
static bool may_be_gone(const struct collecting *c, const struct ww_scan *s)
{
	return s->asked == WW_ASK_WRITTEN && c->q->span.kind == WW_KIND_ANON &&
	       ww_async_missed(c->ww, &c->q->span, c->discards);
}

/* Un-protect what is watched still: the kernel does not ask whose memory it is. Who
 * unwatches waits for `changers`. */
static int reopen_slice(struct ww *ww, const struct ww_slice *s)
{
	struct ww_ticket ticket = ww_readers_enter(&s->area->changers);
	const struct ww_async *u = ww->priv;
	struct ww_slice part = { 0, s->start, NULL };
	int r = 0;

	while (r == 0 && ww_ranges_next_still(&ww->ranges, s, part.end, &part))
		r = ww_uffd_unprotect(&u->uffd, part.start, part.end);
	ww_readers_leave(&s->area->changers, ticket);
	return r;
}

static int reopen_region(const struct collecting *c, uintptr_t start,
			 uintptr_t end)
{
	const struct ww_span *span = &c->q->span;
	unsigned i;
	int r = 0;

	for (i = 0; r == 0 && i < span->n; i++) {
		struct ww_slice s = ww_slice_part(&span->slice[i], start, end);

		if (s.start < s.end)
			r = reopen_slice(c->ww, &s);
	}
	return r;
}

/* Undo what a scan re-armed: its regions from an address on are written again, and
 * pages that do not exist are as they were. */
static int reopen(const struct collecting *c, const struct ww_scan *s,
		  uintptr_t from)
{
	const struct ww_async *u = c->ww->priv;
	uintptr_t start, end;
	uint64_t mask;
	size_t i;
	int r;

	/* no handler forks, and none stops a thread that others wait for */
	ww_sys_block_signals(&mask);
	r = ww_fd_ok(&u->uffd) ? 0 : -EPERM;
	for (i = 0; r == 0 && ww_scan_region(s, i, &start, &end); i++)
		r = reopen_region(c, start < from ? from : start, end);
	ww_sys_restore_signals(mask);
	return r;
}

/* End an answer before the first page that was discarded, as if the scan had ended
 * there: what was written to it since then another scan shows, of pages that exist.
 * Returns how many regions are left. */
static size_t end_before_gone(const struct collecting *c, struct ww_scan *s)
{
	uintptr_t gone, start, end;
	size_t n, i;

	for (n = 0;; n++) {
		if (!ww_scan_region(s, n, &start, &end))
			return n;
		gone = full_until(&c->q->span, start);
		if (gone < end)
			break;
	}
	if (s->flags && reopen(c, s, gone) < 0) /* then all is reported */
		return n;
	s->walk_end = gone;
	i = n;
	if (start < gone) {
		s->vec[i].end = gone;
		n = ++i;
	}
	for (; ww_scan_region(s, i, &start, &end); i++)
		s->vec[i].end = 0;
	return n;
}

static uintptr_t chunk_end(uintptr_t start, uintptr_t end, uint64_t chunk)
{
	return end - start > chunk ? (uintptr_t)(start + chunk) : end;
}

/* Set c->alike, for pages from an address on: not behind `end`, and those that are
 * pending or held not more than there is room for. A scan that re-arms ends there: what
 * it finds has room then, and nobody else misses pages that are on their way from the
 * kernel to the pending ones, while this thread is stopped. The look is good for many
 * scans: between two of them the bitmaps' memory need not be touched, of which each page
 * costs a walk through the page tables when a scan has emptied the TLB. */
static void look_ahead(struct collecting *c, uintptr_t at, uintptr_t end)
{
	const struct ww_query *q = c->q;
	unsigned i;

	c->additions = ww_area_additions(); /* before the look */
	c->alike = end;
	c->plain = true;
	for (i = 0; i < q->span.n; i++) {
		struct ww_slice s = ww_slice_part(&q->span.slice[i], at, end);
		size_t first, stop, run, run_end;

		if (s.start >= s.end)
			continue;
		first = ww_area_page(s.area, s.start);
		stop = ww_area_page(s.area, s.end);
		if (ww_area_is_quiet(s.area, first, stop) ||
		    !ww_bits_next_of_two(&s.area->pending, &s.area->held, first,
					 stop, ww_query_pages_left(q), false,
					 &run, &run_end))
			continue;
		c->alike = ww_area_at(s.area, run);
		if (c->alike == at) {
			c->plain = false;
			c->alike = ww_area_at(s.area, run_end);
		}
		return;
	}
}

/* Where the next scan is to end. A scan that ends because its answer is full ends inside
 * one of the kernel's page tables. The scan behind it looks at the rest of that table, and
 * flushes the TLB once more: 5 % of the time where every other page is dirty (6.18). So if
 * up to `end` there are more regions than fit, as dense as the n that the last scan found
 * from `start` on, end where a table ends; but not if whole tables are less than two
 * thirds of an answer. */
static uintptr_t table_end(const struct ww_scan *s, uintptr_t start, size_t n,
			   size_t page, uintptr_t end)
{
	const uintptr_t table = page * (page / sizeof(uint64_t));
	const uintptr_t a_region = (s->walk_end - start) / n;
	const size_t fit = s->vec_len - s->vec_len / 16;
	uintptr_t at, len;

	if ((end - s->walk_end) / a_region < fit)
		return end;
	len = fit * a_region;
	at = (s->walk_end + len) & ~(table - 1);
	if (at <= s->walk_end || len / table * table < len / 3 * 2)
		return end;
	return at;
}

/* Where a scan ends that begins at `start`: at `stop`, after a chunk at the latest; if it
 * re-arms, where the pages are alike no more. */
static uintptr_t scan_end(struct collecting *c, uintptr_t start, uintptr_t stop,
			  uint64_t chunk)
{
	uintptr_t end = chunk_end(start, stop, chunk);

	if (!c->q->reset)
		return end;
	if (start >= c->alike || c->additions != ww_area_additions())
		look_ahead(c, start, chunk_end(start, c->end, chunk));
	return end < c->alike ? end : c->alike;
}

/* Collect from q->pos to end with one kind of scan, in chunks, after which the
 * kernel drops its lock: long stretches without pages are one step, populated
 * memory takes some 3 ms a GiB. */
WW_OFTEN static int collect_stretch(struct collecting *c, uintptr_t end,
				    enum ww_asked asked)
{
	struct ww_query *q = c->q;
	struct ww_scan s = { .start = q->pos, .asked = asked };
	uint64_t chunk = CHUNK;
	uintptr_t stop = end;

	c->alike = 0;
	c->plain = false;
	while (s.start < end && !ww_query_full(q)) {
		size_t room = q->room - q->n, pages;
		const uintptr_t start = s.start;
		bool timed = end - start > CHUNK, gone;
		uint64_t t = timed ? ww_sys_now_ns() : 0;
		int r;

		s.end = scan_end(c, start, stop, chunk);
		s.flags = q->reset ? PM_SCAN_WP_MATCHING : 0;
		s.max_pages = q->pages ? room : 0;
		pages = (s.end - s.start) >> q->span.slice[0].area->page_shift;
		room = room < pages ? room : pages;
		s.vec_len = room < c->room->vec_len ? room : c->room->vec_len;
		r = scan(c, &s);
		gone = may_be_gone(c, &s);
		if (gone && r > 0)
			r = (int)end_before_gone(c, &s);
		take(c, &s, r);
		if (r < 0)
			return r;
		if (!c->plain)
			ww_query_done_below(q, s.walk_end);
		else if (!ww_query_full(q))
			q->pos = s.walk_end;
		if (gone) /* the caller looks again which pages all exist */
			break;
		stop = q->reset && r > 0
			       ? table_end(&s, start, (size_t)r, q->page, end)
			       : end;
		s.start = s.walk_end;
		/* After a whole chunk that was quick, a longer one. */
		if (timed && s.walk_end - start == chunk)
			chunk = ww_sys_now_ns() - t < CHUNK_NS ? chunk * 4
							       : CHUNK;
		if (r > 0 && !c->any && !ww_query_full(q)) {
			r = skip_zero(c, &s, end);
			if (r < 0)
				return r;
			if (!ww_query_full(q))
				ww_query_done_below(q, s.start);
			stop = end; /* it may have gone on behind `stop` */
		}
	}
	return 0;
}

/* --- where all pages exist --- */

static int stop_at(void *found, uintptr_t start, uintptr_t end)
{
	*(uintptr_t *)found = start;
	return 1;
}

/* The next populated page from an address on; the span's end if there is none. */
static uintptr_t next_populated(const struct ww_span *span, uintptr_t at)
{
	uintptr_t found = ww_span_end(span);

	ww_span_runs(span, at, found, ww_async_populated, stop_at, &found);
	return found;
}

/* Where all pages exist, a page that is not write-protected was written, and
 * the kernel's fast walk finds it. Elsewhere ask only for pages that exist. */
WW_OFTEN uintptr_t ww_async_stretch(const struct ww *ww,
				    const struct ww_span *span, uintptr_t at,
				    enum ww_asked *asked)
{
	const struct ww_async *u = ww->priv;
	const uintptr_t least = FAST_PAGES * ww->page;
	uintptr_t end = ww_span_end(span), full;

	*asked = WW_ASK_WRITTEN;
	if (span->kind != WW_KIND_ANON)
		return end; /* protected up front */
	if (!u->fast || ww_async_keeps_huge(span)) {
		*asked = WW_ASK_EXISTING;
		return end;
	}
	full = full_until(span, at);
	if (full == end || full - at >= least)
		return full;
	*asked = WW_ASK_EXISTING;
	while (full < end) {
		at = next_populated(span, full);
		full = full_until(span, at);
		if (full - at >= least)
			return at;
	}
	return end;
}

static int collect_all(struct collecting *c)
{
	int r = 0;

	while (r == 0 && c->q->pos < c->end && !ww_query_full(c->q)) {
		enum ww_asked asked;
		uintptr_t end;

		c->discards = ww_async_discards(c->ww);
		end = ww_async_stretch(c->ww, &c->q->span, c->q->pos, &asked);
		r = collect_stretch(c, end, asked);
	}
	return r;
}

/* --- around hot pages --- */

/* Report pages up to an address, which are dirty and stay open. They are not noted:
 * which of them are there still is not known. */
static void offer_open(struct collecting *c, uintptr_t end)
{
	uintptr_t start = c->q->pos;

	ww_span_each(&c->q->span, start, end, ww_async_note_missed);
	ww_query_offer(c->q, start, end);
}

/* Part of a run that is not hot: report and re-arm it. */
static int collect_cold(void *arg, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct collecting *c = arg;
	uintptr_t all = c->end;
	int r;

	/* pages before it stay open: report them without a scan */
	if (c->q->pos < start)
		offer_open(c, start);
	if (ww_query_full(c->q))
		return 1;
	c->end = end;
	r = collect_stretch(c, end,
			    c->q->span.kind == WW_KIND_ANON ? WW_ASK_EXISTING
							    : WW_ASK_WRITTEN);
	c->end = all;
	return r < 0 ? r : ww_query_full(c->q);
}

/* [start, end) is dirty: leave open what is hot or held, re-arm the rest. */
static int collect_run(struct collecting *c, uintptr_t start, uintptr_t end)
{
	int r;

	ww_query_done_below(c->q, start);
	if (ww_query_full(c->q))
		return 0;
	r = ww_query_close_each(c->q, start, end, collect_cold, c);
	if (r < 0)
		return r;
	if (!ww_query_full(c->q) && c->q->pos < end)
		offer_open(c, end);
	return 0;
}

/* Some pages are hot: a scan that re-arms nothing shows first what is dirty. */
static int collect_around(struct collecting *c)
{
	struct ww_range runs[32];
	struct ww_query *q = c->q;
	struct ww_scan s = { .start = q->pos };
	uintptr_t start, end;
	int r = 0;

	s.asked =
		q->span.kind == WW_KIND_ANON ? WW_ASK_EXISTING : WW_ASK_WRITTEN;
	while (r == 0 && s.start < c->end && !ww_query_full(q)) {
		size_t i, n = 0;

		s.end = chunk_end(s.start, c->end, CHUNK);
		s.vec_len = sizeof(runs) / sizeof(runs[0]);
		r = scan(c, &s);
		/* collect_run() scans into the same room */
		for (; ww_scan_region(&s, n, &start, &end); n++) {
			runs[n].start = (void *)start;
			runs[n].len = end - start;
			s.vec[n].end = 0;
		}
		for (i = 0, r = r < 0 ? r : 0; r == 0 && i < n; i++) {
			start = (uintptr_t)runs[i].start;
			r = collect_run(c, start, start + runs[i].len);
		}
		if (r == 0 && !ww_query_full(q))
			ww_query_done_below(q, s.walk_end);
		s.start = s.walk_end;
	}
	return r;
}

WW_OFTEN int ww_async_collect(struct ww *ww, struct ww_query *q)
{
	const struct ww_area *a = q->span.slice[0].area;
	struct ww_async_room room;
	struct collecting c = {
		.ww = ww, .q = q, .room = &room, .hot = ww_area_has_hot(a)
	};
	int r;

	c.end = ww_span_end(&q->span);
	ww_async_room_take(&room);
	if (q->reset && ww_area_has_hot(a) && ww_hot_any(&a->hot))
		r = collect_around(&c);
	else
		r = collect_all(&c);
	ww_async_room_drop(&room);
	return r;
}
