/* SPDX-License-Identifier: MIT */
/* copy.c - no tracking at all: memory is compared with a copy of it. */
#include <stdlib.h>
#include <string.h>

#include "../bench.h"

static char *mirror, *base;

static int copy_open(const char *name)
{
	return 0;
}

static void copy_close(void)
{
}

static int copy_watch(char *m, size_t len)
{
	base = m;
	mirror = malloc(len);
	if (!mirror)
		return -1;
	memcpy(mirror, m, len);
	return 0;
}

static void copy_unwatch(char *m, size_t len)
{
	free(mirror);
}

static size_t copy_get(char *m, size_t len, void **out, size_t room)
{
	char *copy = mirror + (m - base);
	size_t i, n = 0;

	for (i = 0; i < len / PAGE && n < room; i++) {
		if (!memcmp(m + i * PAGE, copy + i * PAGE, PAGE))
			continue;
		memcpy(copy + i * PAGE, m + i * PAGE, PAGE);
		out[n++] = m + i * PAGE;
	}
	return n;
}

const struct technique reference_copy = {
	"memcmp with a copy", copy_open, copy_close, copy_watch,
	copy_unwatch,	      copy_get,	 GIB,	     256 * MIB
};

/* --- and not even that --- */

static int nothing_watch(char *m, size_t len)
{
	return 0;
}

static void nothing_unwatch(char *m, size_t len)
{
}

static size_t nothing_get(char *m, size_t len, void **out, size_t room)
{
	return 0;
}

const struct technique reference_untracked = { "untracked",	copy_open,
					       copy_close,	nothing_watch,
					       nothing_unwatch, nothing_get,
					       16 * GIB,	2048 * GIB };
