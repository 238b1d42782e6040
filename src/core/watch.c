/* SPDX-License-Identifier: MIT */
/*
 * watch.c - putting memory under watch and letting it go.
 *
 * Called by api.c with the tracker's lock held; calls maps.c for what is there,
 * range.c for the table, and the backend to arm it. Invariant: the table holds
 * only what is attached; a failure leaves everything as it was.
 */
#include "core/watch.h"

#include <errno.h>
#include <stdlib.h>

#include "core/trackers.h"
#include "kernel/sys.h"

/* Walks of the text of /proc/self/maps before a cheaper way is taken. */
#define TEXT_WALKS 64

#define FEW_AREAS 8 /* whose mappings are not counted */

static uintptr_t min(uintptr_t a, uintptr_t b)
{
	return a < b ? a : b;
}

static uintptr_t max(uintptr_t a, uintptr_t b)
{
	return a > b ? a : b;
}

static int leave_all(struct ww *ww, const struct ww_slice *cut, size_t n)
{
	const struct ww_backend *b = ww->backend;
	size_t i;
	int r = 0;

	for (i = 0; b->leave && r == 0 && i < n; i++)
		r = b->leave(ww, cut[i].area, cut[i].start, cut[i].end);
	while (r < 0 && i--)
		b->stay(ww, cut[i].area, cut[i].start, cut[i].end);
	return r;
}

/* Publish a table without the slices that are cut, and let go of those. They
 * may lie in the old table, which lives until the next one is published. */
static int let_go(struct ww *ww, struct ww_table *t, const struct ww_slice *cut,
		  size_t n)
{
	int r = leave_all(ww, cut, n);
	size_t i;

	if (r < 0)
		return r;
	ww_faults_claim_back(ww, cut, n);
	ww_ranges_publish(&ww->ranges, t);
	ww_ranges_sync(&ww->ranges);
	for (i = 0; i < n; i++) {
		struct ww_area *a = cut[i].area;

		ww_readers_wait(&a->users);
		ww->backend->detach(ww, a, cut[i].start, cut[i].end);
		a->ncut++;
	}
	for (i = 0; i < n; i++)
		if (--cut[i].area->ncut == 0 &&
		    !ww_ranges_hold(&ww->ranges, cut[i].area))
			ww_area_free(cut[i].area);
	ww_faults_claim_back(ww, NULL, 0);
	return 0;
}

int ww_watch_remove(struct ww *ww, uintptr_t start, uintptr_t end)
{
	const struct ww_table *old = ww_ranges_table(&ww->ranges);
	struct ww_table *t = ww_ranges_cut(&ww->ranges, start, end);
	size_t from = ww_table_find(old, start), i, n;
	struct ww_slice *cut;
	int r = -ENOMEM;

	for (n = 0; from + n < old->n && old->slice[from + n].start < end; n++)
		;
	cut = malloc((n + 1) * sizeof(*cut));
	for (i = 0; cut && i < n; i++) {
		cut[i] = old->slice[from + i];
		cut[i].start = max(cut[i].start, start);
		cut[i].end = min(cut[i].end, end);
	}
	if (t && cut)
		r = let_go(ww, t, cut, n);
	if (r < 0)
		free(t);
	free(cut);
	return r;
}

int ww_watch_remove_all(struct ww *ww)
{
	const struct ww_table *old = ww_ranges_table(&ww->ranges);
	struct ww_table *t = ww_ranges_last(&ww->ranges);
	int tries = 3, r;

	do
		r = let_go(ww, t, old->slice, old->n);
	while (r < 0 && --tries);
	return r;
}

struct stretches {
	struct ww_slice *slice; /* areas not made yet, then made */
	struct ww_map *map;
	size_t n, room;
};

static int add_stretch(struct stretches *s, const struct ww_map *map,
		       bool by_prot)
{
	struct ww_map *last = s->n ? &s->map[s->n - 1] : NULL;

	if (map->huge)
		return -EOPNOTSUPP;
	if (last && last->kind == map->kind &&
	    (!by_prot || last->prot == map->prot)) {
		last->end = map->end;
		return 0;
	}
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 8;
		void *more = realloc(s->map, room * sizeof(*s->map));

		if (!more)
			return -ENOMEM;
		s->map = more;
		s->room = room;
	}
	s->map[s->n++] = *map;
	return 0;
}

/* The mappings of [start, end), joined to stretches of one kind. */
static int find_stretches(struct ww *ww, uintptr_t start, uintptr_t end,
			  struct stretches *s)
{
	bool by_prot = ww->backend->by_prot;
	struct ww_maps_walk walk;
	struct ww_map map = { start, end, WW_KIND_ANON, 0, false };
	int r;

	if (ww->maps.text && !by_prot && !ww_process_is_other(&ww->process) &&
	    atomic_load(&ww->maps.walks) >= TEXT_WALKS &&
	    ww_maps_name_anon(start, end))
		return add_stretch(s, &map, false);
	r = ww_maps_begin(&walk, &ww->maps, start);
	while (r >= 0 && start < end) {
		r = ww_maps_next(&walk, &map);
		if (r < 0)
			break;
		if (r == 0 || map.start > start) {
			r = -EFAULT;
			break;
		}
		map.start = start;
		map.end = min(map.end, end);
		start = map.end;
		r = add_stretch(s, &map, by_prot);
	}
	ww_maps_end(&walk);
	return r < 0 ? r : 0;
}

/* Two mappings more for each area. Half of what was left at the first of them
 * is the program's: it must be able to map and to start threads. */
static bool may_split(struct ww *ww)
{
	/* For the first few it is not worth 40 us to count. */
	if (ww_process_is_other(&ww->process) || ww_areas() < FEW_AREAS)
		return true;
	if (ww->splits < 2) {
		long left = ww_maps_left();

		if (!ww->reserve)
			ww->reserve = left / 2;
		ww->splits = left - ww->reserve;
	}
	ww->splits -= 2;
	return ww->splits >= 0;
}

static int attach(struct ww *ww, const struct ww_map *map, unsigned flags,
		  struct ww_area **out)
{
	size_t npages = (map->end - map->start) / ww->page, bytes = 0;
	struct ww_area *a;
	int r;

	if (!may_split(ww))
		return -ENOMEM;
	if (ww->backend->state_bytes)
		bytes = (ww->backend->state_bytes(npages) + 7) / 8 * 8;
	flags &= ww->backend->modes;
	if (map->kind != WW_KIND_ANON) /* reclaim would lose their entries */
		flags &= ~WW_WATCH_HUGE;
	r = ww_area_new(
		&a, map->start, map->end,
		bytes + (flags & WW_WATCH_HOT_OK ? ww_hot_bytes(npages) : 0));
	if (r < 0)
		return r;
	a->flags = flags;
	if (flags) /* all of them report more than was written */
		atomic_store(&a->weaker, WW_CAP_EXACT);
	if (flags & WW_WATCH_HOT_OK)
		ww_hot_init(&a->hot, (char *)a->state + bytes);
	a->kind = map->kind;
	a->prot = map->prot;
	a->watch = ww->watches;
	r = ww->backend->attach(ww, a);
	if (r < 0) {
		ww_area_free(a);
		return r;
	}
	*out = a;
	return 0;
}

static int watch(struct ww *ww, struct stretches *s, unsigned flags)
{
	struct ww_table *t = NULL;
	size_t i;
	int r = -ENOMEM;

	s->slice = malloc(s->n * sizeof(*s->slice));
	if (!s->slice)
		return -ENOMEM;
	ww->watches++;
	for (i = 0; i < s->n; i++) {
		struct ww_area *a;

		r = attach(ww, &s->map[i], flags, &a);
		if (r < 0)
			goto err_detach;
		s->slice[i] = (struct ww_slice){ a->start, a->end, a };
	}
	t = ww_ranges_add(&ww->ranges, s->slice, s->n);
	if (!t) {
		r = -ENOMEM;
		goto err_detach;
	}
	ww_ranges_publish(&ww->ranges, t);
	for (i = 0, r = 0; ww->backend->arm && r == 0 && i < s->n; i++)
		r = ww->backend->arm(ww, s->slice[i].area);
	if (r < 0)
		ww_watch_remove(ww, s->slice[0].start, s->slice[s->n - 1].end);
	return r;
err_detach:
	while (i--) {
		struct ww_area *a = s->slice[i].area;

		ww->backend->detach(ww, a, a->start, a->end);
		ww_area_free(a);
	}
	return r;
}

int ww_watch_add(struct ww *ww, uintptr_t start, uintptr_t end, unsigned flags)
{
	const struct ww_slice all = { start, end, NULL };
	struct stretches s = { NULL, NULL, 0, 0 };
	/* First: another one's closed pages look like the program's own. */
	int r = ww_faults_claim(ww, &all, 1);

	if (r < 0)
		return r;
	r = find_stretches(ww, start, end, &s);
	if (r == 0)
		r = watch(ww, &s, flags);
	ww_faults_claim_back(ww, NULL, 0);
	free(s.slice);
	free(s.map);
	return r;
}

bool ww_watch_has_hole(struct ww *ww, uintptr_t start, uintptr_t end)
{
	struct stretches s = { NULL, NULL, 0, 0 };
	bool hole = find_stretches(ww, start, end, &s) == -EFAULT;

	free(s.map);
	return hole;
}

int ww_watch_inherit(struct ww *ww)
{
	const struct ww_table *t = ww_ranges_table(&ww->ranges);
	size_t i;
	int r;

	/* First of all: whatever fails below, the parent's descriptors are
	 * forgotten. Without /proc only who needs it fails. */
	if (ww_process_is_other(&ww->process))
		return 0; /* as it was: the memory is not ours */
	r = ww->backend->renew(ww);
	ww_maps_close(&ww->maps);
	ww_maps_open(&ww->maps, &ww->process);
	for (i = 0; r == 0 && i < t->n; i++)
		r = ww->backend->inherit(ww, t->slice[i].area,
					 t->slice[i].start, t->slice[i].end);
	return r;
}
