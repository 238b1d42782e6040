/* SPDX-License-Identifier: MIT */
/*
 * uffd-async-scan.c - PAGEMAP_SCAN for the uffd-async backend: room for the answer,
 * and the bitmap of pages that exist.
 *
 * Called by uffd-async.c and uffd-async-collect.c; calls pagemap.c, scratch.c and
 * bits.c. Invariant: a bit is set only for a page that was more than a zero page.
 */
#include "backends/uffd-async.h"

#include "base/fork.h"

/* --- room --- */

WW_OFTEN void ww_async_room_take(struct ww_async_room *self)
{
	self->generation = ww_fork_generation();
	self->scratch = ww_scratch_take();
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
	ww_scratch_drop(self->scratch, self->generation);
}

WW_OFTEN int ww_async_scan(const struct ww *ww, struct ww_scan *s,
			   const struct ww_async_room *room)
{
	const struct ww_async *u = ww->priv;

	s->vec = room->vec;
	s->scratch = room->scratch;
	return ww_pagemap_scan(&u->pagemap, s);
}

/* --- pages that were ever more than a zero page --- */

WW_OFTEN void ww_async_note_populated(struct ww_area *a, uintptr_t start,
				      uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);

	if (!ww_bits_surely_full(ww_async_populated(a), first, stop))
		ww_bits_set(ww_async_populated(a), first, stop);
}

void ww_async_note_existing(struct ww *ww, const struct ww_span *span)
{
	struct ww_async_room room;
	struct ww_scan s = { .start = ww_span_start(span),
			     .end = ww_span_end(span),
			     .asked = WW_ASK_EXISTING };
	int r = 0;

	ww_async_room_take(&room);
	s.vec_len = room.vec_len;
	while (r >= 0 && s.start < s.end) {
		size_t i;

		r = ww_async_scan(ww, &s, &room);
		for (i = 0; i < s.vec_len && s.vec[i].end; i++) {
			if (!(s.vec[i].categories & PAGE_IS_PFNZERO))
				ww_span_each(span, (uintptr_t)s.vec[i].start,
					     (uintptr_t)s.vec[i].end,
					     ww_async_note_populated);
			s.vec[i].end = 0;
		}
		s.start = s.walk_end;
	}
	ww_async_room_drop(&room);
}
