#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""own_work.py SCRIPT: what a script does after its imports and definitions, in microseconds.

No warm launch can be faster than this, for it is the program itself that is running: the floor under
`import` readiness. The script's last statement must be the usual `if __name__ == "__main__":`; the
time of just that statement is printed, first execution included, with stdout discarded.
"""
import ast
import os
import sys
import time


def main():
    script = sys.argv[1]
    with open(script, encoding="utf-8") as f:
        tree = ast.parse(f.read(), script)
    body, last = tree.body[:-1], tree.body[-1]
    if not isinstance(last, ast.If):
        sys.exit(f"own_work.py: {script} does not end in a guarded call of main")
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    scope = {"__name__": "__main__", "__file__": script}
    exec(compile(ast.Module(body, []), script, "exec"), scope)
    rest = compile(ast.Module([last], []), script, "exec")
    real, sys.stdout = sys.stdout, open(os.devnull, "w", encoding="utf-8")
    start = time.perf_counter_ns()
    try:
        exec(rest, scope)
    except SystemExit:
        pass
    sys.stdout.flush()
    spent = time.perf_counter_ns() - start
    print(spent // 1000, file=real)


if __name__ == "__main__":
    main()
