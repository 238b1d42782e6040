/* SPDX-License-Identifier: MIT */
/*
 * call.h - what the files with system calls share: the call itself, by how many
 * arguments it has.
 */
#ifndef WW_CALL_H
#define WW_CALL_H

#include <sys/syscall.h>

#include "kernel/arch.h"
#include "kernel/uapi/numbers.h"

#define call6(nr, a, b, c, d, e, f)                                            \
	ww_arch_call(nr, (long)(a), (long)(b), (long)(c), (long)(d),           \
		     (long)(e), (long)(f))
#define call5(nr, a, b, c, d, e) call6(nr, a, b, c, d, e, 0)
#define call4(nr, a, b, c, d) call6(nr, a, b, c, d, 0, 0)
#define call3(nr, a, b, c) call6(nr, a, b, c, 0, 0, 0)
#define call2(nr, a, b) call6(nr, a, b, 0, 0, 0, 0)
#define call1(nr, a) call6(nr, a, 0, 0, 0, 0, 0)

/* A kernel's timespec of two longs: long enough for what is slept here,
 * and for a thread's time. */
#if defined(SYS_nanosleep)
#define NR_NANOSLEEP SYS_nanosleep
#define NR_CLOCK_GETTIME SYS_clock_gettime
typedef long time_word;
#else
#define NR_NANOSLEEP SYS_clock_nanosleep_time64
#define NR_CLOCK_GETTIME SYS_clock_gettime64
typedef int64_t time_word;
#endif

#ifdef SYS_futex
#define NR_FUTEX SYS_futex
#else
#define NR_FUTEX SYS_futex_time64
#endif

#endif
