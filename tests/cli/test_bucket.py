# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in a bucket, on the server that PFS_TEST_S3 names by its URL."""

import json
import os
import subprocess
import uuid

import pytest

from conftest import can_mount, mounted

SERVER = os.environ.get("PFS_TEST_S3")
pytestmark = pytest.mark.skipif(not SERVER, reason="needs an S3 server")


@pytest.fixture
def bucket(shell):
    """A store that nobody else uses, made; the credentials are in the environment."""
    url = f"s3://pfs-cli/{uuid.uuid4().hex}?endpoint={SERVER}"
    for name in "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY":
        shell.environment[name] = os.environ[name]
    shell.ok("init", url)
    return url


def test_a_tree_comes_back_from_a_bucket(shell, bucket):
    source = shell.home / "source"
    (source / "d").mkdir(parents=True)
    (source / "d/large").write_bytes(os.urandom(5 << 20))
    for i in range(300):
        (source / f"f{i}").write_text(f"{i}\n" * 100)
    shell.ok("repo", "create", "R", "--store", bucket)
    shell.ok("import", "-q", "-n", "first", source, "R/main", "--store", bucket)
    (source / "f0").write_text("changed")
    shell.ok("import", "-q", source, "R/main", "--store", bucket)
    assert len(json.loads(shell.ok("log", "--json", "R/main", "--store", bucket))) == 2
    assert "M  f0" in shell.ok("diff", "R/first", "R/main", "--store", bucket)
    shell.ok("export", "-q", "R/main", shell.home / "out", "--store", bucket)
    assert subprocess.run(["diff", "-r", source, shell.home / "out"]).returncode == 0


def test_a_second_init_changes_nothing(shell, bucket):
    assert "store" in shell.fails(1, "init", bucket)


@can_mount
def test_two_machines_share_a_bucket(shell, bucket):
    mounts = [shell.home / "a", shell.home / "b"]
    try:
        for m in mounts:
            m.mkdir()
            shell.ok("mount", "-o", f"state={m}-state,refresh=200", bucket, m)
        (mounts[0] / "R").mkdir()
        (mounts[0] / "R/main/f").write_text("from a")
        (mounts[0] / "R/commits/first").mkdir()
        assert (mounts[1] / "R/first/f").read_text() == "from a"
        assert (mounts[1] / "R/main/f").read_text() == "from a"
    finally:
        for m in mounts:
            if mounted(m):
                shell.ok("umount", m)


def test_wrong_keys_are_said(shell, bucket):
    shell.environment["AWS_SECRET_ACCESS_KEY"] = "another-one-entirely"
    said = shell.fails(1, "repo", "--store", bucket)
    assert "403" in said and "another-one-entirely" not in said


def test_a_server_that_is_not_there_is_said(shell):
    shell.environment.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    url = "s3://bucket/x?endpoint=http://127.0.0.1:1"
    said = shell.fails(1, "init", url)
    assert said.count(url) == 1 and "onnect" in said


def test_a_bucket_that_is_not_there_is_said(shell, bucket):
    said = shell.fails(1, "repo", "--store", f"s3://no-such-bucket/x?endpoint={SERVER}")
    assert "no-such-bucket" in said and "no such bucket" in said
