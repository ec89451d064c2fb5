# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs expect of any filesystem, in a head."""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess

import pytest
from conftest import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    as_user,
    call,
    fallocate,
    renameat2,
)
from test_namespace import fails


def test_bytes_come_back_as_written(work):
    data = os.urandom(3_000_001)
    (work / "f").write_bytes(data)
    assert (work / "f").read_bytes() == data
    assert os.stat(work / "f").st_size == len(data)
    with open(work / "f", "r+b") as f:
        f.seek(1_000_000)
        f.write(b"middle")
    assert (work / "f").read_bytes() == data[:1_000_000] + b"middle" + data[1_000_006:]


def test_append_goes_to_the_end_whoever_else_appends(work):
    a = open(work / "f", "ab", buffering=0)
    b = open(work / "f", "ab", buffering=0)
    for i in range(100):
        (a if i % 2 else b).write(b"%03d" % i)
    assert (work / "f").read_bytes() == b"".join(b"%03d" % i for i in range(100))
    a.close()
    b.close()


def test_truncate_cuts_and_fills_with_zeroes(work):
    (work / "f").write_bytes(b"x" * 10_000)
    os.truncate(work / "f", 5)
    assert (work / "f").read_bytes() == b"xxxxx"
    os.truncate(work / "f", 10_000)
    assert (work / "f").read_bytes() == b"xxxxx" + bytes(9_995)
    with open(work / "f", "wb"):
        pass
    assert os.stat(work / "f").st_size == 0


def test_names_of_255_bytes_in_any_encoding(work):
    names = [b"\xff\xfe" + b"x" * 253, ("ü" * 127).encode(), b"new\nline", b"-", b"..."]
    path = os.fsencode(work)
    for name in names:
        with open(os.path.join(path, name), "wb") as f:
            f.write(name)
    assert sorted(os.listdir(path)) == sorted(names)
    for name in names:
        with open(os.path.join(path, name), "rb") as f:
            assert f.read() == name
    fails(errno.ENAMETOOLONG, open, work / ("x" * 256), "w")


def test_every_type_of_file_keeps_what_it_is(work):
    os.mkfifo(work / "fifo", 0o620)
    os.mknod(work / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(work / "disk", stat.S_IFBLK | 0o640, os.makedev(250, 7))
    os.symlink("no/such/" + "p" * 3000, work / "link")
    s = socket.socket(socket.AF_UNIX)
    old = os.getcwd()
    os.chdir(work)
    s.bind("socket")
    os.chdir(old)
    s.close()
    st = {n: os.lstat(work / n) for n in ("fifo", "null", "disk", "link", "socket")}
    assert stat.S_ISFIFO(st["fifo"].st_mode) and stat.S_IMODE(st["fifo"].st_mode) == 0o620 & ~0o022
    assert stat.S_ISCHR(st["null"].st_mode) and st["null"].st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK(st["disk"].st_mode) and st["disk"].st_rdev == os.makedev(250, 7)
    assert stat.S_ISSOCK(st["socket"].st_mode)
    assert os.readlink(work / "link") == "no/such/" + "p" * 3000
    assert st["link"].st_size == 3008


def test_times_owner_and_mode_are_kept_to_the_nanosecond(work):
    (work / "f").write_text("x")
    os.utime(work / "f", ns=(1, 1_700_000_000_123_456_789))
    os.chown(work / "f", 1000, 1001)
    os.chmod(work / "f", 0o4751)
    st = os.stat(work / "f")
    assert st.st_mtime_ns == 1_700_000_000_123_456_789
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1000, 1001, 0o4751)
    assert st.st_ctime_ns > st.st_mtime_ns
    os.utime(work / "f", ns=(5, -1_000_000_000))
    assert os.stat(work / "f").st_mtime == -1


def test_reading_does_not_change_a_file(work):
    (work / "f").write_text("x")
    before = os.stat(work / "f")
    (work / "f").read_text()
    os.utime(work / "f", ns=(12345, before.st_mtime_ns))
    after = os.stat(work / "f")
    assert (after.st_mtime_ns, after.st_atime_ns) == (before.st_mtime_ns, before.st_mtime_ns)


def test_directories_count_their_subdirectories(work):
    for name in ("a", "b", "c"):
        (work / name).mkdir()
    (work / "f").write_text("x")
    assert os.stat(work).st_nlink == 5
    (work / "a").rmdir()
    assert os.stat(work).st_nlink == 4


def test_changes_of_a_directory_change_its_times(work):
    before = os.stat(work).st_mtime_ns
    (work / "f").write_text("x")
    made = os.stat(work).st_mtime_ns
    (work / "f").write_text("y")
    assert os.stat(work).st_mtime_ns == made > before
    os.unlink(work / "f")
    assert os.stat(work).st_mtime_ns > made


def test_rename_replaces_in_one_step(work):
    (work / "a").write_text("a")
    (work / "b").write_text("b")
    number = os.stat(work / "a").st_ino
    os.rename(work / "a", work / "b")
    assert os.listdir(work) == ["b"]
    assert (work / "b").read_text() == "a"
    assert os.stat(work / "b").st_ino == number


def test_rename_of_directories(work):
    (work / "a/x").mkdir(parents=True)
    (work / "b").mkdir()
    (work / "full").mkdir()
    (work / "full/f").write_text("x")
    (work / "file").write_text("x")
    fails(errno.EINVAL, os.rename, work / "a", work / "a/x/y")
    fails(errno.ENOTEMPTY, os.rename, work / "a", work / "full")
    fails(errno.ENOTDIR, os.rename, work / "a", work / "file")
    fails(errno.EISDIR, os.rename, work / "file", work / "b")
    os.rename(work / "a", work / "b")
    assert os.listdir(work / "b") == ["x"]
    os.rename(work / "full/f", work / "b/x/f")
    assert (work / "b/x/f").read_text() == "x"
    assert os.path.realpath(work / "b/x/..") == str(work / "b")


def test_rename_noreplace_and_exchange(work):
    (work / "a").write_text("a")
    (work / "d").mkdir()
    (work / "d/f").write_text("f")
    fails(errno.EEXIST, renameat2, work / "a", work / "d", RENAME_NOREPLACE)
    renameat2(work / "a", work / "d", RENAME_EXCHANGE)
    assert (work / "d").read_text() == "a"
    assert (work / "a/f").read_text() == "f"
    renameat2(work / "d", work / "e", RENAME_NOREPLACE)
    assert sorted(os.listdir(work)) == ["a", "e"]
    fails(errno.ENOENT, renameat2, work / "a", work / "none", RENAME_EXCHANGE)


def test_hard_links_are_one_file(work):
    (work / "d").mkdir()
    (work / "a").write_text("x")
    os.link(work / "a", work / "d/b")
    a, b = os.stat(work / "a"), os.stat(work / "d/b")
    assert (a.st_ino, a.st_nlink) == (b.st_ino, 2)
    (work / "d/b").write_text("changed")
    assert (work / "a").read_text() == "changed"
    os.unlink(work / "a")
    assert os.stat(work / "d/b").st_nlink == 1
    fails(errno.EPERM, os.link, work / "d", work / "e")
    os.symlink("nowhere", work / "s")
    os.link(work / "s", work / "t", follow_symlinks=False)
    assert os.readlink(work / "t") == "nowhere"


def give_name(fd, path):
    AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
    call("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW)


def test_tmpfile_has_no_name_until_it_is_given_one(work):
    fd = os.open(work, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"hidden")
    assert os.listdir(work) == []
    assert os.fstat(fd).st_nlink == 0
    give_name(fd, work / "f")
    os.close(fd)
    assert (work / "f").read_text() == "hidden"
    assert os.stat(work / "f").st_nlink == 1
    fd = os.open(work, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    fails(errno.ENOENT, give_name, fd, work / "g")
    os.close(fd)


def test_an_unlinked_file_lives_as_long_as_it_is_open(work):
    with open(work / "f", "w+b") as f:
        f.write(b"before")
        f.flush()
        os.unlink(work / "f")
        assert os.listdir(work) == []
        f.write(b" after")
        f.seek(0)
        assert f.read() == b"before after"
        assert os.fstat(f.fileno()).st_nlink == 0
        os.ftruncate(f.fileno(), 3)
        f.seek(0)
        assert f.read() == b"bef"


def test_an_unlinked_directory_takes_no_more_files(work):
    (work / "d").mkdir()
    fd = os.open(work / "d", os.O_RDONLY)
    os.rmdir(work / "d")
    assert os.listdir(fd) == []
    fails(errno.ENOENT, lambda: os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_holes_are_holes(work):
    with open(work / "f", "wb") as f:
        f.truncate(10 << 20)
        f.seek(4 << 20)
        f.write(b"x" * 4096)
    fd = os.open(work / "f", os.O_RDWR)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 4 << 20
    assert os.lseek(fd, 4 << 20, os.SEEK_HOLE) == (4 << 20) + 4096
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    fails(errno.ENXIO, os.lseek, fd, (4 << 20) + 4096, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, fd, 10 << 20, os.SEEK_HOLE)
    assert os.fstat(fd).st_blocks * 512 == 4096
    os.close(fd)


def test_fallocate_sets_sizes_punches_and_zeroes(work):
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR)
    fallocate(fd, 0, 0, 8192)
    assert os.fstat(fd).st_size == 8192
    fallocate(fd, FALLOC_KEEP_SIZE, 0, 1 << 20)
    assert os.fstat(fd).st_size == 8192
    os.pwrite(fd, b"x" * 8192, 0)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 4096, 4096)
    assert os.pread(fd, 8192, 0) == b"x" * 4096 + bytes(4096)
    fallocate(fd, FALLOC_ZERO_RANGE, 100, 50)
    assert os.pread(fd, 300, 0) == b"x" * 100 + bytes(50) + b"x" * 150
    fallocate(fd, FALLOC_ZERO_RANGE, 8000, 1000)
    assert os.fstat(fd).st_size == 9000
    fails(errno.EOPNOTSUPP, fallocate, fd, 8, 0, 4096)
    os.close(fd)


def test_a_shared_mapping_is_the_file(work):
    (work / "f").write_bytes(b"a" * 20_000)
    fd = os.open(work / "f", os.O_RDWR)
    with mmap.mmap(fd, 20_000) as m:
        m[5000:5005] = b"hello"
        m.flush()
        assert os.pread(fd, 5, 5000) == b"hello"
        os.pwrite(fd, b"there", 15_000)
        assert m[15_000:15_005] == b"there"
        m[19_999:] = b"!"
    os.close(fd)
    data = (work / "f").read_bytes()
    assert data[5000:5005] == b"hello" and data[-1:] == b"!" and len(data) == 20_000


@pytest.mark.parametrize("name, error", [
    ("foo.bar", errno.EOPNOTSUPP), ("foo", errno.EOPNOTSUPP), ("system.z", errno.EOPNOTSUPP),
    ("userx", errno.EOPNOTSUPP), ("user.", errno.EINVAL), ("trusted.", errno.EINVAL),
    ("security.", errno.EINVAL),
])
def test_names_of_xattrs_that_no_filesystem_takes_are_refused(work, name, error):
    (work / "f").touch()
    fails(error, os.setxattr, work / "f", name, b"v")
    assert os.listxattr(work / "f") == []


def test_xattrs_of_all_sizes(work):
    (work / "f").write_text("x")
    os.setxattr(work / "f", "user.small", b"v")
    os.setxattr(work / "f", "user.empty", b"")
    os.setxattr(work / "f", "user.large", b"L" * 60_000)
    os.setxattr(work / "f", "trusted.t", b"t")
    assert sorted(os.listxattr(work / "f")) == ["trusted.t", "user.empty", "user.large", "user.small"]
    assert os.getxattr(work / "f", "user.large") == b"L" * 60_000
    assert os.getxattr(work / "f", "user.empty") == b""
    fails(errno.EEXIST, os.setxattr, work / "f", "user.small", b"w", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, work / "f", "user.none", b"w", os.XATTR_REPLACE)
    os.removexattr(work / "f", "user.large")
    fails(errno.ENODATA, os.getxattr, work / "f", "user.large")
    fails(errno.ENODATA, os.removexattr, work / "f", "user.large")
    os.setxattr(work, "user.dir", b"d")
    assert os.getxattr(work, "user.dir") == b"d"
    for i in range(16):
        os.setxattr(work / "f", "user.%d" % i, b"x" * 60_000)
    fails(errno.E2BIG, lambda: [os.setxattr(work / "f", "user.m%d" % i, b"x" * 60_000) for i in range(4)])


def test_copy_file_range_copies(work):
    data = os.urandom(2 << 20)
    (work / "a").write_bytes(data)
    a = os.open(work / "a", os.O_RDONLY)
    b = os.open(work / "b", os.O_CREAT | os.O_RDWR)
    done = 0
    while done < len(data):
        done += os.copy_file_range(a, b, len(data) - done)
    assert (work / "b").read_bytes() == data
    assert os.copy_file_range(a, b, 10) == 0
    assert os.copy_file_range(a, b, 1000, 500, 100) == 1000
    assert os.pread(b, 1000, 100) == data[500:1500]
    os.close(a)
    os.close(b)


def test_locks_are_kept_by_the_kernel(work):
    a = open(work / "f", "w")
    b = open(work / "f", "r+")
    fcntl.flock(a, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    a.close()
    fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    code = """
import fcntl, sys
f = open(sys.argv[1], "r+")
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("got")
except OSError:
    print("refused")
"""
    fcntl.lockf(b, fcntl.LOCK_EX)
    run = ["/usr/bin/python3", "-c", code, str(work / "f")]
    assert subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout == "refused\n"
    b.close()
    assert subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout == "got\n"


def test_fsync_of_files_and_directories(work):
    with open(work / "f", "w") as f:
        f.write("x")
        f.flush()
        os.fsync(f.fileno())
        os.fdatasync(f.fileno())
    fd = os.open(work, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def test_statfs_tells_space(shared):
    st = os.statvfs(shared.path)
    assert st.f_bsize == 4096 and st.f_namemax == 255
    assert 0 < st.f_bavail <= st.f_blocks
    assert st.f_ffree > 1_000_000


def test_ioctls_are_not_there(work):
    (work / "f").write_text("x")
    with open(work / "f") as f:
        fails(errno.ENOTTY, fcntl.ioctl, f, 0x5401)


def test_listing_is_complete_and_without_doubles(work):
    names = {"file%04d" % i for i in range(3000)}
    for name in names:
        (work / name).touch()
    assert sorted(os.listdir(work)) == sorted(names)
    assert {e.name: e.inode() for e in os.scandir(work)} == {
        n: os.stat(work / n).st_ino for n in names
    }


def test_files_made_and_removed_while_listing_do_not_disturb_the_others(work):
    for i in range(1000):
        (work / ("stay%04d" % i)).touch()
    seen = []
    for n, entry in enumerate(os.scandir(work)):
        seen.append(entry.name)
        if n % 10 == 0:
            (work / ("new%04d" % n)).touch()
            os.unlink(work / ("new%04d" % n))
    assert sorted(x for x in seen if x.startswith("stay")) == ["stay%04d" % i for i in range(1000)]


def test_removing_a_tree_while_listing_it_removes_all(work):
    for d in range(20):
        (work / "t" / ("d%d" % d)).mkdir(parents=True)
        for f in range(50):
            (work / "t" / ("d%d" % d) / ("f%d" % f)).write_text("x")
    subprocess.run(["rm", "-r", str(work / "t")], check=True)
    assert os.listdir(work) == []


PRIVILEGED = 0o6755


def killer(name, code):
    return pytest.param(code, id=name)


@pytest.mark.parametrize(
    "code",
    [
        killer("write", "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY); os.write(f, b'y')"),
        killer("append", "import os, sys; f = open(sys.argv[1], 'a'); f.write('y'); f.close()"),
        killer("truncate", "import os, sys; os.truncate(sys.argv[1], 1)"),
        killer("open", "import os, sys; open(sys.argv[1], 'w')"),
        killer("chown", "import os, sys; os.chown(sys.argv[1], -1, os.getgid())"),
        killer(
            "mapping",
            "import mmap, os, sys\n"
            "f = os.open(sys.argv[1], os.O_RDWR)\n"
            "os.write(f, b'z')\n"
            "m = mmap.mmap(f, 4); m[0:1] = b'y'; m.flush()",
        ),
    ],
)
def test_setuid_goes_when_an_ordinary_user_changes_a_file(work, code):
    os.chmod(work, 0o777)
    (work / "f").write_text("text")
    os.chown(work / "f", 1234, 1234)
    os.chmod(work / "f", PRIVILEGED)
    os.setxattr(work / "f", "user.kept", b"x")
    as_user(1234, code, work / "f")
    assert stat.S_IMODE(os.stat(work / "f").st_mode) == 0o755
    assert os.listxattr(work / "f") == ["user.kept"]


def test_setuid_stays_when_root_writes(work):
    (work / "f").write_text("text")
    os.chmod(work / "f", PRIVILEGED)
    with open(work / "f", "r+") as f:
        f.write("y")
    assert stat.S_IMODE(os.stat(work / "f").st_mode) == PRIVILEGED


def test_capabilities_go_when_an_ordinary_user_writes(work):
    os.chmod(work, 0o777)
    (work / "f").write_text("text")
    os.chown(work / "f", 1234, 1234)
    os.chmod(work / "f", 0o755)
    os.setxattr(work / "f", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    as_user(1234, "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY); os.write(f, b'y')", work / "f")
    assert os.listxattr(work / "f") == []


def test_permissions_are_checked(work):
    (work / "f").write_text("x")
    os.chmod(work / "f", 0o600)
    (work / "d").mkdir(0o700)
    code = """
import os, sys
for what in (lambda: open(sys.argv[1] + "/f"), lambda: os.listdir(sys.argv[1] + "/d"),
             lambda: open(sys.argv[1] + "/new", "w"), lambda: os.chmod(sys.argv[1] + "/f", 0o666)):
    try:
        what()
        print("done", end=" ")
    except PermissionError:
        print("refused", end=" ")
"""
    assert as_user(1234, code, work) == "refused refused refused refused"


def test_a_setgid_directory_hands_on_its_group(work):
    (work / "d").mkdir()
    os.chown(work / "d", 0, 1234)
    os.chmod(work / "d", 0o2775)
    (work / "d/f").write_text("x")
    (work / "d/e").mkdir()
    assert os.stat(work / "d/f").st_gid == 1234
    st = os.stat(work / "d/e")
    assert st.st_gid == 1234 and st.st_mode & stat.S_ISGID


def test_the_umask_is_applied(work):
    old = os.umask(0o027)
    try:
        (work / "f").touch(0o666)
        (work / "d").mkdir(0o777)
        os.mkfifo(work / "p", 0o666)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE(os.stat(work / n).st_mode) for n in ("f", "d", "p")]
    assert modes == [0o640, 0o750, 0o640]


def test_deep_paths(work):
    path = work
    for i in range(300):
        path = path / ("d%d" % (i % 10))
    os.makedirs(path) if len(str(path)) < 4000 else None
    (path / "f").write_text("deep")
    assert (path / "f").read_text() == "deep"
    subprocess.run(["rm", "-r", str(work / "d0")], check=True)


def test_a_symlink_is_followed_by_others_only(work):
    (work / "target").write_text("x")
    os.symlink("target", work / "link")
    assert (work / "link").read_text() == "x"
    fails(errno.ELOOP, os.open, work / "link", os.O_RDONLY | os.O_NOFOLLOW)
    fails(errno.EEXIST, os.symlink, "y", work / "link")


def test_sparse_writes_far_apart(work):
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"end", 1 << 40)
    os.pwrite(fd, b"start", 0)
    assert os.fstat(fd).st_size == (1 << 40) + 3
    assert os.pread(fd, 3, 1 << 40) == b"end"
    assert os.fstat(fd).st_blocks * 512 <= 16384
    os.close(fd)


def test_direct_io(work):
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 8192)
    page[:] = b"d" * 8192
    assert os.pwrite(fd, page, 4096) == 8192
    assert os.preadv(fd, [page], 0) == 8192
    assert page[:4096] == bytes(4096) and page[4096:] == b"d" * 4096
    page.close()
    os.close(fd)


def test_programs_run_from_it(work):
    (work / "script").write_text("#!/bin/sh\necho ran\n")
    os.chmod(work / "script", 0o755)
    assert subprocess.run([str(work / "script")], stdout=subprocess.PIPE, check=True).stdout == b"ran\n"
    with open("/bin/true", "rb") as f:
        (work / "true").write_bytes(f.read())
    os.chmod(work / "true", 0o755)
    subprocess.run([str(work / "true")], check=True)


def test_readv_and_writev_and_preadv2(work):
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR)
    assert os.writev(fd, [b"one", b"two", b"three"]) == 11
    parts = [bytearray(4), bytearray(7)]
    assert os.preadv(fd, parts, 0) == 11
    assert bytes(parts[0]) == b"onet" and bytes(parts[1]) == b"wothree"
    os.close(fd)


def test_name_to_handle_of_a_known_file_opens_again(work):
    class Handle(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("h", ctypes.c_ubyte * 128)]

    (work / "f").write_text("x")
    handle, mount_id = Handle(bytes=128), ctypes.c_int()
    try:
        call("name_to_handle_at", -100, os.fsencode(work / "f"), ctypes.byref(handle), ctypes.byref(mount_id), 0)
        root = os.open(work, os.O_RDONLY)
        fd = call("open_by_handle_at", root, ctypes.byref(handle), os.O_RDONLY)
        assert os.read(fd, 1) == b"x"
        os.close(fd)
        os.close(root)
    except OSError as e:
        assert e.errno in (errno.EOPNOTSUPP, errno.ESTALE)
