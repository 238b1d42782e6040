/* SPDX-License-Identifier: MIT */
/*
 * harness.h - rows of the conformance table as a plain Windows program.
 *
 * The same source is compiled for Windows (build.sh) and against the library.
 * A case is named by its row in doc/windows.md, and returns if it passes.
 */
#ifndef HARNESS_H
#define HARNESS_H

#ifdef _WIN32
#include <windows.h>
typedef LONG NTSTATUS;
NTSTATUS NTAPI NtGetWriteWatch(HANDLE process, ULONG flags, PVOID base,
			       SIZE_T size, PVOID *addresses, ULONG_PTR *count,
			       ULONG *granularity);
NTSTATUS NTAPI NtResetWriteWatch(HANDLE process, PVOID base, SIZE_T size);
#define STATUS_SUCCESS ((NTSTATUS)0)
#else
#define WRITEWATCH_WIN32_NAMES
#include "writewatch-win32.h"
#endif

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
	const char *name;
	void (*run)(void);
};

#define ROW(fn) { #fn, fn }
#define ROWS(table, ...)                                                  \
	const struct row table[] = { __VA_ARGS__, { NULL, NULL } }

extern const struct row rows_query[], rows_state[], rows_memory[],
	rows_threads[], rows_programs[];

/* Leaves the case if it does not hold. */
#define CHECK(x) ((x) ? (void)0 : row_failed(__FILE__, __LINE__, #x))
#define CHECK_SAME(a, b) \
	row_same(__FILE__, __LINE__, #a, (uintptr_t)(a), (uintptr_t)(b))
void row_failed(const char *file, int line, const char *what);
void row_same(const char *file, int line, const char *what, uintptr_t a,
	      uintptr_t b);

/* Entries are of 4096 bytes. A host with larger pages reports all the PARTS of
 * one, so the rows are told in pages of UNIT bytes. */
#define ENTRY 0x1000
extern SIZE_T unit;
#define UNIT unit
#define PARTS (UNIT / ENTRY)
#define SIZE (16 * UNIT)
#define ROOM ((ULONG_PTR)(16 * 16))

#define WATCHED (MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH)

/* What the cases work on: 16 pages at base, and where a query puts things. */
extern char *base;
extern ULONG_PTR count;
extern DWORD granularity;
extern void *results[16 * 16];

void begin(void); /* committed, read-write, watched */
void begin_with(DWORD type, DWORD protect);
void end(void); /* releases it */

void touch(int page);
UINT get(DWORD flags);

/* These are the dirty pages of base, up to -1. */
void expect(DWORD flags, ...);

/* GetWriteWatch() fails with the code, and changes nothing. */
void refuse(DWORD code, DWORD flags, void *at, SIZE_T size, void **array,
	    ULONG_PTR *n, DWORD *g);

/* A pointer call that fails. */
void fails_with(const void *p, DWORD code);

/* Is nothing reported that was only read; that was read after a decommit? On
 * Windows always. Here it is the tracker's guarantee. */
bool reads_are_clean(void);
bool is_exact(void);

/* Do two resets at once never both get a page? Windows; here the backends that
 * do not read first and protect then. */
bool hands_out_once(void);

/* Run fn in n threads, and wait. */
void in_threads(unsigned n, void (*fn)(unsigned number));
double seconds(void);

/* How much slower than a real one this machine is. */
long slowness(void);

/* How often to try what is tried n times on a real one. */
unsigned often(unsigned n);

/* Let others run. */
void step_aside(void);

#endif
