/* SPDX-License-Identifier: MIT */
/*
 * writewatch-win32.h - VirtualAlloc(MEM_WRITE_WATCH), GetWriteWatch and
 * ResetWriteWatch, as on Windows, on Linux.
 *
 * Everything here has Windows' name under the prefix ww_ (constants: WW_).
 * Define WRITEWATCH_WIN32_NAMES before the include to have the plain names as
 * well, so that source written for Windows compiles unchanged.
 *
 *   Types     have Windows' sizes: DWORD, ULONG and UINT 32 bits, SIZE_T,
 *             ULONG_PTR and pointers those of the machine.
 *   Errors    UINT calls return 0 or 0xFFFFFFFF, BOOL calls TRUE or FALSE,
 *             pointer calls NULL; ww_GetLastError() has the code, one for each
 *             thread, and success leaves it alone. Nt calls return the status.
 *   Pages     Entries are 4096 bytes, on hosts with larger pages too.
 *   Memory    that a compatibility layer manages itself: ww_watch() it with
 *             ww_win32_tracker(); the two Nt calls then work on it. They
 *             allocate nothing and call nobody back; a lock is taken only while
 *             pages are latched (ww_VirtualProtect()).
 *   Threads   Every function may be called from any thread. Not from signal
 *             handlers.
 *
 * Writes by system calls are seen where the tracker has WW_CAP_KERNEL_WRITES:
 * the pages that received bytes are reported. Windows reports the whole buffer:
 * put the call between ww_hold() and ww_release().
 */
#ifndef WRITEWATCH_WIN32_H
#define WRITEWATCH_WIN32_H

#include <stddef.h>
#include <stdint.h>

#include "writewatch.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

typedef int32_t ww_BOOL;
typedef uint16_t ww_WORD;
typedef uint32_t ww_DWORD;
typedef uint32_t ww_UINT;
typedef uint32_t ww_ULONG;
typedef int32_t ww_LONG;
typedef int32_t ww_NTSTATUS;
typedef uintptr_t ww_ULONG_PTR;
typedef uintptr_t ww_SIZE_T;
typedef void *ww_PVOID;
typedef void *ww_HANDLE;

typedef struct ww_SYSTEM_INFO {
	ww_DWORD dwOemId;
	ww_DWORD dwPageSize;
	ww_PVOID lpMinimumApplicationAddress;
	ww_PVOID lpMaximumApplicationAddress;
	ww_ULONG_PTR dwActiveProcessorMask;
	ww_DWORD dwNumberOfProcessors;
	ww_DWORD dwProcessorType;
	ww_DWORD dwAllocationGranularity;
	ww_WORD wProcessorLevel;
	ww_WORD wProcessorRevision;
} ww_SYSTEM_INFO;

typedef struct ww_MEMORY_BASIC_INFORMATION {
	ww_PVOID BaseAddress;
	ww_PVOID AllocationBase;
	ww_DWORD AllocationProtect;
#if UINTPTR_MAX > 0xFFFFFFFFu
	ww_WORD PartitionId;
#endif
	ww_SIZE_T RegionSize;
	ww_DWORD State;
	ww_DWORD Protect;
	ww_DWORD Type;
} ww_MEMORY_BASIC_INFORMATION;

#define WW_MEM_COMMIT 0x00001000u
#define WW_MEM_RESERVE 0x00002000u
#define WW_MEM_DECOMMIT 0x00004000u
#define WW_MEM_RELEASE 0x00008000u
#define WW_MEM_FREE 0x00010000u
#define WW_MEM_PRIVATE 0x00020000u
#define WW_MEM_MAPPED 0x00040000u
#define WW_MEM_RESET 0x00080000u
#define WW_MEM_TOP_DOWN 0x00100000u
#define WW_MEM_WRITE_WATCH 0x00200000u
#define WW_MEM_PHYSICAL 0x00400000u
#define WW_MEM_RESET_UNDO 0x01000000u
#define WW_MEM_LARGE_PAGES 0x20000000u

#define WW_PAGE_NOACCESS 0x01u
#define WW_PAGE_READONLY 0x02u
#define WW_PAGE_READWRITE 0x04u
#define WW_PAGE_WRITECOPY 0x08u
#define WW_PAGE_EXECUTE 0x10u
#define WW_PAGE_EXECUTE_READ 0x20u
#define WW_PAGE_EXECUTE_READWRITE 0x40u
#define WW_PAGE_EXECUTE_WRITECOPY 0x80u
#define WW_PAGE_GUARD 0x100u
#define WW_PAGE_NOCACHE 0x200u
#define WW_PAGE_WRITECOMBINE 0x400u

#define WW_WRITE_WATCH_FLAG_RESET 0x01u

#define WW_ERROR_INVALID_HANDLE 6u
#define WW_ERROR_NOT_ENOUGH_MEMORY 8u
#define WW_ERROR_BAD_LENGTH 24u
#define WW_ERROR_NOT_SUPPORTED 50u
#define WW_ERROR_INVALID_PARAMETER 87u
#define WW_ERROR_INVALID_ADDRESS 487u
#define WW_ERROR_NOACCESS 998u
#define WW_ERROR_PRIVILEGE_NOT_HELD 1314u
#define WW_ERROR_WORKING_SET_QUOTA 1453u
#define WW_ERROR_COMMITMENT_LIMIT 1455u

#ifdef __cplusplus
#define WW_STATUS(code) static_cast<ww_NTSTATUS>(code)
#else
#define WW_STATUS(code) ((ww_NTSTATUS)(code))
#endif
#define WW_STATUS_SUCCESS 0
#define WW_STATUS_ACCESS_VIOLATION WW_STATUS(0xC0000005u)
#define WW_STATUS_INVALID_HANDLE WW_STATUS(0xC0000008u)
#define WW_STATUS_INVALID_PARAMETER WW_STATUS(0xC000000Du)
#define WW_STATUS_NO_MEMORY WW_STATUS(0xC0000017u)
#define WW_STATUS_ACCESS_DENIED WW_STATUS(0xC0000022u)
#define WW_STATUS_NOT_SUPPORTED WW_STATUS(0xC00000BBu)
#define WW_STATUS_GUARD_PAGE_VIOLATION 0x80000001u

/* The calling process. The Nt calls also take a handle that ww_OpenProcess()
 * made for it, and no other process. */
#ifdef __cplusplus
#define WW_CURRENT_PROCESS reinterpret_cast<ww_HANDLE>(~static_cast<uintptr_t>(0))
#else
#define WW_CURRENT_PROCESS ((ww_HANDLE)~(uintptr_t)0)
#endif

/**
 * Reserve and commit memory. MEM_WRITE_WATCH goes with MEM_RESERVE, belongs to
 * the reservation, and needs not be repeated when pieces are committed. A
 * reservation costs address space only. PAGE_GUARD pages are not accessible
 * until they are protected otherwise: there is no guard exception.
 *
 * @return the base: of the reservation (64 KiB aligned) or the first page that
 *         was committed; NULL with 8, 50 (no backend is usable), 87, 487, 1314,
 *         1455
 */
ww_PVOID ww_VirtualAlloc(ww_PVOID address, ww_SIZE_T size, ww_DWORD type,
			 ww_DWORD protect);

/** MEM_DECOMMIT pages (they become clean), or MEM_RELEASE all: size 0, the base
 * address. @return TRUE, or FALSE with 8, 87, 487 */
ww_BOOL ww_VirtualFree(ww_PVOID address, ww_SIZE_T size, ww_DWORD type);

/** Change the protection of committed pages. Dirty pages stay dirty, and are
 * latched: reported even after a decommit, until a reset reports them.
 * @param old receives the first page's protection
 * @return TRUE, or FALSE with 8, 87, 487, 998 */
ww_BOOL ww_VirtualProtect(ww_PVOID address, ww_SIZE_T size, ww_DWORD protect,
			  ww_DWORD *old);

/** Describe the run of pages from an address on that are alike. @return bytes
 * stored, or 0 with 24, 998, or 87 above the highest address */
ww_SIZE_T ww_VirtualQuery(const void *address,
			  ww_MEMORY_BASIC_INFORMATION *information,
			  ww_SIZE_T length);

/** Lock committed pages in memory. They are reported; if the call fails with
 * 1453, maybe. The first call for a guard page fails and takes the guard away.
 * @return TRUE, or FALSE with 487, 1453, 0x80000001 */
ww_BOOL ww_VirtualLock(ww_PVOID address, ww_SIZE_T size);

/** Undo ww_VirtualLock(). @return TRUE, or FALSE with 487, 1453 */
ww_BOOL ww_VirtualUnlock(ww_PVOID address, ww_SIZE_T size);

/** dwPageSize is 4096 and dwAllocationGranularity 65536 on every host. */
void ww_GetSystemInfo(ww_SYSTEM_INFO *info);

/** Code was written there, and is to be run. @return TRUE, or FALSE with 6: not the
 * calling process */
ww_BOOL ww_FlushInstructionCache(ww_HANDLE process, const void *address,
				 ww_SIZE_T size);

/** A handle of a process, for the Nt calls. @return NULL with 87 */
ww_HANDLE ww_OpenProcess(ww_DWORD access, ww_BOOL inherit, ww_DWORD id);

/** Give a handle back. @return TRUE, or FALSE with 6 */
ww_BOOL ww_CloseHandle(ww_HANDLE handle);

/** The number of the calling process, for ww_OpenProcess(). */
ww_DWORD ww_GetCurrentProcessId(void);

/**
 * Which pages were written since the allocation or the last reset. The base is
 * rounded down, the end up, to pages; the range must lie in one write-watch
 * allocation. A full array is success: the lowest pages, and only those are
 * reset.
 *
 * @param flags        0 or WRITE_WATCH_FLAG_RESET
 * @param addresses    the caller's array of *count entries
 * @param count        in: entries of room, > 0; out: entries stored, maybe 0
 * @param granularity  out: 4096
 * @return 0, or 0xFFFFFFFF with 8, 87 or 998 (outputs that cannot be written to,
 *         too), all outputs as they were and all pages as dirty
 */
ww_UINT ww_GetWriteWatch(ww_DWORD flags, ww_PVOID base, ww_SIZE_T size,
			 ww_PVOID *addresses, ww_ULONG_PTR *count,
			 ww_DWORD *granularity);

/** Make the pages clean. @return 0, or 0xFFFFFFFF with 8 or 87 */
ww_UINT ww_ResetWriteWatch(ww_PVOID base, ww_SIZE_T size);

/** ww_GetWriteWatch() with a process handle and a status. @return
 * WW_STATUS_SUCCESS, _NO_MEMORY, _INVALID_PARAMETER, _ACCESS_VIOLATION (outputs
 * that cannot be written to), _INVALID_HANDLE, _NOT_SUPPORTED (another process),
 * _ACCESS_DENIED (in a fork child that could not be set up) */
ww_NTSTATUS ww_NtGetWriteWatch(ww_HANDLE process, ww_ULONG flags, ww_PVOID base,
			       ww_SIZE_T size, ww_PVOID *addresses,
			       ww_ULONG_PTR *count, ww_ULONG *granularity);

/** ww_ResetWriteWatch() with a process handle and a status. @return as
 * ww_NtGetWriteWatch(), but not _ACCESS_VIOLATION */
ww_NTSTATUS ww_NtResetWriteWatch(ww_HANDLE process, ww_PVOID base,
				 ww_SIZE_T size);

/** ww_GetWriteWatch() for numbers of 4 or 8 bytes. @return as that */
ww_UINT ww_GetWriteWatchSized(ww_DWORD flags, ww_PVOID base, ww_SIZE_T size,
			      ww_PVOID *addresses, void *count,
			      size_t count_bytes, void *granularity,
			      size_t granularity_bytes);

/** ww_NtGetWriteWatch() for numbers of 4 or 8 bytes. @return as that */
ww_NTSTATUS ww_NtGetWriteWatchSized(ww_HANDLE process, ww_ULONG flags,
				    ww_PVOID base, ww_SIZE_T size,
				    ww_PVOID *addresses, void *count,
				    size_t count_bytes, void *granularity,
				    size_t granularity_bytes);

/** The code of the calling thread's last failure. */
ww_DWORD ww_GetLastError(void);

/** Set the code that ww_GetLastError() returns to the calling thread. */
void ww_SetLastError(ww_DWORD error);

/**
 * The tracker behind these calls: the one given to ww_win32_use(), else one that
 * is opened on first use with default options, which the library owns: do not
 * close it. NULL: no backend is usable.
 */
struct ww *ww_win32_tracker(void);

/**
 * Have these calls work on a tracker of the caller's: for a host that owns
 * SIGSEGV (WW_OPEN_HOST_SIGNALS) or asks for a backend. To be called once,
 * before any of the others.
 *
 * @param ww  the caller's, to be kept open as long as the process lives
 * @return 0; -EINVAL (NULL); -EEXIST: there is one already
 */
int ww_win32_use(struct ww *ww);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif

/* With a guard of its own: an include without the names may come first. */
#ifdef WRITEWATCH_WIN32_NAMES
#include "writewatch-win32-names.h"
#endif
