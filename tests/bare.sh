#!/bin/sh
# SPDX-License-Identifier: MIT
# bare.sh [SUITE...] - a new user on a new machine: Debian's base system and nothing
# else (bookworm, trixie and sid), a clone in a folder with a blank in its name, and
# the code blocks of README.md, verbatim, one after the other. Root in bookworm and
# sid, in trixie a user without sudo. The suite runs whole in bookworm, elsewhere
# its quick part; WRITEWATCH_BARE_FULL=0: nowhere whole. The suite "bindings" is
# trixie with compilers of other languages, for the listings of doc/bindings.md;
# "bullseye" has bookworm's Meson, as its own is too old, and an older glibc, gcc and
# cmocka than any other.
# As root; needs debootstrap.
# A line for each step; ends with "N passed, N failed, N skipped".
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cache=${WRITEWATCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/writewatch}
mirror=${WRITEWATCH_MIRROR:-http://deb.debian.org/debian}
cd "$top"
. examples/setup.sh
. tests/kernels/fetch.sh
need debootstrap debootstrap
install_missing
work=$(mktemp -d /var/tmp/bare.XXXXXX)
trap 'rm -rf "$work"' EXIT

# block HEADING N: the Nth block of shell lines under a heading of README.md
block() {
	awk -v heading="## $1" -v want="$2" '
		/^## / { here = $0 == heading }
		/^```/ && open { open = 0; next }
		/^```sh/ && here { open = 1; n++; next }
		open && n == want' README.md
}

# the first C program of README.md, to be saved as program.c
program() {
	awk '/^```/ && open { exit }
		/^```c$/ { open = 1; next }
		open' README.md
}

# base SUITE: its base system in the cache, by week; sets $tar
base() {
	tar=$cache/bare/$1-$(date +%G-%V).tar
	[ ! -f "$tar" ] || return 0
	mkdir -p "$cache/bare"
	rm -f "$cache/bare/$1"-*.tar
	debootstrap --variant=minbase "$1" "$work/base" "$mirror" >"$work/log" 2>&1 || {
		tail -n 5 "$work/log"
		return 1
	}
	tar cf "$tar.part" -C "$work/base" .
	mv "$tar.part" "$tar"
	rm -rf "$work/base"
}

# The base of "bindings": trixie's, and compilers.
bindings_base() {
	base trixie || return 1
	from=$tar tar=$cache/bare/bindings-$(date +%G-%V).tar
	[ ! -f "$tar" ] || return 0
	rm -f "$cache/bare/bindings"-*.tar
	root=$work/base home=/root
	mkdir "$root"
	tar xf "$from" -C "$root"
	cp /etc/resolv.conf "$root/etc/"
	echo "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends gcc libc6-dev meson ninja-build pkg-config binutils \
		rustc golang-go mono-mcs mono-runtime python3; apt-get clean" |
		inside 0 / >"$work/log" 2>&1 || {
		tail -n 5 "$work/log"
		return 1
	}
	tar cf "$tar.part" -C "$root" .
	mv "$tar.part" "$tar"
	rm -rf "$root"
}

# The base of "bullseye", with Meson.
old_base() {
	base bullseye || return 1
	from=$tar tar=$cache/bare/old-$(date +%G-%V).tar
	[ ! -f "$tar" ] || return 0
	rm -f "$cache/bare/old"-*.tar
	mkdir -p "$cache/packages"
	fetch_package bookworm "$(dpkg --print-architecture)" meson || return 1
	root=$work/base home=/root
	mkdir "$root"
	tar xf "$from" -C "$root"
	cp /etc/resolv.conf "$root/etc/"
	echo "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends python3 python3-pkg-resources python3-setuptools \
		ninja-build; apt-get clean" | inside 0 / >"$work/log" 2>&1 || {
		tail -n 5 "$work/log"
		return 1
	}
	cp -a "$package/root/." "$root"
	tar cf "$tar.part" -C "$root" .
	mv "$tar.part" "$tar"
	rm -rf "$root"
}

# inside USER DIRECTORY: the shell lines of stdin, on the machine in $root. What is
# mounted is gone with the last process.
inside() {
	lines=$(cat)
	# shellcheck disable=SC2016 # for the inner shell
	unshare --mount --pid --fork --kill-child ${network:-} sh -c '
		mount -t proc proc "$1/proc"
		mount -t sysfs sys "$1/sys"
		mount --rbind /dev "$1/dev"
		exec chroot "$1" setpriv --reuid="$2" --regid="$2" --clear-groups \
			env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			HOME="$3" LANG=C.UTF-8 WRITEWATCH_TEST_QUICK="$6" \
			${WRITEWATCH_TEST_MOST:+WRITEWATCH_TEST_MOST=$WRITEWATCH_TEST_MOST} \
			sh -ec "cd \"$4\"
$5"' inside "$root" "$1" "$home" "$2" "$lines" "${quick:-}" </dev/null
}

# step NAME [PATTERN] - the lines of stdin succeed, and say something like it
step() {
	from=$(date +%s)
	if inside "$user" "$where" >"$work/out" 2>&1 &&
		grep -qe "${2:-}" "$work/out"; then
		verdict=ok
	else
		verdict=FAILED
		tail -n 200 "$work/out"
	fi
	echo "$suite, $1: $verdict, $(($(date +%s) - from)) s"
	echo "$verdict" >>"$work/verdicts"
}

# refuses NAME PATTERN - the lines of stdin fail, and say why
refuses() {
	if ! inside "$user" "$where" >"$work/out" 2>&1 && grep -qe "$2" "$work/out"; then
		verdict=ok
	else
		verdict=FAILED
		tail -n 200 "$work/out"
	fi
	echo "$suite, $1: $verdict"
	echo "$verdict" >>"$work/verdicts"
}

# The machine, and a clone of what is committed, owned by the user.
machine() {
	${1:-base} "$suite" || { echo "$suite: no base system"; return 1; }
	root=$work/$suite
	mkdir -p "$root"
	tar xf "$tar" -C "$root"
	cp /etc/resolv.conf "$root/etc/"
	mkdir -p "$root$home"
	git clone -q "$top" "$root$where"
	program >"$root$where/program.c"
	chown -R "$user:$user" "$root$home"
}

as_root() {
	user=0 home=/root where="/root/a clone"
	machine || { echo FAILED >>"$work/verdicts"; return 0; }
	network=--net
	block 'See it' 1 | refuses "without a network" "The network is away"
	network=
	block 'See it' 1 | step "see it" "byte for byte the same"
	block 'See it' 2 | step "see any program"
	block 'Test it' 1 | step "test it" "^[0-9]* passed, 0 failed"
	block 'Install it' 1 | step "install it"
	block 'Install it' 2 | step "compile and run" "was written"
	echo writewatch probe | step "writewatch probe" "usable, the one taken"
}

# A user who may not install packages, and has a prefix of his own.
as_user() {
	user=1000 home=/home/u where="/home/u/a clone"
	machine || { echo FAILED >>"$work/verdicts"; return 0; }
	block 'See it' 1 | refuses "without packages" "sudo apt-get install"
	line=$(sed -n 's/^ *sudo //p' "$work/out")
	user=0
	echo "apt-get update -qq; echo y | $line" | step "the line that it gives"
	user=1000
	block 'See it' 1 | step "see it" "byte for byte the same"
	block 'Test it' 1 | step "test it" "^[0-9]* passed, 0 failed"
	{ block 'Install it' 3; block 'Install it' 2; } |
		step "install in a private prefix, compile and run" "was written"
	cp -a "$root$where" "$root$where copied"
	where="$where copied"
	block 'See it' 1 | step "a copied build folder" "byte for byte the same"
	chown -R 0:0 "$root$where/build-examples"
	block 'See it' 1 | refuses "another user's build folder" "another user"
}

as_old() {
	user=0 home=/root where="/root/a clone"
	machine old_base || { echo FAILED >>"$work/verdicts"; return 0; }
	block 'See it' 1 | step "see it" "byte for byte the same"
	block 'Test it' 1 | step "test it" "^[0-9]* passed, 0 failed"
}

# The other languages, on an installed library.
as_binder() {
	user=0 home=/root where="/root/clone"
	machine bindings_base || { echo FAILED >>"$work/verdicts"; return 0; }
	step "install it, and the Python module" <<-X
		meson setup build-install --prefix=/usr -Dpython=enabled -Dexamples=false
		meson install -C build-install
		ldconfig
	X
	echo sh tests/check-bindings.sh | step "doc/bindings.md" "all bindings work"
}

for suite in ${*:-bookworm trixie sid bindings bullseye}; do
	quick=1
	[ "$suite" != bookworm ] || [ "${WRITEWATCH_BARE_FULL:-1}" = 0 ] || quick=
	case $suite in
	trixie) as_user ;;
	bindings) as_binder ;;
	bullseye) as_old ;;
	*) as_root ;;
	esac
	rm -rf "$root"
done
ok=$(grep -c ok "$work/verdicts" || true)
bad=$(grep -c FAILED "$work/verdicts" || true)
echo "$ok passed, $bad failed, 0 skipped"
[ $bad = 0 ]
