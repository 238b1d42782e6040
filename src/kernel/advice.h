/* SPDX-License-Identifier: MIT */
/*
 * advice.h - advice to the kernel about memory under watch. 0 or -errno.
 */
#ifndef WW_ADVICE_H
#define WW_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

/* Turn KSM off, and huge pages unless they are to be kept: with them one write
 * would show as 512 pages, or not at all. A kernel that has neither is fine. */
int ww_advise_plain_pages(uintptr_t start, uintptr_t end, bool keep_huge);

/* Keep a mapping from merging with one that is mapped beside it later: that
 * would make all of it soft-dirty. Done by read-ahead advice, which means
 * nothing to anonymous memory. ww_advise_let_join() takes the advice back. */
int ww_advise_keep_apart(uintptr_t start, uintptr_t end);
void ww_advise_let_join(uintptr_t start, uintptr_t end);

/* MADV_DONTNEED; -EOPNOTSUPP: locked pages. */
int ww_advise_drop(uintptr_t start, uintptr_t end);

#endif
