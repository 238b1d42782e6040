/* SPDX-License-Identifier: MIT */
/*
 * own.c - looks that change nothing: at memory that a program watches itself, and at
 * memory that is new.
 *
 * Called by scan.c and run.c; calls report.c. Invariant: nothing that the program's
 * own tracker has not reported yet is reset.
 */
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kernel/uapi/procfs.h"
#include "scan.h"

/* Seconds: then the program has registered what it asked for, or never does. */
#define REGISTERS_IN 1.0

struct own *cli_own_at(struct cli_process *p, uintptr_t start, uintptr_t *end)
{
	size_t i;

	for (i = 0; i < p->nown; i++) {
		struct own *o = &p->own[i];

		if (o->start <= start && start < o->end) {
			o->there = true;
			*end = o->end < *end ? o->end : *end;
			return o;
		}
		if (o->start > start && o->start < *end)
			*end = o->start;
	}
	return NULL;
}

void cli_own_add(struct cli_process *p, uintptr_t start, uintptr_t end,
		 double when)
{
	void *more = realloc(p->own, (p->nown + 1) * sizeof(*p->own));
	size_t i, k;

	if (!more)
		return;
	p->own = more;
	for (i = k = 0; i < p->nown; i++) /* less what it replaces */
		if (p->own[i].start < start || p->own[i].end > end)
			p->own[k++] = p->own[i];
	p->own[k] = (struct own){
		.start = start, .end = end, .since = when, .there = true
	};
	p->nown = k + 1;
}

void cli_own_prune(struct cli_process *p, double when)
{
	size_t i, k;

	for (i = k = 0; i < p->nown; i++) {
		struct own *o = &p->own[i];

		if (o->there || when - o->since <= REGISTERS_IN)
			p->own[k++] = *o;
	}
	p->nown = k;
	for (i = 0; i < p->nown; i++)
		p->own[i].there = false;
}

void cli_process_let_go(struct cli_process *p, uintptr_t start, uintptr_t end,
			double when)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	size_t i;

	if (start >= end || start % page || end % page)
		return; /* whatever the program sends */
	ww_unwatch(p->ww, (void *)start, end - start, WW_WINDOW);
	cli_own_add(p, start, end, when);
	/* What is left of a piece on both sides stays watched. */
	for (i = 0; i < p->n; i++) {
		struct piece *piece = &p->piece[i], tail = *piece;

		if (piece->end <= start || piece->start >= end)
			continue;
		tail.start = end;
		piece->end = start > piece->start ? start : piece->start;
		if (tail.start < tail.end)
			cli_add_piece(p, ++i, tail);
	}
	cli_drop_empty_pieces(p);
}

static void add_run(struct runs *self, uintptr_t start, uintptr_t end)
{
	if (self->n == self->room) {
		size_t room = self->room ? self->room * 2 : 64;
		void *more = realloc(self->run, room * sizeof(*self->run));

		if (!more)
			return;
		self->run = more;
		self->room = room;
	}
	self->run[self->n++] = (struct ww_range){ (void *)start, end - start };
}

/* Report what of [start, end) was not dirty in the last look. Calls ascend within a
 * look, as the runs do. */
static void report_new(struct cli_process *p, struct cli_report *r, double when,
		       unsigned mapping, uintptr_t start, uintptr_t end)
{
	const struct ww_range *run;
	uintptr_t from, to;

	for (; p->cursor < p->before.n && start < end; p->cursor++) {
		run = &p->before.run[p->cursor];
		from = (uintptr_t)run->start;
		to = from + run->len;
		if (from >= end)
			break;
		if (from > start)
			cli_report_add(r, when, mapping, start, from - start);
		if (to > start)
			start = to;
		if (start >= end)
			return; /* the run may go on behind the end */
	}
	if (start < end)
		cli_report_add(r, when, mapping, start, end - start);
}

/* A look at one mapping of a process. */
struct look {
	struct cli_report *r;
	double when;
	unsigned mapping;
	bool first; /* of this memory */
};

/* Call fn for the runs of [start, end) that `what` asks for. Returns the address up
 * to which the kernel answered: `end`, or less if it refused. */
static uintptr_t
each_run(struct cli_process *p, const struct look *l, struct pm_scan_arg what,
	 uintptr_t start, uintptr_t end,
	 void (*fn)(struct cli_process *p, const struct look *l,
		    uintptr_t start, uintptr_t end))
{
	struct page_region region[64];
	int n, i;

	what.size = sizeof(what);
	what.start = start;
	what.end = end;
	what.vec = (uintptr_t)region;
	what.vec_len = 64;
	while (what.start < end) {
		n = ioctl(p->pagemap, PAGEMAP_SCAN, &what);
		if (n < 0)
			break;
		for (i = 0; i < n; i++)
			fn(p, l, (uintptr_t)region[i].start,
			   (uintptr_t)region[i].end);
		what.start = what.walk_end;
	}
	return (uintptr_t)what.start;
}

static void found_written(struct cli_process *p, const struct look *l,
			  uintptr_t start, uintptr_t end)
{
	if (!l->first)
		report_new(p, l->r, l->when, l->mapping, start, end);
	add_run(&p->now, start, end);
}

/* A look that changes nothing. The first one reports nothing: the program may have
 * registered the memory, and be about to make it clean. False: the memory is not
 * registered for asynchronous write-protection, or not all of it. */
static bool scan_own(struct cli_process *p, const struct look *l,
		     uintptr_t start, uintptr_t end)
{
	const struct pm_scan_arg written = {
		.flags = PM_SCAN_CHECK_WPASYNC,
		/* what exists and was written; not what was only read */
		.category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_WRITTEN | PAGE_IS_PFNZERO,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_WRITTEN,
	};

	return each_run(p, l, written, start, end, found_written) >= end;
}

bool cli_own_shown(struct cli_process *p, struct cli_report *r, double when,
		   struct own *o, unsigned mapping, uintptr_t start,
		   uintptr_t end)
{
	const struct look l = { r, when, mapping, !o->seen };

	if (p->pagemap >= 0 && scan_own(p, &l, start, end)) {
		p->borrows += end - start;
		o->seen = true;
		return true;
	}
	return !o->seen && when - o->since <= REGISTERS_IN;
}

/* --- new memory --- */

/* Pages that exist, as entries of the file say: of private memory less those that
 * are a file's still. */
static void report_entries(const struct cli_process *p, const struct look *l,
			   uintptr_t start, uintptr_t end, bool shared)
{
	const uint64_t exists = PM_PRESENT | PM_SWAP;
	const uint64_t less = shared ? 0 : PM_FILE;
	const size_t page = l->r->page;
	uint64_t entry[512];

	while (start < end) {
		size_t n = (end - start) / page, i;
		ssize_t got;

		n = n < 512 ? n : 512;
		got = pread(p->pagemap, entry, n * 8,
			    (off_t)(start / page * 8));
		if (got < 8)
			return;
		n = (size_t)got / 8;
		for (i = 0; i < n; i++)
			if (entry[i] & exists && !(entry[i] & less))
				cli_report_add(l->r, l->when, l->mapping,
					       start + i * page, page);
		start += n * page;
	}
}

static void found_existing(struct cli_process *p, const struct look *l,
			   uintptr_t start, uintptr_t end)
{
	cli_report_add(l->r, l->when, l->mapping, start, end - start);
}

void cli_report_existing(struct cli_process *p, struct cli_report *r,
			 double when, unsigned mapping, uintptr_t start,
			 uintptr_t end, bool shared)
{
	const uint64_t less = PAGE_IS_PFNZERO | (shared ? 0 : PAGE_IS_FILE);
	const struct pm_scan_arg existing = {
		.category_inverted = less,
		.category_mask = less,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	const struct look l = { r, when, mapping, false };

	start = each_run(p, &l, existing, start, end, found_existing);
	if (start < end) /* the kernel has no PAGEMAP_SCAN (before 6.7) */
		report_entries(p, &l, start, end, shared);
}
