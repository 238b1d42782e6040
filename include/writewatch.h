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
 *	ww_get(ww, memory, len, WW_GET_RESET, pages, &n, NULL);
 *	...					pages[0..n-1] were written
 *
 * Conventions
 *
 *   Pages     A page is the host's page (sysconf(_SC_PAGESIZE), the
 *             granularity that ww_get() tells). start and len are in bytes and
 *             must be multiples of it; nothing is rounded, but by ww_mark().
 *   Results   0 or a negative errno value. Outputs are untouched on failure
 *             (an array's content is undefined); what was dirty still is.
 *   Errors    There are ten, with one cause each:
 *               -EINVAL      an argument: NULL output, unaligned, empty or
 *                            wrapping range, count 0, unknown flag or size
 *               -ENOENT      not watched; no such backend
 *               -EEXIST      ww_watch(): part of it is watched already
 *               -EFAULT      memory that is not mapped, or a hole in it
 *               -EBUSY       another tracker or userfaultfd owns the memory
 *               -EOPNOTSUPP  not this kind of memory; unmet `require`
 *               -EPERM       the system does not allow it
 *               -ESRCH       the watched process is gone
 *               -ENOMEM      memory, descriptors or mappings ran out
 *               -ENOSYS      the kernel does not have it
 *   Dirty     What cannot be known is reported as written. While other threads
 *             write, one store may be reported twice, never zero times. Read a
 *             page's content after the query that reported it has returned.
 *   Threads   Every function may be called from any thread at any time, but
 *             for ww_close(), which must be the last call on its tracker.
 *             ww_get(), ww_get_ranges(), ww_reset(), ww_mark() and
 *             ww_handle_fault() allocate nothing and take no lock that a
 *             suspended thread could hold, so a garbage collector may call
 *             them while it has stopped the world. The other calls may wait
 *             for a query in another thread.
 *             No call is a cancellation point. On uffd-sync two resets at
 *             once may both be told a page.
 *   Signals   ww_mark() and ww_handle_fault() are async-signal-safe, the rest
 *             is not. Only a backend without WW_CAP_NO_SIGNAL touches SIGSEGV;
 *             with it a store to watched memory may raise one, so it must not
 *             be blocked there, nor the stack be watched memory.
 *   fork      A tracker goes on working in the child, on the child's memory:
 *             its first call there arms the memory anew and reports once every
 *             page of private memory that exists, and all of shared and file
 *             memory. fork() waits for calls that change things: a host whose
 *             own pthread_atfork() handlers take a lock that it holds around
 *             such a call registers them after its first ww_open().
 *   Contract  While memory is watched: change its protection with ww_protect()
 *             (unless WW_CAP_FOREIGN_MPROTECT), drop its pages with
 *             ww_discard(), and call ww_unwatch() before munmap(), mremap() or
 *             mmap(MAP_FIXED). Pages that are not mapped are neither reported
 *             nor an error; memory put in their place is reported once as
 *             wholly dirty by the userfaultfd backends, and is undefined on
 *             the others. Watching may turn transparent huge pages and KSM off
 *             for the memory, and they stay off.
 *   Unseen    Another mapping of the same file or memfd; and what pins pages
 *             first and writes to them later, if a reset comes between the
 *             two: devices, io_uring fixed buffers, O_DIRECT reads,
 *             process_vm_writev(2), ptrace(2) and /proc/PID/mem. Call ww_mark()
 *             when the data has landed. (read(2) and the like are seen.)
 */
#ifndef WRITEWATCH_H
#define WRITEWATCH_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

struct ww; /* a tracker: one backend and the ranges that it watches */

/* What a backend guarantees, for a tracker or for one range. */
enum ww_cap {
	WW_CAP_ATOMIC_RESET = 1 << 0,  /* get-and-reset loses no racing write */
	WW_CAP_KERNEL_WRITES = 1 << 1, /* read(2) and the like into a watched
					  range always succeed and are seen */
	WW_CAP_EXACT = 1 << 2,	       /* nothing is reported that was neither
					  written nor faulted for writing on the
					  program's behalf (mlock,
					  MADV_POPULATE_WRITE, shared futex),
					  except once after fork or when
					  tracking was lost */
	WW_CAP_SHARED = 1 << 3,	       /* shared and file mappings too */
	WW_CAP_NO_SIGNAL = 1 << 4,     /* no signal disposition is touched */
	WW_CAP_NO_THREAD = 1 << 5,     /* no helper thread is started */
	WW_CAP_REMOTE = 1 << 6,	       /* can watch another process */
	WW_CAP_FOREIGN_MPROTECT = 1 << 7, /* the program's own mprotect(2) in a
					     watched range is harmless */
};

struct ww_backend_info {
	size_t size;	    /* in: sizeof(struct ww_backend_info) */
	const char *name;   /* out, static: "uffd-async", "mprotect" */
	unsigned caps;	    /* out: WW_CAP_ bits */
	int status;	    /* out: 0 usable here, or a negative errno value */
	const char *reason; /* out, static: one line for a person: why not, and
			       what would make it usable */
};

/* Whole pages of memory. */
struct ww_range {
	void *start;
	size_t len; /* bytes */
};

#define WW_OPEN_HOST_SIGNALS                                                   \
	(1u << 0)		  /* the host owns SIGSEGV and calls           \
				     ww_handle_fault() */
#define WW_OPEN_PIDFD (1u << 1)	  /* options.pidfd counts */
#define WW_OPEN_UFFD (1u << 2)	  /* options.uffd counts */
#define WW_OPEN_PAGEMAP (1u << 3) /* options.pagemap counts */

/* All zero but for size means: the best backend, this process. */
struct ww_options {
	size_t size; /* in: sizeof(struct ww_options) */
	const char
		*backend; /* exactly this one or an error; NULL: the
			     environment's WRITEWATCH_BACKEND, else the best */
	unsigned require; /* WW_CAP_ bits that the choice must have */
	unsigned flags;	  /* WW_OPEN_ */
	int pidfd;	  /* watch this process instead; borrowed */
	int uffd;	  /* a userfaultfd before its UFFDIO_API, and */
	int pagemap;	  /* an open /proc/PID/pagemap: for hosts that locked
			     themselves down; borrowed, never closed, to be
			     kept open until ww_close(). The first may become a
			     blocking one */
	void (*log)(void *data, const char *line); /* says which backend was
				refused and why; called only from ww_open(),
				ww_watch(), ww_close(); line is the library's */
	void *log_data;				   /* handed to log */
};

/* Permissions to report more than was written, for speed. A backend uses those
 * that help it; a range that one is used for has no WW_CAP_EXACT. */
#define WW_WATCH_HUGE                                                          \
	(1u << 0) /* keep transparent huge pages (uffd-async, private          \
		     memory): the first write to one shows as all of it, later \
		     ones as pages; a page that was only read may show once */
#define WW_WATCH_COARSE                                                        \
	(1u << 1) /* a fault opens an aligned block of 16 pages (mprotect,     \
		     uffd-sync): fewer faults for writes side by side */
#define WW_WATCH_HOT_OK                                                        \
	(1u << 2) /* pages that many queries in a row reset are left open and  \
		     reported by each, without a fault; one that is written no \
		     more is reported 16 passes longer at most (uffd-async,    \
		     uffd-sync, mprotect). ww_reset() closes them. A query     \
		     that filled its array must go on behind the last page,                             \
		     not at the start again */

#define WW_GET_RESET                                                           \
	(1u << 0) /* what is returned becomes clean, in the same               \
		     step (WRITE_WATCH_FLAG_RESET) */
#define WW_GET_WINDOW                                                          \
	(1u << 1) /* the range may hold unwatched memory, which is             \
		     skipped; NULL, 0: everything watched */

/**
 * Open a tracker on the best backend that is usable here.
 *
 * The environment (not of set-user-ID programs): WRITEWATCH_BACKEND names the
 * backend where options does not, WRITEWATCH_DISABLE lists ones, separated by
 * commas, that are not even probed, WRITEWATCH_TRUST_KERNEL=1 accepts kernels
 * whose version is known for a bug that their distributor may have fixed.
 *
 * @param out      receives the tracker, to be given to ww_close()
 * @param options  NULL for the defaults; read only during the call
 * @return 0; -EINVAL, -ENOENT (no such backend), -EOPNOTSUPP (no usable backend
 *         has what `require` asks for), or, for a backend asked for by name,
 * why it is not usable (ww_probe() has the sentence) Threads: any. Signals: no.
 * Cost: some 50 us, up to three descriptors.
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
 * Tell which backend a tracker uses.
 *
 * @param out  out->size is set by the caller; its strings live for ever
 * @return 0, -EINVAL
 * Threads: any. Signals: yes. Cost: none.
 */
int ww_info(const struct ww *ww, struct ww_backend_info *out);

/**
 * Try backend number `index`, in order of preference, on a scratch page.
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
 * too; hugetlb memory can not. Untouched private memory costs nothing, however
 * large it is.
 *
 * @param start, len  whole pages, bytes
 * @param flags       WW_WATCH_, or 0: exact, if the backend is
 * @return 0, -EINVAL, -EEXIST, -EFAULT, -EBUSY, -EOPNOTSUPP, -EPERM, -ENOMEM;
 *         on failure nothing is watched that was not before
 * Threads: any; writes racing this call may or may not be reported. Signals:
 * no. Cost: proportional to the populated part; to all of it for shared and
 * file memory.
 */
int ww_watch(struct ww *ww, void *start, size_t len, unsigned flags);

/**
 * Stop watching part or all of one or more ranges.
 *
 * @param start, len  whole pages, bytes, all of them watched
 * @return 0, -EINVAL, -ENOENT, -ENOMEM; on failure nothing changed
 * Threads: any; waits for queries that are using the range. Signals: no.
 */
int ww_unwatch(struct ww *ww, void *start, size_t len);

/**
 * Tell about the watched range that holds an address.
 *
 * @param start    any address in it
 * @param watched  the range, as it was watched, less what was unwatched; or
 * NULL
 * @param caps     what holds for it, WW_CAP_ bits; or NULL
 * @param lost     how often part of it had to be called dirty because it could
 *                 not be known; or NULL
 * @return 0, -EINVAL, -ENOENT
 * Threads: any. Signals: no. Cost: O(log ranges).
 */
int ww_range_info(struct ww *ww, void *start, struct ww_range *watched,
		  unsigned *caps, unsigned *lost);

/**
 * mprotect(2) that every backend survives. What was dirty stays so, nothing
 * becomes dirty (as with VirtualProtect).
 *
 * @param start, len  whole pages, bytes, all of them watched
 * @param prot        PROT_NONE or PROT_READ | PROT_WRITE | PROT_EXEC bits
 * @return 0, -EINVAL, -ENOENT, -EFAULT, -EPERM, -ENOMEM
 * Threads: any. Signals: no. Cost: as mprotect(2).
 */
int ww_protect(struct ww *ww, void *start, size_t len, int prot);

/**
 * Drop pages of private memory (MADV_DONTNEED): they read as zeros, or as the
 * file, and are clean (as after MEM_DECOMMIT). A store that races with it may
 * be reported and is never lost. Who keeps a copy of the memory must treat a
 * discard as a change that it made itself.
 *
 * @param start, len  whole pages, bytes, all of them watched
 * @return 0, -EINVAL, -ENOENT, -EOPNOTSUPP (shared memory), -ENOMEM
 * Threads: any. Signals: no. Cost: as ww_reset() and madvise(2).
 */
int ww_discard(struct ww *ww, void *start, size_t len);

/**
 * Report bytes as written: for writes that no tracker sees. Where
 * WW_CAP_KERNEL_WRITES is missing this also opens the pages, so that a system
 * call made next can write to them; a reset closes them again (on EFAULT call
 * it again and retry). For devices call it after the data landed.
 *
 * @param start, len  any bytes, rounded outward to pages; what is not watched
 *                    is ignored, and len 0 is nothing to do
 * @return 0, -EINVAL (wraps), -ENOMEM (the pages could not be opened)
 * Threads: any, lock-free. Signals: yes.
 */
int ww_mark(struct ww *ww, void *start, size_t len);

/**
 * List the pages that were written since they were watched or last reset.
 *
 * The addresses ascend, without duplicates. A full array is success: only what
 * was stored is reset, and the call stopped at the last page that fits, so ask
 * again, from there on or from the start. Fewer than there is room for means
 * that the whole range was examined. An array of one is the cheap way to ask
 * whether anything was written.
 *
 * @param start, len   whole pages, bytes, all of them watched (they may belong
 *                     to ranges that touch) unless WW_GET_WINDOW
 * @param flags        WW_GET_RESET, WW_GET_WINDOW
 * @param pages        the caller's array of *count entries
 * @param count        in: entries of room, > 0; out: entries stored
 * @param granularity  out: bytes a page; or NULL
 * @return 0, -EINVAL, -ENOENT, -EBUSY, -EOPNOTSUPP, -EPERM, -ENOMEM
 * Threads: any, lock-free. Signals: no. Cost: 2-4 ns for each page that exists
 * in the range, and some 40 ns for each one reported.
 */
int ww_get(struct ww *ww, void *start, size_t len, unsigned flags, void **pages,
	   size_t *count, size_t *granularity);

/**
 * As ww_get(), but as runs of pages, which is shorter and faster. Runs are
 * maximal, except for the last one of a full array.
 *
 * @param ranges  the caller's array of *count entries
 * @param count   in: entries of room, > 0; out: entries stored
 */
int ww_get_ranges(struct ww *ww, void *start, size_t len, unsigned flags,
		  struct ww_range *ranges, size_t *count);

/**
 * Make pages clean without reporting them (ResetWriteWatch).
 *
 * @param start, len  whole pages, bytes, all of them watched
 * @return 0, -EINVAL, -ENOENT, -EBUSY, -EOPNOTSUPP, -EPERM, -ENOMEM
 * Threads: any, lock-free. Signals: no. Cost: as ww_get().
 */
int ww_reset(struct ww *ww, void *start, size_t len);

/**
 * For hosts that own SIGSEGV (WW_OPEN_HOST_SIGNALS): call it first in the
 * handler. It looks in all trackers.
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
