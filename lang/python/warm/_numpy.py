# SPDX-License-Identifier: MIT
"""numpy's generators, told apart as in _unique.py: those that the system seeded, and those that the program did.

All randomness that numpy draws for itself is the entropy of some SeedSequence: of the global generator's, of each Generator's, of one that
the program made to spawn others. Sequences of one entropy get a new one together, so that a child is still its parent's.
"""

import posix

if __name__ != "warm_adaptor":
    from ._looks import GetSet, is_instance, module_of_type, mro_of, names_of_module, type_attribute, value_of


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


class NumpyRandom:
    def __init__(self, restore):
        self.restore = restore          # Uniqueness's
        self.drawn = set()              # the entropy that numpy drew for itself
        self.legacy = None              # how to seed the global generator
        self.kind = None                # SeedSequence
        self.sequences = ()             # of drawn entropy
        self.bits = ()                  # (bit generator, its type in C) that such a one has seeded

    def watch(self, names):
        """SeedSequence() draws its entropy by the global `randbits` of its module"""
        randbits = names.get("randbits")
        if randbits is None:
            return

        def drawing(bits):
            value = randbits(bits)
            self.drawn.add(value)
            return value
        names["randbits"] = drawing
        self.restore.append(lambda: names.__setitem__("randbits", randbits))

    # At the readiness point

    def settle(self, objects, fill):
        names, mtrand = names_of_module("numpy.random.bit_generator"), names_of_module("numpy.random.mtrand")
        legacy = mtrand.get("_rand")
        bits = value_of(legacy, "_bit_generator")
        lines = self.settle_legacy(legacy, bits, fill)
        self.kind = names.get("SeedSequence")
        generator = names.get("BitGenerator")
        if not self.drawn or not is_instance(self.kind, type) or not is_instance(generator, type):
            return lines
        # numpy before 1.25 shows no sequence of the global generator; looking after it costs each clone 20 us
        hidden = value_of(bits, "_seed_seq") if type_attribute(generator, "seed_seq") is None else None
        self.sequences = tuple([o for o in objects if o is not hidden and self.is_drawn(o)])
        implicit = [(o, native_type(o)) for o in objects if is_instance(o, generator) and o is not bits
                    and self.is_drawn(value_of(o, "_seed_seq"))]
        constants = [constants_of(kind(value_of(o, "_seed_seq"))) for o, kind in implicit if kind is not None]
        self.bits = tuple([(o, kind) for o, kind in implicit if kind is not None and constants_of(o) in constants])
        self.forget_halves(objects, mtrand.get("RandomState"))
        return lines

    def is_drawn(self, o):
        return is_instance(o, self.kind) and type(value_of(o, "entropy")) is int and value_of(o, "entropy") in self.drawn

    def settle_legacy(self, legacy, bits, fill):
        # numpy forgets _seed_seq when seed() is called
        if value_of(bits, "_seed_seq") is None:
            return []
        state = legacy.get_state()
        if fill and state[0] == "MT19937" and not state[3]:     # no half pair of numbers
            line = fill_line(bits, type(bits), state[1].astype("u4").tobytes())
            if line:
                return [line]
        self.legacy = (legacy.seed, names_of_module("numpy")["frombuffer"])
        return []

    def forget_halves(self, objects, kind):
        """Half of a pair of numbers, which a RandomState keeps beside its bit generator"""
        ours = [o for o, _ in self.bits]
        for o in [o for o in objects if is_instance(kind, type) and is_instance(o, kind)]:
            if any(value_of(o, "_bit_generator") is bits for bits in ours):
                state = kind.get_state(o, False)
                if state["has_gauss"]:
                    kind.set_state(o, {**state, "has_gauss": 0, "gauss": 0.0})

    # In a clone

    def refresh(self):
        if self.legacy is not None:
            seed, frombuffer = self.legacy
            seed(frombuffer(posix.urandom(32), "u4"))    # 11 us where seed() takes 93
        fresh = {}
        for sequence in self.sequences:
            old = sequence.entropy
            if old not in fresh:
                fresh[old] = int.from_bytes(posix.urandom((old.bit_length() + 7) // 8 or 16), "little")
            self.kind.__init__(sequence, fresh[old], spawn_key=sequence.spawn_key, pool_size=sequence.pool_size,
                               n_children_spawned=sequence.n_children_spawned)
        for bits, kind in self.bits:
            type_attribute(kind, "state").__set__(bits, kind(value_of(bits, "_seed_seq")).state)


def native_type(bits):
    """numpy's own type of a bit generator, whatever the program has derived from it"""
    for kind in mro_of(type(bits)):
        if module_of_type(kind).startswith("numpy.random.") and type(type_attribute(kind, "state")) is GetSet:
            return kind
    return None


def constants_of(bits):
    """What drawing doesn't change of a state: by it a state that the program has set is told from one that was seeded.
    None where there is no such part"""
    kind = native_type(bits)
    state = type_attribute(kind, "state").__get__(bits)["state"]
    if "inc" in state:      # PCG64 and its variant
        return state["inc"]
    return state["key"].tobytes() if kind.__name__ == "Philox" else None
