# SPDX-License-Identifier: MIT
"""What a launch gives its clone: arguments, environment, directory, limits, descriptors... (programs/launched.c). The
template was built in another context than each launch's"""
import ctypes
import functools
import os
import resource
import signal
import subprocess

import pytest
from c_programs import CALL
from conftest import PYTHON, TIMEOUT, eventually, find_pythons, need, some_pythons
from launches import WAYS, Launches
from test_python_context import REPORT

MAIN = ["--ready", "main"]


def same(launches, programs, way, case="context", *, args=(), **more):
    """Cold and launched in one context, from a template that was built in the plain one"""
    return launches.same([programs.path("launched"), case], way, args=args, options=MAIN, build={}, **more)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("args", [[], ["--month", "5"], ["", " ", "\n", "\udcfe", "--", "-v", "--env", "--detach"], ["x" * 50000] * 2],
                         ids=range(4))
def test_arguments(launches, programs, args, way):
    same(launches, programs, way, args=args, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_whole_environment(launches, programs, way):
    """Of a program that nobody watches while it reads variables, all count: the template is made with these"""
    env = {"ONE": "1", "EMPTY": "", "EQUALS": "a=b=c", "ODD": "\udcff\n\t", "LONG": "y" * 60000, "HOME": "/else", "PATH": "/bin:/x",
           "TERM": None, "LANG": "C.UTF-8"}
    same(launches, programs, way, env=env, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_volatile_variables_are_the_launchs(launches, programs, way):
    same(launches, programs, way, env={"SHLVL": "7", "OLDPWD": "/x", "PWD": "/y"}, expect_status=0)


VARIABLES = """
import json, os

def main():
    own = ("WARM_RUNTIME_DIR", "XDG_CONFIG_HOME")
    print(json.dumps(sorted((k, v) for k, v in os.environ.items() if k not in own)))
    print(sorted(v for v in open("/proc/self/environ", "rb").read().split(b"\\0") if not v.startswith(tuple(o.encode() for o in own))))

main()
"""


@pytest.mark.parametrize("way", WAYS)
def test_other_environment_than_the_builds(launches, script, way):
    """What the program did not read before its readiness point may be anything"""
    program = script(VARIABLES)
    for env in ({"ONE": "1", "EMPTY": "", "EQUALS": "a=b=c", "ODD": "\udcff\n\t", "LONG": "y" * 60000, "TERM": None},
                {k: None for k in launches.warm.env if k not in ("LANG", "WARM_RUNTIME_DIR", "XDG_CONFIG_HOME", "HOME", "PATH")}):
        cold = launches.warm.cold([PYTHON, program], env=env)
        name = launches.build([PYTHON, program], way=way)
        r = launches.run(name, env=env)
        launches.remove(name)
        launches.equal(cold, r)
        assert r.way == way and r.status == 0


@pytest.mark.parametrize("way", WAYS)
def test_env_option(launches, script, way):
    """--env sets, replaces, may be repeated and is the clone's alone; its value may have `=` and be empty"""
    program = script(VARIABLES)
    cold = launches.warm.cold([PYTHON, program], env={"A": "new", "B": "", "C": "x=y z"})
    name = launches.build([PYTHON, program], way=way)
    r = launches.run(name, options=["--env", "A=never", "--env", "A=new", "--env=B=", "--env", "C=x=y z"], env={"A": "old"})
    assert r.way == way
    launches.equal(cold, r)
    r = launches.run(name)
    launches.remove(name)
    launches.equal(launches.warm.cold([PYTHON, program]), r)


def runs_cold(r, words, cold):
    """No clone could be had, and the template's command ran in this process instead"""
    assert r.way is None and "warm: running cold: " in r.err and words in r.err, r
    assert (r.stdout, r.status) == (cold.stdout, cold.status), (r, cold)


def test_variables_of_a_program_that_was_not_watched_count(launches, programs):
    name = launches.build([programs.path("launched"), "context"], way="fork", options=MAIN)
    r = launches.run(name, options=["--env", "A=new"])
    runs_cold(r, "variable A differs", launches.warm.cold([programs.path("launched"), "context"], env={"A": "new"}))
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
def test_directory(launches, programs, tmp_path, way):
    where = tmp_path / "a b\n\udcff"
    where.mkdir()
    same(launches, programs, way, cwd=where, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_deleted_directory(launches, programs, tmp_path, way):
    def prepare():
        os.mkdir(tmp_path / "gone")
        os.chdir(tmp_path / "gone")
        os.rmdir(tmp_path / "gone")
    r = same(launches, programs, way, preexec=prepare, expect_status=0)
    assert "cwd ENOENT" in r.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter any directory")
@pytest.mark.parametrize("way", WAYS)
def test_directory_that_may_not_be_entered(launches, programs, tmp_path, way):
    """Closed behind the caller's back: fchdir(2) will not go there; never somewhere else instead"""
    closed = tmp_path / "closed"
    closed.mkdir()

    def prepare():
        os.chmod(closed, 0o700)
        os.chdir(closed)
        os.chmod(closed, 0)
    name = launches.build([programs.path("launched"), "context"], way=way, options=MAIN)
    try:
        cold = launches.warm.cold([programs.path("launched"), "context"], preexec=prepare)
        r = launches.run(name, preexec=prepare)
        assert (r.status == 125 and r.err.startswith("warm: launch: ") and not r.stdout) or r.out == cold.out, r
    finally:
        os.chmod(closed, 0o700)


def strict_limits():
    for name, value in (("RLIMIT_NOFILE", (100, 150)), ("RLIMIT_CORE", (0, 0)), ("RLIMIT_CPU", (1000, 1001)), ("RLIMIT_FSIZE", (1 << 30, 1 << 31)),
                        ("RLIMIT_DATA", (1 << 30, 1 << 30)), ("RLIMIT_MSGQUEUE", (1000, 1000)),
                        ("RLIMIT_RTPRIO", (0, 0)), ("RLIMIT_SIGPENDING", (1000, 1000)), ("RLIMIT_MEMLOCK", (1 << 20, 1 << 20))):
        resource.setrlimit(getattr(resource, name), value)


def other_attributes(ignored=(signal.SIGHUP, signal.SIGALRM, signal.SIGQUIT, signal.SIGPIPE, signal.SIGRTMAX)):
    os.umask(0o137)
    os.nice(5)
    for s in ignored:
        signal.signal(s, signal.SIG_IGN)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prepare", [strict_limits, other_attributes])
def test_limits_umask_nice_ignored_signals(launches, programs, prepare, way):
    same(launches, programs, way, preexec=prepare, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_nohup(launches, programs, way):
    name = launches.build([programs.path("launched"), "context"], way=way, options=MAIN)
    cold = launches.warm.cold(["nohup", programs.path("launched"), "context"])
    r = launches.warm.cold(["nohup", *launches.argv(name)])
    launches.remove(name)
    assert "ignored 1\n" in r.out
    launches.equal(cold, r)


STREAMS = [{"stdout": k} for k in ("file", "append", "tty", "null")] + [
    {"stdin": k} for k in ("pipe", "file", "tty", b"some input\n")] + [
    {"stderr": k} for k in ("file", "tty", "stdout")] + [
    {"stdin": "tty", "stdout": "tty", "stderr": "tty"}]
CLOSED = [{"stdin": "closed"}, {"stderr": "closed"}, {"stdin": "closed", "stderr": "closed"}, {"stdout": "closed"},
          {"stdin": "closed", "stdout": "closed", "stderr": "closed"}]


def name_of(kinds):
    return ",".join(f"{k}={v if isinstance(v, str) else 'bytes'}" for k, v in kinds.items())


def without_names(text):
    """Temporary files and terminals have other names in the next run"""
    lines = text.replace(b"\r\n", b"\n").splitlines(keepends=True)
    return b"".join(line.partition(b" /")[0] + b"\n" if line.startswith(b"fd ") else line for line in lines)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kinds", STREAMS + CLOSED, ids=name_of)
def test_streams(launches, programs, kinds, way):
    same(launches, programs, way, normalize=without_names, verbose=kinds.get("stderr", "pipe") == "pipe", **kinds)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 10, 200000])
def test_input_through_a_pipe(launches, programs, size, way):
    same(launches, programs, way, "copy", stdin=b"q" * size, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_input_from_the_middle_of_a_file_and_output_into_one(launches, programs, tmp_path, way):
    """The offset is the caller's, before and after: (read a; warm launch; cat) < file"""
    (tmp_path / "input").write_text("first line\nsecond line\nthird line\n")
    name = launches.build([programs.path("launched"), "copy"], way=way, options=MAIN)
    line = "exec > {0}; echo before; (read a; echo \"read: $a\"; {1}; echo after) < input; echo end"
    for target, command in (("cold", f"{programs.path('launched')} copy"), ("launched", " ".join(map(str, launches.argv(name))))):
        r = launches.warm.cold(["bash", "-c", line.format(target, command)], cwd=tmp_path)
        assert (r.status, r.err) == (0, ""), r
    launches.remove(name)
    assert (tmp_path / "launched").read_text() == (tmp_path / "cold").read_text()
    assert "before\nread: first line\nsecond line\nthird line\n" in (tmp_path / "cold").read_text()


@pytest.mark.parametrize("way", WAYS)
def test_offset_moves_for_the_caller_too(launches, programs, tmp_path, way):
    """The description is shared with the caller, not a copy: what the clone wrote is where the caller goes on"""
    name = launches.build([programs.path("launched"), "exit"], way=way, options=MAIN)
    with open(tmp_path / "out", "w+b") as f:
        f.write(b"0123456789")
        f.flush()
        r = launches.run(name, ["0"], stdout=f.fileno(), stdin=b"")
        assert r.status == 0
        assert os.lseek(f.fileno(), 0, os.SEEK_CUR) == 10
    launches.remove(name)
    name = launches.build([programs.path("launched"), "copy"], way=way, options=MAIN)
    with open(tmp_path / "out", "w+b") as f:
        f.write(b"0123456789")
        f.flush()
        r = launches.run(name, stdout=f.fileno(), stdin=b"abc")
        assert r.status == 0
        assert os.lseek(f.fileno(), 0, os.SEEK_CUR) == 13
        f.seek(0)
        assert f.read() == b"0123456789abc"
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
def test_inherited_descriptors(launches, programs, tmp_path, way):
    """Files, both ends of a pipe, numbers that lie apart; flags and offsets with them"""
    (tmp_path / "file").write_text("contents of the file")

    def prepare():
        a = os.open(tmp_path / "file", os.O_RDONLY)
        os.lseek(a, 9, os.SEEK_SET)
        os.dup2(a, 7)
        os.dup2(a, 255)
        os.dup2(os.open(tmp_path / "file", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK), 100)
        r, w = os.pipe()
        os.dup2(r, 50)
        os.dup2(w, 51)
        os.closerange(3, 7)
        os.closerange(8, 50)
    same(launches, programs, way, preexec=prepare, close_fds=False, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_shell_redirections(launches, programs, way):
    name = launches.build([programs.path("launched"), "copy"], way=way, options=MAIN)
    line = "echo input | {} 5</etc/hostname 7< <(echo substituted) 200<<<'here string'"
    cold = launches.warm.cold(["bash", "-c", line.format(f"{programs.path('launched')} copy")])
    r = launches.warm.cold(["bash", "-c", line.format(" ".join(map(str, launches.argv(name))))])
    launches.remove(name)
    assert "substituted" in cold.out and "here string" in cold.out
    launches.equal(cold, r)


def many_descriptors(n):
    def prepare():
        for fd in range(3, 3 + n):
            os.dup2(0, fd)
    return prepare


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n", [100, 240])
def test_many_descriptors(launches, programs, n, way):
    same(launches, programs, way, preexec=many_descriptors(n), close_fds=False, expect_status=0)


@pytest.mark.parametrize("way", WAYS)
def test_more_descriptors_than_can_be_handed_over(launches, programs, way):
    """Beyond 255, or more than a message carries: never lost silently"""
    name = launches.build([programs.path("launched"), "context"], way=way, options=MAIN)
    r = launches.run(name, preexec=many_descriptors(253), close_fds=False)
    assert r.status == 125 and "warm: launch: more than" in r.err and "descriptors are open" in r.err
    assert not r.stdout

    def high():
        os.dup2(0, 300)
    cold = launches.warm.cold([programs.path("launched"), "context"], preexec=high, close_fds=False)
    assert "fd 299" not in cold.out
    launches.remove(name)


def high_number():
    os.dup2(0, 260)


@pytest.mark.parametrize("way", WAYS)
def test_descriptor_with_a_high_number_reaches_the_clone_or_is_refused(launches, programs, way):
    cold = launches.warm.cold([programs.path("launched"), "context"], preexec=high_number, close_fds=False)
    assert "fd 260" in cold.out
    name = launches.build([programs.path("launched"), "context"], way=way, options=MAIN)
    r = launches.run(name, preexec=high_number, close_fds=False)
    launches.remove(name)
    if r.status == 125:
        assert "260" in r.err or "descriptor" in r.err
    else:
        assert r.out == cold.out


@pytest.mark.parametrize("way", WAYS)
def test_a_number_that_the_program_uses_itself(launches, programs, tmp_path, way):
    (tmp_path / "input").write_text("caller")

    def prepare():
        os.dup2(os.open(tmp_path / "input", os.O_RDONLY), 5)
    name = launches.build([programs.path("descriptors"), "clash"], way=way, options=CALL)
    r = launches.run(name, preexec=prepare, close_fds=False)
    assert r.way is None and "warm: running cold: descriptor 5" in r.err
    assert launches.run(name).out == "from 5: 0\n"
    launches.remove(name)


@pytest.mark.parametrize("way", WAYS)
def test_dup_of_a_standard_descriptor_that_this_caller_has_closed(launches, programs, way):
    name = launches.build([programs.path("descriptors"), "dup_stdio"], way=way, options=CALL)
    r = launches.run(name, stdout="closed")
    assert r.status != 0 or not r.stdout
    r = launches.run(name)
    launches.remove(name)
    assert (r.out, r.err) == ("to a dup of standard output\nto itself\n", "to a dup of standard error\n")


@pytest.mark.parametrize("way", WAYS)
def test_affinity_and_personality(launches, programs, way):
    need(len(os.sched_getaffinity(0)) > 1, "more than one processor")
    same(launches, programs, way, preexec=lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]))
    same(launches, programs, way, preexec=lambda: ctypes.CDLL(None).personality(0x0040000))


def test_priority_above_warmds(make_warm, programs):
    """warmd at a lower priority: without privilege the clone could not be raised"""
    w = make_warm()
    launches = Launches(w)
    assert w.run([PYTHON, "-S", "-c", "pass"], preexec=lambda: os.nice(5)).status == 0
    w.idle()
    name = launches.build([programs.path("launched"), "context"], options=MAIN)
    cold = w.cold([programs.path("launched"), "context"])
    r = launches.run(name)
    if has_capability(CAP_SYS_NICE):
        launches.equal(cold, r)
    else:
        runs_cold(r, "nice value", cold)


def has_capability(number):
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1], 16) for line in f if line.startswith("CapEff:")) >> number & 1


CAP_SYS_NICE, CAP_SYS_RESOURCE = 23, 24


def test_limits_above_warmds(make_warm, programs):
    w = make_warm()
    launches = Launches(w)
    assert w.run([PYTHON, "-S", "-c", "pass"], preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))).status == 0
    w.idle()
    name = launches.build([programs.path("launched"), "context"], options=MAIN)
    cold = w.cold([programs.path("launched"), "context"])
    r = launches.run(name)
    if has_capability(CAP_SYS_RESOURCE):
        launches.equal(cold, r)
    else:
        runs_cold(r, "resource limit", cold)
        assert "warm stop" in r.err


# --- the launch context as JSON: programs that speak WARM_FD by themselves -------------------------------

SHELL = """#!/bin/bash
greeting="made before"
if [ -n "$WARM_FD" ]; then
    echo READY=1 >&$WARM_FD
    read -r -u $WARM_FD context
    exec {WARM_FD}>&-
    unset WARM_FD
fi
echo "$greeting"
echo "$context"
env pwd -P
umask
cat
exit 4
"""

SPEAKER = """
import json, os, sys
data = {"made": "before"}
fd = int(os.environ["WARM_FD"])
with os.fdopen(fd, "rb+", buffering=0) as f:
    f.write(b"READY=1\\n")
    line = b""
    while not line.endswith(b"\\n"):
        piece = f.read(1 << 20)
        if not piece:
            break
        line += piece
    end = f.read(10)
c = json.loads(line)
print(json.dumps([data, c["argv"], c["env"], c["cwd"], end == b"", c["cwd"] == os.getcwd(), c["generation"] > 0]))
print(c["generation"], file=sys.stderr)
"""


@pytest.mark.parametrize("way", WAYS)
def test_json_context_in_a_shell_script(launches, script, tmp_path, way):
    import json
    program = script(SHELL, "speaker.sh")
    program.chmod(0o755)
    name = launches.build([program, "own"], way=way, options=CALL, stdin=b"")
    where = tmp_path / "else\twhere"
    where.mkdir()
    r = launches.run(name, ["two words", "\udcff", "\"\\"], cwd=where, stdin=b"input\n", preexec=lambda: os.umask(0o77))
    launches.remove(name)
    assert r.status == 4 and r.way == way, r
    first, context, directory, umask, rest = r.out.split("\n", 4)
    assert (first, directory, umask, rest) == ("made before", str(where), "0077", "input\n")
    context = json.loads(context)
    assert context["argv"] == ["/bin/bash", str(program), "own", "two words", "\udcff", "\"\\"]
    assert context["cwd"] == str(where)
    assert context["generation"] > 0
    want = launches.warm.environment()
    assert {k: v for k, v in context["env"].items() if k != "_"} == want


@pytest.mark.parametrize("way", WAYS)
def test_json_context_in_a_python_script(launches, script, tmp_path, way):
    import json
    program = script(SPEAKER, "speaker.py")
    name = launches.build([PYTHON, program, "own"], way=way, pool=2, options=CALL)
    generations = set()
    for args in ([], ["a"], ["\udcff", "é", "\n"]):
        r = launches.run(name, args, cwd=tmp_path)
        data, argv, env, cwd, ended, there, counted = json.loads(r.out)
        assert r.status == 0 and data == {"made": "before"}
        assert argv == [PYTHON, str(program), "own", *args]
        assert env == launches.warm.environment()
        assert cwd == str(tmp_path) and ended and there and counted
        generations.add(int(r.err))
    assert len(generations) == 3
    launches.remove(name)


# --- Python ----------------------------------------------------------------------------------------------

PYTHONS = some_pythons(find_pythons())


def launched(text):
    """A clone of warmd's has a parent, session and group of its own"""
    lines = text.splitlines(keepends=True)
    return b"".join(line if not line.startswith(b"process ") else b"process\n" for line in lines)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
@pytest.mark.parametrize("prepare", [None, other_attributes])
def test_python_report(launches, script, python, way, prepare):
    """All that test_python_context.py looks at, with arguments that the build did not have"""
    report = script(REPORT, "report.py")
    if prepare:
        prepare = functools.partial(other_attributes, ())
    launches.same([python, report, "a"], way, args=["--b=c d", "", "\udcff"], env={"PARENT": "0"}, expect_status=3,
                  normalize=launched, preexec=prepare, build={})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sig", [signal.SIGHUP, signal.SIGINT])
def test_python_whose_caller_ignores_other_signals(launches, script, sig, way):
    """CPython looks at the dispositions when it starts, before its readiness point"""
    program = script(f"import signal\nprint(signal.getsignal({int(sig)}))\n")
    launches.same([PYTHON, program], way, preexec=lambda: signal.signal(sig, signal.SIG_IGN), build={})


@pytest.mark.parametrize("way", WAYS)
def test_python_whose_caller_ignores_sigpipe(launches, script, way):
    """What the interpreter ignores anyway makes no difference"""
    program = script("import signal\nprint(signal.getsignal(signal.SIGPIPE))\n")
    launches.same([PYTHON, program], way, preexec=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN), build={})


@pytest.mark.parametrize("way", WAYS)
def test_python_streams_of_another_kind_than_the_builds(launches, script, way):
    program = script("import sys\n\ndef main():\n    for f in (sys.stdin, sys.stdout, sys.stderr):\n"
                     "        print(f and (f.isatty(), f.line_buffering, f.name, f.mode), file=sys.stderr)\n"
                     "    print('out')\n    print('err', file=sys.stderr)\n    sys.stdout.flush()\n\nmain()\n")
    for kinds in ({"stdout": "tty"}, {"stdin": "tty", "stdout": "file", "stderr": "tty"}, {"stdout": "append"}, {"stdin": "null"}):
        launches.same([PYTHON, program], way, build={}, verbose=kinds.get("stderr", "pipe") == "pipe", **kinds)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kinds", [{"stdin": "closed"}, {"stderr": "closed"}, {"stdout": "closed"}], ids=name_of)
def test_python_stream_that_is_closed_in_the_launch_alone(launches, script, kinds, way):
    program = script("import json\nprint(1)\n")
    cold = launches.warm.cold([PYTHON, program], **kinds)
    name = launches.build([PYTHON, program], way=way)
    r = launches.run(name, **kinds)
    launches.remove(name)
    assert r.way is None and (r.stdout, r.status) == (cold.stdout, cold.status)
    assert "stderr" in kinds or f"standard {'input' if 'stdin' in kinds else 'output'} is closed" in r.err


@pytest.mark.parametrize("way", WAYS)
def test_stack_limit_of_another_size_counts(launches, programs, way):
    """The C library reads it at the start"""
    name = launches.build([programs.path("launched"), "context"], way=way, options=MAIN)
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    limit = lambda: resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, hard))      # noqa: E731
    r = launches.run(name, preexec=limit)
    launches.remove(name)
    runs_cold(r, "resource limit", launches.warm.cold([programs.path("launched"), "context"], preexec=limit))


RANDOM = """
import os, random, sys, tempfile, uuid
import secrets
random.random()

def main():
    print(random.random(), uuid.uuid4(), uuid.uuid1(), secrets.token_hex(8), random.SystemRandom().random(), os.urandom(4).hex(),
          next(tempfile._get_candidate_names()), os.getpid(), *extra())

def extra():
    if "numpy" in sys.modules:
        import numpy
        yield numpy.random.random()

main()
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("numpy", [False, True], ids=["plain", "numpy"])
def test_random_numbers_differ_between_clones(launches, script, way, numpy):
    if numpy:
        need(launches.warm.cold([PYTHON, "-c", "import numpy.random"]).status == 0, "numpy of /usr/bin/python3")
    program = script(("import numpy.random\n" if numpy else "") + RANDOM)
    name = launches.build([PYTHON, program], way=way, pool=3)
    env = launches.warm.environment()
    running = [subprocess.Popen(launches.argv(name), env=env, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    rows = [p.communicate(timeout=TIMEOUT)[0].split() for p in running]
    assert all(p.returncode == 0 for p in running)
    launches.remove(name)
    for column in zip(*rows):
        assert len(set(column)) == 8, column
    assert len(rows[0]) == 8 + numpy


EXIT = """
import atexit, sys, threading
atexit.register(print, "at exit")

class Loud:
    def __del__(self):
        print("deleted")

def main():
    global keep
    keep = Loud()
    threading.Thread(target=print, args=("in a thread",)).start()
    print("unflushed", end="")
    sys.exit(6)

main()
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("env", [{}, {"WARM_EXIT": "full"}], ids=["fast", "full"])
def test_end_of_a_python_clone(launches, script, way, env):
    launches.same([PYTHON, script(EXIT)], way, env=env, expect_status=6)


MANY_IMPORTS = """
import json, re, threading, queue, logging, concurrent.futures
import numpy
POOL = concurrent.futures.ThreadPoolExecutor(3)

def main():
    print(sorted(POOL.map(lambda n: n * n, range(10))))
    print(float((numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum()))
    print(threading.active_count() >= 1, threading.main_thread().native_id == threading.get_native_id())

main()
"""


@pytest.mark.parametrize("way", WAYS)
def test_python_imports_with_threads(launches, script, way):
    need(launches.warm.cold([PYTHON, "-c", "import numpy"]).status == 0, "numpy of /usr/bin/python3")
    launches.same([PYTHON, script(MANY_IMPORTS)], way, env={"OPENBLAS_NUM_THREADS": "4"}, expect_status=0)


STARTED_THREADS = """
import queue, threading
tasks, results = queue.Queue(), queue.Queue()


def worker():
    while True:
        results.put(tasks.get() ** 2)


WORKERS = [threading.Thread(target=worker, daemon=True) for _ in range(4)]
for w in WORKERS:
    w.start()
import os
fd = os.environ.pop("WARM_FD", None)
if fd:
    with os.fdopen(int(fd), "rb+", buffering=0) as f:
        f.write(b"READY=1\\n")
        while f.read(1 << 16):
            pass
for n in range(100):
    tasks.put(n)
print(sorted(results.get() for _ in range(100)))
print(all(w.is_alive() for w in WORKERS), threading.active_count(), len(os.listdir("/proc/self/task")))
"""


@pytest.mark.parametrize("way", WAYS)
def test_python_threads_that_wait_at_the_readiness_point(launches, script, way):
    launches.same([PYTHON, script(STARTED_THREADS)], way, options=CALL, expect_status=0)


def test_environment_that_the_template_read_is_refused_when_it_differs(launches, script):
    program = script("import os\nMODE = os.environ.get('MODE', 'none')\n\ndef main():\n    print(MODE, os.environ.get('LATE'))\n\nmain()\n")
    name = launches.build([PYTHON, program], way="fork", env={"MODE": "one"})
    r = launches.run(name, env={"MODE": "two"})
    if r.status == 125:
        assert "MODE" in r.err and not r.stdout
    else:
        assert r.out == "two None\n"
    r = launches.run(name, env={"MODE": "one", "LATE": "x"})
    assert r.out == "one x\n"
    launches.remove(name)


KEYED = {
    "arguments": ("import sys\nARGS = sys.argv[1:]\n", "ARGS", lambda _: {"args": ["x"]}),
    "cwd": ("import os\nHERE = os.getcwd()\n", "HERE", lambda tmp_path: {"cwd": tmp_path}),
    "umask": ("import os\nMASK = os.umask(0o22)\nos.umask(MASK)\n", "MASK", lambda _: {"preexec": lambda: os.umask(0o77)}),
    "terminal": ("import sys\nTTY = sys.stdout.isatty()\n", "TTY", lambda _: {"stdout": "tty"}),
    "limit": ("import resource\nLIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)\n", "LIMIT",
              lambda _: {"preexec": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", KEYED)
def test_what_the_template_looked_at_is_the_launchs_or_refused(launches, script, tmp_path, key, way):
    """Faithful before fast: a clone never shows what was true for the build only"""
    text, name, context = KEYED[key]
    program = script(f"import keyed\nprint(keyed.{name})\n", **{"keyed.py": text})
    more = context(tmp_path)
    args = more.pop("args", [])
    cold = launches.warm.cold([PYTHON, program, *args], **more)
    template = launches.build([PYTHON, program], way=way)
    r = launches.run(template, args, **more)
    launches.remove(template)
    assert (r.status == 125 and b"warm: launch: " in r.stderr and not r.stdout) or r.stdout == cold.stdout, (r, cold)


@pytest.mark.parametrize("way", WAYS)
def test_signals_that_the_caller_blocks(launches, programs, way):
    def block():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMAX])
    argv = [programs.path("signals"), "inherited"]
    cold = launches.warm.cold(argv, preexec=block)
    name = launches.build(argv, way=way, options=CALL)
    r = launches.run(name, preexec=block)
    launches.remove(name)
    assert r.stdout == cold.stdout, (r, cold)


def test_eventually_fails():
    """The helper that all of these wait with can fail"""
    with pytest.raises(pytest.fail.Exception):
        eventually(lambda: False, timeout=0.01)
