# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in a bucket behind a network at its worst: tests/unit/faultproxy.c between the two.

The server is the one that PFS_TEST_S3 names by its URL.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import time
import uuid

import pytest

from conftest import PFS, SECONDS, can_mount, mounted

SERVER = os.environ.get("PFS_TEST_S3", "")
PROGRAM = pathlib.Path(os.environ.get("PFS_BUILD") or pathlib.Path(PFS).parent.parent) / "tests/faultproxy"
pytestmark = [
    pytest.mark.skipif(not SERVER.startswith("http://127.0.0.1:"), reason="needs an S3 server"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs the fault-injecting proxy"),
    can_mount,
]


class Proxy:
    """Between a client and the server; see tests/unit/faultproxy_main.c."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM, SERVER], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        assert self.url

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline().strip()
        assert said, words
        return said

    def rule(self, fault, **more):
        self.tell("rule", fault, *(f"{name}={value}" for name, value in more.items()))

    def number(self, *words):
        return int(self.tell(*words))

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=SECONDS) == 0


@pytest.fixture
def proxy():
    p = Proxy()
    yield p
    p.end()


class Machine:
    """A mount of a store behind the proxy."""

    def __init__(self, shell, proxy):
        self.shell = shell
        self.proxy = proxy
        for name in "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY":
            shell.environment[name] = os.environ[name]
        self.path = shell.home / "mnt"
        self.state = shell.home / "machine"
        self.store = f"s3://pfs-cli/{uuid.uuid4().hex}?endpoint={proxy.url}"
        self.path.mkdir()
        shell.ok("init", self.store)
        self.start()
        (self / "R").mkdir()

    def __truediv__(self, name):
        return self.path / name

    def start(self):
        self.shell.ok("mount", "-o", f"state={self.state},refresh=200", self.store, self.path)

    def stop(self):
        self.shell.ok("umount", self.path)

    def forget(self):
        """The same store on a machine that has nothing of it."""
        self.stop()
        self.state = self.shell.home / f"machine-{uuid.uuid4().hex}"
        self.start()


@pytest.fixture
def machine(shell, proxy):
    m = Machine(shell, proxy)
    yield m
    if mounted(m.path):
        proxy.tell("clear")
        proxy.tell("accept")
        shell.ok("umount", m.path)


def commit(machine, name):
    (machine / f"R/commits/{name}").mkdir()


def test_work_goes_on_without_the_server_and_is_committed_when_it_is_back(machine, proxy):
    (machine / "R/main/old").write_bytes(b"old" * 100000)
    commit(machine, "first")
    assert (machine / "R/main/old").read_bytes() == b"old" * 100000
    assert "R" in os.listdir(machine.path)
    proxy.tell("refuse")
    assert (machine / "R/main/old").read_bytes() == b"old" * 100000
    (machine / "R/main/new").write_text("made without")
    assert "R" in os.listdir(machine.path)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = pool.submit(commit, machine, "second")
        time.sleep(1)
        assert not done.done()
        assert (machine / "R/main/new").read_text() == "made without"
        proxy.tell("accept")
        done.result(timeout=SECONDS)
    machine.forget()
    assert (machine / "R/second/new").read_text() == "made without"


def test_a_store_is_mounted_without_its_server_if_it_was_known(machine, proxy):
    (machine / "R/main/f").write_text("uncommitted")
    machine.stop()
    proxy.tell("refuse")
    machine.start()
    assert (machine / "R/main/f").read_text() == "uncommitted"
    proxy.tell("accept")
    # That the server is back is noticed a moment later.
    end = time.monotonic() + SECONDS
    while True:
        try:
            commit(machine, "first")
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert (machine / "R/first/f").read_text() == "uncommitted"


def test_bytes_that_were_altered_on_the_way_are_never_read(machine, proxy):
    content = os.urandom(3 << 20)
    (machine / "R/main/f").write_bytes(content)
    commit(machine, "first")
    machine.forget()
    assert os.listdir(machine / "R/first") == ["f"]
    proxy.rule("flip", method="GET", path="/packs/", n=1000)
    try:
        assert (machine / "R/first/f").read_bytes() == content
    except OSError as e:
        assert e.strerror == "Input/output error"
    assert proxy.number("hits") > 0
    proxy.tell("clear")
    # That it could not be had is remembered for some seconds.
    end = time.monotonic() + SECONDS
    while True:
        try:
            assert (machine / "R/first/f").read_bytes() == content
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.mark.parametrize("fault, at", [("reset", "request-body"), ("reset", "delivered"),
                                       ("close", "status"), ("half-close", "head-end"),
                                       ("reset", "last-byte"), ("answer-after", "end"),
                                       ("hold", "end")])
def test_a_commit_is_made_whatever_befalls_each_request_once(machine, proxy, fault, at):
    content = os.urandom(1 << 20)
    (machine / "R/main/f").write_bytes(content)
    answer = {"text": "HTTP/1.1+503+X%0d%0a%0d%0a"} if fault == "answer-after" else {}
    for path in "/packs/", "/commits/", "/names/", "/heads/", "/gc/":
        proxy.rule(fault, at=at, path=path, times=1, **answer)
    commit(machine, "first")
    assert proxy.number("hits") >= 4
    proxy.tell("clear")
    if fault == "hold":
        proxy.tell("deliver")
    machine.forget()
    assert (machine / "R/first/f").read_bytes() == content
    assert (machine / "R/main/f").read_bytes() == content
