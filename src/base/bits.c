/* SPDX-License-Identifier: MIT */
/*
 * bits.c - a lock-free bitmap over zeroed memory, sparse enough for terabytes.
 *
 * Used for pending pages, for pages known to have been populated, and by the
 * mprotect backend; called from the SIGSEGV handler too. Calls nothing.
 * Invariant: a set bit has its summary bit set once ww_bits_set() returned.
 * Summary bits are never cleared: a thread that cleared one would have to look
 * at the words once more after that, and while it is suspended between the two
 * a query would miss set bits. A stale summary bit costs a look at 512 words.
 */
#include "base/bits.h"

#include "base/place.h"

#define WORD_BITS 64u
#define CHUNK_WORDS 512u /* words for each summary bit: 4 KiB */
_Static_assert(CHUNK_WORDS == WW_BITS_CHUNK / WORD_BITS, "bits.h");

static size_t words(size_t nbits)
{
	return (nbits + WORD_BITS - 1) / WORD_BITS;
}

/* The bits of word w that lie in [first, end). */
static uint64_t mask(size_t w, size_t first, size_t end)
{
	uint64_t m = ~UINT64_C(0);

	if (first > w * WORD_BITS)
		m <<= first - w * WORD_BITS;
	if (end < (w + 1) * WORD_BITS)
		m &= ~UINT64_C(0) >> ((w + 1) * WORD_BITS - end);
	return m;
}

size_t ww_bits_bytes(size_t nbits)
{
	size_t nwords = words(nbits);
	size_t nchunks = (nwords + CHUNK_WORDS - 1) / CHUNK_WORDS;

	return (nwords + words(nchunks)) * sizeof(uint64_t);
}

void ww_bits_init(struct ww_bits *self, void *memory, size_t nbits)
{
	self->word = memory;
	self->summary = self->word + words(nbits);
}

static bool chunk_maybe(const struct ww_bits *self, size_t chunk)
{
	return atomic_load(&self->summary[chunk / WORD_BITS]) >>
		       (chunk % WORD_BITS) &
	       1;
}

static void chunk_set(struct ww_bits *self, size_t chunk)
{
	if (!chunk_maybe(self, chunk))
		atomic_fetch_or(&self->summary[chunk / WORD_BITS],
				UINT64_C(1) << (chunk % WORD_BITS));
}

WW_OFTEN void ww_bits_set(struct ww_bits *self, size_t first, size_t end)
{
	size_t w;

	for (w = first / WORD_BITS; w * WORD_BITS < end; w++) {
		uint64_t m = mask(w, first, end);

		/* The bits are often set already: then a load is enough. */
		if ((atomic_load(&self->word[w]) & m) != m)
			atomic_fetch_or(&self->word[w], m);
		chunk_set(self, w / CHUNK_WORDS);
	}
}

/* The first word from w on, below end, in a chunk that may have a bit. */
static size_t skip_empty(const struct ww_bits *self, size_t w, size_t end)
{
	while (w < end && !chunk_maybe(self, w / CHUNK_WORDS)) {
		size_t chunk = w / CHUNK_WORDS;

		if (chunk % WORD_BITS == 0 &&
		    !atomic_load(&self->summary[chunk / WORD_BITS]))
			chunk += WORD_BITS - 1;
		w = (chunk + 1) * CHUNK_WORDS;
	}
	return w < end ? w : end;
}

void ww_bits_clear(struct ww_bits *self, size_t first, size_t end)
{
	size_t w = first / WORD_BITS;
	size_t stop = words(end);

	for (; (w = skip_empty(self, w, stop)) < stop; w++) {
		uint64_t m = mask(w, first, end);

		if (atomic_load(&self->word[w]) & m)
			atomic_fetch_and(&self->word[w], ~m);
	}
}

bool ww_bits_test(const struct ww_bits *self, size_t bit)
{
	return atomic_load(&self->word[bit / WORD_BITS]) >> (bit % WORD_BITS) &
	       1;
}

/* The lowest run of ones in a word that is not zero, at most max long. */
static uint64_t lowest_run(uint64_t v, size_t max)
{
	uint64_t carry = v + (v & -v); /* the run ripples into a higher bit */
	uint64_t run = v & ~carry;
	unsigned at = (unsigned)__builtin_ctzll(v);

	if (max < WORD_BITS - at)
		run &= ((UINT64_C(1) << (max % WORD_BITS)) - 1) << at;
	return run;
}

/* Clear only the run that is returned: a bit that is cleared and put back later
 * would be missing for other queries until then. also: bits that count as set
 * too, and are not cleared. */
static uint64_t take_run(_Atomic(uint64_t) *word, uint64_t also, uint64_t m,
			 size_t max)
{
	uint64_t v = atomic_load(word), run;

	do {
		if (!((v | also) & m))
			return 0;
		run = lowest_run((v | also) & m, max);
	} while (v & run && !atomic_compare_exchange_weak(word, &v, v & ~run));
	return run;
}

/* As skip_empty(), for two bitmaps: the first word that may have a bit in
 * either of them. */
static size_t skip_both(const struct ww_bits *self, const struct ww_bits *other,
			size_t w, size_t end)
{
	size_t a = skip_empty(self, w, end), b;

	if (!other || a == w)
		return a;
	b = skip_empty(other, w, end);
	return a < b ? a : b;
}

bool ww_bits_next_of_two(struct ww_bits *self, const struct ww_bits *other,
			 size_t first, size_t end, size_t max, bool take,
			 size_t *run, size_t *run_end)
{
	size_t w = first / WORD_BITS;
	size_t stop = words(end);

	if (first >= end || max == 0)
		return false;
	for (; (w = skip_both(self, other, w, stop)) < stop; w++) {
		uint64_t also = other ? atomic_load(&other->word[w]) : 0;
		uint64_t m = mask(w, first, end);
		uint64_t v = atomic_load(&self->word[w]);

		/* before and behind: a bit may go from either to the other */
		also |= other ? atomic_load(&other->word[w]) : 0;
		v = (v | also) & m;
		if (v)
			v = take ? take_run(&self->word[w], also, m, max)
				 : lowest_run(v, max);
		if (v) {
			*run = w * WORD_BITS + (size_t)__builtin_ctzll(v);
			*run_end = (w + 1) * WORD_BITS -
				   (size_t)__builtin_clzll(v);
			return true;
		}
	}
	return false;
}

bool ww_bits_next(struct ww_bits *self, size_t first, size_t end, size_t max,
		  bool take, size_t *run, size_t *run_end)
{
	return ww_bits_next_of_two(self, NULL, first, end, max, take, run,
				   run_end);
}

static uint64_t word_of(const struct ww_bits *self, size_t w)
{
	return atomic_load_explicit(&self->word[w], memory_order_relaxed);
}

/* Words from w on without a clear bit are skipped, four at a time. */
static size_t skip_full(const struct ww_bits *self, size_t w, size_t end)
{
	while (w + 4 <= end && !~(word_of(self, w) & word_of(self, w + 1) &
				  word_of(self, w + 2) & word_of(self, w + 3)))
		w += 4;
	return w;
}

WW_OFTEN size_t ww_bits_first_clear(const struct ww_bits *self, size_t first,
				    size_t end)
{
	size_t w = first / WORD_BITS;

	for (; (w = skip_full(self, w, end / WORD_BITS)) * WORD_BITS < end;
	     w++) {
		uint64_t clear = ~word_of(self, w) & mask(w, first, end);

		if (clear)
			return w * WORD_BITS + (size_t)__builtin_ctzll(clear);
	}
	return end;
}
