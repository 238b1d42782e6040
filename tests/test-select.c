/* SPDX-License-Identifier: MIT */
/* test-select.c - which backend is taken, and what is said about the others. */
#include "test.h"

#include "writewatch-win32.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static char said[4096];

static void log_line(void *data, const char *line)
{
	CHECK(data == said);
	strcat(said, line);
	strcat(said, "\n");
}

static int open_with(const char *name, unsigned require, char *got)
{
	struct ww_options o = { .size = sizeof(o),
				.backend = name,
				.require = require,
				.log = log_line,
				.log_data = said };
	struct ww_backend_info info = { .size = sizeof(info) };
	struct ww *ww;
	int r;

	said[0] = '\0';
	r = ww_open(&ww, &o);
	if (r == 0) {
		CHECK(ww_info(ww, &info) == 0);
		strcpy(got, info.name);
		ww_close(ww);
	}
	return r;
}

static void the_first_usable_one_is_taken(void **state)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	char got[32];
	unsigned i;

	unsetenv("WRITEWATCH_BACKEND");
	unsetenv("WRITEWATCH_DISABLE");
	for (i = 0; ww_probe(i, &info) == 0 && info.status < 0; i++) {
		assert_non_null(info.reason);
		assert_true(strlen(info.reason) > 10);
	}
	assert_int_equal(open_with(NULL, 0, got), 0);
	assert_string_equal(got, info.name);
}

static void the_environment_fills_a_null_only(void **state)
{
	char got[32];

	setenv("WRITEWATCH_BACKEND", "mprotect", 1);
	assert_int_equal(open_with(NULL, 0, got), 0);
	assert_string_equal(got, "mprotect");
	if (open_with("uffd-async", 0, got) == 0)
		assert_string_equal(got, "uffd-async");
	setenv("WRITEWATCH_BACKEND", "nonsense", 1);
	assert_int_equal(open_with(NULL, 0, got), -ENOENT);
	setenv("WRITEWATCH_BACKEND", "", 1);
	assert_int_equal(open_with(NULL, 0, got), 0);
	unsetenv("WRITEWATCH_BACKEND");
	assert_int_equal(open_with("nonsense", 0, got), -ENOENT);
}

static void what_is_disabled_is_not_probed(void **state)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	char got[32];
	unsigned i;

	setenv("WRITEWATCH_DISABLE",
	       "x,process_memwatch,uffd-async,soft-dirty,uffd-sync", 1);
	assert_int_equal(open_with(NULL, 0, got), 0);
	assert_string_equal(got, "mprotect");
	assert_non_null(strstr(said, "uffd-async: disabled"));
	assert_int_equal(open_with("uffd-async", 0, got), -EPERM);
	for (i = 0; ww_probe(i, &info) == 0; i++)
		if (!strcmp(info.name, "uffd-async")) {
			assert_int_equal(info.status, -EPERM);
			assert_non_null(strstr(info.reason,
					       "WRITEWATCH_DISABLE"));
		}
	setenv("WRITEWATCH_DISABLE",
	       "process_memwatch,uffd-async,soft-dirty,uffd-sync,mprotect", 1);
	assert_int_equal(open_with(NULL, 0, got), -EOPNOTSUPP);
	unsetenv("WRITEWATCH_DISABLE");
}

static void what_is_required_must_be_guaranteed(void **state)
{
	char got[32];
	int r;

	assert_int_equal(open_with("mprotect", WW_CAP_KERNEL_WRITES, got),
			 -EOPNOTSUPP);
	assert_non_null(strstr(said, "does not guarantee"));
	r = open_with(NULL, WW_CAP_KERNEL_WRITES, got);
	if (r == 0)
		assert_string_not_equal(got, "mprotect");
	else
		assert_int_equal(r, -EOPNOTSUPP);
	assert_int_equal(open_with("mprotect", WW_CAP_REMOTE, got),
			 -EOPNOTSUPP);
	assert_int_equal(open_with(NULL, WW_CAP_ATOMIC_RESET | WW_CAP_EXACT,
				   got),
			 0);
}

/* System call `nr` answers `code`. */
static void refuse(int nr, int code)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			 SECCOMP_RET_ERRNO | (unsigned)code),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, filter };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

static void under_a_filter(void *arg)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	char got[32];
	unsigned i;

	refuse(SYS_userfaultfd, *(int *)arg);
	CHECK(setuid(65534) == 0); /* no access to /dev/userfaultfd */
	CHECK(open_with(NULL, 0, got) == 0);
	CHECK(strncmp(got, "uffd", 4) != 0);
	for (i = 0; ww_probe(i, &info) == 0; i++)
		if (!strcmp(info.name, "uffd-async")) {
			CHECK(info.status == -*(int *)arg);
			CHECK(strstr(info.reason, "seccomp"));
		}
}

static void second_door(void *arg)
{
	char got[32];

	refuse(SYS_userfaultfd, EPERM);
	CHECK(open_with("uffd-async", 0, got) == 0);
}

static void seccomp_filters_are_survived(void **state)
{
	char got[32];
	int code = EPERM;

	if (getuid() != 0) {
		test_not_promised("root's rights");
		return;
	}
	assert_int_equal(test_child(under_a_filter, &code), 0);
	code = ENOSYS;
	assert_int_equal(test_child(under_a_filter, &code), 0);
	/* /dev/userfaultfd is the other way in */
	if (open_with("uffd-async", 0, got) == 0 && access("/dev/userfaultfd", R_OK | W_OK) == 0)
		assert_int_equal(test_child(second_door, NULL), 0);
}

static int memwatch_status(void)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	unsigned i;

	for (i = 0; ww_probe(i, &info) == 0; i++)
		if (!strcmp(info.name, "process_memwatch"))
			return info.status;
	return 1;
}

static void memwatch_under_a_filter(void *arg)
{
	refuse(451, *(int *)arg);
	CHECK(memwatch_status() == -ENOSYS);
}

static void another_number(void *arg)
{
	setenv("WRITEWATCH_MEMWATCH_NR", arg, 1);
	CHECK(memwatch_status() == -ENOSYS);
}

/* 451 is cachestat(2) since Linux 6.5. Filters answer anything, and all at
 * once; 0 pretends success. */
static void no_other_call_passes_for_process_memwatch(void **state)
{
	static const int codes[] = { EPERM, ENOSYS, EINVAL, EBADF, EFAULT, 0 };
	int status = memwatch_status();
	char text[16], dup[16];
	size_t i;

	assert_true(status == 0 || status == -ENOSYS);
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		assert_int_equal(test_child(memwatch_under_a_filter,
					    (void *)&codes[i]),
				 0);
	sprintf(text, "%d", SYS_madvise);
	sprintf(dup, "%d", SYS_dup);
	assert_int_equal(test_child(another_number, text), 0);
	assert_int_equal(test_child(another_number, dup), 0);
	assert_int_equal(test_child(another_number, "100000"), 0);
	assert_int_equal(memwatch_status(), status);
}

static void unprivileged(void *arg)
{
	char got[32], *best = arg;

	CHECK(setuid(65534) == 0);
	CHECK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
	CHECK(open_with(NULL, 0, got) == 0);
	CHECK(!strcmp(got, best));
}

static void no_privilege_is_needed(void **state)
{
	char best[32];

	if (getuid() != 0) {
		test_not_promised("root's rights");
		return;
	}
	assert_int_equal(open_with(NULL, 0, best), 0);
	assert_int_equal(test_child(unprivileged, best), 0);
}

static void probing_leaves_no_trace(void **state)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	int before = test_descriptors();
	unsigned i;

	for (i = 0; ww_probe(i, &info) == 0; i++)
		assert_true(info.status <= 0);
	assert_true(i >= 2);
	assert_int_equal(test_descriptors(), before);
}

static void borrowed_descriptors_are_used_and_kept(void **state)
{
	struct ww_options o = { .size = sizeof(o),
				.backend = "uffd-async",
				.flags = WW_OPEN_UFFD | WW_OPEN_PAGEMAP };
	char *m = test_map(4), got[32];
	struct ww *ww;

	if (open_with("uffd-async", 0, got) != 0) {
		test_not_promised("uffd-async");
		return;
	}
	o.uffd = (int)syscall(SYS_userfaultfd, 1 | O_CLOEXEC | O_NONBLOCK);
	o.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (o.uffd < 0)
		return;
	assert_int_equal(ww_open(&ww, &o), 0);
	assert_int_equal(ww_watch(ww, m, 4 * PAGE, 0), 0);
	test_write(m, 2, -1);
	test_expect(ww, m, 4, WW_RESET, 2, -1);
	ww_close(ww);
	assert_true(fcntl(o.uffd, F_GETFD) >= 0);
	assert_true(fcntl(o.pagemap, F_GETFD) >= 0);
	close(o.uffd);
	close(o.pagemap);
	test_unmap(m, 4);
}

/* Row 7.25, and the one time that the Win32 face can be given a tracker. */
static void allocate_without_a_backend(void *arg)
{
	CHECK(setenv("WRITEWATCH_BACKEND", "none", 1) == 0);
	CHECK(!ww_VirtualAlloc(NULL, 0x10000,
			       WW_MEM_RESERVE | WW_MEM_WRITE_WATCH,
			       WW_PAGE_READWRITE));
	CHECK(ww_GetLastError() == WW_ERROR_NOT_SUPPORTED);
	CHECK(ww_VirtualAlloc(NULL, 0x10000, WW_MEM_RESERVE,
			      WW_PAGE_READWRITE));
}

static void no_backend_is_error_50(void **state)
{
	assert_int_equal(test_child(allocate_without_a_backend, NULL), 0);
}

static void use_a_tracker(void *arg)
{
	struct ww_options o = { .size = sizeof(o), .backend = "mprotect" };
	struct ww *ww, *other;

	CHECK(ww_open(&ww, &o) == 0 && ww_open(&other, &o) == 0);
	CHECK(ww_win32_use(NULL) == -EINVAL);
	CHECK(ww_win32_use(ww) == 0 && ww_win32_tracker() == ww);
	CHECK(ww_win32_use(ww) == 0);
	CHECK(ww_win32_use(other) == -EEXIST && ww_win32_tracker() == ww);
}

static void the_win32_face_takes_one_tracker(void **state)
{
	assert_int_equal(test_child(use_a_tracker, NULL), 0);
}

TEST_MAIN("select", CASE(the_first_usable_one_is_taken),
	  CASE(the_environment_fills_a_null_only),
	  CASE(what_is_disabled_is_not_probed),
	  CASE(what_is_required_must_be_guaranteed),
	  CASE(seccomp_filters_are_survived),
	  CASE(no_other_call_passes_for_process_memwatch), CASE(no_privilege_is_needed),
	  CASE(probing_leaves_no_trace),
	  CASE(borrowed_descriptors_are_used_and_kept),
	  CASE(no_backend_is_error_50),
	  CASE(the_win32_face_takes_one_tracker))
