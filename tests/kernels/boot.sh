#!/bin/sh
# SPDX-License-Identifier: MIT
# boot.sh WORK NAME MACHINE IMAGE QEMU - boot it with WORK/NAME.initramfs, under
# software emulation. The console goes to WORK/NAME.console as it comes, and to
# WORK/NAME.log at the end.
# Two processors for the races, two memory nodes to migrate between. The limit is
# processor time of qemu, all threads together: a busy host ends nobody's kernel.
# A kernel that only sleeps ends by the clock, after three times as long.
set -u
work=$1 name=$2 image=$4 qemu=$5
# shellcheck disable=SC2046 # a line is a list
set -- $(grep "^$3 " "$(dirname "$0")/machines.list")
nodes=$8 console=$9
shift 11
machine=$*
if [ "$nodes" = 2 ]; then
	memory="-object memory-backend-ram,size=768M,id=m0
		-object memory-backend-ram,size=768M,id=m1
		-numa node,nodeid=0,memdev=m0,cpus=0
		-numa node,nodeid=1,memdev=m1,cpus=1"
else
	memory=
fi
limit=${WRITEWATCH_KERNEL_LIMIT:-4800}
# shellcheck disable=SC2086,SC3045 # lists; dash has -t
( ulimit -t "$limit"
exec timeout $((limit * 3)) \
	"$qemu" $machine -accel tcg,thread=multi -smp 2,sockets=2 -m 1536 \
	$memory -nodefaults -nographic -no-reboot -serial stdio \
	-kernel "$image" -initrd "$work/$name.initramfs" \
	-append "console=$console panic=-1 loglevel=6" ) \
	</dev/null >"$work/$name.console" 2>&1
tr -d '\r' <"$work/$name.console" >"$work/$name.log"
exit 0
