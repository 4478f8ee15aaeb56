# SPDX-License-Identifier: MIT
"""What a daemon must live through: no descriptors left, a skeleton that hangs, memory that is short, control groups that
take nobody"""
import contextlib
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time

import fake_warmd as fw
import pytest
from conftest import children, eventually, need
from launches import descriptors_of, launches_of, skeletons

MAIN = ["--ready", "main"]
FILES = 96      # RLIMIT_NOFILE of a daemon that shall run out of them


@pytest.fixture
def own(make_warm):
    with launches_of(make_warm()) as l:
        yield l


# --- no descriptors ----------------------------------------------------------------------------------------------

def test_connections_that_cannot_be_accepted(make_warm, programs):
    """More clients than warmd has descriptors: it pauses, instead of trying again and again; those who wait are served
    as soon as there is room"""
    warm = make_warm()
    argv = [programs.path("tiny"), "cat"]
    warm.cold(argv, stdin=b"1")
    # the daemon has the limits of who starts it
    r = warm.run(argv, options=MAIN, stdin=b"1x", preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)))
    assert r.out == "out 1x\n"
    warm.idle()
    daemon = warm.pid()
    before = descriptors_of(daemon)
    assert before < FILES - 16
    kinds = [("warmd.sock", socket.SOCK_SEQPACKET)] * (FILES + 10) + [("metrics.sock", socket.SOCK_STREAM)]
    clients = []
    start = time.monotonic()
    try:
        for name, kind in kinds:
            if name == "metrics.sock":
                eventually(lambda: descriptors_of(daemon) >= FILES, "a daemon without descriptors")
            clients.append(socket.socket(socket.AF_UNIX, kind))
            clients[-1].connect(str(warm.runtime_dir / name))
        # nothing announces that a process does nothing
        end = time.monotonic() + 1
        eventually(lambda: time.monotonic() >= end)
    finally:
        seconds = time.monotonic() - start
        for s in clients:
            s.close()
    stats = warm.stats()
    assert stats["uptime_ns"] > 0 and warm.pid() == daemon
    # one each 50 ms for either socket, and not as many as a processor makes
    assert 2 <= stats["accept_failures"] <= 45 * seconds + 10
    assert 1 <= warm.log().count("no connection can be accepted") <= 5
    eventually(lambda: descriptors_of(daemon) <= before, "a daemon without more descriptors")
    assert warm.run(argv, options=MAIN, strict=True, stdin=b"2y").out == "out 2y\n"


def test_connections_that_are_too_many(make_warm, programs):
    """1,024 clients stay connected: launches of others are refused with words, or run cold; commands are answered"""
    warm = make_warm()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need(hard == resource.RLIM_INFINITY or hard > 2000, "2,000 descriptors")
    argv = [programs.path("tiny"), "cat"]
    warm.build(argv, options=[*MAIN, "--name", "tiny"], stdin=b"1")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    clients = []
    try:
        for _ in range(1024):
            clients.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            clients[-1].connect(str(warm.runtime_dir / "warmd.sock"))
        r = warm.run(argv, options=[*MAIN, "--name", "tiny"], verbose=True, stdin=b"1x")
        assert (r.out, r.status) == ("out 1x\n", 1) and "has 1024 connections" in r.err, r
        r = warm.command("launch", "tiny", check=False)
        assert r.returncode == 125 and "has 1024 connections" in r.stderr, r
        stats = warm.stats()
        assert stats["refused_connections"] >= 3
        # those that say nothing make room for others
        for _ in range(200):
            clients.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            clients[-1].connect(str(warm.runtime_dir / "warmd.sock"))
        assert warm.stats()["refused_connections"] >= 203
        assert descriptors_of(warm.pid()) < 1024 + 64 + 100
        # some are accepted, and closed for the next one, before they are asked
        assert any(not c.recv(1) for c in clients[1024:1030])
    finally:
        for s in clients:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    eventually(lambda: descriptors_of(warm.pid()) < 100, "an end of their connections")
    assert warm.run(argv, options=[*MAIN, "--name", "tiny"], strict=True, stdin=b"2y").out == "out 2y\n"


# --- the log --------------------------------------------------------------------------------------------------------

def test_log_of_malformed_messages(make_warm):
    """However many come: some are written, the others counted, and the count is written when they end"""
    warm = make_warm()
    warm.start()
    for _ in range(3000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(str(warm.runtime_dir / "warmd.sock"))
            s.send(b"no message of this protocol")
            assert not s.recv(1)
    assert warm.stats()["bad_messages"] == 3000
    assert warm.log().count("a malformed message ends the connection") <= 100
    # 10 s after the first of those that were not written
    eventually(lambda: "more like the next were left out: a malformed message" in warm.log(), "a count")
    assert len(warm.log()) < 20000


# --- a skeleton that hangs -------------------------------------------------------------------------------------------

def test_skeleton_that_hangs_is_replaced(own, programs):
    """Stopped for good: the launch that waits for its fork is served by the next skeleton"""
    name = own.build([programs.path("launched"), "exit", "4"], pool=1, options=MAIN)
    [skeleton] = skeletons(own.warm.pid())
    os.kill(skeleton, signal.SIGSTOP)
    # the first has the parked clone, the second waits
    assert own.run(name).way == "parked"
    r = own.run(name)
    assert (r.status, r.err, r.way) == (4, "", "fork")
    own.wait_parked(1)
    assert skeletons(own.warm.pid()) != [skeleton]
    assert "does not answer" in own.warm.log()


def test_skeleton_that_was_stopped_for_a_moment_goes_on(own, programs):
    name = own.build([programs.path("launched"), "exit", "4"], pool=1, options=MAIN)
    [skeleton] = skeletons(own.warm.pid())
    os.kill(skeleton, signal.SIGSTOP)
    assert own.run(name).status == 4
    os.kill(skeleton, signal.SIGCONT)
    assert own.run(name).status == 4
    own.wait_parked(1)


class DiesBeforeTheOrder(fw.FakeWarmd):
    """Answers that the clone is launched, and is gone; the clone, which got no order, ends by the signal that says so"""

    def __init__(self, directory, sig):
        self.sig = sig
        self.clones = []
        super().__init__(directory)

    def answer(self, connection, data):
        if fw.HEADER.unpack_from(data)[2] != fw.T_RUN or not fw.Run(data).flags & 1 << 4:
            super().answer(connection, data)
            return
        clone = subprocess.Popen(["sleep", "1000"])
        self.clones.append(clone)
        pidfd = os.pidfd_open(clone.pid)
        reply = fw.packet(fw.T_RUN_REPLY, fw.REPLY.pack(fw.STATUS.index("launched"), 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, clone.pid, 2, 0, 0, 0, b"t"))
        socket.send_fds(connection, [reply], [pidfd])
        connection.shutdown(socket.SHUT_RDWR)
        os.kill(clone.pid, self.sig)
        os.close(pidfd)

    def stop(self):
        super().stop()
        for clone in self.clones:
            clone.wait()


@pytest.mark.parametrize("sig", [signal.SIGSTKFLT, signal.SIGTERM])
def test_daemon_that_dies_between_its_answer_and_the_order(make_warm, sig):
    """`warm run --pool` is told before the clone is: nothing has run, so it runs cold. Other ends are the clone's own"""
    warm = make_warm()
    warm.runtime_dir.mkdir(mode=0o700)
    with DiesBeforeTheOrder(warm.runtime_dir, sig) as daemon:
        r = warm.run(["sh", "-c", "echo ran; exit 3"], options=["--pool"], verbose=True)
        assert len(daemon.clones) == 1
    if sig == signal.SIGSTKFLT:
        assert (r.out, r.status) == ("ran\n", 3) and "running cold: warmd died before the launch" in r.err, r
    else:
        assert (r.out, r.status) == ("", -sig), r


# --- no more processes -----------------------------------------------------------------------------------------------

@pytest.mark.skipif(os.geteuid() == 0, reason="root may have any number of processes")
def test_skeleton_that_may_not_fork(own, programs):
    """RLIMIT_NPROC and pids.max are no fault of the template's: one launch runs cold, the skeleton and what is parked
    stay, and clones are forked again as soon as there is room"""
    name = own.build([programs.path("launched"), "exit", "4"], pool=1, options=MAIN)
    [skeleton] = skeletons(own.warm.pid())
    soft, hard = resource.prlimit(skeleton, resource.RLIMIT_NPROC)
    resource.prlimit(skeleton, resource.RLIMIT_NPROC, (0, hard))
    assert own.run(name).way == "parked"
    r = own.run(name)
    assert r.status == 4 and "running cold: no clone can be forked: Resource temporarily unavailable (see ulimit -u" in r.err
    resource.prlimit(skeleton, resource.RLIMIT_NPROC, (soft, hard))
    r = own.run(name)
    assert (r.status, r.err) == (4, "")
    own.wait_parked(1)
    assert skeletons(own.warm.pid()) == [skeleton]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may have any number of processes")
@pytest.mark.parametrize("whose", ["skeleton", "warmd"])
def test_shortage_that_passes(own, programs, whose):
    """No process for a moment, when the skeleton forks or when it is to be made: launches by name wait for its end"""
    name = own.build([programs.path("launched"), "exit", "4"], way="fork", pool=0, options=MAIN)
    assert own.run(name).status == 4
    daemon = own.warm.pid()
    [skeleton] = skeletons(daemon)
    starved = skeleton if whose == "skeleton" else daemon
    soft, hard = resource.prlimit(starved, resource.RLIMIT_NPROC)
    resource.prlimit(starved, resource.RLIMIT_NPROC, (0, hard))
    if whose == "warmd":
        os.kill(skeleton, signal.SIGKILL)
        eventually(lambda: not skeletons(daemon), "the skeleton's end")
    launch = subprocess.Popen(own.argv(name), env=own.warm.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        eventually(lambda: "no clone can be forked" in own.warm.log(), "a shortage")
        resource.prlimit(starved, resource.RLIMIT_NPROC, (soft, hard))
        assert launch.communicate(timeout=30) == (b"", b"") and launch.returncode == 4
        for _ in range(4):
            r = own.run(name)
            assert (r.status, r.err) == (4, "")
    finally:
        launch.kill()
        launch.communicate()
    assert own.warm.log().count("no clone can be forked") == 1


# --- control groups ------------------------------------------------------------------------------------------------------

def cgroup2():
    """Where a cgroup can be made, beside the one that this process is in"""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        roots = [line.split()[1] for line in f if line.split()[2] == "cgroup2"]
    with open("/proc/self/cgroup", encoding="utf-8") as f:
        own = [line.rstrip("\n")[3:] for line in f if line.startswith("0::")]
    return f"{roots[0]}{own[0]}" if roots and own else None


@pytest.fixture
def group():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    parent = cgroup2()
    need(parent and os.access(parent, os.W_OK), "cgroup2 where this user may make a control group")
    try:
        path = tempfile.mkdtemp(prefix="warm-test.", dir=parent)
    except OSError as e:
        need(False, f"cgroup2 where this user may make a control group ({e})")
    need(os.access(f"{path}/cgroup.procs", os.W_OK), "cgroup2 where this user may make a control group")
    try:
        yield path
    finally:
        def removed():
            with contextlib.suppress(OSError):
                os.rmdir(path)
            return not os.path.exists(path)
        eventually(removed, "an empty control group")


@pytest.mark.parametrize("pool", [0, 2])
def test_launch_into_a_control_group(own, programs, group, pool):
    """The clone starts in it; those that are parked, the skeleton and later launches do not"""
    argv = [programs.path("process"), "inherited"]
    name = own.build(argv, way="parked" if pool else "fork", pool=pool, options=["--ready", "call"])
    inside = f"0::{cgroup_of_path(group)}\n"
    for option in (["--cgroup", group], [f"--cgroup={group}/"]):
        r = own.run(name, options=option)
        assert r.status == 0 and inside in r.out, r
        assert r.way == "fork"
    # parked clones were there, but none was given
    counts = own.warm.stats()["pool"]
    assert (counts["hits"], counts["misses"]) == (0, 2)
    r = own.run(name)
    assert r.status == 0 and "0::" in r.out and inside not in r.out, r
    counts = own.warm.stats()["pool"]
    assert (counts["hits"], counts["misses"]) == ((1, 2) if r.way == "parked" else (0, 3))
    with open(f"{group}/cgroup.procs", encoding="ascii") as f:
        assert not f.read()
    if pool:
        own.wait_parked(pool)


def cgroup_of_path(path):
    """As /proc/PID/cgroup has it"""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        root = next(line.split()[1] for line in f if line.split()[2] == "cgroup2")
    return path[len(root):]


def test_control_groups_that_are_none(own, programs, tmp_path):
    """Clear words, and the pool stays as it was, however often"""
    name = own.build([programs.path("launched"), "exit", "4"], pool=2, options=MAIN)
    daemon, before = own.warm.pid(), None
    for path, words in ((str(tmp_path), "control group: Bad file descriptor"), ("/proc/self", "control group"),
                        (str(tmp_path / "none"), "No such file"), ("/etc/passwd", "Not a directory")):
        for _ in range(4):
            r = own.run(name, options=["--cgroup", path])
            assert (r.status, r.stdout) == (125, b"") and r.err.startswith("warm: ") and words in r.err, r
            assert r.err.count("\n") == 1
            now = sorted(children(daemon))
            before = before or now
            assert now == before
    r = own.run(name)
    assert (r.status, r.way) == (4, "parked")
    own.wait_parked(2)


def test_control_group_that_takes_no_process(own, programs, group, request):
    """One beside threads of a threaded domain: cgroups(7)"""
    inner = [f"{group}/{name}" for name in ("threads", "invalid")]
    for path in inner:
        os.mkdir(path)
    with open(f"{inner[0]}/cgroup.type", "w", encoding="ascii") as f:
        f.write("threaded")
    request.addfinalizer(lambda: [os.rmdir(path) for path in inner])
    name = own.build([programs.path("launched"), "exit", "4"], pool=1, options=MAIN)
    for _ in range(4):
        r = own.run(name, options=["--cgroup", inner[1]])
        assert r.status == 125 and "control group: Operation not supported" in r.err, r
    assert own.run(name).way == "parked"


# --- memory ----------------------------------------------------------------------------------------------------------------

def test_pool_under_memory_pressure(make_warm, programs):
    """With less memory left than memory_reserve no clone stays parked, and launches are forks"""
    with launches_of(make_warm({"memory_reserve": 100})) as launches:
        name = launches.build([programs.path("launched"), "exit", "4"], way="fork", options=[*MAIN, "--pool", "3"])
        daemon = launches.warm.pid()
        eventually(lambda: not set(children(daemon)) - set(skeletons(daemon)), "an end of parked clones")
        for _ in range(5):
            r = launches.run(name)
            assert (r.status, r.err) == (4, "")

        def forked():
            return launches.run(name).way == "fork"
        eventually(forked, "a launch by fork")
        eventually(lambda: children(daemon) == skeletons(daemon), "a skeleton alone")


def test_pool_without_a_reserve(make_warm, programs):
    with launches_of(make_warm({"memory_reserve": 0})) as launches:
        name = launches.build([programs.path("launched"), "exit", "4"], pool=2, options=MAIN)
        assert launches.run(name).way == "parked"
        launches.wait_parked(2)


