#!/bin/sh
# SPDX-License-Identifier: MIT
# build.sh [OUTPUT] - the rows of the conformance table as a Windows program, for
# whoever has Windows or Wine to run it on. Needs x86_64-w64-mingw32-gcc
# (Debian: gcc-mingw-w64-x86-64).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-conformance.exe}
cc=${MINGW_CC:-x86_64-w64-mingw32-gcc}
command -v "$cc" >/dev/null 2>&1 ||
	{ echo "please install gcc-mingw-w64-x86-64, or set MINGW_CC" >&2; exit 77; }
flags="-std=gnu11 -O1 -Wall -Wextra -Werror -D__USE_MINGW_ANSI_STDIO=1 -static"
# shellcheck disable=SC2086 # a list
"$cc" $flags "$here"/*.c -lntdll -o "$out"
# and the program that check-consumers.sh compiles unchanged for here
# shellcheck disable=SC2086
"$cc" $flags "$here/../windows-program.c" -o "$(dirname "$out")/windows-program.exe"
echo "$out"
