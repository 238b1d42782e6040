/* SPDX-License-Identifier: MIT */
/*
 * model.c - a reference model of dirty pages. For each page it knows whether it
 * is watched, its protection and content, and whether it must, may or must not be
 * reported. What a backend does not guarantee it may do.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "writewatch.h"

#define N 24u /* pages */
#define RW (PROT_READ | PROT_WRITE)

enum dirt { CLEAN, MAYBE, DIRTY };

struct page {
	bool watched;
	bool exists;  /* it was touched since it was last empty */
	bool dropped; /* behind the tracker's back, and not touched since */
	int prot;
	enum dirt dirt;
	uint64_t content;
};

struct run {
	struct ww *ww;
	unsigned caps;
	size_t size; /* of a page */
	char *m;
	struct page page[N];
	uint64_t next; /* content to be written */
	int zero, random;
	char *why;
	size_t why_len;
	bool failed;
};

static void wrong(struct run *r, const char *format, ...)
{
	va_list ap;

	if (r->failed)
		return;
	r->failed = true;
	va_start(ap, format);
	vsnprintf(r->why, r->why_len, format, ap);
	va_end(ap);
}

static char *at(const struct run *r, size_t page)
{
	return r->m + page * r->size;
}

static bool all_watched(const struct run *r, size_t first, size_t end)
{
	for (; first < end; first++)
		if (!r->page[first].watched)
			return false;
	return true;
}

static bool any_watched(const struct run *r, size_t first, size_t end)
{
	for (; first < end; first++)
		if (r->page[first].watched)
			return true;
	return false;
}

/* May a clean page be reported? */
static bool may_blur(struct run *r, size_t page)
{
	struct ww_range_info info = { .size = sizeof(info) };

	return ww_next_range(r->ww, at(r, page), &info) != 0 ||
	       !(info.caps & WW_CAP_EXACT);
}

static void expect_code(struct run *r, const char *what, int got, int want)
{
	if (got != want)
		wrong(r, "%s returned %d, not %d", what, got, want);
}

/* --- what programs do to memory --- */

static void touched(struct run *r, size_t i, bool written)
{
	struct page *p = &r->page[i];

	if (written)
		p->dirt = DIRTY;
	else if (p->dropped && p->dirt == CLEAN)
		p->dirt = MAYBE;
	p->exists = true;
	p->dropped = false;
}

static void op_write(struct run *r, size_t first, size_t end)
{
	for (; first < end; first++) {
		if (!(r->page[first].prot & PROT_WRITE))
			continue;
		*(volatile uint64_t *)(at(r, first) + 8) = ++r->next;
		r->page[first].content = r->next;
		touched(r, first, true);
	}
}

static void op_read(struct run *r, size_t first, size_t end)
{
	for (; first < end; first++) {
		uint64_t v;

		if (!(r->page[first].prot & PROT_READ))
			continue;
		v = *(volatile uint64_t *)(at(r, first) + 8);
		if (v != r->page[first].content)
			wrong(r, "page %zu holds %llu, not %llu", first,
			      (unsigned long long)v,
			      (unsigned long long)r->page[first].content);
		touched(r, first, false);
	}
}

static void op_kernel_write(struct run *r, size_t first, size_t end)
{
	for (; first < end; first++) {
		struct page *p = &r->page[first];
		ssize_t n;

		if (p->prot != RW)
			continue;
		if (ww_hold(r->ww, at(r, first) + 8, 8, 0) != 0)
			wrong(r, "ww_hold failed");
		n = pread(r->random, at(r, first) + 8, 8, 64);
		if (ww_release(r->ww, at(r, first) + 8, 8, 0) != 0)
			wrong(r, "ww_release failed");
		if (n != 8)
			wrong(r, "pread into page %zu failed: %d", first,
			      errno);
		memcpy(&p->content, at(r, first) + 8, 8);
		touched(r, first, true);
	}
}

/* MADV_DONTNEED behind the tracker's back. */
static void op_drop(struct run *r, size_t first, size_t end)
{
	size_t i;

	if (madvise(at(r, first), (end - first) * r->size, MADV_DONTNEED) != 0)
		return;
	for (i = first; i < end; i++) {
		struct page *p = &r->page[i];

		p->content = 0;
		p->exists = false;
		p->dropped = true;
		/* its content changed: it may be reported once */
		p->dirt = MAYBE;
	}
}

/* The child has the memory; what exists of it is reported once there. */
static void op_fork(struct run *r)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		void *pages[N];
		size_t n = N, i, k = 0;
		int code = ww_get(r->ww, NULL, 0,
				  WW_WINDOW | WW_RESET, pages, &n,
				  NULL);

		for (i = 0; code == 0 && i < N; i++) {
			const struct page *p = &r->page[i];
			bool told = k < n && pages[k] == at(r, i);

			k += told;
			if (p->watched && p->dirt == DIRTY && !told)
				_exit(1);
			if (told && !p->watched)
				_exit(2);
		}
		n = N;
		if (code == 0)
			code = ww_get(r->ww, NULL, 0, WW_WINDOW, pages, &n,
				      NULL);
		_exit(code != 0 ? 3 : n != 0 && r->caps & WW_CAP_EXACT ? 4 : 0);
	}
	if (pid < 0)
		return;
	waitpid(pid, &status, 0);
	if (status)
		wrong(r, "a fork child ended with %#x", (unsigned)status);
}

/* --- calls --- */

/* Check an answer: ascending pages of [first, end), as many as fitted. */
static void check_answer(struct run *r, size_t first, size_t end, void **pages,
			 size_t n, size_t room, bool reset)
{
	size_t i, k = 0;

	for (i = first; i < end; i++) {
		struct page *p = &r->page[i];
		bool told = k < n && pages[k] == at(r, i);

		if (k == n && n == room)
			break; /* full: nothing is known of the rest */
		k += told;
		if (told && !p->watched)
			wrong(r, "page %zu is told and not watched", i);
		if (told && p->dirt == CLEAN && !p->dropped && !may_blur(r, i))
			wrong(r, "page %zu is told and clean", i);
		if (!told && p->watched && p->dirt == DIRTY)
			wrong(r, "page %zu is LOST", i);
		if (told && reset)
			p->dirt = CLEAN;
		else if (told && p->dirt == CLEAN)
			p->dirt = MAYBE;
	}
	if (k != n)
		wrong(r, "an answer is not in order");
}

static void op_get(struct run *r, size_t first, size_t end, unsigned arg)
{
	unsigned flags = (arg & 1 ? WW_RESET : 0) |
			 (arg & 2 ? WW_WINDOW : 0);
	size_t room = arg & 4 ? 1 + (arg >> 4) % 4 : N, n = room, size = 0;
	void *pages[N];
	int code = ww_get(r->ww, at(r, first), (end - first) * r->size, flags,
			  pages, &n, &size);

	if (!(flags & WW_WINDOW) && !all_watched(r, first, end)) {
		expect_code(r, "ww_get", code, -ENOENT);
		if (n != room || size != 0)
			wrong(r, "a failing ww_get changed its outputs");
		return;
	}
	expect_code(r, "ww_get", code, 0);
	if (code == 0)
		check_answer(r, first, end, pages, n, room, arg & 1);
}

static void op_get_ranges(struct run *r, size_t first, size_t end, unsigned arg)
{
	struct ww_range runs[N];
	void *pages[N + 1];
	size_t n = N, count = 0, i;
	int code = ww_get_ranges(r->ww, at(r, first),
				 (end - first) * r->size,
				 WW_WINDOW | (arg & 1 ? WW_RESET : 0),
				 runs, &n);

	expect_code(r, "ww_get_ranges", code, 0);
	if (code != 0)
		return;
	for (i = 0; i < n; i++) {
		char *p = runs[i].start;

		for (; p < (char *)runs[i].start + runs[i].len; p += r->size)
			if (count < N)
				pages[count++] = p;
		if (i && (char *)runs[i - 1].start + runs[i - 1].len ==
				 runs[i].start)
			wrong(r, "two runs touch");
	}
	check_answer(r, first, end, pages, count, N + 1, arg & 1);
}

static void op_reset(struct run *r, size_t first, size_t end)
{
	int code = ww_reset(r->ww, at(r, first), (end - first) * r->size, 0);

	if (!all_watched(r, first, end)) {
		expect_code(r, "ww_reset", code, -ENOENT);
		return;
	}
	expect_code(r, "ww_reset", code, 0);
	for (; first < end; first++) /* what was dropped may still show, once */
		r->page[first].dirt =
			r->page[first].dropped ? MAYBE : CLEAN;
}

static void op_mark(struct run *r, size_t first, size_t end, unsigned arg)
{
	size_t len = (end - first - 1) * r->size + 1 + arg % (r->size - 1);

	expect_code(r, "ww_mark", ww_mark(r->ww, at(r, first), len, 0), 0);
	for (; first < end; first++)
		if (r->page[first].watched)
			r->page[first].dirt = DIRTY;
}

static void op_discard(struct run *r, size_t first, size_t end)
{
	int code = ww_discard(r->ww, at(r, first), (end - first) * r->size, 0);

	if (!all_watched(r, first, end)) {
		expect_code(r, "ww_discard", code, -ENOENT);
		return;
	}
	expect_code(r, "ww_discard", code, 0);
	for (; first < end; first++) {
		struct page *p = &r->page[first];

		p->dirt = CLEAN;
		p->content = 0;
		p->exists = p->dropped = false;
	}
}

static void op_protect(struct run *r, size_t first, size_t end, unsigned arg)
{
	static const int prots[] = { PROT_NONE, PROT_READ, RW, RW };
	int prot = prots[arg % 4];
	int code = ww_protect(r->ww, at(r, first), (end - first) * r->size,
			      prot, 0);

	if (!all_watched(r, first, end)) {
		expect_code(r, "ww_protect", code, -ENOENT);
		return;
	}
	expect_code(r, "ww_protect", code, 0);
	for (; first < end; first++)
		r->page[first].prot = prot;
}

static void op_watch(struct run *r, size_t first, size_t end)
{
	int code = ww_watch(r->ww, at(r, first), (end - first) * r->size, 0);

	if (any_watched(r, first, end)) {
		expect_code(r, "ww_watch", code, -EEXIST);
		return;
	}
	expect_code(r, "ww_watch", code, 0);
	for (; first < end; first++) {
		r->page[first].watched = true;
		r->page[first].dirt = CLEAN;
		/* may be found again after it was dropped unwatched */
		r->page[first].dropped = false;
	}
}

static void op_unwatch(struct run *r, size_t first, size_t end)
{
	int code = ww_unwatch(r->ww, at(r, first), (end - first) * r->size, 0);

	if (!all_watched(r, first, end)) {
		expect_code(r, "ww_unwatch", code, -ENOENT);
		return;
	}
	expect_code(r, "ww_unwatch", code, 0);
	for (; first < end; first++)
		r->page[first].watched = false;
}

static const char *const names[16] = {
	"write", "write", "write",   "read",    "get",   "get",
	"get",   "runs",  "reset",   "mark",    "drop",  "discard",
	"protect", "watch", "unwatch", "kernel",
};

static void one(struct run *r, const uint8_t *op)
{
	size_t first = op[1] % N, end = first + 1 + op[2] % (N - first);

	if (op[0] >= 250) {
		op_fork(r);
		return;
	}
	switch (op[0] % 16) {
	case 0:
	case 1:
	case 2:
		op_write(r, first, end);
		break;
	case 3:
		op_read(r, first, end);
		break;
	case 4:
	case 5:
	case 6:
		op_get(r, first, end, op[3]);
		break;
	case 7:
		op_get_ranges(r, first, end, op[3]);
		break;
	case 8:
		op_reset(r, first, end);
		break;
	case 9:
		op_mark(r, first, end, op[3]);
		break;
	case 10:
		op_drop(r, first, end);
		break;
	case 11:
		op_discard(r, first, end);
		break;
	case 12:
		op_protect(r, first, end, op[3]);
		break;
	case 13:
		op_watch(r, first, end);
		break;
	case 14:
		op_unwatch(r, first, end);
		break;
	default:
		op_kernel_write(r, first, end);
	}
}

/* Nothing is left behind: all of it is as writable as the program left it. */
static void finish(struct run *r)
{
	size_t i;

	op_get(r, 0, N, 1 | 2);
	ww_close(r->ww);
	for (i = 0; i < N; i++)
		r->page[i].watched = false;
	op_read(r, 0, N);
	for (i = 0; i < N; i++)
		if (r->page[i].prot & PROT_WRITE)
			*(volatile char *)at(r, i) = 1;
}

bool model_run(const char *backend, const uint8_t *ops, size_t len, char *why,
	       size_t why_len, bool trace)
{
	struct ww_options o = { .size = sizeof(o), .backend = backend };
	struct ww_backend_info info = { .size = sizeof(info) };
	struct run r = { .why = why, .why_len = why_len };
	size_t i;

	r.size = (size_t)sysconf(_SC_PAGESIZE);
	if (ww_open(&r.ww, &o) != 0) {
		snprintf(why, why_len, "%s can not be opened", backend);
		return false;
	}
	ww_info(r.ww, &info);
	r.caps = info.caps;
	r.m = mmap(NULL, (N + 2) * r.size, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.m += r.size;
	mprotect(r.m, N * r.size, RW);
	r.random = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	for (i = 0; i < N; i++)
		r.page[i].prot = RW;
	op_watch(&r, 0, N);
	for (i = 0; i + MODEL_OP <= len && !r.failed; i += MODEL_OP) {
		const uint8_t *op = ops + i;
		size_t first = op[1] % N;

		if (trace)
			printf("  %-8s %2zu..%2zu %u\n",
			       op[0] >= 250 ? "fork" : names[op[0] % 16],
			       first, first + op[2] % (N - first), op[3]);
		one(&r, op);
	}
	finish(&r);
	close(r.random);
	munmap(r.m - r.size, (N + 2) * r.size);
	return !r.failed;
}
