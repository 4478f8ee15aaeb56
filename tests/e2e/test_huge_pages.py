# SPDX-License-Identifier: MIT
"""`hugetlb` in the configuration: memory that is only read lies in huge pages, where some are free (programs/huge.c)"""
import contextlib
import errno
import fcntl
import json
import os
from pathlib import Path

import pytest
from c_programs import CALL
from conftest import WARM, base_environment, execute, need
from launches import WAYS, launches_of

NUMBER = Path("/proc/sys/vm/nr_hugepages")
HUGE = 2 << 20
PAGES = 4           # of huge.c's 8 MiB
TOO_MANY = 32       # of its 64 MiB: more than a test of this file ever makes
FEW = 16            # a host that has more of its own could have that many


def meminfo(name):
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name + ":")), 0)


def free():
    """Huge pages that anybody can take"""
    return meminfo("HugePages_Free") - meminfo("HugePages_Rsvd")


@pytest.fixture(scope="module", autouse=True)
def one_at_a_time():
    """Huge pages are the machine's: another session of these tests may be at work"""
    with open(NUMBER if NUMBER.exists() else os.devnull, encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def huge_pages(one_at_a_time):
    """As many as the tests take, free; put back at the end"""
    need(NUMBER.exists() and meminfo("Hugepagesize") == 2048, "hugetlb pages of 2 MiB")
    before = int(NUMBER.read_text(encoding="ascii"))
    missing = PAGES - free()
    changed = False
    if missing > 0:
        with contextlib.suppress(OSError):
            NUMBER.write_text(str(before + missing), encoding="ascii")
            changed = True
    try:
        need(free() >= PAGES, f"{PAGES} free huge pages (vm.nr_hugepages)")
        yield
    finally:
        if changed:
            NUMBER.write_text(str(before), encoding="ascii")


def inspected(w, name):
    [row] = [t for t in w.ls() if t["name"] == name]
    assert row["huge_bytes"] <= row["sealed_bytes"]
    text = w.command("inspect", name).stdout
    return row, [line.split(None, 2)[2] for line in text.splitlines() if line.startswith("huge pages")]


@pytest.fixture
def huge(huge_pages, make_warm):
    return make_warm(config={"hugetlb": True})


@pytest.mark.parametrize("case", ["reads", "faults", "drops"])
def test_as_cold(huge, programs, case):
    argv = [programs.path("huge"), case]
    with launches_of(huge) as launches:
        for way in WAYS:
            launches.same(argv, way, options=CALL, expect_status=0)
            assert free() >= PAGES, "a template that was removed keeps its huge pages"
    huge.same(argv, warm_options=CALL, expect_status=0)


def test_in_huge_pages(huge, programs):
    """Become, fork and parked; the edges are in small pages. No clone takes a huge page of its own"""
    argv = [programs.path("huge"), "counts"]
    size = 8 * 1024 * 1024 + 2 * os.sysconf("SC_PAGESIZE")
    assert huge.cold(argv).out == f"0 of {size}\n"
    with launches_of(huge) as launches:
        for way in WAYS:
            before = free()
            name = launches.build(argv, way=way, options=CALL, pool=3)
            row, shown = inspected(huge, name)
            assert row["huge_bytes"] == PAGES * HUGE and row["huge_note"] == "" and shown == ["8.0M"], (row, shown)
            assert before - free() == PAGES
            for _ in range(3):
                r = launches.run(name)
                assert r.out == f"{PAGES * HUGE} of {size}\n", r
            assert huge.run(argv, strict=True, options=[*CALL, "--name", name]).out == f"{PAGES * HUGE} of {size}\n"
            assert before - free() == PAGES
            launches.remove(name)
            assert free() == before


def test_the_price(huge, programs):
    """It cannot be made writable again, nor changed in parts: errors, where a private mapping would end in a signal"""
    argv = [programs.path("huge"), "protects"]
    cold = huge.cold(argv)
    assert "writable: yes\na small part: yes\n" in cold.out, cold
    huge.build(argv, options=CALL)
    r = huge.run(argv, strict=True, options=CALL)
    assert r.out == cold.out.replace("writable: yes", f"writable: {errno.errorcode[errno.EACCES]}").replace(
        "a small part: yes", f"a small part: {errno.errorcode[errno.EINVAL]}"), r
    assert r.status == 0


def test_sealed(huge, programs):
    """Nobody writes to it: not the daemon's user by its descriptor either"""
    argv = [programs.path("huge"), "reads"]
    huge.build(argv, options=CALL)
    found = []
    for fd in Path(f"/proc/{huge.pid()}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(fd).startswith("/memfd:warm-huge"):
                found.append(fd)
    assert len(found) == 1
    with open(found[0], "rb") as f:
        assert fcntl.fcntl(f, fcntl.F_GET_SEALS) == 0xf
    with pytest.raises(PermissionError):
        import mmap
        with open(found[0], "r+b", buffering=0) as f:
            mmap.mmap(f.fileno(), HUGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def test_without_the_option(huge_pages, warm, programs):
    argv = [programs.path("huge"), "counts"]
    warm.build(argv, options=[*CALL, "--name", "plain"])
    row, shown = inspected(warm, "plain")
    assert row["huge_bytes"] == 0 and row["huge_note"] == "" and shown == []
    assert warm.run(argv, strict=True, options=CALL).out.startswith("0 of ")


def test_too_few_pages(make_warm, programs):
    """Ordinary memory then, with a word in the log and in `warm inspect`"""
    need(meminfo("HugePages_Total") < FEW and not int(Path("/proc/sys/vm/nr_overcommit_hugepages").read_text(encoding="ascii")),
         "a host with few or no huge pages")
    w = make_warm(config={"hugetlb": True})
    argv = [programs.path("huge"), "reads", TOO_MANY * 2]
    argv = [str(a) for a in argv]
    with launches_of(w) as launches:
        name = launches.build(argv, options=CALL)
        row, shown = inspected(w, name)
        words = f"none: {TOO_MANY * 2} MiB could be in hugetlb pages, but so many are not free (vm.nr_hugepages)"
        assert row["huge_bytes"] == 0 and row["huge_note"] == words and shown == [words]
        assert f"template '{name}': {words}" in w.log()
        r = launches.run(name)
        assert r.out == w.cold(argv).out and r.status == 0
    w.same(argv, warm_options=CALL, expect_status=0)


def test_nothing_that_could_lie_there(make_warm, programs):
    w = make_warm(config={"hugetlb": True})
    argv = [programs.path("huge"), "counts", "1"]
    w.build(argv, options=[*CALL, "--name", "small"])
    row, shown = inspected(w, "small")
    assert row["huge_bytes"] == 0 and row["huge_note"] == "" and shown == []
    w.same(argv, warm_options=CALL, expect_status=0)


def test_doctor_tells(tmp_path):
    r = execute([WARM, "doctor", "--json"], env={**base_environment(), "WARM_RUNTIME_DIR": str(tmp_path / "rt")})
    text = json.dumps(json.loads(r.out))
    assert "hugetlb" in text, r
