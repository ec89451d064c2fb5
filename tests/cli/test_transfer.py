# SPDX-License-Identifier: GPL-3.0-or-later
"""pfs import and pfs export as commands: what they print, refuse and leave behind. That every file
comes through as it was is held by tests/reader."""

import io
import os
import re
import signal
import stat
import subprocess
import tarfile
import time

import pytest

from conftest import PFS, can_mount, on_a_terminal

ID = re.compile(r"[0-9a-f]{64}")


def tree(top, files=20):
    (top / "d").mkdir(parents=True)
    for i in range(files):
        (top / f"f{i}").write_text(f"file {i}")
        (top / f"d/g{i}").write_bytes(os.urandom(1000 + i))
    os.symlink("f0", top / "link")
    return top


def same_tree(a, b):
    return subprocess.run(["diff", "-r", "--no-dereference", a, b]).returncode == 0


@pytest.fixture
def at(shell, store):
    """Options that name a store with the repo R."""
    shell.ok("repo", "create", "R", "--store", store)
    return "--store", store


def test_a_tree_goes_in_and_comes_out(shell, at):
    source = tree(shell.home / "source")
    id = shell.ok("import", "-n", "first", "-m", "text", "--meta", "k=v", source, "R/main", *at)
    assert ID.fullmatch(id)
    (commit,) = shell.json("log", "--json", "R/main", *at)
    assert commit["id"] == id and commit["names"] == ["first"] and commit["message"] == "text"
    assert commit["meta"] == {"k": "v"} and commit["branch"] == "main"
    assert shell.ok("export", "R/first", shell.home / "out", *at) == ""
    assert same_tree(source, shell.home / "out")


def test_an_import_of_what_is_there_makes_no_commit(shell, at):
    source = tree(shell.home / "source")
    id = shell.ok("import", source, "R/main", *at)
    again = shell.run("import", source, "R/main", *at)
    assert again.code == 0 and again.out.strip() == id and "Nothing has changed" in again.err
    assert shell.json("import", "--json", source, "R/main", *at) == {"id": id, "is_new": False}
    (source / "new").write_text("x")
    assert shell.json("import", "--json", source, "R/main", *at)["is_new"]


def test_an_import_replaces_or_keeps_what_was_there(shell, at):
    shell.ok("import", tree(shell.home / "a"), "R/main", *at)
    (shell.home / "b").mkdir()
    (shell.home / "b/other").write_text("x")
    shell.ok("import", "--keep", shell.home / "b", "R/main/d", *at)
    shell.ok("export", "R/main/d", shell.home / "kept", *at)
    assert len(os.listdir(shell.home / "kept")) == 21
    shell.ok("import", shell.home / "b", "R/main/d", *at)
    shell.ok("export", "R/main/d", shell.home / "replaced", *at)
    assert os.listdir(shell.home / "replaced") == ["other"]
    assert len(shell.json("log", "--json", "R/main", *at)) == 3


def test_a_single_file_goes_in_and_comes_out(shell, at):
    (shell.home / "file").write_text("text")
    shell.ok("import", shell.home / "file", "R/main/name", *at)
    shell.ok("export", "R/main/name", shell.home / "back", *at)
    assert (shell.home / "back").read_text() == "text"


def test_tar_streams_go_in_and_come_out(shell, at):
    source = tree(shell.home / "source")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(source, ".")
    shell.ok("import", "-", "R/main", *at, stdin=stream.getvalue(), text=False)
    out = shell.ok("export", "R/main", "-", *at, text=False)
    (shell.home / "out").mkdir()
    subprocess.run(["tar", "-x", "-C", shell.home / "out"], input=out, check=True)
    assert same_tree(source, shell.home / "out")


@pytest.mark.parametrize("stream", [b"this is no tar stream" * 1000, b"\x1f\x8b" + bytes(range(256))])
def test_a_stream_that_is_no_tar_changes_nothing(shell, at, stream):
    result = shell.run("import", "-", "R/main", *at, stdin=stream, text=False)
    assert result.code == 1 and result.err.startswith(b"pfs: ")
    assert shell.json("log", "--json", "R/main", *at) == []


def test_what_is_not_there_is_named(shell, at):
    source = tree(shell.home / "source")
    shell.ok("import", "-n", "first", source, "R/main", *at)
    for source_path, where, word in [
            (shell.home / "none", "R/main", "none"), (source, "Q/main", "Q"),
            (source, "R/none", "none"), (source, "R/first", "first"),
            (source, "R/main/f0/below", "f0")]:
        assert word in shell.fails(1, "import", "-q", source_path, where, *at)
    assert shell.run("import", source, "R", *at).code == 2
    for what, word in [("Q/main", "`Q`"), ("R/none", "`none`"), ("R/main/none", "none"),
                       ("R/main/f0/below", "f0")]:
        assert word in shell.fails(1, "export", "-q", what, shell.home / "out", *at)
        assert not (shell.home / "out").exists()
    assert "first" in shell.fails(1, "import", "-n", "first", source / "d", "R/main", *at)
    assert len(shell.json("log", "--json", "R/main", *at)) == 1


def test_an_export_does_not_overwrite_what_is_of_another_type(shell, at):
    shell.ok("import", tree(shell.home / "source"), "R/main", *at)
    (shell.home / "out/f0").mkdir(parents=True)
    (shell.home / "out/f0/mine").write_text("mine")
    (shell.home / "out/other").write_text("mine")
    err = shell.fails(1, "export", "-q", "R/main", shell.home / "out", *at)
    assert "f0" in err
    assert (shell.home / "out/f0/mine").read_text() == "mine"
    assert (shell.home / "out/other").read_text() == "mine"
    (shell.home / "file").write_text("mine")
    assert "file" in shell.fails(1, "export", "-q", "R/main", shell.home / "file", *at)
    assert (shell.home / "file").read_text() == "mine"


@pytest.mark.parametrize("same", [False, True])
def test_who_is_overtaken_is_merged_or_told_and_keeps_a_commit(shell, at, same):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for i in range(100):
            info = tarfile.TarInfo(f"slow{i}")
            info.size = 10000
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    data = stream.getvalue()
    shell.ok("import", tree(shell.home / "a"), "R/main", *at)
    p = subprocess.Popen([PFS, "import", "-", "R/main", *map(str, at)], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environment)
    p.stdin.write(data[:500000])
    p.stdin.flush()
    time.sleep(0.3)
    (shell.home / ("a/slow0" if same else "a/meanwhile")).write_text("x")
    winner = shell.ok("import", shell.home / "a", "R/main", *at)
    out, err = p.communicate(data[500000:], timeout=60)
    loser = out.decode().strip()
    if same:
        assert p.returncode == 3 and b"somebody else" in err
        assert shell.json("log", "--json", "R/main", *at)[0]["id"] == winner
    else:
        assert p.returncode == 0
        assert shell.json("log", "--json", "R/main", *at)[0]["parents"] == [winner, loser]
    shell.ok("export", "-q", f"R/{loser}", shell.home / "loser", *at)
    assert len(os.listdir(shell.home / "loser")) == 100


@pytest.fixture
def large(shell):
    """Files whose transfer takes a while."""
    source = shell.home / "large"
    source.mkdir()
    for i in range(96):
        (source / str(i)).write_bytes(os.urandom(2 << 20))
    return source


def test_a_bar_is_drawn_on_a_terminal_only(shell, at, large):
    text, code = on_a_terminal(shell, ("import", large, "R/main", *at))
    assert code == 0 and "[#" in text and "\r" in text
    assert ID.search(text)
    text, code = on_a_terminal(shell, ("export", "R/main", shell.home / "out", *at))
    assert code == 0 and "[#" in text
    text, code = on_a_terminal(shell, ("export", "-q", "R/main", shell.home / "out2", *at))
    assert code == 0 and text == ""
    assert shell.run("export", "R/main", shell.home / "out3", *at).err == ""


def test_a_stopped_import_changes_nothing(shell, at, large):
    text, code = on_a_terminal(shell, ("import", large, "R/main", *at), interrupt=True)
    if code == 0:
        pytest.skip("it was too fast to be stopped")
    assert code in (1, -signal.SIGINT)
    assert shell.json("log", "--json", "R/main", *at) == []
    shell.ok("import", "-q", large, "R/main", *at)


def test_a_stopped_export_goes_on_from_where_it_was(shell, at, large):
    shell.ok("import", "-q", large, "R/main", *at)
    out = shell.home / "out"
    text, code = on_a_terminal(shell, ("export", "R/main", out, *at), interrupt=True)
    if code == 0:
        pytest.skip("it was too fast to be stopped")
    # What is there under its name is there as a whole.
    there = {p.name: p.stat().st_ino for p in out.iterdir() if p.name.isdigit()}
    for name in there:
        assert (out / name).read_bytes() == (large / name).read_bytes()
    shell.ok("export", "-q", "R/main", out, *at)
    assert same_tree(large, out)
    assert all((out / name).stat().st_ino == inode for name, inode in there.items())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give ACLs to others")
def test_acls_travel_to_and_from_gnu_tar(shell, at):
    def acls(top):
        done = subprocess.run(["getfacl", "-cpEn", top / "f", top / "d"], stdout=subprocess.PIPE,
                              text=True, check=True)
        return done.stdout

    source, out, again = shell.home / "source", shell.home / "out", shell.home / "again"
    for path in source / "d", again:
        path.mkdir(parents=True)
    (source / "f").write_text("x")
    for entry in "u:54321:rwx", "u:0:r", "g::r":
        subprocess.run(["setfacl", "-m", entry, source / "f"], check=True)
    os.chmod(source / "f", 0o674)
    subprocess.run(["setfacl", "-m", "g:54322:rx,d:u:54321:rw", source / "d"], check=True)
    tar = subprocess.run(["tar", "--acls", "-C", source, "-c", "f", "d"], stdout=subprocess.PIPE,
                         check=True).stdout
    assert b"SCHILY.acl" in tar and b"SCHILY.xattr" not in tar
    shell.ok("import", "-", "R/main", *at, stdin=tar, text=False)
    shell.ok("export", "R/main", out, *at)
    assert acls(out) == acls(source)
    assert stat.S_IMODE(os.stat(out / "f").st_mode) == 0o674
    written = shell.ok("export", "R/main", "-", *at, text=False)
    subprocess.run(["tar", "--acls", "-C", again, "-x"], input=written, check=True)
    assert acls(again) == acls(source)


@can_mount
def test_what_is_imported_is_in_the_mount_when_it_returns(shell, mount, repo):
    source = tree(shell.home / "source")
    (repo / "before").write_text("x")
    assert "uncommitted" in shell.fails(1, "import", source, repo)
    shell.ok("commit", repo)
    id = shell.ok("import", source, repo)
    assert shell.json("status", "--json", repo)["base"] == id
    assert same_tree(source, repo)
    shell.ok("import", source / "d", repo / "again")
    assert same_tree(source / "d", repo / "again")


@can_mount
def test_an_export_takes_the_last_commit_and_says_so(shell, mount, repo):
    (repo / "f").write_text("committed")
    shell.ok("commit", "-n", "first", repo)
    (repo / "f").write_text("changed")
    result = shell.run("export", repo, shell.home / "out")
    assert result.code == 0 and "uncommitted" in result.err
    assert (shell.home / "out/f").read_text() == "committed"
    quiet = shell.run("export", mount / "R/first", shell.home / "out2")
    assert quiet.code == 0 and quiet.err == ""
