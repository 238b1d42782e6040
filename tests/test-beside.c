/* SPDX-License-Identifier: MIT */
/*
 * test-beside.c - calls beside others: what one call takes away from a range, a
 * fork, or the kernel hides nothing of the rest, and hangs nobody.
 */
#include "test.h"

#include <sched.h>

#define N 32
#define ROOM 8 /* pages behind, to be watched too */

static struct ww *ww;
static char *m;

/* Private memory and, where the backend takes it, a memfd. Each try has the next
 * window: where pages are written and closed again and again, queries give way to
 * writers (turns.c), and system calls would not be at the same points each time. */
#define WINDOWS 13 /* no memory has the same ones always */
#define WINDOW (N + ROOM + 1)

static char *own, *shared;
static size_t window;
static bool in_memfd; /* m is */

/* --- each call, at each system call of each other one --- */

/* Pages of their own for what changes more than dirty state. The others are
 * written before (0, 4, 8 ...), by write_some() (1, 5, 9 ...), or by nobody. */
enum {
	HELD = 4,	/* 4 pages */
	PROTECTED = 8,	/* 4 */
	DISCARDED = 12, /* 4 */
	GONE = 18,
	MARKED = 22,
	RESET = 24, /* 8 */
};

static bool told[N];

static void tell(void *const *pages, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		told[(size_t)((char *)pages[i] - m) / PAGE] = true;
}

static void get(void)
{
	void *pages[N];
	size_t n = N;

	CHECK(ww_get(ww, m, N * PAGE, WW_RESET | WW_WINDOW, pages, &n, NULL) ==
	      0);
	tell(pages, n);
}

static void get_some(void)
{
	char *at = m, *end = m + N * PAGE;

	while (at < end) {
		void *pages[3];
		size_t n = 3;

		CHECK(ww_get(ww, at, (size_t)(end - at), WW_RESET | WW_WINDOW,
			     pages, &n, NULL) == 0);
		tell(pages, n);
		at = n < 3 ? end : (char *)pages[2] + PAGE;
	}
}

static void tell_run(const struct ww_range *run)
{
	size_t at;

	for (at = 0; at < run->len; at += PAGE)
		told[((size_t)((char *)run->start - m) + at) / PAGE] = true;
}

static void get_ranges(void)
{
	struct ww_range runs[N];
	size_t n = N, i;

	CHECK(ww_get_ranges(ww, m, N * PAGE, WW_RESET | WW_WINDOW, runs, &n) ==
	      0);
	for (i = 0; i < n; i++)
		tell_run(&runs[i]);
}

static void get_each_range(void)
{
	char *at = m, *end = m + N * PAGE;
	size_t n = 1;

	while (at < end && n == 1) {
		struct ww_range run;

		CHECK(ww_get_ranges(ww, at, (size_t)(end - at),
				    WW_RESET | WW_WINDOW, &run, &n) == 0);
		if (n)
			tell_run(&run);
		at = n ? (char *)run.start + run.len : end;
	}
}

static bool seen[N];

static void look(void)
{
	void *pages[N];
	size_t n = N, i;

	CHECK(ww_get(ww, m, N * PAGE, WW_WINDOW, pages, &n, NULL) == 0);
	for (i = 0; i < n; i++)
		seen[(size_t)((char *)pages[i] - m) / PAGE] = true;
}

static void reset_some(void)
{
	CHECK(ww_reset(ww, m + RESET * PAGE, 8 * PAGE, 0) == 0);
}

static void reset_ranges(void)
{
	struct ww_range r[3] = { { m + RESET * PAGE, 2 * PAGE },
				 { m + (RESET + 3) * PAGE, PAGE },
				 { m + (RESET + 5) * PAGE, 3 * PAGE } };

	CHECK(ww_reset_ranges(ww, r, 3, 0) == 0);
}

static void hold_some(void)
{
	CHECK(ww_hold(ww, m + HELD * PAGE, 4 * PAGE, 0) == 0);
	CHECK(ww_release(ww, m + HELD * PAGE, 4 * PAGE, 0) == 0);
}

static void mark_one(void)
{
	CHECK(ww_mark(ww, m + MARKED * PAGE, 1, 0) == 0);
}

static void protect_some(void)
{
	CHECK(ww_protect(ww, m + PROTECTED * PAGE, 4 * PAGE, PROT_READ, 0) ==
	      0);
	CHECK(ww_protect(ww, m + PROTECTED * PAGE, 4 * PAGE, RW, 0) == 0);
}

static void discard_some(void)
{
	int r = ww_discard(ww, m + DISCARDED * PAGE, 4 * PAGE, 0);

	CHECK(r == (in_memfd ? -EOPNOTSUPP : 0));
}

static void unwatch_one(void)
{
	int r = ww_unwatch(ww, m + GONE * PAGE, PAGE, 0);

	/* both may do it */
	CHECK(r == 0 || r == -ENOENT);
	/* it is the program's again */
	*(volatile char *)(m + GONE * PAGE) = 1;
}

static void watch_more(void)
{
	int r = ww_watch(ww, m + N * PAGE, ROOM * PAGE, 0);

	CHECK(r == 0 || r == -EEXIST);
	*(volatile char *)(m + N * PAGE) = 1;
	r = ww_unwatch(ww, m + N * PAGE, ROOM * PAGE, 0);
	CHECK(r == 0 || r == -ENOENT);
}

static bool is_of(size_t page, size_t first, size_t n)
{
	return page - first < n;
}

static void write_some(void)
{
	size_t i;

	for (i = 1; i < N; i += 4)
		if (!is_of(i, PROTECTED, 8))
			*(volatile char *)(m + i * PAGE) = 1;
}

/* It watches the last page. */
static void open_another(void)
{
	struct ww *other;
	int r;

	CHECK(ww_open(&other, NULL) == 0);
	r = ww_watch(other, m + (N + ROOM) * PAGE, PAGE, 0);
	/* both may do it */
	CHECK(r == 0 || r == -EBUSY);
	ww_close(other);
}

/* A child goes through what its parent does: it reports all that is there. */
static void in_child(void *arg)
{
	size_t i;

	memset(told, 0, sizeof(told));
	get();
	for (i = 0; i < N; i += 4)
		CHECK(told[i] || is_of(i, DISCARDED, 4) || is_of(i, RESET, 8));
	memset(told, 0, sizeof(told));
	for (i = 0; i < N; i += 2)
		if (!is_of(i, PROTECTED, 4))
			*(volatile char *)(m + i * PAGE) = 2;
	get();
	for (i = 0; i < N; i += 2)
		CHECK(told[i] || is_of(i, PROTECTED, 4) || i == GONE);
	_exit(0);
}

static void fork_one(void)
{
	CHECK(test_child(in_child, NULL) == 0);
}

static const struct call {
	const char *name;
	void (*fn)(void);
} calls[] = {
	{ "ww_get", get },
	{ "ww_get, small array", get_some },
	{ "ww_get_ranges", get_ranges },
	{ "ww_get_ranges, small array", get_each_range },
	{ "ww_get, look", look },
	{ "ww_reset", reset_some },
	{ "ww_reset_ranges", reset_ranges },
	{ "ww_hold", hold_some },
	{ "ww_mark", mark_one },
	{ "ww_protect", protect_some },
	{ "ww_discard", discard_some },
	{ "ww_unwatch", unwatch_one },
	{ "ww_watch", watch_more },
	{ "stores", write_some },
	{ "ww_open", open_another },
	{ "fork", fork_one },
};

/* The two that are tried, and where they are held. */
static const struct call *a, *b;
static long a_at, b_at;

/* Did one of the two do it? */
static bool did(void (*fn)(void))
{
	return a->fn == fn || b->fn == fn;
}

enum { CLEAN, EITHER, DIRTY };

static unsigned range_caps;

static int expected(size_t page)
{
	const bool written = page % 4 == 0 ||
			     (page % 4 == 1 && !is_of(page, PROTECTED, 8) &&
			      did(write_some));

	if ((page == GONE && did(unwatch_one)) ||
	    (is_of(page, RESET, 8) &&
	     (did(reset_some) || did(reset_ranges))) ||
	    (is_of(page, DISCARDED, 4) && did(discard_some) && written))
		return EITHER;
	if (written || (is_of(page, HELD, 4) && did(hold_some)) ||
	    (page == MARKED && did(mark_one)))
		return DIRTY;
	return range_caps & WW_CAP_EXACT ? CLEAN : EITHER;
}

/* Is nothing reset while the two run? */
static bool only_look(void)
{
	const struct call *other = a->fn == look ? b : a;

	return did(look) && (other->fn == look || other->fn == hold_some ||
			     other->fn == mark_one || other->fn == watch_more ||
			     other->fn == protect_some ||
			     other->fn == write_some ||
			     other->fn == open_another || other->fn == fork_one);
}

static void fail_at(const char *what, size_t page)
{
	fail_msg("%s up to %s %ld, at %s %ld of %s: page %zu %s", b->name,
		 test_point, b_at, test_point, a_at, a->name, page, what);
}

/* All that was written is told, nothing else is, not even where pages were dropped
 * and read, and what is written next is seen. */
static void check_both(void)
{
	size_t i;
	int want;

	for (i = 0; i < N; i += 4)
		if (only_look() && !seen[i])
			fail_at("is HIDDEN from a look", i);
	get();
	for (i = 0; i < N; i++) {
		want = expected(i);
		if (want == DIRTY && !told[i])
			fail_at("is LOST", i);
		if (want == CLEAN && told[i])
			fail_at("was not written", i);
	}
	memset(told, 0, sizeof(told));
	assert_int_equal(test_range_info(ww, m, NULL, &range_caps, NULL), 0);
	for (i = 0; i < N; i++)
		(void)*(volatile char *)(m + i * PAGE);
	get();
	for (i = 0; i < N; i++)
		if (told[i] && range_caps & WW_CAP_EXACT)
			fail_at("was only read", i);
	memset(told, 0, sizeof(told));
	for (i = 0; i < N; i++)
		*(volatile char *)(m + i * PAGE) = 3;
	get();
	for (i = 0; i < N; i++)
		if (!told[i] && !(i == GONE && did(unwatch_one)))
			fail_at("is LOST when it is written next", i);
}

/* Private memory, the same with each permission, a memfd, and private memory of which
 * no page exists yet. */
enum memory { PRIVATE, PERMITTED, MEMFD, FRESH, MEMORIES };

static bool try_on(enum memory memory, size_t first, long at, size_t beside,
		   long then)
{
	const unsigned flags = memory == PERMITTED
				       ? WW_WATCH_COARSE_OK | WW_WATCH_HOT_OK |
						   WW_WATCH_HUGE_OK
					 : 0;
	bool held;
	size_t i;

	a = &calls[first];
	b = &calls[beside];
	a_at = at;
	b_at = then;
	in_memfd = memory == MEMFD && shared;
	m = in_memfd ? shared : own;
	m += window++ % WINDOWS * WINDOW * PAGE;
	if (memory == FRESH)
		madvise(m, N * PAGE, MADV_DONTNEED);
	assert_int_equal(ww_watch(ww, m, N * PAGE, flags), 0);
	assert_int_equal(test_range_info(ww, m, NULL, &range_caps, NULL), 0);
	memset(told, 0, sizeof(told));
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < N; i += 4)
		*(volatile char *)(m + i * PAGE) = 1;
	held = test_interleave(a->fn, at, b->fn, then);
	if (held)
		check_both();
	assert_int_equal(ww_unwatch(ww, NULL, 0, WW_WINDOW), 0);
	return held;
}

/* On each memory in turn. */
static bool try_both(size_t first, long at, size_t beside, long then)
{
	unsigned turn = (unsigned)(first + beside + (size_t)at);

	return try_on((enum memory)(turn % MEMORIES), first, at, beside, then);
}

static void begin_both(void)
{
	const size_t len = WINDOWS * WINDOW * PAGE;
	int fd = memfd_create("beside", MFD_CLOEXEC);

	ww = test_open();
	own = test_map(WINDOWS * WINDOW);
	memset(own, 1, WINDOWS * WINDOW * PAGE);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	shared = mmap(NULL, len, RW, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	close(fd);
	if (ww_watch(ww, shared, PAGE, 0) < 0) {
		assert_false(PROMISED(ww, WW_CAP_SHARED));
		munmap(shared, len);
		shared = NULL;
	} else {
		assert_int_equal(ww_unwatch(ww, shared, PAGE, 0), 0);
	}
}

static void end_both(void)
{
	test_unmap(own, WINDOWS * WINDOW);
	if (shared)
		munmap(shared, WINDOWS * WINDOW * PAGE);
	ww_close(ww);
}

static void each_call_at_each_point_of_another(void **state)
{
	if (!test_can_interleave())
		return;
	begin_both();
	test_interleave_all(sizeof(calls) / sizeof(calls[0]), try_both);
	end_both();
}

static size_t index_of(void (*fn)(void))
{
	size_t i = 0;

	while (calls[i].fn != fn)
		i++;
	return i;
}

/* What needs one right moment, and what needs two. */
static void pairs_at_all_moments(void **state)
{
	const size_t query = index_of(get), unwatch = index_of(unwatch_one);
	const long most = 16 / (test_slowness() / 50 + 1);
	const long step = test_slowness() / 10 + 1;
	unsigned on;
	long at, then;

	if (!test_can_interleave())
		return;
	begin_both();
	for (at = 1; try_both(index_of(open_another), at, index_of(fork_one), 0);
	     at += step)
		;
	for (at = 1; try_on(PRIVATE, query, at, index_of(discard_some), 0);
	     at += step)
		;
	for (at = 1; at < most; at++)
		for (then = 0; then < most; then++) {
			on = (unsigned)(at + then) % 2
				     ? PRIVATE
				     : 1 + (unsigned)at % (MEMORIES - 1);
			try_on((enum memory)on, unwatch, at, query, then);
			try_on((enum memory)on, query, at, unwatch, then);
		}
	end_both();
}

/* --- a thread that holds --- */

#define MANY ((size_t)1 << 16)

static atomic_bool quit;

static void *hold_and_release(void *arg)
{
	while (!atomic_load(&quit)) {
		CHECK(ww_hold(ww, m, MANY * PAGE, 0) == 0);
		CHECK(ww_release(ww, m, MANY * PAGE, 0) == 0);
	}
	return NULL;
}

static bool is_dirty(char *page)
{
	void *pages[1];
	size_t n = 1;

	CHECK(ww_get(ww, page, PAGE, WW_RESET, pages, &n, NULL) == 0);
	return n == 1;
}

static void hold_and_release_once(void *arg)
{
	size_t i;

	CHECK(ww_reset(ww, m, MANY * PAGE, 0) == 0);
	for (i = 0; i < MANY; i += 997) {
		char *page = m + i * PAGE;

		CHECK(!is_dirty(page));
		CHECK(ww_hold(ww, page, 1, 0) == 0);
		CHECK(is_dirty(page));
		CHECK(ww_release(ww, page, 1, 0) == 0);
		CHECK(is_dirty(page));
		CHECK(!is_dirty(page));
	}
	_exit(0);
}

static void a_child_that_is_forked_beside_a_hold_holds_nothing(void **state)
{
	pthread_t t;
	int i;

	ww = test_open();
	m = test_map(MANY);
	assert_int_equal(ww_watch(ww, m, MANY * PAGE, 0), 0);
	atomic_store(&quit, false);
	pthread_create(&t, NULL, hold_and_release, NULL);
	for (i = 0; i < 30 && i < 90 / test_slowness(); i++) {
		usleep((useconds_t)(i * 37 % 1000));
		assert_int_equal(test_child(hold_and_release_once, NULL), 0);
	}
	atomic_store(&quit, true);
	pthread_join(t, NULL);
	ww_close(ww);
	test_unmap(m, MANY);
}

/* --- the kernel --- */

static void lock_all(void *arg)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
	ww = test_open();
	alarm((unsigned)(5 * test_slowness()));
	CHECK(mlockall(MCL_CURRENT) == 0 || errno == EPERM || errno == ENOMEM);
	_exit(0);
}

static void all_memory_can_be_locked(void **state)
{
	assert_int_equal(test_child(lock_all, NULL), 0);
}

/* Where the child finds no /proc, what it did not inherit is not taken for what it
 * mapped there itself. */
static void map_its_own(void *arg)
{
	char *mine = mmap(m, 4 * PAGE, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	void *pages[N];
	size_t n = N;
	int fd = memfd_create("x", MFD_CLOEXEC);
	int r;

	CHECK(mine == m);
	r = ww_get(ww, m, N * PAGE, WW_RESET | WW_WINDOW, pages, &n, NULL);
	CHECK(r < 0 || n == 0);
	ww_close(ww);
	/* it can be read, and not written */
	CHECK(write(fd, mine, 1) == 1 && lseek(fd, 0, SEEK_SET) == 0);
	CHECK(read(fd, mine, 1) == -1 && errno == EFAULT);
	_exit(0);
}

static void lose_proc(void *arg)
{
	char dir[] = "/tmp/ww-beside-XXXXXX";

	ww = test_open();
	m = test_map(N);
	CHECK(madvise(m, N * PAGE, MADV_DONTFORK) == 0);
	CHECK(ww_watch(ww, m, N * PAGE, 0) == 0);
	m[0] = 1;
	CHECK(mkdtemp(dir) && chroot(dir) == 0 && chdir("/") == 0);
	_exit(test_child(map_its_own, NULL) == 0 ? 0 : 1);
}

static void a_child_without_proc_leaves_its_own_memory_alone(void **state)
{
	if (getuid() != 0) {
		test_not_promised("chroot");
		return;
	}
	assert_int_equal(test_child(lose_proc, NULL), 0);
}

TEST_MAIN("beside", CASE(pairs_at_all_moments),
	  CASE(each_call_at_each_point_of_another),
	  CASE(a_child_that_is_forked_beside_a_hold_holds_nothing),
	  CASE(all_memory_can_be_locked),
	  CASE(a_child_without_proc_leaves_its_own_memory_alone))
