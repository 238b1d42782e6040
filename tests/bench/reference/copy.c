/* SPDX-License-Identifier: MIT */
/* copy.c - no tracking at all: memory is compared with a copy of it. */
#include <stdlib.h>
#include <string.h>

#include "../bench.h"

static char *mirror;

static int copy_open(const char *name)
{
	(void)name;
	return 0;
}

static void copy_close(void)
{
}

static int copy_watch(char *m, size_t len)
{
	mirror = malloc(len);
	if (!mirror)
		return -1;
	memcpy(mirror, m, len);
	return 0;
}

static void copy_unwatch(char *m, size_t len)
{
	(void)m;
	(void)len;
	free(mirror);
}

static size_t copy_get(char *m, size_t len, void **pages, size_t room)
{
	size_t i, n = 0;

	for (i = 0; i < len / PAGE && n < room; i++) {
		if (!memcmp(m + i * PAGE, mirror + i * PAGE, PAGE))
			continue;
		memcpy(mirror + i * PAGE, m + i * PAGE, PAGE);
		pages[n++] = m + i * PAGE;
	}
	return n;
}

const struct technique reference_copy = { "memcmp with a copy", copy_open,
					  copy_close,		copy_watch,
					  copy_unwatch,		copy_get };
