/* SPDX-License-Identifier: MIT */
/*
 * query.h - one query on its way: what a backend finds goes in, is merged with
 * the pending and the held pages and put in order, until the caller's array is
 * full.
 */
#ifndef WW_QUERY_H
#define WW_QUERY_H

#include "core/range.h"
#include "writewatch.h"

/* Slices that touch, of areas of one kind with the same flags, all pinned. */
struct ww_span {
	const struct ww_slice *slice;
	unsigned n;
	/* Of the memory that is there: the areas' kind, except where memory was
	 * replaced. */
	enum ww_kind kind;
};

static inline uintptr_t ww_span_start(const struct ww_span *span)
{
	return span->slice[0].start;
}

static inline uintptr_t ww_span_end(const struct ww_span *span)
{
	return span->slice[span->n - 1].end;
}

struct ww_query {
	/* The caller's array: one of the two. */
	void **pages;
	struct ww_range *ranges;
	size_t room, n; /* entries */
	size_t page;	/* bytes */
	bool reset;
	/* What is being collected now. */
	struct ww_span span;
	/* All below it is reported, or clean. */
	uintptr_t pos;
};

static inline bool ww_query_full(const struct ww_query *q)
{
	return q->n == q->room;
}

/* Pages that surely fit; SIZE_MAX when runs are stored. */
static inline size_t ww_query_pages_left(const struct ww_query *q)
{
	return q->pages ? q->room - q->n : SIZE_MAX;
}

/* Put [start, end) into the array, as far as there is room. Returns the end of
 * what was stored. */
static inline uintptr_t ww_query_store(struct ww_query *q, uintptr_t start,
				       uintptr_t end)
{
	struct ww_range *last;

	if (!q->ranges) {
		while (start < end && q->n < q->room) {
			q->pages[q->n++] = (void *)start;
			start += q->page;
		}
		return start;
	}
	last = q->n ? &q->ranges[q->n - 1] : NULL;
	if (last && (uintptr_t)last->start + last->len == start)
		last->len += end - start;
	else if (q->n < q->room)
		q->ranges[q->n++] =
			(struct ww_range){ (void *)start, end - start };
	else
		return start;
	return end;
}

/* --- what a backend's collect() calls --- */

/* Have the areas no hot pages, and is nothing held or pending in [q->pos, end)? Then a
 * backend may call ww_query_store() itself for what it finds there, and moves q->pos.
 * What becomes pending or held meanwhile is for the next query. */
bool ww_query_is_plain(const struct ww_query *q, uintptr_t end);

/* [start, end) is dirty and, if this is a reset, re-armed already. What no
 * longer fits becomes pending. Calls ascend, each with a whole run: two calls
 * for neighbours give one run, too, but not where the array was full between
 * them. Without a reset nothing becomes pending. */
void ww_query_found(struct ww_query *q, uintptr_t start, uintptr_t end);

/* The same for a backend that re-arms only what was stored: returns the end of
 * that, and nothing becomes pending. */
uintptr_t ww_query_offer(struct ww_query *q, uintptr_t start, uintptr_t end);

/* The backend has reported all that it knows below `end`: a collect() ends with
 * this call. */
void ww_query_done_below(struct ww_query *q, uintptr_t end);

/* A query with reset stored [start, end) in the caller's array: call fn for the
 * runs in it that are to be closed, in order, while it returns 0. The others
 * are held, or hot (WW_WATCH_HOT_OK), and stay open and dirty. */
int ww_query_close_each(const struct ww_query *q, uintptr_t start,
			uintptr_t end,
			int (*fn)(void *arg, struct ww_area *a, uintptr_t start,
				  uintptr_t end),
			void *arg);

/* The call fails: what was handed out and re-armed becomes pending. */
void ww_query_undo(struct ww_query *q, struct ww_ranges *ranges);

/* --- spans --- */

/* Call fn for the part of each slice of a span that lies in [start, end). */
void ww_span_each(const struct ww_span *span, uintptr_t start, uintptr_t end,
		  void (*fn)(struct ww_area *a, uintptr_t start,
			     uintptr_t end));

/* Call fn for each run of [start, end) that is not held, in order, while it
 * returns 0. Returns what it returned last. */
int ww_span_each_free(const struct ww_span *span, uintptr_t start,
		      uintptr_t end,
		      int (*fn)(void *arg, struct ww_area *a, uintptr_t start,
				uintptr_t end),
		      void *arg);

/* Call fn for each run of set bits of the areas' bitmaps in [start, end), in
 * order, while it returns 0. Returns what it returned last. */
int ww_span_runs(const struct ww_span *span, uintptr_t start, uintptr_t end,
		 struct ww_bits *(*bits)(struct ww_area *a),
		 int (*fn)(void *arg, uintptr_t start, uintptr_t end),
		 void *arg);

#endif
