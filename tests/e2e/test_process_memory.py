# SPDX-License-Identifier: MIT
"""Memory over the launch (programs/memory.c)"""
import subprocess

import pytest
from c_programs import CALL
from conftest import PYTHON, need


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


MAPS = """import ctypes, decimal, sqlite3, ssl
print(open("/proc/self/maps").read())
"""


def read_maps(text):
    """How many mappings there are, {page: protection}, and {library: its first page and how many follow by its name}"""
    lines = [line.split(None, 5) for line in text.splitlines() if line]
    pages, libraries = {}, {}
    for words in lines:
        start, end = (int(x, 16) // 4096 for x in words[0].split("-"))
        pages.update((page, words[1]) for page in range(start, end))
        name = words[5] if len(words) > 5 else ""
        if ".so" in name and (int(words[2], 16) == 0 or name in libraries):
            first, _ = libraries.setdefault(name, (start, 0))
            libraries[name] = first, end - first
    return len(lines), pages, libraries


def test_text_and_read_only_data_are_one_mapping(make_warm, tmp_path):
    """`join_text`: fewer mappings, at the price of read-only data that can be executed; without it all is as cold"""
    script = tmp_path / "maps.py"
    script.write_text(MAPS)
    argv, seen = [PYTHON, script], {}
    for wanted in (True, False):
        w = make_warm(config={"join_text": wanted})
        w.build(argv)
        r = w.run(argv, strict=True)
        assert r.status == 0, r
        seen[wanted] = read_maps(r.out)
        cold = read_maps(w.cold(argv).out)

    def protections(maps, name):
        # a clone has some of a library's pages from the template: its first is the file's, and the length is the cold one's
        first, n = maps[2][name][0], cold[2][name][1]
        return [maps[1].get(page, "none") for page in range(first, first + n)]

    names = [name for name in cold[2] if "r-xp" in protections(cold, name)]
    assert len(names) > 5 and all(name in maps[2] for name in names for maps in seen.values()), cold[2]
    assert seen[True][0] <= seen[False][0] - len(names)
    joined = 0
    for name in names:
        expected = protections(cold, name)
        assert protections(seen[False], name) == expected, name
        changes = {pair for pair in zip(expected, protections(seen[True], name)) if pair[0] != pair[1]}
        assert changes <= {("r--p", "r-xp")}, (name, changes)
        joined += bool(changes)
    assert joined > 5
