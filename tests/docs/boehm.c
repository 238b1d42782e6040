/* SPDX-License-Identifier: MIT */
/* boehm.c - runs the listing of doc/port-boehm.md. */
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include LISTING

#define PAGES 5000

static size_t seen, page;

static void count(void *start, size_t len)
{
	seen += len / page;
}

int main(void)
{
	char *heap;
	size_t i;

	page = (size_t)sysconf(_SC_PAGESIZE);
	heap = mmap(NULL, 2 * PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(heap != MAP_FAILED && vdb_open() && vdb_open());
	vdb_add(heap, PAGES * page);
	for (i = 0; i < PAGES; i += 2)
		heap[i * page] = 1;
	vdb_read(heap, PAGES * page, count);
	assert(seen == PAGES / 2);
	seen = 0;
	vdb_read(heap, PAGES * page, count);
	assert(seen == 0);
	/* a section that is not watched is dirty, and is dropped by other means */
	vdb_read(heap + PAGES * page, PAGES * page, count);
	assert(seen == PAGES);
	assert(!vdb_drop(heap + PAGES * page, page));
	heap[0] = 1;
	seen = 0;
	assert(vdb_drop(heap, 2 * page) && heap[2 * page] == 1 && heap[0] == 0);
	vdb_read(heap, 2 * page, count);
	assert(seen == 0);
	ww_close(tracker);
	return 0;
}
