# SPDX-License-Identifier: MIT
"""warm.ready(): say where a program is ready to be cloned.

    import warm
    model = load_model()        # slow; done once
    warm.ready()                # every launch continues here
    serve(model)

Outside warm it returns False at once. In a clone it returns True, with the arguments,
environment, directory and standard streams of the launch in place.

    warm.register_before_snapshot(close_database)   # in reverse order
    warm.register_after_restore(open_database)      # in order
    warm.generation()       # a number that no other clone has, 0 outside warm

Import it before seeding `random`: that is how a seed of the program's is told from one of the
system's, which is drawn anew in each clone.
"""

import _signal
import gc
import os
import sys

from . import _context, _generation, _stdio, _unique

__all__ = ["ready", "register_before_snapshot", "register_after_restore", "generation"]

_before, _after = [], []
_number = 0
_leading = 1
_unique_state = _unique.Uniqueness()
_modes = _stdio.stream_modes()


def ready():
    """The readiness point. True in a clone; False, at once, where the program runs by itself"""
    name = os.environ.get("WARM_FD")
    if name is None:
        return False
    fd = int(name)
    del os.environ["WARM_FD"]       # no child of ours is to say it is ready
    for function in reversed(_before):
        function()
    if generation():        # a clone already, made in front of a call that no build makes
        os.close(fd)
    else:
        _snapshot(fd)
    for function in _after:
        function()
    return True


def register_before_snapshot(function):
    """Call function() at the readiness point, last registered first. Returns it, so it can decorate"""
    _before.append(function)
    return function


def register_after_restore(function):
    """Call function() in each clone, first registered first. Returns it, so it can decorate"""
    _after.append(function)
    return function


def generation():
    """Differs in every clone of this boot; 0 before the readiness point, and outside warm.

    At any readiness point, with or without ready(). Keep it beside what must not be shared, and make that anew when
    it has changed. Once it is known it costs nothing; until then the process looks for it, some 30 us.
    """
    global _number
    if not _number:
        _number = _generation.find_generation()
    return _number


def _snapshot(fd):
    global _number
    data = os.environ._data
    before, writes = _context.caller_environment(data)
    lines = [b"CONTEXT=raw"]
    streams = _stdio.find_streams(_modes)
    if streams is not None:
        if _stdio.set_aside_output(streams):
            lines.append(b"STDIO=1")
        else:
            _stdio.take_streams(streams, 0)
            streams = None
    threads = _context.known_threads()
    _unique_state.unwatch()
    _unique_state.settle(gc.get_objects())
    handled = [n for n in _signal.valid_signals() if callable(_signal.getsignal(n))]
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, handled)
    _context.prepare_heap()
    gc.freeze()
    _context.send_lines(fd, lines + [b"READY=1"])
    context = _context.parse_context(_context.read_context(fd))
    _number = context.generation
    _stdio.take_streams(streams or (), context.stdio)
    # the program's own changes to the environment are not told from its caller's: the launch's counts
    _context.take_environment(data, before, context.env, writes)
    lists = [(sys.argv, 1)] + ([(sys.orig_argv, _leading)] if hasattr(sys, "orig_argv") else [])
    _context.take_arguments(None, context.argv[_leading:], lists)
    _context.take_thread_ids(threads, context.threads)
    _unique_state.refresh()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _own_words():
    """How many words of the process's argv are the interpreter's and the script's"""
    if hasattr(sys, "orig_argv"):       # since 3.10
        words = len(sys.orig_argv)
    else:
        with open("/proc/self/cmdline", "rb") as f:
            words = f.read().count(b"\0")
    return words - max(len(sys.argv) - 1, 0)


if "WARM_FD" in os.environ:
    import random       # noqa: F401, so that its seeding is seen from now on
    _leading = _own_words()
    _unique_state.watch_loaded()
