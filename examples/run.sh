#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh - build, and run the rewind example (arguments are passed on to it).
set -eu
cd "$(dirname "$0")/.."
. examples/setup.sh
install_missing
build build-examples -Dtests=disabled
build-examples/examples/dirty
exec build-examples/examples/rewind "$@" examples/acorn.rle
