/* SPDX-License-Identifier: MIT */
/*
 * sys.h - every system call that the library makes.
 *
 * Each function returns what the kernel answers or a negative errno value. This
 * is the only place where errno is read, and the seam where tests inject
 * faults (--wrap).
 */
#ifndef WW_SYS_H
#define WW_SYS_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* A descriptor of ours, known again by the file behind it. */
struct ww_fd {
	int fd; /* -1: none */
	dev_t dev;
	ino_t ino;
	bool borrowed; /* the host's: never closed */
};

#define WW_FD_NONE ((struct ww_fd){ .fd = -1 })

size_t ww_sys_page_size(void);
uint64_t ww_sys_now_ns(void);
void ww_sys_sleep_ns(long ns);
const char *ww_sys_getenv(const char *name);
int ww_sys_uname_release(char *buf, size_t len);

/* The kernel's version, for what nothing else shows; zeros if it is not known. */
struct ww_version {
	unsigned major, minor, patch;
};

static inline struct ww_version ww_kernel_version(void)
{
	struct ww_version v = { 0, 0, 0 };
	char release[65];

	if (ww_sys_uname_release(release, sizeof(release)) == 0)
		/* NOLINTNEXTLINE(cert-err34-c): zeros are fine */
		sscanf(release, "%u.%u.%u", &v.major, &v.minor, &v.patch);
	return v;
}

bool ww_sys_exists(const char *path);

int ww_sys_open(const char *path, int flags);	 /* adds O_CLOEXEC */
int ww_sys_userfaultfd(int flags);		 /* adds O_CLOEXEC */
int ww_sys_dup(int fd);				 /* adds O_CLOEXEC */
int ww_sys_pidfd_alive(int pidfd);		 /* 0, -ESRCH */
int ww_sys_set_blocking(int fd);
int ww_sys_keep_only(int fd); /* the calling thread gets a table of its own */
int ww_sys_pidfd_self(void);
int ww_sys_close(int fd);
long ww_sys_memwatch(long nr, int pidfd, uintptr_t start, int len,
		     unsigned flags, int64_t *vec, int vec_len);
ssize_t ww_sys_read(int fd, void *buf, size_t len);
ssize_t ww_sys_write(int fd, const void *buf, size_t len);
ssize_t ww_sys_pread(int fd, void *buf, size_t len, off_t at);
int64_t ww_sys_position(int fd);
int ww_sys_set_position(int fd, int64_t at);
int ww_sys_ioctl(int fd, unsigned long request, void *arg);

int ww_sys_mmap(size_t len, void **out); /* zeroed, MAP_NORESERVE */
int ww_sys_reserve(void *at, size_t len,
		   void **out); /* PROT_NONE; at: a hint */
int ww_sys_munmap(void *at, size_t len);
int ww_sys_mprotect(uintptr_t start, size_t len, int prot);
int ww_sys_madvise(uintptr_t start, size_t len, int advice);
bool ww_sys_is_mapped(uintptr_t page);
int ww_sys_name_anon(uintptr_t start, size_t len, const char *name);

/* A thread with all signals blocked. */
int ww_sys_thread(pthread_t *out, void *(*fn)(void *), void *arg);
void ww_sys_join(pthread_t thread);

/* What fn returns in a child with a copy of our memory, where only system calls
 * may be made: 0-254, or 255 if it died. 0 if no child can be made. */
int ww_sys_in_child(int (*fn)(volatile char *), volatile char *arg);

int ww_sys_sigaction(int signo, const struct sigaction *act,
		     struct sigaction *old);
int ww_sys_sigmask(int how, const sigset_t *set, sigset_t *old);
int ww_sys_raise(int signo); /* at the calling thread */

/* Take over a descriptor that was just made (or is borrowed). On failure fd is
 * closed unless it is borrowed. */
int ww_fd_init(struct ww_fd *self, int fd, bool borrowed);

/* Is it still the file that we made? A host may have closed the number, and
 * the number may be another file's by now. */
bool ww_fd_ok(const struct ww_fd *self);

/* Close it if it is still ours. */
void ww_fd_finish(struct ww_fd *self);

#endif
