# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads that are committed by themselves, where their repo is set so.

What must not be committed is shown by another repo's head that is, over and over, meanwhile. The
clock that these commits go by is a fast one.
"""

import json
import os
import time

import pytest
from runs import Run

PATIENCE_SECONDS = 60
ROUNDS = 2
SPEED = 20
FAILED_SECONDS = 8  # by that clock; the first pause after a failure is 5


def ask(mount, verb, **fields):
    """The answer's lines, without the last."""
    fd = os.open(mount / ".pfs/control", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, json.dumps(dict(fields, verb=verb)).encode())
        answer = b"".join(iter(lambda: os.read(fd, 65536), b""))
    finally:
        os.close(fd)
    lines = [json.loads(line) for line in answer.decode().splitlines()]
    assert lines.pop() == {"ok": True}, answer
    return lines


def configure(mount, repo, when):
    ask(mount, "repo-config", repo=repo, set={"autocommit": when})


def log(mount, path):
    return ask(mount, "log", path=path)


def wait_until(is_so):
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def committed(mount, repo, count):
    """Waits until the repo's main has so many commits; these."""
    wait_until(lambda: len(log(mount, repo + "/main")) >= count)
    return log(mount, repo + "/main")


@pytest.fixture
def place(place):
    def make(*options, **more):
        made = place(*options, **more)
        made.autocommit_speed = SPEED
        return made

    return make


@pytest.fixture
def other(mount):
    """Lets pass what commits another repo's head a few times."""
    os.mkdir(mount / "Other")
    configure(mount, "Other", "idle=1s")
    made = [0]

    def rounds():
        for _ in range(ROUNDS):
            made[0] += 1
            (mount / "Other/main/f").write_text(str(made[0]))
            committed(mount, "Other", made[0])

    return rounds


def test_what_is_left_alone_for_a_while_is_committed(mount, repo):
    configure(mount, "R", "idle=1s")
    (repo / "f").write_text("1")
    [one] = committed(mount, "R", 1)
    assert one["message"] == "autocommit" and one["names"] == []
    assert (mount / "R" / one["id"] / "f").read_text() == "1"
    (repo / "f").write_text("2")
    two = committed(mount, "R", 2)
    assert (mount / "R" / two[0]["id"] / "f").read_text() == "2" and two[1] == one


def test_what_is_clean_is_not_committed_again(mount, repo, other):
    os.mkdir(mount / "Empty")
    configure(mount, "R", "idle=1s")
    configure(mount, "Empty", "every=1s")
    os.listdir(mount / "Empty/main")
    (repo / "f").write_text("1")
    committed(mount, "R", 1)
    other()
    assert len(log(mount, "R/main")) == 1 and log(mount, "Empty/main") == []


def test_a_file_that_is_open_for_writing_is_not_left_alone(mount, repo, other):
    configure(mount, "R", "idle=1s")
    with open(repo / "f", "w") as f:
        f.write("1")
        f.flush()
        other()
        assert log(mount, "R/main") == []
    committed(mount, "R", 1)


def test_now_and_then_means_also_while_somebody_writes(mount, repo):
    with open(repo / "f", "w") as f:
        for i in range(ROUNDS):
            f.write("line %d\n" % i)
            f.flush()
            configure(mount, "R", "every=1s")
            committed(mount, "R", i + 1)
    texts = [(mount / "R" / c["id"] / "f").read_text() for c in log(mount, "R/main")]
    assert "line 0\nline 1\n" in texts and "line 0\n" in texts


@pytest.mark.parametrize("when", [None, "off", "idle=1d", "every=1d"])
def test_nothing_is_committed_before_its_time(mount, repo, other, when):
    if when:
        configure(mount, "R", when)
    (repo / "f").write_text("1")
    other()
    assert log(mount, "R/main") == []
    configure(mount, "R", "idle=1s")
    committed(mount, "R", 1)


def test_what_a_run_writes_is_not_committed_before_it_ends(mount, repo, other):
    configure(mount, "R", "idle=1s")
    run = Run(mount)
    (run.view / "R/main/f").write_text("the run's")
    other()
    assert log(mount, "R/main") == []
    run.end()
    [made] = committed(mount, "R", 1)
    assert made["message"] != "autocommit"


def test_changes_from_before_a_restart_are_committed_though_nobody_looks(mount, repo):
    configure(mount, "R", "idle=1d")
    (repo / "f").write_text("1")
    mount.restart()
    configure(mount, "R", "every=1s")
    [one] = committed(mount, "R", 1)
    assert (mount / "R" / one["id"] / "f").read_text() == "1"


def test_a_mount_for_reading_commits_nothing(mount, repo, other, place):
    (repo / "f").write_text("1")
    mount.stop()
    second = place(name="2")
    second.start()
    os.mkdir(second / "More")
    for name in "R", "More":
        configure(second, name, "every=1s")
    mount.start("ro")
    assert (repo / "f").read_text() == "1"
    for i in range(ROUNDS):
        (second / "More/main/f").write_text(str(i))
        committed(second, "More", i + 1)
    assert log(second, "R/main") == [] and (repo / "f").read_text() == "1"


def test_two_mounts_commit_onto_one_branch(mount, repo, place):
    configure(mount, "R", "idle=1s")
    second = place(name="2")
    second.start()
    (repo / "a").write_text("1")
    (second / "R/main/b").write_text("2")
    for m in mount, second:
        wait_until(lambda: sorted(os.listdir(m / "R/main")) == ["a", "b"])
    made = [c for c in log(mount, "R/main") if c["message"] == "autocommit"]
    assert len(made) == 2


def test_what_two_mounts_have_changed_alike_is_kept_and_the_log_says_so(mount, repo, place):
    second = place(name="2")
    second.start()
    (repo / "f").write_text("1")
    (second / "R/main/f").write_text("2")
    configure(mount, "R", "idle=1s")
    said = "R/main: others have changed the same"
    wait_until(lambda: said in mount.log() + second.log())
    assert (repo / "f").read_text() == "1" and (second / "R/main/f").read_text() == "2"
    kept = {(mount / "R/commits" / c / "f").read_text() for c in os.listdir(mount / "R/commits")}
    assert kept == {"1", "2"}


def test_a_failure_is_said_once_and_tried_again(mount, repo):
    (repo / "before").write_text("1")
    os.mkdir(mount / "R/commits/before")
    packs = mount.store / "packs"
    packs.rename(mount.store / "away")
    packs.write_text("no directory")
    configure(mount, "R", "idle=1s")
    (repo / "f").write_text("1")
    wait_until(lambda: "R/main cannot be committed by itself" in mount.log())
    time.sleep(FAILED_SECONDS / SPEED)
    assert mount.log().count("cannot be committed by itself") == 1
    packs.unlink()
    (mount.store / "away").rename(packs)
    made = committed(mount, "R", 2)
    assert (mount / "R" / made[0]["id"] / "f").read_text() == "1"
    wait_until(lambda: "R/main: it is committed by itself again" in mount.log())
