# SPDX-License-Identifier: MIT
"""The fast exit: the callable of the EXIT line, called at the end of the program as the stub would."""

import pytest

# what stands at the end of a program here: call it by its address, and leave as the stub does
LEAVE = """
import ctypes as _ctypes, os as _os
_line = [l for l in open(_os.environ['REPORT']).read().split() if l.startswith('EXIT=')][0]
_leave = _ctypes.cast(int(_line.rpartition(':')[2], 16), _ctypes.py_object).value
_value = _leave()
_os.write(_os.open(_os.environ['VALUE'], _os.O_WRONLY | _os.O_CREAT | _os.O_TRUNC), b'%d' % _value)
if _value in (1, 3):
    _os._exit(0)
"""

FAST = {
    "nothing": "import json\nprint('unflushed', end='')\n",
    "atexit": "import atexit\natexit.register(print, 'bye')\nprint(1)\n",
    "atexit fails": "import atexit\nclass F:\n    __call__ = lambda self: 1 / 0\n    __repr__ = lambda self: 'f'\natexit.register(F())\natexit.register(print, 'x')\n",
    "atexit before": "import early\nprint(1)\n",
    "threads": "import threading, time\ndef f():\n    time.sleep(.05)\n    print('thread')\nthreading.Thread(target=f).start()\n",
    "daemon": "import threading, time\nthreading.Thread(target=time.sleep, args=(30,), daemon=True).start()\nprint(1)\n",
    "executor": "from concurrent.futures import ThreadPoolExecutor\nprint(ThreadPoolExecutor(2).submit(pow, 2, 3).result())\n",
    "file": "import os\nf = open('data', 'w')\nf.write('unflushed')\ng = open('more', 'wb')\ng.write(b'bytes')\n",
    "file before": "import opened\nopened.f.write('text')\nprint(1)\n",
    "finalize": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'final')\n",
    "tempfile": "import tempfile\nd = tempfile.TemporaryDirectory(dir='.')\nt = tempfile.TemporaryFile()\nt.write(b'x')\n",
    "asyncio": "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    print('ran')\nasyncio.run(main())\n",
    "subprocess": "import subprocess\np = subprocess.Popen(['true'])\np.wait()\n",
    "generator done": "def g():\n    yield 1\ng1 = g()\nlist(g1)\ng2 = g()\n",
    "socket": "import socket\ns = socket.socket()\nprint(1)\n",
    "zip": "import zipfile\nz = zipfile.ZipFile('z.zip', 'w')\nz.close()\n",
    "stdout closed": "import sys\nprint(1)\nsys.stdout.close()\n",
    "stdout detached": "import sys\nsys.stdout.write('text ')\nb = sys.stdout.detach()\nb.write(b'bytes')\nsys.stdout = None\n",
    "stdout wrapped anew": "import sys, io\nprint(1)\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(2)\n",
    "stdout's buffer": "import sys\nprint(1)\nsys.stdout.flush()\nsys.stdout.buffer.write(b'bytes')\n",
    "stdout elsewhere": "import sys\nprint(1)\nsys.stdout = open('data', 'w')\nprint(2)\n",
    "file before, closed": "import opened\nopened.f.close()\nprint(1)\n",
    "file before, detached": "import opened\nb = opened.f.detach()\nb.write(b'bytes')\nprint(1)\n",
    "file before, gone": "import opened\ndel opened.f\nprint(1)\n",
    "file before, its buffer kept": "import opened\nb = opened.f.buffer\nb.write(b'bytes')\nprint(1)\n",
}

FULL = {
    "del": "class A:\n    def __del__(self):\n        print('gone')\na = A()\nprint(1)\n",
    "del in a cycle": "import gc\ngc.disable()\nclass A:\n    def __del__(self):\n        print('gone')\na = A()\na.a = a\ndel a\n",
    "del before": "import early_del\nprint(1)\n",
    "del without gc": "class A(int):\n    __slots__ = ()\n    def __del__(self):\n        print('gone')\na = A(3)\n",
    "generator": "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nx = g()\nnext(x)\n",
    "coroutine": "async def f(): pass\nx = f()\n",
    "weak callback": "import weakref\nclass A: pass\na = A()\nr = weakref.ref(a, lambda r: print('dead'))\n",
    "gzip": "import gzip\nf = gzip.open('f.gz', 'wb')\nf.write(b'data')\n",
    "zip": "import zipfile\nz = zipfile.ZipFile('z.zip', 'w')\nz.writestr('a', 'b')\n",
    "named": "import tempfile\nt = tempfile.NamedTemporaryFile(dir='.')\n",
    "task": "import asyncio\nloop = asyncio.new_event_loop()\nasync def f():\n    await asyncio.sleep(9)\nt = loop.create_task(f())\n",
    "del given later": "import early_class\nearly_class.A.__del__ = lambda self: print('gone')\na = early_class.A()\nprint(1)\n",
    "failed flush": "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nprint('x')\n",
}


def write_helpers(runner):
    runner.write("early.py", "import atexit\natexit.register(print, 'early')\n")
    runner.write("opened.py", "f = open('opened', 'w')\nf.write('before ')\n")
    runner.write("early_class.py", "class A: pass\nfirst = A()\n")
    runner.write("early_del.py", "class A:\n    def __del__(self):\n        print('gone')\na = A()\na.self = a\n")


def leave(runner, python, source, env=None, flags=()):
    """(the value returned, the process as it ended; its files), next to a cold run"""
    write_helpers(runner)
    for name in ("data", "more", "opened"):
        (runner.tmp / name).unlink(missing_ok=True)
    cold = runner.cold([python, *flags, runner.write("script.py", source)])
    files = snapshot(runner)
    value = runner.tmp / "value"
    warm = runner.warm([python, *flags, runner.write("script.py", source + LEAVE)],
                       env={"REPORT": runner.report, "VALUE": str(value), **(env or {})})
    assert warm.ready, warm
    return int(value.read_text()), warm, cold, snapshot(runner) == files


def snapshot(runner):
    kept = [p for p in runner.tmp.iterdir() if p.is_file() and p.suffix != ".py" and p.name not in ("report", "value")]
    dated = (".gz", ".zip")     # contain the time
    return {p.name: p.stat().st_size if p.suffix in dated else p.read_bytes() for p in kept}, len(list(runner.tmp.glob("tmp*")))


@pytest.mark.parametrize("name", FAST)
def test_fast(runner, python, name):
    value, warm, cold, same_files = leave(runner, python, FAST[name])
    assert value == 1, warm
    assert (warm.out, warm.err, warm.status) == (cold.out, cold.err, cold.status)
    assert same_files


@pytest.mark.parametrize("name", FULL)
def test_full(runner, python, name):
    """Declines, and the finalisation that follows does all that cold's does, once"""
    value, warm, cold, same_files = leave(runner, python, FULL[name])
    assert value == 0, warm
    assert warm.out == cold.out and warm.status == cold.status and same_files
    if name != "coroutine":     # warns of the line, which differs in the dictionary of a longer module
        assert warm.err == cold.err


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("what", ["ctypes", "extension"])
def test_handlers_in_c(runner, python, what, where):
    """A library or an extension that nobody knows: C's exit(3) has to run its handlers"""
    use = {"ctypes": "import ctypes\nlibrary = ctypes.CDLL('libm.so.6')\n",
           "extension": "import sys, types\nm = types.ModuleType('strange')\nm.__file__ = '/x/strange.so'\nsys.modules['strange'] = m\n"}[what]
    runner.write("user.py", use)
    value, warm, _, _ = leave(runner, python, "import user\nprint(1)\n" if where == "before" else "print(1)\n" + use)
    assert value == 3, warm


def test_asked_for(runner, python):
    assert leave(runner, python, FAST["atexit"], env={"WARM_EXIT": "full"})[0] == 0


@pytest.mark.parametrize("flags", [["-X", "dev"], ["-Wdefault"]])
def test_noisy(runner, python, flags):
    value, warm, cold, _ = leave(runner, python, "import json\nf = open('/dev/null')\n", flags=flags)
    assert value == 0
    assert "unclosed file" in cold.err and "unclosed file" in warm.err


def test_warnings_asked_for_by_the_program(runner, python):
    value, warm, cold, _ = leave(runner, python, "import warnings\nwarnings.simplefilter('default')\nf = open('/dev/null')\n")
    assert value == 0
    assert "unclosed file" in cold.err and "unclosed file" in warm.err


def test_interrupted_join(runner, python):
    """Ctrl-C while threads are joined is reported as CPython does, and the rest goes on"""
    value, warm, cold, _ = leave(runner, python, (
        "import threading, time, os, signal, atexit\natexit.register(print, 'bye')\n"
        "def f():\n    time.sleep(.2)\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(.2)\n"
        "threading.Thread(target=f).start()\n"))
    assert value == 1 and warm.out == cold.out
    assert "KeyboardInterrupt" in cold.err and warm.err == cold.err


def test_address_is_kept(runner, python):
    """No collection takes the callable"""
    value, warm, _, _ = leave(runner, python, "import gc\ngc.unfreeze()\ngc.collect()\ngc.collect()\nprint(1)\n")
    assert value == 1, warm
