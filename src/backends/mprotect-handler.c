/* SPDX-License-Identifier: MIT */
/*
 * mprotect-handler.c - opening pages, from inside SIGSEGV too.
 *
 * Called by sigsegv-handler.c and mprotect.c; calls range.c, bits.c, prots.c,
 * mapcount.c and ww_sys_mprotect(). Everything is lock-free and
 * async-signal-safe (a test compares the undefined symbols of this object with
 * a list). Invariant: a page has its bit in `dirty` before it is open.
 */
#include <errno.h>
#include <sys/mman.h>

#include "backends/mprotect.h"
#include "core/mapcount.h"
#include "kernel/sys.h"

#define GENERATION_SHIFT 6
#define GENERATION_MASK (0xffu << GENERATION_SHIFT)

#define LOOK_BACK 4096 /* pages searched for an open one to join */

/* --- words --- */

WW_OFTEN static uint32_t generation_bits(void)
{
	return ww_fork_generation() << GENERATION_SHIFT & GENERATION_MASK;
}

bool ww_mp_is_ours(uint32_t word)
{
	return (word & GENERATION_MASK) == generation_bits();
}

WW_OFTEN static int wanted(const struct ww_area *a, size_t page)
{
	return ww_prots_at(&ww_mp_state(a)->prots, a, page);
}

WW_OFTEN static size_t same(const struct ww_area *a, size_t page, size_t end)
{
	return ww_prots_same(&ww_mp_state(a)->prots, a, page, end);
}

/* --- opening --- */

WW_OFTEN static void begin_open(struct ww_area *a, size_t first, size_t end)
{
	uint32_t generation = generation_bits();

	for (; first < end; first++) {
		_Atomic(uint32_t) *word = &ww_mp_state(a)->prots.word[first];
		uint32_t w = atomic_load(word), next;

		do {
			next = w;
			if ((w & GENERATION_MASK) != generation)
				next = (w & WW_PROTS_MASK) | generation;
			next += WW_MP_OPENER;
		} while (!atomic_compare_exchange_weak(word, &w, next));
	}
}

WW_OFTEN static void end_open(struct ww_area *a, size_t first, size_t end)
{
	uint32_t generation = generation_bits();

	for (; first < end; first++) {
		_Atomic(uint32_t) *word = &ww_mp_state(a)->prots.word[first];
		uint32_t w = atomic_load(word);

		do {
			/* forked meanwhile: the child counts from zero */
			if ((w & GENERATION_MASK) != generation ||
			    !WW_MP_OPENERS(w))
				break;
		} while (!atomic_compare_exchange_weak(word, &w,
						       w - WW_MP_OPENER));
	}
}

WW_OFTEN static int open_run(struct ww_area *a, size_t first, size_t end)
{
	int r;

	begin_open(a, first, end);
	/* Before the pages are open: another thread may write then. */
	ww_bits_set(&ww_mp_state(a)->dirty, first, end);
	r = ww_prots_apply(&ww_mp_state(a)->prots, a, first, end, true);
	end_open(a, first, end);
	return r;
}

int ww_mp_open(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r = 0;

	while (first < stop && r == 0) {
		size_t run_end = same(a, first, stop);

		if (wanted(a, first) & PROT_WRITE)
			r = open_run(a, first, run_end);
		first = run_end;
	}
	return r;
}

static int open_if_held(void *arg, struct ww_area *a, uintptr_t start,
			uintptr_t end, bool held)
{
	if (held) /* the rest too, if a page can not be opened */
		ww_mp_open(a, start, end);
	return 0;
}

void ww_mp_open_held(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_area_each_held_run(a, start, end, open_if_held, NULL);
}

long ww_mp_open_runs(const struct ww_slice *s)
{
	struct ww_bits *dirty = &ww_mp_state(s->area)->dirty;
	size_t at = ww_area_page(s->area, s->start);
	size_t end = ww_area_page(s->area, s->end);
	size_t run, run_end = SIZE_MAX, last;
	long n = 0;

	/* ww_bits_next() ends a run at the end of a word: join such runs */
	for (; last = run_end,
	       ww_bits_next(dirty, at, end, SIZE_MAX, false, &run, &run_end);
	     at = run_end)
		n += run != last;
	return n;
}

/* --- where mappings run out --- */

/* No mapping is left to open [first, end) alone, which may be marked dirty by
 * now: open more, up to the next open page behind it or before it, so that no
 * border is added; if that fails, open all of the slice. */
static bool open_more(const struct ww_slice *s, size_t first, size_t end)
{
	struct ww_area *a = s->area;
	size_t lo = ww_area_page(a, s->start), hi = ww_area_page(a, s->end);
	size_t back = first, run, run_end;
	int r = -ENOMEM;

	atomic_fetch_add(&a->lost, 1);
	if (ww_bits_next(&ww_mp_state(a)->dirty, end, hi, 1, false, &run,
			 &run_end) &&
	    same(a, first, run) == run)
		r = open_run(a, first, run);
	while (r < 0 && back > lo && first - back < LOOK_BACK)
		if (ww_bits_test(&ww_mp_state(a)->dirty, --back)) {
			if (same(a, back, end) == end)
				r = open_run(a, back, end);
			break;
		}
	if (r < 0)
		r = ww_mp_open(a, s->start, s->end);
	return r == 0;
}

/* Open a page, or the block around it where that was asked for. */
WW_OFTEN static bool open_page(const struct ww_slice *s, size_t page)
{
	size_t first = page, end = page + 1;
	struct ww_slice block = *s;

	if (s->area->flags & WW_WATCH_COARSE_OK) {
		ww_slice_block(&block, ww_area_at(s->area, page));
		first = ww_area_page(s->area, block.start);
		end = ww_area_page(s->area, block.end);
	}
	if (!ww_mapcount_take_two())
		return open_more(s, first, end);
	if (end - first > 1 && ww_mp_open(s->area, block.start, block.end) == 0)
		return true;
	/* one page was asked for, or the block has a hole */
	return open_run(s->area, page, page + 1) == 0 ||
	       open_more(s, first, end);
}

WW_OFTEN bool ww_mp_fault(struct ww *ww, uintptr_t at)
{
	struct ww_ticket ticket, changing;
	struct ww_slice s;
	size_t page;
	bool ours;

	if (!ww_ranges_pin_one(&ww->ranges, at, &s, &ticket))
		return false;
	changing = ww_readers_enter(&s.area->changers);
	page = ww_area_page(s.area, at);
	/* If the page was unwatched meanwhile, it is open, or is not ours; nor
	 * are neighbours that were. */
	ours = ww_ranges_around(&ww->ranges, s.area, at, &s) &&
	       wanted(s.area, page) & PROT_WRITE && open_page(&s, page);
	if (ours)
		ww_turns_opened(&((struct ww_mp *)ww->priv)->turns,
				ww_area_at(s.area, page), 0);
	ww_readers_leave(&s.area->changers, changing);
	ww_readers_leave(&s.area->users, ticket);
	return ours;
}
