#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The first launch of a template that was kept on disk, after a restart of the daemon

In each round: a launch from memory; `warm stop`, the daemon is started, and the first launch is measured, with the
image in the page cache, once the daemon has loaded it and at once; the same where `warm run` itself has to start the daemon; as root the same with a page cache that
was emptied (drop_caches), and the program's cold start with one too. All are checked to be served by the template
(--strict) with the right output. The image's size beside the template's stored pages comes first.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import run

TIMES_MEMORY, FASTER_THAN_COLD, TIMES_PAGES = 2, 10, 1.05


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--warm", default=os.environ.get("WARM", str(run.ROOT / "build" / "warm")), help="the launcher (build/warm)")
    p.add_argument("--out", default=str(run.ROOT / "build" / "bench"), type=Path)
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--only", default="pandas", choices=[x.name for x in run.PROGRAMS])
    p.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    o = p.parse_args()
    o.out, o.warm, o.sink = o.out.resolve(), os.path.abspath(o.warm), "pipe"
    return o


def timed(argv, env, expected):
    """Microseconds from before the spawn until the process is reaped and its output read"""
    began = time.perf_counter_ns()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, check=False)
    took = (time.perf_counter_ns() - began) / 1000
    if (done.stdout, done.returncode) != expected:
        raise run.Failure(f"{argv}: exit status {done.returncode}, {len(done.stdout)} bytes; stderr: {done.stderr.decode(errors='replace')}")
    return took


def empty_page_cache():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")


def summary(samples):
    s = sorted(samples)
    return {"n": len(s), "min_us": s[0], "p50_us": s[(len(s) - 1) // 2], "p99_us": s[max(0, (len(s) * 99 + 99) // 100 - 1)]} if s else {"n": 0}


def wait_kept(env):
    """Until the image is written: the builder does that behind its answer"""
    folder = Path(env["XDG_CACHE_HOME"]) / "warm"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [p.parent for p in folder.rglob("manifest.pb") if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
        if found:
            return found[0]
        time.sleep(0.02)
    raise run.Failure(f"nothing was kept in {folder}")


def measure(o, env, program):
    expected = run.cold_output(program, o, env)
    why = run.make_template(program, o, env, expected)
    if why:
        raise run.Failure(why)
    image = wait_kept(env)
    used = sum(f.stat().st_blocks * 512 for f in image.iterdir())
    listed = as_list(json.loads(run.run([o.warm, "ls", "--json"], env)[1]))
    pages = listed[0]["sealed_bytes"] if "sealed_bytes" in listed[0] else listed[0]["memory_bytes"]
    warm = [o.warm, "run", "--strict", "--", *program.argv(o.out)]
    starting = [o.warm, "run", "--", *program.argv(o.out)]     # a daemon that does not listen in time is no error there
    cold = program.argv(o.out)
    samples = {k: [] for k in ("memory", "restarted, loaded", "restarted, at once", "starts the daemon", "cold")}
    if os.geteuid() == 0:
        samples |= {"restarted, empty page cache": [], "cold, empty page cache": []}
    for _ in range(o.rounds):
        samples["cold"].append(timed(cold, env, expected))
        for _ in range(3):
            timed(warm, env, expected)
        samples["memory"].append(timed(warm, env, expected))
        restart(o, env)
        wait_loaded(o, env, cold)
        samples["restarted, loaded"].append(timed(warm, env, expected))
        restart(o, env)
        samples["restarted, at once"].append(timed(warm, env, expected))
        run.run([o.warm, "stop"], env)
        samples["starts the daemon"].append(timed(starting, env, expected))
        if os.geteuid() == 0:
            restart(o, env)
            wait_loaded(o, env, cold)
            empty_page_cache()
            samples["restarted, empty page cache"].append(timed(warm, env, expected))
            empty_page_cache()
            samples["cold, empty page cache"].append(timed(cold, env, expected))
    return {"program": program.name, "image_bytes": used, "pages_bytes": pages, "rows": {k: summary(v) for k, v in samples.items()}}


def wait_loaded(o, env, cold):
    """Until the daemon has loaded what was kept, as it does when nothing else is to be done"""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        text = run.run([o.warm, "ls", "--json"], env)[1]
        if any(t["state"] == "ready" and t["argv"] == cold for t in as_list(json.loads(text))):
            return
        time.sleep(0.005)
    raise run.Failure("the daemon did not load what was kept")


def as_list(listed):
    return listed if isinstance(listed, list) else listed["templates"]


def restart(o, env):
    run.run([o.warm, "stop"], env)
    run.run([o.warm, "run", "--", "/bin/true"], env)       


def report(result):
    rows = result["rows"]
    print(f"{'first launch, ' + result['program']:<34} {'n':>4} {'min':>10} {'p50':>10} {'p99':>10}   microseconds")
    for name, e in rows.items():
        print(f"{name:<34} {e['n']:>4} {e['min_us']:>10.0f} {e['p50_us']:>10.0f} {e['p99_us']:>10.0f}")
    verdicts = [("an image beside the template's stored pages", result["image_bytes"] / result["pages_bytes"], TIMES_PAGES, False),
                ("restarted and loaded, beside a launch from memory", rows["restarted, loaded"]["p50_us"] / rows["memory"]["p50_us"], TIMES_MEMORY, False),
                ("restarted, at once, beside the same", rows["restarted, at once"]["p50_us"] / rows["memory"]["p50_us"], TIMES_MEMORY, False)]
    if "cold, empty page cache" in rows:
        verdicts.append(("cold beside restarted, both with an empty page cache",
                         rows["cold, empty page cache"]["p50_us"] / rows["restarted, empty page cache"]["p50_us"], FASTER_THAN_COLD, True))
    good = True
    for what, ratio, target, least in verdicts:
        passed = ratio >= target if least else ratio <= target
        good &= passed
        print(f"{what:<56} {ratio:6.2f}  ({'at least' if least else 'at most'} {target}) {'PASS' if passed else 'FAIL'}")
    return good


def main():
    o = options()
    program = next(p for p in run.PROGRAMS if p.name == o.only)
    with run.own_daemon(o.warm, True) as env:
        result = measure(o, env, program)
    (o.out / "kept.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    good = report(result)
    return 1 if o.check and not good else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except run.Failure as e:
        sys.exit(f"kept.py: {e}")
