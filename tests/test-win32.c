/* SPDX-License-Identifier: MIT */
/*
 * test-win32.c - the Win32 face where it goes beyond what a Windows program can
 * see: status codes, handles, host pages over 4 KiB, memory of the caller's.
 * The rows of the conformance table are in windows/.
 */
#include "test.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#define WRITEWATCH_WIN32_NAMES
#include "writewatch-win32.h"

#define ENTRY 0x1000
#define PARTS (PAGE / ENTRY)
#define SIZE (16 * PAGE)

static char *base;
static void *results[16 * 16]; /* hosts have pages of up to 64 KiB */
#define ROOM (sizeof(results) / sizeof(results[0]))

/* cmocka takes SIGSEGV for each case, and the tracker behind these calls is
 * opened once: opening any puts the handler on top again. */
static void begin(void)
{
	ww_close(test_open());
	base = VirtualAlloc(NULL, SIZE,
			    MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
			    PAGE_READWRITE);
	assert_non_null(base);
}

static void end(void)
{
	assert_true(VirtualFree(base, 0, MEM_RELEASE));
}

static NTSTATUS nt_get(HANDLE process, ULONG flags, ULONG_PTR *n, ULONG *g)
{
	return NtGetWriteWatch(process, flags, base, SIZE, results, n, g);
}

static ULONG_PTR count_entries(ULONG flags)
{
	ULONG_PTR n = ROOM;
	ULONG g;

	assert_int_equal((DWORD)nt_get(GetCurrentProcess(), flags, &n, &g),
			 STATUS_SUCCESS);
	return n;
}

static void nt_calls_return_wine_s_status_codes(void **state)
{
	ULONG_PTR n = ROOM, zero = 0;
	HANDLE self = GetCurrentProcess();
	ULONG g;

	begin();
	base[0] = 1;
	assert_int_equal((DWORD)nt_get(self, 0, NULL, &g), STATUS_ACCESS_VIOLATION);
	assert_int_equal((DWORD)nt_get(self, 0, &n, NULL), STATUS_ACCESS_VIOLATION);
	assert_int_equal((DWORD)nt_get(self, 0, &zero, &g), STATUS_INVALID_PARAMETER);
	assert_int_equal((DWORD)nt_get(self, 8, &n, &g), STATUS_INVALID_PARAMETER);
	assert_int_equal((DWORD)NtResetWriteWatch(self, base, SIZE + 1),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal(n, ROOM);
	assert_int_equal(count_entries(1), PARTS);
	base[0] = 2;
	assert_int_equal((DWORD)NtResetWriteWatch(self, base, SIZE), STATUS_SUCCESS);
	assert_int_equal(count_entries(0), 0);
	end();
}

/* 8.1, 8.5: only this process; judged behind pointers and count. */
static void other_handles_are_refused(void **state)
{
	ULONG_PTR n = ROOM, zero = 0;
	HANDLE other = (HANDLE)42;
	ULONG g;

	begin();
	base[0] = 1;
	assert_int_equal((DWORD)nt_get(other, 1, &n, &g), STATUS_INVALID_HANDLE);
	assert_int_equal((DWORD)nt_get(other, 1, &zero, &g),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal((DWORD)nt_get(other, 1, NULL, &g), STATUS_ACCESS_VIOLATION);
	assert_int_equal((DWORD)NtResetWriteWatch(other, base, SIZE),
			 STATUS_INVALID_HANDLE);
	assert_int_equal(count_entries(0), PARTS);
	end();
}

/* What does not fit of a host page is kept for the next call, once. */
static void arrays_may_end_inside_a_host_page(void **state)
{
	ULONG_PTR n = 1;
	ULONG g;

	begin();
	base[4 * PAGE] = 1;
	assert_int_equal((DWORD)nt_get(GetCurrentProcess(), 1, &n, &g),
			 STATUS_SUCCESS);
	/* the rest is still there for who asks without a reset, and for all */
	assert_int_equal(count_entries(0), PARTS - 1);
	/* and goes with a reset of its own page alone */
	assert_int_equal(ResetWriteWatch(base + 5 * PAGE - ENTRY, ENTRY), 0);
	assert_int_equal(count_entries(0), PARTS > 2 ? PARTS - 2 : 0);
	/* a write makes it whole again */
	base[4 * PAGE] = 2;
	assert_int_equal(count_entries(1), PARTS);
	assert_int_equal(count_entries(0), 0);
	end();
}

static void memory_that_the_caller_manages_works(void **state)
{
	struct ww *ww = ww_win32_tracker();
	ULONG_PTR n = ROOM;
	ULONG g;

	ww_close(test_open());
	base = test_map(16);
	assert_non_null(ww);
	assert_int_equal((DWORD)nt_get(GetCurrentProcess(), 0, &n, &g),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal(ww_watch(ww, base, 16 * PAGE, 0), 0);
	base[0] = 1;
	assert_int_equal(count_entries(1), PARTS);
	assert_ptr_equal(results[0], base);
	assert_int_equal(ww_unwatch(ww, base, 16 * PAGE, 0), 0);
	assert_int_equal((DWORD)nt_get(GetCurrentProcess(), 0, &n, &g),
			 STATUS_INVALID_PARAMETER);
	test_unmap(base, 16);
}

/* The neighbours of a part that is reset, or decommitted, stay dirty. */
static void parts_of_a_host_page_are_neighbours_only(void **state)
{
	ULONG_PTR n = 1;
	ULONG g;

	begin();
	memset(base + 4 * PAGE, 1, PAGE);
	assert_int_equal(NtGetWriteWatch(GetCurrentProcess(), 1,
					 base + 4 * PAGE, ENTRY, results, &n,
					 &g),
			 0);
	assert_int_equal(n, 1);
	assert_int_equal(count_entries(0), PARTS - 1);
	if (PARTS > 2) {
		assert_true(VirtualFree(base + 4 * PAGE + 2 * ENTRY, ENTRY,
					MEM_DECOMMIT));
		assert_int_equal(count_entries(0), PARTS - 2);
	}
	count_entries(1);
	assert_int_equal(count_entries(0), 0);
	end();
}

/* Row 6.1.15: what was dirty at VirtualProtect() outlives a decommit. */
static void a_page_that_was_protected_dirty_outlives_a_decommit(void **state)
{
	DWORD old;

	begin();
	base[1 * PAGE] = 1;
	assert_true(VirtualProtect(base, SIZE, PAGE_READWRITE, &old));
	base[3 * PAGE] = 1;
	assert_true(VirtualFree(base, SIZE, MEM_DECOMMIT));
	assert_int_equal(count_entries(0), PARTS);
	assert_ptr_equal(results[0], base + PAGE);
	assert_non_null(VirtualAlloc(base, SIZE, MEM_COMMIT, PAGE_READWRITE));
	base[0] = 1;
	assert_int_equal(count_entries(1), 2 * PARTS);
	/* and a reset ends it */
	base[PAGE] = 1;
	assert_true(VirtualFree(base, SIZE, MEM_DECOMMIT));
	assert_int_equal(count_entries(0), 0);
	end();
}

/* A bad array is refused before anything is reset. */
static void a_bad_array_resets_nothing(void **state)
{
	char *none = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	ULONG_PTR n = ROOM;
	ULONG g;

	begin();
	base[2 * PAGE] = 1;
	assert_int_equal((DWORD)NtGetWriteWatch(GetCurrentProcess(), 1, base,
						SIZE, (PVOID *)none, &n, &g),
			 STATUS_ACCESS_VIOLATION);
	assert_int_equal(n, ROOM);
	assert_int_equal(count_entries(1), PARTS);
	munmap(none, 4 * PAGE);
	end();
}

/* Numbers that cannot be stored, too. */
static void a_bad_number_resets_nothing(void **state)
{
	char *none =
		mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	PVOID pages[ROOM];
	ULONG_PTR n = ROOM;
	ULONG g;

	begin();
	base[2 * PAGE] = 1;
	assert_int_equal((DWORD)NtGetWriteWatch(GetCurrentProcess(), 1, base,
						SIZE, pages, &n, (ULONG *)none),
			 STATUS_ACCESS_VIOLATION);
	assert_int_equal((DWORD)NtGetWriteWatch(GetCurrentProcess(), 1, base,
						SIZE, pages, (ULONG_PTR *)none,
						&g),
			 STATUS_ACCESS_VIOLATION);
	assert_int_equal(n, ROOM);
	assert_int_equal(count_entries(1), PARTS);
	munmap(none, PAGE);
	end();
}

static long locked_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long kib = -1;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmLck: %ld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib;
}

static void a_lock_that_fails_locks_nothing(void **state)
{
	DWORD old;

	begin();
	assert_true(VirtualProtect(base + 3 * PAGE, PAGE, PAGE_NOACCESS, &old));
	assert_false(VirtualLock(base, 4 * PAGE));
	assert_int_equal(locked_kib(), 0);
	assert_true(VirtualFree(base, 4 * PAGE, MEM_DECOMMIT));
	end();
}

static void a_real_handle_of_this_process_is_taken(void **state)
{
	HANDLE self = OpenProcess(0x1fffff, FALSE, GetCurrentProcessId());
	HANDLE parent = OpenProcess(0x1fffff, FALSE, (DWORD)getppid());
	ULONG_PTR n = ROOM;
	ULONG g;

	begin();
	base[0] = 1;
	assert_int_equal((DWORD)nt_get(self, 0, &n, &g), STATUS_SUCCESS);
	assert_int_equal(n, PARTS);
	assert_int_equal(NtResetWriteWatch(self, base, SIZE), STATUS_SUCCESS);
	if (parent)
		assert_true((DWORD)nt_get(parent, 0, &n, &g) != STATUS_SUCCESS);
	assert_true(CloseHandle(self));
	assert_int_equal((DWORD)nt_get(self, 0, &n, &g), STATUS_INVALID_HANDLE);
	end();
}

static void virtual_query_comes_to_an_end(void **state)
{
	MEMORY_BASIC_INFORMATION info;
	size_t regions = 0;
	char *at;

	begin();
	for (at = NULL; VirtualQuery(at, &info, sizeof(info));
	     at = (char *)info.BaseAddress + info.RegionSize)
		regions++;
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	assert_true(regions > 10 && regions < 100000);
	/* nothing is allocated below 64 KiB */
	assert_null(VirtualAlloc((void *)0x1000, 0x1000, MEM_RESERVE,
				 PAGE_READWRITE));
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	end();
}

/* Outputs that can not be stored, here or after the call. */
static void a_bad_output_is_refused(void **state)
{
	char *none = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	DWORD old;

	begin();
	assert_false(VirtualProtect(base, PAGE, PAGE_READONLY, (DWORD *)none));
	assert_int_equal(GetLastError(), ERROR_NOACCESS);
	assert_false(VirtualProtect(base, PAGE, PAGE_READONLY, (DWORD *)8));
	base[0] = 1; /* it can be written still */
	assert_int_equal(VirtualQuery(base,
				      (MEMORY_BASIC_INFORMATION *)(void *)none,
				      sizeof(MEMORY_BASIC_INFORMATION)),
			 0);
	assert_int_equal(GetLastError(), ERROR_NOACCESS);
	/* it lies in the page that becomes read-only */
	assert_true(VirtualProtect(base, PAGE, PAGE_READONLY,
				   (DWORD *)(void *)(base + 64)));
	assert_true(VirtualProtect(base, PAGE, PAGE_READWRITE, &old));
	assert_int_equal(old, PAGE_READONLY);
	munmap(none, PAGE);
	end();
}

static void only_handles_are_closed(void **state)
{
	HANDLE self = OpenProcess(0x1fffff, FALSE, GetCurrentProcessId());
	int fd = open("/proc/self/maps", O_RDONLY);
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	intptr_t no[] = { (fd + 1) * (intptr_t)4, (pidfd + 1) * (intptr_t)4, 0,
			  4 * 100000, -4 };
	size_t i;

	begin();
	for (i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		SetLastError(0);
		assert_false(CloseHandle((HANDLE)no[i]));
		assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
	}
	assert_true(fcntl(fd, F_GETFD) >= 0 && fcntl(pidfd, F_GETFD) >= 0);
#if UINTPTR_MAX > UINT32_MAX
	assert_false(CloseHandle(
		(HANDLE)((intptr_t)self + ((intptr_t)1 << 34))));
	assert_int_equal((DWORD)NtResetWriteWatch(
				 (HANDLE)((intptr_t)self + ((intptr_t)1 << 34)),
				 base, SIZE),
			 STATUS_INVALID_HANDLE);
#endif
	assert_true(FlushInstructionCache(self, base, ENTRY));
	assert_true(CloseHandle(self));
	assert_false(CloseHandle(self));
	close(fd);
	close(pidfd);
	end();
}

static void *query_high_memory(void *arg)
{
	MEMORY_BASIC_INFORMATION info;
	SYSTEM_INFO system;

	CHECK(VirtualQuery(base, &info, sizeof(info)) == sizeof(info));
	CHECK(info.BaseAddress == base);
	GetSystemInfo(&system);
	CHECK((char *)system.lpMaximumApplicationAddress > base);
	return NULL;
}

/* A fiber's, or an emulator's. */
static void a_low_stack_does_not_lower_the_top(void **state)
{
	const size_t len = 1 << 20;
	char *low = mmap((void *)0x20000000, len, RW,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;

	begin();
	assert_true(low != MAP_FAILED);
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, low, len), 0);
	assert_int_equal(
		pthread_create(&thread, &attr, query_high_memory, NULL), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	munmap(low, len);
	end();
}

static DWORD state_of(const void *at)
{
	MEMORY_BASIC_INFORMATION info;

	assert_int_equal(VirtualQuery(at, &info, sizeof(info)), sizeof(info));
	return info.State;
}

/* Pages that the host locked are decommitted like others. */
static void locked_pages_are_decommitted(void **state)
{
	begin();
	memset(base, 5, SIZE);
	if (syscall(SYS_mlock, base, 2 * PAGE) != 0) {
		test_not_promised("RLIMIT_MEMLOCK");
	} else {
		assert_true(VirtualFree(base, 4 * PAGE, MEM_DECOMMIT));
		assert_int_equal(state_of(base), MEM_RESERVE);
		assert_non_null(VirtualAlloc(base, 4 * PAGE, MEM_COMMIT,
					     PAGE_READWRITE));
		assert_int_equal(base[PAGE], 0);
	}
	end();
}

static void commit_too_much(void *arg)
{
	const SIZE_T much = (SIZE_T)512 << 20;
	struct rlimit limit = { 64 << 20, 64 << 20 };
	char *p = VirtualAlloc(NULL, much, MEM_RESERVE | MEM_WRITE_WATCH,
			       PAGE_READWRITE);

	CHECK(p);
	CHECK(VirtualAlloc(p, PAGE, MEM_COMMIT, PAGE_READONLY));
	CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
	if (!VirtualAlloc(p, much, MEM_COMMIT, PAGE_READWRITE)) {
		CHECK(GetLastError() == ERROR_COMMITMENT_LIMIT);
		CHECK(state_of(p) == MEM_COMMIT);
		CHECK(state_of(p + PAGE) == MEM_RESERVE);
		CHECK(state_of(p + much - PAGE) == MEM_RESERVE);
	}
}

static void a_commit_that_fails_commits_nothing(void **state)
{
	begin();
	assert_int_equal(test_child(commit_too_much, NULL), 0);
	end();
}

/* An array of over 16 pages, of which the last can not be written to. */
static void a_long_array_is_probed_to_its_end(void **state)
{
	ULONG_PTR room = 20 * PAGE / sizeof(PVOID), n = room;
	SIZE_T size = room * ENTRY;
	PVOID *array = mmap(NULL, 20 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	ULONG g = 7;

	ww_close(test_open());
	base = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_WRITE_WATCH,
			    PAGE_READWRITE);
	assert_non_null(base);
	assert_non_null(VirtualAlloc(base, PAGE, MEM_COMMIT, PAGE_READWRITE));
	*(volatile char *)base = 1;
	assert_int_equal(mprotect((char *)array + 19 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal((DWORD)NtGetWriteWatch(GetCurrentProcess(),
						WRITE_WATCH_FLAG_RESET, base,
						size, array, &n, &g),
			 STATUS_ACCESS_VIOLATION);
	assert_true(n == room && g == 7);
	assert_int_equal(munmap((char *)array + 19 * PAGE, PAGE), 0);
	assert_int_equal((DWORD)NtGetWriteWatch(GetCurrentProcess(),
						WRITE_WATCH_FLAG_RESET, base,
						size, array, &n, &g),
			 STATUS_ACCESS_VIOLATION);
	n = room - PAGE / sizeof(PVOID);
	assert_int_equal((DWORD)NtGetWriteWatch(GetCurrentProcess(),
						WRITE_WATCH_FLAG_RESET, base,
						size, array, &n, &g),
			 STATUS_SUCCESS);
	assert_true(n >= 1 && array[0] == base);
	munmap(array, 19 * PAGE);
	end();
}

/* An output of a failing call lies in a page that is watched, and clean. */
static void a_failing_call_makes_no_output_dirty(void **state)
{
	ULONG_PTR n = ROOM;
	ULONG *granularity;
	DWORD *old;

	begin();
	granularity = (ULONG *)(void *)(base + 4 * PAGE);
	old = (DWORD *)(void *)(base + 8 * PAGE);
	assert_int_equal(GetWriteWatch(0, base, 0, results, &n, granularity), ~0u);
	assert_int_equal(GetWriteWatch(2, base, SIZE, results, &n, granularity),
			 ~0u);
	assert_false(VirtualProtect(base, 2 * SIZE, PAGE_READONLY, old));
	assert_false(VirtualProtect(base, SIZE, 3, old));
	assert_int_equal(count_entries(0), 0);
	end();
}

/* --- each call, at each system call of each other one --- */

/* Pages of their own for what changes more than dirty state. Of the others the even
 * ones are written before, the odd ones by write_odd(), or by nobody. */
enum {
	PROTECTED = 4, /* 2 pages */
	RESET = 8,     /* 4 */
	DROPPED = 12,  /* 4 */
	PAGES = 16
};

static bool told[PAGES];

static void get(void)
{
	void *array[ROOM];
	ULONG_PTR n = ROOM, i;
	DWORD g;

	CHECK(GetWriteWatch(WRITE_WATCH_FLAG_RESET, base, SIZE, array, &n,
			    &g) == 0);
	for (i = 0; i < n; i++)
		told[(size_t)((char *)array[i] - base) / PAGE] = true;
}

static void look(void)
{
	void *array[ROOM];
	ULONG_PTR n = ROOM;
	DWORD g;

	CHECK(GetWriteWatch(0, base, SIZE, array, &n, &g) == 0);
}

static void reset_some(void)
{
	CHECK(ResetWriteWatch(base + RESET * PAGE, 4 * PAGE) == 0);
}

static void protect_all(void)
{
	DWORD old;

	/* not while a part is decommitted */
	CHECK(VirtualProtect(base, SIZE, PAGE_READWRITE, &old) ||
	      GetLastError() == ERROR_INVALID_ADDRESS);
}

static void protect_some(void)
{
	char *at = base + PROTECTED * PAGE;
	DWORD old;

	CHECK(VirtualProtect(at, 2 * PAGE, PAGE_READONLY, &old));
	CHECK(VirtualProtect(at, 2 * PAGE, PAGE_READWRITE, &old));
}

static void drop_some(void)
{
	char *at = base + DROPPED * PAGE;

	CHECK(VirtualFree(at, 4 * PAGE, MEM_DECOMMIT));
	CHECK(VirtualAlloc(at, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE));
}

static void another_region(void)
{
	char *p = VirtualAlloc(NULL, 2 * PAGE,
			       MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
			       PAGE_READWRITE);

	CHECK(p);
	p[0] = 1;
	CHECK(VirtualFree(p, 0, MEM_RELEASE));
}

static void write_every(size_t first, size_t step)
{
	size_t i, at;

	for (i = first; i < PAGES; i += step)
		for (at = 0; i - PROTECTED >= 2 && at < PAGE; at += ENTRY)
			((volatile char *)base)[i * PAGE + at] = 1;
}

static void write_odd(void)
{
	size_t i;

	for (i = 1; i < RESET; i += 2)
		if (i - PROTECTED >= 2)
			base[i * PAGE] = 1;
}

static void (*const calls[])(void) = {
	get,	   look,	 reset_some,	 protect_all,
	drop_some, protect_some, another_region, write_odd,
};

static bool try_both(size_t a, long at, size_t b, long then)
{
	bool odd = calls[a] == write_odd || calls[b] == write_odd;
	size_t i;
	DWORD old;

	memset(told, 0, sizeof(told));
	write_every(0, 2);
	if (!test_interleave(calls[a], at, calls[b], then)) {
		get(); /* what it wrote */
		return false;
	}
	get();
	for (i = 0; i < RESET; i++)
		if (i - PROTECTED >= 2 && told[i] != (odd || i % 2 == 0))
			fail_msg("call %zu up to %s %ld, at %s %ld of call %zu: "
				 "page %zu is %s",
				 b, test_point, then, test_point, at, a, i,
				 told[i] ? "told" : "LOST");
	/* what was reported is not dirty, and not latched */
	assert_int_equal(count_entries(WRITE_WATCH_FLAG_RESET), 0);
	write_every(0, 1);
	assert_true(VirtualFree(base, SIZE, MEM_DECOMMIT));
	assert_non_null(
		VirtualAlloc(base, SIZE, MEM_COMMIT, PAGE_READWRITE));
	if (count_entries(WRITE_WATCH_FLAG_RESET))
		fail_msg("call %zu up to %s %ld, at %s %ld of call %zu: something "
			 "is latched",
			 b, test_point, then, test_point, at, a);
	write_every(0, 1);
	assert_int_equal(count_entries(WRITE_WATCH_FLAG_RESET),
			 (PAGES - 2) * PARTS);
	assert_true(VirtualProtect(base, SIZE, PAGE_READWRITE, &old));
	return true;
}

static void each_call_at_each_point_of_another(void **state)
{
	if (!test_can_interleave())
		return;
	begin();
	test_interleave_all(sizeof(calls) / sizeof(calls[0]), try_both);
	end();
}

TEST_MAIN("win32", CASE(nt_calls_return_wine_s_status_codes),
	  CASE(other_handles_are_refused),
	  CASE(arrays_may_end_inside_a_host_page),
	  CASE(memory_that_the_caller_manages_works),
	  CASE(parts_of_a_host_page_are_neighbours_only),
	  CASE(a_page_that_was_protected_dirty_outlives_a_decommit),
	  CASE(a_bad_array_resets_nothing), CASE(a_bad_number_resets_nothing),
	  CASE(a_lock_that_fails_locks_nothing),
	  CASE(a_real_handle_of_this_process_is_taken),
	  CASE(virtual_query_comes_to_an_end), CASE(a_bad_output_is_refused),
	  CASE(only_handles_are_closed),
	  CASE(a_low_stack_does_not_lower_the_top),
	  CASE(locked_pages_are_decommitted),
	  CASE(a_commit_that_fails_commits_nothing),
	  CASE(a_long_array_is_probed_to_its_end),
	  CASE(a_failing_call_makes_no_output_dirty),
	  CASE(each_call_at_each_point_of_another))
