#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh [--werror] [--build DIR] [--bench | --kernels [NAME...]] - build, then run
# the whole test suite, or with --kernels the same on other kernels (kernels/run.sh),
# and end with "N passed, N failed, N skipped". With --bench measure instead: tables
# here, CSV files and plots in DIR/bench. A skip names its reason;
# WRITEWATCH_REQUIRE_BACKEND=a,b makes a skip of those backends a failure.
set -eu
cd "$(dirname "$0")/.."
. examples/setup.sh
dir=build werror=false kernels= bench=
while [ $# -gt 0 ]; do
	case $1 in
	--werror) werror=true ;;
	--build) shift; dir=$1 ;;
	--bench) bench=yes ;;
	--kernels) shift; kernels=yes; break ;;
	*) echo "usage: sh tests/run.sh [--werror] [--build DIR] [--bench | --kernels [NAME...]]"; exit 2 ;;
	esac
	shift
done
need g++ c++
need libcmocka-dev /usr/include/cmocka.h
need binutils readelf
need python3 python3
# in CI nothing is left out for want of a tool
[ -z "${CI:-}" ] || {
	need gcc-mingw-w64-x86-64 x86_64-w64-mingw32-gcc
	need mandoc mandoc
	need cmake cmake
}
install_missing
build "$dir" -Dtests=true -Dwerror=$werror
if [ -n "$kernels" ]; then
	[ $werror = false ] || set -- --werror "$@"
	exec sh tests/kernels/run.sh "$dir" "$@"
fi

if [ -n "$bench" ]; then
	mkdir -p "$dir/bench"
	exec "$dir/tests/bench" "$dir/bench"
fi

status=0
# the limits are for a machine that does nothing else
meson test -C "$dir" --no-rebuild --print-errorlogs -t 3 || status=1
count() {
	grep -c "\"result\": \"$1\"" "$dir/meson-logs/testlog.json" || true
}
echo "skipped, and why:"
grep '"result": "SKIP"' "$dir/meson-logs/testlog.json" |
	sed 's/.*"name": "\([^"]*\)".*"stderr": "\([^"]*\)".*/  \1: \2/' || true
ok=$(count OK)
skipped=$(count SKIP)
all=$(wc -l <"$dir/meson-logs/testlog.json")
echo "$ok passed, $((all - ok - skipped)) failed, $skipped skipped"
exit $status
