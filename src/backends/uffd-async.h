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
	/* The kernel's fast walk (WW_ASK_WRITTEN) can be trusted: before 6.10
	 * swapped pages could look clean in it. */
	bool fast;
	/* Counted up before pages are discarded and again behind that: odd while
	 * some are. */
	atomic_uint discards;
};

/* An area's state. */
struct ww_async_area {
	/* Pages that were ever seen to be more than a zero page. */
	struct ww_bits populated;
	/* A page may have been written that has no bit. Never taken back: for a fork
	 * child, which finds no page where memory was wiped (async_was_empty()). */
	atomic_bool missed;
	/* Short scans look which pages are dirty before they re-arm them. */
	atomic_bool looks;
};

static inline struct ww_bits *ww_async_populated(struct ww_area *a)
{
	return &((struct ww_async_area *)a->state)->populated;
}

static inline unsigned ww_async_discards(const struct ww *ww)
{
	const struct ww_async *u = ww->priv;

	return atomic_load(&u->discards);
}

/* Does the span keep huge pages? Then a zero page counts as written: it may be
 * a piece of a huge page, split off, that zeros were written to. */
static inline bool ww_async_keeps_huge(const struct ww_span *span)
{
	return span->slice[0].area->flags & WW_WATCH_HUGE_OK;
}

/* Room for the regions that a scan finds, and its argument. */
struct ww_async_room {
	struct ww_scratch *scratch;
	unsigned generation; /* fork generation when taken */
	struct page_region *vec;
	size_t vec_len;
	size_t used;		    /* regions of it that may not be zero */
	struct page_region few[32]; /* without a scratch */
};

void ww_async_room_take(struct ww_async_room *self);
void ww_async_room_drop(struct ww_async_room *self);

/* Scan memory that is registered: as ww_pagemap_scan(), into that room. a: the area,
 * or the first of several. */
int ww_async_scan(const struct ww *ww, struct ww_scan *s,
		  const struct ww_async_room *room, struct ww_area *a);

void ww_async_note_populated(struct ww_area *a, uintptr_t start, uintptr_t end);
void ww_async_forget_populated(struct ww_area *a, uintptr_t start,
			       uintptr_t end);

/* Note as populated the pages of private memory that a scan found written. But not if
 * pages are being discarded, or were since `discards` was read, before the scan: they
 * may be gone again, and their bits would be wrong (async_discard()). */
void ww_async_note(const struct ww *ww, const struct ww_span *span,
		   unsigned discards, uintptr_t start, uintptr_t end);

/* Pages of an area may have been written of which no bit tells. */
void ww_async_note_missed(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Are pages being discarded, or were they since `discards` was read? Then bits that
 * the caller found, or would have set, mean nothing, and the areas are `missed`. */
bool ww_async_missed(const struct ww *ww, const struct ww_span *span,
		     unsigned discards);

/* Scan all of s, which asks for pages that exist, and note what it finds. */
int ww_async_note_existing(const struct ww *ww, const struct ww_span *span,
			   struct ww_scan *s, const struct ww_async_room *room);

/* The end of the stretch, from an address of the span on, for which one kind of
 * scan is right; that kind goes to *asked. */
uintptr_t ww_async_stretch(const struct ww *ww, const struct ww_span *span,
			   uintptr_t at, enum ww_asked *asked);

/* The backend's collect(). */
int ww_async_collect(struct ww *ww, struct ww_query *q);

#endif
