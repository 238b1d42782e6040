#!/bin/sh
# SPDX-License-Identifier: MIT
# check-command.sh COMMAND SOURCE - writewatch(1) answers, in JSON too, with the
# documented exit codes; the man pages have no warnings.
set -eu
command=$1 src=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$command" probe >"$tmp/text"
grep -q 'usable, the one taken' "$tmp/text"
"$command" probe --json >"$tmp/json"
python3 - "$tmp/json" <<'X'
import json, sys
info = json.load(open(sys.argv[1]))
assert [b['name'] for b in info][-1] == 'mprotect', info
for b in info:
    assert b['usable'] == (b['errno'] == 0) and b['reason'], b
X
"$command" --help | grep -q '^usage: writewatch'
status=0
"$command" nonsense 2>/dev/null || status=$?
[ $status = 2 ]
status=0
WRITEWATCH_DISABLE=process_memwatch,uffd-async,soft-dirty,uffd-sync,mprotect \
	"$command" probe >"$tmp/text" || status=$?
[ $status = 1 ]
status=0
"$command" run 2>/dev/null || status=$?
[ $status = 2 ]

# --- run: a program of which it is known what it writes ---
WRITEWATCH_PRELOAD="$(dirname "$command")/writewatch-run.so"
export WRITEWATCH_PRELOAD
status=0
"$command" run -q -- "$tmp/nothing" 2>/dev/null || status=$?
[ $status = 127 ]
cat >"$tmp/writes.c" <<'C'
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	char *p = mmap((void *)0x70000000, 1 << 20, 3, 34, -1, 0);
	int i, status;
	usleep(200000); /* it is mapped when it is looked at */
	for (i = 0; i < 10; i++)
		p[i * 8192] = 1;
	if (fork() == 0) {
		usleep(200000);
		p[200 * 4096] = 1;
		exit(5);
	}
	wait(&status);
	return WEXITSTATUS(status);
}
C
${CC:-cc} -o "$tmp/writes" "$tmp/writes.c"
${CC:-cc} -static -o "$tmp/static" "$tmp/writes.c"
async=$(python3 -c 'import json, sys
print([b["usable"] for b in json.load(open(sys.argv[1])) if b["name"] == "uffd-async"][0])' "$tmp/json")
if [ "$async" = True ]; then
	status=0
	"$command" run -i 20 --svg "$tmp/svg" --csv "$tmp/csv" "$tmp/writes" \
		2>"$tmp/err" || status=$?
	[ $status = 5 ] || { cat "$tmp/err"; exit 1; }
	python3 - "$tmp/csv" <<'X'
import csv, sys
rows = [r for r in csv.DictReader(open(sys.argv[1]))
        if 0x70000000 <= int(r['start'], 16) < 0x70100000]
pids = sorted({int(r['pid']) for r in rows})
assert len(pids) == 2, pids  # it, and the child that it forked
first = {int(r['start'], 16) for r in rows if int(r['pid']) == pids[0]}
assert {0x70000000 + i * 8192 for i in range(10)} <= first, first
assert any(int(r['start'], 16) == 0x700c8000 for r in rows if int(r['pid']) == pids[1]), rows
X
	grep -q 'pages, .* MiB/s' "$tmp/err"
	python3 -c 'import sys, xml.dom.minidom
assert len(xml.dom.minidom.parse(sys.argv[1]).getElementsByTagName("rect")) > 10' "$tmp/svg"
	status=0
	"$command" run -q "$tmp/static" 2>"$tmp/err" || status=$?
	[ $status = 125 ] && grep -q statically "$tmp/err"
	# real ones
	"$command" run -q -i 10 -- "${CC:-cc}" -O2 -o "$tmp/writes" "$tmp/writes.c" 2>"$tmp/err"
	grep -q cc1 "$tmp/err"
	"$command" run -q -- python3 -c 'print(sum(len(str(i)) for i in range(200000)))' \
		>"$tmp/out" 2>/dev/null
	grep -q 1088890 "$tmp/out"
fi

# --- watch ---
status=0
"$command" watch 999999999 2>"$tmp/err" || status=$?
[ $status = 125 ] && grep -qi 'no such process' "$tmp/err"
sleep 60 &
pid=$!
status=0
"$command" watch -q -d 0.3 $pid 2>"$tmp/err" || status=$?
kill $pid
[ $status = 0 ] || grep -q 'writewatch run' "$tmp/err"

# --- bench, completion ---
status=0
WRITEWATCH_DISABLE=process_memwatch,uffd-async,soft-dirty,uffd-sync,mprotect \
	"$command" bench >"$tmp/out" 2>&1 || status=$?
[ $status = 1 ]
"$command" bench >"$tmp/out" 2>"$tmp/err"
grep -q '^mprotect .*(.*x)' "$tmp/out"
[ ! -s "$tmp/err" ]
if command -v bash >/dev/null 2>&1; then
	bash -c '. "$1/src/cli/completion.bash"
		COMP_WORDS=(writewatch r) COMP_CWORD=1; _writewatch
		[ "${COMPREPLY[*]}" = run ] || exit 1
		COMP_WORDS=(writewatch run --s) COMP_CWORD=2; _writewatch
		[ "${COMPREPLY[*]}" = --svg ] || exit 1' - "$src"
fi

if command -v mandoc >/dev/null 2>&1; then
	mandoc -T lint -W warning "$src"/doc/man/*.[137]
else
	echo "mandoc is not installed: the man pages were not linted"
fi
