/* SPDX-License-Identifier: MIT */
/*
 * uffd-thread.c - the thread that answers write-protect faults.
 *
 * Called by backend-uffd-sync.c; calls uffd.c and sys.c. Invariant: between a
 * fault and its answer there is nothing that a faulting thread may hold: no
 * lock, no allocation, no watched memory, no signal handler, and no descriptor
 * that the host could close.
 *
 * It is called by a fault as well: on a page of its own, the bell. A pipe or an
 * eventfd could be closed behind our back, or be taken for one of the host's.
 */
#include "backends/uffd-sync-thread.h"

#include <errno.h>

#include "base/fork.h"
#include "kernel/uapi/userfaultfd.h"
#include "kernel/uffd.h"
#include "writewatch.h"

#define MESSAGES 16

/* Memory that may be reported coarsely: all of the block at once, as far as it
 * is watched. */
static bool open_block(struct ww_uffd_thread *self, uintptr_t at)
{
	struct ww_ticket ticket;
	struct ww_slice s;
	int r = -1;

	if (!ww_ranges_pin_one(self->ranges, at, &s, &ticket))
		return false;
	if (s.area->flags & WW_WATCH_COARSE) {
		ww_slice_block(&s, at);
		r = ww_uffd_unprotect(&self->uffd, s.start, s.end);
	}
	ww_readers_leave(&s.area->users, ticket);
	return r == 0;
}

static void open_page(struct ww_uffd_thread *self, uintptr_t at, size_t len)
{
	/* Fails where it was unmapped or let go meanwhile: the writer was woken
	 * by that. */
	if (ww_uffd_unprotect(&self->uffd, at, at + len) < 0)
		ww_uffd_wake(&self->uffd, at, at + len);
}

/* False: it is to end. */
static bool called(struct ww_uffd_thread *self, size_t page)
{
	uintptr_t bell = (uintptr_t)self->bell, end;

	open_page(self, bell, page);
	if (atomic_load(&self->stop))
		return false;
	end = atomic_load(&self->release_end);
	if (end)
		ww_uffd_let_go(&self->uffd, atomic_load(&self->release_start),
			       end);
	/* Who called may not have written yet: it calls once more then, for
	 * nothing, or while it waits. Let it run first, whatever its priority.
	 */
	ww_sys_sleep_ns(1000);
	ww_uffd_protect(&self->uffd, bell, bell + page);
	if (end)
		atomic_store(&self->release_end, 0);
	return true;
}

static bool answer(struct ww_uffd_thread *self, const struct uffd_msg *msg,
		   size_t n, size_t page)
{
	uintptr_t at[MESSAGES];
	size_t i, k;

	for (i = 0; i < n; i++) {
		at[i] = (uintptr_t)msg[i].arg.pagefault.address & ~(page - 1);
		/* Two threads in one page: the first answer woke both. They may
		 * have written by now, and a query have reported that and
		 * protected the page again. */
		for (k = 0; k < i && at[k] != at[i]; k++)
			;
		if (k < i || msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		if (at[i] == (uintptr_t)self->bell) {
			if (!called(self, page))
				return false;
		} else if (!open_block(self, at[i])) {
			open_page(self, at[i], page);
		}
	}
	return true;
}

static void *run(void *arg)
{
	struct ww_uffd_thread *self = arg;
	const size_t page = ww_sys_page_size();
	struct uffd_msg msg[MESSAGES];
	ssize_t n;

	self->own_table = ww_sys_keep_only(self->uffd.fd) == 0;
	pthread_barrier_wait(&self->started);
	do {
		if (!self->own_table && !ww_fd_ok(&self->uffd))
			break;
		n = ww_sys_read(self->uffd.fd, msg, sizeof(msg));
	} while (
		n == -EINTR ||
		(n > 0 && answer(self, msg, (size_t)n / sizeof(msg[0]), page)));
	atomic_store(&self->ended, true);
	return NULL;
}

static int make_bell(struct ww_uffd_thread *self, const struct ww_fd *uffd)
{
	const size_t page = ww_sys_page_size();
	void *bell;
	int r = ww_sys_mmap(page, &bell);

	if (r < 0)
		return r;
	self->bell = bell;
	self->bell[0] = 0; /* before 6.4 only what exists can be protected */
	r = ww_uffd_register(uffd, (uintptr_t)bell, (uintptr_t)bell + page);
	if (r == 0)
		r = ww_uffd_protect(uffd, (uintptr_t)bell,
				    (uintptr_t)bell + page);
	if (r < 0)
		ww_sys_munmap(bell, page);
	return r;
}

int ww_uffd_thread_start(struct ww_uffd_thread *self, const struct ww_fd *uffd,
			 struct ww_ranges *ranges)
{
	int r;

	*self = (struct ww_uffd_thread){ .ranges = ranges, .uffd = *uffd };
	r = ww_sys_set_blocking(uffd->fd);
	if (r == 0)
		r = make_bell(self, uffd);
	if (r < 0)
		return r;
	pthread_barrier_init(&self->started, NULL, 2);
	r = ww_sys_thread(&self->thread, run, self);
	if (r < 0) {
		ww_sys_munmap((void *)self->bell, ww_sys_page_size());
		return r;
	}
	self->generation = ww_fork_generation();
	pthread_barrier_wait(&self->started);
	return 0;
}

void ww_uffd_thread_release(struct ww_uffd_thread *self, uintptr_t start,
			    uintptr_t end)
{
	if (self->generation != ww_fork_generation() || !self->own_table)
		return;
	atomic_store(&self->release_start, start);
	atomic_store(&self->release_end, end);
	/* The bell may be open still from the call before: ring again. */
	do {
		self->bell[0] = 1;
		ww_sys_sleep_ns(10000);
	} while (atomic_load(&self->release_end));
}

void ww_uffd_thread_stop(struct ww_uffd_thread *self)
{
	if (!self->generation)
		return;
	if (self->generation == ww_fork_generation()) {
		atomic_store(&self->stop, true);
		while (!atomic_load(&self->ended)) {
			self->bell[0] = 1;
			ww_sys_sleep_ns(10000);
		}
		ww_sys_join(self->thread);
		pthread_barrier_destroy(&self->started);
	}
	self->generation = 0;
	ww_sys_munmap((void *)self->bell, ww_sys_page_size());
}
