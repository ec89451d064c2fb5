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
from recorded import record, records

pytestmark = can_mount


class Works:
    """A branch in which files are made of one another. Each command that is really run leaves its
    name in a file outside of the mount."""

    def __init__(self, shell, mount, files, home):
        self.shell, self.mount, self.files, self.home = shell, mount, files, home
        self.marks = home / "marks"
        self.marks.write_text("")

    def run(self, name, script, *words, cwd=None):
        return self.shell.run("run", "-n", name, *words, "sh", "-c",
                              f"echo {name} >> {self.marks}; {script}", cwd=cwd or self.files)

    def make(self, name, script, *words, **more):
        result = self.run(name, script, *words, **more)
        assert result.code == 0, result.err
        self.marks.write_text("")
        return self.last()["id"]

    def update(self, *words, code=0, cwd=None):
        """What was run, in order."""
        self.marks.write_text("")
        self.result = self.shell.run("run", "--update", *words, cwd=cwd or self.files)
        assert self.result.code == code, (self.result.code, self.result.out, self.result.err)
        return self.marks.read_text().split()

    def plan(self, *words, cwd=None):
        """What is told of each step: its name, and the paths of the reasons."""
        doc = self.shell.json("run", "--update", "--dry-run", "--json", *words,
                              cwd=cwd or self.files)
        return [(s["run"]["name"], [r["path"] for r in s["reasons"]]) for s in doc["steps"]]

    def put(self, name, text):
        (self.files / name).write_text(text)

    def text(self, name):
        return (self.files / name).read_text()

    def commit(self):
        self.shell.ok("commit", self.files)

    def last(self):
        return record(self.mount)


@pytest.fixture
def works(shell, mount, repo, tmp_path):
    w = Works(shell, mount, repo, tmp_path)
    w.put("raw", "b\na\n")
    w.put("other", "x\n")
    w.commit()
    return w


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


# ---- what several have made in turn ----

@pytest.fixture
def table(works):
    """Three lines of a table, each from a file of its own."""
    for n in "123":
        works.put(f"raw{n}", f"{n}\n")
    works.commit()
    for n in "123":
        works.make(n, f"cat raw{n} >> table")
    return works


def test_what_was_added_to_since_is_named_and_left(table):
    table.put("raw1", "one\n")
    assert table.plan() == [("1", ["R/main/raw1"])]
    assert table.update(code=1) == []
    assert "R/main/table, which it has made, was added to by run" in table.result.err
    assert table.text("table") == "1\n2\n3\n"


def test_with_force_all_of_it_is_made_anew(table):
    table.put("raw1", "one\n")
    assert table.update("--force") == ["1", "2", "3"]
    assert table.text("table") == "one\n2\n3\n"
    assert table.update() == []
    table.put("raw2", "two\n")
    assert table.update("--force", "table") == ["2", "3"]
    assert table.text("table") == "one\ntwo\n3\n"
    table.put("raw3", "three\n")
    assert table.update() == ["3"]
    assert table.text("table") == "one\ntwo\nthree\n"


def test_what_only_shares_a_log_is_made_alone(works):
    works.make("one", "cat raw > out1; echo 1 >> log")
    works.make("two", "cat other raw > out2; echo 2 >> log")
    works.put("other", "y\n")
    assert works.update("out2") == ["two"]
    assert works.text("log") == "1\n2\n"
    works.put("raw", "q\n")
    assert works.update("out2") == ["two"]
    assert works.update("out1", code=1) == []
    assert works.update("out1", "--force") == ["one"]
    assert works.text("log") == "1\n2\n1\n"


def test_of_the_same_command_again_and_again_the_last_one_is_run(works):
    for _ in range(3):
        works.make("tick", "cat raw >> log")
    works.put("raw", "q\n")
    assert works.update() == ["tick"]
    assert works.text("log") == "b\na\n" * 2 + "q\n"
    assert works.update() == []


@pytest.mark.parametrize("how", ["sed -i s/^/x/ f", "sort -r -o f f",
                                 "sed s/^/x/ f > new; mv new f", "cat f other > t; cat t > f"])
def test_what_is_changed_in_place_is_made_and_changed_again(works, how):
    works.make("make", "sort raw > f")
    works.make("change", how)
    works.make("use", "cat f > out")
    before = works.text("f")
    works.put("raw", "d\nc\n")
    assert works.update("out") == ["make", "change", "use"]
    assert works.text("f") == works.text("out") == before.replace("a", "c").replace("b", "d")
    assert works.update() == []
    works.put("raw", "b\na\nb\n")
    assert works.update() == ["make", "change", "use"]
    assert works.text("f").count("b") == 2


COUNT = "n=$(cat f); echo $((n + 1)) > f"


@pytest.mark.parametrize("before, after, steps", [
    # What the first one makes anew is what the second one had left.
    ("x1", "1", ["cat raw > f", "cat f > seen; sed -i s/x// f"]),
    ("b\na\n", "a\nb\n", ["cat raw > f", "head -1 f > first; sort -o f f"]),
    ("1\n", "1\n2\n", ["cat raw > f", "cat f > seen; echo 2 >> f"]),
    ("1", "2", ["cat raw > f", "sed -i s/1/2/ f", "sed -i s/2/1/ f"]),
    ("b,", "b", ["cat raw > f", "sed -i s/,$// f", "cat f f > g"]),
    ("b,", "b", ["mkdir d; cat raw > d/f", "sed -i s/,$// d/f; cat d/f > d/g", "cat d/* > h"]),
    # The same again and again.
    ("1", "10", ["cat raw > f", *[COUNT] * 4]),
    # Nothing is left in between, before or now.
    ("1", "2", ["cat raw > f", 'v=$(grep -v 2 f); printf %s "$v" > f',
                'v=$(cat f); echo "c$v" > f']),
    ("2", "1", ["cat raw > f", 'v=$(grep -v 2 f); printf %s "$v" > f',
                'v=$(cat f); echo "c$v" > f']),
    ("", "1", ["cat raw > f", "sed -i s/^/x/ f", "cat f > g"]),
    ("1", "", ["cat raw > f", "sed -i s/^/x/ f", "cat f > g"]),
])
def test_it_comes_to_what_a_new_beginning_comes_to(works, tmp_path, before, after, steps):
    works.put("raw", before)
    works.commit()
    for i, step in enumerate(steps):
        works.make(str(i), step)
    for turn, text in enumerate([after, before, after, after + "3"]):
        works.put("raw", text)
        works.commit()
        works.update()
        plain = tmp_path / f"plain{turn}"
        plain.mkdir()
        (plain / "raw").write_text(text)
        for step in steps:
            subprocess.run(["sh", "-c", step], cwd=plain, check=True)
        for path in plain.rglob("*"):
            if path.is_file():
                name = path.relative_to(plain)
                assert works.text(name) == path.read_text(), (turn, name)
        assert works.update() == []


def test_the_same_command_with_another_stdin_is_another(works):
    works.put("one", "1\n")
    works.put("two", "2\n")
    works.make("make", "sort raw > f")
    for name in ("one", "two"):
        subprocess.run([PFS, "run", "-n", name, "sh", "-c", "read n; echo $n >> f"], check=True,
                       cwd=works.files, stdin=open(works.files / name), timeout=SECONDS,
                       env=works.shell.environment)
    works.put("one", "11\n")
    assert works.update(code=1) == []
    assert "was added to by run" in works.result.err
    works.update("--force")
    assert works.text("f") == "a\nb\n11\n2\n"


@pytest.mark.parametrize("how", ["run", "hand"])
def test_what_others_do_before_it_goes_on_hides_nothing(works, tmp_path, how):
    works.make("make", "sort raw > f")
    works.make("change", f"sed -i s/^/x/ f; ! test -e {tmp_path}/fail")
    works.make("last", "sed -i s/^/y/ f")
    works.put("raw", "q\n")
    (tmp_path / "fail").write_text("")
    assert works.update(code=1) == ["make", "change"]
    os.unlink(tmp_path / "fail")
    if how == "run":
        works.make("other", "echo more >> f")
    else:
        works.put("f", "q\nmore\n")
    assert works.update(code=1) == []
    assert works.result.err.count("R/main/f, which it has made, was") == 2
    assert works.text("f") == "q\nmore\n"
    assert works.update("--force") == ["change", "last"]
    assert works.text("f") == "yxq\nyxmore\n"
    assert works.update() == []


def test_with_force_what_follows_one_that_cannot_be_run_is_run(works):
    works.make("make", "sort raw > f")
    works.run("bad", "sed -i s/^/x/ f; false", "--keep-going")
    works.make("last", "sed -i s/^/y/ f; cat other > own")
    works.put("raw", "q\n")
    assert works.update(code=1) == []
    assert works.update("--force", code=1) == ["make", "last"]
    assert works.text("f") == "yq\n"


def test_who_makes_more_is_run_with_those_who_changed_it(works):
    works.make("make", "mkdir d; sort raw > d/f; wc -l < raw > count")
    works.make("change", "sed -i s/^/x/ d/f; cat other > own")
    works.make("again", "sed -i s/^/y/ d/f")
    works.put("raw", "q\n")
    assert works.update("count") == ["make", "change", "again"]
    assert works.text("d/f") == "yxq\n" and works.text("own") == "x\n"
    assert works.text("count") == "1\n"
    assert works.update() == []


def test_who_changes_it_twice_does_so_twice_again(works):
    works.make("make", "sort raw > f")
    works.make("change", "sed -i s/^/x/ f")
    works.make("change", "sed -i s/^/x/ f")
    works.make("last", "sed -i s/^/y/ f")
    works.put("raw", "q\n")
    assert works.update() == ["make", "change", "change", "last"]
    assert works.text("f") == "yxxq\n"
    assert works.update() == []


def test_an_update_that_stopped_between_two_goes_on(works, tmp_path):
    works.make("make", "sort raw > f")
    works.make("change", f"sed -i s/^/x/ f; ! test -e {tmp_path}/fail")
    works.make("last", "sed -i s/^/y/ f")
    works.make("use", "cat f > out")
    works.put("raw", "q\n")
    (tmp_path / "fail").write_text("")
    assert works.update(code=1) == ["make", "change"]
    assert works.text("f") == "q\n" and works.text("out") == "yxa\nyxb\n"
    os.unlink(tmp_path / "fail")
    assert works.update("out") == ["change", "last", "use"]
    assert works.text("f") == works.text("out") == "yxq\n"
    assert works.update() == []


def test_what_else_those_have_made_is_there_whatever_becomes_of_them(works, tmp_path):
    works.make("make", "sort raw > f")
    works.make("change", f"sed -i s/^/x/ f; cat other > own; ! test -e {tmp_path}/fail")
    works.put("raw", "q\n")
    (tmp_path / "fail").write_text("")
    assert works.update(code=1) == ["make", "change"]
    assert works.text("f") == "q\n" and works.text("own") == "x\n"
    works.put("own", "by hand\n")
    assert works.update(code=1) == []
    assert "R/main/own, which it has made, was changed" in works.result.err


def test_what_would_not_be_changed_again_is_not_made_again(works):
    works.make("make", "sort raw > f")
    works.make("change", "sed -i s/^/x/ f; cat other > own")
    works.put("own", "by hand\n")
    works.put("raw", "q\n")
    assert works.update(code=1) == []
    assert works.result.err.count("which cannot be run again (R/main/own") == 1
    assert works.text("f") == "xa\nxb\n"
    assert works.update("--force") == ["make", "change"]
    assert works.text("f") == "xq\n" and works.text("own") == "x\n"


def test_what_was_put_there_by_hand_between_two_is_where_it_begins(works):
    works.make("make", "sort raw > f")
    works.put("f", "by hand\n")
    works.commit()
    works.make("change", "sed -i s/^/x/ f")
    works.put("raw", "q\n")
    assert works.update() == []
    assert works.text("f") == "xby hand\n"


def test_who_comes_to_it_while_others_are_run_keeps_his_work(works, shell):
    works.make("make", "sort raw > f; sleep 0.$(wc -l < raw)")
    works.make("change", "sed -i s/^/x/ f; test ! -e late || (cd / && echo a)")
    works.put("raw", "q\n")
    works.update("--dry-run")
    works.make("late", "sed -i s/^/z/ f")
    assert works.update() == ["make", "change", "late"]
    assert works.text("f") == "zxq\n"


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
