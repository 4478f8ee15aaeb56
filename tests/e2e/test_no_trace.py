# SPDX-License-Identifier: MIT
"""A build leaves no trace: whatever a program does in its leading part, whenever its build is killed, the world is byte for
byte as it was; and a run afterwards does what a cold one does, once

The world (no_trace_world.py) is a home folder, a temporary one, a git repository, named pipes, servers, a process that
could be signalled; where mounts of our own are allowed, all of /tmp, /dev/shm and /run as well. The programs
(no_trace_programs.py) are random, and the same in each run: WARM_SEED=N begins with another one. About 150 of
them, 1,000 with WARM_LONG=1. One again: python3 tests/e2e/no_trace_run.py SEED 1 EFFECTS.
"""
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import BUILD, HERE, LONG, SAN, TIMEOUT, need

FIRST = int(os.environ.get("WARM_SEED", 1))
PROGRAMS = 1000 if LONG else 60 if SAN else 150
PIECE = 30          # programs with one daemon
READY = 0.75        # of the builds: an effect makes an earlier template, and no refusal
SHOWN = 3           # of those that failed, whole


def words(found):
    yield f"{len(found)} programs, the first by name: {[f['seed'] for f in found]}"
    for f in found[:SHOWN]:
        yield f"\nseed {f['seed']}, {f.get('kind')}: {f.get('steps')}, built: {f.get('status')} ({f.get('reason')})"
        yield from (f"  {line}" for line in f["bad"][:12])
        yield f["text"]
    for f in found[SHOWN:]:
        yield f"seed {f['seed']}: {f['bad'][0][:300]}"


@pytest.mark.parametrize("first", range(FIRST, FIRST + PROGRAMS, PIECE))
def test_no_trace(programs, first, record_property):
    need(shutil.which("git"), "git")
    effects = programs.path("effects", "-pthread")
    count = min(PIECE, FIRST + PROGRAMS - first)
    r = subprocess.run([sys.executable, "-B", str(HERE / "no_trace_run.py"), str(first), str(count), str(effects)], capture_output=True, text=True,
                       timeout=count * TIMEOUT, check=False, env={**os.environ, "WARM_BUILD": str(BUILD)})
    said = [json.loads(line) for line in r.stdout.splitlines()]
    assert r.returncode == 0, r.stderr[-4000:]
    assert len(said) == count
    for what in ("ready", "refused", "failed"):
        record_property(what, sum(s.get("status") == what for s in said))
    found = [s for s in said if s["bad"]]
    if found:
        pytest.fail("\n".join(words(found)), pytrace=False)
    refused = [(s["seed"], s["reason"]) for s in said if s["status"] != "ready"]
    assert len(refused) <= (1 - READY) * count, refused
