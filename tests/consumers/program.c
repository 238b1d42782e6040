/* SPDX-License-Identifier: MIT */
/* program.c - what each consumer builds: one page is written, one is told. */
#include <stdlib.h>
#include <sys/mman.h>
#include <writewatch.h>

int main(void)
{
	void *pages[4];
	size_t n = 4, size, len = 1 << 20;
	struct ww *ww;
	char *m = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED || ww_open(&ww, NULL) != 0 ||
	    ww_watch(ww, m, len, 0) != 0)
		return 1;
	m[len / 2] = 1;
	if (ww_get(ww, m, len, WW_RESET, pages, &n, &size) != 0 || n != 1 ||
	    pages[0] != m + len / 2)
		return 2;
	ww_close(ww);
	return 0;
}
