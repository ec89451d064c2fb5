# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: what is in them, while others write."""

import errno
import mmap
import os
import stat
import subprocess
import threading

from conftest import FALLOC_PUNCH_HOLE, FALLOC_KEEP_SIZE, commit, fallocate
from test_namespace import fails


def tree(path):
    """Everything one can see of a tree, but for inode numbers and times of directories."""
    seen = {}
    for where, dirs, files in os.walk(path):
        for name in dirs + files:
            full = os.path.join(where, name)
            st = os.lstat(full)
            key = os.path.relpath(full, path)
            what = [st.st_mode, st.st_uid, st.st_gid, st.st_rdev]
            if not stat.S_ISDIR(st.st_mode):
                what += [st.st_size, st.st_mtime_ns, st.st_nlink, st.st_blocks]
            if stat.S_ISREG(st.st_mode):
                with open(full, "rb") as f:
                    what.append(hash(f.read()))
            if stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(full))
            what.append(sorted((x, os.getxattr(full, x, follow_symlinks=False))
                               for x in os.listxattr(full, follow_symlinks=False)))
            seen[key] = what
    return seen


def make_one_of_each(path):
    (path / "d/e").mkdir(parents=True)
    (path / "d/small").write_text("small")
    (path / "d/e/large").write_bytes(os.urandom(5 << 20))
    (path / "empty").touch()
    with open(path / "sparse", "wb") as f:
        f.truncate(3 << 20)
        f.seek(1 << 20)
        f.write(b"x" * 10_000)
    os.symlink("d/small", path / "link")
    os.link(path / "d/small", path / "hard")
    os.mkfifo(path / "fifo")
    os.mknod(path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(path / "d/small", "user.s", b"v")
    os.setxattr(path / "empty", "user.l", b"V" * 5000)
    os.chmod(path / "empty", 0o4711)
    os.chown(path / "d", 12, 34)
    os.utime(path / "link", ns=(0, 123_456_789), follow_symlinks=False)


def test_a_commit_keeps_everything(mount, repo):
    make_one_of_each(repo)
    before = tree(repo)
    one = commit(mount, "one")
    assert tree(one) == before
    assert tree(repo) == before


def test_a_commit_keeps_everything_over_a_remount(mount, repo):
    make_one_of_each(repo)
    before = tree(repo)
    commit(mount, "one")
    mount.restart()
    assert tree(mount / "R/one") == before
    assert tree(repo) == before


def test_changes_after_a_commit_are_in_the_next_one_only(mount, repo):
    make_one_of_each(repo)
    one = commit(mount, "one")
    before = tree(one)
    with open(repo / "d/e/large", "r+b") as f:
        f.seek(2 << 20)
        f.write(b"changed")
    os.rename(repo / "d/e", repo / "moved")
    os.unlink(repo / "link")
    (repo / "hard").write_text("other")
    os.truncate(repo / "sparse", 100)
    after = tree(repo)
    two = commit(mount, "two")
    assert tree(one) == before
    assert tree(two) == after
    assert (two / "d/small").read_text() == "other"


def test_a_branch_goes_its_own_way(mount, repo):
    make_one_of_each(repo)
    commit(mount, "one")
    os.mkdir(mount / "R/b")
    before = tree(repo)
    assert tree(mount / "R/b") == before
    (mount / "R/b/d/small").write_text("in b")
    assert (mount / "R/b/hard").read_text() == "in b"
    assert tree(repo) == before
    os.mkdir(mount / "R/commits/b@two")
    assert (mount / "R/two/hard").read_text() == "in b"
    assert tree(repo) == before


def test_stores_to_a_mapping_are_in_the_commit(mount, repo):
    (repo / "f").write_bytes(b"a" * 10_000)
    fd = os.open(repo / "f", os.O_RDWR)
    with mmap.mmap(fd, 10_000) as m:
        m[9000:9005] = b"first"
        one = commit(mount, "one")
        m[9000:9005] = b"later"
        assert (one / "f").read_bytes()[9000:9005] == b"first"
        two = commit(mount, "two")
        assert (two / "f").read_bytes()[9000:9005] == b"later"
        assert (one / "f").read_bytes()[9000:9005] == b"first"
    os.close(fd)


def test_a_commit_is_one_moment_while_others_write(mount, repo):
    """Two files are written in turn, each the same number: a commit's differ by one at most."""
    stop = threading.Event()
    a, b = (os.open(repo / n, os.O_CREAT | os.O_RDWR) for n in "ab")

    def write():
        n = 0
        while not stop.is_set():
            n += 1
            os.pwrite(a, b"%012d" % n, 0)
            os.pwrite(b, b"%012d" % n, 0)

    os.pwrite(a, b"%012d" % 0, 0)
    os.pwrite(b, b"%012d" % 0, 0)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for i in range(10):
            c = commit(mount, "c%d" % i)
            x, y = (int((c / n).read_text()) for n in "ab")
            assert 0 <= x - y <= 1
    finally:
        stop.set()
        writer.join()
    os.close(a)
    os.close(b)


def test_files_made_while_a_commit_runs_are_not_lost(mount, repo):
    made = []
    stop = threading.Event()

    def make():
        while not stop.is_set():
            name = "f%05d" % len(made)
            (repo / name).write_text(name)
            made.append(name)
            if len(made) % 3 == 0:
                os.rename(repo / name, repo / ("r" + name))

    maker = threading.Thread(target=make)
    maker.start()
    try:
        for i in range(5):
            commit(mount, "c%d" % i)
    finally:
        stop.set()
        maker.join()
    last = commit(mount, "last")
    expected = sorted(("r" if i % 3 == 0 else "") + n for i, n in enumerate(made, 1))
    assert sorted(os.listdir(repo)) == expected
    assert sorted(os.listdir(last)) == expected
    for name in expected:
        assert (last / name).read_text() == name.lstrip("r")


def test_an_open_file_goes_on_after_a_commit(mount, repo):
    with open(repo / "f", "wb", buffering=0) as f:
        f.write(b"one")
        commit(mount, "c1")
        f.write(b"two")
        assert (repo / "f").read_bytes() == b"onetwo"
        commit(mount, "c2")
    assert (mount / "R/c1/f").read_bytes() == b"one"
    assert (mount / "R/c2/f").read_bytes() == b"onetwo"


def test_an_unlinked_open_file_survives_commits(mount, repo):
    with open(repo / "f", "w+b", buffering=0) as f:
        f.write(b"one")
        os.unlink(repo / "f")
        (repo / "g").write_text("g")
        commit(mount, "c1")
        f.write(b"two")
        commit(mount, "c2")
        assert os.pread(f.fileno(), 100, 0) == b"onetwo"
    assert os.listdir(mount / "R/c2") == ["g"]


def test_inode_numbers_stay_over_own_commits_and_renames(mount, repo):
    make_one_of_each(repo)
    before = {p: os.lstat(repo / p).st_ino for p in tree(repo)}
    commit(mount, "one")
    assert before == {p: os.lstat(repo / p).st_ino for p in before}
    os.rename(repo / "d", repo / "D")
    commit(mount, "two")
    assert {p.replace("d", "D", 1) if p == "d" or p.startswith("d/") else p: n for p, n in before.items()} == {
        p: os.lstat(repo / p).st_ino for p in tree(repo)
    }
    mount.restart()
    assert os.lstat(repo / "D/small").st_ino == before["d/small"]


def test_an_own_commit_invalidates_nothing(mount, repo):
    (repo / "d").mkdir()
    (repo / "d/f").write_text("x")
    old = os.getcwd()
    try:
        os.chdir(repo / "d")
        commit(mount, "one")
        assert os.getcwd() == str(repo / "d")
        assert open("f").read() == "x"
        before = mount.stats()['pfs_requests_total{op="getattr"}']
        for _ in range(100):
            os.stat("f")
        assert mount.stats()['pfs_requests_total{op="getattr"}'] - before <= 2
    finally:
        os.chdir(old)


def test_cp_of_a_large_file_moves_no_bytes(mount, repo):
    data = os.urandom(20 << 20)
    (repo / "f").write_bytes(data)
    one = commit(mount, "one")
    os.mkdir(mount / "S")
    before = mount.stats()["pfs_staged_bytes"]
    for place in (repo / "g", mount / "S/main/f"):
        a = os.open(one / "f", os.O_RDONLY)
        b = os.open(place, os.O_CREAT | os.O_WRONLY)
        assert os.copy_file_range(a, b, len(data)) == len(data)
        os.close(a)
        os.close(b)
        assert place.read_bytes() == data
    assert mount.stats()["pfs_staged_bytes"] - before < 1 << 20
    os.mkdir(mount / "S/commits/two")
    assert os.getxattr(mount / "S/two/f", "user.pfs.id") == os.getxattr(one / "f", "user.pfs.id")


def test_punched_holes_are_committed(mount, repo):
    (repo / "f").write_bytes(b"x" * (4 << 20))
    commit(mount, "one")
    fd = os.open(repo / "f", os.O_RDWR)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 1 << 20, 1 << 20)
    os.close(fd)
    two = commit(mount, "two")
    with open(two / "f", "rb") as f:
        assert os.lseek(f.fileno(), 0, os.SEEK_HOLE) == 1 << 20
        f.seek(0)
        assert f.read() == b"x" * (1 << 20) + bytes(1 << 20) + b"x" * (2 << 20)
    assert os.stat(two / "f").st_blocks * 512 == 3 << 20


def test_a_commit_of_nothing_on_an_unborn_branch(mount, repo):
    one = commit(mount, "one")
    assert os.listdir(one) == []
    assert os.listdir(repo) == []


def test_kill_9_loses_nothing_that_was_closed(mount, repo):
    make_one_of_each(repo)
    commit(mount, "one")
    (repo / "after").write_text("closed")
    os.rename(repo / "d", repo / "D")
    before = tree(repo)
    mount.kill()
    mount.start()
    assert tree(repo) == before
    assert sorted(os.listdir(mount / "R")) == ["commits", "main", "one"]


def test_a_tree_of_many_files_comes_back(mount, repo):
    for d in range(30):
        (repo / ("d%d" % d)).mkdir()
        for f in range(40):
            (repo / ("d%d" % d) / ("f%d" % f)).write_text("%d/%d" % (d, f))
    before = tree(repo)
    one = commit(mount, "one")
    assert tree(one) == before
    subprocess.run(["rm", "-rf", *(str(repo / ("d%d" % d)) for d in range(15))], check=True)
    two = commit(mount, "two")
    assert sorted(os.listdir(two)) == sorted("d%d" % d for d in range(15, 30))
    assert tree(one) == before


def test_a_file_replaced_by_a_directory_and_back(mount, repo):
    (repo / "x").write_text("file")
    one = commit(mount, "one")
    os.unlink(repo / "x")
    (repo / "x").mkdir()
    (repo / "x/y").write_text("in it")
    two = commit(mount, "two")
    subprocess.run(["rm", "-r", str(repo / "x")], check=True)
    os.symlink("target", repo / "x")
    three = commit(mount, "three")
    assert (one / "x").read_text() == "file"
    assert (two / "x/y").read_text() == "in it"
    assert os.readlink(three / "x") == "target"


def test_a_commit_without_space_for_a_name_does_nothing(mount, repo):
    (repo / "f").write_text("x")
    fails(errno.EINVAL, os.mkdir, mount / "R/commits/.hidden")
    assert os.listdir(mount / "R/commits") == []
