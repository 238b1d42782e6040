/* SPDX-License-Identifier: MIT */
/*
 * error.c - the closed set of codes of the public calls.
 *
 * Called by api.c and open.c on every result. Invariant: what is returned is one
 * of the ten codes that writewatch.h lists.
 */
#include "core/error.h"

#include <errno.h>

#include "base/place.h"

WW_OFTEN int ww_error(int r)
{
	switch (r) {
	case -EINVAL:
	case -ENOENT:
	case -EEXIST:
	case -EFAULT:
	case -EBUSY:
	case -EOPNOTSUPP:
	case -EPERM:
	case -ESRCH:
	case -ENOMEM:
	case -ENOSYS:
		return r;
	case -EACCES:
		return -EPERM;
	case -EBADF: /* descriptors that the caller gave */
	case -ENOTTY:
		return -EINVAL;
	case -EMFILE:
	case -ENFILE:
	case -EAGAIN:
		return -ENOMEM;
	default:
		return r < 0 ? -ENOSYS : r;
	}
}
