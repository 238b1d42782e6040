#!/bin/sh
# SPDX-License-Identifier: MIT
# check-abi-diff.sh - a program that was linked to the last release runs with this
# library: abidiff against the kept dump of 0.1, and against the last tag if there
# is one. That it would tell is tried first, on two broken ones.
set -eu
src=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# library NAME COMMIT [COMMAND]: build that one, changed by a command
library() {
	git clone -q "$src" "$tmp/$1"
	git -C "$tmp/$1" -c advice.detachedHead=false checkout -q "$2"
	(cd "$tmp/$1" && eval "${3:-:}")
	{ meson setup "$tmp/$1/build" "$tmp/$1" -Dtests=disabled -Dexamples=false &&
	  ninja -C "$tmp/$1/build" src/libwritewatch.so."$(sed -n \
		"s/.*version: '\([0-9.]*\)'.*/\1/p" "$tmp/$1/meson.build" |
		head -n 1)"; } >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
}

# differs A B: is B unfit for programs that were linked to A?
differs() {
	status=0
	abidiff --no-added-syms "$tmp/$1"/build/src/libwritewatch.so.0 \
		"$tmp/$2"/build/src/libwritewatch.so.0 >"$tmp/diff" 2>&1 || status=$?
	[ $status != 0 ]
}

library now HEAD
library fewer HEAD "sed -i '/^\tww_mark;/d' src/libwritewatch.map"
# shellcheck disable=SC2016
library other HEAD "sed -i 's/^\tsize_t len;\$/\tunsigned len;/' include/writewatch.h"
differs now fewer || { echo "abidiff does not see a missing call"; exit 1; }
differs now other || { echo "abidiff does not see a changed struct"; exit 1; }
# differs_from DUMP: is the library of now unfit for programs that were linked to it?
differs_from() {
	status=0
	abidiff --no-added-syms --suppressions "$src/tests/abi/private.suppr" \
		"$1" "$tmp/now/build/src/libwritewatch.so.0" \
		>"$tmp/diff" 2>&1 || status=$?
	[ $status != 0 ]
}

# Where tags do not travel: the dump that was made when the interface was frozen,
# by: abidw --no-corpus-path --no-comp-dir-path --no-show-locs LIBRARY
if [ "$(uname -m)" = x86_64 ]; then
	dump=$src/tests/abi/libwritewatch.so.0-x86_64.abi
	if differs_from "$dump"; then
		cat "$tmp/diff"
		echo "not compatible with $dump: the soname has to change"
		exit 1
	fi
	echo "compatible with $(basename "$dump")"
fi

tag=$(git -C "$src" describe --tags --abbrev=0 2>/dev/null || true)
if [ -z "$tag" ]; then
	exit 0
fi
library last "$tag"
if differs last now; then
	cat "$tmp/diff"
	echo "not compatible with $tag: the soname has to change"
	exit 1
fi
echo "compatible with $tag"
