/* SPDX-License-Identifier: MIT */
/*
 * backend-copy.c - the smallest backend: a copy of the memory, compared piece by
 * piece. Slow, and blind for a store of what was there already, so it promises
 * nothing. Read it first if you write another (core/backend.h).
 */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "core/backend.h"
#include "kernel/advice.h"

static size_t copy_state_bytes(size_t npages)
{
	return npages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Does [at, end) differ from its copy, as far as it can be read? With `copy`: copy. */
static bool differs(const struct ww_area *a, uintptr_t at, uintptr_t end, bool copy)
{
	char now[512], *old = (char *)a->state + (at - a->start);
	struct iovec here = { now, sizeof(now) }, there = here;

	for (; at < end; at += sizeof(now), old += sizeof(now)) {
		there.iov_base = (void *)at;
		if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof(now) ||
		    !memcmp(old, now, sizeof(now)))
			continue; /* compared again, when it can be read */
		if (!copy)
			return true;
		memcpy(old, now, sizeof(now));
	}
	return false;
}

static int copy_attach(struct ww *ww, const struct ww_slice *s, enum ww_kind kind)
{
	differs(s->area, s->start, s->end, true);
	return 0;
}

static int copy_collect(struct ww *ww, struct ww_query *q)
{
	const struct ww_slice *s = &q->span.slice[0];
	uintptr_t start, end, at = q->pos;

	while ((start = at) < s->end && !ww_query_full(q)) {
		while (at < s->end && differs(s->area, at, at + ww->page, false))
			at += ww->page;
		end = at > start ? ww_query_offer(q, start, at) : start;
		/* Reported, then copied: a store between the two is in what the
		 * caller reads, and in the copy or in the next query. */
		if (q->reset)
			differs(s->area, start, end, true);
		at += at > start ? 0 : ww->page;
	}
	ww_query_done_below(q, at);
	return 0;
}

static int copy_rearm(struct ww *ww, const struct ww_span *span)
{
	return copy_attach(ww, &span->slice[0], span->kind);
}

/* Not rearm(), then drop, as by default: the copy is of what is there then. */
static int copy_discard(struct ww *ww, const struct ww_slice *s)
{
	return ww_advise_drop(s->start, s->end) ?: copy_attach(ww, s, s->area->kind);
}

const struct ww_backend ww_backend_copy = {
	.name = "copy",
	.kinds = WW_TAKES_ANON | WW_TAKES_FILE | WW_TAKES_SHARED,
	.state_bytes = copy_state_bytes,
	.attach = copy_attach, .collect = copy_collect, .rearm = copy_rearm,
	.discard = copy_discard,
};
