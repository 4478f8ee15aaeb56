#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures clones that warmd launches (issue 3), each row beside its floor and its peers.

Parts, which --only selects; each is one interleaved run:
  latency   until the first instruction: parked and fork, plain forks of the same processes, peers
  run       whole processes: `warm run --pool` beside /bin/true
  lives     whole lives a second, beside fork+exec+wait
  memory    what one more parked pandas clone costs
  thousand  a thousand parked pandas clones

Writes clones.json (results and verdicts), clones-samples.json (every latency) and clones.svg to --out. A run that was
wrong (output, exit status, or launched another way than the row says) is counted as an error and is no sample.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import clones_criu
import clones_picture
import clones_pool
import run
from clones_daemon import Daemon, read
from picture import duration
from run import HERE, PYTHON, ROOT, Failure

PARTS = ("latency", "run", "lives", "memory", "thousand")
STAMP_PY = str(HERE / "programs" / "pandas_stamp.py")
FORK_PY = str(HERE / "programs" / "pandas_fork.py")
FLOOR = "fork, empty process"
HEAPS = (16, 1024)  # MiB
LEARN = 12  # launches before anything counts: warmd/pool/hot.h


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--warm", default=os.environ.get("WARM", str(ROOT / "build" / "warm")), help="the launcher (build/warm)")
    p.add_argument("--out", default=str(ROOT / "build" / "bench"), type=Path)
    p.add_argument("--only", action="append", choices=PARTS, help="only this part; may be repeated")
    p.add_argument("--rounds", type=int, default=200)
    p.add_argument("--cold-stride", type=int, default=50, help="cold programs run in every so-manieth round")
    p.add_argument("--pause", type=int, default=10000, help="microseconds between two entries' turns of `latency`")
    p.add_argument("--burst", type=int, default=5, help="runs in a turn; the first is counted apart, as \"after a pause\"")
    p.add_argument("--idle", action="store_true", help="let the processor sleep in these pauses")
    p.add_argument("--seconds", type=int, default=10, help="of `lives`")
    p.add_argument("--count", type=int, default=1000, help="of `thousand`")
    p.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    p.add_argument("--before", help="the launcher of another version, measured in the same run of `latency` and `run`: is this one as fast?")
    o = p.parse_args()
    o.out = o.out.resolve()
    o.warm = os.path.abspath(o.warm)
    o.before = o.before and os.path.abspath(o.before)
    o.parts = [part for part in PARTS if not o.only or part in o.only]
    o.env = {k: v for k, v in os.environ.items() if k not in ("WARM_DISABLE", "WARM_RUNTIME_DIR", "WARM_FD")}
    o.env["CLONE_BENCH"] = "build"  # there in templates too; its value is the launch's
    return o


def summary(ns):
    """As benchmarks/spawn/stats.c: nearest rank"""
    s = sorted(x / 1e3 for x in ns)

    def rank(percent):
        return s[max(0, (len(s) * percent + 99) // 100 - 1)]
    return {"n": len(s), "min_us": s[0], "p50_us": rank(50), "p99_us": rank(99)} if s else \
        {"n": 0, "min_us": 0, "p50_us": 0, "p99_us": 0}


# --- latency -----------------------------------------------------------------------

BEFORE = ", before"


def latency_config(o, pool, fork, before):
    stamp, empty = str(o.out / "stamp"), str(o.out / "empty")

    def line(name, kind, *argv, daemon=None, template="-", stride=1):
        where = (daemon.socket, str(daemon.pid)) if daemon else ("-", "-")
        fields = (name, kind, str(stride), *where, template, *argv)
        if any("\t" in f or "\n" in f for f in fields):
            raise Failure(f"a path with a tab or line feed in it: {argv}")
        return "\t".join(fields) + "\n"

    lines = [line(FLOOR, "helper", empty),
             line("parked, C", "parked", stamp, daemon=pool, template="c"),
             line("parked, pandas", "parked", PYTHON, STAMP_PY, daemon=pool, template="pandas"),
             line("fork, C", "fork", stamp, daemon=fork, template="c")]
    if before:
        # the client is this version's libwarm for both: what is compared is what warmd, skeleton and stub do
        lines += [line("parked, C" + BEFORE, "parked", stamp, daemon=before[0], template="c"),
                  line("parked, pandas" + BEFORE, "parked", PYTHON, STAMP_PY, daemon=before[0], template="pandas"),
                  line("fork, C" + BEFORE, "fork", stamp, daemon=before[1], template="c"),
                  line("fork, pandas" + BEFORE, "fork", PYTHON, STAMP_PY, daemon=before[1], template="pandas")]
    for mib in HEAPS:
        heap = (stamp, "--heap", str(mib))
        lines.append(line(f"fork, C, {mib} MiB", "fork", *heap, daemon=fork, template=f"c-{mib}"))
        lines.append(line(f"plain fork, C, {mib} MiB", "helper", *heap, "-"))
    lines += [line("fork, pandas", "fork", PYTHON, STAMP_PY, daemon=fork, template="pandas"),
              line("plain fork, pandas", "helper", PYTHON, FORK_PY, "raw", str(o.out / "fork_probe.so")),
              line("os.fork, pandas", "helper", PYTHON, FORK_PY, "os"),
              line("forkserver, pandas", "helper", PYTHON, FORK_PY, "forkserver"),
              line("posix_spawn, empty", "spawn", empty, "first"),
              line("cold, pandas", "spawn", PYTHON, STAMP_PY, "cold", stride=min(o.cold_stride, o.rounds))]
    path = o.out / "clones.conf"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def latency(o):
    stamp = str(o.out / "stamp")
    daemons = pool, fork = Daemon(o.warm, o.env), Daemon(o.warm, o.env, pool_size=0)
    before = (Daemon(o.before, o.env), Daemon(o.before, o.env, pool_size=0)) if o.before else ()
    daemons += before
    try:
        for daemon in daemons:
            daemon.build("c", [stamp], ready="call")
            daemon.build("pandas", [PYTHON, STAMP_PY])
        for mib in HEAPS:
            fork.build(f"c-{mib}", [stamp, "--heap", str(mib)], ready="call")
        for daemon in daemons:
            for name in ("c", "pandas"):
                clones_pool.lives(o, daemon, name, f"--count={LEARN}")
        for mib in HEAPS:
            clones_pool.lives(o, fork, f"c-{mib}", f"--count={LEARN}")
        for daemon in (pool, *before[:1]):
            daemon.wait_parked(8)
        path = o.out / "clones-samples.json"
        path.unlink(missing_ok=True)
        argv = [str(o.out / "clone_bench"), "rounds", f"--rounds={o.rounds}", f"--pause={o.pause}", f"--burst={o.burst}",
                f"--json={path}"]
        argv += ["--idle"] if o.idle else []
        done = subprocess.run([*argv, str(latency_config(o, pool, fork, before))], env=o.env, check=False)
        if done.returncode not in (0, 1):
            raise Failure(f"clone_bench could not measure; {pool.log()}; {fork.log()}")
    finally:
        for daemon in daemons:
            daemon.stop()
    raw = json.loads(path.read_text(encoding="utf-8"))
    result = {}
    for e in raw["entries"]:
        result[e["name"]] = {**summary(e["samples_ns"]), "errors": e["errors"], "first_error": e["first_error"]}
    paused = {e["name"]: {**summary(e["first_ns"]), "errors": 0} for e in raw["entries"] if e["first_ns"]}
    return {"entries": result, "paused": paused, "settings": raw["settings"], "machine": raw["machine"]}


# --- whole processes ------------------------------------------------------------------

RUN_PROGRAMS = ("stdlib", "numpy", "pandas", "flask")


def whole(o):
    """Whole processes, by spawn_bench"""
    programs = [p for p in run.PROGRAMS if p.name in RUN_PROGRAMS]
    daemon, before = Daemon(o.warm, o.env), Daemon(o.before, o.env) if o.before else None
    o.sink = "pipe"
    try:
        lines = [run.config_line("floor", "floor", 1, 0, "-", [str(o.out / "floor")]),
                 run.config_line("true", "true", 1, 0, "-", ["/bin/true"])]
        for p in programs:
            text, status = run.cold_output(p, o, daemon.env)
            expect = o.out / "expected" / p.name
            expect.parent.mkdir(parents=True, exist_ok=True)
            expect.write_bytes(text)
            daemon.build(p.name, p.argv(o.out))
            clones_pool.lives(o, daemon, p.name, f"--count={LEARN}")
            prove_parked(daemon, p, o, (text, status))
            argv = [o.warm, "run", "--strict", "--pool", "--", *p.argv(o.out)]
            lines.append(run.config_line(p.name, "warm", 1, status, str(expect), argv))
            if before:
                before.build(p.name, p.argv(o.out))
                clones_pool.lives(o, before, p.name, f"--count={LEARN}")
                prove_parked(before, p, o, (text, status))
                where = [f"{k}={before.env[k]}" for k in run.OWN_PLACES]
                lines.append(run.config_line(p.name + BEFORE, "other", 1, status, str(expect), [*where, o.before, *argv[1:]]))
            if p.name == "pandas":
                lines.append(run.config_line("pandas, become", "other", 1, status, str(expect), [a for a in argv if a != "--pool"]))
        config = o.out / "clones-run.conf"
        config.write_text("".join(lines), encoding="utf-8")
        path = o.out / "clones-run.json"
        done = subprocess.run([str(o.out / "spawn_bench"), f"--rounds={o.rounds}", f"--dir={o.out}", "--quiet",
                               f"--json={path}", str(config)], env=daemon.env, check=False)
        if done.returncode not in (0, 1):
            raise Failure(f"spawn_bench could not measure; {daemon.log()}")
    finally:
        daemon.stop()
        if before:
            before.stop()
    entries = {}
    for e in json.loads(path.read_text(encoding="utf-8"))["entries"]:
        name = {"floor": "spawn to reap, no-op without libc", "true": "/bin/true"}.get(e["name"], f"run --pool {e['name']}")
        name = "run (become) pandas" if e["name"] == "pandas, become" else name
        entries[name] = {k: e[k] for k in ("n", "min_us", "p50_us", "p99_us", "errors", "first_error")}
    return {"entries": entries}


def prove_parked(daemon, program, o, expected):
    """Is it served by the pool, with the right output?"""
    said = ""
    for _ in range(20):
        status, text, said = run.run([daemon.warm, "run", "--strict", "--pool", "-v", "--", *program.argv(o.out)], daemon.env)
        if (text, status) != expected:
            raise Failure(f"{program.name}: run --pool: exit status {status}, {len(text)} bytes of output; {said}")
        if "(parked)" in said:
            return
        time.sleep(0.1)
    raise Failure(f"{program.name} is not served by a parked clone: {said}")


# --- lives -------------------------------------------------------------------------------

def lives(o):
    """fork+exec+wait before and after: both see the same machine"""
    stamp = str(o.out / "stamp")
    daemon = Daemon(o.warm, o.env)

    def empty():
        argv = [str(o.out / "empty"), "rate", str(max(1, o.seconds // 2)), str(o.out / "floor")]
        n, ns = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        return int(n), int(ns) / 1e9
    try:
        daemon.build("c", [stamp, "-"], ready="call")
        clones_pool.lives(o, daemon, "c", f"--count={LEARN}")
        first = empty()
        n, seconds = clones_pool.lives(o, daemon, "c", f"--seconds={o.seconds}")
        second = empty()
    finally:
        daemon.stop()
    return {"lives": n, "seconds": seconds, "per_second": n / seconds,
            "floor_per_second": (first[0] + second[0]) / (first[1] + second[1])}


# --- verdicts --------------------------------------------------------------------------------

def verdicts(result):
    """Rows: what, measured and its floor as text, ratio, target; ratio None: not measured"""
    rows = []

    def row(what, value, floor, ratio, target, least=False):
        good = ratio is not None and (ratio >= target if least else ratio <= target)
        rows.append({"what": what, "value": value, "floor": floor, "ratio": ratio, "target": target,
                     "least": least, "verdict": "pass" if good else "fail"})

    def by(entries, what, name, against, target):
        a, b = entries[name], entries[against]
        wrong = a["errors"] or b["errors"] or not a["n"] or not b["n"]
        row(what, duration(a["p50_us"]) if a["n"] else "-", duration(b["p50_us"]) if b["n"] else "-",
            None if wrong else a["p50_us"] / b["p50_us"], target)

    if "latency" in result:
        e, small, large = result["latency"]["entries"], *(f"fork, C, {mib} MiB" for mib in HEAPS)
        by(e, "parked, C, beside fork() of an empty process", "parked, C", FLOOR, 0.6)
        by(e, "parked, pandas, beside the same", "parked, pandas", FLOOR, 2)
        by(e, "fork, 1 GiB heap, beside the same", large, FLOOR, 2)
        by(e, "fork, 1 GiB heap, beside 16 MiB", large, small, 1.2)
        by(e, "fork, pandas, beside a plain fork of it", "fork, pandas", "plain fork, pandas", 0.3)
    for part in ("latency", "run"):
        entries = result[part]["entries"] if part in result else {}
        for name in [n for n in entries if n.endswith(BEFORE)]:
            by(entries, f"{name.removesuffix(BEFORE)}, beside the version before", name.removesuffix(BEFORE), name, run.BEFORE_MOST)
    if "run" in result:
        by(result["run"]["entries"], "run --pool, pandas, beside /bin/true", "run --pool pandas", "/bin/true", 1.0)
    if "lives" in result:
        v = result["lives"]
        row("whole lives a second, C, beside fork+exec+wait", f"{v['per_second']:.0f}", f"{v['floor_per_second']:.0f}",
            v["per_second"] / v["floor_per_second"], 0.5, least=True)
    if "memory" in result:
        v = result["memory"]
        row("one more parked pandas: KiB over its pages", f"{v['cost_kib']:.0f} KiB", f"{v['populated_kib']:.0f} KiB",
            v["over_kib"], 500)
    if "thousand" in result:
        v = result["thousand"]
        row(f"{v['count']} parked pandas: seconds until made", f"{v['made_s']:.2f} s",
            f"{v['touch_s']:.2f} s" if v["touch_s"] else "-", v["made_s"], 2)
        row(f"{v['count']} parked pandas: seconds of their lives", f"{v['lives_s']:.2f} s", "", v["lives_s"], 3)
        row(f"{v['count']} parked pandas: MiB of warmd", f"{v['warmd_peak_kib'] / 1024:.1f} MiB", "",
            v["warmd_peak_kib"] / 1024, 64)
    return rows


def print_entries(entries, against, title):
    floor = entries[against]["p50_us"]
    print(f"{title:<34} {'n':>6} {'min':>9} {'p50':>9} {'p99':>9} {'x floor':>8}")
    for name, e in entries.items():
        ratio = f"{e['p50_us'] / floor:>8.2f}" if floor and e["n"] else f"{'-':>8}"
        print(f"{name:<34} {e['n']:>6} {e['min_us']:>9.1f} {e['p50_us']:>9.1f} {e['p99_us']:>9.1f} {ratio}")
        if e.get("errors"):
            print(f"  ERROR: {e['errors']} wrong runs, not counted; the first: {e['first_error']}")
    print()


def report(result):
    if "latency" in result:
        print_entries(result["latency"]["entries"], FLOOR, "microseconds, in bursts")
        if result["latency"]["paused"]:
            print_entries(result["latency"]["paused"], FLOOR, "microseconds, after a pause")
    if "criu" in result:
        print("CRIU, C, restore until it runs: " + (result["criu"].get("why") or
              "n {n}, min {min_us:.0f}, p50 {p50_us:.0f}, p99 {p99_us:.0f} us".format(**result["criu"])) + "\n")
    if "run" in result:
        print_entries(result["run"]["entries"], "/bin/true", "microseconds, spawn to reap")
    if "memory" in result:
        v = result["memory"]
        print(f"one more parked pandas clone, KiB: {v['missing_kib']:.0f} less free, {v['counted_kib']:.0f} counted; private pages {v['populated_kib']:.0f}, "
              f"page tables {v['PageTables']:.0f} (its own VmPTE {v['page_tables_kib']:.0f}), slab {v['Slab']:.0f}, "
              f"kernel stacks {v['KernelStack']:.0f}, per-CPU {v.get('Percpu', 0):.0f}; PSS {v['pss_kib']:.0f}\n")
    print(f"{'what':<50} {'measured':>10} {'floor':>10} {'ratio':>8} {'target':>12}  verdict")
    for r in result["rows"]:
        ratio = "-" if r["ratio"] is None else f"{r['ratio']:.2f}"
        target = f"{'at least' if r['least'] else 'at most'} {r['target']}"
        print(f"{r['what']:<50} {r['value']:>10} {r['floor']:>10} {ratio:>8} {target:>12}  {r['verdict'].upper()}")
    used = max(result["busy_between"])
    print(f"\nCPU used by others between the parts: up to {used:.1%}. Compare ratios: the floors are in the same run.")
    if used > 0.05:
        print("That is not a quiet machine: take p99, and small differences, with care.")


def busy():
    """What others use, in a second in which nothing of ours runs"""
    def take():
        t = [int(x) for x in read("/proc/stat").split("\n", 1)[0].split()[1:9]]
        return sum(t), t[3] + t[4]
    a = take()
    time.sleep(1)
    b = take()
    return 1 - (b[1] - a[1]) / max(1, b[0] - a[0])


def measure(o):
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    result = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit, "busy_between": [busy()]}
    parts = {"latency": latency, "run": whole, "lives": lives, "memory": clones_pool.memory, "thousand": clones_pool.thousand}
    failed = {}
    for part in o.parts:
        try:
            result[part] = parts[part](o)
        except (Failure, subprocess.SubprocessError) as e:
            failed[part] = str(e)
            print(f"clones.py: {part}: {e}", file=sys.stderr)
        result["busy_between"].append(busy())
        if part == "latency":
            result["criu"] = clones_criu.measure(o, summary)
    result["failed"] = failed
    result["rows"] = verdicts(result)
    report(result)
    (o.out / "clones.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if "latency" in result:
        (o.out / "clones.svg").write_text(clones_picture.draw(result), encoding="utf-8")
    print(f"wrote {o.out}/clones.json" + (", clones.svg, and every sample to clones-samples.json" if "latency" in result else ""))
    wrong = failed or any(e.get("errors") for part in ("latency", "run") for e in result.get(part, {}).get("entries", {}).values())
    missed = o.check and any(r["verdict"] == "fail" for r in result["rows"])
    return 1 if wrong or missed else 0


def main():
    o = options()
    absent = run.missing(run.PROGRAMS)
    if absent:
        raise Failure(f"{PYTHON} lacks {', '.join(absent)}: apt-get install {' '.join(run.DEBIAN[m] for m in absent)}")
    if not os.access(o.warm, os.X_OK):
        raise Failure(f"no {o.warm}: run make first")
    if not shutil.which(str(o.out / "clone_bench")):
        raise Failure(f"no {o.out}/clone_bench: make bench-tools")
    return measure(o)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as e:
        sys.exit(f"clones.py: {e}")
