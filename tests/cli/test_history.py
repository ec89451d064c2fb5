# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a path, through merges."""

import os

import pytest


def save(shell, repo, name, text, branch="main"):
    """Commits the file with that text; the commit's id."""
    path = repo.parent / branch / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return shell.ok("commit", repo.parent / branch)


def told(shell, path):
    return [c["id"] for c in shell.json("log", "--json", path)]


@pytest.fixture
def forked(shell, mount, repo):
    """A commit with the file f, and the branch `other` from there."""
    made = save(shell, repo, "f", "one")
    os.mkdir(mount / "R/other")
    return made


def test_log_of_a_path_follows_a_merge_to_the_side_that_changed_it(shell, repo, forked):
    save(shell, repo, "g", "main's")
    changed = save(shell, repo, "f", "two", "other")
    shell.ok("merge", "--into", repo, "other")
    assert told(shell, repo / "f") == [changed, forked]


def test_log_of_a_path_leaves_out_what_a_merge_has_not_taken(shell, repo, forked):
    save(shell, repo, "f", "other's", "other")
    ours = save(shell, repo, "f", "main's")
    save(shell, repo, "f", "other's again", "other")
    shell.ok("merge", "--theirs", "--into", repo, "other")
    assert (repo / "f").read_text() == "main's"
    assert told(shell, repo / "f") == [ours, forked]
    assert len(told(shell, repo)) == 5


def test_log_of_a_path_that_both_sides_changed_has_the_merge_and_both(shell, repo, forked):
    theirs = save(shell, repo, "d/b", "other's", "other")
    ours = save(shell, repo, "d/a", "main's")
    merge = shell.ok("merge", "--into", repo, "other")
    log = told(shell, repo / "d")
    assert log[0] == merge and set(log[1:]) == {theirs, ours}


def test_log_of_a_path_that_is_gone_has_all_that_ever_changed_it(shell, repo, forked):
    made = save(shell, repo, "x", "1", "other")
    os.remove(repo.parent / "other/x")
    removed = shell.ok("commit", repo.parent / "other")
    save(shell, repo, "g", "main's")
    shell.ok("merge", "--into", repo, "other")
    assert told(shell, repo / "x") == [removed, made]


def test_why_names_the_commit_that_a_merge_has_the_file_from(shell, repo, forked):
    save(shell, repo, "f", "other's", "other")
    ours = save(shell, repo, "f", "main's")
    shell.ok("merge", "--theirs", "--into", repo, "other")
    assert shell.json("why", "--json", repo / "f")[0]["commit"]["id"] == ours
