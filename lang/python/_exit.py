# SPDX-License-Identifier: MIT
"""Leaving a clone fast, where that cannot be told from a full finalisation.

Py_FinalizeEx() writes to nearly every page of the interpreter: 100 ms for a
program with pandas. In its place `Leaving.leave` does what the language promises:
threads joined, exit handlers run, output flushed. It returns 1 for "done" (the process ends
at once), 3 for "done" where code in C may have registered handlers with atexit(3) that matter
(any extension or ctypes library that is not known to have none: HDF5, for one, writes its
files there), or 0, and then the whole finalisation runs after all. It returns 0

- with WARM_EXIT=full in the launch's environment, under -X dev, -v, -W and whatever else
  makes finalisation print something, and when a flush fails (it is then tried
  again, and reported, by CPython itself);
- when an object is alive whose finaliser a user could see: a `__del__` in Python, a
  suspended generator or coroutine, an asyncio task that is not done, a weak reference
  with a callback. Known finalisers that only release what the kernel releases anyway
  are excepted: the tables HARMLESS_* say which, and when.

Objects from before the readiness point are not in gc.get_objects() after
gc.freeze(), so those with a finaliser are remembered there, by weak reference.
"""

import sys

DONE, NOT_DONE, DONE_BUT_FOR_C = 1, 0, 3

# packages whose parts in C leave nothing to do for exit(3); the standard library is one
SETTLED_PACKAGES = {"numpy", "pandas", "numexpr", "bottleneck", "scipy", "matplotlib", "kiwisolver",
                    "PIL", "lxml", "markupsafe", "_cffi_backend", "yaml", "simplejson", "msgpack", "regex"}

HAVE_GC = 1 << 14       # Py_TPFLAGS_HAVE_GC: others are not in gc.get_objects()

# finalisers in C, by the name of the type that defines them
HARMLESS_NATIVE = {
    "socket": lambda o: True,
    "ScandirIterator": lambda o: True,
    "Connection": lambda o: type(o).__module__ == "sqlite3",     # from 3.13 on; rolls back, as does the end
    "generator": lambda o: o.gi_frame is None or is_unstarted(o.gi_frame, getattr(o, "gi_suspended", None)),
    "coroutine": lambda o: o.cr_frame is None,      # not awaited: a warning; suspended: `finally`
    "async_generator": lambda o: o.ag_frame is None,
    "Future": lambda o: o.done() and not o._log_traceback,
    "Task": lambda o: o.done() and not o._log_traceback,
    "_asyncio.Future": lambda o: o.done() and not o._log_traceback,
    "_asyncio.Task": lambda o: o.done() and not o._log_traceback,
}

# finalisers in Python, by module and qualified name
HARMLESS_PYTHON = {
    ("asyncio.base_events", "BaseEventLoop.__del__"): lambda o: o.is_closed(),
    ("asyncio.selector_events", "_SelectorTransport.__del__"): lambda o: o._sock is None,
    ("asyncio.base_subprocess", "BaseSubprocessTransport.__del__"): lambda o: o._closed,
    ("asyncio.unix_events", "_UnixReadPipeTransport.__del__"): lambda o: o._pipe is None,
    ("asyncio.unix_events", "_UnixWritePipeTransport.__del__"): lambda o: o._pipe is None,
    ("subprocess", "Popen.__del__"): lambda o: True,    # polls, and warns of a running child (see is_noisy)
    ("zipfile", "ZipFile.__del__"): lambda o: o.fp is None or o.mode == "r",
    ("tempfile", "_TemporaryFileCloser.__del__"):
        lambda o: getattr(o, "close_called", False) and getattr(o, "cleanup_called", True),
}

# callbacks of weak references that only keep a container tidy
TIDY_MODULES = {"weakref", "_weakrefset", "abc", "_py_abc", "functools", "concurrent.futures.thread",
                "concurrent.futures.process", "multiprocessing.util", "logging", "copyreg", "threading"}

# those in C, which belong to no module: of abc's caches and of threading.local
TIDY_NATIVE = {"_destroy", "clear_locals", "_localdummy_destroyed"}


def is_unstarted(frame, suspended):
    """3.9 and 3.10 tell by f_lasti; 3.11 added gi_suspended, and f_lasti is then past the generator's creation"""
    return frame.f_lasti < 0 if suspended is None else not suspended


def finalizer_of(kind):
    """The __del__ of a type; types in C show their tp_finalize so"""
    try:
        return getattr(kind, "__del__", None)
    except Exception:       # a metaclass with opinions
        return True


class Leaving:
    def __init__(self, gc, weakref):
        self.gc = gc
        self.ref = weakref.ref
        self.full = False           # WARM_EXIT=full
        self.always_full = False    # something from before the readiness point needs it
        self.remembered = ()
        self.modules = 0            # how many were loaded at the readiness point
        self.value = DONE
        self.holders = ()           # objects of ours that hold some of the program's

    # At the readiness point

    def remember(self, objects):
        self.modules = len(sys.modules)
        if any(needs_c_exit(name, module) for name, module in list(sys.modules.items())) or (
                any(is_foreign_library(o) for o in objects)):
            self.value = DONE_BUT_FOR_C
        kept = []
        for o in objects:
            finalizer = finalizer_of(type(o))
            if finalizer is None:
                if isinstance(o, type):
                    self.remember_type(o)
                elif type(o) is self.ref and not is_tidy(o):
                    self.always_full = True
                continue
            try:
                kept.append(self.ref(o))
            except TypeError:       # __slots__ without __weakref__
                self.always_full = True
        self.remembered = tuple(kept)

    def remember_type(self, kind):
        if is_invisible(kind):
            self.always_full = True

    # At the end of a clone; called from C in the place of Py_FinalizeEx()

    def leave(self):
        """Must not raise: Py_FinalizeEx() may run next"""
        try:
            if self.full or self.always_full or is_noisy(self.gc):
                return self.give_up()
            join_threads(self.ref)
            run_exit_handlers()
            if self.is_unfaithful():
                return self.give_up()
            return self.value
        except BaseException:
            return self.give_up()

    def give_up(self):
        """Let finalisation find everything: what was frozen at the readiness point, and
        what we hold. A stream that we held would not be freed, and only that flushes what a __del__ prints"""
        for holder in self.holders:
            holder.__dict__.clear()
        self.holders = ()
        self.gc.unfreeze()
        return NOT_DONE

    def is_unfaithful(self):
        """Flushes; True if a full finalisation could be seen from outside, or failed flushes have to be reported"""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()      # failing: leave() gives up, and flush_std_files() reports it
        objects = self.gc.get_objects()
        kinds = set(map(type, objects))
        self.look_at_c(kinds, objects)
        finalizers = {kind: f for kind, f in [(kind, finalizer_of(kind)) for kind in kinds] if f is not None}
        if any(issubclass(kind, type) for kind in kinds):
            if any(isinstance(o, type) and is_invisible(o) for o in objects):
                return True
        if self.ref in kinds and any(type(o) is self.ref and not is_tidy(o) for o in objects):
            return True
        last = [o for o in objects if type(o) in finalizers] if finalizers else []
        old = [o for o in [r() for r in self.remembered] if o is not None]
        files = []
        for o in last + old:
            if not is_harmless(o, finalizer_of(type(o)), files):
                return True
        flush_files(files)
        return False


    def look_at_c(self, kinds, objects):
        """What has been loaded since the readiness point; a look at the others would write to their pages"""
        if len(sys.modules) < self.modules:
            self.value = DONE_BUT_FOR_C     # some were removed: no telling which are new
        new = len(sys.modules) - self.modules
        for name in reversed(sys.modules):
            if new <= 0 or self.value != DONE:
                break
            new -= 1
            if needs_c_exit(name, sys.modules[name]):
                self.value = DONE_BUT_FOR_C
        if any(kind.__module__ == "ctypes" for kind in kinds):
            if any(is_foreign_library(o) for o in objects):
                self.value = DONE_BUT_FOR_C


def needs_c_exit(name, module):
    """An extension of neither the standard library (lib-dynload) nor a package that is known"""
    file = getattr(module, "__file__", None)
    return (type(file) is str and file.endswith(".so") and "/lib-dynload/" not in file
            and name.partition(".")[0] not in SETTLED_PACKAGES)


def is_foreign_library(o):
    """A library that ctypes has opened; its own handle of the interpreter has no name"""
    kind = type(o)
    return kind.__module__ == "ctypes" and kind.__name__.endswith("DLL") and o._name is not None


def is_noisy(gc):
    """Would a finalisation print, or warn, by itself?"""
    flags = sys.flags
    if flags.dev_mode or flags.verbose or flags.inspect or sys.warnoptions:
        return True
    if gc.get_debug() or gc.garbage or "tracemalloc" in sys._xoptions or "showrefcount" in sys._xoptions:
        return True
    import _warnings        # always loaded
    filters = getattr(sys.modules.get("warnings"), "filters", _warnings.filters)
    for action, message, category, module, _ in filters:
        if issubclass(ResourceWarning, category) and message is None and module is None:
            return action != "ignore"
    return True


def join_threads(ref):
    """What wait_for_thread_shutdown() does"""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    if len(threading._active) > 1:
        join_reporting(threading, ref)
    else:
        threading._shutdown()


def join_reporting(threading, ref):
    """While it waits, threading._shutdown() may be interrupted by Ctrl-C, which
    CPython reports by PyErr_WriteUnraisable(threading) and then goes on. The
    callback of a weak reference is reported in the same way, by its repr; and one that is
    an object in C (methodcaller) leaves no frame of ours in the traceback.
    """
    from _operator import methodcaller      # threading has loaded it

    class Callback:
        __call__ = methodcaller("_shutdown")

        def __repr__(self):
            return repr(threading)

    class Reference(ref):
        pass

    target = Callback()
    reference = Reference(target, Callback())
    reference._shutdown = threading._shutdown
    del target


def run_exit_handlers():
    atexit = sys.modules.get("atexit")
    if atexit is not None:
        try:
            atexit._run_exitfuncs()     # reports exceptions as at exit, and 3.9 raises the last one too
        except BaseException:
            pass


def is_invisible(kind):
    """A class in Python with __del__ whose instances the collector doesn't know (`__slots__ = ()`)"""
    finalizer = finalizer_of(kind)
    return finalizer is not None and not kind.__flags__ & HAVE_GC and not hasattr(finalizer, "__objclass__")


def is_tidy(reference):
    callback = reference.__callback__
    if callback is None:
        return True
    if type(getattr(callback, "__self__", None)) is type(reference):
        return True     # C keeps its own house: _abc's _destroy, _thread's _localdummy_destroyed
    if type(callback) is type(len):
        return callback.__module__ is None and callback.__name__ in TIDY_NATIVE
    module = getattr(callback, "__module__", None)      # for an instance: that of its class
    return module in TIDY_MODULES or type(callback).__module__ == "weakref"


def is_harmless(o, finalizer, files):
    """Is it the same for the outside whether o is finalised? Buffered files are put into `files` to flush"""
    owner = getattr(finalizer, "__objclass__", None)
    if owner is None:
        key = getattr(finalizer, "__module__", None), getattr(finalizer, "__qualname__", None)
        known = HARMLESS_PYTHON.get(key)
        return known is not None and bool(known(o))
    if owner.__name__ == "_IOBase":
        return is_plain_file(o, files)
    known = HARMLESS_NATIVE.get(owner.__name__)
    return known is not None and bool(known(o))


def is_plain_file(o, files):
    import _io      # always loaded
    if type(o) not in (_io.TextIOWrapper, _io.BufferedWriter, _io.BufferedRandom, _io.BufferedReader,
                       _io.FileIO, _io.BytesIO, _io.StringIO, _io.BufferedRWPair):
        return False        # close() of a class in Python may write, as gzip's does
    try:
        if not o.closed and type(o) is not _io.FileIO:
            files.append(o)
    except ValueError:      # detached
        pass
    return True


def flush_files(files):
    """Text before what is beneath it. Failing: leave() gives up, as with the standard streams"""
    import _io
    for text in (True, False):
        for f in files:
            if (type(f) is _io.TextIOWrapper) == text and not f.closed:
                f.flush()
