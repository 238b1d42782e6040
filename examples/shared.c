/* SPDX-License-Identifier: MIT */
/*
 * shared.c - memory that is shared with another process: what a tracker sees of
 * it, and what it does not.
 *
 * A tracker watches a mapping. Stores through it are seen, and so is what the
 * kernel writes through it (where WW_CAP_KERNEL_WRITES says so). Another
 * mapping of the same memory is another matter, whether it is in another
 * process or in this one, and so is write(2) to the file. Who writes there has
 * to tell: here the other process sends the offsets down a pipe, and ww_mark()
 * enters them.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <writewatch.h>

#define NPAGES 64

static struct ww *ww;
static char *memory;
static size_t page;

static void die(const char *what)
{
	fprintf(stderr, "shared: %s\n", what);
	exit(1);
}

static void expect(const char *what, size_t which, bool seen)
{
	void *pages[NPAGES];
	size_t n = NPAGES, i;

	if (ww_get(ww, memory, NPAGES * page, WW_RESET, pages, &n, NULL))
		die("ww_get");
	for (i = 0; i < n && pages[i] != memory + which * page; i++)
		;
	printf("%-44s %s\n", what, i < n ? "seen" : "not seen");
	if ((i < n) != seen || n > 1)
		die("not as expected");
}

static char *map(int fd)
{
	void *p = mmap(NULL, NPAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED,
		       fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* Write to page 3 without a word, then to page 5 and say so. */
static void other_process(int fd, int to)
{
	char *theirs = map(fd);
	uint64_t offset = 5 * page;

	theirs[3 * page] = 1;
	theirs[offset] = 1;
	_exit(write(to, &offset, sizeof(offset)) == (ssize_t)sizeof(offset)
		      ? 0
		      : 1);
}

int main(void)
{
	struct ww_options options = { .size = sizeof(options),
				      .require = WW_CAP_SHARED };
	int fd, tell[2], status;
	uint64_t offset;
	struct ww_range_info info = { .size = sizeof(info) };
	unsigned caps;
	char *second;
	pid_t pid;

	page = (size_t)sysconf(_SC_PAGESIZE);
	fd = memfd_create("shared", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)(NPAGES * page)) || pipe(tell))
		die("no memory to share");
	memory = map(fd);
	if (ww_open(&ww, &options) == -EOPNOTSUPP) {
		fprintf(stderr, "no backend here tracks shared memory\n");
		return 77;
	}
	if (!ww || ww_watch(ww, memory, NPAGES * page, 0))
		die("the memory can not be watched");
	ww_next_range(ww, memory, &info);
	caps = info.caps;

	memory[0] = 1;
	expect("a store through the watched mapping", 0, true);
	if (caps & WW_CAP_KERNEL_WRITES) {
		if (write(tell[1], "x", 1) != 1 ||
		    read(tell[0], memory + page, 1) != 1)
			die("read");
		expect("read(2) into the watched mapping", 1, true);
	}

	second = map(fd);
	second[2 * page] = 1;
	expect("a store through a second mapping", 2, false);
	if (pwrite(fd, "x", 1, (off_t)(2 * page)) != 1)
		die("pwrite");
	expect("pwrite(2) to the memfd", 2, false);

	pid = fork();
	if (pid == 0)
		other_process(fd, tell[1]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("the other process");
	expect("a store by another process", 3, false);
	if (memory[3 * page] != 1)
		die("the memory is not shared");
	if (read(tell[0], &offset, sizeof(offset)) != (ssize_t)sizeof(offset))
		die("read");
	ww_mark(ww, memory + offset, 1, 0);
	expect("another one, of which it told us (ww_mark)", 5, true);
	ww_close(ww);
	return 0;
}
