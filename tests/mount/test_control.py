# SPDX-License-Identifier: GPL-3.0-or-later
"""/pfs/.pfs: the statistics and the conversation that the command has with the daemon."""

import errno
import json
import os
import re
import subprocess
import time

import pytest
from conftest import as_user, commit
from test_namespace import fails


def ask(mount, **request):
    fd = os.open(mount / ".pfs/control", os.O_RDWR)
    try:
        os.write(fd, json.dumps(request).encode())
        answer = b""
        while True:
            part = os.read(fd, 65536)
            if not part:
                break
            answer += part
    finally:
        os.close(fd)
    return [json.loads(line) for line in answer.decode().splitlines()]


def test_a_request_is_answered_to_its_end(mount, repo):
    (repo / "f").write_text("x")
    commit(mount, "one")
    lines = ask(mount, verb="log", path="R/main")
    assert lines[-1] == {"ok": True}
    assert len(lines) == 2


def test_a_wrong_request_is_told_so(mount):
    [line] = ask(mount, verb="no such verb")
    assert "error" in line and line["error"]["errno"] > 0 and line["error"]["message"]
    fd = os.open(mount / ".pfs/control", os.O_RDWR)
    os.write(fd, b"this is not JSON")
    assert b"error" in os.read(fd, 65536)
    os.close(fd)


def test_one_write_is_one_request(mount):
    fd = os.open(mount / ".pfs/control", os.O_RDWR)
    fails(errno.EINVAL, os.read, fd, 10)
    os.write(fd, b'{"verb": "stats"}')
    fails(errno.EBUSY, os.write, fd, b'{"verb": "stats"}')
    os.close(fd)


def test_closing_ends_the_conversation(mount, repo):
    before = mount.stats()["pfs_conversations"]
    for _ in range(50):
        fd = os.open(mount / ".pfs/control", os.O_RDWR)
        os.write(fd, b'{"verb": "stats"}')
        os.close(fd)
    end = time.monotonic() + 10
    while mount.stats()["pfs_conversations"] > before and time.monotonic() < end:
        time.sleep(0.05)
    assert mount.stats()["pfs_conversations"] == before


def test_conversations_are_bounded(mount):
    fds = []
    try:
        with pytest.raises(OSError) as caught:
            for _ in range(1000):
                fds.append(os.open(mount / ".pfs/control", os.O_RDWR))
        assert caught.value.errno == errno.EMFILE
        assert len(fds) >= 16
    finally:
        for fd in fds:
            os.close(fd)
    assert ask(mount, verb="stats")[-1] == {"ok": True}


def test_one_user_cannot_lock_out_the_others(mount):
    code = """
import os, sys
fds = []
try:
    for _ in range(1000):
        fds.append(os.open(sys.argv[1], os.O_RDWR))
except OSError as e:
    print(len(fds), e.errno, flush=True)
sys.stdin.read()
"""
    def hog(uid):
        return subprocess.Popen(["/usr/bin/python3", "-c", code, str(mount / ".pfs/control")], user=uid,
                                group=uid, extra_groups=[], cwd="/", stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)

    hogs = [hog(1001)]
    try:
        opened, error = map(int, hogs[0].stdout.readline().split())
        assert error == errno.EMFILE and 4 <= opened <= 16
        code_of_one = "import os, sys; os.close(os.open(sys.argv[1], os.O_RDWR)); print('in')"
        assert as_user(1002, code_of_one, mount / ".pfs/control") == "in"
        hogs += [hog(1002 + i) for i in range(8)]
        assert all(h.stdout.readline() for h in hogs[1:])
        assert ask(mount, verb="stats")[-1] == {"ok": True}
    finally:
        for h in hogs:
            h.communicate()
    assert as_user(1009, code_of_one, mount / ".pfs/control") == "in"


def test_supplementary_groups_count(mount, repo):
    (repo / "f").write_text("x")
    commit(mount, "one")
    os.chown(mount / "R", 0, 4321)
    os.chmod(mount / "R", 0o770)
    code = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.write(fd, b'{"verb": "log", "path": "R/main"}')
sys.stdout.write(os.read(fd, 1 << 16).decode())
"""
    def log(groups):
        return subprocess.run(["/usr/bin/python3", "-c", code, str(mount / ".pfs/control")], user=1001,
                              group=1001, extra_groups=groups, cwd="/", check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    assert "error" not in log([4320, 4321])
    assert "error" not in log(list(range(5000, 6000)) + [4321])
    assert "EACCES" in log([]) and "EACCES" in log([4320])


def test_everybody_may_ask(mount):
    code = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.write(fd, b'{"verb": "stats"}')
print(len(os.read(fd, 1 << 20)) > 0)
"""
    assert as_user(1234, code, mount / ".pfs/control") == "True"


def test_what_a_request_changes_is_seen_at_once(mount, repo):
    (repo / "f").write_text("one")
    commit(mount, "one")
    (repo / "f").write_text("two")
    assert (repo / "f").read_text() == "two"
    assert not os.path.exists(repo / "g")
    lines = ask(mount, verb="restore", path="R/main/f", **{"from": "R/one/f"})
    if "error" in lines[-1] and "restore" in lines[-1]["error"]["message"]:
        return
    assert lines[-1] == {"ok": True}
    assert (repo / "f").read_text() == "one"


def test_the_statistics_are_prometheus_text(mount, repo):
    (repo / "f").write_text("x" * 1000)
    text = (mount / ".pfs/stats").read_text()
    typed = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert kind in ("counter", "gauge")
            assert kind == "gauge" or name.endswith("_total")
            typed.add(name)
        elif not line.startswith("#"):
            m = re.fullmatch(r'(pfs_[a-z_]+)(\{op="[a-z_]+"\})? (\d+)', line)
            assert m and m.group(1) in typed, line
    numbers = mount.stats()
    assert numbers["pfs_written_bytes_total"] == 1000
    assert numbers['pfs_requests_total{op="create"}'] == 1
    assert numbers["pfs_dirty_heads"] == 1
    assert numbers['pfs_store_requests_total{op="put"}'] == 0
    (repo.parent / "commits/c").mkdir()
    numbers = mount.stats()
    # A pack and the commit's object.
    assert numbers['pfs_store_requests_total{op="put"}'] == 2
    assert numbers['pfs_store_request_errors_total{op="put"}'] == 0
    assert numbers["pfs_store_written_bytes_total"] > 1000
    fails(errno.EACCES, lambda: as_user_write(mount))


def as_user_write(mount):
    fd = os.open(mount / ".pfs/stats", os.O_WRONLY)
    try:
        os.write(fd, b"x")
    except PermissionError as e:
        raise OSError(errno.EACCES, "") from e
    finally:
        os.close(fd)


def test_a_reader_that_waits_can_be_interrupted(mount):
    fd = os.open(mount / ".pfs/control", os.O_RDWR)
    os.write(fd, b'{"verb": "stats"}')
    while os.read(fd, 65536):
        pass
    os.close(fd)


def test_runs_that_go_on_take_no_place_of_other_conversations(mount, repo):
    begin_many = """
import json, os, sys
fds = []
for _ in range(40):
    fd = os.open(sys.argv[1], os.O_RDWR)
    os.write(fd, json.dumps(dict(verb="run-begin", argv=["x"], cwd="/")).encode())
    answer = b""
    while part := os.read(fd, 65536):
        answer += part
    assert json.loads(answer.splitlines()[-1]) == {"ok": True}, answer
    fds.append(fd)
print(len(fds))
"""
    assert as_user(1001, begin_many, mount / ".pfs/control") == "40"
    assert ask(mount, verb="stats")[-1] == {"ok": True}


def test_a_run_that_is_one_too_many_leaves_nothing_behind(mount, repo):
    begin_too_many = """
import json, os, sys
fds, told = [], {"ok": True}
while told == {"ok": True}:
    fds.append(os.open(sys.argv[1], os.O_RDWR))
    os.write(fds[-1], json.dumps(dict(verb="run-begin", argv=["x"], cwd="/")).encode())
    answer = b""
    while part := os.read(fds[-1], 65536):
        answer += part
    told = json.loads(answer.splitlines()[-1])
print(len(fds) - 1, told["error"]["message"], flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(["/usr/bin/python3", "-c", begin_too_many, str(mount / ".pfs/control")],
                          user=1001, group=1001, extra_groups=[], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as user:
        count, why = user.stdout.readline().split(" ", 1)
        assert "too many runs go on" in why
        end = time.monotonic() + 60
        while len(os.listdir(mount.state / "runs")) != int(count):
            assert time.monotonic() < end, "something of it is still there"
            time.sleep(0.05)
        user.communicate()
