# SPDX-License-Identifier: MIT
"""What `make install` puts in place is complete, and works from there"""

import os
import re
import shutil
import subprocess

import pytest
from conftest import BUILD, PYTHON, SAN, TIMEOUT, TREE, need

PREFIX = "/opt/warm"


def make_install(destination):
    """From what is built already: nothing is compiled again (-o all)"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}      # `make test` runs this
    words = ["make", "-s", "-o", "all", f"B={BUILD}", f"DESTDIR={destination}", f"PREFIX={PREFIX}", "install"]
    subprocess.run(words, cwd=TREE, env=env, capture_output=True, timeout=TIMEOUT, check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    need(shutil.which("make"), "make")
    destination = tmp_path_factory.mktemp("installed")
    make_install(destination)
    return destination


def test_nothing_outside_of_the_prefix(installed):
    found = [os.path.join(d, f) for d, _, files in os.walk(installed) for f in files]
    assert found and all(f.startswith(f"{installed}{PREFIX}/") for f in found)
    # a second time over the first
    make_install(installed)


def test_it_runs_from_there(installed, own_warm, script):
    """warm finds its daemon and its tool by where it lies itself"""
    w = own_warm
    w.program = installed / PREFIX[1:] / "bin/warm"
    w.same([PYTHON, script("import json\nprint(json.dumps([1]))\n")])
    assert os.readlink(f"/proc/{w.pid()}/exe") == f"{installed}{PREFIX}/libexec/warm/warmd"
    assert len(w.command("ls").stdout.splitlines()) == 2


def test_systemd_units(installed):
    """They name a daemon that is there, and the socket that clients look for"""
    units = installed / PREFIX[1:] / "lib/systemd/user"
    service, listen = (units / "warmd.service").read_text("utf-8"), (units / "warmd.socket").read_text("utf-8")
    [daemon] = re.findall(r"^ExecStart=(\S+)$", service, re.M)
    assert os.access(f"{installed}{daemon}", os.X_OK)
    assert "@" not in service
    [path] = re.findall(r"^ListenSequentialPacket=%t/(\S+)$", listen, re.M)
    assert path == "warm/warmd.sock" and "Environment=WARM_RUNTIME_DIR=%t/warm\n" in service


def test_manual_and_completion(installed):
    share = installed / PREFIX[1:] / "share"
    for page in ("man1/warm.1", "man1/warmd.1", "man3/libwarm.3", "man3/warm_launch.3"):
        assert (share / "man" / page).read_text("utf-8").startswith('.\\"')
    completion = share / "bash-completion/completions/warm"
    assert subprocess.run(["bash", "-n", completion], timeout=TIMEOUT, check=False).returncode == 0
    words = 'COMP_WORDS=(warm run --s); COMP_CWORD=2; _warm; echo "${COMPREPLY[@]}"'
    r = subprocess.run(["bash", "-c", f"source {completion}; {words}"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (r.stdout, r.stderr) == ("--strict\n", "")


@pytest.mark.skipif(SAN, reason="an instrumented library needs an instrumented program")
def test_libwarm_by_pkg_config(installed, compile_c):
    """A program is compiled with what the .pc file says"""
    root = installed / PREFIX[1:]
    need(shutil.which("pkg-config"), "pkg-config")
    env = {**os.environ, "PKG_CONFIG_PATH": str(root / "lib/pkgconfig")}
    flags = subprocess.run(["pkg-config", f"--define-variable=prefix={root}", "--cflags", "--libs", "warm"], env=env, capture_output=True, text=True,
                           timeout=TIMEOUT, check=True).stdout.split()
    program = compile_c("#include <stdio.h>\n#include <warm.h>\nint main(void) { printf(\"%d\\n\", warm_ready()); return 0; }\n", *flags)
    r = subprocess.run([program], env={**os.environ, "LD_LIBRARY_PATH": str(root / "lib")}, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (r.stdout, r.stderr, r.returncode) == ("0\n", "", 0)


def test_python_package(installed):
    env = {"PYTHONPATH": str(installed / PREFIX[1:] / "lib/warm/python")}
    r = subprocess.run([PYTHON, "-B", "-c", "import warm; print(warm.ready())"], env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (r.stdout, r.stderr) == ("False\n", "")
