#!/bin/sh
# SPDX-License-Identifier: MIT
# check-consumers.sh SOURCE - an installed copy is found by pkg-config and
# used from C and C++, shared and static; the headers are clean by themselves.
set -eu
src=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cc=${CC:-cc} cxx=${CXX:-c++}

meson setup "$tmp/build" "$src" --prefix="$tmp/prefix" --libdir=lib \
	-Dtests=false -Dexamples=false -Ddefault_library=both >"$tmp/log" 2>&1 ||
	{ cat "$tmp/log"; exit 1; }
meson install -C "$tmp/build" >>"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
export PKG_CONFIG_PATH="$tmp/prefix/lib/pkgconfig"
flags=$(pkg-config --cflags libwritewatch)
pkg-config --variable=backends libwritewatch | grep -q uffd-async

cat >"$tmp/five.c" <<'C'
#include <writewatch.h>
int main(void) {
	struct ww *ww;
	return ww_open(&ww, 0) < 0 ? 1 : (ww_close(ww), 0);
}
C
cp "$tmp/five.c" "$tmp/five.cc"
$cc -o "$tmp/c" "$tmp/five.c" $(pkg-config --cflags --libs libwritewatch)
LD_LIBRARY_PATH="$tmp/prefix/lib" "$tmp/c"
$cxx -o "$tmp/cc" "$tmp/five.cc" $(pkg-config --cflags --libs libwritewatch)
LD_LIBRARY_PATH="$tmp/prefix/lib" "$tmp/cc"
$cc -static -o "$tmp/cs" "$tmp/five.c" \
	$(pkg-config --static --cflags --libs libwritewatch)
"$tmp/cs"
$cxx -static -o "$tmp/ccs" "$tmp/five.cc" \
	$(pkg-config --static --cflags --libs libwritewatch)
"$tmp/ccs"

for h in writewatch.h writewatch-win32.h; do
	for names in '' -DWRITEWATCH_WIN32_NAMES; do
		echo "#include <$h>" >"$tmp/h.c"
		cp "$tmp/h.c" "$tmp/h.cc"
		$cc -std=c99 -pedantic -Wall -Wextra -Werror $flags $names \
			-fsyntax-only "$tmp/h.c"
		$cxx -std=c++11 -pedantic -Wall -Wextra -Werror $flags $names \
			-fsyntax-only "$tmp/h.cc"
	done
done

# source written for Windows, unchanged: windows.h is a line of the build
mkdir "$tmp/shim"
printf '#define WRITEWATCH_WIN32_NAMES\n#include <writewatch-win32.h>\n' \
	>"$tmp/shim/windows.h"
$cc -o "$tmp/win" -I"$tmp/shim" $flags "$src/tests/windows-program.c" \
	$(pkg-config --libs libwritewatch)
LD_LIBRARY_PATH="$tmp/prefix/lib" "$tmp/win"
echo "consumers work"
