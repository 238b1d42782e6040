/* SPDX-License-Identifier: MIT */
/*
 * watch.h - putting memory under watch and letting it go. Writer's lock.
 */
#ifndef WW_WATCH_H
#define WW_WATCH_H

#include "core/backend.h"

/* Attach [start, end), of which nothing is watched, and publish it. flags:
 * WW_WATCH_ bits. */
int ww_watch_add(struct ww *ww, uintptr_t start, uintptr_t end, unsigned flags);

/* Detach what is watched of [start, end); waits for queries that use it. */
int ww_watch_remove(struct ww *ww, uintptr_t start, uintptr_t end);

/* The same for everything, at the end; needs no memory for it. */
int ww_watch_remove_all(struct ww *ww);

/* Is part of it not mapped? */
bool ww_watch_has_hole(struct ww *ww, uintptr_t start, uintptr_t end);

/* In a fork child, before anything else: everything anew. */
int ww_watch_inherit(struct ww *ww);

#endif
