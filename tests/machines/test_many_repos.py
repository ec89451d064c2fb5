# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hundred repos with branches in one bucket: what is not in use costs nothing."""

import os
import re
import time

import pytest

from acting import settle, together
from conftest import becomes

REPOS = 200
AT_ONCE = 16
REFRESH = 2  # s, the default
NAMES = [f"r{i:03}" for i in range(REPOS)]


def requests(m):
    """How often its daemon has asked the store for something."""
    said = (m / ".pfs/stats").read_text()
    return sum(map(int, re.findall(r"^pfs_store_requests_total\{.*\} (\d+)$", said, re.M)))


def in_parts(names, act):
    """Has all of them done, several at once."""
    def part(i):
        return lambda: [act(name) for name in names[i::AT_ONCE]]

    wrong = [r for r in together(*map(part, range(AT_ONCE))) if isinstance(r, BaseException)]
    assert wrong == []


@pytest.fixture
def full(lan):
    """Two machines. The repos were made by the first, each with a file, a commit of the name
    "first" and a branch "work"; the second has just been mounted, with nothing in its state."""
    a, b = lan(2)
    b.umount()

    def make(name):
        os.mkdir(a / name)
        (a / f"{name}/main/f").write_text(name)
        os.mkdir(a / f"{name}/commits/first")
        os.mkdir(a / f"{name}/work")

    in_parts(NAMES, make)
    b.state = b.home / "fresh"
    b.mount()
    return a, b


def test_200_repos_are_mounted_listed_followed_and_committed_to(full):
    a, b = full
    # Mounted and listed with as few requests as if there were one.
    assert sorted(os.listdir(b.path)) == sorted(NAMES + ["R"])
    assert requests(b) <= 10
    # A repo costs its record, two listings, and whatever of it was due to be asked for again.
    used = NAMES[::20]
    before = requests(b)
    for name in used:
        assert sorted(os.listdir(b / name)) == ["commits", "first", "main", "work"]
    each = (requests(b) - before) / len(used)
    assert each <= 8
    # Who uses heads asks for these again, whenever they are due, and for no other.
    for name in used:
        assert (b / f"{name}/work/f").read_text() == name
    before, start = requests(b), time.monotonic()
    time.sleep(3 * REFRESH)
    asked = requests(b) - before
    refreshes = (time.monotonic() - start) / REFRESH + 1
    print(f"requests: {each} for a repo, {asked / refreshes:.1f} for a refresh of {len(used)}")
    assert asked <= 2 * len(used) * refreshes
    # What others commit comes, to heads that are in use and to one that never was.
    for name in used:
        (a / f"{name}/work/f").write_text(f"{name} again")
    in_parts(used, lambda name: a.ok("commit", a / f"{name}/work"))
    for name in used:
        assert becomes(lambda name=name: (b / f"{name}/work/f").read_text(), f"{name} again")
    assert (b / "r001/main/f").read_text() == "r001"
    # All are committed to, from both sides.
    for m in a, b:
        in_parts(NAMES, lambda name, m=m: (m / f"{name}/main/{m.name}").write_text(name))
    in_parts(NAMES, lambda name: (os.mkdir(a / f"{name}/commits/a"),
                                  os.mkdir(b / f"{name}/commits/b")))
    for name in used:
        settle((a, b), f"{name}/main")
        for m in a, b:
            assert sorted(os.listdir(m / f"{name}/main")) == sorted(["f", a.name, b.name])
            assert (m / f"{name}/b/{b.name}").read_text() == name


def test_heads_of_200_repos_in_use_cost_one_request_a_refresh(full):
    a, b = full
    for name in NAMES:
        assert (b / f"{name}/work/f").read_text() == name
    # Those that were found last are old once more before the first listing is there.
    time.sleep(2 * REFRESH)
    before, start = requests(b), time.monotonic()
    time.sleep(10 * REFRESH)
    refreshes = (time.monotonic() - start) / REFRESH + 1
    asked = requests(b) - before
    print(f"requests: {asked / refreshes:.1f} for a refresh of {REPOS}")
    assert asked <= len(NAMES) / 4 * refreshes
    # And what is new is seen as ever.
    (a / "r142/work/f").write_text("new")
    a.ok("commit", a / "r142/work")
    assert becomes(lambda: (b / "r142/work/f").read_text(), "new")
