# SPDX-License-Identifier: MIT
"""What the leading part of the program reads of its arguments.

sys.argv stays the list that it is. It is the key `argv` of sys.__dict__ that is another while the leading part runs: a string
that tells when something is compared with it. A lookup of `argv` in that dict, by whatever means, finds a key of the
same hash and asks whether it is equal; where the bytecode shows that the caller wants item 0 only (the script's own name), nothing is
counted, else all arguments are.
"""

import sys


class WatchedName(str):
    """A key of sys.__dict__; a string in all that there is to see"""

    __slots__ = ("note",)

    def __eq__(self, other):
        try:
            self.note(sys._getframe(1))
        except Exception:       # no frame: the interpreter itself asks, which shows nobody anything
            pass
        return str.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__

    def __reduce_ex__(self, protocol):
        return str, (str.__str__(self),)


WatchedName.__name__ = WatchedName.__qualname__ = "str"
WatchedName.__module__ = "builtins"


def renew_names(names, rename):
    """Put a namespace together anew, in its order, with another key for some. All in one call that runs no bytecode, so that no
    other thread sees it without its names"""
    keys = list(names)
    renewed = dict(zip([rename(key) for key in keys], names.values()))
    list(map(type(names.pop).__call__, [names.pop] * len(keys) + [names.update], keys + [renewed]))


def watch_names(names, notes):
    """Have notes[key](frame) called at each lookup of such a key"""
    def rename(key):
        if type(key) is not str or key not in notes:
            return key
        watched = WatchedName(key)
        watched.note = notes[key]
        return watched
    renew_names(names, rename)


def unwatch_names(names):
    renew_names(names, lambda key: sys.intern(str.__str__(key)) if type(key) is WatchedName else key)


def item_codes():
    """(LOAD_CONST, codes of the instructions that read or write an item), as this version numbers them"""
    read = [op for op in compile("a.b[0]", "", "eval").co_code[::2] if op]
    write = [op for op in compile("a.b[0] = c", "", "exec").co_code[::2] if op]
    load_attribute, load_constant, read_item = read[-4:-1]
    at = write.index(load_attribute)
    return load_constant, (read_item, write[at + 2])


def import_code():
    """The code of IMPORT_FROM: what `from a import b, b` has twice, with a store behind each"""
    once, twice = ([op for op in compile(text, "", "exec").co_code[::2] if op]
                   for text in ("from a import b", "from a import b, b"))
    at = next(i for i, op in enumerate(twice) if i >= len(once) or op != once[i])
    return twice[at]


class Instructions:
    """What is about to be done with the argv that a frame has just looked up"""

    def __init__(self):
        self.load_constant, self.items = item_codes()
        self.import_from = import_code()

    def following(self, frame):
        """Two instructions, without the caches of 3.11 and later, whose code is 0"""
        code, at = frame.f_code.co_code, frame.f_lasti + 2
        found = [(op, arg) for op, arg in zip(code[at:at + 48:2], code[at + 1:at + 48:2]) if op]
        return (found + [(0, 0), (0, 0)])[:2]

    def wants_item_zero(self, frame):
        (first, constant), (second, _) = self.following(frame)
        constants = frame.f_code.co_consts
        return (first == self.load_constant and second in self.items and constant < len(constants)
                and type(constants[constant]) is int and constants[constant] == 0)

    def imports(self, frame):
        """`from sys import argv`, which only keeps the list"""
        return frame.f_code.co_code[frame.f_lasti] == self.import_from


class Arguments:
    """sys.argv and sys.orig_argv under observation.

    words: how many the process's whole argv has, 0 if unknown
    """

    def __init__(self, words):
        self.trailing = max(len(sys.argv) - 1, 0)
        self.leading = words - self.trailing if words else None
        self.everything = self.leading is None
        self.bytes = [a.encode(sys.getfilesystemencoding(), "surrogateescape") for a in sys.argv[1:]]
        self.instructions = Instructions()
        self.boundary = None        # of the main module, once it runs
        lists = [(name, dict.get(sys.__dict__, name)) for name in ("argv", "orig_argv")]
        self.lists = [(name, words) for name, words in lists if type(words) is list]
        lists = None
        self.references = self.count()
        notes = {"argv": self.note_argv, "orig_argv": self.note_orig_argv}
        watch_names(sys.__dict__, {name: notes[name] for name, _ in self.lists})
        self.watching = True

    def count(self):
        return [sys.getrefcount(words) for _, words in self.lists]

    def expected(self):
        kept = list(names_of_module("__main__").values())
        return [n + sum(value is words for value in kept) for n, (_, words) in zip(self.references, self.lists)]

    def note_argv(self, frame):
        if not self.everything and not self.instructions.wants_item_zero(frame):
            # in the main module it may be kept: the statements that could use it are known
            self.everything = not (self.boundary is not None and self.boundary.keeps_argv and is_main(frame)
                                   and self.instructions.imports(frame))

    def note_orig_argv(self, frame):
        self.everything = True

    def settle(self):
        """No more watching. Returns (protocol lines, lists to change in a clone)"""
        if self.watching:
            self.watching = False
            everything = self.everything
            unwatch_names(sys.__dict__)
            # whoever went through all of sys.__dict__ has it without a lookup
            self.everything = (everything or self.count() != self.expected() or any(
                dict.get(sys.__dict__, name) is not words for name, words in self.lists))
        if self.everything:
            return [b"TRACK=argv", b"ARGV=*"], ()
        return [b"TRACK=argv", b"ARGV=-%d" % self.trailing], tuple(
            [(words, 1 if name == "argv" else self.leading) for name, words in self.lists])


