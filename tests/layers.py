#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make check-layers - what each folder's files include, against the table of docs/design.md, "Folders"

A folder may include its own headers and those of the folders that its line names. A folder that has no line may not
exist, so that a new one is entered here and in the document. The same order holds for calls: the Makefile makes one
archive a folder and links each program and test with what its layer may use.
"""
import re
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
BASE = {"engine/base"}
STUB_ABI = {"engine/stub"}
ORDER = {"engine/stub/order.h"}     # one file of a folder: all of the stub that who only sends orders needs
ENGINE = BASE | STUB_ABI | {"engine", "engine/arch"}
SNAPSHOT = ENGINE | {"snapshot/model", "snapshot/kinds", "snapshot/dump", "snapshot/plan", "snapshot/image"}
WIRE = {"launcher/wire"}
WARMD_DATA = {"warmd/config", "warmd/stale", "warmd/connection", "warmd/metrics", "warmd/template"}

MAY_USE = {
    "engine/base": set(),
    "engine/stub": BASE,     # one header of it: struct scheduling
    "engine/arch": STUB_ABI,
    "engine": BASE | STUB_ABI | {"engine/arch"},
    "engine/steal": ENGINE | {"pty"},
    "pty": BASE,
    "snapshot/model": BASE | {"engine/arch", "engine/stub/fd_kinds.def"},
    "snapshot/kinds": BASE | STUB_ABI | {"engine/arch", "engine/proc.h", "snapshot/model"},
    "snapshot/dump": (ENGINE - STUB_ABI) | {"snapshot/model", "snapshot/kinds", "snapshot/plan"},
    "snapshot/plan": BASE | STUB_ABI | {"engine/arch", "engine/proc.h", "snapshot/model", "snapshot/kinds"},
    "snapshot/image": BASE | {"engine/elf.h", "snapshot/model"},
    "launcher/wire": BASE | ORDER,
    "launcher": (ENGINE - STUB_ABI) | ORDER | WIRE | {"engine/steal", "pty", "snapshot/kinds", "snapshot/dump", "snapshot/model", "snapshot/plan", "snapshot/image"},
    "warmd/config": BASE | {"pty"},
    "warmd/stale": BASE | WIRE,
    "warmd/build": SNAPSHOT | WIRE | {"warmd/config", "warmd/stale"},
    "warmd/keep": SNAPSHOT | WIRE | {"warmd/config", "warmd/stale", "warmd/build"},
    "warmd/connection": BASE | WIRE,
    "warmd/metrics": BASE | WIRE,
    "warmd/template": BASE | WIRE | {"warmd/config", "warmd/stale"},
    "warmd/pool": SNAPSHOT | WIRE | WARMD_DATA | {"pty"},
    "warmd": SNAPSHOT | WIRE | WARMD_DATA | {"warmd/build", "warmd/keep", "warmd/pool", "pty"},
}


def folder(path):
    """The longest folder of the table that the file lies in; below it are architectures"""
    parts = path.split("/")[:-1]
    while parts:
        name = "/".join(parts)
        if name in MAY_USE:
            return name if name == "/".join(path.split("/")[:-1]) or "arch" in name or name == "engine/stub" else None
        parts.pop()
    return None


def main():
    listed = subprocess.run(["git", "-C", TREE, "ls-files", "engine", "snapshot", "pty", "warmd", "launcher"],
                            capture_output=True, text=True, check=False).stdout.split()
    files = listed or [str(p.relative_to(TREE)) for top in ("engine", "snapshot", "pty", "warmd", "launcher")
                       for p in (TREE / top).rglob("*.[ch]")]
    bad = []
    for path in sorted(f for f in files if f.endswith((".c", ".h")) and (TREE / f).exists()):
        own = folder(path)
        if own is None:
            bad.append(f"{path}: its folder has no line in tests/layers.py")
            continue
        for number, line in enumerate((TREE / path).read_text(encoding="utf-8").splitlines(), 1):
            found = re.match(r'#include "([a-z_0-9/.-]+/[a-z_0-9.-]+)"', line)
            other = found and folder(found[1])
            if found and other != own and not {other, found[1]} & MAY_USE[own]:
                bad.append(f"{path}:{number}: {own} may not use {other or found[1]}: {line}")
    print("\n".join(bad) or f"{len(files)} files: no include against the direction of the folders")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
