/* SPDX-License-Identifier: MIT */
/*
 * softdirty.h - what the soft-dirty backend and its part of the SIGSEGV handler
 * share.
 */
#ifndef WW_SOFTDIRTY_H
#define WW_SOFTDIRTY_H

#include "backend.h"
#include "prots.h"

/* The fork generation that closed the gate; 0: open. While it is closed the
 * watched pages of the process are read-only, and who writes waits. */
extern atomic_uint ww_softdirty_gate;

/* Sleeps while it is closed. In a signal handler. */
#define WW_GATE_NS 20000

/* The backend's fault(). */
bool ww_softdirty_fault(struct ww *ww, uintptr_t at);

#endif
