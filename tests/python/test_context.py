# SPDX-License-Identifier: MIT
"""take_environment(): from the build's environment to any other, as if the program had started with that one"""
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "lang" / "python"))

from warm import _context as context      # noqa: E402


class Environ:
    """putenv() and unsetenv(), as the C library has them: a new variable goes to the end"""

    def __init__(self, variables):
        self.variables = dict(variables)

    def putenv(self, name, value):
        if not name or b"=" in name:
            raise OSError
        self.variables[name] = value

    def unsetenv(self, name):
        if not name or b"=" in name:
            raise OSError
        self.variables.pop(name, None)


def packed(variables):
    return b"".join([name + b"=" + value + b"\0" for name, value in variables])


def written(variables, writes):
    result = dict(variables)
    for name, value in writes:
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return list(result.items())


def take(monkeypatch, old, new, writes=()):
    environ = Environ(written(old, writes))
    data = dict(environ.variables)
    monkeypatch.setattr(context, "posix", environ)
    context.take_environment(data, packed(old), packed(new), list(writes))
    return list(data.items()), list(environ.variables.items())


def variables(*names, value=b"1"):
    return [(name.encode(), value) for name in names]


@pytest.mark.parametrize("old, new", [
    ("", ""), ("a", ""), ("", "a"), ("abc", "abc"), ("abc", "ab"), ("abc", "bc"), ("abc", "ac"), ("ab", "abc"),
    ("bc", "abc"), ("abc", "acb"), ("abc", "xyz"), ("abcd", "xbcy"), ("aba", "ab"),
])
def test_order_and_contents_are_the_launchs(monkeypatch, old, new):
    for value in (b"1", b"2"):
        expected = written(variables(*new, value=value), ())
        data, environ = take(monkeypatch, written(variables(*old), ()), expected)
        assert data == environ == expected


def test_what_the_program_wrote_comes_on_top(monkeypatch):
    old, new = variables(*"abc"), variables(*"abc", value=b"2")
    for writes in ([(b"b", b"own")], [(b"b", None)], [(b"z", b"own")], [(b"z", b"own"), (b"z", None)]):
        data, environ = take(monkeypatch, old, new, writes)
        assert dict(data) == dict(environ) == dict(written(new, writes))


def test_any_two(monkeypatch):
    numbers = random.Random(4)
    for _ in range(3000):
        old, new = [[(bytes([name]), numbers.choice((b"1", b"2", b"")))
                     for name in numbers.sample(b"abcdefgh", numbers.randrange(9))] for _ in range(2)]
        if numbers.random() < 0.7:      # usually they have most in common
            new = [entry for entry in old if numbers.random() < 0.9] + new[:1]
            new = list(dict(new).items())
        data, environ = take(monkeypatch, old, new)
        assert data == environ == new, (old, new)
