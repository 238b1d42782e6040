/* SPDX-License-Identifier: MIT */
/*
 * preload.h - what `writewatch run` and the object in the program say to each
 * other.
 *
 * At its start the program connects, sends PRELOAD_HELLO with a userfaultfd and
 * a page of shared memory, and waits for an answer. From then on it has no
 * descriptor of ours and makes no system call for us: it asks through the page,
 * at which the command looks every PRELOAD_LOOK_MS.
 */
#ifndef PRELOAD_H
#define PRELOAD_H

#include <stdatomic.h>
#include <stdint.h>

#define PRELOAD_SOCKET "WRITEWATCH_RUN_SOCKET" /* abstract address */
#define PRELOAD_HELLO 'h'
#define PRELOAD_FILTERS "Seccomp_filters:" /* in /proc/PID/status, Linux 5.9 */
#define PRELOAD_LOOK_MS 2

#define PRELOAD_KIND 3u

enum preload_question {
	PRELOAD_NONE,  /* answered */
	PRELOAD_BYE,   /* scan once more: the program ends */
	PRELOAD_LET_GO /* of [start, end): the program watches it itself */
};

struct preload_page {
	/* PRELOAD_NONE, or what is asked and, above PRELOAD_KIND, how often
	 * something was: an answer that comes late is not one to a later question. */
	atomic_uint question;
	atomic_uint asked;
	atomic_uint taken; /* by the thread that asks */
	/* Nobody answers any more: the command does not watch the process, or did
	 * not answer in time. */
	atomic_uint gone;
	_Atomic(uint64_t) start, end;
	/* The program may be killed for a system call that it does not make
	 * itself. */
	atomic_uint sandboxed;
	/* A child could not say hello: the others need not try. */
	atomic_uint childless;
};

/* --- inside the object --- */

/* Before a call of preload-exit.c is of use. */
void writewatch_run_find_exits(void);

/* Have the command look once more, and wait for it. */
void writewatch_run_last_look(void);

#endif
