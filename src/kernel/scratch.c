/* SPDX-License-Identifier: MIT */
/*
 * scratch.c - room for the argument and the answer of a scan, which a fork child
 * finds wiped.
 *
 * Called by the uffd-async backend; calls sys.c. Invariant: a slot whose bit is
 * set in `used` belongs to one thread; the bits are wiped with the slots.
 *
 * Global: the slots. They are the process's, because a child is.
 */
#include "kernel/scratch.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "base/fork.h"
#include "base/heap.h"
#include "kernel/sys.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#define SLOTS 64u

struct pool {
	_Alignas(8) _Atomic(uint64_t) used;
	char apart[64 - sizeof(uint64_t)];
	struct ww_scratch slot[SLOTS];
};

WW_DATA static _Atomic(struct pool *) pool;

int ww_scratch_init(void)
{
	struct pool *none = NULL;
	void *memory;
	int r;

	if (atomic_load(&pool))
		return 0;
	r = ww_sys_mmap(sizeof(struct pool), &memory);
	if (r < 0)
		return r;
	/* Before 4.14 scans do without (ww_pagemap_scan()). */
	if (ww_sys_madvise((uintptr_t)memory, sizeof(struct pool),
			   MADV_WIPEONFORK) < 0 ||
	    !atomic_compare_exchange_strong(&pool, &none, memory))
		ww_sys_munmap(memory, sizeof(struct pool));
	else
		ww_heap_adopt(memory, sizeof(struct pool));
	return 0;
}

WW_OFTEN struct ww_scratch *ww_scratch_take(void)
{
	struct pool *p = atomic_load(&pool);
	uint64_t used;
	unsigned i;

	if (!p)
		return NULL;
	used = atomic_load(&p->used);
	do {
		if (!~used)
			return NULL;
		i = (unsigned)__builtin_ctzll(~used);
	} while (!atomic_compare_exchange_weak(&p->used, &used,
					       used | UINT64_C(1) << i));
	return &p->slot[i];
}

WW_OFTEN void ww_scratch_drop(struct ww_scratch *self, unsigned generation,
			      size_t used)
{
	struct pool *p = atomic_load(&pool);

	/* In a child it was given back already, by the wipe. */
	if (!self || generation != ww_fork_generation())
		return;
	memset(self->vec, 0, used * sizeof(self->vec[0]));
	/* A handler may have forked in a query, and its child have asked in the
	 * handler, too: the argument must not look like the outer query's. */
	self->arg.size = 0;
	atomic_fetch_and(&p->used, ~(UINT64_C(1) << (self - p->slot)));
}
