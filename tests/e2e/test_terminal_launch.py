# SPDX-License-Identifier: MIT
"""Clones with a terminal of their own, as their caller sees them: redirections, settings afterwards, job control of the
shell outside and of one inside, sizes, line editing, floods. test_terminal.py compares dialogues with the cold run's"""
import contextlib
import hashlib
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from conftest import PYTHON, TIMEOUT, children, eventually, exists, need, state
from launches import descriptors_of, name_of_process, skeletons
from screens import Screen
from terminals import PROMPT, SET_PROMPT, VARIABLES, Clones, open_terminal, sh, switches, template, wait_calm  # noqa: F401

ISATTY = 'for i in 0 1 2; do [ -t $i ] && echo -n "tty " || echo -n "no "; done; '


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def foreground(terminal, pid):
    """Is the process of the group in the foreground?"""
    with contextlib.suppress(OSError):
        return os.tcgetpgrp(terminal.child.fileno()) == os.getpgid(pid)
    return False


# --- redirections ---

@pytest.mark.parametrize("program, after, typed, shown, files", [
    (ISATTY + "echo; echo err >&2", "| cat", None, "tty no tty \nerr\n", {}),
    (ISATTY + "echo; echo err >&2", "2> log", None, "tty tty no \n", {"log": "err\n"}),
    (ISATTY + "cat; echo err >&2", "< file", None, "no tty tty text\nerr\n", {}),
    ("echo name? >&2; read a; echo got $a", "> out", "typed", "name?\n", {"out": "got typed\n"}),
    ("cat; [ -t 2 ] && echo err >&2; (echo more >/dev/tty)", "< file > out", None, "err\nmore\n", {"out": "text\n"}),
    ("echo out; echo err >&2; read a </dev/tty; echo $a", "< file | cat", "typed", "out\nerr\ntyped\n", {}),
    ("echo out; tty; echo err >&2", "< file > out 2> log", None, "", {"out": "out\nnot a tty\n", "log": "err\n"}),
    ("stty -g >/dev/null && stty size; echo out", "2>&1 | cat", None, "24 80\nout\n", {}),
], ids=["| cat", "2> log", "< file", "> out", "< file > out", "< file | cat", "all", "2>&1 | cat"])
def test_redirected(sh, open_terminal, tmp_path, program, after, typed, shown, files):
    (tmp_path / "file").write_text("text\n")
    shell = open_terminal()
    shell.run(f"cd {tmp_path}")
    before = shell.run("stty -g")
    # the prompt comes when all of the pipe has ended
    shell.say(f"{sh.line(program)} {after}")
    if typed:
        # it waits in the terminal, whoever reads it
        shell.say(typed)
    came = shell.expect(PROMPT).decode().replace("\r\n", "\n")
    if "| cat" in after:
        # cat(1) and the client write to the terminal, each in pieces of its own: "err" may come in the middle of a line
        assert sorted(came) == sorted(shown)
    else:
        assert sorted(came.split("\n")) == sorted(shown.split("\n"))
    assert shell.run("echo ${PIPESTATUS[0]}") == "0\n"
    assert {name: (tmp_path / name).read_text() for name in files} == files
    assert shell.run("stty -g") == before


def test_others_of_the_pipeline_print(sh, open_terminal):
    """The clone has the terminal, to read a line; what tee(1) prints meanwhile has its carriage returns"""
    shell = open_terminal()
    shell.say(sh.line("echo one; read x; echo two; read x; echo got $x") + " | tee /dev/null")
    shell.expect("one\r\n")
    eventually(shell.raw, "the clone has the terminal")
    shell.say("")
    assert shell.expect("two\r\n") == b""
    shell.say("typed")
    assert shell.prompt() == "got typed\n"


# --- the caller's terminal afterwards ---

# bash ignores SIGQUIT
PLAIN = f'ulimit -c 0; exec {PYTHON} -Sc "print(\'ready\', flush=True); import sys, signal; signal.signal(2, signal.SIG_DFL); input(); sys.exit(7)"'
ENDS = ["exit", "ctrl-c", "ctrl-\\", "kill -9 clone", "kill -9 leader", "kill -9 warm", "kill clone", "kill warm", "kill -9 skeleton"]


@pytest.mark.parametrize("how", ENDS)
def test_settings_afterwards(sh, open_terminal, how):
    """A shell that is no interactive one puts nothing right by itself"""
    t = open_terminal("/bin/bash", "-c", "ulimit -c 0; trap : INT QUIT TERM; echo begin; read; "
                      + sh.line(PLAIN) + "; echo status $?; read")
    t.expect("begin\r\n")
    before = t.settings()
    t.say("")
    t.expect("ready\r\n")
    assert t.raw()
    clone = sh.pid()
    daemon = sh.warm.pid()
    relay = next(p for p in children(t.child.pid) if name_of_process(p) == "warm")
    victims = {"clone": clone, "leader": parent(clone), "warm": relay, "skeleton": next(iter(skeletons(daemon)), None)}
    status = {"exit": 7, "ctrl-c": 130, "ctrl-\\": 131, "kill clone": 143, "kill warm": 143, "kill -9 skeleton": 7}.get(how, 137)
    if how.startswith("kill"):
        os.kill(victims[how.split()[-1]], signal.SIGKILL if "-9" in how else signal.SIGTERM)
    if how in ("exit", "kill -9 skeleton"):
        t.say("go on")
    elif how == "ctrl-c":
        t.send("\x03")
    elif how == "ctrl-\\":
        t.send("\x1c")
    t.expect(f"status {status}")
    # warmd does it when warm cannot, a moment later
    eventually(lambda: t.settings() == before, "the settings as they were")
    eventually(lambda: not exists(clone), "the clone's end")
    sh.none()


def test_daemon_dies(make_warm, open_terminal):
    """The clone goes on with its terminal, and its end and status are told"""
    warm = make_warm()
    warm.build(["/bin/bash"], options=["--name", "sh", "--ready", "main"], stdin="tty", stdout="tty", stderr="tty", env=VARIABLES)
    sh = Clones(warm)
    shell = open_terminal(env=warm.environment())
    before = shell.run("stty -g")
    shell.say(sh.line("echo ready; while read x; do echo got $x; [ $x = end ] && exit 7; done"))
    shell.expect("ready\r\n")
    daemon = warm.pid()
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: not exists(daemon), "the end of warmd")
    shell.say("line")
    shell.expect("got line\r\n")
    shell.say("end")
    assert "got end\n" in shell.prompt()
    assert shell.status() in (7, 125)
    assert shell.run("stty -g") == before


# --- a shell with job control inside ---

def test_bash_inside(sh, open_terminal):
    shell = open_terminal()
    outside = shell.run("echo $$").strip()
    shell.say(sh.words("launch", "sh", "--norc", "--noprofile", "-i"))
    shell.quieten()
    inside = shell.run("echo $$").strip()
    assert inside != outside
    # no job, no word about it
    assert shell.run("jobs; tty | cut -d/ -f-3") == "/dev/pts\n"
    wait_calm(inside)
    since = switches(inside)
    shell.send("half a line")
    wait_calm(inside, since)
    shell.send("\x03")
    assert shell.prompt() == "^C\n"
    assert shell.status() == 130
    # Ctrl-Z of a job inside is nothing to the shell outside
    shell.say("sleep 1000")
    eventually(lambda: any(name_of_process(p) == "sleep" for p in children(int(inside))), "the job")
    shell.send("\x1a")
    shell.expect("[1]+  Stopped                 sleep 1000\r\n" + PROMPT)
    assert shell.run("bg") == "[1]+ sleep 1000 &\n"
    assert shell.run("jobs") == "[1]+  Running                 sleep 1000 &\n"
    shell.say("fg")
    shell.expect("sleep 1000\r\n")
    job = next(p for p in children(int(inside)) if name_of_process(p) == "sleep")
    eventually(lambda: Path(f"/proc/{job}/stat").read_text().split()[4] == Path(f"/proc/{job}/stat").read_text().split()[7],
               "the job in the foreground")
    shell.send("\x03")
    shell.prompt()
    assert shell.status() == 130
    shell.run("sleep 1000 & sleep 1001 &")
    shell.run("kill %1")
    shell.run("wait %1 2>/dev/null")
    assert shell.run("kill %2; wait %2 2>/dev/null; echo $?").split()[-1] == "143"
    shell.say("exit 7")
    assert shell.prompt() == "exit\n"
    assert shell.status() == 7
    assert shell.run("echo $$").strip() == outside


def test_window_is_closed_on_bash_inside(sh, open_terminal, tmp_path):
    """It and its jobs get SIGHUP"""
    shell = open_terminal()
    shell.say(sh.words("launch", "sh", "--norc", "--noprofile", "-i"))
    shell.quieten()
    inside = int(shell.run("echo $$"))
    shell.run(f"sleep 1000 & (trap 'echo hup > {tmp_path}/note; exit' HUP; echo > {tmp_path}/trapped; while :; do read -t 1; done <> <(:)) &")
    eventually((tmp_path / "trapped").exists, "the trap")
    jobs = children(inside)
    assert len(jobs) >= 2
    shell.child.close(force=False)
    eventually(lambda: not any(map(exists, [inside, *jobs])), "the end of bash and its jobs")
    assert (tmp_path / "note").read_text() == "hup\n"


# --- the shell outside ---

def test_stopped_from_outside(sh, open_terminal):
    shell = open_terminal()
    shell.say(sh.line("echo ready; read x; echo got $x; exit 3"))
    shell.expect("ready\r\n")
    clone = sh.pid()
    os.kill(clone, signal.SIGSTOP)
    assert "Stopped" in shell.prompt()
    assert state(clone) == "T"
    shell.say("fg >/dev/null")
    eventually(lambda: state(clone) == "S", "the clone goes on")
    shell.say("text")
    assert shell.prompt() == "got text\n"
    assert shell.status() == 3


def test_started_in_the_background(sh, open_terminal):
    """It prints, and asks; then it is brought to the foreground"""
    shell = open_terminal()
    shell.say(sh.line("echo one; until [ -e /proc/$PPID/cwd/x$$ ]; do read x; echo got $x; break; done") + " &")
    shell.expect("one\r\n")
    eventually(lambda: "Stopped" in shell.run("jobs"), "the stop of a job that reads the terminal")
    shell.say("fg >/dev/null")
    shell.say("typed")
    shell.expect("got typed\r\n")
    shell.prompt()
    assert shell.status() == 0


def test_two_at_once(sh, open_terminal, tmp_path):
    """One in the background prints while the other has the keyboard"""
    go = tmp_path / "go"
    os.mkfifo(go)
    fifo = os.open(go, os.O_RDWR | os.O_CLOEXEC)
    shell = open_terminal()
    shell.say(sh.line(f"echo first; read x < {go}; echo first $x; read x < {go}; echo first $x") + " &")
    shell.expect("first\r\n")
    shell.say(sh.line("echo second; while read x; do echo second $x; done"))
    shell.expect("second\r\n")
    os.write(fifo, b"one\n")
    shell.expect("first one\r\n")
    shell.say("a line")
    shell.expect("second a line\r\n")
    os.write(fifo, b"two\n")
    shell.expect("first two\r\n")
    shell.say("another")
    shell.expect("second another\r\n")
    shell.send("\x04")
    shell.prompt()
    shell.run("wait 2>/dev/null; jobs")
    os.close(fifo)
    assert shell.run("stty -a | grep -o -w -e '-*icanon' -e '-*isig'").split() == ["isig", "icanon"]


def test_started_in_the_background_of_a_raw_terminal(sh, open_terminal, tmp_path):
    """It prints whole newlines, and in the foreground it has the settings that the terminal has then"""
    go = tmp_path / "go"
    shell = open_terminal()
    shell.run(f"(until [ -e {go} ]; do /bin/sleep 0.01; done; exec {sh.line('echo begun; until read x; do :; done; echo got $x; stty -g')}) &")
    before = shell.run("stty -g")
    shell.say("stty raw; cat; stty sane; stty -echo")
    eventually(shell.raw, "a raw terminal")
    go.write_text("")
    shell.expect("begun\r\n")
    os.killpg(os.tcgetpgrp(shell.child.fileno()), signal.SIGTERM)
    shell.prompt()
    eventually(lambda: "Stopped" in shell.run("jobs"), "the stop of a job that reads the terminal")
    shell.run(f"stty {before.strip()}")
    shell.say("fg >/dev/null")
    shell.say("typed")
    shell.expect("got typed\r\n")
    assert shell.prompt() == before


def test_script_is_stopped(sh, open_terminal, tmp_path):
    """The shell outside waits for the script, not for warm"""
    shell = open_terminal()
    path = tmp_path / "script"
    path.write_text(sh.line("echo ready; read x; echo got $x; exit 3") + "\necho script $?\n")
    shell.say(f"/bin/bash {path}")
    shell.expect("ready\r\n")
    clone = sh.pid()
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.prompt()
    assert shell.status() == 148
    eventually(lambda: state(clone) == "T", "the clone stands")
    shell.say("fg >/dev/null")
    eventually(lambda: state(clone) == "S", "the clone goes on")
    shell.say("text")
    assert shell.prompt() == "got text\nscript 3\n"


def test_kill_of_a_stopped_job(sh, open_terminal):
    shell = open_terminal()
    shell.say(sh.line("echo ready; read x"))
    shell.expect("ready\r\n")
    clone = sh.pid()
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.prompt()
    shell.run("kill %1")
    eventually(lambda: not exists(clone), "the clone's end")
    shell.run("wait %1 2>/dev/null")
    eventually(lambda: "Terminated" in shell.run("jobs") or not shell.run("jobs").strip(), "the job's end")


@pytest.fixture
def screen(sh, tmp_path):
    """An interactive bash on a screen of 90x20"""
    with Screen(sh.warm, tmp_path, "exec env -u SHELL bash --norc --noprofile -i", 90, 20, VARIABLES) as s:
        s.expect(lambda lines: lines[0].startswith("bash-"))
        s.text(SET_PROMPT + "; clear\r")
        s.expect(lambda lines: "READY>" in lines)
        yield s


@pytest.fixture
def numbers(tmp_path):
    path = tmp_path / "numbers"
    path.write_text("".join(f"{i}\n" for i in range(1, 201)))
    return path


def test_less_stops_itself(sh, screen, numbers):
    """It catches SIGTSTP, puts the terminal right and stops; after fg the screen is drawn again"""
    need(os.access("/usr/bin/less", os.X_OK), "less")
    page = [str(i) for i in range(1, 20)]
    screen.text(f"clear; {sh.line(f'less {numbers}')}\r")
    screen.expect(lambda lines: lines[:19] == page)
    wait_calm(sh.pid())
    screen.keys("C-z")
    screen.expect(lambda lines: any("Stopped" in line for line in lines) and "READY>" in lines)
    screen.text("clear; stty -a | tr -s ' ;' '\\n' | grep -x -e '-*icanon' -e '-*echo'\r")
    screen.expect(lambda lines: lines[:3] == ["icanon", "echo", "READY>"])
    screen.resize(80, 12)
    screen.text("fg\r")
    screen.expect(lambda lines: lines[:11] == page[:11])
    screen.keys("Space")
    screen.expect(lambda lines: lines[:11] == [str(i) for i in range(12, 23)])
    screen.text("q")
    screen.expect(lambda lines: "READY>" in lines)
    screen.text("clear; echo status $?\r")
    screen.expect(lambda lines: "status 0" in lines)


def test_vim_inside(sh, screen, tmp_path):
    vim = shutil.which("vim") or shutil.which("vim.tiny")
    need(vim, "vim")
    (tmp_path / "text").write_text("hello\n")
    screen.text(f"clear; {sh.line(f'exec {vim} -u NONE -N -n {tmp_path}/text')}\r")
    edits = lambda lines: lines[:2] == ["hello", "~"]       # noqa: E731
    screen.expect(lambda lines: edits(lines) and lines[18] == "~")
    screen.keys("C-z")
    screen.expect(lambda lines: any("Stopped" in line for line in lines) and "READY>" in lines)
    screen.text("clear; jobs\r")
    screen.expect(lambda lines: lines[0].startswith("[1]+  Stopped"))
    screen.text("fg\r")
    screen.expect(lambda lines: edits(lines) and lines[18] == "~")
    screen.resize(70, 10)
    screen.expect(lambda lines: edits(lines) and lines[8] == "~" and lines[9] != "~")
    screen.text("Oabove\x1b:wq\r")
    screen.expect(lambda lines: "READY>" in lines)
    assert (tmp_path / "text").read_text() == "above\nhello\n"


# --- what programs see of it ---

def test_size_and_type(sh, open_terminal):
    shell = open_terminal(rows=33, columns=111)
    assert shell.run(sh.line("stty size; echo $TERM; tput cols 2>/dev/null || echo 111")) == "33 111\nxterm\n111\n"
    assert shell.run("TERM=vt100 " + sh.line("echo $TERM")) == "vt100\n"
    shell.resize(50, 10)
    assert shell.run(sh.line("stty size; shopt -s checkwinsize; (:); echo $LINES $COLUMNS")) == "10 50\n10 50\n"


CURSES = """
import curses, os
def main(screen):
    while True:
        screen.erase()
        rows, columns = screen.getmaxyx()
        screen.addstr(0, 0, f"size {columns}x{rows}")
        screen.addstr(rows - 1, 0, "bottom")
        screen.refresh()
        if screen.getch() == ord("q"):
            return
curses.wrapper(main)
"""


def test_curses(sh, screen, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(CURSES)
    screen.text(f"clear; {sh.line(f'exec {PYTHON} {path}')}\r")
    screen.expect(lambda lines: lines[0] == "size 90x20" and lines[19] == "bottom")
    screen.resize(60, 15)
    screen.expect(lambda lines: lines[0] == "size 60x15" and lines[14] == "bottom")
    screen.text("q")
    screen.expect(lambda lines: "READY>" in lines)


def test_python_repl(sh, screen):
    screen.text(f"clear; {sh.line(f'exec {PYTHON} -q')}\r")
    screen.expect(lambda lines: ">>>" in lines)
    screen.text("print(10+)")
    screen.keys("Left")
    screen.text("5\r")
    screen.expect(lambda lines: lines[-1] == "" and ">>> print(10+5)" in lines and "15" in lines)
    screen.text("half a li")
    screen.keys("C-c")
    screen.expect(lambda lines: "KeyboardInterrupt" in lines)
    screen.text("exit(9)\r")
    screen.expect(lambda lines: "READY>" in lines)
    screen.text("echo status $?\r")
    screen.expect(lambda lines: "status 9" in lines)


def test_nested(sh, open_terminal):
    """A clone in a terminal of script(1), in a shell that is a clone; each Ctrl-C and end reaches the innermost"""
    need(os.access("/usr/bin/script", os.X_OK), "script(1)")
    shell = open_terminal()
    shell.say(sh.words("launch", "sh", "--norc", "--noprofile", "-i"))
    shell.quieten()
    inner = sh.line("echo innermost; read x; echo got $x; read y; exit 5")
    shell.say("script -qec " + "'" + inner.replace("'", "'\\''") + "' /dev/null")
    shell.expect("innermost\r\n")
    shell.say("text")
    shell.expect("got text\r\n")
    shell.send("\x03")
    shell.prompt()
    assert shell.status() == 130
    shell.say("exit 4")
    shell.prompt()
    assert shell.status() == 4


# --- bytes ---

RAW = """
import os, sys, tty
tty.setraw(0)
os.write(1, b"raw\\n")
want = int(sys.argv[1])
data = b""
while len(data) < want:
    data += os.read(0, 65536)
import hashlib
os.write(1, b"sum %d %s\\n" % (len(data), hashlib.sha256(data).hexdigest().encode()))
if len(sys.argv) > 2:
    out = bytes(range(256)) * 16
    while out:
        out = out[os.write(1, out):]
    os.write(1, b"end\\n")
"""


def test_every_byte(sh, open_terminal, tmp_path):
    path = tmp_path / "raw.py"
    path.write_text(RAW)
    data = bytes(range(256)) * 2 + "äöü € 🐧 \x1b[31mred\x1b[0m \x1b[200~paste\x1b[201~".encode() + b"\x1c\x1c\x1cx\x04\x1d\x03\x1a"
    shell = open_terminal()
    shell.say(sh.line(f"exec {PYTHON} {path} {len(data)} back"))
    shell.expect("raw\n")
    shell.child.send(data)
    shell.expect(f"sum {len(data)} {hashlib.sha256(data).hexdigest()}\n")
    assert shell.expect("end\n") == bytes(range(256)) * 16
    shell.prompt()


@pytest.mark.parametrize("canonical", [False, True], ids=["raw", "lines"])
def test_paste(sh, open_terminal, tmp_path, canonical):
    shell = open_terminal()
    if canonical:
        data = b"".join(b"%05d %s\n" % (i, b"x" * 57) for i in range(1024))
        shell.say(sh.line("echo raw; head -n 1024 | sha256sum"))
    else:
        path = tmp_path / "raw.py"
        path.write_text(RAW)
        data = os.urandom(65536).replace(b"\x1c", b"x")
        shell.say(sh.line(f"exec {PYTHON} {path} {len(data)}"))
    shell.expect("raw")
    shell.child.send(data)
    shell.expect(hashlib.sha256(data).hexdigest())
    shell.prompt()


def rss(pid):
    """Anonymous memory in KiB"""
    return int(re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def test_flood_that_nobody_reads(sh, open_terminal):
    shell = open_terminal()
    shell.say(sh.line("exec yes"))
    clone = sh.pid()
    relay = next(p for p in children(shell.child.pid) if name_of_process(p) == "warm")
    daemon = sh.warm.pid()
    before = rss(relay), rss(daemon)
    written = lambda: int(re.search(r"wchar: (\d+)", Path(f"/proc/{clone}/io").read_text())[1])     # noqa: E731
    # all that the two ptys take; then nothing moves
    seen = [0, 0]

    def stands():
        now = written()
        seen[1] = seen[1] + 1 if now == seen[0] and state(clone) == "S" and now else 0
        seen[0] = now
        return seen[1] > 20
    eventually(stands, "a program that stands")
    assert seen[0] < 1024 * 1024
    assert rss(relay) < before[0] + 1024
    # and goes on
    for _ in range(200):
        shell.child.read_nonblocking(65536, TIMEOUT)
    eventually(lambda: written() > seen[0], "more output")
    shell.send("\x03")      # the line discipline may drop its echo with the output that it flushes
    shell.prompt()
    assert shell.status() == 130
    assert rss(daemon) < before[1] + 1024
    sh.none()


def test_flood_is_interrupted(sh, open_terminal):
    """Ctrl-C comes through while the output of `yes` is read"""
    shell = open_terminal()
    shell.say(sh.line("exec yes"))
    for _ in range(50):
        shell.expect("y\r\n" * 100)
    shell.send("\x03")
    shell.prompt()
    assert shell.status() == 130


# --- leaks ---

def test_many_launches(sh, open_terminal):
    """Descriptors and children of warmd, and the number of ptys, are what they were"""
    daemon = sh.warm.pid()
    shell = open_terminal()
    shell.run(sh.line("echo warm up"))

    def calm():
        sh.none()
        counts = descriptors_of(daemon), len(children(daemon))
        return counts if counts == (descriptors_of(daemon), len(children(daemon))) else None
    before = [None]

    def settled():
        now = calm()
        same = now and now == before[0]
        before[0] = now
        return same
    eventually(settled, "rest")
    descriptors, below = before[0]
    assert shell.run(f"for i in {{1..100}}; do {sh.line('[ -t 1 ] && echo -n y')}; done") == "y" * 100
    eventually(lambda: calm() == (descriptors, below), f"{(descriptors, below)} again: {calm()}")
