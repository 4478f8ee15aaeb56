# SPDX-License-Identifier: MIT
"""A daemon that is started by a limited process: what was set for that one is not the daemon's"""
import os
import resource
import signal
from pathlib import Path

import pytest
from conftest import PYTHON

R = resource
MAIN = ["--ready", "main"]


def limits_of(pid):
    """{name: (soft, hard)} as /proc has them"""
    found = {}
    for line in Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()[1:]:
        words = line[26:].split()
        found[line[:26].strip()] = (words[0], words[1])
    return found


def status_of(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines() if ":\t" in line)


def start(make_warm, preexec, env=None):
    """A run by a process that preexec() has limited, and then the daemon"""
    warm = make_warm()
    r = warm.run(["/bin/sh", "-c", "echo ran"], preexec=preexec, env=env)
    assert (r.out, r.status) == ("ran\n", 0), r
    assert warm.pid(), "no daemon"
    return warm


def test_soft_limits(make_warm):
    soft = {R.RLIMIT_FSIZE: 0, R.RLIMIT_AS: 200 << 20, R.RLIMIT_DATA: 100 << 20, R.RLIMIT_NOFILE: 32, R.RLIMIT_STACK: 256 << 10,
            R.RLIMIT_CPU: 10, R.RLIMIT_CORE: 0}

    def limit():
        for what, value in soft.items():
            resource.setrlimit(what, (value, resource.getrlimit(what)[1]))
    warm = start(make_warm, limit)
    own = limits_of(os.getpid())
    found = limits_of(warm.pid())
    for name in ("Max file size", "Max address space", "Max data size", "Max open files", "Max cpu time"):
        assert found[name] == (own[name][1], own[name][1]), (name, found[name])
    assert found["Max core file size"][0] == "0"
    assert found["Max stack size"][0] == str(8 << 20) or found["Max stack size"][1] != "unlimited"
    # a build by somebody else is not held back
    warm.build([PYTHON, "-c", "import json; print(1)"], options=MAIN)
    assert warm.run([PYTHON, "-c", "import json; print(1)"], options=MAIN, strict=True).out == "1\n"


def test_what_belongs_to_its_starter(make_warm):
    """umask, affinity, scheduling, signals, personality, what the loader is told"""
    cpus = os.sched_getaffinity(0)
    if os.geteuid() == 0:
        nice = 7
    else:
        nice = os.getpriority(os.PRIO_PROCESS, 0)       # it could not be put back

    def prepare():
        os.umask(0o22)
        os.sched_setaffinity(0, {min(cpus)})
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    warm = start(make_warm, prepare, {"LD_PRELOAD": "/nonexistent/x.so", "MALLOC_PERTURB_": "1", "GLIBC_TUNABLES": "glibc.malloc.check=1",
                                      "KEPT": "yes"})
    pid = warm.pid()
    status = status_of(pid)
    assert int(status["Umask"], 8) == 0o77
    assert os.sched_getaffinity(pid) == cpus
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, pid) == (0 if os.geteuid() == 0 else nice)
    # its own: HUP, PIPE and XFSZ are ignored, INT and TERM read from a descriptor
    # (the two signals that the C library keeps to itself have no name, and pass through any program as they were)
    library = 1 << (32 - 1) | 1 << (33 - 1)
    assert int(status["SigIgn"], 16) & ~library == 1 << (signal.SIGHUP - 1) | 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert int(status["SigBlk"], 16) == 1 << (signal.SIGINT - 1) | 1 << (signal.SIGTERM - 1)
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii")) == 0
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"KEPT=yes" in environment
    assert not [e for e in environment if e.startswith((b"LD_PRELOAD", b"MALLOC_", b"GLIBC_TUNABLES"))]


def test_no_files_at_all(make_warm):
    """`ulimit -f 0` for good: the daemon serves, says why there are no templates, and programs run cold. Its log has no line"""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    warm = start(make_warm, limit)
    pid = warm.pid()
    argv = [PYTHON, "-c", "print(1)"]
    answer = warm.build(argv, options=MAIN, expect=None)
    assert answer["status"] == "error" and "may not write" in answer["reason"] and "ulimit -f" in answer["reason"], answer
    r = warm.run(argv, options=MAIN, verbose=True)
    assert (r.out, r.status) == ("1\n", 0) and "running cold" in r.err
    assert warm.stats()["uptime_ns"] > 0 and warm.pid() == pid
    assert not warm.log()


@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_small_files_only(make_warm, size):
    """The log ends at the limit, and nothing else does"""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    warm = start(make_warm, limit)
    argv = [PYTHON, "-c", "print(1)"]
    answer = warm.build(argv, options=MAIN, expect=None)
    assert answer["status"] in ("error", "refused") and "ulimit -f" in answer["reason"], answer
    for _ in range(100):
        assert warm.command("ls", "--json").stdout
    assert len(warm.log()) <= size
