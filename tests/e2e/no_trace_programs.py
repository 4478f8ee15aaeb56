# SPDX-License-Identifier: MIT
"""Random programs whose leading parts have effects: Python, C and sh, the same for the same seed.

    p = make(seed)      p.kind, p.files {name: text}, p.argv(directory, effects) , p.options, p.stdin, p.text()

What a program prints is the same in each run in the same world (no_trace_world.py), whose places it finds in its
environment: W (all of it), HOME, TMPDIR, REPO, JOBS and OUT (named pipes), PORT, STREAM and DGRAM (servers), HELPER (a
process), TAG (for names in /dev/shm). Names that are drawn at random begin with "rnd-".
"""
import dataclasses
import random
import re

LETTERS = "abcdefgh"
OWN = ["log.txt", "notes.txt", "data.bin", "config.ini", "tree/one", "tree/two"]        # in HOME, with something in them


@dataclasses.dataclass
class Program:
    seed: int
    kind: str
    files: dict
    words: list         # of the command behind the program's own file
    options: list
    stdin: bytes
    steps: list

    def argv(self, directory, effects, python):
        if self.kind == "python":
            return [python, f"{directory}/main.py", *self.words]
        if self.kind == "sh":
            return ["/bin/sh", f"{directory}/main.sh", *self.words]
        return [str(effects), *self.words]

    def text(self):
        return "\n".join(f"--- {n}\n{t}" for n, t in self.files.items()) or " ".join(self.words)


# --- Python: each step is one or more lines, run in a function of its own that may raise -----------------------------------


def own(r):
    return f"home + '/{r.choice(OWN)}'"


def new(r):
    return f"home + '/new-{r.choice(LETTERS)}'"


def word(r):
    return "".join(r.choice(LETTERS) for _ in range(r.randint(1, 12)))


def opens(r):
    mode = r.choice(["a", "w", "r+", "a+", "w+", "x", "r"])
    body = "f.read()" if mode == "r" else f"f.write({word(r)!r})"
    more = r.choice(["", "; f.flush(); os.fsync(f.fileno())", "; f.seek(0)"]) if mode != "r" else ""
    return f"f = open({r.choice([own(r), new(r)])}, {mode!r})\nn = {body}{more}\n{r.choice(['f.close()', 'keep.append(f)'])}\nreturn n"


def raw_open(r):
    flags = r.choice(["O_WRONLY", "O_RDWR", "O_WRONLY | os.O_CREAT", "O_WRONLY | os.O_APPEND", "O_WRONLY | os.O_TRUNC", "O_RDWR | os.O_CREAT | os.O_EXCL"])
    then = r.choice(["os.write(fd, b'raw')", "os.pwrite(fd, b'raw', 1)", "os.writev(fd, [b'r', b'aw'])", "os.ftruncate(fd, 2)",
                     "os.posix_fallocate(fd, 0, 100)", "0", "os.fchmod(fd, 0o640)"])
    return f"fd = os.open({r.choice([own(r), new(r)])}, os.{flags}, 0o600)\nn = {then}\nos.close(fd)\nreturn n"


STEPS = {
    "open": opens,
    "raw open": raw_open,
    "read": lambda r: f"return len(open({own(r)}, 'rb').read())",
    "look": lambda r: f"return os.path.exists({new(r)}), sorted(os.listdir(home + '/tree'))",
    "mkstemp": lambda r: "fd, p = tempfile.mkstemp(prefix='rnd-')\nos.write(fd, b'x')\nos.close(fd)\n" + r.choice(["", "os.unlink(p)"]),
    "mkdtemp": lambda r: "d = tempfile.mkdtemp(prefix='rnd-')\nopen(d + '/in', 'w').close()\n" + r.choice(["", "shutil.rmtree(d)", "atexit.register(shutil.rmtree, d)"]),
    "temporary file": lambda r: r.choice(["f = tempfile.NamedTemporaryFile(prefix='rnd-')", "f = tempfile.TemporaryFile()",
                                          "f = tempfile.NamedTemporaryFile(prefix='rnd-', delete=False)",
                                          "f = tempfile.SpooledTemporaryFile(max_size=2)"]) + "\nf.write(b'text')\nkeep.append(f)",
    "temporary folder": lambda r: "keep.append(tempfile.TemporaryDirectory(prefix='rnd-'))",
    "lock file": lambda r: "fd = os.open(home + '/lock', os.O_CREAT | os.O_EXCL | os.O_WRONLY)\nos.write(fd, b'locked')\nos.close(fd)\n"
                           + r.choice(["", "os.unlink(home + '/lock')", "atexit.register(os.unlink, home + '/lock')"]),
    "lock folder": lambda r: "os.mkdir(home + '/lock.d')\n" + r.choice(["", "os.rmdir(home + '/lock.d')", "atexit.register(os.rmdir, home + '/lock.d')"]),
    "flock": lambda r: f"f = open({own(r)}, {r.choice(['r', 'a'])!r})\nfcntl.flock(f, fcntl.{r.choice(['LOCK_EX', 'LOCK_SH', 'LOCK_EX | fcntl.LOCK_NB'])})\n{r.choice(['keep.append(f)', 'f.close()'])}",
    "lockf": lambda r: f"f = open({own(r)}, 'r+')\nfcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n{r.choice(['keep.append(f)', 'f.close()'])}",
    "test a lock": lambda r: f"f = open({own(r)}, 'r+')\nq = fcntl.fcntl(f, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))\nreturn struct.unpack('hhqqi4x', q)[0]",
    "replace": lambda r: f"with open(home + '/part', 'w') as f:\n    f.write({word(r)!r})\nos.{r.choice(['replace', 'rename'])}(home + '/part', {r.choice([own(r), new(r)])})",
    "link": lambda r: f"os.{r.choice(['link', 'symlink'])}({own(r)}, {new(r)})",
    "unlink": lambda r: f"os.unlink({own(r)})",
    "metadata": lambda r: f"os.{r.choice(['chmod(%s, 0o600)', 'utime(%s, (1, 2))', 'truncate(%s, 3)', 'utime(%s)']) % own(r)}",
    "folders": lambda r: r.choice(["os.makedirs(home + '/a/b/c', exist_ok=True)", "shutil.rmtree(home + '/tree')", "shutil.copytree(home + '/tree', home + '/copy')",
                                   "pathlib.Path(home + '/touched').touch()", "shutil.copy(home + '/notes.txt', home + '/copied')"]),
    "mkfifo": lambda r: f"os.mkfifo({new(r)})",
    "mknod": lambda r: f"os.mknod({new(r)}, 0o600)",
    "take a job": lambda r: "fd = os.open(os.environ['JOBS'], os.O_RDONLY)\njob = os.read(fd, 4)\nos.close(fd)\nreturn job",
    "look for a job": lambda r: "fd = os.open(os.environ['JOBS'], os.O_RDONLY | os.O_NONBLOCK)\nn = select.select([fd], [], [], 0)[0] != []\nos.close(fd)\nreturn n",
    "give a job": lambda r: f"fd = os.open(os.environ['OUT'], os.O_WRONLY)\nos.write(fd, {word(r)!r}.encode())\nos.close(fd)",
    "unix server": lambda r: "s = socket.socket(socket.AF_UNIX)\ns.bind(home + '/own.sock')\ns.listen()\n" + r.choice(["keep.append(s)", "s.close()", "s.close()\nos.unlink(home + '/own.sock')"]),
    "tcp server": lambda r: "s = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\n" + r.choice(["keep.append(s)", "s.close()"]),
    "connect": lambda r: r.choice(["s = socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))", "s = socket.socket(socket.AF_UNIX)\ns.connect(os.environ['STREAM'])"])
                         + "\ns.sendall(b'hello')\n" + r.choice(["s.close()", "keep.append(s)"]),
    "connect_ex": lambda r: "s = socket.socket()\nn = s.connect_ex(('127.0.0.1', int(os.environ['PORT'])))\ns.close()\nreturn n",
    "datagram": lambda r: "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.sendto(b'datagram', os.environ['DGRAM'])\ns.close()",
    "is it there": lambda r: "os.kill(int(os.environ['HELPER']), 0)",
    "signal": lambda r: f"os.kill(int(os.environ['HELPER']), signal.{r.choice(['SIGUSR1', 'SIGUSR2', 'SIGHUP'])})",
    "pidfd signal": lambda r: "fd = os.pidfd_open(int(os.environ['HELPER']))\nsignal.pidfd_send_signal(fd, signal.SIGUSR1)\nos.close(fd)",
    "look at a process": lambda r: "return open('/proc/%s/comm' % os.environ['HELPER']).read()",
    "sqlite": lambda r: "db = sqlite3.connect(home + '/db.sqlite')\ndb.execute('create table if not exists t (a)')\n"
                        f"db.execute('insert into t values (?)', ({word(r)!r},))\n" + r.choice(["db.commit()", "db.commit()\ndb.close()", "db.rollback()", "keep.append(db)"])
                        + "\nreturn sqlite3.sqlite_version_info > (3,)",
    "sqlite read": lambda r: "db = sqlite3.connect(home + '/db.sqlite')\nreturn db.execute('select count(*) from sqlite_master').fetchall()",
    "shelf": lambda r: "d = dbm.dumb.open(home + '/shelf', 'c')\nwith shelve.Shelf(d) as s:\n    s['key'] = 1",
    "git": lambda r: f"return subprocess.run(['git', '-C', os.environ['REPO'], {r.choice(['status', 'describe', 'diff'])!r}, *{[]!r}], stdout=-1, stderr=-1, stdin=-3).returncode",
    "git describe": lambda r: "return subprocess.run(['git', '-C', os.environ['REPO'], 'describe', '--always', '--dirty'], stdout=-1, stdin=-3).stdout.endswith(b'dirty\\n')",
    "shell": lambda r: f"return subprocess.call(['sh', '-c', {r.choice(['echo x >> $HOME/log.txt', ': > $HOME/by-sh', 'mv $HOME/notes.txt $HOME/moved', 'read x < $JOBS; echo $x', 'true', 'rm $HOME/data.bin', 'exit 3'])!r}])",
    "output of a child": lambda r: f"return subprocess.check_output(['sh', '-c', {r.choice(['echo out', 'echo $HOME | wc -l', 'cat $HOME/config.ini', 'echo err >&2; echo out; echo y >> $HOME/log.txt'])!r}])",
    "child with a temporary file": lambda r: f"return subprocess.call(['sh', '-c', {r.choice(['f=$(mktemp $TMPDIR/rnd-XXXXXX); echo x > $f; rm $f', 'mktemp -d $TMPDIR/rnd-XXXXXX > /dev/null'])!r}])",
    "popen": lambda r: "p = os.popen('echo popen; echo z >> $HOME/log.txt')\ntext = p.read()\np.close()\nreturn text",
    "fork": lambda r: f"pid = os.fork()\nif pid == 0:\n    try:\n        {r.choice(['open(%s, %r).write(%r)' % (own(r), 'a', 'child'), 'os.mkdir(home + %r)' % '/forked', 'pass'])}\n    finally:\n        os._exit(4)\nreturn os.waitpid(pid, 0)[1]",
    "thread": lambda r: f"t = threading.Thread(target=lambda: open({own(r)}, 'a').write('thread'))\nt.start()\nt.join()",
    "thread that waits": lambda r: "e = threading.Event()\nt = threading.Thread(target=lambda: (e.wait(), open(home + '/log.txt', 'a').write('late')))\nt.start()\natexit.register(t.join)\nthreading._register_atexit(e.set) if hasattr(threading, '_register_atexit') else e.set()",
    "multiprocessing": lambda r: r.choice(["keep.append(multiprocessing.Lock())", "keep.append(multiprocessing.Semaphore(2))", "q = multiprocessing.Queue()\nkeep.append(q)",
                                           "p = multiprocessing.Process(target=abs, args=(1,))\np.start()\np.join()\nreturn p.exitcode"]),
    "shared memory": lambda r: "s = shared_memory.SharedMemory(name=os.environ['TAG'] + 'm', create=True, size=100)\ns.buf[0] = 1\ns.close()\n" + r.choice(["s.unlink()", "s.unlink()", "resource_tracker.unregister(s._name, 'shared_memory')"]),
    "semaphore": lambda r: "s = ctypes.CDLL(None).sem_open\ns.restype = ctypes.c_void_p\nn = s(os.fsencode('/' + os.environ['TAG']), os.O_CREAT, 0o600, 1) is None\n" + r.choice(["", "ctypes.CDLL(None).sem_unlink(os.fsencode('/' + os.environ['TAG']))\n"]) + "return n",
    "dev shm": lambda r: "with open('/dev/shm/' + os.environ['TAG'], 'w') as f:\n    f.write('x')\n" + r.choice(["", "os.unlink('/dev/shm/' + os.environ['TAG'])"]),
    "mmap": lambda r: f"f = open({own(r)}, 'r+b')\nm = mmap.mmap(f.fileno(), 0)\nm[0] = 65\n{r.choice(['m.flush()', 'm.close()', 'keep.append(m)'])}",
    "mmap private": lambda r: f"f = open({own(r)}, 'rb')\nm = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)\nm[0] = 66\nreturn m[0]",
    "aio": lambda r: "return aio(home + '/data.bin', b'asynchronous')",
    "sendfile": lambda r: f"i = os.open(home + '/notes.txt', os.O_RDONLY)\no = os.open({new(r)}, os.O_WRONLY | os.O_CREAT, 0o600)\nreturn {r.choice(['os.sendfile(o, i, 0, 5)', 'os.copy_file_range(i, o, 5)'])}",
    "xattr": lambda r: f"os.{r.choice(['setxattr(%s, %r, b%r)' % (own(r), 'user.mark', word(r)), 'removexattr(home + %r, %r)' % ('/config.ini', 'user.kind'), 'getxattr(home + %r, %r)' % ('/config.ini', 'user.kind')])}",
    "log": lambda r: "logging.basicConfig(filename=home + '/program.log', format='%(message)s')\nlogging.warning('begins')",
    "print": lambda r: f"print({word(r)!r} * {r.choice([1, 1, 50, 3000])})",
    "print to stderr": lambda r: f"print({word(r)!r}, file=sys.stderr)",
    "read stdin": lambda r: f"return {r.choice(['sys.stdin.readline()', 'sys.stdin.buffer.read(3)', 'os.read(0, 2)', 'sys.stdin.read()'])}",
    "setpgrp": lambda r: "os.setpgrp()",
    "umask": lambda r: "os.umask(0o027)\nopen(home + '/masked', 'w').close()",
    "chdir": lambda r: "os.chdir(home + '/tree')\nreturn sorted(os.listdir('.'))",
    "variables": lambda r: "os.environ['ADDED'] = '1'\nreturn subprocess.check_output(['sh', '-c', 'echo $ADDED'])",
    "clock": lambda r: "return time.time() > 1 and random.random() < 1 and len(os.urandom(4))",
    "at the end": lambda r: "atexit.register(lambda: open(home + '/log.txt', 'a').write('end'))",
    "a module": lambda r: "import quopri, wave\nreturn quopri.__name__",
}
# the end of the leading part, now and then
ENDS = ["sys.exit(3)", "os._exit(4)", "raise RuntimeError('in the middle')", "os.kill(os.getpid(), signal.SIGKILL)", "sys.exit('words')"]

MODULES = ["atexit", "ctypes", "dbm.dumb", "fcntl", "logging", "mmap", "multiprocessing", "os", "pathlib", "random", "select", "shelve", "shutil", "signal",
           "socket", "sqlite3", "struct", "subprocess", "sys", "tempfile", "threading", "time"]
PYTHON_HEAD = """\
import os
home = os.environ["HOME"]
keep, seen = [], []
"""
PYTHON_ATTEMPT = """

def attempt(step, name):
    try:
        seen.append((name, step()))
    except OSError as e:
        seen.append((name, type(e).__name__, e.errno))
    except Exception as e:
        seen.append((name, type(e).__name__))

"""
PYTHON_AIO = """

def aio(path, data):
    # io_setup, io_submit, io_getevents: x86-64's numbers; struct iocb: key 0, IOCB_CMD_PWRITE 1
    libc, context = ctypes.CDLL(None, use_errno=True), ctypes.c_ulong()
    if libc.syscall(206, 1, ctypes.byref(context)) < 0:
        return "none"
    fd, buffer = os.open(path, os.O_WRONLY), ctypes.create_string_buffer(data)
    cb = ctypes.create_string_buffer(struct.pack("QIiHhIQQqQII", 0, 0, 0, 1, 0, fd, ctypes.addressof(buffer), len(data), 0, 0, 0, 0))
    cbs, event = (ctypes.c_void_p * 1)(ctypes.addressof(cb)), ctypes.create_string_buffer(32)
    n = libc.syscall(209, context, 1, cbs), libc.syscall(208, context, 1, 1, event, None)
    os.close(fd)
    libc.syscall(207, context)
    return n
"""
PYTHON_MAIN = """\
import sys
import leading


def main():
    for line in leading.seen:
        print(*line)
    print("rest of stdin", sys.stdin.read())
    with open(leading.home + "/log.txt", "a") as f:
        f.write("main\\n")


if __name__ == "__main__":
    main()
    sys.exit(5)
"""


def python(seed, r):
    names = [r.choice(sorted(STEPS)) for _ in range(r.randint(1, 6))]
    parts = [PYTHON_ATTEMPT]
    for i, name in enumerate(names):
        body = "\n".join("    " + line for line in STEPS[name](r).split("\n"))
        parts.append(f"def step{i}():\n{body}\n\n\nattempt(step{i}, {name!r})\n")
    if r.random() < 0.12:
        names.append(r.choice(ENDS))
        parts.append(names[-1] + "\n")
    text = "\n".join(parts)
    if "aio(" in text:
        text = PYTHON_AIO + text
    # not more than it needs: most of a build's time goes into imports
    head = [f"import {m}" for m in MODULES if re.search(rf"\b{m}\b\.", text)]
    head += [f"from multiprocessing import {m}" for m in ("resource_tracker", "shared_memory") if m in text]
    return Program(seed, "python", {"main.py": PYTHON_MAIN, "leading.py": "\n".join([*head, PYTHON_HEAD]) + text}, [], [], STDIN, names)


# --- C: words for programs/effects.c, done by its constructor -----------------------------------------------------------------

C_WORDS = ["append:log.txt", "append:new-c", "truncate:notes.txt", "excl:lock", "mkdir:lock.d", "rmdir:lock.d", "rename:notes.txt", "unlink:data.bin", "chmod:config.ini",
           "flock:log.txt", "getlk:log.txt", "mkfifo:new-f", "job", "out", "connect", "kill0", "kill", "sem", "shm", "map:data.bin", "fork:log.txt",
           "thread:log.txt", "system:echo x >> $HOME/log.txt", "system:true", "print", "stdin", "mkstemp", "tmpfile", "bind", "setpgid", "read:notes.txt", "stat:nothing", "link:notes.txt",
           "foreign:data.bin", "root:notes.txt"]


def c_program(seed, r):
    words = [r.choice(C_WORDS) for _ in range(r.randint(1, 5))]
    if r.random() < 0.12:
        words.append(r.choice(["exit", "abort", "kill9"]))
    return Program(seed, "c", {}, words, ["--ready", "main"], STDIN, words)


# --- sh: frozen while it waits for its standard input ---------------------------------------------------------------------------

SH_LINES = ["echo x >> log.txt", ": > truncated", ": > notes.txt", "mkdir lock.d", "(set -C; : > lock)", "mv notes.txt moved", "mv -f tree/one tree/two", "ln -s notes.txt linked",
            "ln notes.txt linked", "rm -f data.bin", "chmod 600 config.ini", "touch -d @5 tree/one", "touch new-t", "f=$(mktemp $TMPDIR/rnd-XXXXXX); rm $f",
            "mktemp -d $TMPDIR/rnd-XXXXXX >/dev/null", "dd bs=4 count=1 status=none < $JOBS", "echo job > $OUT", "git -C $REPO status --short",
            "git -C $REPO describe --always --dirty | grep -c dirty", "kill -0 $HELPER; echo $?", "kill -USR1 $HELPER", "kill -HUP $HELPER", "flock log.txt true", "echo printed",
            "cat config.ini", "ls tree", "wc -c < notes.txt", "x=$(cat tree/one; echo y >> log.txt); echo $x", "mkfifo new-p", "cp notes.txt copied", "( echo z >> log.txt ) & wait",
            "read line; echo got $line", "exec 9>> log.txt; flock 9; echo under lock >&9", "sed -i s/one/1/ config.ini", "truncate -s 3 notes.txt", "trap 'echo end >> log.txt' EXIT"]


def sh_program(seed, r):
    lines = [r.choice(SH_LINES) for _ in range(r.randint(1, 5))]
    if r.random() < 0.1:
        lines.append(r.choice(["exit 3", "kill -9 $$"]))
    text = "\n".join(["cd $HOME", *lines, "read last; echo last $last", "echo main >> log.txt", "exit 5"]) + "\n"
    return Program(seed, "sh", {"main.sh": text}, [], ["--ready", "idle=60"], STDIN, lines)


STDIN = b"one\ntwo\nthree\nfour\n"


def make(seed):
    r = random.Random(seed)
    return r.choices([python, c_program, sh_program], [75, 15, 10])[0](seed, r)
