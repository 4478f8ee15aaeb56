# SPDX-License-Identifier: MIT
"""Each kind of descriptor, thread, signal and memory state once more, in clones that warmd forks and in parked ones: the
programs and cases of test_process_*.py, whose clones are made by `warm run`"""
import os
import resource
import signal
import subprocess
import time

import pytest
from c_programs import CALL
from conftest import PYTHON, eventually, need
from launches import WAYS, Launches
from test_process_threads import NUMPY, need_cpu

AGE = 1.3       # seconds that a clone stays parked: longer than any timer of these programs runs


def grow_old():
    """Time itself is what is waited for: what runs out while a clone is parked must not be seen by it"""
    end = time.monotonic() + AGE
    eventually(lambda: time.monotonic() >= end)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["pipes", "events", "socketpair", "timerfd", "signalfd", "dup_stdio", "async"])
def test_descriptors(launches, programs, case, way):
    launches.same([programs.path("descriptors"), case], way, options=CALL, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_epoll_of_standard_input(launches, programs, way):
    """The launch's input, not the one that the build or the skeleton had"""
    r = launches.same([programs.path("launched"), "poll_input"], way, options=CALL, stdin=b"hello\n", expect_status=0)
    assert r.out == "events 2: 3\nhello\n"


@pytest.mark.parametrize("program, case", [("descriptors", "timerfd"), ("signals", "itimers"), ("signals", "timers"),
                                           ("threads", "remaining"), ("threads", "waits")])
def test_time_starts_at_the_launch(launches, programs, program, case):
    """Timers, and sleeps that go on, have what was left at the readiness point: being parked takes nothing of it"""
    r = launches.same([programs.path(program), case], "parked", options=CALL, expect_status=0, between=grow_old)
    assert "too " not in r.out


@pytest.mark.parametrize("way", WAYS)
def test_files(make_warm, programs, tmp_path, way):
    launches = Launches(make_warm())        # the clone writes to what its template was made from, and another is made
    argv = [programs.path("descriptors"), "files"]

    def fresh():
        (tmp_path / "file").write_text("0123456789")
        (tmp_path / "append").write_text("one ")
    fresh()
    cold = launches.warm.cold(argv, cwd=tmp_path)
    assert cold.status == 0, cold
    fresh()
    name = launches.build(argv, way=way, options=CALL, cwd=tmp_path)
    r = launches.run(name, cwd=tmp_path)
    launches.equal(cold, r)
    assert r.way == way
    assert (tmp_path / "append").read_text() == "one two"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["waits", "remaining", "attributes", "ids", "robust", "rseq", "elsewhere", "busy"])
def test_threads(launches, programs, case, way):
    r = launches.same([programs.path("threads"), case], way, options=CALL, expect_status=0)
    assert "no\n" not in r.out and "too " not in r.out


@pytest.mark.parametrize("way", WAYS)
def test_new_thread_ids_are_right_from_the_first_instruction(launches, programs, way):
    argv = [programs.path("threads"), "ids"]
    cold = launches.warm.cold(argv)
    name = launches.build(argv, way=way, pool=3, options=CALL)
    for _ in range(20):
        launches.equal(cold, launches.run(name))
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case, flag", [("sse", None), ("control", None), ("general", None), ("segments", None),
                                        ("thread", "avx2"), ("avx", "avx2"), ("avx512", "avx512bw")])
def test_registers(launches, programs, case, flag, way):
    if flag:
        need_cpu(flag)
    launches.same([programs.path("registers"), case], way, options=CALL, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["handlers", "pending", "pending_handled", "itimers", "timers", "suspended", "own"])
def test_signals(launches, programs, case, way):
    launches.same([programs.path("signals"), case], way, options=CALL, expect_status=0)


def ignore_some():
    for s in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGRTMIN + 5):
        signal.signal(s, signal.SIG_IGN)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["inherited", "own", "restored"])
def test_signals_that_only_the_caller_ignores(launches, programs, case, way):
    r = launches.same([programs.path("signals"), case], way, options=CALL, preexec=ignore_some, build={}, expect_status=0)
    assert "1 ignored" in r.out


@pytest.mark.parametrize("way", WAYS)
def test_signals_that_only_the_build_ignored(launches, programs, way):
    launches.same([programs.path("signals"), "inherited"], way, options=CALL, build={"preexec": ignore_some}, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["brk", "brk_down", "guards", "advice", "remap_fixed", "stack", "locked", "code", "vdso",
                                  "many", "mremap", "dontneed"])
def test_memory(launches, programs, case, way):
    r = launches.same([programs.path("memory"), case], way, options=CALL, expect_status=0)
    assert ": no\n" not in r.out


@pytest.mark.parametrize("way", WAYS)
def test_stack_overflow(launches, programs, way):
    launches.same([programs.path("memory"), "overflow"], way, options=CALL, expect_status=-11)


@pytest.mark.parametrize("way", WAYS)
def test_heap_of_1_gb(launches, programs, way):
    with open("/proc/meminfo", encoding="ascii") as f:
        available = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable"))
    need(available > 4 << 20, "4 GB of free memory")
    launches.same([programs.path("memory"), "heap"], way, options=CALL, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["attributes", "raw", "scheduling", "limits", "oom"])
def test_set_by_the_program(launches, programs, case, way):
    launches.same([programs.path("process"), case], way, options=CALL, expect_status=0)


def limits():
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1001))


def score_and_nice():
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
        f.write("345")
    os.nice(3)


def own_session(text):
    """A clone of warmd's is in a session of its own"""
    return text.replace(b"session 0", b"session 1")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prepare", [None, limits, score_and_nice])
def test_inherited_from_the_caller(launches, programs, prepare, way):
    """Of the launch's caller, not of the build's"""
    launches.same([programs.path("process"), "inherited"], way, options=CALL, preexec=prepare, build={}, expect_status=0,
                  normalize=own_session)


@pytest.mark.parametrize("way", WAYS)
def test_proc_self(launches, programs, way):
    env = {"TEST_VARIABLE": "some value"}
    if os.geteuid() == 0:
        env["TEST_EXE"] = "1"
    r = launches.same([programs.path("process", output="program with space"), "proc"], way, options=CALL, env=env,
                      expect_status=0)
    assert "launcher 0" in r.out


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("args", [[], ["one", "", "three words here", "\t\n", "-x", "--"], ["exit", "77"], ["child"],
                                  ["x" * 60000], ["\udcff\udc80"], ["abort"]], ids=range(7))
def test_main(launches, programs, args, way):
    """Readiness point main: ARG of `warm launch` follow the template's own"""
    launches.same([programs.path("plain")], way, args=args, options=["--ready", "main"], env={"TEST_A": "1", "TEST_B": "a=b=c"})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", [b"", b"one\ntwo\n", b"z" * 70000], ids=["empty", "lines", "long"])
def test_cxx(launches, programs, data, way):
    launches.same([programs.path("iostream"), "a"], way, options=["--ready", "main"], stdin=data)


def drive(launches, name, n, options=(), **more):
    env = launches.warm.environment()
    return [subprocess.Popen(launches.argv(name, (), ["-v", *options]), env=env, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more) for _ in range(n)]


def end(processes):
    for p in processes:
        p.kill()
        p.wait()
        for f in (p.stdin, p.stdout, p.stderr):
            f.close()


@pytest.mark.parametrize("pool", [1, 4])
def test_clones_share_no_descriptor_state(launches, programs, pool):
    """Four at once, some parked, some forked: pipe, socket pair, eventfd and file offset are each one's own"""
    argv = [programs.path("descriptors"), "apart"]
    name = launches.build(argv, pool=pool, options=CALL, stdin="pipe")
    clones = drive(launches, name, 4)
    words = ["alpha", "be", "c", "delta is long"]
    try:
        for p, word in zip(clones, words):
            p.stdin.write(word + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == "done\n"
        for p, word in zip(clones, words):
            out = p.communicate("go\n", timeout=20)[0]
            assert out == f"pipe {word} socket {word} count {len(word)} offset {len(word)}\n"
            assert p.returncode == 0
    finally:
        end(clones)
    launches.remove(name)


@pytest.mark.parametrize("pool", [1, 3])
def test_shared_memory_is_the_childrens_and_no_other_clones(launches, programs, pool):
    argv = [programs.path("memory"), "shared"]
    name = launches.build(argv, pool=pool, options=CALL, stdin="pipe")
    clones = drive(launches, name, 3)
    words = ["first", "second", "third"]
    try:
        for p, word in zip(clones, words):
            p.stdin.write(word + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == "template\n"
            assert p.stdout.readline() == f"child wrote: {word} far\n"
        for p, word in zip(clones, words):
            assert p.communicate("go\n", timeout=20)[0] == f"still: {word}\n"
            assert p.returncode == 0
    finally:
        end(clones)
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threads", ["1", "4"])
def test_numpy_with_blas_threads(launches, script, threads, way):
    need(launches.warm.cold([PYTHON, "-c", "import numpy"]).status == 0, "numpy of /usr/bin/python3")
    launches.same([PYTHON, script(NUMPY)], way, env={"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}, expect_status=0)
