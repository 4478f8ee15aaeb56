# SPDX-License-Identifier: MIT
"""Memory over the launch (programs/memory.c)"""
import subprocess

import pytest
from c_programs import CALL, programs_fixture
from conftest import need


@pytest.fixture(scope="module")
def programs():
    with programs_fixture() as p:
        yield p


@pytest.mark.parametrize("case", ["brk", "brk_down", "guards", "advice", "remap_fixed", "stack", "locked", "code",
                                  "vdso", "many"])
def test_memory(same, programs, case):
    r = same([programs.path("memory"), case], warm_options=CALL, expect_status=0)
    assert ": no\n" not in r.out


def test_heap_of_1_gb(same, programs):
    with open("/proc/meminfo", encoding="ascii") as f:
        available = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable"))
    need(available > 4 << 20, "4 GB of free memory")
    same([programs.path("memory"), "heap"], warm_options=CALL, expect_status=0)


def test_stack_overflow_ends_it_as_cold(same, programs):
    same([programs.path("memory"), "overflow"], warm_options=CALL, expect_status=-11)


def test_given_back_pages_are_zero_madvise_dontneed(same, programs):
    r = same([programs.path("memory"), "dontneed"], warm_options=CALL)
    assert ": no\n" not in r.out


def test_grown_mappings_are_zero_mremap(same, programs):
    r = same([programs.path("memory"), "mremap"], warm_options=CALL)
    assert ": no\n" not in r.out


def test_file_mappings(warm, programs, tmp_path):
    """Made by the program itself before its readiness point, so the template is gone after one run"""
    argv = [programs.path("memory"), "files"]
    cold = warm.cold(argv, cwd=tmp_path)
    assert cold.status == 0, cold
    answer = warm.build(argv, options=CALL, cwd=tmp_path, expect=None)
    r = warm.run(argv, options=CALL, cwd=tmp_path, strict=answer["status"] == "ready")
    assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)


def test_shared_memory_is_the_childrens_and_no_other_clones(warm, programs):
    argv = [programs.path("memory"), "shared"]
    warm.build(argv, options=CALL, stdin="pipe")
    two = [subprocess.Popen([warm.program, "run", "--strict", *CALL, "--", *argv], env=warm.environment(), text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for p, word in zip(two, ("first", "second")):
            p.stdin.write(word + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == "template\n"
            assert p.stdout.readline() == f"child wrote: {word} far\n"
        for p, word in zip(two, ("first", "second")):
            assert p.communicate("go\n", timeout=20)[0] == f"still: {word}\n"
            assert p.returncode == 0
    finally:
        for p in two:
            p.kill()
            p.wait()
