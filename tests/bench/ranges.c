/* SPDX-License-Identifier: MIT */
/* ranges.c - what many watched ranges cost: watching them, and asking for all. */
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static double one_call(char *m, size_t n, size_t step)
{
	double start = now();

	ours_get_runs(NULL, 0, NULL, n + 1);
	return (now() - start) / (double)n;
}

static double call_each(char *m, size_t n, size_t step)
{
	double start = now();
	size_t i;

	for (i = 0; i < n; i++)
		ours_get_runs(m + i * step, RANGE, NULL, 4);
	return (now() - start) / (double)n;
}

static double bare_each(char *m, size_t n, size_t step)
{
	double start = now();
	size_t i;

	for (i = 0; i < n; i++)
		bare_get_runs(m + i * step, RANGE);
	return (now() - start) / (double)n;
}

/* Every tenth has a page written. */
static void touch_ranges(char *m, size_t n, size_t step)
{
	size_t i;

	for (i = 0; i < n; i += 10)
		m[i * step + 5 * PAGE] = 1;
}

static int watch_ranges(const struct technique *t, char *m, size_t n,
			size_t step)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (t->watch(m + i * step, RANGE) != 0)
			return -1;
	return 0;
}

static void unwatch_ranges(const struct technique *t, char *m, size_t n,
			   size_t step)
{
	size_t i;

	for (i = 0; i < n; i++)
		t->unwatch(m + i * step, RANGE);
}

typedef double ranges_fn(char *m, size_t n, size_t step);

static double cost_of_ranges(const struct technique *t, char *m,
			     const struct work *w, ranges_fn *fn)
{
	const size_t n = w->count;
	double v[REPEATS];
	size_t i;

	if (watch_ranges(t, m, n, w->step) != 0)
		return NAN;
	for (i = 0; i < REPEATS; i++) {
		touch_ranges(m, n, w->step);
		v[i] = fn(m, n, w->step);
	}
	unwatch_ranges(t, m, n, w->step);
	return median(v, REPEATS);
}

double cost_of_one_call(const struct technique *t, char *m,
			const struct work *w)
{
	return cost_of_ranges(t, m, w, one_call);
}

double cost_of_call_each(const struct technique *t, char *m,
			 const struct work *w)
{
	return cost_of_ranges(t, m, w, call_each);
}

double cost_of_bare_each(const struct technique *t, char *m,
			 const struct work *w)
{
	return cost_of_ranges(t, m, w, bare_each);
}

/* One range more, watched and let go, where n are watched. */
static double one_more(const struct technique *t, char *at)
{
	double v[101];
	size_t i;

	for (i = 0; i < 101; i++) {
		double start = now();

		if (t->watch(at, RANGE) != 0)
			return NAN;
		t->unwatch(at, RANGE);
		v[i] = now() - start;
	}
	return median(v, 101);
}

/* ns for each range. */
double cost_of_watching(const struct technique *t, char *m,
			const struct work *w)
{
	const size_t n = w->count;
	double start = now();

	if (watch_ranges(t, m, n, w->step) != 0)
		return NAN;
	start = (now() - start) / (double)n;
	unwatch_ranges(t, m, n, w->step);
	return start;
}

/* ns for one range more, watched and let go where so many are watched. */
double cost_of_one_more(const struct technique *t, char *m,
			const struct work *w)
{
	const size_t n = w->count;
	double v;

	if (watch_ranges(t, m, n, w->step) != 0)
		return NAN;
	v = one_more(t, m + n * w->step);
	unwatch_ranges(t, m, n, w->step);
	return v;
}

struct column {
	const char *name;
	struct side side;
	size_t step;
};

static void ask_columns(struct plot *plot, const struct column *c, size_t n)
{
	static const size_t counts[] = { 1, 10, 100, 1000, 10000 };
	const size_t len = (counts[COUNT(counts) - 1] + 1) * APART;
	char *m = map(len);
	size_t row, i, k;

	memset(m, 1, len);
	for (i = 0; i < n; i++)
		plot_series(plot, c[i].name);
	for (row = 0; row < COUNT(counts); row++) {
		double v[PLOT_SERIES][REPEATS];

		for (k = 0; k < REPEATS; k++)
			for (i = 0; i < n; i++)
				v[i][k] = cost_once(
					&c[i].side, m,
					&(struct work){ .count = counts[row],
							.step = c[i].step,
							.unwatched = true });
		plot_row(plot, (double)counts[row]);
		for (i = 0; i < n; i++)
			plot_value(plot, median_if_any(v[i]));
	}
	munmap(m, len);
	end(plot);
}

void ask_ranges(void)
{
	static const struct technique mine = OURS("uffd-async", GIB, GIB);
	static const struct column gets[] = {
		{ "touching, one call", { &mine, cost_of_one_call }, RANGE },
		{ "touching, a call each", { &mine, cost_of_call_each }, RANGE },
		{ "scattered, one call", { &mine, cost_of_one_call }, APART },
		{ "scattered, a call each", { &mine, cost_of_call_each }, APART },
		{ "scattered, a bare ioctl each",
		  { &reference_bare, cost_of_bare_each },
		  APART },
	};
	static const struct column watches[] = {
		{ "uffd-async, each of them", { &mine, cost_of_watching }, APART },
		{ "uffd-async, one more and away",
		  { &mine, cost_of_one_more },
		  APART },
		{ "by hand, each of them",
		  { &reference_lazy, cost_of_watching },
		  APART },
		{ "by hand, one more and away",
		  { &reference_lazy, cost_of_one_more },
		  APART },
	};
	struct plot plot;

	plot_begin(&plot, "ranges", "get-and-reset of ranges of 64 KiB",
		   "watched ranges", "ns a range");
	ask_columns(&plot, gets, COUNT(gets));
	plot_begin(&plot, "watch-many",
		   "watching scattered ranges of 64 KiB, written before",
		   "watched ranges", "ns");
	ask_columns(&plot, watches, COUNT(watches));
}
