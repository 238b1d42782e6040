#!/bin/sh
# SPDX-License-Identifier: MIT
# check-floors.sh SRC - the #include lines of src/ go down one way (layout in
# doc/internals.md). The last part shows that the check sees an arrow up.
set -eu
cd "$1/src"
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT

# arrows FILE...: "FROM TO" for each include of ours, FROM and TO being floors
arrows() {
	grep -H '^#include "' "$@" | sed 's/^\([^:]*\):#include "\([^"]*\)".*/\1 \2/'
}

# judge: says what is not allowed
judge() {
	awk '
	function floor(path) { return path ~ /\// ? substr(path, 1, index(path, "/") - 1) : "top" }
	function stem(path) { sub(/.*\//, "", path); sub(/(-handler|-thread|-collect|-scan|-bits|-gate)?[.][ch]$/, "", path); return path }
	BEGIN {
		allowed["base"] = " base kernel "     # kernel/sys.h and arch.h alone, below
		allowed["kernel"] = " kernel base "
		allowed["core"] = " core kernel base "
		allowed["backends"] = " backends core kernel base "
		allowed["top"] = " top core kernel base "
		allowed["win32"] = " win32 kernel base "
		allowed["cli"] = " cli "
	}
	{
		from = floor($1); to = $2 ~ /\// ? floor($2) : from == "top" ? "top" : from
		if ($2 == "writewatch.h" || $2 == "writewatch-win32.h") next
		if ($2 ~ /^kernel\/uapi\//) next
		# the object in the program makes raw system calls
		if ($1 ~ /^cli\/preload/ && $2 == "kernel/call.h") next
		if (index(allowed[from], " " to " ") == 0) bad = "not that way"
		else if (from == "base" && to == "kernel" && $2 !~ /^kernel\/(sys|arch)[.]h$/) bad = "base knows sys.h only"
		else if (from == "backends" && to == "backends" && stem($1) != stem($2) && stem($2) != "prots" &&
			!($1 ~ /memwatch/ && $2 ~ /softdirty/)) bad = "a sibling"
		else next
		print $1 " includes " $2 ": " bad
	}' "$1"
}

# shellcheck disable=SC2046 # no file has blanks
arrows $(find . -name '*.[ch]' | sed 's|^\./||') >"$tmp"
[ "$(wc -l <"$tmp")" -gt 100 ] || { echo "the includes were not found"; exit 1; }
wrong=$(judge "$tmp")
[ -z "$wrong" ] || { echo "$wrong"; exit 1; }
for arrow in "kernel/maps.c core/area.h" "core/area.c backends/prots.h" "backends/mprotect.c backends/uffd-async.h" \
	"win32/query.c core/area.h"; do
	echo "$arrow" >"$tmp"
	[ -n "$(judge "$tmp")" ] || { echo "it does not see $arrow"; exit 1; }
done
