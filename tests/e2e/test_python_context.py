# SPDX-License-Identifier: MIT
"""What a Python program finds when it starts: arguments, environment, descriptors, identity, the interpreter's own
state. Each program runs cold and warm; all it can see must be equal."""

import os
import resource
import signal
import stat
import subprocess
import zipapp

import pytest
from conftest import PYTHON, TIMEOUT, find_pythons, need, some_pythons

PYTHONS = find_pythons()

# what a program can ask about itself; process ids as relations, since they must differ
REPORT = '''
import json, os, sys

GREETING = "hello"


def report():
    import builtins, gc, resource, signal, threading, warnings
    from pathlib import Path
    import re
    say = lambda *words: print(*(re.sub("at 0x[0-9a-f]+", "at ADDRESS", str(w)) for w in words), flush=True)
    say("name", __name__, __file__, __spec__, __package__, __doc__, type(__loader__).__name__)
    say("globals", sorted(k for k in globals()))
    say("argv", sys.argv, type(sys.argv), getattr(sys, "orig_argv", None))
    say("path", sys.path, sys.path_hooks, [type(f) for f in sys.meta_path])
    say("flags", sys.flags, sys.warnoptions, sys._xoptions)
    say("executable", sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix)
    say("environ", sorted(os.environ.items()), type(os.environ._data))
    say("environb", len(os.environb), {k.decode("latin-1") for k in os.environb} ^ {k for k in os.environ})
    say("cwd", os.getcwd(), "umask %o" % os.umask(0o22))
    say("ids", os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), os.getpriority(os.PRIO_PROCESS, 0))
    say("limits", [(n, resource.getrlimit(getattr(resource, n))) for n in sorted(dir(resource)) if n.startswith("RLIMIT_")])
    for f in (sys.stdin, sys.stdout, sys.stderr):
        if f is None:
            say("stream", None)
            continue
        say("stream", f.name, f.mode, f.encoding, f.errors, f.line_buffering, f.write_through, f.newlines,
            f.isatty(), f.fileno(), type(f.buffer).__name__, f is sys.__stdout__)
    say("encodings", sys.getdefaultencoding(), sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
    say("signals", [(int(s), str(signal.getsignal(s))[:40]) for s in sorted(signal.valid_signals())])
    say("mask", signal.pthread_sigmask(signal.SIG_BLOCK, []))
    say("trace", sys.gettrace(), sys.getprofile(), sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold())
    say("hooks", builtins.__import__, sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook)
    say("threads", threading.enumerate()[0].name, threading.active_count(), threading.main_thread() is threading.current_thread())
    say("thread ids", threading.get_native_id() == os.getpid() == threading.main_thread().native_id)
    say("process", os.getppid() == int(os.environ.get("PARENT", "0")), os.readlink("/proc/self") == str(os.getpid()),
        os.getsid(0) == os.getsid(os.getppid()), os.getpgid(0) == os.getpgid(os.getppid()))
    say("cmdline", Path("/proc/self/cmdline").read_bytes())
    say("proc environ", sorted(Path("/proc/self/environ").read_bytes().split(b"\\0")))
    say("comm", Path("/proc/self/comm").read_text(), Path("/proc/self/task", str(os.getpid()), "comm").read_text())
    say("fds", sorted(os.listdir("/proc/self/fd"), key=int)[:-1], [os.get_inheritable(f.fileno()) for f in (sys.stdin, sys.stdout, sys.stderr) if f])
    say("filters", warnings.filters)
    say("affinity", sorted(os.sched_getaffinity(0)), os.sched_getscheduler(0))
    status = dict(l.split(":\\t", 1) for l in Path("/proc/self/status").read_text().splitlines() if ":\\t" in l)
    say("status", {k: status[k] for k in ("Umask", "State", "TracerPid", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn",
        "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups", "Uid", "Gid")})


if __name__ == "__main__":
    report()
    sys.exit(3)
'''


@pytest.fixture(params=some_pythons(PYTHONS).values(), ids=some_pythons(PYTHONS))
def python(request):
    return request.param


@pytest.fixture(params=PYTHONS.values(), ids=PYTHONS)
def any_python(request):
    return request.param


@pytest.fixture
def report(script):
    return script(REPORT, "report.py")


@pytest.fixture
def parent():
    return {"PARENT": str(os.getpid())}


def test_script(same, any_python, report, parent):
    r = same([any_python, report, "a", "--b=c d", "", "\udcff"], env=parent, expect_status=3)
    assert b"\nargv ['" in r.stdout


def test_relative_script_in_another_directory(same, python, report, parent):
    same([python, "report.py", "x"], env=parent, cwd=report.parent, expect_status=3)
    (report.parent / "below").mkdir()
    same([python, "../report.py", "x"], env=parent, cwd=report.parent / "below", expect_status=3)


def test_interpreter_found_on_path(same, python, report, parent):
    path = os.path.dirname(python) + ":" + same.__self__.env["PATH"]
    same([os.path.basename(python), report], env={**parent, "PATH": path}, expect_status=3)


def test_module(same, any_python, report, parent):
    same([any_python, "-m", "report", "x", "y"], env=parent, cwd=report.parent, expect_status=3)


def test_package(same, any_python, script, parent):
    main = script(REPORT, "pack/__main__.py", **{"pack/__init__.py": "X = 1\n"})
    same([any_python, "-m", "pack", "x"], env=parent, cwd=main.parent.parent, expect_status=3)


def test_directory_and_zip(same, python, script, parent, tmp_path):
    main = script(REPORT, "app/__main__.py")
    same([python, main.parent, "x"], env=parent, expect_status=3)
    zipapp.create_archive(main.parent, tmp_path / "app.pyz")
    same([python, tmp_path / "app.pyz", "x"], env=parent, expect_status=3)


def test_command(same, any_python, parent):
    text = REPORT.replace("__file__, ", "globals().get('__file__'), ")
    same([any_python, "-c", text, "x", "-y"], env=parent, expect_status=3)
    same([any_python, "-c", "import json, sys; print(json.dumps(sys.argv)); sys.exit(4)", "x"], expect_status=4)
    same([any_python, "-Sc", "import json; print(__name__, json)"], expect_status=0)


def test_shebang(same, any_python, script, parent):
    main = script(f"#!{any_python}\n" + REPORT, "tool")
    main.chmod(0o755)
    same([main, "x"], env=parent, expect_status=3)
    main = script(f"#!{any_python} -Es\n" + REPORT, "flagged")
    main.chmod(0o755)
    same([main, "x"], env=parent, expect_status=3)
    main = script("#!/usr/bin/env python3\n" + REPORT, "enved")
    main.chmod(0o755)
    path = os.path.dirname(any_python) + ":" + same.__self__.env["PATH"]
    same([main, "x"], env={**parent, "PATH": path}, expect_status=3)


FLAGS = ["-O", "-OO", "-I", "-E", "-s", "-S", "-u", "-B", "-b", "-Xutf8", "-Xdev", "-W error",
         "-W ignore -W default::ImportWarning", "-X faulthandler", "-X int_max_str_digits=1000", "-IsuO", "-R", "-x", "-d", "-q"]
FLAGS_OF_ALL = ["-O", "-I", "-S", "-u", "-Xutf8", "-Xdev", "-W error", "-x"]


def over_pythons(names, of_all, ids=str):
    """All of them with the system's Python, those of_all with each other one too"""
    return [pytest.param(p, n, id=f"{v}-{ids(n)}") for v, p in some_pythons(PYTHONS).items() for n in (names if p == PYTHON else of_all)]


@pytest.mark.parametrize("python, flags", over_pythons(FLAGS, FLAGS_OF_ALL))
def test_flags(same, python, report, parent, flags):
    if "-x" in flags:
        report.write_text("not python\n" + REPORT, encoding="utf-8")
    same([python, *flags.split(" "), report, "x"], env=parent)


@pytest.mark.parametrize("variables", [
    {"PYTHONPATH": "/nonexistent:/usr/share"}, {"PYTHONUNBUFFERED": "1"}, {"PYTHONHASHSEED": "0"},
    {"PYTHONIOENCODING": "latin-1:replace"}, {"PYTHONUTF8": "1"}, {"LC_ALL": "C", "LANG": None}, {"PYTHONWARNINGS": "error"},
    {"PYTHONDONTWRITEBYTECODE": "1"}, {"PYTHONOPTIMIZE": "2"}, {"PYTHONDEVMODE": "1"}, {"PYTHONNOUSERSITE": "1"},
    {"PYTHONMALLOC": "malloc"}, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}, {"ODD": "\udcff=x", "EMPTY": ""},
], ids=lambda v: ",".join(v))
def test_variables_of_python(same, report, parent, variables):
    same([PYTHON, report, "x"], env={**parent, **variables}, expect_status=3)


STREAMS = [{"stdout": k} for k in ("pipe", "file", "append", "tty", "null", "closed")] + [
    {"stdin": k} for k in ("pipe", "file", "tty", "closed", b"some input\n")] + [
    {"stderr": k} for k in ("file", "tty", "closed", "stdout")] + [
    {"stdout": "closed", "stderr": "closed"}, {"stdin": "closed", "stdout": "closed", "stderr": "file"},
    {"stdin": "tty", "stdout": "tty", "stderr": "tty"}]


def name_of(kinds):
    return ",".join(f"{k}={v if isinstance(v, str) else 'bytes'}" for k, v in kinds.items())


@pytest.mark.parametrize("python, kinds", over_pythons(STREAMS, [STREAMS[3], STREAMS[10], STREAMS[16]], name_of))
def test_streams(same, python, script, kinds):
    """What the streams are, what goes through them, in which order and in which writes"""
    text = '''
import os, sys

NAME = "x"


def main():
    print("first")
    print("second", file=sys.stderr)
    if sys.stdout is not None:
        sys.stdout.write("third, without end of line")
        os.write(2, b"(before it, unless line-buffered)") if sys.stderr is not None else None
    if sys.stdin is not None:
        print(repr(sys.stdin.read(4)) if not sys.stdin.isatty() else "terminal")
    lines = []
    for f in (sys.stdin, sys.stdout, sys.stderr):
        lines.append("none" if f is None else repr((f.name, f.encoding, f.errors, f.line_buffering, f.write_through,
                     f.isatty(), f.mode, type(f.buffer).__name__, f.seekable() and f is not sys.stdin and f.tell())))
    open(sys.argv[1], "w").write("\\n".join(lines))
    print("last")


main()
'''
    s = script(text)
    seen = s.with_name("seen")
    records = []

    def keep(data):
        return data

    cold, warm = same([python, s, seen], normalize=keep, check=False, **kinds,
                      interact=lambda p: (p.wait(TIMEOUT), records.append(seen.read_text())))
    assert (cold.stdout, cold.stderr, cold.status) == (warm.stdout, warm.stderr, warm.status), f"{cold}\n{warm}"
    assert records[0] == records[1]


def test_report_with_each_kind_of_output(same, report, parent):
    for kinds in ({"stdout": "file"}, {"stdout": "append"}, {"stdin": "closed"}, {"stdin": b"abc"}, {"stderr": "closed"}):
        same([PYTHON, report], env=parent, expect_status=3, **kinds)


def test_one_template_serves_other_kinds_of_streams(warm, script):
    """Built with pipes, launched with files and terminals"""
    s = script("import sys, json\nprint(sys.stdout.line_buffering, sys.stdout.isatty(), sys.stdin.isatty())\n"
               "print(sys.stdin.readline())\n")
    warm.build([PYTHON, s], stdin="pipe")
    for kinds in ({"stdout": "file", "stdin": "pipe"}, {"stdout": "tty", "stdin": "null"}, {"stdout": "append", "stdin": b"hello\nworld"},
                  {"stdout": "null", "stdin": "file"}):
        warm.same([PYTHON, s], build=False, **kinds)


def test_input_position_is_shared(warm, script, tmp_path):
    """stdin is a file that somebody read a part of: the program goes on from there, and leaves it where cold does"""
    s = script("import sys\n\nprint(sys.stdin.readline())\nprint(sys.stdin.read())\n")
    data = tmp_path / "data"
    data.write_text("one\ntwo\nthree\nfour\n", encoding="utf-8")
    positions, results = [], []
    for run in (warm.cold, None):
        fd = os.open(data, os.O_RDONLY)
        os.read(fd, 4)
        if run is None:
            warm.build([PYTHON, s], stdin=fd)
            os.lseek(fd, 4, os.SEEK_SET)
            results.append(warm.run([PYTHON, s], strict=True, stdin=fd))
        else:
            results.append(run([PYTHON, s], stdin=fd))
        positions.append(os.lseek(fd, 0, os.SEEK_CUR))
        os.close(fd)
    assert results[0].stdout == results[1].stdout == b"two\n\nthree\nfour\n\n"
    assert positions[0] == positions[1]


def test_output_position_is_shared(warm, script, tmp_path):
    """stdout is a file at an offset, as in (echo x; prog; echo y) > file"""
    s = script("import json\nprint(json.dumps('program'))\n")
    warm.build([PYTHON, s], stdout="file")
    out = tmp_path / "out"
    for flags in ("", ">"):
        text = f"(echo before; {warm.program} run --strict {PYTHON} {s}; echo after) >{flags} {out}"
        for _ in range(2):
            r = subprocess.run(["sh", "-c", text], env=warm.env, timeout=TIMEOUT, check=False, capture_output=True)
            assert r.stderr == b""
    assert out.read_text() == 'before\n"program"\nafter\n' * 3


def test_unread_variables_differ(warm, script):
    """A launch with other variables is served by the same template if the leading part did not read them"""
    s = script("import os, sys, json\nX = os.environ['READ']\nprint(X, os.environ.get('UNREAD'), sorted(os.environ))\n")
    warm.build([PYTHON, s], env={"READ": "1", "UNREAD": "1", "GONE": "1"})
    before = len(warm.ls())
    for env in ({"READ": "1", "UNREAD": "2"}, {"READ": "1"}, {"READ": "1", "UNREAD": "\udcff", "NEW": "x=y=z"}):
        r = warm.same([PYTHON, s], env=env, build=False)
        assert r.stdout.startswith(f"1 {env.get('UNREAD')} ".encode(errors="surrogateescape"))
    assert len(warm.ls()) == before


def test_read_variables_differ(warm, script):
    s = script("import os, json\nX = os.environ['READ'] if 'READ' in os.environ else 0\nY = 'WANTED' in os.environ\nprint(X, Y)\n")
    warm.build([PYTHON, s], env={"READ": "1"})
    for env in ({"READ": "2"}, {}, {"READ": "1", "WANTED": ""}):
        warm.idle()
        r = warm.run([PYTHON, s], env=env, strict=True)
        assert r.status == 125 and ("READ" in r.err or "WANTED" in r.err), r
        assert warm.run([PYTHON, s], env=env).stdout == warm.cold([PYTHON, s], env=env).stdout


def test_variable_read_by_an_imported_module(warm, script):
    s = script("import mod\nprint(mod.LEVEL)\n", **{"mod.py": "import os\nLEVEL = os.getenv('LEVEL', 'none')\n"})
    warm.build([PYTHON, s])
    assert warm.same([PYTHON, s], build=False).stdout == b"none\n"
    assert warm.run([PYTHON, s], env={"LEVEL": "9"}).stdout == b"9\n"
    assert warm.same([PYTHON, s], env={"LEVEL": "9"}).stdout == b"9\n"
    assert warm.same([PYTHON, s], build=False).stdout == b"none\n"


def test_variables_set_by_the_leading_part(same, python, script, parent):
    """os.environ[...] = ... before an import: the module sees it, and so does a child"""
    s = script("import os\nos.environ['SET'] = 'by script'\nos.environ.setdefault('DEFAULTED', 'default')\nimport mod\n"
               "import subprocess\nprint(mod.SEEN, os.environ['SET'], flush=True)\n"
               "subprocess.run(['env'], check=True)\n", **{"mod.py": "import os\nSEEN = os.environ['SET']\n"})
    for env in ({}, {"SET": "by caller"}, {"DEFAULTED": "by caller"}):
        same([python, s], env={**parent, **env}, normalize=lambda b: b"\n".join(sorted(b.split(b"\n"))))


def test_environment_of_a_child(same, python, script):
    s = script("import os, subprocess, sys\nprint(os.environ['MINE'], flush=True)\n"
               "subprocess.run(['env'], check=True)\nos.environ['ADDED'] = 'x'\nos.putenv('PUT', 'y')\ndel os.environ['MINE']\n"
               "os.system('env')\nos.execvp('env', ['env'])\n")
    same([python, s], env={"MINE": "mine"})


def test_cwd_umask_limits(warm, python, script, tmp_path):
    s = script("import json, os, resource\nprint(os.getcwd(), resource.getrlimit(resource.RLIMIT_NOFILE), "
               "resource.getrlimit(resource.RLIMIT_CORE), flush=True)\n"
               f"open(os.path.join({str(tmp_path)!r}, 'made'), 'w').close()\n"
               f"os.mkdir(os.path.join({str(tmp_path)!r}, 'dir'))\n")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    warm.build([python, s], cwd="/")
    for mask, files, cwd in ((0o77, 100, "/"), (0o2, 200, "/"), (0, 64, "/")):
        modes = []

        def prepare(mask=mask, files=files):
            os.umask(mask)
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, min(hard, 1000)))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def look(p):
            p.wait(TIMEOUT)
            modes.append([oct(stat.S_IMODE((tmp_path / n).stat().st_mode)) for n in ("made", "dir")])
            (tmp_path / "made").unlink()
            (tmp_path / "dir").rmdir()

        warm.same([python, s], cwd=cwd, preexec=prepare, interact=look)
        assert modes[0] == modes[1]


def test_ignored_and_blocked_signals(same, python, script):
    # SigQ counts those of all processes of the user
    s = script("import json, signal\nfrom pathlib import Path\n"
               "print([l for l in Path('/proc/self/status').read_text().splitlines() if l.startswith('Sig') and not l.startswith('SigQ')])\n"
               "print(signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, []))\n")

    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    same([python, s], preexec=ignore)
    same([python, s], preexec=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM]))
    same([python, s])


def test_inherited_descriptors(same, python, script, tmp_path):
    s = script("import os\nprint(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])\nprint(os.read(int(os.environ['NUMBER']), 4))\n")
    for number in (3, 7, 63, 200):
        (tmp_path / "f").write_bytes(b"abcdefgh")

        def open_it(number=number):
            fd = os.open(tmp_path / "f", os.O_RDONLY)
            os.dup2(fd, number)
            os.set_inheritable(number, True)
            if fd != number:
                os.close(fd)

        same([python, s], env={"NUMBER": str(number)}, preexec=open_it, close_fds=False)


def test_proc_self_exe(same, python, script):
    need(os.getuid() == 0, "/proc/self/exe is right with CAP_CHECKPOINT_RESTORE only: run as root")
    s = script("import os, subprocess, sys\nprint(os.readlink('/proc/self/exe'), flush=True)\n"
               "os.execv('/proc/self/exe', ['python', '-c', 'import sys; print(sys.version)'])\n")
    same([python, s])


def test_no_module_and_no_object_of_warm_is_left(same, any_python, script):
    s = script("import sys, os\nprint(sorted(sys.modules))\nprint(sorted(vars(sys.modules['__main__'])))\n"
               "print(sorted(k for k in vars(sys) if k != 'last_exc'), sorted(vars(sys.modules['builtins'])), sys.path_importer_cache.keys())\n")
    same([any_python, s])
    same([any_python, "-c", "import sys\nprint(sorted(sys.modules))"])
    same([any_python, "-Sc", "import sys\nprint(sorted(sys.modules))"])


def test_stack_and_frames(same, any_python, script):
    """The main module's frame is the outermost one, and nobody stands below it"""
    s = script("import sys, traceback, inspect\ndef f():\n    return traceback.extract_stack(), inspect.stack(), sys._getframe(1).f_back\n"
               "a, b, c = f()\nprint(a, len(b), [x.function for x in b], c.f_code.co_name if c else None)\ntraceback.print_stack()\n")
    same([any_python, s])
    same([any_python, "-m", "script"], cwd=s.parent)


# --- virtual environments and console entry points ------------------------------------------------------


ENTRY = '''#!{python}
# -*- coding: utf-8 -*-
import re
import sys
from greeting import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
'''
GREETING = '''
import argparse, asyncio, json, logging, sys


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--times", type=int, default=1)
    p.add_argument("name")
    a = p.parse_args()
    print(json.dumps({"hello": [a.name] * a.times, "prefix": sys.prefix, "argv": sys.argv, "path": sys.path}))
    return a.times
'''


@pytest.fixture(scope="module")
def venv(request, tmp_path_factory):
    """A virtual environment with a package of ours and its entry point, as pip would write it"""
    python = request.param
    where = tmp_path_factory.mktemp("venv")
    r = subprocess.run([python, "-m", "venv", "--without-pip", str(where)], timeout=TIMEOUT, check=False, capture_output=True)
    need(r.returncode == 0, f"venv for {python}: {r.stderr[-200:]}")
    [site] = where.glob("lib/python3*/site-packages")
    (site / "greeting").mkdir()
    (site / "greeting/__init__.py").write_text(GREETING, encoding="utf-8")
    entry = where / "bin/greet"
    entry.write_text(ENTRY.format(python=where / "bin/python"), encoding="utf-8")
    entry.chmod(0o755)
    return where


@pytest.mark.parametrize("venv", some_pythons(PYTHONS).values(), ids=some_pythons(PYTHONS), indirect=True)
class TestVenv:
    def test_script(self, same, venv, report, parent):
        same([venv / "bin/python", report, "x"], env=parent, expect_status=3)

    def test_entry_point(self, warm, venv):
        warm.build([venv / "bin/greet", "--times", "2", "you"])
        for words, status in ((["--times", "2", "you"], 2), (["me"], 1), ([], 2), (["--help"], 0), (["--times", "x", "y"], 2)):
            warm.same([venv / "bin/greet", *words], build=False, expect_status=status)

    def test_entry_point_on_path(self, same, warm, venv):
        path = f"{venv}/bin:{warm.env['PATH']}"
        same(["greet", "you"], env={"PATH": path, "VIRTUAL_ENV": str(venv)}, expect_status=1)

    def test_module(self, same, venv):
        same([venv / "bin/python", "-m", "json.tool"], stdin=b'{"a": [1,2]}')


def tool(name):
    path = os.path.join("/usr/bin", name)
    need(os.access(path, os.X_OK), path)
    return path


def test_pytest_as_a_program(same, script):
    s = script("import json\n\n\ndef test_one():\n    assert json.loads('1') == 1\n\n\ndef test_two():\n    assert 1 == 2\n", "test_it.py")
    import re
    for argv in ([tool("pytest")], [PYTHON, "-m", "pytest"]):
        same([*argv, "-q", "-p", "no:cacheprovider", s.name], cwd=s.parent, expect_status=1,
             normalize=lambda b: re.sub(rb"\d+\.\d+s", b"TIME", b))


def test_flask_as_a_program(same, script):
    flask = tool("flask")
    s = script("from flask import Flask\napp = Flask(__name__)\n@app.route('/x')\ndef x():\n    return 'x'\n", "app.py")
    same([flask, "--help"], cwd=s.parent, expect_status=0)
    same([flask, "--app", "app", "routes"], cwd=s.parent, expect_status=0)
    same([flask, "--version"], cwd=s.parent, expect_status=0)
    same([flask, "nonsense"], cwd=s.parent, expect_status=2)
