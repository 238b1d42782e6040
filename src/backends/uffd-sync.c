/* SPDX-License-Identifier: MIT */
/*
 * uffd-sync.c - userfaultfd write-protection, with a thread that takes the
 * protection from a page when it is written (Linux 5.13).
 *
 * Called by the core through the table; calls uffd.c, uffd-sync-thread.c and
 * pagemap.c.
 *
 * What is dirty is read from the page-table entries, not kept from the faults:
 * bit 57 of pagemap says that a page is protected still. So whatever the kernel
 * does to a page that makes it writable makes it dirty. Private pages count
 * when they exist; shared ones, whose entries the kernel may drop, are dirty
 * whenever they are not protected. Only pages that are being reported are
 * protected again.
 *
 * Before Linux 6.4 a page that does not exist can not be protected, so one that
 * was only read looks written. From 6.4 on every page is protected when memory
 * is watched; one without an entry was dropped since. If that was ww_discard()
 * it is clean (a bitmap knows), else its content changed: it is dirty.
 *
 * Invariant: a page that a query protects is stored in its answer, or pending.
 */
#include <errno.h>

#include "backends/uffd-sync-thread.h"
#include "core/backend.h"
#include "kernel/advice.h"
#include "kernel/pagemap.h"
#include "kernel/sys.h"
#include "kernel/uapi/userfaultfd.h"
#include "kernel/uffd.h"

struct sync {
	struct ww_fd uffd, pagemap;
	struct ww_sync_thread thread;
	bool unpopulated; /* pages that do not exist can be protected */
	bool shared; /* memory of memfd and shmem too */
	bool kernel_faults; /* kernel writes wait for the thread too */
};

/* An area's state. */
struct sync_area {
	/* Pages without an entry that are clean nevertheless. */
	struct ww_bits dropped;
};

static struct ww_bits *sync_dropped(struct ww_area *a)
{
	return &((struct sync_area *)a->state)->dropped;
}

static size_t sync_state_bytes(size_t npages)
{
	return sizeof(struct sync_area) + ww_bits_bytes(npages);
}

static void sync_init_state(struct ww_area *a)
{
	ww_bits_init(sync_dropped(a), (struct sync_area *)a->state + 1,
		     ww_area_page(a, a->end));
}

/* --- protecting --- */

typedef int change_fn(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

/* Before about 6.12 only within one mapping, else -ENOENT; a mapping may split
 * meanwhile: so try the halves. -ENOENT of one page: it is not registered. */
static int sync_change(const struct sync *s, change_fn *change, uintptr_t start,
		       uintptr_t end, size_t page)
{
	uintptr_t half = start + (end - start) / page / 2 * page;
	int r = change(&s->uffd, start, end), r2;

	if (r != -ENOENT || half == start)
		return r;
	r = sync_change(s, change, start, half, page);
	if (r < 0 && r != -ENOENT)
		return r;
	r2 = sync_change(s, change, half, end, page);
	return r2 < 0 ? r2 : r;
}

static void set_dropped(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_bits_set(sync_dropped(a), ww_area_page(a, start),
		    ww_area_page(a, end));
}

/* The pages have entries again, which protect them. */
static void clear_dropped(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);

	if (!ww_bits_quiet(sync_dropped(a), first, stop))
		ww_bits_clear(sync_dropped(a), first, stop);
}

struct protecting {
	struct ww *ww;
	bool missing; /* some of it is not registered any more */
};

/* Protect what is not held of a run. Inside of `changers`, so that a thread
 * that begins a hold meanwhile waits, and opens its page after this. */
static int protect_run(void *arg, struct ww_area *a, uintptr_t start,
		       uintptr_t end)
{
	struct protecting *p = arg;
	struct sync *s = p->ww->priv;
	struct ww_ticket ticket = ww_readers_enter(&a->changers);
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r = 0;

	while (r == 0 && page < stop) {
		size_t first = page;
		bool held;

		page = ww_area_held_run(a, page, stop, &held);
		if (held)
			continue;
		r = sync_change(s, ww_uffd_protect, ww_area_at(a, first),
				ww_area_at(a, page), p->ww->page);
		if (r == 0)
			clear_dropped(a, ww_area_at(a, first),
				      ww_area_at(a, page));
	}
	ww_readers_leave(&a->changers, ticket);
	if (r == -ENOENT) {
		p->missing = true;
		r = 0;
	}
	return r;
}

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
	return entry & PM_UFFD_WP ? CLEAN : DIRTY;
}

/* --- queries --- */

struct sync_walk {
	struct ww *ww;
	struct ww_query *q;
	struct protecting p;
};

/* Protect dirty pages, as many as there is room for, then store them: a write
 * between the two hits a page that is reported anyway. */
static int found_dirty(void *arg, uintptr_t start, uintptr_t end)
{
	struct sync_walk *w = arg;
	struct ww_query *q = w->q;
	struct sync *s = w->ww->priv;
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
	r = ww_query_close_each(q, start, end, protect_run, &w->p);
	/* Some mapping was replaced: the core reports it and arms it anew. */
	if (r == 0 && w->p.missing)
		r = -EPERM;
	if (r < 0)
		return r;
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
	struct sync *s = w->ww->priv;
	struct ww_area *a = w->q->span.slice[0].area;
	size_t page = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r = sync_change(s, ww_uffd_unprotect, start, end, w->ww->page);

	if (r < 0 || !s->unpopulated)
		return r == -ENOENT ? -EPERM : r;
	while (r == 0 && page < stop) {
		size_t first = page;

		if (ww_bits_test(sync_dropped(a), page)) {
			page = ww_bits_first_clear(sync_dropped(a), page,
						   stop);
			continue;
		}
		while (page < stop && !ww_bits_test(sync_dropped(a), page))
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

static int found(void *arg, int class, uintptr_t start, uintptr_t end)
{
	if (class == NONE)
		return found_none(arg, start, end);
	return found_dirty(arg, start, end);
}

static int sync_scan(struct ww *ww, struct ww_query *q)
{
	struct sync_walk w = { ww, q, { ww, false } };
	struct sync *s = ww->priv;
	int r = ww_pagemap_runs(&s->pagemap, q->pos, ww_span_end(&q->span),
				q->span.kind == WW_KIND_ANON ? judge_private
							     : judge_shared,
				found, &w);

	if (r >= 0)
		ww_query_done_below(q, ww_span_end(&q->span));
	return r < 0 ? r : 0;
}

/* With signals blocked: no handler forks between the check of the descriptors
 * and their use, and none stops a thread that others wait for. */
static int sync_collect(struct ww *ww, struct ww_query *q)
{
	struct sync *s = ww->priv;
	uint64_t mask;
	int r = -EPERM;

	ww_sys_block_signals(&mask);
	if (ww_fd_ok(&s->pagemap) && ww_fd_ok(&s->uffd))
		r = sync_scan(ww, q);
	ww_sys_restore_signals(mask);
	return r;
}

static int sync_rearm(struct ww *ww, const struct ww_span *span)
{
	struct protecting p = { ww, false };
	struct sync *s = ww->priv;
	uint64_t mask;
	int r = -EPERM;

	ww_sys_block_signals(&mask);
	if (ww_fd_ok(&s->uffd)) {
		ww_turns_wait(&s->thread.turns, ww_span_start(span),
			      ww_span_end(span));
		r = ww_span_each_free(span, ww_span_start(span),
				      ww_span_end(span), protect_run, &p);
	}
	ww_sys_restore_signals(mask);
	return r == 0 && p.missing ? -EPERM : r;
}

/* --- attach, detach --- */

/* In a fork child the thread is started only when memory is armed, which most
 * children never do. */
static int start_thread(struct ww *ww)
{
	struct sync *s = ww->priv;

	if (s->thread.generation)
		return 0;
	return ww_sync_thread_start(&s->thread, &s->uffd, &ww->ranges);
}

static int sync_attach(struct ww *ww, const struct ww_slice *s,
		       enum ww_kind kind)
{
	struct protecting p = { ww, false };
	struct sync *sync = ww->priv;
	int r;

	/* Only files in memory can be registered: SHARED is not promised. */
	if (kind != WW_KIND_ANON && !sync->shared)
		return -EOPNOTSUPP;
	r = start_thread(ww);
	if (r == 0)
		r = ww_uffd_register(&sync->uffd, s->start, s->end);
	if (r < 0)
		return r;
	r = ww_span_each_free(&(struct ww_span){ s, 1, kind }, s->start, s->end,
			      protect_run, &p);
	if (r < 0)
		ww_uffd_unregister(&sync->uffd, s->start, s->end);
	return r;
}

static int release_map(void *arg, const struct ww_map *map)
{
	struct sync *s = arg;

	ww_uffd_let_go(&s->uffd, map->start, map->end);
	return 0;
}

static void sync_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	struct sync *sync = ww->priv;

	if (!ww_fd_ok(&sync->uffd))
		ww_sync_thread_release(&sync->thread, s->start, s->end);
	else if (ww_maps_each(&ww->maps, s->start, s->end, release_map, sync) <
		 0)
		ww_uffd_let_go(&sync->uffd, s->start, s->end);
}

/* --- the program's changes --- */

/* Dropped pages are not protected any more: a load of one makes it look
 * written. To protect them anew would lose a store that came first. */
static int sync_discard(struct ww *ww, const struct ww_slice *s)
{
	struct ww_span span = { s, 1, s->area->kind };
	int r = sync_rearm(ww, &span);

	if (r < 0)
		return r;
	if (atomic_load(&s->area->mixed))
		return -EOPNOTSUPP;
	atomic_fetch_or(&s->area->caps_lost, WW_CAP_EXACT);
	set_dropped(s->area, s->start, s->end);
	return ww_advise_drop(s->start, s->end);
}

static int sync_admit(struct ww *ww, const struct ww_slice *s)
{
	struct sync *sync = ww->priv;
	uint64_t mask;

	ww_sys_block_signals(&mask);
	/* In a fork child nothing is protected until its first query. */
	if (atomic_load(&ww->generation) == ww_fork_generation() &&
	    ww_fd_ok(&sync->uffd))
		sync_change(sync, ww_uffd_unprotect, s->start, s->end,
			    ww->page);
	ww_sys_restore_signals(mask);
	return 0;
}

/* --- descriptors, probe --- */

static void close_descriptors(struct sync *s)
{
	ww_fd_finish(&s->pagemap);
	ww_fd_finish(&s->uffd);
}

/* Most features first: UFFDIO_API may follow a refusal, but not a success. */
static int sync_agree(struct sync *s)
{
	const uint64_t least =
		UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_THREAD_ID;
	const uint64_t wanted[] = {
		least | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			UFFD_FEATURE_WP_UNPOPULATED,
		least | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
		least,
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
	*reason = "the kernel has no write-protection by userfaultfd: it needs "
		  "Linux 5.13 on x86-64, 6.10 on arm64, 6.19 on riscv64 with "
		  "the extension Svrsw60t59b; other architectures have none";
	r = sync_agree(s);
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
		*caps &= ~(unsigned)WW_CAP_KERNEL_WRITES;
	if (!s->unpopulated)
		*caps &= ~(unsigned)WW_CAP_EXACT;
}

static int entry_of(const struct sync *s, uintptr_t page)
{
	uint64_t entry = 0;

	ww_sys_pread(s->pagemap.fd, &entry, 8,
		     (int64_t)(page / ww_sys_page_size()) * 8);
	return judge_private(entry);
}

/* The real thing on a page, except the fault: written is dirty, protected is
 * clean, and the file tells (5.13). */
static int try_page(void *arg, volatile char *page)
{
	const struct sync *s = arg;
	uintptr_t at = (uintptr_t)page, end = at + ww_sys_page_size();
	int r = ww_uffd_register(&s->uffd, at, end);

	if (r < 0)
		return r;
	page[0] = 1;
	if (entry_of(s, at) != DIRTY ||
	    ww_uffd_protect(&s->uffd, at, end) < 0 ||
	    entry_of(s, at) != CLEAN ||
	    ww_uffd_unprotect(&s->uffd, at, end) < 0)
		return -ENOSYS;
	page[0] = 2;
	return entry_of(s, at) == DIRTY ? 0 : -ENOSYS;
}

static int sync_probe(const struct ww_options *options, volatile char *scratch,
		      const char **reason, unsigned *caps)
{
	struct sync s;
	int r;

	/* A lent userfaultfd can be set up only once: sync_open() tries it. */
	if (options && options->flags & WW_OPEN_UFFD)
		return 0;
	r = open_descriptors(&s, options, reason);
	if (r < 0)
		return r;
	limit_caps(&s, caps);
	*reason = "pagemap does not tell what is protected: needs Linux 5.13";
	r = try_page(&s, scratch);
	close_descriptors(&s);
	return r;
}

static int sync_open(struct ww *ww, const struct ww_options *options)
{
	struct sync *s = ww->priv;
	const char *reason;
	int r = open_descriptors(s, options, &reason);

	if (r < 0)
		return r;
	if (options->flags & WW_OPEN_UFFD)
		r = ww_uffd_try_lent(try_page, s);
	if (r == 0)
		r = start_thread(ww);
	if (r < 0) {
		close_descriptors(s);
		return r;
	}
	limit_caps(s, &ww->caps);
	return 0;
}

static void sync_close(struct ww *ww)
{
	struct sync *s = ww->priv;

	ww_sync_thread_stop(&s->thread);
	close_descriptors(s);
}

/* --- fork child --- */

static int sync_renew(struct ww *ww)
{
	struct sync *s = ww->priv;
	const char *reason;
	int r;

	/* The parent's thread, or that of a renew that failed. */
	ww_sync_thread_stop(&s->thread);
	/* The parent's descriptors work on the parent's memory. */
	close_descriptors(s);
	r = open_descriptors(s, NULL, &reason);
	if (r == 0)
		limit_caps(s, &ww->caps);
	return r;
}

/* The kernel cleared the protection in the child, so private pages that exist
 * are dirty as they are; a page that is read later will look dirty. A page that
 * does not exist is clean. */
static int sync_inherit(struct ww *ww, const struct ww_slice *s,
			enum ww_kind kind)
{
	struct protecting p = { ww, false };
	struct sync *sync = ww->priv;
	int r = start_thread(ww);

	if (r == 0)
		r = ww_uffd_register(&sync->uffd, s->start, s->end);
	if (r < 0)
		return r;
	if (kind == WW_KIND_ANON) {
		atomic_fetch_or(&s->area->caps_lost, WW_CAP_EXACT);
		set_dropped(s->area, s->start, s->end);
		return 0;
	}
	return ww_span_each_free(&(struct ww_span){ s, 1, kind }, s->start,
				 s->end, protect_run, &p);
}

const struct ww_backend ww_backend_uffd_sync = {
	.name = "uffd-sync",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_KERNEL_WRITES | WW_CAP_EXACT |
		WW_CAP_NO_SIGNAL | WW_CAP_FOREIGN_MPROTECT,
	.modes = WW_WATCH_COARSE_OK | WW_WATCH_HOT_OK,
	.kinds = WW_TAKES_ANON | WW_TAKES_FILE | WW_TAKES_SHARED,
	.plain_pages = true,
	.priv_bytes = sizeof(struct sync),
	.state_bytes = sync_state_bytes,
	.init_state = sync_init_state,
	.attach = sync_attach,
	.collect = sync_collect,
	.rearm = sync_rearm,
	.probe = sync_probe,
	.open = sync_open,
	.close = sync_close,
	.detach = sync_detach,
	.discard = sync_discard,
	.admit = sync_admit,
	.renew = sync_renew,
	.inherit = sync_inherit,
};
