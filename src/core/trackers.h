/* SPDX-License-Identifier: MIT */
/*
 * faults.h - the trackers of this process, and SIGSEGV for those whose backend
 * lets writes fault.
 */
#ifndef WW_FAULTS_H
#define WW_FAULTS_H

#include <signal.h>

#include "core/backend.h"

/* Know a tracker of our own memory. Faults are handed to its backend->fault();
 * if there is one, the handler is installed unless the host has its own. */
int ww_faults_register(struct ww *ww);
void ww_faults_unregister(struct ww *ww);

/* Memory is one tracker's: two would take each other's closing for the
 * program's protection, or clear each other's bits; and the kernel does not ask
 * whose userfaultfd it is that protects a page. Before a tracker looks at memory
 * that it is to watch, it claims it, -EBUSY if another one watches or claims
 * some of it; what it lets go it claims (never refused) until it is through.
 * The slices are the caller's until it claims none (NULL, 0). Writer's lock. */
int ww_faults_claim(struct ww *ww, const struct ww_slice *slice, size_t n);
void ww_faults_claim_back(struct ww *ww, const struct ww_slice *slice,
			  size_t n);

/* Pages were opened for good, but a thread that faulted before may not have
 * reached the handler yet: each thread gets one free retry. */
void ww_faults_left(void);

/* --- between the registry and the handler --- */

#define WW_FAULT_LAYERS 16u

struct ww_roster {
	size_t n;
	_Atomic(struct ww *) ww[]; /* NULL: it has gone. Load it once */
};

struct ww_faults {
	pthread_once_t once;
	struct ww_lock lock;		    /* guards changes */
	_Atomic(struct ww_roster *) roster; /* immutable; NULL: empty */
	struct ww_readers readers;	    /* who is using a roster */
	/* Whom we hand foreign signals to: who was there when we installed our
	 * handler last; below it, who was there the time before. */
	struct sigaction old[WW_FAULT_LAYERS];
	atomic_uint layers;
	atomic_uint left; /* counts ww_faults_left() */
};

extern struct ww_faults ww_faults;

void ww_faults_on_signal(int signo, siginfo_t *info, void *ucontext);

#endif
