#!/bin/sh
# SPDX-License-Identifier: MIT
# check-docs.sh SOURCE LIBRARY - all code in README.md and doc/ compiles, what is a
# program runs, and every link leads somewhere.
set -eu
src=$1 lib=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$src"

# each fenced block into a file: NUMBER.LANGUAGE
cat README.md doc/*.md | awk -v dir="$tmp" '
	/^```/ && open { open = 0; close(file); next }
	/^```/ { n++; open = 1; file = dir "/" n "." substr($0, 4); next }
	open { print >file }'
# compile COMPILER ARGUMENT...
compile() {
	"$@" -I"$src/include" -Wall -Wextra -Werror -Wno-unused-parameter -D_GNU_SOURCE
}
blocks=0
for f in "$tmp"/*.c "$tmp"/*.cpp "$tmp"/*.py* "$tmp"/*.json; do
	[ -f "$f" ] || continue
	blocks=$((blocks + 1))
	case $f in
	*.c)
		# a fragment goes into a function
		if ! grep -q '^{' "$f"; then
			{
				grep '^#' "$f" || true
				echo 'void fragment(char *memory, size_t len);'
				echo 'void fragment(char *memory, size_t len) {'
				grep -v '^#' "$f" || true
				echo '(void)memory; (void)len; }'
			} >"$tmp/fragment"
			sed -i '1i #include <stddef.h>' "$tmp/fragment"
			mv "$tmp/fragment" "$f"
		fi
		compile "${CC:-cc}" -std=gnu11 -c -o "$tmp/o" "$f" || { cat "$f"; exit 1; }
		if grep -q '^int main' "$f"; then
			${CC:-cc} -o "$tmp/program" "$tmp/o" "$lib" \
				-Wl,-rpath,"$(dirname "$lib")"
			"$tmp/program" || { cat "$f"; exit 1; }
		fi ;;
	*.cpp)
		compile "${CXX:-c++}" -std=c++11 -fsyntax-only "$f" || { cat "$f"; exit 1; } ;;
	*.python)
		PYTHONDONTWRITEBYTECODE=1 LIBWRITEWATCH=$lib PYTHONPATH=$src/examples \
			python3 "$f" || { cat "$f"; exit 1; } ;;
	*.json)
		python3 -m json.tool "$f" >/dev/null ;;
	esac
done
[ "$blocks" -ge 10 ] || { echo "only $blocks blocks were found"; exit 1; }

# links to files
for f in README.md doc/*.md; do
	grep -o '](\([^)#]*\)[^)]*)' "$f" | sed 's/](\([^)#]*\).*/\1/' |
		while read -r link; do
			case $link in
			'' | http*) continue ;;
			esac
			[ -e "$(dirname "$f")/$link" ] || {
				echo "$f: $link leads nowhere"
				echo x >>"$tmp/bad"
			}
		done
done
[ ! -f "$tmp/bad" ] || exit 1
echo "$blocks blocks of code and all links are good"
