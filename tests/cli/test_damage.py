# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores that are damaged, gone, from the future or full: a sentence that names the thing, exit code
1, never a crash, and what is whole is read all the same."""

import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import time

import pytest
import xxhash

from conftest import Shell, can_mount, cached_state

OBJECT = re.compile(r"\b(repos|heads|names|commits|packs)/[0-9A-Za-z._/-]+|\b[0-9a-f]{64}\b|bad")


def fill(top, text):
    top.mkdir()
    for i in range(200):
        (top / f"f{i}").write_text(f"{text} {i}\n" * 20)
    (top / "big").write_bytes(os.urandom(3 << 20))
    (top / "d").mkdir()
    (top / "d/numbers").write_text(text + "\n".join(map(str, range(50000))))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two repos of three commits each, whose middle one has no name, with no pack in common."""
    shell = Shell(tmp_path_factory.mktemp("whole"))
    shell.ok("init", shell.home / "store")
    for repo in "good", "bad":
        source = shell.home / repo
        fill(source, repo)
        at = ("--store", shell.home / "store")
        shell.ok("repo", "create", repo, *at)
        shell.ok("import", "-q", "-n", "first", source, f"{repo}/main", *at)
        for name in ("-m", "second"), ("-n", "third"):
            (source / "f0").write_text(repo + name[1])
            (source / "d/numbers").write_text(repo + name[1] + "\n".join(map(str, range(40000))))
            shell.ok("import", "-q", *name, source, f"{repo}/main", *at)
    return shell


class Copy:
    """A copy of the store, to damage."""

    def __init__(self, whole, shell):
        self.shell = shell
        self.whole = whole
        self.store = shell.home / "store"
        shutil.copytree(whole.home / "store", self.store)
        self.id = json.loads(self.run("repo", "show", "--json", "bad").out)["id"]

    def run(self, *words, **more):
        # The store's index would still know what was read before.
        shutil.rmtree(cached_state(self.store), ignore_errors=True)
        return self.shell.run(*words, "--store", self.store, **more)

    def fails(self, *words, **more):
        result = self.run(*words, **more)
        assert result.code == 1, (words, result.code, result.out[:200], result.err)
        assert OBJECT.search(result.err), (words, result.err)
        return result

    def ok(self, *words, **more):
        result = self.run(*words, **more)
        assert result.code == 0, (words, result.err)
        return result.out

    def asks(self):
        """Everything that can be asked, and its results."""
        dest = self.shell.home / "out"
        results = []
        for words in (("log", "bad/main"), ("log", "bad/main/d"), ("log", "--json", "bad/main"),
                      ("show", "bad/main"), ("show", "bad/first"), ("show", "bad/main/f7"),
                      ("show", "bad/first/d/numbers"), ("diff", "bad/first", "bad/main"),
                      ("diff", "--json", "bad/first", "bad/main"), ("status", "bad/main"),
                      ("export", "-q", "bad/main", dest), ("export", "bad/first", "-"),
                      ("branch", "bad"), ("repo",), ("stats",), ("branch", "bad/new")):
            result = self.run(*words, text=False)
            assert result.code in (0, 1), (words, result.err)
            err = result.err.decode(errors="replace")
            if result.code == 1:
                assert OBJECT.search(err), (words, err)
                assert "Bad message" not in err
            if "--json" in words and result.out:
                json.loads(result.out)
            results.append((words, result.code, err))
        shutil.rmtree(dest, ignore_errors=True)
        return results

    def assert_the_other_repo_is_whole(self):
        dest = self.shell.home / "other"
        self.ok("export", "-q", "good/main", dest)
        assert subprocess.run(["diff", "-r", self.whole.home / "good", dest]).returncode == 0
        shutil.rmtree(dest)
        assert len(json.loads(self.ok("log", "--json", "good/main"))) == 3
        assert "good" in self.run("repo").out.split()

    def packs(self):
        """Those of the repo `bad`, which are the later ones."""
        packs = sorted((p for p in (self.store / "packs").rglob("*/*")),
                       key=lambda p: (self.whole.home / "store" / p.relative_to(self.store))
                       .stat().st_mtime_ns)
        return packs[len(packs) // 2:]


@pytest.fixture
def copy(whole, shell):
    made = Copy(whole, shell)
    yield made
    shutil.rmtree(cached_state(made.store), ignore_errors=True)


def rewrite(path, data):
    path.chmod(0o644)
    path.write_bytes(data)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    rewrite(path, bytes(data))


DAMAGES = {
    "first-byte": lambda p: flip(p, 0),
    "version": lambda p: flip(p, 4),
    "early-byte": lambda p: flip(p, 40),
    "middle-byte": lambda p: flip(p, p.stat().st_size // 2),
    "last-byte": lambda p: flip(p, -1),
    "empty": lambda p: rewrite(p, b""),
    "cut": lambda p: rewrite(p, p.read_bytes()[:p.stat().st_size // 2]),
    "longer": lambda p: rewrite(p, p.read_bytes() + b"x"),
    "noise": lambda p: rewrite(p, os.urandom(p.stat().st_size)),
    "gone": lambda p: p.unlink(),
}


def commits_of(copy):
    """Object's id -> path, the last commit first."""
    ids = [c["id"] for c in json.loads(copy.ok("log", "--json", "bad/main"))]
    return [copy.store / "commits" / copy.id / i for i in ids]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["repo", "head", "name", "commit"])
def test_a_damaged_record_is_named_and_the_rest_is_read(copy, kind, damage):
    path = {"repo": copy.store / "repos/bad", "head": copy.store / "heads" / copy.id / "main",
            "name": copy.store / "names" / copy.id / "first",
            "commit": commits_of(copy)[1]}[kind]
    DAMAGES[damage](path)
    results = copy.asks()
    failed = {words[:2] for words, code, _ in results if code == 1}
    wanted = {"repo": ("log", "bad/main"), "head": ("log", "bad/main"),
              "name": ("show", "bad/first"), "commit": ("log", "bad/main")}[kind]
    assert wanted in failed
    if kind != "repo" and damage not in ("gone",):
        key = str(path.relative_to(copy.store))
        assert any(key in err for _, _, err in results)
    # What has nothing to do with it works.
    if kind == "name":
        assert ("log", "bad/main") not in failed and ("export", "-q") not in failed
    if kind == "commit":
        assert ("show", "bad/main/f7") not in failed and ("export", "-q") not in failed
    copy.assert_the_other_repo_is_whole()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pack_is_named_by_what_needs_it(copy, damage):
    for path in copy.packs():
        DAMAGES[damage](path)
    failed = [(words, err) for words, code, err in copy.asks() if code == 1]
    # A pack's header, footer and what is behind it are not needed where hints are right.
    if damage in ("empty", "cut", "noise", "gone"):
        assert any(words[0] == "export" and "packs/" in err for words, err in failed)
        assert any(words[0] == "diff" and re.search(r"[0-9a-f]{64}", err) for words, err in failed)
    copy.assert_the_other_repo_is_whole()


FRAME = struct.Struct("<4sHHBBHIII")
ITEM = 37


def frames(data):
    """(offset, header's length, stored length, kinds of the items) of each frame of a pack."""
    footer, = struct.unpack_from("<Q", data, len(data) - 48)
    at = 32
    while at < footer:
        magic, _, _, _, _, count, _, stored, _ = FRAME.unpack_from(data, at)
        assert magic == b"pfsr"
        head = FRAME.size + ITEM * count + 8
        yield at, head, stored, {data[at + FRAME.size + ITEM * i] for i in range(count)}
        at += head + stored


@pytest.mark.parametrize("part", ["header", "items", "payload"])
@pytest.mark.parametrize("kind, name", [(1, "chunk"), (2, "node")])
def test_damage_within_a_frame_names_the_object(copy, kind, name, part):
    for path in copy.packs():
        data = bytearray(path.read_bytes())
        for at, head, stored, kinds in list(frames(bytes(data))):
            if kind in kinds:
                data[{"header": at + 12, "items": at + 30, "payload": at + head + 9}[part]] ^= 1
        rewrite(path, bytes(data))
    failed = {words: err for words, code, err in copy.asks() if code == 1}
    export = failed[("export", "bad/first", "-")]
    assert re.search(name + r" [0-9a-f]{64} is (damaged|missing).*packs/", export), export
    if name == "node":
        assert ("diff", "bad/first", "bad/main") in failed and ("show", "bad/main/f7") in failed
    else:
        assert ("log", "bad/main") not in failed
    copy.assert_the_other_repo_is_whole()


def test_what_was_damaged_is_exported_as_far_as_it_is_whole(copy, shell):
    for path in copy.packs():
        data = bytearray(path.read_bytes())
        for at, head, stored, kinds in list(frames(bytes(data))):
            if 1 in kinds and stored > 200000:
                data[at + head + 5] ^= 1
        rewrite(path, bytes(data))
    result = copy.fails("export", "-q", "bad/main", shell.home / "out")
    assert "big" in result.err
    assert not (shell.home / "out/big").exists()
    assert (shell.home / "out/f7").read_text() == (copy.whole.home / "bad/f7").read_text()


def sealed(data):
    return data + struct.pack("<Q", xxhash.xxh3_64_intdigest(data))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_format_is_said(copy, damage):
    DAMAGES[damage](copy.store / "format")
    for words in ("repo",), ("log", "good/main"), ("export", "good/main", "-"):
        err = copy.shell.fails(1, *words, "--store", copy.store)
        assert str(copy.store) in err


@pytest.mark.parametrize("field, at", [("version", 4), ("incompat", 40)])
def test_a_newer_format_is_refused_with_the_reason(copy, field, at):
    data = bytearray((copy.store / "format").read_bytes()[:-8])
    data[at] += 1
    rewrite(copy.store / "format", sealed(bytes(data)))
    for words in ("repo",), ("log", "good/main"), ("repo", "create", "new"):
        err = copy.shell.fails(1, *words, "--store", copy.store)
        assert "newer" in err and str(copy.store) in err
    (copy.shell.home / "mnt").mkdir()
    assert "newer" in copy.shell.fails(1, "mount", "-o", f"state={copy.shell.home}/st", copy.store,
                                       copy.shell.home / "mnt")


def test_a_feature_that_writers_must_know_makes_a_store_read_only(copy):
    data = bytearray((copy.store / "format").read_bytes()[:-8])
    data[32] |= 1
    rewrite(copy.store / "format", sealed(bytes(data)))
    copy.assert_the_other_repo_is_whole()
    assert "only read" in copy.shell.fails(1, "repo", "create", "new", "--store", copy.store)


def test_directories_that_are_missing_are_nothing_to_list(copy):
    for name in "names", "heads", "packs", "commits":
        moved = copy.shell.home / name
        (copy.store / name).rename(moved)
        copy.asks()
        moved.rename(copy.store / name)
    (copy.store / "repos").rename(copy.shell.home / "repos")
    assert copy.ok("repo") == ""
    assert "`good`" in copy.shell.fails(1, "log", "good/main", "--store", copy.store)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_what_may_not_be_read_is_said(copy):
    for top in (copy.shell.home, *copy.shell.home.parents):
        if str(top).startswith(tempfile.gettempdir() + "/"):
            top.chmod(0o755)
    subprocess.run(["chmod", "-R", "a+rX", str(copy.store)], check=True)
    home = copy.shell.home / "nobody"
    home.mkdir()
    os.chown(home, 65534, 65534)
    nobody = {"user": 65534, "env": {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}}
    copy.ok("log", "bad/main", **nobody)
    for name in "repos", "heads", "packs", "":
        mode = (copy.store / name).stat().st_mode
        (copy.store / name).chmod(0)
        shutil.rmtree(home / "cache", ignore_errors=True)
        result = copy.run("export", "bad/main", "-", text=False, **nobody)
        err = result.err.decode()
        assert result.code == 1 and ("ermission denied" in err or "ermitted" in err), err
        (copy.store / name).chmod(mode & 0o7777)


@can_mount
def test_damage_below_a_mount_is_eio_and_in_the_log(copy, shell):
    for path in copy.packs():
        data = bytearray(path.read_bytes())
        for at, head, stored, kinds in list(frames(bytes(data))):
            if 1 in kinds:
                data[at + head + 5] ^= 1
        rewrite(path, bytes(data))
    (shell.home / "mnt").mkdir()
    shell.ok("mount", "-o", f"state={shell.home}/st", copy.store, shell.home / "mnt")
    try:
        with pytest.raises(OSError) as error:
            (shell.home / "mnt/bad/main/big").read_bytes()
        assert error.value.errno == 5
        assert (shell.home / "mnt/good/main/f7").read_text().startswith("good")
        shell.fails(1, "export", "-q", shell.home / "mnt/bad/main", shell.home / "out")
        for _ in range(5):
            with pytest.raises(OSError):
                (shell.home / "mnt/bad/third/big").read_bytes()
        said = (shell.home / "st/log").read_text()
        assert re.search(r"bad/main/big: chunk [0-9a-f]{64} is damaged, in packs/", said)
        assert len(re.findall(r"bad/[0-9a-f]{64}/big: chunk", said)) == 1
    finally:
        shell.ok("umount", shell.home / "mnt")


@can_mount
def test_what_is_written_again_mends_what_was_damaged(shell):
    store, top = shell.home / "store", shell.home / "mnt"
    good = os.urandom(100000)
    shell.ok("init", store)
    top.mkdir()
    shell.ok("mount", "-o", f"state={shell.home}/st", store, top)
    try:
        (top / "R").mkdir()
        (top / "R/main/f").write_bytes(good)
        (top / "R/commits/first").mkdir()
        shell.ok("umount", top)
        pack, = (p for p in (store / "packs").rglob("*/*") if p.stat().st_size > len(good))
        data = pack.read_bytes()
        flip(pack, data.index(good[1000:1064]))
        # What this machine has cached is whole.
        shutil.rmtree(shell.home / "st/cache", ignore_errors=True)
        shell.ok("mount", "-o", f"state={shell.home}/st", store, top)
        with pytest.raises(OSError):
            (top / "R/first/f").read_bytes()
        (top / "R/main/again").write_bytes(good)
        (top / "R/commits/second").mkdir()
        assert (top / "R/second/again").read_bytes() == good
        time.sleep(10.5)  # how long the reader takes its verdict for true
        assert (top / "R/first/f").read_bytes() == good
    finally:
        if os.path.ismount(top):
            shell.ok("umount", top)


@can_mount
def test_a_damaged_name_keeps_no_commit_from_being_listed_in_a_mount(copy, shell):
    path = copy.store / "names" / copy.id / "first"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    rewrite(path, bytes(data))
    (shell.home / "mnt").mkdir()
    shell.ok("mount", "-o", f"state={shell.home}/st", copy.store, shell.home / "mnt")
    try:
        listed = os.listdir(shell.home / "mnt/bad/commits")
        assert {"first", "third"} < set(listed) and len(listed) == 4  # two show by their ids
        with pytest.raises(OSError) as error:
            os.listdir(shell.home / "mnt/bad/commits/first")
        assert error.value.errno == 5
    finally:
        shell.ok("umount", shell.home / "mnt")


@pytest.fixture
def small(shell):
    """A filesystem of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount one")
    at = shell.home / "small"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", at], check=True)
    yield at
    subprocess.run(["umount", "-l", at], check=True)


def noise(path, mib):
    path.mkdir()
    for i in range(mib):
        (path / str(i)).write_bytes(os.urandom(1 << 20))


def test_an_import_that_finds_the_disk_full_changes_nothing(shell, small):
    at = ("--store", small / "store")
    shell.ok("init", small / "store")
    shell.ok("repo", "create", "R", *at)
    noise(shell.home / "few", 2)
    noise(shell.home / "many", 40)
    before = shell.ok("import", "-q", shell.home / "few", "R/main", *at)
    err = shell.fails(1, "import", "-q", shell.home / "many", "R/main", *at)
    assert "space" in err
    assert shell.json("log", "--json", "R/main", *at)[0]["id"] == before
    shell.ok("export", "-q", "R/main", shell.home / "out", *at)
    assert subprocess.run(["diff", "-r", shell.home / "few", shell.home / "out"]).returncode == 0
    # There is room again: what the failed one had written is not in the way.
    shell.ok("import", "-q", shell.home / "few", "R/main/again", *at)


def test_an_export_that_finds_the_disk_full_goes_on_when_there_is_room(shell, store, small):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    noise(shell.home / "many", 30)
    shell.ok("import", "-q", shell.home / "many", "R/main", *at)
    assert "space" in shell.fails(1, "export", "-q", "R/main", small / "out", *at)
    with open("/dev/full", "wb") as full:
        from conftest import PFS
        done = subprocess.run([PFS, "export", "R/main", "-", *map(str, at)], stdout=full,
                              stderr=subprocess.PIPE, text=True, env=shell.environment)
    assert done.returncode == 1 and "space" in done.stderr
    subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
    shell.ok("export", "-q", "R/main", small / "out", *at)
    assert subprocess.run(["diff", "-r", shell.home / "many", small / "out"]).returncode == 0


@can_mount
def test_a_commit_that_finds_the_disk_full_keeps_the_changes(shell, small):
    shell.ok("init", small / "store")
    (shell.home / "mnt").mkdir()
    shell.ok("mount", "-o", f"state={shell.home}/st", small / "store", shell.home / "mnt")
    try:
        os.mkdir(shell.home / "mnt/R")
        noise(shell.home / "mnt/R/main/many", 40)
        assert "space" in shell.fails(1, "commit", shell.home / "mnt/R/main")
        with pytest.raises(OSError) as error:
            os.mkdir(shell.home / "mnt/R/commits/first")
        assert error.value.errno == 28
        assert shell.json("status", "--json", shell.home / "mnt/R/main")["is_dirty"]
        assert len((shell.home / "mnt/R/main/many/39").read_bytes()) == 1 << 20
        subprocess.run(["mount", "-o", "remount,size=96m", small], check=True)
        os.mkdir(shell.home / "mnt/R/commits/first")
        assert len(os.listdir(shell.home / "mnt/R/first/many")) == 40
        assert not shell.json("status", "--json", shell.home / "mnt/R/main")["is_dirty"]
    finally:
        shell.ok("umount", shell.home / "mnt")
