# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens when the disk budget is full of uncommitted data."""

import errno
import os
import subprocess
import time

import pytest
from conftest import commit
from test_namespace import fails

PIECE = 1 << 20


@pytest.fixture
def full(place):
    """A head whose files d/f0, d/f1, ... fill the budget; the mount."""
    mount = place("disk=64M").start()
    os.mkdir(mount / "R")
    (mount / "R/main/d/empty").mkdir(parents=True)
    fill(mount / "R/main/d")
    return mount


def fill(path):
    """Files of 1 MiB until there is no space for another; how many are whole."""
    n = 0
    while True:
        fd = os.open(path / ("f%d" % n), os.O_CREAT | os.O_WRONLY)
        try:
            os.write(fd, os.urandom(PIECE))
        except OSError as e:
            assert e.errno == errno.ENOSPC
            return n
        finally:
            os.close(fd)
        n += 1
        assert n < 200


def write_piece(path):
    with open(path, "ab", buffering=0) as f:
        f.write(os.urandom(PIECE))


def comes_back(path):
    """Space is free again a moment after what held it was closed."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            write_piece(path)
            return True
        except OSError as e:
            assert e.errno == errno.ENOSPC
            time.sleep(0.05)
    return False


def test_writing_into_a_full_budget_is_enospc(full):
    assert full.stats()["pfs_staged_bytes"] > 48 << 20
    fails(errno.ENOSPC, write_piece, full / "R/main/g")
    fails(errno.ENOSPC, write_piece, full / "R/main/d/f0")
    st = os.statvfs(full.path)
    assert st.f_bavail * st.f_frsize < 2 * PIECE


def test_what_was_written_before_can_be_read(full):
    sizes = {n: os.path.getsize(full / "R/main/d" / n) for n in os.listdir(full / "R/main/d")}
    assert sum(size == PIECE for size in sizes.values()) > 40
    assert len((full / "R/main/d/f0").read_bytes()) == PIECE


@pytest.mark.parametrize(
    "free",
    [
        pytest.param(lambda d: os.unlink(d / "f0"), id="unlink"),
        pytest.param(lambda d: os.truncate(d / "f0", 0), id="truncate"),
        pytest.param(lambda d: os.rename(d / "f1", d / "f0"), id="rename"),
    ],
)
def test_what_frees_space_works_at_once(full, free):
    free(full / "R/main/d")
    assert comes_back(full / "R/main/g")


def test_names_can_be_removed_and_moved(full):
    os.rmdir(full / "R/main/d/empty")
    os.rename(full / "R/main/d/f0", full / "R/main/f0")
    os.rename(full / "R/main/d", full / "R/main/e")
    for name in os.listdir(full / "R/main/e"):
        os.unlink(full / "R/main/e" / name)
    os.rmdir(full / "R/main/e")
    assert os.listdir(full / "R/main") == ["f0"]


def test_a_commit_makes_room(full):
    names = sorted(os.listdir(full / "R/main/d"))
    one = commit(full, "one")
    assert sorted(os.listdir(one / "d")) == names
    assert comes_back(full / "R/main/g")
    assert len((one / "d/f0").read_bytes()) == PIECE


def test_an_unlinked_open_file_gives_its_space_back_at_its_last_close(full):
    a = os.open(full / "R/main/d/f0", os.O_RDONLY)
    b = os.dup(a)
    os.unlink(full / "R/main/d/f0")
    fails(errno.ENOSPC, write_piece, full / "R/main/g")
    os.close(a)
    fails(errno.ENOSPC, write_piece, full / "R/main/g")
    assert len(os.pread(b, PIECE, 0)) == PIECE
    os.close(b)
    assert comes_back(full / "R/main/g")


def test_it_is_full_still_after_a_kill(full):
    full.kill()
    full.start()
    fails(errno.ENOSPC, write_piece, full / "R/main/g")
    os.unlink(full / "R/main/d/f0")
    assert comes_back(full / "R/main/g")


def test_df_and_stat_and_findmnt_say_what_it_is(full):
    def said(*words):
        return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()

    total, used, free = map(int, said("df", "--output=size,used,avail", "-B1", full.path)[-3:])
    assert used > 48 << 20 and total >= used + free and free < 2 * PIECE
    assert int(said("df", "--output=iavail", full.path)[-1]) > 1_000_000
    assert said("stat", "-f", "-c", "%s %l", full.path) == ["4096", "255"]
    source, kind, options = said("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", full.path)
    assert source == "file://%s" % full.store
    assert kind == "fuse.pfs"
    assert options.startswith("rw,nosuid,nodev")
