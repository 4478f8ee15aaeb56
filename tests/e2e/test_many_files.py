# SPDX-License-Identifier: MIT
"""Programs with more files mapped and more descriptors open than fit one message (253), or the 1,024 that used to be the most:
a clone has all of them, each way"""
import resource

import pytest
from c_programs import CALL
from conftest import need
from launches import launches_of

N = 1200
NEEDED = 8192   # of descriptors: the program's own, warmd's of the template's files, and a launcher's


def limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (NEEDED, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    need(resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= NEEDED, f"a hard limit of {NEEDED} descriptors")
    folder = tmp_path / "numbers"
    folder.mkdir()
    for i in range(N):
        (folder / str(i)).write_text(f"{i}\n", encoding="ascii")
    return folder


def test_more_than_a_thousand_files_and_descriptors(own_warm, programs, folder):
    argv = [programs.path("thousand"), str(N), folder]
    cold = own_warm.cold(argv, preexec=limit)
    assert f"{N} of each, 0 wrong" in cold.out, cold
    with launches_of(own_warm) as launches:
        for way in ("fork", "parked"):
            name = launches.build(argv, way=way, preexec=limit, options=CALL)
            launched = launches.run(name, preexec=limit)
            launches.equal(cold, launched)
            assert launched.way == way
            # and by a launcher that becomes it: its answer comes in several messages
            launches.equal(cold, own_warm.run(argv, strict=True, preexec=limit, options=["--name", name, *CALL]))
            launches.remove(name)
