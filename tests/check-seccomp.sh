#!/bin/sh
# SPDX-License-Identifier: MIT
# check-seccomp.sh SRC LIBRARY - the lists of system calls in doc/ (blocks that
# begin with ```syscalls BACKEND [lent]) are enough for a whole life with each
# backend that is usable here, under a filter that kills for everything else.
set -eu
src=$1 library=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0 ran=0

# list FILE HEADING: the names in a block, one a line
list() {
	awk -v head="\`\`\`syscalls $2" '$0 == head { on = 1; next } /^```/ { on = 0 } on' "$src/doc/$1" |
		tr -s ' ' '\n' | grep . || { echo "doc/$1 has no list for $2" >&2; exit 1; }
}

# life BACKEND FILE HEADING MODE [lent]
life() {
	list "$2" "$3" | awk '{ printf "#ifdef SYS_%s\nSYS_%s,\n#endif\n", $1, $1 }' >"$tmp/calls.h"
	cc -O1 -I"$tmp" -I"$src/include" -o "$tmp/sandbox" "$src/tests/sandbox.c" "$library" \
		"-Wl,-rpath,$(dirname "$library")"
	status=0
	"$tmp/sandbox" "$1" "$4" ${5:-} 2>"$tmp/log" || status=$?
	case $status in
	0) ran=$((ran + 1)) ;;
	77) echo "not usable here: $1 $4" ;;
	*)
		echo "$1, opened $4 the filter ${5:-}: status $status"
		cat "$tmp/log"
		number=$(sed -n 's/^system call 0*\([0-9]*\) is missing/\1/p' "$tmp/log")
		[ -z "$number" ] || echo '#include <sys/syscall.h>' | cc -E -dM - |
			sed -n "s/^#define __NR_\([a-z0-9_]*\) $number\$/that is \1/p"
		bad=1 ;;
	esac
}

for backend in uffd-async soft-dirty uffd-sync mprotect process_memwatch; do
	life $backend backends.md $backend before
	life $backend backends.md $backend behind
done
life uffd-async containers.md "uffd-async lent" before lent
life uffd-async containers.md "uffd-async lent" behind lent
[ $ran -ge 4 ] || { echo "only $ran ran"; bad=1; }
exit $bad
