# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests of the command `pfs`: stores without a mount, and mounts.

The program is named by PFS. Nothing of the user's own configuration is seen.
"""

import json
import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import termios

import pytest

# Who starts the tests in the background may have it ignored; commands are to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

PFS = os.environ.get("PFS", "pfs")
SECONDS = 120 * int(os.environ.get("PFS_PATIENCE", "1"))
CACHES = pathlib.Path("/var/cache/pfs")
WRONG = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion")

can_mount = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                               reason="mounts need root and /dev/fuse")


def cached_state(store):
    """Where root's commands keep the index of a store that is not mounted."""
    try:
        return CACHES / (pathlib.Path(store) / "format").read_bytes()[8:24].hex()
    except OSError:
        return CACHES / "none"


@pytest.fixture(scope="session", autouse=True)
def caches_are_as_before():
    before = set(CACHES.iterdir()) if CACHES.exists() else set()
    yield
    for path in set(CACHES.iterdir()) - before if CACHES.exists() else ():
        shutil.rmtree(path, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call":
        item.has_passed = report.passed


@pytest.fixture(autouse=True)
def what_passed_leaves_nothing(request, tmp_path):
    """A mount's state takes a hundred MiB of the disk."""
    yield
    with open("/proc/mounts", encoding="utf-8") as mounts:
        is_in_use = f" {tmp_path}/" in mounts.read()
    if getattr(request.node, "has_passed", False) and not is_in_use:
        shutil.rmtree(tmp_path, ignore_errors=True)


class Result:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    def json(self):
        return json.loads(self.out)


class Shell:
    """Runs pfs in a place of its own."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        self.cwd = self.home
        self.environment = dict(os.environ, HOME=str(self.home), TZ="UTC", LC_ALL="C.UTF-8",
                                XDG_CONFIG_HOME=str(self.home / "config"),
                                XDG_STATE_HOME=str(self.home / "state"),
                                XDG_CACHE_HOME=str(self.home / "cache"))
        self.environment.pop("PFS_STORE", None)

    def run(self, *words, cwd=None, stdin=None, user=None, env=None, text=True):
        done = subprocess.run([PFS, *map(os.fspath, words)], cwd=cwd or self.cwd, input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS,
                              env=dict(self.environment, **(env or {})), user=user, text=text,
                              errors="surrogateescape" if text else None)
        err = done.stderr if text else done.stderr.decode(errors="replace")
        assert not any(word in err for word in WRONG), err
        assert done.returncode >= 0, (words, done.returncode, err)
        return Result(done)

    def ok(self, *words, **more):
        """Runs it and wants success; what it printed, without the last newline."""
        result = self.run(*words, **more)
        assert result.code == 0, (words, result.code, result.err)
        return result.out.rstrip("\n") if isinstance(result.out, str) else result.out

    def json(self, *words, **more):
        return json.loads(self.ok(*words, **more))

    def fails(self, code, *words, **more):
        """Runs it and wants this exit code and a sentence; the sentence."""
        result = self.run(*words, **more)
        assert result.code == code, (words, result.code, result.out, result.err)
        assert result.err.strip(), words
        return result.err


def on_a_terminal(shell, words, interrupt=False, columns=0, cwd=None):
    """What a run prints on a terminal, and its exit code."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, columns))
    p = subprocess.Popen([PFS, *map(str, words)], stdin=follower, stdout=follower, stderr=follower,
                         cwd=cwd, env=dict(shell.environment, TERM="xterm", COLUMNS="80"),
                         start_new_session=True)
    os.close(follower)
    text = b""
    while select.select([leader], [], [], 60)[0]:
        try:
            more = os.read(leader, 65536)
        except OSError:
            break
        if not more:
            break
        text += more
        if interrupt and b"[" in text:
            p.send_signal(signal.SIGINT)
            interrupt = False
    os.close(leader)
    return text.decode(errors="replace"), p.wait(60)


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture
def store(shell):
    """An empty store that is not mounted, as --store wants it."""
    path = shell.home / "store"
    shell.ok("init", path)
    return path


class Mount:
    def __init__(self, shell, base):
        self.shell = shell
        self.store = base / "the-store"
        self.path = base / "mnt"
        self.state = base / "mount-state"
        self.path.mkdir()
        shell.ok("init", self.store)
        self.start()

    def start(self, options=""):
        self.shell.ok("mount", "-o", f"state={self.state}" + (options and "," + options),
                      self.store, self.path)

    def stop(self):
        self.shell.ok("umount", self.path)

    def __truediv__(self, name):
        return self.path / name

    def log(self):
        path = self.state / "log"
        return path.read_text(errors="replace") if path.exists() else ""


def mounted(path):
    with open("/proc/self/mounts") as mounts:
        return any(line.split()[1] == str(path) for line in mounts)


@pytest.fixture
def mount(shell, tmp_path):
    """A store, mounted."""
    m = Mount(shell, tmp_path)
    yield m
    if mounted(m.path):
        left = shell.run("umount", m.path, cwd="/")
        subprocess.run(["umount", "-l", str(m.path)], stderr=subprocess.DEVNULL, check=False)
        assert left.code == 0, left.err
    assert not any(word in m.log() for word in WRONG), m.log()


@pytest.fixture
def repo(mount):
    """The head of the repo R's branch main."""
    os.mkdir(mount / "R")
    return mount / "R/main"


@pytest.fixture
def files(repo):
    """The same, with a file in it."""
    (repo / "f").write_text("first\n")
    return repo


def open_to_others(shell):
    """Users that the tests turn into may enter the place of this one."""
    for top in (shell.home, *shell.home.parents):
        if str(top).startswith("/tmp/"):
            os.chmod(top, 0o755)


@pytest.fixture
def works(shell, mount, repo, tmp_path):
    """A branch with two files, committed, of which others can be made."""
    from works import Works

    w = Works(shell, mount, repo, tmp_path)
    w.put("raw", "b\na\n")
    w.put("other", "x\n")
    w.commit()
    return w
