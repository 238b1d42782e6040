# SPDX-License-Identifier: MIT
# fish completion for writewatch(1)
set -l commands probe bench run watch report
complete -c writewatch -n "not __fish_seen_subcommand_from $commands" -f -a "$commands"
complete -c writewatch -n "not __fish_seen_subcommand_from $commands" -l version -d 'version of the library'
complete -c writewatch -n "not __fish_seen_subcommand_from $commands" -l help -d 'all options'
complete -c writewatch -n '__fish_seen_subcommand_from probe' -l json -d 'for programs'
complete -c writewatch -n '__fish_seen_subcommand_from probe' -l require -x -d 'what the choice must guarantee' \
	-a 'atomic-reset kernel-writes exact shared no-signal no-thread remote foreign-mprotect foreign-writes'
complete -c writewatch -n '__fish_seen_subcommand_from run watch report' -s s -l svg -r -d 'memory over time, as a picture'
complete -c writewatch -n '__fish_seen_subcommand_from run watch report' -s c -l csv -r -d 'each written run of pages'
complete -c writewatch -n '__fish_seen_subcommand_from run watch report' -s j -l json -r -d 'the table'
complete -c writewatch -n '__fish_seen_subcommand_from run watch report' -l sort -x -a 'writes pages share size' -d 'order of the table'
complete -c writewatch -n '__fish_seen_subcommand_from run watch report' -l top -x -d 'rows of the table'
complete -c writewatch -n '__fish_seen_subcommand_from run watch report' -l process -x -d 'this process alone'
complete -c writewatch -n '__fish_seen_subcommand_from run watch report' -l mapping -x -d 'mappings whose names have this in them'
complete -c writewatch -n '__fish_seen_subcommand_from run watch' -s i -l interval -x -d 'milliseconds between two looks'
complete -c writewatch -n '__fish_seen_subcommand_from run watch' -s o -l output -r -d 'record, for report'
complete -c writewatch -n '__fish_seen_subcommand_from run watch' -s q -l quiet -d 'only the table'
complete -c writewatch -n '__fish_seen_subcommand_from run' -l no-follow -d 'the program alone'
complete -c writewatch -n '__fish_seen_subcommand_from run' -xa '(__fish_complete_subcommand)'
complete -c writewatch -n '__fish_seen_subcommand_from watch' -s d -l duration -x -d 'end after so many seconds'
complete -c writewatch -n '__fish_seen_subcommand_from watch' -xa '(__fish_complete_pids)'
