/* SPDX-License-Identifier: MIT */
/*
 * softdirty.c - the soft-dirty bit of /proc/PID/pagemap, and `4` written to
 * clear_refs (Linux 3.11, CONFIG_MEM_SOFT_DIRTY).
 *
 * Called by the core through the table; calls pagemap.c, prots.c, trackers.c and
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
#include "backends/softdirty.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/fork.h"
#include "core/trackers.h"
#include "kernel/advice.h"
#include "kernel/pagemap.h"
#include "kernel/sys.h"

struct soft {
	struct ww_fd pagemap, clear_refs;
	/* While the gate is closed: the table that it closed, and its pin. */
	struct ww_ticket ticket;
	const struct ww_table *table;
};

/* One gate at a time in the process. Two locks make it fair: take `door`, take
 * `lock`, drop `door`. A thread that resets in a loop queues at the door like
 * the others; with one lock it would always win. Signals are blocked meanwhile:
 * a thread that a collector stops does not have the gate, and a handler of the
 * host's does not write to what its own thread has closed. */
WW_DATA static struct {
	struct ww_lock door, lock;
	uint64_t mask; /* of the thread that has the lock */
} serial;

static void take_serial(void)
{
	uint64_t mask;

	ww_sys_block_signals(&mask);
	ww_lock_take_inside(&serial.door);
	ww_lock_take_inside(&serial.lock);
	ww_lock_drop_inside(&serial.door);
	serial.mask = mask;
}

static void drop_serial(void)
{
	uint64_t mask = serial.mask;

	ww_lock_drop_inside(&serial.lock);
	ww_sys_restore_signals(mask);
}

/* --- the gate --- */

static struct ww_soft_area *state(const struct ww_area *a)
{
	return a->state;
}

/* A step of the gate, done to every slice of every tracker, as the tables were
 * when the gate began. */
struct gate {
	struct soft *mine; /* of the tracker that closed the gate */
	void (*fn)(struct soft *mine, const struct ww_slice *s);
};

static struct soft *soft_of(const struct ww *ww)
{
	return ww->backend->fault == ww_softdirty_fault ? ww->priv : NULL;
}

static bool each_slice_of(struct ww *ww, void *arg)
{
	const struct gate *g = arg;
	struct soft *soft = soft_of(ww);
	struct ww_cursor c;

	/* a tracker that was opened since the gate began has no table here */
	if (!soft || !soft->table)
		return false;
	for (c = ww_table_seek(soft->table, 0); ww_cursor_slice(&c);
	     ww_cursor_next(&c))
		g->fn(g->mine, ww_cursor_slice(&c));
	return false;
}

static void each_slice(struct soft *mine,
		       void (*fn)(struct soft *mine, const struct ww_slice *s))
{
	ww_trackers_each(each_slice_of, &(struct gate){ mine, fn });
}

static bool hold_table(struct ww *ww, void *arg)
{
	struct soft *soft = soft_of(ww);

	if (soft) {
		soft->ticket = ww_readers_enter(&ww->ranges.readers);
		soft->table = ww_ranges_table(&ww->ranges);
	}
	return false;
}

static bool drop_table(struct ww *ww, void *arg)
{
	struct soft *soft = soft_of(ww);

	if (soft && soft->table) {
		soft->table = NULL;
		ww_readers_leave(&ww->ranges.readers, soft->ticket);
	}
	return false;
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

/* For all slices before the first is closed: an area may have several. */
static void begin_slice(struct soft *soft, const struct ww_slice *s)
{
	state(s->area)->unclosed = false;
}

/* Held pages stay open, and are reported whatever their bits say. A thread that
 * holds one meanwhile waits for the gate (ww_area_hold()). */
static int close_free(void *arg, struct ww_area *a, uintptr_t start,
		      uintptr_t end)
{
	ww_prots_apply_mapped(&state(a)->prots, a, ww_area_page(a, start),
			      ww_area_page(a, end), false, not_closed);
	return 0;
}

static void close_slice(struct soft *soft, const struct ww_slice *s)
{
	struct ww_span span = { s, 1, s->area->kind };

	ww_span_each_free(&span, s->start, s->end, close_free, NULL);
}

/* Another thread may have taken the room that closing gave back (RLIMIT_DATA,
 * mappings). The handler then tries again for each page that is written, and so
 * does the next gate. */
static void not_opened(struct ww_area *a, size_t first, size_t end)
{
	atomic_store(&ww_softdirty_stuck, true);
}

static void open_slice(struct soft *soft, const struct ww_slice *s)
{
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
	ww_area_mark(area, start, end);
	return 0;
}

static void save_slice(struct soft *soft, const struct ww_slice *s)
{
	if (ww_pagemap_runs(&soft->pagemap, s->start, s->end, is_dirty,
			    make_pending, s->area) < 0)
		ww_area_mark(s->area, s->start, s->end); /* not known */
}

/* A thread that begins a hold waits until the gate is open again. One ticket
 * will do: there is one gate at a time, and an area is entered once. */
static void enter_slice(struct soft *soft, const struct ww_slice *s)
{
	struct ww_soft_area *a = state(s->area);

	/* unless it was a thread of the parent's */
	if (!a->entered || a->ticket.generation != ww_fork_generation())
		a->ticket = ww_readers_enter(&s->area->changers);
	a->entered = true;
}

static void leave_slice(struct soft *soft, const struct ww_slice *s)
{
	struct ww_soft_area *a = state(s->area);

	if (a->entered)
		ww_readers_leave(&s->area->changers, a->ticket);
	a->entered = false;
}

/* All that is dirty in the process becomes pending, and clean. Serial lock. */
static int harvest(struct soft *soft)
{
	struct ww_ticket ticket;
	int r;

	if (!ww_fd_ok(&soft->clear_refs) || !ww_fd_ok(&soft->pagemap))
		return -EPERM;
	ticket = ww_trackers_enter();
	ww_trackers_each(hold_table, NULL);
	each_slice(soft, enter_slice);
	ww_turns_wait(&ww_softdirty_turns, 0, UINTPTR_MAX);
	/* Before a page is closed: a writer that faults must find the gate. */
	atomic_fetch_add(&ww_softdirty_moves, 1);
	atomic_store(&ww_softdirty_gate, ww_fork_generation());
	each_slice(soft, begin_slice);
	each_slice(soft, close_slice);
	each_slice(soft, save_slice);
	r = ww_sys_write(soft->clear_refs.fd, "4", 1) < 0 ? -EPERM : 0;
	each_slice(soft, open_slice);
	/* A thread that faulted on a closed page, and reaches the handler only
	 * now, finds it writable. */
	atomic_store(&ww_softdirty_gate, 0);
	atomic_fetch_add(&ww_softdirty_moves, 1);
	each_slice(soft, leave_slice);
	ww_trackers_each(drop_table, NULL);
	ww_trackers_leave(ticket);
	return r;
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
	return sizeof(struct ww_soft_area) + ww_prots_bytes(npages);
}

static void soft_init_state(struct ww_area *a)
{
	ww_prots_init(&state(a)->prots, state(a) + 1, ww_area_page(a, a->end));
}

static int soft_attach(struct ww *ww, const struct ww_slice *s,
		       enum ww_kind kind)
{
	if (ww_process_is_other(&ww->process))
		return 0;
	return ww_prots_way_back(s->area->prot);
}

/* The slice is in the table: a gate cleans it with all the others. A clear of
 * open pages may leave one under migration clean and writable. */
static int soft_arm(struct ww *ww, const struct ww_slice *s)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return 0;
	take_serial();
	r = harvest(ww->priv);
	if (r == 0)
		ww_area_forget(s->area, s->start, s->end);
	/* Clear before the advice: with it the mapping may merge with a watched
	 * neighbour, which it would make wholly dirty. */
	if (r == 0)
		r = ww_advise_keep_apart(s->start, s->end);
	drop_serial();
	return r;
}

static void soft_detach(struct ww *ww, const struct ww_slice *s, bool open)
{
	if (ww_process_is_other(&ww->process))
		return;
	/* Wait for a gate that still has the slice in its table: it opens the
	 * slice. No later gate closes it, because no table has it any more. */
	take_serial();
	if (open && atomic_load(&ww_softdirty_stuck))
		ww_prots_apply_mapped(&state(s->area)->prots, s->area,
				      page_at(s, s->start), page_at(s, s->end),
				      true, NULL);
	drop_serial();
	if (open)
		ww_advise_let_join(s->start, s->end);
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

static int found(void *q, int class, uintptr_t start, uintptr_t end)
{
	ww_query_found(q, start, end);
	return ww_query_full(q) ? 1 : 0;
}

static int soft_collect(struct ww *ww, struct ww_query *q)
{
	struct soft *soft = ww->priv;
	uintptr_t end = ww_span_end(&q->span);
	int r = 0;

	/* For a reset soft_begin() has made all that is dirty pending. */
	if (!q->reset) {
		if (!ww_fd_ok(&soft->pagemap))
			return -EPERM;
		/* Gates may close and open meanwhile, and no page is missed: a
		 * gate makes it pending before clearing its bit, and pending
		 * pages are looked at after the entries were read. */
		r = ww_pagemap_runs(&soft->pagemap, q->pos, end, is_dirty,
				    found, q);
		if (r < 0)
			return ww_process_check(&ww->process) < 0 ? -ESRCH : r;
	}
	ww_query_done_below(q, end);
	return 0;
}

static int soft_rearm(struct ww *ww, const struct ww_span *span)
{
	int r;

	if (ww_process_is_other(&ww->process))
		return -EOPNOTSUPP;
	/* Harvest and forget under one lock: what another thread's harvest made
	 * pending between the two would be forgotten. */
	take_serial();
	r = harvest(ww->priv);
	if (r == 0)
		ww_span_each(span, ww_span_start(span), ww_span_end(span),
			     ww_area_forget);
	drop_serial();
	return r;
}

/* --- the program's changes --- */

static int soft_protect(struct ww *ww, const struct ww_slice *s, int prot)
{
	struct ww_prots *prots = &state(s->area)->prots;
	size_t first = page_at(s, s->start), end = page_at(s, s->end);
	int r = ww_prots_way_back(prot);

	if (r < 0)
		return r;
	take_serial();
	r = ww_sys_mprotect(s->start, s->end - s->start, prot);
	if (r == 0)
		ww_prots_set(prots, s->area, first, end, prot);
	else /* a part may have the new protection */
		ww_prots_restore(prots, s->area, first, end);
	drop_serial();
	return r;
}

static int soft_wanted(struct ww_area *a, uintptr_t at, uintptr_t *end)
{
	return ww_prots_wanted(&state(a)->prots, a, at, end);
}

static int soft_discard(struct ww *ww, const struct ww_slice *s)
{
	int r;

	take_serial();
	ww_area_forget(s->area, s->start, s->end);
	r = ww_advise_drop(s->start, s->end);
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
	struct soft *soft = ww->priv;
	int r;

	ww_lock_init(&serial.door, WW_LOCK_GATE);
	ww_lock_init(&serial.lock, WW_LOCK_GATE);
	r = open_descriptors(soft, &ww->process, options);
	if (r < 0)
		return r;
	if (ww_process_is_other(&ww->process)) {
		/* Another process is only looked at: no page is closed. */
		ww->caps &= ~(unsigned)WW_CAP_ATOMIC_RESET;
		ww->caps |= WW_CAP_KERNEL_WRITES | WW_CAP_NO_SIGNAL |
			    WW_CAP_FOREIGN_MPROTECT | WW_CAP_FOREIGN_WRITES;
		return 0;
	}
	r = ww_softdirty_claim(1);
	if (r < 0)
		close_descriptors(soft);
	return r;
}

static void soft_close(struct ww *ww)
{
	struct soft *soft = ww->priv;

	if (!ww_process_is_other(&ww->process))
		ww_softdirty_release(1);
	close_descriptors(soft);
}

static int soft_renew(struct ww *ww)
{
	struct soft *soft = ww->priv;

	/* To write to the parent's clear_refs would clear the parent's bits. */
	close_descriptors(soft);
	soft->table = NULL;
	return open_descriptors(soft, NULL, NULL);
}

/* If the parent's gate was closed at the fork: open the slice. Not while
 * another tracker of the child has a gate closed. */
static int soft_inherit(struct ww *ww, const struct ww_slice *s,
			enum ww_kind kind)
{
	take_serial();
	open_slice(NULL, s);
	drop_serial();
	return 0;
}

/* --- probe --- */

/* In a child of its own, because a clear hits a whole process: written is
 * dirty, cleared is clean, and again. Only system calls: it has no other
 * threads.
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

static int soft_probe(const struct ww_options *options, volatile char *scratch,
		      const char **reason, unsigned *caps)
{
	/* Forking is dear: once in a process. 0: not tried, else 1 - result. */
	WW_DATA static atomic_int tried;
	int r = atomic_load(&tried);

	*reason = "the kernel has no soft-dirty bit: it needs "
		  "CONFIG_MEM_SOFT_DIRTY (not on arm64), and access to "
		  "/proc/self/pagemap and clear_refs";
	if (r)
		return 1 - r;
	r = try_page(scratch);
	atomic_store(&tried, 1 - r);
	return r;
}

const struct ww_backend ww_backend_softdirty = {
	.name = "soft-dirty",
	.caps = WW_CAP_ATOMIC_RESET | WW_CAP_NO_THREAD | WW_CAP_REMOTE,
	.kinds = WW_TAKES_ANON, /* reclaim drops the bits of others */
	.takes_spans = true,
	.one_prot_an_area = true,
	.plain_pages = true,
	.priv_bytes = sizeof(struct soft),
	.state_bytes = soft_state_bytes,
	.init_state = soft_init_state,
	.attach = soft_attach,
	.collect = soft_collect,
	.rearm = soft_rearm,
	.probe = soft_probe,
	.open = soft_open,
	.close = soft_close,
	.arm = soft_arm,
	.detach = soft_detach,
	.begin = soft_begin,
	.protect = soft_protect,
	.wanted = soft_wanted,
	.discard = soft_discard,
	.fault = ww_softdirty_fault,
	.renew = soft_renew,
	.inherit = soft_inherit,
};
