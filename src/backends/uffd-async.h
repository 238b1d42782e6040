/* SPDX-License-Identifier: MIT */
/*
 * uffd-async.h - what the uffd-async backend and its queries share.
 */
#ifndef WW_UFFD_ASYNC_H
#define WW_UFFD_ASYNC_H

#include "core/backend.h"
#include "kernel/pagemap.h"

struct ww_uffd_async {
	struct ww_fd uffd;
	struct ww_pagemap pagemap;
	bool superset; /* the kernel's faster walk can be trusted */
};

/* An area's state. */
struct ww_uffd_area {
	/* Pages that were ever seen to be more than a zero page. */
	struct ww_bits populated;
	atomic_uint sparse; /* what the last query found (uffd-collect.c) */
};

/* Huge pages are kept: a zero page may have been written to, as one may be made
 * of a piece of a huge page. */
static inline bool ww_uffd_keeps_huge(const struct ww_span *span)
{
	return span->slice[0].area->flags & WW_WATCH_HUGE;
}

/* Scan memory that is registered. As ww_pagemap_scan(). */
int ww_uffd_scan(const struct ww *ww, struct ww_scan *s);

void ww_uffd_note_populated(struct ww_area *a, uintptr_t start, uintptr_t end);
void ww_uffd_forget_populated(struct ww_area *a, uintptr_t start,
			      uintptr_t end);

/* Tell q what is dirty of memory of one kind. -EPERM: some of it is not
 * registered; what was found until then is in q. */
int ww_uffd_collect(struct ww *ww, enum ww_kind kind, uintptr_t start,
		    uintptr_t end, struct ww_query *q);

#endif
