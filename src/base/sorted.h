/* SPDX-License-Identifier: MIT */
/*
 * sorted.h - entries that ascend by address. They lie in blocks, so that a change
 * moves few of them, however many there are.
 *
 * Callers hold a lock of their own, as heap.h wants it.
 */
#ifndef WW_SORTED_H
#define WW_SORTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ww_sorted_block {
	char *entry;
	size_t n, room;
};

/* All zero except for bytes: empty. */
struct ww_sorted {
	size_t bytes; /* of an entry, which begins with its address, a uintptr_t */
	struct ww_sorted_block *block; /* none is empty */
	size_t n, room;
};

/* The last entry that is not above an address, and the first that is; NULL: none.
 * Valid until something is added or removed. */
void *ww_sorted_below(const struct ww_sorted *self, uintptr_t at);
void *ww_sorted_above(const struct ww_sorted *self, uintptr_t at);

/* A new entry, zeroed except for its address; NULL: no memory. There is none at
 * that address. */
void *ww_sorted_add(struct ww_sorted *self, uintptr_t at);

/* Remove the entry at an address. */
void ww_sorted_remove(struct ww_sorted *self, uintptr_t at);

/* Remove all. */
void ww_sorted_clear(struct ww_sorted *self);

#endif
