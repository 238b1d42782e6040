#!/bin/sh
# SPDX-License-Identifier: MIT
# check-packages.sh - `meson dist` makes a tarball that builds and tests itself;
# Debian's packages are built from it, lintian has no complaint, and what they
# install is used from a scratch root.
set -eu
src=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

quiet() {
	"$@" >"$tmp/log" 2>&1 || { tail -n 60 "$tmp/log"; exit 1; }
}

# of what is committed, as a release is
quiet git clone -q "$src" "$tmp/clone"
quiet meson setup "$tmp/dist" "$tmp/clone" -Dtests=disabled -Dexamples=false
quiet meson dist -C "$tmp/dist" --no-tests
tarball=$(echo "$tmp"/dist/meson-dist/libwritewatch-*.tar.xz)
(cd "$tmp/dist/meson-dist" && quiet sha256sum -c ./*.sha256sum)

tar xf "$tarball" -C "$tmp"
name=$(basename "$tarball" .tar.xz)
quiet meson setup "$tmp/build" "$tmp/$name" -Dwerror=true
quiet ninja -C "$tmp/build"
quiet meson test -C "$tmp/build" --no-rebuild --print-errorlogs -t 3 \
	--suite uffd-async --suite mprotect
grep -E '^(Ok|Fail):' "$tmp/log"

mkdir "$tmp/debs"
DEB_BUILD_OPTIONS=nocheck
export DEB_BUILD_OPTIONS
quiet sh "$tmp/$name/doc/packaging/build-deb.sh" "$tarball" "$tmp/debs"
lintian --fail-on error,warning "$tmp"/debs/*.changes 2>&1 |
	grep -v 'root privileges' >"$tmp/lintian" || true
grep -E '^[EW]:' "$tmp/lintian" && exit 1
mkdir "$tmp/root"
for deb in libwritewatch0 libwritewatch-dev writewatch; do
	dpkg -x "$tmp"/debs/${deb}_*.deb "$tmp/root"
done
lib=$(dirname "$(find "$tmp/root" -name 'libwritewatch.so.0')")
export PKG_CONFIG_SYSROOT_DIR="$tmp/root" PKG_CONFIG_PATH="$lib/pkgconfig"
# shellcheck disable=SC2046
${CC:-cc} -o "$tmp/program" "$src/tests/consumers/program.c" \
	$(pkg-config --cflags --libs libwritewatch)
export LD_LIBRARY_PATH="$lib"
"$tmp/program"
"$tmp/root/usr/bin/writewatch" probe | grep -q usable
for page in man1/writewatch.1 man3/writewatch.3 man7/writewatch.7; do
	[ -f "$tmp/root/usr/share/man/$page.gz" ]
done
echo "tarball and packages work"
