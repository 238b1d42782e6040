/* SPDX-License-Identifier: MIT */
/*
 * signals.c - what is sent to the command goes on to the program, once.
 *
 * A signal that was sent to the process group (by a shell's kill %1, by timeout(1),
 * by a terminal) has come to the program already. Which it was is seen by a witness:
 * a child of the command in the same group, which counts what comes to it.
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
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

/* Seconds in which the witness sees what the command sees. */
#define WITNESSED 0.005
#define SIGNALS 32 /* the others (real-time) queue, and go on at once */

static const int caught[] = { SIGINT,  SIGTERM, SIGHUP,	  SIGQUIT, SIGUSR1,
			      SIGUSR2, SIGALRM, SIGWINCH, SIGCONT };

static struct {
	pid_t program, witness;
	atomic_uint *seen; /* by the witness, of each signal; shared with it */
	unsigned passed[SIGNALS]; /* of those */
	double when[SIGNALS];	  /* it came; 0: it did not */
} state;

static volatile sig_atomic_t came[SIGNALS], last;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	int saved = errno;

	if (signo >= SIGNALS)
		sigqueue(state.program, signo, info->si_value);
	else if (info->si_code <= 0) /* not of the terminal */
		came[signo] = 1;
	last = signo;
	errno = saved;
}

static _Noreturn void watch_signals(pid_t command)
{
	siginfo_t info;
	sigset_t all;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	while (getppid() == command)
		if (sigwaitinfo(&all, &info) > 0 && info.si_code <= 0 &&
		    info.si_signo < SIGNALS)
			atomic_fetch_add(&state.seen[info.si_signo], 1);
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

/* Those that are ignored stay so, for the program, too. */
static void catch_one(int signo)
{
	struct sigaction act = { .sa_sigaction = on_signal,
				 .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigaction old;

	if (sigaction(signo, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(signo, &act, NULL);
}

void cli_signals_catch(void)
{
	size_t i;
	int signo;

	for (i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		catch_one(caught[i]);
	for (signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		catch_one(signo);
}

int cli_signals_last(void)
{
	return last;
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
		cli_signals_catch();
		/* when nobody reads, when a file may not grow, and when a job in
		 * the background may not print, the program runs on */
		signal(SIGPIPE, SIG_IGN);
		signal(SIGXFSZ, SIG_IGN);
		signal(SIGTTOU, SIG_IGN);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* Has it come to the group? */
static bool is_witnessed(int signo)
{
	unsigned seen = state.seen ? atomic_load(&state.seen[signo]) : 0;
	bool is = seen != state.passed[signo];

	state.passed[signo] = seen;
	return is;
}

void cli_signals_pass_on(void)
{
	int signo;

	for (signo = 1; signo < SIGNALS; signo++) {
		if (came[signo]) {
			came[signo] = 0;
			state.when[signo] = cli_now();
		}
		if (!(state.when[signo] > 0) ||
		    cli_now() - state.when[signo] < WITNESSED)
			continue;
		state.when[signo] = 0;
		if (!is_witnessed(signo))
			kill(state.program, signo);
	}
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
	size_t i;

	state.program = 0;
	if (state.witness > 0) {
		kill(state.witness, SIGKILL);
		waitpid(state.witness, NULL, 0);
	}
	/* the files are written next, and that may be ended */
	for (i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		if (signal(caught[i], SIG_DFL) == SIG_IGN)
			signal(caught[i], SIG_IGN);
}
