/* SPDX-License-Identifier: MIT */
/* test-kernel-writes.c - writers other than the program's own stores. */
#include "test.h"

#include <linux/futex.h>
#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define N 16

static struct test_fixture f;
static bool kernel_writes;

static void begin(void)
{
	f = (struct test_fixture){ test_open(), test_map(N), N };
	kernel_writes = PROMISED(f.ww, WW_CAP_KERNEL_WRITES);
	memset(f.m, 1, N * PAGE);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
}

/* Where the kernel can not write by itself the buffer is held. */
static void hold(char *at, size_t len)
{
	assert_int_equal(ww_hold(f.ww, at, len, 0), 0);
}

static void release(char *at, size_t len)
{
	assert_int_equal(ww_release(f.ww, at, len, 0), 0);
}

/* Some of the writes do not wait for a thread, and have to be held on uffd-sync, too. */
static bool kernel_writes_all(void)
{
	return kernel_writes && test_caps(f.ww) & WW_CAP_NO_THREAD;
}

/* Without KERNEL_WRITES it may be EFAULT, unless the buffer is held. */
static void expect_write(ssize_t r, ssize_t want)
{
	if (kernel_writes || r >= 0) {
		assert_int_equal(r, want);
		return;
	}
	assert_int_equal(r, -1);
	assert_int_equal(errno, EFAULT);
}

static void read_is_seen(void **state)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	begin();
	expect_write(read(fd, f.m + 2 * PAGE + 10, 2 * PAGE), 2 * PAGE);
	if (!kernel_writes) {
		hold(f.m + 2 * PAGE + 10, 2 * PAGE);
		assert_int_equal(read(fd, f.m + 2 * PAGE + 10, 2 * PAGE),
				 2 * PAGE);
		release(f.m + 2 * PAGE + 10, 2 * PAGE);
	}
	EXPECT_RESET(f, PAGES(2, 3, 4));
	EXPECT_DIRTY(f, NO_PAGES);
	/* the reset closed them again */
	expect_write(read(fd, f.m + 2 * PAGE, 1), 1);
	hold(f.m + 2 * PAGE, 1);
	assert_int_equal(read(fd, f.m + 2 * PAGE, 1), 1);
	release(f.m + 2 * PAGE, 1);
	EXPECT_RESET(f, PAGES(2));
	close(fd);
	test_end(f);
}

static void recv_is_seen(void **state)
{
	int s[2];

	begin();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	assert_int_equal(write(s[0], "0123456789", 10), 10);
	if (!kernel_writes)
		hold(f.m + PAGE - 5, 10);
	assert_int_equal(recv(s[1], f.m + PAGE - 5, 10, 0), 10);
	release(f.m + PAGE - 5, 10);
	EXPECT_RESET(f, PAGES(0, 1));
	close(s[0]);
	close(s[1]);
	test_end(f);
}

static void process_vm_writev_is_seen(void **state)
{
	char data[3] = "abc";
	struct iovec local = { data, 3 };
	struct iovec remote;

	begin();
	remote = (struct iovec){ f.m + 7 * PAGE, 3 };
	expect_write(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), 3);
	if (!kernel_writes) {
		hold(f.m + 7 * PAGE, 3);
		assert_int_equal(process_vm_writev(getpid(), &local, 1, &remote,
						   1, 0),
				 3);
		release(f.m + 7 * PAGE, 3);
	}
	EXPECT_RESET(f, PAGES(7));
	test_end(f);
}

/* As ptrace: it forces its way through protection, without a signal. */
static void proc_mem_is_seen_where_the_kernel_tells(void **state)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	begin();
	assert_true(fd >= 0);
	/* Where a thread answers faults it may be refused, by EIO; where pages are
	 * made read-only, by kernels with PROC_MEM_FORCE_PTRACE (Debian's 7.2). */
	if (pwrite(fd, "x", 1, (off_t)(uintptr_t)(f.m + 3 * PAGE)) != 1) {
		assert_false(kernel_writes_all());
		assert_int_equal(f.m[3 * PAGE], 1);
		hold(f.m + 3 * PAGE, 1);
		assert_int_equal(
			pwrite(fd, "x", 1, (off_t)(uintptr_t)(f.m + 3 * PAGE)),
			1);
		release(f.m + 3 * PAGE, 1);
	}
	if (kernel_writes)
		EXPECT_RESET(f, PAGES(3));
	else /* documented as lost */
		assert_int_equal(ww_mark(f.ww, f.m + 3 * PAGE, 1, 0), 0);
	close(fd);
	test_end(f);
}

/* Another process's writes. */

static bool by_writev(pid_t us, char *at)
{
	char byte = 7;
	struct iovec from = { &byte, 1 }, to = { at, 1 };

	return process_vm_writev(us, &from, 1, &to, 1, 0) == 1;
}

static bool by_mem(pid_t us, char *at)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)us);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd >= 0 && pwrite(fd, "\7", 1, (off_t)(uintptr_t)at) == 1;
}

static bool by_ptrace(pid_t us, char *at)
{
	long word = 7;
	bool done;
	int status;

	if (ptrace(PTRACE_ATTACH, us, NULL, NULL) != 0)
		return false;
	waitpid(us, &status, 0);
	done = ptrace(PTRACE_POKEDATA, us, at, word) == 0;
	ptrace(PTRACE_DETACH, us, NULL, NULL);
	return done;
}

static bool (*const by[])(pid_t us, char *at) = { by_writev, by_mem,
						  by_ptrace };

/* Who has no right to, or where the kernel refuses closed pages, fails. Without the
 * promise such a write may be lost, or fail. */
static void another_process_s_writes_are_seen_where_promised(void **state)
{
	const pid_t us = getpid();
	bool promised;
	size_t i;

	begin();
	promised = test_caps(f.ww) & WW_CAP_FOREIGN_WRITES;
	for (i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
		char *at = f.m + (3 + i) * PAGE;
		pid_t pid;
		int status;

		EXPECT_RESET(f, NO_PAGES);
		pid = fork();
		if (pid == 0)
			_exit(by[i](us, at) ? 0 : 1);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (promised && status != 0)
			test_not_promised("a right to the other process");
		if (!promised || status != 0)
			ww_mark(f.ww, at, 1, 0);
		else
			assert_int_equal(*at, 7);
		EXPECT_RESET(f, PAGES(3 + (int)i));
	}
	test_end(f);
}

static long wake_op(int *dummy, char *at)
{
	return syscall(SYS_futex, dummy, FUTEX_WAKE_OP_PRIVATE, 1, 1, at,
		       FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
}

static void futex_operations_are_seen(void **state)
{
	int dummy = 0;

	begin();
	/* As above: a thread may not be waited for. */
	if (wake_op(&dummy, f.m + 6 * PAGE) != 0) {
		assert_int_equal(errno, EFAULT);
		assert_false(kernel_writes_all());
		hold(f.m + 6 * PAGE, 4);
		assert_int_equal(wake_op(&dummy, f.m + 6 * PAGE), 0);
		release(f.m + 6 * PAGE, 4);
	}
	EXPECT_RESET(f, PAGES(6));
	test_end(f);
}

/* --- memory that the kernel writes for itself --- */

static void *lock_and_go(void *mutex)
{
	CHECK(pthread_mutex_lock(mutex) == 0);
	CHECK(ww_reset(f.ww, f.m, f.npages * PAGE, 0) == 0);
	return NULL;
}

static void make_mutex(pthread_mutex_t *mutex, int robust, int protocol)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	assert_int_equal(pthread_mutexattr_setrobust(&attr, robust), 0);
	assert_int_equal(pthread_mutexattr_setprotocol(&attr, protocol), 0);
	assert_int_equal(pthread_mutex_init(mutex, &attr), 0);
	pthread_mutexattr_destroy(&attr);
}

static void a_robust_mutex_is_given_up(void **state)
{
	struct timespec end;
	pthread_mutex_t *mutex;
	pthread_t t;

	begin();
	mutex = (pthread_mutex_t *)(f.m + 5 * PAGE);
	make_mutex(mutex, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
	if (!kernel_writes_all())
		hold(f.m + 5 * PAGE, sizeof(*mutex));
	assert_int_equal(pthread_create(&t, NULL, lock_and_go, mutex), 0);
	pthread_join(t, NULL);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5 * test_slowness();
	assert_int_equal(pthread_mutex_timedlock(mutex, &end), EOWNERDEAD);
	release(f.m + 5 * PAGE, sizeof(*mutex));
	EXPECT_RESET(f, PAGES(5));
	test_end(f);
}

static atomic_int about_to_lock;

static void *lock_and_unlock(void *mutex)
{
	atomic_fetch_add(&about_to_lock, 1);
	CHECK(pthread_mutex_lock(mutex) == 0);
	CHECK(pthread_mutex_unlock(mutex) == 0);
	return NULL;
}

static void a_mutex_inherits_its_priority(void **state)
{
	pthread_mutex_t *mutex;
	pthread_t t;
	int i;

	begin();
	mutex = (pthread_mutex_t *)(f.m + 5 * PAGE);
	make_mutex(mutex, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT);
	if (!kernel_writes_all())
		hold(f.m + 5 * PAGE, sizeof(*mutex));
	for (i = 1; i <= 20; i++) {
		assert_int_equal(pthread_mutex_lock(mutex), 0);
		assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
		pthread_create(&t, NULL, lock_and_unlock, mutex);
		while (atomic_load(&about_to_lock) != i)
			usleep(100);
		usleep(1000);
		assert_int_equal(pthread_mutex_unlock(mutex), 0);
		pthread_join(t, NULL);
	}
	release(f.m + 5 * PAGE, sizeof(*mutex));
	EXPECT_RESET(f, PAGES(5));
	test_end(f);
}

static void *reset_all(void *arg)
{
	CHECK(ww_reset(f.ww, f.m, f.npages * PAGE, 0) == 0);
	return NULL;
}

/* Its stack, and what libc and the kernel keep of it: rseq, the word that the
 * kernel clears when it ends. */
static void a_thread_lives_in_watched_memory(void **state)
{
	const size_t npages = ((size_t)1 << 20) / PAGE;
	pthread_attr_t attr;
	pthread_t t;
	int i;

	f = test_begin(npages, 0);
	kernel_writes = PROMISED(f.ww, WW_CAP_KERNEL_WRITES);
	if (!kernel_writes_all())
		hold(f.m, npages * PAGE);
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, f.m, npages * PAGE), 0);
	for (i = 0; i < 20; i++) {
		assert_int_equal(pthread_create(&t, &attr, reset_all, NULL), 0);
		assert_int_equal(pthread_join(t, NULL), 0);
	}
	pthread_attr_destroy(&attr);
	assert_true(test_count(f.ww, f.m, npages, 0) > 0);
	test_end(f);
}

static void the_clock_is_seen(void **state)
{
	begin();
	/* in user space by the vdso, or by the kernel */
	if (!kernel_writes)
		hold(f.m + 9 * PAGE, 16);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC,
				       (struct timespec *)(f.m + 9 * PAGE)),
			 0);
	release(f.m + 9 * PAGE, 16);
	EXPECT_RESET(f, PAGES(9));
	test_end(f);
}

/* While a page is held every query reports it, and once more behind it. */
static void held_pages_are_reported_by_each_query(void **state)
{
	begin();
	hold(f.m + 3 * PAGE, PAGE);
	hold(f.m + 3 * PAGE + 5, 2 * PAGE);
	EXPECT_DIRTY(f, PAGES(3, 4, 5));
	EXPECT_RESET(f, PAGES(3, 4, 5));
	EXPECT_RESET(f, PAGES(3, 4, 5));
	assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
	test_write(f.m, 4, 7, -1);
	EXPECT_RESET(f, PAGES(3, 4, 5, 7));
	release(f.m + 3 * PAGE + 5, 2 * PAGE);
	EXPECT_RESET(f, PAGES(3, 4, 5));
	EXPECT_RESET(f, PAGES(3));
	release(f.m + 3 * PAGE, PAGE);
	release(f.m + 3 * PAGE, PAGE); /* one too many is ignored */
	EXPECT_RESET(f, PAGES(3));
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

/* The case that EFAULT, mark and retry lost: what a failed call has taken. */
static void a_datagram_arrives_whatever_is_reset(void **state)
{
	int s[2], i;

	begin();
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, s), 0);
	for (i = 0; i < 100; i++) {
		hold(f.m + 2 * PAGE, 8);
		assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
		test_count(f.ww, f.m, N, WW_RESET);
		assert_int_equal(send(s[0], &i, sizeof(i), 0), sizeof(i));
		assert_int_equal(recv(s[1], f.m + 2 * PAGE, 8, 0), sizeof(i));
		release(f.m + 2 * PAGE, 8);
		assert_int_equal(*(int *)(f.m + 2 * PAGE), i);
		EXPECT_RESET(f, PAGES(2));
	}
	close(s[0]);
	close(s[1]);
	test_end(f);
}

/* --- writes of devices --- */

/* An io_uring of one entry, by its system calls. */
struct ring {
	int fd;
	struct io_uring_params p;
	char *sq, *cq;
	struct io_uring_sqe *sqe;
};

static bool ring_open(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 1, &r->p);
	if (r->fd < 0)
		return false;
	r->sq = mmap(NULL, r->p.sq_off.array + 4, RW, MAP_SHARED, r->fd,
		     IORING_OFF_SQ_RING);
	r->cq = mmap(NULL,
		     r->p.cq_off.cqes +
			     r->p.cq_entries * sizeof(struct io_uring_cqe),
		     RW, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqe = mmap(NULL, sizeof(*r->sqe), RW, MAP_SHARED, r->fd,
		      IORING_OFF_SQES);
	return r->sq != MAP_FAILED && r->cq != MAP_FAILED &&
	       r->sqe != MAP_FAILED;
}

/* Read one byte of a descriptor into buffer 0, some time. */
static void ring_read(struct ring *r, int fd, char *at)
{
	unsigned *tail = (unsigned *)(r->sq + r->p.sq_off.tail);

	*r->sqe = (struct io_uring_sqe){ .opcode = IORING_OP_READ_FIXED,
					 .fd = fd,
					 .addr = (uintptr_t)at,
					 .len = 1 };
	*(unsigned *)(r->sq + r->p.sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	assert_int_equal(syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0),
			 1);
}

static int ring_wait(struct ring *r)
{
	unsigned *head = (unsigned *)(r->cq + r->p.cq_off.head);
	unsigned mask = *(unsigned *)(r->cq + r->p.cq_off.ring_mask);
	struct io_uring_cqe *cqe = (void *)(r->cq + r->p.cq_off.cqes);
	int result;

	syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL,
		0);
	result = cqe[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

/* The page is pinned once, and written to long after: in between it is reset,
 * again and again. */
static void a_fixed_buffer_is_seen_over_resets(void **state)
{
	struct iovec buffer;
	struct ring ring;
	int pipes[2], i;

	begin();
	buffer = (struct iovec){ f.m + 5 * PAGE, PAGE };
	if (!ring_open(&ring)) {
		print_message("  no io_uring here: %s\n", strerror(errno));
		test_end(f);
		return;
	}
	assert_int_equal(pipe(pipes), 0);
	hold(f.m + 5 * PAGE, PAGE);
	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS,
		    &buffer, 1) != 0)
		print_message("  no fixed buffers here: %s\n",
			      strerror(errno));
	else
		for (i = 1; i < 20; i++) {
			char c = (char)i;

			ring_read(&ring, pipes[0], f.m + 5 * PAGE + i);
			EXPECT_RESET(f, PAGES(5));
			assert_int_equal(write(pipes[1], &c, 1), 1);
			assert_int_equal(ring_wait(&ring), 1);
			/* in this page, not in a copy's original */
			assert_int_equal(f.m[5 * PAGE + i], i);
			EXPECT_RESET(f, PAGES(5));
		}
	close(ring.fd);
	release(f.m + 5 * PAGE, PAGE);
	EXPECT_RESET(f, PAGES(5));
	if (PROMISED(f.ww, WW_CAP_EXACT))
		EXPECT_DIRTY(f, NO_PAGES);
	close(pipes[0]);
	close(pipes[1]);
	test_end(f);
}

static atomic_bool collecting;
static char mirror[N << 16];

static void collect(unsigned flags)
{
	struct ww_range runs[N];
	size_t n = N, i;

	CHECK(ww_get_ranges(f.ww, f.m, N * PAGE, flags, runs, &n) == 0);
	for (i = 0; i < n; i++)
		memcpy(mirror + ((char *)runs[i].start - f.m), runs[i].start,
		       runs[i].len);
}

static void *collect_all_the_time(void *arg)
{
	while (atomic_load(&collecting))
		collect(WW_RESET);
	return NULL;
}

/* What a disk writes, past the page tables. */
static void direct_reads_are_seen_over_resets(void **state)
{
	char path[] = "/var/tmp/writewatch-XXXXXX";
	int fd = mkstemp(path), direct, i;
	pthread_t t;

	begin();
	assert_true(fd >= 0);
	for (i = 0; i < (int)(64 * PAGE / 4); i++)
		CHECK(write(fd, &i, 4) == 4);
	fsync(fd);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(path);
	close(fd);
	if (direct < 0) {
		print_message("  no O_DIRECT here\n");
		test_end(f);
		return;
	}
	memcpy(mirror, f.m, N * PAGE);
	atomic_store(&collecting, true);
	assert_int_equal(pthread_create(&t, NULL, collect_all_the_time, NULL),
			 0);
	for (i = 0; i < 2000 / test_slowness() + 10; i++) {
		char *at = f.m + (size_t)(i * 7 % N) * PAGE;

		hold(at, PAGE);
		CHECK(pread(direct, at, PAGE, (off_t)(i % 64) * (off_t)PAGE) ==
		      (ssize_t)PAGE);
		release(at, PAGE);
	}
	atomic_store(&collecting, false);
	pthread_join(t, NULL);
	collect(WW_RESET);
	assert_memory_equal(mirror, f.m, N * PAGE);
	close(direct);
	test_end(f);
}

/* A child holds nothing, and unwatching ends a hold. */
static void child_holds_nothing(void *arg)
{
	test_count(f.ww, f.m, N, WW_RESET);
	_exit(test_count(f.ww, f.m, N, WW_RESET) != 0);
}

static void holds_end_with_the_watch_and_with_fork(void **state)
{
	begin();
	hold(f.m, N * PAGE);
	assert_int_equal(test_child(child_holds_nothing, NULL), 0);
	assert_int_equal(test_count(f.ww, f.m, N, WW_RESET), N);
	assert_int_equal(ww_unwatch(f.ww, f.m, N * PAGE, 0), 0);
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
	EXPECT_DIRTY(f, NO_PAGES);
	release(f.m, N * PAGE);
	EXPECT_DIRTY(f, NO_PAGES);
	test_end(f);
}

static void write_from_watched_memory_is_not_a_write(void **state)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	begin();
	assert_int_equal(write(fd, f.m, N * PAGE), N * PAGE);
	EXPECT_DIRTY(f, NO_PAGES);
	close(fd);
	test_end(f);
}

/* Windows marks what is locked. Here the kernel faults the pages for writing,
 * which a backend that sees all of its writes reports; a hold does it on all. */
static void locking_marks_or_is_held(void **state)
{
	const unsigned all = WW_CAP_KERNEL_WRITES | WW_CAP_EXACT |
			     WW_CAP_NO_THREAD | WW_CAP_NO_SIGNAL;

	begin();
	if ((test_caps(f.ww) & all) == all) {
		assert_int_equal(syscall(SYS_mlock, f.m + 2 * PAGE, PAGE), 0);
		munlock(f.m + 2 * PAGE, PAGE);
		EXPECT_RESET(f, PAGES(2));
	}
	hold(f.m + 5 * PAGE, PAGE);
	assert_int_equal(syscall(SYS_mlock, f.m + 5 * PAGE, PAGE), 0);
	munlock(f.m + 5 * PAGE, PAGE);
	release(f.m + 5 * PAGE, PAGE);
	EXPECT_RESET(f, PAGES(5));
	test_end(f);
}

TEST_MAIN("kernel-writes", CASE(read_is_seen), CASE(recv_is_seen),
	  CASE(process_vm_writev_is_seen),
	  CASE(proc_mem_is_seen_where_the_kernel_tells),
	  CASE(another_process_s_writes_are_seen_where_promised),
	  CASE(futex_operations_are_seen),
	  CASE(a_robust_mutex_is_given_up),
	  CASE(a_mutex_inherits_its_priority),
	  CASE(a_thread_lives_in_watched_memory), CASE(the_clock_is_seen),
	  CASE(held_pages_are_reported_by_each_query),
	  CASE(a_datagram_arrives_whatever_is_reset),
	  CASE(a_fixed_buffer_is_seen_over_resets),
	  CASE(direct_reads_are_seen_over_resets),
	  CASE(holds_end_with_the_watch_and_with_fork),
	  CASE(write_from_watched_memory_is_not_a_write),
	  CASE(locking_marks_or_is_held))
