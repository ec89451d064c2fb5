# SPDX-License-Identifier: GPL-3.0-or-later
"""A branch as it was at a time, in commands."""

import subprocess


def save(shell, repo, name, text, branch="main"):
    """Commits the file with that text; the commit's id."""
    path = repo.parent / branch / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return shell.ok("commit", repo.parent / branch)


def told(shell, path):
    return [c["id"] for c in shell.json("log", "--json", path)]


def time_of(shell, repo, commit):
    return shell.json("log", "--json", "-n", "1", repo.parent / commit)[0]["time"]


def test_a_branch_at_a_time_in_a_mount_and_in_commands(shell, mount, repo):
    first = save(shell, repo, "f", "one")
    second = save(shell, repo, "f", "two")
    (repo / "f").write_text("uncommitted")
    then = "main@{%s}" % time_of(shell, repo, first)
    assert told(shell, mount / "R" / then) == [first]
    assert told(shell, mount / "R/commits" / then) == [first]
    assert told(shell, mount / "R/main@{now}") == [second, first]
    assert told(shell, mount / "R/main@{0 seconds ago}") == [second, first]
    assert shell.ok("diff", mount / "R" / then, repo).splitlines() == ["M  f"]
    assert shell.ok("diff", then, "main", cwd=repo).splitlines() == ["M  f"]
    entry = shell.json("show", "--json", mount / "R" / then / "f")
    assert entry["branch"] is None and entry["commit"]["id"] == first
    (repo / "f").unlink()
    shell.ok("restore", mount / "R" / then / "f")
    assert (repo / "f").read_text() == "one"
    shell.ok("branch", "create", mount / "R/old", then)
    assert (mount / "R/old/f").read_text() == "one"


def test_a_branch_at_a_time_of_a_store_that_is_not_mounted(shell, mount, repo):
    first = save(shell, repo, "f", "one")
    then = "R/main@{%s}" % time_of(shell, repo, first)
    save(shell, repo, "f", "two")
    mount.stop()
    where = ("--store", mount.store)
    assert [c["id"] for c in shell.json("log", "--json", *where, then)] == [first]
    shell.ok("export", *where, then, shell.home / "out")
    assert (shell.home / "out/f").read_text() == "one"


def test_what_is_no_time_is_said_with_what_would_be_one(shell, mount, repo):
    save(shell, repo, "f", "one")
    assert "main@{2 days ago}" in shell.fails(1, "log", mount / "R/main@{next week}")
    assert "no commit then" in shell.fails(1, "log", mount / "R/main@{1990-01-01}")
    assert "no such branch" in shell.fails(1, "log", mount / "R/none@{now}")
    assert "a commit" in shell.fails(1, "commit", mount / "R/main@{now}")
    done = subprocess.run(["ls", str(mount / "R/main@{next week}")], stderr=subprocess.PIPE,
                          check=False)
    assert done.returncode and "R/main@{next week}: that is no time" in mount.log()
