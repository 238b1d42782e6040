/* SPDX-License-Identifier: MIT */
/*
 * prots.c - the protection that the program wants for each page of an area.
 *
 * Called by the backends that close pages themselves, and from the SIGSEGV
 * handler; calls bits.c and sys.c. Invariant: a page whose word differs from
 * the area's protection has its bit in `changed`.
 */
#include "backends/prots.h"

#include <errno.h>
#include <sys/mman.h>

#include "kernel/arch.h"
#include "kernel/sys.h"

size_t ww_prots_bytes(size_t npages)
{
	return ww_bits_bytes(npages) + npages * sizeof(uint32_t);
}

void ww_prots_init(struct ww_prots *self, void *memory, size_t npages)
{
	ww_bits_init(&self->changed, memory, npages);
	self->word = (void *)((char *)memory + ww_bits_bytes(npages));
}

/* PROT_ bits of a word: read, write and execute keep their places. */
static int unpack(uint32_t w)
{
	unsigned bits = (w & WW_PROTS_MASK) >> WW_PROTS_SHIFT;

	return (int)(bits & 7) | (bits & 8 ? PROT_BTI : 0) |
	       (bits & 16 ? PROT_MTE : 0);
}

static uint32_t pack(int prot)
{
	return (((unsigned)prot & 7) | (prot & PROT_BTI ? 8u : 0) |
		(prot & PROT_MTE ? 16u : 0))
	       << WW_PROTS_SHIFT;
}

int ww_prots_way_back(int prot)
{
	size_t len = ww_sys_page_size();
	void *page;
	int r;

	/* Only what is writable and executable at once may be refused. */
	if (!(prot & PROT_WRITE) || !(prot & PROT_EXEC))
		return 0;
	r = ww_sys_mmap_prot(len, ww_prots_closed(prot), &page);
	if (r < 0)
		return r;
	r = ww_sys_mprotect((uintptr_t)page, len, prot);
	ww_sys_munmap(page, len);
	return r < 0 ? -EPERM : 0;
}

WW_OFTEN int ww_prots_at(const struct ww_prots *self, const struct ww_area *a,
			 size_t page)
{
	return a->prot ^ unpack(atomic_load(&self->word[page]));
}

WW_OFTEN size_t ww_prots_same(struct ww_prots *self, const struct ww_area *a,
			      size_t page, size_t end)
{
	int prot = ww_prots_at(self, a, page);
	size_t run, run_end;

	if (prot == a->prot && !ww_bits_test(&self->changed, page)) {
		if (!ww_bits_next(&self->changed, page, end, 1, false, &run,
				  &run_end))
			return end;
		return run;
	}
	while (++page < end && ww_prots_at(self, a, page) == prot)
		;
	return page;
}

int ww_prots_wanted(struct ww_prots *self, const struct ww_area *a,
		    uintptr_t at, uintptr_t *end)
{
	size_t page = ww_area_page(a, at);

	*end = ww_area_at(a,
			  ww_prots_same(self, a, page, ww_area_page(a, *end)));
	return ww_prots_at(self, a, page);
}

static void set_run(struct ww_prots *self, size_t first, size_t end,
		    uint32_t diff)
{
	for (; first < end; first++) {
		uint32_t w = atomic_load(&self->word[first]);

		while (!atomic_compare_exchange_weak(
			&self->word[first], &w, (w & ~WW_PROTS_MASK) | diff))
			;
	}
}

void ww_prots_set(struct ww_prots *self, const struct ww_area *a, size_t first,
		  size_t end, int prot)
{
	uint32_t diff = pack(a->prot ^ prot);
	size_t at, stop;

	if (diff)
		ww_bits_set(&self->changed, first, end);
	for (at = first; at < end; at = stop) {
		stop = ww_prots_same(self, a, at, end);
		if (ww_prots_at(self, a, at) != prot)
			set_run(self, at, stop, diff);
	}
	if (!diff)
		ww_bits_clear(&self->changed, first, end);
}

int ww_prots_closed(int prot)
{
	/* On most machines a write-only page can be read: keep it so. */
	return prot & PROT_WRITE ? (prot & ~PROT_WRITE) | PROT_READ : prot;
}

WW_OFTEN int ww_prots_apply(struct ww_prots *self, const struct ww_area *a,
			    size_t first, size_t end, bool open)
{
	int r = 0;

	while (first < end && r == 0) {
		size_t stop = ww_prots_same(self, a, first, end);
		int prot = ww_prots_at(self, a, first);

		if (prot & PROT_WRITE)
			r = ww_sys_mprotect(ww_area_at(a, first),
					    (stop - first) << a->page_shift,
					    open ? prot
						 : ww_prots_closed(prot));
		first = stop;
	}
	return r;
}

int ww_prots_apply_mapped(struct ww_prots *self, struct ww_area *a,
			  size_t first, size_t end, bool open,
			  void (*failed)(struct ww_area *a, size_t first,
					 size_t end))
{
	size_t half = first + (end - first) / 2;
	int r = ww_prots_apply(self, a, first, end, open), r2;

	if (r == 0)
		return 0;
	if (half > first) {
		r = ww_prots_apply_mapped(self, a, first, half, open, failed);
		r2 = ww_prots_apply_mapped(self, a, half, end, open, failed);
		return r < 0 ? r : r2;
	}
	if (!ww_sys_is_mapped(ww_area_at(a, first)))
		return 0;
	if (failed)
		failed(a, first, end);
	return r;
}

void ww_prots_restore(struct ww_prots *self, const struct ww_area *a,
		      size_t first, size_t end)
{
	while (first < end) {
		size_t stop = ww_prots_same(self, a, first, end);

		ww_sys_mprotect(ww_area_at(a, first),
				(stop - first) << a->page_shift,
				ww_prots_at(self, a, first));
		first = stop;
	}
}
