/* SPDX-License-Identifier: MIT */
/*
 * start.c - a child of the command becomes the program, with the object loaded that
 * hands it over (preload.c).
 *
 * Called by run.c. Behind the fork the child calls nothing but what is here. The command
 * raises its limits, which the child takes back, and closes what it was started with,
 * which only the child has from then on.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli.h"
#include "preload.h"

/* Can the file `directory` + `name` be read? Its path goes to out. */
static bool readable(char *out, size_t room, const char *directory,
		     const char *name)
{
	char path[PATH_MAX], whole[PATH_MAX];

	/* whole: programs that it starts may be in another folder */
	if (snprintf(path, sizeof(path), "%s%s", directory, name) >=
		    (int)sizeof(path) ||
	    access(path, R_OK) != 0 || !realpath(path, whole))
		return false;
	return snprintf(out, room, "%s", whole) < (int)room;
}

/* Find the object: where it was installed, else by where the command is, in its
 * prefix or build folder: both may have been moved. */
bool cli_start_find(char *out, size_t room)
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

/* Can each user read the file? path is whole. */
static bool all_can_read(const char *path)
{
	char part[PATH_MAX];
	struct stat st;
	const char *slash = path;

	while ((slash = strchr(slash + 1, '/'))) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (stat(part, &st) != 0 || !(st.st_mode & S_IXOTH))
			return false;
	}
	return stat(path, &st) == 0 && st.st_mode & S_IROTH;
}

static bool copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	char buf[4096];
	ssize_t n = in < 0 || out < 0 ? -1 : 1;

	while (n > 0 && (n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			n = -1;
	if (n == 0 && fchmod(out, 0755) != 0)
		n = -1;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return n == 0;
}

static bool may_run_in(const char *folder)
{
	struct statvfs fs;

	return statvfs(folder, &fs) == 0 && !(fs.f_flag & ST_NOEXEC);
}

char *cli_start_place(char *object, size_t room)
{
	static char folder[] = "/tmp/writewatch-XXXXXX";
	const bool blank = strpbrk(object, " :\t\n");
	char *target = realpath(object, NULL);
	const bool hidden = target && getuid() == 0 && !all_can_read(target) &&
			    may_run_in("/tmp");

	if (!target || (!blank && !hidden) || !mkdtemp(folder)) {
		free(target);
		return NULL;
	}
	chmod(folder, 0755);
	snprintf(object, room, "%s/%s", folder, PRELOAD_NAME);
	if (!hidden || !copy(target, object)) {
		unlink(object);
		if (symlink(target, object) != 0)
			perror("writewatch: symlink");
	}
	free(target);
	return folder;
}

/* As much as is allowed: the program is given back what the command had. */
static void raise_limit(int which, rlim_t most, struct rlimit *before)
{
	struct rlimit more = { most, most };

	if (getrlimit((unsigned)which, before) != 0)
		return;
	if (most != RLIM_INFINITY || setrlimit((unsigned)which, &more) != 0) {
		more = *before;
		more.rlim_cur = more.rlim_max;
		setrlimit((unsigned)which, &more);
	}
}

/* Five descriptors a process; and time to look, which is none of the program's. */
void cli_start_raise_limits(struct cli_limits *before)
{
	raise_limit(RLIMIT_NOFILE, 0, &before->files);
	raise_limit(RLIMIT_CPU, RLIM_INFINITY, &before->cpu);
}

void cli_start_list_inherited(struct cli_inherited *list)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;

	list->n = 0;
	while (dir && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(dir) &&
		    list->n < CLI_INHERITED)
			list->fd[list->n++] = fd;
	}
	if (dir)
		closedir(dir);
}

/* Not if a file of the command's may be one of them (/dev/stdout). */
void cli_start_close_inherited(const struct cli_inherited *list,
			       const struct cli_report *r)
{
	const char *files[] = { r->svg, r->csv, r->json, r->record };
	size_t i;
	int null;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (files[i] && (!strncmp(files[i], "/dev/", 5) ||
				 !strncmp(files[i], "/proc/", 6)))
			return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
	for (i = 0; i < list->n; i++)
		close(list->fd[i]);
}

/* A sanitizer's runtime refuses to come behind another object; programs that the
 * program starts may have one. */
static void calm_sanitizers(void)
{
	const char *given = getenv("ASAN_OPTIONS");
	char *options;

	if (asprintf(&options, "%s%sverify_asan_link_order=0",
		     given ? given : "", given && *given ? ":" : "") < 0)
		_exit(126);
	setenv("ASAN_OPTIONS", options, 1);
}

void cli_start_become(char **argv, const char *object, const char *name,
		      int filters, const struct cli_limits *limits)
{
	const char *others = getenv("LD_PRELOAD");
	char *list = NULL, *socket = NULL;
	int e;

	/* Behind others: they may have to be first. */
	if (object && (asprintf(&list, "%s%s%s", others ? others : "",
				others && *others ? ":" : "", object) < 0 ||
		       asprintf(&socket, "%s/%d", name, filters) < 0))
		_exit(126);
	if (object) {
		setenv("LD_PRELOAD", list, 1);
		setenv(PRELOAD_SOCKET, socket, 1);
		calm_sanitizers();
		/* else a store would show as 512 pages */
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	}
	if (limits->files.rlim_max)
		setrlimit(RLIMIT_NOFILE, &limits->files);
	setrlimit(RLIMIT_CPU, &limits->cpu);
	execvp(argv[0], argv);
	e = errno;
	cli_fail(argv[0]);
	_exit(e == ENOENT ? 127 : 126);
}
