/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - PAGEMAP_SCAN: which pages were written, and re-arm them.
 *
 * Called by backend-uffd-async.c; calls sys.c. Invariant: PM_SCAN_CHECK_WPASYNC
 * is always set, so memory that is not tracked is an error, never clean.
 */
#include "pagemap.h"

#include <errno.h>
#include <string.h>

int ww_pagemap_scan(const struct ww_pagemap *self, struct ww_scan *s)
{
	bool lazy = s->kind == WW_KIND_ANON;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = s->flags | PM_SCAN_CHECK_WPASYNC,
		.start = s->start,
		.end = s->end,
		.vec = s->vec_len ? (uintptr_t)s->vec : 0,
		.vec_len = s->vec_len,
		.max_pages = s->max_pages,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int r;

	if (lazy) {
		/* Without PRESENT or SWAPPED a range that was never touched is
		 * wholly "written" on kernels since mid-2026, and page tables
		 * get built for all of it. */
		arg.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
		arg.return_mask = PAGE_IS_PFNZERO;
		if (self->guard) {
			arg.category_mask |= PAGE_IS_GUARD;
			arg.category_inverted |= PAGE_IS_GUARD;
		}
	}
	/* An error comes instead of the count, after pages were re-armed; the
	 * entries stored until then are recognised by end != 0. */
	if (s->vec_len)
		memset(s->vec, 0, s->vec_len * sizeof(s->vec[0]));
	r = ww_sys_ioctl(self->fd.fd, PAGEMAP_SCAN, &arg);
	s->walk_end = (uintptr_t)arg.walk_end;
	return r;
}

int ww_pagemap_init(struct ww_pagemap *self)
{
	struct ww_scan empty = { .kind = WW_KIND_ANON };
	int r;

	self->guard = true;
	r = ww_pagemap_scan(self, &empty);
	if (r != -EINVAL)
		return r;
	self->guard = false;
	return ww_pagemap_scan(self, &empty);
}
