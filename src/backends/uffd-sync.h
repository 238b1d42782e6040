/* SPDX-License-Identifier: MIT */
/*
 * uffd-sync.h - what the uffd-sync backend and its queries share.
 */
#ifndef WW_UFFD_SYNC_H
#define WW_UFFD_SYNC_H

#include "backends/uffd-sync-thread.h"
#include "core/backend.h"
#include "kernel/pagemap.h"

/* The backend's part of a tracker: ww->priv. */
struct ww_sync {
	struct ww_fd uffd, pagemap;
	struct ww_sync_thread thread;
	bool unpopulated;   /* pages that do not exist can be protected */
	bool shared;	    /* memory of memfd and shmem too */
	bool kernel_faults; /* kernel writes wait for the thread too */
};

/* An area's state. */
struct ww_sync_area {
	/* Pages without an entry that are clean nevertheless. */
	struct ww_bits dropped;
};

static inline struct ww_bits *ww_sync_dropped(struct ww_area *a)
{
	return &((struct ww_sync_area *)a->state)->dropped;
}

/* How queries find out what is protected: enum ww_wp_by. Of the kernel, so one for
 * all trackers; a probe, or an open with a lent userfaultfd, finds it out. */
extern atomic_int ww_sync_reads;

/* --- uffd-sync-collect.c --- */

typedef int ww_sync_change_fn(const struct ww_fd *fd, uintptr_t start,
			      uintptr_t end);

/* Protect or unprotect. Before about 6.12 only within one mapping, else -ENOENT; a
 * mapping may split meanwhile: so try the halves. -ENOENT of one page: it is not
 * registered. */
int ww_sync_change(const struct ww_sync *s, ww_sync_change_fn *change,
		   uintptr_t start, uintptr_t end, size_t page);

struct ww_sync_protecting {
	struct ww *ww;
	bool anew;    /* the memory need not be in the table yet */
	bool missing; /* some of it is not registered any more */
};

/* Protect what is not held, and is watched, of a run. */
int ww_sync_protect_run(void *protecting, struct ww_area *a, uintptr_t start,
			uintptr_t end);

/* The backend's collect() and rearm(). */
int ww_sync_collect(struct ww *ww, struct ww_query *q);
int ww_sync_rearm(struct ww *ww, const struct ww_span *span);

#endif
