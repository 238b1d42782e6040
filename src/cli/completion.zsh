#compdef writewatch
# SPDX-License-Identifier: MIT
# zsh completion for writewatch(1)
_writewatch() {
	local -a shown watched
	shown=(
		'(-s --svg)'{-s,--svg}'[memory over time, as a picture]:file:_files'
		'(-c --csv)'{-c,--csv}'[each written run of pages]:file:_files'
		'(-j --json)'{-j,--json}'[the table]:file:_files'
		'--sort[order of the table]:key:(writes pages share size)'
		'--top[rows of the table]:rows'
		'--process[this process alone]:name or number'
		'--mapping[mappings whose names have this in them]:text'
	)
	watched=(
		'(-i --interval)'{-i,--interval}'[milliseconds between two looks]:ms'
		'(-o --output)'{-o,--output}'[record, for report]:file:_files'
		'(-q --quiet)'{-q,--quiet}'[only the table]'
	)
	if (( CURRENT == 2 )); then
		_values command probe bench run watch report --version --help
		return
	fi
	shift words
	(( CURRENT-- ))
	case $words[1] in
	probe)
		_arguments '--json[for programs]' '*--require[what the choice must guarantee]:guarantee:(atomic-reset kernel-writes exact shared no-signal no-thread remote foreign-mprotect foreign-writes)' ;;
	run)
		_arguments $shown $watched '--no-follow[the program alone]' '*::program:_normal' ;;
	watch)
		_arguments $shown $watched '(-d --duration)'{-d,--duration}'[end after so many seconds]:seconds' ':process:_pids' ;;
	report)
		_arguments $shown ':recording:_files' ;;
	esac
}
_writewatch "$@"
