# SPDX-License-Identifier: MIT
"""Whole programs: warm does what cold does, for each interpreter and each way to start one."""

import os
import signal
import subprocess
import sys

import pytest

# name: (source, arguments); each is run cold and warm and must look the same
PROGRAMS = {
    "argv": ("import sys\nprint(sys.argv, type(sys.argv), sys.argv[1:], len(sys.argv))\n"
             "print(getattr(sys, 'orig_argv', 0))", ["a", "b c", "\udcff"]),
    "argv from": ("from sys import argv\nimport sys\nprint(argv is sys.argv, type(argv), argv)", ["x"]),
    "no arguments": ("import sys\nprint(sys.argv)", []),
    "environ": ("import os\nprint(dict(os.environ), type(os.environ._data), list(os.environb))\n"
                "import posix\nprint(posix.environ is os.environ._data)", []),
    "names": ("import sys\nprint(sys.path, __file__, __name__, __spec__, __package__, __builtins__)\n"
              "print(sorted(globals()), __loader__.__class__, sys.flags)\n", []),
    "main module": ("import sys\nprint(sorted(vars(sys.modules['__main__'])))", []),
    "modules": ("import json\nimport sys\nprint(list(sys.modules))", []),
    "sys": ("import sys\nprint(sys.warnoptions, sys._xoptions, sys.executable, sys.prefix)\n"
            "print([type(f).__name__ for f in sys.meta_path])", []),
    "no trace": ("import sys, builtins, json\nx = 1\nprint(sys.gettrace(), sys.getprofile(), builtins.__import__)\n"
                 "f = sys._getframe()\nprint(f.f_trace, f.f_trace_lines, f.f_trace_opcodes, f.f_back)\n"
                 "if hasattr(sys, 'monitoring'): print([sys.monitoring.get_tool(i) for i in range(6)])\n", []),
    "random is whole": ("import random, sys\nprint(random.Random.seed.__code__.co_filename == random.__file__)\n"
                        "print(type(random.__loader__), random.__loader__ is random.__spec__.loader)", []),
    "stack": ("import inspect, traceback\ntraceback.print_stack()\n"
              "print([(f.filename, f.lineno, f.function) for f in inspect.stack()])", []),
    "warning": ("import warnings\nwarnings.warn('here', stacklevel=2)\nwarnings.warn('and here')\n"
                "def f():\n    warnings.warn('caller', stacklevel=2)\nf()", []),
    "warning at compile": ("import json\nx = '\\d'\nprint(x is 1)\n", []),
    "traceback": ("import sys\n\ndef f():\n    return 1 / 0\n\n\nf()\n", []),
    "failed import": ("import json\nprint(1)\nimport nothing_like_this\n", []),
    "failed import, kept": ("import traceback\ntry:\n    import nothing_like_this\nexcept ImportError as e:\n"
                            "    kept = e\nprint(1)\ntraceback.print_exception(type(kept), kept, kept.__traceback__)", []),
    "guards": ("import sys\ntry:\n    import nothing_like_this\nexcept ImportError:\n    nothing_like_this = None\n"
               "if sys.version_info >= (3, 9):\n    import json\nelse:\n    import os\n"
               "if __name__ == '__main__':\n    import string\n    print(json, string, nothing_like_this)\n", []),
    "exit": ("import sys\nsys.exit(7)", []),
    "exit text": ("import sys\nsys.exit('so long')", []),
    "exit in except": ("try:\n    import nothing_like_this\nexcept ImportError:\n    raise SystemExit(3)", []),
    "exception": ("import json\nraise ValueError('bad')", []),
    "chained": ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise KeyError('x')", []),
    "excepthook": ("import sys\ndef hook(*a):\n    print('hook', a[0])\nsys.excepthook = hook\n1 / 0", []),
    "interrupt": ("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", []),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n", []),
    "atexit": ("import atexit\ndef bye():\n    print('bye')\natexit.register(bye)\n"
               "atexit.register(print, 'last first')\n", []),
    "threads": ("import threading, time\ndef work():\n    time.sleep(0.05)\n    print('worked')\n"
                "threading.Thread(target=work).start()\nprint('main is done')", []),
    "thread ids": ("import threading, os\nt = threading.current_thread()\n"
                   "print(t.native_id == os.getpid(), threading.main_thread() is t, t.ident == threading.get_ident())", []),
    "subprocess": ("import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(5)'], stdout=-1).stdout)\n"
                   "print(subprocess.run(['env'], stdout=-1).stdout.decode())\nprint(subprocess.call(['sh', '-c', 'exit 4']))", []),
    "fork": ("import os, sys\npid = os.fork()\nif pid == 0:\n    print('child')\n    sys.exit(5)\n"
             "print(os.waitpid(pid, 0)[1])", []),
    "mp fork": ("import multiprocessing\ndef square(x):\n    return x * x\nif __name__ == '__main__':\n"
                "    with multiprocessing.get_context('fork').Pool(2) as p:\n        print(p.map(square, range(5)))", []),
    "mp spawn": ("import multiprocessing\ndef square(x):\n    return x * x\nif __name__ == '__main__':\n"
                 "    with multiprocessing.get_context('spawn').Pool(1) as p:\n        print(p.map(square, range(5)))", []),
    "pickle": ("import pickle\nclass Point:\n    def __init__(self, x):\n        self.x = x\n"
               "data = pickle.dumps(Point(3))\nprint(data, pickle.loads(data).x, Point.__module__)", []),
    "seeded": ("import random\nrandom.seed(42)\nprint(random.random(), random.gauss(0, 1))", []),
    "tempfile": ("import tempfile, os\nwith tempfile.TemporaryDirectory() as d:\n    print(os.listdir(d))\n"
                 "print(os.path.exists(d))", []),
    "uuid": ("import uuid\nprint(uuid.uuid3(uuid.NAMESPACE_DNS, 'x'), uuid.uuid4().version, uuid.uuid1().version)", []),
    "stdin": ("import sys\nfor line in sys.stdin:\n    print(line.upper(), end='')\nprint(sys.stdin.encoding, sys.stdin.errors)", []),
    "input": ("import json\nprint(input('? '), input())", []),
    "streams": ("import sys\nfor s in sys.stdin, sys.stdout, sys.stderr:\n"
                "    print(s.encoding, s.errors, s.line_buffering, s.write_through, s.mode, s.name, s.newlines, s.isatty(), s)\n"
                "print(sys.stdout is sys.__stdout__)", []),
    "decorated": ("import functools\n@functools.lru_cache(None)\ndef f(x):\n    return x\nclass A:\n    y = f(2)\n"
                  "print(f(1), A.y)", []),
    "nothing but definitions": ("import json\n'text'\nX = [1, -2, {'a': (None, True)}]\ndef f(): pass\n", []),
    "one line": ("import json; X = 1; print(json.dumps(X)); 1/0", []),
    "gc": ("import gc\nprint(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks, gc.garbage)", []),
    "exec and eval": ("import ast\nexec('print(__name__)')\nprint(ast.dump(ast.parse('1+1')))", []),
    "future": ("from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\n"
               "print(A(1), A.__annotations__)", []),
    "env write": ("import os\nos.environ['ADDED'] = '1'\nos.environ.pop('GONE', None)\nos.environ['HOME'] = '/here'\n"
                  "import json\nprint(list(os.environ.items()))\nos.system('env | grep -v ^_=')", []),
    "empty": ("", []),
    "docstring": ("'''Only this'''", []),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_as_cold(runner, python, name):
    source, arguments = PROGRAMS[name]
    script = runner.write("script.py", source)
    options = {"env": {"GONE": "1"}}
    if name in ("stdin", "input"):
        options["input"] = "one\ntwo\n"
    runner.same([python, script, *arguments], **options)


@pytest.mark.parametrize("flags", [
    ["-O"], ["-OO"], ["-I"], ["-E"], ["-s"], ["-S"], ["-u"], ["-B"], ["-b"], ["-X", "utf8"], ["-X", "dev"], ["-q"],
    ["-X", "faulthandler"], ["-W", "error"], ["-Wdefault"], ["-X", "no_debug_ranges"], ["-IS"]], ids="".join)
def test_flags(runner, python, flags):
    script = runner.write("script.py", (
        "import sys, json\nassert 0 or __debug__\nprint(sys.flags, sys.warnoptions, sys._xoptions, sys.path)\n"
        "print(sys.stdout.line_buffering, sys.stdout.write_through, sys.stdout.encoding, sys.stdout)\n"
        "print(list(sys.modules))\nimport warnings\nwarnings.warn('w')\n"))
    runner.same([python, *flags, script, "x"])


@pytest.mark.parametrize("code", [
    "import json; import sys; print(sys.argv, json.dumps(1), sys.path[0] == '', __name__)",
    "import sys\nprint(sys.argv)\n1/0", "print(1)", "import this", ""])
def test_command(runner, python, code):
    runner.same([python, "-c", code, "a", "-b"])
    runner.same([python, "-Bc" + code, "a"])


def test_command_reads_no_arguments(runner, python):
    result = runner.warm([python, "-c", "import json; print(json)", "a", "b"])
    assert result.values("ARGV") == ["-2"], result


def test_module(runner, python):
    runner.write("package/__init__.py", "import sys\nprint('init', sys.argv, sys.gettrace())\n")
    runner.write("package/tool.py", "import json, sys\nfrom . import __name__ as n\nprint(n, sys.argv, __spec__.name, __package__, __file__, type(__loader__))\n")
    runner.write("package/__main__.py", "import sys\nprint('main', sys.argv, __spec__.name)\n1/0\n")
    runner.same([python, "-m", "package", "a"])
    runner.same([python, "-m", "package.tool", "a"])
    runner.same([python, "-m", "json.tool", "-h"])


def test_directory_and_zip(runner, python, tmp_path):
    import zipfile
    runner.write("app/__main__.py", "import json, helper\nprint(helper.x, __file__, __spec__.name)\nraise KeyError\n")
    runner.write("app/helper.py", "x = 3\n")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as z:
        z.write(tmp_path / "app/__main__.py", "__main__.py")
        z.write(tmp_path / "app/helper.py", "helper.py")
    runner.same([python, str(tmp_path / "app")])
    runner.same([python, "app.zip", "x"])


def test_shebang(runner, python, tmp_path):
    script = runner.write("tool", "#!%s -s\nimport sys\nprint(sys.argv, sys.flags.no_user_site)\n" % python)
    os.chmod(script, 0o755)
    runner.same([script, "a"])


def test_virtual_environment(runner, python, tmp_path):
    venv = str(tmp_path / "venv")
    if subprocess.run([python, "-m", "venv", "--without-pip", venv], stdout=-1, stderr=-1).returncode:
        pytest.skip("this Python has no venv")
    script = runner.write("script.py", "import sys, json\nprint(sys.prefix, sys.base_prefix, sys.executable, sys.path)\n")
    runner.same([venv + "/bin/python3", script])


def test_encodings_of_source(runner, python, tmp_path):
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nimport json\nX = '\xe9'\nprint(ascii(X))\n1/0\n")
    runner.same([python, "latin.py"])
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbfimport json\nprint('\xc3\xa9')\n")
    runner.same([python, "bom.py"], env={"PYTHONIOENCODING": "utf-8"})
    (tmp_path / "dos.py").write_bytes(b"@echo off\r\nimport json\r\nprint(json.dumps(1))\r\n1/0\r\n")
    runner.same([python, "-x", "dos.py"])


def test_syntax_error(runner, python):
    """Never ready, and as cold"""
    script = runner.write("script.py", "import json\ndef f(:\n")
    cold, warm = runner.cold([python, script]), runner.warm([python, script])
    assert not warm.ready and (warm.out, warm.err, warm.status) == (cold.out, cold.err, cold.status)


@pytest.mark.parametrize("case", ["interactive", "stdin", "compiled", "trace", "importtime", "verbose"])
def test_refused(runner, python, tmp_path, case):
    script = runner.write("script.py", "import json\nprint(json.dumps([1]))\n")
    runner.write("setter.py", "import sys\nsys.settrace(lambda *a: None)\n")
    command, options, words = {
        "interactive": ([python, "-i", script], {}, "interactive"),
        "stdin": ([python, "-"], {"input": "print(1)"}, "standard input"),
        "compiled": ([python, "script.pyc"], {}, "no source"),
        "trace": ([python, runner.write("t.py", "import setter\nprint(1)\n")], {}, "trace"),
        "importtime": ([python, "-X", "importtime", script], {}, "importtime"),
        "verbose": ([python, "-v", script], {}, "-v"),
    }[case]
    if case == "compiled":
        subprocess.run([python, "-c", "import py_compile; py_compile.compile('script.py', 'script.pyc'); import os; os.unlink('script.py')"], cwd=str(tmp_path), check=True)
    result = runner.warm(command, **options)
    assert result.refused is not None and words in result.refused, result
    assert not result.ready
    if case not in ("importtime", "verbose"):
        cold = runner.cold(command, **options)
        assert (result.out, result.err, result.status) == (cold.out, cold.err, cold.status)


def test_interrupt_while_waiting(runner, python):
    """Ctrl-C in a blocked program: KeyboardInterrupt's traceback, and death by the signal"""
    script = runner.write("script.py", "import os, signal, threading, time\n"
                          "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\ntime.sleep(30)\n")
    result = runner.same([python, script])
    assert result.status == -signal.SIGINT


def test_import_time_stacklevel(runner, python):
    """A module that warns while it is imported blames the line of the import"""
    runner.write("old.py", "import warnings\nwarnings.warn('old module', DeprecationWarning, stacklevel=2)\n")
    script = runner.write("script.py", "import json\nimport old\nprint(1)\n")
    runner.same([python, "-Wdefault", script])


def test_trace_is_off_while_importing(runner, python):
    runner.write("inner.py", "import sys\nstate = sys.gettrace(), __import__\n")
    script = runner.write("script.py", "import inner\nprint(inner.state)\n")
    runner.same([python, script])
