# SPDX-License-Identifier: MIT
# setup.sh - sourced by the commands of the README: have the tools, and build.

# need PACKAGE COMMAND|FILE: is it here?
need() {
	case $2 in
	/*) [ -e "$2" ] || missing="$missing $1" ;;
	*) command -v "$2" >/dev/null 2>&1 || missing="$missing $1" ;;
	esac
}

# what building needs, and what the suite needs besides
need_to_build() {
	need gcc cc
	need libc6-dev /usr/include/stdio.h
	need meson meson
	need ninja-build ninja
	need pkg-config pkg-config
}

need_to_test() {
	need g++ c++
	need libcmocka-dev /usr/include/cmocka.h
	need binutils readelf
	need python3 python3
	need xz-utils xz
}

# apt COMMAND...: quiet; waits for another apt that has the lock
apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
		-o APT::Update::Error-Mode=any -qq "$@" >>"$log" 2>&1
}

# The lists may be old or absent: update them only if it fails without.
install_packages() {
	# shellcheck disable=SC2086 # a list
	apt install -y --no-install-recommends $missing && return
	if ! apt update; then
		tail -n 3 "$log"
		echo "The network is away: apt can not reach its mirror." \
			"To be installed:$missing"
		return 1
	fi
	# shellcheck disable=SC2086
	apt install -y --no-install-recommends $missing && return
	cat "$log"
	echo "apt could not install:$missing"
	return 1
}

# Install what is missing where apt may; else print the line that does, for all
# commands of the README.
install_missing() {
	[ -n "$missing" ] || return 0
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "These packages are missing (Debian's names):$missing"
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		missing=
		need_to_build
		need_to_test
		echo "Some packages are missing. As root, or with sudo:"
		echo "    sudo apt-get install$missing"
		exit 1
	fi
	echo "installing with apt:$missing"
	log=$(mktemp)
	install_packages || exit 1
	rm -f "$log"
	missing=
}

# A build folder of ours that was made in another place, as in a copied tree, can
# not be used; nor can another user's.
check_build_folder() {
	[ -e "$1" ] || return 0
	if [ ! -w "$1" ] || [ -n "$(find "$1" -maxdepth 1 ! -writable ! -type l)" ]; then
		echo "$1 belongs to another user: remove it first"
		exit 1
	fi
	info=$1/meson-info/meson-info.json
	[ -f "$info" ] || return 0
	grep -qF "\"build\": \"$(cd "$1" && pwd -P)\"" "$info" || {
		echo "$1 was made in another place: making it anew"
		rm -rf "$1"
	}
}

# build DIRECTORY MESON-OPTION...: configured and compiled, quiet if it goes well
build() {
	build_dir=$1
	shift
	log=$(mktemp)
	check_build_folder "$build_dir"
	if [ -f "$build_dir/build.ninja" ]; then
		meson configure "$build_dir" "$@" >"$log" 2>&1
	else
		meson setup "$build_dir" "$@" >"$log" 2>&1
	fi && ninja -C "$build_dir" >>"$log" 2>&1 || { cat "$log"; exit 1; }
	rm -f "$log"
}

missing=
need_to_build
