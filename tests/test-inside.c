/* SPDX-License-Identifier: MIT */
/*
 * test-inside.c - a signal handler forks without pthread_atfork() handlers, as
 * _Fork() does, at the last instant before each call of the kernel in a query and
 * right behind it, and behind each look at which process this is: linked with
 * --wrap=ww_sys_ioctl,--wrap=ww_fork_generation,--wrap=ww_bits_next. The child is
 * first with the rest of the query; neither it nor the parent may miss a page. And what
 * another thread may do in the middle: unwatch a range, and give it to another tracker;
 * discard pages, or reset some that are being discarded (--wrap=ww_sys_madvise); store
 * to pages, or mark them, between two steps of a query.
 */
#include "test.h"

#include <signal.h>
#include <sys/syscall.h>

#include "core/range.h"
#include "kernel/uapi/procfs.h"
#include "kernel/uapi/userfaultfd.h"

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
/* Called once, not a fork: around a scan, which is outside of all locks, and around a
 * drop. No assertion may jump out of them. */
static void (*instead)(void), (*behind)(void);
static void (*before_drop)(void), (*behind_drop)(void);
static void (*before_take)(void);
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

static void run_hook(void (**hook)(void))
{
	void (*fn)(void) = *hook;

	*hook = NULL;
	if (fn)
		fn();
}

bool __wrap_ww_bits_next(struct ww_bits *self, size_t first, size_t end,
			 size_t max, bool take, size_t *run, size_t *run_end)
{
	if (take)
		run_hook(&before_take);
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
		run_hook(&instead);
	ioctls++;
	fork_here();
	r = __real_ww_sys_ioctl(fd, request, arg);
	fork_here();
	if (request == PAGEMAP_SCAN)
		run_hook(&behind);
	return r;
}

int __real_ww_sys_madvise(uintptr_t start, size_t len, int advice);
int __wrap_ww_sys_madvise(uintptr_t start, size_t len, int advice);

int __wrap_ww_sys_madvise(uintptr_t start, size_t len, int advice)
{
	int r;

	if (advice == MADV_DONTNEED)
		run_hook(&before_drop);
	r = __real_ww_sys_madvise(start, len, advice);
	if (advice == MADV_DONTNEED)
		run_hook(&behind_drop);
	return r;
}

/* Behind these: a hold that counts already, a slice that is pinned, a new table. */
static void (*behind_hold)(void), (*behind_pin)(void), (*behind_publish)(void);

void __real_ww_area_hold(struct ww_area *a, uintptr_t start, uintptr_t end);
void __wrap_ww_area_hold(struct ww_area *a, uintptr_t start, uintptr_t end);
bool __real_ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
			      struct ww_slice *out, struct ww_ticket *ticket);
bool __wrap_ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
			      struct ww_slice *out, struct ww_ticket *ticket);
void __real_ww_ranges_publish(struct ww_ranges *self, struct ww_table *t);
void __wrap_ww_ranges_publish(struct ww_ranges *self, struct ww_table *t);

void __wrap_ww_area_hold(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	__real_ww_area_hold(a, start, end);
	run_hook(&behind_hold);
}

bool __wrap_ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
			      struct ww_slice *out, struct ww_ticket *ticket)
{
	bool found = __real_ww_ranges_pin_one(self, at, out, ticket);

	run_hook(&behind_pin);
	return found;
}

void __wrap_ww_ranges_publish(struct ww_ranges *self, struct ww_table *t)
{
	__real_ww_ranges_publish(self, t);
	run_hook(&behind_publish);
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

static void discard_all(void)
{
	CHECK(ww_discard(f.ww, f.m, N * PAGE, 0) == 0);
}

/* Nor is it found when it is read. */
static void what_is_discarded_behind_a_scan_does_not_exist(void **state)
{
	unsigned caps;
	size_t i, got;
	int how;

	for (how = 0; how < 2; how++) {
		f = test_begin(N, 0);
		test_write(f.m, 1, 2, 9, -1);
		behind = discard_all;
		if (how == 0)
			assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
		else
			test_count(f.ww, f.m, N, WW_RESET);
		behind = NULL; /* other backends may make no such call */
		test_count(f.ww, f.m, N, WW_RESET);
		for (i = 0; i < N; i++)
			(void)*(volatile char *)(f.m + i * PAGE);
		got = test_count(f.ww, f.m, N, WW_RESET);
		assert_int_equal(test_range_info(f.ww, f.m, NULL, &caps, NULL),
				 0);
		if (caps & WW_CAP_EXACT)
			assert_int_equal(got, 0);
		test_end(f);
	}
}

static int other_uffd;
static bool given_away;

/* Another part of the program watches the memory itself, by a userfaultfd. */
static void give_away(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_range all = { (uintptr_t)f.m, N * PAGE };
	struct uffdio_register reg = { all, UFFDIO_REGISTER_MODE_WP, 0 };
	struct uffdio_writeprotect wp = { all, UFFDIO_WRITEPROTECT_MODE_WP };

	CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
	other_uffd = (int)syscall(SYS_userfaultfd, 1 | O_CLOEXEC | O_NONBLOCK);
	given_away = ioctl(other_uffd, UFFDIO_API, &api) == 0 &&
		     ioctl(other_uffd, UFFDIO_REGISTER, &reg) == 0 &&
		     ioctl(other_uffd, UFFDIO_WRITEPROTECT, &wp) == 0;
}

static void discard_and_give_away(void)
{
	CHECK(ww_discard(f.ww, f.m + 8 * PAGE, PAGE, 0) == 0);
	behind = give_away;
}

/* What a query re-armed where pages were discarded is undone, but not on memory that
 * is not watched any more: the kernel does not ask whose it is. */
static void nothing_is_opened_that_was_given_away(void **state)
{
	uint64_t entry = 0;
	int pagemap;

	f = test_begin(N, 0);
	memset(f.m, 1, N * PAGE);
	test_count(f.ww, f.m, N, WW_RESET);
	test_write(f.m, 9, -1);
	given_away = false;
	if (test_is_backend("uffd-async")) {
		instead = discard_and_give_away;
		test_count(f.ww, f.m, N, WW_RESET);
	}
	if (given_away) {
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		assert_int_equal(pread(pagemap, &entry, sizeof(entry),
				       (off_t)((uintptr_t)(f.m + 9 * PAGE) /
					       PAGE * sizeof(entry))),
				 sizeof(entry));
		assert_true(entry & PM_UFFD_WP);
		close(pagemap);
		close(other_uffd);
	} else {
		test_not_promised("a userfaultfd of another owner");
	}
	test_end(f);
}

static struct ww *other;

/* Another tracker watches the memory, and page 5 is written after that. */
static void give_to_another_tracker(void)
{
	CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
	CHECK(ww_watch(other, f.m, N * PAGE, 0) == 0);
	test_write(f.m, 5, -1);
}

/* The kernel does not ask whose memory it re-arms. */
static void a_late_reset_hides_nothing_from_another_tracker(void **state)
{
	void *pages[N];
	size_t n, i;
	int how;

	for (how = 0; how < 2; how++) {
		f = test_begin(N, 0);
		assert_int_equal(ww_open(&other, NULL), 0);
		memset(f.m, 1, N * PAGE);
		test_count(f.ww, f.m, N, WW_RESET);
		test_write(f.m, 5, -1);
		instead = give_to_another_tracker;
		n = N;
		if (how == 0)
			ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL);
		else
			ww_reset(f.ww, f.m, N * PAGE, 0);
		run_hook(&instead); /* if nothing was scanned */
		n = N;
		assert_int_equal(ww_get(other, f.m, N * PAGE, WW_RESET, pages, &n,
					NULL),
				 0);
		for (i = 0; i < n && pages[i] != f.m + 5 * PAGE;)
			i++;
		assert_true(i < n);
		ww_close(other);
		test_end(f);
	}
}

/* The other tracker watches pages 4 and up, and page 5 is written. */
static void *give_pages(void *arg)
{
	CHECK(ww_unwatch(f.ww, f.m + 4 * PAGE, (N - 4) * PAGE, 0) == 0);
	CHECK(ww_watch(other, f.m + 4 * PAGE, (N - 4) * PAGE, 0) == 0);
	return NULL;
}

static void give_pages_in_a_thread(void)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, give_pages, NULL) == 0);
	pthread_join(t, NULL);
}

static void begin_two(unsigned flags)
{
	f = test_begin(N, flags);
	assert_int_equal(ww_open(&other, NULL), 0);
	memset(f.m, 1, N * PAGE);
	test_count(f.ww, f.m, N, WW_RESET);
}

/* What is stored to page 5 from now on belongs to the other one. */
static void page_5_is_the_other_s(void)
{
	void *page;
	size_t n = 1;

	test_write(f.m, 5, -1);
	assert_int_equal(ww_get(other, f.m + 5 * PAGE, PAGE, WW_RESET, &page, &n,
				NULL),
			 0);
	assert_int_equal(n, 1);
	ww_close(other);
	test_end(f);
}

static void give_pages_now(void)
{
	give_pages(NULL);
}

static void a_late_hold_opens_nothing_of_another_tracker(void **state)
{
	begin_two(0);
	behind_hold = give_pages_now;
	ww_hold(f.ww, f.m + 5 * PAGE, PAGE, 0);
	assert_null(behind_hold);
	page_5_is_the_other_s();
}

/* A store to page 3 opens its neighbours, too. */
static void a_late_fault_opens_nothing_of_another_tracker(void **state)
{
	begin_two(WW_WATCH_COARSE_OK);
	if (test_is_backend("mprotect"))
		behind_pin = give_pages_in_a_thread;
	test_write(f.m, 3, -1);
	if (!test_is_backend("mprotect"))
		give_pages(NULL);
	assert_null(behind_pin);
	page_5_is_the_other_s();
}

static void it_is_busy(void)
{
	CHECK(ww_watch(other, f.m, N * PAGE, 0) == -EBUSY);
}

static void memory_is_taken_until_it_is_let_go(void **state)
{
	begin_two(0);
	behind_publish = it_is_busy;
	ww_close(f.ww);
	assert_null(behind_publish);
	assert_int_equal(ww_watch(other, f.m, N * PAGE, 0), 0);
	f.ww = other;
	EXPECT_DIRTY(f, NO_PAGES);
	test_write(f.m, 3, -1);
	EXPECT_DIRTY(f, PAGES(3));
	test_end(f);
}

static void watch_anew(void)
{
	CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	test_write(f.m, 5, 6, -1);
}

/* The query's array is full of what was marked. */
static void what_is_watched_anew_beside_a_reset_is_told(void **state)
{
	void *pages[N];
	size_t n = 2, i, told = 0;

	f = test_begin(N, 0);
	memset(f.m, 1, N * PAGE);
	test_count(f.ww, f.m, N, WW_RESET);
	test_write(f.m, 9, -1);
	assert_int_equal(ww_mark(f.ww, f.m, 2 * PAGE, 0), 0);
	instead = watch_anew;
	ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL);
	run_hook(&instead); /* if nothing was scanned */
	for (i = 0; i < n; i++)
		told += pages[i] == f.m + 5 * PAGE || pages[i] == f.m + 6 * PAGE;
	n = N;
	assert_int_equal(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL),
			 0);
	for (i = 0; i < n; i++)
		told += pages[i] == f.m + 5 * PAGE || pages[i] == f.m + 6 * PAGE;
	assert_true(told >= 2);
	test_end(f);
}

/* --- pages that are being discarded --- */

static void store_and_reset(void)
{
	test_write(f.m, 1, 2, 9, -1);
	CHECK(test_count(f.ww, f.m, N, WW_RESET) >= 3);
}

static size_t exactly(size_t got)
{
	unsigned caps;

	assert_int_equal(test_range_info(f.ww, f.m, NULL, &caps, NULL), 0);
	return caps & WW_CAP_EXACT ? got : 0;
}

static void store_all_and_reset(void)
{
	memset(f.m, 2, N * PAGE);
	CHECK(test_count(f.ww, f.m, N, WW_RESET) == N);
}

static void nothing_is_told_of_what_was_dropped(void)
{
	size_t i;

	CHECK(exactly(test_count(f.ww, f.m, N, WW_RESET)) == 0);
	for (i = 0; i < N; i++)
		(void)*(volatile char *)(f.m + i * PAGE);
	CHECK(exactly(test_count(f.ww, f.m, N, WW_RESET)) == 0);
}

/* What is stored while pages are about to be dropped is told once: not in the middle of
 * ww_discard(), and not behind it. */
static void what_is_told_before_a_drop_is_not_told_again(void **state)
{
	f = test_begin(N, 0);
	if (!PROMISED(f.ww, WW_CAP_EXACT)) {
		test_end(f);
		return;
	}
	before_drop = store_all_and_reset;
	behind_drop = nothing_is_told_of_what_was_dropped;
	discard_all();
	assert_null(behind_drop);
	nothing_is_told_of_what_was_dropped();
	test_end(f);
}

static void discard_the_rest(void)
{
	CHECK(ww_discard(f.ww, f.m + 32 * PAGE, 8 * PAGE, 0) == 0);
}

static void child_is_told_of_wiped_pages(void *arg)
{
	void *pages[N];
	size_t n = N, i, told = 0;

	CHECK(f.m[PAGE] == 0);
	CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) == 0);
	for (i = 0; i < n; i++)
		told += pages[i] == f.m + PAGE || pages[i] == f.m + 2 * PAGE ||
			pages[i] == f.m + 9 * PAGE;
	CHECK(told == 3);
}

/* Pages that were reset, and about which a query beside a discard knows nothing. */
static void a_wipe_is_told_whatever_is_discarded(void **state)
{
	int how;

	for (how = 0; how < 3; how++) {
		f = test_begin(N, 0);
		assert_int_equal(madvise(f.m, N * PAGE, 18 /* MADV_WIPEONFORK */),
				 0);
		if (how < 2) {
			test_write(f.m, 1, 2, 9, -1);
			if (test_is_backend("uffd-async"))
				behind = discard_the_rest;
		}
		if (how == 0)
			assert_int_equal(ww_reset(f.ww, f.m, 16 * PAGE, 0), 0);
		else if (how == 1)
			test_count(f.ww, f.m, 16, WW_RESET);
		behind = NULL;
		if (how == 2 && test_is_backend("uffd-async")) {
			behind_drop = store_and_reset;
			discard_all();
		}
		if (how < 2 || test_is_backend("uffd-async"))
			assert_int_equal(
				test_child(child_is_told_of_wiped_pages, NULL),
				0);
		test_end(f);
	}
}

static void fork_and_mark_first(void)
{
	void *pages[N];
	size_t n = N, i, told = 0;
	pid_t pid = test_bare_fork();
	int status;

	if (pid == 0) {
		CHECK(ww_mark(f.ww, f.m + 40 * PAGE, 1, 0) == 0);
		CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		for (i = 0; i < n; i++)
			told += pages[i] == f.m + PAGE;
		_exit(told != 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	children_failed += status != 0;
}

/* The parent's query has reset the page, and not noted it yet. */
static void a_wipe_is_told_whatever_the_child_does_first(void **state)
{
	f = test_begin(N, 0);
	assert_int_equal(madvise(f.m, N * PAGE, 18 /* MADV_WIPEONFORK */), 0);
	test_write(f.m, 1, -1);
	children_failed = 0;
	if (test_is_backend("uffd-async"))
		behind = fork_and_mark_first;
	assert_true(test_count(f.ww, f.m, N, WW_RESET) >= 1);
	assert_null(behind);
	assert_int_equal(children_failed, 0);
	test_end(f);
}

static void hot_child(void *arg)
{
	assert_true(test_count(f.ww, f.m, N, WW_RESET) >= 1);
}

/* Pages that are left open because they are hot are noted, too. */
static void a_wipe_of_hot_pages_is_told(void **state)
{
	int i;

	f = test_begin(N, WW_WATCH_HOT_OK);
	assert_int_equal(madvise(f.m, N * PAGE, 18 /* MADV_WIPEONFORK */), 0);
	for (i = 0; i < 12; i++) {
		test_write(f.m, 5, -1);
		test_count(f.ww, f.m, N, WW_RESET);
	}
	discard_all();
	test_write(f.m, 5, -1);
	assert_true(test_count(f.ww, f.m, N, WW_RESET) >= 1);
	assert_int_equal(test_child(hot_child, NULL), 0);
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
static void a_mark_below_a_run_takes_no_room_from_it(void **state)
{
	bool told[N] = { false };
	struct ww_range run;
	size_t n, i, round;

	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	test_write(f.m, 10, 11, 12, -1);
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
	test_end(f);
}

TEST_MAIN("inside", CASE(the_child_is_first),
	  CASE(a_child_asks_the_other_process_for_no_more),
	  CASE(a_mark_below_a_run_takes_no_room_from_it),
	  CASE(what_is_discarded_behind_a_scan_does_not_exist),
	  CASE(nothing_is_opened_that_was_given_away),
	  CASE(a_late_reset_hides_nothing_from_another_tracker),
	  CASE(what_is_told_before_a_drop_is_not_told_again),
	  CASE(a_late_hold_opens_nothing_of_another_tracker),
	  CASE(a_late_fault_opens_nothing_of_another_tracker),
	  CASE(memory_is_taken_until_it_is_let_go),
	  CASE(what_is_watched_anew_beside_a_reset_is_told),
	  CASE(a_wipe_is_told_whatever_is_discarded),
	  CASE(a_wipe_is_told_whatever_the_child_does_first),
	  CASE(a_wipe_of_hot_pages_is_told),
	  CASE(nothing_is_on_its_way_from_the_kernel),
	  CASE(a_short_query_looks_before_it_resets),
	  CASE(a_failing_reset_of_several_resets_none))
