#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh SECONDS COUNT-FILE PROGRAM... - run cmocka programs, each with a time-out; a line for
# each, the failures in full, and "PASSED FAILED" in COUNT-FILE. Skipped tests count as
# neither, or as failed when WARM_MUST_WORK is 1.
seconds=$1 count=$2
shift 2
passed=0 failed=0 skipped=0
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT INT TERM

for program; do
	CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "$seconds" "$program" >"$out" 2>&1 </dev/null
	status=$?
	# cmocka says "not ok N # SKIP NAME"
	p=$(grep -c '^ok ' "$out")
	f=$(grep '^not ok ' "$out" | grep -vc '# SKIP ')
	s=$(grep -c '^\(not \)\?ok [0-9]* *# SKIP ' "$out")
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$out" | awk '{ n += $1 } END { print n + 0 }')
	if [ "${WARM_MUST_WORK:-}" = 1 ]; then
		f=$((f + s))
	fi
	words=
	case $status in
	124 | 137) words=", timed out after $seconds s" ;;
	0) ;;
	*) [ "$f" -gt 0 ] || words=", ended with status $status" ;;
	esac
	[ "$plan" -gt 0 ] || words=", said nothing${words}"
	[ "$((p + f + s))" -ge "$plan" ] || words=", $((plan - p - f - s)) tests not run${words}"
	[ -z "$words" ] || f=$((f + 1))
	verdict=ok
	[ "$f" -eq 0 ] || verdict=FAILED
	printf '%-28s %-6s %d passed, %d failed, %d skipped%s\n' "$(basename "$program")" $verdict $p $f $s "$words"
	[ "$f" -eq 0 ] || sed 's/^/    /' "$out"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
printf 'unit tests: %d passed, %d failed, %d skipped\n' $passed $failed $skipped
echo "$passed $failed" >"$count"
[ $failed -eq 0 ]
