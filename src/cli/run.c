/* SPDX-License-Identifier: MIT */
/*
 * run.c - watch a program from its start, or a running one.
 *
 * `run`: programs that the command starts, and those that they start, connect
 * to its socket (preload.c), and each of them is watched from outside with the
 * userfaultfd that it sent. Where that can not be (Linux before 6.7) the first
 * one is watched as `watch` does.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "preload.h"

#define MOST 256 /* processes at a time; others run unwatched */

struct watcher {
	struct cli_report report;
	struct member {
		struct cli_process *process;
		int connection; /* or -1 */
	} member[MOST];
	size_t n, seen;
	int listening;
	double start, duration;
	const char *why; /* why the last one could not be watched */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	interrupted = signo;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const char *what)
{
	fprintf(stderr, "writewatch: %s: %s\n", what, strerror(errno));
	return CLI_FAILED;
}

/* --- processes come and go --- */

static void leave(struct watcher *w, size_t i)
{
	cli_process_close(w->member[i].process);
	if (w->member[i].connection >= 0)
		close(w->member[i].connection);
	w->n--;
	memmove(&w->member[i], &w->member[i + 1],
		(w->n - i) * sizeof(w->member[0]));
}

static bool join(struct watcher *w, pid_t pid, int uffd, int connection)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct cli_process *p;

	if (pidfd < 0 || w->n == MOST) {
		w->why = pidfd < 0 ? strerror(errno) : "too many processes";
		if (pidfd >= 0)
			close(pidfd);
		if (uffd >= 0)
			close(uffd);
		return false;
	}
	p = cli_process_open(pid, pidfd, uffd, &w->why);
	if (!p)
		return false;
	cli_process_follow(p, &w->report);
	w->member[w->n++] = (struct member){ p, connection };
	w->seen++;
	return true;
}

static double since(const struct watcher *w)
{
	return now() - w->start;
}

static void look(struct watcher *w, size_t i)
{
	/* first, as what was written says which mappings are to be followed */
	cli_process_scan(w->member[i].process, &w->report, since(w));
	cli_process_follow(w->member[i].process, &w->report);
}

/* --- the socket --- */

static int make_socket(char *name, size_t room)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);
	uint64_t secret = 0;

	if (fd < 0)
		return -1;
	if (syscall(SYS_getrandom, &secret, sizeof(secret), 0) !=
	    (long)sizeof(secret))
		secret = (uint64_t)(now() * 1e9);
	snprintf(name, room, "writewatch-%d-%llx", (int)getpid(),
		 (unsigned long long)secret);
	memcpy(at.sun_path + 1, name, strlen(name));
	if (bind(fd, (struct sockaddr *)&at,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			     strlen(name))) == 0 &&
	    listen(fd, 128) == 0)
		return fd;
	close(fd);
	return -1;
}

/* What a process says: 0 if it is gone. *fd: what it sent, or -1. */
static char hear(int connection, int *fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char what = 0;
	struct iovec iov = { &what, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *c;

	*fd = -1;
	if (recvmsg(connection, &msg, MSG_CMSG_CLOEXEC) != 1)
		return 0;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return what;
}

static void answer(int connection)
{
	if (send(connection, "", 1, MSG_NOSIGNAL) != 1)
		return; /* gone meanwhile */
}

static void welcome(struct watcher *w)
{
	int c = accept4(w->listening, NULL, NULL, SOCK_CLOEXEC), uffd;
	struct ucred who;
	socklen_t len = sizeof(who);

	if (c < 0)
		return;
	if (getsockopt(c, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0 ||
	    who.uid != getuid() || hear(c, &uffd) != PRELOAD_HELLO) {
		close(c);
		return;
	}
	if (!join(w, who.pid, uffd, c)) {
		answer(c);
		close(c);
		return;
	}
	answer(c);
}

static void listen_to(struct watcher *w, size_t i)
{
	int fd;
	char what = hear(w->member[i].connection, &fd);

	if (fd >= 0)
		close(fd);
	if (what == PRELOAD_BYE) {
		look(w, i);
		answer(w->member[i].connection);
	} else if (!what) {
		leave(w, i); /* it ended, or is another program now (exec) */
	}
}

/* --- the loop --- */

static bool is_over(const struct watcher *w, pid_t child, int *status)
{
	if (interrupted || (w->duration > 0 && since(w) >= w->duration))
		return true;
	if (child > 0)
		return waitpid(child, status, WNOHANG) == child;
	return !w->n;
}

static void loop(struct watcher *w, pid_t child, int *status)
{
	double next = w->report.interval;

	while (!is_over(w, child, status)) {
		struct pollfd p[MOST + 1];
		size_t i, n = w->n;
		double wait;
		int ready;

		for (i = 0; i < n; i++)
			p[i] = (struct pollfd){ w->member[i].connection, POLLIN,
						0 };
		p[n] = (struct pollfd){ w->listening, POLLIN, 0 };
		wait = next - since(w);
		if (wait > 0.02 && child > 0)
			wait = 0.02; /* so that the child's end is noticed */
		ready = poll(p, n + 1, wait > 0 ? (int)(wait * 1000) + 1 : 0);
		if (ready > 0 && p[n].revents)
			welcome(w);
		for (i = n; ready > 0 && i--;)
			if (p[i].revents)
				listen_to(w, i);
		if (since(w) < next)
			continue;
		for (i = w->n; i--;) {
			bool alive = cli_process_scan(w->member[i].process,
						      &w->report, since(w));

			if (alive)
				cli_process_follow(w->member[i].process,
						   &w->report);
			else
				leave(w, i);
		}
		cli_report_line(&w->report, since(w));
		next = since(w) + w->report.interval;
	}
}

static int finish(struct watcher *w)
{
	double seconds = since(w);
	int r = 0;

	if (w->seen)
		fprintf(stderr, "writewatch: %zu %s by %s\n", w->seen,
			w->seen == 1 ? "process" : "processes",
			w->n ? cli_process_backend(w->member[0].process)
			     : "uffd-async");
	r = cli_report_end(&w->report, seconds);
	while (w->n)
		leave(w, 0);
	return r;
}

/* --- options --- */

static bool number(const char *text, double least, double *out)
{
	char *end;

	*out = strtod(text, &end);
	return *end == '\0' && end != text && *out >= least;
}

static bool parse(struct watcher *w, int argc, char **argv)
{
	static const struct option options[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "duration", required_argument, NULL, 'd' },
		{ "svg", required_argument, NULL, 's' },
		{ "csv", required_argument, NULL, 'c' },
		{ "quiet", no_argument, NULL, 'q' },
		{ NULL, 0, NULL, 0 },
	};
	double ms = 100;
	int c;

	while ((c = getopt_long(argc, argv, "+i:d:s:c:q", options, NULL)) != -1)
		switch (c) {
		case 'i':
			if (!number(optarg, 1, &ms))
				return false;
			break;
		case 'd':
			if (!number(optarg, 0, &w->duration))
				return false;
			break;
		case 's':
			w->report.svg = optarg;
			break;
		case 'c':
			w->report.csv = optarg;
			break;
		case 'q':
			w->report.quiet = true;
			break;
		default:
			return false;
		}
	w->report.interval = ms / 1000;
	w->report.page = (size_t)sysconf(_SC_PAGESIZE);
	return optind < argc;
}

static void begin(struct watcher *w)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	w->start = now();
}

/* --- run --- */

/* Can the file `directory` + `name` be read? Its path goes to out. */
static bool readable(char *out, size_t room, const char *directory,
		     const char *name)
{
	return snprintf(out, room, "%s%s", directory, name) < (int)room &&
	       access(out, R_OK) == 0;
}

/* Find the object: where it was installed, else by where the command is, in its
 * prefix or build folder: both may have been moved. */
static bool find_preload(char *out, size_t room)
{
	const char *given = getenv("WRITEWATCH_PRELOAD");
	char self[512];
	ssize_t n;

	if (given)
		return readable(out, room, given, "");
	if (readable(out, room, PRELOAD_INSTALLED, ""))
		return true;
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return false;
	self[n] = '\0';
	strrchr(self, '/')[1] = '\0';
	return readable(out, room, self, PRELOAD_FROM_COMMAND) ||
	       readable(out, room, self, PRELOAD_NAME);
}

/* The dynamic linker splits LD_PRELOAD at blanks and colons: an object whose
 * path has one is loaded through a link without. Returns the folder of the
 * link, to be removed at the end, or NULL. */
static char *avoid_blanks(char *object, size_t room)
{
	static char folder[] = "/tmp/writewatch-XXXXXX";
	char *target;

	if (!strpbrk(object, " :\t\n"))
		return NULL;
	target = realpath(object, NULL);
	if (!target || !mkdtemp(folder)) {
		free(target);
		return NULL;
	}
	snprintf(object, room, "%s/%s", folder, PRELOAD_NAME);
	if (symlink(target, object) != 0)
		perror("writewatch: symlink");
	free(target);
	return folder;
}

static void become(char **argv, const char *object, const char *name)
{
	const char *others = getenv("LD_PRELOAD");
	char *list;

	if (asprintf(&list, "%s%s%s", object, others ? ":" : "",
		     others ? others : "") < 0)
		_exit(126);
	setenv("LD_PRELOAD", list, 1);
	setenv(PRELOAD_SOCKET, name, 1);
	/* else a store would show as 512 pages */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	execvp(argv[0], argv);
	fprintf(stderr, "writewatch: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

int cli_run(int argc, char **argv)
{
	static struct watcher w;
	char object[600], name[64], *folder;
	int status = 0, r;
	pid_t child;

	if (!parse(&w, argc, argv))
		return cli_usage(stderr, 2);
	if (w.duration > 0) {
		fprintf(stderr, "writewatch: run ends with its program: "
				"--duration is for watch\n");
		return 2;
	}
	if (!find_preload(object, sizeof(object))) {
		fprintf(stderr, "writewatch: %s is not installed\n",
			PRELOAD_INSTALLED);
		return CLI_FAILED;
	}
	w.listening = make_socket(name, sizeof(name));
	if (w.listening < 0)
		return fail("socket");
	folder = avoid_blanks(object, sizeof(object));
	begin(&w);
	child = fork();
	if (child < 0)
		return fail("fork");
	if (child == 0)
		become(argv + optind, object, name);
	loop(&w, child, &status);
	if (interrupted) {
		kill(child, interrupted);
		waitpid(child, &status, 0);
	}
	r = finish(&w);
	if (folder) {
		unlink(object);
		rmdir(folder);
	}
	if (!w.seen && !(WIFEXITED(status) && WEXITSTATUS(status) >= 126)) {
		fprintf(stderr, "writewatch: it could not be watched: %s\n",
			w.why ? w.why
			      : "it is set-user-ID, or linked statically");
		r = CLI_FAILED;
	}
	if (r != 0)
		return CLI_FAILED;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
				   : WEXITSTATUS(status);
}

/* --- watch --- */

int cli_watch(int argc, char **argv)
{
	static struct watcher w;
	double pid;

	if (!parse(&w, argc, argv) || argc - optind != 1 ||
	    !number(argv[optind], 1, &pid))
		return cli_usage(stderr, 2);
	w.listening = -1;
	begin(&w);
	if (!join(&w, (pid_t)pid, -1, -1)) {
		fprintf(stderr, "writewatch: %s: %s\n", argv[optind], w.why);
		return CLI_FAILED;
	}
	loop(&w, 0, NULL);
	return finish(&w) == 0 ? 0 : CLI_FAILED;
}
