/* SPDX-License-Identifier: MIT */
/*
 * sorted.c - entries that ascend by address.
 *
 * Called by win32; calls heap.c. Invariant: entries ascend within a block, and
 * blocks among themselves.
 */
#include "base/sorted.h"

#include <string.h>

#include "base/heap.h"

#define BLOCK 4096 /* bytes of entries, at most */

/* Entries of a block. */
static size_t most(const struct ww_sorted *self)
{
	return BLOCK / self->bytes;
}

static char *entry_at(const struct ww_sorted *self,
		      const struct ww_sorted_block *b, size_t i)
{
	return b->entry + i * self->bytes;
}

static uintptr_t address_at(const struct ww_sorted *self,
			    const struct ww_sorted_block *b, size_t i)
{
	return *(const uintptr_t *)(const void *)entry_at(self, b, i);
}

/* How many blocks begin at or below an address. */
static size_t blocks_below(const struct ww_sorted *self, uintptr_t at)
{
	size_t lo = 0, hi = self->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (address_at(self, &self->block[mid], 0) <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* How many entries of a block are at or below an address. */
static size_t entries_below(const struct ww_sorted *self,
			    const struct ww_sorted_block *b, uintptr_t at)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (address_at(self, b, mid) <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void *ww_sorted_below(const struct ww_sorted *self, uintptr_t at)
{
	size_t i = blocks_below(self, at);
	const struct ww_sorted_block *b;

	if (!i)
		return NULL;
	b = &self->block[i - 1];
	return entry_at(self, b, entries_below(self, b, at) - 1);
}

void *ww_sorted_above(const struct ww_sorted *self, uintptr_t at)
{
	size_t i = blocks_below(self, at), k;

	if (i) {
		const struct ww_sorted_block *b = &self->block[i - 1];

		k = entries_below(self, b, at);
		if (k < b->n)
			return entry_at(self, b, k);
	}
	return i < self->n ? self->block[i].entry : NULL;
}

/* A block without entries, in front of block i. */
static bool new_block(struct ww_sorted *self, size_t i)
{
	struct ww_sorted_block *all = ww_heap_grow(
		self->block, self->n, &self->room, self->n + 1, sizeof(*all));
	struct ww_sorted_block fresh = { NULL, 0, 0 };

	if (!all)
		return false;
	self->block = all;
	fresh.entry = ww_heap_grow(NULL, 0, &fresh.room,
				   self->n ? most(self) / 2 : 1, self->bytes);
	if (!fresh.entry)
		return false;
	memmove(&all[i + 1], &all[i], (self->n - i) * sizeof(*all));
	all[i] = fresh;
	self->n++;
	return true;
}

static void drop_block(struct ww_sorted *self, size_t i)
{
	struct ww_sorted_block *b = &self->block[i];

	ww_heap_free(b->entry, b->room * self->bytes);
	self->n--;
	memmove(b, b + 1, (self->n - i) * sizeof(*b));
}

/* The upper half of a full block goes into one of its own. */
static bool split(struct ww_sorted *self, size_t i)
{
	struct ww_sorted_block *b, *upper;

	if (!new_block(self, i + 1))
		return false;
	b = &self->block[i];
	upper = b + 1;
	upper->n = b->n / 2;
	b->n -= upper->n;
	memcpy(upper->entry, entry_at(self, b, b->n), upper->n * self->bytes);
	return true;
}

void *ww_sorted_add(struct ww_sorted *self, uintptr_t at)
{
	size_t i = blocks_below(self, at), k;
	struct ww_sorted_block *b;
	char *entry;

	if (!self->n && !new_block(self, 0))
		return NULL;
	i = i ? i - 1 : 0;
	if (self->block[i].n >= most(self)) {
		if (!split(self, i))
			return NULL;
		i += address_at(self, &self->block[i + 1], 0) <= at;
	}
	b = &self->block[i];
	entry = ww_heap_grow(b->entry, b->n, &b->room, b->n + 1, self->bytes);
	if (!entry)
		return NULL;
	b->entry = entry;
	k = entries_below(self, b, at);
	entry = entry_at(self, b, k);
	memmove(entry + self->bytes, entry, (b->n - k) * self->bytes);
	b->n++;
	memset(entry, 0, self->bytes);
	memcpy(entry, &at, sizeof(at));
	return entry;
}

/* Block i and the next become one, if that is small and there is memory. So there are
 * not many small ones. */
static void join(struct ww_sorted *self, size_t i)
{
	struct ww_sorted_block *b, *next;
	char *entry;

	if (i + 1 >= self->n)
		return;
	b = &self->block[i];
	next = b + 1;
	if (b->n + next->n > most(self) / 2)
		return;
	entry = ww_heap_grow(b->entry, b->n, &b->room, b->n + next->n,
			     self->bytes);
	if (!entry)
		return;
	b->entry = entry;
	memcpy(entry_at(self, b, b->n), next->entry, next->n * self->bytes);
	b->n += next->n;
	drop_block(self, i + 1);
}

void ww_sorted_remove(struct ww_sorted *self, uintptr_t at)
{
	size_t i = blocks_below(self, at) - 1, k;
	struct ww_sorted_block *b = &self->block[i];
	char *entry;

	k = entries_below(self, b, at) - 1;
	entry = entry_at(self, b, k);
	b->n--;
	memmove(entry, entry + self->bytes, (b->n - k) * self->bytes);
	if (!b->n) {
		drop_block(self, i);
		return;
	}
	join(self, i);
	if (i)
		join(self, i - 1);
}

void ww_sorted_clear(struct ww_sorted *self)
{
	while (self->n)
		drop_block(self, self->n - 1);
	ww_heap_free(self->block, self->room * sizeof(*self->block));
	self->block = NULL;
	self->room = 0;
}
