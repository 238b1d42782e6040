/* SPDX-License-Identifier: MIT */
/*
 * place.h - which code and data lie together in the library's file.
 */
#ifndef WW_PLACE_H
#define WW_PLACE_H

/* Put what the library may write to, and no query may depend on, into one
 * section: ww_heap_owns() knows it as the library's own memory. */
#define WW_DATA __attribute__((section("ww_data")))

/* On the way of each query of the fast backend, or of each fault. The linker puts such
 * functions side by side: a scan that re-arms pages empties the processor's translation
 * buffers, as mprotect(2) and a signal do in part, and then each page of code costs a
 * walk through the page tables. */
#define WW_OFTEN __attribute__((hot))

#endif
