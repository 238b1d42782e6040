/* SPDX-License-Identifier: MIT */
/*
 * run.c - watch a program from its start, or a running one.
 *
 * `run`: programs that the command starts, and those that they start, connect
 * to its socket (preload.c), and each of them is watched from outside with the
 * userfaultfd that it sent. `watch` watches a running process, where the kernel
 * can.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "preload.h"

#define MOST 1024 /* processes at a time; others run unwatched */
/* Seconds after a question, in which the next one may come. */
#define HURRY 0.01

struct watcher {
	struct cli_report report;
	struct member {
		struct cli_process *process;
		struct preload_page *page; /* or NULL */
		/* It looked for the last time before all of it was watched. */
		bool cut_short;
	} member[MOST];
	size_t n, seen;
	size_t unwatched; /* processes that could not be */
	size_t missed;	  /* that went before all of them was */
	uid_t user[8];	  /* that the program has become */
	size_t nusers;
	size_t left;		 /* that run on behind the program's end */
	size_t hidden, borrowed; /* bytes: scan.c */
	struct cli_guests *guests;
	double start, duration;
	bool follow;
	int filters;  /* of system calls, that the command itself has */
	double hurry; /* until then a program asks again and again */
	struct cli_limits limits; /* that the program gets */
	const char *why;	  /* why the last one could not be watched */
};

static pid_t program; /* 0: a running process is watched */

static double since(const struct watcher *w)
{
	return cli_now() - w->start;
}

/* --- processes come and go --- */

/* Nobody answers the process from now on. */
static void dismiss(struct preload_page *page)
{
	if (!page)
		return;
	atomic_store(&page->gone, 1);
	munmap(page, sizeof(*page));
}

static void leave(struct watcher *w, size_t i)
{
	struct member *m = &w->member[i];

	w->hidden += cli_process_hidden(m->process);
	w->borrowed += cli_process_borrowed(m->process);
	w->missed += m->cut_short;
	cli_process_close(m->process);
	dismiss(m->page);
	w->member[i] = w->member[--w->n];
}

/* Scan for the last time, as the process asks, if it does. */
static bool look_last(struct watcher *w, struct cli_process *p,
		      struct preload_page *page)
{
	unsigned asked = atomic_load(&page->question);

	if ((asked & PRELOAD_KIND) != PRELOAD_BYE)
		return false;
	cli_process_scan(p, &w->report, since(w));
	atomic_compare_exchange_strong(&page->question, &asked, PRELOAD_NONE);
	return true;
}

/* A large process, of which a part is watched. */
struct beginning {
	struct watcher *w;
	struct cli_process *process;
	struct cli_guest *guest;
	bool cut_short;
};

/* The process runs on meanwhile, and may end. */
static void between(void *arg)
{
	struct beginning *b = arg;

	cli_guests_answer(b->guest);
	b->cut_short |= look_last(b->w, b->process, b->guest->page);
}

/* guest: NULL, if it is not one. */
static bool join(struct watcher *w, pid_t pid, struct cli_guest *guest)
{
	const int uffd = guest ? guest->uffd : -1;
	struct preload_page *page = guest ? guest->page : NULL;
	struct beginning b = { .w = w, .guest = guest };
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct cli_process *p = NULL;
	size_t i;

	for (i = w->n;
	     i--;) /* it is another program now (exec), or has ended */
		if (cli_process_pid(w->member[i].process) == pid ||
		    (w->n == MOST && cli_process_ended(w->member[i].process)))
			leave(w, i);
	if (pidfd >= 0 && w->n < MOST) {
		p = cli_process_open(pid, pidfd, uffd, &w->why);
	} else {
		w->why = pidfd < 0 ? strerror(errno) : "too many processes";
		if (pidfd >= 0)
			close(pidfd);
		if (uffd >= 0)
			close(uffd);
	}
	if (!p) {
		w->unwatched++;
		dismiss(page);
		return false;
	}
	b.process = p;
	cli_process_begin(p, &w->report, since(w), guest ? between : NULL, &b);
	snprintf(w->report.backend, sizeof(w->report.backend), "%s",
		 cli_process_backend(p));
	w->member[w->n++] = (struct member){ p, page, b.cut_short };
	w->seen++;
	return true;
}

/* A number in /proc/PID/status; 0: there is none. */
static int status_number(pid_t pid, const char *key)
{
	char path[64], line[256];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key))) {
			n = atoi(line + strlen(key));
			break;
		}
	if (f)
		fclose(f);
	return n;
}

/* Is it the program, or one that is watched, or a child of one? */
static bool is_relative(const struct watcher *w, pid_t pid)
{
	const pid_t parent = status_number(pid, "PPid:");
	size_t i;

	if (pid == program)
		return true;
	for (i = 0; i < w->n; i++) {
		const pid_t member = cli_process_pid(w->member[i].process);

		if ((member == pid || member == parent) &&
		    !cli_process_ended(w->member[i].process))
			return true;
	}
	return false;
}

/* Root also watches what has dropped the program's privileges. The user that it has
 * become then is remembered, for a daemon, whose parent is gone. */
static bool may_join(void *watcher, pid_t pid, uid_t user)
{
	struct watcher *w = watcher;
	size_t i;

	if (user == getuid())
		return true;
	if (getuid() != 0)
		return false;
	for (i = 0; i < w->nusers; i++)
		if (w->user[i] == user)
			return true;
	if (!is_relative(w, pid))
		return false;
	if (w->nusers < sizeof(w->user) / sizeof(w->user[0]))
		w->user[w->nusers++] = user;
	return true;
}

static void refuse(struct cli_guest *guest)
{
	close(guest->uffd);
	dismiss(guest->page);
	cli_guests_answer(guest);
}

static void welcome(struct watcher *w, struct cli_guest *guest)
{
	if (w->follow || !w->seen || guest->pid == program) {
		join(w, guest->pid, guest);
		cli_guests_answer(guest);
	} else {
		refuse(guest);
	}
}

/* What a process asks through its page. */
static void serve(struct watcher *w, struct member *m)
{
	struct preload_page *page = m->page;
	unsigned asked = page ? atomic_load(&page->question) : PRELOAD_NONE;
	uintptr_t start, end;

	if (asked == PRELOAD_NONE)
		return;
	if ((asked & PRELOAD_KIND) == PRELOAD_LET_GO) {
		start = (uintptr_t)atomic_load(&page->start);
		end = (uintptr_t)atomic_load(&page->end);
		cli_process_scan_range(m->process, &w->report, since(w), start,
				       end);
		cli_process_let_go(m->process, start, end, since(w));
	} else { /* it ends */
		cli_process_scan(m->process, &w->report, since(w));
		cli_process_follow(m->process, &w->report, since(w));
		m->cut_short = false;
	}
	w->hurry = since(w) + HURRY;
	/* unless it waits no more, and asked something else */
	atomic_compare_exchange_strong(&page->question, &asked, PRELOAD_NONE);
}

/* --- the loop --- */

static bool has_ended(int *status)
{
	pid_t pid = waitpid(program, status, WNOHANG | WUNTRACED);

	if (pid == program && WIFSTOPPED(*status)) {
		cli_signals_stop_too();
		return false;
	}
	return pid == program || (pid < 0 && errno == ECHILD);
}

static bool is_over(const struct watcher *w, int *status)
{
	if (program > 0)
		return has_ended(status);
	return cli_signals_last() || !w->n ||
	       (w->duration > 0 && since(w) >= w->duration);
}

static void look_at_all(struct watcher *w)
{
	size_t i;

	for (i = w->n; i--;) {
		struct member *m = &w->member[i];

		if (!cli_process_scan(m->process, &w->report, since(w))) {
			leave(w, i);
			continue;
		}
		cli_process_follow(m->process, &w->report, since(w));
		if (!cli_process_ended(m->process))
			m->cut_short = false; /* an exec that failed */
		if (m->page && !atomic_load(&m->page->sandboxed) &&
		    status_number(cli_process_pid(m->process),
				  PRELOAD_FILTERS) > w->filters)
			atomic_store(&m->page->sandboxed, 1);
	}
	cli_live_line(&w->report, since(w));
}

static void pause_until(struct watcher *w, double next)
{
	double wait = next - since(w);
	struct cli_guest guest;

	if (!w->guests) {
		usleep(wait > 0 ? (useconds_t)(wait * 1e6) : 0);
		return;
	}
	/* so that questions are answered, and the program's end is noticed */
	if (wait > PRELOAD_LOOK_MS / 1000.0)
		wait = PRELOAD_LOOK_MS / 1000.0;
	if (since(w) < w->hurry) {
		usleep(20);
		wait = 0;
	}
	if (cli_guests_wait(w->guests, wait, &guest))
		welcome(w, &guest);
}

static void loop(struct watcher *w, int *status)
{
	double next = w->report.interval;

	while (!is_over(w, status)) {
		size_t i;

		pause_until(w, next);
		cli_signals_pass_on();
		for (i = 0; i < w->n; i++)
			serve(w, &w->member[i]);
		if (since(w) < next)
			continue;
		look_at_all(w);
		/* at equal distances, as far as looks are quick enough */
		next += w->report.interval;
		if (next < since(w))
			next = since(w) + w->report.interval;
	}
}

static int finish(struct watcher *w)
{
	w->report.seconds = since(w);
	while (w->n)
		leave(w, 0);
	if (w->guests && cli_guests_refused(w->guests)) {
		w->unwatched += cli_guests_refused(w->guests);
		w->why = "too many started at a time";
	}
	if (w->seen)
		fprintf(stderr, "writewatch: %zu %s in %.1f s by %s\n", w->seen,
			w->seen == 1 ? "process" : "processes",
			w->report.seconds, w->report.backend);
	if (w->seen && w->unwatched)
		fprintf(stderr, "writewatch: %zu more %s not watched: %s\n",
			w->unwatched, w->unwatched == 1 ? "was" : "were",
			w->why);
	if (w->left)
		fprintf(stderr,
			"writewatch: %zu %s on without the program, not watched any more\n",
			w->left,
			w->left == 1 ? "process runs" : "processes run");
	if (w->missed)
		fprintf(stderr,
			"writewatch: %zu %s before all of their mappings were watched: "
			"not all that they wrote is shown\n",
			w->missed,
			w->missed == 1 ? "process ended" : "processes ended");
	if (w->borrowed)
		fprintf(stderr,
			"writewatch: %zu KiB are watched by the program itself, and "
			"shown as its own tracker has them: a page counts when it "
			"has become dirty there\n",
			w->borrowed / 1024);
	if (w->hidden)
		fprintf(stderr,
			"writewatch: %zu KiB are not shown: another userfaultfd "
			"has them, a mapping is over 2 TiB, or there are too many\n",
			w->hidden / 1024);
	return cli_report_end(&w->report);
}

/* The command line as a title. */
static char *join_words(char **words)
{
	size_t len = 1, i;
	char *out;

	for (i = 0; words[i]; i++)
		len += strlen(words[i]) + 1;
	out = calloc(1, len);
	for (i = 0; out && words[i]; i++) {
		if (i)
			strcat(out, " ");
		strcat(out, words[i]);
	}
	return out;
}

/* Said before the program runs, not when it has ended. */
static bool can_be_written(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	char folder[PATH_MAX];
	struct stat st;

	if (!path)
		return true;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		errno = EISDIR;
	} else if (access(path, W_OK) == 0) {
		return true;
	} else if (errno == ENOENT) {
		snprintf(folder, sizeof(folder), "%.*s",
			 slash ? (int)(slash - path) + 1 : 1,
			 slash ? path : ".");
		if (access(folder, W_OK) == 0)
			return true;
	}
	cli_fail(path);
	return false;
}

static bool begin(struct watcher *w, const char *command, int argc, char **argv)
{
	struct cli_options o = { .report = &w->report };

	if (!cli_options_parse(command, argc, argv, &o))
		return false;
	w->duration = o.duration;
	w->follow = o.follow;
	w->filters = status_number(getpid(), PRELOAD_FILTERS);
	cli_start_raise_limits(&w->limits);
	w->start = cli_now();
	return true;
}

/* --- run --- */

/* Run it to its end. `object`: NULL if it can not be loaded. */
static int run(struct watcher *w, char **argv, const char *object,
	       const char *name, const struct cli_inherited *inherited)
{
	int status = 0;
	pid_t child;

	w->report.command = join_words(argv);
	child = cli_signals_fork();
	if (child == 0)
		cli_start_become(argv, object, name, w->filters, &w->limits);
	if (child < 0)
		return -1;
	program = child;
	cli_start_close_inherited(inherited, &w->report);
	loop(w, &status);
	program = 0;
	cli_signals_end();
	return status;
}

/* Processes run on behind the program's end: a daemon, which may just be about to say
 * hello. */
static size_t count_left(const struct watcher *w)
{
	struct cli_guest guest;
	const double patience = cli_now() + 0.02; /* they may be about to end */
	size_t i, n = 0, silent = 0;

	for (i = 0; i < w->n; i++) {
		while (!cli_process_ended(w->member[i].process) &&
		       cli_now() < patience)
			usleep(1000);
		n += !cli_process_ended(w->member[i].process);
	}
	/* one call accepts a connection, the next hears it */
	while (silent < 2 && n < MOST)
		if (cli_guests_wait(w->guests, 0, &guest)) {
			refuse(&guest);
			n++;
		} else {
			silent++;
		}
	return n;
}

int cli_run(int argc, char **argv)
{
	static struct watcher w;
	static struct cli_inherited inherited;
	char object[PATH_MAX], name[64], *folder;
	const char *why;
	int status, r;
	bool load;

	cli_start_list_inherited(&inherited);
	if (!begin(&w, "run", argc, argv))
		return CLI_WRONG;
	if (optind == argc)
		return cli_wrong("run", "a program is missing", NULL);
	if (!can_be_written(w.report.svg) || !can_be_written(w.report.csv) ||
	    !can_be_written(w.report.json) || !can_be_written(w.report.record))
		return CLI_FAILED;
	if (!cli_start_find(object, sizeof(object))) {
		fprintf(stderr, "writewatch: %s is not installed\n",
			PRELOAD_INSTALLED);
		return CLI_FAILED;
	}
	w.guests = cli_guests_new(name, sizeof(name), may_join, &w);
	if (!w.guests)
		return cli_fail("socket");
	why = cli_program_why_not(argv[optind], &load);
	folder = cli_start_place(object, sizeof(object));
	status = run(&w, argv + optind, load ? object : NULL, name, &inherited);
	w.left = status < 0 ? 0 : count_left(&w);
	r = status < 0 ? cli_fail("fork") : finish(&w);
	cli_guests_free(w.guests);
	if (folder &&
	    !w.left) { /* else they may start others, which look for it */
		unlink(object);
		rmdir(folder);
	}
	if (status < 0)
		return CLI_FAILED;
	if (!w.seen && !(WIFEXITED(status) && WEXITSTATUS(status) >= 126)) {
		fprintf(stderr, "writewatch: ");
		cli_put_plain(stderr, argv[optind], SIZE_MAX);
		fprintf(stderr, " was not watched: %s\n",
			why	? why
			: w.why ? w.why
				: "it did not connect; was it sandboxed, its environment cleared, "
				  "or no descriptor left (ulimit -n)?");
	}
	if (r != 0)
		return CLI_FAILED;
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	cli_signals_die_of(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

/* --- watch --- */

int cli_watch(int argc, char **argv)
{
	static struct watcher w;
	char title[64];
	int status = 0;
	double pid;

	if (!begin(&w, "watch", argc, argv))
		return CLI_WRONG;
	if (optind == argc)
		return cli_wrong("watch", "a process is missing", NULL);
	if (argc - optind > 1 || !cli_options_number(argv[optind], 1, &pid) ||
	    pid > INT_MAX || pid != (double)(pid_t)pid)
		return cli_wrong("watch", "not a process",
				 argv[argc - optind > 1 ? optind + 1 : optind]);
	cli_signals_catch();
	if (!join(&w, (pid_t)pid, NULL)) {
		fprintf(stderr, "writewatch: %s: %s\n", argv[optind], w.why);
		return CLI_FAILED;
	}
	snprintf(title, sizeof(title), "process %s", argv[optind]);
	w.report.command = title;
	loop(&w, &status);
	return finish(&w) == 0 ? 0 : CLI_FAILED;
}
