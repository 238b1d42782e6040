/* SPDX-License-Identifier: MIT */
/*
 * scratch.h - room for the argument and the answer of a scan, which a fork
 * child finds wiped.
 *
 * A signal handler may interrupt a query and call _Fork(), and both processes
 * then go on with the query. In the child the scan would work on the parent's
 * memory, by the parent's descriptor. To check the process first is not enough:
 * the handler may fork between the check and the scan. But the argument lies
 * here, so in the child it is zeros, and the kernel refuses it
 * (ww_pagemap_scan()). The answer lies here too, to keep 12 KiB off the
 * caller's stack.
 */
#ifndef WW_SCRATCH_H
#define WW_SCRATCH_H

#include <stddef.h>

#include "kernel/uapi/procfs.h"

/* The kernel gathers as many regions before it copies them out and drops the
 * address-space lock. Its copy is below 8 KiB: for more it takes pages instead of a
 * slab's block, which costs 440 ns a call (6.18). */
#define WW_SCRATCH_VEC 341u

struct ww_scratch {
	struct pm_scan_arg arg;
	/* Its ends are zeros, also when it is given back. */
	struct page_region vec[WW_SCRATCH_VEC];
};

/* Once for the process. 0 or -errno. */
int ww_scratch_init(void);

/* One for the calling thread; NULL: all are in use, or the kernel does not wipe
 * memory at fork (before 4.14). Lock-free and async-signal-safe. */
struct ww_scratch *ww_scratch_take(void);

/* generation: of the process when it was taken (base/fork.h); used: regions that may
 * not be zero. */
void ww_scratch_drop(struct ww_scratch *self, unsigned generation, size_t used);

#endif
