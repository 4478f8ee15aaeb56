#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A warmd that misbehaves on demand, to test clients of launcher/wire/protocol.h.

In a test, in a thread of its own:

    with FakeWarmd(directory, "hang"):
        subprocess.run([WARM, "run", "true"])

or as a program (what a client starts as `warmd`): directory from WARM_RUNTIME_DIR, readiness
by WARMD_READY_FD, behaviour from FAKE_WARMD; it ends after a `stop` or 60 seconds.

Behaviours:
    ok          answers: run requests by `run` (default: cold, no template), control requests by `control`
    hang        takes connections and requests, never answers
    backlog     listens with a backlog of 0 and never accepts
    close       closes each connection at once
    close-late  closes after the request
    version     says that it speaks version 99, and closes
    magic       answers with something that is no packet of warm
    empty       answers with an empty packet
    short       header.size says more than was sent
    long        header.size says less than was sent
    huge        a packet larger than any receiver's buffer
    type        an answer of another type than asked for
    status      a run answer with an unknown status
    few-fds     a run answer that promises more descriptors than come (then closes)
    fds         an answer with descriptors: 253 of them; a client near its limit gets MSG_CTRUNC
Starting only:
    start-words     ends with words of failure
    start-silent    ends in silence, as if another held the lock
    start-hang      starts, never listens
"""

import fcntl
import os
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

MAGIC = 0x4D524157
VERSION = 4
MAX_SIZE = 128 * 1024
MAX_FDS = 253
T_VERSION, T_RUN, T_RUN_REPLY, T_CONTROL, T_CONTROL_REPLY = range(1, 6)
T_LAUNCH, T_ATTACH, T_LOOK = 7, 9, 16
STATUS = [
    "warm", "none", "building", "stale", "refused", "mismatch", "budget", "error", "disabled", "waits", "rights",
    "launched", "no_daemon", "timeout", "version", "failed",
]
F_NO_BUILD, F_BUILD, F_EXPLAIN, F_REBUILD, F_POOL = 1, 2, 4, 8, 16

HEADER = struct.Struct("<IHHII")
RUN = struct.Struct("<8I3Q16QQQ4i32Q6IHHI4QIiIIQI60s")
REPLY = struct.Struct("<II8QIIIIIIII256s")
COMMANDS = {1: "list", 2: "remove", 3: "inspect", 4: "stats", 5: "explain", 6: "stop", 7: "hello", 8: "ps"}


# --- protobuf, as much as is needed -------------------------------------------------


def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def message(fields):
    """Encode {field number: value or list of values}; ints, str and bytes (also nested messages)."""
    out = b""
    for number, values in fields.items():
        for v in values if isinstance(values, (list, tuple)) else [values]:
            if isinstance(v, int):
                out += varint(number << 3) + varint(v)
            else:
                v = v.encode(errors="surrogateescape") if isinstance(v, str) else v
                out += varint(number << 3 | 2) + varint(len(v)) + v
    return out


def parse(data):
    """Decode into {field number: [values]}."""
    at, fields = 0, {}

    def take():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(data):
        key = take()
        if key & 7 == 0:
            value = take()
        else:
            n = take()
            value = data[at : at + n]
            at += n
        fields.setdefault(key >> 3, []).append(value)
    return fields


def template(**values):
    """A Template of control.proto by its field names."""
    names = {
        "id": 1, "name": 2, "argv": 3, "cwd": 4, "ready": 5, "state": 6, "reason": 7, "created_ns": 8,
        "last_used_ns": 9, "launches": 10, "sealed_bytes": 11, "mappings": 12, "threads": 13, "files": 14,
        "build_ns": 15, "keys": 16, "dependencies": 17, "descriptors": 18, "memory": 19, "generation": 20,
    }
    return message({names[k]: v for k, v in values.items()})


def control_reply(error=0, words="", **fields):
    names = {"templates": 3, "stats": 4, "lines": 5, "hello": 6}
    return message({1: error, 2: words, **{names[k]: v for k, v in fields.items()}})


# --- packets --------------------------------------------------------------------------


def packet(kind, body=b"", version=VERSION, size=None, magic=MAGIC):
    size = HEADER.size + len(body) if size is None else size
    return HEADER.pack(magic, version, kind, size, 0) + body


def run_reply(status="none", reason="", template_id=0, nfds=0):
    status = STATUS.index(status) if isinstance(status, str) else status
    return packet(T_RUN_REPLY, REPLY.pack(status, nfds, 0, 0, 0, 0, 0, template_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, reason.encode()))


class Run:
    """A WIRE_RUN packet, taken apart; raises ValueError or struct.error when it is malformed."""

    def __init__(self, data):
        self.data = data
        v = RUN.unpack_from(data, HEADER.size)
        (self.flags, self.argc, self.envc, self.strings_size, self.umask, self.no_new_privs, self.seccomp,
         self.personality, self.ignored_signals, self.blocked_signals, self.capabilities) = v[:11]
        self.cpus, self.affinity, self.timerslack, self.policy = v[11:27], v[27], v[28], v[29:31]
        v = v[21:]  # behind struct scheduling
        self.rlimits = list(zip(v[12:44:2], v[13:44:2]))
        self.stdio, self.stdio_blksize = v[44:47], v[47:50]
        self.rows, self.columns, self.ngroups_hash = v[50:53]
        self.inherited = {64 * i + bit for i, word in enumerate(v[53:57]) for bit in range(64) if word >> bit & 1}
        self.tag, self.nice, self.pool = v[57:60]
        self.stdio_offset_nonzero = v[61]
        text = data[HEADER.size + RUN.size :]
        if len(text) != self.strings_size or text[-1:] != b"\0":
            raise ValueError("strings_size")
        strings = text[:-1].split(b"\0")
        if len(strings) != 3 + self.argc + self.envc:
            raise ValueError("number of strings")
        self.name, self.ready, self.cwd = (s.decode() for s in strings[:3])
        self.argv = [os.fsdecode(s) for s in strings[3 : 3 + self.argc]]
        self.envp = [os.fsdecode(s) for s in strings[3 + self.argc :]]


# --- the server -----------------------------------------------------------------------


class FakeWarmd:
    """Listens on DIRECTORY/warmd.sock from construction until stop() or the end of the `with` block."""

    def __init__(self, directory, behaviour="ok", run=None, control=None, listen_as=None):
        self.path = os.path.join(directory, "warmd.sock")
        self.behaviour = behaviour
        self.run_answer = run or (lambda r: run_reply("none"))
        self.control_answer = control or self.default_control
        self.runs, self.controls = [], []  # what was asked, for assertions
        self.ended = threading.Event()
        self.asked = threading.Event()  # a first request has come
        self.connections = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        Path(self.path).unlink(missing_ok=True)
        self.socket.bind(self.path)
        if listen_as is not None:  # SO_PEERCRED of clients: who calls listen(2)
            os.setuid(listen_as)
        self.socket.listen(0 if behaviour == "backlog" else 64)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ended.set()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join()
        self.socket.close()
        for c in self.connections:
            c.close()
        Path(self.path).unlink(missing_ok=True)

    def serve(self):
        if self.behaviour == "backlog":
            self.ended.wait()
            return
        while not self.ended.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.converse, args=(connection,), daemon=True).start()

    def converse(self, connection):
        try:
            if self.behaviour == "close":
                connection.close()
                return
            while data := connection.recv(MAX_SIZE):
                self.answer(connection, data)
        except OSError:
            pass

    def answer(self, connection, data):
        kind = HEADER.unpack_from(data)[2]
        if kind == T_LOOK and self.behaviour not in ("close-late", "version"):  # wants no answer
            return
        self.asked.set()
        reply_kind = T_RUN_REPLY if kind == T_RUN else T_CONTROL_REPLY
        misbehaviour = {
            "version": packet(T_VERSION, version=99),
            "magic": b"HTTP/1.0 400 Bad Request\r\n\r\n",
            "empty": b"",
            "short": packet(reply_kind, b"x" * 8, size=4096),
            "long": packet(reply_kind, b"x" * 512, size=HEADER.size),
            "huge": packet(reply_kind, b"x" * (MAX_SIZE + 1)),
            "type": packet(T_CONTROL_REPLY if kind == T_RUN else T_RUN_REPLY),
            "status": run_reply(4711),
            "few-fds": run_reply("warm", nfds=3),
        }
        if self.behaviour == "hang":
            return
        if self.behaviour == "close-late":
            connection.close()
        elif self.behaviour == "fds":
            fds = [0] * MAX_FDS
            reply = run_reply("warm", nfds=MAX_FDS) if kind == T_RUN else packet(T_CONTROL_REPLY)
            socket.send_fds(connection, [reply], fds)
        elif self.behaviour in misbehaviour:
            connection.send(misbehaviour[self.behaviour])
            if self.behaviour in ("version", "few-fds"):
                connection.close()
        elif kind == T_RUN:
            self.runs.append(Run(data))
            connection.send(self.run_answer(self.runs[-1]))
        else:
            self.control(connection, parse(data[HEADER.size :]))

    def control(self, connection, request):
        number, body = next(iter(request.items()))
        name, body = COMMANDS[number], parse(body[0])
        self.controls.append((name, body))
        connection.send(packet(T_CONTROL_REPLY, self.control_answer(name, body)))
        if name == "stop":
            self.ended.set()
            connection.close()

    @staticmethod
    def default_control(name, _body):
        if name == "stats":
            return control_reply(stats=b"")
        if name == "hello":
            return control_reply(hello=message({1: os.getpid(), 2: "0.1.0"}))
        if name in ("inspect", "explain", "remove"):
            return control_reply(-2, "no template of that name")
        return control_reply()


def main():
    if "--version" in sys.argv:
        print("warmd 0.1.0 (fake)")
        return 0
    signal.alarm(60)  # detached: it must not outlive its test
    directory = os.environ["WARM_RUNTIME_DIR"]
    ready = int(os.environ.get("WARMD_READY_FD", "2"))
    behaviour = os.environ.get("FAKE_WARMD", "ok")
    if log := os.environ.get("FAKE_WARMD_LOG"):  # one line a start: what it was given
        with open(log, "a", encoding="utf-8") as f:
            fds = ",".join(sorted((fd for fd in os.listdir("/proc/self/fd")
                                   if os.path.exists(f"/proc/self/fd/{fd}")), key=int))
            f.write(f"pid={os.getpid()} sid={os.getsid(0)} cwd={os.getcwd()} fds={fds} dir={directory} "
                    f"stdout={os.readlink('/proc/self/fd/1')} sigint={signal.getsignal(signal.SIGHUP)!r}\n")
    if behaviour == "start-words":
        os.write(ready, b"config.json line 3: unknown key 'budgt'\n")
        return 1
    if behaviour == "start-hang":
        threading.Event().wait(30)
    lock = os.open(os.path.join(directory, "warmd.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    if behaviour == "start-silent":
        return 0
    with FakeWarmd(directory, behaviour) as fake:
        os.write(ready, b"1")
        os.close(ready)
        fake.ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
