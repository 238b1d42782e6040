/* SPDX-License-Identifier: MIT */
/*
 * mapcount.h - one budget for vm.max_map_count: watching memory, and opening
 * pages of it, splits mappings. Half of what is left when that is counted stays
 * the program's: it must be able to map, and to start threads.
 */
#ifndef WW_MAPCOUNT_H
#define WW_MAPCOUNT_H

#include <stdbool.h>

/* May two more mappings be split off, for an area? Counts the mappings now and
 * then, which reads /proc/self/maps; for the first few areas only if pages of
 * theirs will be opened one by one. The caller holds the tracker's lock. */
bool ww_mapcount_may_split(bool opens_pages);

/* Take two mappings for a run of pages that is opened; false: none is left.
 * Lock-free and async-signal-safe, as the next two. */
bool ww_mapcount_take_two(void);

/* Pages were closed: mappings may have become one again. */
void ww_mapcount_closed(void);

/* Memory was let go. */
void ww_mapcount_released(void);

/* Once the budget was used up, single pages are opened again only when so many
 * mappings of it are free. */
#define WW_MAPCOUNT_SPARE 64

#endif
