/* SPDX-License-Identifier: MIT */
/*
 * maps.h - what is mapped where: one VMA after the other.
 */
#ifndef WW_MAPS_H
#define WW_MAPS_H

#include <stdatomic.h>

#include "kernel/process.h"

enum ww_kind {
	WW_KIND_ANON, /* private anonymous memory */
	WW_KIND_FILE, /* private mapping of a file */
	WW_KIND_SHARED, /* shared memory or file */
};

struct ww_map {
	uintptr_t start, end;
	enum ww_kind kind;
	int prot; /* PROT_ bits; PROT_BTI and PROT_MTE too, if asked for */
	bool huge; /* hugetlb: pages larger than the host's */
	bool wiped; /* MADV_WIPEONFORK; only where it is asked for */
};

/* The kernel's view of a process. */
struct ww_maps {
	struct ww_fd fd;
	const struct ww_process *process;
	bool text; /* no PROCMAP_QUERY: the text is read */
	atomic_uint walks; /* of that text, from its beginning */
};

/* A walk; on the stack of the thread that walks, allocates nothing. */
struct ww_maps_walk {
	struct ww_maps *maps;
	uintptr_t at;
	int text; /* descriptor of the text, or -1 */
	bool smaps; /* the text is that of smaps */
	int64_t offset;
	size_t have, used;
	char buf[1024];
};

int ww_maps_open(struct ww_maps *self, const struct ww_process *process);
void ww_maps_close(struct ww_maps *self);

/* The VMA at `at` or the next behind it, and on from there. 1: in out; 0: no
 * more; negative: -errno. The walk is to be ended in each case. */
int ww_maps_begin(struct ww_maps_walk *walk, struct ww_maps *maps,
		  uintptr_t at);
int ww_maps_next(struct ww_maps_walk *walk, struct ww_map *out);
void ww_maps_end(struct ww_maps_walk *walk);

/* Call fn for each VMA in [start, end), clipped to it, while it returns 0. */
int ww_maps_each(struct ww_maps *maps, uintptr_t start, uintptr_t end,
		 int (*fn)(void *arg, const struct ww_map *map), void *arg);

/* The same by /proc/self/smaps, which tells more (prot, wiped), but looks at
 * each page of the process below `end`. */
int ww_maps_each_flag(uintptr_t start, uintptr_t end,
		      int (*fn)(void *arg, const struct ww_map *map),
		      void *arg);

/* Mappings that the process may still make before vm.max_map_count. Reads all
 * of /proc/self/maps. */
long ww_maps_left(void);

/* Is [start, end) mapped, all of it private and anonymous? Answers without
 * reading the text, where that was read often already, and may say no where it
 * cannot tell. It gives the memory a name. */
bool ww_maps_is_anon(struct ww_maps *maps, uintptr_t start, uintptr_t end);

#endif
