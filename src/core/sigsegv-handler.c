/* SPDX-License-Identifier: MIT */
/*
 * sigsegv-handler.c - what runs inside SIGSEGV: find the tracker, or hand the
 * signal to the handler that was installed before ours.
 *
 * Called by the kernel, and by hosts through ww_handle_fault(); calls the
 * backends' fault(), trackers.c and a few functions of sys.c. Everything on the
 * way from ww_sigsegv_on_signal() to a page that is open is async-signal-safe
 * and uses no thread-local storage: a 32-bit thread of a compatibility layer
 * comes with another thread pointer. (A test compares the undefined symbols of
 * this object with a list.) Invariant: errno and the signal mask are as they
 * were.
 */
#include <string.h>

#include "core/sigsegv.h"
#include "core/trackers.h"
#include "kernel/arch.h"
#include "kernel/sys.h"

/* --- the fault --- */

/* May the fault be the fetch of an instruction? Yes if the record of the fault
 * does not tell stores from fetches, and the first or the last byte of the
 * instruction is in the page that faulted. */
static bool may_be_fetch(const ucontext_t *uc, uintptr_t at)
{
	uintptr_t pc, page;

	if (!uc || WW_ARCH_TELLS_STORES)
		return false;
	page = ww_sys_page_size();
	pc = ww_arch_pc(uc);
	return at / page == pc / page || at / page == (pc + 3) / page;
}

struct fault {
	uintptr_t at;
	bool may_be_fetch;
};

/* Closed pages stay executable: if the program may execute the page, a fetch
 * does not fault. */
static bool is_executable(struct ww *ww, uintptr_t at)
{
	struct ww_ticket ticket;
	struct ww_slice s;
	int prot;

	if (!ww_ranges_pin_one(&ww->ranges, at, &s, &ticket))
		return false;
	prot = ww->backend->wanted ? ww->backend->wanted(s.area, at, &s.end)
				   : s.area->prot;
	ww_readers_leave(&s.area->users, ticket);
	return prot & PROT_EXEC;
}

WW_OFTEN static bool is_handled(struct ww *ww, void *arg)
{
	const struct fault *f = arg;

	return ww->backend->fault &&
	       (!f->may_be_fetch || is_executable(ww, f->at)) &&
	       ww->backend->fault(ww, f->at);
}

/* Signals are blocked. */
WW_OFTEN static int handle(int signo, const siginfo_t *info,
			   const ucontext_t *uc)
{
	unsigned published, looks = 0;
	struct fault f;

	if (signo != SIGSEGV || !info || info->si_code != SEGV_ACCERR ||
	    (uc && !ww_arch_may_be_store(uc)))
		return 0;
	f.at = (uintptr_t)info->si_addr;
	f.may_be_fetch = may_be_fetch(uc, f.at);
	/* The page may have been opened and unwatched since the fault: then the
	 * store is just tried again. Or the page was watched anew, and closed,
	 * since the trackers were asked: then ask them once more, and again while
	 * ranges come and go. */
	do {
		published = ww_ranges_published();
		if (ww_trackers_each(is_handled, &f) ||
		    (!f.may_be_fetch && ww_sys_is_writable(f.at)))
			return 1;
	} while (looks++ == 0 || published != ww_ranges_published());
	return 0;
}

int ww_handle_fault(int signo, void *siginfo, void *ucontext)
{
	uint64_t mask;
	int r;

	/* The host's handler may run with signals open. A collector must not
	 * stop a thread that is opening a page: ww_unwatch() waits for it. */
	ww_sys_block_signals(&mask);
	r = handle(signo, siginfo, ucontext);
	ww_sys_restore_signals(mask);
	return r;
}

/* --- the handler that was installed before ours --- */

/* Do what the kernel would: the default action, or nothing if the signal is
 * ignored, which faults can not be. */
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

/* The handler that is next. One that we hand on to may hand on to us again, if
 * it was installed on top of us once, before we went on top of it:
 *
 *	ours -> old[1], the host's -> ours again -> old[0], the first
 *
 * The kernel leaves uc_link zero for each signal and does not read it: we keep
 * there how far down this signal has come, also after a siglongjmp(). */
static struct sigaction *next_layer(ucontext_t *uc)
{
	struct sigaction *old = ww_sigsegv.old;
	struct sigaction *from = uc ? (struct sigaction *)uc->uc_link : NULL;
	unsigned n = atomic_load(&ww_sigsegv.layers);
	bool below = from >= old && from < old + WW_SIGSEGV_LAYERS;

	if (below)
		n = (unsigned)(from - old);
	if (n == 0)
		return NULL;
	if (uc && (below || !from))
		uc->uc_link = (ucontext_t *)&old[n - 1];
	return &old[n - 1];
}

/* The mask that the next handler would have run with; ours is all signals. */
static void set_mask(int signo, const struct sigaction *old,
		     const ucontext_t *uc)
{
	sigset_t set = old->sa_mask;
	uint64_t mask, before;

	if (!(old->sa_flags & SA_NODEFER))
		sigaddset(&set, signo);
	/* a set of libc's begins with the kernel's */
	memcpy(&mask, &set, sizeof(mask));
	memcpy(&before, &uc->uc_sigmask, sizeof(before));
	ww_sys_restore_signals(mask | before);
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

WW_OFTEN void ww_sigsegv_on_signal(int signo, siginfo_t *info, void *ucontext)
{
	if (!handle(signo, info, ucontext))
		chain(signo, info, ucontext);
}
