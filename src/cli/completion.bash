# SPDX-License-Identifier: MIT
# bash completion for writewatch(1)
_writewatch()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'probe bench run watch --help' -- "$cur")
		return
	fi
	case $prev in
	-s | --svg | -c | --csv)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	-i | --interval | -d | --duration)
		return ;;
	esac
	case ${COMP_WORDS[1]} in
	probe)
		mapfile -t COMPREPLY < <(compgen -W '--json' -- "$cur") ;;
	watch)
		if [ "${cur#-}" != "$cur" ]; then
			mapfile -t COMPREPLY < <(compgen -W '--interval --duration --svg --csv --quiet' -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W "$(cd /proc && echo [0-9]*)" -- "$cur")
		fi ;;
	run)
		# behind the program's name come the program's arguments
		for ((i = 2; i < COMP_CWORD; i++)); do
			case ${COMP_WORDS[i]} in
			--) i=$((i + 1)); break ;;
			-i | --interval | -d | --duration | -s | --svg | -c | --csv) i=$((i + 1)) ;;
			-*) ;;
			*) break ;;
			esac
		done
		if [ "$i" -lt "$COMP_CWORD" ]; then
			if declare -F _command_offset >/dev/null; then
				_command_offset "$i"
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			fi
		elif [ "${cur#-}" != "$cur" ]; then
			mapfile -t COMPREPLY < <(compgen -W '--interval --svg --csv --quiet --' -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		fi ;;
	esac
}
complete -F _writewatch writewatch
