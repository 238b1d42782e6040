/* SPDX-License-Identifier: MIT */
/*
 * test-regions.c - VirtualAlloc, VirtualFree and VirtualProtect on one reservation,
 * against an array of what each page should be. The heap, mprotect(2) and madvise(2)
 * fail now and then, each at any place: a call that fails has changed nothing,
 * neither what VirtualQuery says nor what the kernel lets the program do. On host
 * pages of 4 KiB and, where nothing is watched, on pages that are called 64 KiB.
 */
#define WRITEWATCH_WIN32_NAMES
#include "test.h"

#include <inttypes.h>

#include "writewatch-win32.h"

#define N 4096u /* pages of 4 KiB */
#define SMALL ((size_t)4096)
#define NEVER SIZE_MAX

/* --- calls that fail --- */

static struct {
	size_t heap, mprotect, madvise; /* how many succeed before one fails */
	bool failed;
} calls;
static size_t page_size;

void *__real_ww_heap_new(size_t bytes);
void *__wrap_ww_heap_new(size_t bytes);
int __real_ww_sys_mprotect(uintptr_t start, size_t len, int prot);
int __wrap_ww_sys_mprotect(uintptr_t start, size_t len, int prot);
int __real_ww_sys_madvise(uintptr_t start, size_t len, int advice);
int __wrap_ww_sys_madvise(uintptr_t start, size_t len, int advice);
size_t __real_ww_sys_page_size(void);
size_t __wrap_ww_sys_page_size(void);

static bool fails(size_t *left)
{
	if (*left == NEVER || (*left)--)
		return false;
	calls.failed = true;
	return true; /* once: *left is NEVER now */
}

void *__wrap_ww_heap_new(size_t bytes)
{
	return fails(&calls.heap) ? NULL : __real_ww_heap_new(bytes);
}

int __wrap_ww_sys_mprotect(uintptr_t start, size_t len, int prot)
{
	return fails(&calls.mprotect)
		       ? -ENOMEM
		       : __real_ww_sys_mprotect(start, len, prot);
}

int __wrap_ww_sys_madvise(uintptr_t start, size_t len, int advice)
{
	return fails(&calls.madvise)
		       ? -ENOMEM
		       : __real_ww_sys_madvise(start, len, advice);
}

size_t __wrap_ww_sys_page_size(void)
{
	return page_size ? page_size : __real_ww_sys_page_size();
}

static size_t random_below(size_t n)
{
	static uint64_t r = 88172645463325252u;

	return (size_t)(test_random(&r) % n);
}

static void let_none_fail(void)
{
	calls.heap = calls.mprotect = calls.madvise = NEVER;
}

/* One: what puts things back must not fail, too. */
static void let_one_fail(void)
{
	const size_t which = random_below(6);

	let_none_fail();
	calls.failed = false;
	if (which == 0)
		calls.heap = random_below(3);
	else if (which == 1)
		calls.mprotect = random_below(2);
	else if (which == 2)
		calls.madvise = 0;
}

/* --- the model --- */

/* 0: reserved. What the kernel lets the program do, and what Windows calls it. */
static const struct {
	DWORD protect;
	int prot;
} states[] = {
	{ 0, PROT_NONE },
	{ PAGE_READONLY, PROT_READ },
	{ PAGE_READWRITE, PROT_READ | PROT_WRITE },
	{ PAGE_NOACCESS, PROT_NONE },
	{ PAGE_EXECUTE_READ, PROT_READ | PROT_EXEC },
};
#define STATES (sizeof(states) / sizeof(states[0]))

static char *base;
static unsigned char state_of[N];

static void check_query(void)
{
	size_t i, end;

	for (i = 0; i < N; i = end) {
		MEMORY_BASIC_INFORMATION m;

		for (end = i; end < N && state_of[end] == state_of[i]; end++)
			;
		assert_int_equal(VirtualQuery(base + i * SMALL, &m, sizeof(m)),
				 sizeof(m));
		assert_int_equal(m.RegionSize, (end - i) * SMALL);
		assert_int_equal(m.State,
				 state_of[i] ? MEM_COMMIT : MEM_RESERVE);
		assert_int_equal(m.Protect, states[state_of[i]].protect);
	}
}

/* mprotect takes write access from pages, and gives it back at a store. */
static bool may_be_closed(bool watched)
{
	const char *backend = getenv("WRITEWATCH_BACKEND");

	return watched && backend && !strcmp(backend, "mprotect");
}

static void check_kernel(bool watched)
{
	FILE *f = fopen("/proc/self/maps", "r");
	const uintptr_t at = (uintptr_t)base;
	const size_t whole = page_size ? page_size / SMALL : PAGE / SMALL;
	static int prot[N];
	char line[600], flags[5];
	uintptr_t start, end;
	size_t i, k;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &start, &end,
			   flags) == 3)
			for (; start < end; start += SMALL)
				if (start - at < N * SMALL)
					prot[(start - at) / SMALL] =
						(flags[0] == 'r' ? PROT_READ : 0) |
						(flags[1] == 'w' ? PROT_WRITE : 0) |
						(flags[2] == 'x' ? PROT_EXEC : 0);
	fclose(f);
	for (i = 0; i < N; i += whole) {
		int want = 0;

		for (k = i; k < i + whole; k++)
			want |= states[state_of[k]].prot;
		for (k = i; k < i + whole; k++)
			if (prot[k] != want &&
			    !(may_be_closed(watched) &&
			      prot[k] == (want & ~PROT_WRITE)))
				fail_msg("page %zu: %d, not %d", k, prot[k], want);
	}
}

/* One call, which may fail; the model follows. */
static void change(size_t first, size_t n, size_t state)
{
	char *at = base + first * SMALL;
	bool committed = true, ok;
	DWORD old = 0;
	size_t i;

	for (i = first; i < first + n; i++)
		committed = committed && state_of[i];
	let_one_fail();
	if (!state)
		ok = VirtualFree(at, n * SMALL, MEM_DECOMMIT);
	else if (random_below(2))
		ok = VirtualAlloc(at, n * SMALL, MEM_COMMIT,
				  states[state].protect) != NULL;
	else
		ok = VirtualProtect(at, n * SMALL, states[state].protect, &old);
	let_none_fail();
	if (old)
		assert_int_equal(old, states[state_of[first]].protect);
	if (ok)
		memset(state_of + first, (int)state, n);
	else
		assert_true(calls.failed || !committed);
}

static void random_changes(bool watched, int rounds)
{
	unsigned failed = 0;
	int i;

	let_none_fail();
	memset(state_of, 0, sizeof(state_of));
	base = VirtualAlloc(NULL, N * SMALL,
			    MEM_RESERVE | (watched ? MEM_WRITE_WATCH : 0),
			    PAGE_READWRITE);
	assert_non_null(base);
	for (i = 0; i < rounds; i++) {
		size_t first = random_below(N), rest = N - first;
		size_t n = 1 + random_below(random_below(8) && rest > 6 ? 6 : rest);

		change(first, n, random_below(STATES));
		failed += calls.failed;
		if (i % 64 == 0 || (calls.failed && i % 4 == 0)) {
			check_query();
			check_kernel(watched);
		}
	}
	assert_true(failed > (unsigned)rounds / 20);
	assert_true(VirtualFree(base, 0, MEM_RELEASE));
}

static void a_failing_call_changes_nothing(void **state)
{
	random_changes(false, 20000 / (int)test_slowness() + 400);
}

static void a_failing_call_changes_nothing_that_is_watched(void **state)
{
	random_changes(true, 20000 / (int)test_slowness() + 400);
}

static void a_failing_call_changes_nothing_on_large_pages(void **state)
{
	if (PAGE > 65536 || PAGE % 4096)
		return;
	page_size = 65536;
	random_changes(false, 20000 / (int)test_slowness() + 400);
	page_size = 0;
}

TEST_MAIN("regions", CASE(a_failing_call_changes_nothing),
	  CASE(a_failing_call_changes_nothing_that_is_watched),
	  CASE(a_failing_call_changes_nothing_on_large_pages))
