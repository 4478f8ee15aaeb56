# SPDX-License-Identifier: MIT
"""A clone whose launch differs from the build: it must look as a cold start with that context."""

import os
import subprocess

import pytest

SHOW = ("import os, sys\nimport json\nimport threading\n"
        "print(sys.argv, getattr(sys, 'orig_argv', None))\n"
        "print(json.dumps(list(os.environ.items())))\n"
        "sys.stdout.flush()\nos.system('env | grep -v -e ^_= -e ^SHLVL= -e ^OLDPWD=')\n")


def test_arguments(runner, python):
    script = runner.write("script.py", SHOW)
    for build, launch in ((["a", "b"], ["c"]), ([], ["x", "y z", "\udcff", ""]), (["a"], [])):
        cold = runner.cold([python, script, *launch])
        warm = runner.warm([python, script, *build], inject=["-n", "2"] + [w for a in launch for w in ("-a", a)])
        assert warm.ready and (warm.out, warm.err) == (cold.out, cold.err)
        assert warm.values("ARGV") == ["-%d" % len(build)]


@pytest.mark.parametrize("build,launch", [
    ({"A": "1", "B": "2"}, {"A": "1", "B": "3"}),
    ({"A": "1", "B": "2"}, {"B": "2", "A": "1"}),
    ({"A": "1", "B": "2"}, {"A": "1", "C": "3", "B": "2"}),
    ({"A": "1", "B": "2"}, {"B": "2"}),
    ({"B": "2"}, {"A": "1", "B": "2", "LONG": "x" * 5000}),
    ({}, {"A": "\udcff=\n"})])
@pytest.mark.parametrize("locale", [{"LC_ALL": "C.UTF-8"}, {}, {"LC_CTYPE": "C"}, {"LC_CTYPE": "C.UTF-8"}], ids=str)
def test_environment(runner, python, build, launch, locale):
    """Values, names and their order, in os.environ and for children"""
    script = runner.write("script.py", SHOW)
    written = runner.write("writes.py", SHOW.replace(
        "import json\n", "import json\nos.environ['A'] = 'mine'\nos.environ['NEW'] = 'new'\n"))
    passing = runner.write("passing.py", SHOW.replace(
        "import json\n", "import json\nos.environ['NEW'] = 'new'\ndel os.environ['NEW']\nos.environ.pop('B', 0)\n"))
    for program in script, written, passing:
        base = {"PATH": os.environ["PATH"], **locale}
        cold = run_with(runner, [python, program], {**base, **launch})
        warm = run_switching(runner, [python, program], {**base, **build}, {**base, **launch})
        assert warm.stdout == cold.stdout and warm.returncode == 0, warm.stderr


def run_with(runner, command, env):
    return subprocess.run(command, env=env, stdout=-1, stderr=-1, stdin=-3, timeout=60, cwd=str(runner.tmp))


def run_switching(runner, command, build, launch):
    """inject -E takes the launch's environment whole, from a file"""
    path = runner.tmp / "launch-env"
    path.write_bytes(b"".join(os.fsencode(k + "=" + v) + b"\0" for k, v in launch.items()))
    return run_with(runner, [runner.inject, "-o", runner.report, "-E", str(path), "--", runner.adaptor, *command], build)


def test_reads_are_reported(runner, python):
    runner.write("reader.py", "import os\nos.environ.get('READ_ME')\n'MISSING' in os.environ\n"
                 "os.environ['WRITTEN'] = '1'\nos.environ['WRITTEN']\nos.getenv('BYTES')\nos.environb.get(b'BYTES')\n")
    script = runner.write("script.py", "import reader\nprint(1)\n")
    result = runner.warm([python, script, "x"])
    assert set(result.values("ENV")) == {"READ_ME", "MISSING", "BYTES"}, result
    assert result.values("TRACK") == ["env", "argv"]
    assert result.values("ARGV") == ["-1"]


@pytest.mark.parametrize("code,line", [
    ("os.environ.copy()", "ENV=*"), ("list(os.environ)", "ENV=*"), ("len(os.environ)", "ENV=*"),
    ("kept = [os.environ._data]", "ENV=*"), ("str(os.environ)", "ENV=*"),
    ("os.putenv('X', 'new')", "ENV=*"), ("os.unsetenv('X')", "ENV=*"), ("os.environ['X'] = 'new'", "TRACK=env"),
    ("sys.argv[1:]", "ARGV=*"), ("len(sys.argv)", "ARGV=*"), ("[0] + sys.argv", "ARGV=*"),
    ("list(sys.argv)", "ARGV=*"), ("kept = [sys.argv]", "ARGV=*"), ("print(*sys.argv[:0])", "ARGV=*"),
    ("sys.argv = ['x', 'y']", "ARGV=*"), ("sys.argv[0]", "ARGV=-1"), ("sys.argv[0] = 'me'", "ARGV=-1"),
    ("argv = sys.argv", "ARGV=*"), ("from sys import argv", "ARGV=*"), 
    ("kept = dict(vars(sys))", "ARGV=*"), ("vars(sys)['argv']", "ARGV=*"), ("getattr(sys, 'orig_argv', sys.argv)", "ARGV=*")])
def test_whole_reads(runner, python, code, line):
    runner.write("reader.py", "import os, sys\n%s\n" % code)
    script = runner.write("script.py", "import reader\nimport sys, os\nprint(sys.argv, type(os.environ), os.environ['HOME'])\n"
                          "print(getattr(reader, 'argv', sys.argv) is sys.argv)\n")
    result = runner.same([python, script, "x"])
    assert line in result.lines, result


@pytest.mark.parametrize("code,line", [
    ("from sys import argv\nimport json\ndef f(x=1): return argv[1]\nX = 1\n", "ARGV=-1"),
    ("from sys import path, argv as words\nimport json\n", "ARGV=-1"),
    ("from sys import argv\ndef f(): return argv[1]\nclass A:\n    x = f()\n", "ARGV=*"),
    ("from sys import argv\n@lambda f: argv[1]\ndef f(): pass\n", "ARGV=*"),
    ("from sys import argv\nimport other\n", "ARGV=*")])
def test_kept_by_the_main_module(runner, python, code, line):
    """`from sys import argv` there counts only if something could look into it"""
    runner.write("other.py", "from sys import argv\n")
    script = runner.write("script.py", code + "import sys\nprint(globals().get('argv', sys.argv) is sys.argv, sys.argv, argv if 'argv' in globals() else words)\n")
    result = runner.same([python, script, "x"])
    assert line in result.lines, result
    if line != "ARGV=*":
        assert "['new']" in runner.warm([python, script, "x"], inject=["-n", "2", "-a", "new"]).out.replace(repr(script) + ", ", "")


def test_putenv(runner, python):
    """What children see of it is carried, and a launch with another environment is another template's"""
    runner.write("reader.py", "import os\nos.putenv('X', 'new')\nos.unsetenv('GONE')\n")
    script = runner.write("script.py", "import reader, os, subprocess\nprint(os.environ['X'], os.environ['GONE'], flush=True)\n"
                          "os.system('echo $X $GONE')\nprint(os.putenv, list(vars(os)).index('putenv'), type(list(vars(os))[-1]))\n")
    runner.same([python, script], env={"X": "old", "GONE": "here"})


def test_argv_0_written(runner, python):
    runner.write("reader.py", "import sys\nsys.argv[0] = 'me'\n")
    script = runner.write("script.py", "import reader, sys\nprint(sys.argv)\n")
    result = runner.warm([python, script, "x"], inject=["-n", "2", "-a", "new"])
    assert result.out == "['me', 'new']\n", result


def test_no_site(runner, python):
    """os is not loaded when the adaptor comes in"""
    script = runner.write("script.py", SHOW)
    result = runner.warm([python, "-S", script], inject=["-e", "HOME=/elsewhere"])
    assert '"/elsewhere"' in result.out and "HOME=/elsewhere" in result.out, result


@pytest.mark.parametrize("differs", [[], ["-e", "X=1"], ["-a", "x"]])
def test_thread_ids(runner, python, differs):
    """The main thread's id is the process's; another's comes with the context"""
    runner.write("threaded.py", "import threading\nevent = threading.Event()\n"
                 "thread = threading.Thread(target=event.wait)\nthread.start()\nassert thread.native_id\n")
    script = runner.write("script.py", "import threaded, threading, os\n"
                          "print(threading.main_thread().native_id == os.getpid(), threaded.thread.native_id)\nthreaded.event.set()\n")
    result = runner.warm([python, script], inject=["-t", "4242", *differs])
    assert result.out == "True 4242\n", result


def test_modules(runner, python, tmp_path):
    script = runner.write("script.py", "import json\nprint(1)\n")
    result = runner.warm([python, script])
    assert str(tmp_path) in result.values("MODULES")
    assert result.values("LISTED").count(str(tmp_path)) == 1


# Standard streams: built with pipes, launched on something else

STREAMS = ("import sys, os\nimport logging\nh = logging.StreamHandler()\nkept = sys.stdout, sys.stderr.buffer\n"
           "def show(s):\n    b = s.buffer\n    return (s.line_buffering, s.write_through, s.encoding, s.errors, s.mode, s.name,\n"
           "            s.isatty(), s.seekable(), b.name, getattr(b, 'raw', b).mode, type(b))\n"
           "def blksize(s):\n    return getattr(s.buffer, 'raw', s.buffer)._blksize\n"
           "text = '\\n'.join(repr((show(s), blksize(s))) for s in (sys.stdin, sys.stdout, sys.stderr))\n"
           "with open(os.environ['OUT'], 'w') as f: f.write(text)\n"
           "print(kept[0] is sys.stdout is sys.__stdout__)\nprint('é', end='')\nsys.stderr.write('err')\n"
           "print(sys.stdin.read())\nsys.stdout.flush()\nif sys.stdout.seekable(): print(sys.stdout.tell())\n")


@pytest.mark.parametrize("flags", [[], ["-u"]])
@pytest.mark.parametrize("kind", ["file", "append", "tty", "null"])
def test_streams(runner, python, tmp_path, kind, flags):
    """The streams of a clone are made for the descriptors it has: the interpreter started on a pipe"""
    script = runner.write("script.py", STREAMS)
    seen = []
    for warm in (False, True):
        out = str(tmp_path / ("out%d" % warm))
        env = {"OUT": out, "LC_ALL": "C.UTF-8"}
        command = [python, *flags, script]
        if warm:
            command = [runner.inject, "-S", "-s", "7", "-o", runner.report, "--", runner.adaptor, *command]
        seen.append(run_on(runner, command, env, kind, tmp_path) + (open(out).read(),))
    assert seen[0] == seen[1]


def run_on(runner, command, env, kind, tmp_path):
    import pty
    target = tmp_path / "target"
    target.write_text("before\n")
    if kind == "tty":
        master, fd = pty.openpty()
        os.write(master, b"typed\n\x04")
    else:
        flags = {"file": os.O_WRONLY | os.O_TRUNC, "append": os.O_WRONLY | os.O_APPEND, "null": os.O_WRONLY}[kind]
        fd = os.open("/dev/null" if kind == "null" else str(target), flags)
    source = tmp_path / "source"
    source.write_text("input\n")
    with open(source) as stdin:
        process = subprocess.Popen(command, env={**runner.env, **env}, stdin=fd if kind == "tty" else stdin,
                                   stdout=fd, stderr=fd, cwd=str(tmp_path))
        status = process.wait(60)
    os.close(fd)
    data = os.read(master, 65536) if kind == "tty" else target.read_bytes()
    return status, data


@pytest.mark.parametrize("mask", ["0", "7"])
def test_pending_output(runner, python, mask):
    """What an imported module prints is neither lost nor written twice"""
    runner.write("printer.py", "import sys\nprint('from a module')\nsys.stdout.write('half')\nprint('é', file=sys.stderr)\n")
    script = runner.write("script.py", "import printer\nprint(' a line')\n1/0\n")
    cold = runner.cold([python, script])
    warm = runner.warm([python, script], inject=["-s", mask])
    assert warm.ready and (warm.out, warm.err) == (cold.out, cold.err)


def test_reconfigured(runner, python):
    runner.write("setter.py", "import sys\nsys.stdout.reconfigure(encoding='latin-1', errors='replace', line_buffering=True)\n")
    script = runner.write("script.py", "import setter, sys\nprint(sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering)\n")
    assert runner.warm([python, script], inject=["-s", "7"]).out == "latin-1 replace True\n"


def test_replaced_stream(runner, python):
    """A stream taken apart cannot be made anew: the launch must have the same kinds of descriptors"""
    runner.write("setter.py", "import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8')\n")
    script = runner.write("script.py", "import setter\nprint(1)\n")
    result = runner.same([python, script])
    assert not result.values("STDIO")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(runner, python, closed):
    script = runner.write("script.py", "import sys, os\nimport json\n"
                          "open(os.environ['OUT'], 'w').write(repr([s is None for s in (sys.stdin, sys.stdout, sys.stderr)]))\nprint(5)\n")
    seen = []
    for prefix in "", "%s -o %s -- %s " % (runner.inject, runner.report, runner.adaptor):
        out = str(runner.tmp / "out")
        result = runner.run(["sh", "-c", "%s%s %s %s" % (prefix, python, script, closed)], env={"OUT": out})
        seen.append((result.stdout, result.stderr, result.returncode, open(out).read()))
    assert seen[0] == seen[1]
    assert "READY=1" in open(runner.report).read()
