# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program writes is what the document says: a reader that knows nothing but FORMAT.md finds
in a store exactly what was put there, and every id, checksum and boundary as it should be."""

import json
import os
import random
import stat
import subprocess
import sys
import time

import pytest

import trees
from conftest import PFS, READER

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink",
         stat.S_IFIFO: "fifo", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}

needs_root = pytest.mark.skipif(not trees.IS_ROOT, reason="owners and devices need root")
can_mount = pytest.mark.skipif(not trees.IS_ROOT or not os.path.exists("/dev/fuse"),
                               reason="mounts need root and /dev/fuse")


@needs_root
def test_everything_is_there_as_it_was(full, tmp_path):
    full.read(full.store, "extract", "R/main", tmp_path / "out")
    trees.assert_same(full.source, tmp_path / "out")


@pytest.mark.parametrize("how", [[], ["--hints"], ["--footers"]])
def test_every_rule_holds(full, how):
    found = full.read(*how, full.store, "check", "R/first")
    assert int(found) == len(trees.tell(full.source)) - 1


def test_every_pack_reads_frame_by_frame(full):
    assert int(full.read(full.store, "packs")) > trees.MANY / 2


def test_a_listing_tells_what_a_stat_does(full):
    told = trees.tell(full.source)
    for line in full.read(full.store, "ls", f"R/{full.commit[:12]}").splitlines():
        got = json.loads(line)
        want = told.pop(os.fsencode(got["path"]) or b".")
        assert got["type"] == TYPES[want["kind"]], got
        for what in ("mode", "uid", "gid", "mtime"):
            assert got[what] == want[what], (what, got)
        assert {k: bytes.fromhex(v) for k, v in got["xattrs"].items()} == want["xattrs"], got
        assert got.get("size") == (len(want["target"]) if "target" in want else want.get("size"))
        assert ("link" in got) == (len(want.get("names", ())) > 1), got
    assert not told


def test_files_are_read_one_by_one(full):
    for name in ("of-7340032", "of-257", "of-0", "kinds/second name", "text"):
        out = subprocess.run(["cmp", "-", full.source / name], check=False, input=subprocess.run(
            [*reader(full), "cat", f"R/main/{name}"], check=True, stdout=subprocess.PIPE).stdout)
        assert out.returncode == 0, name


def reader(bench):
    return [sys.executable, READER, bench.store]


def test_small_chunks_and_edits_give_the_same_trees_as_building_anew(bench):
    r = random.Random(5)
    source = bench.home / "source"
    source.mkdir()
    bench.create("E", "--chunk", "64K")
    bench.create("F", "--chunk", "64K")
    data = bytearray(r.randbytes(20 << 20))
    for _ in range(4):
        (source / "file").write_bytes(data)
        for i in range(3000):
            path = source / f"name-{r.randrange(5000)}"
            if path.exists():
                path.unlink()
            else:
                path.write_bytes(b"%d" % i)
        bench.take(source, "E/main")
        bench.read(bench.store, "check", "E/main")
        at = r.randrange(len(data))
        data[at:at + r.randrange(100)] = r.randbytes(r.randrange(100))
    bench.take(source, "F/main")
    listings = [bench.read(bench.store, "ls", f"{repo}/main") for repo in "EF"]
    assert listings[0] == listings[1]


@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_directories_of_every_size_are_trees(bench, count):
    source = bench.home / "source"
    source.mkdir()
    bench.create("R")
    for i in range(count):
        (source / ("%x" % (i * 2654435761 % 2**32) * 25)).write_bytes(b"")
    bench.take(source, "R/main")
    assert int(bench.read(bench.store, "check", "R/main")) == count


def test_what_is_damaged_is_not_taken_for_good(full, tmp_path):
    packs = sorted(p for p in (full.store / "packs").glob("*/*") if p.is_file())
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", full.store, copy], check=True)
    r = random.Random(9)
    for pack in packs:
        path = copy / pack.relative_to(full.store)
        data = bytearray(path.read_bytes())
        at = r.randrange(len(data))
        path.chmod(0o600)
        data[at] ^= 1 << r.randrange(8)
        path.write_bytes(data)
        assert "pfsread:" in full.fails(*reader(full)[:2], copy, "packs"), (pack, at)
        path.write_bytes(pack.read_bytes())
    full.read(copy, "packs")


@can_mount
def test_what_is_written_through_a_mount_reads_the_same(bench, tmp_path):
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    bench.pfs("mount", "-o", f"state={tmp_path / 'mount-state'}", bench.store, mnt)
    try:
        os.mkdir(mnt / "R")
        subprocess.run(["cp", "-a", "--sparse=always", small_tree(tmp_path), mnt / "R/main/t"],
                       check=True)
        os.mkdir(mnt / "R/commits/one")
        with open(mnt / "R/main/t/file", "r+b") as f:
            f.seek(1 << 20)
            f.write(b"changed")
        os.rename(mnt / "R/main/t/dir", mnt / "R/main/moved")
        os.mkdir(mnt / "R/commits/two")
    finally:
        stop(bench, mnt)
    for name in ("one", "two"):
        bench.read(bench.store, "check", f"R/{name}")
    bench.read(bench.store, "extract", "R/one/t", tmp_path / "one")
    trees.assert_same(tmp_path / "small", tmp_path / "one", without=["is_sparse"])
    bench.give("R/two", tmp_path / "two")
    bench.read(bench.store, "extract", "R/two", tmp_path / "two-read")
    trees.assert_same(tmp_path / "two", tmp_path / "two-read")


def small_tree(tmp_path):
    top = tmp_path / "small"
    (top / "dir/below").mkdir(parents=True)
    (top / "file").write_bytes(random.Random(3).randbytes(3 << 20))
    for i in range(50):
        (top / f"dir/{i}").write_bytes(b"%d" % i)
    os.link(top / "dir/7", top / "dir/below/seven")
    os.symlink("file", top / "link")
    return top


def stop(bench, mnt):
    for _ in range(50):
        if bench.run(PFS, "umount", mnt)[0] == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", mnt], check=False)
