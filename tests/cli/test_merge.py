# SPDX-License-Identifier: GPL-3.0-or-later
"""Two machines on one branch: what one commits meets what the other has committed."""

import os
import time

import pytest

from conftest import Mount, can_mount, mounted

pytestmark = can_mount


class Machine(Mount):
    """One more mount of a store, with a state of its own."""

    def __init__(self, shell, base, store, name):
        self.shell = shell
        self.store = store
        self.path = base / name
        self.state = base / f"{name}-state"
        self.path.mkdir()
        self.start()

    @property
    def head(self):
        return self.path / "R/main"

    def commit(self, *words, **more):
        return self.shell.ok("commit", *words, self.head, **more)

    def sync(self):
        self.shell.ok("sync", self.head)


@pytest.fixture
def two(shell, tmp_path):
    store = tmp_path / "the-store"
    shell.ok("init", store)
    machines = [Machine(shell, tmp_path, store, name) for name in ("a", "b")]
    os.mkdir(machines[0] / "R")
    yield machines
    for m in machines:
        if mounted(m.path):
            shell.ok("umount", m.path, cwd="/")


def parents(shell, path):
    return shell.json("log", "--json", path)[0]["parents"]


def test_different_files_of_two_machines_are_merged(shell, two):
    a, b = two
    (a.head / "base").write_text("base")
    a.commit()
    b.sync()
    (a.head / "from-a").write_text("a")
    (b.head / "from-b").write_text("b")
    first = a.commit()
    made = shell.json("commit", "--json", "-n", "mine", b.head)
    assert made["standing"] == "on-branch" and made["tip"] != made["id"]
    # A snapshot is what its maker saw.
    assert sorted(os.listdir(b / "R/mine")) == ["base", "from-b"]
    assert sorted(os.listdir(b.head)) == ["base", "from-a", "from-b"]
    assert parents(shell, b.head) == [first, made["id"]]
    a.sync()
    assert sorted(os.listdir(a.head)) == ["base", "from-a", "from-b"]
    assert os.getxattr(a.head, "user.pfs.commit").decode() == made["tip"]


def test_a_clean_head_follows_by_itself(two):
    a, b = two
    (a.head / "f").write_text("1")
    a.commit()
    until = time.monotonic() + 60
    while not (b.head / "f").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (b.head / "f").read_text() == "1"


def diverge(two):
    a, b = two
    (a.head / "f").write_text("base")
    (a.head / "other").write_text("base")
    a.commit()
    b.sync()
    (a.head / "f").write_text("a's")
    (b.head / "f").write_text("b's")
    (b.head / "new").write_text("b's")
    a.commit()
    return a, b


def test_the_same_file_changed_on_both_sides_diverges_and_loses_nothing(shell, two):
    a, b = diverge(two)
    made = shell.run("commit", "--json", "-n", "mine", b.head)
    assert made.code == 3
    assert made.json()["standing"] == "diverged" and made.json()["conflicts"] == 1
    assert (b / "R/mine/f").read_text() == "b's" and (b.head / "f").read_text() == "b's"
    status = shell.json("status", "--json", b.head)
    assert status["standing"] == "diverged"
    assert status["conflicts"] == [{"conflict": "both-changed", "path": "f"}]
    assert "both-changed      f" in shell.ok("status", b.head)
    # It does not follow, nor does the branch move; mkdir is a snapshot all the same.
    a.sync()
    assert (a.head / "f").read_text() == "a's" and not (a.head / "new").exists()
    (b.head / "more").write_text("b's")
    os.mkdir(b / "R/commits/again")
    assert (b / "R/again/more").read_text() == "b's"
    b.stop()
    b.start()
    assert shell.json("status", "--json", b.head)["standing"] in ("pending", "diverged")
    assert (b.head / "f").read_text() == "b's"


@pytest.mark.parametrize("side, text", [("--ours", "b's"), ("--theirs", "a's")])
def test_a_conflict_is_settled_by_taking_a_side(shell, two, side, text):
    a, b = diverge(two)
    assert shell.run("commit", b.head).code == 3
    said = shell.run("merge", cwd=b.head)
    assert said.code == 3 and "both-changed      f" in said.out
    tip = shell.ok("merge", side, cwd=b.head)
    for machine in (b, a):
        machine.sync()
        assert (machine.head / "f").read_text() == text
        assert (machine.head / "new").read_text() == "b's"
        assert os.getxattr(machine.head, "user.pfs.commit").decode() == tip
    assert shell.json("status", "--json", b.head)["standing"] == "on-branch"


def test_a_conflict_is_settled_by_making_both_sides_the_same(shell, two):
    a, b = diverge(two)
    assert shell.run("commit", b.head).code == 3
    (b.head / "f").write_text("a's")
    assert shell.run("commit", b.head).code == 0
    a.sync()
    assert (a.head / "f").read_text() == "a's" and (a.head / "new").read_text() == "b's"


def test_a_diverged_head_goes_on_when_the_other_side_gives_way(shell, two):
    a, b = diverge(two)
    assert shell.run("commit", b.head).code == 3
    (a.head / "f").write_text("base")
    a.commit()
    b.sync()
    assert (b.head / "f").read_text() == "b's"
    assert shell.json("status", "--json", b.head)["standing"] == "on-branch"


def test_uncommitted_changes_stay_over_others_commits(shell, two):
    a, b = two
    (a.head / "f").write_text("1")
    a.commit()
    b.sync()
    (b.head / "mine").write_text("uncommitted")
    (a.head / "f").write_text("2")
    a.commit()
    b.sync()
    assert (b.head / "f").read_text() == "1" and (b.head / "mine").read_text() == "uncommitted"
    assert "A  mine" in shell.ok("status", b.head)
    b.commit()
    assert (b.head / "f").read_text() == "2"


def test_two_first_commits_meet(shell, two):
    a, b = two
    (a.head / "x").write_text("a")
    (b.head / "y").write_text("b")
    a.commit()
    b.commit()
    a.sync()
    assert sorted(os.listdir(a.head)) == sorted(os.listdir(b.head)) == ["x", "y"]


def test_another_branch_is_merged(shell, two):
    a, _ = two
    (a.head / "f").write_text("1")
    a.commit()
    os.mkdir(a / "R/try")
    (a / "R/try/g").write_text("tried")
    tried = shell.ok("commit", a / "R/try")
    (a.head / "h").write_text("meanwhile")
    main = a.commit()
    tip = shell.ok("merge", "try", "--into", a.head)
    assert sorted(os.listdir(a.head)) == ["f", "g", "h"]
    assert parents(shell, a.head) == [main, tried]
    assert shell.json("log", "--json", a.head)[0]["message"] == "merge of try into main"
    # Again there is nothing to do; and the other branch can be moved up without a merge.
    assert shell.ok("merge", "try", "--into", a.head) == tip
    assert shell.ok("merge", "main", "--into", a / "R/try") == tip
    assert sorted(os.listdir(a / "R/try")) == ["f", "g", "h"]


def test_a_merge_of_branches_that_conflict_changes_nothing(shell, two):
    a, _ = two
    (a.head / "f").write_text("1")
    a.commit()
    os.mkdir(a / "R/try")
    (a / "R/try/f").write_text("tried")
    shell.ok("commit", a / "R/try")
    (a.head / "f").write_text("meanwhile")
    main = a.commit()
    said = shell.run("merge", "--json", "try", "--into", a.head)
    assert said.code == 3 and said.json()["names"] == [{"conflict": "both-changed", "path": "f"}]
    assert os.getxattr(a.head, "user.pfs.commit").decode() == main
    shell.ok("merge", "--ours", "try", "--into", a.head)
    assert (a.head / "f").read_text() == "tried"


def test_history_may_criss_cross(shell, two):
    a, _ = two
    side = a / "R/side"
    (a.head / "f").write_text("0\n")
    a.commit()
    os.mkdir(side)
    for n in range(4):
        (a.head / f"m{n}").write_text("m")
        (side / f"s{n}").write_text("s")
        m, s = a.commit(), shell.ok("commit", side)
        shell.ok("merge", s, "--into", a.head)
        shell.ok("merge", m, "--into", side)
    # Two lowest common ancestors, m and s, of the last pair; both say the same of every name.
    (a.head / "s0").unlink()
    (side / "m0").write_text("changed")
    a.commit()
    shell.ok("commit", side)
    shell.ok("merge", "side", "--into", a.head)
    assert not (a.head / "s0").exists() and (a.head / "m0").read_text() == "changed"
    assert len(os.listdir(a.head)) == 8


def test_a_name_taken_by_another_machine_is_refused_and_nothing_is_lost(shell, two):
    a, b = two
    (a.head / "f").write_text("a")
    (b.head / "g").write_text("b")
    os.mkdir(a / "R/commits/N")
    with pytest.raises(FileExistsError):
        os.mkdir(b / "R/commits/N")
    assert (b.head / "g").read_text() == "b"
    os.mkdir(b / "R/commits/M")
    assert sorted(os.listdir(b.head)) == ["f", "g"]
    assert len(shell.json("log", "--json", b.head)) == 3


def test_sync_says_where_every_head_is(shell, two):
    a, b = two
    (a.head / "f").write_text("1")
    a.commit()
    os.listdir(b.head)
    (line,) = shell.json("sync", "--json", b.path)
    assert line["repo"] == "R" and line["standing"] == "on-branch" and not line["is_dirty"]
    assert line["base"] == os.getxattr(a.head, "user.pfs.commit").decode()


def test_a_diverged_head_joins_by_itself_when_the_other_side_gives_way(shell, two):
    a, b = diverge(two)
    assert shell.run("commit", b.head).code == 3
    (a.head / "f").write_text("base")
    a.commit()
    until = time.monotonic() + 60
    while (a.head / "f").read_text() != "b's":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert shell.json("status", "--json", b.head)["standing"] == "on-branch"


def test_a_branch_made_anew_under_an_old_name_gets_nothing_of_the_old_one(shell, two):
    a, b = two
    (a.head / "f").write_text("base")
    a.commit()
    os.mkdir(a / "R/side")
    b.sync()
    (a / "R/side/f").write_text("a's")
    (b / "R/side/f").write_text("b's")
    (b / "R/side/g").write_text("b's")
    shell.ok("commit", a / "R/side")
    assert shell.run("commit", "-n", "kept", b / "R/side").code == 3
    os.rmdir(a / "R/side")
    os.mkdir(a / "R/side")
    shell.run("merge", "--ours", "--into", b / "R/side")
    time.sleep(2)
    assert sorted(os.listdir(a / "R/side")) == ["f"] and (a / "R/side/f").read_text() == "base"
    assert (b / "R/kept/g").read_text() == "b's"


def conflicts(shell, branch, into):
    """What a merge that needs to be told whose side to take says, in the path's order."""
    said = shell.run("merge", "--json", branch, "--into", into)
    assert said.code == 3
    return [(name["conflict"], name["path"]) for name in said.json()["names"]]


def parted(shell, machine, files):
    """The repo's branches main and side, parted at a commit of these files."""
    for name, text in files.items():
        (machine.head / name).write_text(text)
    machine.commit()
    os.mkdir(machine / "R/side")
    return machine.head, machine / "R/side"


def test_two_files_changed_here_and_made_one_there_conflict(shell, two):
    main, side = parted(shell, two[0], {"f": "same", "g": "same"})
    os.unlink(main / "g")
    os.link(main / "f", main / "g")
    (side / "f").write_text("f's")
    (side / "g").write_text("g's")
    shell.ok("commit", main)
    shell.ok("commit", side)
    assert conflicts(shell, "side", main) == [("both-changed", "g")]
    shell.ok("merge", "--ours", "side", "--into", main)
    assert (main / "f").read_text() == "f's" and (main / "g").read_text() == "g's"
    assert os.stat(main / "f").st_nlink == os.stat(main / "g").st_nlink == 1


def test_a_file_changed_here_and_replaced_by_a_link_there_changes_nothing_else(shell, two):
    main, side = parted(shell, two[0], {"f": "same", "p": "same"})
    os.link(main / "p", main / "q")
    shell.ok("commit", main)
    shell.ok("merge", "main", "--into", side)
    os.unlink(main / "f")
    os.link(main / "p", main / "f")
    (side / "f").write_text("f's")
    (side / "p").write_text("p's")
    shell.ok("commit", main)
    shell.ok("commit", side)
    assert conflicts(shell, "side", main) == [("both-changed", "f")]
    shell.ok("merge", "--ours", "side", "--into", main)
    assert [(main / n).read_text() for n in "fpq"] == ["f's", "p's", "p's"]


def test_a_linked_file_removed_here_conflicts_if_bases_do_not_agree_on_what_it_was(shell, two):
    main, side = parted(shell, two[0], {"p": "0"})
    os.link(main / "p", main / "q")
    shell.ok("commit", main)
    shell.ok("merge", "main", "--into", side)
    (main / "p").write_text("1")
    (side / "p").write_text("2")
    m, s = shell.ok("commit", main), shell.ok("commit", side)
    shell.ok("merge", "--ours", s, "--into", main)
    shell.ok("merge", "--theirs", m, "--into", side)
    assert (main / "p").read_text() == (side / "p").read_text() == "2"
    os.unlink(side / "p")
    os.unlink(side / "q")
    (main / "x").write_text("x")
    shell.ok("commit", main)
    shell.ok("commit", side)
    assert conflicts(shell, "side", main) == [("we-deleted", n) for n in "pq"]


def test_sync_goes_on_where_another_machine_has_removed_a_branch(shell, two):
    a, b = two
    (a.head / "f").write_text("1")
    a.commit()
    os.mkdir(a / "R/try")
    os.listdir(b / "R/try")
    os.listdir(b.head)
    os.rmdir(a / "R/try")
    (a.head / "f").write_text("2")
    tip = a.commit()
    lines = shell.json("sync", "--json", b.path)
    assert [(x["branch"], x["base"]) for x in lines] == [("main", tip)]


def test_sync_finds_a_branch_that_another_machine_has_renamed(shell, two):
    a, b = two
    (a.head / "f").write_text("1")
    a.commit()
    os.mkdir(a / "R/try")
    (b / "R/try/g").write_text("b's")
    os.rename(a / "R/try", a / "R/tried")
    lines = shell.json("sync", "--json", b.path)
    assert "tried" in [x["branch"] for x in lines]
    assert (b / "R/tried/g").read_text() == "b's"
