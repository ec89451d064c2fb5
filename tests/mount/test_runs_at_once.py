# SPDX-License-Identifier: GPL-3.0-or-later
"""Many runs of a mount at once, some in others, also when its daemon is told to end, or killed, in
their midst: each record is true, and what a run has made is in one place."""

import json
import os
import signal
import threading
import time

import pytest
from conftest import commit
from runs import Refused, Run, needs_namespaces

pytestmark = pytest.mark.skipif(needs_namespaces(), reason="needs root and unshare")

RUNS = 8
GONE_SECONDS = 60


@pytest.fixture
def files(mount, repo):
    (repo / "f").write_text("one")
    commit(mount, "N")
    (repo / "g").write_text("not committed")
    return repo


class Worker(threading.Thread):
    """One run after the other, and in each of them another one, until the daemon is gone."""

    def __init__(self, mount, number, rounds):
        super().__init__()
        self.mount, self.number, self.rounds = mount, number, rounds
        self.begun = {}  # by id: the name of what it writes
        self.told = {}  # by id: the end's answer

    def one(self, base, name):
        with Run(self.mount, base) as run:
            self.begun[run.id] = name
            (run.view / "R/main" / name).write_text(name)
            if base is None:
                self.one(run.view, name + "-inner")
            self.told[run.id] = run.end()

    def run(self):
        for n in range(self.rounds):
            try:
                self.one(None, f"w{self.number}-{n}")
            except (OSError, Refused, ValueError, IndexError):
                return


def work(mount, rounds, then=None):
    workers = [Worker(mount, n, rounds) for n in range(RUNS)]
    for w in workers:
        w.start()
    if then:
        then()
    for w in workers:
        w.join()
    return workers


def wait_until_gone(mount):
    end = time.monotonic() + GONE_SECONDS
    while os.listdir(mount.state / "runs"):
        assert time.monotonic() < end, os.listdir(mount.state / "runs")
        time.sleep(0.05)


def records(mount):
    """Each run's start and end."""
    fd = os.open(mount / ".pfs/control", os.O_RDWR)

    def ask(**request):
        os.write(fd, json.dumps(request).encode())
        answer = b""
        while part := os.read(fd, 65536):
            answer += part
        return [json.loads(x) for x in answer.splitlines()]

    ids = [x["id"] for x in ask(verb="runs") if "id" in x]
    found = {i: ask(verb="run-show", run=i)[-2] for i in ids}
    os.close(fd)
    return {i: (x["start"], x.get("end")) for i, x in found.items()}


def has(mount, branch, name, whole=True):
    path = mount / "R" / branch / name
    return path.exists() and (path.read_text() == name or not whole)


def judge(mount, known, begun, told):
    for i, (start, end) in known.items():
        assert end, f"{i} has no end"
        assert not told.get(i) or told[i]["status"] == end["status"]
        name = begun.get(i)
        for out in end.get("outputs", ()) if name else ():
            assert ("published" in out) != ("kept" in out)
            if "kept" in out:
                assert has(mount, out["kept"], name, whole=False)
                assert not has(mount, "main", name, whole=False)
            elif "into" not in out:
                assert has(mount, "main", name)
            elif known[start["parent"]][1]["status"] == "ok":
                assert has(mount, "main", name)
    assert set(begun) <= set(known)


def all_of(workers, what):
    return {i: x for w in workers for i, x in getattr(w, what).items()}


def test_eight_at_once_are_all_published(mount, files):
    workers = work(mount, 3)
    told, begun = all_of(workers, "told"), all_of(workers, "begun")
    assert len(told) == RUNS * 3 * 2
    assert {x["status"] for x in told.values()} == {"ok"}
    for name in begun.values():
        assert (files / name).read_text() == name
    wait_until_gone(mount)
    judge(mount, records(mount), begun, told)
    assert (files / "g").read_text() == "not committed"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_ends_in_their_midst_loses_none(mount, files, sent):
    def end_it():
        time.sleep(1)
        if sent == signal.SIGTERM:
            assert mount.stop() == 0
        else:
            mount.kill()
            mount.detach()

    workers = work(mount, 1000, end_it)
    mount.start()
    wait_until_gone(mount)
    judge(mount, records(mount), all_of(workers, "begun"), all_of(workers, "told"))
    assert (files / "g").read_text() == "not committed"
