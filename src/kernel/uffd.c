/* SPDX-License-Identifier: MIT */
/*
 * uffd.c - making a userfaultfd and registering memory with it.
 *
 * Called by the userfaultfd backends, with signals blocked: no handler can fork
 * between the check of the descriptor and its use. Calls sys.c. Invariant: a
 * descriptor is used only while it is still the file that we made, and only in
 * the process that made it.
 */
#include "kernel/uffd.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fork.h"
#include "kernel/uapi/userfaultfd.h"

/* In a program that `writewatch run` watches: the command registered the memory,
 * and lets go of it (cli/preload.c). It is asked before each registration: it may
 * think of memory that was unmapped, and would reset pages of ours there. Elsewhere
 * there is no such function. */
extern int writewatch_run_let_go(uintptr_t start, uintptr_t end)
	__attribute__((weak, visibility("default")));

static int make(int flags)
{
	int fd = ww_sys_userfaultfd(flags);
	int dev;

	/* ENOSYS also comes from a tool that does not know the call (valgrind).
	 * Such a tool does not know what a write to a protected page waits for,
	 * either: so do not try /dev/userfaultfd. */
	if (fd >= 0 || fd == -ENOSYS)
		return fd;
	dev = ww_sys_open("/dev/userfaultfd", O_RDWR);
	if (dev < 0)
		return fd;
	fd = ww_sys_ioctl(dev, USERFAULTFD_IOC_NEW,
			  (void *)(uintptr_t)(flags | O_CLOEXEC));
	ww_sys_close(dev);
	return fd;
}

int ww_uffd_open(struct ww_fd *out, const struct ww_options *o,
		 bool *kernel_faults, const char **reason)
{
	int fd = -EPERM;

	*out = WW_FD_NONE;
	*reason = "userfaultfd is refused: a seccomp filter or security "
		  "module; allow userfaultfd(2), or give access to "
		  "/dev/userfaultfd";
	if (kernel_faults)
		*kernel_faults = false;
	if (o && o->flags & WW_OPEN_UFFD)
		return ww_fd_init(out, o->uffd, true);
	if (kernel_faults) {
		fd = make(0);
		*kernel_faults = fd >= 0;
	}
	if (fd < 0)
		fd = make(UFFD_USER_MODE_ONLY);
	if (fd == -EINVAL) { /* the flag came with 5.11 */
		*reason = "the kernel's userfaultfd is too old: needs Linux "
			  "5.13";
		return -ENOSYS;
	}
	return fd < 0 ? fd : ww_fd_init(out, fd, false);
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
	int r, tries = writewatch_run_let_go ? 3 : 0;

	if (!ww_fd_ok(fd))
		return -EPERM;
	if (writewatch_run_let_go)
		writewatch_run_let_go(start, end);
	r = ww_sys_ioctl(fd->fd, UFFDIO_REGISTER, &reg);
	while (r == -EBUSY && tries-- && writewatch_run_let_go(start, end) == 0)
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

static int change(const struct ww_fd *fd, uintptr_t start, uintptr_t end,
		  uint64_t mode)
{
	struct uffdio_writeprotect wp = { { start, end - start }, mode };
	int r;

	if (!fd->any_generation && fd->generation != ww_fork_generation())
		return -EPERM;
	do
		r = ww_sys_ioctl(fd->fd, UFFDIO_WRITEPROTECT, &wp);
	while (r == -EAGAIN); /* a mapping is changing: partly done */
	return r;
}

int ww_uffd_protect(const struct ww_fd *fd, uintptr_t start, uintptr_t end)
{
	return change(fd, start, end, UFFDIO_WRITEPROTECT_MODE_WP);
}

int ww_uffd_unprotect(const struct ww_fd *fd, uintptr_t start, uintptr_t end)
{
	return change(fd, start, end, 0);
}

void ww_uffd_let_go(const struct ww_fd *fd, uintptr_t start, uintptr_t end)
{
	ww_uffd_unprotect(fd, start, end);
	ww_uffd_unregister(fd, start, end);
	ww_uffd_wake(fd, start, end);
}

void ww_uffd_wake(const struct ww_fd *fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_range range = { start, end - start };

	if (ww_fd_ok(fd))
		ww_sys_ioctl(fd->fd, UFFDIO_WAKE, &range);
}
