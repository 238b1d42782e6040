/* SPDX-License-Identifier: MIT */
/*
 * sys.c - every system call that the library makes.
 *
 * Called by every floor, calls arch.h. Invariant: results are values or
 * negative errno values; errno is as it was, and nothing here is
 * a cancellation point: a thread that is cancelled in one would keep a lock, or
 * leave pages closed.
 */
#include "kernel/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#ifndef STATX_INO
#include <linux/stat.h> /* musl before 1.2.5 */
#endif

#include "kernel/arch.h"
#include "kernel/uapi/numbers.h"

#define KERNEL_SIGSET 8 /* bytes */

#define call6(nr, a, b, c, d, e, f)                                      \
	ww_arch_call(nr, (long)(a), (long)(b), (long)(c), (long)(d), \
		     (long)(e), (long)(f))
#define call5(nr, a, b, c, d, e) call6(nr, a, b, c, d, e, 0)
#define call4(nr, a, b, c, d) call6(nr, a, b, c, d, 0, 0)
#define call3(nr, a, b, c) call6(nr, a, b, c, 0, 0, 0)
#define call2(nr, a, b) call6(nr, a, b, 0, 0, 0, 0)
#define call1(nr, a) call6(nr, a, 0, 0, 0, 0, 0)

/* A kernel's timespec of two longs: long enough for what is slept here. */
#if defined(SYS_nanosleep)
#define NR_NANOSLEEP SYS_nanosleep
typedef long time_word;
#else
#define NR_NANOSLEEP SYS_clock_nanosleep_time64
typedef int64_t time_word;
#endif

#ifdef SYS_futex
#define NR_FUTEX SYS_futex
#else
#define NR_FUTEX SYS_futex_time64
#endif

#ifdef SYS_ppoll
#define NR_PPOLL SYS_ppoll
typedef long poll_word;
#else
#define NR_PPOLL SYS_ppoll_time64
typedef int64_t poll_word;
#endif

#ifdef SYS_fcntl64
#define NR_FCNTL SYS_fcntl64
#else
#define NR_FCNTL SYS_fcntl
#endif

/* Ask sysconf(3) once only, so that no signal handler does: it may use
 * thread-local variables. */
size_t ww_sys_page_size(void)
{
	static atomic_size_t page;
	size_t bytes = atomic_load_explicit(&page, memory_order_relaxed);

	if (!bytes) {
		bytes = (size_t)sysconf(_SC_PAGESIZE);
		atomic_store_explicit(&page, bytes, memory_order_relaxed);
	}
	return bytes;
}

uint64_t ww_sys_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t); /* not a system call, mostly */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void ww_sys_sleep_ns(long ns)
{
	const time_word t[2] = { 0, ns };

#ifdef SYS_nanosleep
	call2(NR_NANOSLEEP, t, NULL);
#else
	call4(NR_NANOSLEEP, CLOCK_MONOTONIC, 0, t, NULL);
#endif
}

const char *ww_sys_getenv(const char *name)
{
	return secure_getenv(name);
}

int ww_sys_uname_release(char *buf, size_t len)
{
	struct utsname u;
	long r = call1(SYS_uname, &u);

	if (r < 0)
		return (int)r;
	len = len - 1 < sizeof(u.release) ? len - 1 : sizeof(u.release);
	memcpy(buf, u.release, len);
	buf[len] = '\0';
	return 0;
}

bool ww_sys_exists(const char *path)
{
	return call3(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

/* --- descriptors --- */

int ww_sys_open(const char *path, int flags)
{
	return (int)call3(SYS_openat, AT_FDCWD, path,
			  flags | O_CLOEXEC | O_LARGEFILE);
}

int ww_sys_userfaultfd(int flags)
{
	return (int)call1(SYS_userfaultfd, flags | O_CLOEXEC);
}

int ww_sys_dup(int fd)
{
	return (int)call3(NR_FCNTL, fd, F_DUPFD_CLOEXEC, 0);
}

int ww_sys_pidfd_self(void)
{
	return (int)call2(SYS_pidfd_open, call1(SYS_getpid, 0), 0);
}

int ww_sys_pidfd_alive(int pidfd)
{
	/* A pidfd is readable when its process has ended (Linux 5.3). Polling
	 * needs no permission, unlike a signal. */
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	const poll_word now[2] = { 0, 0 };

	return call5(NR_PPOLL, &p, 1, now, NULL, 0) == 0 ? 0 : -ESRCH;
}

int ww_sys_set_blocking(int fd)
{
	long flags = call3(NR_FCNTL, fd, F_GETFL, 0);

	if (flags < 0)
		return (int)flags;
	return (int)call3(NR_FCNTL, fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* Close the descriptors above fd first: the kernel then copies only the rest of
 * the table. */
int ww_sys_keep_only(int fd)
{
	long r = call3(SYS_close_range, fd + 1, ~0u, CLOSE_RANGE_UNSHARE);

	if (r == 0 && fd > 0)
		r = call3(SYS_close_range, 0, fd - 1, 0);
	return (int)r;
}

int ww_sys_close(int fd)
{
	return (int)call1(SYS_close, fd);
}

int ww_sys_identity(int fd, dev_t *dev, ino_t *ino)
{
	struct stat st;
	struct statx stx = { 0 };
	long r = call5(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_INO, &stx);

	if (r == 0) {
		*dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
		*ino = (ino_t)stx.stx_ino;
		return 0;
	}
	if (r == -EBADF)
		return -EBADF;
	/* Before 4.11, or refused: libc's, because the kernel's struct is
	 * another one on each architecture. */
	r = errno;
	if (fstat(fd, &st) < 0) {
		errno = (int)r;
		return -EBADF;
	}
	*dev = st.st_dev;
	*ino = st.st_ino;
	return 0;
}

ssize_t ww_sys_read(int fd, void *buf, size_t len)
{
	return call3(SYS_read, fd, buf, len);
}

ssize_t ww_sys_write(int fd, const void *buf, size_t len)
{
	return call3(SYS_write, fd, buf, len);
}

ssize_t ww_sys_pread(int fd, void *buf, size_t len, int64_t at)
{
	ssize_t n;

	do
		n = ww_arch_call(SYS_pread64, fd, (long)buf, (long)len,
				 WW_ARCH_OFFSET(at));
	while (n == -EINTR);
	return n;
}

int64_t ww_sys_position(int fd)
{
#if __SIZEOF_LONG__ == 8
	return call3(SYS_lseek, fd, 0, SEEK_CUR);
#else
	int64_t at;
	long r = call5(SYS__llseek, fd, 0, 0, &at, SEEK_CUR);

	return r < 0 ? r : at;
#endif
}

int ww_sys_set_position(int fd, int64_t at)
{
#if __SIZEOF_LONG__ == 8
	long r = call3(SYS_lseek, fd, at, SEEK_SET);
#else
	int64_t now;
	long r = call5(SYS__llseek, fd, (long)(at >> 32), (long)at, &now,
		       SEEK_SET);
#endif
	return r < 0 ? (int)r : 0;
}

int ww_sys_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)call3(SYS_ioctl, fd, request, arg);
}

long ww_sys_memwatch(long nr, int pidfd, uintptr_t start, int len,
		     unsigned flags, int64_t *vec, int vec_len)
{
	return call6(nr, pidfd, start, len, flags, vec, vec_len);
}

/* --- memory --- */

static int map(void *at, size_t len, int prot, int kind, void **out)
{
	const int flags = kind | MAP_ANONYMOUS | MAP_NORESERVE;
#ifdef SYS_mmap2
	long r = call6(SYS_mmap2, at, len, prot, flags, -1, 0);
#elif defined(__s390x__) /* takes a pointer to its arguments */
	unsigned long args[6] = { (unsigned long)at, len, (unsigned long)prot,
				  (unsigned long)flags, -1ul, 0 };
	long r = call1(SYS_mmap, args);
#else
	long r = call6(SYS_mmap, at, len, prot, flags, -1, 0);
#endif
	if (r < 0 && r > -4096)
		return (int)r;
	*out = (void *)r;
	return 0;
}

int ww_sys_mmap(size_t len, void **out)
{
	return map(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, out);
}

int ww_sys_mmap_prot(size_t len, int prot, void **out)
{
	return map(NULL, len, prot, MAP_PRIVATE, out);
}

int ww_sys_mmap_shared(size_t len, void **out)
{
	return map(NULL, len, PROT_NONE, MAP_SHARED, out);
}

int ww_sys_reserve(void *at, size_t len, void **out)
{
	return map(at, len, PROT_NONE, MAP_PRIVATE, out);
}

int ww_sys_munmap(void *at, size_t len)
{
	return (int)call2(SYS_munmap, at, len);
}

int ww_sys_mprotect(uintptr_t start, size_t len, int prot)
{
	return (int)call3(SYS_mprotect, start, len, prot);
}

int ww_sys_try_shared(uintptr_t at, size_t page, int prot)
{
	/* a length of 0 makes a second mapping of shared memory */
	long twin = call5(SYS_mremap, at, 0, page, 1 /* MREMAP_MAYMOVE */, 0);
	int r;

	if (twin < 0 && twin > -4096)
		return twin == -EFAULT ? -ENOMEM : 0; /* a hole; not known */
	r = (int)call3(SYS_mprotect, twin, page, prot);
	call2(SYS_munmap, twin, page);
	return r;
}

int ww_sys_madvise(uintptr_t start, size_t len, int advice)
{
	return (int)call3(SYS_madvise, start, len, advice);
}

bool ww_sys_is_mapped(uintptr_t page)
{
	unsigned char resident;

	return call3(SYS_mincore, page, 1, &resident) != -ENOMEM;
}

bool ww_sys_has_hole(uintptr_t start, size_t len)
{
	/* MS_ASYNC does nothing since Linux 2.6.19 but walk over the mappings,
	 * and say so if one is missing. */
	return call3(SYS_msync, start, len, MS_ASYNC) == -ENOMEM;
}

bool ww_sys_is_writable(uintptr_t at)
{
	/* word |= 0 in one atomic step, which fails if the word is not
	 * writable, and wakes nobody. */
	const unsigned or_nothing = (unsigned)FUTEX_OP(FUTEX_OP_OR, 0,
						       FUTEX_OP_CMP_EQ, 0);
	unsigned word = 0;

	return call6(NR_FUTEX, &word, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0,
		     at & ~(uintptr_t)3, or_nothing) >= 0;
}

int ww_sys_name_anon(uintptr_t start, size_t len, const char *name)
{
	return (int)call5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, start,
			  len, name);
}

/* --- threads and signals --- */

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
	while (fifo.priority > 0 &&
	       call3(SYS_sched_setscheduler, 0, SCHED_FIFO | 0x40000000,
		     &fifo) < 0)
		fifo.priority -= fifo.priority > 9 ? 9 : 1;
	call2(SYS_capset, header, none);
}
