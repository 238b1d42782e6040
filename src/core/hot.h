/* SPDX-License-Identifier: MIT */
/*
 * hot.h - pages that are written all the time (WW_WATCH_HOT_OK): a reset leaves
 * them open, so that their writers pay no fault.
 *
 * Only whether a page is re-armed is decided here, never whether it is
 * reported: a page that is left open is dirty for the backend as it is, and
 * reported again by the next query. So nothing here can lose a write.
 *
 * A round is one pass of resetting queries over an area. A word for each page:
 * the round that last reported it (bits 8-15, of 256: to be wrong costs a fault),
 * and for how many in a row (bits 0-7).
 */
#ifndef WW_HOT_H
#define WW_HOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ww_hot {
	_Atomic(uint16_t) *word; /* NULL: no page is to be left open */
	atomic_uint round;
	atomic_uintptr_t from;	 /* where the last query of it began */
	atomic_size_t hot; /* pages of this round that are to be kept open */
	atomic_bool any; /* of the last round's */
};

/* Bytes of zeroed memory for npages; ww_hot_init() lays it out there. */
size_t ww_hot_bytes(size_t npages);
void ww_hot_init(struct ww_hot *self, void *memory);

/* A query that resets begins at an address. */
void ww_hot_begin(struct ww_hot *self, uintptr_t start);

/* The query reports a page: is it to be left open? It is written round after
 * round, and it is not its turn to be sampled. */
bool ww_hot_keep(struct ww_hot *self, size_t page);

/* Were pages hot in the last round? A backend that re-arms inside its scan
 * (uffd-async) steps around them only then. */
static inline bool ww_hot_any(const struct ww_hot *self)
{
	return atomic_load(&self->any);
}

/* From a page that is reported on: the end of the run of which ww_hot_keep()
 * says the same; that goes to *keep. */
size_t ww_hot_run(struct ww_hot *self, size_t page, size_t end, bool *keep);

#endif
