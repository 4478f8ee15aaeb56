# SPDX-License-Identifier: MIT
"""What the leading part of the program reads: environment and arguments.

os.environ's dict and sys.argv are recording subclasses while the leading part
runs; at the readiness point the original objects return with what was written.
"""

import posix
import sys


class Reads:
    """What was read of one thing: single names, or all of it"""

    __slots__ = ("names", "everything", "writes", "opaque")

    def __init__(self):
        self.names = set()
        self.everything = False
        self.writes = []        # (name, value or None), in order
        self.opaque = False     # changed in a way that cannot be repeated

    def note(self, name):
        for written, _ in self.writes:
            if written == name:
                return          # its own value, the same in every launch
        self.names.add(name)


class RecordingEnvironment(dict):
    """The dict behind os.environ. os._Environ (3.9 to 3.13) uses only item access, iteration,
    `in`, len() and items() of it; the rest is what a user of posix.environ could call."""

    __slots__ = ("reads",)

    def __getitem__(self, name):
        self.reads.note(name)
        return dict.__getitem__(self, name)

    def __contains__(self, name):
        self.reads.note(name)
        return dict.__contains__(self, name)

    def get(self, name, default=None):
        self.reads.note(name)
        return dict.get(self, name, default)

    def __setitem__(self, name, value):
        self.reads.writes.append((name, value))
        dict.__setitem__(self, name, value)

    def __delitem__(self, name):
        self.reads.note(name)
        self.reads.writes.append((name, None))
        dict.__delitem__(self, name)


class RecordingList(list):
    """sys.argv and sys.orig_argv. Item 0 of sys.argv belongs to the script's own words, which count anyway"""

    __slots__ = ("reads",)

    def __getitem__(self, index):
        if not (type(index) is int and index == 0 and self.reads.names):
            self.reads.everything = True
        return list.__getitem__(self, index)

    def __setitem__(self, index, value):
        if not (type(index) is int and index == 0):
            self.reads.everything = True
        list.__setitem__(self, index, value)

    def __radd__(self, other):
        self.reads.everything = True
        return other + list(self)


def record_all(kind, base, names, flag):
    """Give `kind` the methods `names` of `base`, each setting the flag of .reads first"""
    for name in names:
        method = getattr(base, name, None)
        if method is None:      # __or__ of dict: 3.9 has it, but who knows what a later one drops
            continue

        def recording(self, *args, _method=method, **kwargs):
            setattr(self.reads, flag, True)
            return _method(self, *args, **kwargs)
        setattr(kind, name, recording)


record_all(RecordingEnvironment, dict, (
    "__iter__", "__len__", "__reversed__", "__eq__", "__ne__", "__repr__", "__or__", "__ror__",
    "keys", "values", "items", "copy"), "everything")
record_all(RecordingEnvironment, dict, (
    "pop", "popitem", "clear", "update", "setdefault", "__ior__"), "opaque")
record_all(RecordingList, list, (
    "__iter__", "__len__", "__contains__", "__reversed__", "__repr__", "__eq__", "__ne__", "__lt__",
    "__le__", "__gt__", "__ge__", "__add__", "__mul__", "__rmul__", "__iadd__", "__imul__",
    "__delitem__", "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove",
    "reverse", "sort", "__reduce_ex__"), "everything")


def recording(kind, original, reads):
    copy = kind(original)
    copy.reads = reads
    return copy


def replace_everywhere(gc, old, new):
    """Put new for old in every namespace that holds it; is nobody left who holds old?

    `from sys import argv` leaves a second reference, `argv = sys.argv` too. Held
    in anything but a dict or an instance's __dict__, the object must stay.
    """
    holders = [h for h in gc.get_referrers(old) if isinstance(h, dict)]
    for holder in holders:
        for key, value in list(dict.items(holder)):
            if value is old:
                dict.__setitem__(holder, key, new)
    holder = holders = key = value = None
    return sys.getrefcount(old) <= count_own_references(sys.getrefcount)


def count_own_references(getrefcount):
    """How many references an object has that only a caller's local and one parameter hold.

    Measured, as calls of 3.9 to 3.13 borrow or count their arguments differently.
    """
    def callee(thing):
        return getrefcount(thing)

    def caller():
        thing = [None]
        return callee(thing)
    return caller()


class Listings:
    """Directories that importlib lists. A program can make the very same system calls (`if os.path.isdir(d):
    os.listdir(d)`) and then every name counts, so warmd is told of each listing that was FileFinder's own"""

    def __init__(self):
        self.finder = sys.modules["_frozen_importlib_external"].FileFinder
        self.paths = []
        self.original, self.noting = self.finder._fill_cache, self.make_noting()

    def make_noting(self):
        paths, original = self.paths, self.finder._fill_cache

        def _fill_cache(self):
            original(self)
            if self._path_cache:        # else it may not have been there
                paths.append(self.path)
        _fill_cache.__code__ = _fill_cache.__code__.replace(co_filename=IMPORTLIB)
        return _fill_cache

    def start(self):
        self.finder._fill_cache = self.noting

    def stop(self):
        if self.finder._fill_cache is self.noting:
            self.finder._fill_cache = self.original


def written(final):
    """Protocol lines; what doesn't fit into a line counts as if it had been set past os.environ"""
    for name, value in final.items():
        line = b"UNSET=" + name if value is None else b"SET=" + name + b"=" + value
        if b"\n" not in line and len(line) < 60000:
            yield line


class Environment:
    """os.environ under observation"""

    def __init__(self):
        self.original = posix.environ
        self.reads = Reads()
        self.before, self.reads.writes = caller_environment(self.original)
        self.data = self.original
        posix.environ = recording(RecordingEnvironment, self.original, self.reads)
        self.put(posix.environ)

    def put(self, data):
        os = sys.modules.get("os")
        for name in ("environ", "environb"):
            mapping = getattr(os, name, None)
            if mapping is not None and isinstance(getattr(mapping, "_data", None), dict):
                mapping._data = data
        posix.environ = data

    def settle(self, gc):
        """The original dict returns, with what was written; a list of protocol lines, or a reason to refuse"""
        recorder = posix.environ
        if not isinstance(recorder, RecordingEnvironment):
            return [], "posix.environ was replaced"
        dict.clear(self.original)
        dict.update(self.original, dict.items(recorder))
        self.put(self.original)
        if not replace_everywhere(gc, recorder, self.original):
            # somebody holds it: keep it, shared and complete
            self.put(recorder)
            self.data = recorder
            self.reads.everything = True
        if self.reads.opaque:
            return [], "posix.environ was changed past os.environ"
        lines = [b"TRACK=env", *written(dict(self.reads.writes))]
        if self.reads.everything or any(b"\n" in name for name in self.reads.names if isinstance(name, bytes)):
            return [*lines, b"ENV=*"], None
        names = sorted(name for name in self.reads.names if isinstance(name, bytes))
        return lines + [b"ENV=" + name for name in names], None


class Arguments:
    """sys.argv and sys.orig_argv under observation.

    words: how many the process's whole argv has, 0 if unknown
    """

    def __init__(self, words):
        self.lists = []         # (name, original, recorder's Reads)
        self.trailing = max(len(sys.argv) - 1, 0)
        self.leading = words - self.trailing if words else None
        self.bytes = [a.encode(sys.getfilesystemencoding(), "surrogateescape") for a in sys.argv[1:]]
        for name in ("argv", "orig_argv"):
            original = getattr(sys, name, None)
            if type(original) is list:
                reads = Reads()
                if name == "argv":
                    reads.names.add(0)      # reading item 0 is free
                self.lists.append((name, original, reads))
                setattr(sys, name, recording(RecordingList, original, reads))

    def settle(self, gc):
        """The original lists return. Returns (protocol lines, lists to change in a clone)"""
        everything = self.leading is None
        targets = []
        for name, original, reads in self.lists:
            recorder = getattr(sys, name, None)
            if type(recorder) is not RecordingList:
                everything = True       # the program put a list of its own there
                continue
            list.__setitem__(original, slice(None), list.__getitem__(recorder, slice(None)))
            setattr(sys, name, original)
            if not replace_everywhere(gc, recorder, original):
                setattr(sys, name, recorder)
                everything = True
            everything = everything or reads.everything
            targets.append((original, 1 if name == "argv" else self.leading))
        if everything:
            return [b"TRACK=argv", b"ARGV=*"], ()
        return [b"TRACK=argv", b"ARGV=-%d" % self.trailing], tuple(targets)
