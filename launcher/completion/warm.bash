# SPDX-License-Identifier: MIT
# bash completion for warm(1); installed as completions/warm

_warm_templates() {
	warm ls --json 2>/dev/null | sed -n 's/^[[:blank:]]*"name":[[:blank:]]*"\(.*\)",$/\1/p'
}

_warm_pids() {
	warm ps 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p'
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
	local commands="run build load launch attach logs ls ps rm inspect restore stats explain doctor stop help"

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$cur")
		return
	fi
	case $command in
	run) options="--name --ready --pool --strict --cold -v --help" ;;
	build) options="--name --ready --pool --out --rebuild --json --help" ;;
	load) options="--name --json --help" ;;
	explain) options="--name --ready --json --help" ;;
	launch) options="--env --cgroup --detach --detach-keys -v --help" ;;
	attach) options="--view --detach-keys --steal --help" ;;
	logs) options="--follow --help" ;;
	ps) options="--all --json --help" ;;
	stats) options="--json --prometheus --help" ;;
	rm) options="--all --json --help" ;;
	inspect | doctor) options="-v --json --help" ;;
	restore) options="--detach --pidfile --verify --no-verify --new-pids --help" ;;
	ls | stop) options="--json --help" ;;
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
			--name | --ready | --out) ((i++)) ;;
			--pool) [[ $command == build ]] && ((i++)) ;;
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
			mapfile -t COMPREPLY < <(compgen -W "auto main import call delay= idle idle=" -- "$cur")
			return
			;;
		--name)
			_warm_add_templates "$cur"
			return
			;;
		--out)
			mapfile -t COMPREPLY < <(compgen -d -- "$cur")
			return
			;;
		--pool)
			[[ $command == build ]] && return
			;;
		esac
		;;
	launch)
		# the first word that is no option names the template; what follows are the program's
		for ((i = 2; i < COMP_CWORD; i++)); do
			case ${COMP_WORDS[i]} in
			--env | --cgroup | --detach-keys) ((i++)) ;;
			-*) ;;
			*)
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
				return
				;;
			esac
		done
		[[ $prev == --env || $prev == --detach-keys ]] && return
		;;
	esac
	if [[ $cur == -* && $prev != --pidfile ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case $command in
	run | build) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	load) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	explain)
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		_warm_add_templates "$cur"
		;;
	rm | launch) _warm_add_templates "$cur" ;;
	attach | logs)
		[[ $prev == --detach-keys ]] && return
		mapfile -t COMPREPLY < <(compgen -W "$(_warm_pids)" -- "$cur")
		;;
	inspect)
		_warm_add_templates "$cur"
		mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "$(_warm_pids)" -- "$cur")
		mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -d -- "$cur")
		;;
	restore)
		[[ $prev == --pidfile ]] && return
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		;;
	esac
}

complete -o default -F _warm warm
