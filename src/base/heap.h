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

/* Once for the process, behind ww_fork_init(). */
int ww_heap_init(void);

/* Zeroed memory, aligned to 64 bytes if there are as many; NULL: there is none.
 * Costs nothing that is not touched. */
void *ww_heap_new(size_t bytes);

/* bytes: as it was asked for. NULL is ignored. */
void ww_heap_free(void *memory, size_t bytes);

/* Memory that was mapped otherwise is the library's own, too. */
void ww_heap_adopt(const void *memory, size_t bytes);

/* Is some of [start, end) the library's own memory? The heap, and its data. */
bool ww_heap_owns(uintptr_t start, uintptr_t end);

#endif
