/* SPDX-License-Identifier: MIT */
/* test-base.c - the bitmap, the list by address, and the heap. */
#include "test.h"

#include "backends/mprotect.h"
#include "backends/softdirty.h"
#include "backends/uffd-async.h"
#include "backends/uffd-sync.h"
#include "base/heap.h"
#include "base/sorted.h"

static void bits_are_found_in_runs(void **state)
{
	size_t n = 200000, run, stop, at = 0, i;
	void *memory = calloc(1, ww_bits_bytes(n));
	struct ww_bits b;

	ww_bits_init(&b, memory, n);
	assert_false(ww_bits_next(&b, 0, n, SIZE_MAX, false, &run, &stop));
	ww_bits_set(&b, 60, 70);
	ww_bits_set(&b, 199999, 200000);
	assert_true(ww_bits_next(&b, 0, n, SIZE_MAX, false, &run, &stop));
	assert_int_equal(run, 60);
	assert_int_equal(stop, 64);
	assert_true(ww_bits_next(&b, 61, n, 2, true, &run, &stop));
	assert_int_equal(run, 61);
	assert_int_equal(stop, 63);
	assert_false(ww_bits_test(&b, 61));
	assert_true(ww_bits_test(&b, 63));
	assert_false(
		ww_bits_next(&b, 70, 199999, SIZE_MAX, false, &run, &stop));
	ww_bits_clear(&b, 63, 69);
	for (i = 0; ww_bits_next(&b, at, n, SIZE_MAX, true, &run, &stop); i++)
		at = stop;
	assert_int_equal(i, 3); /* 60, 69, 199999 */
	ww_bits_set(&b, 0, n);
	at = 0;
	while (ww_bits_next(&b, at, n, SIZE_MAX, true, &run, &stop)) {
		assert_int_equal(run, at);
		at = stop;
	}
	assert_int_equal(at, n);
	free(memory);
}

/* 64-bit words that cross a cache line are slow on one processor and fatal on
 * another; 32-bit pointers would allow that. */
static void words_lie_where_words_may(void **state)
{
	assert_int_equal(sizeof(struct ww_bits) % 8, 0);
	assert_int_equal(sizeof(struct ww_async_area) % 8, 0);
	assert_int_equal(sizeof(struct ww_sync_area) % 8, 0);
	assert_int_equal(sizeof(struct ww_mp_area) % 8, 0);
	assert_int_equal(sizeof(struct ww_soft_area) % 8, 0);
}

/* Where all pages exist a query asks in another way, so a clear bit that is overlooked
 * is a lost write: each clear bit in turn, asked for from and up to any bit. */
static void the_first_clear_bit_is_found(void **state)
{
	const size_t n = 1100;
	void *memory = calloc(1, ww_bits_bytes(n));
	struct ww_bits b;
	size_t clear, first, end;

	ww_bits_init(&b, memory, n);
	ww_bits_set(&b, 0, n);
	for (clear = 0; clear < n; clear++) {
		ww_bits_clear(&b, clear, clear + 1);
		for (first = 0; first < n; first += 13)
			for (end = first; end <= n; end += 17)
				assert_int_equal(
					ww_bits_first_clear(&b, first, end),
					clear >= first && clear < end ? clear
								      : end);
		assert_int_equal(ww_bits_first_clear(&b, 0, clear), clear);
		assert_int_equal(ww_bits_first_clear(&b, 0, clear + 1), clear);
		assert_int_equal(ww_bits_first_clear(&b, clear + 1, n), n);
		ww_bits_set(&b, clear, clear + 1);
	}
	ww_bits_clear(&b, 300, 900);
	assert_int_equal(ww_bits_first_clear(&b, 0, n), 300);
	assert_int_equal(ww_bits_first_clear(&b, 899, n), 899);
	free(memory);
}

struct entry {
	uintptr_t at;
	size_t value;
};

#define ADDRESSES 2000

/* What the list says of an address is what the array says, which has a value (not 0)
 * for each address that is on the list. */
static void compare_sorted(const struct ww_sorted *list, const size_t *value,
			   uintptr_t at)
{
	const struct entry *below = ww_sorted_below(list, at);
	const struct entry *above = ww_sorted_above(list, at);
	size_t i = at, k = at + 1;

	while (i > 0 && !value[i])
		i--;
	while (k < ADDRESSES && !value[k])
		k++;
	assert_int_equal(below != NULL, value[i] != 0);
	if (below) {
		assert_int_equal(below->at, i);
		assert_int_equal(below->value, value[i]);
	}
	assert_int_equal(above != NULL, k < ADDRESSES);
	if (above) {
		assert_int_equal(above->at, k);
		assert_int_equal(above->value, value[k]);
	}
}

static size_t random_below(size_t n)
{
	static uint64_t r = 88172645463325252u;

	return (size_t)(test_random(&r) % n);
}

/* What uses the heap has its signals blocked: the mask from before. */
static uint64_t begin_heap(void)
{
	uint64_t mask;

	assert_int_equal(ww_fork_init(), 0);
	ww_heap_init();
	ww_sys_block_signals(&mask);
	return mask;
}

/* Fuller and emptier in turn, so that blocks split and join. */
static void a_sorted_list_is_as_an_array(void **state)
{
	static size_t value[ADDRESSES];
	struct ww_sorted list = { .bytes = sizeof(struct entry) };
	uint64_t mask;
	size_t i;

	mask = begin_heap();
	for (i = 0; i < 200000; i++) {
		const bool fuller = i / 20000 % 2 == 0;
		const uintptr_t at = random_below(ADDRESSES);
		struct entry *e;

		if (value[at] && (!fuller || random_below(4) == 0)) {
			ww_sorted_remove(&list, at);
			value[at] = 0;
		} else if (!value[at] && (fuller || random_below(4) == 0)) {
			e = ww_sorted_add(&list, at);
			assert_non_null(e);
			assert_int_equal(e->value, 0);
			e->value = value[at] = i + 1;
		}
		compare_sorted(&list, value, random_below(ADDRESSES));
		assert_true(list.n <= 1 + 2 * ADDRESSES / 60);
	}
	ww_sorted_clear(&list);
	assert_null(ww_sorted_below(&list, ADDRESSES));
	assert_null(ww_sorted_above(&list, 0));
	ww_sys_restore_signals(mask);
}

#define BLOCKS 400

/* Is the page at an address the library's? */
static bool is_ours(const void *at)
{
	uintptr_t page = (uintptr_t)at & ~(uintptr_t)(PAGE - 1);

	return ww_heap_owns(page, page + PAGE);
}

/* Blocks of all sizes come and go, among mappings of the program. */
static void the_heap_knows_its_memory(void **state)
{
	static struct {
		char *at;
		size_t bytes;
	} block[BLOCKS];
	char *ours = test_map(1);
	uint64_t mask;
	size_t i;

	mask = begin_heap();
	for (i = 0; i < 20000; i++) {
		size_t k = random_below(BLOCKS), n = block[k].bytes;

		if (block[k].at) {
			assert_true(is_ours(block[k].at));
			assert_true(is_ours(block[k].at + n - 1));
			ww_heap_free(block[k].at, n);
			/* small ones stay with the process */
			assert_int_equal(is_ours(block[k].at), n <= 8192);
			block[k].at = NULL;
		} else {
			n = 1 + random_below(random_below(3) ? 200000 : 8192);
			block[k].bytes = n;
			block[k].at = ww_heap_new(n);
			assert_non_null(block[k].at);
			assert_true(is_ours(block[k].at));
			assert_true(is_ours(block[k].at + n - 1));
		}
		assert_false(is_ours(ours));
	}
	for (i = 0; i < BLOCKS; i++)
		if (block[i].at)
			ww_heap_free(block[i].at, block[i].bytes);
	ww_sys_restore_signals(mask);
	test_unmap(ours, 1);
}

static atomic_bool quit;

static void *allocate_and_free(void *arg)
{
	char *block[40] = { NULL };
	uint64_t random = 7, mask;
	size_t i;

	ww_sys_block_signals(&mask);
	while (!atomic_load(&quit)) {
		i = (size_t)(test_random(&random) % 40);
		if (block[i])
			ww_heap_free(block[i], (i + 1) * 3000);
		block[i] = block[i] ? NULL : ww_heap_new((i + 1) * 3000);
	}
	for (i = 0; i < 40; i++)
		ww_heap_free(block[i], (i + 1) * 3000);
	ww_sys_restore_signals(mask);
	return NULL;
}

/* Of a bare clone(2): what it inherited is its own, as is what it gets, and it can
 * free both. */
static void use_heap_in_child(char *const *block, size_t n, const char *program)
{
	size_t i;

	for (i = 0; i < n; i++)
		CHECK(is_ours(block[i]));
	CHECK(!is_ours(program));
	for (i = 0; i < n; i += 2) {
		char *at = ww_heap_new(20000);

		CHECK(at && is_ours(at));
		at[0] = 1;
		ww_heap_free(block[i], 20000);
		CHECK(!is_ours(block[i]));
		CHECK(is_ours(block[i + 1]));
	}
	_exit(0);
}

/* Its own fork() comes before it has used the heap. */
static void use_heap_in_grandchild(char *const *block, size_t n,
				   const char *program)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		use_heap_in_child(block, n, program);
	CHECK(waitpid(pid, &status, 0) == pid);
	_exit(status != 0);
}

static void the_heap_knows_its_memory_in_a_child(void **state)
{
	char *block[50], *program = test_map(1);
	pthread_t t;
	uint64_t mask;
	size_t i;
	int k;

	mask = begin_heap();
	for (i = 0; i < 50; i++)
		assert_non_null(block[i] = ww_heap_new(20000));
	pthread_create(&t, NULL, allocate_and_free, NULL);
	for (k = 0; k < 200; k++) {
		pid_t pid = test_bare_fork();
		int status;

		if (pid == 0 && k % 2)
			use_heap_in_grandchild(block, 50, program);
		if (pid == 0)
			use_heap_in_child(block, 50, program);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	atomic_store(&quit, true);
	pthread_join(t, NULL);
	for (i = 0; i < 50; i++)
		ww_heap_free(block[i], 20000);
	ww_sys_restore_signals(mask);
	test_unmap(program, 1);
}

/* Also if another thread of the parent was putting a lock on the list: it can be found
 * forward, and no more is done. */
static void a_child_of_bare_clone_can_fork(void **state)
{
	static struct ww_lock lock;
	int status = 1, i;
	pid_t pid;

	assert_int_equal(ww_fork_init(), 0);
	ww_lock_init(&lock, WW_LOCK_LATCH);
	pid = test_bare_fork();
	if (pid == 0) {
		lock.prev = NULL;
		atomic_store(&lock.listed, false);
		ww_lock_init(&lock, WW_LOCK_LATCH);
		pid = fork();
		if (pid == 0)
			_exit(0);
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		ww_lock_finish(&lock);
		_exit(0);
	}
	/* it would hang with its signals blocked */
	for (i = 0; i < 2000 && waitpid(pid, &status, WNOHANG) == 0; i++)
		usleep(10000);
	if (i == 2000)
		kill(pid, SIGKILL);
	assert_true(i < 2000);
	assert_int_equal(status, 0);
	ww_lock_finish(&lock);
}

TEST_MAIN("base", CASE(bits_are_found_in_runs),
	  CASE(the_first_clear_bit_is_found), CASE(words_lie_where_words_may),
	  CASE(a_sorted_list_is_as_an_array), CASE(the_heap_knows_its_memory),
	  CASE(the_heap_knows_its_memory_in_a_child),
	  CASE(a_child_of_bare_clone_can_fork))
