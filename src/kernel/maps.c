/* SPDX-License-Identifier: MIT */
/*
 * maps.c - what is mapped where: one VMA after the other.
 *
 * Called by api.c at watch time and by backends whose tracking was lost; calls
 * sys.c. PROCMAP_QUERY (Linux 6.11) answers for one address; before it, the
 * text of /proc/self/maps is read, from a descriptor of its own since its
 * position is shared. Invariant: nothing is remembered between walks, as the
 * program may map and unmap at any time.
 */
#include "kernel/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/arch.h"
#include "kernel/uapi/procfs.h"

#define DEFAULT_MAX_MAP_COUNT 65530

static int query(int fd, uintptr_t at, struct procmap_query *q)
{
	memset(q, 0, sizeof(*q));
	q->size = sizeof(*q);
	q->query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA;
	q->query_addr = at;
	return ww_sys_ioctl(fd, PROCMAP_QUERY, q);
}

int ww_maps_open(struct ww_maps *self, const struct ww_process *process)
{
	struct procmap_query q;
	int fd = ww_process_open(process, "maps", O_RDONLY);
	int r;

	self->process = process;
	self->fd = WW_FD_NONE;
	self->text = true;
	if (fd < 0)
		return fd == -ENOENT ? -ENOSYS : fd; /* no /proc */
	r = ww_fd_init(&self->fd, fd, false);
	if (r < 0)
		return r;
	self->text = query(fd, 0, &q) < 0;
	return 0;
}

void ww_maps_close(struct ww_maps *self)
{
	ww_fd_finish(&self->fd);
}

static enum ww_kind kind_of(bool shared, bool file)
{
	if (shared)
		return WW_KIND_SHARED;
	return file ? WW_KIND_FILE : WW_KIND_ANON;
}

/* A private mapping of /dev/zero has an inode, but is anonymous memory to the
 * kernel: what is dropped reads as zeros, and not as a file. */
static bool is_zero_device(const char *name)
{
	return !strncmp(name, "/dev/zero", 9) &&
	       (name[9] == '\0' || name[9] == ' ' || name[9] == '\n');
}

/* Does the mapping at an address have the name of /dev/zero? */
static bool asks_zero_device(int fd, uintptr_t at)
{
	struct procmap_query q;
	char name[24] = "";

	memset(&q, 0, sizeof(q));
	q.size = sizeof(q);
	q.query_addr = at;
	q.vma_name_size = sizeof(name);
	q.vma_name_addr = (uintptr_t)name;
	/* a longer name is an error */
	return ww_sys_ioctl(fd, PROCMAP_QUERY, &q) == 0 && is_zero_device(name);
}

static int next_query(struct ww_maps_walk *walk, struct ww_map *out)
{
	int fd = walk->maps->fd.fd;
	struct procmap_query q;
	int r = query(fd, walk->at, &q);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	out->start = (uintptr_t)q.vma_start;
	out->end = (uintptr_t)q.vma_end;
	out->kind = kind_of(q.vma_flags & PROCMAP_QUERY_VMA_SHARED,
			    q.inode || q.dev_major || q.dev_minor);
	if (out->kind == WW_KIND_FILE && asks_zero_device(fd, out->start))
		out->kind = WW_KIND_ANON;
	out->prot =
		(q.vma_flags & PROCMAP_QUERY_VMA_READABLE ? PROT_READ : 0) |
		(q.vma_flags & PROCMAP_QUERY_VMA_WRITABLE ? PROT_WRITE : 0) |
		(q.vma_flags & PROCMAP_QUERY_VMA_EXECUTABLE ? PROT_EXEC : 0);
	out->huge = q.vma_page_size > ww_sys_page_size();
	out->wiped = false;
	walk->at = out->end;
	return 1;
}

/* One line of the text, cut to what fits. 1, 0 at the end, or -errno. */
static int read_line(struct ww_maps_walk *walk, char *line, size_t size)
{
	size_t n = 0;

	for (;;) {
		char c;

		if (walk->used == walk->have) {
			ssize_t r =
				ww_sys_pread(walk->text, walk->buf,
					     sizeof(walk->buf), walk->offset);
			if (r <= 0)
				return (int)r;
			walk->offset += r;
			walk->have = (size_t)r;
			walk->used = 0;
		}
		c = walk->buf[walk->used++];
		if (c == '\n')
			break;
		if (n + 1 < size)
			line[n++] = c;
	}
	line[n] = '\0';
	return 1;
}

/* A number of the text, and what separates it from the next. */
static uintptr_t number(const char **at, unsigned base, char separator)
{
	uintptr_t v = 0;
	const char *p = *at;

	for (;; p++) {
		unsigned digit = *p >= '0' && *p <= '9' ? (unsigned)*p - '0'
				 : *p >= 'a' && *p <= 'f'
					 ? (unsigned)*p - 'a' + 10
					 : 16;

		if (digit >= base)
			break;
		v = v * base + digit;
	}
	while (*p == separator || *p == ' ')
		p++;
	*at = p;
	return v;
}

/* "start-end rwxp offset major:minor inode name" */
static bool parse(const char *line, struct ww_map *out)
{
	uintptr_t inode, major, minor;
	const char *flags;

	out->start = number(&line, 16, '-');
	out->end = number(&line, 16, ' ');
	flags = line;
	if (strlen(flags) < 5)
		return false;
	line += 5;
	number(&line, 16, ' ');
	major = number(&line, 16, ':');
	minor = number(&line, 16, ' ');
	inode = number(&line, 10, ' ');
	out->kind = kind_of(flags[3] == 's', inode || major || minor);
	if (out->kind == WW_KIND_FILE && is_zero_device(line))
		out->kind = WW_KIND_ANON;
	out->prot = (flags[0] == 'r' ? PROT_READ : 0) |
		    (flags[1] == 'w' ? PROT_WRITE : 0) |
		    (flags[2] == 'x' ? PROT_EXEC : 0);
	out->huge = out->wiped = false;
	return out->end > out->start;
}

/* " rd wr ... bt mt wf" */
static void parse_flags(const char *line, struct ww_map *out)
{
	if (strstr(line, " bt"))
		out->prot |= PROT_BTI;
	if (strstr(line, " mt"))
		out->prot |= PROT_MTE;
	out->wiped = strstr(line, " wf");
}

/* Read the lines of smaps that follow the first line of a mapping. */
static int read_smap(struct ww_maps_walk *walk, struct ww_map *out)
{
	char line[128];
	int r;

	while ((r = read_line(walk, line, sizeof(line))) > 0) {
		if (!strncmp(line, "KernelPageSize:", 15)) {
			const char *at = line + 15;

			while (*at == ' ')
				at++;
			out->huge = number(&at, 10, ' ') * 1024 >
				    ww_sys_page_size();
		} else if (!strncmp(line, "VmFlags:", 8)) {
			parse_flags(line + 8, out); /* the last line */
			return 1;
		}
	}
	return r < 0 ? r : 1;
}

/* Only smaps shows the page size, the text of maps does not. The question is
 * asked for files only, because hugetlb memory is always mapped from a file, be
 * it an internal one. */
static bool smaps_says_huge(const struct ww_process *process, uintptr_t start)
{
	struct ww_maps_walk walk = { .text = ww_process_open(process, "smaps",
							     O_RDONLY) };
	struct ww_map map = { .huge = false };
	char line[128];

	if (walk.text < 0)
		return false;
	while (read_line(&walk, line, sizeof(line)) > 0) {
		const char *at = line;

		if (number(&at, 16, '-') == start && at > line) {
			read_smap(&walk, &map);
			break;
		}
	}
	ww_sys_close(walk.text);
	return map.huge;
}

static int next_text(struct ww_maps_walk *walk, struct ww_map *out)
{
	char line[128];
	int r;

	do {
		r = read_line(walk, line, sizeof(line));
		if (r <= 0)
			return r;
		if (!parse(line, out))
			return -ENOSYS;
		if (walk->smaps)
			r = read_smap(walk, out);
		if (r < 0)
			return r;
	} while (out->end <= walk->at);
	if (!walk->smaps && out->kind != WW_KIND_ANON)
		out->huge = smaps_says_huge(walk->maps->process, out->start);
	walk->at = out->end;
	return 1;
}

int ww_maps_begin(struct ww_maps_walk *walk, struct ww_maps *maps, uintptr_t at)
{
	walk->maps = maps;
	walk->at = at;
	walk->text = -1;
	walk->smaps = false;
	walk->offset = 0;
	walk->have = walk->used = 0;
	if (!maps->text && ww_fd_ok(&maps->fd))
		return 0;
	atomic_fetch_add(&maps->walks, 1);
	walk->text = ww_process_open(maps->process, "maps", O_RDONLY);
	if (walk->text >= 0)
		return 0;
	return walk->text == -ENOENT ? -ENOSYS : walk->text;
}

int ww_maps_next(struct ww_maps_walk *walk, struct ww_map *out)
{
	return walk->text < 0 ? next_query(walk, out) : next_text(walk, out);
}

void ww_maps_end(struct ww_maps_walk *walk)
{
	if (walk->text >= 0)
		ww_sys_close(walk->text);
	walk->text = -1;
}

static int each(struct ww_maps_walk *walk, uintptr_t start, uintptr_t end,
		int (*fn)(void *arg, const struct ww_map *map), void *arg)
{
	struct ww_map map;
	int r;

	while ((r = ww_maps_next(walk, &map)) == 1 && map.start < end) {
		bool last = map.end >= end;

		if (map.start < start)
			map.start = start;
		if (last)
			map.end = end;
		r = fn(arg, &map);
		if (r != 0 || last)
			break;
	}
	return r;
}

int ww_maps_each(struct ww_maps *maps, uintptr_t start, uintptr_t end,
		 int (*fn)(void *arg, const struct ww_map *map), void *arg)
{
	struct ww_maps_walk walk;
	int r = ww_maps_begin(&walk, maps, start);

	if (r == 0)
		r = each(&walk, start, end, fn, arg);
	ww_maps_end(&walk);
	return r < 0 ? r : 0;
}

int ww_maps_each_flag(uintptr_t start, uintptr_t end,
		      int (*fn)(void *arg, const struct ww_map *map), void *arg)
{
	struct ww_maps_walk walk = { .at = start, .smaps = true };
	int r;

	walk.text = ww_sys_open("/proc/self/smaps", O_RDONLY);
	if (walk.text < 0)
		return walk.text;
	r = each(&walk, start, end, fn, arg);
	ww_maps_end(&walk);
	return r < 0 ? r : 0;
}

/* Walks of the text of /proc/self/maps before a cheaper way is taken: each is
 * as long as the process has mappings. */
#define TEXT_WALKS 64

/* Private anonymous memory takes a name since Linux 5.17, no file does, and
 * shared anonymous memory since 6.2: there a name tells nothing. */
static bool try_names(void)
{
	size_t len = ww_sys_page_size();
	void *shared;
	bool tells;

	if (ww_sys_mmap_shared(len, &shared) < 0)
		return false;
	tells = ww_sys_name_anon((uintptr_t)shared, len, "writewatch") < 0;
	ww_sys_munmap(shared, len);
	return tells;
}

static bool names_tell(void)
{
	/* 0: not tried, 1: no, 2: yes */
	WW_DATA static atomic_int known;

	if (!atomic_load(&known))
		atomic_store(&known, try_names() ? 2 : 1);
	return atomic_load(&known) == 2;
}

bool ww_maps_is_anon(struct ww_maps *maps, uintptr_t start, uintptr_t end)
{
	/* A range with a hole takes no name, either. */
	return maps->text && !ww_process_is_other(maps->process) &&
	       atomic_load(&maps->walks) >= TEXT_WALKS && names_tell() &&
	       ww_sys_name_anon(start, end - start, "writewatch") == 0;
}

static long max_map_count(void)
{
	int fd = ww_sys_open("/proc/sys/vm/max_map_count", O_RDONLY);
	long max = DEFAULT_MAX_MAP_COUNT;
	char buf[24] = "";

	if (fd < 0)
		return max;
	if (ww_sys_pread(fd, buf, sizeof(buf) - 1, 0) > 0)
		max = strtol(buf, NULL, 10);
	ww_sys_close(fd);
	return max;
}

long ww_maps_left(void)
{
	int fd = ww_sys_open("/proc/self/maps", O_RDONLY);
	long left = max_map_count();
	char buf[4096];
	int64_t at = 0;
	ssize_t n;

	if (fd < 0)
		return left;
	while ((n = ww_sys_pread(fd, buf, sizeof(buf), at)) > 0) {
		ssize_t i;

		for (i = 0; i < n; i++)
			left -= buf[i] == '\n';
		at += n;
	}
	ww_sys_close(fd);
	return left;
}
