/* SPDX-License-Identifier: MIT */
/*
 * fork.h - knowing that we are a fork child, and locks that survive it.
 */
#ifndef WW_FORK_H
#define WW_FORK_H

#include <pthread.h>

/* A mutex that fork() takes before it forks, so that a child finds what it
 * guards whole. Held by the calls that change things, never by a query. One of
 * rank WW_LOCK_GATE fork() only waits for: a query may hold it, and the host hold
 * a lock of its own around that which its own fork handler waits for. */
struct ww_lock {
	int rank; /* who holds one may take one of a higher rank */
	pthread_mutex_t mutex;
	unsigned generation;
	struct ww_lock *prev, *next;
};

/* Once for the process, before anything else here. 0, -ENOMEM. */
int ww_fork_init(void);

/* 1 in the process that called ww_fork_init(), another number in each child:
 * it is kept on a page that the kernel wipes at fork, since the pid is wrong
 * for vfork and in pid namespaces. Async-signal-safe. */
unsigned ww_fork_generation(void);

enum { WW_LOCK_WIN32, WW_LOCK_TRACKER, WW_LOCK_GATE, WW_LOCK_SIGNALS };

void ww_lock_init(struct ww_lock *self, int rank);
void ww_lock_finish(struct ww_lock *self);
void ww_lock_take(struct ww_lock *self);
void ww_lock_drop(struct ww_lock *self);

#endif
