# SPDX-License-Identifier: GPL-3.0-or-later
"""R/main@{TIME} is the branch as it was: a commit like any other, found anew each time."""

import datetime
import errno
import os
import time

import pytest
from conftest import commit, commit_id
from runs import Run

PATIENCE_SECONDS = 60


def now():
    """This instant, which no commit made before or after it has: the clock's steps are finer."""
    ns = time.time_ns()
    at = datetime.datetime.fromtimestamp(ns // 10**9, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + ".%09dZ" % (ns % 10**9)


@pytest.fixture
def times(mount, repo):
    """Instants before, between and after the commits One and Two."""
    found = [now()]
    for name in "One", "Two":
        (repo / "f").write_text(name)
        commit(mount, name)
        found.append(now())
    return found


def at(mount, when, below=""):
    return mount / "R" / below / ("main@{%s}" % when)


@pytest.mark.parametrize("below", ["", "commits"])
def test_a_branch_at_a_time_is_the_commit_that_it_was_at(mount, times, below):
    for when, name in zip(times[1:], ("One", "Two")):
        path = at(mount, when, below)
        assert (path / "f").read_text() == name
        assert commit_id(path) == commit_id(mount / "R" / name)
        with pytest.raises(OSError) as failed:
            (path / "f").write_text("changed")
        assert failed.value.errno == errno.EROFS


def test_before_its_first_commit_a_branch_was_nothing(mount, times):
    assert not at(mount, times[0]).exists()
    assert not at(mount, "1970-01-01", "commits").exists()


def test_what_is_no_time_is_not_there_and_the_log_says_why(mount, times):
    for text in "soon", "", "2026-02-30", "1" * 200:
        assert not at(mount, text).exists()
        assert "R/main@{%s}: that is no time" % text in mount.log()
    assert not (mount / "R/main@{1h").exists()
    assert not (mount / "R/@{now}").exists()


def test_no_time_is_listed_nor_made_nor_removed_nor_renamed(mount, times):
    path = at(mount, "now")
    assert path.is_dir()
    assert sorted(os.listdir(mount / "R")) == ["One", "Two", "commits", "main"]
    assert sorted(os.listdir(mount / "R/commits")) == ["One", "Two"]
    for change in (
        lambda: os.rmdir(path),
        lambda: os.rename(path, mount / "R/other"),
        lambda: os.rename(mount / "R/main", at(mount, "1h")),
        lambda: os.mkdir(at(mount, times[0])),
        lambda: os.mkdir(at(mount, times[0], "commits")),
    ):
        with pytest.raises(OSError):
            change()
    assert commit_id(path) == commit_id(mount / "R/Two")


def test_a_time_that_goes_on_leads_to_what_the_branch_has_become(mount, repo, times):
    path = at(mount, "0s")
    assert (path / "f").read_text() == "Two"
    held = os.open(path, os.O_RDONLY)
    (repo / "f").write_text("Three")
    commit(mount, "Three")
    until = time.monotonic() + PATIENCE_SECONDS
    while (path / "f").read_text() != "Three":
        assert time.monotonic() < until
        time.sleep(0.05)
    # Whoever has the directory keeps it.
    with open(os.open("f", os.O_RDONLY, dir_fd=held)) as f:
        assert f.read() == "Two"
    os.close(held)


def test_it_survives_the_daemon(mount, times):
    mount.restart()
    assert (at(mount, times[1]) / "f").read_text() == "One"


def test_in_a_run_there_is_no_other_time(mount, times):
    run = Run(mount)
    assert not (run.view / "R" / ("main@{%s}" % times[1])).exists()
    assert (run.view / "R/One/f").read_text() == "One"
    assert "a run cannot look at a time" in mount.log()
    run.end()
