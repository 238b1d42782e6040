/* SPDX-License-Identifier: MIT */
/*
 * softdirty.c - pagemap's bit 55, and clear_refs for the whole process, as
 * garbage collectors use it. It loses racing writes.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../bench.h"

#define SOFT_DIRTY (UINT64_C(1) << 55)

static int pagemap = -1, clear_refs = -1;

static void softdirty_close(void)
{
	close(pagemap);
	close(clear_refs);
}

static int softdirty_open(const char *name)
{
	volatile char *page = map(PAGE);
	uint64_t entry = 0;

	page[0] = 1;
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)page / PAGE * 8)) ==
		    8 &&
	    entry & SOFT_DIRTY)
		return 0;
	softdirty_close();
	return -1;
}

static void clear(void)
{
	if (write(clear_refs, "4", 1) != 1)
		abort();
}

static int softdirty_watch(char *m, size_t len)
{
	clear();
	return 0;
}

static void softdirty_unwatch(char *m, size_t len)
{
}

static size_t softdirty_get(char *m, size_t len, void **out, size_t room)
{
	static uint64_t entry[8192];
	size_t at, i, n = 0, npages = len / PAGE;

	for (at = 0; at < npages && n < room; at += 8192) {
		size_t k = npages - at < 8192 ? npages - at : 8192;

		if (pread(pagemap, entry, k * 8,
			  (off_t)(((uintptr_t)m / PAGE + at) * 8)) !=
		    (ssize_t)(k * 8))
			abort();
		for (i = 0; i < k && n < room; i++)
			if (entry[i] & SOFT_DIRTY)
				out[n++] = m + (at + i) * PAGE;
	}
	clear();
	return n;
}

const struct technique reference_softdirty = {
	"clear_refs",	   softdirty_open, softdirty_close, softdirty_watch,
	softdirty_unwatch, softdirty_get,  256 * MIB,	    256 * MIB
};
