// SPDX-License-Identifier: MIT
// program.cc - writewatch.hpp as a program uses it; without exceptions.
#include <cstdlib>
#include <sys/mman.h>
#include <utility>
#include <writewatch.hpp>

#define CHECK(x)                      \
	do {                          \
		if (!(x))             \
			return __LINE__ % 250 + 1; \
	} while (0)

int main()
{
	const std::size_t page = 4096 * 16, len = 256 * page;
	char *m = static_cast<char *>(mmap(nullptr, len, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1,
					   0));
	writewatch::tracker closed, t;

	CHECK(m != MAP_FAILED);
	CHECK(!closed && closed.caps() == 0 && *closed.backend() == '\0');
	CHECK(closed.watch(m, len) == -22);
	CHECK(t.open() == 0 && t && *t.backend());
	{
		writewatch::watched w(t, m, len);
		std::size_t runs = 0, bytes = 0;

		CHECK(w.error() == 0);
		CHECK(writewatch::watched(t, m, len).error() == -17);
		// more runs than one call of the view has room for
		for (std::size_t i = 0; i < 256; i += 2)
			m[i * page] = 1;
		auto seen = t.dirty(m, len);
		for (ww_range r : seen) {
			runs++;
			bytes += r.len;
		}
		CHECK(seen.error() == 0 && runs == 128 && bytes > 0);
		runs = 0;
		for (const ww_range &r : t.dirty(nullptr, 0, WW_RESET | WW_WINDOW)) {
			CHECK(r.start == m + runs * 2 * page);
			runs++;
		}
		CHECK(runs == 128);
		for (ww_range r : t.dirty(m, len))
			CHECK(r.len == 0); // none
		CHECK(t.mark(m + 5, 1) == 0 && t.reset(m, len) == 0);
		auto none = t.dirty(m + len, page);
		CHECK(none.begin() == none.end() && none.error() == -2);
	}
	auto gone = t.dirty(m, len); // w let go of it
	CHECK(gone.begin() == gone.end() && gone.error() == -2);
	writewatch::tracker moved(std::move(t));
	CHECK(!t && moved && moved.watch(m, len) == 0);
	t = std::move(moved);
	CHECK(t && !moved && t.unwatch(m, len) == 0);
	t.close();
	CHECK(!t);
	return 0;
}
