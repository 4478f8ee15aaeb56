# SPDX-License-Identifier: MIT
"""Launches that libwarm makes from a lease, past the daemon: right, never stale, never twice and never lost"""
import contextlib
import mmap
import os
import re
import resource
import signal
import struct
import subprocess

import pytest
from conftest import BUILD, HERE, PYTHON, SAN, TIMEOUT, children, eventually, exists
from launches import descriptors_of, gone, launches_of, skeletons
from test_pool import Killer, NO_CACHE, children_now, write

EARLY = "import os\nFIRST = os.environ.get('FIRST', '')\n"
SAYS = ("import os, sys\nfrom early import FIRST\nVALUE = {value}\n\ndef main():\n"
        "    print(VALUE, FIRST, os.environ.get('LATER', ''), *sys.argv[1:], flush=True)\n    {end}\n\nmain()\n")


@pytest.fixture
def own(make_warm):
    with launches_of(make_warm()) as l:
        yield l


@pytest.fixture(name="program")
def program_(programs):
    flags = ["-fsanitize=address,undefined"] if SAN else []
    return programs.path("leases", f"-I{HERE.parent.parent / 'launcher'}", str(BUILD / "libwarm.a"), *flags)


def direct(warm):
    text = warm.command("stats", "--prometheus").stdout
    return int(re.search(r"^warm_direct_launches_total (\d+)$", text, re.MULTILINE)[1])


class Client:
    """`leases talk`"""

    def __init__(self, program, warm, prefix=(), **options):
        self.warm = warm
        self.process = subprocess.Popen([*prefix, program, "talk", f"{warm.runtime_dir}/warmd.sock"], env=warm.environment(NO_CACHE), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)

    def ask(self, *words):
        self.process.stdin.write("\t".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def start(self, name, args=(), env=()):
        answer = self.ask("start", name, *args, "--", *env)
        assert answer.isdigit(), answer
        return int(answer)

    def wait(self, pid):
        answer = self.ask("wait", pid)
        assert answer.startswith("status "), answer
        _, status, output = answer.split(" ", 2)
        return int(status), output

    def run(self, name, args=(), env=()):
        return self.wait(self.start(name, args, env))

    def run_direct(self, name, args=(), env=(), expect=None):
        """Until one was made from a lease; its PID is of no more use"""
        def made():
            before = direct(self.warm)
            got = self.run(name, args, env)
            assert expect is None or got == expect, got
            return direct(self.warm) > before
        eventually(made, "a launch from a lease")

    def hold(self, name, args=(), env=()):
        """Until it has a lease: the next launch is from it, when nothing happens meanwhile"""
        self.run_direct(name, args, env)
        eventually(lambda: self.has_lease() or (self.run(name, args, env) and False), "a lease")

    def has_lease(self):
        """A parked clone's channel is one of its sockets: the clone's own end is the other"""
        fds = f"/proc/{self.process.pid}/fd"
        return sum(os.readlink(f"{fds}/{f}").startswith("socket:") for f in os.listdir(fds)) > 1

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            assert self.process.wait(TIMEOUT) == 0
        self.process.stdout.close()


@pytest.fixture
def client(own, program):
    with contextlib.ExitStack() as stack:
        def make(prefix=()):
            c = Client(program, own.warm, prefix)
            stack.callback(c.close)
            return c
        yield make


@pytest.fixture
def says(tmp_path):
    path = tmp_path / "script.py"
    (tmp_path / "early.py").write_text(EARLY, encoding="ascii")

    def write_it(value=0, end="pass"):
        new = path.with_suffix(".new")
        new.write_text(SAYS.format(value=value, end=end), encoding="ascii")
        new.rename(path)
        return path
    return write_it


def environment(own, **more):
    return [f"{k}={v}" for k, v in {**own.warm.environment(NO_CACHE), **more}.items()]


def test_each_launch_has_its_own_context(own, client, says):
    path = says()
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    c = client()
    for i in range(40):
        args, env = [PYTHON, path, *(["x"] * (i % 3)), str(i)], environment(own, LATER=i)
        assert c.run(name, args, env) == (0, " ".join(["0", "", str(i), *args[2:]]))
    c.run_direct(name, [PYTHON, path, "z"], environment(own, LATER="y"), (0, "0  y z"))


def test_what_counts_goes_through_the_daemon(own, client, says):
    """A variable that was read at the start: refused with the daemon's words, with a lease in hand"""
    path = says()
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    c = client()
    env = environment(own)
    c.hold(name, [PYTHON, path], env)
    answer = c.ask("start", name, PYTHON, path, "--", *environment(own, FIRST="1"))
    assert answer.startswith("error 13 ") and "FIRST" in answer
    c.run_direct(name, [PYTHON, path], env, (0, "0  "))


def test_a_kind_of_launch_that_is_not_known_yet(own, client, says):
    """With a lease in hand: warmd learns which pages it writes, and leases serve it then"""
    path = says()
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    c = client()
    env = environment(own)
    c.hold(name, [PYTHON, path], env)
    before = direct(own.warm)
    assert c.run(name, [PYTHON, path, "x"], env) == (0, "0   x")
    assert direct(own.warm) == before
    c.run_direct(name, [PYTHON, path, "x"], env, (0, "0   x"))


def test_oom_score_is_the_client_s(own, client, says):
    path = says(value="open('/proc/self/oom_score_adj').read().strip()")
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    choom = "echo 500 >/proc/self/oom_score_adj; exec \"$@\""
    c = client(prefix=["sh", "-c", choom, "sh"])
    c.run_direct(name, [PYTHON, path], environment(own), (0, "500  "))


def test_exit_status_and_signals(own, client, says):
    path = says(end="sys.exit(int(sys.argv[1])) if sys.argv[1] != 'wait' else __import__('signal').pause()")
    name = own.build([PYTHON, path, "3"], pool=4, env=NO_CACHE)
    c = client()
    env = environment(own)
    for status in range(20):
        assert c.run(name, [PYTHON, path, status], env)[0] == status << 8
    c.hold(name, [PYTHON, path, "3"], env)
    before = direct(own.warm)
    pid = c.start(name, [PYTHON, path, "wait"], env)
    assert direct(own.warm) == before + 1
    # the daemon knows it as any other
    assert re.search(rf"\b{pid}\b", own.warm.command("ps").stdout)
    os.kill(pid, signal.SIGTERM)
    assert c.wait(pid)[0] == signal.SIGTERM


def test_killed_client_hangs_up(own, client, says):
    path = says(end="__import__('signal').pause() if 'wait' in sys.argv else None")
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    c = client()
    env = environment(own)
    c.hold(name, [PYTHON, path, "go"], env)
    before = direct(own.warm)
    pid = c.start(name, [PYTHON, path, "wait"], env)
    assert direct(own.warm) == before + 1
    c.process.kill()
    c.process.wait(TIMEOUT)
    eventually(lambda: gone([pid]), "the clone's end")
    # its lease went too, and others are made
    own.wait_parked(4)


def test_removed_template_and_another_of_its_name(own, client, says):
    path = says(1)
    name = own.build([PYTHON, path], name="n", pool=4, env=NO_CACHE)
    c = client()
    env = environment(own)
    c.hold(name, [PYTHON, path], env)
    own.warm.command("rm", name)
    answer = c.ask("start", name, PYTHON, path, "--", *env)
    assert answer.startswith("error 2 "), answer
    own.build([PYTHON, path], name="n", pool=4, env=NO_CACHE)
    c.hold(name, [PYTHON, path], env)
    other = path.with_name("other.py")
    other.write_text("print('other')\n", encoding="ascii")
    own.warm.build([PYTHON, other], options=["--name", "n", "--rebuild", "--pool", "4"], env=NO_CACHE)
    assert c.run(name, [PYTHON, other], env) == (0, "other")


def test_edited_between_two_launches(own, client, says):
    """With a lease in hand each time"""
    path = says(0)
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    c = client()
    env = environment(own)
    for i in range(5):
        c.hold(name, [PYTHON, path], env)
        says(i + 1)
        assert c.run(name, [PYTHON, path], env) == (0, f"{i + 1}  ")


def test_daemon_that_is_killed(own, client, says):
    """No lease of a dead daemon is used, and its parked clone goes; a clone that runs goes on"""
    path = says(end="sys.stdin.read() if len(sys.argv) == 1 else __import__('signal').pause()")
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)
    c = client()
    env = environment(own)
    c.hold(name, [PYTHON, path], env)
    pid = c.start(name, [PYTHON, path, "wait"], env)
    daemon = own.warm.pid()
    below = set(children(daemon))
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: not exists(daemon), "the daemon's end")
    answer = c.ask("start", name, PYTHON, path, "--", *env)
    assert answer.startswith("error ") and not answer.startswith("error 2 "), answer
    assert exists(pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(below), "an end of all that the daemon had")


@contextlib.contextmanager
def load(program, warm, name, threads, path):
    """`leases load`; yields its counters"""
    path.write_bytes(bytes(32))
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 32) as m:
        errors = open(path.with_suffix(".err"), "w+", encoding="utf-8")
        p = subprocess.Popen([program, "load", f"{warm.runtime_dir}/warmd.sock", name, str(threads), path], stdin=subprocess.PIPE,
                             stderr=errors, env=warm.environment(NO_CACHE))

        def numbers(written=None):
            if written is not None:
                m[0:8] = struct.pack("=Q", written)
            return struct.unpack("=4Q", m[:])
        try:
            yield numbers
        finally:
            p.stdin.close()
            status = p.wait(TIMEOUT)
            errors.seek(0)
            words = errors.read()
            errors.close()
        assert status == 0 and numbers()[3] == 0, words[-2000:]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_stale_under_load(own, program, tmp_path, threads):
    """The script changes while threads of one handle launch without a pause: none shows less than what was there when it began"""
    directory = tmp_path / "d"
    directory.mkdir()
    path = directory / "script.py"
    write(path, 0)
    name = own.build([PYTHON, path], pool=8, env=NO_CACHE)
    with load(program, own.warm, name, threads, tmp_path / "counters") as numbers:
        for i in range(1, 9 if SAN else 16):
            count = numbers()[1] + (i % 3) * 10
            before = direct(own.warm)
            eventually(lambda c=count, b=before, i=i: numbers()[3] or (numbers()[1] > c and (i % 2 or direct(own.warm) > b)), "launches")
            if numbers()[3]:
                break
            write(path, i)
            numbers(written=i)
        count = numbers()[1]
        eventually(lambda: numbers()[3] or numbers()[1] > count + 16, "launches of the last version")
        assert numbers()[2] == 0
    own.clear()


@pytest.mark.parametrize("victim", ["clones", "skeleton", "clients"])
def test_killed_under_load(own, program, tmp_path, victim):
    path = tmp_path / "d"
    path.mkdir()
    write(path / "script.py", 0)
    name = own.build([PYTHON, path / "script.py"], pool=8, env=NO_CACHE)
    daemon = own.warm.pid()
    with contextlib.closing(Client(program, own.warm)) as c:
        c.run_direct(name, [PYTHON, path / "script.py"], environment(own), (0, "0"))
    own.wait_parked(8)
    fds = descriptors_of(daemon)
    clients = []

    def victims():
        if victim == "clients":
            return [p.pid for p in clients if p.poll() is None]
        found = skeletons(daemon)
        return found if victim == "skeleton" else [p for p in children_now(daemon) if p not in found]
    with load(program, own.warm, name, 4, tmp_path / "counters") as numbers, contextlib.ExitStack() as stack:
        others = tmp_path / "others"
        others.write_bytes(bytes(32))

        def another():
            clients[:] = [p for p in clients if p.poll() is None]
            if victim == "clients" and not clients:
                p = subprocess.Popen([program, "load", f"{own.warm.runtime_dir}/warmd.sock", name, "2", others], stdin=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, env=own.warm.environment(NO_CACHE))
                stack.callback(lambda: (p.kill(), p.wait(), p.stdin.close()))
                clients.append(p)
        before = direct(own.warm)
        with Killer(3, victims, pause=(0.02, 0.1)) as killer:
            eventually(lambda: another() or (len(killer.killed) >= 10 and numbers()[1] > 100), "accidents", timeout=2 * TIMEOUT)
        assert direct(own.warm) > before
        if victim != "clones":
            assert numbers()[2] <= len(killer.killed)
    own.wait_parked(8)
    assert own.warm.pid() == daemon
    eventually(lambda: descriptors_of(daemon) <= fds, "a daemon without more descriptors")


def test_no_lease_for_lower_limits(own, program, says):
    """A client writes the limits of its clones: one that has lower ones than the daemon does not get to"""
    path = says()
    name = own.build([PYTHON, path], pool=4, env=NO_CACHE)

    def lower():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard - 1))
    c = Client(program, own.warm, preexec_fn=lower)
    with contextlib.closing(c):
        for _ in range(6):
            assert c.run(name, [PYTHON, path], environment(own)) == (0, "0  ")
            own.wait_parked(4)
    assert direct(own.warm) == 0
