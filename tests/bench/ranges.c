/* SPDX-License-Identifier: MIT */
/* ranges.c - what many watched ranges cost: watching them, and asking for all. */
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RANGE (16 * PAGE)

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

typedef double ranges_fn(char *m, size_t n, size_t step);

static double time_ranges(const struct technique *t, ranges_fn *fn, size_t n,
			  size_t step)
{
	char *m = map(n * step);
	double v[REPEATS];
	size_t i;

	memset(m, 1, n * step);
	for (i = 0; i < REPEATS; i++)
		v[i] = NAN;
	if (t->open("uffd-async") != 0)
		return NAN;
	if (watch_ranges(t, m, n, step) == 0)
		for (i = 0; i < REPEATS; i++) {
			touch_ranges(m, n, step);
			v[i] = fn(m, n, step);
		}
	t->close();
	munmap(m, n * step);
	return isnan(v[0]) ? NAN : median(v, REPEATS);
}

/* One more range of 64 KiB, watched and let go, where n are watched. */
static double one_more(const struct technique *t, char *m, size_t n)
{
	char *at = m + n * 2 * RANGE;
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

/* ns for each of n, and for one more. */
static void time_many(const struct technique *t, size_t n, double *each,
		      double *more)
{
	char *m = map((n + 1) * 2 * RANGE);
	double start;

	*each = *more = NAN;
	memset(m, 1, (n + 1) * 2 * RANGE);
	if (t->open(t->name) != 0)
		return;
	start = now();
	if (watch_ranges(t, m, n, 2 * RANGE) == 0) {
		*each = (now() - start) / (double)n;
		*more = one_more(t, m, n);
	}
	t->close();
	munmap(m, (n + 1) * 2 * RANGE);
}

static void ask_many(void)
{
	static const struct technique mine = OURS("uffd-async", 0, 0);
	static const size_t counts[] = { 1, 10, 100, 1000, 10000 };
	struct plot plot;
	size_t i, k;

	plot_begin(&plot, "watch-many",
		   "watching scattered ranges of 64 KiB, written before",
		   "watched ranges", "ns");
	plot_series(&plot, "uffd-async, each of them");
	plot_series(&plot, "uffd-async, one more and away");
	plot_series(&plot, "by hand, each of them");
	plot_series(&plot, "by hand, one more and away");
	for (i = 0; i < COUNT(counts); i++) {
		double v[4][REPEATS];

		for (k = 0; k < REPEATS; k++) {
			time_many(&mine, counts[i], &v[0][k], &v[1][k]);
			time_many(&reference_lazy, counts[i], &v[2][k],
				  &v[3][k]);
		}
		plot_row(&plot, (double)counts[i]);
		for (k = 0; k < 4; k++)
			plot_value(&plot, isnan(v[k][0])
						  ? NAN
						  : median(v[k], REPEATS));
	}
	end(&plot);
}

void ask_ranges(void)
{
	static const struct technique mine = OURS("uffd-async", 0, 0);
	static const size_t counts[] = { 1, 10, 100, 1000, 10000 };
	struct plot plot;
	size_t i;

	plot_begin(&plot, "ranges", "get-and-reset of ranges of 64 KiB",
		   "watched ranges", "ns a range");
	plot_series(&plot, "touching, one call");
	plot_series(&plot, "touching, a call each");
	plot_series(&plot, "scattered, one call");
	plot_series(&plot, "scattered, a call each");
	plot_series(&plot, "scattered, a bare ioctl each");
	for (i = 0; i < COUNT(counts); i++) {
		size_t n = counts[i];

		plot_row(&plot, (double)n);
		plot_value(&plot, time_ranges(&mine, one_call, n, RANGE));
		plot_value(&plot, time_ranges(&mine, call_each, n, RANGE));
		plot_value(&plot, time_ranges(&mine, one_call, n, 2 * RANGE));
		plot_value(&plot, time_ranges(&mine, call_each, n, 2 * RANGE));
		plot_value(&plot, time_ranges(&reference_bare, bare_each, n,
					      2 * RANGE));
	}
	end(&plot);
	ask_many();
}
