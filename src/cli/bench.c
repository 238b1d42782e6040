/* SPDX-License-Identifier: MIT */
/*
 * bench.c - what each usable backend costs on this machine, in ten seconds. For
 * comparisons with other techniques see tests/bench/.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define LEN ((size_t)16 << 20)
#define SECONDS 9.5
#define MOST 16
#define ROUNDS 4096

struct costs {
	double write[ROUNDS], clean[ROUNDS], dirty[ROUNDS];
	size_t n;
};

static size_t page;
static void **pages;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), ascending);
	return n ? v[n / 2] : 0;
}

/* ns a page of a get-and-reset. */
static double query(struct ww *ww, char *m)
{
	size_t n = LEN / page;
	double start = now();

	ww_get(ww, m, LEN, WW_RESET, pages, &n, NULL);
	return (now() - start) / ((double)LEN / (double)page);
}

static void round_of(struct ww *ww, char *m, struct costs *c)
{
	size_t n = LEN / page / 100, i;
	double start;

	if (c->n == ROUNDS)
		return;
	query(ww, m);
	c->clean[c->n] = query(ww, m);
	start = now();
	for (i = 0; i < n; i++)
		((volatile char *)m)[i * 100 * page]++;
	c->write[c->n] = (now() - start) / (double)n;
	c->dirty[c->n++] = query(ww, m);
}

static void progress(double done)
{
	int i;

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r|");
	for (i = 0; i < 50; i++)
		fputc(i < (int)(done * 50) ? '#' : ' ', stderr);
	fprintf(stderr, "| %3.0f %%%s", done * 100, done < 1 ? "" : "\n");
}

static bool measure(const char *backend, struct costs *c, double seconds,
		    double from, double to)
{
	struct ww_options o = { .size = sizeof(o), .backend = backend };
	char *m = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double start = now(), passed = 0;
	struct ww *ww;

	if (m == MAP_FAILED)
		return false;
	madvise(m, LEN, MADV_NOHUGEPAGE);
	memset(m, 1, LEN);
	if (ww_open(&ww, &o) != 0 || ww_watch(ww, m, LEN, 0) != 0)
		return false;
	while (passed < seconds) {
		int i;

		for (i = 0; i < 16; i++)
			round_of(ww, m, c);
		passed = (now() - start) / 1e9;
		progress(from +
			 (to - from) *
				 (passed < seconds ? passed / seconds : 1));
	}
	ww_close(ww);
	munmap(m, LEN);
	return true;
}

int cli_bench(int argc, char **argv)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	const char *name[MOST];
	unsigned i, n = 0;
	double first = 0;

	if (argc > 1)
		return cli_wrong("bench", "takes no arguments", argv[1]);
	page = (size_t)sysconf(_SC_PAGESIZE);
	pages = malloc(LEN / page * sizeof(*pages));
	for (i = 0; pages && n < MOST && ww_probe(i, &info) == 0; i++)
		if (info.status == 0)
			name[n++] = info.name;
	if (!n) {
		fprintf(stderr, "writewatch: no backend is usable here\n");
		free(pages);
		return 1;
	}
	printf("16 MiB of private memory, medians\n"
	       "%-18s %22s %24s %24s\n",
	       "", "first write, ns a page", "clean query, ns a page",
	       "1 % dirty, ns a page");
	for (i = 0; i < n; i++) {
		struct costs *c = calloc(1, sizeof(*c));
		double w;

		if (!c || !measure(name[i], c, SECONDS / n, (double)i / n,
				   (double)(i + 1) / n)) {
			printf("%-18s could not be measured\n", name[i]);
			free(c);
			continue;
		}
		w = median(c->write, c->n);
		first = first > 0 ? first : w;
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r%60s\r", "");
		printf("%-18s %15.0f (%3.1fx) %24.1f %24.1f\n", name[i], w,
		       w / first, median(c->clean, c->n),
		       median(c->dirty, c->n));
		fflush(stdout);
		free(c);
	}
	printf("\n%s is taken unless a program asks for another. Another is "
	       "better for\nprograms that write often and ask seldom if its "
	       "first write is cheaper, for\nthose that ask often if its "
	       "queries are.\n",
	       name[0]);
	free(pages);
	return 0;
}
