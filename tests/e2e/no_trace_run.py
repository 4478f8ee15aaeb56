# SPDX-License-Identifier: MIT
"""Builds random programs, and looks whether the world is as it was: a process of test_no_trace.py, which can have a world of
its own below it (mounts on /tmp, /dev/shm and /run that nobody else sees)

    no_trace_run.py FIRST COUNT EFFECTS     seeds; the compiled effects.c. Prints one line of JSON for each program

To see one again: no_trace_run.py SEED 1 EFFECTS.
"""
import contextlib
import ctypes
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import no_trace_programs
from conftest import BUILD, PYTHON, TIMEOUT, TREE, Warm, children, eventually, exists
from no_trace_world import World, as_outcome, differences

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
COVERED = ["/tmp", "/dev/shm", "/run"]
KILLED = 0.25       # of the builds


def mount(source, target, kind, flags, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(*(w.encode() if w else None for w in (source, target, kind)), ctypes.c_ulong(flags), data.encode() if data else None) < 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def world_of_our_own(*kept):
    """Fresh folders where everybody writes; @kept: what has to stay to be seen below them. Return: has it worked? An ordinary
    user may be allowed a user namespace, and still no mounts in it: tried in a child first"""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            cover(*kept)
            os._exit(0)
        os._exit(1)
    if os.waitpid(pid, 0)[1]:
        return False
    cover(*kept)
    return True


def cover(*kept):
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)) < 0:
        raise OSError("unshare")
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    hidden = [(os.open(p, os.O_PATH), p) for p in map(os.path.realpath, kept) if p.startswith(tuple(f"{c}/" for c in COVERED))]
    for target in COVERED:
        mount("tmpfs", target, "tmpfs", 0, "mode=1777,size=512m")
    for fd, path in hidden:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).touch()
        mount(f"/proc/self/fd/{fd}", path, None, MS_BIND | MS_REC)
        os.close(fd)


class Trial:
    def __init__(self, warm, world, watched, effects):
        self.warm, self.world, self.watched, self.effects = warm, world, watched, effects

    def look(self):
        return self.world.look(*self.watched)

    def of_ours(self):
        """Processes of programs, and warm's but for the daemon: each has our runtime directory in its environment"""
        mark = b"WARM_RUNTIME_DIR=" + os.fsencode(self.warm.runtime_dir)
        found = []
        for d in os.listdir("/proc"):
            if d.isdigit() and int(d) not in (os.getpid(), self.warm.pid() or 0):
                with contextlib.suppress(OSError):
                    if mark in Path(f"/proc/{d}/environ").read_bytes() and exists(int(d)):
                        found.append(int(d))
        return found

    def quiet(self):
        """Nothing of a build, or of a program, runs any more, or waits for its turn"""
        def building():
            r = self.warm.command("ls", "--json", check=False)
            # a daemon that is on its way out answers nothing: looked at again
            return r.returncode != 0 or any(row["state"] == "building" for row in json.loads(r.stdout))

        def ended():
            return not (self.warm.pid() and building()) and not self.of_ours()
        eventually(ended, "an end of all builds and programs")

    def killed_build(self, p, argv, chance):
        """SIGKILL at some moment to the client, the daemon, the builder or the program. Return: to whom"""
        pid = self.warm.pid() or self.warm.start()
        client = subprocess.Popen([str(self.warm.program), "build", *p.options, "--", *argv], env=self.environment(), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.world.place / "home")
        # a moment like any other: nothing is waited for
        select.select([], [], [], chance.uniform(0, 0.3))
        below = children(pid)
        who = chance.choice(["client", "warmd", "builder", "program"])
        victim = {"client": client.pid, "warmd": pid, "builder": below[0] if below else pid, "program": below[-1] if below else pid}[who]
        with contextlib.suppress(OSError):
            os.kill(victim, signal.SIGKILL)
        client.communicate(timeout=TIMEOUT)
        eventually(lambda: not any(map(exists, below)), "the end of what was below warmd")
        self.quiet()
        return who

    def environment(self):
        return {**self.warm.environment(), **self.world.environment()}

    def run(self, p, argv):
        """One program. Return: what happened, {"bad": words that say what should not have}"""
        chance = random.Random(p.seed * 7919 + 1)
        bad = []
        more = {"env": self.world.environment(), "cwd": self.world.place / "home", "stdin": p.stdin}
        before = self.look()
        who = None
        if chance.random() < KILLED:
            who = self.killed_build(p, argv, chance)
            bad += [f"killed {who}: {w}" for w in differences(before, self.look())]
            before = self.look()
        answer = self.warm.build(argv, options=p.options, expect=None, **more)
        self.quiet()
        after = self.look()
        bad += [f"build: {w}" for w in differences(before, after)]
        served = self.warm.launches()
        warm = self.warm.run(argv, options=p.options, **more)
        # a run that was cold has a build behind it
        self.quiet()
        warm_world = as_outcome(self.look(), self.world.place)
        return bad, answer, who, warm, warm_world, self.warm.launches() > served

    def compare(self, p, argv, warm, warm_world):
        more = {"env": self.world.environment(), "cwd": self.world.place / "home", "stdin": p.stdin}
        cold = self.warm.cold(argv, **more)
        self.quiet()
        bad = [f"{what}: cold {getattr(cold, what)!r:.300}, warm {getattr(warm, what)!r:.300}" for what in ("stdout", "stderr", "status")
               if getattr(cold, what) != getattr(warm, what)]
        cold_world = as_outcome(self.look(), self.world.place)
        bad += [f"only cold: {x:.300}" for x in cold_world if x not in warm_world]
        bad += [f"only warm: {x:.300}" for x in warm_world if x not in cold_world]
        if not bad and cold_world != warm_world:
            bad.append("other numbers of alike things")
        return bad


def trial(t, seed):
    p = no_trace_programs.make(seed)
    directory = Path(t.world.folder, f"p{seed}")
    directory.mkdir()
    for name, text in p.files.items():
        (directory / name).write_text(text)
    argv = [str(a) for a in p.argv(directory, t.effects, PYTHON)]
    t.world.start_helper()
    t.world.begin()
    bad, answer, who, warm, warm_world, was_warm = t.run(p, argv)
    # a process that has had signals is not as new; but its PID is in the environment
    t.world.start_helper()
    t.world.begin()
    bad += t.compare(p, argv, warm, warm_world)
    return {"seed": seed, "kind": p.kind, "steps": p.steps, "status": answer and answer.get("status"), "reason": answer and answer.get("reason"),
            "warm": was_warm, "killed": who, "bad": bad, "text": p.text() if bad else None}


def main():
    first, count, effects = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    apart = world_of_our_own(TREE, BUILD, effects)
    folder = Path(tempfile.mkdtemp(prefix="nt.", dir="/tmp"))
    # the runtime directory is warm's own
    with tempfile.TemporaryDirectory(prefix="nt-rt.", dir="/var/tmp") as directory:
        warm, world = Warm(directory), World(folder)
        try:
            watched = [c for c in COVERED if apart]
            t = Trial(warm, world, watched, effects)
            for seed in range(first, first + count):
                begin = time.monotonic()
                try:
                    said = trial(t, seed)
                except KeyboardInterrupt:
                    raise
                except BaseException as e:      # pytest's own are no Exception
                    p = no_trace_programs.make(seed)
                    said = {"seed": seed, "kind": p.kind, "steps": p.steps, "bad": [f"{type(e).__name__}: {str(e)[:2000]}"], "text": p.text()}
                    for pid in t.of_ours():
                        with contextlib.suppress(OSError):
                            os.kill(pid, signal.SIGKILL)
                print(json.dumps({**said, "apart": apart, "seconds": round(time.monotonic() - begin, 2)}), flush=True)
        finally:
            world.close()
            warm.stop()
            subprocess.run(["rm", "-rf", str(folder)], check=False)


if __name__ == "__main__":
    main()
