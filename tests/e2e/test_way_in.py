# SPDX-License-Identifier: MIT
"""The way to a program: what executes it, what it is linked with, and what it finds out about its own executable"""

import shutil
import subprocess

import pytest
from conftest import PYTHON, need


SHOW = "import os\nprint(sorted(os.environ.items()))\n"


def test_environment_that_is_changed_on_the_way(same, warm, script):
    """env(1) executes the program with another environment than the launch's; each variable of the launch counts then"""
    argv = ["env", "-u", "TZ", "A=1", PYTHON, script(SHOW)]
    same(argv, env={"TZ": "UTC", "COLUMNS": "70"})
    for env in ({"TZ": "UTC", "COLUMNS": "71"}, {"TZ": "UTC"}, {"TZ": "UTC", "COLUMNS": "70", "SSH_TTY": "x"}):
        assert warm.run(argv, env=env).stdout == warm.cold(argv, env=env).stdout
    # main() gets the launch's: no template
    argv = ["env", "-u", "TZ", "A=1", "sh", "-c", "echo ${TZ-none} $A"]
    answer = warm.build(argv, env={"TZ": "UTC"}, expect="refused")
    assert "changed its environment" in answer["reason"]
    assert warm.run(argv, env={"TZ": "UTC"}).stdout == b"none 1\n"


EMBEDDED = r'''
#include <Python.h>
int main(int argc, char **argv)
{
	Py_Initialize();
	PyRun_SimpleString("import sys; print(sys.version_info[:2], len(sys.argv))");
	return Py_FinalizeEx() + argc;
}
'''


def test_a_program_that_embeds_python(same, warm, compile_c):
    """It never comes to Py_RunMain(): auto is main()"""
    config = shutil.which("python3-config", path="/usr/bin")
    need(config, "python3-config")
    flags = subprocess.run([config, "--embed", "--includes", "--ldflags"], capture_output=True, text=True, check=True).stdout.split()
    program = compile_c(EMBEDDED, *flags)
    same([program, "x"])
    [row] = [t for t in warm.ls() if t["argv"][0] == str(program)]
    assert row["ready"] == "main"


LINKS = r'''
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *path, size_t size)
{
	char buf[PATH_MAX] = "";
	ssize_t n = readlink(path, buf, size);

	printf("%zd %.*s\n", n, n > 0 ? (int)n : 0, buf);
	if (n < 0)
		printf("%d\n", errno);
	n = readlinkat(AT_FDCWD, path, buf, size);
	printf("%zd %.*s\n", n, n > 0 ? (int)n : 0, buf);
}

int main(void)
{
	char *real, own[64];

	show("/proc/self/exe", PATH_MAX);
	show("/proc/self/exe", 5);
	show("/proc/self/exe", 0);
	show("/proc/thread-self/exe", PATH_MAX);
	show("/proc/self/cwd", PATH_MAX);
	show("/proc/self/exe/", PATH_MAX);
	show("/proc/none/exe", PATH_MAX);
	show("/proc/1x/exe", PATH_MAX);
	show("", PATH_MAX);
	real = realpath("/proc/self/exe", NULL);
	puts(real ? real : "none");
	fflush(stdout);
	if (fork() == 0) {
		snprintf(own, sizeof(own), "/proc/%d/exe", getpid());
		show(own, PATH_MAX);
		return fflush(stdout);
	}
	wait(NULL);
	return 0;
}
'''


def test_the_link_to_the_executable(same, compile_c):
    """Without CAP_CHECKPOINT_RESTORE it names warm for the kernel; programs that read it find their own name"""
    same([compile_c(LINKS)])


@pytest.mark.parametrize("argv", [["perl", "-e", "print $^X"], ["readlink", "-v", "/proc/self/exe"], ["realpath", "/proc/self/exe"]], ids=" ".join)
def test_programs_that_read_it(same, argv):
    same(argv)
