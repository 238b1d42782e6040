/* SPDX-License-Identifier: MIT */
/*
 * faults.c - each system call of sys.c and each allocation fails once, with each
 * errno that it can give, at each place of a run through all calls: a documented
 * code comes out, nothing is lost afterwards, no descriptor and no mapping leaks.
 *
 * The library is linked statically with --wrap for all of them (meson.build).
 */
#include "../test.h"

#include <signal.h>

#include "base/heap.h"
#include "kernel/sys.h"
#include "kernel/uapi/userfaultfd.h"
#include "writewatch-win32.h"

/* --- the injection --- */

static struct {
	bool armed;
	unsigned thread; /* only its calls are counted */
	long count, fail_at;
	unsigned which;	  /* of the errno values */
	const char *name; /* what failed */
	unsigned choices; /* how many values that one has */
	long used; /* bytes of the heap, and mapped, less those given back */
	bool in_heap; /* what the heap maps is its own */
	bool kept;	  /* undoing one was made to fail */
	bool always;	  /* each that makes a descriptor fails */
} inject;

static bool makes_descriptor(const char *name)
{
	return !strcmp(name, "ww_sys_open") ||
	       !strcmp(name, "ww_sys_userfaultfd");
}

/* 0: go on; else -errno. */
static int trip(const char *name, const int *codes, unsigned n)
{
	if (!inject.armed || inject.thread != ww_sys_thread_id())
		return 0;
	if (inject.always ? !makes_descriptor(name)
			  : ++inject.count != inject.fail_at)
		return 0;
	inject.name = name;
	inject.choices = n;
	return -codes[inject.which < n ? inject.which : n - 1];
}

#define TRIP(name, ...)                                               \
	static const int codes[] = { __VA_ARGS__ };                   \
	int failed = trip(#name, codes, sizeof(codes) / sizeof(codes[0])); \
	if (failed)                                                   \
	return failed

#define WRAP(ret, name, params, args, ...)                \
	ret __real_##name params;                         \
	ret __wrap_##name params;                         \
	ret __wrap_##name params                          \
	{                                                 \
		TRIP(name, __VA_ARGS__);                  \
		return __real_##name args;                \
	}

WRAP(int, ww_sys_open, (const char *path, int flags), (path, flags), ENOENT,
     EACCES, EMFILE, ENOMEM)
WRAP(int, ww_sys_userfaultfd, (int flags), (flags), EPERM, ENOSYS, EMFILE,
     EINVAL)
WRAP(int, ww_sys_pidfd, (int pid), (pid), EMFILE, ENOSYS)
WRAP(int, ww_sys_set_blocking, (int fd), (fd), EBADF)
WRAP(long, ww_sys_memwatch,
     (long nr, int pidfd, uintptr_t start, int len, unsigned flags,
      int64_t *vec, int vec_len),
     (nr, pidfd, start, len, flags, vec, vec_len), ENOMEM, EPERM, EIO)
WRAP(ssize_t, ww_sys_write, (int fd, const void *buf, size_t len),
     (fd, buf, len), EPERM, EIO)
WRAP(ssize_t, ww_sys_pread, (int fd, void *buf, size_t len, int64_t off),
     (fd, buf, len, off), EIO, ENOMEM)
int __real_ww_sys_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg);

/* Each request with the codes that the kernel has for it. */
static int trip_ioctl(unsigned long request)
{
	if (request == UFFDIO_REGISTER) {
		TRIP(ww_sys_ioctl, EINVAL, EPERM, ENOMEM, EBUSY);
	} else if (request == UFFDIO_WRITEPROTECT) {
		TRIP(ww_sys_ioctl, EINVAL, ENOENT, EAGAIN, ENOMEM);
	} else {
		TRIP(ww_sys_ioctl, EINVAL, EPERM, ENOMEM);
	}
	return 0;
}

int __wrap_ww_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r = trip_ioctl(request);

	return r < 0 ? r : __real_ww_sys_ioctl(fd, request, arg);
}

WRAP(int64_t, ww_sys_position, (int fd), (fd), EBADF)
WRAP(int, ww_sys_set_position, (int fd, int64_t off), (fd, off), EINVAL)
WRAP(int, ww_sys_name_anon, (uintptr_t start, size_t len, const char *name),
     (start, len, name), EINVAL)
WRAP(int, ww_sys_mprotect, (uintptr_t start, size_t len, int prot),
     (start, len, prot), ENOMEM, EACCES)
WRAP(int, ww_sys_madvise, (uintptr_t start, size_t len, int advice),
     (start, len, advice), EINVAL, ENOMEM, EAGAIN)
WRAP(int, ww_sys_sigaction,
     (int signo, const struct sigaction *act, struct sigaction *old),
     (signo, act, old), EINVAL)
WRAP(int, ww_sys_thread,
     (void *stack, size_t stack_len, int (*fn)(void *), void *arg,
      atomic_uint *alive),
     (stack, stack_len, fn, arg, alive), EAGAIN)
WRAP(int, ww_sys_mmap_prot, (size_t len, int prot, void **out),
     (len, prot, out), EACCES)
WRAP(int, ww_sys_in_child, (int (*fn)(volatile char *), volatile char *arg),
     (fn, arg), EAGAIN)

int __real_ww_sys_reserve(void *at, size_t len, void **out);
int __wrap_ww_sys_reserve(void *at, size_t len, void **out);

int __wrap_ww_sys_reserve(void *at, size_t len, void **out)
{
	int r;
	TRIP(ww_sys_reserve, ENOMEM);
	r = __real_ww_sys_reserve(at, len, out);
	if (r == 0)
		inject.used += (long)len;
	return r;
}

int __real_ww_sys_mmap_shared(size_t len, void **out);
int __wrap_ww_sys_mmap_shared(size_t len, void **out);

int __wrap_ww_sys_mmap_shared(size_t len, void **out)
{
	int r;
	TRIP(ww_sys_mmap_shared, ENOMEM);
	r = __real_ww_sys_mmap_shared(len, out);
	if (r == 0)
		inject.used += (long)len;
	return r;
}

int __real_ww_sys_mmap(size_t len, void **out);
int __wrap_ww_sys_mmap(size_t len, void **out);
int __real_ww_sys_munmap(void *at, size_t len);
int __wrap_ww_sys_munmap(void *at, size_t len);

int __wrap_ww_sys_mmap(size_t len, void **out)
{
	int r;
	TRIP(ww_sys_mmap, ENOMEM);
	r = __real_ww_sys_mmap(len, out);
	if (r == 0 && !inject.in_heap)
		inject.used += (long)len;
	return r;
}

int __wrap_ww_sys_munmap(void *at, size_t len)
{
	static const int codes[] = { ENOMEM };
	int r = trip("ww_sys_munmap", codes, 1);

	if (r) {
		inject.kept = true;
		return r;
	}
	if (!inject.in_heap)
		inject.used -= (long)len;
	return __real_ww_sys_munmap(at, len);
}

void *__real_ww_heap_new(size_t bytes);
void *__wrap_ww_heap_new(size_t bytes);
void __real_ww_heap_free(void *memory, size_t bytes);
void __wrap_ww_heap_free(void *memory, size_t bytes);

/* The heap's lock blocks none: its callers have. */
static void is_masked(void)
{
	sigset_t blocked;

	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (!sigismember(&blocked, SIGUSR1)) {
		inject.armed = false;
		print_error("the heap is used with signals open\n");
		abort();
	}
}

void *__wrap_ww_heap_new(size_t bytes)
{
	static const int enomem[] = { ENOMEM };
	void *memory;

	is_masked();
	if (trip("ww_heap_new", enomem, 1))
		return NULL;
	inject.in_heap = true;
	memory = __real_ww_heap_new(bytes);
	inject.in_heap = false;
	if (memory)
		inject.used += (long)bytes;
	return memory;
}

void __wrap_ww_heap_free(void *memory, size_t bytes)
{
	is_masked();
	inject.in_heap = true;
	__real_ww_heap_free(memory, bytes);
	inject.in_heap = false;
	if (memory)
		inject.used -= (long)bytes;
}

/* Nothing comes from malloc(): a stopped thread may hold its lock. */
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

static void not_malloc(void)
{
	if (inject.armed && inject.thread == ww_sys_thread_id()) {
		inject.armed = false;
		print_error("the library calls malloc()\n");
		abort();
	}
}

void *__wrap_malloc(size_t n)
{
	not_malloc();
	return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	not_malloc();
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	not_malloc();
	return __real_realloc(p, n);
}

/* --- the run --- */

#define N 12

static char *m;
static bool written[N]; /* must be reported by the next query */
static int result;

/* The @return lists of writewatch.h. */
static const struct {
	const char *call;
	int codes[16]; /* 0 behind the last */
} returns[] = {
#include "returns.h"
};

static bool is_documented(const char *call, int r)
{
	size_t len = strcspn(call, "("), i, k;

	for (i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
		if (strlen(returns[i].call) != len ||
		    strncmp(returns[i].call, call, len))
			continue;
		for (k = 0; returns[i].codes[k]; k++)
			if (returns[i].codes[k] == r)
				return true;
	}
	return false;
}

/* A call's result: what its @return does not list ends the test. */
static int documented(const char *call, int r)
{
	if (r < 0 && !is_documented(call, r)) {
		print_error("%s: %s is %d, which its @return does not list\n",
			    inject.name, call, r);
		abort();
	}
	return r;
}

#define DOCUMENTED(call) documented(#call, call)

static void put(size_t page)
{
	*(volatile char *)(m + page * PAGE) = 1;
	written[page] = true;
}

/* Once more if it failed: what was dirty still is. */
static void ask(struct ww *ww, unsigned flags, bool ranges)
{
	void *pages[N];
	struct ww_range runs[N];
	bool told[N] = { false };
	size_t n = N, i, k;
	int tries = 0, r;

	do {
		n = N;
		r = ranges ? DOCUMENTED(ww_get_ranges(ww, m, N * PAGE, flags,
						      runs, &n))
			   : DOCUMENTED(ww_get(ww, m, N * PAGE, flags, pages,
					       &n, NULL));
		CHECK(r == 0 || n == N);
	} while (r < 0 && ++tries < 3);
	CHECK(r == 0);
	for (i = 0; i < n; i++) {
		if (!ranges)
			told[((char *)pages[i] - m) / PAGE] = true;
		for (k = 0; ranges && k < runs[i].len / PAGE; k++)
			told[((char *)runs[i].start - m) / PAGE + k] = true;
	}
	for (i = 0; i < N; i++) {
		if (written[i] && !told[i]) {
			print_error("%s: page %zu LOST\n", inject.name, i);
			abort();
		}
		if (flags & WW_RESET)
			written[i] = false;
	}
}

#define AGAIN(call)                              \
	do {                                     \
		result = DOCUMENTED(call);       \
		if (result < 0)                  \
			result = (call);         \
		if (result != 0) {               \
			print_error("%s: then %d\n", inject.name, result); \
			abort();                 \
		}                                \
	} while (0)

/* A null pointer, with a code of its own, or it works. */
static void through_win32(void)
{
	const ww_DWORD type = WW_MEM_RESERVE | WW_MEM_COMMIT |
			      WW_MEM_WRITE_WATCH;
	void *pages[16];
	ww_ULONG_PTR count = 16;
	ww_DWORD granularity;
	char *p;
	int tries;

	for (tries = 0; tries < 3; tries++) {
		p = ww_VirtualAlloc(NULL, 0x10000, type, WW_PAGE_READWRITE);
		if (p)
			break;
		CHECK(ww_GetLastError() == WW_ERROR_NOT_ENOUGH_MEMORY ||
		      ww_GetLastError() == WW_ERROR_COMMITMENT_LIMIT);
	}
	CHECK(p);
	p[0x5000] = 1;
	if (ww_GetWriteWatch(1, p, 0x10000, pages, &count, &granularity) != 0) {
		count = 16;
		CHECK(ww_GetWriteWatch(1, p, 0x10000, pages, &count,
				       &granularity) == 0);
	}
	CHECK(count >= 1);
	for (tries = 0; tries < 3; tries++)
		if (ww_VirtualFree(p, 0, WW_MEM_RELEASE))
			return;
	CHECK(!"released");
}

static void through_all_calls(const char *backend)
{
	struct ww_options o = { .size = sizeof(o), .backend = backend };
	struct ww_range_info range = { .size = sizeof(range) };
	struct ww_range parts[2] = { { m + PAGE, PAGE }, { m + 3 * PAGE, PAGE } };
	struct ww *ww = NULL;
	size_t i;

	memset(m, 0, N * PAGE);
	memset(written, 0, sizeof(written));
	result = DOCUMENTED(ww_open(&ww, &o));
	if (result < 0)
		return;
	AGAIN(ww_watch(ww, m, N * PAGE, 0));
	put(1);
	put(5);
	ask(ww, 0, false);
	ask(ww, WW_RESET, true);
	put(2);
	put(3);
	put(9);
	ask(ww, WW_RESET, false);
	put(4);
	result = DOCUMENTED(ww_reset(ww, m + 4 * PAGE, PAGE, 0));
	written[4] = result < 0; /* then it is called dirty */
	put(6);
	result = DOCUMENTED(ww_mark(ww, m + 7 * PAGE, 1, 0));
	written[7] = true;
	AGAIN(ww_hold(ww, m + 8 * PAGE, 1, 0));
	put(8);
	ask(ww, WW_RESET, false);
	put(8);
	AGAIN(ww_release(ww, m + 8 * PAGE, 1, 0));
	AGAIN(ww_protect(ww, m + 6 * PAGE, 2 * PAGE, PROT_READ, 0));
	AGAIN(ww_protect(ww, m + 6 * PAGE, 2 * PAGE, RW, 0));
	result = DOCUMENTED(ww_discard(ww, m + 9 * PAGE, PAGE, 0));
	AGAIN(ww_next_range(ww, m, &range));
	put(1);
	put(3);
	result = DOCUMENTED(ww_reset_ranges(ww, parts, 2, 0));
	written[1] = written[3] = result < 0;
	AGAIN(ww_unwatch(ww, m + 10 * PAGE, PAGE, 0));
	AGAIN(ww_watch(ww, m + 10 * PAGE, PAGE, 0));
	put(10);
	put(11);
	ask(ww, WW_RESET, true);
	for (i = 0; i < N; i++)
		put(i);
	ww_close(ww);
	for (i = 0; i < N; i++)
		put(i);
	through_win32();
}

/* What was retired by one run may be freed in the next: a list of trackers. */
#define ROSTER 64

static void one_run(const char *backend, long fail_at, unsigned which)
{
	int before = test_descriptors();

	inject.thread = ww_sys_thread_id();
	inject.count = inject.used = 0;

	inject.fail_at = fail_at;
	inject.which = which;
	inject.name = "nothing";
	inject.choices = 0;
	inject.kept = false;
	if (getenv("WRITEWATCH_TEST_TRACE"))
		print_message("call %ld, choice %u\n", fail_at, which);
	inject.armed = true;
	through_all_calls(backend);
	inject.armed = false;
	if (test_descriptors() != before ||
	    (labs(inject.used) > ROSTER && !inject.kept)) {
		print_error("%s (call %ld, choice %u): %d descriptors and %ld "
			    "bytes leak\n",
			    inject.name, fail_at, which,
			    test_descriptors() - before, inject.used);
		fail();
	}
}

static void each_call_may_fail_at_each_place(void **state)
{
	const char *backend = getenv("WRITEWATCH_BACKEND");
	long at = 0, runs = 0;
	unsigned which;

	assert_non_null(backend);
	m = test_map(N);
	through_all_calls(backend); /* what is made once is made */
	do {
		at++;
		which = 0;
		do
			one_run(backend, at, which++), runs++;
		while (which < inject.choices);
	} while (inject.choices);
	print_message("  %ld places, %ld runs\n", at - 1, runs);
	assert_true(at > 20);
	test_unmap(m, N);
}

/* --- in a fork child that can not be set up --- */

static void call_in_child(struct ww *ww, int call)
{
	struct ww_range_info range = { .size = sizeof(range) };
	struct ww_range runs[N], part = { m, PAGE };
	void *pages[N];
	size_t n = N;

	switch (call) {
	case 0:
		DOCUMENTED(ww_get(ww, m, N * PAGE, 0, pages, &n, NULL));
		break;
	case 1:
		DOCUMENTED(ww_get_ranges(ww, m, PAGE, WW_RESET, runs, &n));
		break;
	case 2:
		DOCUMENTED(ww_reset(ww, m, PAGE, 0));
		break;
	case 3:
		DOCUMENTED(ww_reset_ranges(ww, &part, 1, 0));
		break;
	case 4:
		DOCUMENTED(ww_watch(ww, m + N * PAGE, PAGE, 0));
		break;
	case 5:
		DOCUMENTED(ww_next_range(ww, m, &range));
		break;
	case 6:
		DOCUMENTED(ww_protect(ww, m, PAGE, PROT_READ, 0));
		break;
	case 7:
		DOCUMENTED(ww_discard(ww, m, PAGE, 0));
		break;
	case 8:
		DOCUMENTED(ww_mark(ww, m, PAGE, 0));
		break;
	case 9:
		DOCUMENTED(ww_hold(ww, m, PAGE, 0));
		DOCUMENTED(ww_release(ww, m, PAGE, 0));
		break;
	case 10: /* they work */
		CHECK(ww_unwatch(ww, m, PAGE, 0) == 0);
		break;
	case 11:
		ww_close(ww);
		break;
	}
}

/* All that its setting up calls fails, with one code. */
static void a_child_that_cannot_be_set_up_says_so(void **state)
{
	struct ww_options o = { .size = sizeof(o),
				.backend = getenv("WRITEWATCH_BACKEND") };
	unsigned which;
	struct ww *ww;
	int call, status;

	m = test_map(N + 1);
	assert_int_equal(ww_open(&ww, &o), 0);
	assert_int_equal(ww_watch(ww, m, N * PAGE, 0), 0);
	for (which = 0; which < 6; which++)
		for (call = 0; call < 12; call++) {
			pid_t pid = test_bare_fork();

			if (pid == 0) {
				inject.thread = ww_sys_thread_id();
				inject.which = which;
				inject.always = inject.armed = true;
				call_in_child(ww, call);
				_exit(0);
			}
			assert_int_equal(waitpid(pid, &status, 0), pid);
			assert_int_equal(status, 0);
		}
	ww_close(ww);
	test_unmap(m, N + 1);
}

TEST_MAIN("faults", CASE(each_call_may_fail_at_each_place),
	  CASE(a_child_that_cannot_be_set_up_says_so))
