/* SPDX-License-Identifier: MIT */
/*
 * numbers.h - numbers of the kernel's interface that the headers of older libcs and
 * kernels lack (Debian 10's, musl 1.1).
 */
#ifndef WW_UAPI_NUMBERS_H
#define WW_UAPI_NUMBERS_H

#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* Linux 5.9 */
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1u << 1)
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* Linux 5.3 */
#endif

#ifndef SYS_process_madvise
#define SYS_process_madvise 440 /* Linux 5.10 */
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d61 /* Linux 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif

#endif
