# SPDX-License-Identifier: GPL-3.0-or-later
"""Random programs over a small tree, run with --memo in one mount and without in another, while
the world changes between the runs in one thing that they may have seen: every byte of what they
make and print is the same.

memo_mutants.py says which mistakes this has to find, and sees to it that it does. PFS_LONG=1 makes
many more; PFS_MODEL_ONLY="read file,list .." plays only the programs that have such a step.
"""

import os
import random
import re
import subprocess
import sys

import pytest

import memo_mutants
import memo_world
from conftest import PFS, SECONDS, Mount, can_mount, mounted

pytestmark = can_mount

PROGRAMS = 480 if os.environ.get("PFS_LONG") else 40
ONLY = {tuple(words.split()) for words in os.environ.get("PFS_MODEL_ONLY", "").split(",") if words}
PARTS = 4
CHANGES = 10  # of a program's world, at least


class Half:
    """One of the two: a mount, in which programs are run."""

    def __init__(self, shell, base, player, words):
        base.mkdir()
        self.shell, self.player, self.words = shell, player, words
        self.marks = base / "marks"
        self.mount = Mount(shell, base)
        os.mkdir(self.mount / "R")

    def commit(self, path):
        self.shell.ok("commit", path)

    def start(self, program):
        self.marks.write_text("")
        env = dict(self.shell.environment, MARKS=str(self.marks))
        return subprocess.Popen([PFS, "run", *self.words, "--", sys.executable, "-I", "-S", "-B",
                                 self.player, program], cwd=self.mount / memo_world.TOP, env=env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def all_there_is(self):
        branches = [n for n in os.listdir(self.mount / "R") if n.startswith("run-")]
        found = {"R": {"branches of runs": len(branches)}}
        for top in [memo_world.TOP, *memo_world.TOPS]:
            if os.path.exists(self.mount / top):
                found[top] = memo_world.tell(self.mount / top)
        return found


@pytest.fixture
def halves(shell, tmp_path):
    player = tmp_path / "player.py"
    player.write_text(memo_world.PLAYER)
    both = [Half(shell, tmp_path / "with", player, ["--memo"]),
            Half(shell, tmp_path / "without", player, [])]
    yield both
    for half in both:
        if mounted(half.mount.path):
            half.mount.stop()


def told(process):
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, re.sub(r"\d{8}-\d{6}-\w{4}", "ID", err)


def play(halves, world, program, commit):
    """What each has come to, and whether it was run with memo."""
    for half in halves:
        memo_world.settle(half.mount.path, world, half.commit)
        if commit:
            half.commit(half.mount / memo_world.TOP)
    processes = [half.start(program) for half in halves]
    results = [told(p) for p in processes]
    return ([(r, half.all_there_is()) for r, half in zip(results, halves)],
            halves[0].marks.read_text() != "")


def differences(one, other):
    """Of what was told and what there is, in a few lines."""
    (told_a, a), (told_b, b) = one, other
    if told_a != told_b:
        return f"told {told_a}, not {told_b}"
    return [f"{top}/{path}: {a.get(top, {}).get(path)}, not {b.get(top, {}).get(path)}"
            for top in a.keys() | b.keys() for path in a.get(top, {}).keys() | b.get(top, {}).keys()
            if a.get(top, {}).get(path) != b.get(top, {}).get(path)]


def worlds(rnd, first, steps, turns):
    """The world at first, after one change, after another one, and now and then as it was."""
    yield first, "at first"
    each = -(-CHANGES // len(steps))
    for n in range(each * len(steps)):
        at, again = n % len(steps), n // len(steps)
        now = first.copy()
        memo_world.change(rnd, now, steps[at], each * turns[at] + again)
        yield now, f"change {n}"
        if n % 4 == 3:
            yield first, "as at first"


@pytest.mark.parametrize("part", range(PARTS))
def test_with_memo_and_without_all_is_the_same(halves, tmp_path, part):
    repeated = 0
    for n, cards in list(enumerate(memo_world.hands(random.Random(0), PROGRAMS)))[part::PARTS]:
        if ONLY and ONLY.isdisjoint(card[:2] for card, _ in cards):
            continue
        rnd = random.Random(n)
        first, steps, turns = memo_world.a_world(rnd, cards)
        program = tmp_path / f"program{n}"
        program.write_text("".join(" ".join(s) + "\n" for s in steps))
        for world, when in worlds(rnd, first, steps, turns):
            results, was_run = play(halves, world, program, rnd.random() < 0.2)
            assert results[0] == results[1], (n, when, steps, differences(*results))
            repeated += not was_run
    # Some see what a former one saw: else nothing is tested.
    assert ONLY or repeated > PROGRAMS // PARTS


def test_the_mistakes_that_it_has_to_find_could_be_made():
    assert memo_mutants.misplaced() == []
