# SPDX-License-Identifier: MIT
"""Which clone is this? Found where the launch left it, so that it is known at every readiness point, also to a
program that takes no launch context (main, import, idle, delay), and to one that imports this package later."""

import os
import sys

from . import _context

PAIRS_MAX = 65536       # bytes of thread ids that are looked behind


def find_generation():
    """The generation of the clone that this process is, or is a child of; 0 in any other.

    In a clone the raw context (docs/adaptor.md) lies right in front of the process's arguments: its header, pairs of thread ids, then
    what /proc/self/cmdline shows.
    """
    try:
        with open("/proc/self/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()       # from the third on: proc_pid_stat(5)
        start, end = int(fields[48 - 3]), int(fields[51 - 3])
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, IndexError, ValueError):
        return 0        # not dumpable, or no /proc
    try:
        return search(memory, start, end)
    finally:
        os.close(memory)


def search(memory, start, end):
    page = os.sysconf("SC_PAGESIZE")
    before, at = b"", start
    while len(before) < PAIRS_MAX:
        low = (at - 1) // page * page
        try:
            before = os.pread(memory, at - low, low) + before
        except OSError:
            return 0        # nothing is mapped there
        at = low
        for pairs in range((len(before) - _context.HEADER_SIZE) // 8 + 1):
            header = before[len(before) - _context.HEADER_SIZE - 8 * pairs:]
            if is_header(header, pairs, end - start):
                return int.from_bytes(header[24:32], sys.byteorder)
    return 0


def is_header(raw, pairs, strings):
    magic, size = (int.from_bytes(raw[at:at + 4], sys.byteorder) for at in (0, 4))
    return (magic == _context.CONTEXT_MAGIC and int.from_bytes(raw[16:20], sys.byteorder) == pairs
            and size == _context.HEADER_SIZE + 8 * pairs + strings)
