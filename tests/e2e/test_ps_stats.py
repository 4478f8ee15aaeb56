# SPDX-License-Identifier: MIT
"""`warm ps`, `warm stats`, what inspect and explain tell of a process, and the metrics socket"""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest
from conftest import PYTHON, TIMEOUT, eventually, exists, read_until, state

PROGRAM = """\
import json, os, sys
print("ready", os.getpid(), flush=True)
line = sys.stdin.readline()
if line.strip() == "kill":
    os.kill(os.getpid(), 9)
print(json.dumps(sys.argv[1:]))
sys.exit(3)
"""
SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (-?[0-9.e+-]+)')


@pytest.fixture
def program(script):
    return [PYTHON, script(PROGRAM)]


class Running:
    """A clone: its PID, and the client that waits for it"""

    def __init__(self, warm, words, **options):
        self.client = subprocess.Popen([warm.program, *map(str, words)], env=warm.environment(), stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        warm.popens.append(self.client)
        self.pid = int(read_until(self.client.stdout.fileno(), rb"ready \d+\n").split()[1])

    def end(self, line=b"x\n"):
        out, err = self.client.communicate(line, timeout=TIMEOUT)
        return self.client.returncode, out, err


def parked(warm, name, n):
    """Wait until n clones of the template are parked, and nothing more is to be made"""
    def there():
        [t] = [t for t in warm.ls() if t["name"] == name]
        return t["parked"] == n and t["pool"]["making"] == 0
    eventually(there, f"{n} parked clones")


def detach(warm, name, stdin):
    """`warm launch --detach`, its output in a file, as the clone keeps that"""
    with tempfile.TemporaryFile() as out:
        subprocess.run([warm.program, "launch", "--detach", name], env=warm.environment(), stdin=stdin, stdout=out,
                       timeout=TIMEOUT, check=True)

        def number():
            out.seek(0)
            return [int(line) for line in out.read().split(b"\n") if line.isdigit()]
        return eventually(number, "its PID")[0]


def ps(warm, *options):
    return {c["pid"]: c for c in warm.json("ps", *options)}


def fetch(warm, request=b"GET /metrics HTTP/1.1\r\nHost: warm\r\n\r\n", **options):
    """(status, headers, body) of the metrics socket"""
    with connect(warm, **options) as s:
        s.sendall(request)
        return receive(s)


def connect(warm, timeout=TIMEOUT):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(str(warm.runtime_dir / "metrics.sock"))
    return s


def receive(s):
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith("HTTP/1.1 "), data
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def metrics(text):
    """{(name, frozenset of (label, value))}: number; each family announced, and only once"""
    found, types, family = {}, {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in types and len(line.split()) > 3
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family
            types[family] = line.split()[3]
        else:
            m = SAMPLE.fullmatch(line)
            assert m and types[family], line
            name, labels, value = m.groups()
            assert name in (family, *([f"{family}_sum", f"{family}_count"] if types[family] == "summary" else [])), line
            labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            assert (name, labels) not in found, line
            found[name, labels] = float(value)
    return found


def value(found, name, **labels):
    [v] = [v for (n, k), v in found.items() if n == name and set(labels.items()) <= k]
    return v


# --- ps -------------------------------------------------------------------------------------------------

def test_nothing_runs(own_warm):
    assert own_warm.json("ps") == [] and own_warm.pid() is None
    assert own_warm.command("ps", "--all").stdout.split()[:3] == ["PID", "STATE", "WAY"]
    r = own_warm.command("stats", "--prometheus", check=False)
    assert r.returncode == 125 and r.stderr == "warm: warmd is not running\n" and r.stdout == ""


def test_ps(own_warm, program):
    """Clones of each way, with their state, age and memory; and what inspect and explain say of them"""
    w = own_warm
    w.build(program, options=["--name", "shop", "--pool", "2"], stdin="pipe")
    parked(w, "shop", 2)
    before = time.time_ns()
    clones = {"parked": Running(w, ["launch", "shop", "a"]), "become": Running(w, ["run", "--strict", "--", *program])}

    seen = ps(w)
    assert set(seen) == {c.pid for c in clones.values()}
    for way, c in clones.items():
        row = seen[c.pid]
        assert row["template"] == "shop" and row["template_id"] == 1
        assert (row["state"], row["way"], row["detached"]) == ("running", way, False)
        assert before <= row["since_ns"] <= time.time_ns()
        assert 0 < row["private_bytes"] <= row["pss_bytes"] <= row["rss_bytes"]
        assert row["shared_bytes"] == row["pss_bytes"] - row["private_bytes"]
        assert row["client_pid"] == (c.client.pid if way == "parked" else 0)
        assert w.json("inspect", str(c.pid))["way"] == way
        text = w.command("inspect", str(c.pid)).stdout
        assert re.search(r"^template +shop$", text, re.M) and re.search(rf"^way +{way}$", text, re.M)
        lines = " ".join(w.json("explain", str(c.pid))["lines"])
        assert "shop" in lines and f"way: {way}" in lines and " ago" in lines
    lines = w.command("explain", str(clones["parked"].client.pid)).stdout
    assert f"it is process {clones['parked'].pid}" in lines

    parked(w, "shop", 2)
    everything = ps(w, "--all")
    assert sorted(c["state"] for c in everything.values()) == ["parked", "parked", "running", "running", "skeleton"]
    table = w.command("ps", "-a").stdout.splitlines()
    assert table[0].split() == ["PID", "STATE", "WAY", "AGE", "PSS", "PRIVATE", "RSS", "TEMPLATE"]
    assert len(table) == 6 and [line.split()[1] for line in table[1:3]] == ["running"] * 2
    [skeleton] = [p for p, c in everything.items() if c["state"] == "skeleton"]
    assert "skeleton" in w.command("explain", str(skeleton)).stdout
    assert w.json("inspect", "shop")["pool"]["skeleton_pid"] == skeleton
    [idle, _] = [p for p, c in everything.items() if c["state"] == "parked"]
    assert "is parked" in w.command("explain", str(idle)).stdout
    assert w.json("inspect", str(idle))["state"] == "parked"

    assert clones["parked"].end() == (3, b'["a"]\n', b"")
    assert clones["become"].end(b"kill\n")[0] == -signal.SIGKILL
    eventually(lambda: ps(w) == {}, "an end of both")
    assert "exit status 3" in w.command("explain", str(clones["parked"].pid)).stdout
    r = w.command("inspect", str(clones["become"].pid), check=False)
    assert r.returncode == 125 and "no clone any more" in r.stderr
    r = w.command("inspect", str(clones["parked"].pid), check=False)
    assert r.returncode == 125 and "no clone of that PID" in r.stderr


def test_fork_and_signal(own_warm, program):
    """Without a pool a launch is forked; an end by a signal is told"""
    w = own_warm
    w.build(program, options=["--name", "shop"], stdin="pipe")
    c = Running(w, ["launch", "shop"])
    assert ps(w)[c.pid]["way"] == "fork"
    assert "way: fork" in w.command("explain", str(c.pid)).stdout
    assert c.end(b"kill\n")[0] == -signal.SIGKILL
    eventually(lambda: "by signal 9" in w.command("explain", str(c.pid)).stdout, "word of its end")
    stats = w.stats()
    assert stats["ways"]["fork"] == 1 and stats["pool"]["misses"] == 1 and stats["pool"]["hits"] == 0


def test_only_clones_are_listed(own_warm, script):
    """One by become that executes another program is a clone no more"""
    w = own_warm
    s = script("import os, sys\nsys.stdin.readline()\nos.execv('/bin/sh', ['sh', '-c', 'echo ready $$; read x'])\n")
    w.build([PYTHON, s], stdin="pipe")
    p = w.popen([PYTHON, s])
    eventually(lambda: p.pid in ps(w), "the clone")
    p.stdin.write(b"\n")
    p.stdin.flush()
    read_until(p.stdout.fileno(), rb"ready \d+\n")
    assert ps(w) == {}
    p.communicate(b"\n", timeout=TIMEOUT)


def test_many(own_warm, script):
    """More than one answer of warmd's can hold"""
    w = own_warm
    s = script("import json\nprint(1)\n")
    name = "n" * 180
    w.build([PYTHON, "-S", s], options=["--name", name, "--pool", "700"])
    parked(w, name, 700)
    seen = w.json("ps", "--all", timeout=TIMEOUT * 2)
    assert len(seen) == 701 == len({c["pid"] for c in seen}) and {c["template"] for c in seen} == {name}
    found = metrics(w.command("stats", "--prometheus").stdout)
    assert value(found, "warm_template_processes", template=name, state="parked") == 700
    assert value(found, "warm_template_private_bytes", template=name) > 700 * 4096


# --- rm, stop -----------------------------------------------------------------------------------------------

def test_remove(own_warm, program):
    """Takes the skeleton and the parked clones away; what runs goes on, and stays listed"""
    w = own_warm
    w.build(program, options=["--name", "shop", "--pool", "2"], stdin="pipe")
    parked(w, "shop", 2)
    clones = [Running(w, ["launch", "shop", "a"]), Running(w, ["run", "--strict", "--", *program])]
    parked(w, "shop", 2)
    others = [p for p, c in ps(w, "--all").items() if c["state"] != "running"]
    assert len(others) == 3
    w.command("rm", "shop")
    eventually(lambda: not any(map(exists, others)), "the end of the pool")
    assert w.ls() == []
    seen = ps(w, "--all")
    assert set(seen) == {c.pid for c in clones} and {c["template"] for c in seen.values()} == {"shop"}
    assert w.stats()["running"] == 1
    assert [c.end()[0] for c in clones] == [3, 3]


def test_stop(own_warm, program):
    """Ends parked clones and skeletons; what runs goes on, and its client still learns how it ends"""
    w = own_warm
    w.build(program, options=["--name", "shop", "--pool", "2"], stdin="pipe")
    parked(w, "shop", 2)
    attached = Running(w, ["launch", "shop", "a"])
    end, put = os.pipe()
    detached = detach(w, "shop", end)
    os.close(end)
    assert ps(w)[detached]["detached"] is True
    parked(w, "shop", 2)
    others = [p for p, c in ps(w, "--all").items() if c["state"] != "running"]
    assert len(others) == 3
    w.command("stop")
    eventually(lambda: not any(map(exists, others)), "the end of the pool")
    assert not (w.runtime_dir / "metrics.sock").exists()
    assert exists(detached) and exists(attached.pid) and attached.client.poll() is None
    os.close(put)
    eventually(lambda: not exists(detached), "the end of the detached one")
    status, out, _ = attached.end()
    assert out == b'["a"]\n' and status == 3


# --- stats ------------------------------------------------------------------------------------------------------

def test_stats(own_warm, program):
    w = own_warm
    assert w.run(program, stdin=b"x\n").status == 3         # cold: it starts the daemon
    w.idle()
    w.run([*program, "other"], stdin=b"x\n", options=["--name", "nobody"])
    w.idle()
    w.build(program, options=["--name", "shop", "--pool", "2", "--rebuild"], stdin="pipe")
    for _ in range(3):
        parked(w, "shop", 2)
        assert w.command("launch", "shop", check=False).returncode == 3
    assert w.run(program, strict=True, stdin=b"x\n").status == 3
    assert w.command("launch", "nobody2", check=False).returncode == 125
    parked(w, "shop", 2)
    eventually(lambda: w.stats()["running"] == 0, "an end of all")

    stats = w.stats()
    assert stats["ways"] == {"become": 1, "fork": 0, "parked": 3, "cold": stats["launches"]["none"]}
    assert stats["ways"]["cold"] >= 2 and stats["launches"]["warm"] == 1 and stats["launches"]["launched"] == 3
    assert stats["refused"]["none"] == 1
    assert stats["pool"]["hits"] == 3 and stats["pool"]["misses"] == 0 and stats["pool"]["skeletons"] >= 1
    [shop] = [t for t in stats["by_template"] if t["name"] == "shop"]
    assert shop["launches"] == 4 and shop["parked"] == 2 and shop["pool"]["hits"] == 3
    assert shop["sealed_bytes"] > 0 and shop["shared_bytes"] > 0 and shop["private_bytes"] > 0
    assert stats["processes"] == stats["processes_measured"] == 3
    phases = {(p["way"], p["phase"]): p for p in stats["latencies"]}
    for way, phase, count in (("parked", "request to order", 3), ("parked", "request to answer", 3),
                              ("parked", "order to end", 3), ("become", "request to answer", 1)):
        p = phases[way, phase]
        assert p["count"] == count and 0 < p["p50_ns"] <= p["p90_ns"] <= p["p99_ns"] <= p["max_ns"] <= p["sum_ns"]
    assert phases["pool", "asked to parked"]["count"] >= 5 and ("fork", "order to end") not in phases
    text = " ".join(w.command("stats").stdout.split())
    assert "parked 3 " in text and "cold: none" in text and "hits 3" in text and "parked request to order 3 " in text

    assert w.command("ls").stdout.splitlines()[0].split()[6] == "PARKED"
    r = w.command("stats", "--json", "--prometheus", check=False)
    assert r.returncode == 125 and "either" in r.stderr


def test_stats_of_runs_by_the_pool(own_warm, program):
    """The answer goes before the clone's order: what has not begun has taken no time, and not that of the whole uptime"""
    w = own_warm
    w.build(program, options=["--name", "shop", "--pool", "2"], stdin="pipe")
    for _ in range(2):
        parked(w, "shop", 2)
        assert w.run(program, strict=True, options=["--name", "shop", "--pool"], stdin=b"x\n").status == 3
    eventually(lambda: w.stats()["running"] == 0, "an end of all")
    stats = w.stats()
    assert stats["ways"]["parked"] == 2, stats["ways"]
    phases = {(p["way"], p["phase"]): p for p in stats["latencies"]}
    assert phases["parked", "request to answer"]["count"] == phases["parked", "order to end"]["count"] == 2
    assert all(p["max_ns"] <= stats["uptime_ns"] for p in stats["latencies"]), stats


# --- the metrics socket -----------------------------------------------------------------------------------------

def test_prometheus(own_warm, program):
    w = own_warm
    name = 'a "name" \\ with {all}=\xe4'
    w.build(program, options=["--name", name, "--pool", "2"], stdin="pipe")
    parked(w, name, 2)
    c = Running(w, ["launch", name, "a"])
    parked(w, name, 2)
    status, headers, body = fetch(w)
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(headers["content-length"]) == len(body) and headers["connection"] == "close"
    found = metrics(body.decode())
    label = 'a \\"name\\" \\\\ with {all}=\xe4'
    assert value(found, "warm_launches_total", way="parked") == 1
    assert value(found, "warm_launches_total", way="cold") == 0
    assert value(found, "warm_pool_hits_total") == 1
    assert value(found, "warm_running_clones") == 1
    for what, n in (("running", 1), ("parked", 2), ("making", 0), ("skeleton", 1)):
        assert value(found, "warm_template_processes", template=label, state=what) == n
    for kind in ("sealed", "private", "mapped"):
        assert value(found, f"warm_template_{kind}_bytes", template=label) > 0
    assert value(found, "warm_phase_seconds_count", way="parked", phase="request_to_order") == 1
    assert 0 < value(found, "warm_phase_seconds", way="parked", phase="request_to_order", quantile="0.99") < TIMEOUT
    again = metrics(w.command("stats", "--prometheus").stdout)
    assert set(again) == set(found)
    mode = (w.runtime_dir / "metrics.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    c.end()


def test_http(warm):
    """One request a connection, and only those that make sense"""
    warm.start()
    assert fetch(warm, b"GET / HTTP/1.0\n\n")[0] == 200
    status, headers, body = fetch(warm, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (status, body) == (200, b"") and int(headers["content-length"]) > 1000
    status, headers, _ = fetch(warm, b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nx=1")
    assert status == 405 and headers["allow"] == "get, head"
    assert fetch(warm, b"GET /etc/passwd HTTP/1.1\r\n\r\n")[0] == 404
    assert fetch(warm, b"GET /metrics HTTP/3\r\n\r\n")[0] == 400
    assert fetch(warm, b"\x16\x03\x01\x02\x00\n\n")[0] == 400
    assert fetch(warm, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 5000)[0] == 431
    # a second request on the connection is not answered
    status, headers, body = fetch(warm, b"GET /metrics HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
    assert status == 200 and len(body) == int(headers["content-length"])
    # in pieces, the last with the end of what is sent
    with connect(warm) as s:
        for byte in b"GET /metrics HTTP/1.1\r\n\r\n":
            s.send(bytes([byte]))
        s.shutdown(socket.SHUT_WR)
        assert receive(s)[0] == 200


@pytest.mark.races("measures seconds")
def test_slow_clients(own_warm, script):
    """Clients that say nothing, do not read or go away hold nobody up, and are not waited for for long"""
    w = own_warm
    s = script("import json\nprint(1)\n")
    for i in range(8):      # the more templates, the longer the text
        w.build([PYTHON, s, str(i)], options=["--ready", "main", "--name", f"n{i}" + "x" * 180])
    pid = w.pid()
    before = len(os.listdir(f"/proc/{pid}/fd"))
    with contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(connect(w)) for _ in range(4)]
        for c in deaf:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            c.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        mute = [stack.enter_context(connect(w)) for _ in range(20)]
        mute[0].sendall(b"GET /met")
        for _ in range(20):
            with connect(w) as c:
                c.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        start = time.monotonic()
        assert len(w.ls()) == 8
        assert w.run([PYTHON, s, "1"], strict=True, options=["--ready", "main", "--name", "n1" + "x" * 180]).out == "1\n"
        assert time.monotonic() - start < 3
        assert len(os.listdir(f"/proc/{pid}/fd")) <= before + 9
        # those before it are given up one after the other
        assert fetch(w, timeout=TIMEOUT)[0] == 200
        assert mute[0].recv(1) == b""
    eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "an end of their connections")
    eventually(lambda: state(pid) == "S", "rest")
    assert w.pid() == pid


def test_socket_of_a_killed_daemon(own_warm):
    """It is replaced"""
    w = own_warm
    pid = w.start()
    w.idle()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not exists(pid), "its end")
    assert w.command("stats", "--prometheus", check=False).returncode == 125
    assert w.start() != pid
    assert fetch(w)[0] == 200
