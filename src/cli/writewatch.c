/* SPDX-License-Identifier: MIT */
/*
 * writewatch.c - the command: what this machine can do, what it costs, and what
 * a program writes.
 */
#include <string.h>

#include "cli.h"

int cli_usage(FILE *out, int status)
{
	fputs("usage: writewatch probe [--json]\n"
	      "       writewatch bench\n"
	      "       writewatch run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
	      "       writewatch watch [OPTION]... PID\n"
	      "\n"
	      "  probe   tries each way to track writes: is it usable here, if\n"
	      "          not why, and what would help; what each guarantees\n"
	      "  bench   compares the usable ones, for ten seconds\n"
	      "  run     runs a program, unmodified, and shows which of its memory\n"
	      "          it writes, and how much\n"
	      "  watch   the same for a running process, where the kernel can\n"
	      "\n"
	      "  -i, --interval MS   between two looks (100)\n"
	      "  -d, --duration S    watch: end after so many seconds\n"
	      "  -s, --svg FILE      memory over time, as a picture\n"
	      "  -c, --csv FILE      each written run of pages, a line\n"
	      "  -q, --quiet         no line an interval, only the table\n"
	      "\n"
	      "The first usable backend is taken by default. WRITEWATCH_DISABLE=a,b\n"
	      "keeps probes away. probe and bench end with 0 if one is usable, 1 if\n"
	      "none is; run with the program's status, 126 or 127 if it can not be\n"
	      "started; run and watch with 125 if they can not do their work; all\n"
	      "with 2 for wrong arguments. See writewatch(1).\n",
	      out);
	return status;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(int argc, char **argv);
	} commands[] = {
		{ "probe", cli_probe },
		{ "bench", cli_bench },
		{ "run", cli_run },
		{ "watch", cli_watch },
	};
	size_t i;

	if (argc < 2)
		return cli_usage(stderr, 2);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return cli_usage(stdout, 0);
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].fn(argc - 1, argv + 1);
	return cli_usage(stderr, 2);
}
