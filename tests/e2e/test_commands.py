# SPDX-License-Identifier: MIT
"""The commands against a real daemon, and the daemon's own life: started once, stopped cleanly, recovered after a
crash, activated by a socket."""

import json
import os
import signal
import socket
import subprocess

import pytest
from conftest import PYTHON, TIMEOUT, WARMD, Warm, children, eventually, exists, read_until


@pytest.fixture
def program(script):
    return script("import json, sys\nprint(json.dumps(sys.argv[1:]))\n")


# --- commands ---------------------------------------------------------------------------------------------

def test_the_whole_round(own_warm, program, tmp_path):
    """run, build, ls, inspect, explain, stats, rm, stop, as a user would meet them"""
    w, argv = own_warm, [PYTHON, program, "a"]
    assert w.explain(argv)["status"] == "no_daemon"
    assert w.ls() == [] and w.pid() is None
    assert w.json("stop") == {"stopped": False}

    answer = w.build(argv, options=["--name", "report"])
    assert answer["name"] == "report" and answer["id"] == 1
    assert w.build(argv, options=["--name", "report"])["id"] == 1           # serves already
    assert w.build(argv, options=["--name", "report", "--rebuild"])["id"] == 2
    assert w.run(argv, strict=True, options=["--name", "report"]).stdout == b'["a"]\n'
    assert w.run(argv, strict=True, options=["--name=report"]).stdout == b'["a"]\n'

    [row] = w.ls()
    assert row["name"] == "report" and row["argv"] == [PYTHON, str(program), "a"] and row["state"] == "ready"
    assert row["ready"] == "import" and row["launches"] == 2 and row["sealed_bytes"] > 0 and row["cwd"] == os.getcwd()
    text = w.command("ls").stdout
    assert "report" in text and "ready" in text and len(text.splitlines()) == 2

    for what in ("report", "2"):
        seen = w.json("inspect", what)
        assert seen["name"] == "report"
        assert any(d["path"] == str(program) for d in seen["dependencies"])
        assert any(m["source"] == os.path.realpath(PYTHON) for m in seen["memory"])
        assert seen["threads"] == 1 and seen["keys"]
    assert str(program) in w.command("inspect", "-v", "report").stdout

    warm = w.explain(argv)
    assert warm["status"] == "warm" and warm["template"]["name"] == "report" and warm["command"] == list(map(str, argv))
    other = w.json("explain", "--name", "report", "--", *argv, env={"PYTHONPATH": "/y"})
    assert other["status"] == "mismatch" and "PYTHONPATH" in other["reason"]
    assert "would run warm" in w.command("explain", "--", *argv).stdout
    assert w.json("explain", "report")["lines"]
    r = w.popen(argv)
    out, _ = r.communicate(timeout=TIMEOUT)
    assert any("warm, from template" in line for line in w.json("explain", str(r.pid))["lines"])

    stats = w.stats()
    assert stats["launches"]["warm"] == 3 and stats["builds_ok"] == 2 and stats["templates"] == 1
    assert stats["watches"] > 0 and stats["latencies"][0]["p50_ns"] > 0
    assert "become" in w.command("stats").stdout
    r = w.run(argv, verbose=True, options=["--name", "report"])
    assert (r.stdout, r.stderr) == (b'["a"]\n', b"warm: launching from template 'report'\n")

    assert w.json("rm", "report") == {"removed": ["report"]}
    assert w.ls() == []
    assert w.run(argv, strict=True).status == 125
    w.idle()
    assert w.command("rm", "--all").returncode == 0 and w.ls() == []

    pid = w.pid()
    assert w.json("stop")["stopped"] is True
    eventually(lambda: not exists(pid), "its end")
    assert not (w.runtime_dir / "warmd.sock").exists()


def test_unknown_names(warm):
    warm.start()
    with subprocess.Popen(["true"]) as ended:
        pass
    for args in (["rm", "nobody"], ["inspect", "nobody"], ["explain", str(ended.pid)]):
        r = warm.command(*args, check=False)
        assert r.returncode == 125 and r.stderr.startswith("warm: ") and args[1] in r.stderr and r.stdout == ""


def test_remove_one_of_several(warm, script):
    programs = [script(f"import json\nprint({i})\n", f"r{i}.py") for i in range(3)]
    for i, p in enumerate(programs):
        warm.build([PYTHON, p], options=["--name", f"n{i}"])
    warm.command("rm", "n0", "n2")
    assert {t["name"] for t in warm.ls()} & {"n0", "n1", "n2"} == {"n1"}
    assert warm.run([PYTHON, programs[1]], strict=True).stdout == b"1\n"
    r = warm.command("rm", "n1", "n0", check=False)
    assert r.returncode == 125 and "n0" in r.stderr


def test_removed_while_clones_run(warm, script):
    """A clone does not need its template any more"""
    s = script("import json, sys\nprint('ready', flush=True)\nprint(sys.stdin.readline(), json.dumps([1]))\n")
    warm.build([PYTHON, s], options=["--name", "going"], stdin="pipe")
    p = warm.popen([PYTHON, s])
    read_until(p.stdout.fileno(), b"ready\n")
    warm.command("rm", "going")
    s.unlink()
    out, err = p.communicate(b"x\n", timeout=TIMEOUT)
    assert (out, err, p.returncode) == (b"x\n [1]\n", b"", 0)


def test_names_of_templates(warm, program, script):
    """Two of a name: the later command takes it over"""
    other = script("import json\nprint('other')\n", "other.py")
    warm.build([PYTHON, program], options=["--name", "shared"])
    warm.build([PYTHON, other], options=["--name", "shared"])
    [row] = [t for t in warm.ls() if t["name"] == "shared"]
    assert row["argv"][1] == str(other)
    for name in ("sp ace", "ümlaut", "x" * 200, "-dash"):
        warm.build([PYTHON, other], options=["--name", name])
        assert any(t["name"] == name for t in warm.ls())
        warm.command("rm", "--", name)


def test_readiness_points(warm, compile_c, script):
    program = compile_c('#include <stdio.h>\nint main(int argc, char **argv) { printf("%d %s\\n", argc, argv[argc - 1]); return argc; }\n')
    assert warm.same([program, "b", "c"], warm_options=["--ready", "main"]).stdout == b"3 c\n"
    call = script("import os, json\n"
                  "fd = int(os.environ.get('WARM_FD', '-1'))\n"
                  "if fd >= 0:\n    os.write(fd, b'READY=1\\n')\n    context = json.loads(os.read(fd, 65536))\n"
                  "    print(context['argv'][-1], context['env']['MINE'], context['cwd'])\nelse:\n    print('cold')\n")
    warm.build([PYTHON, call, "x"], options=["--ready", "call"], env={"MINE": "1"})
    r = warm.run([PYTHON, call, "x"], strict=True, options=["--ready", "call"], env={"MINE": "1"})
    assert r.stdout == f"x 1 {os.getcwd()}\n".encode(), r
    r = warm.command("build", "--ready", "nonsense", "true", check=False)
    assert r.returncode == 125 and "nonsense" in r.stderr


def test_doctor(warm):
    r = warm.command("doctor", check=False)
    data = json.loads(warm.command("doctor", "--json", check=False).stdout)
    assert r.returncode in (0, 1, 125) and len(r.stdout.splitlines()) > 10
    assert data and "ptrace" in json.dumps(data)


@pytest.mark.parametrize("command", ["run", "build", "ls", "rm", "inspect", "stats", "explain", "doctor", "stop"])
def test_help_has_examples(warm, command):
    r = warm.command(command, "--help")
    assert r.stderr == "" and "warm " + command in r.stdout and "xample" in r.stdout


def test_run_usage(warm):
    for args in (["run"], ["run", "--"], ["run", "--nonsense", "x"], ["run", "--name"], ["run", "-z", "x"]):
        r = warm.command(*args, check=False)
        assert r.returncode == 125 and r.stderr.startswith("warm: ") and r.stdout == ""
    # options end at the command, or at --
    assert warm.run(["echo", "--strict", "-v", "--", "x"]).stdout == b"--strict -v -- x\n"


# --- one daemon ------------------------------------------------------------------------------------------------

def daemons_of(w):
    found = []
    for d in os.listdir("/proc"):
        try:
            if os.path.basename(os.readlink(f"/proc/{int(d)}/exe")) == "warmd" and exists(int(d)):
                if f"WARM_RUNTIME_DIR={w.runtime_dir}".encode() in open(f"/proc/{d}/environ", "rb").read().split(b"\0"):
                    if os.stat(f"/proc/{d}").st_uid == os.getuid() and "warmd" in open(f"/proc/{d}/comm", encoding="latin-1").read():
                        found.append(int(d))
        except (OSError, ValueError):
            pass
    return found


def test_many_starts_at_once_make_one(own_warm, program):
    w = own_warm
    ps = [w.popen([PYTHON, program, str(i)], strict=False) for i in range(12)]
    for i, p in enumerate(ps):
        out, err = p.communicate(timeout=TIMEOUT)
        assert (out, err, p.returncode) == (f'["{i}"]\n'.encode(), b"", 0)
    w.idle()
    pid = w.pid()
    assert set(daemons_of(w)) - set(children(pid)) == {pid}     # its builds are forks of it


def test_daemon_started_by_hand(own_warm, program):
    """In the foreground; a second one says so and goes"""
    w = own_warm
    p = subprocess.Popen([WARMD], env=w.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        eventually(w.pid, "the socket")
        assert w.pid() == p.pid
        second = subprocess.run([WARMD], env=w.env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert second.returncode == 0 and "another warmd" in second.stderr
        w.same([PYTHON, program])
        assert w.pid() == p.pid
    finally:
        p.terminate()
        out, err = p.communicate(timeout=TIMEOUT)
    assert (p.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(own_warm, script, number):
    """Also with a build on its way and clones running: the clones go on, all else is gone"""
    w = own_warm
    waiting = script("import json, sys\nprint('ready', flush=True)\nprint(sys.stdin.readline())\n", "waiting.py")
    w.build([PYTHON, waiting], stdin="pipe")
    clone = w.popen([PYTHON, waiting])
    read_until(clone.stdout.fileno(), b"ready\n")
    pid = w.pid()
    slow = script("import slow\n", "s.py", **{"slow.py": "import time\ntime.sleep(20)\n"})
    builder = subprocess.Popen([w.program, "build", PYTHON, slow], env=w.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    below = eventually(lambda: len(c := children(pid)) >= 2 and c, "the build and its program")
    os.kill(pid, number)
    eventually(lambda: not exists(pid), "its end", 5)
    assert not (w.runtime_dir / "warmd.sock").exists()
    eventually(lambda: not any(map(exists, below)), "the end of the build")
    _, err = builder.communicate(timeout=TIMEOUT)
    assert builder.returncode == 125 and err.startswith(b"warm: ")
    out, err = clone.communicate(b"still here\n", timeout=TIMEOUT)
    assert (out, err, clone.returncode) == (b"still here\n\n", b"", 0)
    assert "stopping" in w.log()


def test_hangup_does_not_end_it(own_warm, program):
    pid = own_warm.start()
    os.kill(pid, signal.SIGHUP)
    own_warm.same([PYTHON, program])
    assert own_warm.pid() == pid


def test_stale_socket(own_warm, program):
    """Left by a crash, with nobody behind it; also a plain file in its place"""
    w = own_warm
    w.runtime_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.bind(str(w.runtime_dir / "warmd.sock"))
    assert w.command("ls").stdout.count("\n") == 1
    w.same([PYTHON, program])
    w.stop()
    (w.runtime_dir / "warmd.sock").write_text("", encoding="utf-8")
    w.same([PYTHON, program])


def test_modes(own_warm, program):
    w = own_warm
    w.start()
    for path, mode in ((w.runtime_dir, 0o40700), (w.runtime_dir / "warmd.sock", 0o140600), (w.runtime_dir / "warmd.log", 0o100600)):
        st = path.stat()
        assert st.st_mode & 0o177777 == mode and st.st_uid == os.getuid(), path


def test_daemon_keeps_nothing_of_its_starter(own_warm, tmp_path):
    """Neither its directory, its terminal nor its descriptors: a mount point stays free, a pipe gets its end of file"""
    r, wr = os.pipe()
    os.set_inheritable(wr, True)
    own_warm.run(["true"], cwd=tmp_path, pass_fds=[wr])
    os.close(wr)
    pid = own_warm.pid()
    assert os.read(r, 1) == b""
    os.close(r)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) != os.getsid(0)
    links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1, 2)]
    assert links == ["/dev/null"] * 3


def test_log_and_levels(make_warm, program):
    w = make_warm({"log_level": "debug"})
    w.build([PYTHON, program])
    assert "debug" in w.log() and "building" in w.log()
    w.stop()
    w.configure({"log_level": "error"})
    size = len(w.log())
    w.start()
    w.stop()
    assert len(w.log()) == size


def test_idle_exit(make_warm, program):
    w = make_warm({"idle_exit": 1})
    pid = w.start()
    eventually(lambda: not exists(pid), "its end after a second of idleness", 20)
    assert not (w.runtime_dir / "warmd.sock").exists()
    w.same([PYTHON, program])


# --- socket activation ---------------------------------------------------------------------------------------------

ACTIVATE = '''
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(sys.argv[1])
s.listen(64)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
if sys.argv[3] == "wait":
    import select
    select.select([s], [], [])
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], ["warmd"])
'''


def test_socket_activation(own_warm, program):
    """As systemd does it: the socket is there first, warmd starts with the first connection, and does not remove it"""
    w = own_warm
    w.runtime_dir.mkdir(mode=0o700)
    path = w.runtime_dir / "warmd.sock"
    p = subprocess.Popen([PYTHON, "-c", ACTIVATE, path, WARMD, "wait"], env=w.env, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        eventually(path.exists, "the socket")
        assert os.path.basename(os.readlink(f"/proc/{p.pid}/exe")) != "warmd"
        w.build([PYTHON, program])          # wakes it
        w.same([PYTHON, program], build=False)
        assert w.pid() == p.pid
        assert os.readlink(f"/proc/{p.pid}/exe") == str(WARMD)
    finally:
        p.terminate()
        out, err = p.communicate(timeout=TIMEOUT)
    assert (p.returncode, err) == (0, b"")
    assert path.exists()


def test_socket_activation_with_the_wrong_socket(own_warm):
    text = ACTIVATE.replace("SOCK_SEQPACKET", "SOCK_STREAM")
    own_warm.runtime_dir.mkdir(mode=0o700)
    r = subprocess.run([PYTHON, "-c", text, own_warm.runtime_dir / "warmd.sock", WARMD, "now"], env=own_warm.env,
                       capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert r.returncode == 125 and "SEQPACKET" in r.stderr
    (own_warm.runtime_dir / "warmd.sock").unlink()


# --- configuration -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, words", [
    ('{\n  "memory_budget": "64X"\n}', [":2:", "memory_budget"]), ('{"log_level": "loud"}', [":1:", "log_level"]),
    ('{\n\n\n"max_agee": 1}', [":4:", "max_agee", "max_age"]), ('{\n"max_age": 1,\n"max_age": 2}', [":3:", "second time"]),
    ('{\n"ignore_paths": ["relative"]\n}', [":2:", "ignore_paths"]), ("nonsense", [":1:"]), ("", ["config.json"]),
    ('{"templates_max": -1}', ["templates_max"]), ('{"disable": [1]}', ["disable"]),
])
def test_configuration_errors_name_the_line(make_warm, text, words):
    w = make_warm(text)
    r = subprocess.run([WARMD], env=w.env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert r.returncode == 125 and r.stderr.startswith("warmd: ") and all(x in r.stderr for x in words), r.stderr
    assert r.stderr.count("\n") == 1 and w.pid() is None


def test_configuration_that_others_can_write(make_warm):
    w = make_warm("{}")
    w.config_file.chmod(0o666)
    r = subprocess.run([WARMD], env=w.env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert r.returncode == 125 and "config.json" in r.stderr


def test_templates_max(make_warm, script):
    w = make_warm({"templates_max": 2})
    programs = [script(f"import json\nprint({i})\n", f"m{i}.py") for i in range(4)]
    for p in programs:
        w.build([PYTHON, p])
    assert {t["argv"][1] for t in w.ls()} == {str(programs[2]), str(programs[3])}


def test_bad_directory_mode(own_warm):
    own_warm.runtime_dir.mkdir(mode=0o700)
    own_warm.runtime_dir.chmod(0o770)
    for r in (subprocess.run([WARMD], env=own_warm.env, capture_output=True, text=True, timeout=TIMEOUT, check=False),
              own_warm.command("ls", check=False), own_warm.command("build", "true", check=False)):
        assert r.returncode == 125 and str(own_warm.runtime_dir) in r.stderr and "0700" in r.stderr or "others" in r.stderr, r
    own_warm.runtime_dir.chmod(0o700)


def test_default_directories(tmp_path, program, own_warm):
    """$XDG_RUNTIME_DIR/warm without WARM_RUNTIME_DIR"""
    (own_warm.directory / "x").mkdir(mode=0o700)
    w = Warm(own_warm.directory)
    w.runtime_dir = own_warm.directory / "x/warm"
    del w.env["WARM_RUNTIME_DIR"]
    w.env["XDG_RUNTIME_DIR"] = str(own_warm.directory / "x")
    try:
        w.same([PYTHON, program])
        assert (own_warm.directory / "x/warm/warmd.sock").exists()
    finally:
        w.stop()
