/* SPDX-License-Identifier: MIT */
/*
 * ratios.c - the library against what bounds it, a line for each goal: pairs of runs,
 * one right after the other on the same memory. The minimum of the pairs is held
 * against the goal, because most noise only adds to a run; the median is beside it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SMALL ((size_t)64 << 10)

static const struct technique
	async = OURS("uffd-async", 16 * GIB, 0),
	mprot = OURS("mprotect", GIB, 0),
	runs = { "uffd-async, ranges", ours_open,     ours_close, ours_watch,
		 ours_unwatch,	       ours_get_runs, 16 * GIB,	  0 };

struct goal {
	const char *name;
	struct side mine, bound;
	double most;
	/* 0: a ratio. Else the difference, in ns for each of so many. */
	double per;
};

static FILE *csv;

static void tell(const char *name, const char *what, double most, double *v)
{
	double middle = median_if_any(v); /* and v ascends */

	if (isnan(middle))
		return;
	printf("%-38s %-28s %9.2f %9.2f %9.2f%s\n", name, what, most, v[0],
	       middle, v[0] > most ? "  missed" : "");
	fprintf(csv, "\"%s\",\"%s\",%g,%.4g,%.4g\n", name, what, most, v[0],
		middle);
	fflush(stdout);
}

/* One line. what: the work, in words. */
static void ask_at(char *m, const struct goal *g, const char *what,
		   const struct work *w)
{
	double v[REPEATS];
	size_t k;

	for (k = 0; k < REPEATS; k++) {
		double mine = cost_once(&g->mine, m, w);
		double bound = g->bound.t ? cost_once(&g->bound, m, w) : 0;

		v[k] = g->per != 0 ? (mine - bound) / g->per : mine / bound;
	}
	tell(g->name, what, g->most, v);
}

static char *map_written(size_t len)
{
	char *m = map(len);

	memset(m, 1, len);
	return m;
}

static void ask(const struct goal *g, const char *what, const struct work *w)
{
	char *m = map_written(w->len);

	ask_at(m, g, what, w);
	munmap(m, w->len);
}

static void ask_densities(const struct goal *g, char *m, size_t len,
			  size_t ndensities)
{
	static const double densities[] = {
		0, 0.0001, 0.001, 0.01, 0.1, 0.5, 1
	};
	char what[64];
	size_t i, k;

	for (k = 0; k < 2; k++)
		for (i = k; i < ndensities; i++) { /* 0 only once */
			struct work w = { .len = len,
					  .density = densities[i],
					  .clustered = k };

			snprintf(what, sizeof(what), "%zu MiB, %g %%%s",
				 len / MIB, densities[i] * 100,
				 !i  ? "" :
				 k   ? ", clustered" :
				       ", scattered");
			ask_at(m, g, what, &w);
		}
}

static void ask_queries(void)
{
	static const struct goal goals[] = {
		{ "addresses / armed up front",
		  { &async, cost_a_page },
		  { &reference_armed, cost_a_page },
		  1.05,
		  0 },
		{ "addresses / written alone",
		  { &async, cost_a_page },
		  { &reference_lazy, cost_a_page },
		  1.05,
		  0 },
		{ "ranges / armed up front",
		  { &runs, cost_a_page },
		  { &reference_armed, cost_a_page },
		  1.05,
		  0 },
		{ "ranges / written alone",
		  { &runs, cost_a_page },
		  { &reference_lazy, cost_a_page },
		  1.05,
		  0 },
	};
	static const struct {
		size_t len, ndensities;
	} sizes[] = { { 32 * MIB, 7 }, { 256 * MIB, 7 }, { 8 * GIB, 4 } };
	size_t i, k;

	for (k = 0; k < COUNT(sizes); k++) {
		char *m = map_written(sizes[k].len);

		for (i = 0; i < COUNT(goals); i++)
			ask_densities(&goals[i], m, sizes[k].len,
				      sizes[k].ndensities);
		munmap(m, sizes[k].len);
	}
}

static void ask_small(void)
{
	static const struct goal a_run = { "a run, ns over written alone",
					   { &async, cost_of_pass },
					   { &reference_lazy, cost_of_pass },
					   1.5,
					   4096 };
	static const struct goal a_query = { "a query, ns over the bare ioctl",
					     { &async, cost_a_query },
					     { &reference_bare, cost_a_query },
					     200,
					     1 };

	ask(&a_run, "32 MiB, 50 %, scattered",
	    &(struct work){ .len = 32 * MIB, .density = 0.5 });
	ask(&a_query, "64 KiB, clean, room for 1",
	    &(struct work){ .len = SMALL, .room = 1 });
	ask(&a_query, "64 KiB, 1 dirty, room for 1",
	    &(struct work){ .len = SMALL, .density = 1.0 / 16, .room = 1 });
}

/* --- watching, and many ranges --- */

/* Of the same work, with no other range. */
static double cost_of_only_one(const struct technique *t, char *m,
			       const struct work *w)
{
	return cost_of_one_more(t, m, &(struct work){ .step = w->step });
}

static void ask_many(void)
{
	static const struct goal goals[] = {
		{ "scattered, one call / an ioctl each",
		  { &async, cost_of_one_call },
		  { &reference_bare, cost_of_bare_each },
		  1.15,
		  0 },
		{ "watch and unwatch / by hand",
		  { &async, cost_of_only_one },
		  { &reference_lazy, cost_of_only_one },
		  2.0,
		  0 },
		{ "watch and unwatch / with no other",
		  { &async, cost_of_one_more },
		  { &async, cost_of_only_one },
		  1.5,
		  0 },
		{ "watching, us each",
		  { &async, cost_of_watching },
		  { NULL, NULL },
		  10,
		  1e3 },
	};
	static const struct goal touching = { "touching, one call / a call each",
					      { &async, cost_of_one_call },
					      { &async, cost_of_call_each },
					      0.1,
					      0 };
	static const struct goal windows = { "VirtualAlloc, VirtualFree / by hand",
					     { &async, cost_of_allocation },
					     { &reference_lazy, cost_of_mapping },
					     2.0,
					     0 };
	struct work w = { .count = 10000,
			  .step = APART,
			  .len = 10001 * APART,
			  .unwatched = true };
	size_t i;

	for (i = 0; i < COUNT(goals); i++)
		ask(&goals[i], "10,000 ranges of 64 KiB", &w);
	w.step = RANGE;
	w.len = 10001 * RANGE;
	ask(&touching, "10,000 ranges of 64 KiB", &w);
	ask(&windows, "64 KiB",
	    &(struct work){ .len = SMALL, .unwatched = true });
}

/* --- mprotect --- */

static void ask_mprotect(const struct technique *bound, const char *name)
{
	static const struct {
		cost_fn *cost;
		const char *what;
		struct work work;
	} rows[] = {
		{ cost_a_query,
		  "64 KiB, 1 dirty, room for 1",
		  { .len = SMALL, .density = 1.0 / 16, .room = 1 } },
		{ cost_of_cycle, "a cycle of 1000 pages", { .len = 1000 * PAGE } },
		{ cost_after_reset, "a write after a reset", { .len = 32 * MIB } },
	};
	struct goal g = {
		name, { &mprot, cost_a_page }, { bound, cost_a_page }, 1, 0
	};
	char *m = map_written(32 * MIB);
	size_t i;

	ask_densities(&g, m, 32 * MIB, 7);
	munmap(m, 32 * MIB);
	for (i = 0; i < COUNT(rows); i++) {
		g.mine.cost = g.bound.cost = rows[i].cost;
		ask(&g, rows[i].what, &rows[i].work);
	}
}

void ask_ratios(void)
{
	csv = create("ratios", "csv");
	fprintf(csv, "ratio,work,goal,minimum,median\n");
	printf("\nthe library / its bound, of %d pairs\n%-38s %-28s %9s %9s %9s\n",
	       REPEATS, "ratio", "work", "goal", "minimum", "median");
	ask_queries();
	ask_small();
	ask_many();
	ask_mprotect(&reference_whole, "mprotect / of all (Wine 10)");
	ask_mprotect(&reference_mprotect, "mprotect / SIGSEGV by hand");
	fclose(csv);
}
