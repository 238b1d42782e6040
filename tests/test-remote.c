/* SPDX-License-Identifier: MIT */
/* test-remote.c - the memory of another process, by pidfd. */
#include "test.h"

#include <signal.h>
#include <sys/syscall.h>

#define N 8

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438 /* Linux 5.6 */
#endif

static char *m; /* at this address in the child too */

struct child {
	pid_t pid;
	int pidfd, uffd;
	int ask, answer;
};

/* Writes to the pages that it is asked to. */
static void child_main(int ask, int answer)
{
	int uffd = (int)syscall(SYS_userfaultfd, 1 | O_CLOEXEC | O_NONBLOCK);
	unsigned char page;

	CHECK(write(answer, &uffd, sizeof(uffd)) == sizeof(uffd));
	while (read(ask, &page, 1) == 1) {
		((volatile char *)m)[page * PAGE]++;
		CHECK(write(answer, &page, 1) == 1);
	}
	_exit(0);
}

static struct child child_start(void)
{
	struct child c = { .uffd = -1 };
	int to[2], from[2], number;

	assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
	c.pid = fork();
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		close(to[1]);
		close(from[0]);
		child_main(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	c.ask = to[1];
	c.answer = from[0];
	c.pidfd = (int)syscall(SYS_pidfd_open, c.pid, 0);
	assert_true(c.pidfd >= 0);
	assert_int_equal(read(c.answer, &number, sizeof(number)),
			 sizeof(number));
	if (number >= 0)
		c.uffd = (int)syscall(SYS_pidfd_getfd, c.pidfd, number, 0);
	return c;
}

static void child_write(struct child *c, unsigned char page)
{
	assert_int_equal(write(c->ask, &page, 1), 1);
	assert_int_equal(read(c->answer, &page, 1), 1);
}

static void child_end(struct child *c)
{
	close(c->ask);
	assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
	close(c->answer);
}

static int open_requiring(struct ww **out, const struct child *c,
			  unsigned require)
{
	struct ww_options o = { .size = sizeof(o),
				.flags = WW_OPEN_PIDFD,
				.pidfd = c->pidfd,
				.require = require };

	if (c->uffd >= 0) {
		o.flags |= WW_OPEN_UFFD;
		o.uffd = c->uffd;
	}
	return ww_open(out, &o);
}

static int open_remote(struct ww **out, const struct child *c)
{
	return open_requiring(out, c, 0);
}

static void a_child_is_watched(void **state)
{
	struct ww *local = test_open(), *ww;
	unsigned promised = test_caps(local), caps;
	struct child c;
	void *pages[N];
	size_t n = N;
	int r;

	ww_close(local);
	m = test_map(N);
	c = child_start();
	r = open_remote(&ww, &c);
	if (!(promised & WW_CAP_REMOTE) || r < 0) {
		/* or it made no userfaultfd that we could have */
		assert_int_equal(r, -EOPNOTSUPP);
		test_not_promised("another process");
		child_end(&c);
		test_unmap(m, N);
		return;
	}
	caps = test_caps(ww);
	assert_true(caps & WW_CAP_REMOTE);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	child_write(&c, 3);
	test_write(m, 5, -1); /* ours, not the child's */
	if (caps & WW_CAP_ATOMIC_RESET) {
		test_expect(ww, m, N, 0, 3, -1);
		test_expect(ww, m, N, WW_RESET, 3, -1);
		test_expect(ww, m, N, 0, -1);
		child_write(&c, 3);
		child_write(&c, 4);
		test_expect(ww, m, N, WW_RESET, 3, 4, -1);
	} else {
		/* queries only: nobody has cleared what was there before */
		assert_int_equal(ww_get(ww, m, N * PAGE, 0, pages, &n, NULL),
				 0);
		assert_true(n >= 1);
		assert_int_equal(ww_get(ww, m, N * PAGE, WW_RESET, pages,
					&n, NULL),
				 -EOPNOTSUPP);
		assert_int_equal(ww_reset(ww, m, N * PAGE, 0), -EOPNOTSUPP);
	}
	assert_int_equal(ww_protect(ww, m, PAGE, PROT_READ, 0), -EOPNOTSUPP);
	assert_int_equal(ww_discard(ww, m, PAGE, 0), -EOPNOTSUPP);
	child_end(&c);
	n = N;
	assert_int_equal(ww_get(ww, m, N * PAGE, 0, pages, &n, NULL), -ESRCH);
	assert_int_equal(ww_watch(ww, m + N * PAGE, PAGE, 0), -ESRCH);
	ww_close(ww);
	assert_int_equal(open_remote(&ww, &c), -ESRCH);
	close(c.uffd);
	close(c.pidfd);
	test_unmap(m, N);
}

/* A backend may promise less for another process than for its own. */
static void what_is_required_is_promised(void **state)
{
	unsigned cap;

	m = test_map(N);
	for (cap = 1; cap <= WW_CAP_FOREIGN_WRITES; cap <<= 1) {
		struct child c = child_start();
		struct ww *ww;
		int r = open_requiring(&ww, &c, cap);

		if (r == 0) {
			assert_true(test_caps(ww) & cap);
			ww_close(ww);
		} else {
			assert_int_equal(r, -EOPNOTSUPP);
		}
		child_end(&c);
		close(c.uffd);
		close(c.pidfd);
	}
	test_unmap(m, N);
}

/* In a child without any right to the other process. */
static void as_nobody(void *arg)
{
	struct child *c = arg;
	struct ww *ww;
	int r;

	CHECK(setuid(65534) == 0);
	r = open_remote(&ww, c);
	if (r == 0) {
		r = ww_watch(ww, m, N * PAGE, 0);
		ww_close(ww);
	}
	CHECK(r == -EPERM || r == -EOPNOTSUPP);
}

static void without_the_right_it_is_refused(void **state)
{
	struct child c;

	if (getuid() != 0) {
		test_not_promised("root's rights");
		return;
	}
	m = test_map(N);
	c = child_start();
	close(c.uffd);
	c.uffd = -1; /* who has that has the right already */
	assert_int_equal(test_child(as_nobody, &c), 0);
	child_end(&c);
	close(c.pidfd);
	test_unmap(m, N);
}

TEST_MAIN("remote", CASE(a_child_is_watched),
	  CASE(what_is_required_is_promised),
	  CASE(without_the_right_it_is_refused))
