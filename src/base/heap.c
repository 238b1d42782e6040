/* SPDX-License-Identifier: MIT */
/*
 * heap.c - the library's own memory.
 *
 * Called by core and the Win32 face when something is watched or let go; calls
 * kernel/sys.c. Blocks up to 8 KiB come from chunks of 64 KiB, by size classes,
 * and stay with the process; larger ones are mappings of their own. Small areas
 * that are watched one after the other so lie side by side. Invariants: a free
 * block is on the list of its class, its first word being the link; all mappings
 * are in a search tree by address, and on a list that is whole at each moment: a
 * child makes its tree from it.
 *
 * Global: the lists and the tree. Memory is the process's, as with malloc().
 */
#include "base/heap.h"

#include <string.h>

#include "base/fork.h"
#include "kernel/sys.h"

#define CHUNK ((size_t)1 << 16)
#define SMALLEST ((size_t)64)
#define CLASSES 18u
#define LARGEST ((size_t)8192)
#define ADOPTED 4u

/* With steps between the powers of two, so that little is wasted. */
static const uint16_t class_bytes[CLASSES] = { 64,   128,  192,	 256,  320,
					       448,  576,  768,	 1024, 1280,
					       1600, 2048, 2560, 3200, 4096,
					       5120, 6400, 8192 };

/* In front of a chunk's blocks, and of a large block: a node of a treap. Nodes are in
 * order of address, and no node ranks lower than one below it. Ranks are as good as
 * random, so the tree is as deep as a random one: some 3 log(n). */
struct mapping {
	struct mapping *left, *right;
	_Atomic(struct mapping *) older; /* on the list that is always whole */
	struct mapping *newer;		 /* the way back, which need not be */
	size_t len;
};

#define HEAD SMALLEST /* room for it, so that blocks stay aligned */
_Static_assert(sizeof(struct mapping) <= HEAD, "head of a mapping");

struct block {
	struct block *next;
};

WW_DATA static struct {
	atomic_bool ready;
	struct ww_lock lock;
	unsigned generation; /* of the process whose lists these are */
	struct block *free[CLASSES];
	char *fresh, *fresh_end; /* what is left of the newest chunk */
	struct mapping *root;
	_Atomic(struct mapping *) newest;
	struct {
		uintptr_t start;
		size_t len;
	} adopted[ADOPTED];
	atomic_size_t nadopted;
} heap;

extern char __start_ww_data[] __attribute__((visibility("hidden")));
extern char __stop_ww_data[] __attribute__((visibility("hidden")));

static void take_over(void)
{
	heap.generation = ww_fork_generation();
}

/* fork() comes when nobody changes the heap. But a child of a bare clone(2) may fork()
 * before it has used what it inherited: then that is not whole in its child either. */
static void take_over_whole(void)
{
	if (heap.generation == ww_fork_parent())
		take_over();
}

static void adopt(uintptr_t start, size_t len)
{
	size_t n = atomic_load(&heap.nadopted);

	heap.adopted[n].start = start;
	heap.adopted[n].len = len;
	atomic_store(&heap.nadopted, n + 1);
}

int ww_heap_init(void)
{
	WW_DATA static struct ww_lock once;

	if (atomic_load(&heap.ready))
		return 0;
	ww_lock_take(&once);
	if (!atomic_load(&heap.ready)) {
		ww_lock_init(&heap.lock, WW_LOCK_HEAP);
		take_over();
		ww_fork_on_child(WW_FORK_HEAP, take_over_whole);
		adopt(ww_fork_page(), ww_sys_page_size());
		atomic_store(&heap.ready, true);
	}
	ww_lock_drop(&once);
	return 0;
}

/* --- mappings --- */

static uint64_t rank_of(const struct mapping *m)
{
	uint64_t r = (uintptr_t)m;

	/* Addresses are evenly spaced, and a product of one alone is, too. No two
	 * have the same rank: each step can be undone. */
	r = (r ^ r >> 31) * UINT64_C(0x9e3779b97f4a7c15);
	r = (r ^ r >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return r ^ r >> 32;
}

static bool is_below(const struct mapping *m, const struct mapping *other)
{
	return (uintptr_t)m < (uintptr_t)other;
}

/* Put m where the first node ranks lower, and what was there below it: parts of it to
 * the left, others to the right. */
static void insert(struct mapping *m)
{
	struct mapping **left = &m->left, **right = &m->right;
	struct mapping **at = &heap.root, *t;

	while (*at && rank_of(*at) > rank_of(m))
		at = is_below(m, *at) ? &(*at)->left : &(*at)->right;
	t = *at;
	*at = m;
	while (t) {
		if (is_below(t, m)) {
			*left = t;
			left = &t->right;
			t = *left;
		} else {
			*right = t;
			right = &t->left;
			t = *right;
		}
	}
	*left = *right = NULL;
}

/* Put what is below m in its place. */
static bool remove_from_tree(struct mapping *m)
{
	struct mapping **at = &heap.root, *left = m->left, *right = m->right;

	while (*at && *at != m)
		at = is_below(m, *at) ? &(*at)->left : &(*at)->right;
	if (!*at)
		return false;
	while (left && right) {
		if (rank_of(left) > rank_of(right)) {
			*at = left;
			at = &left->right;
			left = *at;
		} else {
			*at = right;
			at = &right->left;
			right = *at;
		}
	}
	*at = left ? left : right;
	return true;
}

static void add_mapping(struct mapping *m)
{
	struct mapping *older = atomic_load(&heap.newest);

	atomic_store(&m->older, older);
	if (older)
		older->newer = m;
	atomic_store(&heap.newest, m);
	insert(m);
}

static void remove_mapping(struct mapping *m)
{
	struct mapping *older = atomic_load(&m->older);

	/* In a child: a thread of the parent had begun to free it, and it is off the
	 * list already. */
	if (!remove_from_tree(m))
		return;
	atomic_store(m->newer ? &m->newer->older : &heap.newest, older);
	if (older)
		older->newer = m->newer;
}

/* In a child of _Fork() or of a bare clone(2) another thread of the parent may
 * have been changing the lists of free blocks and the tree: leave those blocks alone,
 * and make the tree anew. */
static void begin_anew(void)
{
	struct mapping *m, *newer = NULL;

	memset(heap.free, 0, sizeof(heap.free));
	heap.fresh = heap.fresh_end = NULL;
	heap.root = NULL;
	for (m = atomic_load(&heap.newest); m; m = atomic_load(&m->older)) {
		m->newer = newer;
		newer = m;
		insert(m);
	}
	take_over();
}

static void take_heap(void)
{
	ww_lock_take_inside(&heap.lock);
	if (heap.generation != ww_fork_generation())
		begin_anew();
}

/* The last mapping that begins below an address. */
static const struct mapping *last_below(uintptr_t end)
{
	const struct mapping *t = heap.root, *last = NULL;

	while (t) {
		if ((uintptr_t)t < end)
			last = t;
		t = (uintptr_t)t < end ? t->right : t->left;
	}
	return last;
}

/* Large mappings are whole page tables long: then the kernel begins them with one,
 * and the first page that is touched does not cost another. */
static size_t whole_tables(size_t len)
{
	size_t page = ww_sys_page_size(), table = page * (page / 8);

	return len < 8 * table ? len : (len + table - 1) / table * table;
}

static void *map(size_t bytes)
{
	struct mapping *m;
	void *memory;
	size_t len;

	if (bytes > SIZE_MAX / 2)
		return NULL;
	len = whole_tables(HEAD + bytes);
	if (ww_sys_mmap(len, &memory) < 0)
		return NULL;
	m = memory;
	m->len = len;
	add_mapping(m);
	return (char *)memory + HEAD;
}

/* --- blocks --- */

static unsigned class_of(size_t bytes)
{
	unsigned c = 0;

	while (class_bytes[c] < bytes)
		c++;
	return c;
}

static void *new_small(unsigned c)
{
	struct block *b = heap.free[c];
	size_t bytes = class_bytes[c];

	if (b) {
		heap.free[c] = b->next;
		memset(b, 0, bytes);
		return b;
	}
	if ((size_t)(heap.fresh_end - heap.fresh) < bytes) {
		char *chunk = map(CHUNK - HEAD);

		if (!chunk)
			return NULL;
		heap.fresh = chunk;
		heap.fresh_end = chunk + CHUNK - HEAD;
	}
	heap.fresh += bytes;
	return heap.fresh - bytes;
}

void *ww_heap_new(size_t bytes)
{
	void *memory;

	take_heap();
	memory = bytes <= LARGEST ? new_small(class_of(bytes)) : map(bytes);
	ww_lock_drop_inside(&heap.lock);
	return memory;
}

void ww_heap_free(void *memory, size_t bytes)
{
	struct mapping *m;
	struct block *b = memory;

	if (!memory)
		return;
	take_heap();
	if (bytes <= LARGEST) {
		b->next = heap.free[class_of(bytes)];
		heap.free[class_of(bytes)] = b;
		ww_lock_drop_inside(&heap.lock);
		return;
	}
	m = (struct mapping *)(void *)((char *)memory - HEAD);
	remove_mapping(m);
	ww_lock_drop_inside(&heap.lock);
	ww_sys_munmap(m, m->len);
}

/* --- what is ours --- */

/* start and end are whole pages. */
static bool meet(uintptr_t start, uintptr_t end, uintptr_t ours, size_t len)
{
	return start < ours + len && ours < end;
}

void ww_heap_adopt(const void *memory, size_t bytes)
{
	uint64_t mask;

	ww_sys_block_signals(&mask);
	take_heap();
	if (atomic_load(&heap.nadopted) < ADOPTED)
		adopt((uintptr_t)memory, bytes);
	ww_lock_drop_inside(&heap.lock);
	ww_sys_restore_signals(mask);
}

bool ww_heap_owns(uintptr_t start, uintptr_t end)
{
	const struct mapping *m;
	bool owns = meet(start, end, (uintptr_t)__start_ww_data,
			 (size_t)(__stop_ww_data - __start_ww_data));
	size_t i;

	take_heap();
	for (i = 0; !owns && i < heap.nadopted; i++)
		owns = meet(start, end, heap.adopted[i].start,
			    heap.adopted[i].len);
	m = last_below(end);
	owns = owns || (m && meet(start, end, (uintptr_t)m, m->len));
	ww_lock_drop_inside(&heap.lock);
	return owns;
}
