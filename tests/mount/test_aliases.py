# SPDX-License-Identifier: GPL-3.0-or-later
"""One commit under several paths: the kernel must take them for different directories."""

import contextlib
import filecmp
import os
import subprocess
import threading
import time

import pytest
from conftest import commit, commit_id


@pytest.fixture
def snapshot(mount, repo):
    """A commit N with a directory d/e, and the names it has."""
    (repo / "d/e").mkdir(parents=True)
    for i in range(50):
        (repo / ("d/e/f%d" % i)).write_text("file %d" % i)
    one = commit(mount, "N")
    name = commit_id(one)
    return [mount / "R" / n for n in ("N", "commits/N", name, name[:12], name[:20])]


WALK_SECONDS = 1


def for_a_while():
    end = time.monotonic() + WALK_SECONDS
    while time.monotonic() < end:
        yield


@contextlib.contextmanager
def walked(paths):
    """Other processes walk the paths meanwhile, again and again."""
    code = 'while :; do for p in "$@"; do ls -lR "$p" > /dev/null || exit 1; done; done'
    walker = subprocess.Popen(["sh", "-c", code, "sh", *map(str, paths)])
    try:
        yield
        assert walker.poll() is None
    finally:
        walker.kill()
        walker.wait()


def test_a_cwd_stays_where_it_is_while_others_walk_the_aliases(snapshot):
    for path in snapshot:
        os.chdir(path / "d/e")
        with walked([p for p in snapshot if p != path]):
            for i, _ in enumerate(for_a_while()):
                assert os.getcwd() == str(path / "d/e")
                assert os.path.samefile("../..", path)
                with open("f%d" % (i % 50)) as f:
                    assert f.read() == "file %d" % (i % 50)


def test_an_open_directory_stays_what_it_is(snapshot):
    fds = [os.open(path / "d", os.O_RDONLY) for path in snapshot]
    with walked(snapshot):
        for _ in for_a_while():
            for path, fd in zip(snapshot, fds):
                assert os.readlink("/proc/self/fd/%d" % fd) == str(path / "d")
                assert os.listdir(fd) == ["e"]
                assert os.stat("e/f49", dir_fd=fd).st_size == len("file 49")
    for fd in fds:
        os.close(fd)


def test_a_bind_mount_stays_while_others_walk_the_aliases(mount, snapshot):
    place = mount.base / "bound"
    place.mkdir()
    subprocess.run(["mount", "--bind", str(snapshot[0] / "d"), str(place)], check=True)
    try:
        with walked(snapshot):
            for i, _ in enumerate(for_a_while()):
                assert (place / "e" / ("f%d" % (i % 50))).read_text() == "file %d" % (i % 50)
                assert os.path.ismount(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_many_processes_under_different_aliases_do_not_wait_for_one_another(snapshot):
    wrong = []

    def read(path):
        for i in range(300):
            if (path / "d/e" / ("f%d" % (i % 50))).read_text() != "file %d" % (i % 50):
                wrong.append(path)

    threads = [threading.Thread(target=read, args=(p,)) for p in snapshot]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_cmp_tells_a_heads_file_from_a_commits_of_the_same_size(mount, repo):
    """By inode number, cmp would take them for one file."""
    (repo / "f").write_text("before")
    one = commit(mount, "N")
    (repo / "f").write_text("behind")
    assert subprocess.run(["cmp", "-s", str(repo / "f"), str(one / "f")]).returncode == 1
    assert not filecmp.cmp(repo / "f", one / "f", shallow=False)
    two = commit(mount, "M")
    assert subprocess.run(["cmp", "-s", str(one / "f"), str(two / "f")]).returncode == 1
    assert subprocess.run(["cmp", "-s", str(repo / "f"), str(two / "f")]).returncode == 0
    subprocess.run(["cp", str(one / "f"), str(repo / "f")], check=True)
    assert (repo / "f").read_text() == "before"
