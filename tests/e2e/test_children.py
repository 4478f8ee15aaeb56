# SPDX-License-Identifier: MIT
"""What children of the program can have read of the launch before its readiness point counts like what the program itself
read. The launches: by become, by the pool, and by name."""

import os
import shutil
import subprocess

import pytest
from conftest import PYTHON, TIMEOUT, need

MAIN = "import m\nif __name__ == '__main__':\n    print(m.VALUE)\n"
HEAD = "import os, subprocess, sys\n"
OUTPUT = "VALUE = subprocess.run({}, stdout=subprocess.PIPE, text=True).stdout.strip()\n"
FORKED = """r, w = os.pipe()
pid = os.{fork}()
if pid == 0:
    {child}
os.close(w)
VALUE = os.read(r, 100).decode().strip()
os.close(r)
os.waitpid(pid, 0)
"""

# each gives the value of LEVEL, as a child sees it
WAYS = {
    "shell": OUTPUT.format("'echo $LEVEL', shell=True"),
    "popen": "with os.popen('echo $LEVEL') as f:\n    VALUE = f.read().strip()\n",
    "python": OUTPUT.format("[sys.executable, '-S', '-c', 'import os; print(os.environ.get(\"LEVEL\"))']"),
    "env": OUTPUT.format("['env', 'sh', '-c', 'echo $LEVEL']"),
    "grandchild": OUTPUT.format("['sh', '-c', 'sh -c \"sh -c \\'echo $LEVEL\\'; :\"; :']"),
    "printenv": OUTPUT.format("['printenv', 'LEVEL']"),
    "spawn": ("r, w = os.pipe()\n"
              "pid = os.posix_spawn('/bin/sh', ['sh', '-c', 'echo $LEVEL'], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, w, 1)])\n"
              "os.close(w)\nVALUE = os.read(r, 100).decode().strip()\nos.close(r)\nos.waitpid(pid, 0)\n"),
    "system": "os.system('test \"$LEVEL\" = 1')\nVALUE = os.system('test \"$LEVEL\" = 1')\n",
    "ctypes": "import ctypes\nVALUE = ctypes.CDLL(None).system(b'test \"$LEVEL\" = 1')\n",
    "fork": FORKED.format(fork="fork", child="os.write(w, os.environ.get('LEVEL', '-').encode()); os._exit(0)"),
    "fork and exec": FORKED.format(fork="fork", child="os.dup2(w, 1); os.execvp('sh', ['sh', '-c', 'echo $LEVEL'])"),
    "preexec_fn": OUTPUT.format("['sh', '-c', 'echo $LEVEL'], preexec_fn=lambda: None"),
    "added to": "os.environ['MORE'] = 'x'\n" + OUTPUT.format("'echo $LEVEL', shell=True"),
    "copy": OUTPUT.format("'echo $LEVEL', shell=True, env=dict(os.environ, MORE='x')"),
    "passed on": OUTPUT.format("'echo $LEVEL', shell=True, env={'LEVEL': os.environ.get('LEVEL', ''), 'PATH': os.environ['PATH']}"),
    "proc": OUTPUT.format("'tr \"\\\\0\" \"\\\\n\" </proc/$PPID/environ | grep ^LEVEL=', shell=True"),
}


@pytest.fixture
def program(script):
    return lambda text: script(MAIN, **{"m.py": HEAD + text})


def values(warm, argv, **options):
    """Cold, by become and by the pool"""
    cold = warm.cold(argv, **options)
    assert cold.status == 0, cold
    return [cold.out, warm.run(argv, **options).out, warm.run(argv, options=["--pool"], **options).out]


def same(warm, argv, **options):
    cold, become, pool = values(warm, argv, **options)
    assert (become, pool) == (cold, cold)
    return cold


@pytest.mark.parametrize("way", WAYS)
def test_variable_that_a_child_reads(warm, program, way):
    path = program(WAYS[way])
    env = {"LEVEL": "1"}
    warm.build([PYTHON, path], options=["--pool", "1"], env=env)
    first = warm.run([PYTHON, path], strict=True, env=env).out
    assert first == same(warm, [PYTHON, path], env=env)
    # what does not matter to it, and differs from terminal to terminal
    assert warm.run([PYTHON, path], strict=True, env={**env, "SSH_TTY": "/x", "SHLVL": "7"}).out == first
    for other in ({"LEVEL": "2"}, {"LEVEL": None}):
        assert same(warm, [PYTHON, path], env=other) != first
    assert same(warm, [PYTHON, path], env=env) == first


def test_variable_that_was_not_there(warm, program):
    path = program(WAYS["shell"])
    warm.build([PYTHON, path])
    assert same(warm, [PYTHON, path]) == "\n"
    assert same(warm, [PYTHON, path], env={"LEVEL": "1"}) == "1\n"


def test_launch_by_name(warm, program):
    """It gives the caller's environment; where that is another, the program runs cold in it"""
    path = program(WAYS["shell"])
    warm.build([PYTHON, path], options=["--name", "child"], env={"LEVEL": "1"})
    assert warm.command("launch", "child", env={"LEVEL": "1"}).stdout == "1\n"
    for env, options in (({"LEVEL": "2"}, ()), ({"LEVEL": "1"}, ("--env", "LEVEL=2"))):
        r = warm.command("launch", *options, "child", env=env, check=False)
        assert (r.returncode, r.stdout, r.stderr) == (0, "2\n", "")


@pytest.mark.parametrize("set_it", ["os.environ['LEVEL'] = '5'\n" + OUTPUT.format("'echo $LEVEL', shell=True"),
                                    OUTPUT.format("'echo $LEVEL', shell=True, env={'LEVEL': '5'}"),
                                    OUTPUT.format("['sh', '-c', 'LEVEL=5 sh -c \"echo \\$LEVEL\"'], env={}")],
                         ids=["environ", "env", "shell"])
def test_variable_that_the_program_sets(warm, program, set_it):
    """Its value at the launch says nothing about what the child saw"""
    path = program(set_it)
    warm.build([PYTHON, path], env={"LEVEL": "1"})
    for level in ("1", "2", None):
        assert warm.run([PYTHON, path], strict=True, env={"LEVEL": level}).out == "5\n"
        assert warm.cold([PYTHON, path], env={"LEVEL": level}).out == "5\n"


def test_variable_of_no_child(warm, program):
    """A child with an environment of its own leaves the launch's alone"""
    path = program(OUTPUT.format("'echo 1', shell=True, env={'A': '1'}"))
    warm.build([PYTHON, path])
    assert warm.run([PYTHON, path], strict=True, env={"ANYTHING": "1"}).out == "1\n"


@pytest.mark.parametrize("command", ["uname -p", "true", "cat /dev/null", "no such program"])
def test_program_that_reads_none(warm, program, command):
    """pandas asks uname(1) when it is imported; that is no reason to count all variables"""
    path = program(OUTPUT.format(f"{command.split()!r}") if command != "no such program" else
                   "try:\n    subprocess.run(['no such program'])\nexcept OSError as e:\n    VALUE = e.errno\n")
    warm.build([PYTHON, path])
    first = warm.run([PYTHON, path], strict=True).out
    assert warm.run([PYTHON, path], strict=True, env={"ANYTHING": "1"}).out == first
    # what the C library reads by itself
    warm.run([PYTHON, path], env={"TZ": "XYZ"})


def test_main_with_three_arguments(warm, program, compile_c):
    """An environment that is read without any name from the library"""
    child = compile_c('#include <stdio.h>\n#include <string.h>\nint main(int argc, char **argv, char **env) {\n'
                      'for (; *env; env++) if (!strncmp(*env, "LEVEL=", 6)) puts(*env);\nreturn argc > 1 && argv[1][0]; }\n')
    path = program(OUTPUT.format(f"[{str(child)!r}]"))
    warm.build([PYTHON, path], env={"LEVEL": "1"})
    for level in ("1", "2", None):
        same(warm, [PYTHON, path], env={"LEVEL": level})


def test_home_of_git(warm, program, tmp_path):
    need(shutil.which("git"), "git")
    path = program(OUTPUT.format("['git', 'config', 'user.nick']"))
    for home in ("one", "two"):
        (tmp_path / home).mkdir()
        (tmp_path / home / ".gitconfig").write_text(f"[user]\n\tnick = {home}\n", encoding="utf-8")
        subprocess.run(["git", "init", "-q", tmp_path / f"{home}.git"], check=True, timeout=TIMEOUT)
        subprocess.run(["git", "--git-dir", tmp_path / f"{home}.git/.git", "config", "user.nick", f"{home}-repo"], check=True,
                       timeout=TIMEOUT)
    warm.build([PYTHON, path], env={"HOME": str(tmp_path / "one")}, cwd="/")
    for env, expected in (({"HOME": "one"}, "one"), ({"HOME": "two"}, "two"), ({"HOME": "one", "GIT_DIR": "two.git/.git"}, "two-repo")):
        env = {k: str(tmp_path / v) for k, v in env.items()}
        assert same(warm, [PYTHON, path], env=env, cwd="/") == f"{expected}\n"


@pytest.mark.parametrize("way", ["os.putenv('LEVEL', '5')", "ctypes.CDLL(None).setenv(b'LEVEL', b'5', 1)",
                                 "os.environ['LEVEL'] = '4'; os.putenv('LEVEL', '5')", "os.environ['LEVEL'] = '5'"],
                         ids=["putenv", "setenv", "both", "environ"])
@pytest.mark.parametrize("level", [None, "1"], ids=["unset", "set"])
def test_variable_set_past_the_language(warm, script, way, level):
    """What os.putenv() or a library has set is there afterwards, for the program's C code and for its children"""
    path = script("import m, os\nprint(os.popen('echo $LEVEL').read(), os.environ.get('LEVEL'))\n",
                  **{"m.py": f"import ctypes, os\n{way}\n"})
    warm.build([PYTHON, path], env={"LEVEL": level})
    assert warm.run([PYTHON, path], strict=True, env={"LEVEL": level}).out.startswith("5\n")
    for env in ({"LEVEL": level}, {"LEVEL": level, "MORE": "1"}, {"LEVEL": "2"}, {"LEVEL": None}):
        assert same(warm, [PYTHON, path], env=env).startswith("5\n")


@pytest.mark.parametrize("way", ["os.unsetenv('LEVEL')", "del os.environ['LEVEL']"], ids=["unsetenv", "environ"])
def test_variable_removed(warm, script, way):
    path = script("import m, os\nprint(os.popen('echo $LEVEL').read(), os.environ.get('LEVEL'))\n", **{"m.py": f"import os\n{way}\n"})
    warm.build([PYTHON, path], env={"LEVEL": "1"})
    for env in ({"LEVEL": "1"}, {"LEVEL": "1", "MORE": "1"}, {"LEVEL": "2"}):
        assert same(warm, [PYTHON, path], env=env).startswith("\n")


def test_variable_set_by_a_library_alone(warm, script):
    """The library's own value is there in each clone"""
    path = script("import m, os\nprint(os.popen('echo $LEVEL').read())\n", **{"m.py": "import os\nos.putenv('LEVEL', '5')\n"})
    warm.build([PYTHON, path])
    assert warm.run([PYTHON, path], strict=True).out == "5\n\n"


# what else a child has from its parent: how the program is started differs, and it prints what its child saw
PROPERTIES = {
    "directory": ("pwd", "cd / && "),
    "umask": ("umask", "umask 027; "),
    "limit": ("ulimit -n", "ulimit -n 200; "),
    "limits through proc": ("grep 'open files' /proc/self/limits", "ulimit -n 200; "),
    "nice": ("nice", "renice -n 3 $$ >/dev/null; "),
    "ignored signal": ("grep SigIgn /proc/self/status", "trap '' USR1; "),
    "input": ("stat -L -c %F /dev/stdin", "exec </dev/null; "),
}


@pytest.mark.parametrize("what", PROPERTIES)
def test_property_that_a_child_reads(warm, program, tmp_path, what):
    command, change = PROPERTIES[what]
    path = program(OUTPUT.format(f"[\"sh\", \"-c\", {command!r}]"))
    argv = ["sh", "-c", "exec \"$@\"", "sh"]
    other = ["sh", "-c", f"{change}exec \"$@\"", "sh"]
    launch = [warm.program, "run", "--", PYTHON, path]

    def out(words):
        with open(tmp_path / "input", "a+", encoding="utf-8") as f:       # a file, where the change is to /dev/null
            r = subprocess.run([*map(os.fspath, words)], stdin=f, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=warm.environment(), timeout=TIMEOUT, check=False)
        return r.stdout, r.stderr, r.returncode

    warm.build([PYTHON, path])
    for start in (argv, other, argv):
        cold = out([*start, PYTHON, path])
        for _ in range(2):
            assert out([*start, *launch]) == cold
        out([*start, warm.program, "build", "--", PYTHON, path])
        assert out([*start, *launch]) == cold
    assert out([*argv, PYTHON, path]) != out([*other, PYTHON, path])
