# SPDX-License-Identifier: MIT
"""Runs programs cold, and with the Python adaptor injected as warmd would (inject.c), to compare."""

import glob
import os
import re
import subprocess
import sys

import pytest

import signal

# a shell starts what it puts into the background with these two ignored, and programs would inherit that
for _signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal == signal.SIGINT else signal.SIG_DFL)

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PACKAGE = os.path.join(ROOT, "lang", "python")
TIMEOUT = 60        # seconds


def find_interpreters():
    """One of each version from 3.9 to 3.13, as WARM_TEST_PYTHONS (colon-separated) or as installed"""
    named = os.environ.get("WARM_TEST_PYTHONS")
    found = named.split(":") if named else ["/usr/bin/python3"] + [
        p for v in ("3.9", "3.10", "3.11", "3.12", "3.13")
        for p in sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/%s.*/bin/python3" % v)))[-1:]]
    return [p for p in found if os.access(p, os.X_OK)]


INTERPRETERS = find_interpreters()


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        metafunc.parametrize("python", INTERPRETERS, ids=lambda p: p.replace("/bin/python3", "").split("/")[-1])


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """(the inject program, the adaptor's text)"""
    if os.uname().machine != "x86_64":
        pytest.skip("inject.c is for x86-64")
    folder = tmp_path_factory.mktemp("built")
    inject = str(folder / "inject")
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-Wall", "-o", inject, os.path.join(HERE, "inject.c")], check=True)
    with open(os.path.join(PACKAGE, "sources.mk")) as f:
        sources = re.findall(r"lang/python/\S+\.py", f.read())
    adaptor = str(folder / "adaptor.txt")
    with open(adaptor, "w") as out:
        for source in sources:
            with open(os.path.join(ROOT, source)) as f:
                out.write(f.read())
    return inject, adaptor


class Result:
    def __init__(self, process, report=()):
        self.status = process.returncode
        self.out, self.err = process.stdout, process.stderr
        self.lines = list(report)

    def __repr__(self):
        return "status %d\n--- out\n%s\n--- err\n%s\n--- protocol\n%s" % (
            self.status, self.out, self.err, "\n".join(self.lines))

    @property
    def ready(self):
        return "READY=1" in self.lines

    @property
    def refused(self):
        return next((line[7:] for line in self.lines if line.startswith("REFUSE=")), None)

    def values(self, key):
        return [line[len(key) + 1:] for line in self.lines if line.startswith(key + "=")]


class Runner:
    def __init__(self, built, tmp_path):
        self.inject, self.adaptor = built
        self.tmp = tmp_path
        self.report = str(tmp_path / "report")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "WARM"))}

    def write(self, name, text):
        path = self.tmp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def run(self, command, env=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
        if options["stdin"] is None:
            del options["stdin"]
        options.setdefault("cwd", str(self.tmp))
        return subprocess.run(command, env={**self.env, **(env or {})}, timeout=TIMEOUT, universal_newlines=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def cold(self, command, **options):
        return Result(self.run(command, **options))

    def warm(self, command, inject=(), **options):
        process = self.run([self.inject, "-o", self.report, *inject, "--", self.adaptor, *command], **options)
        with open(self.report) as f:
            return Result(process, f.read().splitlines())

    def same(self, command, **options):
        """Run cold and warm; all that can be seen is the same. Returns the warm result"""
        cold = self.cold(command, **options)
        warm = self.warm(command, **options)
        assert warm.ready, warm
        assert (warm.out, warm.err, warm.status) == (cold.out, cold.err, cold.status)
        return warm


@pytest.fixture
def runner(built, tmp_path):
    return Runner(built, tmp_path)


sys.dont_write_bytecode = True
