# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on a store that is not mounted."""

import os
import re
import shutil
import subprocess
import threading

import pytest


def test_init_makes_a_store_in_a_new_directory(shell):
    shell.ok("init", shell.home / "a/b")
    assert (shell.home / "a/b/format").exists()


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_store_is_a_path_or_a_url(shell, form):
    shell.ok("init", form.format(shell.home / "s"))
    shell.ok("repo", "--store", form.format(shell.home / "s"))


def test_a_second_init_says_so_and_changes_nothing(shell, store):
    before = (store / "format").read_bytes()
    err = shell.fails(1, "init", store)
    assert "already" in err or "exists" in err
    assert (store / "format").read_bytes() == before


def test_init_refuses_a_directory_with_other_things(shell):
    (shell.home / "mine").mkdir()
    (shell.home / "mine/file").write_text("x")
    shell.fails(1, "init", shell.home / "mine")
    assert os.listdir(shell.home / "mine") == ["file"]


def test_two_inits_at_once_make_one_store(shell):
    codes = []

    def run():
        codes.append(shell.run("init", shell.home / "s").code)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(codes) == [0, 1, 1, 1]


def test_a_store_that_is_not_there(shell):
    err = shell.fails(1, "repo", "--store", shell.home / "none")
    assert "none" in err


def test_a_directory_that_is_no_store(shell):
    (shell.home / "dir").mkdir()
    (shell.home / "dir/file").write_text("x")
    assert "dir" in shell.fails(1, "repo", "--store", shell.home / "dir")


def test_a_file_that_is_no_store(shell):
    (shell.home / "file").write_text("x")
    shell.fails(1, "repo", "--store", shell.home / "file")


def test_a_store_with_a_damaged_format(shell, store):
    (store / "format").write_bytes(b"pfsF" + bytes(60))
    shell.fails(1, "repo", "--store", store)


def test_a_url_of_no_kind(shell):
    assert "ftp://x" in shell.fails(1, "repo", "--store", "ftp://x/y")


def test_without_a_store_to_be_meant(shell):
    with open("/proc/self/mounts") as mounts:
        if any(line.split()[2] == "fuse.pfs" for line in mounts):
            pytest.skip("a pfs is mounted, which would be meant")
    assert "--store" in shell.fails(1, "repo", "list")


def test_the_environment_says_which_store(shell, store):
    shell.ok("repo", "create", "R", env={"PFS_STORE": str(store)})
    assert shell.ok("repo", env={"PFS_STORE": str(store)}) == "R"


def write_config(shell, text):
    (shell.home / "config/pfs").mkdir(parents=True, exist_ok=True)
    (shell.home / "config/pfs/config").write_text(text)


def test_a_configuration_file_names_stores(shell, store):
    write_config(shell, f"[store lab]\nurl = file://{store}\n\n[default]\nstore = lab\n")
    shell.ok("repo", "create", "R", "--store", "lab")
    assert shell.ok("repo", "--store", "lab") == "R"
    assert shell.ok("repo", env={"PFS_STORE": "lab"}) == "R"


def test_a_wrong_configuration_file_is_named(shell, store):
    write_config(shell, "[store lab]\nurl = /x\ncolour = blue\n")
    err = shell.fails(1, "repo", "--store", "lab")
    assert "colour" in err and "config" in err
    write_config(shell, "this is no line\n")
    assert "line 1" in shell.fails(1, "repo", "--store", "lab")


def test_repos_are_made_listed_and_removed(shell, store):
    at = ("--store", store)
    for name in "b", "a", "20260115":
        shell.ok("repo", "create", name, *at)
    assert shell.ok("repo", *at).splitlines() == ["20260115", "a", "b"]
    shell.ok("repo", "remove", "a", *at)
    assert shell.ok("repo", "list", *at).splitlines() == ["20260115", "b"]
    assert "`a`" in shell.fails(1, "repo", "remove", "a", *at)
    assert "`b`" in shell.fails(1, "repo", "create", "b", *at)


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "commits", "a b", "deadbeef", "x" * 101, "ü",
                                  "a\nb"])
def test_what_is_no_name_is_refused_with_the_rule(shell, store, name):
    # A name with a dash in front reads as an option.
    result = shell.run("repo", "create", "--store", store, "--", name)
    assert result.code in (1, 2) and result.err
    assert shell.ok("repo", "--store", store) == ""


def test_a_repo_as_json(shell, store):
    shell.ok("repo", "create", "R", "--chunk", "64K", "--branch", "trunk", "--store", store)
    repo = shell.json("repo", "show", "R", "--json", "--store", store)
    assert repo["repo"] == "R" and repo["default_branch"] == "trunk"
    assert repo["chunk"] == {"min": 16384, "avg": 65536, "max": 262144}
    assert re.fullmatch(r"[0-9a-f]{32}", repo["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", repo["created"])
    assert repo["uid"] == os.geteuid() and repo["mode"] == "0755"
    assert shell.json("repo", "list", "--json", "--store", store) == [repo]


def test_no_repos_are_an_empty_array(shell, store):
    assert shell.json("repo", "list", "--json", "--store", store) == []


@pytest.mark.parametrize("size", ["1", "100K", "1T", "-4", "x", ""])
def test_a_chunk_size_that_cannot_be(shell, store, size):
    assert shell.run("repo", "create", "R", "--chunk", size, "--store", store).code in (1, 2)
    assert shell.ok("repo", "--store", store) == ""


def test_a_repo_is_set_up(shell, store):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    shell.ok("repo", "set", "R", "mode=0700", "chunk=1M", "color=blue", "size=10", *at)
    repo = shell.json("repo", "show", "R", "--json", *at)
    assert repo["mode"] == "0700" and repo["chunk"]["avg"] == 1 << 20
    assert repo["settings"] == {"color": "blue", "size": "10"}
    shell.ok("repo", "set", "R", "color=", *at)
    assert shell.json("repo", "show", "R", "--json", *at)["settings"] == {"size": "10"}
    shell.fails(1, "repo", "set", "R", "mode=9", *at)
    shell.fails(1, "repo", "set", "R", "default-branch=none", *at)
    shell.fails(2, "repo", "set", "R", "nonsense", *at)


def test_a_repo_is_set_to_be_committed_by_itself_at_times_that_there_are(shell, store):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    for when in "idle=30s", "every=10m", "off":
        shell.ok("repo", "set", "R", "autocommit=" + when, *at)
        assert shell.json("repo", "show", "R", "--json", *at)["settings"] == {"autocommit": when}
    for when in "on", "idle", "idle=0s", "every=soon", "idle=30":
        said = shell.fails(1, "repo", "set", "R", "autocommit=" + when, *at)
        assert f"`{when}`" in said and "every=10m" in said
    assert shell.json("repo", "show", "R", "--json", *at)["settings"] == {"autocommit": "off"}
    shell.ok("repo", "set", "R", "autocommit=", *at)
    assert shell.json("repo", "show", "R", "--json", *at)["settings"] == {}


def test_branches_of_an_empty_repo(shell, store):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    shell.ok("branch", "R/next", *at)
    shell.ok("branch", "create", "R/third", "next", *at)
    names = [b["branch"] for b in shell.json("branch", "list", "R", "--json", *at)]
    assert names == ["main", "next", "third"]
    assert all(b["commit"] is None for b in shell.json("branch", "R", "--json", *at))
    shell.ok("branch", "rename", "R/third", "last", *at)
    shell.ok("branch", "remove", "R/next", *at)
    assert [b["branch"] for b in shell.json("branch", "R", "--json", *at)] == ["last", "main"]


def test_the_default_branch_stays(shell, store):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    assert "default" in shell.fails(1, "branch", "remove", "R/main", *at)
    assert "default" in shell.fails(1, "branch", "rename", "R/main", "other", *at)


def test_wrong_branches(shell, store):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    assert "`main`" in shell.fails(1, "branch", "R/main", *at)
    assert "`none`" in shell.fails(1, "branch", "R/x", "none", *at)
    assert "`none`" in shell.fails(1, "branch", "remove", "R/none", *at)
    assert "`Q`" in shell.fails(1, "branch", "Q/x", *at)
    assert "`Q`" in shell.fails(1, "branch", "Q", *at)
    shell.fails(1, "branch", "R/commits", *at)
    shell.fails(1, "branch", "R/deadbeef", *at)


def test_an_empty_repo_has_no_log_and_nothing_to_commit(shell, store):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    assert shell.json("log", "R", "--json", *at) == []
    assert "no commit yet" in shell.fails(1, "show", "R/main", *at)
    assert "no commit yet" in shell.fails(1, "commit", "R/main", *at)
    assert "no commit yet" in shell.fails(1, "diff", "R/main", "R/main", *at)
    status = shell.json("status", "R/main", "--json", *at)
    assert status["base"] is None and not status["is_mounted"] and status["changes"] == []


@pytest.mark.parametrize("path", ["none", "none/main", "R/none", "R/main/none", "R/deadbeef00",
                                  "R/commits/none"])
def test_paths_that_are_not_there(shell, store, path):
    at = ("--store", store)
    shell.ok("repo", "create", "R", *at)
    for command in "log", "show", "status":
        shell.fails(1, command, path, *at)


def test_a_path_of_the_machine_is_none_of_the_store(shell, store):
    assert "/tmp" in shell.fails(1, "log", "/tmp", "--store", store)
    assert "not in a pfs mount" in shell.fails(1, "log", "/tmp")
    assert "not in a pfs mount" in shell.fails(1, "log", "./x")


def test_stats_of_an_empty_store(shell, store):
    stats = shell.json("stats", "--json", "--store", store)
    assert stats["store"]["repos"] == 0 and stats["store"]["stored_bytes"] == 0
    assert "heads" not in stats
    shell.ok("stats", "--store", store)


def test_a_store_that_may_only_be_read_is_read(shell, store):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    shell.ok("repo", "create", "R", "--store", store)
    for top in (shell.home, *shell.home.parents):
        if str(top).startswith("/tmp/"):
            os.chmod(top, 0o755)
    subprocess.run(["chmod", "-R", "a+rX", str(store)], check=True)
    env = {"XDG_STATE_HOME": "/tmp/pfs-cli-test-nobody", "XDG_CACHE_HOME": "/tmp/pfs-cli-test-nobody",
           "HOME": "/tmp/pfs-cli-test-nobody"}
    try:
        assert shell.ok("repo", "--store", store, user=65534, env=env) == "R"
        shell.fails(1, "repo", "create", "Q", "--store", store, user=65534, env=env)
    finally:
        shutil.rmtree("/tmp/pfs-cli-test-nobody", ignore_errors=True)
