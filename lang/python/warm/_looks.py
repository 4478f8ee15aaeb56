# SPDX-License-Identifier: MIT
"""Looking at the program's objects so that nothing of the program runs.

isinstance() asks for `__class__`, getattr() runs `__getattribute__`, `==` of classes runs their metaclass, a module may have
a `__getattr__`. With lazy objects (settings, modules, deprecated names) any of it loads, warns or raises. So objects are looked at by
their type in C alone, and their parts through the descriptors of CPython's own types.

Part of the package, and of the text that warmd injects (sources.mk).
"""

import sys

mro_of = type.__dict__["__mro__"].__get__
flags_of = type.__dict__["__flags__"].__get__
name_of_type = type.__dict__["__name__"].__get__
names_of_type = type.__dict__["__dict__"].__get__       # a mappingproxy
is_subtype = type.__dict__["__subclasscheck__"]         # (base, kind)
module_of_type_raw = type.__dict__["__module__"].__get__

Module = type(sys)
names_of_module_raw = Module.__dict__["__dict__"].__get__
Function = type(lambda: None)
BuiltinFunction = type(len)
Wrapper = type(object.__init__)         # of a slot in C, `__del__` for one
GetSet = type(type.__dict__["__dict__"])
Member = type(Module.__dict__["__dict__"])

loaded_modules = sys.modules


def is_instance(o, kind):
    return is_subtype(kind, type(o))


def module_of_type(kind):
    """Its `__module__`; "" if that is no string"""
    name = module_of_type_raw(kind)
    return name if type(name) is str else ""


def names_of_module(name):
    """The namespace of a loaded module, in whatever state; empty if there is none"""
    return names_of(dict.get(loaded_modules, name))


def names_of(module):
    return (names_of_module_raw(module) or {}) if is_instance(module, Module) else {}


def type_attribute(kind, name):
    """What a lookup of a special method finds, unbound; None"""
    for base in mro_of(kind):
        names = names_of_type(base)
        if name in names:
            return names[name]
    return None


def own_names(o):
    """The instance's `__dict__` itself; a new one if it has none"""
    for base in mro_of(type(o)):
        getter = names_of_type(base).get("__dict__")
        if type(getter) in (GetSet, Member):
            names = getter.__get__(o)
            return names if is_subtype(dict, type(names)) else {}
    return {}


def value_of(o, name, default=None):
    """An attribute that lies in the instance: in its `__dict__`, a slot, or a field of a type in C"""
    found = type_attribute(type(o), name)
    if type(found) in (GetSet, Member):
        try:
            return found.__get__(o)
        except AttributeError:
            return default
    return dict.get(own_names(o), name, default)
