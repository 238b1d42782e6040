/* SPDX-License-Identifier: MIT */
/*
 * fork.h - knowing that we are a fork child, and locks that survive it.
 */
#ifndef WW_FORK_H
#define WW_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Once for the process, before anything else here. 0 or -errno. */
int ww_fork_init(void);

/* 1 in the process that called ww_fork_init(), another number in each child: it
 * is kept on a page that the kernel wipes at fork, because the pid is wrong for
 * vfork and in pid namespaces. Async-signal-safe. */
unsigned ww_fork_generation(void);

/* In the hooks of a fork child: the generation of the process that called fork(). */
unsigned ww_fork_parent(void);

/* The page that the generation is kept on. */
uintptr_t ww_fork_page(void);

/* A lock that no signal can keep taken: its holder has all signals blocked, so
 * a collector that stops threads by a signal stops none inside. Its word has
 * the fork generation of the holder: in a child, even of _Fork() or clone(2), a
 * lock that a thread of the parent held is free. */
struct ww_lock {
	/* generation << 2, and 0: free, 1: taken, 2: taken and waited for */
	atomic_uint word;
	uint64_t mask; /* the holder's signal mask before it took the lock */
	atomic_bool listed;
	int rank;
	/* Of the list that fork() goes through: whole at each moment forward only. */
	_Atomic(struct ww_lock *) next;
	struct ww_lock *prev;
};

/* The holder of a lock may take one of a higher rank. fork() takes all locks,
 * so that a child finds what they guard whole; but for a WW_LOCK_GATE it only
 * waits, because a query may hold one, perhaps under a lock H of the host's. If
 * the host's fork handler takes H, keeping the gate would deadlock. */
enum ww_rank {
	WW_LOCK_WIN32,
	WW_LOCK_LATCH,
	WW_LOCK_TRACKER,
	WW_LOCK_GATE,
	WW_LOCK_TRACKERS,
	WW_LOCK_HEAP,
};

/* A zeroed lock joins those that fork() takes. Several threads may call this,
 * and more than once: the first call counts. */
void ww_lock_init(struct ww_lock *self, enum ww_rank rank);
void ww_lock_finish(struct ww_lock *self);
void ww_lock_take(struct ww_lock *self);
void ww_lock_drop(struct ww_lock *self);

/* The same, without the system calls, for a caller that has its signals blocked
 * from before the taking until after the dropping: by another lock, mostly. */
void ww_lock_take_inside(struct ww_lock *self);
void ww_lock_drop_inside(struct ww_lock *self);

/* Set a hook, once for the process: fork() calls the hooks in the child, in
 * this order, with signals blocked and nothing that the locks guard half
 * changed. */
enum { WW_FORK_HEAP, WW_FORK_TRACKERS, WW_FORK_HOOKS };
void ww_fork_on_child(int place, void (*fn)(void));

#endif
