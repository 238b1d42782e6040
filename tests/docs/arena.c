/* SPDX-License-Identifier: MIT */
/* arena.c - runs the listing of doc/allocator.md. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include LISTING

#define OBJECTS 40000

static char *object[OBJECTS];
static size_t told;

static void count(void *o)
{
	told++;
}

int main(void)
{
	static struct arena a = { .lock = PTHREAD_MUTEX_INITIALIZER, .object = 64 };
	size_t page = (size_t)sysconf(_SC_PAGESIZE), i;

	assert(ww_open(&a.ww, NULL) == 0);
	for (i = 0; i < OBJECTS; i++) {
		object[i] = arena_alloc(&a);
		assert(object[i]);
	}
	assert(arena_changed(&a, count) == 0 && told == 0);
	object[5][0] = 1;
	object[OBJECTS - 1][63] = 1;
	assert(arena_changed(&a, count) == 0 && told == 2 * page / 64);
	arena_free(&a, object[7]);
	arena_free(&a, object[8]);
	assert(arena_alloc(&a) == object[8] && arena_alloc(&a) == object[7]);
	told = 0;
	assert(arena_changed(&a, count) == 0 && told == page / 64);
	ww_close(a.ww);
	return 0;
}
