/* SPDX-License-Identifier: MIT */
/*
 * test-step.c - a signal between any two instructions of a query: the processor's trap
 * flag stops the thread behind each instruction, and a handler does there what the
 * program's handlers and other threads may do. Of x86 alone: no other processor has a
 * flag that a program may set.
 */
#include "test.h"

#include <limits.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "kernel/arch.h"

#define N 64
#define MOST_STEPS 50000 /* of the tries of a case: 14 us each in a virtual machine */
#define MOST_FORKS 1500	 /* at most, of one query */

static struct test_fixture f;
/* What the program knows of each page: its first word, read whenever it is reported. */
static unsigned known[N];
static bool told[N];

/* Act at the first step from `when` on where that is possible; and again `every` so many
 * steps, if that is not 0. */
static volatile long steps, when, every;
static volatile int acts, children_failed;
static volatile bool ends, in_child;
static void (*volatile act)(void);

#if defined(__x86_64__) || defined(__i386__)
#define TRAP_FLAG 0x100

static void set_trap_flag(ucontext_t *uc, bool on)
{
	uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	if (on)
		uc->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

/* libc reads the clock there, again and again until it did so fast enough. */
static bool is_vdso(const ucontext_t *uc)
{
	return ww_arch_pc(uc) - getauxval(AT_SYSINFO_EHDR) < 16 * PAGE;
}

/* Where the library has blocked signals no handler runs; SIGTRAP it leaves open. (A store of
 * the thread that has closed soft-dirty's gate would wait for that thread.) */
static void on_step(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (++steps >= when && act && !is_vdso(uc) &&
	    !sigismember(&uc->uc_sigmask, SIGUSR1)) {
		acts++;
		when = every ? steps + every : LONG_MAX;
		act();
	}
	set_trap_flag(uc, !ends && !in_child);
}

static void on_begin(int signo, siginfo_t *info, void *context)
{
	set_trap_flag(context, true);
}

static bool can_step(void)
{
	struct sigaction step = { .sa_sigaction = on_step,
				  .sa_flags = SA_SIGINFO };
	struct sigaction begin = { .sa_sigaction = on_begin,
				   .sa_flags = SA_SIGINFO };

	sigaction(SIGTRAP, &step, NULL);
	sigaction(SIGUSR2, &begin, NULL);
	return true;
}
#else
static bool can_step(void)
{
	return false;
}
#endif

static void note(const char *start, size_t len)
{
	size_t page = (size_t)(start - f.m) / PAGE;
	const size_t end = page + len / PAGE;

	CHECK(start >= f.m && len && end <= N);
	for (; page < end; page++) {
		known[page] = *(volatile unsigned *)(f.m + page * PAGE);
		told[page] = true;
	}
}

/* A query as a program makes it: what it reports is read when it has returned. */
static void ask(bool runs, bool stepped)
{
	struct ww_range ranges[N];
	void *pages[N];
	size_t n = N, i;
	int r;

	if (stepped) {
		steps = 0;
		ends = false;
		raise(SIGUSR2);
	}
	if (runs)
		r = ww_get_ranges(f.ww, f.m, N * PAGE, WW_RESET, ranges, &n);
	else
		r = ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL);
	ends = ends || stepped;
	CHECK(r == 0);
	for (i = 0; i < n; i++)
		note(runs ? ranges[i].start : pages[i],
		     runs ? ranges[i].len : PAGE);
}

/* --- what happens at a step --- */

static void fork_here(void)
{
	pid_t pid = test_bare_fork();
	int status;

	in_child = pid == 0;
	if (pid && (waitpid(pid, &status, 0) != pid || status))
		children_failed++;
}

static void store_here(void)
{
	(*(volatile unsigned *)(f.m + (size_t)(steps * 7 % N) * PAGE))++;
}

static void ask_here(void)
{
	ask(false, false);
}

static void store_and_ask_here(void)
{
	store_here();
	ask(true, false);
	store_here();
}

static void mark_here(void)
{
	CHECK(ww_mark(f.ww, f.m + 9 * PAGE, 4 * PAGE, 0) == 0);
}

/* --- a query that is stepped through --- */

/* One query. */
static void step_through(void (*act_now)(void), long at, long again, bool runs)
{
	size_t i;

	for (i = 0; i < N; i += 8)
		(*(volatile unsigned *)(f.m + i * PAGE))++;
	memset(told, 0, sizeof(told));
	act = act_now;
	when = at;
	every = again;
	acts = 0;
	ask(runs, true);
	act = NULL;
}

/* The next query: now the program knows all. */
static bool all_is_known(void)
{
	size_t i;

	ask(false, false);
	for (i = 0; i < N; i++)
		if (known[i] != *(volatile unsigned *)(f.m + i * PAGE))
			return false;
	return true;
}

static void begin(void)
{
	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 0, N * PAGE);
	memset(known, 0, sizeof(known));
	assert_int_equal(ww_watch(f.ww, f.m, N * PAGE, 0), 0);
}

static void forks_between_two_steps_lose_nothing(void **state)
{
	const long slow = test_slowness() > 10 ? 10 : test_slowness();
	int runs;

	begin();
	for (runs = 0; runs < 2; runs++) {
		bool known_all;

		children_failed = 0;
		step_through(NULL, 0, 0, runs);
		CHECK(all_is_known());
		step_through(fork_here, 1, 1 + steps * slow / MOST_FORKS, runs);
		known_all = all_is_known();
		if (in_child)
			_exit(!known_all);
		assert_true(known_all);
		/* few, where nearly all of a query is with signals blocked */
		assert_true(acts > 2);
		assert_int_equal(children_failed, 0);
	}
	test_end(f);
}

static void act_at_random_steps(void (*act_now)(void))
{
	const long slow = test_slowness() > 10 ? 10 : test_slowness();
	uint64_t random = (uint64_t)test_now_ms() + 1;
	int i, acted = 0;
	long all = 1;

	printf("seed %llu\n", (unsigned long long)random);
	for (i = 0; i < 2 || i * all * slow < MOST_STEPS; i++) {
		step_through(NULL, 0, 0, i % 2);
		all = steps;
		step_through(act_now,
			     1 + (long)(test_random(&random) % (uint64_t)all),
			     0, i % 2);
		acted += acts;
		assert_true(all_is_known());
		if (act_now == mark_here && acts)
			assert_true(told[9] && told[10] && told[11] &&
				    told[12]);
	}
	printf("%ld steps, %d of %d in time\n", all, acted, i);
	assert_true(acted > 0);
}

static void stores_at_any_step_are_reported(void **state)
{
	begin();
	act_at_random_steps(store_here);
	test_end(f);
}

static void queries_at_any_step_take_nothing_from_it(void **state)
{
	begin();
	act_at_random_steps(ask_here);
	act_at_random_steps(store_and_ask_here);
	test_end(f);
}

static void marks_at_any_step_are_reported(void **state)
{
	begin();
	act_at_random_steps(mark_here);
	test_end(f);
}

TEST_CASES("step", CASE(forks_between_two_steps_lose_nothing),
	   CASE(stores_at_any_step_are_reported),
	   CASE(queries_at_any_step_take_nothing_from_it),
	   CASE(marks_at_any_step_are_reported))

int main(void)
{
	if (can_step())
		return test_main(run_cases);
	printf("no flag of this processor stops a thread at each step\n");
	return 77;
}
