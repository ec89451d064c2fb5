# SPDX-License-Identifier: GPL-3.0-or-later
"""pfs cache: filling the disk cache of a mount, and being told of it."""

import os

import pytest

from conftest import can_mount

pytestmark = can_mount


@pytest.fixture
def data(mount, repo):
    """A commit `first` of all kinds of sizes, and a mount that has not read any of it."""
    (repo / "d/e").mkdir(parents=True)
    files = {f"d/f{i}": os.urandom(1 + 37 * i) for i in range(300)}
    files["d/e/large"] = os.urandom(70 << 20)
    files["middle"] = os.urandom(1 << 20)
    for name, content in files.items():
        (repo / name).write_bytes(content)
    os.truncate(repo / "d/e/large", 75 << 20)
    files["d/e/large"] += bytes(5 << 20)
    os.mkdir(mount / "R/commits/first")
    mount.stop()
    for path in sorted((mount.state / "cache").rglob("*")):
        path.unlink()
    mount.start()
    return files


def test_what_was_warmed_reads_when_the_store_has_lost_it(shell, mount, repo, data):
    said = shell.json("cache", "warm", "-q", "--json", mount / "R/first")
    assert said["files"] == said["files_total"] == len(data)
    assert said["bytes"] == said["bytes_total"] > 71 << 20
    # What came with others, in one frame, is there when it is looked for.
    assert 70 << 20 < said["fetched_bytes"] <= said["bytes"]
    mount.stop()
    mount.start()
    os.rename(mount.store / "packs", mount.store / "elsewhere")
    try:
        for name, content in data.items():
            assert (mount / "R/first" / name).read_bytes() == content, name
    finally:
        os.rename(mount.store / "elsewhere", mount.store / "packs")


def test_what_is_there_is_not_fetched_again(shell, mount, repo, data):
    first = shell.json("cache", "warm", "-q", "--json", mount / "R/first/middle")
    assert first["files"] == 1 and first["fetched_bytes"] == 1 << 20
    again = shell.json("cache", "warm", "-q", "--json", mount / "R/first/middle")
    assert again["bytes"] == 1 << 20 and again["fetched_bytes"] == 0
    both = shell.json("cache", "warm", "-q", "--json", mount / "R/first/d/f1", repo / "middle")
    assert both["files"] == 2 and "files" in shell.ok("cache", "warm", repo / "d")


def test_of_a_branch_it_is_what_was_committed(shell, mount, repo, data):
    (repo / "new").write_bytes(os.urandom(2 << 20))
    said = shell.json("cache", "warm", "-q", "--json", "R/main", cwd=mount.path)
    assert said["files"] == len(data)


def test_what_does_not_fit_is_refused_before_it_is_fetched(shell, mount, repo, data):
    mount.stop()
    mount.start("disk=64M")
    said = shell.fails(1, "cache", "warm", mount / "R/first")
    assert "nothing was fetched" in said and "disk=" in said
    (status,) = shell.json("cache", "status", "--json", mount.path)
    assert status["used_bytes"] < 4 << 20
    assert shell.json("cache", "warm", "-q", "--json", mount / "R/first/middle")["files"] == 1


def test_files_that_the_caller_may_not_read_are_left_out(shell, mount, repo):
    (repo / "open").write_bytes(os.urandom(5000))
    (repo / "closed").write_bytes(os.urandom(5000))
    os.chmod(repo / "closed", 0o600)
    os.mkdir(mount / "R/commits/first")
    for path in mount.path.parents:
        if str(path).startswith("/tmp/"):
            os.chmod(path, 0o755)
    result = shell.run("cache", "warm", "-q", mount / "R/first", user=65534, cwd="/")
    assert result.code == 0 and result.out.startswith("1 files") and "1 files were" in result.err


def test_the_status_names_each_mount(shell, mount, repo, data):
    shell.ok("cache", "warm", "-q", mount / "R/first/middle")
    (status,) = shell.json("cache", "status", "--json", repo)
    assert status["mount"] == str(mount.path) and status["store"] == f"file://{mount.store}"
    assert 1 << 20 <= status["used_bytes"] <= status["budget_bytes"]
    assert 0 <= status["memory_hit_rate"] <= 1 and status["reads"] > 0
    assert str(mount.path) in [s["mount"] for s in shell.json("cache", "status", "--json")]
    assert f"file://{mount.store}\n" in shell.ok("cache", "status")


def test_wrong_arguments_are_said(shell, store):
    shell.fails(2, "cache")
    shell.fails(2, "cache", "warm")
    shell.fails(2, "cache", "cool")
    shell.fails(2, "cache", "status", "a", "b")
    assert "not in a pfs mount" in shell.fails(1, "cache", "warm", store)
    assert "not in a pfs mount" in shell.fails(1, "cache", "status", store)
