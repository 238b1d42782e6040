/* SPDX-License-Identifier: MIT */
/*
 * hot.h - pages that are written all the time (WW_WATCH_HOT_OK): a reset leaves
 * them open, so that their writers pay no fault.
 *
 * Only whether a page is re-armed is decided here, never whether it is
 * reported: a page that is left open stays dirty for the backend, so the next
 * query reports it again. So nothing here can lose a write.
 *
 * A round is one pass of resetting queries over an area. The word of a page
 * holds the last round that reported the page (bits 8-15: modulo 256; mistaking
 * an old round for the last costs a fault), and how many rounds in a row did
 * (bits 0-7). After STREAK rounds in a row (hot.c) a page is hot.
 */
#ifndef WW_HOT_H
#define WW_HOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ww_hot {
	atomic_uint round;
	atomic_bool any;	 /* the last round reported some */
	atomic_uintptr_t from;	 /* where the round's last query began */
	atomic_size_t hot;	 /* hot pages that this round reported so far */
	_Atomic(uint16_t) *word; /* NULL: no page is to be left open */
};

/* Bytes of zeroed memory for npages; ww_hot_init() lays it out there. */
size_t ww_hot_bytes(size_t npages);
void ww_hot_init(struct ww_hot *self, void *memory);

/* A query that resets begins at an address: this may begin a new round. */
void ww_hot_begin(struct ww_hot *self, uintptr_t start);

/* The query reports a page: is the page to be left open? Yes if it is hot, but
 * each 16th round closes it, to see whether it is still written. */
bool ww_hot_keep(struct ww_hot *self, size_t page);

/* Were pages hot in the last round? A backend that re-arms inside its scan
 * (uffd-async) steps around them only then. */
static inline bool ww_hot_any(const struct ww_hot *self)
{
	return atomic_load(&self->any);
}

/* [page, end) is reported: the end of the run, from `page` on, for which
 * ww_hot_keep() gives the same answer, which goes to *keep. */
size_t ww_hot_run(struct ww_hot *self, size_t page, size_t end, bool *keep);

#endif
