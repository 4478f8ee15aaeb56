# SPDX-License-Identifier: MIT
"""Readiness point `main`: programs in C and C++ that know nothing of warm"""
import os
import shutil
import subprocess

import pytest
from conftest import TIMEOUT, need

MAIN = ["--ready", "main"]


ARGUMENTS = [[], ["one", "", "three words here", "\t\n", "-x", "--"], ["exit", "77"], ["child"], ["x" * 100000],
             ["\udcff\udc80"]]


@pytest.mark.parametrize("args", ARGUMENTS, ids=range(len(ARGUMENTS)))
@pytest.mark.parametrize("ready", ["main", "auto"])
def test_arguments_and_environment(same, programs, args, ready):
    same([programs.path("plain"), *args], warm_options=["--ready", ready], env={"TEST_A": "1", "TEST_B": "a=b=c"})


def test_abort(same, programs):
    same([programs.path("plain"), "abort"], warm_options=MAIN, expect_status=-6)


def test_one_template_serves_other_volatile_variables(warm, programs):
    argv = [programs.path("plain")]
    warm.build(argv, options=MAIN, env={"SHLVL": "1"})
    for level in ("2", "3", None):
        cold = warm.cold(argv, env={"SHLVL": level, "OLDPWD": "/tmp"})
        run = warm.run(argv, strict=True, options=MAIN, env={"SHLVL": level, "OLDPWD": "/tmp"})
        assert run.stdout == cold.stdout


@pytest.mark.parametrize("flags", [["-pie", "-fPIE"], ["-no-pie"], ["-Wl,-z,now"], ["-Wl,-z,lazy"], ["-static"],
                                   ["-static-pie"], ["-m64", "-Wl,-z,noseparate-code"]], ids=" ".join)
def test_kinds_of_executables(same, programs, flags):
    same([programs.path("plain", *flags), "a", "b"], warm_options=MAIN, env={"TEST_A": "1"})


@pytest.mark.parametrize("flags", [[], ["-static"], ["-no-pie"]], ids=["dynamic", "static", "no-pie"])
def test_musl(same, programs, flags):
    need(shutil.which("musl-gcc"), "musl-gcc")
    same([programs.path("plain", *flags, compiler="musl-gcc"), "a", "b"], warm_options=MAIN, env={"TEST_A": "1"})


@pytest.mark.parametrize("flags", [[], ["-static"]], ids=["dynamic", "static"])
def test_musl_threads(same, programs, flags):
    """musl keeps its thread ids elsewhere than glibc"""
    need(shutil.which("musl-gcc"), "musl-gcc")
    source = programs.directory / "musl_threads.c"
    source.write_text(MUSL_THREADS)
    target = programs.directory / f"musl_threads{len(flags)}"
    subprocess.run(["musl-gcc", "-O1", *flags, "-o", target, source], check=True, timeout=TIMEOUT)
    r = same([target], warm_options=["--ready", "call"], expect_status=0)
    assert r.out == "recursive 0 0 0 0 errorcheck 0 1 kill 0 1 join 5 raise 1\n"


MUSL_THREADS = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int p[2];
static volatile int got;
static void on(int s) { got = s; }
static void *f(void *a) { char b; while (read(p[0], &b, 1) != 1) ; return a; }
int main(void)
{
	pthread_mutexattr_t r, e;
	pthread_mutex_t mr, me;
	pthread_t t;
	void *ret;
	const char *fd = getenv("WARM_FD");
	static char buf[65536];
	struct sigaction sa = { .sa_handler = on };

	sigaction(SIGUSR1, &sa, 0);
	pipe(p);
	pthread_mutexattr_init(&r);
	pthread_mutexattr_settype(&r, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&mr, &r);
	pthread_mutexattr_init(&e);
	pthread_mutexattr_settype(&e, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&me, &e);
	pthread_create(&t, 0, f, (void *)5);
	if (fd) {
		int n = atoi(fd);
		write(n, "READY=1\n", 8);
		while (read(n, buf, sizeof(buf)) > 0) ;
		close(n);
	}
	printf("recursive %d", pthread_mutex_lock(&mr));
	printf(" %d", pthread_mutex_lock(&mr));
	printf(" %d", pthread_mutex_unlock(&mr));
	printf(" %d", pthread_mutex_unlock(&mr));
	printf(" errorcheck %d", pthread_mutex_lock(&me));
	pthread_mutex_unlock(&me);
	printf(" %d", pthread_mutex_unlock(&me) != 0);
	printf(" kill %d", pthread_kill(t, SIGUSR1));
	while (!got) ;
	printf(" 1");
	write(p[1], "x", 1);
	pthread_join(t, &ret);
	got = 0;
	raise(SIGUSR1);
	printf(" join %ld raise %d\n", (long)ret, got == SIGUSR1);
	return 0;
}
"""


@pytest.mark.parametrize("data", [b"", b"one\ntwo\n", b"z" * 70000], ids=["empty", "lines", "long"])
def test_cxx(same, programs, data):
    same([programs.path("iostream"), "a"], warm_options=MAIN, stdin=data)


def test_program_with_50_libraries(same, programs):
    directory = programs.directory / "libs"
    directory.mkdir()
    for i in range(50):
        source = directory / f"part{i}.c"
        source.write_text(f"static int *m; __attribute__((constructor)) static void init(void) {{ static int v; v = {i}; m = &v; }}\n"
                          f"int part{i}(void) {{ return *m * 2; }}\n")
    subprocess.run(["sh", "-ec", "for i in $(seq 0 49); do gcc -O1 -fPIC -shared -o libpart$i.so part$i.c; done"],
                   cwd=directory, check=True, timeout=TIMEOUT * 4)
    main = directory / "main.c"
    main.write_text("#include <stdio.h>\n" + "".join(f"int part{i}(void);\n" for i in range(50)) +
                    "int main(int argc, char **argv) { int s = argc; (void)argv;\n" +
                    "".join(f"s += part{i}();\n" for i in range(50)) + 'printf("%d\\n", s); return 0; }\n')
    program = directory / "main"
    subprocess.run(["gcc", "-o", program, main, f"-L{directory}", f"-Wl,-rpath,{directory}", "-Wl,--no-as-needed",
                    *(f"-lpart{i}" for i in range(50))], check=True, timeout=TIMEOUT)
    r = same([program, "x"], warm_options=MAIN, expect_status=0)
    assert r.out == "2452\n"


@pytest.mark.parametrize("what", ["missing", "directory", "not executable", "bad interpreter", "empty", "not a program"])
def test_what_cannot_be_executed(warm, tmp_path, what):
    """As env(1): 127 when there is none, 126 when it cannot be run; never a template"""
    path = tmp_path / "program"
    if what == "directory":
        path.mkdir()
    elif what == "not executable":
        path.write_text("#!/bin/sh\n")
    elif what == "bad interpreter":
        path.write_text("#!/no/such/interpreter\n")
    elif what == "not a program":
        path.write_bytes(b"\x7fELFgarbage")
    elif what == "empty":
        path.write_bytes(b"")
    if what not in ("missing", "directory", "not executable"):
        path.chmod(0o755)
    env = warm.cold(["env", path])
    for _ in range(2):
        run = warm.run([path])
        assert run.status == env.status, (run, env)
        warm.idle()


def test_exec_by_name_and_path(warm, programs, tmp_path):
    """A name is looked for in the caller's PATH"""
    os.symlink(programs.path("plain"), tmp_path / "by-name")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TEST_A": "1"}
    cold = warm.cold(["env", "by-name", "x"], env=env)
    warm.build(["by-name", "x"], options=MAIN, env=env)
    run = warm.run(["by-name", "x"], strict=True, options=MAIN, env=env)
    assert run.out == cold.out and run.status == 0
