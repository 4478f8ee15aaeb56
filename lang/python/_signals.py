# SPDX-License-Identifier: MIT
"""Signals: what CPython makes of its caller's at its start, made anew in a clone.

When it starts it looks at each signal's disposition, keeps what it found (signal.getsignal()
answers from that), and installs its handler of SIGINT only if SIGINT was not ignored (Modules/signalmodule.c:
signal_module_exec()). A clone may have a caller that ignores, or blocks, others than the build's did.

What the program itself asks of a signal or does to it before its readiness point is part of the key, so it is never
one of those that differ here: warmd sees the system call, but for signal.getsignal(), which makes none.
"""

import sys

OTHER_SIGNALS = 4               # in byte 21: four words follow the strings
SIGNALS_SIZE = 32
SIGINT, SIGPIPE, SIGXFSZ = 2, 13, 25
SET_AT_START = (SIGPIPE, SIGXFSZ)       # whatever the caller had: init_signals() in Python/pylifecycle.c


class Questions:
    """Which signals the program asks _signal.getsignal() for; signal.getsignal() asks it, too"""

    def __init__(self):
        import _signal      # always loaded
        self.module, self.original = _signal, _signal.getsignal
        self.asked = 0
        self.noting = self.make_noting()

    def make_noting(self):
        questions, original = self, self.original

        def getsignal(signalnum, /):
            if type(signalnum) is int or isinstance(signalnum, int):
                questions.asked |= 1 << (int(signalnum) - 1 & 63)
            return original(signalnum)
        for name in ("__doc__", "__name__", "__qualname__", "__module__", "__text_signature__"):
            setattr(getsignal, name, getattr(original, name, None))
        return getsignal

    def start(self):
        self.module.getsignal = self.noting

    def stop(self):
        """Everything as it was, and the protocol's line"""
        if self.module.getsignal is self.noting:
            self.module.getsignal = self.original
        wrapper = names_of_module("signal").get("getsignal")
        if getattr(wrapper, "__dict__", {}).get("__wrapped__") is self.noting:     # functools.wraps(), 3.9
            wrapper.__wrapped__ = self.original
        return b"SIGNALS=%x" % self.asked


def block_handled():
    """Signals with a handler of the program's wait until the context is taken. Returns the mask before.

    The C library blocks its own two signals as well for a moment; they are not Python's to name, and stay as they are.
    """
    import _signal
    valid = _signal.valid_signals()
    handled = [n for n in valid if callable(_signal.getsignal(n))]
    return _signal.pthread_sigmask(_signal.SIG_BLOCK, handled) & valid


def take_signals(raw, mask):
    """In a clone: the context without the signals in it, and the mask for the main thread"""
    if not raw[21] & OTHER_SIGNALS:
        return raw, mask
    ignored, ignored_before, blocked, blocked_before = [
        int.from_bytes(raw[at:at + 8 or None], sys.byteorder) for at in range(-SIGNALS_SIZE, 0, 8)]
    import _signal
    for number in _signal.valid_signals():
        bit = 1 << (number - 1)
        if (ignored ^ ignored_before) & bit and number not in SET_AT_START:
            take_disposition(_signal, number, bool(ignored & bit))
    if blocked != blocked_before and signal_bits(mask) == blocked_before & signal_bits(_signal.valid_signals()):
        mask = {number for number in _signal.valid_signals() if blocked & 1 << (number - 1)}
    return raw[:-SIGNALS_SIZE], mask


def signal_bits(numbers):
    bits = 0
    for number in numbers:
        bits |= 1 << (number - 1)
    return bits


def take_disposition(_signal, number, ignored):
    """As the interpreter would have found it; a handler that is no longer the start's own is the program's"""
    now = _signal.getsignal(number)
    if ignored and (now is _signal.default_int_handler if number == SIGINT else now == _signal.SIG_DFL):
        _signal.signal(number, _signal.SIG_IGN)
    elif not ignored and now == _signal.SIG_IGN:
        _signal.signal(number, _signal.default_int_handler if number == SIGINT else _signal.SIG_DFL)


def reap_forgotten():
    """Children of os.popen() and other subprocess.Popen objects that nobody has any more: as such an object goes, or when
    the next one is made, the module asks whether they have ended, and they may have done so by either (subprocess._cleanup()).
    A clone cannot wait for them, so they are waited for here, as long as it takes a child to end that has closed its output"""
    import _signal
    names = names_of_module("subprocess")
    forgotten = names.get("_active")
    if not forgotten or _signal.getsignal(_signal.SIGCHLD) != _signal.SIG_DFL:      # which would lose one
        return
    poll = type_attribute(names["Popen"], "_internal_poll")     # a subclass of the program's may have one of its own
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGCHLD])
    try:
        for child in list(forgotten):
            # SIGCHLD is one for several, and may have come before: ask first
            if poll(child, _deadstate=sys.maxsize) is None:
                _signal.sigtimedwait([_signal.SIGCHLD], 0.2)
            if poll(child, _deadstate=sys.maxsize) is not None and child in forgotten:
                forgotten.remove(child)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
