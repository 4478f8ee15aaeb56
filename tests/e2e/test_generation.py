# SPDX-License-Identifier: MIT
"""The generation: a number that a library finds in each clone, at every readiness point and in every way of launch"""
import re
import subprocess

import pytest
from c_programs import CALL
from conftest import BUILD, PYTHON, SAN, TIMEOUT, TREE
from launches import launches_of

HEADER = f"-I{TREE / 'launcher'}"
READY = {"main": ["--ready", "main"], "call": CALL, "idle": ["--ready", "idle"]}
PACKAGE = {"PYTHONPATH": str(TREE / "lang/python"), "PYTHONDONTWRITEBYTECODE": "1"}


def linked(programs, kind):
    """The program with libwarm in one of the ways that there are"""
    # of a sanitizer build the libraries would bring the sanitizer into the program
    static = [f"-I{TREE}", TREE / "launcher/libwarm_ready.c"] if SAN else [BUILD / "libwarm.a"]
    how = {
        "static": static,
        "stripped": ["-s", *static],
        "not relocatable": ["-no-pie", "-s", *static],
        "collected": ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-s", *static],
        "shared": static if SAN else [BUILD / "libwarm.so", f"-Wl,-rpath,{BUILD}"],
    }[kind]
    return programs.path("generation", HEADER, *map(str, how), "-ldl", output=f"generation-{kind.replace(' ', '-')}")


@pytest.fixture(scope="module")
def libraries(programs):
    """Two libraries, each with a counter that nobody else sees; stripped"""
    flags = ["-DLIBRARY", HEADER, "-shared", "-fPIC", "-s"]
    return [programs.path("generation", *flags, output="early.so"), programs.path("generation", *flags, "-DLATE", output="late.so")]


def numbers(result):
    """{words: numbers} of the program's lines"""
    assert result.status == 0 and result.err == "", result
    return {words: [int(n) for n in found.split()] for words, found in re.findall(r"(.*): ([\d ]+)\n", result.out)}


def of_clone(result, ready):
    """Its generation: that of all counters that were there at the readiness point, and of its child"""
    found = numbers(result)
    now = found["now"]
    # at main the first library is loaded by the clone itself, too
    assert now[0] > 0 and now == [now[0], now[0], 0 if ready == "main" else now[0]], result
    assert found["loaded later"] == [0] and found["child"] == [now[0]], result
    assert "the file mapped as data is the file: yes" in result.out
    return now[0]


def check(warm, launches, argv, options, ready, **more):
    """Cold none; then in every way of launch, the numbers of all clones differ"""
    cold = numbers(warm.cold(argv, **more))
    assert cold["before"] == cold["now"] == [0, 0, 0] and cold["child"] == [0]
    seen = []
    build = {**more, **({"stdin": "pipe"} if ready == "idle" else {})}
    for way in ("fork", "parked"):
        name = launches.build(argv, way=way, options=options, **build)
        # what a parked clone has learned of pages comes into its second and third launch
        for _ in range(3):
            r = launches.run(name, **more)
            assert r.way == way or seen, r
            # at main the program begins in the clone
            assert ready == "main" or numbers(r)["before"] == [0, 0, 0]
            seen.append(of_clone(r, ready))
        seen += [of_clone(warm.run(argv, strict=True, options=[*options, "--name", name], **more), ready) for _ in range(3)]
        launches.remove(name)
    assert len(set(seen)) == len(seen), seen


@pytest.mark.parametrize("ready", ["main", "call", "idle"])
def test_every_way_of_launch(warm, programs, libraries, ready):
    argv = [linked(programs, "shared"), ready, *libraries]
    with launches_of(warm) as launches:
        check(warm, launches, argv, READY[ready], ready, **({"stdin": b"x\n"} if ready == "idle" else {}))


@pytest.mark.parametrize("kind", ["static", "stripped", "not relocatable", "collected"])
def test_every_way_of_linking(warm, programs, libraries, kind):
    argv = [linked(programs, kind), "main", *libraries]
    with launches_of(warm) as launches:
        check(warm, launches, argv, READY["main"], "main")


def test_clones_at_once(warm, programs, libraries):
    """Parked ones got theirs with the order, not when they were made"""
    argv = [linked(programs, "static"), "call", *libraries]
    with launches_of(warm) as launches:
        name = launches.build(argv, options=CALL, pool=3)
        clones = [subprocess.Popen(launches.argv(name), env=warm.environment(), stdout=subprocess.PIPE, text=True) for _ in range(6)]
        seen = set()
        for p in clones:
            out, _ = p.communicate(timeout=TIMEOUT)
            assert p.returncode == 0
            seen.add(re.search(r"now: (\d+) ", out)[1])
        assert len(seen) == 6 and "0" not in seen


SCRIPT = """import sys, os, subprocess
early = sys.argv[1] != 'late'
if early:
    import warm
    before = warm.generation()
def look():
    import warm
    return warm.generation()
if sys.argv[1] == 'ready':
    warm.ready()
if sys.argv[1] == 'idle':
    sys.stdin.readline()
print('before:', before if early else 0)
print('now:', look(), look())
sys.stdout.flush()
if os.fork() == 0:
    print('child:', look())
    sys.stdout.flush()
    os._exit(0)
os.wait()
print('another program:', int(subprocess.run([sys.executable, '-c', 'import warm; print(warm.generation())'],
                                             stdout=subprocess.PIPE, check=True).stdout))
"""


@pytest.mark.parametrize("word, options", [("early", []), ("late", []), ("late", ["--ready", "main"]), ("ready", CALL),
                                           ("idle", ["--ready", "idle"])])
def test_python(warm, script, word, options):
    path = script(SCRIPT)
    more = {"env": PACKAGE, **({"stdin": b"x\n"} if word == "idle" else {})}
    argv = [PYTHON, path, word]
    cold = numbers(warm.cold(argv, **more))
    assert cold == {"before": [0], "now": [0, 0], "child": [0], "another program": [0]}
    with launches_of(warm) as launches:
        name = launches.build(argv, options=options, **{**more, **({"stdin": "pipe"} if word == "idle" else {})})
        results = [launches.run(name, **more) for _ in range(3)]
        results += [warm.run(argv, strict=True, options=[*options, "--name", name], **more) for _ in range(2)]
    seen = set()
    for r in results:
        found = numbers(r)
        assert found["now"][0] == found["now"][1] == found["child"][0] > 0, r
        # that call is no import: the readiness point lies before it
        assert found["before"] == ([0] if word != "early" else found["child"]), r
        assert found["another program"] == [0]
        seen.add(found["now"][0])
    assert len(seen) == len(results)
