# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: daemons of their own, programs run cold and warm side by side.

    def test_x(same, tmp_path):
        script = tmp_path / "a.py"; script.write_text("print(1)")
        same([PYTHON, script])                          # cold, then warm: everything equal, and warm it was

Fixtures
    warm        a Warm with a daemon shared by the tests of one module
    own_warm    a Warm of this test alone, e.g. to kill its daemon
    same        same(argv, ...): the comparator, over `warm`
    make_warm   make_warm(**environment) -> Warm, when a test needs several
    programs    programs.path("threads"): a program of programs/, compiled (c_programs.py)
    launches    launches that warmd makes, over `warm` (launches.py)

WARM_BUILD names the build directory (default: build/). WARM_MUST_WORK=1 turns skips of missing host
features into failures: use need(condition, "what is missing").
Every process has a time-out; what a test starts ends with it.

Markers
    @pytest.mark.races("reason")    may fail because the machine was busy: tests/run.sh tries it a second time, and says so.
                                    A test without it that fails has failed
    @pytest.mark.long               takes long and rarely fails: only with WARM_LONG=1 (make test-long)
"""

import contextlib
import dataclasses
import difflib
import errno
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import pytest

# a shell starts what it puts into the background with these two ignored, and programs would inherit that
for _signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal == signal.SIGINT else signal.SIG_DFL)

LONG = os.environ.get("WARM_LONG") == "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "races(reason): may fail because the machine was busy; tests/run.sh gives it a second try")
    config.addinivalue_line("markers", "long: takes long and rarely fails; only with WARM_LONG=1")


def pytest_collection_modifyitems(config, items):
    """Reasons go to the JUnit file, where tests/run.sh finds them; what is long is left out"""
    for item in items:
        for marker in item.iter_markers("races"):
            if len(marker.args) != 1:
                raise pytest.UsageError(f"{item.nodeid}: races() without a reason")
            item.user_properties.append(("races", marker.args[0]))
    # what was asked for by name is run
    if not LONG and not any("::" in a for a in config.args):
        left_out = [i for i in items if i.get_closest_marker("long")]
        items[:] = [i for i in items if not i.get_closest_marker("long")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)


HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
BUILD = Path(os.environ.get("WARM_BUILD") or TREE / "build").resolve()
WARM, WARMD, TOOL = BUILD / "warm", BUILD / "warmd", BUILD / "warm-tool"
SAN = "san" in BUILD.name
TIMEOUT = 120 if SAN else 30        # seconds; of one process
PYTHON = "/usr/bin/python3"

# from the outside only these: what differs from one developer's shell to the next is not under test
KEPT_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "TERM", "ASAN_OPTIONS", "UBSAN_OPTIONS",
                  "LSAN_OPTIONS", "VIRTUAL_ENV")


def need(condition, missing):
    """Skip by name when the host lacks something; fail under WARM_MUST_WORK=1"""
    if not condition:
        (pytest.fail if os.environ.get("WARM_MUST_WORK") == "1" else pytest.skip)(f"host: {missing}")


def base_environment():
    env = {k: v for k, v in os.environ.items() if k in KEPT_VARIABLES}
    # shims of version managers are shell scripts
    env["PATH"] = ":".join(d for d in env.get("PATH", "").split(":") if "shims" not in d) or "/usr/bin:/bin"
    env.setdefault("LANG", "C.UTF-8")
    return env


IDENTIFY = "import sys; print(sys.implementation.name, '%d.%d.%d' % sys.version_info[:3])"


def find_pythons():
    """{"3.11.2": path}: every CPython 3.9 or newer of this host that this user can run"""
    candidates = [PYTHON, *sorted(map(str, Path("/root/.pyenv/versions").glob("3.*/bin/python3")))
                  ] if os.access("/root/.pyenv/versions", os.X_OK) else [PYTHON]
    for directory in base_environment()["PATH"].split(":"):
        candidates += [f"{directory}/python3.{n}" for n in range(9, 16)]
    found = {}
    for path in candidates:
        if not os.access(path, os.X_OK):
            continue
        r = subprocess.run([path, "-c", IDENTIFY], capture_output=True, text=True, timeout=TIMEOUT, check=False,
                           env=base_environment())
        words = r.stdout.split()
        if r.returncode == 0 and words[0] == "cpython" and words[1] not in found:
            if (3, 9) <= tuple(map(int, words[1].split("."))) < (3, 14):
                found[words[1]] = path
    return found


def some_pythons(pythons):
    """The system's, the oldest, the oldest with sys.monitoring, and the newest; all of them with WARM_ALL_PYTHONS=1"""
    key = lambda v: tuple(map(int, v.split(".")))       # noqa: E731
    ordered = sorted(pythons, key=key)
    wanted = {ordered[0], ordered[-1], *[v for v in ordered if key(v) >= (3, 12)][:1]} if ordered else set()
    everything = os.environ.get("WARM_ALL_PYTHONS") == "1"
    return {v: p for v, p in pythons.items() if everything or v in wanted or p == PYTHON}


def eventually(probe, what="the awaited state", timeout=TIMEOUT):
    """probe() until it is true; its value. For states that no descriptor announces"""
    end = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come within {timeout} s")
        select.select([], [], [], 0.005)


def read_until(fd, pattern, timeout=TIMEOUT):
    """Bytes of a pipe or terminal up to and with the first match of a bytes pattern"""
    data, end = b"", time.monotonic() + timeout
    while not re.search(pattern, data):
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        assert ready, f"{pattern!r} did not come within {timeout} s; came: {data!r}"
        try:
            chunk = os.read(fd, 65536)
        except OSError as e:        # a terminal whose other end is closed
            if e.errno != errno.EIO:
                raise
            chunk = b""
        assert chunk, f"end of file before {pattern!r}; came: {data!r}"
        data += chunk
    return data


def state(pid):
    """The letter of proc_pid_stat(5); X for one that is gone"""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def exists(pid):
    """Is the process alive (a zombie is not)?"""
    return state(pid) not in "ZX"


def children(pid):
    """All descendants"""
    found = []
    for d in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            words = Path(f"/proc/{int(d)}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            if int(words[1]) == pid and words[0] not in "ZX":
                found += [int(d), *children(int(d))]
    return found


# --- one process, its standard descriptors of any kind ---------------------------------------


@dataclasses.dataclass
class Result:
    stdout: bytes
    stderr: bytes
    status: int         # negative: the signal
    seconds: float = 0

    def __str__(self):
        return f"status {self.status}\nstdout {self.stdout!r}\nstderr {self.stderr!r}"

    @property
    def out(self):
        return self.stdout.decode(errors="surrogateescape")

    @property
    def err(self):
        return self.stderr.decode(errors="surrogateescape")


class Stream:
    """One standard descriptor. kind: pipe, file, append (a file that has text already), tty, null, closed, or for
    stdin bytes (come by a pipe), for stderr "stdout" (2>&1); or a descriptor's number, handed through."""

    def __init__(self, kind, reading, size=(24, 80)):
        self.kind, self.data, self.inner, self.outer, self.thread = kind, b"", None, None, None
        self.owned = True
        if isinstance(kind, bytes):
            self.inner, self.outer = os.pipe()
            self.thread = threading.Thread(target=self.feed, daemon=True)
        elif isinstance(kind, int):
            self.inner, self.owned = kind, False
        elif kind == "pipe":
            if reading:
                self.inner, self.outer = os.pipe()      # and nothing ever written: end of file after close()
            else:
                self.outer, self.inner = os.pipe()
                self.thread = threading.Thread(target=self.drain, daemon=True)
        elif kind in ("file", "append"):
            self.file = tempfile.TemporaryFile()
            if kind == "append":
                self.file.write(b"here before\n")
                self.file.flush()
                fcntl.fcntl(self.file, fcntl.F_SETFL, fcntl.fcntl(self.file, fcntl.F_GETFL) | os.O_APPEND)
            self.inner = os.dup(self.file.fileno())
        elif kind == "tty":
            self.outer, self.inner = pty.openpty()
            fcntl.ioctl(self.inner, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            self.thread = threading.Thread(target=self.drain, daemon=True)
        elif kind == "null":
            self.inner = os.open("/dev/null", os.O_RDWR)
        else:
            assert kind in ("closed", "stdout"), kind

    def feed(self):
        with contextlib.suppress(OSError):      # SIGPIPE is ignored in Python
            rest = memoryview(self.kind)
            while rest:
                rest = rest[os.write(self.outer, rest):]
        os.close(self.outer)

    def drain(self):
        with contextlib.suppress(OSError):      # EIO: the terminal's other end was closed
            while chunk := os.read(self.outer, 65536):
                self.data += chunk

    def started(self):
        """The child has the inner end now"""
        if self.inner is not None and self.owned:
            os.close(self.inner)
            self.inner = None
        if self.thread:
            self.thread.start()
        elif self.outer is not None and self.kind == "pipe":
            os.close(self.outer)
            self.outer = None

    def finish(self, abandon=False):
        if self.thread and not abandon:
            self.thread.join(TIMEOUT)
            assert not self.thread.is_alive(), "somebody still holds the output open"
        if self.kind in ("file", "append"):
            self.file.seek(0)
            self.data = self.file.read()
            self.file.close()
        if self.outer is not None and not isinstance(self.kind, bytes):
            os.close(self.outer)
        return self.data


def execute(argv, *, env, cwd=None, stdin="null", stdout="pipe", stderr="pipe", timeout=TIMEOUT, preexec=None,
            pass_fds=(), size=(24, 80), session=False, interact=None, close_fds=True):
    """Run to the end. interact(process): called once it runs, e.g. to send a signal; preexec: in the child before exec"""
    streams = [Stream(stdin, True, size), Stream(stdout, False, size), Stream(stderr, False, size)]
    inner = [s.inner for s in streams]
    if stderr == "stdout":
        inner[2] = inner[1]
    closed = [i for i, fd in enumerate(inner) if fd is None]

    def prepare():
        if preexec:
            preexec()
        for fd in closed:
            os.close(fd)

    start = time.monotonic()
    process = subprocess.Popen([os.fspath(a) for a in argv], env=env, cwd=cwd, pass_fds=pass_fds,
                               stdin=subprocess.DEVNULL if inner[0] is None else inner[0],
                               stdout=subprocess.DEVNULL if inner[1] is None else inner[1],
                               stderr=subprocess.DEVNULL if inner[2] is None else inner[2],
                               start_new_session=session, close_fds=close_fds, preexec_fn=prepare if closed or preexec else None)
    for s in streams:
        s.started()
    try:
        if interact:
            interact(process)
        process.wait(timeout)
    except BaseException:
        process.kill()
        process.wait()
        for s in streams:
            s.finish(abandon=True)
        raise
    seconds = time.monotonic() - start
    outputs = [s.finish() for s in streams]
    return Result(outputs[1], outputs[2], process.returncode, seconds)


def difference(cold, warm):
    """What differs, by lines; of long lines the part that does"""
    if cold == warm:
        return []
    a, b = ([repr(line)[2:-1] for line in data.splitlines(keepends=True)] for data in (cold, warm))
    found = []
    for what, i, j, k, n in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if what == "replace" and j - i == n - k:
            for x, y in zip(a[i:j], b[k:n]):
                same = os.path.commonprefix([x, y])
                at = max(0, len(same) - 60)
                found.append(f"cold: {'...' * bool(at)}{x[at:at + 400]}\n      warm: {'...' * bool(at)}{y[at:at + 400]}")
        elif what != "equal":
            found += [f"cold: {x[:400]}" for x in a[i:j]] + [f"warm: {y[:400]}" for y in b[k:n]]
    return found[:40]


# --- a daemon and its launcher -------------------------------------------------------------------


class Warm:
    """A runtime directory of its own, the environment that leads there, and the commands.

    run(), cold() take what execute() takes; env= is added to self.env (None removes a variable).
    The daemon starts with the first command that needs it.
    """

    def __init__(self, directory, config=None, build=BUILD, **environment):
        self.directory = Path(directory)
        self.build_directory = Path(build)
        self.program = self.build_directory / "warm"
        self.runtime_dir = self.directory / "rt"
        self.config_file = self.directory / "config/warm/config.json"
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        # templates on disk are test_keep.py's; with WARM_TEST_KEEP=1 all tests have them
        if config is None or isinstance(config, dict):
            config = {"keep": os.environ.get("WARM_TEST_KEEP") == "1", **(config or {})}
        self.configure(config)
        self.cache = self.directory / "cache"
        self.env = {**base_environment(), "WARM_RUNTIME_DIR": str(self.runtime_dir), "WARM_CACHE_DIR": str(self.cache),
                    "XDG_CONFIG_HOME": str(self.directory / "config"), **environment}
        self.popens = []

    def configure(self, config):
        """config.json for the next start of the daemon; text is written as it is"""
        self.config_file.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")

    def environment(self, env=None):
        merged = {**self.env, **(env or {})}
        return {k: v for k, v in merged.items() if v is not None}

    # the program

    def cold(self, argv, env=None, **options):
        """Without warm"""
        return execute(argv, env=self.environment(env), **options)

    def run(self, argv, *, strict=False, verbose=False, options=(), env=None, **more):
        """`warm run`"""
        words = [self.program, "run", *(["--strict"] if strict else []), *(["-v"] if verbose else []), *options]
        return execute([*words, "--", *argv], env=self.environment(env), **more)

    def popen(self, argv, *, strict=True, env=None, **options):
        """`warm run` as a subprocess.Popen with pipes, ended with the test at the latest"""
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        p = subprocess.Popen([self.program, "run", *(["--strict"] if strict else []), "--", *map(os.fspath, argv)],
                             env=self.environment(env), **options)
        self.popens.append(p)
        return p

    # commands

    def command(self, *args, check=True, env=None, stdin=subprocess.DEVNULL, timeout=TIMEOUT, **options):
        """Any other command: CompletedProcess, text"""
        r = subprocess.run([self.program, *map(os.fspath, args)], env=self.environment(env), text=True, stdin=stdin,
                           capture_output=True, timeout=timeout, check=False, **options)
        assert not check or r.returncode == 0, f"warm {args}: {r.returncode}\n{r.stdout}\n{r.stderr}"
        return r

    def json(self, *args, **options):
        return json.loads(self.command(args[0], "--json", *args[1:], **options).stdout)

    def build(self, argv, *, options=(), expect="ready", env=None, **more):
        """`warm build`, with standard descriptors of the kinds that the launch will have. Returns the JSON, or None
        if stdout was no place to read it from"""
        words = [self.program, "build", "--json", *options, "--", *argv]
        r = execute(words, env=self.environment(env), **{**more, "timeout": max(TIMEOUT, more.get("timeout", 0))})
        text = r.out[r.out.find("{"):]
        if not text.startswith("{"):
            assert more.get("stdout", "pipe") not in ("pipe", "file", "append", "tty"), f"warm build {argv}: {r}"
            return None
        answer = json.loads(text)
        if expect:
            assert answer["status"] == expect, f"warm build {argv}: {answer}"
        return answer

    def explain(self, argv, env=None, **options):
        """`warm explain --json` with a pipe as stdout"""
        r = execute([self.program, "explain", "--json", "--", *argv], env=self.environment(env), **options)
        assert r.status == 0, r
        return json.loads(r.stdout)

    def stats(self):
        return self.json("stats")

    def launches(self, status="warm"):
        return self.stats()["launches"][status]

    def ls(self):
        return self.json("ls")

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.runtime_dir / "warmd.log").read_text(encoding="utf-8", errors="replace")
        return ""

    # the daemon

    def pid(self):
        """Of the daemon; None when none runs"""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            try:
                s.connect(str(self.runtime_dir / "warmd.sock"))
            except OSError:
                return None
            return struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def start(self):
        """Start the daemon; its PID"""
        if not self.pid():
            self.run([PYTHON, "-S", "-c", "pass"], options=["--ready", "main"])
        pid = self.pid()
        assert pid, f"warmd did not start:\n{self.log()}"
        return pid

    def idle(self):
        """Wait until no build runs or waits; the daemon's children are its builds"""
        pid = self.pid()
        calm = 0

        def quiet():
            nonlocal calm
            calm = 0 if children(pid) else calm + 1
            return calm >= 8        # between two builds there is a moment without one

        if pid:
            eventually(quiet, "an end of the builds")

    def stop(self):
        """Ends everything of this runtime directory; the daemon must go by itself"""
        for p in self.popens:
            if p.poll() is None:
                p.kill()
            for f in (p.stdin, p.stdout, p.stderr):
                if f:
                    with contextlib.suppress(OSError):
                        f.close()
            p.wait(TIMEOUT)
        self.popens = []
        pid = self.pid()
        if not pid:
            return
        below = children(pid)
        r = self.command("stop", check=False)
        try:
            assert r.returncode == 0, f"warm stop: {r.stdout}{r.stderr}"
            eventually(lambda: not exists(pid), "the end of warmd", 10)
            eventually(lambda: not any(map(exists, below)), "the end of warmd's children", 10)
        finally:
            for p in [pid, *below]:
                if exists(p):
                    with contextlib.suppress(OSError):
                        os.kill(p, signal.SIGKILL)

    # the comparison

    def same(self, argv, *, normalize=None, expect_status=None, warm_options=(), build=True, env=None, check=True,
             cold_options=None, **options):
        """Run cold, then warm; stdout, stderr and status must be equal, and the second must have been warm.

        normalize(bytes) -> bytes: applied to outputs of both, for what rightly differs (process ids).
        warm_options: of `warm run` and `warm build`, e.g. ["--ready", "main"].
        build=False: the template is there already. Else it is built for this very context.
        check=False: return (cold, warm) without comparing.
        """
        cold = self.cold(argv, env=env, **{**options, **(cold_options or {})})
        if build:
            self.build(argv, options=warm_options, env=env,
                       **{k: v for k, v in options.items() if k not in ("interact", "timeout")})
        before = self.launches()
        warm = self.run(argv, strict=True, options=warm_options, env=env, **options)
        after = self.launches()
        assert after == before + 1, f"not warm: {warm}\n{self.log()[-2000:]}"
        if not check:
            return cold, warm
        normalize = normalize or (lambda b: b)
        words = [f"  {what} {line}" for what in ("stdout", "stderr")
                 for line in difference(normalize(getattr(cold, what)), normalize(getattr(warm, what)))]
        if warm.status != cold.status:
            words.append(f"  status {cold.status} cold, {warm.status} warm; stderr {warm.stderr!r}")
        if words:
            pytest.fail("\n".join([f"{' '.join(map(str, argv))[-200:]} differs", *words]), pytrace=False)
        if expect_status is not None:
            assert cold.status == expect_status
        return warm


@contextlib.contextmanager
def a_warm(config=None, **environment):
    """A Warm in a directory whose path fits into sun_path"""
    directory = tempfile.mkdtemp(prefix="we.", dir="/tmp")
    w = Warm(directory, config, **environment)
    try:
        yield w
        w.stop()
    finally:
        with contextlib.suppress(Exception):
            w.stop()        # twice is harmless; after a failure it must still end
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def built():
    for program in (WARM, WARMD, TOOL):
        if not os.access(program, os.X_OK):
            pytest.exit(f"{program} is missing: run make, or set WARM_BUILD", 2)


@pytest.fixture(scope="module")
def warm():
    with a_warm() as w:
        yield w


@pytest.fixture
def own_warm():
    with a_warm() as w:
        yield w


@pytest.fixture
def make_warm():
    with contextlib.ExitStack() as stack:
        yield lambda config=None, **environment: stack.enter_context(a_warm(config, **environment))


@pytest.fixture
def same(warm):
    return warm.same


# imported late: both modules take what they need from this one


@pytest.fixture(scope="module")
def programs():
    from c_programs import programs_fixture
    with programs_fixture() as p:
        yield p


@pytest.fixture
def launches(warm):
    from launches import launches_of
    with launches_of(warm) as l:
        yield l


@pytest.fixture
def script(tmp_path):
    """script(text, name="script.py", **{"other.py": text}) -> path of the first; the folder is the test's own"""
    def write(text, name="script.py", **others):
        for n, t in {**others, name: text}.items():
            path = tmp_path / n
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(t, encoding="utf-8")
        return tmp_path / name
    return write


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory):
    """compile_c(source, *flags, output=None) -> path of a program or library; skipped by name without a compiler"""
    def compile_it(source, *flags, output=None):
        compiler = shutil.which("cc") or shutil.which("gcc")
        need(compiler, "a C compiler")
        directory = tmp_path_factory.mktemp("c")
        (directory / "program.c").write_text(source, encoding="utf-8")
        output = Path(output or directory / "program")
        made = output.with_name(output.name + ".new")
        r = subprocess.run([compiler, "-O1", "-g", "-o", str(made), str(directory / "program.c"), *map(str, flags)],
                           capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert r.returncode == 0, r.stderr
        made.rename(output)
        return output
    return compile_it


sys.path.insert(0, str(HERE))
