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
HEAP_TYPE, IMMUTABLE_TYPE = 1 << 9, 1 << 8      # the latter since 3.10, unused before

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
    """
    An end costs page faults before all: each object that is looked at is another page, copied for its
    reference count. So what cannot change is decided at the readiness point, leave() is one
    function for the usual end, and what needs a closer look is looked at elsewhere.
    """

    def __init__(self, gc, weakref):
        self.gc = gc
        self.ref = weakref.ref
        self.full = False           # WARM_EXIT=full
        self.always_full = False    # something from before the readiness point needs it
        self.value = DONE
        self.holders = ()           # objects of ours that hold some of the program's
        # by remember(), at the readiness point
        self.remembered = ()        # weak references to objects with a finaliser
        self.texts = ()             # to open text files, standard streams among them: what is beneath is flushed with them
        self.streams = ()           # to these, and what is beneath
        self.plain = frozenset()    # types that have no finaliser, and never will
        self.filters = None         # of warnings, if they keep quiet
        self.modules = sys.modules
        self.loaded = 0             # how many there were
        self.c_warnings = None
        self.garbage, self.get_debug, self.get_objects = gc.garbage, gc.get_debug, gc.get_objects

    # At the readiness point

    def remember(self, objects):
        self.loaded = len(self.modules)
        if any(needs_c_exit(name, module) for name, module in list(self.modules.items())) or (
                any(is_foreign_library(o) for o in objects)):
            self.value = DONE_BUT_FOR_C
        import _warnings        # always loaded
        self.c_warnings = _warnings
        self.always_full = is_noisy_interpreter()
        filters = getattr(self.modules.get("warnings"), "filters", _warnings.filters)
        self.filters = None if show_resource_warnings(filters) else list(filters)
        self.plain = frozenset([kind for kind in set(map(type, objects)) if is_plain(kind) and kind is not self.ref])
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
        self.remember_files(kept)

    def remember_type(self, kind):
        if is_invisible(kind):
            self.always_full = True

    def remember_files(self, kept):
        layers = [parts for parts in [layers_of(r()) for r in kept] if parts]
        ids = {id(part) for parts in layers for part in parts}
        self.texts = tuple([self.ref(parts[0]) for parts in layers])
        self.streams = tuple([r for r in kept if id(r()) in ids])
        self.remembered = tuple([r for r in kept if id(r()) not in ids])

    # At the end of a clone; called from C in the place of Py_FinalizeEx()

    def leave(self):
        """Must not raise: Py_FinalizeEx() may run next"""
        try:
            if self.full or self.always_full or self.get_debug() or self.garbage:
                return self.give_up()
            modules = self.modules
            filters = modules.get("warnings", self.c_warnings).filters
            if filters != self.filters and show_resource_warnings(filters):
                return self.give_up()
            threading = modules.get("threading")
            if threading is not None:       # what wait_for_thread_shutdown() does
                if len(threading._active) > 1:
                    join_reporting(threading, self.ref)
                else:
                    threading._shutdown()
            atexit = modules.get("atexit")
            if atexit is not None:
                try:
                    atexit._run_exitfuncs()     # reports exceptions as at exit, and 3.9 raises the last one too
                except BaseException:
                    pass
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not getattr(stream, "closed", False):
                    stream.flush()      # failing: we give up, and flush_std_files() reports it
            objects = self.get_objects()
            others = set(map(type, objects)).difference(self.plain)
            files = []
            if others or self.remembered or len(modules) != self.loaded:
                if self.is_unfaithful(objects, others, files):
                    return self.give_up()
            try:
                for text in self.texts:
                    text().flush()
            except (AttributeError, ValueError):    # gone, closed or detached
                if self.is_any_harmful(self.streams, files):
                    return self.give_up()
            if files:
                flush_files(files)
            return self.value
        except BaseException:
            return self.give_up()

    def give_up(self):
        """Let finalisation find everything: what was frozen at the readiness point, and
        what we hold. A stream that we held would not be freed, and only that flushes what a __del__ prints"""
        for holder in self.holders:
            holder.__dict__.clear()
        self.holders = self.remembered = self.texts = self.streams = ()
        self.filters = self.c_warnings = None
        self.modules = {}
        self.gc.unfreeze()
        return NOT_DONE

    def is_unfaithful(self, objects, others, files):
        """True if a full finalisation could be seen from outside; `others`: the types of objects that are not plain"""
        self.look_at_c(others, objects)
        if any(issubclass(kind, type) for kind in others):
            if any(isinstance(o, type) and is_invisible(o) for o in objects):
                return True
        if self.ref in others and any(type(o) is self.ref and not is_tidy(o) for o in objects):
            return True
        kinds = {kind for kind in others if finalizer_of(kind) is not None}
        for o in [o for o in objects if type(o) in kinds] if kinds else ():
            if not is_harmless(o, finalizer_of(type(o)), files):
                return True
        return self.is_any_harmful(self.remembered, files)

    def is_any_harmful(self, references, files):
        objects = [o for o in [r() for r in references] if o is not None]
        return any(not is_harmless(o, finalizer_of(type(o)), files) for o in objects)

    def look_at_c(self, kinds, objects):
        """What has been loaded since the readiness point; a look at the others would write to their pages"""
        if len(self.modules) < self.loaded:
            self.value = DONE_BUT_FOR_C     # some were removed: no telling which are new
        new = len(self.modules) - self.loaded
        for name in reversed(self.modules):
            if new <= 0 or self.value != DONE:
                break
            new -= 1
            if needs_c_exit(name, self.modules[name]):
                self.value = DONE_BUT_FOR_C
        if any(kind.__module__ == "ctypes" for kind in kinds):
            if any(is_foreign_library(o) for o in objects):
                self.value = DONE_BUT_FOR_C


def is_plain(kind):
    """A type without finaliser that cannot be given one, nor can its bases (set attributes of it, that is)"""
    return (not issubclass(kind, type) and finalizer_of(kind) is None
            and all(base.__flags__ & (HEAP_TYPE | IMMUTABLE_TYPE) != HEAP_TYPE for base in kind.__mro__))


def needs_c_exit(name, module):
    """An extension of neither the standard library (lib-dynload) nor a package that is known"""
    file = getattr(module, "__file__", None)
    return (type(file) is str and file.endswith(".so") and "/lib-dynload/" not in file
            and name.partition(".")[0] not in SETTLED_PACKAGES)


def is_foreign_library(o):
    """A library that ctypes has opened; its own handle of the interpreter has no name"""
    kind = type(o)
    return kind.__module__ == "ctypes" and kind.__name__.endswith("DLL") and o._name is not None


def is_noisy_interpreter():
    """Was it started so that a finalisation prints?"""
    flags = sys.flags
    return bool(flags.dev_mode or flags.verbose or flags.inspect or sys.warnoptions
                or "tracemalloc" in sys._xoptions or "showrefcount" in sys._xoptions)


def show_resource_warnings(filters):
    """Would a finalisation warn?"""
    for action, message, category, module, _ in filters:
        if issubclass(ResourceWarning, category) and message is None and module is None:
            return action != "ignore"
    return True


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


def layers_of(o):
    """(text, binary, raw) of an open text file that only CPython's own types make up; None for anything else"""
    import _io      # always loaded
    try:
        if (type(o) is _io.TextIOWrapper and not o.closed and type(o.buffer.raw) is _io.FileIO
                and type(o.buffer) in (_io.BufferedWriter, _io.BufferedReader, _io.BufferedRandom)):
            return o, o.buffer, o.buffer.raw
    except (AttributeError, ValueError):    # detached
        pass
    return None


def flush_files(files):
    """Text before what is beneath it. Failing: leave() gives up, as with the standard streams"""
    import _io
    for text in (True, False):
        for f in files:
            if (type(f) is _io.TextIOWrapper) == text and not f.closed:
                f.flush()
