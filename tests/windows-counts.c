/* SPDX-License-Identifier: MIT */
/* A Windows program, in C and in C++: its numbers are of the types that Windows'
 * headers take for ULONG_PTR and DWORD, and some of its pointers are bad. */
#include <writewatch-win32.h> /* a header of the program's includes it, without names */
#include <windows.h>
#include <stdint.h>
#include <stdio.h>

#define SIZE ((SIZE_T)1 << 20)

static BYTE *p;
static PVOID addresses[16];

#define CHECK(x)                                                               \
	do {                                                                   \
		if (!(x)) {                                                    \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #x);         \
			return 1;                                              \
		}                                                              \
	} while (0)

/* One page is found, twice: nothing was reset by what failed before. */
#define FINDS(Count, Granularity)                                              \
	do {                                                                   \
		Count count = 16;                                              \
		Granularity granularity = 0;                                   \
		CHECK(GetWriteWatch(0, p, SIZE, addresses, &count,             \
				    &granularity) == 0);                       \
		CHECK(count == 1 && granularity == 4096);                      \
		CHECK(addresses[0] == p + 0x5000);                             \
		count = 16;                                                    \
		granularity = 0;                                               \
		CHECK(NtGetWriteWatch(GetCurrentProcess(), 0, p, SIZE,         \
				      addresses, &count,                       \
				      &granularity) == STATUS_SUCCESS);        \
		CHECK(count == 1 && granularity == 4096);                      \
	} while (0)

#define REFUSES(count, granularity)                                            \
	do {                                                                   \
		SetLastError(0);                                               \
		CHECK(GetWriteWatch(WRITE_WATCH_FLAG_RESET, p, SIZE,           \
				    addresses, count,                          \
				    granularity) == (UINT)~0u);                \
		CHECK(GetLastError() == ERROR_NOACCESS);                       \
		CHECK((DWORD)NtGetWriteWatch(                                  \
			      GetCurrentProcess(), WRITE_WATCH_FLAG_RESET, p,  \
			      SIZE, addresses, count, granularity) ==          \
		      STATUS_ACCESS_VIOLATION);                                \
	} while (0)

static int bad_pointers_are_refused(void *bad)
{
	unsigned long long count = 16;
	ULONG_PTR exact = 16;
	DWORD granularity = 7;

	REFUSES((unsigned long long *)bad, &granularity);
	REFUSES((ULONG_PTR *)bad, &granularity);
	REFUSES((SIZE_T *)bad, &granularity);
	REFUSES((uint32_t *)bad, &granularity);
	REFUSES(&count, (unsigned long *)bad);
	REFUSES(&count, (DWORD *)bad);
	REFUSES(&exact, (DWORD *)bad);
	CHECK(count == 16 && exact == 16 && granularity == 7);
	return 0;
}

/* Outputs are of the types that they have, whatever the pointer to them: what lies
 * beside them is left alone. */
static int neighbours_are_left_alone(void)
{
	struct {
		DWORD granularity, magic;
		ULONG_PTR count, more;
	} s = { 0, 0xdeadbeef, 16, 0x1234 };
	DWORD array[2] = { 0, 0xdeadbeef };
	ULONG_PTR counts[2] = { 16, 0x1234 };

	CHECK(GetWriteWatch(0, p, SIZE, addresses, counts, array) == 0);
	CHECK(counts[0] == 1 && counts[1] == 0x1234);
	CHECK(array[0] == 4096 && array[1] == 0xdeadbeef);
	CHECK(GetWriteWatch(0, p, SIZE, addresses, &s.count, &s.granularity) == 0);
	CHECK(s.count == 1 && s.more == 0x1234);
	CHECK(s.granularity == 4096 && s.magic == 0xdeadbeef);
#ifndef __cplusplus
	{
		LPVOID to_count = counts, to_granularity = array;
		volatile DWORD both[2] = { 0, 0xdeadbeef };

		array[0] = 0;
		counts[0] = 16;
		CHECK(GetWriteWatch(0, p, SIZE, addresses, to_count,
				    to_granularity) == 0);
		CHECK(counts[0] == 1 && counts[1] == 0x1234);
		CHECK(array[0] == 4096 && array[1] == 0xdeadbeef);
		CHECK(GetWriteWatch(0, p, SIZE, addresses, counts,
				    &both[0]) == 0);
		CHECK(both[0] == 4096 && both[1] == 0xdeadbeef);
	}
#endif
	return 0;
}

/* What Windows programs do with the names besides calling them. */
#ifdef __cplusplus
extern "C" NTSTATUS NTAPI NtGetWriteWatch(HANDLE process, ULONG flags, PVOID base, SIZE_T size, PVOID *pages, PULONG_PTR count, PULONG granularity);
#else
NTSYSAPI NTSTATUS NTAPI (NtGetWriteWatch)(HANDLE process, ULONG flags, PVOID base, SIZE_T size, PVOID *pages, PULONG_PTR count, PULONG granularity);
#endif

static int names_are_functions(void)
{
	UINT(WINAPI *get)(DWORD, PVOID, SIZE_T, PVOID *, ULONG_PTR *, LPDWORD) = GetWriteWatch;
	UINT(WINAPI *reset)(LPVOID, SIZE_T) = ResetWriteWatch;
	HANDLE(WINAPI *process)(VOID) = GetCurrentProcess;
	NTSTATUS(NTAPI *nt)(HANDLE, ULONG, PVOID, SIZE_T, PVOID *, PULONG_PTR, PULONG) = NtGetWriteWatch;
	ULONG_PTR count = 16;
	ULONG granularity = 0;
	HANDLE real;

	CHECK(get(0, p, SIZE, addresses, &count, &granularity) == 0 && count == 1);
	CHECK(NT_SUCCESS(nt(process(), 0, p, SIZE, addresses, &count, &granularity)));
	CHECK((GetWriteWatch)(0, p, SIZE, addresses, &count, &granularity) == ERROR_SUCCESS);
	CHECK(reset(NULL, 0) == (UINT)~0u);
	real = OpenProcess(PROCESS_VM_OPERATION | PROCESS_VM_READ, FALSE, GetCurrentProcessId());
	CHECK(real && real != INVALID_HANDLE_VALUE);
	CHECK(NT_SUCCESS(ZwGetWriteWatch(real, 0, p, SIZE, addresses, &count, &granularity)));
	CHECK(CloseHandle(real));
#ifdef __cplusplus
	CHECK(::GetCurrentProcess() == NtCurrentProcess());
#endif
	return 0;
}

int main(void)
{
	unsigned long long count = 16;
	unsigned long granularity = 0;
	int i;

	p = (BYTE *)VirtualAlloc(NULL, SIZE,
				 MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
				 PAGE_READWRITE);
	CHECK(p);
	p[0x5000] = 2;
	FINDS(unsigned long long, DWORD);
	FINDS(ULONG_PTR, ULONG);
	FINDS(SIZE_T, unsigned long);
	FINDS(size_t, unsigned int);
	FINDS(uint64_t, uint32_t);
	FINDS(DWORD_PTR, unsigned long);
	FINDS(uint32_t, unsigned long); /* a program of 32 bits */
	REFUSES(NULL, &granularity);
	REFUSES(&count, NULL);
	CHECK(bad_pointers_are_refused((void *)(uintptr_t)16) == 0);
	CHECK(neighbours_are_left_alone() == 0);
	CHECK(names_are_functions() == 0);
	for (i = 0; i < 2; i++) {
		void *page = VirtualAlloc(NULL, 65536, MEM_RESERVE | MEM_COMMIT,
					  i ? PAGE_READONLY : PAGE_NOACCESS);

		CHECK(page);
		CHECK(bad_pointers_are_refused(page) == 0);
	}
	FINDS(unsigned long long, DWORD);
	CHECK(GetWriteWatch(WRITE_WATCH_FLAG_RESET, p, SIZE, addresses, &count,
			    &granularity) == 0);
	CHECK(count == 1);
	printf("as on Windows\n");
	return 0;
}
