"""A process with pandas that forks for each line on stdin and prints "T0 T1": before the call, and in the child.

    pandas_fork.py raw FORK_PROBE.so   the bare system call, and the child's first instruction (clones/fork_probe.c)
    pandas_fork.py os                  os.fork(), and the child's first bytecode
    pandas_fork.py forkserver          multiprocessing's, which has pandas: Process.start(), and the target's first bytecode
"""
import ctypes
import multiprocessing
import os
import sys
from time import CLOCK_MONOTONIC, clock_gettime_ns

import pandas  # noqa: F401, what the process holds


def raw(probe):
    times = (ctypes.c_uint64 * 2)()
    if probe.fork_probe(times) < 0:
        raise OSError("fork_probe() failed")
    return times[0], times[1]


def plain():
    end, other = os.pipe()
    start = clock_gettime_ns(CLOCK_MONOTONIC)
    pid = os.fork()
    if pid == 0:
        now = clock_gettime_ns(CLOCK_MONOTONIC)
        os.write(other, str(now).encode())
        os._exit(0)
    first = int(os.read(end, 64))
    os.waitpid(pid, 0)
    os.close(end)
    os.close(other)
    return start, first


def target(connection):
    now = clock_gettime_ns(CLOCK_MONOTONIC)
    connection.send(now)


def by_forkserver(context):
    end, other = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(other,))
    start = clock_gettime_ns(CLOCK_MONOTONIC)
    process.start()
    other.close()
    first = end.recv()
    process.join()
    end.close()
    return start, first


def main():
    way = sys.argv[1]
    if way == "raw":
        fork, argument = raw, (ctypes.CDLL(sys.argv[2]),)
    elif way == "os":
        fork, argument = plain, ()
    else:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["pandas", "__main__"])
        fork, argument = by_forkserver, (context,)
    for _ in sys.stdin:
        print(*fork(*argument), flush=True)


if __name__ == "__main__":
    main()
