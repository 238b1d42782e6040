#!/bin/sh
# SPDX-License-Identifier: MIT
# check-windows-doc.sh SOURCE - doc/windows.md has every row of the conformance
# table, each test that it names exists, and each test of a row is named.
set -eu
src=$1 doc=$1/doc/windows.md
bad=0
say() { echo "$*"; bad=1; }

names=$(cat "$src"/tests/windows/*.c "$src"/tests/*.c "$src"/tests/torture/*.c |
	grep -oE '\b(ROW|CASE)\([a-z0-9_]+\)' | sed 's/.*(\(.*\))/\1/' | sort -u)
for name in $(grep -oE '`[a-z0-9_]+_[a-z0-9_]+`' "$doc" | tr -d '`' | sort -u); do
	case $name in ww_*) continue ;; esac
	echo "$names" | grep -qx "$name" || say "no test is called $name"
done
for name in $(echo "$names" | grep '^row_'); do
	grep -q "\`$name\`" "$doc" || say "$name is not in doc/windows.md"
done

# rows SECTION LAST
rows() {
	i=1
	while [ "$i" -le "$2" ]; do
		grep -q "^| $1\.$i |" "$doc" || say "row $1.$i is missing"
		i=$((i + 1))
	done
}
rows 3.1 22
rows 3.2 9
rows 3.3 3
rows 3.5 3
rows 4 10
rows 5 15
rows 6.1 28
rows 6.2 17
rows 7 27
rows 9 9
rows 10 7
[ $bad = 0 ] && echo "$(echo "$names" | grep -c '^row_') tests of rows"
exit $bad
