#!/bin/sh
# SPDX-License-Identifier: MIT
# wrap.sh TARBALL URL - print the wrap file with which a Meson project takes the
# released tarball as a subproject: subprojects/libwritewatch.wrap.
set -eu
hash=$(sha256sum "$1" | cut -d' ' -f1)
cat <<END
[wrap-file]
directory = $(basename "$1" .tar.xz)
source_url = $2
source_filename = $(basename "$1")
source_hash = $hash

[provide]
dependency_names = libwritewatch
END
