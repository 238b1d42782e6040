# SPDX-License-Identifier: MIT
# setup.sh - sourced by the two commands of the README: have the tools, and build.

# need PACKAGE COMMAND|FILE: is it here?
need() {
	case $2 in
	/*) [ -e "$2" ] || missing="$missing $1" ;;
	*) command -v "$2" >/dev/null 2>&1 || missing="$missing $1" ;;
	esac
}

# install what is missing where apt may, else say what it is
install_missing() {
	[ -n "$missing" ] || return 0
	if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
		log=$(mktemp)
		export DEBIAN_FRONTEND=noninteractive
		# a list may be old or absent: update only if it fails without
		# shellcheck disable=SC2086
		apt-get install -y -qq --no-install-recommends $missing \
			>"$log" 2>&1 ||
			{ apt-get update -qq >"$log" 2>&1 &&
			  apt-get install -y -qq --no-install-recommends \
				$missing >"$log" 2>&1; } ||
			{ cat "$log"; echo "could not install:$missing"; exit 1; }
		rm -f "$log"
	else
		echo "please install these packages (Debian's names):$missing"
		exit 1
	fi
	missing=
}

# build DIRECTORY MESON-OPTION...: configured and compiled, quiet if it goes well
build() {
	build_dir=$1
	shift
	log=$(mktemp)
	if [ -f "$build_dir/build.ninja" ]; then
		meson configure "$build_dir" "$@" >"$log" 2>&1
	else
		meson setup "$build_dir" "$@" >"$log" 2>&1
	fi && ninja -C "$build_dir" >>"$log" 2>&1 || { cat "$log"; exit 1; }
	rm -f "$log"
}

missing=
need gcc cc
need libc6-dev /usr/include/stdio.h
need meson meson
need ninja-build ninja
need pkg-config pkg-config
