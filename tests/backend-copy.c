/* SPDX-License-Identifier: MIT */
/*
 * backend-copy.c - the smallest backend: a copy of the memory, compared page by
 * page. Slow, and blind for a store of what was there already, so it promises
 * nothing. Read it first if you write another (core/backend.h).
 */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/backend.h"
#include "kernel/advice.h"

#define PIECE 512u

static size_t copy_state_bytes(size_t npages)
{
	return npages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Is the page at an address another one than its copy? Then, if asked to, copy it.
 * What can not be read now is compared when it can. */
static bool differs(const struct ww_area *a, uintptr_t at, bool copy)
{
	size_t bytes = (size_t)1 << a->page_shift, i;
	char *old = (char *)a->state + (at - a->start), now[PIECE];
	bool found = false;

	for (i = 0; i < bytes && !(found && !copy); i += PIECE) {
		struct iovec here = { now, PIECE }, there = { (void *)(at + i), PIECE };

		if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != PIECE ||
		    !memcmp(old + i, now, PIECE))
			continue;
		found = true;
		if (copy)
			memcpy(old + i, now, PIECE);
	}
	return found;
}

static void copy_all(const struct ww *ww, const struct ww_area *a, uintptr_t at, uintptr_t end)
{
	for (; at < end; at += ww->page)
		differs(a, at, true);
}

static int copy_attach(struct ww *ww, const struct ww_slice *s, enum ww_kind kind)
{
	copy_all(ww, s->area, s->start, s->end);
	return 0;
}

static int copy_collect(struct ww *ww, struct ww_query *q)
{
	const struct ww_slice *s = &q->span.slice[0];
	uintptr_t at = q->pos, run, told;

	while (at < s->end && !ww_query_full(q)) {
		for (run = at; at < s->end && differs(s->area, at, false); at += ww->page)
			;
		if (run < at) {
			/* reported, then copied: a store between the two is in what
			 * the caller reads, and in the copy or in the next query */
			told = ww_query_offer(q, run, at);
			if (q->reset)
				copy_all(ww, s->area, run, told);
		} else {
			at += ww->page;
		}
	}
	ww_query_done_below(q, at);
	return 0;
}

static int copy_rearm(struct ww *ww, const struct ww_span *span)
{
	return copy_attach(ww, &span->slice[0], span->kind);
}

/* The other way round than the default: a drop that fails changes nothing. */
static int copy_discard(struct ww *ww, const struct ww_slice *s)
{
	int r = ww_advise_drop(s->start, s->end);

	if (r == 0)
		copy_all(ww, s->area, s->start, s->end);
	return r;
}

const struct ww_backend ww_backend_copy = {
	.name = "copy",
	.kinds = WW_TAKES_ANON | WW_TAKES_FILE | WW_TAKES_SHARED,
	.state_bytes = copy_state_bytes,
	.attach = copy_attach,
	.collect = copy_collect,
	.rearm = copy_rearm,
	.discard = copy_discard,
};
