# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon: how it begins and ends, and what it promises callers whatever happens."""

import contextlib
import errno
import os
import pwd
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from conftest import PROGRAM, as_user, commit, is_mounted
from test_namespace import fails


def refused(mount, *words):
    done = subprocess.run(
        [PROGRAM, str(mount.store), str(mount.path), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 1
    assert not is_mounted(mount.path)
    return done.stdout


STATE = "state=/nonexistent/never"


@pytest.mark.parametrize(
    "options,sentence",
    [
        ("refesh=5", "there is no mount option `refesh`"),
        ("memory=lots", "mount option `memory=lots`"),
        ("memory", "mount option `memory` wants a value"),
        ("ro=yes", "mount option `ro` takes no value"),
        ("placement=perhaps", "mount option `placement` is `on` or `off`"),
        ("threads=0", "mount option `threads=0`"),
        ("state=", "mount option `state=`: nothing after it"),
    ],
)
def test_a_wrong_option_is_named(unmounted, options, sentence):
    assert sentence in refused(unmounted, "-o", options)


def test_options_of_fstab_are_accepted(unmounted):
    unmounted.start("noatime,_netdev,nofail,x-systemd.automount,comment=x,rw,auto")


def test_a_mount_point_that_cannot_be_one_is_a_sentence(unmounted):
    unmounted.path.rmdir()
    assert "no such directory" in refused(unmounted)
    unmounted.path.touch()
    assert "is not a directory" in refused(unmounted)
    unmounted.path.unlink()
    unmounted.path.mkdir()
    (unmounted.path / "f").touch()
    assert "is not empty" in refused(unmounted)
    (unmounted.path / "f").unlink()


def test_a_mount_point_in_use_is_a_sentence(mount):
    done = subprocess.run(
        [PROGRAM, str(mount.store), str(mount.path), "-o", "state=%s" % (mount.base / "other")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 1
    assert "something is mounted there already" in done.stdout
    assert os.listdir(mount.path) == []


def test_a_state_directory_in_use_is_a_sentence(mount):
    other = mount.base / "mnt2"
    other.mkdir()
    done = subprocess.run(
        [PROGRAM, str(mount.store), str(other), "-o", "state=%s" % (mount.base / "state")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 1
    assert "in use" in done.stdout


def test_no_store_is_a_sentence(unmounted):
    unmounted.store = unmounted.base / "nothing"
    assert "nothing" in refused(unmounted, "-o", "state=%s" % (unmounted.base / "s"))


def test_a_dead_mount_is_detached_first(mount, repo):
    (repo / "f").write_text("x")
    mount.kill()
    fails(errno.ENOTCONN, os.listdir, mount.path)
    mount.start()
    assert (repo / "f").read_text() == "x"
    assert sum(line.split()[1] == str(mount.path) for line in open("/proc/self/mounts")) == 1


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(mount, repo, sig):
    (repo / "f").write_text("x")
    assert mount.stop(sig) == 0
    assert not is_mounted(mount.path)
    mount.start()
    assert (repo / "f").read_text() == "x"


def test_a_signal_ends_it_while_files_are_open(mount, repo):
    f = open(repo / "f", "w+b", buffering=0)
    f.write(b"written")
    listing = os.open(repo, os.O_RDONLY)
    old = os.getcwd()
    os.chdir(repo)
    try:
        assert mount.stop() == 0
        assert not is_mounted(mount.path)
        fails(errno.ENOTCONN, f.write, b"late")
    finally:
        os.chdir(old)
        os.close(listing)
        with contextlib.suppress(OSError):
            f.close()
    mount.start()
    assert (repo / "f").read_bytes() == b"written"


def test_stores_to_a_mapping_survive_a_clean_end(mount, repo):
    import mmap

    (repo / "f").write_bytes(b"a" * 4096)
    fd = os.open(repo / "f", os.O_RDWR)
    m = mmap.mmap(fd, 4096)
    m[0:5] = b"there"
    assert mount.stop() == 0
    m.close()
    with contextlib.suppress(OSError):
        os.close(fd)
    mount.start()
    assert (repo / "f").read_bytes()[:6] == b"therea"


def test_stores_to_a_mapping_survive_a_kill_once_the_file_is_closed(mount, repo):
    import mmap

    (repo / "f").write_bytes(b"a" * 4096)
    for letter in b"bcd":
        fd = os.open(repo / "f", os.O_RDWR)
        m = mmap.mmap(fd, 4096)
        m[0:1] = bytes([letter])
        os.close(fd)
        mount.kill()
        m.close()
        mount.start()
        assert (repo / "f").read_bytes()[:2] == bytes([letter]) + b"a"


def test_umount_ends_it(mount, repo):
    (repo / "f").write_text("x")
    subprocess.run(["umount", str(mount.path)], check=True)
    assert mount.wait() == 0
    mount.start()
    assert (repo / "f").read_text() == "x"


def test_it_goes_to_the_background_when_it_serves(unmounted):
    words = [PROGRAM, str(unmounted.store), str(unmounted.path), "-b", "-o", "state=%s" % (unmounted.base / "state")]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")
    assert os.listdir(unmounted.path) == []
    os.mkdir(unmounted / "R")
    fails(errno.EBUSY, os.rmdir, unmounted / "R/main")
    assert "default branch" in (unmounted.base / "state/log").read_text()
    subprocess.run(["umount", str(unmounted.path)], check=True)
    for _ in range(100):
        again = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if again.returncode == 0:
            break
        time.sleep(0.1)
    assert os.listdir(unmounted.path) == ["R"]
    subprocess.run(["umount", str(unmounted.path)], check=True)


def test_what_is_wrong_is_said_before_it_goes_to_the_background(unmounted):
    (unmounted.store / "format").write_bytes(b"rubbish")
    out = refused(unmounted, "-b", "-o", "state=%s" % (unmounted.base / "state"))
    assert out.strip()


def test_the_mount_is_nosuid_and_nodev_and_says_what_it_is(mount):
    [line] = [x.split() for x in open("/proc/self/mounts") if x.split()[1] == str(mount.path)]
    assert line[0] == "file://" + str(mount.store)
    assert line[2] == "fuse.pfs"
    assert {"nosuid", "nodev", "default_permissions", "allow_other"} <= set(line[3].split(","))


def test_the_kernel_reads_ahead_by_a_mebibyte(mount):
    st = os.stat(mount.path).st_dev
    path = "/sys/class/bdi/%d:%d/read_ahead_kb" % (os.major(st), os.minor(st))
    assert int(open(path).read()) == 1024


def test_workers_run_under_sched_idle_unless_told_otherwise(mount):
    def policies():
        found = []
        for tid in os.listdir("/proc/%d/task" % mount.process.pid):
            name = open("/proc/%d/task/%s/comm" % (mount.process.pid, tid)).read()
            if name.startswith("pfs-fuse"):
                found.append(os.sched_getscheduler(int(tid)))
        return found

    assert os.SCHED_IDLE in policies()
    mount.restart("placement=off")
    assert set(policies()) == {os.SCHED_OTHER}


def test_other_threads_do_not_run_as_the_workers_do(mount, repo):
    (repo / "f").write_text("x")
    commit(mount, "one")
    fd = os.open(repo / "f", os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    for tid in os.listdir("/proc/%d/task" % mount.process.pid):
        name = open("/proc/%d/task/%s/comm" % (mount.process.pid, tid)).read()
        if not name.startswith("pfs-fuse"):
            assert os.sched_getscheduler(int(tid)) == os.SCHED_OTHER, name
            assert len(os.sched_getaffinity(int(tid))) == len(os.sched_getaffinity(0)), name


def test_two_hogs_do_not_starve_the_workers(mount, repo):
    hogs = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * os.cpu_count())]
    try:
        start = time.monotonic()
        for i in range(300):
            (repo / ("f%d" % i)).write_text("x")
        assert time.monotonic() - start < 20
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_signals_neither_interrupt_nor_repeat_anything(mount, repo):
    """A timer signal every 5 ms, as a Go program gets them: no EINTR, nothing done twice."""
    (repo / "f").write_text("x")
    code = """
import os, signal, sys, time
count = 0
def tick(*_):
    global count
    count += 1
signal.signal(signal.SIGALRM, tick)
signal.siginterrupt(signal.SIGALRM, True)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
def ok(r, what):
    if r < 0:
        print(what, os.strerror(ctypes.get_errno()))
        sys.exit(1)
    return r
buf = ctypes.create_string_buffer(256)
end = time.monotonic() + 3
n = 0
while time.monotonic() < end:
    name = b"d%d" % n
    ok(libc.mkdir(name, 0o755), "mkdir")
    fd = ok(libc.open(b"f%d" % n, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "open")
    ok(libc.write(fd, b"hello", 5), "write")
    ok(libc.fsync(fd) if n % 50 == 0 else 0, "fsync")
    ok(libc.close(fd), "close")
    ok(libc.rename(b"f%d" % n, b"g%d" % n), "rename")
    ok(libc.stat(b"g%d" % n, buf), "stat")
    ok(libc.access(b"f", 0), "access")
    n += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(n, count)
"""
    (repo / "d").mkdir()
    (repo / "d/f").write_text("x")
    done = subprocess.run(["/usr/bin/python3", "-c", code, str(repo / "d")], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    made, ticks = map(int, done.stdout.split())
    assert made > 50 and ticks > 50
    assert sorted(os.listdir(repo / "d")) == sorted(["f"] + ["d%d" % i for i in range(made)] + ["g%d" % i for i in range(made)])


def cpu_seconds(mount):
    fields = open("/proc/%d/stat" % mount.process.pid).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_daemon_takes_no_time(mount, repo):
    (repo / "f").touch()
    for i in range(20_000):
        os.setxattr(repo / "f", "user.x", b"%05d" % i + b"x" * 60_000)
        if i % 100 == 0 and mount.stats()["pfs_checkpoints_total"] > 0:
            break
    assert mount.stats()["pfs_checkpoints_total"] > 0
    time.sleep(1)
    before = cpu_seconds(mount)
    time.sleep(1)
    assert cpu_seconds(mount) - before < 0.3


def test_commits_under_signals_are_made_once(mount, repo):
    code = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
for i in range(10):
    open(sys.argv[1] + "/main/f", "w").write(str(i))
    os.mkdir(sys.argv[1] + "/commits/c%d" % i)
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    subprocess.run(["/usr/bin/python3", "-c", code, str(mount / "R")], check=True)
    assert sorted(os.listdir(mount / "R/commits")) == ["c%d" % i for i in range(10)]
    assert [(mount / "R" / ("c%d" % i) / "f").read_text() for i in range(10)] == [str(i) for i in range(10)]


def test_directories_are_opened_by_several_at_once(mount, repo):
    """PARALLEL_DIROPS: look-ups in one directory do not wait for one another."""
    for i in range(200):
        (repo / ("f%d" % i)).touch()
    errors = []

    def look():
        for i in range(200):
            try:
                os.stat(repo / ("f%d" % i))
                os.path.exists(repo / ("none%d" % i))
            except OSError as e:
                errors.append(e)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_many_threads_in_one_directory(mount, repo):
    def work(n):
        for i in range(100):
            path = repo / ("t%d-%d" % (n, i))
            path.write_text("x" * i)
            os.rename(path, str(path) + "r")
            assert os.stat(str(path) + "r").st_size == i
            if i % 2:
                os.unlink(str(path) + "r")

    errors = []

    def guarded(n):
        try:
            work(n)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert len(os.listdir(repo)) == 8 * 50


def test_what_is_cached_needs_no_request(mount, repo):
    (repo / "d").mkdir()
    (repo / "d/f").write_text("x")
    one = commit(mount, "one")
    paths = [repo / "d/f", one / "d/f"]
    for path in paths:
        path.read_text()
        os.stat(path)
        assert not os.path.exists(str(path) + "none")
    before = mount.stats()
    for path in paths:
        for _ in range(50):
            os.stat(path)
            assert not os.path.exists(str(path) + "none")
    after = mount.stats()
    for op in ("lookup", "getattr"):
        key = 'pfs_requests_total{op="%s"}' % op
        # Above the heads, names are believed for a second only.
        assert after[key] - before[key] <= 8


def test_a_commits_directories_are_cached(mount, repo):
    for i in range(50):
        (repo / ("f%d" % i)).touch()
    one = commit(mount, "one")
    os.listdir(one)
    os.listdir(one)
    key = 'pfs_requests_total{op="%s"}'
    before = mount.stats()
    for _ in range(20):
        assert len(os.listdir(one)) == 50
    after = mount.stats()
    for op in ("readdir", "readdirplus"):
        assert after[key % op] == before[key % op]


def test_reading_asks_for_no_flush(mount, repo):
    (repo / "f").write_text("x")
    key = 'pfs_requests_total{op="flush"}'
    before = mount.stats()[key]
    for _ in range(20):
        (repo / "f").read_text()
    assert mount.stats()[key] == before


def test_a_write_asks_for_no_attributes(mount, repo):
    """HANDLE_KILLPRIV_V2: the kernel looks for no capabilities before each write."""
    with open(repo / "f", "wb", buffering=0) as f:
        f.write(b"x")
        before = mount.stats()
        for _ in range(50):
            f.write(b"x")
        after = mount.stats()
    key = 'pfs_requests_total{op="getxattr"}'
    assert after[key] == before[key]


def test_listing_with_attributes_needs_no_look_ups(mount, repo):
    (repo / "d").mkdir()
    for i in range(500):
        (repo / "d" / ("f%03d" % i)).touch()
    mount.restart()
    os.listdir(repo)
    key = 'pfs_requests_total{op="%s"}'
    before = mount.stats()
    subprocess.run(["ls", "-l", "--color=never", str(repo / "d")], stdout=subprocess.DEVNULL, check=True)
    after = mount.stats()
    assert after[key % "lookup"] - before[key % "lookup"] < 20
    assert after[key % "getattr"] - before[key % "getattr"] < 20


def test_the_kernel_is_made_to_forget_when_it_knows_too_much(place):
    mount = place("max_nodes=1000").start()
    os.mkdir(mount / "R")
    for d in range(10):
        (mount / "R/main" / ("d%d" % d)).mkdir()
        for f in range(400):
            (mount / "R/main" / ("d%d" % d) / ("f%d" % f)).touch()
    with open(mount / "R/main/d0/f0") as held:
        os.chdir(mount / "R/main/d3")
        end = time.monotonic() + 20
        while mount.stats()["pfs_nodes"] > 1000 and time.monotonic() < end:
            time.sleep(0.2)
        assert mount.stats()["pfs_nodes"] <= 1000
        assert os.getcwd() == str(mount / "R/main/d3")
        assert os.fstat(held.fileno()).st_size == 0
    for d in range(10):
        assert len(os.listdir(mount / "R/main" / ("d%d" % d))) == 400
        os.stat(mount / "R/main" / ("d%d" % d) / "f399")


def test_a_sequential_reader_gets_large_requests(mount, repo):
    (repo / "f").write_bytes(os.urandom(16 << 20))
    commit(mount, "one")
    mount.restart()
    before = mount.stats()['pfs_requests_total{op="read"}']
    assert len((mount / "R/one/f").read_bytes()) == 16 << 20
    assert mount.stats()['pfs_requests_total{op="read"}'] - before <= 64


def test_the_disk_budget_is_enospc_and_rm_still_works(place):
    mount = place("disk=64M").start()
    os.mkdir(mount / "R")
    with pytest.raises(OSError) as caught:
        for i in range(100):
            (mount / "R/main" / ("f%d" % i)).write_bytes(b"x" * (4 << 20))
    assert caught.value.errno == errno.ENOSPC
    for name in os.listdir(mount / "R/main")[1:]:
        os.unlink(mount / "R/main" / name)
    os.mkdir(mount / "R/commits/one")
    assert len(os.listdir(mount / "R/one")) == 1
    (mount / "R/main/again").write_bytes(b"y" * (4 << 20))


def test_an_ordinary_user_mounts_with_fusermount(place):
    if os.stat("/usr/bin/fusermount3").st_mode & stat.S_ISUID == 0:
        pytest.skip("fusermount3 is not setuid")
    if os.stat("/dev/fuse").st_mode & 0o006 != 0o006:
        pytest.skip("/dev/fuse is not for everybody")
    mount = place()
    nobody = pwd.getpwnam("nobody").pw_uid
    for where, dirs, files in os.walk(mount.base):
        os.chown(where, nobody, nobody)
        for name in files:
            os.chown(os.path.join(where, name), nobody, nobody)
    mount.start(user=nobody)
    code = """
import os, sys
os.mkdir(sys.argv[1] + "/R")
open(sys.argv[1] + "/R/main/f", "w").write("mine")
os.mkdir(sys.argv[1] + "/R/commits/one")
print(open(sys.argv[1] + "/R/one/f").read(), os.stat(sys.argv[1]).st_uid)
"""
    assert as_user(nobody, code, mount.path) == "mine %d" % nobody
    fails(errno.EACCES, os.listdir, mount.path)


def test_readiness_is_told_and_the_end_too(unmounted):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = str(unmounted.base / "notify")
    s.bind(path)
    s.settimeout(20)
    words = [PROGRAM, str(unmounted.store), str(unmounted.path), "-o", "state=%s" % (unmounted.base / "state")]
    process = subprocess.Popen(words, env=dict(os.environ, NOTIFY_SOCKET=path))
    assert s.recv(64) == b"READY=1"
    assert is_mounted(unmounted.path)
    process.terminate()
    assert s.recv(64) == b"STOPPING=1"
    assert process.wait(20) == 0
    s.close()
