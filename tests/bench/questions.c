/* SPDX-License-Identifier: MIT */
/* questions.c - what it costs a program of one thread. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ns of a process's first open, and of its second. In a child of its own, as
 * what the library finds out about the kernel it finds out once. */
static void first_open(const struct technique *t, double v[2])
{
	int back[2], i;

	v[0] = v[1] = NAN;
	if (pipe(back) < 0)
		return;
	if (fork() == 0) {
		for (i = 0; i < 2; i++) {
			double start = now();

			if (t->open(t->name) != 0)
				_exit(1);
			v[i] = now() - start;
			t->close();
		}
		_exit(write(back[1], v, 2 * sizeof(*v)) < 0);
	}
	close(back[1]);
	if (read(back[0], v, 2 * sizeof(*v)) < 0)
		abort();
	close(back[0]);
	wait(NULL);
}

void ask_open(void)
{
	static const struct technique all[] = {
		OURS("uffd-async", 0, 0),
		OURS("uffd-sync", 0, 0),
		OURS("mprotect", 0, 0),
	};
	double v[2][COUNT(all)][REPEATS];
	struct plot plot;
	size_t i, k;

	for (k = 0; k < REPEATS; k++)
		for (i = 0; i < COUNT(all); i++) {
			double two[2];

			first_open(&all[i], two);
			v[0][i][k] = two[0];
			v[1][i][k] = two[1];
		}
	plot_begin(&plot, "open", "opening a tracker: 1: the first, 2: another",
		   "which", "ns");
	for (i = 0; i < COUNT(all); i++)
		plot_series(&plot, all[i].name);
	for (k = 0; k < 2; k++) {
		plot_row(&plot, (double)k + 1);
		for (i = 0; i < COUNT(all); i++)
			plot_value(&plot, median_if_any(v[k][i]));
	}
	end(&plot);
}

static double time_of_watch(const struct technique *t, char *m,
			    const struct work *w)
{
	double start = now();

	if (t->watch(m, w->len) != 0)
		return NAN;
	start = now() - start;
	t->unwatch(m, w->len);
	return start;
}

void ask_watch(void)
{
	static const size_t sizes[] = { 64 << 10,  MIB,	    16 * MIB,
					256 * MIB, 4 * GIB, 64 * GIB,
					1024 * GIB };
	struct field f = field_all();
	struct plot plot;
	size_t i;

	begin(&plot, &f, "watch", "watching memory that was written", "bytes",
	      "ns");
	for (i = 0; i < 5; i++)
		measure(&plot, &f, (double)sizes[i], time_of_watch,
			&(struct work){ .len = sizes[i], .unwatched = true });
	end(&plot);
	begin(&plot, &f, "watch-untouched",
	      "watching memory that was not touched", "bytes", "ns");
	for (i = 0; i < COUNT(sizes); i++)
		measure(&plot, &f, (double)sizes[i], time_of_watch,
			&(struct work){ .len = sizes[i],
					.untouched = true,
					.unwatched = true });
	end(&plot);
}

/* --- writes --- */

static double time_of_writes(char *m, size_t len, size_t step)
{
	double start = now();
	size_t i;

	for (i = 0; i < len; i += step)
		((volatile char *)m)[i] = 1;
	return (now() - start) / (double)((len + step - 1) / step);
}

static double first_write(const struct technique *t, char *m,
			  const struct work *w)
{
	return time_of_writes(m, w->len, PAGE);
}

double cost_after_reset(const struct technique *t, char *m, const struct work *w)
{
	t->get_reset(m, w->len, pages, MOST_PAGES);
	return time_of_writes(m, w->len, PAGE);
}

static double second_write(const struct technique *t, char *m,
			   const struct work *w)
{
	cost_after_reset(t, m, w);
	return time_of_writes(m, w->len, PAGE);
}

void ask_write(void)
{
	static const struct {
		const char *name, *title;
		cost_fn *cost;
		bool untouched;
	} kinds[] = {
		{ "write-first", "the first write ever to a page", first_write,
		  true },
		{ "write", "the first write to a page after a reset",
		  cost_after_reset, false },
		{ "write-second", "the second write to a page", second_write,
		  false },
	};
	static const size_t sizes[] = { 256 << 10, 4 * MIB, 32 * MIB };
	struct field f = field_all();
	struct plot plot;
	size_t i, k;

	f.t[f.n++] = &reference_untracked;
	for (k = 0; k < COUNT(kinds); k++) {
		begin(&plot, &f, kinds[k].name, kinds[k].title, "bytes",
		      "ns a page");
		for (i = 0; i < COUNT(sizes); i++)
			measure(&plot, &f, (double)sizes[i], kinds[k].cost,
				&(struct work){ .len = sizes[i],
						.untouched =
							kinds[k].untouched });
		end(&plot);
	}
}

/* --- queries --- */

static size_t written(const struct work *w)
{
	return (size_t)(w->density * (double)(w->len / PAGE));
}

/* A pass over all of it: ns. Twice before, as programs ask again and again. */
double cost_of_pass(const struct technique *t, char *m, const struct work *w)
{
	const size_t room = w->room ? w->room : MOST_PAGES;
	double v[5];
	size_t i;

	for (i = 0; i < 7; i++) {
		size_t n = room, all = 0;
		char *at = m, *last = m + w->len;
		double start;

		dirty(m, w);
		start = now();
		for (; n == room && at < last;
		     at = (char *)pages[n - 1] + PAGE) {
			n = t->get_reset(at, (size_t)(last - at), pages, room);
			all += n;
			if (n < room)
				break;
		}
		if (i >= 2)
			v[i - 2] = now() - start;
		if (all < written(w))
			abort();
	}
	return median(v, 5);
}

double cost_a_page(const struct technique *t, char *m, const struct work *w)
{
	return cost_of_pass(t, m, w) / (double)(w->len / PAGE);
}

static double cost_a_report(const struct technique *t, char *m,
			    const struct work *w)
{
	return cost_of_pass(t, m, w) / (double)written(w);
}

double cost_a_query(const struct technique *t, char *m, const struct work *w)
{
	double v[101];
	size_t i;

	for (i = 0; i < 101; i++) {
		double start;

		dirty(m, w);
		start = now();
		if (t->get_reset(m, w->len, pages, w->room) != written(w))
			abort();
		v[i] = now() - start;
	}
	return median(v, 101);
}

static void ask_density(const struct field *f, const char *name,
			const char *title, size_t len, bool clustered)
{
	static const double densities[] = {
		0, 0.0001, 0.001, 0.01, 0.1, 0.5, 1
	};
	struct plot plot;
	size_t i;

	begin(&plot, f, name, title, "part of pages dirty",
	      "ns a page of region");
	for (i = 0; i < COUNT(densities); i++)
		measure(&plot, f, densities[i], cost_a_page,
			&(struct work){ .len = len,
					.density = densities[i],
					.clustered = clustered });
	end(&plot);
}

/* Ours alone: two ways to ask. */
static void ask_runs(bool clustered)
{
	static const struct technique two[] = {
		OURS("uffd-async", GIB, 0),
		{ "uffd-async, ranges", ours_open, ours_close, ours_watch,
		  ours_unwatch, ours_get_runs, GIB, 0 },
	};
	struct field f = field_of_ours(two, COUNT(two));

	ask_density(&f, clustered ? "runs-clustered" : "runs-scattered",
		    clustered ? "addresses or ranges, 32 MiB, clustered"
			      : "addresses or ranges, 32 MiB, scattered",
		    32 * MIB, clustered);
}

/* Ours alone: a page is held, or was, as around a system call that writes to it. */
static void ask_held(void)
{
	static const struct technique all[] = {
		OURS("uffd-async", GIB, 0),
		OURS("uffd-async, one is held", GIB, 0),
		OURS("uffd-async, one was held", GIB, 0),
		OURS("mprotect", GIB, 0),
		OURS("mprotect, one is held", GIB, 0),
		OURS("mprotect, one was held", GIB, 0),
	};
	struct field f = field_of_ours(all, COUNT(all));

	ask_density(&f, "held", "32 MiB, scattered, beside a page that is held",
		    32 * MIB, false);
}

void ask_query(void)
{
	static const size_t sizes[] = { 64 << 10,  MIB,	    16 * MIB,
					256 * MIB, 2 * GIB, 8 * GIB };
	static const size_t rooms[] = { 1, 64, 2000, 0 };
	struct field f = field_all();
	struct plot plot;
	size_t i;

	ask_density(&f, "query-scattered", "get-and-reset of 32 MiB, scattered",
		    32 * MIB, false);
	ask_density(&f, "query-clustered", "get-and-reset of 32 MiB, clustered",
		    32 * MIB, true);
	ask_runs(false);
	ask_runs(true);
	ask_held();

	begin(&plot, &f, "query-clean", "a query of memory that is clean",
	      "bytes", "ns a page of region");
	for (i = 0; i < COUNT(sizes); i++)
		measure(&plot, &f, (double)sizes[i], cost_a_page,
			&(struct work){ .len = sizes[i] });
	end(&plot);
	begin(&plot, &f, "query-sizes", "get-and-reset, 1 % dirty, scattered",
	      "bytes", "ns a page of region");
	for (i = 1; i < COUNT(sizes); i++)
		measure(&plot, &f, (double)sizes[i], cost_a_page,
			&(struct work){ .len = sizes[i], .density = 0.01 });
	end(&plot);

	begin(&plot, &f, "small", "a query of 64 KiB that finds a page",
	      "entries of room", "ns");
	for (i = 0; i < 2; i++)
		measure(&plot, &f, (double)rooms[i], cost_a_query,
			&(struct work){ .len = 64 << 10,
					.density = 1.0 / 16,
					.room = rooms[i] });
	end(&plot);
	begin(&plot, &f, "capacity", "get-and-reset of 32 MiB, 1 % dirty",
	      "entries of room", "ns a page reported");
	for (i = 0; i < COUNT(rooms); i++)
		measure(&plot, &f,
			rooms[i] ? (double)rooms[i] : (double)MOST_PAGES,
			cost_a_report,
			&(struct work){ .len = 32 * MIB,
					.density = 0.01,
					.room = rooms[i] });
	end(&plot);
}

/* --- permissions --- */

#define FRAME_LEN (170 * MIB)
#define FRAME_PAGES 1500u

/* us a frame: writes and query. The same pages each time (clustered), or
 * others. */
static double cost_of_frame(const struct technique *t, char *m,
			    const struct work *w)
{
	const size_t npages = w->len / PAGE;
	double v[40];
	size_t f, i;

	for (f = 0; f < 80; f++) {
		size_t shift = w->clustered ? 0 : f * 101;
		double start = now();

		for (i = 0; i < FRAME_PAGES; i++)
			m[(i * 29 + shift) % npages * PAGE + 8]++;
		t->get_reset(m, w->len, pages, 4000);
		if (f >= 40)
			v[f - 40] = (now() - start) / 1e3;
	}
	return median(v, 40);
}

/* ns for one of 64 random reads a huge page: what a TLB that misses less saves.
 */
static double cost_of_reads(const struct technique *t, char *m,
			    const struct work *w)
{
	uint64_t r = 88172645463325252u;
	unsigned sum = 0;
	size_t i, n = 1 << 21;
	double start;

	t->get_reset(m, w->len, pages, MOST_PAGES);
	start = now();
	for (i = 0; i < n; i++) {
		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		sum += ((volatile unsigned char *)m)[r % w->len];
	}
	return sum ? (now() - start) / (double)n : NAN;
}

static double huge_row(const struct technique *t, cost_fn *cost)
{
	const size_t len = 512 * MIB;
	double v[REPEATS];
	size_t k;

	for (k = 0; k < REPEATS; k++) {
		char *all = mmap(NULL, len + 2 * MIB, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		char *m = (char *)(((uintptr_t)all + 2 * MIB - 1) &
				   ~(2 * MIB - 1));

		madvise(m, len, MADV_HUGEPAGE);
		t->open(t->name);
		if (t->watch(m, len) != 0)
			abort();
		memset(m, 1, len); /* huge pages, if they are kept */
		v[k] = cost(t, m, &(struct work){ .len = len });
		t->unwatch(m, len);
		t->close();
		munmap(all, len + 2 * MIB);
	}
	return median(v, REPEATS);
}

static void ask_huge(void)
{
	static const struct technique two[] = {
		OURS("uffd-async", 0, 0), OURS("uffd-async, HUGE", 0, 0)
	};
	struct field f = field_of_ours(two, COUNT(two));
	struct plot plot;
	size_t i;

	if (!f.n)
		return;
	begin(&plot, &f, "huge",
	      "512 MiB of huge pages: 1: ns a page of a clean query, 2: ns a random read",
	      "row", "ns");
	plot_row(&plot, 1);
	for (i = 0; i < f.n; i++)
		plot_value(&plot, huge_row(f.t[i], cost_a_page));
	plot_row(&plot, 2);
	for (i = 0; i < f.n; i++)
		plot_value(&plot, huge_row(f.t[i], cost_of_reads));
	end(&plot);
}

void ask_modes(void)
{
	static const struct technique hot[] = {
		OURS("uffd-async", GIB, 0), OURS("uffd-async, HOT_OK", GIB, 0),
		OURS("uffd-sync", GIB, 0),  OURS("uffd-sync, HOT_OK", GIB, 0),
		OURS("mprotect", GIB, 0),   OURS("mprotect, HOT_OK", GIB, 0),
	};
	static const struct technique coarse[] = {
		OURS("uffd-sync", GIB, 0),
		OURS("uffd-sync, COARSE", GIB, 0),
		OURS("mprotect", GIB, 0),
		OURS("mprotect, COARSE", GIB, 0),
	};
	const struct technique *list[9];
	struct plot plot;
	struct field f;
	size_t i;

	for (i = 0; i < 6; i++)
		list[i] = &hot[i];
	list[6] = &reference_bare;
	list[7] = &reference_armed;
	list[8] = &reference_mprotect;
	f = field_of(list, 9);
	begin(&plot, &f, "hot",
	      "a frame that writes 1500 pages of 170 MB: 0: others each time, 1: the same ones",
	      "kind", "us a frame");
	for (i = 0; i < 2; i++)
		measure(&plot, &f, (double)i, cost_of_frame,
			&(struct work){ .len = FRAME_LEN, .clustered = i });
	end(&plot);
	f = field_of_ours(coarse, COUNT(coarse));
	begin(&plot, &f, "coarse", "writing all pages side by side", "bytes",
	      "ns a page");
	for (i = 1; i <= 16; i *= 4)
		measure(&plot, &f, (double)(i * MIB), cost_after_reset,
			&(struct work){ .len = i * MIB });
	end(&plot);
	ask_huge();
}

/* --- set-ups that others published --- */

/* us a cycle: write each of 1000 pages, get-and-reset. */
double cost_of_cycle(const struct technique *t, char *m, const struct work *w)
{
	double start = now();
	size_t c, i;

	for (c = 0; c < 50; c++) {
		for (i = 0; i < w->len; i += PAGE)
			m[i]++;
		if (t->get_reset(m, w->len, pages, MOST_PAGES) < w->len / PAGE)
			abort();
	}
	return (now() - start) / 1e3 / 50;
}

void ask_setups(void)
{
	struct field f = field_all();
	struct plot plot;

	begin(&plot, &f, "cycles",
	      "a cycle of 1000 pages: write all, get-and-reset", "pages",
	      "us a cycle");
	measure(&plot, &f, 1000, cost_of_cycle,
		&(struct work){ .len = 1000 * PAGE });
	end(&plot);
}
