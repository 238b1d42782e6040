#!/bin/sh
# SPDX-License-Identifier: MIT
# all.sh ci|full - every step that there is, each shown when it has ended; then what
# failed once more, a table of the steps with their counts and seconds, and
# "N passed, N failed, N skipped".
# ci: the same steps, but fewer rounds of each race, fewer kernels and shorter
# fuzzing, to end within half an hour on two processors.
set -u
cd "$(dirname "$0")/.."
length=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/table" >"$work/failed"
failures='SURVIVED|does not apply|can not be built|not ok|FAIL|fail|rror|LOST|imeout'
began=$(date +%s)

# step NAME COMMAND...: its output as a whole, when it has ended; the last line of
# it has the counts
step() (
	name=$1 from=$(date +%s) log=$work/$1.log
	shift
	status=0
	echo "-- $name begins"
	"$@" >"$log" 2>&1 || status=$?
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
	[ -n "$line" ] || line="1 passed, 0 failed, 0 skipped"
	case $status:$line in
	0:* | *:*' passed, 0 failed'*) ;;
	*) status=0 ;; # counted as failed already
	esac
	[ "$status" = 0 ] || line="${line%% passed*} passed, 1 failed, ${line##*failed, }"
	case $line in
	*' passed, 0 failed'*) ;;
	*) { echo "== of $name"; grep -E "$failures" "$log" | tail -n 20; } \
		>>"$work/failed" ;;
	esac
	printf '%-12s %5d s  %s\n' "$name" $(($(date +%s) - from)) "$line" >>"$work/table"
	flock "$work/table" sh -c 'echo "== $1"; cat "$2"; echo "status $3"' - \
		"$name" "$log" "$status"
)

checks() {
	for check; do
		step "$check" sh tests/checks.sh "$check"
	done
}

if [ "$length" = ci ]; then
	export WRITEWATCH_FUZZ_SECONDS="${WRITEWATCH_FUZZ_SECONDS:-30}"
	# the oldest, one for each backend, and one with larger pages; what memwatch's
	# kernel has besides is 6.1's
	kernels="5.10 6.1 6.12 arm64-16k memwatch:process_memwatch"
	export WRITEWATCH_TEST_SECONDS="${WRITEWATCH_TEST_SECONDS:-20}"
	writes=20000 slowness=300
	export WRITEWATCH_MUSL_TESTS="${WRITEWATCH_MUSL_TESTS:-contract errors inside kinds query select win32}"
else
	export WRITEWATCH_FUZZ_SECONDS="${WRITEWATCH_FUZZ_SECONDS:-600}"
	export WRITEWATCH_TEST_MOST="${WRITEWATCH_TEST_MOST:-1000000}"
	export WRITEWATCH_TEST_SECONDS="${WRITEWATCH_TEST_SECONDS:-200}"
	kernels='' writes=120000 slowness=100
fi

step examples sh examples/run.sh -q
step suite sh tests/run.sh --werror --coverage --build build-ci
# side by side: one waits for downloads, the other's programs use one processor
{
	# the suite has just run at full length
	step bare env WRITEWATCH_TEST_MOST="${WRITEWATCH_TEST_MOST:-20000}" sh tests/bare.sh
	checks fuzz
} &
step mutants sh tests/mutants.sh
checks asan tsan m32 musl clang analyzer abi reference packages tidy
wait
step kernels env WRITEWATCH_TEST_WRITES="${WRITEWATCH_TEST_WRITES:-$writes}" \
	WRITEWATCH_TEST_SLOWNESS="${WRITEWATCH_TEST_SLOWNESS:-$slowness}" \
	sh tests/run.sh --werror --coverage --build build-ci --kernels $kernels
echo
cat "$work/failed" "$work/table"
awk -v all=$(($(date +%s) - began)) '{ ok += $4; bad += $6; skip += $8 }
	END {
		printf "%d s\n%d passed, %d failed, %d skipped\n", all, ok, bad, skip
		exit bad > 0
	}' "$work/table"
