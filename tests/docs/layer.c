/* SPDX-License-Identifier: MIT */
/* layer.c - runs the listing of doc/compat-layer.md. */
#include <assert.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>

#include LISTING

static sigjmp_buf out;

void raise_windows_exception(siginfo_t *info, void *context)
{
	siglongjmp(out, 1);
}

int main(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 8;
	struct sigaction act = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };
	struct ww_backend_info info = { .size = sizeof(info) };
	int pipes[2];
	void *pages[8];
	char *m;

	assert(sigaction(SIGSEGV, &act, NULL) == 0 && layer_open() == 0);
	assert(ww_info(layer_tracker, &info) == 0);
	m = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(m != MAP_FAILED && ww_watch(layer_tracker, m, 8 * page, 0) == 0);
	m[5 * page] = 1;
	assert(pipe(pipes) == 0 && write(pipes[1], "0123", 4) == 4);
	assert(layer_read(pipes[0], m + page, 2 * page) == 4);
	assert(ww_get(layer_tracker, m, 8 * page, WW_RESET, pages, &n, NULL) == 0);
	/* the whole buffer, as on Windows */
	assert(n == 3 && pages[0] == m + page && pages[1] == m + 2 * page && pages[2] == m + 5 * page);
	assert(layer_read(-1, m, 1) == -1 && errno == EBADF);
	assert(ww_protect(layer_tracker, m, 8 * page, PROT_READ, WW_WINDOW) == 0);
	if (sigsetjmp(out, 1) == 0) {
		m[0] = 1;
		return 1; /* no exception */
	}
	ww_close(layer_tracker);
	return 0;
}
