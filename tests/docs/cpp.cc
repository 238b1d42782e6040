// SPDX-License-Identifier: MIT
// cpp.cc - runs the C++ listing of doc/bindings.md.
#include <cassert>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

#include LISTING

static std::size_t saved;

void save(void *, std::size_t len)
{
	saved += len;
}

int main()
{
	const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
	void *m = mmap(nullptr, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	writewatch::tracker t;

	assert(m != MAP_FAILED && t.open() == 0 && t.watch(m, 8 * page) == 0);
	static_cast<char *>(m)[3 * page] = 1;
	assert(save_what_was_written(t, m, 8 * page) == 0 && saved == page);
	assert(save_what_was_written(t, m, 8 * page) == 0 && saved == page);
	assert(t.unwatch(m, 8 * page) == 0);
	return 0;
}
