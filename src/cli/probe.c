/* SPDX-License-Identifier: MIT */
/* probe.c - what this machine can do, and why not more. */
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

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

/* The first usable one that guarantees what is required. n: none. */
static unsigned choose(const struct ww_backend_info *info, unsigned n,
		       unsigned required)
{
	unsigned i = 0;

	while (i < n &&
	       (info[i].status != 0 || (info[i].caps & required) != required))
		i++;
	return i;
}

static int tell(const struct ww_backend_info *info, unsigned n,
		unsigned required)
{
	unsigned i, best = choose(info, n, required);
	const char *wanted = getenv("WRITEWATCH_BACKEND");
	struct utsname u;
	size_t k;

	uname(&u);
	printf("writewatch %s, Linux %s %s, pages of %ld bytes\n\n",
	       ww_version(), u.release, u.machine, sysconf(_SC_PAGESIZE));
	for (i = 0; i < n; i++)
		printf("%-18s %s\n", info[i].name,
		       info[i].status != 0 ? info[i].reason
		       : i == best	   ? "usable, the one taken"
		       : (info[i].caps & required) != required
			       ? "usable, but does not guarantee what is required"
			       : "usable");
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
	printf("\n\n%s%s\n",
	       best < n ? "The first that is usable is taken: "
			: "None is usable",
	       best < n ? info[best].name : "");
	if (wanted && *wanted) {
		printf("WRITEWATCH_BACKEND=");
		cli_put_plain(stdout, wanted, SIZE_MAX);
		printf(" is asked for instead, where a program asks for none.\n");
	}
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

static int tell_json(const struct ww_backend_info *info, unsigned n,
		     unsigned required)
{
	unsigned i, best = choose(info, n, required);
	struct utsname u;
	size_t k;

	uname(&u);
	printf("{\"version\": ");
	print_json_string(ww_version());
	printf(", \"kernel\": ");
	print_json_string(u.release);
	printf(", \"machine\": ");
	print_json_string(u.machine);
	printf(", \"page\": %ld, \"taken\": ", sysconf(_SC_PAGESIZE));
	print_json_string(best < n ? info[best].name : "");
	printf(",\n \"backends\": [");
	for (i = 0; i < n; i++) {
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
	printf("\n ]}\n");
	return best == n;
}

static bool require(const char *name, unsigned *required)
{
	size_t k;

	for (k = 0; k < NGUARANTEES; k++)
		if (!strcmp(name, ww_cap_name(guarantees[k].cap)) ||
		    !strcmp(name, guarantees[k].key)) {
			*required |= guarantees[k].cap;
			return true;
		}
	return false;
}

int cli_probe(int argc, char **argv)
{
	struct ww_backend_info info[MOST];
	unsigned required = 0;
	bool json = false;
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (strcmp(argv[i], "--require") != 0)
			return cli_wrong("probe", "no such option", argv[i]);
		else if (++i == argc)
			return cli_wrong("probe", "a guarantee is missing",
					 NULL);
		else if (!require(argv[i], &required))
			return cli_wrong("probe", "no such guarantee", argv[i]);
	}
	return json ? tell_json(info, probe_all(info), required)
		    : tell(info, probe_all(info), required);
}
