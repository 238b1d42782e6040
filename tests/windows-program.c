/* SPDX-License-Identifier: MIT */
/* A Windows program: nothing in it knows of Linux. */
#include <windows.h>
#include <stdio.h>

int main(void)
{
	SIZE_T size = 1 << 20;
	PVOID addresses[16];
	ULONG_PTR count = 16;
	DWORD granularity = 0;
	BYTE *p = (BYTE *)VirtualAlloc(NULL, size,
				       MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
				       PAGE_READWRITE);

	if (!p) {
		printf("VirtualAlloc: %lu\n", (unsigned long)GetLastError());
		return 1;
	}
	p[0] = 1;
	p[0x5000] = 2;
	if (GetWriteWatch(WRITE_WATCH_FLAG_RESET, p, size, addresses, &count,
			  &granularity) != 0 ||
	    count != 2 || granularity != 4096 || addresses[0] != p ||
	    addresses[1] != p + 0x5000)
		return 2;
	count = 16;
	if (GetWriteWatch(0, p, size, addresses, &count, &granularity) != 0 ||
	    count != 0)
		return 3;
	if (GetWriteWatch(0, p, size * 2, addresses, &count, &granularity) !=
		    (UINT)~0u ||
	    GetLastError() != ERROR_INVALID_PARAMETER)
		return 4;
	p[7] = 1;
	if (ResetWriteWatch(p, size) != 0 || !VirtualFree(p, 0, MEM_RELEASE))
		return 5;
	printf("as on Windows\n");
	return 0;
}
