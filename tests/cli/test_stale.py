# SPDX-License-Identifier: GPL-3.0-or-later
"""`pfs uses --stale` of what real runs have read: what counts as another version."""

import os
import pathlib

import pytest

from conftest import can_mount

pytestmark = can_mount


@pytest.fixture
def made(shell, repo):
    """A run has made `out` of `in`, which is committed, and of `script`, which is not."""
    (repo / "in").write_text("1")
    shell.ok("commit", repo)
    (repo / "script").write_text("cat in > out")
    shell.ok("run", "sh", "script", cwd=repo)
    return repo


def stale(shell, path):
    """The paths that are said to be others than they were, of each run that is told."""
    _, *lines = shell.json("uses", "--json", "--stale", path)
    return [[reason["path"] for reason in line["stale"]] for line in lines]


def test_what_was_not_committed_then_is_not_stale_for_that(shell, made):
    assert stale(shell, made / "in") == []
    _, *lines = shell.json("uses", "--json", made / "in")
    assert len(lines) == 1


def test_what_a_run_made_and_is_another_now_is_said_so(shell, made):
    assert "made R/main/out\n" in shell.ok("uses", made / "in") + "\n"
    (made / "out").write_text("by hand")
    shell.ok("commit", made)
    assert "made R/main/out  (is another now, or gone)" in shell.ok("uses", made / "in")


def test_what_a_run_copied_is_no_copy_of_what_it_made(shell, made):
    shell.ok("run", "cp", "in", "same", cwd=made)
    assert shell.json("why", "--json", made / "in")[0]["how"] == "none"
    assert shell.json("why", "--json", made / "same")[0]["how"] == "place"
    (made / "other").write_text((made / "in").read_text())
    shell.ok("commit", made)
    assert shell.json("why", "--json", made / "other")[0]["how"] == "content"
    # Nor is it less of a copy when that was made again after somebody has read it.
    shell.ok("run", "cat", "other", cwd=made)
    shell.ok("run", "cp", "in", "same", cwd=made)
    assert shell.json("why", "--json", made / "other")[0]["how"] == "content"


def test_what_it_read_is_stale_once_another_version_is_committed(shell, made):
    (made / "in").write_text("2")
    shell.ok("commit", made)
    # The script was committed with it, as the run had read it.
    assert stale(shell, made / "in") == [["R/main/in"]]


def test_an_uncommitted_script_that_was_committed_otherwise_is(shell, made):
    (made / "script").write_text("cat in in > out")
    shell.ok("commit", made)
    assert stale(shell, made / "in") == [["R/main/script"]]
    os.unlink(made / "script")
    shell.ok("commit", made)
    assert stale(shell, made / "in") == []


def test_a_change_that_is_not_committed_counts(shell, made):
    (made / "in").write_text("2")
    assert stale(shell, made / "in") == [["R/main/in"]]
    done = shell.run("uses", "--stale", made / "in")
    assert "has changed since" in done.out and done.err == ""


def test_what_a_run_itself_wrote_over_is_not_stale_for_that(shell, made):
    (made / "numbers").write_text("2\n1\n")
    shell.ok("run", "sort", "-o", "numbers", "numbers", cwd=made)
    assert stale(shell, made / "numbers") == []


def test_a_new_name_in_a_directory_that_was_listed_counts(shell, made):
    os.mkdir(made / "texts")
    (made / "texts/a").write_text("a")
    shell.ok("run", "sh", "-c", "cat texts/* > all", cwd=made)
    (made / "texts/b").write_text("b")
    assert stale(shell, made / "texts/a") == [["R/main/texts/b"]]
    assert "R/main/texts/b is new" in shell.ok("uses", "--stale", made / "texts/a")


def test_a_run_whose_record_is_gone_keeps_no_other_from_being_told(shell, mount, made):
    shell.ok("run", "sh", "-c", "cat in > second", cwd=made)
    (made / "in").write_text("2")
    assert stale(shell, made / "in") == [["R/main/in"], ["R/main/in"]]
    first = min(pathlib.Path(mount.store).glob("runs/*/*.start"), key=lambda p: p.name)
    first.unlink()
    assert ["R/main/in"] in stale(shell, made / "in")


def test_of_equal_files_each_is_stale_by_who_made_that(shell, made):
    (made / "other").write_text("x")
    shell.ok("run", "sh", "-c", "printf 1 > same; grep -c . other > count", cwd=made)
    for name in ("same", "out"):
        shell.ok("run", "sh", "-c", f"grep -c . {name} > of-{name}", cwd=made)
    (made / "in").write_text("2")
    assert stale(shell, made / "in") == [["R/main/in"], ["R/main/out"]]
    # Both of them now, each by its own.
    (made / "other").write_text("2")
    assert sorted(stale(shell, made / "other")) == [
        ["R/main/in"], ["R/main/other"], ["R/main/out"], ["R/main/same"]]


def runs(shell, path):
    """What is stale of what was made from it: each run's command, and the reasons' paths."""
    _, *lines = shell.json("uses", "--json", "--stale", path)
    return [(line["run"]["command"], [reason["path"] for reason in line["stale"]])
            for line in lines]


def test_what_was_added_to_is_stale_for_what_was_there_before(shell, repo):
    for n in "12":
        (repo / f"raw{n}").write_text(n)
    shell.ok("commit", repo)
    for n in "12":
        shell.ok("run", "--", "sh", "-c", f"cat raw{n} >> table", cwd=repo)
    assert runs(shell, repo / "raw1") == []
    (repo / "raw1").write_text("one")
    assert runs(shell, repo / "raw1") == [("sh -c 'cat raw2 >> table'", ["R/main/table"])]
    shell.ok("run", "--", "sh", "-c", "echo anew > table", cwd=repo)
    assert runs(shell, repo / "raw1") == []


def test_what_was_changed_in_place_is_stale_for_what_it_was_before(shell, repo):
    (repo / "raw").write_text("1")
    shell.ok("commit", repo)
    shell.ok("run", "--", "cp", "raw", "f", cwd=repo)
    shell.ok("run", "--", "sed", "-i", "s/^/x/", "f", cwd=repo)
    shell.ok("run", "--", "cp", "f", "out", cwd=repo)
    (repo / "raw").write_text("2")
    assert runs(shell, repo / "raw") == [("sed -i s/^/x/ f", ["R/main/f"]),
                                         ("cp f out", ["R/main/f"])]
