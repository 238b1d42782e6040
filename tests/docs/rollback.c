/* SPDX-License-Identifier: MIT */
/* rollback.c - runs the listing of doc/rollback.md: random frames, saved and taken
 * back, compared with whole copies; arrays that fill; memory that runs out. */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static void *limited_realloc(void *old, size_t bytes);
#include <stdlib.h>
#define realloc limited_realloc
#include LISTING
#undef realloc

#define PAGES 700
#define FRAMES 300
#define DEEP 20

static int refused; /* allocations that failed */
static bool scarce;

static void *limited_realloc(void *old, size_t bytes)
{
	if (scarce && rand() % 2 && ++refused)
		return NULL;
	return realloc(old, bytes);
}

static struct frame frames[DEEP];
static char *whole[DEEP];

int main(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), i;
	struct rollback r = { .len = PAGES * page };
	int n, k, depth = 0;

	srand(1);
	r.state = mmap(NULL, r.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.mirror = calloc(1, r.len);
	for (k = 0; k < DEEP; k++)
		whole[k] = malloc(r.len);
	assert(r.state != MAP_FAILED && r.mirror);
	assert(ww_open(&r.ww, NULL) == 0 && ww_watch(r.ww, r.state, r.len, 0) == 0);
	for (n = 0; n < FRAMES; n++) {
		struct frame *f;

		if (depth == DEEP || (depth && rand() % 3 == 0)) {
			f = &frames[--depth];
			assert(rollback_restore(&r, f) == 0);
			assert(!memcmp(r.state, whole[depth], r.len));
			assert(!memcmp(r.mirror, whole[depth], r.len));
			continue;
		}
		memcpy(whole[depth], r.state, r.len);
		for (i = 0; i < (size_t)(rand() % 400); i++)
			r.state[(size_t)(rand() % PAGES) * page + (size_t)(rand() % 100)]++;
		f = &frames[depth++];
		f->nruns = f->bytes = 0;
		scarce = n % 4 == 0;
		while (rollback_save(&r, f) < 0)
			;
		scarce = false;
		assert(!memcmp(r.mirror, r.state, r.len));
	}
	assert(refused > 0);
	ww_close(r.ww);
	return 0;
}
