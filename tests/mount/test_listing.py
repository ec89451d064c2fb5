# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of very many names. PFS_LONG=1 takes a million."""

import ctypes
import os
import random
import struct
import subprocess
import threading

from conftest import call, commit

COUNT = 1_000_000 if os.environ.get("PFS_LONG") else 100_000
SYS_GETDENTS64 = 217


def make(dirfd, names):
    for name in names:
        os.mknod(name, dir_fd=dirfd)


class Reader:
    """A directory read a few names at a time."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.buf = ctypes.create_string_buffer(1024)

    def read(self):
        """[(name, position behind it)], empty at the end."""
        n = call("syscall", SYS_GETDENTS64, self.fd, self.buf, 1024)
        items, at = [], 0
        while at < n:
            _, off, reclen, _ = struct.unpack_from("<QqHB", self.buf, at)
            name = self.buf.raw[at + 19:at + reclen].split(b"\0", 1)[0]
            items.append((name.decode(), off))
            at += reclen
        return items

    def seek(self, pos):
        os.lseek(self.fd, pos, os.SEEK_SET)

    def close(self):
        os.close(self.fd)


def churn(mount, path, stop, touched, errors):
    """Deletes names and makes them again, and commits at times."""
    dirfd = os.open(path, os.O_RDONLY)
    rng = random.Random(2)
    n = 0
    try:
        while not stop.is_set():
            n += 1
            name = rng.choice(touched)
            os.unlink(name, dir_fd=dirfd)
            os.mknod("new%d" % n, dir_fd=dirfd)
            os.mknod(name, dir_fd=dirfd)
            if n % 500 == 0:
                os.mkdir(mount / ("R/commits/c%d" % n))
    except OSError as e:
        errors.append(e)
    os.close(dirfd)


def list_with_detours(reader):
    """All names in order, as one reader gets them that looks back now and then."""
    rng = random.Random(3)
    listed, places = [], []
    pos = 0
    while True:
        items = reader.read()
        if not items:
            return [name for name, _ in listed]
        for item in items:
            if rng.random() < 0.01:
                places.append((len(listed), pos))
            listed.append(item)
            pos = item[1]
        if places and rng.random() < 0.1:
            at, back = rng.choice(places)
            reader.seek(back)
            again = [name for name, _ in reader.read() if name.startswith("stay")]
            first = [name for name, _ in listed[at:at + 200] if name.startswith("stay")]
            assert again[:len(first)] == first[:len(again)]
            reader.seek(pos)


def test_a_name_that_nobody_touches_is_listed_once(mount, repo):
    (repo / "d").mkdir()
    dirfd = os.open(repo / "d", os.O_RDONLY)
    stay = ["stay%07d" % i for i in range(COUNT)]
    touched = ["gone%04d" % i for i in range(2000)]
    make(dirfd, stay[:COUNT // 2] + touched[:1000])
    commit(mount, "half")
    make(dirfd, stay[COUNT // 2:] + touched[1000:])
    os.close(dirfd)
    stop, errors = threading.Event(), []
    worker = threading.Thread(target=churn, args=(mount, repo / "d", stop, touched, errors))
    worker.start()
    try:
        for _ in range(2):
            reader = Reader(repo / "d")
            listed = list_with_detours(reader)
            reader.close()
            assert sorted(x for x in listed if x.startswith("stay")) == stay
    finally:
        stop.set()
        worker.join()
    assert not errors
    commit(mount, "last")
    assert sorted(os.listdir(mount / "R/last/d")) == sorted(os.listdir(repo / "d"))
    subprocess.run(["rm", "-rf", str(repo / "d")], check=True)
    assert os.listdir(repo) == []
    assert sorted(x for x in os.listdir(mount / "R/last/d") if x.startswith("stay")) == stay


def test_find_and_du_agree_on_a_commit_and_its_head(mount, repo):
    for d in range(20):
        (repo / ("d%d" % d)).mkdir()
        for f in range(100):
            (repo / ("d%d" % d) / ("f%d" % f)).write_text("x" * f)
    one = commit(mount, "one")

    def found(path):
        out = subprocess.run(["find", ".", "-type", "f", "-printf", "%p %s %m %T@\n"], cwd=path,
                             stdout=subprocess.PIPE, check=True).stdout
        return sorted(out.splitlines())

    assert len(found(repo)) == 2000
    assert found(repo) == found(one)
