/* SPDX-License-Identifier: MIT */
/* dirty.c - the API at a glance: which pages did I write? */
#include <stdio.h>
#include <sys/mman.h>
#include <writewatch.h>

int main(void)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	size_t len = 1 << 20, n = 16, page, i;
	void *pages[16];
	struct ww *ww;
	char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || ww_open(&ww, NULL) < 0 ||
	    ww_watch(ww, memory, len, 0) < 0)
		return 1;
	ww_info(ww, &info);

	memory[10] = 1;
	memory[5 * 4096 + 7] = 2;
	if (ww_get(ww, memory, len, WW_RESET, pages, &n, &page) < 0)
		return 1;
	printf("%s: %zu pages of %zu bytes were written:", info.name, n, page);
	for (i = 0; i < n; i++)
		printf(" +%zu", (size_t)((char *)pages[i] - memory));
	printf("\n");
	ww_close(ww);
	return 0;
}
