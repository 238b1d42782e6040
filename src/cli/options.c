/* SPDX-License-Identifier: MIT */
/*
 * options.c - the arguments of run, watch and report.
 *
 * Called by run.c and record.c.
 */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

bool cli_options_number(const char *text, double least, double *out)
{
	char *end;

	*out = strtod(text, &end);
	return *end == '\0' && end != text && *out >= least && isfinite(*out);
}

static bool parse_sort(const char *text, enum cli_sort *out)
{
	static const char *const names[] = { "writes", "pages", "share",
					     "size" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(text, names[i])) {
			*out = (enum cli_sort)i;
			return true;
		}
	return false;
}

enum { NO_FOLLOW = 256, SORT, TOP, PROCESS, MAPPING };

static const struct option options[] = {
	{ "interval", required_argument, NULL, 'i' },
	{ "duration", required_argument, NULL, 'd' },
	{ "svg", required_argument, NULL, 's' },
	{ "csv", required_argument, NULL, 'c' },
	{ "json", required_argument, NULL, 'j' },
	{ "output", required_argument, NULL, 'o' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "no-follow", no_argument, NULL, NO_FOLLOW },
	{ "sort", required_argument, NULL, SORT },
	{ "top", required_argument, NULL, TOP },
	{ "process", required_argument, NULL, PROCESS },
	{ "mapping", required_argument, NULL, MAPPING },
	{ NULL, 0, NULL, 0 },
};

/* What is wrong with an option's argument; NULL: nothing. */
static const char *take(struct cli_options *o, int option)
{
	struct cli_report *r = o->report;
	double number;

	switch (option) {
	case 'i':
		if (!cli_options_number(optarg, 1, &number))
			return "not a number of milliseconds, 1 or more";
		r->interval = number / 1000;
		break;
	case 'd':
		if (!cli_options_number(optarg, 0.001, &o->duration))
			return "not a number of seconds";
		break;
	case 's':
		r->svg = optarg;
		break;
	case 'c':
		r->csv = optarg;
		break;
	case 'j':
		r->json = optarg;
		break;
	case 'o':
		r->record = optarg;
		break;
	case 'q':
		r->quiet = true;
		break;
	case NO_FOLLOW:
		o->follow = false;
		break;
	case SORT:
		if (!parse_sort(optarg, &r->sort))
			return "not one of writes, pages, share, size";
		break;
	case TOP:
		if (!cli_options_number(optarg, 1, &number))
			return "not a number of rows";
		r->top = number < 1e9 ? (size_t)number : SIZE_MAX;
		break;
	case PROCESS:
		r->only_process = optarg;
		break;
	default:
		r->only_mapping = optarg;
	}
	return NULL;
}

/* What each command takes. */
static bool is_for(const char *command, int option)
{
	const bool report = !strcmp(command, "report");

	switch (option) {
	case 'd':
		return !strcmp(command, "watch");
	case NO_FOLLOW:
		return !strcmp(command, "run");
	case 'i':
	case 'o':
	case 'q':
		return !report;
	default:
		return true;
	}
}

/* "--interval", whatever was written */
static const char *name_of(int option)
{
	static char name[32];
	const struct option *o;

	for (o = options; o->name && o->val != option; o++)
		;
	snprintf(name, sizeof(name), "--%s", o->name ? o->name : "?");
	return name;
}

/* getopt_long() gave up: '?' or ':'. */
static void say_wrong(const char *command, int c, char **argv)
{
	const char letter[3] = { '-', (char)optopt, '\0' };

	if (c == ':')
		cli_wrong(command, "its argument is missing", name_of(optopt));
	else if (optopt && strcmp(name_of(optopt), "--?") != 0)
		cli_wrong(command, "takes no argument", name_of(optopt));
	else
		cli_wrong(command, "no such option",
			  optopt ? letter : argv[optind - 1]);
}

bool cli_options_parse(const char *command, int argc, char **argv,
		       struct cli_options *out)
{
	struct cli_report *r = out->report;
	int c;

	opterr = 0; /* getopt prints what it was given as it is */
	out->follow = true;
	r->interval = 0.1;
	r->top = 20;
	r->page = (size_t)sysconf(_SC_PAGESIZE);
	r->date = time(NULL);
	while ((c = getopt_long(argc, argv, "+:i:d:s:c:j:o:q", options,
				NULL)) != -1) {
		const char *wrong;

		if (c == '?' || c == ':') {
			say_wrong(command, c, argv);
			return false;
		}
		if (!is_for(command, c)) {
			cli_wrong(command, "not an option of this command",
				  name_of(c));
			return false;
		}
		wrong = take(out, c);
		if (wrong) {
			cli_wrong(command, wrong, optarg);
			return false;
		}
	}
	return true;
}
