/* SPDX-License-Identifier: MIT */
/* guard.c - runs the listing of doc/page-guard.md. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include LISTING

#define PAGES 2000

static size_t recorded, page;

static void record(size_t offset, const void *bytes, size_t len)
{
	assert(offset % page == 0 && ((const char *)bytes)[0] == 7);
	recorded += len / page;
}

int main(void)
{
	struct guard g;
	struct ww *ww;
	char *real, *m;
	size_t i;

	page = (size_t)sysconf(_SC_PAGESIZE);
	real = calloc(PAGES, page);
	assert(real && ww_open(&ww, NULL) == 0);
	real[3 * page] = 3;
	m = guard_map(&g, ww, real, PAGES * page);
	assert(m && m[3 * page] == 3);
	assert(guard_flush(&g, record) == 0 && recorded == 0);
	for (i = 0; i < PAGES; i += 2)
		m[i * page] = 7;
	assert(guard_flush(&g, record) == 0 && recorded == PAGES / 2);
	assert(real[0] == 7 && real[page] == 0);
	real[page] = 9; /* the card */
	assert(guard_read_back(&g) == 0 && m[page] == 9);
	recorded = 0;
	assert(guard_flush(&g, record) == 0 && recorded == 0);
	guard_unmap(&g);
	ww_close(ww);
	return 0;
}
