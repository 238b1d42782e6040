/* SPDX-License-Identifier: MIT */
/*
 * writewatch.h - which pages of my memory were written since I last asked?
 *
 *	struct ww *ww;
 *	void *pages[64];
 *	size_t n = 64;
 *
 *	ww_open(&ww, NULL);
 *	ww_watch(ww, memory, len, 0);
 *	...					the program writes to memory
 *	ww_get(ww, memory, len, WW_RESET, pages, &n, NULL);
 *	...					pages[0..n-1] were written
 *
 * The one loop, right for every backend and every flag: while the array came
 * back full, go on behind its last entry.
 *
 *	for (char *at = memory, *end = memory + len; at < end;) {
 *		size_t n = 64, i;
 *
 *		if (ww_get(ww, at, end - at, WW_RESET, pages, &n, NULL) < 0)
 *			break;
 *		for (i = 0; i < n; i++)
 *			save(pages[i]);
 *		at = n < 64 ? end : (char *)pages[63] + page_size;
 *	}
 *
 * Conventions
 *
 *   Pages     A page is the host's page (sysconf(_SC_PAGESIZE), the
 *             granularity that ww_get() stores). start and len are in bytes
 *             and must be multiples of it: nothing is rounded, except by
 *             ww_mark(), ww_hold() and ww_release().
 *   Window    With WW_WINDOW [start, start + len) may hold memory that is not
 *             watched, which is skipped; len 0 means up to the end of the
 *             address space, and NULL, 0 everything. Without WW_WINDOW all must
 *             be watched, by one range or several, else -ENOENT.
 *   Results   0 or a negative errno value. On failure outputs are untouched (an
 *             array's content is undefined), no page has lost its dirty state,
 *             and nothing else has changed.
 *   Errors    There are ten, with one cause each:
 *               -EINVAL      an argument: NULL output, unaligned, empty or
 *                            wrapping range, count 0, unknown flag or size
 *               -ENOENT      not watched; no such backend
 *               -EEXIST      ww_watch(): part of it is watched already
 *               -EFAULT      memory that is not mapped, or a hole in it
 *               -EBUSY       another tracker or userfaultfd owns the memory
 *               -EOPNOTSUPP  not this kind of memory, or the library's own;
 *                            unmet `require`
 *               -EPERM       the system does not allow it
 *               -ESRCH       the watched process is gone
 *               -ENOMEM      memory, descriptors or mappings ran out
 *               -ENOSYS      the kernel does not have it
 *   Growth    Structs begin with their size, as the caller's compiler saw it.
 *             Members missing from a shorter struct than the library's are
 *             zero, or not written; the rest of a longer one must be zero on
 *             input, and is left alone on output. Unknown flags are -EINVAL.
 *   Dirty     What cannot be known is reported as written
 *             (doc/reliability.md). While other threads write, one store may be
 *             reported twice, never zero times. Read a page's content after the
 *             query that reported it has returned.
 *   Threads   Every function may be called from any thread at any time, except
 *             ww_close(), which must be the last call on its tracker. All may be
 *             called while the other threads are stopped by a signal, wherever
 *             that hit them: the library waits for no thread that a signal can
 *             stop, and does not use malloc(). (The first ww_open() of a
 *             process also calls pthread_atfork().) Queries, ww_reset*(),
 *             ww_mark(), ww_hold(), ww_release() and ww_handle_fault() allocate
 *             nothing, take no lock (soft-dirty: a reset takes one) and need 8
 *             KiB of stack at most. No call is a cancellation point. No query
 *             may be left by longjmp() or pthread_exit() out of a signal
 *             handler. On uffd-sync two resets at once may both report a page.
 *   Signals   ww_mark(), ww_hold(), ww_release() and ww_handle_fault() are
 *             async-signal-safe, the rest is not. Only a backend without
 *             WW_CAP_NO_SIGNAL touches SIGSEGV; there a store to watched memory
 *             may raise it. A thread that blocks SIGSEGV is then killed,
 *             without a message; so is one whose stack, or alternate signal
 *             stack, is watched memory.
 *   fork      A tracker goes on working in the child, on the child's memory: at
 *             its first call it reports once every page of private memory that
 *             exists, what MADV_WIPEONFORK wiped, and all of shared and file
 *             memory. What the child lacks (MADV_DONTFORK) is not watched, and
 *             nothing held. fork() makes the child's descriptors, while its
 *             privileges are the parent's; a child that cannot be set up gets
 *             one code from every query, and can still unwatch and close.
 *             fork() waits for calls that change things: if your
 *             pthread_atfork() handlers take a lock that you also hold while
 *             calling such a function, register them after the first ww_open().
 *   Contract  While memory is watched: change its protection with ww_protect()
 *             (unless WW_CAP_FOREIGN_MPROTECT), drop its pages with
 *             ww_discard(), and call ww_unwatch() before munmap(), mremap() or
 *             mmap(MAP_FIXED). Pages that are not mapped are neither reported
 *             nor an error; memory put in their place is reported once as
 *             wholly dirty by the userfaultfd backends, and is undefined on the
 *             others. A page dropped by madvise(MADV_DONTNEED) may be reported
 *             once. Watching may turn transparent huge pages and KSM off for the
 *             memory, and they stay off; MADV_HUGEPAGE turns them on again, and
 *             one store then shows as 512 pages. mprotect and soft-dirty make
 *             pages read-only and writable again: mseal(2) of watched memory,
 *             or PR_SET_MDWE once writable code is watched, make the next store
 *             there fatal. (PR_SET_MDWE before it: ww_watch() is -EPERM.)
 *   Unseen    Another mapping of the same file or memfd. What is taken away
 *             from shared memory or a file: MADV_REMOVE, a punched hole,
 *             truncation; ww_mark() it. MADV_GUARD_INSTALL on watched shared
 *             memory spins in the kernel until a signal ends it (6.18). And what
 *             pins pages first and writes to them later, if a reset comes
 *             between: devices, io_uring fixed buffers, O_DIRECT reads,
 *             process_vm_writev(2), ptrace(2), /proc/PID/mem: hold the memory
 *             meanwhile (ww_hold()). read(2) and the like are seen.
 */
#ifndef WRITEWATCH_H
#define WRITEWATCH_H

#include <stddef.h>

#define WRITEWATCH_VERSION_MAJOR 0
#define WRITEWATCH_VERSION_MINOR 1
#define WRITEWATCH_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
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
	 * in silence: robust, priority-inheriting and process-shared mutexes,
	 * thread descriptors, rseq, signal frames; never watch such memory. */
	WW_CAP_KERNEL_WRITES = 1 << 1,
	/* Nothing is reported that was neither written nor faulted for writing
	 * on the program's behalf (mlock, MADV_POPULATE_WRITE, shared futex),
	 * except once after fork or when tracking was lost, and on uffd-async a
	 * page that the kernel migrated while it was reset. */
	WW_CAP_EXACT = 1 << 2,
	/* Shared and file mappings too. */
	WW_CAP_SHARED = 1 << 3,
	/* No signal disposition is touched. */
	WW_CAP_NO_SIGNAL = 1 << 4,
	/* No helper thread is started. */
	WW_CAP_NO_THREAD = 1 << 5,
	/* Can watch another process. */
	WW_CAP_REMOTE = 1 << 6,
	/* The program's own mprotect(2) in a watched range is harmless. */
	WW_CAP_FOREIGN_MPROTECT = 1 << 7,
	/* process_vm_writev(2), ptrace(2) and /proc/PID/mem by other processes
	 * (debuggers, a wineserver) succeed and are seen. */
	WW_CAP_FOREIGN_WRITES = 1 << 8
};

/* "atomic-reset" for WW_CAP_ATOMIC_RESET and so on; static. NULL: unknown. */
const char *ww_cap_name(unsigned cap);

struct ww_backend_info {
	/* in: sizeof(struct ww_backend_info) */
	size_t size;
	/* out, static: "uffd-async", "mprotect" */
	const char *name;
	/* out: WW_CAP_ bits */
	unsigned caps;
	/* out: WW_WATCH_ bits that the backend makes use of */
	unsigned modes;
	/* out: 0 usable here, or a negative errno value */
	int status;
	/* out, static: a line for a person: why not, and what would help */
	const char *reason;
};

/* Whole pages of memory. */
struct ww_range {
	void *start;
	/* bytes */
	size_t len;
};

struct ww_range_info {
	/* in: sizeof(struct ww_range_info) */
	size_t size;
	/* out: as it was watched, less what was unwatched */
	struct ww_range range;
	/* out: WW_CAP_ bits that hold for the range */
	unsigned caps;
	/* out: WW_WATCH_ bits that are made use of */
	unsigned modes;
	/* out: times that pages counted as dirty without a known write */
	unsigned lost;
};

enum ww_open_flag {
	/* The host owns SIGSEGV and calls ww_handle_fault(). */
	WW_OPEN_HOST_SIGNALS = 1 << 0,
	/* use options.pidfd */
	WW_OPEN_PIDFD = 1 << 1,
	/* use options.uffd */
	WW_OPEN_UFFD = 1 << 2,
	/* use options.pagemap */
	WW_OPEN_PAGEMAP = 1 << 3
};

/* All zero except size means: the best backend, this process. */
struct ww_options {
	/* in: sizeof(struct ww_options) */
	size_t size;
	/* "mprotect", or a list: exactly these, in this order. NULL: the
	 * environment's WRITEWATCH_BACKEND, else the best */
	const char *backend;
	/* WW_CAP_ bits that the choice must have */
	unsigned require;
	/* WW_OPEN_ bits */
	unsigned flags;
	/* watch this process instead; borrowed */
	int pidfd;
	/* For hosts that locked themselves down: a userfaultfd before its
	 * UFFDIO_API, and an open /proc/PID/pagemap. Borrowed: never closed, to
	 * be kept open until ww_close(). O_NONBLOCK of uffd may be cleared. */
	int uffd;
	int pagemap;
	/* Says which backend was refused and why; called only from ww_open() and
	 * ww_watch(). line is the library's, for the call. */
	void (*log)(void *data, const char *line);
	/* handed to log */
	void *log_data;
};

/* = WW_OPTIONS_INIT; sets the size, and the rest to zero. C++11 too. */
#define WW_OPTIONS_INIT { sizeof(struct ww_options), NULL, 0, 0, 0, 0, 0, NULL, NULL }

/* Permissions to report more than was written, for speed. A backend uses those
 * that help it; a range for which one is used lacks WW_CAP_EXACT. */
enum ww_watch_flag {
	/* Keep transparent huge pages (uffd-async, private memory): the first
	 * write to one is reported as all of it, later ones as pages; a page
	 * that was only read may be reported once. */
	WW_WATCH_HUGE_OK = 1 << 0,
	/* A fault opens an aligned block of 16 pages (mprotect, uffd-sync):
	 * fewer faults for writes side by side. */
	WW_WATCH_COARSE_OK = 1 << 1,
	/* Pages that many queries in a row reset stay writable, and each query
	 * reports them; one that is written no more is reported for 16 more
	 * passes at most (uffd-async, uffd-sync, mprotect). ww_reset() ends
	 * that. */
	WW_WATCH_HOT_OK = 1 << 2
};

/* Flags of calls on a range. */
enum ww_flag {
	/* ww_get*(): what is returned becomes clean, in the same step
	 * (WRITE_WATCH_FLAG_RESET). */
	WW_RESET = 1 << 0,
	/* The range may hold memory that is not watched. */
	WW_WINDOW = 1 << 1,
	/* ww_unwatch(): the memory is unmapped or replaced next. */
	WW_UNMAPPING = 1 << 2
};

/**
 * Open a tracker on the best backend that is usable here.
 *
 * The environment (not of set-user-ID programs): WRITEWATCH_BACKEND names the
 * backend, or a list of them, where options does not; WRITEWATCH_DISABLE lists
 * backends, separated by commas, that are not even probed;
 * WRITEWATCH_TRUST_KERNEL=1 accepts kernels whose version is known for a bug
 * that their distributor may have fixed.
 *
 * @param out      receives the tracker, to be given to ww_close()
 * @param options  NULL for the defaults; read only during the call
 * @return 0; -EINVAL; -ENOENT (no such backend); -EOPNOTSUPP (no usable backend
 *         has what `require` asks for); or, for a backend asked for by name, why
 *         it is not usable (ww_probe() has the sentence): -EBUSY, -EPERM,
 *         -ESRCH, -ENOMEM, -ENOSYS
 * Threads: any. Signals: no. Cost: some 130 us, then 50; up to four
 * descriptors.
 */
int ww_open(struct ww **out, const struct ww_options *options);

/**
 * Stop watching and free the tracker. Every page is then as writable as the
 * program left it.
 *
 * @param ww  NULL is ignored. No other call on it may be under way or follow.
 * Threads: last call. Signals: no. Cost: as ww_unwatch() of every range.
 */
void ww_close(struct ww *ww);

/**
 * Which backend a tracker uses.
 *
 * @param out  out->size is set by the caller; its strings live for ever
 * @return 0, -EINVAL
 * Threads: any. Signals: yes. Cost: none.
 */
int ww_info(const struct ww *ww, struct ww_backend_info *out);

/**
 * Try backend number `index`, in order of preference, on scratch memory.
 *
 * @param index  0, 1, ... until -ENOENT
 * @param out    out->size is set by the caller; its strings live for ever
 * @return 0, -EINVAL, -ENOENT past the last one
 * Threads: any. Signals: no. Cost: some 50 us.
 */
int ww_probe(unsigned index, struct ww_backend_info *out);

/**
 * Watch an existing mapping, or several that touch. All pages are clean on
 * return. Memory of any protection can be watched, reserved memory (PROT_NONE)
 * too; hugetlb memory and the library's own can not. Untouched private memory
 * costs nothing, however large it is.
 *
 * @param start, len  whole pages, bytes
 * @param flags       WW_WATCH_ bits, or 0: as exact as the backend is
 * @return 0, -EINVAL, -EEXIST, -EFAULT, -EBUSY, -EOPNOTSUPP, -EPERM, -ENOMEM,
 *         -ENOSYS (no /proc); on failure nothing is watched that was not before
 * Threads: any; writes racing this call may or may not be reported. Signals:
 * no. Cost: proportional to the populated part; to all of it for shared and
 * file memory.
 */
int ww_watch(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * Stop watching part or all of one or more ranges. Ends the holds there.
 *
 * @param start, len  whole pages, bytes, all of them watched
 * @param flags       WW_WINDOW; WW_UNMAPPING: the memory is unmapped or replaced
 *                    next. Its pages are then not made writable first: cheaper.
 * @return 0, -EINVAL, -ENOENT, -EPERM, -ENOMEM (pages could not be opened); on
 *         failure all is watched as before
 * Threads: any. Signals: no.
 */
int ww_unwatch(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * The first watched range that ends behind an address: the one that holds it, or
 * the next. To go through all: begin with NULL, go on with the range's end.
 *
 * @param at   any address
 * @param out  out->size is set by the caller
 * @return 0, -EINVAL, -ENOENT (there is none); in a fork child also as ww_get()
 * Threads: any, lock-free. Signals: no. Cost: O(log ranges).
 */
int ww_next_range(struct ww *ww, const void *at, struct ww_range_info *out);

/**
 * mprotect(2) that every backend survives. What was dirty stays so, nothing
 * becomes dirty (as with VirtualProtect).
 *
 * @param start, len  whole pages, bytes, all of them watched; len is not 0
 * @param prot        PROT_NONE or PROT_READ | PROT_WRITE | PROT_EXEC bits (arm64:
 *                    PROT_BTI, PROT_MTE too)
 * @param flags       WW_WINDOW: what is not watched gets plain mprotect(2)
 * @return 0, -EINVAL, -ENOENT, -EFAULT, -EOPNOTSUPP (another process), -EPERM,
 *         -ENOMEM; on failure the protection is as it was
 * Threads: any. Signals: no. Cost: as mprotect(2), and a look at the mappings.
 */
int ww_protect(struct ww *ww, void *start, size_t len, int prot, unsigned flags);

/**
 * Drop pages of private memory (MADV_DONTNEED): they read as zeros, or as the
 * file, and are clean (as after MEM_DECOMMIT). A store that races with it may
 * be reported and is never lost. Change copies, too: no query shows the drop.
 *
 * @param start, len  whole pages, bytes, all of them watched
 * @param flags       WW_WINDOW
 * @return 0, -EINVAL, -ENOENT, -EOPNOTSUPP (shared or locked memory, another
 *         process), -EPERM, -ENOMEM
 * Threads: any. Signals: no. Cost: as ww_reset() and madvise(2).
 */
int ww_discard(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * Report bytes as written: for writes that no tracker sees.
 *
 * @param start, len  any bytes, rounded outward to pages; what is not watched
 *                    is ignored, and len 0 is nothing to do
 * @param flags       0
 * @return 0, -EINVAL
 * Threads: any, lock-free. Signals: yes.
 */
int ww_mark(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * Hold bytes open for writes that no fault shows or that must not fault: a
 * system call that is about to write there where WW_CAP_KERNEL_WRITES is
 * missing; a device, io_uring, O_DIRECT, process_vm_writev(2). Until
 * ww_release() the pages can be written, every query reports them, and no reset
 * closes or forgets them. Holds count and nest, from several threads too.
 *
 * @param start, len  as for ww_mark(), and the same for ww_release()
 * @param flags       0
 * @return 0, -EINVAL, -EPERM, -ENOMEM (pages could not be opened: none is held)
 * Threads: any, lock-free; may wait for a reset that is closing pages. Signals:
 * yes. Cost: some 10 ns a page, and a system call where pages must be opened.
 */
int ww_hold(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * End a hold. With the last one the pages are reported once more.
 *
 * @return 0, -EINVAL
 * Threads: any, lock-free. Signals: yes.
 */
int ww_release(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * List the pages that were written since they were watched or last reset.
 *
 * The addresses ascend, without duplicates. A full array is success: only what
 * was stored is reset, and the call stopped at the last page that fits. Fewer
 * entries than room: the whole range was examined. An array of one is the cheap
 * way to ask whether anything was written.
 *
 * @param start, len   whole pages, bytes, all of them watched
 * @param flags        WW_RESET, WW_WINDOW
 * @param pages        the caller's array of *count entries
 * @param count        in: entries of room, > 0; out: entries stored
 * @param granularity  out: bytes a page; or NULL
 * @return 0, -EINVAL, -ENOENT, -EBUSY, -EOPNOTSUPP, -EPERM, -ESRCH, -ENOMEM,
 *         -ENOSYS
 * Threads: any, lock-free. Signals: no. Cost: 1-3 ns for each page that exists
 * in the range, and some 20 ns for each one reported.
 */
int ww_get(struct ww *ww, void *start, size_t len, unsigned flags, void **pages,
	   size_t *count, size_t *granularity);

/**
 * As ww_get(), but stores runs of pages: fewer entries, and faster. Runs are
 * maximal, except for the last one of a full array.
 *
 * @param ranges  the caller's array of *count entries
 * @param count   in: entries of room, > 0; out: entries stored
 * @return as ww_get()
 */
int ww_get_ranges(struct ww *ww, void *start, size_t len, unsigned flags,
		  struct ww_range *ranges, size_t *count);

/**
 * Make pages clean without reporting them (ResetWriteWatch).
 *
 * @param start, len  whole pages, bytes, all of them watched
 * @param flags       WW_WINDOW
 * @return as ww_get()
 * Threads: any, lock-free. Signals: no. Cost: as ww_get().
 */
int ww_reset(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * ww_reset() of what ww_get_ranges() returned, in one call: after a rollback
 * has put back the content of the pages.
 *
 * @param ranges, count  whole pages, all of them watched; count 0 is nothing to do
 * @param flags          0
 * @return as ww_get()
 */
int ww_reset_ranges(struct ww *ww, const struct ww_range *ranges, size_t count,
		    unsigned flags);

/**
 * For hosts that own SIGSEGV (WW_OPEN_HOST_SIGNALS): call it first in the
 * handler. It looks in all trackers, and uses no thread-local storage.
 *
 * @param signo, siginfo, ucontext  the arguments of an SA_SIGINFO handler
 * @return 1: it was ours, return from the handler to retry the store;
 *         0: not ours
 * Threads: any, lock-free. Signals: yes; errno is kept.
 */
int ww_handle_fault(int signo, void *siginfo, void *ucontext);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
