/* SPDX-License-Identifier: MIT */
/*
 * version.c - the kernel's version, for what nothing else shows.
 *
 * Called by the backends; calls sys.c.
 */
#include "kernel/sys.h"

/* Not strtoul(): what a first ww_open() touches of libc is a page fault each. */
static unsigned number(const char **at)
{
	unsigned n = 0;

	for (; **at >= '0' && **at <= '9'; ++*at)
		n = 10 * n + (unsigned)(**at - '0');
	return n;
}

struct ww_version ww_kernel_version(void)
{
	unsigned part[3] = { 0, 0, 0 };
	char release[65];
	const char *at = release;
	size_t i;

	if (ww_sys_uname_release(release, sizeof(release)) < 0)
		return (struct ww_version){ 0, 0, 0 };
	for (i = 0; i < 3; i++) {
		part[i] = number(&at);
		if (*at++ != '.')
			break;
	}
	return (struct ww_version){ part[0], part[1], part[2] };
}
