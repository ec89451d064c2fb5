# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees of files: made with everything that a filesystem has, told of, and compared."""

import hashlib
import os
import random
import stat
import struct

KIB, MIB = 1 << 10, 1 << 20
MANY = 10000
DEPTH = 150
IS_ROOT = os.geteuid() == 0


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def acl(user):
    """user::rwx user:USER:rw- group::r-x mask::rwx other::---"""
    entries = [(1, 7, 2**32 - 1), (2, 6, user), (4, 5, 2**32 - 1), (16, 7, 2**32 - 1),
               (32, 0, 2**32 - 1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def set_xattr(path, name, value):
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError:
        assert not IS_ROOT or not name.startswith("user.")


def make_contents(top, r):
    for size in (0, 1, 255, 256, 257, 4095, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, MIB, 7 * MIB):
        write(top + b"/of-%d" % size, r.randbytes(size))
    write(top + b"/text", b"".join(b"line %d\n" % i for i in range(400000)))
    write(top + b"/zeroes", bytes(3 * MIB))
    write(top + b"/repeats", r.randbytes(300000) * 12)
    sparse = top + b"/sparse"
    os.mkdir(sparse)
    for i in range(8):
        with open(sparse + b"/%d" % i, "wb") as f:
            for _ in range(i):
                f.seek(r.randrange(30 * MIB))
                f.write(r.randbytes(r.randrange(300000)))
            f.truncate(r.randrange(31 * MIB, 32 * MIB))
    with open(sparse + b"/huge", "wb") as f:
        f.seek(300 * MIB)
        f.write(b"in the middle")
        f.truncate(3 << 30)


def make_names(top, r):
    os.mkdir(top + b"/names")
    names = [b" ", b"back\\slash", b"new\nline", b"\xff\xfe\x01", "\u00fc\u4e2d".encode(), b"..a",
             b"-rf", b"tab\t", b"*?[]'\"$`~", b"\xed\xa0\xbd\xed\xb8\x80", b"...", b"n" * 255,
             "\u00e9".encode() * 127 + b"x"]
    for i, name in enumerate(names):
        write(top + b"/names/" + name, b"%d" % i)
    path = top + b"/deep"
    os.mkdir(path)
    for i in range(DEPTH):
        path += b"/level-%d" % i
        os.mkdir(path)
    write(path + b"/bottom", b"down here")


def make_kinds(top, r):
    kinds = top + b"/kinds"
    os.makedirs(kinds + b"/empty")
    os.symlink(b"../nowhere/\xff", kinds + b"/symlink")
    os.symlink(b"t" * 4095, kinds + b"/long")
    os.link(kinds + b"/symlink", top + b"/a symlink's name", follow_symlinks=False)
    os.mkfifo(kinds + b"/fifo", 0o640)
    os.link(top + b"/of-257", kinds + b"/second name")
    os.link(top + b"/of-257", kinds + b"/empty/third name")
    os.link(top + b"/sparse/5", top + b"/a sparse name")
    for i in range(40):
        write(kinds + b"/l%d" % i, b"linked %d" % i)
        os.link(kinds + b"/l%d" % i, kinds + b"/m%d" % (i * 7 % 40))
    write(kinds + b"/modes", b"x")
    os.chmod(kinds + b"/modes", 0o6711)
    os.chmod(kinds + b"/empty", 0o1777)
    if IS_ROOT:
        os.mknod(kinds + b"/null", 0o20666, os.makedev(1, 3))
        os.mknod(kinds + b"/block", 0o60600, os.makedev(259, 70000))
        os.chown(kinds + b"/l3", 4000000000, 3000000)
        os.chown(kinds + b"/symlink", 7, 8, follow_symlinks=False)


def make_xattrs(top, r):
    xs = top + b"/xattrs"
    os.mkdir(xs)
    for name in (b"small", b"large", b"acl"):
        write(xs + b"/" + name, name)
    set_xattr(xs + b"/small", "user.a", b"1")
    set_xattr(xs + b"/small", "user.empty", b"")
    set_xattr(xs + b"/small", "user.bytes", bytes(range(256)))
    set_xattr(xs + b"/small", "trusted.root", b"t")
    set_xattr(xs + b"/large", "user.large", r.randbytes(3000))
    set_xattr(xs, "user.of a directory", b"d")
    set_xattr(xs + b"/acl", "system.posix_acl_access", acl(1234))
    os.mkdir(xs + b"/default")
    set_xattr(xs + b"/default", "system.posix_acl_default", acl(77))
    write(xs + b"/default/inherits", b"")


def set_times(top, r):
    for path, names, files in os.walk(top, topdown=False):
        for name in files + [n for n in names if os.path.islink(os.path.join(path, n))] + [b"."]:
            sec = r.choice([0, 1, r.randrange(2**31, 2**33), r.randrange(2**31),
                            -r.randrange(2, 10**9)])
            ns = sec * 10**9 + r.randrange(10**9)
            os.utime(os.path.join(path, name), ns=(ns, ns), follow_symlinks=False)


def make(top):
    r = random.Random(20260101)
    os.umask(0o022)
    os.mkdir(top)
    make_contents(top, r)
    make_names(top, r)
    make_kinds(top, r)
    make_xattrs(top, r)
    os.mkdir(top + b"/many")
    for i in range(MANY):
        write(top + b"/many/%d-%x" % (i, i * i), b"%d" % i * (i % 80))
    os.chmod(top, 0o2751)
    set_times(top, r)


def xattrs(path):
    return {n: os.getxattr(path, n, follow_symlinks=False)
            for n in os.listxattr(path, follow_symlinks=False)}


def digest(path):
    """Of the content; holes are read by their number, not by their bytes."""
    h = hashlib.sha256()
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        at = zeroes = 0
        while at < size:
            try:
                data = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                data = size
            zeroes += data - at
            at = data
            block = os.pread(f.fileno(), MIB, at) if at < size else b""
            at += len(block)
            # Zeroes count alike, whether they are stored or not.
            while block:
                body = block.lstrip(b"\0")
                zeroes += len(block) - len(body)
                end = body.find(b"\0")
                block = body[end:] if end >= 0 else b""
                body = body[:end] if end >= 0 else body
                if body:
                    h.update(b"%d zeroes;" % zeroes)
                    h.update(body)
                    zeroes = 0
        h.update(b"%d zeroes" % zeroes)
    return h.hexdigest()


def tell(top, without=()):
    """What there is: relative path to a tuple that says all about it."""
    top, out, names = os.fsencode(top), {}, {}
    for path, dirs, files in os.walk(top):
        links = [n for n in dirs if os.path.islink(os.path.join(path, n))]
        for name in [b"", *files, *links]:
            full = os.path.join(path, name) if name else path
            rel, s = os.path.relpath(full, top), os.lstat(full)
            kind = stat.S_IFMT(s.st_mode)
            out[rel] = told = {"kind": kind, "mode": stat.S_IMODE(s.st_mode), "uid": s.st_uid,
                               "gid": s.st_gid, "mtime": s.st_mtime_ns, "xattrs": xattrs(full)}
            if kind in (stat.S_IFCHR, stat.S_IFBLK):
                told["rdev"] = s.st_rdev
            if kind == stat.S_IFREG:
                told["size"], told["digest"] = s.st_size, digest(full)
                told["is_sparse"] = s.st_blocks * 512 < s.st_size // 2
            if kind == stat.S_IFLNK:
                told["target"] = os.readlink(full)
            if kind != stat.S_IFDIR:
                told["names"] = names.setdefault((s.st_dev, s.st_ino), [])
                told["names"].append(rel)
            for what in without:
                told.pop(what, None)
    for told in out.values():
        if "names" in told:
            told["names"] = sorted(told["names"])
    return out


def assert_same(want, got, without=()):
    want, got = tell(want, without), tell(got, without)
    wrong = [(k, want.get(k), got.get(k)) for k in sorted(want.keys() | got.keys())
             if want.get(k) != got.get(k)]
    assert not wrong, (len(wrong), wrong[:3])
