/* SPDX-License-Identifier: MIT */
/*
 * record.c - a recording as a file, and `report`, which reads it again.
 *
 * Lines of text, the first letter says what: v version, t title, b backend, n
 * numbers, m a mapping (their number is their order), w what was written, e the end.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Without newlines, which end a line. */
static void put_line(FILE *f, char what, const char *text)
{
	fprintf(f, "%c ", what);
	cli_put_plain(f, text, SIZE_MAX);
	fputc('\n', f);
}

int cli_record_write(const struct cli_report *self, FILE *f)
{
	size_t i;

	fprintf(f, "v writewatch 1\n");
	put_line(f, 't', self->command ? self->command : "");
	put_line(f, 'b', self->backend);
	fprintf(f, "n %lld %.3f %.3f %zu\n", (long long)self->date,
		self->seconds, self->interval, self->page);
	for (i = 0; i < self->nmappings; i++) {
		const struct cli_mapping *m = &self->mapping[i];

		fprintf(f, "m %d %" PRIxPTR " %" PRIxPTR " ", (int)m->pid,
			m->start, m->end);
		/* both may have blanks */
		fprintf(f, "%zu ", strlen(m->process));
		cli_put_plain(f, m->process, SIZE_MAX);
		fputc(' ', f);
		cli_put_plain(f, m->name, SIZE_MAX);
		fputc('\n', f);
	}
	for (i = 0; i < self->nwritten; i++)
		fprintf(f, "w %.3f %u %" PRIxPTR " %zu\n",
			self->written[i].when, self->written[i].mapping,
			self->written[i].start,
			self->written[i].len / self->page);
	fprintf(f, "e %.3f\n", self->full);
	return ferror(f) ? -1 : 0;
}

static bool read_mapping(struct cli_report *r, const char *line)
{
	struct cli_mapping m = { 0 };
	int pid, at;
	size_t len;

	if (!r->page ||
	    sscanf(line, "m %d %" SCNxPTR " %" SCNxPTR " %zu%n", &pid, &m.start,
		   &m.end, &len, &at) != 4 ||
	    len >= sizeof(m.process) || line[at] != ' ' ||
	    strlen(line + ++at) <= len || m.end <= m.start)
		return false;
	memcpy(m.process, line + at, len);
	/* two may be alike: each has its number */
	r->mapping = realloc(r->mapping, (r->nmappings + 1) * sizeof(m));
	if (!r->mapping)
		return false;
	m.pid = pid;
	m.program = cli_report_program(r, pid, m.process);
	snprintf(m.name, sizeof(m.name), "%s", line + at + len + 1);
	r->mapping[r->nmappings++] = m;
	return true;
}

static bool read_written(struct cli_report *r, const char *line)
{
	uintptr_t start;
	unsigned mapping;
	size_t pages;
	double when;

	if (sscanf(line, "w %lf %u %" SCNxPTR " %zu", &when, &mapping, &start,
		   &pages) != 4 ||
	    !(when >= 0 && when <= r->seconds + r->interval + 1) ||
	    mapping >= r->nmappings || start < r->mapping[mapping].start ||
	    start >= r->mapping[mapping].end ||
	    pages > (r->mapping[mapping].end - start) / r->page)
		return false;
	cli_report_add(r, when, mapping, start, pages * r->page);
	return true;
}

static bool read_numbers(struct cli_report *r, const char *line)
{
	long long date;

	if (r->page ||
	    sscanf(line, "n %lld %lf %lf %zu", &date, &r->seconds, &r->interval,
		   &r->page) != 4 ||
	    !(r->seconds > 0) || !(r->interval > 0) || !isfinite(r->seconds) ||
	    !isfinite(r->interval) || r->interval < 0.001 || r->page < 4096 ||
	    r->page & (r->page - 1))
		return false;
	r->date = (time_t)date;
	return true;
}

static bool read_end(struct cli_report *r, const char *line)
{
	return sscanf(line, "e %lf", &r->full) == 1 && r->full >= 0 &&
	       isfinite(r->full);
}

static bool read_line(struct cli_report *r, char *line)
{
	line[strcspn(line, "\n")] = '\0';
	switch (line[0]) {
	case 't':
		free(r->command);
		r->command = strdup(line[1] ? line + 2 : "");
		return r->command != NULL;
	case 'b':
		snprintf(r->backend, sizeof(r->backend), "%.31s",
			 line[1] ? line + 2 : "");
		return true;
	case 'n':
		return read_numbers(r, line);
	case 'm':
		return read_mapping(r, line);
	case 'w':
		return read_written(r, line);
	case 'e':
		return read_end(r, line);
	default:
		return true; /* of a later version */
	}
}

int cli_report(int argc, char **argv)
{
	static struct cli_report r;
	struct cli_options o = { .report = &r };
	char *line = NULL;
	size_t room = 0;
	unsigned long n = 1;
	bool good, ended = false;
	FILE *f;

	if (!cli_options_parse("report", argc, argv, &o))
		return CLI_WRONG;
	if (argc - optind != 1)
		return cli_wrong("report",
				 optind == argc ? "a recording is missing"
				 : argv[optind + 1][0] == '-'
					 ? "options come before the recording"
					 : "more than one recording",
				 optind == argc ? NULL : argv[optind + 1]);
	f = fopen(argv[optind], "re");
	if (!f)
		return cli_fail(argv[optind]);
	good = getline(&line, &room, f) >= 0 &&
	       !strcmp(line, "v writewatch 1\n");
	r.seconds = 0;
	r.page = 0;
	while (good && !ended && getline(&line, &room, f) >= 0) {
		n++;
		good = read_line(&r, line);
		ended = good && line[0] == 'e';
	}
	free(line);
	fclose(f);
	if (!ended) {
		fprintf(stderr, "writewatch: ");
		cli_put_plain(stderr, argv[optind], SIZE_MAX);
		fprintf(stderr,
			good ? ": it has no end; it was cut behind line %lu\n"
			     : ": line %lu is not of a recording\n",
			n);
	}
	/* what is there of one that was cut is shown */
	if (!ended && !r.nwritten)
		return CLI_FAILED;
	if (!*r.backend)
		fprintf(stderr, "writewatch: no process was watched\n");
	return r.seconds > 0 && cli_report_end(&r) == 0 && ended ? 0
								 : CLI_FAILED;
}
