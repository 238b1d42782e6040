/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.c - incremental checkpoints of a program's heap, a crash, and the
 * way back.
 *
 * The program keeps all it knows in an arena at a fixed address, so that
 * pointers in it mean the same when it is read back. Every so many steps the
 * pages written since the last checkpoint are appended to a file: a header, the
 * ranges, their bytes, and a sum over it all. It is killed at some moment,
 * often in the middle of such a record. The next run reads all whole records,
 * goes on where the last of them was, and in the end the arena must be the same,
 * byte for byte, as that of a run that nobody killed.
 *
 *	checkpoint [-k kills] [-s steps] [FILE]
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <writewatch.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define ARENA_LEN ((size_t)32 << 20)
#define EVERY 2000u		/* steps between two checkpoints */
#define ROOM (ARENA_LEN / 4096) /* ranges in a record: always enough */
#define MAGIC UINT64_C(0x31746e696f706b63)

static void *const arena_at =
	sizeof(void *) == 8 ? (void *)(uintptr_t)UINT64_C(0x200000000000)
			    : (void *)(uintptr_t)0x50000000;

static void die(const char *what)
{
	fprintf(stderr, "checkpoint: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- the program: a pile of linked notes, which it moves and rewrites --- */

struct note {
	struct note *next, *previous;
	uint64_t number, written;
	char text[96];
};

struct world {
	uint64_t step, random, used;
	struct note ring; /* head of the list, most recently used first */
	struct note note[];
};

#define NOTES ((ARENA_LEN - sizeof(struct world)) / sizeof(struct note))

static struct world *map_world(void)
{
	void *p =
		mmap(arena_at, ARENA_LEN, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED || p != arena_at)
		die("the arena's address is taken");
	return p;
}

static void begin_world(struct world *w)
{
	w->random = 88172645463325252u;
	w->ring.next = w->ring.previous = &w->ring;
}

static uint64_t next_random(struct world *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static void to_front(struct world *w, struct note *n)
{
	n->previous->next = n->next;
	n->next->previous = n->previous;
	n->next = w->ring.next;
	n->previous = &w->ring;
	n->next->previous = n;
	w->ring.next = n;
}

/* A new note, or one of the last few hundred rewritten. */
static void step(struct world *w)
{
	uint64_t r = next_random(w);
	struct note *n;

	if (w->used < NOTES && (r % 4 == 0 || w->used < 300)) {
		n = &w->note[w->used++];
		n->number = w->used;
		n->next = n->previous = n;
	} else {
		n = &w->note[w->used - 1 - r % (w->used < 300 ? w->used : 300)];
	}
	n->written++;
	snprintf(n->text, sizeof(n->text), "note %llu, version %llu, %016llx",
		 (unsigned long long)n->number, (unsigned long long)n->written,
		 (unsigned long long)r);
	to_front(w, n);
	w->step++;
}

/* --- the file --- */

struct record {
	uint64_t magic, nranges, bytes, sum;
};

struct extent {
	uint64_t offset, len;
};

static uint64_t sum_of(uint64_t sum, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len--)
		sum = (sum ^ *p++) * UINT64_C(0x100000001b3);
	return sum;
}

static void write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0)
			die("write");
		p += n;
		len -= (size_t)n;
	}
}

/* Append what was written since the last record, in one. A record that does not
 * end is none: it is as if the program had been killed before it. */
static size_t save(struct ww *ww, int fd)
{
	static struct ww_range range[ROOM];
	static struct extent extent[ROOM];
	struct record r = { MAGIC, 0, 0, UINT64_C(0xcbf29ce484222325) };
	size_t n = ROOM, i;

	if (ww_get_ranges(ww, arena_at, ARENA_LEN, WW_RESET, range, &n) !=
	    0)
		die("ww_get_ranges");
	for (i = 0; i < n; i++) {
		extent[i].offset =
			(uint64_t)((char *)range[i].start - (char *)arena_at);
		extent[i].len = range[i].len;
		r.bytes += range[i].len;
		r.sum = sum_of(r.sum, range[i].start, range[i].len);
	}
	r.nranges = n;
	r.sum = sum_of(r.sum, extent, n * sizeof(*extent));
	write_all(fd, &r, sizeof(r));
	write_all(fd, extent, n * sizeof(*extent));
	for (i = 0; i < n; i++)
		write_all(fd, range[i].start, range[i].len);
	if (fdatasync(fd) != 0)
		die("fdatasync");
	return r.bytes;
}

/* Read one record into the arena, if all of it is there and right. */
static int load_one(int fd)
{
	static struct extent extent[ROOM];
	static char buf[ARENA_LEN];
	uint64_t sum = UINT64_C(0xcbf29ce484222325), at = 0;
	struct record r;
	size_t i;

	if (read(fd, &r, sizeof(r)) != (ssize_t)sizeof(r) || r.magic != MAGIC ||
	    r.nranges > ROOM || r.bytes > sizeof(buf))
		return 0;
	if (read(fd, extent, r.nranges * sizeof(*extent)) !=
		    (ssize_t)(r.nranges * sizeof(*extent)) ||
	    read(fd, buf, r.bytes) != (ssize_t)r.bytes)
		return 0;
	sum = sum_of(sum, buf, r.bytes);
	if (sum_of(sum, extent, r.nranges * sizeof(*extent)) != r.sum)
		return 0;
	for (i = 0; i < r.nranges; i++) {
		memcpy((char *)arena_at + extent[i].offset, buf + at,
		       extent[i].len);
		at += extent[i].len;
	}
	return 1;
}

/* All whole records; the rest is cut off, and new ones follow them. */
static int load(const char *path, int *fd)
{
	off_t good = 0;
	int n = 0;

	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*fd < 0)
		die(path);
	while (load_one(*fd)) {
		good = lseek(*fd, 0, SEEK_CUR);
		n++;
	}
	if (ftruncate(*fd, good) != 0 || lseek(*fd, good, SEEK_SET) != good)
		die(path);
	return n;
}

/* --- a life --- */

static void live(const char *path, uint64_t steps)
{
	struct world *w = map_world();
	struct ww *ww;
	size_t bytes = 0, saves = 0;
	int fd, records = load(path, &fd);

	if (!records)
		begin_world(w);
	printf("  %d records, on from step %llu", records,
	       (unsigned long long)w->step);
	fflush(stdout);
	if (ww_open(&ww, NULL) != 0)
		die("ww_open");
	/* What was read back is in the file; a new world is not. */
	if (ww_watch(ww, w, ARENA_LEN, 0) != 0)
		die("ww_watch");
	if (!records)
		ww_mark(ww, w, sizeof(*w), 0);
	while (w->step < steps) {
		step(w);
		if (w->step % EVERY == 0) {
			bytes += save(ww, fd);
			saves++;
		}
	}
	bytes += save(ww, fd);
	printf(", to its end; %.0f KiB a checkpoint of %zu KiB\n",
	       (double)bytes / 1024 / (double)(saves + 1), ARENA_LEN / 1024);
	ww_close(ww);
	close(fd);
	exit(0);
}

/* Run it and kill it, again and again; the last one comes to its end. */
static int kill_and_restart(const char *path, uint64_t steps, int kills)
{
	int k, status;

	for (k = 0; k <= kills; k++) {
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0)
			live(path, steps);
		if (k < kills) {
			/* now here, now there */
			usleep(20000u + (unsigned)k * 17000u);
			kill(pid, SIGKILL);
		}
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid");
		if (WIFSIGNALED(status))
			printf(", killed\n");
		else if (status != 0)
			return 1;
	}
	return 0;
}

/* What it left, against a run that nobody killed. */
static int compare(const char *path, uint64_t steps)
{
	char *restored = malloc(ARENA_LEN);
	struct world *w = map_world();
	uint64_t i;
	int fd, differs;

	if (!restored)
		die("malloc");
	load(path, &fd);
	close(fd);
	memcpy(restored, w, ARENA_LEN);
	munmap(w, ARENA_LEN);
	w = map_world();
	begin_world(w);
	for (i = 0; i < steps; i++)
		step(w);
	differs = memcmp(restored, w, ARENA_LEN) != 0;
	free(restored);
	return differs;
}

int main(int argc, char **argv)
{
	char made[] = "/tmp/checkpoint-XXXXXX";
	const char *path = made;
	uint64_t steps = 200000;
	int c, kills = 5, fd, r;

	while ((c = getopt(argc, argv, "k:s:")) != -1)
		switch (c) {
		case 'k':
			kills = (int)strtol(optarg, NULL, 10);
			break;
		case 's':
			steps = strtoull(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	if (optind < argc) {
		path = argv[optind];
	} else {
		fd = mkstemp(made);
		if (fd < 0)
			die(made);
		close(fd);
	}
	r = kill_and_restart(path, steps, kills);
	if (r == 0)
		r = compare(path, steps);
	if (path == made)
		unlink(made);
	if (r != 0) {
		fprintf(stderr, "checkpoint: the arena is not the same\n");
		return 1;
	}
	printf("the same, byte for byte, as a run that nobody killed\n");
	return 0;
}
