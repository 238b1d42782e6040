/* SPDX-License-Identifier: MIT */
/*
 * test-strangers.c - demands that strangers put on the library: memory that a
 * child has not, or finds wiped; a fork in the middle of a query; memory that is
 * replaced while others look; stores beside back-to-back resets; protection that
 * can not be had back.
 */
#include "test.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define N 16

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65 /* Linux 6.3 */
#endif
#ifndef SYS_mseal
#define SYS_mseal 462 /* Linux 6.10 */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static struct test_fixture f;

static void begin(void)
{
	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
}

static void watch(void)
{
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
}

/* --- whose memory is it? --- */

static void all_is_told(void *arg)
{
	_exit(test_count(f.ww, f.m, N, WW_RESET) == N &&
			      test_count(f.ww, f.m, N, WW_RESET) == 0
		      ? 0
		      : 1);
}

/* The content changed: a mirror that the child inherits would be wrong. */
static void wiped_memory_is_dirty_in_a_child(void **state)
{
	begin();
	watch();
	assert_int_equal(madvise(f.m, N * PAGE, MADV_WIPEONFORK), 0);
	test_count(f.ww, f.m, N, WW_RESET);
	assert_int_equal(test_child(all_is_told, NULL), 0);
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

/* A fork handler of the host's, older than the library's, that may touch the memory
 * in the child first. */
static void (*touch)(void);

static void touch_in_child(void)
{
	if (touch)
		touch();
}

__attribute__((constructor)) static void be_older(void)
{
	pthread_atfork(NULL, NULL, touch_in_child);
}

static void write_one(void)
{
	f.m[3 * PAGE] = 2;
}

static void read_one(void)
{
	(void)*(volatile char *)(f.m + 5 * PAGE);
}

static void write_every(void)
{
	memset(f.m, 2, N * PAGE);
}

static void (*const touches[])(void) = { NULL, write_one, read_one,
					 write_every };

static void wiped_memory_that_a_child_touched_is_dirty(void **state)
{
	size_t i;

	begin();
	watch();
	assert_int_equal(madvise(f.m, N * PAGE, MADV_WIPEONFORK), 0);
	test_count(f.ww, f.m, N, WW_RESET);
	for (i = 0; i < sizeof(touches) / sizeof(*touches); i++) {
		int status;
		pid_t pid;

		touch = touches[i];
		assert_int_equal(test_child(all_is_told, NULL), 0);
		pid = test_bare_fork();
		if (pid == 0) {
			touch_in_child();
			all_is_told(NULL);
		}
		touch = NULL;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

static void third_is_reported(void *arg)
{
	void *pages[N];
	size_t n = N, i;
	bool found = false;

	CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) == 0);
	for (i = 0; i < n; i++)
		found = found || pages[i] == f.m + 3 * PAGE;
	_exit(!found);
}

/* Of a page that was known, and is replaced or dropped before the parent has asked. */
static void what_was_replaced_before_a_fork_is_reported_in_the_child(void **state)
{
	int dropped;

	for (dropped = 0; dropped < 2; dropped++) {
		begin();
		watch();
		test_write(f.m, 3, -1);
		EXPECT_RESET(f, PAGES(3));
		if (dropped)
			madvise(f.m + 3 * PAGE, PAGE, MADV_DONTNEED);
		else
			assert_ptr_equal(mmap(f.m + 3 * PAGE, PAGE, RW,
					      MAP_PRIVATE | MAP_ANONYMOUS |
						      MAP_FIXED,
					      -1, 0),
					 f.m + 3 * PAGE);
		if (test_is_backend("uffd-async")) {
			assert_int_equal(test_child(third_is_reported, NULL),
					 0);
			assert_int_equal(
				test_bare_child(third_is_reported, NULL), 0);
		} else {
			test_not_promised("replaced memory in a child");
		}
		test_end(f);
	}
}

static void one_is_told(void *arg)
{
	_exit(test_count(f.ww, f.m, N, WW_RESET) == 1 ? 0 : 1);
}

/* Memory that is not wiped. (Not page 7: mprotect's first look at the memory reads
 * page 0, which then exists.) */
static void a_child_that_has_one_page_reports_one(void **state)
{
	f = (struct test_fixture){ test_open(), test_map(N), N };
	f.m[0] = 1;
	watch();
	assert_int_equal(test_child(one_is_told, NULL), 0);
	test_end(f);
}

static void is_not_ours(void *arg)
{
	struct ww_range_info info = { .size = sizeof(info) };
	void *pages[N];
	size_t n = N;
	char *p = mmap(f.m, N * PAGE, RW,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	CHECK(p == f.m);
	CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) ==
	      -ENOENT);
	CHECK(ww_get(f.ww, NULL, 0, WW_RESET | WW_WINDOW, pages, &n, NULL) ==
	      0);
	CHECK(ww_next_range(f.ww, NULL, &info) == -ENOENT);
	CHECK(mprotect(f.m, N * PAGE, PROT_READ) == 0);
	CHECK(ww_reset(f.ww, NULL, 0, WW_WINDOW) == 0);
	/* what is there is watched like any memory */
	CHECK(mprotect(f.m, N * PAGE, RW) == 0);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	((volatile char *)f.m)[3 * PAGE] = 1;
	CHECK(test_count(f.ww, f.m, N, WW_RESET) == 1);
	_exit(0);
}

static void memory_that_a_child_has_not_is_not_watched_there(void **state)
{
	begin();
	assert_int_equal(madvise(f.m, N * PAGE, MADV_DONTFORK), 0);
	watch();
	assert_int_equal(test_child(is_not_ours, NULL), 0);
	test_write(f.m, 5, -1);
	EXPECT_RESET(f, PAGES(5));
	test_end(f);
}

/* --- a fork in the middle of a query --- */

static pid_t parent;
static atomic_int forks;
static atomic_int *lost; /* of children, too */

/* As _Fork(): no pthread_atfork() handler runs. */
static void fork_here(int signo)
{
	if (syscall(SYS_getpid) == parent && atomic_fetch_add(&forks, 1) < 300)
		test_bare_fork();
}

static void a_child_that_returns_into_a_query_leaves_the_parent_alone(
	void **state)
{
	struct sigaction act = { .sa_handler = fork_here,
				 .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	int round, i;

	begin();
	watch();
	lost = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(lost, MAP_FAILED);
	parent = (pid_t)syscall(SYS_getpid);
	signal(SIGCHLD, SIG_IGN);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (round = 0; atomic_load(&forks) < 300 && round < 3000000; round++) {
		void *pages[N];
		size_t n = N;
		bool told[N] = { false };

		for (i = 0; i < N; i += 3)
			((volatile char *)f.m)[(size_t)i * PAGE] = (char)round;
		CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) ==
		      0);
		for (i = 0; i < (int)n; i++)
			told[((char *)pages[i] - f.m) / PAGE] = true;
		for (i = 0; i < N; i += 3)
			if (!told[i]) {
				fprintf(stderr, "page %d is LOST in %s\n", i,
					syscall(SYS_getpid) == parent
						? "the parent"
						: "a child");
				atomic_fetch_add(lost, 1);
			}
		if (syscall(SYS_getpid) != parent)
			_exit(0);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_DFL);
	if (syscall(SYS_getpid) != parent)
		_exit(0); /* made behind the last question */
	while (waitpid(-1, NULL, 0) > 0)
		;
	signal(SIGCHLD, SIG_DFL);
	assert_int_equal(atomic_load(lost), 0);
	munmap(lost, PAGE);
	test_end(f);
}

/* --- others look --- */

static atomic_bool quit;

static void *look(void *arg)
{
	while (!atomic_load(&quit)) {
		void *pages[N];
		size_t n = N;

		CHECK(ww_get(f.ww, f.m, N * PAGE, 0, pages, &n, NULL) == 0);
		CHECK(n <= N);
	}
	return NULL;
}

/* Mark, arm, mark: a store to memory that was just put there is in the next
 * query. */
static void replaced_memory_is_dirty_while_others_look(void **state)
{
	pthread_t t;
	int round;

	begin();
	watch();
	if (!test_notices_replaced(f.ww)) {
		test_end(f);
		return;
	}
	pthread_create(&t, NULL, look, NULL);
	for (round = 0; round < 3000 / (int)test_slowness(); round++) {
		size_t page = 1 + (size_t)round % (N - 2);
		void *pages[N];
		size_t n = N, i;
		bool told = false;

		assert_ptr_equal(mmap(f.m + page * PAGE, PAGE, RW,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      -1, 0),
				 f.m + page * PAGE);
		if (round & 1)
			((volatile char *)f.m)[page * PAGE] = 1;
		assert_int_equal(
			ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL),
			0);
		for (i = 0; i < n; i++)
			told = told || pages[i] == f.m + page * PAGE;
		if (!told) {
			print_error("round %d: page %zu is LOST\n", round,
				    page);
			fail();
		}
	}
	atomic_store(&quit, true);
	pthread_join(t, NULL);
	atomic_store(&quit, false);
	test_end(f);
}

/* A look opens nothing, and so makes nothing dirty. */
static void a_look_changes_nothing(void **state)
{
	int fd = memfd_create("look", MFD_CLOEXEC), round;
	size_t wrong = 0;
	pthread_t t;

	begin();
	assert_int_equal(ftruncate(fd, N * (off_t)PAGE), 0);
	assert_ptr_equal(mmap(f.m, N * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0),
			 f.m);
	if (ww_watch(f.ww, f.m, N * PAGE, 0) == 0) {
		pthread_create(&t, NULL, look, NULL);
		for (round = 0; round < 3000 / (int)test_slowness(); round++) {
			test_write(f.m, round % N, -1);
			test_count(f.ww, f.m, N, WW_RESET);
			madvise(f.m, N * PAGE, MADV_DONTNEED);
			wrong += test_count(f.ww, f.m, N, 0);
		}
		atomic_store(&quit, true);
		pthread_join(t, NULL);
		atomic_store(&quit, false);
		assert_int_equal(wrong, 0);
	} else {
		test_not_promised("shared memory");
	}
	close(fd);
	test_end(f);
}

/* --- progress --- */

#define WRITERS 2
#define STORED 32

static atomic_long most;

/* A fault is a signal, or, where there are none, a wait for the helper thread: the
 * kernel counts as a fault only what succeeded. */
static __thread volatile long signals;

static long faults_of_this_thread(void)
{
	struct rusage u;

	if (!(test_caps(f.ww) & WW_CAP_NO_SIGNAL))
		return signals;
	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nvcsw;
}

static void count_and_pass_on(int signo, siginfo_t *info, void *context)
{
	signals++;
	if (!ww_handle_fault(signo, info, context))
		abort();
}

static void *store_here_and_there(void *arg)
{
	uint64_t random = (uintptr_t)arg * 77 + 1;
	int i;

	for (i = 0; i < 3000 / (int)test_slowness(); i++) {
		long before, n, old;

		random = random * 6364136223846793005u + 1442695040888963407u;
		before = faults_of_this_thread();
		((volatile char *)f.m)[(random >> 33) % STORED * PAGE] = 1;
		n = faults_of_this_thread() - before;
		old = atomic_load(&most);
		while (n > old &&
		       !atomic_compare_exchange_weak(&most, &old, n))
			;
	}
	atomic_fetch_add(&forks, 1);
	return NULL;
}

/* Counted in faults, not in time: a machine that is busy takes longer. On an emulated
 * one the host may keep a processor from running, which looks from inside as if its
 * thread had run: then a reset does not wait long enough (32 faults were seen beside
 * two runs of the suite; 161 before turns.c asked for the writer's processor time). */
static void a_store_lands_after_a_few_faults(void **state)
{
	pthread_t t[WRITERS];
	uintptr_t k;
	struct sigaction act = { .sa_sigaction = count_and_pass_on,
				 .sa_flags = SA_SIGINFO };
	struct ww_options options = WW_OPTIONS_INIT;

	options.flags = WW_OPEN_HOST_SIGNALS;
	assert_int_equal(ww_open(&f.ww, &options), 0);
	sigaction(SIGSEGV, &act, NULL);
	f.m = test_map(STORED);
	f.npages = STORED;
	atomic_store(&forks, 0);
	atomic_store(&most, 0);
	assert_int_equal(ww_watch(f.ww, f.m, STORED * PAGE, 0), 0);
	for (k = 0; k < WRITERS; k++)
		pthread_create(&t[k], NULL, store_here_and_there, (void *)k);
	while (atomic_load(&forks) < WRITERS)
		test_count(f.ww, f.m, STORED, WW_RESET);
	for (k = 0; k < WRITERS; k++)
		pthread_join(t[k], NULL);
	print_message("  a store took %ld faults at most\n",
		      atomic_load(&most));
	assert_true(atomic_load(&most) <= (test_slowness() > 1 ? 64 : 24));
	signal(SIGSEGV, SIG_DFL);
	test_end(f);
}

/* --- no way back --- */

static void deny_and_watch(void *arg)
{
	char *code = mmap(NULL, N * PAGE, RW | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ww *w;
	int r;

	CHECK(code != MAP_FAILED);
	if (prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0)
		_exit(0); /* before Linux 6.3 */
	CHECK(ww_open(&w, NULL) == 0);
	r = ww_watch(w, code, N * PAGE, 0);
	CHECK(r == 0 || r == -EPERM);
	((volatile char *)code)[PAGE] = 1;
	CHECK(r < 0 || test_count(w, code, N, WW_RESET) == 1);
	((volatile char *)code)[2 * PAGE] = 1;
	ww_close(w);
	((volatile char *)code)[3 * PAGE] = 1;
	_exit(0);
}

static void code_that_could_not_be_opened_again_is_refused(void **state)
{
	assert_int_equal(test_child(deny_and_watch, NULL), 0);
}

/* Linux 6.10: no protection of sealed memory can be changed. */
static void seal_and_watch(void *arg)
{
	char *sealed =
		mmap(NULL, N * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ww *w;
	size_t n, limit;
	int r;

	CHECK(sealed != MAP_FAILED);
	if (syscall(SYS_mseal, sealed, N * PAGE, 0) != 0) {
		test_not_promised("mseal(2)");
		_exit(0);
	}
	CHECK(ww_open(&w, NULL) == 0);
	r = ww_watch(w, sealed, N * PAGE, 0);
	CHECK(r == 0 || r == -EPERM);
	/* soft-dirty can not close them, and reports all */
	limit = PROMISED(w, WW_CAP_EXACT) ? 1 : N;
	((volatile char *)sealed)[PAGE] = 1;
	n = r < 0 ? 1 : test_count(w, sealed, N, WW_RESET);
	CHECK(n >= 1 && n <= limit);
	((volatile char *)sealed)[2 * PAGE] = 1;
	n = r < 0 ? 1 : test_count(w, sealed, N, 0);
	CHECK(n >= 1 && n <= limit);
	ww_close(w);
	((volatile char *)sealed)[3 * PAGE] = 1;
	_exit(0);
}

static void sealed_memory_is_watched_or_refused(void **state)
{
	assert_int_equal(test_child(seal_and_watch, NULL), 0);
}

/* Linux 6.13, shown by pagemap since 6.15: a guard page is no written page. */
static void guard_pages_are_not_reported(void **state)
{
	f = test_begin(N, 0);
	test_write(f.m, 3, 12, -1);
	if (madvise(f.m + 8 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL) != 0) {
		test_not_promised("guard pages");
		test_end(f);
		return;
	}
	EXPECT_RESET(f, PAGES(3, 12));
	EXPECT_DIRTY(f, NO_PAGES);
	assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
	assert_int_equal(madvise(f.m + 8 * PAGE, 2 * PAGE, MADV_GUARD_REMOVE),
			 0);
	test_write(f.m, 8, -1);
	/* what was a guard may be reported with it, once */
	assert_true(test_count(f.ww, f.m, N, WW_RESET) >= 1);
	test_write(f.m, 8, -1);
	EXPECT_RESET(f, PAGES(8));
	test_end(f);
}

/* A page that is held never closes, not even for the moment in which another thread
 * changes its protection to a writable one. */
static void *protect_again_and_again(void *arg)
{
	unsigned i;

	for (i = 0; !atomic_load(&quit); i++)
		CHECK(ww_protect(f.ww, f.m, N * PAGE,
				 RW | (i % 2 ? PROT_EXEC : 0), 0) == 0);
	return NULL;
}

static void held_pages_stay_open_while_others_protect(void **state)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), i;
	pthread_t t;

	f = test_begin(N, 0);
	pthread_create(&t, NULL, protect_again_and_again, NULL);
	for (i = 0; i < 20000 / (int)test_slowness(); i++) {
		CHECK(ww_hold(f.ww, f.m + PAGE, 2 * PAGE, 0) == 0);
		CHECK(read(zero, f.m + PAGE, 2 * PAGE) == (ssize_t)(2 * PAGE));
		CHECK(ww_release(f.ww, f.m + PAGE, 2 * PAGE, 0) == 0);
		if (i % 64 == 0)
			CHECK(test_count(f.ww, f.m, N, WW_RESET) >= 2);
	}
	atomic_store(&quit, true);
	pthread_join(t, NULL);
	atomic_store(&quit, false);
	/* and what is not held is closed again */
	test_count(f.ww, f.m, N, WW_RESET);
	EXPECT_DIRTY(f, NO_PAGES);
	test_write(f.m, 1, 5, -1);
	EXPECT_RESET(f, PAGES(1, 5));
	close(zero);
	test_end(f);
}

/* What the kernel refuses is refused at once, and nothing has changed. */
static void a_file_opened_for_reading_gets_no_writable_protection(void **state)
{
	char path[] = "/var/tmp/ww-strangers-XXXXXX", name[64];
	int fd = mkstemp(path), readonly, r;
	struct ww *w = test_open();
	char *m;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, N * (off_t)PAGE), 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	readonly = open(name, O_RDONLY | O_CLOEXEC);
	m = mmap(NULL, N * PAGE, PROT_READ, MAP_SHARED, readonly, 0);
	assert_ptr_not_equal(m, MAP_FAILED);
	if (ww_watch(w, m, N * PAGE, 0) != 0) {
		test_not_promised("a file that is opened for reading");
	} else {
		r = ww_protect(w, m, N * PAGE, RW, 0);
		assert_int_equal(r, -EPERM);
		assert_int_equal(ww_hold(w, m, PAGE, 0), 0);
		assert_int_equal(ww_release(w, m, PAGE, 0), 0);
		assert_int_equal(ww_unwatch(w, m, N * PAGE, 0), 0);
	}
	ww_close(w);
	munmap(m, N * PAGE);
	close(readonly);
	close(fd);
	unlink(path);
}

TEST_MAIN("strangers", CASE(wiped_memory_is_dirty_in_a_child),
	  CASE(wiped_memory_that_a_child_touched_is_dirty),
	  CASE(what_was_replaced_before_a_fork_is_reported_in_the_child),
	  CASE(a_child_that_has_one_page_reports_one),
	  CASE(memory_that_a_child_has_not_is_not_watched_there),
	  CASE(a_child_that_returns_into_a_query_leaves_the_parent_alone),
	  CASE(replaced_memory_is_dirty_while_others_look),
	  CASE(a_look_changes_nothing), CASE(a_store_lands_after_a_few_faults),
	  CASE(code_that_could_not_be_opened_again_is_refused),
	  CASE(sealed_memory_is_watched_or_refused),
	  CASE(held_pages_stay_open_while_others_protect),
	  CASE(a_file_opened_for_reading_gets_no_writable_protection),
	  CASE(guard_pages_are_not_reported))
