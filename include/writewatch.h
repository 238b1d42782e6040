/* SPDX-License-Identifier: MIT */
/*
 * writewatch.h - which pages of my memory were written since I last asked?
 *
 *	struct ww *ww;
 *	void *pages[64];
 *	ww_open(&ww, NULL);
 *	ww_watch(ww, memory, len, 0);
 *	...					the program writes to memory
 *	for (char *at = memory, *end = memory + len; at < end;) {
 *		size_t n = 64, i;
 *		if (ww_get(ww, at, end - at, WW_RESET, pages, &n, NULL) < 0)
 *			break;
 *		for (i = 0; i < n; i++)
 *			save(pages[i]);		pages[0..n-1] were written
 *		at = n < 64 ? end : (char *)pages[63] + page_size;
 *	}
 *
 * This is the one loop, right for every backend and every flag: while the array
 * came back full, go on behind its last entry.
 *
 * Pages: the host's (sysconf(_SC_PAGESIZE)). start and len are whole pages, in
 *   bytes: nothing is rounded, except by ww_mark(), ww_hold() and ww_release().
 * Window: with WW_WINDOW [start, start + len) may hold unwatched memory, which
 *   is skipped; len 0 means up to the end of the address space, and NULL, 0
 *   everything. Without it every page must be watched, by one range or several.
 * Results: 0 or a negative errno value. On failure outputs are untouched (an
 *   array's content is undefined), no page has lost its dirty state, and
 *   nothing else has changed. There are ten errors:
 *    -EINVAL      an argument: NULL output, unaligned or empty or wrapping
 *                 range, count 0, unknown flag or size
 *    -ENOENT      not watched; no such backend
 *    -EEXIST      ww_watch(): part of it is watched already
 *    -EFAULT      memory that is not mapped, or a hole in it
 *    -EBUSY       another tracker or userfaultfd owns the memory
 *    -EOPNOTSUPP  not this kind of memory; the library's own; unmet `require`
 *    -EPERM       the system does not allow it
 *    -ESRCH       the watched process is gone
 *    -ENOMEM      memory, descriptors or mappings ran out
 *    -ENOSYS      the kernel does not have it
 * Growth: the caller sets size to sizeof(struct). Members that a shorter struct
 *   than the library's lacks are taken as zero, or not written; those that only
 *   a longer one has must be zero on input, and are left alone on output. Flags
 *   are 0 where a call names none; unknown ones are -EINVAL.
 * Dirty: what cannot be known is reported as written (doc/reliability.md).
 *   While other threads write or reset, a store may be reported twice, never
 *   zero times. Read a page after the query that reported it has returned.
 * Threads: any thread may make any call at any time; ww_close() must be the
 *   last one on a tracker. Calls also work while all other threads are stopped
 *   by a signal (not one of a fault, as SIGTRAP), at any instruction: the library
 *   waits for no thread that such a signal can stop, and does not use malloc()
 *   (the first ww_open() calls pthread_atfork()). Queries, ww_reset*(), ww_mark(),
 *   ww_hold(), ww_release(), ww_handle_fault() allocate nothing, take no lock
 *   (soft-dirty: a reset takes one) and need 8 KiB of stack at most. No call is a
 *   cancellation point. No query may be left by longjmp() or pthread_exit().
 * Signals: ww_mark(), ww_hold(), ww_release(), ww_info() and ww_handle_fault()
 *   are async-signal-safe. Only backends without WW_CAP_NO_SIGNAL touch
 *   SIGSEGV; there a store to watched memory may raise it. If the thread blocks
 *   it, or its stack or alternate signal stack is watched, the kernel kills the
 *   process without a message.
 * fork: a tracker goes on working in the child, on the child's memory: first it
 *   reports once every page of private memory that exists, what MADV_WIPEONFORK
 *   wiped, and all of shared and file memory. Memory that the child does not
 *   inherit (MADV_DONTFORK) is not watched there, and no hold goes on. fork()
 *   makes the child's descriptors, before the child can drop privileges; if
 *   that fails, queries, resets, ww_watch(), ww_protect(), ww_discard() and
 *   ww_next_range() give one error there. fork() waits for calls that change
 *   things: if your pthread_atfork() handlers take a lock that you also hold
 *   around such calls, register them after the first ww_open().
 * Contract: while memory is watched, change its protection with ww_protect()
 *   (unless WW_CAP_FOREIGN_MPROTECT), drop its pages with ww_discard(), and
 *   call ww_unwatch() before munmap(), mremap() or mmap(MAP_FIXED). Pages that
 *   are not mapped are neither reported nor an error; memory put in their place
 *   is reported once as wholly dirty by the userfaultfd backends; on the others
 *   that is undefined. A page dropped by MADV_DONTNEED may be reported once, and
 *   by MADV_FREE, when the kernel takes it. Watching may turn transparent huge pages
 *   and KSM off for the memory, and they stay off: turned on again, they show pages
 *   that nobody wrote. mprotect and soft-dirty make pages read-only and
 *   writable again: PR_SET_MDWE once writable code is watched, and on mprotect
 *   mseal(2) of watched memory, make the next store there fatal.
 * Unseen: another mapping of the same file or memfd. What is taken away from
 *   shared memory or a file (MADV_REMOVE, a punched hole, truncation):
 *   ww_mark() it. What pins pages first and writes to them later, if a reset
 *   comes between (devices, io_uring fixed buffers, O_DIRECT reads,
 *   process_vm_writev(2), ptrace(2), /proc/PID/mem): ww_hold() them meanwhile.
 *   MADV_GUARD_INSTALL on watched shared memory spins until a signal (6.18).
 */
#ifndef WRITEWATCH_H
#define WRITEWATCH_H

#include <stddef.h>

#define WRITEWATCH_VERSION_MAJOR 0
#define WRITEWATCH_VERSION_MINOR 1
#define WRITEWATCH_VERSION_PATCH 0

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif
#ifdef __cplusplus
extern "C" {
#endif

/* A tracker: one backend and the ranges that it watches. */
struct ww;

/* The version of the library that runs, "0.1.0"; static. */
const char *ww_version(void);

/* What a backend guarantees, for a tracker or for one range. */
enum ww_cap {
	/* Get-and-reset loses no racing write. */
	WW_CAP_ATOMIC_RESET = 1 << 0,
	/* read(2) and the like into a watched range always succeed and are seen.
	 * Without it they fail with EFAULT at a closed (read-only) page, and
	 * what they took (a datagram, an eventfd's count, a wait status) is
	 * lost: ww_hold() the buffer. The kernel's own writes fail too, mostly
	 * in silence: robust, priority-inheriting, process-shared mutexes (on
	 * uffd-sync always), thread descriptors, rseq, signal frames. Hold them. */
	WW_CAP_KERNEL_WRITES = 1 << 1,
	/* Nothing is reported that was neither written nor faulted for writing
	 * on the program's behalf (mlock, MADV_POPULATE_WRITE, shared futex),
	 * except once after fork or when tracking was lost, and on uffd-async a
	 * page that the kernel migrated while it was reset. */
	WW_CAP_EXACT = 1 << 2,
	/* Shared and file mappings too. */
	WW_CAP_SHARED = 1 << 3,
	/* No signal disposition is touched; no helper thread is started. */
	WW_CAP_NO_SIGNAL = 1 << 4,
	WW_CAP_NO_THREAD = 1 << 5,
	/* Can watch another process. */
	WW_CAP_REMOTE = 1 << 6,
	/* The program's own mprotect(2) in a watched range is harmless. */
	WW_CAP_FOREIGN_MPROTECT = 1 << 7,
	/* Other processes' writes work and are seen: process_vm_writev(2),
	 * ptrace(2), /proc/PID/mem (a debugger, a wineserver). */
	WW_CAP_FOREIGN_WRITES = 1 << 8
};

/* "atomic-reset" for WW_CAP_ATOMIC_RESET and so on; static. NULL: unknown. */
const char *ww_cap_name(unsigned cap);

/* Filled by ww_info() and ww_probe(). Its strings are static. */
struct ww_backend_info {
	size_t size;
	/* "uffd-async", "mprotect" */
	const char *name;
	/* WW_CAP_ bits, and WW_WATCH_ bits that the backend makes use of */
	unsigned caps;
	unsigned modes;
	/* 0: usable here; or a negative errno value */
	int status;
	/* a line for a person: why not, and what would help */
	const char *reason;
};

/* Whole pages of memory; len is in bytes. */
struct ww_range {
	void *start;
	size_t len;
};

/* Filled by ww_next_range(). */
struct ww_range_info {
	size_t size;
	/* as it was watched, less what was unwatched */
	struct ww_range range;
	/* WW_CAP_ bits that hold for it, and WW_WATCH_ bits that are used */
	unsigned caps;
	unsigned modes;
	/* times that pages counted as dirty without a known write */
	unsigned lost;
};

enum ww_open_flag {
	/* The host owns SIGSEGV and calls ww_handle_fault(). */
	WW_OPEN_HOST_SIGNALS = 1 << 0,
	/* Use the descriptor of that name in the options. */
	WW_OPEN_PIDFD = 1 << 1,
	WW_OPEN_UFFD = 1 << 2,
	WW_OPEN_PAGEMAP = 1 << 3
};

/* All zero except size means: the best backend, this process. */
struct ww_options {
	size_t size;
	/* "a, b": these, in this order. NULL: WRITEWATCH_BACKEND, or the best */
	const char *backend;
	/* WW_CAP_ bits that the choice must have; WW_OPEN_ bits */
	unsigned require;
	unsigned flags;
	/* Borrowed: never closed, to be kept open until ww_close(). pidfd: watch
	 * that process instead. The others are for hosts that locked themselves
	 * down: a userfaultfd before its UFFDIO_API (O_NONBLOCK may be cleared),
	 * and an open /proc/PID/pagemap. */
	int pidfd;
	int uffd;
	int pagemap;
	/* Says which backend was refused and why; called only from ww_open() and
	 * ww_watch(), with log_data. line is the library's, for the call. */
	void (*log)(void *data, const char *line);
	void *log_data;
};

/* = WW_OPTIONS_INIT; sets the size, and the rest to zero. C++11 too. */
#define WW_OPTIONS_INIT { sizeof(struct ww_options), NULL, 0, 0, 0, 0, 0, NULL, NULL }

/* Permissions to report more than was written, for speed. A backend uses those
 * that help it; a range for which one is used lacks WW_CAP_EXACT. */
enum ww_watch_flag {
	/* Keep transparent huge pages (uffd-async, private memory): the first
	 * write to one shows as all of it; what was only read may show once. */
	WW_WATCH_HUGE_OK = 1 << 0,
	/* A fault opens an aligned block of 16 pages (mprotect, uffd-sync):
	 * fewer faults for writes side by side. */
	WW_WATCH_COARSE_OK = 1 << 1,
	/* Pages that many queries in a row reset stay writable, and are reported
	 * each time, up to 16 times more than they are written (uffd-async,
	 * uffd-sync, mprotect). ww_reset() ends that. */
	WW_WATCH_HOT_OK = 1 << 2
};

/* Flags of calls on a range. */
enum ww_flag {
	/* ww_get*(): what is returned becomes clean in the same step. */
	WW_RESET = 1 << 0,
	/* The range may hold memory that is not watched. */
	WW_WINDOW = 1 << 1,
	/* ww_unwatch(): the memory is unmapped or replaced next. */
	WW_UNMAPPING = 1 << 2
};

/**
 * Open a tracker on the best backend that is usable here. The environment (not
 * of set-user-ID programs): WRITEWATCH_BACKEND, a list, where options names
 * none; ..._DISABLE, a list that is not even probed; ..._TRUST_KERNEL=1, take
 * kernels with a known bug; ..._MEMWATCH_NR, the system call's number there.
 * @param out      receives the tracker, to be given to ww_close()
 * @param options  NULL for the defaults; read only during the call
 * @return 0; -EINVAL; -ENOENT (unknown name); -ENOMEM; -EOPNOTSUPP (none is
 *         usable and has what `require` asks for); of the last one asked for by
 *         name what ww_probe() says: -EBUSY, -EPERM, -ESRCH, -ENOSYS
 * Threads: any. Signals: no. Cost: 100 us, then 50 each; 4 descriptors.
 */
int ww_open(struct ww **out, const struct ww_options *options);

/**
 * Stop watching, leave every page as writable as the program made it, and free
 * the tracker (not where mprotect can make no mapping for that). NULL is
 * ignored. No other call on it may be under way or follow.
 * Threads: last call. Signals: no. Cost: as ww_unwatch() of every range.
 */
void ww_close(struct ww *ww);

/**
 * Which backend a tracker uses.
 * @return 0, -EINVAL
 * Threads: any. Signals: yes. Cost: none.
 */
int ww_info(const struct ww *ww, struct ww_backend_info *out);

/**
 * Try backend `index` (from 0 on, in order of preference) on scratch memory.
 * @return 0, -EINVAL, -ENOENT past the last one
 * Threads: any. Signals: no. Cost: some 50 us.
 */
int ww_probe(unsigned index, struct ww_backend_info *out);

/**
 * Watch an existing mapping, or several that touch: all pages are clean then.
 * Any protection will do (PROT_NONE); hugetlb and the library's own are refused.
 * @param flags  WW_WATCH_ bits, or 0: as exact as the backend is
 * @return 0, -EINVAL, -EEXIST, -EFAULT, -EBUSY, -EOPNOTSUPP, -EPERM, -ESRCH,
 *         -ENOMEM, -ENOSYS (no /proc); on failure nothing new is watched
 * Threads: any; writes racing this call may or may not be reported. Signals:
 * no. Cost: by the part that exists, untouched private memory nothing; by all
 * of it for shared and file memory, and on uffd-sync.
 */
int ww_watch(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * Stop watching part or all of one or more ranges. Ends the holds there.
 * @param flags  WW_WINDOW; WW_UNMAPPING: cheaper, no page is made writable
 * @return 0, -EINVAL, -ENOENT, -ENOMEM; and without WW_UNMAPPING -EPERM
 * Threads: any; a reset that another thread is making may still come to the memory:
 * let it end before you give that to a userfaultfd of your own. Signals: no.
 */
int ww_unwatch(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * The first watched range that ends behind an address: the one that holds it,
 * or the next. To go through all: begin with NULL, go on with the range's end.
 * @return 0, -EINVAL, -ENOENT (there is none); in a fork child also as ww_get()
 * Threads: any, lock-free. Signals: no. Cost: O(log ranges).
 */
int ww_next_range(struct ww *ww, const void *at, struct ww_range_info *out);

/**
 * mprotect(2) that every backend survives: no page becomes dirty or clean.
 * @param prot   PROT_NONE, or PROT_READ, WRITE, EXEC bits (arm64: BTI, MTE too)
 * @param flags  WW_WINDOW, not with len 0: what is not watched gets mprotect(2)
 * @return 0, -EINVAL, -ENOENT, -EFAULT, -EOPNOTSUPP (another process), -EPERM,
 *         -ENOMEM, in a fork child also as ww_get(); then all is as it was
 * Threads: any. Signals: no. Cost: as mprotect(2), and a look at the mappings.
 */
int ww_protect(struct ww *ww, void *start, size_t len, int prot, unsigned flags);

/**
 * Drop pages of private memory (MADV_DONTNEED): they read as zeros, or as the
 * file, and are clean (as after MEM_DECOMMIT). A store that races with it may
 * be reported and is never lost. No query reports the drop: change copies, too.
 * @param flags  WW_WINDOW
 * @return 0, -EINVAL, -ENOENT, -EOPNOTSUPP (shared, locked, another process's),
 *         in a fork child also as ww_get(); -EPERM, -ENOMEM: partly done, dirty
 * Threads: any. Signals: no. Cost: as ww_reset() and madvise(2).
 */
int ww_discard(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * Report any bytes as written, rounded outward to pages: for writes that no
 * tracker sees. What is not watched is ignored; len 0 is nothing to do.
 * @return 0, -EINVAL
 * Threads: any, lock-free. Signals: yes.
 */
int ww_mark(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * Hold bytes open for writes that must not fault, or that no fault shows: a
 * system call that writes there where WW_CAP_KERNEL_WRITES is missing; a
 * device, io_uring, O_DIRECT, process_vm_writev(2). Until ww_release() every
 * query reports the pages, and no reset closes or forgets them. Holds count and
 * nest, from several threads too. start and len are rounded outward.
 * @return 0, -EINVAL, -EPERM, -ENOMEM (pages could not be opened: none is held)
 * Threads: any, lock-free; may wait for a reset that is closing pages. Signals:
 * yes. Cost: some 10 ns a page, and a system call where pages must be opened.
 */
int ww_hold(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * End a hold, if there is one. With the last the pages are reported once more.
 * @return 0, -EINVAL
 * Threads: any, lock-free. Signals: yes.
 */
int ww_release(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * List the pages that were written since they were watched or last reset. The
 * addresses ascend, without duplicates. A full array is success: only what was
 * stored is reset, and the call stopped at the last page that fits. Fewer
 * entries than room: the whole range was examined. An array of one is the cheap
 * way to ask whether anything was written.
 * @param flags        WW_RESET, WW_WINDOW
 * @param pages        the caller's array of *count entries
 * @param count        in: entries of room, > 0; out: entries stored
 * @param granularity  out: bytes a page; or NULL
 * @return 0, -EINVAL, -ENOENT, -EBUSY, -EOPNOTSUPP, -EPERM, -ESRCH, -ENOMEM,
 *         -ENOSYS
 * Threads: any, lock-free. Signals: no. Cost: 1-3 ns a page, 20 ns a result.
 */
int ww_get(struct ww *ww, void *start, size_t len, unsigned flags, void **pages,
	   size_t *count, size_t *granularity);

/**
 * As ww_get(), but stores runs of pages: fewer entries, and faster. Runs are
 * maximal, except for the last one of a full array.
 * @return as ww_get()
 */
int ww_get_ranges(struct ww *ww, void *start, size_t len, unsigned flags,
		  struct ww_range *ranges, size_t *count);

/**
 * Make pages clean without reporting them (ResetWriteWatch).
 * @param flags  WW_WINDOW
 * @return as ww_get(); threads, signals and cost, too
 */
int ww_reset(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * ww_reset() of what ww_get_ranges() returned: after a rollback has put back
 * the pages. count 0 is nothing to do.
 * @return as ww_get()
 */
int ww_reset_ranges(struct ww *ww, const struct ww_range *ranges, size_t count,
		    unsigned flags);

/**
 * For hosts that own SIGSEGV (WW_OPEN_HOST_SIGNALS): call it first in the
 * handler. It looks in all trackers, and uses no thread-local storage.
 * @param signo, siginfo, ucontext  the arguments of an SA_SIGINFO handler
 * @return 1: ours, return from the handler to retry the store; 0: not ours
 * Threads: any, lock-free. Signals: yes; errno is kept.
 */
int ww_handle_fault(int signo, void *siginfo, void *ucontext);

#ifdef __cplusplus
}
#endif
#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#endif
