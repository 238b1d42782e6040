/* SPDX-License-Identifier: MIT */
/*
 * regions.c - what VirtualAlloc() has allocated, and the state of its pages.
 *
 * Called by memory.c and query.c; calls base. Invariant: the first run of a region
 * begins with it.
 *
 * Global: the list, since Windows' calls find allocations by address.
 */
#include "win32/regions.h"

#include "base/fork.h"
#include "base/heap.h"
#include "kernel/sys.h"

struct entry {
	uintptr_t start;
	struct ww_region *region;
};

WW_DATA static struct {
	struct ww_lock lock;
	struct ww_sorted list; /* of struct entry */
} memory = { .list.bytes = sizeof(struct entry) };

void ww_win32_lock(void)
{
	if (ww_fork_init() == 0)
		ww_heap_init();
	/* The holder calls the tracker, which takes locks: hence the rank. */
	ww_lock_init(&memory.lock, WW_LOCK_WIN32);
	ww_lock_take(&memory.lock);
}

void ww_win32_unlock(void)
{
	ww_lock_drop(&memory.lock);
}

/* --- the list --- */

struct ww_region *ww_win32_region_next(uintptr_t at)
{
	const struct entry *e = ww_sorted_below(&memory.list, at);

	if (!e || e->region->end <= at)
		e = ww_sorted_above(&memory.list, at);
	return e ? e->region : NULL;
}

struct ww_region *ww_win32_region_at(uintptr_t at)
{
	struct ww_region *a = ww_win32_region_next(at);

	return a && a->start <= at ? a : NULL;
}

struct ww_region *ww_win32_region_holding(const void *address, uintptr_t size,
					  uintptr_t *start, uintptr_t *end)
{
	struct ww_region *a;

	if (!ww_win32_round(address, size, WW_WIN32_PAGE, start, end))
		return NULL;
	a = ww_win32_region_at(*start);
	return a && *end <= a->end ? a : NULL;
}

struct ww_region *ww_win32_region_add(const struct ww_region *region)
{
	struct ww_region *a = ww_heap_new(sizeof(*a));
	struct entry *e;

	if (!a)
		return NULL;
	*a = *region;
	a->runs.bytes = sizeof(struct ww_region_run);
	e = ww_sorted_add(&a->runs, a->start)
		    ? ww_sorted_add(&memory.list, a->start)
		    : NULL;
	if (e) {
		e->region = a;
		return a;
	}
	ww_sorted_clear(&a->runs);
	ww_heap_free(a, sizeof(*a));
	return NULL;
}

void ww_win32_region_remove(struct ww_region *a)
{
	ww_sorted_remove(&memory.list, a->start);
	ww_sorted_clear(&a->runs);
	ww_heap_free(a, sizeof(*a));
}

/* --- runs --- */

uint8_t ww_win32_state(const struct ww_region *a, uintptr_t at, uintptr_t *end)
{
	const struct ww_region_run *run = ww_sorted_below(&a->runs, at);
	const struct ww_region_run *next = ww_sorted_above(&a->runs, at);

	*end = next ? next->start : a->end;
	return run->state;
}

/* Have a run begin at an address, unless that is the region's end. */
static bool split(struct ww_region *a, uintptr_t at)
{
	struct ww_region_run *run;
	uint8_t state;

	if (at == a->end)
		return true;
	run = ww_sorted_below(&a->runs, at);
	if (run->start == at)
		return true;
	state = run->state;
	run = ww_sorted_add(&a->runs, at);
	if (run)
		run->state = state;
	return run;
}

/* The run that begins at an address becomes part of the one before it, if they are
 * alike. */
static void join(struct ww_region *a, uintptr_t at)
{
	const struct ww_region_run *run, *before;

	if (at == a->start || at == a->end)
		return;
	run = ww_sorted_below(&a->runs, at);
	before = ww_sorted_below(&a->runs, at - 1);
	if (run->start == at && run->state == before->state)
		ww_sorted_remove(&a->runs, at);
}

bool ww_win32_cut(struct ww_region *a, uintptr_t start, uintptr_t end)
{
	if (split(a, start) && split(a, end))
		return true;
	ww_win32_uncut(a, start, end);
	return false;
}

void ww_win32_uncut(struct ww_region *a, uintptr_t start, uintptr_t end)
{
	join(a, start);
	join(a, end);
}

void ww_win32_set_state(struct ww_region *a, uintptr_t start, uintptr_t end,
			uint8_t state)
{
	struct ww_region_run *run;

	while ((run = ww_sorted_above(&a->runs, start)) && run->start < end)
		ww_sorted_remove(&a->runs, run->start);
	run = ww_sorted_below(&a->runs, start);
	run->state = state;
	ww_win32_uncut(a, start, end);
}
