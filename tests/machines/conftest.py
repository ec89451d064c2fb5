# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines: network namespaces, each with an address, a state directory and a mount of its own, and
a server in one more, with a MinIO. Cables can be pulled and servers stopped.

The mounts are seen from everywhere: only the network is each machine's own. Named by the environment:
PFS, the program; PFS_MINIO, a MinIO.
"""

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest

# Who starts the tests in the background may have it ignored; commands are to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

PFS = os.environ.get("PFS", "pfs")
MINIO = os.environ.get("PFS_MINIO") or shutil.which("minio") or \
    os.path.expanduser("~/.cache/pfs/bin/minio")
PATIENCE = int(os.environ.get("PFS_PATIENCE", "1"))
SECONDS = 180 * PATIENCE
WRONG = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion")
KEYS = {"AWS_ACCESS_KEY_ID": "pfs-tests", "AWS_SECRET_ACCESS_KEY": "of-no-use-elsewhere"}
PORT = 9000

_serials = itertools.count()


def sh(*words, check=True):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=SECONDS, check=False)
    assert not check or done.returncode == 0, (words, done.stderr)
    return done


class Network:
    """A bridge in a namespace of its own, where the server is; machines hang on it by cables."""

    def __init__(self, base):
        self.base = base
        self.id = f"p{os.getpid() % 0xffff:x}{next(_serials)}"
        self.server_ns = f"{self.id}s"
        self.address = "10.99.0.1"
        self.machines = []
        self.minio = None
        self.log = base / "minio.log"
        sh("ip", "netns", "add", self.server_ns)
        self.at_server("ip", "link", "add", "br0", "type", "bridge")
        self.at_server("ip", "addr", "add", f"{self.address}/24", "dev", "br0")
        for link in "lo", "br0":
            self.at_server("ip", "link", "set", link, "up")

    def at_server(self, *words):
        return sh("nsenter", f"--net=/run/netns/{self.server_ns}", *words)

    @property
    def endpoint(self):
        return f"http://{self.address}:{PORT}"

    def store(self, prefix="p"):
        return f"s3://machines/{prefix}?endpoint={self.endpoint}"

    def server_start(self):
        (self.base / "objects").mkdir(exist_ok=True)
        with open(self.log, "ab") as log:
            self.minio = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.server_ns}", MINIO, "server", "--quiet",
                 "--address", f"{self.address}:{PORT}", "--console-address",
                 f"{self.address}:{PORT + 1}", str(self.base / "objects")],
                stdout=log, stderr=log, env=dict(os.environ, MINIO_UPDATE="off",
                                                 MINIO_ROOT_USER=KEYS["AWS_ACCESS_KEY_ID"],
                                                 MINIO_ROOT_PASSWORD=KEYS["AWS_SECRET_ACCESS_KEY"]))
        until = time.monotonic() + 60
        while self.at_server_answers() is False:
            assert time.monotonic() < until and self.minio.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def at_server_answers(self):
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.server_ns}", "/usr/bin/python3", "-c",
             "import sys, urllib.request as u\n"
             f"u.urlopen('{self.endpoint}/minio/health/ready', timeout=5)"],
            stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    def server_stop(self):
        """As a crash would."""
        self.minio.kill()
        self.minio.wait()

    def server_freeze(self):
        self.minio.send_signal(signal.SIGSTOP)

    def server_thaw(self):
        self.minio.send_signal(signal.SIGCONT)

    def machine(self, name=None):
        m = Machine(self, name or f"m{len(self.machines)}", len(self.machines) + 2)
        self.machines.append(m)
        return m

    def close(self):
        if self.minio and self.minio.poll() is None:
            self.server_thaw()
        for m in self.machines:
            m.close()
        if self.minio and self.minio.poll() is None:
            self.minio.kill()
            self.minio.wait()
        sh("ip", "netns", "del", self.server_ns, check=False)


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        return json.loads(self.out)


class Machine:
    def __init__(self, network, name, number):
        self.network, self.name = network, name
        self.home = network.base / name
        self.path = self.home / "pfs"
        self.state = self.home / "state"
        self.path.mkdir(parents=True)
        self.ns = f"{network.id}{number}"
        self.host_link = f"v{number}"
        self.environment = dict(os.environ, HOME=str(self.home), LC_ALL="C.UTF-8", **KEYS)
        for variable in "PFS_STORE", "AWS_PROFILE", "AWS_CONFIG_FILE":
            self.environment.pop(variable, None)
        sh("ip", "netns", "add", self.ns)
        network.at_server("ip", "link", "add", self.host_link, "master", "br0", "type", "veth",
                          "peer", "name", "eth0", "netns", f"/run/netns/{self.ns}")
        network.at_server("ip", "link", "set", self.host_link, "up")
        self.here("ip", "addr", "add", f"10.99.0.{number + 10}/24", "dev", "eth0")
        for link in "lo", "eth0":
            self.here("ip", "link", "set", link, "up")

    def __truediv__(self, name):
        return self.path / name

    def here(self, *words):
        return sh("nsenter", f"--net=/run/netns/{self.ns}", *map(str, words))

    def run(self, *words, cwd=None, timeout=SECONDS):
        done = subprocess.run(["nsenter", f"--net=/run/netns/{self.ns}", PFS, *map(str, words)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              cwd=cwd or "/", env=self.environment, timeout=timeout, check=False)
        assert not any(word in done.stderr for word in WRONG), done.stderr
        return Result(done)

    def ok(self, *words, **more):
        result = self.run(*words, **more)
        assert result.code == 0, (words, result.code, result.err)
        return result.out.rstrip("\n")

    def json(self, *words, **more):
        return json.loads(self.ok(*words, "--json", **more))

    def mount(self, store=None, options="", check=True):
        self.store = store or self.network.store()
        done = self.run("mount", "-o", f"state={self.state}" + (options and "," + options),
                        self.store, self.path)
        assert not check or done.code == 0, done.err
        return done

    def umount(self):
        self.ok("umount", self.path)

    def daemon(self):
        """The process that serves the mount."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(self.path) in words and b"mount" in words:
                return int(pid)
        return None

    def crash(self):
        """The daemon dies; its mount is detached."""
        os.kill(self.daemon(), signal.SIGKILL)
        sh("umount", "-l", str(self.path), check=False)

    def plug_out(self):
        self.network.at_server("ip", "link", "set", self.host_link, "down")

    def plug_in(self):
        self.network.at_server("ip", "link", "set", self.host_link, "up")

    def is_mounted(self):
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            return any(line.split()[1] == str(self.path) for line in mounts)

    def log(self):
        path = self.state / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def memory(self):
        """The most the daemon has ever had, in MiB."""
        with open(f"/proc/{self.daemon()}/status", encoding="utf-8") as f:
            return int(next(x for x in f if x.startswith("VmHWM")).split()[1]) / 1024

    def close(self):
        if self.is_mounted():
            self.plug_in()
            self.run("umount", self.path)
            sh("umount", "-l", str(self.path), check=False)
        assert not any(word in self.log() for word in WRONG), self.log()
        sh("ip", "netns", "del", self.ns, check=False)


def becomes(fn, wanted, seconds=60):
    """Waits until a function's result is the wanted one; False when the time is over."""
    until = time.monotonic() + seconds * PATIENCE
    while True:
        try:
            if fn() == wanted:
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.05)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call":
        item.has_passed = report.passed


@pytest.fixture(autouse=True)
def what_passed_leaves_nothing(request, tmp_path):
    """A mount's state takes a hundred MiB of the disk."""
    yield
    with open("/proc/mounts", encoding="utf-8") as mounts:
        is_in_use = f" {tmp_path}/" in mounts.read()
    if getattr(request.node, "has_passed", False) and not is_in_use:
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def network(tmp_path):
    net = Network(tmp_path)
    try:
        net.server_start()
        yield net
    finally:
        net.close()


@pytest.fixture
def lan(network):
    """A server with a store in it, with the repo R, and as many machines as are asked for."""
    def make(count, options=""):
        machines = [network.machine() for _ in range(count)]
        machines[0].ok("init", network.store())
        for m in machines:
            m.mount(options=options)
        os.mkdir(machines[0] / "R")
        for m in machines:
            assert becomes(lambda m=m: os.path.isdir(m / "R/main"), True)
        return machines
    make.network = network
    return make
