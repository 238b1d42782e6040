/* SPDX-License-Identifier: MIT */
/*
 * cli.h - what the parts of the command share. Uses only writewatch.h.
 *
 *	writewatch.c	which command
 *	probe.c		what this machine can do
 *	bench.c		what it costs here
 *	options.c	the arguments of the next three
 *	run.c		a program from its start, or a running one; preload.c runs
 *			inside of the program (start.c), guests.c hears it connect,
 *			program.c says whether it can be loaded there, signals.c
 *			passes on what is sent to the command
 *	scan.c		what a process has mapped, and which of that it wrote; own.c for
 *			memory that the program watches itself
 *	report.c	what was written, as a table, CSV and JSON
 *	live.c		the same while it happens, a line an interval
 *	picture.c	the same as SVG
 *	record.c	the same as a file, and `report`, which reads it again
 */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include "writewatch.h"

#define CLI_FAILED 125 /* run, watch, report: the command itself failed */
#define CLI_WRONG 2    /* the arguments are wrong */

int cli_probe(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_watch(int argc, char **argv);
int cli_report(int argc, char **argv);

/* Seconds, of a clock that nobody sets. */
double cli_now(void);
/* Print what failed, with errno. CLI_FAILED. */
int cli_fail(const char *what);
/* Print why the arguments are wrong. CLI_WRONG. */
int cli_wrong(const char *command, const char *what, const char *argument);

/* --- report.c --- */

/* Written pages of one mapping in one interval. */
struct cli_written {
	double when;	  /* seconds since the start */
	unsigned mapping; /* index in the report */
	uintptr_t start;
	size_t len; /* bytes */
};

struct cli_mapping {
	pid_t pid;
	uintptr_t start, end;
	char process[16], name[256];
	size_t writes; /* pages written, counted anew in each interval */
	size_t pages;  /* distinct pages written; set by cli_report_count() */
	unsigned next; /* in its hash chain, + 1 */
	unsigned program; /* cli_report_program() */
};

enum cli_sort { CLI_BY_WRITES, CLI_BY_PAGES, CLI_BY_SHARE, CLI_BY_SIZE };

struct cli_report {
	/* Options: files, or NULL. */
	const char *svg, *csv, *json, *record;
	bool quiet;
	double interval; /* seconds */
	enum cli_sort sort;
	size_t top;				 /* rows of the table */
	const char *only_process, *only_mapping; /* or NULL */
	/* What was watched. */
	char *command; /* NULL if it is not known */
	char backend[32];
	time_t date;
	size_t page;
	double seconds; /* how long */
	struct cli_mapping *mapping;
	size_t nmappings;
	unsigned programs;     /* numbers given so far */
	unsigned bucket[1024]; /* mappings by process, address and name, + 1 */
	struct cli_written *written;
	size_t nwritten, shown; /* those before it were shown */
	/* Pages that were written and are asked for, and how many were shown. */
	size_t pages, pages_shown;
	double full; /* since when nothing more is kept, in seconds; 0: not */
};

/* The number of a mapping, a new one if it is not known. */
unsigned cli_report_mapping(struct cli_report *self, pid_t pid,
			    const char *process, uintptr_t start, uintptr_t end,
			    const char *name);
/* The number of a process as it is called: after exec it is another. */
unsigned cli_report_program(struct cli_report *self, pid_t pid,
			    const char *process);
void cli_report_add(struct cli_report *self, double when, unsigned mapping,
		    uintptr_t start, size_t len);
/* Is a mapping asked for? */
bool cli_report_wants(const struct cli_report *self,
		      const struct cli_mapping *m);
/* Count the distinct pages of each mapping. */
void cli_report_count(struct cli_report *self);
/* Indices of the mappings that were written and are asked for, in the order of
 * self->sort; free() it. *n: how many. NULL: none, or no memory. */
unsigned *cli_report_order(const struct cli_report *self, size_t *n);
/* How many there are. */
size_t cli_report_rows(const struct cli_report *self);
/* Put n indices in the order of process and address. */
void cli_report_by_address(const struct cli_report *self, unsigned *order,
			   size_t n);
/* The files and the table. 0, or one could not be written. */
int cli_report_end(struct cli_report *self);

static inline size_t cli_mapping_size(const struct cli_report *self,
				      const struct cli_mapping *m)
{
	return (m->end - m->start) / self->page;
}

/* Of a path the last part. */
const char *cli_short_name(const char *name);

/* Bytes of the character that a text begins with, if it is one that may be printed:
 * UTF-8, and no control character. Else 0. */
size_t cli_character(const char *text);

/* A name as a terminal may see it: each byte of what may not be printed becomes a
 * '?'. `most`: bytes. */
void cli_put_plain(FILE *f, const char *text, size_t most);

/* --- live.c, picture.c, record.c --- */

/* An interval is over: a line. */
void cli_live_line(struct cli_report *self, double when);
int cli_picture_write(const struct cli_report *self, FILE *f);
int cli_record_write(const struct cli_report *self, FILE *f);

/* --- options.c --- */

struct cli_options {
	struct cli_report *report;
	double duration; /* seconds; 0: until it ends */
	bool follow;	 /* children, too */
};

/* Read the options; false: they are wrong, and that was said. optind is the first
 * argument behind them. */
bool cli_options_parse(const char *command, int argc, char **argv,
		       struct cli_options *out);
bool cli_options_number(const char *text, double least, double *out);

/* --- program.c --- */

/* Why a program can not be watched by `run`, and what would help; NULL: nothing
 * is known against it. *load: have the object loaded nevertheless. */
const char *cli_program_why_not(const char *name, bool *load);

/* --- start.c --- */

/* Of the command's caller, and of the program. */
struct cli_limits {
	struct rlimit files, cpu;
};

/* Descriptors, besides the first three, that the command was started with. */
#define CLI_INHERITED 256
struct cli_inherited {
	int fd[CLI_INHERITED];
	size_t n;
};

/* As far as is allowed; before: what the program is given back. */
void cli_start_raise_limits(struct cli_limits *before);
/* To be called first of all. */
void cli_start_list_inherited(struct cli_inherited *list);
/* When the program runs: who waits for the end of a pipe waits for the program alone. */
void cli_start_close_inherited(const struct cli_inherited *list,
			       const struct cli_report *r);
/* Find the object to load; its path goes to out. */
bool cli_start_find(char *out, size_t room);
/* Make its path one that LD_PRELOAD can hold, which is split at blanks and colons, and
 * that processes which drop root's privileges can read. Returns a folder to be removed
 * at the end, with a link or a copy in it, or NULL: it is as it was. */
char *cli_start_place(char *object, size_t room);
/* Become the program, with the object unless it is NULL; does not return. name: of the
 * socket. filters: of system calls, that the command has. */
void cli_start_become(char **argv, const char *object, const char *name,
		      int filters, const struct cli_limits *limits);

/* --- signals.c --- */

/* Catch signals that end `watch`. */
void cli_signals_catch(void);
/* The last one that came; 0: none. */
int cli_signals_last(void);
/* Fork; in the parent, signals go on to the child from now on. */
pid_t cli_signals_fork(void);
/* To be called often: pass on what came, unless it came to the program, too. */
void cli_signals_pass_on(void);
/* The program was stopped: the command is, where a shell waits for that. */
void cli_signals_stop_too(void);
/* The program has ended. */
void cli_signals_end(void);
/* End as the program did, so that the caller sees the same signal. Returns where that
 * can not be, as of the first process of a container. */
void cli_signals_die_of(int signo);

/* --- guests.c: processes that connect --- */

struct cli_guests;
struct preload_page;

/* A process that said hello, with what it sent. Given to cli_guests_answer(). */
struct cli_guest {
	int connection;
	pid_t pid;
	int uffd;
	struct preload_page *page;
};

/* May a process of that user be a guest? Others are shown out before they are heard. */
typedef bool cli_guests_fn(void *arg, pid_t pid, uid_t user);

/* Make the socket; its name goes to `name`. NULL: errno. */
struct cli_guests *cli_guests_new(char *name, size_t room,
				  cli_guests_fn *may_join, void *arg);
void cli_guests_free(struct cli_guests *self);
/* Wait for seconds at most. True: one said hello. None that is silent, stopped or
 * sends something else is waited for. */
bool cli_guests_wait(struct cli_guests *self, double seconds,
		     struct cli_guest *out);
/* How many were shown out because there were too many at a time. */
size_t cli_guests_refused(const struct cli_guests *self);
/* It may go on. A further answer does nothing. */
void cli_guests_answer(struct cli_guest *guest);

/* --- scan.c --- */

struct cli_process; /* one that is watched */

/* Watch a process. pidfd and uffd (or -1) are closed with it, or on failure.
 * NULL: it can not be watched, and *why. */
struct cli_process *cli_process_open(pid_t pid, int pidfd, int uffd,
				     const char **why);
void cli_process_close(struct cli_process *p);
pid_t cli_process_pid(const struct cli_process *p);
bool cli_process_ended(const struct cli_process *p);
const char *cli_process_backend(const struct cli_process *p);

/* Watch what a process has at its start. Of a large one between(arg) is called behind
 * each portion, unless it is NULL; it may scan. */
void cli_process_begin(struct cli_process *p, struct cli_report *r, double when,
		       void (*between)(void *arg), void *arg);
/* Watch what was mapped meanwhile, and report what was written there. */
void cli_process_follow(struct cli_process *p, struct cli_report *r,
			double when);
/* The program is about to watch [start, end) itself. */
void cli_process_let_go(struct cli_process *p, uintptr_t start, uintptr_t end,
			double when);
/* Report what was written since the last scan. false: the process is gone. */
bool cli_process_scan(struct cli_process *p, struct cli_report *r, double when);
/* The same for a part, while the process lives. */
void cli_process_scan_range(struct cli_process *p, struct cli_report *r,
			    double when, uintptr_t start, uintptr_t end);
/* Bytes that are not shown: another userfaultfd has them, or there are too many
 * mappings. And bytes that are shown as the program's own tracker has them. */
size_t cli_process_hidden(const struct cli_process *p);
size_t cli_process_borrowed(const struct cli_process *p);

#endif
