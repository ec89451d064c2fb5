# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the mount tests: a store in a temporary directory and the daemon mounted on it.

The program is the test helper pfs-fs-test, named by PFS_FS_TEST. Whatever a test leaves behind (a
mount, a process, a complaint of a sanitizer) fails it.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

# Who starts the tests in the background may have it ignored; commands are to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROGRAM = os.environ.get("PFS_FS_TEST", "pfs-fs-test")
START_SECONDS = 30
END_SECONDS = 30
WRONG = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion")


class Mount:
    """A store and the daemon that serves it, which can be ended and started again."""

    def __init__(self, base, options="", name=""):
        self.base = pathlib.Path(base)
        self.store = self.base / "store"
        self.path = self.base / ("mnt" + name)
        self.state = self.base / ("state" + name)
        self.log_path = self.base / ("log" + name)
        self.options = options
        self.autocommit_speed = 1
        self.process = None
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.store.exists():
            subprocess.run([PROGRAM, "init", str(self.store)], check=True)

    def start(self, options=None, user=None):
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = "\0pfs-test-%d-%s" % (os.getpid(), os.urandom(4).hex())
        ready.bind(name)
        ready.settimeout(0.05)
        words = [PROGRAM, str(self.store), str(self.path), "-a", str(self.autocommit_speed)]
        every = ",".join(x for x in ("state=%s" % self.state, self.options, options) if x)
        words += ["-o", every]
        environment = dict(os.environ, NOTIFY_SOCKET="@" + name[1:])
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                env=environment,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        end = time.monotonic() + START_SECONDS
        try:
            while time.monotonic() < end:
                try:
                    if ready.recv(64) == b"READY=1":
                        return self
                except socket.timeout:
                    if self.process.poll() is not None:
                        break
        finally:
            ready.close()
        self.kill()
        raise RuntimeError("the mount did not start:\n" + self.log())

    def stop(self, sig=signal.SIGTERM):
        """Ends the daemon as a service manager does; its exit status."""
        self.process.send_signal(sig)
        return self.wait()

    def wait(self):
        process, self.process = self.process, None
        try:
            return process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self):
        """kill -9, as a crash would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def detach(self):
        subprocess.run(["umount", "-l", str(self.path)], stderr=subprocess.DEVNULL, check=False)

    def restart(self, options=None):
        assert self.stop() == 0
        return self.start(options)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stats(self):
        numbers = {}
        for line in (self.path / ".pfs" / "stats").read_text().splitlines():
            if not line.startswith("#"):
                key, value = line.rsplit(" ", 1)
                numbers[key] = int(value)
        return numbers

    def finish(self):
        """Ends what is left and says what was wrong."""
        wrong = []
        if self.process:
            status = self.stop()
            if status != 0:
                wrong.append("exit status %d" % status)
        while is_mounted(self.path):
            wrong.append("the mount was left behind")
            self.detach()
        if any(word in self.log() for word in WRONG):
            wrong.append(self.log())
        return wrong

    def __truediv__(self, name):
        return self.path / name


def is_mounted(path):
    with open("/proc/self/mounts") as mounts:
        return any(line.split()[1] == str(path) for line in mounts)


@contextlib.contextmanager
def made():
    """A directory that other users may enter, and what must not be left of a mount in it."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="pfs-mount-"))
    base.chmod(0o755)
    mounts = []
    yield base, mounts
    os.chdir("/")
    wrong = [line for mount in mounts for line in mount.finish()]
    if not wrong:
        shutil.rmtree(base)
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def place():
    """Makes mounts of one store, not mounted yet: each name has its own place and state."""
    with made() as (base, mounts):

        def make(options="", name=""):
            mounts.append(Mount(base, options, name))
            return mounts[-1]

        yield make


@pytest.fixture
def unmounted(place):
    """A store and a mount point, not mounted yet."""
    return place()


@pytest.fixture
def mount(unmounted):
    """An empty store, mounted for one test."""
    return unmounted.start()


@pytest.fixture(scope="module")
def shared():
    """One mount for the tests of a file, with the repo R."""
    with made() as (base, mounts):
        mounts.append(Mount(base))
        mounts[0].start()
        os.mkdir(mounts[0] / "R")
        yield mounts[0]


@pytest.fixture
def work(shared, request):
    """A directory of a head, for one test."""
    path = shared / "R/main" / request.node.name.replace("/", "_")[:200]
    path.mkdir()
    return path


@pytest.fixture
def repo(mount):
    """The head of the repo R's branch main."""
    os.mkdir(mount / "R")
    return mount / "R/main"


libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    """A function of libc that returns -1 and errno."""
    result = getattr(libc, name)(*args)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result


RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_ZERO_RANGE = 16


def renameat2(old, new, flags):
    call("renameat2", -100, os.fsencode(old), -100, os.fsencode(new), flags)


def fallocate(fd, mode, off, length):
    call("fallocate", fd, mode, ctypes.c_long(off), ctypes.c_long(length))


def as_user(uid, code, *args):
    """Runs Python code as an ordinary user; what it printed."""
    return subprocess.run(
        ["/usr/bin/python3", "-c", code, *map(str, args)],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()


def commit(mount, name, repo="R"):
    os.mkdir(mount / repo / "commits" / name)
    return mount / repo / name


def commit_id(path):
    return os.getxattr(path, "user.pfs.commit").decode()
