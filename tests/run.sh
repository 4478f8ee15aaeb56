#!/bin/sh
# tests/run.sh - all tests: `make test`.
#
# Unit tests and replayed fuzz corpora; the Python adaptor's own tests; the end-to-end
# tests as root and as an ordinary user; then unit and end-to-end tests once more with
# ASan and UBSan. The last line is the sum: "N passed, N failed".
# SKIP_SAN=1 leaves the last part out.
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0
JOBS=$(nproc)
PYTEST="/usr/bin/python3 -B -m pytest -q -p no:cacheprovider"
OUT=$(mktemp -d /tmp/warm-tests.XXXXXX)
USER_NAME=warmtest
trap 'rm -rf "$OUT"' EXIT

stage() { printf '\n== %s\n' "$1"; }

count() { # passed failed
	passed=$((passed + $1))
	failed=$((failed + $2))
}

# counts of a JUnit file; a run that left none failed as a whole
junit() {
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
	id "$USER_NAME" >/dev/null 2>&1 || useradd -m "$USER_NAME" || return 1
	mkdir "$OUT/tree" && cp -a Makefile lang launcher engine snapshot warmd benchmarks tests docs build "$OUT/tree/" &&
		chown -R "$USER_NAME" "$OUT/tree" && chmod 755 "$OUT"
}

# what only root can have is skipped by name here: the run as root has shown that the host offers it
as_user() { # directory, arguments of pytest
	dir=$1
	shift
	chmod 777 "$OUT"
	(cd "$dir" && runuser -u "$USER_NAME" -- env -u WARM_MUST_WORK HOME=/home/$USER_NAME XDG_RUNTIME_DIR= $PYTEST "$@")
}

stage "build"
built all || { echo "$passed passed, $failed failed"; exit 1; }
stage "unit tests"
unit
stage "Python adaptor"
$PYTEST --junitxml="$OUT/python.xml" tests/python
junit "$OUT/python.xml"
stage "end to end, as $(id -un)"
$PYTEST --junitxml="$OUT/e2e.xml" tests/e2e
junit "$OUT/e2e.xml"
if [ "$(id -u)" = 0 ]; then
	stage "end to end, as an ordinary user"
	if copy_for_user; then
		as_user "$OUT/tree" --junitxml="$OUT/user.xml" tests/e2e
		junit "$OUT/user.xml"
	else
		count 0 1
	fi
fi
if [ -z "${SKIP_SAN:-}" ]; then
	stage "with ASan and UBSan"
	if built SAN=1 all; then
		unit SAN=1
		WARM_BUILD=$PWD/build/san $PYTEST --junitxml="$OUT/san.xml" tests/e2e
		junit "$OUT/san.xml"
	fi
fi
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
