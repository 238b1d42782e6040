/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - making a userfaultfd and registering memory with it. Callers have
 * their signals blocked.
 */
#ifndef WW_UFFD_H
#define WW_UFFD_H

#include "kernel/sys.h"
#include "writewatch.h"

/* Use the userfaultfd that the caller hands over, else make one, by the system
 * call or by /dev/userfaultfd. On failure *reason says why.
 *
 * kernel_faults NULL: make one for user-mode faults only, for which the kernel
 * asks no privilege. That is enough for WP_ASYNC: its faults never reach user
 * space, and kernel writes are resolved too (6.12, 6.18). Not NULL: if that is
 * allowed, make one where writes by the kernel wait for an answer too, and set
 * *kernel_faults; without it read(2) & co. into a protected page fail. For a
 * borrowed one *kernel_faults is false, because nothing is known. */
int ww_uffd_open(struct ww_fd *out, const struct ww_options *o,
		 bool *kernel_faults, const char **reason);

/* Register memory of any kind for write-protection. -EOPNOTSUPP: not this kind
 * of memory; -EPERM: the descriptor is not ours any more; -EBUSY: it belongs to
 * another userfaultfd. */
int ww_uffd_register(const struct ww_fd *fd, uintptr_t start, uintptr_t end);
int ww_uffd_unregister(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

/* Protect all pages, those that do not exist too: costs page tables. */
int ww_uffd_protect(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

/* Take the protection away, and wake the writers that wait for that. */
int ww_uffd_unprotect(const struct ww_fd *fd, uintptr_t start, uintptr_t end);
/* Unregister, and wake all writers: unregistering alone wakes none that waits
 * for a protected page. The protection is taken away first, then the writers
 * that were on the way are woken. */
void ww_uffd_let_go(const struct ww_fd *fd, uintptr_t start, uintptr_t end);
void ww_uffd_wake(const struct ww_fd *fd, uintptr_t start, uintptr_t end);

#endif
