/* SPDX-License-Identifier: MIT */
/*
 * test-mirror.c - a mirror kept from the reported pages alone equals memory,
 * after 10^7 writes by two threads, read(2), process_vm_writev(), a thread that
 * forks, and one that sends pages to swap and to the other memory node, where
 * there are such.
 *
 * A later write to the same page would hide a lost one, so the work is cut in
 * epochs: writers park, the last query runs, and the mirror is compared each
 * time. In an epoch a page is written a few times only.
 */
#include "test.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define N 2048
#define WRITES_IN_EPOCH 25000 /* by all writers */
#define WRITERS 2
#define WORKERS (WRITERS + 3)

static struct ww *ww;
static char *m, *mirror;
static bool kernel_writes;
static long writes_wanted = 10000000;
static atomic_long writes, reports, kernel_done, forks, swapped, moved;
static bool has_swap, has_nodes;
static atomic_uint epoch, parked;
static atomic_bool quit;
static uint64_t seed = 20261123;

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* Work for one epoch; then park until the next one. */
static void each_epoch(void (*work)(uint64_t *random), uint64_t random)
{
	unsigned mine = 0;

	while (!atomic_load(&quit)) {
		while (atomic_load(&epoch) == mine && !atomic_load(&quit))
			sched_yield();
		if (atomic_load(&quit))
			break;
		mine = atomic_load(&epoch);
		work(&random);
		atomic_fetch_add(&parked, 1);
	}
}

static void store_work(uint64_t *random)
{
	long n = WRITES_IN_EPOCH / WRITERS, i;

	for (i = 0; i < n; i++) {
		uint64_t r = next_random(random);

		*(volatile uint64_t *)(m + r % N * PAGE + (r >> 20) % 500 * 8) =
			r;
	}
	atomic_fetch_add(&writes, n);
}

static void *store_thread(void *arg)
{
	each_epoch(store_work, seed * (2 * (uintptr_t)arg + 3));
	return NULL;
}

static int random_fd, pagemap_fd;

/* EFAULT where the backend can not let the kernel in: mark and retry. */
static void kernel_write(char *at, bool by_read, uint64_t value)
{
	struct iovec local = { &value, sizeof(value) };
	struct iovec remote = { at, sizeof(value) };
	ssize_t r;

	do {
		if (!kernel_writes)
			CHECK(ww_mark(ww, at, sizeof(value)) == 0);
		r = by_read ? pread(random_fd, at, 8, 0) :
			      process_vm_writev(getpid(), &local, 1, &remote, 1,
						0);
	} while (r < 0 && errno == EFAULT && !kernel_writes);
	CHECK(r == sizeof(value));
}

static void kernel_work(uint64_t *random)
{
	int i;

	for (i = 0; i < 200; i++) {
		uint64_t r = next_random(random);

		kernel_write(m + r % N * PAGE + 4000, i & 1, r);
		atomic_fetch_add(&kernel_done, 1);
	}
}

static void *kernel_thread(void *arg)
{
	each_epoch(kernel_work, seed + 77);
	return NULL;
}

static void fork_work(uint64_t *random)
{
	int status;
	pid_t pid;

	if (atomic_load(&epoch) % 8)
		return;
	pid = fork();
	if (pid == 0) {
		void *pages[64];
		size_t n = 64;

		/* copy on write, and the child's own re-arming */
		m[next_random(random) % N * PAGE] ^= 1;
		_exit(ww_get(ww, m, N * PAGE, WW_GET_RESET, pages, &n, NULL) !=
			      0 ||
		      n == 0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	atomic_fetch_add(&forks, 1);
}

static void *fork_thread(void *arg)
{
	each_epoch(fork_work, seed + 99);
	return NULL;
}

/* Pages leave the page table under the writers and the queries. */
static void move_work(uint64_t *random)
{
	enum { RUN = 64 };
	uint64_t entries[RUN];
	void *pages[RUN];
	int nodes[RUN], status[RUN], i, k;

	for (k = 0; k < 4; k++) {
		char *at = m + next_random(random) % (N - RUN) * PAGE;

		if (has_swap)
			madvise(at, RUN * PAGE, MADV_PAGEOUT);
		CHECK(pread(pagemap_fd, entries, sizeof(entries),
			    (off_t)((uintptr_t)at / PAGE * 8)) ==
		      sizeof(entries));
		for (i = 0; i < RUN; i++)
			if (entries[i] >> 62 & 1) /* in swap */
				atomic_fetch_add(&swapped, 1);
		at = m + next_random(random) % (N - RUN) * PAGE;
		for (i = 0; i < RUN; i++) {
			pages[i] = at + i * PAGE;
			nodes[i] = (int)(atomic_load(&epoch) + k) & 1;
			status[i] = -1;
		}
		if (has_nodes)
			syscall(SYS_move_pages, 0, RUN, pages, nodes, status,
				2 /* MPOL_MF_MOVE */);
		for (i = 0; i < RUN; i++)
			if (status[i] == nodes[i])
				atomic_fetch_add(&moved, 1);
	}
}

static void *move_thread(void *arg)
{
	each_epoch(move_work, seed + 111);
	return NULL;
}

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

/* Update the mirror from one query; false: nothing was reported. */
static bool collect(unsigned room)
{
	static void *pages[N];
	static struct ww_range runs[N];
	size_t n = room, i;

	if (room % 2) {
		CHECK(ww_get(ww, m, N * PAGE, WW_GET_RESET, pages, &n, NULL) ==
		      0);
		for (i = 0; i < n; i++)
			memcpy(mirror + ((char *)pages[i] - m), pages[i], PAGE);
	} else {
		CHECK(ww_get_ranges(ww, m, N * PAGE, WW_GET_RESET, runs, &n) ==
		      0);
		for (i = 0; i < n; i++)
			memcpy(mirror + ((char *)runs[i].start - m),
			       runs[i].start, runs[i].len);
	}
	atomic_fetch_add(&reports, (long)n);
	return n > 0;
}

static void a_mirror_of_reported_pages_equals_memory(void **state)
{
	static const unsigned rooms[] = { 1, 7, 64, 1001, N, 2, N - 1 };
	pthread_t t[WORKERS];
	unsigned e, k;
	uintptr_t i;
	char *text = getenv("WRITEWATCH_TEST_WRITES");

	if (text)
		writes_wanted = strtol(text, NULL, 10);
	print_message("  seed %llu\n", (unsigned long long)seed);
	has_swap = find_swap();
	has_nodes = access("/sys/devices/system/node/node1", F_OK) == 0;
	ww = test_open();
	kernel_writes = test_caps(ww) & WW_CAP_KERNEL_WRITES;
	m = test_map(N);
	mirror = calloc(N, PAGE);
	random_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	for (i = 0; i < WRITERS; i++)
		pthread_create(&t[i], NULL, store_thread, (void *)i);
	pthread_create(&t[WRITERS], NULL, kernel_thread, NULL);
	pthread_create(&t[WRITERS + 1], NULL, fork_thread, NULL);
	pthread_create(&t[WRITERS + 2], NULL, move_thread, NULL);
	for (e = 1; e <= writes_wanted / WRITES_IN_EPOCH; e++) {
		unsigned room = rooms[e % (sizeof(rooms) / sizeof(rooms[0]))];

		atomic_store(&parked, 0);
		atomic_store(&epoch, e);
		while (atomic_load(&parked) < WORKERS)
			collect(room);
		for (k = 0; collect(N); k++)
			assert_true(k < 1000);
		if (memcmp(m, mirror, N * PAGE)) {
			for (i = 0; i < N; i++)
				if (memcmp(m + i * PAGE, mirror + i * PAGE,
					   PAGE))
					print_error("epoch %u: page %zu lost\n",
						    e, (size_t)i);
			fail();
		}
	}
	atomic_store(&quit, true);
	for (i = 0; i < WORKERS; i++)
		pthread_join(t[i], NULL);
	print_message("  %ld stores, %ld kernel writes, %ld forks, "
		      "%ld pages swapped, %ld moved, %ld reports, 0 lost\n",
		      atomic_load(&writes), atomic_load(&kernel_done),
		      atomic_load(&forks), atomic_load(&swapped),
		      atomic_load(&moved),
		      atomic_load(&reports));
	assert_true(!has_swap || atomic_load(&swapped) > 0);
	assert_true(!has_nodes || atomic_load(&moved) > 0);
	ww_close(ww);
	test_unmap(m, N);
	free(mirror);
}

TEST_MAIN("mirror", CASE(a_mirror_of_reported_pages_equals_memory))
