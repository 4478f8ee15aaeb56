#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures launches, cold and warm, beside the floor and /bin/true, all in one interleaved run.

Writes launch.json (results and verdicts), spawn.json (every sample) and launch.svg to --out.
Nothing is timed before it is known to be right: the expected output is what two cold runs agree on,
`warm run --strict -v` must have served it from a template, and the timed runs are --strict too, so that a
fall-back to cold is a counted error and never a slow sample.
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import picture

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PYTHON = "/usr/bin/python3"  # Debian's, whatever PATH says: python3-numpy and the others belong to it
DEBIAN = {"numpy": "python3-numpy", "pandas": "python3-pandas", "flask": "python3-flask"}
BUILD_TIMEOUT = 120  # seconds; also ends the wait for a daemon that holds our pipe open


class Program:
    def __init__(self, name, label, file, most=None, least=None, ready=None, module=None):
        self.name, self.label, self.ready, self.module = name, label, ready, module
        self.most, self.least = most, least  # targets: at most x /bin/true, at least x faster than cold
        self.script = None if ready else str(HERE / "programs" / file)
        self.file = file

    def argv(self, out):
        return [PYTHON, self.script] if self.script else [str(out / self.file)]

    def warm_options(self):
        return ["--ready", self.ready] if self.ready else []


# The targets are those of issue 2, and are for start-up: imports, and a line of output. Scripts that do more after
# their imports have none; they are measured and shown beside the others (docs/performance.md says why).
PROGRAMS = [
    Program("stdlib", "json, asyncio, ssl, sqlite3", "stdlib_start.py", 1.8, 40),
    Program("stdlib-work", "with coroutines, SQL, JSON", "stdlib.py"),
    Program("numpy", "numpy", "numpy_start.py", 2.2, 45, module="numpy"),
    Program("numpy-work", "numpy, a line fitted", "numpy_prog.py", module="numpy"),
    Program("pandas", "pandas", "pandas_start.py", 3.5, 110, module="pandas"),
    Program("pandas-work", "pandas, a table's totals", "pandas_prog.py", module="pandas"),
    Program("pandas-groupby", "pandas, groupby", "pandas_report.py", module="pandas"),
    Program("flask", "flask, one request", "flask_prog.py", 3.0, 45, module="flask"),
    Program("many_libs", "C++, 60 libraries", "many_libs/many_libs", 2.0, 5, ready="main"),
]


BEFORE_MOST = 1.03  # x the version before
OWN_PLACES = ("WARM_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")


class Failure(Exception):
    pass


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--warm", default=os.environ.get("WARM", str(ROOT / "build" / "warm")), help="the launcher (build/warm)")
    p.add_argument("--out", default=str(ROOT / "build" / "bench"), type=Path)
    p.add_argument("--rounds", type=int, default=300)
    p.add_argument("--cold-stride", type=int, default=15, help="cold programs run in every so-manieth round")
    p.add_argument("--sink", choices=["pipe", "file"], default="pipe", help="what stdout is")
    p.add_argument("--only", action="append", metavar="NAME", help="only this program; may be repeated")
    p.add_argument("--cold-only", action="store_true", help="references and cold starts only: needs no warm")
    p.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    p.add_argument("--before", help="the launcher of another version, measured in the same run: is this one as fast?")
    o = p.parse_args()
    o.out = o.out.resolve()
    o.warm = os.path.abspath(o.warm)
    o.before = o.before and os.path.abspath(o.before)
    return o


def run(argv, env, sink="pipe"):
    """Runs argv with descriptors of the kinds that spawn_bench gives, for templates may depend on them."""
    with tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as file:
        out = subprocess.PIPE if sink == "pipe" else file
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, check=False,
                                  timeout=BUILD_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failure(f"{' '.join(argv)}: not finished after {BUILD_TIMEOUT} s") from None
        err.seek(0)
        file.seek(0)
        text = done.stdout if sink == "pipe" else file.read()
        return done.returncode, text, err.read().decode(errors="replace").strip()


def cold_output(program, o, env):
    """The bytes and the exit status that are right."""
    first, second = (run(program.argv(o.out), env, o.sink) for _ in range(2))
    if first != second:
        raise Failure(f"{program.name}: two cold runs differ: {first} and {second}")
    if first[0] != 0 or first[2]:
        raise Failure(f"{program.name}: cold run: exit status {first[0]}, stderr: {first[2]}")
    return first[1], first[0]


def why_not_warm(program, o, env, expected):
    """None when `warm run` served the program from a template; otherwise what happened."""
    argv = [o.warm, "run", "--strict", "-v", *program.warm_options(), "--", *program.argv(o.out)]
    status, text, said = run(argv, env, o.sink)
    if (text, status) != expected:
        return f"exit status {status}, {len(text)} bytes of output; stderr: {said}"
    if re.search(r"^warm: .*\bcold\b", said, re.MULTILINE):
        return said
    return None


def make_template(program, o, env, expected):
    """Builds until a launch is served; the second attempt is for what only a launch can show to be missing."""
    for _ in range(2):
        argv = [o.warm, "build", *program.warm_options(), "--", *program.argv(o.out)]
        status, _, said = run(argv, env, o.sink)
        if status:
            return f"build: exit status {status}: {said}"
        why = why_not_warm(program, o, env, expected)
        if not why:
            return None
    return f"run: {why}"


def own_work(program, env):
    """Median time, in microseconds, of what the script does after its imports: no warm launch is faster."""
    if not program.script:
        return None
    times = []
    for _ in range(9):
        status, text, said = run([PYTHON, str(HERE / "own_work.py"), program.script], env)
        if status:
            raise Failure(f"{program.name}: own_work.py: {said}")
        times.append(int(text))
    return statistics.median(times)


def missing(programs):
    wanted = {p.module for p in programs if p.module}
    probe = "import importlib.util, sys; print(*[m for m in sys.argv[1:] if not importlib.util.find_spec(m)])"
    text = subprocess.run([PYTHON, "-c", probe, *sorted(wanted)], stdout=subprocess.PIPE, text=True, check=True).stdout
    return text.split()


def config_line(name, kind, stride, status, expect, argv):
    fields = [name, kind, str(stride), str(status), expect, *argv]
    if any("\t" in f or "\n" in f for f in fields):
        raise Failure(f"a path with a tab or line feed in it: {argv}")
    return "\t".join(fields) + "\n"


def write_config(o, prepared):
    lines = [config_line("floor", "floor", 1, 0, "-", [str(o.out / "floor")]),
             config_line("true", "true", 1, 0, "-", ["/bin/true"])]
    for program, (text, status), warm in prepared:
        expect = o.out / "expected" / program.name
        expect.parent.mkdir(parents=True, exist_ok=True)
        expect.write_bytes(text)
        argv = program.argv(o.out)
        lines.append(config_line(program.name, "cold", o.cold_stride, status, str(expect), argv))
        if warm:
            argv = [o.warm, "run", "--strict", *program.warm_options(), "--", *argv]
            lines.append(config_line(program.name, "warm", 1, status, str(expect), argv))
            if o.before:
                where = [f"{k}={o.before_env[k]}" for k in OWN_PLACES]
                lines.append(config_line(f"{program.name}, before", "other", 1, status, str(expect), [*where, o.before, *argv[1:]]))
    path = o.out / "launch.conf"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def spawn_bench(o, config, env):
    path = o.out / "spawn.json"
    done = subprocess.run([str(o.out / "spawn_bench"), f"--rounds={o.rounds}", f"--sink={o.sink}", f"--dir={o.out}",
                           f"--json={path}", str(config)], env=env, check=False)
    if done.returncode not in (0, 1):
        raise Failure("spawn_bench could not measure")
    return json.loads(path.read_text(encoding="utf-8"))


def verdict(program, warm):
    """What is reached of the targets: pass, fail, or - where there is none or it could not be measured."""
    if not program.most:
        return "-"
    if not warm or warm["errors"] or not warm["n"]:
        return "fail"
    return "pass" if warm["times_true"] <= program.most and warm["cold_over_warm"] >= program.least else "fail"


def collect(o, raw, prepared, failures, work):
    entries = {(e["name"], e["kind"]): {k: v for k, v in e.items() if k not in ("samples_ns", "name", "kind")}
               for e in raw["entries"]}
    programs = []
    for program, _, _ in prepared:
        warm = entries.get((program.name, "warm"))
        programs.append({
            "name": program.name, "label": program.label,
            "target": {"times_true": program.most, "cold_over_warm": program.least} if program.most else None,
            "verdict": None if o.cold_only else verdict(program, warm),
            "why_not_warm": failures.get(program.name), "own_work_us": work[program.name],
            "cold": entries[(program.name, "cold")], "warm": warm, "before": entries.get((f"{program.name}, before", "other")),
        })
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit,
        "machine": raw["machine"], "settings": {**raw["settings"], "cold_stride": o.cold_stride},
        "references": {"no-op, no libc": entries[("floor", "floor")], "/bin/true": entries[("true", "true")]},
        "programs": programs,
    }


def print_verdicts(result):
    print()
    print(f"{'':<16} {'cold':>9} {'warm':>9} {'own work':>9}  {'x /bin/true':>18}  {'faster than cold':>20}")
    for p in result["programs"]:
        warm, target = p["warm"], p["target"]
        line = f"{p['name']:<16} {picture.duration(p['cold']['p50_us']):>9} "
        line += f"{picture.duration(warm['p50_us']) if warm and warm['n'] else '-':>9} "
        line += f"{picture.duration(p['own_work_us']) if p['own_work_us'] else '-':>9}  "
        if warm and warm["n"]:
            most = f"(at most {target['times_true']})" if target else ""
            least = f"(at least {target['cold_over_warm']})" if target else ""
            line += f"{warm['times_true']:>4.2f} {most:>13}  {picture.times(warm['cold_over_warm']):>5} {least:>14}  "
        if not target:
            line += "no target"
        elif p["verdict"]:
            line += p["verdict"].upper()
        print(line.rstrip())
        if p["before"] and p["before"]["n"] and warm["n"]:
            ratio = warm["p50_us"] / p["before"]["p50_us"]
            print(f"  before: {picture.duration(p['before']['p50_us'])}, p99 {picture.duration(p['before']['p99_us'])} (now {picture.duration(warm['p99_us'])}): "
                  f"{ratio:.3f} x ({'PASS' if ratio <= BEFORE_MOST else 'FAIL'}, at most {BEFORE_MOST})")
        if p["why_not_warm"]:
            print(f"  not served warm: {p['why_not_warm']}")
        if warm and warm["errors"]:
            print(f"  {warm['errors']} wrong runs; the first: {warm['first_error']}")
    m = result["machine"]
    print(f"\np50 of {result['settings']['rounds']} rounds; own work: the script after its imports, run once, no launch is faster."
          f"\n{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; CPU used by others meanwhile: {m['cpu_used_by_others']:.1%}")
    if m["cpu_used_by_others"] > 0.05:
        print("That is not a quiet machine: take p99, and small differences, with care.")


def prepare(o, env, programs):
    prepared, failures, work = [], {}, {}
    for program in programs:
        expected = cold_output(program, o, env)
        why = None if o.cold_only else make_template(program, o, env, expected)
        if why:
            failures[program.name] = why
            print(f"run.py: {program.name} is not served warm: {why}", file=sys.stderr)
        if o.before and not why:
            other = argparse.Namespace(**{**vars(o), "warm": o.before})
            why_before = make_template(program, other, o.before_env, expected)
            if why_before:
                raise Failure(f"{program.name}, before: {why_before}")
        work[program.name] = own_work(program, env)
        prepared.append((program, expected, not o.cold_only and not why))
    return prepared, failures, work


def measure(o, env, programs):
    prepared, failures, work = prepare(o, env, programs)
    raw = spawn_bench(o, write_config(o, prepared), env)
    result = collect(o, raw, prepared, failures, work)
    for program, expected, warm in prepared:
        why = why_not_warm(program, o, env, expected) if warm else None
        if why:
            raise Failure(f"{program.name} was no longer served warm after the measurement: {why}")
    (o.out / "launch.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (o.out / "launch.svg").write_text(picture.draw(result), encoding="utf-8")
    print_verdicts(result)
    print(f"\nwrote {o.out}/launch.json, launch.svg, and every sample to spawn.json")
    wrong = failures or any(e["errors"] for e in raw["entries"])
    missed = o.check and any(p["verdict"] == "fail" for p in result["programs"])
    return 1 if wrong or missed else 0


def main():
    o = options()
    programs = [p for p in PROGRAMS if not o.only or p.name in o.only]
    absent = missing(programs)
    if absent:
        raise Failure(f"{PYTHON} lacks {', '.join(absent)}: apt-get install {' '.join(DEBIAN[m] for m in absent)}")
    if not o.cold_only and not os.access(o.warm, os.X_OK):
        raise Failure(f"no {o.warm}: run make first, or use --cold-only")
    with own_daemon(o.warm, not o.cold_only) as env, own_daemon(o.before, bool(o.before)) as o.before_env:
        return measure(o, env, programs)


@contextlib.contextmanager
def own_daemon(warm, used):
    """An environment in which a daemon, its configuration and what it keeps are our own; /tmp, because a socket's path is at most 107 bytes long"""
    own = tempfile.mkdtemp(prefix="warm-bench-", dir="/tmp")
    env = dict(os.environ, WARM_RUNTIME_DIR=f"{own}/run", XDG_CONFIG_HOME=f"{own}/config", XDG_CACHE_HOME=f"{own}/cache")
    env.pop("WARM_DISABLE", None)
    os.mkdir(f"{own}/run", 0o700)
    try:
        yield env
    finally:
        if used:
            run([warm, "stop"], env)
        shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as e:
        sys.exit(f"run.py: {e}")
