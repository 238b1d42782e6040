/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - /proc/PID/pagemap: what the kernel knows of each page.
 *
 * Called by core and the backends; calls sys.c. Invariant: a scan for what was
 * written always has PM_SCAN_CHECK_WPASYNC, so that memory that is not tracked
 * is an error, never clean.
 */
#include "kernel/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fork.h"

int ww_pagemap_open(struct ww_fd *out, const struct ww_process *process,
		    const struct ww_options *o, const char **reason)
{
	int fd, r;

	*out = WW_FD_NONE;
	*reason = "/proc/self/pagemap can not be opened: mount /proc, or open "
		  "it before the process became non-dumpable "
		  "(WW_OPEN_PAGEMAP)";
	if (o && o->flags & WW_OPEN_PAGEMAP)
		return ww_fd_init(out, o->pagemap, true);
	fd = ww_process_open(process, "pagemap", O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? -ENOSYS : fd; /* no /proc */
	r = ww_fd_init(out, fd, false);
	/* Another process's memory is the same for a fork child of ours. */
	if (r == 0 && process && ww_process_is_other(process))
		out->any_generation = true;
	return r;
}

/* --- scans --- */

static void fill_arg(struct pm_scan_arg *arg, const struct ww_pagemap *self,
		     const struct ww_scan *s)
{
	/* Without PRESENT or SWAPPED a range that was never touched is wholly
	 * "written" on kernels since mid-2026, and page tables get built for all
	 * of it. */
	const bool existing = s->asked != WW_ASK_WRITTEN;
	const uint64_t written = s->asked != WW_ASK_THERE ? PAGE_IS_WRITTEN : 0;
	const uint64_t guard = existing && self->guard ? PAGE_IS_GUARD : 0;

	arg->size = sizeof(*arg);
	arg->flags = s->flags | PM_SCAN_CHECK_WPASYNC;
	arg->start = s->start;
	arg->end = s->end;
	arg->walk_end = 0;
	arg->vec = s->vec_len ? (uintptr_t)s->vec : 0;
	arg->vec_len = s->vec_len;
	arg->max_pages = s->max_pages;
	arg->category_inverted = guard;
	arg->category_mask = written | guard;
	arg->category_anyof_mask =
		existing ? PAGE_IS_PRESENT | PAGE_IS_SWAPPED : 0;
	arg->return_mask = existing ? PAGE_IS_PFNZERO : PAGE_IS_WRITTEN;
}

static bool is_our_process(const struct ww_pagemap *self)
{
	return self->fd.any_generation ||
	       self->fd.generation == ww_fork_generation();
}

/* Without an argument that a child finds wiped: no signal handler may fork. */
static int scan_with_signals_blocked(const struct ww_pagemap *self,
				     struct pm_scan_arg *arg)
{
	uint64_t mask;
	int r = -EINVAL;

	ww_sys_block_signals(&mask);
	if (is_our_process(self))
		r = ww_sys_ioctl(self->fd.fd, PAGEMAP_SCAN, arg);
	ww_sys_restore_signals(mask);
	return r;
}

/* Mark the end of an answer. r: the number of regions; or an error, of which the kernel
 * does not say how many regions it found before. Those that earlier scans left are below
 * this one. */
static void end_vector(const struct ww_scan *s, int r)
{
	size_t n = r > 0 ? (size_t)r : 0;

	while (r < 0 && n < s->vec_len && s->vec[n].end > s->start)
		n++;
	if (n < s->vec_len)
		s->vec[n].end = 0;
}

/* A signal handler may fork anywhere in here:
 *
 *	before the argument is there	the check sees that we are the child
 *	between it and the call		the child's argument is zeros
 *	behind the call			the same, and so is the answer
 */
WW_OFTEN int ww_pagemap_scan(const struct ww_pagemap *self, struct ww_scan *s)
{
	struct pm_scan_arg local, *arg = s->scratch ? &s->scratch->arg : &local;
	int r = -EINVAL;

	fill_arg(arg, self, s);
	atomic_signal_fence(memory_order_seq_cst); /* the check comes after */
	if (!s->scratch)
		r = scan_with_signals_blocked(self, arg);
	else if (is_our_process(self) && s->generation == ww_fork_generation())
		r = ww_sys_ioctl(self->fd.fd, PAGEMAP_SCAN, arg);
	s->walk_end = (uintptr_t)arg->walk_end;
	atomic_signal_fence(
		memory_order_seq_cst); /* read before it is checked */
	if (!arg->size)		       /* wiped */
		r = -EINVAL;
	end_vector(s, r);
	return r;
}

int ww_pagemap_init(struct ww_pagemap *self)
{
	struct ww_scan empty = { .asked = WW_ASK_EXISTING };
	WW_DATA static atomic_uint made;
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

WW_OFTEN bool ww_pagemap_ok(const struct ww_pagemap *self)
{
	if (self->fd.borrowed)
		return ww_fd_ok(&self->fd);
	return self->fd.fd >= 0 && is_our_process(self) &&
	       ww_sys_position(self->fd.fd) == self->position;
}

/* --- entries --- */

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
					   (int64_t)(start / page) * 8);

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

/* --- PAGEMAP_SCAN for what is there, or entries --- */

#define REGIONS 64u

/* Call fn for the regions that `scan` asks for, with their categories, while it
 * returns 0. A call of the kernel looks at 512 pages that are asked for, the next at
 * 2048, and so on: who needs few does not pay for all, and many are few calls. -ENOTTY or -EINVAL: the kernel can not scan for this. */
static int each_region(const struct ww_fd *fd, struct pm_scan_arg scan,
		       uintptr_t start, uintptr_t end,
		       int (*fn)(void *arg, uint64_t categories,
				 uintptr_t start, uintptr_t end),
		       void *arg)
{
	struct page_region vec[REGIONS];
	int i, n, r = 0;

	scan.size = sizeof(scan);
	scan.end = end;
	scan.vec = (uintptr_t)vec;
	scan.vec_len = REGIONS;
	scan.max_pages = 512;
	while (r == 0 && start < end) {
		scan.start = start;
		n = ww_sys_ioctl(fd->fd, PAGEMAP_SCAN, &scan);
		if (n < 0)
			return n;
		for (i = 0; r == 0 && i < n; i++)
			r = fn(arg, vec[i].categories, (uintptr_t)vec[i].start,
			       (uintptr_t)vec[i].end);
		start = (uintptr_t)scan.walk_end;
		if (scan.max_pages < SIZE_MAX / 8)
			scan.max_pages *= 4;
	}
	return r;
}

struct populated {
	int (*fn)(void *arg, uintptr_t start, uintptr_t end);
	void *arg;
};

static int is_populated(uint64_t entry)
{
	return (entry & (PM_PRESENT | PM_SWAP)) != 0;
}

static int populated_entry(void *arg, int class, uintptr_t start, uintptr_t end)
{
	const struct populated *p = arg;

	return p->fn(p->arg, start, end);
}

static int populated_region(void *arg, uint64_t categories, uintptr_t start,
			    uintptr_t end)
{
	return populated_entry(arg, 1, start, end);
}

int ww_pagemap_each_populated(
	const struct ww_fd *fd, uintptr_t start, uintptr_t end,
	int (*fn)(void *arg, uintptr_t start, uintptr_t end), void *arg)
{
	const struct pm_scan_arg scan = {
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	struct populated p = { fn, arg };
	int r = each_region(fd, scan, start, end, populated_region, &p);

	if (r == -ENOTTY || r == -EINVAL)
		r = ww_pagemap_runs(fd, start, end, is_populated,
				    populated_entry, &p);
	return r;
}

/* --- what a fork child has from its parent --- */

/* A page that both have is mapped twice, one that the child made is its alone. The
 * zero page is mapped by everyone. */
static int is_mapped_twice(uint64_t entry)
{
	return (entry & (PM_PRESENT | PM_MMAP_EXCLUSIVE)) == PM_PRESENT;
}

static int found(void *arg, int class, uintptr_t start, uintptr_t end)
{
	return 1;
}

static int look_for_mapped_twice(void *arg, uint64_t categories,
				 uintptr_t start, uintptr_t end)
{
	return ww_pagemap_runs(arg, start, end, is_mapped_twice, found, NULL);
}

/* Before 6.7 nothing but its content tells the zero page from others. */
static int found_content(void *arg, int class, uintptr_t start, uintptr_t end)
{
	const int *mem = arg;
	uint64_t word[64];
	uintptr_t at;
	size_t i;

	end = start + ww_sys_page_size();
	for (at = start; at < end; at += sizeof(word)) {
		if (ww_sys_pread(*mem, word, sizeof(word), (int64_t)at) !=
		    (ssize_t)sizeof(word))
			return 0;
		for (i = 0; i < sizeof(word) / sizeof(*word); i++)
			if (word[i])
				return 1;
	}
	return 0;
}

static int look_for_content(const struct ww_fd *fd, uintptr_t start,
			    uintptr_t end)
{
	int mem = ww_sys_open("/proc/self/mem", O_RDONLY);
	int r;

	if (mem < 0)
		return mem;
	r = ww_pagemap_runs(fd, start, end, is_mapped_twice, found_content,
			    &mem);
	ww_sys_close(mem);
	return r;
}

bool ww_pagemap_has_inherited(const struct ww_fd *fd, uintptr_t start,
			      uintptr_t end)
{
	const struct pm_scan_arg scan = {
		.category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_PRESENT | PAGE_IS_PFNZERO,
		.return_mask = PAGE_IS_PRESENT,
	};
	struct ww_fd pagemap = *fd;
	int r = each_region(fd, scan, start, end, look_for_mapped_twice,
			    &pagemap);

	if (r == -ENOTTY || r == -EINVAL)
		r = look_for_content(fd, start, end);
	return r == 1;
}

/* --- what is write-protected --- */

static int wp_of_entry(uint64_t entry)
{
	/* a guard page (6.13) looks swapped */
	if (entry & (PM_UFFD_WP | PM_GUARD))
		return WW_WP_PROTECTED;
	return is_populated(entry) ? WW_WP_OPEN : WW_WP_NONE;
}

static int wp_of_categories(uint64_t categories)
{
	if (categories & PAGE_IS_GUARD)
		return WW_WP_PROTECTED;
	if (!(categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)))
		return WW_WP_NONE;
	return categories & PAGE_IS_WRITTEN ? WW_WP_OPEN : WW_WP_PROTECTED;
}

struct wp_walk {
	int (*fn)(void *arg, int state, uintptr_t start, uintptr_t end);
	void *arg;
};

static int wp_region(void *arg, uint64_t categories, uintptr_t start,
		     uintptr_t end)
{
	const struct wp_walk *w = arg;
	int state = wp_of_categories(categories);

	return state ? w->fn(w->arg, state, start, end) : 0;
}

int ww_pagemap_each_unprotected(const struct ww_fd *fd, enum ww_wp_by by,
				uintptr_t start, uintptr_t end,
				int (*fn)(void *arg, int state, uintptr_t start,
					  uintptr_t end),
				void *arg)
{
	/* WRITTEN: not protected. And all that is not present: what does not
	 * exist can not be asked for without what is swapped out. */
	const struct pm_scan_arg scan = {
		.category_inverted = PAGE_IS_PRESENT,
		.category_anyof_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT |
			       PAGE_IS_SWAPPED |
			       (by == WW_WP_BY_GUARD_SCAN ? PAGE_IS_GUARD : 0),
	};
	struct wp_walk w = { fn, arg };

	/* A scan skips what is unmapped. */
	if (by == WW_WP_BY_ENTRIES || ww_sys_has_hole(start, end - start))
		return ww_pagemap_runs(fd, start, end, wp_of_entry, fn, arg);
	return each_region(fd, scan, start, end, wp_region, &w);
}
