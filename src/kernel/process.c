/* SPDX-License-Identifier: MIT */
/*
 * process.c - whose memory is watched: our own, or another process's.
 *
 * Called by open.c, maps.c and the backends; calls sys.c. Invariant: a pid
 * names the process only while that lives, so a file that was opened by the pid
 * is used only if the pidfd shows afterwards that the process still lives.
 */
#include "kernel/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number of a pidfd's process, from our own /proc. */
static int pid_of(int pidfd)
{
	char path[40], text[512] = "";
	const char *line;
	int fd, pid;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = ww_sys_open(path, O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? -EINVAL : fd;
	n = ww_sys_pread(fd, text, sizeof(text) - 1, 0);
	ww_sys_close(fd);
	if (n < 0)
		return (int)n;
	line = strstr(text, "\nPid:");
	if (!line)
		return -EINVAL; /* not a pidfd */
	pid = (int)strtol(line + 5, NULL, 10);
	if (pid == 0)
		return -EPERM; /* outside our pid namespace */
	return pid > 0 ? pid : -ESRCH;
}

int ww_process_init(struct ww_process *self, int pidfd)
{
	int fd, r;

	*self = (struct ww_process){ WW_FD_NONE, 0 };
	if (pidfd == -1)
		return 0;
	r = pid_of(pidfd);
	if (r < 0)
		return r;
	/* Not a copy, whose tag would be the caller's, too. The number is that
	 * process's if it still lives then. */
	fd = ww_sys_pidfd(r);
	if (fd < 0)
		return fd;
	self->pid = r;
	r = ww_fd_init(&self->pidfd, fd, false);
	if (r < 0)
		return r;
	self->pidfd.any_generation = true; /* it stands for another process */
	r = ww_sys_pidfd_alive(pidfd);
	if (r < 0)
		ww_process_finish(self);
	return r;
}

void ww_process_finish(struct ww_process *self)
{
	ww_fd_finish(&self->pidfd);
}

WW_OFTEN int ww_process_check(const struct ww_process *self)
{
	if (!self->pid)
		return 0;
	return ww_fd_is_ours(&self->pidfd) ? ww_sys_pidfd_alive(self->pidfd.fd)
					   : -EPERM;
}

int ww_process_open(const struct ww_process *self, const char *file, int flags)
{
	char path[48];
	int fd, r;

	if (!self || !self->pid) {
		/* without snprintf(): a first ww_open() is short */
		strcpy(stpcpy(path, "/proc/self/"), file);
		return ww_sys_open(path, flags);
	}
	snprintf(path, sizeof(path), "/proc/%d/%s", self->pid, file);
	fd = ww_sys_open(path, flags);
	r = ww_process_check(self);
	if (r < 0 && fd >= 0)
		ww_sys_close(fd);
	return r < 0 ? r : fd;
}
