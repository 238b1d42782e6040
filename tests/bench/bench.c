/* SPDX-License-Identifier: MIT */
/*
 * bench.c - the same work by each technique, interleaved, medians of repeated
 * runs. A table for people on stdout; DIR/NAME.csv and DIR/NAME.svg for each
 * question. bench [DIR]
 */
#include "bench.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>

#include "plot.h"
#include "writewatch.h"

#define REPEATS 9
#define OURS(name)                                                             \
	{                                                                      \
		name, ours_open, ours_close, ours_watch, ours_unwatch,         \
			ours_get_reset                                         \
	}

static const struct technique ours[] = {
	OURS("process_memwatch"), OURS("uffd-async"), OURS("soft-dirty"),
	OURS("uffd-sync"),	  OURS("mprotect"),
};
#define NOURS (sizeof(ours) / sizeof(ours[0]))

static const struct technique *all[NOURS + 4];
static size_t nall;
static const char *dir = ".";

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), ascending);
	return v[n / 2];
}

static char *map(size_t len)
{
	char *m = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		abort();
	madvise(m, len, MADV_NOHUGEPAGE);
	return m;
}

static void find_techniques(void)
{
	static const struct technique *const references[] = {
		&reference_bare, &reference_armed, &reference_mprotect,
		&reference_copy
	};
	size_t i;

	for (i = 0; i < NOURS; i++)
		if (ours[i].open(ours[i].name) == 0) {
			ours[i].close();
			all[nall++] = &ours[i];
		}
	for (i = 0; i < 4; i++)
		if (references[i]->open(NULL) == 0) {
			references[i]->close();
			all[nall++] = references[i];
		}
}

/* --- what is measured --- */

struct work {
	size_t len;
	double density; /* of dirty pages */
	bool clustered;
};

static void *pages[1 << 18];

static void dirty(char *m, const struct work *w)
{
	size_t npages = w->len / PAGE,
	       n = (size_t)(w->density * (double)npages);
	size_t i;

	for (i = 0; i < n; i++)
		m[(w->clustered ? i : i * npages / n) * PAGE + 8]++;
}

/* ns a page of region for one get-and-reset. */
static double cost_of_query(const struct technique *t, char *m,
			    const struct work *w)
{
	double v[5];
	size_t i, want = (size_t)(w->density * (double)(w->len / PAGE));

	for (i = 0; i < 5; i++) {
		double start;
		size_t n;

		dirty(m, w);
		start = now();
		n = t->get_reset(m, w->len, pages, 1 << 18);
		v[i] = (now() - start) / (double)(w->len / PAGE);
		if (n < want)
			abort();
	}
	return median(v, 5);
}

static double cost_of_watch(const struct technique *t, char *m,
			    const struct work *w)
{
	double start = now();

	if (t->watch(m, w->len) != 0)
		return NAN;
	start = now() - start;
	t->unwatch(m, w->len);
	return start;
}

/* ns for the first write to a page after a reset. */
static double cost_of_write(const struct technique *t, char *m,
			    const struct work *w)
{
	size_t i, n = w->len / PAGE;
	double start;

	t->get_reset(m, w->len, pages, 1 << 18);
	start = now();
	for (i = 0; i < n; i++)
		((volatile char *)m)[i * PAGE] = 1;
	return (now() - start) / (double)n;
}

typedef double cost_fn(const struct technique *t, char *m,
		       const struct work *w);

/* One row of a question: a cost for each technique. Interleaved. */
static void measure(struct plot *plot, double x, cost_fn *cost,
		    const struct work *w, bool populated, bool watched)
{
	double v[NOURS + 4][REPEATS];
	size_t i, k;

	for (k = 0; k < REPEATS; k++)
		for (i = 0; i < nall; i++) {
			char *m = map(w->len);

			if (populated)
				memset(m, 1, w->len);
			all[i]->open(all[i]->name);
			if (watched && all[i]->watch(m, w->len) != 0)
				v[i][k] = NAN;
			else
				v[i][k] = cost(all[i], m, w);
			if (watched && !isnan(v[i][k]))
				all[i]->unwatch(m, w->len);
			all[i]->close();
			munmap(m, w->len);
		}
	plot_row(plot, x);
	for (i = 0; i < nall; i++)
		plot_value(plot, median(v[i], REPEATS));
}

static void begin(struct plot *plot, const char *name, const char *title,
		  const char *x, const char *y)
{
	size_t i;

	plot_begin(plot, name, title, x, y);
	for (i = 0; i < nall; i++)
		plot_series(plot, all[i]->name);
}

static void ask_watch(void)
{
	static const size_t sizes[] = { 64 << 10, 1 << 20, 16 << 20,
					(size_t)256 << 20 };
	struct plot plot;
	size_t i;

	begin(&plot, "watch", "watching memory that was written", "bytes",
	      "ns");
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		measure(&plot, (double)sizes[i], cost_of_watch,
			&(struct work){ sizes[i], 0, false }, true, false);
	plot_end(&plot, dir);
	begin(&plot, "watch-untouched", "watching memory that was not touched",
	      "bytes", "ns");
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		measure(&plot, (double)sizes[i], cost_of_watch,
			&(struct work){ sizes[i], 0, false }, false, false);
	plot_end(&plot, dir);
}

static void ask_write(void)
{
	struct plot plot;

	begin(&plot, "write", "first write to a page after a reset", "bytes",
	      "ns a page");
	measure(&plot, 1 << 20, cost_of_write,
		&(struct work){ 1 << 20, 0, false }, true, true);
	measure(&plot, 16 << 20, cost_of_write,
		&(struct work){ 16 << 20, 0, false }, true, true);
	plot_end(&plot, dir);
}

static void ask_query(const char *name, const char *title, bool clustered)
{
	static const double densities[] = {
		0, 0.0001, 0.001, 0.01, 0.1, 0.5, 1
	};
	struct plot plot;
	size_t i;

	begin(&plot, name, title, "part of pages dirty", "ns a page of region");
	for (i = 0; i < sizeof(densities) / sizeof(densities[0]); i++)
		measure(&plot, densities[i], cost_of_query,
			&(struct work){ (size_t)64 << 20, densities[i],
					clustered },
			true, true);
	plot_end(&plot, dir);
}

static void ask_small(void)
{
	static const size_t sizes[] = { 64 << 10, 1 << 20, 16 << 20 };
	struct plot plot;
	size_t i;

	begin(&plot, "small", "a query that finds one page", "bytes",
	      "ns a page of region");
	for (i = 0; i < 3; i++)
		measure(&plot, (double)sizes[i], cost_of_query,
			&(struct work){ sizes[i],
					1.01 * (double)PAGE / (double)sizes[i],
					true },
			true, true);
	plot_end(&plot, dir);
}

/* Our own: many ranges in one call against a call each. */
static void ask_ranges(void)
{
	static const size_t counts[] = { 1, 10, 100, 1000, 10000 };
	struct plot plot;
	size_t i, k, r;

	plot_begin(&plot, "ranges",
		   "get-and-reset of ranges that touch, uffd-async",
		   "watched ranges", "ns a range");
	plot_series(&plot, "one call for all");
	plot_series(&plot, "a call each");
	for (i = 0; i < 5; i++) {
		size_t n = counts[i], len = n * 16 * PAGE;
		double one[REPEATS], each[REPEATS];
		char *m = map(len);

		if (ours_open("uffd-async") != 0)
			break;
		memset(m, 1, len);
		for (k = 0; k < n; k++)
			if (ours_watch(m + k * 16 * PAGE, 16 * PAGE) != 0)
				abort();
		for (r = 0; r < REPEATS; r++) {
			double start;

			for (k = 0; k < n; k += 10)
				m[k * 16 * PAGE] = 1;
			start = now();
			ours_get_runs(m, len, n);
			one[r] = (now() - start) / (double)n;
			for (k = 0; k < n; k += 10)
				m[k * 16 * PAGE] = 1;
			start = now();
			for (k = 0; k < n; k++)
				ours_get_runs(m + k * 16 * PAGE, 16 * PAGE, 4);
			each[r] = (now() - start) / (double)n;
		}
		plot_row(&plot, (double)n);
		plot_value(&plot, median(one, REPEATS));
		plot_value(&plot, median(each, REPEATS));
		ours_close();
		munmap(m, len);
	}
	plot_end(&plot, dir);
}

/* 170 MB, 1500 pages a frame, 2000 entries: us of tracking a frame. */
static double cost_of_frame(const struct technique *t, char *m,
			    const struct work *w)
{
	double v[20];
	size_t f, i;

	for (f = 0; f < 20; f++) {
		double start = now();

		for (i = 0; i < 1500; i++)
			m[(i * 29 + f * 101) % (w->len / PAGE) * PAGE + 8]++;
		t->get_reset(m, w->len, pages, 2000);
		v[f] = (now() - start) / 1e3;
	}
	return median(v, 20);
}

static void ask_rollback(void)
{
	struct plot plot;

	begin(&plot, "rollback",
	      "a frame of 1500 written pages in 170 MB, writes and query",
	      "frames", "us a frame");
	measure(&plot, 20, cost_of_frame,
		&(struct work){ (size_t)170 << 20, 0, false }, true, true);
	plot_end(&plot, dir);
}

static void tell_machine(void)
{
	char thp[80] = "?";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	struct utsname u;
	cpu_set_t one;

	uname(&u);
	if (f) {
		if (!fgets(thp, sizeof(thp), f))
			thp[0] = '\0';
		thp[strcspn(thp, "\n")] = '\0';
		fclose(f);
	}
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	printf("Linux %s %s, huge pages %s, %s, medians of %d\n", u.release,
	       u.machine, thp,
	       sched_setaffinity(0, sizeof(one), &one) == 0 ? "on one processor"
							    : "not pinned",
	       REPEATS);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		dir = argv[1];
	tell_machine();
	find_techniques();
	ask_watch();
	ask_write();
	ask_query("query-scattered", "get-and-reset of 64 MiB, scattered",
		  false);
	ask_query("query-clustered", "get-and-reset of 64 MiB, clustered",
		  true);
	ask_small();
	ask_ranges();
	ask_rollback();
	return 0;
}
