# SPDX-License-Identifier: MIT
"""The package `warm`: warm.ready() over a socket, this test being warmd."""

import os
import socket
import struct
import subprocess

import pytest
from conftest import PACKAGE

PROGRAM = """
import warm, os, sys, random
order = []
warm.register_before_snapshot(lambda: order.append('b1'))
@warm.register_before_snapshot
def b2(): order.append('b2')
warm.register_after_restore(lambda: order.append('a1'))
warm.register_after_restore(lambda: order.append('a2'))
print('before')
random.seed(1) if os.environ.get('SEED') else None
state = hash(random.getstate())
print(warm.ready(), warm.generation(), order, sys.argv, dict(os.environ))
print(state == hash(random.getstate()), 'WARM_FD' in os.environ)
sys.stdout.flush()
os.system('echo $X$WARM_FD')
"""


def test_outside(runner, python):
    result = runner.cold([python, runner.write("p.py", PROGRAM), "a"], env={"PYTHONPATH": PACKAGE})
    assert "before\nFalse 0 [] " in result.out and result.status == 0


def context(argv, env, generation=9, stdio=0):
    strings = b"".join(os.fsencode(s) + b"\0" for s in argv + ["%s=%s" % i for i in env.items()])
    return struct.pack("<6IQ", 0x58544357, 32 + len(strings), len(argv), len(env), 0, stdio, generation) + strings


def read_lines(connection):
    data = b""
    connection.settimeout(60)
    while not data.endswith(b"READY=1\n"):
        data += connection.recv(65536) or pytest.fail("the program ended: %r" % data)
    return data


@pytest.mark.parametrize("seed", ["", "1"])
def test_inside(runner, python, seed):
    ours, theirs = socket.socketpair()
    script = runner.write("p.py", PROGRAM)
    env = {**runner.env, "PYTHONPATH": PACKAGE, "WARM_FD": str(theirs.fileno()), "SEED": seed}
    process = subprocess.Popen([python, script, "a"], env=env, pass_fds=[theirs.fileno()], stdout=-1, universal_newlines=True)
    theirs.close()
    data = read_lines(ours)
    assert b"CONTEXT=raw\n" in data
    ours.send(context([python, script, "b", "c"], {"X": "1", "PATH": "/bin"}))
    out, _ = process.communicate(timeout=60)
    assert out == ("before\nTrue 9 ['b2', 'b1', 'a1', 'a2'] ['%s', 'b', 'c'] {'X': '1', 'PATH': '/bin'}\n%s False\n1\n"
                   % (script, seed == "1"))


def test_build_given_up(runner, python):
    ours, theirs = socket.socketpair()
    env = {**runner.env, "PYTHONPATH": PACKAGE, "WARM_FD": str(theirs.fileno())}
    process = subprocess.Popen([python, runner.write("p.py", PROGRAM)], env=env, pass_fds=[theirs.fileno()], stdout=-1)
    theirs.close()
    read_lines(ours)
    ours.close()
    assert process.communicate(timeout=60)[0] == b"" and process.returncode == 0
