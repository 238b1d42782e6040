/* SPDX-License-Identifier: MIT */
/* rows-query.c - sections 2 to 5: arguments, errors, ranges, results. */
#include "harness.h"

static ULONG_PTR n, zero;

/* Page 3 is dirty before, and is all that is dirty after. */
static void begin_dirty(void)
{
	begin();
	touch(3);
	n = ROOM;
	zero = 0;
}

static void end_dirty(void)
{
	expect(0, 3, -1);
	end();
}

static void row_2_1_failure_is_all_ones(void)
{
	begin_dirty();
	SetLastError(0);
	CHECK_SAME(GetWriteWatch(0, base, 0, results, &n, &granularity), ~0u);
	CHECK_SAME(GetLastError(), 87);
	end_dirty();
}

static void row_2_2_success_keeps_the_last_error(void)
{
	begin();
	SetLastError(0xbeef);
	CHECK_SAME(get(0), 0);
	CHECK_SAME(ResetWriteWatch(base, SIZE), 0);
	CHECK_SAME(GetLastError(), 0xbeef);
	end();
}

static void row_2_3_granularity_is_32_bits(void)
{
	struct {
		DWORD g;
		unsigned char behind[4];
	} out = { 0, { 1, 2, 3, 4 } };

	begin();
	n = ROOM;
	CHECK_SAME(GetWriteWatch(0, base, SIZE, results, &n, &out.g), 0);
	CHECK_SAME(out.g, ENTRY);
	CHECK(!memcmp(out.behind, "\1\2\3\4", 4));
	end();
}

/* --- 3.1: GetWriteWatch --- */

static void row_3_1_1_null_count(void)
{
	begin_dirty();
	refuse(998, 0, base, SIZE, results, NULL, &granularity);
	end_dirty();
}

static void row_3_1_2_null_granularity(void)
{
	begin_dirty();
	refuse(998, 0, base, SIZE, results, &n, NULL);
	end_dirty();
}

static void row_3_1_3_null_array(void)
{
	begin_dirty();
	refuse(998, 1, base, SIZE, NULL, &n, &granularity);
	end_dirty();
}

static void row_3_1_4_count_zero(void)
{
	begin_dirty();
	refuse(87, 1, base, SIZE, results, &zero, &granularity);
	end_dirty();
}

static void row_3_1_5_count_zero_beats_null_array(void)
{
	begin_dirty();
	refuse(87, 0, base, SIZE, NULL, &zero, &granularity);
	end_dirty();
}

static void row_3_1_6_unknown_flags(void)
{
	begin_dirty();
	refuse(87, 0xdeadbeef, base, SIZE, results, &n, &granularity);
	refuse(87, 2, base, SIZE, results, &n, &granularity);
	end_dirty();
}

static void row_3_1_7_size_zero(void)
{
	begin_dirty();
	refuse(87, 1, base, 0, results, &n, &granularity);
	end_dirty();
}

static void row_3_1_8_base_null(void)
{
	begin_dirty();
	refuse(87, 1, NULL, 0x10000, results, &n, &granularity);
	end_dirty();
}

static void row_3_1_9_loaded_image(void)
{
	begin_dirty();
	refuse(87, 0, (void *)(uintptr_t)&row_3_1_9_loaded_image, 1, results,
	       &n, &granularity);
	end_dirty();
}

static void row_3_1_10_memory_without_the_flag(void)
{
	char *plain = VirtualAlloc(NULL, SIZE, MEM_RESERVE | MEM_COMMIT,
				   PAGE_READWRITE);

	begin_dirty();
	CHECK(plain);
	*plain = 1;
	refuse(87, 0, plain, SIZE, results, &n, &granularity);
	CHECK(VirtualFree(plain, 0, MEM_RELEASE));
	end_dirty();
}

static void row_3_1_12_heap_and_stack(void)
{
	char local[64];
	char *heap = malloc(ENTRY);

	begin_dirty();
	refuse(87, 0, heap, 1, results, &n, &granularity);
	refuse(87, 0, local, 1, results, &n, &granularity);
	free(heap);
	end_dirty();
}

static void row_3_1_13_freed_range(void)
{
	begin();
	end();
	n = ROOM;
	refuse(87, 0, base, SIZE, results, &n, &granularity);
}

static void row_3_1_14_twice_the_allocation(void)
{
	begin_dirty();
	refuse(87, 1, base, SIZE * 2, results, &n, &granularity);
	end_dirty();
}

static void row_3_1_15_a_byte_over_the_end(void)
{
	begin_dirty();
	refuse(87, 1, base + SIZE - ENTRY, ENTRY + 1, results, &n,
	       &granularity);
	end_dirty();
}

static void row_3_1_16_before_the_start(void)
{
	begin_dirty();
	refuse(87, 1, base - 1, 2, results, &n, &granularity);
	end_dirty();
}

static void row_3_1_17_two_adjacent_allocations(void)
{
	char *a = VirtualAlloc(NULL, 1 << 30, MEM_RESERVE, PAGE_NOACCESS), *b;

	/* the middle of a large hole, where nobody else puts anything */
	VirtualFree(a, 0, MEM_RELEASE);
	a += 1 << 29;
	a = VirtualAlloc(a, SIZE, WATCHED, PAGE_READWRITE);
	b = VirtualAlloc(a + SIZE, SIZE, WATCHED, PAGE_READWRITE);
	CHECK_SAME(b, a + SIZE);
	n = ROOM;
	refuse(87, 0, a, 2 * SIZE, results, &n, &granularity);
	VirtualFree(a, 0, MEM_RELEASE);
	VirtualFree(b, 0, MEM_RELEASE);
}

static void row_3_1_18_wrapping(void)
{
	begin_dirty();
	refuse(87, 1, base, (SIZE_T)-1, results, &n, &granularity);
	refuse(87, 1, (void *)(intptr_t)-ENTRY, ENTRY, results, &n,
	       &granularity);
	end_dirty();
}

static void row_3_1_19_count_overflows(void)
{
	ULONG_PTR huge = UINTPTR_MAX / sizeof(void *) + 1;

	begin_dirty();
	refuse(87, 1, base, SIZE, results, &huge, &granularity);
	end_dirty();
}

/* --- 3.2: ResetWriteWatch --- */

static void reset_fails(void *at, SIZE_T size)
{
	SetLastError(0);
	CHECK_SAME(ResetWriteWatch(at, size), ~0u);
	CHECK_SAME(GetLastError(), 87);
}

static void row_3_2_1_size_zero(void)
{
	begin_dirty();
	reset_fails(base, 0);
	end_dirty();
}

static void row_3_2_2_loaded_image(void)
{
	reset_fails((void *)(uintptr_t)&reset_fails, ENTRY);
}

static void row_3_2_3_memory_without_the_flag(void)
{
	char *plain = VirtualAlloc(NULL, SIZE, MEM_RESERVE | MEM_COMMIT,
				   PAGE_READWRITE);

	CHECK(plain);
	reset_fails(plain, SIZE);
	VirtualFree(plain, 0, MEM_RELEASE);
}

static void row_3_2_5_reserved_only(void)
{
	begin_with(MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
	CHECK_SAME(ResetWriteWatch(base, SIZE), 0);
	end();
}

static void row_3_2_6_no_access(void)
{
	begin_with(WATCHED, PAGE_NOACCESS);
	CHECK_SAME(ResetWriteWatch(base, SIZE), 0);
	end();
}

static void row_3_2_7_sub_range(void)
{
	begin();
	touch(1);
	touch(2);
	touch(3);
	CHECK_SAME(ResetWriteWatch(base + 2 * UNIT, UNIT), 0);
	expect(0, 1, 3, -1);
	end();
}

static void row_3_2_8_already_clean(void)
{
	begin();
	CHECK_SAME(ResetWriteWatch(base, SIZE), 0);
	CHECK_SAME(ResetWriteWatch(base, SIZE), 0);
	expect(0, -1);
	end();
}

static void row_3_2_9_beyond_the_end(void)
{
	begin_dirty();
	reset_fails(base, SIZE + 1);
	reset_fails(NULL, SIZE);
	end_dirty();
}

/* --- 3.3 to 3.5 --- */

static void row_3_3_order_of_detection(void)
{
	begin_dirty();
	refuse(998, 0xff, NULL, 0, NULL, NULL, NULL);
	refuse(87, 0xff, NULL, 0, NULL, &zero, &granularity);
	refuse(87, 0, base, 0, NULL, &n, &granularity);
	end_dirty();
}

static void row_3_3_1_size_is_judged_before_rounding(void)
{
	begin_dirty();
	refuse(87, 0, base + 1, 0, results, &n, &granularity);
	end_dirty();
}

static void row_3_3_3_bit_0_and_junk(void)
{
	begin_dirty();
	refuse(87, 3, base, SIZE, results, &n, &granularity);
	end_dirty();
}

static void row_3_4_status_is_a_bad_parameter(void)
{
	ULONG g = 0;

	begin();
	CHECK_SAME(NtResetWriteWatch(GetCurrentProcess(), base, SIZE),
		   STATUS_SUCCESS);
	n = ROOM;
	CHECK_SAME(NtGetWriteWatch(GetCurrentProcess(), 0, base, SIZE, results,
				   &n, &g),
		   STATUS_SUCCESS);
	/* plain, or the number of the argument: all are 87 to Win32 */
	CHECK(NtResetWriteWatch(GetCurrentProcess(), base, SIZE + 1) < 0);
	end();
}

static void row_3_5_1_count_survives_failures(void)
{
	begin();
	touch(4);
	n = ROOM;
	CHECK_SAME(GetWriteWatch(0, NULL, SIZE, results, &n, &granularity),
		   ~0u);
	CHECK_SAME(GetWriteWatch(0, base, 0, results, &n, &granularity), ~0u);
	CHECK_SAME(GetWriteWatch(0, base, SIZE, results, &n, &granularity), 0);
	CHECK_SAME(n, PARTS);
	end();
}

/* --- 4: ranges --- */

static void row_4_1_base_is_rounded_down(void)
{
	begin();
	touch(2);
	CHECK_SAME(ResetWriteWatch(base + 2 * UNIT + ENTRY / 2,
				   UNIT - ENTRY / 2),
		   0);
	expect(0, -1);
	end();
}

static void row_4_2_end_is_rounded_up(void)
{
	begin();
	touch(1);
	touch(2);
	n = ROOM;
	CHECK_SAME(GetWriteWatch(0, base + 2 * UNIT - 1, 2, results, &n,
				 &granularity),
		   0);
	CHECK_SAME(n, 2);
	CHECK_SAME(results[1], base + 2 * UNIT);
	end();
}

static void row_4_3_entries_may_lie_below_the_base(void)
{
	begin();
	touch(5);
	n = ROOM;
	CHECK_SAME(GetWriteWatch(0, base + 5 * UNIT + 7, 1, results, &n,
				 &granularity),
		   0);
	CHECK_SAME(n, 1);
	CHECK_SAME(results[0], base + 5 * UNIT);
	end();
}

static void row_4_4_any_sub_range(void)
{
	begin();
	touch(2);
	touch(7);
	touch(9);
	n = ROOM;
	CHECK_SAME(GetWriteWatch(1, base + 3 * UNIT, 5 * UNIT, results, &n,
				 &granularity),
		   0);
	CHECK_SAME(n, PARTS);
	CHECK_SAME(results[0], base + 7 * UNIT);
	expect(0, 2, 9, -1);
	end();
}

static void row_4_5_reserved_pages_are_fine(void)
{
	begin_with(MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
	expect(0, -1);
	end();
}

static void row_4_6_committed_and_decommitted(void)
{
	begin();
	touch(1);
	touch(8);
	CHECK(VirtualFree(base + 3 * UNIT, 2 * UNIT, MEM_DECOMMIT));
	expect(0, 1, 8, -1);
	end();
}

static void row_4_7_mixed_protections(void)
{
	DWORD old, i;

	begin();
	for (i = 0; i < 16; i++)
		touch((int)i);
	for (i = 0; i < 16; i += 2)
		CHECK(VirtualProtect(base + i * UNIT, UNIT,
				     i % 4 ? PAGE_READONLY : PAGE_NOACCESS,
				     &old));
	CHECK_SAME(get(0), 0);
	CHECK_SAME(count, 16 * PARTS);
	end();
}

static void row_4_8_partly_outside_changes_nothing(void)
{
	begin_dirty();
	touch(15);
	refuse(87, 1, base + 8 * UNIT, SIZE, results, &n, &granularity);
	expect(0, 3, 15, -1);
	end();
}

static void row_4_9_dirt_splits_no_region(void)
{
	MEMORY_BASIC_INFORMATION m;

	begin_dirty();
	CHECK_SAME(VirtualQuery(base + 5, &m, sizeof(m)), sizeof(m));
	CHECK_SAME(m.BaseAddress, base);
	CHECK_SAME(m.RegionSize, SIZE);
	CHECK_SAME(m.State, MEM_COMMIT);
	CHECK_SAME(m.Protect, PAGE_READWRITE);
	CHECK_SAME(m.Type, MEM_PRIVATE);
	end_dirty();
}

static void row_4_10_what_virtualquery_says_works(void)
{
	MEMORY_BASIC_INFORMATION m;

	begin_dirty();
	VirtualQuery(base + 5 * UNIT, &m, sizeof(m));
	CHECK_SAME(GetWriteWatch(0, m.AllocationBase,
				 (SIZE_T)(base + SIZE -
					  (char *)m.AllocationBase),
				 results, &n, &granularity),
		   0);
	CHECK_SAME(n, PARTS);
	end_dirty();
}

/* --- 5: results --- */

static void row_5_1_written_since_the_reset(void)
{
	begin();
	touch(6);
	expect(1, 6, -1);
	touch(2);
	expect(1, 2, -1);
	end();
}

static void row_5_2_none_is_zero_and_must_be_set_again(void)
{
	begin();
	expect(0, -1);
	CHECK_SAME(count, 0);
	refuse(87, 0, base, SIZE, results, &count, &granularity);
	end();
}

static void row_5_3_granularity_is_4096_also_when_empty(void)
{
	begin();
	granularity = 0;
	CHECK_SAME(get(0), 0);
	CHECK_SAME(count, 0);
	CHECK_SAME(granularity, 4096);
	end();
}

static void row_5_4_the_tail_is_untouched(void)
{
	begin_dirty();
	results[PARTS] = &zero;
	expect(0, 3, -1);
	CHECK_SAME(results[PARTS], &zero);
	end();
}

static void row_5_5_ascending(void)
{
	begin();
	touch(9);
	touch(1);
	touch(5);
	expect(0, 1, 5, 9, -1);
	end();
}

static void row_5_6_a_page_once_a_straddling_store_twice(void)
{
	uint32_t value = 0x01020304;

	begin();
	touch(7);
	touch(7);
	memcpy(base + 3 * UNIT - 2, &value, 4);
	expect(0, 2, 3, 7, -1);
	end();
}

static void row_5_7_short_array_lowest_pages(void)
{
	begin();
	touch(9);
	touch(1);
	touch(5);
	n = 2 * PARTS;
	CHECK_SAME(GetWriteWatch(0, base, SIZE, results, &n, &granularity), 0);
	CHECK_SAME(n, 2 * PARTS);
	CHECK_SAME(results[0], base + UNIT);
	CHECK_SAME(results[PARTS], base + 5 * UNIT);
	end();
}

static void row_5_8_short_array_resets_what_it_returns(void)
{
	begin();
	touch(9);
	touch(1);
	touch(5);
	n = 2 * PARTS;
	CHECK_SAME(GetWriteWatch(1, base, SIZE, results, &n, &granularity), 0);
	CHECK_SAME(n, 2 * PARTS);
	expect(1, 9, -1);
	expect(0, -1);
	end();
}

static void row_5_9_exactly_full(void)
{
	begin();
	touch(1);
	touch(5);
	n = 2 * PARTS;
	CHECK_SAME(GetWriteWatch(1, base, SIZE, results, &n, &granularity), 0);
	CHECK_SAME(n, 2 * PARTS);
	expect(1, -1);
	end();
}

static void row_5_10_flags_0_is_repeatable(void)
{
	begin_dirty();
	expect(0, 3, -1);
	expect(0, 3, -1);
	end();
}

static void row_5_11_reset_clears(void)
{
	begin_dirty();
	expect(1, 3, -1);
	expect(1, -1);
	end();
}

static void row_5_12_exact_page_by_page(void)
{
	int i;

	begin();
	for (i = 0; i < 16; i++) {
		touch(i);
		expect(1, i, -1);
	}
	end();
}

static void row_5_14_the_same_value_marks(void)
{
	begin();
	memset(base, 0, SIZE);
	CHECK_SAME(get(1), 0);
	CHECK_SAME(count, 16 * PARTS);
	memset(base, 0, SIZE);
	CHECK_SAME(get(1), 0);
	CHECK_SAME(count, 16 * PARTS);
	end();
}

ROWS(rows_query, ROW(row_2_1_failure_is_all_ones),
     ROW(row_2_2_success_keeps_the_last_error),
     ROW(row_2_3_granularity_is_32_bits), ROW(row_3_1_1_null_count),
     ROW(row_3_1_2_null_granularity), ROW(row_3_1_3_null_array),
     ROW(row_3_1_4_count_zero), ROW(row_3_1_5_count_zero_beats_null_array),
     ROW(row_3_1_6_unknown_flags), ROW(row_3_1_7_size_zero),
     ROW(row_3_1_8_base_null), ROW(row_3_1_9_loaded_image),
     ROW(row_3_1_10_memory_without_the_flag), ROW(row_3_1_12_heap_and_stack),
     ROW(row_3_1_13_freed_range), ROW(row_3_1_14_twice_the_allocation),
     ROW(row_3_1_15_a_byte_over_the_end), ROW(row_3_1_16_before_the_start),
     ROW(row_3_1_17_two_adjacent_allocations), ROW(row_3_1_18_wrapping),
     ROW(row_3_1_19_count_overflows), ROW(row_3_2_1_size_zero),
     ROW(row_3_2_2_loaded_image), ROW(row_3_2_3_memory_without_the_flag),
     ROW(row_3_2_5_reserved_only), ROW(row_3_2_6_no_access),
     ROW(row_3_2_7_sub_range), ROW(row_3_2_8_already_clean),
     ROW(row_3_2_9_beyond_the_end), ROW(row_3_3_order_of_detection),
     ROW(row_3_3_1_size_is_judged_before_rounding),
     ROW(row_3_3_3_bit_0_and_junk), ROW(row_3_4_status_is_a_bad_parameter),
     ROW(row_3_5_1_count_survives_failures), ROW(row_4_1_base_is_rounded_down),
     ROW(row_4_2_end_is_rounded_up),
     ROW(row_4_3_entries_may_lie_below_the_base), ROW(row_4_4_any_sub_range),
     ROW(row_4_5_reserved_pages_are_fine),
     ROW(row_4_6_committed_and_decommitted), ROW(row_4_7_mixed_protections),
     ROW(row_4_8_partly_outside_changes_nothing),
     ROW(row_4_9_dirt_splits_no_region),
     ROW(row_4_10_what_virtualquery_says_works),
     ROW(row_5_1_written_since_the_reset),
     ROW(row_5_2_none_is_zero_and_must_be_set_again),
     ROW(row_5_3_granularity_is_4096_also_when_empty),
     ROW(row_5_4_the_tail_is_untouched), ROW(row_5_5_ascending),
     ROW(row_5_6_a_page_once_a_straddling_store_twice),
     ROW(row_5_7_short_array_lowest_pages),
     ROW(row_5_8_short_array_resets_what_it_returns),
     ROW(row_5_9_exactly_full), ROW(row_5_10_flags_0_is_repeatable),
     ROW(row_5_11_reset_clears), ROW(row_5_12_exact_page_by_page),
     ROW(row_5_14_the_same_value_marks));
