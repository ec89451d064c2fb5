# SPDX-License-Identifier: GPL-3.0-or-later
"""`pfs rerun`: what was run is run again on what it was run on, nothing is overwritten, and what
differs is told."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import PFS, SECONDS, can_mount
from recorded import record, records

pytestmark = can_mount


class Lab:
    """A branch in which things are run."""

    def __init__(self, shell, mount, files, home):
        self.shell, self.mount, self.files, self.home = shell, mount, files, home

    def run(self, *words, cwd=None, env=None, stdin=subprocess.DEVNULL):
        """Its id."""
        done = subprocess.run([PFS, "run", *map(str, words)], cwd=cwd or self.files, stdin=stdin,
                              env=dict(self.shell.environment, **(env or {})), timeout=SECONDS,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr
        return self.last()["id"]

    def rerun(self, *words, code=0, **more):
        result = self.shell.run("rerun", *words, cwd=more.pop("cwd", self.files), **more)
        assert result.code == code, (result.code, result.out, result.err)
        return result

    def lines(self, *words, **more):
        """The report's lines behind the first one."""
        out = self.rerun(*words, **more).out.splitlines()
        at = [i for i, line in enumerate(out) if line.startswith("rerun ")]
        return [" ".join(line.split()) for line in out[at[0] + 1:]]

    def last(self):
        return record(self.mount)

    def params(self):
        [path] = pathlib.Path(self.mount.store).glob(f"runs/*/{self.last()['id']}.start")
        return {p["key"]: p["value"] for p in json.loads(path.read_text())["params"]}

    def kept(self, name, run=None):
        """What the last run has left on the branch of its own."""
        path = self.mount / f"R/rerun-{(run or self.last())['id']}" / name
        return path.read_text() if path.exists() else None


@pytest.fixture
def lab(shell, mount, repo, tmp_path):
    (repo / "in").write_text("first\n")
    shell.ok("commit", repo)
    return Lab(shell, mount, repo, tmp_path)


# ---- the same on the same ----

def test_a_name_goes_on_meaning_the_run_that_was_repeated(lab, shell):
    run = lab.run("-n", "first", "sh", "-c", "cat in > out")
    lab.rerun("first")
    assert lab.rerun("first").out.splitlines()[0].endswith(f" of {run}")
    assert "name" not in lab.last()


def test_it_reads_what_was_read_then_and_overwrites_nothing(lab, shell):
    run = lab.run("sh", "-c", "cat in > out")
    (lab.files / "in").write_text("second\n")
    (lab.files / "out").write_text("by hand\n")
    shell.ok("commit", lab.files)
    lines = lab.lines(run)
    new = lab.last()
    assert lines[0] == f"kept R/rerun-{new['id']}"
    assert lines[1:] == ["same R/main/out", "same exit", "same stdout", "same stderr"]
    assert lab.kept("out") == "first\n" and lab.kept("in") == "first\n"
    assert (lab.files / "out").read_text() == "by hand\n"
    assert new["group"] == f"rerun:{run}" and new["rerun"] == run and new["status"] == "ok"
    [old] = [r for r in records(lab.mount) if r["id"] == run]
    assert new["pinned"] == old["pinned"] and new["argv"] == old["argv"]
    assert [sorted(o) for o in new["outputs"]] == \
        [["branch", "branch_id", "kept", "pinned", "repo", "repo_id", "result"]]


def test_what_was_uncommitted_then_is_read_again(lab):
    (lab.files / "script").write_text("echo one > out\n")
    run = lab.run("sh", "script")
    (lab.files / "script").write_text("echo two > out\n")
    assert "same R/main/out" in lab.lines(run)
    assert lab.kept("out") == "one\n"


def test_a_rerun_can_be_rerun_and_its_outputs_are_no_ones_maker(lab, shell):
    first = lab.run("sh", "-c", "cat in > out")
    lab.rerun(first)
    lab.rerun(lab.last()["id"])
    assert lab.kept("out") == "first\n"
    why = shell.json("why", "--json", lab.files / "out")
    assert why[0]["run"] == first


def test_what_it_looked_at_late_is_read_again(lab, shell):
    os.mkdir(lab.mount / "S")
    (lab.mount / "S/main/f").write_text("1\n")
    shell.ok("commit", lab.mount / "S/main")
    top = lab.mount.path
    run = lab.run("sh", "-c", f"cd {top}; pfs commit . >/dev/null 2>&1; mkdir N; cat N/main/* "
                  f"S/main/f > R/main/out 2>&1; :")
    (lab.mount / "S/main/f").write_text("2\n")
    shell.ok("commit", lab.mount / "S/main")
    lab.rerun(run)
    assert lab.kept("out").endswith("1\n")


def test_a_run_that_was_in_another_one_is_rerun_by_itself(lab):
    lab.run("-n", "outer", "sh", "-c", f"echo made > x; {PFS} run -n inner sh -c 'cat x in > out'")
    assert "same R/main/out" in lab.lines("inner")
    assert lab.kept("out") == "made\nfirst\n"
    assert "parent" not in lab.last()
    assert "same R/main/x" in lab.lines("outer")


def test_a_branch_that_is_gone_is_there_again(lab, shell):
    shell.ok("branch", "create", lab.mount / "R/other", lab.files)
    (lab.mount / "R/other/f").write_text("here\n")
    shell.ok("commit", lab.mount / "R/other")
    run = lab.run("sh", "-c", "cat ../other/f > out")
    shell.ok("branch", "remove", lab.mount / "R/other")
    assert "same R/main/out" in lab.lines(run)


def test_two_branches_that_it_writes_are_kept_as_two(lab, shell):
    shell.ok("branch", "create", lab.mount / "R/other", lab.files)
    run = lab.run("sh", "-c", "echo a > out; echo b > ../other/out")
    lines = lab.lines(run)
    assert lines[-5:-3] == ["same R/main/out", "same R/other/out"] and len(lines) == 7
    kept = {o["branch"]: o["kept"] for o in lab.last()["outputs"]}
    assert (lab.mount / "R" / kept["main"] / "out").read_text() == "a\n"
    assert (lab.mount / "R" / kept["other"] / "out").read_text() == "b\n"
    assert sorted(kept.values()) == [f"rerun-{lab.last()['id']}",
                                     f"rerun-{lab.last()['id']}.other"]


# ---- what surrounds it ----

def test_directory_variables_and_stdin_are_what_they_were(lab, shell):
    os.mkdir(lab.files / "d")
    (lab.files / "d/text").write_text("stdin\n")
    with open(lab.files / "d/text") as stdin:
        run = lab.run("sh", "-c", "pwd > where; echo $LANG $OMP_NUM_THREADS $FREE > env; cat > got",
                      cwd=lab.files / "d", env={"LANG": "C", "FREE": "1"}, stdin=stdin)
    (lab.files / "d/text").write_text("another\n")
    lines = lab.lines("--mount", lab.mount.path, run, cwd=lab.home,
                      env={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "3", "FREE": "2"})
    assert "same R/main/d/where" in lines and "same R/main/d/got" in lines
    assert "changed R/main/d/env: 4 bytes, others" in lines
    assert lab.kept("d/env") == "C 2\n" and lab.kept("d/got") == "stdin\n"
    assert lab.last()["stdin"] == {"pfs": "R/main/d/text"}
    assert lab.last()["env"]["LANG"] == "C"


def test_what_a_shell_had_redirected_is_written_in_the_view(lab, shell):
    os.mkdir(lab.mount / "S")
    subprocess.run(["bash", "-ec", f"{PFS} run -n a sh -c 'cat in; pwd >&2' > out 2>&1; "
                    f"{PFS} run -n b --out S/main cat in > other"], cwd=lab.files,
                   env=shell.environment, check=True, timeout=SECONDS)
    shell.ok("commit", lab.files)
    (lab.files / "out").write_text("mine\n")
    assert "same R/main/out" in lab.lines("a")
    assert lab.kept("out") == f"first\n{lab.files}\n"
    assert (lab.files / "out").read_text() == "mine\n"
    # Where it may not be written, it is printed.
    assert lab.rerun("b").out.startswith("first\n")


def test_a_directory_that_only_the_old_commit_has_is_gone_to(lab, shell):
    os.mkdir(lab.files / "d")
    (lab.files / "d/in").write_text("1\n")
    run = lab.run("sh", "-c", "cat in > out", cwd=lab.files / "d")
    subprocess.run(["rm", "-r", lab.files / "d"], check=True)
    shell.ok("commit", lab.files)
    assert "same R/main/d/out" in lab.lines(run)


def test_a_directory_elsewhere_that_is_gone_is_said(lab):
    away = lab.home / "away"
    away.mkdir()
    run = lab.run("--mount", lab.mount.path, "true", cwd=away)
    away.rmdir()
    assert str(away) in lab.rerun(run, code=125).err
    assert lab.last()["id"] == run


@pytest.mark.parametrize("is_empty", [True, False])
def test_paths_of_where_the_mount_was_lead_into_the_view(lab, shell, is_empty):
    place, now = lab.mount.path, lab.home / "now"
    run = lab.run("sh", "-c", f"cat {place}/R/main/in > {place}/R/main/out")
    assert lab.last()["mount"] == str(place)
    lab.mount.stop()
    now.mkdir()
    if not is_empty:
        (place / "something").touch()
    lab.mount.path = now
    lab.mount.start()
    result = shell.run("rerun", run, cwd=now / "R/main")
    if is_empty:
        assert "same        R/main/out" in result.out
        assert not any(place.iterdir())
    else:
        assert str(place) in result.err and result.code != 0


def test_an_executable_that_is_another_by_now_is_said(lab):
    tool = lab.home / "tool"
    tool.write_text("#!/bin/sh\necho 1 > out\n")
    tool.chmod(0o755)
    run = lab.run(tool)
    assert "outside" not in lab.rerun(run).err
    tool.write_text("#!/bin/sh\necho 22 > out\n")
    result = lab.rerun(run)
    assert "executable.sha256" in result.err and run in result.err
    assert "changed     R/main/out: 2 bytes -> 3 bytes" in result.out


# ---- what differs ----

def test_each_file_is_told_of(lab):
    mark = lab.home / "mark"
    mark.write_text("first")
    script = f"echo x > same; cat {mark} > changed; touch $(cat {mark}); rm -f in; " \
             f"test $(cat {mark}) = first || echo again"
    run = lab.run("sh", "-c", script)
    mark.write_text("second")
    assert lab.lines(run)[1:] == [
        "changed R/main/changed: 5 bytes -> 6 bytes", "only there R/main/first", "same R/main/in",
        "same R/main/same", "only here R/main/second", "same exit", "changed stdout: 0 -> 6",
        "same stderr"]


def test_metrics_and_how_it_ended_are_told_of(lab):
    mark = lab.home / "mark"
    mark.write_text("0")
    run = lab.run("sh", "-c", f"pfs metric acc=$(cat {mark}) n=1; exit $(cat {mark})",
                  env={"PATH": f"{pathlib.Path(PFS).resolve().parent}:/usr/bin:/bin"})
    mark.write_text("3")
    lines = lab.lines(run, code=3)
    assert "changed exit: 0 -> 3" in lines and "changed metric acc: 0 -> 3" in lines
    assert "same metric n" in lines
    assert lab.last()["status"] == "failed"


def test_throw_away_files_are_not_told_of(lab):
    run = lab.run("sh", "-c", "mkdir __pycache__; date +%N > __pycache__/x; echo 1 > out")
    assert lab.lines(run)[1] == "same R/main/out"


def test_check_fails_where_it_makes_something_else(lab):
    mark = lab.home / "mark"
    mark.write_text("first")
    run = lab.run("sh", "-c", f"cat {mark} > out; date +%N")
    lab.rerun("--check", run)
    mark.write_text("second")
    lab.rerun("--check", run, code=1)
    lab.rerun(run)


def test_for_programs_there_is_one_value(lab):
    mark = lab.home / "mark"
    mark.write_text("first")
    run = lab.run("sh", "-c", f"cat {mark} > out; echo said; echo loud >&2")
    mark.write_text("second!")
    result = lab.rerun("--json", run)
    doc = result.json()
    new = lab.last()
    assert (doc["run"], doc["of"], doc["status"]) == (new["id"], run, "ok")
    assert result.err == "loud\n" and new["output"]["stdout"]["head"] == "said\n"
    compared = {(c["what"], c.get("path", c.get("key"))): c for c in doc["compared"]}
    out = compared["output", "R/main/out"]
    assert not out["same"] and (out["a"]["size"], out["b"]["size"]) == (5, 7)
    assert compared["stdout", None]["same"] and compared["ended", "exit"]["same"]
    assert doc["outputs"][0]["kept"] == f"rerun-{new['id']}"


def test_what_the_command_prints_comes_before_the_report(lab):
    run = lab.run("echo", "said")
    out = lab.rerun(run).out.splitlines()
    assert out[0] == "said" and out[1].startswith("rerun ")


# ---- other parameters ----

@pytest.mark.parametrize("words, want", [
    (["--lr", "0.1"], "--lr 0.2"),
    (["--lr=0.1"], "--lr=0.2"),
    (["lr=0.1", "b=1"], "lr=0.2 b=1"),
    (["+lr=0.1"], "+lr=0.2"),
    (["--lr", "0.1", "--lr", "0.3"], "--lr 0.1 --lr 0.2"),
])
def test_a_parameter_in_its_arguments_is_replaced_where_it_stands(lab, words, want):
    run = lab.run("sh", "-c", "echo $@ > out", "sh", *words)
    assert "changed" in " ".join(lab.lines("--param", "lr=0.2", run))
    assert lab.kept("out") == want + "\n"
    assert lab.params()["lr"] == 0.2


def test_a_flag_goes_or_stays(lab):
    run = lab.run("sh", "-c", "echo $@ > out", "sh", "--fast", "-v")
    lab.rerun("--param", "fast=false", run)
    assert lab.kept("out") == "-v\n"
    lab.rerun("--param", "fast=true", run)
    assert lab.kept("out") == "--fast -v\n"
    assert "alone" in lab.rerun("--param", "fast=7", run, code=125).err


def test_one_that_was_only_recorded_is_recorded_otherwise(lab):
    run = lab.run("--param", "seed=1", "--param", "other=2", "true")
    result = lab.rerun("--param", "seed=3", "--param", "new=4", run)
    assert lab.params() == {"seed": 3, "other": 2, "new": 4}
    assert "new" in result.err and "seed" not in result.err


def test_one_from_a_configuration_file_cannot_be_replaced(lab):
    (lab.files / "conf.json").write_text('{"lr": 0.1}')
    run = lab.run("cat", "conf.json")
    err = lab.rerun("--param", "lr=0.2", run, code=125).err
    assert "R/main/conf.json" in err and "lr" in err
    assert lab.last()["id"] == run


def test_one_that_the_run_said_cannot_be_replaced(lab):
    run = lab.run("sh", "-c", "echo lr=0.1 >> $PFS_RUN/params")
    assert "itself" in lab.rerun("--param", "lr=0.2", run, code=125).err
    assert lab.last()["id"] == run


# ---- what cannot be rerun ----

def test_a_run_that_is_not_known_or_goes_on_is_said(lab, shell):
    assert "20200101" in lab.rerun("20200101-000000-0000", code=125).err
    p = subprocess.Popen([PFS, "run", "sh", "-c", "echo begun; sleep 60"], cwd=lab.files,
                         env=shell.environment, stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"begun\n"
    err = lab.rerun(lab.last()["id"], code=125).err
    p.terminate()
    p.communicate(timeout=SECONDS)
    assert "has not ended" in err


def test_another_users_run_is_said(lab, shell):
    run = lab.run("true")
    lab.mount.stop()
    lab.mount.start("allow_other")
    for top in (lab.home, *lab.home.parents):
        if str(top).startswith("/tmp/"):
            os.chmod(top, 0o755)
    err = shell.run("rerun", "--mount", lab.mount.path, run, cwd="/", user=1234).err
    assert "another user's" in err
    assert lab.last()["id"] == run


def test_a_record_of_a_newer_version_is_said(lab):
    run = lab.run("true")
    [path] = pathlib.Path(lab.mount.store).glob(f"runs/*/{run}.start")
    path.chmod(0o600)
    path.write_text(json.dumps(dict(json.loads(path.read_text()), **{"pfs-run": 9})))
    assert "newer" in lab.rerun(run, code=125).err


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_repo_that_it_read_and_is_gone_is_said(lab, is_made_anew):
    os.mkdir(lab.mount / "S")
    run = lab.run("ls", lab.mount / "S/main")
    os.rmdir(lab.mount / "S")
    if is_made_anew:
        os.mkdir(lab.mount / "S")
    assert " S," in lab.rerun(run, code=125).err
    assert lab.last()["id"] == run


def test_a_repo_that_it_did_not_look_at_does_not_matter(lab):
    os.mkdir(lab.mount / "S")
    run = lab.run("sh", "-c", "cat in > out")
    os.rmdir(lab.mount / "S")
    assert "same R/main/out" in lab.lines(run)


def test_a_commit_that_is_gone_is_said(lab, shell):
    (lab.files / "script").write_text("true\n")
    run = lab.run("sh", "script")
    pinned = lab.last()["pinned"][0]["commit"]
    lab.mount.stop()
    for path in pathlib.Path(lab.mount.store).rglob(f"*{pinned}*"):
        path.unlink()
    subprocess.run(["rm", "-rf", lab.mount.state], check=True)
    lab.mount.start()
    assert pinned in lab.rerun(run, code=125).err


def test_nothing_is_rerun_in_a_run(lab):
    run = lab.run("true")
    err = lab.shell.run("run", PFS, "rerun", run, cwd=lab.files).err
    assert "in a run" in err


# ---- ends ----

def test_a_rerun_that_is_killed_leaves_what_it_wrote_on_its_branch(lab, shell):
    go = lab.home / "go"
    run = lab.run("sh", "-c", f"echo 1 > out; test ! -e {go} || sleep 60")
    go.touch()
    p = subprocess.Popen([PFS, "rerun", run], cwd=lab.files, env=shell.environment,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + SECONDS
    while lab.last()["id"] == run:
        assert time.monotonic() < until
        time.sleep(0.02)
    new = lab.last()["id"]
    view = lab.mount / f".pfs/run/{new}/root/R/main/out"
    while not view.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(p.pid, signal.SIGKILL)
    p.communicate(timeout=SECONDS)
    while lab.last().get("status") != "lost":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert lab.last()["outputs"][0]["kept"] == f"rerun-{new}"
    assert lab.kept("out") == "1\n"


def test_it_ends_by_the_signal_that_ended_the_command(lab, shell):
    go = lab.home / "go"
    run = lab.run("sh", "-c", f"test ! -e {go} || kill -9 $$")
    go.touch()
    done = subprocess.run([PFS, "rerun", run], cwd=lab.files, env=shell.environment, text=True,
                          stdout=subprocess.PIPE, timeout=SECONDS)
    assert done.returncode == -signal.SIGKILL
    assert "signal" in done.stdout
