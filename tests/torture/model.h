/* SPDX-License-Identifier: MIT */
/*
 * model.h - a reference model of dirty pages, and a sequence of operations run
 * against it and a real tracker.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An operation is four bytes: what, first page, pages, argument. */
#define MODEL_OP 4

/* Run a sequence on a backend. True if the tracker behaved as the model; else
 * what went wrong is in why. With trace each operation is printed. */
bool model_run(const char *backend, const uint8_t *ops, size_t len, char *why,
	       size_t why_len, bool trace);

#endif
