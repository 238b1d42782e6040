#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh [--werror] [--coverage] [--build DIR] [--bench | --kernels [NAME...] | --all] - build,
# then run the whole test suite and end with "N passed, N failed, N skipped".
#	--bench		measure instead: tables here, CSV files and plots in DIR/bench
#	--kernels	the suite on other kernels (kernels/run.sh)
#	--all		everything at full length: suite, mutants, checks, kernels
# --coverage: and say how much of src/ the suite runs; too little is a failure.
# What was skipped is summed by its cause. WRITEWATCH_REQUIRE_BACKEND=a,b makes a
# skip of those backends a failure.
set -eu
cd "$(dirname "$0")/.."
. examples/setup.sh
dir=build werror=false kernels= bench= coverage=
while [ $# -gt 0 ]; do
	case $1 in
	--werror) werror=true ;;
	--coverage) coverage=yes ;;
	--build) shift; dir=$1 ;;
	--bench) bench=yes ;;
	--kernels) shift; kernels=yes; break ;;
	--all) exec sh tests/all.sh full ;;
	*) echo "usage: sh tests/run.sh [--werror] [--coverage] [--build DIR] [--bench | --kernels [NAME...] | --all]"; exit 2 ;;
	esac
	shift
done
need_to_test
# in CI nothing is left out for want of a tool
[ -z "${CI:-}" ] || {
	need gcc-mingw-w64-x86-64 x86_64-w64-mingw32-gcc
	need mandoc mandoc
	need cmake cmake
	need sqlite3 sqlite3
}
[ -z "$coverage" ] || need gcovr gcovr
install_missing
build "$dir" -Dtests=enabled -Dwerror=$werror ${coverage:+-Db_coverage=true}
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
meson test -C "$dir" --no-rebuild --print-errorlogs -t 3 \
	${WRITEWATCH_TEST_QUICK:+--suite quick} || status=1
[ -z "$coverage" ] || sh tests/coverage.sh "$dir" || status=1
sh tests/count.sh "$dir/meson-logs/testlog.json"
exit $status
