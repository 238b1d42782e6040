/* SPDX-License-Identifier: MIT */
/*
 * rows-programs.c - section 12: the calls as real programs make them. What
 * each depends on is in its comment; the code is ours.
 */
#include "harness.h"

static char *arena;
static SIZE_T npages;

static void begin_arena(SIZE_T pages)
{
	npages = pages;
	arena = VirtualAlloc(NULL, npages * UNIT, WATCHED, PAGE_READWRITE);
	CHECK(arena);
}

static void end_arena(void)
{
	CHECK(VirtualFree(arena, 0, MEM_RELEASE));
}

static void dirty(SIZE_T page)
{
	((volatile char *)arena)[page * UNIT + 40]++;
}

static SIZE_T page_of(const void *entry)
{
	return (SIZE_T)((const char *)entry - arena) / UNIT;
}

/* A garbage collector that revisits dirty pages while the program runs: 100
 * entries, an unaligned base that moves behind the last entry; later without a
 * reset; and one reset for all of it. */
static void row_12_coreclr_100_entries_moving_base(void)
{
	char *from, *stop;
	void *pages[100];
	SIZE_T i, found = 0;
	ULONG_PTR n;
	DWORD g;
	int pass;

	begin_arena(1000);
	for (i = 1; i < npages; i += 3)
		dirty(i);
	for (pass = 0; pass < 2; pass++) {
		from = arena + 72; /* the first object */
		stop = arena + npages * UNIT - 24;
		found = 0;
		do {
			n = 100;
			CHECK_SAME(GetWriteWatch(0, from,
						 (SIZE_T)(stop - from), pages,
						 &n, &g),
				   0);
			for (i = 0; i < n; i++)
				CHECK_SAME(page_of(pages[i]),
					   found++ / PARTS * 3 + 1);
			if (n)
				from = (char *)pages[n - 1] + g;
		} while (n == 100);
		CHECK_SAME(found, 333 * PARTS);
	}
	CHECK_SAME(ResetWriteWatch(arena + 72, npages * UNIT - 100), 0);
	n = 100;
	CHECK_SAME(GetWriteWatch(1, arena, npages * UNIT, pages, &n, &g), 0);
	CHECK_SAME(n, 0);
	end_arena();
}

/* Is it there? Asked on a page that is only reserved. Then 2048 entries, always
 * from the section's start, until an answer is not full. */
static void row_12_bdwgc_2048_entries_from_the_start(void)
{
	static void *pages[2048];
	SIZE_T i, seen = 0;
	ULONG_PTR n;
	DWORD g;
	char *probe = VirtualAlloc(NULL, UNIT, MEM_RESERVE | MEM_WRITE_WATCH,
				   PAGE_READWRITE);

	CHECK(probe);
	n = 16;
	CHECK_SAME(GetWriteWatch(1, probe, UNIT, pages, &n, &g), 0);
	CHECK(VirtualFree(probe, 0, MEM_RELEASE));
	begin_arena(5000);
	for (i = 0; i < npages; i++)
		dirty(i);
	do {
		n = 2048;
		CHECK_SAME(GetWriteWatch(1, arena, npages * UNIT, pages, &n,
					 &g),
			   0);
		for (i = 0; i < n; i++)
			CHECK_SAME(page_of(pages[i]), seen++ / PARTS);
	} while (n == 2048);
	CHECK_SAME(seen, npages * PARTS);
	end_arena();
}

/* An array for all pages of a segment; a page or the segment is reset; each
 * answer is checked for alignment and bounds. */
static void row_12_chakracore_segments(void)
{
	static void *pages[256 * 16];
	ULONG_PTR n, i;
	DWORD g;
	int round;

	begin_arena(256);
	for (round = 0; round < 20; round++) {
		CHECK_SAME(ResetWriteWatch(arena, npages * UNIT), 0);
		dirty((SIZE_T)round);
		dirty(200);
		CHECK_SAME(ResetWriteWatch(arena + 200 * UNIT, UNIT), 0);
		n = npages * PARTS;
		CHECK_SAME(GetWriteWatch(round % 2, arena, npages * UNIT,
					 pages, &n, &g),
			   0);
		CHECK_SAME(n, PARTS);
		for (i = 0; i < n; i++) {
			CHECK_SAME((uintptr_t)pages[i] % g, 0);
			CHECK_SAME(page_of(pages[i]), (SIZE_T)round);
		}
	}
	/* a debug path */
	n = 0;
	CHECK_SAME(GetWriteWatch(0, arena, UNIT, pages, &n, &g), ~0u);
	end_arena();
}

/* Was anything written? One entry over 64 MiB, which must stop at the first. */
static void row_12_one_entry_over_64_mib(void)
{
	void *page = NULL;
	ULONG_PTR n;
	DWORD g;
	int i;

	begin_arena(((SIZE_T)64 << 20) / UNIT);
	for (i = 0; i < (int)often(200); i++) {
		n = 1;
		CHECK_SAME(GetWriteWatch(0, arena, npages * UNIT, &page, &n,
					 &g),
			   0);
		CHECK_SAME(n, i != 0);
		if (n)
			CHECK_SAME(page, arena + 77 * UNIT);
		dirty(77);
		dirty(npages - 1);
	}
	CHECK_SAME(ResetWriteWatch(arena, npages * UNIT), 0);
	n = 1;
	CHECK_SAME(GetWriteWatch(0, arena, npages * UNIT, &page, &n, &g), 0);
	CHECK_SAME(n, 0);
	end_arena();
}

/* Console emulator: pages become inaccessible and come back on the same memory
 * between queries. */
static void row_12_pages_flip_to_no_access(void)
{
	DWORD old;
	int i;

	begin();
	for (i = 0; i < 16; i++) {
		touch(i);
		CHECK(VirtualProtect(base + i * UNIT, UNIT, PAGE_NOACCESS,
				     &old));
		expect(1, i, -1);
		CHECK(VirtualProtect(base + i * UNIT, UNIT, PAGE_READWRITE,
				     &old));
		expect(0, -1);
	}
	end();
}

/* Video memory: room for pages + 1, every frame, on a part. */
static void row_12_winuae_pages_and_one(void)
{
	static void *pages[(512 + 1) * 16];
	ULONG_PTR n;
	DWORD g;
	int frame;

	begin_arena(1024);
	for (frame = 0; frame < 60; frame++) {
		dirty(256 + (SIZE_T)frame);
		dirty(10); /* not on the screen */
		n = (512 + 1) * PARTS;
		CHECK_SAME(GetWriteWatch(1, arena + 256 * UNIT, 512 * UNIT,
					 pages, &n, &g),
			   0);
		CHECK_SAME(n, PARTS);
		CHECK_SAME(page_of(pages[0]), 256 + (SIZE_T)frame);
	}
	end_arena();
}

/* Rollback: 170 MB, about 1500 pages a frame, 2000 entries, never asks again;
 * neighbours are joined to runs. The copy is right after 60 frames. */
static void row_12_dolphin_rollback_2000_of_170_mb(void)
{
	static void *pages[2000 * 16];
	/* a machine that is emulated does less */
	const SIZE_T bytes = (SIZE_T)(slowness() > 1 ? 12 : 170) << 20;
	const int frames = slowness() > 1 ? 4 : 60;
	char *copy = malloc(bytes);
	double t = seconds();
	SIZE_T i;
	int frame;

	CHECK(copy);
	begin_arena(bytes / UNIT);
	memset(arena, 1, npages * UNIT);
	memcpy(copy, arena, npages * UNIT);
	CHECK_SAME(ResetWriteWatch(arena, npages * UNIT), 0);
	for (frame = 0; frame < frames; frame++) {
		ULONG_PTR n = 2000 * PARTS, k, run;
		DWORD g;

		for (i = 0; i < 1500; i++)
			dirty((i * 29 + (SIZE_T)frame * 101) % npages);
		CHECK_SAME(GetWriteWatch(1, arena, npages * UNIT, pages, &n,
					 &g),
			   0);
		CHECK(n <= 1500 * PARTS && n >= (npages < 1500 * 2 ? npages / 4
								   : 1400) *
						       PARTS);
		for (k = 0; k < n; k = run) {
			char *start = pages[k];

			for (run = k + 1;
			     run < n &&
			     (char *)pages[run] == (char *)pages[run - 1] + g;
			     run++)
				;
			memcpy(copy + (start - arena), start, (run - k) * g);
		}
	}
	CHECK(!memcmp(copy, arena, npages * UNIT));
	printf("  %d frames in %.2f s\n", frames, seconds() - t);
	end_arena();
	free(copy);
}

/* Who looks for a debugger or an emulator: 4096 entries for one page, exactly
 * one after a store, none after calls that fail with the page as their output,
 * and a page with code. */
static void row_12_al_khaser_exact_counts(void)
{
	static void *pages[4096];
	ULONG_PTR n = 4096;
	DWORD g;

	arena = VirtualAlloc(NULL, ENTRY * 4096, WATCHED,
			     PAGE_EXECUTE_READWRITE);
	CHECK(arena);
	CHECK_SAME(GetWriteWatch(1, arena, ENTRY, pages, &n, &g), 0);
	CHECK_SAME(n, 0);
	arena[0] = 1;
	n = 4096;
	CHECK_SAME(GetWriteWatch(1, arena, ENTRY, pages, &n, &g), 0);
	CHECK_SAME(n, 1);
	CHECK_SAME(pages[0], arena);
	n = 4096;
	CHECK_SAME(GetWriteWatch(1, arena, ENTRY, pages, &n, &g), 0);
	CHECK_SAME(n, 0);
	end_arena();
}

/* A recorder that classifies memory: a reset of each allocation, before; and a
 * query with 10,240 entries on the stack, after. Any failure ends it. */
static void row_12_recorder_resets_every_allocation(void)
{
	void *pages[10240];
	char *list[20];
	ULONG_PTR n;
	int i, round;

	for (i = 0; i < 20; i++)
		CHECK((list[i] = VirtualAlloc(NULL, SIZE, WATCHED,
					      PAGE_READWRITE)));
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 20; i++)
			CHECK_SAME(NtResetWriteWatch(GetCurrentProcess(),
						     list[i], SIZE),
				   STATUS_SUCCESS);
		list[round][3 * UNIT] = 1;
		for (i = 0; i < 20; i++) {
			ULONG granule = 0;

			n = 10240;
			CHECK_SAME(NtGetWriteWatch(GetCurrentProcess(), 0,
						   list[i], SIZE, pages, &n,
						   &granule),
				   STATUS_SUCCESS);
			CHECK_SAME(n, i == round ? PARTS : 0);
		}
	}
	for (i = 0; i < 20; i++)
		CHECK(VirtualFree(list[i], 0, MEM_RELEASE));
}

ROWS(rows_programs, ROW(row_12_coreclr_100_entries_moving_base),
     ROW(row_12_bdwgc_2048_entries_from_the_start),
     ROW(row_12_chakracore_segments), ROW(row_12_one_entry_over_64_mib),
     ROW(row_12_pages_flip_to_no_access), ROW(row_12_winuae_pages_and_one),
     ROW(row_12_dolphin_rollback_2000_of_170_mb),
     ROW(row_12_al_khaser_exact_counts),
     ROW(row_12_recorder_resets_every_allocation));
