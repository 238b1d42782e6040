/* SPDX-License-Identifier: MIT */
/*
 * area.c - an area: memory that was armed in one go, with its bitmaps.
 *
 * Called by range.c, query.c, watch.c and the backends; calls base. Invariant:
 * a page with a count of holds has its bit in `held`, from before the page is
 * opened until after it is pending.
 */
#include "core/area.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/heap.h"
#include "base/place.h"
#include "kernel/sys.h"
#include "writewatch.h"

static size_t rounded(size_t bytes, size_t unit)
{
	return (bytes + unit - 1) & ~(unit - 1);
}

int ww_area_new(struct ww_area **out, uintptr_t start, uintptr_t end,
		size_t state_bytes, unsigned flags)
{
	size_t page = ww_sys_page_size();
	size_t npages = (end - start) / page;
	size_t head = rounded(sizeof(struct ww_area), 8);
	size_t bits = rounded(ww_bits_bytes(npages), 8);
	size_t hot = flags & WW_WATCH_HOT_OK ? ww_hot_bytes(npages) : 0;
	size_t state = rounded(state_bytes, 8);
	size_t bytes;
	struct ww_area *a;
	char *memory;

	hot = rounded(hot, 8);
	bytes = head + 2 * bits + state + hot + npages * sizeof(uint32_t);
	a = ww_heap_new(bytes);
	if (!a)
		return -ENOMEM;
	memory = (char *)a + head;
	a->start = start;
	a->end = end;
	a->page_shift = (unsigned)__builtin_ctzl(page);
	a->bytes = bytes;
	a->flags = flags;
	ww_bits_init(&a->pending, memory, npages);
	a->state = memory + bits;
	if (flags & WW_WATCH_HOT_OK)
		ww_hot_init(&a->hot, memory + bits + state);
	/* Last what only holds touch: each part of a large area that is
	 * touched costs a page table. */
	memory += bits + state + hot;
	ww_bits_init(&a->held, memory, npages);
	a->holds = (void *)(memory + bits);
	*out = a;
	return 0;
}

void ww_area_free(struct ww_area *area)
{
	ww_heap_free(area, area->bytes);
}

/* --- pending pages --- */

/* Global: a query reads it between any two scans, whichever areas they are of. */
WW_DATA static atomic_uint additions;

WW_OFTEN unsigned ww_area_additions(void)
{
	return atomic_load(&additions);
}

void ww_area_mark(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_bits_set(&a->pending, ww_area_page(a, start), ww_area_page(a, end));
	atomic_fetch_add(&additions, 1);
}

void ww_area_forget(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);

	if (!ww_bits_quiet(&a->pending, first, stop))
		ww_bits_clear(&a->pending, first, stop);
}

void ww_area_note_lost(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_area_mark(a, start, end);
	atomic_fetch_add(&a->lost, 1);
}

/* --- held pages --- */

/* A release that ran beside the first round may have cleared a bit, and a query
 * closed the page: both are inside of changers. Behind that round the count
 * keeps every release from clearing it again. */
void ww_area_hold(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);
	size_t page;

	/* Each hold counts for itself, and first: queries look at nheld before
	 * they look at a bit. */
	atomic_fetch_add(&a->nheld, stop - first);
	for (page = first; page < stop; page++)
		atomic_fetch_add(&a->holds[page], 1);
	do {
		ww_bits_set(&a->held, first, stop);
		ww_readers_wait(&a->changers);
	} while (ww_bits_first_clear(&a->held, first, stop) < stop);
	atomic_fetch_add(&additions, 1);
}

static void release(struct ww_area *a, size_t page)
{
	uint32_t n = atomic_load(&a->holds[page]);

	do {
		if (n == 0)
			return; /* the hold was on an area that is gone */
		if (n == 1) /* before `held` is cleared, or a query misses it */
			ww_bits_set(&a->pending, page, page + 1);
	} while (!atomic_compare_exchange_weak(&a->holds[page], &n, n - 1));
	if (n == 1)
		ww_bits_clear(&a->held, page, page + 1);
	atomic_fetch_sub(&a->nheld, 1);
}

void ww_area_release(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);
	struct ww_ticket ticket;
	uint64_t mask;

	ww_sys_block_signals(&mask);
	ticket = ww_readers_enter(&a->changers);
	for (; page < stop; page++)
		release(a, page);
	ww_readers_leave(&a->changers, ticket);
	ww_sys_restore_signals(mask);
}

/* All of them, and few were ever touched: what are whole pages is given back. */
static void clear_counts(struct ww_area *a)
{
	const uintptr_t unit = ww_sys_page_size();
	char *start = (char *)a->holds;
	char *end = (char *)(a->holds + ww_area_page(a, a->end));
	char *first = start + (unit - (uintptr_t)start % unit) % unit;
	char *last = end - (uintptr_t)end % unit;

	if (first >= last ||
	    ww_sys_madvise((uintptr_t)first, (size_t)(last - first),
			   MADV_DONTNEED) < 0)
		first = last = end;
	memset(start, 0, (size_t)(first - start));
	memset(last, 0, (size_t)(end - last));
}

void ww_area_release_all(struct ww_area *a)
{
	size_t stop = ww_area_page(a, a->end);

	if (!atomic_load(&a->nheld))
		return;
	ww_bits_clear(&a->held, 0, stop);
	/* A thread that was about to hold pages may have counted, and set no bit. */
	clear_counts(a);
	atomic_store(&a->nheld, 0);
}

size_t ww_area_held_run(struct ww_area *a, size_t page, size_t end, bool *held)
{
	size_t run, run_end;

	*held = false;
	if (!atomic_load(&a->nheld) ||
	    !ww_bits_next(&a->held, page, end, SIZE_MAX, false, &run, &run_end))
		return end;
	if (run > page)
		return run;
	*held = true;
	return run_end;
}

int ww_area_each_held_run(struct ww_area *a, uintptr_t start, uintptr_t end,
			  int (*fn)(void *arg, struct ww_area *a,
				    uintptr_t start, uintptr_t end, bool held),
			  void *arg)
{
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r = 0;

	while (r == 0 && page < stop) {
		uintptr_t from = ww_area_at(a, page);
		bool held;

		page = ww_area_held_run(a, page, stop, &held);
		r = fn(arg, a, from, ww_area_at(a, page), held);
	}
	return r;
}
