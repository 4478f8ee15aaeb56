# SPDX-License-Identifier: MIT
"""Launch clones of warm templates, and wait for them: libwarm(3) for Python.

    from warm.launch import Warm

    with Warm() as w:
        clone = w.launch("report", ["python3", "report.py", "--month", "5"], stdout=file)
        clone.wait()            # as subprocess has it: the exit status, or minus the signal

Any number of threads may share a Warm. Failures are OSError with libwarm's errno and words: a
template that is not there is FileNotFoundError, a warmd that does not run is ConnectionRefusedError.
"""

import ctypes
import os
import select
import signal
import threading

__all__ = ["Warm", "Clone", "DEVNULL"]

DEVNULL = -3    # subprocess.DEVNULL

SONAME = "libwarm.so.0"


class _Options(ctypes.Structure):
    """struct warm_launch_options of warm.h"""
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("template_name", ctypes.c_char_p),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
        ("cwd", ctypes.c_char_p),
        ("fds", ctypes.c_int * 3),
    ]


def _candidates():
    """Where libwarm may be, first the nearest: beside this file, in a source tree's build/, in PREFIX/lib"""
    here = os.path.dirname(os.path.abspath(__file__))
    up3 = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    yield os.path.join(here, SONAME)            # copied into the package
    yield os.path.join(here, "libwarm.so")
    yield os.path.join(up3, "build", "libwarm.so")      # lang/python/warm
    yield os.path.join(up3, SONAME)             # PREFIX/lib/warm/python/warm


def _load():
    for path in _candidates():
        if os.path.exists(path):
            break
    else:
        path = SONAME       # the loader's search: ld.so(8)
    library = ctypes.CDLL(path)
    handle, c_int = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
            ("warm_open", c_int, [ctypes.POINTER(handle), ctypes.c_char_p]),
            ("warm_close", None, [handle]),
            ("warm_launch", c_int, [handle, ctypes.POINTER(_Options), ctypes.POINTER(c_int), ctypes.POINTER(c_int)]),
            ("warm_wait", c_int, [handle, c_int, ctypes.POINTER(c_int)]),
            ("warm_error", ctypes.c_char_p, [handle])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = None
_library_lock = threading.Lock()


def _libwarm():
    global _library
    with _library_lock:
        if _library is None:
            _library = _load()
    return _library


def _strings(words):
    encoded = [os.fsencode(word) for word in words]
    if any(b"\0" in word for word in encoded):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def _environment(env):
    for name in env:
        if b"=" in os.fsencode(name):
            raise ValueError("illegal environment variable name")
    return _strings([os.fsencode(name) + b"=" + os.fsencode(value) for name, value in env.items()])


def _path(path):
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def _descriptor(stream, own):
    if stream is None:
        return own
    if isinstance(stream, int):
        if stream == DEVNULL:
            return -1
        if stream < 0:
            raise ValueError("a stream is a descriptor, a file, None or DEVNULL")
        return stream
    return stream.fileno()


class Warm:
    """A connection to this user's warmd. Clones that still run when it is closed get SIGHUP."""

    _handle = None

    def __init__(self, socket_path=None):
        self._libwarm = _libwarm()
        self._state = threading.Condition()
        self._calls = 0
        handle = ctypes.c_void_p()
        r = self._libwarm.warm_open(ctypes.byref(handle), None if socket_path is None else _path(socket_path))
        if r < 0:
            raise self._error(r, None)
        self._handle = handle

    def launch(self, name, argv=None, env=None, cwd=None, stdin=None, stdout=None, stderr=None):
        """Launch a clone of the template `name`.

        argv is the whole command, program first, as `warm build` had it, and env a mapping; None: the
        template's. cwd None: this process's. Each stream is a descriptor, a file (what Python has buffered of it
        is not flushed), DEVNULL, or None: this process's. No other descriptor is inherited.
        """
        options = _Options(size=ctypes.sizeof(_Options), template_name=_path(name))
        if argv is not None:
            options.argv = _strings(argv)
        if env is not None:
            options.envp = _environment(env)
        if cwd is not None:
            options.cwd = _path(cwd)
        options.fds[:] = [_descriptor(stream, own) for own, stream in enumerate((stdin, stdout, stderr))]
        pid, pidfd = ctypes.c_int(), ctypes.c_int()
        self._call(self._libwarm.warm_launch, ctypes.byref(options), ctypes.byref(pid), ctypes.byref(pidfd))
        return Clone(self, pid.value, pidfd.value)

    def close(self):
        """End the connection, once the calls of other threads are over"""
        with self._state:
            while self._calls:
                self._state.wait()
            handle, self._handle = self._handle, None
        if handle is not None:
            self._libwarm.warm_close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __del__(self):
        if self._handle is not None:
            self.close()

    def _call(self, function, *arguments):
        with self._state:
            if self._handle is None:
                raise ValueError("the connection is closed")
            self._calls += 1
        try:
            r = function(self._handle, *arguments)
            if r < 0:
                raise self._error(r, self._handle)
        finally:
            with self._state:
                self._calls -= 1
                self._state.notify_all()

    def _error(self, r, handle):
        # the words are the calling thread's
        return OSError(-r, self._libwarm.warm_error(handle).decode(errors="replace"))


class Clone:
    """A launched clone: pid, pidfd (readable once it has ended; closed with this object), returncode (None: not waited for)"""

    def __init__(self, warm, pid, pidfd):
        self.pid, self.pidfd = pid, pidfd
        self.returncode = None
        self.wstatus = None     # as os.waitpid() has it
        self._warm = warm
        self._lock = threading.Lock()

    def __repr__(self):
        return "<Clone pid %d returncode %s>" % (self.pid, self.returncode)

    def wait(self, timeout=None):
        """Wait until it has ended, for `timeout` seconds at most (TimeoutError). Return: exit status, or minus the signal"""
        # here and not in C, so that Ctrl-C gets through. Who reads the status first has it for all
        if self.returncode is None:
            self._wait_pidfd(timeout)
        with self._lock:
            if self.returncode is None:
                wstatus = ctypes.c_int()
                self._warm._call(self._warm._libwarm.warm_wait, self.pid, ctypes.byref(wstatus))
                self.wstatus = wstatus.value
                self.returncode = os.waitstatus_to_exitcode(self.wstatus)
        return self.returncode

    def poll(self):
        """Return: as wait(), or None while it runs"""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def send_signal(self, sig):
        """Send it a signal; ProcessLookupError when it has ended"""
        signal.pidfd_send_signal(self.pidfd, sig)

    def close(self):
        """Close the pidfd. The clone goes on"""
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)

    def __del__(self):
        self.close()

    def _wait_pidfd(self, timeout):
        if self.pidfd < 0:
            raise ValueError("the clone is closed")
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        if not poller.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError("clone %d still runs" % self.pid)
