/* SPDX-License-Identifier: MIT */
/*
 * inherit.h - a tracker in a fork child.
 */
#ifndef WW_INHERIT_H
#define WW_INHERIT_H

#include "core/backend.h"

/* Once for the process, behind ww_fork_init(). */
void ww_inherit_init(void);

/* Before each call: in a child, set the tracker up and arm what it watches. 0,
 * or the code that every query in a child returns where that fails. */
int ww_inherit(struct ww *ww);

/* The same before a call that only lets go, which may go on if it fails: the
 * parent's descriptors are forgotten anyway. */
void ww_inherit_to_leave(struct ww *ww);

#endif
