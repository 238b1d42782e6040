/* SPDX-License-Identifier: MIT */
/*
 * backend.h - the contract between the core and a way to track writes: all that
 * its author has to know.
 *
 * A backend is one file with one `const struct ww_backend`, a line in the list
 * of open.c, and a line in meson.build. Three operations are required; NULL for
 * any other means what its comment says. The smallest backend is
 * tests/backend-copy.c: read it first. Words (area, slice, span, run): range.h.
 *
 * The life of a tracker and of an area
 *
 *	probe				may it be used here? Leaves no trace
 *	open				a tracker, tried
 *	| attach			an area: armed, all pages clean
 *	| .. published			queries and faults may come from here on
 *	| | arm				armed, where arming lets faults come
 *	| | begin collect [..]		a query, and the next one; in many threads
 *	| | rearm			a reset without a report
 *	| | protect discard admit	the program's changes
 *	| | fault			a store, in a signal handler
 *	| | leave			open for good; faults still find it
 *	| .. unpublished
 *	| detach			a part of the area, or all of it
 *	close				all areas are detached
 *
 *	in a fork child: renew, at once, then inherit for each slice at first use
 *
 * Which threads may be inside
 *   - open, close, attach, arm, leave, detach, protect, discard, renew, inherit
 *     have the tracker's lock: one thread at a time, with its signals blocked.
 *     They may not wait for a thread that is in a query: it may have been
 *     stopped by a signal. They may wait for an area's `changers`
 *     (ww_readers_wait(), base/readers.h), and do where they need it.
 *   - begin, collect, rearm, admit may run in many threads at once, beside
 *     those. They take no lock, allocate nothing, and use at most 4 KiB of
 *     stack. The slices that they are given are pinned: the areas stay, though
 *     one may be unwatched meanwhile, and its memory unmapped.
 *   - attach also runs in a query, beside all others and with signals blocked,
 *     if the query found that memory was replaced.
 *   - fault runs in a signal handler, beside everything, and uses no
 *     thread-local storage.
 *
 * Rules
 *   - No store is lost. A store that completed before its page was re-armed is
 *     seen by a caller that reads the page after the query has returned; a
 *     later store is found by the next query. What cannot be known is dirty.
 *     (Without WW_CAP_ATOMIC_RESET a store that races with a reset may be.)
 *   - A dirty page never looks clean to another query, not even while the
 *     thread that resets the page is stopped. So the order is: make the page
 *     pending (ww_area_mark()), clear what the backend knows of it, report it.
 *     The core takes the pending bit from each page that goes into the
 *     caller's array. A query without q->reset changes nothing at all.
 *   - collect() reports each run in one call, in order, from q->pos on: with
 *     ww_query_offer() what it re-arms afterwards, as far as that was stored;
 *     with ww_query_found() what it has re-armed already, of which the rest
 *     becomes pending. Where ww_query_is_plain() it may call ww_query_store()
 *     itself, moves q->pos, and marks what it re-armed and has no room for.
 *     It may stop when the array is full. It ends with
 *     ww_query_done_below() for the place that it came to. Pending and held
 *     pages are no business of a backend: the core reports them.
 *   - A backend closes pages (makes a store fault) inside of area->changers
 *     (ww_readers_enter()), with signals blocked. There it leaves held pages
 *     open (ww_query_close_each(), ww_span_each_free()), and asks the table
 *     (ww_ranges_next_still(), ww_ranges_around()) whether the pages are
 *     watched still: they may be another tracker's by now. It opens pages so,
 *     too. Where a kernel call re-arms what it finds, there is no time to ask:
 *     rearms_unasked.
 *   - Without takes_spans a span is one slice. A slice may be a part of its
 *     area: the area's page i lies at ww_area_at(area, i).
 *   - Watched memory may be PROT_NONE, or be unmapped at any time: whoever
 *     reads it does so by a system call, not by a load.
 *   - Memory that a handler or the backend's own thread writes to comes from
 *     the core (priv_bytes, state_bytes): a program may watch what malloc()
 *     returned.
 *   - System calls are those of kernel/sys.h: no cancellation points, errno is
 *     kept. Descriptors are struct ww_fd, and are checked before use
 *     (ww_fd_ok()): hosts close them, and fork children have copies.
 *   - Results are 0 or a negative errno value of the ten in writewatch.h; the
 *     core translates others (error.c). -EPERM of collect() and rearm() means
 *     that some of the span is not tracked any more: the core reports and
 *     attaches it anew, mapping by mapping, and goes on.
 *   - For another process (ww_process_is_other()) only probe, open, attach,
 *     detach, begin, collect, rearm and close are called.
 *   - A fork child has an area's state as it was, perhaps half changed by
 *     another thread of the parent. There admit() may come before inherit():
 *     then nothing is armed yet (ww->generation is not ww_fork_generation()).
 */
#ifndef WW_BACKEND_H
#define WW_BACKEND_H

#include "base/fork.h"
#include "core/query.h"
#include "kernel/maps.h"
#include "kernel/process.h"
#include "writewatch.h"

struct ww_backend;

/* A tracker. A backend reads the first part. */
struct ww {
	const struct ww_backend *backend;
	void *priv;    /* the backend's */
	unsigned caps; /* the backend's WW_CAP_ bits, less those missing here */
	unsigned flags; /* WW_OPEN_ */
	size_t page;
	struct ww_process process;
	struct ww_maps maps;
	struct ww_ranges ranges;

	/* the core's */
	struct ww_lock lock; /* the writers': watch, protect, discard, ... */
	/* Memory that this tracker is about to watch, or is letting go. No
	 * other tracker may watch it. Guarded by the lock of trackers.c. */
	const struct ww_slice *claim;
	size_t nclaimed;
	/* What it lets go of as a whole, while it closes. Guarded likewise. */
	const struct ww_table *closing;
	unsigned watches; /* ww_watch() calls so far */
	/* Fork generations: the one that the memory is armed for, the one that
	 * the descriptors were made in, and the one that a thread is arming the
	 * memory for just now (0: none). */
	atomic_uint generation, renewed, renewing;
	int renew_error; /* of the last renew() */
	void (*log)(void *data, const char *line);
	void *log_data;
	struct ww *retired; /* closed, but a handler may look at it */
};

/* Kinds of memory that a backend takes: bits. */
#define WW_TAKES_ANON (1u << WW_KIND_ANON)
#define WW_TAKES_FILE (1u << WW_KIND_FILE)
#define WW_TAKES_SHARED (1u << WW_KIND_SHARED)

#define WW_SCRATCH_PAGES 4u

struct ww_backend {
	const char *name;
	unsigned caps;
	/* WW_WATCH_ bits that it makes use of. */
	unsigned modes;
	/* WW_TAKES_ bits; the core refuses the rest. */
	unsigned kinds;
	/* A span may have several slices; else it has one. */
	bool takes_spans;
	/* A kernel call of collect() or rearm() finds dirty pages and re-arms them
	 * in one step, whoever watches them by then: the core looks behind it
	 * what was unwatched meanwhile, and marks that for those who do. */
	bool rearms_unasked;
	/* The core makes an area of each run of pages that had one protection
	 * when they were watched (area->prot): for backends that restore it. */
	bool one_prot_an_area;
	/* The core turns huge pages and KSM off before attach(): with them one
	 * write may show as many pages, or not at all. */
	bool plain_pages;
	/* open() tries all that probe() tries: then no probe() comes before. */
	bool open_tries;
	/* Zeroed bytes for ww->priv. */
	size_t priv_bytes;
	/* Zeroed bytes for area->state; only those that are touched cost memory.
	 * NULL: none. */
	size_t (*state_bytes)(size_t npages);
	/* Lay out area->state, before attach(). NULL: nothing to do. */
	void (*init_state)(struct ww_area *a);

	/* --- required --- */

	/* Arm memory of one kind, all its pages clean. On failure leave no
	 * trace. Called again for a part whose memory was replaced: kind is
	 * then that of the new memory, and may differ from the area's. */
	int (*attach)(struct ww *ww, const struct ww_slice *s,
		      enum ww_kind kind);
	/* Report to q what is dirty of q->span, from q->pos on; with q->reset,
	 * re-arm what is reported, and nothing else. */
	int (*collect)(struct ww *ww, struct ww_query *q);
	/* Make all of the span clean. The core has cleared the pending bits. */
	int (*rearm)(struct ww *ww, const struct ww_span *span);

	/* --- NULL means what the comment says --- */

	/* Is the backend usable here? Try it on scratch, WW_SCRATCH_PAGES pages
	 * of zeros. If not, set *reason to a sentence for a person: why, and
	 * what would help. Clear in caps what can not be promised here. options
	 * may be NULL; if they lend descriptors, those are to be used. NULL:
	 * always usable. */
	int (*probe)(const struct ww_options *options, volatile char *scratch,
		     const char **reason, unsigned *caps);
	/* Make what a tracker needs, in ww->priv; clear in ww->caps what can
	 * not be promised. With open_tries, try it on scratch as probe() does.
	 * On failure *reason may say why. NULL: nothing to make. */
	int (*open)(struct ww *ww, const struct ww_options *options,
		    volatile char *scratch, const char **reason);
	/* Undo open(). NULL: nothing to undo. */
	void (*close)(struct ww *ww);

	/* For a backend whose arming lets stores fault: arm the slice here, now
	 * that the table has it and a fault finds the area. On failure leave()
	 * and detach() follow. NULL: armed by attach(). */
	int (*arm)(struct ww *ww, const struct ww_slice *s);
	/* Give each page the protection that the program wants, and close none
	 * of them again. Faults still find the slices in the table. On failure
	 * all slices stay watched, and what is not known is dirty. NULL: nothing
	 * to do. */
	int (*leave)(struct ww *ww, const struct ww_slice *cut, size_t n);
	/* Let go of a slice that the table has no more. open is false if the
	 * memory is unmapped or replaced next: then no page has to be opened.
	 * NULL: nothing to do. */
	void (*detach)(struct ww *ww, const struct ww_slice *s, bool open);

	/* Before the first collect() of a query, whose slices are pinned. May
	 * wait for other threads, not for `users`. NULL: nothing to do. */
	int (*begin)(struct ww *ww, const struct ww_query *q);

	/* mprotect(2), of the whole slice or, on failure, of none of it. What
	 * is dirty stays dirty. NULL: mprotect(2) itself. */
	int (*protect)(struct ww *ww, const struct ww_slice *s, int prot);
	/* The protection that the program wants from an address on, and where
	 * that run ends, at most at *end. Called by the SIGSEGV handler, too.
	 * NULL: the kernel's view is the program's. */
	int (*wanted)(struct ww_area *a, uintptr_t at, uintptr_t *end);
	/* Drop pages of private memory, which then are clean, as madvise(2) does
	 * with MADV_DONTNEED; -EOPNOTSUPP for locked ones. The core has cleared
	 * the pending bits. NULL: rearm(), then drop: right for a backend that
	 * sees stores, not for one that compares contents. */
	int (*discard)(struct ww *ww, const struct ww_slice *s);
	/* The pages are held by now (ww_area_is_held()), and watched: open them,
	 * so that the kernel can write there. The caller is inside of changers.
	 * Async-signal-safe. NULL: the kernel can write to armed pages. */
	int (*admit)(struct ww *ww, const struct ww_slice *s);
	/* How many runs of the slice's pages are open: each splits a mapping.
	 * Async-signal-safe. NULL: none. */
	long (*open_runs)(const struct ww_slice *s);
	/* A store faulted at an address; true: let it try again, false: not
	 * ours. Signals are blocked. NULL: stores never fault. */
	bool (*fault)(struct ww *ww, uintptr_t at);

	/* In a fork child, before the program runs: forget the parent's
	 * descriptors, never use them; make new ones, while privileges are what
	 * they were. NULL: none to make. */
	int (*renew)(struct ww *ww);
	/* Is it known that no page of [start, end) existed before the fork?
	 * Then memory that is empty in the child was not wiped. NULL: not
	 * known. */
	bool (*was_empty)(struct ww_area *a, uintptr_t start, uintptr_t end);
	/* In the child's first call, for each slice that the child has: arm the
	 * slice anew. Then the core marks what exists of private memory, and all
	 * of shared memory. NULL: nothing to do. */
	int (*inherit)(struct ww *ww, const struct ww_slice *s,
		       enum ww_kind kind);
};

extern const struct ww_backend ww_backend_memwatch;
extern const struct ww_backend ww_backend_uffd_async;
extern const struct ww_backend ww_backend_softdirty;
extern const struct ww_backend ww_backend_uffd_sync;
extern const struct ww_backend ww_backend_mprotect;
extern const struct ww_backend ww_backend_copy; /* of the tests */

#endif
