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

import _io          # always loaded
import sys
import _warnings    # always loaded

DONE, NOT_DONE, DONE_BUT_FOR_C = 1, 0, 3

# packages whose parts in C leave nothing to do for exit(3); the standard library is one
SETTLED_PACKAGES = {"numpy", "pandas", "numexpr", "bottleneck", "scipy", "matplotlib", "kiwisolver",
                    "PIL", "lxml", "markupsafe", "_cffi_backend", "yaml", "simplejson", "msgpack", "regex"}



class _Class:
    def method(self):
        pass


Method = type(_Class().method)

HAVE_GC = 1 << 14       # Py_TPFLAGS_HAVE_GC: others are not in gc.get_objects()
HEAP_TYPE, IMMUTABLE_TYPE = 1 << 9, 1 << 8      # the latter since 3.10, unused before

# finalisers in C, by the name of the type that defines them; (o, that type)
HARMLESS_NATIVE = {
    "socket": lambda o, kind: True,
    "ScandirIterator": lambda o, kind: True,
    "Connection": lambda o, kind: module_of_type(kind) == "sqlite3",     # from 3.13 on; rolls back, as does the end
    "generator": lambda o, kind: o.gi_frame is None or is_unstarted(o.gi_frame, getattr(o, "gi_suspended", None)),
    "coroutine": lambda o, kind: o.cr_frame is None,      # not awaited: a warning; suspended: `finally`
    "async_generator": lambda o, kind: o.ag_frame is None,
    "Future": lambda o, kind: is_done(o, kind),
    "Task": lambda o, kind: is_done(o, kind),
    "_asyncio.Future": lambda o, kind: is_done(o, kind),
    "_asyncio.Task": lambda o, kind: is_done(o, kind),
}

# finalisers in Python, by module and qualified name; each looks at what lies in the instance
HARMLESS_PYTHON = {
    ("asyncio.base_events", "BaseEventLoop.__del__"): lambda o: value_of(o, "_closed") is True,
    ("asyncio.selector_events", "_SelectorTransport.__del__"): lambda o: value_of(o, "_sock", o) is None,
    ("asyncio.base_subprocess", "BaseSubprocessTransport.__del__"): lambda o: value_of(o, "_closed") is True,
    ("asyncio.unix_events", "_UnixReadPipeTransport.__del__"): lambda o: value_of(o, "_pipe", o) is None,
    ("asyncio.unix_events", "_UnixWritePipeTransport.__del__"): lambda o: value_of(o, "_pipe", o) is None,
    ("subprocess", "Popen.__del__"): lambda o: True,    # polls, and warns of a running child (see is_noisy)
    ("zipfile", "ZipFile.__del__"): lambda o: value_of(o, "fp", o) is None or value_of(o, "mode") == "r",
    ("tempfile", "_TemporaryFileCloser.__del__"):
        lambda o: value_of(o, "close_called") is True and value_of(o, "cleanup_called", True) is True,
}

# callbacks of weak references that only keep a container tidy
TIDY_MODULES = {"weakref", "_weakrefset", "abc", "_py_abc", "functools", "concurrent.futures.thread",
                "concurrent.futures.process", "multiprocessing.util", "logging", "copyreg", "threading"}

# those in C, which belong to no module: of abc's caches and of threading.local
TIDY_NATIVE = {"_destroy", "clear_locals", "_localdummy_destroyed"}


def is_unstarted(frame, suspended):
    """3.9 and 3.10 tell by f_lasti; 3.11 added gi_suspended, and f_lasti is then past the generator's creation"""
    return frame.f_lasti < 0 if suspended is None else not suspended


def is_done(o, kind):
    """An asyncio Future or Task of C, or one that is derived from it"""
    names = names_of_type(kind)
    return names["done"](o) and not names["_log_traceback"].__get__(o)


def finalizer_of(kind):
    """The __del__ of a type, unbound; types in C show their tp_finalize so"""
    return type_attribute(kind, "__del__")


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
        self.plain = frozenset()    # id() of the types that have no finaliser, and never will
        self.kinds = ()             # these types, so that no other gets such an id
        self.filters = None         # of warnings, if they keep quiet
        self.modules = sys.modules
        self.loaded = 0             # how many there were
        self.garbage, self.get_debug, self.get_objects = gc.garbage, gc.get_debug, gc.get_objects

    # At the readiness point

    def remember(self, objects):
        self.loaded = len(self.modules)
        if any(needs_c_exit(name, module) for name, module in list(self.modules.items())) or (
                any(is_foreign_library(o) for o in objects)):
            self.value = DONE_BUT_FOR_C
        self.always_full = is_noisy_interpreter()
        filters = warning_filters()
        self.filters = None if show_resource_warnings(filters) else list(filters)
        kinds = {id(kind): kind for kind in map(type, objects)}
        finalizers = {at: finalizer_of(kind) for at, kind in kinds.items()}
        self.kinds = tuple([kind for kind in kinds.values() if is_plain(kind) and kind is not self.ref])
        self.plain = frozenset(map(id, self.kinds))
        kept = []
        for o in objects:
            kind = type(o)
            if finalizers[id(kind)] is None:
                if kind is self.ref:
                    if not is_tidy(o):
                        self.always_full = True
                elif is_subtype(type, kind):
                    self.remember_type(o)
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
        layers = [parts for parts in [layers_of(r()) for r in kept] if parts and parts[1] is not parts[2]]
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
            filters = warning_filters()
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
            others = set(map(id, map(type, objects))).difference(self.plain)
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
        self.filters = None
        self.kinds = ()
        self.modules = {}
        self.gc.unfreeze()
        return NOT_DONE

    def is_unfaithful(self, objects, others, files):
        """True if a full finalisation could be seen from outside; `others`: id() of the types of objects that are not plain"""
        kinds = {id(kind): kind for kind in map(type, objects) if id(kind) in others}
        self.look_at_c(kinds.values(), objects)
        if any(is_subtype(type, kind) for kind in kinds.values()):
            if any(is_instance(o, type) and is_invisible(o) for o in objects):
                return True
        if id(self.ref) in others and any(type(o) is self.ref and not is_tidy(o) for o in objects):
            return True
        finalizers = {at: finalizer_of(kind) for at, kind in kinds.items() if finalizer_of(kind) is not None}
        for o in [o for o in objects if id(type(o)) in finalizers] if finalizers else ():
            if not is_harmless(o, finalizers[id(type(o))], files):
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
        if any(module_of_type(kind) == "ctypes" for kind in kinds):
            if any(is_foreign_library(o) for o in objects):
                self.value = DONE_BUT_FOR_C


def is_plain(kind):
    """A type without finaliser that cannot be given one, nor can its bases (set attributes of it, that is)"""
    return (not is_subtype(type, kind) and finalizer_of(kind) is None
            and all(flags_of(base) & (HEAP_TYPE | IMMUTABLE_TYPE) != HEAP_TYPE for base in mro_of(kind)))


def needs_c_exit(name, module):
    """An extension of neither the standard library (lib-dynload) nor a package that is known"""
    file = names_of(module).get("__file__")
    return (type(file) is str and file.endswith(".so") and "/lib-dynload/" not in file
            and type(name) is str and name.partition(".")[0] not in SETTLED_PACKAGES)


def is_foreign_library(o):
    """A library that ctypes has opened; its own handle of the interpreter has no name"""
    kind = type(o)
    return (module_of_type(kind) == "ctypes" and name_of_type(kind).endswith("DLL")
            and value_of(o, "_name") is not None)


def warning_filters():
    return names_of_module("warnings").get("filters", _warnings.filters)


def is_noisy_interpreter():
    """Was it started so that a finalisation prints?"""
    flags = sys.flags
    return bool(flags.dev_mode or flags.verbose or flags.inspect or sys.warnoptions
                or "tracemalloc" in sys._xoptions or "showrefcount" in sys._xoptions)


def show_resource_warnings(filters):
    """Would a finalisation warn?"""
    for action, message, category, module, _ in filters:
        if is_instance(category, type) and is_subtype(category, ResourceWarning) and message is None and module is None:
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
    return finalizer is not None and not flags_of(kind) & HAVE_GC and type(finalizer) is not Wrapper


def is_tidy(reference):
    callback = reference.__callback__
    if callback is None:
        return True
    if type(callback) is BuiltinFunction:
        # C keeps its own house: _abc's _destroy, _thread's _localdummy_destroyed
        return type(callback.__self__) is type(reference) or (
            callback.__module__ is None and callback.__name__ in TIDY_NATIVE)
    if type(callback) is Method:
        callback = callback.__func__
    if type(callback) is Function:
        return type(callback.__module__) is str and callback.__module__ in TIDY_MODULES
    # an instance; partial() is one, and calls whatever it was given
    return module_of_type(type(callback)) in TIDY_MODULES and module_of_type(type(callback)) != "functools"


def is_harmless(o, finalizer, files):
    """Is it the same for the outside whether o is finalised? Buffered files are put into `files` to flush"""
    if type(finalizer) is Wrapper:
        owner = finalizer.__objclass__
        if name_of_type(owner) == "_IOBase":
            return is_plain_file(o, files)
        known = HARMLESS_NATIVE.get(name_of_type(owner))
        return known is not None and bool(known(o, owner))
    if type(finalizer) is not Function or type(finalizer.__module__) is not str:
        return False
    known = HARMLESS_PYTHON.get((finalizer.__module__, finalizer.__qualname__))
    return known is not None and bool(known(o))


def is_plain_file(o, files):
    """Of CPython's own types all the way down: close() of a class in Python may write, as gzip's does"""
    try:
        raw = o
        while type(raw) in (_io.TextIOWrapper, _io.BufferedWriter, _io.BufferedRandom, _io.BufferedReader):
            raw = raw.buffer if type(raw) is _io.TextIOWrapper else raw.raw
        if raw is None:         # what was beneath has been detached
            return True
        if type(raw) not in (_io.FileIO, _io.BytesIO, _io.StringIO, _io.BufferedRWPair):
            return False
        if not raw.closed and type(o) is not _io.FileIO:
            files.append(o)
    except (AttributeError, ValueError):      # detached
        pass
    return True


def flush_files(files):
    """Text before what is beneath it. Failing: leave() gives up, as with the standard streams"""
    for text in (True, False):
        for f in files:
            if (type(f) is _io.TextIOWrapper) == text and not f.closed:
                f.flush()
