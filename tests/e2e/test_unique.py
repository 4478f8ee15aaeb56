# SPDX-License-Identifier: MIT
"""What no two clones may share, and what a clone must have of its own: random state that runtimes in C drew, and process ids
that they keep. At every readiness point that has it."""
import os
import shutil
import sqlite3
import subprocess

import pytest
from conftest import BUILD, PYTHON, SAN, TREE, find_pythons, need, some_pythons
from launches import WAYS

PACKAGE = {"PYTHONPATH": str(TREE / "lang/python"), "PYTHONDONTWRITEBYTECODE": "1"}
PYTHONS = find_pythons()

# an asyncio loop that runs at the readiness point
LOOP = {
    "call": "import asyncio, warm\nasync def main():\n    await asyncio.sleep(0.01)\n    warm.ready()\n    await asyncio.sleep(0.01)\n"
            "    print('served', asyncio.get_running_loop() is not None)\nasyncio.run(main())\n",
    "idle=200": "import asyncio, sys\nasync def main():\n    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)\n"
                "    await asyncio.sleep(0.01)\n    print('served', asyncio.get_running_loop() is not None)\nasyncio.run(main())\n",
    "import": "import bridge\nif __name__ == '__main__':\n    print(bridge.FIRST, bridge.call(4))\n",
}
BRIDGE = """
import asyncio, threading
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
async def twice(x):
    await asyncio.sleep(0.001)
    asyncio.get_running_loop()
    return 2 * x
def call(x):
    return asyncio.run_coroutine_threadsafe(twice(x), loop).result(10)
FIRST = call(1)
"""


@pytest.mark.parametrize("ready", LOOP)
@pytest.mark.parametrize("python", some_pythons(PYTHONS))
def test_running_loop(warm, launches, script, python, ready):
    path = script(LOOP[ready], "loop.py", **{"bridge.py": BRIDGE})
    argv = [PYTHONS[python], path]
    options = ["--ready", ready]
    cold = warm.cold(argv, env=PACKAGE, stdin=b"\n")
    warm.build(argv, options=options, env=PACKAGE, **({"stdin": "pipe"} if ready != "import" else {}))
    for _ in range(2):
        run = warm.run(argv, strict=True, options=options, env=PACKAGE, stdin=b"\n")
        assert (run.out, run.err, run.status) == (cold.out, cold.err, 0)


HOLDERS = """
import multiprocessing, multiprocessing.util, os, threading
from multiprocessing.process import BaseProcess
CHILD = multiprocessing.get_context("fork").Process(target=print, args=("child",))
class Sub(BaseProcess):
    pass
SUB = Sub()
THREAD = threading.main_thread()
"""


@pytest.mark.parametrize("python", some_pythons(PYTHONS))
def test_process_ids_that_python_keeps(same, script, python):
    path = script("import holders, os\nif __name__ == '__main__':\n    holders.CHILD.start()\n    holders.CHILD.join()\n"
                  "    print(holders.CHILD.exitcode, holders.SUB._parent_pid == os.getpid(), holders.THREAD.native_id == os.getpid())\n",
                  "ids.py", **{"holders.py": HOLDERS})
    assert same([PYTHONS[python], path]).out == "child\n0 True True\n"


def test_psutil(same, script):
    try:
        subprocess.run([PYTHON, "-c", "import psutil"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        need(False, "psutil")
    path = script("import m, os\nif __name__ == '__main__':\n    print(m.ME.pid == os.getpid(), m.ME.is_running(), m.ME == __import__('psutil').Process())\n",
                  "ps.py", **{"m.py": "import psutil\nME = psutil.Process()\nME.create_time()\n"})
    assert same([PYTHON, path]).out == "True True True\n"


# README's idiom
BASH = """
[ -n "$SEED" ] && RANDOM=$SEED
first=$RANDOM
if [ -n "$WARM_FD" ]; then
    echo READY=1 >&"$WARM_FD"
    read -r -u "$WARM_FD" context
fi
echo $RANDOM $RANDOM $RANDOM
kill -0 $$ && echo "$$ $BASHPID" | { read -r a b; [ "$a" != "$b" ] && [ "$a" = "$PARENT" ]; echo "piped $?"; }
[ $$ = $BASHPID ]; echo "alive $?"
"""


def test_bash(warm, launches, tmp_path):
    """$RANDOM and $$ behind READY=1 are the clone's own; a sequence that the script seeded stays"""
    path = tmp_path / "work.sh"
    path.write_text(BASH)
    options = ["--ready", "call"]
    seen = set()
    for seed, many in ((None, True), ("7", False)):
        env = {"SEED": seed} if seed else {}
        cold = warm.cold(["bash", path], env=env)
        warm.build(["bash", path], options=options, env=env)
        runs = [warm.run(["bash", path], options=options, strict=True, env=env).out.splitlines() for _ in range(4)]
        assert [r[1:] for r in runs] == 4 * [cold.out.splitlines()[1:]]
        assert runs[0][2] == "alive 0"
        numbers = {r[0] for r in runs}
        assert len(numbers) == (4 if many else 1)
        if not many:
            assert numbers == {cold.out.splitlines()[0]}
        seen |= numbers
    assert len(seen) == 5


@pytest.mark.parametrize("way", WAYS)
def test_dash(launches, tmp_path, way):
    """Of `sh`, too, $$ is the clone's own process: a script that ends itself ends itself, and nobody else"""
    need(shutil.which("dash"), "dash")
    path = tmp_path / "work.sh"
    path.write_text("read line\necho $line\n[ $$ = $(cut -d' ' -f4 /proc/self/stat) ] && echo mine\nkill -9 $$\n")
    launches.same(["dash", path], way, options=["--ready", "idle"], build={"stdin": "pipe"}, stdin=b"a line\n", expect_status=-9)


def test_sqlite(warm, script):
    path = script("import m\nif __name__ == '__main__':\n    print(m.DB.execute('select hex(randomblob(8)), random()').fetchone())\n",
                  "lite.py", **{"m.py": "import sqlite3\nDB = sqlite3.connect(':memory:')\nDB.execute('select random()').fetchone()\n"})
    warm.build([PYTHON, path])
    runs = {warm.run([PYTHON, path], strict=True).out for _ in range(5)}
    assert len(runs) == 5, (runs, sqlite3.sqlite_version)


OPENSSL = """
#include <openssl/rand.h>
#include <stdio.h>
#include <unistd.h>
#include <warm.h>
int main(void)
{
	unsigned char b[16];

	RAND_bytes(b, sizeof(b));
	printf("%d\\n", getpid());
	fflush(stdout);
	warm_ready();
	RAND_bytes(b, sizeof(b));
	for (unsigned i = 0; i < sizeof(b); i++)
		printf("%02x", b[i]);
	printf(" %d\\n", getpid());
	return 0;
}
"""

# in a PID namespace the next process gets the id that the program had in its build
AGAIN = r"""
w=$1 p=$2 where=$3
export WARM_RUNTIME_DIR=$where/rt
mkdir -m 700 "$WARM_RUNTIME_DIR"
"$w" build --ready call --pool 2 --name again -- "$p" >/dev/null || exit 9
built=$("$w" run --ready call -- "$p" | head -1)
for i in 1 2 3 4; do
	echo $((built - 1)) > /proc/sys/kernel/ns_last_pid
	"$w" run --ready call -- "$p" | tail -1
	echo $((built - 1)) > /proc/sys/kernel/ns_last_pid
	"$w" launch again | tail -1
done
echo "built $built"
"$w" stop
"""


def test_process_id_of_the_build(warm, compile_c, tmp_path):
    """No clone has it: OpenSSL and others tell by their id that they are in another process"""
    need(os.geteuid() == 0, "root, for a PID namespace")
    source = tmp_path / "rand.c"
    source.write_text(OPENSSL)
    need(os.path.exists("/usr/include/openssl/rand.h"), "OpenSSL's headers")
    program = tmp_path / "rand"
    # the library of a sanitizer build would bring the sanitizer into the program
    libwarm = [f"-I{TREE}", TREE / "launcher/libwarm_ready.c"] if SAN else [BUILD / "libwarm.a"]
    subprocess.run(["gcc", "-o", program, source, f"-I{TREE / 'launcher'}", *libwarm, "-lcrypto", "-ldl"], check=True)
    (tmp_path / "again.sh").write_text(AGAIN)
    r = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "bash", tmp_path / "again.sh", BUILD / "warm", program, tmp_path],
                       capture_output=True, text=True, timeout=100, check=False)
    *lines, last = r.stdout.splitlines()
    assert len(lines) == 8 and last.startswith("built "), (r.stdout, r.stderr)
    drawn = [line.split()[0] for line in lines]
    assert len(set(drawn)) == len(drawn), lines
