/* SPDX-License-Identifier: MIT */
/*
 * memory.c - VirtualAlloc, VirtualFree and VirtualProtect over mmap.
 *
 * Called by programs; calls regions.c for what is allocated, the public calls
 * for watched memory, and sys.c. Invariant: the state of a run says what its
 * pages are, and the host's protection follows; a write-watch reservation is
 * watched from its making to its release.
 */
#include <errno.h>
#include <sys/mman.h>

#include "kernel/sys.h"
#include "win32/memory.h"

/* --- protection --- */

static bool valid_protect(ww_DWORD protect)
{
	ww_DWORD base = protect & ~WW_WIN32_MODIFIERS;

	if (!base || base & (base - 1) || base > WW_PAGE_EXECUTE_WRITECOPY)
		return false;
	if (base == WW_PAGE_WRITECOPY || base == WW_PAGE_EXECUTE_WRITECOPY)
		return false; /* for mapped files only */
	if (base == WW_PAGE_NOACCESS && protect & WW_WIN32_MODIFIERS)
		return false;
	/* the modifiers exclude each other */
	return !((protect & WW_WIN32_MODIFIERS) &
		 ((protect & WW_WIN32_MODIFIERS) - 1));
}

static int host_prot(uint8_t state)
{
	if (!state || ww_win32_protect_of(state) & WW_PAGE_GUARD)
		return PROT_NONE;
	switch (ww_win32_protect_of(state) & ~WW_WIN32_MODIFIERS) {
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

static int protect_host(const struct ww_region *a, uintptr_t start,
			uintptr_t end, int prot)
{
	if (a->watched)
		return ww_protect(ww_win32_tracker(), (void *)start,
				  end - start, prot, 0);
	return ww_sys_mprotect(start, end - start, prot);
}

/* A region whose pages [start, end) are about to get a state, or, if that is empty,
 * as it is. */
struct change {
	const struct ww_region *a;
	uintptr_t start, end;
	uint8_t state;
};

static uint8_t state_after(const struct change *c, uintptr_t at, uintptr_t *end)
{
	uint8_t state;

	if (at >= c->start && at < c->end) {
		*end = c->end;
		return c->state;
	}
	state = ww_win32_state(c->a, at, end);
	if (*end > c->start && at < c->start)
		*end = c->start;
	return state;
}

/* The protection of a host page, which may be larger than 4 KiB: what any of
 * its parts needs. *end: the end of the host pages in the same run. */
static int host_page_prot(const struct change *c, uintptr_t at, uintptr_t host,
			  uintptr_t *end)
{
	uintptr_t stop = at + host < c->a->end ? at + host : c->a->end;
	uintptr_t run_end;
	int prot = 0;

	*end = at + host;
	while (at < stop) {
		prot |= host_prot(state_after(c, at, &run_end));
		if (run_end >= stop && at + host == *end)
			*end = ww_win32_down(run_end, host); /* one state */
		at = run_end;
	}
	return prot;
}

/* Let the host's pages of [start, end) follow their states. What only puts them back goes
 * on behind a failure. */
static int follow(const struct change *c, uintptr_t start, uintptr_t end)
{
	uintptr_t host = ww_sys_page_size();
	uintptr_t at = ww_win32_down(start, host), run = at, next;
	const bool goes_on = c->start == c->end;
	int r = 0, prot = -1;

	end = ww_win32_down(end + host - 1, host);
	for (; at < end && (r == 0 || goes_on); at = next) {
		int p = host_page_prot(c, at, host, &next);

		next = next > at ? next : at + host;
		next = next < end ? next : end;
		if (p == prot)
			continue;
		if (prot >= 0)
			r = protect_host(c->a, run, at, prot);
		run = at;
		prot = p;
	}
	return (r < 0 && !goes_on) || prot < 0
		       ? r
		       : protect_host(c->a, run, end, prot);
}

/* The call fails: the pages are protected as their states say again. */
static void change_back(struct ww_region *a, uintptr_t start, uintptr_t end)
{
	follow(&(struct change){ .a = a }, start, end);
	ww_win32_uncut(a, start, end);
}

/* --- VirtualAlloc --- */

/* Address space, 64 KiB aligned. */
static ww_DWORD reserve(uintptr_t at, uintptr_t len, struct ww_region *a)
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

static ww_DWORD make(void *address, uintptr_t size, ww_DWORD type,
		     ww_DWORD protect, struct ww_region **out)
{
	uintptr_t host = ww_sys_page_size(), start, end;
	uintptr_t unit = host > WW_WIN32_PAGE ? host : WW_WIN32_PAGE;
	struct ww *ww = type & WW_MEM_WRITE_WATCH ? ww_win32_tracker() : NULL;
	struct ww_region fresh = { .protect = protect, .watched = ww };
	ww_DWORD e;

	if (!ww_win32_round(address, size, unit, &start, &end))
		return WW_ERROR_INVALID_PARAMETER;
	start = ww_win32_down(start, WW_WIN32_GRAIN);
	e = reserve(start, end - start, &fresh);
	if (e)
		return e;
	e = WW_ERROR_NOT_ENOUGH_MEMORY;
	if (ww &&
	    ww_watch(ww, (void *)fresh.start, fresh.end - fresh.start, 0) < 0)
		goto err_unreserve;
	*out = ww_win32_region_add(&fresh);
	if (*out)
		return 0;
	if (ww)
		ww_unwatch(ww, (void *)fresh.start, fresh.end - fresh.start,
			   WW_UNMAPPING);
err_unreserve:
	ww_sys_munmap((void *)fresh.start, fresh.end - fresh.start);
	return e;
}

ww_DWORD ww_win32_commit(struct ww_region *a, uintptr_t start, uintptr_t end,
			 ww_DWORD protect)
{
	const struct change c = { a, start, end, ww_win32_state_of(protect) };

	if (!ww_win32_cut(a, start, end))
		return WW_ERROR_NOT_ENOUGH_MEMORY;
	if (follow(&c, start, end) < 0) {
		change_back(a, start, end);
		return WW_ERROR_COMMITMENT_LIMIT;
	}
	ww_win32_set_state(a, start, end, c.state);
	return 0;
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

static ww_DWORD release(struct ww_region *a)
{
	uintptr_t start = a->start, end = a->end;

	if (a->watched && ww_unwatch(ww_win32_tracker(), (void *)start,
				     end - start, WW_UNMAPPING) < 0)
		return WW_ERROR_NOT_ENOUGH_MEMORY;
	if (a->watched) {
		ww_win32_forget(ww_win32_tracker(), start, end);
		ww_win32_unlatch_range(start, end);
	}
	ww_win32_region_remove(a);
	ww_sys_munmap((void *)start, end - start);
	return 0;
}

static ww_DWORD alloc_locked(void *address, uintptr_t size, ww_DWORD type,
			     ww_DWORD protect, void **out)
{
	struct ww_region *a;
	uintptr_t start, end;
	ww_DWORD e;

	if (type & WW_MEM_RESERVE || (type & WW_MEM_COMMIT && !address)) {
		e = make(address, size, type, protect, &a);
		if (e)
			return e;
		*out = (void *)a->start;
		if (type & WW_MEM_COMMIT)
			e = ww_win32_commit(a, a->start, a->end, protect);
		if (e)
			release(a);
		return e;
	}
	a = ww_win32_region_holding(address, size, &start, &end);
	if (!a)
		return WW_ERROR_INVALID_ADDRESS;
	*out = (void *)start;
	if (type & WW_MEM_COMMIT)
		return ww_win32_commit(a, start, end, protect);
	/* The program gave the contents up: they stay here, but the pages are
	 * clean. */
	if (type & WW_MEM_RESET && a->watched) {
		ww_win32_reset(ww_win32_tracker(), start, end);
		ww_win32_unlatch_range(start, end);
	}
	return 0;
}

ww_PVOID ww_VirtualAlloc(ww_PVOID address, ww_SIZE_T size, ww_DWORD type,
			 ww_DWORD protect)
{
	ww_DWORD e = check_type(type, protect);
	void *out = NULL;

	/* Nothing lies below the lowest application address. */
	if (!e && (!size || (address && (uintptr_t)address < WW_WIN32_GRAIN)))
		e = WW_ERROR_INVALID_PARAMETER;
	/* The tracker is opened before the lock is taken: opening makes locks,
	 * and fork() takes them all. */
	if (!e && type & WW_MEM_WRITE_WATCH && !ww_win32_tracker())
		e = WW_ERROR_NOT_SUPPORTED;
	if (!e) {
		ww_win32_lock();
		e = alloc_locked(address, size, type, protect, &out);
		ww_win32_unlock();
	}
	if (!e)
		return out;
	ww_SetLastError(e);
	return NULL;
}

/* --- VirtualFree --- */

struct drop {
	const struct ww_region *a;
	uintptr_t start, end; /* whole host pages */
};

static int drop_contents(void *arg)
{
	const struct drop *d = arg;

	if (d->start >= d->end)
		return 0;
	if (d->a->watched)
		return ww_discard(ww_win32_tracker(), (void *)d->start,
				  d->end - d->start, 0);
	return ww_sys_madvise(d->start, d->end - d->start, MADV_DONTNEED);
}

/* Contents and locks go: what is latched stays reported. */
static int drop(const struct ww_region *a, uintptr_t start, uintptr_t end)
{
	uintptr_t host = ww_sys_page_size();
	struct drop d = { a, ww_win32_down(start + host - 1, host),
			  ww_win32_down(end, host) };

	/* by VirtualLock(), or by the host */
	if (d.start < d.end && ww_sys_has_locked(d.start, d.end - d.start))
		ww_sys_munlock(d.start, d.end - d.start);
	if (!a->watched)
		return drop_contents(&d);
	return ww_win32_keep_latched(ww_win32_tracker(), start, end,
				     drop_contents, &d);
}

/* Reserved again, without contents, clean. */
static ww_DWORD decommit(struct ww_region *a, uintptr_t start, uintptr_t end)
{
	const struct change c = { a, start, end, 0 };

	if (!ww_win32_cut(a, start, end))
		return WW_ERROR_NOT_ENOUGH_MEMORY;
	if (follow(&c, start, end) < 0 || drop(a, start, end) < 0) {
		change_back(a, start, end);
		return WW_ERROR_NOT_ENOUGH_MEMORY;
	}
	ww_win32_set_state(a, start, end, c.state);
	/* A host page partly in the range is not dropped: clean that part. */
	if (a->watched)
		ww_win32_forget(ww_win32_tracker(), start, end);
	return 0;
}

static ww_DWORD free_locked(void *address, uintptr_t size, ww_DWORD type)
{
	struct ww_region *a = ww_win32_region_at((uintptr_t)address);
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
	if (!ww_win32_region_holding(address, size, &start, &end))
		return WW_ERROR_INVALID_PARAMETER; /* past the end */
	return decommit(a, start, end);
}

ww_BOOL ww_win32_succeeded(ww_DWORD e)
{
	if (e)
		ww_SetLastError(e);
	return !e;
}

ww_BOOL ww_VirtualFree(ww_PVOID address, ww_SIZE_T size, ww_DWORD type)
{
	ww_DWORD e;

	if ((type != WW_MEM_DECOMMIT && type != WW_MEM_RELEASE) ||
	    (type == WW_MEM_RELEASE && size)) {
		e = WW_ERROR_INVALID_PARAMETER;
	} else {
		ww_win32_lock();
		e = free_locked(address, size, type);
		ww_win32_unlock();
	}
	return ww_win32_succeeded(e);
}

/* --- VirtualProtect --- */

struct ww_region *ww_win32_committed(void *address, uintptr_t size,
				     uintptr_t *start, uintptr_t *end)
{
	struct ww_region *a =
		ww_win32_region_holding(address, size, start, end);
	uintptr_t at;

	if (!a)
		return NULL;
	for (at = *start; at < *end;)
		if (!ww_win32_state(a, at, &at))
			return NULL;
	return a;
}

/* The protection before goes to *first. `old` is the caller's, and is only probed:
 * late, because that makes the memory dirty if it is watched. */
static ww_DWORD protect_locked(void *address, uintptr_t size, ww_DWORD protect,
			       const ww_DWORD *old, ww_DWORD *first)
{
	uintptr_t start, end, run_end;
	struct ww_region *a = ww_win32_committed(address, size, &start, &end);

	if (!a)
		return WW_ERROR_INVALID_ADDRESS;
	if (!ww_win32_can_store(old, sizeof(*old)))
		return WW_ERROR_NOACCESS;
	*first = ww_win32_protect_of(ww_win32_state(a, start, &run_end));
	if (ww_win32_commit(a, start, end, protect))
		return WW_ERROR_NOT_ENOUGH_MEMORY;
	if (a->watched)
		ww_win32_latch(ww_win32_tracker(), start, end);
	return 0;
}

ww_BOOL ww_VirtualProtect(ww_PVOID address, ww_SIZE_T size, ww_DWORD protect,
			  ww_DWORD *old)
{
	ww_DWORD e, first = 0;

	if (!old) {
		e = WW_ERROR_NOACCESS;
	} else if (!size || !valid_protect(protect)) {
		e = WW_ERROR_INVALID_PARAMETER;
	} else {
		ww_win32_lock();
		e = protect_locked(address, size, protect, old, &first);
		ww_win32_unlock();
	}
	/* unless it lies where the program can not write any more */
	if (!e && ww_win32_can_store(old, sizeof(*old)))
		*old = first;
	return ww_win32_succeeded(e);
}
