# SPDX-License-Identifier: MIT
"""The leading part ended early, in front of a system call in the middle of it: the LEAVE line of docs/adaptor.md."""

import pytest

MKDIR = "83"        # x86-64

# a module that the main one imports; it makes its first folder somewhere
MODULES = {
    "import": "import os\nos.mkdir(folder)\n",
    "in except": "import os, sys\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    os.mkdir(folder)\n    print(sys.exc_info()[0])\n",
    "in with and generator": ("import os, contextlib\n@contextlib.contextmanager\ndef made():\n    os.mkdir(folder)\n    yield 1\n"
                              "with made() as x:\n    print(x)\nprint(list(os.mkdir(folder + str(i)) for i in range(2)))\n"),
    "in repr": "import os\nclass A:\n    def __repr__(self):\n        os.mkdir(folder)\n        return 'A'\nprint('%r' % A())\n",
    "in __del__": ("import os\nclass A:\n    def __del__(self, mkdir=os.mkdir):\n        mkdir(folder)\na = A()\ndel a\nprint(1)\n"),
    "in a collection": ("import os, gc\nclass A:\n    def __del__(self, mkdir=os.mkdir):\n        mkdir(folder)\n"
                        "a = A()\na.a = a\ndel a\nprint(gc.collect() > 0, gc.isenabled())\n"),
    "in a callback of C": "import os\nprint(sorted([2, 1], key=lambda x: os.path.exists(folder + 'n') or os.mkdir(folder + str(x)) or x))\n",
    "raises": "import os\nos.mkdir(folder)\nraise ValueError('after')\n",
    "raises in the call": "import os\nos.mkdir(folder + '/no/such')\n",
    "seeds later": "import os, random\nos.mkdir(folder)\nrandom.seed(3)\nprint(random.random(), random.Random.seed.__code__.co_filename)\n",
    "with threads": ("import os, threading\nq = threading.Event()\nt = threading.Thread(target=q.wait)\nt.start()\nos.mkdir(folder)\nq.set()\n"
                     "t.join()\nprint(threading.main_thread().native_id == os.getpid())\n"),
    "handler": "import os, signal\nsignal.signal(signal.SIGUSR1, print)\nos.mkdir(folder)\nprint(signal.getsignal(signal.SIGUSR1) is print)\n",
    "no collection": "import os, gc\ngc.disable()\nos.mkdir(folder)\nprint(gc.isenabled(), gc.callbacks)\n",
}

LOOK = ("import sys, os, builtins\n"
        "def show():\n    print(sys.argv, type(sys.argv), sys.gettrace(), sys.getprofile(), builtins.__import__,\n"
        "          type(os.environ._data), [type(f).__name__ for f in sys.meta_path], list(sys.modules))\n")


@pytest.mark.parametrize("name", MODULES)
def test_same_as_cold(runner, python, name):
    """And what there is to see of it is gone right after the call, whatever the main thread was doing"""
    runner.write("look.py", LOOK)
    runner.write("lead.py", "import look\nfolder = %r + __import__('os').environ['N']\n" % str(runner.tmp / "made") + MODULES[name]
                 + "look.show()\n")
    script = runner.write("script.py", "import json\nimport lead\nX = 1\ndef f():\n    look.show()\nimport look\nf()\nprint(sorted(globals()))\n1/0\n")
    cold = runner.cold([python, "-B", script, "a"], env={"N": "1"})
    warm = runner.warm([python, "-B", script, "a"], inject=["-L", MKDIR], env={"N": "2"})
    assert warm.ready, warm
    assert (warm.out, warm.status) == (cold.out, cold.status)
    assert warm.err.replace("made2", "made1") == cold.err
    assert sorted(p.name.replace("made2", "made1") for p in runner.tmp.glob("made2*")) == sorted(
        p.name for p in runner.tmp.glob("made1*"))




@pytest.mark.parametrize("way", ["script", "-c", "-m"])
def test_before_the_main_module(runner, python, way):
    """A .pth file's or sitecustomize's thread, a finder: whatever makes the call before __main__ is there"""
    runner.write("site/sitecustomize.py", (
        "import os, sys\nclass Finder:\n    @staticmethod\n    def find_spec(name, path=None, target=None):\n"
        "        if name in ('tool', 'json'): os.path.exists('made') or os.mkdir('made')\n"
        "sys.meta_path.insert(0, Finder)\n"))
    script = runner.write("tool.py", "import json\nimport sys\nprint(sys.argv, sys.gettrace(), sys.meta_path[0])\nprint(1)\n")
    command = {"script": [python, script, "a"], "-m": [python, "-m", "tool", "a"],
               "-c": [python, "-c", "import json, sys; print(sys.argv, sys.meta_path[0]); print(1)", "a"]}[way]
    env = {"PYTHONPATH": "%s:%s" % (runner.tmp / "site", runner.tmp)}
    cold = runner.cold(command, env=env)
    (runner.tmp / "made").rmdir()
    warm = runner.warm(command, inject=["-L", MKDIR], env=env)
    assert warm.ready and (warm.out, warm.err, warm.status) == (cold.out, cold.err, cold.status), warm


def test_launch_is_another(runner, python):
    """What the module read before the call counts; arguments and variables that it reads later are the launch's"""
    runner.write("lead.py", "import os, sys\nread = os.environ.get('READ')\nos.mkdir('made')\nprint(os.environ['LATER'], sys.argv[1:])\n")
    script = runner.write("script.py", "import lead\nprint(lead.read)\n")
    result = runner.warm([python, "-B", script, "old"], inject=["-L", MKDIR, "-n", "3", "-a", "new", "-a", "more", "-e", "LATER=new"],
                         env={"LATER": "old", "READ": "x"})
    assert result.out == "new ['new', 'more']\nx\n", result
    assert result.values("ARGV") == ["-1"] and "READ" in result.values("ENV") and "LATER" not in result.values("ENV")


def test_foreign_trace(runner, python):
    runner.write("lead.py", "import sys, os\nsys.settrace(lambda *a: None)\nos.mkdir('made')\nsys.settrace(None)\nprint(1)\n")
    script = runner.write("script.py", "import lead\nprint(2)\n")
    result = runner.warm([python, "-B", script], inject=["-L", MKDIR])
    assert "trace" in result.refused and not result.ready and result.out == "1\n2\n", result
