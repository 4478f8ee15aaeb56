# SPDX-License-Identifier: MIT
"""To leave a clone and to come back: detach keys, `warm attach`, viewers, `warm logs`"""
import os
import re
import shutil
import signal
import subprocess

import pytest
from conftest import TIMEOUT, children, eventually, exists, need, read_until, state
from launches import name_of_process
from terminals import open_terminal, sh, template  # noqa: F401

KEYS = "\x1c\x04"
LOOP = "echo ready $(stty size); while read x; do echo got $x; [ \"$x\" = end ] && exit 7; done; exit 9"


def detached(sh, shell, text=LOOP):
    """Launched detached from this shell: its PID"""
    return int(shell.run(sh.line(text, "-d")))


# --- leaving ---

@pytest.mark.parametrize("option, variable, keys", [
    ([], None, KEYS), (["--detach-keys", "ctrl-a,d"], None, "\x01d"), (["--detach-keys=x"], "ctrl-p", "x"), ([], "ctrl-p,ctrl-q", "\x10\x11"),
], ids=["default", "option", "option over variable", "variable"])
def test_detach_keys(sh, open_terminal, option, variable, keys):
    shell = open_terminal()
    if variable:
        shell.run(f"export WARM_DETACH_KEYS={variable}")
    before = shell.run("stty -g")
    shell.say(sh.line(LOOP, *option))
    shell.expect("ready 24 80\r\n")
    clone = sh.pid()
    # typed one after the other, as by a person
    for key in keys:
        shell.send(key)
    assert f"warm: left; to come back: warm attach {clone}\n" in shell.prompt()
    assert shell.status() == 0
    assert shell.run("stty -g") == before
    assert state(clone) == "S"
    shell.run("unset WARM_DETACH_KEYS")
    shell.say(sh.words("attach", clone))
    shell.expect("ready 24 80\r\n")
    shell.say("end")
    shell.expect("got end\r\n")
    shell.prompt()
    assert shell.status() == 7


@pytest.mark.parametrize("words, reason", [
    (["launch", "--detach-keys", "ctrl-1", "sh"], "'ctrl-1' is neither one character nor ctrl- with a letter"),
    (["launch", "--detach-keys=a,,b", "sh"], "detach keys 'a,,b'"),
    (["attach", "--detach-keys", "f1", "1"], "'f1'"),
])
def test_bad_keys_are_named(sh, words, reason):
    r = sh.warm.command(*words, check=False)
    assert r.returncode == 125 and reason in r.stderr
    r = sh.warm.command(*words[:1], *words[-1:], check=False, env={"WARM_DETACH_KEYS": "f1"})
    assert r.returncode == 125 and "'f1'" in r.stderr


def test_keys_that_are_others(sh, open_terminal):
    """The first of the keys alone is the program's, a moment later; with another behind it both are, at once"""
    shell = open_terminal()
    shell.say(sh.line("stty raw; echo ready; head -c 4 | od -An -tx1; stty sane"))
    shell.expect("ready")
    shell.send("\x1cx\x04")
    shell.send("\x1c")
    shell.expect(" 1c 78 04 1c")
    shell.prompt()
    shell.say(sh.line("ulimit -c 0; exec cat"))
    clone = sh.pid()
    eventually(lambda: name_of_process(clone) == "cat", "cat")
    shell.say("text")
    shell.expect("text\r\n")
    shell.send("\x1c")
    shell.prompt()
    assert shell.status() == 131


# --- coming back ---

def test_launched_detached(sh, open_terminal):
    """Another terminal of another size sees what there was, and gets the end and its status"""
    first, second = open_terminal(), open_terminal(rows=40, columns=120)
    clone = detached(sh, first)
    # it prints before anybody is there
    eventually(lambda: "ready 24 80" in sh.logs(clone), "its first line")
    second.say(sh.words("attach", clone))
    second.expect("ready 24 80\r\n")
    second.say("one")
    second.expect("got one\r\n")
    second.say("end")
    second.expect("got end\r\n")
    second.prompt()
    assert second.status() == 7
    assert sh.logs(clone) == "ready 24 80\ngot one\ngot end\n"


def test_size_at_attach(sh, open_terminal):
    first, second = open_terminal(), open_terminal(rows=40, columns=120)
    clone = detached(sh, first, "trap 'echo now $(stty size)' WINCH; echo begin; while :; do read -t 1000 x; done")
    eventually(lambda: "begin" in sh.logs(clone), "its trap")
    second.say(sh.words("attach", clone))
    second.expect("now 40 120\r\n")
    second.resize(90, 30)
    second.expect("now 30 90\r\n")
    second.send(KEYS)
    second.expect("warm: left; it goes on\r\n")
    second.prompt()
    first.say(sh.words("attach", clone))
    first.expect("now 30 90\r\n")
    first.expect("now 24 80\r\n")


def test_viewers(sh, open_terminal):
    """One writes; the others see the same, and what they type changes nothing"""
    writer, viewer, other = open_terminal(), open_terminal(rows=30, columns=100), open_terminal()
    writer.say(sh.line(LOOP))
    writer.expect("ready 24 80\r\n")
    clone = sh.pid()
    before = viewer.run("stty -g")
    viewer.say(sh.words("attach", clone))
    viewer.expect("is attached already: looking on only; Ctrl-C leaves\r\n")
    viewer.expect("ready 24 80\r\n")
    other.say(sh.words("attach", "--view", clone))
    other.expect("ready 24 80\r\n")
    viewer.say("nothing")
    writer.say("typed")
    for t in (writer, viewer, other):
        assert t.expect("got typed\r\n") == b""
    viewer.send("\x03")
    viewer.prompt()
    assert viewer.run("stty -g") == before
    # the writer leaves and comes back, the viewer stays
    writer.send(KEYS)
    writer.prompt()
    writer.say(sh.words("attach", clone))
    writer.expect("got typed\r\n")
    writer.say("more")
    writer.expect("got more\r\n")
    other.expect("got more\r\n")
    writer.say("end")
    for t in (writer, other):
        t.expect("got end\r\n")
        t.prompt()
        assert t.status() == 7


def test_viewer_stops_nobody(sh, open_terminal):
    """One that is stopped is overtaken, and goes on with the newest"""
    writer, viewer = open_terminal(), open_terminal()
    writer.say(sh.line("echo ready; read x; for ((i = 0; i < 60000; i++)); do echo line $i; done; read x"))
    writer.expect("ready\r\n")
    clone = sh.pid()
    viewer.say(sh.words("attach", "--view", clone))
    viewer.expect("ready\r\n")
    pid = next(p for p in children(viewer.child.pid) if name_of_process(p) == "warm")
    os.kill(pid, signal.SIGSTOP)
    viewer.expect("Stopped")
    viewer.prompt()
    writer.say("")
    writer.expect("line 59999\r\n")
    viewer.say("fg")
    viewer.expect("line 59999\r\n")
    writer.send(KEYS)
    writer.prompt()


def test_terminal_is_closed_while_attached(sh, open_terminal):
    """Who came back does not decide about its end"""
    first, second = open_terminal(), open_terminal()
    clone = detached(sh, first)
    second.say(sh.words("attach", clone))
    second.expect("ready 24 80\r\n")
    second.child.close(force=False)
    first.say(sh.words("attach", clone))
    first.expect("ready 24 80\r\n")
    assert exists(clone)


def test_stopped_and_left(sh, open_terminal):
    """One that was stopped goes on when somebody comes"""
    first, second = open_terminal(), open_terminal()
    clone = detached(sh, first)
    eventually(lambda: "ready" in sh.logs(clone), "its first line")
    os.kill(clone, signal.SIGSTOP)
    eventually(lambda: state(clone) == "T", "the stop")
    second.say(sh.words("attach", clone))
    second.expect("ready 24 80\r\n")
    eventually(lambda: state(clone) == "S", "the clone goes on")
    second.send("\x1a")
    second.expect("Stopped")
    second.prompt()
    second.say("fg >/dev/null")
    second.say("end")
    second.expect("got end\r\n")
    second.prompt()
    assert second.status() == 7


# --- what cannot be attached to ---

def test_refused(sh, open_terminal):
    shell = open_terminal()
    assert "is no clone of warmd's ('warm ps' lists them)" in shell.run(sh.words("attach", os.getpid()))
    assert shell.status() == 125
    assert "not a PID: x1" in shell.run(sh.words("attach", "x1"))
    clone = detached(sh, shell, "exit 3")
    eventually(lambda: not exists(clone), "its end")
    sh.none()
    assert f"clone {clone} has ended ('warm logs {clone}' has what it printed)" in shell.run(sh.words("attach", clone))
    # from pipes: no terminal
    r, w = os.pipe()
    with subprocess.Popen([sh.warm.program, "launch", "sh", "-c", "echo ready; read x"], stdin=r, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=sh.env) as p:
        read_until(p.stdout.fileno(), b"ready\n")
        clone = sh.pid()
        assert f"clone {clone} has no terminal of its own" in shell.run(sh.words("attach", clone))
        assert "has no terminal of its own" in sh.warm.command("logs", str(clone), check=False).stderr
        os.write(w, b"\n")
        assert p.wait(TIMEOUT) == 0
    os.close(r)
    os.close(w)
    said = sh.warm.command("attach", str(clone), check=False)
    assert said.returncode == 125 and "neither standard input, output nor error is a terminal" in said.stderr


def test_other_rights_are_refused(sh, open_terminal):
    """Whoever writes to it acts with its rights"""
    need(shutil.which("setpriv"), "setpriv(1)")
    shell = open_terminal()
    clone = detached(sh, shell)
    said = shell.run(f"setpriv --no-new-privs {sh.words('attach', clone)}")
    assert said.startswith("warm: attach: ") and "NoNewPrivs" in said, said
    assert shell.status() == 125
    # what it prints may be what such a caller must not read
    said = shell.run(f"setpriv --no-new-privs {sh.words('logs', clone)}")
    assert said.startswith("warm: logs: ") and "NoNewPrivs" in said and "ready 24 80" not in said, said
    assert shell.status() == 125
    eventually(lambda: "ready 24 80" in shell.run(sh.words("logs", clone)), "its record")


# --- logs ---

def test_logs(sh, open_terminal):
    shell = open_terminal()
    shell.say(sh.line(LOOP))
    shell.expect("ready 24 80\r\n")
    clone = sh.pid()
    assert sh.logs(clone) == "ready 24 80\n"
    p = subprocess.Popen([sh.warm.program, "logs", "-f", str(clone)], stdout=subprocess.PIPE, env=sh.env)
    read_until(p.stdout.fileno(), b"ready 24 80\r\n")
    shell.say("one")
    read_until(p.stdout.fileno(), b"got one\r\n")
    # whose reader is gone: it ends though nothing more is printed
    gone = subprocess.Popen([sh.warm.program, "logs", "-f", str(clone)], stdout=subprocess.PIPE, env=sh.env)
    read_until(gone.stdout.fileno(), b"got one\r\n")
    gone.stdout.close()
    gone.wait(TIMEOUT)
    shell.say("end")
    shell.expect("got end\r\n")
    shell.prompt()
    assert p.stdout.read() == b"got end\r\n"
    assert p.wait(TIMEOUT) == 0
    p.stdout.close()
    sh.none()
    # it was never left, so nothing is kept
    said = sh.warm.command("logs", str(clone), check=False)
    assert said.returncode == 125 and "is no clone of warmd's" in said.stderr


def test_logs_keep_the_newest(sh, open_terminal):
    """256 KiB, and they begin with a whole line"""
    shell = open_terminal()
    clone = detached(sh, shell, "for ((i = 0; i < 40000; i++)); do echo line $i; done")
    eventually(lambda: not exists(clone), "its end")
    sh.none()
    lines = sh.logs(clone).split("\n")
    assert lines[-2:] == ["line 39999", ""] and len(lines) < 40000
    first = int(lines[0].split()[1])
    assert lines[:-1] == [f"line {i}" for i in range(first, 40000)]


# --- floods ---

def test_flood_while_nobody_is_attached(sh, open_terminal):
    """warmd takes it, answers others meanwhile, and its memory stays what it was"""
    def memory(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1])
    shell = open_terminal()
    daemon = sh.warm.pid()
    sh.warm.command("stats")
    before = memory(daemon)
    clone = detached(sh, shell, "exec yes")

    def written():
        with open(f"/proc/{clone}/io", encoding="ascii") as f:
            return int(re.search(r"wchar: (\d+)", f.read())[1])
    for part in range(1, 4):
        eventually(lambda: written() > part * 1024 * 1024, "more output")    # noqa: B023
        assert [p["pid"] for p in sh.running()] == [clone]
        assert shell.run(sh.line("echo launched")) == "launched\n"
    assert memory(daemon) < before + 4096
    os.kill(clone, signal.SIGKILL)
    sh.none()
