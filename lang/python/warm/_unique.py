# SPDX-License-Identifier: MIT
"""What must not be the same in two clones: random state, keys, times and pids kept by modules.

A generator that was seeded by the system is seeded anew in each clone. One that
the program seeded itself keeps its state: that is what it asked for. To tell
them apart, seeding is recorded while the program comes to its readiness point.
"""

import posix
import sys


def words_to_bytes(words):
    return b"".join([word.to_bytes(4, sys.byteorder) for word in words])


def fill_line(thing, kind, state):
    """The protocol line to fill the state of a Mersenne twister, where it lies in the memory of an
    object; any bytes but all zero are a state. None if it isn't found there."""
    try:
        fd = posix.open("/proc/self/mem", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return None
    try:
        offset = posix.pread(fd, kind.__basicsize__, id(thing)).find(state)
    except OSError:
        return None
    finally:
        posix.close(fd)
    return None if offset < 0 else b"RANDOM=%x:%d" % (id(thing) + offset, len(state))


class Uniqueness:
    def __init__(self):
        self.seeded = set()             # id() of each random.Random with a state the program chose
        self.drawn = set()              # the entropy that numpy drew for itself
        self.authkey = None             # multiprocessing's, as made at import
        self.restore = []               # undo what was put into modules
        self.pid = posix.getpid()
        self.randoms = ()
        self.bit_generators = ()
        self.finalizers = ()
        self.legacy_numpy = None
        self.process = None
        self.logging = None             # its namespace, and the clock it uses
        self.cares_for_pid = True

    def hooks(self):
        """What to call when a module of that name has just been executed"""
        return {
            "random": self.watch_random,
            "numpy.random.bit_generator": self.watch_numpy,
            "multiprocessing.process": self.watch_multiprocessing,
        }

    def watch_loaded(self):
        for name, hook in self.hooks().items():
            module = sys.modules.get(name)
            if module is not None:
                hook(module)

    # Recording

    def note_seed(self, generator, seed):
        if seed is None:
            self.seeded.discard(id(generator))
        else:
            self.seeded.add(id(generator))

    def watch_random(self, module):
        """Record Random.seed() and setstate().

        random.seed is a bound method made at import, and other modules may hold
        it as well: so not the functions but their code is exchanged for a while.
        """
        for name, shim in (("seed", seed_shim), ("setstate", setstate_shim)):
            function = getattr(module.Random, name, None)
            code = getattr(function, "__code__", None)
            if code is not None and code.co_freevars == shim().__code__.co_freevars:
                self.exchange_code(function, shim().__code__)

    def exchange_code(self, function, shim):
        code = function.__code__
        original = type(function)(code, function.__globals__, function.__name__,
                                  function.__defaults__, function.__closure__)
        known = {"warm: note": self.note_seed, "warm: original": original}
        function.__code__ = shim.replace(co_consts=tuple(
            [known.get(c, c) if type(c) is str else c for c in shim.co_consts]))
        self.restore.append(lambda: setattr(function, "__code__", code))

    def watch_numpy(self, module):
        """SeedSequence() draws its entropy by the global `randbits` of its module"""
        randbits = getattr(module, "randbits", None)
        if randbits is None:
            return

        def drawing(bits):
            value = randbits(bits)
            self.drawn.add(value)
            return value
        module.randbits = drawing
        self.restore.append(lambda: setattr(module, "randbits", randbits))

    def watch_multiprocessing(self, module):
        self.authkey = module.current_process()._config.get("authkey")

    def unwatch(self):
        while self.restore:
            self.restore.pop()()

    # At the readiness point

    def settle(self, objects, fill=False):
        """Find what a clone has to refresh; objects: gc.get_objects().

        fill: warmd can put random bytes into the memory of a clone before it runs, which
        touches a page where seeding from Python touches dozens. Returns the lines that ask for it.
        """
        lines = self.settle_random(objects, fill) + self.settle_numpy(objects, fill)
        process = sys.modules.get("multiprocessing.process")
        if process is not None and self.authkey is not None:
            current = process.current_process()
            if current._config.get("authkey") is self.authkey:
                self.process = (current._config, type(self.authkey))
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            self.finalizers = tuple([f for f in util._finalizer_registry.values()
                                     if getattr(f, "_pid", None) == self.pid])
        logging = sys.modules.get("logging")
        if hasattr(logging, "_startTime"):
            import time     # always loaded
            # LogRecord.relativeCreated counts from the import of logging; in ns since 3.13
            clock = time.time_ns if isinstance(logging._startTime, int) else time.time
            self.logging = (logging.__dict__, clock)
        self.cares_for_pid = bool(self.finalizers or "_ssl" in sys.modules or "tempfile" in sys.modules)
        return lines

    def settle_random(self, objects, fill):
        random = sys.modules.get("random")
        if random is None or not hasattr(random, "Random"):
            return []
        implicit = [o for o in objects
                    if isinstance(o, random.Random) and not isinstance(o, random.SystemRandom)
                    and id(o) not in self.seeded]
        for o in implicit:
            o.gauss_next = None         # half of a pair of numbers that all clones would share
        native = random.Random.__mro__[1]           # _random.Random
        lines, self.randoms = [], []
        for o in implicit:
            line = fill_line(o, native, words_to_bytes(o.getstate()[1][:-1])) if fill else None
            if line:
                lines.append(line)
            else:
                self.randoms.append((native.seed, o))
        return lines

    def settle_numpy(self, objects, fill):
        lines = []
        mtrand = sys.modules.get("numpy.random.mtrand")
        legacy = getattr(mtrand, "_rand", None)
        legacy_bits = getattr(legacy, "_bit_generator", None)
        # numpy forgets _seed_seq when seed() is called
        if getattr(legacy_bits, "_seed_seq", None) is not None:
            line = None
            state = legacy.get_state()
            if fill and state[0] == "MT19937" and not state[3]:     # no half pair of numbers
                line = fill_line(legacy_bits, type(legacy_bits), state[1].astype("u4").tobytes())
            if line:
                lines.append(line)
            else:
                self.legacy_numpy = (legacy.seed, sys.modules["numpy"].frombuffer)
        module = sys.modules.get("numpy.random.bit_generator")
        if module is not None and self.drawn:
            self.bit_generators = tuple([
                o for o in objects
                if isinstance(o, module.BitGenerator) and o is not legacy_bits
                and getattr(getattr(o, "_seed_seq", None), "entropy", None) in self.drawn])
        return lines

    # In a clone

    def refresh(self):
        for seed, generator in self.randoms:
            # 256 bits, past Random.seed(): 7 us where seed() takes 13 for its 2,496 bytes
            seed(generator, int.from_bytes(posix.urandom(32), "little"))
        if self.legacy_numpy is not None:
            seed, frombuffer = self.legacy_numpy
            seed(frombuffer(posix.urandom(32), "u4"))    # 11 us where seed() takes 93
        for bits in self.bit_generators:
            bits.state = type(bits)().state
        if self.process is not None:
            config, kind = self.process
            config["authkey"] = kind(posix.urandom(32))
        if self.logging is not None:
            namespace, clock = self.logging
            namespace["_startTime"] = clock()
        if self.cares_for_pid:
            pid = posix.getpid()
            for finalizer in self.finalizers:
                finalizer._pid = pid
            if pid == self.pid:
                self.refresh_by_pid()

    def refresh_by_pid(self):
        """OpenSSL and tempfile seed themselves anew when they find another pid: here it is the same"""
        ssl = sys.modules.get("_ssl")
        if ssl is not None:
            ssl.RAND_add(posix.urandom(32), 32.0)
        names = getattr(sys.modules.get("tempfile"), "_name_sequence", None)
        if getattr(names, "_rng_pid", None) == self.pid:
            names._rng_pid = None


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
