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
	bool guard;	  /* the kernel knows PAGE_IS_GUARD (6.15) */
	int64_t position; /* of the file; no other file has the same */
};

/* --- PAGEMAP_SCAN: which pages were written, and re-arm them --- */

/* What a scan asks for. */
enum ww_asked {
	/* Pages that exist and were written: right for memory that was armed
	 * when not all its pages existed. Zero pages have PAGE_IS_PFNZERO. */
	WW_ASK_EXISTING,
	/* What is not write-protected: the kernel's fast walk, right for memory
	 * whose pages all exist, or were all protected. */
	WW_ASK_WRITTEN,
	/* Pages that exist, written or not. Zero pages have PAGE_IS_PFNZERO. */
	WW_ASK_THERE,
};

struct ww_scan {
	uintptr_t start, end;
	enum ww_asked asked;
	uint64_t flags;	  /* PM_SCAN_WP_MATCHING */
	size_t max_pages; /* 0: no limit */
	/* Out: regions, and how many; 0: no vector. The scan fills them from the
	 * first on. Before it, each region is zero or ends below `start`. */
	struct page_region *vec;
	size_t vec_len;
	uintptr_t walk_end; /* out: below it all was handled */
	/* Room for the argument, wiped in a fork child, and the generation of the
	 * process when it was taken. NULL: none; then signals are blocked during the
	 * call instead. */
	struct ww_scratch *scratch;
	unsigned generation;
};

/* Find out what the kernel can do. -ENOTTY: it has no PAGEMAP_SCAN. */
int ww_pagemap_init(struct ww_pagemap *self);

/* Is this still the file that we opened, and this the process that opened it?
 * As ww_fd_ok(), but at half the cost, for each query: the file's position,
 * which nothing else uses, is a number that no other file has. */
bool ww_pagemap_ok(const struct ww_pagemap *self);

/* Returns the number of regions, or -errno: then vec has the regions that were
 * found before the failure. In both cases they end where the vector does, or before the
 * first region whose end is 0. -EPERM: memory that is not registered with WP_ASYNC. */
int ww_pagemap_scan(const struct ww_pagemap *self, struct ww_scan *s);

/* The i-th region of an answer. False: there are no more; or a signal handler has forked,
 * and the child's vector is wiped from here on. */
static inline bool ww_scan_region(const struct ww_scan *s, size_t i,
				  uintptr_t *start, uintptr_t *end)
{
	const volatile struct page_region *region = &s->vec[i];

	if (i >= s->vec_len)
		return false;
	*start = (uintptr_t)region->start;
	*end = (uintptr_t)region->end;
	return *start >= s->start && *end;
}

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
int ww_pagemap_each_populated(
	const struct ww_fd *fd, uintptr_t start, uintptr_t end,
	int (*fn)(void *arg, uintptr_t start, uintptr_t end), void *arg);

/* Has this process, a fork child, a page of [start, end) from its parent? False as
 * well if that is not known: a page that is swapped out, that the parent changed
 * or lost since, or that reads as zeros shows nothing. */
bool ww_pagemap_has_inherited(const struct ww_fd *fd, uintptr_t start,
			      uintptr_t end);

/* --- what is write-protected, of memory that a userfaultfd has without WP_ASYNC --- */

enum ww_wp {
	WW_WP_PROTECTED, /* or a guard page, which nobody can write */
	WW_WP_OPEN, /* it exists, swapped out or not, and is not protected */
	WW_WP_NONE, /* there is no page, or no memory */
};

/* How that is found out. Whether a scan is right depends on the kernel: PAGEMAP_SCAN
 * (6.7) means WP_ASYNC by "written", and may come to mean it alone. */
enum ww_wp_by {
	WW_WP_BY_ENTRIES,
	WW_WP_BY_SCAN,
	WW_WP_BY_GUARD_SCAN, /* the kernel knows PAGE_IS_GUARD (6.15) */
};

/* Call fn for runs of pages in the other two states, in order; a long run may come
 * in several. Stops where fn or the reading fails. */
int ww_pagemap_each_unprotected(const struct ww_fd *fd, enum ww_wp_by by,
				uintptr_t start, uintptr_t end,
				int (*fn)(void *arg, int state, uintptr_t start,
					  uintptr_t end),
				void *arg);

#endif
