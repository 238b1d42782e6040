#!/bin/sh
# SPDX-License-Identifier: MIT
# count.sh TESTLOG - of a meson test log: the skips, a line for each cause, and
# "N passed, N failed, N skipped".
sed -n '/"result": "SKIP"/s/.*"stderr": "\([^"\\]*\).*/\1/p' "$1" |
	sed 's/ ([A-Z][a-z ]*)$//; s/^\([a-z_-]*\)   */\1: /' | sort | uniq -c |
	while read -r n cause; do
		echo "skipped, $n times: $cause"
	done
count() {
	grep -c "\"result\": \"$1\"" "$2" || true
}
ok=$(count OK "$1") skipped=$(count SKIP "$1")
echo "$ok passed, $(($(wc -l <"$1") - ok - skipped)) failed, $skipped skipped"
