# SPDX-License-Identifier: MIT
"""Many launches, at once and in a row, and processes killed under them: every run has its right output, and nothing is left"""
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import SAN, TIMEOUT, children, eventually, exists

MAIN = ["--ready", "main"]
LAUNCHES = 1000 if SAN else 10000


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_kb(pid):
    """Its own memory; 0 with ASan, which keeps freed memory in quarantine (LeakSanitizer speaks at the daemon's end)"""
    if SAN:
        return 0
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon:"))


def run_many(warm, argv, n, at_once, options=()):
    """n runs, at_once of them at a time, each with words of its own on its standard input. Returns those that were wrong"""
    wrong, lock, left = [], threading.Lock(), list(range(n))
    env = warm.environment()
    words = [str(a) for a in (warm.program, "run", *options, "--", *argv)]

    def worker():
        while True:
            with lock:
                if not left:
                    return
                i = left.pop()
            text = f"{i % 10}-{i}"
            try:
                r = subprocess.run(words, env=env, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            except subprocess.TimeoutExpired as e:
                wrong.append((i, e))
                continue
            if (r.stdout, r.stderr, r.returncode) != (f"out {text}\n", "", i % 10):
                wrong.append((i, r))
    threads = [threading.Thread(target=worker) for _ in range(at_once)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return wrong


def left_over(warm):
    """Processes of this runtime directory or these programs, but for the daemon"""
    return [p for p in children(warm.pid()) if exists(p)]


def test_200_at_once(own_warm, programs):
    argv = [programs.path("tiny"), "cat"]
    own_warm.build(argv, options=MAIN, stdin=b"1")
    env = own_warm.environment()
    running = []
    try:
        for i in range(200):
            running.append(subprocess.Popen([own_warm.program, "run", "--strict", *MAIN, "--", *argv], env=env, text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        # all of them live, in their read, at the same time
        for i, p in enumerate(running):
            out, err = p.communicate(f"{i % 10}-{i}", timeout=TIMEOUT)
            assert (out, err, p.returncode) == (f"out {i % 10}-{i}\n", "", i % 10)
    finally:
        for p in running:
            p.kill()
            p.wait()
    assert own_warm.launches() == 200
    assert not left_over(own_warm)


def test_launches_in_a_row_leak_nothing(own_warm, programs):
    """By posix_spawn, as a shell would; what the daemon holds is the same before and after"""
    argv = [programs.path("tiny")]
    own_warm.build(argv, options=MAIN, stdin="null", stdout="null", stderr="null")
    daemon = own_warm.pid()
    env = own_warm.environment()
    words = [str(a) for a in (own_warm.program, "run", "--strict", *MAIN, "--", *argv)]
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, i) for i in range(3)]

    def launch(n):
        for _ in range(n):
            pid = os.posix_spawn(words[0], words, env, file_actions=actions, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
            status = os.waitpid(pid, 0)[1]
            assert os.waitstatus_to_exitcode(status) == 5

    launch(500)         # caches and pools have their sizes
    fds, memory = descriptors(daemon), memory_kb(daemon)
    files = sorted(p.name for p in own_warm.runtime_dir.iterdir())
    start = time.monotonic()
    launch(LAUNCHES)
    seconds = time.monotonic() - start
    os.close(null)
    assert own_warm.pid() == daemon
    assert own_warm.launches() == LAUNCHES + 500
    eventually(lambda: descriptors(daemon) <= fds, "a daemon without more descriptors")
    assert memory_kb(daemon) <= memory + 1024
    assert sorted(p.name for p in own_warm.runtime_dir.iterdir()) == files
    assert not left_over(own_warm)
    assert SAN or seconds < 60, seconds


def test_builds_in_a_row_leak_nothing(own_warm, programs):
    """Each run of a changed program makes its template anew and drops the former"""
    source = programs.path("tiny").read_bytes()
    program = own_warm.directory / "changing"
    daemon, seen = None, []
    for i in range(20):
        new = program.with_suffix(".new")
        new.write_bytes(source + bytes([i]))
        new.chmod(0o755)
        new.rename(program)
        own_warm.build([program], options=MAIN, stdin="null")
        assert own_warm.run([program], options=MAIN, strict=True).status == 5
        daemon = own_warm.pid()
        seen.append((descriptors(daemon), memory_kb(daemon)))
    assert seen[-1][0] <= seen[5][0] + 1, seen
    assert seen[-1][1] <= seen[5][1] + 2048, seen


def test_daemon_killed_under_load(own_warm, programs):
    argv = [programs.path("tiny"), "cat"]
    own_warm.build(argv, options=MAIN, stdin=b"1")
    chance, done, killed = random.Random(1), threading.Event(), []

    def killer():
        while not done.wait(chance.uniform(0.02, 0.25)):
            pid = own_warm.pid()
            if pid:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    t = threading.Thread(target=killer)
    t.start()
    try:
        wrong = run_many(own_warm, argv, 400, 8, MAIN)
    finally:
        done.set()
        t.join()
    assert not wrong, wrong[:3]
    assert killed
    eventually(lambda: not any(map(exists, killed)), "the end of the last one that was killed")
    # one that starts now cleans up after them and works
    own_warm.build(argv, options=MAIN, stdin=b"1")
    assert own_warm.run(argv, options=MAIN, strict=True, stdin=b"3x").out == "out 3x\n"
    eventually(lambda: not any(map(exists, killed)), "the end of those that were killed")
    names = {p.name for p in own_warm.runtime_dir.iterdir()}
    assert names <= {"warmd.sock", "warmd.lock", "warmd.log", "metrics.sock"}, names


def test_builds_killed_under_load(own_warm, programs):
    """The builder, or the program that it runs, is killed: this run and the next have their output"""
    chance, done, killed = random.Random(2), threading.Event(), []
    argv = [programs.path("tiny"), "cat"]
    own_warm.start()

    def killer():
        while not done.is_set():
            pid = own_warm.pid()
            below = children(pid) if pid else []
            if below:
                victim = chance.choice(below)
                try:
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)
                except ProcessLookupError:
                    pass
            done.wait(chance.uniform(0, 0.01))
    t = threading.Thread(target=killer)
    t.start()
    try:
        wrong = run_many(own_warm, argv, 100, 4, MAIN)
        for i in range(1000):   # other commands, other templates
            wrong += run_many(own_warm, [*argv, str(i)], 5, 2, MAIN)
            if len(killed) > 10:
                break
    finally:
        done.set()
        t.join()
    assert not wrong, wrong[:3]
    assert killed
    daemon = own_warm.pid()
    own_warm.idle()
    assert own_warm.pid() == daemon
    assert not left_over(own_warm)
    own_warm.build([*argv, "new"], options=MAIN, stdin=b"1")


def test_clones_killed_under_load(own_warm, programs):
    """A clone killed at any moment of its becoming harms nobody else"""
    argv = [programs.path("tiny"), "cat"]
    own_warm.build(argv, options=MAIN, stdin=b"1")
    chance, done, killed = random.Random(3), threading.Event(), []
    env = own_warm.environment()
    words = [str(a) for a in (own_warm.program, "run", *MAIN, "--", *argv)]

    def killer():
        while not done.is_set():
            p = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            done.wait(chance.uniform(0, 0.004))
            p.kill()
            p.stdin.close()
            killed.append(p.wait(TIMEOUT))
    t = threading.Thread(target=killer)
    t.start()
    daemon = own_warm.pid()
    fds = descriptors(daemon)
    try:
        wrong = run_many(own_warm, argv, 400, 4, ["--strict", *MAIN])
    finally:
        done.set()
        t.join()
    assert not wrong, wrong[:3]
    assert killed and set(killed) == {-9}
    assert own_warm.pid() == daemon
    eventually(lambda: descriptors(daemon) <= fds, "a daemon without more descriptors")
    assert not left_over(own_warm)


@pytest.mark.races("measures seconds")
def test_daemon_that_hangs_is_not_waited_for(own_warm, programs):
    argv = [programs.path("tiny"), "cat"]
    own_warm.build(argv, options=MAIN, stdin=b"1")
    pid = own_warm.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        r = own_warm.run(argv, options=MAIN, stdin=b"7x")
        assert (r.out, r.status) == ("out 7x\n", 7)
        assert r.seconds < 3
    finally:
        os.kill(pid, signal.SIGCONT)
    assert own_warm.run(argv, options=MAIN, strict=True, stdin=b"7x").out == "out 7x\n"


def test_stop_leaves_nothing(own_warm, programs):
    argv = [programs.path("tiny"), "cat"]
    own_warm.build(argv, options=MAIN, stdin=b"1")
    clone = own_warm.popen(argv)
    # until then it is the launcher, and asks warmd
    eventually(lambda: Path(f"/proc/{clone.pid}/cmdline").read_bytes().startswith(os.fsencode(argv[0])), "the clone")
    daemon = own_warm.pid()
    own_warm.command("stop")
    eventually(lambda: not exists(daemon), "the end of warmd")
    names = {p.name for p in own_warm.runtime_dir.iterdir()} if own_warm.runtime_dir.exists() else set()
    assert names <= {"warmd.lock", "warmd.log"}, names
    # a clone does not depend on its daemon
    assert clone.communicate(b"4x", timeout=TIMEOUT)[0] == b"out 4x\n"
    assert clone.returncode == 4
