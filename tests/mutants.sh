#!/bin/sh
# SPDX-License-Identifier: MIT
# mutants.sh [NAME...] - negative controls: the library is broken in one way after
# the other, in a copy, and each time the tests named must turn red. A mutant that
# survives is a failure. Ends with "N passed, N failed, N skipped".
set -u
src=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
wanted=" $* "
killed=0 survived=0

git -C "$src" ls-files -z | (cd "$src" && xargs -0 cp --parents -t "$tmp")
meson setup "$tmp/build" "$tmp" -Dexamples=false >"$tmp/log" 2>&1 ||
	{ cat "$tmp/log"; exit 1; }

# mutant NAME FILE OLD NEW TEST BACKEND: OLD stands in FILE once
mutant() {
	case $wanted in "  " | *" $1 "*) ;; *) return ;; esac
	cp "$src/src/$2" "$tmp/src/$2"
	OLD=$3 NEW=$4 python3 - "$tmp/src/$2" <<-'X' || exit 1
		import os, sys
		path, old, new = sys.argv[1], os.environ['OLD'], os.environ['NEW']
		text = open(path).read()
		if text.count(old) != 1:
		    sys.exit(f'{path}: "{old}" stands there {text.count(old)} times')
		open(path, 'w').write(text.replace(old, new))
	X
	ninja -C "$tmp/build" "tests/test-$5" >"$tmp/log" 2>&1 ||
		{ cat "$tmp/log"; echo "$1 can not be built"; exit 1; }
	if (cd "$tmp/build" && WRITEWATCH_BACKEND=$6 \
		WRITEWATCH_TEST_SYSTEM=1 WRITEWATCH_TEST_WRITES=400000 \
		timeout 100 "tests/test-$5") >"$tmp/log" 2>&1; then
		echo "$1 SURVIVED test-$5 on $6"
		survived=$((survived + 1))
	else
		echo "$1: killed by test-$5 on $6"
		killed=$((killed + 1))
	fi
	cp "$src/src/$2" "$tmp/src/$2"
}

mutant drops-every-1000th-page query.h \
	'			q->pages[q->n++] = (void *)start;' \
	'			if (start / q->page % 1000 != 7)
				q->pages[q->n++] = (void *)start;' torture uffd-async
mutant keeps-hot-pages-to-itself uffd-collect.c \
	'			ww_query_offer(q, from, to);' \
	'			ww_query_settled(q, to);' modes uffd-async
mutant leaves-cold-pages-open hot.c \
	'(page / BLOCK + round) % SAMPLE != 0' 'true' modes mprotect
mutant opens-a-neighbour-s-pages range.h \
	'	if ((s->end - start) >> a->page_shift > WW_COARSE_PAGES)
		s->end' \
	'	s->end' modes uffd-sync
mutant faults-on-its-own-memory range.c \
	'	r = ww_sys_mmap(shift + bytes, &mapped);' \
	'	mapped = calloc(1, shift + bytes);
	r = mapped ? 0 : -ENOMEM;' kinds mprotect
mutant resets-before-it-reads uffd-collect.c \
	'		r = ww_uffd_scan(ww, &s);
		any = found(q, &s);' \
	'		if (q->reset) {
			struct ww_scan all = s;

			all.vec_len = 0;
			ww_uffd_scan(ww, &all);
		}
		r = ww_uffd_scan(ww, &s);
		any = found(q, &s);' query uffd-async
mutant forgets-pending-bits query.c \
	'	while (!ww_query_full(q)) {
		size_t run;' \
	'	while (stop == 0) {
		size_t run;' query uffd-async
mutant clears-in-a-probe backend-softdirty.c \
	'r = ww_sys_in_child(try_clear, page);' 'r = try_clear(page);' \
	core ''
mutant suppresses-quick-repeats query.c \
	'uintptr_t ww_query_offer(struct ww_query *q, uintptr_t start, uintptr_t end)
{
	uintptr_t stored;
' \
	'#include "sys.h"
static struct { uintptr_t at; uint64_t when; } recent[65536];

uintptr_t ww_query_offer(struct ww_query *q, uintptr_t start, uintptr_t end)
{
	uintptr_t stored;
	size_t h = start / 4096 % 65536;
	uint64_t now = ww_sys_now_ns();

	if (q->reset && recent[h].at == start && now - recent[h].when < 2000000)
		return end;
	recent[h].at = start;
	recent[h].when = now;
' torture uffd-async
mutant leaves-pages-read-only backend-mprotect.c \
	'	r = ww_prots_apply_mapped(&state(a)->prots, a, first, stop, true, NULL);' \
	'	r = (int)(first - first + stop - stop);' query mprotect
mutant inherits-descriptors backend-uffd-async.c \
	'	close_descriptors(u);
	return open_descriptors(u, NULL, NULL, &reason);' \
	'	(void)u;
	(void)reason;
	return 0;' fork uffd-async
mutant closes-before-it-is-clean backend-mprotect.c \
	'		if (!make_clean(a, i))
			continue;' \
	'		close_run(a, i, i + 1);
		if (make_clean(a, i) || i == i)
			continue;' torture mprotect
mutant ignores-openers backend-mprotect.c \
	'		if (ww_mprotect_busy(w) ||
		    (at' '		if (0 ||
		    (at' threads mprotect
mutant takes-memory-of-another-tracker fault-registry.c \
	'		if (is_taken(ww, &slice[i]))' \
	'		if (0 && is_taken(ww, &slice[i]))' owners mprotect
mutant frees-an-area-that-lives range.c \
	'	while (i < t->n && t->slice[i].start < area->end &&
	       t->slice[i].area != area)
		i++;' '' model uffd-async
echo "$killed passed, $survived failed, 0 skipped"
[ $survived = 0 ]
