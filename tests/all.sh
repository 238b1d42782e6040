#!/bin/sh
# SPDX-License-Identifier: MIT
# all.sh ci|full - every step that there is, one after the other; then a table of
# the steps with their counts and seconds, and "N passed, N failed, N skipped".
# ci: the same steps, but fewer rounds of each race, fewer kernels and shorter
# fuzzing, to end within half an hour on two processors.
set -u
cd "$(dirname "$0")/.."
length=$1
log=$(mktemp)
trap 'rm -f "$log" "$log.table"' EXIT
: >"$log.table"

# step NAME COMMAND...: the last line of it has the counts
step() {
	name=$1 from=$(date +%s)
	shift
	echo "== $name"
	{ "$@" 2>&1; echo "status $?"; } | tee "$log"
	status=$(sed -n '$s/^status //p' "$log")
	line=$(sed '$d' "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed' | tail -n 1)
	[ -n "$line" ] || line="1 passed, 0 failed, 0 skipped"
	case $status:$line in
	0:* | *:*' passed, 0 failed'*) ;;
	*) status=0 ;; # counted as failed already
	esac
	[ "$status" = 0 ] || line="${line%% passed*} passed, 1 failed, ${line##*failed, }"
	printf '%-12s %5d s  %s\n' "$name" $(($(date +%s) - from)) "$line" >>"$log.table"
}

if [ "$length" = ci ]; then
	export WRITEWATCH_FUZZ_SECONDS="${WRITEWATCH_FUZZ_SECONDS:-30}"
	# one for each backend, and one with larger pages
	kernels="6.1 6.12 memwatch arm64-16k"
	export WRITEWATCH_TEST_SECONDS="${WRITEWATCH_TEST_SECONDS:-20}"
	writes=20000 slowness=300
	# an unprivileged user's, in the matrix, takes as long as root's
	export WRITEWATCH_TEST_SHORT="torture conformance"
else
	export WRITEWATCH_FUZZ_SECONDS="${WRITEWATCH_FUZZ_SECONDS:-600}"
	export WRITEWATCH_TEST_MOST="${WRITEWATCH_TEST_MOST:-1000000}"
	export WRITEWATCH_TEST_SECONDS="${WRITEWATCH_TEST_SECONDS:-200}"
	kernels='' writes=60000 slowness=100
fi

step examples sh examples/run.sh -q
step suite sh tests/run.sh --werror --coverage --build build-ci
step bare sh tests/bare.sh
step mutants sh tests/mutants.sh
for check in asan tsan m32 musl clang analyzer tidy fuzz packages abi; do
	step $check sh tests/checks.sh $check
done
step kernels env WRITEWATCH_TEST_WRITES="${WRITEWATCH_TEST_WRITES:-$writes}" \
	WRITEWATCH_TEST_SLOWNESS="${WRITEWATCH_TEST_SLOWNESS:-$slowness}" \
	sh tests/run.sh --werror --coverage --build build-ci --kernels $kernels
echo
cat "$log.table"
awk '{ s += $2; ok += $4; bad += $6; skip += $8 }
	END {
		printf "%d s\n%d passed, %d failed, %d skipped\n", s, ok, bad, skip
		exit bad > 0
	}' "$log.table"
