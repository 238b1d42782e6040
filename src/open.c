/* SPDX-License-Identifier: MIT */
/*
 * open.c - from options to a tracker: the order of the backends, their probes
 * and reasons, the environment; open, close, info.
 *
 * Called by programs; calls the backends' probes and core. Invariant: a backend
 * is taken only after its probe has seen it work, and none that is disabled is
 * even probed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/heap.h"
#include "core/backend.h"
#include "core/error.h"
#include "core/inherit.h"
#include "core/sigsegv.h"
#include "core/size.h"
#include "core/trackers.h"
#include "core/watch.h"
#include "kernel/scratch.h"
#include "kernel/sys.h"
#include "open.h"

/* In order of preference. */
static const struct ww_backend *const backends[] = {
	&ww_backend_memwatch,  &ww_backend_uffd_async, &ww_backend_softdirty,
	&ww_backend_uffd_sync, &ww_backend_mprotect,
#ifdef WW_BACKEND_COPY /* tests/backend-copy.c */
	&ww_backend_copy,
#endif
};

#define NBACKENDS (sizeof(backends) / sizeof(backends[0]))

static const char *const cap_names[] = {
	"atomic-reset", "kernel-writes",    "exact",
	"shared",	"no-signal",	    "no-thread",
	"remote",	"foreign-mprotect", "foreign-writes",
};

#define NCAPS (sizeof(cap_names) / sizeof(cap_names[0]))
_Static_assert(1u << (NCAPS - 1) == WW_CAP_FOREIGN_WRITES, "a cap has no name");

#define STRING(x) #x
#define NUMBER(x) STRING(x)

const char *ww_version(void)
{
	return NUMBER(WRITEWATCH_VERSION_MAJOR) "." NUMBER(
		WRITEWATCH_VERSION_MINOR) "." NUMBER(WRITEWATCH_VERSION_PATCH);
}

const char *ww_cap_name(unsigned cap)
{
	size_t i;

	for (i = 0; i < NCAPS; i++)
		if (cap == 1u << i)
			return cap_names[i];
	return NULL;
}

/* --- open, close --- */

static int init_process(void)
{
	int r = ww_fork_init();

	if (r == 0)
		r = ww_heap_init();
	if (r == 0)
		r = ww_scratch_init();
	if (r == 0)
		ww_inherit_init();
	return r;
}

static size_t scratch_bytes(void)
{
	return WW_SCRATCH_PAGES * ww_sys_page_size();
}

static int open_on_scratch(struct ww *ww, const struct ww_options *options,
			   const char **reason)
{
	void *scratch = NULL;
	int r = 0;

	if (!ww->backend->open)
		return 0;
	if (ww->backend->open_tries)
		r = ww_sys_mmap(scratch_bytes(), &scratch);
	if (r == 0)
		r = ww->backend->open(ww, options, scratch, reason);
	if (scratch)
		ww_sys_munmap(scratch, scratch_bytes());
	return r;
}

/* Make what a tracker needs; the ladder below undoes it in reverse order. */
static int fill(struct ww *ww, const struct ww_options *options,
		const char **reason)
{
	const struct ww_backend *b = ww->backend;
	int r;

	ww->priv = ww_heap_new(b->priv_bytes ? b->priv_bytes : 1);
	if (!ww->priv)
		return -ENOMEM;
	r = ww_process_init(&ww->process, options->flags & WW_OPEN_PIDFD
						  ? options->pidfd
						  : -1);
	if (r < 0)
		goto err_priv;
	r = ww_ranges_init(&ww->ranges);
	if (r < 0)
		goto err_process;
	r = ww_maps_open(&ww->maps, &ww->process);
	if (r < 0)
		goto err_ranges;
	r = open_on_scratch(ww, options, reason);
	if (r == 0)
		return 0;
	ww_maps_close(&ww->maps);
err_ranges:
	ww_ranges_finish(&ww->ranges);
err_process:
	ww_process_finish(&ww->process);
err_priv:
	ww_heap_free(ww->priv, b->priv_bytes ? b->priv_bytes : 1);
	return r;
}

/* The tracker's lock is taken, and is dropped: a fork() finds a tracker whole on the
 * roster, whose descriptors it makes anew in the child, or not at all. */
static void take_down(struct ww *ww)
{
	uint64_t mask;

	ww_trackers_remove(ww);
	if (ww->backend->close)
		ww->backend->close(ww);
	ww_maps_close(&ww->maps);
	ww_process_finish(&ww->process);
	ww_lock_drop(&ww->lock);
	ww_lock_finish(&ww->lock);
	ww_sys_block_signals(&mask);
	ww_trackers_retire(ww);
	ww_sys_restore_signals(mask);
}

/* A signal handler may look through the tracker from here on. */
static int register_tracker(struct ww *ww)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return 0;
	r = ww_trackers_add(ww);
	if (r < 0 || !ww->backend->fault || ww->flags & WW_OPEN_HOST_SIGNALS)
		return r;
	return ww_sigsegv_install();
}

static int open_backend(struct ww **out, const struct ww_backend *backend,
			const struct ww_options *options, const char **reason)
{
	struct ww *ww = ww_heap_new(sizeof(*ww));
	int r;

	if (!ww)
		return -ENOMEM;
	ww->backend = backend;
	ww->caps = backend->caps;
	ww->page = ww_sys_page_size();
	ww->flags = options->flags;
	ww->log = options->log;
	ww->log_data = options->log_data;
	atomic_store(&ww->generation, ww_fork_generation());
	atomic_store(&ww->renewed, ww_fork_generation());
	r = fill(ww, options, reason);
	if (r < 0) {
		ww_heap_free(ww, sizeof(*ww));
		return r;
	}
	ww_lock_init(&ww->lock, WW_LOCK_TRACKER);
	r = register_tracker(ww);
	if (r < 0) {
		ww_lock_take(&ww->lock);
		take_down(ww);
		return r;
	}
	*out = ww;
	return 0;
}

int ww_open_backend(struct ww **out, const struct ww_backend *backend,
		    const struct ww_options *options, const char **reason)
{
	uint64_t mask;
	int r = init_process();

	*reason = "could not be opened";
	if (r < 0)
		return r;
	ww_sys_block_signals(&mask);
	r = open_backend(out, backend, options, reason);
	ww_sys_restore_signals(mask);
	return r;
}

void ww_close(struct ww *ww)
{
	if (!ww)
		return;
	ww_inherit_to_leave(ww);
	ww_lock_take(&ww->lock);
	/* Pages that can not be opened (no mapping is left) need the handler:
	 * better to keep all than to free what it may find. */
	if (ww_watch_remove_all(ww) < 0)
		ww_lock_drop(&ww->lock);
	else
		take_down(ww);
}

int ww_info(const struct ww *ww, struct ww_backend_info *out)
{
	struct ww_backend_info info;

	if (!ww ||
	    !ww_size_is_good(out, WW_LEAST(struct ww_backend_info, caps)))
		return -EINVAL;
	info = (struct ww_backend_info){ .name = ww->backend->name,
					 .caps = ww->caps,
					 .modes = ww->backend->modes,
					 .reason = "in use" };
	ww_size_copy_out(out, &info, sizeof(info));
	return 0;
}

/* --- probes --- */

/* The next name of a list with commas; blanks and empty items do not count. Moves
 * *list behind it. NULL: there is none. */
static const char *next_name(const char **list, size_t *len)
{
	const char *at = *list ? *list + strspn(*list, ", \t") : "";
	const char *end = at + strcspn(at, ",");

	*list = end;
	while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*len = (size_t)(end - at);
	return *len ? at : NULL;
}

static bool listed(const char *list, const char *name)
{
	const char *at;
	size_t len;

	while ((at = next_name(&list, &len)))
		if (strlen(name) == len && !memcmp(at, name, len))
			return true;
	return false;
}

static int probe_on_scratch(const struct ww_backend *b,
			    const struct ww_options *o, const char **reason,
			    unsigned *caps)
{
	uint64_t mask;
	void *scratch;
	int r;

	*reason = "no memory for a scratch page";
	r = ww_sys_mmap(scratch_bytes(), &scratch);
	if (r < 0)
		return r;
	*reason = "the kernel does not track writes as it should";
	ww_sys_block_signals(&mask);
	r = b->probe(o, scratch, reason, caps);
	ww_sys_restore_signals(mask);
	ww_sys_munmap(scratch, scratch_bytes());
	return r;
}

static bool is_disabled(const struct ww_backend *b, const char **reason)
{
	*reason = "disabled by WRITEWATCH_DISABLE";
	return listed(ww_sys_getenv("WRITEWATCH_DISABLE"), b->name);
}

static int probe(const struct ww_backend *b, const struct ww_options *o,
		 const char **reason, unsigned *caps)
{
	int r = init_process();

	*caps = b->caps;
	if (is_disabled(b, reason))
		return -EPERM;
	if (r == 0 && b->probe)
		r = probe_on_scratch(b, o, reason, caps);
	if (r == 0)
		*reason = "usable";
	return ww_error(r);
}

int ww_probe(unsigned index, struct ww_backend_info *out)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	const struct ww_backend *b;

	if (!ww_size_is_good(out, WW_LEAST(struct ww_backend_info, caps)))
		return -EINVAL;
	if (index >= NBACKENDS)
		return -ENOENT;
	b = backends[index];
	info.name = b->name;
	info.modes = b->modes;
	info.status = probe(b, NULL, &info.reason, &info.caps);
	ww_size_copy_out(out, &info, sizeof(info));
	return 0;
}

/* --- the choice --- */

static void say(const struct ww_options *o, const char *name, const char *what)
{
	char line[320];

	if (!o->log)
		return;
	snprintf(line, sizeof(line), "%s: %s", name, what);
	o->log(o->log_data, line);
}

/* Open a backend that may be used. */
static int open_usable(struct ww **out, const struct ww_backend *b,
		       const struct ww_options *o, const char **reason)
{
	unsigned caps;
	int r;

	if (is_disabled(b, reason))
		return -EPERM;
	r = b->open_tries ? 0 : probe(b, o, reason, &caps);
	return r < 0 ? r : ww_open_backend(out, b, o, reason);
}

static int try_backend(struct ww **out, const struct ww_backend *b,
		       const struct ww_options *o, unsigned require)
{
	const char *reason = "does not guarantee what is required";
	struct ww *ww = NULL;
	int r = -EOPNOTSUPP;

	if ((b->caps & require) == require)
		r = open_usable(&ww, b, o, &reason);
	if (r == 0 && (ww->caps & require) != require) {
		reason = "does not guarantee here what is required";
		r = -EOPNOTSUPP;
		ww_close(ww);
	}
	say(o, b->name, r < 0 ? reason : "chosen");
	if (r == 0)
		*out = ww;
	return r;
}

static const struct ww_backend *find(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < NBACKENDS; i++)
		if (strlen(backends[i]->name) == len &&
		    !memcmp(backends[i]->name, name, len))
			return backends[i];
	return NULL;
}

/* Try exactly the listed backends, in this order. If none works, the code of
 * the last one; an unknown name is an error before any is tried. */
static int open_listed(struct ww **out, const char *list,
		       const struct ww_options *o, unsigned require)
{
	const char *at, *all = list;
	int r = -ENOENT;
	size_t len;

	while ((at = next_name(&all, &len)))
		if (!find(at, len))
			return -ENOENT;
	while ((at = next_name(&list, &len))) {
		r = try_backend(out, find(at, len), o, require);
		if (r == 0)
			return 0;
	}
	return ww_error(r);
}

/* What is misspelt is not disabled. */
static void check_disabled(const struct ww_options *o)
{
	const char *at, *list = ww_sys_getenv("WRITEWATCH_DISABLE");
	char name[32];
	size_t len;

	while ((at = next_name(&list, &len)))
		if (!find(at, len)) {
			snprintf(name, sizeof(name), "%.*s", (int)len, at);
			say(o, "WRITEWATCH_DISABLE: no such backend", name);
		}
}

/* Want of descriptors or memory is said: the next try may succeed. */
static int open_best(struct ww **out, const struct ww_options *o,
		     unsigned require)
{
	int r, result = -EOPNOTSUPP;
	size_t i;

	for (i = 0; i < NBACKENDS; i++) {
		r = try_backend(out, backends[i], o, require);
		if (r == 0)
			return 0;
		if (ww_error(r) == -ENOMEM)
			result = -ENOMEM;
	}
	return result;
}

static bool options_are_good(const struct ww_options *o)
{
	const unsigned flags = WW_OPEN_HOST_SIGNALS | WW_OPEN_PIDFD |
			       WW_OPEN_UFFD | WW_OPEN_PAGEMAP;

	return !(o->flags & ~flags) && !(o->require >> NCAPS) &&
	       !(o->flags & WW_OPEN_PIDFD && o->pidfd < 0) &&
	       !(o->flags & WW_OPEN_UFFD && o->uffd < 0) &&
	       !(o->flags & WW_OPEN_PAGEMAP && o->pagemap < 0);
}

int ww_open(struct ww **out, const struct ww_options *options)
{
	struct ww_options o = { .size = sizeof(o) };
	const char *list;
	unsigned require;

	if (!out ||
	    (options &&
	     !ww_size_copy_in(&o, sizeof(o), options,
			      WW_LEAST(struct ww_options, require))) ||
	    !options_are_good(&o))
		return -EINVAL;
	require = o.require;
	if (o.flags & WW_OPEN_PIDFD)
		require |= WW_CAP_REMOTE;
	if (o.log)
		check_disabled(&o);
	list = o.backend;
	if (!list) {
		const char *rest = list = ww_sys_getenv("WRITEWATCH_BACKEND");
		size_t len;

		if (!next_name(&rest, &len))
			list = NULL;
	}
	return list ? open_listed(out, list, &o, require)
		    : open_best(out, &o, require);
}
