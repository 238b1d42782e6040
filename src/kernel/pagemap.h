/* SPDX-License-Identifier: MIT */
/*
 * pagemap.h - /proc/PID/pagemap: what the kernel knows of each page.
 */
#ifndef WW_PAGEMAP_H
#define WW_PAGEMAP_H

#include "kernel/process.h"
#include "kernel/scratch.h"
#include "writewatch.h"

/* The file that the caller hands over, else the process's (NULL: our own). On
 * failure *reason says why. */
int ww_pagemap_open(struct ww_fd *out, const struct ww_process *process,
		    const struct ww_options *o, const char **reason);

struct ww_pagemap {
	struct ww_fd fd;
	bool guard; /* the kernel knows PAGE_IS_GUARD (6.15) */
	int64_t position; /* of the file, which nobody else has */
};

/* --- PAGEMAP_SCAN: which pages were written, and re-arm them --- */

/* What a scan asks for. */
enum ww_asked {
	/* What was written of what exists: right for memory that was armed
	 * without its pages. Zero pages come with PAGE_IS_PFNZERO. */
	WW_ASK_EXISTING,
	/* What is not write-protected: the kernel's fast walk, right for memory
	 * whose pages all exist, or were all protected. */
	WW_ASK_WRITTEN,
};

struct ww_scan {
	uintptr_t start, end;
	enum ww_asked asked;
	uint64_t flags; /* PM_SCAN_WP_MATCHING */
	size_t max_pages; /* 0: no limit */
	/* Out: zeroed regions, and how many; 0: no vector. The scan fills them
	 * from the first on. */
	struct page_region *vec;
	size_t vec_len;
	uintptr_t walk_end; /* out: below it all was handled */
	/* Of the argument, wiped in a child; NULL: signals are blocked
	 * meanwhile instead. */
	struct ww_scratch *scratch;
};

/* Find out what it can do. -ENOTTY: it has no PAGEMAP_SCAN. */
int ww_pagemap_init(struct ww_pagemap *self);

/* Is it still the file that we made, in the process that made it? As ww_fd_ok(),
 * but at half the cost: the file's position, which nothing else uses, is a
 * number that no other file has. For each query. */
bool ww_pagemap_ok(const struct ww_pagemap *self);

/* Memory that is not registered with WP_ASYNC: -EPERM. Returns regions, or
 * -errno with the regions found before the failure in vec, up to the first whose
 * end is 0. */
int ww_pagemap_scan(const struct ww_pagemap *self, struct ww_scan *s);

/* --- entries read from the file: one word (PM_ in uapi/procfs.h) a page --- */

#define WW_ENTRIES 256u

/* Call fn for runs of pages of [start, end) whose entries classify() puts in
 * the same class, other than 0, in order; WW_ENTRIES pages at most. Stops where
 * fn or the reading fails. */
int ww_pagemap_runs(const struct ww_fd *fd, uintptr_t start, uintptr_t end,
		    int (*classify)(uint64_t entry),
		    int (*fn)(void *arg, int class, uintptr_t start,
			      uintptr_t end),
		    void *arg);

/* Call fn for runs of pages that exist, swapped out or not, while it returns 0.
 * What does not exist costs nothing where the kernel has PAGEMAP_SCAN. Returns
 * what fn returned last, or -errno. */
int ww_pagemap_each_populated(const struct ww_fd *fd, uintptr_t start,
			      uintptr_t end,
			      int (*fn)(void *arg, uintptr_t start,
					uintptr_t end),
			      void *arg);

#endif
