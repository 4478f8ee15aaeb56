# SPDX-License-Identifier: MIT
"""Images without a daemon: warm restore DIR, warm inspect DIR"""
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pexpect
import pytest
from conftest import PYTHON, TIMEOUT, eventually, exists

ROOT = os.geteuid() == 0
# what is asked for in the build, and what the restored program is given
SCRIPT = """
import json, os, signal, sys
from held import DATA


def say(**more):
    # a signal may come in the midst of another's, which a buffer does not like
    os.write(1, json.dumps({"pid": os.getpid(), "argv": sys.argv[1:], "cwd": os.getcwd(), "a": os.environ.get("A"), **more}).encode() + b"\\n")


if sys.argv[1] == "once":
    say(stdin=sys.stdin.read(), tty=sys.stdout.isatty(), wrong=len(DATA) - DATA.count(b"abcdefghijklmnop") * 16)
    sys.exit(7)
for s in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCONT):
    signal.signal(s, lambda n, f: say(signal=n))
say(ready=True)
while sys.stdin.readline():
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


# modules are executed before the readiness point: memory, a file that is mapped and open
HELD = """
import mmap, os
DATA = bytes(range(97, 113)) * (1 << 14)
f = open(os.path.join(os.path.dirname(__file__), "data"), "rb")
m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
"""


@pytest.fixture
def image(make_warm, tmp_path):
    """image(*words) -> a warm whose daemon has ended, and the image of the script with these arguments"""

    def make(*words, script=SCRIPT, **environment):
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code/a.py").write_text(script, encoding="utf-8")
        (tmp_path / "code/held.py").write_text(HELD, encoding="utf-8")
        (tmp_path / "code/data").write_bytes(b"12345678")
        warm = make_warm({"keep": False}, A="of the build", **environment)
        out = tmp_path / "images/a"
        out.parent.mkdir(exist_ok=True)
        warm.build([PYTHON, str(tmp_path / "code/a.py"), *words], options=["--out", str(out)])
        warm.command("stop")
        return warm, out

    return make


def restore(warm, *words, check=True, env=None, **more):
    return warm.command("restore", *words, check=check, env={"A": "of the caller", **(env or {})}, **more)


def refused(warm, out, words, *options, **more):
    """Clear words, status 125, and no process"""
    r = restore(warm, *options, out, check=False, **more)
    assert r.returncode == 125 and r.stderr.startswith("warm: ") and words in r.stderr, (r.returncode, r.stderr)
    assert r.stdout == "", r.stdout
    return r


def flip(path, at, bit=0):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))


def place_of(path, what):
    """Where bytes are in a sparse file"""
    with open(path, "rb") as f:
        end, at = os.fstat(f.fileno()).st_size, 0
        while at < end:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            found = os.pread(f.fileno(), hole - at, at).find(what)
            if found >= 0:
                return at + found
            at = hole
    raise AssertionError(f"{what} is not in {path}")


# --- restore -------------------------------------------------------------------------------------


def test_as_the_program(image, tmp_path):
    """Arguments and environment of the build; directory, descriptors and status of the call; no daemon"""
    warm, out = image("once", "x y", "")
    first = restore(warm, "../images/a", input="typed", stdin=None, cwd=tmp_path / "code", check=False)
    assert first.returncode == 7 and first.stderr == "", first
    said = json.loads(first.stdout)
    pid = said.pop("pid")
    assert said == {"argv": ["once", "x y", ""], "cwd": str(tmp_path / "code"), "a": "of the build", "stdin": "typed", "tty": False, "wrong": 0}
    second = restore(warm, "--new-pids", out, input="", stdin=None, check=False)
    assert json.loads(second.stdout)["pid"] != pid and second.returncode == 7
    assert not (warm.runtime_dir / "warmd.sock").exists()


def test_what_is_drawn_at_random_differs(image):
    warm, out = image(script="import random, os\nprint(random.random(), os.urandom(4).hex())\n")
    assert restore(warm, out).stdout != restore(warm, out).stdout


def start(warm, out, *options):
    p = subprocess.Popen([warm.program, "restore", *options, out], env=warm.environment(), text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    warm.popens.append(p)
    return p, json.loads(p.stdout.readline())


def test_signals_are_passed_on(image):
    warm, out = image("wait")
    p, said = start(warm, out)
    assert said["pid"] != p.pid
    for s in (signal.SIGTERM, signal.SIGUSR1):
        p.send_signal(s)
        assert json.loads(p.stdout.readline())["signal"] == s
    p.stdin.close()
    assert p.wait(TIMEOUT) == -signal.SIGKILL and p.stderr.read() == ""


def test_stops_and_goes_on_with_it(image):
    """The child that stops itself stops its parent, as a shell has to see; SIGCONT to the parent alone continues both"""
    warm, out = image("wait")
    p, said = start(warm, out)
    os.kill(said["pid"], signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(p.pid, os.WUNTRACED)[1])
    p.send_signal(signal.SIGCONT)
    assert json.loads(p.stdout.readline())["signal"] == signal.SIGCONT
    p.stdin.close()
    assert p.wait(TIMEOUT) == -signal.SIGKILL


def test_ignored_signals_stay_ignored(image):
    """nohup; and a caller that has no children to wait for"""
    warm, out = image(script="import signal\nprint(int(signal.getsignal(signal.SIGHUP)), int(signal.getsignal(signal.SIGCHLD)))\n")

    def ignore():
        for s in (signal.SIGHUP, signal.SIGCHLD):
            signal.signal(s, signal.SIG_IGN)

    r = subprocess.run([warm.program, "restore", out], env=warm.environment(), capture_output=True, text=True, timeout=TIMEOUT,
                       check=True, preexec_fn=ignore)
    assert r.stdout == "1 1\n", r


def test_in_a_shell_with_a_terminal(image):
    """Job control: Ctrl-Z, fg, Ctrl-C"""
    warm, out = image(script="import sys\nprint('begun', sys.stdin.isatty())\ntry:\n    print('read', input())\n    input()\n"
                      "except KeyboardInterrupt:\n    sys.exit('interrupted')\n")
    shell = pexpect.spawn("bash", ["--norc", "--noediting", "-i"], env={**warm.environment(), "PS1": "$ "}, encoding="utf-8", timeout=TIMEOUT)
    try:
        shell.expect_exact("$ ")
        shell.sendline(f"{warm.program} restore {out}; echo status $?")
        shell.expect_exact("begun True")
        shell.sendcontrol("z")
        shell.expect("Stopped")
        shell.sendline("fg")
        shell.expect_exact("restore")
        shell.sendline("words")
        shell.expect_exact("read words")
        shell.sendcontrol("c")
        shell.expect_exact("interrupted")
    finally:
        shell.close(force=True)


def test_detached(image, tmp_path):
    warm, out = image("wait")
    pidfile = tmp_path / "pid"
    r, w = os.pipe()
    try:
        with open(tmp_path / "out", "wb") as stdout:
            subprocess.run([warm.program, "restore", "-d", "--pidfile", pidfile, out], env=warm.environment(), stdin=r,
                           stdout=stdout, stderr=stdout, timeout=TIMEOUT, check=True)
        text = (tmp_path / "out").read_text(encoding="utf-8")
        pid = int(pidfile.read_text(encoding="utf-8"))
        assert str(pid) in text.split("\n") and "warm:" not in text, text
        assert exists(pid) and os.getsid(pid) == pid
        os.kill(pid, signal.SIGUSR1)
        eventually(lambda: '"signal": 10' in (tmp_path / "out").read_text(encoding="utf-8"), "the signal")
    finally:
        os.close(w)
        os.close(r)
    eventually(lambda: not exists(pid), "its end")


def test_no_pidfile_no_process(image, tmp_path):
    warm, out = image("once")
    refused(warm, out, "the PID cannot be written to", "--pidfile", tmp_path / "no/such")


def test_a_refusal_leaves_the_pidfile(image, tmp_path):
    warm, out = image("once")
    flip(out / "manifest.pb", 300)
    (tmp_path / "there").write_text("4242\n", encoding="ascii")
    for name in ("there", "not-there"):
        refused(warm, out, "manifest.pb", "--pidfile", tmp_path / name)
    assert (tmp_path / "there").read_text(encoding="ascii") == "4242\n" and not (tmp_path / "not-there").exists()


def test_pages_are_verified_but_in_warmds_own_folder(image):
    """One bit of the program's data: a verification finds it, and without one the program does"""
    warm, out = image("once")
    at = place_of(out / "pages-1.img", b"abcdefghijklmnop" * 1000)
    flip(out / "pages-1.img", at + 5000)
    refused(warm, out, "pages-1.img is damaged between offsets")
    refused(warm, out, "pages-1.img is damaged between offsets", "--verify")
    assert json.loads(restore(warm, "--no-verify", out, check=False).stdout)["wrong"] == 16
    warm.cache.mkdir(mode=0o700, exist_ok=True)
    own = warm.cache / "0123456789abcdef"
    shutil.move(out, own)
    assert json.loads(restore(warm, own, check=False).stdout)["wrong"] == 16
    refused(warm, own, "pages-1.img is damaged between offsets", "--verify")
    # a folder that others can write to says nothing of who wrote
    warm.cache.chmod(0o777)
    refused(warm, own, "pages-1.img is damaged between offsets")


def test_damage_of_the_manifest(image):
    """1,000 flips and truncations are a unit test's (tests/unit/image/test_image.c)"""
    warm, out = image("once")
    manifest = out / "manifest.pb"
    size = manifest.stat().st_size
    for i in range(0, size, size // 16):
        flip(manifest, i, i % 8)
        refused(warm, out, "the image")
        flip(manifest, i, i % 8)
    data = manifest.read_bytes()
    for n in (0, 5, size // 2, size - 1):
        manifest.write_bytes(data[:n])
        refused(warm, out, "manifest.pb")
    manifest.write_bytes(data)
    assert restore(warm, out, check=False).returncode == 7


def test_who_may_write(image, tmp_path):
    warm, out = image("once")
    out.chmod(0o770)
    refused(warm, out, "others may write to it (mode 0770)")
    out.chmod(0o700)
    (out / "pages-1.img").chmod(0o602)
    refused(warm, out, "pages-1.img is not used: others may write to it (mode 0602)")
    (out / "pages-1.img").chmod(0o600)
    (out / "pages-1.img").rename(tmp_path / "pages")
    (out / "pages-1.img").symlink_to(tmp_path / "pages")
    refused(warm, out, "pages-1.img is a symbolic link")
    refused(warm, tmp_path / "nothing", "cannot be opened")
    refused(warm, tmp_path / "pages", "cannot be opened")


@pytest.mark.skipif(not ROOT, reason="needs another user's image")
def test_of_another_user(image):
    warm, out = image("once")
    os.chown(out, 65534, 65534)
    refused(warm, out, "it belongs to uid 65534")


@pytest.mark.parametrize("how", ["size", "mtime", "gone", "inode"])
def test_files_that_have_changed(image, tmp_path, how):
    """A file that is mapped, and open"""
    data = tmp_path / "code/data"
    warm, out = image(script="import held\nprint(held.m[:5])\n")
    assert restore(warm, out).stdout == "b'12345'\n"
    st = data.stat()
    if how == "size":
        data.write_bytes(b"123456789")
    elif how == "gone":
        data.unlink()
    elif how == "inode":
        data.rename(tmp_path / "kept")
        data.write_bytes(b"12345678")
        os.utime(data, ns=(st.st_atime_ns, st.st_mtime_ns))
    else:
        os.utime(data, ns=(st.st_atime_ns, st.st_mtime_ns + 1))
    words = {"size": "it has another size", "mtime": "it was written at another time", "gone": "cannot be opened", "inode": "it is another file"}
    r = refused(warm, out, str(data))
    assert words[how] in r.stderr, r.stderr


def test_usage(own_warm, tmp_path):
    for words in (["restore"], ["restore", "a", "b"], ["restore", "--verify", "--no-verify", "a"], ["restore", "--root", "/", "a"],
                  ["restore", "--inherit-fd", "fd[3]:x", "a"], ["restore", "--pidfile"]):
        r = own_warm.command(*words, check=False, cwd=tmp_path)
        assert r.returncode == 125 and r.stderr.startswith("warm: ") and "restore --help" in r.stderr, (words, r)
    text = own_warm.command("restore", "--help").stdout
    assert text.startswith("usage: warm restore") and "Examples:" in text
    assert not list(tmp_path.iterdir())


def test_enter_is_for_restore_alone(own_warm):
    """By hand it is an error, whatever it is given"""
    for words in (["enter"], ["enter", "3"], ["enter", "99", "x"], ["enter", "failed", "99"], ["enter", "0", "x"]):
        assert own_warm.command(*words, check=False).returncode == 125, words


# --- inspect -------------------------------------------------------------------------------------


def test_inspect(image):
    warm, out = image("once", "x y")
    text = warm.command("inspect", out).stdout
    assert "a template" in text and "once 'x y'" in text and "format 1" in text and "anonymous" in text and "mapped files" in text, text
    said = warm.json("inspect", out)
    assert said["of"] == "template" and said["argv"][-2:] == ["once", "x y"] and said["format"] == 1 and said["build_ns"] > 0
    assert said["disk_bytes"] <= 1.05 * said["stored_bytes"] + said["manifest_bytes"] + 16384
    (process,) = said["processes"]
    assert process["threads"] == 1 and Path(process["program"]).exists()
    assert sum(m["stored_bytes"] for m in process["mappings"]) == sum(m["stored_bytes"] for m in process["memory"]) > 0
    assert {m["kind"] for m in process["memory"]} >= {"code of files", "anonymous", "stack"}
    assert any("libc" in f["path"] or "python" in f["path"] for f in said["files"])
    # without a slash it is a template's name, unless there is none of it
    assert warm.command("inspect", "a", cwd=out.parent).stdout.startswith("image")
    r = warm.command("inspect", out.parent, check=False)
    assert r.returncode == 125 and "manifest.pb" in r.stderr
    assert not (warm.runtime_dir / "warmd.sock").exists()


def test_inspect_of_a_damaged_one(image):
    warm, out = image("once")
    flip(out / "manifest.pb", 500)
    r = warm.command("inspect", out, check=False)
    assert r.returncode == 125 and "the checksum is another" in r.stderr and r.stdout == ""
