# SPDX-License-Identifier: MIT
"""What must not be the same in two clones: random state, keys, times and pids kept by modules.

A generator that was seeded by the system is seeded anew in each clone. One that
the program seeded itself keeps its state: that is what it asked for. To tell
them apart, seeding is recorded while the program comes to its readiness point.
"""

import posix
import sys

if __name__ != "warm_adaptor":
    from ._looks import Function, is_instance, loaded_modules, mro_of, names_of_module, own_names
    from ._numpy import NumpyRandom, fill_line


def words_to_bytes(words):
    return b"".join([word.to_bytes(4, sys.byteorder) for word in words])


class Uniqueness:
    def __init__(self):
        self.seeded = set()             # id() of each random.Random with a state the program chose
        self.authkey = None             # multiprocessing's, as made at import
        self.restore = []               # undo what was put into modules
        self.pid = posix.getpid()
        self.randoms = ()
        self.numpy = NumpyRandom(self.restore)
        self.old_pids = ()              # (namespace, name) of each that holds this process's pid
        self.psutil = ()                # psutil.Process objects of this process
        self.loop = None                # (how to set it, the asyncio loop that runs in the main thread)
        self.process = None
        self.logging = None             # its namespace, and the clock it uses
        self.cares_for_pid = True

    def hooks(self):
        """What to call with the namespace of a module of that name when it has just been executed"""
        return {
            "random": self.watch_random,
            "numpy.random.bit_generator": self.numpy.watch,
            "multiprocessing.process": self.watch_multiprocessing,
        }

    def watch_loaded(self):
        for name, hook in self.hooks().items():
            if name in loaded_modules:
                hook(names_of_module(name))

    # Recording

    def note_seed(self, generator, seed):
        if seed is None:
            self.seeded.discard(id(generator))
        else:
            self.seeded.add(id(generator))

    def watch_random(self, names):
        """Record Random.seed() and setstate().

        random.seed is a bound method made at import, and other modules may hold
        it as well: so not the functions but their code is exchanged for a while.
        """
        kind = names.get("Random")
        if type(kind) is not type:
            return
        for name, shim in (("seed", seed_shim), ("setstate", setstate_shim)):
            function = type.__dict__["__dict__"].__get__(kind).get(name)
            if type(function) is Function and function.__code__.co_freevars == shim().__code__.co_freevars:
                exchange_code(function, shim().__code__, {"warm: note": self.note_seed}, self.restore)

    def watch_multiprocessing(self, names):
        self.authkey = process_config(names).get("authkey")

    def unwatch(self):
        while self.restore:
            self.restore.pop()()

    # At the readiness point

    def settle(self, objects, fill=False):
        """Find what a clone has to refresh; objects: gc.get_objects().

        fill: warmd can put random bytes into the memory of a clone before it runs, which
        touches a page where seeding from Python touches dozens. Returns the lines that ask for it.
        """
        lines = self.settle_random(objects, fill) + self.numpy.settle(objects, fill)
        config = process_config(names_of_module("multiprocessing.process"))
        if self.authkey is not None and config.get("authkey") is self.authkey:
            self.process = (config, type(self.authkey))
        self.old_pids = self.find_pids(objects)
        logging = names_of_module("logging")
        start = logging.get("_startTime")
        if type(start) in (int, float):
            import time     # always loaded
            # LogRecord.relativeCreated counts from the import of logging; in ns since 3.13
            self.logging = (logging, time.time_ns if type(start) is int else time.time)
        self.cares_for_pid = bool(self.old_pids or self.psutil or "_ssl" in loaded_modules or "_hashlib" in loaded_modules
                                  or "tempfile" in loaded_modules)
        return lines

    def settle_random(self, objects, fill):
        names = names_of_module("random")
        kind, system = names.get("Random"), names.get("SystemRandom")
        if not is_instance(kind, type) or not is_instance(system, type):
            return []
        implicit = [o for o in objects if is_instance(o, kind) and not is_instance(o, system)
                    and id(o) not in self.seeded]
        for o in implicit:
            if "gauss_next" in own_names(o):
                own_names(o)["gauss_next"] = None       # half of a pair of numbers that all clones would share
        native = mro_of(kind)[1]            # _random.Random
        lines, self.randoms = [], []
        for o in implicit:
            line = fill_line(o, native, words_to_bytes(native.getstate(o)[:-1])) if fill else None
            if line:
                lines.append(line)
            else:
                self.randoms.append((native.seed, o))
        return lines

    def find_pids(self, objects):
        """Where the standard library keeps this process's own pid, to ask whether it is in a child of it.

        A list of (namespace, name), each to become the clone's pid.
        """
        found = [(own_names(f), "_pid") for f in
                 list((names_of_module("multiprocessing.util").get("_finalizer_registry") or {}).values())]
        for module, kind, name in PID_HOLDERS:
            kind = names_of_module(module).get(kind)
            if is_instance(kind, type):
                found += [(own_names(o), name) for o in objects if is_instance(o, kind)]
        kind = names_of_module("psutil").get("Process")
        if is_instance(kind, type):
            self.psutil = tuple([o for o in objects if is_instance(o, kind) and own_names(o).get("_pid") == self.pid])
        asyncio = names_of_module("_asyncio")
        if "_set_running_loop" in asyncio:
            loop = asyncio["_get_running_loop"]()
            # it is kept with the pid of the time when it was set: PyRunningLoopHolder in _asynciomodule.c
            self.loop = None if loop is None else (asyncio["_set_running_loop"], loop)
        return tuple([(names, name) for names, name in found
                      if type(names.get(name)) is int and names[name] == self.pid])

    # In a clone

    def refresh(self):
        for seed, generator in self.randoms:
            # 256 bits, past Random.seed(): 7 us where seed() takes 13 for its 2,496 bytes
            seed(generator, int.from_bytes(posix.urandom(32), "little"))
        self.numpy.refresh()
        if self.process is not None:
            config, kind = self.process
            config["authkey"] = kind(posix.urandom(32))
        if self.logging is not None:
            namespace, clock = self.logging
            namespace["_startTime"] = clock()
        if self.loop is not None:
            set_running_loop, loop = self.loop
            set_running_loop(loop)
        if self.cares_for_pid:
            pid = posix.getpid()
            if pid == self.pid:
                self.refresh_by_pid()
            else:
                for names, name in self.old_pids:
                    names[name] = pid
                for process in self.psutil:
                    process._init(pid)

    def refresh_by_pid(self):
        """OpenSSL and tempfile seed themselves anew when they find another pid: here it is the same"""
        ssl = names_of_module("_ssl")
        if "RAND_add" in ssl:
            ssl["RAND_add"](posix.urandom(32), 32.0)
        names = own_names(names_of_module("tempfile").get("_name_sequence"))
        if names.get("_rng_pid") == self.pid:
            names["_rng_pid"] = None


# (module, class, attribute): instances that hold the pid of the process that made them
PID_HOLDERS = (
    ("multiprocessing.process", "BaseProcess", "_parent_pid"),
    ("multiprocessing.queues", "Queue", "_opid"),
    ("multiprocessing.heap", "Heap", "_lastpid"),
)


def process_config(names):
    """The `_config` of multiprocessing's current_process(), whatever it is a subclass of"""
    return own_names(names.get("_current_process")).get("_config") or {}


def exchange_code(function, shim, known, restore):
    """Give `function` the code `shim`, in which constant strings stand for what is to be called: those in `known`, and
    the original function. Undone by what is put into `restore`"""
    code = function.__code__
    original = type(function)(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__
    known = {**known, "warm: original": original}
    function.__code__ = shim.replace(co_consts=tuple(
        [known.get(c, c) if type(c) is str else c for c in shim.co_consts]))
    restore.append(lambda: setattr(function, "__code__", code))


# The shims have the signature and the free variable of Random's methods, since code
# can be exchanged only for code with as many free variables. Two constants of theirs
# stand for what exchange_code() puts in.

def seed_shim():
    __class__ = None

    def seed(self, a=None, version=2):
        note = "warm: note"
        original = "warm: original"
        note(self, a)
        return original(self, a, version) if __class__ else None
    return seed


def setstate_shim():
    __class__ = None

    def setstate(self, state):
        note = "warm: note"
        original = "warm: original"
        note(self, True)
        return original(self, state) if __class__ else None
    return setstate
