# SPDX-License-Identifier: MIT
"""The objects of the template, kept out of the collector until somebody asks for them.

gc.freeze() saves a clone from copying every page of the interpreter in a collection, and at its end. But gc.get_objects() and others
tell of it. So a lookup of one of these functions in the namespace of `gc` ends it, before the call. That costs two
words of memory (the lists are joined), and a slower end; the program gets what it would get cold.
"""

TELLING = ("get_objects", "get_referrers", "get_freeze_count", "freeze", "unfreeze", "collect")


class Collector:
    def __init__(self, gc):
        self.freeze_all, self.unfreeze = gc.freeze, gc.unfreeze
        self.used = self.frozen = False

    def hooks(self):
        return {"gc": self.watch}

    def watch(self, names):
        """names: the namespace of the module `gc`, as the program has it"""
        watch_names(names, {name: self.note for name in TELLING})

    def watch_loaded(self):
        if "gc" in loaded_modules:
            self.watch(names_of_module("gc"))

    def note(self, frame):
        self.used = True
        if self.frozen:
            self.frozen = False
            self.unfreeze()

    def freeze(self):
        if not self.used:
            self.frozen = True
            self.freeze_all()
