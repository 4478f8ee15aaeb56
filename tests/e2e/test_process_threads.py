# SPDX-License-Identifier: MIT
"""Threads over the launch: waits, names, masks, ids, locks, registers (programs/threads.c, registers.c)"""
from pathlib import Path

import pytest
from c_programs import CALL
from conftest import PYTHON, need


def need_cpu(flag):
    """No host can be made to have it, so that WARM_MUST_WORK=1 does not ask for it"""
    if f" {flag} " not in Path("/proc/cpuinfo").read_text(encoding="ascii").replace("\n", " "):
        pytest.skip(f"processor: {flag}")


@pytest.mark.parametrize("case", ["waits", "remaining", "attributes", "ids", "robust", "rseq", "elsewhere"])
def test_threads(same, programs, case):
    r = same([programs.path("threads"), case], warm_options=CALL, expect_status=0)
    assert "no\n" not in r.out and "too " not in r.out


def test_threads_that_are_made_while_the_template_is(warm, programs):
    for _ in range(5):
        warm.same([programs.path("threads"), "busy"], warm_options=CALL, expect_status=0)
        warm.command("rm", "--all", check=False)


def test_new_thread_ids_are_right_from_the_first_instruction(warm, programs):
    """A thread is signalled by another that runs before it does"""
    argv = [programs.path("threads"), "ids"]
    cold = warm.cold(argv)
    warm.build(argv, options=CALL)
    for _ in range(30):
        assert warm.run(argv, strict=True, options=CALL).stdout == cold.stdout


def test_mutexes_that_know_their_owner_held_over_the_launch(same, programs):
    same([programs.path("threads"), "held"], warm_options=CALL)


@pytest.mark.parametrize("case", ["sse", "control", "general", "segments", "thread"])
def test_registers(same, programs, case):
    if case == "thread":
        need_cpu("avx2")
    same([programs.path("registers"), case], warm_options=CALL, expect_status=0)


@pytest.mark.parametrize("case, flag", [("avx", "avx2"), ("avx512", "avx512bw")])
def test_vector_registers(same, programs, case, flag):
    need_cpu(flag)
    r = same([programs.path("registers"), case], warm_options=CALL, expect_status=0)
    assert "all as before: yes" in r.out


NUMPY = """
import numpy
rng = numpy.random.default_rng(5)
a = rng.random((400, 400))
b = a @ a

def main():
    global b
    print(float(b.sum()))
    for _ in range(5):
        b = b @ a
        b /= b.max()
    print(float(b.sum()), float(numpy.linalg.solve(a, b).sum()).hex())

main()
"""


@pytest.mark.parametrize("threads", ["1", "4"])
def test_numpy_with_blas_threads(warm, script, threads):
    need(warm.cold([PYTHON, "-c", "import numpy"]).status == 0, "numpy of /usr/bin/python3")
    warm.same([PYTHON, script(NUMPY)], env={"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}, expect_status=0)
