# SPDX-License-Identifier: MIT
"""The adaptor runs nothing of the program's, and the program sees nothing of the adaptor: neither in its leading part nor after it."""

import pytest

# modules of the leading part that hold objects which tell when somebody looks at them
LAZY = {
    "__class__": "class Lazy:\n    @property\n    def __class__(self):\n        print('asked')\n        return int\nx = Lazy()\n",
    "__class__ raises": "class Lazy:\n    @property\n    def __class__(self):\n        raise RuntimeError('not configured')\nx = Lazy()\n",
    "__getattribute__": "class Old:\n    def __getattribute__(self, name):\n        print('asked', name)\n        return object.__getattribute__(self, name)\nx = Old()\n",
    "__getattr__": "class Any:\n    def __getattr__(self, name):\n        print('asked', name)\n        return self\nx = Any()\n",
    "metaclass": ("class Meta(type):\n    def __getattribute__(cls, name):\n        print('asked', name)\n        return type.__getattribute__(cls, name)\n"
                  "    def __instancecheck__(cls, o):\n        print('instance')\n        return True\n    def __subclasscheck__(cls, k):\n        print('subclass')\n        return True\n"
                  "    def __hash__(cls):\n        print('hash')\n        return 1\n    def __eq__(cls, o):\n        print('eq')\n        return True\n"
                  "class Thing(metaclass=Meta):\n    pass\nx = Thing()\n"),
    "module __getattr__": "import sys\ndef __getattr__(name):\n    print('asked', name)\n    raise AttributeError(name)\n",
    "module class": ("import sys, types\nclass M(types.ModuleType):\n    def __getattribute__(self, name):\n        print('asked', name)\n"
                     "        return types.ModuleType.__getattribute__(self, name)\n"
                     "for n in 'random', 'threading', 'logging', 'warnings', 'numpy', 'psutil', 'asyncio', 'multiprocessing.process', 'tempfile':\n"
                     "    sys.modules[n] = M(n)\n    sys.modules[n].__dict__['x'] = 1\n"
                     "import builtins\nbuiltins._kept = {n: sys.modules.pop(n) for n in list(sys.modules) if type(sys.modules[n]) is M}\n"),
    "no module": "import sys\nclass Any:\n    def __getattr__(self, name):\n        print('asked', name)\n        return self\nsys.modules['psutil'] = sys.modules['numpy'] = Any()\n",
    "lazy loader": ("import importlib.util, sys\nspec = importlib.util.find_spec('heavy')\nspec.loader = importlib.util.LazyLoader(spec.loader)\n"
                    "m = importlib.util.module_from_spec(spec)\nsys.modules['heavy'] = m\nspec.loader.exec_module(m)\n"),
    "lazy subprocess and signal": ("import importlib.util, sys\nfor n in 'subprocess', 'signal':\n    sys.modules.pop(n, None)\n    spec = importlib.util.find_spec(n)\n"
                                   "    spec.loader = importlib.util.LazyLoader(spec.loader)\n    m = importlib.util.module_from_spec(spec)\n"
                                   "    sys.modules[n] = m\n    spec.loader.exec_module(m)\n"
                                   "import atexit, os\nKEPT = [type(sys.modules[n]) for n in ('subprocess', 'signal')]\n"
                                   "class Tell:\n    def set(self):\n        os.write(1, repr([object.__getattribute__(sys.modules[n], '__class__').__name__ for n in ('subprocess', 'signal')]).encode())\ne = Tell()\n"),
    "finaliser is a property": "class A:\n    @property\n    def __del__(self):\n        return None\n    y = 1\nKEPT = A\n",
    "weak references": ("import weakref\nclass Call:\n    def __getattr__(self, name):\n        print('asked', name)\n        raise AttributeError(name)\n"
                        "    def __call__(self, r):\n        pass\nclass A: pass\na = A()\nr = weakref.ref(a, Call())\n"),
    "dict of odd keys": "class K:\n    def __hash__(self):\n        print('hash')\n        return 1\n    def __eq__(self, o):\n        print('eq')\n        return False\nd = {K(): 1}\nprint('made')\n",
    "finder": "import sys\nclass F:\n    def __getattr__(self, name):\n        print('asked', name)\n        raise AttributeError(name)\nsys.path_importer_cache['/nowhere'] = F()\n",
    "collection": "import gc\ngc.disable()\nclass A:\n    def __del__(self):\n        print('collected')\na = A()\na.a = a\ndel a\ngc.callbacks.append(lambda *a: print('collecting'))\n",
    "thread": ("import threading\nclass T(threading.Thread):\n    def __setattr__(self, name, value):\n        if '_native_id' == name: print('set')\n"
               "        super().__setattr__(name, value)\ne = threading.Event()\nt = T(target=e.wait)\nt.start()\n"),
    "random": "import random\nclass R(random.Random):\n    def getstate(self):\n        print('state')\n        return super().getstate()\n    def __setattr__(self, n, v):\n        print('set', n)\n        super().__setattr__(n, v)\nr = R()\n",
    "stdout": "import sys\nclass Out:\n    def __init__(self, f):\n        self.f = f\n    def __getattr__(self, name):\n        self.f.write('asked %s\\n' % name)\n        return getattr(self.f, name)\nsys.stdout = Out(sys.stdout)\n",
    "environ": "import os\nclass E(type(os.environ)):\n    def __getattribute__(self, n):\n        print('asked', n)\n        return super().__getattribute__(n)\n",
}


@pytest.mark.parametrize("name", LAZY)
def test_nothing_of_the_program_runs(runner, python, name):
    runner.write("heavy.py", "print('heavy was loaded')\n")
    runner.write("lead.py", LAZY[name])
    script = runner.write("script.py", "import lead\nimport os, sys\ndef main():\n    os.write(1, b'main\\n')\nmain()\n"
                          "if hasattr(lead, 'e') and hasattr(lead.e, 'set'): lead.e.set()\nsys.stdout.flush()\nos._exit(3)\n")
    runner.same([python, script])
    # a launch with other arguments and environment, which takes the long ways
    other = runner.warm([python, script, "old"], inject=["-n", "2", "-a", "new", "-e", "MORE=1"])
    assert other.out == runner.cold([python, script, "new"], env={"MORE": "1"}).out and other.status == 3


SEE = {
    "pickle": "import pickle, sys\nprint(pickle.loads(pickle.dumps({'argv': sys.argv})), pickle.dumps(sys.argv))\n",
    "copy": "import copy, sys, os\nprint(copy.deepcopy(sys.argv), type(copy.copy(sys.argv)), type(copy.deepcopy(os.environ)._data), len(copy.copy(os.environ)))\n",
    "json": "import json, sys\nprint(json.dumps(sys.argv), json.dumps(dict(x=sys.argv)))\n",
    "types": "import os, sys, posix\nprint(type(sys.argv), type(os.environ), type(os.environ._data), type(posix.environ), sys.argv.__class__)\n",
    "identity": "import sys\nfrom sys import argv\nFIRST = sys.argv\nprint(sys.argv is argv, sys.argv is FIRST, isinstance(sys.argv, list), id(argv) == id(vars(sys)['argv']))\n",
    "names of sys": "import sys\nprint(list(vars(sys)) == list(sys.__dict__), 'argv' in dir(sys), sorted(n for n in vars(sys) if n.startswith('a')),\n"
                    "      ','.join(vars(sys)), repr(list(vars(sys))))\n",
    "order of sys and os": "import sys, os\nprint(list(vars(sys)), list(vars(os)))\n",
    "keys": "import pickle, sys, os\nprint(len(pickle.dumps(list(vars(sys)))) > 10, len(pickle.dumps(list(vars(os)))) > 10)\n",
    "import machinery": "import sys, builtins\nprint(sys.meta_path, builtins.__import__, sys.path_hooks[1:], sys.gettrace(), sys.getprofile())\n",
    "specs": "import random, multiprocessing.process as p\nprint(random.__spec__.loader, random.__loader__, p.__loader__)\n",
    "stack": "import traceback, sys\ntraceback.print_stack(file=sys.stdout)\n",
    "depth": "import sys\ndef depth(f=None):\n    f, n = sys._getframe(), 0\n    while f:\n        f, n = f.f_back, n + 1\n    return n\nprint(depth())\n"
             "def rec(n):\n    try:\n        return rec(n + 1)\n    except RecursionError:\n        return n\nprint(rec(0))\n",
    "stack inside of random": "import sys, random, traceback\ntry:\n    random.seed([])\nexcept TypeError as e:\n    print(e)\n",
    "traceback of an import": "try:\n    import fails\nexcept ValueError:\n    import traceback\n    traceback.print_exc()\n",
    "functions": "import os, inspect, pickle, random\nprint(os.getcwd, os.putenv, os.getcwd.__module__, inspect.signature(random.seed), pickle.dumps(os.getcwd), random.Random.seed.__qualname__)\n",
    "warnings": "import warnings, _warnings\nprint(warnings.filters, _warnings.filters is warnings.filters)\n",
    "modules": "import sys\nprint(list(sys.modules))\n",
    "threads": "import threading\nprint(threading.enumerate(), threading._active)\n",
    "exit": "import atexit\nprint(atexit._ncallbacks())\n",
    "caches": "import sys, linecache\nprint(list(sys.path_importer_cache), list(linecache.cache))\n",
    "KeyError": "import os, traceback\ntry:\n    os.environ['NOT THERE']\nexcept KeyError:\n    traceback.print_exc()\n",
    "environ's methods": "import os\ne = os.environ\nprint(dict(e) == e.copy(), e == dict(e), len(e), sorted(e)[:2], os.environb[b'PATH'] == e['PATH'].encode(), e | {} == e.copy(), repr(e)[:8])\n",
    "monitoring": "import sys\nprint([sys.monitoring.get_tool(n) for n in (0, 1, 2, 3, 5)] if hasattr(sys, 'monitoring') else None)\n",
    "main": "import __main__\nprint(sorted(vars(__main__)))\n",
}


@pytest.mark.parametrize("name", SEE)
@pytest.mark.parametrize("where", ["leading", "after"])
def test_nothing_is_to_be_seen(runner, python, name, where):
    runner.write("fails.py", "import json\ndef f():\n    raise ValueError('here')\nf()\n")
    runner.write("sees.py", SEE[name])
    lead = "import sees\n" if where == "leading" else "import json\nX = 1\ndef f():\n    import sees\nf()\n"
    script = runner.write("script.py", lead + "print(1)\n")
    cold = runner.cold([python, script, "a", "-b"])
    warm = runner.warm([python, script, "a", "-b"])
    assert warm.ready, warm
    assert (addresses(warm.out), addresses(warm.err), warm.status) == (addresses(cold.out), addresses(cold.err), cold.status)


def addresses(text):
    import re
    return re.sub(r"(at 0x[0-9a-f]+|\b1[34]\d{13}\b)", "ADDRESS", text)


@pytest.mark.parametrize("lead", ["", "import gc\n", "from gc import get_objects, get_freeze_count, get_referrers, collect, isenabled\nimport gc\n"])
def test_collector(runner, python, lead):
    """Objects from before the readiness point are there for gc's functions, and garbage among them is collected"""
    runner.write("lead.py", lead + "import weakref\nclass A: pass\nx = A()\nx.held = [A()]\ng = A()\ng.g = g\nr = weakref.ref(g)\n"
                 "class D:\n    def __del__(self): print('deleted')\nd = D()\nd.d = d\n")
    script = runner.write("script.py", "import lead\ndef main():\n    import sys\n    global gc\n    import gc\n    from gc import get_objects\n"
                          "    print(any(o is lead.x for o in gc.get_objects()), gc.get_freeze_count() < 1000, gc.isenabled(), gc.get_threshold())\n"
                          "    print(any(h is lead.x.held for h in gc.get_referrers(lead.x.held[0])), sorted(vars(gc)), type(gc.collect))\n"
                          "    del lead.g, lead.d\n    gc.collect()\n    print(lead.r() is None)\nmain()\nprint('end')\n")
    runner.same([python, script])
