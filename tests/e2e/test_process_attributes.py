# SPDX-License-Identifier: MIT
"""What belongs to the process as a whole (programs/process.c)"""
import ctypes
import os
import resource

import pytest
from c_programs import CALL, refused


@pytest.mark.parametrize("case", ["attributes", "raw", "scheduling", "limits", "oom"])
def test_set_by_the_program(same, programs, case):
    same([programs.path("process"), case], warm_options=CALL, expect_status=0)


def test_not_dumpable(warm, programs):
    argv = [programs.path("process"), "dumpable"]
    if os.geteuid() == 0:
        warm.same(argv, warm_options=CALL, expect_status=0)
    else:
        refused(warm, argv, "not dumpable")


@pytest.mark.parametrize("case", [
    pytest.param("setuid", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")),
    "seccomp", "personality"])
def test_carried_or_refused(warm, programs, case):
    """What no clone can take up again is refused; the result is the cold run's in any case"""
    argv = [programs.path("process"), case]
    cold = warm.cold(argv)
    assert cold.status == 0, cold
    warm.build(argv, options=CALL, expect=None)
    run = warm.run(argv, options=CALL)
    assert (run.out, run.err, run.status) == (cold.out, cold.err, cold.status)


def limits():
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    resource.setrlimit(resource.RLIMIT_STACK, (16 << 20, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1001))


def score_and_nice():
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
        f.write("345")
    os.nice(3)


@pytest.mark.parametrize("prepare", [None, limits, score_and_nice])
def test_inherited_from_the_caller(same, programs, prepare):
    same([programs.path("process"), "inherited"], warm_options=CALL, preexec=prepare, expect_status=0)


def test_inherited_from_another_caller_than_the_templates(warm, programs):
    argv = [programs.path("process"), "inherited"]
    warm.build(argv, options=CALL)
    for prepare in (limits, score_and_nice):
        cold = warm.cold(argv, preexec=prepare)
        run = warm.run(argv, options=CALL, preexec=prepare, strict=True)
        assert run.out == cold.out


def test_personality_of_the_caller(same, programs):
    def no_randomize():
        ctypes.CDLL(None).personality(0x0040000)
    r = same([programs.path("process"), "inherited"], warm_options=CALL, preexec=no_randomize)
    assert "personality 40000" in r.out


def test_proc_self(same, programs):
    """cmdline, environ, auxv and maps are the program's; nothing of the launcher is left"""
    env = {"TEST_VARIABLE": "some value"}
    if os.geteuid() == 0:
        env["TEST_EXE"] = "1"       # with CAP_CHECKPOINT_RESTORE /proc/self/exe is the program too
    r = same([programs.path("process", output="program with space"), "proc"], warm_options=CALL, env=env, expect_status=0)
    assert "launcher 0" in r.out
