/* SPDX-License-Identifier: MIT */
/*
 * uffd-thread.h - the thread that answers the write-protect faults of a
 * userfaultfd, by taking the protection away.
 */
#ifndef WW_UFFD_THREAD_H
#define WW_UFFD_THREAD_H

#include <pthread.h>

#include "sys.h"

struct ww_uffd_thread {
	struct ww_fd *uffd;
	struct ww_fd wake; /* an eventfd: it is to end */
	pthread_t thread;
};

/* Start it. All signals are blocked in it; it uses no CPU while nobody faults,
 * takes no lock and allocates nothing. It ends by itself when the descriptor is
 * closed behind our back: then the kernel lets all writers go. */
int ww_uffd_thread_start(struct ww_uffd_thread *self, struct ww_fd *uffd);

/* No fault may be waiting any more. False: it can not be told to end, since the
 * host closed our descriptors; it may use *self for ever. */
bool ww_uffd_thread_stop(struct ww_uffd_thread *self);

/* In a fork child, where there is no such thread. */
void ww_uffd_thread_forget(struct ww_uffd_thread *self);

#endif
