/* SPDX-License-Identifier: MIT */
/* interleave.h - what interleave.c needs of the two ways in which a thread can be held:
 * interleave-calls.c and, in the programs that are called blocks, interleave-blocks.c. */
#ifndef INTERLEAVE_H
#define INTERLEAVE_H

#include "test.h"

struct test_held {
	void (*fn)(void);
	long at, count;	 /* its points */
	atomic_int told; /* a descriptor that tells system calls; 0: not yet */
	enum { RUNS, IS_HELD, HAS_ENDED } _Atomic state;
	atomic_bool go;
	pthread_t thread, keeper;
};

/* Before the thread is started; in it, before fn is called; after it has ended. */
void test_hold_begin(struct test_held *h);
void test_hold_me(struct test_held *h);
void test_hold_end(struct test_held *h);

/* The thread has come to a point, and nothing else of it runs: wait there if it is the
 * one. */
void test_hold_at(struct test_held *h);

#endif
