/* SPDX-License-Identifier: MIT */
/* test-kinds.c - the same expectations for each kind of memory. */
#include "test.h"

#include <inttypes.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define N 32

enum kind {
	PRIVATE,
	SHARED,
	MEMFD,
	MEMFD_PRIVATE,
	FILE_PRIVATE,
	FILE_SHARED,
	NKINDS
};

static const char *const names[] = { "private",	     "shared",
				     "memfd",	     "private memfd",
				     "private file", "shared file" };

static int file_of(enum kind kind)
{
	char path[] = "/var/tmp/ww-kinds-XXXXXX";
	char page[64] = "content";
	int fd, i;

	if (kind == PRIVATE || kind == SHARED)
		return -1;
	if (kind == MEMFD || kind == MEMFD_PRIVATE) {
		fd = memfd_create("ww-kinds", MFD_CLOEXEC);
	} else {
		fd = mkstemp(path);
		unlink(path);
	}
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, N * (off_t)PAGE), 0);
	for (i = 0; i < N; i += 3)
		assert_int_equal(
			pwrite(fd, page, sizeof(page), i * (off_t)PAGE),
			sizeof(page));
	return fd;
}

static char *map_kind(enum kind kind, int prot, int fd)
{
	int flags = kind == SHARED || kind == MEMFD || kind == FILE_SHARED
			    ? MAP_SHARED
			    : MAP_PRIVATE;
	char *m;

	if (fd < 0)
		flags |= MAP_ANONYMOUS;
	m = mmap(NULL, N * PAGE, prot, flags, fd, 0);
	assert_ptr_not_equal(m, MAP_FAILED);
	return m;
}

/* All kinds where that is promised; else those that can be watched. */
static bool supported(struct ww *ww, enum kind kind, char *m)
{
	int r = ww_watch(ww, m, N * PAGE, 0);

	if (r == 0)
		assert_int_equal(ww_unwatch(ww, m, N * PAGE, 0), 0);
	else
		assert_int_equal(r, -EOPNOTSUPP);
	if (r < 0)
		test_not_promised(names[kind]);
	if (kind == PRIVATE || PROMISED(ww, WW_CAP_SHARED))
		assert_int_equal(r, 0);
	return r == 0;
}

static void each_kind(void (*fn)(struct ww *ww, enum kind kind, char *m))
{
	enum kind kind;

	for (kind = PRIVATE; kind < NKINDS; kind++) {
		struct ww *ww = test_open();
		int fd = file_of(kind);
		char *m = map_kind(kind, RW, fd);

		if (supported(ww, kind, m)) {
			print_message("  %s\n", names[kind]);
			fn(ww, kind, m);
		}
		ww_close(ww);
		munmap(m, N * PAGE);
		if (fd >= 0)
			close(fd);
	}
}

static void basic(struct ww *ww, enum kind kind, char *m)
{
	volatile char sum = 0;
	int i;

	test_write(m, 4, 5, -1);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	test_expect(ww, m, N, 0, -1);
	test_write(m, 4, 6, 31, -1);
	test_expect(ww, m, N, WW_RESET, 4, 6, 31, -1);
	test_expect(ww, m, N, 0, -1);
	for (i = 0; i < N && PROMISED(ww, WW_CAP_EXACT); i++)
		sum += m[(size_t)i * PAGE];
	(void)sum;
	test_expect(ww, m, N, 0, -1);
	test_write(m, 0, 6, 7, -1);
	assert_int_equal(ww_reset(ww, m + 6 * PAGE, PAGE, 0), 0);
	test_expect(ww, m, N, WW_RESET, 0, 7, -1);
	test_expect(ww, m, N, 0, -1);
}

static void writes_are_exact_on_each_kind(void **state)
{
	each_kind(basic);
}

/* Page-table entries of shared memory go away without the program's doing. */
static void paged_out(struct ww *ww, enum kind kind, char *m)
{
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	test_write(m, 2, 3, -1);
	test_count(ww, m, N, WW_RESET);
	test_write(m, 3, 9, -1);
	madvise(m, N * PAGE, MADV_PAGEOUT);
	if (kind == SHARED || kind == MEMFD || kind == FILE_SHARED)
		madvise(m, N * PAGE, MADV_DONTNEED); /* keeps the content */
	test_expect(ww, m, N, WW_RESET, 3, 9, -1);
	test_expect(ww, m, N, 0, -1);
	test_write(m, 2, -1);
	test_expect(ww, m, N, WW_RESET, 2, -1);
}

static void entries_dropped_by_the_kernel_lose_nothing(void **state)
{
	each_kind(paged_out);
}

static void read_only_then_writable(void **state)
{
	enum kind kind;

	for (kind = PRIVATE; kind < NKINDS; kind++) {
		struct ww *ww = test_open();
		int fd = file_of(kind);
		char *m = map_kind(kind, PROT_READ, fd);

		if (supported(ww, kind, m)) {
			assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
			assert_int_equal(ww_protect(ww, m, N * PAGE, RW, 0), 0);
			test_expect(ww, m, N, 0, -1);
			test_write(m, 1, 30, -1);
			test_expect(ww, m, N, WW_RESET, 1, 30, -1);
			assert_int_equal(ww_protect(ww, m, N * PAGE, PROT_READ, 0),
					 0);
			assert_int_equal(ww_protect(ww, m, N * PAGE, RW, 0), 0);
			test_expect(ww, m, N, 0, -1);
		}
		ww_close(ww);
		munmap(m, N * PAGE);
		if (fd >= 0)
			close(fd);
	}
}

/*
 *	| anon rw | file private | anon none | shared | anon rw |
 */
static void a_range_of_mixed_kinds_is_armed_stretch_by_stretch(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(5 * N);
	int fd = file_of(FILE_PRIVATE);
	struct ww_range r;
	volatile char c;

	if (PROMISED(ww, WW_CAP_SHARED)) {
		assert_ptr_equal(mmap(m + N * PAGE, N * PAGE, RW,
				      MAP_PRIVATE | MAP_FIXED, fd, 0),
				 m + N * PAGE);
		mprotect(m + 2 * N * PAGE, N * PAGE, PROT_NONE);
		assert_ptr_equal(mmap(m + 3 * N * PAGE, N * PAGE, RW,
				      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
				      -1, 0),
				 m + 3 * N * PAGE);
		assert_int_equal(ww_watch(ww, m, 5 * N * PAGE, 0), 0);
		assert_int_equal(
			test_range_info(ww, m + 4 * N * PAGE, &r, NULL, NULL), 0);
		assert_ptr_equal(r.start, m);
		assert_int_equal(r.len, 5 * N * PAGE);
		c = m[N * PAGE];
		c = m[3 * N * PAGE + PAGE];
		(void)c;
		test_write(m, 31, 32, 95 - 32, 96, 127, 128, -1);
		test_expect(ww, m, 5 * N, WW_RESET, 31, 32, 63, 96, 127,
			    128, -1);
		test_expect(ww, m, 5 * N, 0, -1);
		/* a hole in it is refused as a whole */
		assert_int_equal(ww_unwatch(ww, m, 5 * N * PAGE, 0), 0);
		munmap(m + 2 * N * PAGE, PAGE);
		assert_int_equal(ww_watch(ww, m, 5 * N * PAGE, 0), -EFAULT);
	}
	ww_close(ww);
	munmap(m - PAGE, (5 * N + 2) * PAGE);
	close(fd);
}

static void huge_pages_do_not_blur(void **state)
{
	size_t huge = test_huge_page(), n = huge / PAGE;
	char *area =
		mmap(NULL, 3 * huge, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *m = (char *)(((uintptr_t)area + huge - 1) & ~(huge - 1));
	struct ww *ww = test_open();

	/* one that is there before the watch, and none after it */
	if (!PROMISED(ww, WW_CAP_EXACT)) {
		ww_close(ww);
		munmap(area, 3 * huge);
		return;
	}
	madvise(m, 2 * huge, MADV_HUGEPAGE);
	memset(m, 1, huge);
	madvise(m, huge, MADV_COLLAPSE);
	assert_int_equal(ww_watch(ww, m, 2 * huge, 0), 0);
	test_expect(ww, m, 2 * n, 0, -1);
	test_write(m, 7, (int)n + 9, -1);
	test_expect(ww, m, 2 * n, WW_RESET, 7, (int)n + 9, -1);
	test_write(m, 7, 8, -1);
	madvise(m, huge, MADV_COLLAPSE);
	test_expect(ww, m, 2 * n, WW_RESET, 7, 8, -1);
	test_expect(ww, m, 2 * n, 0, -1);
	ww_close(ww);
	munmap(area, 3 * huge);
}

static void pages_dropped_behind_our_back_are_reported_once_at_most(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(N);

	memset(m, 1, N * PAGE);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	madvise(m, N * PAGE, MADV_DONTNEED);
	test_count(ww, m, N, WW_RESET);
	test_expect(ww, m, N, 0, -1);
	test_write(m, 5, -1);
	test_expect(ww, m, N, WW_RESET, 5, -1);
	ww_close(ww);
	test_unmap(m, N);
}

static void neighbours_are_left_alone(void **state)
{
	struct ww *ww = test_open();
	char *m = test_map(3 * N);

	assert_int_equal(ww_watch(ww, m + N * PAGE, N * PAGE, 0), 0);
	test_write(m, 31, 32, 63, 64, -1);
	test_expect(ww, m + N * PAGE, N, WW_RESET, 0, 31, -1);
	/* the neighbours change their protection and go */
	mprotect(m, N * PAGE, PROT_READ);
	munmap(m + 2 * N * PAGE, N * PAGE);
	test_write(m, 40, -1);
	test_expect(ww, m + N * PAGE, N, WW_RESET, 8, -1);
	ww_close(ww);
	munmap(m - PAGE, (2 * N + 1) * PAGE);
	munmap(m + 3 * N * PAGE, PAGE);
}

static long ksm(const char *name, long set)
{
	char path[80];
	long was = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	f = fopen(path, set < 0 ? "r" : "r+");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &was) != 1)
		was = -1;
	rewind(f);
	if (set >= 0)
		fprintf(f, "%ld", set);
	fclose(f);
	return was;
}

/* The program turned merging on again, and KSM made a page that was written the
 * zero page: it looks as if it had only been read. */
static void a_zero_page_that_ksm_made_is_reported(void **state)
{
	const unsigned all = WW_CAP_EXACT | WW_CAP_KERNEL_WRITES |
			     WW_CAP_NO_SIGNAL | WW_CAP_NO_THREAD;
	struct ww *ww = test_open();
	char *m = test_map(N);
	long zero, run, sleeping, scan, i, merged = 0;
	void *pages[3];
	size_t n = 3;

	/* Not unasked: it changes how the system merges pages. */
	zero = getenv("WRITEWATCH_TEST_SYSTEM") ? ksm("use_zero_pages", 1) : -1;
	if (zero >= 0 && (test_caps(ww) & all) == all) {
		run = ksm("run", 1);
		sleeping = ksm("sleep_millisecs", 1);
		scan = ksm("pages_to_scan", 10000);
		memset(m, 1, N * PAGE);
		assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
		test_write(m, 3, 5, -1);
		test_expect(ww, m, N, WW_RESET, 3, 5, -1);
		memset(m + 3 * PAGE, 0, PAGE);
		memset(m + 5 * PAGE, 0, PAGE);
		madvise(m, N * PAGE, MADV_MERGEABLE);
		for (i = 0; i < 3000 && merged < 2; i++) {
			usleep(1000);
			merged = ksm("ksm_zero_pages", -1);
		}
		madvise(m, 3 * PAGE, MADV_UNMERGEABLE);
		print_message("  %ld zero pages after %ld ms\n", merged, i);
		assert_int_equal(ww_get(ww, m + 3 * PAGE, 3 * PAGE,
					WW_RESET, pages, &n, NULL),
				 0);
		/* and perhaps the one between them, which was merged too */
		assert_in_range(n, 2, 3);
		assert_ptr_equal(pages[0], m + 3 * PAGE);
		assert_ptr_equal(pages[n - 1], m + 5 * PAGE);
		ksm("run", run);
		ksm("sleep_millisecs", sleeping);
		ksm("pages_to_scan", scan);
		ksm("use_zero_pages", zero);
	}
	ww_close(ww);
	test_unmap(m, N);
}

/* --- the heap, where the library has memory of its own --- */

/* More pages than a query asks the kernel about one by one. */
static void pages_dropped_by_a_discard_are_clean(void **state)
{
	enum { MANY = 8192 };
	struct ww *ww = test_open();
	char *m = test_map(MANY);
	unsigned caps;
	int i;

	memset(m, 1, MANY * PAGE);
	assert_int_equal(ww_watch(ww, m, MANY * PAGE, 0), 0);
	for (i = 0; i < 3; i++) {
		test_write(m, 5, 7000, -1);
		test_count(ww, m, MANY, WW_RESET);
	}
	assert_int_equal(ww_discard(ww, m + 1000 * PAGE, 5000 * PAGE, 0), 0);
	assert_int_equal(((volatile char *)m)[2000 * PAGE], 0);
	assert_int_equal(test_range_info(ww, m, NULL, &caps, NULL), 0);
	if (caps & WW_CAP_EXACT)
		test_expect(ww, m, MANY, 0, -1);
	test_write(m, 999, 1000, 2000, 3000, 5999, 6000, -1);
	if (caps & WW_CAP_EXACT)
		test_expect(ww, m, MANY, WW_RESET, 999, 1000, 2000, 3000, 5999,
			    6000, -1);
	else
		assert_true(test_count(ww, m, MANY, 0) >= 6);
	ww_close(ww);
	test_unmap(m, MANY);
}

static bool find_heap(struct ww_range *out)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;

	CHECK(f);
	while (!found && fgets(line, sizeof(line), f)) {
		uintptr_t start, end;

		if (!strstr(line, "[heap]") ||
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) != 2)
			continue;
		*out = (struct ww_range){ (void *)start, end - start };
		found = true;
	}
	fclose(f);
	return found;
}

static void watch_the_heap(void *arg)
{
	static void *pages[8192];
	struct ww *ww = test_open();
	/* below 128 KiB, from which glibc maps a block on its own, also with
	 * pages of 64 KiB */
	char *p = malloc(2 * PAGE - 64), *page = p + PAGE - (uintptr_t)p % PAGE;
	struct ww_range heap;
	int i;

	if (!find_heap(&heap) || page < (char *)heap.start ||
	    page >= (char *)heap.start + heap.len) {
		test_not_promised(
			"a heap: malloc() has none (musl, sanitizers)");
		return;
	}
	CHECK(ww_watch(ww, heap.start, heap.len, 0) == 0);
	for (i = 0; i < 50; i++) {
		size_t n = 8192, k;

		free(malloc(100));
		page[i]++;
		CHECK(ww_get(ww, heap.start, heap.len, WW_RESET, pages, &n,
			     NULL) == 0);
		for (k = 0; k < n && pages[k] != page; k++)
			;
		CHECK(k < n);
	}
	CHECK(ww_unwatch(ww, heap.start, heap.len, 0) == 0);
	free(p);
	ww_close(ww);
}

static void the_heap_can_be_watched(void **state)
{
	assert_int_equal(test_child(watch_the_heap, NULL), 0);
}

TEST_MAIN("kinds", CASE(writes_are_exact_on_each_kind),
	  CASE(entries_dropped_by_the_kernel_lose_nothing),
	  CASE(read_only_then_writable),
	  CASE(a_range_of_mixed_kinds_is_armed_stretch_by_stretch),
	  CASE(huge_pages_do_not_blur),
	  CASE(pages_dropped_behind_our_back_are_reported_once_at_most),
	  CASE(neighbours_are_left_alone),
	  CASE(a_zero_page_that_ksm_made_is_reported),
	  CASE(pages_dropped_by_a_discard_are_clean),
	  CASE(the_heap_can_be_watched))
