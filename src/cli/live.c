/* SPDX-License-Identifier: MIT */
/*
 * live.c - what is written, while it is: on a terminal a ruler and under it a line
 * an interval, as wide as the terminal; elsewhere a plain line.
 *
 * On the ruler each mapping has a part that grows with the logarithm of its
 * size: else a heap of a gigabyte would hide everything. Mappings for which
 * there is no room share the last part.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

#define MOST_COLUMNS 400
#define LEFT 10	     /* columns for the time */
#define RIGHT 26     /* for the numbers */
#define LEAST_PART 6 /* columns of a mapping */
#define AGAIN 20     /* lines, then the ruler comes again */
#define LEAST 8	     /* and not before, because mappings are new */
#define RECENT 2.0   /* seconds: what was written in them has a part */

struct part {
	unsigned mapping;    /* or OTHERS */
	unsigned from, size; /* columns */
};
#define OTHERS UINT32_MAX

/* A line is put together, and printed at once: the program prints, too. */
static FILE *out;

static struct {
	struct part part[MOST_COLUMNS / LEAST_PART + 1];
	size_t n, nmappings; /* mappings that had been written then */
	unsigned columns, lines;
} ruler;

/* By what the environment says of the terminal: 256 colours are used. */
static bool is_coloured(void)
{
	static const char *const terms[] = { "256color",  "direct", "kitty",
					     "alacritty", "foot",   "xterm" };
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	const char *more = getenv("COLORTERM");
	size_t i;

	if ((no && *no) || !term || !strcmp(term, "dumb"))
		return false;
	for (i = 0; i < sizeof(terms) / sizeof(terms[0]); i++)
		if (strstr(term, terms[i]))
			return true;
	return more && *more;
}

/* Columns of the ruler; 0: there is no room for one. */
static unsigned columns(void)
{
	struct winsize size;
	unsigned n = 80;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
		n = size.ws_col;
	n = n < MOST_COLUMNS ? n : MOST_COLUMNS;
	return n >= LEFT + RIGHT + 2 + 2 * LEAST_PART ? n - LEFT - RIGHT - 2
						      : 0;
}

/* --- the ruler --- */

static double weight(const struct cli_report *r, const struct part *p)
{
	if (p->mapping == OTHERS)
		return 4;
	return 4 +
	       log2(1 + (double)cli_mapping_size(r, &r->mapping[p->mapping]));
}

/* Pages of each mapping that were written lately. */
static const size_t *recent;

static int by_recent(const void *a, const void *b)
{
	const unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	if (recent[x] != recent[y])
		return recent[x] < recent[y] ? 1 : -1;
	return (x > y) - (x < y);
}

/* What was written most lately comes first; what has ended was not. */
static void order_by_recent(const struct cli_report *r, unsigned *order,
			    size_t n, double when)
{
	size_t *count = calloc(r->nmappings + 1, sizeof(*count)), i;

	for (i = r->nwritten;
	     count && i-- && r->written[i].when >= when - RECENT;)
		count[r->written[i].mapping] += r->written[i].len / r->page;
	recent = count;
	if (count)
		qsort(order, n, sizeof(*order), by_recent);
	free(count);
}

static void lay_out(const struct cli_report *r, unsigned width, double when)
{
	size_t n, i, room = width / (LEAST_PART + 1);
	unsigned *order = cli_report_order(r, &n), at = 0;
	double all = 0, sum = 0;

	ruler.columns = width;
	ruler.nmappings = n;
	ruler.n = n <= room ? n : room - 1;
	if (!order) {
		ruler.n = 0;
		return;
	}
	if (n > room)
		order_by_recent(r, order, n, when);
	cli_report_by_address(r, order, ruler.n);
	for (i = 0; i < ruler.n; i++)
		ruler.part[i].mapping = order[i];
	if (n > ruler.n)
		ruler.part[ruler.n++].mapping = OTHERS;
	for (i = 0; i < ruler.n; i++)
		all += weight(r, &ruler.part[i]);
	for (i = 0; i < ruler.n; i++) {
		unsigned end;

		sum += weight(r, &ruler.part[i]);
		end = (unsigned)(sum / all * width);
		ruler.part[i].from = at;
		ruler.part[i].size = end - at;
		at = end;
	}
	free(order);
}

/* A bar, and what fits of a text in so many columns. What is not ASCII may be two
 * columns wide, or none: '?'. */
static void print_label(const char *label, size_t columns)
{
	size_t shown = 0, n;

	fputc('|', out);
	for (; *label && shown + 1 < columns; shown++, label += n) {
		n = cli_character(label);
		fputc(n == 1 ? *label : '?', out);
		n = n ? n : 1;
	}
	fprintf(out, "%*s", (int)(columns - 1 - shown), "");
}

static const struct cli_mapping *mapping_of(const struct cli_report *r,
					    size_t part)
{
	return ruler.part[part].mapping == OTHERS
		       ? NULL
		       : &r->mapping[ruler.part[part].mapping];
}

static bool same_process(const struct cli_mapping *a,
			 const struct cli_mapping *b)
{
	return a == b || (a && b && a->program == b->program);
}

/* A line above, if there are several. */
static void print_processes(const struct cli_report *r)
{
	const struct cli_mapping *first = mapping_of(r, 0);
	size_t i, end;

	for (i = 1; i < ruler.n && same_process(mapping_of(r, i), first); i++)
		;
	if (i == ruler.n || !mapping_of(r, i))
		return;
	fprintf(out, "%*s", LEFT - 1, "");
	for (i = 0; i < ruler.n; i = end) {
		const struct cli_mapping *m = mapping_of(r, i);
		unsigned columns = 0;
		char label[64] = "";

		for (end = i;
		     end < ruler.n && same_process(mapping_of(r, end), m);
		     end++)
			columns += ruler.part[end].size;
		/* half a number is none */
		if (m && snprintf(label, sizeof(label), "%s %d", m->process,
				  (int)m->pid) >= (int)columns)
			snprintf(label, sizeof(label), "%s", m->process);
		print_label(label, columns);
	}
	fputs("|\n", out);
}

static void print_ruler(const struct cli_report *r)
{
	size_t i;

	print_processes(r);
	fprintf(out, "%*s", LEFT - 1, "");
	for (i = 0; i < ruler.n; i++) {
		const struct part *p = &ruler.part[i];
		char label[64];

		if (p->mapping == OTHERS)
			snprintf(label, sizeof(label),
				 p->size > 8 ? "%zu more" : "+%zu",
				 ruler.nmappings - ruler.n + 1);
		else
			snprintf(label, sizeof(label), "%s",
				 cli_short_name(r->mapping[p->mapping].name));
		print_label(label, p->size);
	}
	fprintf(out, "|%9s %10s\n", "pages", "MiB/s");
	ruler.lines = 0;
}

/* --- a line --- */

/* Is a run asked for? */
static bool wants(const struct cli_report *r, size_t i)
{
	return cli_report_wants(r, &r->mapping[r->written[i].mapping]);
}

static const struct part *part_of(unsigned mapping)
{
	size_t i;

	for (i = 0; i < ruler.n; i++)
		if (ruler.part[i].mapping == mapping ||
		    ruler.part[i].mapping == OTHERS)
			return &ruler.part[i];
	/* It is newer than the ruler. */
	return ruler.n ? &ruler.part[ruler.n - 1] : NULL;
}

/* Add what part of each column's pages was written. */
static void heat_up(const struct cli_report *r, const struct cli_written *w,
		    double *heat)
{
	const struct cli_mapping *m = &r->mapping[w->mapping];
	const struct part *p = part_of(w->mapping);
	double pages = (double)cli_mapping_size(r, m), a, b;
	unsigned i;

	if (!p || !p->size)
		return;
	a = (double)(w->start - m->start) / (double)r->page / pages * p->size;
	b = a + (double)w->len / (double)r->page / pages * p->size;
	for (i = (unsigned)a; i < p->size && i < b; i++) {
		double low = a > i ? a : i, high = b < i + 1 ? b : i + 1;

		heat[p->from + i] += high - low;
	}
}

static void put_heat(double part, bool coloured)
{
	static const char shade[] = " .:-=+*#%@";
	static const unsigned char colour[] = { 0,   52,  88,  124, 160,
						196, 202, 208, 214, 226 };
	int level = part <= 0 ? 0 : 1 + (int)(part * 8.99);

	if (level > 9)
		level = 9;
	if (coloured && level)
		fprintf(out, "\033[48;5;%um%c\033[0m", colour[level],
			shade[level]);
	else
		fputc(shade[level], out);
}

static void heat_line(const struct cli_report *r, double when, size_t pages,
		      double rate, unsigned width)
{
	double heat[MOST_COLUMNS] = { 0 };
	const bool coloured = is_coloured();
	size_t i;

	if (width != ruler.columns || ruler.lines == AGAIN ||
	    (cli_report_rows(r) != ruler.nmappings && ruler.lines >= LEAST)) {
		lay_out(r, width, when);
		print_ruler(r);
	}
	for (i = r->shown; i < r->nwritten; i++)
		if (wants(r, i))
			heat_up(r, &r->written[i], heat);
	fprintf(out, "%*.1f s|", LEFT - 3, when);
	for (i = 0; i < ruler.columns; i++)
		put_heat(heat[i], coloured);
	fprintf(out, "|%9zu %10.1f\n", pages, rate);
	ruler.lines++;
}

/* With the mappings that were written most. */
static void plain_line(const struct cli_report *r, double when, size_t pages,
		       double rate, unsigned mappings)
{
	size_t *count = calloc(r->nmappings + 1, sizeof(*count)), i, k;

	fprintf(out, "%.1f s: %zu pages, %.1f MiB/s", when, pages, rate);
	for (i = r->shown; count && i < r->nwritten; i++)
		if (wants(r, i))
			count[r->written[i].mapping] +=
				r->written[i].len / r->page;
	for (k = 0; count && k < mappings; k++) {
		size_t most = 0;

		for (i = 1; i < r->nmappings; i++)
			if (count[i] > count[most])
				most = i;
		if (!r->nmappings || !count[most])
			break;
		fputs(k ? ", " : ": ", out);
		cli_put_plain(out, cli_short_name(r->mapping[most].name), 40);
		fprintf(out, " %zu", count[most]);
		count[most] = 0;
	}
	fputc('\n', out);
	free(count);
}

static void print_line(struct cli_report *self, double when, size_t pages,
		       double rate)
{
	const bool terminal = isatty(STDERR_FILENO);
	const unsigned width = terminal ? columns() : 0;
	char *text = NULL;
	size_t len = 0;

	out = open_memstream(&text, &len);
	if (!out)
		return;
	if (width)
		heat_line(self, when, pages, rate, width);
	else
		plain_line(self, when, pages, rate, terminal ? 0 : 3);
	if (fclose(out) == 0 && write(STDERR_FILENO, text, len) < 0)
		self->quiet = errno == EPIPE; /* nobody reads any more */
	free(text);
}

void cli_live_line(struct cli_report *self, double when)
{
	static double before;
	const double seconds = fmax(when - before, 0.001);
	const size_t pages = self->pages - self->pages_shown;
	const double rate = (double)(pages * self->page) / seconds / (1 << 20);

	before = when;
	/* a reader that does not read stops nobody */
	if (pages && !self->quiet &&
	    poll(&(struct pollfd){ STDERR_FILENO, POLLOUT, 0 }, 1, 0) == 1)
		print_line(self, when, pages, rate);
	self->shown = self->nwritten;
	self->pages_shown = self->pages;
}
