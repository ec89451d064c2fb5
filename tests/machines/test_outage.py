# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that is gone for a while, or stands still, in the middle of everything."""

import errno
import os
import signal
import subprocess
import threading
import time

import pytest

from conftest import PATIENCE, becomes

LONG = bool(os.environ.get("PFS_LONG"))
# Several of these can run at once, each with a part of the rounds: they mostly wait.
ROUNDS = int(os.environ.get("PFS_ROUNDS", 100 if LONG else 2))
DEAD = 60 if LONG else 2
# A look-up's deadline, and a read's, with what it takes to notice.
META, DATA = 10 + 2, 30 + 2


def commit_ends_well(m, name):
    """A commit that is tried until it is answered; it must not be there twice."""
    def attempt():
        try:
            os.mkdir(m / f"R/commits/{name}")
        except FileExistsError:
            return "there"
        return "there"

    assert becomes(attempt, "there", 240)


@pytest.mark.parametrize("what", ["reading", "writing", "committing", "mounting", "unmounting"])
def test_a_server_dead_for_a_while_loses_nothing(lan, what):
    (m,) = lan(1)
    net = lan.network
    head = m / "R/main"
    text = os.urandom(1 << 20)
    for n in range(ROUNDS):
        (head / f"old{n}").write_bytes(text)
        commit_ends_well(m, f"before{n}")
        if what in ("reading", "mounting"):
            # Nothing of it is on this machine any more.
            m.umount()
            subprocess.run(["rm", "-rf", str(m.state)], check=True)
            m.mount()
            os.listdir(head)
            os.listdir(m / "R")
        if what == "unmounting":
            (head / f"uncommitted{n}").write_bytes(text)
        net.server_stop()
        start = time.monotonic()
        if what == "reading":
            with pytest.raises(OSError) as error:
                (head / f"old{n}").read_bytes()
            assert error.value.errno == errno.EIO
            assert time.monotonic() - start < (META + DATA) * PATIENCE
        elif what == "writing":
            for k in range(20):
                (head / f"new{n}-{k}").write_bytes(text)
                assert (head / f"new{n}-{k}").read_bytes() == text
        elif what == "committing":
            (head / f"new{n}").write_bytes(text)
            maker = threading.Thread(target=m.run, args=("commit", head))
            maker.start()
        elif what == "mounting":
            m.umount()
            m.mount()
            os.listdir(m / "R")
            os.listdir(head)
        else:
            m.umount()
            assert time.monotonic() - start < (META + DATA) * PATIENCE
        time.sleep(max(0, DEAD - (time.monotonic() - start)))
        net.server_start()
        if what == "unmounting":
            m.mount()
            assert (head / f"uncommitted{n}").read_bytes() == text
        if what == "committing":
            maker.join()
        assert becomes(lambda n=n: (head / f"old{n}").read_bytes() == text, True)
        commit_ends_well(m, f"after{n}")
        for name in os.listdir(head):
            assert (head / name).read_bytes() == text
    assert m.json("status", head)["standing"] == "on-branch"


def timed(fn):
    start = time.monotonic()
    try:
        fn()
        code = 0
    except OSError as error:
        code = error.errno
    return code, time.monotonic() - start


def test_a_frozen_server_holds_up_only_who_needs_it(lan):
    a, b = lan(2)
    for i in range(64):
        (a / f"R/main/cold{i}").write_bytes(os.urandom(300000))
    (a / "R/main/warm").write_bytes(b"w" * 300000)
    os.mkdir(a / "R/main/sub")
    for i in range(2000):
        (a / f"R/main/sub/{i:05}").write_text("x")
    a.ok("commit", a / "R/main")
    b.ok("sync", b / "R/main")
    assert (b / "R/main/warm").read_bytes() == b"w" * 300000
    os.listdir(b / "R/main")
    lan.network.server_freeze()
    found = []

    def note(fn):
        found.append(timed(fn))

    waiting = [threading.Thread(target=note, args=((b / f"R/main/cold{i}").read_bytes,))
               for i in range(64)]
    waiting.append(threading.Thread(target=note, args=(
        lambda: os.stat(b / "R/main/sub/01999"),)))
    victim = subprocess.Popen(["cat", str(b / "R/main/cold63")], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    for t in waiting:
        t.start()
    time.sleep(0.5)
    slowest = 0.0
    for n in range(20):
        for what, fn in (("statvfs", lambda: os.statvfs(b.path)),
                         ("ls", lambda: os.listdir(b.path)),
                         ("read", lambda: (b / "R/main/warm").read_bytes()),
                         ("create", lambda n=n: (b / f"R/main/new{n}").write_text("new")),
                         ("read new", lambda n=n: (b / f"R/main/new{n}").read_text())):
            code, seconds = timed(fn)
            assert code == 0, what
            slowest = max(slowest, seconds)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(5 * PATIENCE) == -signal.SIGKILL
    for t in waiting:
        t.join()
    assert all(code in (0, errno.EIO) and seconds < DATA * PATIENCE for code, seconds in found)
    assert any(code == errno.EIO for code, _ in found)
    # What has failed does not make everybody wait again.
    code, seconds = timed((b / "R/main/cold0").read_bytes)
    assert code == errno.EIO and seconds < 2 * PATIENCE
    lan.network.server_thaw()
    for i in range(64):
        assert becomes(lambda i=i: len((b / f"R/main/cold{i}").read_bytes()), 300000)
    print(f"slowest local operation: {slowest * 1000:.0f} ms")
    assert slowest < 0.1 * PATIENCE or PATIENCE > 1


def test_ctrl_c_ends_a_waiting_command_at_once(lan):
    (m,) = lan(1)
    (m / "R/main/f").write_text("1")
    lan.network.server_freeze()
    waiting = subprocess.Popen(["nsenter", f"--net=/run/netns/{m.ns}",
                                os.environ.get("PFS", "pfs"), "commit", str(m / "R/main")],
                               env=m.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(1)
    assert waiting.poll() is None
    start = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=60)
    assert waiting.returncode != 0 and time.monotonic() - start < 2 * PATIENCE
    lan.network.server_thaw()
    commit_ends_well(m, "then")
