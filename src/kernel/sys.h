/* SPDX-License-Identifier: MIT */
/*
 * sys.h - every system call that the library makes.
 *
 * Each function returns what the kernel answers or a negative errno value, and
 * leaves errno alone. This is the seam where tests inject faults (--wrap).
 */
#ifndef WW_SYS_H
#define WW_SYS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/place.h"

size_t ww_sys_page_size(void);
uint64_t ww_sys_now_ns(void);
void ww_sys_sleep_ns(long ns);
const char *ww_sys_getenv(const char *name); /* NULL in a set-user-ID program */
int ww_sys_uname_release(char *buf, size_t len);
bool ww_sys_exists(const char *path);

/* --- descriptors; those that are made get O_CLOEXEC --- */

int ww_sys_open(const char *path, int flags);
int ww_sys_userfaultfd(int flags);
int ww_sys_pidfd(int pid);	   /* 0: the calling process */
int ww_sys_pidfd_alive(int pidfd); /* 0, -ESRCH */
int ww_sys_set_blocking(int fd);
/* The calling thread gets a descriptor table of its own, with fd alone. */
int ww_sys_keep_only(int fd);
int ww_sys_close(int fd);
int ww_sys_identity(int fd, dev_t *dev, ino_t *ino);
/* A number from 1 to 64 that stays with an open file, in what is the signal for
 * O_ASYNC elsewhere; 0: nobody has set one. The last is for handles of the Win32
 * calls, the others are for descriptors of trackers. */
#define WW_TAG_HANDLE 64
int ww_sys_set_tag(int fd, int tag);
int ww_sys_tag(int fd);
ssize_t ww_sys_read(int fd, void *buf, size_t len);
ssize_t ww_sys_write(int fd, const void *buf, size_t len);
ssize_t ww_sys_pread(int fd, void *buf, size_t len, int64_t at);
int64_t ww_sys_position(int fd);
int ww_sys_set_position(int fd, int64_t at);
int ww_sys_ioctl(int fd, unsigned long request, void *arg);
long ww_sys_memwatch(long nr, int pidfd, uintptr_t start, int len,
		     unsigned flags, int64_t *vec, int vec_len);

/* --- memory --- */

int ww_sys_mmap(size_t len, void **out); /* zeroed, MAP_NORESERVE */
/* The same with a protection. */
int ww_sys_mmap_prot(size_t len, int prot, void **out);
int ww_sys_mmap_shared(size_t len, void **out); /* PROT_NONE */
/* PROT_NONE; at: a hint */
int ww_sys_reserve(void *at, size_t len, void **out);
int ww_sys_munmap(void *at, size_t len);
int ww_sys_mprotect(uintptr_t start, size_t len, int prot);
/* May a page of shared memory have the protection? Asked of a second mapping. 0 or
 * -errno. */
int ww_sys_try_shared(uintptr_t at, size_t page, int prot);
int ww_sys_madvise(uintptr_t start, size_t len, int advice);
int ww_sys_mlock(uintptr_t start, size_t len, bool on_fault);
int ww_sys_munlock(uintptr_t start, size_t len);
bool ww_sys_is_mapped(uintptr_t page);
/* Is part of it not mapped? Looks at the mappings only, not at pages. */
bool ww_sys_has_hole(uintptr_t start, size_t len);
/* Is part of it locked (mlock(2))? Likewise. */
bool ww_sys_has_locked(uintptr_t start, size_t len);
/* Could the calling thread write there now? Changes no byte, but the page counts as
 * written. */
bool ww_sys_is_writable(uintptr_t at);
int ww_sys_name_anon(uintptr_t start, size_t len, const char *name);

/* --- threads and signals --- */

/* Block all signals of the calling thread, except those that its instructions
 * may raise. A thread that holds a lock, or changes protections, has them
 * blocked: so no signal can stop it there. */
void ww_sys_block_signals(uint64_t *mask);
void ww_sys_restore_signals(uint64_t mask);

/* Sleep while *word is value. */
void ww_sys_futex_wait(atomic_uint *word, unsigned value);
void ww_sys_futex_wake(atomic_uint *word, int n);

int ww_sys_sigaction(int signo, const struct sigaction *act,
		     struct sigaction *old);
int ww_sys_raise(int signo); /* at the calling thread */
unsigned ww_sys_thread_id(void);
/* Processor time that a thread of this process has used; 0: not known, or it has
 * ended. */
uint64_t ww_sys_thread_ns(unsigned thread);
/* How often the calling thread gave its processor away; 0: not known. */
long ww_sys_sleeps_of_thread(void);

/* Start a thread that libc does not know: fn(arg) on a stack, with all signals
 * blocked. The thread does not keep the process alive when the last thread that
 * libc knows has ended. When the thread ends, *alive becomes 0 and is woken as
 * a futex. fn may use no thread-local storage. */
int ww_sys_thread(void *stack, size_t stack_len, int (*fn)(void *), void *arg,
		  atomic_uint *alive);
/* For such a thread: take the highest real-time priority that is allowed, then
 * give up all privileges of the thread. */
void ww_sys_rush(void);

/* Run fn in a child process with a copy of our memory; fn may make only system
 * calls. Returns what fn returned (0-254), 255 if the child died, 0 if no child
 * can be made. */
int ww_sys_in_child(int (*fn)(volatile char *), volatile char *arg);

/* --- a descriptor of ours, known again by the file behind it --- */

struct ww_fd {
	int fd;		     /* -1: none */
	bool borrowed;	     /* the host's: never closed */
	bool any_generation; /* good in a fork child, too */
	int tag;	     /* of our opening of the file; 0: none */
	unsigned generation; /* of the process that made it (base/fork.h) */
	dev_t dev;
	ino_t ino;
};

#define WW_FD_NONE ((struct ww_fd){ .fd = -1 })

/* Take over a descriptor that was just made (or is borrowed). On failure fd is
 * closed unless it is borrowed. */
int ww_fd_init(struct ww_fd *self, int fd, bool borrowed);

/* Is this still the file that we made, and this the process that made it? A
 * host may have closed the descriptor, and its number may be another file's by
 * now. A fork child has copies of the parent's descriptors, which work on the
 * parent's memory. */
bool ww_fd_ok(const struct ww_fd *self);
/* Is it the one that we made, not another's of the same file? Of any process. */
bool ww_fd_is_ours(const struct ww_fd *self);

/* Close the descriptor if it is still that file, in a fork child too. */
void ww_fd_finish(struct ww_fd *self);

/* --- the kernel's version, for what nothing else shows --- */

struct ww_version {
	unsigned major, minor, patch;
};

/* Zeros if it is not known. */
struct ww_version ww_kernel_version(void);

static inline bool ww_version_at_least(struct ww_version v, unsigned major,
				       unsigned minor)
{
	return v.major > major || (v.major == major && v.minor >= minor);
}

#endif
