/* SPDX-License-Identifier: MIT */
/*
 * uffd-async-scan.c - PAGEMAP_SCAN for the uffd-async backend: room for the answer,
 * and the bitmap of pages that exist.
 *
 * Called by uffd-async.c and uffd-async-collect.c; calls pagemap.c, scratch.c and
 * bits.c. Invariant: a bit is set only for a page that was more than a zero page.
 */
#include "backends/uffd-async.h"

#include <errno.h>

#include "base/fork.h"
#include "kernel/arch.h"

/* --- room --- */

WW_OFTEN void ww_async_room_take(struct ww_async_room *self)
{
	self->generation = ww_fork_generation();
	self->scratch = ww_scratch_take();
	self->used = 0;
	if (self->scratch) {
		self->vec = self->scratch->vec;
		self->vec_len = WW_SCRATCH_VEC;
		return;
	}
	self->vec_len = sizeof(self->few) / sizeof(self->few[0]);
	self->vec = self->few;
	for (size_t i = 0; i < self->vec_len; i++)
		self->few[i].end = 0;
}

void ww_async_room_drop(struct ww_async_room *self)
{
	ww_scratch_drop(self->scratch, self->generation, self->used);
}

/* --- scans --- */

static int scan(const struct ww *ww, struct ww_scan *s,
		const struct ww_async_room *room)
{
	const struct ww_async *u = ww->priv;

	s->vec = room->vec;
	s->scratch = room->scratch;
	s->generation = room->generation;
	return ww_pagemap_scan(&u->pagemap, s);
}

/* When a scan has re-armed pages, the kernel flushes the TLB from the first of them
 * to where the scan ended. If that is up to WW_ARCH_FLUSH_PAGES pages, it does so
 * page by page: 115 ns each on a virtual machine (6.18). A scan that re-arms nothing
 * takes 420 ns. So if the last answer ended WASTE_PAGES before the scan did, the next
 * that re-arms looks first, and re-arms no more than from the first dirty page to the
 * last. */
#define WASTE_PAGES 8u

/* Leave the vector without regions; *end: where the last region ended, if any. */
static void drop_answer(const struct ww_scan *s, uintptr_t *end)
{
	uintptr_t at, stop;
	size_t i;

	for (i = 0; ww_scan_region(s, i, &at, &stop); i++) {
		*end = stop;
		s->vec[i].end = 0;
	}
}

/* As scan(): one call of the kernel that looks, and one that re-arms. The pages
 * before the first dirty one and behind the last were clean when it looked, so the
 * scan got as far as the look did; those that were written since stay open, for the
 * next query. */
static int scan_twice(const struct ww *ww, struct ww_scan *s,
		      const struct ww_async_room *room)
{
	const struct ww_scan all = *s;
	uintptr_t looked, first;
	int r;

	s->flags = 0;
	r = scan(ww, s, room);
	looked = s->walk_end;
	first = (uintptr_t)s->vec[0].start;
	if (r > 0 && first < all.start) /* wiped: a signal handler forked */
		return -EINVAL;
	drop_answer(s, &s->end);
	s->flags = all.flags;
	if (r > 0) {
		s->start = first;
		r = scan(ww, s, room);
		if (s->walk_end == s->end)
			s->walk_end = looked;
	}
	s->start = all.start;
	s->end = all.end;
	return r;
}

/* r: how many regions a scan found. (A reset that does not look has no vector, and
 * does not learn.) */
static void learn(const struct ww *ww, const struct ww_scan *s, int r,
		  atomic_bool *looks)
{
	bool wasted = r > 0 &&
		      s->walk_end - s->vec[r - 1].end >= WASTE_PAGES * ww->page;

	if (r > 0 && atomic_load(looks) != wasted)
		atomic_store(looks, wasted);
}

WW_OFTEN int ww_async_scan(const struct ww *ww, struct ww_scan *s,
			   const struct ww_async_room *room, struct ww_area *a)
{
	atomic_bool *looks = &((struct ww_async_area *)a->state)->looks;
	size_t vec_len = s->vec_len;
	uintptr_t end;
	int r;

	if (s->end - s->start > WW_ARCH_FLUSH_PAGES * ww->page)
		return scan(ww, s, room);
	if (s->flags & PM_SCAN_WP_MATCHING && atomic_load(looks)) {
		/* a reset has none: 33 pages have 17 runs at most */
		s->vec_len = vec_len ? vec_len : WW_ARCH_FLUSH_PAGES / 2 + 1;
		r = scan_twice(ww, s, room);
	} else {
		r = scan(ww, s, room);
	}
	if (s->vec_len)
		learn(ww, s, r, looks);
	if (!vec_len)
		drop_answer(s, &end);
	s->vec_len = vec_len;
	return r;
}

/* --- pages that were ever more than a zero page --- */

WW_OFTEN void ww_async_note_populated(struct ww_area *a, uintptr_t start,
				      uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);

	if (!ww_bits_surely_full(ww_async_populated(a), first, stop))
		ww_bits_set(ww_async_populated(a), first, stop);
}

void ww_async_forget_populated(struct ww_area *a, uintptr_t start,
			       uintptr_t end)
{
	ww_bits_clear(ww_async_populated(a), ww_area_page(a, start),
		      ww_area_page(a, end));
}

void ww_async_note_missed(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	atomic_store(&((struct ww_async_area *)a->state)->missed, true);
}

bool ww_async_missed(const struct ww *ww, const struct ww_span *span,
		     unsigned discards)
{
	bool missed = discards % 2 || ww_async_discards(ww) != discards;

	if (missed)
		ww_span_each(span, ww_span_start(span), ww_span_end(span),
			     ww_async_note_missed);
	return missed;
}

void ww_async_note(const struct ww *ww, const struct ww_span *span,
		   unsigned discards, uintptr_t start, uintptr_t end)
{
	if (ww_async_missed(ww, span, discards))
		return;
	ww_span_each(span, start, end, ww_async_note_populated);
	if (ww_async_missed(ww, span, discards))
		ww_span_each(span, start, end, ww_async_forget_populated);
}

int ww_async_note_existing(const struct ww *ww, const struct ww_span *span,
			   struct ww_scan *s, const struct ww_async_room *room)
{
	int r = 0;

	s->vec_len = room->vec_len;
	while (r >= 0 && s->start < s->end) {
		unsigned discards = ww_async_discards(ww);
		uintptr_t start, end;
		size_t i;

		r = ww_async_scan(ww, s, room, span->slice[0].area);
		for (i = 0; ww_scan_region(s, i, &start, &end); i++) {
			if (!(s->vec[i].categories & PAGE_IS_PFNZERO))
				ww_async_note(ww, span, discards, start, end);
			s->vec[i].end = 0;
		}
		s->start = s->walk_end;
	}
	return r < 0 ? r : 0;
}
