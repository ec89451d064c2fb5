# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in a bucket, on each server that there is: what comes back, and what boto3 finds there."""

import json
import os
import re
import subprocess

import pytest

from conftest import can_mount, mounted
from s3servers import (GATEWAY, KEYS, MINIO, allow, as_environment, careless, needs_minio, new_url,
                       objects, place, session)

KINDS = {"minio": (MINIO, {}), "gateway": (GATEWAY, {}), "libs3": (MINIO, {"transport": "libs3"})}
READER = os.path.join(os.path.dirname(__file__), "../reader/pfsread.py")

# FORMAT.md, section 2.
KEY = re.compile(r"format|packs/([0-9a-f]{2})/\1[0-9a-f]{30}|index/\d\d-[0-9a-f]{32}|"
                 r"(commits|pins)/[0-9a-f]{32}/[0-9a-f]{64}|repos/[\w.-]+|"
                 r"(heads|names)/[0-9a-f]{32}/[\w.-]+|gc/state")


@pytest.fixture(params=KINDS)
def server(request, shell):
    """An endpoint, and what the URL says beside it; the keys are in the environment."""
    endpoint, more = KINDS[request.param]
    if not endpoint:
        pytest.skip("needs an S3 server")
    shell.environment.update(as_environment(KEYS))
    return endpoint, more


@pytest.fixture
def bucket(shell, server):
    """A store that nobody else uses."""
    endpoint, more = server
    url = new_url(endpoint, **more)
    shell.ok("init", url)
    return url


def make_tree(path):
    (path / "d/empty").mkdir(parents=True)
    (path / "d/large").write_bytes(os.urandom(5 << 20))
    os.link(path / "d/large", path / "linked")
    os.symlink("d/large", path / "pointed")
    for i in range(300):
        (path / f"f{i}").write_text(f"{i}\n" * 100)


def test_a_tree_comes_back_from_a_bucket(shell, bucket):
    source = shell.home / "source"
    make_tree(source)
    shell.ok("repo", "create", "R", "--store", bucket)
    shell.ok("import", "-q", "-n", "first", source, "R/main", "--store", bucket)
    (source / "f0").write_text("changed")
    shell.ok("import", "-q", source, "R/main", "--store", bucket)
    assert len(json.loads(shell.ok("log", "--json", "R/main", "--store", bucket))) == 2
    assert "M  f0" in shell.ok("diff", "R/first", "R/main", "--store", bucket)
    shell.ok("export", "-q", "R/main", shell.home / "out", "--store", bucket)
    assert subprocess.run(["diff", "-r", source, shell.home / "out"]).returncode == 0


def test_a_second_init_changes_nothing(shell, bucket, server):
    before = objects(bucket, server[0])
    assert "store" in shell.fails(1, "init", bucket)
    assert objects(bucket, server[0]) == before


def test_a_new_store_is_one_object(shell, bucket, server):
    assert list(objects(bucket, server[0])) == ["format"]


def copied(found, path):
    """Objects as a directory, for who reads those."""
    for key, data in found.items():
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(data)
    return path


def reader(store, *words):
    """What the reader that was made from the format's document alone says."""
    return subprocess.run(["/usr/bin/python3", READER, str(store), *map(str, words)], check=True,
                          stdout=subprocess.PIPE, text=True).stdout


def test_another_reader_reads_what_is_in_the_bucket_by_boto3(shell, bucket, server):
    source = shell.home / "source"
    make_tree(source)
    shell.ok("repo", "create", "R", "--store", bucket)
    shell.ok("import", "-q", "-n", "first", source, "R/main", "--store", bucket)
    found = objects(bucket, server[0])
    assert {key.split("/")[0] for key in found} == {"format", "packs", "commits", "repos", "heads",
                                                    "names"}
    assert not [key for key in found if not KEY.fullmatch(key)]
    copy = copied(found, shell.home / "copy")
    reader(copy, "check", "R/first")
    reader(copy, "extract", "R/main", shell.home / "out")
    assert subprocess.run(["diff", "-r", "--no-dereference", source,
                           shell.home / "out"]).returncode == 0
    # And to us it is a store as any other.
    shell.ok("export", "-q", "R/first", shell.home / "again", "--store", copy)
    assert subprocess.run(["diff", "-r", source, shell.home / "again"]).returncode == 0


def test_a_bucket_and_a_directory_hold_the_same_under_the_same_ids(shell, bucket, server):
    source = shell.home / "source"
    make_tree(source)
    (source / "linked").unlink()  # links have random ids
    directory = shell.home / "store"
    shell.ok("init", directory)
    for store in bucket, directory:
        shell.ok("repo", "create", "R", "--store", store)
        shell.ok("import", "-q", source, "R/main", "--store", store)
    copy = copied(objects(bucket, server[0]), shell.home / "copy")
    listed = reader(directory, "ls", "R/main")
    assert "id" in json.loads(listed.splitlines()[0])
    assert reader(copy, "ls", "R/main") == listed
    assert reader(copy, "ls", "R/main/d") == reader(directory, "ls", "R/main/d")


def test_only_refs_are_ever_written_again(shell, bucket, server):
    source = shell.home / "source"
    make_tree(source)
    shell.ok("repo", "create", "R", "--store", bucket)
    shell.ok("import", "-q", "-n", "first", source, "R/main", "--store", bucket)
    before = objects(bucket, server[0])
    (source / "f1").write_text("changed")
    shell.ok("import", "-q", "-n", "second", source, "R/main", "--store", bucket)
    shell.ok("branch", "create", "R/other", "--store", bucket)
    after = objects(bucket, server[0])
    assert set(before) < set(after)
    assert {key.split("/")[0] for key in before if before[key] != after[key]} == {"heads"}


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


@needs_minio
def test_libs3_is_refused_where_it_would_not_be_safe(shell):
    shell.environment.update(as_environment(KEYS))
    url = "s3://bucket/x?endpoint=https://localhost&transport=libs3"
    assert "verifies no certificates" in shell.fails(1, "init", url)
    token = session(allow("*"))
    shell.environment.update(as_environment(token))
    said = shell.fails(1, "init", new_url(MINIO, transport="libs3"))
    assert "session token" in said and token[2] not in said


@needs_minio
def test_what_changes_goes_the_first_way_beside_libs3(shell):
    shell.environment.update(as_environment(KEYS))
    (shell.home / "source").mkdir()
    (shell.home / "source/f").write_text("x")
    with careless("kept") as (endpoint, proxy):
        url = new_url(endpoint, transport="libs3")
        shell.ok("init", url)
        proxy.requests.clear()
        shell.ok("repo", "create", "R", "--store", url)
        shell.ok("import", "-q", shell.home / "source", "R/main", "--store", url)
        shell.ok("export", "-q", "R/main", shell.home / "out", "--store", url)
    below = place(url)[1]
    ways = {(request.method, request.path.partition(below)[2].split("/")[0], request.signature)
            for request in proxy.requests if below in request.path and "?" not in request.path}
    assert ("PUT", "packs", "AWS") in ways and ("GET", "packs", "AWS") in ways
    assert ("PUT", "heads", "AWS4-HMAC-SHA256") in ways
    assert not [way for way in ways if way[1] in ("heads", "repos", "names", "format") and
                way[2] == "AWS"]
