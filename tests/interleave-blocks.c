/* SPDX-License-Identifier: MIT */
/*
 * interleave-blocks.c - a thread is held at one of the basic blocks of the library,
 * which is compiled to call __sanitizer_cov_trace_pc() in each: so between any two
 * accesses of memory that may matter to another thread.
 */
#include "interleave.h"

const char *const test_point = "basic block";

static __thread struct test_held *me;
static __thread uintptr_t stack;

void __sanitizer_cov_trace_pc(void);

/* The helper thread of uffd-sync has the thread-local variables of the thread that
 * started it, but not its stack. */
void __sanitizer_cov_trace_pc(void)
{
	if (me && stack - (uintptr_t)__builtin_frame_address(0) < 256 * 1024)
		test_hold_at(me);
}

void test_hold_begin(struct test_held *h)
{
}

void test_hold_me(struct test_held *h)
{
	me = h;
	stack = (uintptr_t)__builtin_frame_address(0) + 4096;
}

void test_hold_end(struct test_held *h)
{
}

bool test_can_interleave(void)
{
	return true;
}

/* The other cases of the programs have no part in it. */
__attribute__((constructor)) static void run_no_others(void)
{
	cmocka_set_test_filter("each_call_at_*");
}

/* Milliseconds: a fifth of WRITEWATCH_TEST_SECONDS, or some. */
static long duration(void)
{
	const char *text = getenv("WRITEWATCH_TEST_SECONDS");

	return text ? atol(text) * 200 : 5000;
}

/* Random pairs at random blocks. How many blocks a call has shows: it ends before it
 * is held, or it does not. */
void test_interleave_all(size_t n, bool (*try)(size_t first, long at,
					       size_t beside, long then))
{
	const char *text = getenv("WRITEWATCH_TEST_SEED");
	uint64_t random =
		text ? strtoull(text, NULL, 0) : (uint64_t)test_now_ms();
	const long end = test_now_ms() + duration();
	long *blocks = calloc(n, sizeof(*blocks)), tried = 0;

	assert_non_null(blocks);
	random += !random;
	print_message("seed %llu\n", (unsigned long long)random);
	for (; test_now_ms() < end; tried++) {
		size_t a = (size_t)(test_random(&random) % n);
		size_t b = (size_t)(test_random(&random) % n);
		long at = 1 + (long)(test_random(&random) %
				     (uint64_t)(blocks[a] + 64));
		/* half of them to the end */
		long then = test_random(&random) % 2
				    ? 0
				    : 1 + (long)(test_random(&random) %
						 (uint64_t)(blocks[b] + 64));

		if (try(a, at, b, then))
			blocks[a] = at > blocks[a] ? at : blocks[a];
		else
			blocks[a] -= blocks[a] / 8;
	}
	print_message("%ld pairs\n", tried);
	free(blocks);
}
