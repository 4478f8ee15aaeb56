#!/bin/bash
# SPDX-License-Identifier: MIT
# demo.sh - cold beside warm for a script that uses pandas. Needs build/warm and build/warmd, and pandas for
# /usr/bin/python3; `make demo` sees to both. Any user can run it. It uses a daemon of its own and stops it.
#
#   WARM=PATH      another launcher than build/warm
#   DEMO_RUNS=N    warm launches to show (5)
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
warm=${WARM:-$root/build/warm}
runs=${DEMO_RUNS:-5}
python=/usr/bin/python3
script=benchmarks/programs/pandas_prog.py
cd "$root" || exit 1

fail() {
	echo "demo: $*" >&2
	exit 1
}

[ -x "$warm" ] || fail "no $warm: run make first"
"$python" -c 'import pandas' 2>/dev/null || fail "$python has no pandas: apt-get install python3-pandas"

own=$(mktemp -d /tmp/warm-demo-XXXXXX) || exit 1
export WARM_RUNTIME_DIR=$own/run XDG_CONFIG_HOME=$own/config
unset WARM_DISABLE
mkdir -m 0700 "$own/run"
finish() {
	"$warm" stop >/dev/null 2>&1
	rm -rf "$own"
}
trap finish EXIT

# timed FILE COMMAND...: runs it with stdout to FILE and stderr to FILE.err, puts the microseconds into $took
timed() {
	local out=$1 start status
	shift
	start=${EPOCHREALTIME/[.,]/}
	"$@" >"$out" 2>"$out.err"
	status=$?
	took=$((${EPOCHREALTIME/[.,]/} - start))
	[ "$status" -eq 0 ] || fail "'$*' ended with exit status $status: $(cat "$out.err")"
}

ms() { # MICROSECONDS: as "12.3 ms"
	printf '%d.%d ms' $(($1 / 1000)) $(($1 % 1000 / 100))
}

median() { # NUMBER...
	printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"
}

row() { # COMMAND TIME NOTE
	printf '  $ %-72s %10s  %s\n' "$1" "$2" "$3"
}

shown=${warm#"$root/"}
echo "A script that uses pandas, cold and warm"
echo

timed "$own/first" "$python" "$script" # reads the files into the page cache: both sides get that
colds=()
for ((i = 1; i <= 3; i++)); do
	timed "$own/cold" "$python" "$script"
	colds+=("$took")
	row "$python $script" "$(ms "$took")" "cold"
done
cmp -s "$own/first" "$own/cold" || fail "two cold runs differ"

timed "$own/build" "$warm" build -- "$python" "$script"
row "$shown build -- $python $script" "$(ms "$took")" "once"

warms=()
differ=0
for ((i = 1; i <= runs; i++)); do
	timed "$own/warm" "$warm" run "$python" "$script"
	warms+=("$took")
	same="warm, same output"
	if ! cmp -s "$own/cold" "$own/warm"; then
		differ=1
		same="warm, OUTPUT DIFFERS"
	fi
	row "$shown run $python $script" "$(ms "$took")" "$same"
done

# --strict fails where a plain run would have gone cold: were those launches really from a template?
timed "$own/warm" "$warm" run --strict "$python" "$script"

# what the shell itself needs to run any command at all
trues=()
for ((i = 1; i <= runs; i++)); do
	timed "$own/true" /bin/true
	trues+=("$took")
done

cold=$(median "${colds[@]}")
fast=$(median "${warms[@]}")
echo
echo "It printed, each time:"
sed 's/^/    /' "$own/warm"
echo
[ "$differ" -eq 0 ] || fail "warm and cold printed different things"
printf 'cold %s, warm %s: %d times faster, same output (median of %d and %d; /bin/true: %s)\n' "$(ms "$cold")" \
	"$(ms "$fast")" $(((cold + fast / 2) / (fast > 0 ? fast : 1))) "${#colds[@]}" "${#warms[@]}" "$(ms "$(median "${trues[@]}")")"
