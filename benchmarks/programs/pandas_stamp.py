"""Says when the first bytecode after its import of pandas ran, with the arguments and the environment that it had."""
import os
import sys
from time import CLOCK_MONOTONIC, clock_gettime_ns

import pandas  # noqa: F401, what the template holds

now = clock_gettime_ns(CLOCK_MONOTONIC)
os.write(1, f"{now} {sys.argv[-1]} {os.environ.get('CLONE_BENCH')}\n".encode())
