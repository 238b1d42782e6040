/* SPDX-License-Identifier: MIT */
/*
 * sys.c - every system call that the library makes.
 *
 * Called by every floor, calls libc only. Invariant: results are values or
 * -errno, and errno is read nowhere else. What the SIGSEGV handler uses from
 * here (mprotect, nanosleep, sigaction, sigmask, raise) is async-signal-safe.
 * Nothing here is a cancellation point, so those of the C library are made as
 * plain system calls: a thread that is cancelled in one would keep a lock, or
 * leave pages closed; and a store that faults must not be one.
 */
#include "kernel/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* Linux 5.9 */
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1u << 1)
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d61 /* Linux 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif

static int result(int r)
{
	return r < 0 ? -errno : r;
}

size_t ww_sys_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t ww_sys_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void ww_sys_sleep_ns(long ns)
{
	const long t[2] = { 0, ns };

	syscall(SYS_nanosleep, t, NULL);
}

const char *ww_sys_getenv(const char *name)
{
	return secure_getenv(name);
}

int ww_sys_uname_release(char *buf, size_t len)
{
	struct utsname u;

	if (uname(&u) < 0)
		return -errno;
	buf[0] = '\0';
	strncat(buf, u.release, len - 1);
	return 0;
}

bool ww_sys_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

int ww_sys_open(const char *path, int flags)
{
	return result((int)syscall(SYS_openat, AT_FDCWD, path,
				   flags | O_CLOEXEC | O_LARGEFILE));
}

int ww_sys_userfaultfd(int flags)
{
	return result((int)syscall(SYS_userfaultfd, flags | O_CLOEXEC));
}

int ww_sys_dup(int fd)
{
	return result(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int ww_sys_pidfd_alive(int pidfd)
{
	/* Readable when it has ended (Linux 5.3); asks no right to signal. */
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	const long now[2] = { 0, 0 };

	return syscall(SYS_ppoll, &p, 1, now, NULL, 0) == 0 ? 0 : -ESRCH;
}

int ww_sys_pidfd_self(void)
{
	return result((int)syscall(SYS_pidfd_open, getpid(), 0));
}

long ww_sys_memwatch(long nr, int pidfd, uintptr_t start, int len,
		     unsigned flags, int64_t *vec, int vec_len)
{
	long r = syscall(nr, pidfd, start, len, flags, vec, vec_len);

	return r < 0 ? -errno : r;
}

int ww_sys_set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -errno
			 : result(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}

/* The upper part first: then only the lower one is copied at all. */
int ww_sys_keep_only(int fd)
{
	int r = result((int)syscall(SYS_close_range, fd + 1, ~0u,
				    CLOSE_RANGE_UNSHARE));

	if (r == 0 && fd > 0)
		r = result((int)syscall(SYS_close_range, 0, fd - 1, 0));
	return r;
}

int ww_sys_close(int fd)
{
	return result((int)syscall(SYS_close, fd));
}

ssize_t ww_sys_read(int fd, void *buf, size_t len)
{
	ssize_t n = syscall(SYS_read, fd, buf, len);

	return n < 0 ? -errno : n;
}

ssize_t ww_sys_write(int fd, const void *buf, size_t len)
{
	ssize_t n = syscall(SYS_write, fd, buf, len);

	return n < 0 ? -errno : n;
}

ssize_t ww_sys_pread(int fd, void *buf, size_t len, off_t at)
{
	ssize_t n;

	do
#if __SIZEOF_LONG__ == 8
		n = syscall(SYS_pread64, fd, buf, len, at);
#elif defined(__i386__)
		n = syscall(SYS_pread64, fd, buf, len, (long)at,
			    (long)(at >> 32));
#else /* a pair of registers may have to be aligned */
		n = pread(fd, buf, len, at);
#endif
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int64_t ww_sys_position(int fd)
{
	off_t at = lseek(fd, 0, SEEK_CUR);

	return at < 0 ? -errno : at;
}

int ww_sys_set_position(int fd, int64_t at)
{
	return lseek(fd, (off_t)at, SEEK_SET) < 0 ? -errno : 0;
}

int ww_sys_ioctl(int fd, unsigned long request, void *arg)
{
	return result(ioctl(fd, request, arg));
}

static int map(void *at, size_t len, int prot, void **out)
{
	void *p = mmap(at, len, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*out = p;
	return 0;
}

int ww_sys_mmap(size_t len, void **out)
{
	return map(NULL, len, PROT_READ | PROT_WRITE, out);
}

int ww_sys_reserve(void *at, size_t len, void **out)
{
	return map(at, len, PROT_NONE, out);
}

int ww_sys_munmap(void *at, size_t len)
{
	return result(munmap(at, len));
}

int ww_sys_mprotect(uintptr_t start, size_t len, int prot)
{
	return result(mprotect((void *)start, len, prot));
}

int ww_sys_madvise(uintptr_t start, size_t len, int advice)
{
	return result(madvise((void *)start, len, advice));
}

bool ww_sys_is_mapped(uintptr_t page)
{
	unsigned char resident;

	return mincore((void *)page, 1, &resident) == 0 || errno != ENOMEM;
}

int ww_sys_name_anon(uintptr_t start, size_t len, const char *name)
{
	return result(
		prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, len, name));
}

void ww_sys_join(pthread_t thread)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_join(thread, NULL);
	pthread_setcancelstate(old, NULL);
}

int ww_sys_thread(pthread_t *out, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* a new thread inherits it */
	r = pthread_create(out, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

/* Not fork(): the host's handlers would run. No exit signal: its SIGCHLD
 * handler would, and its wait() would see the child. */
int ww_sys_in_child(int (*fn)(volatile char *), volatile char *arg)
{
	sigset_t all, old;
	int status = 0;
	long pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		_exit(fn(arg));
	while (pid > 0 && syscall(SYS_wait4, pid, &status, __WALL, NULL) < 0 &&
	       errno == EINTR)
		;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int ww_sys_sigaction(int signo, const struct sigaction *act,
		     struct sigaction *old)
{
	return result(sigaction(signo, act, old));
}

int ww_sys_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	return -pthread_sigmask(how, set, old);
}

int ww_sys_raise(int signo)
{
	return raise(signo) ? -EINVAL : 0;
}

int ww_fd_init(struct ww_fd *self, int fd, bool borrowed)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		int r = -errno;

		if (!borrowed)
			ww_sys_close(fd);
		return r;
	}
	*self = (struct ww_fd){ fd, st.st_dev, st.st_ino, borrowed };
	return 0;
}

bool ww_fd_ok(const struct ww_fd *self)
{
	struct stat st;

	return self->fd >= 0 && fstat(self->fd, &st) == 0 &&
	       st.st_dev == self->dev && st.st_ino == self->ino;
}

void ww_fd_finish(struct ww_fd *self)
{
	if (!self->borrowed && ww_fd_ok(self))
		ww_sys_close(self->fd);
	*self = WW_FD_NONE;
}
