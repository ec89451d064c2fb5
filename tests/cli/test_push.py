# SPDX-License-Identifier: GPL-3.0-or-later
"""pfs push and pfs pull: what one store has and another lacks."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid

import pytest

from conftest import PFS, can_mount, on_a_terminal

READER = pathlib.Path(__file__).resolve().parents[1] / "reader/pfsread.py"
SERVER = os.environ.get("PFS_TEST_S3")


class Stores:
    """Two stores beside each other: `a` with the repo R, which `b` has not heard of."""

    def __init__(self, shell):
        self.shell = shell
        self.a, self.b = shell.home / "a", shell.home / "b"
        self.source = shell.home / "source"
        for store in self.a, self.b:
            shell.ok("init", store)
        shell.ok("repo", "create", "R", "--store", self.a)
        (self.source / "d").mkdir(parents=True)
        for i in range(50):
            (self.source / f"f{i}").write_text(f"file {i}\n" * i)
            (self.source / f"d/g{i}").write_bytes(os.urandom(500 + i))

    def commit(self, what="R/main", *more, store=None):
        return self.shell.ok("import", "-q", *more, self.source, what, "--store", store or self.a)

    def change(self, text, name="f1"):
        (self.source / name).write_text(text)

    def push(self, *words, store=None):
        words = ("push", "--json", "--store", store or self.a, self.b, *words)
        (repo,) = self.shell.json(*words)["repos"]
        return repo

    def ids(self, store, what="R/main"):
        return [c["id"] for c in self.shell.json("log", "--json", what, "--store", store)]

    def sound(self, store, *revisions):
        """Everything can be found by hints alone, and is what its id says."""
        for rev in revisions:
            subprocess.run([sys.executable, READER, "--hints", store, "check", f"R/{rev}"],
                           check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def stores(shell):
    return Stores(shell)


def states(repo, of="branches"):
    return {x["name"]: x["state"] for x in repo[of]}


def objects(store):
    return sorted(str(p) for p in store.rglob("*") if p.is_file() and "tmp" not in p.parts)


def packs(store):
    return [p for p in (store / "packs").rglob("*") if p.is_file()]


def test_what_is_missing_moves_and_nothing_else(shell, stores):
    stores.commit("R/main", "-n", "first")
    repo = stores.push()
    assert repo["commits"] == 1 and repo["repo"] == repo["as"] == "R"
    assert states(repo) == {"main": "created"} and states(repo, "names") == {"first": "created"}
    before = objects(stores.b)
    repo = stores.push()
    assert (repo["commits"], repo["objects"], repo["packs"]) == (0, 0, 0)
    assert states(repo) == {"main": "same"} and objects(stores.b) == before
    stores.change("other")
    stores.commit()
    repo = stores.push()
    assert repo["commits"] == 1 and states(repo) == {"main": "moved"}
    # The chunk, and the root's node.
    assert repo["objects"] == 2 and repo["packs"] == 1


def test_commits_keep_their_ids_and_lie_where_their_hints_say(shell, stores):
    for i in range(4):
        stores.change(f"{i}", f"f{i}")
        stores.commit("R/main", "-n", f"n{i}")
    stores.push()
    assert stores.ids(stores.a) == stores.ids(stores.b)
    stores.sound(stores.b, "main", "n0", "n2")
    shell.ok("export", "-q", "R/main", shell.home / "out", "--store", stores.b)
    assert subprocess.run(["diff", "-r", stores.source, shell.home / "out"]).returncode == 0


def test_every_kind_of_file_comes_through(shell, stores):
    s = stores.source
    (s / "large").write_bytes(os.urandom(3 << 20))
    os.link(s / "large", s / "d/link")
    os.symlink("f0", s / "symlink")
    os.mkfifo(s / "fifo")
    (s / "empty").write_bytes(b"")
    (s / "nothing").mkdir()
    with open(s / "holes", "wb") as f:
        f.seek(5 << 20)
        f.write(os.urandom(300 << 10))
        f.truncate(9 << 20)
    (s / os.fsdecode(b"\xff\xfe")).write_text("no UTF-8")
    try:
        os.setxattr(s / "f1", "user.large", os.urandom(3000))
        os.setxattr(s, "user.of-the-root", os.urandom(2000))
        os.setxattr(s / "f2", "user.small", b"x")
    except OSError:
        pass  # a filesystem without
    id = stores.commit("R/main", "-n", "all")
    stores.push()
    assert stores.ids(stores.b) == [id]
    stores.sound(stores.b, "all")


def test_a_small_change_in_much_moves_little(shell, stores):
    for i in range(6000):
        (stores.source / f"d/many-{i:05}-with-a-name-of-some-length").write_text("same")
    stores.commit()
    first = stores.push()
    (stores.source / "d/many-03000-with-a-name-of-some-length").write_text("other")
    stores.commit()
    second = stores.push()
    assert first["objects"] > 20
    # A chunk; the leaf, the inner node, the directory above.
    assert second["objects"] <= 5
    stores.sound(stores.b, "main")


def test_a_long_history_shares_packs(shell, stores):
    for i in range(30):
        stores.change(f"{i}", f"f{i}")
        stores.commit()
    assert len(packs(stores.a)) == 30
    repo = stores.push()
    assert repo["commits"] == 30 and repo["packs"] == len(packs(stores.b)) == 1
    stores.sound(stores.b, "main")


def test_what_another_repo_there_has_is_not_stored_again(shell, stores):
    (stores.source / "large").write_bytes(os.urandom(4 << 20))
    shell.ok("repo", "create", "other", "--store", stores.b)
    stores.commit("other/main", store=stores.b)
    stores.commit()
    assert stores.push()["bytes"] < 1 << 20
    stores.sound(stores.b, "main")


def test_pull_is_the_other_way_round(shell, stores):
    id = stores.commit()
    repo = shell.json("pull", "--json", "--store", stores.b, stores.a, "R/main")["repos"][0]
    assert repo["commits"] == 1 and stores.ids(stores.b) == [id]


def test_a_branch_that_is_further_there_is_left_and_comes_back(shell, stores):
    stores.commit()
    stores.push()
    stores.change("more")
    id = stores.commit(store=stores.b)
    repo = stores.push()
    assert states(repo) == {"main": "ahead"} and stores.ids(stores.b)[0] == id
    shell.ok("pull", "--store", stores.a, stores.b)
    assert stores.ids(stores.a) == stores.ids(stores.b)


def test_a_branch_that_has_diverged_is_left_and_its_commits_go(shell, stores):
    stores.commit()
    stores.push()
    stores.change("there")
    there = stores.commit(store=stores.b)
    stores.change("here")
    here = stores.commit("R/main", "-n", "mine")
    result = shell.run("push", "--json", "--store", stores.a, stores.b)
    (repo,) = result.json()["repos"]
    assert result.code == 3 and "R/main has diverged" in result.err and here in result.err
    assert states(repo) == {"main": "diverged"} and stores.ids(stores.b)[0] == there
    assert stores.ids(stores.b, "R/mine")[0] == here
    stores.sound(stores.b, "mine", "main")


def test_a_name_that_means_something_else_there_is_said_and_left(shell, stores):
    first = stores.commit("R/main", "-n", "x")
    stores.push()
    stores.change("here")
    here = stores.commit("R/main", "-n", "both")
    stores.commit("R/main", "-n", "mine")
    shell.ok("branch", "R/side", "--store", stores.b)
    stores.change("there")
    there = stores.commit("R/side", "-n", "both", store=stores.b)
    result = shell.run("push", "--json", "--store", stores.a, stores.b)
    (repo,) = result.json()["repos"]
    assert result.code == 1 and "`both` is something else" in result.err and here in result.err
    assert states(repo, "names") == {"both": "clash", "mine": "created", "x": "same"}
    assert states(repo) == {"main": "moved"}
    assert stores.ids(stores.b, "R/both")[0] == there and stores.ids(stores.b, "R/x") == [first]


def test_another_repo_of_the_same_name_is_refused(shell, stores):
    id = stores.commit()
    shell.ok("repo", "create", "R", "--store", stores.b)
    before = objects(stores.b)
    said = shell.fails(1, "push", "--store", stores.a, stores.b)
    assert "another repo" in said and "--as" in said and objects(stores.b) == before
    shell.ok("push", "--as", "R-of-a", "--store", stores.a, stores.b)
    assert stores.ids(stores.b, "R-of-a/main") == [id]
    # From then on it is known by its id.
    stores.change("2")
    stores.commit()
    assert stores.push()["as"] == "R-of-a" and len(stores.ids(stores.b, "R-of-a/main")) == 2


def test_a_store_and_its_copy_are_refused(shell, stores):
    stores.commit()
    shutil.copytree(stores.a, shell.home / "copy")
    for other in stores.a, shell.home / "copy":
        assert "same store" in shell.fails(1, "push", "--store", stores.a, other)


def test_one_branch_takes_the_names_of_its_commits_along(shell, stores):
    stores.commit("R/main", "-n", "base")
    shell.ok("branch", "R/side", "--store", stores.a)
    stores.change("side")
    stores.commit("R/side", "-n", "of-side")
    stores.change("main")
    stores.commit("R/main", "-n", "of-main")
    repo = stores.push("R/side")
    assert states(repo) == {"side": "created"}
    assert states(repo, "names") == {"base": "created", "of-side": "created"}
    assert repo["commits"] == 2
    shell.ok("import", "-q", "-n", "later", stores.source, "R/main", "--store", stores.a)
    assert states(stores.push("R/side"), "names") == {}
    assert states(stores.push("R/main"), "names") == {"of-main": "created", "later": "created"}
    assert states(stores.push())["side"] == "same"
    stores.sound(stores.b, "main", "side", "of-main")


def test_commits_that_no_branch_leads_to_go_with_the_repo(shell, stores):
    stores.commit()
    shell.ok("branch", "R/side", "--store", stores.a)
    stores.change("lost")
    id = stores.commit("R/side")
    shell.ok("branch", "remove", "R/side", "--store", stores.a)
    assert stores.push()["commits"] == 2
    assert stores.ids(stores.b, f"R/{id}")[0] == id


def test_branches_without_a_commit_and_settings_move(shell, stores):
    shell.ok("repo", "create", "E", "--store", stores.a, "--branch", "trunk", "--chunk", "65536")
    repo = shell.json("push", "--json", "--store", stores.a, stores.b, "E")["repos"][0]
    assert states(repo) == {"trunk": "created"}
    (a,), (b,) = ([x for x in shell.json("repo", "--json", "--store", s) if x["repo"] == "E"]
                  for s in (stores.a, stores.b))
    assert a == b


def test_all_repos_go_when_none_is_named(shell, stores):
    stores.commit()
    shell.ok("repo", "create", "Q", "--store", stores.a)
    stores.commit("Q/main")
    said = shell.json("push", "--json", "--store", stores.a, stores.b)
    assert [r["repo"] for r in said["repos"]] == ["Q", "R"]
    assert "Nothing is missing" in shell.ok("push", "--store", stores.a, stores.b)


def test_a_dry_run_changes_nothing(shell, stores):
    stores.commit("R/main", "-n", "first")
    before = objects(stores.b)
    said = shell.ok("push", "-n", "--store", stores.a, stores.b)
    assert "R/main  new branch" in said and "R/first  new name" in said
    assert "1 commit would be moved" in said and objects(stores.b) == before


def test_what_is_damaged_here_does_not_go_there(shell, stores):
    (stores.source / "large").write_bytes(os.urandom(2 << 20))
    stores.commit()
    (pack,) = packs(stores.a)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    said = shell.fails(1, "push", "--store", stores.a, stores.b)
    assert "cannot be moved" in said and pack.name in said
    assert not (list((stores.b / "commits").rglob("*")) if (stores.b / "commits").exists() else [])


def test_wrong_arguments_are_said(shell, stores):
    stores.commit()
    at = "--store", stores.a
    assert "no branch x" in shell.fails(1, "push", *at, stores.b, "R/x")
    assert "S" in shell.fails(1, "push", *at, stores.b, "S")
    assert "REPO/BRANCH" in shell.fails(1, "push", *at, stores.b, "R/main/f")
    assert "none" in shell.fails(1, "push", *at, shell.home / "none")
    shell.fails(2, "push", *at)
    shell.fails(2, "push", "--all", *at, stores.b, "R")
    assert "one repo" in shell.fails(1, "push", "--as", "x", *at, stores.b, "R", "R")


def test_what_has_been_moved_is_shown_on_a_terminal_only(shell, stores):
    stores.commit()
    words = "push", "--store", stores.a, stores.b
    text, code = on_a_terminal(shell, words)
    assert code == 0 and re.search(r"pushed \d+ objects, ", text)
    text, code = on_a_terminal(shell, (*words, "-q"))
    assert code == 0 and "\x1b" not in text
    assert "pushed" not in shell.run(*words).err


def end_push_in_the_middle(shell, stores, how):
    """Starts a push and ends it when some of the packs are there."""
    for i in range(3):
        (stores.source / f"large{i}").write_bytes(os.urandom(40 << 20))
    stores.commit()
    p = subprocess.Popen([PFS, "push", "--store", stores.a, stores.b], env=shell.environment,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(packs(stores.b) if (stores.b / "packs").exists() else []) < 2 and p.poll() is None:
        time.sleep(0.002)
    p.send_signal(how)
    out, err = p.communicate()
    return p.returncode, out, err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_push_that_was_ended_publishes_nothing_and_is_resumed(shell, stores, how):
    code, _, err = end_push_in_the_middle(shell, stores, how)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 1), err
    assert how == signal.SIGKILL or "stopped" in err
    there = sum(p.stat().st_size for p in packs(stores.b))
    assert not any((stores.b / "commits").rglob("*")) if (stores.b / "commits").exists() else True
    assert there > 60 << 20 and shell.ok("log", "R/main", "--store", stores.b) == ""
    # Also for a machine that knows nothing of the first try.
    repo = Stores.push(stores)
    total = sum(p.stat().st_size for p in packs(stores.b))
    whole = sum(p.stat().st_size for p in packs(stores.a))
    assert repo["bytes"] < whole - (60 << 20) and total < whole * 1.02
    shell.ok("export", "-q", "R/main", shell.home / "out", "--store", stores.b)
    assert subprocess.run(["diff", "-r", stores.source, shell.home / "out"]).returncode == 0


@can_mount
def test_in_a_mount_the_current_directory_says_what_goes(shell, mount):
    other = shell.home / "other"
    shell.ok("init", other)
    for name in "R", "Q":
        os.mkdir(mount / name)
        (mount / f"{name}/main/f").write_text(name)
        os.mkdir(mount / f"{name}/commits/first")
    os.mkdir(mount / "R/side")
    repos = shell.json("push", "--json", other, cwd=mount / "R/side")["repos"]
    assert [(r["repo"], list(states(r))) for r in repos] == [("R", ["side"])]
    repos = shell.json("push", "--json", other, cwd=mount / "R")["repos"]
    assert [(r["repo"], list(states(r))) for r in repos] == [("R", ["main", "side"])]
    repos = shell.json("push", "--json", "--all", other, cwd=mount / "R")["repos"]
    assert [r["repo"] for r in repos] == ["Q", "R"]
    repos = shell.json("push", "--json", other, mount / "Q/main", cwd="/")["repos"]
    assert [(r["repo"], list(states(r))) for r in repos] == [("Q", ["main"])]


@can_mount
def test_what_runs_were_begun_on_goes_along(shell, mount):
    other = shell.home / "other"
    shell.ok("init", other)
    os.mkdir(mount / "R")
    (mount / "R/main/f").write_text("never committed")
    assert shell.run("run", "cp", "f", "g", cwd=mount / "R/main").code == 0
    shell.ok("push", other, mount / "R", cwd="/")
    assert not shell.json("push", "--json", other, mount / "R", cwd="/")["repos"][0]["commits"]

    def keys(store, kind):
        return sorted(str(p.relative_to(store)) for p in (store / kind).rglob("*"))

    for kind in "pins", "commits":
        assert keys(other, kind) == keys(mount.store, kind)
    assert len(keys(other, "pins")) > 1
    (made,) = shell.json("runs", "--json", "--store", other)
    for key in "pinned", "result":
        commit = made["outputs"][0][key]
        subprocess.run([sys.executable, READER, "--hints", other, "check", f"R/{commit[:12]}"],
                       check=True, stdout=subprocess.DEVNULL)


@can_mount
def test_a_mount_shows_what_was_pulled(shell, mount, stores):
    stores.commit("R/main", "-n", "first")
    shell.ok("pull", stores.a, cwd=mount.path)
    end = time.monotonic() + 20
    while "R" not in os.listdir(mount.path) and time.monotonic() < end:
        time.sleep(0.05)
    assert (mount / "R/first/f3").read_text() == (stores.source / "f3").read_text()


@pytest.mark.skipif(not SERVER, reason="needs an S3 server")
def test_directory_to_bucket_to_bucket_to_directory(shell, stores):
    for name in "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY":
        shell.environment[name] = os.environ[name]
    (stores.source / "large").write_bytes(os.urandom(9 << 20))
    for i in range(5):
        stores.change(f"{i}")
        stores.commit("R/main", "-n", f"n{i}")
    way = [stores.a, *(f"s3://pfs-cli/{uuid.uuid4().hex}?endpoint={SERVER}" for _ in range(2)),
           stores.b]
    for store in way[1:3]:
        shell.ok("init", store)
    for x, y in zip(way, way[1:]):
        (repo,) = shell.json("push", "--json", "--store", x, y)["repos"]
        assert repo["commits"] == 5 and repo["bytes"] > 9 << 20
        (repo,) = shell.json("push", "--json", "--store", x, y)["repos"]
        assert repo["commits"] == repo["packs"] == 0
    assert stores.ids(stores.a) == stores.ids(stores.b)
    stores.sound(stores.b, "main", "n0", "n3")
