/* SPDX-License-Identifier: MIT */
/*
 * win32-memory.c - VirtualAlloc, VirtualFree, VirtualProtect and VirtualQuery
 * over mmap.
 *
 * Called by programs; calls the native calls of api.c for watched memory and
 * sys.c. Invariant: a page's byte says what it is (0: reserved), and the
 * host's protection follows it; a write-watch reservation is watched from its
 * making to its release.
 *
 * Global: the list of allocations, since Windows' calls find them by address.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fork.h"
#include "kernel/maps.h"
#include "kernel/sys.h"
#include "win32/win32.h"

/* A page's byte: 1 + log2 of its protection, and the modifiers. */
#define STATE_BASE 0x0fu
#define STATE_MODIFIERS_SHIFT 4 /* PAGE_GUARD 0x100 becomes 0x10, ... */

#define MODIFIERS (WW_PAGE_GUARD | WW_PAGE_NOCACHE | WW_PAGE_WRITECOMBINE)

struct allocation {
	uintptr_t start, end;
	ww_DWORD protect; /* initial */
	bool watched;
	uint8_t *page; /* a byte for each 4 KiB, MAP_NORESERVE */
};

static struct {
	pthread_once_t once;
	struct ww_lock lock;
	struct allocation *list; /* ascending */
	size_t n, room;
} memory = { .once = PTHREAD_ONCE_INIT };

static void init_memory(void)
{
	/* Its holder calls the tracker, which has a lock of its own. */
	if (ww_fork_init() == 0)
		ww_lock_init(&memory.lock, WW_LOCK_WIN32);
}

static void lock_memory(void)
{
	pthread_once(&memory.once, init_memory);
	ww_lock_take(&memory.lock);
}

static void unlock_memory(void)
{
	ww_lock_drop(&memory.lock);
}

/* --- the list --- */

static size_t position(uintptr_t at)
{
	size_t i = 0, hi = memory.n;

	while (i < hi) {
		size_t mid = (i + hi) / 2;

		if (memory.list[mid].end <= at)
			i = mid + 1;
		else
			hi = mid;
	}
	return i;
}

static struct allocation *find(uintptr_t at)
{
	size_t i = position(at);

	if (i < memory.n && memory.list[i].start <= at)
		return &memory.list[i];
	return NULL;
}

static int insert(const struct allocation *a)
{
	size_t i = position(a->start);

	if (memory.n == memory.room) {
		size_t room = memory.room ? memory.room * 2 : 16;
		void *more = realloc(memory.list, room * sizeof(*a));

		if (!more)
			return -ENOMEM;
		memory.list = more;
		memory.room = room;
	}
	memmove(&memory.list[i + 1], &memory.list[i],
		(memory.n - i) * sizeof(*a));
	memory.list[i] = *a;
	memory.n++;
	return 0;
}

static void erase(struct allocation *a)
{
	size_t i = (size_t)(a - memory.list);

	memory.n--;
	memmove(a, a + 1, (memory.n - i) * sizeof(*a));
}

/* --- protection --- */

static bool valid_protect(ww_DWORD protect)
{
	ww_DWORD base = protect & ~MODIFIERS;

	if (!base || base & (base - 1) || base > WW_PAGE_EXECUTE_WRITECOPY)
		return false;
	if (base == WW_PAGE_WRITECOPY || base == WW_PAGE_EXECUTE_WRITECOPY)
		return false; /* for mapped files only */
	if (base == WW_PAGE_NOACCESS && protect & MODIFIERS)
		return false;
	/* the modifiers exclude each other */
	return !((protect & MODIFIERS) & ((protect & MODIFIERS) - 1));
}

static uint8_t encode(ww_DWORD protect)
{
	return (uint8_t)((1 + __builtin_ctz(protect & ~MODIFIERS)) |
			 (protect & MODIFIERS) >> STATE_MODIFIERS_SHIFT);
}

static ww_DWORD decode(uint8_t state)
{
	return 1u << ((state & STATE_BASE) - 1) |
	       (ww_DWORD)(state & ~STATE_BASE) << STATE_MODIFIERS_SHIFT;
}

static int host_prot(uint8_t state)
{
	if (!state || decode(state) & WW_PAGE_GUARD)
		return PROT_NONE;
	switch (decode(state) & ~MODIFIERS) {
	case WW_PAGE_READONLY:
		return PROT_READ;
	case WW_PAGE_READWRITE:
		return PROT_READ | PROT_WRITE;
	case WW_PAGE_EXECUTE:
	case WW_PAGE_EXECUTE_READ:
		return PROT_READ | PROT_EXEC;
	case WW_PAGE_EXECUTE_READWRITE:
		return PROT_READ | PROT_WRITE | PROT_EXEC;
	default:
		return PROT_NONE;
	}
}

static uint8_t *page_of(const struct allocation *a, uintptr_t at)
{
	return &a->page[(at - a->start) / WW_WIN32_PAGE];
}

static int protect_host(const struct allocation *a, uintptr_t start,
			uintptr_t end, int prot)
{
	if (a->watched)
		return ww_protect(ww_win32_tracker(), (void *)start,
				  end - start, prot);
	return ww_sys_mprotect(start, end - start, prot);
}

/* Let the host's pages follow the bytes of [start, end). A host page larger
 * than 4 KiB gets what any of its parts needs. */
static int follow(const struct allocation *a, uintptr_t start, uintptr_t end)
{
	uintptr_t host = ww_sys_page_size(), run = 0;
	uintptr_t at = ww_win32_down(start, host);
	int r = 0, prot = -1;

	for (; at < end && r == 0; at += host) {
		uintptr_t sub;
		int p = 0;

		for (sub = at; sub < at + host && sub < a->end;
		     sub += WW_WIN32_PAGE)
			p |= host_prot(*page_of(a, sub));
		if (p == prot)
			continue;
		if (prot >= 0)
			r = protect_host(a, run, at, prot);
		run = at;
		prot = p;
	}
	return r < 0 || prot < 0 ? r : protect_host(a, run, at, prot);
}

/* --- VirtualAlloc --- */

/* Address space, 64 KiB aligned. */
static ww_DWORD reserve(uintptr_t at, uintptr_t len, struct allocation *a)
{
	void *got;

	if (at) {
		if (ww_sys_reserve((void *)at, len, &got) < 0)
			return WW_ERROR_NOT_ENOUGH_MEMORY;
		if ((uintptr_t)got != at) {
			ww_sys_munmap(got, len);
			return WW_ERROR_INVALID_ADDRESS;
		}
	} else {
		if (len + WW_WIN32_GRAIN < len ||
		    ww_sys_reserve(NULL, len + WW_WIN32_GRAIN, &got) < 0)
			return WW_ERROR_NOT_ENOUGH_MEMORY;
		at = ww_win32_down((uintptr_t)got + WW_WIN32_GRAIN - 1,
				   WW_WIN32_GRAIN);
		if (at > (uintptr_t)got)
			ww_sys_munmap(got, at - (uintptr_t)got);
		ww_sys_munmap((void *)(at + len),
			      (uintptr_t)got + WW_WIN32_GRAIN - at);
	}
	a->start = at;
	a->end = at + len;
	return 0;
}

static void unreserve(const struct allocation *a)
{
	ww_sys_munmap((void *)a->start, a->end - a->start);
	if (a->page)
		ww_sys_munmap(a->page, (a->end - a->start) / WW_WIN32_PAGE);
}

static ww_DWORD make(void *address, uintptr_t size, ww_DWORD type,
		     ww_DWORD protect, struct allocation *a)
{
	uintptr_t host = ww_sys_page_size(), start, end;
	uintptr_t unit = host > WW_WIN32_PAGE ? host : WW_WIN32_PAGE;
	struct ww *ww = type & WW_MEM_WRITE_WATCH ? ww_win32_tracker() : NULL;
	void *page;
	ww_DWORD e;

	if (!ww_win32_round(address, size, unit, &start, &end))
		return WW_ERROR_INVALID_PARAMETER;
	start = ww_win32_down(start, WW_WIN32_GRAIN);
	*a = (struct allocation){ .protect = protect, .watched = ww };
	e = reserve(start, end - start, a);
	if (e)
		return e;
	e = WW_ERROR_NOT_ENOUGH_MEMORY;
	if (ww_sys_mmap((a->end - a->start) / WW_WIN32_PAGE, &page) < 0)
		goto err_unreserve;
	a->page = page;
	if (ww && ww_watch(ww, (void *)a->start, a->end - a->start, 0) < 0)
		goto err_unreserve;
	if (insert(a) == 0)
		return 0;
	if (ww)
		ww_unwatch(ww, (void *)a->start, a->end - a->start);
err_unreserve:
	unreserve(a);
	return e;
}

/* Commit, or protect again what is committed. */
static ww_DWORD commit(const struct allocation *a, uintptr_t start,
		       uintptr_t end, ww_DWORD protect)
{
	int r;

	memset(page_of(a, start), encode(protect),
	       (end - start) / WW_WIN32_PAGE);
	r = follow(a, start, end);
	return r == 0 ? 0 : WW_ERROR_COMMITMENT_LIMIT;
}

static ww_DWORD check_type(ww_DWORD type, ww_DWORD protect)
{
	const ww_DWORD known = WW_MEM_COMMIT | WW_MEM_RESERVE | WW_MEM_RESET |
			       WW_MEM_TOP_DOWN | WW_MEM_WRITE_WATCH |
			       WW_MEM_PHYSICAL | WW_MEM_RESET_UNDO |
			       WW_MEM_LARGE_PAGES;
	const ww_DWORD alone = WW_MEM_RESET | WW_MEM_RESET_UNDO;

	if (type & ~known || !valid_protect(protect))
		return WW_ERROR_INVALID_PARAMETER;
	if (type & alone)
		return type & (type - 1) ? WW_ERROR_INVALID_PARAMETER : 0;
	if (!(type & (WW_MEM_COMMIT | WW_MEM_RESERVE)))
		return WW_ERROR_INVALID_PARAMETER;
	if (type & WW_MEM_WRITE_WATCH &&
	    (!(type & WW_MEM_RESERVE) ||
	     type & (WW_MEM_PHYSICAL | WW_MEM_LARGE_PAGES)))
		return WW_ERROR_INVALID_PARAMETER;
	if (type & WW_MEM_PHYSICAL)
		return type & WW_MEM_COMMIT ? WW_ERROR_INVALID_PARAMETER
					    : WW_ERROR_NOT_SUPPORTED;
	return type & WW_MEM_LARGE_PAGES ? WW_ERROR_PRIVILEGE_NOT_HELD : 0;
}

/* The part of one allocation that [address, address + size) touches. */
static struct allocation *locate(const void *address, uintptr_t size,
				 uintptr_t *start, uintptr_t *end)
{
	struct allocation *a;

	if (!ww_win32_round(address, size, WW_WIN32_PAGE, start, end))
		return NULL;
	a = find(*start);
	return a && *end <= a->end ? a : NULL;
}

static ww_DWORD release(struct allocation *a)
{
	if (a->watched && ww_unwatch(ww_win32_tracker(), (void *)a->start,
				     a->end - a->start) < 0)
		return WW_ERROR_NOT_ENOUGH_MEMORY;
	ww_win32_forget(a->start, a->end);
	unreserve(a);
	erase(a);
	return 0;
}

static ww_DWORD alloc_locked(void *address, uintptr_t size, ww_DWORD type,
			     ww_DWORD protect, void **out)
{
	struct allocation fresh, *a;
	uintptr_t start, end;
	ww_DWORD e;

	if (type & WW_MEM_RESERVE || (type & WW_MEM_COMMIT && !address)) {
		e = make(address, size, type, protect, &fresh);
		if (e)
			return e;
		*out = (void *)fresh.start;
		if (type & WW_MEM_COMMIT)
			e = commit(&fresh, fresh.start, fresh.end, protect);
		if (e)
			release(find(fresh.start));
		return e;
	}
	a = locate(address, size, &start, &end);
	if (!a)
		return WW_ERROR_INVALID_ADDRESS;
	*out = (void *)start;
	if (type & WW_MEM_COMMIT)
		return commit(a, start, end, protect);
	/* The program gave the contents up; they stay until the kernel needs
	 * the memory, but are clean. */
	if (type & WW_MEM_RESET && a->watched)
		ww_win32_reset(ww_win32_tracker(), start, end);
	return 0;
}

ww_PVOID ww_VirtualAlloc(ww_PVOID address, ww_SIZE_T size, ww_DWORD type,
			 ww_DWORD protect)
{
	ww_DWORD e = check_type(type, protect);
	void *out = NULL;

	if (!e && !size)
		e = WW_ERROR_INVALID_PARAMETER;
	/* Opened before the lock is taken: it makes locks of its own, and fork()
	 * takes them all. */
	if (!e && type & WW_MEM_WRITE_WATCH && !ww_win32_tracker())
		e = WW_ERROR_NOT_SUPPORTED;
	if (!e) {
		lock_memory();
		e = alloc_locked(address, size, type, protect, &out);
		unlock_memory();
	}
	if (!e)
		return out;
	ww_SetLastError(e);
	return NULL;
}

/* --- VirtualFree --- */

/* Reserved again, without contents, clean. */
static ww_DWORD decommit(const struct allocation *a, uintptr_t start,
			 uintptr_t end)
{
	uintptr_t host = ww_sys_page_size();
	uintptr_t from = ww_win32_down(start + host - 1, host);
	uintptr_t to = ww_win32_down(end, host);
	int r;

	ww_win32_forget(start, end);
	memset(page_of(a, start), 0, (end - start) / WW_WIN32_PAGE);
	r = follow(a, start, end);
	if (r == 0 && from < to)
		r = a->watched ? ww_discard(ww_win32_tracker(), (void *)from,
					    to - from)
			       : ww_sys_madvise(from, to - from, MADV_DONTNEED);
	return r == 0 ? 0 : WW_ERROR_NOT_ENOUGH_MEMORY;
}

static ww_DWORD free_locked(void *address, uintptr_t size, ww_DWORD type)
{
	struct allocation *a = find((uintptr_t)address);
	uintptr_t start, end;

	if (!a)
		return WW_ERROR_INVALID_ADDRESS;
	if (!size &&
	    ww_win32_down((uintptr_t)address, WW_WIN32_PAGE) != a->start)
		return WW_ERROR_INVALID_ADDRESS; /* not at the base */
	if (type == WW_MEM_RELEASE)
		return release(a);
	if (!size)
		return decommit(a, a->start, a->end);
	if (!locate(address, size, &start, &end))
		return WW_ERROR_INVALID_PARAMETER; /* past the end */
	return decommit(a, start, end);
}

ww_BOOL ww_VirtualFree(ww_PVOID address, ww_SIZE_T size, ww_DWORD type)
{
	ww_DWORD e;

	if ((type != WW_MEM_DECOMMIT && type != WW_MEM_RELEASE) ||
	    (type == WW_MEM_RELEASE && size)) {
		e = WW_ERROR_INVALID_PARAMETER;
	} else {
		lock_memory();
		e = free_locked(address, size, type);
		unlock_memory();
	}
	if (e)
		ww_SetLastError(e);
	return !e;
}

/* --- VirtualProtect, VirtualQuery --- */

static ww_DWORD protect_locked(void *address, uintptr_t size, ww_DWORD protect,
			       ww_DWORD *old)
{
	uintptr_t start, end, at;
	struct allocation *a = locate(address, size, &start, &end);
	ww_DWORD first;

	if (!a)
		return WW_ERROR_INVALID_ADDRESS;
	for (at = start; at < end; at += WW_WIN32_PAGE)
		if (!*page_of(a, at))
			return WW_ERROR_INVALID_ADDRESS;
	first = decode(*page_of(a, start));
	if (commit(a, start, end, protect))
		return WW_ERROR_NOT_ENOUGH_MEMORY;
	*old = first;
	return 0;
}

ww_BOOL ww_VirtualProtect(ww_PVOID address, ww_SIZE_T size, ww_DWORD protect,
			  ww_DWORD *old)
{
	ww_DWORD e;

	if (!old) {
		e = WW_ERROR_NOACCESS;
	} else if (!size || !valid_protect(protect)) {
		e = WW_ERROR_INVALID_PARAMETER;
	} else {
		lock_memory();
		e = protect_locked(address, size, protect, old);
		unlock_memory();
	}
	if (e)
		ww_SetLastError(e);
	return !e;
}

static void query_ours(const struct allocation *a, uintptr_t at,
		       ww_MEMORY_BASIC_INFORMATION *m)
{
	uint8_t state = *page_of(a, at);
	uintptr_t end = at + WW_WIN32_PAGE;

	while (end < a->end && *page_of(a, end) == state)
		end += WW_WIN32_PAGE;
	m->AllocationBase = (void *)a->start;
	m->AllocationProtect = a->protect;
	m->RegionSize = end - at;
	m->State = state ? WW_MEM_COMMIT : WW_MEM_RESERVE;
	m->Protect = state ? decode(state) : 0;
	m->Type = WW_MEM_PRIVATE;
}

static ww_DWORD protect_of(int prot)
{
	if (prot & PROT_EXEC)
		return prot & PROT_WRITE ? WW_PAGE_EXECUTE_READWRITE
					 : WW_PAGE_EXECUTE_READ;
	if (prot & PROT_WRITE)
		return WW_PAGE_READWRITE;
	return prot & PROT_READ ? WW_PAGE_READONLY : WW_PAGE_NOACCESS;
}

/* Memory of others, as the host tells it; or free up to the next mapping. */
static void query_others(uintptr_t at, ww_MEMORY_BASIC_INFORMATION *m)
{
	struct ww_maps maps = { .fd = WW_FD_NONE };
	struct ww_maps_walk walk;
	struct ww_map map;
	int r = ww_maps_open(&maps, NULL);

	m->State = WW_MEM_FREE;
	m->Protect = WW_PAGE_NOACCESS;
	m->RegionSize = ww_win32_down(UINTPTR_MAX - at, WW_WIN32_PAGE);
	if (r < 0)
		return;
	if (ww_maps_begin(&walk, &maps, at) == 0 &&
	    ww_maps_next(&walk, &map) == 1) {
		if (map.start > at) {
			m->RegionSize = map.start - at;
		} else {
			m->AllocationBase = (void *)map.start;
			m->AllocationProtect = protect_of(map.prot);
			m->RegionSize = map.end - at;
			m->State = WW_MEM_COMMIT;
			m->Protect = protect_of(map.prot);
			m->Type = map.kind == WW_KIND_ANON ? WW_MEM_PRIVATE
							   : WW_MEM_MAPPED;
		}
	}
	ww_maps_end(&walk);
	ww_maps_close(&maps);
}

ww_SIZE_T ww_VirtualQuery(const void *address,
			  ww_MEMORY_BASIC_INFORMATION *information,
			  ww_SIZE_T length)
{
	uintptr_t at = ww_win32_down((uintptr_t)address, WW_WIN32_PAGE);
	ww_MEMORY_BASIC_INFORMATION m = { .BaseAddress = (void *)at };
	const struct allocation *a;

	if (!information || length < sizeof(m)) {
		ww_SetLastError(information ? WW_ERROR_BAD_LENGTH
					    : WW_ERROR_NOACCESS);
		return 0;
	}
	lock_memory();
	a = find(at);
	if (a)
		query_ours(a, at, &m);
	else
		query_others(at, &m);
	unlock_memory();
	*information = m;
	return sizeof(m);
}
