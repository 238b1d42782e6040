/* SPDX-License-Identifier: MIT */
/*
 * test-win32.c - the rows of the conformance table, named by their numbers
 * (doc/windows.md). Written as a Windows program would be.
 */
#include "test.h"

#define WRITEWATCH_WIN32_NAMES
#include "writewatch-win32.h"

/* Entries are of 4096 bytes. A host with larger pages reports all the PARTS of
 * one, so the rows are told in pages of UNIT bytes. */
#define ENTRY 0x1000
#define UNIT ((SIZE_T)PAGE)
#define PARTS (UNIT / ENTRY)
#define SIZE (16 * UNIT)

static char *base;
static ULONG_PTR count;
static DWORD granularity;
static void *results[16 * 16]; /* hosts have pages of up to 64 KiB */
#define ROOM (sizeof(results) / sizeof(results[0]))

/* cmocka takes SIGSEGV for each case, and the tracker behind these calls is
 * opened once: opening any puts the handler on top again. */
static void take_signal_back(void)
{
	ww_close(test_open());
}

static void begin(void)
{
	take_signal_back();
	base = VirtualAlloc(NULL, SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
			    PAGE_READWRITE);
	assert_non_null(base);
	assert_int_equal((uintptr_t)base % 0x10000, 0);
}

static void end(void)
{
	assert_true(VirtualFree(base, 0, MEM_RELEASE));
}

static UINT get(DWORD flags)
{
	count = ROOM;
	return GetWriteWatch(flags, base, SIZE, results, &count, &granularity);
}

static void expect(DWORD flags, ...)
{
	va_list ap;
	ULONG_PTR i, k;

	assert_int_equal(get(flags), 0);
	assert_int_equal(count % PARTS, 0);
	va_start(ap, flags);
	for (i = 0; i < count; i += PARTS) {
		char *page = base + va_arg(ap, int) * UNIT;

		for (k = 0; k < PARTS; k++)
			assert_ptr_equal(results[i + k], page + k * ENTRY);
	}
	assert_int_equal(va_arg(ap, int), -1);
	va_end(ap);
}

static void touch(int page)
{
	((volatile char *)base)[page * UNIT]++;
}

/* Fails with the code, and changes nothing. */
static void refuse(DWORD code, DWORD flags, void *at, SIZE_T size, void **array,
		   ULONG_PTR *n, DWORD *g)
{
	ULONG_PTR before = n ? *n : 0;

	granularity = 0xdead;
	results[0] = &refuse;
	SetLastError(0xdeadbeef);
	assert_int_equal(GetWriteWatch(flags, at, size, array, n, g), ~0u);
	assert_int_equal(GetLastError(), code);
	assert_int_equal(granularity, 0xdead);
	assert_ptr_equal(results[0], &refuse);
	if (n)
		assert_int_equal(*n, before);
}

static void row_3_1_errors_of_get(void **state)
{
	char *plain;
	ULONG_PTR zero = 0, n = ROOM, huge = UINTPTR_MAX / 4;

	begin();
	touch(3);
	refuse(998, 0, base, SIZE, results, NULL, &granularity);
	refuse(998, 0, base, SIZE, results, &n, NULL);
	refuse(998, 0, base, SIZE, NULL, &n, &granularity);
	refuse(87, 0, base, SIZE, results, &zero, &granularity);
	refuse(87, 0, base, SIZE, NULL, &zero, &granularity);
	refuse(87, 0xdeadbeef, base, SIZE, results, &n, &granularity);
	refuse(87, 3, base, SIZE, results, &n, &granularity);
	refuse(87, 0, base, 0, results, &n, &granularity);
	refuse(87, 0, NULL, SIZE, results, &n, &granularity);
	refuse(87, 0, (void *)(uintptr_t)&refuse, 1, results, &n, &granularity);
	refuse(87, 0, base, SIZE * 2, results, &n, &granularity);
	refuse(87, 0, base + SIZE - ENTRY, ENTRY + 1, results, &n, &granularity);
	refuse(87, 0, base - 1, 2, results, &n, &granularity);
	refuse(87, 0, base, (SIZE_T)-1, results, &n, &granularity);
	refuse(87, 0, base, SIZE, results, &huge, &granularity);
	plain = VirtualAlloc(NULL, SIZE, MEM_RESERVE | MEM_COMMIT,
			     PAGE_READWRITE);
	refuse(87, 0, plain, SIZE, results, &n, &granularity);
	VirtualFree(plain, 0, MEM_RELEASE);
	refuse(87, 0, plain, SIZE, results, &n, &granularity);
	expect(0, 3, -1);
	end();
	refuse(87, 0, base, SIZE, results, &n, &granularity);
}

static void row_3_1_17_two_allocations_are_refused(void **state)
{
	char *a = VirtualAlloc(NULL, 1 << 30, MEM_RESERVE, PAGE_NOACCESS), *b;
	ULONG_PTR n = ROOM;

	/* the middle of a large hole, where nobody else puts anything */
	VirtualFree(a, 0, MEM_RELEASE);
	a += 1 << 29;
	a = VirtualAlloc(a, SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
			 PAGE_READWRITE);
	b = VirtualAlloc(a + SIZE, SIZE,
			 MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
			 PAGE_READWRITE);
	assert_ptr_equal(b, a + SIZE);
	refuse(87, 0, a, 2 * SIZE, results, &n, &granularity);
	VirtualFree(a, 0, MEM_RELEASE);
	VirtualFree(b, 0, MEM_RELEASE);
}

static void row_3_2_errors_of_reset(void **state)
{
	begin();
	touch(2);
	SetLastError(0);
	assert_int_equal(ResetWriteWatch(base, 0), ~0u);
	assert_int_equal(GetLastError(), 87);
	assert_int_equal(ResetWriteWatch((void *)(uintptr_t)&refuse, SIZE),
			 ~0u);
	assert_int_equal(ResetWriteWatch(base, SIZE + 1), ~0u);
	assert_int_equal(ResetWriteWatch(NULL, SIZE), ~0u);
	expect(0, 2, -1);
	SetLastError(0xbeef);
	assert_int_equal(ResetWriteWatch(base, SIZE), 0);
	assert_int_equal(GetLastError(), 0xbeef); /* 2.2 */
	assert_int_equal(ResetWriteWatch(base, SIZE), 0); /* 3.2.8 */
	expect(0, -1);
	end();
}

static void row_3_3_order_of_detection(void **state)
{
	ULONG_PTR zero = 0, n = ROOM;

	begin();
	refuse(998, 0xff, NULL, 0, NULL, NULL, NULL);
	refuse(87, 0xff, NULL, 0, NULL, &zero, &granularity);
	refuse(87, 0, base, 0, NULL, &n, &granularity);
	refuse(87, 0xff, base, SIZE, NULL, &n, &granularity);
	refuse(998, 0, NULL, SIZE, NULL, &n, &granularity);
	end();
}

static void row_3_4_status_codes(void **state)
{
	ULONG_PTR n = ROOM;
	ULONG g;

	begin();
	assert_int_equal(NtGetWriteWatch(GetCurrentProcess(), 0, base, SIZE,
					 results, &n, &g),
			 STATUS_SUCCESS);
	assert_int_equal(n, 0);
	n = ROOM;
	assert_int_equal(NtGetWriteWatch((HANDLE)42, 0, base, SIZE, results, &n,
					 &g),
			 STATUS_INVALID_HANDLE);
	assert_int_equal(NtGetWriteWatch(GetCurrentProcess(), 0, base, SIZE,
					 results, NULL, &g),
			 STATUS_ACCESS_VIOLATION);
	assert_int_equal(NtGetWriteWatch(GetCurrentProcess(), 8, base, SIZE,
					 results, &n, &g),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal(NtResetWriteWatch(GetCurrentProcess(), base, SIZE + 1),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal(NtResetWriteWatch((HANDLE)42, base, SIZE),
			 STATUS_INVALID_HANDLE);
	assert_int_equal(NtResetWriteWatch(GetCurrentProcess(), base, SIZE),
			 STATUS_SUCCESS);
	end();
}

static void row_4_ranges_are_rounded(void **state)
{
	begin();
	touch(1);
	touch(2);
	touch(4);
	count = ROOM;
	assert_int_equal(GetWriteWatch(0, base + 2 * UNIT - 1, 2, results, &count,
				       &granularity),
			 0);
	/* 4.3: below the base */
	assert_int_equal(count, 2);
	assert_ptr_equal(results[0], base + 2 * UNIT - ENTRY);
	assert_ptr_equal(results[1], base + 2 * UNIT);
	assert_int_equal(ResetWriteWatch(base + 2 * UNIT + 0x800, UNIT - 0x800),
			 0);
	expect(0, 1, 4, -1);
	end();
}

static void row_5_what_a_query_returns(void **state)
{
	ULONG_PTR i;

	begin();
	results[3 * PARTS] = &refuse;
	granularity = 0;
	assert_int_equal(get(0), 0);
	assert_int_equal(count, 0); /* 5.2 */
	assert_int_equal(granularity, ENTRY); /* 5.3, also when empty */
	/* a second call without arming it: 87 */
	assert_int_equal(GetWriteWatch(0, base, SIZE, results, &count,
				       &granularity),
			 ~0u);
	assert_int_equal(GetLastError(), 87);
	touch(9);
	touch(1);
	touch(5);
	expect(0, 1, 5, 9, -1); /* 5.5, 5.10 */
	assert_ptr_equal(results[3 * PARTS], &refuse); /* 5.4 */
	count = 2 * PARTS;
	assert_int_equal(GetWriteWatch(0, base, SIZE, results, &count,
				       &granularity),
			 0);
	assert_int_equal(count, 2 * PARTS); /* 5.7 */
	assert_ptr_equal(results[PARTS], base + 5 * UNIT);
	count = 2 * PARTS;
	assert_int_equal(GetWriteWatch(WRITE_WATCH_FLAG_RESET, base, SIZE,
				       results, &count, &granularity),
			 0);
	expect(WRITE_WATCH_FLAG_RESET, 9, -1); /* 5.8 */
	expect(0, -1);
	memset(base, 0, SIZE); /* 5.14 */
	assert_int_equal(get(WRITE_WATCH_FLAG_RESET), 0);
	assert_int_equal(count, 16 * PARTS);
	for (i = 0; i < count; i++)
		assert_ptr_equal(results[i], base + i * ENTRY);
	memset(base + 3 * UNIT - 2, 1, 4); /* 5.6 */
	expect(WRITE_WATCH_FLAG_RESET, 2, 3, -1);
	end();
}

/* Collected with an array of `room`, two written host pages give each of their
 * entries once, in order. */
static void collect_by(ULONG_PTR room)
{
	ULONG_PTR seen = 0, i;

	touch(4);
	touch(5);
	for (;;) {
		count = room;
		assert_int_equal(GetWriteWatch(WRITE_WATCH_FLAG_RESET, base,
					       SIZE, results, &count,
					       &granularity),
				 0);
		assert_true(count <= room);
		for (i = 0; i < count; i++)
			assert_ptr_equal(results[i],
					 base + 4 * UNIT + seen++ * ENTRY);
		if (count < room)
			break;
	}
	assert_int_equal(seen, 2 * PARTS);
	expect(0, -1);
}

static void row_5_8_arrays_may_end_inside_a_host_page(void **state)
{
	ULONG_PTR room;

	begin();
	for (room = 1; room <= 2 * PARTS + 1; room++)
		collect_by(room);
	/* the rest is still there for who asks without a reset, and for all */
	touch(4);
	count = 1;
	GetWriteWatch(WRITE_WATCH_FLAG_RESET, base, SIZE, results, &count,
		      &granularity);
	assert_int_equal(get(0), 0);
	assert_int_equal(count, PARTS - 1);
	/* and goes with a reset of its own page alone */
	assert_int_equal(ResetWriteWatch(base + 5 * UNIT - ENTRY, ENTRY), 0);
	assert_int_equal(get(0), 0);
	assert_int_equal(count, PARTS > 2 ? PARTS - 2 : 0);
	/* a write makes it whole again */
	touch(4);
	expect(WRITE_WATCH_FLAG_RESET, 4, -1);
	expect(0, -1);
	end();
}

static void row_6_1_commit_and_reserve(void **state)
{
	take_signal_back();
	base = VirtualAlloc(NULL, SIZE, MEM_RESERVE | MEM_WRITE_WATCH,
			    PAGE_READWRITE);
	assert_non_null(base);
	expect(0, -1); /* 6.1.1, 4.5 */
	assert_int_equal(ResetWriteWatch(base, SIZE), 0); /* 3.2.5 */
	assert_ptr_equal(VirtualAlloc(base + 2 * UNIT, 3 * UNIT, MEM_COMMIT,
				      PAGE_READWRITE),
			 base + 2 * UNIT);
	expect(0, -1); /* 6.1.2 */
	touch(2);
	touch(4);
	assert_ptr_equal(VirtualAlloc(base, SIZE, MEM_COMMIT, PAGE_READWRITE),
			 base);
	expect(0, 2, 4, -1); /* 6.1.3 */
	end();
}

static void row_6_1_protection_changes_nothing(void **state)
{
	DWORD old = 0;
	volatile char c;
	unsigned caps;

	begin();
	touch(1);
	touch(3);
	assert_true(VirtualProtect(base, SIZE, PAGE_READONLY, &old));
	assert_int_equal(old, PAGE_READWRITE);
	expect(0, 1, 3, -1); /* 6.1.8 */
	assert_true(VirtualProtect(base, SIZE, PAGE_READWRITE, &old));
	assert_int_equal(old, PAGE_READONLY);
	expect(0, 1, 3, -1); /* 6.1.7 */
	assert_true(VirtualProtect(base, SIZE, PAGE_NOACCESS, &old));
	expect(0, 1, 3, -1); /* 6.1.9 */
	expect(WRITE_WATCH_FLAG_RESET, 1, 3, -1);
	assert_int_equal(ResetWriteWatch(base, SIZE), 0); /* 6.1.12 */
	assert_true(VirtualProtect(base, SIZE, PAGE_READWRITE, &old));
	expect(0, -1);
	assert_int_equal(ww_range_info(ww_win32_tracker(), base, NULL, &caps,
				       NULL),
			 0);
	if (caps & (WW_CAP_EXACT | WW_CAP_NO_THREAD)) {
		c = base[5 * UNIT]; /* 6.1.5 */
		(void)c;
		expect(0, -1);
	}
	touch(7);
	expect(0, 7, -1); /* 6.1.10 */
	end();
}

static void row_6_1_13_decommit_clears(void **state)
{
	unsigned caps;

	begin();
	touch(1);
	touch(2);
	touch(5);
	assert_true(VirtualFree(base + UNIT, 2 * UNIT, MEM_DECOMMIT));
	expect(0, 5, -1);
	assert_ptr_equal(VirtualAlloc(base + UNIT, 2 * UNIT, MEM_COMMIT,
				      PAGE_READWRITE),
			 base + UNIT);
	expect(0, 5, -1); /* 6.1.14 */
	assert_int_equal(base[UNIT], 0);
	assert_int_equal(ww_range_info(ww_win32_tracker(), base, NULL, &caps,
				       NULL),
			 0);
	if (caps & WW_CAP_EXACT)
		expect(0, 5, -1);
	else
		ResetWriteWatch(base + UNIT, 2 * UNIT);
	touch(2);
	expect(WRITE_WATCH_FLAG_RESET, 2, 5, -1);
	/* 6.1.18: released and allocated again */
	touch(3);
	assert_true(VirtualFree(base, 0, MEM_RELEASE));
	assert_ptr_equal(VirtualAlloc(base, SIZE,
				      MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
				      PAGE_READWRITE),
			 base);
	expect(0, -1);
	end();
}

static void row_6_1_19_mem_reset_clears(void **state)
{
	begin();
	touch(1);
	touch(2);
	assert_non_null(VirtualAlloc(base + UNIT, UNIT, MEM_RESET,
				     PAGE_NOACCESS));
	expect(0, 2, -1);
	SetLastError(0);
	assert_null(VirtualAlloc(base, SIZE + 1, MEM_RESET, PAGE_READWRITE));
	assert_int_equal(GetLastError(), 487);
	end();
}

static void fails_with(void *p, DWORD code)
{
	assert_null(p);
	assert_int_equal(GetLastError(), code);
}

static void row_7_refusals_of_virtualalloc(void **state)
{
	DWORD ww = MEM_WRITE_WATCH, old;

	fails_with(VirtualAlloc(NULL, SIZE, ww, PAGE_READWRITE), 87);
	fails_with(VirtualAlloc(NULL, SIZE, MEM_COMMIT | ww, PAGE_READWRITE),
		   87);
	fails_with(VirtualAlloc(NULL, SIZE,
				MEM_RESERVE | ww | MEM_LARGE_PAGES,
				PAGE_READWRITE),
		   87);
	fails_with(VirtualAlloc(NULL, SIZE, MEM_RESERVE | ww | MEM_PHYSICAL,
				PAGE_READWRITE),
		   87);
	fails_with(VirtualAlloc(NULL, SIZE, MEM_RESET | ww, PAGE_READWRITE),
		   87);
	fails_with(VirtualAlloc(NULL, 0, MEM_RESERVE, PAGE_READWRITE), 87);
	fails_with(VirtualAlloc(NULL, SIZE, MEM_RESERVE, 0), 87);
	fails_with(VirtualAlloc(NULL, SIZE, MEM_RESERVE, PAGE_WRITECOPY), 87);
	fails_with(VirtualAlloc(NULL, SIZE, MEM_RESERVE,
				PAGE_READONLY | PAGE_READWRITE),
		   87);
	begin();
	fails_with(VirtualAlloc(base, SIZE, MEM_RESERVE, PAGE_READWRITE), 487);
	assert_false(VirtualFree(base, SIZE, MEM_RELEASE));
	assert_int_equal(GetLastError(), 87);
	assert_false(VirtualFree(base + SIZE, 0, MEM_RELEASE));
	assert_int_equal(GetLastError(), 487);
	assert_false(VirtualProtect(base, SIZE, PAGE_READWRITE, NULL));
	assert_int_equal(GetLastError(), 998);
	assert_true(VirtualFree(base, UNIT, MEM_DECOMMIT));
	assert_false(VirtualProtect(base, SIZE, PAGE_READWRITE, &old));
	assert_int_equal(GetLastError(), 487); /* 7.23 */
	end();
	fails_with(VirtualAlloc(base, SIZE, MEM_COMMIT, PAGE_READWRITE), 487);
}

static void row_7_virtualquery(void **state)
{
	MEMORY_BASIC_INFORMATION info;

	begin();
	touch(3); /* 4.9: dirt splits nothing */
	assert_int_equal(VirtualQuery(base + 5, &info, sizeof(info)),
			 sizeof(info));
	assert_ptr_equal(info.BaseAddress, base);
	assert_ptr_equal(info.AllocationBase, base);
	assert_int_equal(info.AllocationProtect, PAGE_READWRITE);
	assert_int_equal(info.RegionSize, SIZE);
	assert_int_equal(info.State, MEM_COMMIT);
	assert_int_equal(info.Protect, PAGE_READWRITE);
	assert_int_equal(info.Type, MEM_PRIVATE);
	VirtualFree(base + 4 * UNIT, UNIT, MEM_DECOMMIT);
	VirtualQuery(base + 4 * UNIT, &info, sizeof(info));
	assert_int_equal(info.State, MEM_RESERVE);
	assert_int_equal(info.Protect, 0);
	assert_int_equal(info.RegionSize, UNIT);
	assert_int_equal(VirtualQuery(base, &info, 8), 0);
	assert_int_equal(GetLastError(), 24);
	end();
	VirtualQuery(base, &info, sizeof(info));
	assert_int_equal(info.State, MEM_FREE);
}

static void row_9_large_sparse_reservations_cost_nothing(void **state)
{
	SIZE_T size = (SIZE_T)128 << 30;
	char *big = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_WRITE_WATCH,
				 PAGE_READWRITE);

	take_signal_back();
	assert_non_null(big);
	assert_non_null(VirtualAlloc(big + (size >> 1), SIZE, MEM_COMMIT,
				     PAGE_READWRITE));
	big[size >> 1] = 1;
	count = ROOM;
	assert_int_equal(GetWriteWatch(WRITE_WATCH_FLAG_RESET, big, size,
				       results, &count, &granularity),
			 0);
	assert_int_equal(count, PARTS);
	assert_ptr_equal(results[0], big + (size >> 1));
	assert_true(VirtualFree(big, 0, MEM_RELEASE));
}

static void *other_thread(void *arg)
{
	CHECK(GetLastError() == 0);
	SetLastError(5);
	return NULL;
}

static void the_last_error_is_one_for_each_thread(void **state)
{
	pthread_t t;

	SetLastError(77);
	pthread_create(&t, NULL, other_thread, NULL);
	pthread_join(t, NULL);
	assert_int_equal(GetLastError(), 77);
}

static void memory_that_the_caller_manages_works(void **state)
{
	char *view = test_map(16);
	struct ww *ww = ww_win32_tracker();
	ULONG_PTR n = ROOM;
	ULONG g;

	take_signal_back();
	assert_non_null(ww);
	assert_int_equal(ww_watch(ww, view, 16 * PAGE, 0), 0);
	view[0] = 1;
	assert_int_equal(NtGetWriteWatch(GetCurrentProcess(), 1, view,
					 16 * PAGE, results, &n, &g),
			 STATUS_SUCCESS);
	assert_int_equal(n, PAGE / 4096);
	assert_ptr_equal(results[0], view);
	assert_int_equal(ww_unwatch(ww, view, 16 * PAGE), 0);
	test_unmap(view, 16);
}

TEST_MAIN("win32", CASE(row_3_1_errors_of_get),
	  CASE(row_3_1_17_two_allocations_are_refused),
	  CASE(row_3_2_errors_of_reset), CASE(row_3_3_order_of_detection),
	  CASE(row_3_4_status_codes), CASE(row_4_ranges_are_rounded),
	  CASE(row_5_what_a_query_returns),
	  CASE(row_5_8_arrays_may_end_inside_a_host_page),
	  CASE(row_6_1_commit_and_reserve),
	  CASE(row_6_1_protection_changes_nothing),
	  CASE(row_6_1_13_decommit_clears), CASE(row_6_1_19_mem_reset_clears),
	  CASE(row_7_refusals_of_virtualalloc), CASE(row_7_virtualquery),
	  CASE(row_9_large_sparse_reservations_cost_nothing),
	  CASE(the_last_error_is_one_for_each_thread),
	  CASE(memory_that_the_caller_manages_works))
