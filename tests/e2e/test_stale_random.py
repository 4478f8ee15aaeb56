# SPDX-License-Identifier: MIT
"""Every way to change a file that Linux has, in any order, between runs and beside them: a run shows what a cold one would.

WARM_LONG=1: many more of them. WARM_SEED=N: those of a run that failed; the seed is in the test's output."""

import os
import random
import subprocess
import threading

import pytest
from conftest import PYTHON, TIMEOUT
from stale_edits import ATOMIC, EDITS, MODULE, PROGRAM, Missing, Tree, state

LONG = os.environ.get("WARM_LONG") == "1"
SEED = int(os.environ.get("WARM_SEED") or random.randrange(1 << 32))


@pytest.fixture
def tree(script, tmp_path):
    script(PROGRAM, **{"m.py": MODULE})
    t = Tree(tmp_path)
    yield t
    t.close()


@pytest.fixture
def argv(tree):
    return [PYTHON, "-B", tree.root / "script.py"]


def expected(tree):
    return state(str(tree.root)) + "\n"


def launch(warm, argv):
    """As a shell does it; much less than Warm.run() does"""
    return subprocess.run([warm.program, "run", *argv], env=warm.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False).stdout


@pytest.mark.parametrize("name", EDITS)
def test_edit(warm, tree, argv, name):
    """Each by itself, twice: the second time what the first one left is there"""
    for _ in range(2):
        warm.build(argv)
        assert launch(warm, argv) == expected(tree)
        try:
            EDITS[name](tree)
        except Missing as e:
            pytest.skip(f"{name}: {e}")
        assert launch(warm, argv) == expected(tree)


def test_edits_in_any_order(warm, tree, argv):
    print("seed", SEED)
    rng = random.Random(SEED)
    for i in range(4000 if LONG else 120):
        name = rng.choice(list(EDITS))
        if rng.random() < 0.15:
            tree.close()
        if rng.random() < 0.7:
            warm.build(argv, expect=None)
        try:
            EDITS[name](tree)
        except Missing:
            continue
        assert launch(warm, argv) == expected(tree), f"edit {i}: {name}"
    tree.close()
    warm.build(argv)
    assert launch(warm, argv) == warm.cold(argv).out == expected(tree)


def test_edits_beside_runs(warm, tree, argv):
    """A run shows what was there at some time between its start and its end"""
    print("seed", SEED)
    rng = random.Random(SEED)
    done, stop, wrong = [tree.n], threading.Event(), []

    def runs():
        while not stop.is_set():
            least = done[0]
            out = launch(warm, argv)
            try:
                version = int(out.split("'")[1].removesuffix("\\n"))
            except (ValueError, IndexError):
                wrong.append((least, out))
                continue
            if not least <= version <= tree.n:
                wrong.append((least, version, tree.n))

    threads = [threading.Thread(target=runs) for _ in range(3)]
    warm.build(argv)
    for t in threads:
        t.start()
    names = []
    try:
        for _ in range(3000 if LONG else 80):
            names.append(rng.choice(ATOMIC))
            try:
                EDITS[names[-1]](tree)
            except Missing:
                names.pop()
            done[0] = tree.n
            if rng.random() < 0.3:
                tree.close()
                warm.build(argv, expect=None)
            if wrong:
                break
    finally:
        stop.set()
        for t in threads:
            t.join(TIMEOUT)
    assert not wrong, f"{wrong[:5]} after {names[-5:]}"
