/* SPDX-License-Identifier: MIT */
/* lent.c - runs the listing of doc/containers.md, where the kernel has what it needs. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include LISTING

int main(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 4;
	struct ww *ww;
	void *pages[4];
	char *m;
	int r;

	prepare();
	r = open_tracker(&ww);
	if (r < 0) {
		printf("not run: uffd-async is not usable here (%d)\n", r);
		return 77;
	}
	m = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(m != MAP_FAILED && ww_watch(ww, m, 4 * page, 0) == 0);
	m[page] = 1;
	assert(ww_get(ww, m, 4 * page, WW_RESET, pages, &n, NULL) == 0 && n == 1);
	ww_close(ww);
	assert(close(uffd) == 0 && close(pagemap) == 0);
	return 0;
}
