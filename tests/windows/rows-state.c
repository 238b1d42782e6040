/* SPDX-License-Identifier: MIT */
/* rows-state.c - section 6: what sets and clears the dirty state. */
#include "harness.h"

static DWORD old;

static void protect(DWORD protection)
{
	CHECK(VirtualProtect(base, SIZE, protection, &old));
}

static void load(int page)
{
	volatile char c = ((volatile char *)base)[page * UNIT];

	(void)c;
}

static void row_6_1_1_fresh_memory_is_clean(void)
{
	static const DWORD protections[] = { PAGE_NOACCESS, PAGE_READONLY,
					     PAGE_READWRITE,
					     PAGE_EXECUTE_READWRITE };
	size_t i;

	for (i = 0; i < sizeof(protections) / sizeof(protections[0]); i++) {
		begin_with(WATCHED, protections[i]);
		expect(0, -1);
		end();
	}
}

static void row_6_1_2_committed_pages_are_clean(void)
{
	begin_with(MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
	CHECK_SAME(VirtualAlloc(base + 2 * UNIT, 3 * UNIT, MEM_COMMIT,
				PAGE_READWRITE),
		   base + 2 * UNIT);
	expect(0, -1);
	touch(2);
	touch(4);
	expect(0, 2, 4, -1);
	end();
}

static void row_6_1_3_commit_over_commit_keeps(void)
{
	begin();
	touch(2);
	CHECK_SAME(VirtualAlloc(base, SIZE, MEM_COMMIT, PAGE_READWRITE), base);
	expect(0, 2, -1);
	end();
}

static void row_6_1_4_a_store_marks_its_pages(void)
{
	begin();
	*(volatile uint64_t *)(base + 4 * UNIT - 8) = 1;
	*(volatile char *)(base + 6 * UNIT) = 1;
	expect(0, 3, 6, -1);
	end();
}

static void row_6_1_5_loads_never_mark(void)
{
	int i;

	begin();
	if (!reads_are_clean()) {
		end();
		return;
	}
	for (i = 0; i < 16; i++)
		load(i);
	expect(0, -1);
	touch(3); /* one that was read first */
	expect(1, 3, -1);
	load(3);
	expect(0, -1);
	end();
}

static void row_6_1_7_read_only_and_back_changes_nothing(void)
{
	begin();
	touch(1);
	protect(PAGE_READONLY);
	protect(PAGE_READWRITE);
	CHECK_SAME(old, PAGE_READONLY);
	expect(0, 1, -1);
	end();
}

static void row_6_1_8_dirty_then_read_only(void)
{
	begin();
	touch(1);
	touch(3);
	protect(PAGE_READONLY);
	expect(0, 1, 3, -1);
	expect(1, 1, 3, -1);
	expect(0, -1);
	end();
}

static void row_6_1_9_dirty_then_no_access(void)
{
	begin();
	touch(1);
	touch(3);
	protect(PAGE_NOACCESS);
	expect(0, 1, 3, -1);
	expect(1, 1, 3, -1);
	expect(0, -1);
	end();
}

static void row_6_1_10_born_no_access(void)
{
	begin_with(WATCHED, PAGE_NOACCESS);
	protect(PAGE_READWRITE);
	expect(0, -1);
	touch(7);
	expect(0, 7, -1);
	end();
}

static void row_6_1_11_protecting_never_marks(void)
{
	begin();
	protect(PAGE_READONLY);
	protect(PAGE_NOACCESS);
	protect(PAGE_EXECUTE_READWRITE);
	protect(PAGE_READWRITE);
	expect(0, -1);
	end();
}

static void row_6_1_12_reset_while_no_access_stays(void)
{
	begin();
	touch(1);
	touch(2);
	protect(PAGE_NOACCESS);
	CHECK_SAME(ResetWriteWatch(base + UNIT, UNIT), 0);
	expect(1, 2, -1);
	protect(PAGE_READWRITE);
	expect(0, -1);
	touch(2);
	expect(0, 2, -1);
	end();
}

static void row_6_1_13_decommit_clears(void)
{
	begin();
	touch(1);
	touch(2);
	touch(5);
	CHECK(VirtualFree(base + UNIT, 2 * UNIT, MEM_DECOMMIT));
	expect(0, 5, -1);
	end();
}

static void row_6_1_14_recommitted_is_clean(void)
{
	begin();
	touch(1);
	touch(5);
	CHECK(VirtualFree(base + UNIT, 2 * UNIT, MEM_DECOMMIT));
	CHECK(VirtualAlloc(base + UNIT, 2 * UNIT, MEM_COMMIT, PAGE_READWRITE));
	expect(0, 5, -1);
	if (is_exact()) {
		CHECK_SAME(base[UNIT], 0);
		expect(0, 5, -1);
	}
	touch(2);
	CHECK_SAME(ResetWriteWatch(base + UNIT, UNIT), 0);
	expect(0, 2, 5, -1);
	end();
}

static void row_6_1_16_reset_clears_after_a_protection(void)
{
	begin();
	touch(4);
	protect(PAGE_READWRITE);
	CHECK_SAME(ResetWriteWatch(base, SIZE), 0);
	expect(0, -1);
	CHECK(VirtualFree(base, SIZE, MEM_DECOMMIT));
	expect(0, -1);
	end();
}

static void row_6_1_18_released_and_allocated_again(void)
{
	char *again;

	begin();
	touch(3);
	end();
	again = VirtualAlloc(base, SIZE, WATCHED, PAGE_READWRITE);
	CHECK_SAME(again, base);
	expect(0, -1);
	end();
}

static void row_6_1_19_mem_reset_clears(void)
{
	begin();
	touch(1);
	touch(2);
	CHECK(VirtualAlloc(base + UNIT, UNIT, MEM_RESET, PAGE_NOACCESS));
	expect(0, 2, -1);
	touch(1); /* still read-write */
	expect(0, 1, 2, -1);
	end();
}

static void row_6_1_19_mem_reset_of_reserved_pages(void)
{
	MEMORY_BASIC_INFORMATION m;

	begin_with(MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
	CHECK(VirtualAlloc(base, SIZE, MEM_RESET, PAGE_READWRITE));
	VirtualQuery(base, &m, sizeof(m));
	CHECK_SAME(m.State, MEM_RESERVE);
	end();
}

static void row_6_1_19_mem_reset_past_the_end(void)
{
	begin();
	touch(3);
	fails_with(VirtualAlloc(base, SIZE + 1, MEM_RESET, PAGE_READWRITE),
		   487);
	expect(0, 3, -1);
	end();
}

static void row_6_1_24_locking_a_guard_page(void)
{
	begin();
	CHECK(VirtualProtect(base + UNIT, UNIT, PAGE_READWRITE | PAGE_GUARD,
			     &old));
	CHECK(!VirtualLock(base + UNIT, UNIT));
	CHECK_SAME(GetLastError(), 0x80000001);
	expect(0, -1);
	/* 6.1.25: the guard is gone */
	CHECK(VirtualLock(base + UNIT, UNIT));
	expect(0, 1, -1);
	CHECK(VirtualUnlock(base + UNIT, UNIT));
	end();
}

static void row_6_1_26_locking_marks(void)
{
	begin();
	CHECK(VirtualLock(base + 2 * UNIT, UNIT));
	expect(WRITE_WATCH_FLAG_RESET, 2, -1);
	CHECK(VirtualUnlock(base + 2 * UNIT, UNIT));
	touch(3);
	expect(0, 3, -1);
	end();
}

ROWS(rows_state, ROW(row_6_1_1_fresh_memory_is_clean),
     ROW(row_6_1_2_committed_pages_are_clean),
     ROW(row_6_1_3_commit_over_commit_keeps),
     ROW(row_6_1_4_a_store_marks_its_pages), ROW(row_6_1_5_loads_never_mark),
     ROW(row_6_1_7_read_only_and_back_changes_nothing),
     ROW(row_6_1_8_dirty_then_read_only), ROW(row_6_1_9_dirty_then_no_access),
     ROW(row_6_1_10_born_no_access), ROW(row_6_1_11_protecting_never_marks),
     ROW(row_6_1_12_reset_while_no_access_stays),
     ROW(row_6_1_13_decommit_clears), ROW(row_6_1_14_recommitted_is_clean),
     ROW(row_6_1_16_reset_clears_after_a_protection),
     ROW(row_6_1_18_released_and_allocated_again),
     ROW(row_6_1_19_mem_reset_clears),
     ROW(row_6_1_19_mem_reset_of_reserved_pages),
     ROW(row_6_1_19_mem_reset_past_the_end),
     ROW(row_6_1_24_locking_a_guard_page), ROW(row_6_1_26_locking_marks));
