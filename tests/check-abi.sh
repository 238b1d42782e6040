#!/bin/sh
# SPDX-License-Identifier: MIT
# check-abi.sh LIBRARY SOURCE - header, map and .so agree on the names; nothing
# else is exported, no constructor runs, and it stays loaded.
set -eu
lib=$1 src=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

nm -D --defined-only "$lib" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' |
	sort -u >"$tmp/so"
sed -n 's/^\t\(ww_[A-Za-z0-9_]*\);$/\1/p' "$src/src/libwritewatch.map" |
	sort -u >"$tmp/map"
cat "$src/include/writewatch.h" "$src/include/writewatch-win32.h" |
	grep -v '^#' | tr '\n' ' ' |
	grep -oE '\bww_[A-Za-z0-9_]+\([^*)]' | sed 's/(.*//' | sort -u >"$tmp/header"
# names that comments mention are declared too, so the sets are equal
diff "$tmp/map" "$tmp/so" || { echo "map and library differ"; exit 1; }
diff "$tmp/map" "$tmp/header" || { echo "map and headers differ"; exit 1; }
readelf -d "$lib" | grep -q NODELETE || { echo "not nodelete"; exit 1; }
readelf -d "$lib" | grep SONAME | grep -q 'libwritewatch.so.0' ||
	{ echo "wrong soname"; exit 1; }
# frame_dummy is the toolchain's own; one pointer is 8 or 4 bytes
size=$(readelf -SW "$lib" | awk '/\.init_array/ { for (i = 1; i < NF; i++)
	if ($i == ".init_array") print $(i + 4) }')
[ "$((0x${size:-0}))" -le 8 ] || nm "$lib" | grep -q __gcov_ || { echo "a constructor runs"; exit 1; }
echo "$(wc -l <"$tmp/so") names agree"
