#!/bin/bash
# SPDX-License-Identifier: MIT
# breakdown.sh [NAME...] - where the time of one launch goes, cold beside warm: system calls (strace -c),
# page faults and CPU time (getrusage), mappings and written memory at exit (/proc/PID/smaps_rollup),
# and time per system call (perf trace -s, where the kernel lets us). For docs/performance.md.
# NAME is many_libs, or a script in programs/ without its .py.
#
#   WARM=PATH          another launcher than build/warm
#   BREAKDOWN_RUNS=N   runs that faults and CPU time are averaged over (20)
#   COLD_ONLY=1        no warm
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
warm=${WARM:-$root/build/warm}
runs=${BREAKDOWN_RUNS:-20}
python=/usr/bin/python3
programs=$root/benchmarks/programs
cd "$root" || exit 1

fail() {
	echo "breakdown: $*" >&2
	exit 1
}

command -v strace >/dev/null || fail "no strace: apt-get install strace"
[ -n "${COLD_ONLY:-}" ] || [ -x "$warm" ] || fail "no $warm: run make first, or set COLD_ONLY=1"

own=$(mktemp -d /tmp/warm-breakdown-XXXXXX) || exit 1
export WARM_RUNTIME_DIR=$own/run XDG_CONFIG_HOME=$own/config
unset WARM_DISABLE
mkdir -m 0700 "$own/run"
finish() {
	[ -n "${COLD_ONLY:-}" ] || "$warm" stop >/dev/null 2>&1
	rm -rf "$own"
}
trap finish EXIT

# program NAME: sets cmd and options
program() {
	options=()
	case $1 in
	many_libs)
		cmd=("$root/build/bench/many_libs/many_libs")
		options=(--ready main)
		[ -x "${cmd[0]}" ] || fail "no ${cmd[0]}: make bench-tools"
		;;
	*)
		cmd=("$python" "$programs/$1.py")
		[ -r "${cmd[1]}" ] || fail "no program called $1"
		;;
	esac
}

quietly() {
	"$@" </dev/null >/dev/null 2>&1
}

# usage COMMAND...: minor faults, major faults, voluntary and involuntary switches, user and system ms; means
usage() {
	"$python" - "$runs" "$@" <<'EOF'
import resource, subprocess, sys
n, argv = int(sys.argv[1]), sys.argv[2:]
null = subprocess.DEVNULL
def run():
    subprocess.run(argv, stdin=null, stdout=null, stderr=null, check=True)
run()
before = resource.getrusage(resource.RUSAGE_CHILDREN)
for _ in range(n):
    run()
after = resource.getrusage(resource.RUSAGE_CHILDREN)
def mean(field, scale=1):
    return (getattr(after, field) - getattr(before, field)) * scale / n
print("%.0f %.1f %.1f %.1f %.2f %.2f" % (mean("ru_minflt"), mean("ru_majflt"), mean("ru_nvcsw"),
      mean("ru_nivcsw"), mean("ru_utime", 1e3), mean("ru_stime", 1e3)))
EOF
}

# at_exit COMMAND...: number of mappings, Rss, Pss and Anonymous (the pages it has written or copied) in kB as the
# program calls exit_group. strace holds it there for a second (inject=...:delay_enter, microseconds), which works
# for any program. Private_Dirty would not do: it counts each page of the template that no other clone has mapped.
at_exit() {
	local tracer child i
	: >"$own/exit"
	set -m # without job control bash has SIGINT and SIGQUIT ignored in the background: no template fits that
	strace -qq -o "$own/exit" -e signal=none -e trace=exit_group -e inject=exit_group:delay_enter=1000000 \
		"$@" </dev/null >/dev/null 2>&1 &
	tracer=$!
	set +m
	for ((i = 0; i < 1000 && $(stat -c %s "$own/exit") == 0; i++)); do
		kill -0 "$tracer" 2>/dev/null || break
		sleep 0.01
	done
	child=$(cat "/proc/$tracer/task/$tracer/children" 2>/dev/null)
	child=${child%% *}
	if [ -n "$child" ] && [ -r "/proc/$child/smaps_rollup" ]; then
		awk 'FNR == NR { n++; next } /^Rss:/ { r = $2 } /^Pss:/ { p = $2 } /^Anonymous:/ { d = $2 }
			END { print n, r, p, d }' "/proc/$child/maps" "/proc/$child/smaps_rollup"
	else
		echo "- - - -"
	fi
	wait "$tracer"
}

# calls FILE COMMAND...: the summary of strace to FILE; prints the number of calls
calls() {
	local file=$1
	shift
	quietly strace -f -c -S calls -U calls,errors,time,name -o "$file" "$@"
	awk '$NF == "total" { print $1 }' "$file"
}

line() { # NAME KIND COMMAND...
	local name=$1 kind=$2 count used memory
	shift 2
	count=$(calls "$own/$name.$kind" "$@")
	used=$(usage "$@") || fail "$* failed"
	memory=$(at_exit "$@")
	# shellcheck disable=SC2086
	printf '%-14s %-5s %7s %7s %6s %7s %7s %7s %7s %9s %9s %9s %9s\n' "$name" "$kind" "$count" $used $memory
}

names=("$@")
[ ${#names[@]} -gt 0 ] || names=(stdlib_start stdlib numpy_start numpy_prog pandas_start pandas_prog \
	pandas_report flask_prog many_libs)
for name in "${names[@]}"; do
	program "$name"
done

printf '%-14s %-5s %7s %7s %6s %7s %7s %7s %7s %9s %9s %9s %9s\n' "" "" "system" "minor" "major" "switches" "" \
	"user" "system" "mappings" "Rss" "Pss" "written"
printf '%-14s %-5s %7s %7s %6s %7s %7s %7s %7s %9s %9s %9s %9s\n' program "" calls faults faults own forced ms ms \
	"at exit" kB kB kB
served=()
for name in "${names[@]}"; do
	program "$name"
	line "$name" cold "${cmd[@]}"
	[ -z "${COLD_ONLY:-}" ] || continue
	if quietly "$warm" build "${options[@]}" -- "${cmd[@]}" &&
		quietly "$warm" run --strict "${options[@]}" -- "${cmd[@]}"; then
		served+=("$name")
		line "$name" warm "$warm" run --strict "${options[@]}" -- "${cmd[@]}"
	else
		echo "$name: not served warm; see: $warm explain -- ${cmd[*]}"
	fi
done

for name in ${served[@]+"${served[@]}"}; do
	program "$name"
	echo
	echo "$name, warm: system calls by number (strace -c -f)"
	head -n 16 "$own/$name.warm" | sed 's/^/  /'
	# perf trace needs tracefs and perf_event_paranoid <= 1, or root
	if command -v perf >/dev/null &&
		perf trace -s -o "$own/perf" "$warm" run --strict "${options[@]}" -- "${cmd[@]}" \
			</dev/null >/dev/null 2>&1; then
		echo "$name, warm: time in system calls (perf trace -s)"
		sed -n '/syscall/,$p' "$own/perf" | head -n 18 | sed 's/^/  /'
	fi
done
