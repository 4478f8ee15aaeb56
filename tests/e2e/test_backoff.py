# SPDX-License-Identifier: MIT
"""Builds: everybody who waits gets his turn; programs whose builds fail or bring nothing wait for the next one, and say so"""
import json
import signal
import subprocess

import pytest
from conftest import PYTHON, TIMEOUT, children, eventually
from launches import launches_of


def builds(warm):
    stats = warm.stats()
    return stats["builds_ok"] + stats["builds_refused"] + stats["builds_failed"]


def explained(warm, argv):
    answer = warm.explain(argv)
    return answer["status"], answer["reason"]


def run(warm, argv, status, **more):
    """A run, and the build behind it"""
    r = warm.run(argv, **more)
    assert r.status == status, r
    warm.idle()
    return r


# --- programs that fail ------------------------------------------------------------------------------------------

FAILURES = {
    "exception": ("raise ValueError('no')", 1, "ended with status 1"),
    "status": ("import sys; sys.exit(3)", 3, "ended with status 3"),
    "success": ("import sys; sys.exit()", 0, "ended with status 0"),
    "at once": ("import os; os._exit(4)", 4, "ended with status 4"),
    "signal": ("import ctypes; ctypes.string_at(0)", -11, "signal 11"),
    "syntax": ("this is no Python", 1, "ended with status 1"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_program_that_fails_is_no_template(own_warm, script, what):
    """Its failure may be the build's doing: it is not kept, is not built at each run, and words say why and until when"""
    w = own_warm
    text, status, words = FAILURES[what]
    argv = [PYTHON, script("import json\nimport broken\nprint('not reached')\n", **{"broken.py": text + "\n"})]
    cold = w.cold(argv)
    assert cold.status == status
    run(w, argv, status)
    assert builds(w) == 1
    assert [t["state"] for t in w.ls()] == ["waits"]
    for _ in range(3):
        r = run(w, argv, status)
        assert (r.out, r.err) == (cold.out, cold.err)
    assert builds(w) == 1
    how, why = explained(w, argv)
    assert how == "waits" and words in why and "no build for " in why and "'warm build'" in why, why
    assert w.ls()[0]["build_wait_ns"] > 0 and words in w.ls()[0]["reason"]
    r = w.run(argv, verbose=True)
    assert "running cold: no build for " in r.err
    stats = w.stats()
    assert stats["builds_deferred"] >= 3 and stats["programs_waiting"] == 1 and stats["build_cpu_ns"] > 0
    assert "put off" in w.command("stats").stdout


def test_failure_that_was_the_moments(own_warm, script, tmp_path):
    """What made it fail is gone, nobody edited anything that it had read: `warm build` is not held up"""
    w = own_warm
    lock = tmp_path / "lock"
    lock.write_text("")
    argv = [PYTHON, script("import json\nimport locked\nprint('ran')\n",
                           **{"locked.py": f"import os, sys\nif os.stat({str(lock)!r}).st_size == 0: sys.exit('locked')\n"})]
    run(w, argv, 1)
    assert explained(w, argv)[0] == "waits"
    assert w.build(argv, expect=None)["status"] != "ready"
    lock.write_text("free")
    w.build(argv)
    assert run(w, argv, 0, strict=True).out == "ran\n"


def test_edit_ends_the_wait(own_warm, script):
    w = own_warm
    path = script("import json\nimport nothing_of_this_name\n")
    argv = [PYTHON, path]
    run(w, argv, 1)
    assert explained(w, argv)[0] == "waits"
    path.write_text("import json\nprint('mended')\n")
    assert run(w, argv, 0).out == "mended\n"
    eventually(lambda: w.run(argv, strict=True).out == "mended\n", "a template")


def test_named_template_survives_an_edit_that_was_half_done(make_warm, script):
    """Saved with an error in it, and then without: launches by its name work again by themselves"""
    with launches_of(make_warm()) as launches:
        path = script("import json\nprint(1)\n")
        name = launches.build([PYTHON, path], pool=1)
        assert launches.run(name).out == "1\n"
        path.write_text("import json\nprint(\n")
        eventually(lambda: [t["state"] for t in launches.warm.ls()] == ["waits"], "a build that failed")
        r = launches.run(name)
        assert r.status == 1 and "ended with status 1" in r.err and "SyntaxError" in r.err     # cold, as by itself
        path.write_text("import json\nprint(2)\n")
        eventually(lambda: launches.run(name).out == "2\n", "the new one")


# --- programs that change what they read -----------------------------------------------------------------------------

def test_program_that_writes_what_it_reads(own_warm, script, tmp_path):
    """Each run makes the template stale: it is not built at every second run"""
    w = own_warm
    state = tmp_path / "state.txt"
    state.write_text("0")
    # longer by each run: a change that any clock shows
    text = "import m\n\ndef main():\n    with open(m.PATH, 'w') as f:\n        f.write(m.old + 'x')\n    print(len(m.old))\n\nmain()\n"
    argv = [PYTHON, script(text, **{"m.py": f"import json\nPATH = {str(state)!r}\nold = open(PATH).read()\n"})]
    for n in range(12):
        assert w.run(argv).out == f"{n + 1}\n"
        how, why = explained(w, argv)
        if how == "waits":
            break
        w.idle()
    assert how == "waits" and str(state)[-20:] in why and "each time" in why, (how, why)
    # two templates that served one run each; by then a build at every second run would go on
    assert 2 <= builds(w) <= 3 and w.stats()["programs_waiting"] == 1
    before = builds(w)
    r = w.run(argv, verbose=True)
    if "no build for" in r.err:     # else this machine took its time, and the wait is over
        assert builds(w) == before and w.stats()["builds_deferred"] == 1
    # who asks for it gets it
    w.build(argv)
    assert explained(w, argv)[0] == "warm"


def test_program_that_puts_files_into_a_folder_that_it_lists(own_warm, script, tmp_path):
    """Another path changes each time"""
    w = own_warm
    folder = tmp_path / "out"
    folder.mkdir()
    text = "import m\n\ndef main():\n    open(f'{m.PATH}/{len(m.had)}', 'w').close()\n    print(len(m.had))\n\nmain()\n"
    argv = [PYTHON, script(text, **{"m.py": f"import json\nimport os\nPATH = {str(folder)!r}\nhad = os.listdir(PATH)\n"})]
    for n in range(12):
        assert w.run(argv).out == f"{n}\n"
        how, why = explained(w, argv)
        if how == "waits":
            break
        w.idle()
    assert how == "waits" and "too few launches" in why, (how, why)
    assert builds(w) <= 4 and w.stats()["programs_waiting"] == 1


def test_template_that_serves_is_built_again(own_warm, script):
    """An edit now and then, with launches in between, is what templates are for"""
    w = own_warm
    path = script("import json\nprint(0)\n")
    argv = [PYTHON, path]
    for n in range(5):
        path.write_text(f"import json\nprint({n})\n{'#' * n}\n")
        assert run(w, argv, 0).out == f"{n}\n"
        for _ in range(5):
            assert w.run(argv, strict=True).out == f"{n}\n"
    assert builds(w) == 5 and w.stats()["builds_deferred"] == 0


# --- names -------------------------------------------------------------------------------------------------------

@pytest.fixture
def reader(script, tmp_path):
    """Its file, and the command of a program that reads it at its start"""
    path = tmp_path / "log.txt"
    path.write_text("")
    return path, [PYTHON, script("import m\nprint(m.LINES)\n", **{"m.py": f"LINES = len(open({str(path)!r}).readlines())\n"})]


def add_line(path):
    with path.open("a", encoding="utf-8") as f:
        f.write("more\n")


def launch(w, name):
    return w.command("launch", name).stdout


def made(w):
    """Builds so far: behind those that have begun, one more is made, which does not count here"""
    w.ls()
    w.build(["sleep", "1"], options=["--ready", "main", "--rebuild"])
    w.others = getattr(w, "others", 0) + 1
    return builds(w) - w.others


@pytest.mark.parametrize("options", [["--name", "t"], ["--pool", "1"]])
def test_nobody_launches_the_named_template(own_warm, reader, options):
    """A file that changes all the time has no builds made: the next launch has one made, and waits for it"""
    w = own_warm
    path, argv = reader
    w.build(argv, options=options)
    [name] = [t["name"] for t in w.ls()]
    for n in range(1, 5):
        for _ in range(2):
            add_line(path)
            assert made(w) == n and name not in [t["name"] for t in w.ls()]
        # the first served nobody, the others too few
        assert launch(w, name) == f"{2 * n}\n"
        assert made(w) == n + 1


def test_next_template_of_a_name_that_is_launched(own_warm, reader):
    """One edit, and there is the next one before anybody asks for it"""
    w = own_warm
    path, argv = reader
    w.build(argv, options=["--name", "t"])
    assert launch(w, "t") == "0\n"
    add_line(path)
    assert made(w) == 2 and "t" in [t["name"] for t in w.ls()]
    assert launch(w, "t") == "1\n" and made(w) == 2


# --- the queue ----------------------------------------------------------------------------------------------------------

def start_build(w, argv, ready="main"):
    return subprocess.Popen([w.program, "build", "--json", "--ready", ready, "--", *map(str, argv)], env=w.environment(),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(builders):
    answers = []
    try:
        for p in builders:
            out, err = p.communicate(timeout=4 * TIMEOUT)
            answers.append(json.loads(out) if out else {"status": err})
    finally:
        for p in builders:
            p.kill()
            p.wait()
    return answers


def test_everybody_who_waits_gets_his_turn(own_warm, programs):
    """More builds of other commands, and more clients of one, than ever waited"""
    w = own_warm
    w.start()
    w.idle()
    tiny = programs.path("tiny")
    builders = [start_build(w, [tiny, "cat", str(i)]) for i in range(40)] + [start_build(w, [tiny, "cat"]) for _ in range(40)]
    answers = finish(builders)
    assert [a["status"] for a in answers] == ["ready"] * 80, answers
    assert len({a["id"] for a in answers[40:]}) == 1


def test_who_goes_away_is_not_waited_for(own_warm, programs):
    """A build that has not begun, and that nobody wants any more, is not made; and what runs want waits for who asked"""
    w = own_warm
    w.start()
    w.idle()
    before = builds(w)
    slow = start_build(w, ["sleep", "60"], "delay=5")
    eventually(lambda: len(children(w.pid())) == 2, "a build that runs: its process, and the program")
    others = [start_build(w, [programs.path("tiny"), "cat", str(i)]) for i in range(10)]
    try:
        eventually(lambda: w.stats()["connections"] >= 12, "their requests")
        eventually(lambda: all(waits(p.pid) for p in others), "clients that wait")
        for p in others[:9]:
            p.send_signal(signal.SIGKILL)
            p.wait()
        assert finish([slow])[0]["status"] == "ready"
        assert finish(others[9:])[0]["status"] == "ready"
    finally:
        finish([slow, *others])
    w.idle()
    assert builds(w) - before == 2


@pytest.fixture
def behind(own_warm, programs):
    """behind(somebody_waits): runs have had builds made, which wait for a slow one; somebody waits for one meanwhile.
    Returns the numbers of the templates, in the order in which they were built: by the last argument"""
    w = own_warm

    def queue(somebody_waits):
        slow = start_build(w, ["sleep", "60"], "delay=3")
        try:
            eventually(lambda: len(children(w.pid())) == 2, "a build that runs: its process, and the program")
            for i in range(4):
                w.run([programs.path("tiny"), "cat", str(i)])
            somebody_waits()
        finally:
            assert finish([slow])[0]["status"] == "ready"
        found = eventually(lambda: len(w.ls()) >= 5 and len({t["argv"][-1] for t in w.ls()} & set("0123")) == 4 and w.ls(), "all builds")
        return {t["argv"][-1]: t["id"] for t in found}

    w.start()
    w.idle()
    return queue


def test_launch_goes_before_what_nobody_waits_for(own_warm, behind, reader):
    w = own_warm
    path, argv = reader
    w.build(argv, options=["--name", "t"])
    add_line(path)
    assert "t" not in [t["name"] for t in w.ls()]

    def somebody_waits():
        assert launch(w, "t") == "1\n"

    ids = behind(somebody_waits)
    assert ids[str(argv[-1])] < min(ids[i] for i in "0123"), ids


def test_who_joins_a_build_takes_it_to_the_front(own_warm, behind, programs):
    w = own_warm
    before = builds(w)

    def somebody_waits():
        assert w.build([programs.path("tiny"), "cat", "3"])["status"] == "ready"

    ids = behind(somebody_waits)
    assert ids["3"] < min(ids[i] for i in "012"), ids
    assert builds(w) - before == 5


def waits(pid):
    """Does it wait for an answer: in recvmsg(2)?"""
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as f:
            return f.read().split()[0] == "47"
    except OSError:
        return False


# --- the session -----------------------------------------------------------------------------------------------------

SESSION = """import os
import m

def main():
    os.setpgrp()
    print('main', os.getpgrp() == os.getpid())

main()
"""


@pytest.mark.parametrize("stdout", ["pipe", "tty"])
def test_setpgrp_at_import(own_warm, script, stdout):
    """No shell starts a program as its session's leader, and there setpgrp(2) fails"""
    w = own_warm
    argv = [PYTHON, script(SESSION, **{"m.py": "import os\nos.setpgrp()\nprint('import', os.getpgrp() == os.getpid())\n"})]
    cold = w.cold(argv, stdout=stdout)
    assert cold.status == 0, cold
    w.build(argv, expect=None, stdout=stdout)
    for _ in range(2):
        r = run(w, argv, 0, stdout=stdout)
        assert (r.out, r.err) == (cold.out, cold.err)


@pytest.mark.parametrize("pool", [0, 2])
def test_setpgrp_in_a_clone_of_warmds(make_warm, script, pool):
    with launches_of(make_warm()) as launches:
        path = script(SESSION, **{"m.py": "import json\n"})
        name = launches.build([PYTHON, path], way="parked" if pool else "fork", pool=pool)
        r = launches.run(name)
        assert (r.out, r.status) == ("main True\n", 0), r
