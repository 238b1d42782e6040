/* SPDX-License-Identifier: MIT */
/*
 * probe.c - what ww_probe() says here, a line for each backend:
 * "NAME usable|ERRNO CAPS", and "choice CAPS NAME" for what ww_open() takes when
 * it is asked for these guarantees. The kernel matrix compares it with
 * expect.list.
 */
#include <errno.h>
#include <stdio.h>
#include <writewatch.h>

/* strerrorname_np() is of glibc 2.32. */
static const char *name_of(int e)
{
#define NAME(e) { e, #e }
	static const struct {
		int e;
		const char *name;
	} names[] = { NAME(EINVAL), NAME(ENOENT), NAME(EEXIST), NAME(EFAULT),
		      NAME(EBUSY),  NAME(EPERM),  NAME(ESRCH),	NAME(ENOMEM),
		      NAME(ENOSYS), NAME(EOPNOTSUPP) };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].e == e)
			return names[i].name;
	return "undocumented";
}

static void print_caps(unsigned caps)
{
	const char *sep = "";
	unsigned i;

	for (i = 0; i < 32; i++)
		if (caps & 1u << i) {
			printf("%s%s", sep, ww_cap_name(1u << i));
			sep = ",";
		}
	if (!*sep)
		printf("-");
}

static void choose(unsigned require)
{
	struct ww_options o = { .size = sizeof(o), .require = require };
	struct ww_backend_info info = { .size = sizeof(info) };
	struct ww *ww;
	int r = ww_open(&ww, &o);

	printf("choice ");
	print_caps(require);
	if (r < 0) {
		printf(" %s\n", name_of(-r));
		return;
	}
	ww_info(ww, &info);
	printf(" %s\n", info.name);
	ww_close(ww);
}

int main(void)
{
	struct ww_backend_info info = { .size = sizeof(info) };
	unsigned i;

	for (i = 0; ww_probe(i, &info) == 0; i++) {
		printf("%s %s ", info.name,
		       info.status ? name_of(-info.status) : "usable");
		print_caps(info.caps);
		printf("\n");
	}
	choose(0);
	choose(WW_CAP_KERNEL_WRITES);
	return 0;
}
