# SPDX-License-Identifier: MIT
"""Nobody gains rights by warm, and nobody hears what he could not read: callers that have not all that warmd has, or more.

Each caller runs cold, is refused everything else, and gets no byte of a template, whatever its messages say.
"""
import contextlib
import json
import os
import pty
import resource
import secrets
import shutil
import socket
import subprocess

import fake_warmd as fw
import liar
import pytest
from conftest import BUILD, HERE, PYTHON, SAN, TIMEOUT, TREE, a_warm, eventually, execute, exists, need, read_until
from launches import Launches

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
MODULE = "import os\ntry:\n    SECRET = open({secret!r}).read()\nexcept OSError:\n    SECRET = 'denied'\nNOW = [os.getuid(), os.getgid(), os.uname().nodename]\n"
SCRIPT = "import m\n\ndef main():\n    print(m.SECRET, m.NOW)\n\nmain()\n"
# by whom they can be made; {} is a folder of the test's, {secret}:{other} two files
CALLERS = [
    "no_new_privs", "seccomp", "user", "user_other", "user,mnt", "user,uts,hostname", "user,ipc", "user,net", "user,cgroup", "user,pid",
    "user,pid_for_children", "user,time", "user,time_for_children", "user,mnt,bind={other}:{secret}", "user,mnt,bind_root={root}",
    "user,mnt,pivot={root}",
    *(pytest.param(how, marks=ROOT) for how in (
        "bounding_set", "capabilities", "inheritable", "more_groups", "gid", "mnt", "uts,hostname", "ipc", "net", "cgroup", "pid",
        "pid_for_children", "time", "time_for_children", "mnt,bind={other}:{secret}", "mnt,bind_root={root}", "mnt,pivot={root}",
        "chroot={bound}")),
]


class Kept:
    """A template with a secret in it, parked clones of it, and a clone on a terminal of its own"""

    def __init__(self, warm, directory, programs):
        if SAN:     # the search for leaks makes a thread, which some of the callers cannot: clone(2), EINVAL
            warm.env["ASAN_OPTIONS"] = "detect_leaks=0"
        self.warm, self.directory, self.env = warm, directory, warm.environment()
        self.secret = secrets.token_hex(8)
        self.folder = directory / self.secret          # names, arguments and paths are secret too
        self.folder.mkdir()
        for name, text in (("secret", self.secret), ("other", "other"), ("a.py", SCRIPT),
                           ("m.py", MODULE.format(secret=str(self.folder / "secret")))):
            (self.folder / name).write_text(text, encoding="ascii")
        (self.folder / "secret").chmod(0o600)
        if os.geteuid() == 0:       # by capability alone
            os.chown(self.folder / "secret", 65534, 65534)
        self.root, self.bound = directory / "root", directory / "bound"
        self.root.mkdir()
        self.bound.mkdir()
        self.caller = programs.path("caller")
        self.argv = [PYTHON, str(self.folder / "a.py")]
        self.name = f"kept-{self.secret}"
        self.message = directory / "message"

    def how(self, how):
        return [self.caller, how.format(root=self.root, bound=self.bound, secret=self.folder / "secret", other=self.folder / "other")]

    def fill(self):
        with fw.FakeWarmd(self.runtime()) as fake:
            # what a process with all rights says; standard descriptors as execute() has them
            execute([self.warm.program, "run", *self.argv], env={**self.env, "WARM_RUNTIME_DIR": self.runtime()})
            self.message.write_bytes(fake.runs[0].data)
        launches = Launches(self.warm)
        launches.build(self.argv, name=self.name, way="fork")
        self.warm.build(["/bin/sh", "-c", f"echo {self.secret}; read x"], options=["--name", "terminal", "--ready", "main"],
                        stdin="tty", stdout="tty", stderr="tty")
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.execve(self.warm.program, [str(self.warm.program), "launch", "terminal"], self.env)
        self.client = pid
        read_until(self.terminal, self.secret.encode())
        self.clone = eventually(lambda: [c["pid"] for c in self.warm.json("ps")], "a clone on a terminal")[0]
        eventually(lambda: self.secret in self.warm.command("logs", str(self.clone), check=False).stdout, "its output")
        self.before = self.state()

    def runtime(self):
        path = self.directory / "fake"
        path.mkdir(mode=0o700, exist_ok=True)
        return str(path)

    def state(self):
        """What nobody may change"""
        stats = self.warm.stats()
        return [(t["id"], t["launches"]) for t in self.warm.ls()], self.warm.pid(), exists(self.clone), stats["launches"]["launched"], [n for k, n in sorted(stats.items()) if k.startswith("builds")]

    def liar(self, how, thread="", **env):
        r = execute([*self.how(how), PYTHON, HERE / "liar.py", self.warm.runtime_dir, self.message, self.name, str(self.clone), thread],
                    env={**self.env, **env})
        need(r.status != 77, r.err)
        assert r.status == 0, r
        return json.loads(r.out)

    def silent(self, r):
        assert self.secret not in r.out + r.err, r


@pytest.fixture(scope="module")
def kept(warm, programs, tmp_path_factory):
    k = Kept(warm, tmp_path_factory.mktemp("kept"), programs)
    for path in (k.directory, k.directory.parent):
        path.chmod(0o755)
    if os.geteuid() == 0:
        subprocess.run("mount --rbind / {0} && mount --make-rprivate {0}".format(k.bound), shell=True, check=True)
    try:
        k.fill()
        yield k
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-R", "-l", k.bound], check=True)
        with contextlib.suppress(AttributeError, OSError):
            os.close(k.terminal)
            os.waitpid(k.client, 0)


@pytest.fixture
def rights(programs):
    flags = ["-fsanitize=address,undefined"] if SAN else []
    return programs.path("rights", f"-I{TREE / 'launcher'}", str(BUILD / "libwarm.a"), *flags)


def statuses(answers):
    """Of the answers to launches: (status, words)"""
    said = {}
    for what in ("run", "run --pool", "explain command", "build", "build another", "launch"):
        if what in answers:
            v = fw.REPLY.unpack_from(answers[what][0].encode("latin-1"), fw.HEADER.size)
            said[what] = fw.STATUS[v[0]], v[-1].rstrip(b"\0").decode()
    return said


def test_what_is_asked_for_is_there(kept):
    """Otherwise the tests below say nothing: one who has what warmd has gets all of it"""
    answers = kept.liar("nothing", LIAR_SKIPS="rm,stop,build,build another,run --pool,launch")
    assert answers["run"][1] >= 2 and statuses(answers)["run"][0] == "warm"
    assert answers["logs"][1] == 2 and answers["attach --view"][1] == 3
    for what in ("ls", "inspect", "explain", "metrics", "ps", "stats"):
        assert kept.secret in answers[what][0] or what in ("ps", "stats"), what
    assert "terminal" in answers["ps"][0]
    assert kept.warm.run(kept.argv, strict=True).out.startswith(kept.secret)
    kept.before = kept.state()


def refused(kept, answers):
    for what, (text, descriptors) in answers.items():
        assert descriptors == 0 and kept.secret not in text, (what, text)
    for what, (status, words) in statuses(answers).items():
        assert status == "rights" and words.startswith("the caller"), (what, status, words)
    for what in ("logs", "attach", "attach --view", "ls", "inspect", "stats", "explain", "explain clone", "ps", "rm", "stop"):
        assert "the caller" in answers[what][0], (what, answers[what])
        assert "terminal" not in answers[what][0]
    assert answers["metrics"][0].startswith("HTTP/1.1 403 ") and "the caller" in answers["metrics"][0]
    assert "0.1.0" in answers["hello"][0]
    assert kept.state() == kept.before


@pytest.mark.parametrize("how", CALLERS)
def test_lies(kept, how):
    """Messages that claim all rights, as a process that has them wrote them"""
    refused(kept, kept.liar(how))


def test_lies_of_a_process_whose_thread_gave_up_rights(kept):
    refused(kept, kept.liar("nothing", "no_new_privs"))


@pytest.mark.parametrize("how", CALLERS)
def test_commands(kept, how):
    """`warm run` runs cold, in silence; all others fail, and say in what the two differ"""
    prefix, env = kept.how(how), kept.env
    cold = execute([*prefix, *kept.argv], env=env)
    need(cold.status != 77, cold.err)
    if os.geteuid() == 0 and how in ("capabilities", "user", "user_other"):
        assert cold.out.startswith("denied"), cold
    warm = [*prefix, kept.warm.program]
    for options in ([], ["--pool"], ["--name", kept.name], ["--pool", "--ready", "call"]):
        r = execute([*warm, "run", *options, "--", *kept.argv], env=env)
        assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status), options
    r = execute([*warm, "run", "--strict", "--", *kept.argv], env=env)
    assert r.status == 125 and r.err.startswith("warm: not warm, and --strict was given: the caller"), r
    r = execute([*warm, "explain", "--", *kept.argv], env=env)
    assert r.status == 0 and "would run cold: templates are built with warmd's rights" in r.out and "because: the caller" in r.out, r
    kept.silent(r)
    for command in (["build", "--", *kept.argv], ["build", "--ready", "call", "--", "sh", "-c", f"echo > {kept.folder}/made"],
                    ["launch", kept.name], ["logs", str(kept.clone)], ["explain", kept.name], ["explain", str(kept.clone)],
                    ["inspect", kept.name], ["ls"], ["ps"], ["stats"], ["stats", "--prometheus"], ["rm", kept.name]):
        r = execute([*warm, *command], env=env)
        assert r.status == 125 and "the caller" in r.err, (command, r)
        kept.silent(r)
    assert not (kept.folder / "made").exists()
    assert kept.state() == kept.before


# a process whose children will be elsewhere can make no threads: clone(2), EINVAL
@pytest.mark.parametrize("how", [c for c in CALLERS if "for_children" not in str(c)])
def test_libwarm(kept, rights, how):
    r = execute([*kept.how(how), rights, "nothing", "first", kept.name], env={**kept.env, "ASAN_OPTIONS": "detect_leaks=0"})
    need(r.status != 77, r.err)
    assert r.status == 0 and r.out.startswith("launch -13 the caller"), r
    kept.silent(r)
    assert kept.state() == kept.before


def test_a_chroot_into_the_same_root_is_none(kept):
    """What is compared is where the root is, not that somebody changed it"""
    need(os.geteuid() == 0, "root")
    r = execute([*kept.how("chroot=/"), kept.warm.program, "run", "--strict", "--", *kept.argv], env=kept.env)
    assert r.status == 0 and r.out.startswith(kept.secret), r
    kept.before = kept.state()


# --- daemons with fewer rights than their callers, and other special ones ------------------------------------------

@contextlib.contextmanager
def daemon_of(programs, how, argv, prefix=None):
    """A Warm whose warmd was started by a caller that had given something up, and a template of argv"""
    with a_warm() as w:
        start = prefix or [programs.path("caller"), how]
        r = execute([*start, w.program, "build", "--name", "t", "--pool", "1", "--", *argv], env=w.env)
        need(r.status != 77, r.err)
        assert r.status == 0, r
        try:
            yield w, start
        finally:
            assert execute([*start, w.program, "stop"], env=w.env).status == 0


@pytest.mark.parametrize("how", ["no_new_privs", pytest.param("bounding_set", marks=ROOT), pytest.param("capabilities", marks=ROOT), pytest.param("more_groups", marks=ROOT)])
def test_more_rights_than_the_daemon(programs, script, how):
    """It would lose them: cold too. Such a daemon can still be ended, by a signal that the kernel allows"""
    program = [PYTHON, script("import json\n\ndef main():\n    print(open('/proc/self/status').read().split('NoNewPrivs')[1].split()[1])\n\nmain()\n")]
    with daemon_of(programs, how, program) as (w, start):
        assert execute([*start, w.program, "run", "--strict", "--", *program], env=w.env).status == 0
        for options in ([], ["--pool"]):
            assert w.run(program, options=options).out == "0\n"
        r = w.run(program, strict=True)
        assert r.status == 125 and "the caller" in r.err, r
        r = w.command("launch", "t", check=False)
        assert r.returncode == 125 and r.stdout == "" and "the caller" in r.stderr, r
        daemon = w.pid()
        r = w.command("stop", "--json")
        assert json.loads(r.stdout) == {"stopped": True, "pid": daemon}
        assert not exists(daemon)


@ROOT
def test_all_groups_are_compared(programs, script):
    """proc_pid_status(5) has them in one line, which may be long"""
    need(shutil.which("setpriv"), "setpriv")
    program = [PYTHON, script("import os\n\ndef main():\n    print(999999 in os.getgroups())\n\nmain()\n")]
    # 511 bytes, and more than a page
    for count in (120, 3000):
        many = ",".join(map(str, range(100001, 100001 + count)))
        with daemon_of(programs, "", program, ["setpriv", "--groups", many + ",999999"]) as (w, start):
            r = execute([*start, w.program, "launch", "t"], env=w.env)
            assert (r.out, r.status) == ("True\n", 0), r
            fewer = ["setpriv", "--groups", many]
            r = execute([*fewer, w.program, "launch", "t"], env=w.env)
            assert r.status == 125 and "Groups" in r.err and r.out == "", r
            assert execute([*fewer, w.program, "run", "--", *program], env=w.env).out == "False\n"


def test_one_filter_more(programs, script):
    """Where all have a filter, as in a container, their number counts"""
    program = [PYTHON, script("import json\n\ndef main():\n    print(1)\n\nmain()\n")]
    with daemon_of(programs, "no_new_privs,seccomp", program) as (w, start):
        assert execute([*start, w.program, "run", "--strict", "--", *program], env=w.env).out == "1\n"
        more = [programs.path("caller"), "no_new_privs,seccomp,seccomp"]
        r = execute([*more, w.program, "run", "--strict", "--", *program], env=w.env)
        assert r.status == 125 and "Seccomp_filters" in r.err, r


def test_proc_of_another_pid_namespace(programs, own_warm):
    """Numbers in it are others': warmd does not believe them"""
    how = "pid" if os.geteuid() == 0 else "user,pid"
    # the daemon ends with the namespace
    r = execute([programs.path("caller"), how, "sh", "-c", f"{own_warm.program} run -v -- echo 1; {own_warm.program} build -- true; true"], env=own_warm.env)
    need(r.status != 77, r.err)
    assert r.out == "1\n" and "running cold: /proc is not that of warmd's pid namespace" in r.err, r
    assert "no template was built: /proc is not" in r.err, r


def test_on_a_kernel_that_tells_less(programs, script):
    """Before Linux 6.5 a peer is a number, before 6.11 namespaces are read in /proc"""
    program = [PYTHON, script("import json\n\ndef main():\n    print(1)\n\nmain()\n")]
    with daemon_of(programs, "old_kernel", program) as (w, start):
        assert execute([*start, w.program, "run", "--strict", "--", *program], env=w.env).out == "1\n"
        r = execute([*start, w.program, "launch", "-v", "t"], env=w.env)
        assert r.out == "1\n" and "launched from template" in r.err, r
        words = {"no_new_privs": "NoNewPrivs", "uts": "uts namespace", "mnt": "mnt namespace", "pid_for_children": "pid_for_children namespace"}
        for how in words if os.geteuid() == 0 else ("user", "user,uts"):
            r = execute([programs.path("caller"), f"old_kernel,{how}", w.program, "run", "--strict", "--", *program], env=w.env)
            need(r.status != 77, r.err)
            assert r.status == 125 and "the caller" in r.err and words.get(how, " namespace") in r.err, r
        # the process that connected is gone, a child has kept the connection
        text = ("import os, select, socket, sys; sys.path.insert(0, sys.argv[1]); import liar\n"
                "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[2]); parent = os.pidfd_open(os.getpid())\n"
                "if os.fork(): os._exit(0)\n"
                "select.select([parent], [], []); s.send(liar.control(1)); print(s.recv(99999))")
        r = execute([*start, PYTHON, "-c", text, HERE, w.runtime_dir / "warmd.sock"], env=w.env)
        assert "the caller has ended" in r.out or "has not kept the connection" in r.out, r


# --- the runtime directory ----------------------------------------------------------------------------------------

def in_the_gap(path, argv, env):
    """warmd finds nothing at path when it first looks, and finds what is there when it makes it"""
    need(shutil.which("strace"), "strace")
    calls = "%stat,%lstat,newfstatat,mkdir"
    return execute(["strace", "-f", "-o", "/dev/null", "-P", path, "-e", f"trace={calls}",
                    "-e", "inject=%stat,%lstat,newfstatat:error=ENOENT:when=1", *argv], env={**env, "WARM_RUNTIME_DIR": str(path), "ASAN_OPTIONS": "detect_leaks=0"})


@ROOT
@pytest.mark.parametrize("what", ["directory", "link", "link_to_ours"])
def test_another_user_wins_the_race_for_the_runtime_directory(own_warm, tmp_path, what):
    """EEXIST of mkdir(2) says that something is there, not whose it is"""
    tmp_path.chmod(0o755)
    path, ours = tmp_path / "rt", tmp_path / "ours"
    ours.mkdir(mode=0o700)
    if what == "directory":
        path.mkdir(mode=0o700)
        os.chown(path, 65534, 65534)
        seen = path
    else:
        seen = tmp_path / "theirs" if what == "link" else ours
        seen.mkdir(mode=0o700, exist_ok=True)
        if what == "link":
            os.chown(seen, 65534, 65534)
        path.symlink_to(seen)
        os.chown(path, 65534, 65534, follow_symlinks=False)
        os.chown(tmp_path, 65534, 65534)       # or fs.protected_symlinks does it for us
    r = in_the_gap(path, [own_warm.build_directory / "warmd"], own_warm.env)
    assert r.status == 125 and "belongs to uid 65534" in r.err, r
    assert list(seen.iterdir()) == []
    # a client goes cold, and starts none
    r = in_the_gap(path, [own_warm.program, "run", "echo", "1"], own_warm.env)
    assert (r.out, r.status) == ("1\n", 0), r
    assert list(seen.iterdir()) == []


@pytest.mark.parametrize("name", ["warmd.log", "warmd.lock"])
def test_what_lies_in_the_runtime_directory_is_not_trusted(own_warm, name):
    """It may have been open to others before"""
    own_warm.runtime_dir.mkdir(mode=0o700)
    target = own_warm.directory / "target"
    target.write_text("mine\n", encoding="ascii")
    for plant in (lambda p: p.symlink_to(target), lambda p: p.hardlink_to(target) if hasattr(p, "hardlink_to") else os.link(target, p)):
        plant(own_warm.runtime_dir / name)
        r = own_warm.run(["echo", "1"])
        assert r.out == "1\n", r
        assert own_warm.run(["echo", "1"]).out == "1\n"
        assert target.read_text(encoding="ascii") == "mine\n"
        own_warm.command("stop", check=False)
        (own_warm.runtime_dir / name).unlink()


def test_modes(own_warm):
    os.umask(0)
    try:
        own_warm.start()
    finally:
        os.umask(0o022)
    assert own_warm.runtime_dir.stat().st_mode & 0o7777 == 0o700
    for name in ("warmd.sock", "metrics.sock", "warmd.log", "warmd.lock"):
        assert (own_warm.runtime_dir / name).lstat().st_mode & 0o7777 == 0o600, name


@ROOT
def test_a_log_of_another_user_is_not_written(own_warm, tmp_path):
    """WARM_LOG may be in a directory where others make names"""
    tmp_path.chmod(0o755)
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("mine\n", encoding="ascii")
    link.symlink_to(target)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    os.chown(tmp_path, 65534, 65534)
    other = tmp_path / "other"
    other.write_text("", encoding="ascii")
    os.chown(other, 65534, 65534)
    for path in (link, other):
        env = {**own_warm.env, "WARM_LOG": str(path)}
        assert execute([own_warm.program, "run", "true"], env=env).status == 0
        own_warm.command("stop")
        assert target.read_text(encoding="ascii") == "mine\n" and other.read_text(encoding="ascii") == ""


# --- more of what docs/security.md says ---------------------------------------------------------------------------

def test_a_handle_counts_from_its_first_launch(kept, rights):
    """Opened and not used, it gives nothing; used, it is as any descriptor that a process keeps"""
    env = {**kept.env, "ASAN_OPTIONS": "detect_leaks=0"}
    r = execute([rights, "no_new_privs", "opened", kept.name], env=env)
    assert r.status == 0 and r.out.startswith("launch -13 the caller and warmd differ in NoNewPrivs"), r
    r = execute([rights, "no_new_privs", "used", kept.name], env=env)
    assert r.status == 0 and r.out.count("ended 0") == 2, r
    kept.before = kept.state()


def test_a_control_message_of_any_kind_is_checked(kept):
    """What is not known yet, too: a command without a number that warmd knows"""
    how = "no_new_privs"
    text = ("import sys; sys.path.insert(0, sys.argv[1]); import liar, fake_warmd as fw; "
            "print([liar.ask(sys.argv[2], fw.packet(n, b'\\1' * size)) for n in range(1, 40) for size in (0, 8, 24, 64) if n not in (4, 15)])")
    r = execute([*kept.how(how), PYTHON, "-c", text, HERE, kept.warm.runtime_dir / "warmd.sock"], env=kept.env)
    assert r.status == 0, r
    kept.silent(r)
    assert all(descriptors == 0 for _, descriptors in eval(r.out)), r  # noqa: S307
    assert kept.state() == kept.before


def test_log_has_no_environment(make_warm, script):
    w = make_warm(config={"log_level": "debug"})
    argv = [PYTHON, script("import os\nX = os.environ.get('PASSWORD')\n\ndef main():\n    print(X)\n\nmain()\n")]
    for secret in ("first-secret", "second-secret"):
        env = {"PASSWORD": secret}
        w.build(argv, env=env)
        assert w.run(argv, env=env, strict=True).out == secret + "\n"
    w.run(argv, env={"PASSWORD": "third-secret"})
    w.idle()
    assert "debug: run " in w.log()
    assert "-secret" not in w.log()


@ROOT
def test_configuration_of_another_user(make_warm):
    w = make_warm(config={})
    os.chown(w.config_file, 65534, 65534)
    assert w.run(["echo", "1"]).out == "1\n"
    assert not w.pid()
    r = execute([w.build_directory / "warmd"], env=w.env)
    assert r.status == 125 and "belongs to another user (uid 65534)" in r.err, r


def test_set_user_id_programs_are_refused(own_warm, tmp_path):
    program = tmp_path / "program"
    shutil.copy("/bin/echo", program)
    program.chmod(0o4755)
    answer = own_warm.build([program, "1"], expect=None)
    assert answer["status"] == "refused" and "it is set-uid" in answer["reason"], answer
    assert own_warm.run([program, "1"]).out == "1\n"


def test_as_many_connections_as_there_may_be(own_warm):
    """One more is answered its commands, and a run goes cold; the others go on"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need(hard == resource.RLIM_INFINITY or hard >= 4096, "4096 descriptors")
    own_warm.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    try:
        with contextlib.ExitStack() as stack:
            def connect():
                s = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                s.settimeout(TIMEOUT)
                s.connect(str(own_warm.runtime_dir / "warmd.sock"))
                return s
            first = [connect() for _ in range(1024)]
            first[-1].send(liar.HELLO)
            assert first[-1].recv(4096)
            guest = connect()
            guest.send(liar.HELLO)
            assert liar.is_hello(guest.recv(4096))
            assert own_warm.run(["echo", "1"]).out == "1\n"
            first[0].send(liar.HELLO)
            assert liar.is_hello(first[0].recv(4096))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- the file capability ------------------------------------------------------------------------------------------

@ROOT
@pytest.mark.skipif(SAN, reason="a sanitizer's library is not preloaded into a program with a file capability")
def test_launcher_with_a_file_capability(own_warm):
    """It has more than warmd, for one call; what is asked for is asked for by a child that has not. The program has none"""
    need(shutil.which("setcap") and shutil.which("setpriv"), "setcap, setpriv")
    build = own_warm.directory / "build"
    build.mkdir()
    for name in ("warm", "warmd", "warm-tool"):
        shutil.copy(BUILD / name, build / name)
    need(subprocess.run(["setcap", "cap_checkpoint_restore+ep", build / "warm"], check=False).returncode == 0, "file capabilities")
    program = own_warm.directory / "a.py"
    program.write_text("import json, os\n\ndef main():\n    print(os.readlink('/proc/self/exe'))\n"
                     "    print([l for l in open('/proc/self/status') if l.startswith('Cap')], os.path.exists('/proc/self/fd/9'))\n"
                     "    print(len(os.listdir('/proc/self/fd')), open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read())\n\nmain()\n", encoding="ascii")
    own_warm.directory.chmod(0o755)
    own_warm.runtime_dir.mkdir(mode=0o700)
    os.chown(own_warm.runtime_dir, 65534, 65534)
    (own_warm.directory / "config").chmod(0o755)
    os.chown(own_warm.config_file.parent, 65534, 65534)
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    argv, env = [PYTHON, str(program)], own_warm.env
    cold = execute([*user, *argv], env=env)
    warm = [*user, str(build / "warm")]
    try:
        r = execute([*warm, "build", "--name", "t", "--", *argv], env=env)
        assert r.status == 0, r
        for options in ([], ["--pool"]):
            r = execute([*warm, "run", "--strict", *options, "--", *argv], env=env)
            assert (r.stdout, r.stderr, r.status) == (cold.stdout, cold.stderr, cold.status), options
        for command in (["launch", "t"], ["logs", "1"], ["ls"]):
            r = execute([*warm, *command], env=env)
            assert "the caller" not in r.err, r
        r = execute([*user, "setpriv", "--no-new-privs", str(build / "warm"), "run", "--strict", "--", *argv], env=env)
        assert r.status == 125 and "NoNewPrivs" in r.err, r
    finally:
        execute([*warm, "stop"], env=env)
