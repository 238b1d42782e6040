#!/bin/sh
# SPDX-License-Identifier: MIT
# check-packages.sh - `meson dist` makes a tarball that builds and tests itself;
# Debian's packages are built from it, twice to the same bytes, lintian has no
# complaint, and what they install is used from a scratch root; rpmbuild takes the .spec.
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

mkdir "$tmp/debs" "$tmp/again"
DEB_BUILD_OPTIONS=nocheck
export DEB_BUILD_OPTIONS
for dir in debs again; do
	quiet sh "$tmp/$name/doc/packaging/build-deb.sh" "$tarball" "$tmp/$dir"
done
for deb in "$tmp"/debs/*.deb; do
	cmp "$deb" "$tmp/again/$(basename "$deb")"
done
# every tag, less what cannot be met by a package that nobody has signed or uploaded
lintian -I --pedantic --fail-on none "$tmp"/debs/*.changes 2>&1 |
	grep -E '^[EWIP]:' |
	grep -v -e ' no-debian-changes' -e ' debian-watch-does-not-check-openpgp-signature' \
		>"$tmp/lintian" || true
[ ! -s "$tmp/lintian" ] || { cat "$tmp/lintian"; exit 1; }
mkdir "$tmp/root"
for deb in libwritewatch0 libwritewatch-dev writewatch python3-writewatch; do
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
for name in $(sed -n 's/^\t\(ww_[A-Za-z0-9_]*\);$/\1/p' "$src/src/libwritewatch.map"); do
	[ -f "$tmp/root/usr/share/man/man3/$name.3.gz" ]
done
# the guides lead to each other, to the examples and to the headers
pages=$tmp/root/usr/share/doc/libwritewatch-dev
for page in "$pages"/README.md "$pages"/doc/*.md; do
	for link in $(grep -o '](\([^)#]*\)' "$page" | sed 's/](//' | grep -v '^http'); do
		[ -e "$(dirname "$page")/$link" ] || { echo "$page: $link"; exit 1; }
	done
done
PYTHONPATH=$tmp/root/usr/lib/python3/dist-packages python3 -m writewatch
AUTOPKGTEST_TMP=$tmp sh "$src/doc/packaging/debian/tests/link" </dev/null

mkdir -p "$tmp/rpm/SOURCES"
cp "$tarball" "$tmp/rpm/SOURCES/"
quiet rpmbuild --nodeps --define "_topdir $tmp/rpm" --define '_build_id_links none' \
	-bb "$src/doc/packaging/libwritewatch.spec"
find "$tmp/rpm/RPMS" -name '*.rpm' | grep -q writewatch-0
echo "tarball and packages work"
