# SPDX-License-Identifier: MIT
"""One template for all callers: a shell's background, nohup, cron, taskset, a CI's or editor's runner, perf. What a clone can be
given is given; what the program made of it before its readiness point is made anew, or counts."""
import ctypes
import os
import resource
import signal
import subprocess
import sys

import pytest
from conftest import HERE, PYTHON, TIMEOUT, eventually, need
from launches import WAYS

IOPRIO_SET = {"x86_64": 251, "aarch64": 30}[os.uname().machine]
PR_SET_TIMERSLACK = 29

LIBWARM = f"sys.path.insert(0, {str(HERE.parent.parent / 'lang/python')!r})"

STATE = """
import ctypes, os, signal, sys

def main():
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
    print([status[k].strip() for k in ("SigIgn", "SigBlk", "SigCgt")])
    print([(n, str(signal.getsignal(n))) for n in sorted(signal.valid_signals())])
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    libc = ctypes.CDLL(None)
    print(sorted(os.sched_getaffinity(0)), os.nice(0), os.sched_getscheduler(0), os.sched_getparam(0))
    print(libc.syscall({"x86_64": 252, "aarch64": 31}[os.uname().machine], 1, 0), libc.prctl(30), libc.personality(-1) & 0xffffffff)
    if 2 in signal.valid_signals() and callable(signal.getsignal(2)):
        try:
            signal.raise_signal(2)
        except KeyboardInterrupt:
            print("interrupted")

main()
"""


def ignore(*signals):
    def prepare():
        for n in signals:
            signal.signal(n, signal.SIG_IGN)
    return prepare


def block(*signals):
    return lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signals)


CALLERS = {
    "plain": lambda: None,
    "background": ignore(signal.SIGINT, signal.SIGQUIT),
    "nohup": ignore(signal.SIGHUP),
    "runner": ignore(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1),
    "perf": block(signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGWINCH),
    "both": lambda: (block(signal.SIGINT, signal.SIGUSR2)(), ignore(signal.SIGINT, signal.SIGUSR2)()),
    "taskset": lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]),
    "nice": lambda: os.nice(7),
    "batch": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "idle": lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
    "ionice": lambda: ctypes.CDLL(None).syscall(IOPRIO_SET, 1, 0, 3 << 13),
    "timerslack": lambda: ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1234567),
    "setarch": lambda: ctypes.CDLL(None).personality(0x0040000),
}


@pytest.mark.parametrize("way", ["become", *WAYS])
@pytest.mark.parametrize("caller", CALLERS)
def test_one_template_serves(launches, script, caller, way):
    program = script(STATE)
    cold = launches.warm.cold([PYTHON, program], preexec=CALLERS[caller])
    assert cold.status == 0 and cold.out.count("\n") > 4
    name = launches.build([PYTHON, program], way=way)
    if way == "become":
        r = launches.warm.run([PYTHON, program], strict=True, preexec=CALLERS[caller])
    else:
        r = launches.run(name, preexec=CALLERS[caller])
        assert r.way == way, r
    launches.equal(cold, r)
    launches.remove(name)


@pytest.mark.parametrize("caller", ["background", "runner", "both", "taskset", "nice", "idle", "ionice"])
def test_one_template_serves_libwarm(launches, script, caller):
    """By warmd first, from leases then"""
    program = script(STATE)
    cold = launches.warm.cold([PYTHON, program], preexec=CALLERS[caller])
    name = launches.build([PYTHON, program], pool=4)
    code = (f"import sys\n{LIBWARM}\nfrom warm.launch import Warm\nwith Warm() as w:\n    for _ in range(4):\n"
            f"        assert w.launch({name!r}).wait() == 0\n")
    r = launches.warm.cold([sys.executable, "-S", "-c", code], preexec=CALLERS[caller])
    assert r.status == 0 and r.out == 4 * cold.out, r
    launches.remove(name)


@pytest.mark.parametrize("way", ["become", *WAYS])
@pytest.mark.parametrize("built_by", ["background", "nohup", "runner", "perf", "both", "setarch"])
def test_built_by_one_caller_and_run_by_another(launches, script, built_by, way):
    program = script(STATE)
    name = launches.build([PYTHON, program], way=way, preexec=CALLERS[built_by])
    for caller in ("plain", "runner"):
        cold = launches.warm.cold([PYTHON, program], preexec=CALLERS[caller])
        if way == "become":
            r = launches.warm.run([PYTHON, program], strict=True, preexec=CALLERS[caller])
        else:
            r = launches.run(name, preexec=CALLERS[caller])
        launches.equal(cold, r)
    launches.remove(name)


LOOKS = {
    "signal": "import signal\nFOUND = signal.signal(signal.SIGINT, lambda *a: None)",
    "getsignal": "import signal\nFOUND = signal.getsignal(signal.SIGINT)",
    "builtin": "import _signal\nFOUND = _signal.getsignal(2)",
}


@pytest.mark.parametrize("look", LOOKS)
def test_what_the_program_asked_about_a_signal_counts(own_warm, script, look):
    """Two templates side by side: of callers that ignore it and of those that do not"""
    w = own_warm
    program = script("from found import FOUND\nimport signal\ndef main():\n    print(FOUND, signal.getsignal)\nmain()", **{"found.py": LOOKS[look]})
    command = [PYTHON, program]
    callers = [CALLERS["plain"], CALLERS["background"]]
    cold = [w.cold(command, preexec=c) for c in callers]
    for c in callers:
        w.build(command, preexec=c)
    words = [w.run(command, strict=True, preexec=c) for c in callers]
    shape = lambda r: r.out.split(" at 0x")[0]      # noqa: E731: of the lambda that it found
    assert [shape(r) for r in words] == [shape(r) for r in cold]
    assert shape(cold[0]) != shape(cold[1])
    assert len(w.ls()) == 2
    # another signal than the one that was asked for does not count
    assert w.run(command, strict=True, preexec=CALLERS["nohup"]).status == 0


def test_what_the_program_ignores_itself_stays_ignored(launches, script):
    """...whether the build's caller did so, too, or not"""
    program = script("from own import X\n" + STATE, **{"own.py": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nX = 1"})
    for built_by in (ignore(signal.SIGTERM, signal.SIGPIPE), CALLERS["plain"]):
        cold = launches.warm.cold([PYTHON, program], preexec=built_by)
        launches.warm.build([PYTHON, program], preexec=built_by)
        launches.equal(cold, launches.warm.run([PYTHON, program], strict=True, preexec=built_by))
    # a template of either serves
    cold = launches.warm.cold([PYTHON, program], preexec=CALLERS["nohup"])
    launches.equal(cold, launches.warm.run([PYTHON, program], strict=True, preexec=CALLERS["nohup"]))


CONSTRUCTOR = r"""
#include <signal.h>
#include <stdio.h>
static struct sigaction found;
__attribute__((constructor)) static void look(void) { sigaction(SIGHUP, NULL, &found); }
int main(void) { printf("%d\n", found.sa_handler == SIG_IGN); return 0; }
"""


def test_a_library_that_looks_at_a_signal(own_warm, compile_c):
    """At the readiness point main: the dispositions that nobody asked for are the launch's"""
    w, program = own_warm, compile_c(CONSTRUCTOR)
    w.build([program])
    assert w.run([program], strict=True).out == "0\n"
    assert w.run([program], strict=True, preexec=CALLERS["background"]).out == "0\n"
    r = w.run([program], verbose=True, preexec=CALLERS["nohup"])
    assert r.out == "1\n" and "signal 1 is ignored in one of build and launch" in r.err
    w.idle()
    assert w.run([program], strict=True, preexec=CALLERS["nohup"]).out == "1\n"
    assert w.run([program], strict=True).out == "0\n"


# --- standard descriptors -----------------------------------------------------------------

KINDS = {
    "pipe": {},
    "file": {"stdout": "file", "stderr": "file"},
    "append": {"stdout": "append"},
    "null": {"stdout": "null", "stderr": "null"},
    "terminal": {"stdin": "tty", "stdout": "tty", "stderr": "tty"},
    "input": {"stdin": "pipe", "stdout": "file"},
}

STREAMS = """
import logging, os, ssl, stat, sys
for name in ("numpy", "pandas", "curses", "rich", "click", "tqdm", "colorama"):
    try:
        __import__(name)
    except ImportError:
        pass

def main():
    with open(os.environ["REPORT"], "w") as report:
        print([stat.S_IFMT(os.fstat(n).st_mode) for n in range(3)], file=report)
        print([(s.isatty(), s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)], file=report)
    print("some output")
    print("some error", file=sys.stderr)

main()
"""


@pytest.mark.parametrize("way", ["become", *WAYS])
def test_one_template_for_all_kinds_of_standard_descriptors(own_warm, script, tmp_path, way):
    from launches import launches_of
    report = tmp_path / "report"
    program = script(STREAMS)
    with launches_of(own_warm) as launches:
        for kind, streams in KINDS.items():
            env = {"REPORT": str(report)}
            cold = own_warm.cold([PYTHON, program], env=env, **streams)
            expected = report.read_text()
            if kind == "pipe":
                name = launches.build([PYTHON, program], way=way, env=env)
            report.unlink()
            if way == "become":
                r = own_warm.run([PYTHON, program], strict=True, env=env, **streams)
            else:
                r = launches.run(name, env=env, verbose=False, **streams)
            assert report.read_text() == expected, kind
            launches.equal(cold, r)
        assert len(own_warm.ls()) == 1


GFORTRAN_LIKE = r"""
#include <stdio.h>
#include <sys/stat.h>
int kind[3];
__attribute__((constructor)) static void look(void)
{
	struct stat st;
	for (int i = 0; i < 3; i++)
		kind[i] = fstat(i, &st) == 0 ? st.st_mode & S_IFMT : 0;
}
"""


def test_only_libraries_that_do_not_mind_are_told_of_another_kind(own_warm, compile_c, tmp_path):
    """The same look by a library of that name, and by one of another: for that one each kind has a template"""
    w = own_warm
    need(subprocess.run(["sh", "-c", "command -v cc || command -v gcc"], stdout=subprocess.DEVNULL, check=False).returncode == 0, "a C compiler")
    main = "#include <stdio.h>\nextern int kind[3];\nint main(void) { fprintf(stderr, \"%o %o\\n\", kind[1], kind[2]); return 0; }\n"
    for name, templates in (("libgfortran", 1), ("libother", 2)):
        library = compile_c(GFORTRAN_LIKE, "-shared", "-fPIC", output=tmp_path / f"{name}.so.5")
        program = compile_c(main, library, f"-Wl,-rpath,{tmp_path}")
        for streams in ({}, {"stdout": "file"}):
            w.run([program], **streams)
            w.idle()
            r = w.run([program], strict=templates == 2, **streams)
            assert r.err.split() == (["10000", "10000"] if name == "libgfortran" and not streams else r.err.split())
            if templates == 2:
                assert r.err == w.cold([program], **streams).err
        built = [t for t in w.ls() if t["argv"] == [str(program)] and t["state"] == "ready"]
        assert len(built) == templates, built


# --- launches by name that no clone can be had for -------------------------------------------

READS = "import os\nWHO = os.environ.get('WHO')\n"
TELLS = "from reads import WHO\nimport os, sys\ndef main():\n    print(WHO, sys.argv[1:], os.getcwd(), os.environ.get('MORE'), flush=True)\n    sys.exit(int(os.environ.get('CODE', 0)))\nmain()"


@pytest.fixture
def reader(script):
    return script(TELLS, **{"reads.py": READS})


def test_launch_runs_cold_what_no_clone_can_be_had_for(launches, reader):
    name = launches.build([PYTHON, reader, "first"], env={"WHO": "builder"})
    env = {"WHO": "somebody", "CODE": "7"}
    cold = launches.warm.cold([PYTHON, reader, "first", "second"], env={**env, "MORE": "m"})
    r = launches.run(name, ["second"], env=env, options=["--env", "MORE=m"])
    assert r.way is None and "warm: running cold: variable WHO differs" in r.err
    assert (r.stdout, r.status) == (cold.stdout, cold.status) and cold.status == 7
    # without a word, as `warm run`
    r = launches.run(name, ["second"], env=env, options=["--env", "MORE=m"], verbose=False)
    assert (r.stdout, r.stderr, r.status) == (cold.stdout, b"", 7)
    # of the builder's kind: warm
    assert launches.run(name, env={"WHO": "builder"}).way == "parked"
    launches.remove(name)


@pytest.mark.parametrize("stderr", ["pipe", "closed"])
def test_launch_of_a_program_that_is_gone(launches, script, stderr):
    """...ends as a shell says it, also where nobody can read why"""
    program = script(f"#!{PYTHON}\ndef main():\n    pass\nmain()\n")
    program.chmod(0o755)
    name = launches.build([program])
    program.write_text("#!/no/such/interpreter\n", encoding="ascii")
    r = launches.run(name, verbose=False, stderr=stderr)
    assert r.status == 127, r
    launches.remove(name)


def test_launch_in_the_environment_of_cron(launches, reader):
    """A few variables: the program is the template's, wherever it was found"""
    name = launches.build(["python3", reader], env={"PATH": f"{os.path.dirname(PYTHON)}:/usr/bin:/bin", "WHO": "me"})
    keep = {k: None for k in launches.warm.env if k not in ("WARM_RUNTIME_DIR", "XDG_CONFIG_HOME")}
    r = launches.run(name, env={**keep, "PATH": "/nowhere", "HOME": "/", "SHELL": "/bin/sh"}, verbose=False)
    assert r.status == 0 and r.out.startswith("None ["), r
    launches.remove(name)


def test_second_launch_of_a_kind_gets_a_template_of_its_own(launches, reader):
    """...beside the first, and under the same name; a context that does not come again gets none"""
    w = launches.warm
    name = launches.build([PYTHON, reader], way="fork", env={"WHO": "builder"})
    templates = lambda: [t for t in w.ls() if t["name"] == name and t["state"] == "ready"]      # noqa: E731
    # others may come in between, and what the program did not look at may be another each time
    for who, stdout in (("cron", "pipe"), ("once", "file"), ("twice", "pipe"), ("cron", "file")):
        r = launches.run(name, env={"WHO": who}, stdout=stdout)
        assert r.way is None and "WHO differs" in r.err and r.out.startswith(f"{who} [")
    eventually(lambda: len(templates()) == 2, "a second template")
    for who in ("cron", "builder", "cron"):
        r = launches.run(name, env={"WHO": who})
        assert r.way and r.out.startswith(f"{who} [")
    assert launches.run(name, env={"WHO": "once"}).way is None
    assert len(templates()) == 2
    w.command("rm", name)
    assert not templates()


def test_launch_cold_and_detached(launches, reader, tmp_path):
    name = launches.build([PYTHON, reader], env={"WHO": "builder"})
    done = tmp_path / "done"
    with open(done, "wb") as out:
        p = subprocess.run(launches.argv(name, options=["--detach"]), env=launches.warm.environment({"WHO": "other"}), check=True,
                           stdout=subprocess.PIPE, stderr=out, timeout=TIMEOUT)
    assert int(p.stdout.split()[0]) > 1
    launches.remove(name)


def test_launch_from_another_directory_of_what_names_files_in_its_own(launches, reader, tmp_path):
    """The words of the command mean something else there"""
    other = tmp_path / "other"
    other.mkdir()
    name = launches.build([PYTHON, reader.name], cwd=reader.parent, env={"WHO": "builder"})
    r = launches.run(name, env={"WHO": "x"}, cwd=other)
    assert r.status == 125 and not r.stdout and f"launch it in {reader.parent}" in r.err, r
    r = launches.run(name, env={"WHO": "x"}, cwd=reader.parent)
    assert r.status == 0 and r.out.startswith("x ["), r
    launches.remove(name)


def test_libwarm_gets_words_not_a_cold_run(launches, reader):
    """A library starts no program in its caller's place"""
    name = launches.build([PYTHON, reader], env={"WHO": "builder"})
    code = (f"import os, sys\n{LIBWARM}\nfrom warm.launch import Warm\nwith Warm() as w:\n    try:\n"
            f"        print(w.launch({name!r}, env=dict(os.environ, WHO='x')).wait())\n    except OSError as e:\n        print(e)\n")
    r = launches.warm.cold([sys.executable, "-c", code])
    assert "WHO differs" in r.out, r
    launches.remove(name)


# --- arguments -----------------------------------------------------------------------------------

def test_libwarm_arguments_that_were_read_must_be_the_same(launches, script):
    program = script("from words import WORDS\nimport sys\ndef main():\n    print(WORDS, sys.argv[1:], flush=True)\nmain()",
                     **{"words.py": "import sys\nWORDS = list(sys.argv[1:])"})
    name = launches.build([PYTHON, program, "one"])
    code = f"""
import sys
{LIBWARM}
from warm.launch import Warm
with Warm() as w:
    for args in (["one"], ["one"], ["one"], ["two"], ["one", "more"], [], ["one"]):
        try:
            print(w.launch({name!r}, [{PYTHON!r}, {str(program)!r}, *args]).wait(), flush=True)
        except OSError as e:
            print(e, flush=True)
"""
    r = launches.warm.cold([sys.executable, "-c", code])
    lines = r.out.splitlines()
    assert lines.count("['one'] ['one']") == 4 and lines.count("0") == 4, r
    assert sum("arguments" in line for line in lines) == 3, r
    launches.remove(name)


# --- descriptors -----------------------------------------------------------------------------------

OPENS = "import os, resource\n%s\nF = [os.open(os.devnull, os.O_RDONLY) if n %% 3 else os.dup(0) for n in range(%d)]"


@pytest.mark.parametrize("way", ["become", *WAYS])
@pytest.mark.parametrize("n", [600, 900])
def test_many_descriptors_of_the_programs(launches, script, n, way):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))     # noqa: E731
    program = script("from opens import F\nimport os\ndef main():\n    print(F, {os.fstat(f).st_mode for f in F[1::3]})\nmain()", **{"opens.py": OPENS % ("", n)})
    cold = launches.warm.cold([PYTHON, program], preexec=limit)
    assert cold.status == 0
    name = launches.build([PYTHON, program], way=way, preexec=limit)
    r = (launches.warm.run([PYTHON, program], strict=True, preexec=limit) if way == "become" else launches.run(name, preexec=limit))
    launches.equal(cold, r)
    assert way == "become" or r.way == way
    # a caller who may not have so many: as cold
    low = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n // 2, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))     # noqa: E731
    r = launches.warm.run([PYTHON, program], verbose=True, preexec=low)
    assert r.status == 1 and "(ulimit -n)" in r.err and "Too many open files" in r.err, r
    launches.remove(name)


def test_program_that_raises_its_own_limit(launches, script):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    need(hard >= 2048, "a hard limit of 2,048 descriptors")
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))       # noqa: E731
    program = script("from opens import F\nimport resource\ndef main():\n    print(len(F), F[300], resource.getrlimit(resource.RLIMIT_NOFILE))\nmain()",
                     **{"opens.py": OPENS % (f"resource.setrlimit(resource.RLIMIT_NOFILE, (2048, {hard}))", 900)})
    cold = launches.warm.cold([PYTHON, program], preexec=limit)
    name = launches.build([PYTHON, program], preexec=limit)
    launches.equal(cold, launches.warm.run([PYTHON, program], strict=True, preexec=limit))
    launches.equal(cold, launches.run(name, preexec=limit))
    launches.remove(name)


def test_numbers_that_the_caller_has_open_are_not_the_programs(own_warm, script):
    """make's jobserver, an editor's or a CI's runner: templates side by side, and not one more for each run"""
    w = own_warm
    program = script("from opens import F\nimport os\ndef main():\n    print(F)\n    os.write(7, b'to seven') if os.environ.get('SEVEN') else None\nmain()",
                     **{"opens.py": OPENS % ("", 12)})

    def seven():
        os.dup2(1, 7)
    for preexec, env in ((seven, {"SEVEN": "1"}), (None, {})):
        options = {"preexec": preexec, "close_fds": preexec is None, "env": env}
        cold = w.cold([PYTHON, program], **options)
        w.build([PYTHON, program], **options)
        for more in ([], ["--pool"]):
            r = w.run([PYTHON, program], strict=True, options=more, **options)
            assert (r.out, r.status) == (cold.out, cold.status)
    assert len(w.ls()) == 2
    assert "8" in cold.out


def test_program_that_looks_at_what_it_inherited(own_warm, script):
    """The build has a stand-in there, which is nothing like it"""
    program = script("from looks import X\ndef main():\n    print(X)\nmain()", **{"looks.py": "import os, stat\nX = stat.S_ISFIFO(os.fstat(7).st_mode)"})

    def seven():
        os.dup2(os.pipe()[0], 7)
    options = {"preexec": seven, "close_fds": False}
    for _ in range(3):
        r = own_warm.run([PYTHON, program], verbose=True, **options)
        assert r.out == "True\n"
        own_warm.idle()
    assert "launching from template" in r.err
    assert [own_warm.json("inspect", str(t["id"]))["boundary"] for t in own_warm.ls()] == ["looks at what descriptor 7, which it inherited, is"]


# --- children, and programs that begin again ---------------------------------------------------------

def test_popen_at_import(launches, script):
    """os.popen() leaves it to the next one to wait for its child"""
    launches.same([PYTHON, script("from child import X\nprint(X)", **{"child.py": "import os\nX = os.popen('echo hi').read()"})],
                  "parked", expect_status=0)


def test_child_that_was_not_waited_for(own_warm, script):
    program = script("from child import P\nprint(P.wait())", **{"child.py": "import subprocess\nP = subprocess.Popen(['true'], stdout=subprocess.PIPE)\nP.stdout.read()"})
    answer = own_warm.build([PYTHON, program])
    boundary = own_warm.json("inspect", str(answer["id"]))["boundary"]
    assert boundary.startswith("starts a process (") and boundary.endswith("that ends, and does not wait for it")
    for _ in range(2):
        assert own_warm.run([PYTHON, program], strict=True).out == "0\n"


AGAIN = "import os, sys\nif 'AGAIN' not in os.environ:\n    os.environ['AGAIN'] = '1'\n    os.execv(sys.executable, [sys.executable, *sys.argv])\nX = 1\n"


@pytest.mark.parametrize("where", ["script", "module"])
def test_program_that_executes_itself_again(own_warm, script, where):
    """...with a variable more. As nobody sees which ones the first one read, all count"""
    main = "import json, os, sys\ndef main():\n    print(sys.argv[1:], os.environ['AGAIN'], os.environ.get('MINE'))\nmain()"
    program = script(AGAIN + main) if where == "script" else script("from again import X\n" + main, **{"again.py": AGAIN})
    for env in ({"MINE": "a"}, {"MINE": "b"}):
        command = [PYTHON, program, "word"]
        cold = own_warm.cold(command, env=env)
        own_warm.build(command, env=env)
        for options in ([], ["--pool"], ["--pool"]):
            r = own_warm.run(command, env=env, strict=True, options=options)
            assert (r.out, r.status) == (cold.out, 0)
