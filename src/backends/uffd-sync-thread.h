/* SPDX-License-Identifier: MIT */
/*
 * uffd-thread.h - the thread that answers the write-protect faults of a
 * userfaultfd, by taking the protection away.
 */
#ifndef WW_UFFD_THREAD_H
#define WW_UFFD_THREAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/range.h"
#include "kernel/sys.h"

struct ww_uffd_thread {
	struct ww_ranges *ranges;
	struct ww_fd uffd; /* the tracker's; the number is good in its table */
	pthread_t thread;
	pthread_barrier_t started;
	unsigned generation; /* the fork generation it runs in; 0: it does not
			      */
	bool own_table; /* of descriptors: no close of the host's hits it */
	volatile char *bell; /* a page that is protected: to write to it is to
				call the thread */
	atomic_bool stop, ended;
	atomic_uintptr_t release_start, release_end; /* what it is called for */
};

/* Start it. All signals are blocked in it; it uses no CPU while nobody faults,
 * takes no lock and allocates nothing. It has a descriptor table of its own
 * (Linux 5.9), so that writers get their answer whatever the host closes. 0 or
 * -errno. */
int ww_uffd_thread_start(struct ww_uffd_thread *self, const struct ww_fd *uffd,
			 struct ww_ranges *ranges);

/* Have it let go of memory, whose registration our own descriptor can not end
 * as the host closed it. */
void ww_uffd_thread_release(struct ww_uffd_thread *self, uintptr_t start,
			    uintptr_t end);

/* End it. No fault may be waiting any more. In a fork child, where there is no
 * such thread, only what belongs to it is freed. */
void ww_uffd_thread_stop(struct ww_uffd_thread *self);

#endif
