/* SPDX-License-Identifier: MIT */
/*
 * picture.c - what was written, as SVG: time from left to right, memory from top
 * to bottom, each mapping a band whose height grows with the logarithm of its
 * size.
 *
 * It has to explain itself to somebody who was not there: title, axes with
 * units, a legend, what each band and each cell is when the pointer is on it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MOST_BANDS 40 /* the others share one */
#define ACROSS 240    /* columns of time, at most */
#define ROWS 24	      /* of a band, at most */
#define CELL 4	      /* pixels of a column, and of a row */
#define LEFT 230
#define WIDTH (ACROSS * CELL)
#define RATE_TOP 70 /* the line of MiB/s */
#define RATE_HEIGHT 46
#define BANDS_TOP 140
#define HEADING 20 /* of a process */
#define GAP 3
#define LEVELS 5
#define TWO_LINES 26 /* pixels of a band that has room for them */
#define TITLE 110    /* bytes of it that surely fit */

struct band {
	unsigned mapping; /* or OTHERS */
	unsigned rows;
	double top;   /* pixels */
	double pages; /* how many one row stands for */
	float *cell;  /* pages written, ACROSS * rows */
};
#define OTHERS UINT32_MAX

struct picture {
	const struct cli_report *r;
	struct band band[MOST_BANDS + 1];
	size_t n, written; /* bands, and mappings that were written */
	size_t columns;
	double bottom;
	double rate[ACROSS], most_rate; /* bytes a second */
	double others_pages;		/* of all mappings that share a band */
};

/* --- text --- */

/* What XML must not have in it, and what is no UTF-8, becomes '?'. most: bytes. */
static void put_text(FILE *f, const char *text, size_t most)
{
	size_t n;

	for (; *text && most; text += n, most -= n) {
		n = cli_character(text);
		n = n ? n : 1;
		if (n > most)
			return;
		switch (*text) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			cli_put_plain(f, text, n);
		}
	}
}

/* "12 KiB" */
static void put_size(FILE *f, double bytes)
{
	static const char *const unit[] = { "bytes", "KiB", "MiB", "GiB",
					    "TiB" };
	unsigned i = 0;

	while (bytes >= 1024 && i < 4) {
		bytes /= 1024;
		i++;
	}
	fprintf(f, bytes < 10 && bytes != floor(bytes) ? "%.1f %s" : "%.0f %s",
		bytes, unit[i]);
}

/* --- the layout --- */

static const struct cli_mapping *mapping_of(const struct picture *p,
					    const struct band *b)
{
	return b->mapping == OTHERS ? NULL : &p->r->mapping[b->mapping];
}

static bool begins_process(const struct picture *p, size_t i)
{
	const struct cli_mapping *m = mapping_of(p, &p->band[i]);
	const struct cli_mapping *above =
		i ? mapping_of(p, &p->band[i - 1]) : NULL;

	return m && (!above || above->program != m->program);
}

static double height(const struct band *b)
{
	return b->rows * CELL;
}

static bool place_bands(struct picture *p)
{
	double top = BANDS_TOP;
	size_t i;

	for (i = 0; i < p->n; i++) {
		struct band *b = &p->band[i];
		const struct cli_mapping *m = mapping_of(p, b);
		double pages = m ? (double)cli_mapping_size(p->r, m) : 1;

		if (begins_process(p, i))
			top += HEADING;
		b->rows = m ? 4 + (unsigned)log2(1 + pages) : 4;
		if (b->rows > ROWS)
			b->rows = ROWS;
		b->pages = m ? pages / b->rows : 1;
		b->top = top;
		top += height(b) + GAP;
		b->cell = calloc(ACROSS * b->rows, sizeof(*b->cell));
		if (!b->cell)
			return false;
	}
	p->bottom = top;
	return true;
}

static bool lay_out(struct picture *p)
{
	unsigned *order = cli_report_order(p->r, &p->written);
	size_t i;

	p->columns =
		(size_t)fmin(ACROSS, fmax(1, p->r->seconds / p->r->interval));
	p->n = p->written < MOST_BANDS ? p->written : MOST_BANDS;
	if (order)
		cli_report_by_address(p->r, order, p->n);
	for (i = 0; order && i < p->n; i++)
		p->band[i].mapping = order[i];
	if (p->written > p->n)
		p->band[p->n++].mapping = OTHERS;
	free(order);
	return order && place_bands(p);
}

/* --- filling it --- */

static struct band *band_of(struct picture *p, const unsigned *index,
			    unsigned mapping)
{
	return index[mapping] ? &p->band[index[mapping] - 1] : NULL;
}

static void add(struct picture *p, struct band *b, const struct cli_written *w)
{
	size_t x = (size_t)(w->when / p->r->seconds * (double)p->columns);
	double pages = (double)w->len / (double)p->r->page, a, end;
	const struct cli_mapping *m = mapping_of(p, b);
	unsigned row;

	x = x < p->columns ? x : p->columns - 1;
	p->rate[x] += (double)w->len / (p->r->seconds / (double)p->columns);
	if (!m) {
		b->cell[x * b->rows] += (float)pages;
		return;
	}
	a = (double)(w->start - m->start) / (double)p->r->page / b->pages;
	end = a + pages / b->pages;
	for (row = (unsigned)a; row < b->rows && row < end; row++) {
		double low = fmax(a, row), high = fmin(end, row + 1);

		b->cell[x * b->rows + row] += (float)((high - low) * b->pages);
	}
}

static bool fill(struct picture *p)
{
	unsigned *index = calloc(p->r->nmappings + 1, sizeof(*index));
	bool others = p->n && p->band[p->n - 1].mapping == OTHERS;
	size_t i;

	if (!index)
		return false;
	for (i = 0; i < p->r->nmappings; i++)
		if (others && cli_report_wants(p->r, &p->r->mapping[i]))
			index[i] = (unsigned)p->n;
	for (i = 0; i < p->n; i++)
		if (p->band[i].mapping != OTHERS)
			index[p->band[i].mapping] = (unsigned)i + 1;
	for (i = 0; others && i < p->r->nmappings; i++)
		if (index[i] == p->n)
			p->others_pages += (double)cli_mapping_size(
				p->r, &p->r->mapping[i]);
	for (i = 0; i < p->r->nwritten; i++) {
		struct band *b = band_of(p, index, p->r->written[i].mapping);

		if (b)
			add(p, b, &p->r->written[i]);
	}
	for (i = 0; i < p->columns; i++)
		p->most_rate = fmax(p->most_rate, p->rate[i]);
	free(index);
	return true;
}

/* --- drawing --- */

static double column_width(const struct picture *p)
{
	return (double)WIDTH / (double)p->columns;
}

static double x_of(const struct picture *p, double seconds)
{
	return LEFT + seconds / p->r->seconds * WIDTH;
}

/* 1, 2 or 5 times a power of ten: ten ticks at most. */
static double tick(double all)
{
	double power = pow(10, floor(log10(all / 10))), n = all / power;

	return n <= 10	 ? power
	       : n <= 20 ? 2 * power
	       : n <= 50 ? 5 * power
			 : 10 * power;
}

static void draw_head(const struct picture *p, FILE *f)
{
	const char *title = p->r->command ? p->r->command : "a program";
	char date[64] = "";
	struct tm tm;

	if (gmtime_r(&p->r->date, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &tm);
	fprintf(f,
		"<text class=\"title\" x=\"12\" y=\"26\">Memory written by ");
	put_text(f, title, TITLE);
	fprintf(f, "%s</text>\n<text x=\"12\" y=\"46\">%s, ",
		strlen(title) > TITLE ? "…" : "", date);
	if (*p->r->backend) {
		fprintf(f, "seen by ");
		put_text(f, p->r->backend, 32);
		fprintf(f, " every %.0f ms for %.1f s, in pages of ",
			p->r->interval * 1000, p->r->seconds);
		put_size(f, (double)p->r->page);
	} else {
		fprintf(f, "not watched: no process could be");
	}
	if (p->r->full > 0)
		fprintf(f,
			"; from %.1f s on nothing was kept, there was too much",
			p->r->full);
	fprintf(f, "</text>\n");
}

static void draw_legend(const struct picture *p, FILE *f)
{
	double x = LEFT + WIDTH - 330, y = p->bottom + 34;
	unsigned i;

	fprintf(f,
		"<text x=\"%d\" y=\"%.0f\">Each band is a mapping, its first page "
		"on top; twice the size is one row more.</text>\n",
		LEFT, y + 30);
	fprintf(f,
		"<text x=\"%.0f\" y=\"%.0f\">part of a cell's pages written: a "
		"few</text>\n",
		x - 40, y + 10);
	for (i = 1; i <= LEVELS; i++)
		fprintf(f,
			"<rect class=\"h%u\" x=\"%.0f\" y=\"%.0f\" width=\"16\" "
			"height=\"12\"/>\n",
			i, x + 190 + i * 17, y);
	fprintf(f, "<text x=\"%.0f\" y=\"%.0f\">all</text>\n",
		x + 190 + (LEVELS + 1) * 17 + 4, y + 10);
}

static void draw_time(const struct picture *p, FILE *f)
{
	const double unit = p->r->seconds < 600	   ? 1
			    : p->r->seconds < 36e3 ? 60
						   : 3600;
	const double step = tick(p->r->seconds / unit) * unit;
	int i, n = (int)(p->r->seconds / step);

	fprintf(f, "<g class=\"grid\">\n");
	for (i = 0; i <= n; i++)
		fprintf(f, "<path d=\"M%.1f %dV%.0f\"/>\n", x_of(p, i * step),
			RATE_TOP, p->bottom + 4);
	fprintf(f, "</g>\n<g text-anchor=\"middle\">\n");
	for (i = 0; i <= n; i++)
		fprintf(f, "<text x=\"%.1f\" y=\"%.0f\">%g</text>\n",
			x_of(p, i * step), p->bottom + 18, i * step / unit);
	fprintf(f,
		"</g>\n<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">time, "
		"%s</text>\n",
		LEFT - 20, p->bottom + 18,
		unit < 2     ? "seconds"
		: unit < 100 ? "minutes"
			     : "hours");
}

static void draw_rate(const struct picture *p, FILE *f)
{
	double scale = p->most_rate > 0 ? RATE_HEIGHT / p->most_rate : 0;
	size_t i;

	fprintf(f, "<path class=\"rate\" d=\"M%d %d", LEFT,
		RATE_TOP + RATE_HEIGHT);
	for (i = 0; i < p->columns; i++)
		fprintf(f, "V%.1fh%.2f",
			RATE_TOP + RATE_HEIGHT - p->rate[i] * scale,
			column_width(p));
	fprintf(f, "V%dZ\"><title>written: at most ", RATE_TOP + RATE_HEIGHT);
	put_size(f, p->most_rate);
	fprintf(f,
		"/s</title></path>\n"
		"<g text-anchor=\"end\"><text x=\"%d\" y=\"%d\">",
		LEFT - 6, RATE_TOP + 8);
	put_size(f, p->most_rate);
	fprintf(f, "/s</text><text x=\"%d\" y=\"%d\">written: 0</text></g>\n",
		LEFT - 6, RATE_TOP + RATE_HEIGHT);
}

static void put_place(const struct picture *p, const struct band *b,
		      unsigned row, FILE *f)
{
	const struct cli_mapping *m = mapping_of(p, b);
	double bytes = b->pages * (double)p->r->page;

	if (!m)
		return;
	put_text(f, cli_short_name(m->name), 60);
	fprintf(f, " from 0x%" PRIxPTR ", ",
		m->start + (uintptr_t)(row * bytes) / p->r->page * p->r->page);
}

/* A cell, joined with those behind it that look the same. */
static size_t draw_cell(const struct picture *p, const struct band *b, size_t x,
			unsigned row, FILE *f)
{
	const double whole = b->mapping == OTHERS ? p->others_pages : b->pages;
	double pages = 0, per = p->r->seconds / (double)p->columns;
	unsigned level = 0;
	size_t end = x;

	for (; end < p->columns; end++) {
		double here = (double)b->cell[end * b->rows + row];
		double part = fmin(1, here / whole);
		unsigned l =
			here <= 0 ? 0 : 1 + (unsigned)(part * (LEVELS - 0.01));

		if (end > x && l != level)
			break;
		level = l;
		pages += here;
	}
	if (!level)
		return end;
	fprintf(f,
		"<rect class=\"h%u\" x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" "
		"height=\"%.0f\"><title>",
		level, LEFT + (double)x * column_width(p), b->top + row * CELL,
		(double)(end - x) * column_width(p),
		b->mapping == OTHERS ? height(b) : CELL);
	put_place(p, b, row, f);
	fprintf(f, "%.2f to %.2f s: %.0f page%s written</title></rect>\n",
		(double)x * per, (double)end * per, fmax(1, pages),
		pages < 1.5 ? "" : "s");
	return end;
}

static void draw_label(const struct picture *p, const struct band *b, FILE *f)
{
	const struct cli_mapping *m = mapping_of(p, b);
	double y =
		b->top + height(b) / 2 + (m && height(b) >= TWO_LINES ? -2 : 4);

	fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 6,
		y);
	if (!m) {
		fprintf(f, "%zu other%s</text>\n", p->written - p->n + 1,
			p->written == p->n ? "" : "s");
		return;
	}
	put_text(f, cli_short_name(m->name), 22);
	fprintf(f, ", ");
	put_size(f, (double)(m->end - m->start));
	if (height(b) >= TWO_LINES)
		fprintf(f,
			"<tspan class=\"at\" x=\"%d\" dy=\"13\">0x%" PRIxPTR
			"</tspan>",
			LEFT - 6, m->start);
	fprintf(f, "<title>");
	put_text(f, m->name, SIZE_MAX);
	fprintf(f,
		" at 0x%" PRIxPTR ": %zu of %zu page%s written, %zu write%s in "
		"all</title></text>\n",
		m->start, m->pages, cli_mapping_size(p->r, m),
		cli_mapping_size(p->r, m) == 1 ? "" : "s", m->writes,
		m->writes == 1 ? "" : "s");
}

static void draw_bands(const struct picture *p, FILE *f)
{
	size_t i, x;

	for (i = 0; i < p->n; i++) {
		const struct band *b = &p->band[i];
		unsigned row, rows = b->mapping == OTHERS ? 1 : b->rows;

		if (begins_process(p, i)) {
			const struct cli_mapping *m = mapping_of(p, b);

			fprintf(f,
				"<text class=\"process\" x=\"12\" y=\"%.0f\">",
				b->top - 6);
			put_text(f, m->process, 15);
			fprintf(f, ", process %d</text>\n", (int)m->pid);
		}
		fprintf(f,
			"<rect class=\"band\" x=\"%d\" y=\"%.0f\" width=\"%d\" "
			"height=\"%.0f\"/>\n",
			LEFT, b->top, WIDTH, height(b));
		draw_label(p, b, f);
		for (row = 0; row < rows; row++)
			for (x = 0; x < p->columns;)
				x = draw_cell(p, b, x, row, f);
	}
}

static const char style[] =
	"<style>\n"
	"svg{font:12px sans-serif;fill:#222}.ground{fill:#fff}\n"
	".title{font-size:17px;font-weight:bold}.process{font-weight:bold}\n"
	".at{font-size:10px;fill:#888}.band{fill:#f1f1f1}.grid{stroke:#ddd;fill:none}.rate{fill:#7a9cc6}\n"
	".h1{fill:#fdd0a2}.h2{fill:#fdae6b}.h3{fill:#f16913}.h4{fill:#d94801}"
	".h5{fill:#7f2704}\n"
	"@media (prefers-color-scheme:dark){svg{fill:#ddd}.ground{fill:#161616}"
	".band{fill:#262626}.grid{stroke:#444}.rate{fill:#4a6fa5}"
	".h1{fill:#5c2a0a}.h2{fill:#96400c}.h3{fill:#d35f10}.h4{fill:#f59a4a}"
	".h5{fill:#fff0d8}}\n"
	"</style>\n";

static void draw(const struct picture *p, FILE *f)
{
	const int width = LEFT + WIDTH + 20, all = (int)p->bottom + 76;

	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
		"width=\"%d\" height=\"%d\" role=\"img\">\n<title>Memory written "
		"by ",
		width, all, width, all);
	put_text(f, p->r->command ? p->r->command : "a program", 200);
	fprintf(f,
		"</title>\n%s<rect class=\"ground\" width=\"100%%\" "
		"height=\"100%%\"/>\n",
		style);
	draw_head(p, f);
	draw_bands(p, f);
	draw_rate(p, f);
	draw_time(p, f);
	draw_legend(p, f);
	fprintf(f, "</svg>\n");
}

int cli_picture_write(const struct cli_report *self, FILE *f)
{
	struct picture *p = calloc(1, sizeof(*p));
	int r = -1;
	size_t i;

	if (!p)
		return -1;
	p->r = self;
	if (lay_out(p) && fill(p)) {
		draw(p, f);
		r = ferror(f) ? -1 : 0;
	}
	for (i = 0; i < p->n; i++)
		free(p->band[i].cell);
	free(p);
	return r;
}
