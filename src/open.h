/* SPDX-License-Identifier: MIT */
/* open.h - a tracker on a backend that need not be on the list, for tests. */
#ifndef WW_OPEN_H
#define WW_OPEN_H

#include "core/backend.h"

int ww_open_backend(struct ww **out, const struct ww_backend *backend,
		    const struct ww_options *options, const char **reason);

#endif
