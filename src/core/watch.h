/* SPDX-License-Identifier: MIT */
/*
 * watch.h - putting memory under watch and letting it go. The caller holds the
 * tracker's lock.
 */
#ifndef WW_WATCH_H
#define WW_WATCH_H

#include "core/backend.h"

/* Attach [start, end), of which nothing is watched, and publish it. flags:
 * WW_WATCH_ bits. */
int ww_watch_add(struct ww *ww, uintptr_t start, uintptr_t end, unsigned flags);

/* Detach what is watched of [start, end). unmapping: the memory goes, or is
 * replaced, next: nothing is opened, and it does not fail. */
int ww_watch_remove(struct ww *ww, uintptr_t start, uintptr_t end,
		    bool unmapping);

/* Detach everything, before the tracker is closed. Allocates nothing. */
int ww_watch_remove_all(struct ww *ww);

/* Take what is watched of [start, end) out of the table, without calling the
 * backend: for memory that a fork child does not have. */
void ww_watch_forget(struct ww *ww, uintptr_t start, uintptr_t end);

#endif
