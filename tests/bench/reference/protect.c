/* SPDX-License-Identifier: MIT */
/*
 * protect.c - read-only pages and a SIGSEGV handler as programs write it: a byte
 * a page, one mprotect for each page opened. To close pages: one call for each
 * that was written, or, as Wine 10 does, one for all that was asked for. Both
 * lose racing writes.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../bench.h"

static struct sigaction before;
static char *base;
static size_t length;
static unsigned char *written;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	char *at = (char *)((uintptr_t)info->si_addr & ~(PAGE - 1));

	if (at < base || at >= base + length) {
		signal(signo, SIG_DFL);
		return;
	}
	written[(size_t)(at - base) / PAGE] = 1;
	mprotect(at, PAGE, PROT_READ | PROT_WRITE);
}

static int protect_open(const char *name)
{
	struct sigaction act = { .sa_sigaction = on_fault,
				 .sa_flags = SA_SIGINFO };

	return sigaction(SIGSEGV, &act, &before);
}

static void protect_close(void)
{
	sigaction(SIGSEGV, &before, NULL);
}

static int protect_watch(char *m, size_t len)
{
	base = m;
	length = len;
	written = calloc(len / PAGE, 1);
	return mprotect(m, len, PROT_READ);
}

static void protect_unwatch(char *m, size_t len)
{
	mprotect(m, len, PROT_READ | PROT_WRITE);
	free(written);
	length = 0;
}

/* The written pages of a query that begins at m; *end: where it ended. */
static size_t take(char *m, size_t len, void **out, size_t room, char **end)
{
	unsigned char *mine = written + (m - base) / (ptrdiff_t)PAGE;
	size_t i, n = 0;

	for (i = 0; i < len / PAGE && n < room; i++) {
		if (!mine[i])
			continue;
		mine[i] = 0;
		out[n++] = m + i * PAGE;
	}
	*end = m + i * PAGE;
	return n;
}

static size_t protect_get(char *m, size_t len, void **out, size_t room)
{
	char *end;
	size_t i, n = take(m, len, out, room, &end);

	for (i = 0; i < n; i++)
		mprotect(out[i], PAGE, PROT_READ);
	return n;
}

static size_t whole_get(char *m, size_t len, void **out, size_t room)
{
	char *end;
	size_t n = take(m, len, out, room, &end);

	mprotect(m, (size_t)(end - m), PROT_READ);
	return n;
}

const struct technique reference_mprotect = {
	"mprotect and SIGSEGV", protect_open, protect_close, protect_watch,
	protect_unwatch,	protect_get,  256 * MIB,     256 * MIB
};
const struct technique reference_whole = { "mprotect of all, SIGSEGV",
					   protect_open,
					   protect_close,
					   protect_watch,
					   protect_unwatch,
					   whole_get,
					   256 * MIB,
					   256 * MIB };
