/* SPDX-License-Identifier: MIT */
/*
 * test-inside.c - a signal handler forks without pthread_atfork() handlers, as
 * _Fork() does, at the last instant before each call of the kernel in a query and
 * right behind it, and behind each look at which process this is: linked with
 * --wrap=ww_sys_ioctl,--wrap=ww_fork_generation,--wrap=ww_bits_next. The child is
 * first with the rest of the query; neither it nor the parent may miss a page. And what
 * another thread may do between two steps of a query or reset: unwatch a range, store
 * to pages, or mark them. (test-late.c has what comes too late altogether.)
 */
#include "test.h"

#include <signal.h>
#include <sys/syscall.h>

#include "base/bits.h"
#include "kernel/uapi/procfs.h"

#define N 64

int __real_ww_sys_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg);
unsigned __real_ww_fork_generation(void);
unsigned __wrap_ww_fork_generation(void);

bool __real_ww_bits_next(struct ww_bits *self, size_t first, size_t end,
			 size_t max, bool take, size_t *run, size_t *run_end);
bool __wrap_ww_bits_next(struct ww_bits *self, size_t first, size_t end,
			 size_t max, bool take, size_t *run, size_t *run_end);

static struct test_fixture f;
static bool armed, in_child;
/* Called once, not a fork: around a scan, which is outside of all locks. No assertion
 * may jump out of them. */
static void (*instead)(void), (*behind)(void);
static void (*before_take)(void), (*before_look)(void);
static int forks, children_failed, ioctls;
static int strays; /* scans of a child outside of the memory */

/* Where signals are blocked no handler can fork. */
static bool a_handler_could_run(void)
{
	sigset_t blocked;

	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	return !sigismember(&blocked, SIGUSR1);
}

static void fork_here(void)
{
	pid_t pid;
	int status;

	if (!armed || in_child || !a_handler_could_run())
		return;
	forks++;
	pid = test_bare_fork();
	in_child = pid == 0;
	if (pid && (waitpid(pid, &status, 0) != pid || status))
		children_failed++;
}

unsigned __wrap_ww_fork_generation(void)
{
	unsigned generation = __real_ww_fork_generation();

	fork_here();
	return generation;
}

bool __wrap_ww_bits_next(struct ww_bits *self, size_t first, size_t end,
			 size_t max, bool take, size_t *run, size_t *run_end)
{
	test_run_hook(take ? &before_take : &before_look);
	return __real_ww_bits_next(self, first, end, max, take, run, run_end);
}

int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r;

	if (in_child && request == PAGEMAP_SCAN && arg &&
	    ((struct pm_scan_arg *)arg)->size &&
	    ((struct pm_scan_arg *)arg)->start < (uintptr_t)f.m)
		strays++;
	if (request == PAGEMAP_SCAN)
		test_run_hook(&instead);
	ioctls++;
	fork_here();
	r = __real_ww_sys_ioctl(fd, request, arg);
	fork_here();
	if (request == PAGEMAP_SCAN)
		test_run_hook(&behind);
	return r;
}

/* Whether every second page, which is written, is reported. */
static bool all_are_told(int how)
{
	struct ww_range ranges[N];
	void *pages[N];
	bool told[N] = { false };
	size_t i, n = N, end;
	int r = 0;

	if (how == 3) {
		r = ww_reset(f.ww, f.m, N * PAGE, 0);
		for (i = 0; i < N; i += 2)
			((volatile char *)f.m)[i * PAGE] = 1;
	}
	if (r == 0 && how != 2) {
		r = ww_get(f.ww, f.m, N * PAGE,
			   how == 1 ? WW_RESET | WW_WINDOW : WW_RESET, pages,
			   &n, NULL);
		for (i = 0; !r && i < n; i++)
			told[(size_t)((char *)pages[i] - f.m) / PAGE] = true;
	} else if (r == 0) {
		r = ww_get_ranges(f.ww, f.m, N * PAGE, WW_RESET, ranges, &n);
		for (i = 0; !r && i < n; i++) {
			size_t at =
				(size_t)((char *)ranges[i].start - f.m) / PAGE;

			for (end = at + ranges[i].len / PAGE; at < end; at++)
				told[at] = true;
		}
	}
	for (i = 0; i < N; i += 2)
		if (!told[i])
			return false;
	return r == 0;
}

static void the_child_is_first(void **state)
{
	bool told;
	size_t i;
	int how;

	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	for (how = 0; how < 4; how++) {
		for (i = 0; i < N; i += 2)
			((volatile char *)f.m)[i * PAGE] = 1;
		forks = 0;
		armed = true;
		told = all_are_told(how);
		armed = false;
		if (in_child)
			_exit(!told);
		assert_true(told);
		assert_int_equal(children_failed, 0);
		assert_true(forks > 2);
	}
	test_end(f);
}

static void unwatch_the_last(void)
{
	assert_int_equal(ww_unwatch(f.ww, f.m + 9 * PAGE, PAGE, 0), 0);
}

/* As another thread may do; what was reset before is dirty again. (Other backends
 * make no ioctl in a reset, or make it where ww_unwatch() would wait for it.) */
static void a_failing_reset_of_several_resets_none(void **state)
{
	struct ww_range ranges[3];

	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
	if (!test_is_backend("uffd-async")) {
		test_not_promised("a reset that can be interrupted");
	} else {
		assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
		test_write(f.m, 1, 5, 9, 12, -1);
		ranges[0] = (struct ww_range){ f.m + PAGE, PAGE };
		ranges[1] = (struct ww_range){ f.m + 5 * PAGE, PAGE };
		ranges[2] = (struct ww_range){ f.m + 9 * PAGE, PAGE };
		instead = unwatch_the_last;
		assert_int_equal(ww_reset_ranges(f.ww, ranges, 3, 0), -ENOENT);
		test_expect(f.ww, f.m, 9, 0, 1, 5, -1);
		assert_int_equal(ww_watch(f.ww, f.m + 9 * PAGE, PAGE, 0), 0);
		EXPECT_DIRTY(f, PAGES(1, 5, 12));
	}
	test_end(f);
}

/* --- queries of several steps --- */

static void look_for_5_and_6(void)
{
	void *pages[N];
	size_t n = N, i, told = 0;

	CHECK(ww_get(f.ww, f.m, N * PAGE, 0, pages, &n, NULL) == 0);
	for (i = 0; i < n; i++)
		told += pages[i] == f.m + 5 * PAGE || pages[i] == f.m + 6 * PAGE;
	CHECK(told == 2);
}

/* Marks take the room: what does not fit is dirty all the time. */
static void nothing_is_on_its_way_from_the_kernel(void **state)
{
	void *pages[2];
	size_t n = 2;

	f = test_begin(N, 0);
	memset(f.m, 1, N * PAGE);
	test_count(f.ww, f.m, N, WW_RESET);
	test_write(f.m, 5, 6, -1);
	assert_int_equal(ww_mark(f.ww, f.m, 2 * PAGE, 0), 0);
	if (test_is_backend("uffd-async"))
		behind = look_for_5_and_6;
	assert_int_equal(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL),
			 0);
	behind = NULL;
	EXPECT_DIRTY(f, PAGES(5, 6));
	test_end(f);
}

#define MANY 2000
#define ROOM 600

static int missing[MANY]; /* in how many queries that were made in between */

static void look_behind_each(void)
{
	static struct ww_range ranges[MANY];
	size_t n = MANY, i, page = 0, end;

	CHECK(ww_get_ranges(f.ww, f.m, MANY * PAGE, 0, ranges, &n) == 0);
	for (i = 0; i < n; i++) {
		end = (size_t)((char *)ranges[i].start - f.m) / PAGE;
		while (page < end)
			missing[page++]++;
		page += ranges[i].len / PAGE;
	}
	while (page < MANY)
		missing[page++]++;
	behind = look_behind_each;
}

static void mark_1191(void)
{
	CHECK(ww_mark(f.ww, f.m + 1191 * PAGE, PAGE, 0) == 0);
}

/* A query that makes several scans is stopped behind each. What is marked before the first
 * takes no room of pages that a later one has re-armed. */
static void a_mark_between_two_scans_hides_nothing(void **state)
{
	static void *pages[ROOM];
	size_t n = ROOM, i;

	f = test_begin(MANY, 0);
	for (i = 0; i < MANY; i += 2)
		f.m[i * PAGE] = 1;
	if (test_is_backend("uffd-async")) {
		memset(missing, 0, sizeof(missing));
		instead = mark_1191;
		behind = look_behind_each;
		assert_int_equal(ww_get(f.ww, f.m, MANY * PAGE, WW_RESET, pages,
					&n, NULL),
				 0);
		behind = NULL;
		assert_int_equal(n, ROOM);
		assert_null(instead);
		for (i = 0; i < n; i++)
			missing[((char *)pages[i] - f.m) / (long)PAGE] = 0;
		for (i = 0; i < MANY; i += 2)
			assert_int_equal(missing[i], 0);
	} else {
		test_not_promised("a reset that can be interrupted");
	}
	test_end(f);
}

static void hold_and_reset_5(void)
{
	void *pages[N];
	size_t n = N;

	CHECK(ww_hold(f.ww, f.m + 5 * PAGE, PAGE, 0) == 0);
	CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) == 0);
	CHECK(n == 1);
}

/* Behind the look at what is held, and before the scan. */
static void a_page_that_is_held_and_reset_before_the_scan_is_told(void **state)
{
	f = test_begin(N, 0);
	test_write(f.m, 5, -1);
	if (test_is_backend("uffd-async")) {
		void *pages[N];
		size_t n = N;

		instead = hold_and_reset_5;
		assert_int_equal(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages,
					&n, NULL),
				 0);
		assert_int_equal(n, 1);
		assert_int_equal(ww_release(f.ww, f.m + 5 * PAGE, PAGE, 0), 0);
	} else {
		test_not_promised("a reset that can be interrupted");
	}
	test_end(f);
}

/* Page 1 is written, and a query of 16 pages finds it. (In a child, and where WW_CAP_EXACT
 * is not promised, it may find more.) */
static bool page_1_is_told(void)
{
	void *pages[16];
	size_t n = 16, i = 0;

	if (ww_get(f.ww, f.m, 16 * PAGE, WW_RESET, pages, &n, NULL) < 0)
		return false;
	while (i < n && pages[i] != f.m + PAGE)
		i++;
	return i < n;
}

static void store_now(void)
{
	test_write(f.m, 0, 1, 9, -1);
}

static void store_at_the_second(void)
{
	instead = store_now;
}

/* On uffd-async such a query, or reset, scans twice on x86, once it has seen that the
 * TLB was flushed for many pages of which one was dirty. */
static void a_short_query_looks_before_it_resets(void **state)
{
	bool async = test_is_backend("uffd-async");
	bool told, twice;

	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	test_write(f.m, 1, -1);
	assert_true(page_1_is_told());
	test_write(f.m, 1, -1);
	instead = store_at_the_second;
	ioctls = 0;
	assert_true(page_1_is_told());
	twice = async && ioctls == 2;
#if defined(__x86_64__) || defined(__i386__)
	assert_true(twice || !async);
#endif
	if (twice) {
		EXPECT_DIRTY(f, PAGES(0, 9));
		test_count(f.ww, f.m, N, WW_RESET);
		test_write(f.m, 1, -1);
		assert_int_equal(test_count(f.ww, f.m, 16, 0), 1);
		instead = store_at_the_second;
		assert_int_equal(ww_reset(f.ww, f.m, 16 * PAGE, 0), 0);
		EXPECT_DIRTY(f, PAGES(0, 9));
	} else {
		test_not_promised("a short query that looks first");
	}
	instead = NULL;
	test_count(f.ww, f.m, N, WW_RESET);
	test_write(f.m, 1, -1);
	assert_true(page_1_is_told());
	test_write(f.m, 1, -1);
	forks = 0;
	armed = true;
	told = page_1_is_told();
	armed = false;
	if (in_child)
		_exit(!told);
	assert_true(told);
	assert_int_equal(children_failed, 0);
	assert_true(forks > 0);
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

/* Another process's memory is asked for by the children, too (which of them is told
 * of a page is not promised): this one's, as if it were another. */
static void a_child_asks_the_other_process_for_no_more(void **state)
{
	struct ww_options o = {
		.size = sizeof(o),
		.flags = WW_OPEN_PIDFD | WW_OPEN_UFFD,
		.pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0),
		.uffd = (int)syscall(SYS_userfaultfd, 1 | O_CLOEXEC | O_NONBLOCK),
	};

	f = (struct test_fixture){ NULL, test_map(N), N };
	memset(f.m, 1, N * PAGE);
	if (!test_is_backend("uffd-async") ||
	    ww_open(&f.ww, &o) < 0) {
		test_not_promised("another process's memory");
		return;
	}
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	test_write(f.m, 1, -1);
	assert_true(page_1_is_told());
	test_write(f.m, 1, -1);
	forks = 0;
	armed = true;
	page_1_is_told();
	armed = false;
	if (in_child)
		_exit(strays);
	assert_int_equal(children_failed, 0);
	assert_true(forks > 0);
	test_end(f);
}

/* Page 10 is reset by another thread, and marked again. */
static void reset_and_mark_10(void)
{
	void *page;
	size_t n = 1;

	assert_int_equal(ww_get(f.ww, f.m + 10 * PAGE, PAGE, WW_RESET, &page,
				&n, NULL),
			 0);
	assert_int_equal(n, 1);
	assert_int_equal(ww_mark(f.ww, f.m + 10 * PAGE, 1, 0), 0);
}

/* An array with room for one run: what was dirty is in its answer or the next. */
static void reset_one_run_after_the_other(bool pending)
{
	bool told[N] = { false };
	struct ww_range run;
	size_t n, i, round;

	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	test_write(f.m, 10, 11, 12, -1);
	if (pending)
		assert_int_equal(ww_mark(f.ww, f.m + 40 * PAGE, 1, 0), 0);
	before_take = reset_and_mark_10;
	for (round = 0; round < 4; round++) {
		n = 1;
		assert_int_equal(ww_get_ranges(f.ww, f.m, N * PAGE, WW_RESET,
					       &run, &n),
				 0);
		for (i = 0; n && i < run.len / PAGE; i++)
			told[(size_t)((char *)run.start - f.m) / PAGE + i] =
				true;
	}
	before_take = NULL;
	assert_true(told[10] && told[11] && told[12]);
	assert_true(!pending || told[40]);
	test_end(f);
}

static void a_mark_below_a_run_takes_no_room_from_it(void **state)
{
	reset_one_run_after_the_other(false);
	reset_one_run_after_the_other(true);
}

/* Page 10, which was pending, is held, and then reset by another query. */
static void hold_and_reset_10(void)
{
	void *page;
	size_t n = 1;

	CHECK(ww_hold(f.ww, f.m + 10 * PAGE, 1, 0) == 0);
	CHECK(ww_get(f.ww, f.m + 10 * PAGE, PAGE, WW_RESET, &page, &n, NULL) ==
	      0);
	CHECK(n == 1);
}

/* It was dirty all the time. */
static void a_page_that_begins_to_be_held_is_told(void **state)
{
	void *pages[N];
	size_t n = N, i, told = 0;

	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	assert_int_equal(ww_mark(f.ww, f.m + 10 * PAGE, 1, 0), 0);
	test_write(f.m, 20, -1);
	before_look = hold_and_reset_10;
	assert_int_equal(ww_get(f.ww, f.m, N * PAGE, 0, pages, &n, NULL), 0);
	test_run_hook(&before_look); /* other backends may make no such call */
	for (i = 0; i < n; i++)
		told += pages[i] == f.m + 10 * PAGE ||
			pages[i] == f.m + 20 * PAGE;
	assert_int_equal(told, 2);
	test_end(f);
}

TEST_MAIN("inside", CASE(the_child_is_first),
	  CASE(a_child_asks_the_other_process_for_no_more),
	  CASE(a_mark_below_a_run_takes_no_room_from_it),
	  CASE(a_page_that_begins_to_be_held_is_told),
	  CASE(a_page_that_is_held_and_reset_before_the_scan_is_told),
	  CASE(a_mark_between_two_scans_hides_nothing),
	  CASE(nothing_is_on_its_way_from_the_kernel),
	  CASE(a_short_query_looks_before_it_resets),
	  CASE(a_failing_reset_of_several_resets_none))
