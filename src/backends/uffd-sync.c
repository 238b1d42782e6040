/* SPDX-License-Identifier: MIT */
/*
 * backend-uffd-sync.c - userfaultfd write-protection, with a thread that takes
 * the protection from a page when it is written (Linux 5.13).
 *
 * Called by the core through the table; calls uffd.c, uffd-thread.c, pagemap.c
 * and maps.c.
 *
 * What is dirty is read from the page-table entries, not kept from the faults:
 * bit 57 of pagemap says that a page is protected still. So whatever the kernel
 * does to a page that makes it writable makes it dirty. Private pages count
 * when they exist; shared ones, whose entries the kernel may drop, are dirty
 * whenever they are not protected. Only pages that were just reported are
 * protected again: a write between the two hits a page that is reported anyway.
 *
 * Before Linux 6.4 a page that does not exist can not be protected, so one that
 * was only read looks written.
 *
 * Invariant: a page is protected only after it was reported, or as part of a
 * reset.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "core/backend.h"
#include "kernel/pagemap.h"
#include "kernel/uapi/userfaultfd.h"
#include "backends/uffd-sync-thread.h"
#include "kernel/uffd.h"

struct sync {
	struct ww_fd uffd, pagemap;
	struct ww_uffd_thread thread;
	bool unpopulated;   /* pages that do not exist can be protected */
	bool shared;	    /* memory of memfd and shmem too */
	bool kernel_faults; /* kernel writes wait for the thread too */
};

/* --- entries --- */

enum { CLEAN, DIRTY, NONE };

static int judge_private(uint64_t entry)
{
	/* a guard page (6.13) looks swapped */
	if (entry & (PM_UFFD_WP | PM_GUARD))
		return CLEAN;
	return entry & (PM_PRESENT | PM_SWAP) ? DIRTY : NONE;
}

static int judge_shared(uint64_t entry)
{
	if (entry & PM_UFFD_WP)
		return CLEAN;
	return entry ? DIRTY : NONE;
}

typedef int judge_fn(uint64_t entry);

static judge_fn *judge(enum ww_kind kind)
{
	return kind == WW_KIND_ANON ? judge_private : judge_shared;
}

/* --- protecting, and memory that was replaced --- */

struct walk {
	struct ww *ww;
	const struct ww_span *span;
	struct ww_query *q;
	uintptr_t told; /* pages below it were reported by this query */
	uintptr_t nothing_end;
};

static uintptr_t span_end(const struct ww_span *span)
{
	return span->slice[span->n - 1].end;
}

static int register_range(struct ww *ww, uintptr_t start, uintptr_t end)
{
	struct sync *s = ww->priv;
	int r = ww_maps_settle(start, end, false);

	return r < 0 ? r : ww_uffd_register(&s->uffd, start, end);
}

typedef int change_fn(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

/* Before about 6.12 only within one mapping, else -ENOENT; and one may become
 * several while we look. What is gone by then is passed over. */
static int change_pieces(const struct sync *s, change_fn *change,
			 uintptr_t start, uintptr_t end, size_t page)
{
	uintptr_t half = start + (end - start) / page / 2 * page;
	int r = change(&s->uffd, start, end);

	if (r != -ENOENT || half == start)
		return r == -ENOENT ? 0 : r;
	r = change_pieces(s, change, start, half, page);
	return r < 0 ? r : change_pieces(s, change, half, end, page);
}

/* A mapping that was put there behind our back: arm it as what it is; it is
 * wholly dirty once. */
static int recover(const struct walk *w, const struct ww_map *map)
{
	uintptr_t from = map->start > w->told ? map->start : w->told;
	struct sync *s = w->ww->priv;
	int r;

	if (map->huge)
		return -EOPNOTSUPP;
	r = register_range(w->ww, map->start, map->end);
	if (r == 0)
		r = change_pieces(s, ww_uffd_protect, map->start, map->end,
				  w->ww->page);
	if (r < 0) /* gone since it was found? */
		return ww_sys_is_mapped(map->start) ? r : 0;
	if (map->kind != w->span->slice[0].area->kind)
		ww_span_each(w->span, map->start, map->end, ww_area_note_mixed);
	/* Pending only now: marked first, another query could take the mark,
	 * and a store before the arming would be lost. */
	if (from < map->end)
		ww_span_each(w->span, from, map->end, ww_area_note_lost);
	return 0;
}

/* Is it ours still? To unprotect what does not exist changes nothing, and fails
 * where nothing is registered. Only for mappings that hold nothing. */
static bool is_registered(const struct walk *w, uintptr_t start, uintptr_t end)
{
	struct sync *s = w->ww->priv;

	return ww_uffd_unprotect(&s->uffd, start, end) != -ENOENT;
}

/* -ENOENT of a range: it is several mappings (6.1), or some were replaced. Of a
 * page: it is not registered, and neither is the rest of its mapping. */
static int protect_map(void *arg, const struct ww_map *map)
{
	const struct walk *w = arg;
	struct sync *s = w->ww->priv;
	struct ww_map half = *map;
	int r = ww_uffd_protect(&s->uffd, map->start, map->end);

	if (r != -ENOENT)
		return r;
	if (ww_uffd_protect(&s->uffd, map->start, map->start + w->ww->page) ==
	    -ENOENT)
		return recover(w, map);
	half.end = map->start +
		   (map->end - map->start) / w->ww->page / 2 * w->ww->page;
	if (half.end == map->start)
		return 0;
	r = protect_map(arg, &half);
	half.start = half.end;
	half.end = map->end;
	return r < 0 ? r : protect_map(arg, &half);
}

static int protect(const struct walk *w, uintptr_t start, uintptr_t end)
{
	struct sync *s = w->ww->priv;
	int r;

	if (!ww_fd_ok(&s->uffd))
		return -EPERM;
	r = ww_uffd_protect(&s->uffd, start, end);
	return r == -ENOENT ? ww_maps_each(&w->ww->maps, start, end,
					   protect_map, (void *)w)
			    : r;
}

/* --- queries --- */

static int recover_map(void *arg, const struct ww_map *map)
{
	const struct walk *w = arg;

	if (map->start >= w->nothing_end)
		return 1;
	/* its first page is one of those that do not exist */
	return is_registered(w, map->start, map->start + w->q->page)
		       ? 0
		       : recover(w, map);
}

/* Nothing is there, and nothing protects it. All of a mapping that was replaced
 * is recovered at once, up to the end of the span. */
static int found_nothing(struct walk *w, uintptr_t start, uintptr_t end)
{
	if (is_registered(w, start, end))
		return 0;
	w->told = w->q->pos;
	w->nothing_end = end;
	return ww_maps_each(&w->ww->maps, start, span_end(w->span), recover_map,
			    w);
}

/* Of what is hot the protection stays away. */
static int protect_cold(const struct walk *w, uintptr_t start, uintptr_t end)
{
	struct ww_area *a = w->span->slice[0].area;
	size_t page, stop = ww_area_page(a, end);
	int r = 0;

	if (!a->hot.word)
		return protect(w, start, end);
	for (page = ww_area_page(a, start); r == 0 && page < stop;) {
		uintptr_t from = ww_area_at(a, page);
		bool keep;

		page = ww_hot_run(&a->hot, page, stop, &keep);
		if (!keep)
			r = protect(w, from, ww_area_at(a, page));
	}
	return r;
}

static int found_dirty(void *arg, uintptr_t start, uintptr_t end)
{
	struct walk *w = arg;
	int r = 0;

	w->told = ww_query_offer(w->q, start, end);
	if (w->q->reset && w->told > start)
		r = protect_cold(w, start, w->told);
	return r < 0 ? r : ww_query_full(w->q);
}

static struct ww_bits *pending(struct ww_area *a)
{
	return &a->pending;
}

static int found(void *arg, int class, uintptr_t start, uintptr_t end)
{
	struct walk *w = arg;
	int r;

	if (class != NONE)
		return found_dirty(arg, start, end);
	r = found_nothing(w, start, end);
	/* What was marked was opened too, and is closed again. */
	if (r == 0 && w->q->reset)
		r = ww_span_runs(w->span, start, end, pending, found_dirty, w);
	return r;
}

/* Shared memory that nothing protects is dirty, unless it was replaced. */
static int found_shared_map(void *arg, const struct ww_map *map)
{
	struct walk *w = arg;

	if (ww_query_full(w->q))
		return 1;
	if (is_registered(w, map->start, map->end))
		return found(arg, DIRTY, map->start, map->end);
	w->told = w->q->pos;
	return recover(w, map);
}

static int found_shared(void *arg, int class, uintptr_t start, uintptr_t end)
{
	const struct walk *w = arg;

	return class == NONE ? ww_maps_each(&w->ww->maps, start, end,
					    found_shared_map, arg)
			     : found(arg, class, start, end);
}

static int collect_kind(struct walk *w, enum ww_kind kind, uintptr_t start,
			uintptr_t end)
{
	struct sync *s = w->ww->priv;
	int r = ww_pagemap_runs(&s->pagemap, start, end, judge(kind),
				kind == WW_KIND_ANON ? found : found_shared, w);

	if (r >= 0)
		ww_query_settled(w->q, end);
	return r;
}

static int collect_map(void *arg, const struct ww_map *map)
{
	return collect_kind(arg, map->kind, map->start, map->end);
}

static int sync_collect(struct ww *ww, uintptr_t start, uintptr_t end,
			struct ww_query *q)
{
	const struct ww_area *a = q->span.slice[0].area;
	struct walk w = { ww, &q->span, q, start, 0 };
	struct sync *s = ww->priv;
	int r;

	if (!ww_fd_ok(&s->pagemap) || !ww_fd_ok(&s->uffd))
		return -EPERM;
	if (!atomic_load(&a->mixed))
		r = collect_kind(&w, a->kind, start, end);
	else
		r = ww_maps_each(&ww->maps, start, end, collect_map, &w);
	if (r < 0)
		return r;
	ww_query_settled(q, end);
	return 0;
}

static int sync_rearm(struct ww *ww, const struct ww_span *span,
		      uintptr_t start, uintptr_t end)
{
	return protect(&(struct walk){ ww, span, NULL, start, 0 }, start, end);
}

/* --- attach, detach --- */

static int sync_attach(struct ww *ww, struct ww_area *a)
{
	struct ww_slice all = { a->start, a->end, a };
	struct sync *s = ww->priv;
	int r;

	/* Of files only those in memory, so SHARED is not promised. */
	if (a->kind != WW_KIND_ANON && !s->shared)
		return -EOPNOTSUPP;
	r = register_range(ww, a->start, a->end);
	if (r < 0)
		return r;
	r = protect(
		&(struct walk){ ww, &(struct ww_span){ &all, 1 }, NULL, 0, 0 },
		a->start, a->end);
	if (r < 0)
		ww_uffd_unregister(&s->uffd, a->start, a->end);
	return r;
}

static int release_map(void *arg, const struct ww_map *map)
{
	struct sync *s = arg;

	ww_uffd_let_go(&s->uffd, map->start, map->end);
	return 0;
}

static void sync_detach(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct sync *s = ww->priv;

	(void)a;
	if (!ww_fd_ok(&s->uffd))
		ww_uffd_thread_release(&s->thread, start, end);
	else if (ww_maps_each(&ww->maps, start, end, release_map, s) < 0)
		ww_uffd_let_go(&s->uffd, start, end);
}

/* --- the program's changes --- */

static int sync_mprotect(struct ww *ww, struct ww_area *a, uintptr_t start,
			 uintptr_t end, int prot)
{
	(void)ww;
	(void)a;
	return ww_sys_mprotect(start, end - start, prot);
}

static int sync_discard(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct ww_slice all = { start, end, a };
	int r;

	r = protect(
		&(struct walk){ ww, &(struct ww_span){ &all, 1 }, NULL, 0, 0 },
		start, end);
	if (r < 0)
		return r;
	if (atomic_load(&a->mixed)) /* as that may have found */
		return -EOPNOTSUPP;
	/* The protection goes with the pages: who reads one again makes it look
	 * written. To protect them anew would lose a store that came first. */
	atomic_fetch_or(&a->weaker, WW_CAP_EXACT);
	return ww_maps_drop(start, end);
}

/* The kernel may write to a page that is not protected. */
static int sync_admit(struct ww *ww, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	struct sync *s = ww->priv;

	(void)a;
	/* In a fork child nothing is protected until its first query, and the
	 * descriptor is the parent's. */
	if (atomic_load(&ww->generation) == ww_fork_generation() &&
	    ww_fd_ok(&s->uffd))
		change_pieces(s, ww_uffd_unprotect, start, end, ww->page);
	return 0;
}

/* --- descriptors, probe --- */

static void close_descriptors(struct sync *s)
{
	ww_fd_finish(&s->pagemap);
	ww_fd_finish(&s->uffd);
}

/* The context is used up by the first success, but not by a refusal. */
static int agree(struct sync *s)
{
	const uint64_t wanted[] = {
		UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			UFFD_FEATURE_WP_UNPOPULATED,
		UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
		UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	int r = -EINVAL;
	size_t i;

	for (i = 0; r == -EINVAL && i < sizeof(wanted) / sizeof(wanted[0]);
	     i++) {
		struct uffdio_api api = { .api = UFFD_API,
					  .features = wanted[i] };

		r = ww_sys_ioctl(s->uffd.fd, UFFDIO_API, &api);
		s->unpopulated = wanted[i] & UFFD_FEATURE_WP_UNPOPULATED;
		s->shared = wanted[i] & UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	}
	return r == -EINVAL ? -ENOSYS : r;
}

static int open_descriptors(struct sync *s, const struct ww_options *o,
			    const char **reason)
{
	int r;

	s->pagemap = WW_FD_NONE;
	r = ww_uffd_open(&s->uffd, o, &s->kernel_faults, reason);
	if (r < 0)
		return r;
	*reason = "the kernel has no write-protection by userfaultfd: needs "
		  "Linux 5.13 on x86-64, 6.10 on arm64";
	r = agree(s);
	if (r < 0)
		goto err;
	r = ww_pagemap_open(&s->pagemap, NULL, o, reason);
	if (r < 0)
		goto err;
	return 0;
err:
	close_descriptors(s);
	return r;
}

static void limit_caps(const struct sync *s, unsigned *caps)
{
	if (!s->kernel_faults)
		*caps &= ~WW_CAP_KERNEL_WRITES;
	if (!s->unpopulated)
		*caps &= ~WW_CAP_EXACT;
}

static int entry_of(const struct sync *s, const void *page)
{
	uint64_t entry = 0;
	off_t at = (off_t)((uintptr_t)page / ww_sys_page_size() * 8);

	ww_sys_pread(s->pagemap.fd, &entry, 8, at);
	return judge_private(entry);
}

/* The real thing on a page, but for the fault: written is dirty, protected is
 * clean, and the file tells (5.13). */
static int try_page(const struct sync *s, volatile char *page, size_t len)
{
	uintptr_t at = (uintptr_t)page;
	int r = ww_uffd_register(&s->uffd, at, at + len);

	if (r < 0)
		return r;
	page[0] = 1;
	if (entry_of(s, (void *)at) != DIRTY ||
	    ww_uffd_protect(&s->uffd, at, at + len) < 0 ||
	    entry_of(s, (void *)at) != CLEAN ||
	    ww_uffd_unprotect(&s->uffd, at, at + len) < 0)
		return -ENOSYS;
	page[0] = 2;
	return entry_of(s, (void *)at) == DIRTY ? 0 : -ENOSYS;
}

static int try_it(const struct sync *s, const char **reason)
{
	size_t len = ww_sys_page_size();
	void *page;
	int r = ww_sys_mmap(len, &page);

	*reason = "no memory for a scratch page";
	if (r < 0)
		return r;
	*reason = "pagemap does not tell what is protected: needs Linux 5.13";
	r = try_page(s, page, len);
	ww_sys_munmap(page, len);
	return r;
}

static int sync_probe(const struct ww_options *options, const char **reason,
		      unsigned *caps)
{
	struct sync s;
	int r;

	/* One that is lent can be set up only once: opening it tells. */
	if (options && options->flags & WW_OPEN_UFFD)
		return 0;
	r = open_descriptors(&s, options, reason);
	if (r < 0)
		return r;
	limit_caps(&s, caps);
	r = try_it(&s, reason);
	close_descriptors(&s);
	return r;
}

static int sync_open(struct ww *ww, const struct ww_options *options)
{
	const char *reason;
	struct sync *s;
	void *memory;
	/* Not malloc()ed: the thread may write to it (range.c). */
	int r = ww_sys_mmap(sizeof(*s), &memory);

	if (r < 0)
		return r;
	s = memory;
	r = open_descriptors(s, options, &reason);
	if (r < 0)
		goto err_free;
	if (options->flags & WW_OPEN_UFFD)
		r = try_it(s, &reason); /* the probe could not */
	if (r == 0)
		r = ww_uffd_thread_start(&s->thread, &s->uffd, &ww->ranges);
	if (r < 0)
		goto err_descriptors;
	limit_caps(s, &ww->caps);
	ww->priv = s;
	return 0;
err_descriptors:
	close_descriptors(s);
err_free:
	ww_sys_munmap(s, sizeof(*s));
	return r;
}

static void sync_close(struct ww *ww)
{
	struct sync *s = ww->priv;

	ww_uffd_thread_stop(&s->thread);
	close_descriptors(s);
	ww_sys_munmap(s, sizeof(*s));
}

/* --- fork child --- */

static int sync_renew(struct ww *ww)
{
	struct sync *s = ww->priv;
	const char *reason;
	int r;

	/* The parent's, or ours of a try that failed. */
	ww_uffd_thread_stop(&s->thread);
	/* Copies of the parent's, which work on the parent's memory. */
	close_descriptors(s);
	r = open_descriptors(s, NULL, &reason);
	if (r < 0)
		return r;
	limit_caps(s, &ww->caps);
	return ww_uffd_thread_start(&s->thread, &s->uffd, &ww->ranges);
}

static void not_exact(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	atomic_fetch_or(&a->weaker, WW_CAP_EXACT);
}

static int inherit_map(void *arg, const struct ww_map *map)
{
	const struct walk *w = arg;
	int r;

	if (map->huge)
		return 0;
	r = register_range(w->ww, map->start, map->end);
	if (r == -EOPNOTSUPP || r == -EBUSY)
		return 0; /* its query says so, as in the parent */
	/* The kernel cleared the protection in the child, so private pages that
	 * exist are dirty as they are; so will be what is read first. */
	if (map->kind == WW_KIND_ANON)
		ww_span_each(w->span, map->start, map->end, not_exact);
	if (r == 0 && map->kind != WW_KIND_ANON) {
		r = protect(w, map->start, map->end);
		ww_span_each(w->span, map->start, map->end, ww_area_mark);
	}
	return r;
}

static int sync_inherit(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct ww_slice s = { start, end, a };
	struct ww_span span = { &s, 1 };

	return ww_maps_each(&ww->maps, start, end, inherit_map,
			    &(struct walk){ ww, &span, NULL, 0, 0 });
}

const struct ww_backend ww_backend_uffd_sync = {
	.name = "uffd-sync",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_KERNEL_WRITES | WW_CAP_EXACT |
		WW_CAP_NO_SIGNAL | WW_CAP_FOREIGN_MPROTECT,
	.modes = WW_WATCH_COARSE | WW_WATCH_HOT_OK,
	.joins = true,
	.probe = sync_probe,
	.open = sync_open,
	.close = sync_close,
	.attach = sync_attach,
	.detach = sync_detach,
	.renew = sync_renew,
	.inherit = sync_inherit,
	.collect = sync_collect,
	.rearm = sync_rearm,
	.protect = sync_mprotect,
	.discard = sync_discard,
	.admit = sync_admit,
};
