/* SPDX-License-Identifier: MIT */
/*
 * regions.c - what VirtualAlloc() has allocated, and the state of its pages.
 *
 * Called by memory.c and query.c; calls base. Invariant: regions ascend, and so
 * do the runs of each; the first run begins with its region.
 *
 * Global: the list, since Windows' calls find allocations by address.
 */
#include "win32/regions.h"

#include <stdatomic.h>
#include <string.h>

#include "base/fork.h"
#include "base/heap.h"
#include "kernel/sys.h"

WW_DATA static struct {
	struct ww_lock lock;
	struct ww_region **list;
	size_t n, room;
} memory;

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

static size_t position(uintptr_t at)
{
	size_t i = 0, hi = memory.n;

	while (i < hi) {
		size_t mid = (i + hi) / 2;

		if (memory.list[mid]->end <= at)
			i = mid + 1;
		else
			hi = mid;
	}
	return i;
}

struct ww_region *ww_win32_region_next(uintptr_t at)
{
	size_t i = position(at);

	return i < memory.n ? memory.list[i] : NULL;
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
	size_t i = position(region->start);
	struct ww_region **list, *a = ww_heap_new(sizeof(*a));

	if (!a)
		return NULL;
	*a = *region;
	a->run = ww_heap_grow(NULL, 0, &a->room, 1, sizeof(*a->run));
	list = ww_heap_grow(memory.list, memory.n, &memory.room, memory.n + 1,
			    sizeof(*list));
	if (list)
		memory.list = list;
	if (!a->run || !list) {
		ww_heap_free(a->run, a->room * sizeof(*a->run));
		ww_heap_free(a, sizeof(*a));
		return NULL;
	}
	a->run[0] = (struct ww_region_run){ a->start, 0 };
	a->n = 1;
	memmove(&list[i + 1], &list[i], (memory.n - i) * sizeof(*list));
	list[i] = a;
	memory.n++;
	return a;
}

void ww_win32_region_remove(struct ww_region *a)
{
	size_t i = position(a->start);

	memory.n--;
	memmove(&memory.list[i], &memory.list[i + 1],
		(memory.n - i) * sizeof(*memory.list));
	ww_heap_free(a->run, a->room * sizeof(*a->run));
	ww_heap_free(a, sizeof(*a));
}

/* --- runs --- */

/* The run that has an address. */
static size_t run_at(const struct ww_region *a, uintptr_t at)
{
	size_t lo = 0, hi = a->n;

	while (lo + 1 < hi) {
		size_t mid = (lo + hi) / 2;

		if (a->run[mid].start <= at)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

uint8_t ww_win32_state(const struct ww_region *a, uintptr_t at, uintptr_t *end)
{
	size_t i = run_at(a, at);

	*end = i + 1 < a->n ? a->run[i + 1].start : a->end;
	return a->run[i].state;
}

/* Have a run begin at an address, which is inside of the region. */
static bool split(struct ww_region *a, uintptr_t at)
{
	struct ww_region_run *run;
	size_t i = run_at(a, at);

	if (a->run[i].start == at)
		return true;
	run = ww_heap_grow(a->run, a->n, &a->room, a->n + 1, sizeof(*run));
	if (!run)
		return false;
	a->run = run;
	memmove(&run[i + 2], &run[i + 1], (a->n - i - 1) * sizeof(*run));
	run[i + 1] = (struct ww_region_run){ at, run[i].state };
	a->n++;
	return true;
}

/* Runs [first, end) become part of the run before them. */
static void join(struct ww_region *a, size_t first, size_t end)
{
	memmove(&a->run[first], &a->run[end], (a->n - end) * sizeof(a->run[0]));
	a->n -= end - first;
}

bool ww_win32_set_state(struct ww_region *a, uintptr_t start, uintptr_t end,
			uint8_t state)
{
	size_t first, stop;

	if (start >= end)
		return true;
	if (!split(a, start) || (end < a->end && !split(a, end)))
		return false;
	first = run_at(a, start);
	stop = end < a->end ? run_at(a, end) : a->n;
	a->run[first].state = state;
	join(a, first + 1, stop);
	/* with the neighbours, if they are alike */
	if (first + 1 < a->n && a->run[first + 1].state == state)
		join(a, first + 1, first + 2);
	if (first > 0 && a->run[first - 1].state == state)
		join(a, first, first + 1);
	return true;
}

bool ww_win32_keep_states(const struct ww_region *a, uintptr_t start,
			  uintptr_t end, struct ww_region_kept *out)
{
	size_t i = run_at(a, start), n = 0;

	while (i + n < a->n && a->run[i + n].start < end)
		n++;
	*out = (struct ww_region_kept){
		ww_heap_new((n + 1) * sizeof(*out->run)), n
	};
	if (!out->run)
		return false;
	memcpy(out->run, &a->run[i], n * sizeof(*out->run));
	out->run[0].start = start;
	out->run[n].start = end;
	return true;
}

void ww_win32_kept_done(struct ww_region *a, struct ww_region_kept *kept,
			bool put_back)
{
	size_t i;

	/* There is room for the runs: there were as many. */
	for (i = 0; put_back && i < kept->n; i++)
		ww_win32_set_state(a, kept->run[i].start,
				   kept->run[i + 1].start, kept->run[i].state);
	ww_heap_free(kept->run, (kept->n + 1) * sizeof(*kept->run));
}
