/* SPDX-License-Identifier: MIT */
/*
 * mapcount.h - one budget for vm.max_map_count: watching memory, and opening
 * pages of it, splits mappings. Half of what is left when that is counted stays
 * the program's: it must be able to map, and to start threads.
 */
#ifndef WW_MAPCOUNT_H
#define WW_MAPCOUNT_H

#include <stdbool.h>

/* May two more mappings be split off, for an area? Counts from time to time,
 * which reads /proc/self/maps; for the first few areas only if their pages will
 * be opened one by one. Writer's lock. */
bool ww_mapcount_may_split(bool opens_pages);

/* Take two mappings for a run of pages that is opened; false: none is left.
 * Lock-free and async-signal-safe, as the next two. */
bool ww_mapcount_take_two(void);

/* Pages were closed: mappings may have become one again. */
void ww_mapcount_closed(void);

/* Memory was let go. */
void ww_mapcount_released(void);

/* Mappings of the budget that must be free before single pages are opened
 * again. */
#define WW_MAPCOUNT_SPARE 64

#endif
