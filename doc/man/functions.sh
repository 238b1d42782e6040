#!/bin/sh
# SPDX-License-Identifier: MIT
# functions.sh DOXYGEN2MAN XML DIR VERSION - a man page a function, made by
# doxygen2man from what Doxygen read in the headers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
date=$(date -d "$(sed -n 's/^\.Dd //p' "$here/writewatch.3")" +%F)
for header in writewatch writewatch-win32; do
	"$1" -m -P -d "$2" -o "$work" -p "libwritewatch $4" -D "$date" \
		-H "Library Functions Manual" "${header}_8h.xml" >/dev/null
done
for page in "$work"/ww_*.3; do
	# a paragraph begins with its heading
	sed -f "$here/functions.sed" "$page" |
		sed -e '/^\.SH/{N;s/\n\.PP$//' -e '}' >"$3/$(basename "$page")"
done
