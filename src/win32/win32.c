/* SPDX-License-Identifier: MIT */
/*
 * win32.c - GetWriteWatch and ResetWriteWatch as on Windows.
 *
 * Called by programs; calls the native calls of api.c, and win32-subpage.c for
 * hosts with pages over 4 KiB. Invariant: on failure no output has changed, and
 * only bad-parameter (87) and bad-pointer (998) failures exist.
 *
 * Globals: the tracker behind the calls, as on Windows there is none to pass;
 * the last error, one for each thread.
 */
#include "win32/win32.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static _Thread_local ww_DWORD last_error;

static struct {
	pthread_once_t once;
	_Atomic(struct ww *) given; /* by the host, before the first use */
	struct ww *ww;
} face = { .once = PTHREAD_ONCE_INIT };

ww_DWORD ww_GetLastError(void)
{
	return last_error;
}

void ww_SetLastError(ww_DWORD error)
{
	last_error = error;
}

static void open_tracker(void)
{
	face.ww = atomic_load(&face.given);
	if (!face.ww && ww_open(&face.ww, NULL) < 0)
		face.ww = NULL;
}

int ww_win32_use(struct ww *ww)
{
	struct ww *none = NULL;

	if (!ww)
		return -EINVAL;
	atomic_compare_exchange_strong(&face.given, &none, ww);
	return ww_win32_tracker() == ww ? 0 : -EEXIST;
}

struct ww *ww_win32_tracker(void)
{
	pthread_once(&face.once, open_tracker);
	return face.ww;
}

/* Is [start, end) inside one watched range, as one ww_watch() made it? */
static bool is_watched(uintptr_t start, uintptr_t end)
{
	struct ww_range range;

	return ww_win32_tracker() &&
	       ww_range_info(face.ww, (void *)start, &range, NULL, NULL) == 0 &&
	       end <= (uintptr_t)range.start + range.len;
}

static ww_NTSTATUS status_of(int r)
{
	switch (r) {
	case 0:
		return WW_STATUS_SUCCESS;
	case -ENOMEM:
		return WW_STATUS_NO_MEMORY;
	case -EPERM:
		return WW_STATUS_ACCESS_DENIED;
	default:
		return WW_STATUS_INVALID_PARAMETER;
	}
}

/* The order is pinned by Windows where it is known (doc/windows.md, 3.3). */
ww_NTSTATUS ww_NtGetWriteWatch(ww_HANDLE process, ww_ULONG flags, ww_PVOID base,
			       ww_SIZE_T size, ww_PVOID *addresses,
			       ww_ULONG_PTR *count, ww_ULONG *granularity)
{
	uintptr_t start, end;
	size_t n;
	int r;

	if (!count || !granularity)
		return WW_STATUS_ACCESS_VIOLATION;
	if (!*count || !size || *count > UINTPTR_MAX / sizeof(*addresses))
		return WW_STATUS_INVALID_PARAMETER;
	if (flags & ~WW_WRITE_WATCH_FLAG_RESET)
		return WW_STATUS_INVALID_PARAMETER;
	if (!addresses)
		return WW_STATUS_ACCESS_VIOLATION;
	if (process != WW_CURRENT_PROCESS)
		return WW_STATUS_INVALID_HANDLE;
	if (!ww_win32_round(base, size, WW_WIN32_PAGE, &start, &end) ||
	    !is_watched(start, end))
		return WW_STATUS_INVALID_PARAMETER;
	n = *count;
	r = ww_win32_get(face.ww, start, end, flags, addresses, &n);
	if (r < 0)
		return status_of(r);
	*count = n;
	*granularity = (ww_ULONG)WW_WIN32_PAGE;
	return WW_STATUS_SUCCESS;
}

ww_NTSTATUS ww_NtResetWriteWatch(ww_HANDLE process, ww_PVOID base,
				 ww_SIZE_T size)
{
	uintptr_t start, end;

	if (process != WW_CURRENT_PROCESS)
		return WW_STATUS_INVALID_HANDLE;
	if (!size || !ww_win32_round(base, size, WW_WIN32_PAGE, &start, &end) ||
	    !is_watched(start, end))
		return WW_STATUS_INVALID_PARAMETER;
	return status_of(ww_win32_reset(face.ww, start, end));
}

static ww_UINT fail_with(ww_NTSTATUS status)
{
	switch (status) {
	case WW_STATUS_SUCCESS:
		return 0; /* and the last error stays */
	case WW_STATUS_ACCESS_VIOLATION:
		last_error = WW_ERROR_NOACCESS;
		break;
	case WW_STATUS_NO_MEMORY:
		last_error = WW_ERROR_NOT_ENOUGH_MEMORY;
		break;
	default:
		last_error = WW_ERROR_INVALID_PARAMETER;
	}
	return ~0u;
}

ww_UINT ww_GetWriteWatch(ww_DWORD flags, ww_PVOID base, ww_SIZE_T size,
			 ww_PVOID *addresses, ww_ULONG_PTR *count,
			 ww_DWORD *granularity)
{
	return fail_with(ww_NtGetWriteWatch(WW_CURRENT_PROCESS, flags, base,
					    size, addresses, count,
					    granularity));
}

ww_UINT ww_ResetWriteWatch(ww_PVOID base, ww_SIZE_T size)
{
	return fail_with(ww_NtResetWriteWatch(WW_CURRENT_PROCESS, base, size));
}
