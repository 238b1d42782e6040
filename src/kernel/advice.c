/* SPDX-License-Identifier: MIT */
/*
 * advice.c - advice to the kernel about memory under watch: madvise(2).
 *
 * Called by core and the backends; calls sys.c.
 */
#include "kernel/advice.h"

#include <errno.h>
#include <sys/mman.h>

#include "kernel/sys.h"

int ww_advise_plain_pages(uintptr_t start, uintptr_t end, bool keep_huge)
{
	int r = 0;

	if (!keep_huge)
		r = ww_sys_madvise(start, end - start, MADV_NOHUGEPAGE);
	if (r == 0 || r == -EINVAL)
		r = ww_sys_madvise(start, end - start, MADV_UNMERGEABLE);
	if (r < 0 && r != -EINVAL)
		return r == -EAGAIN ? -ENOMEM : r;
	return 0;
}

int ww_advise_keep_apart(uintptr_t start, uintptr_t end)
{
	return ww_sys_madvise(start, end - start, MADV_RANDOM);
}

void ww_advise_let_join(uintptr_t start, uintptr_t end)
{
	ww_sys_madvise(start, end - start, MADV_NORMAL);
}

int ww_advise_drop(uintptr_t start, uintptr_t end)
{
	int r = ww_sys_madvise(start, end - start, MADV_DONTNEED);

	/* Where nothing is mapped nothing is dropped; the rest is. */
	if (r == -ENOMEM && ww_sys_has_hole(start, end - start))
		return 0;
	return r == -EINVAL ? -EOPNOTSUPP : r;
}
