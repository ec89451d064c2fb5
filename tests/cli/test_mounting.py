# SPDX-License-Identifier: GPL-3.0-or-later
"""pfs mount, pfs umount, mount.pfs."""

import contextlib
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from conftest import PFS, can_mount, mounted

pytestmark = can_mount


def daemons(state):
    """Processes that have the state directory's lock open."""
    found = set()
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(link) == str(state / "lock"):
                found.add(int(link.split("/")[2]))
    return sorted(found)


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_mount_returns_when_it_serves_and_umount_when_it_has_ended(shell, mount):
    os.mkdir(mount / "R")
    assert len(daemons(mount.state)) == 1
    mount.stop()
    assert not mounted(mount.path) and daemons(mount.state) == []
    mount.start()
    assert os.listdir(mount.path) == ["R"]


def test_what_is_uncommitted_is_there_after_a_remount(mount, repo):
    (repo / "f").write_text("kept")
    mount.stop()
    mount.start()
    assert (repo / "f").read_text() == "kept"


def test_a_mount_in_the_foreground_stays_until_it_is_unmounted(shell, store):
    (shell.home / "mnt").mkdir()
    p = subprocess.Popen([PFS, "mount", "-f", "-o", f"state={shell.home}/st", str(store),
                          str(shell.home / "mnt")], env=shell.environment)
    wait_for(lambda: mounted(shell.home / "mnt"))
    assert p.poll() is None
    shell.ok("umount", shell.home / "mnt")
    assert p.wait(5) == 0


def test_a_mount_in_the_background_stays_in_no_directory(shell, mount):
    (daemon,) = daemons(mount.state)
    children = [int(p) for t in os.listdir(f"/proc/{daemon}/task")
                for p in open(f"/proc/{daemon}/task/{t}/children").read().split()]
    assert children
    for pid in (daemon, *children):
        wait_for(lambda pid=pid: os.readlink(f"/proc/{pid}/cwd") == "/")


def test_a_long_log_is_begun_anew(mount):
    with open(mount.state / "log", "a") as log:
        log.write("much\n" * 300000)
    wait_for(lambda: (mount.state / "log.old").exists() and (mount.state / "log").exists())
    assert (mount.state / "log.old").stat().st_size > 1 << 20
    assert (mount.state / "log").stat().st_size == 0


def test_a_signal_ends_a_mount_in_the_foreground(shell, store):
    (shell.home / "mnt").mkdir()
    p = subprocess.Popen([PFS, "mount", "-f", "-o", f"state={shell.home}/st", str(store),
                          str(shell.home / "mnt")], env=shell.environment)
    wait_for(lambda: mounted(shell.home / "mnt") and os.path.exists(shell.home / "mnt/.pfs/stats"))
    p.send_signal(signal.SIGTERM)
    assert p.wait(10) == 0 and not mounted(shell.home / "mnt")


@pytest.mark.parametrize("options, word", [
    ("colour=blue", "colour"), ("memory=lots", "memory"), ("memory", "memory"), ("memory=1", "memory"),
    ("threads=1000", "threads"), ("ro=1", "ro"),
])
def test_a_misspelt_mount_option_is_named(shell, store, options, word):
    (shell.home / "mnt").mkdir()
    assert word in shell.fails(2, "mount", "-o", options, store, shell.home / "mnt")
    assert not mounted(shell.home / "mnt")


def test_mount_points_that_cannot_be(shell, store):
    assert "nowhere" in shell.fails(1, "mount", store, shell.home / "nowhere")
    (shell.home / "file").write_text("x")
    assert "file" in shell.fails(1, "mount", store, shell.home / "file")
    (shell.home / "full").mkdir()
    (shell.home / "full/file").write_text("x")
    assert "full" in shell.fails(1, "mount", store, shell.home / "full")


def test_a_place_cannot_be_mounted_on_twice(shell, mount):
    shell.fails(1, "mount", "-o", f"state={shell.home}/other", mount.store, mount.path)
    assert os.path.exists(mount / ".pfs/stats")


def test_a_state_directory_serves_one_mount(shell, mount):
    (shell.home / "mnt2").mkdir()
    err = shell.fails(1, "mount", "-o", f"state={mount.state}", mount.store, shell.home / "mnt2")
    assert f"{mount.state} is in use" in err


def test_a_store_that_is_not_there_cannot_be_mounted(shell):
    (shell.home / "mnt").mkdir()
    assert "none" in shell.fails(1, "mount", "-o", f"state={shell.home}/st", shell.home / "none",
                                 shell.home / "mnt")


def test_umount_of_what_is_not_mounted(shell):
    shell.fails(1, "umount", shell.home)
    shell.fails(1, "umount", shell.home / "none")
    assert "no pfs" in shell.fails(1, "umount", "/proc")


def test_a_busy_mount_is_not_unmounted_but_detached_when_asked(shell, mount, repo):
    (repo / "f").write_text("x")
    with open(repo / "f") as f:
        assert "in use" in shell.fails(1, "umount", mount.path)
        assert mounted(mount.path)
        shell.ok("umount", "-l", mount.path)
        assert not mounted(mount.path)
        assert f.read() == "x"
    wait_for(lambda: daemons(mount.state) == [])


def test_while_runs_go_on_a_mount_is_not_unmounted_but_ended_when_forced(shell, mount, repo):
    run = subprocess.Popen([PFS, "run", "-n", "long", "sh", "-c", "echo half > out; exec sleep 100"],
                           cwd=repo, env=shell.environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: glob.glob(f"{mount.path}/.pfs/run/*/root/R/main/out"))
        assert "1 run goes on" in shell.fails(1, "umount", mount.path)
        assert mounted(mount.path)
        shell.ok("umount", "-f", mount.path)
        assert not mounted(mount.path) and daemons(mount.state) == []
    finally:
        run.terminate()
        run.communicate(timeout=30)
    mount.start()
    wait_for(lambda: os.listdir(mount.state / "runs") == [])
    [record] = shell.json("runs", "--json", cwd=mount.path)
    assert record["status"] == "lost"
    [out] = record["outputs"]
    assert (mount / "R" / out["kept"] / "out").read_text() == "half\n"


def test_a_dead_mount_is_said_and_taken_away(shell, mount, repo):
    (repo / "f").write_text("kept")
    (pid,) = daemons(mount.state)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: daemons(mount.state) == [])
    assert "has ended" in shell.fails(1, "log", repo)
    shell.ok("umount", mount.path)
    assert not mounted(mount.path)
    mount.start()
    assert (repo / "f").read_text() == "kept"


def test_a_dead_mount_is_mounted_over(shell, mount, repo):
    (pid,) = daemons(mount.state)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: daemons(mount.state) == [])
    mount.start()
    assert os.listdir(mount.path) == ["R"]


def test_a_dead_mount_is_the_same_place_with_a_slash_behind(shell, store):
    states = pathlib.Path("/var/lib/pfs")
    before = set(states.iterdir()) if states.exists() else set()
    path = shell.home / "mnt"
    path.mkdir()
    try:
        shell.ok("mount", store, path)
        (state,) = set(states.iterdir()) - before
        os.mkdir(path / "R")
        (path / "R/main/f").write_text("kept")
        (pid,) = daemons(state)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: daemons(state) == [])
        shell.ok("mount", f"{store}/", f"{path}/")
        assert (path / "R/main/f").read_text() == "kept"
    finally:
        shell.run("umount", path)
        for left in set(states.iterdir()) - before:
            shutil.rmtree(left)


def test_what_took_the_place_of_a_detached_mount_stays(shell, mount, repo, store):
    (repo / "f").write_text("x")
    (pid,) = daemons(mount.state)
    with open(repo / "f"):
        shell.ok("umount", "-l", mount.path)
        shell.ok("mount", "-o", f"state={shell.home}/other", store, mount.path)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: daemons(mount.state) == [])
    assert mounted(mount.path) and os.listdir(mount.path) == []


def test_a_mount_by_name_takes_place_and_options_from_the_configuration(shell, store):
    (shell.home / "mnt").mkdir()
    (shell.home / "config/pfs").mkdir(parents=True)
    (shell.home / "config/pfs/config").write_text(
        f"[store lab]\nurl = {store}\nmount = {shell.home}/mnt\noptions = state={shell.home}/st,ro\n")
    shell.ok("mount", "lab")
    try:
        with pytest.raises(OSError):
            os.mkdir(shell.home / "mnt/R")
    finally:
        shell.ok("umount", shell.home / "mnt")


def helper(shell, *words):
    link = shell.home / "mount.pfs"
    if not link.exists():
        os.symlink(subprocess.run(["which", PFS], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout.strip(), link)
    return subprocess.run([str(link), *map(str, words)], stderr=subprocess.PIPE, text=True,
                          env=shell.environment, timeout=60)


def test_mount_pfs_is_called_as_mount8_does(shell, store):
    at = shell.home / "mnt"
    at.mkdir()
    assert helper(shell, store, at, "-o", f"rw,_netdev,nofail,noatime,state={shell.home}/st").returncode == 0
    assert os.path.exists(at / ".pfs/stats")
    shell.ok("umount", at)
    assert helper(shell, "-f", store, at).returncode == 0 and not mounted(at)
    assert helper(shell, store).returncode == 1
    done = helper(shell, shell.home / "none", at, "-o", f"state={shell.home}/st")
    assert done.returncode == 32 and "none" in done.stderr


def test_a_bind_mount_of_a_part_leads_to_the_same_daemon(shell, mount, repo):
    (repo / "f").write_text("1")
    shell.ok("commit", repo)
    part = shell.home / "part"
    part.mkdir()
    subprocess.run(["mount", "--bind", str(repo), str(part)], check=True)
    try:
        assert len(shell.json("log", "--json", part / "f")) == 1
        assert shell.json("status", "--json", cwd=part)["branch"] == "main"
    finally:
        subprocess.run(["umount", str(part)], check=True)


def test_ctrl_c_ends_a_waiting_command_at_once(shell, mount, repo):
    for i in range(2000):
        (repo / str(i)).write_bytes(os.urandom(2000))
    p = subprocess.Popen([PFS, "commit", str(repo)], env=shell.environment)
    time.sleep(0.05)
    begin = time.monotonic()
    p.send_signal(signal.SIGINT)
    assert p.wait(5) in (-signal.SIGINT, 0)
    assert time.monotonic() - begin < 1
    assert len(os.listdir(repo)) == 2000


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_an_ordinary_user_mounts_and_unmounts(shell):
    for top in (shell.home, *shell.home.parents):
        if str(top).startswith("/tmp/"):
            os.chmod(top, 0o755)
    home = shell.home / "nobody"
    (home / "mnt").mkdir(parents=True)
    for path in home, home / "mnt":
        os.chown(path, 65534, 65534)
    env = {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"),
           "XDG_CACHE_HOME": str(home / "cache")}
    as_nobody = {"user": 65534, "env": env, "cwd": "/"}
    shell.ok("init", home / "store", **as_nobody)
    shell.ok("mount", home / "store", home / "mnt", **as_nobody)
    try:
        assert mounted(home / "mnt")
        shell.ok("repo", "create", home / "mnt/R", **as_nobody)
        assert "R" in shell.ok("repo", "--store", home / "store", **as_nobody)
    finally:
        shell.ok("umount", home / "mnt", **as_nobody)
    assert not mounted(home / "mnt")


def test_a_read_only_mount_answers_and_changes_nothing(shell, mount, repo):
    (repo / "f").write_text("one")
    shell.ok("commit", "-n", "first", repo)
    (repo / "f").write_text("two")
    mount.stop()
    mount.start("ro")
    assert len(shell.json("log", "--json", repo)) == 1
    assert shell.json("status", "--json", repo)["is_dirty"]
    assert "M  f" in shell.ok("diff", mount / "R/first", repo)
    shell.ok("stats", mount.path)
    shell.ok("show", mount / "R/first")
    shell.ok("repo", cwd=mount.path)
    shell.ok("export", mount / "R/first", shell.home / "out")
    assert (shell.home / "out/f").read_text() == "one"
    for words in (("commit", repo), ("branch", mount / "R/b"), ("repo", "create", mount / "S"),
                  ("restore", mount / "R/first/f", repo / "f")):
        assert "read-only" in shell.fails(1, *words).lower()
    shell.fails(1, "import", shell.home / "out", repo)
    assert "too long" in shell.fails(1, "log", repo / "/".join(["x" * 200] * 90)).lower()
    with open("/proc/self/mountinfo") as f:
        assert any(str(mount.path) in line and " ro," in line for line in f)
    mount.stop()
    assert not mounted(mount.path) and daemons(mount.state) == []
    mount.start()
    assert (repo / "f").read_text() == "two"


def test_a_state_directory_that_another_store_uses_is_named(shell, mount):
    shell.ok("init", shell.home / "other")
    (shell.home / "mnt2").mkdir()
    assert f"{mount.state} is in use" in shell.fails(1, "mount", "-o", f"state={mount.state}",
                                                     shell.home / "other", shell.home / "mnt2")
