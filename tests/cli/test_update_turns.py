# SPDX-License-Identifier: GPL-3.0-or-later
"""`pfs run --update` of files that several runs have made in turn (store/run/RUNS.md, "Update")."""

import os
import subprocess
import time

import pytest

from conftest import PFS, SECONDS, can_mount

pytestmark = can_mount


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


def test_who_comes_to_it_while_others_are_run_keeps_his_work(works, tmp_path):
    begun, hold = tmp_path / "begun", tmp_path / "hold"
    works.make("slow", f"cat raw > out; touch {begun}; while test -e {hold}; do sleep 0.02; done")
    works.make("make", "sort raw > f")
    works.make("change", "sed -i s/^/x/ f")
    works.put("raw", "q\n")
    begun.unlink()
    hold.touch()
    update = subprocess.Popen([PFS, "run", "--update"], cwd=works.files, stderr=subprocess.PIPE,
                              env=works.shell.environment, text=True)
    until = time.monotonic() + SECONDS
    while not begun.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    assert works.run("late", "sed -i s/^/z/ f").code == 0
    hold.unlink()
    err = update.communicate(timeout=SECONDS)[1]
    assert update.returncode == 1 and "has changed what it made meanwhile" in err
    assert works.text("f") == "zxa\nzxb\n" and works.text("out") == "q\n"
    assert works.update() == ["make", "change", "late"]
    assert works.text("f") == "zxq\n"
