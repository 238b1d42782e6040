/* SPDX-License-Identifier: MIT */
/*
 * mapcount.c - one budget for vm.max_map_count.
 *
 * Called by watch.c, and by the mprotect backend in its signal handler; calls
 * trackers.c and maps.c. Invariant: `used` is never less than what was really
 * split off, except for what threads that count at the same moment take.
 *
 * Global: mappings are counted for the process, and the handler has no argument
 * to find the count by.
 */
#include "core/mapcount.h"

#include <limits.h>

#include "core/trackers.h"

#define FEW 16u /* so many areas do not justify a count, which takes 40 us */

WW_DATA static struct {
	atomic_uint asked;    /* calls of ww_mapcount_may_split() */
	atomic_uint counting; /* threads that count in ww_mapcount_take_two() */
	atomic_long used, budget; /* mappings split off; how many may be */
	atomic_long released;	  /* mappings given back since the last count */
	/* Were pages closed since the last count? A word: gcc 12 for riscv64
	 * exchanges bytes in libatomic. */
	atomic_uint closed;
} splits = { .budget = LONG_MAX };

/* Mappings that we split off: two for each slice, and two for each run of open
 * pages. */
static bool count_tracker(struct ww *ww, void *sum)
{
	struct ww_ticket ticket = ww_readers_enter(&ww->ranges.readers);
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), 0);
	const struct ww_slice *s;
	long n = 0;

	for (; (s = ww_cursor_slice(&c)); ww_cursor_next(&c)) {
		n += 2;
		if (ww->backend->open_runs)
			n += 2 * ww->backend->open_runs(s);
	}
	ww_readers_leave(&ww->ranges.readers, ticket);
	*(long *)sum += n;
	return false;
}

static long count_splits(void)
{
	long n = 0;

	ww_trackers_each(count_tracker, &n);
	return n;
}

/* `used` only grows, because mappings that merge again are not noticed; at the
 * budget, count what is really split. Not if nothing was closed since the last
 * count: it would find the same. */
WW_OFTEN bool ww_mapcount_take_two(void)
{
	long budget = atomic_load(&splits.budget);
	bool left;

	if (atomic_fetch_add(&splits.used, 2) + 2 <= budget)
		return true;
	if (atomic_fetch_add(&splits.counting, 1) > 0 ||
	    atomic_exchange(&splits.closed, 0)) {
		/* Also if another thread counts: it may find mappings that are
		 * free, so this thread may not fail without a count. */
		long n = count_splits();

		atomic_store(&splits.used, n);
		left = n + WW_MAPCOUNT_SPARE <= budget;
	} else {
		left = false;
	}
	atomic_fetch_sub(&splits.counting, 1);
	return left;
}

static void count_budget(void)
{
	long ours = count_splits();

	atomic_store(&splits.released, 0);
	atomic_store(&splits.used, ours);
	/* half of what would be left without us, however often it is counted */
	atomic_store(&splits.budget, (ww_maps_left() + ours) / 2);
}

bool ww_mapcount_may_split(bool opens_pages)
{
	unsigned n = atomic_fetch_add(&splits.asked, 1);
	bool counted = atomic_load(&splits.budget) != LONG_MAX;

	if (!counted && !opens_pages && n < FEW)
		return true;
	/* Counting each time costs too much: count if the number of calls is a
	 * power of two, if much was given back, or if the budget is used up. */
	if (!counted || (n & (n - 1)) == 0 ||
	    atomic_load(&splits.released) * 16 > atomic_load(&splits.budget) ||
	    !ww_mapcount_take_two()) {
		count_budget();
		return ww_mapcount_take_two();
	}
	return true;
}

void ww_mapcount_closed(void)
{
	if (!atomic_load(&splits.closed))
		atomic_store(&splits.closed, 1);
}

void ww_mapcount_released(void)
{
	ww_mapcount_closed();
	atomic_fetch_add(&splits.released, 2);
}
