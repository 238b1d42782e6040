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
if command -v mandoc >/dev/null 2>&1; then
	mandoc -T lint -W warning "$src"/doc/man/*.[137]
else
	echo "mandoc is not installed: the man pages were not linted"
fi
