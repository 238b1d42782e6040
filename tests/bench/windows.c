/* SPDX-License-Identifier: MIT */
/* windows.c - what the Win32 face adds to the calls behind it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WRITEWATCH_WIN32_NAMES
#include "bench.h"
#include "writewatch-win32.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SMALL ((size_t)64 << 10)
#define MOST_ALLOCATIONS 10000u
#define WATCHED (MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH)

static PVOID allocate(size_t len, DWORD type)
{
	PVOID m = VirtualAlloc(NULL, len, type, PAGE_READWRITE);

	if (!m)
		abort();
	return m;
}

/* --- allocations --- */

static void one_allocation(DWORD type)
{
	VirtualFree(allocate(SMALL, type), 0, MEM_RELEASE);
}

static void allocation_watched(void)
{
	one_allocation(WATCHED);
}

static void allocation_plain(void)
{
	one_allocation(MEM_RESERVE | MEM_COMMIT);
}

static void mapping_watched(void)
{
	struct ww *ww = ww_win32_tracker();
	void *m = mmap(NULL, SMALL, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ww_watch(ww, m, SMALL, 0) != 0 ||
	    ww_unwatch(ww, m, SMALL, WW_UNMAPPING) != 0)
		abort();
	munmap(m, SMALL);
}

static double time_of(void (*fn)(void))
{
	double v[101];
	size_t i;

	for (i = 0; i < COUNT(v); i++) {
		v[i] = now();
		fn();
		v[i] = now() - v[i];
	}
	return median(v, COUNT(v));
}

double cost_of_allocation(const struct technique *t, char *m,
			  const struct work *w)
{
	return time_of(allocation_watched);
}

double cost_of_mapping(const struct technique *t, char *m, const struct work *w)
{
	double v[101];
	size_t i;

	for (i = 0; i < COUNT(v); i++) {
		v[i] = now();
		m = map(w->len);
		if (t->watch(m, w->len) != 0)
			abort();
		t->unwatch(m, w->len);
		munmap(m, w->len);
		v[i] = now() - v[i];
	}
	return median(v, COUNT(v));
}

static void ask_allocations(void)
{
	static const size_t counts[] = { 1, 10, 100, 1000, MOST_ALLOCATIONS };
	static PVOID kept[MOST_ALLOCATIONS];
	struct plot plot;
	size_t i, n = 0;

	plot_begin(
		&plot, "windows-alloc",
		"allocating 64 KiB and giving it back, where n are allocated and watched",
		"allocations", "ns");
	plot_series(&plot, "VirtualAlloc, VirtualFree, watched");
	plot_series(&plot, "the same, not watched");
	plot_series(&plot, "mmap, ww_watch, ww_unwatch, munmap");
	for (i = 0; i < COUNT(counts); i++) {
		for (; n < counts[i]; n++)
			kept[n] = allocate(SMALL, WATCHED);
		plot_row(&plot, (double)n);
		plot_value(&plot, time_of(allocation_watched));
		plot_value(&plot, time_of(allocation_plain));
		plot_value(&plot, time_of(mapping_watched));
	}
	end(&plot);
	while (n)
		VirtualFree(kept[--n], 0, MEM_RELEASE);
}

/* --- a reservation in pieces --- */

static char *pieces;
static size_t middle; /* a page that is reserved, between two committed ones */

static void query_piece(void)
{
	MEMORY_BASIC_INFORMATION m;

	if (!VirtualQuery(pieces + middle, &m, sizeof(m)) ||
	    m.RegionSize != PAGE)
		abort();
}

static void commit_piece(void)
{
	if (!VirtualAlloc(pieces + middle, PAGE, MEM_COMMIT, PAGE_READWRITE) ||
	    !VirtualFree(pieces + middle, PAGE, MEM_DECOMMIT))
		abort();
}

static void ask_pieces(void)
{
	static const size_t counts[] = { 2, 20, 200, 2000, 20000 };
	struct plot plot;
	size_t i, n = 0;

	plot_begin(
		&plot, "windows-pieces",
		"a reservation of 64 GiB, every other page of its beginning committed",
		"pages committed", "ns");
	plot_series(&plot, "VirtualQuery");
	plot_series(&plot, "commit and decommit a page");
	pieces = allocate(64 * GIB, MEM_RESERVE | MEM_WRITE_WATCH);
	for (i = 0; i < COUNT(counts); i++) {
		for (; n < counts[i]; n++)
			if (!VirtualAlloc(pieces + n * 2 * PAGE, PAGE,
					  MEM_COMMIT, PAGE_READWRITE))
				abort();
		middle = (n / 2 * 2 - 1) * PAGE;
		plot_row(&plot, (double)n);
		plot_value(&plot, time_of(query_piece));
		plot_value(&plot, time_of(commit_piece));
	}
	end(&plot);
	VirtualFree(pieces, 0, MEM_RELEASE);
}

/* --- queries --- */

static int face_open(const char *name)
{
	return ww_win32_tracker() ? 0 : -1;
}

static void face_close(void)
{
}

static int face_watch(char *m, size_t len)
{
	return ww_watch(ww_win32_tracker(), m, len, 0);
}

static void face_unwatch(char *m, size_t len)
{
	ww_unwatch(ww_win32_tracker(), m, len, 0);
}

static size_t by_windows(char *m, size_t len, void **out, size_t room)
{
	ULONG_PTR n = room;
	DWORD granularity;

	if (GetWriteWatch(WRITE_WATCH_FLAG_RESET, m, len, out, &n,
			  &granularity) != 0)
		abort();
	return n;
}

static size_t by_name(char *m, size_t len, void **out, size_t room)
{
	size_t n = room;

	if (ww_get(ww_win32_tracker(), m, len, WW_RESET, out, &n, NULL) != 0)
		abort();
	return n;
}

/* ns a call. The array has an entry for each page, as Windows programs give it. */
static double cost_of_call(const struct technique *t, char *m,
			   const struct work *w)
{
	double v[21];
	size_t i;

	for (i = 0; i < COUNT(v); i++) {
		double start;

		dirty(m, w);
		start = now();
		t->get_reset(m, w->len, pages, w->len / PAGE);
		v[i] = now() - start;
	}
	return median(v, COUNT(v));
}

static void ask_calls(void)
{
	static const struct technique two[] = {
		{ "GetWriteWatch", face_open, face_close, face_watch,
		  face_unwatch, by_windows, GIB, 0 },
		{ "ww_get", face_open, face_close, face_watch, face_unwatch,
		  by_name, GIB, 0 },
	};
	static const size_t sizes[] = { SMALL, MIB, 16 * MIB, 256 * MIB };
	const struct technique *const list[] = { &two[0], &two[1] };
	struct field f = field_of(list, 2);
	struct plot plot;
	size_t i;

	begin(&plot, &f, "windows-query",
	      "get-and-reset, 1 page of 16 written, an entry for each page",
	      "bytes", "ns a call");
	for (i = 0; i < COUNT(sizes); i++)
		measure(&plot, &f, (double)sizes[i], cost_of_call,
			&(struct work){ .len = sizes[i], .density = 1.0 / 16 });
	end(&plot);
}

void ask_windows(void)
{
	if (!ww_win32_tracker())
		return;
	ask_allocations();
	ask_pieces();
	ask_calls();
}
