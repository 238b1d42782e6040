/* SPDX-License-Identifier: MIT */
/*
 * test-hostile.c - surroundings that take things away: descriptors, /proc,
 * rights, memory, system calls. Nothing is lost, hung, leaked or answered with
 * "clean" for that. Linked statically, so that a set-user-ID copy of it finds
 * the library.
 */
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "kernel/uapi/numbers.h"

#define N 16

static struct test_fixture f;

static void begin(void)
{
	f = (struct test_fixture){ test_open(), test_map(N), N };
	memset(f.m, 1, N * PAGE);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
}

/* In a child, which may break itself; hanging is failing. */
static void in_child(void (*fn)(void *))
{
	assert_int_equal(test_child(fn, NULL), 0);
}

static bool uses_userfaultfd(unsigned caps)
{
	return caps & WW_CAP_NO_SIGNAL &&
	       (caps & WW_CAP_SHARED || !(caps & WW_CAP_NO_THREAD));
}

static size_t dirty(unsigned flags)
{
	void *pages[N];
	size_t n = N;
	int r = ww_get(f.ww, f.m, N * PAGE, flags, pages, &n, NULL);

	return r < 0 ? SIZE_MAX : n;
}

/* --- descriptors --- */

static void use_early_descriptors(void *arg)
{
	struct ww_options o = { .size = sizeof(o),
				.flags = WW_OPEN_UFFD | WW_OPEN_PAGEMAP };
	unsigned caps;

	f.ww = test_open();
	caps = test_caps(f.ww);
	ww_close(f.ww);
	if (!uses_userfaultfd(caps)) {
		test_not_promised("a userfaultfd is used");
		return;
	}
	o.uffd = (int)syscall(SYS_userfaultfd, 1 /* USER_MODE_ONLY */);
	o.pagemap = open("/proc/self/pagemap", O_RDONLY);
	CHECK(o.uffd >= 0 && o.pagemap >= 0);
	if (getuid() == 0)
		CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
	CHECK(ww_open(&f.ww, &o) == 0);
	f.m = test_map(N);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	f.m[3 * PAGE] = 1;
	CHECK(dirty(WW_RESET) == 1 && dirty(0) == 0);
	ww_close(f.ww);
}

static void descriptors_made_early_serve_a_locked_down_host(void **state)
{
	in_child(use_early_descriptors);
}

static void lend_the_wrong_ones(void *arg)
{
	struct ww_options o = { .size = sizeof(o),
				.flags = WW_OPEN_UFFD | WW_OPEN_PAGEMAP };
	unsigned caps;
	int before;

	f.ww = test_open();
	caps = test_caps(f.ww);
	ww_close(f.ww);
	if (!uses_userfaultfd(caps)) {
		test_not_promised("a userfaultfd is used");
		return;
	}
	before = test_descriptors();
	o.uffd = o.pagemap = 999;
	CHECK(ww_open(&f.ww, &o) == -EINVAL);
	o.uffd = o.pagemap = 0;
	CHECK(ww_open(&f.ww, &o) == -EINVAL);
	CHECK(test_descriptors() == before);
}

static void descriptors_of_another_kind_are_einval(void **state)
{
	in_child(lend_the_wrong_ones);
}

/* As a daemon does; with a child that keeps the registration alive. */
static void close_everything(void *arg)
{
	struct test_sleeper sleeper;
	unsigned caps;
	size_t found;
	int fd[64], i;

	begin();
	caps = test_caps(f.ww);
	sleeper = test_sleeper_start();
	for (i = 3; i < 64; i++)
		if (i != sleeper.wake)
			close(i);
	/* the numbers are the host's own from now on */
	for (i = 0; i < 32; i++)
		fd[i] = eventfd(0, 0);
	f.m[2 * PAGE] = f.m[5 * PAGE] = 2;
	found = dirty(WW_RESET);
	if (caps & WW_CAP_NO_SIGNAL && uses_userfaultfd(caps))
		CHECK(found == SIZE_MAX); /* an error, never "clean" */
	else
		CHECK(found >= 2);
	f.m[6 * PAGE] = 3;
	ww_unwatch(f.ww, f.m, N * PAGE, 0);
	f.m[7 * PAGE] = 3;
	ww_close(f.ww);
	for (i = 0; i < 32; i++) {
		uint64_t value;

		CHECK(fcntl(fd[i], F_GETFD) >= 0); /* not closed, not written */
		CHECK(fcntl(fd[i], F_SETFL, O_NONBLOCK) == 0);
		CHECK(read(fd[i], &value, 8) < 0);
	}
	memset(f.m, 4, N * PAGE); /* all of it is let go */
	test_sleeper_end(sleeper);
}

static void a_daemon_that_closes_everything_goes_on(void **state)
{
	in_child(close_everything);
}

/* Many slices, all let go by the thread; and the end, again and again. */
static void close_descriptors_again_and_again(void *arg)
{
	time_t until = time(NULL) + 8;
	int round, i;

	/* Each round has 16 answers of a thread, which a loaded machine takes
	 * its time for. */
	for (round = 0; round < 300 / (int)test_slowness() + 3 &&
			(round < 3 || time(NULL) < until); round++) {
		begin();
		CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
		for (i = 0; i < N; i++)
			CHECK(ww_watch(f.ww, f.m + i * PAGE, PAGE, 0) == 0);
		for (i = 3; i < 32; i++)
			close(i);
		f.m[5 * PAGE] = 2;
		CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
		ww_close(f.ww);
		memset(f.m, 3, N * PAGE);
		test_unmap(f.m, N);
	}
}

/* As many of them as keep all processors busy: who is woken waits for its turn. */
static void closing_after_the_host_closed_all_never_hangs(void **state)
{
	pid_t other[16];
	long n = 2 * sysconf(_SC_NPROCESSORS_ONLN), i;

	n = n < 16 ? n : 16;
	for (i = 0; i < n; i++) {
		other[i] = fork();
		if (other[i] == 0) {
			/* one that hangs has its signals blocked */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close_descriptors_again_and_again(NULL);
			_exit(0);
		}
	}
	in_child(close_descriptors_again_and_again);
	for (i = 0; i < n; i++) {
		int status = 1;

		waitpid(other[i], &status, 0);
		assert_int_equal(status, 0);
	}
}

/* One open file for two trackers, and for the host itself. */
static void share_a_pagemap(void *arg)
{
	struct ww_options o = { .size = sizeof(o), .flags = WW_OPEN_PAGEMAP };
	struct ww *other;
	char *more = test_map(N);

	o.pagemap = open("/proc/self/pagemap", O_RDONLY);
	CHECK(o.pagemap >= 0 && ww_open(&f.ww, &o) == 0);
	f.m = test_map(N);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	CHECK(ww_open(&other, &o) == 0);
	CHECK(ww_watch(other, more, N * PAGE, 0) == 0);
	CHECK(lseek(o.pagemap, 4096, SEEK_SET) == 4096);
	f.m[PAGE] = more[2 * PAGE] = 1;
	CHECK(dirty(WW_RESET) == 1);
	CHECK(test_count(other, more, N, WW_RESET) == 1);
	ww_close(other);
	f.m[PAGE] = 2;
	CHECK(dirty(WW_RESET) == 1);
	ww_close(f.ww);
}

static void a_lent_descriptor_may_be_shared(void **state)
{
	in_child(share_a_pagemap);
}

/* The first tracker's descriptors were closed, and their numbers are another one's
 * now, or the host's, which has the same files open. */
static void close_a_tracker_without_descriptors(void *arg)
{
	struct ww *first = test_open();
	int fd[8], i;

	CHECK(syscall(SYS_close_range, 3u, ~0u, 0u) == 0);
	begin();
	ww_close(first);
	f.m[3 * PAGE] = 2;
	CHECK(dirty(WW_RESET) == 1 && dirty(0) == 0);
	CHECK(syscall(SYS_close_range, 3u, ~0u, 0u) == 0);
	for (i = 0; i < 8; i++)
		CHECK((fd[i] = open(i % 2 ? "/proc/self/pagemap"
					  : "/proc/self/maps",
				    O_RDONLY)) >= 0);
	ww_close(f.ww);
	for (i = 0; i < 8; i++)
		CHECK(fcntl(fd[i], F_GETFD) >= 0);
}

static void closing_a_tracker_closes_nothing_of_others(void **state)
{
	if (syscall(SYS_close_range, ~0u, ~0u, 0u) != 0) {
		test_not_promised("close_range(2), Linux 5.9");
		return;
	}
	in_child(close_a_tracker_without_descriptors);
}

static void set_nofile(rlim_t cur)
{
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = cur;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void live_without_descriptors(void *arg)
{
	struct ww *other;
	int before, i;

	begin();
	before = test_descriptors();
	set_nofile(0);
	for (i = 0; i < 3; i++) {
		f.m[i * PAGE] = 2;
		CHECK(dirty(WW_RESET) == 1);
	}
	CHECK(ww_open(&other, NULL) == -ENOMEM);
	unsetenv("WRITEWATCH_BACKEND");
	CHECK(ww_open(&other, NULL) == -ENOMEM);
	set_nofile(1024);
	CHECK(test_descriptors() == before);
	f.m[9 * PAGE] = 2;
	CHECK(dirty(WW_RESET) == 1);
	ww_close(f.ww);
}

static void descriptors_that_ran_out_are_enomem(void **state)
{
	in_child(live_without_descriptors);
}

/* --- a fork child that can not be set up --- */

static void fork_without_descriptors(void *arg)
{
	pid_t pid;
	int status;

	begin();
	f.m[4 * PAGE] = 2;
	pid = fork();
	if (pid == 0) {
		pthread_t t;
		int i;

		set_nofile(0);
		for (i = 0; i < 3; i++)
			CHECK(dirty(0) == SIZE_MAX || dirty(0) == N);
		set_nofile(1024);
		CHECK(dirty(WW_RESET) == N);
		f.m[5 * PAGE] = 3;
		CHECK(dirty(WW_RESET) == 1);
		CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
		ww_close(f.ww);
		/* and no thread of the host's was taken for one of ours */
		CHECK(pthread_create(&t, NULL, (void *(*)(void *))strdup,
				     "x") == 0 &&
		      pthread_join(t, NULL) == 0);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(dirty(WW_RESET) == 1); /* the parent's own */
	/* a child that gives up at once */
	pid = fork();
	if (pid == 0) {
		set_nofile(0);
		ww_close(f.ww);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	f.m[6 * PAGE] = 2;
	CHECK(dirty(WW_RESET) == 1);
	ww_close(f.ww);
}

static void a_child_that_fails_to_renew_can_try_again(void **state)
{
	in_child(fork_without_descriptors);
}

static void mark_in_a_child(void *arg)
{
	int status;
	pid_t pid;

	begin();
	pid = fork();
	if (pid == 0)
		_exit(ww_mark(f.ww, f.m, 4 * PAGE, 0) != 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(dirty(0) == 0);
	ww_close(f.ww);
}

static void a_mark_of_a_child_does_not_touch_the_parent(void **state)
{
	in_child(mark_in_a_child);
}

/* --- rights, /proc, memory --- */

static void open_somehow(void)
{
	int r;

	unsetenv("WRITEWATCH_BACKEND");
	r = ww_open(&f.ww, NULL);
	if (r < 0) {
		CHECK(r == -EOPNOTSUPP); /* no backend at all */
		return;
	}
	f.m = test_map(N);
	CHECK(ww_watch(f.ww, f.m, N * PAGE, 0) == 0);
	f.m[3 * PAGE] = 1;
	CHECK(dirty(WW_RESET) == 1);
	ww_close(f.ww);
}

static void lose_proc(void *arg)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	unsigned i;

	if (getuid() != 0 || unshare(CLONE_NEWNS) != 0) {
		test_not_promised("a mount namespace, as this user");
		return;
	}
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 ||
	      errno == EINVAL);
	CHECK(umount2("/proc", MNT_DETACH) == 0);
	for (i = 0; ww_probe(i, &info) == 0; i++)
		CHECK(info.status <= 0 && info.reason[0]);
	open_somehow();
}

static void a_system_without_proc_is_survived(void **state)
{
	in_child(lose_proc);
}

static void lose_proc_later(void *arg)
{
	if (getuid() != 0 || unshare(CLONE_NEWNS) != 0) {
		test_not_promised("a mount namespace, as this user");
		return;
	}
	begin();
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 ||
	      errno == EINVAL);
	CHECK(umount2("/proc", MNT_DETACH) == 0);
	f.m[3 * PAGE] = 2;
	CHECK(dirty(WW_RESET) == 1);
	CHECK(ww_unwatch(f.ww, f.m, N * PAGE, 0) == 0);
	memset(f.m, 3, N * PAGE);
	ww_close(f.ww);
}

static void proc_may_go_after_the_opening(void **state)
{
	in_child(lose_proc_later);
}

static void become_non_dumpable(void *arg)
{
	if (getuid() == 0)
		CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
	open_somehow();
}

static void a_process_that_is_not_dumpable_finds_a_backend(void **state)
{
	in_child(become_non_dumpable);
}

static void run_out_of_address_space(void *arg)
{
	struct rlimit limit = { 0, RLIM_INFINITY };
	char *more;
	void *pages[2];
	size_t n = 2;
	int r;

	begin();
	more = test_map(1 << 16);
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	f.m[3 * PAGE] = 2;
	r = ww_watch(f.ww, more, (1 << 16) * PAGE, 0);
	CHECK(r == -ENOMEM || r == 0);
	if (r == 0) /* it fitted in what the allocator had */
		CHECK(ww_unwatch(f.ww, more, (1 << 16) * PAGE, 0) == 0);
	CHECK(ww_get(f.ww, f.m, N * PAGE, WW_RESET, pages, &n, NULL) == 0);
	CHECK(n == 1 && pages[0] == f.m + 3 * PAGE);
	limit.rlim_cur = RLIM_INFINITY;
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	CHECK(ww_watch(f.ww, more, PAGE, 0) == 0);
	ww_close(f.ww);
}

static void address_space_that_ran_out_is_enomem(void **state)
{
	in_child(run_out_of_address_space);
}

/* --- system calls that kill --- */

static void kill_on_userfaultfd(void *arg)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]),
				      filter };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	setenv("WRITEWATCH_DISABLE", "uffd-async,uffd-sync", 1);
	open_somehow();
}

static void what_is_disabled_is_not_even_tried(void **state)
{
	in_child(kill_on_userfaultfd);
}

/* --- set-user-ID programs --- */

static int name_backend(void)
{
	struct ww_backend_info info = { .size = sizeof(info) };

	if (ww_open(&f.ww, NULL) < 0 || ww_info(f.ww, &info) < 0)
		return 1;
	printf("%s\n", info.name);
	return 0;
}

static void read_name(const char *command, char *name, size_t size)
{
	FILE *file = popen(command, "r");

	assert_non_null(file);
	assert_non_null(fgets(name, (int)size, file));
	pclose(file);
}

static void set_user_id_programs_ignore_the_environment(void **state)
{
	char copy[] = "/tmp/hostile-XXXXXX", command[200];
	char plain[32], privileged[32], best[32];
	int fd = mkstemp(copy);

	assert_true(fd >= 0);
	close(fd);
	snprintf(command, sizeof(command), "cp /proc/%d/exe %s", getpid(),
		 copy);
	assert_int_equal(system(command), 0);
	assert_int_equal(chmod(copy, 0755), 0);
	snprintf(command, sizeof(command),
		 "WRITEWATCH_BACKEND=mprotect %s name", copy);
	read_name(command, plain, sizeof(plain));
	assert_string_equal(plain, "mprotect\n");
	if (getuid() == 0) {
		struct stat st;

		assert_int_equal(chown(copy, 65534, 65534), 0);
		assert_int_equal(chmod(copy, 06755), 0);
		snprintf(command, sizeof(command),
			 "unset WRITEWATCH_BACKEND; %s name", copy);
		read_name(command, best, sizeof(best));
		snprintf(command, sizeof(command),
			 "WRITEWATCH_BACKEND=mprotect %s name", copy);
		read_name(command, privileged, sizeof(privileged));
		assert_int_equal(stat(copy, &st), 0);
		assert_string_equal(privileged, best);
	}
	unlink(copy);
}

TEST_CASES("hostile",
	   CASE(descriptors_made_early_serve_a_locked_down_host),
	   CASE(descriptors_of_another_kind_are_einval),
	   CASE(a_daemon_that_closes_everything_goes_on),
	   CASE(closing_after_the_host_closed_all_never_hangs),
	   CASE(closing_a_tracker_closes_nothing_of_others),
	   CASE(a_lent_descriptor_may_be_shared),
	   CASE(descriptors_that_ran_out_are_enomem),
	   CASE(a_child_that_fails_to_renew_can_try_again),
	   CASE(a_mark_of_a_child_does_not_touch_the_parent),
	   CASE(a_system_without_proc_is_survived),
	   CASE(proc_may_go_after_the_opening),
	   CASE(a_process_that_is_not_dumpable_finds_a_backend),
	   CASE(address_space_that_ran_out_is_enomem),
	   CASE(what_is_disabled_is_not_even_tried),
	   CASE(set_user_id_programs_ignore_the_environment))

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "name"))
		return name_backend();
	return test_main(run_cases);
}
