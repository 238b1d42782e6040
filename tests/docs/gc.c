/* SPDX-License-Identifier: MIT */
/* gc.c - runs the listing of doc/gc.md. */
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include LISTING

#define PAGES 9000 /* every second one: more runs than its array holds */

static size_t seen, page;

void scan_page(void *start, size_t bytes)
{
	assert(((volatile char *)start)[0] == 1);
	seen += bytes / page;
}

int main(void)
{
	struct ww *ww;
	size_t i;
	char *heap;

	page = (size_t)sysconf(_SC_PAGESIZE);
	heap = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(heap != MAP_FAILED && ww_open(&ww, NULL) == 0);
	assert(ww_watch(ww, heap, PAGES * page, 0) == 0);
	for (i = 0; i < PAGES; i += 2)
		heap[i * page] = 1;
	assert(scan_dirty(ww, heap, PAGES * page) == 0 && seen == PAGES / 2);
	assert(scan_dirty(ww, heap, PAGES * page) == 0 && seen == PAGES / 2);
	assert(scan_dirty(ww, heap + 1, page) < 0);
	ww_close(ww);
	return 0;
}
