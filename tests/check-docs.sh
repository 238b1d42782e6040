#!/bin/sh
# SPDX-License-Identifier: MIT
# check-docs.sh SOURCE LIBRARY - all code in README.md and doc/ compiles and runs, and
# every link leads somewhere. A listing that is not a program has a name behind its
# language (```c rollback), and tests/docs/NAME.c, which includes it, runs it.
set -eu
src=$1 lib=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$src"

# each fenced block into a file: NUMBER.LANGUAGE, or NAME.LANGUAGE
cat README.md doc/*.md | awk -v dir="$tmp" '
	/^```/ && open { open = 0; close(file); next }
	/^```/ {
		n++; open = 1
		split(substr($0, 4), word, " ")
		file = dir "/" (word[2] && word[1] ~ /^c/ ? word[2] : n) "." word[1]
		next
	}
	open { print >file }'
compile() {
	"$@" -I"$src/include" -Wall -Wextra -Werror -Wno-unused-parameter -D_GNU_SOURCE
}
# run FILE COMPILER...: as a program, on the best backend and on the one that is everywhere
run() {
	file=$1
	shift
	compile "$@" -o "$tmp/program" "$file" "$lib" -Wl,-rpath,"$(dirname "$lib")" -pthread
	for backend in '' mprotect; do
		status=0
		WRITEWATCH_BACKEND=$backend "$tmp/program" || status=$?
		case $status in
		0 | 77) ;;
		*) echo "$file: ${backend:-the best backend}: $status"; exit 1 ;;
		esac
	done
}
blocks=0
for f in "$tmp"/*.c "$tmp"/*.cpp "$tmp"/*.py* "$tmp"/*.json; do
	[ -f "$f" ] || continue
	blocks=$((blocks + 1))
	name=$(basename "$f")
	driver=tests/docs/${name%.*}
	case $f in
	*.c)
		if [ -f "$driver.c" ]; then
			run "$driver.c" "${CC:-cc}" -std=gnu11 -DLISTING="\"$f\""
		elif grep -q '^int main' "$f"; then
			run "$f" "${CC:-cc}" -std=gnu11
		elif grep -q '^[{}]' "$f"; then
			cat "$f"
			echo "nothing runs this listing: give it a name, and tests/docs/NAME.c"
			exit 1
		else
			compile "${CC:-cc}" -std=gnu11 -c -o "$tmp/o" "$f"
		fi ;;
	*.cpp)
		run "$driver.cc" "${CXX:-c++}" -std=c++11 -DLISTING="\"$f\"" ;;
	*.python)
		PYTHONDONTWRITEBYTECODE=1 LIBWRITEWATCH=$lib PYTHONPATH=$src/examples \
			python3 "$f" || { cat "$f"; exit 1; } ;;
	*.json)
		python3 -m json.tool "$f" >/dev/null ;;
	esac
done
[ "$blocks" -ge 12 ] || { echo "only $blocks blocks were found"; exit 1; }
# and each driver has its listing
for f in tests/docs/*.c*; do
	name=$(basename "$f")
	ls "$tmp/${name%.*}".* >/dev/null
done

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
