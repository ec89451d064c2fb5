# SPDX-License-Identifier: GPL-3.0-or-later
"""Tar streams that the program writes are read by others, and what others write is read by it."""

import io
import json
import os
import subprocess
import tarfile

import pytest

import trees
from conftest import PFS

needs_root = pytest.mark.skipif(not trees.IS_ROOT, reason="owners and devices need root")

KINDS = {tarfile.REGTYPE: 0o100000, tarfile.DIRTYPE: 0o040000, tarfile.SYMTYPE: 0o120000,
         tarfile.FIFOTYPE: 0o010000, tarfile.CHRTYPE: 0o020000, tarfile.BLKTYPE: 0o060000,
         tarfile.GNUTYPE_SPARSE: 0o100000}


@pytest.fixture(scope="module")
def stream(full):
    path = full.home / "exported.tar"
    with open(path, "wb") as f:
        full.give("R/main", "-", stdout=f)
    return path


def test_pythons_tarfile_finds_everything(full, stream):
    told = trees.tell(full.source, without=["digest"])
    with tarfile.open(stream) as tar:
        for m in tar:
            name = os.fsencode(m.name)
            want = told.pop(name)
            if m.islnk():
                assert os.fsencode(m.linkname) in want["names"], m
                continue
            assert KINDS[m.type] == want["kind"], m
            # Beside an ACL, libarchive says the owning group's bits and not the mask's.
            ignored = 0o070 if "SCHILY.acl.access" in m.pax_headers else 0
            assert m.mode & ~ignored == want["mode"] & ~ignored, m
            assert (m.uid, m.gid) == (want["uid"], want["gid"]), m
            text = m.pax_headers.get("mtime", str(int(m.mtime)))
            assert nanoseconds(text) == want["mtime"], m
            if m.isreg():
                assert m.size == want["size"], m
                compare(tar.extractfile(m), os.path.join(os.fsencode(full.source), name), m.size)
            if m.issym():
                assert os.fsencode(m.linkname) == want["target"], m
            if m.ischr() or m.isblk():
                assert os.makedev(m.devmajor, m.devminor) == want["rdev"], m
            xattrs = {k[len("SCHILY.xattr."):].replace("%20", " ") for k in m.pax_headers
                      if k.startswith("SCHILY.xattr.")}
            assert xattrs == set(want["xattrs"]), m
    assert not told


def nanoseconds(text):
    whole, _, part = text.partition(".")
    ns = int(part.ljust(9, "0")[:9] or 0)
    return int(whole) * 10**9 + (-ns if text.startswith("-") else ns)


def compare(got, path, size):
    """Of a large file its beginning and what lies behind the first data of it."""
    with open(path, "rb") as f:
        for at in range(0, size, max(1 << 20, size // 16)):
            got.seek(at)
            f.seek(at)
            assert got.read(1 << 16) == f.read(1 << 16), (path, at)


@needs_root
def test_gnu_tar_extracts_it_as_it_was(full, stream, tmp_path):
    full.ok("tar", "--acls", "--xattrs", "--xattrs-include=*", "--warning=no-timestamp", "-xpf",
            stream, "-C", tmp_path)
    # libarchive escapes blanks in the names of attributes, and GNU tar takes them as they stand.
    odd = os.path.join(os.fsencode(tmp_path), b"xattrs")
    value = os.getxattr(odd, "user.of%20a%20directory")
    os.removexattr(odd, "user.of%20a%20directory")
    os.setxattr(odd, "user.of a directory", value)
    trees.assert_same(full.source, tmp_path)


@needs_root
@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_what_gnu_tar_writes_is_imported_as_it_was(full, tmp_path, form):
    full.create(f"G{form}")
    options = ["-S", "--xattrs", "--xattrs-include=*"] if form == "posix" else ["-S"]
    tar = subprocess.Popen(["tar", f"--format={form}", *options, "-cf", "-", "-C", full.source, "."],
                           stdout=subprocess.PIPE)
    full.take("-", f"G{form}/main", stdin=tar.stdout)
    assert tar.wait() == 0
    full.read(full.store, "check", f"G{form}/main")
    full.give(f"G{form}/main", tmp_path / "out")
    if form == "posix":
        trees.assert_same(full.source, tmp_path / "out")
        return
    # This format has whole seconds only, and no attributes.
    told = trees.tell(full.source, without=["xattrs", "mode"])
    got = trees.tell(tmp_path / "out", without=["xattrs", "mode"])
    for t in told.values():
        t["mtime"] = t["mtime"] // 10**9 * 10**9
    assert got == told


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_pythons_tarfile_writes_is_imported(bench, tmp_path, form):
    path = tmp_path / "python.tar"
    long = "/".join(["d" * 40] * (2 if form == tarfile.USTAR_FORMAT else 9))
    odd = [] if form == tarfile.USTAR_FORMAT else [f"{long}/{'n' * 200}", "odd\udcff\udcfe"]
    files = {"plain": b"plain", "\u00fc": b"umlaut", **{name: name.encode("utf-8", "replace")
                                                        for name in odd}}
    with tarfile.open(path, "w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o640, 1234567890
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.LNKTYPE, "plain"
        tar.addfile(link)
    bench.create("P")
    with open(path, "rb") as f:
        bench.take("-", "P/main", stdin=f)
    bench.give("P/main", tmp_path / "out")
    for name, data in files.items():
        got = os.fsencode(tmp_path / "out") + b"/" + name.encode("utf-8", "surrogateescape")
        with open(got, "rb") as f:
            assert f.read() == data, name
        assert os.stat(got).st_mtime == 1234567890
    assert os.stat(tmp_path / "out/link").st_nlink == 2


def test_a_stream_comes_back_as_the_same_tree(full, stream):
    full.create("Again")
    with open(stream, "rb") as f:
        full.take("-", "Again/main", stdin=f)
    listings = [full.read(full.store, "ls", f"{repo}/main").splitlines()
                for repo in ("R", "Again")]
    # Not in a stream: the times of changes, and with them what directories' ids are made from.
    for listing in listings:
        for i, line in enumerate(listing):
            told = json.loads(line)
            told.pop("ctime")
            told.pop("link", None)
            if told["type"] == "dir":
                told.pop("id")
            listing[i] = told
    assert listings[0] == listings[1]


def test_a_stream_that_breaks_off_changes_nothing(bench, full, stream):
    whole = stream.read_bytes()
    bench.create("R")
    for cut in (0, 1000, 1 << 20, len(whole) // 2 // 512 * 512):
        part = bench.home / "part.tar"
        part.write_bytes(whole[:cut])
        with open(part, "rb") as f:
            err = bench.fails(*import_to(bench, "R/main"), stdin=f)
        assert "tar stream" in err
    assert "commits/" not in bench.ok("ls", "-p", bench.store)


def import_to(bench, where):
    return PFS, "import", "-q", "--store", bench.store, "-", where


def test_who_writes_a_stream_is_not_cut_off(bench, stream):
    bench.create("R")
    code = subprocess.run(["bash", "-o", "pipefail", "-c",
                           'f=$1; shift; (cat "$f"; head -c 3000000 /dev/zero) | "$@" >/dev/null',
                           "-", stream, *map(os.fspath, import_to(bench, "R/main"))],
                          check=False, env=bench.environment).returncode
    assert code == 0


def test_who_reads_a_stream_may_go_away(full):
    code = subprocess.run(["bash", "-c", '"$@" | head -c 100000 >/dev/null; echo ${PIPESTATUS[0]}',
                           "-", PFS, "export", "-q", "--store", full.store, "R/main", "-"],
                          check=True, env=full.environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE).stdout
    assert int(code) != 0
