#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A client made by hand: asks warmd for everything that there is, with the words of a process that had all rights.

    liar.py DIRECTORY MESSAGE NAME PID [THREAD]

MESSAGE: file with the `struct wire_run` of such a process. NAME: a template. PID: a clone with a terminal. THREAD: a thread of this process has given
up rights: "no_new_privs". LIAR_SKIPS in the environment: what not to ask for. Prints JSON: {what was asked: [all that came, as latin-1, and the number of descriptors that came]}.
"""
import array
import ctypes
import json
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fake_warmd as fw  # noqa: E402


def strings(*lists):
    return b"".join(s + b"\0" for one in lists for s in one)


def run(data, kind=fw.T_RUN, flags=0, name=None, argv=None):
    """The message with another type, flags, name or arguments"""
    v = list(fw.RUN.unpack_from(data, fw.HEADER.size))
    text = data[fw.HEADER.size + fw.RUN.size:-1].split(b"\0")
    head, args, env = text[:3], text[3:3 + v[1]], text[3 + v[1]:]
    if name is not None:
        head[0] = name
    args = args if argv is None else argv
    body = strings(head, args, env)
    v[0], v[1], v[3] = flags, len(args), len(body)
    return fw.packet(kind, fw.RUN.pack(*v) + body)


def control(number, fields=None):
    return fw.packet(fw.T_CONTROL, fw.message({number: fw.message(fields or {})}))


HELLO = control(7)


def is_hello(data):
    return data[4:8] == fw.HEADER.pack(0, fw.VERSION, fw.T_CONTROL_REPLY, 0, 0)[4:8] and 6 in fw.parse(data[fw.HEADER.size:])


def ask(path, packet, fds=(), kind=socket.SOCK_SEQPACKET):
    """Everything that comes for it: what is refused is answered at once, before a question that everybody may ask"""
    came, descriptors = [], array.array("i")
    with socket.socket(socket.AF_UNIX, kind) as s:
        s.settimeout(10)
        try:
            s.connect(path)
            socket.send_fds(s, [packet], list(fds))
            if packet != HELLO and kind == socket.SOCK_SEQPACKET:
                s.send(HELLO)
            while True:
                data, ancillary, _, _ = s.recvmsg(fw.MAX_SIZE, socket.CMSG_SPACE(4 * fw.MAX_FDS))
                for level, what, fd_bytes in ancillary:
                    assert (level, what) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                    descriptors.frombytes(fd_bytes)
                if not data or (packet != HELLO and is_hello(data)):
                    break
                came.append(data)
                if packet == HELLO:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass  # as much an end as any
    for fd in descriptors:
        os.close(fd)
    return b"".join(came).decode("latin-1"), len(descriptors)


def basket(fds):
    """As engine/base/basket.c has it: descriptors go in a socket pair of their own"""
    inner, outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with inner:
        socket.send_fds(inner, [b"b"], fds)
    return [outer.detach()]


def give_up_in_a_thread():
    done, end = threading.Event(), threading.Event()

    def give_up():
        assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS, of this thread alone
        done.set()
        end.wait()
    threading.Thread(target=give_up, daemon=True).start()
    done.wait()


def main(directory, message, name, pid, thread=""):
    with open(message, "rb") as f:
        data = f.read()
    if thread:
        give_up_in_a_thread()
    name, sock = name.encode(), f"{directory}/warmd.sock"
    fds = [0, 1, 2, os.open(".", os.O_PATH)]
    attach = lambda flags: fw.packet(fw.T_ATTACH, int(pid).to_bytes(4, "little") + flags.to_bytes(4, "little"))  # noqa: E731
    questions = {
        "run": (sock, run(data)),
        "run --pool": (sock, run(data, flags=fw.F_POOL), basket(fds)),
        "explain command": (sock, run(data, flags=fw.F_EXPLAIN | fw.F_NO_BUILD)),
        "build": (sock, run(data, flags=fw.F_BUILD | fw.F_REBUILD)),
        "build another": (sock, run(data, flags=fw.F_BUILD, name=b"made-by-a-liar", argv=[b"/bin/true"])),
        "launch": (sock, run(data, kind=fw.T_LAUNCH, name=name), basket(fds)),
        "logs": (sock, attach(2)),
        "attach --view": (sock, attach(1)),
        "attach": (sock, attach(0)),
        "ls": (sock, control(1)),
        "inspect": (sock, control(3, {1: name})),
        "stats": (sock, control(4)),
        "explain": (sock, control(5, {1: name})),
        "explain clone": (sock, control(5, {1: str(pid)})),
        "ps": (sock, control(8)),
        "metrics": (f"{directory}/metrics.sock", b"GET /metrics HTTP/1.0\r\n\r\n", (), socket.SOCK_STREAM),
        "rm": (sock, control(2, {1: name})),
        "stop": (sock, control(6)),
        "hello": (sock, control(7)),
    }
    skipped = os.environ.get("LIAR_SKIPS", "").split(",")
    answers = {what: ask(*question) for what, question in questions.items() if what not in skipped}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
