#!/bin/sh
# SPDX-License-Identifier: MIT
# check-bindings.sh - the listings of doc/bindings.md, run on an installed library that
# pkg-config finds. tests/bare.sh calls it on a machine that has the compilers.
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
HOME=$tmp # Go's cache
export HOME
lib=$(pkg-config --variable=libdir libwritewatch)

# listing LANGUAGE: the block of that language
listing() {
	awk -v fence="\`\`\`$1" '$0 == fence { open = 1; next } /^```/ { open = 0 } open' doc/bindings.md
}

listing rust >"$tmp/main.rs"
rustc --edition 2024 -D warnings -A dead_code -L "$lib" -o "$tmp/rust" "$tmp/main.rs"
"$tmp/rust"
echo "rust: $(rustc --version)"
mkdir "$tmp/go"
listing go >"$tmp/go/main.go"
(cd "$tmp/go" && GO111MODULE=off go build -o ../with-go main.go)
"$tmp/with-go"
echo "go: $(go version)"
listing csharp >"$tmp/main.cs"
mcs -warnaserror -out:"$tmp/main.exe" "$tmp/main.cs"
mono "$tmp/main.exe"
echo "c#: $(mono --version | head -n 1)"
listing python >"$tmp/main.py"
python3 "$tmp/main.py"
python3 -c 'import writewatch; writewatch.main()'
echo "python: $(python3 --version)"
cc -o "$tmp/c" tests/consumers/program.c $(pkg-config --cflags --libs libwritewatch-static)
"$tmp/c"
! readelf -d "$tmp/c" | grep -q 'NEEDED.*libwritewatch'
echo "all bindings work"
