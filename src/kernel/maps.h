/* SPDX-License-Identifier: MIT */
/*
 * maps.h - what is mapped where: one VMA after the other.
 */
#ifndef WW_MAPS_H
#define WW_MAPS_H

#include "kernel/process.h"
#include "core/range.h"
#include "kernel/sys.h"

struct ww_map {
	uintptr_t start, end;
	enum ww_kind kind;
	int prot;
	bool huge; /* hugetlb: pages larger than the host's */
};

/* The kernel's view of a process. */
struct ww_maps {
	struct ww_fd fd;
	const struct ww_process *process;
	bool text;	   /* no PROCMAP_QUERY: the text is read */
	atomic_uint walks; /* of that text, from its beginning */
};

/* A walk; on the stack of who walks, allocates nothing. */
struct ww_maps_walk {
	struct ww_maps *maps;
	uintptr_t at;
	int text; /* descriptor of the text, or -1 */
	off_t offset;
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

/* No huge pages (but with huge) and no KSM: one write would show as 512 pages,
 * or none at all. They are not there to turn off: fine. 0 or -errno. */
int ww_maps_settle(uintptr_t start, uintptr_t end, bool huge);

/* Read-ahead advice, which means nothing to anonymous memory, keeps a mapping
 * from becoming one with what is mapped beside it later, which would make it
 * wholly soft-dirty. 0 or -errno. */
int ww_maps_keep_apart(uintptr_t start, uintptr_t end);
void ww_maps_let_join(uintptr_t start, uintptr_t end);

/* MADV_DONTNEED; -EOPNOTSUPP: locked pages. */
int ww_maps_drop(uintptr_t start, uintptr_t end);

/* Mappings that the process may still make before vm.max_map_count. Reads all
 * of /proc/self/maps. */
long ww_maps_left(void);

/* Is [start, end) mapped, all of it private and anonymous? Answers without
 * reading the text, and may say no where it cannot tell. Only for kernels
 * without PROCMAP_QUERY: it gives the memory a name. */
bool ww_maps_name_anon(uintptr_t start, uintptr_t end);

#endif
