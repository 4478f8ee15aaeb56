# SPDX-License-Identifier: MIT
"""Whatever a template took in may change, and the very next run shows the new behaviour. Each test makes a template,
sees that it serves, changes one thing, and runs at once: the output must be the new one. And a warm launch of the new
version must become possible again."""

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from conftest import SAN, PYTHON, TIMEOUT, need

C_LIBRARY = "int answer(void) { return %d; }\n"


def output(result):
    assert result.status == 0, result
    return result.stdout


class Case:
    """A program whose output changes with something outside it"""

    def __init__(self, warm, argv, cache=False, **options):
        # a bytecode cache is believed when size and seconds agree: then an edit has no effect even cold
        if not cache:
            options["env"] = {"PYTHONDONTWRITEBYTECODE": "1", **options.get("env", {})}
        self.warm, self.argv, self.options = warm, argv, options
        warm.build(argv, **options)
        self.first = output(warm.run(argv, strict=True, **options))
        assert self.first == output(warm.cold(argv, **options))

    def changed_options(self, env=None, **options):
        return {**self.options, **options, "env": {**self.options.get("env", {}), **(env or {})}}

    def run(self, **options):
        return output(self.warm.run(self.argv, **self.changed_options(**options)))

    def changed(self, expected=None, again=True, **options):
        """What a run gives right now, as a cold one would; then warm once more"""
        options = self.changed_options(**options)
        now = output(self.warm.run(self.argv, **options))
        cold = output(self.warm.cold(self.argv, **options))
        assert now == cold, "a stale run"
        assert now != self.first, "the change has no effect even cold"
        if expected is not None:
            assert now == expected
        if again:
            self.warm.build(self.argv, **options)
            assert output(self.warm.run(self.argv, strict=True, **options)) == cold


@pytest.fixture
def case(warm):
    return lambda argv, **options: Case(warm, argv, **options)


PROGRAM = "import json\nimport mod\nprint(json.dumps(mod.VALUE))\n"


@pytest.fixture
def program(script):
    return script(PROGRAM, **{"mod.py": "VALUE = 1\n", "pack/__init__.py": "", "pack/deep/__init__.py": "", "pack/deep/leaf.py": "VALUE = 1\n"})


# --- files of Python programs -----------------------------------------------------------------------

def test_script_edited(case, program):
    c = case([PYTHON, program])
    program.write_text(PROGRAM + "print('new')\n", encoding="utf-8")
    c.changed(b"1\nnew\n")


def test_script_touched_only(case, program):
    """Nothing was written but the time: may run warm or cold, but right"""
    c = case([PYTHON, program])
    os.utime(program)
    assert c.run() == c.first


def test_module_edited(case, program):
    for cache in (False, True):
        c = case([PYTHON, program], cache=cache)
        value = "[2]" if cache else "2"
        (program.parent / "mod.py").write_text(f"VALUE = {value}\n", encoding="utf-8")
        c.changed(f"{value}\n".encode())


def test_module_with_the_same_size_and_time(case, program):
    """Python itself would believe a bytecode cache; with -B and none it sees the new text, and so must a clone"""
    c = case([PYTHON, "-B", program])
    mod = program.parent / "mod.py"
    before = mod.stat()
    mod.write_text("VALUE = 3\n", encoding="utf-8")
    os.utime(mod, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert mod.stat().st_size == before.st_size and mod.stat().st_mtime_ns == before.st_mtime_ns
    c.changed(b"3\n")


def test_in_dev_shm(case):
    """A tmpfs, whose files count as any others, also where they lie in /dev/shm itself"""
    need(os.access("/dev/shm", os.W_OK), "/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="warm-test-", dir="/dev/shm"))
    script = directory.with_suffix(".py")
    try:
        (directory / "mod.py").write_text("VALUE = 1\n", encoding="utf-8")
        script.write_text(f"import sys\nsys.path.insert(0, {str(directory)!r})\n{PROGRAM}", encoding="utf-8")
        c = case([PYTHON, "-B", script])
        (directory / "mod.py").write_text("VALUE = 23\n", encoding="utf-8")
        c.changed(b"23\n")
        script.write_text("print('new')\n", encoding="utf-8")
        c.changed(b"new\n")
    finally:
        script.unlink(missing_ok=True)
        shutil.rmtree(directory)


def test_replaced_by_rename(case, program):
    c = case([PYTHON, program])
    new = program.parent / "mod.new"
    new.write_text("VALUE = 4\n", encoding="utf-8")
    new.rename(program.parent / "mod.py")
    c.changed(b"4\n")


def test_changed_through_another_hard_link(case, program, tmp_path):
    os.link(program.parent / "mod.py", tmp_path / "other name")
    c = case([PYTHON, "-B", program])
    (tmp_path / "other name").write_text("VALUE = 5\n", encoding="utf-8")
    c.changed(b"5\n")


def test_changed_through_an_open_descriptor(case, program):
    """Opened before the template was made, written after. As long as it is open nobody knows what will be written"""
    c = case([PYTHON, "-B", program])
    with open(program.parent / "mod.py", "r+b", buffering=0) as f:
        c.warm.build(c.argv, options=["--rebuild"], **c.options)
        r = c.warm.run(c.argv, verbose=True, **c.options)
        assert r.stdout == b"1\n" and "mod.py open for writing" in r.err
        f.write(b"VALUE = 6\n")
        c.changed(b"6\n", again=False)
        c.warm.build(c.argv, **c.options)
        assert c.run() == b"6\n"
    # he may have stored into it through a mapping, too
    c.warm.build(c.argv, **c.options)
    assert output(c.warm.run(c.argv, strict=True, **c.options)) == b"6\n"


def test_changed_through_a_mapping(case, program):
    """A store to a shared mapping raises no event, and sets no time where the page is dirty already (mmap(2)), on tmpfs never:
    while somebody has the file open for writing there is no warm run"""
    import mmap
    c = case([PYTHON, "-B", program])
    with open(program.parent / "mod.py", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        for i in range(2, 9):
            m[8:9] = b"%d" % i
            if i == 4:
                f.close()               # the mapping is left
            if i == 6:
                c.warm.build(c.argv, **c.options)
            assert c.run() == b"%d\n" % i
    c.changed(b"8\n")


def test_changed_by_a_queued_write(case, program):
    """io_submit(2) raises no event: fs/aio.c"""
    from stale_edits import io_submit
    c = case([PYTHON, "-B", program])
    io_submit(program.parent / "mod.py", b"VALUE = 9\n")
    c.changed(b"9\n")


def test_module_in_a_package(case, program):
    program.write_text("import json\nfrom pack.deep import leaf\nprint(leaf.VALUE)\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "pack/deep/leaf.py").write_text("VALUE = 22\n", encoding="utf-8")
    c.changed(b"22\n")


def test_package_init(case, program):
    program.write_text("import pack\nprint(getattr(pack, 'V', 0))\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "pack/__init__.py").write_text("V = 1\n", encoding="utf-8")
    c.changed(b"1\n")


def test_shadowing_module_beside_the_script(case, program):
    program.write_text("import json, decimal\nprint(decimal.Decimal(1))\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "decimal.py").write_text("Decimal = lambda x: 'shadow'\n", encoding="utf-8")
    c.changed(b"shadow\n")


def test_shadowing_package_and_extension(case, program, compile_c):
    program.write_text("import json, wave\nprint(wave.__file__)\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "wave").mkdir()
    (program.parent / "wave/__init__.py").write_text("", encoding="utf-8")
    c.changed()
    c = case([PYTHON, program])
    library = compile_c("int x;\n", "-shared", "-fPIC")
    shutil.rmtree(program.parent / "wave")
    c.changed(again=False)
    c = case([PYTHON, program])
    library.rename(program.parent / "wave.so")
    r = c.warm.run(c.argv)
    cold = c.warm.cold(c.argv)
    assert (r.status, r.stdout) == (cold.status, cold.stdout) and r.status != 0


def test_module_removed(case, program):
    program.write_text("try:\n    import mod\nexcept ImportError:\n    mod = None\nprint(mod is None)\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "mod.py").unlink()
    c.changed(b"True\n")
    c = case([PYTHON, program])
    (program.parent / "mod.py").write_text("", encoding="utf-8")
    c.changed(b"False\n")


def test_module_looked_for_and_not_found(case, script):
    """The usual `try: import fast` with a module that appears later, in a directory that does not exist yet"""
    s = script("import sys\nsys.path.insert(0, sys.path[0] + '/later')\ntry:\n    import speedups\nexcept ImportError:\n    speedups = None\n"
               "print(speedups is None)\n")
    c = case([PYTHON, s])
    (s.parent / "later").mkdir()
    (s.parent / "later/speedups.py").write_text("", encoding="utf-8")
    c.changed(b"False\n")


def test_data_file_read_by_a_module(case, program):
    (program.parent / "data.json").write_text("1", encoding="utf-8")
    (program.parent / "mod.py").write_text("import json\nfrom pathlib import Path\nVALUE = json.loads((Path(__file__).parent / 'data.json').read_text())\n",
                                           encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "data.json").write_text("[2]", encoding="utf-8")
    c.changed(b"[2]\n")


def test_directory_listed_by_a_module(case, program):
    (program.parent / "plugins").mkdir()
    (program.parent / "mod.py").write_text("import os\nVALUE = sorted(os.listdir(os.path.join(os.path.dirname(__file__), 'plugins')))\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "plugins/one").write_text("", encoding="utf-8")
    c.changed(b'["one"]\n')


@pytest.mark.parametrize("where", ["beside the script", "in a package"])
def test_directory_of_modules_listed_by_a_module(case, script, where):
    """isdir() and listdir() of a directory that is searched for modules are the calls that the search makes: every
    name counts all the same, not only those that can be modules"""
    text = ("import os\nhere = os.path.dirname(os.path.abspath(__file__))\n"
            "NAMES = sorted(os.listdir(here)) if os.path.isdir(here) else []\n")
    if where == "in a package":
        s = script("import plugins\nprint(plugins.NAMES)\n", **{"plugins/__init__.py": text + "from . import one\n", "plugins/one.py": ""})
        directory = s.parent / "plugins"
    else:
        s = script("import plugins\nprint(plugins.NAMES)\n", **{"plugins.py": text})
        directory = s.parent
    c = case([PYTHON, s])
    (directory / "template.html").touch()
    assert b"template.html" in c.run()
    c.changed()


def test_existence_asked_by_a_module(case, program):
    (program.parent / "mod.py").write_text("import os\nVALUE = os.path.exists(os.path.join(os.path.dirname(__file__), 'flag'))\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "flag").write_text("", encoding="utf-8")
    c.changed(b"true\n")
    c = case([PYTHON, program])
    (program.parent / "flag").unlink()
    c.changed(b"false\n")


def test_mode_asked_by_a_module(case, program):
    (program.parent / "mod.py").write_text("import os\nVALUE = oct(os.stat(__file__).st_mode)\n", encoding="utf-8")
    c = case([PYTHON, program])
    (program.parent / "mod.py").chmod(0o600)
    c.changed()


def test_size_of_a_growing_file(case, program):
    (program.parent / "log").write_text("a\n", encoding="utf-8")
    (program.parent / "mod.py").write_text("import os\nVALUE = os.path.getsize(os.path.dirname(__file__) + '/log')\n", encoding="utf-8")
    c = case([PYTHON, program])
    with open(program.parent / "log", "a", encoding="utf-8") as f:
        f.write("b\n")
    c.changed(b"4\n")


def test_symbolic_link_switched(case, program, tmp_path):
    """current -> v1, then current -> v2, as deployments do it"""
    for version in (1, 2):
        d = tmp_path / f"releases/v{version}"
        d.mkdir(parents=True)
        (d / "app.py").write_text("import lib\nprint(lib.V)\n", encoding="utf-8")
        (d / "lib.py").write_text(f"V = {version}\n", encoding="utf-8")
    current = tmp_path / "current"
    current.symlink_to("releases/v1")
    c = case([PYTHON, current / "app.py"])
    (tmp_path / "next").symlink_to("releases/v2")
    (tmp_path / "next").rename(current)
    c.changed(b"2\n")


def test_symbolic_link_of_the_script(case, script, tmp_path):
    a, b = script("print(1)\n", "a/x.py"), script("print(2)\n", "b/x.py")
    (tmp_path / "tool.py").symlink_to(a)
    c = case([PYTHON, tmp_path / "tool.py"])
    (tmp_path / "tool.py").unlink()
    (tmp_path / "tool.py").symlink_to(b)
    c.changed(b"2\n")


def test_directory_on_the_way_renamed(case, tmp_path):
    for v in (1, 2):
        (tmp_path / f"v{v}/below/lib").mkdir(parents=True)
        (tmp_path / f"v{v}/below/lib/app.py").write_text("import m\nprint(m.V)\n", encoding="utf-8")
        (tmp_path / f"v{v}/below/lib/m.py").write_text(f"V = {v}\n", encoding="utf-8")
    (tmp_path / "v1").rename(tmp_path / "live")
    c = case([PYTHON, tmp_path / "live/below/lib/app.py"])
    (tmp_path / "live").rename(tmp_path / "v1")
    (tmp_path / "v2").rename(tmp_path / "live")
    c.changed(b"2\n")


def test_package_upgraded(case, script, tmp_path):
    """As pip does: the old directory goes, the new one comes, then the metadata"""
    site = tmp_path / "site"
    s = script("import lib\nimport importlib.metadata\nprint(lib.V, importlib.metadata.version('lib'))\n")

    def install(version):
        for directory in [*site.glob("lib*")]:
            shutil.rmtree(directory)
        (site / "lib").mkdir(parents=True)
        (site / "lib/__init__.py").write_text("from .core import V\n", encoding="utf-8")
        (site / "lib/core.py").write_text(f"V = {version}\n", encoding="utf-8")
        (site / f"lib-{version}.dist-info").mkdir()
        (site / f"lib-{version}.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\nName: lib\nVersion: {version}\n", encoding="utf-8")

    install(1)
    c = case([PYTHON, s], env={"PYTHONPATH": str(site)})
    install(2)
    c.changed(b"2 2\n")


def test_bytecode_cache_written_by_another(case, program):
    """A cold run of another script compiles the module meanwhile: no reason to be wrong"""
    c = case([PYTHON, "-B", program], cache=True)
    subprocess.run([PYTHON, "-c", "import mod"], cwd=program.parent, check=True, timeout=TIMEOUT)
    assert c.run() == c.first


# --- the search path --------------------------------------------------------------------------------

def test_pythonpath_changed(case, script, tmp_path):
    s = script("import lib\nprint(lib.V)\n", **{"p1/lib.py": "V = 1\n", "p2/lib.py": "V = 2\n"})
    c = case([PYTHON, s], env={"PYTHONPATH": str(tmp_path / "p1")})
    c.changed(b"2\n", env={"PYTHONPATH": str(tmp_path / "p2")})
    assert c.run() == b"1\n"


def test_pth_file_added(case, script, tmp_path):
    s = script("import sys\nprint([p for p in sys.path if 'extra' in p])\n")
    r = subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=False, timeout=TIMEOUT)
    need(r.returncode == 0, "venv")
    [site] = (tmp_path / "venv").glob("lib/python3*/site-packages")
    c = case([tmp_path / "venv/bin/python", s])
    (tmp_path / "extra").mkdir()
    (site / "new.pth").write_text(f"{tmp_path}/extra\n", encoding="utf-8")
    c.changed()
    c = case([tmp_path / "venv/bin/python", s])
    (site / "new.pth").unlink()
    c.changed()


def test_pyvenv_cfg(case, script, tmp_path):
    s = script("import sys\nprint(sys.flags.no_user_site, [p for p in sys.path if 'dist-packages' in p])\n")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=TIMEOUT)
    c = case([tmp_path / "venv/bin/python", s])
    cfg = tmp_path / "venv/pyvenv.cfg"
    cfg.write_text(cfg.read_text().replace("include-system-site-packages = false", "include-system-site-packages = true"), encoding="utf-8")
    c.changed()


def test_interpreter_replaced_on_path(case, script, tmp_path):
    """A new program of the same name earlier in PATH, where nothing was"""
    s = script("import sys\nprint(sys.executable)\n")
    (tmp_path / "bin").mkdir()
    path = f"{tmp_path}/bin:{os.path.dirname(PYTHON)}"
    c = case(["python3", s], env={"PATH": path})
    wrapper = tmp_path / "bin/python3"
    wrapper.write_text("#!/bin/sh\necho wrapper\n", encoding="utf-8")
    wrapper.chmod(0o755)
    c.changed(b"wrapper\n", again=False)


def test_variable_read_at_import(case, program):
    (program.parent / "mod.py").write_text("import os\nVALUE = os.environ.get('LEVEL')\n", encoding="utf-8")
    c = case([PYTHON, program], env={"LEVEL": "1"})
    c.changed(b'"2"\n', env={"LEVEL": "2"})
    c.changed(b"null\n", env={"LEVEL": None})
    assert c.run() == c.first


def test_argument_read_at_import(case, program):
    (program.parent / "mod.py").write_text("import sys\nVALUE = sys.argv[1:]\n", encoding="utf-8")
    c = case([PYTHON, program, "a"])
    d = Case(c.warm, [PYTHON, program, "b"])
    assert (c.run(), d.run()) == (b'["a"]\n', b'["b"]\n')


def test_directory_read_at_import(case, program, tmp_path):
    (program.parent / "mod.py").write_text("import os\nVALUE = os.getcwd()\n", encoding="utf-8")
    c = case([PYTHON, program], cwd="/")
    c.changed(cwd=tmp_path)
    assert c.run() == c.first


def test_time_zone_and_locale(case, script):
    s = script("import time, locale\nlocale.setlocale(locale.LC_ALL, '')\nprint(time.tzname, locale.getlocale())\n")
    c = case([PYTHON, s], env={"TZ": "UTC", "LC_ALL": "C.UTF-8"})
    c.changed(env={"TZ": "XYZ-5", "LC_ALL": "C.UTF-8"})
    c.changed(env={"TZ": "UTC", "LC_ALL": "C"})


# --- programs in C and their libraries -----------------------------------------------------------------------

@pytest.fixture
def linked(compile_c, tmp_path):
    """A C program with a library of ours beside it; make(n) replaces the library"""
    library = tmp_path / "libanswer.so"

    def make(value):
        compile_c(C_LIBRARY % value, "-shared", "-fPIC", "-Wl,-soname,libanswer.so", output=library)

    make(1)
    program = compile_c('#include <stdio.h>\nint answer(void);\nint main(void) { printf("%d\\n", answer()); return 0; }\n',
                        library, f"-Wl,-rpath,{tmp_path},--enable-new-dtags", output=tmp_path / "program")
    return program, make, library


def test_shared_library_replaced(case, linked):
    program, make, _ = linked
    c = case([program])
    make(2)
    c.changed(b"2\n")


def test_program_replaced(case, linked, compile_c, tmp_path):
    program, _, _ = linked
    c = case([program])
    compile_c('#include <stdio.h>\nint main(void) { puts("new"); return 0; }\n', output=tmp_path / "program")
    c.changed(b"new\n")


def test_library_appears_earlier_in_the_path(case, linked, compile_c, tmp_path):
    program, _, _ = linked
    (tmp_path / "first").mkdir()
    c = case([program], env={"LD_LIBRARY_PATH": str(tmp_path / "first")})
    compile_c(C_LIBRARY % 3, "-shared", "-fPIC", "-Wl,-soname,libanswer.so", output=tmp_path / "first/libanswer.so")
    c.changed(b"3\n")


@pytest.mark.skipif(SAN, reason="the ASan runtime has to be the first library")
def test_preloaded_library(case, linked, compile_c, tmp_path):
    program, _, _ = linked
    c = case([program])
    library = compile_c(C_LIBRARY % 9, "-shared", "-fPIC", output=tmp_path / "preload.so")
    c.changed(b"9\n", env={"LD_PRELOAD": str(library)})
    assert c.run() == b"1\n"


def test_library_loaded_by_ctypes(case, linked, script):
    _, make, library = linked
    s = script("import mod\nprint(mod.lib.answer())\n", **{"mod.py": f"import ctypes\nlib = ctypes.CDLL({str(library)!r})\n"})
    c = case([PYTHON, s])
    make(5)
    c.changed(b"5\n")


def test_extension_module_replaced(case, script, compile_c, tmp_path):
    header = subprocess.run([PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('include'))"], capture_output=True, text=True,
                            check=True, timeout=TIMEOUT).stdout.strip()
    need(os.path.exists(f"{header}/Python.h"), f"{header}/Python.h")
    source = ('#include <Python.h>\nstatic struct PyModuleDef d = { PyModuleDef_HEAD_INIT, "ext", 0, -1, 0 };\n'
              'PyMODINIT_FUNC PyInit_ext(void) { PyObject *m = PyModule_Create(&d); PyModule_AddIntConstant(m, "V", %d); return m; }\n')
    s = script("import ext\nprint(ext.V)\n")
    compile_c(source % 1, "-shared", "-fPIC", f"-I{header}", output=tmp_path / "ext.so")
    c = case([PYTHON, s])
    compile_c(source % 2, "-shared", "-fPIC", f"-I{header}", output=tmp_path / "ext.so")
    c.changed(b"2\n")


# --- races -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", ["write", "rename", "same size and time"])
def test_edit_and_run_200_times(warm, script, way):
    """Never one stale run; builds go on behind all the time"""
    s = script("import mod\nprint(mod.VALUE)\n", **{"mod.py": "VALUE = 1000\n"})
    mod, new = s.with_name("mod.py"), s.with_name("mod.new")
    argv = [warm.program, "run", PYTHON, "-B", s]
    stamp = mod.stat().st_mtime_ns
    for i in range(1001, 1201 if way == "write" else 1051):
        target = new if way == "rename" else mod
        target.write_text(f"VALUE = {i}\n", encoding="utf-8")
        if way == "rename":
            new.rename(mod)
        elif way == "same size and time":
            os.utime(mod, ns=(stamp, stamp))
        r = subprocess.run(argv, env=warm.env, capture_output=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL)
        assert (r.stdout, r.stderr) == (b"%d\n" % i, b"")


def test_edit_while_the_template_is_built(warm, script):
    """The module is changed from within its own import: what was read is not what is there"""
    for i in range(3):
        s = script("import json\nimport mod\nprint(mod.VALUE, open(mod.__file__).read().split()[2])\n",
                   f"r{i}/s.py", **{f"r{i}/mod.py": "VALUE = 1\nimport slow\n",
                                    f"r{i}/slow.py": "import time, os\nif os.path.exists(os.path.dirname(__file__) + '/go'):\n    time.sleep(0.2)\n"})
        (s.parent / "go").write_text("", encoding="utf-8")
        mod = s.with_name("mod.py")
        builder = threading.Thread(target=lambda s=s: warm.build([PYTHON, "-B", s], expect=None))
        builder.start()
        threading.Event().wait(0.12 + 0.03 * i)         # somewhere within the 0.2 s of slow.py
        mod.write_text("VALUE = 2\nimport slow\n", encoding="utf-8")
        assert warm.run([PYTHON, "-B", s]).stdout == b"2 2\n"
        builder.join(TIMEOUT)
        for _ in range(3):
            assert warm.run([PYTHON, "-B", s]).stdout == b"2 2\n"
        warm.build([PYTHON, "-B", s])
        assert warm.run([PYTHON, "-B", s], strict=True).stdout == b"2 2\n"


def test_edit_while_many_launches_run(warm, script):
    """Each launch that starts after an edit is done shows it"""
    s = script("import mod\nprint(mod.VALUE)\n", **{"mod.py": "VALUE = 0\n"})
    warm.build([PYTHON, "-B", s])
    mod, new = s.with_name("mod.py"), s.with_name("mod.new")
    written, stop, wrong = [0], threading.Event(), []

    def launch():
        while not stop.is_set():
            least = written[0]
            r = subprocess.run([warm.program, "run", PYTHON, "-B", s], env=warm.env, capture_output=True, timeout=TIMEOUT, check=False,
                               stdin=subprocess.DEVNULL)
            try:
                if int(r.stdout) < least:
                    wrong.append((least, r.stdout))
            except ValueError:
                wrong.append((least, r.stdout, r.stderr, r.returncode))

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for i in range(1, 40):
            new.write_text(f"VALUE = {i}\n", encoding="utf-8")
            new.rename(mod)
            written[0] = i
            stop.wait(0.02 if i % 5 else 0.3)       # some edits stand long enough for a template
    finally:
        stop.set()
        for t in threads:
            t.join(TIMEOUT)
    assert not wrong


def test_the_launch_that_overtakes_the_event(warm, script):
    """Edit and launch in one go, from one shell, as fast as a machine can"""
    s = script("import mod\nprint(mod.VALUE)\n", **{"mod.py": "VALUE = 0\n"})
    text = (f"i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo VALUE = $i > {s.parent}/mod.py; "
            f"r=$({warm.program} run {PYTHON} -B {s}); [ \"$r\" = $i ] || echo stale $i $r; "
            f"[ $((i % 10)) != 0 ] || {warm.program} build {PYTHON} -B {s} >/dev/null; done")
    r = subprocess.run(["sh", "-c", text], env=warm.env, capture_output=True, text=True, timeout=TIMEOUT * 2, check=False)
    assert (r.stdout, r.stderr) == ("", "")


def test_why_is_told(warm, program):
    c = Case(warm, [PYTHON, program])
    (program.parent / "mod.py").write_text("VALUE = 2\n", encoding="utf-8")
    r = warm.run(c.argv, verbose=True, **c.options)
    assert r.stdout == b"2\n" and "mod.py" in r.err and "stale" in r.err
    assert "mod.py" in warm.log()
    assert warm.stats()["dropped_stale"] >= 1
