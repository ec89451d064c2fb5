# SPDX-License-Identifier: GPL-3.0-or-later
"""What hostile users with several machines would try."""

import errno
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from acting import content, retried, settle, timed, together
from conftest import KEYS, PATIENCE, PFS, becomes

LONG = bool(os.environ.get("PFS_LONG"))


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


def is_quick(m, head):
    """All that is local is, and so is what a look around needs."""
    taken = {what: timed(fn) for what, fn in (
        ("statvfs", lambda: os.statvfs(m.path)), ("ls /pfs", lambda: os.listdir(m.path)),
        ("ls /pfs/R", lambda: os.listdir(m / "R")), ("ls head", lambda: os.listdir(head)),
        ("stat", lambda: [os.stat(head / name) for name in os.listdir(head)[:50]]))}
    print({what: f"{seconds * 1000:.1f} ms" for what, seconds in taken.items()})
    # A listing of a repo waits for branches and names a moment each.
    return max(taken.values()) < 0.3 or PATIENCE > 1


@pytest.mark.parametrize("how", ["cable", "restart", "freeze"] if LONG else ["cable"])
def test_a_big_commit_is_cut_in_the_middle_and_made(lan, how):
    a, b = lan(2)
    head = b / "R/main"
    net = lan.network
    os.listdir(b / "R")
    big = os.urandom(96 << 20)
    (head / "big").write_bytes(big)
    for i in range(300):
        (head / f"small{i:03}").write_text(str(i))
    (a / "R/main/other").write_text("other")
    a.ok("commit", a / "R/main")
    maker = threading.Thread(target=b.run, args=("commit", "-n", "cut", head))
    maker.start()
    time.sleep(0.3)
    break_it, mend_it = {"cable": (b.plug_out, b.plug_in),
                         "restart": (net.server_stop, net.server_start),
                         "freeze": (net.server_freeze, net.server_thaw)}[how]
    break_it()
    (head / "meanwhile").write_text("meanwhile")
    for _ in range(5):
        assert is_quick(b, head)
        time.sleep(0.3)
    mend_it()
    maker.join()
    retried(lambda: os.mkdir(b / "R/commits/cut"))
    assert (b / "R/cut/big").read_bytes() == big
    assert "meanwhile" not in os.listdir(b / "R/cut")
    assert (head / "meanwhile").read_text() == "meanwhile"
    retried(lambda: settle((a, b)))
    assert content(a / "R/main") == content(head)
    assert len(os.listdir(head)) == 303
    assert b.memory() < 320 or PATIENCE > 1


def test_the_disk_budget_is_spent_while_the_server_is_away(lan):
    (m,) = lan(1, options="disk=64M")
    head = m / "R/main"
    (head / "old").write_bytes(b"o" * 3_000_000)
    m.ok("commit", head)
    os.listdir(m / "R")
    lan.network.server_stop()
    written = {}
    with pytest.raises(OSError) as error:
        for n in range(100):
            written[f"f{n}"] = os.urandom(1 << 20)
            (head / f"f{n}").write_bytes(written[f"f{n}"])
    assert error.value.errno == errno.ENOSPC
    assert len(written) > 30
    last = f"f{len(written) - 1}"
    del written[last]
    os.unlink(head / last)
    # "old" is the server's, and what is written here has pushed it out of the disk cache.
    assert content(head, but=("old",)) == written
    if LONG:
        # The commit fails for the server, not for space, and keeps all.
        with pytest.raises(OSError) as error:
            os.mkdir(m / "R/commits/away")
        assert error.value.errno == errno.EIO
    for n in range(10):
        os.unlink(head / f"f{n}")
        del written[f"f{n}"]
    os.truncate(head / "f10", 5)
    written["f10"] = written["f10"][:5]
    os.rename(head / "f11", head / "g11")
    written["g11"] = written.pop("f11")
    assert is_quick(m, head)
    lan.network.server_start()
    retried(lambda: os.mkdir(m / "R/commits/back"))
    written["old"] = b"o" * 3_000_000
    assert content(head) == written
    assert content(m / "R/back") == written
    # There is room again.
    for n in range(40):
        (head / f"new{n}").write_bytes(os.urandom(1 << 20))
    m.ok("commit", head)


def test_what_is_removed_while_the_server_is_away_makes_room(lan):
    (m,) = lan(1, options="disk=64M")
    head = m / "R/main"
    lan.network.server_stop()
    for _ in range(5):
        with pytest.raises(OSError) as error:
            for n in range(100):
                (head / f"f{n}").write_bytes(os.urandom(1 << 20))
        assert error.value.errno == errno.ENOSPC
        assert len(os.listdir(head)) > 30
        for name in os.listdir(head):
            os.unlink(head / name)
    lan.network.server_start()


def test_unmounting_and_mounting_need_no_server(lan):
    (m,) = lan(1)
    head = m / "R/main"
    (head / "f").write_text("committed")
    m.ok("commit", "-n", "first", head)
    assert (m / "R/first/f").read_text() == "committed"
    (head / "g").write_text("uncommitted")
    os.listdir(m / "R")
    outages = [(lan.network.server_stop, lan.network.server_start)]
    if LONG:
        outages += [(m.plug_out, m.plug_in),
                    (lan.network.server_freeze, lan.network.server_thaw)]
    for break_it, mend_it in outages:
        break_it()
        assert timed(m.umount) < 15 * PATIENCE
        # What is known is shown at once; a deadline of the store's would be ten seconds.
        assert timed(m.mount) < 5 * PATIENCE
        assert os.listdir(m.path) == ["R"]
        assert sorted(os.listdir(m / "R")) == ["commits", "first", "main"]
        assert (head / "f").read_text() == "committed"
        assert (head / "g").read_text() == "uncommitted"
        assert (m / "R/first/f").read_text() == "committed"
        (head / "h").write_text("new")
        assert is_quick(m, head)
        mend_it()
    retried(lambda: m.ok("commit", head))


def test_another_store_at_the_same_place_is_not_taken_for_the_one_that_was_mounted(lan):
    m, other = lan(2)
    head = m / "R/main"
    (head / "f").write_text("mine")
    m.ok("commit", "-n", "first", head)
    for machine in m, other:
        machine.umount()
    m.plug_out()
    m.mount()
    lan.network.server_stop()
    place, mine = (lan.network.base / "objects/machines" / name for name in ("p", "mine"))
    place.rename(mine)
    lan.network.server_start()
    other.ok("init", lan.network.store())
    m.plug_in()
    assert becomes(lambda: "is not the store any more" in m.log(), True)
    (head / "f").write_text("more")
    assert m.run("commit", head).code != 0
    assert (m / "R/first/f").read_text() == "mine"
    # Nor by who mounts it now, with the state of the other.
    assert other.mount(check=False).code != 0
    lan.network.server_stop()
    shutil.rmtree(place)
    mine.rename(place)
    lan.network.server_start()
    retried(lambda: m.ok("commit", "-n", "second", head))
    assert (m / "R/second/f").read_text() == "more"


WAITING = {
    "commit": lambda m: ("commit", m / "R/main"),
    "commit-named": lambda m: ("commit", "-n", "n", m / "R/main"),
    "log": lambda m: ("log", m / "R/main"),
    "log-of": lambda m: ("log", m / "R/main/d/f"),
    "show": lambda m: ("show", m / "R/first"),
    "diff": lambda m: ("diff", m / "R/first", m / "R/second"),
    "merge": lambda m: ("merge", "--into", m / "R/main", "other"),
    "sync": lambda m: ("sync", m / "R/main"),
    "sync-all": lambda m: ("sync", m.path),
    "status": lambda m: ("status", m / "R/main"),
    "branch": lambda m: ("branch", "create", m / "R/new"),
    "repo": lambda m: ("repo", "create", "new"),
    "restore": lambda m: ("restore", m / "R/first/d", m / "R/main/d"),
    "warm": lambda m: ("cache", "warm", m / "R/main"),
    "export": lambda m: ("export", m / "R/second", m.home / "out"),
    "import": lambda m: ("import", "/etc/default", "R/main/in"),
    "push": lambda m: ("push", m.home / "there", "R"),
    "pull": lambda m: ("pull", m.network.store("q"), "R"),
    "doctor": lambda m: ("doctor", m.path),
    "fresh-log": lambda m: ("log", "--store", m.network.store(), "R/main"),
    "fresh-mount": lambda m: ("mount", "-o", f"state={m.home}/other", m.network.store(),
                              m.home / "elsewhere"),
    "init": lambda m: ("init", m.network.store("r")),
}


def test_ctrl_c_ends_every_command_that_waits(lan):
    a, b = lan(2)
    for name in "first", "second":
        os.makedirs(a / "R/main/d", exist_ok=True)
        (a / "R/main/d/f").write_bytes(os.urandom(500_000))
        a.ok("commit", "-n", name, a / "R/main")
    a.ok("branch", "create", a / "R/other")
    (a / "R/other/x").write_text("x")
    a.ok("commit", a / "R/other")
    b.ok("sync", b / "R/main")
    assert becomes(lambda: sorted(os.listdir(b / "R")),
                   ["commits", "first", "main", "other", "second"])
    (b / "R/main/uncommitted").write_text("1")
    b.ok("init", b.home / "there")
    a.ok("init", a.network.store("q"))
    os.mkdir(b.home / "elsewhere")
    lan.network.server_freeze()
    environment = dict(b.environment, HOME=str(b.home))

    def start(words):
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{b.ns}", PFS, *map(str, words)], cwd=b.path / "R/main",
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    running = {what: start(words(b)) for what, words in WAITING.items()}
    time.sleep(1.5)
    waiting = [what for what, p in running.items() if p.poll() is None]
    begin = time.monotonic()
    for p in running.values():
        if p.poll() is None:
            p.send_signal(signal.SIGINT)
    slow = {}
    for what, p in running.items():
        try:
            p.wait(timeout=max(0.1, begin + 2 * PATIENCE - time.monotonic()))
        except subprocess.TimeoutExpired:
            slow[what] = None
    for what in slow:
        running[what].wait(timeout=120)
        slow[what] = time.monotonic() - begin
    lan.network.server_thaw()
    assert slow == {}
    assert {"commit", "sync", "merge", "push", "warm"} <= set(waiting)
    assert all(running[what].returncode != 0 for what in waiting)
    retried(lambda: b.ok("commit", b / "R/main"))


def test_a_mount_that_was_interrupted_does_not_come_later(lan):
    (m,) = lan(1)
    where, state = m.home / "elsewhere", m.home / "other"
    os.mkdir(where)
    lan.network.server_freeze()
    command = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{m.ns}", PFS, "mount", "-o", f"state={state}", m.store,
         str(where)], env=m.environment, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    command.send_signal(signal.SIGINT)
    assert command.wait(2 * PATIENCE) != 0
    lan.network.server_thaw()
    # Once its daemon has gone another can have the state directory, and no mount is left.
    assert becomes(lambda: subprocess.run(["pgrep", "-f", str(where)], stdout=subprocess.DEVNULL,
                                          check=False).returncode, 1)
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        assert not any(line.split()[1] == str(where) for line in mounts)


def test_keys_are_exchanged_while_it_is_mounted(network):
    m = network.machine()
    keys = m.home / "keys"

    def write(secret):
        new = m.home / "keys.new"
        new.touch(mode=0o600)
        new.write_text(f"[default]\naws_access_key_id = {KEYS['AWS_ACCESS_KEY_ID']}\n"
                       f"aws_secret_access_key = {secret}\n")
        os.rename(new, keys)

    for key in KEYS:
        del m.environment[key]
    write(KEYS["AWS_SECRET_ACCESS_KEY"])
    m.store = f"{network.store()}&credentials={keys}"
    m.ok("init", m.store)
    m.mount(m.store)
    os.mkdir(m / "R")
    (m / "R/main/f").write_text("1")
    os.mkdir(m / "R/commits/before")
    before = KEYS["AWS_SECRET_ACCESS_KEY"]
    network.server_stop()
    KEYS["AWS_SECRET_ACCESS_KEY"] = "another-secret"
    try:
        network.server_start()
    finally:
        KEYS["AWS_SECRET_ACCESS_KEY"] = before
    (m / "R/main/f").write_text("2")
    start = time.monotonic()
    with pytest.raises(OSError) as error:
        os.mkdir(m / "R/commits/refused")
    assert error.value.errno in (errno.EIO, errno.EACCES)
    assert time.monotonic() - start < 15 * PATIENCE
    assert (m / "R/before/f").read_text() == "1"
    write("another-secret")
    retried(lambda: os.mkdir(m / "R/commits/after"))
    assert (m / "R/after/f").read_text() == "2"


def test_machines_whose_clocks_differ_share_a_store(lan):
    machines = lan(3)
    for m, offset in zip(machines[1:], ("+40m", "-40m")):
        m.umount()
        m.environment.update(LD_PRELOAD="/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
                             FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1")
        m.mount()

    def work(i, m):
        def run():
            for n in range(3):
                (m / f"R/main/m{i}-{n}").write_text(f"{i} {n}")
                os.mkdir(m / f"R/commits/m{i}-{n}")
        return run

    assert together(*(work(i, m) for i, m in enumerate(machines))) == [None] * 3
    settle(machines)
    wanted = {f"m{i}-{n}": f"{i} {n}".encode() for i in range(3) for n in range(3)}
    for m in machines:
        assert content(m / "R/main") == wanted
    names = [n for c in machines[0].json("log", machines[0] / "R/main") for n in c["names"]]
    assert sorted(names) == sorted(wanted)


def test_many_repos_and_branches_are_seen_everywhere(lan):
    a, b = lan(2)
    count, each = (200, 30) if LONG else (20, 10)
    for i in range(count):
        os.mkdir(a / f"r{i:03}")
    results = together(*(lambda i=i, m=m: os.mkdir(m / f"R/b{i}-{m.name}")
                         for i in range(each) for m in (a, b)))
    assert results == [None] * 2 * each
    repos = sorted([f"r{i:03}" for i in range(count)] + ["R"])
    branches = sorted(f"b{i}-{m.name}" for i in range(each) for m in (a, b))
    for m in a, b:
        assert becomes(lambda m=m: sorted(os.listdir(m.path)), repos, 10)
        assert becomes(lambda m=m: sorted(os.listdir(m / "R")),
                       sorted(branches + ["commits", "main"]), 10)
    for i in range(0, count, 10):
        (b / f"r{i:03}/main/f").write_text(str(i))
    assert timed(lambda: [os.mkdir(b / f"r{i:03}/commits/c") for i in range(0, count, 10)]) \
        < 60 * PATIENCE
    assert becomes(lambda: [(a / f"r{i:03}/c/f").read_text() for i in range(0, count, 10)],
                   [str(i) for i in range(0, count, 10)], 10)
    assert timed(lambda: [os.stat(a / r / "main") for r in repos]) < 10 * PATIENCE
    for m in a, b:
        for r in repos:
            os.listdir(m / r)
    lan.network.server_freeze()
    for m in a, b:
        assert timed(lambda m=m: [os.listdir(m / r) for r in repos]) < 10 * PATIENCE
        assert timed(lambda m=m: os.listdir(m.path)) < 0.1 * PATIENCE
    lan.network.server_thaw()
    for m in a, b:
        assert m.memory() < 320 or PATIENCE > 1


def test_what_is_uncommitted_in_a_branch_that_others_remove_or_make_anew_is_kept(lan):
    a, b = lan(2)
    (a / "R/main/f").write_text("1")
    settle((a, b))
    for name in "gone", "anew":
        os.mkdir(a / f"R/{name}")
        assert becomes(lambda name=name: (b / f"R/{name}/f").read_text(), "1")
        (b / f"R/{name}/mine").write_text(name)
        os.rmdir(a / f"R/{name}")
    os.mkdir(a / "R/anew")
    (a / "R/anew/theirs").write_text("theirs")
    a.ok("commit", a / "R/anew")
    for remounted in (False, True):
        if remounted:
            b.umount()
            b.mount()
        assert becomes(lambda: sorted(os.listdir(b / "R/anew")), ["f", "theirs"])
        assert (b / "R/gone/mine").read_text() == "gone"
        (left,) = re.findall(r"anew\.left-[0-9a-f]{8}", b.log())[:1]
        assert sorted(os.listdir(b / f"R/{left}")) == ["f", "mine"]
        assert (b / f"R/{left}/mine").read_text() == "anew"
        assert b.run("commit", b / f"R/{left}").code == 1
        b.ok("sync", b.path)
    (b / "R/anew/mine").write_text((b / f"R/{left}/mine").read_text())
    settle((a, b), "R/anew")
    assert sorted(os.listdir(a / "R/anew")) == ["f", "mine", "theirs"]
