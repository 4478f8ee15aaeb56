# SPDX-License-Identifier: MIT
"""The Python adaptor: readiness points `import` and `auto` (docs/adaptor.md).

warmd stops the interpreter where Py_RunMain() begins: it is initialised, site has run, and
nothing of the program has. There warmd runs

    exec(compile(TEXT, '<warm>', 'exec'), {'__name__': 'warm_adaptor', 'WARM_FD': N})

by PyRun_SimpleStringFlags(), TEXT being the files of sources.mk, this one last. What follows is
CPython's own main: the module search path, __main__, runpy and every frame are
made as ever. This text only sets a watch, which stops the main module at the end of
its leading part, and puts everything back before it does.

Nothing may be left that a cold program doesn't have: no module in sys.modules, no name in
__main__, no variable, no attribute. WARM_ARGV, the process's argv as a sequence of bytes,
is wanted by 3.9 only, which has no sys.orig_argv. WARM_FILL, true: warmd understands RANDOM lines.
"""

import _signal      # always loaded
import posix
import sys


def decode_argument(argument):
    return argument.decode(sys.getfilesystemencoding(), "surrogateescape")


def is_full_exit(environment):
    return b"\0WARM_EXIT=full\0" in b"\0" + environment


class Refused(Exception):
    """Why the program cannot be a template"""


def borrow(name):
    """A built-in module, without leaving it in sys.modules if it wasn't there"""
    present = name in loaded_modules
    module = __import__(name)
    if not present:
        del loaded_modules[name]
    copy = Module(name)         # where lookups are nobody's
    names_of(copy).update(names_of(module))
    return copy


class Adaptor:
    def __init__(self, fd, process_argv, fill):
        self.fd, self.fill = fd, fill
        # read before sys.orig_argv is observed
        self.words = list(getattr(sys, "orig_argv", None) or map(decode_argument, process_argv or ()))
        self.gc = borrow("gc")
        self.modes = stream_modes()
        self.environment = self.arguments = self.hooks = None
        self.listings = Listings()
        self.questions = Questions()
        self.unique = Uniqueness()
        self.collector = Collector(self.gc)
        self.leaving = Leaving(self.gc, borrow("_weakref"))
        self.watcher = make_watcher(self.found, self.reached)
        self.finders = sys.path_importer_cache
        self.left = False
        self.main = None        # code of the main module, from its start on

    # When the interpreter is up

    def start(self):
        # inheritable as it is: a program that executes itself again is met there by this text again
        self.check()
        self.environment = Environment()
        self.arguments = Arguments(len(self.words))
        self.unique.watch_loaded()
        self.collector.watch_loaded()
        self.hooks = ModuleHooks({**self.unique.hooks(), **self.collector.hooks()})
        self.listings.start()
        self.questions.start()
        reason = self.watcher.start()
        if reason:
            raise Refused(reason)
        leaver = Leaver(self)
        keep_alive(leaver)
        send_lines(self.fd, [b"LEAVE=%x" % id(leaver)])

    def check(self):
        if sys.version_info < (3, 9) or sys.implementation.name != "cpython":
            raise Refused("Python before 3.9, or not CPython")
        if sys.flags.interactive or sys.flags.inspect:
            raise Refused("an interactive interpreter (-i, PYTHONINSPECT)")
        if not sys.argv or sys.argv[0] in ("", "-"):
            raise Refused("the program is read from standard input")
        if sys.flags.verbose or "importtime" in sys._xoptions:
            raise Refused("-v and -X importtime print while modules are imported")
        if "perf" in sys._xoptions or "perf_jit" in sys._xoptions:
            raise Refused("-X perf writes a file for the process id")
        if sys.gettrace() is not None or sys.getprofile() is not None:
            raise Refused("a trace or profile function is set before the program starts")

    # When the main module starts

    def found(self, frame):
        self.main = frame.f_code
        try:
            boundary = parse_main(frame.f_code, frame.f_globals, self.words)
            self.arguments.boundary = boundary
            return boundary
        except Exception as error:
            self.refuse("%s" % error)
            return None

    # When it has reached its boundary, with the watch taken off

    def reached(self, frame, error):
        if self.left:
            return
        self.left = True
        try:
            if error:
                raise Refused(error)
            self.template()
        except Refused as refusal:
            self.refuse(str(refusal))
        except Exception as error:
            self.refuse("the adaptor failed: %r" % error)

    def leave(self):
        """The end of the leading part is here, wherever the main thread is: in the middle of an import, with locks held
        and modules half executed. What comes later has nothing more to do"""
        if not self.left:
            self.reached(None, self.watcher.cancel() or self.over())

    def over(self):
        """Why not, when the main module has been left: what it does now belongs to its end, which may be a failure"""
        frame = sys._getframe(1)
        while self.main is not None and frame is not None:
            if frame.f_code is self.main:
                return None
            frame = frame.f_back
        return None if self.main is None else "it ended before its readiness point"

    def refuse(self, reason):
        self.left = True
        try:
            self.put_back()
        except Refused:
            pass        # the first reason is the one to tell
        try:
            send_lines(self.fd, [b"REFUSE=" + reason.replace("\n", " ").encode("utf-8", "backslashreplace")])
            posix.close(self.fd)
        except OSError:
            pass

    def put_back(self):
        """Everything as a cold program has it; protocol lines on what was read, and the argument lists"""
        self.listings.stop()
        signals = self.questions.stop()
        if self.hooks is not None:
            self.hooks.remove()
            self.hooks = None
        self.unique.unwatch()
        lines, targets = [], ()
        if self.environment is not None and self.arguments is not None:
            arguments, targets = self.arguments.settle()
            environment, reason = self.environment.settle(self.gc)
            if reason:
                raise Refused(reason)
            lines = environment + arguments + [signals]
        return lines, targets

    def template(self):
        """Become a template: returns in clones only.

        No garbage is collected: that would run the program's finalisers and its gc.callbacks, at a time of ours and
        perhaps in the middle of a library that holds a lock.
        """
        collecting = self.gc.isenabled()
        self.gc.disable()
        try:
            self.freeze()
        finally:
            if collecting:
                self.gc.enable()

    def freeze(self):
        send_lines(self.fd, [b"CONTEXT=raw"])   # at once: what is looked at from here on is not the program's doing
        lines, targets = self.put_back()
        reap_forgotten()
        streams = find_streams(self.modes)
        if streams is not None:
            if set_aside_output(streams):
                lines.append(b"STDIO=1")
            else:
                take_streams(streams, 0)
                streams = None
        lines = lines + self.module_lines() + [self.exit_line()]
        launch = Launch(self, streams or (), targets)
        keep_alive((self, launch, self.watcher))    # a clone would pay for freeing them
        # for a clone that imports gc later
        self.hooks = ModuleHooks(self.collector.hooks())
        self.leaving.holders = (self, launch, self.unique, self.environment, self.watcher)
        objects = self.gc.get_objects()
        lines += self.unique.settle(objects, self.fill)
        self.leaving.remember(objects)
        objects = None
        # a signal in a clone waits until the context is taken: KeyboardInterrupt belongs to the program
        mask = block_handled()
        prepare_heap()
        self.collector.freeze()
        send_lines(self.fd, lines + [b"READY=1"])
        lines = None
        raw, mask = take_signals(read_context(self.fd), mask)
        launch.take(raw)
        import _signal      # always loaded
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)

    def module_lines(self):
        """Directories that importlib listed, and each time that it did. A relative one is relative to the working
        directory of its time; which that was is not known at the end, and then the listing counts as the program's"""
        names = [path.encode(sys.getfilesystemencoding(), "surrogateescape") for path in self.listings.paths]
        lines = [b"LISTED=" + name for name in names if name.startswith(b"/") and b"\n" not in name]
        for finder in list(self.finders.values()):
            own = own_names(finder) if is_instance(finder, self.listings.finder) else {}
            if own.get("_path_mtime", -1) != -1 and type(own.get("path")) is str:
                path = own["path"].encode(sys.getfilesystemencoding(), "surrogateescape")
                if b"\n" in path:
                    raise Refused("a directory of modules has a newline in its name")
                lines.append(b"MODULES=" + (b"" if path == b"." else path))
        return lines

    def exit_line(self):
        """See "Exit" in docs/adaptor.md"""
        leave = self.leaving.leave
        keep_alive(leave)
        return b"EXIT=Py_FinalizeEx,Py_Exit!:PyObject_CallObject,PyLong_AsLong:%x" % id(leave)


class Leaver:
    """warmd ends the leading part early by PyObject_IsTrue() of this: the LEAVE line of docs/adaptor.md"""

    def __init__(self, adaptor):
        self.adaptor = adaptor

    def __bool__(self):
        self.adaptor.leave()
        return True


class Launch:
    """What a clone needs to take on its context, in one place"""

    def __init__(self, adaptor, streams, targets):
        self.environment = adaptor.environment
        self.unique = adaptor.unique
        self.leaving = adaptor.leaving
        self.streams, self.targets = streams, targets
        self.arguments = adaptor.arguments.bytes
        self.leading = adaptor.arguments.leading
        self.threads = known_threads()
        alone = len(self.threads) == 1 and self.threads[0]["_native_id"] == posix.getpid()
        self.main_thread = self.threads[0] if alone else None
        self.pending = any(stream.pending for stream in streams)
        self.leaving.full = is_full_exit(adaptor.environment.before)
        encoding = sys.getfilesystemencoding()
        words = [word.encode(encoding, "surrogateescape") for word in adaptor.words]
        self.before = self.environment.before
        self.envc = self.before.count(b"\0").to_bytes(4, sys.byteorder)
        self.strings = b"".join([word + b"\0" for word in words]) + self.before
        self.entries = self.before.split(b"\0")[:-1]
        self.final = dict(self.environment.reads.writes)

    def take(self, raw):
        """The ways with little to do come first, and make next to no objects: whole parts are compared as bytes"""
        if self.streams and (raw[20] or self.pending):
            take_streams(self.streams, raw[20])
        if raw[21] & SAME_AS_BUILD == SAME_AS_BUILD:
            differs = False
        elif raw[12:16] != self.envc or not raw.endswith(self.before):
            self.take_both(raw)
            differs = False
        else:
            differs = not raw.endswith(self.strings) or len(raw) != strings_at(raw) + len(self.strings)
        if differs:
            words = raw[strings_at(raw):len(raw) - len(self.before)].split(b"\0")
            take_arguments(self.arguments, words[self.leading or 0:-1], self.targets)
        if self.main_thread is None and self.threads:
            take_thread_ids(self.threads, thread_pairs(raw))
        if self.main_thread is not None:
            self.main_thread["_native_id"] = posix.getpid()     # its kernel id is the process's, always
        self.unique.refresh()

    def take_both(self, raw):
        """What comes from warm itself is not doubted, as parse_context() does"""
        words = raw[strings_at(raw):].split(b"\0")
        argc = int.from_bytes(raw[8:12], sys.byteorder)
        new = words[argc:-1]
        environment = self.environment
        take_entries(environment.data, self.entries, new, self.final, environment.reads.writes)
        self.leaving.full = b"WARM_EXIT=full" in new
        new = words[self.leading or 0:argc]
        if new != self.arguments:
            take_arguments(self.arguments, new, self.targets)


def keep_alive(thing):
    """C holds only its address. A reference that no collection takes for garbage:
    a code object is not seen by the collector, so what its constants hold counts as held from outside"""
    code = keep_alive.__code__
    keep_alive.__code__ = code.replace(co_consts=code.co_consts + (thing, keep_alive))


def run_adaptor(fd, process_argv=None, fill=False):
    adaptor = None
    try:
        adaptor = Adaptor(fd, process_argv, fill)
        adaptor.start()
    except Refused as refusal:
        adaptor.refuse(str(refusal))
    except Exception as error:
        send_lines(fd, [b"REFUSE=the adaptor failed: " + repr(error).encode("utf-8", "backslashreplace")])


if __name__ == "warm_adaptor":
    run_adaptor(WARM_FD, globals().get("WARM_ARGV"), globals().get("WARM_FILL"))   # noqa: F821, injected
