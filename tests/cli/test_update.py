# SPDX-License-Identifier: GPL-3.0-or-later
"""`pfs run --update`: what was made out of something that is another now is made again, in order,
and nothing else."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import PFS, SECONDS, can_mount
from recorded import records

pytestmark = can_mount


@pytest.fixture
def chain(works):
    """raw -> sorted -> model -> table, and other -> table."""
    works.make("sort", "sort raw > sorted")
    works.make("fit", "wc -l < sorted > model")
    works.make("table", "cat model other > table")
    return works


# ---- what is run, and in which order ----

def test_nothing_is_run_when_nothing_has_changed(chain):
    assert chain.update() == []
    assert "up to date" in chain.result.out
    assert chain.plan() == []


def test_a_chain_is_made_again_in_order(chain):
    chain.put("raw", "c\nb\na\n")
    chain.commit()
    assert chain.update() == ["sort", "fit", "table"]
    assert chain.text("sorted") == "a\nb\nc\n" and chain.text("table") == "3\nx\n"
    assert chain.update() == []
    progress = [line for line in chain.shell.run("run", "--update", cwd=chain.files).err.split("\n")
                if line.startswith("[")]
    assert progress == []


def test_what_it_does_is_told_a_line_a_step(chain):
    chain.put("raw", "c\nb\na\n")
    chain.update()
    lines = chain.result.err.splitlines()
    assert [line.split()[:2] for line in lines] == \
        [["[1/3]", "sort"], ["[2/3]", "fit"], ["[3/3]", "table"]]


def test_a_step_whose_inputs_come_out_the_same_is_not_run(chain):
    chain.put("raw", "a\nb\n")
    chain.commit()
    assert chain.plan() == [("sort", ["R/main/raw"]), ("fit", ["R/main/sorted"]),
                            ("table", ["R/main/model"])]
    assert chain.update() == ["sort"]
    assert "as it was" in chain.result.err
    chain.put("raw", "a\nc\n")
    assert chain.update() == ["sort", "fit"]
    assert chain.update() == []


def test_only_what_reads_it_is_run(chain):
    chain.put("other", "y\n")
    assert chain.update() == ["table"]
    assert chain.text("table") == "2\ny\n"


def test_uncommitted_changes_count_and_stay_uncommitted(chain):
    chain.put("raw", "z\n")
    assert chain.update() == ["sort", "fit", "table"]
    assert "raw" in chain.shell.ok("status", chain.files)
    assert chain.text("raw") == "z\n"


def test_the_records_are_a_group_and_as_they_were(works):
    first = works.make("sort", "echo $0 $1; sort raw > sorted", "--out", "R/main", "--param",
                       "k=1", "--keep-going")
    works.put("raw", "c\n")
    works.update()
    old, new = [r for r in records(works.mount) if r["name"] == "sort"]
    assert old["id"] == first and new["group"].startswith("update:2")
    for key in ("argv", "cwd", "out", "keep_going", "env", "name"):
        assert new[key] == old[key]
    assert new["outputs"][0]["published"] and new["status"] == "ok"
    [path] = pathlib.Path(works.mount.store).glob(f"runs/*/{new['id']}.start")
    assert json.loads(path.read_text())["params"] == \
        [{"key": "k", "value": 1, "from": "option"}]


def test_where_a_former_update_did_the_same_nothing_is_run(chain):
    tables = {}
    for raw in ("1\n2\n3\n", "1\n2\n3\n4\n"):
        chain.put("raw", raw)
        assert chain.update() == ["sort", "fit", "table"]
        tables[raw] = chain.text("table")
    for raw, table in tables.items():
        chain.put("raw", raw)
        assert chain.update() == []
        assert chain.text("table") == table and chain.text("sorted") == raw
        assert chain.last()["memo"]["of"]
    assert chain.plan() == []


def test_a_path_is_made_from_what_it_is_made_from_however_deep(chain):
    chain.make("more", "cat table raw > more")
    chain.put("raw", "q\n")
    assert chain.update(chain.files / "model") == ["sort", "fit"]
    assert chain.update("R/main/table", cwd=chain.mount.path) == ["table"]
    assert chain.update() == ["more"]


def test_a_directory_is_all_that_is_below(works):
    for d in "ab":
        os.mkdir(works.files / d)
        works.make(d, f"sort raw > {d}/out")
    works.put("raw", "q\n")
    assert works.update("a") == ["a"]
    assert works.update("b/out") == ["b"]


def test_at_the_root_of_the_mount_all_repos_are_meant(works):
    os.mkdir(works.mount / "S")
    works.make("far", "cat raw > ../../S/main/copy")
    works.make("near", "cat ../../S/main/copy > back")
    works.put("raw", "q\n")
    assert works.update("S/main", cwd=works.mount.path) == ["far"]
    works.put("raw", "r\n")
    assert works.plan(cwd=works.mount / "S") == [("far", ["R/main/raw"])]
    assert works.update(cwd=works.mount.path) == ["far", "near"]
    assert works.text("back") == "r\n"


def test_a_run_that_made_several_files_is_run_once(works):
    works.make("both", "sort raw > one; sort -r raw > two")
    works.make("join", "cat one two > all")
    works.put("raw", "q\np\n")
    assert works.update() == ["both", "join"]


def test_of_runs_that_made_the_same_file_the_last_one_counts(works):
    works.make("old", "sort raw > out")
    works.make("new", "sort -r raw > out")
    works.put("raw", "1\n2\n")
    assert works.update() == ["new"]
    assert works.text("out") == "2\n1\n"


def test_a_new_name_in_a_directory_that_was_listed_counts(works):
    os.mkdir(works.files / "d")
    works.put("d/1", "1\n")
    works.commit()
    works.make("all", "cat d/* > all")
    works.put("unrelated", "")
    assert works.update() == []
    works.put("d/2", "2\n")
    assert works.plan() == [("all", ["R/main/d/2"])]
    assert works.update() == ["all"]
    assert works.text("all") == "1\n2\n"
    os.unlink(works.files / "d/1")
    assert works.update() == ["all"]


def test_a_name_that_was_missed_and_is_there_now_counts(works):
    works.make("maybe", "cat raw > out; test -e conf && cat conf >> out; true")
    works.put("conf", "c\n")
    assert works.plan() == [("maybe", ["R/main/conf"])]
    assert works.update() == ["maybe"]
    assert works.update() == []


def test_what_a_run_lists_and_makes_itself_is_no_reason(works):
    works.make("self", "ls; cat raw > out; mkdir -p sub; ls > sub/list; rm -f other")
    assert works.update() == []
    works.put("raw", "q\n")
    assert works.update() == ["self"]
    assert works.update() == []


def test_a_file_that_only_its_time_changed_is_the_same(chain):
    os.utime(chain.files / "raw", (1, 1))
    os.chmod(chain.files / "raw", 0o600)
    chain.commit()
    assert chain.update() == []


def test_what_was_not_committed_then_is_not_stale_for_that(works, shell, mount, tmp_path):
    works.put("script", "sort raw > out\n")
    works.make("untidy", "sh script")
    os.unlink(works.files / "script")
    assert works.update() == []


def test_a_directory_that_it_was_in_is_gone_to(works):
    os.mkdir(works.files / "d")
    works.put("d/in", "1\n")
    works.make("deep", "cat in > out", cwd=works.files / "d")
    works.put("d/in", "2\n")
    assert works.update() == ["deep"]
    assert works.text("d/out") == "2\n"


def shell_run(works, script):
    subprocess.run(["bash", "-ec", script], cwd=works.files,
                   env=dict(works.shell.environment, PFS=PFS), check=True, timeout=SECONDS)
    works.commit()


def test_what_a_shell_redirected_is_written_again(works):
    works.put("raw", "b\na\n")
    shell_run(works, "$PFS run sort raw > out 2> err; $PFS run sh -c 'cat out; echo done >&2' "
                     "> both 2>&1")
    assert works.text("both") == "a\nb\ndone\n"
    works.put("raw", "c\na\n")
    works.update()
    assert works.text("out") == "a\nc\n" and works.text("both") == "a\nc\ndone\n"
    assert works.text("err") == "" and works.result.out.count("a\n") == 0
    works.commit()
    works.update()
    assert "up to date" in works.result.out
    # By hand it is somebody's own.
    works.put("out", "mine\n")
    works.put("raw", "d\n")
    works.update(code=1)
    assert works.text("out") == "mine\n" and "changed since" in works.result.err


def test_what_a_shell_added_to_is_not_added_to_again(works):
    works.put("raw", "1\n")
    works.put("log", "begin\n")
    shell_run(works, "$PFS run cat raw >> log")
    works.put("raw", "2\n")
    works.update()
    assert works.text("log") == "begin\n1\n" and "was added to R/main/log" in works.result.err
    assert works.result.out.endswith("2\n")


def test_stdin_from_the_mount_is_read_again(works):
    with open(works.files / "raw") as stdin:
        subprocess.run([PFS, "run", "sh", "-c", "test -e other && sort > out"], cwd=works.files,
                       env=works.shell.environment, stdin=stdin, check=True, timeout=SECONDS)
    works.put("raw", "2\n1\n")
    works.put("other", "another\n")
    works.update()
    assert works.text("out") == "1\n2\n"


# ---- runs in runs, cycles ----

def test_of_runs_in_runs_the_outermost_is_run(works):
    works.make("outer", f"{PFS} run -n inner sh -c 'sort raw > out'; cat out > copy")
    works.put("raw", "2\n1\n")
    assert works.update("out") == ["outer"]
    assert works.text("copy") == "1\n2\n"
    assert works.update() == []


def test_a_run_that_changes_what_it_reads_begins_with_what_it_found(works):
    works.put("f", "b\na\n")
    works.make("self", "sort -o f f; cat other >> f; cat other >> log")
    works.put("other", "y\n")
    assert works.update() == ["self"]
    assert works.text("f") == "a\nb\ny\n" and works.text("log") == "y\n"
    assert works.update() == []
    works.put("other", "z\n")
    assert works.update() == ["self"]
    assert works.text("f") == "a\nb\nz\n" and works.text("log") == "z\n"


def test_what_is_made_can_be_made_anew(works):
    works.make("new", "mkdir d; cat raw > d/1; mv d e; ln -s 1 e/link; rm other")
    works.put("raw", "q\n")
    assert works.update() == ["new"]
    assert works.text("e/1") == "q\n" and os.readlink(works.files / "e/link") == "1"
    assert sorted(os.listdir(works.files)) == ["e", "raw"]
    assert works.update() == []


def test_what_a_run_does_not_make_any_more_stays(works):
    works.make("less", "cat raw > out; grep -q a raw && cat raw > more; true")
    works.put("raw", "b\n")
    assert works.update() == ["less"]
    assert works.text("out") == "b\n" and works.text("more") == "b\na\n"


def test_a_circle_comes_to_an_end(works):
    works.put("b", "0\n")
    works.make("to-a", "cat b raw > a")
    works.make("to-b", "cat a raw > b")
    works.put("raw", "q\n")
    assert sorted(works.update()) == ["to-a", "to-b"]


# ---- what is not overwritten ----

def test_what_was_changed_by_hand_is_named_and_left(chain):
    chain.put("sorted", "by hand\n")
    chain.put("raw", "c\n")
    assert chain.update(code=1) == ["fit", "table"]
    assert "R/main/sorted, which it has made, was changed" in chain.result.err
    assert chain.text("sorted") == "by hand\n"
    assert chain.text("table") == "1\nx\n"
    assert chain.update("--force") == ["sort", "fit"]
    assert chain.text("sorted") == "c\n"


def test_what_was_changed_in_part_is_named_and_left(works):
    works.make("both", "sort raw > one; sort -r raw > two")
    works.put("two", "by hand\n")
    works.commit()
    works.put("raw", "q\n")
    assert works.update(code=1) == []
    assert "R/main/two, which it has made, was changed" in works.result.err
    assert works.text("two") == "by hand\n"
    assert works.update("--force") == ["both"]
    assert works.text("two") == "q\n"


def test_another_runs_work_is_named_and_left(works):
    works.make("both", "sort raw > one; sort -r raw > two")
    works.make("alone", "echo mine > two")
    works.put("raw", "q\n")
    assert works.update(code=1) == []
    assert "was made by run" in works.result.err and works.text("two") == "mine\n"


def test_what_the_same_command_made_again_is_that_runs(works):
    script = "test -e one || sort raw > one; sort raw > two"
    works.make("twice", script)
    works.put("raw", "q\n")
    works.make("twice", script)
    works.put("raw", "r\n")
    works.update()
    assert works.update() == []


def test_what_commands_made_in_turn_is_made_in_turn_again(works):
    for name in ("one", "two", "three"):
        works.make(name, f"sort raw > sorted; wc -l < sorted > {name}")
    works.put("raw", "r\nq\np\n")
    assert works.update() == ["one", "two", "three"]
    assert works.text("one") == works.text("three") == "3\n"
    assert works.update() == []
    works.put("raw", "r\n")
    assert works.update() == ["one", "two", "three"]
    assert works.text("sorted") == "r\n" and works.text("two") == "1\n"


def test_a_file_that_was_removed_keeps_nobody_from_being_run(works):
    works.make("both", "sort raw > one; sort -r raw > two")
    os.unlink(works.files / "two")
    works.put("raw", "q\n")
    assert works.update() == ["both"]
    assert works.text("two") == "q\n"


def test_a_run_that_failed_is_named_and_not_run(works):
    works.run("bad", "sort raw > out; exit 3", "--keep-going")
    works.put("raw", "q\n")
    assert works.update(code=1) == []
    assert "not ended well" in works.result.err


# ---- what goes wrong ----

def test_what_needs_a_step_that_failed_is_not_run_and_the_rest_is(chain):
    fails = chain.home / "fails"
    chain.make("tail", f"tail -1 raw > last; test ! -e {fails}")
    chain.make("after", "cat last > after")
    fails.touch()
    chain.put("raw", "c\nb\na\n")
    assert chain.update(code=1) == ["sort", "fit", "table", "tail"] or \
        sorted(chain.update(code=1)) == ["tail"]
    assert "exit status 1" in chain.result.err
    assert "after" in chain.result.err and "not run, since run" in chain.result.err
    assert chain.text("table") == "3\nx\n" and chain.text("after") == "a\n"
    fails.unlink()
    assert chain.update() in (["tail"], ["tail", "after"])


def test_a_directory_that_is_gone_fails_its_step(works):
    away = works.home / "away"
    away.mkdir()
    works.make("away", f"cat {works.files}/raw > {works.files}/out", "--mount",
               works.mount.path, cwd=away)
    away.rmdir()
    works.put("raw", "q\n")
    assert works.update(code=1) == []
    assert str(away) in works.result.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_stops_the_command_and_what_follows(chain, shell, how):
    wait = chain.home / "wait"
    chain.make("slow", f"cat table > slow; test ! -e {wait} || {{ touch {wait}.is; exec sleep 60; }}")
    chain.make("next", "cat slow > next")
    wait.touch()
    chain.put("raw", "q\n")
    p = subprocess.Popen([PFS, "run", "--update"], cwd=chain.files, env=shell.environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + SECONDS
    while not pathlib.Path(f"{wait}.is").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    if how == signal.SIGINT:
        os.killpg(p.pid, how)
    else:
        p.send_signal(how)
    err = p.communicate(timeout=SECONDS)[1]
    assert p.returncode == -how and "stopped" in err
    assert chain.text("slow") == "2\nx\n"
    assert chain.last()["name"] == "slow" and chain.last()["status"] == "killed"
    wait.unlink()
    assert chain.update() == ["slow", "next"]
    assert chain.text("next") == "1\nx\n"


def test_the_command_of_an_update_that_is_killed_ends(chain, shell):
    mark = chain.home / "begun"
    chain.make("slow", f"cat table > slow; test ! -e {mark} || {{ echo > {mark}; exec sleep 60; }}")
    chain.make("next", "cat slow > next")
    mark.touch()
    chain.put("raw", "q\n")
    p = subprocess.Popen([PFS, "run", "--update"], cwd=chain.files, env=shell.environment,
                         stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         start_new_session=True)
    until = time.monotonic() + SECONDS
    while not mark.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    p.kill()
    p.wait(SECONDS)
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(p.pid, 0)
            time.sleep(0.02)
    assert chain.last()["name"] == "slow" and chain.last()["status"] == "killed"
    assert chain.text("slow") == "2\nx\n"


def test_names_that_are_no_text_are_told_of(works):
    odd = os.fsdecode(b"o\xff\nd")
    works.make("odd", r"""sort raw > "$(printf 'o\377\nd')"; cat other > fine""")
    works.put("raw", "2\n")
    assert works.update() == ["odd"]
    works.put(odd, "by hand\n")
    works.put("raw", "3\n")
    assert works.update(code=1) == []
    assert "R/main/o??d, which it has made" in works.result.err
    assert works.text(odd) == "by hand\n"


@pytest.mark.parametrize("words, said", [
    (["nosuch"], "nosuch"),
    (["/usr"], "/usr"),
    (["--memo"], "--update"),
])
def test_what_cannot_be_updated_is_said(works, words, said):
    result = works.shell.run("run", "--update", *words, cwd=works.files)
    assert result.code != 0 and said in result.err


def test_a_commit_is_never_out_of_date(works):
    os.mkdir(works.mount / "R/commits/v1")
    assert "is a commit" in works.shell.run("run", "--update", works.mount / "R/v1").err


def test_its_options_go_with_it_alone(works):
    assert "--update" in works.shell.fails(2, "run", "--dry-run", "true", cwd=works.files)


def test_nothing_is_updated_in_a_run(works):
    assert "in a run" in works.shell.run("run", PFS, "run", "--update", cwd=works.files).err


# ---- what is told ----

def test_a_dry_run_tells_what_changed_and_runs_nothing(chain):
    chain.put("raw", "c\n")
    assert chain.update("--dry-run") == []
    out = chain.result.out
    assert "R/main/raw: " in out and " -> " in out
    assert "R/main/sorted may become another, by run" in out
    assert chain.text("sorted") == "a\nb\n"
    assert chain.last()["name"] == "table"


def test_for_programs_there_is_one_value(chain):
    chain.make("loud", "cat table; cat table > loud")
    chain.put("raw", "a\nb\n")
    doc = json.loads(chain.shell.ok("run", "--update", "--json", cwd=chain.files))
    assert [(s["run"]["name"], s["result"]) for s in doc["steps"]] == \
        [("sort", "done"), ("fit", "same"), ("table", "same"), ("loud", "same")]
    assert doc["group"] == chain.last()["group"]
    assert doc["steps"][0]["id"] == chain.last()["id"]
    chain.put("other", "z\n")
    doc = json.loads(chain.shell.ok("run", "--update", "--json", cwd=chain.files))
    assert [s["run"]["name"] for s in doc["steps"]] == ["table", "loud"]
    assert chain.last()["output"]["stdout"]["head"] == "2\nz\n"
