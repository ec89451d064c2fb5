# SPDX-License-Identifier: GPL-3.0-or-later
"""Several mounts of one store; and mounts that cannot be."""

import ctypes
import errno
import os
import subprocess
import threading
import time

import pytest
from conftest import PROGRAM, Mount, call, commit, commit_id, is_mounted
from test_control import ask
from test_namespace import fails

FOLLOW_SECONDS = 10


@pytest.fixture
def two(place):
    """Two mounts, each with its own state, of a store with the repo R."""
    a, b = (place("refresh=200", name).start() for name in "ab")
    os.mkdir(a / "R")
    assert becomes(lambda: os.listdir(b.path), ["R"])
    return a, b


def becomes(look, wanted):
    """Is it so within a few seconds?"""
    end = time.monotonic() + FOLLOW_SECONDS
    while time.monotonic() < end:
        try:
            if look() == wanted:
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


def status(mount, path="R/main"):
    return ask(mount, verb="status", path=path)


def test_a_clean_head_follows_its_branch(two):
    a, b = two
    (a / "R/main/f").write_text("one")
    commit(a, "one")
    assert becomes(lambda: (b / "R/main/f").read_text(), "one")
    (b / "R/main/g").write_text("two")
    two_id = commit_id(commit(b, "two"))
    assert becomes(lambda: commit_id(a / "R/main"), two_id)
    assert becomes(lambda: sorted(os.listdir(a / "R/main")), ["f", "g"])
    assert becomes(lambda: sorted(os.listdir(a / "R")), ["commits", "main", "one", "two"])


def test_what_the_kernel_knows_is_renewed_when_a_head_moves(two):
    a, b = two
    (a / "R/main/d").mkdir()
    for name in ("same", "changed", "gone", "d/f", "turned"):
        (a / "R/main" / name).write_text("first")
    commit(a, "one")
    assert becomes(lambda: (b / "R/main/d/f").read_text(), "first")
    for name in ("same", "changed", "gone", "turned"):
        assert (b / "R/main" / name).read_text() == "first"
    assert not os.path.exists(b / "R/main/new")
    number = os.stat(b / "R/main/same").st_ino
    old = open(b / "R/main/same")
    old_cwd = os.getcwd()
    os.chdir(b / "R/main/d")
    try:
        (a / "R/main/changed").write_text("second")
        (a / "R/main/d/f").write_text("second")
        (a / "R/main/new").write_text("new")
        os.unlink(a / "R/main/gone")
        os.unlink(a / "R/main/turned")
        (a / "R/main/turned").mkdir()
        old.close()
        commit(a, "two")
        assert becomes(lambda: (b / "R/main/new").read_text(), "new")
        assert becomes(lambda: (b / "R/main/changed").read_text(), "second")
        assert becomes(lambda: open("f").read(), "second")
        assert os.getcwd() == str(b / "R/main/d")
        assert becomes(lambda: os.path.exists(b / "R/main/gone"), False)
        assert becomes(lambda: os.path.isdir(b / "R/main/turned"), True)
        assert os.stat(b / "R/main/same").st_ino == number
        assert sorted(os.listdir(b / "R/main")) == ["changed", "d", "new", "same", "turned"]
    finally:
        os.chdir(old_cwd)


def test_a_head_with_changes_stays_on_its_base_until_it_commits(two):
    a, b = two
    (a / "R/main/f").write_text("base")
    commit(a, "base")
    assert becomes(lambda: (b / "R/main/f").read_text(), "base")
    (b / "R/main/mine").write_text("mine")
    (a / "R/main/f").write_text("theirs")
    theirs = commit_id(commit(a, "theirs"))
    assert becomes(lambda: status(b)[0]["tip"], theirs)
    assert (b / "R/main/f").read_text() == "base"
    [head, *_] = status(b)
    assert head["base"] != head["tip"] == theirs
    os.mkdir(b / "R/commits/late")
    assert sorted(os.listdir(b / "R/late")) == ["f", "mine"]
    assert (b / "R/late/f").read_text() == "base"
    assert becomes(lambda: (b / "R/main/f").read_text(), "theirs")
    assert becomes(lambda: os.path.exists(a / "R/main/mine"), True)


def test_a_file_open_for_writing_keeps_a_head_where_it_is(two):
    a, b = two
    (a / "R/main/f").write_text("base")
    commit(a, "base")
    assert becomes(lambda: (b / "R/main/f").read_text(), "base")
    with open(b / "R/main/f", "r+"):
        (a / "R/main/f").write_text("later")
        later = commit_id(commit(a, "later"))
        assert becomes(lambda: os.path.isdir(b / "R/later"), True)
        time.sleep(1)
        assert (b / "R/main/f").read_text() == "base"
    assert becomes(lambda: (b / "R/main/f").read_text(), "later")
    assert commit_id(b / "R/main") == later


def test_a_clean_head_has_followed_when_it_is_mounted_again(two):
    a, b = two
    (b / "R/main/f").write_text("one")
    commit(b, "one")
    assert becomes(lambda: (a / "R/main/f").read_text(), "one")
    assert b.stop() == 0
    (a / "R/main/f").write_text("two")
    commit(a, "two")
    b.start()
    assert becomes(lambda: (b / "R/main/f").read_text(), "two")


def test_both_commit_in_turns(two):
    a, b = two
    for i in range(6):
        here, there = (a, b) if i % 2 == 0 else (b, a)
        (here / "R/main" / ("f%d" % i)).write_text(str(i))
        tip = commit_id(commit(here, "c%d" % i))
        assert becomes(lambda: commit_id(there / "R/main"), tip)
    assert sorted(os.listdir(a / "R/c5")) == ["f%d" % i for i in range(6)]
    assert becomes(lambda: sorted(os.listdir(b / "R/main")), ["f%d" % i for i in range(6)])


def test_a_name_is_given_by_one_of_two(two):
    a, b = two
    (a / "R/main/f").write_text("x")
    commit(a, "one")
    fails(errno.EEXIST, os.mkdir, b / "R/commits/one")
    os.mkdir(a / "R/b")
    assert becomes(lambda: os.path.isdir(b / "R/b"), True)
    fails(errno.EEXIST, os.mkdir, b / "R/b")


def refused(mount, *words):
    done = subprocess.run([PROGRAM, str(mount.store), *map(str, words)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1
    assert not any(w in done.stdout for w in ("Sanitizer", "runtime error", "Assertion"))
    return done.stdout


def test_a_state_directory_of_another_store_is_a_sentence(place, unmounted):
    unmounted.start().stop()
    other = Mount(unmounted.base / "other")
    said = refused(other, other.path, "-o", "state=%s" % unmounted.state)
    assert "the state directory belongs to another store" in said
    assert not is_mounted(other.path)


def seal(body):
    checksum = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    checksum.restype = ctypes.c_uint64
    checksum.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return body + checksum(body, len(body)).to_bytes(8, "little")


VERSION, RO_COMPAT, INCOMPAT = 4, 8 + 16 + 8, 8 + 16 + 16


@pytest.mark.parametrize(
    "offset,sentence",
    [
        pytest.param(VERSION, "was made by a newer version of pfs", id="version"),
        pytest.param(INCOMPAT, "has features (0x80) that this version does not know", id="incompat"),
        pytest.param(RO_COMPAT, "with which this version may only read", id="ro-compat"),
    ],
)
def test_a_newer_store_is_a_sentence(unmounted, offset, sentence):
    body = bytearray((unmounted.store / "format").read_bytes()[:-8])
    body[offset] = 0x80
    (unmounted.store / "format").chmod(0o644)
    (unmounted.store / "format").write_bytes(seal(bytes(body)))
    assert sentence in refused(unmounted, unmounted.path, "-o", "state=%s" % unmounted.state)
    if offset == RO_COMPAT:
        unmounted.start("ro")
        assert os.listdir(unmounted.path) == []


def test_a_directory_that_is_no_store_is_a_sentence(unmounted):
    (unmounted.store / "format").unlink()
    said = refused(unmounted, unmounted.path, "-o", "state=%s" % unmounted.state)
    assert str(unmounted.store) in said


def test_a_dead_mount_with_users_in_it_is_mounted_over_at_once(mount, repo):
    (repo / "d").mkdir()
    (repo / "d/f").write_text("x")
    bound = mount.base / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", str(repo / "d"), str(bound)], check=True)
    held = open(repo / "d/f")
    old = os.getcwd()
    os.chdir(repo / "d")
    try:
        mount.kill()
        fails(errno.ENOTCONN, open, "f")
        start = time.monotonic()
        mount.start()
        assert time.monotonic() - start < 5
        assert (repo / "d/f").read_text() == "x"
        fails(errno.ENOTCONN, os.listdir, bound)
    finally:
        os.chdir(old)
        held.close()
        subprocess.run(["umount", "-l", str(bound)], check=True)


def test_kill_and_mount_in_a_loop(mount, repo):
    for i in range(5):
        (repo / ("f%d" % i)).write_text(str(i))
        mount.kill()
        mount.start()
        assert sorted(os.listdir(repo)) == ["f%d" % n for n in range(i + 1)]


MS_RDONLY, MS_REMOUNT, MS_NOEXEC = 1, 32, 8


def options_of(path):
    [line] = [x.split() for x in open("/proc/self/mounts") if x.split()[1] == str(path)]
    return set(line[3].split(","))


def test_a_read_only_mount_says_so(mount, repo):
    (repo / "f").write_text("x")
    commit(mount, "one")
    mount.restart("ro")
    assert "ro" in options_of(mount.path)
    fails(errno.EROFS, os.mkdir, mount / "S")
    fails(errno.EROFS, os.mkdir, mount / "R/commits/two")
    fails(errno.EROFS, os.unlink, repo / "f")
    fails(errno.EROFS, open, repo / "f", "w")
    assert (repo / "f").read_text() == "x"
    assert os.statvfs(mount.path).f_flag & os.ST_RDONLY


def remount(path, flags):
    call("mount", b"none", os.fsencode(path), None, flags | MS_REMOUNT, None)


def test_remount_takes_writing_away_and_gives_it_back(mount, repo):
    (repo / "f").write_text("x")
    remount(mount.path, MS_RDONLY)
    fails(errno.EROFS, open, repo / "g", "w")
    fails(errno.EROFS, os.mkdir, mount / "R/commits/one")
    assert "ro" in options_of(mount.path)
    remount(mount.path, MS_NOEXEC)
    assert {"rw", "noexec"} <= options_of(mount.path)
    (repo / "g").write_text("y")
    assert sorted(os.listdir(commit(mount, "one"))) == ["f", "g"]


def test_a_branch_that_another_mount_renamed_still_commits(two):
    a, b = two
    os.mkdir(a / "R/dev")
    assert becomes(lambda: "dev" in os.listdir(b / "R"), True)
    (b / "R/dev/f").write_text("mine")
    os.rename(a / "R/dev", a / "R/dev2")
    assert becomes(lambda: (b / "R/dev2/f").read_text(), "mine")
    os.mkdir(b / "R/commits/dev2@named")
    assert becomes(lambda: (a / "R/dev2/f").read_text(), "mine")


def test_what_is_uncommitted_outlives_the_removal_of_its_branch(two):
    a, b = two
    os.mkdir(a / "R/dev")
    assert becomes(lambda: "dev" in os.listdir(b / "R"), True)
    (b / "R/dev/precious").write_text("mine")
    os.rmdir(a / "R/dev")
    time.sleep(1)
    assert (b / "R/dev/precious").read_text() == "mine"
    fails(errno.ENOENT, lambda: os.mkdir(b / "R/commits/dev@named"))
    (b / "R/dev/precious").rename(b / "R/dev/kept")
    assert (b / "R/dev/kept").read_text() == "mine"
    fails(errno.ENOENT, lambda: os.listdir(a / "R/dev"))


def test_a_branch_is_renamed_while_it_is_committed(place):
    m = place().start()
    os.mkdir(m / "R")
    os.mkdir(m / "R/dev0")
    stop, broken = threading.Event(), []

    def commit_all_the_time():
        n = 0
        while not stop.is_set():
            n += 1
            for name in os.listdir(m / "R"):
                if name.startswith("dev"):
                    try:
                        (m / "R" / name / "f").write_text(str(n))
                        os.mkdir(m / f"R/commits/{name}@c{n}")
                    except OSError as e:
                        if e.errno != errno.ENOENT:
                            broken.append(e)

    t = threading.Thread(target=commit_all_the_time)
    t.start()
    for i in range(60):
        os.rename(m / f"R/dev{i}", m / f"R/dev{i + 1}")
    stop.set()
    t.join()
    assert not broken
    (m / "R/dev60/f").write_text("last")
    os.mkdir(m / "R/commits/dev60@last")
    assert (m / "R/last/f").read_text() == "last"
