/* SPDX-License-Identifier: MIT */
/*
 * test-softdirty-facts.c - what the soft-dirty and process_memwatch backends
 * rely on in the kernel, without our library. Each fact carries the versions it
 * was seen on: red here means the kernel, not us.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define N 64
#define SOFT_DIRTY (1ull << 55)
#define SWAPPED (1ull << 62)

static int pagemap, clear_refs;
static char *m;

static uint64_t entry(char *at)
{
	uint64_t e = 0;

	CHECK(pread(pagemap, &e, 8, (off_t)((uintptr_t)at / PAGE * 8)) == 8);
	return e;
}

static bool dirty(int page)
{
	return entry(m + page * PAGE) & SOFT_DIRTY;
}

static void clear(void)
{
	CHECK(write(clear_refs, "4", 1) == 1);
}

static void begin(void)
{
	m = test_map(N);
	madvise(m, N * PAGE, MADV_NOHUGEPAGE);
	memset(m, 1, N * PAGE);
	clear();
}

static void end(void)
{
	test_unmap(m, N);
}

/* 5.10, 6.1, 6.12 */
static void a_clear_hits_the_whole_process(void **state)
{
	char *other = test_map(1);

	begin();
	other[0] = 1;
	assert_true(entry(other) & SOFT_DIRTY);
	clear();
	assert_false(entry(other) & SOFT_DIRTY);
	test_write(m, 3, -1);
	assert_true(dirty(3));
	assert_false(dirty(4));
	end();
	test_unmap(other, 1);
}

/* 5.10, 6.1, 6.12: mlock'ed pages are faulted for writing whenever mprotect() makes
 * them writable, unless MLOCK_ONFAULT locked them. */
static void a_locked_page_is_written_as_it_opens(void **state)
{
	begin();
	CHECK(mlock(m, 2 * PAGE) == 0);
	CHECK(mlock2(m, PAGE, MLOCK_ONFAULT) == 0);
	CHECK(mprotect(m, 2 * PAGE, PROT_READ) == 0);
	clear();
	CHECK(mprotect(m, 2 * PAGE, RW) == 0);
	assert_false(dirty(0));
	assert_true(dirty(1));
	end();
}

/* 5.10, 6.1, 6.12: and a neighbour that it merges with is dirty with it, which
 * is why watched memory gets MADV_RANDOM. */
static void a_new_mapping_is_wholly_dirty(void **state)
{
	begin();
	assert_false(dirty(0));
	munmap(m + 8 * PAGE, 8 * PAGE);
	mmap(m + 8 * PAGE, 8 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	assert_true(dirty(9));
	end();

	begin();
	madvise(m, 8 * PAGE, MADV_RANDOM);
	munmap(m + 8 * PAGE, 8 * PAGE);
	mmap(m + 8 * PAGE, 8 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	assert_true(dirty(9));
	assert_false(dirty(7));
	end();
}

/* 5.10, 6.1, 6.12: what the gate does. */
static void a_page_that_was_closed_during_a_clear_is_seen(void **state)
{
	int i;

	begin();
	for (i = 0; i < 100; i++) {
		mprotect(m, N * PAGE, PROT_READ);
		clear();
		mprotect(m, N * PAGE, RW);
		assert_false(dirty(i % N));
		test_write(m, i % N, -1);
		assert_true(dirty(i % N));
	}
	end();
}

/* 5.10, 6.1, 6.12 */
static void a_page_that_is_dropped_takes_its_bit_along(void **state)
{
	begin();
	test_write(m, 5, -1);
	madvise(m, N * PAGE, MADV_DONTNEED);
	assert_false(dirty(5));
	test_write(m, 5, -1);
	assert_true(dirty(5));
	end();
}

/* 5.10, 6.1, 6.12, where the guest has swap */
static void swap_keeps_the_bit(void **state)
{
	int i, out = 0;

	begin();
	test_write(m, 7, -1);
	madvise(m, N * PAGE, MADV_PAGEOUT);
	for (i = 0; i < N; i++)
		out += (entry(m + i * PAGE) & SWAPPED) != 0;
	print_message("  %d of %d pages in swap\n", out, N);
	for (i = 0; i < N; i++)
		assert_int_equal(dirty(i), i == 7);
	clear();
	assert_false(dirty(7));
	for (i = 0; i < N; i++)
		CHECK(((volatile char *)m)[i * PAGE] != 0);
	assert_false(dirty(7));
	test_write(m, 8, -1);
	assert_true(dirty(8));
	end();
}

static atomic_bool stop;
static atomic_long moved;

static void *migrate(void *arg)
{
	void *pages[N];
	int nodes[N], status[N], i, node = 0;

	for (i = 0; i < N; i++)
		pages[i] = m + i * PAGE;
	while (!atomic_load(&stop)) {
		node ^= 1;
		for (i = 0; i < N; i++)
			nodes[i] = node;
		syscall(SYS_move_pages, 0, N, pages, nodes, status, 2);
		for (i = 0; i < N; i++)
			if (status[i] == node)
				atomic_fetch_add(&moved, 1);
	}
	return NULL;
}

/* A page under migration while the bits are cleared: 6.1 gives it back with its
 * bit set; 5.10 and 6.12 give it back writable and clean, and the next store to
 * it leaves no trace. process_memwatch has no gate, so its ATOMIC_RESET goes by
 * this, and here is what decides the version. */
static void migration_loses_bits_but_on_6_1(void **state)
{
	unsigned major = 0, minor = 0;
	long lost = 0, round;
	struct utsname u;
	pthread_t t;
	int i;

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	if (access("/sys/devices/system/node/node1", F_OK))
		skip();
	begin();
	atomic_store(&stop, false);
	pthread_create(&t, NULL, migrate, NULL);
	for (round = 0; round < 4000 / test_slowness() + 50; round++) {
		for (i = 0; i < N; i++)
			((volatile char *)m)[i * PAGE]++;
		clear();
		for (i = 0; i < N; i++)
			((volatile char *)m)[i * PAGE]++;
		for (i = 0; i < N; i++)
			lost += !dirty(i);
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	print_message("  Linux %s: %ld rounds of %d pages, %ld moved, %ld "
		      "stores without a trace\n",
		      u.release, round, N, atomic_load(&moved), lost);
	assert_true(atomic_load(&moved) > 0);
	if (major == 6 && minor == 1)
		assert_int_equal(lost, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(a_clear_hits_the_whole_process),
		CASE(a_locked_page_is_written_as_it_opens),
		CASE(a_new_mapping_is_wholly_dirty),
		CASE(a_page_that_was_closed_during_a_clear_is_seen),
		CASE(a_page_that_is_dropped_takes_its_bit_along),
		CASE(swap_keeps_the_bit),
		CASE(migration_loses_bits_but_on_6_1),
	};
	char *page = test_map(1);

	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	page[0] = 1;
	if (pagemap < 0 || clear_refs < 0 || !(entry(page) & SOFT_DIRTY)) {
		fprintf(stderr, "no soft-dirty bit here\n");
		return 77;
	}
	return cmocka_run_group_tests_name("softdirty-facts", cases, NULL,
					   NULL);
}
