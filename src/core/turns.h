/* SPDX-License-Identifier: MIT */
/*
 * turns.h - a store lands after a bounded number of faults.
 *
 * Where a store faults, its page is opened and the writer tries again. If resets
 * are faster than the scheduler the page is closed again before the writer runs,
 * and so on for ever (388 openings for one store were seen). So each opening is
 * remembered, and a reset that is about to close a page whose writer came more
 * than once in a row first waits: 50 us since the opening, twice that for the
 * next time, and so on. At each eighth time it waits until the writer has run. Not
 * each time: a page that is written again and again looks the same as one whose
 * writer starves. Lock-free and async-signal-safe; no thread-local storage.
 *
 * Who the writer is costs a system call, asked for at its second opening in a row. If it
 * is the one who resets the page then, the next few openings are not counted: so a thread
 * that writes and resets in turn seldom pays for it.
 */
#ifndef WW_TURNS_H
#define WW_TURNS_H

#include <stdatomic.h>
#include <stdint.h>

#define WW_TURNS 64u

struct ww_turn {
	atomic_uintptr_t page;
	/* The writer's thread id; 0: not asked for yet. */
	atomic_uint thread;
	/* How often in a row the page was opened for the writer. */
	atomic_uint times;
	/* So many of the next openings are not counted. */
	atomic_uint trusted;
	/* A reset closed the page so soon that its writer may not have run. */
	atomic_uint hasty;
	/* How often the writer had slept, at the seventh opening. */
	_Atomic(long) sleeps;
	_Alignas(8) _Atomic(uint64_t) when; /* ns, of the last time */
	/* The writer's processor time at the eighth, in ns; 0: not known. */
	_Alignas(8) _Atomic(uint64_t) cpu;
};

struct ww_turns {
	struct ww_turn turn[WW_TURNS];
};

/* A page is being opened, for a thread; 0: the calling one. */
void ww_turns_opened(struct ww_turns *self, uintptr_t page, unsigned thread);

/* Pages of [start, end) are about to be closed: wait until their writers, other
 * than the calling thread, had time to run. */
void ww_turns_wait(struct ww_turns *self, uintptr_t start, uintptr_t end);

#endif
