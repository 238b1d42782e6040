/* SPDX-License-Identifier: MIT */
/*
 * win32.h - what the files of the Win32 calls share.
 */
#ifndef WW_WIN32_H
#define WW_WIN32_H

#include "win32/pages.h"
#include "writewatch-win32.h"

/* --- win32.c --- */

/* Is that handle the calling process's? WW_STATUS_INVALID_HANDLE: of none;
 * WW_STATUS_NOT_SUPPORTED: of another. */
ww_NTSTATUS ww_win32_check_process(ww_HANDLE process);

/* The descriptor behind a handle, which is that as a multiple of four and not 0; -1:
 * that is none. */
int ww_win32_descriptor(ww_HANDLE handle);

/* Can a caller's output be stored there? Of at most a page. */
bool ww_win32_can_store(const void *at, size_t bytes);

/* --- subpage.c: entries of 4 KiB, on larger host pages too --- */

/* As ww_get() and ww_reset(). */
int ww_win32_get(struct ww *ww, uintptr_t start, uintptr_t end, bool reset,
		 void **addresses, size_t *count);
int ww_win32_reset(struct ww *ww, uintptr_t start, uintptr_t end);

/* The pages are unmapped or dropped: they become clean, no others do. */
void ww_win32_forget(struct ww *ww, uintptr_t start, uintptr_t end);

/* --- latch.c: pages that stay reported after a decommit (row 6.1.15) --- */

/* What is dirty of [start, end) is latched: VirtualProtect(). */
void ww_win32_latch(struct ww *ww, uintptr_t start, uintptr_t end);

/* Call drop(arg) such that what is latched of [start, end) stays reported:
 * MEM_DECOMMIT. Returns what drop() returned. */
int ww_win32_keep_latched(struct ww *ww, uintptr_t start, uintptr_t end,
			  int (*drop)(void *arg), void *arg);

/* A reset reported these pages, or all of [start, end). */
void ww_win32_unlatch(void *const *addresses, size_t n);
void ww_win32_unlatch_range(uintptr_t start, uintptr_t end);

#endif
