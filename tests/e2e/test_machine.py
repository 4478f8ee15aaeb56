# SPDX-License-Identifier: MIT
"""Facts of the machine and of the process that were read before the readiness point. Those that stay until somebody changes
them are part of the key; of the others docs/staleness.md says that they are not, and the tests at the end show it."""

import ctypes
import os
import shutil
import socket
import subprocess

import pytest
from conftest import PYTHON, TIMEOUT, need, a_warm

MAIN = "import m\nprint(m.VALUE)\n"
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def program(script):
    return lambda text: script(MAIN, **{"m.py": "import ctypes, os\n" + text})


def run(warm, argv, prefix=(), **options):
    r = subprocess.run([*map(os.fspath, prefix), *map(os.fspath, argv)], env=warm.environment(), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False, **options)
    return r.stdout, r.stderr, r.returncode


SCHEDULING = {
    "nice": ("VALUE = os.nice(0)\n", ["nice", "-n", "5"]),
    "getpriority": ("VALUE = os.getpriority(os.PRIO_PROCESS, 0)\n", ["nice", "-n", "5"]),
    "through proc": ("VALUE = open('/proc/self/stat').read().rpartition(')')[2].split()[16]\n", ["nice", "-n", "3"]),
    "policy": ("VALUE = os.sched_getscheduler(0)\n", ["chrt", "--batch", "0"]),
    "policy idle": ("VALUE = os.sched_getscheduler(0)\n", ["chrt", "--idle", "0"]),
    "io priority": ("VALUE = ctypes.CDLL(None).syscall(252, 1, 0)\n", ["ionice", "-c", "3"]),
    "of a child": ("with os.popen('nice') as f:\n    VALUE = f.read().strip()\n", ["nice", "-n", "4"]),
}


@pytest.mark.parametrize("what", SCHEDULING)
def test_scheduling(own_warm, program, what):
    text, prefix = SCHEDULING[what]
    need(shutil.which(prefix[0]), prefix[0])
    path = program(text)
    argv = [PYTHON, path]
    launch = [own_warm.program, "run", "--", *argv]
    pool = [own_warm.program, "run", "--pool", "--", *argv]
    strict = [own_warm.program, "run", "--strict", "--", *argv]
    run(own_warm, [own_warm.program, "build", "--pool", "1", "--", *argv])
    cold = run(own_warm, argv)
    assert cold == run(own_warm, strict) == run(own_warm, pool)
    other = run(own_warm, argv, prefix)
    assert other != cold
    for way in (launch, pool):
        assert run(own_warm, way, prefix) == other
    # a template for them as well
    run(own_warm, [own_warm.program, "build", "--", *argv], prefix)
    assert run(own_warm, strict, prefix) == other
    assert run(own_warm, strict) == cold


def test_scheduling_of_its_own(warm, program):
    """What the program has set itself says nothing about its launch"""
    path = program("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\nVALUE = os.sched_getscheduler(0)\n")
    need(shutil.which("chrt"), "chrt")
    warm.build([PYTHON, path])
    strict = [warm.program, "run", "--strict", "--", PYTHON, path]
    assert run(warm, strict) == run(warm, strict, ["chrt", "--idle", "0"]) == ("3\n", "", 0)


# --- the machine: in a namespace of the test's own, where it may be changed ------------------------------------------

def in_namespaces(test, *args):
    """test(*args) in a child with a UTS and a mount namespace of its own; the daemon is in them, too"""
    CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x20000, 0x4000000, 0x10000000   # noqa: N806
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            uid, gid = os.getuid(), os.getgid()
            flags = CLONE_NEWNS | CLONE_NEWUTS | (CLONE_NEWUSER if uid else 0)
            if libc.unshare(flags) < 0:
                os._exit(77)
            if uid:
                for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                    with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
                        f.write(text)
            if libc.mount(b"none", b"/", None, 0x44000, None) < 0:      # MS_REC | MS_PRIVATE
                os._exit(77)
            test(*args)
            status = 0
        except BaseException:       # noqa: BLE001
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    need(os.waitstatus_to_exitcode(status) != 77, "namespaces")
    assert status == 0


NAMES = {"uname": "VALUE = os.uname().nodename\n", "gethostname": "import socket\nVALUE = socket.gethostname()\n",
         "platform": "import platform\nVALUE = platform.node()\n",
         "proc": "VALUE = open('/proc/sys/kernel/hostname').read().strip()\n",
         "child": "with os.popen('uname -n') as f:\n    VALUE = f.read().strip()\n"}


@pytest.mark.parametrize("how", NAMES)
def test_host_name(program, how):
    path = program(NAMES[how])

    def test():
        socket.sethostname("one")
        with a_warm() as warm:
            argv = [PYTHON, path]
            warm.build(argv, options=["--name", "t", "--pool", "2"])
            assert warm.run(argv, strict=True).out == "one\n"
            socket.sethostname("two")
            assert warm.run(argv).out == "two\n"
            assert warm.command("launch", "t").stdout == "two\n"
            socket.sethostname("three")
            assert warm.command("launch", "t").stdout == "three\n"
            assert warm.run(argv, options=["--pool"]).out == "three\n"

    in_namespaces(test)


def test_file_of_proc(program, tmp_path):
    """A setting of the kernel's: /proc/sys/kernel/domainname is the namespace's own, so that one stands for all"""
    path = program("VALUE = open('/proc/sys/kernel/domainname').read().strip()\n")

    def test():
        libc.setdomainname(b"one", 3)
        with a_warm() as warm:
            warm.build([PYTHON, path])
            assert warm.run([PYTHON, path], strict=True).out == "one\n"
            libc.setdomainname(b"two", 3)
            assert warm.run([PYTHON, path]).out == "two\n"

    in_namespaces(test)


@pytest.mark.parametrize("text", ["VALUE = os.cpu_count()\n", "VALUE = os.sysconf('SC_NPROCESSORS_CONF')\n",
                                  "VALUE = os.sysconf('SC_PHYS_PAGES')\n", "VALUE = open('/proc/sys/kernel/pid_max').read()\n",
                                  "VALUE = open('/proc/cpuinfo').read().count('processor')\n",
                                  "VALUE = open('/proc/meminfo').readline()\n"],
                         ids=["cpus", "configured cpus", "memory", "sysctl", "cpuinfo", "meminfo"])
def test_what_cannot_be_changed_here(warm, program, text):
    """That it is a key, and serves while nothing changes; that a change is seen is test_match.c's part"""
    path = program(text)
    warm.same([PYTHON, path])
    warm.build([PYTHON, path], options=["--name", "machine"])
    assert "of the machine" in str(warm.json("inspect", "machine"))
    warm.command("rm", "machine")


# --- what does not count: docs/staleness.md ------------------------------------------------------------------------------

NOT_COUNTED = {
    "time of a directory": ("VALUE = os.stat(os.path.dirname(__file__)).st_mtime_ns\n", lambda d: os.utime(d)),
    "free space": ("VALUE = os.statvfs(os.path.dirname(__file__)).f_bavail\n",
                   lambda d: (d / "large").write_bytes(bytes(1 << 20))),
}


@pytest.mark.parametrize("what", NOT_COUNTED)
def test_does_not_count(warm, program, what):
    text, change = NOT_COUNTED[what]
    path = program(text)
    argv = [PYTHON, "-B", path]
    warm.build(argv)
    first = warm.run(argv, strict=True).out
    change(path.parent)
    assert warm.run(argv, strict=True).out == first
    warm.build(argv, options=["--rebuild"])
    assert warm.run(argv, strict=True).out != first
