/* SPDX-License-Identifier: MIT */
/*
 * mprotect.c - read-only pages and SIGSEGV: works on any kernel.
 *
 * Called by the core through the table; calls mprotect-handler.c for opening,
 * prots.c, query.c and sys.c. Invariant: a page that is open has its bit in `dirty`,
 * or the query that cleared the bit has not returned yet.
 */
#include "backends/mprotect.h"

#include <errno.h>
#include <sys/mman.h>

#include "core/mapcount.h"
#include "kernel/advice.h"
#include "kernel/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static size_t mp_state_bytes(size_t npages)
{
	return sizeof(struct ww_mp_area) + ww_bits_bytes(npages) +
	       ww_prots_bytes(npages);
}

/* A page that could not be closed stays open, and so dirty. */
static void not_closed(struct ww_area *a, size_t first, size_t end)
{
	ww_bits_set(&ww_mp_state(a)->dirty, first, end);
	atomic_fetch_add(&a->lost, 1);
}

static void close_run(struct ww_area *a, size_t first, size_t end)
{
	if (first == end)
		return;
	ww_prots_apply_mapped(&ww_mp_state(a)->prots, a, first, end, false,
			      not_closed);
	ww_mapcount_closed();
}

/* Are pages being unwatched, which are open? */
static bool is_leaving(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	const struct ww_mp_area *m = ww_mp_state(a);

	return start < atomic_load(&m->leaving_end) &&
	       atomic_load(&m->leaving_start) < end;
}

/* May a page be closed whose bit was cleared just before (mprotect.h says why in
 * this order)? If not, because a thread is opening it, or because it is held or
 * being unwatched, its bit is set again. */
static bool may_close(struct ww_area *a, size_t page)
{
	struct ww_mp_area *m = ww_mp_state(a);
	uintptr_t at = ww_area_at(a, page);

	if (!ww_mp_is_busy(atomic_load(&m->prots.word[page])) &&
	    !ww_area_is_held(a, page) && !is_leaving(a, at, at + 1))
		return true;
	ww_bits_set(&m->dirty, page, page + 1);
	return false;
}

/* May all pages of a run be closed? Mostly nobody opens, holds or unwatches any. A hold
 * elsewhere in the area, or an opener that the parent had, counts here too: then
 * each page is looked at. */
static bool may_close_all(struct ww_area *a, size_t page, size_t stop)
{
	const struct ww_mp_area *m = ww_mp_state(a);
	uint32_t words = 0;
	size_t i;

	for (i = page; i < stop; i++)
		words |= atomic_load(&m->prots.word[i]);
	return !WW_MP_OPENERS(words) && !atomic_load(&a->nheld) &&
	       !is_leaving(a, ww_area_at(a, page), ww_area_at(a, stop));
}

/* --- closing --- */

/* Pages to close, with as few calls as possible: a run grows over gaps. The
 * pages of a gap are closed already, and mprotect(2) skips mappings that need
 * no change. A page of a gap that became dirty meanwhile is closed too, stays
 * dirty, and faults once more. */
struct closing {
	struct ww *ww;
	struct ww_area *a;
	size_t first, end; /* first == end: nothing yet */
};

#define GAP_PAGES 4096u

static void close_now(struct closing *c)
{
	if (c->first < c->end)
		close_run(c->a, c->first, c->end);
	c->first = c->end = 0;
}

/* Held pages must not be closed, and hot ones, which are dirty, need not be. */
static bool may_close_gap(const struct closing *c, size_t first, size_t end)
{
	bool held;

	if (end - first > GAP_PAGES ||
	    is_leaving(c->a, ww_area_at(c->a, first), ww_area_at(c->a, end)) ||
	    ww_area_held_run(c->a, first, end, &held) != end || held)
		return false;
	return !ww_area_has_hot(c->a) ||
	       ww_bits_none(&ww_mp_state(c->a)->dirty, first, end);
}

static void close_pages(struct closing *c, size_t first, size_t end)
{
	if (c->first < c->end && first > c->end &&
	    !may_close_gap(c, c->end, first))
		close_now(c);
	if (c->first == c->end)
		c->first = first;
	c->end = end;
}

/* [start, end) was reported, is clean now, and is to be closed. */
static int close_part(void *arg, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	struct closing *c = arg;
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);
	size_t first = page;

	if (may_close_all(a, page, stop))
		page = stop;
	for (; page < stop; page++) {
		if (may_close(a, page))
			continue;
		if (first < page)
			close_pages(c, first, page);
		first = page + 1;
	}
	if (first < stop)
		close_pages(c, first, stop);
	return 0;
}

/* Closing begins: no signal stops this thread until it has ended, and a thread
 * that unwatches or holds pages waits for it. What the table has not any more by now
 * was unwatched, and is not ours to close. */
static void begin_closing(struct closing *c, const struct ww_slice *s,
			  uint64_t *mask, struct ww_ticket *ticket)
{
	struct ww_mp *mp = c->ww->priv;

	ww_turns_wait(&mp->turns, s->start, s->end);
	ww_sys_block_signals(mask);
	*ticket = ww_readers_enter(&s->area->changers);
}

static void end_closing(struct closing *c, uint64_t mask,
			struct ww_ticket ticket)
{
	ww_readers_leave(&c->a->changers, ticket);
	ww_sys_restore_signals(mask);
}

/* Do dirty pages from `run` on, below *end, stay open because they are held, or
 * hot? *end becomes the end of the pages for which the answer is the same. */
static bool stays_open(struct ww_area *a, size_t run, size_t *end)
{
	bool stays;

	*end = ww_area_held_run(a, run, *end, &stays);
	if (!stays && ww_area_has_hot(a))
		*end = ww_hot_run(&a->hot, run, *end, &stays);
	return stays;
}

/* Report, and with a reset close, dirty pages where ww_query_is_plain(). A page that
 * begins to be held meanwhile gets its dirty bit back (may_close()). Others may miss it
 * until then, as if they had come between this query and ww_hold(), which does not return
 * before this thread has left `changers`. */
static void collect_plain(struct closing *c, struct ww_query *q,
			  const struct ww_slice *s)
{
	struct ww_area *a = s->area;
	struct ww_bits *dirty = &ww_mp_state(a)->dirty;
	size_t at = ww_area_page(a, s->start), stop = ww_area_page(a, s->end);
	size_t run, run_end;

	for (; !ww_query_full(q) &&
	       ww_bits_next(dirty, at, stop, ww_query_pages_left(q), q->reset,
			    &run, &run_end);
	     at = run_end) {
		uintptr_t start = ww_area_at(a, run);
		uintptr_t end = ww_area_at(a, run_end);

		q->pos = ww_query_store(q, start, end);
		if (q->reset)
			close_part(c, a, start, end);
	}
}

/* The same where some pages are held, hot or pending. What is held or hot stays open,
 * and its dirty bit is not even cleared: cleared and set again, it would be missing for
 * queries of other threads meanwhile. */
static void collect_pages(struct closing *c, struct ww_query *q,
			  const struct ww_slice *s)
{
	struct ww_area *a = s->area;
	struct ww_bits *dirty = &ww_mp_state(a)->dirty;
	size_t at = ww_area_page(a, s->start), stop = ww_area_page(a, s->end);
	size_t run, run_end;

	for (;; at = run_end) {
		if (!ww_bits_next(dirty, at, stop, SIZE_MAX, false, &run,
				  &run_end))
			break;
		/* First the pending pages below: they may fill the array. */
		ww_query_done_below(q, ww_area_at(a, run));
		if (ww_query_full(q))
			break;
		if (run_end - run > ww_query_pages_left(q))
			run_end = run + ww_query_pages_left(q);
		if (!q->reset || stays_open(a, run, &run_end)) {
			ww_query_offer(q, ww_area_at(a, run),
				       ww_area_at(a, run_end));
			continue;
		}
		/* clear the bits, unless another query did meanwhile */
		if (!ww_bits_next(dirty, run, run_end, SIZE_MAX, true, &run,
				  &run_end))
			continue;
		/* Dirty pages below were cleared by another query meanwhile, which
		 * reports them. If some are pending again, they are for the next
		 * query: with them the array might be full, and this run would be
		 * in no answer. */
		q->pos = ww_area_at(a, run);
		ww_query_offer(q, ww_area_at(a, run), ww_area_at(a, run_end));
		close_part(c, a, ww_area_at(a, run), ww_area_at(a, run_end));
	}
}

/* How far collect_part() looks for pending pages, of which a small array may have no
 * use: their words are read one by one. */
#define PIECE_PAGES 4096u

/* All that is watched still of a part of a slice. */
static void collect_part(struct closing *c, struct ww_query *q,
			 const struct ww_slice *part)
{
	struct ww_area *a = part->area;
	struct ww_slice piece = *part;
	size_t at = ww_area_page(a, part->start), run, run_end;
	const size_t stop = ww_area_page(a, part->end);

	for (;
	     !ww_query_full(q) && ww_bits_next(&ww_mp_state(a)->dirty, at, stop,
					       1, false, &run, &run_end);
	     at = run_end) {
		run_end = stop - run > PIECE_PAGES ? run + PIECE_PAGES : stop;
		piece.start = ww_area_at(a, run);
		piece.end = ww_area_at(a, run_end);
		if (ww_query_is_plain(q, piece.end))
			collect_plain(c, q, &piece);
		else
			collect_pages(c, q, &piece);
	}
	close_now(c);
}

static bool is_clean(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	return ww_bits_none(&ww_mp_state(a)->dirty, ww_area_page(a, start),
			    ww_area_page(a, end));
}

static int mp_collect(struct ww *ww, struct ww_query *q)
{
	const struct ww_slice *s = &q->span.slice[0];
	struct closing c = { ww, s->area, 0, 0 };
	struct ww_slice part = { 0, q->pos, NULL };
	struct ww_ticket ticket = { 0, 0 };
	uint64_t mask = 0;

	if (is_clean(s->area, q->pos, s->end)) { /* without a system call */
		ww_query_done_below(q, s->end);
		return 0;
	}
	if (q->reset)
		begin_closing(&c, s, &mask, &ticket);
	while (!ww_query_full(q) &&
	       ww_ranges_next_still(&ww->ranges, s, part.end, &part))
		collect_part(&c, q, &part);
	if (q->reset)
		end_closing(&c, mask, ticket);
	ww_query_done_below(q, s->end);
	return 0;
}

static void rearm_pages(struct closing *c, const struct ww_slice *s)
{
	struct ww_bits *dirty = &ww_mp_state(s->area)->dirty;
	size_t at = ww_area_page(s->area, s->start);
	size_t stop = ww_area_page(s->area, s->end);
	size_t run, run_end;

	for (; ww_bits_next(dirty, at, stop, SIZE_MAX, true, &run, &run_end);
	     at = run_end)
		close_part(c, s->area, ww_area_at(s->area, run),
			   ww_area_at(s->area, run_end));
	close_now(c);
}

static int mp_rearm(struct ww *ww, const struct ww_span *span)
{
	const struct ww_slice *s = &span->slice[0];
	struct closing c = { ww, s->area, 0, 0 };
	struct ww_slice part = { 0, s->start, NULL };
	struct ww_ticket ticket;
	uint64_t mask;

	if (is_clean(s->area, s->start, s->end))
		return 0;
	begin_closing(&c, s, &mask, &ticket);
	while (ww_ranges_next_still(&ww->ranges, s, part.end, &part))
		rearm_pages(&c, &part);
	end_closing(&c, mask, ticket);
	return 0;
}

/* --- attach, detach --- */

static void mp_init_state(struct ww_area *a)
{
	struct ww_mp_area *m = a->state;
	size_t npages = ww_area_page(a, a->end);
	char *memory = (char *)(m + 1);

	ww_bits_init(&m->dirty, memory, npages);
	ww_prots_init(&m->prots, memory + ww_bits_bytes(npages), npages);
}

/* Whether closed pages can be opened again is tried on a page of our own: on
 * the memory itself a failure would come too late. */
static int mp_attach(struct ww *ww, const struct ww_slice *s, enum ww_kind kind)
{
	return ww_prots_way_back(s->area->prot);
}

static int mp_arm(struct ww *ww, const struct ww_slice *s)
{
	struct ww_area *a = s->area;

	if (!(a->prot & PROT_WRITE))
		return 0;
	/* One page that exists gives the mapping an anon_vma, which the pieces
	 * that it is split into then share. Pieces that each got one of their
	 * own never become one mapping again (seen on 6.18). */
	if (a->kind != WW_KIND_SHARED)
		ww_sys_madvise(a->start, (size_t)1 << a->page_shift,
			       MADV_POPULATE_WRITE);
	return ww_prots_apply(&ww_mp_state(a)->prots, a, 0,
			      ww_area_page(a, a->end), false);
}

/* One ww_unwatch() may let go of several slices of an area: [leaving_start,
 * leaving_end) then covers them all, and what lies between stays open too. */
static void set_leaving(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	struct ww_mp_area *m = ww_mp_state(a);

	if (!end || !atomic_load(&m->leaving_end))
		atomic_store(&m->leaving_start, start);
	atomic_store(&m->leaving_end, end);
}

static int leave_slice(const struct ww_slice *s)
{
	struct ww_area *a = s->area;
	int r;

	/* A store that faults here still finds the area, and opens its page. No
	 * query begins to close pages; wait for those that did. */
	set_leaving(a, s->start, s->end);
	ww_readers_wait(&a->changers);
	r = ww_prots_apply_mapped(&ww_mp_state(a)->prots, a,
				  ww_area_page(a, s->start),
				  ww_area_page(a, s->end), true, NULL);
	ww_mapcount_released();
	return r;
}

static int mp_leave(struct ww *ww, const struct ww_slice *cut, size_t n)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < n; i++)
		r = leave_slice(&cut[i]);
	while (r < 0 && i--) {
		struct ww_area *a = cut[i].area;

		set_leaving(a, 0, 0);
		not_closed(a, ww_area_page(a, cut[i].start),
			   ww_area_page(a, cut[i].end));
	}
	return r;
}

static void mp_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	/* A query that still saw the old table closes none of these pages. */
	ww_readers_wait(&s->area->changers);
	set_leaving(s->area, 0, 0); /* the rest of the area stays watched */
}

/* --- the program's changes --- */

/* What is held stays open, if it is to be writable: the kernel may be writing there. */
static int close_for(void *prot, struct ww_area *a, uintptr_t start,
		     uintptr_t end, bool held)
{
	const int *to = prot;

	if (!held || !(*to & PROT_WRITE))
		return ww_sys_mprotect(start, end - start,
				       ww_prots_closed(*to));
	return ww_sys_has_hole(start, end - start) ? -ENOMEM : 0;
}

/* Close pages for a protection to come. Inside of `changers`, so that a thread that
 * begins a hold meanwhile waits, and opens its pages after this. */
static int close_slice(const struct ww_slice *s, int prot)
{
	struct ww_ticket ticket = ww_readers_enter(&s->area->changers);
	int r = ww_area_each_held_run(s->area, s->start, s->end, close_for,
				      &prot);

	ww_readers_leave(&s->area->changers, ticket);
	return r;
}

static int mp_protect(struct ww *ww, const struct ww_slice *s, int prot)
{
	struct ww_area *a = s->area;
	size_t first = ww_area_page(a, s->start), end = ww_area_page(a, s->end);
	int r = ww_prots_way_back(prot);

	/* A file that was opened for reading: closed pages would not show it. */
	if (r == 0 && prot & PROT_WRITE && a->kind == WW_KIND_SHARED)
		r = ww_sys_try_shared(s->start, ww->page, prot);
	/* Is it allowed, and mapped? Dirty pages are closed too, and fault once
	 * more: left open, they could cross a query that closes them. */
	if (r == 0)
		r = close_slice(s, prot);
	if (r < 0)
		return r;
	ww_prots_set(&ww_mp_state(a)->prots, a, first, end, prot);
	/* Handlers and queries that read the words before may still set the old
	 * protection; those that come now see the new one. */
	ww_readers_wait(&a->changers);
	r = close_slice(s, prot);
	/* Held pages must be open, with the new protection, and dirty. */
	if (r == 0 && atomic_load(&a->nheld))
		ww_mp_open_held(a, s->start, s->end);
	return r;
}

static int mp_wanted(struct ww_area *a, uintptr_t at, uintptr_t *end)
{
	return ww_prots_wanted(&ww_mp_state(a)->prots, a, at, end);
}

static int mp_admit(struct ww *ww, const struct ww_slice *s)
{
	return ww_mp_open(s->area, s->start, s->end);
}

/* --- fork child --- */

/* Which pages the parent's other threads were just closing is not known here:
 * all are closed. The core marks what exists. */
static int mp_inherit(struct ww *ww, const struct ww_slice *s,
		      enum ww_kind kind)
{
	struct closing c = { ww, s->area, 0, 0 };

	rearm_pages(&c, s);
	close_run(s->area, ww_area_page(s->area, s->start),
		  ww_area_page(s->area, s->end));
	if (atomic_load(&s->area->nheld))
		ww_mp_open_held(s->area, s->start, s->end);
	return 0;
}

const struct ww_backend ww_backend_mprotect = {
	.name = "mprotect",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_EXACT | WW_CAP_SHARED |
		WW_CAP_NO_THREAD,
	.modes = WW_WATCH_COARSE_OK | WW_WATCH_HOT_OK,
	.kinds = WW_TAKES_ANON | WW_TAKES_FILE | WW_TAKES_SHARED,
	.one_prot_an_area = true,
	.priv_bytes = sizeof(struct ww_mp),
	.state_bytes = mp_state_bytes,
	.init_state = mp_init_state,
	.attach = mp_attach,
	.collect = mp_collect,
	.rearm = mp_rearm,
	.arm = mp_arm,
	.leave = mp_leave,
	.detach = mp_detach,
	.protect = mp_protect,
	.wanted = mp_wanted,
	.admit = mp_admit,
	.open_runs = ww_mp_open_runs,
	.fault = ww_mp_fault,
	.inherit = mp_inherit,
};
