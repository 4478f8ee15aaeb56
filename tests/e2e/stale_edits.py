# SPDX-License-Identifier: MIT
"""The ways in which Linux changes a file: each EDITS[name](tree) makes tree.text("file") what it was not before"""

import ctypes
import fcntl
import inspect
import mmap
import os
import platform
import shutil
import struct

libc = ctypes.CDLL(None, use_errno=True)
SYS = {"x86_64": {"io_setup": 206, "io_destroy": 207, "io_getevents": 208, "io_submit": 209, "io_uring_setup": 425},
       "aarch64": {"io_setup": 0, "io_destroy": 1, "io_submit": 2, "io_getevents": 4, "io_uring_setup": 425}}[platform.machine()]
FICLONE, RENAME_EXCHANGE, AT_FDCWD, AT_SYMLINK_FOLLOW = 0x40049409, 2, -100, 0x400
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16


class Missing(Exception):
    """This kernel, file system or user cannot do it"""


def check(ret, what):
    if ret < 0:
        code = ctypes.get_errno()
        raise Missing(f"{what}: {os.strerror(code)}")
    return ret


def io_submit(path, data, fd=None):
    """Kernel AIO: raises no event"""
    own = os.open(path, os.O_WRONLY) if fd is None else fd
    context = ctypes.c_ulong(0)
    buffer = ctypes.create_string_buffer(data, len(data))
    # struct iocb: data, key and flags, opcode 1 (PWRITE), descriptor, buffer, bytes, offset
    cb = ctypes.create_string_buffer(struct.pack("=QIiHhIQQqQII", 0, 0, 0, 1, 0, own, ctypes.addressof(buffer), len(data), 0, 0, 0, 0))
    try:
        check(libc.syscall(SYS["io_setup"], 1, ctypes.byref(context)), "io_setup")
        try:
            check(libc.syscall(SYS["io_submit"], context, 1, ctypes.byref(ctypes.c_void_p(ctypes.addressof(cb)))), "io_submit")
            check(libc.syscall(SYS["io_getevents"], context, 1, 1, ctypes.create_string_buffer(32), None), "io_getevents")
        finally:
            libc.syscall(SYS["io_destroy"], context)
    finally:
        if fd is None:
            os.close(own)


class Tree:
    """What the program reads, and the next version of it. Versions have one length, so that one write changes them whole"""

    def __init__(self, root):
        self.root, self.n = root, 1000
        self.real = [root / "real0", root / "real1"]
        for d in self.real:
            d.mkdir()
            (d / "data").write_bytes(self.text())
        self.link, self.file, self.list = root / "link", root / "link/data", root / "list"
        self.link.symlink_to("real0")
        self.list.mkdir()
        self.maybe, self.mode = root / "maybe", root / "mode"
        self.mode.write_text("")
        self.held = None            # a descriptor that stays open for writing
        self.map = None

    def text(self):
        return b"%06d\n" % self.n

    def next(self):
        self.n += 1
        return self.text()

    def aside(self):
        """The next version beside the file"""
        path = self.root / "aside"
        path.write_bytes(self.next())
        return path

    def close(self):
        if self.map:
            self.map.close()
        if self.held is not None:
            os.close(self.held)
        self.map = self.held = None


def write(t):
    t.file.write_bytes(t.next())


def write_in_place(t):
    with open(t.file, "r+b", buffering=0) as f:
        f.write(t.next())


def writev(t):
    with open(t.file, "r+b", buffering=0) as f:
        os.pwritev(f.fileno(), [t.next()[:3], t.text()[3:]], 0)


def same_size_and_times(t):
    before = os.stat(t.file)
    write_in_place(t)
    os.utime(t.file, ns=(before.st_atime_ns, before.st_mtime_ns))


def through_proc(t):
    fd = os.open(t.file, os.O_RDONLY)
    try:
        with open(f"/proc/self/fd/{fd}", "r+b", buffering=0) as f:
            f.write(t.next())
    finally:
        os.close(fd)


def queued(t):
    io_submit(t.file, t.next())


def held_open(t):
    """Through a descriptor from some time ago"""
    if t.held is None:
        t.held = os.open(t.file, os.O_RDWR)
    os.pwrite(t.held, t.next(), 0) if t.n % 2 else io_submit(None, t.next(), t.held)
    if not os.path.samestat(os.fstat(t.held), os.stat(t.file)):     # that was another file, and this one as before
        t.close()
        write_in_place(t)


def mapped(t):
    with open(t.file, "r+b") as f, mmap.mmap(f.fileno(), 7) as m:
        m[:] = t.next()


def mapping_held(t):
    """Stores into the same page, which stays dirty"""
    t.close()
    with open(t.file, "r+b") as f:
        t.map = mmap.mmap(f.fileno(), 7)
    t.map[:] = t.next()


def splice(t):
    r, w = os.pipe()
    fd = os.open(t.file, os.O_WRONLY)
    try:
        os.write(w, t.next())
        check(libc.splice(r, None, fd, ctypes.byref(ctypes.c_longlong(0)), ctypes.c_size_t(7), 0), "splice")
    finally:
        for x in (r, w, fd):
            os.close(x)


def between_files(copy):
    def edit(t):
        source, fd = os.open(t.aside(), os.O_RDONLY), os.open(t.file, os.O_WRONLY)
        try:
            copy(source, fd)
        except OSError as e:
            t.n -= 1
            raise Missing(str(e)) from None
        finally:
            os.close(source)
            os.close(fd)
    return edit


def truncate(t):
    """By its path; empty, and then written"""
    os.truncate(t.file, 0)
    with open(t.file, "ab", buffering=0) as f:
        f.write(t.next())


def fallocate(mode):
    def edit(t):
        fd = os.open(t.file, os.O_WRONLY)
        try:
            check(libc.fallocate(fd, mode, ctypes.c_longlong(0), ctypes.c_longlong(4)), "fallocate")
            os.pwrite(fd, t.next(), 0)
        finally:
            os.close(fd)
    return edit


def hard_link_made_later(t):
    other = t.root / "other"
    other.unlink(missing_ok=True)
    os.link(t.file, other)
    with open(other, "r+b", buffering=0) as f:
        f.write(t.next())


def hard_link_of_before(t):
    other = t.root / "other"
    if other.exists() and os.path.samefile(other, t.file):
        with open(other, "r+b", buffering=0) as f:
            f.write(t.next())
    else:
        hard_link_made_later(t)


def nameless(t):
    """Made without a name, linked, and then written"""
    try:
        fd = os.open(t.root, os.O_TMPFILE | os.O_RDWR, 0o644)
    except OSError as e:
        raise Missing(str(e)) from None
    try:
        os.write(fd, t.text())
        os.unlink(t.file)
        check(libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(t.file), AT_SYMLINK_FOLLOW), "linkat")
        os.pwrite(fd, t.next(), 0)
    finally:
        os.close(fd)


def rename(t):
    t.aside().rename(t.file)


def exchange(t):
    aside = t.aside()
    check(libc.renameat2(AT_FDCWD, os.fsencode(aside), AT_FDCWD, os.fsencode(t.file), RENAME_EXCHANGE), "renameat2")


def link_and_rename(t):
    os.link(t.aside(), t.root / "linked")
    (t.root / "linked").rename(t.file)
    (t.root / "aside").unlink()


def made_anew(t):
    t.file.unlink()
    t.file.write_bytes(t.next())


def other_directory(t):
    """The link on the way leads elsewhere, by a rename"""
    target = t.real[t.link.resolve() == t.real[0].resolve()]
    (target / "data").write_bytes(t.next())
    new = t.root / "new link"
    new.symlink_to(target.name)
    new.rename(t.link)


def link_made_anew(t):
    target = t.real[t.link.resolve() == t.real[0].resolve()]
    (target / "data").write_bytes(t.next())
    t.link.unlink()
    t.link.symlink_to(target.name)


def directory_replaced(t):
    real = t.link.resolve()
    new, old = t.root / "new", t.root / "old"
    shutil.rmtree(old, ignore_errors=True)
    new.mkdir()
    (new / "data").write_bytes(t.next())
    real.rename(old)
    new.rename(real)


def directories_exchanged(t):
    t.n += 1
    other = t.real[t.link.resolve() == t.real[0].resolve()]
    (other / "data").write_bytes(t.text())
    check(libc.renameat2(AT_FDCWD, os.fsencode(t.real[0]), AT_FDCWD, os.fsencode(t.real[1]), RENAME_EXCHANGE), "renameat2")


def file_is_a_link(t):
    aside = t.root / f"version {t.n + 1}"
    aside.write_bytes(t.next())
    new = t.root / "new file"
    new.symlink_to(aside)
    new.rename(t.file)


def mode(t):
    os.chmod(t.mode, 0o600 if os.stat(t.mode).st_mode & 0o077 else 0o644)


def attribute(t):
    try:
        os.setxattr(t.mode, "user.warm", t.next())
    except OSError as e:
        t.n -= 1
        raise Missing(str(e)) from None


def owner(t):
    if os.geteuid():
        raise Missing("chown(2) is root's")
    os.chown(t.mode, (os.stat(t.mode).st_uid + 1) % 5, -1)


def access_list(t):
    """acl(5), as the kernel keeps it: version 2, then tag, permissions and number of each entry"""
    entries = [(1, 6, -1), (2, 4, t.n % 100), (4, 4, -1), (16, 4, -1), (32, 4, -1)]
    try:
        os.setxattr(t.mode, "system.posix_acl_access", struct.pack("=I", 2) + b"".join(struct.pack("=HHi", *e) for e in entries))
    except OSError as e:
        raise Missing(str(e)) from None
    t.n += 1


def listed(t):
    name = t.list / f"name {t.n % 7}"
    name.unlink() if name.exists() else name.write_text("")


def appears(t):
    t.maybe.rmdir() if t.maybe.exists() else t.maybe.mkdir()


EDITS = {f.__name__: f for f in (
    write, write_in_place, writev, same_size_and_times, through_proc, queued, held_open, mapped, mapping_held, splice, truncate,
    hard_link_made_later, hard_link_of_before, nameless, rename, exchange, link_and_rename, made_anew, other_directory, link_made_anew,
    directory_replaced, directories_exchanged, file_is_a_link, mode, attribute, owner, access_list, listed, appears)}
EDITS |= {
    "sendfile": between_files(lambda source, fd: os.sendfile(fd, source, 0, 7)),
    "copy_file_range": between_files(lambda source, fd: os.copy_file_range(source, fd, 7, 0, 0)),
    "clone": between_files(lambda source, fd: fcntl.ioctl(fd, FICLONE, source)),
    "punched": fallocate(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE), "zeroed": fallocate(FALLOC_ZERO_RANGE), "allocated": fallocate(0),
}

# what changes the contents in one step: a run that comes meanwhile sees the one or the other
ATOMIC = ["write_in_place", "queued", "held_open", "mapped", "mapping_held", "splice", "hard_link_made_later", "hard_link_of_before",
          "rename", "exchange", "link_and_rename", "other_directory", "directories_exchanged", "file_is_a_link", "sendfile",
          "copy_file_range"]

# the program: all that it prints was read before its readiness point

def state(at):
    with open(at + "/link/data", "rb") as f:
        text = f.read()
    st = os.stat(at + "/mode")
    attributes = {n: os.getxattr(at + "/mode", n) for n in sorted(os.listxattr(at + "/mode"))}
    return repr((text, sorted(os.listdir(at + "/list")), os.path.exists(at + "/maybe"), st.st_mode, st.st_uid, attributes))


PROGRAM = "import m\nprint(m.VALUE)\n"
MODULE = f"import os\n{inspect.getsource(state)}VALUE = state(os.path.dirname(os.path.abspath(__file__)))\n"
