# SPDX-License-Identifier: MIT
"""What a Python program does and how it ends: exit status, exceptions, signals, exit handlers, threads, child
processes, random numbers, output that the leading part wrote. Cold and warm must be equal."""

import os
import re
import signal
import subprocess

import pytest
from conftest import PYTHON, TIMEOUT, eventually, find_pythons, need, read_until, some_pythons, state

PYTHONS = find_pythons()


@pytest.fixture(params=some_pythons(PYTHONS).values(), ids=some_pythons(PYTHONS))
def python(request):
    return request.param


@pytest.fixture(params=PYTHONS.values(), ids=PYTHONS)
def any_python(request):
    return request.param


# --- how it ends: each text is a whole program, run in three ways -----------------------------------------------

ENDS = {
    "plain": "print('x')",
    "status": "sys.exit(7)",
    "status of 256": "sys.exit(256)",
    "negative status": "sys.exit(-1)",
    "text": "sys.exit('words: \\xe4')",
    "none": "sys.exit(None)",
    "object": "sys.exit([1, 2])",
    "SystemExit subclass": "class E(SystemExit): code = 5\nraise E()",
    "os._exit": "print('lost'); os._exit(9)",
    "exception": "def f(a):\n    def g():\n        return 1 / a\n    return g()\n\n\nf(0)",
    "chained": "try:\n    json.loads('[1')\nexcept ValueError as e:\n    raise KeyError('other') from e",
    "multi-line": "x = (1,\n     2,\n     json.loads(\n         '{'))",
    "exception group": "raise BaseException('x', [1])",
    "name error": "pritn(1)",
    "import error": "def f():\n    import no_such_module_here\n\nf()",      # at its own level it is no template: test_backoff.py
    "syntax error at run time": "exec('1 +')",
    "recursion": "def f(): f()\ntry:\n    f()\nexcept RecursionError as e:\n    print(e)",
    "unicode": "print('\\u20ac \\U0001f600')",
    "surrogate": "print('\\udcff')",
    "keyboard interrupt": "raise KeyboardInterrupt",
    "kill": "os.kill(os.getpid(), 9)",
    "terminate": "os.kill(os.getpid(), 15)",
    "interrupt": "os.kill(os.getpid(), 2); time.sleep(30)",
    "abort": "os.abort()",
    "alarm": "signal.alarm(1); signal.pause()",
    "handled": "signal.signal(10, lambda *a: print('handled', a[0])); os.kill(os.getpid(), 10); print('on')",
    "excepthook": "sys.excepthook = lambda *a: print('hook', a[0]); 1 / 0",
    "unraisable": "class A:\n    def __del__(self): 1 / 0\na = A(); del a; print('on')",
    "atexit": "atexit.register(print, 'first'); atexit.register(print, 'second'); print('end')",
    "atexit and status": "atexit.register(print, 'handler'); sys.exit(4)",
    "atexit and exception": "atexit.register(print, 'handler'); 1 / 0",
    "failing atexit": "atexit.register(lambda: 1 / 0); print('end')",
    "exit in atexit": "atexit.register(lambda: sys.exit(6)); print('end')",
    "atexit that writes to a file": "f = open(os.environ['OUT'], 'w'); atexit.register(lambda: f.write('late')); f.write('early ')",
    "unflushed": "f = open(os.environ['OUT'], 'w'); f.write('unflushed'); g = open(os.environ['OUT'] + '2', 'wb'); g.write(b'x')",
    "unflushed in a cycle": "class A: pass\na = A(); a.a = a; a.f = open(os.environ['OUT'], 'w'); a.f.write('cycle'); del a",
    "unflushed in gzip": "import gzip\nf = gzip.open(os.environ['OUT'], 'wt', mtime=0) if 0 else gzip.GzipFile(os.environ['OUT'], 'wb', mtime=0)\nf.write(b'x' * 10)",
    "__del__ at exit": "class A:\n    def __del__(self): print('deleted')\na = A(); b = A(); b.b = b; print('end')",
    "__del__ in a module": "import mod\nmod.keep = mod.Kept(); print('end')",
    "__del__ of the leading part": "print(mod.early)",
    "generator at exit": "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nx = g(); next(x); print('end')",
    "weakref callback": "import weakref\nclass A: pass\na = A(); r = weakref.ref(a, lambda r: print('callback')); print('end')",
    "weakref.finalize": "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'finalized'); print('end')",
    "temporary directory": "import tempfile\nd = tempfile.TemporaryDirectory(); open(os.environ['OUT'], 'w').write(d.name); print(os.path.isdir(d.name))",
    "thread": "t = threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))); t.start(); print('main')",
    "thread that fails": "t = threading.Thread(target=lambda: 1 / 0, name='T'); t.start(); t.join(); print('main')",
    "daemon thread": "t = threading.Thread(target=lambda: (time.sleep(60), print('never')), daemon=True); t.start(); print('main')",
    "thread and exception": "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start(); 1 / 0",
    "thread starts thread": "def a(): threading.Thread(target=lambda: (time.sleep(0.03), print('inner'))).start(); print('outer')\nthreading.Thread(target=a).start()",
    "pool": "from concurrent.futures import ThreadPoolExecutor\ne = ThreadPoolExecutor(4); print(sorted(e.map(lambda i: i * i, range(20)))); e.submit(print, 'late')",
    "timer": "threading.Timer(0.05, print, ['timer']).start(); print('main')",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return await asyncio.gather(*[asyncio.to_thread(lambda i=i: i) for i in range(3)])\nprint(asyncio.run(f()))",
    "pending task": "import asyncio\nasync def f(): await asyncio.sleep(60)\nloop = asyncio.new_event_loop(); t = loop.create_task(f()); loop.run_until_complete(asyncio.sleep(0)) if 0 else print('end')",
    "coroutine never awaited": "async def f(): pass\nc = f(); print('end')",
    "resource warning": "import warnings\nwarnings.simplefilter('always')\nopen('/dev/null')\nprint('x')",
    "fork": "p = os.fork()\nif p == 0:\n    print('child'); sys.exit(3)\nprint(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))",
    "fork and atexit": "atexit.register(lambda: print('exit of', 'parent' if os.getpid() == first else 'child', flush=True))\nfirst = os.getpid()\np = os.fork()\nif p: os.waitpid(p, 0)",
    "forgotten child": "p = os.fork()\nif not p: os._exit(0)\nprint('end')",
    "exec": "os.execv('/bin/echo', ['echo', 'replaced'])",
    "subprocess": "print(subprocess.run(['sh', '-c', 'cat; echo $0; exit 3', 'name'], input=b'in', capture_output=True))",
    "subprocess with pipes": "p = subprocess.Popen(['tr', 'a-z', 'A-Z'], stdin=-1, stdout=-1); print(p.communicate(b'abc'))",
    "subprocess of itself": "print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.argv)', 'x'], capture_output=True).stdout)",
    "system": "print('before', flush=True); print(os.system('echo $FROM_CALLER; exit 3'))",
    "closed stdout": "print('x'); sys.stdout.close()",
    "closed descriptor": "print('x'); os.close(1)",
    "closed both": "os.close(1); os.close(2); print('x')",
    "replaced stdout": "import io\nsys.stdout = io.StringIO(); print('lost')",
    "reconfigured": "sys.stdout.reconfigure(encoding='latin-1', errors='replace'); print('\\xe4\\u20ac')",
    "detached": "b = sys.stdout.detach(); b.write(b'raw'); b.flush()",
    "no newline": "sys.stdout.write('no newline')",
    "binary": "sys.stdout.buffer.write(bytes(range(256)) * 100)",
    "interleaved": "print('a'); sys.stderr.write('b\\n'); print('c', flush=True); os.write(1, b'd\\n'); print('e')",
    "much output": "print('x' * 3000000)",
    "input": "print(sys.stdin.read().upper())",
    "input by line": "for line in sys.stdin: print(line, end='')",
    "input()": "print(input(), sys.stdin.read())",
    "input to a child": "print(sys.stdin.buffer.raw.read(3), flush=True); subprocess.run(['cat'])",
    "environment": "print(os.environ['FROM_CALLER'], flush=True); os.environ['NEW'] = 'n'; subprocess.run(['sh', '-c', 'echo $NEW $FROM_CALLER'])",
    "warning": "import warnings\nwarnings.warn('be careful')\nwarnings.warn('be careful')\nwarnings.warn('old', DeprecationWarning)",
    "import late": "import colorsys, decimal\nprint(decimal.Decimal(1) / 3, colorsys.rgb_to_hsv(1, 0, 0))",
    "linecache": "import inspect\nclass A:\n    'doc'\n    def f(self): return 1\nprint(inspect.getsource(A.f), A.__module__, A)",
    "traceback module": "import traceback\ndef f(): raise ValueError('x')\ntry:\n    f()\nexcept ValueError:\n    traceback.print_exc(file=sys.stdout)",
    "logging": "import logging\nlogging.basicConfig(level=10, format='%(levelname)s %(module)s %(lineno)d %(process)d' if 0 else '%(levelname)s %(module)s %(lineno)d %(threadName)s')\nlogging.info('x')\nlogging.getLogger('a').exception('y')",
    "pickle of __main__": "import pickle\nclass P:\n    def __init__(self): self.a = 1\nd = pickle.dumps(P(), 2)\nprint(d, vars(pickle.loads(d)))",
    "gc": "import gc\nclass A: pass\na = A(); a.a = a; del a\nprint(gc.collect() > 0, gc.isenabled(), gc.garbage)",
    "locale": "import locale\nprint(locale.getlocale(), locale.setlocale(locale.LC_ALL), locale.localeconv()['decimal_point'])",
    "time zone": "print(time.tzname, time.localtime(0)[:6], time.strftime('%c', time.gmtime(0)))",
    "clock": "a = time.time(); b = time.monotonic(); time.sleep(0.01); print(0 < time.time() - a < 5, 0.01 <= time.monotonic() - b < 5, time.process_time() < 5)",
    "settrace": "def tr(f, e, a):\n    if f.f_code.co_name == 'f': print(e, f.f_lineno)\n    return tr\nsys.settrace(tr)\ndef f():\n    return 1\nf()",
    "profile": "import cProfile\np = cProfile.Profile(); p.enable(); sum(range(10)); p.disable(); print(len(p.getstats()) > 0)",
    "frozen": "print(type(sys.modules['_frozen_importlib']), __import__('importlib').import_module('this') is not None)",
    "ctypes": "import ctypes\nprint(ctypes.CDLL(None).getpid() == os.getpid(), ctypes.CDLL(None).abs(-3))",
    "socket": "import socket\na, b = socket.socketpair(); a.send(b'x'); print(b.recv(1)); s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[0])",
    "sqlite": "import sqlite3\nc = sqlite3.connect(':memory:'); c.execute('create table t(a)'); c.execute('insert into t values(1)'); print(c.execute('select * from t').fetchall())",
    "argv": "print(sys.argv); sys.argv.append('z'); print(sys.argv)",
    "mutated path": "sys.path.insert(0, '/nonexistent'); import wave if 0 else 1" if 0 else "sys.path.insert(0, '/nonexistent')\nprint(sys.path[:3])",
}
FULL = {n for n in ENDS if "exit" in n or "unflushed" in n or "thread" in n} | {"plain", "generator at exit", "weakref callback"}
HEAD = "import atexit, json, os, signal, subprocess, sys, threading, time\nimport mod\n\n"
MOD = "class Kept:\n    def __del__(self):\n        print('kept deleted')\n\n\nearly = None\n"
EARLY = MOD + "early = Kept()\n"


@pytest.mark.parametrize("name", list(ENDS), ids=[n.replace(" ", "-") for n in ENDS])
def test_program(same, script, tmp_path, name):
    s = script(HEAD + ENDS[name] + "\n", **{"mod.py": EARLY if name == "__del__ of the leading part" else MOD})
    out = tmp_path / "out"
    files = []

    def collect(p):
        p.wait(TIMEOUT)
        for f in (out, tmp_path / "out2"):
            files.append(f.read_bytes() if f.exists() else None)
            f.unlink(missing_ok=True)

    def normalize(data):
        data = re.sub(rb"at 0x[0-9a-f]+", b"at ADDRESS", data)
        return re.sub(rb"0x[0-9a-f]{6,}", b"ADDRESS", data)

    def no_core():
        import resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    options = {"env": {"OUT": str(out), "FROM_CALLER": "c", "PYTHONHASHSEED": "1"}, "stdin": b"one\ntwo\nthree", "preexec": no_core,
               "normalize": normalize, "interact": collect, "timeout": TIMEOUT}
    same([PYTHON, s, "x", "y"], **options)
    if name == "temporary directory":
        assert not any(os.path.exists(f) for f in files if f)
        return
    if name == "unflushed in a cycle":      # cold CPython loses it or not, by the order of its collector
        assert files[2] == b"cycle"
        return
    assert files[:2] == files[2:], files
    if name not in FULL:
        return
    del files[:]
    same([PYTHON, s, "x", "y"], **{**options, "env": {**options["env"], "WARM_EXIT": "full"}})
    assert files[:2] == files[2:], files


# the ends that depend on the interpreter's own ways, on all interpreters, in one program for each of the three ways
SOME = ["exception", "chained", "multi-line", "text", "status", "keyboard interrupt", "atexit and exception", "unflushed",
        "__del__ at exit", "thread", "daemon thread", "generator at exit", "interrupt", "pool", "fork and atexit", "input",
        "closed both", "failing atexit", "exit in atexit", "import late", "asyncio", "subprocess", "warning", "settrace",
        "coroutine never awaited", "unraisable", "recursion", "linecache"]


OTHERS = [v for v in sorted(PYTHONS, key=lambda v: tuple(map(int, v.split(".")))) if PYTHONS[v] != PYTHON]


@pytest.mark.parametrize("python, name", [
    pytest.param(PYTHONS[v], n, id=f"{v}-{n.replace(' ', '-')}") for v in OTHERS
    for n in (SOME if v in (OTHERS[0], OTHERS[-1]) else SOME[:9])])
def test_program_on_others(same, script, tmp_path, name, python):
    s = script(HEAD + ENDS[name] + "\n", **{"mod.py": MOD})
    same([python, s, "x"], env={"OUT": str(tmp_path / "out"), "FROM_CALLER": "c", "PYTHONHASHSEED": "1"}, stdin=b"one\ntwo",
         normalize=lambda b: re.sub(rb"0x[0-9a-f]+", b"ADDRESS", b))


@pytest.mark.parametrize("way", ["-m", "-c", "shebang"])
def test_tracebacks_in_each_way(same, any_python, script, way):
    text = "import json\n\n\ndef f(x):\n    return json.loads(\n        x)\n\n\nprint('on')\nf('[1')\n"
    s = script(f"#!{any_python}\n{text}" if way == "shebang" else text, "bad.py")
    s.chmod(0o755)
    argv = {"-m": [any_python, "-m", "bad"], "-c": [any_python, "-c", text], "shebang": [s]}[way]
    assert b"JSONDecodeError" in same(argv, cwd=s.parent, expect_status=1).stderr


def test_failures_of_the_leading_part(same, python, script):
    """An import that fails, a syntax error, an exit while importing: the same words, cold or warm"""
    for n, (text, mod) in enumerate([
            ("import json\nimport mod\nprint(1)\n", "1 / 0\n"), ("import nonexistent_module\n", ""),
            ("import mod\n", "import sys\nsys.exit(5)\n"), ("import mod\n", "raise SystemExit('bye')\n"),
            ("import json\nfrom mod import nothing\n", ""), ("import json\nclass A(nothing):\n    pass\n", ""),
            ("try:\n    import mod\nexcept ImportError as e:\n    X = e\n    Y = X.__traceback__\nimport traceback\ntraceback.print_tb(Y)\n",
             "raise ImportError('no')\n"),
            ("import mod\n", "def f(:\n")]):
        s = script(text, f"s{n}/s.py", **{f"s{n}/mod.py": mod})
        cold = same.__self__.cold([python, s])
        for _ in range(2):
            warm = same.__self__.run([python, s])
            assert (cold.stdout, cold.stderr, cold.status) == (warm.stdout, warm.stderr, warm.status), text
            same.__self__.build([python, s], expect=None)


# --- what the leading part wrote ----------------------------------------------------------------------------------

def test_output_of_the_leading_part(same, python, script):
    s = script("import sys\nimport mod\nimport warnings\nimport other\nprint('main')\nprint('main, error', file=sys.stderr)\n",
               **{"mod.py": "import sys\nprint('imported')\nsys.stderr.write('imported, error\\n')\nprint('half', end=' ')\n",
                  "other.py": "import warnings\nwarnings.warn('other is old', FutureWarning)\n"})
    for kinds in ({}, {"stdout": "file"}, {"stdout": "append"}, {"stderr": "stdout"}, {"stdout": "tty"}, {"stdout": "null"},
                  {"stdout": "closed"}, {"stdout": "file", "stderr": "stdout"}, {"stdin": "tty", "stdout": "tty", "stderr": "tty"}):
        r = same([python, s], expect_status=0, **kinds)
        if kinds.get("stdout", "pipe") not in ("null", "closed"):
            assert r.stdout.count(b"imported") in (1, 2) and r.stdout.count(b"half main") == 1


def test_output_of_the_leading_part_to_another_kind(warm, script):
    """Built with a pipe; a terminal would have got it line by line"""
    s = script("import mod\nprint('main')\n", **{"mod.py": "import sys\nprint('imported')\nprint('err', file=sys.stderr)\n"})
    for kinds in ({"stdout": "file"}, {"stdout": "tty"}, {"stdout": "append"}, {"stdin": "tty", "stdout": "tty", "stderr": "tty"}):
        warm.build([PYTHON, s])
        cold = warm.cold([PYTHON, s], **kinds)
        r = warm.run([PYTHON, s], **kinds)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status), kinds


def test_broken_pipe(warm, python, script):
    """prog | head -1: the same complaint, the same status"""
    s = script("import json, sys\nfor i in range(100000):\n    print(i)\n")
    t = script("import json, sys, signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nfor i in range(100000):\n    print(i)\n", "t.py")
    u = script("import json, sys\nsys.stdin.read()\nprint('x' * 10)\n", "u.py")      # fails when it is flushed at the end
    for program in (s, t, u):
        warm.build([python, program], stdin="pipe")
        found = []
        for prefix in ([], [warm.program, "run", "--strict", "--"]):
            r, w = os.pipe()
            p = subprocess.Popen([*prefix, python, program], env=warm.env, stdout=w, stderr=subprocess.PIPE, stdin=subprocess.PIPE,
                                 preexec_fn=lambda r=r: os.close(r), start_new_session=True)
            os.close(w)
            if program != u:
                read_until(r, rb"\n")
            os.close(r)
            _, err = p.communicate(timeout=TIMEOUT)     # which ends its input
            found.append((p.returncode, err))
        assert found[0] == found[1], program


def test_broken_pipe_before_the_start(warm, script):
    s = script("import json, sys\nprint('x' * 10)\n")
    warm.build([PYTHON, s])
    r, w = os.pipe()
    os.close(r)
    try:
        cold, hot = warm.cold([PYTHON, s], stdout=w), warm.run([PYTHON, s], strict=True, stdout=w)
    finally:
        os.close(w)
    assert (cold.stderr, cold.status) == (hot.stderr, hot.status) and cold.status == 120


def test_full_disk(warm, script):
    s = script("import json, sys\nprint('x' * 10)\n")
    with open("/dev/full", "w", encoding="utf-8") as full:
        warm.build([PYTHON, s], stdout="null")
        cold, hot = warm.cold([PYTHON, s], stdout=full.fileno()), warm.run([PYTHON, s], strict=True, stdout=full.fileno())
    assert (cold.stderr, cold.status) == (hot.stderr, hot.status) and cold.status == 120


# --- signals ----------------------------------------------------------------------------------------------------------

WAITS = '''import json, signal, sys, time

try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("finally")
'''


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR1, signal.SIGQUIT])
def test_signal_ends_it(warm, python, script, number):
    import resource
    s = script(WAITS)
    warm.build([python, s], stdin="pipe")
    found = []
    for prefix in ([], [warm.program, "run", "--strict", "--"]):
        p = subprocess.Popen([*prefix, python, s], env=warm.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        head = read_until(p.stdout.fileno(), rb"ready\n")
        eventually(lambda: state(p.pid) == "S", "its sleep")
        p.send_signal(number)
        out, err = p.communicate(timeout=TIMEOUT)
        found.append((p.returncode, head + out, err))
    assert found[0] == found[1]
    assert found[0][0] == -number
    assert number != signal.SIGINT or b"KeyboardInterrupt" in found[0][2]


def test_stop_and_continue(warm, python, script):
    s = script("import json, sys\nprint('ready', flush=True)\nprint(sys.stdin.readline())\n")
    warm.build([python, s], stdin="pipe")
    p = warm.popen([python, s])
    read_until(p.stdout.fileno(), b"ready\n")
    os.kill(p.pid, signal.SIGSTOP)
    _, status = os.waitpid(p.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(p.pid, signal.SIGCONT)
    out, err = p.communicate(b"line\n", timeout=TIMEOUT)
    assert (out, err, p.returncode) == (b"line\n\n", b"", 0)


# --- processes ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(same, python, script, method):
    s = script(f'''
import json, multiprocessing as mp, os, sys


class Point:
    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return "Point(%r)" % self.x


def work(p):
    return Point(p.x + 1)


def tell(queue, lock):
    with lock:
        queue.put((mp.current_process().name, os.getppid() == mp.parent_process().pid, sys.argv, os.environ["MINE"]))


if __name__ == "__main__":
    mp.set_start_method("{method}")
    with mp.Pool(2) as pool:
        print(pool.map(work, [Point(i) for i in range(6)]))
    queue, lock = mp.Queue(), mp.Lock()
    p = mp.Process(target=tell, args=(queue, lock))
    p.start()
    print(queue.get(), flush=True)
    p.join()
    print(p.exitcode)
    v = mp.Process(target=sys.exit, args=(3,))
    v.start()
    v.join()
    print(v.exitcode, mp.active_children())
''')
    same([python, s, "x"], env={"MINE": "mine"}, expect_status=0)


def test_process_pool(same, script):
    s = script("import json\nfrom concurrent.futures import ProcessPoolExecutor\ndef f(x):\n    return x * x\n"
               "if __name__ == '__main__':\n    with ProcessPoolExecutor(2) as e:\n        print(list(e.map(f, range(5))))\n")
    same([PYTHON, s], expect_status=0)


def test_pickle_between_launches(warm, python, script, tmp_path):
    """What a warm program pickles a cold one reads, and the reverse"""
    s = script("import pickle, sys\nclass P:\n    pass\nif sys.argv[1] == 'w':\n    p = P(); p.a = [1, P]\n"
               "    pickle.dump(p, open(sys.argv[2], 'wb'))\nelse:\n    print(vars(pickle.load(open(sys.argv[2], 'rb'))))\n")
    warm.build([python, s, "w", tmp_path / "a"])
    assert warm.cold([python, s, "w", tmp_path / "a"]).status == 0
    assert warm.run([python, s, "w", tmp_path / "b"], strict=True).status == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    warm.build([python, s, "r", tmp_path / "a"])
    assert warm.cold([python, s, "r", tmp_path / "b"]).stdout == warm.run([python, s, "r", tmp_path / "a"], strict=True).stdout


# --- uniqueness ------------------------------------------------------------------------------------------------------------

UNIQUE = '''
import json, os, random, secrets, sys, tempfile, uuid
from random import SystemRandom, randrange, Random

generator = Random
fixed = Random(5) if False else None
from mod import MINE, OWN

print(json.dumps({
    "random": random.random(), "randrange": randrange(10 ** 12), "uuid4": str(uuid.uuid4()), "uuid1": str(uuid.uuid1()),
    "secrets": secrets.token_hex(8), "urandom": os.urandom(8).hex(), "mktemp": next(tempfile._get_candidate_names()),
    "system": SystemRandom().random(), "new": Random().random(), "own": OWN.random(), "pid": os.getpid()}))
print(MINE.random())
'''


def test_random_differs(warm, any_python, script):
    s = script(UNIQUE, **{"mod.py": "import random\nMINE = random.Random(5)\nOWN = random.Random()\n"})
    warm.build([any_python, s])
    import json
    seen = {}
    fixed = set()
    for i in range(6):
        r = warm.run([any_python, s], strict=True)
        assert r.status == 0, r
        first, second = r.stdout.splitlines()
        fixed.add(second)
        for k, v in json.loads(first).items():
            assert v not in seen.setdefault(k, set()), f"{k} repeats in launch {i}"
            seen[k].add(v)
    assert fixed == {warm.cold([any_python, s]).stdout.splitlines()[1]}     # seeded by the program: kept


def test_seed_of_the_leading_part_is_kept(same, python, script):
    s = script("import mod\nimport random\nprint(random.random(), random.getrandbits(64), random.gauss(0, 1))\n",
               **{"mod.py": "import random\nrandom.seed(42)\nrandom.random()\n"})
    same([python, s])
    s = script("import json, random\nrandom.seed(42)\nprint(random.random())\n", "t.py")
    same([python, s])


def test_numpy(warm, script):
    need(warm.cold([PYTHON, "-c", "import numpy"]).status == 0, "numpy")
    s = script("import numpy as np, sys\nprint(np.random.rand(), np.random.default_rng().random())\n")
    warm.build([PYTHON, s])
    seen = {warm.run([PYTHON, s], strict=True).stdout for _ in range(4)}
    assert len({x.split()[0] for x in seen}) == 4 and len({x.split()[1] for x in seen}) == 4
    s = script("import numpy as np\nfrom mod import *\nprint(np.random.rand(3), np.random.default_rng(1).random(2))\n"
               "a = np.arange(1e6).reshape(1000, 1000)\nprint((a @ a).sum(), np.linalg.eigvals(a[:50, :50]).sum().real.round(3))\n",
               "seeded.py", **{"mod.py": "import numpy\nnumpy.random.seed(7)\n"})
    warm.same([PYTHON, s])


def test_hash_seed(warm, script):
    """Without a seed, hashes are those of the template; with one, those of the seed"""
    s = script("import json\nprint(hash('x'), {'a', 'b', 'c'})\n")
    warm.same([PYTHON, s], env={"PYTHONHASHSEED": "3"})
    warm.same([PYTHON, s], env={"PYTHONHASHSEED": "0"})
    warm.build([PYTHON, s])
    assert warm.run([PYTHON, s], strict=True).stdout == warm.run([PYTHON, s], strict=True).stdout


# --- several at once, one after another -------------------------------------------------------------------------------------

def test_many_in_a_row_leave_nothing(warm, python, script):
    s = script("import json, threading\nprint(json.dumps(threading.active_count()))\n")
    warm.build([python, s])
    pid = warm.pid()
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(30):
        assert warm.run([python, s], strict=True).stdout == b"1\n"
    eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= descriptors, "closed connections")


def test_clones_do_not_see_one_another(warm, script):
    """What one clone writes into its memory is in no other"""
    s = script("import json, mod\nimport sys\nmod.state.append(len(mod.state))\nmod.big[0] += 1\nmod.big[-1] += 1\nsys.x = getattr(sys, 'x', 0) + 1\n"
               "print(mod.state, mod.big[0], mod.big[-1], sys.x)\n", **{"mod.py": "state = []\nbig = bytearray(8 << 20)\n"})
    warm.build([PYTHON, s])
    assert {warm.run([PYTHON, s], strict=True).stdout for _ in range(5)} == {b"[0] 1 1 1\n"}
