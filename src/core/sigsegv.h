/* SPDX-License-Identifier: MIT */
/*
 * sigsegv.h - SIGSEGV, for trackers whose backend lets stores fault.
 */
#ifndef WW_SIGSEGV_H
#define WW_SIGSEGV_H

#include <signal.h>
#include <stdatomic.h>

#include "base/fork.h"

/* Install the handler that hands faults to the backends' fault(). The handler
 * stays for ever. 0 or -errno. */
int ww_sigsegv_install(void);

/* --- between sigsegv.c and sigsegv-handler.c --- */

#define WW_SIGSEGV_LAYERS 16u

/* A stack of the handlers that were found in the place of ours. Foreign signals
 * are handed to the top one, and by that one perhaps to us again: then to the
 * next below. */
struct ww_sigsegv {
	struct ww_lock lock; /* guards changes */
	struct sigaction old[WW_SIGSEGV_LAYERS];
	atomic_uint layers;
};

extern struct ww_sigsegv ww_sigsegv;

void ww_sigsegv_on_signal(int signo, siginfo_t *info, void *ucontext);

#endif
