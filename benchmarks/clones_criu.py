# SPDX-License-Identifier: MIT
"""The peer CRIU: `criu restore` of a C program that does nothing, from the call until the program runs."""
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

SAMPLES = 20
TIMEOUT = 20


def criu(*words, directory):
    return subprocess.run(["criu", *words, "-D", str(directory), "-o", "criu.log"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=TIMEOUT).returncode


def restore(images, stamp):
    stamp.unlink(missing_ok=True)
    start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    if criu("restore", "-d", "--shell-job", directory=images):
        return None
    deadline = time.monotonic() + TIMEOUT
    while not stamp.exists():
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)
    return int(stamp.read_text(encoding="ascii")) - start


def samples(o, own):
    """A list of nanoseconds, or words"""
    images, stamp = own / "images", own / "stamp"
    images.mkdir()
    with open(os.devnull, "r+b") as null:
        process = subprocess.Popen([str(o.out / "gap"), str(stamp)], stdin=null, stdout=null, stderr=null,
                                   start_new_session=True)
    try:
        time.sleep(0.1)  # past the dynamic linker
        if criu("dump", "-t", str(process.pid), "--shell-job", directory=images):
            return "criu dump failed"
    finally:
        process.kill()
        process.wait()
    (own / "stamp.armed").touch()
    taken = []
    for _ in range(SAMPLES):
        time.sleep(0.05)  # the one before has ended: they have the same PID
        ns = restore(images, stamp)
        if ns is None:
            return "criu restore failed"
        taken.append(ns)
    return taken


def measure(o, summary):
    if not shutil.which("criu"):
        return {"why": "not measured: no criu on PATH"}
    own = Path(tempfile.mkdtemp(prefix="warm-criu-", dir="/tmp"))
    try:
        if criu("check", directory=own):
            return {"why": "not measured: criu check fails on this machine"}
        got = samples(o, own)
    except subprocess.TimeoutExpired:
        got = "criu did not end in time"
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return {"why": f"not measured: {got}"} if isinstance(got, str) else summary(got)
