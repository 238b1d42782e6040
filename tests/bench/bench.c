/* SPDX-License-Identifier: MIT */
/*
 * bench.c - the same work by each technique, interleaved, medians of repeated
 * runs. A table for people on stdout; DIR/NAME.csv and DIR/NAME.svg for each
 * question. bench [DIR [QUESTION...]]
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

static const struct technique ours[] = {
	OURS("process_memwatch", GIB, GIB),
	OURS("uffd-async", 16 * GIB, 2048 * GIB),
	OURS("soft-dirty", 256 * MIB, 256 * MIB),
	OURS("uffd-sync", 256 * MIB, 256 * MIB),
	OURS("mprotect", 256 * MIB, 256 * MIB),
};
#define NOURS (sizeof(ours) / sizeof(ours[0]))

static const char *dir = ".";
void *pages[MOST_PAGES];

double now(void)
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

double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), ascending);
	return v[n / 2];
}

double median_if_any(double *v)
{
	return isnan(v[0]) ? NAN : median(v, REPEATS);
}

char *map(size_t len)
{
	char *m = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		abort();
	madvise(m, len, MADV_NOHUGEPAGE);
	return m;
}

void dirty(char *m, const struct work *w)
{
	size_t npages = w->len / PAGE,
	       n = (size_t)(w->density * (double)npages);
	size_t i;

	for (i = 0; i < n; i++)
		m[(w->clustered ? i : i * npages / n) * PAGE + 8]++;
}

struct field field_of(const struct technique *const *list, size_t n)
{
	struct field f = { { NULL }, 0 };
	size_t i;

	for (i = 0; i < n; i++)
		if (list[i]->open(list[i]->name) == 0) {
			list[i]->close();
			f.t[f.n++] = list[i];
		}
	return f;
}

struct field field_of_ours(const struct technique *first, size_t n)
{
	const struct technique *list[PLOT_SERIES];
	size_t i;

	for (i = 0; i < n; i++)
		list[i] = &first[i];
	return field_of(list, n);
}

struct field field_all(void)
{
	static const struct technique *const references[] = {
		&reference_bare,      &reference_lazy, &reference_armed,
		&reference_softdirty, &reference_sync, &reference_mprotect,
		&reference_whole,     &reference_copy,
	};
	const size_t n = sizeof(references) / sizeof(references[0]);
	const struct technique *list[NOURS + 8];
	size_t i;

	for (i = 0; i < NOURS; i++)
		list[i] = &ours[i];
	for (i = 0; i < n; i++)
		list[NOURS + i] = references[i];
	return field_of(list, NOURS + n);
}

void begin(struct plot *plot, const struct field *f, const char *name,
	   const char *title, const char *x, const char *y)
{
	size_t i;

	plot_begin(plot, name, title, x, y);
	for (i = 0; i < f->n; i++)
		plot_series(plot, f->t[i]->name);
}

FILE *create(const char *name, const char *type)
{
	return plot_create(dir, name, type);
}

void end(const struct plot *plot)
{
	plot_end(plot, dir);
	fflush(stdout);
}

double cost_once(const struct side *s, char *m, const struct work *w)
{
	const struct technique *t = s->t;
	double v = NAN;

	if (t->open(t->name) != 0)
		return v;
	if (w->unwatched) {
		v = s->cost(t, m, w);
	} else if (t->watch(m, w->len) == 0) {
		v = s->cost(t, m, w);
		t->unwatch(m, w->len);
	}
	t->close();
	return v;
}

void measure(struct plot *plot, const struct field *f, double x, cost_fn *cost,
	     const struct work *w)
{
	double v[PLOT_SERIES][REPEATS];
	char *m = map(w->len);
	size_t i, k;

	if (!w->untouched)
		memset(m, 1, w->len);
	for (k = 0; k < REPEATS; k++)
		for (i = 0; i < f->n; i++) {
			const struct side s = { f->t[i], cost };
			size_t most = w->untouched ? s.t->most_untouched :
						     s.t->most;

			v[i][k] = w->len > most ? NAN : cost_once(&s, m, w);
			if (w->untouched) {
				munmap(m, w->len);
				m = map(w->len);
			}
		}
	munmap(m, w->len);
	plot_row(plot, x);
	for (i = 0; i < f->n; i++)
		plot_value(plot, median_if_any(v[i]));
}

void pin(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

void unpin(void)
{
	cpu_set_t all;
	int i;

	CPU_ZERO(&all);
	for (i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &all);
	sched_setaffinity(0, sizeof(all), &all);
}

static void first_line(const char *path, const char *key, char *out, size_t len)
{
	FILE *f = fopen(path, "r");
	char line[256];

	snprintf(out, len, "?");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key))) {
			const char *value = strchr(line, ':');

			value = *key && value ? value + 2 : line;
			snprintf(out, len, "%.*s", (int)strcspn(value, "\n"),
				 value);
			break;
		}
	if (f)
		fclose(f);
}

static void tell_machine(void)
{
	char thp[80], cpu[80];
	struct utsname u;

	uname(&u);
	first_line("/sys/kernel/mm/transparent_hugepage/enabled", "", thp,
		   sizeof(thp));
	first_line("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
	printf("Linux %s %s, %s, huge pages %s, medians of %d interleaved runs\n",
	       u.release, u.machine, cpu, thp, REPEATS);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*ask)(void);
	} questions[] = {
		{ "open", ask_open },		{ "watch", ask_watch },
		{ "write", ask_write },		{ "query", ask_query },
		{ "ranges", ask_ranges },	{ "ratios", ask_ratios },
		{ "modes", ask_modes },		{ "setups", ask_setups },
		{ "threads", ask_threads },	{ "being", ask_cost_of_being },
		{ "windows", ask_windows },
	};
	size_t i;
	int k;

	if (argc > 1)
		dir = argv[1];
	tell_machine();
	pin(0);
	for (i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		bool wanted = argc <= 2;

		for (k = 2; k < argc; k++)
			wanted |= !strcmp(argv[k], questions[i].name);
		if (wanted)
			questions[i].ask();
	}
	return 0;
}
