/* SPDX-License-Identifier: MIT */
/*
 * bench.h - ways to track writes, ours and those that programs use instead, and
 * how to ask all of them the same question.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plot.h"

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define RANGE (16 * PAGE)
#define APART (2 * RANGE)
#define REPEATS 5
#define MOST_PAGES ((size_t)2 << 20)

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
	/* Most bytes that it is asked about: beyond, a row takes minutes. */
	size_t most, most_untouched;
};

/* ours.c: libwritewatch; name: BACKEND or "BACKEND, MODE". */
int ours_open(const char *name);
void ours_close(void);
int ours_watch(char *m, size_t len);
void ours_unwatch(char *m, size_t len);
size_t ours_get_reset(char *m, size_t len, void **pages, size_t room);
/* The same by ww_get_ranges(): how many pages. m NULL: all that is watched. */
size_t ours_get_runs(char *m, size_t len, void **pages, size_t room);

#define OURS(name, most, untouched)                                            \
	{                                                                      \
		name, ours_open, ours_close, ours_watch, ours_unwatch,         \
			ours_get_reset, most, untouched                        \
	}

/* reference/: the same work as others do it. */
extern const struct technique reference_bare, reference_armed, reference_lazy,
	reference_mprotect, reference_whole, reference_sync,
	reference_softdirty, reference_copy, reference_untracked;

/* Bare PAGEMAP_SCAN of what reference_bare watches, runs only. */
size_t bare_get_runs(char *m, size_t len);

/* A list of techniques, those that are usable here. */
struct field {
	const struct technique *t[PLOT_SERIES];
	size_t n;
};

struct work {
	size_t len;
	double density; /* of dirty pages */
	bool clustered, untouched, unwatched;
	size_t room; /* entries of the array; 0: all */
	/* Many ranges of RANGE bytes instead; step: from one to the next. */
	size_t count, step;
};

typedef double cost_fn(const struct technique *t, char *m,
		       const struct work *w);

/* What is measured. */
struct side {
	const struct technique *t;
	cost_fn *cost;
};

extern void *pages[MOST_PAGES];

double now(void); /* ns */
double median(double *v, size_t n);
char *map(size_t len);

/* Make w's part of the pages dirty. */
void dirty(char *m, const struct work *w);

struct field field_of(const struct technique *const *list, size_t n);
struct field field_of_ours(const struct technique *first, size_t n);
struct field field_all(void); /* ours and the references */
void begin(struct plot *plot, const struct field *f, const char *name,
	   const char *title, const char *x, const char *y);
/* On memory that is not watched. NAN: the technique does not work here. */
double cost_once(const struct side *s, char *m, const struct work *w);
/* Of REPEATS values; NAN if the first is. */
double median_if_any(double *v);
/* One row: the median cost of each technique. Interleaved. */
void measure(struct plot *plot, const struct field *f, double x, cost_fn *cost,
	     const struct work *w);
void end(const struct plot *plot);
/* A file of the same folder. */
FILE *create(const char *name, const char *type);

/* questions.c. ns for all of w, or for each page of it: a pass over w, in queries that
 * fill the array. ns for one such query. ns a page written after a reset. us for a cycle:
 * all pages written, get-and-reset. */
cost_fn cost_of_pass, cost_a_page, cost_a_query, cost_after_reset,
	cost_of_cycle;

/* ranges.c: ns a range; for the last, to watch one more and unwatch it. */
cost_fn cost_of_one_call, cost_of_call_each, cost_of_bare_each,
	cost_of_watching, cost_of_one_more;

/* windows.c: ns for 64 KiB, allocated with a write watch and given back; the second is
 * without the library's Win32 face. */
cost_fn cost_of_allocation, cost_of_mapping;

/* On one processor, or on all. */
void pin(int cpu);
void unpin(void);

/* The questions. */
void ask_open(void); /* before any other opens something */
void ask_watch(void);
void ask_write(void);
void ask_query(void);
void ask_ranges(void);
void ask_ratios(void);
void ask_modes(void);
void ask_setups(void);
void ask_threads(void);
void ask_cost_of_being(void);
void ask_windows(void); /* last: its tracker stays open */

#endif
