/* SPDX-License-Identifier: MIT */
/*
 * uffd-sync-collect.c - queries of the uffd-sync backend: what is dirty by the
 * page tables, and protecting what is reported.
 *
 * Called by uffd-sync.c and, through the table, by the core; calls pagemap.c and
 * uffd.c. Invariant: a page that a query protects is stored in its answer, or
 * pending.
 */
#include <errno.h>

#include "backends/uffd-sync.h"
#include "kernel/pagemap.h"
#include "kernel/sys.h"
#include "kernel/uffd.h"

/* --- protecting --- */

int ww_sync_change(const struct ww_sync *s, ww_sync_change_fn *change,
		   uintptr_t start, uintptr_t end, size_t page)
{
	uintptr_t half = start + (end - start) / page / 2 * page;
	int r = change(&s->uffd, start, end), r2;

	if (r != -ENOENT || half == start)
		return r;
	r = ww_sync_change(s, change, start, half, page);
	if (r < 0 && r != -ENOENT)
		return r;
	r2 = ww_sync_change(s, change, half, end, page);
	return r2 < 0 ? r2 : r;
}

/* The pages have entries again, which protect them. */
static void clear_dropped(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);

	if (!ww_bits_quiet(ww_sync_dropped(a), first, stop))
		ww_bits_clear(ww_sync_dropped(a), first, stop);
}

static int protect_unless_held(void *sync, struct ww_area *a, uintptr_t start,
			       uintptr_t end, bool held)
{
	size_t page = (size_t)1 << a->page_shift;
	int r = held ? 0
		     : ww_sync_change(sync, ww_uffd_protect, start, end, page);

	if (r == 0 && !held)
		clear_dropped(a, start, end);
	return r;
}

static int protect_part(struct ww_sync_protecting *p, const struct ww_slice *s)
{
	int r = ww_area_each_held_run(s->area, s->start, s->end,
				      protect_unless_held, p->ww->priv);

	if (r == -ENOENT) {
		p->missing = true;
		r = 0;
	}
	return r;
}

/* Inside of `changers`, so that a thread that begins a hold meanwhile waits, and
 * opens its page after this; and one that unwatches waits. What it has unwatched is
 * left alone: the kernel does not ask whose memory it is. */
int ww_sync_protect_run(void *protecting, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	const struct ww_slice all = { start, end, a };
	struct ww_sync_protecting *p = protecting;
	struct ww_slice part = { 0, start, NULL };
	struct ww_ticket ticket = ww_readers_enter(&a->changers);
	int r = 0;

	if (p->anew)
		r = protect_part(p, &all);
	else
		while (r == 0 && ww_ranges_next_still(&p->ww->ranges, &all,
						      part.end, &part))
			r = protect_part(p, &part);
	ww_readers_leave(&a->changers, ticket);
	return r;
}

/* --- queries --- */

struct sync_walk {
	struct ww *ww;
	struct ww_query *q;
	struct ww_sync_protecting p;
};

/* Protect dirty pages, as many as there is room for, then store them: a write
 * between the two hits a page that is reported anyway. */
static int found_dirty(void *arg, uintptr_t start, uintptr_t end)
{
	struct sync_walk *w = arg;
	struct ww_query *q = w->q;
	struct ww_sync *s = w->ww->priv;
	int r;

	if (!q->reset) {
		ww_query_offer(q, start, end);
		return ww_query_full(q);
	}
	ww_query_done_below(q, start);
	if (ww_query_full(q))
		return 1;
	if ((end - start) / q->page > ww_query_pages_left(q))
		end = start + ww_query_pages_left(q) * q->page;
	ww_turns_wait(&s->thread.turns, start, end);
	r = ww_query_close_each(q, start, end, ww_sync_protect_run, &w->p);
	/* Some mapping was replaced: the core reports it and arms it anew. */
	if (r == 0 && w->p.missing)
		r = -EPERM;
	if (r < 0) {
		/* A part of the run may be protected by now. */
		ww_span_each(&q->span, start, end, ww_area_mark);
		return r;
	}
	ww_query_found(q, start, end);
	return ww_query_full(q);
}

/* No page exists there. The memory may have been replaced, and is not registered
 * then: opening it fails only in that case, and changes nothing where no page
 * exists. (A page that appears meanwhile, is reported and closed, is reported
 * once more: EXACT is not promised where pages are dropped.) Else before 6.4 the
 * memory was never touched; from 6.4 on the pages were dropped: by this library,
 * and are clean, or by the program, and are dirty. */
static int found_none(struct sync_walk *w, uintptr_t start, uintptr_t end)
{
	struct ww_sync *s = w->ww->priv;
	struct ww_area *a = w->q->span.slice[0].area;
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r = ww_sync_change(s, ww_uffd_unprotect, start, end, w->ww->page);

	if (r < 0 || !s->unpopulated)
		return r == -ENOENT ? -EPERM : r;
	while (r == 0 && page < stop) {
		size_t first = page;

		if (ww_bits_test(ww_sync_dropped(a), page)) {
			page = ww_bits_first_clear(ww_sync_dropped(a), page,
						   stop);
			continue;
		}
		while (page < stop && !ww_bits_test(ww_sync_dropped(a), page))
			page++;
		/* -EPERM: then the core goes by mappings, without the hole. */
		r = ww_sys_has_hole(ww_area_at(a, first),
				    (page - first) << a->page_shift)
			    ? -EPERM
			    : found_dirty(w, ww_area_at(a, first),
					  ww_area_at(a, page));
	}
	return r;
}

static int found(void *arg, int state, uintptr_t start, uintptr_t end)
{
	struct sync_walk *w = arg;

	/* Of shared memory the kernel may drop an entry and keep the page: what
	 * is not protected is dirty. */
	if (state == WW_WP_NONE && w->q->span.kind == WW_KIND_ANON)
		return found_none(w, start, end);
	return found_dirty(arg, start, end);
}

static int sync_scan(struct ww *ww, struct ww_query *q)
{
	struct sync_walk w = { ww, q, { ww, false, false } };
	struct ww_sync *s = ww->priv;
	int r = ww_pagemap_each_unprotected(
		&s->pagemap, (enum ww_wp_by)atomic_load(&ww_sync_reads), q->pos,
		ww_span_end(&q->span), found, &w);

	if (r >= 0)
		ww_query_done_below(q, ww_span_end(&q->span));
	return r < 0 ? r : 0;
}

/* With signals blocked: no handler forks between the check of the descriptors
 * and their use, and none stops a thread that others wait for. */
int ww_sync_collect(struct ww *ww, struct ww_query *q)
{
	struct ww_sync *s = ww->priv;
	uint64_t mask;
	int r = -EPERM;

	ww_sys_block_signals(&mask);
	if (ww_fd_ok(&s->pagemap) && ww_fd_ok(&s->uffd))
		r = sync_scan(ww, q);
	ww_sys_restore_signals(mask);
	return r;
}

int ww_sync_rearm(struct ww *ww, const struct ww_span *span)
{
	struct ww_sync_protecting p = { ww, false, false };
	struct ww_sync *s = ww->priv;
	uint64_t mask;
	int r = -EPERM;

	ww_sys_block_signals(&mask);
	if (ww_fd_ok(&s->uffd)) {
		ww_turns_wait(&s->thread.turns, ww_span_start(span),
			      ww_span_end(span));
		r = ww_span_each_free(span, ww_span_start(span),
				      ww_span_end(span), ww_sync_protect_run,
				      &p);
	}
	ww_sys_restore_signals(mask);
	return r == 0 && p.missing ? -EPERM : r;
}
