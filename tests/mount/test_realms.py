# SPDX-License-Identifier: GPL-3.0-or-later
"""Realms: the mount as each run has it, how long it has it, and who may look."""

import errno
import json
import os
import stat
import subprocess
import threading
import time

import pytest
from conftest import as_user, commit
from runs import Refused, Run, needs_namespaces, tree_of
from test_namespace import fails

pytestmark = pytest.mark.skipif(needs_namespaces(), reason="needs root and unshare")


@pytest.fixture
def files(mount, repo):
    """A branch with a commit in it, and changes since."""
    (repo / "d/e").mkdir(parents=True)
    (repo / "d/e/f").write_text("one")
    (repo / "d/g").write_text("committed")
    os.symlink("d/g", repo / "link")
    commit(mount, "N")
    (repo / "d/e/f").write_text("two")
    (repo / "new").write_text("not committed")
    return repo


def test_a_view_looks_as_the_mount_does_with_the_same_numbers(mount, files):
    with Run(mount) as run:
        assert os.listdir(run.view) == os.listdir(mount.path)
        assert sorted(os.listdir(run.view / "R")) == sorted(os.listdir(mount / "R"))
        for path in ("", "R", "R/commits", "R/main", "R/N", "R/commits/N", ".pfs", ".pfs/stats"):
            inside, outside = os.stat(run.view / path), os.stat(mount / path)
            assert (inside.st_ino, inside.st_mode, inside.st_uid) == (
                outside.st_ino, outside.st_mode, outside.st_uid), path
        assert tree_of(run.view / "R/main") == tree_of(files)
        assert tree_of(run.view / "R/N") == tree_of(mount / "R/N")
        run.end()


def test_every_path_is_what_it_was_in_a_namespace_with_the_view(mount, files):
    with Run(mount) as run:
        code = "cd R/main/d && pwd -P && cat ../new e/f && cat %s/R/main/d/g" % mount.path
        assert run.shell(code) == "%s/R/main/d\nnot committedtwocommitted" % mount.path
        run.end()


def test_a_run_sees_the_state_of_its_start_whatever_others_do(mount, files):
    with Run(mount) as run:
        (files / "d/e/f").write_text("three")
        (files / "late").write_text("x")
        os.remove(files / "d/g")
        commit(mount, "M")
        assert (run.view / "R/main/d/e/f").read_text() == "two"
        assert (run.view / "R/main/d/g").read_text() == "committed"
        assert not (run.view / "R/main/late").exists()
        run.end()


def test_what_a_run_writes_is_its_own_until_it_has_ended(mount, files):
    with Run(mount) as run:
        run.shell("echo result > R/main/out; echo more >> R/main/d/g; rm R/main/new")
        assert not (files / "out").exists() and (files / "new").exists()
        assert (files / "d/g").read_text() == "committed"
        assert (run.view / "R/main/out").read_text() == "result\n"
        [out] = run.end()["outputs"]
    assert out["published"] and not out.get("kept")
    assert (files / "out").read_text() == "result\n"
    assert (files / "d/g").read_text() == "committedmore\n"
    assert (files / "d/e/f").read_text() == "two"


def test_two_runs_at_once_have_each_its_own(mount, files):
    with Run(mount) as a, Run(mount) as b:
        assert a.id != b.id
        (a.view / "R/main/a").write_text("of a")
        (b.view / "R/main/b").write_text("of b")
        assert not (b.view / "R/main/a").exists()
        assert not (a.view / "R/main/b").exists()
        assert os.listdir(mount / ".pfs/run") == sorted([a.id, b.id])
        a.end()
        b.end()
    assert (files / "a").read_text() == "of a" and (files / "b").read_text() == "of b"


def test_of_runs_that_end_at_once_none_is_merged_twice(mount, repo):
    runs = [Run(mount) for _ in range(24)]
    for i, run in enumerate(runs):
        (run.view / f"R/main/{i}").write_text("made")
    ends = [threading.Thread(target=run.end) for run in runs]
    for end in ends:
        end.start()
    for end in ends:
        end.join()
    assert len(os.listdir(repo)) == len(runs)
    # A merge commit that lost its swap would have been taken back.
    assert mount.stats()['pfs_store_requests_total{op="remove"}'] == 0


def test_only_named_outputs_can_be_written(mount, files):
    os.mkdir(mount / "R/other")
    with Run(mount, out=["R/other"]) as run:
        fails(errno.EROFS, (run.view / "R/main/new").write_text, "x")
        (run.view / "R/other/x").write_text("x")
        run.end()
    assert (mount / "R/other/x").read_text() == "x"


def test_repos_branches_and_commits_are_not_changed_in_a_run(mount, files):
    with Run(mount) as run:
        fails(errno.EROFS, os.mkdir, run.view / "S")
        fails(errno.EROFS, os.mkdir, run.view / "R/branch")
        fails(errno.EROFS, os.mkdir, run.view / "R/commits/X")
        fails(errno.EROFS, os.rmdir, run.view / "R/commits/N")
        fails(errno.EROFS, os.rmdir, run.view / "R")
        fails(errno.EROFS, os.rename, run.view / "R/main", run.view / "R/b")
        fails(errno.EROFS, os.chmod, run.view / "R", 0o700)
        assert "inside a run" in mount.log()
        run.end()


def test_the_directory_of_a_run_is_its_users_alone(mount, files):
    with Run(mount) as run:
        st = os.stat(run.dir)
        assert (stat.S_IMODE(st.st_mode), st.st_uid) == (0o700, 0)
        assert sorted(os.listdir(run.dir)) == ["metrics", "params", "root", "stderr", "stdout"]
        code = "import os, sys\ntry: os.stat(sys.argv[1])\nexcept PermissionError: print('no')"
        assert as_user(65534, code, run.dir / "params") == "no"
        assert as_user(65534, code, run.view / "R") == "no"
        run.end()


def test_what_is_appended_from_inside_and_outside_is_all_there(mount, files):
    with Run(mount) as run:
        path = run.dir / "params"
        assert path.read_text() == "" and path.stat().st_size == 0
        inside = run.view / ".pfs/run" / run.id / "params"
        many = [open(p, "a", buffering=1) for p in (path, inside) * 4]
        for i in range(200):
            for f in many:
                f.write("k=%d\n" % i)
        for f in many:
            f.close()
        for p in (path, inside):
            lines = p.read_text().splitlines()
            assert sorted(lines) == sorted("k=%d" % i for i in range(200) for _ in many)
        os.truncate(inside, 3)
        assert path.read_text() == "k=0"
        path.write_text("new")
        assert inside.read_text() == "new" and inside.stat().st_size == 3
        fails(errno.EPERM, os.chmod, path, 0o666)
        fails(errno.EPERM, os.remove, path)
        run.end()


def test_in_its_view_a_run_finds_itself_without_its_root(mount, files):
    with Run(mount) as run:
        assert run.shell("ls .pfs/run").split() == [run.id]
        names = run.shell("ls .pfs/run/%s" % run.id).split()
        assert names == ["metrics", "params", "stderr", "stdout"]
        fails(errno.ENOENT, os.stat, run.view / ".pfs/run" / run.id / "root")
        run.end()


def test_a_run_in_a_run_sees_what_that_has_and_names_it(mount, files):
    with Run(mount) as outer:
        (outer.view / "R/main/mine").write_text("of the outer")
        with Run(mount, base=outer.view) as inner:
            start = json.loads((inner.state / "start").read_text())
            assert start["parent"] == outer.id
            assert (inner.view / "R/main/mine").read_text() == "of the outer"
            assert not os.path.exists(mount / ".pfs/run" / inner.id)
            assert sorted(os.listdir(outer.view / ".pfs/run")) == sorted([outer.id, inner.id])
            inner.end()
        outer.end()


def test_a_run_is_gone_when_nobody_is_in_its_view(mount, files):
    with Run(mount) as run:
        tree_of(run.view)
        run.shell("find . > /dev/null; cat R/main/d/e/f")
        run.end()
        run.wait_until_gone()
    assert os.listdir(mount / ".pfs/run") == []
    fails(errno.ENOENT, os.stat, run.dir)


def test_who_is_left_behind_keeps_the_view(mount, files):
    with Run(mount) as run:
        inside = 'mount --bind "$0" "$1" && cd "$1/R/main/d" && echo ready && read go && ' \
                 'pwd -P && cat e/f && echo && echo late > late && read go'
        left = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", inside, str(run.view), str(mount.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert left.stdout.readline() == "ready\n"
            with open(run.view / "R/main/d/g") as held:
                run.end()
                # Several times the kernel is told to let go.
                time.sleep(2)
                assert run.state.exists()
                left.stdin.write("go\n")
                left.stdin.flush()
                assert left.stdout.readline() == "%s/R/main/d\n" % mount.path
                assert left.stdout.readline() == "two\n"
                assert held.read() == "committed"
        finally:
            left.stdin.close()
            left.wait()
        run.wait_until_gone()
    assert not (files / "d/late").exists()
    [kept] = [b for b in os.listdir(mount / "R") if b.startswith("run-" + run.id)]
    assert (mount / "R" / kept / "d/late").read_text() == "late\n"


def test_a_conversation_that_is_closed_has_lost_its_run(mount, files):
    run = Run(mount)
    (run.view / "R/main/out").write_text("half")
    run.close()
    run.wait_until_gone()
    assert not (files / "out").exists()
    assert (mount / "R" / ("run-" + run.id) / "out").read_text() == "half"


def test_a_conversation_has_one_run_at_a_time_and_ends_no_other(mount, files):
    with Run(mount) as run, Run(mount) as other:
        with pytest.raises(Refused, match="goes on"):
            run.ask("run-begin", argv=["true"])
        with pytest.raises(Refused, match="no run"):
            run.ask("run-end", id=other.id, exit=0)
        with pytest.raises(Refused, match="`?id"):
            run.ask("run-end", exit=0)
        run.ask("run-end", id=run.id, exit=0)
        with pytest.raises(Refused, match="no run"):
            run.ask("run-end", id=run.id, exit=0)
        run.ask("stats")
        other.end()


def test_a_wrong_request_begins_nothing(mount, files):
    for fields in ({"argv": 3}, {"out": ["R/none"]}, {"out": ["nonsense"]}):
        with pytest.raises(Refused):
            Run(mount, **{"argv": ["true"], **fields})
    assert os.listdir(mount / ".pfs/run") == []


def test_a_run_in_a_mount_that_only_reads_is_refused(mount, files):
    mount.restart("ro")
    fails(errno.EROFS, os.open, mount / ".pfs/control", os.O_RDWR)
    assert os.listdir(mount / ".pfs/run") == []


def test_a_killed_daemons_runs_are_lost_and_their_outputs_kept(mount, files):
    run = Run(mount)
    (run.view / "R/main/out").write_text("half")
    mount.kill()
    run.close()
    mount.detach()
    mount.start()
    run.wait_until_gone()
    assert not (files / "out").exists()
    assert (mount / "R" / ("run-" + run.id) / "out").read_text() == "half"


def test_an_unmount_in_the_middle_of_a_run_loses_nothing(mount, files):
    run = Run(mount)
    (run.view / "R/main/out").write_text("half")
    run.shell("sleep 0")
    assert mount.stop() == 0
    run.close()
    mount.start()
    run.wait_until_gone()
    assert (mount / "R" / ("run-" + run.id) / "out").read_text() == "half"


def test_a_name_that_is_given_to_another_commit_leads_there_and_leaves_who_is_in_the_former(
        mount, files):
    with Run(mount) as run:
        with open(run.view / "R/N/d/g") as held:
            os.rmdir(mount / "R/commits/N")
            (files / "d/g").write_text("another")
            commit(mount, "N")
            time.sleep(1.1)
            assert (run.view / "R/N/d/g").read_text() == "another"
            run.end()
            time.sleep(0.5)
            assert held.read() == "committed" and run.state.exists()
        run.wait_until_gone()


def test_a_branch_that_others_move_does_not_move_in_a_view(place):
    one = place().start()
    os.mkdir(one / "R")
    (one / "R/main/f").write_text("1")
    commit(one, "A")
    two = place(name="2").start()
    with Run(one) as run:
        (two / "R/main/f").write_text("2")
        commit(two, "B")
        end = time.monotonic() + 20
        while (one / "R/main/f").read_text() != "2":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert (run.view / "R/main/f").read_text() == "1"
        run.end()
