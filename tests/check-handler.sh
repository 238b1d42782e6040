#!/bin/sh
# SPDX-License-Identifier: MIT
# check-handler.sh ARCHIVE - what the SIGSEGV handler's object calls is on the
# list of async-signal-safe functions.
set -eu
allowed='
__errno_location sigaddset sigismember memcpy
ww_bits_next ww_bits_set ww_bits_test
ww_fork_generation
ww_ranges_pin_one ww_ranges_table ww_readers_enter ww_readers_leave
ww_sys_mprotect ww_sys_raise ww_sys_sigaction ww_sys_sigmask
ww_mprotect_registry _GLOBAL_OFFSET_TABLE_ __stack_chk_fail __tls_get_addr
'
bad=0 n=0
for name in $(nm -u "$1" | awk '/:$/ { ours = /mprotect-handler/ }
		ours && $1 == "U" { print $2 }' | sort -u); do
	n=$((n + 1))
	case " $(echo $allowed) " in
	*" $name "*) ;;
	*) echo "not on the list: $name"; bad=1 ;;
	esac
done
[ $n -gt 5 ] || { echo "the object was not found"; exit 1; }
exit $bad
