/* SPDX-License-Identifier: MIT */
/* probe.c - what this machine can do, and why not more. */
#include <string.h>

#include "cli.h"

static const struct {
	unsigned cap;
	const char *key, *text;
} guarantees[] = {
	{ WW_CAP_ATOMIC_RESET, "atomic_reset", "no racing write lost" },
	{ WW_CAP_KERNEL_WRITES, "kernel_writes", "read(2) works, is seen" },
	{ WW_CAP_EXACT, "exact", "nothing else reported" },
	{ WW_CAP_SHARED, "shared", "shared memory, files" },
	{ WW_CAP_NO_SIGNAL, "no_signal", "no signal used" },
	{ WW_CAP_NO_THREAD, "no_thread", "no thread started" },
	{ WW_CAP_REMOTE, "remote", "other processes" },
	{ WW_CAP_FOREIGN_MPROTECT, "foreign_mprotect", "mprotect(2) harmless" },
	{ WW_CAP_FOREIGN_WRITES, "foreign_writes", "others' writes seen" },
};

#define NGUARANTEES (sizeof(guarantees) / sizeof(guarantees[0]))
#define MOST 16

static unsigned probe_all(struct ww_backend_info *info)
{
	unsigned n = 0;

	for (; n < MOST; n++) {
		info[n].size = sizeof(info[n]);
		if (ww_probe(n, &info[n]) != 0)
			break;
	}
	return n;
}

static int tell(const struct ww_backend_info *info, unsigned n)
{
	unsigned i, best = n;
	size_t k;

	for (i = 0; i < n; i++) {
		if (info[i].status == 0 && best == n)
			best = i;
		printf("%-18s %s\n", info[i].name,
		       info[i].status == 0
			       ? i == best ? "usable, the one taken" : "usable"
			       : info[i].reason);
	}
	printf("\n%-24s", "guarantees");
	for (i = 0; i < n; i++)
		printf(" %-16s", info[i].name);
	for (k = 0; k < NGUARANTEES; k++) {
		printf("\n%-24s", guarantees[k].text);
		for (i = 0; i < n; i++)
			printf(" %-16s", info[i].status != 0 ? "."
					 : info[i].caps & guarantees[k].cap
						 ? "yes"
						 : "no");
	}
	printf("\n");
	return best == n;
}

static void print_json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s);
	}
	putchar('"');
}

static int tell_json(const struct ww_backend_info *info, unsigned n)
{
	bool any = false;
	unsigned i;
	size_t k;

	printf("[");
	for (i = 0; i < n; i++) {
		any |= info[i].status == 0;
		printf("%s\n  {\"name\": ", i ? "," : "");
		print_json_string(info[i].name);
		printf(", \"usable\": %s, \"errno\": %d, \"reason\": ",
		       info[i].status == 0 ? "true" : "false", -info[i].status);
		print_json_string(info[i].reason);
		for (k = 0; k < NGUARANTEES; k++)
			printf(", \"%s\": %s", guarantees[k].key,
			       info[i].caps & guarantees[k].cap ? "true"
								: "false");
		printf("}");
	}
	printf("\n]\n");
	return !any;
}

int cli_probe(int argc, char **argv)
{
	struct ww_backend_info info[MOST];
	bool json = argc == 2 && !strcmp(argv[1], "--json");

	if (argc > 1 && !json)
		return cli_usage(stderr, 2);
	return json ? tell_json(info, probe_all(info))
		    : tell(info, probe_all(info));
}
