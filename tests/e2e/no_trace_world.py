# SPDX-License-Identifier: MIT
"""A small world with everything in it that a program could change, and a way to see whether it did

    world = World(folder, helper)   the servers, which stay
    world.begin()                   all of it as new: home, temporary folder, repository, named pipes
    world.environment()             where a program finds it
    a = world.look(watched)         what is there: names, contents, modes, times, attributes; jobs, calls, signals
    differences(a, b)               in words; strict: byte for byte, as if nothing had been
"""
import fcntl
import hashlib
import marshal
import os
import shutil
import socket
import stat
import struct
import subprocess
import termios
from pathlib import Path

JOBS = b"".join(b"j%02d\n" % i for i in range(20))
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def git(repo, *words, **env):
    base = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(repo), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "-C", str(repo), *words], check=True, env={**base, **env}, **QUIET)


def make_repository(repo):
    """One commit, and a file that was changed since: `git status` has to refresh its index"""
    repo.mkdir()
    git(repo, "init", "-q", "--template=")
    for key, value in {"user.name": "n", "user.email": "e@example", "gc.auto": "0"}.items():
        git(repo, "config", key, value)
    for i in range(3):
        (repo / f"file{i}").write_text(f"{i}\n")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "first", GIT_AUTHOR_DATE="2020-01-01T00:00:00Z", GIT_COMMITTER_DATE="2020-01-01T00:00:00Z")
    git(repo, "tag", "-a", "v1", "-m", "v1", GIT_COMMITTER_DATE="2020-01-01T00:00:00Z")
    (repo / "file1").write_text("changed\n")


def make_home(home):
    (home / "tree").mkdir(parents=True)
    for name, text in {"log.txt": "begin\n", "notes.txt": "some notes\n" * 9, "config.ini": "[a]\nkey = 1\n", "tree/one": "1\n", "tree/two": "2\n"}.items():
        (home / name).write_text(text)
    (home / "data.bin").write_bytes(bytes(range(256)) * 20)
    (home / "to notes").symlink_to("notes.txt")
    try:
        os.setxattr(home / "config.ini", "user.kind", b"ini")
    except OSError:
        pass        # tmpfs before Linux 6.6
    for path in [*home.rglob("*"), home]:
        os.utime(path, (1.5e9, 1.5e9), follow_symlinks=False)


class Server:
    """Counts who comes; nobody is answered. Connections wait in the queue of the kernel until they are counted"""

    def __init__(self, family, kind, address):
        self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        self.socket.bind(address)
        self.kind, self.came = kind, 0
        if kind == socket.SOCK_STREAM:
            self.socket.listen(128)

    def count(self):
        while True:
            try:
                if self.kind == socket.SOCK_STREAM:
                    self.socket.accept()[0].close()
                else:
                    self.socket.recv(100)
            except BlockingIOError:
                return self.came
            self.came += 1


class Fifo:
    """A named pipe that has a reader and a writer: us"""

    def __init__(self, path, data):
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        os.write(self.fd, data)

    def content(self):
        """And it is still there afterwards"""
        n = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0" * 4))[0]
        data = os.read(self.fd, n) if n else b""
        if data:
            os.write(self.fd, data)
        return data

    def close(self):
        os.close(self.fd)


class World:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.servers_folder = self.folder / "servers"
        self.tag = self.folder.name
        self.place = self.folder / "w"
        self.model = self.folder / "model"
        self.servers_folder.mkdir(parents=True)
        self.servers = {"tcp": Server(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
                        "stream": Server(socket.AF_UNIX, socket.SOCK_STREAM, str(self.servers_folder / "stream")),
                        "dgram": Server(socket.AF_UNIX, socket.SOCK_DGRAM, str(self.servers_folder / "dgram"))}
        # what is blocked stays pending, and is seen in /proc
        self.helper = None
        self.model.mkdir()
        make_home(self.model / "home")
        (self.model / "tmp").mkdir()
        make_repository(self.model / "repo")
        self.fifos = {}

    def start_helper(self):
        self.end_helper()
        code = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); print(flush=True); signal.sigwait([signal.SIGTERM])"
        self.helper = subprocess.Popen(["/usr/bin/python3", "-S", "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.helper.stdout.read(1) == b"\n"

    def end_helper(self):
        if self.helper:
            self.helper.kill()
            self.helper.stdout.close()
            self.helper.wait()
            self.helper = None

    def begin(self):
        """Not the helper, whose PID is in the environment: start_helper()"""
        for f in self.fifos.values():
            f.close()
        shutil.rmtree(self.place, ignore_errors=True)
        for path in [p for p in Path("/dev/shm").iterdir() if self.tag in p.name]:
            path.unlink()
        subprocess.run(["cp", "-a", str(self.model), str(self.place)], check=True)
        self.fifos = {"jobs": Fifo(self.place / "jobs", JOBS), "out": Fifo(self.place / "out", b"")}
        for s in self.servers.values():
            s.count()
            s.came = 0

    def environment(self):
        return {"W": str(self.place), "HOME": str(self.place / "home"), "TMPDIR": str(self.place / "tmp"), "REPO": str(self.place / "repo"),
                "JOBS": str(self.place / "jobs"), "OUT": str(self.place / "out"), "PORT": str(self.servers["tcp"].socket.getsockname()[1]),
                "STREAM": str(self.servers_folder / "stream"), "DGRAM": str(self.servers_folder / "dgram"), "HELPER": str(self.helper.pid),
                "TAG": self.tag, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}

    def signals(self):
        """Pending ones of the helper"""
        text = Path(f"/proc/{self.helper.pid}/status").read_text()
        return {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.startswith(("SigPnd", "ShdPnd"))}

    def look(self, *watched):
        """@watched: more folders; {name: what is there}"""
        found = {}
        for root in (self.place, *map(Path, watched)):
            for path in walk(root, self.place):
                found[str(path)] = describe(path)
        for name, f in self.fifos.items():
            found[f"<{name}>"] = {"content": f.content()}
        found["<servers>"] = {"came": {n: s.count() for n, s in self.servers.items()}}
        found["<helper>"] = self.signals()
        return found

    def close(self):
        self.end_helper()
        for x in [*self.fifos.values(), *(s.socket for s in self.servers.values())]:
            x.close()
        self.fifos = {}


def walk(root, place):
    yield root
    try:
        entries = sorted(os.scandir(root), key=lambda e: e.name)
    except OSError:
        return
    for e in entries:
        path = Path(e.path)
        if path == place and root != place:
            continue        # looked at by itself
        if e.is_dir(follow_symlinks=False):
            yield from walk(path, place)
        else:
            yield path


def describe(path):
    try:
        st = os.lstat(path)
    except FileNotFoundError:
        return {}
    d = {"type": stat.S_IFMT(st.st_mode), "mode": oct(st.st_mode), "owner": (st.st_uid, st.st_gid), "links": st.st_nlink, "inode": st.st_ino,
         "mtime": st.st_mtime_ns, "ctime": st.st_ctime_ns}
    try:
        d["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
    except OSError:
        d["xattrs"] = {}
    if stat.S_ISLNK(st.st_mode):
        d["content"] = os.readlink(path)
    elif stat.S_ISREG(st.st_mode):
        data = path.read_bytes()
        d["size"], d["content"] = len(data), data if len(data) < 200 else hashlib.sha256(data).hexdigest()
    return d


def whole_cache(path):
    """A bytecode cache that is no half of one"""
    data = Path(path).read_bytes()
    marshal.loads(data[16:])
    return True


def in_cache(name):
    return "/__pycache__" in name


def unnamed(name):
    """Names that are drawn at random, alike"""
    return "/".join("rnd-*" if part.startswith("rnd-") else part for part in name.split("/"))


def differences(a, b):
    """Byte for byte. Whole bytecode caches may be new, and the folders with them have another time then"""
    words = []
    with_cache = {os.path.dirname(n.split("/__pycache__")[0] + "/") for n in b if in_cache(n)}
    for name in sorted({*a, *b}):
        if in_cache(name):
            # what is new was written by the program, whose Python is of the version of the one that runs this file;
            # caches of other versions that were there before cannot be read here
            if name.endswith(".pyc") and name in b and a.get(name) != b[name] and not same_version_whole(name):
                words.append(f"{name}: half a bytecode cache")
            elif not name.endswith((".pyc", "/__pycache__")) and name not in a:
                words.append(f"{name}: left behind")
            continue
        x, y = a.get(name), b.get(name)
        if x is None or y is None:
            words.append(f"{name}: {'is new' if x is None else 'is gone'}")
            continue
        for what in sorted({*x, *y} - ({"mtime", "ctime"} if x.get("type") == stat.S_IFIFO else set())):     # we look into it ourselves
            if x.get(what) != y.get(what) and not (name in with_cache and what in ("mtime", "ctime", "links")):
                words.append(f"{name}: {what}: {x.get(what)!r} -> {y.get(what)!r}")
    return words


def same_version_whole(name):
    try:
        return whole_cache(name)
    except Exception:
        return False


def as_outcome(found, place):
    """What two runs in two such worlds must agree on: no inodes and times; repositories by their names"""
    alike = []
    for name, d in found.items():
        if in_cache(name):
            continue
        kept = {k: v for k, v in d.items() if k in ("type", "mode", "owner", "content", "xattrs", "came", "SigPnd", "ShdPnd")}
        if name.startswith(f"{place}/repo/") or name.endswith((".sqlite-journal", ".sqlite")):
            kept = {"type": d.get("type")}
        alike.append((unnamed(name), sorted(kept.items(), key=lambda kv: kv[0])))
    return sorted(map(repr, alike))
