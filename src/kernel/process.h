/* SPDX-License-Identifier: MIT */
/*
 * process.h - whose memory is watched: our own, or another process's.
 */
#ifndef WW_PROCESS_H
#define WW_PROCESS_H

#include "kernel/sys.h"

struct ww_process {
	struct ww_fd pidfd; /* our copy; none: ourselves */
	int pid;	    /* 0: ourselves */
};

/* pidfd stays the caller's; -1: ourselves. -ESRCH: it has ended. */
int ww_process_init(struct ww_process *self, int pidfd);
void ww_process_finish(struct ww_process *self);

static inline bool ww_process_is_other(const struct ww_process *self)
{
	return self->pid != 0;
}

/* Open a file of its /proc directory. A descriptor, or -errno; -ESRCH: it has
 * ended. */
int ww_process_open(const struct ww_process *self, const char *file, int flags);

/* Another process that has ended: -ESRCH; else 0. */
int ww_process_check(const struct ww_process *self);

#endif
