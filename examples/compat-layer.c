/* SPDX-License-Identifier: MIT */
/*
 * compat-layer.c - a Windows compatibility layer in miniature: how one that
 * manages memory itself puts write watch on top of this library.
 *
 *   - It has its own list of views, and one mutex for its address space, which
 *     it holds while it calls the two Nt calls: they call nobody back, allocate
 *     nothing, and take no lock of anybody's.
 *   - It owns SIGSEGV (WW_OPEN_HOST_SIGNALS): its handler asks the library
 *     first, then raises a Windows exception (here: counts it).
 *   - A system call's output buffer is held over its full length during the
 *     call: the call cannot fail on a page that is closed, and all that a
 *     ReadFile() may touch is reported, as on Windows, which probes it.
 *
 * It checks itself and ends with 0, or says what does not hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <asm/prctl.h>
#endif

#define WRITEWATCH_WIN32_NAMES
#include <writewatch-win32.h>

#define STATUS_END_OF_FILE ((NTSTATUS)0xC0000011)
#define GRANULARITY ((size_t)0x10000)

/* --- the address space --- */

struct view {
	struct view *next;
	char *base;
	size_t size;
	int watched;
};

static struct {
	pthread_mutex_t mutex;
	struct view *views;
	struct ww *ww;
} space = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static struct view *find_view(const void *at)
{
	struct view *v;

	for (v = space.views; v; v = v->next)
		if ((const char *)at >= v->base &&
		    (const char *)at < v->base + v->size)
			return v;
	return NULL;
}

static char *map_aligned(size_t size)
{
	char *p = mmap(NULL, size + GRANULARITY, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *at;

	if (p == MAP_FAILED)
		return NULL;
	at = (char *)(((uintptr_t)p + GRANULARITY - 1) & ~(GRANULARITY - 1));
	if (at > p)
		munmap(p, (size_t)(at - p));
	munmap(at + size, (size_t)(p + GRANULARITY - at));
	return at;
}

/* As NtAllocateVirtualMemory(), for whole new views alone. */
static NTSTATUS layer_allocate(void **base, size_t *size, ULONG type)
{
	struct view *v = malloc(sizeof(*v));
	NTSTATUS status = WW_STATUS_NO_MEMORY;

	if (!v || !*size)
		goto out;
	v->size = (*size + GRANULARITY - 1) & ~(GRANULARITY - 1);
	v->watched = (type & MEM_WRITE_WATCH) != 0;
	pthread_mutex_lock(&space.mutex);
	v->base = map_aligned(v->size);
	if (v->base &&
	    (!v->watched || ww_watch(space.ww, v->base, v->size, 0) == 0)) {
		v->next = space.views;
		space.views = v;
		*base = v->base;
		*size = v->size;
		status = STATUS_SUCCESS;
	} else if (v->base) {
		munmap(v->base, v->size);
	}
	pthread_mutex_unlock(&space.mutex);
out:
	if (status != STATUS_SUCCESS)
		free(v);
	return status;
}

static void layer_free(void *base)
{
	struct view **at, *v;

	pthread_mutex_lock(&space.mutex);
	for (at = &space.views; (v = *at); at = &v->next)
		if (v->base == base)
			break;
	if (v) {
		*at = v->next;
		if (v->watched)
			ww_unwatch(space.ww, v->base, v->size, WW_UNMAPPING);
		munmap(v->base, v->size);
		free(v);
	}
	pthread_mutex_unlock(&space.mutex);
}

/* --- the two calls, under the layer's own lock --- */

static NTSTATUS layer_get_write_watch(HANDLE process, ULONG flags, PVOID base,
				      SIZE_T size, PVOID *addresses,
				      ULONG_PTR *count, ULONG *granularity)
{
	NTSTATUS status;

	pthread_mutex_lock(&space.mutex);
	status = NtGetWriteWatch(process, flags, base, size, addresses, count,
				 granularity);
	pthread_mutex_unlock(&space.mutex);
	return status;
}

static NTSTATUS layer_reset_write_watch(HANDLE process, PVOID base, SIZE_T size)
{
	NTSTATUS status;

	pthread_mutex_lock(&space.mutex);
	status = NtResetWriteWatch(process, base, size);
	pthread_mutex_unlock(&space.mutex);
	return status;
}

/* --- system calls with output buffers --- */

/* The handle is judged before the buffer is probed. Held meanwhile, the buffer is
 * open whatever other threads reset, and all of it is reported, as on Windows. */
static NTSTATUS layer_read_file(int file, void *buffer, size_t size,
				size_t *done)
{
	ssize_t n;

	if (fcntl(file, F_GETFD) < 0)
		return WW_STATUS_INVALID_HANDLE;
	if (ww_hold(space.ww, buffer, size, 0) < 0)
		return WW_STATUS_NO_MEMORY;
	do
		n = read(file, buffer, size);
	while (n < 0 && errno == EINTR);
	ww_release(space.ww, buffer, size, 0);
	if (n < 0)
		return WW_STATUS_ACCESS_DENIED;
	*done = (size_t)n;
	return n ? STATUS_SUCCESS : STATUS_END_OF_FILE;
}

/* --- exceptions --- */

static volatile sig_atomic_t exceptions;
static sigjmp_buf resume;

/* A 32-bit thread of a layer enters its handler with the thread pointer of the
 * program, not of the layer: until that is put right no thread-local variable
 * can be used. Here with none at all, where there is a call for it. The pointer
 * is volatile so that the call goes through no PLT: the loader's binding of it at
 * the first call uses thread-local variables. */
static int (*volatile handle_fault)(int, void *, void *) = ww_handle_fault;

#ifdef __has_attribute
#if __has_attribute(no_stack_protector) /* gcc 11, clang 7 */
#define NO_CANARY __attribute__((no_stack_protector))
#endif
#endif
#ifndef NO_CANARY
#define NO_CANARY
#endif

#if defined(__x86_64__)
static long arch_prctl(long code, long address)
{
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(SYS_arch_prctl), "D"(code), "S"(address)
			 : "rcx", "r11", "memory");
	return r;
}

NO_CANARY static int handle_without_tls(int signo, siginfo_t *info,
					void *context)
{
	unsigned long pointer = 0;
	int r;

	arch_prctl(ARCH_GET_FS, (long)&pointer);
	arch_prctl(ARCH_SET_FS, 0);
	r = handle_fault(signo, info, context);
	arch_prctl(ARCH_SET_FS, (long)pointer);
	return r;
}
#else
static int handle_without_tls(int signo, siginfo_t *info, void *context)
{
	return handle_fault(signo, info, context);
}
#endif

static void on_fault(int signo, siginfo_t *info, void *context)
{
	if (handle_without_tls(signo, info, context))
		return;
	exceptions++; /* here a layer looks for handlers of the program's */
	siglongjmp(resume, 1);
}

/* --- what a program would do --- */

static int failures;

static void check(int holds, const char *what)
{
	if (!holds) {
		printf("does not hold: %s\n", what);
		failures++;
	}
}

static char *memory;
static size_t size = 16 * 4096;
static void *pages[16];

static ULONG_PTR dirty(ULONG flags)
{
	ULONG_PTR n = sizeof(pages) / sizeof(pages[0]);
	ULONG granularity = 0;

	if (layer_get_write_watch(GetCurrentProcess(), flags, memory, size,
				  pages, &n, &granularity) != STATUS_SUCCESS)
		return ~(ULONG_PTR)0;
	return n;
}

static void stores(void)
{
	int i;

	check(dirty(0) == 0, "fresh memory is clean");
	for (i = 0; i < 16; i += 4)
		memory[i * 4096] = 1;
	check(dirty(WRITE_WATCH_FLAG_RESET) >= 4, "stores are seen");
	check(dirty(0) == 0, "a reset cleans");
	memory[5] = 1;
	check(layer_reset_write_watch(GetCurrentProcess(), memory, size) ==
			      STATUS_SUCCESS &&
		      dirty(0) == 0,
	      "NtResetWriteWatch cleans");
}

/* Rows 6.2.4 to 6.2.6 of the conformance table. */
static void reads(void)
{
	char name[] = "/tmp/compat-layer-XXXXXX";
	int file = mkstemp(name);
	char text[2 * 4096 + 3] = "read me";
	size_t done = 0;

	unlink(name);
	check(write(file, text, sizeof(text)) == (ssize_t)sizeof(text),
	      "a file");
	lseek(file, 0, SEEK_SET);
	check(layer_read_file(file, memory, size, &done) == STATUS_SUCCESS &&
		      done == sizeof(text) && !strcmp(memory, "read me"),
	      "ReadFile into watched memory works");
	check(dirty(WRITE_WATCH_FLAG_RESET) == 16, "its whole buffer is dirty");
	check(layer_read_file(file, memory, size, &done) ==
			      STATUS_END_OF_FILE &&
		      dirty(WRITE_WATCH_FLAG_RESET) == 16,
	      "at the end of the file too");
	close(file);
	check(layer_read_file(file, memory, size, &done) ==
			      WW_STATUS_INVALID_HANDLE &&
		      dirty(0) == 0,
	      "a bad handle leaves it clean");
}

static void faults(void)
{
	ww_protect(space.ww, memory, size, PROT_READ, 0);
	if (!sigsetjmp(resume, 1))
		*(volatile char *)memory = 1;
	ww_protect(space.ww, memory, size, PROT_READ | PROT_WRITE, 0);
	check(exceptions == 1, "a store to read-only memory is an exception");
	check(dirty(0) == 0, "which marks nothing");
	memory[0] = 1;
	check(dirty(WRITE_WATCH_FLAG_RESET) >= 1 && exceptions == 1,
	      "a store to watched memory is none");
}

int main(void)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	struct ww_options options = { .size = sizeof(options),
				      .flags = WW_OPEN_HOST_SIGNALS };
	struct sigaction act = { .sa_sigaction = on_fault,
				 .sa_flags = SA_SIGINFO | SA_ONSTACK };
	void *plain = NULL;
	size_t plain_size = 4096;

	sigaction(SIGSEGV, &act, NULL);
	if (ww_open(&space.ww, &options) < 0) {
		fprintf(stderr, "no backend is usable\n");
		return 77;
	}
	ww_info(space.ww, &info);
	ww_win32_use(space.ww); /* behind the Nt calls */
	if (layer_allocate((void **)&memory, &size, MEM_WRITE_WATCH) ||
	    layer_allocate(&plain, &plain_size, 0))
		return 1;
	stores();
	reads();
	faults();
	check(NtResetWriteWatch(GetCurrentProcess(), plain, plain_size) ==
		      WW_STATUS_INVALID_PARAMETER,
	      "memory that is not watched is refused");
	check(find_view(memory) && find_view(plain), "views are known");
	layer_free(memory);
	layer_free(plain);
	printf("compat-layer on %s: %s\n", info.name,
	       failures ? "failed" : "a Windows program would not notice");
	return failures != 0;
}
