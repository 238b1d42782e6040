/* SPDX-License-Identifier: MIT */
/* test-kernel-writes.c - writers other than the program's own stores. */
#include "test.h"

#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define N 16

static struct ww *ww;
static char *m;
static bool kernel_writes;

static void begin(void)
{
	ww = test_open();
	m = test_map(N);
	kernel_writes = test_caps(ww) & WW_CAP_KERNEL_WRITES;
	memset(m, 1, N * PAGE);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
}

static void end(void)
{
	ww_close(ww);
	test_unmap(m, N);
}

/* Where the kernel can not write by itself the buffer is held. */
static void hold(char *at, size_t len)
{
	assert_int_equal(ww_hold(ww, at, len, 0), 0);
}

static void release(char *at, size_t len)
{
	assert_int_equal(ww_release(ww, at, len, 0), 0);
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
	expect_write(read(fd, m + 2 * PAGE + 10, 2 * PAGE), 2 * PAGE);
	if (!kernel_writes) {
		hold(m + 2 * PAGE + 10, 2 * PAGE);
		assert_int_equal(read(fd, m + 2 * PAGE + 10, 2 * PAGE),
				 2 * PAGE);
		release(m + 2 * PAGE + 10, 2 * PAGE);
	}
	test_expect(ww, m, N, WW_RESET, 2, 3, 4, -1);
	test_expect(ww, m, N, 0, -1);
	/* the reset closed them again */
	expect_write(read(fd, m + 2 * PAGE, 1), 1);
	hold(m + 2 * PAGE, 1);
	assert_int_equal(read(fd, m + 2 * PAGE, 1), 1);
	release(m + 2 * PAGE, 1);
	test_expect(ww, m, N, WW_RESET, 2, -1);
	close(fd);
	end();
}

static void recv_is_seen(void **state)
{
	int s[2];

	begin();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	assert_int_equal(write(s[0], "0123456789", 10), 10);
	if (!kernel_writes)
		hold(m + PAGE - 5, 10);
	assert_int_equal(recv(s[1], m + PAGE - 5, 10, 0), 10);
	release(m + PAGE - 5, 10);
	test_expect(ww, m, N, WW_RESET, 0, 1, -1);
	close(s[0]);
	close(s[1]);
	end();
}

static void process_vm_writev_is_seen(void **state)
{
	char data[3] = "abc";
	struct iovec local = { data, 3 };
	struct iovec remote;

	begin();
	remote = (struct iovec){ m + 7 * PAGE, 3 };
	expect_write(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), 3);
	if (!kernel_writes) {
		hold(m + 7 * PAGE, 3);
		assert_int_equal(process_vm_writev(getpid(), &local, 1, &remote,
						   1, 0),
				 3);
		release(m + 7 * PAGE, 3);
	}
	test_expect(ww, m, N, WW_RESET, 7, -1);
	end();
}

/* As ptrace: it forces its way through protection, without a signal. */
static void proc_mem_is_seen_where_the_kernel_tells(void **state)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	begin();
	assert_true(fd >= 0);
	/* Where a thread answers faults it may be refused, by EIO. */
	if (pwrite(fd, "x", 1, (off_t)(uintptr_t)(m + 3 * PAGE)) != 1) {
		assert_false(test_caps(ww) & WW_CAP_NO_THREAD);
		assert_int_equal(m[3 * PAGE], 1);
		hold(m + 3 * PAGE, 1);
		assert_int_equal(pwrite(fd, "x", 1,
					(off_t)(uintptr_t)(m + 3 * PAGE)),
				 1);
		release(m + 3 * PAGE, 1);
	}
	if (kernel_writes)
		test_expect(ww, m, N, WW_RESET, 3, -1);
	else /* documented as lost */
		assert_int_equal(ww_mark(ww, m + 3 * PAGE, 1, 0), 0);
	close(fd);
	end();
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
	if (wake_op(&dummy, m + 6 * PAGE) != 0) {
		assert_int_equal(errno, EFAULT);
		assert_false(kernel_writes &&
			     test_caps(ww) & WW_CAP_NO_THREAD);
		hold(m + 6 * PAGE, 4);
		assert_int_equal(wake_op(&dummy, m + 6 * PAGE), 0);
		release(m + 6 * PAGE, 4);
	}
	test_expect(ww, m, N, WW_RESET, 6, -1);
	end();
}

static void the_clock_is_seen(void **state)
{
	begin();
	/* in user space by the vdso, or by the kernel */
	if (!kernel_writes)
		hold(m + 9 * PAGE, 16);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC,
				       (struct timespec *)(m + 9 * PAGE)),
			 0);
	release(m + 9 * PAGE, 16);
	test_expect(ww, m, N, WW_RESET, 9, -1);
	end();
}

/* While a page is held every query reports it, and once more behind it. */
static void held_pages_are_reported_by_each_query(void **state)
{
	begin();
	hold(m + 3 * PAGE, PAGE);
	hold(m + 3 * PAGE + 5, 2 * PAGE);
	test_expect(ww, m, N, 0, 3, 4, 5, -1);
	test_expect(ww, m, N, WW_RESET, 3, 4, 5, -1);
	test_expect(ww, m, N, WW_RESET, 3, 4, 5, -1);
	assert_int_equal(ww_reset(ww, m, N * PAGE, 0), 0);
	test_write(m, 4, 7, -1);
	test_expect(ww, m, N, WW_RESET, 3, 4, 5, 7, -1);
	release(m + 3 * PAGE + 5, 2 * PAGE);
	test_expect(ww, m, N, WW_RESET, 3, 4, 5, -1);
	test_expect(ww, m, N, WW_RESET, 3, -1);
	release(m + 3 * PAGE, PAGE);
	release(m + 3 * PAGE, PAGE); /* one too many is ignored */
	test_expect(ww, m, N, WW_RESET, 3, -1);
	test_expect(ww, m, N, 0, -1);
	end();
}

/* The case that EFAULT, mark and retry lost: what a failed call has taken. */
static void a_datagram_arrives_whatever_is_reset(void **state)
{
	int s[2], i;

	begin();
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, s), 0);
	for (i = 0; i < 100; i++) {
		hold(m + 2 * PAGE, 8);
		assert_int_equal(ww_reset(ww, m, N * PAGE, 0), 0);
		test_count(ww, m, N, WW_RESET);
		assert_int_equal(send(s[0], &i, sizeof(i), 0), sizeof(i));
		assert_int_equal(recv(s[1], m + 2 * PAGE, 8, 0), sizeof(i));
		release(m + 2 * PAGE, 8);
		assert_int_equal(*(int *)(m + 2 * PAGE), i);
		test_expect(ww, m, N, WW_RESET, 2, -1);
	}
	close(s[0]);
	close(s[1]);
	end();
}

/* A child holds nothing, and unwatching ends a hold. */
static void child_holds_nothing(void *arg)
{
	test_count(ww, m, N, WW_RESET);
	_exit(test_count(ww, m, N, WW_RESET) != 0);
}

static void holds_end_with_the_watch_and_with_fork(void **state)
{
	begin();
	hold(m, N * PAGE);
	assert_int_equal(test_child(child_holds_nothing, NULL), 0);
	assert_int_equal(test_count(ww, m, N, WW_RESET), N);
	assert_int_equal(ww_unwatch(ww, m, N * PAGE, 0), 0);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	test_expect(ww, m, N, 0, -1);
	release(m, N * PAGE);
	test_expect(ww, m, N, 0, -1);
	end();
}

static void write_from_watched_memory_is_not_a_write(void **state)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	begin();
	assert_int_equal(write(fd, m, N * PAGE), N * PAGE);
	test_expect(ww, m, N, 0, -1);
	close(fd);
	end();
}

/* Windows marks what is locked. Here the kernel faults the pages for writing,
 * which a backend that sees all of its writes reports; a hold does it on all. */
static void locking_marks_or_is_held(void **state)
{
	const unsigned all = WW_CAP_KERNEL_WRITES | WW_CAP_EXACT |
			     WW_CAP_NO_THREAD | WW_CAP_NO_SIGNAL;

	begin();
	if ((test_caps(ww) & all) == all) {
		assert_int_equal(syscall(SYS_mlock, m + 2 * PAGE, PAGE), 0);
		munlock(m + 2 * PAGE, PAGE);
		test_expect(ww, m, N, WW_RESET, 2, -1);
	}
	hold(m + 5 * PAGE, PAGE);
	assert_int_equal(syscall(SYS_mlock, m + 5 * PAGE, PAGE), 0);
	munlock(m + 5 * PAGE, PAGE);
	release(m + 5 * PAGE, PAGE);
	test_expect(ww, m, N, WW_RESET, 5, -1);
	end();
}

TEST_MAIN("kernel-writes", CASE(read_is_seen), CASE(recv_is_seen),
	  CASE(process_vm_writev_is_seen),
	  CASE(proc_mem_is_seen_where_the_kernel_tells),
	  CASE(futex_operations_are_seen), CASE(the_clock_is_seen),
	  CASE(held_pages_are_reported_by_each_query),
	  CASE(a_datagram_arrives_whatever_is_reset),
	  CASE(holds_end_with_the_watch_and_with_fork),
	  CASE(write_from_watched_memory_is_not_a_write),
	  CASE(locking_marks_or_is_held))
