/* SPDX-License-Identifier: MIT */
/*
 * query.c - VirtualQuery, GetSystemInfo, and small calls that Windows programs
 * make beside the write watch.
 *
 * Called by programs; calls regions.c and maps.c.
 */
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fork.h"
#include "kernel/arch.h"
#include "kernel/maps.h"
#include "win32/regions.h"

/* The first address that no program has: a power of two above what the kernel put
 * on the first stack, at the top of the address space. (The calling thread's stack
 * may lie anywhere.) */
static uintptr_t highest(void)
{
	uintptr_t there = getauxval(AT_RANDOM), top = (uintptr_t)1 << 31;

	there = there ? there : (uintptr_t)&there;
	while (top && top <= there)
		top <<= 1;
	/* on 32 bits the last 64 KiB are nobody's */
	return top ? top : UINTPTR_MAX - (WW_WIN32_GRAIN - 1);
}

static void query_ours(const struct ww_region *a, uintptr_t at,
		       ww_MEMORY_BASIC_INFORMATION *m)
{
	uintptr_t end;
	uint8_t state = ww_win32_state(a, at, &end);

	m->AllocationBase = (void *)a->start;
	m->AllocationProtect = a->protect;
	m->RegionSize = end - at;
	m->State = state ? WW_MEM_COMMIT : WW_MEM_RESERVE;
	m->Protect = state ? ww_win32_protect_of(state) : 0;
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

/* Memory that VirtualAlloc() did not make: a mapping, or free up to one. */
static void query_others(uintptr_t at, uintptr_t top,
			 ww_MEMORY_BASIC_INFORMATION *m)
{
	const struct ww_process us = { .pid = 0 };
	struct ww_maps maps = { .text = true };
	struct ww_maps_walk walk;
	struct ww_map map;
	int r = ww_maps_open(&maps, &us);

	m->State = WW_MEM_FREE;
	m->Protect = WW_PAGE_NOACCESS;
	m->RegionSize = top - at;
	if (r < 0)
		return;
	if (ww_maps_begin(&walk, &maps, at) == 0 &&
	    ww_maps_next(&walk, &map) == 1 && map.start < top) {
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

static void query(uintptr_t at, uintptr_t top, ww_MEMORY_BASIC_INFORMATION *m)
{
	const struct ww_region *next;

	ww_win32_lock();
	next = ww_win32_region_next(at);
	if (next && next->start <= at)
		query_ours(next, at, m);
	else
		query_others(at, top, m);
	/* A mapping of the host's may go on into our next region: end there. */
	if (next && next->start > at && m->RegionSize > next->start - at)
		m->RegionSize = next->start - at;
	ww_win32_unlock();
}

ww_SIZE_T ww_VirtualQuery(const void *address,
			  ww_MEMORY_BASIC_INFORMATION *information,
			  ww_SIZE_T length)
{
	uintptr_t at = ww_win32_down((uintptr_t)address, WW_WIN32_PAGE);
	ww_MEMORY_BASIC_INFORMATION m = { .BaseAddress = (void *)at };
	uintptr_t top = highest();

	if (!information || length < sizeof(m)) {
		ww_SetLastError(information ? WW_ERROR_BAD_LENGTH
					    : WW_ERROR_NOACCESS);
		return 0;
	}
	if (!ww_win32_can_store(information, sizeof(m))) {
		ww_SetLastError(WW_ERROR_NOACCESS);
		return 0;
	}
	if (at >= top) {
		ww_SetLastError(WW_ERROR_INVALID_PARAMETER);
		return 0;
	}
	query(at, top, &m);
	*information = m;
	return sizeof(m);
}

void ww_GetSystemInfo(ww_SYSTEM_INFO *info)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	*info = (ww_SYSTEM_INFO){
		.dwPageSize = (ww_DWORD)WW_WIN32_PAGE,
		.lpMinimumApplicationAddress = (void *)WW_WIN32_GRAIN,
		.lpMaximumApplicationAddress =
			(void *)(highest() - WW_WIN32_GRAIN - 1),
		.dwActiveProcessorMask =
			processors < 8 * (long)sizeof(ww_ULONG_PTR)
				? ((ww_ULONG_PTR)1 << processors) - 1
				: ~(ww_ULONG_PTR)0,
		.dwNumberOfProcessors = (ww_DWORD)processors,
		.dwProcessorType = 8664,
		.dwAllocationGranularity = (ww_DWORD)WW_WIN32_GRAIN,
	};
}

ww_BOOL ww_FlushInstructionCache(ww_HANDLE process, const void *address,
				 ww_SIZE_T size)
{
	if (ww_win32_check_process(process) != WW_STATUS_SUCCESS) {
		ww_SetLastError(WW_ERROR_INVALID_HANDLE);
		return 0;
	}
	if (address)
		__builtin___clear_cache((char *)(uintptr_t)address,
					(char *)(uintptr_t)address + size);
	return 1;
}

/* --- handles: a pidfd --- */

ww_DWORD ww_GetCurrentProcessId(void)
{
	return (ww_DWORD)getpid();
}

ww_HANDLE ww_OpenProcess(ww_DWORD access, ww_BOOL inherit, ww_DWORD id)
{
	long fd = ww_arch_call(SYS_pidfd_open, (long)id, 0, 0, 0, 0, 0);

	if (fd >= 0) {
		/* so that CloseHandle() knows it from the host's */
		ww_sys_set_tag((int)fd, WW_TAG_HANDLE);
		return (ww_HANDLE)(intptr_t)((fd + 1) * 4);
	}
	ww_SetLastError(WW_ERROR_INVALID_PARAMETER);
	return NULL;
}

ww_BOOL ww_CloseHandle(ww_HANDLE handle)
{
	const int fd = ww_win32_descriptor(handle);

	if (handle == WW_CURRENT_PROCESS ||
	    (fd >= 0 && ww_sys_tag(fd) == WW_TAG_HANDLE &&
	     ww_sys_close(fd) == 0))
		return 1;
	ww_SetLastError(WW_ERROR_INVALID_HANDLE);
	return 0;
}
