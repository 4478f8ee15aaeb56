# SPDX-License-Identifier: MIT
"""What is typed while a program runs that does not read it is the next one's: the shell's, another program's. In the
caller's own terminal it waits in the terminal's queue; a clone's has been carried into its pty, and comes back"""
import os
import re
import shlex

import pytest
from terminals import PROMPT, open_terminal, sh, template  # noqa: F401

# says that it runs, and then waits for something else than its terminal; no word of it is read as typed text
WAITS = "{before}echo started; read x < {fifo}; exit 3"
WAYS = ["cold", "launch", "run --pool"]


@pytest.fixture
def waiting(sh, open_terminal, tmp_path):
    """waiting(how, before="", after="") -> a shell whose program waits, and what ends the program"""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def start(how, before="", after=""):
        program = WAITS.format(before=before, fifo=fifo)
        if how == "cold":
            line = f"/bin/bash -c {shlex.quote(program)}"
        elif how == "launch":
            line = sh.line(program)
        else:
            line = sh.words("run", "--pool", "--strict", "--ready", "main", "--", "/bin/bash", "-c", program)
            sh.warm.build(["/bin/bash", "-c", program], options=["--ready", "main", "--pool", "1"],
                          stdin="tty", stdout="tty", stderr="tty", env={k: sh.env[k] for k in sh.env if k not in os.environ})
        shell = open_terminal()
        shell.say(line + after)
        shell.expect("started\r\n")

        def end():
            with open(fifo, "w") as f:
                f.write("go\n")
        return shell, end
    return start


def typed(shell, text, end):
    """Typed, and arrived (the terminal's or the clone's pty shows it), before the program ends"""
    shell.send(text)
    shell.expect(re.split("[\r\n]", text)[-1])
    end()


@pytest.mark.parametrize("how", WAYS)
def test_the_shell_gets_it(waiting, how):
    """A whole line, and one that is finished afterwards"""
    shell, end = waiting(how, before="stty echo; ")
    typed(shell, "echo TYP''ED $?\necho UNFIN''ISH", end)
    shell.expect("TYPED 3\r\n")
    shell.send("ED\n")
    shell.expect("UNFINISHED\r\n")


@pytest.mark.parametrize("how", WAYS)
def test_raw(waiting, how):
    """Typed at a program that takes bytes: what would have been signals and editing is bytes, and Enter is still Enter"""
    shell, end = waiting(how, before="stty raw echo -icrnl opost isig; ")
    typed(shell, "echo TYP''ED $?\recho MORE", end)
    shell.expect("TYPED 3\r\n")
    shell.send("\x15echo go on\n")
    shell.expect("go on\r\n")


@pytest.mark.parametrize("how", WAYS)
def test_next_program_gets_it(waiting, how):
    """A program that reads lines: in the pieces that it would have had"""
    shell, end = waiting(how, before="stty echo; ", after="; cat -n")
    typed(shell, "line one\nline two", end)
    shell.send("\n\x04")
    shell.expect("1\tline one\r\n")
    shell.expect("2\tline two\r\n")
    shell.expect(PROMPT)


@pytest.mark.parametrize("how", WAYS)
def test_interrupt_comes_at_once(waiting, how):
    """Though text that nobody reads is before it; the line discipline drops that text, as at any terminal"""
    shell, end = waiting(how, before="stty echo; trap 'exit 9' INT; ")
    shell.send("echo TYP''ED")
    shell.expect("echo TYP''ED")
    shell.send("\x03")
    shell.expect(PROMPT)
    shell.say("echo status $?")
    shell.expect("status 9\r\n")
