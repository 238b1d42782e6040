/* SPDX-License-Identifier: MIT */
/*
 * protect.c - read-only pages and a SIGSEGV handler as programs write it: a bit
 * a page, one mprotect for each page opened, one for each closed. It loses
 * racing writes.
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

	(void)context;
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

	(void)name;
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

static size_t protect_get(char *m, size_t len, void **out, size_t room)
{
	unsigned char *mine = written + (m - base) / (ptrdiff_t)PAGE;
	size_t i, n = 0;

	for (i = 0; i < len / PAGE && n < room; i++) {
		if (!mine[i])
			continue;
		mine[i] = 0;
		out[n++] = m + i * PAGE;
		mprotect(m + i * PAGE, PAGE, PROT_READ);
	}
	return n;
}

const struct technique reference_mprotect = {
	"mprotect and SIGSEGV", protect_open, protect_close, protect_watch,
	protect_unwatch,	protect_get,  256 * MIB,     256 * MIB
};
