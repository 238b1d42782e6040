#!/bin/sh
# SPDX-License-Identifier: MIT
# mutants.sh [NAME...] - negative controls: the library is broken in one way after
# the other, in a copy, and each time a test must turn red. A mutant is a patch,
# mutants/NAME.patch, whose first line names the test program, the backend (or -)
# and settings for its environment. A test that hangs is red only where this line
# has the word "hangs": else it may be slow, and find nothing. (A program goes on
# after a test that failed, and is slow on a busy machine.) A mutant that survives, or
# does not apply any more, is a failure. Ends with "N passed, N failed, N skipped".
set -u
unset WRITEWATCH_TEST_SLOWNESS # thins out what the mutants need
src=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
killed=0 survived=0 skipped=0

git -C "$src" ls-files -z | (cd "$src" && xargs -0 cp --parents -t "$tmp")
meson setup "$tmp/build" "$tmp" -Dexamples=false >"$tmp/log" 2>&1 &&
	ninja -C "$tmp/build" >>"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }

# failed NAME WHY
failed() {
	cat "$tmp/log"
	echo "$1: $2"
	survived=$((survived + 1))
}

# mutant NAME TEST BACKEND [SETTING...]
mutant() {
	patch -d "$tmp" -p1 -s -F0 <"$src/tests/mutants/$1.patch" >"$tmp/log" 2>&1 || {
		failed "$1" "does not apply any more"
		return
	}
	if ! ninja -C "$tmp/build" "tests/$2" >"$tmp/log" 2>&1; then
		failed "$1" "can not be built"
	else
		name=$1 test=$2 backend=$3 how=
		shift 3
		limit=150
		[ "${1-}" != hangs ] || { how=$1 limit=30; shift; }
		[ "$backend" = - ] || set -- "WRITEWATCH_BACKEND=$backend" "$@"
		(cd "$tmp/build" && env WRITEWATCH_TEST_SYSTEM=1 WRITEWATCH_TEST_WRITES=400000 "$@" \
			timeout -k 1 "$limit" "tests/$test") >"$tmp/log" 2>&1
		status=$?
		case $status:$how in
		0:*) failed "$name" "SURVIVED $test on $backend" ;;
		77:*) echo "$name: skipped, $backend is not usable"; skipped=$((skipped + 1)) ;;
		124: | 137:) failed "$name" "SURVIVED $test on $backend, which takes too long" ;;
		*) echo "$name: killed by $test on $backend"; killed=$((killed + 1)) ;;
		esac
		set -- "$name"
	fi
	patch -d "$tmp" -p1 -s -R <"$src/tests/mutants/$1.patch"
}

[ $# -gt 0 ] || set -- $(cd "$src/tests/mutants" && ls ./*.patch |
	sed 's|^./||; s|\.patch$||')
for name; do
	read -r words <"$src/tests/mutants/$name.patch"
	# shellcheck disable=SC2086 # several words
	mutant "$name" $words
done
echo "$killed passed, $survived failed, $skipped skipped"
[ $survived = 0 ]
