/* SPDX-License-Identifier: MIT */
/*
 * The part of userfaultfd(2) and ioctl_userfaultfd(2) that we use, written from
 * the documented ABI under the kernel's names, so that a library built against
 * old headers uses what a newer kernel has. Do not include
 * <linux/userfaultfd.h> beside it.
 */
#ifndef WW_UAPI_USERFAULTFD_H
#define WW_UAPI_USERFAULTFD_H

#include <linux/types.h>
#include <sys/ioctl.h>

#define UFFD_API ((__u64)0xAA)

#define UFFD_USER_MODE_ONLY 1 /* flag of userfaultfd(2), Linux 5.11 */

/* /dev/userfaultfd, Linux 6.1: a descriptor by file permission */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)

#define UFFD_FEATURE_PAGEFAULT_FLAG_WP (1ull << 0)
#define UFFD_FEATURE_THREAD_ID (1ull << 8)	     /* Linux 4.14 */
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1ull << 12) /* Linux 5.19 */
#define UFFD_FEATURE_WP_UNPOPULATED (1ull << 13)     /* Linux 6.4 */
#define UFFD_FEATURE_WP_ASYNC (1ull << 15)	     /* Linux 6.7 */

struct uffdio_api {
	__u64 api;
	__u64 features;
	__u64 ioctls;
};

struct uffdio_range {
	__u64 start;
	__u64 len;
};

#define UFFDIO_REGISTER_MODE_WP ((__u64)1 << 1)

struct uffdio_register {
	struct uffdio_range range;
	__u64 mode;
	__u64 ioctls; /* out: bits 1 << _UFFDIO_... */
};

#define UFFDIO_WRITEPROTECT_MODE_WP ((__u64)1 << 0)

struct uffdio_writeprotect {
	struct uffdio_range range;
	__u64 mode;
};

#define _UFFDIO_ZEROPAGE 0x04
#define _UFFDIO_WRITEPROTECT 0x06

#define UFFD_EVENT_PAGEFAULT 0x12

struct uffd_msg {
	__u8 event;
	__u8 reserved1;
	__u16 reserved2;
	__u32 reserved3;
	union {
		struct {
			__u64 flags;
			__u64 address;
			__u32 ptid;
			__u32 reserved;
		} pagefault;
		struct {
			__u64 reserved1;
			__u64 reserved2;
			__u64 reserved3;
		} reserved;
	} arg;
};

#define UFFDIO_API _IOWR(0xAA, 0x3F, struct uffdio_api)
#define UFFDIO_REGISTER _IOWR(0xAA, 0x00, struct uffdio_register)
#define UFFDIO_UNREGISTER _IOR(0xAA, 0x01, struct uffdio_range)
#define UFFDIO_WAKE _IOR(0xAA, 0x02, struct uffdio_range)
#define UFFDIO_WRITEPROTECT                                                    \
	_IOWR(0xAA, _UFFDIO_WRITEPROTECT, struct uffdio_writeprotect)

#endif
