# SPDX-License-Identifier: MIT
"""Programs on real screens: tmux, whose panes are terminals, tells what a person would see"""
import contextlib
import shutil
import subprocess

from conftest import TIMEOUT, eventually, need


class Screen:
    """A terminal of its own size with a shell command in it

        with Screen(warm, tmp_path, "less FILE", columns=100, rows=12) as s:
            s.expect(lambda lines: lines[-1] == ":")
            s.keys("q")
    """

    def __init__(self, warm, directory, command, columns=80, rows=24, env=None, cwd=None):
        need(shutil.which("tmux"), "tmux")
        Screen.count = getattr(Screen, "count", 0) + 1
        # not below tmp_path, whose name may be too long for a socket's
        self.socket = warm.directory / f"tmux.{Screen.count}"
        self.env = warm.environment({"SHELL": "/bin/sh", "LESS": None, "LESSHISTFILE": "-", "EDITOR": None, "VISUAL": None, **(env or {})})
        self.rows = rows
        self.tmux("new-session", "-d", "-x", columns, "-y", rows, "-c", cwd or directory, "sh", "-c", command)

    def tmux(self, *words, check=True):
        r = subprocess.run(["tmux", "-u", "-S", self.socket, "-f", "/dev/null", *map(str, words)], env=self.env, timeout=TIMEOUT,
                           capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert not check or r.returncode == 0, f"tmux {words}: {r.stderr}"
        return r.stdout

    def lines(self):
        """What the screen shows, a string for each row"""
        shown = [line.rstrip() for line in self.tmux("capture-pane", "-p").split("\n")]
        return (shown + [""] * self.rows)[:self.rows]

    def expect(self, probe):
        """Wait until probe(lines) is true; those lines"""
        last = []

        def fits():
            last[:] = self.lines()
            return probe(last)

        try:
            eventually(fits, "the screen")
        except BaseException:
            print("\n".join(["--- the screen was", *last]))
            raise
        return last

    def text(self, text):
        """Type it"""
        self.tmux("send-keys", "-l", "--", text)

    def keys(self, *names):
        """Keys by tmux' names: Enter, Escape, Up, C-c"""
        self.tmux("send-keys", *names)

    def resize(self, columns, rows):
        self.rows = rows
        self.tmux("resize-window", "-x", columns, "-y", rows)

    def close(self):
        with contextlib.suppress(subprocess.SubprocessError):
            self.tmux("kill-server", check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
