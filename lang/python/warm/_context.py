# SPDX-License-Identifier: MIT
"""The launch context in a clone: what the blocked read returned, taken on.

Used twice: as warm._context by the package, and in front of adaptor.py in the
text that warmd injects (sources.mk), where all files share one namespace. So it imports nothing but `sys`
and `posix`, both built in and always loaded.

A clone pays some 2 us for every page it writes first, so each function here
compares before it writes, and leaves alone whatever is as it was.
"""

import posix
import sys

if __name__ != "warm_adaptor":
    from ._looks import names_of_module, own_names

CONTEXT_MAGIC = 0x58544357      # "WCTX"
CONTEXT_SIZE = 256 * 1024       # bytes; warmd refuses a longer context before the launch
HEADER_SIZE = 32
SAME_AS_BUILD = 3               # in byte 21: environment and argv are the build's


class Context:
    """One launch: argv is a list of bytes, env the bytes of b"NAME=value\\0"..., threads [old, new, old, new...]"""

    __slots__ = ("argv", "env", "threads", "stdio", "generation")


def parse_context(raw):
    """The raw context of docs/adaptor.md; ValueError if it is not one"""
    if len(raw) < HEADER_SIZE:
        raise ValueError("short launch context")
    magic, size, argc, envc, pairs, stdio = [
        int.from_bytes(raw[at:at + 4], sys.byteorder) for at in range(0, 24, 4)]
    at = strings = HEADER_SIZE + 8 * pairs
    if magic != CONTEXT_MAGIC or size > len(raw) or strings > size:
        raise ValueError("malformed launch context")
    context = Context()
    for _ in range(argc):
        at = raw.index(b"\0", at, size) + 1
    context.argv = raw[strings:at - 1].split(b"\0") if argc else []
    context.env = raw[at:size]
    if context.env.count(b"\0") != envc:
        raise ValueError("truncated launch context")
    context.stdio = stdio
    context.threads = thread_pairs(raw)
    context.generation = int.from_bytes(raw[24:32], sys.byteorder)
    return context


def strings_at(raw):
    """Where the strings begin, behind the pairs of thread ids"""
    return HEADER_SIZE + 8 * int.from_bytes(raw[16:20], sys.byteorder)


def thread_pairs(raw):
    """[old, new, old, new...]"""
    return [int.from_bytes(raw[at:at + 4], sys.byteorder)
            for at in range(HEADER_SIZE, strings_at(raw), 4)]


def read_context(fd):
    """The read that blocks at the readiness point; returns only in clones.

    posix.read allocates its buffer without touching it (PyBytes_FromStringAndSize
    with NULL), so in a clone only the pages that the context fills are written.
    Ends the process when the other end is gone: the build was given up, and
    what runs from here on belongs to a launch.
    """
    try:
        raw = posix.read(fd, CONTEXT_SIZE)
    except OSError:
        raw = b""
    if not raw:
        posix._exit(0)
    return raw


def prepare_heap():
    """Before the checkpoint: let malloc do now what the first calls in a clone would do.

    glibc (2.26 and later) moves up to 7 more free chunks of a size to its per-thread cache when
    that is empty (tcache, _int_malloc()): 9 scattered pages written for the first
    block of each size. So fill that cache, for the sizes that a clone asks for: locks
    of buffered files, strings and nodes of setenv(3), and bytes beyond pymalloc's 512.
    """
    import _thread      # always loaded
    [_thread.allocate_lock() for _ in range(8)]
    [[bytes(size) for _ in range(8)] for size in range(480, 1040, 16)]
    for size in range(8, 264, 16):
        posix.putenv(b"_WARM_", b"x" * size)
        posix.unsetenv(b"_WARM_")


def send_lines(fd, lines):
    data = b"".join([line + b"\n" for line in lines])
    while data:
        data = data[posix.write(fd, data):]


# Environment. `data` is the dict behind os.environ and os.environb, which is
# posix.environ itself; C's environ is kept beside it by putenv, as os.environ does.

COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")     # _TARGET_LOCALES in Python/pylifecycle.c


def caller_environment(data):
    """The environment that the interpreter got, as b"NAME=value\\0"..., and what it wrote into it itself.

    In the C locale CPython puts LC_CTYPE=C.UTF-8 there (PEP 538), for its children. Whether a
    caller did is not known; as a write of our own it comes out right in both cases,
    since the locale of a launch is that of the build.
    """
    entries = [name + b"=" + value + b"\0" for name, value in data.items()]
    writes = []
    if data.get(b"LC_CTYPE") in COERCED and not data.get(b"LC_ALL"):
        writes.append((b"LC_CTYPE", data[b"LC_CTYPE"]))
        if entries[-1].startswith(b"LC_CTYPE="):        # setenv(3) puts a new one at the end
            del entries[-1]
    return b"".join(entries), writes


def set_variable(data, name, value):
    try:
        posix.putenv(name, value)
    except (OSError, ValueError):
        return      # no name, as in "=x": setenv(3) knows no such variable
    data[name] = value


def unset_variable(data, name):
    data.pop(name, None)
    try:
        posix.unsetenv(name)
    except (OSError, ValueError):
        pass


def write_variables(data, writes):
    for name, value in writes:
        if value is None:
            unset_variable(data, name)
        else:
            set_variable(data, name, value)


def take_environment(data, old, new, writes):
    """From the environment of the build to that of the launch, both as b"NAME=value\\0"...

    writes: what the program itself did to it before the readiness point, in
    order, as (name, value or None); it did that on top of its caller's. The
    order of os.environ, and of what a child sees in env(1), is the caller's too.
    """
    if old != new:
        take_entries(data, old.split(b"\0")[:-1], new.split(b"\0")[:-1], dict(writes), writes)


def take_entries(data, old, new, final, writes):
    """The same with lists of b"NAME=value". final: what the program left of a variable, None if it deleted it
    (numpy, for one, sets one while it is imported, and deletes it again).

    Few steps, and no way to do something that is not taken anyway: in a clone all of it runs for the first
    time, and each line of code and each function that it calls are cache misses.
    """
    start, limit = 0, min(len(old), len(new))
    while start < limit and old[start] == new[start]:
        start += 1
    end, last = -1, start - limit
    while end >= last and old[end] == new[end]:
        end -= 1
    gone, come = split_entries(old[start:len(old) + end + 1]), split_entries(new[start:len(new) + end + 1])
    if len(gone) == len(come) and [entry[0] for entry in come] == [entry[0] for entry in gone]:
        for was, now in zip(gone, come):
            if was != now and now[0] not in final:
                set_variable(data, now[0], now[2])
    elif not exchange_entries(data, gone, come, final, end == -1):
        # from the start, so that the order is right
        for name in list(data):
            unset_variable(data, name)
        put_entries(data, split_entries(new))
        for name, value in writes:
            if value is None:
                unset_variable(data, name)
            else:
                set_variable(data, name, value)


def exchange_entries(data, gone, come, final, at_end):
    """Put some entries in the place of others, if that keeps the order: at the end, or when entries only go.

    final: as in take_entries()
    """
    for name in final:
        if final[name] is not None:
            at_end = False          # what it added comes after its caller's
            for entry in gone:
                if entry[0] in final:
                    return False
    at = 0
    for entry in gone:
        if at < len(come) and come[at][0] == entry[0]:
            at += 1
    only_go = at == len(come)       # a subsequence
    if not (at_end or only_go):
        return False
    staying = [entry[0] for entry in come] if only_go else ()
    for name, _, _ in gone:
        if name not in staying:
            unset_variable(data, name)
    put_entries(data, [entry for entry in come if entry[0] not in final], only_go)
    return True


def put_entries(data, entries, replace=False):
    """posix's convertenviron() passes over words without "=", and of two of a name the first one wins"""
    for name, equals, value in entries:
        if equals and (replace or name not in data):
            set_variable(data, name, value)


def split_entries(entries):
    """[(name, b"=", value)...]"""
    return [entry.partition(b"=") for entry in entries]


def take_arguments(old, new, lists):
    """Replace the end of each (list, start): the arguments `old` of the build by `new`, both bytes"""
    if old == new or not lists:
        return
    # as Py_DecodeLocale() decoded them for sys.argv
    encoding = sys.getfilesystemencoding()
    decoded = [argument.decode(encoding, "surrogateescape") for argument in new]
    for target, start in lists:
        target[start:] = decoded


def take_thread_ids(threads, pairs):
    """threading.Thread objects remember the kernel's id of their thread"""
    for thread in threads:
        old = thread["_native_id"]
        if old in pairs[0::2]:
            thread["_native_id"] = pairs[2 * pairs[0::2].index(old) + 1]


def known_threads():
    """The `__dict__` of each live Thread object; threading._active holds them by ident in all of 3.9 to 3.13"""
    active = names_of_module("threading").get("_active")
    if not active:      # or the module is half executed
        return []
    names = [own_names(thread) for thread in list(active.values())]
    return [own for own in names if type(own.get("_native_id")) is int]
