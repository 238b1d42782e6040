#!/bin/sh
# SPDX-License-Identifier: MIT
# check-handler.sh ARCHIVE - what the objects that run inside SIGSEGV call is
# on the list of async-signal-safe functions.
set -eu
allowed='
memcpy sigaddset
ww_area_each_held_run ww_bits_bytes ww_bits_clear ww_bits_init ww_bits_next ww_bits_set ww_bits_test
ww_area_note_lost ww_fork_generation ww_trackers_each
ww_ranges_pin_one ww_ranges_published ww_ranges_around ww_readers_enter ww_readers_leave
ww_mapcount_take_two ww_turns_opened
ww_sys_is_mapped ww_sys_is_writable ww_sys_mprotect ww_sys_raise ww_sys_sigaction ww_sys_sleep_ns
ww_sys_block_signals ww_sys_restore_signals ww_sys_now_ns ww_sys_thread_ns ww_sys_sleeps_of_thread ww_sys_page_size ww_sys_thread_id
ww_sigsegv ww_softdirty_gate ww_prots_apply ww_prots_at ww_prots_same
_GLOBAL_OFFSET_TABLE_
'
# not on the way from the handler: at watch time
watch_time='ww_sys_mmap_prot ww_sys_munmap'
bad=0 n=0
for name in $(nm -u "$1" | awk '/:$/ { ours = /mprotect-handler|sigsegv-handler|softdirty-handler|prots[.]|turns/ }
		ours && $1 == "U" { print $2 }' | sort -u); do
	n=$((n + 1))
	case " $(echo $allowed $watch_time) " in
	*" $name "*) continue ;;
	esac
	case $name in
	__gcov*) ;; # a build that counts coverage

	*) echo "not on the list: $name"; bad=1 ;;
	esac
done
[ $n -gt 5 ] || { echo "the object was not found"; exit 1; }
# What may be written to is known as the library's own, and can not be watched.
outside=$(objdump -t "$1" | awk '$3 == "O" && $4 ~ /^[.](bss|data)/ && $4 !~ /rel[.]ro/ && $6 !~ /gcov/ { print $6 }')
[ -z "$outside" ] || { echo "not WW_DATA: $outside"; bad=1; }
exit $bad
