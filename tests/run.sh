#!/bin/sh
# tests/run.sh - all tests: `make test`.
#
# Unit tests and replayed fuzz corpora; the end-to-end tests as root, beside the Python adaptor's own and the unit
# tests with ASan and UBSan; then the end-to-end tests as an ordinary user, beside the same with ASan and UBSan.
# The last line is the sum: "N passed, N failed". SKIP_SAN=1 leaves out what is sanitized.
#
# A test fails when it fails. Only one that is marked as racing with whatever else the machine does
# (@pytest.mark.races("reason") in tests/e2e) gets a second try, by itself, and what needed one is named in the last
# lines, in front of the sum; more than SECOND_TRIES at once are no accident.
# WARM_LONG=1 adds the tests that are marked as long: `make test-long`.
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0
JOBS=$(nproc)
PYTEST="/usr/bin/python3 -B -m pytest -q -p no:cacheprovider --strict-markers"
OUT=$(mktemp -d /tmp/warm-tests.XXXXXX)
USER_NAME=
# made for this run, and gone with it
trap '[ -z "$USER_NAME" ] || userdel -rf "$USER_NAME" >/dev/null 2>&1; rm -rf "$OUT"' EXIT
trap 'exit 1' HUP INT TERM

stage() { printf '\n== %s\n' "$1"; }

count() { # passed failed
	passed=$((passed + $1))
	failed=$((failed + $2))
}

# counts of a JUnit file; a run that left none failed as a whole
junit() { # file
	counts=$(/usr/bin/python3 - "$1" <<-'EOF'
		import sys, xml.etree.ElementTree as tree
		try:
		    suite = tree.parse(sys.argv[1]).getroot().find("testsuite").attrib
		    bad = int(suite["failures"]) + int(suite["errors"])
		    print(int(suite["tests"]) - bad - int(suite["skipped"]), bad)
		except Exception:
		    print(0, 1)
	EOF
	)
	count $counts
}

SECOND_TRIES=8

# the tests that failed, if they are few and may: a line each, its name, a tab, why it may fail
failures() { # JUnit file
	/usr/bin/python3 - "$1" "$SECOND_TRIES" <<-'EOF'
		import sys, xml.etree.ElementTree as tree
		try:
		    bad = [c for c in tree.parse(sys.argv[1]).getroot().iter("testcase")
		           if c.find("failure") is not None or c.find("error") is not None]
		    if len(bad) <= int(sys.argv[2]):
		        for c in bad:
		            reasons = [p.attrib["value"] for p in c.iter("property") if p.attrib["name"] == "races"]
		            if reasons:
		                print(c.attrib["classname"].replace(".", "/") + ".py::" + c.attrib["name"], reasons[0], sep="\t")
		except Exception:
		    pass
	EOF
}

end_to_end() { # name, command
	name=$1 first="$OUT/$1.xml" second="$OUT/$1.second.xml" again="$OUT/$1.again"
	shift
	"$@" --junitxml="$first" tests/e2e
	failures "$first" >"$again"
	junit "$first"
	if [ ! -s "$again" ]; then
		return
	fi
	tries=$(wc -l <"$again")
	set -- "$@" --junitxml="$second"
	while IFS='	' read -r test reason; do
		set -- "$@" "$test"
		printf '%s: %s (%s)\n' "$name" "$test" "$reason" >>"$OUT/second_tries"
	done <"$again"
	stage "a second try of $tries that failed, and may"
	cut -f 1 "$again"
	# counted by what this says
	count 0 "-$tries"
	"$@"
	junit "$second"
}

built() {
	if ! make -j"$JOBS" "$@"; then
		echo "tests/run.sh: make $* failed"
		count 0 1
		return 1
	fi
}

unit() {
	make -j"$JOBS" "$@" unit || true
	dir=build
	[ "${1:-}" = SAN=1 ] && dir=build/san
	if [ -r "$dir/tests/unit.count" ]; then count $(cat "$dir/tests/unit.count"); else count 0 1; fi
	if make -j"$JOBS" "$@" fuzz-replay; then count 1 0; else count 0 1; fi
}

# the tree where an ordinary user can read it, wherever this checkout lies
copy_for_user() {
	name=warmtest-$(basename "$OUT" | tr -cd 'a-zA-Z0-9' | tail -c 6 | tr A-Z a-z)-$$
	useradd -m "$name" || return 1
	USER_NAME=$name
	mkdir "$OUT/tree" && cp -a Makefile lang launcher engine snapshot pty warmd benchmarks tests docs build "$OUT/tree/" &&
		chown -R "$USER_NAME" "$OUT/tree" && chmod 755 "$OUT"
}

# what only root can have is skipped by name here: the run as root has shown that the host offers it
as_user() { # directory, arguments of pytest
	dir=$1
	shift
	chmod 777 "$OUT"
	(cd "$dir" && runuser -u "$USER_NAME" -- env -u WARM_MUST_WORK HOME=/home/$USER_NAME XDG_RUNTIME_DIR= $PYTEST "$@")
}

# the sum so far, for parts that run in a process of their own
part() { # name, function
	(
		passed=0 failed=0
		"$2" >"$OUT/$1.log" 2>&1
		echo "$passed $failed" >"$OUT/$1.sum"
	)
}

# what a part said, and its counts; one that left none failed as a whole
finish() { # name
	cat "$OUT/$1.log"
	if [ -s "$OUT/$1.sum" ]; then count $(cat "$OUT/$1.sum"); else count 0 1; fi
}

adaptor_and_san_unit() {
	stage "Python adaptor"
	$PYTEST --junitxml="$OUT/python.xml" tests/python
	junit "$OUT/python.xml"
	[ -z "${SKIP_SAN:-}" ] || return
	stage "unit tests with ASan and UBSan"
	built SAN=1 all && unit SAN=1
}

as_ordinary_user() {
	stage "end to end, as an ordinary user"
	end_to_end user as_user "$OUT/tree"
}

san_end_to_end() {
	stage "end to end, with ASan and UBSan"
	end_to_end san env WARM_BUILD="$PWD/build/san" $PYTEST
}

stage "build"
built all || { echo "$passed passed, $failed failed"; exit 1; }
stage "unit tests"
if make check-layers; then count 1 0; else count 0 1; fi
unit
# two at a time: most of the time is spent waiting
part side adaptor_and_san_unit &
stage "end to end, as $(id -un)"
end_to_end e2e $PYTEST
wait
finish side
user=no
if [ "$(id -u)" = 0 ]; then
	if copy_for_user; then user=yes; else count 0 1; fi
fi
[ "$user" = no ] || part user as_ordinary_user &
if [ -z "${SKIP_SAN:-}" ] && [ -x build/san/warmd ]; then
	san_end_to_end
fi
wait
[ "$user" = no ] || finish user
if [ -s "$OUT/second_tries" ]; then
	stage "needed a second try"
	cat "$OUT/second_tries"
fi
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
