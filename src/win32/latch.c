/* SPDX-License-Identifier: MIT */
/*
 * latch.c - pages that were dirty when VirtualProtect() was called: Windows then
 * keeps them reported after a decommit, until a reset (doc/windows.md, 6.1.15).
 *
 * Called by memory.c and win32.c; calls the public calls, base and sys.c. A page
 * that is both latched and dirty when it is decommitted is held while its
 * memory is dropped, and so stays reported. Invariant: behind a VirtualProtect() a
 * page is latched only if no reset has reported it since.
 *
 * Global: the latched pages, because the Nt calls find memory by address alone. A
 * reset takes the lock only while something is latched.
 */
#include <stdatomic.h>

#include "base/fork.h"
#include "base/sorted.h"
#include "kernel/sys.h"
#include "win32/win32.h"

#define LOOK 64 /* pages asked for at once */
#define CHUNK_PAGES 512u
#define CHUNK_BYTES (CHUNK_PAGES * WW_WIN32_PAGE)

/* CHUNK_BYTES of the address space, a bit for each page that is latched. */
struct chunk {
	uintptr_t start;
	uint64_t word[CHUNK_PAGES / 64];
};

WW_DATA static struct {
	struct ww_lock lock;
	struct ww_sorted chunks; /* none is empty */
	atomic_bool any;
	/* The decommit under way holds pages of [keep_start, keep_end): one
	 * that is not latched any more meanwhile is released. */
	uintptr_t keep_start, keep_end;
} latched = { .chunks.bytes = sizeof(struct chunk) };

static void take(void)
{
	ww_lock_init(&latched.lock, WW_LOCK_LATCH);
	ww_lock_take(&latched.lock);
}

static void drop_lock(void)
{
	ww_lock_drop(&latched.lock);
}

static uint64_t *word_of(struct chunk *c, uintptr_t page, uint64_t *bit)
{
	size_t i = (page - c->start) / WW_WIN32_PAGE;

	*bit = UINT64_C(1) << i % 64;
	return &c->word[i / 64];
}

/* The chunk with a page; NULL: there is none. */
static struct chunk *chunk_with(uintptr_t page)
{
	struct chunk *c = ww_sorted_below(&latched.chunks, page);

	return c && page - c->start < CHUNK_BYTES ? c : NULL;
}

/* The chunk with a page, or the next one above it. */
static struct chunk *chunk_from(uintptr_t page)
{
	struct chunk *c = chunk_with(page);

	return c ? c : ww_sorted_above(&latched.chunks, page);
}

static bool has(uintptr_t page)
{
	struct chunk *c = chunk_with(page);
	uint64_t bit;

	return c && *word_of(c, page, &bit) & bit;
}

/* The first latched page of [at, end); end: none. */
static uintptr_t next(uintptr_t at, uintptr_t end)
{
	const struct chunk *c = chunk_from(at);
	size_t k;

	for (; c && c->start < end;
	     c = ww_sorted_above(&latched.chunks, c->start)) {
		k = at > c->start ? (at - c->start) / WW_WIN32_PAGE : 0;
		while (k < CHUNK_PAGES) {
			uint64_t rest = c->word[k / 64] >> k % 64;

			if (rest) {
				k += (size_t)__builtin_ctzll(rest);
				at = c->start + k * WW_WIN32_PAGE;
				return at < end ? at : end;
			}
			k = (k | 63) + 1;
		}
	}
	return end;
}

static void add(uintptr_t page)
{
	struct chunk *c = chunk_with(page);
	uint64_t bit;

	if (!c)
		c = ww_sorted_add(&latched.chunks,
				  ww_win32_down(page, CHUNK_BYTES));
	if (!c) /* a decommit clears it, as it does others */
		return;
	*word_of(c, page, &bit) |= bit;
	atomic_store(&latched.any, true);
}

/* A release without a hold is ignored. */
static void release(uintptr_t page)
{
	if (page >= latched.keep_start && page < latched.keep_end)
		ww_release(ww_win32_tracker(), (void *)page, 1, 0);
}

static void take_off(uintptr_t page)
{
	struct chunk *c = chunk_with(page);
	uint64_t bit, *word;

	if (!c)
		return;
	word = word_of(c, page, &bit);
	if (!(*word & bit))
		return;
	*word &= ~bit;
	release(page);
}

static bool is_empty(const struct chunk *c)
{
	uint64_t any = 0;
	size_t i;

	for (i = 0; i < CHUNK_PAGES / 64; i++)
		any |= c->word[i];
	return !any;
}

/* Pages of [start, end) were taken off. */
static void free_empty(uintptr_t start, uintptr_t end)
{
	const struct chunk *c = chunk_from(start);
	uintptr_t at;

	for (; c && c->start < end; c = ww_sorted_above(&latched.chunks, at)) {
		at = c->start;
		if (is_empty(c))
			ww_sorted_remove(&latched.chunks, at);
	}
	atomic_store(&latched.any, latched.chunks.n > 0);
}

/* --- VirtualProtect() --- */

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

/* Of pages that were dirty, take off those that are not any more. */
static void take_off_clean(struct ww *ww, void *const *pages, size_t n)
{
	uintptr_t at = (uintptr_t)pages[0];
	const uintptr_t end = (uintptr_t)pages[n - 1] + WW_WIN32_PAGE;
	void *dirty[LOOK];
	size_t i = 0;

	while (at < end) {
		size_t k = 0, ndirty = LOOK;

		if (ww_win32_get(ww, at, end, false, dirty, &ndirty) < 0)
			return;
		at = ndirty < LOOK ? end
				   : (uintptr_t)dirty[LOOK - 1] + WW_WIN32_PAGE;
		take();
		for (; i < n && (uintptr_t)pages[i] < at; i++) {
			while (k < ndirty && dirty[k] < pages[i])
				k++;
			if (k == ndirty || dirty[k] != pages[i])
				take_off((uintptr_t)pages[i]);
		}
		drop_lock();
	}
}

/* A reset of another thread may report pages between the look and this, and finds
 * nothing of them to take off: so look once more, when they are latched. */
static void latch(struct ww *ww, void *const *pages, size_t n)
{
	size_t i;

	take();
	for (i = 0; i < n; i++)
		add((uintptr_t)pages[i]);
	drop_lock();
	take_off_clean(ww, pages, n);
	take();
	free_empty((uintptr_t)pages[0], (uintptr_t)pages[n - 1] + 1);
	drop_lock();
}

void ww_win32_latch(struct ww *ww, uintptr_t start, uintptr_t end)
{
	each_dirty(ww, start, end, latch);
}

/* --- MEM_DECOMMIT --- */

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

int ww_win32_keep_latched(struct ww *ww, uintptr_t start, uintptr_t end,
			  int (*drop)(void *arg), void *arg)
{
	uintptr_t page;
	int r;

	if (!atomic_load(&latched.any))
		return drop(arg);
	keep(start, end);
	each_dirty(ww, start, end, hold);
	r = drop(arg);
	take();
	for (page = start; (page = next(page, end)) < end;
	     page += WW_WIN32_PAGE)
		release(page);
	latched.keep_end = 0;
	drop_lock();
	return r;
}

/* --- resets --- */

void ww_win32_unlatch(void *const *addresses, size_t n)
{
	size_t i;

	if (!n || !atomic_load(&latched.any))
		return;
	take();
	for (i = 0; i < n; i++)
		take_off((uintptr_t)addresses[i]);
	free_empty((uintptr_t)addresses[0], (uintptr_t)addresses[n - 1] + 1);
	drop_lock();
}

void ww_win32_unlatch_range(uintptr_t start, uintptr_t end)
{
	uintptr_t page;

	if (!atomic_load(&latched.any))
		return;
	take();
	for (page = start; (page = next(page, end)) < end;
	     page += WW_WIN32_PAGE)
		take_off(page);
	free_empty(start, end);
	drop_lock();
}
