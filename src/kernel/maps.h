/* SPDX-License-Identifier: MIT */
/*
 * maps.h - what is mapped where: one VMA after the other.
 */
#ifndef WW_MAPS_H
#define WW_MAPS_H

#include <stdatomic.h>

#include "kernel/process.h"

enum ww_kind {
	WW_KIND_ANON,	/* private anonymous memory */
	WW_KIND_FILE,	/* private mapping of a file */
	WW_KIND_SHARED, /* shared memory or file */
};

struct ww_map {
	uintptr_t start, end;
	enum ww_kind kind;
	int prot;   /* PROT_ bits; BTI and MTE only from ww_maps_each_flag() */
	bool huge;  /* hugetlb: pages larger than the host's */
	bool wiped; /* MADV_WIPEONFORK; only from ww_maps_each_flag() */
};

/* The kernel's view of a process. */
struct ww_maps {
	struct ww_fd fd;
	const struct ww_process *process;
	bool text;	   /* no PROCMAP_QUERY: the text of maps is read */
	atomic_uint walks; /* how often the text was read */
};

/* A walk; on the stack of the thread that walks, allocates nothing. */
struct ww_maps_walk {
	struct ww_maps *maps;
	uintptr_t at;
	int text;   /* descriptor of the text, or -1 */
	bool smaps; /* the text is that of smaps */
	int64_t offset;
	size_t have, used;
	char buf[1024];
};

int ww_maps_open(struct ww_maps *self, const struct ww_process *process);
void ww_maps_close(struct ww_maps *self);

/* Walk over the VMAs, from the one at `at`, or the next behind it, on.
 * ww_maps_next() returns 1: a VMA is in out; 0: no more; negative: -errno. The
 * walk has to be ended in each case. */
int ww_maps_begin(struct ww_maps_walk *walk, struct ww_maps *maps,
		  uintptr_t at);
int ww_maps_next(struct ww_maps_walk *walk, struct ww_map *out);
void ww_maps_end(struct ww_maps_walk *walk);

/* Call fn for each VMA in [start, end), clipped to it, while it returns 0. */
int ww_maps_each(struct ww_maps *maps, uintptr_t start, uintptr_t end,
		 int (*fn)(void *arg, const struct ww_map *map), void *arg);

/* The same from /proc/self/smaps, which shows more (prot, wiped), but makes the
 * kernel look at each page of the process below `end`. */
int ww_maps_each_flag(uintptr_t start, uintptr_t end,
		      int (*fn)(void *arg, const struct ww_map *map),
		      void *arg);

/* Mappings that the process may still make before vm.max_map_count. Reads all
 * of /proc/self/maps. */
long ww_maps_left(void);

/* Is [start, end) mapped, all of it private and anonymous? A shortcut for where
 * the text was read often already: does not read it, and gives the memory a
 * name. False: no, or not known. */
bool ww_maps_is_anon(struct ww_maps *maps, uintptr_t start, uintptr_t end);

#endif
