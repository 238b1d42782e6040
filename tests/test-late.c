/* SPDX-License-Identifier: MIT */
/*
 * test-late.c - calls that come late: their thread was stopped between its look at the
 * table, or at a page, and its call of the kernel, and meanwhile another one unwatched the
 * memory and gave it away, or discarded pages. Linked with --wrap, so that one thread
 * can do both.
 */
#include "test.h"

#include <sys/syscall.h>

#include "core/range.h"
#include "core/trackers.h"
#include "kernel/maps.h"
#include "kernel/uapi/procfs.h"
#include "kernel/uapi/userfaultfd.h"

#define N 64

static struct test_fixture f;
static int children_failed;

/* Called once: around a scan, which is outside of all locks, and around a drop. No
 * assertion may jump out of them. */
static void (*instead)(void), (*behind)(void);
static void (*before_drop)(void), (*behind_drop)(void);

int __real_ww_sys_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r;

	if (request == PAGEMAP_SCAN)
		test_run_hook(&instead);
	r = __real_ww_sys_ioctl(fd, request, arg);
	if (request == PAGEMAP_SCAN)
		test_run_hook(&behind);
	return r;
}

int __real_ww_sys_madvise(uintptr_t start, size_t len, int advice);
int __wrap_ww_sys_madvise(uintptr_t start, size_t len, int advice);

int __wrap_ww_sys_madvise(uintptr_t start, size_t len, int advice)
{
	int r;

	if (advice == MADV_DONTNEED)
		test_run_hook(&before_drop);
	r = __real_ww_sys_madvise(start, len, advice);
	if (advice == MADV_DONTNEED)
		test_run_hook(&behind_drop);
	return r;
}

int __real_ww_sys_mprotect(uintptr_t start, size_t len, int prot);
int __wrap_ww_sys_mprotect(uintptr_t start, size_t len, int prot);

static void (*behind_close)(void);

int __wrap_ww_sys_mprotect(uintptr_t start, size_t len, int prot)
{
	int r = __real_ww_sys_mprotect(start, len, prot);

	if (!(prot & PROT_WRITE))
		test_run_hook(&behind_close);
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
	test_run_hook(&behind_hold);
}

bool __wrap_ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
			      struct ww_slice *out, struct ww_ticket *ticket)
{
	bool found = __real_ww_ranges_pin_one(self, at, out, ticket);

	test_run_hook(&behind_pin);
	return found;
}

void __wrap_ww_ranges_publish(struct ww_ranges *self, struct ww_table *t)
{
	__real_ww_ranges_publish(self, t);
	test_run_hook(&behind_publish);
}

/* In the middle of ww_close(): the backend has given back what it had. */
static void (*in_close)(void);

void __real_ww_maps_close(struct ww_maps *self);
void __wrap_ww_maps_close(struct ww_maps *self);

void __wrap_ww_maps_close(struct ww_maps *self)
{
	test_run_hook(&in_close);
	__real_ww_maps_close(self);
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

static void store_to_5(void)
{
	test_write(f.m, 5, -1);
}

/* As it does where something is pending, which takes another way. */
static void what_is_stored_behind_a_close_is_told(void **state)
{
	int pending;

	if (!test_is_backend("mprotect")) {
		test_not_promised("pages that a query closes itself");
		return;
	}
	for (pending = 0; pending < 2; pending++) {
		f = test_begin(N, 0);
		test_write(f.m, 5, 9, -1);
		if (pending)
			assert_int_equal(ww_mark(f.ww, f.m + 40 * PAGE, 1, 0),
					 0);
		behind_close = store_to_5;
		test_count(f.ww, f.m, N, WW_RESET);
		assert_null(behind_close);
		test_expect(f.ww, f.m, N, WW_RESET, 5, -1);
		test_end(f);
	}
}

static bool is_asked;

static void ask(void)
{
	is_asked = true;
}

/* Not even of what the backend would do first: it is seen whether all is watched. */
static void a_query_that_fails_changes_nothing(void **state)
{
	void *pages[N];
	size_t n = N;

	f = test_begin(N, 0);
	assert_int_equal(ww_unwatch(f.ww, f.m + 9 * PAGE, PAGE, 0), 0);
	is_asked = false;
	behind_close = instead = ask;
	assert_int_equal(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL),
			 -ENOENT);
	assert_false(is_asked);
	behind_close = instead = NULL;
	test_end(f);
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
		test_run_hook(&instead); /* if nothing was scanned */
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
	test_run_hook(&instead); /* if nothing was scanned */
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
 * ww_discard(), and not behind it. (soft-dirty drops pages inside its gate, so a thread
 * that asks from there would wait for itself. It does not promise exactness.) */
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

static pthread_t forker;
static atomic_bool forked;

static bool count_tracker(struct ww *ww, void *n)
{
	++*(int *)n;
	return false;
}

static void exit_with_trackers(void *arg)
{
	int n = 0;

	ww_trackers_each(count_tracker, &n);
	_exit(n);
}

static void *fork_once(void *arg)
{
	children_failed += test_child(exit_with_trackers, NULL);
	atomic_store(&forked, true);
	return NULL;
}

/* For as long as a fork() takes that does not wait. */
static void fork_in_a_thread(void)
{
	const long end = test_now_ms() + 500;

	CHECK(pthread_create(&forker, NULL, fork_once, NULL) == 0);
	while (!atomic_load(&forked) && test_now_ms() < end)
		usleep(1000);
}

/* It would make anew what the backend has given back. */
static void a_child_finds_no_tracker_that_is_half_closed(void **state)
{
	struct ww *ww = test_open();

	children_failed = 0;
	in_close = fork_in_a_thread;
	ww_close(ww);
	assert_null(in_close);
	pthread_join(forker, NULL);
	assert_int_equal(children_failed, 0);
}

TEST_MAIN("late", CASE(a_child_finds_no_tracker_that_is_half_closed),
	  CASE(what_is_stored_behind_a_close_is_told),
	  CASE(a_query_that_fails_changes_nothing),
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
	  CASE(a_wipe_of_hot_pages_is_told))
