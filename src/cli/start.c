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

/* The dynamic linker splits LD_PRELOAD at blanks and colons: an object whose
 * path has one is loaded through a link without. Returns the folder of the
 * link, to be removed at the end, or NULL. */
char *cli_start_avoid_blanks(char *object, size_t room)
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
