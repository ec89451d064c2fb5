# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, paths, sizes and links as large as they may be, and larger. PFS_LONG=1 takes longer."""

import errno
import os

import pytest
from conftest import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, commit, fallocate
from test_namespace import fails

SIZE_MAX = 2**63 - 1
LINKS = 65_000 if os.environ.get("PFS_LONG") else 2_000

NAMES = [
    b"\xff\xfe\xfd",
    b"line\nfeed",
    b" ",
    b"-rf",
    b"*?[]",
    b"\x01\x7f",
    b"...",
    "ñandú".encode("latin-1"),
    "ñandú".encode(),
    "n\u0303andu\u0301".encode(),
    "日本語".encode("shift-jis"),
    b"\xc3" * 255,
    b"x" * 255,
    b".pfs",
    b"commits",
    b"a@b",
]


def test_names_of_any_bytes_are_kept(mount, repo):
    base = os.fsencode(repo)
    for i, name in enumerate(NAMES):
        with open(os.path.join(base, name), "w") as f:
            f.write(str(i))
    assert sorted(os.listdir(base)) == sorted(NAMES)
    one = os.fsencode(commit(mount, "one"))
    mount.restart()
    for path in (base, one):
        assert sorted(os.listdir(path)) == sorted(NAMES)
        for i, name in enumerate(NAMES):
            with open(os.path.join(path, name)) as f:
                assert f.read() == str(i)
    for name in NAMES:
        os.rename(os.path.join(base, name), os.path.join(base, name[:-1] + b"$"))
    assert len(os.listdir(base)) == len({name[:-1] for name in NAMES})


def test_a_name_of_256_bytes_is_refused(work):
    long = "x" * 256
    (work / "f").touch()
    fails(errno.ENAMETOOLONG, os.open, work / long, os.O_CREAT | os.O_WRONLY)
    fails(errno.ENAMETOOLONG, os.mkdir, work / long)
    fails(errno.ENAMETOOLONG, os.stat, work / long)
    fails(errno.ENAMETOOLONG, os.symlink, "x", work / long)
    fails(errno.ENAMETOOLONG, os.rename, work / "f", work / long)
    fails(errno.ENAMETOOLONG, os.link, work / "f", work / long)
    assert os.listdir(work) == ["f"]


def test_symlinks_of_4095_bytes(mount, repo):
    target = "t" * 4095
    os.symlink(target, repo / "l")
    fails(errno.ENAMETOOLONG, os.symlink, target + "t", repo / "m")
    one = commit(mount, "one")
    assert os.readlink(repo / "l") == os.readlink(one / "l") == target


def test_paths_as_long_as_they_may_be_and_longer(mount, repo):
    name = "d" * 255
    path = str(repo)
    while len(path) + 256 < 4000:
        path += "/" + name
        os.mkdir(path)
    last = path + "/" + "f" * (4095 - len(path) - 1)
    with open(last, "w") as f:
        f.write("at the end")
    assert len(last) == 4095
    fails(errno.ENAMETOOLONG, open, last + "f", "w")
    # Beyond, by steps.
    old = os.getcwd()
    try:
        os.chdir(path)
        for _ in range(20):
            os.mkdir(name)
            os.chdir(name)
        with open("f", "w") as f:
            f.write("deeper")
        one = commit(mount, "one")
        os.chdir(one)
        for _ in range(path.count(name) + 20):
            os.chdir(name)
        with open("f") as f:
            assert f.read() == "deeper"
        os.chdir("..")
        assert os.listdir(".") == [name]
    finally:
        os.chdir(old)


def test_a_file_as_large_as_there_can_be(mount, repo):
    with open(repo / "f", "w"):
        pass
    os.truncate(repo / "f", SIZE_MAX)
    fd = os.open(repo / "f", os.O_RDWR)
    assert os.fstat(fd).st_size == SIZE_MAX
    assert os.pwrite(fd, b"e", SIZE_MAX - 1) == 1
    assert os.pwrite(fd, b"xy", 1) == 2
    assert os.lseek(fd, 0, os.SEEK_END) == SIZE_MAX
    assert os.pread(fd, 10, SIZE_MAX - 10) == bytes(9) + b"e"
    assert os.lseek(fd, 4096, os.SEEK_DATA) >= SIZE_MAX - 4096
    os.close(fd)
    one = commit(mount, "one")
    for path in (one, repo):
        fd = os.open(path / "f", os.O_RDONLY)
        assert os.fstat(fd).st_size == SIZE_MAX
        assert os.pread(fd, 10, SIZE_MAX - 10) == bytes(9) + b"e"
        assert os.pread(fd, 4, 0) == b"\0xy\0"
        os.close(fd)
    os.truncate(repo / "f", 2)
    assert (repo / "f").read_bytes() == b"\0x"


@pytest.mark.parametrize("size", [2**31, 2**32, 2**40, 2**62, SIZE_MAX - 4096])
def test_sizes_between(work, size):
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR)
    assert os.pwrite(fd, b"before and after", size - 6) == 16
    assert os.fstat(fd).st_size == size + 10
    assert os.pread(fd, 100, size) == b" and after"
    os.ftruncate(fd, size)
    assert os.pread(fd, 100, size - 6) == b"before"
    assert os.lseek(fd, 0, os.SEEK_DATA) <= size - 6
    os.close(fd)


def test_fallocate_at_the_end_of_all(work):
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR)
    fails(errno.EFBIG, fallocate, fd, 0, SIZE_MAX - 10, 20)
    fallocate(fd, 0, SIZE_MAX - 10, 10)
    assert os.fstat(fd).st_size == SIZE_MAX
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, SIZE_MAX)
    fails(errno.EINVAL, fallocate, fd, 0, 0, 0)
    fails(errno.EINVAL, fallocate, fd, 0, -1, 10)
    assert os.fstat(fd).st_blocks == 0
    os.close(fd)


def test_seeks_beyond_any_sense(work):
    (work / "f").write_text("text")
    fd = os.open(work / "f", os.O_RDWR)
    assert os.lseek(fd, SIZE_MAX, os.SEEK_SET) == SIZE_MAX
    fails(errno.EINVAL, os.lseek, fd, 1, os.SEEK_CUR)
    assert os.pread(fd, 10, SIZE_MAX - 10) == b""
    fails(errno.ENXIO, os.lseek, fd, SIZE_MAX, os.SEEK_DATA)
    fails(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 4
    os.close(fd)


def test_a_file_with_very_many_names(mount, repo):
    (repo / "f").write_text("one file")
    (repo / "d").mkdir()
    dirfd = os.open(repo / "d", os.O_RDONLY)
    for i in range(LINKS - 1):
        os.link(repo / "f", "l%d" % i, dst_dir_fd=dirfd)
    os.close(dirfd)
    assert os.stat(repo / "f").st_nlink == LINKS
    one = commit(mount, "one")
    st = os.stat(one / "d/l7")
    assert st.st_nlink == LINKS
    assert {os.stat(one / "d" / n).st_ino for n in os.listdir(one / "d")} == {st.st_ino}
    (repo / "d/l1").write_text("changed")
    for i in range(0, LINKS - 1, 2):
        os.unlink(repo / "d" / ("l%d" % i))
    two = commit(mount, "two")
    left = LINKS - len(range(0, LINKS - 1, 2))
    assert os.stat(two / "f").st_nlink == os.stat(repo / "f").st_nlink == left
    assert (two / "f").read_text() == "changed"
    assert (one / "f").read_text() == "one file"
