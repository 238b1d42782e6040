/* SPDX-License-Identifier: MIT */
/*
 * fd.c - a descriptor of ours, known again before it is used: the host may have
 * closed it, and opened something else under its number.
 *
 * Called by kernel and the backends; calls sys.c. Invariant: a descriptor that is not
 * ours is never closed or used.
 */
#include "base/fork.h"
#include "kernel/sys.h"

static int init(struct ww_fd *self, int fd, bool borrowed, int tag)
{
	struct ww_fd new = { .fd = fd, .borrowed = borrowed };
	int r = ww_sys_identity(fd, &new.dev, &new.ino);

	if (r < 0) {
		if (!borrowed)
			ww_sys_close(fd);
		return r;
	}
	if (tag && ww_sys_set_tag(fd, tag) == 0)
		new.tag = tag;
	new.generation = ww_fork_generation();
	*self = new;
	return 0;
}

int ww_fd_init(struct ww_fd *self, int fd, bool borrowed)
{
	WW_DATA static atomic_uint made;

	return init(self, fd, borrowed,
		    borrowed ? 0
			     : 1 + (int)(atomic_fetch_add(&made, 1) %
					 (WW_TAG_HANDLE - 1)));
}

static bool is_same_file(const struct ww_fd *self)
{
	dev_t dev;
	ino_t ino;

	return self->fd >= 0 && ww_sys_identity(self->fd, &dev, &ino) == 0 &&
	       dev == self->dev && ino == self->ino;
}

bool ww_fd_ok(const struct ww_fd *self)
{
	return (self->any_generation ||
		self->generation == ww_fork_generation()) &&
	       is_same_file(self);
}

/* A file of /proc is the same for all who open it, another tracker too: to use it
 * does no harm, to close it would. */
bool ww_fd_is_ours(const struct ww_fd *self)
{
	return is_same_file(self) &&
	       (!self->tag || ww_sys_tag(self->fd) == self->tag);
}

void ww_fd_finish(struct ww_fd *self)
{
	if (!self->borrowed && ww_fd_is_ours(self))
		ww_sys_close(self->fd);
	*self = WW_FD_NONE;
}
