/* SPDX-License-Identifier: MIT */
/*
 * range.h - which memory is watched: areas, and the table to look them up.
 *
 * An area is what one attach() armed: memory of one kind, with its bitmaps. The
 * table maps addresses to areas by slices; unwatching a part cuts slices, the
 * area stays until its last slice is gone.
 *
 *	memory    |.....AAAAAAAAAAAAAAA...BBBB|CCCCCCC.....|
 *	slices          [ A   ) [ A   )   [ B )[ C   )
 *	                       ^ unwatched
 *
 * The table is an immutable snapshot behind one pointer. Readers find and pin
 * areas without a lock; writers hold the tracker's lock, publish a new
 *snapshot, and wait for pins only where they take something away.
 */
#ifndef WW_RANGE_H
#define WW_RANGE_H

#include "base/bits.h"
#include "core/hot.h"
#include "base/readers.h"

enum ww_kind {
	WW_KIND_ANON,	/* private anonymous memory */
	WW_KIND_FILE,	/* private mapping of a file */
	WW_KIND_SHARED, /* shared memory or file */
};

struct ww_area {
	uintptr_t start, end; /* as attached; slices may cover less */
	enum ww_kind kind;
	int prot;	/* PROT_ bits of the memory when it was attached */
	unsigned flags; /* WW_WATCH_ bits that the backend makes use of */
	unsigned watch; /* number of the ww_watch() call that made it */
	unsigned ncut;	/* slices just cut out; writer's lock */
	void *mapped;	/* the mapping that holds this struct */
	size_t mapped_len;
	unsigned page_shift;
	atomic_uint lost;   /* times that part of it was called dirty unknown */
	atomic_uint weaker; /* WW_CAP_ bits that no longer hold for it */
	atomic_bool mixed;  /* memory of another kind was put inside */
	struct ww_readers users;
	struct ww_bits
		pending;   /* pages to report besides what the backend says */
	struct ww_hot hot; /* WW_WATCH_HOT_OK */
	void *state;	   /* the backend's, zeroed */
};

struct ww_slice {
	uintptr_t start, end;
	struct ww_area *area;
};

struct ww_table {
	struct ww_table *retired; /* next on the list of those to free */
	size_t n;
	struct ww_slice slice[]; /* ascending */
};

struct ww_ranges {
	_Atomic(struct ww_table *) table;
	struct ww_readers readers; /* who is using a table */
	struct ww_table *retired;  /* writer's lock */
	struct ww_table *last;	   /* an empty one, so that closing needs no
				      memory */
};

/* Slices that a reader holds, ascending. */
#define WW_PIN_MAX 64
struct ww_pins {
	unsigned n;
	struct ww_slice slice[WW_PIN_MAX];
	struct ww_ticket ticket[WW_PIN_MAX];
};

int ww_ranges_init(struct ww_ranges *self);
void ww_ranges_finish(struct ww_ranges *self);

/* The first slice that ends behind an address; t->n if there is none. */
size_t ww_table_find(const struct ww_table *t, uintptr_t at);

/* The writer's view; writer's lock. */
const struct ww_table *ww_ranges_table(const struct ww_ranges *self);

/* Reader: is all of [start, end) watched? */
bool ww_ranges_cover(struct ww_ranges *self, uintptr_t start, uintptr_t end);

/* Reader: pin slices that meet [start, end), clipped to it; as many as there is
 * room for. Returns how far pins cover the question: end, or where to go on. */
uintptr_t ww_ranges_pin(struct ww_ranges *self, uintptr_t start, uintptr_t end,
			struct ww_pins *pins);
void ww_pins_drop(struct ww_pins *pins);

/* The same for one address, small enough for a signal stack. */
bool ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
		       struct ww_slice *out, struct ww_ticket *ticket);

/* Reader: the whole slice at an address; what it was watched with, joined. */
bool ww_ranges_find(struct ww_ranges *self, uintptr_t at, struct ww_slice *out,
		    unsigned *weaker, unsigned *lost);

/* Writer: is any of [start, end) watched? */
bool ww_ranges_overlap(const struct ww_ranges *self, uintptr_t start,
		       uintptr_t end);

/* Writer: a new table with n more slices, or with [start, end) cut out; NULL:
 * no memory. It counts from ww_ranges_publish() on, which does not wait. */
struct ww_table *ww_ranges_add(const struct ww_ranges *self,
			       const struct ww_slice *slice, size_t n);
struct ww_table *ww_ranges_cut(const struct ww_ranges *self, uintptr_t start,
			       uintptr_t end);
void ww_ranges_publish(struct ww_ranges *self, struct ww_table *t);

/* Writer: the empty table, for ww_ranges_publish(). Once. */
struct ww_table *ww_ranges_last(struct ww_ranges *self);

/* Writer: is any slice of the area left? */
bool ww_ranges_hold(const struct ww_ranges *self, const struct ww_area *area);

/* Writer: wait until no reader uses an older table; then pins tell all. */
void ww_ranges_sync(struct ww_ranges *self);

/* An area with nothing attached yet; state_bytes is for the backend. */
int ww_area_new(struct ww_area **out, uintptr_t start, uintptr_t end,
		size_t state_bytes);
void ww_area_free(struct ww_area *area);

/* Areas of all trackers. */
unsigned ww_areas(void);

static inline size_t ww_area_page(const struct ww_area *a, uintptr_t at)
{
	return (at - a->start) >> a->page_shift;
}

static inline uintptr_t ww_area_at(const struct ww_area *a, size_t page)
{
	return a->start + ((uintptr_t)page << a->page_shift);
}

/* Pages that a fault opens together where WW_WATCH_COARSE was asked for. */
#define WW_COARSE_PAGES ((size_t)16)

/* Clip a slice to the block around an address in it. */
static inline void ww_slice_block(struct ww_slice *s, uintptr_t at)
{
	const struct ww_area *a = s->area;
	size_t first = ww_area_page(a, at) & ~(WW_COARSE_PAGES - 1);
	uintptr_t start = ww_area_at(a, first);

	if (s->start < start)
		s->start = start;
	/* the block's own end may be behind that of the address space */
	if ((s->end - start) >> a->page_shift > WW_COARSE_PAGES)
		s->end = start + (WW_COARSE_PAGES << a->page_shift);
}

/* Report [start, end) with the next query. Async-signal-safe. */
void ww_area_mark(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Do not, unless the backend says so. */
void ww_area_forget(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Report it since it could not be known, and count that. */
void ww_area_note_lost(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Memory of another kind is in there. */
void ww_area_note_mixed(struct ww_area *a, uintptr_t start, uintptr_t end);

/* As ww_area_mark(), for whatever is watched of [start, end). */
void ww_ranges_mark(struct ww_ranges *self, uintptr_t start, uintptr_t end);

#endif
