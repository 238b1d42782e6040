/* SPDX-License-Identifier: MIT */
/*
 * softdirty-bits.c - who uses the soft-dirty bits of this process.
 *
 * Called by the soft-dirty and process_memwatch backends.
 *
 * Global: the count, because the bits belong to the process, not to a tracker.
 */
#include <errno.h>

#include "backends/softdirty.h"
#include "kernel/sys.h"

WW_DATA static atomic_int users;

int ww_softdirty_claim(int kind)
{
	int n = atomic_load(&users);

	do {
		if (n * kind < 0)
			return -EBUSY;
	} while (!atomic_compare_exchange_weak(&users, &n, n + kind));
	return 0;
}

void ww_softdirty_release(int kind)
{
	atomic_fetch_sub(&users, kind);
}
