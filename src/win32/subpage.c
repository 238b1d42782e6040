/* SPDX-License-Identifier: MIT */
/*
 * win32-subpage.c - entries of 4 KiB on hosts with larger pages.
 *
 * Called by win32.c and win32-memory.c; calls the native calls of api.c. A
 * dirty host page is reported as all its 4 KiB pages. Those that did not fit in
 * the array, or lie outside the range asked for, are kept in a small table for
 * the next call; if that is full the whole host page stays dirty, so that a
 * page may be told twice but never lost. Invariant: a 4 KiB page that is dirty
 * is dirty for the tracker or has its bit in the table.
 *
 * Global: the table. The Nt calls find memory by address alone.
 */
#include <stdatomic.h>

#include "kernel/sys.h"
#include "win32/win32.h"

#define SLOTS 256u

/* A host page number shifted left by 16, and a bit for each 4 KiB page in it
 * that is still to be told; 0: free. Host pages are at most 64 KiB. */
static _Atomic(uint64_t) rest[SLOTS];

static uint64_t bits_between(uintptr_t page, uintptr_t host, uintptr_t start,
			     uintptr_t end)
{
	uint64_t bits = 0;
	uintptr_t at;

	for (at = page; at < page + host; at += WW_WIN32_PAGE)
		if (at >= start && at < end)
			bits |= UINT64_C(1) << (at - page) / WW_WIN32_PAGE;
	return bits;
}

/* Take the bits of a host page out of the table. */
static uint64_t take_rest(uintptr_t page, uintptr_t host)
{
	uint64_t bits = 0;
	unsigned i;

	for (i = 0; i < SLOTS; i++) {
		uint64_t v = atomic_load(&rest[i]);

		if (v && v >> 16 == page / host &&
		    atomic_compare_exchange_strong(&rest[i], &v, 0))
			bits |= v & 0xffff;
	}
	return bits;
}

static void keep_rest(struct ww *ww, uintptr_t page, uintptr_t host,
		      uint64_t bits)
{
	unsigned i;

	for (i = 0; bits && i < SLOTS; i++) {
		uint64_t zero = 0;

		if (atomic_compare_exchange_strong(
			    &rest[i], &zero,
			    (uint64_t)(page / host) << 16 | bits))
			return;
	}
	if (bits)
		ww_mark(ww, (void *)page, 1);
}

/* The lowest host page from `at` on, below end, that is in the table. */
static uintptr_t next_rest(uintptr_t at, uintptr_t end, uintptr_t host)
{
	uintptr_t found = end;
	unsigned i;

	for (i = 0; i < SLOTS; i++) {
		uint64_t v = atomic_load(&rest[i]);
		uintptr_t page = (uintptr_t)(v >> 16) * host;

		if (v && page >= at && page < found)
			found = page;
	}
	return found;
}

/* Store the pages of a host page whose bits are set, as many as fit. Returns
 * the bits that were stored. */
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

/* The call fails: what was re-armed is dirty again, the whole host page. */
static void give_back(struct ww *ww, void *const *addresses, size_t n)
{
	while (n--)
		ww_mark(ww, addresses[n], 1);
}

static int get_parts(struct ww *ww, uintptr_t start, uintptr_t end, bool reset,
		     void **addresses, size_t *count, uintptr_t host)
{
	uintptr_t at = ww_win32_down(start, host);
	uintptr_t stop = ww_win32_down(end + host - 1, host);
	size_t n = 0;

	while (at < stop && n < *count) {
		uintptr_t kept = next_rest(at, stop, host);
		void *dirty = NULL;
		size_t one = 1;
		uint64_t bits = 0, told;
		uintptr_t page = kept;
		int r = 0;

		/* One at a time: what is behind the last one that fits must
		 * not be reset. */
		if (at < kept || kept < stop) {
			uintptr_t to = kept < stop ? kept + host : stop;

			r = ww_get(ww, (void *)at, to - at,
				   reset ? WW_GET_RESET : 0, &dirty, &one,
				   NULL);
		}
		if (r < 0) {
			give_back(ww, addresses, reset ? n : 0);
			return r;
		}
		if (one && dirty) {
			page = (uintptr_t)dirty;
			bits = bits_between(page, host, 0, UINTPTR_MAX);
		}
		if (page >= stop)
			break;
		bits |= take_rest(page, host);
		told = store(page, bits & bits_between(page, host, start, end),
			     addresses, *count, &n);
		if (reset)
			bits &= ~told;
		if (reset || !dirty) /* else the tracker knows */
			keep_rest(ww, page, host, bits);
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
			      reset ? WW_GET_RESET : 0, addresses, count, NULL);
	return get_parts(ww, start, end, reset, addresses, count, host);
}

int ww_win32_reset(struct ww *ww, uintptr_t start, uintptr_t end)
{
	uintptr_t host = ww_sys_page_size(), from = start;
	void *scratch = NULL;
	int r = 0;

	if (host <= WW_WIN32_PAGE)
		return ww_reset(ww, (void *)start, end - start);
	/* Through a query, which keeps the parts outside [start, end). */
	while (start < end && r == 0) {
		size_t one = 1;

		r = get_parts(ww, start, end, true, &scratch, &one, host);
		if (r < 0 || !one)
			break;
		start = (uintptr_t)scratch + WW_WIN32_PAGE;
	}
	/* Which of it was dirty is not known any more. */
	if (r < 0)
		ww_mark(ww, (void *)from, end - from);
	return r;
}

void ww_win32_forget(uintptr_t start, uintptr_t end)
{
	uintptr_t host = ww_sys_page_size();

	if (host <= WW_WIN32_PAGE)
		return;
	for (start = ww_win32_down(start, host);
	     (start = next_rest(start, end, host)) < end; start += host)
		take_rest(start, host);
}
