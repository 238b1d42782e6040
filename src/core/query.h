/* SPDX-License-Identifier: MIT */
/*
 * query.h - one query on its way: what backends find goes in, merged with the
 * pending bits and in order, until the caller's array is full.
 */
#ifndef WW_QUERY_H
#define WW_QUERY_H

#include "core/range.h"
#include "writewatch.h"

/* Slices that touch, are of one kind, and are all pinned. */
struct ww_span {
	const struct ww_slice *slice;
	unsigned n;
};

struct ww_query {
	void **pages; /* one of the two arrays */
	struct ww_range *ranges;
	size_t room, n; /* entries */
	size_t page;	/* bytes */
	bool reset;
	struct ww_span span; /* what is being collected now */
	uintptr_t pos;	     /* below it everything is settled */
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

/* Put [start, end) into the array, as far as there is room: up to where. */
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

/* The backend says that [start, end) is dirty and, if this is a reset, that it
 * is re-armed already. What no longer fits becomes pending. Ascending calls. */
void ww_query_found(struct ww_query *q, uintptr_t start, uintptr_t end);

/* As ww_query_found(), for a backend that re-arms what it is told: returns the
 * end of what was stored. Nothing becomes pending. */
uintptr_t ww_query_offer(struct ww_query *q, uintptr_t start, uintptr_t end);

/* The backend has said all that it knows below `end`. */
void ww_query_settled(struct ww_query *q, uintptr_t end);

/* The call fails: what was handed out and re-armed becomes pending. */
void ww_query_undo(struct ww_query *q, struct ww_ranges *ranges);

/* Call fn for the part of each slice of a span that lies in [start, end). */
void ww_span_each(const struct ww_span *span, uintptr_t start, uintptr_t end,
		  void (*fn)(struct ww_area *a, uintptr_t start,
			     uintptr_t end));

/* Call fn for each run of set bits of the areas' bitmaps in [start, end), in
 * order, while it returns 0. Returns what it returned last. */
int ww_span_runs(const struct ww_span *span, uintptr_t start, uintptr_t end,
		 struct ww_bits *(*bits)(struct ww_area *a),
		 int (*fn)(void *arg, uintptr_t start, uintptr_t end),
		 void *arg);

#endif
