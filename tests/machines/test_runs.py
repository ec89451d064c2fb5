# SPDX-License-Identifier: GPL-3.0-or-later
"""Six machines, each with runs onto one branch of one server at once, while commands, daemons and
machines are killed; of some machines the disk comes back, others are gone for good. In the end every
record is held against what there is: a run's two files are on the branch both or none, what was made
and not published is where the record says, and only runs of a machine that is gone have no end.

PFS_SEED repeats a run's choices, though not its timing; PFS_LONG=1 makes it 200 runs a machine.
"""

import os
import random
import shutil
import signal
import subprocess
import time

from acting import together
from conftest import PATIENCE, PFS, becomes

RUNS = 200 if os.environ.get("PFS_LONG") else 5
SECONDS = 60
FATES = ["well"] * 4 + ["fails", "command", "daemon", "machine", "disk"]
SCRIPT = "echo {0} > a-{0}; sleep {1}; echo {0} > b-{0}; exit {2}"


class User:
    def __init__(self, machine, number, seed):
        self.m, self.number, self.rng = machine, number, random.Random(seed)
        self.told = {}  # by the run's name: its exit status
        self.gone = set()  # runs that may have been under way when the disk went

    def mount_again(self, disk=True):
        self.m.crash()
        if not disk:
            shutil.rmtree(self.m.state)
        assert becomes(lambda: self.m.mount(check=False).code, 0, SECONDS)

    def one(self, n):
        name = f"m{self.number}-{n}"
        what = self.rng.choice(FATES)
        is_killed = what not in ("well", "fails")
        script = SCRIPT.format(name, 0.2 if is_killed else 0, 7 if what == "fails" else 0)
        p = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.m.ns}", PFS, "run", "-n", name,
                              "sh", "-c", script], cwd=self.m / "R/main", env=self.m.environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)
        if is_killed:
            time.sleep(self.rng.uniform(0, 0.6))
        if what == "command":
            p.send_signal(self.rng.choice([signal.SIGKILL, signal.SIGTERM]))
        if what in ("machine", "disk"):
            os.killpg(p.pid, signal.SIGKILL)
        if what == "disk":
            # Those before it that nobody has heard the end of may not have got that far.
            self.gone |= {name} | {x for x, code in self.told.items() if code not in (0, 7)}
        if what in ("daemon", "machine", "disk"):
            self.mount_again(what != "disk")
        try:
            err = p.communicate(timeout=SECONDS * PATIENCE)[1]
        finally:
            p.kill()
        if what == "well":
            assert p.returncode == 0, err
        if what == "fails":
            assert p.returncode == 7, err
        self.told[name] = p.returncode

    def work(self):
        for n in range(RUNS):
            self.one(n)


def files(path, name, is_cut=False):
    """Which of a run's two files are there, and whole; one that was killed may have begun one."""
    found = ""
    for part in "ab":
        file = path / f"{part}-{name}"
        if file.exists():
            assert file.read_text() == f"{name}\n" or (is_cut and file.read_text() == "")
            found += part
    return found


def records(machine):
    return {r["name"]: r for r in machine.json("runs", cwd=machine.path) if "name" in r}


def judge(machine, record, name):
    """What a record that is complete says is so."""
    on_main = files(machine / "R/main", name)
    [out] = record.get("outputs") or [{}]
    assert bool(out.get("published")) == (record["status"] == "ok"), record
    assert on_main == ("ab" if record["status"] == "ok" else ""), record
    if out.get("kept"):
        kept = files(machine / "R" / out["kept"], name, is_cut=record["status"] != "failed")
        assert kept == "ab" if record["status"] == "failed" else kept in ("", "a", "ab"), record
    elif record["status"] == "failed":
        raise AssertionError(f"nothing was kept: {record}")


def test_runs_of_six_machines_at_once_are_published_whole_or_kept(lan):
    seed = int(os.environ.get("PFS_SEED", time.time_ns()))
    print(f"PFS_SEED={seed}")
    machines = lan(6)
    users = [User(m, i, seed + i) for i, m in enumerate(machines)]
    assert together(*(u.work for u in users)) == [None] * 6
    told = {name: code for u in users for name, code in u.told.items()}
    gone = set().union(*(u.gone for u in users))

    def open_ones():
        return {name for name, r in records(machines[0]).items() if r["status"] == "running"}

    assert becomes(lambda: open_ones() - gone, set(), SECONDS)
    assert becomes(lambda: sum(len(os.listdir(m.state / "runs")) for m in machines), 0, SECONDS)
    for m in machines:
        m.ok("sync", m / "R/main")
    known = records(machines[0])
    for name, code in told.items():
        if code == 0:
            assert known[name]["status"] == "ok"
        if code == 7:
            assert known[name]["status"] == "failed"
    for name, record in known.items():
        if record["status"] == "running":
            assert files(machines[0] / "R/main", name) in ("", "ab")
        else:
            judge(machines[0], record, name)
    assert all(name in told for name in known)
    for m in machines[1:]:
        assert sorted(os.listdir(m / "R/main")) == sorted(os.listdir(machines[0] / "R/main"))
