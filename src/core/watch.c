/* SPDX-License-Identifier: MIT */
/*
 * watch.c - putting memory under watch and letting it go.
 *
 * Called by api.c with the tracker's lock held; calls maps.c for what is there,
 * range.c for the table, and the backend to arm memory. Invariant: the table
 * holds only what is attached; a failure leaves everything as it was; no thread
 * that a signal may have stopped is waited for.
 */
#include "core/watch.h"

#include <errno.h>

#include "base/heap.h"
#include "core/mapcount.h"
#include "core/trackers.h"
#include "kernel/advice.h"
#include "kernel/arch.h"
#include "kernel/sys.h"

/* --- letting go --- */

/* Slices that are let go of, and the table without them. */
struct cut {
	struct ww_table *table;
	struct ww_slice *slice;
	size_t n, bytes;
};

static bool is_in_table(struct ww *ww, const struct ww_area *a)
{
	struct ww_cursor c =
		ww_table_seek(ww_ranges_table(&ww->ranges), a->start);
	const struct ww_slice *s;

	/* Newer areas may lie where parts of this one were unwatched. */
	while ((s = ww_cursor_slice(&c)) && s->start < a->end && s->area != a)
		ww_cursor_next(&c);
	return s && s->start < a->end;
}

static void count(const struct ww_slice *slice, size_t n)
{
	while (n--)
		slice[n].area->nleaving++;
}

/* The table has these slices no more. Retire each area of which no part is
 * watched or being let go of any more. */
static void retire(struct ww *ww, const struct ww_slice *slice, size_t n)
{
	for (; n--; slice++)
		if (--slice->area->nleaving == 0 &&
		    !is_in_table(ww, slice->area))
			ww_ranges_retire(&ww->ranges, slice->area);
}

static void detach(struct ww *ww, const struct ww_slice *slice, size_t n,
		   bool unmapping)
{
	for (; n--; slice++) {
		/* A thread that is changing pages right now found them in the
		 * old table. No signal can have stopped it. */
		ww_readers_wait(&slice->area->changers);
		if (ww->backend->detach)
			ww->backend->detach(ww, slice, !unmapping);
	}
}

static int leave(struct ww *ww, const struct ww_slice *slice, size_t n)
{
	return ww->backend->leave && n ? ww->backend->leave(ww, slice, n) : 0;
}

/* Publish the table without the slices, and let go of those. */
static int let_go(struct ww *ww, const struct cut *cut, bool unmapping)
{
	int r = unmapping ? 0 : leave(ww, cut->slice, cut->n);

	if (r < 0)
		return r;
	ww_trackers_claim_back(ww, cut->slice, cut->n);
	ww_ranges_publish(&ww->ranges, cut->table);
	count(cut->slice, cut->n);
	detach(ww, cut->slice, cut->n, unmapping);
	retire(ww, cut->slice, cut->n);
	ww_trackers_claim_back(ww, NULL, 0);
	ww_ranges_clean(&ww->ranges);
	return 0;
}

/* The slices of the table in [start, end), clipped: counts, or stores them. */
static size_t slices_in(struct ww *ww, uintptr_t start, uintptr_t end,
			struct ww_slice *out)
{
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), start);
	const struct ww_slice *s;
	size_t n = 0;

	for (; (s = ww_cursor_slice(&c)) && s->start < end;
	     ww_cursor_next(&c), n++)
		if (out)
			out[n] = ww_slice_part(s, start, end);
	return n;
}

static int make_cut(struct ww *ww, uintptr_t start, uintptr_t end,
		    struct cut *cut)
{
	cut->n = slices_in(ww, start, end, NULL);
	cut->bytes = (cut->n + 1) * sizeof(*cut->slice);
	cut->slice = ww_heap_new(cut->bytes);
	if (!cut->slice)
		return -ENOMEM;
	slices_in(ww, start, end, cut->slice);
	cut->table = ww_table_change(ww_ranges_table(&ww->ranges), start, end,
				     NULL, 0);
	if (cut->table)
		return 0;
	ww_heap_free(cut->slice, cut->bytes);
	return -ENOMEM;
}

int ww_watch_remove(struct ww *ww, uintptr_t start, uintptr_t end,
		    bool unmapping)
{
	struct cut cut;
	int r = make_cut(ww, start, end, &cut);

	if (r < 0)
		return r;
	r = let_go(ww, &cut, unmapping);
	if (r < 0)
		ww_ranges_discard(&ww->ranges, cut.table);
	ww_heap_free(cut.slice, cut.bytes);
	return r;
}

int ww_watch_remove_all(struct ww *ww)
{
	/* Chunk by chunk, whose slices are an array already. */
	const struct ww_table *t = ww_ranges_table(&ww->ranges);
	int tries = 3, r = 0;
	size_t i;

	for (i = 0; r == 0 && i < t->n; i++)
		do
			r = leave(ww, t->chunk[i]->slice, t->chunk[i]->n);
		while (r < 0 && --tries);
	if (r < 0)
		return r;
	ww_trackers_closing(ww, t);
	ww_ranges_publish(&ww->ranges, ww->ranges.spare_empty);
	for (i = 0; i < t->n; i++) {
		count(t->chunk[i]->slice, t->chunk[i]->n);
		detach(ww, t->chunk[i]->slice, t->chunk[i]->n, false);
	}
	ww_trackers_closing(ww, NULL);
	for (i = 0; i < t->n; i++)
		retire(ww, t->chunk[i]->slice, t->chunk[i]->n);
	return 0;
}

void ww_watch_forget(struct ww *ww, uintptr_t start, uintptr_t end)
{
	struct cut cut;

	if (make_cut(ww, start, end, &cut) < 0)
		return;
	ww_ranges_publish(&ww->ranges, cut.table);
	count(cut.slice, cut.n);
	retire(ww, cut.slice, cut.n);
	ww_heap_free(cut.slice, cut.bytes);
}

/* --- watching --- */

/* Stretches of memory to watch, each of one kind: each will be an area. */
struct stretches {
	struct ww_map *map;
	size_t n, room;
};

static int add_stretch(struct stretches *s, const struct ww_map *map,
		       const struct ww_backend *b)
{
	struct ww_map *last = s->n ? &s->map[s->n - 1] : NULL;
	struct ww_map *more;

	if (map->huge || !(b->kinds >> map->kind & 1))
		return -EOPNOTSUPP;
	if (last && last->kind == map->kind &&
	    (!b->one_prot_an_area || last->prot == map->prot)) {
		last->end = map->end;
		return 0;
	}
	more = ww_heap_grow(s->map, s->n, &s->room, s->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	s->map = more;
	s->map[s->n++] = *map;
	return 0;
}

/* What goes along the walk over the mappings. */
struct finding {
	const struct ww_backend *backend;
	struct stretches *s;
	uintptr_t at;	/* how far there was no hole */
	bool more_prot; /* some may have bits that only smaps tells */
};

static int find(void *arg, const struct ww_map *map)
{
	struct finding *f = arg;

	if (map->start != f->at)
		return -EFAULT;
	f->at = map->end;
	if (ww_arch_may_have_more_prot(map->prot))
		f->more_prot = true;
	return add_stretch(f->s, map, f->backend);
}

/* The mappings of [start, end), joined to stretches of one kind. */
static int find_stretches(struct ww *ww, uintptr_t start, uintptr_t end,
			  struct stretches *s)
{
	const struct ww_map anon = { .start = start,
				     .end = end,
				     .kind = WW_KIND_ANON };
	struct finding f = { ww->backend, s, start, false };
	int r;

	if (!ww->backend->one_prot_an_area &&
	    ww_maps_is_anon(&ww->maps, start, end))
		return add_stretch(s, &anon, ww->backend);
	r = ww_maps_each(&ww->maps, start, end, find, &f);
	/* A page that is closed and opened again must get all of its PROT_ bits
	 * back. Reading smaps takes long: the kernel looks at all pages of all
	 * mappings. */
	if (r == 0 && ww->backend->one_prot_an_area && f.more_prot) {
		s->n = 0;
		f.at = start;
		r = ww_maps_each_flag(start, end, find, &f);
	}
	return r == 0 && f.at < end ? -EFAULT : r;
}

static int attach(struct ww *ww, const struct ww_map *map, unsigned flags,
		  struct ww_slice *out)
{
	const struct ww_backend *b = ww->backend;
	bool other = ww_process_is_other(&ww->process);
	size_t npages = (map->end - map->start) / ww->page;
	struct ww_area *a;
	int r;

	if (!other && !ww_mapcount_may_split(b->open_runs))
		return -ENOMEM;
	flags &= b->modes;
	if (map->kind != WW_KIND_ANON) /* reclaim would lose their entries */
		flags &= ~(unsigned)WW_WATCH_HUGE_OK;
	r = ww_area_new(&a, map->start, map->end,
			b->state_bytes ? b->state_bytes(npages) : 0, flags);
	if (r < 0)
		return r;
	if (flags) /* all of them report more than was written */
		atomic_store(&a->caps_lost, WW_CAP_EXACT);
	a->kind = map->kind;
	a->prot = map->prot;
	a->watch = ww->watches;
	if (b->init_state)
		b->init_state(a);
	*out = (struct ww_slice){ a->start, a->end, a };
	if (b->plain_pages && !other)
		r = ww_advise_plain_pages(a->start, a->end,
					  flags & WW_WATCH_HUGE_OK);
	if (r == 0)
		r = b->attach(ww, out, a->kind);
	if (r < 0)
		ww_area_free(a);
	return r;
}

static void detach_all(struct ww *ww, const struct ww_slice *slice, size_t n)
{
	while (n--) {
		if (ww->backend->detach)
			ww->backend->detach(ww, &slice[n], true);
		ww_area_free(slice[n].area);
	}
}

/* The table with the slices. If arming them can fail, also the one without, as
 * undo->table: nothing that undoing needs can be missing then. */
static struct ww_table *make_tables(struct ww *ww, struct cut *undo)
{
	uintptr_t start = undo->slice[0].start;
	uintptr_t end = undo->slice[undo->n - 1].end;
	struct ww_table *t = ww_table_change(ww_ranges_table(&ww->ranges),
					     start, end, undo->slice, undo->n);

	if (!t || !ww->backend->arm)
		return t;
	undo->table = ww_table_change(t, start, end, NULL, 0);
	if (undo->table)
		return t;
	ww_ranges_discard(&ww->ranges, t);
	return NULL;
}

/* Publish the table, so that faults find the areas, and then arm them, which lets
 * stores fault. */
static int publish(struct ww *ww, struct ww_table *t, const struct cut *undo)
{
	size_t i;
	int r = 0;

	ww_ranges_publish(&ww->ranges, t);
	for (i = 0; undo->table && r == 0 && i < undo->n; i++)
		r = ww->backend->arm(ww, &undo->slice[i]);
	ww_ranges_clean(&ww->ranges);
	if (undo->table && (r == 0 || let_go(ww, undo, false) < 0))
		ww_ranges_discard(&ww->ranges, undo->table);
	return r;
}

static int attach_all(struct ww *ww, const struct stretches *s, unsigned flags,
		      struct cut *added)
{
	int r;

	for (; added->n < s->n; added->n++) {
		r = attach(ww, &s->map[added->n], flags,
			   &added->slice[added->n]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int watch(struct ww *ww, const struct stretches *s, unsigned flags)
{
	struct cut added = { .bytes = s->n * sizeof(struct ww_slice) };
	struct ww_table *t = NULL;
	int r;

	added.slice = ww_heap_new(added.bytes);
	if (!added.slice)
		return -ENOMEM;
	ww->watches++;
	r = attach_all(ww, s, flags, &added);
	if (r == 0) {
		t = make_tables(ww, &added);
		r = t ? publish(ww, t, &added) : -ENOMEM;
	}
	if (!t)
		detach_all(ww, added.slice, added.n);
	ww_heap_free(added.slice, added.bytes);
	return r;
}

int ww_watch_add(struct ww *ww, uintptr_t start, uintptr_t end, unsigned flags)
{
	const struct ww_slice all = { start, end, NULL };
	struct stretches s = { NULL, 0, 0 };
	/* Before looking: pages that another tracker closed would look as if
	 * the program had protected them. */
	int r = ww_trackers_claim(ww, &all, 1);

	if (r < 0)
		return r;
	r = find_stretches(ww, start, end, &s);
	if (r == 0)
		r = watch(ww, &s, flags);
	ww_trackers_claim_back(ww, NULL, 0);
	ww_heap_free(s.map, s.room * sizeof(*s.map));
	/* Unmapped by another thread meanwhile. */
	return r == -ENOENT ? -EFAULT : r;
}
