# SPDX-License-Identifier: MIT
"""Clones with terminals: shells in real ptys, with `warm` in them, and a template that is any program of bash's

    sh.line("echo hi")      the command that launches a clone with that line of bash
"""
import contextlib
import os
import shlex
import signal
import termios
from pathlib import Path

import pytest
from conftest import TIMEOUT, eventually, need, state

pexpect = pytest.importorskip("pexpect")
PROMPT = "READY> "
SET_PROMPT = "PS1=READ'Y> '"     # not in the environment, from which a shell that runs a script takes it away
# of the build, and of all launches
VARIABLES = {"TERM": "xterm", "LESS": "", "LESSHISTFILE": "-", "EXINIT": "", "HISTFILE": ""}


def default_signals():
    """Python ignores these, and ptyprocess hands that on"""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def switches(pid):
    """How often the process went to sleep"""
    text = Path(f"/proc/{pid}/status").read_text(encoding="latin-1")
    return int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def wait_calm(pid, since=-1):
    """Until the process, which was last asleep as switches() == since, has taken what was typed and waits for more. Programs
    that look for signals, and then sleep in their read, forget one that comes in between (readline: SIGINT; less: SIGTSTP)"""
    last = [since]

    def calm():
        now = switches(pid)
        same = now == last[0] and now != since and state(pid) == "S"
        last[0] = now
        return same
    eventually(calm, "a process that waits")


class Terminal:
    """A pty of its own with a program in it, without echo; what it shows is collected"""

    def __init__(self, argv, env, rows=24, columns=80, **options):
        self.child = pexpect.spawn(str(argv[0]), [str(a) for a in argv[1:]], env=env, timeout=TIMEOUT, dimensions=(rows, columns),
                                   echo=False, preexec_fn=default_signals, maxread=65536, **options)
        self.child.delaybeforesend = None

    def expect(self, text):
        """What came before the text"""
        self.child.expect_exact(text)
        return self.child.before

    def send(self, text):
        self.child.send(text)

    def say(self, line):
        self.child.send(line + "\n")

    def settings(self):
        return termios.tcgetattr(self.child.fileno())

    def raw(self):
        """Is there no line editing any more? Shows that somebody has taken the terminal"""
        return not self.settings()[3] & (termios.ICANON | termios.ISIG)

    def resize(self, columns, rows):
        self.child.setwinsize(rows, columns)

    def wait(self):
        """Its status, negative for a signal; what it still shows goes to .rest"""
        self.child.expect(pexpect.EOF)
        self.rest = self.child.before
        self.child.wait()
        return self.child.exitstatus if self.child.exitstatus is not None else -self.child.signalstatus

    def close(self):
        self.child.close(force=True)


class Shell(Terminal):
    """bash with job control. run(line): what it showed, lines ended by \\n; say(line) does not wait"""

    def __init__(self, env, rows=24, columns=80):
        super().__init__(["/bin/bash", "--norc", "--noprofile", "-i"], {**env, **VARIABLES}, rows, columns)
        self.quieten()

    def quieten(self):
        """Also for one that was started in another"""
        self.child.expect(r"bash-[0-9.]+[$#] ")
        self.say(SET_PROMPT)
        self.expect(PROMPT)
        self.run("bind 'set enable-bracketed-paste off' 2>/dev/null; stty -echo; PROMPT_COMMAND=")

    def prompt(self):
        return self.expect(PROMPT).decode(errors="replace").replace("\r\n", "\n")

    def run(self, line):
        self.say(line)
        return self.prompt()

    def status(self):
        return int(self.run("echo status $?").split()[-1])


class Clones:
    """What a test needs to know of a Warm with the template "sh", bash"""

    def __init__(self, warm):
        self.warm = warm
        self.env = {**warm.environment(), **VARIABLES}

    def line(self, text, *options, name="sh"):
        """Words for a shell"""
        return shlex.join([str(self.warm.program), "launch", *options, name, "-c", text])

    def words(self, *words):
        return shlex.join([str(self.warm.program), *map(str, words)])

    def running(self):
        return [p for p in self.warm.json("ps") if p["state"] == "running"]

    def pid(self):
        """Of the one clone that runs"""
        return eventually(self.running, "a clone")[0]["pid"]

    def logs(self, pid):
        return self.warm.command("logs", str(pid)).stdout

    def none(self):
        eventually(lambda: not self.running(), "an end of all clones")


@pytest.fixture(scope="module")
def template(warm):
    need(os.access("/bin/bash", os.X_OK), "bash")
    warm.build(["/bin/bash"], options=["--name", "sh", "--ready", "main", "--pool", "1"], stdin="tty", stdout="tty", stderr="tty",
               env=VARIABLES)
    return Clones(warm)


@pytest.fixture
def sh(template):
    """Clones; those that a test leaves behind end with it"""
    yield template
    daemon = template.warm.pid()
    for p in template.running() if daemon else []:
        with contextlib.suppress(OSError):
            os.killpg(p["pid"], signal.SIGKILL)
    if daemon:
        template.none()


@pytest.fixture
def open_terminal(template):
    """open_terminal() -> a Shell; open_terminal(argv...) -> a Terminal"""
    with contextlib.ExitStack() as stack:
        def start(*argv, env=None, rows=24, columns=80):
            env = {**template.env, **(env or {})}
            t = Terminal(argv, env, rows, columns) if argv else Shell(env, rows, columns)
            stack.callback(t.close)
            return t
        yield start
