# SPDX-License-Identifier: MIT
"""A program that launches by libwarm (programs/many.c), and `warm run --pool`, with 50 launches at a time: at the edges of
the API, and with processes killed under them"""
import collections
import errno
import json
import os
import random
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import BUILD, SAN, TIMEOUT, TREE, children, eventually, execute, exists, need
from launches import descriptors_of, launches_of, name_of_process
from test_pool import Killer, Outcome, children_now, launch_many, right

MAIN = ["--ready", "main"]
AT_ONCE = 50
BATCH = 150
KILLS = 6
LONGEST = 4 * TIMEOUT    # seconds until so many were killed: a test that takes that long has failed anyhow


@pytest.fixture
def own(make_warm):
    with launches_of(make_warm()) as l:
        yield l


@pytest.fixture
def many(programs):
    flags = ["-fsanitize=address,undefined"] if SAN else []
    return programs.path("many", f"-I{TREE / 'launcher'}", str(BUILD / "libwarm.a"), *flags)


@pytest.fixture
def cat(own, programs):
    """tiny cat as a template"""
    return own.build([programs.path("tiny"), "cat"], pool=4, options=MAIN, stdin=b"1")


def environment(own):
    """LeakSanitizer cannot look at a process with so many threads and clones in time, and warmd's own end is looked at"""
    return own.warm.environment({"ASAN_OPTIONS": "detect_leaks=0"})


def call(own, many, *words, **more):
    return execute([many, *map(str, words)], env=environment(own), timeout=2 * TIMEOUT, **more)


Ended = collections.namedtuple("Ended", "number what status text")


def lines(text):
    """Of `many`: NUMBER ended|launch|wait STATUS TEXT"""
    found = []
    for line in text.splitlines():
        number, what, status, rest = (line + " ").split(" ", 3)
        found.append(Ended(int(number), what, int(status), rest.rstrip(" ")))
    return found


def fine(e):
    return e == (e.number, "ended", e.number % 10 << 8, f"out {e.number % 10}-{e.number}")


# --- callers ---------------------------------------------------------------------------------------------------------

def test_threads_that_come_and_go(own, many, cat):
    """The rights of all threads of a caller are looked at; one that just ends has none to compare"""
    found = lines(call(own, many, "churn", cat, 150).out)
    assert len(found) == 150 and all(map(fine, found)), [e for e in found if not fine(e)][:3]


# --- the edges -------------------------------------------------------------------------------------------------------

def test_many_threads(own, many, cat):
    """50 threads on one connection: each clone has its own input, output and status"""
    fds = descriptors_of(own.warm.pid())
    r = call(own, many, "many", cat, 500 if SAN else 2000, AT_ONCE)
    found = lines(r.out)
    assert (r.status, r.err) == (0, "") and len(found) == (500 if SAN else 2000)
    wrong = [e for e in found if not fine(e)]
    assert not wrong, wrong[:3]
    own.wait_parked(4)
    eventually(lambda: descriptors_of(own.warm.pid()) <= fds, "a daemon without more descriptors")


def test_no_standard_descriptors_given(own, many, programs):
    """fds {-1, -1, -1}: the clone has /dev/null for all three, parked or forked"""
    name = own.build([programs.path("launched"), "null"], pool=1, options=MAIN, stdin="null", stdout="null", stderr="null")
    r = call(own, many, "null", name)
    assert (r.status, r.out) == (0, "0\n0\n0\n"), r


def test_caller_without_standard_descriptors(own, many, cat):
    """All three are closed: libwarm leaves their numbers alone, giving them on is an error, and a pipe may have them"""
    r = call(own, many, "closed", cat)
    assert r.out == "open 0\n" + "".join(f"{fd} is open: 0\n" for fd in range(3)) + "launch EBADF\n" * 3 + \
        "launch 0: 'out '\nwait 0: 5\n", r


def test_outstanding_clones_with_few_descriptors(own, many, cat):
    """A thousand clones at once in a process that may have 32 descriptors"""
    n = 200 if SAN else 1000
    need(resource.getrlimit(resource.RLIMIT_NOFILE)[1] > n + 200, f"a hard limit of more than {n + 200} open files")
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    need(os.geteuid() == 0 or limit == resource.RLIM_INFINITY or limit > n + 1000, f"a limit of more than {n + 1000} processes")
    daemon = own.warm.pid()
    fds = descriptors_of(daemon)
    r = call(own, many, "outstanding", cat, n, 32)
    assert (r.status, r.out, r.err) == (0, f"{n}\n", "")
    own.wait_parked(4)
    eventually(lambda: descriptors_of(daemon) <= fds, "a daemon without more descriptors")


def test_templates_removed_while_launching(own, many, programs):
    """Removed and made again, at random moments: launched or told that there is none"""
    argv = [programs.path("tiny"), "cat"]
    name = own.build(argv, pool=4, options=MAIN, stdin=b"1")
    daemon, chance, found = own.warm.pid(), random.Random(3), []
    fds = descriptors_of(daemon)
    for _ in range(4):
        p = subprocess.Popen([many, "many", name, str(BATCH), "20"], env=environment(own), stdout=subprocess.PIPE, text=True)
        end = time.monotonic() + chance.uniform(0, 0.05)
        eventually(lambda e=end: time.monotonic() >= e)
        own.warm.command("rm", name, check=False)
        own.warm.build(argv, options=["--name", name, "--pool", "4", *MAIN], stdin=b"1")
        found += lines(p.communicate(timeout=2 * TIMEOUT)[0])
        assert p.returncode == 0
    assert len(found) == 4 * BATCH
    told = {-errno.ENOENT, -errno.EAGAIN}
    wrong = [e for e in found if not (fine(e) or (e.what == "launch" and e.status in told and e.text))]
    assert not wrong, wrong[:3]
    r = call(own, many, "many", name, 20, 5)
    assert all(map(fine, lines(r.out)))
    own.wait_parked(4)
    eventually(lambda: descriptors_of(daemon) <= fds, "a daemon without more descriptors")


# --- killed at random moments ------------------------------------------------------------------------------------------

def of_this_directory(own):
    """Processes whose environment leads to this test's daemon: it, its skeletons, clones, builds, and clients"""
    found, word = set(), f"WARM_RUNTIME_DIR={own.warm.runtime_dir}\0".encode()
    for d in os.listdir("/proc"):
        try:
            if d.isdigit() and word in Path(f"/proc/{d}/environ").read_bytes() and exists(int(d)):
                found.add(int(d))
        except OSError:
            pass
    return found


def victims_of(own, programs, kind, clients=()):
    """What may be killed now. A clone has its skeleton's name for a moment"""
    tiny = programs.path("tiny").name[:15]

    def skeleton():
        return [p for p in children_now(own.warm.pid() or 0) if name_of_process(p) == "warm-skeleton"]

    def clones():
        return [p for p in children_now(own.warm.pid() or 0) if name_of_process(p) == tiny]

    def daemon():
        pid = own.warm.pid()
        return [pid] if pid else []

    def client():
        return [p.pid for p in clients if p.poll() is None]
    return {"skeleton": skeleton, "clones": clones, "warmd": daemon, "client": client}[kind]


class Rebuilder(threading.Thread):
    """What was lost with a daemon is made again, as somebody would who needs it"""

    def __init__(self, own, name, argv):
        super().__init__()
        self.own, self.name, self.argv, self.done = own, name, argv, threading.Event()

    def run(self):
        while not self.done.wait(0.05):
            if self.name not in [t["name"] for t in self.ls()]:
                self.own.warm.command("build", "--name", self.name, "--pool", "4", *MAIN, "--", *self.argv, check=False)

    def ls(self):
        r = self.own.warm.command("ls", "--json", check=False)
        try:
            return json.loads(r.stdout)
        except ValueError:
            return []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.done.set()
        self.join()


def nothing_left(own, name, argv, fds):
    """The daemon that is there now has what it had, and of those before nothing is left"""
    def build():
        own.warm.build(argv, options=["--name", name, "--pool", "4", *MAIN], stdin=b"1")
    build()     # a daemon, if there is none
    own.clear()
    build()
    r = own.run(name, stdin=b"3x")
    assert (r.out, r.status) == ("out 3x\n", 3)
    own.wait_parked(4)
    daemon = own.warm.pid()
    eventually(lambda: descriptors_of(daemon) <= fds, "a daemon without more descriptors")

    def alone():
        return of_this_directory(own) <= {daemon, *children(daemon)}
    eventually(alone, "an end of all processes of before")


@pytest.mark.parametrize("victim", ["skeleton", "clones", "client", "warmd"])
def test_libwarm_under_kills(own, many, programs, victim):
    """50 at a time: each launch ends as its own clone did, or with libwarm's word of what went wrong"""
    argv = [programs.path("tiny"), "cat"]
    name = own.build(argv, pool=4, options=MAIN, stdin=b"1")
    fds = descriptors_of(own.warm.pid())
    found, clients = [], []

    def batch():
        # the second is there to be killed
        two = [subprocess.Popen([many, "many", name, str(BATCH), str(n)], env=environment(own), stdout=subprocess.PIPE, text=True)
               for n in ((AT_ONCE // 2, AT_ONCE // 2) if victim == "client" else (AT_ONCE,))]
        clients[:] = two[1:]
        out = two[0].communicate(timeout=2 * TIMEOUT)[0]
        if victim == "warmd" and out.startswith("warm_open: warmd is not running"):
            return
        found.extend(lines(out))
        assert two[0].returncode == 0
        for p in two[1:]:
            p.communicate(timeout=2 * TIMEOUT)
            assert p.returncode in (0, -signal.SIGKILL)
    killer = Killer(len(victim), victims_of(own, programs, victim, clients), (0.05, 0.3) if victim == "warmd" else (0.005, 0.05))
    with killer, Rebuilder(own, name, argv):
        end = time.monotonic() + LONGEST
        while (len(killer.killed) < KILLS or len(found) < 2 * BATCH) and time.monotonic() < end:
            batch()
    assert len(killer.killed) >= KILLS and len(found) % BATCH == 0
    told = {"warmd": {("launch", -errno.ECONNREFUSED), ("launch", -errno.ECONNRESET), ("launch", -errno.ENOENT), ("launch", -errno.EAGAIN),
                      ("launch", -errno.EIO), ("wait", -errno.ECONNRESET)},
            "client": set()}.get(victim, {("launch", -errno.EIO), ("ended", signal.SIGKILL)})
    wrong = [e for e in found if not (fine(e) or ((e.what, e.status) in told and (e.text or e.what == "ended")))]
    assert not wrong, (wrong[:3], killer.killed)
    assert any(map(fine, found))
    if victim in ("skeleton", "clones"):
        # one death is the end of one launch at most
        assert len([e for e in found if not fine(e)]) <= len(killer.killed), [e for e in found if not fine(e)][:5]
    nothing_left(own, name, argv, fds)


@pytest.mark.parametrize("victim", ["skeleton", "clones", "client", "warmd"])
def test_run_from_the_pool_under_kills(own, programs, victim):
    """50 at a time: always the right output, but for the very clone that was killed"""
    argv = [programs.path("tiny"), "cat"]
    name = own.build(argv, pool=4, options=MAIN, stdin=b"1")
    words = [str(a) for a in (own.warm.program, "run", "--pool", *MAIN, "--", *argv)]
    env, outcomes, clients = own.warm.environment(), [], []
    fds = descriptors_of(own.warm.pid())
    killer = Killer(len(victim), victims_of(own, programs, victim, clients), (0.05, 0.3) if victim == "warmd" else (0.005, 0.05))
    done = threading.Event()

    def be_killed():
        while not done.is_set():
            p = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            clients[:] = [p]
            p.wait(2 * TIMEOUT)
            p.stdin.close()
    other = threading.Thread(target=be_killed)
    with killer:
        if victim == "client":
            other.start()
        try:
            end = time.monotonic() + LONGEST
            while (len(killer.killed) < KILLS or len(outcomes) < 2 * BATCH) and time.monotonic() < end:
                launch_many(words, env, BATCH, AT_ONCE, outcomes=outcomes)
        finally:
            done.set()
            for p in clients:
                p.kill()
            if victim == "client":
                other.join()
    assert len(killer.killed) >= KILLS
    wrong = [o for o in outcomes if not right(o)]
    if victim in ("skeleton", "clones"):
        assert len(wrong) <= len(killer.killed)
        wrong = [o for o in wrong if o.status != -signal.SIGKILL]
    if victim == "warmd":
        # before Linux 6.15 nobody knows how a clone ended whose daemon was gone
        wrong = [o for o in wrong if not (o.status == 125 and right(Outcome(o.number, o.stdout, "", o.number % 10)) and
                                          "warmd died before it could tell how" in o.stderr)]
    assert not wrong, (wrong[:3], killer.killed)
    nothing_left(own, name, argv, fds)
