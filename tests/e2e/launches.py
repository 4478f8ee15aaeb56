# SPDX-License-Identifier: MIT
"""Launches that warmd makes: `warm launch` by fork and parked, beside the cold run"""
import contextlib
import dataclasses
import os
import re
import signal

import pytest
from conftest import children, difference, eventually, execute, exists, state

WAYS = ["fork", "parked"]
SAID = re.compile(rb"warm: launched from template [^\n]* \((fork|parked)\)\r?\n")


def name_of_process(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="latin-1") as f:
            return f.read().rstrip("\n")
    except OSError:
        return ""


def skeletons(daemon):
    return [p for p in children(daemon) if name_of_process(p) == "warm-skeleton"]


def has_terminal(kinds):
    return "tty" in (kinds.get(stream) for stream in ("stdin", "stdout", "stderr"))


class Launches:
    """Over a Warm: templates by name, and launches of them in a way that is known

    fork     the template is made anew without a pool: its first launch can only be forked
    parked   waits until clones are parked
    """

    def __init__(self, warm):
        self.warm = warm
        self.count = 0

    def build(self, argv, *, way="parked", name=None, pool=1, options=(), **more):
        """A new template; its name"""
        self.count += 1
        name = name or f"t{self.count}"
        pooled = ["--pool", str(pool)] if way == "parked" else []
        self.warm.build(argv, options=["--name", name, "--rebuild", *pooled, *options], **more)
        if way == "parked":
            self.wait_parked(pool)
        return name

    def remove(self, name):
        """The template, and with it its skeleton and parked clones"""
        self.warm.command("rm", name)
        self.wait_alone()

    def clear(self):
        """All templates, and those that are still being built for runs that were cold"""
        daemon = self.warm.pid()

        def gone():
            self.warm.command("rm", "--all", check=False)
            return not children(daemon)
        eventually(gone, "an end of all that warmd had started")

    def wait_alone(self):
        daemon = self.warm.pid()
        eventually(lambda: not children(daemon), "an end of all that warmd had started")

    def wait_parked(self, n=1):
        """Until warmd has a skeleton and n parked clones, and knows of them; for a Warm with one template that has a pool"""
        daemon = self.warm.pid()

        def asleep():
            # an answer tells that warmd has seen all that was said to it before
            self.warm.ls()
            # the leaders of sessions that have terminals, and holders of large clones' memory, are not counted
            below = [p for p in children(daemon) if name_of_process(p) not in ("warm-session", "warm-holder")]
            skeleton = skeletons(daemon)
            fine = len(skeleton) == 1 and len(below) == n + 1 and all(state(p) == "S" for p in below)
            return sorted(below) if fine else None
        before = [None]

        def twice():
            now = asleep()
            fine = now and now == before[0]
            before[0] = now
            return now if fine else None
        try:
            skeleton = eventually(twice, f"{n} parked clones")
        except pytest.fail.Exception as e:
            below = [(p, name_of_process(p), state(p)) for p in children(daemon)]
            pytest.fail(f"{e}; warmd's children: {below}; templates: {self.warm.ls()}\n{self.warm.log()[-2000:]}", pytrace=False)
        return [p for p in skeleton if name_of_process(p) != "warm-skeleton"]

    def argv(self, name, args=(), options=()):
        return [self.warm.program, "launch", *options, name, *args]

    def run(self, name, args=(), *, options=(), verbose=True, env=None, **more):
        """`warm launch`: its Result, without what -v said; .way is how it was launched"""
        r = execute(self.argv(name, args, [*(["-v"] if verbose else []), *options]), env=self.warm.environment(env), **more)
        ways = SAID.findall(r.stdout + r.stderr)
        r = dataclasses.replace(r, stdout=SAID.sub(b"", r.stdout), stderr=SAID.sub(b"", r.stderr))
        r.way = ways[0].decode() if ways else None
        return r

    def same(self, argv, way, *, args=(), normalize=None, expect_status=None, options=(), env=None, between=None,
             cold_argv=None, build=None, verbose=True, **more):
        """Cold, then launched in this way: all must be equal. between(): once the clone is parked, before its launch"""
        cold = self.warm.cold(cold_argv or [*argv, *args], env=env, **more)
        name = self.build(argv, way=way, options=options, env=env,
                          **(build if build is not None else
                             {k: v for k, v in more.items() if k not in ("interact", "timeout")}))
        if between:
            between()
        launched = self.run(name, args, env=env, verbose=verbose, **more)
        self.remove(name)
        self.equal(cold, launched, normalize, argv)
        if verbose:
            # a pool that was made without terminals has none to give
            if has_terminal(more) and build is not None and not has_terminal(build):
                way = "fork"
            assert launched.way == way, (launched.way, self.warm.log()[-2000:])
        if expect_status is not None:
            assert cold.status == expect_status, cold
        return launched

    @staticmethod
    def equal(cold, launched, normalize=None, argv=()):
        normalize = normalize or (lambda b: b)
        words = [f"  {what} {line}" for what in ("stdout", "stderr")
                 for line in difference(normalize(getattr(cold, what)), normalize(getattr(launched, what)))]
        if launched.status != cold.status:
            words.append(f"  status {cold.status} cold, {launched.status} launched; stderr {launched.stderr!r}")
        if words:
            pytest.fail("\n".join([f"{' '.join(map(str, argv))[-200:]} differs", *words]), pytrace=False)


@contextlib.contextmanager
def launches_of(warm):
    """A Launches whose templates and clones end with it, also after a failure"""
    launches = Launches(warm)
    try:
        yield launches
    finally:
        daemon = warm.pid()
        if daemon:
            with contextlib.suppress(OSError):
                os.kill(daemon, signal.SIGCONT)
            for p in children(daemon):
                if name_of_process(p) not in ("warmd", "warm-skeleton"):
                    with contextlib.suppress(OSError):
                        os.kill(p, signal.SIGKILL)
            with contextlib.suppress(pytest.fail.Exception):
                launches.clear()


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def gone(pids):
    return not any(map(exists, pids))
