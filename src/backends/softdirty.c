/* SPDX-License-Identifier: MIT */
/*
 * softdirty.c - the soft-dirty bit of /proc/PID/pagemap, and `4` written to
 * clear_refs (Linux 3.11, CONFIG_MEM_SOFT_DIRTY).
 *
 * Called by the core through the table; calls softdirty-gate.c, softdirty-bits.c,
 * pagemap.c, prots.c and sys.c.
 *
 * A clear hits the whole process and cannot be one step with a read, so it is
 * done inside a gate, for all ranges of all trackers here at once: pages are
 * made read-only, dirty ones become pending, the bits are cleared, pages are
 * opened again. Without the gate a write between the read and the clear leaves
 * no trace (27 to 54 % of once-only writes did not). The closing is needed even
 * if nobody writes: on Linux 5.10 and 6.12 clear_refs leaves a page under
 * migration writable with its bit clear.
 *
 * Invariant: whatever a clear takes away is pending before it.
 */
#include "backends/softdirty.h"

#include <errno.h>
#include <fcntl.h>

#include "kernel/advice.h"
#include "kernel/pagemap.h"
#include "kernel/sys.h"

/* --- attach, detach --- */

static size_t soft_state_bytes(size_t npages)
{
	return sizeof(struct ww_soft_area) + ww_prots_bytes(npages);
}

static void soft_init_state(struct ww_area *a)
{
	ww_prots_init(&ww_softdirty_state(a)->prots, ww_softdirty_state(a) + 1,
		      ww_area_page(a, a->end));
}

static int soft_attach(struct ww *ww, const struct ww_slice *s,
		       enum ww_kind kind)
{
	if (ww_process_is_other(&ww->process))
		return 0;
	return ww_prots_way_back(s->area->prot);
}

/* The slice is in the table: a gate cleans it with all the others. A clear of
 * open pages may leave one under migration clean and writable. */
static int soft_arm(struct ww *ww, const struct ww_slice *s)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return 0;
	ww_softdirty_take_gate();
	r = ww_softdirty_harvest(ww->priv);
	if (r == 0)
		ww_area_forget(s->area, s->start, s->end);
	/* Clear before the advice: with it the mapping may merge with a watched
	 * neighbour, which it would make wholly dirty. */
	if (r == 0)
		r = ww_advise_keep_apart(s->start, s->end);
	ww_softdirty_drop_gate();
	return r;
}

static void soft_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	if (ww_process_is_other(&ww->process))
		return;
	/* Wait for a gate that still has the slice in its table: it opens the
	 * slice. No later gate closes it, because no table has it any more. */
	ww_softdirty_take_gate();
	if (open && atomic_load(&ww_softdirty_stuck))
		ww_prots_apply_mapped(&ww_softdirty_state(s->area)->prots,
				      s->area, ww_softdirty_page(s, s->start),
				      ww_softdirty_page(s, s->end), true, NULL);
	ww_softdirty_drop_gate();
	if (open)
		ww_advise_let_join(s->start, s->end);
}

/* --- queries --- */

static int serial_harvest(struct ww *ww)
{
	int r;

	ww_softdirty_take_gate();
	r = ww_softdirty_harvest(ww->priv);
	ww_softdirty_drop_gate();
	return r;
}

static int soft_begin(struct ww *ww, const struct ww_query *q)
{
	if (!q->reset)
		return 0;
	if (ww_process_is_other(&ww->process))
		return -EOPNOTSUPP;
	return serial_harvest(ww);
}

static int found(void *q, int class, uintptr_t start, uintptr_t end)
{
	ww_query_found(q, start, end);
	return ww_query_full(q) ? 1 : 0;
}

static int soft_collect(struct ww *ww, struct ww_query *q)
{
	struct ww_soft *soft = ww->priv;
	uintptr_t end = ww_span_end(&q->span);
	int r = 0;

	/* For a reset soft_begin() has made all that is dirty pending. */
	if (!q->reset) {
		if (!ww_fd_ok(&soft->pagemap))
			return -EPERM;
		/* Gates may close and open meanwhile, and no page is missed: a
		 * gate makes it pending before clearing its bit, and pending
		 * pages are looked at after the entries were read. */
		r = ww_pagemap_runs(&soft->pagemap, q->pos, end,
				    ww_softdirty_is_dirty, found, q);
		if (r < 0)
			return ww_process_check(&ww->process) < 0 ? -ESRCH : r;
	}
	ww_query_done_below(q, end);
	return 0;
}

static int soft_rearm(struct ww *ww, const struct ww_span *span)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return -EOPNOTSUPP;
	/* Harvest and forget under one lock: what another thread's harvest made
	 * pending between the two would be forgotten. */
	ww_softdirty_take_gate();
	r = ww_softdirty_harvest(ww->priv);
	if (r == 0)
		ww_span_each(span, ww_span_start(span), ww_span_end(span),
			     ww_area_forget);
	ww_softdirty_drop_gate();
	return r;
}

/* --- the program's changes --- */

static int soft_protect(struct ww *ww, const struct ww_slice *s, int prot)
{
	struct ww_prots *prots = &ww_softdirty_state(s->area)->prots;
	size_t first = ww_softdirty_page(s, s->start);
	size_t end = ww_softdirty_page(s, s->end);
	int r = ww_prots_way_back(prot);

	if (r < 0)
		return r;
	ww_softdirty_take_gate();
	r = ww_sys_mprotect(s->start, s->end - s->start, prot);
	if (r == 0)
		ww_prots_set(prots, s->area, first, end, prot);
	else /* a part may have the new protection */
		ww_prots_restore(prots, s->area, first, end);
	ww_softdirty_drop_gate();
	return r;
}

static int soft_wanted(struct ww_area *a, uintptr_t at, uintptr_t *end)
{
	return ww_prots_wanted(&ww_softdirty_state(a)->prots, a, at, end);
}

static int soft_discard(struct ww *ww, const struct ww_slice *s)
{
	int r;

	ww_softdirty_take_gate();
	ww_area_forget(s->area, s->start, s->end);
	r = ww_advise_drop(s->start, s->end);
	ww_softdirty_drop_gate();
	return r;
}

/* --- open, close, fork child --- */

static void close_descriptors(struct ww_soft *soft)
{
	ww_fd_finish(&soft->clear_refs);
	ww_fd_finish(&soft->pagemap);
}

static int open_descriptors(struct ww_soft *soft,
			    const struct ww_process *process,
			    const struct ww_options *o)
{
	const char *reason;
	int r, fd;

	soft->clear_refs = WW_FD_NONE;
	r = ww_pagemap_open(&soft->pagemap, process, o, &reason);
	if (r < 0 || (process && ww_process_is_other(process)))
		return r;
	fd = ww_sys_open("/proc/self/clear_refs", O_WRONLY);
	r = fd < 0 ? fd : ww_fd_init(&soft->clear_refs, fd, false);
	if (r < 0)
		close_descriptors(soft);
	return r;
}

static int soft_open(struct ww *ww, const struct ww_options *options,
		     volatile char *scratch, const char **reason)
{
	struct ww_soft *soft = ww->priv;
	int r;

	ww_softdirty_init_locks();
	r = open_descriptors(soft, &ww->process, options);
	if (r < 0)
		return r;
	if (ww_process_is_other(&ww->process)) {
		/* Another process is only looked at: no page is closed. */
		ww->caps &= ~(unsigned)WW_CAP_ATOMIC_RESET;
		ww->caps |= WW_CAP_KERNEL_WRITES | WW_CAP_NO_SIGNAL |
			    WW_CAP_FOREIGN_MPROTECT | WW_CAP_FOREIGN_WRITES;
		return 0;
	}
	r = ww_softdirty_claim(1);
	if (r < 0)
		close_descriptors(soft);
	return r;
}

static void soft_close(struct ww *ww)
{
	struct ww_soft *soft = ww->priv;

	if (!ww_process_is_other(&ww->process))
		ww_softdirty_release(1);
	close_descriptors(soft);
}

static int soft_renew(struct ww *ww)
{
	struct ww_soft *soft = ww->priv;

	/* To write to the parent's clear_refs would clear the parent's bits. */
	close_descriptors(soft);
	soft->table = NULL;
	return open_descriptors(soft, NULL, NULL);
}

/* If the parent's gate was closed at the fork: open the slice. Not while
 * another tracker of the child has a gate closed. */
static int soft_inherit(struct ww *ww, const struct ww_slice *s,
			enum ww_kind kind)
{
	ww_softdirty_take_gate();
	ww_softdirty_open_slice(NULL, s);
	ww_softdirty_drop_gate();
	return 0;
}

/* --- probe --- */

/* In a child of its own, because a clear hits a whole process: written is
 * dirty, cleared is clean, and again. Only system calls: it has no other
 * threads.
 */
static int try_clear(volatile char *page)
{
	struct ww_fd pagemap = { .fd = ww_sys_open("/proc/self/pagemap",
						   O_RDONLY) };
	int clear_refs = ww_sys_open("/proc/self/clear_refs", O_WRONLY);
	off_t at = (off_t)((uintptr_t)page / ww_sys_page_size() * 8);
	uint64_t entry;
	int i;

	for (i = 0; i < 2; i++) {
		page[0] = 1;
		if (ww_sys_pread(pagemap.fd, &entry, 8, at) != 8 ||
		    !ww_softdirty_is_dirty(entry) ||
		    ww_sys_write(clear_refs, "4", 1) != 1 ||
		    ww_sys_pread(pagemap.fd, &entry, 8, at) != 8 ||
		    ww_softdirty_is_dirty(entry))
			return 1;
	}
	return 0;
}

static int try_page(volatile char *page)
{
	off_t at = (off_t)((uintptr_t)page / ww_sys_page_size() * 8);
	int fd = ww_sys_open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;
	int r;

	if (fd < 0)
		return fd == -ENOENT ? -ENOSYS : fd;
	page[0] = 1;
	ww_sys_pread(fd, &entry, 8, at);
	ww_sys_close(fd);
	if (!ww_softdirty_is_dirty(entry))
		return -ENOSYS;
	r = ww_sys_in_child(try_clear, page);
	return r > 0 ? -ENOSYS : r;
}

static int soft_probe(const struct ww_options *options, volatile char *scratch,
		      const char **reason, unsigned *caps)
{
	/* Forking is dear: once in a process. 0: not tried, else 1 - result. */
	WW_DATA static atomic_int tried;
	int r = atomic_load(&tried);

	*reason = "the kernel has no soft-dirty bit: it needs "
		  "CONFIG_MEM_SOFT_DIRTY (not on arm64), and access to "
		  "/proc/self/pagemap and clear_refs";
	if (r)
		return 1 - r;
	r = try_page(scratch);
	atomic_store(&tried, 1 - r);
	return r;
}

const struct ww_backend ww_backend_softdirty = {
	.name = "soft-dirty",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_NO_THREAD | WW_CAP_REMOTE,
	.kinds = WW_TAKES_ANON, /* reclaim drops the bits of others */
	.takes_spans = true,
	.one_prot_an_area = true,
	.plain_pages = true,
	.priv_bytes = sizeof(struct ww_soft),
	.state_bytes = soft_state_bytes,
	.init_state = soft_init_state,
	.attach = soft_attach,
	.collect = soft_collect,
	.rearm = soft_rearm,
	.probe = soft_probe,
	.open = soft_open,
	.close = soft_close,
	.arm = soft_arm,
	.detach = soft_detach,
	.begin = soft_begin,
	.protect = soft_protect,
	.wanted = soft_wanted,
	.discard = soft_discard,
	.fault = ww_softdirty_fault,
	.renew = soft_renew,
	.inherit = soft_inherit,
};
