/* SPDX-License-Identifier: MIT */
/*
 * bench.h - a way to track writes, ours or one that programs use instead.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE ((size_t)4096)

struct technique {
	const char *name;
	/* 0, or it is not usable here. */
	int (*open)(const char *name);
	void (*close)(void);
	/* All pages clean on return. 0, or it failed. */
	int (*watch)(char *m, size_t len);
	void (*unwatch)(char *m, size_t len);
	/* The dirty pages, which become clean; as many as there is room. */
	size_t (*get_reset)(char *m, size_t len, void **pages, size_t room);
};

/* ours.c: libwritewatch on the backend of that name. */
int ours_open(const char *name);
void ours_close(void);
int ours_watch(char *m, size_t len);
void ours_unwatch(char *m, size_t len);
size_t ours_get_reset(char *m, size_t len, void **pages, size_t room);
size_t ours_get_runs(char *m, size_t len, size_t room);
struct ww *ours_tracker(void);

/* reference/: the same work as others do it. */
extern const struct technique reference_bare, reference_armed,
	reference_mprotect, reference_copy;

#endif
