# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on a mount: what they say, and what they do to heads."""

import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

from conftest import can_mount

pytestmark = can_mount

ID = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def changes(shell, *words):
    """What differs, as {path: letter} or {(from, path): "R"}."""
    found = {}
    for line in shell.ok("diff", *words).splitlines():
        letter, rest = line.split("  ", 1)
        rest = rest.split("  (")[0]
        found[tuple(rest.split(" -> ")) if letter == "R" else rest] = letter
    return found


def test_commit_prints_the_id_alone(shell, repo):
    write(repo / "f", "1")
    out = shell.run("commit", repo)
    assert out.code == 0 and ID.fullmatch(out.out.rstrip("\n")) and out.err == ""
    assert os.getxattr(repo, "user.pfs.commit").decode() == out.out.strip()


def test_a_commit_without_changes_says_so_and_gives_the_last_id(shell, repo):
    write(repo / "f", "1")
    first = shell.ok("commit", repo)
    again = shell.run("commit", repo)
    assert again.code == 0 and again.out.strip() == first and "Nothing has changed" in again.err
    assert len(shell.json("log", "--json", repo)) == 1


def test_a_commit_without_changes_can_be_named(shell, mount, repo):
    write(repo / "f", "1")
    first = shell.ok("commit", repo)
    assert shell.ok("commit", "-n", "tagged", repo) == first
    assert (mount / "R/tagged/f").read_text() == "1"


def test_a_commit_carries_message_name_metadata_and_author(shell, mount, repo):
    write(repo / "f", "1")
    made = shell.json("commit", "-m", "line one\n\nline ü", "-n", "first", "--meta", "seed=42",
                      "--meta", "host=a=b", "--author", "me@here", "--json", repo)
    assert made == {"repo": "R", "branch": "main", "id": made["id"], "is_new": True,
                    "name": "first", "standing": "on-branch", "tip": made["id"],
                    "conflicts": 0}
    (commit,) = shell.json("log", "--json", mount / "R/first")
    assert commit["id"] == made["id"] and commit["id"].startswith(commit["short_id"])
    assert re.search("[a-f]", commit["short_id"]) and len(commit["short_id"]) >= 12
    assert commit["message"] == "line one\n\nline ü" and commit["names"] == ["first"]
    assert commit["meta"] == {"seed": "42", "host": "a=b"} and commit["author"] == "me@here"
    assert commit["parents"] == [] and commit["generation"] == 1 and commit["branch"] == "main"
    assert TIME.fullmatch(commit["time"]) and commit["files"] == 1 and commit["bytes"] == 1
    assert set(commit) == {"id", "short_id", "parents", "generation", "time", "author", "machine",
                           "message", "branch", "names", "meta", "files", "bytes"}


def test_the_author_is_the_caller_if_nobody_else_is_named(shell, mount, repo):
    write(repo / "f", "1")
    shell.ok("commit", repo)
    (commit,) = shell.json("log", "--json", repo)
    assert commit["author"].startswith("root@")


def test_a_name_that_is_taken_is_refused_and_nothing_happens(shell, repo):
    write(repo / "f", "1")
    shell.ok("commit", "-n", "first", repo)
    write(repo / "f", "2")
    assert "first" in shell.fails(1, "commit", "-n", "first", repo)
    assert "main" in shell.fails(1, "commit", "-n", "main", repo)
    shell.fails(1, "commit", "-n", "not a name", repo)
    assert shell.json("status", "--json", repo)["is_dirty"]
    assert len(shell.json("log", "--json", repo)) == 1


def test_a_commit_cannot_be_committed(shell, mount, repo):
    write(repo / "f", "1")
    shell.ok("commit", "-n", "first", repo)
    assert "commit already" in shell.fails(1, "commit", mount / "R/first")


def test_status_tells_what_is_uncommitted(shell, repo):
    for name in "same", "changed", "gone", "moved", "moded":
        write(repo / name, name)
    write(repo / "dir/below", "x")
    write(repo / "old-dir/below", "y")
    shell.ok("commit", repo)
    clean = shell.json("status", "--json", repo)
    assert not clean["is_dirty"] and clean["changes"] == [] and clean["base"] == clean["tip"]
    assert "Nothing is uncommitted" in shell.ok("status", repo)
    write(repo / "changed", "anders")
    os.remove(repo / "gone")
    os.rename(repo / "moved", repo / "dir/moved here")
    os.chmod(repo / "moded", 0o600)
    write(repo / "new/a/b", "z")
    os.rename(repo / "old-dir", repo / "new-dir")
    out = shell.ok("status", repo)
    lines = [line.strip() for line in out.splitlines() if line.startswith("  ")]
    assert lines == ["M  changed", "R  moved -> dir/moved here", "D  gone",
                     "P  moded  (mode 0644 to 0600)", "A  new/", "R  old-dir/ -> new-dir/"]
    status = shell.json("status", "--json", repo)
    assert status["is_dirty"] and status["standing"] == "on-branch" and not status["is_behind"]
    assert [c["change"] for c in status["changes"]] == ["modified", "renamed", "removed", "mode",
                                                        "added", "renamed"]


def test_status_below_a_path_tells_of_that_alone(shell, repo):
    write(repo / "a/f", "1")
    write(repo / "b/f", "1")
    shell.ok("commit", repo)
    write(repo / "a/f", "2")
    write(repo / "b/f", "2")
    (only,) = shell.json("status", "--json", repo / "a")["changes"]
    assert only["path"] == "f"
    write(repo / "new/x", "1")
    assert [c["path"] for c in shell.json("status", "--json", repo / "new")["changes"]] == ["x"]


def test_status_before_the_first_commit(shell, repo):
    write(repo / "d/f", "1")
    write(repo / "g", "1")
    status = shell.json("status", "--json", repo)
    assert status["base"] is None
    assert [(c["change"], c["path"]) for c in status["changes"]] == [("added", "d"), ("added", "g")]


def test_what_is_new_is_told_in_order(shell, repo):
    for name in "zbxa":
        write(repo / name, name)
    assert [c["path"] for c in shell.json("status", "--json", repo)["changes"]] == list("abxz")


def test_a_file_written_anew_with_the_same_bytes_is_not_changed(shell, repo):
    write(repo / "f", "same" * 1000)
    write(repo / "g", "same" * 1000)
    shell.ok("commit", repo)
    write(repo / "f", "same" * 1000)
    write(repo / "g", "sane" * 1000)
    assert [c["path"] for c in shell.json("status", "--json", repo)["changes"]] == ["g"]


def test_a_commit_has_no_status(shell, mount, repo):
    write(repo / "f", "1")
    shell.ok("commit", "-n", "first", repo)
    assert "never changes" in shell.fails(1, "status", mount / "R/first")


@pytest.fixture
def two(shell, mount, repo):
    """Commits `first` and `second` that differ in every way."""
    for name in "same", "modified", "removed", "renamed", "moded":
        write(repo / name, name)
    os.symlink("there", repo / "link")
    write(repo / "typed", "a file")
    write(repo / "lost/x", "x")
    write(repo / "lost/moved-out", "moved out")
    shell.ok("commit", "-n", "first", "-m", "one", repo)
    write(repo / "modified", "else")
    os.remove(repo / "removed")
    os.rename(repo / "renamed", repo / "by another name")
    os.chmod(repo / "moded", 0o755)
    os.remove(repo / "link")
    os.symlink("elsewhere", repo / "link")
    os.remove(repo / "typed")
    os.mkdir(repo / "typed")
    write(repo / "added", "new")
    os.rename(repo / "lost/moved-out", repo / "kept")
    shutil.rmtree(repo / "lost")
    shell.ok("commit", "-n", "second", "-m", "two", repo)
    return mount


def test_diff_of_two_commits(shell, two):
    assert changes(shell, two / "R/first", two / "R/second") == {
        "added": "A", ("renamed", "by another name"): "R", ("lost/moved-out", "kept"): "R",
        "link": "M", "lost/": "D", "moded": "P", "modified": "M", "removed": "D", "typed/": "T",
    }


def test_diff_backwards_is_the_reverse(shell, two):
    there = changes(shell, two / "R/first", two / "R/second")
    back = changes(shell, two / "R/second", two / "R/first")
    other = {"A": "D", "D": "A"}
    expected = {}
    for path, letter in there.items():
        if letter == "R":
            expected[path[::-1]] = "R"
        else:
            expected["typed" if path == "typed/" else path] = other.get(letter, letter)
    assert back == expected


def test_diff_of_the_same_is_empty(shell, two):
    assert shell.ok("diff", two / "R/second", two / "R/main") == ""
    assert shell.json("diff", "--json", two / "R/first", two / "R/first")["changes"] == []
    assert "no differences" in shell.ok("diff", "--stat", two / "R/first", two / "R/first")


def test_diff_of_a_head_sees_what_is_uncommitted(shell, two):
    write(two / "R/main/fresh", "x")
    assert changes(shell, two / "R/second", two / "R/main") == {"fresh": "A"}


def test_diff_of_subdirectories_and_files(shell, mount, repo):
    write(repo / "a/same", "1")
    write(repo / "a/f", "1")
    write(repo / "b/same", "1")
    write(repo / "b/f", "2")
    assert changes(shell, repo / "a", repo / "b") == {"f": "M"}
    assert changes(shell, repo / "a/f", repo / "b/f") == {".": "M"}
    assert changes(shell, repo / "a/same", repo / "b/same") == {}
    assert changes(shell, repo / "a", repo / "b/f") == {".": "T"}


def test_diff_tells_of_the_root_itself(shell, mount, repo):
    write(repo / "f", "1")
    shell.ok("commit", "-n", "first", repo)
    os.chmod(repo, 0o700)
    assert changes(shell, mount / "R/first", repo) == {"./": "P"}


def test_diff_counts_what_is_in_a_directory_that_comes_or_goes(shell, mount, repo):
    write(repo / "typed/d/f", "x" * 1000)
    write(repo / "moved/f", "y" * 500)
    shell.ok("commit", "-n", "first", repo)
    shutil.rmtree(repo / "typed")
    write(repo / "typed", "now a file")
    os.rename(repo / "moved", repo / "to")
    shell.ok("commit", "-n", "second", repo)
    found = shell.json("diff", "--stat", "--json", mount / "R/first", mount / "R/second")
    assert {c["path"]: (c["old_bytes"], c["new_bytes"]) for c in found["changes"]} == {
        "typed": (1000, 10), "to": (500, 500)}
    assert (found["summary"]["bytes_removed"], found["summary"]["bytes_added"]) == (1000, 10)
    found = shell.json("diff", "--stat", "--json", mount / "R/first/typed", mount / "R/second/typed")
    assert [(c["path"], c["old_bytes"]) for c in found["changes"]] == [(".", 1000)]


def test_diff_as_json(shell, two):
    diff = shell.json("diff", "--json", "--stat", two / "R/first", two / "R/second")
    assert set(diff) == {"changes", "summary"}
    by_path = {c["path"]: c for c in diff["changes"]}
    assert by_path["by another name"]["from"] == "renamed"
    assert by_path["moded"]["old"]["mode"] == "0644" and by_path["moded"]["new"]["mode"] == "0755"
    assert by_path["typed"]["old"]["type"] == "file"
    assert by_path["typed"]["new"]["type"] == "directory"
    assert set(by_path["added"]["new"]) == {"type", "mode", "uid", "gid", "size", "mtime"}
    assert "old" not in by_path["added"] and "new" not in by_path["removed"]
    assert by_path["modified"]["old_bytes"] == 8 and by_path["modified"]["new_bytes"] == 4
    assert by_path["lost"]["old_bytes"] == len("x") + len("moved out")
    summary = diff["summary"]
    assert {k: summary[k] for k in ("added", "removed", "modified", "type", "mode", "renamed",
                                    "hidden")} == {
        "added": 1, "removed": 2, "modified": 2, "type": 1, "mode": 1, "renamed": 2, "hidden": 0}
    assert summary["renames_sought"] is True


def test_diff_across_repos(shell, mount, repo):
    os.mkdir(mount / "Q")
    write(repo / "f", "1")
    write(mount / "Q/main/f", "1")
    write(mount / "Q/main/g", "1")
    assert changes(shell, repo, mount / "Q/main") == {"g": "A"}


def test_renames_prefer_the_same_name(shell, mount, repo):
    write(repo / "a/one", "equal")
    write(repo / "a/two", "equal")
    shell.ok("commit", "-n", "first", repo)
    os.mkdir(repo / "b")
    os.rename(repo / "a/one", repo / "b/one")
    os.rename(repo / "a/two", repo / "b/two")
    assert changes(shell, mount / "R/first", repo) == {
        "b/": "A", ("a/one", "b/one"): "R", ("a/two", "b/two"): "R"}


def test_empty_files_are_not_renamed(shell, mount, repo):
    write(repo / "a", "")
    shell.ok("commit", "-n", "first", repo)
    os.rename(repo / "a", repo / "b")
    assert changes(shell, mount / "R/first", repo) == {"a": "D", "b": "A"}


def test_names_that_a_terminal_could_misread_are_quoted(shell, repo):
    names = [b"new\nline", b"tab\t", b'quo"te', b"esc\x1b[31m", b"\xff\xfe", b"back\\slash", "ü".encode(),
             "c1\u009b".encode()]
    shell.ok("commit", repo)
    for name in names:
        with open(os.fsencode(repo) + b"/" + name, "w") as f:
            f.write("x")
    out = shell.ok("status", repo)
    shown = {line.strip()[3:] for line in out.splitlines() if line.startswith("  A")}
    assert shown == {r'"new\nline"', r'"tab\t"', r'"quo\"te"', r'"esc\033[31m"', r'"\377\376"',
                     r'"back\\slash"', "ü", r'"c1\302\233"'}
    found = set()
    for c in shell.json("status", "--json", repo)["changes"]:
        path = c["path"]
        found.add(bytes.fromhex(path["hex"]) if isinstance(path, dict) else path.encode())
    assert found == set(names)
    shell.ok("show", os.fsencode(repo) + b"/\xff\xfe")


def test_a_name_that_is_not_utf8_is_shown_and_said(shell, mount, repo):
    name = b"\xff\xfe"
    with open(os.fsencode(repo) + b"/" + name, "w") as f:
        f.write("xyz")
    shell.ok("commit", "-n", "first", repo)
    first = os.fsencode(mount / "R/first") + b"/"
    shown = shell.json("show", "--json", first + name)
    assert shown["path"] == {"hex": "fffe"} and shown["entry"]["size"] == 3
    assert "gone\udcff" in shell.fails(1, "show", first + b"gone\xff")


def test_log_goes_back_from_the_last(shell, mount, repo):
    ids = []
    for i in range(4):
        write(repo / "f", str(i))
        ids.append(shell.ok("commit", "-m", f"number {i}", repo))
    log = shell.json("log", "--json", repo)
    assert [c["id"] for c in log] == ids[::-1]
    assert [c["parents"] for c in log] == [[x] for x in ids[2::-1]] + [[]]
    assert [c["generation"] for c in log] == [4, 3, 2, 1]
    assert [c["id"] for c in shell.json("log", "--json", "-n", "2", repo)] == ids[:1:-1]
    assert shell.json("log", "--json", "-n", "0", repo) == []
    assert [c["id"] for c in shell.json("log", "--json", mount / "R" / ids[1])] == ids[1::-1]
    lines = shell.ok("log", "--oneline", repo).splitlines()
    assert len(lines) == 4 and lines[0].endswith("number 3") and ids[3].startswith(lines[0].split()[0])
    assert shell.ok("log", repo).count("commit ") == 4


def test_log_of_a_path_has_only_what_changed_it(shell, mount, repo):
    write(repo / "d/f", "1")
    made = shell.ok("commit", repo)
    write(repo / "other", "1")
    shell.ok("commit", repo)
    write(repo / "d/f", "2")
    changed = shell.ok("commit", repo)
    os.remove(repo / "d/f")
    removed = shell.ok("commit", repo)
    assert [c["id"] for c in shell.json("log", "--json", repo / "d/f")] == [removed, changed, made]
    assert [c["id"] for c in shell.json("log", "--json", repo / "d")] == [removed, changed, made]
    shell.fails(1, "log", repo / "never")


def test_show_a_commit_and_a_file(shell, two):
    shown = shell.json("show", "--json", two / "R/second")
    assert set(shown) == {"commit", "changes", "summary"}
    assert shown["commit"]["message"] == "two" and len(shown["changes"]) == 9
    first = shell.json("show", "--json", two / "R/first")
    assert set(first) == {"commit", "changes", "summary"}
    assert {c["change"] for c in first["changes"]} == {"added"}
    out = shell.ok("show", two / "R/first")
    assert "    one" in out and "(first)" in out
    entry = shell.json("show", "--json", two / "R/first/link")
    assert entry["entry"]["type"] == "symlink" and entry["entry"]["target"] == "there"
    assert entry["path"] == "link" and entry["branch"] is None
    os.setxattr(two / "R/main/same", "user.color", b"blue")
    entry = shell.json("show", "--json", two / "R/main/same")
    assert entry["branch"] == "main" and entry["entry"]["xattrs"] == {"user.color": "blue"}
    assert "same" in shell.ok("show", two / "R/main/same")


def same_tree(a, b):
    assert subprocess.run(["diff", "-r", "--no-dereference", a, b]).returncode == 0


def test_restore_a_file_that_was_removed(shell, two):
    out = shell.ok("restore", two / "R/first/removed")
    assert "1 added" in out
    assert (two / "R/main/removed").read_text() == "removed"
    assert changes(shell, two / "R/second", two / "R/main") == {"removed": "A"}


def test_restore_a_file_that_was_changed(shell, two):
    with open(two / "R/main/modified") as old:
        shell.ok("restore", two / "R/first/modified")
        assert old.read() == "else"
    assert (two / "R/main/modified").read_text() == "modified"
    assert shell.ok("restore", two / "R/first/modified").endswith("is like that already")


def test_restore_below_a_directory_that_was_removed(shell, two):
    os.chmod(two / "R/main", 0o755)
    shell.ok("restore", two / "R/first/lost/x")
    assert (two / "R/main/lost/x").read_text() == "x"
    assert os.listdir(two / "R/main/lost") == ["x"]


def test_restore_below_a_directory_that_was_looked_for(shell, mount, repo):
    write(repo / "a/b/x", "x")
    shell.ok("commit", "-n", "first", repo)
    shutil.rmtree(repo / "a")
    assert not os.path.exists(repo / "a")
    shell.ok("restore", mount / "R/first/a/b/x")
    assert (repo / "a/b/x").read_text() == "x"


def test_restore_tells_of_links_by_the_names_that_stay(shell, mount, repo):
    def links(*names):
        return [os.stat(repo / name).st_nlink for name in names]

    write(repo / "a", "x")
    os.link(repo / "a", repo / "b")
    shell.ok("commit", "-n", "two", repo)
    with open(repo / "a", "a") as f:
        f.write("more")
    assert links("b", "a") == [2, 2]
    shell.ok("restore", mount / "R/two/a")
    assert links("b", "a") == [1, 1]
    shell.ok("restore", mount / "R/two")
    assert links("a", "b") == [2, 2]
    os.link(repo / "a", repo / "c")
    assert links("a", "b") == [3, 3]
    shell.ok("restore", mount / "R/two")
    assert links("a", "b") == [2, 2]


def test_restore_a_whole_tree(shell, two):
    write(two / "R/main/uncommitted", "x")
    before = sorted(os.listdir(two / "R/main"))
    assert "uncommitted" in before
    out = shell.json("restore", "--json", two / "R/first", two / "R/main")
    same_tree(two / "R/first", two / "R/main")
    assert changes(shell, two / "R/first", two / "R/main") == {}
    assert sorted(os.listdir(two / "R/main")) == sorted(os.listdir(two / "R/first"))
    assert {k: out[k] for k in ("repo", "branch", "path")} == {"repo": "R", "branch": "main",
                                                               "path": ""}
    assert stat.S_IMODE(os.stat(two / "R/main/moded").st_mode) == 0o644
    for dirpath, _, names in os.walk(two / "R/first"):
        below = os.path.relpath(dirpath, two / "R/first")
        for name in names:
            a, b = (os.lstat(two / "R" / x / below / name) for x in ("first", "main"))
            assert (a.st_mtime_ns, a.st_mode) == (b.st_mtime_ns, b.st_mode), name


def test_what_is_restored_stays_and_is_committed(shell, two):
    shell.ok("restore", two / "R/first", two / "R/main")
    shell.ok("commit", "-n", "third", two / "R/main")
    same_tree(two / "R/first", two / "R/third")
    assert changes(shell, two / "R/first", two / "R/third") == {}
    two.stop()
    two.start()
    same_tree(two / "R/first", two / "R/main")


def test_restore_to_another_place_and_repo(shell, two):
    os.mkdir(two / "Q")
    shell.ok("restore", two / "R/first/lost", two / "Q/main/copy")
    assert sorted(os.listdir(two / "Q/main/copy")) == ["moved-out", "x"]
    shell.ok("restore", two / "R/second", two / "Q/main/copy")
    same_tree(two / "R/second", two / "Q/main/copy")


def test_restore_replaces_one_type_by_another(shell, two):
    shell.ok("restore", two / "R/first/typed")
    assert (two / "R/main/typed").read_text() == "a file"
    shell.ok("restore", two / "R/second/typed")
    assert os.listdir(two / "R/main/typed") == []


def test_restore_keeps_hard_links_and_attributes(shell, mount, repo):
    write(repo / "d/a", "x")
    os.link(repo / "d/a", repo / "d/b")
    os.setxattr(repo / "d/a", "user.k", b"v")
    os.chmod(repo / "d", 0o751)
    shell.ok("commit", "-n", "first", repo)
    shutil.rmtree(repo / "d")
    shell.ok("restore", mount / "R/first/d")
    assert os.stat(repo / "d/a").st_ino == os.stat(repo / "d/b").st_ino
    assert os.stat(repo / "d/a").st_nlink == 2
    assert os.getxattr(repo / "d/b", "user.k") == b"v"
    assert stat.S_IMODE(os.stat(repo / "d").st_mode) == 0o751
    os.setxattr(repo / "d", "user.new", b"w")
    os.chmod(repo / "d", 0o700)
    shell.ok("restore", mount / "R/first/d")
    assert os.listxattr(repo / "d") == [] and stat.S_IMODE(os.stat(repo / "d").st_mode) == 0o751


def linked(names):
    """Which of the names are one file."""
    files = {}
    for path in names:
        files.setdefault(os.stat(path).st_ino, []).append(path.name)
    return sorted(files.values())


def test_restore_joins_and_parts_hard_links(shell, mount, repo):
    names = [repo / name for name in "abcdef"]
    write(repo / "a", "linked")
    for name in "bc":
        os.link(repo / "a", repo / name)
    for name in "def":
        write(repo / name, "alone")
    os.chmod(repo / "e", 0o600)
    shell.ok("commit", "-n", "first", repo)
    for path in names:
        os.remove(path)
    # The same bytes otherwise linked, so that only links and modes tell the difference.
    for name in "ab":
        write(repo / name, "linked")
    os.link(repo / "b", repo / "c")
    write(repo / "d", "alone")
    for name in "ef":
        os.link(repo / "d", repo / name)
    shell.ok("commit", "-n", "second", repo)
    shell.ok("restore", mount / "R/first")
    assert linked(names) == [["a", "b", "c"], ["d"], ["e"], ["f"]]
    assert [os.stat(path).st_nlink for path in names] == [3, 3, 3, 1, 1, 1]
    same_tree(mount / "R/first", repo)
    shell.ok("commit", "-n", "third", repo)
    shell.ok("restore", mount / "R/second")
    assert linked(names) == [["a"], ["b", "c"], ["d", "e", "f"]]
    same_tree(mount / "R/second", repo)
    mount.stop()
    mount.start()
    assert linked(names) == [["a"], ["b", "c"], ["d", "e", "f"]]
    shell.ok("restore", mount / "R/third")
    same_tree(mount / "R/first", repo)
    write(repo / "c", "all three")
    assert [(repo / name).read_text() for name in "abdef"] == ["all three"] * 2 + ["alone"] * 3


def test_restore_wants_a_head_to_go_to(shell, two):
    shell.fails(1, "restore", two / "R/first/same", two / "R/second/same")
    shell.fails(1, "restore", two / "R/first/none")
    shell.fails(1, "restore", two / "R/first/same", two / "R/main/none/below")
    shell.fails(1, "restore", two / "R/first/same", two / "R/main")


def test_paths_without_the_mount_and_from_within(shell, two):
    for words, cwd in [
            (("diff", "R/first", "R/second"), two.path),
            (("diff", "R/first", "R/second"), two / "R/main"),
            (("diff", "first", "second"), two / "R"),
            (("diff", "first", "second"), two / "R/main"),
            (("diff", "first", "."), two / "R/main"),
            (("diff", "../first", "../second"), two / "R/main"),
            (("diff", "R/commits/first", "/" + "R/../" + str(two / "R/second")), two.path),
    ]:
        if words[2].startswith("/"):
            words = (words[0], words[1], str(two / "R/second"))
        assert len(shell.ok(*words, cwd=cwd).splitlines()) == 9, (words, cwd)
    assert len(shell.json("log", "--json", cwd=two / "R/main")) == 2
    assert len(shell.json("log", "--json", "same", cwd=two / "R/main")) == 1
    (two / "R/main/sub").mkdir()
    assert shell.json("status", "--json", cwd=two / "R/main/sub")["repo"] == "R"
    assert "sub" in str(shell.json("status", "--json", "R/main", cwd=two / "R/main/sub"))


def test_a_symlink_from_elsewhere_leads_into_the_mount(shell, two):
    os.symlink(two / "R/main", shell.home / "shortcut")
    assert shell.json("status", "--json", shell.home / "shortcut")["repo"] == "R"
    assert len(shell.json("log", "--json", shell.home / "shortcut/modified")) == 2
    # One in the mount is a thing of its own.
    assert shell.json("show", "--json", two / "R/main/link")["entry"]["type"] == "symlink"


def test_branches_through_the_command_show_in_the_mount(shell, mount, repo):
    write(repo / "f", "1")
    shell.ok("commit", "-n", "first", repo)
    write(repo / "f", "2")
    shell.ok("commit", repo)
    shell.ok("branch", "old", "first", cwd=mount / "R")
    assert (mount / "R/old/f").read_text() == "1"
    shell.ok("branch", "new", cwd=mount / "R")
    assert (mount / "R/new/f").read_text() == "2"
    shell.ok("branch", "rename", mount / "R/old", "older")
    assert (mount / "R/older/f").read_text() == "1"
    write(mount / "R/new/f", "3")
    assert "uncommitted" in shell.fails(1, "branch", "remove", mount / "R/new")
    shell.ok("branch", "remove", mount / "R/older")
    listed = [b["branch"] for b in shell.json("branch", "--json", cwd=mount / "R")]
    assert listed == ["main", "new"]


def test_branches_are_listed_in_columns_however_long_their_names_are(shell, mount, repo):
    write(repo / "f", "1")
    made = shell.ok("commit", repo)[:12]
    shell.ok("branch", "x" * 60, cwd=mount / "R")
    main, other = shell.ok("branch", cwd=mount / "R").splitlines()
    assert main.startswith("* main") and main.index(made) == other.index(made)
    assert "* main" in shell.ok("branch", mount / "R")


def test_repos_through_the_command_show_in_the_mount(shell, mount):
    shell.ok("repo", "create", mount / "R")
    shell.ok("repo", "create", "Q", cwd=mount.path)
    assert sorted(os.listdir(mount.path)) == ["Q", "R"]
    write(mount / "Q/main/f", "1")
    assert "uncommitted" in shell.fails(1, "repo", "remove", mount / "Q")
    shell.ok("commit", mount / "Q/main")
    assert "commits" in shell.fails(1, "repo", "remove", mount / "Q")
    shell.ok("repo", "remove", mount / "R")


def test_stats_of_a_mount(shell, mount, repo):
    data = os.urandom(1 << 20)
    for name in "one", "two", "three":
        (repo / name).write_bytes(data)
    shell.ok("commit", "-n", "first", repo)
    write(repo / "f", "x")
    shell.ok("commit", "-n", "second", repo)
    stats = shell.json("stats", "--json", mount.path)
    store = stats["store"]
    assert (store["repos"], store["commits"]) == (1, 2)
    assert store["commit_bytes"] == 2 * 3 * len(data) + 1
    assert len(data) <= store["unique_bytes"] < len(data) + 10000
    assert len(data) <= store["stored_bytes"] < len(data) + 100000
    assert stats["heads"]["heads"] >= 1 and stats["mount"]["requests"]
    assert "shared (times)" in shell.ok("stats", mount.path)


def keys_of(value):
    """Every field's name in a JSON value."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    return set(value).union(*map(keys_of, value.values()))


def test_the_manual_names_every_field_of_json(shell, two):
    manual = (pathlib.Path(__file__).resolve().parents[2] / "tools/man/pfs.1").read_text()
    shell.ok("commit", "--meta", "id=1", two / "R/main")
    write(two / "R/main/new", "x")
    os.setxattr(two / "R/main/new", "user.id", b"1")
    asked = [("branch", two / "R"), ("log", two / "R"), ("repo", "list"), ("repo", "show", "R"),
             ("show", two / "R/main"), ("show", two / "R/first/link"), ("show", two / "R/main/new"),
             ("status", two / "R/main"), ("diff", "--stat", two / "R/first", two / "R/main"),
             ("restore", two / "R/first", two / "R/main"), ("commit", two / "R/main")]
    keys = set()
    for words in asked:
        keys |= keys_of(shell.json(*words, "--json", cwd=two.path))
    stats = shell.json("stats", "--json", two.path)
    for part in "store", "reader", "index", "heads":
        keys |= keys_of(stats[part])
    text = (two.path / ".pfs/stats").read_text()
    for key in set(stats["mount"]) - {"requests"}:
        assert re.search(rf"^# HELP pfs_{key}(_total)? \S", text, re.M), key
    keys |= set(stats)
    missing = {key for key in keys - {"user.id"} if not re.search(rf"\b{key}\b", manual)}
    assert not missing


def as_user(shell, uid, code, *words, **more):
    result = shell.run(*words, user=uid, **more)
    assert result.code == code, (words, result.out, result.err)
    return result


def test_other_users_may_what_the_permission_bits_say(shell, mount, repo):
    for top in (shell.home, *shell.home.parents):
        if str(top).startswith("/tmp/"):
            os.chmod(top, 0o755)
    os.chmod(mount / "R", 0o755)
    write(repo / "f", "1")
    os.mkdir(repo / "private", 0o700)
    write(repo / "private/secret-name", "1")
    shell.ok("commit", "-n", "first", repo)
    write(repo / "private/secret-name", "22")
    write(repo / "f", "22")
    me = 65534
    as_user(shell, me, 0, "log", repo)
    assert "may not read" in as_user(shell, me, 0, "status", repo).err
    shown = as_user(shell, me, 1, "diff", mount / "R/first", repo)
    assert "M  f" in shown.out and "secret" not in shown.out + shown.err
    assert "secret" not in as_user(shell, me, 1, "diff", mount / "R/first/private",
                                   repo / "private").out
    as_user(shell, me, 1, "show", repo / "private/secret-name")
    as_user(shell, me, 1, "log", repo / "private/secret-name")
    as_user(shell, me, 1, "commit", repo)
    as_user(shell, me, 1, "branch", mount / "R/mine")
    as_user(shell, me, 1, "restore", mount / "R/first/f", repo / "f")
    as_user(shell, me, 1, "repo", "remove", mount / "R")
    as_user(shell, me, 1, "repo", "set", mount / "R", "mode=0777")
    os.chmod(mount / "R", 0o777)
    as_user(shell, me, 0, "branch", mount / "R/mine")
    as_user(shell, me, 0, "commit", "-n", "by-me", repo)
    (commit,) = shell.json("log", "--json", "-n", "1", repo)
    assert commit["author"].startswith("nobody@")
    os.chmod(mount / "R", 0o700)
    as_user(shell, me, 1, "log", "R/main", cwd=mount.path)
    os.chmod(mount / "R", 0o755)
    os.setxattr(repo / "f", "user.open", b"1")
    os.setxattr(repo / "f", "trusted.hidden", b"1")
    seen = shell.run("show", "--json", repo / "f", user=me).json()["entry"]["xattrs"]
    assert seen == {"user.open": "1"}
    subprocess.run(["setfacl", "-m", f"u:{me}:-", repo / "f"], check=True)
    assert "xattrs" not in shell.run("show", "--json", repo / "f", user=me).json()["entry"]
    assert "xattrs" in shell.json("show", "--json", repo / "f")["entry"]
    as_user(shell, me, 0, "repo", "create", mount / "theirs")
    assert os.stat(mount / "theirs").st_uid == me


def test_a_closed_pipe_ends_a_long_answer(shell, mount, repo):
    from conftest import PFS
    for i in range(3000):
        write(repo / f"a rather long name, to fill the pipe {i:090}", "x")
    p = subprocess.Popen([PFS, "status", str(repo)], stdout=subprocess.PIPE,
                         env=shell.environment)
    p.stdout.readline()
    p.stdout.close()
    assert p.wait(20) in (-13, 1)
    assert len(os.listdir(repo)) == 3000


NOTHING = [("stats",), ("status",), ("log",), ("show",), ("commit",), ("restore",), ("branch",),
           ("branch", "create"), ("branch", "remove"), ("repo", "show"), ("repo", "remove")]


@pytest.mark.parametrize("words", NOTHING, ids=" ".join)
@pytest.mark.parametrize("arg", ["", "x" * 5000], ids=["empty", "endless"])
def test_an_argument_that_can_be_no_path_is_refused(shell, repo, words, arg):
    write(repo / "f", "1")
    shell.fails(1, *words, arg, cwd=repo)
    assert shell.json("log", "--json", repo) == []


def test_two_arguments_that_can_be_no_paths_are_refused(shell, repo):
    write(repo / "f", "1")
    shell.fails(1, "diff", "", "", cwd=repo)
    shell.fails(1, "diff", "f", "", cwd=repo)
    shell.fails(1, "branch", "rename", "", "x", cwd=repo)
    shell.fails(1, "export", "", shell.home / "out", cwd=repo)
    shell.fails(1, "import", shell.home, "", cwd=repo)
    assert os.listdir(repo) == ["f"]


def test_a_path_that_cannot_be_followed_says_why(shell, repo):
    write(repo / "a", "1")
    os.symlink("loop", repo / "loop")
    for words in ("diff", "loop/x", "a"), ("log", "./loop/x"), ("show", repo / "loop/x"):
        assert "Too many levels" in shell.fails(1, *words, cwd=repo)
    assert "not in a pfs mount" in shell.fails(1, "log", "../../../x", cwd=repo)


def test_a_path_that_the_caller_may_not_look_into_says_so(shell, mount, repo):
    from conftest import PFS
    write(repo / "pd/in", "1")
    os.chmod(repo / "pd", 0o700)
    for top in (shell.home, *shell.home.parents):
        if str(top).startswith("/tmp/"):
            os.chmod(top, 0o755)
    for arg in "pd/in", "./pd/in", str(repo / "pd/in"):
        done = subprocess.run([PFS, "log", arg], cwd=repo, user=65534, group=65534, extra_groups=[],
                              env=shell.environment, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1 and "Permission denied" in done.stderr


def test_with_several_mounts_a_path_must_say_which(shell, mount):
    other = shell.home / "mnt2"
    other.mkdir()
    shell.ok("mount", "-o", f"state={shell.home}/state2", mount.store, other)
    try:
        assert "Several are mounted" in shell.fails(1, "log", "R/main", cwd="/")
        shell.ok("stats", other)
    finally:
        shell.ok("umount", other)


@pytest.mark.parametrize("arg", ["x1", "bad name", "f/below", "dir/x1"])
def test_a_commit_of_what_is_not_there_is_refused(shell, mount, repo, arg):
    write(repo / "f", "1")
    write(repo / "dir/g", "1")
    assert "main/" + arg in shell.fails(1, "commit", arg, cwd=repo)
    shell.fails(1, "commit", repo / arg)
    assert shell.json("log", "--json", repo) == []
    shell.ok("commit", "dir/g", cwd=repo)
    shell.fails(1, "commit", "-n", "named", "--store", mount.store, f"R/main/{arg}")
    assert not os.path.exists(mount / "R/named")


def test_a_restore_that_is_disturbed_names_where(shell, mount, repo):
    for i in range(60):
        write(repo / f"d{i}/f", str(i))
    shell.ok("commit", "-n", "first", repo)
    for i in range(60):
        write(repo / f"d{i}/f", "changed")
    script = ("import os, sys\n"
              "while True:\n"
              "    for i in range(60):\n"
              "        try:\n"
              "            os.rename(f'{sys.argv[1]}/d{i}', f'{sys.argv[1]}/e{i}')\n"
              "            os.rename(f'{sys.argv[1]}/e{i}', f'{sys.argv[1]}/d{i}')\n"
              "        except OSError:\n"
              "            pass\n")
    other = subprocess.Popen(["python3", "-c", script, str(repo)])
    try:
        for _ in range(20):
            done = shell.run("restore", mount / "R/first", repo)
            if done.code != 0:
                assert re.search("R/main cannot be restored: .*[de][0-9]|[de][0-9]+.*: ", done.err)
    finally:
        other.kill()
        other.wait()
