/* SPDX-License-Identifier: MIT */
/*
 * lock.c - VirtualLock and VirtualUnlock over mlock(2).
 *
 * Called by programs; calls memory.c, regions.c, the public calls and sys.c.
 * Invariant: a call that fails leaves no page locked that was not.
 */
#include "kernel/sys.h"
#include "win32/memory.h"

/* The first try on a guard page fails, and takes the guard away. */
static ww_DWORD take_guards(struct ww_region *a, uintptr_t start, uintptr_t end)
{
	ww_DWORD e = 0;
	uintptr_t at = start, run_end;

	for (; at < end; at = run_end) {
		ww_DWORD p =
			ww_win32_protect_of(ww_win32_state(a, at, &run_end));

		run_end = run_end < end ? run_end : end;
		if (!(p & WW_PAGE_GUARD))
			continue;
		ww_win32_commit(a, at, run_end, p & ~WW_PAGE_GUARD);
		e = WW_STATUS_GUARD_PAGE_VIOLATION;
	}
	return e;
}

static bool has_no_access(struct ww_region *a, uintptr_t start, uintptr_t end)
{
	uintptr_t at, run_end;

	for (at = start; at < end; at = run_end)
		if (ww_win32_protect_of(ww_win32_state(a, at, &run_end)) &
		    WW_PAGE_NOACCESS)
			return true;
	return false;
}

/* mlock(2) has the kernel fault the pages. MLOCK_ONFAULT after it leaves them
 * locked, but keeps the kernel from faulting them for writing whenever a
 * backend makes them writable again. */
static int lock_pages(uintptr_t start, size_t len)
{
	int r = ww_sys_mlock(start, len, false);

	if (r == 0)
		ww_sys_mlock(start, len, true);
	return r;
}

static ww_DWORD lock_locked(void *address, uintptr_t size, bool lock)
{
	uintptr_t start, end;
	struct ww_region *a = ww_win32_committed(address, size, &start, &end);
	bool watched;
	ww_DWORD e;
	int r;

	if (!a)
		return WW_ERROR_INVALID_ADDRESS;
	e = lock ? take_guards(a, start, end) : 0;
	if (e)
		return e;
	/* mlock(2) would lock what comes before the page that it can not have */
	if (lock && has_no_access(a, start, end))
		return WW_ERROR_WORKING_SET_QUOTA;
	/* mlock(2) faults the pages for writing: hold them meanwhile. Windows
	 * reports locked pages, and so does the end of the hold. */
	watched = lock && a->watched;
	if (watched &&
	    ww_hold(ww_win32_tracker(), (void *)start, end - start, 0) < 0)
		return WW_ERROR_WORKING_SET_QUOTA;
	r = lock ? lock_pages(start, end - start)
		 : ww_sys_munlock(start, end - start);
	if (watched)
		ww_release(ww_win32_tracker(), (void *)start, end - start, 0);
	if (r != 0) {
		/* a part may be locked now, unless it was before */
		if (lock && !a->locked)
			ww_sys_munlock(start, end - start);
		return WW_ERROR_WORKING_SET_QUOTA;
	}
	a->locked = a->locked || lock;
	return 0;
}

static ww_BOOL lock(void *address, uintptr_t size, bool lock)
{
	ww_DWORD e;

	ww_win32_lock();
	e = lock_locked(address, size, lock);
	ww_win32_unlock();
	return ww_win32_succeeded(e);
}

ww_BOOL ww_VirtualLock(ww_PVOID address, ww_SIZE_T size)
{
	return lock(address, size, true);
}

ww_BOOL ww_VirtualUnlock(ww_PVOID address, ww_SIZE_T size)
{
	return lock(address, size, false);
}
