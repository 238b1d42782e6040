/* SPDX-License-Identifier: MIT */
/*
 * uffd-async.c - userfaultfd in WP_ASYNC mode and the PAGEMAP_SCAN ioctl (Linux
 * 6.7): the kernel resolves write-protect faults by itself, and reports and
 * re-arms under its own page-table lock.
 *
 * Called by the core through the table; calls uffd-async-collect.c, uffd.c and
 * pagemap.c.
 *
 * Private anonymous memory is armed lazily: registering is O(1), and a page
 * that does not exist yet is not protected. Its first write makes it appear
 * unprotected, thus dirty. A read makes a zero page appear, unprotected too.
 * Zero pages (PFNZERO) are left out of reports here, not in the kernel: KSM and
 * splits of huge pages may turn a page that was written into a zero page, so
 * one that was ever seen populated (a bitmap) is reported nevertheless. All
 * other memory loses its entries under reclaim, and is protected up front.
 *
 * Invariant: a scan that re-arms hands each page that it re-armed to the query,
 * or to the populated bitmap if it was a zero page.
 */
#include "backends/uffd-async.h"

#include <errno.h>

#include "kernel/advice.h"
#include "kernel/sys.h"
#include "kernel/uapi/userfaultfd.h"
#include "kernel/uffd.h"

static size_t async_state_bytes(size_t npages)
{
	return sizeof(struct ww_async_area) + ww_bits_bytes(npages);
}

static void async_init_state(struct ww_area *a)
{
	ww_bits_init(ww_async_populated(a),
		     (struct ww_async_area *)a->state + 1,
		     ww_area_page(a, a->end));
}

/* --- arming --- */

/* existing: what to ask for where not all pages exist. */
static int rearm(struct ww *ww, const struct ww_span *span,
		 enum ww_asked existing)
{
	struct ww_scan s = { .start = ww_span_start(span),
			     .flags = PM_SCAN_WP_MATCHING };
	uintptr_t end = ww_span_end(span);
	struct ww_async_room room;
	int r = 0;

	ww_async_room_take(&room);
	while (r >= 0 && s.start < end) {
		unsigned discards = ww_async_discards(ww);

		s.end = ww_async_stretch(ww, span, s.start, &s.asked);
		s.vec_len = 0; /* which pages were written does not matter */
		if (s.asked == WW_ASK_WRITTEN) {
			r = ww_async_scan(ww, &s, &room, span->slice[0].area);
			ww_async_missed(ww, span, discards);
		} else {
			s.asked = existing;
			r = ww_async_note_existing(ww, span, &s, &room);
		}
		s.start = s.end;
	}
	ww_async_room_drop(&room);
	return r < 0 ? r : 0;
}

static int async_attach(struct ww *ww, const struct ww_slice *s,
			enum ww_kind kind)
{
	const struct ww_async *u = ww->priv;
	struct ww_span span = { s, 1, kind };
	int r = ww_pagemap_ok(&u->pagemap) ? 0 : -EPERM;

	if (r == 0)
		r = ww_uffd_register(&u->uffd, s->start, s->end);
	if (r < 0)
		return r;
	/* If the memory was replaced, its populated bits are wrong. */
	ww_async_forget_populated(s->area, s->start, s->end);
	/* All that is there is noted: a late reset of a tracker that watched it before
	 * may have protected it already. */
	if (kind == WW_KIND_ANON)
		r = rearm(ww, &span, WW_ASK_THERE);
	else
		r = ww_uffd_protect(&u->uffd, s->start, s->end);
	if (r < 0)
		ww_uffd_unregister(&u->uffd, s->start, s->end);
	return r;
}

static int unregister_map(void *arg, const struct ww_map *map)
{
	const struct ww_async *u = arg;

	ww_uffd_unregister(&u->uffd, map->start, map->end);
	return 0;
}

static void async_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	struct ww_async *u = ww->priv;

	if (!open)
		return; /* the registration goes with the mapping */
	/* Explicitly: closing the descriptor does not unregister while a fork
	 * child holds a copy. The kernel drops the protection as well. */
	if (ww_uffd_unregister(&u->uffd, s->start, s->end) < 0)
		ww_maps_each(&ww->maps, s->start, s->end, unregister_map, u);
}

/* --- queries --- */

WW_OFTEN static int async_begin(struct ww *ww, const struct ww_query *q)
{
	struct ww_async *u = ww->priv;

	return ww_pagemap_ok(&u->pagemap) ? 0 : -EPERM;
}

static int async_rearm(struct ww *ww, const struct ww_span *span)
{
	struct ww_async *u = ww->priv;

	return ww_pagemap_ok(&u->pagemap) ? rearm(ww, span, WW_ASK_EXISTING)
					  : -EPERM;
}

/* --- the program's changes --- */

static void note_existing(struct ww *ww, const struct ww_span *span)
{
	struct ww_scan s = { .start = ww_span_start(span),
			     .end = ww_span_end(span),
			     .asked = WW_ASK_THERE };
	struct ww_async_room room;

	ww_async_room_take(&room);
	ww_async_note_existing(ww, span, &s, &room);
	ww_async_room_drop(&room);
}

/* Dropped pages lose their populated bits. A query or reset beside this may have
 * seen a page before the drop, and note it afterwards (ww_async_note()), or take
 * the page for written because there is none any more (end_before_gone()):
 * `discards` shows both. What is there behind the drop was written since, even if
 * another thread has reset it by now: it is noted. */
static int async_discard(struct ww *ww, const struct ww_slice *s)
{
	struct ww_span span = { s, 1, s->area->kind };
	struct ww_async *u = ww->priv;
	int r = async_rearm(ww, &span);

	if (r < 0)
		return r;
	if (atomic_load(&s->area->mixed)) /* other memory was put there */
		return -EOPNOTSUPP;
	atomic_fetch_add(&u->discards, 1);
	ww_async_forget_populated(s->area, s->start, s->end);
	r = ww_advise_drop(s->start, s->end);
	atomic_fetch_add(&u->discards, 1);
	ww_async_forget_populated(s->area, s->start, s->end);
	if (span.kind == WW_KIND_ANON)
		note_existing(ww, &span);
	return r;
}

/* --- descriptors, probe --- */

static void close_descriptors(struct ww_async *u)
{
	ww_fd_finish(&u->pagemap.fd);
	ww_fd_finish(&u->uffd);
}

static int open_descriptors(struct ww_async *u,
			    const struct ww_process *process,
			    const struct ww_options *o, const char **reason)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC };
	int r;

	*u = (struct ww_async){ .fast = false };
	u->uffd = WW_FD_NONE;
	u->pagemap.fd = WW_FD_NONE;
	u->fast = ww_version_at_least(ww_kernel_version(), 6, 10);
	r = ww_uffd_open(&u->uffd, o, NULL, reason);
	if (r < 0)
		return r;
	*reason = "the kernel has no asynchronous write-protection by "
		  "userfaultfd: it needs Linux 6.7 on x86-64, 6.10 on arm64, "
		  "6.19 on riscv64 with the extension Svrsw60t59b, and "
		  "CONFIG_PTE_MARKER_UFFD_WP; other architectures have none";
	r = ww_sys_ioctl(u->uffd.fd, UFFDIO_API, &api);
	if (r < 0) {
		r = r == -EINVAL ? -ENOSYS : r;
		goto err;
	}
	r = ww_pagemap_open(&u->pagemap.fd, process, o, reason);
	if (r < 0)
		goto err;
	*reason = "the kernel has no PAGEMAP_SCAN: needs Linux 6.7";
	r = ww_pagemap_init(&u->pagemap);
	if (r < 0) {
		r = r == -ENOTTY ? -ENOSYS : r;
		goto err;
	}
	return 0;
err:
	close_descriptors(u);
	return r;
}

/* 6.7.0 to 6.8.9 write back a stale page-table entry when they protect a page,
 * and lose data under reclaim (CVE-2024-36943). Only the version shows it. */
static bool kernel_loses_data(void)
{
	const char *trust = ww_sys_getenv("WRITEWATCH_TRUST_KERNEL");
	struct ww_version v = ww_kernel_version();

	if ((trust && *trust && *trust != '0') ||
	    ww_sys_exists("/proc/version_signature"))
		return false;
	return v.major == 6 && (v.minor == 7 || (v.minor == 8 && v.patch < 10));
}

/* The real thing on a page: written is dirty, re-armed is clean, and again. */
static int try_page(const struct ww_async *u, volatile char *page)
{
	uintptr_t at = (uintptr_t)page;
	struct page_region vec[1];
	struct ww_scan s = { .start = at,
			     .end = at + ww_sys_page_size(),
			     .asked = WW_ASK_EXISTING,
			     .vec = vec,
			     .vec_len = 1 };
	int i, r = ww_uffd_register(&u->uffd, s.start, s.end);

	for (i = 0; r == 0 && i < 2; i++) {
		page[0] = 1;
		s.flags = PM_SCAN_WP_MATCHING;
		vec[0].end = 0;
		r = ww_pagemap_scan(&u->pagemap, &s);
		if (r != 1)
			return r < 0 ? r : -ENOSYS;
		s.flags = 0;
		vec[0].end = 0;
		r = ww_pagemap_scan(&u->pagemap, &s);
		if (r > 0)
			return -ENOSYS;
	}
	return r;
}

/* scratch NULL: not tried. On failure nothing is left open. */
static int set_up(struct ww_async *u, const struct ww_process *process,
		  const struct ww_options *o, volatile char *scratch,
		  const char **reason)
{
	int r;

	if (kernel_loses_data()) {
		*reason =
			"Linux 6.7.0 to 6.8.9 lose data under write-protection "
			"(CVE-2024-36943): update the kernel, or set "
			"WRITEWATCH_TRUST_KERNEL=1 if it has the fix";
		return -EOPNOTSUPP;
	}
	r = open_descriptors(u, process, o, reason);
	if (r < 0 || !scratch)
		return r;
	*reason = "the kernel does not track writes as it should";
	r = try_page(u, scratch);
	if (r < 0)
		close_descriptors(u);
	return r;
}

static int async_probe(const struct ww_options *options, volatile char *scratch,
		       const char **reason, unsigned *caps)
{
	struct ww_async u;
	int r = set_up(&u, NULL, options, scratch, reason);

	if (r == 0)
		close_descriptors(&u);
	return r;
}

static void async_close(struct ww *ww)
{
	close_descriptors(ww->priv);
}

static int async_open(struct ww *ww, const struct ww_options *options,
		      volatile char *scratch, const char **reason)
{
	struct ww_async *u = ww->priv;
	int r;

	if (!ww_process_is_other(&ww->process))
		return set_up(u, &ww->process, options, scratch, reason);
	/* A userfaultfd works on the memory of the process that made it. */
	*reason = "another process's userfaultfd is needed (WW_OPEN_UFFD)";
	if (!(options->flags & WW_OPEN_UFFD))
		return -EOPNOTSUPP;
	r = set_up(u, &ww->process, options, NULL, reason);
	if (r == 0) {
		u->uffd.any_generation = true;
		/* The other process keeps its huge pages. */
		ww->caps &= ~(unsigned)WW_CAP_EXACT;
	}
	return r;
}

/* --- fork child --- */

static int async_renew(struct ww *ww)
{
	struct ww_async *u = ww->priv;
	const char *reason;

	/* The parent's descriptors work on the parent's memory. */
	close_descriptors(u);
	return open_descriptors(u, NULL, NULL, &reason);
}

/* The bitmap misses a page that was written and never reported. If such a page
 * was wiped it is zeros, as it was when it was watched. And it misses what a query of
 * another thread had reset, and not noted yet, when the process forked; and what was
 * marked because tracking was lost. */
static bool async_was_empty(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	const struct ww_async_area *state = a->state;
	size_t run, run_end;

	if (atomic_load(&state->missed) || atomic_load(&a->lost) ||
	    ww_readers_left_behind(&a->users))
		return false;
	return !ww_bits_next(ww_async_populated(a), ww_area_page(a, start),
			     ww_area_page(a, end), 1, false, &run, &run_end);
}

/* In a child: a page that the parent knew and that is not there any more was dropped, or
 * other memory was put in its place. The bits go only when all is marked: the child may
 * fork meanwhile. */
static void mark_populated(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t at = ww_area_page(a, start), stop = ww_area_page(a, end);
	size_t run, run_end;

	for (; ww_bits_next(ww_async_populated(a), at, stop, SIZE_MAX, false,
			    &run, &run_end);
	     at = run_end)
		ww_area_mark(a, ww_area_at(a, run), ww_area_at(a, run_end));
	ww_async_forget_populated(a, start, end);
}

/* The kernel cleared the protection in the child, so private pages that exist
 * are dirty as they are, and are noted again when they are reported. */
static int async_inherit(struct ww *ww, const struct ww_slice *s,
			 enum ww_kind kind)
{
	const struct ww_async *u = ww->priv;
	int r = ww_uffd_register(&u->uffd, s->start, s->end);

	mark_populated(s->area, s->start, s->end);
	if (r == 0 && kind != WW_KIND_ANON)
		r = ww_uffd_protect(&u->uffd, s->start, s->end);
	return r;
}

const struct ww_backend ww_backend_uffd_async = {
	.name = "uffd-async",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_KERNEL_WRITES | WW_CAP_EXACT |
		WW_CAP_SHARED | WW_CAP_NO_SIGNAL | WW_CAP_NO_THREAD |
		WW_CAP_REMOTE | WW_CAP_FOREIGN_MPROTECT | WW_CAP_FOREIGN_WRITES,
	.modes = WW_WATCH_HUGE_OK | WW_WATCH_HOT_OK,
	.kinds = WW_TAKES_ANON | WW_TAKES_FILE | WW_TAKES_SHARED,
	.takes_spans = true,
	.rearms_unasked = true,
	.plain_pages = true,
	.open_tries = true,
	.priv_bytes = sizeof(struct ww_async),
	.state_bytes = async_state_bytes,
	.init_state = async_init_state,
	.attach = async_attach,
	.collect = ww_async_collect,
	.rearm = async_rearm,
	.probe = async_probe,
	.open = async_open,
	.close = async_close,
	.detach = async_detach,
	.begin = async_begin,
	.discard = async_discard,
	.renew = async_renew,
	.was_empty = async_was_empty,
	.inherit = async_inherit,
};
