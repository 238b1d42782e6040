/* SPDX-License-Identifier: MIT */
/*
 * test-kernel-facts.c - what we rely on in the kernel, without our library: red
 * here means the kernel, not us. Each fact carries the version it was seen on.
 */
#include "test.h"

#include <sched.h>
#include <sys/uio.h>
#include <sys/syscall.h>

#include "kernel/uapi/procfs.h"
#include "kernel/uapi/userfaultfd.h"

#define N 8

static int uffd, pagemap;
static char *m;
static struct page_region vec[64];

static int make(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC };

	uffd = (int)syscall(SYS_userfaultfd,
			    UFFD_USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return uffd < 0 ? -1 : ioctl(uffd, UFFDIO_API, &api);
}

static int enroll(void *at, size_t len)
{
	struct uffdio_register r = { { (uintptr_t)at, len },
				     UFFDIO_REGISTER_MODE_WP,
				     0 };

	return ioctl(uffd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}

static int change(void *at, size_t len, uint64_t mode)
{
	struct uffdio_writeprotect wp = { { (uintptr_t)at, len }, mode };

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) < 0 ? -errno : 0;
}

static int protect(void *at, size_t len)
{
	return change(at, len, UFFDIO_WRITEPROTECT_MODE_WP);
}

static void begin(void)
{
	assert_int_equal(make(), 0);
	m = test_map(N);
	madvise(m, N * PAGE, MADV_NOHUGEPAGE);
	assert_int_equal(enroll(m, N * PAGE), 0);
}

static void end(void)
{
	close(uffd);
	close(pagemap);
	test_unmap(m, N);
}

static struct pm_scan_arg arg_for(void *at, size_t len, uint64_t flags)
{
	return (struct pm_scan_arg){
		.size = sizeof(struct pm_scan_arg),
		.flags = flags | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)at,
		.end = (uintptr_t)at + len,
		.vec = (uintptr_t)vec,
		.vec_len = 64,
		.category_mask = PAGE_IS_WRITTEN,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PFNZERO,
	};
}

static int scan(uint64_t flags)
{
	struct pm_scan_arg arg = arg_for(m, N * PAGE, flags);

	memset(vec, 0, sizeof(vec));
	return ioctl(pagemap, PAGEMAP_SCAN, &arg) < 0 ? -errno : 0;
}

static size_t regions(void)
{
	size_t n = 0;

	while (n < 64 && vec[n].end)
		n++;
	return n;
}

/* 6.12, 6.18: nothing is protected, and yet the first write is seen. */
static void lazily_armed_memory_is_exact(void **state)
{
	volatile char c;

	begin();
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 0);
	m[PAGE] = 1;
	assert_int_equal(scan(PM_SCAN_WP_MATCHING), 0);
	assert_int_equal(regions(), 1);
	assert_int_equal(vec[0].categories, 0);
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 0);
	/* a read makes a zero page, told by PFNZERO */
	c = m[3 * PAGE];
	(void)c;
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 1);
	assert_int_equal(vec[0].categories, PAGE_IS_PFNZERO);
	end();
}

/* 6.12, 6.18: the ioctl says EPERM where a mapping is not registered, after it
 * has re-armed those before it; the vector has them. */
static void errors_come_after_pages_were_re_armed(void **state)
{
	begin();
	m[0] = 1;
	mmap(m + 4 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
	assert_int_equal(scan(PM_SCAN_WP_MATCHING), -EPERM);
	assert_int_equal(regions(), 1);
	assert_int_equal(vec[0].start, (uintptr_t)m);
	end();
}

/* 6.12, 6.18: address holes are skipped. */
static void holes_are_skipped(void **state)
{
	begin();
	m[0] = m[7 * PAGE] = 1;
	munmap(m + 3 * PAGE, PAGE);
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 2);
	close(uffd);
	close(pagemap);
	munmap(m - PAGE, 4 * PAGE);
	munmap(m + 4 * PAGE, (N - 3) * PAGE);
}

/* 6.12, 6.18: without WP_ASYNC WRITTEN means "not protected", too; a page that
 * does not exist is neither PRESENT nor SWAPPED, unless it is protected; a scan for
 * all skips only what is unmapped. uffd-sync tries this before it relies on it. */
static void a_scan_tells_what_is_protected_without_wp_async(void **state)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					      UFFD_FEATURE_WP_UNPOPULATED };
	const uint64_t there = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
	struct pm_scan_arg arg;

	begin();
	close(uffd);
	uffd = (int)syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC);
	assert_int_equal(ioctl(uffd, UFFDIO_API, &api), 0);
	assert_int_equal(enroll(m, N * PAGE), 0);
	m[0] = m[PAGE] = 1;
	assert_int_equal(protect(m + PAGE, 2 * PAGE), 0);
	munmap(m + 5 * PAGE, PAGE);
	arg = arg_for(m, N * PAGE, 0);
	arg.flags = arg.category_mask = arg.category_anyof_mask = 0;
	arg.return_mask = PAGE_IS_WRITTEN | there;
	assert_int_equal(ioctl(pagemap, PAGEMAP_SCAN, &arg), 5);
	assert_int_equal(vec[0].categories, PAGE_IS_WRITTEN | PAGE_IS_PRESENT);
	assert_int_equal(vec[1].categories, PAGE_IS_PRESENT);
	assert_int_equal(vec[2].categories, PAGE_IS_SWAPPED);
	assert_int_equal(vec[3].categories & there, 0);
	assert_int_equal(vec[3].end, (uintptr_t)m + 5 * PAGE);
	assert_int_equal(vec[4].start, (uintptr_t)m + 6 * PAGE);
	close(uffd);
	close(pagemap);
	munmap(m - PAGE, 6 * PAGE);
	munmap(m + 6 * PAGE, (N - 5) * PAGE);
}

/* 6.18: a page that does not exist is written for a scan that asks for no more, and
 * protected by it. Un-protecting undoes that, and what was written is written again. */
static void un_protecting_undoes_a_re_arming(void **state)
{
	struct pm_scan_arg arg;

	begin();
	m[PAGE] = 1;
	arg = arg_for(m, 3 * PAGE, PM_SCAN_WP_MATCHING);
	arg.category_anyof_mask = 0;
	assert_int_equal(ioctl(pagemap, PAGEMAP_SCAN, &arg), 1);
	assert_int_equal(vec[0].end - vec[0].start, 3 * PAGE);
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 0);
	assert_int_equal(change(m, 3 * PAGE, 0), 0);
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 1);
	assert_int_equal(vec[0].start, (uintptr_t)m + PAGE);
	assert_int_equal(vec[0].end, (uintptr_t)m + 2 * PAGE);
	/* as before the scan: it is not protected when it is read */
	(void)*(volatile char *)(m + 2 * PAGE);
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 2);
	assert_int_equal(vec[1].categories, PAGE_IS_PFNZERO);
	end();
}

/* 6.18: reached at the last match, max_pages goes on to the end. */
static void walk_end_is_the_next_match_or_the_end(void **state)
{
	struct pm_scan_arg arg;

	begin();
	m[PAGE] = m[4 * PAGE] = 1;
	arg = arg_for(m, N * PAGE, 0);
	arg.max_pages = 1;
	assert_int_equal(ioctl(pagemap, PAGEMAP_SCAN, &arg), 1);
	assert_true(arg.walk_end > (uintptr_t)m + PAGE &&
		    arg.walk_end <= (uintptr_t)m + 4 * PAGE);
	arg = arg_for(m, N * PAGE, 0);
	arg.max_pages = 2;
	assert_int_equal(ioctl(pagemap, PAGEMAP_SCAN, &arg), 2);
	assert_int_equal(arg.walk_end, (uintptr_t)m + N * PAGE);
	end();
}

/* 6.12, 6.18: user-mode-only is enough for the kernel's writes too. */
static void kernel_writes_are_resolved_and_recorded(void **state)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	begin();
	memset(m, 1, N * PAGE);
	assert_int_equal(scan(PM_SCAN_WP_MATCHING), 0);
	assert_int_equal(read(fd, m + 2 * PAGE, 1), 1);
	assert_int_equal(scan(0), 0);
	assert_int_equal(regions(), 1);
	assert_int_equal(vec[0].start, (uintptr_t)m + 2 * PAGE);
	close(fd);
	end();
}

/* 6.18: a second userfaultfd on the memory is EBUSY. */
static void memory_has_one_userfaultfd(void **state)
{
	int first;

	begin();
	first = uffd;
	assert_int_equal(make(), 0);
	assert_int_equal(enroll(m, N * PAGE), -EBUSY);
	close(first);
	end();
}

/* 6.18: only hugetlb lacks ZEROPAGE among the range's ioctls. */
static void hugetlb_is_told_by_its_ioctls(void **state)
{
	struct uffdio_register r = { { 0, 0 }, UFFDIO_REGISTER_MODE_WP, 0 };
	void *huge = mmap(NULL, test_huge_page(), RW,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	void *shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	begin();
	r.range.start = (uintptr_t)shared;
	r.range.len = PAGE;
	assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &r), 0);
	assert_true(r.ioctls & 1ull << _UFFDIO_ZEROPAGE);
	assert_true(r.ioctls & 1ull << _UFFDIO_WRITEPROTECT);
	if (huge != MAP_FAILED) {
		r.range.start = (uintptr_t)huge;
		r.range.len = test_huge_page();
		assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &r), 0);
		assert_false(r.ioctls & 1ull << _UFFDIO_ZEROPAGE);
		munmap(huge, test_huge_page());
	}
	munmap(shared, PAGE);
	end();
}

/* 6.18: CHECK_WPASYNC is content with any owner. Memory that is replaced and
 * given to another tracker behind our back can not be told from our own. */
static void the_check_does_not_ask_whose_it_is(void **state)
{
	int first;

	begin();
	munmap(m + 4 * PAGE, 4 * PAGE);
	first = uffd;
	assert_int_equal(make(), 0);
	mmap(m + 4 * PAGE, 4 * PAGE, RW,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	assert_int_equal(enroll(m + 4 * PAGE, 4 * PAGE), 0);
	assert_int_equal(scan(0), 0);
	close(first);
	end();
}

/* 6.18: pieces of never-touched memory, written while they are mappings of
 * their own, stay mappings of their own; one page touched before prevents it. */
static long left_split(bool touch)
{
	long before;
	int i;

	m = test_map(64);
	if (touch)
		m[0] = 1;
	before = test_mappings();
	mprotect(m, 64 * PAGE, PROT_READ);
	for (i = 0; i < 64; i += 2) {
		mprotect(m + i * PAGE, PAGE, RW);
		m[i * PAGE] = 1;
	}
	mprotect(m, 64 * PAGE, RW);
	before = test_mappings() - before;
	test_unmap(m, 64);
	return before;
}

static void pieces_of_untouched_memory_do_not_merge_again(void **state)
{
	assert_int_equal(left_split(true), 0);
	/* should this become 0 one day, mp_arm() can do without the touch */
	assert_true(left_split(false) > 0);
}

static atomic_uint epoch, parked;

static void *write_each_epoch(void *arg)
{
	const size_t line = (uintptr_t)arg * 64;
	unsigned mine = 0, i;

	for (;;) {
		while (atomic_load(&epoch) == mine)
			sched_yield();
		mine = atomic_load(&epoch);
		if (mine == UINT32_MAX)
			return NULL;
		for (i = 0; i < N; i++)
			*(volatile unsigned *)(m + i * PAGE + line) = mine;
		atomic_fetch_add(&parked, 1);
	}
}

static bool collect(char *mirror)
{
	size_t i;

	CHECK(scan(PM_SCAN_WP_MATCHING) == 0);
	for (i = 0; i < regions(); i++)
		memcpy(mirror + (vec[i].start - (uintptr_t)m),
		       (void *)(uintptr_t)vec[i].start,
		       vec[i].end - vec[i].start);
	return regions() > 0;
}

/* 6.12, 6.18 on x86-64: a store is before the end of the scan that reports its
 * page, or is found by the next one. */
static void racing_stores_are_never_lost(void **state)
{
	char *mirror = calloc(N, PAGE);
	unsigned e, i, lost = 0, epochs = 2000 / (unsigned)test_slowness() + 50;
	pthread_t t[2];

	begin();
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, write_each_epoch,
			       (void *)(uintptr_t)i);
	for (e = 1; e <= epochs; e++) {
		atomic_store(&parked, 0);
		atomic_store(&epoch, e);
		while (atomic_load(&parked) < 2)
			collect(mirror);
		while (collect(mirror))
			;
		for (i = 0; i < N; i++)
			if (memcmp(mirror + i * PAGE, m + i * PAGE, PAGE)) {
				memcpy(mirror + i * PAGE, m + i * PAGE, PAGE);
				lost++;
			}
	}
	atomic_store(&epoch, UINT32_MAX);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	print_message("  %u epochs: %u pages lost\n", epochs, lost);
	assert_int_equal(lost, 0);
	free(mirror);
	end();
}

static void *write_pinned(void *source)
{
	struct iovec local = { source, 8 }, remote = { m + 2 * PAGE, 8 };

	CHECK(process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == 8);
	return NULL;
}

/* 6.12, 6.18: process_vm_writev(2) pins the pages first, and writes to them by
 * the kernel's own mapping later. A reset between the two, here while the
 * source's page is waited for, loses the write. */
static void a_write_to_pinned_pages_is_lost_over_a_reset(void **state)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = 1 /* MISSING */ };
	struct { uint64_t dst, src, len, mode; int64_t copied; } fill;
	int waits = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *source, *content = test_map(1);
	pthread_t t;

	begin();
	source = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range = (struct uffdio_range){ (uintptr_t)source, PAGE };
	if (waits >= 0 && ioctl(waits, UFFDIO_API, &api) == 0 &&
	    ioctl(waits, UFFDIO_REGISTER, &reg) == 0) {
		struct uffd_msg msg;

		memset(m, 1, N * PAGE);
		assert_int_equal(scan(PM_SCAN_WP_MATCHING), 0);
		pthread_create(&t, NULL, write_pinned, source);
		assert_int_equal(read(waits, &msg, sizeof(msg)), sizeof(msg));
		/* pinned, told as written, and re-armed */
		assert_int_equal(scan(PM_SCAN_WP_MATCHING), 0);
		assert_int_equal(regions(), 1);
		memset(content, 7, PAGE);
		fill.dst = (uintptr_t)source;
		fill.src = (uintptr_t)content;
		fill.len = PAGE;
		fill.mode = 0;
		assert_int_equal(ioctl(waits, 0xc028aa03 /* UFFDIO_COPY */,
				       &fill),
				 0);
		pthread_join(t, NULL);
		assert_int_equal(m[2 * PAGE], 7); /* it has landed, */
		assert_int_equal(scan(0), 0);
		assert_int_equal(regions(), 0); /* and nothing tells */
	}
	close(waits);
	munmap(source, PAGE);
	test_unmap(content, 1);
	end();
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(lazily_armed_memory_is_exact),
		CASE(errors_come_after_pages_were_re_armed),
		CASE(holes_are_skipped),
		CASE(walk_end_is_the_next_match_or_the_end),
		CASE(un_protecting_undoes_a_re_arming),
		CASE(a_scan_tells_what_is_protected_without_wp_async),
		CASE(kernel_writes_are_resolved_and_recorded),
		CASE(memory_has_one_userfaultfd),
		CASE(hugetlb_is_told_by_its_ioctls),
		CASE(the_check_does_not_ask_whose_it_is),
		CASE(pieces_of_untouched_memory_do_not_merge_again),
		CASE(racing_stores_are_never_lost),
		CASE(a_write_to_pinned_pages_is_lost_over_a_reset),
	};
	const char *require = getenv("WRITEWATCH_REQUIRE_BACKEND");

	if (make() < 0) {
		fprintf(stderr, "no userfaultfd with WP_ASYNC here\n");
		return require && strstr(require, "uffd-async") ? 1 : 77;
	}
	close(uffd);
	close(pagemap);
	return cmocka_run_group_tests_name("kernel-facts", cases, NULL, NULL) ?
		       1 :
		       0;
}
