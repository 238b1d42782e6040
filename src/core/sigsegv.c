/* SPDX-License-Identifier: MIT */
/*
 * sigsegv.c - installing the handler of SIGSEGV.
 *
 * Called by open.c; calls kernel/sys.c. Invariant: the handler that was there
 * before is remembered before our handler is installed.
 *
 * Global: the stack of handlers. A disposition is one for the process, and a
 * handler has no argument.
 */
#include "core/sigsegv.h"

#include "kernel/sys.h"

WW_DATA struct ww_sigsegv ww_sigsegv;

static bool is_ours(const struct sigaction *act)
{
	return act->sa_flags & SA_SIGINFO &&
	       act->sa_sigaction == ww_sigsegv_on_signal;
}

/* If the handler found now is on the stack already, pop down to it. */
static void push_layer(const struct sigaction *now)
{
	struct ww_sigsegv *s = &ww_sigsegv;
	unsigned i, n = atomic_load(&s->layers);

	for (i = 0; i < n; i++)
		if (s->old[i].sa_sigaction == now->sa_sigaction)
			break;
	if (i == WW_SIGSEGV_LAYERS)
		i--;
	s->old[i] = *now;
	atomic_store(&s->layers, i + 1);
}

/* Our handler stays (the library is nodelete) and hands on foreign signals: a
 * thread may have faulted before the last page was opened, and its signal comes
 * later. If the host installed another handler over ours, ours goes on top
 * again. The host's handler may hand signals on to ours: next_layer() notices
 * that such a signal comes a second time. */
static int install(void)
{
	struct sigaction act = { .sa_sigaction = ww_sigsegv_on_signal,
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

int ww_sigsegv_install(void)
{
	int r;

	/* Not a lock that fork() takes: it is free in a child anyway. */
	ww_lock_take(&ww_sigsegv.lock);
	r = install();
	ww_lock_drop(&ww_sigsegv.lock);
	return r;
}
