/* SPDX-License-Identifier: MIT */
/*
 * backend-uffd-async.c - userfaultfd in WP_ASYNC mode and the PAGEMAP_SCAN
 * ioctl (Linux 6.7): the kernel resolves write-protect faults by itself, and
 * tells and re-arms under its own page-table lock.
 *
 * Called by the core through the table; calls query.c, maps.c and sys.c.
 *
 * Private anonymous memory is armed lazily: registering is O(1), and a page
 * that does not exist yet is not protected. Its first write makes it appear
 * unprotected, thus dirty. A read makes a zero page appear, unprotected too; it
 * is told by PFNZERO and dropped here, not in the kernel: KSM and splits of
 * huge pages may turn a page that was written into a zero page, so one that was
 * ever seen populated (a bitmap) counts nevertheless. All other memory loses
 * its entries under reclaim, and is protected up front.
 *
 * Invariant: a scan that re-arms hands each page that it re-armed to the query,
 * or to the populated bitmap if it was a zero page.
 */
#include <errno.h>
#include <stdlib.h>

#include "kernel/sys.h"
#include "kernel/uapi/userfaultfd.h"
#include "backends/uffd-async.h"
#include "kernel/uffd.h"

static struct ww_bits *populated(struct ww_area *a)
{
	return &((struct ww_uffd_area *)a->state)->populated;
}

static size_t uffd_state_bytes(size_t npages)
{
	return sizeof(struct ww_uffd_area) + ww_bits_bytes(npages);
}

/* --- arming --- */

/* Re-arm [start, end), telling nobody but the populated bitmap. */
static int rearm_kind(struct ww *ww, const struct ww_span *span,
		      enum ww_kind kind, uintptr_t start, uintptr_t end)
{
	struct page_region vec[WW_SCAN_VEC];
	struct ww_scan s = { .start = start, .end = end, .kind = kind };

	s.flags = PM_SCAN_WP_MATCHING;
	s.vec = vec;
	s.vec_len = kind == WW_KIND_ANON ? WW_SCAN_VEC : 0;
	while (s.start < end) {
		int r = ww_uffd_scan(ww, &s);
		size_t i;

		for (i = 0; i < s.vec_len && s.vec[i].end; i++)
			if (!(s.vec[i].categories & PAGE_IS_PFNZERO))
				ww_span_each(span, (uintptr_t)s.vec[i].start,
					     (uintptr_t)s.vec[i].end,
					     ww_uffd_note_populated);
		if (r < 0)
			return r;
		s.start = s.walk_end;
	}
	return 0;
}

static int register_range(const struct ww *ww, const struct ww_span *span,
			  enum ww_kind kind, uintptr_t start, uintptr_t end)
{
	const struct ww_uffd_async *u = ww->priv;
	int r = 0;

	/* In another process it is for that process to do. */
	if (!ww_process_is_other(&ww->process))
		r = ww_maps_settle(start, end,
				   kind == WW_KIND_ANON &&
					   ww_uffd_keeps_huge(span));
	return r < 0 ? r : ww_uffd_register(&u->uffd, start, end);
}

static int arm(struct ww *ww, const struct ww_span *span, enum ww_kind kind,
	       uintptr_t start, uintptr_t end)
{
	const struct ww_uffd_async *u = ww->priv;
	int r = register_range(ww, span, kind, start, end);

	if (r < 0)
		return r;
	if (kind == WW_KIND_ANON)
		r = rearm_kind(ww, span, kind, start, end);
	else
		r = ww_uffd_protect(&u->uffd, start, end);
	if (r < 0)
		ww_uffd_unregister(&u->uffd, start, end);
	return r;
}

static int uffd_attach(struct ww *ww, struct ww_area *a)
{
	struct ww_slice all = { a->start, a->end, a };
	struct ww_bits *bits = populated(a);

	ww_bits_init(bits, (struct ww_uffd_area *)a->state + 1,
		     ww_area_page(a, a->end));
	return arm(ww, &(struct ww_span){ &all, 1 }, a->kind, a->start, a->end);
}

/* What goes along a walk over the mappings. */
struct walk {
	struct ww *ww;
	const struct ww_span *span;
	struct ww_query *q;
};

static int unregister_map(void *arg, const struct ww_map *map)
{
	const struct ww_uffd_async *u = arg;

	ww_uffd_unregister(&u->uffd, map->start, map->end);
	return 0;
}

static void uffd_detach(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct ww_uffd_async *u = ww->priv;

	(void)a;
	/* Explicitly: closing the descriptor does not do it while a fork child
	 * holds a copy. The kernel drops the protection with it. */
	if (ww_uffd_unregister(&u->uffd, start, end) < 0)
		ww_maps_each(&ww->maps, start, end, unregister_map, u);
}

/* --- queries --- */

/* Tracking was lost: arm the mapping that is there now as what it is. */
static int recover(struct ww *ww, const struct ww_span *span,
		   const struct ww_map *map)
{
	int r;

	if (map->huge)
		return -EOPNOTSUPP;
	if (map->kind != span->slice[0].area->kind)
		ww_span_each(span, map->start, map->end, ww_area_note_mixed);
	r = arm(ww, span, map->kind, map->start, map->end);
	/* gone since it was found? */
	return r < 0 && !ww_sys_is_mapped(map->start) ? 0 : r;
}

static int collect_map(void *arg, const struct ww_map *map)
{
	const struct walk *w = arg;
	struct ww_query *q = w->q;
	int r;

	if (ww_query_full(q))
		return 0;
	r = ww_uffd_collect(w->ww, map->kind, map->start, map->end, q);
	if (r != -EPERM)
		return r;
	r = recover(w->ww, w->span, map);
	if (r < 0)
		return r;
	/* Pending only now: a store between the two was before the arming or
	 * is seen by it; marked first, another query could take the mark, and
	 * a store before the arming would be lost. */
	ww_span_each(w->span, map->start, map->end, ww_area_note_lost);
	ww_query_settled(q, map->end);
	return 0;
}

static int uffd_begin(struct ww *ww, const struct ww_query *q)
{
	struct ww_uffd_async *u = ww->priv;

	(void)q;
	return ww_pagemap_ok(&u->pagemap) ? 0 : -EPERM;
}

static int uffd_collect(struct ww *ww, uintptr_t start, uintptr_t end,
			struct ww_query *q)
{
	const struct ww_area *a = q->span.slice[0].area;
	int r = -EPERM;

	if (!atomic_load(&a->mixed))
		r = ww_uffd_collect(ww, a->kind, start, end, q);
	if (r != -EPERM)
		return r;
	/* Some mapping is not registered, or not of the area's kind. What was
	 * found until then is in q; go on mapping by mapping. */
	if (q->pos > start)
		start = q->pos;
	r = ww_maps_each(&ww->maps, start, end, collect_map,
			 &(struct walk){ ww, &q->span, q });
	if (r == 0)
		ww_query_settled(q, end);
	return r;
}

static int rearm_map(void *arg, const struct ww_map *map)
{
	const struct walk *w = arg;
	int r = rearm_kind(w->ww, w->span, map->kind, map->start, map->end);

	return r == -EPERM ? recover(w->ww, w->span, map) : r;
}

static int uffd_rearm(struct ww *ww, const struct ww_span *span,
		      uintptr_t start, uintptr_t end)
{
	const struct ww_area *a = span->slice[0].area;
	struct ww_uffd_async *u = ww->priv;
	int r = -EPERM;

	if (!ww_pagemap_ok(&u->pagemap))
		return -EPERM;
	if (!atomic_load(&a->mixed))
		r = rearm_kind(ww, span, a->kind, start, end);
	if (r != -EPERM)
		return r;
	return ww_maps_each(&ww->maps, start, end, rearm_map,
			    &(struct walk){ ww, span, NULL });
}

/* --- the program's changes --- */

static int uffd_mprotect(struct ww *ww, struct ww_area *a, uintptr_t start,
			 uintptr_t end, int prot)
{
	(void)ww;
	(void)a;
	return ww_sys_mprotect(start, end - start, prot);
}

static int uffd_discard(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct ww_slice s = { start, end, a };
	int r;

	r = uffd_rearm(ww, &(struct ww_span){ &s, 1 }, start, end);
	if (r < 0)
		return r;
	if (atomic_load(&a->mixed)) /* as that may have found */
		return -EOPNOTSUPP;
	/* What is dropped never was; before the drop, as a page that another
	 * thread makes behind it may be noted again. */
	if (a->kind == WW_KIND_ANON)
		ww_uffd_forget_populated(a, start, end);
	return ww_maps_drop(start, end);
}

/* --- descriptors, probe --- */

/* Before, swapped pages could look clean in it (6.7 and 6.8). */
static bool superset_is_one(void)
{
	struct ww_version v = ww_kernel_version();

	return v.major > 6 || (v.major == 6 && v.minor >= 10);
}

static void close_descriptors(struct ww_uffd_async *u)
{
	ww_fd_finish(&u->pagemap.fd);
	ww_fd_finish(&u->uffd);
}

static int open_descriptors(struct ww_uffd_async *u,
			    const struct ww_process *process,
			    const struct ww_options *o, const char **reason)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC };
	int r;

	*u = (struct ww_uffd_async){ WW_FD_NONE,
				     { WW_FD_NONE, false, 0 },
				     superset_is_one() };
	r = ww_uffd_open(&u->uffd, o, NULL, reason);
	if (r < 0)
		return r;
	*reason = "the kernel has no WP_ASYNC: needs Linux 6.7 on x86-64, 6.10 "
		  "on arm64, CONFIG_PTE_MARKER_UFFD_WP";
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
static int try_page(struct ww_uffd_async *u, volatile char *page, size_t len)
{
	uintptr_t at = (uintptr_t)page;
	struct page_region vec[1];
	struct ww_scan s = { .start = at, .end = at + len };
	int i, r = ww_uffd_register(&u->uffd, at, at + len);

	s.kind = WW_KIND_ANON;
	s.vec = vec;
	s.vec_len = 1;
	for (i = 0; r == 0 && i < 2; i++) {
		page[0] = 1;
		s.flags = PM_SCAN_WP_MATCHING;
		r = ww_pagemap_scan(&u->pagemap, &s);
		if (r != 1)
			return r < 0 ? r : -ENOSYS;
		s.flags = 0;
		r = ww_pagemap_scan(&u->pagemap, &s);
		if (r > 0)
			return -ENOSYS;
	}
	return r;
}

static int try_it(struct ww_uffd_async *u, const char **reason)
{
	size_t len = ww_sys_page_size();
	void *page;
	int r = ww_sys_mmap(len, &page);

	*reason = "no memory for a scratch page";
	if (r < 0)
		return r;
	*reason = "the kernel does not track writes as it should";
	r = try_page(u, page, len);
	ww_sys_munmap(page, len);
	return r;
}

static int uffd_probe(const struct ww_options *options, const char **reason,
		      unsigned *caps)
{
	struct ww_uffd_async u;
	int r;

	(void)caps;
	if (kernel_loses_data()) {
		*reason =
			"Linux 6.7.0 to 6.8.9 lose data under write-protection "
			"(CVE-2024-36943): update the kernel, or set "
			"WRITEWATCH_TRUST_KERNEL=1 if it has the fix";
		return -EOPNOTSUPP;
	}
	/* One that is lent can be set up only once: opening it tells. */
	if (options && options->flags & WW_OPEN_UFFD)
		return 0;
	r = open_descriptors(&u, NULL, options, reason);
	if (r < 0)
		return r;
	r = try_it(&u, reason);
	close_descriptors(&u);
	return r;
}

static void uffd_close(struct ww *ww)
{
	close_descriptors(ww->priv);
	free(ww->priv);
}

static int uffd_open(struct ww *ww, const struct ww_options *options)
{
	const char *reason;
	struct ww_uffd_async *u = malloc(sizeof(*u));
	int r;

	/* A userfaultfd works on the memory of the process that made it. */
	if (ww_process_is_other(&ww->process) &&
	    !(options->flags & WW_OPEN_UFFD)) {
		free(u);
		return -EOPNOTSUPP;
	}
	if (!u)
		return -ENOMEM;
	r = open_descriptors(u, &ww->process, options, &reason);
	if (r < 0) {
		free(u);
		return r;
	}
	ww->priv = u;
	/* Its huge pages are not ours to turn off. */
	if (ww_process_is_other(&ww->process)) {
		ww->caps &= ~WW_CAP_EXACT;
	} else if (options->flags & WW_OPEN_UFFD) {
		r = try_it(u, &reason); /* the probe could not */
		if (r < 0)
			uffd_close(ww);
	}
	return r;
}

/* --- fork child --- */

static int uffd_renew(struct ww *ww)
{
	struct ww_uffd_async *u = ww->priv;
	const char *reason;

	/* Copies of the parent's, which work on the parent's memory. */
	close_descriptors(u);
	return open_descriptors(u, NULL, NULL, &reason);
}

static int inherit_map(void *arg, const struct ww_map *map)
{
	const struct walk *w = arg;
	const struct ww_uffd_async *u = w->ww->priv;
	int r;

	if (map->huge)
		return 0;
	r = register_range(w->ww, w->span, map->kind, map->start, map->end);
	if (r == -EOPNOTSUPP || r == -EBUSY)
		return 0; /* its query says so, as in the parent */
	/* The kernel cleared the protection in the child, so private pages that
	 * exist are dirty as they are. */
	if (r == 0 && map->kind != WW_KIND_ANON) {
		r = ww_uffd_protect(&u->uffd, map->start, map->end);
		ww_span_each(w->span, map->start, map->end, ww_area_mark);
	}
	return r;
}

static int uffd_inherit(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct ww_slice s = { start, end, a };

	return ww_maps_each(
		&ww->maps, start, end, inherit_map,
		&(struct walk){ ww, &(struct ww_span){ &s, 1 }, NULL });
}

const struct ww_backend ww_backend_uffd_async = {
	.name = "uffd-async",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_KERNEL_WRITES | WW_CAP_EXACT |
		WW_CAP_SHARED | WW_CAP_NO_SIGNAL | WW_CAP_NO_THREAD |
		WW_CAP_REMOTE | WW_CAP_FOREIGN_MPROTECT,
	.modes = WW_WATCH_HUGE | WW_WATCH_HOT_OK,
	.joins = true,
	.probe = uffd_probe,
	.open = uffd_open,
	.close = uffd_close,
	.state_bytes = uffd_state_bytes,
	.attach = uffd_attach,
	.detach = uffd_detach,
	.renew = uffd_renew,
	.inherit = uffd_inherit,
	.begin = uffd_begin,
	.collect = uffd_collect,
	.rearm = uffd_rearm,
	.protect = uffd_mprotect,
	.discard = uffd_discard,
};
