#!/bin/sh
# SPDX-License-Identifier: MIT
# build-deb.sh TARBALL DIR - build Debian's packages from a released tarball in a
# scratch folder, with the packaging of debian/ beside this script. They end up
# in DIR. DEB_BUILD_OPTIONS=nocheck leaves the tests out.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
tarball=$(realpath "$1") dir=$(realpath "$2")
name=$(basename "$tarball" .tar.xz)
version=${name#libwritewatch-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$tarball" "$work/libwritewatch_$version.orig.tar.xz"
tar xf "$tarball" -C "$work"
cp -r "$here/debian" "$work/$name/debian"
sed -i "1s/([^)]*)/($version-1)/" "$work/$name/debian/changelog"
(cd "$work/$name" && dpkg-buildpackage -us -uc -d)
cp "$work"/*.deb "$work"/*.dsc "$work"/*.changes "$work"/*.buildinfo \
	"$work"/*.tar.* "$dir/"
