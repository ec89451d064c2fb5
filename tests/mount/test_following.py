# SPDX-License-Identifier: GPL-3.0-or-later
"""A head that moves to another mount's commit under those who have something of it open."""

import ctypes
import errno
import mmap
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from conftest import RENAME_EXCHANGE, commit, commit_id, libc, renameat2
from test_mounts import becomes
from test_namespace import fails

NAMES = 5000
MOVES = 50
SYS_GETDENTS64 = 217


@pytest.fixture
def two(place):
    """Two mounts of a store with the repo R, whose heads follow each other fast."""
    a, b = (place("refresh=50", name).start() for name in "ab")
    os.mkdir(a / "R")
    assert becomes(lambda: os.listdir(b.path), ["R"])
    return a, b


class Mover:
    """Commits on one mount; the other's head moves."""

    def __init__(self, here, there):
        self.here, self.there, self.count = here, there, 0

    def __call__(self):
        self.count += 1
        tip = commit_id(commit(self.here, "c%d" % self.count))
        assert becomes(lambda: commit_id(self.there / "R/main"), tip)


@pytest.fixture
def move(two):
    return Mover(*two)


@pytest.fixture
def heads(two):
    """Where it is changed, and where that is followed."""
    return tuple(m / "R/main" for m in two)


@pytest.fixture
def home():
    """Back to where the test began."""
    here = os.getcwd()
    yield
    os.chdir(here)


def drop_pages(fd):
    """What is read next comes from the daemon."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def test_an_open_file_reads_on_and_a_name_leads_to_the_new_one(heads, move):
    here, there = heads
    (here / "f").write_text("old" * 1000)
    move()
    with open(there / "f") as f:
        assert f.read(3) == "old"
        was = os.fstat(f.fileno())
        (here / "f").write_text("new")
        move()
        drop_pages(f.fileno())
        assert f.read() == "old" * 999
        now = os.fstat(f.fileno())
        assert (now.st_ino, now.st_size, now.st_mtime_ns) == \
            (was.st_ino, was.st_size, was.st_mtime_ns)
        assert becomes((there / "f").read_text, "new")
        assert os.stat(there / "f").st_ino != was.st_ino
        assert becomes(lambda: os.fstat(f.fileno()).st_nlink, 0)


def test_no_two_files_have_one_number(heads, move):
    here, there = heads
    (here / "d").mkdir()
    for name in ("changed", "same", "moved", "d/written"):
        (here / name).write_text("old")
    move()
    names = ("changed", "same", "d", "d/written")
    was = {name: os.stat(there / name).st_ino for name in (*names, "moved")}
    held = [os.open(there / name, os.O_PATH) for name in was]
    (here / "changed").write_text("new")
    os.rename(here / "moved", here / "d/moved")
    (here / "d/written").write_text("new")
    move()
    assert becomes((there / "changed").read_text, "new")
    assert becomes((there / "d/moved").read_text, "old")
    assert becomes((there / "d/written").read_text, "new")
    now = {name: os.stat(there / name).st_ino for name in names}
    assert {name for name in names if now[name] == was[name]} == {"same", "d"}
    assert os.stat(there / "d/moved").st_ino not in was.values()
    listed = {x.name: x.inode() for x in os.scandir(there)}
    assert listed == {name: now[name] for name in ("changed", "same", "d")}
    assert [os.fstat(fd).st_ino for fd in held] == list(was.values())
    for fd in held:
        os.close(fd)


def test_a_mapping_goes_on_showing_what_it_showed(heads, move):
    here, there = heads
    (here / "f").write_bytes(b"a" * (1 << 20))
    move()
    fd = os.open(there / "f", os.O_RDONLY)
    with mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ) as m:
        assert m[:4096] == b"a" * 4096
        (here / "f").write_bytes(b"b" * 4096)
        move()
        assert becomes((there / "f").read_bytes, b"b" * 4096)
        m.madvise(mmap.MADV_DONTNEED)
        drop_pages(fd)
        assert m[:] == b"a" * (1 << 20)
    os.close(fd)


def test_a_path_descriptor_stays_with_its_file(heads, move):
    here, there = heads
    (here / "f").write_text("old")
    (here / "g").write_text("same")
    move()
    f, g = (os.open(there / name, os.O_PATH) for name in "fg")
    (here / "f").write_text("newer")
    move()
    assert os.fstat(f).st_size == 3
    assert open("/proc/self/fd/%d" % f).read() == "old"
    assert open("/proc/self/fd/%d" % g).read() == "same"
    assert becomes((there / "f").read_text, "newer")
    # It is no way into the head any more.
    fails(errno.ESTALE, os.open, "/proc/self/fd/%d" % f, os.O_WRONLY)
    assert (there / "f").read_text() == "newer"
    os.close(f)
    os.close(g)


def test_a_current_directory_that_stays_keeps_its_path(heads, move, home):
    here, there = heads
    (here / "d/sub").mkdir(parents=True)
    (here / "d/sub/f").write_text("old")
    move()
    os.chdir(there / "d/sub")
    assert open("f").read() == "old"
    number = os.stat(".").st_ino
    for text in ("new", "newer", "newest"):
        (here / "d/sub/f").write_text(text)
        (here / "d/sub" / text).mkdir()
        (here / "d" / text).write_text(text)
        os.chmod(here / "d/sub", 0o750 if text == "newer" else 0o755)
        move()
        assert becomes(lambda: open("f").read(), text)
        assert becomes(lambda: open("../" + text).read(), text)
        assert becomes(lambda: os.stat(".").st_mode, os.stat(here / "d/sub").st_mode)
        assert becomes(lambda: os.stat(".").st_nlink, os.stat(here / "d/sub").st_nlink)
        assert text in os.listdir(".")
        assert os.getcwd() == str(there / "d/sub")
        assert os.stat(".").st_ino == number


def test_a_current_directory_that_goes_is_a_removed_one(heads, move, home):
    here, there = heads
    (here / "d/sub").mkdir(parents=True)
    (here / "d/f").write_text("old")
    (here / "d/sub/g").write_text("old")
    move()
    os.chdir(there / "d/sub")
    with open("g") as g, open("../f") as f:
        shutil.rmtree(here / "d")
        move()
        assert becomes(lambda: os.path.exists(there / "d"), False)
        assert becomes(lambda: os.path.exists("g"), False)
        fails(errno.ENOENT, os.getcwd)
        fails(errno.ENOENT, os.stat, "nothing")
        fails(errno.ENOENT, open, "new", "w")
        fails(errno.ENOENT, os.mkdir, "new")
        assert becomes(lambda: os.stat(".").st_nlink, 0)
        assert (f.read(), g.read()) == ("old", "old")
    # The place is free for another.
    (there / "d").mkdir()
    (there / "d/f").write_text("another")
    fails(errno.ENOENT, os.stat, "../f")
    assert (there / "d/f").read_text() == "another"


def test_a_listing_goes_on_with_every_name_that_nobody_touched(heads, move):
    here, there = heads
    (here / "d").mkdir()
    for i in range(NAMES):
        (here / "d" / ("n%05d" % i)).touch()
    move()
    with os.scandir(there / "d") as names:
        seen = [next(names).name for _ in range(10)]
        for i in range(0, NAMES, 7):
            os.unlink(here / "d" / ("n%05d" % i))
        for i in range(100):
            (here / "d" / ("x%d" % i)).touch()
        move()
        seen += [x.name for x in names]
    assert len(seen) == len(set(seen))
    assert {"n%05d" % i for i in range(NAMES) if i % 7} <= set(seen)
    assert becomes(lambda: sorted(os.listdir(there / "d")), sorted(os.listdir(here / "d")))


def test_a_file_and_a_directory_change_places(heads, move):
    here, there = heads
    (here / "d").mkdir()
    (here / "d/f").write_text("below")
    (here / "f").write_text("a file")
    move()
    assert (there / "d/f").read_text() == "below"
    assert (there / "f").read_text() == "a file"
    os.rename(here / "d", here / "x")
    os.rename(here / "f", here / "d")
    os.rename(here / "x", here / "f")
    move()
    assert becomes((there / "d").read_text, "a file")
    assert becomes((there / "f/f").read_text, "below")


def test_all_names_of_a_file_lead_to_the_new_one(heads, move):
    here, there = heads
    (here / "d").mkdir()
    (here / "f").write_text("old")
    os.link(here / "f", here / "d/g")
    os.link(here / "f", here / "h")
    move()
    names = ("f", "d/g", "h")
    assert [(there / x).read_text() for x in names] == ["old"] * 3
    (here / "f").write_text("new")
    os.unlink(here / "h")
    move()
    assert becomes(lambda: [(there / x).read_text() for x in names[:2]], ["new"] * 2)
    assert becomes(lambda: os.path.exists(there / "h"), False)
    assert os.stat(there / "f").st_ino == os.stat(there / "d/g").st_ino
    assert becomes(lambda: os.stat(there / "f").st_nlink, 2)


def test_a_file_open_for_appending_keeps_the_head_where_it_is(heads, two, move):
    here, there = heads
    (here / "log").write_text("one\n")
    (here / "f").write_text("old")
    move()
    with open(there / "log", "a", buffering=1) as log, open(there / "f") as reader:
        log.write("two\n")
        # Its own commit is no move, and the other head goes along.
        tip = commit_id(commit(two[1], "mine"))
        assert becomes((here / "log").read_text, "one\ntwo\n")
        assert becomes(lambda: commit_id(here), tip)
        (here / "f").write_text("new")
        tip = commit_id(commit(two[0], "later"))
        # What keeps the head has nothing to do with what else the mount hears of.
        assert becomes(lambda: os.path.isdir(two[1] / "R/later"), True)
        time.sleep(0.5)
        assert commit_id(there) != tip
        assert (there / "f").read_text() == "old"
    assert becomes(lambda: commit_id(there), tip)
    assert becomes((there / "f").read_text, "new")
    assert reader.closed


def test_a_file_that_only_got_other_attributes_stays_itself(heads, move):
    here, there = heads
    (here / "f").write_text("the same")
    move()
    with open(there / "f") as f:
        was = os.fstat(f.fileno())
        os.chmod(here / "f", 0o600)
        os.utime(here / "f", ns=(1, 1))
        os.setxattr(here / "f", "user.x", b"y")
        move()
        assert becomes(lambda: os.fstat(f.fileno()).st_mtime_ns, 1)
        now = os.stat(there / "f")
        assert now.st_ino == was.st_ino
        assert now.st_nlink == 1
        assert now.st_mode & 0o777 == 0o600
        assert os.getxattr(f.fileno(), "user.x") == b"y"


def test_a_bind_mount_of_a_directory_that_stays_shows_what_is_new(heads, move, two):
    here, there = heads
    (here / "d").mkdir()
    (here / "d/f").write_text("old")
    move()
    bound = two[1].base / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", str(there / "d"), str(bound)], check=True)
    try:
        for text in ("new", "newer"):
            (here / "d/f").write_text(text)
            (here / "d" / text).touch()
            move()
            assert becomes((bound / "f").read_text, text)
            assert (bound / text).exists()
    finally:
        subprocess.run(["umount", str(bound)], check=True)


def test_a_head_that_nobody_looked_at_shows_the_newest_commit(heads, two):
    here, there = heads
    (here / "f").write_text("0")
    commit(two[0], "c0")
    assert becomes((there / "f").read_text, "0")
    for i in range(1, 6):
        (here / "f").write_text(str(i))
        commit(two[0], "c%d" % i)
    assert becomes((there / "f").read_text, "5")


def script(version):
    """It says its version, waits, and says it again, from a part that the shell reads later."""
    padding = ("#" * 79 + "\n") * 4000
    return "#!/bin/bash\necho %s\nread\n%s\necho %s\n" % (version, padding, version)


def test_a_running_script_runs_on(heads, move):
    here, there = heads
    (here / "s").write_text(script("old"))
    (here / "s").chmod(0o755)
    shutil.copy("/bin/cat", here / "program")
    move()
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen([there / "s"], **pipes) as shell, \
            subprocess.Popen([there / "program"], **pipes) as program:
        assert shell.stdout.readline() == "old\n"
        (here / "s").write_text(script("new"))
        shutil.copy("/bin/true", here / "program")
        move()
        assert becomes(lambda: subprocess.run([there / "s"], input="\n", stdout=subprocess.PIPE,
                                              text=True, check=True).stdout, "new\nnew\n")
        assert shell.communicate("\n", timeout=30)[0] == "old\n"
        assert program.communicate("still here", timeout=30)[0] == "still here"
    assert shell.returncode == program.returncode == 0
    assert subprocess.run([there / "program"], stdout=subprocess.PIPE).stdout == b""


def test_tail_follows_a_name_to_the_new_file(heads, move):
    here, there = heads
    (here / "log").write_text("one\n")
    move()
    with subprocess.Popen(["tail", "-F", "-s", "0.05", "---disable-inotify", there / "log"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        assert tail.stdout.readline() == "one\n"
        (here / "log").write_text("two\n")
        move()
        assert tail.stdout.readline() == "two\n"
        tail.kill()


def git(path, *words):
    return subprocess.run(
        ["git", "--no-optional-locks", "-c", "safe.directory=*", "-c", "user.name=x",
         "-c", "user.email=x", "-c", "gc.auto=0", "-C", str(path), *words],
        stdout=subprocess.PIPE, text=True, check=True).stdout


def test_a_git_repository_is_seen_as_the_other_mount_left_it(heads, move):
    here, there = heads
    (here / "g").mkdir()
    git(here / "g", "init", "-q")
    for version in range(5):
        for i in range(20):
            if i % 5 == version or version == 0:
                (here / "g" / ("f%d" % i)).write_text("%d of %d\n" % (i, version))
        git(here / "g", "add", "-A")
        git(here / "g", "commit", "-qm", "version %d" % version)
        move()
        assert becomes(lambda: git(there / "g", "log", "--format=%s", "-1"),
                       "version %d\n" % version)
        assert becomes(lambda: git(there / "g", "status", "--porcelain"), "")
    git(there / "g", "fsck", "--strict")


def state_of(thread):
    with open("/proc/self/task/%d/stat" % thread.native_id) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


class Listing(threading.Thread):
    """Lists a directory into memory that is not there yet, and so keeps the kernel's lock of it:
    nobody can be told of names in it. The memory is a file of a mount that is stopped."""

    def __init__(self, path, mount, file):
        super().__init__()
        self.mount = mount
        with open(file, "rb") as f:
            self.memory = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE)
        self.dir = os.open(path, os.O_RDONLY)
        mount.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, mount.process.pid, os.WSTOPPED | os.WNOWAIT)
        self.start()
        if not becomes(lambda: state_of(self), "D"):
            self.end()
            pytest.fail("the listing waits for nothing")

    def run(self):
        into = (ctypes.c_char * len(self.memory)).from_buffer(self.memory)
        self.result = libc.syscall(SYS_GETDENTS64, self.dir, into, len(self.memory))
        del into

    def end(self):
        self.mount.process.send_signal(signal.SIGCONT)
        self.join()
        if not self.memory.closed:
            os.close(self.dir)
            self.memory.close()


@pytest.fixture
def untold(place, heads, two, move):
    """Has the head move to where later/z is new, while the kernel is kept from being told of it."""
    here, there = heads
    for d in ("held", "later"):
        (here / d).mkdir()
    (here / "later/z").write_text("old")
    (here / "memory").write_bytes(bytes(4096))
    move()
    third = place("refresh=50", "c").start()
    assert (there / "later/z").read_text() == "old"
    listing = Listing(there / "held", third, third / "R/main/memory")
    try:
        (here / "held/new").touch()
        (here / "later/z").write_text("new")
        move()
        assert (there / "later/z").read_text() == "old"
        yield there / "later", listing.end
    finally:
        listing.end()
    assert listing.result > 0


def append(path):
    with open(path, "a") as f:
        f.write("er")


CHANGES = {
    "append": (append, "newer"),
    "truncate": (lambda path: os.truncate(path, 2), "ne"),
    "empty": (lambda path: os.close(os.open(path, os.O_TRUNC)), ""),
    "rewrite": (lambda path: path.write_text("mine"), "mine"),
    "mode": (lambda path: os.chmod(path, 0o600), "new"),
    "xattr": (lambda path: os.setxattr(path, "user.x", b"y"), "new"),
    "link": (lambda path: os.link(path, path.with_name("y")), "new"),
    "rename": (lambda path: os.rename(path, path.with_name("y")), "new"),
    "exchange": (lambda path: renameat2(path, path.with_name("x"), RENAME_EXCHANGE), "new"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_by_a_name_that_is_outdated_reaches_the_new_file(untold, what):
    change, wanted = CHANGES[what]
    later, tell = untold
    if what == "exchange":
        (later / "x").write_text("the other")
    change(later / "z")
    tell()
    place = {"link": "y", "rename": "y", "exchange": "x"}.get(what, "z")
    assert becomes((later / place).read_text, wanted)
    if what == "mode":
        assert os.stat(later / "z").st_mode & 0o777 == 0o600
    if what == "xattr":
        assert os.getxattr(later / "z", "user.x") == b"y"
    if what == "rename":
        assert os.listdir(later) == ["y"]
    if what == "exchange":
        assert becomes((later / "z").read_text, "the other")


class Reader(threading.Thread):
    """Reads files by name: each is of one commit, and none gets older."""

    def __init__(self, top, count):
        super().__init__()
        self.top, self.count = top, count
        self.is_over, self.reads, self.wrong = False, 0, []

    def run(self):
        last = [0] * self.count
        while not self.is_over and not self.wrong:
            i = self.reads % self.count
            self.reads += 1
            try:
                text = (self.top / ("d%d/f%d" % (i % 4, i))).read_text()
            except OSError as e:
                self.wrong.append(e)
                return
            version = int(text[:8])
            if text != "%08d" % version * len(text[::8]) or version < last[i]:
                self.wrong.append((i, last[i], text[:40], len(text)))
            last[i] = version


def keep_finding(top, stop, said):
    while not stop.is_set():
        done = subprocess.run(["find", str(top), "-newermt", "2000-01-01", "-size", "-100k"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said.append(done.stderr)


def test_readers_see_one_commit_or_the_next_while_it_moves_many_times(heads, move):
    here, there = heads
    files = 24
    for d in range(4):
        (here / ("d%d" % d)).mkdir()

    def put(version, step):
        for i in range(version % step, files, step):
            # Small ones and ones of several pages.
            text = "%08d" % version * (1 + i * i * 20)
            (here / ("d%d/f%d" % (i % 4, i))).write_text(text)

    put(1, 1)
    move()
    stop, said = threading.Event(), []
    finder = threading.Thread(target=keep_finding, args=(there, stop, said))
    readers = [Reader(there, files) for _ in range(3)]
    for t in (finder, *readers):
        t.start()
    try:
        for version in range(2, 2 + MOVES):
            put(version, 3)
            move()
    finally:
        stop.set()
        for r in readers:
            r.is_over = True
        for t in (finder, *readers):
            t.join()
    assert [r.wrong for r in readers] == [[]] * 3
    assert not any(said)
    assert all(r.reads > files for r in readers)
    for i in range(files):
        name = "d%d/f%d" % (i % 4, i)
        assert becomes((there / name).read_text, (here / name).read_text())


def test_what_was_left_behind_is_let_go_of_when_nobody_has_it(heads, two, move):
    here, there = heads
    for i in range(200):
        (here / ("f%d" % i)).write_text("old %d" % i)
    move()
    for i in range(200):
        assert (there / ("f%d" % i)).read_text() == "old %d" % i
    nodes = two[1].stats()["pfs_nodes"]
    for version in range(5):
        for i in range(200):
            (here / ("f%d" % i)).write_text("%d of %d" % (i, version))
        move()
        for i in range(200):
            assert becomes((there / ("f%d" % i)).read_text, "%d of %d" % (i, version))
    assert becomes(lambda: two[1].stats()["pfs_nodes"] <= nodes + 100, True)


def test_a_repo_that_another_mount_removes_stays_while_something_in_it_is_uncommitted(two):
    a, b = two
    (a / "R/main/f").write_text("nobody else has it")
    os.rmdir(b / "R")
    assert becomes(lambda: os.path.exists(b / "R"), False)
    # By now it is known here as well: nobody can commit to it.
    fails_in_time(lambda: os.mkdir(a / "R/commits/c"))
    assert os.listdir(a.path) == ["R"]
    assert "main" in os.listdir(a / "R")
    assert (a / "R/main/f").read_text() == "nobody else has it"
    (a / "R/main/g").write_text("goes on")
    with pytest.raises(OSError) as e:
        os.rmdir(a / "R")
    assert e.value.errno == errno.ENOTEMPTY
    # Another one by that name.
    os.mkdir(b / "R")
    (b / "R/main/new").write_text("another")
    commit(b, "c")
    assert becomes(lambda: len(os.listdir(a.path)), 2)
    (left,) = (n for n in os.listdir(a.path) if n != "R")
    assert left.startswith("R.left-")
    assert becomes(lambda: os.listdir(a / "R/main"), ["new"])
    assert (a / left / "main/f").read_text() == "nobody else has it"
    # The next daemon finds it so.
    a.stop()
    a.start()
    assert becomes(lambda: sorted(os.listdir(a.path)), ["R", left])
    assert (a / left / "main/g").read_text() == "goes on"
    assert os.listdir(a / "R/main") == ["new"]


def fails_in_time(call):
    """It fails, as soon as the mount has heard of what another has done."""
    def has_failed():
        try:
            call()
        except OSError:
            return True
        return False
    assert becomes(has_failed, True)


def test_a_head_does_not_follow_another_branch_by_the_name_of_its_own(two, home):
    a, b = two
    (a / "R/main/f").write_text("old")
    commit(a, "c1")
    os.mkdir(a / "R/try")
    assert becomes(lambda: os.path.exists(b / "R/try/f"), True)
    os.chdir(b / "R/try")
    # Made anew, and ahead of what the former was at.
    os.rmdir(a / "R/try")
    (a / "R/main/f").write_text("new")
    commit(a, "c2")
    os.mkdir(a / "R/try")
    (a / "R/try/g").write_text("new")
    commit(a, "try@c3")
    assert becomes(lambda: os.path.exists(b / "R/main/f") and (b / "R/main/f").read_text(), "new")
    assert becomes(lambda: os.path.exists(b / "R/try/g"), True)
    assert os.listdir() == ["f"]
    with open("f") as f:
        assert f.read() == "old"
