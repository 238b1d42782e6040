/* SPDX-License-Identifier: MIT */
/*
 * subpage.c - entries of 4 KiB on hosts with larger pages.
 *
 * Called by win32.c, memory.c and latch.c; calls the public calls. A host page
 * that the tracker has as dirty is all its 4 KiB parts. A reset that reports some
 * of them first puts all on a list, then resets the host page, then takes from
 * the list what it reports. If the list is full the host page stays dirty, so
 * that a part may be reported twice, but never lost. Invariant: a part that is
 * dirty is dirty for the tracker or has its bit on the list, all the time; a
 * query without reset only looks.
 *
 * Global: the list. The Nt calls find memory by address alone.
 */
#include <stdatomic.h>

#include "base/heap.h"
#include "kernel/sys.h"
#include "win32/win32.h"

#define SLOTS 4096u
#define ALL 0xffffu

/* A host page number shifted left by 16, and a bit for each 4 KiB part of it
 * that is still to be reported; 0: free. Host pages are at most 64 KiB. */
static struct {
	_Atomic(uint64_t) slot[SLOTS];
	atomic_uint top; /* slots from here on were never used */
} rest;

static uint64_t key(uintptr_t page, uintptr_t host)
{
	return (uint64_t)(page / host) << 16;
}

static uint64_t parts_of(uintptr_t host)
{
	return ALL >> (16 - host / WW_WIN32_PAGE);
}

/* The parts of a host page that lie in [start, end). */
static uint64_t parts_in(uintptr_t page, uintptr_t host, uintptr_t start,
			 uintptr_t end)
{
	uint64_t bits = 0;
	uintptr_t at;

	for (at = page; at < page + host; at += WW_WIN32_PAGE)
		if (at >= start && at < end)
			bits |= UINT64_C(1) << (at - page) / WW_WIN32_PAGE;
	return bits;
}

static bool use_slot(unsigned i, uint64_t value)
{
	unsigned top = atomic_load(&rest.top);
	uint64_t zero = 0;

	while (top <= i &&
	       !atomic_compare_exchange_weak(&rest.top, &top, i + 1))
		;
	return atomic_compare_exchange_strong(&rest.slot[i], &zero, value);
}

/* False: the list is full. */
static bool put(uintptr_t page, uintptr_t host, uint64_t bits)
{
	uint64_t k = key(page, host);
	unsigned i, top = atomic_load(&rest.top);

	for (i = 0; i < top; i++) {
		uint64_t v = atomic_load(&rest.slot[i]);

		while (v && v >> 16 == k >> 16)
			if (atomic_compare_exchange_weak(&rest.slot[i], &v,
							 v | bits))
				return true;
	}
	for (i = 0; i < SLOTS; i++)
		if (!atomic_load(&rest.slot[i]) && use_slot(i, k | bits))
			return true;
	return false;
}

/* Take some bits of a host page off the list: those that were there. */
static uint64_t take(uintptr_t page, uintptr_t host, uint64_t bits)
{
	uint64_t k = key(page, host), got = 0;
	unsigned i, top = atomic_load(&rest.top);

	for (i = 0; i < top; i++) {
		uint64_t v = atomic_load(&rest.slot[i]), left;

		do {
			if (!v || v >> 16 != k >> 16 || !(v & bits))
				break;
			left = v & ~bits;
			if (!(left & ALL))
				left = 0;
			if (atomic_compare_exchange_weak(&rest.slot[i], &v,
							 left)) {
				got |= v & bits;
				break;
			}
		} while (1);
	}
	return got;
}

static uint64_t peek(uintptr_t page, uintptr_t host)
{
	uint64_t k = key(page, host), bits = 0;
	unsigned i, top = atomic_load(&rest.top);

	for (i = 0; i < top; i++) {
		uint64_t v = atomic_load(&rest.slot[i]);

		if (v && v >> 16 == k >> 16)
			bits |= v & ALL;
	}
	return bits;
}

/* The lowest host page from `at` on, below end, that is on the list. */
static uintptr_t next_listed(uintptr_t at, uintptr_t end, uintptr_t host)
{
	uintptr_t found = end;
	unsigned i, top = atomic_load(&rest.top);

	for (i = 0; i < top; i++) {
		uint64_t v = atomic_load(&rest.slot[i]);
		uintptr_t page = (uintptr_t)(v >> 16) * host;

		if (v && page >= at && page < found)
			found = page;
	}
	return found;
}

/* --- one host page --- */

/* The lowest host page from `at` on that is dirty in the tracker; end: none. */
static int next_dirty(struct ww *ww, uintptr_t at, uintptr_t end,
		      uintptr_t *page)
{
	void *dirty;
	size_t one = 1;
	int r;

	*page = end;
	if (at >= end)
		return 0;
	r = ww_get(ww, (void *)at, end - at, 0, &dirty, &one, NULL);
	if (r == 0 && one)
		*page = (uintptr_t)dirty;
	return r;
}

/* Have the parts of a host page on the list instead of in the tracker. Listed
 * first, so that no query misses them. 1: the list is full, nothing changed. */
static int move_to_list(struct ww *ww, uintptr_t page, uintptr_t host)
{
	if (!put(page, host, parts_of(host)))
		return 1;
	return ww_reset(ww, (void *)page, host, 0);
}

/* Store the parts whose bits are set, as many as there is room for. Returns
 * their bits. */
static uint64_t store(uintptr_t page, uint64_t bits, void **addresses,
		      size_t room, size_t *n)
{
	uint64_t stored = 0;

	while (bits & ~stored && *n < room) {
		unsigned i = (unsigned)__builtin_ctzll(bits & ~stored);

		addresses[(*n)++] = (void *)(page + i * WW_WIN32_PAGE);
		stored |= UINT64_C(1) << i;
	}
	return stored;
}

/* The call fails: what was reported is dirty again, the whole host page. */
static int give_back(struct ww *ww, void *const *addresses, size_t n, int r)
{
	while (n--)
		ww_mark(ww, addresses[n], 1, 0);
	return r;
}

/* --- calls --- */

static int get_parts(struct ww *ww, uintptr_t start, uintptr_t end, bool reset,
		     void **addresses, size_t *count, uintptr_t host)
{
	uintptr_t at = ww_win32_down(start, host);
	uintptr_t stop = ww_win32_down(end + host - 1, host);
	size_t n = 0;

	while (at < stop && n < *count) {
		uintptr_t listed = next_listed(at, stop, host), dirty, page;
		uint64_t bits = 0, wanted;
		int r = next_dirty(ww, at,
				   listed < stop ? listed + host : stop,
				   &dirty);

		if (r < 0)
			return give_back(ww, addresses, reset ? n : 0, r);
		page = dirty < listed ? dirty : listed;
		if (page >= stop)
			break;
		if (page == dirty)
			bits = parts_of(host);
		if (reset && page == dirty)
			r = move_to_list(ww, page, host);
		if (r < 0)
			return give_back(ww, addresses, n, r);
		bits |= peek(page, host);
		wanted = bits & parts_in(page, host, start, end);
		wanted = store(page, wanted, addresses, *count, &n);
		/* Where the list is full the host page stays dirty. */
		if (reset)
			take(page, host, wanted);
		at = page + host;
	}
	*count = n;
	return 0;
}

int ww_win32_get(struct ww *ww, uintptr_t start, uintptr_t end, bool reset,
		 void **addresses, size_t *count)
{
	uintptr_t host = ww_sys_page_size();

	if (host <= WW_WIN32_PAGE)
		return ww_get(ww, (void *)start, end - start,
			      reset ? WW_RESET : 0, addresses, count, NULL);
	return get_parts(ww, start, end, reset, addresses, count, host);
}

/* Part of a host page becomes clean, and the rest of it stays as it is. */
static int clean_part(struct ww *ww, uintptr_t page, uintptr_t host,
		      uintptr_t start, uintptr_t end)
{
	uintptr_t dirty;
	int r = next_dirty(ww, page, page + host, &dirty);

	if (r == 0 && dirty == page)
		r = move_to_list(ww, page, host);
	if (r == 0)
		take(page, host, parts_in(page, host, start, end));
	return r < 0 ? r : 0;
}

/* All of it becomes clean; what of it are whole host pages is clean in the
 * tracker already, unless they are to be reset. */
static int clean(struct ww *ww, uintptr_t start, uintptr_t end, bool reset)
{
	uintptr_t host = ww_sys_page_size();
	uintptr_t first = ww_win32_down(start + host - 1, host);
	uintptr_t last = ww_win32_down(end, host), at;
	int r = 0;

	if (first > last) /* inside of one host page */
		return clean_part(ww, last, host, start, end);
	if (start < first)
		r = clean_part(ww, first - host, host, start, first);
	if (r == 0 && last < end)
		r = clean_part(ww, last, host, last, end);
	for (at = first; r == 0 && (at = next_listed(at, last, host)) < last;
	     at += host)
		take(at, host, ALL);
	if (r == 0 && reset && first < last)
		r = ww_reset(ww, (void *)first, last - first, 0);
	return r;
}

int ww_win32_reset(struct ww *ww, uintptr_t start, uintptr_t end)
{
	int r;

	if (ww_sys_page_size() <= WW_WIN32_PAGE)
		return ww_reset(ww, (void *)start, end - start, 0);
	r = clean(ww, start, end, true);
	/* Which of it was dirty is not known any more. */
	if (r < 0)
		ww_mark(ww, (void *)start, end - start, 0);
	return r;
}

void ww_win32_forget(struct ww *ww, uintptr_t start, uintptr_t end)
{
	if (ww_sys_page_size() > WW_WIN32_PAGE)
		clean(ww, start, end, false);
}
