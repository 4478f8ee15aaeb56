# SPDX-License-Identifier: MIT
"""Skeletons and parked clones: used, refilled, stale, killed, under load. Every launch is answered by a clone of what is
true now or by clear words, and nothing is left over"""
import collections
import contextlib
import ctypes
import os
import select
import random
import signal
import subprocess
import threading
import time

import pytest
from c_programs import CALL
from conftest import PYTHON, SAN, TIMEOUT, children, eventually, exists, need, state
from launches import Launches, descriptors_of, gone, launches_of, name_of_process, skeletons

MAIN = ["--ready", "main"]
# as many as issue 3 asks for
LAUNCHES = int(os.environ.get("WARM_LAUNCHES", "1000" if SAN else "10000"))
AT_ONCE = 50


@pytest.fixture
def own(make_warm):
    with launches_of(make_warm()) as l:
        yield l


# --- from the pool, and past it --------------------------------------------------------------------------

def test_parked_then_forked_when_the_pool_is_empty(own, programs):
    """A pool of two and five at once: two parked, three forked, none waits for a refill; and it is full again afterwards"""
    name = own.build([programs.path("launched"), "wait"], pool=2, options=MAIN)
    env = own.warm.environment()
    # the daemon finds all five in one round
    daemon = own.warm.pid()
    os.kill(daemon, signal.SIGSTOP)
    running = [subprocess.Popen(own.argv(name, (), ["-v"]), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for _ in range(5)]
    try:
        eventually(lambda: all(asleep_with_signals_blocked(p.pid) for p in running), "five requests")
        os.kill(daemon, signal.SIGCONT)
        clones = [int(p.stdout.readline().split()[1]) for p in running]
        assert len(set(clones)) == 5
        ways = collections.Counter(p.stderr.readline().split("(")[1].rstrip(")\n") for p in running)
        assert ways["parked"] >= 2 and ways["parked"] + ways["fork"] == 5, ways
        eventually(lambda: len(children(daemon)) == 5 + 1 + 2, "a full pool")
    finally:
        os.kill(daemon, signal.SIGCONT)
        for p in running:
            p.terminate()
            p.communicate(timeout=TIMEOUT)
    own.wait_parked(2)


def asleep_with_signals_blocked(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        text = f.read()
    return int(text.split("SigBlk:")[1].split()[0], 16) and "\nState:\tS" in text


def test_each_parked_clone_is_launched_once(launches, programs):
    name = launches.build([programs.path("launched"), "wait"], pool=4, options=MAIN)
    env = launches.warm.environment()
    running = [subprocess.Popen(launches.argv(name), env=env, stdout=subprocess.PIPE, text=True) for _ in range(30)]
    clones = [int(p.stdout.readline().split()[1]) for p in running]
    assert len(set(clones)) == 30
    for p in running:
        p.terminate()
        assert p.wait(TIMEOUT) == -signal.SIGTERM
        p.stdout.close()


def test_run_from_the_pool(launches, programs):
    """`warm run --pool`: become while there is no skeleton, parked as soon as there is one; output and status as cold"""
    argv = [programs.path("tiny"), "cat"]
    cold = launches.warm.cold(argv, stdin=b"7x")
    launches.warm.build(argv, options=MAIN, stdin=b"1")

    def run():
        r = launches.warm.run(argv, verbose=True, strict=True, options=["--pool", *MAIN], stdin=b"7x")
        assert (r.out, r.status) == (cold.out, cold.status)
        return r.err
    assert "(parked)" not in run()
    eventually(lambda: "(parked)" in run(), "a parked clone")
    launches.clear()


def test_pool_grows_by_a_later_build(launches, programs):
    argv = [programs.path("launched"), "exit", "0"]
    launches.build(argv, name="n", pool=1, options=MAIN)
    answer = launches.warm.build(argv, options=["--name", "n", "--pool", "5", *MAIN])
    assert answer["status"] == "ready"
    assert len(launches.wait_parked(5)) == 5
    assert launches.run("n").way == "parked"


def kill_and_wait(pids):
    """SIGKILL, until they are dead: one that is about to die may still be given a launch, whose end is the signal's then"""
    ends = [os.pidfd_open(p) for p in pids]
    try:
        for p in pids:
            os.kill(p, signal.SIGKILL)
        for fd in ends:
            assert select.select([fd], [], [], TIMEOUT)[0]
    finally:
        for fd in ends:
            os.close(fd)


def test_killed_parked_clones_are_replaced(launches, programs):
    name = launches.build([programs.path("launched"), "exit", "3"], pool=3, options=MAIN)
    for _ in range(5):
        killed = launches.wait_parked(3)
        kill_and_wait(killed)
        assert launches.run(name).status == 3
        now = launches.wait_parked(3)
        assert not set(killed) & set(now)


@contextlib.contextmanager
def held(pid):
    """Not by SIGSTOP, which is noticed: a tracer holds it (ptrace(2): PTRACE_SEIZE, PTRACE_INTERRUPT)"""
    libc = ctypes.CDLL(None, use_errno=True)
    need(libc.ptrace(0x4206, pid, None, None) == 0, "ptrace of processes that are no children (see kernel.yama.ptrace_scope)")
    assert libc.ptrace(0x4207, pid, None, None) == 0
    os.waitpid(pid, 0x40000000)     # __WALL
    yield
    os.waitpid(pid, 0x40000000)


def test_parked_clone_that_is_killed_while_its_order_is_on_its_way(launches, programs):
    """Held, it is given an order; killed before it could read it, the launch is answered in words or by another clone"""
    name = launches.build([programs.path("launched"), "exit", "3"], pool=1, options=MAIN)
    for _ in range(5):
        [clone] = launches.wait_parked(1)
        with held(clone):
            p = subprocess.Popen(launches.argv(name, (), ["-v"]), env=launches.warm.environment(), stderr=subprocess.PIPE, text=True)
            said = p.stderr.readline()
            os.kill(clone, signal.SIGKILL)
        err = p.communicate(timeout=TIMEOUT)[1]
        assert "(parked)" in said and p.returncode in (3, -signal.SIGKILL), (said, err, p.returncode)


@pytest.mark.parametrize("first", [True, False])
def test_stopped_parked_clone_is_replaced(launches, programs, first):
    """Somebody stopped it: a launch does not wait for SIGCONT, and without a launch it is replaced within seconds"""
    name = launches.build([programs.path("launched"), "exit", "3"], pool=2, options=MAIN)
    stopped = launches.wait_parked(2)
    for clone in stopped:
        os.kill(clone, signal.SIGSTOP)
    # the signal stops a process when that process runs next: an order that arrives before then is the program's own business
    for clone in stopped:
        eventually(lambda clone=clone: state(clone) in "TZX", "the stop")
    if first:
        assert launches.run(name).status == 3
    eventually(lambda: gone(stopped), "their ends")
    launches.wait_parked(2)
    assert launches.run(name).status == 3


def test_killed_skeleton_is_made_again(launches, programs):
    """The caller notices no more than a slower launch"""
    name = launches.build([programs.path("launched"), "exit", "4"], pool=2, options=MAIN)
    for _ in range(5):
        [skeleton] = skeletons(launches.warm.pid())
        os.kill(skeleton, signal.SIGKILL)
        for _ in range(4):
            r = launches.run(name)
            assert (r.status, r.err) == (4, "")
        launches.wait_parked(2)
        assert skeletons(launches.warm.pid()) != [skeleton]


def test_killed_skeleton_and_parked_clones_at_once(launches, programs):
    name = launches.build([programs.path("launched"), "exit", "4"], pool=2, options=MAIN)
    for _ in range(5):
        below = [*skeletons(launches.warm.pid()), *launches.wait_parked(2)]
        kill_and_wait(below)
        r = launches.run(name)
        assert (r.status, r.err) == (4, "")
        launches.wait_parked(2)


def test_removed_template_takes_all_with_it(launches, programs):
    name = launches.build([programs.path("launched"), "exit", "0"], pool=5, options=MAIN)
    below = children(launches.warm.pid())
    assert len(below) == 6
    launches.warm.command("rm", name)
    eventually(lambda: gone(below), "an end of skeleton and parked clones")


@pytest.mark.races("has to see clones that wait for one second")
def test_idle_pool_shrinks_and_grows_again(make_warm, programs):
    with launches_of(make_warm({"pool_idle": "1s"})) as launches:
        name = launches.build([programs.path("launched"), "exit", "0"], pool=3, options=MAIN)
        parked = launches.wait_parked(3)
        eventually(lambda: gone(parked), "an end of idle clones")
        assert launches.run(name).status == 0
        assert not set(launches.wait_parked(3)) & set(parked)


# --- stale templates ------------------------------------------------------------------------------------------

PROGRAM = "import json\nVALUE = {}\n\ndef main():\n    print(VALUE)\n\nmain()\n"
NO_CACHE = {"PYTHONDONTWRITEBYTECODE": "1"}


def write(path, value, rename=True):
    new = path.with_suffix(".new") if rename else path
    new.write_text(PROGRAM.format(value), encoding="ascii")
    if rename:
        new.rename(path)


@pytest.mark.parametrize("rename", [True, False], ids=["renamed", "rewritten"])
@pytest.mark.parametrize("pool", [None, 2])
def test_script_edited_between_two_launches(own, tmp_path, rename, pool):
    """The launch that follows the edit, however soon, waits for the rebuild and shows it"""
    path = tmp_path / "script.py"
    write(path, 0)
    name = own.build([PYTHON, path], way="parked" if pool else "fork", pool=pool or 0, env=NO_CACHE)
    for i in range(10 if SAN else 30):
        r = own.run(name, env=NO_CACHE)
        assert (r.out, r.status) == (f"{i}\n", 0), r
        write(path, i + 1, rename)
        r = own.run(name, env=NO_CACHE)
        assert (r.out, r.status) == (f"{i + 1}\n", 0), r


def test_module_that_shadows_another_later(own, tmp_path):
    path = tmp_path / "script.py"
    path.write_text("import decimal\nprint(hasattr(decimal, 'Decimal'))\n", encoding="ascii")
    name = own.build([PYTHON, path], env=NO_CACHE)
    assert own.run(name, env=NO_CACHE).out == "True\n"
    (tmp_path / "decimal.py").write_text("", encoding="ascii")
    assert own.run(name, env=NO_CACHE).out == "False\n"
    (tmp_path / "decimal.py").unlink()
    assert own.run(name, env=NO_CACHE).out == "True\n"


def test_parked_clones_of_a_stale_template_go_at_once(own, tmp_path):
    path = tmp_path / "script.py"
    write(path, 0)
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    for i in range(3):
        # its launches speak for the next one
        for _ in range(4):
            assert own.run(name, env=NO_CACHE).status == 0
        before = own.wait_parked(4)
        assert len(before) == 4
        write(path, i + 1)
        eventually(lambda: gone(before), "an end of all that was stale")
        # and others come before the next launch
        assert len(own.wait_parked(4)) == 4


def test_script_that_is_gone_or_broken(own, tmp_path):
    """The launch fails as the program would; it never runs what was there before"""
    path = tmp_path / "script.py"
    write(path, 0)
    name = own.build([PYTHON, path], pool=1, env=NO_CACHE)
    path.unlink()
    r = own.run(name, env=NO_CACHE)
    assert r.status != 0 and r.way is None and not r.stdout and str(path) in r.err, r
    write(path, 5)
    answer = own.warm.build([PYTHON, path], options=["--name", name], env=NO_CACHE)
    assert answer["status"] == "ready"
    assert own.run(name, env=NO_CACHE).out == "5\n"
    path.write_text("this is not python\n", encoding="ascii")
    r = own.run(name, env=NO_CACHE)
    assert r.status != 0 and "5" not in r.out, r


def test_run_from_the_pool_is_never_stale(own, tmp_path):
    path = tmp_path / "script.py"
    write(path, 0)
    own.warm.build([PYTHON, path], options=["--pool", "2"], env=NO_CACHE)
    for i in range(30):
        write(path, i)
        r = own.warm.run([PYTHON, path], options=["--pool"], env=NO_CACHE)
        assert (r.out, r.status) == (f"{i}\n", 0)
    own.clear()


@pytest.mark.parametrize("command", ["launch", "run"])
def test_stale_under_load(own, tmp_path, command):
    """Eight clients launch without a pause while the script changes, at random times from none to 300 ms: no launch shows
    less than what was there when it began"""
    path = tmp_path / "script.py"
    write(path, 0)
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    argv = own.argv(name) if command == "launch" else [own.warm.program, "run", "--pool", "--", PYTHON, path]
    argv, env = [str(a) for a in argv], own.warm.environment(NO_CACHE)
    written, done, wrong, good = [0], threading.Event(), [], []

    def client():
        while not done.is_set():
            least = written[0]
            r = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL)
            most = written[0] + 1       # one that is being written
            if r.returncode == 0 and r.stdout.strip().isdigit() and least <= int(r.stdout) <= most:
                good.append(int(r.stdout))
            else:
                wrong.append((least, most, r))
    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    chance = random.Random(5)
    try:
        for i in range(1, 31):
            write(path, i)
            written[0] = i
            done.wait(chance.choice([0, 0.001, 0.01, 0.1, 0.3]))
            if wrong:
                break
        # all settle on the last
        count = len(good)
        eventually(lambda: wrong or len(good) > count + 16, "launches of the last version")
    finally:
        done.set()
        for t in threads:
            t.join()
    assert not wrong, wrong[:3]
    assert good[-1] == 30 and len(set(good)) > 1
    own.clear()


# --- load and accidents ------------------------------------------------------------------------------------------

Outcome = collections.namedtuple("Outcome", "number stdout stderr status")


def launch_many(argv, env, n, at_once, done=None, outcomes=None):
    """n launches (or until done is set), at_once of them at a time, each with words of its own on its standard input"""
    outcomes, lock, left = [] if outcomes is None else outcomes, threading.Lock(), iter(range(n))

    def worker():
        while not (done and done.is_set()):
            with lock:
                i = next(left, None)
            if i is None:
                return
            try:
                r = subprocess.run(argv, env=env, input=f"{i % 10}-{i}", capture_output=True, text=True, timeout=TIMEOUT * 2, check=False)
                outcome = Outcome(i, r.stdout, r.stderr, r.returncode)
            except subprocess.TimeoutExpired:
                outcome = Outcome(i, "", "no answer", None)
            with lock:
                outcomes.append(outcome)
    threads = [threading.Thread(target=worker) for _ in range(at_once)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return outcomes


def right(o):
    return (o.stdout, o.stderr, o.status) == (f"out {o.number % 10}-{o.number}\n", "", o.number % 10)


@pytest.mark.parametrize("pool", [4, 64])
def test_many_launches_50_at_a_time(own, programs, pool):
    """Each has its own output and status; the daemon holds what it held before"""
    name = own.build([programs.path("tiny"), "cat"], pool=pool, options=MAIN, stdin=b"1")
    env, argv, daemon = own.warm.environment(), [str(a) for a in own.argv(name)], own.warm.pid()
    wrong = [o for o in launch_many(argv, env, 100, AT_ONCE) if not right(o)]
    assert not wrong, wrong[:3]
    own.wait_parked(pool)
    fds = descriptors_of(daemon)
    start = time.monotonic()
    outcomes = launch_many(argv, env, LAUNCHES // 2, AT_ONCE)
    print(f"{LAUNCHES // 2} launches in {time.monotonic() - start:.1f} s")
    wrong = [o for o in outcomes if not right(o)]
    assert not wrong, wrong[:3]
    assert len(outcomes) == LAUNCHES // 2
    own.wait_parked(pool)
    assert own.warm.pid() == daemon
    eventually(lambda: descriptors_of(daemon) <= fds, "a daemon without more descriptors")


def test_many_launches_of_python(own, script):
    program = script("import sys, json\n\ndef main():\n    text = sys.stdin.read()\n    print('out', text)\n    sys.exit(int(text[0]))\n\nmain()\n")
    name = own.build([PYTHON, program], pool=8, stdin=b"1")
    outcomes = launch_many([str(a) for a in own.argv(name)], own.warm.environment(), LAUNCHES // 5, 20)
    wrong = [o for o in outcomes if not right(o)]
    assert not wrong, wrong[:3]
    own.wait_parked(8)


def answered(o):
    """By the right output, or by clear words and 125, or (its clone was killed) by the clone's signal"""
    return right(o) or o.status == -signal.SIGKILL or \
        (o.status == 125 and o.stderr.startswith("warm: ") and o.stderr.count("\n") == 1 and
         o.stdout in ("", f"out {o.number % 10}-{o.number}\n"))


def children_now(pid):
    """As children(), in one read where the kernel has it (CONFIG_PROC_CHILDREN): clones live for milliseconds"""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return children(pid)


class Killer(threading.Thread):
    """Kills one of victims() now and then, seeded"""

    def __init__(self, seed, victims, pause=(0.005, 0.05)):
        super().__init__()
        self.chance, self.victims, self.pause = random.Random(seed), victims, pause
        self.killed, self.done = [], threading.Event()

    def run(self):
        # a victim that was gone already is no reason to wait
        pause = 0
        while not self.done.wait(pause):
            pause = self.chance.uniform(*self.pause)
            found = self.victims()
            if not found:
                continue
            victim = self.chance.choice(sorted(found))
            try:
                kill_and_wait([victim])
                self.killed.append(victim)
            except ProcessLookupError:
                pause = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.done.set()
        self.join()


def settled(own, name, pool, fds, daemon):
    """All is as before the accidents; a skeleton that died while the pool was full is made by the next launch"""
    r = own.run(name, stdin=b"3x")
    assert (r.out, r.status) == ("out 3x\n", 3)
    own.wait_parked(pool)
    assert own.warm.pid() == daemon
    eventually(lambda: descriptors_of(daemon) <= fds, "a daemon without more descriptors")


@pytest.mark.parametrize("seed", range(int(os.environ.get("WARM_SEEDS", "2"))))
@pytest.mark.parametrize("victim", ["skeleton", "clones", "all"])
def test_killed_under_load(own, programs, victim, seed):
    """Skeleton, clones parked or running, or any of them, at random moments"""
    name = own.build([programs.path("tiny"), "cat"], pool=4, options=MAIN, stdin=b"1")
    daemon = own.warm.pid()
    assert all(map(right, launch_many([str(a) for a in own.argv(name)], own.warm.environment(), 20, 4)))
    own.wait_parked(4)
    fds = descriptors_of(daemon)
    kinds = {"skeleton": ["warm-skeleton"], "clones": [programs.path("tiny").name[:15]]}.get(victim)
    outcomes = []

    def victims():
        return [p for p in children_now(daemon) if not kinds or name_of_process(p) in kinds]
    with Killer(seed, victims) as killer:
        end = time.monotonic() + TIMEOUT
        while (len(killer.killed) < 15 or len(outcomes) < 300) and time.monotonic() < end:
            launch_many([str(a) for a in own.argv(name)], own.warm.environment(), 100, 10, outcomes=outcomes)
    assert len(killer.killed) >= 15
    wrong = [o for o in outcomes if not answered(o)]
    assert not wrong, wrong[:3]
    if victim == "skeleton":
        wrong = [o for o in outcomes if not right(o)]
        assert len(wrong) <= len(killer.killed), wrong[:3]
    assert sum(map(right, outcomes)) > 100
    settled(own, name, 4, fds, daemon)


def test_clients_killed_under_load(own, programs):
    """kill -9 at any moment of a client's life: its clone ends, others notice nothing"""
    name = own.build([programs.path("tiny"), "cat"], pool=4, options=MAIN, stdin=b"1")
    daemon, env = own.warm.pid(), own.warm.environment()
    argv = [str(a) for a in own.argv(name)]
    fds = descriptors_of(daemon)
    chance, done, statuses = random.Random(7), threading.Event(), []

    def killer():
        while not done.is_set():
            p = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            done.wait(chance.uniform(0, 0.006))
            p.kill()
            p.stdin.close()
            statuses.append(p.wait(TIMEOUT))
    t = threading.Thread(target=killer)
    t.start()
    try:
        outcomes = launch_many(argv, env, 300, 8)
    finally:
        done.set()
        t.join()
    wrong = [o for o in outcomes if not right(o)]
    assert not wrong, wrong[:3]
    assert len(statuses) > 10 and set(statuses) <= {-signal.SIGKILL, 0, 5}
    settled(own, name, 4, fds, daemon)


def test_daemon_killed_under_load(own, programs):
    """Each launch is answered: by a clone, or because there is no template any more; nothing of the killed daemons stays"""
    argv = [programs.path("tiny"), "cat"]
    name = own.build(argv, pool=4, options=MAIN, stdin=b"1")
    seen = set(children(own.warm.pid()))
    daemons = {own.warm.pid()}
    done = threading.Event()
    chance = random.Random(11)
    outcomes = []

    def load():
        for _ in range(20):
            outcomes.extend(launch_many([str(a) for a in own.argv(name)], own.warm.environment(), 20, 5))
    t = threading.Thread(target=load)
    t.start()
    try:
        for _ in range(6):
            done.wait(chance.uniform(0.02, 0.2))
            pid = own.warm.pid()
            if pid:
                seen |= set(children(pid))
                daemons.add(pid)
                os.kill(pid, signal.SIGKILL)
                eventually(lambda p=pid: not exists(p), "the daemon's end")
            own.warm.build(argv, options=["--name", name, "--pool", "4", *MAIN], stdin=b"1", expect=None)
    finally:
        t.join()
    wrong = [o for o in outcomes if not answered(o)]
    assert not wrong, wrong[:3]
    assert any(map(right, outcomes)) and len(daemons) > 3
    now = own.warm.pid()
    alive = set(children(now)) | {now} if now else set()
    eventually(lambda: gone((seen | daemons) - alive), "an end of all that belonged to the killed daemons")
    own.warm.build(argv, options=["--name", name, "--pool", "4", *MAIN], stdin=b"1")
    own.wait_parked(4)
    r = own.run(name, stdin=b"3x")
    assert (r.out, r.status, r.way) == ("out 3x\n", 3, "parked")


def test_stop_under_load(own, programs):
    """`warm stop`: launches that are under way are answered, running clones run on, parked ones go"""
    argv = [programs.path("tiny"), "cat"]
    name = own.build(argv, pool=4, options=MAIN, stdin=b"1")
    below = set(own.wait_parked(4))
    outcomes, done = [], threading.Event()
    t = threading.Thread(target=launch_many, args=([str(a) for a in own.argv(name)], own.warm.environment(), 100000, 5, done, outcomes))
    t.start()
    try:
        eventually(lambda: own.warm.launches("launched") > 10, "launches")
        own.warm.command("stop")
        count = len(outcomes)
        eventually(lambda: len(outcomes) > count + 10, "answers after the end")
    finally:
        done.set()
        t.join()
    wrong = [o for o in outcomes if not answered(o)]
    assert not wrong, wrong[:3]
    eventually(lambda: gone(below), "an end of parked clones")


def test_templates_that_come_and_go_leave_nothing(own, programs):
    """Twenty templates with pools, one after the other: descriptors and processes are as before"""
    daemon, seen = None, []
    for i in range(20):
        name = own.build([programs.path("tiny"), "cat"], name=f"n{i}", pool=3, options=MAIN, stdin=b"1")
        assert own.run(name, stdin=b"3x").status == 3
        own.remove(name)
        daemon = own.warm.pid()
        seen.append(descriptors_of(daemon))
    eventually(lambda: descriptors_of(daemon) <= min(seen[:6]), f"a daemon without more descriptors than in {seen}")
    assert not children(daemon)


def test_200_clones_at_once(own, programs):
    name = own.build([programs.path("tiny"), "cat"], pool=50, options=MAIN, stdin=b"1")
    env, argv = own.warm.environment(), [str(a) for a in own.argv(name)]
    running = []
    try:
        for _ in range(200):
            running.append(subprocess.Popen(argv, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        # all of them live, in their read, at the same time
        for i, p in enumerate(running):
            out, err = p.communicate(f"{i % 10}-{i}", timeout=TIMEOUT)
            assert (out, err, p.returncode) == (f"out {i % 10}-{i}\n", "", i % 10)
    finally:
        for p in running:
            p.kill()
            p.wait()
    own.wait_parked(50)


def test_program_with_threads_under_load(own, programs):
    """64 threads in 16 kinds of waits, in 30 clones, five at once"""
    argv = [programs.path("threads"), "waits"]
    cold = own.warm.cold(argv)
    name = own.build(argv, pool=2, options=CALL)
    env, words = own.warm.environment(), [str(a) for a in own.argv(name)]
    for _ in range(6):
        running = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)]
        for p in running:
            out, err = p.communicate(timeout=TIMEOUT)
            assert (out, err, p.returncode) == (cold.stdout, b"", 0)


def test_launches_helper_can_fail(own, programs):
    """What the tests above rely on: a wrong output is seen as wrong"""
    assert isinstance(own, Launches)
    o = Outcome(3, "out 3-3\n", "", 3)
    assert right(o) and not right(o._replace(stdout="out 4-4\n")) and not right(o._replace(status=125))
    assert not answered(o._replace(status=125, stderr="Segmentation fault\n"))
    assert not answered(o._replace(status=None, stderr="no answer"))
