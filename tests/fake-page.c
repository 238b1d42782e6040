/* SPDX-License-Identifier: MIT */
/*
 * fake-page.c - linked with --wrap=sysconf,--wrap=getauxval: the test and the library
 * take a host page for larger than it is (WRITEWATCH_TEST_PAGE bytes). mprotect(2)
 * does not mind, so that backend shows what the Win32 face does on 16 and 64 KiB.
 */
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

long __real_sysconf(int name);
long __wrap_sysconf(int name);
unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);

/* 0: not faked. */
static long fake(void)
{
	const char *text = getenv("WRITEWATCH_TEST_PAGE");

	return text ? strtol(text, NULL, 10) : 0;
}

long __wrap_sysconf(int name)
{
	return name == _SC_PAGESIZE && fake() ? fake() : __real_sysconf(name);
}

unsigned long __wrap_getauxval(unsigned long type)
{
	return type == AT_PAGESZ && fake() ? (unsigned long)fake()
					   : __real_getauxval(type);
}
