/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c BACKEND before|behind [lent] - a life with a tracker under a seccomp
 * filter that kills for every system call that is not in calls.h, which
 * check-seccomp.sh makes from the lists in doc/. The tracker is opened before the
 * filter, or behind it, with descriptors that were lent if so asked. Ends with 0;
 * a call that is missing is named on stderr.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <writewatch.h>

static const int allowed[] = {
#include "calls.h"
	/* this program's own: fork(), wait, the end, and telling of it */
	SYS_clone, SYS_wait4, SYS_exit_group, SYS_write, SYS_rt_sigreturn,
	SYS_set_robust_list, SYS_rseq,
};

#define NALLOWED (sizeof(allowed) / sizeof(allowed[0]))
#define CHECK(what) check(what, #what)

static void check(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "does not hold: %s\n", what);
	_exit(1);
}

static void on_sys(int signo, siginfo_t *info, void *context)
{
	char line[] = "system call 0000 is missing\n";
	int nr = info->si_syscall, i;

	for (i = 15; i >= 12; i--, nr /= 10)
		line[i] = (char)('0' + nr % 10);
	if (write(2, line, sizeof(line) - 1) < 0)
		_exit(3);
	_exit(2);
}

static void lock_down(void)
{
	struct sock_filter code[NALLOWED + 3];
	struct sock_fprog filter = { .filter = code };
	struct sigaction act = { .sa_sigaction = on_sys,
				 .sa_flags = SA_SIGINFO };
	unsigned short n = 0, i;

	sigaction(SIGSYS, &act, NULL);
	code[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (i = 0; i < NALLOWED; i++)
		code[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i],
			(unsigned char)(NALLOWED - i), 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						 SECCOMP_RET_TRAP);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						 SECCOMP_RET_ALLOW);
	filter.len = n;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

#define N 64

static struct ww *ww;
static char *m;
static size_t page;

/* What is written is told, once. */
static void round_trip(void)
{
	void *pages[N];
	size_t n = N;

	CHECK(ww_get(ww, m, N * page, WW_RESET, pages, &n, NULL) == 0);
	((volatile char *)m)[3 * page] = 1;
	n = N;
	CHECK(ww_get(ww, m, N * page, WW_RESET, pages, &n, NULL) == 0);
	CHECK(n >= 1);
}

/* A thread that was there before the filter, and makes no call of its own. */
static atomic_int storing;

static void *store_on_and_on(void *arg)
{
	while (atomic_load(&storing) >= 0)
		if (atomic_load(&storing))
			((volatile char *)m)[2 * page]++;
	return NULL;
}

/* Resets in a row while the thread stores: it has its turns. */
static void contend(void)
{
	int i;

	atomic_store(&storing, 1);
	for (i = 0; i < 2000; i++)
		CHECK(ww_reset(ww, m, N * page, 0) == 0);
	atomic_store(&storing, 0);
}

/* What a program does to memory behind a tracker's back, and what it asks for in
 * vain; the results are other tests' matter. */
static void stray(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *more = mmap(NULL, N * page, PROT_READ | PROT_WRITE, flags, -1, 0);
	char *shared = mmap(NULL, N * page, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned modes[] = { 0, WW_WATCH_HOT_OK, WW_WATCH_COARSE_OK,
			     WW_WATCH_HUGE_OK };
	void *pages[N];
	size_t n, i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (ww_watch(ww, more, N * page, modes[i]) < 0)
			continue;
		memset(more, 1, N * page);
		n = N;
		ww_get(ww, more, N * page, WW_RESET, pages, &n, NULL);
		ww_unwatch(ww, more, N * page, 0);
	}
	if (ww_watch(ww, shared, N * page, 0) == 0) {
		shared[0] = 1;
		ww_reset(ww, shared, N * page, 0);
		ww_protect(ww, shared, page, PROT_READ | PROT_WRITE, 0);
	}
	if (ww_watch(ww, more, N * page, 0) < 0)
		return;
	CHECK(mmap(more + page, page, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
		   -1, 0) == more + page);
	more[page] = 1;
	CHECK(munmap(more + 3 * page, page) == 0);
	ww_reset(ww, more, N * page, 0);
	n = N;
	ww_get(ww, more, N * page, WW_RESET, pages, &n, NULL);
	ww_protect(ww, more, N * page, PROT_READ, 0);
	ww_discard(ww, more, N * page, 0);
	ww_watch(ww, more, N * page, 0);
	CHECK(mprotect(more + 5 * page, page, PROT_READ | PROT_WRITE) == 0);
	more[5 * page] = 1;
	ww_reset(ww, NULL, 0, WW_WINDOW);
	munmap(more, N * page);
	ww_unwatch(ww, more, N * page, WW_WINDOW | WW_UNMAPPING);
}

static void live(void)
{
	struct ww_range_info info = { .size = sizeof(info) };
	int status;
	pid_t pid;

	CHECK(ww_watch(ww, m, N * page, 0) == 0);
	round_trip();
	contend();
	stray();
	CHECK(ww_next_range(ww, NULL, &info) == 0);
	CHECK(ww_hold(ww, m, page, 0) == 0);
	round_trip();
	CHECK(ww_release(ww, m, page, 0) == 0);
	CHECK(ww_mark(ww, m, page, 0) == 0);
	CHECK(ww_protect(ww, m, page, PROT_READ, 0) == 0);
	CHECK(ww_protect(ww, m, page, PROT_READ | PROT_WRITE, 0) == 0);
	CHECK(ww_discard(ww, m, page, 0) == 0);
	CHECK(ww_reset(ww, NULL, 0, WW_WINDOW) == 0);
	pid = fork();
	if (pid == 0) {
		/* only the parent's descriptors may be lent */
		void *pages[N];
		size_t n = N;

		ww_get(ww, m, N * page, WW_RESET, pages, &n, NULL);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	round_trip();
	CHECK(ww_unwatch(ww, m, N * page, 0) == 0);
	ww_close(ww);
}

int main(int argc, char **argv)
{
	struct ww_options options = WW_OPTIONS_INIT;
	pthread_t thread;
	int before, r;

	if (argc < 3)
		return 2;
	page = (size_t)sysconf(_SC_PAGESIZE);
	before = !strcmp(argv[2], "before");
	options.backend = argv[1];
	if (argc > 3) {
		options.uffd = (int)syscall(SYS_userfaultfd,
					    1 | O_CLOEXEC | O_NONBLOCK);
		options.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		options.flags = WW_OPEN_UFFD | WW_OPEN_PAGEMAP;
	}
	m = mmap(NULL, N * page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	memset(m, 1, N * page);
	CHECK(pthread_create(&thread, NULL, store_on_and_on, NULL) == 0);
	if (before) {
		r = ww_open(&ww, &options);
		if (r < 0)
			return 77;
		lock_down();
	} else {
		lock_down();
		r = ww_open(&ww, &options);
		if (r < 0)
			_exit(77);
	}
	live();
	_exit(0);
}
