# SPDX-License-Identifier: MIT
"""Clones share no random state, but for one that the program chose itself."""

import ast
import os

import pytest

NUMPY = "/usr/bin/python3"      # the one with packages


def twice(runner, python, source, **files):
    """Read what `state` is at the readiness point (by a module of the leading part), and after it"""
    for name, text in files.items():
        runner.write(name + ".py", text)
    script = runner.write("script.py", source)
    result = runner.warm([python, script])
    assert result.ready, result
    return [ast.literal_eval(line) for line in result.out.splitlines()]


def test_random(runner, python):
    before, after = twice(runner, python, "import lead\nimport random\nprint(lead.state)\nprint(hash(random.getstate()))\n",
                          lead="import random\nstate = hash(random.getstate())\n")
    assert before != after


@pytest.mark.parametrize("seeding", ["random.seed(5)", "random.setstate(random.Random(5).getstate())", "from random import seed; seed(5)"])
def test_random_seeded(runner, python, seeding):
    before, after = twice(runner, python, "import lead\nimport random\nprint(lead.state)\nprint(hash(random.getstate()))\n",
                          lead="import random\n%s\nstate = hash(random.getstate())\n" % seeding)
    assert before == after


def test_seeded_by_nothing(runner, python):
    before, after = twice(runner, python, "import lead\nimport random\nprint(lead.state)\nprint(hash(random.getstate()))\n",
                          lead="import random\nrandom.seed(5)\nrandom.seed()\nrandom.gauss(0, 1)\nstate = hash(random.getstate())\n")
    assert before != after


def test_other_generators(runner, python):
    before, after, chosen, still = twice(
        runner, python, "import lead\nfor x in lead.a0, hash(lead.a.getstate()), lead.b0, hash(lead.b.getstate()): print(x)\n",
        lead="import random\na, b = random.Random(), random.Random(7)\na0, b0 = hash(a.getstate()), hash(b.getstate())\n")
    assert before != after and chosen == still


def test_numpy():
    if not os.path.exists("/usr/lib/python3/dist-packages/numpy"):
        pytest.skip("numpy is not installed")


NUMPY_STATE = "hash(np.random.get_state()[1].tobytes())"


@pytest.mark.parametrize("seeding,same", [("", False), ("np.random.seed(3)", True)])
def test_numpy_legacy(runner, seeding, same):
    test_numpy()
    before, after = twice(runner, NUMPY, "import lead\nimport numpy as np\nprint(lead.state)\nprint(%s)\n" % NUMPY_STATE,
                          lead="import numpy as np\n%s\nstate = %s\n" % (seeding, NUMPY_STATE))
    assert (before == after) == same


def test_numpy_generators(runner):
    test_numpy()
    before, after, chosen, still = twice(
        runner, NUMPY, "import lead\nfor x in lead.a0, lead.of(lead.a), lead.b0, lead.of(lead.b): print(x)\n",
        lead="import numpy as np\ndef of(g): return hash(str(g.bit_generator.state))\n"
             "a, b = np.random.default_rng(), np.random.default_rng(2**127 + 1)\na0, b0 = of(a), of(b)\n")
    assert before != after and chosen == still


# what is drawn after the readiness point, made from what a module held; `same`: does it stay
NUMPY_HELD = {
    "SeedSequence": ("s = np.random.SeedSequence()\ndef draw(): return s.spawn(1)[0].generate_state(4).tolist()\n", False),
    "its state": ("s = np.random.SeedSequence()\ndef draw(): return s.generate_state(4).tolist()\n", False),
    "a child of it": ("c = np.random.SeedSequence().spawn(3)[2]\ndef draw(): return c.spawn(1)[0].generate_state(4).tolist()\n", False),
    "in a closure": ("def make(s=np.random.SeedSequence()):\n    return lambda: s.spawn(1)[0].generate_state(4).tolist()\ndraw = make()\n", False),
    "seeded SeedSequence": ("s = np.random.SeedSequence(5)\ndef draw(): return s.spawn(1)[0].generate_state(4).tolist()\n", True),
    "generator's own": ("g = np.random.default_rng()\ndef draw(): return g.bit_generator._seed_seq.spawn(1)[0].generate_state(4).tolist()\n", False),
    "generator of a sequence": ("g = np.random.Generator(np.random.Philox(np.random.SeedSequence().spawn(2)[1]))\ndef draw(): return g.integers(1 << 60, size=4).tolist()\n", False),
    "SFC64": ("g = np.random.Generator(np.random.SFC64())\ndef draw(): return g.integers(1 << 60, size=4).tolist()\n", False),
    "RandomState": ("r = np.random.RandomState()\nr.randn()\ndef draw(): return r.randn(3).tolist()\n", False),
    "its half pair": ("r = np.random.RandomState()\nr.randn()\ndef draw(): return r.randn()\n", False),
    "seeded RandomState": ("r = np.random.RandomState(4)\nr.randn()\ndef draw(): return r.randn(3).tolist()\n", True),
    "a state that was set": ("g = np.random.default_rng()\ng.bit_generator.state = np.random.PCG64(5).state\ndef draw(): return g.integers(1 << 60)\n", True),
    "a copy": ("import copy\ng = np.random.default_rng()\nh = copy.deepcopy(g)\ndef draw(): return h.integers(1 << 60)\n", False),
    "seeded generator": ("g = np.random.default_rng(8)\ndef draw(): return g.integers(1 << 60)\n", True),
}


@pytest.mark.parametrize("name", NUMPY_HELD)
def test_numpy_held(runner, name):
    """Two clones of one template: a child draws what the program would, another what the next clone does"""
    test_numpy()
    source, same = NUMPY_HELD[name]
    runner.write("lead.py", "import os, sys\nimport numpy as np\n" + source +
                 # before the readiness point, and without changing anything for what comes after it
                 "ends = os.pipe()\nif os.fork() == 0:\n    os.write(ends[1], repr(draw()).encode())\n    os._exit(0)\n"
                 "os.wait()\nbefore = os.read(ends[0], 10000).decode()\nos.close(ends[0])\nos.close(ends[1])\n")
    script = runner.write("script.py", "import lead\nprint(lead.before == repr(lead.draw()))\n")
    result = runner.warm([NUMPY, script])
    assert result.ready and result.out == "%s\n" % same, result


def test_fill_lines(runner):
    """With WARM_FILL the adaptor names the memory to fill: it is where the state is"""
    test_numpy()
    script = runner.write("script.py", (
        "import random\nimport numpy as np\nimport os\n"
        "for line in open(os.environ['REPORT']):\n"
        "    if line.startswith('RANDOM='):\n"
        "        address, size = line[7:].split(':')\n"
        "        with open('/proc/self/mem', 'r+b', 0) as f:\n"
        "            f.seek(int(address, 16))\n"
        "            f.write(b'\\x01' * int(size))\n"
        "print(set(random.getstate()[1][:-1]), set(np.random.get_state()[1].tolist()))\n"))
    result = runner.warm([NUMPY, script], inject=["-r"], env={"REPORT": runner.report})
    assert result.out == "{16843009} {16843009}\n", result


def test_multiprocessing_key(runner, python):
    before, after = twice(runner, python, "import lead\nimport multiprocessing\nprint(lead.key)\n"
                          "print(bytes(multiprocessing.current_process().authkey))\n",
                          lead="import multiprocessing\nkey = bytes(multiprocessing.current_process().authkey)\n")
    assert before != after and len(after) == 32


def test_logging_clock(runner, python):
    result = runner.warm([python, runner.write("script.py", (
        "import logging, slow\nlogging.basicConfig(format='%(relativeCreated)d', level=0)\nlogging.info('')\n"))])
    assert int(result.err) < 400, result




@pytest.fixture(autouse=True)
def slow_module(runner):
    runner.write("slow.py", "import logging, time\ntime.sleep(0.5)\n")
