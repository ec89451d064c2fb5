# SPDX-License-Identifier: GPL-3.0-or-later
"""pfs runs, why and uses, of a store with runs that `made-runs` has made (tests/unit/madestore.h)."""

import csv
import io
import os
import subprocess

import pytest

from conftest import on_a_terminal

BUILD = os.environ.get("PFS_BUILD", "build")
COUNT = 30


@pytest.fixture
def runs(shell, store):
    """A store with runs, in chains of ten: each read what the former one wrote."""
    subprocess.run([f"{BUILD}/tests/made-runs", str(store), str(COUNT)], check=True,
                   env=shell.environment, timeout=120)
    return store


def test_all_runs_are_listed_the_last_one_last(shell, runs):
    seeds = [r["params"]["seed"] for r in shell.json("runs", "--store", runs, "--json")]
    assert seeds == list(range(COUNT))
    assert len(shell.ok("runs", "--store", runs).splitlines()) == COUNT + 1


def test_an_expression_chooses_and_a_key_sorts(shell, runs):
    found = shell.json("runs", "--store", runs, "--json", "--where", "lr >= 0.01 and not seed > 12",
                       "--sort", "-seed")
    assert [r["params"]["seed"] for r in found] == [12, 11, 10]


def test_columns_as_csv_are_what_programs_read(shell, runs):
    text = shell.ok("runs", "--store", runs, "--csv", "--columns", "name,seed,lr,nothing", "-n", "2")
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "seed", "lr", "nothing"], ["n28", "28", "0.028", ""], ["n29", "29", "0.029", ""]]


def test_a_table_has_the_command_last_and_a_dash_for_nothing(shell, runs):
    head, *rows = shell.ok("runs", "--store", runs).splitlines()
    assert head.split() == ["id", "name", "status", "seconds", "params", "metrics", "command"]
    assert len({row.index("lr=") for row in rows} | {head.index("params")}) == 1
    head, row = shell.ok("runs", "--store", runs, "-n", "1", "--columns",
                         "nothing,name").splitlines()
    assert (head, row) == ("nothing  name", "-        n29")


def test_on_a_terminal_each_run_is_one_line(shell, runs):
    words = ("runs", "--store", runs, "-n", "3", "--columns", "id,command,params")
    whole = shell.ok(*words).splitlines()
    text, code = on_a_terminal(shell, words, columns=len(whole[1]) - 1)
    lines = text.splitlines()
    assert code == 0 and len(lines) == 4 and lines[1].endswith("...")
    assert [len(line) for line in lines[1:]] == [len(whole[1]) - 1] * 3
    assert on_a_terminal(shell, words, columns=len(whole[1]))[0].splitlines() == whole


@pytest.mark.parametrize("columns", ["", "id,", ",id"])
def test_a_column_without_a_name_is_refused(shell, runs, columns):
    assert "without a name" in shell.fails(2, "runs", "--store", runs, "--columns", columns)


def test_a_wrong_expression_is_shown_with_a_caret(shell, runs):
    err = shell.fails(1, "runs", "--store", runs, "--where", "lr > and x")
    assert "\n  lr > and x\n" in err or "^" in err


def test_a_run_is_shown_and_two_are_compared(shell, runs):
    assert "seed = 7" in shell.ok("runs", "--store", runs, "show", "n7")
    differing = shell.ok("runs", "--store", runs, "diff", "n7", "n8")
    assert "param        seed: 7 -> 8" in differing
    assert "out/main/f6" in differing and "shared0" not in differing
    assert "nobody" in shell.fails(1, "runs", "--store", runs, "show", "nobody")


def test_where_a_file_comes_from_is_told_down_to_raw_data(shell, runs):
    first, *made = shell.json("why", "--store", runs, "--json", "out/main/f7")
    assert first["how"] == "place"
    assert [m["run"]["params"]["seed"] for m in made] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert not any("run" in i for i in made[-1]["inputs"])


def test_where_a_file_comes_from_is_a_graph(shell, runs):
    dot = shell.ok("why", "--store", runs, "--dot", "out/main/f7")
    assert dot.startswith("digraph") and dot.endswith("}")
    assert dot.count('"out/main/f6" -> ') == 1
    assert dot.count('\\n') == 8 # between a run's id and its command


def test_what_was_made_from_a_file_is_told(shell, runs):
    _, *made = shell.json("uses", "--store", runs, "--json", "out/main/f7")
    assert [m["run"]["params"]["seed"] for m in made] == [8, 9]
    assert "stale" in shell.ok("uses", "--store", runs, "--stale", "out/main/f7")


def test_what_nobody_has_is_said_in_a_sentence(shell, runs):
    assert "out/main has no `nothing`" in shell.fails(1, "why", "--store", runs, "out/main/nothing")
    assert "No run" in shell.ok("uses", "--store", runs, "out/main/nothing")


def test_runs_are_pushed_with_the_commits_they_made(shell, runs, tmp_path):
    there = tmp_path / "there"
    shell.ok("init", there)
    assert f"{COUNT} runs" in shell.ok("push", "--store", runs, there, "out")
    first, *made = shell.json("why", "--store", there, "--json", "out/main/f7")
    assert [m["run"]["params"]["seed"] for m in made] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert "Nothing is missing" in shell.ok("push", "--store", runs, there, "out")
    again = shell.json("push", "--store", runs, "--json", "--dry-run", there, "out")
    assert again["repos"][0]["runs"] == 0


def test_a_clone_has_all_runs(shell, runs, tmp_path):
    there = tmp_path / "there"
    shell.ok("init", there)
    assert f"{COUNT} runs" in shell.ok("push", "--store", runs, "--dry-run", "--all", there)
    shell.ok("push", "--store", runs, "--all", there)
    ids = [[r["id"] for r in shell.json("runs", "--store", s, "--json")] for s in (runs, there)]
    assert len(ids[0]) == COUNT and ids[0] == ids[1]
