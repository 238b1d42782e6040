/* SPDX-License-Identifier: MIT */
/*
 * fault-handler.c - what runs inside SIGSEGV: find the tracker, or hand the
 * signal to whoever would have had it.
 *
 * Called by the kernel, and by hosts through ww_handle_fault(); calls the
 * backends' fault(), readers.c and three functions of sys.c. Everything on the
 * way from ww_faults_on_signal() is async-signal-safe (a test compares the
 * undefined symbols of this object with a list). Invariant: errno and the
 * signal mask are as they were.
 */
#include <errno.h>
#include <string.h>
#include <ucontext.h>

#include "core/trackers.h"
#include "kernel/sys.h"

/* --- the fault --- */

/* A store, and not a fetch from memory that is not executable? */
static bool is_write(const void *ucontext)
{
	const ucontext_t *uc = ucontext;

	if (!uc)
		return true;
#if defined(__x86_64__) || defined(__i386__)
	return uc->uc_mcontext.gregs[REG_ERR] & 2;
#elif defined(__aarch64__)
	/* A chain of records { magic, size }; ESR_MAGIC's has the syndrome. */
	const char *p = (const char *)uc->uc_mcontext.__reserved;
	uint32_t head[2];
	uint64_t esr;

	for (;; p += head[1]) {
		memcpy(head, p, sizeof(head));
		if (!head[0] || !head[1])
			return true;
		if (head[0] == 0x45535201u)
			break;
	}
	memcpy(&esr, p + sizeof(head), sizeof(esr));
	return esr >> 6 & 1; /* WnR */
#else
	return true;
#endif
}

/* The pages were let go between the fault and this handler: they are open now.
 * Each thread gets one free retry for each time that happened. */
static bool stale(void)
{
	static _Thread_local unsigned seen
		__attribute__((tls_model("initial-exec")));
	unsigned left = atomic_load(&ww_faults.left);

	if (seen == left)
		return false;
	seen = left;
	return true;
}

void ww_faults_left(void)
{
	atomic_fetch_add(&ww_faults.left, 1);
}

int ww_handle_fault(int signo, void *siginfo, void *ucontext)
{
	const siginfo_t *info = siginfo;
	int saved = errno;
	struct ww_ticket ticket;
	const struct ww_roster *r;
	bool ours = false;
	size_t i;

	if (signo != SIGSEGV || !info || info->si_code != SEGV_ACCERR ||
	    !is_write(ucontext))
		return 0;
	ticket = ww_readers_enter(&ww_faults.readers);
	r = atomic_load(&ww_faults.roster);
	for (i = 0; r && !ours && i < r->n; i++) {
		struct ww *ww = atomic_load(&r->ww[i]);

		ours = ww && ww->backend->fault &&
		       ww->backend->fault(ww, (uintptr_t)info->si_addr);
	}
	ww_readers_leave(&ww_faults.readers, ticket);
	ours = ours || stale();
	errno = saved;
	return ours;
}

/* --- whoever would have had it --- */

/* As the kernel would have: default action, or ignored where that is allowed.
 */
static void chain_default(int signo, const siginfo_t *info, bool ignore)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	if (ignore && info->si_code <= 0)
		return; /* sent by a program, not by a fault */
	ww_sys_sigaction(signo, &dfl, NULL);
	/* A fault happens again on return. What was sent does not. */
	if (info->si_code <= 0)
		ww_sys_raise(signo);
}

/* Who is next? A handler that we hand on to may hand on to us again, as it was
 * installed on top of us once, before we went on top of it. The kernel leaves
 * uc_link zero for each signal and does not read it: it tells how far down this
 * signal has come, also after a siglongjmp(). */
static struct sigaction *next_layer(ucontext_t *uc)
{
	struct sigaction *old = ww_faults.old;
	struct sigaction *from = uc ? (struct sigaction *)uc->uc_link : NULL;
	unsigned n = atomic_load(&ww_faults.layers);
	bool below = from >= old && from < old + WW_FAULT_LAYERS;

	if (below)
		n = (unsigned)(from - old);
	if (n == 0)
		return NULL;
	if (uc && (below || !from))
		uc->uc_link = (ucontext_t *)&old[n - 1];
	return &old[n - 1];
}

/* The mask that it would have run with; ours is all signals. */
static void set_mask(int signo, const struct sigaction *old,
		     const ucontext_t *uc)
{
	sigset_t mask = old->sa_mask;
	int i;

	for (i = 1; i < _NSIG; i++)
		if (sigismember(&uc->uc_sigmask, i) == 1)
			sigaddset(&mask, i);
	if (!(old->sa_flags & SA_NODEFER))
		sigaddset(&mask, signo);
	ww_sys_sigmask(SIG_SETMASK, &mask, NULL);
}

static void chain(int signo, siginfo_t *info, void *ucontext)
{
	struct sigaction *layer = next_layer(ucontext);
	struct sigaction old = { .sa_handler = SIG_DFL };

	if (layer)
		old = *layer;
	if (old.sa_handler == SIG_DFL || old.sa_handler == SIG_IGN) {
		chain_default(signo, info, old.sa_handler == SIG_IGN);
		return;
	}
	if (old.sa_flags & SA_RESETHAND)
		layer->sa_handler = SIG_DFL;
	if (ucontext)
		set_mask(signo, &old, ucontext);
	if (old.sa_flags & SA_SIGINFO)
		old.sa_sigaction(signo, info, ucontext);
	else
		old.sa_handler(signo);
}

void ww_faults_on_signal(int signo, siginfo_t *info, void *ucontext)
{
	int saved = errno;

	if (!ww_handle_fault(signo, info, ucontext))
		chain(signo, info, ucontext);
	errno = saved;
}
