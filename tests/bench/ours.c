/* SPDX-License-Identifier: MIT */
/* ours.c - libwritewatch as one of the techniques. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "writewatch.h"

static struct ww *ww;
static unsigned flags;
static bool holds, releases; /* the first page, before it is asked */

int ours_open(const char *name)
{
	struct ww_options o = { .size = sizeof(o) };
	char backend[32];
	size_t len = strcspn(name, ",");

	memcpy(backend, name, len);
	backend[len] = '\0';
	o.backend = backend;
	flags = 0;
	if (strstr(name, "HUGE"))
		flags = WW_WATCH_HUGE_OK;
	if (strstr(name, "COARSE"))
		flags = WW_WATCH_COARSE_OK;
	if (strstr(name, "HOT_OK"))
		flags = WW_WATCH_HOT_OK;
	holds = strstr(name, "held");
	releases = strstr(name, "was held");
	return ww_open(&ww, &o);
}

void ours_close(void)
{
	ww_close(ww);
}

int ours_watch(char *m, size_t len)
{
	int r = ww_watch(ww, m, len, flags);

	if (r == 0 && holds)
		r = ww_hold(ww, m, 1, 0);
	if (r == 0 && releases)
		r = ww_release(ww, m, 1, 0);
	return r;
}

void ours_unwatch(char *m, size_t len)
{
	ww_unwatch(ww, m, len, 0);
}

size_t ours_get_reset(char *m, size_t len, void **out, size_t room)
{
	size_t n = room;

	if (ww_get(ww, m, len, WW_RESET, out, &n, NULL) != 0)
		abort();
	return n;
}

size_t ours_get_runs(char *m, size_t len, void **out, size_t room)
{
	static struct ww_range runs[16384];
	char *end = m ? m + len : NULL, *at = m;
	size_t n, all = 0;

	if (room > 16384)
		room = 16384;
	/* m NULL: everything that is watched */
	do {
		n = room;
		if (ww_get_ranges(ww, at, (size_t)(end - at),
				  WW_RESET | (m ? 0 : WW_WINDOW), runs,
				  &n) != 0)
			abort();
		/* the runs of a work are of one length (dirty()) */
		all += n ? n * (runs[0].len / PAGE) : 0;
		if (m && n)
			at = (char *)runs[n - 1].start + runs[n - 1].len;
	} while (n == room && at < end);
	return all;
}
