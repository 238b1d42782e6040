/* SPDX-License-Identifier: MIT */
/*
 * test-core.c - the core on a fake backend whose failures and answers the test
 * decides; and /proc/self/maps read as text.
 */
#include "test.h"

#include <time.h>

#include "backends/uffd-sync.h"
#include "base/fork.h"
#include "base/heap.h"
#include "core/turns.h"
#include "kernel/maps.h"
#include "kernel/sys.h"
#include "kernel/uapi/userfaultfd.h"
#include "kernel/uffd.h"
#include "open.h"

#define N 200

/* What the fake says is dirty, and where it fails. */
static bool dirty[N];
static char *m;
static int fail_attach, fail_collect_at = -1, fail_rearm, attached;
static unsigned collects;
static bool no_query;

int __real_ww_sys_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg);

/* A kernel before PROCMAP_QUERY (6.11). */
int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg)
{
	if (no_query && (request & 0xffff) == ('f' << 8 | 17))
		return -ENOTTY;
	return __real_ww_sys_ioctl(fd, request, arg);
}

/* Another kernel's version; empty: this one's. */
static char release[65];
int __real_ww_sys_uname_release(char *buf, size_t len);
int __wrap_ww_sys_uname_release(char *buf, size_t len);

int __wrap_ww_sys_uname_release(char *buf, size_t len)
{
	if (!release[0])
		return __real_ww_sys_uname_release(buf, len);
	snprintf(buf, len, "%s", release);
	return 0;
}

/* A kernel whose pages are soft-dirty; and who writes to clear_refs. */
static bool soft_dirty;
static atomic_int clears;
ssize_t __real_ww_sys_pread(int fd, void *buf, size_t len, int64_t at);
ssize_t __wrap_ww_sys_pread(int fd, void *buf, size_t len, int64_t at);
ssize_t __real_ww_sys_write(int fd, const void *buf, size_t len);
ssize_t __wrap_ww_sys_write(int fd, const void *buf, size_t len);

ssize_t __wrap_ww_sys_pread(int fd, void *buf, size_t len, int64_t at)
{
	ssize_t n = __real_ww_sys_pread(fd, buf, len, at);

	if (soft_dirty && n == 8)
		*(uint64_t *)buf |= UINT64_C(1) << 55;
	return n;
}

ssize_t __wrap_ww_sys_write(int fd, const void *buf, size_t len)
{
	atomic_fetch_add(&clears, 1);
	return __real_ww_sys_write(fd, buf, len);
}

static int fake_attach(struct ww *ww, const struct ww_slice *s,
		       enum ww_kind kind)
{
	if (fail_attach && --fail_attach == 0)
		return -ENOMEM;
	attached++;
	return 0;
}

static void fake_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	attached--;
}

static size_t index_of(uintptr_t at)
{
	return (at - (uintptr_t)m) / PAGE;
}

/* As PAGEMAP_SCAN does: re-arms all that it finds, then hands it over. */
static int fake_collect(struct ww *ww, struct ww_query *q)
{
	uintptr_t at, end = ww_span_end(&q->span);

	collects++;
	for (at = q->pos; at < end; at += PAGE) {
		if ((int)index_of(at) == fail_collect_at)
			return -EBUSY;
		if (!dirty[index_of(at)])
			continue;
		if (q->reset)
			dirty[index_of(at)] = false;
		ww_query_found(q, at, at + PAGE);
	}
	ww_query_done_below(q, end);
	return 0;
}

static int fake_rearm(struct ww *ww, const struct ww_span *span)
{
	if (fail_rearm)
		return fail_rearm;
	memset(&dirty[index_of(ww_span_start(span))], 0,
	       (ww_span_end(span) - ww_span_start(span)) / PAGE);
	return 0;
}

static const struct ww_backend fake = {
	.name = "fake",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_EXACT,
	.kinds = WW_TAKES_ANON,
	.takes_spans = true,
	.attach = fake_attach,
	.detach = fake_detach,
	.collect = fake_collect,
	.rearm = fake_rearm,
};

static struct ww *begin(void)
{
	const struct ww_options o = { .size = sizeof(o) };
	const char *reason;
	struct ww *ww;

	assert_int_equal(ww_open_backend(&ww, &fake, &o, &reason), 0);
	m = test_map(N);
	memset(dirty, 0, sizeof(dirty));
	fail_collect_at = -1;
	collects = 0;
	return ww;
}

static void end(struct ww *ww)
{
	ww_close(ww);
	assert_int_equal(attached, 0);
	test_unmap(m, N);
}

/* A backend that re-arms more than fits: the rest is told by the next call. */
static void what_was_re_armed_and_does_not_fit_is_pending(void **state)
{
	struct ww *ww = begin();
	void *pages[3];
	size_t n = 3;
	int i;

	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	for (i = 10; i < 20; i += 2)
		dirty[i] = true;
	assert_int_equal(ww_get(ww, m, N * PAGE, WW_RESET, pages, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_ptr_equal(pages[2], m + 14 * PAGE);
	for (i = 0; i < N; i++)
		assert_false(dirty[i]);
	/* merged with what is new, in order, once */
	dirty[15] = dirty[16] = dirty[199] = true;
	test_expect(ww, m, N, WW_RESET, 15, 16, 18, 199, -1);
	test_expect(ww, m, N, 0, -1);
	end(ww);
}

static void a_failing_query_gives_back_what_it_took(void **state)
{
	struct ww *ww = begin();
	struct ww_range runs[8];
	void *pages[8];
	size_t n = 8;

	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	dirty[1] = dirty[2] = dirty[70] = true;
	assert_int_equal(ww_mark(ww, m + 65 * PAGE, PAGE, 0), 0);
	fail_collect_at = 100;
	assert_int_equal(ww_get(ww, m, N * PAGE, WW_RESET, pages, &n, NULL),
			 -EBUSY);
	assert_int_equal(n, 8);
	assert_int_equal(ww_get_ranges(ww, m, N * PAGE, WW_RESET, runs, &n),
			 -EBUSY);
	fail_collect_at = -1;
	dirty[150] = true;
	test_expect(ww, m, N, WW_RESET, 1, 2, 65, 70, 150, -1);
	test_expect(ww, m, N, 0, -1);
	end(ww);
}

static void a_failing_reset_calls_it_all_dirty(void **state)
{
	struct ww *ww = begin();

	assert_int_equal(ww_watch(ww, m, 4 * PAGE, 0), 0);
	dirty[1] = true;
	fail_rearm = -ENOMEM;
	assert_int_equal(ww_reset(ww, m, 4 * PAGE, 0), -ENOMEM);
	fail_rearm = 0;
	test_expect(ww, m, 4, WW_RESET, 0, 1, 2, 3, -1);
	end(ww);
}

static void a_failing_watch_leaves_nothing(void **state)
{
	struct ww *ww = begin();
	int fd = memfd_create("x", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
	fail_attach = 1;
	assert_int_equal(ww_watch(ww, m, 4 * PAGE, 0), -ENOMEM);
	assert_int_equal(test_range_info(ww, m, NULL, NULL, NULL), -ENOENT);
	assert_int_equal(attached, 0);
	/* a kind that the backend does not take, in the middle */
	mmap(m + 4 * PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	assert_int_equal(ww_watch(ww, m, 8 * PAGE, 0), -EOPNOTSUPP);
	assert_int_equal(attached, 0);
	close(fd);
	end(ww);
}

static void ranges_that_touch_take_one_call(void **state)
{
	struct ww *ww = begin();
	int i;

	for (i = 0; i < N; i++)
		assert_int_equal(ww_watch(ww, m + (size_t)i * PAGE, PAGE, 0),
				 0);
	dirty[3] = dirty[4] = dirty[150] = true;
	collects = 0;
	assert_int_equal(test_count(ww, m, N, 0), 3);
	assert_int_equal(collects, (N + WW_PIN_MAX - 1) / WW_PIN_MAX);
	/* not across what is not ours */
	assert_int_equal(ww_unwatch(ww, m + 10 * PAGE, PAGE, 0), 0);
	collects = 0;
	assert_int_equal(test_count(ww, m, N, WW_WINDOW), 3);
	assert_true(collects > (N + WW_PIN_MAX - 1) / WW_PIN_MAX);
	end(ww);
}

static void the_text_of_maps_says_the_same(void **state)
{
	struct ww_maps by_query = { .fd = WW_FD_NONE };
	struct ww_maps by_text = { .fd = WW_FD_NONE };
	struct ww_maps_walk a, b;
	struct ww_map x, y;
	int r, n = 0;

	no_query = false;
	assert_int_equal(ww_maps_open(&by_query, NULL), 0);
	no_query = true;
	assert_int_equal(ww_maps_open(&by_text, NULL), 0);
	no_query = false;
	assert_true(by_text.text);
	if (!by_query.text) {
		assert_int_equal(ww_maps_begin(&a, &by_query, 0), 0);
		assert_int_equal(ww_maps_begin(&b, &by_text, 0), 0);
		while ((r = ww_maps_next(&b, &y)) == 1) {
			/* vsyscall: the kernel's; programs of 32 bits have
			 * memory of their own in the upper half */
			if (y.start > UINTPTR_MAX - (16u << 20))
				continue;
			assert_int_equal(ww_maps_next(&a, &x), 1);
			assert_int_equal(x.start, y.start);
			assert_int_equal(x.end, y.end);
			assert_int_equal(x.prot, y.prot);
			assert_int_equal(x.kind, y.kind);
			assert_int_equal(x.huge, y.huge);
			n++;
		}
		assert_int_equal(r, 0);
		assert_true(n > 5);
		ww_maps_end(&a);
		ww_maps_end(&b);
	}
	ww_maps_close(&by_query);
	ww_maps_close(&by_text);
}

static void old_kernels_do_not_read_maps_for_each_range(void **state)
{
	struct ww *ww;
	char *shared;
	int i;

	no_query = true;
	ww = begin();
	for (i = 0; i < N; i++)
		assert_int_equal(ww_watch(ww, m + (size_t)i * PAGE, PAGE, 0),
				 0);
	/* by naming the memory; or not at all, where the kernel can not */
	if (ww_maps_is_anon(&ww->maps, (uintptr_t)m, (uintptr_t)m + PAGE))
		assert_true(atomic_load(&ww->maps.walks) < 70);
	/* which takes a name as well, since 6.2 */
	shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_false(ww_maps_is_anon(&ww->maps, (uintptr_t)shared,
				     (uintptr_t)shared + PAGE));
	munmap(shared, PAGE);
	assert_int_equal(ww_unwatch(ww, m, N * PAGE, 0), 0);
	munmap(m + 5 * PAGE, PAGE);
	assert_int_equal(ww_watch(ww, m, 10 * PAGE, 0), -EFAULT);
	ww_close(ww);
	no_query = false;
	munmap(m - PAGE, 6 * PAGE);
	munmap(m + 6 * PAGE, (N - 5) * PAGE);
}

static bool refused(const char *version)
{
	const struct ww_backend *b = &ww_backend_uffd_async;
	unsigned caps = b->caps;
	const char *reason = "";
	char *scratch = test_map(WW_SCRATCH_PAGES);
	bool known;

	snprintf(release, sizeof(release), "%s", version);
	known = b->probe(NULL, scratch, &reason, &caps) == -EOPNOTSUPP &&
		strstr(reason, "CVE-2024-36943");
	release[0] = '\0';
	test_unmap(scratch, WW_SCRATCH_PAGES);
	return known;
}

/* (6.7.0 to 6.8.9; not where a distribution names its upstream) */
static void kernels_that_lose_data_are_refused(void **state)
{
	if (access("/proc/version_signature", F_OK) == 0)
		return;
	assert_true(refused("6.7.0"));
	assert_true(refused("6.7.12-amd64"));
	assert_true(refused("6.8.0"));
	assert_true(refused("6.8.9-1-custom"));
	assert_false(refused("6.8.10"));
	assert_false(refused("6.6.99"));
	assert_false(refused("6.12.1"));
	assert_false(refused("5.7.3"));
	setenv("WRITEWATCH_TRUST_KERNEL", "1", 1);
	assert_false(refused("6.8.0"));
	setenv("WRITEWATCH_TRUST_KERNEL", "0", 1);
	assert_true(refused("6.8.0"));
	unsetenv("WRITEWATCH_TRUST_KERNEL");
}

/* It would wipe the bits that others in this process live by. */
static void probing_clears_no_bit_of_this_process(void **state)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	unsigned i;

	soft_dirty = true;
	for (i = 0; ww_probe(i, &info) == 0; i++)
		;
	soft_dirty = false;
	assert_int_equal(atomic_load(&clears), 0);
}

/* --- what is protected, by entries and by a scan --- */

static int state_of[N];

static int note_state(void *arg, int state, uintptr_t start, uintptr_t end)
{
	for (; start < end; start += PAGE)
		state_of[(start - (uintptr_t)m) / PAGE] = state;
	return 0;
}

static void read_states(const struct ww_fd *pagemap, enum ww_wp_by by)
{
	memset(state_of, 0, sizeof(state_of));
	assert_int_equal(ww_pagemap_each_unprotected(pagemap, by, (uintptr_t)m,
						     (uintptr_t)m + N * PAGE,
						     note_state, NULL),
			 0);
}

/* One page for each way: written, read, protected, swapped out, guarded, unmapped. */
static void make_page(const struct ww_fd *uffd, char *page, unsigned how)
{
	uintptr_t at = (uintptr_t)page;

	if (how & 1)
		page[0] = 1;
	else if (how & 2)
		(void)*(volatile char *)page;
	if (how & 4)
		ww_uffd_protect(uffd, at, at + PAGE);
	if (how & 8)
		madvise(page, PAGE, 21 /* MADV_PAGEOUT, Linux 5.4 */);
	if ((how & 48) == 48)
		madvise(page, PAGE, 102 /* MADV_GUARD_INSTALL, Linux 6.13 */);
	if ((how & 112) == 80)
		munmap(page, PAGE);
}

static void a_scan_says_what_the_entries_say(void **state)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					      UFFD_FEATURE_WP_UNPOPULATED };
	struct ww_fd uffd, pagemap;
	const char *reason;
	int kept[N], i, by;

	for (i = 0; ww_probe((unsigned)i, &info) == 0; i++)
		;
	by = atomic_load(&ww_sync_reads);
	if (by == WW_WP_BY_ENTRIES)
		return test_not_promised("the kernel's scan does not tell");
	assert_int_equal(ww_uffd_open(&uffd, NULL, NULL, &reason), 0);
	assert_int_equal(ioctl(uffd.fd, UFFDIO_API, &api), 0);
	assert_int_equal(ww_pagemap_open(&pagemap, NULL, NULL, &reason), 0);
	m = test_map(N);
	madvise(m, N * PAGE, MADV_NOHUGEPAGE);
	assert_int_equal(
		ww_uffd_register(&uffd, (uintptr_t)m, (uintptr_t)m + N * PAGE),
		0);
	for (i = 0; i < N; i++)
		make_page(&uffd, m + (size_t)i * PAGE, (unsigned)i);
	read_states(&pagemap, WW_WP_BY_ENTRIES);
	memcpy(kept, state_of, sizeof(kept));
	read_states(&pagemap, (enum ww_wp_by)by);
	assert_memory_equal(state_of, kept, sizeof(kept));
	ww_fd_finish(&pagemap);
	ww_fd_finish(&uffd);
	test_unmap(m, N);
}

/* --- turns --- */

#define SOMEBODY 0x7ffffffu /* no thread of ours */

static double since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - t->tv_sec) +
	       (double)(now.tv_nsec - t->tv_nsec) * 1e-9;
}

/* After eight openings in a row a reset waits 6.4 ms for the writer; a machine that
 * stops us in between takes a part of that, so the most of ten tries counts. */
static int waits_of_ten(uintptr_t page, uintptr_t start, uintptr_t end)
{
	int i, k, waited = 0;

	for (k = 0; k < 10; k++) {
		struct ww_turns turns = { 0 };
		struct timespec t;

		for (i = 0; i < 8; i++)
			ww_turns_opened(&turns, page, SOMEBODY);
		clock_gettime(CLOCK_MONOTONIC, &t);
		ww_turns_wait(&turns, start, end);
		waited += since(&t) > 0.003;
	}
	return waited;
}

static void a_reset_waits_for_a_writer_that_comes_again(void **state)
{
	const uintptr_t page = 0x70000000;

	assert_true(waits_of_ten(page, page, page + PAGE) >= 5);
	assert_true(waits_of_ten(page, page - 9 * PAGE, page + PAGE) >= 5);
	assert_true(waits_of_ten(page, page, page + 999 * PAGE) >= 5);
	assert_true(waits_of_ten(page, 0, UINTPTR_MAX) >= 5);
	assert_true(waits_of_ten(page, page - 9 * PAGE, page) < 10);
	assert_true(waits_of_ten(page, page + PAGE, UINTPTR_MAX) < 10);
}

static unsigned times_of(const struct ww_turns *turns)
{
	unsigned times = 0;
	int i;

	for (i = 0; i < (int)WW_TURNS; i++)
		times += atomic_load(&turns->turn[i].times);
	return times;
}

/* A page that was closed at once after its opening: its writer may have waited for a
 * processor, so what comes some ms later is in a row. */
static void a_writer_that_waits_for_a_processor_is_in_a_row(void **state)
{
	const uintptr_t page = 0x70000000;
	const struct timespec later = { 0, 3000000 };
	int k, counted = 0;

	for (k = 0; k < 10; k++) {
		struct ww_turns turns = { 0 };

		ww_turns_opened(&turns, page, SOMEBODY);
		ww_turns_wait(&turns, page, page + PAGE);
		nanosleep(&later, NULL);
		ww_turns_opened(&turns, page, SOMEBODY);
		counted += times_of(&turns) == 2;
	}
	assert_true(counted >= 5);
}

/* Who resets what it wrote itself is seldom counted as the same one, which costs a
 * system call; but a writer that starves then is. */
static void what_its_writer_resets_is_seldom_in_a_row(void **state)
{
	const uintptr_t page = 0x70000000;
	struct ww_turns turns = { 0 };
	int k, counted = 0;

	for (k = 0; k < 100; k++) {
		ww_turns_opened(&turns, page, 0);
		counted += times_of(&turns) > 1;
		ww_turns_wait(&turns, page - PAGE, page + PAGE);
	}
	print_message("  counted %d of 100 openings\n", counted);
	assert_true(counted > 0 && counted <= 30);
	for (k = 0; k < 16; k++)
		ww_turns_opened(&turns, page, 0);
	assert_true(times_of(&turns) >= 8);
}

/* A writer whose page is opened eight times in a row. */
enum then { ENDS, SPINS, SLEPT_BEFORE };

struct writer {
	struct ww_turns turns;
	enum then then;
	atomic_bool opened, quit;
};

static void *open_eight_times(void *arg)
{
	const struct timespec moment = { 0, 50000 };
	struct writer *w = arg;
	int i;

	for (i = 0; i < 8; i++) {
		if (i == 7 && w->then == SLEPT_BEFORE)
			nanosleep(&moment, NULL);
		ww_turns_opened(&w->turns, 0x70000000, 0);
	}
	if (w->then == ENDS)
		return NULL;
	atomic_store(&w->opened, true);
	while (!atomic_load(&w->quit))
		;
	return NULL;
}

/* How long a reset waits; the least of ten tries. */
static double wait_for(enum then then)
{
	double least = 1;
	int k;

	for (k = 0; k < 10; k++) {
		struct writer w = { .then = then };
		struct timespec begin;
		pthread_t t;

		pthread_create(&t, NULL, open_eight_times, &w);
		if (then == ENDS)
			pthread_join(t, NULL);
		else
			while (!atomic_load(&w.opened))
				sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &begin);
		ww_turns_wait(&w.turns, 0x70000000, 0x70000000 + PAGE);
		least = since(&begin) < least ? since(&begin) : least;
		atomic_store(&w.quit, true);
		if (then != ENDS)
			pthread_join(t, NULL);
	}
	return least;
}

/* The long wait is for writers that could not run, and for no other. */
static void a_reset_does_not_wait_for_a_writer_that_ran(void **state)
{
	double ends = wait_for(ENDS), spins = wait_for(SPINS);
	double slept = wait_for(SLEPT_BEFORE);

	print_message("  the least waits: %.2f %.2f %.2f ms\n", ends * 1e3,
		      spins * 1e3, slept * 1e3);
	assert_true(ends < 0.003 && spins < 0.006 && slept < 0.003);
}

/* The first: some things are probed once in a process. */
TEST_MAIN("core", CASE(probing_clears_no_bit_of_this_process),
	  CASE(a_reset_waits_for_a_writer_that_comes_again),
	  CASE(a_writer_that_waits_for_a_processor_is_in_a_row),
	  CASE(what_its_writer_resets_is_seldom_in_a_row),
	  CASE(a_reset_does_not_wait_for_a_writer_that_ran),
	  CASE(kernels_that_lose_data_are_refused),
	  CASE(what_was_re_armed_and_does_not_fit_is_pending),
	  CASE(a_failing_query_gives_back_what_it_took),
	  CASE(a_failing_reset_calls_it_all_dirty),
	  CASE(a_failing_watch_leaves_nothing),
	  CASE(ranges_that_touch_take_one_call),
	  CASE(the_text_of_maps_says_the_same),
	  CASE(old_kernels_do_not_read_maps_for_each_range),
	  CASE(a_scan_says_what_the_entries_say))
