# SPDX-License-Identifier: MIT
# bash completion for writewatch(1)
_writewatch_files()
{
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_writewatch()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i
	local shown='--svg --csv --json --sort --top --process --mapping'
	COMPREPLY=()
	# "--svg=NAME" comes as three words
	if [ "$cur" = = ]; then
		cur=
		prev=${COMP_WORDS[COMP_CWORD - 1]}
	elif [ "$prev" = = ]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'probe bench run watch report --version --help' -- "$cur")
		return
	fi
	case $prev in
	--sort)
		mapfile -t COMPREPLY < <(compgen -W 'writes pages share size' -- "$cur")
		return ;;
	--require)
		mapfile -t COMPREPLY < <(compgen -W 'atomic-reset kernel-writes exact shared no-signal no-thread remote foreign-mprotect foreign-writes' -- "$cur")
		return ;;
	-o | --output | -s | --svg | -c | --csv | -j | --json)
		_writewatch_files
		return ;;
	-i | --interval | -d | --duration | --top | --process | --mapping)
		return ;;
	esac
	case ${COMP_WORDS[1]} in
	probe)
		mapfile -t COMPREPLY < <(compgen -W '--json --require' -- "$cur") ;;
	watch)
		if [ "${cur#-}" != "$cur" ]; then
			mapfile -t COMPREPLY < <(compgen -W "--duration $shown --interval --output --quiet" -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W "$(cd /proc && echo [0-9]*)" -- "$cur")
		fi ;;
	report)
		if [ "${cur#-}" != "$cur" ]; then
			mapfile -t COMPREPLY < <(compgen -W "$shown" -- "$cur")
		else
			_writewatch_files
		fi ;;
	run)
		# behind the program's name come the program's arguments
		for ((i = 2; i < COMP_CWORD; i++)); do
			case ${COMP_WORDS[i]} in
			--) i=$((i + 1)); break ;;
			-[idoscj] | --interval | --output | --svg | --csv | --json | --sort | --top | --process | --mapping) i=$((i + 1)) ;;
			-*) ;;
			*) break ;;
			esac
		done
		if [ "$i" -lt "$COMP_CWORD" ]; then
			if declare -F _command_offset >/dev/null; then
				_command_offset "$i"
			else
				_writewatch_files
			fi
		elif [ "${cur#-}" != "$cur" ]; then
			mapfile -t COMPREPLY < <(compgen -W "--no-follow $shown --interval --output --quiet --" -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		fi ;;
	esac
}
complete -F _writewatch writewatch
