# SPDX-License-Identifier: MIT
"""Programs under programs/, compiled once a session, and run at the readiness point `call`"""
import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from conftest import HERE, TIMEOUT, need

CALL = ["--ready", "call"]


class Programs:
    """programs.path("threads"): the compiled program; flags make a variant of its own"""

    def __init__(self):
        # where every user may execute it
        self.directory = Path(tempfile.mkdtemp(prefix="wp.", dir="/tmp"))
        self.directory.chmod(0o755)
        self.made = {}

    def path(self, name, *flags, compiler=None, output=None):
        suffix = next(s for s in (".c", ".cc") if (HERE / "programs" / (name + s)).exists())
        compiler = compiler or ("gcc" if suffix == ".c" else "g++")
        key = (name, compiler, flags)
        if key not in self.made:
            need(shutil.which(compiler), compiler)
            target = self.directory / (output or f"{name}{len(self.made)}")
            r = subprocess.run([compiler, "-O1", "-g", "-Wall", "-Wextra", "-o", str(target), str(HERE / "programs" / (name + suffix)),
                                "-pthread", *flags], capture_output=True, text=True, timeout=TIMEOUT * 2, check=False)
            assert r.returncode == 0, r.stderr
            self.made[key] = target
        return self.made[key]


@contextlib.contextmanager
def programs_fixture():
    p = Programs()
    try:
        yield p
    finally:
        shutil.rmtree(p.directory, ignore_errors=True)


def stands_before(warm, argv, words, *, options=(*CALL,), normalize=None, **context):
    """The template stands in front of the call that does that, and each run, which makes the call itself, is as a cold one"""
    answer = warm.build(argv, options=options, **context)
    boundary = warm.json("inspect", str(answer["id"]))["boundary"]
    assert words in boundary, boundary
    for _ in range(2):
        warm.same(argv, warm_options=options, build=False, normalize=normalize, **context)


def refused(warm, argv, words, **options):
    """The build is refused, by that name, and the program runs cold as ever"""
    answer = warm.build(argv, options=CALL, expect=None, **options)
    assert answer["status"] != "ready", answer
    assert words in answer["reason"], answer
    cold = warm.cold(argv, **options)
    run = warm.run(argv, options=CALL, **options)
    assert (run.stdout, run.stderr, run.status) == (cold.stdout, cold.stderr, cold.status)
