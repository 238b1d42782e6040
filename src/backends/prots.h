/* SPDX-License-Identifier: MIT */
/*
 * prots.h - the protection that the program wants for each page of an area,
 * for backends that close pages themselves and open them again.
 *
 * A word for each page, zero at first: bits 1-5 are the difference from the
 * area's protection (read, write, execute, and two that only arm64 has); the
 * others are the owner's. All functions except ww_prots_set() are lock-free and
 * async-signal-safe.
 */
#ifndef WW_PROTS_H
#define WW_PROTS_H

#include "core/area.h"

#define WW_PROTS_SHIFT 1
#define WW_PROTS_MASK (0x1fu << WW_PROTS_SHIFT)

struct ww_prots {
	struct ww_bits changed; /* pages that differ from the area */
	_Atomic(uint32_t) *word;
};

/* Bytes of zeroed memory for it; ww_prots_init() lays it out there. */
size_t ww_prots_bytes(size_t npages);
void ww_prots_init(struct ww_prots *self, void *memory, size_t npages);

/* Can closed pages of that protection be opened again? Tried on a page of the
 * library's own: a process may have been denied memory that is writable and
 * executable (PR_SET_MDWE). 0 or -errno. */
int ww_prots_way_back(int prot);

/* The protection of a page; and the end of the run from there on, below end,
 * of pages that want the same. */
int ww_prots_at(const struct ww_prots *self, const struct ww_area *a,
		size_t page);
size_t ww_prots_same(struct ww_prots *self, const struct ww_area *a,
		     size_t page, size_t end);

/* The protection from an address on, and where that run ends, at most at *end:
 * a backend's wanted(). */
int ww_prots_wanted(struct ww_prots *self, const struct ww_area *a,
		    uintptr_t at, uintptr_t *end);

/* Writer's lock. */
void ww_prots_set(struct ww_prots *self, const struct ww_area *a, size_t first,
		  size_t end, int prot);

/* The protection of a page that is closed: its first write faults. */
int ww_prots_closed(int prot);

/* Open or close those pages that the program may write to. The other pages
 * always have the protection that the program wants. 0 or -errno. */
int ww_prots_apply(struct ww_prots *self, const struct ww_area *a, size_t first,
		   size_t end, bool open);

/* The same for as many pages as possible. Pages that are not mapped any more
 * are skipped. An error means that no mapping was left to split for some pages:
 * failed(), unless it is NULL, is called for each of those. */
int ww_prots_apply_mapped(struct ww_prots *self, struct ww_area *a,
			  size_t first, size_t end, bool open,
			  void (*failed)(struct ww_area *a, size_t first,
					 size_t end));

/* Give all pages what the program wants, as far as that goes. */
void ww_prots_restore(struct ww_prots *self, const struct ww_area *a,
		      size_t first, size_t end);

#endif
