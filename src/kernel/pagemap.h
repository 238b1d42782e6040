/* SPDX-License-Identifier: MIT */
/*
 * pagemap.h - PAGEMAP_SCAN: which pages were written, and re-arm them.
 */
#ifndef WW_PAGEMAP_H
#define WW_PAGEMAP_H

#include "kernel/process.h"
#include "core/range.h"
#include "kernel/sys.h"
#include "kernel/uapi/procfs.h"
#include "writewatch.h"

/* The kernel gathers 512 regions before it copies them out and drops the
 * address-space lock; 12 KiB of stack. */
#define WW_SCAN_VEC 512u

/* The file that the caller hands over, else the process's (NULL: our own). On
 * failure *reason says why. */
int ww_pagemap_open(struct ww_fd *out, const struct ww_process *process,
		    const struct ww_options *o, const char **reason);

struct ww_pagemap {
	struct ww_fd fd;
	bool guard; /* the kernel knows PAGE_IS_GUARD (6.15) */
	int64_t position; /* of the file, which nobody else has */
};

struct ww_scan {
	uintptr_t start, end;
	enum ww_kind kind;  /* WW_KIND_ANON: armed lazily; else up front */
	uint64_t flags;	    /* PM_SCAN_WP_MATCHING */
	bool superset;	    /* the kernel's faster walk: what is written, and
			       perhaps what does not exist. Not with re-arming
			       of memory that is armed lazily. */
	size_t max_pages;   /* 0: no limit */
	size_t vec_len;	    /* regions; 0: no vector */
	uintptr_t walk_end; /* out: below it all was handled */
	struct page_region
		*vec; /* the caller's, not zeroed: the scan does it */
};

/* Find out what it can do. -ENOTTY: it has no PAGEMAP_SCAN. */
int ww_pagemap_init(struct ww_pagemap *self);

/* Is it still the file that we made? As ww_fd_ok(), but at half the cost: by
 * its position, which is not used otherwise. For each query. */
bool ww_pagemap_ok(const struct ww_pagemap *self);

/* Written pages of memory that is registered with WP_ASYNC (elsewhere: -EPERM).
 * Of memory that is armed lazily, regions of zero pages have PAGE_IS_PFNZERO.
 * Returns regions, or -errno with the regions found before the failure in vec,
 * up to the first whose end is 0. */
int ww_pagemap_scan(const struct ww_pagemap *self, struct ww_scan *s);

/* --- entries read from the file: one word (PM_ in uapi/procfs.h) a page --- */

#define WW_ENTRIES 512u

/* Call fn for runs of pages of [start, end) whose entries classify() puts in
 * the same class, other than 0, in order; 512 pages at most. Stops where fn or
 * the reading fails. */
int ww_pagemap_runs(const struct ww_fd *fd, uintptr_t start, uintptr_t end,
		    int (*classify)(uint64_t entry),
		    int (*fn)(void *arg, int class, uintptr_t start,
			      uintptr_t end),
		    void *arg);

/* In a fork child: what exists of [start, end) becomes pending; all of it if
 * that can not be known. */
void ww_pagemap_mark_populated(struct ww_area *a, uintptr_t start,
			       uintptr_t end);

#endif
