/* SPDX-License-Identifier: MIT */
/*
 * report.c - what was written: collecting it, and the table, CSV and JSON.
 *
 * Names come from other programs: a terminal, CSV and JSON get them escaped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MOST_RUNS ((size_t)4 << 20) /* kept: some 130 MB */

/* --- collecting --- */

static bool grow(void **array, size_t n, size_t size)
{
	void *more;

	if (n & (n - 1)) /* full only at powers of two */
		return true;
	more = realloc(*array, (n ? n * 2 : 1) * size);
	if (more)
		*array = more;
	return more != NULL;
}

static unsigned *bucket_of(struct cli_report *self, pid_t pid, uintptr_t start,
			   const char *name)
{
	uint64_t h = (uint64_t)pid * 0x9e3779b97f4a7c15u ^ start >> 12;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return &self->bucket[h % 1024];
}

unsigned cli_report_program(struct cli_report *self, pid_t pid,
			    const char *process)
{
	size_t i = self->nmappings;

	while (i--)
		if (self->mapping[i].pid == pid &&
		    !strcmp(self->mapping[i].process, process))
			return self->mapping[i].program;
	return ++self->programs;
}

unsigned cli_report_mapping(struct cli_report *self, pid_t pid,
			    const char *process, uintptr_t start, uintptr_t end,
			    const char *name)
{
	struct cli_mapping new = { .pid = pid, .start = start, .end = end }, *m;
	unsigned *bucket, i;

	snprintf(new.process, sizeof(new.process), "%s", process);
	snprintf(new.name, sizeof(new.name), "%s", name);
	bucket = bucket_of(self, pid, start, new.name);
	for (i = *bucket; i; i = m->next) {
		m = &self->mapping[i - 1];
		if (m->pid != pid || m->start != start ||
		    strcmp(m->name, new.name) != 0 ||
		    strcmp(m->process, new.process) != 0)
			continue;
		if (end > m->end)
			m->end = end;
		return i - 1;
	}
	if (!grow((void **)&self->mapping, self->nmappings, sizeof(*m)))
		return 0;
	new.next = *bucket;
	new.program = cli_report_program(self, pid, new.process);
	self->mapping[self->nmappings++] = new;
	*bucket = (unsigned)self->nmappings;
	return *bucket - 1;
}

void cli_report_add(struct cli_report *self, double when, unsigned mapping,
		    uintptr_t start, size_t len)
{
	struct cli_mapping *m = &self->mapping[mapping];

	m->writes += len / self->page;
	if (cli_report_wants(self, m))
		self->pages += len / self->page;
	if (self->nwritten == MOST_RUNS ||
	    !grow((void **)&self->written, self->nwritten,
		  sizeof(*self->written))) {
		self->full = self->full > 0 ? self->full : when;
		return;
	}
	self->written[self->nwritten++] =
		(struct cli_written){ when, mapping, start, len };
}

/* --- counting and sorting --- */

static const struct cli_report *sorting;

static int by_place(const void *a, const void *b)
{
	const struct cli_written *x = &sorting->written[*(const size_t *)a];
	const struct cli_written *y = &sorting->written[*(const size_t *)b];

	if (x->mapping != y->mapping)
		return x->mapping < y->mapping ? -1 : 1;
	return (x->start > y->start) - (x->start < y->start);
}

void cli_report_count(struct cli_report *self)
{
	size_t *order = malloc((self->nwritten + 1) * sizeof(*order)), i;
	uintptr_t done = 0;
	unsigned last = 0;

	for (i = 0; i < self->nmappings; i++)
		self->mapping[i].pages = 0;
	for (i = 0; order && i < self->nwritten; i++)
		order[i] = i;
	sorting = self;
	if (order)
		qsort(order, self->nwritten, sizeof(*order), by_place);
	for (i = 0; order && i < self->nwritten; i++) {
		const struct cli_written *w = &self->written[order[i]];
		uintptr_t start = w->start, end = w->start + w->len;

		if (w->mapping != last)
			done = 0;
		last = w->mapping;
		if (start < done)
			start = done;
		if (end <= start)
			continue;
		self->mapping[w->mapping].pages += (end - start) / self->page;
		done = end;
	}
	free(order);
}

static double key_of(const struct cli_report *self, const struct cli_mapping *m)
{
	switch (self->sort) {
	case CLI_BY_PAGES:
		return (double)m->pages;
	case CLI_BY_SHARE:
		return (double)m->pages / (double)cli_mapping_size(self, m);
	case CLI_BY_SIZE:
		return (double)cli_mapping_size(self, m);
	default:
		return (double)m->writes;
	}
}

static int by_key(const void *a, const void *b)
{
	unsigned i = *(const unsigned *)a, k = *(const unsigned *)b;
	double x = key_of(sorting, &sorting->mapping[i]);
	double y = key_of(sorting, &sorting->mapping[k]);

	if (x != y)
		return x < y ? 1 : -1;
	return (i > k) - (i < k);
}

bool cli_report_wants(const struct cli_report *self,
		      const struct cli_mapping *m)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)m->pid);
	if (self->only_process && strcmp(self->only_process, m->process) != 0 &&
	    strcmp(self->only_process, pid) != 0)
		return false;
	return !self->only_mapping || strstr(m->name, self->only_mapping);
}

static bool is_row(const struct cli_report *self, const struct cli_mapping *m)
{
	return m->writes && cli_report_wants(self, m);
}

size_t cli_report_rows(const struct cli_report *self)
{
	size_t n = 0, i;

	for (i = 0; i < self->nmappings; i++)
		n += is_row(self, &self->mapping[i]);
	return n;
}

static int by_address(const void *a, const void *b)
{
	const struct cli_mapping *x = &sorting->mapping[*(const unsigned *)a];
	const struct cli_mapping *y = &sorting->mapping[*(const unsigned *)b];

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->program != y->program) /* it became another (exec) */
		return x->program < y->program ? -1 : 1;
	return (x->start > y->start) - (x->start < y->start);
}

void cli_report_by_address(const struct cli_report *self, unsigned *order,
			   size_t n)
{
	sorting = self;
	qsort(order, n, sizeof(*order), by_address);
}

unsigned *cli_report_order(const struct cli_report *self, size_t *n)
{
	unsigned *order = malloc((self->nmappings + 1) * sizeof(*order));
	size_t i;

	for (*n = i = 0; order && i < self->nmappings; i++)
		if (is_row(self, &self->mapping[i]))
			order[(*n)++] = (unsigned)i;
	sorting = self;
	if (order)
		qsort(order, *n, sizeof(*order), by_key);
	return order;
}

/* --- names --- */

const char *cli_short_name(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash && slash[1] ? slash + 1 : name;
}

size_t cli_character(const char *text)
{
	const unsigned char *c = (const unsigned char *)text;
	/* the least code point of so many bytes: no overlong forms */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t point;
	size_t n, i;

	if (c[0] < 0x80)
		return c[0] >= ' ' && c[0] != 127;
	n = c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
	if (c[0] < 0xc0 || c[0] > 0xf4)
		return 0;
	point = c[0] & (0x7fu >> n);
	for (i = 1; i < n; i++) {
		if ((c[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (c[i] & 0x3fu);
	}
	if (point < least[n] || point < 0xa0 || point > 0x10ffff ||
	    (point >= 0xd800 && point < 0xe000) || (point & 0xfffe) == 0xfffe)
		return 0;
	/* what changes the direction of a terminal's text */
	if ((point >= 0x202a && point <= 0x202e) ||
	    (point >= 0x2066 && point <= 0x2069))
		return 0;
	return n;
}

void cli_put_plain(FILE *f, const char *text, size_t most)
{
	while (*text && most) {
		size_t n = cli_character(text);

		if (n > most)
			return;
		if (n)
			fwrite(text, 1, n, f);
		else
			fputc('?', f);
		n = n ? n : 1;
		text += n;
		most -= n;
	}
}

static void put_csv(FILE *f, const char *text)
{
	const char *quote;

	fputc('"', f);
	for (; (quote = strchr(text, '"')); text = quote + 1) {
		cli_put_plain(f, text, (size_t)(quote - text));
		fputs("\"\"", f);
	}
	cli_put_plain(f, text, SIZE_MAX);
	fputc('"', f);
}

/* What is no character: each byte as a code point. */
static void put_json(FILE *f, const char *text)
{
	fputc('"', f);
	while (*text) {
		size_t n = cli_character(text);

		if (*text == '"' || *text == '\\')
			fputc('\\', f);
		if (n)
			fwrite(text, 1, n, f);
		else
			fprintf(f, "\\u%04x", (unsigned char)*text);
		text += n ? n : 1;
	}
	fputc('"', f);
}

/* --- the table and the files --- */

static void tell_row(const struct cli_report *self, const struct cli_mapping *m)
{
	size_t size = cli_mapping_size(self, m);

	fprintf(stderr, "%7d ", (int)m->pid);
	cli_put_plain(stderr, m->process, 15);
	fprintf(stderr, "%*s %9zu %9zu %4.0f%% %10zu  0x%-12" PRIxPTR " ",
		(int)(15 - strlen(m->process)), "", m->writes, m->pages,
		100.0 * (double)m->pages / (double)size,
		size * self->page / 1024, m->start);
	cli_put_plain(stderr, m->name, sizeof(m->name));
	fputc('\n', stderr);
}

static void tell_table(const struct cli_report *self)
{
	size_t n, i, writes = 0, pages = 0;
	unsigned *order = cli_report_order(self, &n);

	for (i = 0; i < n; i++) {
		writes += self->mapping[order[i]].writes;
		pages += self->mapping[order[i]].pages;
	}
	if (!n) {
		if (*self->backend) /* else nobody looked */
			fprintf(stderr,
				"nothing %swas written while it was looked at\n",
				self->only_process || self->only_mapping
					? "that was asked for "
					: "");
		free(order);
		return;
	}
	fprintf(stderr, "%7s %-15s %9s %9s %5s %10s  %-14s %s\n", "PID",
		"PROCESS", "WRITES", "PAGES", "SHARE", "SIZE KiB", "START",
		"MAPPING");
	for (i = 0; i < n && i < self->top; i++)
		tell_row(self, &self->mapping[order[i]]);
	if (n > self->top)
		fprintf(stderr, "%7s and %zu more\n", "", n - self->top);
	fprintf(stderr, "%7s %-15s %9zu %9zu  %.1f MiB/s in %.1f s\n", "",
		"all", writes, pages,
		(double)(writes * self->page) / self->seconds / (1 << 20),
		self->seconds);
	if (self->nwritten == MOST_RUNS)
		fprintf(stderr, "PAGES and the files end early: too much was "
				"written\n");
	free(order);
}

static int write_csv(const struct cli_report *self, FILE *f)
{
	size_t i;

	fprintf(f, "seconds,pid,process,start,pages,mapping\n");
	for (i = 0; i < self->nwritten; i++) {
		const struct cli_written *w = &self->written[i];
		const struct cli_mapping *m = &self->mapping[w->mapping];

		if (!cli_report_wants(self, m))
			continue;
		fprintf(f, "%.3f,%d,", w->when, (int)m->pid);
		put_csv(f, m->process);
		fprintf(f, ",0x%" PRIxPTR ",%zu,", w->start,
			w->len / self->page);
		put_csv(f, m->name);
		fputc('\n', f);
	}
	return 0;
}

static int write_json(const struct cli_report *self, FILE *f)
{
	size_t n, i;
	unsigned *order = cli_report_order(self, &n);

	fprintf(f, "{\"command\": ");
	put_json(f, self->command ? self->command : "");
	fprintf(f, ", \"backend\": ");
	put_json(f, self->backend);
	fprintf(f,
		", \"date\": %lld, \"seconds\": %.3f, \"interval\": %.3f, "
		"\"page\": %zu,\n \"mappings\": [",
		(long long)self->date, self->seconds, self->interval,
		self->page);
	for (i = 0; i < n; i++) {
		const struct cli_mapping *m = &self->mapping[order[i]];

		fprintf(f, "%s\n  {\"pid\": %d, \"process\": ", i ? "," : "",
			(int)m->pid);
		put_json(f, m->process);
		fprintf(f, ", \"mapping\": ");
		put_json(f, m->name);
		fprintf(f,
			", \"start\": %" PRIuPTR ", \"size\": %" PRIuPTR
			", \"writes\": %zu, \"pages\": %zu}",
			m->start, m->end - m->start, m->writes, m->pages);
	}
	fprintf(f, "\n ]}\n");
	free(order);
	return 0;
}

static int write_file(const struct cli_report *self, const char *path,
		      int (*fn)(const struct cli_report *self, FILE *f))
{
	FILE *f = path ? fopen(path, "we") : NULL;
	int r;

	if (!path)
		return 0;
	r = f ? fn(self, f) : -1;
	if (f && fclose(f) != 0)
		r = -1;
	if (r != 0)
		cli_fail(path);
	return r;
}

int cli_report_end(struct cli_report *self)
{
	int r = 0;

	cli_report_count(self);
	r |= write_file(self, self->svg, cli_picture_write);
	r |= write_file(self, self->csv, write_csv);
	r |= write_file(self, self->json, write_json);
	r |= write_file(self, self->record, cli_record_write);
	tell_table(self);
	return r;
}
