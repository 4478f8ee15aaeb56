# SPDX-License-Identifier: MIT
"""The standard streams, made anew in place for other descriptors.

CPython's create_stdio() (Python/pylifecycle.c) shapes a stream by its
descriptor: buffer size from st_blksize, line buffering on a terminal, the
position of an append. A clone may have descriptors of another kind than the
build had, so the same constructors run again, on the same objects: whoever
holds sys.stdout (a logging handler, sys.__stdout__) keeps the right one.
"""

import _io      # always loaded
import posix
import sys

STREAM_NAMES = ("stdin", "stdout", "stderr")


class Stream:
    """One standard stream: its three layers (raw is buffer under -u) and what is to be kept of it"""

    __slots__ = ("fd", "text", "buffer", "raw", "line_buffering", "write_through", "unbuffered",
                 "pending")


def stream_modes():
    """(line_buffering, write_through) of each standard stream as the interpreter made it"""
    streams = [dict.get(sys.__dict__, "__%s__" % name) for name in STREAM_NAMES]
    return [(text.line_buffering, text.write_through) if type(text) is _io.TextIOWrapper else None for text in streams]


def layers_of(text):
    """(text, buffer, raw) of an open text file that only CPython's own types make up (raw is buffer under -u), so that asking
    it runs nothing of the program; None for anything else"""
    try:
        if type(text) is not _io.TextIOWrapper:
            return None
        buffer = raw = text.buffer
        if type(buffer) in (_io.BufferedWriter, _io.BufferedReader, _io.BufferedRandom):
            raw = buffer.raw
        return (text, buffer, raw) if type(raw) is _io.FileIO and not raw.closed else None
    except (AttributeError, ValueError):    # detached, or not made yet
        return None


def find_streams(modes):
    """The three Streams, or None if the program took them apart so that they cannot be made anew"""
    streams = []
    for fd, name in enumerate(STREAM_NAMES):
        text = dict.get(sys.__dict__, "__%s__" % name)
        if text is None:        # closed at start; warmd launches only with that descriptor closed too
            continue
        layers = layers_of(text)
        if layers is None or layers[2].fileno() != fd or modes[fd] is None:
            return None
        stream = Stream()
        stream.fd, stream.pending = fd, b""
        stream.text, stream.buffer, stream.raw = layers
        if type(stream.buffer) not in (_io.BufferedWriter if fd else _io.BufferedReader, _io.FileIO):
            return None
        # what differs from the start was asked for by reconfigure(), and stays
        line_buffering, stream.unbuffered = modes[fd]       # -u shows as write_through, of stdin too
        stream.line_buffering = None if text.line_buffering == line_buffering else text.line_buffering
        stream.write_through = text.write_through
        streams.append(stream)
    return streams


def remake_raw(old, fd):
    """The FileIO at the bottom. Its __init__() keeps what it knows of being seekable (`self->seekable`
    in fileio.c), so where that has changed, another object takes its place"""
    mode = "wb" if fd else "rb"
    new = type(old)(fd, mode, closefd=False)
    if new.seekable() == old.seekable():
        name = old.name
        old.__init__(fd, mode, closefd=False)
        old.name = name
        return old
    new.name = old.name
    return new


def remake_stream(stream):
    """create_stdio() again, on the same objects; nothing may be pending in them"""
    buffer, text = stream.buffer, stream.text
    raw = remake_raw(stream.raw, stream.fd)
    if buffer is not stream.raw:
        buffer.__init__(raw, raw._blksize)
    else:
        buffer = raw
    line_buffering = stream.line_buffering
    if line_buffering is None:
        line_buffering = not stream.unbuffered and (stream.fd == 2 or raw.isatty())
    stream.raw, stream.buffer = raw, buffer
    # newline "\n" for all three: create_stdio() leaves it to None on Windows only
    text.__init__(buffer, text.encoding, text.errors, "\n", line_buffering, stream.write_through)


def set_aside_output(streams):
    """Take what the program printed and nobody flushed out of the buffers, into stream.pending. False if a buffer is
    in use at this moment: the program stands inside of a write of its own.

    There is no way to look into the buffers, so they are flushed to a memfd.
    """
    return all([set_aside(stream) for stream in streams if stream.fd != 0])


def set_aside(stream):
    raw, name = stream.raw, stream.raw.name
    memfd = posix.memfd_create("warm-pending", posix.MFD_CLOEXEC)
    try:
        raw.__init__(memfd, "wb", closefd=False)
        stream.text.flush()
        size = posix.lseek(memfd, 0, 1)
        stream.pending = posix.pread(memfd, size, 0) if size else b""
    except RuntimeError:        # reentrant call
        return False
    finally:
        raw.__init__(stream.fd, "wb", closefd=False)
        raw.name = name
        posix.close(memfd)
    if stream.pending:      # the buffered layer counted the memfd's position
        remake_stream(stream)
    return True


def put_output_back(stream):
    if not stream.pending:
        return
    stream.buffer.write(stream.pending)
    if stream.text.line_buffering and b"\n" in stream.pending:
        stream.buffer.flush()
    stream.pending = b""


def take_streams(streams, mask):
    """In a clone: make anew the streams whose bit is set, then return what was pending"""
    for stream in streams:
        if mask & (1 << stream.fd):
            remake_stream(stream)
        if stream.pending:
            put_output_back(stream)
