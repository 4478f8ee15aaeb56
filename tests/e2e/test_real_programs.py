# SPDX-License-Identifier: MIT
"""Programs as they come with the system, cold and warm; and what they do at their start that others don't"""

import shutil

import pytest
from conftest import PYTHON, need

# from packages that are essential on Debian, or that the tests need anyway
PROGRAMS = [
    ["perl", "-e", 'print join("|", $0, @ARGV), "\\n"; print STDERR "words\\n"; exit 3', "a", "b"],
    ["perl", "-MPOSIX", "-e", 'my $p = fork; exit 5 if !$p; waitpid $p, 0; print $? >> 8, "\\n"; kill 15, $$'],
    ["bash", "-c", 'echo "$0 $@"; trap "echo trapped" EXIT; (exit 4); echo $?; exit 3', "x", "y"],
    ["sh", "-c", "kill -TERM $$"],
    ["awk", 'BEGIN { print "out"; system("echo below"); exit 7 }'],
    ["sed", "s/a/b/"],
    ["sort", "-r"],
    ["grep", "-c", "a"],
    ["xargs", "-n1", "echo"],
    ["tar", "--version"],
    ["find", "/etc/apt", "-maxdepth", "1"],
    ["ls", "-l", "/etc/passwd"],
    ["env", "sh", "-c", "echo $HOME"],
    ["timeout", "0.01", "sleep", "60"],
    ["gcc", "-v"],
    ["gcc", "-x", "c", "-E", "-P", "-"],
    ["ld", "--version"],
    ["objdump", "-f", "/bin/true"],
    ["make", "--version"],
    ["strace", "-V"],
    ["tmux", "-V"],
    ["less", "--version"],
]


@pytest.mark.parametrize("argv", PROGRAMS, ids=lambda argv: " ".join(argv)[:30])
def test_programs_of_the_system(same, argv):
    need(shutil.which(argv[0]), argv[0])
    same(argv, stdin=b"a 1\nb 2\n")


def test_libraries_that_bind_a_socket(same, script):
    """urllib3 does at its import, to see whether the host has IPv6: no port is taken from anybody"""
    probe = "import socket\nwith socket.socket() as s:\n    s.bind(('127.0.0.1', 0))\n    found = s.family.name\n"
    same([PYTHON, script("import probe\nprint(probe.found)\n", **{"probe.py": probe})])
