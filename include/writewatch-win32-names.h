/* SPDX-License-Identifier: MIT */
/*
 * writewatch-win32-names.h - Windows' own names for what writewatch-win32.h has, and
 * for the small things that such sources use besides.
 *
 * Included by writewatch-win32.h where WRITEWATCH_WIN32_NAMES is defined. Source
 * written for Windows then compiles unchanged; doc/porting.md has the exceptions.
 */
#ifndef WRITEWATCH_WIN32_NAMES_H
#define WRITEWATCH_WIN32_NAMES_H

#include <string.h>

#include "writewatch-win32.h"

typedef void VOID;
typedef char CHAR;
typedef uint8_t BYTE, *PBYTE, *LPBYTE, UCHAR, *PUCHAR, BOOLEAN;
typedef int16_t SHORT;
typedef uint16_t USHORT, *PUSHORT;
typedef ww_BOOL BOOL, *PBOOL, *LPBOOL;
typedef ww_WORD WORD, *PWORD, *LPWORD;
typedef int32_t INT, *PINT, INT32;
typedef ww_DWORD DWORD, *PDWORD, *LPDWORD, DWORD32;
typedef ww_UINT UINT, *PUINT, UINT32;
typedef ww_ULONG ULONG, *PULONG, ULONG32;
typedef ww_LONG LONG, *PLONG, *LPLONG, LONG32;
typedef long long LONGLONG, *PLONGLONG, LONG64, INT64;
typedef unsigned long long ULONGLONG, *PULONGLONG, ULONG64, *PULONG64, DWORD64, *PDWORD64, DWORDLONG, UINT64;
typedef ww_NTSTATUS NTSTATUS, *PNTSTATUS;
typedef ww_ULONG_PTR ULONG_PTR, *PULONG_PTR, DWORD_PTR, *PDWORD_PTR, UINT_PTR, *PUINT_PTR;
typedef intptr_t LONG_PTR, *PLONG_PTR, INT_PTR, *PINT_PTR, SSIZE_T;
typedef ww_SIZE_T SIZE_T, *PSIZE_T;
typedef ww_PVOID PVOID, LPVOID;
typedef const void *LPCVOID, *PCVOID;
typedef ww_HANDLE HANDLE, *PHANDLE, *LPHANDLE;
typedef ww_MEMORY_BASIC_INFORMATION MEMORY_BASIC_INFORMATION, *PMEMORY_BASIC_INFORMATION;
typedef ww_SYSTEM_INFO SYSTEM_INFO, *LPSYSTEM_INFO;

#ifndef WINAPI
#define WINAPI
#endif
#ifndef NTAPI
#define NTAPI
#define NTSYSAPI
#define NTSYSCALLAPI
#endif
#ifndef CONST
#define CONST const
#endif
#ifndef TRUE
#define TRUE 1
#define FALSE 0
#endif

#define MEM_COMMIT WW_MEM_COMMIT
#define MEM_RESERVE WW_MEM_RESERVE
#define MEM_DECOMMIT WW_MEM_DECOMMIT
#define MEM_RELEASE WW_MEM_RELEASE
#define MEM_FREE WW_MEM_FREE
#define MEM_PRIVATE WW_MEM_PRIVATE
#define MEM_MAPPED WW_MEM_MAPPED
#define MEM_RESET WW_MEM_RESET
#define MEM_TOP_DOWN WW_MEM_TOP_DOWN
#define MEM_WRITE_WATCH WW_MEM_WRITE_WATCH
#define MEM_PHYSICAL WW_MEM_PHYSICAL
#define MEM_RESET_UNDO WW_MEM_RESET_UNDO
#define MEM_LARGE_PAGES WW_MEM_LARGE_PAGES
#define PAGE_NOACCESS WW_PAGE_NOACCESS
#define PAGE_READONLY WW_PAGE_READONLY
#define PAGE_READWRITE WW_PAGE_READWRITE
#define PAGE_WRITECOPY WW_PAGE_WRITECOPY
#define PAGE_EXECUTE WW_PAGE_EXECUTE
#define PAGE_EXECUTE_READ WW_PAGE_EXECUTE_READ
#define PAGE_EXECUTE_READWRITE WW_PAGE_EXECUTE_READWRITE
#define PAGE_EXECUTE_WRITECOPY WW_PAGE_EXECUTE_WRITECOPY
#define PAGE_GUARD WW_PAGE_GUARD
#define PAGE_NOCACHE WW_PAGE_NOCACHE
#define PAGE_WRITECOMBINE WW_PAGE_WRITECOMBINE
#define WRITE_WATCH_FLAG_RESET WW_WRITE_WATCH_FLAG_RESET
#define ERROR_INVALID_HANDLE WW_ERROR_INVALID_HANDLE
#define ERROR_NOT_ENOUGH_MEMORY WW_ERROR_NOT_ENOUGH_MEMORY
#define ERROR_BAD_LENGTH WW_ERROR_BAD_LENGTH
#define ERROR_NOT_SUPPORTED WW_ERROR_NOT_SUPPORTED
#define ERROR_INVALID_PARAMETER WW_ERROR_INVALID_PARAMETER
#define ERROR_INVALID_ADDRESS WW_ERROR_INVALID_ADDRESS
#define ERROR_NOACCESS WW_ERROR_NOACCESS
#define ERROR_PRIVILEGE_NOT_HELD WW_ERROR_PRIVILEGE_NOT_HELD
#define ERROR_WORKING_SET_QUOTA WW_ERROR_WORKING_SET_QUOTA
#define ERROR_COMMITMENT_LIMIT WW_ERROR_COMMITMENT_LIMIT
#define ERROR_SUCCESS 0u
#define NO_ERROR 0u
#define ERROR_ACCESS_DENIED 5u
/* States and requests that there are none of here: VirtualQuery() never says the
 * first, VirtualAlloc() and VirtualFree() refuse the others. */
#define MEM_IMAGE 0x01000000u
#define MEM_RESERVE_PLACEHOLDER 0x00040000u
#define MEM_REPLACE_PLACEHOLDER 0x00004000u
#define MEM_COALESCE_PLACEHOLDERS 0x1u
#define MEM_PRESERVE_PLACEHOLDER 0x2u
/* OpenProcess() takes any: the handle is of this process. */
#define PROCESS_VM_OPERATION 0x0008u
#define PROCESS_VM_READ 0x0010u
#define PROCESS_VM_WRITE 0x0020u
#define PROCESS_QUERY_INFORMATION 0x0400u
#define PROCESS_ALL_ACCESS 0x001FFFFFu
#define STATUS_SUCCESS WW_STATUS_SUCCESS
#define STATUS_ACCESS_DENIED WW_STATUS_ACCESS_DENIED
#define STATUS_NOT_SUPPORTED WW_STATUS_NOT_SUPPORTED
#define STATUS_INVALID_PARAMETER_1 WW_STATUS(0xC00000EFu)
/* DWORDs, as in winnt.h */
#define STATUS_GUARD_PAGE_VIOLATION 0x80000001u
#define STATUS_ACCESS_VIOLATION 0xC0000005u
#define STATUS_INVALID_HANDLE 0xC0000008u
#define STATUS_INVALID_PARAMETER 0xC000000Du
#define STATUS_NO_MEMORY 0xC0000017u
#define EXCEPTION_ACCESS_VIOLATION STATUS_ACCESS_VIOLATION
#define EXCEPTION_GUARD_PAGE STATUS_GUARD_PAGE_VIOLATION
#define NT_SUCCESS(status) ((status) >= 0)
#define INVALID_HANDLE_VALUE WW_CURRENT_PROCESS

#define VirtualAlloc ww_VirtualAlloc
#define VirtualFree ww_VirtualFree
#define VirtualProtect ww_VirtualProtect
#define VirtualQuery ww_VirtualQuery
#define VirtualLock ww_VirtualLock
#define VirtualUnlock ww_VirtualUnlock
#define ResetWriteWatch ww_ResetWriteWatch
#define NtResetWriteWatch ww_NtResetWriteWatch
#define GetLastError ww_GetLastError
#define SetLastError ww_SetLastError
#define GetSystemInfo ww_GetSystemInfo
#define FlushInstructionCache ww_FlushInstructionCache
#define OpenProcess ww_OpenProcess
#define CloseHandle ww_CloseHandle
#define GetCurrentProcess ww_GetCurrentProcess
#define NtCurrentProcess ww_GetCurrentProcess
#define GetCurrentProcessId ww_GetCurrentProcessId
#define ZwGetWriteWatch NtGetWriteWatch
#define ZwResetWriteWatch NtResetWriteWatch
#define ZeroMemory(at, len) memset((at), 0, (len))
#define FillMemory(at, len, with) memset((at), (with), (len))
#define CopyMemory(to, from, len) memcpy((to), (from), (len))
#define MoveMemory(to, from, len) memmove((to), (from), (len))
#define RtlZeroMemory ZeroMemory
#define RtlFillMemory FillMemory
#define RtlCopyMemory CopyMemory
#define RtlMoveMemory MoveMemory
#define UNREFERENCED_PARAMETER(name) (void)(name)

static inline HANDLE ww_GetCurrentProcess(void)
{
	return WW_CURRENT_PROCESS;
}

/*
 * ULONG_PTR and DWORD are other types here than on Windows, where sources pass
 * the address of a size_t, an unsigned long long or an unsigned long: what is
 * passed as count or granularity may point to any of these integers.
 */
#ifdef __cplusplus

namespace writewatch_win32
{

/* The address of an integer of the caller's, and its size. */
class number
{
    public:
	void *at;
	size_t bytes;

	number(decltype(nullptr)) : at(nullptr), bytes(sizeof(ULONG_PTR))
	{
	}
	template <class Integer>
	number(Integer *theirs) : at(theirs), bytes(sizeof(Integer))
	{
		static_assert(sizeof(Integer) == 4 || sizeof(Integer) == 8,
			      "an integer of Windows' DWORD or ULONG_PTR");
	}
};

} // namespace writewatch_win32

/* Beside the functions of these names, which take the types as they are here. */
inline UINT ww_GetWriteWatch(DWORD flags, PVOID base, SIZE_T size,
			     PVOID *addresses, writewatch_win32::number count,
			     writewatch_win32::number granularity)
{
	return ww_GetWriteWatchSized(flags, base, size, addresses, count.at,
				     count.bytes, granularity.at,
				     granularity.bytes);
}

inline NTSTATUS ww_NtGetWriteWatch(HANDLE process, ULONG flags, PVOID base,
				   SIZE_T size, PVOID *addresses,
				   writewatch_win32::number count,
				   writewatch_win32::number granularity)
{
	return ww_NtGetWriteWatchSized(process, flags, base, size, addresses,
				       count.at, count.bytes, granularity.at,
				       granularity.bytes);
}

#define GetWriteWatch ww_GetWriteWatch
#define NtGetWriteWatch ww_NtGetWriteWatch

#else /* C */

/* The functions themselves, for who takes their address. */
UINT GetWriteWatch(DWORD flags, PVOID base, SIZE_T size, PVOID *addresses, ULONG_PTR *count, DWORD *granularity) __asm__("ww_GetWriteWatch");
NTSTATUS NtGetWriteWatch(HANDLE process, ULONG flags, PVOID base, SIZE_T size, PVOID *addresses, ULONG_PTR *count, ULONG *granularity) __asm__("ww_NtGetWriteWatch");

/* Bytes of what p points to, which may be an array; `other` for a void *. */
#define WRITEWATCH_IS(p, type) __builtin_types_compatible_p(__typeof__(1 ? (p) : (p)), type)
#define WRITEWATCH_TO(p, type) (WRITEWATCH_IS(p, __typeof__(type) *) || WRITEWATCH_IS(p, volatile __typeof__(type) *))
#define WRITEWATCH_NARROW(p) (WRITEWATCH_TO(p, int32_t) || WRITEWATCH_TO(p, uint32_t))
#define WRITEWATCH_LONG(p) (WRITEWATCH_TO(p, long) || WRITEWATCH_TO(p, unsigned long))
#define WRITEWATCH_WIDE(p) (WRITEWATCH_TO(p, long long) || WRITEWATCH_TO(p, unsigned long long))
#define WRITEWATCH_BYTES(p, other) (WRITEWATCH_NARROW(p) ? 4 : WRITEWATCH_LONG(p) ? sizeof(long) : WRITEWATCH_WIDE(p) ? 8 : (other))
#define WRITEWATCH_COUNT(p) (void *)(p), WRITEWATCH_BYTES(p, sizeof(ULONG_PTR))
#define WRITEWATCH_GRAIN(p) (void *)(p), WRITEWATCH_BYTES(p, sizeof(DWORD))
#define GetWriteWatch(flags, base, size, pages, n, g) ww_GetWriteWatchSized(flags, base, size, pages, WRITEWATCH_COUNT(n), WRITEWATCH_GRAIN(g))
#define NtGetWriteWatch(p, flags, base, size, pages, n, g) ww_NtGetWriteWatchSized(p, flags, base, size, pages, WRITEWATCH_COUNT(n), WRITEWATCH_GRAIN(g))

#endif

#endif
