/* SPDX-License-Identifier: MIT */
/*
 * protect.h - the program's changes to memory, some of which is watched. The
 * caller holds the tracker's lock.
 */
#ifndef WW_PROTECT_H
#define WW_PROTECT_H

#include "core/backend.h"

bool ww_prot_is_known(int prot);

/* mprotect(2) of all of [start, end), watched or not; on failure it is as it
 * was. */
int ww_protect_range(struct ww *ww, uintptr_t start, uintptr_t end, int prot);

/* Drop what is watched of [start, end); the pages are then clean. */
int ww_discard_range(struct ww *ww, uintptr_t start, uintptr_t end);

#endif
