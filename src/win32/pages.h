/* SPDX-License-Identifier: MIT */
/*
 * pages.h - Windows' pages, and rounding to them.
 */
#ifndef WW_WIN32_PAGES_H
#define WW_WIN32_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define WW_WIN32_PAGE ((uintptr_t)4096)
#define WW_WIN32_GRAIN ((uintptr_t)0x10000) /* of reservations */

static inline uintptr_t ww_win32_down(uintptr_t at, uintptr_t unit)
{
	return at & ~(unit - 1);
}

/* Round [address, address + size) outward to units. False: it wraps. */
static inline bool ww_win32_round(const void *address, uintptr_t size,
				  uintptr_t unit, uintptr_t *start,
				  uintptr_t *end)
{
	uintptr_t at = (uintptr_t)address, to = at + size;

	if (to < at || to > UINTPTR_MAX - unit)
		return false;
	*start = ww_win32_down(at, unit);
	*end = ww_win32_down(to + unit - 1, unit);
	return true;
}

#endif
