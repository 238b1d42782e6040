/* SPDX-License-Identifier: MIT */
/* choosing.c - runs the listing of doc/choosing.md. */
#include <assert.h>
#include <stdlib.h>

#include LISTING

int main(void)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	struct ww *ww;

	assert(open_tracker(&ww) == 0 && ww_info(ww, &info) == 0);
	assert(info.caps & WW_CAP_ATOMIC_RESET);
	ww_close(ww);
	return 0;
}
