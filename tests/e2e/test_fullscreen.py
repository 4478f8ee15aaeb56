# SPDX-License-Identifier: MIT
"""Programs that were checkpointed inside their full-screen interface, each as it is: what the screen shows after the
launch, on a terminal of another size than the build's, what keys do, and what is left of the terminal's settings"""
import os
import re
import shlex
import shutil

import pytest
from conftest import PYTHON, eventually, need
from screens import Screen

READY = "idle=300"


@pytest.fixture
def home(tmp_path):
    """Where the programs keep their settings; they make these directories otherwise, which a build may not"""
    path = tmp_path / "home"
    (path / ".config/htop").mkdir(parents=True)
    return path


@pytest.fixture
def screen(warm, tmp_path, home):
    """screen(argv, ...): a Screen with `warm run --strict` in it, of a template that was built on one of 80x24

    The command is stty; the program; its status; stty again, in files.
    """
    opened = []

    def start(argv, *, columns=100, rows=20, ready=READY, env=None):
        env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), **(env or {})}
        words = shlex.join(map(str, argv))
        status, said = built(warm, tmp_path, words, ready, env)
        assert status == 0, said
        launches = warm.launches()
        s = Screen(warm, tmp_path, f"trap : INT; stty -g >{tmp_path}/before; {warm.program} run --strict --ready {ready} -- {words};"
                   f" echo $? >{tmp_path}/status; stty -g >{tmp_path}/after; echo over; exec cat", columns, rows, env)
        opened.append(s)
        eventually(lambda: warm.launches() > launches, "a warm launch")
        return s

    yield start
    for s in opened:
        s.close()


def built(warm, tmp_path, words, ready=READY, env=None, before="", options=""):
    """`warm build` in a terminal, with all three standard descriptors: its status, and what the screen shows"""
    with Screen(warm, tmp_path, f"{before} {warm.program} build --rebuild {options} --ready {ready} -- {words}; echo built $?; exec cat",
                env=env) as s:
        shown = s.expect(lambda lines: any(re.fullmatch(r"built \d+", line) for line in lines))
    said = next(line for line in shown if line.startswith("built "))
    return int(said.split()[1]), "\n".join(shown)


def ended(s, tmp_path, status=0):
    """The program has ended, and its terminal is as it was"""
    s.expect(lambda lines: "over" in lines)
    assert (tmp_path / "status").read_text() == f"{status}\n"
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


@pytest.fixture
def numbers(tmp_path):
    path = tmp_path / "numbers"
    path.write_text("".join(f"{i}\n" for i in range(1, 201)))
    return path


@pytest.fixture
def vim():
    path = shutil.which("vim") or shutil.which("vim.tiny")
    need(path, "vim")
    return [path, "-N", "-n"]


# --- less ---

def test_less(screen, numbers, tmp_path):
    need(shutil.which("less"), "less")
    s = screen(["less", numbers], rows=12)
    # a page of this screen: not the 23 lines of the build's
    s.expect(lambda lines: lines[:11] == [str(i) for i in range(1, 12)] and lines[11] in (":", str(numbers)))
    s.keys("Space")
    s.expect(lambda lines: lines == [*(str(i) for i in range(12, 23)), ":"])
    s.text("G")
    s.expect(lambda lines: lines == [*(str(i) for i in range(190, 201)), "(END)"])
    s.resize(60, 8)
    s.expect(lambda lines: lines == [*(str(i) for i in range(190, 197)), ":"])
    s.text("q")
    ended(s, tmp_path)


def test_less_of_a_pipe(warm, numbers, tmp_path):
    """Its standard input comes when it is launched; keys come from the terminal"""
    need(shutil.which("less"), "less")
    assert built(warm, tmp_path, "less", before="true |")[0] == 0
    with Screen(warm, tmp_path, f"cat {numbers} | {warm.program} run --strict --ready {READY} -- less; echo status $?; exec cat",
                100, 12) as s:
        s.expect(lambda lines: lines == [*(str(i) for i in range(1, 12)), ":"])
        s.text("G")
        s.expect(lambda lines: lines == [*(str(i) for i in range(190, 201)), "(END)"])
        s.text("q")
        s.expect(lambda lines: "status 0" in lines)


# --- vim ---

def test_vim(screen, vim, tmp_path):
    text = tmp_path / "text"
    text.write_text("hello\nworld\n")
    s = screen([*vim, text], rows=15)
    s.expect(lambda lines: lines[:2] == ["hello", "world"] and lines[2:14] == ["~"] * 12)
    s.text("Oabove the \x1b")
    s.expect(lambda lines: lines[:3] == ["above the", "hello", "world"] and lines[3:14] == ["~"] * 11)
    s.resize(70, 10)
    s.expect(lambda lines: lines[:3] == ["above the", "hello", "world"] and lines[3:9] == ["~"] * 6)
    s.text(":wq\r")
    ended(s, tmp_path)
    assert text.read_text() == "above the \nhello\nworld\n"


def test_vim_of_a_larger_terminal(screen, vim, numbers, tmp_path):
    s = screen([*vim, numbers], columns=120, rows=40)
    s.expect(lambda lines: lines[:39] == [str(i) for i in range(1, 40)])
    s.text(":q\r")
    ended(s, tmp_path)


@pytest.mark.parametrize("pool", [0, 1], ids=["fork", "parked"])
def test_vim_launched_by_warmd(warm, vim, home, tmp_path, pool):
    """In a terminal of its own, of the caller's size and settings"""
    text = tmp_path / "text"
    text.write_text("hello\nworld\n")
    env = {"HOME": str(home)}
    status, said = built(warm, tmp_path, shlex.join([*vim, str(text)]), env=env,
                         options=f"--name editor {'--pool 1' if pool else ''}")
    assert status == 0, said
    if pool:
        eventually(lambda: any(t["name"] == "editor" and t["parked"] for t in warm.ls()), "a parked clone")
    with Screen(warm, tmp_path, f"trap : INT; stty -g >{tmp_path}/before; {warm.program} launch editor; echo $? >{tmp_path}/status;"
                f" stty -g >{tmp_path}/after; echo over; exec cat", 100, 15, env) as s:
        s.expect(lambda lines: lines[:2] == ["hello", "world"] and lines[2:14] == ["~"] * 12)
        s.text("Oabove the \x1b")
        s.expect(lambda lines: lines[:3] == ["above the", "hello", "world"] and lines[3:14] == ["~"] * 11)
        s.text(":wq\r")
        ended(s, tmp_path)
    assert text.read_text() == "above the \nhello\nworld\n"
    warm.command("rm", "editor", check=False)


def test_vim_with_a_swap_file(warm, vim, home, tmp_path):
    """Others see by that file that somebody edits: the template stands in front of its making"""
    text = tmp_path / "text"
    text.write_text("hello\n")
    status, said = built(warm, tmp_path, f"{vim[0]} -N text", env={"HOME": str(home)})
    assert status == 0, said
    boundary = warm.json("inspect", f"{vim[0]} -N text")["boundary"]
    assert boundary == f"makes {tmp_path}/.text.swp", boundary
    assert not list(tmp_path.glob(".*.sw*"))


@pytest.fixture
def shell(warm, vim, home, tmp_path):
    """An interactive bash on a Screen of 90x20; .edit: the command that launches an editor warm, whose build was on 80x24

    Not built in a pane of its own: tmux' have SIGTTIN and SIGTTOU ignored. Line editing changes the terminal's settings
    while a job in the background starts, which rightly runs cold then.
    """
    need(os.access("/bin/bash", os.X_OK), "bash")
    (tmp_path / "text").write_text("hello\n")
    words = shlex.join([*vim, "text"])
    with Screen(warm, tmp_path, "exec bash --norc --noprofile --noediting -i", 80, 24, {"HOME": str(home), "PS1": "READY> "}) as s:
        s.expect(lambda lines: "READY>" in lines)
        s.text(f"{warm.program} build --rebuild --ready {READY} -- {words}; echo built $?\r")
        s.expect(lambda lines: "built 0" in lines)
        s.resize(90, 20)
        s.edit = f"clear; {warm.program} run --strict --ready {READY} -- {words}"
        s.edits = lambda lines: lines[:2] == ["hello", "~"] and lines[18] == "~"
        yield s


def test_stop_and_continue(shell):
    """Ctrl-Z and fg, as the user of a shell knows them"""
    shell.text(shell.edit + "\r")
    shell.expect(shell.edits)
    shell.keys("C-z")
    shell.expect(lambda lines: any("Stopped" in line for line in lines) and "READY>" in lines)
    shell.text("clear; stty -a | tr -s ' ;' '\\n' | grep -x -e '-*icanon' -e '-*echo'\r")
    shell.expect(lambda lines: lines[:3] == ["icanon", "echo", "READY>"])
    shell.text("fg\r")
    shell.expect(shell.edits)
    shell.text(":q!\r")
    shell.expect(lambda lines: "READY>" in lines)
    shell.text("clear; echo status $?\r")
    shell.expect(lambda lines: "status 0" in lines)


def test_start_in_the_background(shell):
    """It may not change the terminal while others use it: stopped, until it is in the foreground"""
    shell.text(shell.edit + " &\r")
    shell.expect(lambda lines: "READY>" in lines)
    shell.text("clear; until jobs | grep -q Stopped; do :; done; clear; jobs; echo now\r")
    shell.expect(lambda lines: lines[0].startswith("[1]+  Stopped") and "now" in lines)
    shell.text("clear; fg\r")
    shell.expect(shell.edits)
    shell.text(":q!\r")
    shell.expect(lambda lines: "READY>" in lines)


# --- htop ---

def test_htop(screen, tmp_path):
    need(shutil.which("htop"), "htop")
    s = screen(["htop"], columns=90, rows=18)

    def bar(lines):
        return re.match(r"F1Help +F2Setup +F3", lines[17]) is not None and any("PID" in line for line in lines)
    s.expect(bar)
    s.keys("F1")
    s.expect(lambda lines: any("htop" in line and "Hisham" in line for line in lines))
    s.keys("Escape")
    s.expect(bar)
    s.resize(100, 25)
    s.expect(lambda lines: lines[24].startswith("F1Help"))
    s.text("q")
    ended(s, tmp_path)


# --- the REPL ---

def test_python_repl(screen, tmp_path):
    s = screen([PYTHON, "-i", "-q"], columns=60, rows=18)
    s.expect(lambda lines: lines[0] == ">>>")
    s.text("print(10+)")
    s.keys("Left")
    s.text("5\r")
    s.expect(lambda lines: lines[:3] == [">>> print(10+5)", "15", ">>>"])
    s.keys("Up", "Enter")
    s.expect(lambda lines: lines[2:5] == [">>> print(10+5)", "15", ">>>"])
    s.text("half a li")
    s.expect(lambda lines: lines[4] == ">>> half a li")     # an interrupt drops what was not read yet
    s.keys("C-c")
    s.expect(lambda lines: lines[4:7] == [">>> half a li", "KeyboardInterrupt", ">>>"])
    # a line that is longer than the terminal is wide: readline's idea of that is this terminal's
    s.text("len('" + "x" * 60 + "')\r")
    s.expect(lambda lines: lines[6:10] == [">>> len('" + "x" * 51, "x" * 9 + "')", "60", ">>>"])
    s.text("exit(7)\r")
    ended(s, tmp_path, 7)


def test_repl_has_the_terminals_size(screen, tmp_path):
    s = screen([PYTHON, "-i", "-q"], columns=77, rows=18)
    s.expect(lambda lines: lines[0] == ">>>")
    s.text("import os; os.get_terminal_size(), os.isatty(0), os.tcgetpgrp(0) == os.getpgrp()\r")
    # with the next prompt: what is typed before it meets a terminal that is not readline's
    s.expect(lambda lines: lines[2:4] == ["(os.terminal_size(columns=77, lines=18), True, True)", ">>>"])
    s.keys("C-d")
    ended(s, tmp_path)


# --- what does not fit ---

@pytest.mark.parametrize("before, reason", [
    ("TERM=vt100", "variable TERM differs"),
    # the program would set back those of the build's
    ("stty erase ^H;", "the terminal has other settings"),
])
def test_another_terminal_runs_cold(warm, tmp_path, numbers, before, reason):
    need(shutil.which("less"), "less")
    assert built(warm, tmp_path, f"less {numbers}")[0] == 0
    with Screen(warm, tmp_path, f"{before} {warm.program} run --strict --ready {READY} -- less {numbers}; echo status $?; exec cat",
                200, 12) as s:
        shown = s.expect(lambda lines: "status 125" in lines)
        assert reason in shown[0]
    with Screen(warm, tmp_path, f"{before} {warm.program} run --ready {READY} -- less {numbers}; exec cat", 100, 12) as s:
        s.expect(lambda lines: lines[:11] == [str(i) for i in range(1, 12)])
        s.text("q")
