/* SPDX-License-Identifier: MIT */
/*
 * uffd.c - making a userfaultfd and registering memory with it.
 *
 * Called by the userfaultfd backends; calls sys.c. Invariant: a descriptor is
 * used only while it is still the file that we made.
 */
#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "uapi/userfaultfd.h"

int ww_uffd_make(void)
{
	int fd = ww_sys_userfaultfd(UFFD_USER_MODE_ONLY | O_NONBLOCK);
	int dev;

	if (fd >= 0)
		return fd;
	dev = ww_sys_open("/dev/userfaultfd", O_RDWR);
	if (dev < 0)
		return fd;
	fd = ww_sys_ioctl(dev, USERFAULTFD_IOC_NEW,
			  (void *)(uintptr_t)(UFFD_USER_MODE_ONLY | O_CLOEXEC |
					      O_NONBLOCK));
	ww_sys_close(dev);
	return fd;
}

int ww_uffd_unregister(const struct ww_fd *fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_range range = { start, end - start };

	return ww_fd_ok(fd) ? ww_sys_ioctl(fd->fd, UFFDIO_UNREGISTER, &range)
			    : 0;
}

int ww_uffd_register(const struct ww_fd *fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_register reg = {
		.range = { start, end - start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int r;

	if (!ww_fd_ok(fd))
		return -EPERM;
	/* One write would show as 512, or a clean page as written (KSM). They
	 * are not there to turn off: EINVAL. */
	r = ww_sys_madvise(start, end - start, MADV_NOHUGEPAGE);
	if (r == 0 || r == -EINVAL)
		r = ww_sys_madvise(start, end - start, MADV_UNMERGEABLE);
	if (r < 0 && r != -EINVAL)
		return r == -EAGAIN ? -ENOMEM : r;
	r = ww_sys_ioctl(fd->fd, UFFDIO_REGISTER, &reg);
	if (r == -EINVAL || r == -EPERM)
		return -EOPNOTSUPP; /* special memory; shared and read-only */
	if (r < 0)
		return r;
	/* Only hugetlb memory lacks ZEROPAGE. Re-arming a hole in it hung the
	 * thread unkillably before mid-2026. */
	if (!(reg.ioctls & 1ull << _UFFDIO_WRITEPROTECT) ||
	    !(reg.ioctls & 1ull << _UFFDIO_ZEROPAGE)) {
		ww_uffd_unregister(fd, start, end);
		return -EOPNOTSUPP;
	}
	return 0;
}

int ww_uffd_protect(const struct ww_fd *fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_writeprotect wp = {
		.range = { start, end - start },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int r;

	do
		r = ww_sys_ioctl(fd->fd, UFFDIO_WRITEPROTECT, &wp);
	while (r == -EAGAIN); /* a mapping is changing: partly done */
	return r;
}
