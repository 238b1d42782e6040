/* SPDX-License-Identifier: MIT */
/*
 * inherit.c - a tracker in a fork child.
 *
 * Called by fork() in the child, through fork.c, and by api.c before each call;
 * calls the backend's renew() and inherit(). Two steps:
 *
 *	at fork()	find out what the child has of the watched memory,
 *			before the program can map anything; make descriptors,
 *			while the child still has the parent's privileges
 *	at first use	arm the memory
 *
 * A child of _Fork() or of a bare clone(2) takes both steps at first use.
 * Invariant: in a child nothing that it did not inherit is changed, and no
 * descriptor of the parent's is used.
 */
#include "core/inherit.h"

#include <errno.h>
#include <fcntl.h>

#include "core/trackers.h"
#include "core/watch.h"
#include "kernel/pagemap.h"
#include "kernel/sys.h"

/* --- at fork: which memory is there --- */

/* What goes along a walk over the mappings. */
struct look {
	struct ww *ww;
	uintptr_t at; /* the memory below was looked at */
	struct ww_fd pagemap;
	bool may_be_wiped; /* some memory may have been wiped by the fork */
};

/* MADV_DONTFORK: what lies between two mappings was not inherited. */
static void forget(struct look *l, uintptr_t end)
{
	if (l->at < end &&
	    ww_table_meets(ww_ranges_table(&l->ww->ranges), l->at, end))
		ww_watch_forget(l->ww, l->at, end);
}

/* MADV_WIPEONFORK leaves a mapping without a page of the parent's. (A child may
 * have made pages there by now: in a handler that fork() calls before ours, or
 * after _Fork().) */
static bool may_be_wiped(const struct look *l, uintptr_t start, uintptr_t end)
{
	return !ww_pagemap_has_inherited(&l->pagemap, start, end);
}

static void look_for_wiped(struct look *l, const struct ww_map *map)
{
	struct ww_cursor c =
		ww_table_seek(ww_ranges_table(&l->ww->ranges), map->start);
	bool (*was_empty)(struct ww_area *, uintptr_t, uintptr_t) =
		l->ww->backend->was_empty;
	const struct ww_slice *s;

	for (; !l->may_be_wiped && (s = ww_cursor_slice(&c)) &&
	       s->start < map->end;
	     ww_cursor_next(&c)) {
		struct ww_slice part = ww_slice_part(s, map->start, map->end);

		l->may_be_wiped = !(was_empty &&
				    was_empty(s->area, part.start, part.end)) &&
				  may_be_wiped(l, part.start, part.end);
	}
}

static int look_at(void *arg, const struct ww_map *map)
{
	struct look *l = arg;

	forget(l, map->start);
	if (map->kind == WW_KIND_ANON && !l->may_be_wiped)
		look_for_wiped(l, map);
	l->at = map->end;
	return 0;
}

static int mark_wiped(void *arg, const struct ww_map *map)
{
	struct ww *ww = arg;

	if (map->wiped)
		ww_ranges_mark(&ww->ranges, map->start, map->end);
	return 0;
}

/* From the first watched address to the last: false if there is none. */
static bool bounds(const struct ww *ww, uintptr_t *start, uintptr_t *end)
{
	const struct ww_table *t = ww_ranges_table(&ww->ranges);
	const struct ww_chunk *last = t->n ? t->chunk[t->n - 1] : NULL;

	if (!last)
		return false;
	*start = t->chunk[0]->slice[0].start;
	*end = last->slice[last->n - 1].end;
	return true;
}

/* Without /proc, or a descriptor to read it, the kernel is asked for holes. */
static void look_for_holes(struct look *l, uintptr_t start, uintptr_t end)
{
	const size_t page = l->ww->page;
	uintptr_t half = start + (end - start) / page / 2 * page;

	if (!ww_sys_has_hole(start, end - start)) {
		forget(l, start);
		l->at = end;
	} else if (half > start) {
		look_for_holes(l, start, half);
		look_for_holes(l, half, end);
	}
}

static void look_without_proc(struct look *l)
{
	for (;;) {
		/* sought anew: forgetting makes another table */
		struct ww_cursor c =
			ww_table_seek(ww_ranges_table(&l->ww->ranges), l->at);
		const struct ww_slice *s = ww_cursor_slice(&c);
		struct ww_slice all;

		if (!s)
			break;
		all = *s;
		l->at = all.start;
		look_for_holes(l, all.start, all.end);
		forget(l, all.end);
		l->at = all.end;
	}
	l->may_be_wiped = true;
}

static void look_at_memory(struct ww *ww)
{
	struct look l = { .ww = ww };
	uintptr_t end;

	if (!bounds(ww, &l.at, &end))
		return;
	l.pagemap.fd = ww_sys_open("/proc/self/pagemap", O_RDONLY);
	if (ww_maps_each(&ww->maps, l.at, end, look_at, &l) == 0)
		forget(&l, end);
	else
		look_without_proc(&l);
	if (l.pagemap.fd >= 0)
		ww_sys_close(l.pagemap.fd);
	/* smaps shows for sure which mappings are wiped, but looks at every
	 * page of the process. If it can not be read, all counts as wiped. */
	if (l.may_be_wiped && bounds(ww, &l.at, &end) &&
	    ww_maps_each_flag(l.at, end, mark_wiped, ww) < 0)
		ww_ranges_mark(&ww->ranges, l.at, end);
}

/* A child holds nothing. */
static void release(struct ww *ww)
{
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), 0);
	const struct ww_slice *s;

	for (; (s = ww_cursor_slice(&c)); ww_cursor_next(&c))
		ww_area_release_all(s->area);
}

/* The first step. The caller is the only thread, or has its signals blocked
 * while the other threads of the child wait for it. */
static void renew(struct ww *ww)
{
	int r = 0;

	ww->nclaimed = 0;
	ww->closing = NULL;
	if (!ww_process_is_other(&ww->process)) {
		/* First of all: whatever fails, the parent's descriptors are
		 * forgotten. */
		r = ww->backend->renew ? ww->backend->renew(ww) : 0;
		ww_maps_close(&ww->maps);
		ww_maps_open(&ww->maps, &ww->process);
		release(ww);
		look_at_memory(ww);
	}
	ww->renew_error = r;
	atomic_store(&ww->renewed, ww_fork_generation());
}

static bool renew_at_fork(struct ww *ww, void *arg)
{
	renew(ww);
	return false;
}

static void at_fork(void)
{
	ww_trackers_each(renew_at_fork, NULL);
}

void ww_inherit_init(void)
{
	ww_fork_on_child(WW_FORK_TRACKERS, at_fork);
}

/* --- at first use: arming --- */

struct arming {
	struct ww *ww;
	struct ww_slice slice;
	struct ww_fd pagemap;
};

static int mark_run(void *arg, uintptr_t start, uintptr_t end)
{
	ww_area_mark(arg, start, end);
	return 0;
}

/* A query of another thread of the parent may have cleared dirty bits, and not
 * reported them yet, when the process forked; the child has no such thread. So
 * report once all that exists. */
static void mark(const struct arming *a, const struct ww_slice *s,
		 enum ww_kind kind)
{
	if (kind == WW_KIND_SHARED ||
	    ww_pagemap_each_populated(&a->pagemap, s->start, s->end, mark_run,
				      s->area) < 0)
		ww_area_mark(s->area, s->start, s->end);
}

static int arm_map(void *arg, const struct ww_map *map)
{
	const struct arming *a = arg;
	struct ww_slice s = { map->start, map->end, a->slice.area };
	int r = 0;

	if (map->huge)
		return 0; /* left to its queries, as in the parent */
	if (a->ww->backend->inherit)
		r = a->ww->backend->inherit(a->ww, &s, map->kind);
	if (r == -EOPNOTSUPP || r == -EBUSY)
		return 0; /* likewise */
	mark(a, &s, map->kind);
	return r;
}

static int arm_all(struct ww *ww)
{
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), 0);
	struct arming a = { .ww = ww };
	const struct ww_slice *s;
	int r = 0;

	if (ww_process_is_other(&ww->process))
		return 0; /* as it was: the memory is not ours */
	a.pagemap.fd = ww_sys_open("/proc/self/pagemap", O_RDONLY);
	for (; r == 0 && (s = ww_cursor_slice(&c)); ww_cursor_next(&c)) {
		a.slice = *s;
		r = ww_maps_each(&ww->maps, s->start, s->end, arm_map, &a);
	}
	if (a.pagemap.fd >= 0)
		ww_sys_close(a.pagemap.fd);
	return r;
}

static int arm(struct ww *ww, unsigned generation)
{
	if (atomic_load(&ww->renewed) != generation || ww->renew_error < 0)
		renew(ww);
	return ww->renew_error < 0 ? ww->renew_error : arm_all(ww);
}

/* One thread of the child arms the memory; others, if there are any by now,
 * wait for it: the one place where a query waits, and only once. No signal
 * stops the thread that arms. */
static int arm_once(struct ww *ww, unsigned generation)
{
	unsigned other = atomic_load(&ww->renewing);
	uint64_t mask;
	int r = 0;

	ww_sys_block_signals(&mask);
	while (r == 0 && atomic_load(&ww->generation) != generation) {
		if (other == generation) {
			ww_sys_sleep_ns(10000);
			other = atomic_load(&ww->renewing);
			continue;
		}
		if (!atomic_compare_exchange_strong(&ww->renewing, &other,
						    generation))
			continue;
		r = arm(ww, generation);
		if (r == 0)
			atomic_store(&ww->generation, generation);
		atomic_store(&ww->renewing, 0);
	}
	ww_sys_restore_signals(mask);
	return r;
}

WW_OFTEN int ww_inherit(struct ww *ww)
{
	unsigned generation = ww_fork_generation();

	if (atomic_load(&ww->generation) == generation)
		return 0;
	return arm_once(ww, generation);
}

void ww_inherit_to_leave(struct ww *ww)
{
	ww_inherit(ww); /* whatever comes of it */
}
