# SPDX-License-Identifier: MIT
"""`warm attach --steal PID`: a process is taken from one window to another.

Windows are tmux servers of one pane, each with a shell: what is asserted is what their screens show, the one the
process was taken from too.
"""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import termios
from pathlib import Path

import pexpect
import pytest
from conftest import BUILD, PYTHON, TIMEOUT, TOOL, base_environment, children, eventually, exists, need, state
from launches import name_of_process

PROMPT = "READY> "
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
ROOT = os.geteuid() == 0


def need_tracing():
    need(shutil.which("tmux"), "tmux")
    need(ROOT or not YAMA.exists() or YAMA.read_text().strip() == "0",
         "an ordinary user may trace processes of its own (kernel.yama.ptrace_scope=0)")


class Window:
    """A terminal emulator with a shell in it"""

    def __init__(self, directory, name, columns=80, rows=24, user=None):
        self.socket, self.directory = f"{directory}/{name}", Path(directory)
        shell = [*(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []),
                 "bash", "--norc", "--noprofile", "-i"]
        config = Path(directory) / f"{name}.conf"
        config.write_text("set -g status off\nset -g default-terminal screen\nset -g escape-time 0\n")
        env = {**base_environment(), "PS1": PROMPT, "TERM": "xterm", "LESS": "", "HISTFILE": "", "HOME": str(directory),
               "TOOL": str(TOOL)}
        subprocess.run(["tmux", "-S", self.socket, "-f", str(config), "new-session", "-d", "-x", str(columns), "-y", str(rows),
                        "-c", str(directory), *shell], env=env, check=True, timeout=TIMEOUT)
        self.server = int(self.tmux("display-message", "-p", "#{pid}"))
        self.shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        self.expect(r"READY> \Z")

    def write(self, name, text):
        """A file where the shell is: commands are short, because lines as wide as the screen are joined with the next"""
        (self.directory / name).write_text(text)

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], capture_output=True, text=True, check=True,
                              timeout=TIMEOUT).stdout.rstrip("\n")

    def key(self, *names):
        self.tmux("send-keys", *names)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def say(self, line):
        self.type(line)
        self.key("Enter")

    def screen(self):
        # lines that were too long are joined again
        lines = [line.rstrip() for line in self.tmux("capture-pane", "-p", "-J").split("\n")]
        return re.sub(r"READY>$", PROMPT, "\n".join(lines).rstrip("\n"), flags=re.M)

    def expect(self, pattern):
        """The screen as soon as it matches"""
        seen = [""]

        def probe():
            seen[0] = self.screen()
            return re.search(pattern, seen[0], re.M)
        try:
            eventually(probe, f"{pattern!r} on the screen")
        except pytest.fail.Exception as e:
            pytest.fail(f"{e}; the screen:\n{seen[0]}")
        return seen[0]

    def run(self, line):
        """A command in the shell: what it showed"""
        self.key("C-l")
        self.expect(r"\AREADY> \Z")
        self.say(line)
        # its prompt is the last line again
        return "\n".join(self.expect(r"\n(.*\n)*READY> \Z").split("\n")[1:-1])

    def child(self, name):
        """PID of the shell's child of that name, when it waits for input"""
        def find():
            for pid in children(self.shell):
                if name_of_process(pid) == name and state(pid) in "ST":
                    return pid
            return None
        return eventually(find, f"a process {name}")

    def steal(self, pid):
        """Until what is typed here reaches the process: the terminal is raw then, as no shell makes it"""
        self.say(f"$TOOL attach --steal {pid}")
        self.await_raw()

    def await_raw(self):
        tty = os.open(self.tmux("display-message", "-p", "#{pane_tty}"), os.O_RDWR | os.O_NOCTTY)
        try:
            eventually(lambda: not termios.tcgetattr(tty)[1] & termios.OPOST, f"a raw terminal; the screen:\n{self.screen()}")
        finally:
            os.close(tty)

    def closed(self):
        return subprocess.run(["tmux", "-S", self.socket, "has-session"], capture_output=True, check=False,
                              timeout=TIMEOUT).returncode != 0

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, check=False, timeout=TIMEOUT)


@pytest.fixture
def window():
    """window(name, ...) -> Window"""
    need_tracing()
    # not tmp_path: a socket's name is short, and another user's shell runs there too
    directory = tempfile.mkdtemp(prefix="steal-", dir="/tmp")
    os.chmod(directory, 0o755)
    opened = []

    def open_window(name, **options):
        opened.append(Window(directory, name, **options))
        return opened[-1]
    yield open_window
    for w in opened:
        w.close()
    shutil.rmtree(directory, ignore_errors=True)


def terminal(pid):
    """(session, foreground group, device) of a process"""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    return int(words[3]), int(words[5]), int(words[4])


def await_foreground(shell, pid):
    """`fg` has come to its end: keys are the job's, and it runs"""
    eventually(lambda: terminal(shell)[1] == os.getpgid(pid) and state(pid) == "S", "the job in the foreground")


def files(pid):
    return [os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)]


# --- one process -----------------------------------------------------------------------------------


def test_blocked_in_read(window):
    old, new = window("old"), window("new")
    old.say("cat")
    pid = old.child("cat")
    before = files(pid)
    new.steal(pid)
    # the old shell sees a job that stopped, and has its terminal
    old.expect(r"^READY> cat\n\n?\[1\]\+  Stopped +cat\nREADY> \Z")
    new.type("hello\n")
    new.expect(rf"^READY> .*attach --steal {pid}\nhello\nhello\Z")
    session, foreground, device = terminal(pid)
    assert session == foreground == pid and len(set(files(pid))) == 1 and files(pid) != before
    assert device == os.stat(files(pid)[0]).st_rdev
    assert old.run("echo usable") == "usable"
    new.key("C-d")
    new.expect(r"^hello\nREADY> \Z")
    assert new.run("echo $?") == "0"
    eventually(lambda: "cat" not in old.run("jobs"), "the end of the job in the old shell")


def test_interrupt_and_exit_status(window):
    old, new = window("old"), window("new")
    old.say("cat")
    pid = old.child("cat")
    new.steal(pid)
    new.type("x\n")
    new.expect(r"^x\nx\Z")
    new.key("C-c")
    new.expect(r"^\^C\n*READY> \Z")
    assert new.run("echo $?") == "130"
    assert not exists(pid)


def test_stop_key_and_fg(window):
    old, new = window("old"), window("new")
    old.say("cat")
    pid = old.child("cat")
    new.steal(pid)
    new.type("x\n")
    new.expect(r"^x\nx\Z")
    new.key("C-z")
    new.expect(r"Stopped .*\nREADY> \Z")
    assert "-echo" not in new.run("stty -a | tr ' ' '\\n' | grep -x -- -echo; true")
    new.say("fg")
    new.await_raw()
    new.type("again\n")
    new.expect(r"^again\nagain\Z")
    new.key("C-d")
    new.expect(r"^again\nREADY> \Z")
    assert new.run("jobs") == ""


def test_job_stopped_before(window):
    old, new = window("old"), window("new")
    old.say("cat")
    pid = old.child("cat")
    old.key("C-z")
    old.expect(r"Stopped +cat\nREADY> \Z")
    new.steal(pid)
    new.type("hello\n")
    new.expect(r"^hello\nhello\Z")
    new.key("C-d")
    new.expect(r"^hello\nREADY> \Z")
    assert "usable" in old.run("echo usable")


def test_python_prompt(window):
    old, new = window("old"), window("new", columns=100, rows=30)
    old.say(f"{PYTHON} -q")
    old.expect(r"^>>>\Z")
    pid = old.child("python3")
    old.say("x = 41")
    old.expect(r"x = 41\n>>>\Z")
    new.steal(pid)
    old.expect(r"Stopped .*\nREADY> \Z")
    # readline works: a wrong character is rubbed out
    new.type("xy")
    new.key("BSpace")
    new.say(" + 1")
    new.expect(r"x \+ 1\n42\n>>>\Z")
    new.say("import os; os.get_terminal_size(), os.tcgetpgrp(0) == os.getsid(0) == os.getpid()")
    new.expect(r"^\(os.terminal_size\(columns=100, lines=30\), True\)$")
    new.say("input('line: ')")
    new.expect(r"^line:\Z")
    new.say("typed")
    new.expect(r"^'typed'$")
    new.key("C-c")
    new.expect(r"^KeyboardInterrupt$")
    new.say("exit(3)")
    new.expect(r"^READY> \Z")
    assert new.run("echo $?") == "3"


def test_vim_redraws(window):
    need(shutil.which("vim"), "vim")
    old, new = window("old"), window("new", columns=60, rows=12)
    old.write("text", "first line\nsecond line\n")
    old.say("vim -u NONE -i NONE -n -N text")
    old.expect(r"\Afirst line\nsecond line\n~\n")
    pid = old.child("vim")
    new.steal(pid)
    # it left the old screen in order
    old.expect(r"Stopped .*\nREADY> \Z")
    assert old.run("echo usable") == "usable"
    new.expect(r"\Afirst line\nsecond line\n(~\n){8}~")
    new.type("Othird line")
    new.key("Escape")
    new.expect(r"\Athird line\nfirst line\nsecond line\n(~\n){7}~")
    new.type(":wq")
    new.key("Enter")
    new.expect(r"^READY> \Z")
    assert (old.directory / "text").read_text() == "third line\nfirst line\nsecond line\n"
    assert new.run("echo $?") == "0"


def test_size_follows(window):
    need(shutil.which("less"), "less")
    old, new = window("old"), window("new")
    old.say("seq 1000 > numbers; less numbers")
    old.expect(r"\A1\n2\n(.*\n)*23\n")
    new.steal(old.child("less"))
    new.expect(r"\A1\n2\n(.*\n)*23\n")
    new.tmux("resize-window", "-x", "70", "-y", "10")
    new.expect(r"\A1\n2\n(.*\n)*9\n\S*\Z")
    new.type("G")
    new.expect(r"\A992\n(.*\n)*1000\n\(END\)\Z")
    new.type("q")
    new.expect(r"^READY> \Z")


THREADS = """
import sys, threading
go, lines = threading.Event(), []
def work(n):
    go.wait()
    print("thread", n, flush=True)
def read():
    for line in sys.stdin:
        lines.append(line)
        print("read", line.strip(), flush=True)
        go.set()
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)] + [threading.Thread(target=read)]
for t in threads:
    t.start()
print("begun", flush=True)
for t in threads:
    t.join()
"""


def test_threads(window):
    old, new = window("old"), window("new")
    old.write("threads.py", THREADS)
    old.say(f"{PYTHON} threads.py")
    old.expect(r"^begun\Z")
    pid = old.child("python3")
    new.steal(pid)
    old.expect(r"Stopped .*\nREADY> \Z")
    new.type("go\n")
    screen = new.expect(r"(?s)read go.*thread \d(.*thread \d){7}")
    assert sorted(re.findall(r"^thread (\d)$", screen, re.M)) == list("01234567")
    new.key("C-d")
    new.expect(r"^READY> \Z")
    assert "thread" not in old.screen().split("READY> ")[-1]


EPOLL = """
import os, select, sys
e = select.epoll()
e.register(0, select.EPOLLIN)
tty = os.open("/dev/tty", os.O_RDWR)
print("begun", flush=True)
while True:
    try:
        for fd, events in e.poll():
            data = os.read(fd, 100)
            if not data:
                sys.exit()
            os.write(tty, b"got " + data)
    except InterruptedError:
        pass
"""


def test_epoll_and_dev_tty(window):
    old, new = window("old"), window("new")
    old.write("epoll.py", EPOLL)
    old.say(f"{PYTHON} epoll.py")
    old.expect(r"^begun\Z")
    new.steal(old.child("python3"))
    old.expect(r"Stopped .*\nREADY> \Z")
    new.type("one\n")
    new.expect(r"^one\ngot one\Z")
    assert old.run("echo usable") == "usable"
    new.type("two\n")
    new.expect(r"^two\ngot two\Z")
    new.key("C-d")
    new.expect(r"^READY> \Z")


def test_end_of_the_old_shell_does_not_hang_it_up(window):
    old, new = window("old"), window("new")
    old.say("cat")
    pid = old.child("cat")
    new.steal(pid)
    new.type("x\n")
    new.expect(r"^x\nx\Z")
    shell = old.shell
    # its window is closed: bash hangs up its jobs, by number
    old.close()
    eventually(lambda: not exists(shell), "the end of the old shell")
    new.type("still here\n")
    new.expect(r"^still here\nstill here\Z")
    # but the end of its own terminal does
    new.close()
    eventually(lambda: not exists(pid), "the end of cat")


def test_descriptors_redirected(window):
    old, new = window("old"), window("new")
    old.say("cat > out 2>/dev/null")
    pid = old.child("cat")
    before = files(pid)
    new.steal(pid)
    old.expect(r"Stopped .*\nREADY> \Z")
    assert files(pid)[1:] == before[1:] and files(pid)[0] != before[0]
    new.type("into the file\n")
    new.expect(r"^into the file\Z")
    new.key("C-d")
    new.expect(r"^READY> \Z")
    assert "into the file" in old.run("cat out").split("\n")


@pytest.mark.races("less(1) drops what is typed while it takes up a terminal again, as behind fg")
def test_end_of_a_pipeline(window):
    need(shutil.which("less"), "less")
    old, new = window("old"), window("new")
    old.say("seq 100000 | less")
    old.expect(r"\A1\n2\n")
    new.steal(old.child("less"))
    old.expect(r"Stopped .*\nREADY> \Z")
    new.expect(r"\A1\n2\n")

    def at_the_end():
        # again: a key that is typed while less takes up its new terminal may be lost to it
        new.type("G")
        return re.search(r"^100000\n\(END\)\Z", new.screen(), re.M)
    eventually(at_the_end, "the last line")
    new.type("q")
    new.expect(r"^READY> \Z")


# --- a whole terminal -----------------------------------------------------------------------------------


def test_shell_with_jobs(window):
    old, new = window("old"), window("new", columns=100)
    old.say("sleep 1000 &")
    old.expect(r"^\[1\] \d+\nREADY> \Z")
    old.say("cat")
    pid, shell, server = old.child("cat"), old.shell, old.server
    sleeper = old.child("sleep")
    before = terminal(shell), files(shell), files(pid)
    new.steal(shell)
    new.expect(r"^warm: the whole terminal of process \d+ is taken, because it leads its session; the old window has none any more")
    new.type("hello\n")
    new.expect(r"^hello\nhello\Z")
    assert (terminal(shell), files(shell), files(pid)) == before
    # the emulator saw the end of its session, and nobody was hung up
    eventually(old.closed, "the end of the old window")
    eventually(lambda: not exists(server), "the end of the emulator")
    assert exists(shell) and exists(sleeper)
    new.key("C-c")
    new.expect(r"^\^C\n*READY> \Z")
    assert "Running" in new.run("jobs") and "100" in new.run("stty size")
    new.say("fg")
    new.expect(r"^sleep 1000\Z")
    await_foreground(shell, sleeper)
    new.key("C-z")
    new.expect(r"Stopped +sleep 1000\nREADY> \Z")
    assert state(sleeper) == "T"
    assert "Running" in new.run("bg; jobs").replace("sleep 1000 &", "Running")
    new.run("kill %1; wait 2>/dev/null")
    new.say("exit 7")
    new.expect(r"^exit\nREADY> \Z")
    assert new.run("echo $?") == "7"
    assert not exists(shell)


def test_process_with_children(window):
    """`make` and what it runs: one cannot be moved without the other"""
    old, new = window("old"), window("new")
    old.write("parent.sh", "cat\necho status $?\n")
    old.say("sh parent.sh")
    pid, shell = old.child("cat"), old.shell
    parent = old.child("sh")
    new.steal(parent)
    new.expect("^warm: the whole terminal of process .*because it has children in its session")
    new.type("hello\n")
    new.expect(r"^hello\nhello\Z")
    new.key("C-z")
    new.expect(r"Stopped +sh parent.sh\nREADY> \Z")
    assert state(pid) == state(parent) == "T"
    new.say("fg")
    await_foreground(shell, pid)
    new.type("again\n")
    new.expect(r"^again\nagain\Z")
    new.key("C-d")
    new.expect(r"^status 0\nREADY> \Z")
    new.say("exit")
    eventually(lambda: not exists(shell), "the end of the shell")


def test_other_windows_of_the_same_emulator(window):
    """tmux has many panes: only one is taken, and it goes on without a hitch"""
    old, new = window("old"), window("new")
    taken = old.shell
    old.tmux("new-window", "-d", "bash", "--norc", "--noprofile", "-i")
    new.steal(taken)
    new.expect(r"whole terminal of process")
    eventually(lambda: len(old.tmux("list-windows").split("\n")) == 1, "the end of one window")
    old.shell = int(old.tmux("display-message", "-p", "#{pane_pid}"))
    assert old.run("echo usable") == "usable"
    new.say("exit 5")
    new.expect(r"^exit\nREADY> \Z")
    assert new.run("echo $?") == "5"
    assert old.run("echo usable") == "usable"


def test_closing_the_new_window_hangs_up(window):
    old, new = window("old"), window("new")
    shell = old.shell
    new.steal(shell)
    new.expect(r"whole terminal of process")
    new.close()
    eventually(lambda: not exists(shell), "the end of the shell")


def test_flood(window):
    """It is not blocked in a read, but writes without end"""
    old, new = window("old"), window("new")
    old.say("yes")
    old.expect(r"^y\ny\ny\n")
    pid = eventually(lambda: next((p for p in children(old.shell) if name_of_process(p) == "yes"), None))
    new.steal(pid)
    old.expect(r"Stopped .*\nREADY> \Z")
    new.expect(r"\A(y\n)+y\Z")
    new.key("C-c")
    new.expect(r"^READY> \Z")
    assert not exists(pid)


def test_taken_twice(window):
    """Also from the window it was taken to, whose warm is the emulator then"""
    old, new, third = window("old"), window("new"), window("third")
    old.say("cat")
    pid = old.child("cat")
    new.steal(pid)
    new.type("x\n")
    new.expect(r"^x\nx\Z")
    third.steal(pid)
    new.expect(r"was taken to another window\]\nREADY> \Z")
    third.type("hello\n")
    third.expect(r"^hello\nhello\Z")
    assert "usable" in new.run("echo usable") and "usable" in old.run("echo usable")
    third.key("C-d")
    third.expect(r"^hello\nREADY> \Z")


def test_by_warm_itself(window):
    old, new = window("old"), window("new")
    old.say("cat")
    new.say(f"${{TOOL%-tool}} attach --steal {old.child('cat')}")
    new.await_raw()
    new.type("hello\n")
    new.expect(r"^hello\nhello\Z")
    new.key("C-d")
    new.expect(r"^hello\nREADY> \Z")


# --- refused: the process is as it was ---------------------------------------------------------------------


def still_usable(old):
    old.type("still\n")
    old.expect(r"^still\nstill\Z")
    old.key("C-c")
    old.expect(r"^\^C\n*READY> \Z")


def refused(new, pid, words):
    out = " ".join(new.run(f"$TOOL attach --steal {pid}; echo status $?").split("\n"))
    # the screen breaks lines anywhere
    assert words.replace(" ", "") in out.replace(" ", "") and "status125" in out.replace(" ", ""), out


def test_refused_traced_already(window):
    need(shutil.which("strace"), "strace")
    old, new = window("old"), window("new", columns=200)
    old.say("strace -o /dev/null cat")
    refused(new, old.child("cat"), "traces process")
    still_usable(old)


LOCKED = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
if sys.argv[1] == "dumpable":
    assert libc.prctl(4, 0) == 0
else:
    class filter(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
    class program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(filter))]
    rules = (filter * 5)(filter(0x20, 0, 0, 0), filter(0x15, 2, 0, 53), filter(0x15, 1, 0, 112), filter(6, 0, 0, 0x7fff0000),
                         filter(6, 0, 0, 0))       # allow all but socketpair and setsid: those kill
    p = program(5, rules)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(p)) == 0
print("begun", flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
"""


@pytest.mark.parametrize("how, words", [("dumpable", "not dumpable"), ("seccomp", "seccomp filter")])
def test_locked(window, how, words):
    """Refused to an ordinary user, and taken by root"""
    need(os.uname().machine == "x86_64", "x86-64, for the filter's call numbers")
    old, new = window("old"), window("new", columns=200)
    old.write("locked.py", LOCKED)
    old.say(f"{PYTHON} locked.py {how}")
    old.expect(r"^begun\Z")
    pid = old.child("python3")
    if ROOT:
        new.steal(pid)
        old.expect(r"Stopped .*\nREADY> \Z")
        new.type("hello\n")
        new.expect(r"^hello\nhello\Z")
        new.key("C-d")
        new.expect(r"^READY> \Z")
    else:
        refused(new, pid, words)
        old.type("still\n")
        old.expect(r"^still\nstill\Z")


def test_refused_its_own_terminal(window):
    new = window("new", columns=200)
    assert "in this terminal already" in new.run(f"$TOOL attach --steal $$")


def test_refused_a_terminal_inside(window):
    need(shutil.which("script"), "script")
    new = window("new", columns=200)
    shell = new.shell
    new.say("script -q -c \"env PS1='$PS1' bash --norc --noprofile -i\" /dev/null")
    new.expect(r"script.*\nREADY> \Z")
    assert "runs inside the one of process" in new.run(f"$TOOL attach --steal {shell}")


def test_refused_without_a_terminal(window):
    new = window("new", columns=200)
    p = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        refused(new, p.pid, "no controlling terminal")
        assert exists(p.pid)
    finally:
        p.kill()
        p.wait()
    refused(new, p.pid, "there is no process")


def test_refused_without_a_terminal_of_ours(window):
    old = window("old")
    old.say("cat")
    pid = old.child("cat")
    r = subprocess.run([TOOL, "attach", "--steal", str(pid)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=TIMEOUT, check=False, env=base_environment())
    assert r.returncode == 125 and r.stderr == "warm: standard input is not a terminal\n"
    still_usable(old)


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
print("begun", flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
"""


def test_refused_without_descriptors(window):
    """It cannot take more: found before anything is touched"""
    old, new = window("old"), window("new", columns=200)
    old.write("full.py", FULL)
    old.say(f"{PYTHON} full.py")
    old.expect(r"^begun\Z")
    refused(new, old.child("python3"), "Too many open files")
    old.type("still\n")
    old.expect(r"^still\nstill\Z")
    old.key("C-d")
    old.expect(r"^still\nREADY> \Z")


def other_user(window):
    need(ROOT, "root, to be two users")
    need(shutil.which("setpriv"), "setpriv")
    need(os.access(BUILD, os.X_OK) and oct(BUILD.stat().st_mode)[-1] in "57" and reachable(TOOL), "a build directory that others may read")
    return window


def reachable(path):
    return all(os.stat(p).st_mode & 0o001 for p in [path, *Path(path).parents])


def test_refused_another_users(window):
    open_window = other_user(window)
    old, new = open_window("old"), open_window("new", columns=200, user=65534)
    old.say("cat")
    refused(new, old.child("cat"), "runs as user 0: run 'warm attach --steal' as that user or as root")
    still_usable(old)


def test_root_takes_another_users(window):
    open_window = other_user(window)
    old, new = open_window("old", user=65534), open_window("new")
    old.say("cat")
    pid = old.child("cat")
    new.steal(pid)
    old.expect(r"Stopped .*\nREADY> \Z")
    new.type("hello\n")
    new.expect(r"^hello\nhello\Z")
    assert os.stat(files(pid)[0]).st_uid == 65534
    new.key("C-d")
    new.expect(r"^READY> \Z")


def test_emulator_out_of_reach(window):
    """The sshd of another user: a process alone goes, a shell is refused, by name"""
    open_window = other_user(window)
    need(not YAMA.exists() or YAMA.read_text().strip() == "0", "an ordinary user may trace processes of its own")
    old, new = open_window("old", user=65534), open_window("new", columns=200, user=65534)
    refused(new, old.shell, f"out of reach; probably process {old.server} (tmux: server) has it: process {old.server} runs as user 0")
    old.say("cat")
    pid = old.child("cat")
    new.steal(pid)
    old.expect(r"Stopped .*\nREADY> \Z")
    new.type("hello\n")
    new.expect(r"^hello\nhello\Z")
    new.key("C-d")
    new.expect(r"^READY> \Z")


def test_killed_warm_leaves_the_process_to_its_terminals_end(window):
    """As any terminal: it gets SIGHUP of the kernel"""
    old, new = window("old"), window("new")
    old.say("trap '' HUP; cat; trap - HUP")
    pid = old.child("cat")
    new.steal(pid)
    new.type("x\n")
    new.expect(r"^x\nx\Z")
    os.kill(new.child("warm-tool"), signal.SIGKILL)
    # it ignores that signal, so it reads the end of a hung up terminal
    eventually(lambda: not exists(pid), "the end of cat")


def test_refused_a_clone(launches):
    """It is left as it is, and the words say how to come to it"""
    program = launches.warm.directory / "waits.py"
    program.write_text("import sys\n\ndef main():\n    sys.stdin.readline()\n\nmain()\n", encoding="ascii")
    name = launches.build([PYTHON, program], stdin="tty", stdout="tty", stderr="tty")

    def in_a_terminal(*words):
        child = pexpect.spawn(str(launches.warm.program), list(words), env=launches.warm.environment(), encoding="utf-8", timeout=TIMEOUT)
        out = child.read()  # to the end: nobody else holds this terminal open
        child.close()
        return child.exitstatus, out
    status, out = in_a_terminal("launch", "-d", name)
    assert status == 0
    pid = int(out)
    status, out = in_a_terminal("attach", "--steal", str(pid))
    assert status == 125 and f"process {pid} is a clone of warmd's: 'warm attach {pid}' comes to it" in " ".join(out.split()), out
    assert state(pid) == "S"
    os.kill(pid, signal.SIGKILL)
    launches.remove(name)
