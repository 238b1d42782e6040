/* SPDX-License-Identifier: MIT */
/*
 * memwatch.c - the system call process_memwatch: the soft-dirty pages
 * of a range, read and cleared in one step, on kernels that carry the patch
 * series of July 2022.
 *
 * Called by the core through the table; calls query.c and sys.c.
 *
 * The patch has two bugs. If the result vector becomes full in the middle of a
 * page table, the patch writes behind the vector; if it becomes full at the
 * border of a mapping, pages that were cleared are lost. So the vector always
 * has room for more pages than are asked about, and what does not fit the
 * caller's array becomes pending. In a mapping that counts as dirty as a whole
 * (VM_SOFTDIRTY) pages can become writable unseen: the flag is cleared at watch
 * time, and ww_advise_keep_apart() keeps neighbours that have it from merging
 * with the mapping.
 *
 * Invariant: a page that a call cleared is stored or pending.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/softdirty.h"
#include "core/backend.h"
#include "kernel/advice.h"
#include "kernel/sys.h"

#define GET 1u
#define CLEAR 2u
#define NO_REUSED_REGIONS 4u

#define NR 451		/* of the patch; cachestat(2) since Linux 6.5 */
#define CHUNK_PAGES 384 /* asked about at once: 3 KiB of stack */
#define CLEAR_BYTES ((uintptr_t)1 << 30) /* the length is an int */

static long number(void)
{
	const char *text = ww_sys_getenv("WRITEWATCH_MEMWATCH_NR");
	long nr = text ? strtol(text, NULL, 10) : 0;

	return nr > 0 ? nr : NR;
}

struct memwatch {
	long nr;
	int pidfd; /* 0: ourselves */
	/* NO_REUSED_REGIONS; 0 for another process, where nothing keeps a
	 * neighbour from merging with a watched mapping, whose pages could then
	 * become writable unseen. */
	unsigned reused;
};

static long mw_call(const struct memwatch *m, uintptr_t start, uintptr_t end,
		    unsigned flags, int64_t *vec, int room)
{
	return ww_sys_memwatch(m->nr, m->pidfd, start, (int)(end - start),
			       flags, vec, room);
}

static int mw_clear(const struct memwatch *m, uintptr_t start, uintptr_t end,
		    unsigned flags)
{
	long r = 0;

	while (r >= 0 && start < end) {
		uintptr_t to =
			end - start > CLEAR_BYTES ? start + CLEAR_BYTES : end;

		r = mw_call(m, start, to, CLEAR | flags, NULL, 0);
		start = to;
	}
	return r < 0 ? (int)r : 0;
}

/* --- queries --- */

static void mw_found(struct ww_query *q, uintptr_t start, const int64_t *vec,
		     long n)
{
	long i, run;

	for (i = 0; i < n; i = run) {
		uintptr_t from = start + (uintptr_t)vec[i], to = from + q->page;

		for (run = i + 1; run < n && start + (uintptr_t)vec[run] == to;
		     run++)
			to += q->page;
		ww_query_found(q, from, to);
	}
}

static int mw_collect(struct ww *ww, struct ww_query *q)
{
	const uintptr_t chunk = CHUNK_PAGES * q->page;
	const struct memwatch *m = ww->priv;
	unsigned flags = GET | m->reused | (q->reset ? CLEAR : 0);
	uintptr_t start = q->pos, end = ww_span_end(&q->span);
	int64_t vec[CHUNK_PAGES + 1];

	while (start < end && !ww_query_full(q)) {
		uintptr_t to = end - start > chunk ? start + chunk : end;
		int room = (int)((to - start) / q->page) + 1;
		long n;

		/* Touch the vector first: the patch clears before it copies. */
		memset(vec, 0, (size_t)room * sizeof(vec[0]));
		n = mw_call(m, start, to, flags, vec, room);
		if (n < 0 || n > room) {
			if (q->reset && n != -ESRCH)
				ww_span_each(&q->span, start, to, ww_area_mark);
			return n < 0 ? (int)n : -ENOSYS;
		}
		mw_found(q, start, vec, n);
		ww_query_done_below(q, to);
		start = to;
	}
	return 0;
}

static int mw_rearm(struct ww *ww, const struct ww_span *span)
{
	const struct memwatch *m = ww->priv;

	return mw_clear(m, ww_span_start(span), ww_span_end(span), m->reused);
}

/* --- attach, detach --- */

static int mw_attach(struct ww *ww, const struct ww_slice *s, enum ww_kind kind)
{
	int r = 0;

	if (!ww_process_is_other(&ww->process)) {
		/* Clear first: with the same advice the mapping may merge with
		 * a watched neighbour, and would pass its VM_SOFTDIRTY on. */
		r = mw_clear(ww->priv, s->start, s->end, 0);
		if (r == 0)
			r = ww_advise_keep_apart(s->start, s->end);
	}
	return r < 0 ? r : mw_clear(ww->priv, s->start, s->end, 0);
}

static void mw_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	if (open && !ww_process_is_other(&ww->process))
		ww_advise_let_join(s->start, s->end);
}

/* The bits of dropped pages go with the pages. */
static int mw_discard(struct ww *ww, const struct ww_slice *s)
{
	return ww_advise_drop(s->start, s->end);
}

/* --- open, close --- */

/* A page that migrates while its bit is cleared comes back writable and clean
 * on Linux 5.10 and 6.12; on 6.1 the migration sets the bit (all seen, by
 * tests/test-softdirty-facts.c). Only the version shows it. */
static bool migration_loses_bits(void)
{
	struct ww_version v = ww_kernel_version();

	return v.major != 6 || v.minor != 1;
}

static int mw_open(struct ww *ww, const struct ww_options *options,
		   volatile char *scratch, const char **reason)
{
	struct memwatch *m = ww->priv;

	*m = (struct memwatch){ number(), 0, NO_REUSED_REGIONS };
	if (migration_loses_bits())
		ww->caps &= ~(unsigned)WW_CAP_ATOMIC_RESET;
	if (ww_process_is_other(&ww->process)) {
		m->pidfd = ww->process.pidfd.fd;
		m->reused = 0;
		return 0;
	}
	/* -EBUSY if a tracker clears all of the process, and so our bits. */
	return ww_softdirty_claim(-1);
}

static void mw_close(struct ww *ww)
{
	if (!ww_process_is_other(&ww->process))
		ww_softdirty_release(-1);
}

/* --- probe --- */

/* Errors of process_memwatch: another system call under this number must not do
 * anything, nor pass. */
static bool answers_as_it_should(long nr, uintptr_t page, size_t len)
{
	int64_t vec[2];

	return ww_sys_memwatch(nr, -1, 0, 0, 0, NULL, 0) == -EINVAL &&
	       ww_sys_memwatch(nr, -1, page, (int)len, 8, NULL, 0) == -EINVAL &&
	       ww_sys_memwatch(nr, -1, page + 1, (int)len, GET, vec, 1) ==
		       -EINVAL &&
	       ww_sys_memwatch(nr, -1, page, (int)len, GET, vec, 1) == -EBADF;
}

/* Try it on four pages, with a pidfd of our own: another system call would take
 * 0 for standard input. */
static int try_pages(struct memwatch *m, volatile char *pages, size_t page)
{
	uintptr_t at = (uintptr_t)pages, end = at + 4 * page;
	int64_t vec[5];
	int i, r;

	for (i = 0; i < 2; i++) {
		r = mw_clear(m, at, end, 0);
		if (r < 0)
			return r;
		if (mw_call(m, at, end, GET | NO_REUSED_REGIONS, vec, 5) != 0)
			return -ENOSYS;
		pages[2 * page] = 1;
		if (mw_call(m, at, end, GET | NO_REUSED_REGIONS, vec, 5) != 1 ||
		    vec[0] != (int64_t)(2 * page))
			return -ENOSYS;
	}
	return 0;
}

/* Since Linux 6.5 number 451 is cachestat(2). There the call is not even tried,
 * unless a number was given: a seccomp filter may kill the program for it. */
static bool is_other_call(void)
{
	return !ww_sys_getenv("WRITEWATCH_MEMWATCH_NR") &&
	       ww_version_at_least(ww_kernel_version(), 6, 5);
}

static int mw_probe(const struct ww_options *options, volatile char *scratch,
		    const char **reason, unsigned *caps)
{
	const size_t page = ww_sys_page_size();
	struct memwatch m = { .nr = number() };
	int r = -ENOSYS;

	*reason = "the kernel has no process_memwatch: it needs the patch "
		  "series of 2022; WRITEWATCH_MEMWATCH_NR if it has another "
		  "number than 451";
	if (migration_loses_bits())
		*caps &= ~(unsigned)WW_CAP_ATOMIC_RESET;
	if (is_other_call() ||
	    !answers_as_it_should(m.nr, (uintptr_t)scratch, 4 * page))
		return -ENOSYS;
	r = m.pidfd = ww_sys_pidfd(0);
	if (r >= 0) {
		r = try_pages(&m, scratch, page);
		ww_sys_close(m.pidfd);
	}
	return r;
}

const struct ww_backend ww_backend_memwatch = {
	.name = "process_memwatch",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_KERNEL_WRITES | WW_CAP_NO_SIGNAL |
		WW_CAP_NO_THREAD | WW_CAP_REMOTE | WW_CAP_FOREIGN_MPROTECT |
		WW_CAP_FOREIGN_WRITES,
	.kinds = WW_TAKES_ANON, /* reclaim drops the bits of others */
	.takes_spans = true,
	.rearms_unasked = true,
	.plain_pages = true,
	.priv_bytes = sizeof(struct memwatch),
	.attach = mw_attach,
	.collect = mw_collect,
	.rearm = mw_rearm,
	.probe = mw_probe,
	.open = mw_open,
	.close = mw_close,
	.detach = mw_detach,
	.discard = mw_discard,
};
