/* SPDX-License-Identifier: MIT */
/* ours.c - libwritewatch as one of the techniques. */
#include <stdlib.h>

#include "bench.h"
#include "writewatch.h"

static struct ww *ww;

int ours_open(const char *name)
{
	struct ww_options o = { .size = sizeof(o), .backend = name };

	return ww_open(&ww, &o);
}

void ours_close(void)
{
	ww_close(ww);
}

int ours_watch(char *m, size_t len)
{
	return ww_watch(ww, m, len, 0);
}

void ours_unwatch(char *m, size_t len)
{
	ww_unwatch(ww, m, len);
}

size_t ours_get_reset(char *m, size_t len, void **pages, size_t room)
{
	size_t n = room;

	if (ww_get(ww, m, len, WW_GET_RESET, pages, &n, NULL) != 0)
		abort();
	return n;
}

size_t ours_get_runs(char *m, size_t len, size_t room)
{
	static struct ww_range runs[16384];
	size_t n = room < 16384 ? room : 16384;

	if (ww_get_ranges(ww, m, len, WW_GET_RESET | (m ? 0 : WW_GET_WINDOW),
			  runs, &n) != 0)
		abort();
	return n;
}

struct ww *ours_tracker(void)
{
	return ww;
}
