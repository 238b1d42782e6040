/* SPDX-License-Identifier: MIT */
/*
 * ioctls of /proc/PID/pagemap and /proc/PID/maps, written from the kernel's
 * documentation (admin-guide/mm/pagemap.rst, filesystems/proc.rst) under its
 * names. Do not include <linux/fs.h> beside it.
 */
#ifndef WW_UAPI_PROCFS_H
#define WW_UAPI_PROCFS_H

#include <linux/types.h>
#include <sys/ioctl.h>

/* PAGEMAP_SCAN, Linux 6.7 */

#define PAGE_IS_WRITTEN (1ull << 1)
#define PAGE_IS_FILE (1ull << 2)
#define PAGE_IS_PRESENT (1ull << 3)
#define PAGE_IS_SWAPPED (1ull << 4)
#define PAGE_IS_PFNZERO (1ull << 5)
#define PAGE_IS_GUARD (1ull << 8) /* Linux 6.15 */

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

#define PM_SCAN_WP_MATCHING (1ull << 0)
#define PM_SCAN_CHECK_WPASYNC (1ull << 1)

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end; /* out */
	__u64 vec;
	__u64 vec_len;	 /* regions; 0 means no vector */
	__u64 max_pages; /* 0 means no limit */
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)

/* Entries read from /proc/PID/pagemap, one for each page */

#define PM_SOFT_DIRTY (1ull << 55)     /* Linux 3.11 */
#define PM_MMAP_EXCLUSIVE (1ull << 56) /* Linux 4.2 */
#define PM_UFFD_WP (1ull << 57)	       /* Linux 5.13 */
#define PM_GUARD (1ull << 58)	       /* Linux 6.15 */
#define PM_FILE (1ull << 61)
#define PM_SWAP (1ull << 62)
#define PM_PRESENT (1ull << 63)

/* PROCMAP_QUERY, Linux 6.11 */

#define PROCMAP_QUERY_VMA_READABLE 0x01
#define PROCMAP_QUERY_VMA_WRITABLE 0x02
#define PROCMAP_QUERY_VMA_EXECUTABLE 0x04
#define PROCMAP_QUERY_VMA_SHARED 0x08
#define PROCMAP_QUERY_COVERING_OR_NEXT_VMA 0x10

struct procmap_query {
	__u64 size;
	__u64 query_flags;
	__u64 query_addr;
	__u64 vma_start;
	__u64 vma_end;
	__u64 vma_flags;
	__u64 vma_page_size;
	__u64 vma_offset;
	__u64 inode;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 vma_name_size;
	__u32 build_id_size;
	__u64 vma_name_addr;
	__u64 build_id_addr;
};

#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)

#endif
