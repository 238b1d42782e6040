/* SPDX-License-Identifier: MIT */
/* harness.c - runs the rows; "conformance [NAME...]" runs those alone. */
#include "harness.h"

#include <setjmp.h>
#ifndef _WIN32
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>
#endif

SIZE_T unit = ENTRY;
char *base;
ULONG_PTR count;
DWORD granularity;
void *results[16 * 16];

static jmp_buf out;

void row_failed(const char *file, int line, const char *what)
{
	printf("%s:%d: %s (last error %u)\n", file, line, what,
	       (unsigned)GetLastError());
	longjmp(out, 1);
}

void row_same(const char *file, int line, const char *what, uintptr_t a,
	      uintptr_t b)
{
	if (a == b)
		return;
	printf("%s:%d: %s is %#llx, not %#llx\n", file, line, what,
	       (unsigned long long)a, (unsigned long long)b);
	longjmp(out, 1);
}

void begin_with(DWORD type, DWORD protect)
{
	base = VirtualAlloc(NULL, SIZE, type, protect);
	CHECK(base);
	CHECK_SAME((uintptr_t)base % 0x10000, 0);
}

void begin(void)
{
	begin_with(WATCHED, PAGE_READWRITE);
}

void end(void)
{
	CHECK(VirtualFree(base, 0, MEM_RELEASE));
}

void touch(int page)
{
	((volatile char *)base)[page * UNIT]++;
}

UINT get(DWORD flags)
{
	count = ROOM;
	return GetWriteWatch(flags, base, SIZE, results, &count, &granularity);
}

void expect(DWORD flags, ...)
{
	va_list ap;
	ULONG_PTR i, k;

	CHECK_SAME(get(flags), 0);
	CHECK_SAME(granularity, ENTRY);
	CHECK_SAME(count % PARTS, 0);
	va_start(ap, flags);
	for (i = 0; i < count; i += PARTS) {
		char *page = base + va_arg(ap, int) * (intptr_t)UNIT;

		for (k = 0; k < PARTS; k++)
			CHECK_SAME(results[i + k], page + k * ENTRY);
	}
	CHECK_SAME(va_arg(ap, int), -1);
	va_end(ap);
}

void refuse(DWORD code, DWORD flags, void *at, SIZE_T size, void **array,
	    ULONG_PTR *n, DWORD *g)
{
	ULONG_PTR before = n ? *n : 0;

	granularity = 0xdead;
	results[0] = &out;
	SetLastError(0xdeadbeef);
	CHECK_SAME(GetWriteWatch(flags, at, size, array, n, g), ~0u);
	CHECK_SAME(GetLastError(), code);
	CHECK_SAME(granularity, 0xdead);
	CHECK_SAME(results[0], &out);
	if (n)
		CHECK_SAME(*n, before);
}

void fails_with(const void *p, DWORD code)
{
	CHECK(!p);
	CHECK_SAME(GetLastError(), code);
}

long slowness(void)
{
	const char *text = getenv("WRITEWATCH_TEST_SLOWNESS");
	long n = text ? strtol(text, NULL, 10) : 1;

	return n > 0 ? n : 1;
}

unsigned often(unsigned n)
{
	return slowness() > 1 ? n / 10 + 1 : n;
}

#ifdef _WIN32

void step_aside(void)
{
	Sleep(0);
}

bool reads_are_clean(void)
{
	return true;
}

bool is_exact(void)
{
	return true;
}

bool hands_out_once(void)
{
	return true;
}

static DWORD WINAPI thread(void *arg)
{
	void **a = arg;

	((void (*)(unsigned))a[0])((unsigned)(uintptr_t)a[1]);
	return 0;
}

void in_threads(unsigned n, void (*fn)(unsigned number))
{
	HANDLE t[16];
	void *args[16][2];
	unsigned i;

	for (i = 0; i < n; i++) {
		args[i][0] = (void *)fn;
		args[i][1] = (void *)(uintptr_t)i;
		t[i] = CreateThread(NULL, 0, thread, args[i], 0, NULL);
	}
	for (i = 0; i < n; i++)
		WaitForSingleObject(t[i], INFINITE);
}

double seconds(void)
{
	return (double)GetTickCount() / 1e3;
}

static int prepare(void)
{
	return 0;
}

#else

void step_aside(void)
{
	sched_yield();
}

static unsigned caps(void)
{
	struct ww_range_info info = { .size = sizeof(info) };

	if (ww_next_range(ww_win32_tracker(), base, &info) != 0)
		row_failed(__FILE__, __LINE__, "ww_next_range()");
	return info.caps;
}

bool reads_are_clean(void)
{
	return caps() & (WW_CAP_EXACT | WW_CAP_NO_THREAD);
}

bool is_exact(void)
{
	return caps() & WW_CAP_EXACT;
}

bool hands_out_once(void)
{
	struct ww_backend_info info = { .size = sizeof(info) };

	ww_info(ww_win32_tracker(), &info);
	return info.caps & WW_CAP_NO_THREAD;
}

static void *thread(void *arg)
{
	void **a = arg;

	((void (*)(unsigned))a[0])((unsigned)(uintptr_t)a[1]);
	return NULL;
}

void in_threads(unsigned n, void (*fn)(unsigned number))
{
	pthread_t t[16];
	void *args[16][2];
	unsigned i;

	for (i = 0; i < n; i++) {
		args[i][0] = (void *)fn;
		args[i][1] = (void *)(uintptr_t)i;
		if (pthread_create(&t[i], NULL, thread, args[i]) != 0)
			abort();
	}
	for (i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool listed(const char *list, const char *name)
{
	return list && strstr(list, name);
}

/* The backend that is asked for must work, or the run is a skip; with
 * WRITEWATCH_REQUIRE_BACKEND a failure. */
static int prepare(void)
{
	const char *wanted = getenv("WRITEWATCH_BACKEND");
	struct ww_backend_info info = { .size = sizeof(info) };
	unsigned i;

	unit = (SIZE_T)sysconf(_SC_PAGESIZE);
	for (i = 0; wanted && ww_probe(i, &info) == 0; i++) {
		if (strcmp(info.name, wanted) != 0 || info.status == 0)
			continue;
		fprintf(stderr, "%s: %s\n", wanted, info.reason);
		return listed(getenv("WRITEWATCH_REQUIRE_BACKEND"), wanted)
			       ? 1
			       : 77;
	}
	return 0;
}

#endif

static int failed, passed;

static void run(const struct row *row)
{
	if (setjmp(out)) {
		printf("not ok - %s\n", row->name);
		failed++;
		return;
	}
	row->run();
	printf("ok - %s\n", row->name);
	passed++;
}

int main(int argc, char **argv)
{
	const struct row *const tables[] = { rows_query, rows_state,
					     rows_memory, rows_threads,
					     rows_programs };
	int status = prepare(), k;
	size_t i;

	if (status)
		return status;
	setvbuf(stdout, NULL, _IOLBF, 4096);
	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		const struct row *row;

		for (row = tables[i]; row->name; row++) {
			bool wanted = argc == 1;

			for (k = 1; k < argc; k++)
				wanted |= strstr(row->name, argv[k]) != NULL;
			if (wanted)
				run(row);
		}
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
