#!/bin/sh
# SPDX-License-Identifier: MIT
# mutants.sh [NAME...] - negative controls: the library is broken in one way after
# the other, in a copy, and each time a test must turn red. A mutant is a patch,
# mutants/NAME.patch, whose first line names the test program and the backend (or
# -). One that survives, or does not apply any more, is a failure. Ends with
# "N passed, N failed, N skipped".
set -u
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

# mutant NAME TEST BACKEND
mutant() {
	patch -d "$tmp" -p1 -s -F0 <"$src/tests/mutants/$1.patch" >"$tmp/log" 2>&1 || {
		failed "$1" "does not apply any more"
		return
	}
	if ! ninja -C "$tmp/build" "tests/$2" >"$tmp/log" 2>&1; then
		failed "$1" "can not be built"
	else
		backend=$3
		[ "$backend" != - ] || backend=
		(cd "$tmp/build" && WRITEWATCH_BACKEND=$backend WRITEWATCH_TEST_SYSTEM=1 \
			WRITEWATCH_TEST_WRITES=400000 timeout -k 1 100 "tests/$2") >"$tmp/log" 2>&1
		case $? in
		0) failed "$1" "SURVIVED $2 on $3" ;;
		77) echo "$1: skipped, $3 is not usable"; skipped=$((skipped + 1)) ;;
		*) echo "$1: killed by $2 on $3"; killed=$((killed + 1)) ;;
		esac
	fi
	patch -d "$tmp" -p1 -s -R <"$src/tests/mutants/$1.patch"
}

[ $# -gt 0 ] || set -- $(cd "$src/tests/mutants" && ls ./*.patch |
	sed 's|^./||; s|\.patch$||')
for name; do
	read -r test backend <"$src/tests/mutants/$name.patch"
	mutant "$name" "$test" "$backend"
done
echo "$killed passed, $survived failed, $skipped skipped"
[ $survived = 0 ]
