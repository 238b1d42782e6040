/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - /proc/PID/pagemap: what the kernel knows of each page.
 *
 * Called by the backends; calls sys.c. Invariant: PM_SCAN_CHECK_WPASYNC is
 * always set, so memory that is not tracked is an error, never clean.
 */
#include "kernel/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int ww_pagemap_open(struct ww_fd *out, const struct ww_process *process,
		    const struct ww_options *o, const char **reason)
{
	int fd;

	*out = WW_FD_NONE;
	*reason = "/proc/self/pagemap can not be opened: mount /proc, or open "
		  "it before the process became non-dumpable "
		  "(WW_OPEN_PAGEMAP)";
	if (o && o->flags & WW_OPEN_PAGEMAP)
		return ww_fd_init(out, o->pagemap, true);
	fd = ww_process_open(process, "pagemap", O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? -ENOSYS : fd; /* no /proc */
	return ww_fd_init(out, fd, false);
}

int ww_pagemap_scan(const struct ww_pagemap *self, struct ww_scan *s)
{
	bool lazy = s->kind == WW_KIND_ANON && !s->superset;
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
	static atomic_uint made;
	int r;

	self->guard = true;
	r = ww_pagemap_scan(self, &empty);
	if (r == -EINVAL) {
		self->guard = false;
		r = ww_pagemap_scan(self, &empty);
	}
	if (r < 0)
		return r;
	if (self->fd.borrowed)
		return 0; /* its position is the host's */
	/* Far behind all that a process can have, odd, and another each time.
	 */
	self->position = (INT64_C(1) << 62) +
			 (int64_t)(ww_sys_now_ns() & 0xffffffffffff) * 1024 +
			 (atomic_fetch_add(&made, 1) & 511) * 2 + 1;
	return ww_sys_set_position(self->fd.fd, self->position);
}

bool ww_pagemap_ok(const struct ww_pagemap *self)
{
	if (self->fd.borrowed)
		return ww_fd_ok(&self->fd);
	return self->fd.fd >= 0 &&
	       ww_sys_position(self->fd.fd) == self->position;
}

int ww_pagemap_runs(const struct ww_fd *fd, uintptr_t start, uintptr_t end,
		    int (*classify)(uint64_t entry),
		    int (*fn)(void *arg, int class, uintptr_t start,
			      uintptr_t end),
		    void *arg)
{
	const size_t page = ww_sys_page_size();
	uint64_t entry[WW_ENTRIES];
	int r = 0;

	while (r == 0 && start < end) {
		size_t left = (end - start) / page;
		size_t n = left < WW_ENTRIES ? left : WW_ENTRIES, i, run;
		ssize_t got = ww_sys_pread(fd->fd, entry, n * 8,
					   (off_t)(start / page * 8));

		if (got <= 0)
			return got < 0 ? (int)got : -ESRCH;
		n = (size_t)got / 8;
		for (i = 0; r == 0 && i < n; i = run) {
			int class = classify(entry[i]);

			for (run = i + 1;
			     run < n && classify(entry[run]) == class; run++)
				;
			if (class)
				r = fn(arg, class, start + i * page,
				       start + run * page);
		}
		start += n * page;
	}
	return r;
}

static int populated(uint64_t entry)
{
	return (entry & (PM_PRESENT | PM_SWAP)) != 0;
}

static int mark_run(void *arg, int class, uintptr_t start, uintptr_t end)
{
	(void)class;
	ww_area_mark(arg, start, end);
	return 0;
}

void ww_pagemap_mark_populated(struct ww_area *a, uintptr_t start,
			       uintptr_t end)
{
	struct ww_fd fd = { .fd = ww_sys_open("/proc/self/pagemap", O_RDONLY) };

	if (fd.fd < 0 ||
	    ww_pagemap_runs(&fd, start, end, populated, mark_run, a) < 0)
		ww_area_mark(a, start, end);
	if (fd.fd >= 0)
		ww_sys_close(fd.fd);
}
