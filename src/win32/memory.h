/* SPDX-License-Identifier: MIT */
/*
 * memory.h - what the Virtual calls share. The first two are called with the lock
 * of regions.h taken.
 */
#ifndef WW_WIN32_MEMORY_H
#define WW_WIN32_MEMORY_H

#include "win32/regions.h"

/* Commit, or protect again what is committed: 0, or an error. */
ww_DWORD ww_win32_commit(struct ww_region *a, uintptr_t start, uintptr_t end,
			 ww_DWORD protect);

/* The region of [address, address + size); NULL: not all is committed. */
struct ww_region *ww_win32_committed(void *address, uintptr_t size,
				     uintptr_t *start, uintptr_t *end);

/* TRUE, or FALSE with the last error set. */
ww_BOOL ww_win32_succeeded(ww_DWORD e);

#endif
