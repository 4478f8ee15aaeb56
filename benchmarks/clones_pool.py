# SPDX-License-Identifier: MIT
"""Rows of issue 3 that are no latencies: what a parked clone costs in memory, and a thousand of them."""
import mmap
import os
import statistics
import subprocess
import time

from clones_daemon import Daemon, read
from run import HERE, PYTHON, Failure

SCRIPT = [PYTHON, str(HERE / "programs" / "pandas_start.py")]
FIRST, MORE, STEPS = 10, 50, 3  # parked before; then so many more, so many times
LEARN = 12  # launches after which the pages that clones write are known: warmd/pool/hot.h
AT_ONCE = 50
IDLE = 8  # seconds, in which a virtual machine gives free memory back to its host: the same for what is compared
MADV_NOHUGEPAGE, MADV_POPULATE_WRITE = 15, 23


def lives(o, daemon, name, *options):
    """clone_bench lives: how many, in how many seconds"""
    argv = [str(o.out / "clone_bench"), "lives", *options, daemon.socket, name]
    done = subprocess.run(argv, stdout=subprocess.PIPE, env=o.env, text=True, check=False, timeout=120)
    words = done.stdout.split(maxsplit=3)
    if len(words) < 3:
        raise Failure(f"clone_bench lives of {name}: exit status {done.returncode}; {daemon.log()}")
    if int(words[2]):
        raise Failure(f"clone_bench lives of {name}: {words[2]} wrong: {' '.join(words[3:]).strip()}; {daemon.log()}")
    return int(words[0]), int(words[1]) / 1e9


def meminfo():
    return {k: int(v.split()[0]) for k, v in (line.split(":") for line in read("/proc/meminfo").splitlines())}


def of_clone(pid):
    """KiB: private pages of anonymous memory and of mappings written to; page tables"""
    rollup = {line.split(":")[0]: int(line.split()[1]) for line in read(f"/proc/{pid}/smaps_rollup").splitlines()[1:]}
    tables = [int(line.split()[1]) for line in read(f"/proc/{pid}/status").splitlines() if line.startswith("VmPTE:")]
    if not tables or "Anonymous" not in rollup:
        raise Failure(f"parked clone {pid} is gone")
    return {"populated_kib": rollup["Anonymous"], "page_tables_kib": tables[0], "pss_kib": rollup["Pss"]}


def step(daemon, before):
    """MORE clones more: what the machine has less, a clone"""
    old = meminfo()
    daemon.build("pandas", SCRIPT, pool=before + MORE)
    daemon.wait_parked(before + MORE)
    new = meminfo()  # before /proc of all of them is read, which makes inodes
    less = {k: (new[k] - old[k]) / MORE for k in ("MemFree", "Buffers", "Cached", "AnonPages", "PageTables", "Slab",
                                                  "KernelStack", "Percpu") if k in new}
    # files that anyone read meanwhile are not ours
    less["missing_kib"] = -less["MemFree"] - less["Buffers"] - less["Cached"]
    less["counted_kib"] = sum(less.get(k, 0) for k in ("AnonPages", "PageTables", "Slab", "KernelStack", "Percpu"))
    less["cost_kib"] = max(less["missing_kib"], less["counted_kib"])
    return less


def memory(o):
    daemon = Daemon(o.warm, o.env)
    try:
        daemon.build("pandas", SCRIPT, pool=FIRST)
        lives(o, daemon, "pandas", f"--count={LEARN}")
        daemon.wait_parked(FIRST)
        steps = [step(daemon, FIRST + MORE * i) for i in range(STEPS)]
        pids, _ = daemon.wait_parked(FIRST + MORE * STEPS)
        own = [of_clone(p) for p in pids]
    finally:
        daemon.stop()
    result = {key: statistics.median(s[key] for s in steps) for key in steps[0]}
    result |= {key: statistics.median(c[key] for c in own) for key in own[0]}
    result["over_kib"] = result["cost_kib"] - result["populated_kib"]
    result["steps"] = steps
    return result


def touch(kib):
    """Seconds until processes, one for each processor, have that much memory of their own: the floor of making clones that have it"""
    share = kib * 1024 // len(os.sched_getaffinity(0)) & -mmap.PAGESIZE
    children, start = [], time.monotonic()
    for _ in os.sched_getaffinity(0):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                m = mmap.mmap(-1, share, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                m.madvise(MADV_NOHUGEPAGE)
                m.madvise(MADV_POPULATE_WRITE)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    failed = [c for c in children if os.waitpid(c, 0)[1]]
    return None if failed else time.monotonic() - start


def thousand(o):
    daemon = Daemon(o.warm, o.env)
    try:
        daemon.build("pandas", SCRIPT, pool=4)
        lives(o, daemon, "pandas", f"--count={LEARN}")
        daemon.wait_parked(4)
        time.sleep(IDLE)
        start = time.monotonic()
        daemon.build("pandas", SCRIPT, pool=o.count)
        pids, end = daemon.wait_parked(o.count, timeout=60)
        own = of_clone(pids[0])
        rss = daemon.status("VmRSS")
        n, seconds = lives(o, daemon, "pandas", f"--count={o.count}", f"--at-once={AT_ONCE}")
        if n != o.count:
            raise Failure(f"{n} of {o.count} clones ended well")
        peak = daemon.status("VmHWM")
    finally:
        daemon.stop()
    time.sleep(IDLE)
    return {"count": o.count, "made_s": end - start, "lives_s": seconds, "at_once": AT_ONCE, "warmd_rss_kib": rss,
            "warmd_peak_kib": peak, "populated_kib": own["populated_kib"],
            "touch_s": touch(o.count * (own["populated_kib"] + own["page_tables_kib"]))}
