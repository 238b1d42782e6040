/* SPDX-License-Identifier: MIT */
/*
 * uffd-sync-thread.h - the thread that answers the write-protect faults of a
 * userfaultfd, by taking the protection away.
 */
#ifndef WW_UFFD_SYNC_THREAD_H
#define WW_UFFD_SYNC_THREAD_H

#include "core/range.h"
#include "core/turns.h"
#include "kernel/sys.h"

struct ww_sync_thread {
	struct ww_ranges *ranges;
	struct ww_fd uffd; /* the tracker's; valid in the thread's table too */
	void *stack;
	/* 1 while the thread runs. */
	atomic_uint alive;
	/* The fork generation that the thread runs in; 0: it does not run. */
	unsigned generation;
	/* A descriptor table of its own? 0: not yet known, 1: yes, 2: no. */
	atomic_uint own_table;
	/* A protected page of ours: a store to it calls the thread. */
	volatile char *bell;
	/* A thread is about to store to the bell, or its store waits. */
	atomic_bool ringing;
	atomic_bool stop;
	/* The memory that the thread is called to let go of; end 0: none. */
	atomic_uintptr_t release_start, release_end;
	struct ww_turns turns;
};

/* Start it. All signals are blocked in it; it uses no CPU while nobody faults,
 * takes no lock and allocates nothing. It has a descriptor table of its own
 * (Linux 5.9), so that writers get their answer whatever the host closes. libc
 * does not know it: the process ends with the last thread that libc knows. With
 * signals blocked. 0 or -errno. */
int ww_sync_thread_start(struct ww_sync_thread *self, const struct ww_fd *uffd,
			 struct ww_ranges *ranges);

/* Have the thread let go of memory, because the host closed the descriptor with
 * which the caller would have unregistered it. */
void ww_sync_thread_release(struct ww_sync_thread *self, uintptr_t start,
			    uintptr_t end);

/* End it. No fault may be waiting any more. In a fork child, where there is no
 * such thread, only what belongs to it is freed. */
void ww_sync_thread_stop(struct ww_sync_thread *self);

#endif
