/* SPDX-License-Identifier: MIT */
/*
 * version.c - the kernel's version, for what nothing else shows.
 *
 * Called by the backends; calls sys.c.
 */
#include <stdlib.h>

#include "kernel/sys.h"

struct ww_version ww_kernel_version(void)
{
	unsigned part[3] = { 0, 0, 0 };
	char release[65];
	const char *at = release;
	size_t i;

	if (ww_sys_uname_release(release, sizeof(release)) < 0)
		return (struct ww_version){ 0, 0, 0 };
	for (i = 0; i < 3; i++) {
		char *end;

		part[i] = (unsigned)strtoul(at, &end, 10);
		if (*end != '.')
			break;
		at = end + 1;
	}
	return (struct ww_version){ part[0], part[1], part[2] };
}
