# SPDX-License-Identifier: MIT
"""Templates on disk: they serve after the daemon has ended, as long as everything is as it was; what is written, and what is not"""
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import BUILD, PYTHON, TIMEOUT, children, eventually, exists, need
from launches import name_of_process

ROOT = os.geteuid() == 0
LATE = "a launch waits for a load for 0.15 s, and the machine may be busy"
KEEP = {"keep": True, "keep_above": 0}
SCRIPT = "import json, sys\nprint(json.dumps(sys.argv[1:]))\n"


@pytest.fixture
def keeper(make_warm):
    """keeper(**settings) -> a Warm that keeps everything"""
    return lambda env=None, **settings: make_warm({**KEEP, **settings}, **(env or {}))


@pytest.fixture
def argv(tmp_path):
    (tmp_path / "a.py").write_text(SCRIPT, encoding="utf-8")
    return [PYTHON, str(tmp_path / "a.py")]


def entries(warm):
    return sorted(p.stem for p in warm.cache.glob("*.kept"))


def entry_of(warm, argv):
    """The template of a command as `warm ls` has it"""
    found = [t for t in warm.ls() if t["argv"] == list(map(str, argv))]
    assert len(found) == 1, warm.ls()
    return found[0]


def build(warm, argv, options=(), **more):
    """A template that is ready, and on disk"""
    answer = warm.build(argv, options=options, **more)
    return eventually(lambda: entry_of(warm, argv)["kept"], "the image"), answer["name"]


def end(warm, how):
    pid = warm.pid()
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        warm.command("stop")
    eventually(lambda: not exists(pid), "the end of warmd")


def start(warm, **environment):
    """warmd by itself: no run that has a template built; and it can be told what `warm` would take away from its environment"""
    p = subprocess.Popen([warm.build_directory / "warmd"], env=warm.environment(environment), stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    warm.popens.append(p)
    eventually(warm.pid, "warmd")


def loaded(warm, n=1):
    start(warm)
    eventually(lambda: warm.stats()["kept"]["loaded"] >= n, "the load")


# --- it serves again ---------------------------------------------------------------------------


@pytest.mark.races(LATE)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_serves_after(keeper, argv, how):
    warm = keeper()
    folder, name = build(warm, argv)
    end(warm, how)
    # the launch that starts the daemon waits for the load
    r = warm.run([*argv, "x"], strict=True)
    assert (r.out, r.status) == ('["x"]\n', 0), f"{r}\n{warm.log()}"
    t = entry_of(warm, argv)
    assert (t["state"], t["kept"], t["name"], t["launches"]) == ("ready", folder, name, 1)
    assert warm.stats()["kept"]["loaded"] == 1 and warm.stats()["builds_ok"] == 0


@pytest.mark.races(LATE)
def test_the_same_as_cold(keeper, script):
    """Threads, a pipe with bytes in it, and a file that is open, from disk"""
    path = script("import os, threading, socket\nf = open(__file__)\nf.readline()\n"
                  "r, w = os.pipe()\nos.write(w, b'in the pipe')\na, b = socket.socketpair()\na.send(b'queued')\n"
                  "lock = threading.Lock()\nlock.acquire()\n"
                  "import warm_point\nprint(os.read(r, 100), b.recv(10), f.readline(), lock.locked())\n",
                  **{"warm_point.py": ""})
    warm = keeper()
    build(warm, [PYTHON, path])
    end(warm, "stop")
    loaded(warm)
    warm.same([PYTHON, path], build=False)


def test_loads_ahead(keeper, argv):
    """What was used last first, without a launch"""
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    loaded(warm)
    assert entry_of(warm, argv)["state"] == "ready"
    assert warm.run(argv, strict=True).out == "[]\n"


def test_by_name(keeper, argv):
    warm = keeper()
    build(warm, argv, ["--name", "n", "--pool", "1"])
    end(warm, "kill")
    start(warm)
    r = warm.command("launch", "n", "y")
    assert r.stdout == '["y"]\n'
    t = entry_of(warm, argv)
    assert t["name"] == "n" and t["pool"]["wanted"] >= 1
    assert warm.stats()["builds_ok"] == 0


def test_name_of_a_stale_one(keeper, argv):
    """The name outlives the daemon, even if its template does not"""
    warm = keeper()
    build(warm, argv, ["--name", "n"])
    end(warm, "stop")
    Path(argv[1]).write_text("print('other')\n", encoding="utf-8")
    start(warm)
    assert warm.command("launch", "n").stdout == "other\n"


def test_stop_behind_a_build(keeper, argv):
    """What a process has begun to write is finished, whoever ends the daemon"""
    warm = keeper()
    warm.build(argv)
    end(warm, "stop")
    eventually(lambda: entries(warm), "the image")
    loaded(warm)
    assert warm.run(argv, strict=True).out == "[]\n"


# --- not if anything is another ------------------------------------------------------------------


def check_rebuilt(warm, argv, why, out="[]\n", fake=None):
    """The kept template is not used, removed, and another is built"""
    before = entries(warm)
    start(warm, **(fake or {}))
    assert warm.run(argv).out == out
    eventually(lambda: "goes: " in warm.log(), "the end of what was kept")
    assert why in warm.log()
    eventually(lambda: entries(warm) and not set(entries(warm)) & set(before), "another one in its place")
    eventually(lambda: warm.run(argv, strict=True).out == out, "a warm run")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_stale_file(keeper, argv, how):
    warm = keeper()
    build(warm, argv)
    end(warm, how)
    Path(argv[1]).write_text("print('new')\n", encoding="utf-8")
    check_rebuilt(warm, argv, "a.py changed", out="new\n")


def test_stale_while_it_is_loaded(keeper, argv):
    """A template from disk is watched as any other, and goes from there too"""
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    loaded(warm)
    before = entries(warm)
    Path(argv[1]).write_text("print('new')\n", encoding="utf-8")
    assert warm.run(argv).out == "new\n"
    assert not set(entries(warm)) & set(before)


def test_new_module_beside_it(keeper, argv, tmp_path):
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    (tmp_path / "json.py").write_text("def dumps(x): return 'mine'\n", encoding="utf-8")
    check_rebuilt(warm, argv, "goes: ", out="mine\n")


def test_variable_that_counts(keeper, tmp_path):
    """Another value: cold, and one more template; the first still serves those that have its value"""
    (tmp_path / "settings_of_a.py").write_text("import os\nX = os.environ.get('X')\n", encoding="utf-8")
    (tmp_path / "a.py").write_text("import settings_of_a\nprint(settings_of_a.X)\n", encoding="utf-8")
    argv = [PYTHON, str(tmp_path / "a.py")]
    warm = keeper()
    build(warm, argv, env={"X": "1"})
    end(warm, "stop")
    loaded(warm)
    assert warm.explain(argv, env={"X": "2"})["status"] == "mismatch"
    assert warm.run(argv, env={"X": "2"}).out == "2\n"
    assert warm.run(argv, env={"X": "1"}, strict=True).out == "1\n"


FAKE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

/* of warmd alone: the programs that it builds are not told of this library */
int open(const char *path, int flags, ...)
{
	int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	if (getenv("FAKE_BOOT") && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		path = getenv("FAKE_BOOT");
	return real(path, flags, mode);
}

unsigned long getauxval(unsigned long type)
{
	unsigned long (*real)(unsigned long) = dlsym(RTLD_NEXT, "getauxval");

	return getenv("FAKE_HWCAP") && type == AT_HWCAP2 ? real(type) ^ 64 : real(type);
}

int uname(struct utsname *u)
{
	int (*real)(struct utsname *) = dlsym(RTLD_NEXT, "uname");
	int r = real(u);

	if (getenv("FAKE_KERNEL"))
		strcpy(u->release, "9.9.9");
	return r;
}
"""


@pytest.fixture(scope="module")
def fake(compile_c, tmp_path_factory):
    """Environment of a warmd that is told of another machine"""
    library = compile_c(FAKE, "-shared", "-fPIC", "-ldl", output=tmp_path_factory.mktemp("fake") / "fake.so")
    boot = library.with_name("boot_id")
    boot.write_text("00000000-0000-0000-0000-000000000001\n", encoding="ascii")
    return lambda what: {"LD_PRELOAD": str(library), f"FAKE_{what}": str(boot)}


@pytest.mark.skipif("san" in BUILD.name, reason="a sanitizer wants to be the first library")
@pytest.mark.parametrize(("what", "words"), [("HWCAP", "the processor"), ("KERNEL", "the kernel")])
def test_another_machine(keeper, argv, fake, what, words):
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    check_rebuilt(warm, argv, f"it was built with another state of: {words}", fake=fake(what))


READS = {
    "float": "import time\nT = time.monotonic()\n",
    "int": "import time\nT = [time.monotonic_ns()]\n",
    "clock_gettime": "import time\nclass A: t = time.clock_gettime(time.CLOCK_BOOTTIME)\n",
    "uptime": "T = open('/proc/uptime').read().split()[1]\n",
}


@pytest.mark.skipif("san" in BUILD.name, reason="a sanitizer wants to be the first library")
@pytest.mark.parametrize("how", READS)
def test_a_time_of_another_boot(keeper, tmp_path, fake, how):
    """What keeps a time that counts from the machine's start is of this boot"""
    (tmp_path / "module_of_a.py").write_text(READS[how], encoding="utf-8")
    (tmp_path / "a.py").write_text("import module_of_a\nprint('ran')\n", encoding="utf-8")
    argv = [PYTHON, str(tmp_path / "a.py")]
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    check_rebuilt(warm, argv, "the boot of the machine", out="ran\n", fake=fake("BOOT"))


@pytest.mark.skipif("san" in BUILD.name, reason="a sanitizer wants to be the first library")
def test_what_runs_is_of_this_boot(keeper, tmp_path, fake):
    """Deadlines of a program that was let run cannot be told from other numbers"""
    (tmp_path / "a.py").write_text("import sys\nprint('up', flush=True)\nsys.stdin.read()\n", encoding="utf-8")
    argv = [PYTHON, str(tmp_path / "a.py")]
    warm = keeper()
    build(warm, argv, ["--ready", "idle=50"], stdin="pipe")
    end(warm, "stop")
    start(warm, **fake("BOOT"))
    eventually(lambda: not entries(warm), "the end of what was kept")
    assert "the boot of the machine" in warm.log()


@pytest.mark.races("the longer a build takes, the more numbers in its memory look like one of its times")
@pytest.mark.skipif("san" in BUILD.name, reason="a sanitizer wants to be the first library")
def test_another_boot(keeper, tmp_path, fake):
    """What keeps none serves again; locks, of which CPython reads the clock, are no time that is kept"""
    (tmp_path / "a.py").write_text("import asyncio, json, logging, threading\nprint('ran')\n", encoding="utf-8")
    argv = [PYTHON, str(tmp_path / "a.py")]
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    start(warm, **fake("BOOT"))
    eventually(lambda: warm.stats()["kept"]["loaded"] == 1, "the load")
    assert warm.run(argv, strict=True).out == "ran\n"
    assert warm.stats()["kept"]["failed"] == 0


def another_build(tmp_path):
    """The same programs, with another build-id in warmd"""
    build_directory = tmp_path / "other"
    build_directory.mkdir()
    for name in ("warm", "warm-tool", "warmd"):
        shutil.copy(BUILD / name, build_directory)
    data = bytearray((build_directory / "warmd").read_bytes())
    at = data.find(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0")
    need(at > 0, "a linker that makes build-ids")
    data[at + 16] ^= 0xff
    (build_directory / "warmd").write_bytes(data)
    return build_directory


def test_another_version_of_warm(keeper, argv, tmp_path):
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    warm.build_directory = another_build(tmp_path)
    warm.program = warm.build_directory / "warm"
    check_rebuilt(warm, argv, "warm itself")


def test_settings_that_count(keeper, argv):
    """What ignore_paths named when it was built was not recorded"""
    warm = keeper(ignore_paths=["/nowhere"])
    build(warm, argv)
    end(warm, "stop")
    warm.configure(KEEP)
    check_rebuilt(warm, argv, "ignore_paths")


def test_age_goes_on(keeper, argv):
    """It is as old as it was when the daemon ended"""
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    warm.configure({**KEEP, "max_age": "1ms"})
    start(warm)
    eventually(lambda: not entries(warm), "the end of what was kept")
    assert "max_age" in warm.log()


# --- what is written, and what is not ----------------------------------------------------------------


def test_modes(keeper, argv):
    warm = keeper()
    old = os.umask(0)
    try:
        build(warm, argv)
    finally:
        os.umask(old)
    assert warm.cache.stat().st_mode & 0o7777 == 0o700
    found = list(warm.cache.rglob("*"))
    assert len(found) >= 4
    for p in found:
        assert p.stat().st_mode & 0o7777 == (0o700 if p.is_dir() else 0o600), p
        assert p.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("settings", [{"keep": False}, {"keep_never": ["python3*"]}, {"keep_above": "1h"}])
def test_switched_off(keeper, argv, settings):
    """Nothing is written, and the process that could have ends"""
    warm = keeper(**settings)
    warm.build(argv)
    warm.idle()
    assert not entries(warm)
    assert not entry_of(warm, argv)["kept"]
    assert warm.run(argv, strict=True).out == "[]\n"


def test_switched_off_later(keeper, argv):
    """What is there is not used"""
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    warm.configure({**KEEP, "keep_never": ["python3*"]})
    start(warm)
    assert warm.explain(argv)["status"] == "none"
    end(warm, "stop")
    warm.configure({"keep": False})
    start(warm)
    assert warm.explain(argv)["status"] == "none"
    assert warm.ls() == [] or all(not t["kept"] for t in warm.ls())


def test_no_home(make_warm, argv):
    warm = make_warm(KEEP, WARM_CACHE_DIR="", HOME="", XDG_CACHE_HOME="")
    warm.build(argv)
    warm.idle()
    assert "no templates are kept on disk" in warm.log()
    assert warm.run(argv, strict=True).out == "[]\n"


def not_used(warm, argv, words):
    answer = warm.build(argv)
    warm.idle()
    assert words in warm.log(), warm.log()
    assert not entry_of(warm, argv)["kept"]
    assert answer["status"] == "ready" and warm.run(argv, strict=True).out == "[]\n"


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_folder_that_others_can_write(keeper, argv, mode):
    warm = keeper()
    warm.cache.mkdir()
    warm.cache.chmod(mode)
    not_used(warm, argv, "others may write to")
    assert not list(warm.cache.iterdir())


def test_folder_is_a_link(keeper, argv, tmp_path):
    warm = keeper()
    (tmp_path / "target").mkdir()
    warm.cache.symlink_to(tmp_path / "target")
    not_used(warm, argv, "is a symbolic link")
    assert not list((tmp_path / "target").iterdir())


@pytest.mark.skipif(not ROOT, reason="only root can give a folder away")
def test_folder_of_another_user(keeper, argv):
    warm = keeper()
    warm.cache.mkdir(mode=0o700)
    os.chown(warm.cache, 12345, 12345)
    not_used(warm, argv, "belongs to uid 12345")
    assert not list(warm.cache.iterdir())


def test_opened_to_others_later(keeper, argv):
    """What was kept is not loaded from a folder that others can write to"""
    warm = keeper()
    build(warm, argv)
    end(warm, "stop")
    warm.cache.chmod(0o777)
    start(warm)
    assert warm.explain(argv)["status"] == "none"
    assert "others may write to" in warm.log()


def test_budget(keeper, tmp_path):
    """The least recently used goes first"""
    scripts = [tmp_path / d / "a.py" for d in "abc"]
    for s in scripts:
        s.parent.mkdir()
        s.write_text(SCRIPT, encoding="utf-8")
    warm = keeper()
    build(warm, [PYTHON, str(scripts[0])])
    size = warm.stats()["kept"]["bytes"]
    end(warm, "stop")
    warm.configure({**KEEP, "keep_budget": int(size * 2.5)})
    loaded(warm)
    build(warm, [PYTHON, str(scripts[1])])
    assert warm.run([PYTHON, str(scripts[0])], strict=True).out == "[]\n"
    first = Path(entry_of(warm, [PYTHON, str(scripts[0])])["kept"])
    # its use is noted once in a second
    eventually(lambda: first.with_suffix(".kept").stat().st_mtime_ns > entry_of(warm, [PYTHON, str(scripts[1])])["last_used_ns"],
               "the time of its use")
    folder, _ = build(warm, [PYTHON, str(scripts[2])])
    eventually(lambda: set(entries(warm)) == {first.name, Path(folder).name}, "the end of the least recently used")
    assert warm.stats()["kept"]["bytes"] <= size * 2.5
    assert warm.stats()["kept"]["budget"] == int(size * 2.5)


def test_larger_than_the_budget(keeper, argv):
    warm = keeper(keep_budget=4096)
    warm.build(argv)
    warm.idle()
    assert not entries(warm) and "keep_budget" in warm.log()


@pytest.mark.skipif(not ROOT, reason="only root can mount")
def test_full_disk(keeper, argv):
    """Nothing half is left, and the template serves from memory"""
    warm = keeper()
    warm.cache.mkdir(mode=0o700)
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", warm.cache], capture_output=True, check=False)
    need(r.returncode == 0, "leave to mount")
    try:
        warm.build(argv)
        warm.idle()
        assert "is not kept on disk" in warm.log()
        assert not list(warm.cache.iterdir())
        assert warm.run(argv, strict=True).out == "[]\n"
    finally:
        subprocess.run(["umount", "-l", warm.cache], check=True)


def test_killed_while_it_writes(keeper, tmp_path):
    """Nothing of it is used, and the next writer tidies up"""
    (tmp_path / "a.py").write_text("x = bytearray(b'x') * (64 << 20)\nimport json\nprint(len(x))\n", encoding="utf-8")
    (tmp_path / "b.py").write_text(SCRIPT, encoding="utf-8")
    argv = [PYTHON, str(tmp_path / "a.py")]
    warm = keeper()
    warm.cache.mkdir(mode=0o700)
    fd = os.open(warm.cache, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)      # its turn comes when this is given back
    warm.build(argv)
    writers = children(warm.pid())
    assert len(writers) == 1, writers
    os.close(fd)
    with contextlib.suppress(ProcessLookupError):
        eventually(lambda: [p for p in warm.cache.iterdir() if p.suffix != ".kept"], "a beginning")
        os.kill(writers[0], signal.SIGKILL)
    eventually(lambda: not exists(writers[0]), "its end")
    if not entries(warm):
        assert warm.run(argv, strict=True).out == f"{64 << 20}\n"
        end(warm, "stop")
        start(warm)
        assert warm.explain(argv)["status"] == "none"
    build(warm, [PYTHON, str(tmp_path / "b.py")])
    have = {p.name for p in warm.cache.iterdir()}
    assert have == {n for e in entries(warm) for n in (e, e + ".kept")}


def test_two_daemons(keeper, argv, tmp_path):
    """They share the folder: what one writes the other loads, and what one removes is gone"""
    one = keeper()
    two = keeper(env={"WARM_CACHE_DIR": str(one.cache)})
    start(two)
    build(one, argv)
    before = two.stats()["builds_ok"]
    r = two.run(argv)
    assert r.out == "[]\n"
    eventually(lambda: entry_of(two, argv)["state"] == "ready", "the load")
    assert two.stats()["builds_ok"] == before
    assert two.run(argv, strict=True).out == "[]\n"
    # at the same time
    scripts = [tmp_path / f"{n}.py" for n in range(4)]
    for s in scripts:
        s.write_text(SCRIPT, encoding="utf-8")
    for i, s in enumerate(scripts):
        (one, two)[i % 2].popen([PYTHON, str(s)], strict=False).communicate(timeout=TIMEOUT)
    eventually(lambda: len(entries(one)) >= 3, "what both wrote")
    one.idle()
    two.idle()
    assert not [p.name for p in one.cache.iterdir() if p.name not in {n for e in entries(one) for n in (e, e + ".kept")}]
    one.command("rm", "--all")
    assert not entries(one)


# --- words ----------------------------------------------------------------------------------------------


def test_rm(keeper, argv):
    """Loaded or not"""
    warm = keeper()
    _, name = build(warm, argv)
    warm.command("rm", name)
    assert not list(warm.cache.iterdir())
    build(warm, argv)
    end(warm, "stop")
    start(warm)
    warm.command("rm", name)
    assert not list(warm.cache.iterdir()) and not [t for t in warm.ls() if t["name"] == name]
    assert warm.command("rm", name, check=False).returncode == 125, warm.ls()


def test_words(keeper, argv):
    warm = keeper()
    folder, name = build(warm, argv)
    assert f"kept on disk  {folder}\n" in warm.command("inspect", name).stdout
    assert f"it is kept on disk: {folder}\n" in warm.command("explain", "--", *argv).stdout
    assert f"it is kept on disk: {folder}\n" in warm.command("explain", name).stdout
    kept = warm.stats()["kept"]
    assert (kept["count"], kept["written"], kept["path"]) == (1, 1, str(warm.cache))
    assert kept["bytes"] > 1 << 20


# --- images of one's own ------------------------------------------------------------------------------------


def test_build_out_and_load(keeper, make_warm, argv, tmp_path):
    """To a daemon that keeps nothing; the name is the build's, or another"""
    one, two = keeper(keep=False), make_warm({"keep": False})
    out = tmp_path / "images" / "a"
    out.parent.mkdir()
    answer = one.build(argv, options=["--out", str(out)])
    assert out.stat().st_mode & 0o7777 == 0o700 and answer["status"] == "ready"
    r = two.command("load", str(out))
    assert r.stdout == answer["name"] + "\n"
    assert two.run([*argv, "z"], strict=True).out == '["z"]\n'
    assert two.json("load", "--name", "n", str(out))["name"] == "n"
    assert two.command("launch", "n", "y").stdout == '["y"]\n'
    # in place of the older one, relative to here, and what is loaded goes on
    one.command("build", "--out", "a", "--", *argv, cwd=out.parent)
    assert two.command("launch", "n", "w").stdout == '["w"]\n'
    assert two.command("load", "a", cwd=out.parent).stdout == answer["name"] + "\n"


def test_load_is_refused(keeper, argv, tmp_path):
    warm = keeper(keep=False)
    out = tmp_path / "i" / "a"
    out.parent.mkdir()
    warm.build(argv, options=["--out", str(out)])
    r = warm.command("load", str(tmp_path / "nothing"), check=False)
    assert r.returncode == 125 and "was not loaded" in r.stderr
    out.chmod(0o777)
    r = warm.command("load", str(out), check=False)
    assert r.returncode == 125 and "write" in r.stderr
    out.chmod(0o700)
    Path(argv[1]).write_text("print(2)\n", encoding="utf-8")
    r = warm.command("load", str(out), check=False)
    assert r.returncode == 125 and "a.py changed" in r.stderr, r.stderr
    # still there: it is not warmd's to remove
    assert out.exists()


def test_load_verifies_pages(keeper, argv, tmp_path):
    """One bit"""
    warm = keeper(keep=False)
    out = tmp_path / "i" / "a"
    out.parent.mkdir()
    warm.build(argv, options=["--out", str(out)])
    pages = next(out.glob("pages-*.img"))
    with open(pages, "r+b") as f:
        f.seek(os.lseek(f.fileno(), 0, os.SEEK_DATA) + 100)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 1]))
    r = warm.command("load", str(out), check=False)
    assert r.returncode == 125 and pages.name in r.stderr, r.stderr


def test_out_where_something_else_is(keeper, argv, tmp_path):
    """Nothing is overwritten but an image; the template is ready all the same"""
    warm = keeper(keep=False)
    other = tmp_path / "mine"
    other.mkdir()
    (other / "file").write_text("x", encoding="utf-8")
    answer = warm.build(argv, options=["--out", str(other)], expect=None)
    assert answer["status"] == "error" and "its image was not written" in answer["reason"], answer
    assert (other / "file").read_text(encoding="utf-8") == "x" and len(list(other.iterdir())) == 1
    answer = warm.build(argv, options=["--out", str(tmp_path / "no" / "such")], expect=None)
    assert answer["status"] == "error", answer
    assert warm.run(argv, strict=True).out == "[]\n"


def test_usage(own_warm):
    for words in (["load"], ["load", "a", "b"], ["load", "--name", "", "a"], ["build", "--out", "", "true"]):
        r = own_warm.command(*words, check=False)
        assert r.returncode == 125 and r.stderr.startswith("warm: "), words
    assert "--out DIR" in own_warm.command("build", "--help").stdout
    assert "usage: warm load" in own_warm.command("load", "--help").stdout


LARGE = "import os\nDATA = os.urandom(256 << 20)\n"


def large(tmp_path, name, word):
    """A program whose image takes a while to be written"""
    (tmp_path / f"{name}_data.py").write_text(LARGE, encoding="utf-8")
    (tmp_path / f"{name}.py").write_text(f"import {name}_data\nprint('{word}', len({name}_data.DATA))\n", encoding="utf-8")
    return [PYTHON, str(tmp_path / f"{name}.py")]


def writers(warm):
    return [p for p in children(warm.pid()) if name_of_process(p).startswith("warmd-")]


def test_removed_while_it_is_written(keeper, tmp_path):
    """It does not come back"""
    warm = keeper()
    warm.build(large(tmp_path, "a", "A"), options=["--name", "big"])
    warm.command("rm", "big")
    eventually(lambda: not writers(warm), "the end of the writer")
    end(warm, "stop")
    start(warm)
    assert not entries(warm) and not warm.ls()


def test_replaced_while_it_is_written(keeper, tmp_path):
    """The name is the new command's, also when the old one's image would come later"""
    warm = keeper()
    (tmp_path / "b.py").write_text("import json\nprint('B')\n", encoding="utf-8")
    warm.build(large(tmp_path, "a", "A"), options=["--name", "x"])
    warm.build([PYTHON, str(tmp_path / "b.py")], options=["--name", "x"])
    eventually(lambda: not writers(warm) and entries(warm), "the image")
    assert warm.command("launch", "x").stdout == "B\n"
    end(warm, "stop")
    loaded(warm)
    assert warm.command("launch", "x").stdout == "B\n"
    assert [t["argv"][-1] for t in warm.ls()] == [str(tmp_path / "b.py")]


def test_all_go_when_switched_off(keeper, make_warm, argv):
    one = keeper()
    build(one, argv)
    end(one, "stop")
    off = make_warm({"keep": False}, WARM_CACHE_DIR=str(one.cache))
    start(off)
    off.command("rm", "--all")
    assert not list(one.cache.iterdir())


MODULE = """
import mmap
memory = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(b"s" * (1 << 20))
"""
DROPPED = """
import mmap, filled

filled.memory.madvise(mmap.MADV_DONTNEED, 0, 1 << 20)
print(filled.memory[0], filled.memory[5000])
"""


@pytest.mark.skipif(not ROOT, reason="only root can mount a file system")
@pytest.mark.parametrize("command", ["run", "restore"])
def test_on_btrfs(keeper, tmp_path, command):
    """Its files have another device in stat(2) than in /proc/PID/maps, by which clones know their template's memory"""
    need(shutil.which("mkfs.btrfs"), "btrfs-progs")
    disk, place = tmp_path / "disk", tmp_path / "place"
    with disk.open("wb") as f:
        f.truncate(256 << 20)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", disk], check=True, timeout=TIMEOUT)
    need(subprocess.run(["mount", "-o", "loop", disk, place], check=False, timeout=TIMEOUT).returncode == 0, "btrfs on a loop device")
    try:
        program = tmp_path / "a.py"
        program.write_text(DROPPED, encoding="utf-8")
        (tmp_path / "filled.py").write_text(MODULE, encoding="utf-8")
        argv = [PYTHON, str(program)]
        warm = keeper(env={"WARM_CACHE_DIR": str(place / "cache")} if command == "run" else None)
        if command == "run":
            (place / "cache").mkdir(mode=0o700)
            warm.build(argv)
            eventually(lambda: entry_of(warm, argv)["kept"], "the image")
            end(warm, "stop")
            loaded(warm)
            assert warm.run(argv, strict=True).out == "0 0\n"
            end(warm, "stop")
        else:
            warm.command("build", "--out", str(place / "img"), "--", *argv)
            assert warm.command("restore", str(place / "img")).stdout == "0 0\n"
    finally:
        subprocess.run(["umount", "--lazy", place], check=False, timeout=TIMEOUT)
