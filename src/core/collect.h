/* SPDX-License-Identifier: MIT */
/*
 * collect.h - queries and resets of what is watched in a range of addresses.
 * Lock-free.
 */
#ifndef WW_COLLECT_H
#define WW_COLLECT_H

#include "core/backend.h"

/* Fill q with what is dirty in [start, end). On failure everything that was
 * dirty still is. With `all`: -ENOENT if some of it is not watched. */
int ww_collect(struct ww *ww, uintptr_t start, uintptr_t end, bool all,
	       struct ww_query *q);

/* Make what is watched of [start, end) clean. On failure all of it is dirty. */
int ww_collect_nothing(struct ww *ww, uintptr_t start, uintptr_t end);

#endif
