/* SPDX-License-Identifier: MIT */
/*
 * collector.c - what doc/port-boehm.md measures: an old heap, of which a little is
 * changed while Boehm's collector goes over it in small steps. It is built with that
 * collector, not with this library's tests.
 */
#include <gc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TREES 16
#define DEPTH 16
#define CYCLES 10
#define MOST 1000000

struct node {
	struct node *left, *right;
	long value[6];
};

static struct node *tree[TREES];
static double step[MOST];
static size_t nsteps;

static double ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct node *make(int depth)
{
	struct node *n = GC_MALLOC(sizeof(*n));

	if (depth) {
		n->left = make(depth - 1);
		n->right = make(depth - 1);
	}
	return n;
}

static long count(const struct node *n)
{
	return n ? 1 + count(n->left) + count(n->right) : 0;
}

static long count_all(void)
{
	long n = 0;
	int i;

	for (i = 0; i < TREES; i++)
		n += count(tree[i]);
	return n;
}

/* A store to a node somewhere; every fourth time, a new one in between. */
static long change(unsigned random, int k)
{
	struct node *n = tree[random >> 8 & 15], *new;
	unsigned way = random;

	while (n->left && n->right && (way >>= 1))
		n = way & 1 ? n->right : n->left;
	n->value[1]++;
	if (k % 4)
		return 0;
	new = GC_MALLOC(sizeof(*new));
	new->left = n->left;
	n->left = new;
	return 1;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	unsigned random = 1;
	double cpu, then;
	int i, k, more;
	long nodes;

	GC_INIT();
	GC_set_pages_executable(0);
	GC_enable_incremental();
	GC_set_full_freq(0);
	GC_set_time_limit(5); /* ms a step */
	for (i = 0; i < TREES; i++)
		tree[i] = make(DEPTH);
	nodes = count_all();
	while (GC_collect_a_little())
		;
	cpu = ms(CLOCK_PROCESS_CPUTIME_ID);
	for (i = 0; i < CYCLES; i++) {
		GC_start_incremental_collection();
		do {
			then = ms(CLOCK_MONOTONIC);
			more = GC_collect_a_little();
			step[nsteps++] = ms(CLOCK_MONOTONIC) - then;
			for (k = 0; k < 20; k++) {
				random = random * 1103515245 + 12345;
				nodes += change(random, k);
			}
		} while (more && nsteps < MOST);
	}
	cpu = ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	if (count_all() != nodes) {
		printf("%ld nodes of %ld are LOST\n", nodes - count_all(),
		       nodes);
		return 1;
	}
	qsort(step, nsteps, sizeof(step[0]), by_size);
	printf("%zu MiB, %ld nodes, %zu steps: 99 of 100 under %.3f ms, longest %.1f ms; "
	       "processor time %.0f ms; incremental %d\n",
	       GC_get_heap_size() >> 20, nodes, nsteps, step[nsteps * 99 / 100],
	       step[nsteps - 1], cpu, GC_is_incremental_mode());
	return 0;
}
