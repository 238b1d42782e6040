/* SPDX-License-Identifier: MIT */
/*
 * report.c - what was written, as a picture, a table, CSV and SVG.
 *
 * In the pictures each mapping that was written has a part whose size grows
 * with the logarithm of its own: else a heap of a gigabyte would hide
 * everything.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define COLUMNS 64
#define MOST_RUNS ((size_t)4 << 20) /* kept: some 200 MB */

/* --- collecting --- */

static bool grow(void **array, size_t n, size_t size)
{
	void *more;

	if (n & (n - 1)) /* full only at powers of two */
		return true;
	more = realloc(*array, (n ? n * 2 : 1) * size);
	if (more)
		*array = more;
	return more != NULL;
}

unsigned cli_report_mapping(struct cli_report *self, pid_t pid,
			    const char *process, uintptr_t start, uintptr_t end,
			    const char *name)
{
	struct cli_mapping *m;
	size_t i;

	for (i = 0; i < self->nmappings; i++) {
		m = &self->mapping[i];
		if (m->pid != pid || m->end < start || m->start > end ||
		    strncmp(m->name, name, sizeof(m->name) - 1) != 0)
			continue;
		/* the same one, grown */
		if (start < m->start)
			m->start = start;
		if (end > m->end)
			m->end = end;
		return (unsigned)i;
	}
	if (!grow((void **)&self->mapping, self->nmappings, sizeof(*m)))
		return 0;
	m = &self->mapping[self->nmappings];
	*m = (struct cli_mapping){ .pid = pid, .start = start, .end = end };
	snprintf(m->process, sizeof(m->process), "%s", process);
	snprintf(m->name, sizeof(m->name), "%s", name);
	return (unsigned)self->nmappings++;
}

void cli_report_add(struct cli_report *self, double when, unsigned mapping,
		    uintptr_t start, size_t len)
{
	struct cli_mapping *m = &self->mapping[mapping];

	m->pages += len / self->page;
	if (self->nruns == MOST_RUNS ||
	    !grow((void **)&self->run, self->nruns, sizeof(*self->run)))
		return;
	self->run[self->nruns++] =
		(struct cli_run_of_pages){ when, m->pid, mapping, start, len };
}

/* --- the layout --- */

struct layout {
	unsigned *order; /* written mappings, by process and address */
	double *from;	 /* where the part of each begins, by mapping */
	double *size;
	size_t n;
	double all;
};

static const struct cli_mapping *sorted;

static int by_address(const void *a, const void *b)
{
	const struct cli_mapping *x = &sorted[*(const unsigned *)a];
	const struct cli_mapping *y = &sorted[*(const unsigned *)b];

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return (x->start > y->start) - (x->start < y->start);
}

static size_t pages_of(const struct cli_report *r, const struct cli_mapping *m)
{
	return (m->end - m->start) / r->page;
}

static void lay_down(struct layout *l)
{
	free(l->order);
	free(l->from);
	free(l->size);
}

static bool lay_out(const struct cli_report *r, struct layout *l)
{
	size_t i, n = r->nmappings + 1;

	*l = (struct layout){ malloc(n * sizeof(*l->order)),
			      malloc(n * sizeof(double)),
			      malloc(n * sizeof(double)), 0, 0 };
	if (!l->order || !l->from || !l->size) {
		lay_down(l);
		return false;
	}
	for (i = 0; i < r->nmappings; i++)
		if (r->mapping[i].pages)
			l->order[l->n++] = (unsigned)i;
	sorted = r->mapping;
	qsort(l->order, l->n, sizeof(*l->order), by_address);
	for (i = 0; i < l->n; i++) {
		const struct cli_mapping *m = &r->mapping[l->order[i]];

		l->from[l->order[i]] = l->all;
		l->size[l->order[i]] = 1 + log2((double)pages_of(r, m));
		l->all += l->size[l->order[i]];
	}
	return true;
}

/* Where in the picture a page is, 0 to 1. */
static double place(const struct cli_report *r, const struct layout *l,
		    const struct cli_run_of_pages *run, size_t offset)
{
	const struct cli_mapping *m = &r->mapping[run->mapping];
	double at = (double)(run->start + offset - m->start) /
		    (double)(m->end - m->start);

	return (l->from[run->mapping] + at * l->size[run->mapping]) / l->all;
}

/* How many pages one slot of a picture with so many slots stands for. */
static double slot_pages(const struct cli_report *r, const struct layout *l,
			 const struct cli_run_of_pages *run, size_t slots)
{
	const struct cli_mapping *m = &r->mapping[run->mapping];

	return fmax(1, (double)pages_of(r, m) / (l->size[run->mapping] /
						 l->all * (double)slots));
}

/* --- a line an interval --- */

void cli_report_line(struct cli_report *self, double when)
{
	static const char shade[] = " .:-=+*#%@";
	double heat[COLUMNS] = { 0 };
	size_t pages = 0, i, at;
	struct layout l;

	if (self->quiet || self->shown == self->nruns || !lay_out(self, &l))
		return;
	for (i = self->shown; i < self->nruns; i++) {
		const struct cli_run_of_pages *run = &self->run[i];
		double part = slot_pages(self, &l, run, COLUMNS);

		pages += run->len / self->page;
		for (at = 0; at < run->len; at += self->page) {
			size_t slot =
				(size_t)(place(self, &l, run, at) * COLUMNS);

			heat[slot < COLUMNS ? slot : COLUMNS - 1] += 1 / part;
		}
	}
	fprintf(stderr, "%7.1f s |", when);
	for (i = 0; i < COLUMNS; i++) {
		int level = heat[i] > 0 ? 1 + (int)(heat[i] * 8) : 0;

		fputc(shade[level < 9 ? level : 9], stderr);
	}
	fprintf(stderr, "| %zu pages, %.1f MiB/s\n", pages,
		(double)(pages * self->page) / self->interval / (1 << 20));
	self->shown = self->nruns;
	lay_down(&l);
}

/* --- the end --- */

static int by_pages(const void *a, const void *b)
{
	const struct cli_mapping *x = &sorted[*(const unsigned *)a];
	const struct cli_mapping *y = &sorted[*(const unsigned *)b];

	return (x->pages < y->pages) - (x->pages > y->pages);
}

static void table(const struct cli_report *r, struct layout *l, double seconds)
{
	size_t i;

	sorted = r->mapping;
	qsort(l->order, l->n, sizeof(*l->order), by_pages);
	fprintf(stderr, "%8s %-15s %10s %10s %10s  %-16s %s\n", "PID",
		"PROCESS", "SIZE KiB", "PAGES", "KiB/s", "START", "MAPPING");
	for (i = 0; i < l->n && i < 20; i++) {
		const struct cli_mapping *m = &r->mapping[l->order[i]];

		fprintf(stderr, "%8d %-15s %10zu %10zu %10.0f  0x%-14zx %s\n",
			(int)m->pid, m->process,
			(size_t)(m->end - m->start) / 1024, m->pages,
			(double)(m->pages * r->page) / 1024 / seconds,
			(size_t)m->start, m->name);
	}
	if (l->n > 20)
		fprintf(stderr, "%8s and %zu more\n", "", l->n - 20);
	if (!l->n)
		fprintf(stderr, "nothing was written while it was looked at\n");
	if (r->nruns == MOST_RUNS)
		fprintf(stderr,
			"the pictures end early: too much was written\n");
}

static int write_csv(const struct cli_report *r)
{
	FILE *f = fopen(r->csv, "we");
	size_t i;

	if (!f)
		return -1;
	fprintf(f, "seconds,pid,process,start,pages,mapping\n");
	for (i = 0; i < r->nruns; i++)
		fprintf(f, "%.3f,%d,\"%s\",0x%zx,%zu,\"%s\"\n", r->run[i].when,
			(int)r->run[i].pid,
			r->mapping[r->run[i].mapping].process,
			(size_t)r->run[i].start, r->run[i].len / r->page,
			r->mapping[r->run[i].mapping].name);
	return fclose(f);
}

#define ACROSS 240 /* slots of time, at most */
#define DOWN 160   /* slots of memory */
#define CELL 4	   /* pixels */
#define LEFT 200

static void heat_cells(const struct cli_report *r, const struct layout *l,
		       FILE *f, double seconds)
{
	static double heat[ACROSS][DOWN];
	size_t across = (size_t)fmin(ACROSS, fmax(1, seconds / r->interval));
	double width = (double)ACROSS * CELL / (double)across;
	size_t i, k, at;

	memset(heat, 0, sizeof(heat));
	for (i = 0; i < r->nruns; i++) {
		const struct cli_run_of_pages *run = &r->run[i];
		double part = slot_pages(r, l, run, DOWN);
		size_t x = (size_t)(run->when / seconds * (double)across);

		for (at = 0; at < run->len; at += r->page) {
			size_t y = (size_t)(place(r, l, run, at) * DOWN);

			heat[x < across ? x : across - 1]
			    [y < DOWN ? y : DOWN - 1] += 1 / part;
		}
	}
	for (i = 0; i < across; i++)
		for (k = 0; k < DOWN; k++)
			if (heat[i][k] > 0)
				fprintf(f,
					"<rect x=\"%.1f\" y=\"%zu\" width=\"%.1f\" "
					"height=\"%d\" fill-opacity=\"%.2f\"/>\n",
					LEFT + (double)i * width, 20 + k * CELL,
					width, CELL,
					fmin(1, 0.2 + heat[i][k] * 0.8));
}

static void put_text(FILE *f, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		default:
			fputc(*s, f);
		}
}

static int write_svg(const struct cli_report *r, const struct layout *l,
		     double seconds)
{
	FILE *f = fopen(r->svg, "we");
	const int width = LEFT + ACROSS * CELL + 20, height = DOWN * CELL + 60;
	size_t i;

	if (!f)
		return -1;
	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
		"<g stroke=\"#cccccc\">\n",
		width, height);
	for (i = 0; i < l->n; i++)
		fprintf(f, "<path d=\"M0 %.1fH%d\"/>\n",
			20 + l->from[l->order[i]] / l->all * DOWN * CELL,
			LEFT + ACROSS * CELL);
	fprintf(f, "</g>\n<g fill=\"#b3261e\">\n");
	heat_cells(r, l, f, seconds);
	fprintf(f, "</g>\n<g fill=\"#222222\">\n");
	for (i = 0; i < l->n; i++) {
		const struct cli_mapping *m = &r->mapping[l->order[i]];
		const char *base = strrchr(m->name, '/');
		double h = l->size[l->order[i]] / l->all * DOWN * CELL;

		if (h < 11)
			continue; /* no room for a name */
		fprintf(f, "<text x=\"4\" y=\"%.1f\">",
			20 + l->from[l->order[i]] / l->all * DOWN * CELL + 10);
		put_text(f, base ? base + 1 : m->name);
		fprintf(f, ", %zu KiB</text>\n",
			(size_t)(m->end - m->start) / 1024);
	}
	fprintf(f,
		"<text x=\"%d\" y=\"%d\">0 s</text>\n"
		"<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.1f s</text>\n"
		"</g>\n</svg>\n",
		LEFT, height - 20, LEFT + ACROSS * CELL, height - 20, seconds);
	return fclose(f);
}

int cli_report_end(struct cli_report *self, double seconds)
{
	struct layout l;
	int r = 0;

	if (!lay_out(self, &l))
		return -1;
	if (self->svg && write_svg(self, &l, seconds) != 0) {
		fprintf(stderr, "writewatch: %s: %s\n", self->svg,
			strerror(errno));
		r = -1;
	}
	if (self->csv && write_csv(self) != 0) {
		fprintf(stderr, "writewatch: %s: %s\n", self->csv,
			strerror(errno));
		r = -1;
	}
	table(self, &l, seconds);
	lay_down(&l);
	return r;
}
