/* SPDX-License-Identifier: MIT */
/*
 * mprotect-handler.c - what runs inside SIGSEGV: find the page, open it, or
 * hand the signal to whoever would have had it.
 *
 * Called by the kernel, by hosts through ww_handle_fault(), and by
 * backend-mprotect.c; calls range.c, bits.c, readers.c and four functions of
 * sys.c. Everything on the way from ww_mprotect_on_fault() is lock-free and
 * async-signal-safe (a test compares the undefined symbols of this object with
 * a list). Invariant: errno and the signal mask are as they were.
 *
 * Global: the signal ww_mprotect_registry. A disposition is one for the
 * process, and a handler has no argument to find its trackers by.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "mprotect.h"
#include "sys.h"

#define OPENER (1u << 12)
#define OPENERS(w) ((w) >> 12)
#define PROT_SHIFT 1
#define PROT_MASK (7u << PROT_SHIFT)
#define GENERATION_MASK 0xff0u

#define SPARE                                                                  \
	64 /* mappings to be free before single pages are opened again         \
	    */
#define LOOK_BACK 4096 /* pages searched for an open one to join */

/* --- words --- */

static struct ww_mprotect_area *state(const struct ww_area *a)
{
	return a->state;
}

int ww_mprotect_wanted(const struct ww_area *a, uint32_t word)
{
	return a->prot ^ (int)((word & PROT_MASK) >> PROT_SHIFT);
}

int ww_mprotect_wanted_at(const struct ww_area *a, size_t page)
{
	return ww_mprotect_wanted(a, atomic_load(&state(a)->word[page]));
}

uint32_t ww_mprotect_want(const struct ww_area *a, uint32_t word, int prot)
{
	return (word & ~PROT_MASK) | (uint32_t)(a->prot ^ prot) << PROT_SHIFT;
}

size_t ww_mprotect_same(const struct ww_area *a, size_t page, size_t end)
{
	int prot = ww_mprotect_wanted_at(a, page);
	size_t run, run_end;

	if (prot == a->prot && !ww_bits_test(&state(a)->changed, page)) {
		if (!ww_bits_next(&state(a)->changed, page, end, 1, false, &run,
				  &run_end))
			return end;
		return run;
	}
	while (++page < end && ww_mprotect_wanted_at(a, page) == prot)
		;
	return page;
}

int ww_mprotect_closed_prot(int prot)
{
	/* Memory that was write-only could be read on most machines. */
	return prot & PROT_WRITE ? (prot & ~PROT_WRITE) | PROT_READ : prot;
}

static uint32_t generation_bits(void)
{
	return ww_fork_generation() << 4 & GENERATION_MASK;
}

bool ww_mprotect_busy(uint32_t word)
{
	return OPENERS(word) && (word & GENERATION_MASK) == generation_bits();
}

/* --- opening --- */

static void begin_open(struct ww_area *a, size_t first, size_t end)
{
	uint32_t generation = generation_bits();

	for (; first < end; first++) {
		_Atomic(uint32_t) *word = &state(a)->word[first];
		uint32_t w = atomic_load(word), next;

		do {
			next = w;
			if ((w & GENERATION_MASK) != generation)
				next = (w & (PROT_MASK | WW_PAGE_DIRTY)) |
				       generation;
			next = (next + OPENER) | WW_PAGE_DIRTY;
		} while (!atomic_compare_exchange_weak(word, &w, next));
	}
}

static void end_open(struct ww_area *a, size_t first, size_t end)
{
	uint32_t generation = generation_bits();

	for (; first < end; first++) {
		_Atomic(uint32_t) *word = &state(a)->word[first];
		uint32_t w = atomic_load(word);

		do {
			/* forked meanwhile: the child counts from zero */
			if ((w & GENERATION_MASK) != generation || !OPENERS(w))
				break;
		} while (!atomic_compare_exchange_weak(word, &w, w - OPENER));
	}
}

int ww_mprotect_apply(struct ww_area *a, size_t first, size_t end, bool open)
{
	int r = 0;

	while (first < end && r == 0) {
		size_t stop = ww_mprotect_same(a, first, end);
		int prot = ww_mprotect_wanted_at(a, first);

		if (prot & PROT_WRITE)
			r = ww_sys_mprotect(
				ww_area_at(a, first),
				(stop - first) << a->page_shift,
				open ? prot : ww_mprotect_closed_prot(prot));
		first = stop;
	}
	return r;
}

static int open_run(struct ww_area *a, size_t first, size_t end)
{
	int r;

	begin_open(a, first, end);
	/* Before the pages are open: another thread may write then. */
	ww_bits_set(&state(a)->dirty, first, end);
	r = ww_mprotect_apply(a, first, end, true);
	end_open(a, first, end);
	return r;
}

int ww_mprotect_open(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);
	int r = 0;

	while (first < stop && r == 0) {
		size_t run_end = ww_mprotect_same(a, first, stop);

		if (ww_mprotect_wanted_at(a, first) & PROT_WRITE)
			r = open_run(a, first, run_end);
		first = run_end;
	}
	return r;
}

/* --- vm.max_map_count --- */

long ww_mprotect_count_splits(void)
{
	struct ww_ticket ticket =
		ww_readers_enter(&ww_mprotect_registry.readers);
	const struct ww_roster *r = atomic_load(&ww_mprotect_registry.roster);
	long n = 0;
	size_t i;

	for (i = 0; r && i < r->n; i++) {
		struct ww_ranges *ranges = &r->ww[i]->ranges;
		struct ww_ticket inner = ww_readers_enter(&ranges->readers);
		const struct ww_table *t = ww_ranges_table(ranges);
		size_t k;

		for (k = 0; k < t->n; k++) {
			struct ww_area *a = t->slice[k].area;
			size_t at = ww_area_page(a, t->slice[k].start);
			size_t end = ww_area_page(a, t->slice[k].end);
			size_t run, run_end = SIZE_MAX, last;

			n += 2;
			for (; last = run_end,
			       ww_bits_next(&state(a)->dirty, at, end, SIZE_MAX,
					    false, &run, &run_end);
			     at = run_end)
				n += run == last ? 0 : 2;
		}
		ww_readers_leave(&ranges->readers, inner);
	}
	ww_readers_leave(&ww_mprotect_registry.readers, ticket);
	return n;
}

bool ww_mprotect_take_two(void)
{
	struct ww_mprotect_registry *r = &ww_mprotect_registry;
	long budget = atomic_load(&r->budget);
	long n;

	if (atomic_fetch_add(&r->used, 2) + 2 <= budget)
		return true;
	/* Counting takes long; without a closing since it finds the same. */
	if (!atomic_exchange(&r->closed, false))
		return false;
	n = ww_mprotect_count_splits();
	atomic_store(&r->used, n);
	return n + SPARE <= budget;
}

/* No mapping left for a single page: open more pages than were written, such
 * that the open run touches one that is open already, or all of the slice. */
static bool open_coarse(const struct ww_slice *s, size_t page)
{
	struct ww_area *a = s->area;
	size_t lo = ww_area_page(a, s->start), hi = ww_area_page(a, s->end);
	size_t back = page, run, run_end;
	int r = -ENOMEM;

	atomic_fetch_add(&a->lost, 1);
	if (ww_bits_next(&state(a)->dirty, page + 1, hi, 1, false, &run,
			 &run_end) &&
	    ww_mprotect_same(a, page, run) == run)
		r = open_run(a, page, run);
	while (r < 0 && back > lo && page - back < LOOK_BACK)
		if (ww_bits_test(&state(a)->dirty, --back)) {
			if (ww_mprotect_same(a, back, page + 1) == page + 1)
				r = open_run(a, back, page + 1);
			break;
		}
	if (r < 0)
		r = ww_mprotect_open(a, s->start, s->end);
	return r == 0;
}

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

static bool fault_in(struct ww *ww, uintptr_t at)
{
	struct ww_ticket ticket;
	struct ww_slice s;
	size_t page;
	bool ours;

	if (!ww_ranges_pin_one(&ww->ranges, at, &s, &ticket))
		return false;
	page = ww_area_page(s.area, at);
	ours = ww_mprotect_wanted_at(s.area, page) & PROT_WRITE;
	if (ours &&
	    !(ww_mprotect_take_two() && open_run(s.area, page, page + 1) == 0))
		ours = open_coarse(&s, page);
	ww_readers_leave(&s.area->users, ticket);
	return ours;
}

/* The pages were let go between the fault and this handler: they are open now.
 * Each thread gets one free retry for each time that happened. */
static bool stale(void)
{
	static _Thread_local unsigned seen
		__attribute__((tls_model("initial-exec")));
	unsigned left = atomic_load(&ww_mprotect_registry.left);

	if (seen == left)
		return false;
	seen = left;
	return true;
}

void ww_mprotect_closed(void)
{
	if (!atomic_load(&ww_mprotect_registry.closed))
		atomic_store(&ww_mprotect_registry.closed, true);
}

void ww_mprotect_left(void)
{
	ww_mprotect_closed();
	atomic_fetch_add(&ww_mprotect_registry.released, 2);
	atomic_fetch_add(&ww_mprotect_registry.left, 1);
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
	ticket = ww_readers_enter(&ww_mprotect_registry.readers);
	r = atomic_load(&ww_mprotect_registry.roster);
	for (i = 0; r && !ours && i < r->n; i++)
		ours = fault_in(r->ww[i], (uintptr_t)info->si_addr);
	ww_readers_leave(&ww_mprotect_registry.readers, ticket);
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
	struct sigaction *old = ww_mprotect_registry.old;
	struct sigaction *from = uc ? (struct sigaction *)uc->uc_link : NULL;
	unsigned n = atomic_load(&ww_mprotect_registry.layers);
	bool below = from >= old && from < old + WW_MPROTECT_LAYERS;

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

void ww_mprotect_on_fault(int signo, siginfo_t *info, void *ucontext)
{
	int saved = errno;

	if (!ww_handle_fault(signo, info, ucontext))
		chain(signo, info, ucontext);
	errno = saved;
}
