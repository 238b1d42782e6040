/* SPDX-License-Identifier: MIT */
/*
 * scan.h - a process as scan.c and own.c see it.
 */
#ifndef SCAN_H
#define SCAN_H

#include "cli.h"

/* A range as it was watched. */
struct piece {
	uintptr_t start, end;
	unsigned mapping;
	bool there; /* still mapped, as of the last look */
};

/* Memory that the program watches itself, by this library or by another user of
 * asynchronous write-protection: shown as its own tracker has it. A page counts as
 * written when it has become dirty there since the last look. */
struct own {
	uintptr_t start, end;
	double since; /* when it was let go of */
	bool seen;    /* registered by the program */
	bool there;   /* mapped, as of this look */
};

struct runs {
	struct ww_range *run; /* ascending */
	size_t n, room;
};

struct cli_process {
	pid_t pid;
	int pidfd, uffd, pagemap;
	bool begun; /* its mappings were looked at before */
	struct ww *ww;
	struct ww_backend_info info;
	char name[16];
	struct piece *piece; /* ascending */
	size_t n, room;
	struct own *own;
	size_t nown;
	/* What was dirty there in the last look, and is in this one. */
	struct runs before, now;
	size_t cursor; /* in `before` */
	/* Bytes that are not shown, at most and in this look; and bytes that are
	 * shown from the program's own tracker. */
	size_t hidden, hides, borrowed, borrows;
	bool resets;
};

/* --- scan.c --- */

/* Put a piece that is watched at an index. False: out of memory. */
bool cli_add_piece(struct cli_process *p, size_t at, struct piece piece);
void cli_drop_empty_pieces(struct cli_process *p);

/* --- own.c --- */

/* The one that has an address, or NULL; *end: how far that goes. */
struct own *cli_own_at(struct cli_process *p, uintptr_t start, uintptr_t *end);
/* The program is about to watch [start, end) itself, or does. */
void cli_own_add(struct cli_process *p, uintptr_t start, uintptr_t end,
		 double when);
/* Forget what is mapped no more, by the look that ends. */
void cli_own_prune(struct cli_process *p, double when);
/* Is [start, end) shown as the program's own tracker has it, or about to be
 * registered? */
bool cli_own_shown(struct cli_process *p, struct cli_report *r, double when,
		   struct own *o, unsigned mapping, uintptr_t start,
		   uintptr_t end);
/* Memory that was mapped since the last look: the pages that exist were written
 * since then, except zero pages and pages of a file, which were only read. Of a
 * shared file nothing is known. */
void cli_report_existing(struct cli_process *p, struct cli_report *r,
			 double when, unsigned mapping, uintptr_t start,
			 uintptr_t end, bool shared);

#endif
