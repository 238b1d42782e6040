/* SPDX-License-Identifier: MIT */
/*
 * backend-mprotect.c - read-only pages and SIGSEGV: works on any kernel.
 *
 * Called by the core through the table; calls mprotect-handler.c for opening
 * and registering, query.c and sys.c. Invariant: a page that is open is DIRTY,
 * or the query that made it clean has not returned yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/trackers.h"
#include "backends/mprotect.h"
#include "kernel/pagemap.h"
#include "kernel/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static struct ww_mprotect_area *state(struct ww_area *a)
{
	return a->state;
}

static size_t mp_state_bytes(size_t npages)
{
	return sizeof(struct ww_mprotect_area) + ww_bits_bytes(npages) +
	       ww_prots_bytes(npages);
}

static void dirty_again(struct ww_area *a, size_t first, size_t end)
{
	struct ww_mprotect_area *m = state(a);
	size_t i;

	for (i = first; i < end; i++)
		atomic_fetch_or(&m->prots.word[i], WW_PAGE_DIRTY);
	ww_bits_set(&m->dirty, first, end);
}

/* A page that could not be closed stays open, and so dirty. */
static void not_closed(struct ww_area *a, size_t first, size_t end)
{
	dirty_again(a, first, end);
	atomic_fetch_add(&a->lost, 1);
}

static void close_run(struct ww_area *a, size_t first, size_t end)
{
	if (first == end)
		return;
	ww_prots_apply_mapped(&state(a)->prots, a, first, end, false,
			      not_closed);
	ww_mprotect_closed();
}

/* DIRTY -> clean, unless someone is opening it or it is being let go. */
static bool make_clean(struct ww_area *a, size_t page)
{
	struct ww_mprotect_area *m = state(a);
	uintptr_t at = ww_area_at(a, page);
	uint32_t w = atomic_load(&m->prots.word[page]);

	do {
		if (ww_mprotect_busy(w) ||
		    (at >= atomic_load(&m->leaving_start) &&
		     at < atomic_load(&m->leaving_end))) {
			ww_bits_set(&m->dirty, page, page + 1);
			return false;
		}
	} while (!atomic_compare_exchange_weak(&m->prots.word[page], &w,
					       w & ~WW_PAGE_DIRTY));
	return true;
}

/* A run of pages to close, grown while its neighbours come. */
struct closing {
	size_t first, end;
};

static void flush(struct ww_area *a, struct closing *c)
{
	close_run(a, c->first, c->end);
	c->first = c->end;
}

static void add(struct ww_area *a, struct closing *c, size_t first, size_t end)
{
	size_t i;

	for (i = first; i < end; i++) {
		if (!make_clean(a, i))
			continue;
		if (i != c->end) {
			flush(a, c);
			c->first = i;
		}
		c->end = i + 1;
	}
}

/* Pages that were told: what is hot stays open, and so dirty. */
static void add_cold(struct ww_area *a, struct closing *c, size_t first,
		     size_t end)
{
	while (first < end) {
		bool keep;
		size_t run_end = ww_hot_run(&a->hot, first, end, &keep);

		if (keep)
			ww_bits_set(&state(a)->dirty, first, run_end);
		else
			add(a, c, first, run_end);
		first = run_end;
	}
}

static int mp_collect(struct ww *ww, uintptr_t start, uintptr_t end,
		      struct ww_query *q)
{
	struct ww_area *a = q->span.slice[0].area;
	struct ww_mprotect_area *m = state(a);
	size_t at = ww_area_page(a, start), stop = ww_area_page(a, end);
	struct closing c = { 0, 0 };
	size_t run, run_end;

	(void)ww;
	while (ww_bits_next(&m->dirty, at, stop, 1, false, &run, &run_end)) {
		uintptr_t to;
		size_t stored;

		/* First what is pending below it: that may fill the array. */
		at = run;
		ww_query_settled(q, ww_area_at(a, run));
		if (ww_query_full(q))
			break;
		if (!ww_bits_next(&m->dirty, at, stop, ww_query_pages_left(q),
				  q->reset, &run, &run_end))
			break;
		to = ww_query_offer(q, ww_area_at(a, run),
				    ww_area_at(a, run_end));
		at = run_end;
		if (!q->reset)
			continue;
		stored = ww_area_page(a, to);
		if (a->hot.word)
			add_cold(a, &c, run, stored);
		else
			add(a, &c, run, stored);
		if (stored < run_end)
			ww_bits_set(&m->dirty, stored, run_end);
	}
	if (q->reset)
		flush(a, &c);
	ww_query_settled(q, end);
	return 0;
}

static void rearm_slice(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	struct ww_mprotect_area *m = state(a);
	size_t at = ww_area_page(a, start), stop = ww_area_page(a, end);
	struct closing c = { 0, 0 };
	size_t run, run_end;

	while (ww_bits_next(&m->dirty, at, stop, SIZE_MAX, true, &run,
			    &run_end)) {
		add(a, &c, run, run_end);
		at = run_end;
	}
	flush(a, &c);
}

static int mp_rearm(struct ww *ww, const struct ww_span *span, uintptr_t start,
		    uintptr_t end)
{
	(void)ww;
	ww_span_each(span, start, end, rearm_slice);
	return 0;
}

/* --- attach, detach --- */

static int mp_attach(struct ww *ww, struct ww_area *a)
{
	struct ww_mprotect_area *m = state(a);
	size_t npages = ww_area_page(a, a->end);
	char *memory = (char *)(m + 1);

	(void)ww;
	ww_bits_init(&m->dirty, memory, npages);
	memory += ww_bits_bytes(npages);
	ww_prots_init(&m->prots, memory, npages);
	return ww_mprotect_may_split() ? 0 : -ENOMEM;
}

static int mp_arm(struct ww *ww, struct ww_area *a)
{
	(void)ww;
	if (!(a->prot & PROT_WRITE))
		return 0;
	/* One page that exists gives the mapping an anon_vma, which the pieces
	 * that it is split into then share. Pieces that each got one of their
	 * own never become one mapping again (seen on 6.18). */
	if (a->kind != WW_KIND_SHARED)
		ww_sys_madvise(a->start, (size_t)1 << a->page_shift,
			       MADV_POPULATE_WRITE);
	return ww_prots_apply(&state(a)->prots, a, 0, ww_area_page(a, a->end),
			      false);
}

/* Of several parts of one area it is all between them that is left. */
static void set_leaving(struct ww_mprotect_area *m, uintptr_t start,
			uintptr_t end)
{
	if (!end || !atomic_load(&m->leaving_end))
		atomic_store(&m->leaving_start, start);
	atomic_store(&m->leaving_end, end);
}

static int mp_leave(struct ww *ww, struct ww_area *a, uintptr_t start,
		    uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r;

	(void)ww;
	/* Who faults here is still found and opens the page; who closes pages
	 * does so no more, and who began before is waited for. */
	set_leaving(state(a), start, end);
	ww_readers_wait(&a->users);
	r = ww_prots_apply_mapped(&state(a)->prots, a, first, stop, true, NULL);
	ww_mprotect_left();
	return r;
}

static void mp_stay(struct ww *ww, struct ww_area *a, uintptr_t start,
		    uintptr_t end)
{
	(void)ww;
	set_leaving(state(a), 0, 0);
	dirty_again(a, ww_area_page(a, start), ww_area_page(a, end));
	atomic_fetch_add(&a->lost, 1);
}

static void mp_detach(struct ww *ww, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	(void)ww;
	(void)start;
	(void)end;
	set_leaving(state(a), 0, 0); /* the rest of it goes on */
}

/* --- the program's changes --- */

static int mp_protect(struct ww *ww, struct ww_area *a, uintptr_t start,
		      uintptr_t end, int prot)
{
	int prot_closed = ww_prots_closed(prot);
	int r;

	(void)ww;
	/* Is it allowed, and mapped? Closed for all pages: one that is dirty
	 * faults once more. Opening it here could cross a closing query. */
	r = ww_sys_mprotect(start, end - start, prot_closed);
	if (r < 0)
		return r;
	ww_prots_set(&state(a)->prots, a, ww_area_page(a, start),
		     ww_area_page(a, end), prot);
	/* Handlers and queries that read the words before may still set the old
	 * protection; those that come now see the new one. */
	ww_readers_wait(&a->users);
	return ww_sys_mprotect(start, end - start, prot_closed);
}

static int mp_discard(struct ww *ww, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	(void)ww;
	rearm_slice(a, start, end);
	return ww_maps_drop(start, end);
}

static int mp_admit(struct ww *ww, struct ww_area *a, uintptr_t start,
		    uintptr_t end)
{
	(void)ww;
	return ww_mprotect_open(a, start, end);
}

/* --- fork child --- */

static int mp_renew(struct ww *ww)
{
	(void)ww; /* no descriptors; the handler was inherited */
	return 0;
}

/* What the parent's other threads had collected and not told yet is dirty here
 * and nobody knows; nor can it be told which pages they were just closing. */
static int mp_inherit(struct ww *ww, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	(void)ww;
	rearm_slice(a, start, end);
	close_run(a, ww_area_page(a, start), ww_area_page(a, end));
	if (a->kind == WW_KIND_SHARED)
		ww_area_mark(a, start, end);
	else
		ww_pagemap_mark_populated(a, start, end);
	return 0;
}

static int mp_open(struct ww *ww, const struct ww_options *options)
{
	(void)ww; /* the core registers it for faults: no more is needed */
	(void)options;
	return 0;
}

static void mp_close(struct ww *ww)
{
	(void)ww;
}

static int mp_probe(const struct ww_options *options, const char **reason,
		    unsigned *caps)
{
	(void)options;
	(void)reason;
	(void)caps;
	return 0;
}

const struct ww_backend ww_backend_mprotect = {
	.name = "mprotect",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_EXACT | WW_CAP_SHARED |
		WW_CAP_NO_THREAD,
	.modes = WW_WATCH_COARSE | WW_WATCH_HOT_OK,
	.by_prot = true,
	.probe = mp_probe,
	.open = mp_open,
	.close = mp_close,
	.state_bytes = mp_state_bytes,
	.attach = mp_attach,
	.arm = mp_arm,
	.leave = mp_leave,
	.stay = mp_stay,
	.detach = mp_detach,
	.renew = mp_renew,
	.inherit = mp_inherit,
	.collect = mp_collect,
	.rearm = mp_rearm,
	.protect = mp_protect,
	.discard = mp_discard,
	.admit = mp_admit,
	.fault = ww_mprotect_fault,
};
