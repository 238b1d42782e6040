/* SPDX-License-Identifier: MIT */
/*
 * win32.c - GetWriteWatch and ResetWriteWatch as on Windows.
 *
 * Called by programs; calls the native calls of api.c through subpage.c.
 * Invariant: on failure no output has changed and no page is reset, and only
 * bad-parameter (87), bad-pointer (998) and no-memory (8) failures exist.
 *
 * Globals: the tracker behind the calls, because on Windows there is none to
 * pass; the last error, one for each thread.
 */
#include "win32/win32.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fork.h"
#include "kernel/maps.h"
#include "kernel/process.h"
#include "kernel/sys.h"

static _Thread_local ww_DWORD last_error;

WW_DATA static struct {
	struct ww_lock once;
	atomic_bool tried;
	_Atomic(struct ww *) given; /* by the host, before the first use */
	struct ww *ww;
} face;

ww_DWORD ww_GetLastError(void)
{
	return last_error;
}

void ww_SetLastError(ww_DWORD error)
{
	last_error = error;
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
	if (atomic_load(&face.tried))
		return face.ww;
	if (ww_fork_init() < 0)
		return NULL;
	ww_lock_take(&face.once);
	if (!atomic_load(&face.tried)) {
		face.ww = atomic_load(&face.given);
		if (!face.ww && ww_open(&face.ww, NULL) < 0)
			face.ww = NULL;
		atomic_store(&face.tried, true);
	}
	ww_lock_drop(&face.once);
	return face.ww;
}

/* Is [start, end) inside one watched range, as one ww_watch() made it? */
static bool is_watched(uintptr_t start, uintptr_t end)
{
	struct ww_range_info info = { .size = sizeof(info) };
	uintptr_t from;

	if (!ww_win32_tracker() ||
	    ww_next_range(face.ww, (void *)start, &info) < 0)
		return false;
	from = (uintptr_t)info.range.start;
	return from <= start && end <= from + info.range.len;
}

/* A page that the library closed counts as writable: hold it for the test. */
static bool is_writable(uintptr_t at)
{
	bool is = ww_sys_is_writable(at);

	if (!is && face.ww && ww_hold(face.ww, (void *)at, 1, 0) == 0) {
		is = ww_sys_is_writable(at);
		ww_release(face.ww, (void *)at, 1, 0);
	}
	return is;
}

/* What of an array is still to be probed. */
struct probe {
	uintptr_t at, end;
};

/* Probe page by page, a system call each, up to an address. */
static bool probe_pages(struct probe *p, uintptr_t end)
{
	const uintptr_t page = ww_sys_page_size();

	end = end < p->end ? end : p->end;
	for (; p->at < end; p->at = ww_win32_down(p->at, page) + page)
		if (!is_writable(p->at))
			return false;
	return true;
}

/* Private memory that can be written to needs no probe, whatever its length. */
static int probe_map(void *probe, const struct ww_map *map)
{
	struct probe *p = probe;

	if (map->start > p->at)
		return 1; /* a hole */
	if (map->kind == WW_KIND_ANON && map->prot & PROT_WRITE)
		p->at = map->end;
	return probe_pages(p, map->end) ? 0 : 1;
}

static void probe_maps(struct probe *p)
{
	const struct ww_process us = { .pid = 0 };
	struct ww_maps maps = { .text = true };

	if (ww_maps_open(&maps, &us) < 0)
		return;
	if (!maps.text) /* which is as long as the process has mappings */
		ww_maps_each(&maps, p->at, p->end, probe_map, p);
	ww_maps_close(&maps);
}

#define FEW_PAGES 16

/* The kernel of Windows probes the array before anything is reset. */
static bool probe_for_write(ww_PVOID *addresses, ww_ULONG_PTR count)
{
	uintptr_t at = (uintptr_t)addresses;
	struct probe p = { at, at + count * sizeof(*addresses) };

	if (p.end <= at || at % sizeof(*addresses))
		return false;
	if ((p.end - at) / ww_sys_page_size() > FEW_PAGES)
		probe_maps(&p);
	return probe_pages(&p, p.end);
}

int ww_win32_descriptor(ww_HANDLE handle)
{
	intptr_t h = (intptr_t)handle;

	if (h <= 0 || h % 4 || h / 4 - 1 > INT_MAX)
		return -1;
	return (int)(h / 4 - 1);
}

ww_NTSTATUS ww_win32_check_process(ww_HANDLE process)
{
	const int fd = ww_win32_descriptor(process);
	struct ww_process p;
	ww_NTSTATUS status;

	if (process == WW_CURRENT_PROCESS)
		return WW_STATUS_SUCCESS;
	if (fd < 0 || ww_process_init(&p, fd) < 0)
		return WW_STATUS_INVALID_HANDLE;
	status = p.pid == (int)ww_GetCurrentProcessId()
			 ? WW_STATUS_SUCCESS
			 : WW_STATUS_NOT_SUPPORTED;
	ww_process_finish(&p);
	return status;
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

/* Not asked of the caller's own stack, where most of them lie. */
bool ww_win32_can_store(const void *at, size_t bytes)
{
	const uintptr_t page = ww_sys_page_size(), here = (uintptr_t)&page;
	uintptr_t first = (uintptr_t)at, last = first + bytes - 1;

	if (ww_win32_down(first, page) == ww_win32_down(here, page) &&
	    ww_win32_down(last, page) == ww_win32_down(here, page))
		return true;
	return last >= first && is_writable(first) &&
	       (ww_win32_down(first, page) == ww_win32_down(last, page) ||
		is_writable(last));
}

static uint64_t load(const void *number, size_t bytes)
{
	uint64_t wide;
	uint32_t narrow;

	if (bytes == sizeof(narrow)) {
		memcpy(&narrow, number, sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, number, sizeof(wide));
	return wide;
}

static void store(void *number, size_t bytes, uint64_t value)
{
	uint32_t narrow = (uint32_t)value;

	if (bytes == sizeof(narrow))
		memcpy(number, &narrow, sizeof(narrow));
	else
		memcpy(number, &value, sizeof(value));
}

/* The checks are in Windows' order, where known (doc/windows.md, 3.3). */
ww_NTSTATUS ww_NtGetWriteWatchSized(ww_HANDLE process, ww_ULONG flags,
				    ww_PVOID base, ww_SIZE_T size,
				    ww_PVOID *addresses, void *count,
				    size_t count_bytes, void *granularity,
				    size_t granularity_bytes)
{
	uintptr_t start, end;
	ww_NTSTATUS status;
	uint64_t room;
	size_t n;
	int r;

	if (!count || !granularity || !ww_win32_can_store(count, count_bytes))
		return WW_STATUS_ACCESS_VIOLATION;
	room = load(count, count_bytes);
	if (!room || !size || room > UINTPTR_MAX / sizeof(*addresses))
		return WW_STATUS_INVALID_PARAMETER;
	if (flags & ~WW_WRITE_WATCH_FLAG_RESET)
		return WW_STATUS_INVALID_PARAMETER;
	if (!addresses)
		return WW_STATUS_ACCESS_VIOLATION;
	status = ww_win32_check_process(process);
	if (status != WW_STATUS_SUCCESS)
		return status;
	if (!ww_win32_round(base, size, WW_WIN32_PAGE, &start, &end) ||
	    !is_watched(start, end))
		return WW_STATUS_INVALID_PARAMETER;
	n = (end - start) / WW_WIN32_PAGE;
	n = n < room ? n : (size_t)room;
	/* Late, because that makes the memory dirty if it is watched. */
	if (!ww_win32_can_store(granularity, granularity_bytes) ||
	    !probe_for_write(addresses, n))
		return WW_STATUS_ACCESS_VIOLATION;
	n = (size_t)room;
	r = ww_win32_get(face.ww, start, end, flags, addresses, &n);
	if (r < 0)
		return status_of(r);
	if (flags)
		ww_win32_unlatch(addresses, n);
	store(count, count_bytes, n);
	store(granularity, granularity_bytes, WW_WIN32_PAGE);
	return WW_STATUS_SUCCESS;
}

ww_NTSTATUS ww_NtGetWriteWatch(ww_HANDLE process, ww_ULONG flags, ww_PVOID base,
			       ww_SIZE_T size, ww_PVOID *addresses,
			       ww_ULONG_PTR *count, ww_ULONG *granularity)
{
	return ww_NtGetWriteWatchSized(process, flags, base, size, addresses,
				       count, sizeof(*count), granularity,
				       sizeof(*granularity));
}

ww_NTSTATUS ww_NtResetWriteWatch(ww_HANDLE process, ww_PVOID base,
				 ww_SIZE_T size)
{
	uintptr_t start, end;
	ww_NTSTATUS status = ww_win32_check_process(process);
	int r;

	if (status != WW_STATUS_SUCCESS)
		return status;
	if (!size || !ww_win32_round(base, size, WW_WIN32_PAGE, &start, &end) ||
	    !is_watched(start, end))
		return WW_STATUS_INVALID_PARAMETER;
	r = ww_win32_reset(face.ww, start, end);
	if (r == 0)
		ww_win32_unlatch_range(start, end);
	return status_of(r);
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

ww_UINT ww_GetWriteWatchSized(ww_DWORD flags, ww_PVOID base, ww_SIZE_T size,
			      ww_PVOID *addresses, void *count,
			      size_t count_bytes, void *granularity,
			      size_t granularity_bytes)
{
	return fail_with(ww_NtGetWriteWatchSized(
		WW_CURRENT_PROCESS, flags, base, size, addresses, count,
		count_bytes, granularity, granularity_bytes));
}

ww_UINT ww_GetWriteWatch(ww_DWORD flags, ww_PVOID base, ww_SIZE_T size,
			 ww_PVOID *addresses, ww_ULONG_PTR *count,
			 ww_DWORD *granularity)
{
	return ww_GetWriteWatchSized(flags, base, size, addresses, count,
				     sizeof(*count), granularity,
				     sizeof(*granularity));
}

ww_UINT ww_ResetWriteWatch(ww_PVOID base, ww_SIZE_T size)
{
	return fail_with(ww_NtResetWriteWatch(WW_CURRENT_PROCESS, base, size));
}
