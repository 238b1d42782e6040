/* SPDX-License-Identifier: MIT */
/*
 * uffd-async.h - what the uffd-async backend and its queries share.
 */
#ifndef WW_UFFD_ASYNC_H
#define WW_UFFD_ASYNC_H

#include "core/backend.h"
#include "kernel/pagemap.h"

struct ww_async {
	struct ww_fd uffd;
	struct ww_pagemap pagemap;
	/* The kernel's fast walk can be trusted: not before 6.10, where swapped
	 * pages could look clean in it. */
	bool fast;
	/* Changes when pages are discarded. */
	atomic_uint discards;
};

/* An area's state. */
struct ww_async_area {
	/* Pages that were ever seen to be more than a zero page. */
	struct ww_bits populated;
};

static inline struct ww_bits *ww_async_populated(struct ww_area *a)
{
	return &((struct ww_async_area *)a->state)->populated;
}

/* Huge pages are kept: a zero page may have been written to, because it may be
 * what is left of a piece of a huge page. */
static inline bool ww_async_keeps_huge(const struct ww_span *span)
{
	return span->slice[0].area->flags & WW_WATCH_HUGE_OK;
}

/* Room for the regions that a scan finds, and its argument. */
struct ww_async_room {
	struct ww_scratch *scratch;
	unsigned generation; /* when it was taken */
	struct page_region *vec;
	size_t vec_len;
	struct page_region few[32]; /* without a scratch */
};

void ww_async_room_take(struct ww_async_room *self);
void ww_async_room_drop(struct ww_async_room *self);

/* Scan memory that is registered: as ww_pagemap_scan(), into that room. */
int ww_async_scan(const struct ww *ww, struct ww_scan *s,
		  const struct ww_async_room *room);

void ww_async_note_populated(struct ww_area *a, uintptr_t start,
			     uintptr_t end);

/* Note what of private memory was written and not re-armed. */
void ww_async_note_existing(struct ww *ww, const struct ww_span *span);

/* From an address of a span on: as far as one way to ask is right for all of
 * it. */
uintptr_t ww_async_stretch(const struct ww *ww, const struct ww_span *span,
			   uintptr_t at, enum ww_asked *asked);

/* The backend's collect(). */
int ww_async_collect(struct ww *ww, struct ww_query *q);

#endif
