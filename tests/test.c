/* SPDX-License-Identifier: MIT */
/* test.c - what all test programs share. */
#include "test.h"

#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

struct ww *test_open(void)
{
	struct ww *ww = NULL;

	assert_int_equal(ww_open(&ww, NULL), 0);
	assert_non_null(ww);
	return ww;
}

unsigned test_caps(const struct ww *ww)
{
	struct ww_backend_info info = { .size = sizeof(info) };

	assert_int_equal(ww_info(ww, &info), 0);
	return info.caps;
}

void test_not_promised(const char *what)
{
	print_message("not promised: %s\n", what);
}

void test_run_hook(void (**hook)(void))
{
	void (*fn)(void) = *hook;

	*hook = NULL;
	if (fn)
		fn();
}

bool test_is_backend(const char *name)
{
	const char *backend = getenv("WRITEWATCH_BACKEND");

	return backend && strcmp(backend, name) == 0;
}

bool test_notices_replaced(const struct ww *ww)
{
	unsigned caps = test_caps(ww);

	if (caps & WW_CAP_FOREIGN_MPROTECT &&
	    (caps & WW_CAP_EXACT || !(caps & WW_CAP_NO_THREAD)))
		return true;
	test_not_promised("replaced memory is noticed");
	return false;
}

bool test_only_compares(void)
{
	const char *backend = getenv("WRITEWATCH_BACKEND");

	if (!backend || strcmp(backend, "copy"))
		return false;
	test_not_promised("writes that do not change the content");
	return true;
}

long test_slowness(void)
{
	const char *text = getenv("WRITEWATCH_TEST_SLOWNESS");

	return text ? strtol(text, NULL, 10) : 1;
}

char *test_map(size_t npages)
{
	char *m = mmap(NULL, (npages + 2) * PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(m, MAP_FAILED);
	/* pages may be called larger than they are (fake-page.c) */
	if ((uintptr_t)m % PAGE) {
		munmap(m, (npages + 2) * PAGE);
		m = mmap(NULL, (npages + 3) * PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		assert_ptr_not_equal(m, MAP_FAILED);
		m += PAGE - (uintptr_t)m % PAGE;
	}
	assert_int_equal(mprotect(m + PAGE, npages * PAGE, RW), 0);
	return m + PAGE;
}

void test_unmap(char *memory, size_t npages)
{
	assert_int_equal(munmap(memory - PAGE, (npages + 2) * PAGE), 0);
}

struct test_fixture test_begin(size_t npages, unsigned flags)
{
	struct test_fixture f = { test_open(), test_map(npages), npages };

	assert_int_equal(ww_watch(f.ww, f.m, npages * PAGE, flags), 0);
	return f;
}

void test_end(struct test_fixture f)
{
	ww_close(f.ww);
	test_unmap(f.m, f.npages);
}

bool test_promised(const struct ww *ww, unsigned caps, bool *said)
{
	unsigned bit;

	if (test_caps(ww) & caps)
		return true;
	for (bit = 1; bit && !*said; bit <<= 1)
		if (caps & bit)
			test_not_promised(ww_cap_name(bit));
	*said = true;
	return false;
}

void test_write(char *memory, ...)
{
	va_list ap;
	int i;

	va_start(ap, memory);
	while ((i = va_arg(ap, int)) >= 0)
		(*(volatile char *)(memory + (size_t)i * PAGE + 1))++;
	va_end(ap);
}

static void print_pages(const char *what, const char *memory, void **pages,
			size_t n)
{
	size_t i;

	print_error("%s:", what);
	for (i = 0; i < n; i++)
		print_error(" %zd", ((char *)pages[i] - memory) /
					    (ssize_t)PAGE);
	print_error("\n");
}

void test_expect(struct ww *ww, char *memory, size_t npages, unsigned flags,
		 ...)
{
	/* Small ones without malloc(): on musl its memory may come to lie in a hole of
	 * what is watched. */
	void *few[2 * 65] = { NULL };
	struct ww_range few_runs[65] = { { NULL, 0 } };
	bool fits = npages < 65;
	void **want = fits ? few : calloc(npages + 1, sizeof(*want));
	void **got = fits ? few + 65 : calloc(npages + 1, sizeof(*got));
	struct ww_range *runs =
		fits ? few_runs : calloc(npages + 1, sizeof(*runs));
	size_t n = 0, count = npages + 1, granularity = 0, i, k = 0;
	va_list ap;
	int page;

	va_start(ap, flags);
	while ((page = va_arg(ap, int)) >= 0)
		want[n++] = memory + (size_t)page * PAGE;
	va_end(ap);

	/* as runs, without changing anything */
	assert_int_equal(ww_get_ranges(ww, memory, npages * PAGE,
				       flags & ~WW_RESET, runs, &count),
			 0);
	for (i = 0; i < count; i++) {
		size_t at;

		assert_true(i == 0 ||
			    (char *)runs[i].start >
				    (char *)runs[i - 1].start + runs[i - 1].len);
		for (at = 0; at < runs[i].len; at += PAGE)
			got[k++] = (char *)runs[i].start + at;
	}
	if (k != n || memcmp(want, got, n * sizeof(*want))) {
		print_pages("want", memory, want, n);
		print_pages("runs", memory, got, k);
		fail();
	}
	/* as pages, and with the reset */
	count = npages + 1;
	memset(got, 0x55, (npages + 1) * sizeof(*got));
	assert_int_equal(ww_get(ww, memory, npages * PAGE, flags, got, &count,
				&granularity),
			 0);
	assert_int_equal(granularity, PAGE);
	if (count != n || memcmp(want, got, n * sizeof(*want))) {
		print_pages("want", memory, want, n);
		print_pages("pages", memory, got, count);
		fail();
	}
	for (i = count; i <= npages; i++)
		assert_true((uintptr_t)got[i] % 256 == 0x55);
	if (fits)
		return;
	free(want);
	free(got);
	free(runs);
}

size_t test_count(struct ww *ww, char *memory, size_t npages, unsigned flags)
{
	void **got = calloc(npages, sizeof(*got));
	size_t count = npages;

	assert_int_equal(ww_get(ww, memory, npages * PAGE, flags, got, &count,
				NULL),
			 0);
	free(got);
	return count;
}

int test_range_info(struct ww *ww, const void *at, struct ww_range *range,
		    unsigned *caps, unsigned *lost)
{
	struct ww_range_info info = { .size = sizeof(info) };
	int r = ww_next_range(ww, at, &info);

	if (r == 0 && (const char *)info.range.start > (const char *)at)
		r = -ENOENT;
	if (r < 0)
		return r;
	if (range)
		*range = info.range;
	if (caps)
		*caps = info.caps;
	if (lost)
		*lost = info.lost;
	return 0;
}

long test_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

size_t test_huge_page(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[256];
	size_t kib = 2048;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Hugepagesize: %zu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

int test_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

long test_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	long n = 0;
	int c;

	assert_non_null(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* What a child does, if pid says that this is one; else wait for it. */
static int run_child(pid_t pid, void (*fn)(void *), void *arg)
{
	struct sigaction act;
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		/* cmocka's goes; ours, which has SA_SIGINFO, stays */
		sigaction(SIGSEGV, NULL, &act);
		if (!(act.sa_flags & SA_SIGINFO))
			signal(SIGSEGV, SIG_DFL);
		alarm(100);
		fn(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int test_child(void (*fn)(void *), void *arg)
{
	fflush(NULL);
	return run_child(fork(), fn, arg);
}

int test_bare_child(void (*fn)(void *), void *arg)
{
	fflush(NULL);
	return run_child(test_bare_fork(), fn, arg);
}

pid_t test_bare_fork(void)
{
#ifdef __s390__ /* the stack comes before the flags */
	return (pid_t)syscall(SYS_clone, 0, SIGCHLD, 0, 0, 0);
#else
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
}

struct test_sleeper test_sleeper_start(void)
{
	struct test_sleeper s;
	int pipes[2];
	char c;

	assert_int_equal(pipe(pipes), 0);
	fflush(NULL);
	s.pid = fork();
	assert_true(s.pid >= 0);
	if (s.pid == 0) {
		close(pipes[1]);
		_exit(read(pipes[0], &c, 1) != 0);
	}
	close(pipes[0]);
	s.wake = pipes[1];
	return s;
}

void test_sleeper_end(struct test_sleeper sleeper)
{
	close(sleeper.wake);
	assert_int_equal(waitpid(sleeper.pid, NULL, 0), sleeper.pid);
}

/* A skip has a reason, and is decided before cmocka starts. */
static int check_backend(const char *name)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	const char *required;
	unsigned i;

	for (i = 0; ww_probe(i, &info) == 0; i++) {
		if (strcmp(info.name, name) != 0)
			continue;
		if (info.status == 0)
			return 0;
		fprintf(stderr, "%s: %s (%s)\n", name, info.reason,
			strerror(-info.status));
		required = getenv("WRITEWATCH_REQUIRE_BACKEND");
		return required && strstr(required, name) ? 1 : 77;
	}
	fprintf(stderr, "%s: no such backend\n", name);
	return 1;
}

int test_main(int (*run)(void))
{
	const char *backend = getenv("WRITEWATCH_BACKEND");
	int r;

	if (backend && *backend) {
		r = check_backend(backend);
		if (r)
			return r;
	}
	return run() ? 1 : 0;
}
