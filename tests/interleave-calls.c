/* SPDX-License-Identifier: MIT */
/* interleave-calls.c - a thread is held at one of its system calls. */
#include "interleave.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

const char *const test_point = "system call";

/* Have each system call of this thread wait until it is let go: a descriptor. */
static int tell_calls(void)
{
	struct sock_filter tell =
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	struct sock_fprog prog = { 1, &tell };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

/* Until the thread is gone. */
static void *let_go(void *arg)
{
	struct test_held *h = arg;
	struct pollfd p = { .events = POLLIN };

	while ((p.fd = atomic_load(&h->told)) == 0)
		sched_yield();
	while (p.fd > 0 && poll(&p, 1, -1) == 1 && p.revents & POLLIN) {
		struct seccomp_notif call = { 0 };
		struct seccomp_notif_resp go_on = {
			.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE
		};

		if (ioctl(p.fd, SECCOMP_IOCTL_NOTIF_RECV, &call))
			continue;
		test_hold_at(h);
		go_on.id = call.id;
		ioctl(p.fd, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
	}
	close(p.fd);
	return NULL;
}

void test_hold_begin(struct test_held *h)
{
	assert_int_equal(pthread_create(&h->keeper, NULL, let_go, h), 0);
}

void test_hold_me(struct test_held *h)
{
	atomic_store(&h->told, tell_calls());
}

void test_hold_end(struct test_held *h)
{
	pthread_join(h->keeper, NULL);
}

static void one_call(void)
{
	syscall(SYS_getppid);
}

bool test_can_interleave(void)
{
	if (test_interleave(one_call, 1, one_call, 1))
		return true;
	test_not_promised("seccomp's listeners");
	return false;
}

void test_interleave_all(size_t n, bool (*try)(size_t first, long at,
					       size_t beside, long then))
{
	/* where that is slow: some */
	size_t step = (size_t)test_slowness() / 10 + 1, pair;
	unsigned random = (unsigned)getpid();
	long at;

	for (pair = (size_t)random % step; pair < n * n; pair += step)
		for (at = 1;; at++) {
			random = random * 1103515245 + 12345;
			/* half of them to the end */
			if (!try(pair / n, at, pair % n,
				 random & 1 << 30 ? (long)(random / 65536 % 20)
						  : 0))
				break;
		}
}
