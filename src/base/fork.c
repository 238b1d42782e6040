/* SPDX-License-Identifier: MIT */
/*
 * fork.c - knowing that we are a fork child, and locks that survive it.
 *
 * Called by api.c and win32-memory.c for their locks, by everyone for the
 * generation; calls sys.c. Invariant: fork() happens with every ww_lock held
 * but for gates, so a child never sees a change half made.
 *
 * Globals: the fork registry. pthread_atfork() takes no argument, so the list
 * of locks must be found without one; the generation word is one for the
 * process because a fork is.
 */
#include "base/fork.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "kernel/sys.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux 4.14 */
#endif

static struct {
	pthread_once_t once;
	int status;
	bool wipes;		     /* the kernel zeroes *word in a child */
	_Atomic(atomic_uint *) word; /* the generation; 0: just forked */
	atomic_uint last;	     /* the generation before a wipe */
	pthread_mutex_t mutex;	     /* guards the list */
	struct ww_lock list;	     /* its ends; by rank */
} forks = {
	.once = PTHREAD_ONCE_INIT,
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.list = { .prev = &forks.list, .next = &forks.list },
};

unsigned ww_fork_generation(void)
{
	atomic_uint *word = atomic_load(&forks.word);
	unsigned g, zero = 0;

	if (!word)
		return 0;
	g = atomic_load(word);
	if (g)
		return g;
	/* All threads of a child compute the same number here: `last` changes
	 * only after the word did. */
	g = atomic_load(&forks.last) + 1;
	if (atomic_compare_exchange_strong(word, &zero, g))
		atomic_store(&forks.last, g);
	return atomic_load(word);
}

static void before(void)
{
	struct ww_lock *l;

	pthread_mutex_lock(&forks.mutex);
	for (l = forks.list.next; l != &forks.list; l = l->next) {
		pthread_mutex_lock(&l->mutex);
		if (l->rank == WW_LOCK_GATE)
			pthread_mutex_unlock(&l->mutex);
	}
}

static void unlock_all(void)
{
	struct ww_lock *l;

	for (l = forks.list.prev; l != &forks.list; l = l->prev)
		if (l->rank != WW_LOCK_GATE)
			pthread_mutex_unlock(&l->mutex);
	pthread_mutex_unlock(&forks.mutex);
}

static void child(void)
{
	struct ww_lock *l;

	if (!forks.wipes) {
		atomic_fetch_add(&forks.last, 1);
		atomic_store(forks.word, atomic_load(&forks.last));
	}
	for (l = forks.list.next; l != &forks.list; l = l->next) {
		if (l->rank == WW_LOCK_GATE) /* whose holder is not here */
			pthread_mutex_init(&l->mutex, NULL);
		l->generation = ww_fork_generation();
	}
	unlock_all();
}

static void init_once(void)
{
	size_t len = ww_sys_page_size();
	void *page;

	forks.status = ww_sys_mmap(len, &page);
	if (forks.status < 0)
		return;
	forks.wipes =
		ww_sys_madvise((uintptr_t)page, len, MADV_WIPEONFORK) == 0;
	atomic_store(&forks.last, 1);
	atomic_store((atomic_uint *)page, 1);
	atomic_store(&forks.word, page);
	forks.status = -pthread_atfork(before, unlock_all, child);
}

int ww_fork_init(void)
{
	pthread_once(&forks.once, init_once);
	return forks.status;
}

void ww_lock_init(struct ww_lock *self, int rank)
{
	struct ww_lock *next;

	self->rank = rank;
	pthread_mutex_init(&self->mutex, NULL);
	self->generation = ww_fork_generation();
	pthread_mutex_lock(&forks.mutex);
	next = forks.list.next;
	while (next != &forks.list && next->rank <= rank)
		next = next->next;
	self->next = next;
	self->prev = next->prev;
	next->prev->next = self;
	next->prev = self;
	pthread_mutex_unlock(&forks.mutex);
}

void ww_lock_finish(struct ww_lock *self)
{
	pthread_mutex_lock(&forks.mutex);
	self->prev->next = self->next;
	self->next->prev = self->prev;
	pthread_mutex_unlock(&forks.mutex);
	pthread_mutex_destroy(&self->mutex);
}

void ww_lock_take(struct ww_lock *self)
{
	unsigned g = ww_fork_generation();

	if (self->generation != g) {
		/* A child of a bare clone(2), which runs no atfork handler:
		 * the mutex may be held by a thread that is not here. */
		pthread_mutex_init(&self->mutex, NULL);
		self->generation = g;
	}
	pthread_mutex_lock(&self->mutex);
}

void ww_lock_drop(struct ww_lock *self)
{
	pthread_mutex_unlock(&self->mutex);
}
