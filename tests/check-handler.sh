#!/bin/sh
# SPDX-License-Identifier: MIT
# check-handler.sh ARCHIVE - what the objects that run inside SIGSEGV call is
# on the list of async-signal-safe functions.
set -eu
allowed='
__errno_location sigaddset sigismember memcpy
ww_area_note_lost ww_bits_bytes ww_bits_clear ww_bits_init ww_bits_next ww_bits_set ww_bits_test
ww_fork_generation
ww_ranges_pin_one ww_ranges_table ww_readers_enter ww_readers_leave
ww_sys_is_mapped ww_sys_mprotect ww_sys_raise ww_sys_sigaction ww_sys_sigmask ww_sys_sleep_ns
ww_softdirty_gate ww_faults ww_faults_left ww_prots_apply ww_prots_at ww_prots_same
_GLOBAL_OFFSET_TABLE_ __stack_chk_fail __tls_get_addr
'
# not on the way from the handler: it counts at watch time
watch_time='ww_maps_left'
bad=0 n=0
for name in $(nm -u "$1" | awk '/:$/ { ours = /mprotect-handler|sigsegv-handler|softdirty-handler|prots[.]/ }
		ours && $1 == "U" { print $2 }' | sort -u); do
	n=$((n + 1))
	case " $(echo $allowed $watch_time) " in
	*" $name "*) ;;
	*) echo "not on the list: $name"; bad=1 ;;
	esac
done
[ $n -gt 5 ] || { echo "the object was not found"; exit 1; }
exit $bad
