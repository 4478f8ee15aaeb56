# SPDX-License-Identifier: MIT
"""Which statements are leading: what has run when the adaptor says READY."""

import pytest

# (main module, names defined in it at the readiness point; the rest of it raises if it ran too early)
CASES = [
    ("import json\nx = 1\nfoo()\ny = 2\n", {"json", "x"}),
    ("import json; x = 1; foo(); y = 2\n", {"json", "x"}),
    ("import json\nif x():\n    y = 1\n", {"json"}),
    ("if 1 < 2:\n    a = 1\n    foo()\nb = 1\n", {"a"}),
    ("if 2 < 1:\n    a = 1\n    foo()\nelse:\n    c = 1\nb = 1\nfoo()\n", {"b", "c"}),
    ("if __name__ == '__main__':\n    import json\n    foo(json)\n", {"json"}),
    ("try:\n    import nope\nexcept ImportError:\n    nope = None\nfoo()\n", {"nope"}),
    ("try:\n    import nope\nexcept ImportError:\n    foo()\n", set()),
    ("try:\n    import json\n    a = foo()\nfinally:\n    b = 1\n", {"json"}),
    ("for i in ():\n    pass\n", set()),
    ("import sys\nsys.path.insert(0, '/x')\na = 1\nfoo()\n", {"sys", "a"}),
    ("import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))\na = 1\nfoo()\n", {"os", "sys", "a"}),
    ("import warnings\nwith warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    import json\nfoo()\n",
     {"warnings", "json"}),
    ("import os\nos.environ['X'] = '1'\na = 1\nfoo()\n", {"os", "a"}),
    ("import sys\nname = sys.argv[1:]\n", {"sys"}),
    ("import sys\nif sys.argv[1:]:\n    pass\n", {"sys"}),
    ("import sys\na: int = 1\nb = c = (1, 'x', {'k': -1})\nd, e = 1, 2\nd += 1\ndel e\nf = sys.maxsize\nfoo()\n",
     {"sys", "a", "b", "c", "d", "f"}),
    ("class A:\n    x = len('ab')\nasync def f(): pass\n@staticmethod\ndef g(): pass\nfoo()\n", {"A", "f", "g"}),
    ("x = (1,\n     foo(),\n     2)\n", set()),
    ("from json import (dumps,\n    loads); foo()\n", {"dumps", "loads"}),
    ("lambda: 0\n'text'\n...\nassert foo()\n", set()),
    ("a = b'x' * 3\nb = f'{a!r}'\nc = [x for x in a]\n", {"a", "b"}),
    ("while True:\n    foo()\n", set()),
    ("'''only'''\nX = 1\n", {"X"}),
]



@pytest.mark.parametrize("source,names", CASES, ids=[c[0].strip().split("\n")[0][:30] + str(i) for i, c in enumerate(CASES)])
def test_boundary(runner, python, source, names):
    """The adaptor waits in posix.read(): one of ours, put there by sitecustomize, looks at the main module then"""
    runner.write("watch/sitecustomize.py", (
        "import sys, os, posix\n"
        "def look(fd, size, read=posix.read):\n"
        "    if size == 256 * 1024:\n"
        "        main = sys.modules['__main__'].__dict__\n"
        "        with open(os.environ['SEEN'], 'w') as f:\n"
        "            f.write(' '.join(n for n in main if not n.startswith('__')))\n"
        "    return read(fd, size)\n"
        "posix.read = look\n"))
    seen = runner.tmp / "seen"
    result = runner.warm([python, runner.write("script.py", source)],
                         env={"PYTHONPATH": str(runner.tmp / "watch"), "SEEN": str(seen)})
    assert result.ready, result
    assert set(seen.read_text().split()) == names, result
