/* SPDX-License-Identifier: MIT */
/*
 * rewind.c - rollback for a game: save only the pages that a frame wrote.
 *
 * The game is Conway's life on a large torus, a byte a cell, whose whole state
 * lives in watched memory. Before the first frame everything is clean. After
 * each frame ww_get_ranges() tells which pages it wrote; what they held before
 * is taken from a mirror and kept with the frame. Rewinding puts it back, newest
 * frame first, and must give the very bytes of 120 frames ago.
 *
 *	rewind [-f frames] [-q] PATTERN.rle		-q: no heat map
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <writewatch.h>

#define WIDTH 8192u
#define HEIGHT 2048u
#define BACK 120
#define COLUMNS 64

/* The state of the game, all of it in watched memory. */
struct game {
	uint64_t generation;
	uint64_t nactive, nnext;
	uint32_t active[2][1 << 18]; /* cells to look at: changed or near it */
	uint8_t queued[WIDTH * HEIGHT / 8];
	uint8_t cell[2][WIDTH * HEIGHT];
};

/* What the pages of one frame held before it. */
struct frame {
	struct ww_range *range;
	size_t nranges;
	unsigned char *before;
};

struct rewinder {
	struct ww *ww;
	struct game *game;
	unsigned char *mirror; /* the state after the last saved frame */
	size_t len, page;
	struct frame *frame;
	struct ww_range *scratch;
	size_t room;
	uint64_t pages, query_ns, save_ns;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "rewind: %s\n", what);
	exit(1);
}

/* --- the game --- */

static void queue(struct game *g, unsigned next, uint32_t at)
{
	if (g->queued[at / 8] >> at % 8 & 1 ||
	    g->nnext == sizeof(g->active[0]) / sizeof(g->active[0][0]))
		return;
	g->queued[at / 8] |= (uint8_t)(1u << at % 8);
	g->active[next][g->nnext++] = at;
}

static uint32_t neighbour(uint32_t at, int dx, int dy)
{
	uint32_t x = (at % WIDTH + WIDTH + (uint32_t)dx) % WIDTH;
	uint32_t y = (at / WIDTH + HEIGHT + (uint32_t)dy) % HEIGHT;

	return y * WIDTH + x;
}

static void queue_around(struct game *g, unsigned next, uint32_t at)
{
	int dx, dy;

	for (dy = -1; dy <= 1; dy++)
		for (dx = -1; dx <= 1; dx++)
			queue(g, next, neighbour(at, dx, dy));
}

static int alive_around(const uint8_t *cell, uint32_t at)
{
	int dx, dy, n = 0;

	for (dy = -1; dy <= 1; dy++)
		for (dx = -1; dx <= 1; dx++)
			if (dx || dy)
				n += cell[neighbour(at, dx, dy)];
	return n;
}

/* One frame: only cells near a change are looked at, and only those that
 * change are written. */
static void step(struct game *g)
{
	unsigned from = g->generation & 1, to = !from;
	uint64_t i;

	g->nnext = 0;
	for (i = 0; i < g->nactive; i++) {
		uint32_t at = g->active[from][i];

		g->queued[at / 8] &= (uint8_t)~(1u << at % 8);
	}
	for (i = 0; i < g->nactive; i++) {
		uint32_t at = g->active[from][i];
		int n = alive_around(g->cell[from], at);
		uint8_t is = g->cell[from][at];
		uint8_t will = n == 3 || (n == 2 && is);

		if (g->cell[to][at] != will)
			g->cell[to][at] = will;
		if (will != is)
			queue_around(g, to, at);
	}
	/* The other half catches up with cells that rest from now on. */
	for (i = 0; i < g->nactive; i++) {
		uint32_t at = g->active[from][i];

		if (g->cell[0][at] != g->cell[1][at])
			queue(g, to, at);
	}
	g->nactive = g->nnext;
	g->generation++;
}

/* Run-length encoding, as the pattern collections have it. */
static void load(struct game *g, const char *path)
{
	FILE *f = fopen(path, "r");
	uint32_t x = WIDTH / 2, y = HEIGHT / 2, run = 0;
	bool header = true;
	int c;

	if (!f)
		die("the pattern can not be read");
	while ((c = getc(f)) != EOF && c != '!') {
		if (header && (c == '#' || c == 'x')) {
			while (c != '\n' && c != EOF)
				c = getc(f);
			continue;
		}
		if (isspace(c))
			continue;
		header = false;
		if (isdigit(c)) {
			run = run * 10 + (uint32_t)(c - '0');
			continue;
		}
		run = run ? run : 1;
		if (c == '$') {
			y += run;
			x = WIDTH / 2;
		} else if (c == 'b' || c == 'o') {
			for (; run; run--, x++) {
				uint32_t at = y % HEIGHT * WIDTH + x % WIDTH;

				if (c == 'o')
					g->cell[0][at] = g->cell[1][at] = 1;
				if (c == 'o')
					queue_around(g, 0, at);
			}
		} else {
			die("the pattern is not run-length encoded");
		}
		run = 0;
	}
	fclose(f);
	g->nactive = g->nnext;
}

/* --- saving and rewinding --- */

static void heat_map(const struct rewinder *r, const struct frame *f,
		     uint64_t number)
{
	static const char shade[] = " .:-=+*#%@";
	size_t count[COLUMNS] = { 0 }, per = r->len / r->page / COLUMNS + 1, i;
	size_t at, pages = 0;

	for (i = 0; i < f->nranges; i++)
		for (at = 0; at < f->range[i].len; at += r->page) {
			size_t p = (size_t)((char *)f->range[i].start -
					    (char *)r->game) + at;

			count[p / r->page / per]++;
			pages++;
		}
	printf("%6llu |", (unsigned long long)number);
	for (i = 0; i < COLUMNS; i++) {
		size_t level = count[i] ? 1 + count[i] * 8 / per : 0;

		putchar(shade[level < 9 ? level : 9]);
	}
	printf("| %zu pages\n", pages);
}

/* Keep what the pages of this frame held before it; the mirror follows. */
static void save(struct rewinder *r, struct frame *f)
{
	uint64_t t = now_ns();
	size_t n = r->room, i, at = 0, bytes = 0;

	if (ww_get_ranges(r->ww, r->game, r->len, WW_RESET, r->scratch,
			  &n) < 0)
		die("ww_get_ranges failed");
	r->query_ns += now_ns() - t;
	if (n == r->room)
		die("more ranges than pages");
	for (i = 0; i < n; i++)
		bytes += r->scratch[i].len;
	f->range = malloc((n + 1) * sizeof(*f->range));
	f->before = malloc(bytes + 1);
	if (!f->range || !f->before)
		die("out of memory");
	memcpy(f->range, r->scratch, n * sizeof(*f->range));
	f->nranges = n;
	for (i = 0; i < n; i++) {
		size_t off = (size_t)((char *)f->range[i].start -
				      (char *)r->game);

		memcpy(f->before + at, r->mirror + off, f->range[i].len);
		memcpy(r->mirror + off, f->range[i].start, f->range[i].len);
		at += f->range[i].len;
	}
	r->pages += bytes / r->page;
	r->save_ns += now_ns() - t;
}

/* Put back what a frame changed. That is no change to save: one call makes the
 * pages clean again. */
static void undo(struct rewinder *r, struct frame *f)
{
	size_t i, at = 0;

	for (i = 0; i < f->nranges; i++) {
		size_t off = (size_t)((char *)f->range[i].start -
				      (char *)r->game);

		memcpy(f->range[i].start, f->before + at, f->range[i].len);
		memcpy(r->mirror + off, f->before + at, f->range[i].len);
		at += f->range[i].len;
	}
	if (ww_reset_ranges(r->ww, f->range, f->nranges, 0) < 0)
		die("ww_reset_ranges failed");
	free(f->range);
	free(f->before);
}

static void open_rewinder(struct rewinder *r)
{
	r->page = (size_t)sysconf(_SC_PAGESIZE);
	r->len = (sizeof(struct game) + r->page - 1) / r->page * r->page;
	r->game = mmap(NULL, r->len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r->mirror = mmap(NULL, r->len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r->room = r->len / r->page + 1;
	r->scratch = calloc(r->room, sizeof(*r->scratch));
	if (r->game == MAP_FAILED || r->mirror == MAP_FAILED || !r->scratch)
		die("out of memory");
	if (ww_open(&r->ww, NULL) < 0)
		die("no backend is usable");
}

static void run(struct rewinder *r, unsigned frames, bool quiet)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	unsigned char *past = NULL;
	uint64_t copy_ns, step_ns = 0, t;
	unsigned i;

	ww_info(r->ww, &info);
	r->frame = calloc(frames, sizeof(*r->frame));
	past = malloc(r->len);
	if (!r->frame || !past)
		die("out of memory");
	for (i = 0; i < frames; i++) {
		if (i == frames - BACK)
			memcpy(past, r->game, r->len);
		t = now_ns();
		step(r->game);
		step_ns += now_ns() - t;
		save(r, &r->frame[i]);
		if (!quiet)
			heat_map(r, &r->frame[i], r->game->generation);
	}
	if (memcmp(r->mirror, r->game, r->len) != 0)
		die("the mirror differs from memory: a write was lost");
	t = now_ns();
	for (i = 0; i < BACK; i++)
		undo(r, &r->frame[frames - 1 - i]);
	t = now_ns() - t;
	if (memcmp(past, r->game, r->len) != 0)
		die("rewinding did not give the state of 120 frames ago");
	for (i = 0; i < frames - BACK; i++) {
		free(r->frame[i].range);
		free(r->frame[i].before);
	}
	copy_ns = now_ns();
	memcpy(past, r->game, r->len);
	__asm__ volatile("" : : "r"(past) : "memory"); /* it is not for nothing */
	copy_ns = now_ns() - copy_ns;
	printf("backend          %s\n", info.name);
	printf("state            %zu pages, %zu MiB\n", r->len / r->page,
	       r->len >> 20);
	printf("written          %.1f pages a frame\n",
	       (double)r->pages / frames);
	printf("a frame          %.1f us to simulate\n",
	       (double)step_ns / frames / 1e3);
	printf("to save it       %.1f us, of which asking %.1f us; "
	       "copying everything: %.1f us\n",
	       (double)r->save_ns / frames / 1e3,
	       (double)r->query_ns / frames / 1e3, (double)copy_ns / 1e3);
	printf("rewound          %d frames in %.1f us, byte for byte the same\n",
	       BACK, (double)t / 1e3);
	free(past);
	free(r->frame);
}

int main(int argc, char **argv)
{
	struct rewinder r = { 0 };
	unsigned frames = 240;
	bool quiet = false;
	int c;

	while ((c = getopt(argc, argv, "f:q")) != -1) {
		if (c == 'f')
			frames = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'q')
			quiet = true;
		else
			return 2;
	}
	if (optind + 1 != argc || frames < BACK) {
		fprintf(stderr,
			"usage: rewind [-f frames, %d or more] [-q] PATTERN\n",
			BACK);
		return 2;
	}
	open_rewinder(&r);
	load(r.game, argv[optind]);
	memcpy(r.mirror, r.game, r.len);
	if (ww_watch(r.ww, r.game, r.len, 0) < 0)
		die("the memory can not be watched");
	run(&r, frames, quiet);
	ww_close(r.ww);
	free(r.scratch);
	return 0;
}
