#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh BUILD [--werror] [KERNEL[:BACKEND]...] - the test programs on each kernel of
# kernels.list under qemu, and what ww_probe() says there against expect.list; with
# BACKEND the programs run on that one alone.
# A line for each kernel, user and backend; ends with the counts. Called by
# tests/run.sh --kernels.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${WRITEWATCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/writewatch}
. "$top/examples/setup.sh"
. "$here/fetch.sh"

cd "$top"
out=$1 werror=false
shift
case ${1:-} in --werror) werror=true; shift ;; esac
by_backend=$(meson test -C "$out" --list 2>/dev/null |
	sed -n 's/.* \/ \(.*\) mprotect$/test-\1/p' | tr '\n' ' ')
asked=${*:-$(sed -n 's/^\([^# ][^ ]*\) .*/\1/p' "$here/kernels.list")}
kernels=$(echo "$asked" | sed 's/:[^ ]*//g')
work=$top/$out/kernels
mkdir -p "$work" "$cache/packages" "$cache/kernels"

need cpio cpio
need xz-utils xz
for tool in flex bison bc; do need $tool $tool; done
install_missing

# --- machines ---

# machine NAME: sets what machines.list says of it, and has its tools. False, and
# why on stdout, if they can not be had.
machine() {
	# shellcheck disable=SC2046 # a line is a list
	set -- $(grep "^$1 " "$here/machines.list")
	for_kernel=$2 for_programs=$3 triple=$4 family=$5 endian=$6 loader=$7
	case ${10} in
	*/*) fetch_qemu "${10%/*}" "${10#*/}" "${11}" || return 1 ;;
	*)
		need "${10}" "${11}"
		qemu=${11} ;;
	esac
	if [ "$triple" != - ]; then
		need "gcc-$(echo "$triple" | tr _ -)" "$triple-gcc"
		need "libc6-dev-$1-cross" "/usr/$triple/include/stdio.h"
	fi
	(install_missing) && missing= && return
	missing=
	return 1
}

# --- the test programs, by machine ---

# programs MACHINE: sets $tests to the folder that has them
programs() {
	tests=$top/$out
	[ "$triple" = - ] && return
	tests=$top/$out-$1 sysroot=$work/sysroot-$1
	case " ${built:-} " in *" $1 "*) return ;; esac
	rm -rf "$sysroot"
	mkdir -p "$sysroot"
	for p in libcmocka0 libcmocka-dev; do
		fetch_package "$for_programs" "$1" $p || return 1
		cp -a "$package/root/." "$sysroot"
	done
	cmocka=$(echo "$sysroot"/usr/lib/*-linux-gnu*)
	cat >"$work/$1.ini" <<-X
		[binaries]
		c = '$triple-gcc'
		cpp = '$triple-gcc'
		ar = '$triple-ar'
		strip = '$triple-strip'
		pkgconfig = 'pkg-config'
		[properties]
		sys_root = '$sysroot'
		pkg_config_libdir = '$cmocka/pkgconfig'
		[built-in options]
		c_link_args = ['-L$cmocka']
		[host_machine]
		system = 'linux'
		cpu_family = '$family'
		cpu = '${triple%%-*}'
		endian = '$endian'
	X
	cross="--cross-file $work/$1.ini"
	check_build_folder "$out-$1"
	[ ! -f "$out-$1/build.ninja" ] || cross=
	# shellcheck disable=SC2086 # nothing or two words
	build "$out-$1" -Dtests=enabled -Dwerror=$werror $cross
	built="${built:-} $1"
}

# initramfs NAME MACHINE MODULES: the programs, what they link to, and init
initramfs() {
	root=$work/$1.root
	rm -rf "$root"
	mkdir -p "$root/bin" "$root/tests" "$root/modules" "$root/lib64" \
		"$root/lib"
	fetch_package "$for_programs" "$2" busybox-static || return 1
	find "$package/root" -path '*/bin/busybox' -exec cp {} "$root/bin/" \;
	cp "$here/init" "$root/init"
	chmod 755 "$root/init"
	for f in "$tests"/tests/test-* "$tests/tests/probe"; do
		[ ! -f "$f" ] || cp "$f" "$root/tests/"
	done
	[ -z "${WRITEWATCH_TEST_BENCH:-}" ] || cp "$tests/tests/bench" "$root/tests/"
	cp "$tests/examples/compat-layer" "$root/tests/test-compat-layer"
	cp "$tests/src/writewatch" "$tests/src/writewatch-run.so" "$root/tests/"
	cp "$tests"/src/libwritewatch.so.? "$root/lib/"
	if [ "$triple" = - ]; then
		own_libraries "$1"
	else
		for lib in libc.so.6 libm.so.6 libgcc_s.so.1; do
			cp -L "/usr/$triple/lib/$lib" "$root/lib/"
		done
		cp -L "/usr/$triple/lib/$(basename "$loader")" "$root/$loader"
		cp -L "$sysroot"/usr/lib/*/libcmocka.so.0 "$root/lib/"
	fi
	for module in brd; do
		find "$3" -name "$module.ko*" 2>/dev/null |
			while read -r file; do cp "$file" "$root/modules/"; done
	done
	find "$root/modules" -name '*.xz' -exec xz -d {} +
	{
		echo "writes=${WRITEWATCH_TEST_WRITES:-60000}"
		echo "more='${WRITEWATCH_TEST_MORE:-}'"
		echo "slowness=${WRITEWATCH_TEST_SLOWNESS:-100}"
		echo "limit=${WRITEWATCH_TEST_LIMIT:-500}"
		echo "bench='${WRITEWATCH_TEST_BENCH:-}'"
		echo "users='${WRITEWATCH_TEST_USERS:-root nobody}'"
		echo "only='${WRITEWATCH_TEST_BACKENDS:-$(only "$1")}'"
		echo "plain='${WRITEWATCH_TEST_PLAIN-$(plain_programs "$1")}'"
		echo "by_backend='$(not_skipped "$1" ${WRITEWATCH_TEST_PROGRAMS-$by_backend})'"
	} >"$root/tests/settings"
	(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) \
		>"$work/$1.initramfs"
	rm -rf "$root"
}

own_libraries() {
	cp -L "$(gcc -print-file-name=libgcc_s.so.1)" "$root/lib/" # pthread_cancel
	ldd "$root"/tests/* | awk '$3 ~ /^\// { print $3 }
		$1 ~ /^\/lib64/ { print $1 }' | sort -u |
		grep -v libwritewatch >"$work/$1.libs"
	while read -r lib; do
		case $lib in
		*/ld-linux*) cp -L "$lib" "$root/lib64/" ;;
		*) cp -L "$lib" "$root/lib/" ;;
		esac
	done <"$work/$1.libs"
}

# not_skipped KERNEL PROGRAM...: less those of skip.list
not_skipped() {
	k=$1
	shift
	for program; do
		grep -q "^$k  *$program " "$here/skip.list" || printf '%s ' "$program"
	done
}

# The backend that was asked for with a kernel's name.
only() {
	for k in $asked; do
		case $k in "$1":*) echo "${k#*:}" ;; esac
	done
}

plain_programs() {
	[ "$1" != memwatch ] || printf 'test-process-memwatch '
	echo test-kernel-facts test-softdirty-facts test-mprotect-facts test-select test-base test-core
}

# --- a kernel ---

# kernel NAME SUITE PACKAGE: sets $image and $modules
kernel() {
	modules=/nonexistent
	if [ "$3" != built ]; then
		fetch_package "$2" "$for_kernel" "$3" || return 1
		image=$(find "$package/root" -name 'vmlinu[xz]*' -type f |
			head -n 1)
		modules=$package/root
		case $3 in linux-binary-*) # split since 6.19
			fetch_package "$2" "$for_kernel" "$(basename "$package" |
				sed 's/_.*//; s/binary/modules/')" || return 1
			modules=$package/root ;;
		esac
		return
	fi
	fetch_package "$2" "$for_kernel" linux-source-6[.]1 || return 1
	source=$package/root/usr/src/linux-source-6.1.tar.xz
	hash=$(cat "$here/$1/memwatch.c" "$here/$1/config" \
		"$here/$1/build.sh" | sha256sum | cut -c1-16)
	image=$cache/kernels/$1-$(basename "$package")-$hash
	[ -f "$image" ] && return
	need libelf-dev /usr/include/libelf.h
	need libssl-dev /usr/include/openssl/ssl.h
	install_missing
	echo "building the kernel with process_memwatch (some 5 minutes)"
	sh "$here/$1/build.sh" "$image" "$source" >"$work/$1.build" 2>&1 || {
		tail -n 20 "$work/$1.build"
		echo "the kernel can not be built"
		return 1
	}
}

# --- what came back ---

# judge NAME: lines for a person; the counts go to $work/NAME.counts
judge() {
	log=$work/$1.log
	awk -v kernel="$1" -v counts="$work/$1.counts" '
	$1 == "@@" { status = 0 }
	$1 == "|" && status != 0 { print "  " substr($0, 3) }
	$1 == "@@" && $2 == "test" {
		row = sprintf("%-8s %-16s", $3, $4)
		if (!(row in seconds)) rows[++n] = row
		seconds[row] += $7
		status = $6
		if (status == 0) ok[row]++
		else if (status == 77) skip[row]++
		else bad[row]++
		what = "failed, status " status
		if (status == 77) what = "skipped"
		if (status != 0) print kernel, $3, $4, $5 ": " what
	}
	END {
		for (i = 1; i <= n; i++) {
			r = rows[i]
			printf "%-10s %s %d passed, %d failed, %d skipped, %d s\n",
			    kernel, r, ok[r], bad[r], skip[r], seconds[r]
			o += ok[r]; b += bad[r]; s += skip[r]
		}
		printf "%d %d %d\n", o, b, s >counts
	}' "$log"
	sed -n "s/^@@ bench/$1/p" "$log"
	read -r ok bad skip <"$work/$1.counts"

	# what the probes say, the kernel itself, and the end are tests too
	# less what libgcov says where nobody may not write its counts
	sed -n "/ profiling:/d; s/^@@ probe /$1 /p" "$log" >"$work/$1.probe"
	grep "^$1 " "$here/expect.list" | tr -s ' ' >"$work/$1.expect" || true
	verdict "$1: ww_probe() is not as expect.list says (<)" \
		diff "$work/$1.expect" "$work/$1.probe"
	verdict "$1: the kernel complained" complaints "$log"
	verdict "$1: it did not come to its end" ended "$log"
	grep "^$1 " "$here/skip.list" >"$work/$1.skipped" || true
	while read -r _ program why; do
		skip=$((skip + 1))
		echo "$1 $program: skipped: $why"
	done <"$work/$1.skipped"
	echo "$ok $bad $skip" >"$work/$1.counts"
}

# verdict TEXT COMMAND...: passes if the command does
verdict() {
	text=$1
	shift
	if "$@" >"$work/verdict"; then
		ok=$((ok + 1))
	else
		bad=$((bad + 1))
		echo "$text:"
		sed 's/^/  /' "$work/verdict"
	fi
}

# A kernel with CONFIG_DEBUG_VM shows where a fault could not wait for a userfaultfd's
# thread (/proc/self/mem, futex: EIO, EFAULT, as documented): no complaint.
complaints() {
	! awk '/FAULT_FLAG_ALLOW_RETRY missing/ { expected = 1 }
		/Call Trace/ && expected { expected = 0; next }
		/WARNING:|BUG:|Oops|Kernel panic|Call Trace/ { print }' "$1" |
		grep -m 5 .
}

ended() {
	grep -q '^@@ end' "$1" || { tail -n 5 "$1"; return 1; }
}

# --- all of them ---

: >"$work/ready"
for name in $kernels; do
	# shellcheck disable=SC2046 # a line is a list
	set -- $(grep "^$name " "$here/kernels.list")
	if machine "$2" && kernel "$1" "$3" "$4" && programs "$2" &&
		initramfs "$1" "$2" "$modules"; then
		echo "$1 $2 $image $qemu" >>"$work/ready"
		continue
	fi
	echo "SKIPPED: kernel $name, $3 $2"
	# in CI a skip is a failure
	case ${CI:-} in
	"") echo 0 0 1 ;;
	*) echo 0 1 0 ;;
	esac >"$work/$name.counts"
done
# As many at once as have two processors each: two machines that share them take ten
# times as long in each race (measured), because one waits for a thread of the other's.
jobs=$(($(nproc) / 2))
xargs -r -P $((jobs > 0 ? jobs : 1)) -L 1 sh "$here/boot.sh" "$work" <"$work/ready"
while read -r name rest; do
	judge "$name"
done <"$work/ready"
for name in $kernels; do
	cat "$work/$name.counts"
done | awk '{ ok += $1; bad += $2; skip += $3 }
	END {
		printf "%d passed, %d failed, %d skipped\n", ok, bad, skip
		exit bad > 0
	}'
