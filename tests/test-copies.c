/* SPDX-License-Identifier: MIT */
/*
 * test-copies.c - crowds and strangers: thousands of threads that fault at
 * once, faults inside signal handlers, a second copy of the library in the
 * process, dlclose(), a world stopped at random points inside every call.
 */
#include "test.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/syscall.h>

#define N 64

static struct test_fixture f;

/* --- crowds --- */

#define THREADS 2000

static pthread_barrier_t together;

static void *write_all_at_once(void *arg)
{
	uintptr_t k = (uintptr_t)arg;

	pthread_barrier_wait(&together);
	f.m[0] = 1;				    /* all in one page, */
	((volatile char *)f.m)[(1 + k) * PAGE] = 1; /* and in one each */
	return NULL;
}

static void thousands_of_threads_may_fault_at_once(void **state)
{
	const uintptr_t threads = THREADS / (test_slowness() > 1 ? 10 : 1);
	pthread_t *t = calloc(threads, sizeof(*t));
	pthread_attr_t small;
	uintptr_t i;

	f = test_begin(THREADS + 1, 0);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	pthread_barrier_init(&together, NULL, (unsigned)threads);
	for (i = 0; i < threads; i++)
		assert_int_equal(pthread_create(&t[i], &small,
						write_all_at_once, (void *)i),
				 0);
	for (i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(test_count(f.ww, f.m, THREADS + 1, WW_RESET),
			 threads + 1);
	assert_int_equal(test_count(f.ww, f.m, THREADS + 1, 0), 0);
	pthread_barrier_destroy(&together);
	free(t);
	test_end(f);
}

/* --- in signal handlers --- */

static void store_in_handler(int signo)
{
	int saved = errno;

	((volatile char *)f.m)[(size_t)(signo == SIGUSR2) * PAGE] = 1;
	if (signo == SIGUSR1)
		raise(SIGUSR2);
	errno = saved;
}

static void stores_in_signal_handlers_are_seen(void **state)
{
	struct sigaction act = { .sa_handler = store_in_handler };
	stack_t stack = { .ss_size = 1 << 16 };

	f = test_begin(N, 0);
	sigaction(SIGUSR1, &act, NULL);
	act.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR2, &act, NULL);
	stack.ss_sp = malloc(stack.ss_size);
	sigaltstack(&stack, NULL);
	raise(SIGUSR1);
	EXPECT_RESET(f, PAGES(0, 1));
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(stack.ss_sp);
	test_end(f);
}

/* With SIGSEGV blocked the kernel kills who faults: a backend without signals
 * does not care, the others say so in the documentation. */
static void store_with_sigsegv_blocked(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	((volatile char *)f.m)[2 * PAGE] = 1;
	_exit(test_count(f.ww, f.m, N, 0) >= 1 ? 0 : 1);
}

static void a_blocked_sigsegv_kills_only_where_signals_are_used(void **state)
{
	int status;

	f = test_begin(N, 0);
	status = test_child(store_with_sigsegv_blocked, NULL);
	if (test_caps(f.ww) & WW_CAP_NO_SIGNAL)
		assert_int_equal(status, 0);
	else
		assert_true(status == 0 || status == -SIGSEGV);
	test_end(f);
}

/* --- a second copy --- */

struct copy {
	void *handle;
	char path[40];
	int (*open)(struct ww **, const struct ww_options *);
	void (*close)(struct ww *);
	int (*watch)(struct ww *, void *, size_t, unsigned);
	int (*get)(struct ww *, void *, size_t, unsigned, void **, size_t *,
		   size_t *);
};

static void load_copy(struct copy *c)
{
	char command[600];
	Dl_info info;

	CHECK(dladdr((void *)(uintptr_t)ww_open, &info));
	strcpy(c->path, "/tmp/writewatch-copy-XXXXXX");
	close(mkstemp(c->path));
	snprintf(command, sizeof(command), "cp -L '%s' %s", info.dli_fname,
		 c->path);
	CHECK(system(command) == 0);
	c->handle = dlopen(c->path, RTLD_NOW | RTLD_LOCAL);
	CHECK(c->handle);
	*(void **)&c->open = dlsym(c->handle, "ww_open");
	*(void **)&c->close = dlsym(c->handle, "ww_close");
	*(void **)&c->watch = dlsym(c->handle, "ww_watch");
	*(void **)&c->get = dlsym(c->handle, "ww_get");
	CHECK(c->open && c->open != ww_open);
	unlink(c->path);
}

static void check_both(struct copy *c, struct ww *other, char *theirs)
{
	void *pages[N];
	size_t n;
	int i;

	for (i = 0; i < 20; i++) {
		((volatile char *)f.m)[i * PAGE] = 1;
		((volatile char *)theirs)[(i + 20) * PAGE] = 1;
		n = N;
		CHECK(c->get(other, theirs, N * PAGE, WW_RESET, pages, &n,
			     NULL) == 0);
		CHECK(n == 1 && pages[0] == theirs + (i + 20) * PAGE);
		CHECK(test_count(f.ww, f.m, N, WW_RESET) == 1);
	}
}

/* Its handler is installed on top of ours, or ours on top of its. */
static void use_two_copies(void *arg)
{
	bool ours_first = arg != NULL;
	struct copy c;
	struct ww *other = NULL;
	char *theirs = test_map(N);

	load_copy(&c);
	f.m = test_map(N);
	if (ours_first)
		f.ww = test_open();
	CHECK(c.open(&other, NULL) == 0);
	if (!ours_first)
		f.ww = test_open();
	/* one user of the soft-dirty bits in a process: documented */
	if (!(test_caps(f.ww) & (WW_CAP_EXACT | WW_CAP_NO_SIGNAL))) {
		test_not_promised("two users of the kernel's bits");
		return;
	}
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	CHECK(c.watch(other, theirs, N * PAGE, 0) == 0);
	check_both(&c, other, theirs);
	/* one of them goes: its handler stays, as the library does */
	c.close(other);
	dlclose(c.handle);
	((volatile char *)theirs)[5 * PAGE] = 1;
	((volatile char *)f.m)[5 * PAGE] = 1;
	CHECK(test_count(f.ww, f.m, N, WW_RESET) == 1);
	ww_close(f.ww);
	memset(f.m, 1, N * PAGE);
}

static void a_second_copy_of_the_library_works(void **state)
{
	assert_int_equal(test_child(use_two_copies, NULL), 0);
	assert_int_equal(test_child(use_two_copies, ""), 0);
}

/* --- a stopped world --- */

#define MUTATORS 3

static atomic_bool quit;
static atomic_uint stopped;
static atomic_uint resume;
static pid_t tids[MUTATORS];
static char *spare[MUTATORS];

static void stop_here(int signo)
{
	int saved = errno;
	unsigned round = atomic_load(&resume);

	atomic_fetch_add(&stopped, 1);
	while (atomic_load(&resume) == round)
		syscall(SYS_sched_yield);
	errno = saved;
}

/* Every call of ours, one after the other, on memory of its own and the rest.
 */
static void *call_everything(void *arg)
{
	uintptr_t k = (uintptr_t)arg;
	char *mine = spare[k];
	struct ww_range runs[8];
	unsigned i;

	tids[k] = (pid_t)syscall(SYS_gettid);
	for (i = 0; !atomic_load(&quit); i++) {
		void *pages[8];
		size_t n = 8;

		((volatile char *)f.m)[(i * 7 + k) % N * PAGE] = 1;
		switch (i % 9) {
		case 0:
			CHECK(ww_watch(f.ww, mine, 8 * PAGE, 0) == 0);
			break;
		case 1:
			CHECK(ww_get(f.ww, mine, 8 * PAGE, WW_RESET, pages, &n,
				     NULL) == 0);
			break;
		case 2:
			mine[PAGE] = 1;
			CHECK(ww_get_ranges(f.ww, mine, 8 * PAGE, 0, runs,
					    &n) == 0);
			break;
		case 3:
			CHECK(ww_mark(f.ww, mine + 3 * PAGE, 5, 0) == 0);
			break;
		case 4:
			CHECK(ww_protect(f.ww, mine, 2 * PAGE, PROT_READ, 0) ==
			      0);
			break;
		case 5:
			CHECK(ww_protect(f.ww, mine, 2 * PAGE, RW, 0) == 0);
			break;
		case 6:
			CHECK(ww_reset(f.ww, mine, 8 * PAGE, 0) == 0);
			break;
		case 7:
			CHECK(ww_discard(f.ww, mine, 8 * PAGE, 0) == 0);
			break;
		default:
			CHECK(ww_unwatch(f.ww, mine, 8 * PAGE, 0) == 0);
		}
	}
	return NULL;
}

/* Stopped threads hold nothing that a query needs. */
static void a_world_stopped_anywhere_can_be_collected(void **state)
{
	struct sigaction act = { .sa_handler = stop_here,
				 .sa_flags = SA_RESTART };
	pthread_t t[MUTATORS];
	uint64_t random = 88172645463325252u;
	int round, rounds;
	uintptr_t k;

	f = test_begin(N, 0);
	sigaction(SIGUSR1, &act, NULL);
	rounds = (int)(3000 / test_slowness());
	/* soft-dirty says that a thread stopped inside one of its calls stops
	 * the others: it blocks signals there instead */
	for (k = 0; k < MUTATORS; k++) {
		spare[k] = test_map(8);
		pthread_create(&t[k], NULL, call_everything, (void *)k);
	}
	for (k = 0; k < MUTATORS; k++)
		while (!*(volatile pid_t *)&tids[k])
			sched_yield();
	for (round = 0; round < rounds; round++) {
		volatile unsigned delay;
		void *pages[N];
		size_t n = N;

		test_random(&random);
		for (delay = 0; delay < random % 4000; delay++)
			;
		atomic_store(&stopped, 0);
		for (k = 0; k < MUTATORS; k++)
			syscall(SYS_tgkill, getpid(), tids[k], SIGUSR1);
		while (atomic_load(&stopped) < MUTATORS)
			sched_yield();
		assert_int_equal(
			ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL),
			0);
		n = N;
		assert_int_equal(
			ww_get(f.ww, f.m, N * PAGE, 0, pages, &n, NULL), 0);
		if (PROMISED(f.ww, WW_CAP_EXACT))
			/* a store under way may fault again when it goes on,
			 * but not while it is stopped; a page whose handler
			 * was stopped while it opened it stays dirty */
			assert_true(n <= MUTATORS);
		assert_int_equal(ww_reset(f.ww, f.m, N * PAGE, 0), 0);
		assert_int_equal(ww_mark(f.ww, f.m, PAGE, 0), 0);
		atomic_fetch_add(&resume, 1);
	}
	atomic_store(&quit, true);
	for (k = 0; k < MUTATORS; k++)
		pthread_join(t[k], NULL);
	signal(SIGUSR1, SIG_DFL);
	test_end(f);
}

TEST_MAIN("copies", CASE(thousands_of_threads_may_fault_at_once),
	  CASE(stores_in_signal_handlers_are_seen),
	  CASE(a_blocked_sigsegv_kills_only_where_signals_are_used),
	  CASE(a_second_copy_of_the_library_works),
	  CASE(a_world_stopped_anywhere_can_be_collected))
