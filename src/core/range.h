/* SPDX-License-Identifier: MIT */
/*
 * range.h - which memory is watched: the table that leads from an address to
 * its area.
 *
 *	memory   |.....AAAAAAAAAAAAAAA...BBBB|CCCCCCC.....|
 *	slices         [ A   ) [ A   )   [ B )[ C   )
 *	                      ^ unwatched         \_ a span, with B:
 *	                                             slices that touch
 *
 * area    what one attach() armed: memory of one kind (area.h)
 * slice   the part of an area that the table still knows, or that a call is
 *         about: [start, end) in whole pages, and the area
 * span    slices that touch, of areas of one kind with the same flags: what one
 *         collect() or rearm() of a backend is given
 * run     neighbouring pages that are alike: all dirty, all held
 * range   the public word for an area of memory: struct ww_range
 * chunk   part of the table: up to 64 slices in a row
 *
 * The table is an immutable snapshot behind one pointer: a list of chunks, so
 * that a change copies one or two chunks and the list. Readers find and pin
 * slices without a lock. Writers hold the tracker's lock and publish a new
 * snapshot. They do not wait for readers, of which one may have been stopped by
 * a signal: what readers may still use is retired, and freed later.
 */
#ifndef WW_RANGE_H
#define WW_RANGE_H

#include "core/area.h"

#define WW_CHUNK_SLICES 64u

struct ww_chunk {
	struct ww_chunk *retired;
	unsigned n;
	struct ww_slice slice[]; /* ascending, never empty */
};

struct ww_table {
	struct ww_table *retired;
	size_t n, bytes;
	struct ww_chunk *chunk[]; /* ascending */
};

/* A place in a table. */
struct ww_cursor {
	const struct ww_table *table;
	size_t chunk;
	unsigned i;
};

struct ww_ranges {
	_Atomic(struct ww_table *) table;
	struct ww_readers readers; /* threads that are using a table */
	/* Retired tables, chunks and areas. Guarded by the tracker's lock. */
	struct ww_table *old_tables;
	struct ww_chunk *old_chunks;
	struct ww_area *old_areas;
	/* An empty table made in advance, so that closing needs no memory. */
	struct ww_table *spare_empty;
};

/* Slices that a reader holds, ascending. */
#define WW_PIN_MAX 64
struct ww_pins {
	unsigned n;
	struct ww_slice slice[WW_PIN_MAX];
	struct ww_ticket ticket[WW_PIN_MAX];
};

int ww_ranges_init(struct ww_ranges *self);
/* Only when no reader is left. */
void ww_ranges_finish(struct ww_ranges *self);

/* --- looking at a table: with the tracker's lock or inside of `readers` --- */

const struct ww_table *ww_ranges_table(const struct ww_ranges *self);

/* The first slice that ends behind an address, and on from there; NULL behind
 * the last. */
struct ww_cursor ww_table_seek(const struct ww_table *t, uintptr_t at);
const struct ww_slice *ww_cursor_slice(const struct ww_cursor *c);
void ww_cursor_next(struct ww_cursor *c);

/* Is any of [start, end) watched? */
bool ww_table_meets(const struct ww_table *t, uintptr_t start, uintptr_t end);

/* --- readers: lock-free and async-signal-safe --- */

/* Is all of [start, end) watched? */
bool ww_ranges_cover(struct ww_ranges *self, uintptr_t start, uintptr_t end);

/* Pin slices that meet [start, end), clipped to it, as many as there is room
 * for. Returns `end` if there was room for all, else where to go on. 0, and nothing
 * is pinned: `all` of it was to be watched, and is not. */
uintptr_t ww_ranges_pin(struct ww_ranges *self, uintptr_t start, uintptr_t end,
			bool all, struct ww_pins *pins);
void ww_pins_drop(struct ww_pins *pins);

/* Pin the slice that has an address: small enough for a signal stack. */
bool ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
		       struct ww_slice *out, struct ww_ticket *ticket);

/* How many tables were published, of all trackers: if none was between two looks,
 * nothing was watched or unwatched. Async-signal-safe. */
unsigned ww_ranges_published(void);

/* The first part of s from an address on that is still in the table; false: there is
 * none. */
bool ww_ranges_next_still(struct ww_ranges *self, const struct ww_slice *s,
			  uintptr_t at, struct ww_slice *part);

/* The slice of that area that the table has at an address; false: it has none. */
bool ww_ranges_around(struct ww_ranges *self, const struct ww_area *area,
		      uintptr_t at, struct ww_slice *out);

/* The first range that ends behind an address: all slices of one ww_watch()
 * call that touch, joined, and what their areas lost, together. */
bool ww_ranges_next(struct ww_ranges *self, uintptr_t at, struct ww_slice *out,
		    unsigned *caps_lost, unsigned *lost);

/* As ww_area_mark() and ww_area_note_lost(), for whatever is watched of [start, end).
 */
void ww_ranges_mark(struct ww_ranges *self, uintptr_t start, uintptr_t end);
void ww_ranges_note_lost(struct ww_ranges *self, uintptr_t start,
			 uintptr_t end);

/* --- writers --- */

/* A new table: an old one without [start, end), and with n more slices, which lie
 * in there or where nothing is watched. NULL: no memory. The caller either
 * publishes or discards the new table. */
struct ww_table *ww_table_change(const struct ww_table *old, uintptr_t start,
				 uintptr_t end, const struct ww_slice *slice,
				 size_t n);

/* Free a table that was made of the current one, or that the current one was
 * made of. */
void ww_ranges_discard(struct ww_ranges *self, struct ww_table *t);

/* Make t the current table, and retire the old one with the chunks that t has
 * not. */
void ww_ranges_publish(struct ww_ranges *self, struct ww_table *t);

/* Retire an area that the current table has no more. */
void ww_ranges_retire(struct ww_ranges *self, struct ww_area *area);

/* Free what is retired and not in use. */
void ww_ranges_clean(struct ww_ranges *self);

#endif
