/* SPDX-License-Identifier: MIT */
/*
 * fake-page.c - linked with --wrap=sysconf: the library and the test take a host
 * page for larger than it is (WRITEWATCH_TEST_PAGE bytes). mprotect(2) does not
 * mind, so that backend shows what the Win32 face does on 16 and 64 KiB.
 */
#include <stdlib.h>
#include <unistd.h>

long __real_sysconf(int name);
long __wrap_sysconf(int name);

long __wrap_sysconf(int name)
{
	const char *text = getenv("WRITEWATCH_TEST_PAGE");

	return name == _SC_PAGESIZE && text ? strtol(text, NULL, 10)
					    : __real_sysconf(name);
}
