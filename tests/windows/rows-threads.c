/* SPDX-License-Identifier: MIT */
/* rows-threads.c - section 10: threads, and the last error of each. */
#include "harness.h"

/* Plain loads and stores with a lock prefix or the like on every compiler. */
#define ADD(x) __atomic_add_fetch(&(x), 1, __ATOMIC_SEQ_CST)
#define READ(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)

#define PAGES 512
#define ROUNDS 40

static char *arena;
static unsigned opened, done, failures;
static unsigned seen[ROUNDS][PAGES];

/* Note a result; entries of larger host pages fall on their host page. */
static ULONG_PTR collect(unsigned round, ULONG_PTR room)
{
	void *pages[64];
	ULONG_PTR n = room, i;
	DWORD g;

	if (GetWriteWatch(1, arena, PAGES * UNIT, pages, &n, &g) != 0) {
		ADD(failures);
		return 0;
	}
	for (i = 0; i < n; i++)
		ADD(seen[round][(SIZE_T)((char *)pages[i] - arena) / UNIT]);
	return n;
}

/* Thread 0 opens a round and collects; the others write half of the pages each,
 * once, and wait for the next round. */
static void write_once_a_round(unsigned number)
{
	unsigned round;
	SIZE_T i;

	for (round = 0; round < often(ROUNDS); round++) {
		if (number == 0) {
			ADD(opened);
			while (READ(done) < 2 * (round + 1))
				collect(round, round % 2 ? 7 : 64);
			while (collect(round, 64))
				;
			continue;
		}
		while (READ(opened) <= round)
			step_aside();
		for (i = number - 1; i < PAGES; i += 2)
			((volatile char *)arena)[i * UNIT]++;
		ADD(done);
	}
}

static void begin_arena(void)
{
	arena = VirtualAlloc(NULL, PAGES * UNIT, WATCHED, PAGE_READWRITE);
	CHECK(arena);
	memset(seen, 0, sizeof(seen));
	opened = done = failures = 0;
}

static void row_10_1_no_racing_write_is_lost(void)
{
	unsigned round, lost = 0;
	SIZE_T i;

	begin_arena();
	in_threads(3, write_once_a_round);
	CHECK_SAME(failures, 0);
	for (round = 0; round < often(ROUNDS); round++)
		for (i = 0; i < PAGES; i++)
			lost += seen[round][i] == 0;
	CHECK_SAME(lost, 0);
	CHECK(VirtualFree(arena, 0, MEM_RELEASE));
}

static void row_10_4_a_store_after_the_reset_marks(void)
{
	int i;

	begin();
	for (i = 0; i < (int)often(2000); i++) {
		touch(i % 16);
		CHECK_SAME(ResetWriteWatch(base, SIZE), 0);
		touch((i + 1) % 16);
		expect(1, (i + 1) % 16, -1);
	}
	end();
}

static void collect_all(unsigned number)
{
	SIZE_T i;

	/* three entries a call, of PARTS for each page */
	for (i = 0; i < PAGES * PARTS; i++)
		collect(number, 3);
}

static void row_10_5_a_page_goes_to_one_caller_only(void)
{
	unsigned k, too_often = 0;
	SIZE_T i;

	begin_arena();
	for (i = 0; i < PAGES; i++)
		arena[i * UNIT] = 1;
	in_threads(2, collect_all);
	CHECK_SAME(failures, 0);
	for (i = 0; i < PAGES; i++) {
		unsigned times = 0;

		for (k = 0; k < 2; k++)
			times += seen[k][i];
		CHECK(times > 0);
		too_often += times > PARTS;
	}
	if (hands_out_once())
		CHECK_SAME(too_often, 0);
	CHECK(VirtualFree(arena, 0, MEM_RELEASE));
}

static void query_what_may_be_gone(unsigned number)
{
	void *pages[8];
	int i;

	for (i = 0; i < (int)often(300); i++) {
		ULONG_PTR n = 8;
		DWORD g;
		char *p;

		if (number == 0) {
			p = VirtualAlloc(arena, SIZE, WATCHED, PAGE_READWRITE);
			if (!p)
				continue;
			*(volatile char *)p = 1;
			if (!VirtualFree(p, 0, MEM_RELEASE))
				ADD(failures);
		} else if (GetWriteWatch(1, arena, SIZE, pages, &n, &g) != 0 &&
			   GetLastError() != 87) {
			ADD(failures);
		}
	}
}

static void row_10_6_racing_with_a_release_is_87(void)
{
	begin_arena();
	CHECK(VirtualFree(arena, 0, MEM_RELEASE));
	in_threads(3, query_what_may_be_gone);
	CHECK_SAME(failures, 0);
}

static void set_last_error(unsigned number)
{
	unsigned i;

	if (GetLastError() != 0)
		ADD(failures);
	for (i = 0; i < 1000; i++) {
		SetLastError(number + i);
		if (GetLastError() != number + i)
			ADD(failures);
	}
}

static void row_10_7_the_last_error_is_one_for_each_thread(void)
{
	failures = 0;
	SetLastError(77);
	in_threads(4, set_last_error);
	CHECK_SAME(failures, 0);
	CHECK_SAME(GetLastError(), 77);
}

ROWS(rows_threads, ROW(row_10_1_no_racing_write_is_lost),
     ROW(row_10_4_a_store_after_the_reset_marks),
     ROW(row_10_5_a_page_goes_to_one_caller_only),
     ROW(row_10_6_racing_with_a_release_is_87),
     ROW(row_10_7_the_last_error_is_one_for_each_thread));
