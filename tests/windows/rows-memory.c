/* SPDX-License-Identifier: MIT */
/* rows-memory.c - sections 7 and 9: allocations, and their sizes. */
#include "harness.h"

static void row_7_1_reserve(void)
{
	MEMORY_BASIC_INFORMATION m;

	begin_with(MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
	VirtualQuery(base, &m, sizeof(m));
	CHECK_SAME(m.State, MEM_RESERVE);
	CHECK_SAME(m.Protect, 0);
	CHECK_SAME(m.AllocationProtect, PAGE_READWRITE);
	end();
}

static void row_7_2_reserve_and_commit(void)
{
	begin();
	touch(15);
	expect(0, 15, -1);
	end();
}

static void row_7_3_the_flag_alone(void)
{
	fails_with(VirtualAlloc(NULL, SIZE, MEM_WRITE_WATCH, PAGE_READWRITE),
		   87);
}

static void row_7_4_commit_without_reserve(void)
{
	fails_with(VirtualAlloc(NULL, SIZE, MEM_COMMIT | MEM_WRITE_WATCH,
				PAGE_READWRITE),
		   87);
}

static void row_7_5_top_down(void)
{
	begin_with(WATCHED | MEM_TOP_DOWN, PAGE_READWRITE);
	touch(2);
	expect(0, 2, -1);
	end();
}

static void row_7_6_any_initial_protection(void)
{
	static const DWORD legal[] = { PAGE_NOACCESS,
				       PAGE_READONLY,
				       PAGE_READWRITE,
				       PAGE_EXECUTE,
				       PAGE_EXECUTE_READ,
				       PAGE_EXECUTE_READWRITE,
				       PAGE_READWRITE | PAGE_GUARD };
	MEMORY_BASIC_INFORMATION m;
	size_t i;

	for (i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
		begin_with(WATCHED, legal[i]);
		VirtualQuery(base, &m, sizeof(m));
		CHECK_SAME(m.Protect, legal[i]);
		expect(0, -1);
		end();
	}
}

static void row_7_7_illegal_protections(void)
{
	static const DWORD illegal[] = { PAGE_WRITECOPY,
					 PAGE_EXECUTE_WRITECOPY,
					 PAGE_READONLY | PAGE_READWRITE,
					 PAGE_NOACCESS | PAGE_READONLY,
					 PAGE_EXECUTE | PAGE_READWRITE,
					 PAGE_NOACCESS | PAGE_GUARD };
	size_t i;

	for (i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++)
		fails_with(VirtualAlloc(NULL, SIZE, WATCHED, illegal[i]), 87);
}

static void row_7_8_protection_0_and_size_0(void)
{
	fails_with(VirtualAlloc(NULL, SIZE, WATCHED, 0), 87);
	fails_with(VirtualAlloc(NULL, 0, WATCHED, PAGE_READWRITE), 87);
}

static void row_7_9_large_pages(void)
{
	fails_with(VirtualAlloc(NULL, 0x200000, WATCHED | MEM_LARGE_PAGES,
				PAGE_READWRITE),
		   87);
}

static void row_7_10_physical(void)
{
	fails_with(VirtualAlloc(NULL, SIZE,
				MEM_RESERVE | MEM_WRITE_WATCH | MEM_PHYSICAL,
				PAGE_READWRITE),
		   87);
}

static void row_7_11_mem_reset_with_the_flag(void)
{
	begin();
	fails_with(VirtualAlloc(base, SIZE, MEM_RESET | MEM_WRITE_WATCH,
				PAGE_READWRITE),
		   87);
	end();
}

static void row_7_12_placeholder(void)
{
	fails_with(VirtualAlloc(NULL, SIZE,
				MEM_RESERVE | MEM_WRITE_WATCH | 0x40000,
				PAGE_NOACCESS),
		   87);
}

static void row_7_15_pieces_committed_later_are_tracked(void)
{
	int i;

	begin_with(MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
	for (i = 0; i < 16; i += 4)
		CHECK(VirtualAlloc(base + i * UNIT, UNIT, MEM_COMMIT,
				   PAGE_READWRITE));
	touch(4);
	touch(12);
	expect(1, 4, 12, -1);
	end();
}

static void row_7_16_address_rules(void)
{
	char *hole = VirtualAlloc(NULL, 1 << 26, MEM_RESERVE, PAGE_NOACCESS);
	MEMORY_BASIC_INFORMATION m;

	VirtualFree(hole, 0, MEM_RELEASE);
	hole += 1 << 25;
	/* down to 64 KiB; the end is where it was asked for */
	base = VirtualAlloc(hole + 0x1234, 8 * UNIT,
			    MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
	CHECK_SAME(base, (uintptr_t)hole & ~(uintptr_t)0xffff);
	/* a commit: down and up to pages */
	CHECK_SAME(VirtualAlloc(base + UNIT + 5, 2 * UNIT, MEM_COMMIT,
				PAGE_READWRITE),
		   base + UNIT);
	VirtualQuery(base + UNIT, &m, sizeof(m));
	CHECK_SAME(m.RegionSize, 2 * UNIT + ENTRY);
	fails_with(VirtualAlloc(base, UNIT, MEM_RESERVE, PAGE_READWRITE), 487);
	end();
}

static void row_7_17_at_round_to_page(void)
{
	fails_with(VirtualAlloc(NULL, SIZE, WATCHED | 0x40000000,
				PAGE_READWRITE),
		   87);
}

static void row_7_18_commit_outside_a_reservation(void)
{
	begin();
	end();
	fails_with(VirtualAlloc(base, SIZE, MEM_COMMIT, PAGE_READWRITE), 487);
}

static void row_7_19_release_takes_the_base_and_size_0(void)
{
	begin();
	touch(1);
	CHECK(!VirtualFree(base, SIZE, MEM_RELEASE));
	CHECK_SAME(GetLastError(), 87);
	CHECK(!VirtualFree(base, UNIT, MEM_RELEASE));
	CHECK_SAME(GetLastError(), 87);
	CHECK(!VirtualFree(base + UNIT, 0, MEM_RELEASE));
	CHECK_SAME(GetLastError(), 487);
	expect(0, 1, -1);
	CHECK(VirtualFree(base, 0, MEM_RELEASE));
	CHECK(!VirtualFree(base, 0, MEM_RELEASE));
	CHECK_SAME(GetLastError(), 487);
}

static void row_7_22_decommit_of_a_part(void)
{
	MEMORY_BASIC_INFORMATION m;

	begin();
	CHECK(VirtualFree(base + 4 * UNIT, UNIT, MEM_DECOMMIT));
	VirtualQuery(base + 4 * UNIT, &m, sizeof(m));
	CHECK_SAME(m.State, MEM_RESERVE);
	CHECK_SAME(m.RegionSize, UNIT);
	CHECK(VirtualFree(base, 0, MEM_DECOMMIT)); /* all of it */
	VirtualQuery(base, &m, sizeof(m));
	CHECK_SAME(m.RegionSize, SIZE);
	end();
}

static void row_7_23_protection_of_what_is_not_committed(void)
{
	DWORD old;

	begin();
	CHECK(VirtualFree(base, UNIT, MEM_DECOMMIT));
	CHECK(!VirtualProtect(base, SIZE, PAGE_READONLY, &old));
	CHECK_SAME(GetLastError(), 487);
	touch(1); /* and nothing was changed */
	end();
}

static void row_7_24_tracked_until_it_is_freed(void)
{
	begin();
	CHECK(VirtualFree(base, 0, MEM_DECOMMIT));
	CHECK(VirtualAlloc(base, SIZE, MEM_COMMIT, PAGE_READWRITE));
	touch(9);
	expect(1, 9, -1);
	end();
}

static void row_7_26_virtualquery(void)
{
	MEMORY_BASIC_INFORMATION m;

	begin();
	CHECK_SAME(VirtualQuery(base + 5, &m, sizeof(m)), sizeof(m));
	CHECK_SAME(m.AllocationBase, base);
	CHECK_SAME(m.AllocationProtect, PAGE_READWRITE);
	CHECK_SAME(m.Type, MEM_PRIVATE);
	CHECK_SAME(VirtualQuery(base, &m, 8), 0);
	CHECK_SAME(GetLastError(), 24);
	end();
	VirtualQuery(base, &m, sizeof(m));
	CHECK_SAME(m.State, MEM_FREE);
}

static void row_7_27_out_of_address_space(void)
{
	DWORD e;

	CHECK(!VirtualAlloc(NULL, ~(SIZE_T)0 - 0xfffff,
			    MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE));
	e = GetLastError();
	CHECK(e == 8 || e == 1455 || e == 87);
}

/* 128 GiB is used in practice. An emulated machine takes a minute for what a
 * backend that protects it all does in seconds. */
static void row_9_1_reservations_of_any_size(void)
{
	int slow = getenv("WRITEWATCH_TEST_SLOWNESS") != NULL;
	SIZE_T size = (SIZE_T)1 << (sizeof(void *) < 8 ? 29 : slow ? 33 : 37);
	char *big = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_WRITE_WATCH,
				 PAGE_READWRITE);

	CHECK(big);
	CHECK(VirtualAlloc(big + (size >> 1), SIZE, MEM_COMMIT,
			   PAGE_READWRITE));
	big[size >> 1] = 1;
	count = ROOM;
	CHECK_SAME(GetWriteWatch(WRITE_WATCH_FLAG_RESET, big, size, results,
				 &count, &granularity),
		   0);
	CHECK_SAME(count, PARTS);
	CHECK_SAME(results[0], big + (size >> 1));
	CHECK(VirtualFree(big, 0, MEM_RELEASE));
}

static void row_9_3_entries_are_pointers(void)
{
	CHECK_SAME(sizeof(count), sizeof(void *));
	CHECK_SAME(sizeof(results[0]), sizeof(void *));
	CHECK_SAME(sizeof(granularity), 4);
	CHECK_SAME(sizeof(MEMORY_BASIC_INFORMATION),
		   sizeof(void *) == 8 ? 48 : 28);
}

/* Collected with arrays of any room, two written pages give each entry once. */
static void row_9_6_entries_of_4096_bytes_once_each(void)
{
	ULONG_PTR room, i;

	begin();
	for (room = 1; room <= 2 * PARTS + 1; room++) {
		ULONG_PTR seen = 0;

		touch(4);
		touch(5);
		do {
			count = room;
			CHECK_SAME(GetWriteWatch(1, base, SIZE, results,
						 &count, &granularity),
				   0);
			for (i = 0; i < count; i++)
				CHECK_SAME(results[i], base + 4 * UNIT +
							       seen++ * ENTRY);
		} while (count == room);
		CHECK_SAME(seen, 2 * PARTS);
		expect(0, -1);
	}
	end();
}

ROWS(rows_memory, ROW(row_7_1_reserve), ROW(row_7_2_reserve_and_commit),
     ROW(row_7_3_the_flag_alone), ROW(row_7_4_commit_without_reserve),
     ROW(row_7_5_top_down), ROW(row_7_6_any_initial_protection),
     ROW(row_7_7_illegal_protections), ROW(row_7_8_protection_0_and_size_0),
     ROW(row_7_9_large_pages), ROW(row_7_10_physical),
     ROW(row_7_11_mem_reset_with_the_flag), ROW(row_7_12_placeholder),
     ROW(row_7_15_pieces_committed_later_are_tracked),
     ROW(row_7_16_address_rules), ROW(row_7_17_at_round_to_page),
     ROW(row_7_18_commit_outside_a_reservation),
     ROW(row_7_19_release_takes_the_base_and_size_0),
     ROW(row_7_22_decommit_of_a_part),
     ROW(row_7_23_protection_of_what_is_not_committed),
     ROW(row_7_24_tracked_until_it_is_freed), ROW(row_7_26_virtualquery),
     ROW(row_7_27_out_of_address_space),
     ROW(row_9_1_reservations_of_any_size), ROW(row_9_3_entries_are_pointers),
     ROW(row_9_6_entries_of_4096_bytes_once_each));
