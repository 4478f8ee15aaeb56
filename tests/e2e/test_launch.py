# SPDX-License-Identifier: MIT
"""`warm launch` as a command and as a process: what it says, exit status, signals, its end and its clone's, and who may"""
import contextlib
import ctypes
import os
import pty
import shutil
import signal
import subprocess

import pytest
from c_programs import CALL, refused
from conftest import BUILD, PYTHON, SAN, TIMEOUT, TREE, children, eventually, execute, exists, need, read_until, state
from launches import WAYS, Launches, name_of_process

MAIN = ["--ready", "main"]


class Running:
    """`warm launch` of launched.c as a subprocess; its clone's PID from its first line"""

    def __init__(self, launches, name, args=(), options=(), **more):
        self.launches = launches
        self.process = subprocess.Popen(launches.argv(name, args, options), env=launches.warm.environment(),
                                        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more})
        self.clone = None

    def ready(self):
        self.clone = int(self.until(rb"ready \d+\n").split()[-1])
        return self

    def until(self, pattern):
        return read_until(self.process.stdout.fileno(), pattern)

    def end(self):
        """The rest of its output and its status"""
        out, err = self.process.communicate(timeout=TIMEOUT)
        return out, err, self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        for f in (self.process.stdout, self.process.stderr):
            if f:
                f.close()
        if self.clone and exists(self.clone) and name_of_process(self.clone).startswith("launched"):
            os.kill(self.clone, signal.SIGKILL)


# --- words and options ---------------------------------------------------------------------------------

def test_help(warm):
    for option in ("--help", "-h"):
        r = warm.command("launch", option)
        assert r.stdout.startswith("usage: warm launch") and not r.stderr
        for word in ("--env", "--detach", "-v", "NAME"):
            assert word in r.stdout


@pytest.mark.parametrize("args, words", [
    ([], "no template was named"), (["--nonsense", "x"], "unknown option --nonsense"), (["--env"], "option needs a value: --env"),
    (["--env", "NOVALUE", "x"], "--env needs NAME=VALUE, not NOVALUE"), (["--env", "=x", "x"], "--env needs NAME=VALUE, not =x"),
    (["--env=", "x"], "--env needs NAME=VALUE"), (["--env", "", "x"], "--env needs NAME=VALUE"), (["--"], "no template was named"),
])
def test_usage(warm, args, words):
    r = warm.command("launch", *args, check=False)
    assert (r.returncode, r.stdout) == (125, "")
    assert r.stderr.startswith("warm: ") and words in r.stderr and "'warm launch --help'" in r.stderr
    assert r.stderr.count("\n") == 1


def test_unknown_name(warm):
    warm.start()
    for name in ("nobody", "x" * 1000, "", "odd\nname"):
        r = warm.command("launch", name, check=False)
        assert (r.returncode, r.stdout) == (125, "")
        assert r.stderr.startswith("warm: launch: there is no template '") and "warm ls" in r.stderr


def test_unknown_name_starts_the_daemon_and_says_so(own_warm):
    assert not own_warm.pid()
    r = own_warm.command("launch", "nobody", check=False)
    assert r.returncode == 125 and "there is no template 'nobody'" in r.stderr


def test_refused_template(warm, programs):
    argv = [programs.path("descriptors"), "seqpacket"]
    refused(warm, argv, "message boundaries")
    answer = warm.build(argv, options=["--name", "never", *CALL], expect=None)
    assert answer["status"] != "ready"
    r = warm.command("launch", "-v", "never", check=False)
    assert r.returncode == 0 and r.stdout == warm.cold(argv).out
    assert "running cold: it cannot be a template" in r.stderr and "message boundaries" in r.stderr


def test_removed_template(launches, programs):
    name = launches.build([programs.path("launched"), "exit"], options=MAIN)
    launches.remove(name)
    r = launches.run(name)
    assert r.status == 125 and f"there is no template '{name}'" in r.err


def test_name_that_was_derived(launches, programs):
    """Without --name a template is launched by what `warm ls` calls it"""
    argv = [programs.path("launched"), "exit", "7"]
    launches.warm.build(argv, options=MAIN)
    name = next(t["name"] for t in launches.warm.ls() if "launched" in t["name"])
    assert launches.run(name).status == 7
    launches.remove(name)


def test_pool_option_of_build(warm, programs):
    for n in ("0", "x", "", "-1", "1000000", "1.5"):
        r = warm.command("build", "--pool", n, "--", programs.path("launched"), check=False)
        assert r.returncode == 125 and "--pool needs a number" in r.stderr


# --- the way it goes -----------------------------------------------------------------------------------

def test_verbose_says_the_way(launches, programs):
    name = launches.build([programs.path("launched"), "exit", "0"], options=MAIN)
    r = launches.warm.command("launch", "-v", name)
    assert r.stderr == f"warm: launched from template {name} (parked)\n"
    launches.remove(name)
    name = launches.build([programs.path("launched"), "exit", "0"], way="fork", options=MAIN)
    r = launches.warm.command("launch", "--verbose", name)
    assert r.stderr == f"warm: launched from template {name} (fork)\n"
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [0, 1, 7, 125, 126, 127, 128, 255])
def test_exit_status(launches, programs, code, way):
    name = launches.build([programs.path("launched"), "exit"], way=way, options=MAIN)
    r = launches.run(name, [str(code)])
    launches.remove(name)
    assert (r.status, r.err, r.way) == (code, "", way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGHUP, signal.SIGPIPE,
                                 signal.SIGRTMIN + 3])
def test_end_by_a_signal(launches, programs, sig, way):
    """Seen by the parent of `warm launch` as if the program had been its child; by a shell as 128 + n"""
    name = launches.build([programs.path("launched"), "die"], way=way, pool=2, options=MAIN)
    r = launches.run(name, [str(int(sig))])
    assert (r.status, r.way) == (-sig, way)
    r = launches.warm.cold(["sh", "-c", f"{launches.warm.program} launch {name} {int(sig)}; echo status $?"])
    launches.remove(name)
    assert r.out == f"status {128 + sig}\n"


def test_no_core_of_the_client(launches, programs, tmp_path):
    """The clone's core is its own affair; `warm launch` itself leaves none"""
    name = launches.build([programs.path("launched"), "die"], options=MAIN)
    r = launches.warm.cold(["sh", "-c", f"ulimit -c unlimited; exec {launches.warm.program} launch {name} 11"], cwd=tmp_path)
    launches.remove(name)
    assert r.status == -11
    assert not [p for p in os.listdir(tmp_path) if "warm" in p]


# --- signals ----------------------------------------------------------------------------------------------

PASSED_ON = [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT, signal.SIGTERM]


@pytest.mark.parametrize("way", WAYS)
def test_signals_are_passed_on(launches, programs, way):
    name = launches.build([programs.path("launched"), "signals"], way=way, options=MAIN)
    with Running(launches, name) as r:
        r.ready()
        for sig in PASSED_ON:
            r.process.send_signal(sig)
            said = r.until(rb"SIG[A-Z0-9]+\n")
            assert said == f"{sig.name}\n".encode()
        assert r.end() == (b"", b"", 3)
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_ends_the_clone_and_the_client_by_it(launches, programs, sig, way):
    name = launches.build([programs.path("launched"), "wait"], way=way, options=MAIN)
    with Running(launches, name) as r:
        r.ready()
        r.process.send_signal(sig)
        assert r.end()[2] == -sig
        eventually(lambda: not exists(r.clone), "the clone's end")
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
def test_stop_and_go_on(launches, programs, way):
    """SIGTSTP stops the clone and the client, so that a shell sees a stopped job; SIGCONT wakes both"""
    name = launches.build([programs.path("launched"), "wait"], way=way, options=MAIN)
    with Running(launches, name) as r:
        r.ready()
        for _ in range(3):
            r.process.send_signal(signal.SIGTSTP)
            eventually(lambda: state(r.process.pid) == "T", "a stopped client")
            eventually(lambda: state(r.clone) == "T", "a stopped clone")
            r.process.send_signal(signal.SIGCONT)
            eventually(lambda: state(r.process.pid) == "S" and state(r.clone) == "S", "both awake")
        r.process.send_signal(signal.SIGTERM)
        assert r.end()[2] == -signal.SIGTERM
    launches.remove(name)


def test_signals_that_the_caller_ignores_are_not_passed_on(launches, programs):
    name = launches.build([programs.path("launched"), "signals"], options=MAIN)
    with Running(launches, name, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as r:
        r.ready()
        r.process.send_signal(signal.SIGHUP)
        r.process.send_signal(signal.SIGUSR1)
        assert r.until(rb"SIG[A-Z0-9]+\n") == b"SIGUSR1\n"
        r.process.send_signal(signal.SIGTERM)
        assert r.end()[2] == 3
    launches.remove(name)


def waits_for_the_answer(pid):
    """All that it passes on is blocked, and it sleeps: the request is sent"""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        text = f.read()
    blocked = next(int(line.split()[1], 16) for line in text.splitlines() if line.startswith("SigBlk:"))
    return blocked >> (signal.SIGTERM - 1) & 1 and state(pid) == "S"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_before_the_clone_is_known_is_not_lost(launches, programs, sig, way):
    name = launches.build([programs.path("launched"), "wait"], way=way, options=MAIN)
    daemon = launches.warm.pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        with Running(launches, name) as r:
            eventually(lambda: waits_for_the_answer(r.process.pid), "a request")
            r.process.send_signal(sig)
            os.kill(daemon, signal.SIGCONT)
            assert r.end()[2] == -sig
    finally:
        os.kill(daemon, signal.SIGCONT)
    launches.remove(name)


def test_terminal_keys_reach_the_clone(launches, programs):
    """^C and ^\\ at the terminal of `warm launch`: the clone is in another session, and gets them by way of the client"""
    name = launches.build([programs.path("launched"), "signals"], options=MAIN)
    for key, word in ((b"\x03", b"SIGINT"), (b"\x1c", b"SIGQUIT")):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(launches.warm.program, [str(a) for a in launches.argv(name)], launches.warm.environment())
        try:
            read_until(terminal, rb"ready \d+\r\n")
            os.write(terminal, key)
            read_until(terminal, word + rb"\r\n")
            os.kill(pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.close(terminal)
    launches.remove(name)


def test_job_control_of_a_shell(launches, programs):
    """^Z, fg, ^C in an interactive shell"""
    need(shutil.which("bash"), "bash")
    name = launches.build([programs.path("launched"), "wait"], options=MAIN)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], launches.warm.environment())
    try:
        # not exported: another environment than the build's would not be the template's
        os.write(terminal, b"PS1='> '\n")
        read_until(terminal, rb"\n[^\n]*> $")
        os.write(terminal, f"{launches.warm.program} launch {name}\n".encode())
        said = read_until(terminal, rb"ready \d+\r\n")
        clone = int(said.split()[-1])
        os.write(terminal, b"\x1a")
        read_until(terminal, rb"Stopped[^\n]*\n[^>]*> $")
        eventually(lambda: state(clone) == "T", "a stopped clone")
        os.write(terminal, b"fg\n")
        eventually(lambda: state(clone) == "S", "a clone that goes on")
        os.write(terminal, b"\x03")
        read_until(terminal, rb"> $")
        eventually(lambda: not exists(clone), "the clone's end")
        os.write(terminal, b"echo status $?\n")
        read_until(terminal, rb"status 130\r\n")
    finally:
        os.kill(pid, signal.SIGHUP)
        os.close(terminal)
        eventually(lambda: os.waitpid(pid, os.WNOHANG)[0], "the shell's end")
    launches.remove(name)


# --- the client's end -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", WAYS)
def test_killed_client_hangs_up(launches, programs, tmp_path, way):
    """kill -9 of `warm launch`: the clone gets SIGHUP, as from a terminal that is closed; what handles it goes on"""
    name = launches.build([programs.path("launched"), "signals"], way=way, options=MAIN)
    said = tmp_path / "said"
    with Running(launches, name, [str(said)]) as r:
        eventually(lambda: said.exists() and said.read_text().endswith("\n"), "a clone that is ready")
        r.clone = int(said.read_text().split()[1])
        r.process.kill()
        eventually(lambda: "SIGHUP\n" in said.read_text(), "SIGHUP")
        eventually(lambda: "SIGCONT\n" in said.read_text(), "SIGCONT")
        assert exists(r.clone)
        os.kill(r.clone, signal.SIGTERM)
        eventually(lambda: not exists(r.clone), "the clone's end")
    launches.remove(name)


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_killed_client_ends_its_clone(launches, programs, way, stopped):
    name = launches.build([programs.path("launched"), "wait"], way=way, options=MAIN)
    with Running(launches, name) as r:
        r.ready()
        if stopped:
            os.kill(r.clone, signal.SIGSTOP)
            eventually(lambda: state(r.clone) == "T", "a stopped clone")
        r.process.kill()
        eventually(lambda: not exists(r.clone), "the clone's end")
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
def test_detached_clone_lives_on(launches, programs, tmp_path, way):
    name = launches.build([programs.path("launched"), "signals"], way=way, pool=2, options=MAIN)
    for option in ("--detach", "-d"):
        said = tmp_path / f"said{option}"
        r = launches.run(name, [str(said)], options=[option], verbose=False, stdout="file", stderr="file")
        assert r.status == 0 and r.err == ""
        clone = int(r.out)
        try:
            eventually(lambda: said.exists() and said.read_text() == f"ready {clone}\n", "a clone that is ready")
            launches.warm.ls()      # the daemon has seen the client's end by then
            os.kill(clone, signal.SIGUSR1)
            eventually(lambda: said.read_text() == f"ready {clone}\nSIGUSR1\n", "SIGUSR1 and nothing else")
        finally:
            os.kill(clone, signal.SIGTERM)
        eventually(lambda: not exists(clone), "the clone's end")
        eventually(lambda: not os.path.exists(f"/proc/{clone}"), "the clone's reaping")
    launches.remove(name)


def test_client_waits_for_the_clone_not_for_its_output(launches, programs):
    """A clone that closes its output goes on, and the client with it"""
    program = "import os, sys\n\ndef main():\n    os.write(1, b'first')\n    os.close(1)\n    os.close(2)\n    sys.stdin.read()\n    os._exit(9)\n\nmain()\n"
    path = launches.warm.directory / "closes.py"
    path.write_text(program, encoding="ascii")
    name = launches.build([PYTHON, path], stdin="pipe")
    with Running(launches, name, stdin=subprocess.PIPE) as r:
        assert os.read(r.process.stdout.fileno(), 100) == b"first"
        assert r.process.poll() is None
        r.process.stdin.close()
        r.process.stdin = None
        assert r.process.wait(TIMEOUT) == 9
    launches.remove(name)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_daemon_that_goes_leaves_its_clones(make_warm, programs, how):
    """They end when they end, their clients pass signals on, and tell the status, or that nobody could"""
    w = make_warm()
    launches = Launches(w)
    name = launches.build([programs.path("launched"), "signals"], options=MAIN)
    with Running(launches, name) as r:
        r.ready()
        daemon = w.pid()
        if how == "kill":
            os.kill(daemon, signal.SIGKILL)
        else:
            w.command("stop")
        eventually(lambda: not exists(daemon), "the daemon's end")
        assert r.process.poll() is None and exists(r.clone)
        r.process.send_signal(signal.SIGUSR1)
        assert r.until(rb"SIG[A-Z0-9]+\n") == b"SIGUSR1\n"
        r.process.send_signal(signal.SIGTERM)
        out, err, status = r.end()
        assert out == b"SIGTERM\n"
        assert (status, err) == (3, b"") or (status == 125 and b"warmd died before it could tell how" in err)
        eventually(lambda: not exists(r.clone), "the clone's end")


@contextlib.contextmanager
def slow_sender(pid):
    """Each sendmsg(2) of the process takes half a second more, before it is done"""
    need(shutil.which("strace"), "strace")
    p = subprocess.Popen(["strace", "-p", str(pid), "-e", "trace=sendmsg", "-e", "inject=sendmsg:delay_enter=500000"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        said = p.stderr.readline()
        need(b"attached" in said, f"strace that may attach ({said!r})")
        yield
    finally:
        p.terminate()
        p.communicate(timeout=TIMEOUT)


@pytest.mark.parametrize("pool", [0, 1])
def test_daemon_that_is_killed_as_the_clone_begins(make_warm, programs, pool):
    """A clone that runs is one that its caller knows of, whenever warmd is killed"""
    w = make_warm()
    launches = Launches(w)
    name = launches.build([programs.path("launched"), "signals"], way="parked" if pool else "fork", pool=pool, options=MAIN)
    daemon = w.pid()
    with slow_sender(daemon), Running(launches, name) as r:
        r.ready()
        os.kill(daemon, signal.SIGKILL)
        eventually(lambda: not exists(daemon), "the daemon's end")
        r.process.send_signal(signal.SIGTERM)
        out, err, status = r.end()
        assert out == b"SIGTERM\n"
        assert (status, err) == (3, b"") or (status == 125 and b"warmd died before it could tell how" in err)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_daemon_that_goes_takes_parked_clones_and_skeleton_with_it(make_warm, programs, how):
    w = make_warm()
    launches = Launches(w)
    launches.build([programs.path("launched"), "exit", "0"], pool=3, options=MAIN)
    below = children(w.pid())
    assert len(below) == 4
    if how == "kill":
        os.kill(w.pid(), signal.SIGKILL)
    else:
        w.command("stop")
    eventually(lambda: not any(map(exists, below)), "their ends")


def test_daemon_that_does_not_answer(launches, programs):
    """Stopped for good: Ctrl-C ends the client even before there is a clone"""
    name = launches.build([programs.path("launched"), "wait"], options=MAIN)
    daemon = launches.warm.pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        with Running(launches, name) as r:
            eventually(lambda: waits_for_the_answer(r.process.pid), "a request")
            r.process.kill()
            r.process.wait()
        os.kill(daemon, signal.SIGCONT)
        # nobody waits for that clone any more
        launches.wait_parked()
    finally:
        os.kill(daemon, signal.SIGCONT)
    launches.remove(name)


# --- who may launch --------------------------------------------------------------------------------------------

def set_seccomp():
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)      # PR_SET_NO_NEW_PRIVS

    class Filter(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
    allow = Filter(6, 0, 0, 0x7fff0000)
    assert libc.prctl(22, 2, ctypes.byref(Program(1, ctypes.pointer(allow)))) == 0


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
OTHERS = [
    pytest.param(["setpriv", "--no-new-privs"], None, "NoNewPrivs", id="no_new_privs"),
    pytest.param([], set_seccomp, ("Seccomp", "NoNewPrivs"), id="seccomp"),
    pytest.param(["unshare", "--user", "--map-root-user"], None, ("namespace", "Cap"), id="user_namespace"),
    pytest.param(["setpriv", "--bounding-set", "-chown"], None, "Cap", id="bounding_set", marks=ROOT),
    pytest.param(["setpriv", "--inh-caps", "+kill"], None, "Cap", id="inheritable", marks=ROOT),
    pytest.param(["setpriv", "--inh-caps", "-all", "--bounding-set", "-all"], None, "Cap", id="no_capabilities", marks=ROOT),
    pytest.param(["capsh", "--drop=cap_chown", "--", "-c", 'exec "$@"', "-"], None, "Cap", id="capsh", marks=ROOT),
    pytest.param(["setpriv", "--groups", "4242"], None, "Groups", id="groups", marks=ROOT),
    pytest.param(["setpriv", "--regid", "4242", "--clear-groups"], None, "Gid", id="gid", marks=ROOT),
    pytest.param(["unshare", "--mount"], None, "mnt namespace", id="mount_namespace", marks=ROOT),
    pytest.param(["unshare", "--net"], None, "net namespace", id="net_namespace", marks=ROOT),
    pytest.param(["unshare", "--uts"], None, "uts namespace", id="uts_namespace", marks=ROOT),
    pytest.param(["unshare", "--ipc"], None, "ipc namespace", id="ipc_namespace", marks=ROOT),
    pytest.param(["unshare", "--cgroup"], None, "cgroup namespace", id="cgroup_namespace", marks=ROOT),
]


@pytest.mark.parametrize("prefix, preexec, words", OTHERS)
def test_nobody_gains_rights_through_the_daemon(launches, programs, prefix, preexec, words):
    """Where caller and warmd differ: `warm launch` is refused and says in what, `warm run --pool` runs without warmd's help"""
    warm, env = launches.warm, launches.warm.environment()
    if prefix:
        need(shutil.which(prefix[0]), prefix[0])
        need(execute([*prefix, "true"], env=env).status == 0, " ".join(prefix[:3]))
    argv = [programs.path("launched"), "exit", "0"]
    name = launches.build(argv, options=MAIN)
    words = (words,) if isinstance(words, str) else words
    r = execute([*prefix, *launches.argv(name)], env=env, preexec=preexec)
    assert (r.status, r.out) == (125, ""), r
    assert r.err.startswith("warm: launch: the caller") and any(w in r.err for w in words), r
    assert "warmd" in r.err
    # by the command, with the pool that is there
    r = execute([warm.program, "run", "-v", "--pool", "--strict", *MAIN, "--name", name, "--", *argv], env=env)
    assert r.status == 0 and b"(parked)" in r.stderr, r
    r = execute([*prefix, warm.program, "run", "-v", "--pool", *MAIN, "--name", name, "--", *argv], env=env, preexec=preexec)
    assert r.status == 0, r
    assert "(parked)" not in r.err and "(fork)" not in r.err
    # and a launch by one who may still works
    assert launches.run(name).status == 0
    launches.clear()


THREADS = [
    ("no_new_privs", "NoNewPrivs"), ("seccomp", ("Seccomp", "NoNewPrivs")),
    *(pytest.param(how, words, marks=ROOT) for how, words in (
        ("gid", "Gid"), ("groups", "Groups"), ("capabilities", "Cap"), ("bounding_set", "Cap"), ("network", "net namespace"),
        ("root", "root directory")))]


@pytest.fixture
def rights(programs):
    flags = ["-fsanitize=address,undefined"] if SAN else []
    return programs.path("rights", f"-I{TREE / 'launcher'}", str(BUILD / "libwarm.a"), *flags)


@pytest.mark.parametrize("who", ["first", "second"])
@pytest.mark.parametrize("how, words", THREADS)
def test_no_thread_gains_rights_through_the_daemon(launches, programs, rights, how, words, who):
    """Of a caller's threads one has given up rights: it must not get them back by a launch, nor have another one launch for it"""
    env = launches.warm.environment({"ASAN_OPTIONS": "detect_leaks=0"})
    name = launches.build([programs.path("launched"), "exit", "0"], options=MAIN)
    r = execute([rights, how, who, name], env=env)
    need(r.status != 77, f"giving up {how}")
    words = (words,) if isinstance(words, str) else words
    assert r.status == 0 and r.out.startswith("launch -13 the caller's thread ") and any(w in r.out for w in words), r
    # two threads that are as warmd is
    r = execute([rights, "nothing", who, name], env=env)
    assert (r.status, r.out) == (0, "ended 0\n"), r
    launches.clear()


def test_rights_are_those_of_the_caller_in_a_container(launches, programs):
    """A PID namespace: the client cannot even name the clone"""
    need(shutil.which("unshare"), "unshare")
    prefix = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    env = launches.warm.environment()
    need(execute([*prefix, "true"], env=env).status == 0, "user and PID namespaces")
    name = launches.build([programs.path("launched"), "exit", "0"], options=MAIN)
    r = execute([*prefix, *launches.argv(name)], env=env)
    assert r.status == 125 and "warm: launch: the " in r.err and not r.stdout
    launches.remove(name)
