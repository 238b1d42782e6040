/* SPDX-License-Identifier: MIT */
/*
 * uffd-thread.c - the thread that answers write-protect faults.
 *
 * Called by backend-uffd-sync.c; calls uffd.c and sys.c. Invariant: between a
 * fault and its answer there is nothing that a faulting thread may hold: no
 * lock, no allocation, no watched memory, no signal handler.
 */
#include "uffd-thread.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "uapi/userfaultfd.h"
#include "uffd.h"

#define MESSAGES 16

/* False: the descriptor is not ours any more. */
static bool answer(struct ww_uffd_thread *self, uintptr_t page_size)
{
	struct uffd_msg msg[MESSAGES];
	ssize_t n, i;

	if (!ww_fd_ok(self->uffd))
		return false;
	n = ww_sys_read(self->uffd->fd, msg, sizeof(msg));
	if (n < 0)
		return n == -EAGAIN || n == -EINTR;
	for (i = 0; i < n / (ssize_t)sizeof(msg[0]); i++) {
		uintptr_t at;

		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		at = (uintptr_t)msg[i].arg.pagefault.address & ~(page_size - 1);
		/* Fails where it was unmapped or let go meanwhile: the writer
		 * was woken by that. */
		if (ww_uffd_unprotect(self->uffd, at, at + page_size) < 0)
			ww_uffd_wake(self->uffd, at, at + page_size);
	}
	return true;
}

static void *run(void *arg)
{
	struct ww_uffd_thread *self = arg;
	const uintptr_t page_size = ww_sys_page_size();
	struct pollfd p[2] = { { .fd = self->uffd->fd, .events = POLLIN },
			       { .fd = self->wake.fd, .events = POLLIN } };

	for (;;) {
		int r = ww_sys_poll(p, 2);

		if (r < 0 || p[1].revents || p[0].revents & ~POLLIN ||
		    (p[0].revents && !answer(self, page_size)))
			return NULL;
	}
}

int ww_uffd_thread_start(struct ww_uffd_thread *self, struct ww_fd *uffd)
{
	int fd = ww_sys_eventfd();
	int r;

	self->uffd = uffd;
	self->wake = WW_FD_NONE;
	if (fd < 0)
		return fd;
	r = ww_fd_init(&self->wake, fd, false);
	if (r < 0)
		return r;
	r = ww_sys_thread(&self->thread, run, self);
	if (r < 0)
		ww_fd_finish(&self->wake);
	return r;
}

bool ww_uffd_thread_stop(struct ww_uffd_thread *self)
{
	const uint64_t one = 1;
	bool told =
		ww_fd_ok(&self->wake) &&
		ww_sys_write(self->wake.fd, &one, sizeof(one)) == sizeof(one);

	if (told)
		pthread_join(self->thread, NULL);
	else
		pthread_detach(self->thread);
	ww_fd_finish(&self->wake);
	return told;
}

void ww_uffd_thread_forget(struct ww_uffd_thread *self)
{
	ww_fd_finish(&self->wake);
}
