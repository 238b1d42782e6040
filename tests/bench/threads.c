/* SPDX-License-Identifier: MIT */
/*
 * threads.c - writers while a query runs, and what it costs to be there:
 * memory, and processor time of an idle tracker.
 */
#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ROUND_NS 150e6

static double cpu_time(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* --- writers --- */

static struct {
	char *m;
	size_t npages;
	atomic_bool stop;
	atomic_long writes, cpu_ns, queries, query_ns;
} shared;

static uint64_t next_random(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

static void *writer(void *arg)
{
	uint64_t r = 0x9e3779b97f4a7c15u * ((uintptr_t)arg + 1);
	double start = cpu_time(CLOCK_THREAD_CPUTIME_ID);
	long n = 0;

	while (!atomic_load(&shared.stop)) {
		int i;

		for (i = 0; i < 64; i++)
			((volatile char *)shared
				 .m)[next_random(&r) % shared.npages * PAGE]++;
		n += 64;
	}
	atomic_fetch_add(&shared.writes, n);
	atomic_fetch_add(&shared.cpu_ns,
			 (long)(cpu_time(CLOCK_THREAD_CPUTIME_ID) - start));
	return NULL;
}

/* Writers of random pages, and get-and-resets of all of them a millisecond
 * apart. */
static void run_writers(const struct technique *t, char *m, size_t len,
			size_t nthreads)
{
	const struct timespec pause = { 0, 1000000 };
	double until = now() + ROUND_NS;
	pthread_t id[8];
	uintptr_t i;

	memset(&shared, 0, sizeof(shared));
	shared.m = m;
	shared.npages = len / PAGE;
	for (i = 0; i < nthreads; i++)
		pthread_create(&id[i], NULL, writer, (void *)i);
	while (now() < until) {
		double start = cpu_time(CLOCK_THREAD_CPUTIME_ID);

		t->get_reset(m, len, pages, MOST_PAGES);
		atomic_fetch_add(
			&shared.query_ns,
			(long)(cpu_time(CLOCK_THREAD_CPUTIME_ID) - start));
		atomic_fetch_add(&shared.queries, 1);
		nanosleep(&pause, NULL);
	}
	atomic_store(&shared.stop, true);
	for (i = 0; i < nthreads; i++)
		pthread_join(id[i], NULL);
}

/* ns of a writer's processor time a write. */
static double cost_of_write(const struct technique *t, char *m,
			    const struct work *w)
{
	run_writers(t, m, w->len, w->room);
	return (double)atomic_load(&shared.cpu_ns) /
	       (double)atomic_load(&shared.writes);
}

/* us of processor time a query. */
static double cost_of_query(const struct technique *t, char *m,
			    const struct work *w)
{
	run_writers(t, m, w->len, w->room);
	return (double)atomic_load(&shared.query_ns) / 1e3 /
	       (double)atomic_load(&shared.queries);
}

/* --- a writer's stall --- */

#define SAMPLES 200000u

static void *timed_writer(void *arg)
{
	double *worst = arg;
	uint64_t r = 1234567;
	size_t n = 0;

	pin(1);
	while (!atomic_load(&shared.stop) && n < SAMPLES) {
		double start = now();

		((volatile char *)
			 shared.m)[next_random(&r) % shared.npages * PAGE]++;
		worst[n++] = now() - start;
	}
	atomic_store(&shared.writes, (long)n);
	return NULL;
}

/* The slowest write in a thousand, us, while queries run without a pause. */
static double stall(const struct technique *t, char *m, const struct work *w)
{
	double *sample = calloc(SAMPLES, sizeof(*sample));
	double until = now() + ROUND_NS;
	pthread_t id;
	size_t n;

	memset(&shared, 0, sizeof(shared));
	shared.m = m;
	shared.npages = w->len / PAGE;
	pin(0);
	pthread_create(&id, NULL, timed_writer, sample);
	while (now() < until)
		t->get_reset(m, w->len, pages, MOST_PAGES);
	atomic_store(&shared.stop, true);
	pthread_join(id, NULL);
	unpin();
	n = (size_t)atomic_load(&shared.writes);
	median(sample, n); /* sorts */
	until = sample[n - 1 - n / 1000] / 1e3;
	free(sample);
	return until;
}

void ask_threads(void)
{
	static const size_t threads[] = { 1, 2, 4, 8 };
	struct field f = field_all();
	struct plot plot;
	size_t i;

	f.t[f.n++] = &reference_untracked;
	unpin();
	begin(&plot, &f, "threads-write",
	      "threads that write 8192 random pages, a query each millisecond",
	      "threads", "ns of processor time a write");
	for (i = 0; i < COUNT(threads); i++)
		measure(&plot, &f, (double)threads[i], cost_of_write,
			&(struct work){ .len = 8192 * PAGE,
					.room = threads[i] });
	end(&plot);
	begin(&plot, &f, "threads-query",
	      "its query; 6 threads: 1080 pages, 8 threads: 8192 pages",
	      "threads", "us of processor time a query");
	measure(&plot, &f, 6, cost_of_query,
		&(struct work){ .len = 1080 * PAGE, .room = 6 });
	measure(&plot, &f, 8, cost_of_query,
		&(struct work){ .len = 8192 * PAGE, .room = 8 });
	end(&plot);
	begin(&plot, &f, "stall",
	      "the slowest write of a thousand while queries run all the time",
	      "bytes", "us");
	measure(&plot, &f, 4 * MIB, stall, &(struct work){ .len = 4 * MIB });
	measure(&plot, &f, 32 * MIB, stall, &(struct work){ .len = 32 * MIB });
	end(&plot);
	pin(0);
}

/* --- being there --- */

static double status_kib(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	double kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kib = strtod(line + strlen(key), NULL);
	if (f)
		fclose(f);
	return kib;
}

/* KiB of page tables and bitmaps that the tracking added. */
static double memory_used(const struct technique *t, char *m,
			  const struct work *w)
{
	double before = status_kib("VmPTE:") + status_kib("VmRSS:");

	if (t->watch(m, w->len) != 0)
		return NAN;
	if (!w->untouched) /* the first of a hundred pages */
		dirty(m, w);
	t->get_reset(m, w->len, pages, MOST_PAGES);
	before = status_kib("VmPTE:") + status_kib("VmRSS:") - before;
	t->unwatch(m, w->len);
	return before;
}

/* us of processor time in half a second in which nothing happens. */
static double idle_time(const struct technique *t, char *m,
			const struct work *w)
{
	const struct timespec pause = { 0, 500000000 };
	double start;

	dirty(m, w);
	t->get_reset(m, w->len, pages, MOST_PAGES);
	start = cpu_time(CLOCK_PROCESS_CPUTIME_ID);
	nanosleep(&pause, NULL);
	return (cpu_time(CLOCK_PROCESS_CPUTIME_ID) - start) / 1e3;
}

void ask_cost_of_being(void)
{
	struct field f = field_all();
	struct plot plot;

	begin(&plot, &f, "memory-untouched",
	      "memory that tracking untouched memory takes", "bytes", "KiB");
	measure(&plot, &f, 256 * MIB, memory_used,
		&(struct work){ .len = 256 * MIB,
				.untouched = true,
				.unwatched = true });
	measure(&plot, &f, 1024.0 * GIB, memory_used,
		&(struct work){ .len = 1024 * GIB,
				.untouched = true,
				.unwatched = true });
	end(&plot);
	begin(&plot, &f, "memory",
	      "memory that tracking takes, 1 % dirty, scattered", "bytes",
	      "KiB");
	measure(&plot, &f, 64 * MIB, memory_used,
		&(struct work){
			.len = 64 * MIB, .density = 0.01, .unwatched = true });
	measure(&plot, &f, GIB, memory_used,
		&(struct work){
			.len = GIB, .density = 0.01, .unwatched = true });
	end(&plot);
	begin(&plot, &f, "idle", "half a second in which nothing happens",
	      "bytes", "us of processor time");
	measure(&plot, &f, 4 * MIB, idle_time,
		&(struct work){ .len = 4 * MIB, .density = 0.1 });
	end(&plot);
}
