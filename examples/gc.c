/* SPDX-License-Identifier: MIT */
/*
 * gc.c - a generational garbage collector whose write barrier is the library.
 *
 * Mark and sweep with sticky marks: what a collection marked is old. A minor
 * collection marks on from the roots and from those old objects only whose
 * pages were written since the last one, as only they can refer to young ones.
 * No store of the program is compiled differently for that.
 *
 * Marks are kept beside the heap, and sweeping is done by the allocator as it
 * looks for a cell without a mark: a collection writes to no page of the heap.
 *
 * The program on top is an ordered map of 200,000 nodes that live, which get
 * new values all the time. In the end, and with -c after each minor collection,
 * a full mark must not find a single object more than what is marked.
 *
 * Beside it a thread does something else, and is stopped by a signal during each
 * collection, wherever that hits it: inside malloc(), mostly. The heap grows
 * meanwhile, and is watched: the library waits for no thread that is stopped.
 *
 *	gc [-n nodes] [-s steps] [-c]
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <writewatch.h>

#define REFS 5
#define NURSERY 40000u /* objects between two minor collections */
#define ROOTS 64

/* A whole number of them in each page. */
struct object {
	_Alignas(64) struct object *ref[REFS];
	uint64_t key, value;
};

static struct {
	struct ww *ww;
	/* The first ncells are in use, and watched; there is room for most. */
	struct object *cell;
	size_t ncells, most, cursor, young, page;
	uint64_t *mark; /* a bit a cell: old, or just found alive */
	struct object *root[ROOTS];
	size_t nroots;
	struct object **stack; /* what is marked but not looked through */
	size_t depth;
	struct ww_range *written;
	size_t room;
	bool check;
	double minor_ns, minor_worst, full_ns;
	size_t minors, fulls, pages, found;
} gc;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "gc: %s\n", what);
	exit(1);
}

static void *must(void *p)
{
	if (!p)
		die("out of memory");
	return p;
}

/* --- the world beside the collector --- */

static struct {
	pthread_t thread;
	atomic_bool stop, end;
	atomic_uint stopped;
} world;

static void wait_here(int signo)
{
	atomic_store(&world.stopped, 1);
	while (atomic_load(&world.stop))
		sched_yield();
	atomic_store(&world.stopped, 0);
}

static void *do_something_else(void *arg)
{
	while (!atomic_load(&world.end))
		free(malloc(1000 + (size_t)rand() % 100000));
	return arg;
}

static void start_world(void)
{
	struct sigaction act = { .sa_handler = wait_here,
				 .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &act, NULL);
	if (pthread_create(&world.thread, NULL, do_something_else, NULL) != 0)
		die("no thread");
}

static void stop_world(void)
{
	atomic_store(&world.stop, true);
	pthread_kill(world.thread, SIGUSR1);
	while (!atomic_load(&world.stopped))
		sched_yield();
}

/* No malloc() until here. */
static void resume_world(void)
{
	atomic_store(&world.stop, false);
	while (atomic_load(&world.stopped))
		sched_yield();
}

static void end_world(void)
{
	atomic_store(&world.end, true);
	pthread_join(world.thread, NULL);
}

/* --- marking --- */

static bool is_marked(size_t i)
{
	return gc.mark[i / 64] >> (i % 64) & 1;
}

static void push(struct object *o)
{
	size_t i;

	if (!o)
		return;
	i = (size_t)(o - gc.cell);
	if (is_marked(i))
		return;
	gc.mark[i / 64] |= UINT64_C(1) << (i % 64);
	gc.stack[gc.depth++] = o;
}

static size_t drain(void)
{
	size_t n = 0, k;

	for (; gc.depth; n++) {
		struct object *o = gc.stack[--gc.depth];

		for (k = 0; k < REFS; k++)
			push(o->ref[k]);
	}
	return n;
}

static size_t mark_roots(void)
{
	size_t i;

	for (i = 0; i < gc.nroots; i++)
		push(gc.root[i]);
	return drain();
}

static void full_mark(void)
{
	double start = now();

	memset(gc.mark, 0, gc.ncells / 8);
	mark_roots();
	gc.full_ns += now() - start;
	gc.fulls++;
}

/* The old objects of a run of written pages. */
static void look_through(const struct ww_range *run)
{
	size_t i = (size_t)((struct object *)run->start - gc.cell), k;
	size_t end = i + run->len / sizeof(struct object);

	for (; i < end; i++)
		for (k = 0; is_marked(i) && k < REFS; k++)
			push(gc.cell[i].ref[k]);
}

/* All that is reachable is marked? A page that was not reported would show. */
static void check_marks(void)
{
	uint64_t *was = must(malloc(gc.ncells / 8));
	size_t i;

	memcpy(was, gc.mark, gc.ncells / 8);
	full_mark();
	for (i = 0; i < gc.ncells / 64; i++)
		if (gc.mark[i] & ~was[i])
			die("an object that lives was not marked: a lost write");
	memcpy(gc.mark, was, gc.ncells / 8);
	free(was);
}

/* More cells, while the world is stopped. */
static void grow(void)
{
	size_t more = (gc.most - gc.ncells) / 8 * sizeof(*gc.cell) / gc.page *
		      gc.page;

	if (more == 0)
		return;
	if (ww_watch(gc.ww, gc.cell + gc.ncells, more, 0) != 0)
		die("more heap can not be watched");
	gc.ncells += more / sizeof(*gc.cell);
}

/* While an array came back full: on behind its last entry. */
static void look_through_written(void)
{
	char *at = (char *)gc.cell, *end = (char *)(gc.cell + gc.ncells);

	while (at < end) {
		size_t n = gc.room, i;

		if (ww_get_ranges(gc.ww, at, (size_t)(end - at), WW_RESET,
				  gc.written, &n) != 0)
			die("the query failed");
		for (i = 0; i < n; i++) {
			gc.pages += gc.written[i].len / gc.page;
			look_through(&gc.written[i]);
			gc.found += drain();
			at = (char *)gc.written[i].start + gc.written[i].len;
		}
		if (n < gc.room)
			break;
	}
}

static void minor_collection(void)
{
	double start = now();

	stop_world();
	look_through_written();
	gc.found += mark_roots();
	grow();
	resume_world();
	start = now() - start;
	gc.minor_ns += start;
	if (start > gc.minor_worst)
		gc.minor_worst = start;
	gc.minors++;
	gc.young = 0;
	if (gc.check)
		check_marks();
}

/* --- allocation --- */

/* The next cell without a mark; from the start again when the end is reached,
 * for which everything that lives must have one. */
static struct object *allocate(void)
{
	int rounds = 0;

	if (gc.young == NURSERY)
		minor_collection();
	for (;; gc.cursor++) {
		if (gc.cursor == gc.ncells) {
			if (++rounds == 3)
				die("the heap is full");
			if (rounds == 1)
				minor_collection();
			else
				full_mark(); /* old ones die as well */
			gc.cursor = 0;
		}
		if (!is_marked(gc.cursor))
			break;
	}
	gc.young++;
	memset(&gc.cell[gc.cursor], 0, sizeof(struct object));
	return &gc.cell[gc.cursor++];
}

/* --- the program: a treap whose nodes refer to lists --- */

enum { LEFT, RIGHT, LIST, NEXT = LEFT };

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
	return x ^ x >> 29;
}

static void insert(struct object **at, struct object *node)
{
	while (*at && mix((*at)->key) > mix(node->key))
		at = &(*at)->ref[node->key < (*at)->key ? LEFT : RIGHT];
	/* split what is below into the two sides of the new node */
	struct object *rest = *at, **less = &node->ref[LEFT],
		      **more = &node->ref[RIGHT];

	*at = node;
	while (rest) {
		struct object ***side = rest->key < node->key ? &less : &more;
		int inner = rest->key < node->key ? RIGHT : LEFT;

		**side = rest;
		*side = &rest->ref[inner];
		rest = **side;
	}
	*less = *more = NULL;
}

static struct object *find(struct object *node, uint64_t key)
{
	while (node && node->key != key)
		node = node->ref[key < node->key ? LEFT : RIGHT];
	return node;
}

/* A list of three, for version v of a key. */
static struct object *new_list(uint64_t key, uint64_t v)
{
	size_t top = gc.nroots++;
	int i;

	gc.root[top] = NULL;
	for (i = 0; i < 3; i++) {
		struct object *o = allocate();

		o->ref[NEXT] = gc.root[top];
		o->key = key;
		o->value = mix(key + v);
		gc.root[top] = o;
	}
	gc.nroots--;
	return gc.root[top];
}

static void run(size_t nodes, size_t steps)
{
	uint64_t *version = must(calloc(nodes, sizeof(*version)));
	size_t i;

	gc.nroots = 1;
	for (i = 0; i < nodes; i++) {
		struct object *o = allocate();

		o->key = i;
		insert(&gc.root[0], o);
	}
	full_mark(); /* they are old now */
	gc.fulls = 0;
	gc.full_ns = 0;
	for (i = 0; i < steps; i++) {
		/* most of it happens in few places, as in real programs */
		uint64_t key = mix(i) % (i % 10 ? nodes / 50 : nodes);
		struct object *list = new_list(key, ++version[key]);

		/* the barrier's work: an old object comes to know a young one
		 */
		find(gc.root[0], key)->ref[LIST] = list;
	}
	for (i = 0; i < nodes; i++) {
		struct object *o = find(gc.root[0], i)->ref[LIST];
		int n = 0;

		for (; o; o = o->ref[NEXT], n++)
			if (o->key != i || o->value != mix(i + version[i]))
				die("a list is not what was stored");
		if (n != (version[i] ? 3 : 0))
			die("a list is too short");
	}
	free(version);
}

int main(int argc, char **argv)
{
	size_t nodes = 200000, steps = 1000000, len;
	struct ww_backend_info info = { .size = sizeof(info) };
	int c;

	while ((c = getopt(argc, argv, "n:s:c")) != -1)
		switch (c) {
		case 'n':
			nodes = strtoul(optarg, NULL, 10);
			break;
		case 's':
			steps = strtoul(optarg, NULL, 10);
			break;
		case 'c':
			gc.check = true;
			break;
		default:
			return 2;
		}
	if (nodes < 50)
		die("at least 50 nodes");
	gc.page = (size_t)sysconf(_SC_PAGESIZE);
	len = nodes * 8 * sizeof(struct object) / (1 << 20) * (1 << 20) +
	      (4 << 20);
	gc.most = len / sizeof(struct object);
	gc.ncells = gc.most / 2 * sizeof(struct object) / gc.page * gc.page /
		    sizeof(struct object);
	gc.cell = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (gc.cell == MAP_FAILED)
		die("no memory for the heap");
	gc.mark = must(calloc(gc.most / 8, 1));
	gc.stack = must(malloc(gc.most * sizeof(struct object *)));
	gc.room = 4096;
	gc.written = must(malloc(gc.room * sizeof(*gc.written)));
	if (ww_open(&gc.ww, NULL) != 0 ||
	    ww_watch(gc.ww, gc.cell, gc.ncells * sizeof(*gc.cell), 0) != 0)
		die("writes can not be watched here: see writewatch probe");
	ww_info(gc.ww, &info);
	start_world();
	run(nodes, steps);
	gc.check = true;
	minor_collection();
	end_world();
	printf("%zu nodes, %zu steps on %s: %zu minor collections, %.0f pages "
	       "and %.0f new objects each\n",
	       nodes, steps, info.name, gc.minors,
	       (double)gc.pages / (double)gc.minors,
	       (double)gc.found / (double)gc.minors);
	printf("pause: %.2f ms on average, %.2f ms at worst; a full mark: "
	       "%.2f ms\n",
	       gc.minor_ns / (double)gc.minors / 1e6, gc.minor_worst / 1e6,
	       gc.full_ns / (double)gc.fulls / 1e6);
	ww_close(gc.ww);
	munmap(gc.cell, len);
	free(gc.mark);
	free(gc.stack);
	free(gc.written);
	return 0;
}
