/* SPDX-License-Identifier: MIT */
/* plot.h - a table, a CSV file and an SVG plot of one question. */
#ifndef PLOT_H
#define PLOT_H

#include <stddef.h>
#include <stdio.h>

#define PLOT_SERIES 14
#define PLOT_ROWS 16

struct plot {
	const char *name, *title, *x, *y, *series[PLOT_SERIES];
	size_t nseries, nrows, at;
	double where[PLOT_ROWS], value[PLOT_ROWS][PLOT_SERIES];
};

void plot_begin(struct plot *self, const char *name, const char *title,
		const char *x, const char *y);
void plot_series(struct plot *self, const char *name);
void plot_row(struct plot *self, double x);
void plot_value(struct plot *self, double y); /* NAN: none */

/* DIR/NAME.TYPE, or the program ends. */
FILE *plot_create(const char *dir, const char *name, const char *type);

/* Print the table; write DIR/NAME.csv and DIR/NAME.svg. */
void plot_end(const struct plot *self, const char *dir);

#endif
