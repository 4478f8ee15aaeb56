# SPDX-License-Identifier: MIT
"""What the leading part of the program reads of its environment, and what importlib lists.

The dict behind os.environ is a recording subclass while the leading part runs; at the readiness point the
original object returns with what was written. What there is of it to see is made to look like a dict.
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

    # copy.copy(), copy.deepcopy() and pickle: a dict, as of one
    def __reduce_ex__(self, protocol):
        self.reads.everything = True
        return dict, (dict(dict.items(self)),)

    def __deepcopy__(self, memo):
        self.reads.everything = True
        return dict(dict.items(self))


RecordingEnvironment.__name__ = RecordingEnvironment.__qualname__ = "dict"
RecordingEnvironment.__module__ = "builtins"


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


def recording(kind, original, reads):
    copy = kind(original)
    copy.reads = reads
    return copy


def replace_everywhere(gc, old, new):
    """Put new for old in every namespace that holds it; is nobody left who holds old?

    `from posix import environ` leaves a second reference. Held in anything but a dict or an instance's
    __dict__, the object must stay.
    """
    holders = [h for h in gc.get_referrers(old) if is_instance(h, dict)]
    for holder in holders:
        for key, value in list(dict.items(holder)):
            if value is old and type(key) is str:
                dict.__setitem__(holder, key, new)
    holders = holder = key = value = None
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
        self.finder = names_of_module("_frozen_importlib_external")["FileFinder"]
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
        self.os = names_of_module("os")
        self.watching = "putenv" in self.os
        if self.watching:
            watch_names(self.os, {"putenv": self.note_putenv, "unsetenv": self.note_putenv})

    def note_putenv(self, frame):
        """os.putenv() changes what children see and os.environ doesn't: right for the launches that have the build's environment"""
        if frame.f_globals is not self.os:
            self.reads.everything = True

    def put(self, data):
        os = names_of_module("os")
        for name in ("environ", "environb"):
            own = own_names(os.get(name))
            if is_subtype(dict, type(own.get("_data"))):
                own["_data"] = data
        posix.environ = data

    def settle(self, gc):
        """The original dict returns, with what was written; a list of protocol lines, or a reason to refuse"""
        if self.watching:
            self.watching = False
            unwatch_names(self.os)
        recorder = posix.environ
        if type(recorder) is not RecordingEnvironment:
            return [], "posix.environ was replaced"
        dict.clear(self.original)
        dict.update(self.original, dict.items(recorder))
        self.put(self.original)
        for holder in gc.get_referrers(recorder):
            own = own_names(holder)         # copy.copy(os.environ) shares the dict
            if type(holder) is names_of_module("os").get("_Environ") and own.get("_data") is recorder:
                own["_data"] = self.original
        holder = own = None
        if not replace_everywhere(gc, recorder, self.original):
            # somebody holds it: keep it, shared and complete
            self.put(recorder)
            self.data = recorder
            self.reads.everything = True
        if self.reads.opaque:
            return [], "posix.environ was changed past os.environ"
        lines = [b"TRACK=env", *written(dict(self.reads.writes))]
        if self.reads.everything or any(b"\n" in name for name in self.reads.names if type(name) is bytes):
            return [*lines, b"ENV=*"], None
        names = sorted(name for name in self.reads.names if type(name) is bytes)
        return lines + [b"ENV=" + name for name in names], None
