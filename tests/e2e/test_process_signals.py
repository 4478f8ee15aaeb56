# SPDX-License-Identifier: MIT
"""Signals and timers over the launch (programs/signals.c)"""
import signal

import pytest
from c_programs import CALL
from conftest import eventually


@pytest.mark.parametrize("case", ["handlers", "pending", "pending_handled", "itimers", "timers", "suspended"])
def test_signals(same, programs, case):
    same([programs.path("signals"), case], warm_options=CALL, expect_status=0)


def ignore_and_block():
    for s in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGRTMIN + 5):
        signal.signal(s, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMAX])


@pytest.mark.parametrize("case", ["inherited", "own", "restored"])
@pytest.mark.parametrize("prepare", [None, ignore_and_block], ids=["plain", "ignored"])
def test_what_the_caller_ignores_and_blocks(same, programs, case, prepare):
    r = same([programs.path("signals"), case], warm_options=CALL, preexec=prepare, expect_status=0)
    assert ("1 ignored" in r.out) == bool(prepare)


def test_another_caller_ignores_other_signals(warm, programs):
    """A template made for one set of ignored signals never serves another wrongly"""
    argv = [programs.path("signals"), "inherited"]
    warm.build(argv, options=CALL)
    cold = warm.cold(argv, preexec=ignore_and_block)
    run = warm.run(argv, options=CALL, preexec=ignore_and_block)
    assert run.stdout == cold.stdout


def test_timer_that_starts_threads(same, programs):
    same([programs.path("signals"), "timer_thread"], warm_options=CALL, expect_status=0)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGQUIT, signal.SIGRTMIN])
def test_a_signal_ends_a_clone(same, programs, sig):
    """The status that the caller sees is the signal's"""
    def send(p):
        assert p.poll() is None
        p.send_signal(sig)
    same([programs.path("signals"), "stopped"], warm_options=CALL, expect_status=-sig,
         interact=lambda p: (eventually(lambda: stopped(p.pid)), send(p), p.send_signal(signal.SIGCONT)))


def stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
        return f.read().rpartition(")")[2].split()[0] == "T"
