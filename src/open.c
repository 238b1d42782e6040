/* SPDX-License-Identifier: MIT */
/*
 * select.c - which backend: their order, probes, reasons, and the environment.
 *
 * Called by programs as ww_open() and ww_probe(); calls the backends' probes
 * and api.c. Invariant: a backend is taken only after its probe has seen it
 * work, and none that is disabled is even probed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "core/backend.h"
#include "kernel/sys.h"

/* In order of preference. */
static const struct ww_backend *const backends[] = {
	&ww_backend_memwatch,  &ww_backend_uffd_async, &ww_backend_softdirty,
	&ww_backend_uffd_sync, &ww_backend_mprotect,
};

#define NBACKENDS (sizeof(backends) / sizeof(backends[0]))

/* Is a name on a list with commas? */
static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (list && *list) {
		const char *comma = strchrnul(list, ',');

		if ((size_t)(comma - list) == len && !memcmp(list, name, len))
			return true;
		list = *comma ? comma + 1 : comma;
	}
	return false;
}

static int probe(const struct ww_backend *b, const struct ww_options *o,
		 const char **reason, unsigned *caps)
{
	int r;

	*caps = b->caps;
	*reason = "disabled by WRITEWATCH_DISABLE";
	if (listed(ww_sys_getenv("WRITEWATCH_DISABLE"), b->name))
		return -EPERM;
	r = b->probe(o, reason, caps);
	if (r == 0)
		*reason = "usable";
	return ww_error(r);
}

int ww_probe(unsigned index, struct ww_backend_info *out)
{
	const struct ww_backend *b;

	if (!out || out->size != sizeof(*out))
		return -EINVAL;
	if (index >= NBACKENDS)
		return -ENOENT;
	b = backends[index];
	out->name = b->name;
	out->status = probe(b, NULL, &out->reason, &out->caps);
	return 0;
}

static void say(const struct ww_options *o, const struct ww_backend *b,
		const char *what)
{
	char line[320];

	if (!o->log)
		return;
	snprintf(line, sizeof(line), "%s: %s", b->name, what);
	o->log(o->log_data, line);
}

static int try_backend(struct ww **out, const struct ww_backend *b,
		       const struct ww_options *o, unsigned require)
{
	const char *reason = "does not guarantee what is required";
	unsigned caps = b->caps;
	int r = -EOPNOTSUPP;

	if ((caps & require) == require)
		r = probe(b, o, &reason, &caps);
	if (r == 0 && (caps & require) != require) {
		reason = "does not guarantee here what is required";
		r = -EOPNOTSUPP;
	}
	if (r < 0) {
		say(o, b, reason);
		return r;
	}
	r = ww_open_backend(out, b, o);
	say(o, b, r < 0 ? "could not be opened" : "chosen");
	return r;
}

static int check_options(const struct ww_options *o)
{
	const unsigned flags = WW_OPEN_HOST_SIGNALS | WW_OPEN_PIDFD |
			       WW_OPEN_UFFD | WW_OPEN_PAGEMAP;
	const unsigned caps = (WW_CAP_FOREIGN_MPROTECT << 1) - 1;

	if (o->size != sizeof(*o) || o->flags & ~flags || o->require & ~caps)
		return -EINVAL;
	return 0;
}

int ww_open(struct ww **out, const struct ww_options *options)
{
	const struct ww_options defaults = { .size = sizeof(defaults) };
	const struct ww_options *o = options ? options : &defaults;
	unsigned require = o->require;
	const char *name = o->backend;
	size_t i;
	int r;

	if (!out || check_options(o) < 0)
		return -EINVAL;
	if (o->flags & WW_OPEN_PIDFD)
		require |= WW_CAP_REMOTE;
	if (!name) {
		name = ww_sys_getenv("WRITEWATCH_BACKEND");
		if (name && !*name)
			name = NULL;
	}
	r = name ? -ENOENT : -EOPNOTSUPP;
	for (i = 0; i < NBACKENDS; i++) {
		if (name && strcmp(name, backends[i]->name) != 0)
			continue;
		r = try_backend(out, backends[i], o, require);
		if (r == 0)
			return 0;
	}
	return name ? ww_error(r) : -EOPNOTSUPP;
}
