# SPDX-License-Identifier: GPL-3.0-or-later
"""Random programs over a small tree, run with --memo on one copy of it and without on another,
with changes in between: every byte of what they make and print is the same.

PFS_LONG=1 makes many more.
"""

import os
import random
import shutil
import subprocess
import sys

import pytest

from conftest import PFS, SECONDS, can_mount

pytestmark = can_mount

NAMES = "ab"
STEPS = 4
SEEDS = 40 if os.environ.get("PFS_LONG") else 5
PROGRAMS = 2  # of a seed
ROUNDS = 16 if os.environ.get("PFS_LONG") else 9  # each a change and two programs

# Runs a program: what it sees decides what it writes, so that a wrong answer spreads.
PLAYER = r"""
import os, stat, sys, zlib
seen = 0
def see(*what):
    global seen
    seen = zlib.crc32(repr(what).encode(), seen)
    print(*what)
def play(op, a, b):
    if op == "read":
        with open(a, "rb") as f: see(op, a, f.read())
    elif op == "list":
        see(op, a, sorted(os.listdir(a)))
    elif op == "look":
        s = os.lstat(a); see(op, a, stat.S_IFMT(s.st_mode), s.st_mode & 0o7777)
    elif op == "write":
        with open(a, "wb") as f: f.write(b"%s %d\n" % (a.encode(), seen))
    elif op == "append":
        with open(a, "ab") as f: f.write(b"+%d\n" % seen)
    elif op == "keep":
        os.close(os.open(a, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    elif op == "mkdir": os.mkdir(a)
    elif op == "rmdir": os.rmdir(a)
    elif op == "unlink": os.unlink(a)
    elif op == "rename": os.rename(a, b)
    elif op == "link": os.link(a, b)
    elif op == "symlink": os.symlink(b.rsplit("/", 1)[-1], a)
    elif op == "chmod": os.chmod(a, 0o700 if seen % 2 else 0o755)
    elif op == "if":
        see(op, a, os.path.exists(a))
        if seen % 2: play("write", b, a)
with open(sys.argv[1]) as program:
    steps = [line.split() for line in program]
for step in steps:
    try:
        play(*step)
    except OSError as e:
        see(step, e.errno)
"""
LOOKS = ["read", "read", "list", "look", "if"]
CHANGES = ["write", "append", "keep", "mkdir", "rmdir", "unlink", "rename", "rename", "link",
           "symlink", "chmod"]
SMALL = ["write", "append", "keep", "unlink", "mkdir", "rename"]  # between two programs


def path(rnd):
    return "/".join(rnd.choice(NAMES) for _ in range(rnd.choice([1, 2, 2])))


def program(rnd, ops, count):
    return "".join(f"{rnd.choice(ops)} {path(rnd)} {path(rnd)}\n" for _ in range(count))


def looks(rnd, count):
    return "".join(rnd.choice(["list . .\n", program(rnd, LOOKS, 1)]) for _ in range(count))


def contents(top):
    """All that is in a tree, but for times."""
    found = {}
    for at, dirs, files in os.walk(top):
        for name in dirs + files:
            full = os.path.join(at, name)
            st = os.lstat(full)
            if os.path.islink(full):
                what = os.readlink(full)
            else:
                what = None if name in dirs else open(full, "rb").read()
            found[os.path.relpath(full, top)] = (oct(st.st_mode), what)
    return found


def in_a_mount(shell, base, path, work):
    """Does @work in a mount of a new store; the two lie in the same place, one after the other."""
    base.mkdir()
    shell.ok("init", base / "store")
    shell.ok("mount", "-o", f"state={base}/state", base / "store", path)
    try:
        os.makedirs(path / "R")
        return work(path / "R/main")
    finally:
        shell.ok("umount", path, cwd="/")
        shutil.rmtree(base)


def play(shell, player, steps, cwd, memo, marks):
    words = ["sh", "-c", f'echo >> {marks}; exec "$@"', "sh", sys.executable, "-I", "-B",
             str(player), str(steps)]
    done = subprocess.run([PFS, "run", *(["--memo"] if memo else []), "--", *words], cwd=cwd,
                          env=shell.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=SECONDS)
    return done.returncode, done.stdout, done.stderr


def make(rnd, player, tmp_path):
    """What is done, in order: (program, is it a run?)"""
    programs, all_steps = [], []
    for n in range(PROGRAMS):
        p = tmp_path / f"program{n}"
        p.write_text(looks(rnd, STEPS) + program(rnd, LOOKS + CHANGES, 1))
        programs.append(p)
    first = tmp_path / "first"
    first.write_text(program(rnd, ["write", "mkdir", "write", "mkdir", "symlink", "link"], 20))
    all_steps.append((first, False))
    for n in range(ROUNDS):
        change = tmp_path / f"change{n}"
        change.write_text(program(rnd, SMALL, 2))
        one = rnd.choice(programs)
        all_steps += [(change, False), (one, True), (rnd.choice([one, *programs]), True)]
    return all_steps


def do_all(shell, player, steps, top, memo, marks):
    """What each run told, and all that there is after each step."""
    told = []
    for file, is_run in steps:
        if is_run:
            told.append(play(shell, player, file, top, memo, marks))
        else:
            subprocess.run([sys.executable, str(player), str(file)], cwd=top, check=True,
                           stdout=subprocess.DEVNULL)
        shell.ok("commit", top)
        told.append(contents(top))
    return told


@pytest.mark.parametrize("seed", range(SEEDS))
def test_with_memo_and_without_all_is_the_same(shell, tmp_path, seed):
    player, mnt, marks = tmp_path / "player.py", tmp_path / "mnt", tmp_path / "marks"
    player.write_text(PLAYER)
    mnt.mkdir()
    steps = make(random.Random(seed), player, tmp_path)
    results, ran = [], []
    for memo in (True, False):
        marks.write_text("")
        results.append(in_a_mount(shell, tmp_path / "base", mnt, lambda top, memo=memo: do_all(
            shell, player, steps, top, memo, marks)))
        ran.append(len(marks.read_text()))
    for at, (with_memo, without) in enumerate(zip(*results)):
        assert with_memo == without, (seed, at)
    # Some of each seed's runs see what a former one saw.
    assert 0 < ran[0] < ran[1] == 2 * ROUNDS
