# SPDX-License-Identifier: MIT
"""Watching the main module until its boundary: one class for each way CPython lets us.

3.12 and later: sys.monitoring, with events on the main module's code alone, so
that nothing that it imports can notice. 3.9 to 3.11: sys.settrace, taken off
while an import statement of the main module runs.

A watcher calls found(frame) when the main module's frame starts; that returns
a Boundary, or None to stop watching. Then it calls reached(frame, error), with
itself taken off completely; error is None or why it cannot be a template.
"""

import sys

# code of ours that may be on the stack while the program's runs carries this name, as
# warnings' stacklevel (is_internal_frame() in _warnings.c) passes over frames of importlib
IMPORTLIB = "<frozen importlib._bootstrap>"

RETURN_VALUE = 83       # of CPython 3.9 to 3.11, whose `opcode` module may not be loaded


def is_main(frame):
    """The main module's own frame: runpy and PyRun_SimpleFile both run it in __main__'s namespace"""
    main = sys.modules.get("__main__")
    return frame.f_code.co_name == "<module>" and main is not None and frame.f_globals is main.__dict__


class MonitoringWatcher:
    """sys.monitoring (PEP 669)"""

    def __init__(self, found, reached):
        self.found, self.reached = found, reached
        self.monitoring = sys.monitoring
        self.tool = None
        self.boundary = self.code = None

    def start(self):
        monitoring = self.monitoring
        for tool in (4, 3, 5, 2, 1, 0):      # 0, 1, 2, 5 have meanings: debugger, coverage, profiler, optimizer
            if monitoring.get_tool(tool) is None:
                break
        else:
            return "no tool id of sys.monitoring is free"
        self.tool = tool
        monitoring.use_tool_id(tool, "warm")
        monitoring.register_callback(tool, monitoring.events.PY_START, self.on_start)
        monitoring.set_events(tool, monitoring.events.PY_START)
        return None

    def on_start(self, code, offset):
        if code.co_name != "<module>":
            return
        frame = sys._getframe(1)
        if not is_main(frame):
            return
        monitoring, events = self.monitoring, self.monitoring.events
        monitoring.set_events(self.tool, 0)
        monitoring.register_callback(self.tool, events.PY_START, None)
        self.code = code
        self.boundary = self.found(frame)
        if self.boundary is None:
            self.stop()
            return
        if self.boundary.offsets:
            monitoring.register_callback(self.tool, events.INSTRUCTION, self.on_instruction)
            wanted = events.INSTRUCTION
        else:
            monitoring.register_callback(self.tool, events.LINE, self.on_line)
            wanted = events.LINE
        monitoring.register_callback(self.tool, events.PY_RETURN, self.on_return)
        monitoring.set_local_events(self.tool, code, wanted | events.PY_RETURN)

    def on_line(self, code, line):
        if line in self.boundary.lines:
            self.finish(sys._getframe(1))

    def on_instruction(self, code, offset):
        if offset in self.boundary.offsets:
            self.finish(sys._getframe(1))

    def on_return(self, code, offset, value):
        self.finish(sys._getframe(1))

    def finish(self, frame):
        foreign = self.is_foreign()
        self.stop()
        self.reached(frame, foreign)

    def cancel(self):
        """Stop watching, at whatever point of the program; why it cannot be a template here, or None"""
        if self.tool is None:
            return None
        foreign = self.is_foreign()
        self.stop()
        return foreign

    def is_foreign(self):
        if sys.gettrace() is not None or sys.getprofile() is not None:
            return "the program has set a trace or profile function"
        if any(self.monitoring.get_tool(t) for t in range(6) if t != self.tool):
            return "the program uses sys.monitoring"
        return None

    def stop(self):
        monitoring, events = self.monitoring, self.monitoring.events
        if self.code is not None:
            monitoring.set_local_events(self.tool, self.code, 0)
        monitoring.set_events(self.tool, 0)
        for event in (events.PY_START, events.LINE, events.INSTRUCTION, events.PY_RETURN):
            monitoring.register_callback(self.tool, event, None)
        monitoring.free_tool_id(self.tool)
        self.tool = self.code = None


class TracingWatcher:
    """sys.settrace, and a builtins.__import__ of ours that takes it off for each import"""

    def __init__(self, found, reached):
        self.found, self.reached = found, reached
        self.boundary = None
        self.foreign = None
        self.running = self.left = False
        import builtins     # always loaded
        self.builtins = builtins
        self.original_import = builtins.__import__
        self.tracing_import = self.make_import()

    def make_import(self):
        watcher, original = self, self.original_import

        def __import__(name, globals=None, locals=None, fromlist=(), level=0):
            watcher.pause()
            try:
                return original(name, globals, locals, fromlist, level)
            except BaseException as error:
                if watcher.left:        # nobody else takes this frame out: see hide_import()
                    error.__traceback__ = error.__traceback__.tb_next
                raise
            finally:
                watcher.resume()
        __import__.__code__ = __import__.__code__.replace(co_filename=IMPORTLIB)
        return __import__

    def start(self):
        self.running = True
        self.builtins.__import__ = self.tracing_import
        sys.settrace(self.on_call)
        return None

    def pause(self):
        if self.running:
            sys.settrace(None)
            self.builtins.__import__ = self.original_import

    def resume(self):
        if not self.running:
            return
        if self.builtins.__import__ is not self.original_import:
            self.foreign = "the program has replaced builtins.__import__"
        elif sys.gettrace() is not None or sys.getprofile() is not None:
            self.foreign = "the program has set a trace or profile function"
        if self.foreign:
            self.running = False
            self.reached(None, self.foreign)
            return
        self.builtins.__import__ = self.tracing_import
        sys.settrace(self.on_call)

    def on_call(self, frame, event, arg):
        # dataclasses exec() code in the main module's namespace too: the first frame is the module's
        if event != "call" or self.boundary is not None or not is_main(frame):
            return None
        self.boundary = self.found(frame)
        if self.boundary is None:
            self.stop(frame)
            return None
        if self.boundary.offsets:
            frame.f_trace_opcodes = True
        return self.on_event

    def on_event(self, frame, event, arg):
        if event == "opcode":
            if frame.f_lasti in self.boundary.offsets:
                return self.finish(frame)
        elif event == "line":
            if not self.boundary.offsets and frame.f_lineno in self.boundary.lines:
                return self.finish(frame)
        elif event == "return":
            # it comes also when an exception leaves the module: the program ends without having been ready
            if frame.f_code.co_code[frame.f_lasti] != RETURN_VALUE:
                self.stop(frame)
                return None
            return self.finish(frame)
        elif event == "exception":
            self.hide_import(arg[2])
        return self.on_event

    def hide_import(self, traceback):
        """Our __import__ out of the traceback of a failed import; this event comes before any handler sees it"""
        below = traceback.tb_next
        if below is not None and below.tb_frame.f_code is self.tracing_import.__code__:
            traceback.tb_next = below.tb_next

    def finish(self, frame):
        foreign = None
        if self.builtins.__import__ is not self.tracing_import:
            foreign = "the program has replaced builtins.__import__"
        elif sys.getprofile() is not None:
            foreign = "the program has set a trace or profile function"
        self.stop(frame)
        self.reached(frame, foreign)
        return None

    def cancel(self):
        """As MonitoringWatcher's. In the middle of an import the trace function is off, and a frame of ours below"""
        if not self.running:
            return None
        self.left = True
        trace = sys.gettrace()
        foreign = None
        if self.builtins.__import__ is not self.tracing_import and self.builtins.__import__ is not self.original_import:
            foreign = "the program has replaced builtins.__import__"
        elif sys.getprofile() is not None or not (trace is None or self.is_own(trace)):
            foreign = "the program has set a trace or profile function"
        frame = sys._getframe()
        while frame is not None and not self.is_own(frame.f_trace):
            frame = frame.f_back
        if foreign:
            self.running = False
        else:
            self.stop(frame)
        return foreign

    def is_own(self, function):
        return type(function) is type(self.stop) and function.__self__ is self

    def stop(self, frame):
        self.running = False
        sys.settrace(None)
        if self.builtins.__import__ is self.tracing_import:
            self.builtins.__import__ = self.original_import
        if frame is not None:
            frame.f_trace = None
            if frame.f_trace_opcodes:
                frame.f_trace_opcodes = False


def make_watcher(found, reached):
    return (MonitoringWatcher if hasattr(sys, "monitoring") else TracingWatcher)(found, reached)


class ModuleHooks:
    """A finder in front of sys.meta_path that tells when given modules have been executed.

    It finds nothing itself: it asks the finders behind it, and puts itself between
    the spec and its loader for the one call of exec_module().
    """

    def __init__(self, hooks):
        self.hooks = {name: hook for name, hook in hooks.items() if name not in sys.modules}
        self.active = True
        self.meta_path = sys.meta_path
        self.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        hook = self.hooks.get(name)
        if hook is None:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = HookedLoader(self, spec.loader, hook)
                    return spec
        return None

    def remove(self):
        self.active = False
        for path in (self.meta_path, sys.meta_path):
            if self in path:
                path.remove(self)


class HookedLoader:
    def __init__(self, hooks, loader, hook):
        self.hooks, self.loader, self.hook = hooks, loader, hook

    def create_module(self, spec):
        spec.loader = self.loader       # before module_from_spec() copies it to __loader__
        try:
            return self.loader.create_module(spec) if hasattr(self.loader, "create_module") else None
        finally:
            spec.loader = self

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        if self.hooks.active:       # else the leading part ended while the module was executed
            self.hook(module)


for function in (ModuleHooks.find_spec, HookedLoader.exec_module):
    function.__code__ = function.__code__.replace(co_filename=IMPORTLIB)
