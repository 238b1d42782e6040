/* SPDX-License-Identifier: MIT */
/*
 * inherit.h - a tracker in a fork child.
 */
#ifndef WW_INHERIT_H
#define WW_INHERIT_H

#include "core/backend.h"

/* Once for the process, behind ww_fork_init(). */
void ww_inherit_init(void);

/* Before each call: in a child, set the tracker up and arm what it watches. 0, or
 * what every query says in a child that can not be set up. */
int ww_inherit(struct ww *ww);

/* Before a call that only lets go: never with the parent's descriptors. */
void ww_inherit_to_leave(struct ww *ww);

#endif
