#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""make_corpus.py DIR - the seeds of the fuzz targets; their formats are told in fuzz_*.c"""
import os
import struct
import sys

MAGIC, VERSION = 0x4D524157, 4
RUN, RUN_REPLY, CONTROL, CONTROL_REPLY, LAUNCH, ATTACH, DETACH = 2, 3, 4, 5, 7, 9, 11
POOL, DETACH, APPEND, ENV, CGROUP, TERMINAL, BACKGROUND = (1 << n for n in range(4, 11))
RAW, HEADER, RUN_STEP, CONTROL_STEP, FDS, RECONNECT, PARSE = range(7)
RUN_SIZE = 640  # sizeof(struct wire_run)


def header(kind, size, magic=MAGIC, version=VERSION):
    return struct.pack("<IHHII", magic, version, kind, size, 0)


def run(strings, argc, envc, flags=0, size=None, strings_size=None, stdio=(5, 2, 1), kind=RUN):
    fixed = struct.pack("<8I", flags, argc, envc, len(strings) if strings_size is None else strings_size, 0o22, 0, 0, 0)
    fixed += struct.pack("<3Q16QQQ4i", 0, 0, 0, 3, *[0] * 15, 1, 50000, 0, 0, 0, 0) + struct.pack("<32Q", *([1 << 20] * 32))
    fixed += struct.pack("<6I2HI", *stdio, 4096, 4096, 4096, 24, 80, 7) + struct.pack("<4QIiIIQI60x", 0x7F if kind == LAUNCH or flags & POOL else 7, 0, 0, 0, 1, 5, 3, 0, 0, 0)
    total = 16 + len(fixed) + len(strings)
    assert 16 + len(fixed) == RUN_SIZE
    return header(kind, total if size is None else size) + fixed + strings


def strings(name="", ready="auto", cwd="/tmp", argv=("prog", "arg"), envp=("A=1", "PATH=/bin")):
    return b"".join(s.encode() + b"\0" for s in (name, ready, cwd, *argv, *envp))


def step(kind, data=b""):
    return bytes([kind]) + struct.pack("<H", len(data)) + data


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    """a length-delimited protobuf field"""
    return varint(number << 3 | 2) + varint(len(data)) + data


GOOD = strings()
LIST, REMOVE, INSPECT, STATS, EXPLAIN, STOP, HELLO, PS = range(1, 9)
remove_all = field(REMOVE, field(1, b"t") + b"\x10\x01")

WIRE = {
    "run": step(RAW, run(GOOD, 2, 2)),
    "run-named": step(RAW, run(strings(name="t"), 2, 2)),
    "run-warm": step(RUN_STEP, bytes([1, 2, 2]) + GOOD),
    "run-explain": step(RUN_STEP, bytes([4, 2, 2]) + GOOD),
    "run-build": step(RUN_STEP, bytes([2, 2, 2]) + GOOD),
    "run-rebuild-then-run": step(RUN_STEP, bytes([10, 2, 2]) + GOOD) + step(RUN_STEP, bytes([0, 2, 2]) + GOOD),
    "run-flags-unknown": step(RUN_STEP, bytes([255, 2, 2]) + GOOD),
    "run-argc-0": step(RAW, run(strings(argv=()), 0, 2)),
    "run-argc-lie": step(RAW, run(GOOD, 3, 2)),
    "run-argc-huge": step(RAW, run(GOOD, 0xFFFFFFFF, 2)),
    "run-envc-huge": step(RAW, run(GOOD, 2, 0xFFFFFFFF)),
    "run-argc-envc-wrap": step(RAW, run(GOOD, 0x80000000, 0x80000000)),
    "run-strings-size-lie": step(RAW, run(GOOD, 2, 2, strings_size=0xFFFFFFFF)),
    "run-strings-size-0": step(RAW, run(GOOD, 2, 2, strings_size=0)),
    "run-size-lie": step(RAW, run(GOOD, 2, 2, size=0xFFFFFFFF)),
    "run-no-strings": step(RAW, run(b"", 1, 0)),
    "run-unterminated": step(RAW, run(GOOD[:-1], 2, 2)),
    "run-trailing": step(RAW, run(GOOD + b"x\0", 2, 2)),
    "run-relative-cwd": step(RAW, run(strings(cwd="tmp"), 2, 2)),
    "run-empty-strings": step(RAW, run(b"\0\0/\0\0", 1, 0)),
    "run-stdio-unknown": step(RAW, run(GOOD, 2, 2, stdio=(5, 2, 0xFFFFFFFF))),
    "run-short": step(HEADER, header(RUN, 0) + bytes(RUN_SIZE - 17)),
    "run-exact": step(HEADER, header(RUN, 0) + bytes(RUN_SIZE - 16)),
    "run-many-variables": step(RAW, run(strings(envp=["V%d=" % i for i in range(300)]), 2, 300)),
    "run-long-words": step(RAW, run(strings(name="n" * 500, argv=("p" * 2000, "\x01\x7f%s%n"), envp=("LD_PRELOAD=x",)), 2, 1)),
    "run-pool": step(RAW, run(GOOD, 2, 2, flags=POOL)) + step(FDS, run(GOOD, 2, 2, flags=POOL)),
    "launch": step(FDS, run(strings(name="t"), 2, 2, kind=LAUNCH, flags=ENV)),
    "launch-append": step(FDS, run(strings(name="t", argv=()), 0, 2, kind=LAUNCH, flags=APPEND)),
    "launch-detached": step(FDS, run(strings(name="t"), 2, 2, kind=LAUNCH, flags=DETACH)) + step(RECONNECT),
    "launch-cgroup": step(FDS, run(strings(name="t"), 2, 2, kind=LAUNCH, flags=CGROUP)),
    "launch-no-descriptors": step(RAW, run(strings(name="t"), 2, 2, kind=LAUNCH)),
    "launch-unknown": step(FDS, run(strings(name="nothing"), 2, 2, kind=LAUNCH)),
    "launch-no-name": step(FDS, run(GOOD, 2, 2, kind=LAUNCH)),
    "launch-argc-0": step(FDS, run(strings(name="t", argv=()), 0, 2, kind=LAUNCH)),
    "launch-cwd-empty": step(FDS, run(strings(name="t", cwd=""), 2, 2, kind=LAUNCH)),
    "parse-good": step(PARSE, run(GOOD, 2, 2)),
    "parse-hostile": step(PARSE, run(GOOD, 2, 0xFFFFFFFE)) + step(PARSE, b"") + step(PARSE, run(GOOD, 5, 0)),
    "header-empty": step(RAW),
    "header-short": step(RAW, header(RUN, 16)[:15]),
    "header-only": step(RAW, header(RUN, 16)),
    "header-magic": step(RAW, header(RUN, 16, magic=0)),
    "launch-terminal": step(RAW, run(strings(name="t"), 2, 2, flags=TERMINAL | BACKGROUND, kind=LAUNCH)),
    "attach": step(RAW, header(ATTACH, 24) + struct.pack("<II", 1, 0)),
    "attach-record": step(RAW, header(ATTACH, 24) + struct.pack("<II", 1, 2)) + step(RAW, header(ATTACH, 24) + struct.pack("<II", 1, 1)),
    "attach-short": step(RAW, header(ATTACH, 20) + bytes(4)),
    "attach-flags-unknown": step(RAW, header(ATTACH, 24) + struct.pack("<II", 1 << 31, 0xFFFFFFFF)),
    "detach": step(RAW, header(DETACH, 24) + struct.pack("<II", 1, 0)),
    "detach-long": step(RAW, header(DETACH, 32) + bytes(16)),
    "header-version": step(RAW, header(RUN, 16, version=1)) + step(RAW, run(GOOD, 2, 2)),
    "header-version-0": step(RAW, header(CONTROL, 16, version=0)),
    "header-type": step(RAW, header(0xFFFF, 16)),
    "header-server-types": step(RAW, header(RUN_REPLY, 16)) + step(RAW, header(CONTROL_REPLY, 16)) + step(RAW, header(1, 16)),
    "header-size": step(RAW, header(CONTROL, 17)),
    "list": step(CONTROL_STEP, field(LIST, b"")),
    "remove": step(CONTROL_STEP, field(REMOVE, field(1, b"t"))) + step(CONTROL_STEP, field(LIST, b"")),
    "remove-all": step(CONTROL_STEP, remove_all) + step(RUN_STEP, bytes([0, 2, 2]) + GOOD),
    "remove-unknown": step(CONTROL_STEP, field(REMOVE, field(1, b"t") + field(1, b"nothing"))),
    "remove-twice": step(CONTROL_STEP, field(REMOVE, field(1, b"t") * 3 + field(1, b"1"))),
    "inspect": step(CONTROL_STEP, field(INSPECT, field(1, b"t"))),
    "inspect-id": step(CONTROL_STEP, field(INSPECT, field(1, b"2"))),
    "inspect-nothing": step(CONTROL_STEP, field(INSPECT, b"")),
    "stats": step(RUN_STEP, bytes([0, 2, 2]) + GOOD) + step(CONTROL_STEP, field(STATS, b"")),
    "explain": step(CONTROL_STEP, field(EXPLAIN, field(1, b"t"))) + step(CONTROL_STEP, field(EXPLAIN, field(1, b"1"))),
    "explain-percent": step(CONTROL_STEP, field(EXPLAIN, field(1, b"%s%n" * 40))),
    "explain-0": step(CONTROL_STEP, field(EXPLAIN, field(1, b"0"))) + step(CONTROL_STEP, field(EXPLAIN, b"")),
    "stop": step(CONTROL_STEP, field(STOP, b"")) + step(CONTROL_STEP, field(LIST, b"")),
    "hello": step(CONTROL_STEP, field(HELLO, b"")),
    "ps": step(RUN_STEP, bytes([0, 2, 2]) + GOOD) + step(CONTROL_STEP, field(PS, b""))
    + step(CONTROL_STEP, field(PS, b"\x08\x01\x10" + b"\xff" * 9 + b"\x01")) + step(CONTROL_STEP, field(PS, b"\x08\x01")),
    "control-empty": step(CONTROL_STEP),
    "control-unknown": step(CONTROL_STEP, field(1000, b"x")),
    "control-two": step(CONTROL_STEP, field(LIST, b"") + field(REMOVE, field(1, b"t")) + field(STATS, b"")),
    "control-length-lie": step(CONTROL_STEP, b"\x12\xff\xff\xff\xff\x0f"),
    "control-truncated": step(CONTROL_STEP, field(REMOVE, field(1, b"template"))[:-3]),
    "control-groups": step(CONTROL_STEP, b"\x0b" * 200),
    "control-not-utf8": step(CONTROL_STEP, field(INSPECT, field(1, b"\xff\xfe\0t"))),
    "descriptors": step(FDS, run(GOOD, 2, 2)) + step(RAW, run(GOOD, 2, 2)),
    "descriptors-many": step(FDS, b"\x07" + bytes(40)),
    "descriptors-and-nothing": step(FDS),
    "reconnect": step(RECONNECT) * 5 + step(CONTROL_STEP, field(HELLO, b"")),
    "talk": b"".join(step(RUN_STEP, bytes([4, 2, 2]) + GOOD) + step(CONTROL_STEP, field(n, b"")) for n in (1, 4, 7)),
}

EXIT = b"Py_FinalizeEx,Py_Exit!:PyObject_CallObject,PyLong_AsLong:7f00aa10"
ADAPTOR = {
    "python": b"\x10CONTEXT=raw\nTRACK=env\nENV=HOME\nENV=LANG\nTRACK=argv\nARGV=2\nSTDIO=1\nMODULES=/usr/lib/python3\nEXIT="
    + EXIT + b"\nREADY=1\n",
    "ready": b"\x00READY=1\n",
    "sd-notify": b"\x05STATUS=starting\nMAINPID=17\nREADY=1\n",
    "everything": b"\x03ENV=*\nARGV=*\nREADY=1\n",
    "set": b"\x05SET=A=1\nSET=B=\nUNSET=C\nREADY=1\n",
    "set-without-value": b"\x04SET=A\nREADY=1\n",
    "argv-from-end": b"\x02ARGV=-1\nREADY=1\n",
    "argv-bad": b"\x02ARGV=--1\n",
    "argv-dash": b"\x02ARGV=-\n",
    "argv-empty": b"\x02ARGV=\n",
    "argv-huge": b"\x02ARGV=99999999999999999999999\n",
    "refuse": b"\x09REFUSE=it has a reason\n",
    "refuse-twice": b"\x09REFUSE=one\nREFUSE=two\nEXIT=a\nEXIT=b\n",
    "no-equals": b"\x01hello\n",
    "ready-2": b"\x01READY=2\n",
    "nul": b"\x01ENV=A\0B\n\0\nREADY=1\n",
    "partial": b"\x01READY=1",
    "empty-lines": b"\x04\n\n\n",
    "equals": b"\x04=\n=x\nREADY=1\n",
    "exit": b"\x00" + EXIT,
    "exit-eight": b"\x00a,b,c,d,e,f,g,h:i,j:1",
    "exit-nine": b"\x00a,b,c,d,e,f,g,h,i:j,k:1",
    "exit-mark-only": b"\x00!:a,b:1",
    "exit-long": b"\x00" + b"s" * 64 + b":a,b:1",
    "exit-no-number": b"\x00s:a,b:",
    "exit-cut": b"\x00s:a",
    "exit-words": b"\x00s:a,b:1g",
    "exit-line": b"\x07EXIT=" + EXIT + b"\n",
}


def dep(kind, path, path_len=None, ctime=5):
    st = struct.pack("<3Q2q3I", 1, 2, 3, 4, ctime, 0o100644, 0, 0) + bytes(4)
    return struct.pack("<II", kind, len(path) if path_len is None else path_len) + st + struct.pack("<qQQ", 6, 7, 8) + path


def deps(items, count=None, magic=0x53504544, version=2, names=b"", names_len=None):
    head = struct.pack("<IIQQ", magic, version, len(items) if count is None else count, len(names) if names_len is None else names_len)
    return head + names + b"".join(items)


DEPS = {
    "none": deps([]),
    "one": deps([dep(0, b"/etc/passwd")]),
    "ctime-least": deps([dep(0, b"/a", ctime=-(1 << 63))]),
    "ctime-most": deps([dep(0, b"/a", ctime=(1 << 63) - 1)]),
    "kinds": deps([dep(k, b"/a/%d" % k) for k in range(6)]),
    "same-twice": deps([dep(0, b"/a"), dep(0, b"/a")]),
    "same-path-kinds": deps([dep(0, b"/a"), dep(1, b"/a"), dep(2, b"/a"), dep(3, b"/a")]),
    "kind-bad": deps([dep(6, b"/a")]),
    "relative": deps([dep(0, b"a")]),
    "no-path": deps([dep(0, b"")]),
    "path-lie": deps([dep(0, b"/a", path_len=0xFFFFFFFF)]),
    "path-short-lie": deps([dep(0, b"/abc", path_len=2)]),
    "nul": deps([dep(0, b"/a\0b")]),
    "count-huge": deps([dep(0, b"/a")], count=0xFFFFFFFFFFFFFFFF),
    "count-few": deps([dep(0, b"/a"), dep(0, b"/b")], count=1),
    "magic": deps([], magic=1),
    "version": deps([], version=1),
    "names": deps([dep(3, b"/a")], names=b".py .so !__pycache__"),
    "names-odd": deps([dep(3, b"/a")], names=b"  ! . .py  !"),
    "names-lie": deps([dep(3, b"/a")], names=b".py", names_len=4097),
    "names-end": deps([], names=b".py", names_len=4),
    "names-nul": deps([dep(3, b"/a")], names=b".py\0.so"),
    "short": deps([])[:-1],
    "cut": deps([dep(0, b"/a")])[:-30],
    "long-path": deps([dep(0, b"/" + b"x" * 4094)]),
    "longer-path": deps([dep(0, b"/" + b"x" * 9000)]),
}


def num(number, value):
    return varint(number << 3) + varint(value)


def sint(number, value):
    """zigzag, as protobuf has sint32 and sint64"""
    return num(number, (value << 1) ^ (value >> 63))


def words(number, values):
    return field(number, b"".join(varint(v) for v in values))


def text(number, value):
    """snapshot/image/model.proto: text has its NUL"""
    return field(number, value + b"\0")


REGS = 216  # sizeof(arch_regs) on x86-64
NOWHERE = (1 << 64) - 1
OBJECT = text(1, b"/bin/true") + num(2, 1) + num(3, 2) + num(4, 3) + num(5, 4) + field(6, b"x" * 20)


def vma(start, runs=(), obj=-1, name=b"", more=b""):
    return num(1, start) + num(2, start + 0x4000) + num(4, 3) + sint(7, obj) + text(8, name) + words(9, runs) + more


VMAS = [vma(0x400000, obj=0, name=b"/bin/true"),
        vma(0x500000, runs=(0x500000, 0x501000, 0, 0x502000, 0x503000, 0x1000), name=b"[heap]"),
        vma(0x600000, runs=(0x600000, 0x601000, NOWHERE), name=b"[stack]", more=words(10, (0x602000, 0x603000)))]


def space(vmas=None, more=b"", vdso=4):
    return (b"".join(field(1, v) for v in (VMAS if vmas is None else vmas)) + field(2, num(1, 5)) + field(3, bytes(32))
            + field(4, num(1, 0x700000) + num(2, 0x1000) + sint(3, -0x4000)) * vdso + num(5, 0x700000) + sint(6, 0) + more)


def thread(regs=REGS, more=b""):
    return (sint(1, 100) + field(2, bytes(regs)) + field(3, b"x" * 64) + words(5, [0] * 3) + sint(16, -1)
            + words(21, [1] * 16) + field(22, b"name" + bytes(12)) + more)


def process(threads=1, space_index=0, parent=-1, more=b"", state=0):
    return (sint(1, 100) + sint(2, parent) + sint(3, -1) + sint(4, -1) + num(5, state)
            + b"".join(sint(n, space_index if n == 7 else 0) for n in range(7, 11))
            + field(11, thread()) * threads + words(22, [1] * 32) + words(23, [0] * 4) + words(24, [0] * 4) + more)


def description(kind, message, peer=-1, data=b""):
    return num(1, 2) + sint(2, 0) + sint(4, peer) + field(5, data) + field(kind, message)


ENTRY = field(1, num(1, 1)) + words(2, [0x500000, 0, 0, 0]) + sint(17, -1)
FULL_ENTRY = (ENTRY + field(6, num(1, 1)) + field(7, num(1, 0x400010) + num(2, 3) + num(3, 14) + field(4, bytes(16))) + num(8, 1)
              + text(9, b"A=1") + text(10, b"true") + field(11, num(1, 0x500100) + num(2, 16)) + field(12, num(1, 0) + num(2, 2) + sint(3, 1))
              + field(13, b"ok") + text(19, b"true") + text(21, b"/") + words(23, [1] * 32) + words(26, [1] * 16) + text(27, b"0"))
DESCRIPTIONS = [description(10, num(1, 4096), 1, b"queued"), description(10, b"", 0), description(11, num(1, 1), 3), description(11, b"", 2),
                description(12, num(1, 2) + field(4, sint(1, 1) + sint(2, 2) + field(3, bytes(4)))), description(13, num(1, 5)),
                description(14, b""), description(15, num(2, 5)), description(16, num(1, 6)), description(17, text(1, b"/etc/passwd")),
                description(18, sint(1, -1) + text(2, b"/dev/tty")), description(19, sint(1, 1))]


def model(spaces=None, descriptions=(), fds=(), epolls=b"", processes=None, entry=ENTRY):
    return (field(1, OBJECT) + b"".join(field(2, s) for s in (spaces or [space()])) + b"".join(field(3, d) for d in descriptions)
            + field(4, b"".join(field(1, sint(1, n) + sint(2, d)) for n, d in fds)) + epolls + field(6, text(1, b"/"))
            + field(7, words(1, [0] * 256)) + b"".join(field(8, p) for p in (processes or [process()])) + field(9, entry))


def page_file(name=b"pages-1.img", size=0x300000, offsets=(0, 0x100000), lengths=(0x2000, 0x100000), checksums=2):
    return field(1, name) + num(2, size) + num(3, 4096) + words(4, offsets) + words(5, lengths) + field(6, bytes(8 * checksums))


def body(m, files=None, architecture=b"x86_64", page=4096, order=0x01020304, facts=b"facts"):
    """a manifest's body; its first byte says that the target makes the manifest: fuzz_image.c"""
    return (b"\1" + field(1, b"0.1.0") + field(2, architecture) + num(3, page) + struct.pack("<BI", 4 << 3 | 5, order) + num(5, 1)
            + b"".join(field(6, f) for f in (files or [page_file()])) + field(7, m) + field(8, facts)
            + field(9, field(1, b"6.1") + struct.pack("<BQ", 2 << 3 | 1, 7) + field(3, b"fpu sse")))


def raw(magic=0x474D4957, number=1, more=b""):
    return b"\0" + struct.pack("<BI", 1 << 3 | 5, magic) + num(2, number) + struct.pack("<BQ", 3 << 3 | 1, 1) + field(4, b"body") + more


SHARED = process(parent=0, more=field(12, sint(1, 0) + field(2, bytes(128))) + field(13, sint(1, 2) + num(2, 3)) + field(14, sint(1, 1) + sint(6, 0)))
IMAGE = {
    "empty": b"\1",
    "raw-empty": b"\0",
    "raw-checksum": raw(),
    "raw-magic": raw(magic=1),
    "raw-format": raw(number=2),
    "raw-unknown-field": raw(more=num(9, 1)),
    "small": body(model()),
    "descriptors": body(model(descriptions=DESCRIPTIONS, fds=[(n, n) for n in range(12)],
                              epolls=field(5, sint(1, 6) + sint(3, 3) + sint(4, -1)))),
    "entry": body(model(entry=FULL_ENTRY)),
    "tree": body(model(processes=[process(threads=3), SHARED])),
    "locks": body(model(spaces=[space(more=words(7, (0x500000,)) + field(8, num(1, 0x500004)) + words(9, (0x500008,)))])),
    "architecture": body(model(), architecture=b"aarch64"),
    "page-size": body(model(), page=65536),
    "byte-order": body(model(), order=0x04030201),
    "no-model": body(b""),
    "no-file": body(model(), files=[b""]),
    "two-files": body(model(), files=[page_file(), page_file()]),
    "file-name": body(model(), files=[page_file(name=b"../x")]),
    "file-size": body(model(), files=[page_file(size=1 << 63)]),
    "file-small": body(model(), files=[page_file(size=0x1000, offsets=(), lengths=(), checksums=0)]),
    "chunk-lists": body(model(), files=[page_file(checksums=1)]),
    "chunk-order": body(model(), files=[page_file(offsets=(0x100000, 0))]),
    "chunk-wraps": body(model(), files=[page_file(offsets=(0, (1 << 64) - 0x1000))]),
    "registers-short": body(model(processes=[process(threads=0, more=field(11, thread(regs=10)))])),
    "thread-none": body(model(processes=[process(threads=0)])),
    "space-beyond": body(model(processes=[process(space_index=7)])),
    "space-negative": body(model(processes=[process(space_index=-2)])),
    "parent-itself": body(model(processes=[process(), process(parent=1)])),
    "zombie-root": body(model(processes=[process(state=2)])),
    "state-unknown": body(model(processes=[process(state=99)])),
    "vma-wraps": body(model(spaces=[space(vmas=[vma((1 << 64) - 0x2000)])])),
    "vma-overlap": body(model(spaces=[space(vmas=[VMAS[0], VMAS[0]])])),
    "run-outside": body(model(spaces=[space(vmas=[vma(0x400000, runs=(0x300000, 0x500000, 0))])])),
    "run-half": body(model(spaces=[space(vmas=[vma(0x400000, runs=(0x400000,))])])),
    "vdso-parts": body(model(spaces=[space(vdso=5)])),
    "kind-none": body(model(descriptions=[num(1, 2)])),
    "kind-two": body(model(descriptions=[description(10, b"") + field(13, b"")])),
    "peer-itself": body(model(descriptions=[description(10, b"", 0)])),
    "peer-huge": body(model(descriptions=[description(10, b"", 0x7FFFFFFF)])),
    "option-long": body(model(descriptions=[description(12, field(4, field(3, bytes(21))))])),
    "descriptor-twice": body(model(descriptions=DESCRIPTIONS, fds=[(1, 0), (1, 0)])),
    "many-empty": body(field(8, b"") * 2000),
    "nul-in-text": body(model(entry=ENTRY + text(21, b"/a\0b"))),
    "no-nul": body(model(entry=ENTRY + field(21, b"/a"))),
}


def main():
    for target, seeds in {"wire": WIRE, "adaptor": ADAPTOR, "deps": DEPS, "image": IMAGE}.items():
        place = os.path.join(sys.argv[1], target)
        os.makedirs(place, exist_ok=True)
        for name, data in seeds.items():
            with open(os.path.join(place, name), "wb") as f:
                f.write(data)


main()
