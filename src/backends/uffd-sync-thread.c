/* SPDX-License-Identifier: MIT */
/*
 * uffd-sync-thread.c - the thread that answers write-protect faults.
 *
 * Called by uffd-sync.c; calls uffd.c and sys.c. Invariant: between a fault and
 * its answer there is nothing that a faulting thread may hold: no lock, no
 * allocation, no watched memory, no signal handler, no thread-local storage, and
 * no descriptor that the host could close.
 *
 * The library calls the thread by a fault too, on a page for it, the bell: a
 * pipe or an eventfd could be closed, or be taken for one of the host's.
 */
#include "backends/uffd-sync-thread.h"

#include <errno.h>
#include <string.h>

#include "base/fork.h"
#include "base/heap.h"
#include "kernel/uapi/userfaultfd.h"
#include "kernel/uffd.h"
#include "writewatch.h"

#define MESSAGES 16
#define NOT_OURS_NS 2000000
#define STACK ((size_t)32 << 10)

/* --- answers --- */

/* For WW_WATCH_COARSE_OK: open the block around the page, as far as it is
 * watched. False: it was not opened. */
static bool open_block(struct ww_sync_thread *self, uintptr_t at)
{
	struct ww_ticket ticket, changing;
	struct ww_slice s;
	int r = -1;

	if (!ww_ranges_pin_one(self->ranges, at, &s, &ticket))
		return false;
	changing = ww_readers_enter(&s.area->changers);
	if (s.area->flags & WW_WATCH_COARSE_OK &&
	    ww_ranges_around(self->ranges, s.area, at, &s)) {
		ww_slice_block(&s, at);
		r = ww_uffd_unprotect(&self->uffd, s.start, s.end);
	}
	ww_readers_leave(&s.area->changers, changing);
	ww_readers_leave(&s.area->users, ticket);
	return r == 0;
}

static void open_page(struct ww_sync_thread *self, uintptr_t at, size_t len)
{
	/* Fails where the memory was unmapped or unwatched meanwhile, which need
	 * not have woken the writer. */
	if (ww_uffd_unprotect(&self->uffd, at, at + len) < 0)
		ww_uffd_wake(&self->uffd, at, at + len);
}

/* The bell rang. False: the thread is to end. */
static bool called(struct ww_sync_thread *self, size_t page)
{
	uintptr_t bell = (uintptr_t)self->bell, end;

	open_page(self, bell, page);
	if (atomic_load(&self->stop))
		return false;
	end = atomic_load(&self->release_end);
	if (end)
		ww_uffd_let_go(&self->uffd, atomic_load(&self->release_start),
			       end);
	/* Until the caller's store has landed: on a busy machine a bell that is
	 * protected again before would keep the caller ringing for ever. */
	while (atomic_load(&self->ringing))
		ww_sys_sleep_ns(1000);
	/* Nobody of ours: mlockall(2) faults each page in for writing, and has to
	 * get on. */
	if (!end)
		ww_sys_sleep_ns(NOT_OURS_NS);
	ww_uffd_protect(&self->uffd, bell, bell + page);
	if (end)
		atomic_store(&self->release_end, 0);
	return true;
}

static bool answer(struct ww_sync_thread *self, const struct uffd_msg *msg,
		   size_t n, size_t page)
{
	uintptr_t at[MESSAGES];
	size_t i, k;

	for (i = 0; i < n; i++) {
		at[i] = (uintptr_t)msg[i].arg.pagefault.address & ~(page - 1);
		/* Two threads in one page: the first answer woke both. A second
		 * answer could open a page that a query has reported and
		 * protected again meanwhile. */
		for (k = 0; k < i && at[k] != at[i]; k++)
			;
		if (k < i || msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		if (at[i] == (uintptr_t)self->bell) {
			if (!called(self, page))
				return false;
			continue;
		}
		ww_turns_opened(&self->turns, at[i], msg[i].arg.pagefault.ptid);
		if (!open_block(self, at[i]))
			open_page(self, at[i], page);
	}
	return true;
}

/* No thread-local storage: this thread has that of its starter. */
static int run(void *arg)
{
	struct ww_sync_thread *self = arg;
	const size_t page = ww_sys_page_size();
	struct uffd_msg msg[MESSAGES];
	ssize_t n;

	/* Writers of any priority wait for this thread. */
	ww_sys_rush();
	atomic_store(&self->own_table,
		     ww_sys_keep_only(self->uffd.fd) == 0 ? 1 : 2);
	ww_sys_futex_wake(&self->own_table, 1);
	do {
		/* the number may be another file's by now */
		if (atomic_load(&self->own_table) != 1 &&
		    !ww_fd_ok(&self->uffd))
			break;
		n = ww_sys_read(self->uffd.fd, msg, sizeof(msg));
	} while (
		n == -EINTR ||
		(n > 0 && answer(self, msg, (size_t)n / sizeof(msg[0]), page)));
	return 0;
}

/* --- start and end --- */

/* The bell is the first whole page above the stack, in a block of the heap that is
 * a mapping of its own: unmapped when it is freed, registration and all. */
static size_t block_bytes(void)
{
	return STACK + 2 * ww_sys_page_size();
}

static int make_bell(struct ww_sync_thread *self, const struct ww_fd *uffd)
{
	const size_t page = ww_sys_page_size();
	uintptr_t bell = (uintptr_t)self->stack + STACK + page - 1;
	int r;

	bell -= bell % page;
	self->bell = (volatile char *)bell;
	self->bell[0] = 0; /* before 6.4 only what exists can be protected */
	r = ww_uffd_register(uffd, bell, bell + page);
	return r < 0 ? r : ww_uffd_protect(uffd, bell, bell + page);
}

static void free_block(struct ww_sync_thread *self)
{
	ww_heap_free(self->stack, block_bytes());
	self->generation = 0;
}

int ww_sync_thread_start(struct ww_sync_thread *self, const struct ww_fd *uffd,
			 struct ww_ranges *ranges)
{
	int r;

	memset(self, 0, sizeof(*self));
	self->ranges = ranges;
	self->uffd = *uffd;
	self->stack = ww_heap_new(block_bytes());
	if (!self->stack)
		return -ENOMEM;
	r = ww_sys_set_blocking(uffd->fd);
	if (r == 0)
		r = make_bell(self, uffd);
	if (r < 0) {
		free_block(self);
		return r;
	}
	r = ww_sys_thread(self->stack, STACK, run, self, &self->alive);
	if (r < 0) {
		free_block(self);
		return r;
	}
	self->generation = ww_fork_generation();
	while (atomic_load(&self->own_table) == 0)
		ww_sys_futex_wait(&self->own_table, 0);
	return 0;
}

void ww_sync_thread_release(struct ww_sync_thread *self, uintptr_t start,
			    uintptr_t end)
{
	if (self->generation != ww_fork_generation() ||
	    atomic_load(&self->own_table) != 1)
		return;
	atomic_store(&self->release_start, start);
	atomic_store(&self->release_end, end);
	/* A store to a bell that is still open calls nobody: ring again. */
	do {
		atomic_store(&self->ringing, true);
		self->bell[0] = 1;
		atomic_store(&self->ringing, false);
		ww_sys_sleep_ns(10000);
	} while (atomic_load(&self->release_end));
}

void ww_sync_thread_stop(struct ww_sync_thread *self)
{
	if (!self->generation)
		return;
	if (self->generation == ww_fork_generation()) {
		atomic_store(&self->stop, true);
		while (atomic_load(&self->alive)) {
			self->bell[0] = 1;
			ww_sys_sleep_ns(10000);
		}
	}
	free_block(self);
}
