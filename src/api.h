/* SPDX-License-Identifier: MIT */
/*
 * api.h - what the other floors need of the calls' common checks.
 */
#ifndef WW_API_H
#define WW_API_H

/* The closed set of codes: what is not one of the ten becomes one of them. */
int ww_error(int r);

#endif
