/* SPDX-License-Identifier: MIT */
/*
 * torture.c - a mirror kept from the reported pages alone equals memory.
 *
 * Work is cut in epochs: writers write, park, the last query runs, the mirror
 * is compared. A later write to a page would hide a lost one, so in an epoch
 * each page is written exactly once, by whatever the epoch's shuffled order
 * says: a store, a wide store, an atomic, a store across two pages, or the
 * kernel (read, recv, pread; and while nobody resets process_vm_writev and
 * /proc/self/mem, which pin pages). Meanwhile two collectors get and reset with
 * arrays of all sizes, and others fork, map and protect next door, push pages
 * to swap, to the other node, and into huge pages.
 *
 * WRITEWATCH_TEST_SEED replays a run, WRITEWATCH_TEST_WRITES sets its length.
 */
#include "../test.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "writewatch-win32.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define N 2048u /* pages */
#define WRITERS 3u
#define COLLECTORS 2u

static struct ww *ww;
static unsigned caps, range_caps; /* of the tracker, of the memory */
static char *m, *mirror;
static pthread_mutex_t page_lock[64];
static long writes_wanted = 10000000;
static uint64_t seed = 20261125;

static atomic_uint epoch, parked, disturbers;
static atomic_bool quit, calm; /* calm: collectors pause */
static atomic_uint calm_collectors;
static atomic_long writes, kernel_done, reports, forks, swapped, moved,
	collapsed;

/* WRITEWATCH_TEST_WITHOUT: parts to leave out, to find what a failure needs. */
static bool without(const char *what)
{
	const char *list = getenv("WRITEWATCH_TEST_WITHOUT");

	return list && strstr(list, what);
}

/* --- writers --- */

struct pipes {
	int pipe[2], socket[2], file;
};

static int self_mem;

/* A system call that writes to memory which other threads reset meanwhile: it is
 * held where the kernel could not write by itself, and half of the time
 * elsewhere. One try: what a failing call has taken would be lost. */
static bool must_hold(uint64_t value)
{
	return !(caps & WW_CAP_KERNEL_WRITES) || value & 16;
}

#define HELD(hold, at, len, call)                                \
	do {                                                     \
		if (hold)                                        \
			CHECK(ww_hold(ww, at, len, 0) == 0);     \
		CHECK((call) == (ssize_t)(len));                 \
		if (hold)                                        \
			CHECK(ww_release(ww, at, len, 0) == 0);  \
	} while (0)

static void kernel_write(const struct pipes *p, char *at, unsigned kind,
			 uint64_t value)
{
	switch (kind % 3) {
	case 0:
		CHECK(write(p->pipe[1], &value, 8) == 8);
		HELD(must_hold(value), at, 8, read(p->pipe[0], at, 8));
		break;
	case 1:
		CHECK(send(p->socket[1], &value, 8, 0) == 8);
		HELD(must_hold(value), at, 8, recv(p->socket[0], at, 8, 0));
		break;
	default:
		CHECK(pwrite(p->file, &value, 8, 0) == 8);
		HELD(must_hold(value), at, 8, pread(p->file, at, 8, 0));
	}
	atomic_fetch_add(&kernel_done, 1);
}

/* These pin a page first and write to it later: a reset between the two loses
 * the write (test-kernel-facts.c), so they come while nobody resets. */
static void pinned_write(char *at, uint64_t value)
{
	struct iovec local = { &value, 8 }, remote = { at, 8 };
	/* It does not wait for a handler, and sees no protection. */
	bool mem = caps & WW_CAP_KERNEL_WRITES && caps & WW_CAP_NO_THREAD;

	if (mem && value & 1)
		CHECK(pwrite(self_mem, &value, 8, (off_t)(uintptr_t)at) == 8);
	else
		HELD(must_hold(value), at, 8,
			process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	atomic_fetch_add(&kernel_done, 1);
}

typedef uint64_t wide __attribute__((vector_size(64), aligned(64)));

/* Write to a page once. It may spill into the first bytes of the next. */
static void write_page(const struct pipes *p, size_t page, uint64_t r)
{
	char *at = m + page * PAGE + (r >> 32) % (PAGE / 64 - 2) * 64;
	unsigned kind = (unsigned)(r >> 8) % 16;

	if (kind < 3) {
		kernel_write(p, at, (unsigned)(r >> 12), r);
	} else if (kind < 6) {
		*(volatile wide *)at = (wide){ r, r, r, r, r, r, r, r };
	} else if (kind < 8) {
		__atomic_fetch_add((uint64_t *)at, r | 1, __ATOMIC_SEQ_CST);
	} else if (kind < 9 && page + 1 < N) {
		uint64_t *last = (uint64_t *)(m + (page + 1) * PAGE - 4);

		memcpy(last, &r, 8); /* across the border */
	} else {
		*(volatile uint64_t *)at = r;
	}
}

/* In an epoch thread k writes the pages whose number is k in the epoch's order:
 * odd multipliers permute the pages. */
static void write_once_each(const struct pipes *p, unsigned k, uint64_t *random)
{
	uint64_t order = (test_random(random) | 1) % N | 1;
	size_t i;

	for (i = k; i < N; i += WRITERS) {
		uint64_t r = (i * 0x9e3779b97f4a7c15u + seed) ^
			     (uint64_t)atomic_load(&epoch) << 40;

		write_page(p, i, test_random(&r) + order);
	}
	atomic_fetch_add(&writes, N / WRITERS);
}

/* All write all of a few pages, each its own line, in short epochs. */
static void write_hot(const struct pipes *p, unsigned k, uint64_t *random)
{
	size_t i;

	for (i = 0; i < 8; i++) {
		size_t page = i * (N / 8) + 3;

		*(volatile uint64_t *)(m + page * PAGE + k * 64) =
			test_random(random);
	}
	atomic_fetch_add(&writes, 8);
}

static void (*work)(const struct pipes *p, unsigned k, uint64_t *random);

static bool await_epoch(unsigned *mine)
{
	while (atomic_load(&epoch) == *mine && !atomic_load(&quit))
		sched_yield();
	*mine = atomic_load(&epoch);
	return !atomic_load(&quit);
}

static void *writer(void *arg)
{
	unsigned k = (unsigned)(uintptr_t)arg, mine = 0;
	uint64_t random = seed * (2 * k + 3) | 1;
	struct pipes p;

	CHECK(pipe2(p.pipe, O_CLOEXEC) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, p.socket) == 0);
	p.file = memfd_create("torture", MFD_CLOEXEC);
	while (await_epoch(&mine)) {
		work(&p, k, &random);
		atomic_fetch_add(&parked, 1);
	}
	close(p.pipe[0]);
	close(p.pipe[1]);
	close(p.socket[0]);
	close(p.socket[1]);
	close(p.file);
	return NULL;
}

/* --- collectors --- */

static void copy(const void *start, size_t len)
{
	size_t first = (size_t)((const char *)start - m) / PAGE, i;

	for (i = 0; i < len / PAGE; i++) {
		size_t page = first + i;

		/* Who copies last copies the newest content. */
		pthread_mutex_lock(&page_lock[page % 64]);
		memcpy(mirror + page * PAGE, m + page * PAGE, PAGE);
		pthread_mutex_unlock(&page_lock[page % 64]);
	}
	atomic_fetch_add(&reports, (long)(len / PAGE));
}

/* One query, in one of three ways. Returns the entries. */
static size_t collect(unsigned way, size_t room, size_t first, size_t npages)
{
	static _Thread_local void *pages[N * 16];
	static _Thread_local struct ww_range runs[N];
	char *start = m + first * PAGE;
	size_t len = npages * PAGE, n = room, i;
	ww_ULONG_PTR count = room * (PAGE / 4096);
	ww_ULONG granularity;

	switch (way % 3) {
	case 0:
		CHECK(ww_get(ww, start, len, WW_RESET, pages, &n, NULL) ==
		      0);
		for (i = 0; i < n; i++)
			copy(pages[i], PAGE);
		return n;
	case 1:
		CHECK(ww_get_ranges(ww, start, len, WW_RESET, runs, &n) ==
		      0);
		for (i = 0; i < n; i++)
			copy(runs[i].start, runs[i].len);
		return n;
	default:
		CHECK(ww_GetWriteWatch(WW_WRITE_WATCH_FLAG_RESET, start, len,
				       pages, &count, &granularity) == 0);
		for (i = 0; i < count; i++)
			copy((void *)((uintptr_t)pages[i] & ~(PAGE - 1)), PAGE);
		return count;
	}
}

static void *collector(void *arg)
{
	static const size_t rooms[] = { 1, 7, 64, N, 1001, 2, N - 1 };
	uint64_t random = seed + 31 * (uintptr_t)arg;

	while (!atomic_load(&quit)) {
		uint64_t r = test_random(&random);
		bool part = r & 8;
		size_t first = part ? (r >> 20) % (N - 1) : 0;

		if (atomic_load(&calm)) {
			atomic_fetch_add(&calm_collectors, 1);
			while (atomic_load(&calm) && !atomic_load(&quit))
				sched_yield();
			atomic_fetch_sub(&calm_collectors, 1);
			continue;
		}
		if (without("collectors")) {
			sched_yield();
			continue;
		}
		collect((unsigned)(r >> 4), rooms[r % 7], first,
			part ? (r >> 40) % (N - first - 1) + 1 : N);
	}
	return NULL;
}

/* --- disturbers --- */

static void fork_once(uint64_t r)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		void *pages[64];
		size_t n = 64;

		/* copy on write, and the child's own re-arming */
		m[r % N * PAGE] ^= 1;
		_exit(ww_get(ww, m, N * PAGE, WW_RESET, pages, &n, NULL) !=
			      0 ||
		      n == 0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	atomic_fetch_add(&forks, 1);
}

/* Mappings come, go and change beside the watched one. */
static void disturb_neighbours(uint64_t r)
{
	char *behind = m + (N + 1) * PAGE; /* behind the guard page */
	void *p = mmap(NULL, (r % 8 + 1) * PAGE, RW,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, 1, PAGE);
	mprotect(p, PAGE, PROT_READ);
	munmap(p, (r % 8 + 1) * PAGE);
	mprotect(m - PAGE, PAGE, r & 1 ? RW : PROT_NONE);
	mprotect(behind - PAGE, PAGE, r & 2 ? RW : PROT_NONE);
}

static void move_pages(size_t first, int node)
{
	enum { RUN = 64 };
	void *pages[RUN];
	int nodes[RUN], status[RUN], i;

	for (i = 0; i < RUN; i++) {
		pages[i] = m + (first + (size_t)i) * PAGE;
		nodes[i] = node;
		status[i] = -1;
	}
	syscall(SYS_move_pages, 0, RUN, pages, nodes, status,
		2 /* MPOL_MF_MOVE */);
	for (i = 0; i < RUN; i++)
		if (status[i] == node)
			atomic_fetch_add(&moved, 1);
}

static bool has_swap, has_nodes;

static void push_out(size_t first)
{
	static int fd = -1;
	uint64_t entries[64];
	int i;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	madvise(m + first * PAGE, 64 * PAGE, MADV_PAGEOUT);
	if (pread(fd, entries, sizeof(entries),
		  (off_t)((uintptr_t)(m + first * PAGE) / PAGE * 8)) !=
	    sizeof(entries))
		return;
	for (i = 0; i < 64; i++)
		if (entries[i] >> 62 & 1)
			atomic_fetch_add(&swapped, 1);
}

static void *disturber(void *arg)
{
	uint64_t random = seed + 99;
	unsigned round;

	for (round = 0; !atomic_load(&quit); round++) {
		uint64_t r = test_random(&random);

		if (round % 64 == 0 && !atomic_load(&calm) && !without("fork"))
			fork_once(r);
		if (!without("neighbours"))
			disturb_neighbours(r);
		if (has_swap)
			push_out(r % (N - 64));
		if (has_nodes)
			move_pages((r >> 20) % (N - 64), (int)round & 1);
		if (round % 16 == 0 && !without("collapse") &&
		    madvise(m, N * PAGE, MADV_COLLAPSE) == 0)
			atomic_fetch_add(&collapsed, 1);
		if (round % 16 == 8 && !without("cold"))
			madvise(m, N * PAGE, MADV_COLD);
		atomic_fetch_add(&disturbers, 1);
		sched_yield();
	}
	return arg;
}

/* --- the run --- */

static bool find_swap(void)
{
	FILE *f = fopen("/proc/swaps", "r");
	int c, lines = 0;

	while (f && (c = getc(f)) != EOF)
		lines += c == '\n';
	if (f)
		fclose(f);
	return lines > 1;
}

static void compare(unsigned e)
{
	size_t i, lost = 0;

	if (!memcmp(m, mirror, N * PAGE))
		return;
	for (i = 0; i < N; i++)
		if (memcmp(m + i * PAGE, mirror + i * PAGE, PAGE)) {
			print_error("epoch %u: page %zu lost\n", e, i);
			lost++;
		}
	print_error("seed %llu: %zu pages lost\n", (unsigned long long)seed,
		    lost);
	exit(1); /* the other threads go on */
}

static void run_epoch(unsigned e)
{
	unsigned k;

	atomic_store(&parked, 0);
	atomic_store(&epoch, e);
	while (atomic_load(&parked) < WRITERS)
		sched_yield();
	/* The collectors stop between two queries, then the last ones run. */
	atomic_store(&calm, true);
	while (atomic_load(&calm_collectors) < COLLECTORS)
		sched_yield();
	for (k = 0; k < 16; k++) {
		uint64_t r = seed * (e * 16 + k + 1) * 0x9e3779b97f4a7c15u;

		pinned_write(m + (r >> 20) % N * PAGE + 64, r);
	}
	for (k = 0; collect(k, N, 0, N); k++)
		assert_true(k < 1000);
	compare(e);
	if (e % 8 == 0) {
		/* Nobody writes: what is reported now is spurious. */
		unsigned was = atomic_load(&disturbers);
		size_t spurious = 0;

		while (atomic_load(&disturbers) < was + 2)
			spurious += collect(k++, N, 0, N);
		if (range_caps & WW_CAP_EXACT)
			assert_int_equal(spurious, 0);
	}
	atomic_store(&calm, false);
	while (atomic_load(&calm_collectors) > 0)
		sched_yield();
}

static void torture(void (*how)(const struct pipes *, unsigned, uint64_t *),
		    unsigned epochs, unsigned flags)
{
	pthread_t t[WRITERS + COLLECTORS + 1];
	uintptr_t i, n = 0;
	unsigned e;

	print_message("  seed %llu, %u epochs\n", (unsigned long long)seed,
		      epochs);
	work = how;
	m = test_map(N);
	mirror = calloc(N, PAGE);
	atomic_store(&quit, false);
	atomic_store(&epoch, 0);
	atomic_store(&writes, 0);
	atomic_store(&reports, 0);
	if (flags & WW_WATCH_HUGE_OK)
		madvise(m, N * PAGE, MADV_HUGEPAGE);
	assert_int_equal(ww_watch(ww, m, N * PAGE, flags), 0);
	assert_int_equal(test_range_info(ww, m, NULL, &range_caps, NULL), 0);
	for (i = 0; i < WRITERS; i++)
		pthread_create(&t[n++], NULL, writer, (void *)i);
	for (i = 0; i < COLLECTORS; i++)
		pthread_create(&t[n++], NULL, collector, (void *)i);
	pthread_create(&t[n++], NULL, disturber, NULL);
	for (e = 1; e <= epochs; e++)
		run_epoch(e);
	atomic_store(&quit, true);
	for (i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	print_message("  %ld writes, %ld of them by the kernel, %ld forks, "
		      "%ld pages swapped, %ld moved, %ld collapses, "
		      "%ld pages reported, 0 lost\n",
		      atomic_load(&writes), atomic_load(&kernel_done),
		      atomic_load(&forks), atomic_load(&swapped),
		      atomic_load(&moved), atomic_load(&collapsed),
		      atomic_load(&reports));
	assert_true(!has_swap || atomic_load(&swapped) > 0);
	assert_true(!has_nodes || atomic_load(&moved) > 0);
	assert_int_equal(ww_unwatch(ww, m, N * PAGE, 0), 0);
	test_unmap(m, N);
	free(mirror);
}

static void begin(void)
{
	if (!ww) {
		ww = test_open();
		caps = test_caps(ww);
		assert_int_equal(ww_win32_use(ww), 0);
	} else {
		ww_close(test_open()); /* the signal is ours again */
	}
}

static void pages_written_once_an_epoch_are_never_lost(void **state)
{
	long epochs = writes_wanted / N;

	begin();
	torture(write_once_each, epochs < 4 ? 4 : (unsigned)epochs, 0);
}

/* A library that suppresses a quick second report would fail. */
static void hot_pages_are_never_lost(void **state)
{
	long epochs = writes_wanted / 2000,
	     least = test_slowness() > 1 ? 10 : 50;

	begin();
	torture(write_hot, (unsigned)(epochs < least ? least : epochs), 0);
}

/* More may be told than was written, not less. */
static void nothing_is_lost_with_every_permission(void **state)
{
	const unsigned all = WW_WATCH_HUGE_OK | WW_WATCH_COARSE_OK | WW_WATCH_HOT_OK;
	long epochs = writes_wanted / N / 4,
	     hot = test_slowness() > 1 ? 4 : 40,
	     least = test_slowness() > 1 ? 1 : 4;

	begin();
	torture(write_hot, (unsigned)(epochs < hot ? hot : epochs), all);
	torture(write_once_each, (unsigned)(epochs < least ? least : epochs), all);
}

static int run(void)
{
	static const struct CMUnitTest cases[] = {
		CASE(pages_written_once_an_epoch_are_never_lost),
		CASE(hot_pages_are_never_lost),
		CASE(nothing_is_lost_with_every_permission),
	};
	const char *text = getenv("WRITEWATCH_TEST_WRITES");
	size_t i;

	if (text)
		writes_wanted = strtol(text, NULL, 10);
	text = getenv("WRITEWATCH_TEST_MOST");
	if (text && strtol(text, NULL, 10) < writes_wanted)
		writes_wanted = strtol(text, NULL, 10);
	text = getenv("WRITEWATCH_TEST_SEED");
	if (text)
		seed = strtoull(text, NULL, 10);
	for (i = 0; i < 64; i++)
		pthread_mutex_init(&page_lock[i], NULL);
	self_mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	has_swap = !without("swap") && find_swap();
	has_nodes = !without("nodes") &&
		    access("/sys/devices/system/node/node1", F_OK) == 0;
	return cmocka_run_group_tests_name("torture", cases, NULL, NULL);
}

int main(void)
{
	return test_main(run);
}
