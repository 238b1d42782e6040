/* SPDX-License-Identifier: MIT */
/*
 * readers.h - counts of the threads that are using something, so that a thread
 * that takes it away can see whether any is left, or wait until none is.
 *
 * Entering and leaving are lock-free and async-signal-safe. There are two
 * counts, and a waiter turns new readers to the other one first, so that a
 * steady stream of readers cannot starve it. Counts carry the fork generation:
 * in a child the readers of the parent's other threads are gone.
 */
#ifndef WW_READERS_H
#define WW_READERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ww_readers {
	atomic_uint phase;
	/* generation << 32 | readers, and a bit that fork children keep */
	_Alignas(8) _Atomic(uint64_t) count[2];
};

/* What ww_readers_enter() gives, for ww_readers_leave(). */
struct ww_ticket {
	unsigned phase;
	unsigned generation;
};

struct ww_ticket ww_readers_enter(struct ww_readers *self);
void ww_readers_leave(struct ww_readers *self, struct ww_ticket ticket);

/* Each count was seen at zero: all that were inside at the call have left. */
bool ww_readers_idle(struct ww_readers *self);

/* In a fork child: was a reader inside when it was forked, or one of its parents? */
bool ww_readers_left_behind(struct ww_readers *self);

/* Until all that were inside at the call have left. */
void ww_readers_wait(struct ww_readers *self);

#endif
