/* SPDX-License-Identifier: MIT */
/*
 * uffd-sync.c - userfaultfd write-protection, with a thread that takes the
 * protection from a page when it is written (Linux 5.13).
 *
 * Called by the core through the table; calls uffd.c, uffd-sync-thread.c and
 * uffd-sync-collect.c.
 *
 * What is dirty is read from the page tables, not kept from the faults: bit 57 of
 * pagemap, or PAGEMAP_SCAN (6.7), says that a page is protected still. So whatever
 * the kernel does to a page that makes it writable makes it dirty. Private pages
 * count when they exist; shared ones, whose entries the kernel may drop, are dirty
 * whenever they are not protected. Only pages that are being reported are
 * protected again.
 *
 * Before Linux 6.4 a page that does not exist can not be protected, so one that
 * was only read looks written. From 6.4 on every page is protected when memory
 * is watched; one without an entry was dropped since. If that was ww_discard()
 * it is clean (a bitmap knows), else its content changed: it is dirty.
 *
 * Invariant: memory is protected before a query can come; only uffd-sync-collect.c
 * protects again what was written.
 */
#include <errno.h>
#include <string.h>

#include "backends/uffd-sync.h"
#include "kernel/advice.h"
#include "kernel/sys.h"
#include "kernel/uapi/userfaultfd.h"
#include "kernel/uffd.h"

static size_t sync_state_bytes(size_t npages)
{
	return sizeof(struct ww_sync_area) + ww_bits_bytes(npages);
}

static void sync_init_state(struct ww_area *a)
{
	ww_bits_init(ww_sync_dropped(a), (struct ww_sync_area *)a->state + 1,
		     ww_area_page(a, a->end));
}

/* --- attach, detach --- */

/* In a fork child the thread is started only when memory is armed, which most
 * children never do. */
static int start_thread(struct ww *ww)
{
	struct ww_sync *s = ww->priv;

	if (s->thread.generation)
		return 0;
	return ww_sync_thread_start(&s->thread, &s->uffd, &ww->ranges);
}

static int sync_attach(struct ww *ww, const struct ww_slice *s,
		       enum ww_kind kind)
{
	struct ww_sync_protecting p = { ww, true, false };
	struct ww_sync *sync = ww->priv;
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
			      ww_sync_protect_run, &p);
	if (r < 0)
		ww_uffd_unregister(&sync->uffd, s->start, s->end);
	return r;
}

static int release_map(void *arg, const struct ww_map *map)
{
	struct ww_sync *s = arg;

	ww_uffd_let_go(&s->uffd, map->start, map->end);
	return 0;
}

static void sync_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	struct ww_sync *sync = ww->priv;

	if (!ww_fd_ok(&sync->uffd))
		ww_sync_thread_release(&sync->thread, s->start, s->end);
	/* Mostly it is one mapping, and no look at the mappings is needed, which
	 * takes long where a process has many (before 6.11). */
	else if (ww_uffd_unprotect(&sync->uffd, s->start, s->end) == 0 ||
		 ww_maps_each(&ww->maps, s->start, s->end, release_map, sync) <
			 0)
		ww_uffd_let_go(&sync->uffd, s->start, s->end);
}

/* --- the program's changes --- */

static void set_dropped(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_bits_set(ww_sync_dropped(a), ww_area_page(a, start),
		    ww_area_page(a, end));
}

/* Dropped pages are not protected any more: a load of one makes it look
 * written. To protect them anew would lose a store that came first. */
static int sync_discard(struct ww *ww, const struct ww_slice *s)
{
	struct ww_span span = { s, 1, s->area->kind };
	int r = ww_sync_rearm(ww, &span);

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
	struct ww_sync *sync = ww->priv;
	int r;

	/* In a fork child nothing is protected until its first query. */
	if (atomic_load(&ww->generation) != ww_fork_generation())
		return 0;
	if (!ww_fd_ok(&sync->uffd))
		return -EPERM;
	r = ww_sync_change(sync, ww_uffd_unprotect, s->start, s->end, ww->page);
	/* What is not registered, because it was replaced, is open. */
	return r == -ENOENT ? 0 : r;
}

/* --- descriptors, probe --- */

WW_DATA atomic_int ww_sync_reads = WW_WP_BY_ENTRIES;

static void close_descriptors(struct ww_sync *s)
{
	ww_fd_finish(&s->pagemap);
	ww_fd_finish(&s->uffd);
}

/* Most features first: UFFDIO_API may follow a refusal, but not a success. */
static int sync_agree(struct ww_sync *s)
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

static int open_descriptors(struct ww_sync *s, const struct ww_options *o,
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

static void limit_caps(const struct ww_sync *s, unsigned *caps)
{
	if (!s->kernel_faults)
		*caps &= ~(unsigned)WW_CAP_KERNEL_WRITES;
	if (!s->unpopulated)
		*caps &= ~(unsigned)WW_CAP_EXACT;
}

/* Pages of scratch memory, and what a reading says of each. */
#define TRIED WW_SCRATCH_PAGES
_Static_assert(TRIED == 4, "one for each state");

struct reading {
	uintptr_t at;
	int state[TRIED];
};

static int note_state(void *reading, int state, uintptr_t start, uintptr_t end)
{
	struct reading *r = reading;

	for (; start < end; start += ww_sys_page_size())
		r->state[(start - r->at) / ww_sys_page_size()] = state;
	return 0;
}

static bool read_states(const struct ww_sync *s, enum ww_wp_by by, uintptr_t at,
			struct reading *out)
{
	*out = (struct reading){ .at = at };
	return ww_pagemap_each_unprotected(&s->pagemap, by, at,
					   at + TRIED * ww_sys_page_size(),
					   note_state, out) == 0;
}

static bool entry_says(const struct ww_sync *s, uintptr_t at, int state)
{
	struct reading r;

	return read_states(s, WW_WP_BY_ENTRIES, at, &r) && r.state[0] == state;
}

/* The real thing on a page, except the fault: written is dirty, protected is
 * clean, and the file tells (5.13). */
static int try_protecting(const struct ww_sync *s, volatile char *page)
{
	uintptr_t at = (uintptr_t)page, end = at + ww_sys_page_size();

	page[0] = 1;
	if (!entry_says(s, at, WW_WP_OPEN) ||
	    ww_uffd_protect(&s->uffd, at, end) < 0 ||
	    !entry_says(s, at, WW_WP_PROTECTED) ||
	    ww_uffd_unprotect(&s->uffd, at, end) < 0)
		return -ENOSYS;
	page[0] = 2;
	return entry_says(s, at, WW_WP_OPEN) ? 0 : -ENOSYS;
}

/* Scan, if the kernel's scan agrees with the entries on a page that is open, one
 * that is protected, one that is protected and does not exist, and none. */
static void choose_reading(const struct ww_sync *s, volatile char *page)
{
	const size_t bytes = ww_sys_page_size();
	uintptr_t at = (uintptr_t)page;
	struct reading scan, entries;
	int by = WW_WP_BY_ENTRIES;

	page[bytes] = 1;
	ww_uffd_protect(&s->uffd, at + bytes, at + 3 * bytes);
	if (read_states(s, WW_WP_BY_ENTRIES, at, &entries))
		for (by = WW_WP_BY_GUARD_SCAN; by != WW_WP_BY_ENTRIES; by--)
			if (read_states(s, (enum ww_wp_by)by, at, &scan) &&
			    !memcmp(&scan, &entries, sizeof(scan)))
				break;
	atomic_store(&ww_sync_reads, by);
}

static int try_page(const struct ww_sync *s, volatile char *page)
{
	uintptr_t at = (uintptr_t)page;
	int r = ww_uffd_register(&s->uffd, at, at + TRIED * ww_sys_page_size());

	if (r == 0)
		r = try_protecting(s, page);
	if (r == 0)
		choose_reading(s, page);
	return r;
}

/* On failure nothing is left open. */
static int set_up(struct ww_sync *s, const struct ww_options *options,
		  volatile char *scratch, const char **reason, unsigned *caps)
{
	int r = open_descriptors(s, options, reason);

	if (r < 0)
		return r;
	limit_caps(s, caps);
	*reason = "pagemap does not tell what is protected: needs Linux 5.13";
	r = try_page(s, scratch);
	if (r < 0)
		close_descriptors(s);
	return r;
}

static int sync_probe(const struct ww_options *options, volatile char *scratch,
		      const char **reason, unsigned *caps)
{
	struct ww_sync s;
	int r = set_up(&s, options, scratch, reason, caps);

	if (r == 0)
		close_descriptors(&s);
	return r;
}

static int sync_open(struct ww *ww, const struct ww_options *options,
		     volatile char *scratch, const char **reason)
{
	struct ww_sync *s = ww->priv;
	int r = set_up(s, options, scratch, reason, &ww->caps);

	if (r < 0)
		return r;
	*reason = "no thread can be started";
	r = start_thread(ww);
	if (r < 0)
		close_descriptors(s);
	return r;
}

static void sync_close(struct ww *ww)
{
	struct ww_sync *s = ww->priv;

	ww_sync_thread_stop(&s->thread);
	close_descriptors(s);
}

/* --- fork child --- */

static int sync_renew(struct ww *ww)
{
	struct ww_sync *s = ww->priv;
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
	struct ww_sync_protecting p = { ww, true, false };
	struct ww_sync *sync = ww->priv;
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
				 s->end, ww_sync_protect_run, &p);
}

const struct ww_backend ww_backend_uffd_sync = {
	.name = "uffd-sync",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_KERNEL_WRITES | WW_CAP_EXACT |
		WW_CAP_NO_SIGNAL | WW_CAP_FOREIGN_MPROTECT,
	.modes = WW_WATCH_COARSE_OK | WW_WATCH_HOT_OK,
	.kinds = WW_TAKES_ANON | WW_TAKES_FILE | WW_TAKES_SHARED,
	.plain_pages = true,
	.open_tries = true,
	.priv_bytes = sizeof(struct ww_sync),
	.state_bytes = sync_state_bytes,
	.init_state = sync_init_state,
	.attach = sync_attach,
	.collect = ww_sync_collect,
	.rearm = ww_sync_rearm,
	.probe = sync_probe,
	.open = sync_open,
	.close = sync_close,
	.detach = sync_detach,
	.discard = sync_discard,
	.admit = sync_admit,
	.renew = sync_renew,
	.inherit = sync_inherit,
};
