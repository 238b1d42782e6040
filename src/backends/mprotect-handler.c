/* SPDX-License-Identifier: MIT */
/*
 * mprotect-handler.c - opening pages, from inside SIGSEGV too, and how many
 * mappings may be split off for that.
 *
 * Called by fault-handler.c and backend-mprotect.c; calls range.c, bits.c,
 * prots.c, readers.c and ww_sys_mprotect(). Everything but
 * ww_mprotect_may_split() is lock-free and async-signal-safe (a test compares
 * the undefined symbols of this object with a list). Invariant: a page is DIRTY
 * before it is open.
 */
#include <errno.h>
#include <sys/mman.h>

#include "core/trackers.h"
#include "backends/mprotect.h"
#include "kernel/sys.h"

#define OPENER (1u << 12)
#define OPENERS(w) ((w) >> 12)
#define GENERATION_MASK 0xff0u

#define SPARE                                                                  \
	64 /* mappings to be free before single pages are opened again         \
	    */
#define LOOK_BACK 4096 /* pages searched for an open one to join */

/* --- words --- */

static struct ww_mprotect_area *state(const struct ww_area *a)
{
	return a->state;
}

static uint32_t generation_bits(void)
{
	return ww_fork_generation() << 4 & GENERATION_MASK;
}

bool ww_mprotect_busy(uint32_t word)
{
	return OPENERS(word) && (word & GENERATION_MASK) == generation_bits();
}

static int wanted(const struct ww_area *a, size_t page)
{
	return ww_prots_at(&state(a)->prots, a, page);
}

static size_t same(const struct ww_area *a, size_t page, size_t end)
{
	return ww_prots_same(&state(a)->prots, a, page, end);
}

/* --- opening --- */

static void begin_open(struct ww_area *a, size_t first, size_t end)
{
	uint32_t generation = generation_bits();

	for (; first < end; first++) {
		_Atomic(uint32_t) *word = &state(a)->prots.word[first];
		uint32_t w = atomic_load(word), next;

		do {
			next = w;
			if ((w & GENERATION_MASK) != generation)
				next = (w & (WW_PROTS_MASK | WW_PAGE_DIRTY)) |
				       generation;
			next = (next + OPENER) | WW_PAGE_DIRTY;
		} while (!atomic_compare_exchange_weak(word, &w, next));
	}
}

static void end_open(struct ww_area *a, size_t first, size_t end)
{
	uint32_t generation = generation_bits();

	for (; first < end; first++) {
		_Atomic(uint32_t) *word = &state(a)->prots.word[first];
		uint32_t w = atomic_load(word);

		do {
			/* forked meanwhile: the child counts from zero */
			if ((w & GENERATION_MASK) != generation || !OPENERS(w))
				break;
		} while (!atomic_compare_exchange_weak(word, &w, w - OPENER));
	}
}

static int open_run(struct ww_area *a, size_t first, size_t end)
{
	int r;

	begin_open(a, first, end);
	/* Before the pages are open: another thread may write then. */
	ww_bits_set(&state(a)->dirty, first, end);
	r = ww_prots_apply(&state(a)->prots, a, first, end, true);
	end_open(a, first, end);
	return r;
}

int ww_mprotect_open(struct ww_area *a, uintptr_t start, uintptr_t end)
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

/* --- vm.max_map_count --- */

/* Mappings are counted for the process, and the handler has no argument to find
 * the count by. */
static struct {
	atomic_uint counted;	  /* times that may_split() was asked */
	atomic_long used, budget; /* mappings split off, and how many may be */
	atomic_long released;	  /* given back since they were counted */
	atomic_bool closed;	  /* some pages were, since they were counted */
} splits;

/* Mappings that we split off: two for each slice and each open run. */
static long count_splits(void)
{
	struct ww_ticket ticket = ww_readers_enter(&ww_faults.readers);
	const struct ww_roster *r = atomic_load(&ww_faults.roster);
	long n = 0;
	size_t i;

	for (i = 0; r && i < r->n; i++) {
		struct ww *ww = atomic_load(&r->ww[i]);
		struct ww_ranges *ranges;
		struct ww_ticket inner;
		const struct ww_table *t;
		size_t k;

		if (!ww || ww->backend->fault != ww_mprotect_fault)
			continue;
		ranges = &ww->ranges;
		inner = ww_readers_enter(&ranges->readers);
		t = ww_ranges_table(ranges);
		for (k = 0; k < t->n; k++) {
			struct ww_area *a = t->slice[k].area;
			size_t at = ww_area_page(a, t->slice[k].start);
			size_t end = ww_area_page(a, t->slice[k].end);
			size_t run, run_end = SIZE_MAX, last;

			n += 2;
			for (; last = run_end,
			       ww_bits_next(&state(a)->dirty, at, end, SIZE_MAX,
					    false, &run, &run_end);
			     at = run_end)
				n += run == last ? 0 : 2;
		}
		ww_readers_leave(&ranges->readers, inner);
	}
	ww_readers_leave(&ww_faults.readers, ticket);
	return n;
}

/* Take two mappings from the budget. Opening gives none back: when they are
 * used up, it is counted what is really split off. */
static bool take_two(void)
{
	long budget = atomic_load(&splits.budget);
	long n;

	if (atomic_fetch_add(&splits.used, 2) + 2 <= budget)
		return true;
	/* Counting takes long; without a closing since it finds the same. */
	if (!atomic_exchange(&splits.closed, false))
		return false;
	n = count_splits();
	atomic_store(&splits.used, n);
	return n + SPARE <= budget;
}

static void count_budget(void)
{
	long ours = count_splits();

	atomic_store(&splits.released, 0);
	atomic_store(&splits.used, ours);
	atomic_store(&splits.budget, ww_maps_left() / 2 + ours);
}

bool ww_mprotect_may_split(void)
{
	unsigned n = atomic_fetch_add(&splits.counted, 1);

	/* Not each time: counting reads all of /proc/self/maps. */
	if ((n & (n - 1)) == 0 ||
	    atomic_load(&splits.released) * 16 > atomic_load(&splits.budget) ||
	    !take_two()) {
		count_budget();
		return take_two();
	}
	return true;
}

void ww_mprotect_closed(void)
{
	if (!atomic_load(&splits.closed))
		atomic_store(&splits.closed, true);
}

void ww_mprotect_left(void)
{
	ww_mprotect_closed();
	atomic_fetch_add(&splits.released, 2);
	ww_faults_left();
}

/* No mapping left for [first, end), which may be marked dirty by now: open more
 * pages than were written, such that the open run touches one that is open
 * already, or all of the slice. */
static bool open_more(const struct ww_slice *s, size_t first, size_t end)
{
	struct ww_area *a = s->area;
	size_t lo = ww_area_page(a, s->start), hi = ww_area_page(a, s->end);
	size_t back = first, run, run_end;
	int r = -ENOMEM;

	atomic_fetch_add(&a->lost, 1);
	if (ww_bits_next(&state(a)->dirty, end, hi, 1, false, &run, &run_end) &&
	    same(a, first, run) == run)
		r = open_run(a, first, run);
	while (r < 0 && back > lo && first - back < LOOK_BACK)
		if (ww_bits_test(&state(a)->dirty, --back)) {
			if (same(a, back, end) == end)
				r = open_run(a, back, end);
			break;
		}
	if (r < 0)
		r = ww_mprotect_open(a, s->start, s->end);
	return r == 0;
}

/* Open a page, or the block around it where that was asked for. */
static bool open_page(const struct ww_slice *s, size_t page)
{
	size_t first = page, end = page + 1;
	struct ww_slice block = *s;

	if (s->area->flags & WW_WATCH_COARSE) {
		ww_slice_block(&block, ww_area_at(s->area, page));
		first = ww_area_page(s->area, block.start);
		end = ww_area_page(s->area, block.end);
	}
	if (!take_two())
		return open_more(s, first, end);
	if (end - first > 1 &&
	    ww_mprotect_open(s->area, block.start, block.end) == 0)
		return true;
	/* one page; or a hole is in the block */
	return open_run(s->area, page, page + 1) == 0 ||
	       open_more(s, first, end);
}

bool ww_mprotect_fault(struct ww *ww, uintptr_t at)
{
	struct ww_ticket ticket;
	struct ww_slice s;
	size_t page;
	bool ours;

	if (!ww_ranges_pin_one(&ww->ranges, at, &s, &ticket))
		return false;
	page = ww_area_page(s.area, at);
	ours = wanted(s.area, page) & PROT_WRITE && open_page(&s, page);
	ww_readers_leave(&s.area->users, ticket);
	return ours;
}
