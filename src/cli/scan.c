/* SPDX-License-Identifier: MIT */
/*
 * scan.c - what a process has mapped, and which of that it wrote.
 *
 * Called by run.c; calls the library and report.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* A range as it was watched. */
struct piece {
	uintptr_t start, end;
	unsigned mapping;
	bool there; /* still mapped, as of the last look */
};

struct cli_process {
	pid_t pid;
	int pidfd, uffd;
	struct ww *ww;
	struct ww_backend_info info;
	char name[16];
	struct piece *piece; /* ascending */
	size_t n, room;
	bool resets;
};

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

struct cli_process *cli_process_open(pid_t pid, int pidfd, int uffd,
				     const char **why)
{
	struct ww_options o = { .size = sizeof(o), .flags = WW_OPEN_PIDFD };
	struct cli_process *p = calloc(1, sizeof(*p));
	int r = -ENOMEM;

	*why = "out of memory";
	if (!p)
		goto err;
	o.pidfd = pidfd;
	if (uffd >= 0) {
		o.flags |= WW_OPEN_UFFD;
		o.uffd = uffd;
		o.backend = "uffd-async";
	}
	r = ww_open(&p->ww, &o);
	if (r < 0 && uffd >= 0) { /* watch it as a running process */
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
	*why = r == -EPERM
		       ? "not permitted: it is another user's, or not dumpable"
	       : r == -ESRCH ? "there is no such process"
	       : uffd >= 0
		       ? "its kernel has no WP_ASYNC: needs Linux 6.7"
		       : "a running process can be watched by a kernel with "
			 "process_memwatch or soft-dirty only; start it with "
			 "`writewatch run`";
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
	free(p->piece);
	free(p);
}

pid_t cli_process_pid(const struct cli_process *p)
{
	return p->pid;
}

const char *cli_process_backend(const struct cli_process *p)
{
	return p->info.name;
}

/* The first piece that ends behind an address. */
static size_t find(const struct cli_process *p, uintptr_t at)
{
	size_t i = 0;

	while (i < p->n && p->piece[i].end <= at)
		i++;
	return i;
}

static void add_piece(struct cli_process *p, size_t at, uintptr_t start,
		      uintptr_t end, unsigned mapping)
{
	if (ww_watch(p->ww, (void *)start, end - start, 0) != 0)
		return; /* memory that can not be watched, or is gone */
	if (p->n == p->room) {
		size_t room = p->room ? p->room * 2 : 64;
		void *more = realloc(p->piece, room * sizeof(*p->piece));

		if (!more)
			return;
		p->piece = more;
		p->room = room;
	}
	memmove(&p->piece[at + 1], &p->piece[at],
		(p->n - at) * sizeof(*p->piece));
	p->piece[at] = (struct piece){ start, end, mapping, true };
	p->n++;
}

/* Watch what of one mapping is not watched yet. */
static void cover(struct cli_process *p, struct cli_report *r, uintptr_t start,
		  uintptr_t end, const char *name)
{
	const uintptr_t first = start, last = end;

	while (start < end) {
		size_t i = find(p, start);
		uintptr_t to = end;

		if (i < p->n && p->piece[i].start <= start) {
			p->piece[i].there = true;
			start = p->piece[i].end;
			continue;
		}
		if (i < p->n && p->piece[i].start < end)
			to = p->piece[i].start;
		add_piece(p, i, start, to,
			  cli_report_mapping(r, p->pid, p->name, first, last,
					     name));
		start = to;
	}
}

void cli_process_follow(struct cli_process *p, struct cli_report *r)
{
	char path[64], line[512];
	size_t i, k;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)p->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	for (i = 0; i < p->n; i++)
		p->piece[i].there = false;
	while (fgets(line, sizeof(line), f)) {
		uintptr_t start, end;
		int name = 0;
		char prot[5];

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n",
			   &start, &end, prot, &name) < 3 ||
		    prot[1] != 'w')
			continue;
		line[strcspn(line, "\n")] = '\0';
		cover(p, r, start, end,
		      name && line[name] ? line + name : "anonymous");
	}
	fclose(f);
	/* what is gone: its addresses may be used for something else */
	for (i = k = 0; i < p->n; i++)
		if (p->piece[i].there ||
		    ww_unwatch(p->ww, (void *)p->piece[i].start,
			       p->piece[i].end - p->piece[i].start, 0) != 0)
			p->piece[k++] = p->piece[i];
	p->n = k;
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
		cli_report_add(r, when, p->piece[i].mapping, start, to - start);
		start = to;
	}
}

bool cli_process_scan(struct cli_process *p, struct cli_report *r, double when)
{
	struct ww_range run[256];
	char *from = NULL;
	size_t len = 0, n, i;

	do {
		n = 256;
		if (ww_get_ranges(p->ww, from, len,
				  WW_WINDOW |
					  (p->resets ? WW_RESET : 0),
				  run, &n) != 0)
			return false;
		for (i = 0; i < n; i++)
			add_runs(p, r, when, &run[i]);
		if (n && p->n) {
			from = (char *)run[n - 1].start + run[n - 1].len;
			len = p->piece[p->n - 1].end - (uintptr_t)from;
		}
	} while (n == 256 && len && (uintptr_t)from < p->piece[p->n - 1].end);
	return true;
}
