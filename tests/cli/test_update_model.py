# SPDX-License-Identifier: GPL-3.0-or-later
"""Random commands that make files of one another, also several of them one file in turn, whose
sources then change: an update leaves what all of them leave that are run on the new sources in an
empty directory, and is done then. Some updates are stopped by a command that fails.

A file is changed only as long as nothing has been made from it: else what is made from it is made
from what it is now, and no longer from what it was in between. No source is empty, for who adds
nothing has not been there.
"""

import os
import random
import subprocess

import pytest

from conftest import can_mount

pytestmark = can_mount

SEED = os.environ.get("PFS_SEED")
WORLDS = [int(SEED)] if SEED else range(200 if os.environ.get("PFS_LONG") else 16)
SOURCES = ("s0", "s1", "s2")


class World:
    """Scripts, in the order in which they are run."""

    def __init__(self, rng, marks):
        self.rng, self.scripts = rng, []
        self.made, self.used = [], []  # what may still be changed, and what may not
        self.may_add = rng.random() < 0.7
        for i in range(rng.randint(3, 9)):
            self.touched, self.read = set(), set()
            steps = [self.step(i) for _ in range(rng.choice([1, 1, 2]))]
            self.used += [f for f in self.made if f in self.read]
            self.made = [f for f in {*self.made, *self.touched} if f not in self.used]
            self.made.sort()
            self.scripts.append(f"set -e; {'; '.join(steps)}; test ! -e {marks}/{i}")

    def pick(self, count, without=()):
        there = [*SOURCES, *self.made, *self.used]
        there = [f for f in there if f not in self.touched and f not in without]
        found = self.rng.sample(there, count)
        self.read.update(found)
        return found

    def step(self, i):
        there = [f for f in self.made if f not in self.touched and f not in self.read]
        how = self.rng.choice(["make", "make", "add", "mark", "mix"]) if there else "make"
        if how == "add" and not self.may_add:
            how = "mark"
        file = f"f{i}.{len(self.touched)}" if how == "make" else self.rng.choice(there)
        if how == "make":
            script = f"cat {' '.join(self.pick(self.rng.choice([1, 2])))} > {file}"
        elif how == "add":
            script = f"cat {self.pick(1, [file])[0]} >> {file}"
        elif how == "mark":
            script = self.rng.choice([f"sed -i s/^/{i}/ {file}", f"sort -u -o {file} {file}",
                                      f"sed -i s/[0-9]/1/ {file}"])
        else:
            script = f"cat {self.pick(1, [file])[0]} {file} > t; cat t > {file}; rm t"
        self.touched.add(file)
        return script


def from_scratch(where, scripts, sources):
    where.mkdir()
    for name, text in sources.items():
        (where / name).write_text(text)
    for script in scripts:
        subprocess.run(["sh", "-c", script], cwd=where, check=True)
    return files(where)


def files(where):
    return {p.name: p.read_text() for p in where.iterdir()}


@pytest.mark.parametrize("seed", WORLDS)
def test_an_update_comes_to_what_a_new_beginning_comes_to(shell, repo, tmp_path, seed):
    rng = random.Random(seed)
    marks = tmp_path / "fails"
    marks.mkdir()
    world = World(rng, marks)
    sources = {name: f"{name}\n" for name in SOURCES}
    # What was only added to is made anew where that is asked for.
    words = ["--force"] if world.may_add else []

    def change():
        for name in rng.sample(SOURCES, rng.choice([1, 1, 2])):
            sources[name] = "".join(f"{rng.randrange(3)}\n" for _ in range(rng.randint(1, 3)))
            (repo / name).write_text(sources[name])

    for name, text in sources.items():
        (repo / name).write_text(text)
    shell.ok("commit", repo)
    for i, script in enumerate(world.scripts):
        shell.ok("run", "-n", str(i), "sh", "-c", script, cwd=repo)
    for turn in range(3):
        change()
        if rng.random() < 0.4:
            fails = marks / str(rng.randrange(len(world.scripts)))
            fails.write_text("")
            shell.run("run", "--update", *words, cwd=repo)
            fails.unlink()
            if rng.random() < 0.4:
                change()
        wanted = from_scratch(tmp_path / f"plain{turn}", world.scripts, sources)
        steps = shell.json("run", "--update", "--json", *words, cwd=repo)["steps"]
        names = [step["run"]["name"] for step in steps]
        assert len(names) == len(set(names)), (steps, world.scripts)
        assert files(repo) == wanted, (turn, world.scripts)
        assert "up to date" in shell.ok("run", "--update", "--dry-run", *words, cwd=repo)
