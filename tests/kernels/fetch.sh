#!/bin/sh
# SPDX-License-Identifier: MIT
# fetch.sh - Debian packages of any suite and architecture, without touching the
# machine's own lists. Sourced; needs $cache, the folder outside the tree that
# keeps what was downloaded.

mirror=${WRITEWATCH_MIRROR:-http://deb.debian.org/debian}
updates=${WRITEWATCH_MIRROR_SECURITY:-http://deb.debian.org/debian-security}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# apt of a suite and architecture: private_apt SUITE ARCH TOOL ARGS...
private_apt() {
	suite=$1 arch=$2 tool=$3
	shift 3
	state=$cache/apt/$suite-$arch
	"apt-$tool" -o Dir::State="$state" -o Dir::Cache="$state" \
		-o Dir::Etc::SourceList="$state/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Status="$state/status" \
		-o APT::Architecture="$arch" -o APT::Architectures="$arch" \
		-o Acquire::Languages=none -o APT::Sandbox::User=root \
		-o Acquire::Retries=3 -o Acquire::http::Timeout=30 -qq "$@"
}

load_lists() {
	private_apt "$suite" "$arch" get update >"$state/log" 2>&1 &&
		! grep -q -e '^E:' -e '^W: Failed' "$state/log"
}

# Once in a run for each suite and architecture. False: not reachable.
update_suite() {
	suite=$1 arch=$2 state=$cache/apt/$1-$2
	case " ${updated:-} " in *" $1-$2 "*) return 0 ;; esac
	mkdir -p "$state/lists/partial" "$state/archives/partial"
	: >"$state/status"
	echo "deb [signed-by=$keyring] $mirror $suite main" \
		>"$state/sources.list"
	[ "$suite" = bullseye ] ||
		echo "deb [signed-by=$keyring] $updates $suite-security main" \
			>>"$state/sources.list"
	if ! load_lists && ! { sleep 15 && load_lists; }; then
		# the security part may be in the middle of a change, or another run
		# loads the lists just now
		sed -i '2,$d' "$state/sources.list"
		load_lists || return 1
	fi
	updated="${updated:-} $1-$2"
}

# Packages that match, newest first: find_packages SUITE ARCH REGEX -> NAME VERSION
find_packages() {
	private_apt "$1" "$2" cache pkgnames | grep -x "$3" | sort -Vr |
		while read -r name; do
			private_apt "$1" "$2" cache show "$name" |
				sed -n "s/^Version: /$name /p" | sort -Vr
		done
}

# The newest that is in the cache: cached_package ARCH REGEX -> its folder
cached_package() {
	find "$cache/packages" -maxdepth 1 -name "*_$1" 2>/dev/null |
		sort -V | while read -r dir; do
		name=$(basename "$dir")
		echo "${name%%_*}" | grep -qx "$2" && echo "$dir"
	done | tail -n 1
}

# unpack_package SUITE ARCH NAME VERSION: sets $package to its folder
unpack_package() {
	package=$cache/packages/$3_$(echo "$4" | tr : %)_$2
	[ -d "$package" ] && return 0
	rm -rf "$package.part"
	mkdir -p "$package.part"
	(cd "$package.part" && private_apt "$1" "$2" get download "$3=$4" &&
		dpkg-deb -x ./*.deb root && rm ./*.deb) \
		>"$package.log" 2>&1 </dev/null || return 1
	rm "$package.log"
	mv "$package.part" "$package"
}

# Unpacked in the cache, by version: fetch_package SUITE ARCH REGEX sets
# $package to the folder. Lists may name what the mirror has not yet, or not any
# more: then the next older one. False, and why on stdout, if none can be had.
fetch_package() {
	package=
	if ! update_suite "$1" "$2"; then
		# what was fetched before is good enough
		package=$(cached_package "$2" "$3")
		[ -n "$package" ] && return 0
		echo "the mirror of $1 can not be reached: $(tail -n 1 \
			"$cache/apt/$1-$2/log")"
		return 1
	fi
	found=$cache/apt/$1-$2/found.$$
	find_packages "$1" "$2" "$3" >"$found"
	if [ ! -s "$found" ]; then
		# the lists may lack a part
		package=$(cached_package "$2" "$3")
		[ -n "$package" ] || echo "no package $3 in $1"
	fi
	while read -r candidate version; do
		unpack_package "$1" "$2" "$candidate" "$version" && break
		echo "$candidate can not be fetched: $(tail -n 1 "$package.log")"
		package=
	done <"$found"
	rm "$found"
	[ -n "$package" ]
}

# What the authors of a package released, unpacked in the cache: fetch_source SUITE NAME
# sets $source to the folder. False, and why on stdout, if it can not be had.
fetch_source() {
	suite=$1 arch=$(dpkg --print-architecture) state=$cache/apt/$1-sources
	source=$(find "$cache/sources" -maxdepth 1 -name "$2-*" 2>/dev/null | head -n 1)
	[ -z "$source" ] || return 0
	mkdir -p "$state/lists/partial" "$state/archives/partial"
	rm -rf "$cache/sources.part"
	mkdir -p "$cache/sources" "$cache/sources.part"
	: >"$state/status"
	echo "deb-src [signed-by=$keyring] $mirror $suite main" >"$state/sources.list"
	set -- "$2" -o Dir::State="$state" -o Dir::Cache="$state" \
		-o Dir::Etc::SourceList="$state/sources.list" \
		-o Dir::State::Status="$state/status"
	name=$1
	shift
	(cd "$cache/sources.part" && private_apt "$suite" "$arch" get "$@" update &&
		private_apt "$suite" "$arch" get "$@" source --download-only "$name" &&
		tar xf "$name"_*.orig.tar.?z) >"$state/log" 2>&1 &&
		mv "$cache/sources.part/$name"-* "$cache/sources/" || {
		echo "the source of $name can not be fetched: $(tail -n 1 "$state/log")"
		return 1
	}
	source=$(find "$cache/sources" -maxdepth 1 -name "$name-*" | head -n 1)
}

# A qemu newer than the machine's own, with every library that it needs, in the
# cache by version: fetch_qemu SUITE PACKAGE COMMAND sets $qemu to a script that
# runs it. False, and why on stdout, if it can not be had.
fetch_qemu() {
	host=$(dpkg --print-architecture) qemu=
	if ! update_suite "$1" "$host"; then
		qemu=$(find "$cache/qemu" -path "*/$2_*/$3" 2>/dev/null |
			sort -V | tail -n 1)
		[ -n "$qemu" ] || echo "the mirror of $1 can not be reached"
		[ -n "$qemu" ]
		return
	fi
	# shellcheck disable=SC2046 # NAME VERSION
	set -- "$@" $(find_packages "$1" "$host" "$2" | head -n 1)
	[ -n "${5:-}" ] || { echo "no package $2 in $1"; return 1; }
	dir=$cache/qemu/$2_$(echo "$5" | tr : %)
	qemu=$dir/$3
	[ ! -x "$qemu" ] || return 0
	rm -rf "$dir"
	mkdir -p "$dir/debs/partial" "$dir/root"
	# nothing counts as installed: all that it depends on is fetched
	private_apt "$1" "$host" get install -y --download-only \
		--no-install-recommends -o Dir::Cache::Archives="$dir/debs" \
		"$2" >"$dir/log" 2>&1 || {
		echo "$2 of $1 can not be fetched: $(tail -n 1 "$dir/log")"
		return 1
	}
	for deb in "$dir"/debs/*.deb; do
		dpkg-deb -x "$deb" "$dir/root" || return 1
	done
	rm -rf "$dir/debs"
	ld=$(find "$dir/root" -name 'ld-linux*.so.*' | head -n 1)
	libraries=$(dirname "$(find "$dir/root" -name libc.so.6 | head -n 1)")
	cat >"$qemu" <<-X
		#!/bin/sh
		export QEMU_MODULE_DIR="$libraries/qemu"
		exec "$ld" --library-path "$libraries" \\
			"$dir/root/usr/bin/$3" -L "$dir/root/usr/share/qemu" "\$@"
	X
	chmod 755 "$qemu"
}
