/* SPDX-License-Identifier: MIT */
/*
 * latch.c - pages that were dirty when VirtualProtect() was called: Windows then
 * keeps them reported after a decommit, until a reset (doc/windows.md, 6.1.15).
 *
 * Called by memory.c and win32.c; calls the public calls, base and sys.c. A page
 * that is both latched and dirty when it is decommitted is held while its
 * memory is dropped, and so stays reported. Invariant: a page is on the list
 * only if no reset has reported it since it was latched.
 *
 * Global: the list, because the Nt calls find memory by address alone. A reset
 * takes the lock only while something is latched.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/fork.h"
#include "base/heap.h"
#include "kernel/sys.h"
#include "win32/win32.h"

#define LOOK 64 /* pages asked for at once */

WW_DATA static struct {
	struct ww_lock lock;
	/* Addresses of pages, ascending. */
	uintptr_t *page;
	size_t room;
	atomic_size_t n;
	/* The decommit under way holds pages of [keep_start, keep_end): one
	 * that leaves the list meanwhile is released. */
	uintptr_t keep_start, keep_end;
} latched;

static void take(void)
{
	ww_lock_init(&latched.lock, WW_LOCK_LATCH);
	ww_lock_take(&latched.lock);
}

static void drop_lock(void)
{
	ww_lock_drop(&latched.lock);
}

/* The first page on the list that is not below an address. */
static size_t position(uintptr_t at)
{
	size_t lo = 0, hi = atomic_load(&latched.n);

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (latched.page[mid] < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool has(uintptr_t page)
{
	size_t i = position(page);

	return i < atomic_load(&latched.n) && latched.page[i] == page;
}

static bool make_room(size_t more)
{
	size_t n = atomic_load(&latched.n);
	void *page = ww_heap_grow(latched.page, n, &latched.room, n + more,
				  sizeof(*latched.page));

	if (page)
		latched.page = page;
	return page != NULL;
}

/* Put pages on the list, except those that it has already. */
static void add(void *const *pages, size_t count)
{
	size_t i, at, n = atomic_load(&latched.n);

	if (!make_room(count))
		return; /* then a decommit clears them, as it does others */
	for (i = 0; i < count; i++) {
		uintptr_t page = (uintptr_t)pages[i];

		at = position(page);
		if (at < n && latched.page[at] == page)
			continue;
		memmove(&latched.page[at + 1], &latched.page[at],
			(n - at) * sizeof(latched.page[0]));
		latched.page[at] = page;
		atomic_store(&latched.n, ++n);
	}
}

/* Call fn with dirty pages of [start, end), some at a time. */
static void each_dirty(struct ww *ww, uintptr_t start, uintptr_t end,
		       void (*fn)(struct ww *ww, void *const *pages, size_t n))
{
	void *pages[LOOK];

	while (start < end) {
		size_t n = LOOK;

		if (ww_win32_get(ww, start, end, false, pages, &n) < 0)
			break;
		if (n)
			fn(ww, pages, n);
		if (n < LOOK)
			break;
		start = (uintptr_t)pages[n - 1] + WW_WIN32_PAGE;
	}
}

static void latch(struct ww *ww, void *const *pages, size_t n)
{
	take();
	add(pages, n);
	drop_lock();
}

void ww_win32_latch(struct ww *ww, uintptr_t start, uintptr_t end)
{
	each_dirty(ww, start, end, latch);
}

static void hold(struct ww *ww, void *const *pages, size_t n)
{
	size_t i;

	take();
	for (i = 0; i < n; i++)
		if (has((uintptr_t)pages[i]))
			ww_hold(ww, pages[i], 1, 0);
	drop_lock();
}

static void keep(uintptr_t start, uintptr_t end)
{
	take();
	latched.keep_start = start;
	latched.keep_end = end;
	drop_lock();
}

/* Pages of the list, as far as the decommit under way may hold them. A release
 * without a hold is ignored. */
static void release(size_t first, size_t end)
{
	for (; first < end; first++)
		if (latched.page[first] >= latched.keep_start &&
		    latched.page[first] < latched.keep_end)
			ww_release(ww_win32_tracker(),
				   (void *)latched.page[first], 1, 0);
}

int ww_win32_keep_latched(struct ww *ww, uintptr_t start, uintptr_t end,
			  int (*drop)(void *arg), void *arg)
{
	int r;

	if (!atomic_load(&latched.n))
		return drop(arg);
	keep(start, end);
	each_dirty(ww, start, end, hold);
	r = drop(arg);
	take();
	release(position(start), position(end));
	latched.keep_end = 0;
	drop_lock();
	return r;
}

static void cut(size_t first, size_t end)
{
	size_t n = atomic_load(&latched.n);

	memmove(&latched.page[first], &latched.page[end],
		(n - end) * sizeof(latched.page[0]));
	atomic_store(&latched.n, n - (end - first));
}

void ww_win32_unlatch(void *const *addresses, size_t n)
{
	size_t i, kept, end, k = 0;

	if (!n || !atomic_load(&latched.n))
		return;
	take();
	i = kept = position((uintptr_t)addresses[0]);
	end = position((uintptr_t)addresses[n - 1] + 1);
	/* both ascend */
	for (; i < end; i++) {
		uintptr_t page = latched.page[i];

		while (k < n && (uintptr_t)addresses[k] < page)
			k++;
		if (k < n && (uintptr_t)addresses[k] == page)
			release(i, i + 1);
		else
			latched.page[kept++] = page;
	}
	cut(kept, end);
	drop_lock();
}

void ww_win32_unlatch_range(uintptr_t start, uintptr_t end)
{
	if (!atomic_load(&latched.n))
		return;
	take();
	release(position(start), position(end));
	cut(position(start), position(end));
	drop_lock();
}
