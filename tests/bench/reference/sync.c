/* SPDX-License-Identifier: MIT */
/*
 * sync.c - userfaultfd write-protection with a thread that answers each fault,
 * as snapshotters write it: a byte a page, an ioctl for each page opened and
 * for each run closed. It loses racing writes.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/uapi/userfaultfd.h"
#include "../bench.h"

static int uffd = -1, quit = -1;
static pthread_t thread;
static char *base;
static volatile unsigned char *written;

static void set_protection(char *m, size_t len, bool on)
{
	struct uffdio_writeprotect wp = { { (uintptr_t)m, len },
					  on ? UFFDIO_WRITEPROTECT_MODE_WP
					     : 0 };

	ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

static void *answer(void *arg)
{
	struct pollfd p[2] = { { uffd, POLLIN, 0 }, { quit, POLLIN, 0 } };
	struct uffd_msg msg;

	while (poll(p, 2, -1) >= 0 && !p[1].revents) {
		char *at;

		if (read(uffd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
			continue;
		at = (char *)((uintptr_t)msg.arg.pagefault.address &
			      ~(PAGE - 1));
		written[(size_t)(at - base) / PAGE] = 1;
		set_protection(at, PAGE, false);
	}
	return NULL;
}

static int sync_open(const char *name)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					      UFFD_FEATURE_WP_UNPOPULATED };

	uffd = (int)syscall(SYS_userfaultfd,
			    UFFD_USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0)
		return -1;
	quit = eventfd(0, EFD_CLOEXEC);
	if (ioctl(uffd, UFFDIO_API, &api) == 0)
		return pthread_create(&thread, NULL, answer, NULL);
	close(uffd);
	close(quit);
	return -1;
}

static void sync_close(void)
{
	uint64_t one = 1;

	if (write(quit, &one, 8) != 8)
		abort();
	pthread_join(thread, NULL);
	close(uffd);
	close(quit);
}

static int sync_watch(char *m, size_t len)
{
	struct uffdio_register r = { { (uintptr_t)m, len },
				     UFFDIO_REGISTER_MODE_WP,
				     0 };

	base = m;
	written = calloc(len / PAGE, 1);
	if (ioctl(uffd, UFFDIO_REGISTER, &r) < 0)
		return -1;
	set_protection(m, len, true);
	return 0;
}

static void sync_unwatch(char *m, size_t len)
{
	struct uffdio_range range = { (uintptr_t)m, len };

	set_protection(m, len, false);
	ioctl(uffd, UFFDIO_UNREGISTER, &range);
	free((void *)written);
}

static size_t sync_get(char *m, size_t len, void **out, size_t room)
{
	size_t i, n = 0, npages = len / PAGE, first = (size_t)(m - base) / PAGE;

	for (i = 0; i < npages && n < room; i++) {
		size_t from = i;

		for (; i < npages && n < room && written[first + i]; i++) {
			written[first + i] = 0;
			out[n++] = m + i * PAGE;
		}
		if (i > from)
			set_protection(m + from * PAGE, (i - from) * PAGE,
				       true);
	}
	return n;
}

const struct technique reference_sync = { "userfaultfd and thread",
					  sync_open,
					  sync_close,
					  sync_watch,
					  sync_unwatch,
					  sync_get,
					  256 * MIB,
					  256 * MIB };
