# SPDX-License-Identifier: MIT
"""warm.launch over libwarm.so, this test being warmd: its templates are shell scripts"""

import os
import shutil
import socket
import struct
import subprocess
import threading

import pytest
from conftest import PACKAGE, ROOT

LIBRARY = os.environ.get("WARM_TEST_LIBWARM", os.path.join(ROOT, "build", "libwarm.so"))
MAGIC, VERSION = 0x4D524157, 4
RUN_REPLY, LAUNCH, EXITED = 3, 7, 8
NONE, LAUNCHED = 1, 11
ENV = 1 << 7
RUN_SIZE, RUN_TAG = 640, 552            # struct wire_run
REPLY_SIZE, REPLY_TAG, REPLY_REASON = 376, 96, 120      # struct wire_run_reply


class Server(threading.Thread):
    """Launches `sh -c NAME ARGV...`; NAME "none" is no template"""

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(directory / "warmd.sock"))
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return      # close()
            while self.answer(connection):
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()

    def answer(self, connection):
        data, fds, _, _ = socket.recv_fds(connection, 1 << 17, 8)
        if data:
            basket = socket.socket(fileno=fds[0])
            with basket:
                fds = socket.recv_fds(basket, 1, 8)[1]
            self.launch(connection, data, fds)
        return data

    def launch(self, connection, data, fds):
        magic, version, kind, size, _, flags, argc, envc = struct.unpack_from("<IHHIIIII", data)
        assert (magic, version, kind, size, len(fds)) == (MAGIC, VERSION, LAUNCH, len(data), 4)
        strings = data[RUN_SIZE:].split(b"\0")[:-1]
        assert len(strings) == 3 + argc + envc
        tag = struct.unpack_from("<I", data, RUN_TAG)[0]
        if strings[0] == b"none":
            self.reply(connection, tag, NONE, 0, [], b"no such thing")
        else:
            env = dict(word.split(b"=", 1) for word in strings[3 + argc:]) if flags & ENV else None
            process = subprocess.Popen([b"/bin/sh", b"-c", strings[0], *strings[3:3 + argc]], env=env,
                                       cwd="/proc/self/fd/%d" % fds[3], stdin=fds[0], stdout=fds[1], stderr=fds[2], pass_fds=[fds[3]])
            pidfd = os.pidfd_open(process.pid)
            self.reply(connection, tag, LAUNCHED, process.pid, [pidfd], b"")
            os.close(pidfd)
            threading.Thread(target=self.end, args=(connection, tag, process), daemon=True).start()
        for fd in fds:
            os.close(fd)

    def reply(self, connection, tag, status, pid, fds, reason):
        data = bytearray(REPLY_SIZE)
        struct.pack_into("<IHHIIII", data, 0, MAGIC, VERSION, RUN_REPLY, REPLY_SIZE, 0, status, len(fds))
        struct.pack_into("<IIII", data, REPLY_TAG, tag, pid, 1, 0)
        data[REPLY_REASON:REPLY_REASON + len(reason)] = reason
        socket.send_fds(connection, [bytes(data)], fds)

    def end(self, connection, tag, process):
        code = process.wait()
        wstatus = -code if code < 0 else code << 8
        connection.send(struct.pack("<IHHIIIiII", MAGIC, VERSION, EXITED, 32, 0, process.pid, wstatus, tag, 0))


@pytest.fixture
def run(runner, python, tmp_path):
    """run(code): a program that has Warm, and w, one that is open. Return: its output"""
    if not os.path.exists(LIBRARY):
        pytest.skip("libwarm.so is not built")
    directory = tmp_path / "run"
    directory.mkdir(0o700)
    server = Server(directory)
    shutil.copytree(os.path.join(PACKAGE, "warm"), str(tmp_path / "package" / "warm"))
    os.symlink(LIBRARY, str(tmp_path / "package" / "warm" / "libwarm.so"))

    def run(code):
        script = runner.write("p.py", "import os, signal, sys, threading, time\nfrom warm.launch import DEVNULL, Warm\nw = Warm()\n" + code)
        env = {**os.environ, "PYTHONPATH": str(tmp_path / "package"), "WARM_RUNTIME_DIR": str(directory)}
        done = subprocess.run([python, script], env=env, cwd=str(tmp_path), stdout=-1, stderr=-1, timeout=60, universal_newlines=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
    yield run
    server.close()


def test_context(run, tmp_path):
    assert run("r, t = os.pipe()\n"
               "c = w.launch('pwd; echo $0 $1 $A; echo err >&2; cat; exit 7', ['sh', b'\\xc3\\xa9'], {'A': 'b'}, '/tmp', DEVNULL, t, t)\n"
               "os.close(t)\nprint(open(r).read().split(), c.wait(), c.wait(), c.wstatus, c)\n") \
        .startswith("['/tmp', 'sh', 'é', 'b', 'err'] 7 7 1792 <Clone pid ")
    with open(tmp_path / "in", "w") as f:
        f.write("text")
    assert run("with open('in') as f: print(w.launch('cat; pwd; exit 3', stdin=f).wait())\n") == "text%s\n3\n" % tmp_path


def test_signals_and_timeouts(run):
    assert run("c = w.launch('exec sleep 60')\nprint(c.poll())\n"
               "try: c.wait(0.01)\nexcept TimeoutError: print('still')\n"
               "c.send_signal(signal.SIGTERM)\nprint(c.wait(), c.poll())\n") == "None\nstill\n-15 -15\n"


def test_interrupted(run):
    """Ctrl-C while it waits"""
    assert run("r, t = os.pipe()\nc = w.launch('read x; kill -INT $0; exec sleep 60', [str(os.getpid())], stdin=r)\n"
               "try:\n    os.write(t, b'\\n')\n    c.wait()\n"
               "except KeyboardInterrupt: print('interrupted')\nc.send_signal(9)\nprint(c.wait())\n") == "interrupted\n-9\n"


def test_errors(run, tmp_path):
    missing = str(tmp_path / "missing")
    assert run("missing = %r\n" % missing +
               "try: w.launch('none')\nexcept FileNotFoundError as e: print(e.strerror)\n"
               "try: w.launch('true', cwd=missing)\nexcept FileNotFoundError as e: print(missing in e.strerror)\n"
               "for bad in {'stdin': -7}, {'argv': ['a\\0b']}, {'env': {'a=b': ''}}, {'cwd': 'a\\0b'}:\n"
               "    try: w.launch('true', **bad)\n    except ValueError: print('value')\n"
               "try: Warm(missing)\nexcept ConnectionRefusedError: print('refused')\n"
               "w.close()\nw.close()\ntry: w.launch('true')\nexcept ValueError: print('closed')\n") == \
        "no such thing\nTrue\n" + 4 * "value\n" + "refused\nclosed\n"


def test_threads(run):
    """Each has its own status and words, and no descriptor is left but the handle's own: for leases, four with one template"""
    assert run("from concurrent.futures import ThreadPoolExecutor\n"
               "def life(i):\n    with_name = 'exit %d' % (i % 50)\n    return w.launch(with_name).wait() == i % 50\n"
               "before = len(os.listdir('/proc/self/fd'))\n"
               "with ThreadPoolExecutor(8) as pool: print(all(list(pool.map(life, range(100)))))\n"
               "print(len(os.listdir('/proc/self/fd')) - before <= 4)\n") == "True\nTrue\n"
