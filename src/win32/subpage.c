/* SPDX-License-Identifier: MIT */
/*
 * subpage.c - entries of 4 KiB on hosts with larger pages.
 *
 * Called by win32.c, memory.c and latch.c; calls the public calls. A host page
 * that is dirty in the tracker stands for all its 4 KiB parts. A reset that
 * reports some of them moves the page to a list: it announces the move there,
 * resets the page in the tracker, and lists all parts if the tracker reported
 * the page. Then it takes from the list what it reports. If the list is full
 * the host page stays dirty, so that a part may be reported twice, but never
 * lost. Invariant: a part that is dirty is dirty for the tracker, announced, or
 * on the list, all the time; a query without reset only looks.
 *
 * Global: the list. The Nt calls find memory by address alone.
 */
#include <stdatomic.h>

#include "base/heap.h"
#include "kernel/sys.h"
#include "win32/win32.h"

#define SLOTS 4096u
#define ALL 0xffffu
#define ONE_MOVE (UINT64_C(1) << 16)
#define MOVES (UINT64_C(15) << 16)
#define KEY_SHIFT 20

/* bits 0-15: the parts of a host page that are still to be reported; 16-19: how
 * many resets are about to put parts here; 20-: the number of the host page. 0:
 * free. Host pages are at most 64 KiB. */
WW_DATA static struct {
	_Alignas(8) _Atomic(uint64_t) slot[SLOTS];
	atomic_uint top; /* slots from here on were never used */
} rest;

static uint64_t key(uintptr_t page, uintptr_t host)
{
	return (uint64_t)(page / host) << KEY_SHIFT;
}

static bool is_of(uint64_t v, uint64_t k)
{
	return v && v >> KEY_SHIFT == k >> KEY_SHIFT;
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

/* Without parts and moves a slot is free. */
static uint64_t or_free(uint64_t v)
{
	return v & (ALL | MOVES) ? v : 0;
}

/* Announce a move: the slot, or -1 if the list is full. */
static int announce(uintptr_t page, uintptr_t host)
{
	uint64_t k = key(page, host);
	unsigned i, top = atomic_load(&rest.top);

	for (i = 0; i < top; i++) {
		uint64_t v = atomic_load(&rest.slot[i]);

		while (is_of(v, k) && (v & MOVES) != MOVES)
			if (atomic_compare_exchange_weak(&rest.slot[i], &v,
							 v + ONE_MOVE))
				return (int)i;
	}
	for (i = 0; i < SLOTS; i++) {
		uint64_t zero = 0;

		top = atomic_load(&rest.top);
		while (top <= i &&
		       !atomic_compare_exchange_weak(&rest.top, &top, i + 1))
			;
		if (atomic_compare_exchange_strong(&rest.slot[i], &zero,
						   k | ONE_MOVE))
			return (int)i;
	}
	return -1;
}

/* The move is over: the parts are on the list. */
static void moved(int slot, uint64_t bits)
{
	_Atomic(uint64_t) *s = &rest.slot[slot];
	uint64_t v = atomic_load(s);

	while (!atomic_compare_exchange_weak(s, &v,
					     or_free((v - ONE_MOVE) | bits)))
		;
}

/* Take some parts of a host page off the list: those that were there. */
static uint64_t take(uintptr_t page, uintptr_t host, uint64_t bits)
{
	uint64_t k = key(page, host), got = 0;
	unsigned i, top = atomic_load(&rest.top);

	for (i = 0; i < top; i++) {
		uint64_t v = atomic_load(&rest.slot[i]);

		while (is_of(v, k) && v & bits)
			if (atomic_compare_exchange_weak(&rest.slot[i], &v,
							 or_free(v & ~bits))) {
				got |= v & bits;
				break;
			}
	}
	return got;
}

/* The parts on the list; with `announced`, all parts if a move is under way. */
static uint64_t listed_parts(uintptr_t page, uintptr_t host, bool announced)
{
	uint64_t k = key(page, host), bits = 0;
	unsigned i, top = atomic_load(&rest.top);

	for (i = 0; i < top; i++) {
		uint64_t v = atomic_load(&rest.slot[i]);

		if (is_of(v, k))
			bits |= announced && v & MOVES ? parts_of(host)
						       : v & ALL;
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
		uintptr_t page = (uintptr_t)(v >> KEY_SHIFT) * host;

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

/* Have the parts of a host page on the list instead of in the tracker. 1: the
 * list is full, and nothing has changed. */
static int move_to_list(struct ww *ww, uintptr_t page, uintptr_t host)
{
	int slot = announce(page, host), r;
	size_t one = 1;
	void *dirty;

	if (slot < 0)
		return 1;
	/* Of several resets the tracker gives the page to one. */
	r = ww_get(ww, (void *)page, host, WW_RESET, &dirty, &one, NULL);
	moved(slot, r == 0 && one ? parts_of(host) : 0);
	return r;
}

/* The lowest parts of some, as many as there is room for. */
static uint64_t lowest(uint64_t bits, size_t room)
{
	uint64_t some = 0;

	for (; bits & ~some && room; room--)
		some |= (bits & ~some) & -(bits & ~some);
	return some;
}

static void store(uintptr_t page, uint64_t bits, void **addresses, size_t *n)
{
	for (; bits; bits &= bits - 1)
		addresses[(*n)++] =
			(void *)(page + (uintptr_t)__builtin_ctzll(bits) *
						WW_WIN32_PAGE);
}

/* The call fails: what was reported is dirty again, the whole host page. */
static int give_back(struct ww *ww, void *const *addresses, size_t n, int r)
{
	while (n--)
		ww_mark(ww, addresses[n], 1, 0);
	return r;
}

/* --- calls --- */

/* What of a host page a query without reset reports. */
static uint64_t look_at(uintptr_t page, uintptr_t host, bool dirty)
{
	return dirty ? parts_of(host) : listed_parts(page, host, true);
}

static int get_parts(struct ww *ww, uintptr_t start, uintptr_t end, bool reset,
		     void **addresses, size_t *count, uintptr_t host)
{
	uintptr_t at = ww_win32_down(start, host);
	uintptr_t stop = ww_win32_down(end + host - 1, host);
	size_t n = 0;

	while (at < stop && n < *count) {
		uintptr_t listed = next_listed(at, stop, host), dirty, page;
		uint64_t bits, range;
		int r = next_dirty(ww, at, listed < stop ? listed + host : stop,
				   &dirty);

		page = dirty < listed ? dirty : listed;
		if (r == 0 && page >= stop)
			break;
		if (r == 0 && reset && page == dirty)
			r = move_to_list(ww, page, host);
		if (r < 0)
			return give_back(ww, addresses, reset ? n : 0, r);
		/* Where the list is full the host page stays dirty. */
		range = parts_in(page, host, start, end);
		if (!reset || r == 1)
			bits = look_at(page, host, page == dirty) & range;
		else
			bits = listed_parts(page, host, false) & range;
		bits = lowest(bits, *count - n);
		store(page, reset && r == 0 ? take(page, host, bits) : bits,
		      addresses, &n);
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

/* All of [start, end) becomes clean. With `reset` its whole host pages are
 * reset in the tracker too; else they are clean there already. */
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
