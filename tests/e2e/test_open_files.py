# SPDX-License-Identifier: MIT
"""Files that a program has open at its readiness point (programs/opened.c): a clone opens those at their paths, so they must be there; files of
/proc that belong to the program are the clone's; what cannot be opened again is refused by name"""
import contextlib
import os
import stat
import subprocess
from pathlib import Path

import pytest
from c_programs import CALL, refused, stands_before
from conftest import BUILD, PYTHON, TIMEOUT, need

LOG = "links 1, the file at its path: 1\n"


# --- a log that is rotated -----------------------------------------------------------------------------

def rename(path):
    path.rename(path.with_suffix(".1"))


def unlink(path):
    path.unlink()


def replace(path):
    path.rename(path.with_suffix(".1"))
    path.touch()


ROTATED = [rename, unlink, replace]


def test_what_clones_write_to_their_log_changes_nothing(warm, programs, tmp_path):
    argv = [programs.path("opened"), "log", tmp_path / "app.log"]
    warm.build(argv, options=CALL)
    stale = warm.stats()["dropped_stale"]
    for _ in range(3):
        assert warm.run(argv, strict=True, options=CALL).out == LOG
    # and what others do to its contents
    with open(tmp_path / "app.log", "r+", encoding="ascii") as f:
        f.truncate(0)
    assert warm.run(argv, strict=True, options=CALL).out == LOG
    assert (tmp_path / "app.log").read_text(encoding="ascii") == "run\n"
    assert warm.stats()["dropped_stale"] == stale


@pytest.mark.parametrize("rotate", ROTATED)
def test_rotated_log_and_run(warm, programs, tmp_path, rotate):
    """Cold, to a file made anew, and it says why; then warm"""
    log = tmp_path / "app.log"
    log.touch()     # else the template stands in front of its making
    argv = [programs.path("opened"), "log", log]
    warm.build(argv, options=CALL)
    assert warm.run(argv, strict=True, options=CALL).out == LOG
    stale = warm.stats()["dropped_stale"]
    rotate(log)
    r = warm.run(argv, verbose=True, options=CALL)
    assert (r.out, r.status) == (LOG, 0) and "running cold" in r.err, r
    assert warm.stats()["dropped_stale"] == stale + 1 and f"is stale: {log} changed" in warm.log()
    assert log.read_text(encoding="ascii") == "run\n"
    warm.build(argv, options=CALL)
    assert warm.run(argv, strict=True, options=CALL).out == LOG
    assert log.read_text(encoding="ascii") == "run\nrun\n"


@pytest.mark.parametrize("way", ["fork", "parked"])
@pytest.mark.parametrize("rotate", ROTATED)
def test_rotated_log_and_launch(launches, programs, tmp_path, rotate, way):
    """By name: the launch waits for the template that is made anew"""
    log = tmp_path / "app.log"
    name = launches.build([programs.path("opened"), "log", log], way=way, options=CALL)
    for i in range(3):
        r = launches.run(name)
        assert (r.out, r.status) == (LOG, 0), r
        rotate(log)
        r = launches.run(name)
        assert (r.out, r.status) == (LOG, 0), r
        assert log.read_text(encoding="ascii") == "run\n", i
    launches.clear()


@pytest.mark.parametrize("way", ["fork", "parked"])
def test_lost_file_in_shared_memory(launches, programs, way):
    """Contents of what is written in /dev/shm do not count, that it is there does"""
    need(os.access("/dev/shm", os.W_OK), "/dev/shm")
    path = f"/dev/shm/warm-test-{os.getpid()}"
    try:
        Path(path).touch()
        name = launches.build([programs.path("opened"), "log", path], way=way, name=f"lost-{way}", options=CALL)
        assert launches.run(name).out == LOG
        os.unlink(path)
        # of two at most: one that is parked has it open still, one that is given its launch before it is made has none
        for _ in range(2):
            launches.run(name)
        r = launches.run(name)
        assert (r.out, r.status) == (LOG, 0), r
        assert f"is stale: {path} changed" in launches.warm.log()
        launches.clear()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def test_replaced_directory(warm, programs, tmp_path):
    directory = tmp_path / "d"
    directory.mkdir()
    argv = [programs.path("opened"), "directory", directory]
    warm.build(argv, options=CALL)
    (directory / "file").touch()
    assert warm.run(argv, strict=True, options=CALL).out == "the file in it: 1\n"
    stale = warm.stats()["dropped_stale"]
    directory.rename(tmp_path / "old")
    directory.mkdir()
    r = warm.run(argv, verbose=True, options=CALL)
    assert r.out == "the file in it: 0\n" and "running cold" in r.err, r
    assert warm.stats()["dropped_stale"] == stale + 1


# --- /proc ---------------------------------------------------------------------------------------------

def test_files_of_its_own_process(same, programs):
    r = same([programs.path("opened", output="opened"), "own_proc"], warm_options=CALL, expect_status=0)
    assert "no" not in r.out.replace("\n", " ").split(), r


@pytest.mark.parametrize("way", ["fork", "parked"])
def test_files_of_its_own_process_launched(launches, programs, way):
    r = launches.same([programs.path("opened", output="opened"), "own_proc"], way, options=CALL, expect_status=0)
    assert r is None or "no" not in r.out.replace("\n", " ").split(), r


def test_files_of_another_thread(warm, programs):
    refused(warm, [programs.path("opened"), "thread_proc"], "a file of /proc that belongs to another process or thread")


def test_files_of_another_process(warm, programs):
    stands_before(warm, [programs.path("opened"), "other_proc"], "looks at another process (/proc/")


# --- what is not opened again ------------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"])
def test_devices_without_a_state(same, programs, path):
    same([programs.path("opened"), "read", path], warm_options=CALL, expect_status=0)


def can_open(path, flags):
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
        return True
    except OSError:
        return False


def devices(is_kind, paths):
    """That can be opened here; most containers have none"""
    there = [p for p in paths if os.path.exists(p) and is_kind(os.stat(p).st_mode) and can_open(p, os.O_RDONLY)]
    if not there:
        pytest.skip("host: a device that can be opened")
    return there


def test_devices_with_a_state(warm, programs):
    for path in devices(stat.S_ISCHR, ["/dev/net/tun", "/dev/fuse", "/dev/kmsg", "/dev/loop-control", "/dev/kvm"])[:3]:
        stands_before(warm, [programs.path("opened"), "read", path], f"opens the device {path}")


def test_block_device(warm, programs):
    path = devices(stat.S_ISBLK, ["/dev/loop0", "/dev/vda", "/dev/sda", "/dev/nvme0n1"])[0]
    stands_before(warm, [programs.path("opened"), "read", path], f"opens the device {path}")


def test_file_that_could_not_be_opened_again(warm, programs, tmp_path):
    path = tmp_path / "file"
    argv = [programs.path("opened"), "closed", path]
    answer = warm.build(argv, options=CALL)
    assert warm.json("inspect", str(answer["id"]))["boundary"].startswith("makes ") and not path.exists()
    r = warm.run(argv, strict=True, options=CALL)
    assert (r.out, r.err, r.status, path.stat().st_mode & 0o777) == ("open 1\n", "", 0, 0), r


# --- standard descriptors by their names -----------------------------------------------------------------

LOGGER = {"m.py": ("import logging\nlog = logging.getLogger('app')\nout, err = logging.FileHandler('/dev/stdout'), logging.FileHandler('/proc/self/fd/2')\n"
                   "log.addHandler(out)\nlog.addHandler(err)\nlog.warning('at import')\n")}
LOG_MAIN = ("import os, m\nif __name__ == '__main__':\n    print('main', flush=True)\n    m.log.warning('a line')\n"
            "    for h, n in (m.out, 1), (m.err, 2):\n"
            "        a, b = os.fstat(h.stream.fileno()), os.fstat(n)\n        print((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino), flush=True)\n")


@pytest.mark.parametrize("pool", [False, True])
def test_standard_descriptors_by_name(warm, script, tmp_path, pool):
    """/dev/stdout opened at import is, in each clone, its own: a pipe, or a file that is appended to"""
    path = script(LOG_MAIN, "logs.py", **LOGGER)
    cold = warm.cold([PYTHON, path])
    warm.build([PYTHON, path], stdout="pipe", stderr="pipe")
    for _ in range(2):
        run = warm.run([PYTHON, path], strict=True, options=["--pool"] if pool else [])
        assert (run.out, run.err, run.status) == (cold.out, cold.err, 0)
    assert run.out.count("True") == 2
    if pool:
        return
    # appended to what is there, cold and warm
    log = tmp_path / "log"
    with open(log, "a", encoding="ascii") as f:
        f.write("before\n")
        f.flush()
        warm.build([PYTHON, path], stdout="file", stderr="file")
        for strict in (False, True):
            p = warm.popen([PYTHON, path], strict=strict, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
            assert p.wait(timeout=TIMEOUT) == 0
    lines = log.read_text(encoding="ascii").splitlines()
    assert lines[0] == "before" and lines[1:] == 2 * lines[1:len(lines) // 2 + 1] and lines.count("True") == 4, lines


def test_standard_descriptor_that_is_closed_at_the_other_end(warm, script):
    """The clone has it open all the same, as the program would: it is not waited for"""
    path = script("import m\nprint('main')\n", "logs.py", **LOGGER)
    warm.build([PYTHON, path])
    r, w = os.pipe()
    os.close(r)
    p = warm.popen([PYTHON, path], stdout=w, stderr=subprocess.DEVNULL)
    os.close(w)
    assert p.wait(timeout=TIMEOUT) != 0


@pytest.mark.parametrize("code", ["os.path.realpath('/dev/stdout')", "os.readlink('/proc/self/fd/0')", "os.readlink('/dev/fd/2')"])
def test_name_of_a_standard_descriptor(warm, script, code):
    """It is another in each launch"""
    path = script("import m\nprint(m.NAME.rpartition(':')[0].rpartition('/')[2])\n", "named.py", **{"m.py": f"import os\nNAME = {code}\n"})
    stands_before(warm, [PYTHON, path], "asks for the name of its standard descriptor", options=())
