# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of users who may not do all: by a run nobody gets at what he does not get at without one."""

import json
import os

import pytest
from conftest import as_user
from runs import Run, needs_namespaces

pytestmark = pytest.mark.skipif(needs_namespaces(), reason="needs root and unshare")

USER = 65534

# What the user's own program begins with: ask() gives the answer's last line, or the sentence of what
# was refused; tell() says what came of something.
ASKING = """
import json, os, sys
base = sys.argv[1]
fd = os.open(base + "/.pfs/control", os.O_RDWR)

def ask(verb, **fields):
    os.write(fd, json.dumps(dict(fields, verb=verb)).encode())
    answer = b""
    while part := os.read(fd, 65536):
        answer += part
    lines = [json.loads(x) for x in answer.splitlines()]
    return lines[-1]["error"]["message"] if "error" in lines[-1] else lines[-2]

def begin(**fields):
    return ask("run-begin", argv=["true"], cwd="/", **fields)

def tell(what, fn):
    try:
        told[what] = fn()
    except OSError as e:
        told[what] = type(e).__name__

told = {}
"""


def as_asking_user(mount, code, *args):
    """What a program of the user's told."""
    return json.loads(as_user(USER, ASKING + code + "\nprint(json.dumps(told))", mount.path, *args))


@pytest.fixture
def shared(mount):
    """A repo that others may look at, with one directory that they may write to; and a private one."""
    for name, mode in (("R", 0o755), ("P", 0o700)):
        os.mkdir(mount / name)
        (mount / name / "main/f").write_text("root's")
        os.mkdir(mount / name / "main/pub")
        os.chmod(mount / name / "main/pub", 0o777)
        os.mkdir(mount / name / "commits/N")
        os.chmod(mount / name, mode)
    return mount


def test_permissions_hold_in_a_view_and_what_they_allow_is_published(shared):
    told = as_asking_user(shared, """
run = begin()
view = base + "/" + run["root"]
tell("own", lambda: open(view + "/R/main/pub/x", "w").write("mine"))
tell("file", lambda: open(view + "/R/main/f", "w"))
tell("directory", lambda: open(view + "/R/main/y", "w"))
tell("private", lambda: os.listdir(view + "/P"))
tell("inside", lambda: open(view + "/P/main/pub/z", "w"))
tell("end", lambda: ask("run-end", id=run["id"], exit=0))
""")
    assert told.pop("end")["status"] == "ok"
    assert told.pop("own") == 4
    assert set(told.values()) == {"PermissionError"}
    assert (shared / "R/main/pub/x").read_text() == "mine"
    assert os.stat(shared / "R/main/pub/x").st_uid == USER
    assert sorted(os.listdir(shared / "R/main")) == ["f", "pub"]
    assert sorted(os.listdir(shared / "P")) == ["N", "commits", "main"]


def test_an_output_in_a_repo_that_he_may_not_enter_tells_him_nothing(shared):
    told = as_asking_user(shared, """
for name in "main", "none":
    told[name] = begin(out=["P/" + name])
""")
    assert told["main"] == told["none"] and "permissions" in told["main"]
    assert os.listdir(shared / ".pfs/run") == []


def test_of_another_users_run_he_neither_reads_nor_writes_nor_ends_anything(shared):
    with Run(shared) as run:
        (run.dir / "params").write_text("a=1\n")
        told = as_asking_user(shared, """
id, mine = sys.argv[2], begin()
there = base + "/.pfs/run/" + id
tell("read", lambda: open(there + "/params").read())
tell("append", lambda: open(there + "/params", "a").write("b=2\\n"))
tell("list", lambda: os.listdir(there))
tell("view", lambda: os.listdir(there + "/root/R"))
tell("control", lambda: os.open(there + "/root/.pfs/control", os.O_RDWR))
tell("write", lambda: open(there + "/root/R/main/pub/x", "w"))
told["end"] = ask("run-end", id=id, exit=0)
told["configs"] = ask("run-configs", id=id)
told["show"] = ask("run-show", run=id)
ask("run-end", id=mine["id"], exit=0)
""", run.id)
        assert "no run" in told.pop("end")
        assert "no run" in told.pop("configs")
        assert "another user's" in told.pop("show")
        assert set(told.values()) == {"PermissionError"}
        assert (run.dir / "params").read_text() == "a=1\n"
        assert run.end()["status"] == "ok"


def test_his_own_record_names_no_branch_that_he_may_not_see(shared):
    told = as_asking_user(shared, """
id = begin()["id"]
ask("run-end", id=id, exit=0)
told["mine"] = ask("run-show", run=id)
told["id"] = id
""")
    assert [p["repo"] for p in told["mine"]["start"]["pinned"]] == ["R"]
    with Run(shared) as run:
        start = run.ask("run-show", run=told["id"])[-1]["start"]
        assert sorted(p["repo"] for p in start["pinned"]) == ["P", "R"]
        run.end()


def test_an_update_does_not_tell_what_is_in_a_directory_that_he_may_not_enter(shared):
    os.mkdir(shared / "R/main/hidden", 0o700)
    (shared / "R/main/hidden/x").write_text("root's")
    told = as_asking_user(shared, """
for name in "x", "none":
    told[name] = ask("run-plan", paths=["R/main/hidden/" + name]).replace(name, "")
""")
    assert told["x"] == told["none"] and "Permission denied" in told["x"]


@pytest.mark.parametrize("wrong", [{"params": 3}, {"metrics": [{"key": 1}]}, {"usage": "much"},
                                   {"output": []}, {"error": [1]}, {"status": 300}])
def test_an_end_that_is_told_wrong_is_recorded_without_what_is_wrong(shared, wrong):
    status = "failed" if "status" in wrong else "ok"
    with Run(shared) as run:
        (run.view / "R/main/out").write_text("made")
        assert run.end(**wrong)["status"] == status
    run.wait_until_gone()
    with Run(shared) as other:
        end = other.ask("run-show", run=run.id)[-1]["end"]
        assert end["status"] == status and end["outputs"]
        assert "cannot be recorded" in " ".join(end["error"])
        other.end()
