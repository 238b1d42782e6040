/* SPDX-License-Identifier: MIT */
/*
 * error.h - the closed set of codes of the public calls.
 */
#ifndef WW_ERROR_H
#define WW_ERROR_H

/* A result for the program: what is not one of the ten codes becomes one. */
int ww_error(int r);

#endif
