#!/bin/sh
# SPDX-License-Identifier: MIT
# check-consumers.sh SOURCE - an installed copy is found by pkg-config and by
# CMake, and used from C, C++, Python, shared and static; a Meson project takes the
# sources as a subproject; the headers are clean by themselves.
set -eu
src=$1
here=$src/tests/consumers
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cc=${CC:-cc} cxx=${CXX:-c++}

quiet() {
	"$@" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
}

quiet meson setup "$tmp/build" "$src" --prefix="$tmp/first" --libdir=lib \
	-Dtests=disabled -Dexamples=false -Ddefault_library=both
quiet meson install -C "$tmp/build"
# a prefix may be moved: a build farm's staging folder is
mv "$tmp/first" "$tmp/prefix"
sed -i "s|$tmp/first|$tmp/prefix|" "$tmp/prefix/lib/pkgconfig/libwritewatch.pc"
export PKG_CONFIG_PATH="$tmp/prefix/lib/pkgconfig"
export LD_LIBRARY_PATH="$tmp/prefix/lib"
flags=$(pkg-config --cflags libwritewatch)
libs=$(pkg-config --libs libwritewatch)
static=$(pkg-config --static --libs libwritewatch)
c='c99 c11 c17 c2x' cpp='c++11 c++17 c++20 c++2b'
strict='-Wall -Wextra -Wpedantic -Wconversion -Werror'
pkg-config --variable=backends libwritewatch | grep -q uffd-async

# shellcheck disable=SC2086 # flags and standards are lists
{
	$cc -o "$tmp/c" $flags "$here/program.c" $libs
	"$tmp/c"
	$cc -static -o "$tmp/cs" $flags "$here/program.c" $static
	"$tmp/cs"
	for std in 11 17 20; do
		$cxx -std=c++$std -pedantic -Wall -Wextra -Werror -fno-exceptions \
			-fno-rtti -o "$tmp/cc" $flags "$here/program.cc" $libs
		"$tmp/cc"
	done
	$cxx -static -o "$tmp/ccs" $flags "$here/program.cc" $static
	"$tmp/ccs"
	for h in writewatch.h writewatch-win32.h; do
		for names in '' -DWRITEWATCH_WIN32_NAMES; do
			echo "#include <$h>" >"$tmp/h.c"
			cp "$tmp/h.c" "$tmp/h.cc"
			for std in $c; do
				$cc -std=$std $strict $flags $names \
					-fsyntax-only "$tmp/h.c"
			done
			for std in $cpp; do
				$cxx -std=$std $strict $flags $names \
					-fsyntax-only "$tmp/h.cc"
			done
		done
	done
	# source written for Windows, unchanged: windows.h is a line of the build
	mkdir "$tmp/shim"
	printf '#define WRITEWATCH_WIN32_NAMES\n#include <writewatch-win32.h>\n' \
		>"$tmp/shim/windows.h"
	$cc -o "$tmp/win" -I"$tmp/shim" $flags "$src/tests/windows-program.c" $libs
	"$tmp/win"
	cp "$src/tests/windows-counts.c" "$tmp/counts.cc"
	for level in -O0 -O2; do
		$cc -std=c99 $strict $level -o "$tmp/win" -I"$tmp/shim" $flags \
			"$src/tests/windows-counts.c" $libs
		"$tmp/win"
		for std in $cpp; do
			$cxx -std=$std $strict $level -o "$tmp/win" \
				-I"$tmp/shim" $flags "$tmp/counts.cc" $libs
			"$tmp/win"
		done
	done
}
done=pkg-config

# Python, by the soname
python3 "$src/examples/writewatch.py"
done="$done python"

# CMake
if command -v cmake >/dev/null 2>&1; then
	quiet cmake -S "$here" -B "$tmp/cmake" -DCMAKE_PREFIX_PATH="$tmp/prefix"
	quiet cmake --build "$tmp/cmake"
	for program in shared static cxx; do "$tmp/cmake/$program"; done
	done="$done cmake"
elif [ -n "${CI:-}" ]; then
	echo "cmake is not installed"
	exit 1
fi

# A Meson subproject, by the wrap file of a release; nothing of ours is installed
# with it, and no test of ours is run.
version=$(sed -n "s/.*version: '\([0-9.]*\)'.*/\1/p" "$src/meson.build" | head -n 1)
name=libwritewatch-$version
mkdir -p "$tmp/parent/subprojects" "$tmp/tar"
mkdir "$tmp/tar/$name"
(cd "$src" && tar cf - --exclude='./build*' --exclude=./.git .) |
	tar xf - -C "$tmp/tar/$name"
tar cJf "$tmp/$name.tar.xz" -C "$tmp/tar" "$name"
sh "$src/doc/packaging/wrap.sh" "$tmp/$name.tar.xz" "file://$tmp/$name.tar.xz" \
	>"$tmp/parent/subprojects/libwritewatch.wrap"
cp "$here/program.c" "$tmp/parent/"
cat >"$tmp/parent/meson.build" <<'MESON'
project('parent', 'c')
writewatch = dependency('libwritewatch', default_options: ['default_library=static'])
test('program', executable('program', 'program.c', dependencies: writewatch, install: true))
MESON
(
	unset PKG_CONFIG_PATH
	quiet meson setup "$tmp/sub" "$tmp/parent" --prefix=/usr
	quiet meson test -C "$tmp/sub"
	grep -q 'Ok: *1 *$' "$tmp/log" || { cat "$tmp/log"; exit 1; }
	DESTDIR="$tmp/dest" quiet meson install -C "$tmp/sub"
)
[ "$(cd "$tmp/dest" && find . -type f)" = ./usr/bin/program ] || {
	echo "the subproject leaks:"
	find "$tmp/dest" -type f
	exit 1
}
echo "consumers work: $done subproject"
