/* SPDX-License-Identifier: MIT */
/*
 * writewatch.c - the command: what this machine can do, what it costs, and what
 * a program writes.
 */
#include <errno.h>
#include <string.h>

#include "cli.h"

static const char help[] =
	"usage: writewatch probe [--json] [--require GUARANTEE]...\n"
	"       writewatch bench\n"
	"       writewatch run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
	"       writewatch watch [OPTION]... PID\n"
	"       writewatch report [OPTION]... FILE\n"
	"       writewatch --version | --help\n"
	"\n"
	"  probe   tries each way to track writes: is it usable here, if not\n"
	"          why, and what would help; what each guarantees\n"
	"  bench   compares the usable ones, for ten seconds\n"
	"  run     runs a program, unmodified, and shows which of its memory it\n"
	"          writes, and how much\n"
	"  watch   the same for a running process, where the kernel can\n"
	"  report  shows a recording (run -o FILE) again\n"
	"\n"
	"  -i, --interval MS    between two looks (100)\n"
	"  -d, --duration S     watch: end after so many seconds\n"
	"  -o, --output FILE    record, for report\n"
	"  -s, --svg FILE       memory over time, as a picture\n"
	"  -c, --csv FILE       each written run of pages, a line\n"
	"  -j, --json FILE      the table\n"
	"  -q, --quiet          no line an interval, only the table\n"
	"      --no-follow      run: the program alone, not those it starts\n"
	"      --sort KEY       of the table: writes, pages, share or size\n"
	"      --top N          rows of the table (20)\n"
	"      --process NAME   this process alone, by name or number\n"
	"      --mapping TEXT   mappings alone whose names have this in them\n"
	"\n"
	"Of the table: WRITES counts the pages that were written, anew in each\n"
	"interval; PAGES the distinct ones; SHARE is their part of the mapping.\n"
	"\n"
	"Ends with the program's status (run), 126 or 127 if it can not be\n"
	"started; 125 if the command can not do its work; 2 for wrong arguments;\n"
	"probe and bench with 1 if no backend is usable. See writewatch(1).\n";

double cli_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int cli_fail(const char *what)
{
	const int e = errno;

	fprintf(stderr, "writewatch: ");
	cli_put_plain(stderr, what, SIZE_MAX);
	fprintf(stderr, ": %s\n", strerror(e));
	return CLI_FAILED;
}

int cli_wrong(const char *command, const char *what, const char *argument)
{
	fprintf(stderr, "writewatch%s%s: ", *command ? " " : "", command);
	if (argument) {
		cli_put_plain(stderr, argument, 200);
		fprintf(stderr, ": ");
	}
	fprintf(stderr, "%s; see writewatch --help\n", what);
	return CLI_WRONG;
}

static int run_command(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(int argc, char **argv);
	} commands[] = {
		{ "probe", cli_probe },	  { "bench", cli_bench },
		{ "run", cli_run },	  { "watch", cli_watch },
		{ "report", cli_report },
	};
	size_t i;

	if (argc < 2)
		return cli_wrong("", "a command is missing", NULL);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		fputs(help, stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("writewatch %s\n", ww_version());
		return 0;
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (argc > 2 && !strcmp(argv[2], "--help")) {
			fputs(help, stdout);
			return 0;
		}
		return commands[i].fn(argc - 1, argv + 1);
	}
	return cli_wrong("", "no such command", argv[1]);
}

int main(int argc, char **argv)
{
	int r = run_command(argc, argv);

	if (fflush(stdout) != 0 || ferror(stdout))
		return cli_fail("standard output");
	return r;
}
