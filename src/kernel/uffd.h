/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - making a userfaultfd and registering memory with it. With signals blocked.
 */
#ifndef WW_UFFD_H
#define WW_UFFD_H

#include "kernel/sys.h"
#include "writewatch.h"

/* The one that the caller hands over, else a new one, by the system call or by
 * /dev/userfaultfd. On failure *reason says why.
 *
 * kernel_faults NULL: for user-mode faults, for which the kernel asks no
 * privilege. That is enough for WP_ASYNC: its faults never reach user space,
 * and kernel writes are resolved too (6.12, 6.18). Else, where that is allowed,
 * one whose faults in the kernel wait for an answer too, and *kernel_faults
 * says so (of a borrowed one it is not known); without, read(2) & co. into a
 * protected page fail. */
int ww_uffd_open(struct ww_fd *out, const struct ww_options *o,
		 bool *kernel_faults, const char **reason);

/* What a probe could not try with a descriptor that is lent: fn(arg, page) on a
 * page for the purpose. */
int ww_uffd_try_lent(int (*fn)(void *arg, volatile char *page), void *arg);

/* Register memory of any kind for write-protection. -EOPNOTSUPP: not this kind
 * of memory; -EPERM: the descriptor is not ours any more; -EBUSY: it belongs to
 * another userfaultfd. */
int ww_uffd_register(const struct ww_fd *fd, uintptr_t start, uintptr_t end);
int ww_uffd_unregister(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

/* Protect all pages, those that do not exist too: costs page tables. */
int ww_uffd_protect(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

/* Take it away again, and wake the writers that wait for that. */
int ww_uffd_unprotect(const struct ww_fd *fd, uintptr_t start, uintptr_t end);
/* Unregister, and wake all writers: unregistering alone wakes none that waits
 * for a protected page. The protection is taken away first, then the writers
 * that were on the way are woken. */
void ww_uffd_let_go(const struct ww_fd *fd, uintptr_t start, uintptr_t end);
void ww_uffd_wake(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

#endif
