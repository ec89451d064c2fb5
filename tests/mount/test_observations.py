# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted of a run: each look at a pinned commit, and nothing else."""

import mmap
import os
import subprocess

import pytest
from conftest import RENAME_EXCHANGE, commit, commit_id
from runs import Run, below, needs_namespaces

pytestmark = pytest.mark.skipif(needs_namespaces(), reason="needs root and unshare")


@pytest.fixture
def files(mount, repo):
    (repo / "d/e").mkdir(parents=True)
    for name in ("a", "b", "d/c", "d/e/f"):
        (repo / name).write_text("bytes of " + name)
    (repo / "empty").touch()
    os.symlink("d/c", repo / "link")
    return repo


def noted(mount, do):
    """What @do, called with the branch in a view, leaves noted below the branch."""
    with Run(mount) as run:
        do(run.view / "R/main")
        seen = run.seen()
        run.end()
    return below(seen, "R/main")


def test_a_look_notes_each_name_on_the_way(mount, files):
    assert noted(mount, lambda top: os.stat(top / "d/e/f")) == {
        "d": {"present"}, "d/e": {"present"}, "d/e/f": {"present"}}


def test_a_look_for_what_is_not_there_is_noted_once_and_as_that(mount, files):
    def look(top):
        for _ in range(3):
            assert not os.path.exists(top / "d/none/below")
    assert noted(mount, look) == {"d": {"present"}, "d/none": {"absent"}}


def test_reading_is_noted_and_opening_alone_is_not(mount, files):
    def read(top):
        assert (top / "a").read_text() == "bytes of a"
        os.close(os.open(top / "b", os.O_RDONLY))
    assert noted(mount, read) == {"a": {"present", "read"}, "b": {"present"}}


def test_an_empty_file_is_read_by_opening_it(mount, files):
    def read(top):
        os.close(os.open(top / "empty", os.O_RDONLY))
    assert noted(mount, read) == {"empty": {"present", "read"}}


def test_an_empty_file_that_is_only_written_is_not_read(mount, files):
    def write(top):
        with open(top / "empty", "a") as f:
            f.write("x")
    assert noted(mount, write) == {"empty": {"present"}}


def test_a_mapping_is_read_when_it_is_touched(mount, files):
    def touch(top):
        for name in ("a", "b"):
            fd = os.open(top / name, os.O_RDONLY)
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
                if name == "a":
                    assert m[0:5] == b"bytes"
            os.close(fd)
    assert noted(mount, touch) == {"a": {"present", "read"}, "b": {"present"}}


def test_a_program_is_read_by_running_it(mount, files):
    (files / "program").write_text("#!/bin/sh\nexit 0\n")
    (files / "program").chmod(0o755)
    assert noted(mount, lambda top: subprocess.run([top / "program"], check=True)) == {
        "program": {"present", "read"}}


def test_a_listing_notes_the_directory_and_no_name_in_it(mount, files):
    assert noted(mount, lambda top: os.listdir(top / "d")) == {"d": {"present", "listed"}}


def test_a_listing_with_attributes_notes_the_names_that_are_asked_for(mount, files):
    def look(top):
        with os.scandir(top / "d") as found:
            for x in found:
                if x.name == "c":
                    x.stat()
    assert noted(mount, look) == {"d": {"present", "listed"}, "d/c": {"present"}}


def test_ls_and_find_note_what_they_look_at(mount, files):
    def look(top):
        subprocess.run(["ls", "-l", top / "d"], check=True, stdout=subprocess.DEVNULL)
    assert noted(mount, look) == {
        "d": {"present", "listed"}, "d/c": {"present"}, "d/e": {"present"}}


def test_a_links_target_is_read_and_what_it_leads_to_looked_up(mount, files):
    def read(top):
        assert (top / "link").read_text() == "bytes of d/c"
    assert noted(mount, read) == {
        "link": {"present", "read"}, "d": {"present"}, "d/c": {"present", "read"}}
    assert noted(mount, lambda top: os.lstat(top / "link")) == {"link": {"present"}}


def test_a_hard_link_is_read_under_the_name_it_was_found_by_first(mount, files):
    os.link(files / "a", files / "z")

    def read(top):
        os.stat(top / "z")
        assert (top / "a").read_text() == "bytes of a"
    assert noted(mount, read) == {"z": {"present", "read"}, "a": {"present"}}


def test_what_a_run_has_written_itself_is_not_read(mount, files):
    def write(top):
        (top / "new").write_text("mine")
        (top / "new").read_text()
        (top / "a").write_text("mine")
        (top / "a").read_text()
    assert noted(mount, write) == {"new": {"absent"}, "a": {"present"}}


def test_a_file_that_is_changed_in_part_is_read_where_the_rest_shows(mount, files):
    def write(top):
        with open(top / "a", "r+b") as f:
            f.write(b"B")
            f.seek(0)
            assert f.read() == b"Bytes of a"
    assert noted(mount, write) == {"a": {"present", "read"}}


def test_what_is_in_a_directory_of_the_runs_own_is_not_noted(mount, files):
    def make(top):
        (top / "own/deep").mkdir(parents=True)
        (top / "own/deep/x").write_text("x")
        os.listdir(top / "own")
        assert not os.path.exists(top / "own/none")
    assert noted(mount, make) == {"own": {"absent"}}


def test_a_directory_that_is_moved_counts_as_seen_whole(mount, files):
    def move(top):
        os.rename(top / "d", top / "moved")
        assert (top / "moved/e/f").read_text() == "bytes of d/e/f"
    assert noted(mount, move) == {
        "d": {"present", "tree"}, "moved": {"absent"}, "d/e": {"present"},
        "d/e/f": {"present", "read"}}


def test_a_file_that_is_moved_is_read_as_what_it_was(mount, files):
    def move(top):
        os.rename(top / "a", top / "moved")
        assert (top / "moved").read_text() == "bytes of a"
    assert noted(mount, move) == {"a": {"present", "read"}, "moved": {"absent"}}


def test_directories_that_are_exchanged_both_count(mount, files):
    from conftest import renameat2

    def move(top):
        renameat2(top / "d", top / "d2", RENAME_EXCHANGE)
    (files / "d2").mkdir()
    assert noted(mount, move) == {"d": {"present", "tree"}, "d2": {"present", "tree"}}


def test_whether_a_directory_can_be_removed_says_what_is_in_it(mount, files):
    def remove(top):
        with pytest.raises(OSError):
            os.rmdir(top / "d")
    assert noted(mount, remove) == {"d": {"present", "listed"}}


def test_whether_a_directory_can_be_replaced_says_what_is_in_it(mount, files):
    def replace(top):
        os.mkdir(top / "own")
        with pytest.raises(OSError):
            os.rename(top / "own", top / "d")
    assert noted(mount, replace) == {"own": {"absent"}, "d": {"present", "listed"}}


def test_what_is_copied_in_the_kernel_is_read(mount, files):
    def copy(top):
        a = os.open(top / "a", os.O_RDONLY)
        new = os.open(top / "new", os.O_WRONLY | os.O_CREAT)
        assert os.copy_file_range(a, new, 100) == len("bytes of a")
        os.close(a)
        os.close(new)
    assert noted(mount, copy) == {"a": {"present", "read"}, "new": {"absent"}}


def test_above_the_branches_listings_and_names_are_noted(mount, files):
    commit(mount, "N")
    with Run(mount) as run:
        os.listdir(run.view)
        os.listdir(run.view / "R")
        assert not (run.view / "none").exists()
        assert not (run.view / "R/none").exists()
        (run.view / "R/N/a").read_text()
        of = commit_id(mount / "R/N")
        seen = run.seen()
        run.end()
    assert seen == {
        "": {"listed"}, "R": {"present", "listed"}, "none": {"absent"}, "R/none": {"absent"},
        "R/N": {"present"}, "R/N/%s" % of: {"present"}, "R/%s/a" % of: {"present", "read"}}


def test_every_path_to_a_commit_is_noted_as_that_commit(mount, files):
    of = commit_id(commit(mount, "N"))
    with Run(mount) as run:
        for path in ("R/commits/N/a", "R/%s/b" % of, "R/%s/link" % of[:12]):
            os.lstat(run.view / path)
        seen = run.seen()
        run.end()
    assert below(seen, "R/" + of) == {
        "a": {"present"}, "b": {"present"}, "link": {"present"}}


def test_nothing_is_noted_outside_of_the_view_or_of_another_run(mount, files):
    with Run(mount) as run, Run(mount) as other:
        (files / "a").read_text()
        (other.view / "R/main/b").read_text()
        assert run.seen() == {}
        assert below(other.seen(), "R/main") == {"b": {"present", "read"}}
        run.end()
        other.end()


def test_what_many_processes_do_in_the_namespace_is_noted(mount, files):
    with Run(mount) as run:
        run.shell("cat R/main/a & cat R/main/b & (cd R/main/d; setsid cat c) & wait")
        assert {k for k, v in below(run.seen(), "R/main").items() if "read" in v} == {
            "a", "b", "d/c"}
        run.end()


def test_nothing_is_noted_after_the_command_has_ended(mount, files):
    with Run(mount) as run:
        (run.view / "R/main/a").read_text()
        before = run.seen()
        (run.view / "R/main/b").read_text()
        assert run.seen() == before
        run.end()


def test_files_that_may_hold_parameters_are_told_where_they_were_read(mount, files):
    for name in ("x.json", "d/y.yaml", "d/z.toml", "not-read.ini", "other.txt"):
        (files / name).write_text("{}")
    with Run(mount) as run:
        for name in ("x.json", "d/y.yaml", "other.txt"):
            (run.view / "R/main" / name).read_text()
        os.stat(run.view / "R/main/d/z.toml")
        (run.view / "R/main/own.json").write_text("{}")
        (run.view / "R/main/own.json").read_text()
        assert run.configs() == ["R/main/d/y.yaml", "R/main/x.json"]
        run.end()


def test_memory_does_not_grow_with_the_names_that_are_looked_for(mount, files):
    count = 100000
    with Run(mount) as run:
        for i in range(1000):
            os.path.exists(run.view / ("R/main/warm%d" % i))
        before = mount.stats()["pfs_resident_bytes"]
        top = str(run.view / "R/main/none")
        for i in range(count):
            os.path.exists(top + str(i))
        assert mount.stats()["pfs_resident_bytes"] - before < 24 << 20
        absent = [v for v in below(run.seen(), "R/main").values() if v == {"absent"}]
        assert len(absent) == count + 1000
        run.end()
        run.wait_until_gone()
