#!/bin/sh
# SPDX-License-Identifier: MIT
# boot.sh WORK NAME ARCH IMAGE - boot it with WORK/NAME.initramfs, under software
# emulation. The console goes to WORK/NAME.console as it comes, and to
# WORK/NAME.log at the end.
# Two processors for the races, two memory nodes to migrate between.
set -u
work=$1 name=$2 arch=$3 image=$4
case $arch in
amd64)
	machine="qemu-system-x86_64 -M q35 -cpu max" tty=ttyS0 ;;
arm64)
	machine="qemu-system-aarch64 -M virt -cpu max,pauth-impdef=on"
	tty=ttyAMA0 ;;
esac
# shellcheck disable=SC2086 # a list
timeout "${WRITEWATCH_KERNEL_LIMIT:-2400}" \
	$machine -accel tcg,thread=${WRITEWATCH_TCG:-multi} -smp 2,sockets=2 -m 1536 \
	-object memory-backend-ram,size=768M,id=m0 \
	-object memory-backend-ram,size=768M,id=m1 \
	-numa node,nodeid=0,memdev=m0,cpus=0 \
	-numa node,nodeid=1,memdev=m1,cpus=1 \
	-nodefaults -nographic -no-reboot -serial stdio \
	-kernel "$image" -initrd "$work/$name.initramfs" \
	-append "console=$tty panic=-1 loglevel=6" \
	</dev/null >"$work/$name.console" 2>&1
tr -d '\r' <"$work/$name.console" >"$work/$name.log"
exit 0
