# SPDX-License-Identifier: MIT
"""A real terminal with job control: bash in a pty, `warm run` and launches by warmd in its foreground and background.

Each test does the same dialogue twice, cold and warm, and compares what the terminal showed.
"""
import contextlib
import os
import re
import signal

import pytest
from conftest import PYTHON, TIMEOUT, eventually, need
from launches import Launches, launches_of

pexpect = pytest.importorskip("pexpect")
PROMPT = "READY> "

SCRIPT = """
import sys

def signals():
    # a pipe that becomes readable with each signal that has a handler: also with one that comes just before a wait
    import os, signal
    r, w = os.pipe()
    os.set_blocking(w, False)
    signal.set_wakeup_fd(w)
    return r

def main():
    what = sys.argv[1]
    if what == "tty":
        import os
        print([os.isatty(i) for i in range(3)], sys.stdout.line_buffering, os.get_terminal_size())
        print(os.tcgetpgrp(0) == os.getpgrp(), os.getpgrp() == os.getpid(), os.ttyname(0) == os.ttyname(1))
    elif what == "wait":
        import os
        caught = signals()
        print("waiting", flush=True)
        while True:
            os.read(caught, 1)
    elif what == "input":
        import readline
        print("got", repr(input("name? ")))
        print("got", repr(input("again? ")))
    elif what == "getpass":
        import getpass
        print("secret", repr(getpass.getpass("word: ")))
    elif what == "resize":
        import os, select, signal
        caught = signals()
        def changed(*_):        # maybe in the middle of the print below
            os.write(1, b"now %r\\n" % (tuple(os.get_terminal_size()),))
        signal.signal(signal.SIGWINCH, changed)
        print("was", tuple(os.get_terminal_size()), flush=True)
        while 0 not in select.select([0, caught], [], [])[0]:
            os.read(caught, 1)
        sys.stdin.readline()
    elif what == "lines":
        for i in range(200):
            print("line", i)
    elif what == "pager":
        import subprocess
        subprocess.run(["less"], input="\\n".join(f"page {i}" for i in range(200)), text=True)
        print("left the pager")
    elif what == "slow":
        print("one")            # seen at once, as the terminal's lines are
        sys.stdin.readline()
        print("two")
    elif what == "hup":
        import os, signal
        caught = signals()
        def hung_up(*_):
            with open(sys.argv[2], "w") as f:
                f.write("hung up\\n")
            sys.exit(0)
        signal.signal(signal.SIGHUP, hung_up)
        print("waiting", flush=True)
        while True:
            os.read(caught, 1)

main()
"""


def default_signals():
    """Python ignores these, and ptyprocess hands that on"""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


class Shell:
    """bash in a terminal of its own. say(line) types it; the screen's bytes are collected"""

    def __init__(self, env, rows=24, columns=80):
        self.child = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], env={**env, "PS1": PROMPT, "TERM": "xterm", "LESS": ""},
                                   timeout=TIMEOUT, dimensions=(rows, columns), echo=False, preexec_fn=default_signals)
        self.expect(re.escape(PROMPT))
        self.run("bind 'set enable-bracketed-paste off' 2>/dev/null; stty -echo; PROMPT_COMMAND=")

    def expect(self, pattern):
        self.child.expect(pattern)
        return self.child.before

    def say(self, line):
        self.child.send(line + "\n")

    def prompt(self):
        return self.expect(re.escape(PROMPT)).decode(errors="replace").replace("\r\n", "\n")

    def run(self, line):
        """A whole command: what it showed"""
        self.say(line)
        return self.prompt()

    def status(self):
        return int(self.run("echo status $?").split()[-1])

    def close(self):
        self.child.close(force=True)


WAYS = ["run", "pool", "launch"]


@pytest.fixture(params=WAYS)
def dialogue(request, warm, tmp_path):
    """dialogue(fn, *arguments): fn(shell, command) cold and then warm, its results equal; and warm it was

    run      in the caller's own process, with its terminal
    pool     `warm run --pool`: a parked clone with a terminal of its own
    launch   `warm launch`, the same
    """
    need(os.access("/bin/bash", os.X_OK), "bash")
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    way = request.param
    counted = "warm" if way == "run" else "launched"

    def both(fn, *arguments, launches=1):
        argv = [PYTHON, path, *arguments]
        words = " ".join(map(str, argv))
        results = []
        options = [] if way == "run" else ["--name", "dialogue", "--pool", "1"]
        warm_words = {"run": f"{warm.program} run --strict -- {words}",
                      "pool": f"{warm.program} run --pool --strict -- {words}",
                      "launch": f"{warm.program} launch dialogue"}[way]
        # the template first: one that was built in a terminal
        warm.build(argv, options=options, stdin="tty", stdout="tty", stderr="tty", env={"TERM": "xterm", "LESS": "", "PS1": PROMPT})
        if way != "run":
            Launches(warm).wait_parked()
        for command in (words, warm_words):
            before = warm.launches(counted)
            shell = Shell(warm.environment())
            try:
                results.append(fn(shell, command))
            finally:
                shell.close()
        assert results[0] == results[1]
        assert warm.launches(counted) == before + launches
        return results[1]
    with launches_of(warm) if way != "run" else contextlib.nullcontext():
        yield both


def test_terminal_is_the_callers(dialogue):
    def talk(shell, command):
        return shell.run(command)
    out = dialogue(talk, "tty")
    assert "[True, True, True] True os.terminal_size(columns=80, lines=24)" in out
    assert "True True True" in out


def test_interrupt_key(dialogue):
    def talk(shell, command):
        shell.say(command)
        shell.expect("waiting")
        shell.child.sendintr()
        out = shell.prompt()
        # which line it was in differs from run to run
        return re.findall(r", in (\S+)|^(KeyboardInterrupt)", out, re.M), shell.status()
    out, status = dialogue(talk, "wait")
    assert out == [("<module>", ""), ("main", ""), ("", "KeyboardInterrupt")] and status == 130


def test_quit_key(dialogue):
    def talk(shell, command):
        shell.run("ulimit -c 0")
        shell.say(command)
        shell.expect("waiting")
        shell.child.send("\x1c")
        shell.prompt()
        return shell.status()
    assert dialogue(talk, "wait") == 131


def test_stop_key_fg_bg_and_kill(dialogue):
    def talk(shell, command):
        shell.say(command)
        shell.expect("waiting")
        shell.child.send("\x1a")
        seen = [shell.expect(re.escape(PROMPT)).count(b"Stopped")]
        seen.append(shell.status())
        shell.run("bg >/dev/null 2>&1")
        eventually(lambda: "Running" in shell.run("jobs"), "a running job")
        shell.say("fg >/dev/null")
        eventually(lambda: os.tcgetpgrp(shell.child.fileno()) != shell.child.pid, "the job in the foreground")
        shell.child.send("\x1a")
        shell.expect(re.escape(PROMPT))
        seen.append("Stopped" in shell.run("jobs"))
        shell.run("kill %1; bg >/dev/null 2>&1")
        shell.run("wait %1 2>/dev/null")
        seen.append("Terminated" in shell.run("jobs") or not shell.run("jobs").strip())
        return seen
    assert dialogue(talk, "wait") == [1, 148, True, True]


def test_resize(dialogue):
    def talk(shell, command):
        shell.say(command)
        seen = []
        shell.expect("was ")
        shell.child.expect(r"\(\d+, \d+\)")
        seen.append(shell.child.after)
        shell.child.setwinsize(40, 132)
        shell.expect("now ")
        shell.child.expect(r"\(\d+, \d+\)")
        seen.append(shell.child.after)
        shell.say("")
        shell.prompt()
        seen.append(shell.run("stty size"))
        return seen
    assert dialogue(talk, "resize") == [b"(80, 24)", b"(132, 40)", "40 132\n"]


def test_another_size_than_at_the_build(warm, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    warm.build([PYTHON, path, "tty"], stdin="tty", stdout="tty", stderr="tty", env={"TERM": "xterm", "LESS": "", "PS1": PROMPT})
    shell = Shell(warm.environment(), 50, 111)
    try:
        assert "columns=111, lines=50" in shell.run(f"{warm.program} run --strict {PYTHON} {path} tty")
    finally:
        shell.close()


def test_input_with_line_editing(dialogue):
    def talk(shell, command):
        shell.run("stty echo")
        shell.say(command)
        shell.expect("name\\? ")
        shell.child.send("abd\x7fc\x01>\n")       # rubout, to the line's start
        shell.expect("again\\? ")
        shell.child.send("\x1b[A\n")                # the line before
        return re.findall(r"got '[^']*'", shell.child.before.decode() + shell.prompt())
    assert dialogue(talk, "input") == ["got '>abc'", "got '>abc'"]


def test_getpass(dialogue):
    def talk(shell, command):
        shell.run("stty echo")
        shell.say(command)
        shell.expect("word: ")
        shell.say("hidden words")
        out = shell.prompt()
        return out.replace("\n", ""), shell.run("stty -a | grep -o -- '-\\?echo '")
    out, _ = dialogue(talk, "getpass")
    assert out == "secret 'hidden words'"


def test_lines_come_at_once(dialogue):
    def talk(shell, command):
        shell.say(command)
        shell.expect("one")
        shell.say("")
        return shell.prompt()
    assert "two" in dialogue(talk, "slow")


@pytest.mark.parametrize("own", [False, True], ids=["piped", "its own"])
def test_pager(dialogue, own):
    need(os.access("/usr/bin/less", os.X_OK), "less")

    def talk(shell, command):
        shell.say(command if own else command + " | less")
        word = "page" if own else "line"
        shell.expect(f"{word} 10")
        shell.child.send("G")
        shell.expect(f"{word} 199")
        shell.child.send("q")
        out = shell.prompt()
        return "left the pager" in out, shell.run("echo ${PIPESTATUS[0]}").split()
    assert dialogue(talk, "pager" if own else "lines") == (own, ["0"])


def test_terminal_is_closed(dialogue, tmp_path):
    note = tmp_path / "note"

    def talk(shell, command):
        note.unlink(missing_ok=True)
        shell.say(command)
        shell.expect("waiting")
        shell.child.close(force=False)
        eventually(note.exists, "the note of a hang-up")
        eventually(lambda: note.read_text() == "hung up\n", "its words")
        return True
    dialogue(talk, "hup", note)


def test_background_job_that_reads_is_stopped(dialogue):
    def talk(shell, command):
        shell.say(command + " &")
        shell.prompt()
        eventually(lambda: "Stopped" in shell.run("jobs"), "the stop of a job that reads the terminal")
        shell.say("fg >/dev/null")
        shell.child.send("typed\n")
        return bool(shell.prompt()), shell.status()
    assert dialogue(talk, "slow")[1] == 0


# --- in scripts ---

LINES = {
    "pipe": "{c} | cat -n | tail -1",
    "substitution": "x=$({c}); echo \"${{#x}} ${{x##*line}}\"",
    "status of a pipe": "{c} | {{ cat >/dev/null; false; }}; echo ${{PIPESTATUS[*]}}",
    "nobody reads": "exec 9> >(true); wait $!; {c} >&9 9>&-; echo $?",
    "broken pipe": "{c} | head -1; echo ${{PIPESTATUS[*]}}",
    "nohup": "nohup {c} </dev/null 2>/dev/null | tail -1",
    "ignored interrupt": "trap '' INT; {c} | tail -1",
    "subshell": "( {c} ) | tail -1",
    "background": "f=$(mktemp); {c} >$f & wait $!; echo $?; tail -1 $f; rm $f",
    "exec": "exec {c}",
    "time": "TIMEFORMAT=%0R; time {c} | tail -1",
    "closed input": "{c} <&- | tail -1",
    "redirected": "{c} >/dev/null; echo $?",
    "here document": "{c} <<< text | tail -1",
    "env": "env -u HOME {c} | tail -1",
    "timeout": "timeout 20 {c} | tail -1",
    "xargs": "echo lines | xargs {p} | tail -1",
    "setsid": "setsid -w {c} | tail -1",
}


@pytest.mark.parametrize("name", LINES)
def test_in_scripts(warm, tmp_path, name):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    results = []
    words = f"{PYTHON} {path}"
    for command in (words, f"{warm.program} run -- {words}"):
        line = LINES[name].format(c=command + " lines", p=command)
        for _ in range(2):      # warm the second time, or rightly cold
            r = warm.cold(["bash", "-c", line])
            warm.idle()
            results.append((r.out, r.err, r.status))
    assert results[0] == results[1] == results[2] == results[3]
