# SPDX-License-Identifier: MIT
"""The launch context in a clone: what the blocked read returned, taken on.

Used twice: as warm._context by the package, and in front of adaptor.py in the
text that warmd injects (sources.mk). So it imports nothing but `sys` and
`posix`, both built in and always loaded, and no file of the two needs another.

A clone pays some 2 us for every page it writes first, so each function here
compares before it writes, and leaves alone whatever is as it was.
"""

import posix
import sys

CONTEXT_MAGIC = 0x58544357      # "WCTX"
CONTEXT_SIZE = 256 * 1024       # bytes; warmd refuses a longer context before the launch
HEADER_SIZE = 32


class Context:
    """One launch: argv and env are lists of bytes, threads a flat [old, new, old, new...]"""

    __slots__ = ("argv", "env", "threads", "stdio", "generation")


def parse_context(raw):
    """The raw context of docs/adaptor.md; ValueError if it is not one"""
    if len(raw) < HEADER_SIZE:
        raise ValueError("short launch context")
    with memoryview(raw) as view:
        magic, size, argc, envc, pairs, stdio = view[:24].cast("I")
    strings = HEADER_SIZE + 8 * pairs
    if magic != CONTEXT_MAGIC or size > len(raw) or strings > size:
        raise ValueError("malformed launch context")
    parts = raw[strings:size].split(b"\0")
    if len(parts) < argc + envc:
        raise ValueError("truncated launch context")
    context = Context()
    context.argv = parts[:argc]
    context.env = parts[argc:argc + envc]
    context.stdio = stdio
    context.threads = thread_pairs(raw, pairs)
    context.generation = int.from_bytes(raw[24:32], sys.byteorder)
    return context


def thread_pairs(raw, pairs):
    """[old, new, old, new...]"""
    return [int.from_bytes(raw[at:at + 4], sys.byteorder)
            for at in range(HEADER_SIZE, HEADER_SIZE + 8 * pairs, 4)]


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


def send_lines(fd, lines):
    data = b"".join([line + b"\n" for line in lines])
    while data:
        data = data[posix.write(fd, data):]


# Environment. `data` is the dict behind os.environ and os.environb, which is
# posix.environ itself; C's environ is kept beside it by putenv, as os.environ does.

def environment_strings(data):
    return [name + b"=" + value for name, value in data.items()]


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
    """From the environment of the build to that of the launch, both as lists of b"NAME=value".

    writes: what the program itself did to it before the readiness point, in
    order, as (name, value or None); it did that on top of its caller's. The
    order of os.environ, and of what a child sees in env(1), is the caller's too.
    """
    if old == new:
        return
    written = {name for name, _ in writes}
    same = 0
    for was, now in zip(old, new):
        if was != now:
            name, equals, value = now.partition(b"=")
            if not equals or not was.startswith(name + b"="):
                break
            if name not in written:
                set_variable(data, name, value)
        same += 1
    if same == len(old) == len(new):
        return
    if writes:      # they may have moved variables: from the start
        same = 0
    for name in list(data)[same:]:
        unset_variable(data, name)
    for entry in new[same:]:
        name, equals, value = entry.partition(b"=")
        if equals and name not in data:     # as posix's convertenviron(): the first one wins
            set_variable(data, name, value)
    write_variables(data, writes)


def take_arguments(old, new, lists):
    """Replace the end of each (list, start): the arguments `old` of the build by `new`, both bytes"""
    if old == new:
        return
    # as Py_DecodeLocale() decoded them for sys.argv
    encoding = sys.getfilesystemencoding()
    decoded = [argument.decode(encoding, "surrogateescape") for argument in new]
    for target, start in lists:
        target[start:] = decoded


def take_thread_ids(threads, pairs):
    """threading.Thread objects remember the kernel's id of their thread"""
    for thread in threads:
        old = thread._native_id
        if old in pairs[0::2]:
            thread._native_id = pairs[2 * pairs[0::2].index(old) + 1]


def known_threads():
    """The live Thread objects; threading._active holds them by ident in all of 3.9 to 3.13"""
    threading = sys.modules.get("threading")
    if threading is None:
        return []
    return [thread for thread in list(threading._active.values())
            if getattr(thread, "_native_id", None) is not None]
