/* SPDX-License-Identifier: MIT */
/*
 * range.c - which memory is watched: the table of slices.
 *
 * Called by api.c, collect.c, watch.c, the backends and the SIGSEGV handler;
 * calls area.c and base. Invariant: a table and its chunks never change once
 * published; an area is freed only when no table in use has it and no pin is on
 * it.
 */
#include "core/range.h"

#include <errno.h>
#include <string.h>

#include "base/heap.h"

/* --- tables --- */

static size_t table_bytes(size_t nchunks)
{
	return sizeof(struct ww_table) + nchunks * sizeof(struct ww_chunk *);
}

static size_t chunk_bytes(unsigned n)
{
	return sizeof(struct ww_chunk) + n * sizeof(struct ww_slice);
}

static struct ww_table *table_new(size_t nchunks)
{
	struct ww_table *t = ww_heap_new(table_bytes(nchunks));

	if (t)
		t->bytes = table_bytes(nchunks);
	return t;
}

int ww_ranges_init(struct ww_ranges *self)
{
	struct ww_table *t = table_new(0), *spare = table_new(0);

	if (!t || !spare) {
		ww_heap_free(t, table_bytes(0));
		ww_heap_free(spare, table_bytes(0));
		return -ENOMEM;
	}
	self->spare_empty = spare;
	atomic_store(&self->table, t);
	return 0;
}

static void free_tables(struct ww_ranges *self)
{
	struct ww_table *t;
	struct ww_chunk *c;

	while ((t = self->old_tables)) {
		self->old_tables = t->retired;
		ww_heap_free(t, t->bytes);
	}
	while ((c = self->old_chunks)) {
		self->old_chunks = c->retired;
		ww_heap_free(c, chunk_bytes(c->n));
	}
}

void ww_ranges_finish(struct ww_ranges *self)
{
	struct ww_table *t = atomic_load(&self->table);
	struct ww_area *a;

	free_tables(self);
	while ((a = self->old_areas)) {
		self->old_areas = a->retired;
		ww_area_free(a);
	}
	if (self->spare_empty)
		ww_heap_free(self->spare_empty, self->spare_empty->bytes);
	if (t)
		ww_heap_free(t, t->bytes);
	atomic_store(&self->table, NULL);
}

const struct ww_table *ww_ranges_table(const struct ww_ranges *self)
{
	return atomic_load(&self->table);
}

static uintptr_t chunk_end(const struct ww_chunk *c)
{
	return c->slice[c->n - 1].end;
}

WW_OFTEN struct ww_cursor ww_table_seek(const struct ww_table *t, uintptr_t at)
{
	struct ww_cursor c = { t, 0, 0 };
	size_t hi = t->n;
	unsigned last;

	while (c.chunk < hi) {
		size_t mid = c.chunk + (hi - c.chunk) / 2;

		if (chunk_end(t->chunk[mid]) <= at)
			c.chunk = mid + 1;
		else
			hi = mid;
	}
	last = c.chunk < t->n ? t->chunk[c.chunk]->n : 0;
	while (c.i < last) {
		unsigned mid = c.i + (last - c.i) / 2;

		if (t->chunk[c.chunk]->slice[mid].end <= at)
			c.i = mid + 1;
		else
			last = mid;
	}
	return c;
}

const struct ww_slice *ww_cursor_slice(const struct ww_cursor *c)
{
	if (c->chunk >= c->table->n)
		return NULL;
	return &c->table->chunk[c->chunk]->slice[c->i];
}

void ww_cursor_next(struct ww_cursor *c)
{
	if (++c->i == c->table->chunk[c->chunk]->n) {
		c->chunk++;
		c->i = 0;
	}
}

/* One slice back; false at the first. */
static bool cursor_back(struct ww_cursor *c)
{
	if (c->i == 0) {
		if (c->chunk == 0)
			return false;
		c->chunk--;
		c->i = c->table->chunk[c->chunk]->n;
	}
	c->i--;
	return true;
}

bool ww_table_meets(const struct ww_table *t, uintptr_t start, uintptr_t end)
{
	struct ww_cursor c = ww_table_seek(t, start);
	const struct ww_slice *s = ww_cursor_slice(&c);

	return s && s->start < end;
}

/* --- readers --- */

/* Do the slices from a cursor on cover [start, end)? */
WW_OFTEN static bool cover(struct ww_cursor c, uintptr_t start, uintptr_t end)
{
	const struct ww_slice *s;

	while (start < end && (s = ww_cursor_slice(&c)) && s->start <= start) {
		start = s->end;
		ww_cursor_next(&c);
	}
	return start >= end;
}

bool ww_ranges_cover(struct ww_ranges *self, uintptr_t start, uintptr_t end)
{
	struct ww_ticket ticket = ww_readers_enter(&self->readers);
	bool all = cover(ww_table_seek(atomic_load(&self->table), start), start,
			 end);

	ww_readers_leave(&self->readers, ticket);
	return all;
}

WW_OFTEN static uintptr_t pin(struct ww_cursor c, uintptr_t start,
			      uintptr_t end, struct ww_pins *pins)
{
	const struct ww_slice *at;

	for (; (at = ww_cursor_slice(&c)) && at->start < end;
	     ww_cursor_next(&c)) {
		struct ww_slice s = ww_slice_part(at, start, end);

		if (pins->n == WW_PIN_MAX)
			return s.start;
		pins->slice[pins->n] = s;
		pins->ticket[pins->n++] = ww_readers_enter(&s.area->users);
	}
	return end;
}

WW_OFTEN uintptr_t ww_ranges_pin(struct ww_ranges *self, uintptr_t start,
				 uintptr_t end, bool all, struct ww_pins *pins)
{
	struct ww_ticket ticket = ww_readers_enter(&self->readers);
	struct ww_cursor c = ww_table_seek(atomic_load(&self->table), start);
	uintptr_t next = 0;

	pins->n = 0;
	if (!all || cover(c, start, end))
		next = pin(c, start, end, pins);
	ww_readers_leave(&self->readers, ticket);
	return next;
}

WW_OFTEN void ww_pins_drop(struct ww_pins *pins)
{
	while (pins->n) {
		pins->n--;
		ww_readers_leave(&pins->slice[pins->n].area->users,
				 pins->ticket[pins->n]);
	}
}

WW_OFTEN bool ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
				struct ww_slice *out, struct ww_ticket *ticket)
{
	struct ww_ticket reading = ww_readers_enter(&self->readers);
	struct ww_cursor c = ww_table_seek(atomic_load(&self->table), at);
	const struct ww_slice *s = ww_cursor_slice(&c);
	bool found = s && s->start <= at;

	if (found) {
		*out = *s;
		*ticket = ww_readers_enter(&out->area->users);
	}
	ww_readers_leave(&self->readers, reading);
	return found;
}

bool ww_ranges_next_still(struct ww_ranges *self, const struct ww_slice *s,
			  uintptr_t at, struct ww_slice *part)
{
	struct ww_ticket reading = ww_readers_enter(&self->readers);
	struct ww_cursor c = ww_table_seek(atomic_load(&self->table), at);
	const struct ww_slice *now = ww_cursor_slice(&c);

	while (now && now->start < s->end && now->area != s->area) {
		ww_cursor_next(&c);
		now = ww_cursor_slice(&c);
	}
	*part = (struct ww_slice){ s->end, s->end, s->area };
	if (now && now->start < s->end)
		*part = ww_slice_part(now, at, s->end);
	ww_readers_leave(&self->readers, reading);
	return part->start < part->end;
}

WW_OFTEN bool ww_ranges_around(struct ww_ranges *self,
			       const struct ww_area *area, uintptr_t at,
			       struct ww_slice *out)
{
	struct ww_ticket reading = ww_readers_enter(&self->readers);
	struct ww_cursor c = ww_table_seek(atomic_load(&self->table), at);
	const struct ww_slice *s = ww_cursor_slice(&c);
	bool found = s && s->area == area && s->start <= at;

	if (found)
		*out = *s;
	ww_readers_leave(&self->readers, reading);
	return found;
}

bool ww_ranges_next(struct ww_ranges *self, uintptr_t at, struct ww_slice *out,
		    unsigned *caps_lost, unsigned *lost)
{
	struct ww_ticket ticket = ww_readers_enter(&self->readers);
	struct ww_cursor c = ww_table_seek(atomic_load(&self->table), at);
	const struct ww_slice *s = ww_cursor_slice(&c);
	bool found = s;

	if (found) {
		struct ww_cursor back = c;

		*out = *s;
		/* One ww_watch() may have made several areas. */
		while (cursor_back(&back)) {
			s = ww_cursor_slice(&back);
			if (s->area->watch != out->area->watch ||
			    s->end != out->start)
				break;
			out->start = s->start;
			c = back;
		}
		*caps_lost = *lost = 0;
		out->end = out->start;
		for (; (s = ww_cursor_slice(&c)) && s->start == out->end &&
		       s->area->watch == out->area->watch;
		     ww_cursor_next(&c)) {
			out->end = s->end;
			*caps_lost |= atomic_load(&s->area->caps_lost);
			*lost += atomic_load(&s->area->lost);
		}
	}
	ww_readers_leave(&self->readers, ticket);
	return found;
}

static void each_area(struct ww_ranges *self, uintptr_t start, uintptr_t end,
		      void (*fn)(struct ww_area *a, uintptr_t start,
				 uintptr_t end))
{
	struct ww_pins pins;

	while (start < end) {
		unsigned i;

		start = ww_ranges_pin(self, start, end, false, &pins);
		for (i = 0; i < pins.n; i++)
			fn(pins.slice[i].area, pins.slice[i].start,
			   pins.slice[i].end);
		ww_pins_drop(&pins);
	}
}

void ww_ranges_mark(struct ww_ranges *self, uintptr_t start, uintptr_t end)
{
	each_area(self, start, end, ww_area_mark);
}

void ww_ranges_note_lost(struct ww_ranges *self, uintptr_t start, uintptr_t end)
{
	each_area(self, start, end, ww_area_note_lost);
}

/* --- writers --- */

/* Slices on their way into a table, chunk by chunk. */
struct filling {
	struct ww_table *table;
	struct ww_slice slice[WW_CHUNK_SLICES];
	unsigned n;
	bool failed;
};

static void flush(struct filling *f, unsigned n)
{
	struct ww_chunk *c;

	if (n == 0 || f->failed)
		return;
	c = ww_heap_new(chunk_bytes(n));
	if (!c) {
		f->failed = true;
		return;
	}
	c->n = n;
	memcpy(c->slice, f->slice, n * sizeof(f->slice[0]));
	f->table->chunk[f->table->n++] = c;
	f->n -= n;
	memmove(f->slice, f->slice + n, f->n * sizeof(f->slice[0]));
}

static void fill(struct filling *f, struct ww_slice s)
{
	if (s.start >= s.end || f->failed)
		return;
	/* Make a chunk of one half only: a full chunk would be split by the
	 * next change. */
	if (f->n == WW_CHUNK_SLICES)
		flush(f, WW_CHUNK_SLICES / 2);
	if (!f->failed)
		f->slice[f->n++] = s;
}

static struct ww_slice below(struct ww_slice s, uintptr_t end)
{
	s.end = s.end < end ? s.end : end;
	return s;
}

static struct ww_slice above(struct ww_slice s, uintptr_t start)
{
	s.start = s.start > start ? s.start : start;
	return s;
}

/* The chunks that a change of [start, end) touches: [*first, *stop). The chunk
 * in front of them is taken in if it is small, so that the list does not grow
 * for ever. */
static void touched(const struct ww_table *t, uintptr_t start, uintptr_t end,
		    size_t *first, size_t *stop)
{
	struct ww_cursor from = ww_table_seek(t, start);
	struct ww_cursor to = ww_table_seek(t, end);

	*first = from.chunk;
	*stop = to.chunk < t->n ? to.chunk + 1 : t->n;
	if (*first > 0 && t->chunk[*first - 1]->n < WW_CHUNK_SLICES / 4)
		--*first;
	else if (*first == t->n && *first > 0)
		--*first; /* behind the last slice: the last chunk goes on */
}

struct ww_table *ww_table_change(const struct ww_table *old, uintptr_t start,
				 uintptr_t end, const struct ww_slice *slice,
				 size_t n)
{
	struct filling f = { .failed = false };
	size_t first, stop, slices = n + 1, i;
	struct ww_cursor c;

	touched(old, start, end, &first, &stop);
	for (i = first; i < stop; i++)
		slices += old->chunk[i]->n;
	f.table = table_new(old->n - (stop - first) +
			    slices / (WW_CHUNK_SLICES / 2) + 1);
	if (!f.table)
		return NULL;
	f.table->n = first;
	memcpy(f.table->chunk, old->chunk, first * sizeof(old->chunk[0]));
	c = (struct ww_cursor){ old, first, 0 };
	for (; c.chunk < stop && ww_cursor_slice(&c)->start < start;
	     ww_cursor_next(&c))
		fill(&f, below(*ww_cursor_slice(&c), start));
	for (i = 0; i < n; i++)
		fill(&f, slice[i]);
	/* the slice that [start, end) was cut out of ends behind it */
	if (c.chunk > first || c.i > 0)
		cursor_back(&c);
	for (; c.chunk < stop; ww_cursor_next(&c))
		fill(&f, above(*ww_cursor_slice(&c), end));
	flush(&f, f.n);
	if (f.failed) {
		while (f.table->n > first) {
			struct ww_chunk *chunk = f.table->chunk[--f.table->n];

			ww_heap_free(chunk, chunk_bytes(chunk->n));
		}
		ww_heap_free(f.table, f.table->bytes);
		return NULL;
	}
	memcpy(f.table->chunk + f.table->n, old->chunk + stop,
	       (old->n - stop) * sizeof(old->chunk[0]));
	f.table->n += old->n - stop;
	return f.table;
}

/* Put the chunks of a table that another one has not on a list. One was made of
 * the other: they differ in one stretch. */
static void drop_chunks(struct ww_table *t, const struct ww_table *other,
			struct ww_chunk **list)
{
	size_t first = 0, stop = t->n, other_stop = other->n;

	while (first < stop && first < other_stop &&
	       t->chunk[first] == other->chunk[first])
		first++;
	while (stop > first && other_stop > first &&
	       t->chunk[stop - 1] == other->chunk[other_stop - 1]) {
		stop--;
		other_stop--;
	}
	for (; first < stop; first++) {
		t->chunk[first]->retired = *list;
		*list = t->chunk[first];
	}
}

void ww_ranges_discard(struct ww_ranges *self, struct ww_table *t)
{
	struct ww_chunk *list = NULL, *c;

	if (t == self->spare_empty)
		return;
	drop_chunks(t, atomic_load(&self->table), &list);
	while ((c = list)) {
		list = c->retired;
		ww_heap_free(c, chunk_bytes(c->n));
	}
	ww_heap_free(t, t->bytes);
}

WW_DATA static atomic_uint published;

WW_OFTEN unsigned ww_ranges_published(void)
{
	return atomic_load(&published);
}

void ww_ranges_publish(struct ww_ranges *self, struct ww_table *t)
{
	struct ww_table *old = atomic_exchange(&self->table, t);

	atomic_fetch_add(&published, 1);
	if (t == self->spare_empty)
		self->spare_empty = NULL;
	drop_chunks(old, t, &self->old_chunks);
	old->retired = self->old_tables;
	self->old_tables = old;
}

void ww_ranges_retire(struct ww_ranges *self, struct ww_area *area)
{
	area->retired = self->old_areas;
	self->old_areas = area;
}

void ww_ranges_clean(struct ww_ranges *self)
{
	struct ww_area **link = &self->old_areas, *a;

	/* A reader that enters from now on sees the table that is published. */
	if (!ww_readers_idle(&self->readers))
		return;
	free_tables(self);
	while ((a = *link)) {
		if (!ww_readers_idle(&a->users) ||
		    !ww_readers_idle(&a->changers)) {
			link = &a->retired;
			continue;
		}
		*link = a->retired;
		ww_area_free(a);
	}
}
