/* SPDX-License-Identifier: MIT */
/*
 * test-signals.c - foreign faults reach whoever would have had them, whatever
 * the backend. Each case runs in a child, as dispositions are the process's.
 */
#include "test.h"

#include <signal.h>
#include <ucontext.h>

#define N 8

static struct test_fixture f;
static char *foreign; /* read-only, not watched */
static char *volatile unmapped = (char *)8;
static sigjmp_buf back;
static volatile int calls;
static volatile int last_signo, last_code;
static void *volatile last_addr;

/* What si_addr says: on s390x the page alone. */
static bool told_is(const void *at)
{
#ifdef __s390__
	at = (const char *)at - (uintptr_t)at % PAGE;
#endif
	return last_addr == at;
}

static sigset_t mask_inside;
static volatile bool on_altstack;
static char altstack[65536];

static void note(int signo)
{
	char here;

	calls = calls + 1;
	last_signo = signo;
	pthread_sigmask(SIG_SETMASK, NULL, &mask_inside);
	on_altstack = &here >= altstack && &here < altstack + sizeof(altstack);
}

static void plain_handler(int signo)
{
	note(signo);
	siglongjmp(back, 1);
}

static void info_handler(int signo, siginfo_t *info, void *ucontext)
{
	note(signo);
	last_code = info->si_code;
	last_addr = info->si_addr;
	CHECK(ucontext);
	siglongjmp(back, 1);
}

static void repairing_handler(int signo, siginfo_t *info, void *ucontext)
{
	note(signo);
	mprotect(foreign, PAGE, RW);
}

static void set_handler(void *fn, int flags, int also_blocked)
{
	struct sigaction act = { .sa_flags = flags };

	act.sa_sigaction = (void (*)(int, siginfo_t *, void *))fn;
	sigemptyset(&act.sa_mask);
	if (also_blocked)
		sigaddset(&act.sa_mask, also_blocked);
	CHECK(sigaction(SIGSEGV, &act, NULL) == 0);
}

static void open_and_watch(void)
{
	CHECK(ww_open(&f.ww, NULL) == 0);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	*(volatile char *)f.m = 1; /* a fault of ours goes through */
	CHECK(calls == 0);
}

static size_t dirty_pages(void)
{
	void *pages[N];
	size_t n = N;

	CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) == 0);
	return n;
}

static void in_child(void (*fn)(void *), int status)
{
	f.m = test_map(N);
	foreign = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	calls = 0;
	assert_int_equal(test_child(fn, NULL), status);
	test_unmap(f.m, N);
	munmap(foreign, PAGE);
}

static void sa_siginfo(void *arg)
{
	set_handler(info_handler, SA_SIGINFO, SIGUSR1);
	open_and_watch();
	if (!sigsetjmp(back, 1))
		*(volatile char *)(foreign + 5) = 1;
	CHECK(calls == 1 && last_signo == SIGSEGV);
	CHECK(last_code == SEGV_ACCERR && told_is(foreign + 5));
	/* its mask: itself and what it asked for, no more */
	CHECK(sigismember(&mask_inside, SIGSEGV) == 1);
	CHECK(sigismember(&mask_inside, SIGUSR1) == 1);
	CHECK(sigismember(&mask_inside, SIGUSR2) == 0);
	CHECK(!on_altstack);
	/* again, and memory that is not mapped */
	if (!sigsetjmp(back, 1))
		*(volatile char *)unmapped = 1;
	CHECK(calls == 2 && last_code == SEGV_MAPERR && told_is(unmapped));
	CHECK(dirty_pages() == 1);
	((volatile char *)f.m)[PAGE] = 1;
	CHECK(dirty_pages() == 1);
	/* sent by hand */
	if (!sigsetjmp(back, 1))
		raise(SIGSEGV);
	CHECK(calls == 3 && last_code <= 0);
	ww_close(f.ww);
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	CHECK(calls == 4);
}

static void faults_reach_an_sa_siginfo_handler(void **state)
{
	in_child(sa_siginfo, 0);
}

static void plain(void *arg)
{
	set_handler(plain_handler, SA_NODEFER, 0);
	open_and_watch();
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	CHECK(calls == 1 && last_signo == SIGSEGV);
	CHECK(sigismember(&mask_inside, SIGSEGV) == 0); /* SA_NODEFER */
	CHECK(dirty_pages() == 1);
}

static void faults_reach_a_plain_handler(void **state)
{
	in_child(plain, 0);
}

static void resethand(void *arg)
{
	set_handler(info_handler, SA_SIGINFO | SA_RESETHAND, 0);
	open_and_watch();
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	CHECK(calls == 1);
	*(volatile char *)foreign = 1;
	_exit(3);
}

static void sa_resethand_is_once(void **state)
{
	in_child(resethand, -SIGSEGV);
}

static void repaired(void *arg)
{
	set_handler(repairing_handler, SA_SIGINFO, 0);
	open_and_watch();
	*(volatile char *)foreign = 7;
	CHECK(calls == 1 && foreign[0] == 7);
	CHECK(dirty_pages() == 1);
}

static void a_handler_that_repairs_and_returns_works(void **state)
{
	in_child(repaired, 0);
}

static void dfl(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	open_and_watch();
	*(volatile char *)foreign = 1;
	_exit(3);
}

static void sig_dfl_kills(void **state)
{
	in_child(dfl, -SIGSEGV);
}

static void dfl_sent(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	open_and_watch();
	kill(getpid(), SIGSEGV);
	usleep(100000);
	_exit(3);
}

static void sig_dfl_kills_when_sent(void **state)
{
	in_child(dfl_sent, -SIGSEGV);
}

static void ign(void *arg)
{
	signal(SIGSEGV, SIG_IGN);
	open_and_watch();
	raise(SIGSEGV); /* ignored */
	CHECK(dirty_pages() == 1);
	*(volatile char *)foreign = 1; /* can not be */
	_exit(3);
}

static void sig_ign_ignores_only_what_was_sent(void **state)
{
	in_child(ign, -SIGSEGV);
}

static void altstack_handler(void *arg)
{
	stack_t st = { .ss_sp = altstack, .ss_size = sizeof(altstack) };

	CHECK(sigaltstack(&st, NULL) == 0);
	set_handler(info_handler, SA_SIGINFO | SA_ONSTACK, 0);
	open_and_watch();
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	CHECK(calls == 1 && on_altstack);
	((volatile char *)f.m)[2 * PAGE] = 1;
	CHECK(dirty_pages() == 2);
}

static void the_alternate_stack_is_used(void **state)
{
	in_child(altstack_handler, 0);
}

static void prot_fault(void *arg)
{
	void *pages[N];
	size_t n = N;

	set_handler(info_handler, SA_SIGINFO, 0);
	open_and_watch();
	CHECK(ww_protect(f.ww, f.m + PAGE, PAGE, PROT_READ, 0) == 0);
	CHECK(ww_protect(f.ww, f.m + 2 * PAGE, PAGE, PROT_NONE, 0) == 0);
	if (!sigsetjmp(back, 1))
		((volatile char *)f.m)[PAGE] = 1;
	CHECK(calls == 1 && last_addr == f.m + PAGE);
	if (!sigsetjmp(back, 1))
		(void)((volatile char *)f.m)[2 * PAGE];
	CHECK(calls == 2);
	/* fetching from memory that is not executable is no write */
	if (!sigsetjmp(back, 1))
		((void (*)(void))(uintptr_t)(f.m + 3 * PAGE))();
	CHECK(calls == 3);
	CHECK(ww_get(f.ww, f.m, N * PAGE, 0, pages, &n, NULL) == 0);
	/* the fetch is a read */
	CHECK(n == 1 || !(test_caps(f.ww) & WW_CAP_EXACT));
	CHECK(pages[0] == f.m);
}

static void faults_that_the_program_asked_for_are_its_own(void **state)
{
	in_child(prot_fault, 0);
}

static void reporter(int signo, siginfo_t *info, void *ucontext);
static struct sigaction under;

static void reporter(int signo, siginfo_t *info, void *ucontext)
{
	if (info->si_addr == foreign) {
		note(signo);
		siglongjmp(back, 1);
	}
	under.sa_sigaction(signo, info, ucontext);
}

static void reporter_on_top(void *arg)
{
	struct sigaction act = { .sa_sigaction = reporter,
				 .sa_flags = SA_SIGINFO };
	struct ww *second;

	open_and_watch();
	CHECK(sigaction(SIGSEGV, &act, &under) == 0);
	((volatile char *)f.m)[PAGE] = 1;
	/* opening another tracker must not tie the two into a knot */
	CHECK(ww_open(&second, NULL) == 0);
	((volatile char *)f.m)[3 * PAGE] = 1;
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	CHECK(calls == 1);
	CHECK(dirty_pages() == 3);
	ww_close(second);
	ww_close(f.ww);
	CHECK(ww_open(&f.ww, NULL) == 0);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	((volatile char *)f.m)[3 * PAGE] = 1;
	CHECK(dirty_pages() == 1);
	ww_close(f.ww);
}

static void a_crash_reporter_installed_later_works(void **state)
{
	/* Without a handler of ours below there is nobody to hand on to. */
	f.ww = test_open();
	if (test_caps(f.ww) & WW_CAP_NO_SIGNAL) {
		test_not_promised("signals are used");
		ww_close(f.ww);
		return;
	}
	ww_close(f.ww);
	in_child(reporter_on_top, 0);
}

static volatile int host_handled;

static void host_handler(int signo, siginfo_t *info, void *ucontext)
{
	errno = 1234;
	if (ww_handle_fault(signo, info, ucontext)) {
		CHECK(errno == 1234);
		host_handled = host_handled + 1;
		return;
	}
	note(signo);
	siglongjmp(back, 1);
}

static void host_owns(void *arg)
{
	struct ww_options o = { .size = sizeof(o),
				.flags = WW_OPEN_HOST_SIGNALS };
	struct sigaction now;

	set_handler(host_handler, SA_SIGINFO, 0);
	CHECK(ww_open(&f.ww, &o) == 0);
	CHECK(sigaction(SIGSEGV, NULL, &now) == 0);
	CHECK(now.sa_sigaction == host_handler);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	((volatile char *)f.m)[PAGE] = 1;
	((volatile char *)f.m)[2 * PAGE] = 1;
	CHECK(host_handled == (test_caps(f.ww) & WW_CAP_NO_SIGNAL ? 0 : 2) ||
	      !(test_caps(f.ww) & WW_CAP_EXACT));
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	CHECK(calls == 1);
	CHECK(dirty_pages() == 2);
	ww_close(f.ww);
	CHECK(sigaction(SIGSEGV, NULL, &now) == 0);
	CHECK(now.sa_sigaction == host_handler);
}

static void the_host_can_own_the_signal(void **state)
{
	in_child(host_owns, 0);
}

static void ignores_info(void *arg)
{
	struct sigaction act = { .sa_flags = SA_SIGINFO };

	act.sa_handler = SIG_IGN; /* the kernel looks at the handler only */
	CHECK(sigaction(SIGSEGV, &act, NULL) == 0);
	open_and_watch();
	raise(SIGSEGV);
	CHECK(dirty_pages() == 1);
}

static void sig_ign_with_sa_siginfo_ignores(void **state)
{
	in_child(ignores_info, 0);
}

static void replaced(void *arg)
{
	open_and_watch();
	CHECK(dirty_pages() == 1);
	/* the host takes the signal away and knows nothing of us */
	signal(SIGSEGV, SIG_DFL);
	ww_close(f.ww);
	open_and_watch();
	set_handler(info_handler, SA_SIGINFO, 0);
	ww_close(f.ww);
	open_and_watch();
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	CHECK(calls == 1);
	CHECK(dirty_pages() == 1);
}

static void a_handler_that_was_replaced_is_installed_again(void **state)
{
	in_child(replaced, 0);
}

static volatile int passed;

static void passing_on(int signo, siginfo_t *info, void *ucontext)
{
	passed = passed + 1;
	under.sa_sigaction(signo, info, ucontext);
}

static void layers(void *arg)
{
	struct sigaction act = { .sa_sigaction = passing_on,
				 .sa_flags = SA_SIGINFO };
	int i;

	/* host, ours, one that hands on, ours again: the host is the end */
	set_handler(repairing_handler, SA_SIGINFO, 0);
	open_and_watch();
	CHECK(sigaction(SIGSEGV, &act, &under) == 0);
	ww_close(f.ww);
	open_and_watch();
	for (i = 1; i <= 3; i++) {
		mprotect(foreign, PAGE, PROT_READ);
		*(volatile char *)foreign = 1;
		CHECK(calls == i);
		CHECK(passed == (test_caps(f.ww) & WW_CAP_NO_SIGNAL ? 0 : i) ||
		      passed == i);
	}
	CHECK(dirty_pages() == 1);
}

static void a_fault_goes_down_all_layers_once(void **state)
{
	f.ww = test_open();
	if (!(test_caps(f.ww) & WW_CAP_NO_SIGNAL))
		in_child(layers, 0);
	ww_close(f.ww);
}

static void foreign_siginfo(void *arg)
{
	siginfo_t info = { .si_signo = SIGSEGV, .si_code = SEGV_ACCERR };

	open_and_watch();
	info.si_addr = foreign;
	/* once it may be let try again: pages were opened since it faulted */
	(void)ww_handle_fault(SIGSEGV, &info, NULL);
	CHECK(ww_handle_fault(SIGSEGV, &info, NULL) == 0);
	CHECK(ww_handle_fault(SIGSEGV, NULL, NULL) == 0);
	CHECK(ww_handle_fault(SIGBUS, &info, NULL) == 0);
	info.si_code = SEGV_MAPERR;
	info.si_addr = f.m;
	CHECK(ww_handle_fault(SIGSEGV, &info, NULL) == 0);
}

static void handle_fault_refuses_what_is_not_ours(void **state)
{
	in_child(foreign_siginfo, 0);
}

TEST_MAIN("signals", CASE(faults_reach_an_sa_siginfo_handler),
	  CASE(faults_reach_a_plain_handler), CASE(sa_resethand_is_once),
	  CASE(a_handler_that_repairs_and_returns_works), CASE(sig_dfl_kills),
	  CASE(sig_dfl_kills_when_sent),
	  CASE(sig_ign_ignores_only_what_was_sent),
	  CASE(the_alternate_stack_is_used),
	  CASE(faults_that_the_program_asked_for_are_its_own),
	  CASE(a_crash_reporter_installed_later_works),
	  CASE(the_host_can_own_the_signal),
	  CASE(sig_ign_with_sa_siginfo_ignores),
	  CASE(a_handler_that_was_replaced_is_installed_again),
	  CASE(a_fault_goes_down_all_layers_once),
	  CASE(handle_fault_refuses_what_is_not_ours))
