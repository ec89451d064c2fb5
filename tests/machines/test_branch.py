# SPDX-License-Identifier: GPL-3.0-or-later
"""Several machines on one branch of one bucket."""

import os
import threading
import time

import pytest

from acting import together
from conftest import PATIENCE, becomes


COMMITS = 200 if os.environ.get("PFS_LONG") else 12


def test_six_machines_commit_to_one_branch_at_once(lan):
    machines = lan(6)
    slowest = [0.0] * 6

    def work(m, i):
        def run():
            for n in range(COMMITS):
                (m / f"R/main/m{i}-{n}").write_text(f"{i} {n}")
                start = time.monotonic()
                os.mkdir(m / f"R/commits/m{i}-{n}")
                slowest[i] = max(slowest[i], time.monotonic() - start)
        return run

    assert together(*(work(m, i) for i, m in enumerate(machines))) == [None] * 6
    print(f"slowest commit: {max(slowest):.2f} s")
    for m in machines:
        m.ok("sync", m / "R/main")
    wanted = sorted(f"m{i}-{n}" for i in range(6) for n in range(COMMITS))
    assert sorted(os.listdir(machines[0] / "R/main")) == wanted
    names = {name for c in machines[0].json("log", machines[0] / "R/main") for name in c["names"]}
    assert names == set(wanted)
    for m in machines:
        assert m.json("status", m / "R/main")["standing"] == "on-branch"
        assert sorted(os.listdir(m / "R/main")) == wanted
        assert m.memory() < 320 or PATIENCE > 1
    assert max(slowest) < 5 * PATIENCE


def test_a_clean_head_sees_anothers_commit_within_the_refresh_time(lan):
    a, b = lan(2)
    os.listdir(b / "R/main")
    for n in range(3):
        (a / "R/main/f").write_text(str(n))
        a.ok("commit", a / "R/main")
        start = time.monotonic()
        assert becomes(lambda n=n: (b / "R/main/f").read_text(), str(n))
        assert time.monotonic() - start < 3 * PATIENCE
    (a / "R/main/f").write_text("synced")
    a.ok("commit", a / "R/main")
    b.ok("sync", b / "R/main")
    assert (b / "R/main/f").read_text() == "synced"


def test_a_machine_cut_off_goes_on_and_joins_when_it_is_back(lan):
    a, b = lan(2)
    (a / "R/main/f").write_text("1")
    a.ok("commit", a / "R/main")
    b.ok("sync", b / "R/main")
    assert (b / "R/main/f").read_text() == "1"
    b.plug_out()
    (b / "R/main/mine").write_text("written while cut off")
    assert (b / "R/main/f").read_text() == "1"
    (a / "R/main/theirs").write_text("meanwhile")
    a.ok("commit", a / "R/main")
    with pytest.raises(OSError):
        os.mkdir(b / "R/commits/cut-off")
    assert (b / "R/main/mine").read_text() == "written while cut off"
    b.plug_in()
    assert becomes(lambda: b.run("commit", "-n", "back", b / "R/main").code, 0)
    assert sorted(os.listdir(b / "R/main")) == ["f", "mine", "theirs"]
    a.ok("sync", a / "R/main")
    assert sorted(os.listdir(a / "R/main")) == ["f", "mine", "theirs"]


def test_a_machine_that_dies_in_a_commit_has_it_or_has_it_not(lan):
    a, b = lan(2)
    for n in range(6):
        (b / f"R/main/f{n}").write_text(str(n))
        maker = threading.Thread(target=b.run, args=("commit", "-n", f"c{n}", b / "R/main"))
        maker.start()
        time.sleep(0.02 * n)
        b.crash()
        maker.join()
        b.mount()
        assert (b / f"R/main/f{n}").read_text() == str(n)
        try:
            os.mkdir(b / f"R/commits/c{n}")
        except FileExistsError:
            # It was answered, or is as it was asked for.
            pass
        assert (b / f"R/c{n}/f{n}").read_text() == str(n)
    b.ok("sync", b / "R/main")
    a.ok("sync", a / "R/main")
    assert sorted(os.listdir(a / "R/main")) == [f"f{n}" for n in range(6)]
