/* SPDX-License-Identifier: MIT */
/*
 * test.h - what all test programs share.
 *
 * A program is run once for each backend, named by WRITEWATCH_BACKEND; what it
 * expects depends on the capability bits only. The tracker is opened in the
 * case, not in a fixture: cmocka 1.1.5 replaces SIGSEGV around fixtures.
 */
#ifndef WW_TEST_H
#define WW_TEST_H

#ifdef NDEBUG
#error "tests need assert()"
#endif

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "writewatch.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))
#define RW (PROT_READ | PROT_WRITE)

/* A tracker on the backend under test. */
struct ww *test_open(void);
unsigned test_caps(const struct ww *ww);

/* Does the backend notice memory that was replaced behind its back? Says so, if
 * not. */
bool test_notices_replaced(const struct ww *ww);

/* Is WRITEWATCH_BACKEND this one? */
bool test_is_backend(const char *name);

/* Call what a hook points to, once. */
void test_run_hook(void (**hook)(void));

/* A backend that compares content (backend-copy.c) does not see a store of what was
 * there, nor what can not be read. Says so, if it is one. */
bool test_only_compares(void);

/* The next of a sequence; *state is never 0. */
static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

long test_now_ms(void);

/* How much slower than a real one this machine is: WRITEWATCH_TEST_SLOWNESS, 1
 * by default. For limits in time, and for how often a race is tried. */
long test_slowness(void);

/* Private memory with an inaccessible page on both sides. */
char *test_map(size_t npages);
void test_unmap(char *memory, size_t npages);

/* What most cases begin with: a tracker that watches npages of such memory. */
struct test_fixture {
	struct ww *ww;
	char *m;
	size_t npages;
};

struct test_fixture test_begin(size_t npages, unsigned flags);
void test_end(struct test_fixture f);

/* Says that a case, or the rest of it, does not apply here. */
void test_not_promised(const char *what);

/* Is one of the capabilities promised for the tracker? If not, a case says so,
 * once where it asks, and expects less. */
#define PROMISED(ww, caps)                                                     \
	({                                                                     \
		static bool said_;                                             \
		test_promised((ww), (caps), &said_);                           \
	})
bool test_promised(const struct ww *ww, unsigned caps, bool *said);

/* Write to pages, given as indices up to -1. */
void test_write(char *memory, ...);

/* Compare what ww_get() and ww_get_ranges() say about npages with the indices,
 * up to -1. flags go to the last of the two. */
void test_expect(struct ww *ww, char *memory, size_t npages, unsigned flags,
		 ...);

/* The same for the memory of a fixture: EXPECT_DIRTY(f, PAGES(0, 7, 8)) looks,
 * EXPECT_RESET() resets, too. */
#define PAGES(...) __VA_ARGS__, -1
#define NO_PAGES -1
#define EXPECT_DIRTY(f, ...)                                                   \
	test_expect((f).ww, (f).m, (f).npages, 0, __VA_ARGS__)
#define EXPECT_RESET(f, ...)                                                   \
	test_expect((f).ww, (f).m, (f).npages, WW_RESET, __VA_ARGS__)

/* Dirty pages in the range. */
size_t test_count(struct ww *ww, char *memory, size_t npages, unsigned flags);

/* The range that holds an address, by ww_next_range(): -ENOENT if there is none.
 * Outputs may be NULL. */
int test_range_info(struct ww *ww, const void *at, struct ww_range *range,
		    unsigned *caps, unsigned *lost);

/* Bytes of a huge page. */
size_t test_huge_page(void);

/* Open descriptors of this process. */
int test_descriptors(void);

/* Mappings of this process. */
long test_mappings(void);

/* Run fn in a child: its exit status, or minus the signal that ended it: SIGALRM
 * if it hangs. */
int test_child(void (*fn)(void *), void *arg);

/* Where threads can be held: at each "system call" or, in the programs that are called
 * blocks, at each "basic block" of the library. */
extern const char *const test_point;

/* Run first in a thread that is held at its at'th point (from 1 on), and then beside in
 * another, until that has come to its point `then` (0: to its end); then the rest of
 * the first, and of the other. One is let go after some 10 ms, too: the other may
 * wait for it. false: first has fewer, and ended alone. */
bool test_interleave(void (*first)(void), long at, void (*beside)(void),
		     long then);

/* Can threads be held so? Says so, if not. */
bool test_can_interleave(void);

/* Try each pair of n functions at each system call of the first, while it makes so
 * many; the other is held at one of its first, or not at all. At basic blocks: as many
 * as there is time for, a fifth of WRITEWATCH_TEST_SECONDS (or 5 s);
 * WRITEWATCH_TEST_SEED says which. */
void test_interleave_all(size_t n, bool (*try)(size_t first, long at,
					       size_t beside, long then));

/* fork() without libc: no pthread_atfork() handler runs. */
pid_t test_bare_fork(void);

/* As test_child(), in such a child. */
int test_bare_child(void (*fn)(void *), void *arg);

/* A child that lives, with copies of our descriptors, until it is let go. */
struct test_sleeper {
	pid_t pid;
	int wake;
};

struct test_sleeper test_sleeper_start(void);
void test_sleeper_end(struct test_sleeper sleeper);

/* Environment, usable backend or exit 77; then the cases. */
int test_main(int (*run)(void));

/* The cases, as run_cases(); and with a main() that runs them. */
#define TEST_CASES(name, ...)                                                \
	static const struct CMUnitTest cases[] = { __VA_ARGS__ };            \
	static int run_cases(void)                                           \
	{                                                                    \
		return cmocka_run_group_tests_name(name, cases, NULL, NULL); \
	}

#define TEST_MAIN(name, ...)                   \
	TEST_CASES(name, __VA_ARGS__)          \
	int main(void)                         \
	{                                      \
		return test_main(run_cases);   \
	}

#define CASE(fn) cmocka_unit_test(fn)

/* For threads other than the main one, and children. */
#define CHECK(x)                                                        \
	do {                                                            \
		if (!(x)) {                                             \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, \
				#x);                                    \
			abort();                                        \
		}                                                       \
	} while (0)

#endif
