/* SPDX-License-Identifier: MIT */
/*
 * heap.h - the library's own memory.
 *
 * Not malloc(): a thread that a collector stopped may hold malloc's lock, an
 * allocator that watches its own arenas calls us under it, and what malloc()
 * returns may be watched, while the SIGSEGV handler writes to it.
 */
#ifndef WW_HEAP_H
#define WW_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Once for the process, behind ww_fork_init(). */
int ww_heap_init(void);

/* Callers of what follows have their signals blocked: they hold a lock. */

/* Zeroed memory, aligned to 64 bytes if there are as many; NULL: there is none.
 * Costs nothing that is not touched. */
void *ww_heap_new(size_t bytes);

/* bytes: as given to ww_heap_new(). NULL is ignored. */
void ww_heap_free(void *memory, size_t bytes);

/* Make room for `least` entries in an array of the heap (or NULL) that has n.
 * Returns the array, or a larger copy in its place, and sets *room. NULL: there
 * is no memory, and the array is as it was. */
static inline void *ww_heap_grow(void *array, size_t n, size_t *room,
				 size_t least, size_t entry)
{
	size_t more = 2 * least + 2;
	void *larger;

	if (array && least <= *room)
		return array;
	larger = ww_heap_new(more * entry);
	if (!larger)
		return NULL;
	if (array)
		memcpy(larger, array, n * entry);
	ww_heap_free(array, *room * entry);
	*room = more;
	return larger;
}

/* Let memory that was mapped in another way count as the library's own. The
 * caller's signals need not be blocked. */
void ww_heap_adopt(const void *memory, size_t bytes);

/* Is some of [start, end) the library's own memory? The heap, and its data. */
bool ww_heap_owns(uintptr_t start, uintptr_t end);

#endif
