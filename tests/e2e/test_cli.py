# SPDX-License-Identifier: MIT
"""The commands of warm-tool against a scripted warmd: what they ask, print and return, and what they do with a
daemon that is dead, hung, of another version or malicious. WARM_BUILD names the build directory."""

import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fake_warmd as fw  # noqa: E402

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("WARM_BUILD", HERE.parent.parent / "build"))
TOOL = BUILD / "warm-tool"
COMMANDS = ["build", "load", "ls", "rm", "inspect", "restore", "stats", "explain", "doctor", "stop"]
TIMEOUT = 30


@pytest.fixture
def runtime(tmp_path):
    d = tmp_path / "rt"
    d.mkdir(mode=0o700)
    return d


def env_for(runtime, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("WARM_")}
    return {**env, "WARM_RUNTIME_DIR": str(runtime), **more}


def warm(runtime, *args, tool=TOOL, env=None, **options):
    return subprocess.run([str(tool), *args], env=env or env_for(runtime), text=True, capture_output=True,
                          timeout=TIMEOUT, stdin=options.pop("stdin", subprocess.DEVNULL), **options)


@pytest.fixture
def installed(tmp_path):
    """A copy of warm-tool with a fake warmd beside it, which it will start."""
    d = tmp_path / "bin"
    d.mkdir()
    tool = shutil.copy(TOOL, d / "warm-tool")
    warmd = d / "warmd"
    warmd.write_text(f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {str(HERE)!r})\n"
                     "import fake_warmd\nsys.exit(fake_warmd.main())\n", encoding="utf-8")
    warmd.chmod(0o755)
    return tool


TEMPLATE = {
    "id": 12, "name": "python3 report.py", "argv": ["python3", "report.py", "a b"], "cwd": "/srv", "ready": "import",
    "state": "ready", "created_ns": 1700000000123456789, "last_used_ns": 1700000000000000001, "launches": 42,
    "sealed_bytes": 12900000, "mappings": 77, "threads": 2, "files": 9, "build_ns": 350000000,
    "keys": ["argv[0..2]", "env HOME"],
    "dependencies": [fw.message({1: f"/srv/mod{i}.py", 2: "file"}) for i in range(20)],
    "descriptors": [fw.message({1: 3, 2: "file", 3: "/srv/data", 4: 0o100000, 5: 8})],
    "memory": [fw.message({1: 0x400000, 2: 0x500000, 3: "r-x", 4: "/usr/bin/python3", 5: 4096})],
}


def one_template(name, _body):
    if name in ("list", "inspect"):
        return fw.control_reply(templates=[fw.template(**TEMPLATE)])
    return fw.control_reply()


# --- help and options ---------------------------------------------------------------------


def test_help_lists_the_commands(runtime):
    for args in (["--help"], ["help"], ["-h"]):
        r = warm(runtime, *args)
        assert r.returncode == 0 and r.stderr == ""
        assert all(f"\n  {c} " in r.stdout for c in [*COMMANDS, "run"])
    r = warm(runtime)
    assert r.returncode == 125 and "usage: warm" in r.stderr


@pytest.mark.parametrize("command", [*COMMANDS, "run"])
def test_help_of_a_command(runtime, command):
    r = warm(runtime, command, "--help")
    assert r.returncode == 0
    assert r.stdout.startswith(f"usage: warm {command} ")
    assert r.stdout.split("Examples:")[1].count(f"warm {command}") >= 2
    assert max(map(len, r.stdout.splitlines()[1:])) <= 90
    assert warm(runtime, "help", command).stdout == r.stdout


def test_version(runtime):
    r = warm(runtime, "--version")
    assert r.returncode == 0 and r.stdout.startswith("warm ") and f"protocol {fw.VERSION}" in r.stdout


@pytest.mark.parametrize("args", [
    ["nonsense"], ["--nonsense"], ["help", "nonsense"], ["ls", "--nonsense"], ["ls", "x"], ["rm"],
    ["rm", "--all", "x"], ["inspect"], ["inspect", "a", "b"], ["stats", "x"], ["stop", "x"], ["explain"],
    ["build"], ["build", "--name"], ["build", "--json=1", "x"], ["build", "--"], ["doctor", "x"],
])
def test_wrong_usage(runtime, args):
    r = warm(runtime, *args)
    assert r.returncode == 125 and r.stdout == ""
    assert r.stderr.startswith("warm: ") and "\ntry 'warm " in r.stderr and "--help'" in r.stderr


def test_output_that_cannot_be_written(runtime):
    with open("/dev/full", "w", encoding="utf-8") as full:
        r = subprocess.run([TOOL, "--help"], stdout=full, stderr=subprocess.PIPE, env=env_for(runtime), check=False)
    assert r.returncode == 125 and b"No space left" in r.stderr


# --- the commands against a daemon that answers ---------------------------------------------


def test_ls(runtime):
    with fw.FakeWarmd(runtime, control=one_template):
        r = warm(runtime, "ls")
        assert r.returncode == 0 and r.stderr == ""
        head, row = r.stdout.splitlines()
        assert head.split() == "NAME STATE READY AGE USED LAUNCHES PARKED MEMORY COMMAND".split()
        assert "12.3M" in row and row.endswith("python3 report.py 'a b'") and " 42 " in row
        assert head.index("COMMAND") == row.index("python3 report.py 'a b'")
        data = json.loads(warm(runtime, "ls", "--json").stdout)
    assert data[0]["created_ns"] == TEMPLATE["created_ns"]  # exact: more than a double holds
    assert data[0]["argv"] == TEMPLATE["argv"] and "dependencies" not in data[0]


def test_ls_fits_the_terminal(runtime):
    wide = {**TEMPLATE, "argv": ["x" * 300]}
    with fw.FakeWarmd(runtime, control=lambda *_: fw.control_reply(templates=[fw.template(**wide)])):
        leader, follower = pty.openpty()
        os.set_blocking(leader, True)
        import fcntl
        import struct
        import termios
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        subprocess.run([TOOL, "ls"], stdout=follower, env=env_for(runtime), check=True, timeout=TIMEOUT)
        os.close(follower)
        text = os.read(leader, 65536).decode()
        os.close(leader)
    assert all(len(line) <= 100 for line in text.splitlines())


def test_hostile_names_do_not_reach_the_terminal(runtime):
    evil = {**TEMPLATE, "name": "a\x1b[2Jb\nc", "reason": "\x07", "argv": [b"\xff\x1b".decode(errors="surrogateescape")]}
    with fw.FakeWarmd(runtime, control=lambda *_: fw.control_reply(templates=[fw.template(**evil)])):
        for args in (["ls"], ["inspect", "x"]):
            r = subprocess.run([TOOL, *args], env=env_for(runtime), capture_output=True, timeout=TIMEOUT, check=True)
            assert b"\x1b" not in r.stdout and b"\x07" not in r.stdout and b"a?[2Jb?c" in r.stdout
        data = json.loads(warm(runtime, "ls", "--json").stdout)
    assert data[0]["name"] == evil["name"] and data[0]["argv"] == ["\ufffd\x1b"]


def test_without_a_daemon(runtime):
    r = warm(runtime, "ls")
    assert r.returncode == 0 and len(r.stdout.splitlines()) == 1
    assert json.loads(warm(runtime, "ls", "--json").stdout) == []
    assert warm(runtime, "rm", "--all").returncode == 0
    r = warm(runtime, "stop")
    assert r.returncode == 0 and "not running" in r.stdout
    assert json.loads(warm(runtime, "stop", "--json").stdout) == {"stopped": False}
    for args in (["rm", "shop"], ["inspect", "shop"], ["explain", "4711"]):
        r = warm(runtime, *args)
        assert r.returncode == 125 and args[1] in r.stderr and "not running" in r.stderr
    r = warm(runtime, "stats")
    assert r.returncode == 125 and "warm: warmd is not running" in r.stderr
    r = warm(runtime, "explain", "--", "true")
    assert r.returncode == 0 and r.stdout.startswith("would run cold, and start warmd")
    assert list(runtime.iterdir()) == []  # none of these starts one


def test_rm(runtime):
    with fw.FakeWarmd(runtime, control=one_template) as d:
        assert warm(runtime, "rm", "a", "--", "--b").returncode == 0
        assert d.controls[-1] == ("remove", {1: [b"a", b"--b"]})
        assert json.loads(warm(runtime, "rm", "--json", "a").stdout) == {"removed": ["a"]}
        assert warm(runtime, "rm", "--all").returncode == 0
        assert d.controls[-1] == ("remove", {2: [1]})
    with fw.FakeWarmd(runtime, control=lambda n, b: fw.control_reply(-2, "no template is named 'shop'")):
        r = warm(runtime, "rm", "shop")
    assert (r.returncode, r.stdout, r.stderr) == (125, "", "warm: no template is named 'shop'\n")


def test_inspect(runtime):
    with fw.FakeWarmd(runtime, control=one_template) as d:
        r = warm(runtime, "inspect", "12")
        assert d.controls[-1] == ("inspect", {1: [b"12"]})
        assert r.returncode == 0 and "env HOME" in r.stdout and "350.0ms" in r.stdout
        assert "dependencies (20)" in r.stdout and "8 more: -v" in r.stdout and "mod19" not in r.stdout
        assert "/srv/mod19.py" in warm(runtime, "inspect", "-v", "12").stdout
        data = json.loads(warm(runtime, "inspect", "12", "--json").stdout)
    assert len(data["dependencies"]) == 20 and data["memory"][0]["stored_bytes"] == 4096
    assert data["descriptors"] == [{"fd": 3, "kind": "file", "target": "/srv/data", "flags": 0o100000, "offset": 8}]


def test_stats(runtime):
    stats = fw.message({
        1: 3600 * 10**9, 2: [fw.message({1: "warm", 2: 90}), fw.message({1: "none", 2: 10})], 3: 4, 6: 2,
        7: 1 << 20, 8: 1 << 30, 13: [fw.message({1: "match", 2: 100, 3: 850, 4: 2000, 5: 12300, 6: 4500000})],
        16: [fw.message({1: "become", 2: 90}), fw.message({1: "cold", 2: 10})],
    })
    with fw.FakeWarmd(runtime, control=lambda *_: fw.control_reply(stats=stats)):
        r = warm(runtime, "stats")
        data = json.loads(warm(runtime, "stats", "--json").stdout)
    assert r.returncode == 0
    text = " ".join(r.stdout.split())
    assert "become 90 90.0%" in text and "cold: none 10 10.0%" in text and "uptime 1h" in text
    assert "match 100 850ns 2.0us 12.3us 4.5ms" in text and "budget 1.0G" in text
    assert data["launches"] == {"warm": 90, "none": 10} and data["latencies"][0]["p99_ns"] == 12300
    assert data["uptime_ns"] == 3600 * 10**9 and data["bad_messages"] == 0


def test_stop_waits_until_the_daemon_is_gone(runtime, installed):
    env = env_for(runtime)
    assert warm(runtime, "build", "true", tool=installed, env=env).returncode == 125  # starts it; it refuses
    assert (runtime / "warmd.sock").exists()
    r = warm(runtime, "stop", "--json", tool=installed, env=env)
    assert r.returncode == 0 and json.loads(r.stdout)["stopped"] is True


def test_explain(runtime):
    def run(request):
        assert request.flags == fw.F_EXPLAIN | fw.F_NO_BUILD and request.argv == ["python3", "-c", "--json"]
        return fw.run_reply("mismatch", "env LANG is 'de_DE', was 'C'", template_id=12)

    with fw.FakeWarmd(runtime, run=run, control=one_template):
        r = warm(runtime, "explain", "python3", "-c", "--json")
        assert r.returncode == 0 and "would run cold" in r.stdout and "because: env LANG" in r.stdout
        assert "\n  argv[0..2]\n" in r.stdout
        data = json.loads(warm(runtime, "explain", "--json", "--", "python3", "-c", "--json").stdout)
    assert data["status"] == "mismatch" and data["template"]["id"] == 12


def test_explain_one_word(runtime):
    def control(name, body):
        if name == "explain" and body[1] == [b"shop"]:
            return fw.control_reply(lines=["template 'shop'", "ready at import"])
        return fw.control_reply(-2, f"nothing is known of {body.get(1)}")

    with fw.FakeWarmd(runtime, control=control) as d:
        assert warm(runtime, "explain", "shop").stdout == "template 'shop'\nready at import\n"
        assert warm(runtime, "explain", "4711").returncode == 125 and not d.runs
        assert "would run cold" in warm(runtime, "explain", "pytest").stdout and d.runs[-1].argv == ["pytest"]
        assert "would run cold" in warm(runtime, "explain", "--", "shop").stdout and d.runs[-1].argv == ["shop"]


def test_build(runtime):
    with fw.FakeWarmd(runtime, run=lambda r: fw.run_reply("warm", template_id=12), control=one_template) as d:
        r = warm(runtime, "build", "python3", "report.py", "--json")
        assert (r.returncode, r.stdout, r.stderr) == (0, "python3 report.py\n", "")
        assert d.runs[-1].flags == fw.F_BUILD and d.runs[-1].ready == "auto" and d.runs[-1].name == ""
        r = warm(runtime, "build", "--name=shop", "--ready", "call", "--rebuild", "--json", "--", "./shop")
        assert json.loads(r.stdout) == {"status": "ready", "name": "shop", "id": 12, "reason": ""}
        assert d.runs[-1].flags == fw.F_BUILD | fw.F_REBUILD
        assert (d.runs[-1].name, d.runs[-1].ready, d.runs[-1].argv) == ("shop", "call", ["./shop"])
    with fw.FakeWarmd(runtime, run=lambda r: fw.run_reply("refused", "it has a TCP connection")):
        r = warm(runtime, "build", "x")
        assert (r.returncode, r.stdout) == (125, "") and "it has a TCP connection" in r.stderr
        r = warm(runtime, "build", "--name", "", "x")
        assert (r.returncode, r.stdout) == (125, "") and "--name" in r.stderr
        r = warm(runtime, "build", "--json", "x")
        assert r.returncode == 125 and json.loads(r.stdout)["status"] == "refused"


def test_build_takes_ctrl_c(runtime):
    with fw.FakeWarmd(runtime, "hang") as d:
        p = subprocess.Popen([TOOL, "build", "x"], env=env_for(runtime))
        assert d.asked.wait(TIMEOUT)
        p.send_signal(signal.SIGINT)
        assert p.wait(TIMEOUT) == -signal.SIGINT


# --- the launch context -----------------------------------------------------------------------


def context(runtime, *, before="", env=None, **options):
    """The context that warm-tool sends when a shell that first does BEFORE execs it."""
    with fw.FakeWarmd(runtime, run=lambda r: fw.run_reply("refused", "no")) as d:
        subprocess.run(["bash", "-c", f'{before}\nexec "{TOOL}" build prog arg'], env=env or env_for(runtime),
                       timeout=TIMEOUT, capture_output=not options, check=False, **options)
        return d.runs[-1]


def test_context(runtime, tmp_path):
    env = env_for(runtime, EMPTY="", ODD="a=b\nc")
    run = context(runtime, env=env, cwd=tmp_path,
                  before="umask 027; trap '' HUP RTMIN+1; ulimit -Sn 200; exec 7</dev/null 150</")
    assert run.argv == ["prog", "arg"] and run.cwd == str(tmp_path) and run.umask == 0o027
    assert {e for e in run.envp if not e.startswith(("_=", "PWD=", "SHLVL=", "OLDPWD="))} == {
        f"{k}={v}" for k, v in env.items() if k not in ("_", "PWD", "SHLVL", "OLDPWD")}
    assert run.ignored_signals & 1 and run.ignored_signals >> (signal.SIGRTMIN + 1 - 1) & 1
    assert not run.ignored_signals >> (signal.SIGTERM - 1) & 1
    assert run.rlimits[resource.RLIMIT_NOFILE][0] == 200
    assert run.inherited >= {0, 1, 2, 7, 150} and 6 not in run.inherited


def test_context_descriptor_above_the_limit(runtime):
    run = context(runtime, before="exec 100</dev/null; ulimit -Sn 50")
    assert 100 in run.inherited and 99 not in run.inherited


def test_context_stdio(runtime, tmp_path):
    kinds = dict(closed=0, tty=1, pipe=2, file=3, socket=4, null=5)
    out = tmp_path / "out"
    run = context(runtime, before=f"exec <&- >>{out} 2>/dev/null")
    assert run.stdio == (kinds["closed"], kinds["file"], kinds["null"]) and run.stdio_offset_nonzero == 0
    assert run.inherited.isdisjoint({0}) and run.stdio_blksize[0] == 0
    out.write_text("x" * 10, encoding="utf-8")
    assert context(runtime, before=f"exec >>{out}").stdio_offset_nonzero == 2
    assert context(runtime, before=f"exec <{out} >{out}").stdio_offset_nonzero == 0
    assert context(runtime, before=f"echo aaaaaaaa >{out}; exec <{out}; read -r -n1").stdio_offset_nonzero == 1
    run = context(runtime)
    assert run.stdio[1:] == (kinds["pipe"], kinds["pipe"]) and (run.rows, run.columns) == (0, 0)


def test_context_terminal(runtime):
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    run = context(runtime, stdin=follower, stdout=follower, stderr=subprocess.DEVNULL)
    os.close(follower)
    os.close(leader)
    assert run.stdio == (1, 1, 5) and (run.rows, run.columns) == (24, 100)


def test_context_too_large(runtime):
    with fw.FakeWarmd(runtime) as d:
        r = warm(runtime, "build", "x", env=env_for(runtime, BIG="x" * 127 * 1024))
        assert r.returncode == 125 and "larger than 128 KiB" in r.stderr and not d.runs


def test_context_without_a_directory(runtime, tmp_path):
    gone = tmp_path / "gone"
    r = subprocess.run(["bash", "-c", f'mkdir "{gone}"; cd "{gone}"; rmdir "{gone}"; exec "{TOOL}" build x'],
                       env=env_for(runtime), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert r.returncode == 125 and "does not exist any more" in r.stderr


# --- a daemon that misbehaves -----------------------------------------------------------------

WORDS = {
    "close": ("closed the connection",),
    "close-late": ("closed the connection",),
    "version": ("version 99",),
    "magic": ("not one of warmd",),
    "empty": ("closed the connection",),
    "short": ("was cut",),
    "long": ("was cut", "larger than expected"),
    "huge": ("larger than expected",),
    "type": ("message type",),
    "fds": ("were not asked for", "more than 0 descriptors"),
}


@pytest.mark.parametrize("behaviour", WORDS)
@pytest.mark.parametrize("args", [["ls"], ["stats"], ["rm", "x"], ["inspect", "x"], ["build", "x"]])
def test_misbehaving_daemon(runtime, behaviour, args):
    with fw.FakeWarmd(runtime, behaviour):
        r = warm(runtime, *args)
    assert r.returncode == 125 and r.stdout == "" and r.stderr.startswith("warm: ")
    assert any(w in r.stderr for w in WORDS[behaviour]), r.stderr


@pytest.mark.parametrize("behaviour", ["status", "few-fds"])
def test_run_answers_that_make_no_sense(runtime, behaviour):
    with fw.FakeWarmd(runtime, behaviour):
        r = warm(runtime, "build", "x")
    assert r.returncode == 125 and r.stderr.startswith("warm: ")


def test_lost_descriptors_are_noticed(runtime):
    """MSG_CTRUNC: the client's limit leaves no room for what comes."""
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))

    with fw.FakeWarmd(runtime, "fds"):
        r = warm(runtime, "build", "x", preexec_fn=limit)
    assert r.returncode == 125 and "descriptors from warmd were lost" in r.stderr


@pytest.mark.parametrize("behaviour", ["hang", "backlog"])
def test_hung_daemon(runtime, behaviour):
    with fw.FakeWarmd(runtime, behaviour):
        hold = []
        if behaviour == "backlog":  # fill it
            import socket
            for _ in range(3):
                s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                s.setblocking(False)
                try:
                    s.connect(str(runtime / "warmd.sock"))
                except BlockingIOError:
                    pass
                hold.append(s)
        begin = time.monotonic()
        r = warm(runtime, "ls")
        assert r.returncode == 125 and time.monotonic() - begin < 15
        assert "does not answer" in r.stderr or "does not accept" in r.stderr
        for s in hold:
            s.close()


def running(pid):
    try:  # a zombie has ended, whoever reaps it
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_stop_ends_a_daemon_that_does_not_understand(runtime, installed):
    for behaviour in ("version", "magic"):
        env = env_for(runtime, FAKE_WARMD=behaviour, FAKE_WARMD_LOG=str(runtime / "log"))
        # the copy is named by its interpreter, not warmd: then it must not be signalled
        warm(runtime, "build", "x", tool=installed, env=env)
        pid = int((runtime / "log").read_text().splitlines()[-1].split()[0].split("=")[1])
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        r = warm(runtime, "stop", tool=installed, env=env)
        if comm == "warmd":
            assert r.returncode == 0, r.stderr
            assert not running(pid)
        else:
            assert r.returncode == 125
            os.kill(pid, signal.SIGTERM)


def test_stale_socket_file(runtime, installed):
    import socket
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.bind(str(runtime / "warmd.sock"))
    s.close()
    assert warm(runtime, "ls").returncode == 0  # nobody there: no templates
    r = warm(runtime, "build", "x", tool=installed)  # replaced by the daemon that is started
    assert "no template was built: none" in r.stderr
    assert warm(runtime, "stop", tool=installed).returncode == 0


# --- the runtime directory -----------------------------------------------------------------------


def test_directory_of_others_is_refused(runtime):
    runtime.chmod(0o750)
    r = warm(runtime, "ls")
    assert r.returncode == 125 and "chmod 700" in r.stderr
    runtime.chmod(0o700)
    if os.getuid() == 0:
        os.chown(runtime, 65534, 65534)
        r = warm(runtime, "ls")
        assert r.returncode == 125 and "belongs to uid 65534, not to uid 0" in r.stderr


def test_directory_that_cannot_be(runtime, tmp_path):
    f = tmp_path / "file"
    f.touch()
    for value, words in ((str(f), "not a directory"), ("relative", "absolute"), ("", "absolute"),
                         ("/tmp/" + "x" * 200, "too long")):
        r = warm(runtime, "ls", env={**os.environ, "WARM_RUNTIME_DIR": value})
        assert r.returncode == 125 and words in r.stderr, (value, r.stderr)


def test_directory_from_xdg(tmp_path):
    xdg = tmp_path / "xdg"
    (xdg / "warm").mkdir(parents=True)
    (xdg / "warm").chmod(0o700)
    env = {k: v for k, v in os.environ.items() if not k.startswith("WARM_")}
    with fw.FakeWarmd(xdg / "warm", control=one_template):
        r = warm(None, "ls", env={**env, "XDG_RUNTIME_DIR": str(xdg)})
    assert "report.py" in r.stdout
    if os.getuid() == 0:  # sudo keeps XDG_RUNTIME_DIR: passed over, nothing is made there
        os.chown(xdg, 65534, 65534)
        os.chown(xdg / "warm", 65534, 65534)
        r = warm(None, "doctor", "--json", env={**env, "XDG_RUNTIME_DIR": str(xdg)})
        found = {p["name"]: p for p in json.loads(r.stdout)["probes"]}
        assert found["runtime-directory"]["detail"].startswith("/tmp/warm-0")


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_daemon_of_another_user_is_refused(runtime):
    code = (f"import signal, sys; sys.path.insert(0, {str(HERE)!r}); import fake_warmd\n"
            f"f = fake_warmd.FakeWarmd({str(runtime)!r}, listen_as=65534); print('up', flush=True); signal.alarm(60); signal.pause()")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as p:
        assert p.stdout.readline() == "up\n"
        for args in (["ls"], ["build", "x"]):
            r = warm(runtime, *args)
            assert r.returncode == 125 and "belongs to uid 65534, not to uid 0" in r.stderr
        p.kill()


# --- starting the daemon --------------------------------------------------------------------------


def test_start(runtime, installed, tmp_path):
    log = tmp_path / "log"
    shutil.rmtree(runtime)
    env = env_for(runtime, FAKE_WARMD_LOG=str(log))
    r = subprocess.run(["bash", "-c", f'trap "" HUP; exec 9</ ; exec "{installed}" build x'], env=env, cwd=tmp_path,
                       capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert "no template was built: none" in r.stderr
    assert runtime.stat().st_mode & 0o7777 == 0o700
    words = dict(w.split("=", 1) for w in log.read_text().split() if "=" in w)
    assert words["cwd"] == "/" and words["dir"] == str(runtime) and words["stdout"] == "/dev/null"
    assert words["fds"].split(",")[:4] == ["0", "1", "2", "3"] and "9" not in words["fds"].split(",")
    assert words["sid"] != words["pid"] and int(words["sid"]) != os.getsid(0)
    assert words["sigint"].startswith("<Handlers.SIG_DFL")
    assert warm(runtime, "stop", tool=installed, env=env).returncode == 0


def test_two_at_once_start_one(runtime, installed, tmp_path):
    log = tmp_path / "log"
    env = env_for(runtime, FAKE_WARMD_LOG=str(log))
    results = []

    def one():
        results.append(warm(runtime, "build", "x", tool=installed, env=env))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 8
    assert all("no template was built: none" in r.stderr for r in results), [r.stderr for r in results]
    pids = {line.split()[0] for line in log.read_text().splitlines()}
    assert warm(runtime, "stop", tool=installed, env=env).returncode == 0
    assert pids  # several may have been started; only the lock's holder listened, all were served


def test_start_failures(runtime, installed):
    def build(**env):
        return warm(runtime, "build", "x", tool=installed, env=env_for(runtime, **env))

    r = build(FAKE_WARMD="start-words")
    assert r.returncode == 125 and "warmd does not start: config.json line 3: unknown key 'budgt'" in r.stderr
    r = build(FAKE_WARMD="start-silent")
    assert r.returncode == 125 and "does not listen" in r.stderr
    begin = time.monotonic()
    r = build(FAKE_WARMD="start-hang")
    assert r.returncode == 125 and "does not listen yet" in r.stderr and time.monotonic() - begin < 10
    warmd = Path(installed).parent / "warmd"
    warmd.write_text("#!/proc/nonexistent/interpreter\n", encoding="utf-8")
    r = build()
    assert r.returncode == 125 and "warmd does not start" in r.stderr and "No such file" in r.stderr
    warmd.unlink()
    r = build(PATH="/proc/nonexistent")
    assert r.returncode == 125 and "cannot find warmd" in r.stderr


# --- doctor ------------------------------------------------------------------------------------------


def test_doctor(runtime):
    r = warm(runtime, "doctor", "--json")
    data = json.loads(r.stdout)
    assert r.returncode == (0 if data["ok"] else 125)
    assert {p["result"] for p in data["probes"]} <= {"ok", "limited", "missing"}
    assert all(p["why"] and p["detail"] for p in data["probes"])
    assert all(p["todo"] for p in data["probes"] if p["result"] == "missing")
    names = [p["name"] for p in data["probes"]]
    assert len(set(names)) == len(names) >= 20
    text = warm(runtime, "doctor", "-v")
    assert text.returncode == r.returncode and all(n in text.stdout for n in names)


def test_doctor_sees_the_daemon(runtime):
    def probe(name):
        return {p["name"]: p for p in json.loads(warm(runtime, "doctor", "--json").stdout)["probes"]}[name]

    with fw.FakeWarmd(runtime):
        assert probe("warmd-running")["result"] == "ok"
    with fw.FakeWarmd(runtime, "version"):
        found = probe("warmd-running")
        assert found["result"] == "missing" and "version 99" in found["detail"] and found["todo"] == "warm stop"


# --- what is installed with it ------------------------------------------------------------------------

ROOT = HERE.parent.parent


@pytest.mark.parametrize("page", ["warm.1", "warmd.1"])
def test_man_page(page):
    if not shutil.which("man"):
        pytest.skip("no man")
    r = subprocess.run(["man", "--warnings", "-l", str(ROOT / "docs" / page)], capture_output=True, text=True,
                       env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}, timeout=TIMEOUT, check=False)
    assert r.returncode == 0 and r.stderr == ""
    if page == "warm.1":
        assert all(f"warm {c}" in r.stdout for c in [*COMMANDS, "run"])


def test_bash_completion(runtime):
    script = f"""source {ROOT}/launcher/completion/warm.bash
try() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _warm; echo "${{COMPREPLY[@]}}"; }}
try warm ''; try warm rm --; try warm ls --js; try warm inspect ''
"""
    with fw.FakeWarmd(runtime, control=one_template):
        (runtime / "warm").symlink_to(TOOL)
        r = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=TIMEOUT, check=True,
                           env=env_for(runtime, PATH=f"{runtime}:{os.environ['PATH']}"))
    lines = r.stdout.splitlines()
    assert set(lines[0].split()) >= {*COMMANDS, "run", "help"}
    assert "--all" in lines[1] and lines[2] == "--json" and "report.py" in lines[3], r.stdout


@pytest.mark.parametrize("shell,file", [("zsh", "_warm"), ("fish", "warm.fish"), ("bash", "warm.bash")])
def test_completion_parses(shell, file):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    subprocess.run([shell, "-n", str(ROOT / "launcher" / "completion" / file)], check=True, timeout=TIMEOUT)
