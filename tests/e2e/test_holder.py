# SPDX-License-Identifier: MIT
"""Holders: they share the memory of large parked clones and nothing else, and go when their clones leave it, however they do"""
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import TIMEOUT, children, eventually, exists, read_until, state
from launches import name_of_process

MAIN = ["--ready", "main"]
WORD = "the-launch-of-this-test"        # among its arguments, which a holder shows as its clone does


def read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="latin-1")
    except OSError:
        return ""


def holders(pids):
    return [p for p in pids if name_of_process(p) == "warm-holder"]


def holders_of(launches):
    """Of clones that have their launch"""
    return [p for p in holders(children(launches.warm.pid())) if WORD in read(p, "cmdline")]


def zombies(daemon):
    return [p for p in os.listdir("/proc") if p.isdigit() and state(p) == "Z"
            and f"\nPPid:\t{daemon}\n" in read(p, "status")]


class Large:
    """`warm launch` of large.c, and its clone's holder"""

    def __init__(self, launches, programs, case):
        path = str(programs.path("large"))
        launches.build([path, case, path], options=MAIN)
        name = f"t{launches.count}"
        self.launches = launches
        self.process = subprocess.Popen(launches.argv(name, [WORD], ["-v"]), env=launches.warm.environment(),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.clone = self.ready()
        self.holder, = eventually(lambda: holders_of(launches), "a holder")

    def ready(self):
        return int(read_until(self.process.stdout.fileno(), rb"ready \d+\n").split()[-1])

    def go_on(self):
        self.process.stdin.write(b"go on\n")
        self.process.stdin.flush()

    def end(self):
        """What else it wrote, and its status"""
        out, err = self.process.communicate(timeout=TIMEOUT)
        self.way = err.split()[-1].strip(b"()").decode() if err else None
        return out, self.process.returncode

    def holder_goes(self):
        daemon = self.launches.warm.pid()
        eventually(lambda: not exists(self.holder), "the holder's end")
        eventually(lambda: not zombies(daemon), "a daemon that has reaped all its children")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()
        if exists(self.clone) and WORD in read(self.clone, "cmdline"):
            os.kill(self.clone, signal.SIGKILL)


def test_shares_memory_and_nothing_else(launches, programs):
    with Large(launches, programs, "exit") as r:
        eventually(lambda: not os.listdir(f"/proc/{r.holder}/fd"), "a holder without descriptors")
        eventually(lambda: state(r.clone) == "S" and read(r.holder, "maps") == read(r.clone, "maps"), "the same memory")
        assert os.getsid(r.holder) != os.getsid(r.clone) and os.getpgid(r.holder) != os.getpgid(r.clone)
        blocked = int(read(r.holder, "status").split("SigBlk:")[1].split()[0], 16)
        for sig in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            assert blocked >> (sig - 1) & 1, sig
        assert r.holder not in {p["pid"] for p in launches.warm.json("ps")}
        r.go_on()
        assert r.end() == (b"", 7)
        assert r.way == "parked"
        r.holder_goes()


@pytest.mark.parametrize("case, status", [("exit", 7), ("exit_thread", 8), ("crash", -signal.SIGSEGV)])
def test_goes_with_its_clone(launches, programs, case, status):
    with Large(launches, programs, case) as r:
        r.go_on()
        assert r.end() == (b"", status)
        r.holder_goes()


def test_goes_with_a_clone_that_is_killed(launches, programs):
    with Large(launches, programs, "wait") as r:
        os.kill(r.clone, signal.SIGKILL)
        assert r.end() == (b"", -signal.SIGKILL)
        r.holder_goes()


@pytest.mark.parametrize("case", ["execute", "execute_thread"])
def test_goes_when_another_program_is_executed(launches, programs, case):
    """Which has other memory, in the same process"""
    with Large(launches, programs, case) as r:
        r.go_on()
        assert r.ready() == r.clone
        r.holder_goes()
        assert exists(r.clone)
        os.kill(r.clone, signal.SIGTERM)
        assert r.end() == (b"", -signal.SIGTERM)


def test_takes_no_wake_up_from_the_program(launches, programs):
    """A thread that joins the main thread waits where the holder does"""
    with Large(launches, programs, "join") as r:
        r.go_on()
        assert r.end() == (b"joined: yes\n", 9)
        r.holder_goes()


def test_killed_holder_is_no_loss(launches, programs):
    with Large(launches, programs, "exit") as r:
        os.kill(r.holder, signal.SIGKILL)
        eventually(lambda: not exists(r.holder), "the holder's end")
        r.go_on()
        assert r.end() == (b"", 7)
        r.holder_goes()


def test_parked_clones_that_are_given_up(launches, programs):
    path = str(programs.path("large"))
    name = launches.build([path, "exit", path], pool=3, options=MAIN)
    daemon = launches.warm.pid()
    below = eventually(lambda: len(found := holders(children(daemon))) == 3 and found, "three holders")
    launches.remove(name)
    eventually(lambda: not any(map(exists, below)), "the holders' ends")
    eventually(lambda: not zombies(daemon), "a daemon that has reaped all its children")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_daemon_that_goes(launches, programs, how):
    """Parked clones and their holders go with it; one that runs goes on, and its holder after it"""
    with Large(launches, programs, "exit") as r:
        daemon = launches.warm.pid()
        eventually(lambda: len(holders(children(daemon))) == 2, "the holder of a parked clone")
        below = set(children(daemon)) - {r.clone, r.holder}
        if how == "kill":
            os.kill(daemon, signal.SIGKILL)
        else:
            launches.warm.command("stop")
        eventually(lambda: not any(map(exists, below | {daemon})), "their ends")
        assert exists(r.clone) and exists(r.holder)
        r.go_on()
        eventually(lambda: not exists(r.clone) and not exists(r.holder), "the ends of clone and holder")


def test_many_leave_none(launches, programs):
    path = str(programs.path("large"))
    name = launches.build([path, "exit", path], pool=4, options=MAIN)
    for _ in range(50):
        r = launches.run(name, [WORD], stdin=b"go on\n")
        assert r.status == 7 and r.stdout.startswith(b"ready ")
    daemon = launches.warm.pid()
    eventually(lambda: not holders_of(launches) and not zombies(daemon), "an end of all holders, and their reaping")


def test_small_clones_have_none(launches, programs):
    name = launches.build([programs.path("launched"), "wait"], options=MAIN)
    with subprocess.Popen(launches.argv(name), env=launches.warm.environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as p:
        read_until(p.stdout.fileno(), rb"ready \d+\n")
        assert not holders(children(launches.warm.pid()))
        p.terminate()
