/* SPDX-License-Identifier: MIT */
/*
 * backend.h - the contract between the core and the ways to track writes.
 *
 * A backend is one file with one `const struct ww_backend`, and one line in
 * select.c. All of it is in the table below; the core calls nothing else.
 */
#ifndef WW_BACKEND_H
#define WW_BACKEND_H

#include "base/fork.h"
#include "kernel/maps.h"
#include "kernel/process.h"
#include "core/query.h"
#include "core/range.h"
#include "writewatch.h"

struct ww_backend;

struct ww {
	const struct ww_backend *backend;
	void *priv;    /* the backend's */
	unsigned caps; /* the backend's, less what it lacks here */
	struct ww_process process;
	struct ww_ranges ranges;
	struct ww_lock lock; /* the writers': watch, protect, discard, ... */
	/* Memory that is about to be watched, or being let go: nobody else's
	 * meanwhile. Guarded by ww_faults.lock. */
	const struct ww_slice *claim;
	size_t nclaimed;
	struct ww_maps maps;
	size_t page;
	unsigned flags;	  /* WW_OPEN_ */
	unsigned watches; /* ww_watch() calls so far */
	long reserve;	  /* mappings that are left to the program */
	long splits;	  /* that may be split off before counting again */
	atomic_uint generation; /* the fork generation that it is set up for */
	atomic_uint renewing;	/* the one that a thread is setting it up for */
	void (*log)(void *data, const char *line);
	void *log_data;
};

/*
 * start, end are whole pages inside the area or span that they come with.
 * Results are 0 or -errno. "Lock-free" means: called without the tracker's
 * lock, in several threads at once, with the areas pinned; it must not allocate
 * or wait for another thread, as that one may have been stopped.
 */
struct ww_backend {
	const char *name;
	unsigned caps;
	unsigned modes; /* WW_WATCH_ bits that it can make use of */
	bool joins;	/* a span may be several areas that touch */
	bool by_prot;	/* wants an area for each protection */

	/* Is it usable here? Try it on a page of its own; leave no trace. Sets
	 * a sentence for a person if not, and takes from caps what can not be
	 * promised here. With options (or NULL): by the descriptors that they
	 * lend. */
	int (*probe)(const struct ww_options *options, const char **reason,
		     unsigned *caps);

	/* Make what a tracker needs, in ww->priv; take from ww->caps. */
	int (*open)(struct ww *ww, const struct ww_options *options);
	/* Free it. All areas are detached. */
	void (*close)(struct ww *ww);

	/* Zeroed bytes for area->state; NULL: none. */
	size_t (*state_bytes)(size_t npages);
	/* Prepare a mapped area of one kind, and arm it: all its pages clean.
	 * On failure leave no trace. Writer's lock. */
	int (*attach)(struct ww *ww, struct ww_area *area);
	/* For a backend whose arming faults: arm it only here, when the area
	 * can be found; on failure leave() and detach() follow. May be NULL. */
	int (*arm)(struct ww *ww, struct ww_area *area);
	/* The same at the end, while it still can be found: have each page as
	 * writable as the program left it, and keep it so. If it fails for
	 * one part, stay() takes all of them back. May be NULL. */
	int (*leave)(struct ww *ww, struct ww_area *area, uintptr_t start,
		     uintptr_t end);
	void (*stay)(struct ww *ww, struct ww_area *area, uintptr_t start,
		     uintptr_t end);
	/* Let go. It can not be found any more, no query holds it, and it may
	 * be a part of the area only. Writer's lock. */
	void (*detach)(struct ww *ww, struct ww_area *area, uintptr_t start,
		       uintptr_t end);

	/* First use in a fork child: forget the parent's descriptors, never
	 * use them; make new ones. No other thread is in the tracker. */
	int (*renew)(struct ww *ww);
	/* Then, for each slice: arm it anew; what exists of private memory and
	 * all of the rest is to be reported once. */
	int (*inherit)(struct ww *ww, struct ww_area *area, uintptr_t start,
		       uintptr_t end);

	/* Before the first collect() of a query. May wait for other threads.
	 * May be NULL. */
	int (*begin)(struct ww *ww, const struct ww_query *q);
	/* Tell q what is dirty, in order (query.h). With q->reset, re-arm what
	 * q stored, such that no store is lost: one that happened before the
	 * page was re-armed is seen by who reads the page after the query, one
	 * after it is found by the next query. Lock-free. */
	int (*collect)(struct ww *ww, uintptr_t start, uintptr_t end,
		       struct ww_query *q);
	/* Make all of it clean. Lock-free. */
	int (*rearm)(struct ww *ww, const struct ww_span *span, uintptr_t start,
		     uintptr_t end);

	/* mprotect(2), keeping what is dirty. Writer's lock. */
	int (*protect)(struct ww *ww, struct ww_area *area, uintptr_t start,
		       uintptr_t end, int prot);
	/* Re-arm private memory, then drop its pages. Writer's lock. */
	int (*discard)(struct ww *ww, struct ww_area *area, uintptr_t start,
		       uintptr_t end);
	/* Let the kernel write to it; NULL: it can anyway. Lock-free,
	 * async-signal-safe. */
	int (*admit)(struct ww *ww, struct ww_area *area, uintptr_t start,
		     uintptr_t end);
	/* A write faulted; true: let it try again, false: not ours. For those
	 * that are registered with faults.h; in a signal handler. */
	bool (*fault)(struct ww *ww, uintptr_t at);
};

extern const struct ww_backend ww_backend_memwatch;
extern const struct ww_backend ww_backend_uffd_async;
extern const struct ww_backend ww_backend_softdirty;
extern const struct ww_backend ww_backend_uffd_sync;
extern const struct ww_backend ww_backend_mprotect;

/* A tracker on this very backend, for select.c and the tests. */
int ww_open_backend(struct ww **out, const struct ww_backend *backend,
		    const struct ww_options *options);

#endif
