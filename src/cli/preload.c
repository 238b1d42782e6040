/* SPDX-License-Identifier: MIT */
/*
 * preload.c - the object that `writewatch run` has loaded into each program: it
 * makes a userfaultfd there, hands it to the command, and waits until the
 * command has registered what is mapped. At the end, and before another program
 * takes its place, it waits again, so that the last writes are seen.
 *
 * The program must behave as without it. So it keeps no descriptor, makes no
 * system call after the start of a process, lets go of memory that the program
 * registers with a userfaultfd of its own, and waits for no answer for ever. If
 * anything fails the program just runs, unwatched. Its system calls are raw: a
 * function of the name may be the program's own, or lock, or be where a thread is
 * cancelled.
 *
 * The calls that end a program or replace it are in preload-exit.c.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "kernel/call.h"
#include "kernel/uapi/userfaultfd.h"
#include "preload.h"

/* How long an answer is waited for: for a last look; for memory that the program
 * can not use without; and how long for another thread that asks just now. Behind
 * the first answer that does not come in time nothing is waited for. */
#define LAST_LOOK_NS UINT64_C(1000000000)
#define LET_GO_NS UINT64_C(3000000000)
#define TAKEN_NS UINT64_C(20000000)
#define HELLO_S 1

/* Also called by the library, before it registers memory that it is to watch
 * (src/kernel/uffd.c). */
int writewatch_run_let_go(uintptr_t start, uintptr_t end);

static struct preload_page *page;
static pid_t owner; /* the process that the page is of */
static char address[64];

/* What a libc has of its own. */
#ifdef __GLIBC__
typedef unsigned long request_t;

/* pthread_atfork() of an old glibc is not in the libc that the program has. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void),
			     void (*child)(void), void *dso)
	__attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

static int at_fork(void (*child)(void))
{
	return __register_atfork
		       ? __register_atfork(NULL, NULL, child, __dso_handle)
		       : -1;
}
#else
typedef int request_t;

static int at_fork(void (*child)(void))
{
	return pthread_atfork(NULL, NULL, child);
}
#endif

/* glibc's headers have it since 2.36, musl's not. */
ssize_t process_madvise(int pidfd, const struct iovec *part, size_t n,
			int advice, unsigned flags);

/* What a call of ours would have been without us: libc's, or another object's. */
static struct {
	int (*ioctl)(int, request_t, void *);
	int (*prctl)(int, unsigned long, unsigned long, unsigned long,
		     unsigned long);
	void *(*mremap)(void *, size_t, size_t, int, void *);
	int (*madvise)(void *, size_t, int);
	ssize_t (*process_madvise)(int, const struct iovec *, size_t, int,
				   unsigned);
} next;

static void find_next(void)
{
	*(void **)&next.ioctl = dlsym(RTLD_NEXT, "ioctl");
	*(void **)&next.prctl = dlsym(RTLD_NEXT, "prctl");
	*(void **)&next.mremap = dlsym(RTLD_NEXT, "mremap");
	*(void **)&next.madvise = dlsym(RTLD_NEXT, "madvise");
	*(void **)&next.process_madvise = dlsym(RTLD_NEXT, "process_madvise");
}

/* --- at the start --- */

static int connect_to_command(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	/* A program that is slow to start does not wait for a command that
	 * hangs. */
	struct timeval most = { HELLO_S, 0 };
	size_t len = strlen(address);
	int fd = (int)call3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC,
			    0);

	if (fd < 0)
		return -1;
	/* abstract: it begins with a zero byte, and needs no file */
	memcpy(to.sun_path + 1, address, len);
	call5(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
	call5(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	if (call3(SYS_connect, fd, &to,
		  offsetof(struct sockaddr_un, sun_path) + 1 + len) == 0)
		return fd;
	call1(SYS_close, fd);
	return -1;
}

/* Send the two descriptors; wait for a byte. */
static int say_hello(int connection, const int fds[2])
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	char what = PRELOAD_HELLO;
	struct iovec iov = { &what, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	long n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(c), fds, 2 * sizeof(int));
	if (call3(SYS_sendmsg, connection, &msg, MSG_NOSIGNAL) != 1)
		return -1;
	do
		n = call6(SYS_recvfrom, connection, &what, 1, 0, NULL, NULL);
	while (n == -EINTR);
	return n == 1 ? 0 : -1;
}

/* May a file be so long? The signal for one that may not would be the program's. */
static bool files_may_have(size_t bytes)
{
	struct {
		uint64_t soft, hard;
	} limit = { 0, 0 };

	return call4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) == 0 &&
	       limit.soft >= bytes;
}

static void *make_page(int *fd)
{
	long made;

	*fd = -1;
	if (!files_may_have(sizeof(*page)))
		return NULL;
	/* MFD_CLOEXEC | MFD_ALLOW_SEALING: the command seals its length */
	*fd = (int)call2(SYS_memfd_create, "writewatch-run", 3);
	if (*fd < 0 || call2(SYS_ftruncate, *fd, sizeof(*page)) != 0)
		return NULL;
	made = ww_arch_map(0, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED,
			   *fd);
	return made < 0 && made > -4096 ? NULL : (void *)made;
}

static void drop(struct preload_page *old)
{
	if (old)
		call2(SYS_munmap, old, sizeof(*old));
}

static void hand_over(void)
{
	int connection = -1, fds[2];
	struct preload_page *made = make_page(&fds[1]);

	fds[0] = (int)call1(SYS_userfaultfd,
			    UFFD_USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK);
	if (fds[0] == -EINVAL) /* the flag came with 5.11 */
		fds[0] = (int)call1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (made && fds[0] >= 0)
		connection = connect_to_command();
	owner = (pid_t)call1(SYS_getpid, 0);
	if (connection >= 0 && say_hello(connection, fds) == 0)
		page = made;
	else
		drop(made);
	if (connection >= 0)
		call1(SYS_close, connection);
	if (fds[0] >= 0)
		call1(SYS_close, fds[0]);
	if (fds[1] >= 0)
		call1(SYS_close, fds[1]);
}

/* The child's memory is its own, and needs a userfaultfd of its own. */
static void in_child(void)
{
	struct preload_page *parents = page;

	page = NULL;
	if (parents && atomic_load(&parents->sandboxed))
		return;
	if (!parents ||
	    (!atomic_load(&parents->gone) && !atomic_load(&parents->childless)))
		hand_over();
	if (parents && !page)
		atomic_store(&parents->childless, 1);
	drop(parents);
}

/* How many filters of system calls there are, by calls that the dynamic linker
 * has made just now; -1: not known. The line may be far behind a list of groups. */
static int count_filters(void)
{
	const size_t tail = sizeof(PRELOAD_FILTERS) + 12; /* a line of it */
	int fd = (int)call4(SYS_openat, AT_FDCWD, "/proc/self/status",
			    O_RDONLY | O_CLOEXEC, 0);
	char text[4096];
	const char *line = NULL;
	size_t have = 0;
	long n;

	if (fd < 0)
		return -1;
	while (!line && (n = call3(SYS_read, fd, text + have,
				   sizeof(text) - 1 - have)) > 0) {
		have += (size_t)n;
		text[have] = '\0';
		line = strstr(text, PRELOAD_FILTERS);
		if (!line && have > tail) {
			memmove(text, text + have - tail, tail);
			have = tail;
		}
	}
	call1(SYS_close, fd);
	if (!line) /* before Linux 5.9 there is none */
		return n < 0 ? -1 : 0;
	return atoi(line + strlen(PRELOAD_FILTERS));
}

/* valgrind knows no userfaultfd, and says so for each. */
static bool is_simulated(void)
{
	const char *objects = getenv("LD_PRELOAD");

	return objects && strstr(objects, "/vgpreload_");
}

/* The socket's name, a slash, and the filters that the command has. */
__attribute__((constructor)) static void at_start(void)
{
	const char *name = getenv(PRELOAD_SOCKET);
	const char *slash = name ? strchr(name, '/') : NULL;
	int filters;

	find_next();
	writewatch_run_find_exits();
	if (!slash || (size_t)(slash - name) >= sizeof(address) ||
	    is_simulated())
		return;
	filters = count_filters();
	if (filters < 0 || filters > atoi(slash + 1))
		return;
	memcpy(address, name, (size_t)(slash - name));
	if (at_fork(in_child) == 0)
		hand_over();
}

/* --- questions: no system calls from here on --- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t); /* the vdso's */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One thread asks at a time. A thread that was killed, or left by a jump, while it
 * asked keeps the others waiting once. */
static bool take_turn(enum preload_question kind, uint64_t begun)
{
	while (atomic_exchange(&page->taken, 1))
		if (now_ns() - begun > TAKEN_NS) {
			if (kind == PRELOAD_BYE)
				return false;
			if (now_ns() - begun > LAST_LOOK_NS)
				return true;
		}
	return true;
}

static int ask(enum preload_question kind, uintptr_t start, uintptr_t end,
	       uint64_t ns)
{
	int saved = errno, r = -1;
	unsigned question;
	uint64_t begun;

	if (!page || atomic_load(&page->gone))
		return -1;
	begun = now_ns();
	if (take_turn(kind, begun)) {
		question = (atomic_fetch_add(&page->asked, 1) + 1) *
				   (PRELOAD_KIND + 1) |
			   kind;
		atomic_store(&page->start, start);
		atomic_store(&page->end, end);
		atomic_store(&page->question, question);
		while (atomic_load(&page->question) == question &&
		       !atomic_load(&page->gone))
			if (now_ns() - begun > ns)
				atomic_store(&page->gone, 1);
		r = atomic_load(&page->question) == question ? -1 : 0;
		atomic_store(&page->taken, 0);
	}
	errno = saved;
	return r;
}

/* Not for a child of vfork(), in whose parent's memory it is: nothing is lost. (In a
 * sandbox getpid() may be refused.) */
void writewatch_run_last_look(void)
{
	if (page &&
	    (atomic_load(&page->sandboxed) || call1(SYS_getpid, 0) == owner))
		ask(PRELOAD_BYE, 0, 0, LAST_LOOK_NS);
}

__attribute__((destructor)) static void at_end(void)
{
	writewatch_run_last_look();
}

__attribute__((visibility("default"))) int
writewatch_run_let_go(uintptr_t start, uintptr_t end)
{
	return ask(PRELOAD_LET_GO, start, end, LET_GO_NS);
}

/* --- calls of libc, as it does them --- */

/* A program that uses userfaultfd itself: the memory is the program's first. It is
 * asked for before, too: what the command watched there may have been unmapped, and
 * the command not know. */
__attribute__((visibility("default"))) int ioctl(int fd, request_t request, ...)
{
	const struct uffdio_register *reg = NULL;
	uintptr_t start = 0, end = 0;
	va_list args;
	void *arg;
	int r, tries = 3;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (page && (unsigned)request == UFFDIO_REGISTER)
		reg = arg;
	if (reg) {
		start = (uintptr_t)reg->range.start;
		end = (uintptr_t)(reg->range.start + reg->range.len);
		writewatch_run_let_go(start, end);
	}
	do
		r = next.ioctl ? next.ioctl(fd, request, arg)
			       : (int)syscall(SYS_ioctl, fd, request, arg);
	while (r < 0 && errno == EBUSY && reg && tries-- &&
	       writewatch_run_let_go(start, end) == 0);
	return r;
}

/* Memory that the command registered does not become one mapping with what it grows
 * by, and mremap(2) takes one mapping only. */
__attribute__((visibility("default"))) void *
mremap(void *old, size_t old_size, size_t new_size, int flags, ...)
{
	va_list args;
	void *to, *r;
	int i;

	va_start(args, flags);
	to = va_arg(args, void *);
	va_end(args);
	for (i = 0;; i++) {
		r = next.mremap
			    ? next.mremap(old, old_size, new_size, flags, to)
			    : (void *)syscall(SYS_mremap, old, old_size,
					      new_size, flags, to);
		if (r != MAP_FAILED || errno != EFAULT || i ||
		    writewatch_run_let_go((uintptr_t)old,
					  (uintptr_t)old + old_size) != 0)
			return r;
	}
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

/* In shared memory and files that are protected against writes it does not end
 * (6.18). */
__attribute__((visibility("default"))) int madvise(void *start, size_t len,
						   int advice)
{
	if (page && advice == MADV_GUARD_INSTALL)
		writewatch_run_let_go((uintptr_t)start, (uintptr_t)start + len);
	return next.madvise ? next.madvise(start, len, advice)
			    : (int)syscall(SYS_madvise, start, len, advice);
}

__attribute__((visibility("default"))) ssize_t
process_madvise(int pidfd, const struct iovec *part, size_t n, int advice,
		unsigned flags)
{
	size_t i;

	/* of another process: then nothing is lost */
	for (i = 0; page && advice == MADV_GUARD_INSTALL && i < n; i++)
		writewatch_run_let_go((uintptr_t)part[i].iov_base,
				      (uintptr_t)part[i].iov_base +
					      part[i].iov_len);
	return next.process_madvise
		       ? next.process_madvise(pidfd, part, n, advice, flags)
		       : syscall(SYS_process_madvise, pidfd, part, n, advice,
				 flags);
}

#ifndef PR_SET_TSC
#define PR_SET_TSC 26
#endif

/* Without new privileges a program may sandbox itself: seccomp(2) comes next. And
 * without the processor's clock it is killed for a look at it. */
__attribute__((visibility("default"))) int prctl(int option, ...)
{
	unsigned long a, b, c, d;
	va_list args;

	va_start(args, option);
	a = va_arg(args, unsigned long);
	b = va_arg(args, unsigned long);
	c = va_arg(args, unsigned long);
	d = va_arg(args, unsigned long);
	va_end(args);
	if (page && (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP))
		atomic_store(&page->sandboxed, 1);
	if (page && option == PR_SET_TSC)
		atomic_store(&page->gone, 1);
	return next.prctl ? next.prctl(option, a, b, c, d)
			  : (int)syscall(SYS_prctl, option, a, b, c, d);
}
