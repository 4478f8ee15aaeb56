# SPDX-License-Identifier: MIT
"""A clone that warmd launched reaches neither its template nor the daemon nor another clone (programs/launched.c: attack, overwrite)"""
import os
import re
import subprocess
from pathlib import Path

import pytest
from c_programs import CALL
from conftest import PYTHON, TIMEOUT, eventually, exists, need
from launches import WAYS, skeletons

MAIN = ["--ready", "main"]


def start(launches, name, n, args=()):
    env = launches.warm.environment()
    return [subprocess.Popen(launches.argv(name, args, ["-v"]), env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE) for _ in range(n)]


def end(processes):
    for p in processes:
        p.kill()
        p.wait()
        for f in (p.stdin, p.stdout, p.stderr):
            f.close()


@pytest.mark.parametrize("pool", [1, 5])
def test_clones_that_write_all_their_memory(launches, programs, pool):
    """Data, bss, heap, private and shared mappings (one of them untouched before), stack: five write all of it at once, each sees its own words alone, and
    clones made before and after see the template's"""
    name = launches.build([programs.path("launched"), "overwrite"], pool=pool, options=CALL, stdin="pipe")
    as_built, words = "as in the template: 1111111\n", ["a", "bc", "def", "ghijk", "lmnopqr"]
    first = start(launches, name, 5)
    try:
        assert [p.stdout.readline() for p in first] == [as_built] * 5
        for p, word in zip(first, words):
            p.stdin.write(word + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == "written\n"
        # parked before, or forked now, both behind the writing
        later = start(launches, name, 3)
        try:
            assert [p.stdout.readline() for p in later] == [as_built] * 3
        finally:
            end(later)
        for p in first:
            out, _ = p.communicate("look\n", timeout=TIMEOUT)
            assert out == "own: 1111111\n" and p.returncode == 0
    finally:
        end(first)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ready", ["call", "main"])
def test_a_clone_that_tries(launches, programs, way, ready):
    """The template's memfd cannot be opened for writing, cut, sealed, punched or mapped writable; no descriptor of it or of
    the daemon is left; nothing is shared but read-only; signals to its group reach only itself"""
    name = launches.build([programs.path("launched"), "attack"], way=way, pool=2, options=["--ready", ready])
    for _ in range(2):      # the second finds what the first has left
        r = launches.run(name)
        assert r.status == 0 and r.err == "", r
        lines = r.out.splitlines()
        assert lines == ["memfds mapped shared 0", "group 1 session 0", "dumpable 1", "end"] or \
            lines == ["memfds mapped shared 1", "group 1 session 0", "dumpable 1", "end"], r.out
    assert exists(launches.warm.pid())


@pytest.mark.parametrize("way", WAYS)
def test_descriptors_are_those_of_the_cold_program(launches, script, way):
    program = script("import os\n\ndef main():\n    for n in range(1024):\n        try:\n"
                     "            print(n, os.get_inheritable(n), os.readlink(f'/proc/self/fd/{n}').partition(':')[0])\n"
                     "        except OSError:\n            pass\n\nmain()\n")
    launches.same([PYTHON, program], way, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_descriptors_of_a_program_that_reads_its_context(launches, script, way):
    """READY=1 and one read: then just its own end of that socket is left, at end of file"""
    program = script("import os\nfd = int(os.environ.pop('WARM_FD', -1))\nif fd >= 0:\n    os.write(fd, b'READY=1\\n')\n"
                     "    while not os.read(fd, 1 << 16).endswith(b'\\n'):\n        pass\n    assert os.read(fd, 10) == b''\n    os.close(fd)\n"
                     "print(sorted(n for n in map(int, os.listdir('/proc/self/fd')) if os.path.exists(f'/proc/self/fd/{n}')))\n")
    launches.same([PYTHON, program], way, options=CALL, expect_status=0)


def mappings(pid):
    return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()


def test_parked_clones_and_skeletons_hold_nothing_shared_writable(launches, programs):
    """Shared anonymous memory of the program is made again in each clone, and the template's is never mapped writable and shared"""
    name = launches.build([programs.path("launched"), "overwrite"], pool=2, options=CALL, stdin="pipe")
    clones = launches.wait_parked(2)
    inodes = []
    for pid in clones:
        shared = [line.split() for line in mappings(pid) if re.match(r"\S+ .w.s ", line)]
        assert shared and all("memfd" not in words[-1] for words in shared), shared
        inodes.append({words[4] for words in shared})
    assert not inodes[0] & inodes[1], "two clones have one piece of shared memory"
    for pid in skeletons(launches.warm.pid()):
        assert not [line for line in mappings(pid) if re.match(r"\S+ .w.s ", line)]
    launches.remove(name)


def test_sealed(launches, programs):
    """All four seals are on every memfd of a template, as the daemon has it. Nobody but the daemon writes to any of its memfds"""
    import fcntl
    name = launches.build([programs.path("launched"), "exit", "0"], options=MAIN)
    # F_SEAL_SEAL, SHRINK, GROW, WRITE
    found = 0
    directory = Path(f"/proc/{launches.warm.pid()}/fd")
    for entry in directory.iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if not target.startswith("/memfd:"):
            continue
        found += 1
        fd = os.open(entry, os.O_RDWR)
        try:
            # F_GET_SEALS; the word that clients with a lease look at is written to by the daemon: F_SEAL_FUTURE_WRITE for others
            assert fcntl.fcntl(fd, 1034) == (0x17 if "warm-drain" in target else 0xf), target
            with pytest.raises(OSError):
                os.write(fd, b"x")
            with pytest.raises(OSError):
                os.ftruncate(fd, 0)
            with pytest.raises(OSError):
                os.ftruncate(fd, 1 << 30)
        finally:
            os.close(fd)
    assert found >= 2
    launches.remove(name)


def test_a_clone_that_kills_its_group_and_its_parents_group(launches, script):
    """As far as one user's processes can be kept from each other: kill(0) and kill(-pgid) stay with the clone"""
    program = script("import os, signal, sys\n\ndef main():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    os.kill(0, signal.SIGTERM)\n"
                     "    print(os.getpgrp() == os.getpid() != os.getsid(0), os.getpgid(os.getppid()) != os.getpgrp())\n\nmain()\n")
    name = launches.build([PYTHON, program], pool=3)
    before = skeletons(launches.warm.pid())
    r = launches.run(name)
    assert r.out == "True True\n" and r.status == 0
    assert exists(launches.warm.pid())
    assert skeletons(launches.warm.pid()) == before
    launches.wait_parked(3)
    launches.remove(name)


def test_no_terminal_of_the_caller_becomes_the_clones(launches):
    """From a terminal it has one of its own; without, none"""
    script = launches.warm.directory / "terminal.py"
    script.write_text("import os\n\ndef main():\n    try:\n        os.open('/dev/tty', os.O_RDWR)\n"
                      "        print('one,', 'of its own' if os.tcgetpgrp(0) == os.getpgrp() else 'foreign')\n"
                      "    except OSError as e:\n        print('none')\n\nmain()\n", encoding="ascii")
    name = launches.build([PYTHON, script])
    assert launches.run(name, verbose=False).out == "none\n"
    r = launches.run(name, stdin="tty", stdout="tty", stderr="tty", verbose=False)
    assert r.out == "one, of its own\r\n", r
    launches.remove(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
def test_another_user_cannot_launch(launches, programs):
    import shutil
    need(shutil.which("setpriv"), "setpriv")
    name = launches.build([programs.path("launched"), "exit", "0"], options=MAIN)
    launches.warm.directory.chmod(0o755)
    env = launches.warm.environment()
    r = launches.warm.cold(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *launches.argv(name)], env=env)
    assert r.status == 125 and not r.stdout and r.err.startswith("warm: ")
    # even with the directory open to all, the daemon looks at who it is
    launches.warm.runtime_dir.chmod(0o755)
    (launches.warm.runtime_dir / "warmd.sock").chmod(0o777)
    r = launches.warm.cold(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *launches.argv(name)], env=env)
    launches.warm.runtime_dir.chmod(0o700)
    (launches.warm.runtime_dir / "warmd.sock").chmod(0o600)
    assert r.status == 125 and not r.stdout and r.err.startswith("warm: ")
    assert launches.run(name).status == 0
    launches.remove(name)


def test_all_that_ended_is_reaped(launches, programs):
    name = launches.build([programs.path("launched"), "exit", "0"], pool=2, options=MAIN)
    for _ in range(20):
        assert launches.run(name).status == 0
    launches.remove(name)
    daemon = launches.warm.pid()

    def zombies():
        found = []
        for d in os.listdir("/proc"):
            try:
                words = Path(f"/proc/{int(d)}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            except (OSError, ValueError):
                continue
            if int(words[1]) == daemon:
                found.append(d)
        return found
    eventually(lambda: not zombies(), "an end of warmd's zombies")
