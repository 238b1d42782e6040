/* SPDX-License-Identifier: MIT */
/*
 * range.c - which memory is watched: areas, and the table to look them up.
 *
 * Called by api.c, query.c, the backends and the SIGSEGV handler; calls
 * readers.c, bits.c and sys.c. Invariant: a table never changes once it is
 * published, and an area is freed only after a sync and with no pin on it.
 */
#include "core/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/sys.h"

#define SMALL ((size_t)512) /* bytes of an area */

static struct ww_table *table_new(size_t n)
{
	struct ww_table *t = malloc(sizeof(*t) + n * sizeof(struct ww_slice));

	if (t) {
		t->retired = NULL;
		t->n = 0;
	}
	return t;
}

int ww_ranges_init(struct ww_ranges *self)
{
	struct ww_table *t = table_new(0);

	*self = (struct ww_ranges){ .last = table_new(0) };
	if (!t || !self->last) {
		free(t);
		free(self->last);
		return -ENOMEM;
	}
	atomic_store(&self->table, t);
	return 0;
}

struct ww_table *ww_ranges_last(struct ww_ranges *self)
{
	struct ww_table *t = self->last;

	self->last = NULL;
	return t;
}

static void free_retired(struct ww_ranges *self)
{
	struct ww_table *t;

	while ((t = self->retired)) {
		self->retired = t->retired;
		free(t);
	}
}

void ww_ranges_finish(struct ww_ranges *self)
{
	free_retired(self);
	free(self->last);
	free(atomic_load(&self->table));
	atomic_store(&self->table, NULL);
}

const struct ww_table *ww_ranges_table(const struct ww_ranges *self)
{
	return atomic_load(&self->table);
}

size_t ww_table_find(const struct ww_table *t, uintptr_t at)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->slice[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool ww_ranges_cover(struct ww_ranges *self, uintptr_t start, uintptr_t end)
{
	struct ww_ticket ticket = ww_readers_enter(&self->readers);
	const struct ww_table *t = atomic_load(&self->table);
	size_t i = ww_table_find(t, start);

	while (start < end && i < t->n && t->slice[i].start <= start)
		start = t->slice[i++].end;
	ww_readers_leave(&self->readers, ticket);
	return start >= end;
}

uintptr_t ww_ranges_pin(struct ww_ranges *self, uintptr_t start, uintptr_t end,
			struct ww_pins *pins)
{
	struct ww_ticket ticket = ww_readers_enter(&self->readers);
	const struct ww_table *t = atomic_load(&self->table);
	size_t i = ww_table_find(t, start);
	uintptr_t next = end;

	for (pins->n = 0; i < t->n && t->slice[i].start < end; i++) {
		struct ww_slice s = t->slice[i];

		if (pins->n == WW_PIN_MAX) {
			next = s.start > start ? s.start : start;
			break;
		}
		if (s.start < start)
			s.start = start;
		if (s.end > end)
			s.end = end;
		pins->slice[pins->n] = s;
		pins->ticket[pins->n++] = ww_readers_enter(&s.area->users);
	}
	ww_readers_leave(&self->readers, ticket);
	return next;
}

bool ww_ranges_pin_one(struct ww_ranges *self, uintptr_t at,
		       struct ww_slice *out, struct ww_ticket *ticket)
{
	struct ww_ticket reading = ww_readers_enter(&self->readers);
	const struct ww_table *t = atomic_load(&self->table);
	size_t i = ww_table_find(t, at);
	bool found = i < t->n && t->slice[i].start <= at;

	if (found) {
		*out = t->slice[i];
		*ticket = ww_readers_enter(&out->area->users);
	}
	ww_readers_leave(&self->readers, reading);
	return found;
}

void ww_pins_drop(struct ww_pins *pins)
{
	while (pins->n) {
		pins->n--;
		ww_readers_leave(&pins->slice[pins->n].area->users,
				 pins->ticket[pins->n]);
	}
}

bool ww_ranges_find(struct ww_ranges *self, uintptr_t at, struct ww_slice *out,
		    unsigned *weaker, unsigned *lost)
{
	struct ww_ticket ticket = ww_readers_enter(&self->readers);
	const struct ww_table *t = atomic_load(&self->table);
	size_t i = ww_table_find(t, at);
	bool found = i < t->n && t->slice[i].start <= at;

	if (found) {
		unsigned watch = t->slice[i].area->watch;

		/* One ww_watch() may have made several areas. */
		while (i > 0 && t->slice[i - 1].area->watch == watch &&
		       t->slice[i - 1].end == t->slice[i].start)
			i--;
		*out = t->slice[i];
		*weaker = *lost = 0;
		for (; i < t->n && t->slice[i].area->watch == watch &&
		       (t->slice[i].start <= out->end);
		     i++) {
			out->end = t->slice[i].end;
			*weaker |= atomic_load(&t->slice[i].area->weaker);
			*lost += atomic_load(&t->slice[i].area->lost);
		}
	}
	ww_readers_leave(&self->readers, ticket);
	return found;
}

bool ww_ranges_overlap(const struct ww_ranges *self, uintptr_t start,
		       uintptr_t end)
{
	const struct ww_table *t = atomic_load(&self->table);
	size_t i = ww_table_find(t, start);

	return i < t->n && t->slice[i].start < end;
}

struct ww_table *ww_ranges_add(const struct ww_ranges *self,
			       const struct ww_slice *slice, size_t n)
{
	const struct ww_table *old = atomic_load(&self->table);
	size_t at = ww_table_find(old, slice[0].start);
	struct ww_table *t = table_new(old->n + n);

	if (!t)
		return NULL;
	memcpy(t->slice, old->slice, at * sizeof(*slice));
	memcpy(t->slice + at, slice, n * sizeof(*slice));
	memcpy(t->slice + at + n, old->slice + at,
	       (old->n - at) * sizeof(*slice));
	t->n = old->n + n;
	return t;
}

static void put(struct ww_table *t, struct ww_slice s, uintptr_t start,
		uintptr_t end)
{
	if (s.start < start)
		s.start = start;
	if (s.end > end)
		s.end = end;
	if (s.start < s.end)
		t->slice[t->n++] = s;
}

struct ww_table *ww_ranges_cut(const struct ww_ranges *self, uintptr_t start,
			       uintptr_t end)
{
	const struct ww_table *old = atomic_load(&self->table);
	struct ww_table *t = table_new(old->n + 1);
	size_t i;

	if (!t)
		return NULL;
	for (i = 0; i < old->n; i++) {
		put(t, old->slice[i], 0, start);
		put(t, old->slice[i], end, UINTPTR_MAX);
	}
	return t;
}

/* Readers may still be in the old table. A writer that must not wait for them
 * (they may have been suspended by a collector that now grows its heap) leaves
 * it to the next one, as does one that goes on with it. */
void ww_ranges_publish(struct ww_ranges *self, struct ww_table *t)
{
	struct ww_table *old = atomic_exchange(&self->table, t);

	if (ww_readers_idle(&self->readers))
		free_retired(self);
	old->retired = self->retired;
	self->retired = old;
}

bool ww_ranges_hold(const struct ww_ranges *self, const struct ww_area *area)
{
	const struct ww_table *t = atomic_load(&self->table);
	size_t i = ww_table_find(t, area->start);

	/* Newer areas may lie where parts of it were cut out. */
	while (i < t->n && t->slice[i].start < area->end &&
	       t->slice[i].area != area)
		i++;
	return i < t->n && t->slice[i].area == area;
}

void ww_ranges_sync(struct ww_ranges *self)
{
	ww_readers_wait(&self->readers);
}

static atomic_uint areas;

unsigned ww_areas(void)
{
	return atomic_load(&areas);
}

int ww_area_new(struct ww_area **out, uintptr_t start, uintptr_t end,
		size_t state_bytes)
{
	size_t page = ww_sys_page_size();
	size_t npages = (end - start) / page;
	size_t head = (sizeof(struct ww_area) + 63) / 64 * 64;
	size_t bits = (ww_bits_bytes(npages) + 63) / 64 * 64;
	size_t bytes = head + bits + state_bytes, shift = 0;
	struct ww_area *a;
	char *memory;
	void *mapped;
	int r;

	/* Not malloc()ed: that memory may be watched, and this is written to
	 * in the SIGSEGV handler. Small ones begin at different offsets, not to
	 * fight for the same lines of the cache. */
	if (bytes <= SMALL)
		shift = atomic_load(&areas) % (page / SMALL) * SMALL;
	r = ww_sys_mmap(shift + bytes, &mapped);
	if (r < 0)
		return r;
	memory = (char *)mapped + shift;
	a = (struct ww_area *)memory;
	a->start = start;
	a->end = end;
	a->page_shift = (unsigned)__builtin_ctzl(page);
	a->mapped = mapped;
	a->mapped_len = shift + bytes;
	ww_bits_init(&a->pending, memory + head, npages);
	a->state = memory + head + bits;
	*out = a;
	atomic_fetch_add(&areas, 1);
	return 0;
}

void ww_area_free(struct ww_area *area)
{
	atomic_fetch_sub(&areas, 1);
	ww_sys_munmap(area->mapped, area->mapped_len);
}

void ww_area_mark(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_bits_set(&a->pending, ww_area_page(a, start), ww_area_page(a, end));
}

void ww_area_forget(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	size_t first = ww_area_page(a, start), stop = ww_area_page(a, end);

	if (!ww_bits_quiet(&a->pending, first, stop))
		ww_bits_clear(&a->pending, first, stop);
}

void ww_area_note_lost(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	ww_area_mark(a, start, end);
	atomic_fetch_add(&a->lost, 1);
}

void ww_area_note_mixed(struct ww_area *a, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	atomic_store(&a->mixed, true);
}

void ww_ranges_mark(struct ww_ranges *self, uintptr_t start, uintptr_t end)
{
	struct ww_pins pins;

	while (start < end) {
		unsigned i;

		start = ww_ranges_pin(self, start, end, &pins);
		for (i = 0; i < pins.n; i++)
			ww_area_mark(pins.slice[i].area, pins.slice[i].start,
				     pins.slice[i].end);
		ww_pins_drop(&pins);
	}
}
