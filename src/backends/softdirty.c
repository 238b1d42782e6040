/* SPDX-License-Identifier: MIT */
/*
 * backend-softdirty.c - the soft-dirty bit of /proc/PID/pagemap, and `4`
 * written to clear_refs (Linux 3.11, CONFIG_MEM_SOFT_DIRTY).
 *
 * Called by the core through the table; calls pagemap.c, prots.c, faults.h and
 * sys.c.
 *
 * A clear hits the whole process and cannot be one step with a read, so it is
 * done inside a gate, for all ranges of all trackers here at once: pages are
 * made read-only, dirty ones become pending, the bits are cleared, pages are
 * opened again. Without the gate a write between the read and the clear leaves
 * no trace (27 to 54 % of once-only writes did not). The closing is needed even
 * if nobody writes: on Linux 5.10 and 6.12 clear_refs leaves a page under
 * migration writable with its bit clear.
 *
 * Invariant: whatever a clear takes away is pending before it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/trackers.h"
#include "kernel/pagemap.h"
#include "backends/softdirty.h"
#include "kernel/sys.h"

struct soft {
	struct ww_fd pagemap, clear_refs;
	struct ww_ticket ticket; /* in the gate: holds our table */
	const struct ww_table *table;
};

/* One gate at a time in the process: its serial lock. A mutex goes to whoever
 * asks first, and who resets in a loop would have it for ever: so one waits for
 * it at the door, and the others for the door. Signals are blocked meanwhile: a
 * thread that a collector stops does not have it, and a handler of the host's
 * does not write to what its own thread has closed. */
static struct {
	pthread_once_t once;
	struct ww_lock door, lock;
	sigset_t mask; /* of who has it */
} serial = { .once = PTHREAD_ONCE_INIT };

static void init_serial(void)
{
	ww_lock_init(&serial.door, WW_LOCK_GATE);
	ww_lock_init(&serial.lock, WW_LOCK_GATE);
}

static void take_serial(void)
{
	sigset_t all, mask;

	sigfillset(&all);
	ww_sys_sigmask(SIG_SETMASK, &all, &mask);
	ww_lock_take(&serial.door);
	ww_lock_take(&serial.lock);
	ww_lock_drop(&serial.door);
	serial.mask = mask;
}

static void drop_serial(void)
{
	sigset_t mask = serial.mask;

	ww_lock_drop(&serial.lock);
	ww_sys_sigmask(SIG_SETMASK, &mask, NULL);
}

static atomic_int users; /* of the bits: ww_softdirty_claim() */

int ww_softdirty_claim(int kind)
{
	int n = atomic_load(&users);

	do {
		if (n * kind < 0)
			return -EBUSY;
	} while (!atomic_compare_exchange_weak(&users, &n, n + kind));
	return 0;
}

void ww_softdirty_release(int kind)
{
	atomic_fetch_sub(&users, kind);
}

/* --- the gate --- */

/* A tracker of this backend, or NULL. */
static struct ww *soft_at(const struct ww_roster *r, size_t i)
{
	struct ww *ww = atomic_load(&r->ww[i]);

	return ww && ww->backend->fault == ww_softdirty_fault ? ww : NULL;
}

/* An area's state. */
struct soft_area {
	struct ww_prots prots; /* first: the handler knows no more */
	bool unclosed; /* some of it could not be closed in this gate */
};

static struct soft_area *state(const struct ww_area *a)
{
	return a->state;
}

typedef void slice_fn(struct soft *soft, const struct ww_slice *s);

/* Every slice of every tracker, as the tables were when the gate began; told
 * whose gate it is. */
static void each_slice(const struct ww_roster *r, slice_fn *fn,
		       struct soft *mine)
{
	size_t i, k;

	for (i = 0; r && i < r->n; i++) {
		const struct ww *ww = soft_at(r, i);
		const struct soft *soft = ww ? ww->priv : NULL;

		for (k = 0; soft && k < soft->table->n; k++)
			fn(mine, &soft->table->slice[k]);
	}
}

static void hold_tables(const struct ww_roster *r)
{
	size_t i;

	for (i = 0; r && i < r->n; i++) {
		struct ww *ww = soft_at(r, i);
		struct soft *soft = ww ? ww->priv : NULL;

		if (!soft)
			continue;
		soft->ticket = ww_readers_enter(&ww->ranges.readers);
		soft->table = ww_ranges_table(&ww->ranges);
	}
}

static void drop_tables(const struct ww_roster *r)
{
	size_t i;

	for (i = 0; r && i < r->n; i++) {
		struct ww *ww = soft_at(r, i);
		struct soft *soft = ww ? ww->priv : NULL;

		if (soft)
			ww_readers_leave(&ww->ranges.readers, soft->ticket);
	}
}

static size_t page_at(const struct ww_slice *s, uintptr_t at)
{
	return ww_area_page(s->area, at);
}

/* A page that could not be closed may be written in the gate unseen. */
static void not_closed(struct ww_area *a, size_t first, size_t end)
{
	ww_area_note_lost(a, ww_area_at(a, first), ww_area_at(a, end));
	state(a)->unclosed = true;
}

/* An area may have several slices. */
static void begin_slice(struct soft *soft, const struct ww_slice *s)
{
	(void)soft;
	state(s->area)->unclosed = false;
}

static void close_slice(struct soft *soft, const struct ww_slice *s)
{
	(void)soft;
	ww_prots_apply_mapped(&state(s->area)->prots, s->area,
			      page_at(s, s->start), page_at(s, s->end), false,
			      not_closed);
}

/* The room that closing gave back may be taken (RLIMIT_DATA, mappings): then
 * the handler tries again for each page that is written, and so does the next
 * gate. */
static void not_opened(struct ww_area *a, size_t first, size_t end)
{
	(void)a;
	(void)first;
	(void)end;
	atomic_store(&ww_softdirty_stuck, true);
}

static void open_slice(struct soft *soft, const struct ww_slice *s)
{
	(void)soft;
	ww_prots_apply_mapped(&state(s->area)->prots, s->area,
			      page_at(s, s->start), page_at(s, s->end), true,
			      not_opened);
	/* A query may have taken what not_closed() marked before the clear. */
	if (state(s->area)->unclosed)
		ww_area_mark(s->area, s->start, s->end);
}

static int is_dirty(uint64_t entry)
{
	return (entry & PM_SOFT_DIRTY) != 0;
}

static int make_pending(void *area, int class, uintptr_t start, uintptr_t end)
{
	(void)class;
	ww_area_mark(area, start, end);
	return 0;
}

static void save_slice(struct soft *soft, const struct ww_slice *s)
{
	if (ww_pagemap_runs(&soft->pagemap, s->start, s->end, is_dirty,
			    make_pending, s->area) < 0)
		ww_area_mark(s->area, s->start, s->end); /* not known */
}

/* All that is dirty in the process becomes pending, and clean. Serial lock. */
static int harvest(struct soft *soft)
{
	const struct ww_roster *roster;
	struct ww_ticket ticket;
	int r;

	if (!ww_fd_ok(&soft->clear_refs) || !ww_fd_ok(&soft->pagemap))
		return -EPERM;
	ticket = ww_readers_enter(&ww_faults.readers);
	roster = atomic_load(&ww_faults.roster);
	hold_tables(roster);
	/* Before the first page is closed: its writer has to find it so. */
	atomic_store(&ww_softdirty_gate, ww_fork_generation());
	each_slice(roster, begin_slice, soft);
	each_slice(roster, close_slice, soft);
	each_slice(roster, save_slice, soft);
	r = ww_sys_write(soft->clear_refs.fd, "4", 1);
	each_slice(roster, open_slice, soft);
	/* In this order: who then still comes finds the gate open, and its
	 * retry there. */
	ww_faults_left();
	atomic_store(&ww_softdirty_gate, 0);
	drop_tables(roster);
	ww_readers_leave(&ww_faults.readers, ticket);
	return r < 0 ? r : 0;
}

static int serial_harvest(struct ww *ww)
{
	int r;

	take_serial();
	r = harvest(ww->priv);
	drop_serial();
	return r;
}

/* --- attach, detach --- */

static size_t soft_state_bytes(size_t npages)
{
	return sizeof(struct soft_area) + ww_prots_bytes(npages);
}

static int soft_attach(struct ww *ww, struct ww_area *a)
{
	struct soft_area *state = a->state;

	if (a->kind != WW_KIND_ANON)
		return -EOPNOTSUPP; /* reclaim drops entries, and their bits */
	ww_prots_init(&state->prots, state + 1, ww_area_page(a, a->end));
	if (ww_process_is_other(&ww->process))
		return 0;
	return ww_maps_settle(a->start, a->end, false);
}

/* Cleaned as everything is: in a gate, which closes it, as it is in the table.
 * A clear of open pages would lose the bit of one under migration. */
static int soft_arm(struct ww *ww, struct ww_area *a)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return 0;
	take_serial();
	r = harvest(ww->priv);
	if (r == 0)
		ww_area_forget(a, a->start, a->end);
	/* Clean before it is set apart: then it may become one with a watched
	 * neighbour, which it would make wholly dirty. */
	if (r == 0)
		r = ww_maps_keep_apart(a->start, a->end);
	drop_serial();
	return r;
}

static void soft_detach(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	if (ww_process_is_other(&ww->process))
		return;
	/* In no table any more, so no gate closes it again. */
	if (atomic_load(&ww_softdirty_stuck))
		ww_prots_apply_mapped(&state(a)->prots, a,
				      ww_area_page(a, start),
				      ww_area_page(a, end), true, NULL);
	ww_maps_let_join(start, end);
}

/* --- queries --- */

static int soft_begin(struct ww *ww, const struct ww_query *q)
{
	if (!q->reset)
		return 0;
	if (ww_process_is_other(&ww->process))
		return -EOPNOTSUPP;
	return serial_harvest(ww);
}

static int tell(void *q, int class, uintptr_t start, uintptr_t end)
{
	(void)class;
	ww_query_found(q, start, end);
	return ww_query_full(q) ? 1 : 0;
}

static int soft_collect(struct ww *ww, uintptr_t start, uintptr_t end,
			struct ww_query *q)
{
	struct soft *soft = ww->priv;
	int r = 0;

	/* A reset finds all that soft_begin() made pending. */
	if (!q->reset) {
		if (!ww_fd_ok(&soft->pagemap))
			return -EPERM;
		/* Gates may come and go: each makes a page pending before it
		 * cleans it, and what is pending is looked at after its entry
		 * was read. */
		r = ww_pagemap_runs(&soft->pagemap, start, end, is_dirty, tell,
				    q);
		if (r < 0)
			return ww_process_check(&ww->process) < 0 ? -ESRCH : r;
	}
	ww_query_settled(q, end);
	return 0;
}

static int soft_rearm(struct ww *ww, const struct ww_span *span,
		      uintptr_t start, uintptr_t end)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return -EOPNOTSUPP;
	/* In one go: what another thread's harvest saves between the two would
	 * be forgotten. */
	take_serial();
	r = harvest(ww->priv);
	if (r == 0)
		ww_span_each(span, start, end, ww_area_forget);
	drop_serial();
	return r;
}

/* --- the program's changes --- */

static int soft_protect(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end, int prot)
{
	int r;

	(void)ww;
	take_serial();
	r = ww_sys_mprotect(start, end - start, prot);
	if (r == 0)
		ww_prots_set(&state(a)->prots, a, ww_area_page(a, start),
			     ww_area_page(a, end), prot);
	else /* a part may have got it */
		ww_prots_restore(&state(a)->prots, a, ww_area_page(a, start),
				 ww_area_page(a, end));
	drop_serial();
	return r;
}

static int soft_discard(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	int r;

	(void)ww;
	take_serial();
	ww_area_forget(a, start, end);
	r = ww_maps_drop(start, end);
	drop_serial();
	return r;
}

/* --- open, close, fork child --- */

static void close_descriptors(struct soft *soft)
{
	ww_fd_finish(&soft->clear_refs);
	ww_fd_finish(&soft->pagemap);
}

static int open_descriptors(struct soft *soft, const struct ww_process *process,
			    const struct ww_options *o)
{
	const char *reason;
	int r, fd;

	soft->clear_refs = WW_FD_NONE;
	r = ww_pagemap_open(&soft->pagemap, process, o, &reason);
	if (r < 0 || (process && ww_process_is_other(process)))
		return r;
	fd = ww_sys_open("/proc/self/clear_refs", O_WRONLY);
	r = fd < 0 ? fd : ww_fd_init(&soft->clear_refs, fd, false);
	if (r < 0)
		close_descriptors(soft);
	return r;
}

static int soft_open(struct ww *ww, const struct ww_options *options)
{
	struct soft *soft = calloc(1, sizeof(*soft));
	int r;

	if (!soft)
		return -ENOMEM;
	pthread_once(&serial.once, init_serial);
	r = open_descriptors(soft, &ww->process, options);
	if (r < 0)
		goto err_free;
	ww->priv = soft;
	if (ww_process_is_other(&ww->process)) {
		/* What cannot be reset disturbs nobody. */
		ww->caps &= ~WW_CAP_ATOMIC_RESET;
		ww->caps |= WW_CAP_KERNEL_WRITES | WW_CAP_NO_SIGNAL |
			    WW_CAP_FOREIGN_MPROTECT;
		return 0;
	}
	r = ww_softdirty_claim(1);
	if (r < 0)
		goto err_descriptors;
	return 0;
err_descriptors:
	close_descriptors(soft);
err_free:
	free(soft);
	return r;
}

static void soft_close(struct ww *ww)
{
	struct soft *soft = ww->priv;

	if (!ww_process_is_other(&ww->process))
		ww_softdirty_release(1);
	close_descriptors(soft);
	free(soft);
}

static int soft_renew(struct ww *ww)
{
	struct soft *soft = ww->priv;

	/* A clear_refs of the parent's would clear the parent. */
	close_descriptors(soft);
	return open_descriptors(soft, NULL, NULL);
}

static int soft_inherit(struct ww *ww, struct ww_area *a, uintptr_t start,
			uintptr_t end)
{
	struct ww_slice s = { start, end, a };

	(void)ww;
	/* If it was forked in the gate. What other threads of the parent had
	 * taken and not told yet is reported here once more. Not while another
	 * tracker of ours has a gate closed. */
	take_serial();
	open_slice(NULL, &s);
	ww_pagemap_mark_populated(a, start, end);
	drop_serial();
	return 0;
}

/* --- probe --- */

/* In a child of its own, as the clear hits a whole process: written is dirty,
 * cleared is clean, and again. Only system calls: other threads are not here.
 */
static int try_clear(volatile char *page)
{
	struct ww_fd pagemap = { .fd = ww_sys_open("/proc/self/pagemap",
						   O_RDONLY) };
	int clear_refs = ww_sys_open("/proc/self/clear_refs", O_WRONLY);
	off_t at = (off_t)((uintptr_t)page / ww_sys_page_size() * 8);
	uint64_t entry;
	int i;

	for (i = 0; i < 2; i++) {
		page[0] = 1;
		if (ww_sys_pread(pagemap.fd, &entry, 8, at) != 8 ||
		    !is_dirty(entry) || ww_sys_write(clear_refs, "4", 1) != 1 ||
		    ww_sys_pread(pagemap.fd, &entry, 8, at) != 8 ||
		    is_dirty(entry))
			return 1;
	}
	return 0;
}

static int try_page(volatile char *page)
{
	off_t at = (off_t)((uintptr_t)page / ww_sys_page_size() * 8);
	int fd = ww_sys_open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;
	int r;

	if (fd < 0)
		return fd == -ENOENT ? -ENOSYS : fd;
	page[0] = 1;
	ww_sys_pread(fd, &entry, 8, at);
	ww_sys_close(fd);
	if (!is_dirty(entry))
		return -ENOSYS;
	r = ww_sys_in_child(try_clear, page);
	return r > 0 ? -ENOSYS : r;
}

static int soft_probe(const struct ww_options *options, const char **reason,
		      unsigned *caps)
{
	/* Forking is dear: once in a process. 0: not tried, else 1 - result. */
	static atomic_int tried;
	int r = atomic_load(&tried);
	size_t len = ww_sys_page_size();
	void *page;

	(void)options;
	(void)caps;
	*reason = "the kernel has no soft-dirty bit: needs "
		  "CONFIG_MEM_SOFT_DIRTY, and access to /proc/self/pagemap and "
		  "clear_refs";
	if (r)
		return 1 - r;
	r = ww_sys_mmap(len, &page);
	if (r < 0)
		return r;
	r = try_page(page);
	ww_sys_munmap(page, len);
	atomic_store(&tried, 1 - r);
	return r;
}

const struct ww_backend ww_backend_softdirty = {
	.name = "soft-dirty",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_NO_THREAD | WW_CAP_REMOTE,
	.joins = true,
	.by_prot = true,
	.probe = soft_probe,
	.open = soft_open,
	.close = soft_close,
	.state_bytes = soft_state_bytes,
	.attach = soft_attach,
	.arm = soft_arm,
	.detach = soft_detach,
	.renew = soft_renew,
	.inherit = soft_inherit,
	.begin = soft_begin,
	.collect = soft_collect,
	.rearm = soft_rearm,
	.protect = soft_protect,
	.discard = soft_discard,
	.fault = ww_softdirty_fault,
};
