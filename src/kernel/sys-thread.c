/* SPDX-License-Identifier: MIT */
/*
 * sys-thread.c - the system calls of threads, signals and processes.
 *
 * Called by every floor, calls call.h. Invariant: as in sys.c.
 */
#include "kernel/sys.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "kernel/call.h"

#define KERNEL_SIGSET 8 /* bytes */

void ww_sys_block_signals(uint64_t *mask)
{
	/* Signals that an instruction raises end the process if they are
	 * blocked, so they stay open: a store to the caller's array may fault,
	 * a debugger may step, and a sandbox may answer system calls in its
	 * SIGSYS handler. */
	static const int own[] = { SIGSEGV, SIGBUS, SIGTRAP,
				   SIGILL,  SIGFPE, SIGSYS };
	uint64_t all = ~UINT64_C(0);
	size_t i;

	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		all &= ~(UINT64_C(1) << (own[i] - 1));

	call4(SYS_rt_sigprocmask, SIG_SETMASK, &all, mask, KERNEL_SIGSET);
}

void ww_sys_restore_signals(uint64_t mask)
{
	call4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_SIGSET);
}

void ww_sys_futex_wait(atomic_uint *word, unsigned value)
{
	call4(NR_FUTEX, word, FUTEX_WAIT, value, NULL);
}

void ww_sys_futex_wake(atomic_uint *word, int n)
{
	call3(NR_FUTEX, word, FUTEX_WAKE, n);
}

int ww_sys_sigaction(int signo, const struct sigaction *act,
		     struct sigaction *old)
{
	int saved = errno, r = 0;

	/* libc's function, because it knows how a handler returns */
	if (sigaction(signo, act, old) < 0)
		r = -errno;
	errno = saved;
	return r;
}

int ww_sys_raise(int signo)
{
	return (int)call3(SYS_tgkill, call1(SYS_getpid, 0),
			  call1(SYS_gettid, 0), signo);
}

unsigned ww_sys_thread_id(void)
{
	return (unsigned)call1(SYS_gettid, 0);
}

uint64_t ww_sys_thread_ns(unsigned thread)
{
	/* the kernel's id of a thread's clock: ~id, CPUCLOCK_PERTHREAD_MASK,
	 * CPUCLOCK_SCHED */
	const long clock = (long)(int)(~thread << 3 | 4 | 2);
	time_word t[2] = { 0 };

	if (call2(NR_CLOCK_GETTIME, clock, t) < 0)
		return 0;
	return (uint64_t)t[0] * 1000000000u + (uint64_t)t[1];
}

long ww_sys_sleeps_of_thread(void)
{
	/* the kernel's struct rusage, which a libc may have otherwise: two times
	 * of two words, then 14 words, of which ru_nvcsw is the last but one */
	long u[4 + 14] = { 0 };

	return call2(SYS_getrusage, RUSAGE_THREAD, u) < 0 ? 0 : u[4 + 12];
}

/* Not fork(), which would run the host's fork handlers. The child has no exit
 * signal, or the host's SIGCHLD handler would run and its wait() would see the
 * child. */
int ww_sys_in_child(int (*fn)(volatile char *), volatile char *arg)
{
	uint64_t mask;
	int status = 0;
	long pid;

	ww_sys_block_signals(&mask);
	pid = call5(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0) {
		call1(SYS_exit_group, fn(arg));
		__builtin_unreachable();
	}
	while (pid > 0 &&
	       call4(SYS_wait4, pid, &status, __WALL, NULL) == -EINTR)
		;
	ww_sys_restore_signals(mask);
	if (pid < 0)
		return 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* What a thread starts with: on its own stack. */
struct start {
	int (*fn)(void *);
	void *arg;
};

static int run_thread(void *arg)
{
	const struct start *s = arg;

	return s->fn(s->arg);
}

int ww_sys_thread(void *stack, size_t stack_len, int (*fn)(void *), void *arg,
		  atomic_uint *alive)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
			  CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	char *top = (char *)stack + stack_len - 64;
	struct start *s = (struct start *)(void *)top;
	const uint64_t every = ~UINT64_C(0);
	uint64_t mask = 0;
	int saved = errno, r;

	*s = (struct start){ fn, arg };
	atomic_store(alive, 1);
	/* The new thread inherits the mask. All signals are blocked, because
	 * the host's handlers can not run without thread-local variables. */
	call4(SYS_rt_sigprocmask, SIG_SETMASK, &every, &mask, KERNEL_SIGSET);
	/* libc's wrapper of the bare call: it only switches stacks, and makes no
	 * thread of libc's. */
	r = clone(run_thread, top, flags, s, NULL, NULL, alive);
	ww_sys_restore_signals(mask);
	if (r < 0) {
		r = -errno;
		atomic_store(alive, 0);
	}
	errno = saved;
	return r < 0 ? r : 0;
}

void ww_sys_rush(void)
{
	const unsigned header[2] = { 0x20080522, 0 }; /* version 3, ourselves */
	const unsigned none[6] = { 0 };
	struct {
		int priority;
	} fifo = { 99 };

	/* RLIMIT_RTPRIO may allow less than the highest */
	while (fifo.priority > 0 && call3(SYS_sched_setscheduler, 0,
					  SCHED_FIFO | 0x40000000, &fifo) < 0)
		fifo.priority -= fifo.priority > 9 ? 9 : 1;
	call2(SYS_capset, header, none);
}
