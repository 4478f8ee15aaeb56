#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ten clones of one template at a time, each with arguments and a pipe of its own.

    cat > greet.py <<END
    import json, sys
    print(json.dumps({"greeting": sys.argv[1]}))
    END
    warm build --name greet --pool 10 -- python3 greet.py nobody
    python3 launch.py greet python3 greet.py
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))     # an installed package needs no such line
from warm.launch import DEVNULL, Warm


def run(warm, template, command):
    """Launch, read all it prints, wait. Return: (exit status, output, seconds)"""
    start = time.monotonic()
    ours, theirs = os.pipe()
    with open(ours, "rb") as output:
        try:
            clone = warm.launch(template, command, stdin=DEVNULL, stdout=theirs)
        finally:
            os.close(theirs)
        data = output.read()
    return clone.wait(), data.decode(), time.monotonic() - start


def main():
    template, command = sys.argv[1], sys.argv[2:]
    good = True
    with Warm() as warm, ThreadPoolExecutor(10) as pool:
        futures = [pool.submit(run, warm, template, command + [word]) for word in "one two three four five six seven eight nine ten".split()]
        for future in futures:
            status, output, seconds = future.result()
            print("%6.2f ms, exit status %d: %s" % (seconds * 1000, status, output.strip()))
            good = good and status == 0
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: launch.py TEMPLATE COMMAND...")
    try:
        sys.exit(main())
    except OSError as e:
        sys.exit("launch.py: %s" % e.strerror)
