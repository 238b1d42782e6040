/* SPDX-License-Identifier: MIT */
/*
 * area.h - an area: memory that was armed in one go, with its bitmaps.
 *
 * One ww_watch() makes an area for each stretch of memory of one kind. The area
 * stays until its last part is unwatched and no thread uses it.
 *
 * A page is pending if the next query reports it, whatever the backend says;
 * held between ww_hold() and ww_release(); closed if a store to it faults.
 */
#ifndef WW_AREA_H
#define WW_AREA_H

#include "base/bits.h"
#include "base/readers.h"
#include "core/hot.h"
#include "kernel/maps.h"
#include "writewatch.h"

struct ww_area {
	/* It was attached from `start`, below, to here; what is watched of it may be
	 * less. */
	uintptr_t end;
	/* The number of the ww_watch() call that made it. */
	unsigned watch;
	/* PROT_ bits of the memory when it was attached. */
	int prot;
	/* Slices that are being unwatched. Guarded by the tracker's lock. */
	unsigned nleaving;
	/* Times that part of it was marked because it might have been written.
	 */
	atomic_uint lost;
	/* Length of the block that holds the area and its bitmaps. */
	size_t bytes;
	struct ww_area *retired; /* next on the list of areas to free */
	/* WW_CAP_ bits that no longer hold for it. */
	atomic_uint caps_lost;
	/* Threads that open or close its pages, with signals blocked: no signal
	 * stops such a thread, so others may wait for it. */
	struct ww_readers changers;
	/* Pages that are held, and how often each is. */
	struct ww_bits held;
	_Atomic(uint32_t) *holds;
	struct ww_hot hot; /* WW_WATCH_HOT_OK */

	/* From here on, and in the bitmaps that follow, is what every query reads:
	 * few cache lines, where there are many areas. */

	uintptr_t start;
	void *state; /* the backend's, zeroed */
	enum ww_kind kind;
	/* WW_WATCH_ bits that the backend makes use of. */
	unsigned flags;
	unsigned page_shift;
	/* Memory of another kind was put inside. */
	atomic_bool mixed;
	/* How many pages are held: if none, queries need not read `held`. */
	atomic_size_t nheld;
	/* Threads that may look at the area. A signal may have stopped one of
	 * them: so no thread waits for users, but the area is not freed. */
	struct ww_readers users;
	/* Pages to report besides what the backend says. */
	struct ww_bits pending;
};

/* Part of an area, in whole pages. */
struct ww_slice {
	uintptr_t start, end;
	struct ww_area *area;
};

/* The part of a slice that lies in [start, end). */
static inline struct ww_slice ww_slice_part(const struct ww_slice *s,
					    uintptr_t start, uintptr_t end)
{
	return (struct ww_slice){ s->start > start ? s->start : start,
				  s->end < end ? s->end : end, s->area };
}

/* An area with nothing attached yet; state_bytes is for the backend. The caller
 * has its signals blocked, as for ww_area_free(). */
int ww_area_new(struct ww_area **out, uintptr_t start, uintptr_t end,
		size_t state_bytes, unsigned flags);
void ww_area_free(struct ww_area *area);

static inline size_t ww_area_page(const struct ww_area *a, uintptr_t at)
{
	return (at - a->start) >> a->page_shift;
}

static inline uintptr_t ww_area_at(const struct ww_area *a, size_t page)
{
	return a->start + ((uintptr_t)page << a->page_shift);
}

/* Is anything counted in `hot`? Queries do not read it else. */
static inline bool ww_area_has_hot(const struct ww_area *a)
{
	return a->flags & WW_WATCH_HOT_OK;
}

/* Pages that a fault opens together where WW_WATCH_COARSE_OK was asked for. */
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

/* --- pending pages. Lock-free and async-signal-safe --- */

/* How often pages became pending or held, of all areas. A call counts when its bits are
 * set, before it returns. So if two looks find the same number, pages that were neither
 * at the first look are neither at the second, or a call that makes them so has not
 * returned. */
unsigned ww_area_additions(void);

/* Is no page of [first, end) pending or held? One that begins to be held may be
 * pending, until another query resets it: so `nheld` is looked at before and behind. */
static inline bool ww_area_is_quiet(const struct ww_area *a, size_t first,
				    size_t end)
{
	return !atomic_load(&a->nheld) &&
	       ww_bits_quiet(&a->pending, first, end) &&
	       !atomic_load(&a->nheld);
}

/* Report [start, end) with the next query. */
void ww_area_mark(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Report [start, end) only if the backend says so: no page is pending. */
void ww_area_forget(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Mark [start, end), of which it is not known whether it was written, and count
 * that in `lost`. */
void ww_area_note_lost(struct ww_area *a, uintptr_t start, uintptr_t end);

/* --- held pages. Lock-free and async-signal-safe --- */

/* Add 1 to the hold count of each page of [start, end), and wait for threads
 * that are closing pages and may not have seen the new count. */
void ww_area_hold(struct ww_area *a, uintptr_t start, uintptr_t end);

/* Take 1 from the count of each page; at 0 the page becomes pending. */
void ww_area_release(struct ww_area *a, uintptr_t start, uintptr_t end);

/* End all holds: for a fork child, which holds nothing. */
void ww_area_release_all(struct ww_area *a);

/* Is a page held? A thread that closes pages asks inside of changers, where
 * ww_area_hold() waits for it. */
static inline bool ww_area_is_held(const struct ww_area *a, size_t page)
{
	return atomic_load(&a->nheld) && ww_bits_test(&a->held, page);
}

/* The end of a run that begins at `page` and ends at `end` at the latest: its
 * pages are all held, or all not held; *held says which. */
size_t ww_area_held_run(struct ww_area *a, size_t page, size_t end, bool *held);

/* Call fn for each such run of [start, end), until it fails. */
int ww_area_each_held_run(struct ww_area *a, uintptr_t start, uintptr_t end,
			  int (*fn)(void *arg, struct ww_area *a,
				    uintptr_t start, uintptr_t end, bool held),
			  void *arg);

#endif
