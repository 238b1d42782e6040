/* SPDX-License-Identifier: MIT */
/*
 * bits.h - a lock-free bitmap over zeroed memory, sparse enough for terabytes.
 *
 * A summary bit tells for each 32,768 bits (a page of words) whether any may be
 * set, so that untouched parts are skipped without being read. All operations
 * are async-signal-safe.
 */
#ifndef WW_BITS_H
#define WW_BITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ww_bits {
	/* Aligned as words are, on 32 bits too: so a bitmap may be laid out behind
	 * any struct that has one. */
	_Alignas(8) _Atomic(uint64_t) *word;
	_Atomic(uint64_t) *summary;
};

/* Bytes of zeroed memory for nbits; ww_bits_init() lays the bitmap out there.
 */
size_t ww_bits_bytes(size_t nbits);
void ww_bits_init(struct ww_bits *self, void *memory, size_t nbits);

void ww_bits_set(struct ww_bits *self, size_t first, size_t end);
void ww_bits_clear(struct ww_bits *self, size_t first, size_t end);
bool ww_bits_test(const struct ww_bits *self, size_t bit);

/* Find the first run of set bits in [first, end), no longer than max and within
 * one word. With take, the run is cleared in the same atomic step, so that a
 * bit is handed to one caller only. False: there is none. */
bool ww_bits_next(struct ww_bits *self, size_t first, size_t end, size_t max,
		  bool take, size_t *run, size_t *run_end);

/* As ww_bits_next(), of bits that are set in either bitmap; only self's are cleared. */
bool ww_bits_next_of_two(struct ww_bits *self, const struct ww_bits *other,
			 size_t first, size_t end, size_t max, bool take,
			 size_t *run, size_t *run_end);

/* The first bit of [first, end) that is not set; end: all are. */
size_t ww_bits_first_clear(const struct ww_bits *self, size_t first,
			   size_t end);

/* --- what a query asks for each run that it finds --- */

#define WW_BITS_CHUNK 32768u /* bits for each summary bit */

/* Is surely no bit set in [first, end)? Costs one load for each two million
 * bits. */
static inline bool ww_bits_quiet(const struct ww_bits *self, size_t first,
				 size_t end)
{
	size_t lo = first / WW_BITS_CHUNK, hi = (end - 1) / WW_BITS_CHUNK, i;

	if (first >= end)
		return false;
	for (i = lo / 64; i <= hi / 64; i++) {
		uint64_t mask = ~UINT64_C(0);

		if (i == lo / 64)
			mask <<= lo % 64;
		if (i == hi / 64)
			mask &= ~UINT64_C(0) >> (63 - hi % 64);
		if (atomic_load(&self->summary[i]) & mask)
			return false;
	}
	return true;
}

/* Is no bit set in [first, end)? If it is not quiet, 512 words are read for each
 * chunk. */
static inline bool ww_bits_none(struct ww_bits *self, size_t first, size_t end)
{
	size_t run, run_end;

	return ww_bits_quiet(self, first, end) ||
	       !ww_bits_next(self, first, end, 1, false, &run, &run_end);
}

/* True: all bits of [first, end) and their summary bit are set, so that
 * ww_bits_set() would change nothing. False: not known, as only one word is
 * looked at. */
static inline bool ww_bits_surely_full(const struct ww_bits *self, size_t first,
				       size_t end)
{
	size_t n = end - first;
	uint64_t ones;

	if (n == 0 || first / 64 != (end - 1) / 64 ||
	    ww_bits_quiet(self, first, end))
		return false;
	ones = (~UINT64_C(0) >> (64 - n)) << (first % 64);
	return (atomic_load(&self->word[first / 64]) & ones) == ones;
}

#endif
