/* SPDX-License-Identifier: MIT */
/*
 * scan.c - the kernel's ioctl without a library. Bare: only pages that exist are
 * protected and asked for. Armed: as Wine 11 uses it, everything protected up
 * front, asked for what is written alone, 256 runs at a time, under a lock. Lazy:
 * armed's questions to bare's protection, the fastest that the kernel has where
 * all pages exist.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bench.h"
#include "kernel/uapi/procfs.h"
#include "kernel/uapi/userfaultfd.h"

static int uffd, pagemap;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int scan_open(const char *name)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC };

	uffd = (int)syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return uffd < 0 || pagemap < 0 ? -1 : ioctl(uffd, UFFDIO_API, &api);
}

static void scan_close(void)
{
	close(uffd);
	close(pagemap);
}

static size_t scan(char *m, size_t len, void **out, size_t room, size_t runs,
		   bool lazy)
{
	struct page_region vec[512];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)m,
		.end = (uintptr_t)m + len,
		.vec = (uintptr_t)vec,
		.category_mask = PAGE_IS_WRITTEN,
		.category_anyof_mask =
			lazy ? PAGE_IS_PRESENT | PAGE_IS_SWAPPED : 0,
		.return_mask = PAGE_IS_WRITTEN,
	};
	size_t n = 0;

	while (arg.start < (uintptr_t)m + len && n < room) {
		int i, r;

		arg.vec_len = room - n < runs ? room - n : runs;
		arg.max_pages = room - n;
		r = ioctl(pagemap, PAGEMAP_SCAN, &arg);
		if (r < 0)
			abort();
		for (i = 0; i < r; i++) {
			uintptr_t at = (uintptr_t)vec[i].start;

			for (; at < vec[i].end; at += PAGE)
				out[n++] = (void *)at;
		}
		arg.start = arg.walk_end;
	}
	return n;
}

static int enroll(char *m, size_t len)
{
	struct uffdio_register r = { { (uintptr_t)m, len },
				     UFFDIO_REGISTER_MODE_WP,
				     0 };

	madvise(m, len, MADV_NOHUGEPAGE);
	return ioctl(uffd, UFFDIO_REGISTER, &r);
}

static size_t bare_get(char *m, size_t len, void **out, size_t room)
{
	return scan(m, len, out, room, 341, true);
}

static int bare_watch(char *m, size_t len)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)m,
		.end = (uintptr_t)m + len,
		.category_mask = PAGE_IS_WRITTEN,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};

	if (enroll(m, len) < 0)
		return -1;
	return ioctl(pagemap, PAGEMAP_SCAN, &arg) < 0 ? -1 : 0;
}

static int armed_watch(char *m, size_t len)
{
	struct uffdio_writeprotect wp = { { (uintptr_t)m, len }, 1 };

	return enroll(m, len) < 0 ? -1 : ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

static size_t armed_get(char *m, size_t len, void **out, size_t room)
{
	size_t n;

	pthread_mutex_lock(&lock);
	n = scan(m, len, out, room, 256, false);
	pthread_mutex_unlock(&lock);
	return n;
}

static size_t lazy_get(char *m, size_t len, void **out, size_t room)
{
	return scan(m, len, out, room, 341, false);
}

static void scan_unwatch(char *m, size_t len)
{
	struct uffdio_range range = { (uintptr_t)m, len };

	ioctl(uffd, UFFDIO_UNREGISTER, &range);
}

size_t bare_get_runs(char *m, size_t len)
{
	struct page_region vec[4];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)m,
		.end = (uintptr_t)m + len,
		.vec = (uintptr_t)vec,
		.vec_len = 4,
		.category_mask = PAGE_IS_WRITTEN,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int r = ioctl(pagemap, PAGEMAP_SCAN, &arg);

	if (r < 0)
		abort();
	return (size_t)r;
}

const struct technique reference_bare = { "bare ioctl", scan_open,
					  scan_close,	bare_watch,
					  scan_unwatch, bare_get,
					  16 * GIB,	2048 * GIB };
const struct technique reference_armed = { "armed up front", scan_open,
					   scan_close,	     armed_watch,
					   scan_unwatch,     armed_get,
					   16 * GIB,	     4 * GIB };
const struct technique reference_lazy = { "written alone", scan_open,
					  scan_close,	   bare_watch,
					  scan_unwatch,	   lazy_get,
					  16 * GIB,	   2048 * GIB };
