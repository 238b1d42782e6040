/* SPDX-License-Identifier: MIT */
/*
 * fault-registry.c - the trackers of this process: which of them the SIGSEGV
 * handler looks in, and installing it; who watches what.
 *
 * Called by api.c and watch.c; calls range.c and sys.c. Invariant: who had
 * the signal before us is remembered before our handler is installed.
 *
 * Global: the signal registry. A disposition is one for the process, and a
 * handler has no argument to find its trackers by.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/trackers.h"
#include "kernel/sys.h"

struct ww_faults ww_faults = { .once = PTHREAD_ONCE_INIT };

static void init_registry(void)
{
	ww_lock_init(&ww_faults.lock, WW_LOCK_SIGNALS);
}

/* Replace the roster by one with `add`, or without `drop`. */
static int change_roster(struct ww *add, const struct ww *drop)
{
	struct ww_roster *old = atomic_load(&ww_faults.roster), *new;
	size_t i, n = old ? old->n : 0;

	new = malloc(sizeof(*new) + (n + 1) * sizeof(struct ww *));
	if (!new)
		return -ENOMEM;
	new->n = 0;
	for (i = 0; i < n; i++) {
		struct ww *ww = atomic_load(&old->ww[i]);

		if (ww && ww != drop)
			atomic_init(&new->ww[new->n++], ww);
	}
	if (add)
		atomic_init(&new->ww[new->n++], add);
	atomic_store(&ww_faults.roster, new);
	ww_readers_wait(&ww_faults.readers);
	free(old);
	return 0;
}

static bool is_ours(const struct sigaction *act)
{
	return act->sa_flags & SA_SIGINFO &&
	       act->sa_sigaction == ww_faults_on_signal;
}

/* Remember who is on top now. One that was there before and is again brings
 * back what was below it. */
static void push_layer(const struct sigaction *now)
{
	struct ww_faults *r = &ww_faults;
	unsigned i, n = atomic_load(&r->layers);

	for (i = 0; i < n; i++)
		if (r->old[i].sa_sigaction == now->sa_sigaction)
			break;
	if (i == WW_FAULT_LAYERS)
		i--;
	r->old[i] = *now;
	atomic_store(&r->layers, i + 1);
}

/* It stays for ever (the library is nodelete), and hands on: a thread may have
 * faulted before the last page was opened, and its signal comes later. Who was
 * installed on top of it may hand on to us, or not: a tracker goes on top
 * again, and when it comes around a second time the handler knows (chain()). */
static int install(void)
{
	struct sigaction act = { .sa_sigaction = ww_faults_on_signal,
				 .sa_flags =
					 SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct sigaction now;
	int r = ww_sys_sigaction(SIGSEGV, NULL, &now);

	if (r < 0 || is_ours(&now))
		return r;
	sigfillset(&act.sa_mask);
	push_layer(&now); /* before the first fault can come */
	return ww_sys_sigaction(SIGSEGV, &act, NULL);
}

static bool meet(const struct ww *other, const struct ww_slice *s)
{
	size_t i;

	for (i = 0; i < other->nclaimed; i++)
		if (other->claim[i].start < s->end &&
		    s->start < other->claim[i].end)
			return true;
	return false;
}

/* Is it some other tracker's? ww_faults.lock. */
static bool is_taken(const struct ww *ww, const struct ww_slice *s)
{
	const struct ww_roster *r = atomic_load(&ww_faults.roster);
	bool taken = false;
	size_t i;

	for (i = 0; r && i < r->n && !taken; i++) {
		struct ww *other = atomic_load(&r->ww[i]);
		struct ww_ticket ticket;

		if (!other || other == ww)
			continue;
		ticket = ww_readers_enter(&other->ranges.readers);
		taken = meet(other, s) ||
			ww_ranges_overlap(&other->ranges, s->start, s->end);
		ww_readers_leave(&other->ranges.readers, ticket);
	}
	return taken;
}

int ww_faults_claim(struct ww *ww, const struct ww_slice *slice, size_t n)
{
	size_t i;
	int r = 0;

	if (ww_process_is_other(&ww->process))
		return 0;
	ww_lock_take(&ww_faults.lock);
	for (i = 0; i < n && r == 0; i++)
		if (is_taken(ww, &slice[i]))
			r = -EBUSY;
	if (r == 0) {
		ww->claim = slice;
		ww->nclaimed = n;
	}
	ww_lock_drop(&ww_faults.lock);
	return r;
}

void ww_faults_claim_back(struct ww *ww, const struct ww_slice *slice, size_t n)
{
	if (ww_process_is_other(&ww->process))
		return;
	ww_lock_take(&ww_faults.lock);
	ww->claim = slice;
	ww->nclaimed = n;
	ww_lock_drop(&ww_faults.lock);
}

int ww_faults_register(struct ww *ww)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return 0;
	pthread_once(&ww_faults.once, init_registry);
	ww_lock_take(&ww_faults.lock);
	r = change_roster(ww, NULL);
	if (r == 0 && ww->backend->fault &&
	    !(ww->flags & WW_OPEN_HOST_SIGNALS)) {
		r = install();
		if (r < 0)
			change_roster(NULL, ww);
	}
	ww_lock_drop(&ww_faults.lock);
	return r;
}

void ww_faults_unregister(struct ww *ww)
{
	if (ww_process_is_other(&ww->process))
		return;
	ww_lock_take(&ww_faults.lock);
	if (change_roster(NULL, ww) < 0) {
		/* No memory for a shorter one: leave a gap in the old, which
		 * others may be walking through. */
		struct ww_roster *old = atomic_load(&ww_faults.roster);
		size_t i;

		for (i = 0; i < old->n; i++)
			if (atomic_load(&old->ww[i]) == ww)
				atomic_store(&old->ww[i], NULL);
		ww_readers_wait(&ww_faults.readers);
	}
	ww_lock_drop(&ww_faults.lock);
}
