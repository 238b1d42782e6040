/* SPDX-License-Identifier: MIT */
/*
 * cli.h - what the parts of the command share. Uses only writewatch.h.
 *
 *	writewatch.c	which command
 *	probe.c		what this machine can do
 *	bench.c		what it costs here
 *	run.c		a program from its start (preload.c runs inside of it),
 *			or a running one
 *	scan.c		what a process has mapped, and which of that it wrote
 *	report.c	what was written, as a picture, a table, CSV and SVG
 */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "writewatch.h"

#define CLI_FAILED 125 /* run, watch: the command itself failed */

int cli_probe(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_watch(int argc, char **argv);
int cli_usage(FILE *out, int status);

/* --- report.c --- */

/* Written pages of one mapping in one interval. */
struct cli_run_of_pages {
	double when; /* seconds since the start */
	pid_t pid;
	unsigned mapping; /* index in the report */
	uintptr_t start;
	size_t len; /* bytes */
};

struct cli_mapping {
	pid_t pid;
	uintptr_t start, end;
	char process[16], name[64];
	size_t pages; /* written, counted anew in each interval */
};

struct cli_report {
	const char *svg, *csv; /* files, or NULL */
	bool quiet;
	double interval; /* seconds */
	size_t page;
	struct cli_mapping *mapping;
	size_t nmappings;
	struct cli_run_of_pages *run;
	size_t nruns, shown; /* those before it were shown */
};

/* The number of a mapping, a new one if it is not known. */
unsigned cli_report_mapping(struct cli_report *self, pid_t pid,
			    const char *process, uintptr_t start, uintptr_t end,
			    const char *name);
void cli_report_add(struct cli_report *self, double when, unsigned mapping,
		    uintptr_t start, size_t len);
/* An interval is over: a line of the heat map. */
void cli_report_line(struct cli_report *self, double when);
/* The table, and the files. 0, or it could not be written. */
int cli_report_end(struct cli_report *self, double seconds);

/* --- scan.c --- */

struct cli_process; /* one that is watched */

/* Watch a process. pidfd and uffd (or -1) are closed with it, or on failure.
 * NULL: it can not be watched, and *why. */
struct cli_process *cli_process_open(pid_t pid, int pidfd, int uffd,
				     const char **why);
void cli_process_close(struct cli_process *p);
pid_t cli_process_pid(const struct cli_process *p);
const char *cli_process_backend(const struct cli_process *p);

/* Watch what was mapped meanwhile. */
void cli_process_follow(struct cli_process *p, struct cli_report *r);
/* Report what was written since the last scan. false: the process is gone. */
bool cli_process_scan(struct cli_process *p, struct cli_report *r, double when);

#endif
