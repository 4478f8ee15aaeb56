# SPDX-License-Identifier: MIT
"""A warmd of the benchmarks' own: its directory, its configuration, the clones that it has parked."""
import json
import os
import shutil
import socket
import struct
import tempfile
import time
from pathlib import Path

from run import Failure, run

SKELETON = "warm-skeleton"  # PR_SET_NAME in engine/stub/skeleton.c
HOLDER = "warm-holder"  # the same in holder.c: of a large clone's memory
WAITING = "skb_wait_for_more_packets"  # where a parked clone sleeps: recvmsg(2) of its order, net/core/datagram.c
SETTLE = 30  # seconds that making clones may take


def read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Daemon:
    """One that the first build starts; stop() ends it"""

    def __init__(self, warm, base_env, **config):
        self.warm = warm
        self.own = tempfile.mkdtemp(prefix="warm-clones-", dir="/tmp")  # a socket's path is at most 107 bytes long
        self.socket = f"{self.own}/run/warmd.sock"
        os.makedirs(f"{self.own}/run", 0o700)
        os.makedirs(f"{self.own}/config/warm")
        # parked clones stay through pauses of any length, and the variables in which our launches differ from builds do not count
        config = {"pool_idle": 0, "memory_budget": "50%",
                  "ignore_variables": ["CLONE_BENCH", "WARM_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"], **config}
        Path(f"{self.own}/config/warm/config.json").write_text(json.dumps(config), encoding="utf-8")
        self.env = dict(base_env, WARM_RUNTIME_DIR=f"{self.own}/run", XDG_CONFIG_HOME=f"{self.own}/config",
                        XDG_CACHE_HOME=f"{self.own}/cache")
        self._pid = None

    def command(self, *words):
        status, text, said = run([self.warm, *words], self.env)
        if status:
            raise Failure(f"warm {' '.join(words)}: exit status {status}: {said}")
        return text.decode()

    def build(self, name, argv, ready=None, pool=None):
        options = ["--name", name]
        options += ["--ready", ready] if ready else []
        options += ["--pool", str(pool)] if pool else []
        self.command("build", *options, "--", *argv)

    @property
    def pid(self):
        """Who listens at the socket: unix(7), SO_PEERCRED"""
        if not self._pid:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.connect(self.socket)
                self._pid = struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return self._pid

    def alive(self):
        return bool(read(f"/proc/{self.pid}/comm"))

    def children(self):
        return [int(p) for p in read(f"/proc/{self.pid}/task/{self.pid}/children").split()]

    def skeletons(self):
        return [p for p in self.children() if read(f"/proc/{p}/comm").strip() == SKELETON]

    def wait_parked(self, count, timeout=SETTLE, pause=0.01):
        """Until that many clones, of all templates, wait for their order. Returns their PIDs and when that was, in seconds"""
        parked, deadline = set(), time.monotonic() + timeout
        while True:
            children = self.children()
            if len(children) > count:
                for p in children:
                    if p not in parked and read(f"/proc/{p}/comm").strip() not in ("", SKELETON, HOLDER):
                        # "0": this kernel, or this user, is not told where
                        where = read(f"/proc/{p}/wchan")
                        if WAITING in where or where == "0":
                            parked.add(p)
                parked &= set(children)
            now = time.monotonic()
            if len(parked) >= count:
                return sorted(parked), now
            if now > deadline or not self.alive():
                raise Failure(f"{len(parked)} of {count} clones were parked after {timeout} s"
                              f"{'' if self.alive() else '; warmd is gone'}: {self.log()}")
            time.sleep(pause)

    def status(self, key):
        """Of warmd's /proc/PID/status: "VmHWM" in KiB"""
        for line in read(f"/proc/{self.pid}/status").splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise Failure(f"warmd is gone: {self.log()}")

    def log(self):
        return "; ".join(read(f"{self.own}/run/warmd.log").splitlines()[-2:])

    def stop(self):
        if os.path.exists(self.socket):
            run([self.warm, "stop"], self.env)
        shutil.rmtree(self.own, ignore_errors=True)
