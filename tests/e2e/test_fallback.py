# SPDX-License-Identifier: MIT
"""When no template serves, for whatever reason, the program runs cold, at once and exactly as without warm; -v and
`warm explain` tell why, --strict gives 125."""

import contextlib
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import time

import fake_warmd as fw
import pytest
from conftest import BUILD, PYTHON, SAN, TIMEOUT, Warm, children, eventually, execute, exists, need, state

PROGRAM = "import json, os, sys\nprint(sys.argv[1:], sorted(os.environ.items()), os.getcwd())\nprint('err', file=sys.stderr)\nsys.exit(7)\n"
# a bounded wait: the launcher gives the daemon 200 ms, then the program starts cold
BOUND = 10 if SAN else 2


@pytest.fixture
def program(script):
    return script(PROGRAM)


def cold_as_ever(w, argv, why, *, strict=True, silent=True, **options):
    """Runs cold with the program's own output; -v adds one line that tells why; --strict runs nothing"""
    cold = w.cold(argv, **options)
    if silent:
        r = w.run(argv, **options)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)
    r = w.run(argv, verbose=True, **options)
    first, _, rest = r.stderr.partition(b"\n")
    assert (r.stdout, rest, r.status) == (cold.stdout, cold.stderr, cold.status)
    assert first.startswith(b"warm: running cold: "), first
    words = [why] if isinstance(why, str) else why
    assert any(w in first.decode() for w in words), f"{first!r} does not tell {why!r}"
    if strict:
        r = w.run(argv, strict=True, **options)
        assert (r.stdout, r.status) == (b"", 125)
        assert r.stderr.startswith(b"warm: not warm, and --strict was given: ") and r.stderr.count(b"\n") == 1, r
    return cold


# --- no template (yet) ----------------------------------------------------------------------------------

def test_no_template_then_one(own_warm, program):
    argv = [PYTHON, program, "a"]
    cold = own_warm.cold(argv)
    r = own_warm.run(argv, verbose=True)        # starts the daemon as well
    assert (r.stdout, r.status) == (cold.stdout, cold.status) and b"running cold: no template yet" in r.stderr
    eventually(lambda: own_warm.explain(argv)["status"] == "warm", "a template made behind the first run")
    own_warm.same(argv, build=False)


def test_being_built(warm, script):
    s = script("import slow\nprint('x')\n", **{"slow.py": "import time\ntime.sleep(1)\n"})
    r = warm.run([PYTHON, s])
    assert r.stdout == b"x\n"
    r = warm.run([PYTHON, s], strict=True)
    if "being built" not in r.err:      # a slow machine: it was done before
        warm.command("rm", "--all")
        build = warm.popen([PYTHON, s], strict=False)
        r = warm.run([PYTHON, s], strict=True)
        build.wait(TIMEOUT)
    assert r.status == 125 and "being built" in r.err


def test_another_context(warm, program):
    s = program
    warm.build([PYTHON, s, "a"])
    for options, why in (({"env": {"PYTHONPATH": "/x"}}, "PYTHONPATH"), ({"stdout": "closed"}, "closed"),
                         ({"preexec": lambda: resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, resource.RLIM_INFINITY))}, "limit")):
        warm.idle()
        r = warm.run([PYTHON, s, "a"], options=["--strict"], **options)
        assert r.status == 125 and why in r.err and "does not fit" in r.err, r


REFUSED = {
    "memfd": ("import mod\nprint('on')\n", "import os\nfd = os.memfd_create('x')\n", "a memfd"),
    "crash while importing": ("import mod\nprint('on')\n", "import os\nos.kill(os.getpid(), 9)\n", ""),
}

# where the template stands in front of the call
BOUNDARIES = {
    "socket": ("import mod\nprint('on')\n", "import socket\ns = socket.create_server(('127.0.0.1', 0))\nc = socket.create_connection(s.getsockname())\n", "binds a socket"),
    "child": ("import mod\nprint('on')\nmod.p.stdin.close(); mod.p.wait()\n", "import subprocess\np = subprocess.Popen(['cat'], stdin=subprocess.PIPE)\n", "starts a process (cat) that does not end"),
    "written file": ("import mod\nprint('on')\n", "import os\nwith open(os.environ['OUT'], 'a') as f:\n    f.write('x')\n", "/out"),
    "written by a child": ("import mod\nprint('on')\n", "import os\nos.system('echo x >> \"$OUT\"')\n", "starts a process (sh) that "),
    "signal to others": ("import mod\nprint('on')\n", "import os, signal\nos.kill(os.getppid(), signal.SIGCONT)\n", "asks for the parent of its own process"),
    "redirected": ("import mod\nprint('on')\n", "import os\nos.close(0)\nos.open('/dev/null', 0)\n", "closes or redirects descriptor 0"),
    "reads input": ("import mod\nprint('on', mod.x)\n", "import sys\nx = sys.stdin.readline()\n", "reads standard input"),
}


@pytest.mark.parametrize("name", list(REFUSED), ids=[n.replace(" ", "-") for n in REFUSED])
def test_refused(warm, script, tmp_path, name):
    """The effects of a program that cannot be a template happen once for each run, never by a build"""
    main, mod, why = REFUSED[name]
    s = script(main, **{"mod.py": mod})
    out = tmp_path / "out"
    options = {"env": {"OUT": str(out)}, "stdin": b"line\n"}
    answer = warm.build([PYTHON, s], expect=None, **options)
    assert answer["status"] != "ready", answer
    assert answer["reason"] and why in answer["reason"]
    assert not out.exists(), "the build had an effect"
    count = []

    def size():
        count.append(out.stat().st_size if out.exists() else 0)

    cold = warm.cold([PYTHON, s], **options)
    size()
    r = warm.run([PYTHON, s], **options)
    warm.idle()
    size()
    assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)
    assert count[1] == 2 * count[0]
    r = warm.run([PYTHON, s], strict=True, **options)
    assert r.status == 125 and r.stdout == b""
    assert warm.explain([PYTHON, s], env=options["env"], stdin=options["stdin"])["status"] in ("refused", "error", "none", "building", "waits")


@pytest.mark.parametrize("name", list(BOUNDARIES), ids=[n.replace(" ", "-") for n in BOUNDARIES])
def test_boundary(warm, script, tmp_path, name):
    """What a build would do to others it does not do; each run does it once"""
    main, mod, words = BOUNDARIES[name]
    s = script(main, **{"mod.py": mod})
    out = tmp_path / "out"
    options = {"env": {"OUT": str(out)}, "stdin": b"line\n"}
    answer = warm.build([PYTHON, s], **options)
    assert not out.exists(), "the build had an effect"
    assert words in warm.json("inspect", str(answer["id"]))["boundary"]
    cold = warm.cold([PYTHON, s], **options)
    each = out.stat().st_size if out.exists() else 0
    for _ in range(2):
        warm.build([PYTHON, s], **options)      # the file is there now, or has grown
        assert (out.stat().st_size if out.exists() else 0) == each
        out.unlink(missing_ok=True)
        warm.build([PYTHON, s], **options)
        r = warm.run([PYTHON, s], strict=True, **options)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)
        assert (out.stat().st_size if out.exists() else 0) == each


def test_refusal_names_the_thing_and_ls_shows_it(warm, script):
    main, mod, _ = REFUSED["memfd"]
    s = script(main, **{"mod.py": mod})
    reason = warm.build([PYTHON, s], expect="refused")["reason"]
    [row] = [t for t in warm.ls() if t["argv"] == [PYTHON, str(s)]]
    assert row["state"] == "refused" and row["reason"] in reason
    assert "memfd" in warm.command("explain", "--", PYTHON, s, check=False).stdout
    assert "memfd" in warm.command("build", PYTHON, s, check=False).stderr
    # repaired: the refusal does not outlive its reason
    s.with_name("mod.py").write_text("import os\n", encoding="utf-8")
    warm.same([PYTHON, s])


def test_refusals_of_one_name(warm, script):
    """The last attempt is what counts, whatever command it was made with"""
    main, mod, _ = REFUSED["memfd"]
    # all before the first build: a file that changes afterwards drops a refusal, too
    scripts = [script(main, f"main{i}.py", **{"mod.py": mod}) for i in range(3)]
    for s in scripts:
        warm.build([PYTHON, s], options=["--name", "again"], expect="refused")
        [row] = [t for t in warm.ls() if t["name"] == "again"]
        assert row["argv"] == [PYTHON, str(s)]


# --- the daemon ------------------------------------------------------------------------------------------

def test_daemon_killed(own_warm, program):
    """kill -9: its socket file stays behind, the next run runs cold or starts another, and templates come again"""
    w, argv = own_warm, [PYTHON, program, "a"]
    w.build(argv)
    for _ in range(3):
        pid = w.pid()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not exists(pid), "its end")
        assert (w.runtime_dir / "warmd.sock").exists()
        cold, r = w.cold(argv), w.run(argv)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)
        assert w.pid() not in (None, pid)
        w.same(argv)


def test_daemon_killed_during_a_build(own_warm, script):
    s = script("import slow\nprint('x')\n", **{"slow.py": "import os, time\ntime.sleep(20 if os.environ.get('SLOW') else 0)\n"})
    w = own_warm
    pid = w.start()
    w.idle()
    builder = subprocess.Popen([w.program, "build", PYTHON, s], env={**w.env, "SLOW": "1"}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    below = eventually(lambda: len(c := children(pid)) >= 2 and c, "the build and its program")
    os.kill(pid, signal.SIGKILL)
    out, err = builder.communicate(timeout=TIMEOUT)
    assert builder.returncode == 125 and err
    eventually(lambda: not any(map(exists, below)), "the end of the build's processes")
    assert w.run([PYTHON, s]).stdout == b"x\n"


def test_build_killed(own_warm, script):
    s = script("import slow\nprint('x')\n", **{"slow.py": "import os, time\ntime.sleep(20 if os.environ.get('SLOW') else 0)\n"})
    w = own_warm
    pid = w.start()
    w.idle()
    for which in (0, 1):        # the builder; the program it traces
        builder = subprocess.Popen([w.program, "build", PYTHON, s], env={**w.env, "SLOW": "1"}, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        below = eventually(lambda: len(c := children(pid)) >= 2 and c, "the build and its program")
        os.kill(below[which], signal.SIGKILL)
        out, err = builder.communicate(timeout=TIMEOUT)
        assert builder.returncode == 125 and err
        eventually(lambda: not any(map(exists, below)), "the end of the build's processes")
        assert w.pid() == pid
        w.command("rm", "--all")
    w.same([PYTHON, s])


@pytest.mark.races("measures seconds, of a run beside a cold one")
def test_daemon_hung(own_warm, program):
    """SIGSTOP: a bounded wait, then cold"""
    w, argv = own_warm, [PYTHON, program, "a"]
    w.build(argv)
    pid = w.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        cold = cold_as_ever(w, argv, ["answer", "did not", "timed out", "accept"])
        r = w.run(argv)
        assert r.seconds < cold.seconds + BOUND
    finally:
        os.kill(pid, signal.SIGCONT)
    w.same(argv, build=False)


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("stream", ["stdout", "stderr", "inherited"])
def test_pipes_of_a_run_that_a_stopped_daemon_has_not_taken(own_warm, program, stream):
    """`warm run --pool | cat`: the reader sees the end of file when the program ends, while warmd is still stopped"""
    w, argv = own_warm, [PYTHON, program, "a"]
    w.build(argv, options=["--pool", "1"])
    assert w.run(argv, options=["--pool"], strict=True).status == w.cold(argv).status
    read, write = os.pipe()
    given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if stream == "inherited":
        given["pass_fds"] = [write]
    else:
        given[stream] = write
    pid = w.pid()
    with stopped(pid):
        p = subprocess.Popen([w.program, "run", "--pool", "--", *map(str, argv)], env=w.environment(), stdin=subprocess.DEVNULL, **given)
        os.close(write)
        end = time.monotonic() + TIMEOUT
        while True:
            assert select.select([read], [], [], max(0, end - time.monotonic()))[0], "no end of file"
            if not os.read(read, 65536):
                break
        assert p.wait(TIMEOUT) == w.cold(argv).status
        assert state(pid) == "T"
    os.close(read)
    # it goes on, and has launched nothing meanwhile
    w.same(argv, build=False)
    assert w.stats()["running"] == 0 and w.stats()["bad_messages"] == 0


@pytest.mark.races("measures seconds, of a run beside a cold one")
@pytest.mark.parametrize("behaviour", ["hang", "backlog", "close", "close-late", "version", "magic", "empty", "short", "long", "huge",
                                       "type", "status", "few-fds", "fds"])
def test_fake_daemon(own_warm, program, behaviour):
    """Another version, truncated and hostile answers: cold within a bounded time, nothing printed, nothing left open"""
    w, argv = own_warm, [PYTHON, program, "a"]
    w.runtime_dir.mkdir(mode=0o700)
    with fw.FakeWarmd(w.runtime_dir, behaviour):
        cold = w.cold(argv)
        r = w.run(argv)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)
        assert r.seconds < cold.seconds + BOUND
        r = w.run(argv, verbose=True)
        assert b"warm: running cold: " in r.stderr and r.stderr.endswith(cold.stderr) and r.stdout == cold.stdout
        if behaviour == "version":
            assert b"version" in r.stderr
        listing = [PYTHON, "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))"]
        assert w.run(listing).stdout == w.cold(listing).stdout
        assert w.run(argv, strict=True).status == 125


def test_fake_answer_with_nonsense_in_it(own_warm, program):
    """A `warm` answer whose descriptors are no template: cold, nothing lost"""
    w, argv = own_warm, [PYTHON, program, "a"]
    w.runtime_dir.mkdir(mode=0o700)

    class Liar(fw.FakeWarmd):
        def answer(self, connection, data):
            fds = [os.memfd_create("x") for _ in range(3)]
            for fd in fds:
                os.write(fd, os.urandom(8192))
            body = fw.REPLY.pack(0, 3, 0x10000000, 4096, 4096, 0x20000000, 4096, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"")
            with contextlib.suppress(OSError):
                socket.send_fds(connection, [fw.packet(fw.T_RUN_REPLY, body)], fds)
            for fd in fds:
                os.close(fd)

    with Liar(w.runtime_dir):
        cold, r = w.cold(argv), w.run(argv)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)


def test_hostile_messages_end_one_connection_only(warm, program):
    """The other direction: what a broken client sends does the daemon no harm"""
    warm.build([PYTHON, program, "a"])
    pid, bad = warm.pid(), warm.stats()["bad_messages"]
    header = fw.packet(fw.T_RUN)
    run = fw.packet(fw.T_RUN, fw.RUN.pack(*([0xffffffff] * 8), *([2 ** 64 - 1] * 21), *([-1] * 4), *([2 ** 64 - 1] * 32), *([0xffffffff] * 6), 65535, 65535, 0xffffffff,
                                          *([2 ** 64 - 1] * 4), 0xffffffff, -1, 0xffffffff, 0xffffffff, 2 ** 64 - 1, 0xffffffff, b"\xff" * 60))
    for data in (b"x", b"\0" * 16, header[:15], header, run, run + b"\0" * 1000, fw.packet(fw.T_CONTROL, b"\xff" * 100),
                 fw.packet(99), fw.packet(fw.T_RUN_REPLY, b"x" * 400), fw.packet(fw.T_RUN, os.urandom(60000)),
                 fw.packet(fw.T_RUN, b"", size=1 << 31)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(TIMEOUT)
            s.connect(str(warm.runtime_dir / "warmd.sock"))
            s.send(data)
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(65536) == b"", data[:40]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(TIMEOUT)
        s.connect(str(warm.runtime_dir / "warmd.sock"))
        s.send(fw.packet(fw.T_RUN, version=7))
        answer = s.recv(65536)
        assert fw.HEADER.unpack(answer)[:4] == (fw.MAGIC, fw.VERSION, fw.T_VERSION, 16)
        assert s.recv(10) == b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:     # descriptors nobody asked for
        s.settimeout(TIMEOUT)
        s.connect(str(warm.runtime_dir / "warmd.sock"))
        before = len(os.listdir(f"/proc/{pid}/fd"))
        socket.send_fds(s, [header], [0] * 100)
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(10) == b""
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "closed descriptors")
    assert warm.pid() == pid
    assert warm.stats()["bad_messages"] > bad
    warm.same([PYTHON, program, "a"], build=False)


def test_idle_and_slow_clients_do_not_block_others(warm, program):
    warm.build([PYTHON, program, "a"])
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            s = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            s.connect(str(warm.runtime_dir / "warmd.sock"))
        warm.same([PYTHON, program, "a"], build=False)


# --- the runtime directory -----------------------------------------------------------------------------------

def test_directory_open_to_others(own_warm, program):
    w = own_warm
    w.runtime_dir.mkdir(mode=0o700)
    w.runtime_dir.chmod(0o755)
    cold_as_ever(w, [PYTHON, program], ["mode", "may use", "others"])
    assert list(w.runtime_dir.iterdir()) == []
    w.runtime_dir.chmod(0o700)


def test_directory_of_another_user(own_warm, program):
    need(os.getuid() == 0, "another user: run as root")
    w = own_warm
    w.runtime_dir.mkdir(mode=0o700)
    os.chown(w.runtime_dir, 65534, 65534)
    cold_as_ever(w, [PYTHON, program], ["belongs", "owned", "owner"])
    assert list(w.runtime_dir.iterdir()) == []


def test_socket_of_another_user(own_warm, program):
    """Somebody else listens there (the directory was ours): not trusted"""
    need(os.getuid() == 0, "another user: run as root")
    w = own_warm
    w.runtime_dir.mkdir(mode=0o700)
    text = ("import os, socket, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.bind(sys.argv[1])\nos.setuid(65534)\ns.listen(8)\n"
            "print('ready', flush=True)\nwhile True:\n    c, _ = s.accept()\n    d = c.recv(200000)\n    print(len(d), flush=True)\n    c.close()\n")
    p = subprocess.Popen([PYTHON, "-c", text, w.runtime_dir / "warmd.sock"], stdout=subprocess.PIPE)
    try:
        assert p.stdout.readline() == b"ready\n"
        cold_as_ever(w, [PYTHON, program], ["another user", "uid", "belongs"])
    finally:
        p.kill()
        out, _ = p.communicate()
    assert set(out.split()) <= {b"0"}, "it was told what we run"
    (w.runtime_dir / "warmd.sock").unlink()


def test_directory_that_cannot_be(own_warm, program):
    w = own_warm
    for directory in ("relative/path", "", "/proc/nope/rt", "/" + "x" * 200, str(program)):
        cold, r = w.cold([PYTHON, program], env={"WARM_RUNTIME_DIR": directory}), w.run([PYTHON, program], env={"WARM_RUNTIME_DIR": directory})
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status), directory
        assert w.run([PYTHON, program], env={"WARM_RUNTIME_DIR": directory}, strict=True).status == 125


# --- configuration ----------------------------------------------------------------------------------------------

def test_memory_budget(make_warm, script):
    s = script("import mod\nprint(len(mod.x))\n", **{"mod.py": "import os\nx = os.urandom(16 << 20)\n"})
    w = make_warm({"memory_budget": "8M"})
    answer = w.build([PYTHON, s], expect="budget")
    assert "memory_budget" in answer["reason"]
    assert w.run([PYTHON, s]).stdout == b"%d\n" % (16 << 20)
    assert w.run([PYTHON, s], strict=True).status == 125


def test_budget_drops_the_least_recently_used(make_warm, script):
    w = make_warm({"memory_budget": "80M"})
    programs = [script(f"import mod\nprint({i})\n", f"p{i}/s.py", **{f"p{i}/mod.py": "import os\nx = os.urandom(12 << 20)\n"}) for i in range(4)]
    w.build([PYTHON, programs[0]])
    w.build([PYTHON, programs[1]])
    w.build([PYTHON, programs[2]])
    assert w.run([PYTHON, programs[0]], strict=True).stdout == b"0\n"       # 1 is now the oldest
    w.build([PYTHON, programs[3]])
    there = {t["argv"][1] for t in w.ls()}
    assert str(programs[1]) not in there and {str(programs[0]), str(programs[3])} <= there
    stats = w.stats()
    assert stats["dropped_budget"] >= 1 and stats["sealed_bytes"] <= stats["budget_bytes"] == 80 << 20


def test_disabled_by_configuration(make_warm, program):
    w = make_warm({"disable": ["python3*"]})
    w.start()
    cold_as_ever(w, [PYTHON, program], "configuration")
    assert w.build([PYTHON, program], expect=None)["status"] == "disabled"
    assert w.explain([PYTHON, program])["status"] == "disabled"


def test_disabled_by_the_environment(own_warm, program):
    w = own_warm
    cold = w.cold([PYTHON, program], env={"WARM_DISABLE": "1"})
    for options in ({}, {"strict": True}, {"verbose": True}):
        r = w.run([PYTHON, program], env={"WARM_DISABLE": "1"}, **options)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)
    assert not w.runtime_dir.exists()
    w.run([PYTHON, program], env={"WARM_DISABLE": "0"})
    assert w.runtime_dir.exists()


def test_cold_option(own_warm, program):
    w = own_warm
    cold, r = w.cold([PYTHON, program]), w.run([PYTHON, program], options=["--cold"])
    assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)
    assert not w.runtime_dir.exists()


@pytest.mark.skipif(SAN, reason="ASan makes the daemon start slower than a launcher waits")
@pytest.mark.parametrize("text, words", [
    ('{\n  "memory_budgt": 1\n}\n', ["2", "memory_budgt"]), ('{\n\n  "max_age": "soon"\n}\n', ["3", "max_age"]), ("{\n", ["config.json"]),
    ("[]\n", ["config.json:1"])])
def test_bad_configuration(make_warm, program, text, words):
    """warmd names file and line and does not start; programs run cold, and -v says it"""
    w = make_warm(text)
    cold_as_ever(w, [PYTHON, program], "config.json")
    r = w.run([PYTHON, program], verbose=True)
    assert all(word in r.err for word in words), r.err
    assert w.pid() is None
    r = w.command("ls", check=False)
    r = w.command("build", PYTHON, program, check=False)
    assert r.returncode == 125 and all(word in r.stderr for word in words)
    w.configure("{}")
    w.same([PYTHON, program])


def test_build_timeout(make_warm, script):
    w = make_warm({"build_timeout": 1})
    s = script("import slow\nprint('x')\n", **{"slow.py": "import os, time\ntime.sleep(30 if os.environ.get('SLOW') else 0)\n"})
    answer = w.build([PYTHON, s], env={"SLOW": "1"}, expect=None)
    assert answer["status"] != "ready" and "build_timeout" in answer["reason"]
    w.idle()
    assert w.run([PYTHON, s]).stdout == b"x\n"


def test_max_age(make_warm, program):
    w = make_warm({"max_age": 1})
    w.build([PYTHON, program])
    eventually(lambda: w.stats()["templates"] == 0, "the end of the template's life", 20)
    assert w.stats()["dropped_age"] == 1
    assert w.run([PYTHON, program]).status == 7


def test_ignored_path(make_warm, script, tmp_path):
    s = script("import mod\nprint(mod.V)\n", **{"mod.py": "from pathlib import Path\nV = Path(__file__).with_name('noise').read_text()\n", "noise": "1"})
    w = make_warm({"ignore_paths": [str(tmp_path / "noise")]})
    w.build([PYTHON, s])
    (tmp_path / "noise").write_text("2", encoding="utf-8")
    assert w.run([PYTHON, s], strict=True).stdout == b"1\n"       # the user said so


# --- parts that are missing ------------------------------------------------------------------------------------------

def copy_of(tmp_path, *names):
    d = tmp_path / "bin"
    d.mkdir()
    for n in names:
        shutil.copy(BUILD / n, d / n)
    return d


def test_without_warmd(tmp_path, program, own_warm):
    d = copy_of(tmp_path, "warm")
    w = Warm(own_warm.directory, build=d)
    cold_as_ever(w, [PYTHON, program], "warmd", env={"PATH": "/usr/bin:/bin"})


def test_without_warm_tool(tmp_path, program, own_warm):
    d = copy_of(tmp_path, "warm", "warmd")
    w = Warm(own_warm.directory, build=d)
    r = w.command("ls", check=False, env={"PATH": "/usr/bin:/bin"})
    assert r.returncode == 125 and "warm-tool" in r.stderr
    assert w.run([PYTHON, program]).status == 7
    eventually(lambda: w.run([PYTHON, program], strict=True).status == 7, "a template without warm-tool")


@pytest.mark.races("measures seconds, of a run beside a cold one")
def test_warmd_that_fails_to_start(tmp_path, program, own_warm):
    d = copy_of(tmp_path, "warm", "warm-tool")
    w = Warm(own_warm.directory, build=d)
    for text in ("#!/bin/sh\nexit 3\n", "#!/bin/sh\nexec sleep 20\n", "#!/proc/nonexistent\n", "garbage"):
        (d / "warmd").write_text(text, encoding="utf-8")
        (d / "warmd").chmod(0o755)
        cold, r = w.cold([PYTHON, program]), w.run([PYTHON, program])
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status), text
        assert r.seconds < cold.seconds + BOUND


def test_runtime_directory_without_space(own_warm, program):
    need(os.getuid() == 0, "a file system of our own: run as root")
    w = own_warm
    w.runtime_dir.mkdir(mode=0o700)
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=700", "tmpfs", w.runtime_dir], check=False, capture_output=True)
    need(r.returncode == 0, "mount(2)")
    try:
        cold_as_ever(w, [PYTHON, program], ["ead-only", "start", "listen", "lock"])
    finally:
        # the daemon that could not start may still be on its way out
        eventually(lambda: subprocess.run(["umount", w.runtime_dir], check=False, capture_output=True).returncode == 0, "the end of warmd")


# --- what is to be run ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["run", "cold", "disabled"])
def test_programs_that_cannot_be_run(warm, tmp_path, how):
    plain = tmp_path / "plain"
    plain.write_text("x", encoding="utf-8")
    # a directory of PATH that may not be searched would make 126 of 127, as with env(1)
    env = {"PATH": "/usr/bin:/bin", **({"WARM_DISABLE": "1"} if how == "disabled" else {})}
    options = ["--cold"] if how == "cold" else []
    for argv, status in (([plain], 126), ([tmp_path], 126), ([tmp_path / "missing"], 127), (["no-such-program-anywhere"], 127),
                         ([""], 127)):
        r = warm.run(argv, options=options, env=env)
        assert r.status == status and r.err.startswith("warm: ") and r.err.count("\n") == 1, r
    script = tmp_path / "no shebang"
    script.write_text("echo by the shell $0 $1\n", encoding="utf-8")
    script.chmod(0o755)
    env_says = execute(["env", script, "x"], env=warm.env)
    r = warm.run([script, "x"], options=options, env=env)
    assert (r.stdout, r.status) == (env_says.stdout, env_says.status)
    bad = tmp_path / "bad"
    bad.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    bad.chmod(0o755)
    assert warm.run([bad], options=options, env=env).status == 127


def test_huge_arguments_run_cold(warm, script):
    s = script("import sys\nprint(len(sys.argv), sum(map(len, sys.argv[1:])), len(__import__('os').environ['BIG']))\n")
    cold = warm.cold([PYTHON, s, *["x" * 1000] * 300], env={"BIG": "y" * 100000})
    r = warm.run([PYTHON, s, *["x" * 1000] * 300], env={"BIG": "y" * 100000})
    assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status) and cold.status == 0
    warm.build([PYTHON, s, "a"])
    r = warm.run([PYTHON, s, *["x" * 1000] * 300])
    assert r.stdout.startswith(b"301 300000") or r.status == 0 or b"BIG" in r.stderr


def test_directory_that_was_removed(warm, tmp_path):
    d = tmp_path / "gone"
    d.mkdir()
    argv = [PYTHON, "-c", "import os\ntry:\n    print(os.getcwd())\nexcept OSError as e:\n    print(e)\n"]
    cold = warm.cold(argv, cwd=d, preexec=lambda: os.rmdir(d))
    d.mkdir()
    r = warm.run(argv, cwd=d, preexec=lambda: os.rmdir(d))
    assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status)


def test_few_descriptors(warm, script):
    """RLIMIT_NOFILE too low for a template's files: cold, as ever"""
    s = script("import json\nprint('x')\n")
    warm.build([PYTHON, s])
    for n in (4, 5, 8, 12):
        limit = lambda n=n: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))      # noqa: E731
        cold, r = warm.cold([PYTHON, s], preexec=limit), warm.run([PYTHON, s], preexec=limit)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status), n


def test_little_memory(warm, script):
    """RLIMIT_AS too low for the template: the program's own affair, and the same as cold when it is enough"""
    s = script("import json, resource\nprint(resource.getrlimit(resource.RLIMIT_AS))\n")
    warm.build([PYTHON, s])
    for mega in (64, 200, 1000):
        limit = lambda mega=mega: resource.setrlimit(resource.RLIMIT_AS, (mega << 20, mega << 20))      # noqa: E731
        cold, r = warm.cold([PYTHON, s], preexec=limit), warm.run([PYTHON, s], preexec=limit)
        assert (r.stdout, r.status) == (cold.stdout, cold.status), mega
