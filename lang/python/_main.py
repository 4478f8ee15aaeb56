# SPDX-License-Identifier: MIT
"""Watching the main module until its boundary: one class for each way CPython lets us.

3.12 and later: sys.monitoring, with events on the main module's code alone, so
that nothing that it imports can notice. 3.9 to 3.11: sys.settrace, taken off
while importlib loads something for the main module.

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
    """sys.settrace, taken off while importlib loads a module for the main one.

    importlib._bootstrap holds a module's lock for that time: `with _ModuleLockManager(name)`, whose two methods are
    ours for a while. They have returned when the module is executed, so no frame of ours is on the stack then.
    """

    def __init__(self, found, reached):
        self.found, self.reached = found, reached
        self.boundary = None
        self.foreign = None
        self.running = False
        self.depth = 0          # of imports in the main thread
        import _thread          # always loaded
        self.get_ident, self.thread = _thread.get_ident, _thread.get_ident()
        self.locks = names_of_module("_frozen_importlib")["_ModuleLockManager"]
        self.originals = self.locks.__enter__, self.locks.__exit__

    def start(self):
        watcher, (enter, leave), get_ident, thread = self, self.originals, self.get_ident, self.thread

        def __enter__(self):
            if get_ident() == thread:
                watcher.pause()
            return enter(self)

        def __exit__(self, *args, **kwargs):
            leave(self, *args, **kwargs)
            if get_ident() == thread:
                watcher.resume()
        for function in (__enter__, __exit__):
            function.__code__ = function.__code__.replace(co_filename=IMPORTLIB)
        self.locks.__enter__, self.locks.__exit__ = __enter__, __exit__
        self.running = True
        sys.settrace(self.on_call)
        return None

    def pause(self):
        if self.running:
            if self.depth == 0:
                self.check_trace()
                sys.settrace(None)
            self.depth += 1

    def resume(self):
        if not self.running or self.depth == 0:
            return      # it was entered before the watch began, or the watch is over
        self.depth -= 1
        if self.depth == 0:
            self.check_trace()
            if self.foreign:
                self.running = False
                self.restore()
                self.reached(None, self.foreign)
            else:
                sys.settrace(self.on_call)

    def check_trace(self):
        trace = sys.gettrace()
        if sys.getprofile() is not None or not (trace is None or self.is_own(trace)):
            self.foreign = "the program has set a trace or profile function"

    def restore(self):
        self.locks.__enter__, self.locks.__exit__ = self.originals

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
        return self.on_event

    def finish(self, frame):
        self.check_trace()
        self.stop(frame)
        self.reached(frame, self.foreign)
        return None

    def cancel(self):
        """As MonitoringWatcher's. In the middle of an import the trace function is off"""
        if not self.running:
            return None
        self.check_trace()
        frame = sys._getframe()
        while frame is not None and not self.is_own(frame.f_trace):
            frame = frame.f_back
        self.stop(frame)
        return self.foreign

    def is_own(self, function):
        return type(function) is type(self.stop) and function.__self__ is self

    def stop(self, frame):
        self.running = False
        self.restore()
        if not self.foreign:
            sys.settrace(None)
        if frame is not None:
            frame.f_trace = None
            if frame.f_trace_opcodes:
                frame.f_trace_opcodes = False


def make_watcher(found, reached):
    return (MonitoringWatcher if hasattr(sys, "monitoring") else TracingWatcher)(found, reached)


class ModuleHooks:
    """Tells when given modules have been executed.

    importlib executes a module by _call_with_frames_removed(exec, code, namespace), or with the module where it is one in C.
    That function gets other code for a while, with the same name and the same line of the call, so that neither
    sys.meta_path nor a traceback shows anything.
    """

    def __init__(self, hooks):
        self.hooks = {name: hook for name, hook in hooks.items() if name not in loaded_modules}
        self.restore = []
        function = names_of_module("_frozen_importlib").get("_call_with_frames_removed")
        if type(function) is Function:
            exchange_code(function, calling_shim(function.__code__), {"warm: note": self.note}, self.restore)

    def note(self, args):
        if not self.restore or not args:
            return      # the leading part ended while the module was executed
        last = args[-1]
        names = last if type(last) is dict else names_of(last)
        name = names.get("__name__")
        if type(name) is str and name in self.hooks:
            self.hooks.pop(name)(names)

    def remove(self):
        while self.restore:
            self.restore.pop()()


def calling_shim(code):
    """Code for _call_with_frames_removed(f, *args, **kwds), with the call at its line. The def's own is two lines before"""
    line = [line for line in lines_of(code) if line is not None][-1]
    first = code.co_firstlineno
    text = "\n" * (first - 1) + "def shim(f, *args, **kwds):" + ("\n" * (line - first) or " ") + (
        " note = 'warm: note'; result = f(*args, **kwds); note(args); return result\n")
    names = {}
    exec(compile(text, code.co_filename, "exec", 0, True), names)
    shim = names["shim"].__code__.replace(co_name=code.co_name)
    return shim.replace(co_qualname=code.co_qualname) if hasattr(code, "co_qualname") else shim


def lines_of(code):
    """The lines of its instructions, in order"""
    if hasattr(code, "co_lines"):       # since 3.10
        return [line for _, _, line in code.co_lines()]
    line, lines = code.co_firstlineno, []
    for step in code.co_lnotab[1::2]:
        line += step if step < 128 else step - 256
        lines.append(line)
    return lines or [line]
