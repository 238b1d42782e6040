#!/bin/sh
# SPDX-License-Identifier: MIT
# checks.sh [STEP...] - the suite under sanitizers and other compilers, and what
# tools say of the source: asan tsan m32 musl clang analyzer tidy fuzz packages abi reference.
# A line for each step, with its counts; ends with the sum. What fails is shown.
# Builds in build-STEP; WRITEWATCH_CHECK_BACKENDS says which backends.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
. examples/setup.sh
cache=${WRITEWATCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/writewatch}
. tests/kernels/fetch.sh
mkdir -p "$cache/packages"
steps=${*:-asan tsan m32 musl clang analyzer tidy fuzz packages abi reference}
backends=${WRITEWATCH_CHECK_BACKENDS:-uffd-async uffd-sync mprotect}
log=$(mktemp)
trap 'rm -f "$log" "$log.tests"' EXIT
total_ok=0 total_bad=0 total_skip=0

need libcmocka-dev /usr/include/cmocka.h
need g++ c++
need clang clang
need clang-tidy clang-tidy
need clang-format clang-format
need libclang-rt-14-dev /usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.asan-x86_64.a
# gcc-multilib, which has no version, excludes the cross compilers
need gcc-12-multilib /usr/lib/gcc/x86_64-linux-gnu/12/32/libgcc.a
need libc6-dev-i386 /usr/include/gnu/stubs-32.h
need musl-tools musl-gcc
need debhelper dh
need lintian lintian
need rpm rpmbuild
need git git
need abigail-tools abidiff
need doxygen doxygen
need mandoc mandoc
install_missing

library_sources() {
	find src -name '*.c' ! -path 'src/cli/*' | sort
}

# counts STEP OK BAD SKIPPED
counts() {
	echo "$1: $2 passed, $3 failed, $4 skipped"
	total_ok=$((total_ok + $2)) total_bad=$((total_bad + $3))
	total_skip=$((total_skip + $4))
}

# passes STEP COMMAND...: the step is one command
passes() {
	step=$1
	shift
	if "$@" >"$log" 2>&1; then
		counts "$step" 1 0 0
	else
		tail -n 40 "$log"
		counts "$step" 0 1 0
	fi
}

# some STEP DIR NAME...: these tests of a build, for each backend
some() {
	step=$1 dir=$2
	shift 2
	tests=
	for name; do
		for backend in $backends; do
			tests="$tests|$name $backend"
		done
	done
	: >"$log.tests"
	# names have blanks
	(IFS='|'
	set -f
	# shellcheck disable=SC2086
	set -- ${tests#|}
	IFS=' '
	meson test -C "$dir" --no-rebuild --print-errorlogs -t 3 "$@") \
		>"$log.tests" 2>&1 || tail -n 60 "$log.tests"
	json=$dir/meson-logs/testlog.json
	ok=$(grep -c '"result": "OK"' "$json" || true)
	skip=$(grep -c '"result": "SKIP"' "$json" || true)
	counts "$step" "$ok" $(($(wc -l <"$json") - ok - skip)) "$skip"
}

# without BACKEND: the others
without() {
	for b in $backends; do
		[ "$b" = "$1" ] || printf '%s ' "$b"
	done
}

all='contract copies errors fork kernel-writes kinds modes owners query races remote
	signals threads win32 model torture conformance'

asan() {
	build build-asan -Dtests=enabled -Db_sanitize=address,undefined -Db_lundef=false
	export ASAN_OPTIONS=detect_leaks=0:allow_user_segv_handler=1:use_sigaltstack=0:handle_segv=0
	export UBSAN_OPTIONS=halt_on_error=1
	# gcc's allocator for it does not survive fork() in a program with
	# threads, where uffd-sync starts one more
	export WRITEWATCH_TEST_WITHOUT=fork
	keep=$backends backends=$(without uffd-sync)
	# shellcheck disable=SC2086
	some asan build-asan $all
	backends=$keep
	case " $backends " in *" uffd-sync "*)
		backends=uffd-sync
		some "asan, uffd-sync" build-asan contract copies errors kinds \
			query races signals threads conformance ;;
	esac
	backends=$keep
	unset ASAN_OPTIONS UBSAN_OPTIONS WRITEWATCH_TEST_WITHOUT
}

tsan() {
	build build-tsan -Dtests=enabled -Db_sanitize=thread -Db_lundef=false
	export TSAN_OPTIONS="handle_segv=0 halt_on_error=1"
	keep=$backends backends=uffd-async
	some tsan build-tsan query races threads owners
	backends=$keep
	unset TSAN_OPTIONS
}

# cross NAME CPU_FAMILY CPU C-COMPILER FLAGS LIBRARY-DIR: a file for meson
cross() {
	cat >"build-$1-root/cross.ini" <<-X
		[binaries]
		c = [$4]
		cpp = [$4]
		ar = 'ar'
		strip = 'strip'
		pkgconfig = 'pkg-config'
		[properties]
		sys_root = '$top/build-$1-root'
		pkg_config_libdir = '$top/build-$1-root/usr/lib/$5/pkgconfig'
		needs_exe_wrapper = false
		[built-in options]
		c_link_args = [$6]
		[host_machine]
		system = 'linux'
		cpu_family = '$2'
		cpu = '$3'
		endian = 'little'
	X
}

m32() {
	mkdir -p build-m32-root
	for p in libcmocka0 libcmocka-dev; do
		fetch_package bookworm i386 $p || { counts m32 0 1 0; return; }
		cp -a "$package/root/." build-m32-root
	done
	lib=$top/build-m32-root/usr/lib/i386-linux-gnu
	cross m32 x86 i686 "'gcc', '-m32', '-isystem', '/usr/include/$(gcc -print-multiarch)'" i386-linux-gnu "'-m32', '-L$lib'"
	set -- --cross-file build-m32-root/cross.ini
	check_build_folder build-m32
	[ ! -f build-m32/build.ninja ] || set --
	build build-m32 -Dtests=enabled -Dwerror=true "$@"
	export LD_LIBRARY_PATH="$lib"
	# shellcheck disable=SC2086
	some m32 build-m32 $all
	unset LD_LIBRARY_PATH
}

# What musl has not: the kernel's headers, and cmocka, of which it is linked with a build
# for it. Its pkg-config file lies where cross() says.
musl_root() {
	fetch_source bookworm cmocka || return 1
	lib=build-musl-root/usr/lib/musl
	rm -rf build-musl-root
	mkdir -p build-musl-root/headers build-musl-root/usr/include $lib/pkgconfig
	ln -s /usr/include/linux /usr/include/asm-generic \
		"/usr/include/$(gcc -print-multiarch)/asm" build-musl-root/headers
	cp "$source"/include/*.h build-musl-root/usr/include
	defines=
	for has in CLOCK_REALTIME GCC_THREAD_LOCAL_STORAGE GETPID INTTYPES_H MALLOC_H SIGNAL_H \
		SNPRINTF STDINT_H STRINGS_H STRSIGNAL STRUCT_TIMESPEC TIME_H UNISTD_H VSNPRINTF; do
		defines="$defines -DHAVE_$has"
	done
	# shellcheck disable=SC2086
	musl-gcc -w -O1 -g -fPIC -shared $defines -I"$source/include" \
		-Wl,-soname,libcmocka.so.0 -o $lib/libcmocka.so.0 "$source/src/cmocka.c" || return 1
	ln -s libcmocka.so.0 $lib/libcmocka.so
	cat >$lib/pkgconfig/cmocka.pc <<-X
		Name: cmocka
		Description: for musl
		Version: 1.1.5
		Libs: -L/usr/lib/musl -lcmocka
		Cflags: -I/usr/include
	X
}

musl() {
	musl_root || { counts musl 0 1 0; return; }
	cross musl x86_64 x86_64 "'musl-gcc', '-isystem', '$top/build-musl-root/headers'" musl \
		"'-Wl,-rpath,$top/build-musl-root/usr/lib/musl'" # for set-user-ID programs, too
	set -- --cross-file build-musl-root/cross.ini
	check_build_folder build-musl
	[ ! -f build-musl/build.ninja ] || set --
	build build-musl -Dtests=enabled -Dwerror=true "$@"
	# shellcheck disable=SC2086
	some musl build-musl ${WRITEWATCH_MUSL_TESTS:-$all beside growth hostile inside judge late \
		limits own select stopped strangers faults}

	# a program that has it all inside
	ok=0 bad=0
	musl-gcc -isystem build-musl-root/headers -w -O1 -D_GNU_SOURCE -Iinclude -static \
		-o build-musl/static tests/windows/*.c build-musl/src/libwritewatch.a >"$log" 2>&1 || true
	for backend in $backends; do
		if WRITEWATCH_BACKEND=$backend timeout 200 build-musl/static >>"$log" 2>&1; then
			ok=$((ok + 1))
		else
			tail -n 20 "$log"
			bad=$((bad + 1))
		fi
	done
	counts "musl, static" $ok $bad 0
}

clang() {
	check_build_folder build-clang
	[ -f build-clang/build.ninja ] ||
		CC=clang CXX=clang++ meson setup build-clang >"$log" 2>&1
	build build-clang -Dtests=enabled -Dwerror=true
	some clang build-clang query errors kinds signals threads conformance
}

analyze() {
	find src -name '*.c' | xargs -P "$(nproc)" -n 1 gcc -std=gnu11 -O1 -D_GNU_SOURCE \
		-DPRELOAD_NAME='""' -DPRELOAD_FROM_COMMAND='""' \
		-DPRELOAD_INSTALLED='""' -Iinclude -Isrc -fanalyzer -Werror -c -o /dev/null
}

analyzer() {
	passes analyzer analyze
}

# The files of src/ are as .clang-format says, and clang-tidy says nothing.
tidy_all() {
	find src -name '*.[ch]' -exec clang-format --dry-run --Werror {} + &&
		find src examples -name '*.c' | xargs -P "$(nproc)" -n 4 \
		clang-tidy -p build-clang --quiet --warnings-as-errors='*' 2>build-clang/tidy.err ||
		{
			# not how many warnings of the system's headers there were
			grep -v 'warnings* generated' build-clang/tidy.err
			false
		}
}

tidy() {
	check_build_folder build-clang
	[ -f build-clang/build.ninja ] ||
		CC=clang CXX=clang++ meson setup build-clang >"$log" 2>&1
	build build-clang -Dtests=enabled -Dwerror=true
	passes tidy tidy_all
}

fuzz_model() {
	# shellcheck disable=SC2046
	command clang -g -O1 -std=gnu11 -D_GNU_SOURCE -Iinclude -Isrc -fsanitize=fuzzer,address \
		-o build-fuzz/model tests/torture/model.c \
		tests/torture/model-fuzz.c $(library_sources) -lpthread &&
		ASAN_OPTIONS=handle_segv=0:detect_leaks=0 build-fuzz/model \
			-max_total_time="${WRITEWATCH_FUZZ_SECONDS:-30}" \
			-max_len=480 -handle_segv=0 -artifact_prefix=build-fuzz/
}

fuzz() {
	mkdir -p build-fuzz
	passes fuzz fuzz_model
}

packages() {
	passes packages sh tests/check-packages.sh
}

abi() {
	passes abi sh tests/check-abi-diff.sh
	tail -n 1 "$log"
}

# Each function's comment is understood, and its pages are there.
make_reference() {
	build build-reference -Dtests=disabled -Dexamples=false -Dreference=enabled -Dwerror=true &&
		rm -rf build-reference/installed &&
		DESTDIR=$top/build-reference/installed meson install -C build-reference --no-rebuild --quiet ||
		return 1
	share=build-reference/installed/usr/local/share
	for name in $(sed -n 's/^\t\(ww_[A-Za-z0-9_]*\);$/\1/p' src/libwritewatch.map); do
		page=$share/man/man3/$name.3
		# as many parameters as the prototype has
		awk '/^\.BI "    / && !/"    void"/ { n++ } /^\.TP/ { n-- } /^\.SH SYNOPSIS/ { ok = 1 }
			END { exit !ok || n }' "$page" &&
			grep -q "$name" $share/doc/libwritewatch/html/writewatch*_8h.html || {
			echo "$name has no page, or half a page"
			return 1
		}
	done
	grep -q 'WW_UNMAPPING: cheaper, no page is made writable' $share/man/man3/ww_unwatch.3 &&
		grep -q 'an array of the caller' $share/man/man3/ww_get_ranges.3 || {
		echo "a parameter lacks its text"
		return 1
	}
	mandoc -T lint -W error $share/man/man3/ww_*.3
}

reference() {
	passes reference make_reference
}

export WRITEWATCH_TEST_MOST="${WRITEWATCH_TEST_MOST:-100000}"
export WRITEWATCH_TEST_SLOWNESS="${WRITEWATCH_TEST_SLOWNESS:-8}"
for step in $steps; do
	$step
done
echo "$total_ok passed, $total_bad failed, $total_skip skipped"
[ $total_bad = 0 ]
