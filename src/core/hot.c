/* SPDX-License-Identifier: MIT */
/*
 * hot.c - pages that are written all the time.
 *
 * Called by collect.c, query.c and by the backends' collect(); calls nothing.
 * Invariant: a page that nobody writes any more is reported SAMPLE rounds
 * longer at most.
 */
#include "core/hot.h"

#define STREAK 8u  /* rounds in a row that make a page hot */
#define SAMPLE 16u /* once in so many rounds a hot page is closed, to see */
#define BLOCK 64u  /* pages that are sampled in the same round */

size_t ww_hot_bytes(size_t npages)
{
	return npages * sizeof(uint16_t);
}

void ww_hot_init(struct ww_hot *self, void *memory)
{
	self->word = memory;
}

void ww_hot_begin(struct ww_hot *self, uintptr_t start)
{
	/* It begins behind the start of the last query: the same round. */
	if (start > atomic_exchange(&self->from, start))
		return;
	atomic_fetch_add(&self->round, 1);
	atomic_store(&self->any, atomic_exchange(&self->hot, 0) > 0);
}

/* Count the page once for this round, then answer. */
bool ww_hot_keep(struct ww_hot *self, size_t page)
{
	unsigned round = atomic_load(&self->round);
	unsigned w =
		atomic_load_explicit(&self->word[page], memory_order_relaxed);
	unsigned last = w >> 8, streak = w & 0xff;

	if (last != (round & 0xff)) {
		if (last != ((round - 1) & 0xff))
			streak = 0;
		if (streak < 0xff)
			streak++;
		if (streak >= STREAK)
			atomic_fetch_add_explicit(&self->hot, 1,
						  memory_order_relaxed);
		atomic_store_explicit(&self->word[page],
				      (uint16_t)((round & 0xff) << 8 | streak),
				      memory_order_relaxed);
	}
	return streak >= STREAK && (page / BLOCK + round) % SAMPLE != 0;
}

size_t ww_hot_run(struct ww_hot *self, size_t page, size_t end, bool *keep)
{
	*keep = ww_hot_keep(self, page);
	for (page++; page < end && ww_hot_keep(self, page) == *keep; page++)
		;
	return page;
}
