/* SPDX-License-Identifier: MIT */
/* interleave.c - two threads, each held at one of its system calls. */
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

enum { RUNS, IS_HELD, HAS_ENDED };

struct held {
	void (*fn)(void);
	long at, count; /* its system calls */
	atomic_int fd;	/* where they are told; 0: not yet */
	atomic_int state;
	atomic_bool go;
	pthread_t thread, keeper;
};

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

static void *be_held(void *arg)
{
	struct held *h = arg;

	atomic_store(&h->fd, tell_calls());
	h->fn();
	atomic_store(&h->state, HAS_ENDED);
	return NULL;
}

static void hold_it(struct held *h)
{
	struct timespec ms = { .tv_nsec = 1000000 };
	long left = 10 + test_slowness() / 2;

	atomic_store(&h->state, IS_HELD);
	while (!atomic_load(&h->go) && left-- > 0)
		nanosleep(&ms, NULL);
}

/* Until the thread is gone. */
static void *let_go(void *arg)
{
	struct held *h = arg;
	struct pollfd p = { .events = POLLIN };

	while ((p.fd = atomic_load(&h->fd)) == 0)
		sched_yield();
	while (p.fd > 0 && poll(&p, 1, -1) == 1 && p.revents & POLLIN) {
		struct seccomp_notif call = { 0 };
		struct seccomp_notif_resp go_on = {
			.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE
		};

		if (ioctl(p.fd, SECCOMP_IOCTL_NOTIF_RECV, &call))
			continue;
		if (atomic_load(&h->state) == RUNS && ++h->count == h->at)
			hold_it(h);
		go_on.id = call.id;
		ioctl(p.fd, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
	}
	close(p.fd);
	return NULL;
}

static void start(struct held *h)
{
	assert_int_equal(pthread_create(&h->keeper, NULL, let_go, h), 0);
	assert_int_equal(pthread_create(&h->thread, NULL, be_held, h), 0);
}

static void finish(struct held *h)
{
	atomic_store(&h->go, true);
	pthread_join(h->thread, NULL);
	pthread_join(h->keeper, NULL);
}

bool test_interleave(void (*first)(void), long at, void (*beside)(void),
		     long then)
{
	struct held a = { .fn = first, .at = at };
	struct held b = { .fn = beside, .at = then };

	start(&a);
	while (atomic_load(&a.state) == RUNS)
		sched_yield();
	if (atomic_load(&a.state) == HAS_ENDED) {
		finish(&a);
		return false;
	}
	start(&b);
	while (atomic_load(&b.state) == RUNS &&
	       atomic_load(&a.state) != HAS_ENDED)
		sched_yield();
	finish(&a);
	finish(&b);
	return true;
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
