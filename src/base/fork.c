/* SPDX-License-Identifier: MIT */
/*
 * fork.c - knowing that we are a fork child, and locks that survive it.
 *
 * Called by everyone; calls kernel/sys.c. Invariant: fork() happens with every
 * ww_lock taken except gates, so a child never sees a change half made. (A
 * child of _Fork() or of a bare clone(2) may. It is safe nevertheless: what the
 * child only reads was published by single stores, and what it writes to, the
 * heap and the list of locks, is made anew of what was published so.)
 *
 * Globals: the fork registry. pthread_atfork() takes no argument, so the list
 * of locks must be found without one; the generation word is one for the
 * process because a fork is.
 */
#include "base/fork.h"

#include <pthread.h>

#include "kernel/sys.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux 4.14 */
#endif

WW_DATA static struct {
	struct ww_lock lock; /* guards the list; not on it */
	atomic_bool ready;
	bool wipes;		     /* the kernel zeroes *word in a child */
	_Atomic(atomic_uint *) word; /* the generation; 0: just forked */
	atomic_uint last;	     /* no process has a later generation */
	unsigned mended;	     /* the generation whose list is whole */
	struct ww_lock list; /* the head of a circular list, in order of rank */
	void (*on_child[WW_FORK_HOOKS])(void);
} forks = {
	.list = { .prev = &forks.list, .next = &forks.list },
};

WW_OFTEN unsigned ww_fork_generation(void)
{
	atomic_uint *word = atomic_load(&forks.word);
	unsigned g, zero = 0;

	if (!word)
		return 0;
	g = atomic_load(word);
	if (g)
		return g;
	/* The first one to change the word wins, so all threads of a child get
	 * the same number. Each takes one of its own, before: a handler that
	 * forks between the two lines must not give its child this number. */
	g = atomic_fetch_add(&forks.last, 1) + 1;
	atomic_compare_exchange_strong(word, &zero, g);
	return atomic_load(word);
}

unsigned ww_fork_parent(void)
{
	return forks.mended; /* before() was the last to take the list */
}

uintptr_t ww_fork_page(void)
{
	return (uintptr_t)atomic_load(&forks.word);
}

/* --- locks --- */

enum { FREE, TAKEN, WAITED_FOR };

static unsigned word_of(unsigned state)
{
	return ww_fork_generation() << 2 | state;
}

static bool is_free(unsigned word)
{
	return (word & 3) == FREE || word >> 2 != word_of(FREE) >> 2;
}

void ww_lock_take_inside(struct ww_lock *self)
{
	unsigned state = TAKEN, w = atomic_load(&self->word);

	for (;;) {
		if (is_free(w)) {
			if (atomic_compare_exchange_weak(&self->word, &w,
							 word_of(state)))
				return;
			continue;
		}
		/* From now on each thread that drops the lock has to wake
		 * another, this one too: others may still be waiting. */
		state = WAITED_FOR;
		if (w == word_of(WAITED_FOR) ||
		    atomic_compare_exchange_weak(&self->word, &w,
						 word_of(WAITED_FOR))) {
			ww_sys_futex_wait(&self->word, word_of(WAITED_FOR));
			w = atomic_load(&self->word);
		}
	}
}

void ww_lock_drop_inside(struct ww_lock *self)
{
	if ((atomic_exchange(&self->word, word_of(FREE)) & 3) == WAITED_FOR)
		ww_sys_futex_wake(&self->word, 1);
}

void ww_lock_take(struct ww_lock *self)
{
	uint64_t mask;

	ww_sys_block_signals(&mask);
	ww_lock_take_inside(self);
	self->mask = mask;
}

void ww_lock_drop(struct ww_lock *self)
{
	uint64_t mask = self->mask;

	ww_lock_drop_inside(self);
	ww_sys_restore_signals(mask);
}

/* Take the lock of the list. In a child of a bare clone(2) another thread of the parent
 * may have been changing the list: forward it is whole, the rest is set anew. */
static void take_list(void)
{
	unsigned generation = ww_fork_generation();
	struct ww_lock *prev = &forks.list, *l;

	ww_lock_take(&forks.lock);
	if (forks.mended == generation)
		return;
	for (l = prev->next; l != &forks.list; prev = l, l = l->next) {
		l->prev = prev;
		atomic_store(&l->listed, true);
	}
	forks.list.prev = prev;
	forks.mended = generation;
}

static void put_on_list(struct ww_lock *self)
{
	struct ww_lock *next = forks.list.next;

	while (next != &forks.list && next->rank <= self->rank)
		next = next->next;
	self->prev = next->prev;
	atomic_store(&self->next, next);
	atomic_store(&self->prev->next, self);
	next->prev = self;
}

void ww_lock_init(struct ww_lock *self, enum ww_rank rank)
{
	if (atomic_load(&self->listed))
		return;
	take_list();
	if (!atomic_load(&self->listed)) {
		self->rank = (int)rank;
		put_on_list(self);
		atomic_store(&self->listed, true);
	}
	ww_lock_drop(&forks.lock);
}

void ww_lock_finish(struct ww_lock *self)
{
	take_list();
	atomic_store(&self->prev->next, atomic_load(&self->next));
	self->next->prev = self->prev;
	atomic_store(&self->listed, false);
	ww_lock_drop(&forks.lock);
}

/* --- fork() --- */

static void before(void)
{
	struct ww_lock *l;

	take_list();
	for (l = forks.list.next; l != &forks.list; l = l->next) {
		ww_lock_take_inside(l);
		if (l->rank == WW_LOCK_GATE)
			ww_lock_drop_inside(l);
	}
}

static void drop_all(void)
{
	struct ww_lock *l;

	for (l = forks.list.next; l != &forks.list; l = l->next)
		if (l->rank != WW_LOCK_GATE)
			ww_lock_drop_inside(l);
}

static void in_parent(void)
{
	drop_all();
	ww_lock_drop(&forks.lock);
}

static void in_child(void)
{
	int i;

	if (!forks.wipes) {
		atomic_fetch_add(&forks.last, 1);
		atomic_store(atomic_load(&forks.word),
			     atomic_load(&forks.last));
	}
	/* The locks were taken in the parent's generation, and so are free.
	 * Signals stay blocked until the hooks have run. */
	for (i = 0; i < WW_FORK_HOOKS; i++)
		if (forks.on_child[i])
			forks.on_child[i]();
	ww_lock_drop(&forks.lock);
}

void ww_fork_on_child(int place, void (*fn)(void))
{
	forks.on_child[place] = fn;
}

/* Several threads may come here at once: the first page is taken. */
static int make_word(void)
{
	size_t len = ww_sys_page_size();
	atomic_uint *none = NULL;
	void *page;
	int r;

	if (atomic_load(&forks.word))
		return 0;
	r = ww_sys_mmap(len, &page);
	if (r < 0)
		return r;
	forks.wipes =
		ww_sys_madvise((uintptr_t)page, len, MADV_WIPEONFORK) == 0;
	atomic_store(&forks.last, 1);
	atomic_store((atomic_uint *)page, 1);
	if (!atomic_compare_exchange_strong(&forks.word, &none,
					    (atomic_uint *)page))
		ww_sys_munmap(page, len);
	return 0;
}

int ww_fork_init(void)
{
	int r;

	if (atomic_load(&forks.ready))
		return 0;
	r = make_word();
	if (r < 0)
		return r;
	/* No lock before this: make_word() changes the generation, which is
	 * part of the word of each lock. */
	ww_lock_take(&forks.lock);
	if (!atomic_load(&forks.ready))
		r = -pthread_atfork(before, in_parent, in_child);
	if (r == 0)
		atomic_store(&forks.ready, true);
	ww_lock_drop(&forks.lock);
	return r;
}
