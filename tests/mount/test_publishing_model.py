# SPDX-License-Identifier: GPL-3.0-or-later
"""Random changes in a head and in runs that overlap, against a model of what is published.

The model is written from store/run/RUNS.md ("Publishing", "Pins") and store/merge/RULES.md. A tree
is a dictionary; files are their text. Three merges make up the end of a run: what it has changed
taken off what was uncommitted, that brought onto the branch, and the head taking both in.
"""

import copy
import json
import os
import random
import shutil
import time

from conftest import commit
from runs import Run

ROUNDS = 150 if os.environ.get("PFS_LONG") else 6
STEPS = 60
RUNS_MAX = 3
DEPTH_MAX = 3
PATIENCE_SECONDS = 60
NAMES = ["a", "b", "c", "c~"]


class Conflict(Exception):
    """Both sides have changed the same."""


def is_throwaway(name):
    return name.endswith("~")


def without_throwaway(what):
    if not isinstance(what, dict):
        return what
    return {n: without_throwaway(x) for n, x in what.items() if not is_throwaway(n)}


def merge_name(o, a, b, is_run, prefer):
    """What becomes of a name; None: it is not there."""
    trees = [isinstance(x, dict) for x in (o, a, b)]
    ours = without_throwaway(a) if is_run else a
    if a == b:
        return b
    if trees[1] and trees[2]:
        return merge(o if trees[0] else {}, a, b, is_run, prefer)
    if trees[0] and (trees[1] and b is None or trees[2] and a is None) and o not in (a, b):
        return merge(o, a or {}, b or {}, is_run, prefer) or None
    if a == o:
        return b
    if b == o or prefer:
        return ours
    raise Conflict


def merge(o, a, b, is_run=False, prefer=False):
    """Three-way. @is_run: of @a throw-away files are left out. With @prefer a conflict is settled
    for @a."""
    made = {}
    for n in {*o, *a, *b}:
        x = b.get(n) if is_run and is_throwaway(n) else merge_name(
            o.get(n), a.get(n), b.get(n), is_run, prefer)
        if x is not None:
            made[n] = x
    return made


def may_merge(o, a, b, is_run=False):
    try:
        return merge(o, a, b, is_run)
    except Conflict:
        return None


def on_disk(path):
    return {e.name: on_disk(e.path) if e.is_dir() else open(e.path, encoding="utf-8").read()
            for e in os.scandir(path)}


def folders(tree, path=()):
    found = [(path, tree)]
    for n in sorted(tree):
        if isinstance(tree[n], dict):
            found += folders(tree[n], path + (n,))
    return found


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def change(rng, root, tree):
    """One random operation, on disk and in the model."""
    path, where = rng.choice(folders(tree))
    name = rng.choice(NAMES)
    at, was = os.path.join(root, *path, name), where.get(name)
    kind = rng.choice(["write"] * 4 + ["append"] + ["remove", "mkdir", "rename"] * 2)
    if kind == "write" and not isinstance(was, dict):
        where[name] = rng.choice("xyz") * rng.choice([1, 1, 5000])
        with open(at, "w", encoding="utf-8") as f:
            f.write(where[name])
    elif kind == "append" and isinstance(was, str):
        where[name] += "+"
        with open(at, "a", encoding="utf-8") as f:
            f.write("+")
    elif kind == "mkdir" and was is None and len(path) < DEPTH_MAX:
        where[name] = {}
        os.mkdir(at)
    elif kind == "remove" and was is not None:
        del where[name]
        remove(at)
    elif kind == "rename":
        rename(rng, root, tree, path + (name,), where)


def rename(rng, root, tree, to, where):
    path, here = rng.choice(folders(tree))
    name = rng.choice(NAMES)
    what, was = here.get(name), where.get(to[-1])
    if what is None or was is what:
        return
    if isinstance(what, dict):
        depth = len(to) + len(folders(what)[-1][0])
        if was not in (None, {}) or to[:len(path) + 1] == (*path, name) or depth > DEPTH_MAX:
            return
    elif isinstance(was, dict):
        return
    os.rename(os.path.join(root, *path, name), os.path.join(root, *to))
    del here[name]
    where[to[-1]] = what


class World:
    """A branch, the head that one of two mounts has of it, and that one's runs: what they have."""

    def __init__(self, first, second, seed):
        self.rng = random.Random(seed)
        self.mount, self.other, self.repo = first, second, f"R{seed}"
        os.mkdir(first / self.repo)
        self.head, self.committed, self.tip = {}, {}, {}
        self.runs, self.names = [], 0

    def path(self, *below):
        return self.mount / self.repo / os.path.join(*below)

    # ---- steps ----

    def edit(self):
        change(self.rng, self.path("main"), self.head)

    def commit(self):
        self.names += 1
        at = commit(self.mount, f"n{self.names}", self.repo)
        assert on_disk(at) == self.head
        merged = may_merge(self.committed, self.head, self.tip)
        if merged is None:
            return False
        self.head, self.committed, self.tip = (copy.deepcopy(merged) for _ in range(3))
        return True

    def edit_elsewhere(self):
        root = self.other / self.repo / "main"
        wait_until(lambda: root.exists() and on_disk(root) == self.tip)
        change(self.rng, root, self.tip)
        self.names += 1
        commit(self.other, f"n{self.names}", self.repo)

    def begin(self):
        if len(self.runs) < RUNS_MAX:
            run = Run(self.mount)
            run.tree, run.pinned, run.below = (copy.deepcopy(x) for x in
                                               (self.head, self.head, self.committed))
            self.runs.append(run)

    def run_edits(self):
        if self.runs:
            run = self.rng.choice(self.runs)
            change(self.rng, run.view / self.repo / "main", run.tree)

    def end(self):
        if not self.runs:
            return
        run = self.runs.pop(self.rng.randrange(len(self.runs)))
        assert on_disk(run.view / self.repo / "main") == run.tree
        fails = self.rng.random() < 0.2
        answer = run.end(status=1 if fails else 0)
        outputs = [o for o in answer["outputs"] if "result" in o]
        is_kept = fails or (outputs and not self.publish(run))
        assert answer["status"] == ("failed" if fails else "unpublished" if is_kept else "ok")
        # One that has changed times alone has one as well.
        assert len(outputs) == 1 or run.tree == run.pinned
        for out in outputs:
            assert out.get("kept") == ("run-" + run.id if is_kept else None)
            assert not is_kept or on_disk(self.path(out["kept"])) == run.tree

    # ---- the model ----

    def publish(self, run):
        """False: it conflicts with what others have published."""
        alone = run.tree
        if run.pinned != run.below:
            alone = merge(run.pinned, run.tree, run.below, is_run=True, prefer=True)
        tip = may_merge(run.below, alone, self.tip, is_run=True)
        if tip is None:
            return False
        self.tip = tip
        if self.head != self.committed:
            taken = may_merge(run.pinned, run.tree, self.head, is_run=True)
            self.head = copy.deepcopy(self.head if taken is None else taken)
        self.advance()
        return True

    def advance(self):
        onto = may_merge(self.committed, self.tip, self.head)
        if onto is not None:
            self.head, self.committed = copy.deepcopy(onto), copy.deepcopy(self.tip)

    def check(self):
        if self.head == self.committed:
            # It may, or may not, have gone on to its branch's commit: it does when it is committed.
            if self.head != self.tip:
                self.names += 1
                commit(self.mount, f"n{self.names}", self.repo)
                self.head, self.committed = copy.deepcopy(self.tip), copy.deepcopy(self.tip)
            wait_until(lambda: on_disk(self.path("main")) == self.head)
        assert on_disk(self.path("main")) == self.head
        log = json.loads(ask(self.mount, "log", path=self.repo + "/main")[0])
        for run in self.runs:
            assert on_disk(run.view / self.repo / "main") == run.tree
        if log.get("id"):
            assert on_disk(self.path(log["id"])) == self.tip


def ask(mount, verb, **fields):
    fd = os.open(mount / ".pfs/control", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, json.dumps(dict(fields, verb=verb)).encode())
        return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode().splitlines()
    finally:
        os.close(fd)


def wait_until(is_so):
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if is_so():
                return
        except OSError:
            pass
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_runs_publish_and_what_the_head_shows_is_as_the_model_says(place):
    first, second = place(name="1"), place(name="2")
    first.start()
    second.start()
    first_seed = int(os.environ.get("PFS_SEED", 0))
    for seed in range(first_seed, first_seed + ROUNDS):
        print("PFS_SEED=%d" % seed)
        w = World(first, second, seed)
        steps = [w.edit] * 4 + [w.run_edits] * 8 + [w.begin] * 2 + [w.end] * 2 + [w.commit]
        if seed % 2:
            steps.append(w.edit_elsewhere)
        for _ in range(STEPS):
            step = w.rng.choice(steps)
            if step() is False:
                break
            if step not in (w.edit, w.run_edits):
                w.check()
        else:
            while w.runs:
                w.end()
                w.check()
        while w.runs:
            w.runs.pop().end()
