# SPDX-License-Identifier: MIT
"""The readiness points `delay` and `idle`: programs that know nothing of warm, stopped wherever they are"""
import pytest
from c_programs import stands_before
from conftest import PYTHON, TIMEOUT
from launches import WAYS, launches_of

IDLE = ["--ready", "idle"]


# --- the words ---

@pytest.mark.parametrize("point, words", [
    ("delay", "'delay' needs a number of seconds: delay=1.5"),
    ("delay=", "'' is no number of seconds from 0.001 to 3600"),
    ("delay=soon", "'soon' is no number of seconds"),
    ("delay=1.5s", "'1.5s' is no number of seconds"),
    ("delay=1.2.3", "'1.2.3' is no number of seconds"),
    ("delay=-1", "'-1' is no number of seconds"),
    ("delay=0", "'0' is no number of seconds"),
    ("delay=3601", "'3601' is no number of seconds"),
    ("delay=60", "'delay=60' comes later than the 60 s that a build may take (build_timeout)"),
    ("idle=", "'' is no whole number of milliseconds from 1 to 60000"),
    ("idle=1.5", "'1.5' is no whole number of milliseconds"),
    ("idle=0", "'0' is no whole number of milliseconds"),
    ("idle=60001", "'60001' is no whole number of milliseconds"),
    ("idle=60000", "'idle=60000' comes later than the 60 s that a build may take (build_timeout)"),
    ("idler", "there is no readiness point 'idler': it is auto, main, import, call, delay=SECS or idle[=MS]"),
])
def test_words_that_are_wrong(warm, point, words):
    answer = warm.build(["cat"], options=["--ready", point], expect="refused", stdin="pipe")
    assert words in answer["reason"]


# --- what a clone goes on with ---

LINE = {"stdin": b"a line\n"}


def test_idle_program_goes_on_in_its_read(warm, programs):
    argv = [programs.path("idle"), "waits"]
    warm.build(argv, options=IDLE, stdin="pipe")
    r = warm.same(argv, warm_options=IDLE, build=False, expect_status=0, **LINE)
    assert r.out == "waiting\nline: a line\n" + "".join(f"thread {i}: woken\n" for i in range(3)) + "timer: expired\n"


@pytest.mark.parametrize("way", WAYS)
def test_idle_program_launched_by_warmd(warm, programs, way):
    argv = [programs.path("idle"), "waits"]
    with launches_of(warm) as launches:
        launches.same(argv, way, options=IDLE, build={"stdin": "pipe"}, expect_status=0, **LINE)


def test_idle_interpreter(warm, script):
    argv = [PYTHON, script("import sys, os\nprint(repr(sys.stdin.readline()), sys.argv[1:], os.environ.get('WORD'))\n"), "x"]
    warm.build(argv, options=IDLE, stdin="pipe", env={"WORD": "w"})
    r = warm.same(argv, warm_options=IDLE, build=False, env={"WORD": "w"}, **LINE)
    assert r.out == "'a line\\n' ['x'] w\n"


@pytest.mark.parametrize("delay", ["0.05", "0.5"])
def test_delay_stops_a_program_that_computes(warm, programs, delay):
    argv = [programs.path("idle"), "busy"]
    options = ["--ready", f"delay={delay}"]
    warm.build(argv, options=options, stdin="pipe")
    r = warm.same(argv, warm_options=options, build=False, **LINE)
    assert r.out == "busy\nwaiting\nline: a line\nright\n"


def test_several_clones_at_once(warm, programs):
    argv = [programs.path("idle"), "waits"]
    warm.build(argv, options=IDLE, stdin="pipe", stderr="pipe")
    clones = [warm.popen(argv) for _ in range(8)]
    for i, p in enumerate(clones):
        out, _ = p.communicate(b"%d\n" % i, TIMEOUT)
        assert p.returncode == 0 and b"line: %d\n" % i in out and b"expired" in out


# --- what it is keyed on: nothing is delivered to the program, so all of it counts ---

@pytest.fixture(scope="module")
def waiting(warm, programs):
    argv = [programs.path("idle"), "plain"]
    warm.build(argv, options=[*IDLE, "--name", "waiting"], stdin="pipe", env={"WORD": "w"})
    return argv


@pytest.mark.parametrize("argument, env, reason", [
    ("plain", {"WORD": "w"}, ""),
    ("plain", {"WORD": "w", "WINDOWID": "5"}, ""),          # a volatile one
    # this program and that argument are no template's
    ("other", {"WORD": "w"}, "no template yet"),
    ("plain", {"WORD": "v"}, "variable WORD differs"),
    ("plain", {"WORD": "w", "MORE": "1"}, "variable MORE differs"),
])
def test_key(warm, waiting, argument, env, reason):
    r = warm.run([waiting[0], argument], strict=True, options=IDLE, env=env, **LINE)
    warm.idle()         # a build for this one
    assert (r.status, r.out) == ((125, "") if reason else (0, "waiting\nline: a line\n")), r
    assert reason in r.err


def test_key_has_the_readiness_point(warm, waiting):
    for point in ("idle=200", "delay=1", "main"):
        r = warm.run(waiting, strict=True, options=["--ready", point], env={"WORD": "w"}, **LINE)
        assert r.status == 125
        warm.idle()


def test_launch_by_name_has_no_arguments(warm, waiting):
    """They would not be a clone's"""
    with launches_of(warm) as launches:
        r = launches.run("waiting", verbose=False, env={"WORD": "w"}, **LINE)
        assert (r.status, r.out) == (0, "waiting\nline: a line\n"), r
        r = launches.run("waiting", ["more"], env={"WORD": "w"}, **LINE)
        assert r.way is None and "running cold: other arguments, which were read at the start" in r.err and r.status == 0


# --- refusals ---

def test_a_child_that_is_alive(warm, programs):
    answer = warm.build([programs.path("idle"), "child"], options=IDLE, stdin="pipe")
    assert warm.json("inspect", str(answer["id"]))["boundary"].startswith("starts a process (idle")


def test_input_that_is_there_already(warm):
    stands_before(warm, ["cat"], "reads standard input", options=IDLE, stdin="file")


def test_a_new_file(warm, tmp_path):
    path = tmp_path / "lock"
    text = (f"import os, sys; fd = os.open({str(path)!r}, os.O_CREAT | os.O_EXCL | os.O_RDWR); "
            f"print(sys.stdin.read()); os.unlink({str(path)!r})")
    stands_before(warm, [PYTHON, "-c", text], f"makes {path}", options=IDLE, **LINE)
    assert not path.exists()


def test_a_program_that_is_never_idle(make_warm, programs):
    warm = make_warm({"build_timeout": "2s"})
    answer = warm.build([programs.path("idle"), "never"], options=IDLE, stdin="pipe", expect="error")
    assert "it did not reach its readiness point within 2 s (build_timeout)" in answer["reason"]


def test_a_program_that_ends(warm):
    answer = warm.build(["true"], options=["--ready", "delay=30"], expect="refused")
    assert "it ended with status 0 before its readiness point" in answer["reason"]
