/* SPDX-License-Identifier: MIT */
/*
 * signals.c - what is sent to the command goes on to the program, once.
 *
 * A signal that was sent to the process group (by a shell's kill %1, by timeout(1))
 * has come to the program already, if it is in that group. Which it was is seen by a
 * witness: a child of the command in the same group, which counts what comes to it.
 *
 * Called by run.c. The witness calls nothing but what is here.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "kernel/uapi/numbers.h"

#define WITNESSED 0.02 /* seconds in which all of a group are sent a signal */
#define FORGOTTEN 1.0  /* and what comes to the witness alone was not for us */
#define SIGNALS 65
#define MARKS 0 /* counted where no signal is */
#define MARK 0x77617463
#define QUEUE 64u /* that wait to be passed on */

static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
/* Not those of a fault, which are the command's own, nor those that it has to ignore. */
static const int others[] = { SIGUSR1, SIGUSR2, SIGALRM,   SIGWINCH,
			      SIGCONT, SIGTSTP, SIGVTALRM, SIGPROF,
			      SIGIO,   SIGPWR,	SIGXCPU,   SIGURG };

static struct {
	pid_t program, witness;
	unsigned asked, answer; /* for which of the queue, and what will be */
	atomic_uint *seen; /* by the witness, of each signal; shared with it */
	struct {
		unsigned known; /* of those */
		bool late;	/* one was passed on that may come there yet */
		double unclaimed; /* since when there are more than known; 0: not */
	} of[SIGNALS];
} state;

/* Filled by the handler, which nothing interrupts, emptied by the loop. */
static struct {
	siginfo_t info;
	double when;
} queue[QUEUE];
static atomic_uint filled, emptied;
static volatile sig_atomic_t last;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	unsigned n = atomic_load(&filled);
	int saved = errno;

	last = signo;
	if (n - atomic_load(&emptied) < QUEUE) {
		queue[n % QUEUE].info = *info;
		queue[n % QUEUE].when = cli_now();
		atomic_store(&filled, n + 1);
	}
	errno = saved;
}

/* --- the witness --- */

/* The command asks how far the witness is. Of what is pending the lowest number comes
 * first, and this is the highest. */
static bool is_mark(const siginfo_t *info, pid_t command)
{
	return info->si_signo == SIGRTMAX && info->si_code == SI_QUEUE &&
	       info->si_pid == command && info->si_value.sival_int == MARK;
}

static _Noreturn void watch_signals(pid_t command)
{
	siginfo_t info;
	sigset_t all;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* killall(1) and pkill(1) do not mean it */
	prctl(PR_SET_NAME, "witness");
	memset(program_invocation_name, 0, strlen(program_invocation_name));
	/* who waits for the end of a pipe waits for the program alone */
	syscall(SYS_close_range, 0, ~0u, 0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	while (getppid() == command)
		if (sigwaitinfo(&all, &info) > 0 && info.si_code <= 0 &&
		    info.si_signo < SIGNALS)
			atomic_fetch_add(&state.seen[is_mark(&info, command)
							     ? MARKS
							     : info.si_signo],
					 1);
	_exit(0);
}

/* Without a witness all goes on. */
static void start_witness(void)
{
	pid_t command = getpid();
	void *page =
		mmap(NULL, SIGNALS * sizeof(*state.seen),
		     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	state.seen = page;
	state.witness = fork();
	if (state.witness == 0)
		watch_signals(command);
}

static unsigned news(int signo)
{
	return state.seen
		       ? atomic_load(&state.seen[signo]) - state.of[signo].known
		       : 0;
}

/* Has it come to the group? Real-time signals queue, others become one. */
static bool is_witnessed(int signo)
{
	unsigned n = news(signo);

	if (n && state.of[signo].late) { /* of the one before */
		state.of[signo].late = false;
		state.of[signo].known++;
		n--;
	}
	state.of[signo].known += signo >= SIGRTMIN && n ? 1 : n;
	state.of[signo].late = !n;
	return n;
}

/* What the witness saw and the command did not: late, or for the witness alone. */
static void forget_old(int signo)
{
	double now = cli_now();

	if (!news(signo)) {
		state.of[signo].unclaimed = 0;
	} else if (state.of[signo].late ||
		   (state.of[signo].unclaimed > 0 &&
		    now - state.of[signo].unclaimed > FORGOTTEN)) {
		state.of[signo].known += news(signo);
		state.of[signo].late = false;
		state.of[signo].unclaimed = 0;
	} else if (!(state.of[signo].unclaimed > 0)) {
		state.of[signo].unclaimed = now;
	}
}

/* --- catching, forking --- */

/* Those that are ignored stay so, for the program, too. */
static void catch_one(int signo)
{
	struct sigaction act = { .sa_sigaction = on_signal,
				 .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigaction old;

	sigfillset(&act.sa_mask);
	if (sigaction(signo, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(signo, &act, NULL);
}

void cli_signals_catch(void)
{
	size_t i;

	for (i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		catch_one(ending[i]);
}

int cli_signals_last(void)
{
	return last;
}

static void catch_all(void)
{
	size_t i;
	int signo;

	cli_signals_catch();
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		catch_one(others[i]);
	for (signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		catch_one(signo);
	/* when nobody reads, when a file may not grow, and when a job in the
	 * background may not print, the program runs on */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
}

pid_t cli_signals_fork(void)
{
	struct sigaction chld, dfl = { .sa_handler = SIG_DFL };
	sigset_t all, before;
	pid_t pid;

	/* a child of somebody who ignores it is never waited for */
	sigaction(SIGCHLD, &dfl, &chld);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	start_witness();
	pid = fork();
	if (pid == 0) {
		sigaction(SIGCHLD, &chld, NULL);
	} else {
		state.program = pid;
		catch_all();
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* --- passing on --- */

/* Did the kernel send it to all of a group, for a key or for the terminal's size? A
 * hangup comes to the leader of the session alone. */
static bool is_of_the_terminal(const siginfo_t *info)
{
	switch (info->si_signo) {
	case SIGINT:
	case SIGQUIT:
	case SIGTSTP:
	case SIGWINCH:
	case SIGCONT:
		return info->si_code > 0;
	case SIGHUP:
		return info->si_code > 0 && getsid(0) != getpid();
	default:
		return false;
	}
}

static void pass_on(const siginfo_t *info)
{
	const bool of_terminal = is_of_the_terminal(info);
	const bool of_group =
		info->si_code <= 0 && is_witnessed(info->si_signo);

	/* it may have left our group */
	if ((of_terminal || of_group) && getpgid(state.program) == getpgrp())
		return;
	if (info->si_code == SI_QUEUE)
		sigqueue(state.program, info->si_signo, info->si_value);
	else
		kill(state.program, info->si_signo);
}

/* Has the witness seen all that came before the n-th of the queue? On a busy machine
 * it may be long in coming. */
static bool is_decided(unsigned n)
{
	const union sigval mark = { .sival_int = MARK };
	const double age = cli_now() - queue[n % QUEUE].when;

	if (age < WITNESSED || !state.seen || age > FORGOTTEN)
		return age >= WITNESSED;
	if (state.asked != n + 1) {
		state.asked = n + 1;
		state.answer = atomic_load(&state.seen[MARKS]) + 1;
		sigqueue(state.witness, SIGRTMAX, mark);
	}
	return (int)(atomic_load(&state.seen[MARKS]) - state.answer) >= 0;
}

void cli_signals_pass_on(void)
{
	unsigned n = atomic_load(&emptied);
	int signo;

	if (state.program <= 0)
		return;
	for (; n != atomic_load(&filled) && is_decided(n); n++) {
		pass_on(&queue[n % QUEUE].info);
		atomic_store(&emptied, n + 1);
	}
	if (n == atomic_load(&filled))
		for (signo = 1; signo < SIGNALS; signo++)
			forget_old(signo);
}

/* A job of a shell with job control: its leader, and in the foreground. */
static bool is_a_job(void)
{
	int fd = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
	bool is = fd >= 0 && getpgrp() == getpid() && tcgetpgrp(fd) == getpid();

	if (fd >= 0)
		close(fd);
	return is;
}

void cli_signals_stop_too(void)
{
	if (is_a_job())
		raise(SIGSTOP);
}

void cli_signals_end(void)
{
	int signo;

	state.program = 0;
	if (state.witness > 0) {
		kill(state.witness, SIGKILL);
		waitpid(state.witness, NULL, 0);
	}
	/* the files are written next, and that may be ended */
	for (signo = 1; signo < SIGNALS; signo++) {
		struct sigaction act;

		if (sigaction(signo, NULL, &act) == 0 &&
		    act.sa_sigaction == on_signal)
			signal(signo, SIG_DFL);
	}
}

void cli_signals_die_of(int signo)
{
	const struct rlimit none = { 0, 0 };
	sigset_t one;

	fflush(NULL);
	/* If a core was wanted, it is the program's. Not dumpable: for a core pattern
	 * that is a pipe, the limit does not count. */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(signo, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, signo);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	/* glibc's raise() refuses 32 and 33 */
	syscall(SYS_tgkill, getpid(), getpid(), signo);
}
