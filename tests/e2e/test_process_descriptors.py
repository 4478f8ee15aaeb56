# SPDX-License-Identifier: MIT
"""Descriptors over the launch: the program's own and the caller's (programs/descriptors.c)"""
import os
import resource
import subprocess

import pytest
from c_programs import CALL, refused, stands_before
from conftest import need


@pytest.mark.parametrize("case", ["pipes", "events", "socketpair", "timerfd", "signalfd", "dup_stdio", "async", "shut_down", "unused"])
def test_descriptors(same, programs, case):
    same([programs.path("descriptors"), case], warm_options=CALL, expect_status=0)


def test_pair_whose_numbers_are_no_neighbours(same, warm, programs):
    argv = [programs.path("descriptors"), "far_apart"]
    need(warm.cold(argv).status != 77, "two processors that give out inode numbers")
    same(argv, warm_options=CALL, expect_status=0)


def test_files(warm, programs, tmp_path):
    """The program writes to files that it reads, so each run starts from the same"""
    argv = [programs.path("descriptors"), "files"]

    def fresh():
        (tmp_path / "file").write_text("0123456789")
        (tmp_path / "append").write_text("one ")
    fresh()
    cold = warm.cold(argv, cwd=tmp_path)
    assert cold.status == 0, cold
    fresh()
    warm.build(argv, options=CALL, cwd=tmp_path)
    run = warm.run(argv, options=CALL, strict=True, cwd=tmp_path)
    assert (run.out, run.err, run.status) == (cold.out, cold.err, cold.status)
    assert (tmp_path / "append").read_text() == "one two"


def test_two_clones_share_nothing(warm, programs):
    argv = [programs.path("descriptors"), "apart"]
    warm.build(argv, options=CALL, stdin="pipe")
    two = [subprocess.Popen([warm.program, "run", "--strict", *CALL, "--", *argv], env=warm.environment(), text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for p, word in zip(two, ("alpha", "be")):
            p.stdin.write(word + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == "done\n"
        for p, word in zip(two, ("alpha", "be")):
            out = p.communicate("go\n", timeout=20)[0]
            assert out == f"pipe {word} socket {word} count {len(word)} offset {len(word)}\n"
    finally:
        for p in two:
            p.kill()
            p.wait()


@pytest.mark.parametrize("case, words", [
    ("seqpacket", "message boundaries"), ("passed", "in flight"), ("inotify", "inotify"), ("memfd", "memfd"),
    ("memfd_mapped", "memfd"), ("pidfd", "cannot be made again"), ("strangers", "other end is closed"),
    ("passcred", "options"), ("rcvbuf", "options"),
])
def test_refused_by_name(warm, programs, tmp_path, case, words):
    refused(warm, [programs.path("descriptors"), case], words, cwd=tmp_path)


@pytest.mark.parametrize("case, words", [
    ("tcp", "binds a socket to 127.0.0.1:0"), ("unix", "binds a socket to "), ("deleted", "makes "), ("child", "starts a process (descriptors"),
    ("zombie", "that ends, and does not wait for it"), ("fifo", "makes "), ("lock", "makes "),
    ("posix_lock", "makes "),
])
def test_effects_and_children(warm, programs, tmp_path, case, words):
    stands_before(warm, [programs.path("descriptors"), case], words, cwd=tmp_path)


def test_out_of_band_is_refused_by_name(warm, programs):
    argv = [programs.path("descriptors"), "out_of_band"]
    need(warm.cold(argv).status == 0, "MSG_OOB for unix sockets (Linux 5.15)")
    refused(warm, argv, "out of band")


def test_io_uring(warm, programs):
    argv = [programs.path("descriptors"), "io_uring"]
    need(warm.cold(argv).status == 0, "io_uring (see kernel.io_uring_disabled)")
    stands_before(warm, argv, "uses io_uring")


def with_file_at(path, number):
    def prepare():
        fd = os.open(path, os.O_RDONLY)
        os.dup2(fd, number)
        if fd != number:
            os.close(fd)
    return prepare


def test_inherited_descriptors_reach_the_program(same, programs, tmp_path):
    (tmp_path / "input").write_text("from the caller")
    r = same([programs.path("descriptors"), "caller"], warm_options=CALL, expect_status=0, close_fds=False,
             preexec=with_file_at(tmp_path / "input", 5))
    assert "fd 5: from the caller" in r.out


def test_process_substitution(warm, programs):
    """bash hands a pipe through as /dev/fd/63, and `5<file` a file"""
    argv = [programs.path("descriptors"), "caller"]
    warm.build(argv, options=CALL)
    line = f"{warm.program} run --strict --ready call -- {argv[0]} caller 5</etc/hostname 7< <(echo substituted)"
    cold = warm.cold(["bash", "-c", f"{argv[0]} caller 5</etc/hostname 7< <(echo substituted)"])
    run = warm.cold(["bash", "-c", line])
    assert "fd 7: substituted" in cold.out
    assert run.out == cold.out and run.status == 0, run


def test_a_number_that_both_use_runs_cold(warm, programs, tmp_path):
    argv = [programs.path("descriptors"), "clash"]
    warm.build(argv, options=CALL)
    (tmp_path / "input").write_text("caller")
    prepare = with_file_at(tmp_path / "input", 5)
    cold = warm.cold(argv, preexec=prepare, close_fds=False)
    run = warm.run(argv, options=CALL, verbose=True, preexec=prepare, close_fds=False)
    assert run.out == cold.out and "descriptor 5" in run.err


def test_low_limit_of_descriptors(same, programs):
    """`ulimit -n 64`: numbers in between must not be needed"""
    def prepare():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    same([programs.path("descriptors"), "pipes"], warm_options=CALL, preexec=prepare, expect_status=0)


def test_too_few_descriptors_runs_cold(warm, programs):
    """What the template needs and the caller's limit does not allow ends in a cold run, not in a loss"""
    argv = [programs.path("descriptors"), "events"]
    warm.build(argv, options=CALL)
    for limit in range(8, 24):
        def prepare():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        cold = warm.cold(argv, preexec=prepare)
        run = warm.run(argv, options=CALL, preexec=prepare)
        assert (run.out, run.err, run.status) == (cold.out, cold.err, cold.status), limit
        run = warm.run(argv, options=[*CALL, "--strict"], preexec=prepare)
        assert run.status == 125 and "--strict" in run.err or (run.out, run.status) == (cold.out, cold.status), limit
