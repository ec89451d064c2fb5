# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots in a row while others write: each is one moment of all of them."""

import mmap
import os
import re
import struct
import subprocess

from conftest import commit

APPEND = """
import os, sys, time
os.chdir(sys.argv[1])
log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
n = 0
while True:
    os.write(log, b"%08d\\n" % n)
    n += 1
    time.sleep(0.0002)
"""

RENAME = """
import os, sys
os.chdir(sys.argv[1])
n = 0
while True:
    os.close(os.open("made%d" % n, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    os.rename("made%d" % n, "moved%d" % n)
    if n >= 20:
        os.unlink("moved%d" % (n - 20))
    n += 1
"""

PAGES = 4
STORE = """
import mmap, os, struct, sys
os.chdir(sys.argv[1])
f = os.open("map", os.O_CREAT | os.O_RDWR)
os.ftruncate(f, 4 * 4096)
m = mmap.mmap(f, 4 * 4096)
view = memoryview(m).cast("Q")
n = 0
while True:
    n += 1
    for page in range(4):
        view[page * 512 + 7] = n
"""


def check_appended(now):
    """A write across a page's end may come in two: the kernel cuts it where it does not have the page."""
    records = (now / "log").read_bytes()
    count = len(records) // 9
    assert records == b"".join(b"%08d\n" % n for n in range(count + 1))[:len(records)]
    assert len(records) % 9 == 0 or len(records) % mmap.PAGESIZE == 0
    return count


def check_renamed(now):
    """After n rounds there are the last 20 names; within a round, one more or one on its way."""
    names = os.listdir(now)
    moved = sorted(int(x[5:]) for x in names if x.startswith("moved"))
    made = [int(x[4:]) for x in names if x.startswith("made")]
    assert len(made) + len(moved) == len(names) and len(made) <= 1
    rounds = moved[-1] + 1 if moved else 0
    assert moved == list(range(moved[0] if moved else 0, rounds))
    assert made in ([], [rounds])
    assert len(moved) == min(rounds, 20) or (not made and len(moved) == 21)
    return rounds


def stored(path):
    data = (path / "map").read_bytes()
    return [struct.unpack_from("<Q", data, page * 4096 + 56)[0] for page in range(PAGES)]


def test_each_snapshot_is_one_moment_of_every_writer(mount, repo):
    kinds = {"append": APPEND, "rename": RENAME, "store": STORE}
    places = ["append%d" % i for i in range(3)] + ["rename%d" % i for i in range(3)]
    places += ["store%d" % i for i in range(2)]
    for place in places:
        (repo / place).mkdir()
    writers = [
        subprocess.Popen(["/usr/bin/python3", "-c", kinds[re.sub(r"\d", "", p)], str(repo / p)])
        for p in places
    ]
    maps = []
    try:
        while len(maps) < 2:
            maps = [p for p in places if (repo / p).match("store*") and (repo / p / "map").exists()
                    and os.path.getsize(repo / p / "map") == PAGES * 4096]
        last = dict.fromkeys(places, 0)
        views = {}
        for p in maps:
            fd = os.open(repo / p / "map", os.O_RDWR)
            views[p] = mmap.mmap(fd, PAGES * 4096)
            os.close(fd)
        for i in range(30):
            before = {p: [struct.unpack_from("<Q", views[p], k * 4096 + 56)[0]
                          for k in range(PAGES)] for p in maps}
            written = {p: os.path.getsize(repo / p / "log") // 9
                       for p in places if p.startswith("append") and (repo / p / "log").exists()}
            one = commit(mount, "c%d" % i)
            for p in places:
                if p in maps:
                    assert all(a <= b for a, b in zip(before[p], stored(one / p)))
                elif p.startswith("rename"):
                    now = check_renamed(one / p)
                    assert now >= last[p]
                    last[p] = now
                elif p in written:
                    now = check_appended(one / p)
                    assert now >= max(last[p], written[p])
                    last[p] = now
        for m in views.values():
            m.close()
        assert all(w.poll() is None for w in writers)
        assert all(last[p] > 0 for p in places if p not in maps)
    finally:
        for w in writers:
            w.kill()
            w.wait()


def test_a_snapshot_keeps_what_it_was_while_its_files_are_written_on(mount, repo):
    """Later stores and writes must not show through in an earlier commit."""
    (repo / "f").write_bytes(b"a" * 100_000)
    seen = []
    with open(repo / "f", "r+b", buffering=0) as f, mmap.mmap(f.fileno(), 100_000) as m:
        for i in range(10):
            m[i * 9000:i * 9000 + 5] = b"%05d" % i
            f.seek(i * 9000 + 100)
            f.write(b"W%04d" % i)
            one = commit(mount, "s%d" % i)
            seen.append((one, bytes(m)))
    for one, data in seen:
        assert (one / "f").read_bytes() == data
