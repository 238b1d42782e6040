/* SPDX-License-Identifier: MIT */
/*
 * scan.c - what a process has mapped, and which of that it wrote.
 *
 * Called by run.c; calls the library, own.c and report.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scan.h"

#define MOST_PIECES 8192 /* of a process */
#define PORTION 256	 /* takes some 3 ms, for which a process waits */
/* Of a mapping. A sanitizer maps more, and writes to little of it. */
#define MOST_BYTES (sizeof(void *) == 8 ? (size_t)-1 >> 23 : SIZE_MAX)

static void read_name(struct cli_process *p)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)p->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(p->name, sizeof(p->name), f))
		p->name[0] = '\0';
	p->name[strcspn(p->name, "\n")] = '\0';
	fclose(f);
}

static int open_pagemap(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

struct cli_process *cli_process_open(pid_t pid, int pidfd, int uffd,
				     const char **why)
{
	struct ww_options o = { .size = sizeof(o), .flags = WW_OPEN_PIDFD };
	struct cli_process *p = calloc(1, sizeof(*p));
	int r = -ENOMEM;

	*why = "out of memory";
	if (!p)
		goto err;
	*why = NULL;
	p->pagemap = open_pagemap(pid);
	r = p->pagemap < 0 ? -errno : 0;
	o.pidfd = pidfd;
	if (r == 0 && uffd >= 0) {
		o.flags |= WW_OPEN_UFFD;
		o.uffd = uffd;
		o.backend = "uffd-async";
		r = ww_open(&p->ww, &o);
	}
	if (!p->ww && r != -EACCES && r != -EPERM && r != -ENOENT) {
		/* watch it as a running process */
		o.flags = WW_OPEN_PIDFD;
		o.backend = NULL;
		r = ww_open(&p->ww, &o);
	}
	if (r < 0)
		goto err_free;
	p->pid = pid;
	p->pidfd = pidfd;
	p->uffd = uffd;
	read_name(p);
	p->info.size = sizeof(p->info);
	ww_info(p->ww, &p->info);
	p->resets = p->info.caps & WW_CAP_ATOMIC_RESET ||
		    !strcmp(p->info.name, "process_memwatch");
	return p;
err_free:
	*why = r == -EPERM || r == -EACCES
		       ? "not permitted: it is another user's, or not dumpable"
	       : r == -ESRCH || r == -ENOENT ? "there is no such process"
	       : uffd >= 0
		       ? "the kernel has no asynchronous write-protection, or "
			 "refuses it (see `writewatch probe`)"
		       : "a running process can be watched by a kernel with "
			 "process_memwatch or soft-dirty only; start it with "
			 "`writewatch run`";
	if (p->pagemap >= 0)
		close(p->pagemap);
	free(p);
err:
	close(pidfd);
	if (uffd >= 0)
		close(uffd);
	return NULL;
}

void cli_process_close(struct cli_process *p)
{
	ww_close(p->ww);
	close(p->pidfd);
	if (p->uffd >= 0)
		close(p->uffd);
	if (p->pagemap >= 0)
		close(p->pagemap);
	free(p->piece);
	free(p->own);
	free(p->before.run);
	free(p->now.run);
	free(p);
}

pid_t cli_process_pid(const struct cli_process *p)
{
	return p->pid;
}

bool cli_process_ended(const struct cli_process *p)
{
	struct pollfd end = { p->pidfd, POLLIN, 0 };

	return poll(&end, 1, 0) == 1;
}

const char *cli_process_backend(const struct cli_process *p)
{
	return p->info.name;
}

/* The first piece that ends behind an address. */
static size_t find(const struct cli_process *p, uintptr_t at)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->piece[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

size_t cli_process_hidden(const struct cli_process *p)
{
	return p->hidden;
}

size_t cli_process_borrowed(const struct cli_process *p)
{
	return p->borrowed;
}

static bool make_room(struct cli_process *p)
{
	size_t room = p->room ? p->room * 2 : 64;
	void *more;

	if (p->n < p->room)
		return true;
	more = realloc(p->piece, room * sizeof(*p->piece));
	if (!more)
		return false;
	p->piece = more;
	p->room = room;
	return true;
}

bool cli_add_piece(struct cli_process *p, size_t at, struct piece piece)
{
	if (!make_room(p))
		return false;
	memmove(&p->piece[at + 1], &p->piece[at],
		(p->n - at) * sizeof(*p->piece));
	p->piece[at] = piece;
	p->n++;
	return true;
}

void cli_drop_empty_pieces(struct cli_process *p)
{
	size_t i, k;

	for (i = k = 0; i < p->n; i++)
		if (p->piece[i].start < p->piece[i].end)
			p->piece[k++] = p->piece[i];
	p->n = k;
}

/* 0, or why the memory can not be watched: it is gone, or somebody else's. */
static int add_piece(struct cli_process *p, size_t at, uintptr_t start,
		     uintptr_t end, unsigned mapping)
{
	int r;

	if (!make_room(p))
		return -ENOMEM;
	r = ww_watch(p->ww, (void *)start, end - start, 0);
	if (r == 0)
		cli_add_piece(p, at,
			      (struct piece){ start, end, mapping, true });
	return r;
}

/* The piece by which a mapping is known already: one inside, or, as registered
 * memory does not become one with what it grows by, one of the same name right
 * below. NULL: there is none. */
static const struct piece *known_piece(const struct cli_process *p,
				       const struct cli_report *r,
				       uintptr_t start, uintptr_t end,
				       const char *name)
{
	size_t i = find(p, start);
	const struct piece *below = i ? &p->piece[i - 1] : NULL;

	if (i < p->n && p->piece[i].start < end)
		return &p->piece[i];
	if (below && below->end == start &&
	    !strncmp(r->mapping[below->mapping].name, name,
		     sizeof(r->mapping[0].name) - 1))
		return below;
	return NULL;
}

static unsigned mapping_of(const struct cli_process *p, struct cli_report *r,
			   uintptr_t start, uintptr_t end, const char *name)
{
	const struct piece *known = known_piece(p, r, start, end, name);
	struct cli_mapping *m;

	if (!known)
		return cli_report_mapping(r, p->pid, p->name, start, end, name);
	m = &r->mapping[known->mapping];
	m->start = m->start < start ? m->start : start;
	m->end = m->end > end ? m->end : end;
	return known->mapping;
}

/* A mapping as a line of /proc/PID/maps has it. */
struct line {
	uintptr_t start, end;
	char prot[5];
	const char *name;
};

/* Of other shared memory, what exists was written: a file's pages also come from the
 * file. */
static bool is_file(const struct line *l)
{
	return l->name[0] == '/' && strncmp(l->name, "/memfd:", 7) != 0 &&
	       strncmp(l->name, "/dev/zero", 9) != 0 &&
	       strncmp(l->name, "/SYSV", 5) != 0;
}

/* Watch memory, unless the program does. What the program watched a while ago is
 * not new. */
static void cover_piece(struct cli_process *p, struct cli_report *r,
			double when, struct own *was_own, size_t at,
			unsigned mapping, const struct line *l, uintptr_t start,
			uintptr_t end)
{
	const bool shared = l->prot[3] == 's';
	const bool is_new = !was_own && p->begun && p->pagemap >= 0 &&
			    !(shared && is_file(l));
	/* Of shared memory and files before they are watched: that makes an entry of
	 * each page, as if all existed. */
	const bool before = is_new && (shared || is_file(l));
	const size_t nwritten = r->nwritten, pages = r->pages,
		     writes = r->mapping[mapping].writes;
	int e;

	if (before)
		cli_report_existing(p, r, when, mapping, start, end, shared);
	e = add_piece(p, at, start, end, mapping);
	if (e != 0 && before) {
		r->nwritten = nwritten;
		r->pages = pages;
		r->mapping[mapping].writes = writes;
	}
	if (e == 0 && was_own) {
		was_own->there = false; /* pruned: memory there is new now */
	} else if (e == 0 && is_new && !before) {
		cli_report_existing(p, r, when, mapping, start, end, false);
	} else if (e == -EBUSY) {
		struct own *o;

		cli_own_add(p, start, end, when);
		o = cli_own_at(p, start, &end);
		if (!o || !cli_own_shown(p, r, when, o, mapping, start, end) ||
		    !o->seen)
			p->hides += end - start;
	}
}

/* Watch what of one mapping is not watched yet. */
static void cover(struct cli_process *p, struct cli_report *r, double when,
		  const struct line *l)
{
	uintptr_t start = l->start;

	while (start < l->end) {
		size_t i = find(p, start);
		uintptr_t to = l->end;
		struct own *o;
		unsigned m;

		if (i < p->n && p->piece[i].start <= start) {
			p->piece[i].there = true;
			start = p->piece[i].end;
			continue;
		}
		if (i < p->n && p->piece[i].start < l->end)
			to = p->piece[i].start;
		o = cli_own_at(p, start, &to);
		if (p->n >= MOST_PIECES || to - start > MOST_BYTES) {
			p->hides += to - start;
			start = to;
			continue;
		}
		m = mapping_of(p, r, l->start, l->end, l->name);
		if (!o || !cli_own_shown(p, r, when, o, m, start, to))
			cover_piece(p, r, when, o, i, m, l, start, to);
		start = to;
	}
}

/* Memory that can not be written just now stays watched. */
static void keep(struct cli_process *p, const struct line *l)
{
	uintptr_t end = l->end;
	size_t i;

	for (i = find(p, l->start); i < p->n && p->piece[i].start < l->end; i++)
		p->piece[i].there = true;
	cli_own_at(p, l->start, &end);
}

/* Memory of the object that was loaded into the program. */
static bool is_ours(const char *name)
{
	const char *last = strrchr(name, '/');

	return last && (!strncmp(last, "/writewatch-run.so", 18) ||
			!strcmp(last, "/memfd:writewatch-run (deleted)"));
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

void cli_process_begin(struct cli_process *p, struct cli_report *r, double when,
		       void (*between)(void *arg), void *arg)
{
	char path[64], text[5000];
	struct runs swap;
	size_t i, k, portion = p->n + PORTION;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)p->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	for (i = 0; i < p->n; i++)
		p->piece[i].there = false;
	p->hides = p->borrows = p->now.n = p->cursor = 0;
	while (fgets(text, sizeof(text), f)) {
		struct line l;
		int name = 0;

		if (sscanf(text, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n",
			   &l.start, &l.end, l.prot, &name) < 3)
			continue;
		text[strcspn(text, "\n")] = '\0';
		l.name = name && text[name] ? text + name : "anonymous";
		if (is_ours(l.name))
			continue;
		if (l.prot[1] == 'w')
			cover(p, r, when, &l);
		else
			keep(p, &l);
		if (between && p->n >= portion) {
			between(arg);
			portion = p->n + PORTION;
		}
	}
	fclose(f);
	cli_own_prune(p, when);
	p->hidden = larger(p->hidden, p->hides);
	p->borrowed = larger(p->borrowed, p->borrows);
	swap = p->before;
	p->before = p->now;
	p->now = swap;
	/* what is gone: its addresses may be used for something else */
	for (i = k = 0; i < p->n; i++)
		if (p->piece[i].there ||
		    ww_unwatch(p->ww, (void *)p->piece[i].start,
			       p->piece[i].end - p->piece[i].start, 0) != 0)
			p->piece[k++] = p->piece[i];
	p->n = k;
	p->begun = true;
}

void cli_process_follow(struct cli_process *p, struct cli_report *r,
			double when)
{
	cli_process_begin(p, r, when, NULL, NULL);
}

static void add_runs(const struct cli_process *p, struct cli_report *r,
		     double when, const struct ww_range *run)
{
	uintptr_t start = (uintptr_t)run->start, end = start + run->len;
	size_t i;

	for (i = find(p, start); i < p->n && p->piece[i].start < end; i++) {
		uintptr_t to = p->piece[i].end < end ? p->piece[i].end : end;

		if (start < p->piece[i].start)
			start = p->piece[i].start;
		if (to <= start)
			continue;
		cli_report_add(r, when, p->piece[i].mapping, start, to - start);
		start = to;
	}
}

/* [from, from + len) in as many queries as it takes. */
static int scan_range(const struct cli_process *p, struct cli_report *r,
		      double when, char *from, size_t len)
{
	const unsigned flags = WW_WINDOW | (p->resets ? WW_RESET : 0);
	char *end = from + len;
	struct ww_range run[256];
	size_t n, i;

	do {
		int e;

		n = 256;
		e = ww_get_ranges(p->ww, from, (size_t)(end - from), flags, run,
				  &n);
		if (e < 0)
			return e;
		for (i = 0; i < n; i++)
			add_runs(p, r, when, &run[i]);
		if (n)
			from = (char *)run[n - 1].start + run[n - 1].len;
	} while (n == 256 && from < end);
	return 0;
}

/* Some memory is not what was watched any more: let go of that. The next look at
 * the mappings takes it for new. */
static int scan_pieces(struct cli_process *p, struct cli_report *r, double when)
{
	size_t i, k;
	int e = 0;

	for (i = k = 0; i < p->n; i++) {
		struct piece *piece = &p->piece[i];

		e = scan_range(p, r, when, (char *)piece->start,
			       piece->end - piece->start);
		if (e == -EPERM)
			ww_unwatch(p->ww, (void *)piece->start,
				   piece->end - piece->start, WW_WINDOW);
		else
			p->piece[k++] = *piece;
	}
	p->n = k;
	return e == -EPERM ? 0 : e;
}

bool cli_process_scan(struct cli_process *p, struct cli_report *r, double when)
{
	char *start;
	int e;

	if (!p->n)
		return true;
	start = (char *)p->piece[0].start;
	e = scan_range(p, r, when, start,
		       p->piece[p->n - 1].end - (uintptr_t)start);
	if (e == -EPERM)
		e = scan_pieces(p, r, when);
	return e == 0;
}

void cli_process_scan_range(struct cli_process *p, struct cli_report *r,
			    double when, uintptr_t start, uintptr_t end)
{
	if (start < end)
		scan_range(p, r, when, (char *)start, end - start);
}
