/* SPDX-License-Identifier: MIT */
/*
 * protect.c - the program's changes to memory, some of which is watched.
 *
 * Called by api.c with the tracker's lock held; calls the backend's protect()
 * and discard(). Invariant: a change that can not be made wholly is not made.
 */
#include "core/protect.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/heap.h"
#include "core/collect.h"
#include "kernel/advice.h"
#include "kernel/arch.h"
#include "kernel/sys.h"

bool ww_prot_is_known(int prot)
{
	int known = PROT_READ | PROT_WRITE | PROT_EXEC;

	if (ww_arch_may_have_more_prot(PROT_EXEC))
		known |= PROT_BTI | PROT_MTE;
	return !(prot & ~known);
}

/* --- the protection before, to be put back on failure --- */

struct run {
	uintptr_t start, end;
	int prot;
};

struct before {
	struct ww *ww;
	struct run *run;
	size_t n, room;
};

static int add(struct before *b, uintptr_t start, uintptr_t end, int prot)
{
	struct run *run =
		ww_heap_grow(b->run, b->n, &b->room, b->n + 1, sizeof(*run));

	if (!run)
		return -ENOMEM;
	b->run = run;
	b->run[b->n++] = (struct run){ start, end, prot };
	return 0;
}

/* What the program wants of a slice, as the backend knows it. */
static int remember_slice(struct before *b, const struct ww_slice *s,
			  uintptr_t start, uintptr_t end)
{
	int r = 0;

	while (r == 0 && start < end) {
		uintptr_t to = end;
		int prot = b->ww->backend->wanted(s->area, start, &to);

		r = add(b, start, to, prot);
		start = to;
	}
	return r;
}

/* Remember the protection that the program wants of one mapping. Of what is
 * watched the backend is asked, which may have closed pages; of the rest the
 * kernel knows. */
static int remember(void *arg, const struct ww_map *map)
{
	struct before *b = arg;
	struct ww_cursor c =
		ww_table_seek(ww_ranges_table(&b->ww->ranges), map->start);
	uintptr_t start = map->start;
	int r = 0;

	while (r == 0 && start < map->end) {
		const struct ww_slice *s =
			b->ww->backend->wanted ? ww_cursor_slice(&c) : NULL;
		uintptr_t to = map->end;

		if (s && s->start <= start) {
			to = s->end < to ? s->end : to;
			r = remember_slice(b, s, start, to);
			ww_cursor_next(&c);
		} else {
			if (s && s->start < to)
				to = s->start;
			r = add(b, start, to, map->prot);
		}
		start = to;
	}
	return r;
}

/* Can the protection of a part change, and that of the rest fail to? One
 * mapping changes wholly or not at all; of several the first may have changed
 * when the last can not. Where mappings can only be read as text, which is
 * slow, anonymous memory is taken to change wholly. */
static bool may_change_partly(struct ww *ww, uintptr_t start, uintptr_t end)
{
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), start);
	const struct ww_slice *s;

	if (!ww->maps.text)
		return true;
	for (; start < end && (s = ww_cursor_slice(&c)) && s->start <= start &&
	       s->area->kind == WW_KIND_ANON;
	     ww_cursor_next(&c))
		start = s->end;
	return start < end;
}

/* Protect a part: watched, or not (a is NULL). */
static int protect_part(struct ww *ww, uintptr_t start, uintptr_t end,
			struct ww_area *a, int prot)
{
	struct ww_slice s = { start, end, a };

	if (a && ww->backend->protect)
		return ww->backend->protect(ww, &s, prot);
	return ww_sys_mprotect(start, end - start, prot);
}

/* Call protect_part() for what is watched and for what is not, in turn, up to
 * the end or a failure, which goes to *result. */
static void protect_parts(struct ww *ww, uintptr_t start, uintptr_t end,
			  int prot, int *result)
{
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), start);

	while (start < end) {
		const struct ww_slice *s = ww_cursor_slice(&c);
		uintptr_t to = end;
		struct ww_area *a = NULL;

		if (s && s->start <= start) {
			a = s->area;
			to = s->end < end ? s->end : end;
			ww_cursor_next(&c);
		} else if (s && s->start < end) {
			to = s->start;
		}
		*result = protect_part(ww, start, to, a, prot);
		if (*result < 0)
			break;
		start = to;
	}
}

static void put_back(struct ww *ww, const struct before *b)
{
	size_t i;
	int r;

	for (i = 0; i < b->n; i++)
		protect_parts(ww, b->run[i].start, b->run[i].end,
			      b->run[i].prot, &r);
}

int ww_protect_range(struct ww *ww, uintptr_t start, uintptr_t end, int prot)
{
	struct before b = { .ww = ww };
	int r = 0;

	/* mprotect(2) says ENOMEM for a hole, and for want of mappings */
	if (ww_sys_has_hole(start, end - start))
		return -EFAULT;
	if (may_change_partly(ww, start, end))
		r = ww_maps_each(&ww->maps, start, end, remember, &b);
	if (r == -ENOSYS || r == -EPERM) /* no /proc: nothing to put back */
		r = 0;
	if (r == 0) {
		protect_parts(ww, start, end, prot, &r);
		if (r < 0)
			put_back(ww, &b);
	}
	ww_heap_free(b.run, b.room * sizeof(*b.run));
	return r;
}

/* --- dropping --- */

/* Private memory only, and none of it locked. Asked before the first page is
 * dropped, because that can not be undone. */
static bool may_be_dropped(struct ww *ww, uintptr_t start, uintptr_t end)
{
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), start);
	const struct ww_slice *s;

	for (; (s = ww_cursor_slice(&c)) && s->start < end;
	     ww_cursor_next(&c)) {
		struct ww_slice part = ww_slice_part(s, start, end);

		if (s->area->kind == WW_KIND_SHARED ||
		    atomic_load(&s->area->mixed) ||
		    ww_sys_has_locked(part.start, part.end - part.start))
			return false;
	}
	return true;
}

static int try_discard(struct ww *ww, const struct ww_slice *s)
{
	struct ww_span span = { s, 1, s->area->kind };
	int r;

	ww_area_forget(s->area, s->start, s->end);
	if (ww->backend->discard)
		return ww->backend->discard(ww, s);
	r = ww->backend->rearm(ww, &span);
	if (r == 0 && atomic_load(&s->area->mixed))
		r = -EOPNOTSUPP; /* memory of another kind was put there */
	return r < 0 ? r : ww_advise_drop(s->start, s->end);
}

struct dropping {
	struct ww *ww;
	const struct ww_slice *slice;
};

static int discard_map(void *arg, const struct ww_map *map)
{
	const struct dropping *d = arg;
	struct ww_slice part = ww_slice_part(d->slice, map->start, map->end);

	return try_discard(d->ww, &part);
}

static int discard(struct ww *ww, const struct ww_slice *s)
{
	struct dropping d = { ww, s };
	int r = try_discard(ww, s);

	/* Memory that was replaced, and that no query has noticed yet: a reset
	 * arms it anew. Or a hole, over which uffd-sync can not arm on 6.1:
	 * so mapping by mapping. */
	if (r == -EPERM && ww_collect_nothing(ww, s->start, s->end) == 0)
		r = ww_maps_each(&ww->maps, s->start, s->end, discard_map, &d);
	return r;
}

int ww_discard_range(struct ww *ww, uintptr_t start, uintptr_t end)
{
	struct ww_cursor c = ww_table_seek(ww_ranges_table(&ww->ranges), start);
	const struct ww_slice *at;
	int r = 0;

	if (!may_be_dropped(ww, start, end))
		return -EOPNOTSUPP;
	for (; r == 0 && (at = ww_cursor_slice(&c)) && at->start < end;
	     ww_cursor_next(&c)) {
		struct ww_slice s = ww_slice_part(at, start, end);

		r = discard(ww, &s);
	}
	/* Some is dropped, and what was dirty is not known any more. */
	if (r < 0)
		ww_ranges_mark(&ww->ranges, start, end);
	return r;
}
