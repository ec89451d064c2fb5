# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as the command begins and ends them: a conversation with the daemon, and a namespace."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import time

GONE_SECONDS = 30
PRESENT, ABSENT, READ, LISTED, TREE = 1, 2, 4, 8, 16


class Refused(Exception):
    """The daemon's answer is an error."""


class Run:
    """A run that has been begun in the mount at @base, which may be a view of another one."""

    def __init__(self, mount, base=None, argv=("true",), **fields):
        self.mount = mount
        self.base = pathlib.Path(base or mount.path)
        self.fd = os.open(self.base / ".pfs/control", os.O_RDWR | os.O_CLOEXEC)
        try:
            [begun] = self.ask("run-begin", argv=argv, cwd="/", **fields)
        except BaseException:
            os.close(self.fd)
            raise
        self.id = begun["id"]
        self.dir = self.base / begun["dir"]
        self.view = self.base / begun["root"]
        self.state = mount.state / "runs" / self.id

    def ask(self, verb, **fields):
        """The answer's lines, without the last."""
        os.write(self.fd, json.dumps(dict(fields, verb=verb)).encode())
        answer = b""
        while True:
            part = os.read(self.fd, 65536)
            if not part:
                break
            answer += part
        lines = [json.loads(line) for line in answer.decode().splitlines()]
        if "error" in lines[-1] and "ok" not in lines[-1]:
            raise Refused(lines[-1]["error"])
        assert lines.pop() == {"ok": True}
        return lines

    def configs(self):
        return sorted(x["path"] for x in self.ask("run-configs", id=self.id))

    def end(self, status=0, **fields):
        [answer] = self.ask("run-end", id=self.id, exit=status, **fields)
        self.close()
        return answer

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
        self.fd = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def shell(self, code, check=True, **options):
        """Runs a script in a mount namespace in which the view is the mount; what it printed."""
        inside = 'mount --bind "$0" "$1" && cd "$1" && exec sh -e -c "$2"'
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", inside, str(self.view), str(self.base), code],
            check=check, stdout=subprocess.PIPE, text=True, **options).stdout

    def seen(self):
        """{path: set of what was noted of it}, of what is below branches and commits; and the same
        of what is above them. Nothing more is noted after that."""
        self.configs()
        return read_log((self.state / "seen").read_bytes())

    def wait_until_gone(self):
        end = time.monotonic() + GONE_SECONDS
        while self.state.exists():
            assert time.monotonic() < end, "the run is still there"
            time.sleep(0.02)


NAMES = {PRESENT: "present", ABSENT: "absent", READ: "read", LISTED: "listed", TREE: "tree"}


def read_log(log):
    """What store/record/seen_parts.h says."""
    assert log[:8] == b"pfsseen1"
    paths, noted, at = {}, {}, 8
    while at < len(log):
        place, what, length, _sum = struct.unpack_from("<IBBH", log, at)
        name = log[at + 8:at + 8 + length].decode()
        if at == 8:
            path = ""
        elif name:
            path = (paths[place] + "/" + name).lstrip("/")
        else:
            path = paths[place]
        paths.setdefault(at // 8, path)
        noted.setdefault(path, 0)
        noted[path] |= what
        at += 8 + (length + 7) // 8 * 8
    return {path: {n for bit, n in NAMES.items() if bits & bit}
            for path, bits in noted.items() if bits}


def below(seen, top):
    """What was noted below a branch, by paths in it."""
    return {path[len(top) + 1:]: what for path, what in seen.items() if path.startswith(top + "/")}


def tree_of(path):
    """{name: (inode number, mode, size or target, content)} of all below."""
    found = {}
    for where, dirs, files in os.walk(path):
        for name in dirs + files:
            p = os.path.join(where, name)
            st = os.lstat(p)
            if os.path.islink(p):
                what = os.readlink(p)
            elif os.path.isfile(p):
                with open(p, "rb") as f:
                    what = f.read()
            else:
                what = None
            found[os.path.relpath(p, path)] = (st.st_ino, st.st_mode, what)
    return found


def needs_namespaces():
    return shutil.which("unshare") is None or os.geteuid() != 0
