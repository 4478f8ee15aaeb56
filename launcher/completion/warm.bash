# SPDX-License-Identifier: MIT
# bash completion for warm(1); installed as completions/warm

_warm_templates() {
	warm ls --json 2>/dev/null | sed -n 's/^[[:blank:]]*"name":[[:blank:]]*"\(.*\)",$/\1/p'
}

# words that may hold blanks, quoted for the command line
_warm_add_templates() {
	local name
	while IFS= read -r name; do
		[[ $name == "$1"* ]] && COMPREPLY+=("$(printf '%q' "$name")")
	done < <(_warm_templates)
}

_warm() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} i options=
	local commands="run build ls rm inspect stats explain doctor stop help"

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$cur")
		return
	fi
	case $command in
	run) options="--name --ready --strict --cold -v --help" ;;
	build) options="--name --ready --rebuild --json --help" ;;
	explain) options="--name --ready --json --help" ;;
	rm) options="--all --json --help" ;;
	inspect | doctor) options="-v --json --help" ;;
	ls | stats | stop) options="--json --help" ;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		return
		;;
	*) return ;;
	esac
	case $command in
	run | build | explain)
		# behind the first word that is no option, it is another program's line
		for ((i = 2; i < COMP_CWORD; i++)); do
			case ${COMP_WORDS[i]} in
			--name | --ready) ((i++)) ;;
			--) ((i++)) && break ;;
			-*) ;;
			*) break ;;
			esac
		done
		if ((i < COMP_CWORD)) || [[ ${COMP_WORDS[COMP_CWORD - 1]} == -- ]]; then
			if declare -F _command_offset >/dev/null; then
				_command_offset "$i"
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			fi
			return
		fi
		case $prev in
		--ready)
			mapfile -t COMPREPLY < <(compgen -W "auto main import call" -- "$cur")
			return
			;;
		--name)
			_warm_add_templates "$cur"
			return
			;;
		esac
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case $command in
	run | build) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	explain)
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		_warm_add_templates "$cur"
		;;
	rm | inspect) _warm_add_templates "$cur" ;;
	esac
}

complete -o default -F _warm warm
