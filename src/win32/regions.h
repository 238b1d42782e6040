/* SPDX-License-Identifier: MIT */
/*
 * regions.h - what VirtualAlloc() has allocated, and the state of its pages.
 */
#ifndef WW_WIN32_REGIONS_H
#define WW_WIN32_REGIONS_H

#include <stddef.h>

#include "base/sorted.h"
#include "win32/win32.h"

/* From an address up to the next run, pages have one state: 0 is reserved, else
 * a protection (ww_win32_state_of()). */
struct ww_region_run {
	uintptr_t start;
	uint8_t state;
};

struct ww_region {
	uintptr_t start, end;
	ww_DWORD protect; /* initial */
	bool watched;
	bool locked;	       /* VirtualLock() locked some of it */
	struct ww_sorted runs; /* neighbours differ */
};

/* All functions below are called with the lock taken. */
void ww_win32_lock(void);
void ww_win32_unlock(void);

/* NULL: there is none. */
struct ww_region *ww_win32_region_at(uintptr_t at);

/* The region that has all of [address, address + size), in whole pages. */
struct ww_region *ww_win32_region_holding(const void *address, uintptr_t size,
					  uintptr_t *start, uintptr_t *end);

/* The first region that ends behind an address. */
struct ww_region *ww_win32_region_next(uintptr_t at);

/* Put a copy on the list, all of it reserved; NULL: no memory. */
struct ww_region *ww_win32_region_add(const struct ww_region *region);
void ww_win32_region_remove(struct ww_region *a);

/* The state at an address, and where its run ends. O(log runs). */
uint8_t ww_win32_state(const struct ww_region *a, uintptr_t at, uintptr_t *end);

/* Have runs begin at start and at end, so that a state can be set. Then set it, or
 * let the runs join again. False: no memory, and nothing changed. */
bool ww_win32_cut(struct ww_region *a, uintptr_t start, uintptr_t end);
void ww_win32_set_state(struct ww_region *a, uintptr_t start, uintptr_t end,
			uint8_t state);
void ww_win32_uncut(struct ww_region *a, uintptr_t start, uintptr_t end);

#define WW_WIN32_MODIFIERS                                                     \
	(WW_PAGE_GUARD | WW_PAGE_NOCACHE | WW_PAGE_WRITECOMBINE)

/* A protection as a byte: 1 + its log2, and the modifiers 0x100 to 0x400 shifted
 * right by 4. */
static inline uint8_t ww_win32_state_of(ww_DWORD protect)
{
	return (uint8_t)((1 + __builtin_ctz(protect & ~WW_WIN32_MODIFIERS)) |
			 (protect & WW_WIN32_MODIFIERS) >> 4);
}

static inline ww_DWORD ww_win32_protect_of(uint8_t state)
{
	return 1u << ((state & 0x0fu) - 1) | (ww_DWORD)(state & ~0x0fu) << 4;
}

#endif
