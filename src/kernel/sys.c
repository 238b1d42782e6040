/* SPDX-License-Identifier: MIT */
/*
 * sys.c - the system calls for descriptors and memory; those of threads and signals
 * are in sys-thread.c. The library makes no others.
 *
 * Called by every floor, calls call.h. Invariant: results are values or
 * negative errno values; errno is as it was, and nothing here is
 * a cancellation point: a thread that is cancelled in one would keep a lock, or
 * leave pages closed.
 */
#include "kernel/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>

#ifndef STATX_INO
#include <linux/stat.h> /* musl before 1.2.5 */
#endif

#include "kernel/call.h"

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

/* Asked once only, so that no signal handler asks libc. */
size_t ww_sys_page_size(void)
{
	WW_DATA static atomic_size_t page;
	size_t bytes = atomic_load_explicit(&page, memory_order_relaxed);

	if (!bytes) {
		bytes = getauxval(AT_PAGESZ);
		atomic_store_explicit(&page, bytes, memory_order_relaxed);
	}
	return bytes;
}

WW_OFTEN uint64_t ww_sys_now_ns(void)
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
	return getauxval(AT_SECURE) ? NULL : getenv(name);
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

int ww_sys_pidfd(int pid)
{
	return (int)call2(SYS_pidfd_open, pid ? pid : call1(SYS_getpid, 0), 0);
}

int ww_sys_pidfd_alive(int pidfd)
{
	/* A pidfd is readable when its process has ended (Linux 5.3). Polling
	 * needs no permission, unlike a signal. */
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	const poll_word now[2] = { 0, 0 };

	return call5(NR_PPOLL, &p, 1, now, NULL, 0) == 0 ? 0 : -ESRCH;
}

#ifndef F_SETSIG
#define F_SETSIG 10
#define F_GETSIG 11
#endif

int ww_sys_set_tag(int fd, int tag)
{
	return (int)call3(NR_FCNTL, fd, F_SETSIG, tag);
}

int ww_sys_tag(int fd)
{
	return (int)call3(NR_FCNTL, fd, F_GETSIG, 0);
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

WW_OFTEN int64_t ww_sys_position(int fd)
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

WW_OFTEN int ww_sys_ioctl(int fd, unsigned long request, void *arg)
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
	long r = ww_arch_map((long)at, (long)len, prot,
			     kind | MAP_ANONYMOUS | MAP_NORESERVE, -1);

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

WW_OFTEN int ww_sys_mprotect(uintptr_t start, size_t len, int prot)
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

int ww_sys_mlock(uintptr_t start, size_t len, bool on_fault)
{
	if (on_fault) /* Linux 4.4 */
		return (int)call3(SYS_mlock2, start, len, MLOCK_ONFAULT);
	return (int)call2(SYS_mlock, start, len);
}

int ww_sys_munlock(uintptr_t start, size_t len)
{
	return (int)call2(SYS_munlock, start, len);
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

bool ww_sys_has_locked(uintptr_t start, size_t len)
{
	/* MS_INVALIDATE does nothing but refuse locked mappings. */
	return call3(SYS_msync, start, len, MS_INVALIDATE) == -EBUSY;
}

bool ww_sys_is_writable(uintptr_t at)
{
	/* word |= 0 in one atomic step, which fails if the word is not
	 * writable, and wakes nobody. */
	const unsigned or_nothing =
		(unsigned)FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0);
	unsigned word = 0;

	return call6(NR_FUTEX, &word, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0,
		     at & ~(uintptr_t)3, or_nothing) >= 0;
}

int ww_sys_name_anon(uintptr_t start, size_t len, const char *name)
{
	return (int)call5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, start,
			  len, name);
}
