# SPDX-License-Identifier: GPL-3.0-or-later
"""What hostile users with several machines would try."""

import errno
import mmap
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from conftest import KEYS, PATIENCE, PFS, becomes

LONG = bool(os.environ.get("PFS_LONG"))


def together(*calls):
    """Runs them all at once: what each gave back, or raised."""
    results = [None] * len(calls)

    def one(i):
        try:
            results[i] = calls[i]()
        except BaseException as error:  # pylint: disable=broad-except
            results[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def settle(machines, head="R/main"):
    """All have committed, and see what all have."""
    for m in machines:
        m.ok("commit", m / head)
    for m in machines:
        m.ok("sync", m / head)


def content(path):
    return {os.path.relpath(os.path.join(d, f), path): open(os.path.join(d, f), "rb").read()
            for d, _, files in os.walk(path) for f in files}


def test_of_48_writers_those_with_one_name_have_one_winner(lan):
    machines = lan(6)

    def writer(m, i, w):
        def run():
            own = f"m{i}-{w}"
            (m / f"R/main/{own}").write_text(own)
            name = "same" if w % 2 else own
            for _ in range(2 if w % 2 else 1):
                try:
                    os.mkdir(m / f"R/commits/{name}")
                except FileExistsError:
                    continue
                return name, own
            return None, own
        return run

    results = together(*(writer(m, i, w) for w in range(8) for i, m in enumerate(machines)))
    assert [r for r in results if isinstance(r, BaseException)] == []
    made = {name: own for name, own in results if name}
    assert [name for name, _ in results if name].count("same") == 1
    assert len(made) == 25
    settle(machines)
    wanted = {f"m{i}-{w}": f"m{i}-{w}".encode() for i in range(6) for w in range(8)}
    for m in machines:
        assert m.json("status", m / "R/main")["standing"] == "on-branch"
        assert content(m / "R/main") == wanted
        for name, own in made.items():
            assert (m / f"R/{name}/{own}").read_text() == own
    names = [n for c in machines[0].json("log", machines[0] / "R/main") for n in c["names"]]
    assert sorted(names) == sorted(made)


def test_one_name_for_one_commit_is_given_once(lan):
    machines = lan(4)
    (machines[0] / "R/main/f").write_text("1")
    settle(machines)
    for n in range(5):
        results = together(*(lambda m=m, n=n: os.mkdir(m / f"R/commits/n{n}") for m in machines))
        lost = [r for r in results if r is not None]
        assert len(lost) == len(machines) - 1
        assert all(isinstance(r, FileExistsError) for r in lost), lost


def test_a_daemon_killed_while_it_publishes_has_a_commit_wholly_or_not(lan):
    a, b = lan(2)
    rng = random.Random(4)
    last = {}
    for n in range(60 if LONG else 10):
        last[f"big{n % 3}"] = rng.randbytes(rng.choice((10, 300_000, 4_000_000)))
        last[f"f{n}"] = b"%d" % n
        for name in (f"big{n % 3}", f"f{n}"):
            (b / f"R/main/{name}").write_bytes(last[name])
        (a / f"R/main/a{n}").write_text(str(n))
        other = threading.Thread(target=a.run, args=("commit", a / "R/main"))
        maker = subprocess.Popen(["mkdir", str(b / f"R/commits/c{n}")], stderr=subprocess.DEVNULL)
        other.start()
        time.sleep(rng.random() * 0.25)
        b.crash()
        was_told = maker.wait() == 0
        other.join()
        b.mount()
        there = False
        try:
            os.mkdir(b / f"R/commits/c{n}")
        except FileExistsError:
            there = True
        assert there or not was_told
        found = {k: v for k, v in content(b / f"R/c{n}").items() if not k.startswith("a")}
        assert found == last, (n, there)
        found = {k: v for k, v in content(b / "R/main").items() if not k.startswith("a")}
        assert found == last, (n, there)
        assert content(b / f"R/commits/c{n}") == content(b / f"R/c{n}")
    settle((a, b))
    wanted = last | {f"a{i}": b"%d" % i for i in range(n + 1)}
    assert content(a / "R/main") == wanted
    assert content(b / "R/main") == wanted
    names = [x for c in a.json("log", a / "R/main") for x in c["names"]]
    assert sorted(names) == sorted(f"c{i}" for i in range(n + 1))


def linked(a, b, repo, act, writer_first):
    """In a repo of their own: a file with the names x, y and d/z, which the first machine writes
    through x, while the second acts. Gives the machine that commits first, the other, and how that
    one's commit, named "second", ended."""
    os.mkdir(a / repo)
    head = a / f"{repo}/main"
    os.mkdir(head / "d")
    (head / "x").write_text("old")
    for name in "y", "d/z":
        os.link(head / "x", head / name)
    a.ok("commit", head)
    assert becomes(lambda: (b / f"{repo}/main/y").read_text(), "old")
    act(b / f"{repo}/main")
    with open(head / "x", "w", encoding="utf-8") as f:
        f.write("new")
    first, second = (a, b) if writer_first else (b, a)
    first.ok("commit", first / f"{repo}/main")
    return first, second, second.run("commit", "-n", "second", second / f"{repo}/main").code


def links_of(head):
    """What each name of the tree says, and how many names it has; all of one file."""
    names = [n for n in ("d/w", "d/z", "w", "x", "y") if os.path.lexists(head / n)]
    assert len({os.stat(head / n).st_ino for n in names}) <= 1
    return {n: ((head / n).read_text(), os.stat(head / n).st_nlink) for n in names}


def unlink(*names):
    return lambda head: [os.unlink(head / name) for name in names]


def exchange(head):
    os.link(head / "y", head / "d/w")
    os.unlink(head / "x")


STAYING = {
    "that": (unlink("x"), ("d/z", "y")),
    "another": (unlink("d/z"), ("x", "y")),
    "all-but-one": (unlink("d/z", "x"), ("y",)),
    "more": (lambda head: os.link(head / "y", head / "d/w"), ("d/w", "d/z", "x", "y")),
    "exchange": (exchange, ("d/w", "d/z", "y")),
    "moved": (lambda head: os.rename(head / "x", head / "w"), ("d/z", "w", "y")),
}


def test_a_write_through_a_link_reaches_the_names_that_stay(lan):
    machines = lan(2)
    for what, (act, names) in STAYING.items():
        for writer_first in (True, False):
            repo = f"{what}-{writer_first}"
            _, _, code = linked(*machines, repo, act, writer_first)
            assert code == 0, repo
            for m in machines:
                m.ok("sync", m / f"{repo}/main")
                assert links_of(m / f"{repo}/main") == {n: ("new", len(names)) for n in names}, repo


def test_a_write_through_a_link_whose_names_are_all_removed_is_a_conflict(lan):
    machines = lan(2)
    for side in ("ours", "theirs"):
        for writer_first in (True, False):
            repo = f"{side}-{writer_first}"
            first, second, code = linked(*machines, repo, unlink("x", "y", "d/z"), writer_first)
            written = {n: ("new", 3) for n in ("d/z", "x", "y")}
            by_first, by_second = (written, {}) if writer_first else ({}, written)
            assert code == 3, repo
            # Both commits are there, as they were made.
            assert links_of(first / f"{repo}/main") == by_first, repo
            assert links_of(second / f"{repo}/second") == by_second, repo
            assert links_of(second / f"{repo}/main") == by_second, repo
            second.ok("merge", f"--{side}", "--into", second / f"{repo}/main")
            for m in machines:
                m.ok("sync", m / f"{repo}/main")
                assert links_of(m / f"{repo}/main") == \
                    (by_second if side == "ours" else by_first), repo


def test_who_has_something_open_keeps_it_while_the_head_moves(lan):
    a, b = lan(2)
    here, there = a / "R/main", b / "R/main"
    for name in "stays", "goes":
        os.mkdir(here / name)
        for i in range(500):
            (here / f"{name}/{i:03}").write_text(f"{name} {i}")
    old = os.urandom(3 << 20)
    (here / "mapped").write_bytes(old)
    (here / "log").write_text("first\n")
    a.ok("commit", here)
    b.ok("sync", there)
    fd = os.open(there / "mapped", os.O_RDONLY)
    path = os.open(there / "mapped", os.O_PATH)
    seen = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
    assert seen[:10] == old[:10]
    dirs = {name: os.open(there / name, os.O_RDONLY) for name in ("stays", "goes")}
    listing = os.scandir(there / "stays")
    listed = [next(listing).name for _ in range(10)]
    was = os.fstat(path)
    (here / "mapped").write_bytes(old[::-1])
    for i in range(500):
        os.unlink(here / f"goes/{i:03}")
    os.rmdir(here / "goes")
    (here / "stays/new").write_text("new")
    os.unlink(here / "stays/100")
    a.ok("commit", here)
    b.ok("sync", there)
    assert (there / "mapped").read_bytes() == old[::-1]
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert seen[:] == old and os.pread(fd, 1 << 22, 0) == old
    now = os.fstat(path)
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (was.st_ino, was.st_size, was.st_mtime_ns)
    listed += [entry.name for entry in listing]
    assert len(set(listed)) == len(listed)
    assert set(listed) - {"new", "100"} == {f"{i:03}" for i in range(500)} - {"100"}
    stays = subprocess.run(["sh", "-c", "pwd -P; cat new; echo; ls | wc -l"], cwd=there / "stays",
                           stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert stays == [str(there / "stays"), "new", "500"]
    assert os.listdir(f"/proc/self/fd/{dirs['stays']}") == os.listdir(there / "stays")
    with pytest.raises(OSError):
        os.stat("000", dir_fd=dirs["goes"])
    with pytest.raises(OSError):
        os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=dirs["goes"])
    assert not os.path.lexists(there / "goes")
    # Who appends keeps the head where it is, and loses nothing.
    with open(there / "log", "a", encoding="utf-8") as log:
        log.write("second\n")
        log.flush()
        (here / "stays/newer").write_text("newer")
        a.ok("commit", here)
        b.ok("sync", there)
        log.write("third\n")
        log.flush()
        b.ok("commit", there)
        log.write("fourth\n")
    b.ok("commit", there)
    a.ok("sync", here)
    assert (here / "log").read_text() == "first\nsecond\nthird\nfourth\n"
    assert (there / "stays/newer").read_text() == "newer"
    for f in (fd, path, *dirs.values()):
        os.close(f)
