/* SPDX-License-Identifier: MIT */
/* plot.c - a table, a CSV file and an SVG plot; both axes logarithmic. */
#include "plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 760
#define HEIGHT 420
#define LEFT 70
#define RIGHT 190
#define TOP 40
#define BOTTOM 50

static const char *const colours[PLOT_SERIES] = {
	"#1b6ca8", "#d1495b", "#2e933c", "#8d5b9e", "#e09f3e",
	"#444444", "#7aa6c2", "#c58882", "#9bc53d", "#5f0f40",
	"#0f4c5c", "#999999", "#b5651d", "#00a6a6",
};

void plot_begin(struct plot *self, const char *name, const char *title,
		const char *x, const char *y)
{
	memset(self, 0, sizeof(*self));
	self->name = name;
	self->title = title;
	self->x = x;
	self->y = y;
}

void plot_series(struct plot *self, const char *name)
{
	self->series[self->nseries++] = name;
}

void plot_row(struct plot *self, double x)
{
	self->where[self->nrows++] = x;
	self->at = 0;
}

void plot_value(struct plot *self, double y)
{
	self->value[self->nrows - 1][self->at++] = y;
}

static void print_table(const struct plot *p)
{
	size_t i, k;

	printf("\n%s (%s)\n%-24s", p->title, p->y, p->x);
	for (i = 0; i < p->nrows; i++)
		printf(" %12.6g", p->where[i]);
	for (k = 0; k < p->nseries; k++) {
		printf("\n%-24s", p->series[k]);
		for (i = 0; i < p->nrows; i++)
			if (isnan(p->value[i][k]))
				printf("            -");
			else
				printf(" %12.1f", p->value[i][k]);
	}
	printf("\n");
}

FILE *plot_create(const char *dir, const char *name, const char *type)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.%s", dir, name, type);
	f = fopen(path, "w");
	if (!f) {
		perror(path);
		exit(1);
	}
	return f;
}

static void write_csv(const struct plot *p, FILE *f)
{
	size_t i, k;

	fprintf(f, "\"%s\"", p->x);
	for (k = 0; k < p->nseries; k++)
		fprintf(f, ",\"%s (%s)\"", p->series[k], p->y);
	for (i = 0; i < p->nrows; i++) {
		fprintf(f, "\n%g", p->where[i]);
		for (k = 0; k < p->nseries; k++)
			fprintf(f, ",%.2f", p->value[i][k]);
	}
	fprintf(f, "\n");
}

struct axes {
	double x0, x1, y0, y1; /* decades */
};

/* Zero has no logarithm: it is put a decade below the first other one. */
static double decade(const struct plot *p, double x)
{
	return x > 0 ? log10(x) : log10(p->where[1]) - 1;
}

static struct axes find_axes(const struct plot *p)
{
	struct axes a = { 1e9, -1e9, 1e9, -1e9 };
	size_t i, k;

	for (i = 0; i < p->nrows; i++) {
		a.x0 = fmin(a.x0, decade(p, p->where[i]));
		a.x1 = fmax(a.x1, decade(p, p->where[i]));
		for (k = 0; k < p->nseries; k++)
			if (p->value[i][k] > 0) {
				a.y0 = fmin(a.y0, log10(p->value[i][k]));
				a.y1 = fmax(a.y1, log10(p->value[i][k]));
			}
	}
	a.y0 = floor(a.y0);
	a.y1 = ceil(a.y1);
	if (a.x1 - a.x0 < 0.1) {
		a.x0 -= 0.5;
		a.x1 += 0.5;
	}
	return a;
}

static double px(const struct axes *a, double x)
{
	return LEFT + (x - a->x0) / (a->x1 - a->x0) * (WIDTH - LEFT - RIGHT);
}

static double py(const struct axes *a, double y)
{
	return HEIGHT - BOTTOM -
	       (y - a->y0) / (a->y1 - a->y0) * (HEIGHT - TOP - BOTTOM);
}

static void write_series(const struct plot *p, const struct axes *a, size_t k,
			 FILE *f)
{
	size_t i;

	fprintf(f,
		"<polyline fill='none' stroke='%s' stroke-width='2' points='",
		colours[k]);
	for (i = 0; i < p->nrows; i++)
		if (p->value[i][k] > 0)
			fprintf(f, "%.1f,%.1f ", px(a, decade(p, p->where[i])),
				py(a, log10(p->value[i][k])));
	fprintf(f, "'/>\n");
	for (i = 0; i < p->nrows; i++)
		if (p->value[i][k] > 0)
			fprintf(f,
				"<circle cx='%.1f' cy='%.1f' r='3' fill='%s'/>\n",
				px(a, decade(p, p->where[i])),
				py(a, log10(p->value[i][k])), colours[k]);
	fprintf(f, "<text x='%d' y='%zu' fill='%s'>%s</text>\n",
		WIDTH - RIGHT + 16, TOP + 12 + k * 18, colours[k],
		p->series[k]);
}

static void write_svg(const struct plot *p, FILE *f)
{
	struct axes a = find_axes(p);
	size_t i, k;
	double y;

	fprintf(f,
		"<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
		"font-family='sans-serif' font-size='12'>\n"
		"<rect width='100%%' height='100%%' fill='white'/>\n"
		"<text x='%d' y='22' font-size='15'>%s</text>\n",
		WIDTH, HEIGHT, LEFT, p->title);
	for (y = a.y0; y <= a.y1; y++)
		fprintf(f,
			"<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='#ddd'/>"
			"<text x='%d' y='%.1f' text-anchor='end'>%g</text>\n",
			LEFT, WIDTH - RIGHT, py(&a, y), py(&a, y), LEFT - 6,
			py(&a, y) + 4, pow(10, y));
	for (i = 0; i < p->nrows; i++)
		fprintf(f,
			"<text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n",
			px(&a, decade(p, p->where[i])), HEIGHT - BOTTOM + 18,
			p->where[i]);
	fprintf(f,
		"<text x='%d' y='%d' text-anchor='middle'>%s</text>\n"
		"<text x='14' y='%d' transform='rotate(-90 14 %d)' "
		"text-anchor='middle'>%s</text>\n",
		(LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, p->x, HEIGHT / 2,
		HEIGHT / 2, p->y);
	for (k = 0; k < p->nseries; k++)
		write_series(p, &a, k, f);
	fprintf(f, "</svg>\n");
}

void plot_end(const struct plot *self, const char *dir)
{
	FILE *f;

	print_table(self);
	f = plot_create(dir, self->name, "csv");
	write_csv(self, f);
	fclose(f);
	f = plot_create(dir, self->name, "svg");
	write_svg(self, f);
	fclose(f);
}
