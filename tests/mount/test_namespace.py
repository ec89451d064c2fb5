# SPDX-License-Identifier: GPL-3.0-or-later
"""What is above the files: repos, branches, commits, and their errors."""

import errno
import os
import stat
import time

import pytest
from conftest import as_user, commit, commit_id


def fails(error, call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[error]


def test_an_empty_store_lists_nothing(mount):
    assert os.listdir(mount.path) == []


def test_mkdir_makes_a_repo_with_its_branch_main(mount):
    os.mkdir(mount / "R")
    assert os.listdir(mount.path) == ["R"]
    assert sorted(os.listdir(mount / "R")) == ["commits", "main"]
    assert os.listdir(mount / "R/main") == []


def test_a_repo_that_exists_is_not_made_again(mount):
    os.mkdir(mount / "R")
    fails(errno.EEXIST, os.mkdir, mount / "R")


@pytest.mark.parametrize("name", [".x", "-x", "commits", "a b", "0123abcd", "x" * 101, "a@b", "é"])
def test_names_that_could_be_taken_for_something_else_are_refused(mount, name):
    fails(errno.EINVAL, os.mkdir, mount / name)
    os.mkdir(mount / "R")
    if name == "commits":
        fails(errno.EEXIST, os.mkdir, mount / "R" / name)
    else:
        fails(errno.EINVAL, os.mkdir, mount / "R" / name)


@pytest.mark.parametrize("name", ["20260115", "a", "A.b_c-1", "x" * 100])
def test_other_names_are_good(mount, name):
    os.mkdir(mount / name)
    os.mkdir(mount / name / ("x" + name[:99]))
    assert name in os.listdir(mount.path)


def test_rmdir_removes_a_repo_without_commits(mount):
    os.mkdir(mount / "R")
    os.rmdir(mount / "R")
    assert os.listdir(mount.path) == []
    fails(errno.ENOENT, os.rmdir, mount / "R")


def test_a_repo_with_commits_or_changes_is_not_removed(repo, mount):
    (repo / "f").write_text("x")
    fails(errno.ENOTEMPTY, os.rmdir, mount / "R")
    assert (repo / "f").read_text() == "x"
    commit(mount, "one")
    fails(errno.ENOTEMPTY, os.rmdir, mount / "R")
    (repo / "g").write_text("y")
    assert sorted(os.listdir(repo)) == ["f", "g"]


def test_a_repo_made_anew_under_an_old_name_is_another_one(mount):
    os.mkdir(mount / "R")
    before = os.stat(mount / "R").st_ino
    os.rmdir(mount / "R")
    os.mkdir(mount / "R")
    assert os.stat(mount / "R").st_ino != before


def test_a_branch_starts_at_the_default_branchs_last_commit(repo, mount):
    (repo / "f").write_text("committed")
    commit(mount, "one")
    (repo / "f").write_text("changed since")
    os.mkdir(mount / "R/b")
    assert (mount / "R/b/f").read_text() == "committed"
    (mount / "R/b/f").write_text("in the branch")
    assert (repo / "f").read_text() == "changed since"


def test_a_branch_of_a_repo_without_commits_is_empty(repo, mount):
    (repo / "f").write_text("x")
    os.mkdir(mount / "R/b")
    assert os.listdir(mount / "R/b") == []


def test_a_branch_with_changes_is_not_removed(repo, mount):
    os.mkdir(mount / "R/b")
    (mount / "R/b/f").write_text("x")
    fails(errno.ENOTEMPTY, os.rmdir, mount / "R/b")
    os.mkdir(mount / "R/commits/b@kept")
    os.rmdir(mount / "R/b")
    assert sorted(os.listdir(mount / "R")) == ["commits", "kept", "main"]
    assert (mount / "R/kept/f").read_text() == "x"


def test_a_file_without_a_name_keeps_no_branch_from_being_removed(repo, mount):
    os.mkdir(mount / "R/b")
    (mount / "R/b/f").write_text("x")
    os.mkdir(mount / "R/commits/b@one")
    with open(mount / "R/b/f") as f:
        os.unlink(mount / "R/b/f")
        fails(errno.ENOTEMPTY, os.rmdir, mount / "R/b")
        os.mkdir(mount / "R/commits/b@two")
        os.rmdir(mount / "R/b")
        assert f.read() == "x"
    assert sorted(os.listdir(mount / "R")) == ["commits", "main", "one", "two"]


def test_the_default_branch_can_be_neither_removed_nor_renamed(repo, mount):
    fails(errno.EBUSY, os.rmdir, repo)
    fails(errno.EBUSY, os.rename, repo, mount / "R/b")


def test_rename_renames_a_branch_and_keeps_its_changes(repo, mount):
    os.mkdir(mount / "R/a")
    (mount / "R/a/f").write_text("x")
    number = os.stat(mount / "R/a/f").st_ino
    os.rename(mount / "R/a", mount / "R/b")
    assert sorted(os.listdir(mount / "R")) == ["b", "commits", "main"]
    assert (mount / "R/b/f").read_text() == "x"
    assert os.stat(mount / "R/b/f").st_ino == number
    fails(errno.ENOENT, os.stat, mount / "R/a")


def test_a_branch_is_not_renamed_over_another_thing(repo, mount):
    os.mkdir(mount / "R/a")
    os.mkdir(mount / "R/b")
    (repo / "f").write_text("x")
    commit(mount, "one")
    fails(errno.EEXIST, os.rename, mount / "R/a", mount / "R/b")
    fails(errno.EEXIST, os.rename, mount / "R/a", mount / "R/one")


def test_nothing_else_above_the_files_is_renamed(repo, mount):
    os.mkdir(mount / "R/a")
    (repo / "d").mkdir()
    commit(mount, "one")
    fails(errno.EPERM, os.rename, mount / "R", mount / "S")
    fails(errno.EPERM, os.rename, mount / "R/commits/one", mount / "R/commits/two")
    fails(errno.EXDEV, os.rename, repo / "d", mount / "R/d")
    fails(errno.EXDEV, os.rename, mount / "R/a", repo / "a")


def test_mkdir_in_commits_takes_a_snapshot(repo, mount):
    (repo / "f").write_text("one")
    os.mkdir(mount / "R/commits/one")
    (repo / "f").write_text("two")
    assert (mount / "R/one/f").read_text() == "one"
    assert (mount / "R/commits/one/f").read_text() == "one"
    assert (repo / "f").read_text() == "two"
    assert sorted(os.listdir(mount / "R")) == ["commits", "main", "one"]
    assert os.listdir(mount / "R/commits") == ["one"]


def test_a_snapshot_without_changes_names_the_base(repo, mount):
    (repo / "f").write_text("x")
    one, two = commit(mount, "one"), commit(mount, "two")
    assert commit_id(one) == commit_id(two)


def test_a_name_is_given_once(repo, mount):
    (repo / "f").write_text("x")
    commit(mount, "one")
    (repo / "f").write_text("y")
    fails(errno.EEXIST, commit, mount, "one")
    fails(errno.EEXIST, os.mkdir, mount / "R/one")
    fails(errno.EEXIST, commit, mount, "main")
    assert (mount / "R/one/f").read_text() == "x"


def test_branch_at_name_commits_that_branch(repo, mount):
    os.mkdir(mount / "R/b")
    (mount / "R/b/f").write_text("of b")
    os.mkdir(mount / "R/commits/b@shot")
    assert os.listdir(mount / "R/commits") == ["shot"]
    for name in ("shot", "commits/shot", "commits/b@shot"):
        assert (mount / "R" / name / "f").read_text() == "of b"
    fails(errno.ENOENT, os.mkdir, mount / "R/commits/nobranch@x")
    fails(errno.EINVAL, os.mkdir, mount / "R/commits/b@")


def test_rmdir_takes_the_name_away_and_leaves_the_commit(repo, mount):
    (repo / "f").write_text("x")
    whole = commit_id(commit(mount, "one"))
    os.rmdir(mount / "R/commits/one")
    time.sleep(1.1)
    fails(errno.ENOENT, os.stat, mount / "R/one")
    [shown] = os.listdir(mount / "R/commits")
    assert whole.startswith(shown) and 12 <= len(shown) < 64
    assert sorted(os.listdir(mount / "R")) == ["commits", "main"]
    for name in (shown, whole, "commits/" + shown, "commits/" + whole, whole[:30]):
        assert (mount / "R" / name / "f").read_text() == "x"
    fails(errno.EPERM, os.rmdir, mount / "R/commits" / shown)


def test_a_prefix_is_eight_digits_or_more(repo, mount):
    (repo / "f").write_text("x")
    whole = commit_id(commit(mount, "one"))
    lengths = [n for n in range(8, 64) if any(c in "abcdef" for c in whole[:n])]
    assert (mount / "R" / whole[: lengths[0]] / "f").read_text() == "x"
    fails(errno.ENOENT, os.stat, mount / "R" / whole[:7])
    wrong = "%x" % (int(whole[:16], 16) ^ 1)
    fails(errno.ENOENT, os.stat, mount / "R" / wrong)


def test_rmdir_of_a_commit_among_branches_says_so(repo, mount):
    (repo / "f").write_text("x")
    commit(mount, "one")
    fails(errno.EPERM, os.rmdir, mount / "R/one")
    assert "commits/one" in mount.log()


def test_nothing_is_written_under_a_commit(repo, mount):
    (repo / "d").mkdir()
    (repo / "d/f").write_text("x")
    one = commit(mount, "one")
    fails(errno.EROFS, open, one / "d/f", "w")
    fails(errno.EROFS, open, one / "new", "w")
    fails(errno.EROFS, os.mkdir, one / "d/e")
    fails(errno.EROFS, os.unlink, one / "d/f")
    fails(errno.EROFS, os.rename, one / "d/f", one / "d/g")
    fails(errno.EROFS, os.chmod, one / "d/f", 0o600)
    fails(errno.EROFS, os.symlink, "x", one / "l")
    fails(errno.EROFS, os.setxattr, one / "d/f", "user.a", b"x")
    fails(errno.EROFS, os.rmdir, one / "d")


def test_no_files_are_made_above_the_heads(repo, mount):
    for place in (mount.path, mount / "R", mount / "R/commits", mount / ".pfs"):
        fails(errno.EPERM, open, place / "f", "w")
        fails(errno.EPERM, os.symlink, "x", place / "l")
        fails(errno.EPERM, os.mkfifo, place / "p")
    fails(errno.EPERM, os.mkdir, mount / ".pfs/d")


def test_the_control_directory_is_there_and_not_listed(mount):
    assert ".pfs" not in os.listdir(mount.path)
    assert sorted(os.listdir(mount / ".pfs")) == ["control", "run", "stats"]
    assert (mount / ".pfs/stats").read_text().startswith("# HELP pfs_")
    fails(errno.EBUSY, os.rmdir, mount / ".pfs")


def test_getfattr_says_what_one_is_looking_at(repo, mount):
    (repo / "f").write_text("x" * 5000)
    assert os.getxattr(repo / "f", "user.pfs.repo") == b"R"
    assert os.getxattr(repo / "f", "user.pfs.branch") == b"main"
    assert os.getxattr(repo / "f", "user.pfs.size") == b"5000"
    assert os.getxattr(repo / "f", "user.pfs.commit") == b""
    one = commit(mount, "one")
    assert len(os.getxattr(one / "f", "user.pfs.commit")) == 64
    assert os.getxattr(one, "user.pfs.commit") == os.getxattr(repo, "user.pfs.commit")
    assert len(os.getxattr(one / "f", "user.pfs.id")) == 64
    assert os.getxattr(mount / "R", "user.pfs.repo") == b"R"
    fails(errno.ENODATA, os.getxattr, one / "f", "user.pfs.branch")
    assert os.listxattr(repo / "f") == []
    fails(errno.EPERM, os.setxattr, repo / "f", "user.pfs.repo", b"S")


def test_who_makes_a_repo_owns_it(mount):
    assert stat.S_IMODE(os.stat(mount.path).st_mode) == 0o1777
    as_user(1234, "import os, sys; os.umask(0o027); os.mkdir(sys.argv[1])", mount / "R")
    for name in ("R", "R/commits", "R/main"):
        st = os.stat(mount / name)
        assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1234, 1234, 0o750)
    code = """
import os, sys
try:
    os.mkdir(sys.argv[1])
    print("made")
except PermissionError:
    print("refused")
"""
    assert as_user(1234, code, mount / "R/b") == "made"
    assert as_user(1235, code, mount / "R/c") == "refused"
    assert as_user(1235, code, mount / "S") == "made"


def test_chmod_of_a_repo_says_who_may_branch_and_commit(mount):
    os.mkdir(mount / "R")
    os.chmod(mount / "R", 0o2775)
    os.chown(mount / "R", 1234, 1235)
    st = os.stat(mount / "R")
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1234, 1235, 0o2775)
    fails(errno.EPERM, os.utime, mount / "R")


def test_two_paths_to_one_commit_are_two_trees_of_one_content(repo, mount):
    (repo / "d").mkdir()
    (repo / "d/f").write_text("x")
    commit(mount, "one")
    a, b = mount / "R/one", mount / "R/commits/one"
    old = os.getcwd()
    try:
        os.chdir(a / "d")
        assert os.listdir(b / "d") == ["f"]
        assert os.getcwd() == str(a / "d")
    finally:
        os.chdir(old)
    assert os.stat(a / "d/f").st_ino == os.stat(b / "d/f").st_ino


def test_a_head_and_a_commit_never_share_numbers(repo, mount):
    (repo / "f").write_text("x")
    one = commit(mount, "one")
    assert os.stat(repo / "f").st_ino != os.stat(one / "f").st_ino
    assert not os.path.samefile(repo / "f", one / "f")


def test_all_of_it_is_there_after_a_remount(repo, mount):
    (repo / "f").write_text("committed")
    commit(mount, "one")
    (repo / "f").write_text("changed")
    os.mkdir(mount / "R/b")
    numbers = [os.stat(mount / "R" / p).st_ino for p in ("", "main", "main/f", "one", "one/f", "b/f")]
    mount.restart()
    assert (repo / "f").read_text() == "changed"
    assert (mount / "R/one/f").read_text() == "committed"
    assert (mount / "R/b/f").read_text() == "committed"
    assert numbers == [
        os.stat(mount / "R" / p).st_ino for p in ("", "main", "main/f", "one", "one/f", "b/f")
    ]


def test_a_read_only_mount_changes_nothing(repo, mount):
    (repo / "f").write_text("x")
    commit(mount, "one")
    mount.restart("ro")
    assert (repo / "f").read_text() == "x"
    fails(errno.EROFS, open, repo / "f", "w")
    fails(errno.EROFS, os.mkdir, mount / "S")
    fails(errno.EROFS, os.mkdir, mount / "R/commits/two")


def test_renaming_into_a_repo_made_by_another_name_is_refused(repo, mount):
    os.mkdir(mount / "S")
    os.mkdir(mount / "R/b")
    fails(errno.EPERM, os.rename, mount / "R/b", mount / "S/b")
