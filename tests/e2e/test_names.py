# SPDX-License-Identifier: MIT
"""Names and options belong to the command that they were given to: whatever becomes of a template, the next one has them,
until `warm rm`."""

import os

import pytest
from conftest import PYTHON, eventually

NO_CACHE = {"PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def own(own_warm):
    own_warm.env.update(NO_CACHE)
    return own_warm


def launch(warm, name, *args):
    r = warm.command("launch", name, *args, check=False)
    return r.stdout if r.returncode == 0 else f"[{r.returncode}] {r.stderr}"


def run(warm, argv, *options):
    r = warm.run(argv, options=options)
    assert r.status == 0, r
    return r.out


def templates(warm):
    """Those that are ready: name to readiness point. Edits may have left one more of a command that has no name"""
    return {t["name"]: t["ready"] for t in warm.ls() if t["state"] == "ready"}


def served(warm, argv):
    """Its build, behind a run, is over"""
    eventually(lambda: warm.explain(argv)["status"] == "warm", "a template")


def edit(path, value):
    new = path.with_suffix(".new")
    new.write_text(f"import json\nprint({value!r})\n", encoding="utf-8")
    new.rename(path)


@pytest.fixture
def path(tmp_path):
    edit(tmp_path / "s.py", 1)
    return tmp_path / "s.py"


def test_run_after_an_edit_keeps_the_name(own, path):
    own.build([PYTHON, path], options=["--name", "t"])
    for i in range(2, 8):
        edit(path, i)
        assert run(own, [PYTHON, path]) == f"{i}\n"
        assert launch(own, "t") == f"{i}\n"
    assert [t["name"] for t in own.ls()].count("t") == 1


def test_launch_after_an_edit(own, path):
    own.build([PYTHON, path], options=["--name", "t"])
    for i in range(2, 5):
        edit(path, i)
        assert launch(own, "t") == f"{i}\n"


def test_two_names_of_one_command(own, path):
    own.build([PYTHON, path], options=["--name", "a"])
    own.build([PYTHON, path], options=["--name", "b"])
    assert (launch(own, "a"), launch(own, "b")) == ("1\n", "1\n")
    edit(path, 2)
    assert run(own, [PYTHON, path]) == "2\n"
    assert (launch(own, "a"), launch(own, "b")) == ("2\n", "2\n")
    own.command("rm", "a")
    edit(path, 3)
    assert run(own, [PYTHON, path]) == "3\n"
    assert launch(own, "b") == "3\n" and launch(own, "a").startswith("[125] ")


def test_name_of_another_command(own, path, tmp_path):
    other = tmp_path / "other.py"
    edit(other, "other")
    own.build([PYTHON, path], options=["--name", "t"])
    own.build([PYTHON, other], options=["--name", "t"])
    assert launch(own, "t") == "other\n"
    edit(path, 2)
    assert run(own, [PYTHON, path]) == "2\n"
    served(own, [PYTHON, path])
    assert launch(own, "t") == "other\n"
    edit(other, "more")
    assert run(own, [PYTHON, other]) == "more\n"
    assert launch(own, "t") == "more\n"


def test_another_readiness_point(own, path):
    own.build([PYTHON, path], options=["--name", "t", "--ready", "main"])
    assert templates(own) == {"t": "main"}
    edit(path, 2)
    assert run(own, [PYTHON, path]) == "2\n"
    assert launch(own, "t") == "2\n" and templates(own)["t"] == "main"
    own.build([PYTHON, path], options=["--name", "t", "--ready", "import"])
    assert [t["ready"] for t in own.ls() if t["name"] == "t"] == ["import"]
    edit(path, 3)
    assert launch(own, "t") == "3\n" and templates(own)["t"] == "import"


def test_options_without_a_name(own, path):
    own.build([PYTHON, path], options=["--ready", "main", "--pool", "2"])
    [before] = own.ls()
    assert (before["ready"], before["pool"]["wanted"]) == ("main", 2)
    edit(path, 2)
    assert run(own, [PYTHON, path]) == "2\n"
    after = eventually(lambda: [t for t in own.ls() if t["state"] == "ready"], "the next template")
    assert [(t["ready"], t["pool"]["wanted"]) for t in after] == [("main", 2)]
    own.command("rm", "--all")
    own.build([PYTHON, path])
    [after] = own.ls()
    assert after["ready"] == "import" and not after.get("pool")


def test_options_of_one_that_makes_room(make_warm, path, tmp_path):
    """Its template is gone without a reason of its own"""
    warm = make_warm({"templates_max": 1}, **NO_CACHE)
    other = tmp_path / "other.py"
    edit(other, "other")
    warm.build([PYTHON, path], options=["--ready", "main"])
    warm.build([PYTHON, path], options=["--name", "t"])
    warm.build([PYTHON, other])
    assert "t" not in templates(warm) and len(templates(warm)) == 1
    assert launch(warm, "t") == "1\n"               # built for the launch, which waits for it
    warm.command("rm", "t")
    assert launch(warm, "t").startswith("[125] ")
    assert run(warm, [PYTHON, path]) == "1\n"
    served(warm, [PYTHON, path])
    assert list(templates(warm).values()) == ["main"]


def test_mistake_in_between(own, path):
    """A build that fails leaves the name where it was"""
    own.build([PYTHON, path], options=["--name", "t"])
    path.write_text("import json\nraise SystemExit('oh')\n", encoding="utf-8")
    assert own.run([PYTHON, path]).status == 1
    launch(own, "t")
    edit(path, 3)
    assert launch(own, "t") == "3\n"
    os.unlink(path)
    assert launch(own, "t") != "3\n"
    edit(path, 4)
    assert launch(own, "t") == "4\n"


def test_removed_is_removed(own, path):
    own.build([PYTHON, path], options=["--name", "t"])
    own.command("rm", "t")
    edit(path, 2)
    assert run(own, [PYTHON, path]) == "2\n"
    served(own, [PYTHON, path])
    assert "t" not in templates(own) and launch(own, "t").startswith("[125] ")


def test_removed_while_it_is_built(own, path, tmp_path):
    own.build([PYTHON, path], options=["--name", "t"])
    assert launch(own, "t") == "1\n"
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.5)\n", encoding="utf-8")
    path.write_text("import slow\nprint(2)\n", encoding="utf-8")
    own.ls()                    # the edit is known, and the next template is under way
    own.command("rm", "t")
    assert launch(own, "t").startswith("[125] ")
    assert "t" not in templates(own)


def test_why_is_told_of_a_name(own, path):
    """The last change, though the template had another name than the command"""
    own.build([PYTHON, path], options=["--name", "t"])
    edit(path, 2)
    r = own.run([PYTHON, path], verbose=True)
    assert r.out == "2\n" and "s.py changed" in r.err


# --- the command of a name is all of it ------------------------------------------------------------------------------

READS = "import os\nWAY = {!r} + os.environ.get('FOO', '-')\n"


def in_context(warm, name, **env):
    options = [word for k, v in env.items() for word in ("--env", f"{k}={v}")]
    r = warm.command("launch", *options, name, check=False)
    return r.stdout if r.returncode == 0 else f"[{r.returncode}] {r.stderr}"


@pytest.fixture(params=["-m", "-c"])
def two_commands(request, tmp_path, own):
    """Two that begin with the same words, and read a variable at their start"""
    for name in ("old", "new"):
        (tmp_path / f"x{name}.py").write_text(READS.format(name) + "if __name__ == '__main__':\n    print(WAY)\n", encoding="utf-8")
    own.env["PYTHONPATH"] = str(tmp_path)
    return {"-m": lambda name: [PYTHON, "-m", f"x{name}"],
            "-c": lambda name: [PYTHON, "-c", f"import x{name}\nprint(x{name}.WAY)"]}[request.param]


def test_name_of_a_command_with_the_same_first_words(own, two_commands):
    own.build(two_commands("old"), options=["--name", "z"])
    assert in_context(own, "z") == "old-\n"
    own.build(two_commands("new"), options=["--name", "z"])
    for _ in range(3):
        assert in_context(own, "z", FOO="other") == "newother\n"
        assert in_context(own, "z") == "new-\n"
    assert not [t for t in own.ls() if "old" in " ".join(t["argv"])]


def test_edit_of_what_had_the_name(own, tmp_path):
    """It is not built again for the name's sake"""
    for name in ("old", "new"):
        (tmp_path / f"x{name}.py").write_text(f"print({name!r})\n", encoding="utf-8")
    own.env["PYTHONPATH"] = str(tmp_path)
    for name in ("old", "new"):
        own.build([PYTHON, "-m", f"x{name}"], options=["--name", "z", "--ready", "main"])
        assert launch(own, "z") == f"{name}\n"
    (tmp_path / "xold.py").write_text("print('changed')\n", encoding="utf-8")
    assert launch(own, "z") == "new\n"
    assert [t["name"] for t in own.ls()] == ["z"]


def test_name_of_the_same_program_with_other_arguments(own, tmp_path):
    """Its template would serve a run of both; launches by the name have its arguments"""
    (tmp_path / "s.py").write_text("import json\nimport sys\n\ndef main():\n    print(sys.argv[1:])\n\nmain()\n", encoding="utf-8")
    for args in (["a"], ["b"], ["b", "c"]):
        own.build([PYTHON, tmp_path / "s.py", *args], options=["--name", "t"])
        assert launch(own, "t") == f"{args}\n"


def test_what_is_built_for_another_context_is_not_the_names(make_warm, path, tmp_path):
    """Without a template, the next one is built as somebody asked for it"""
    warm = make_warm({"templates_max": 1}, **NO_CACHE)
    (tmp_path / "m.py").write_text(READS.format(""), encoding="utf-8")
    path.write_text("import m\nprint(m.WAY)\n", encoding="utf-8")
    other = tmp_path / "other.py"
    edit(other, "other")
    warm.build([PYTHON, path], options=["--name", "t"], env={"FOO": "asked"})
    built = warm.stats()["builds_ok"]
    for _ in range(2):
        assert in_context(warm, "t", FOO="other") == "other\n"
    eventually(lambda: warm.stats()["builds_ok"] == built + 1, "a template for the other context")
    before = warm.launches("launched")
    warm.build([PYTHON, other])
    assert "t" not in templates(warm)
    assert in_context(warm, "t", FOO="asked") == "asked\n"
    assert warm.launches("launched") == before + 1
