# SPDX-License-Identifier: GPL-3.0-or-later
"""Six machines at work on one server, each with a user who has a model of what he did, while daemons
are killed, cables pulled and the server is frozen or dies. In the end, when all is well again, a
judge holds what is there against the models:

 - a commit that was acknowledged has exactly what its head had when it was asked for; so has one
   whose maker was not told, if it is there
 - it is in its branch's history, and a name that was acknowledged leads to it, on every machine
 - no write that was acknowledged is lost, committed or not
 - all machines see the same

PFS_SEED repeats a run's choices, though not its timing; PFS_LONG=1 makes it minutes.
"""

import errno
import os
import random
import threading
import time

from acting import content, retried, together
from conftest import PATIENCE

MACHINES = 6
SECONDS = 300 if os.environ.get("PFS_LONG") else 20
SETTLED = 180  # s; that long all may take when nothing is wrong any more
GONE = (errno.ENOENT, errno.ENOTCONN, errno.ECONNABORTED)  # where a daemon was killed


class Lost(Exception):
    """What was asked for was not answered: it may have happened or not."""


class User:
    """Works on one machine, in directories of his own: "mN" of main, "bN" of his branch. All write
    to the file "shared"."""

    def __init__(self, machine, number, seed):
        self.m, self.number = machine, number
        self.rng = random.Random(seed)
        self.down = threading.Lock()  # held while the daemon is dead
        self.deaths = 0
        self.serial = 0
        self.branch = f"b{number}-0"
        # By name, what is in it; several names of one file have the same list of one item.
        self.files = {"main": {}, self.branch: {}}
        self.named = {}  # by name: branch, content
        self.maybe = {}  # the same, of who was not told
        self.unnamed = {}  # by id: content
        self.told = self.lost = 0

    def fresh(self, kind):
        self.serial += 1
        return f"{kind}{self.number}-{self.serial}"

    def head(self, branch):
        return self.m / f"R/{branch}"

    def own(self, branch):
        return self.head(branch) / (f"m{self.number}" if branch == "main" else f"b{self.number}")

    def ask(self, fn):
        """Calls it; Lost when a fault got in its way."""
        with self.down:
            deaths = self.deaths
        try:
            result = fn()
        except OSError as error:
            with self.down:
                died = self.deaths > deaths
            if error.errno == errno.EIO or (died and error.errno in GONE):
                self.lost += 1
                raise Lost from error
            raise
        self.told += 1
        return result

    def run(self, *words):
        """A command's result; Lost when it failed, which it may do for any fault."""
        result = self.m.run(*words)
        if result.code not in (0, 3):
            self.lost += 1
            raise Lost(result.err)
        self.told += 1
        return result

    def looked(self, fn):
        """What can be seen in the end, after a fault."""
        found = []

        def look():
            with self.down:
                found.append(fn())

        retried(look, SETTLED)
        return found[-1]

    def some(self, branch):
        return self.rng.choice(sorted(self.files[branch]) or [None])

    # What he does.

    def write(self, branch):
        files = self.files[branch]
        name = self.some(branch) if self.rng.random() < 0.5 else self.fresh("f")
        name = name or self.fresh("f")
        size = self.rng.choice((10, 1000, 100_000))
        cell, new = files.get(name), self.rng.randbytes(size)
        path = self.own(branch) / name
        try:
            self.ask(lambda: path.write_bytes(new))
        except Lost:
            # Made, or emptied, or written to: one of these.
            seen = self.looked(lambda: path.read_bytes() if path.exists() else None)
            assert seen in (cell[0] if cell else None, b"", new), path
            new = seen
        if new is not None:
            files.setdefault(name, [None])[0] = new

    def change_names(self, branch, change, old, new, keeps_old):
        """Gives a file a new name (None: takes one away), and perhaps keeps the old one."""
        files = self.files[branch]
        try:
            self.ask(change)
            done = True
        except Lost:
            there = self.looked(lambda: {n: os.path.lexists(self.own(branch) / n)
                                         for n in (old, new) if n})
            done = there[new] if new else not there[old]
            assert there[old] == (keeps_old or not done)
        if done:
            cell = files[old] if keeps_old else files.pop(old)
            if new:
                files[new] = cell

    def rename(self, branch):
        old, new, own = self.some(branch), self.fresh("r"), self.own(branch)
        if old:
            self.change_names(branch, lambda: os.rename(own / old, own / new), old, new, False)

    def link(self, branch):
        old, new, own = self.some(branch), self.fresh("l"), self.own(branch)
        if old:
            self.change_names(branch, lambda: os.link(own / old, own / new), old, new, True)

    def unlink(self, branch):
        old, own = self.some(branch), self.own(branch)
        if old:
            self.change_names(branch, lambda: os.unlink(own / old), old, None, False)

    def write_shared(self, branch):
        self.ask(lambda: (self.head(branch) / "shared").write_text(self.fresh("shared")))

    def snapshot(self, branch):
        """All that the head has. It has changes, and so stays as it is until it commits."""
        lost = self.lost
        self.write(branch)
        if self.lost > lost:
            raise Lost
        return self.ask(lambda: content(self.head(branch)))

    def commit_named(self, branch):
        seen, name = self.snapshot(branch), self.fresh("n")
        self.maybe[name] = branch, seen
        self.ask(lambda: os.mkdir(self.m / f"R/commits/{branch}@{name}"))
        self.named[name] = self.maybe.pop(name)

    def commit(self, branch):
        seen = self.snapshot(branch)
        result = self.run("commit", "--json", self.head(branch))
        self.unnamed[result.json()["id"]] = branch, seen
        if result.code == 3:
            self.run("merge", self.rng.choice(("--ours", "--theirs")), "--into", self.head(branch))

    def merge(self, _):
        self.run("merge", self.rng.choice(("--ours", "--theirs")), "--into", self.head("main"),
                 self.branch)

    def rename_branch(self, _):
        old, new = self.branch, f"b{self.number}-{self.serial + 1}"
        self.serial += 1
        try:
            self.ask(lambda: os.rename(self.head(old), self.head(new)))
        except Lost:
            # Where it is now shows when the store can be asked.
            there = self.looked(lambda: (self.m.ok("sync", self.m.path), os.listdir(self.m / "R")))
            new = new if new in there[1] and old not in there[1] else old
        if new != old:
            self.branch = new
            self.files[new] = self.files.pop(old)
            for made in self.named, self.maybe, self.unnamed:
                made.update({k: (new, v[1]) for k, v in made.items() if v[0] == old})

    def sync(self, branch):
        self.run("sync", self.head(branch))

    ACTS = {write: 10, rename: 4, link: 3, unlink: 3, write_shared: 1, commit_named: 6, commit: 4,
            merge: 1, rename_branch: 1, sync: 2}

    def work(self, until):
        acts = list(self.ACTS)
        while time.monotonic() < until:
            branch = self.rng.choice(("main", "main", self.branch))
            act, = self.rng.choices(acts, weights=self.ACTS.values())
            try:
                act(self, branch)
            except Lost:
                with self.down:
                    pass

    def begin(self):
        os.mkdir(self.head(self.branch))
        for branch in self.files:
            os.mkdir(self.own(branch))

    def settle(self):
        """All he did goes onto its branch."""
        for branch in self.files:
            def settled(head=self.head(branch)):
                if self.m.run("commit", head).code == 3:
                    self.m.ok("merge", "--ours", "--into", head)
                assert self.m.json("status", head)["standing"] == "on-branch"

            retried(settled, SETTLED)


class Chaos:
    """What befalls machines and the server, one thing at a time."""

    def __init__(self, network, users, seed):
        self.network, self.users = network, users
        self.rng = random.Random(seed)
        self.met = {}

    def kill(self):
        user = self.rng.choice(self.users)
        with user.down:
            user.deaths += 1
            user.m.crash()
            user.m.mount()

    def pull_cable(self):
        m = self.rng.choice(self.users).m
        m.plug_out()
        time.sleep(self.rng.uniform(0.1, 2))
        m.plug_in()

    def freeze(self):
        self.network.server_freeze()
        time.sleep(self.rng.uniform(0.1, 2))
        self.network.server_thaw()

    def restart(self):
        self.network.server_stop()
        time.sleep(self.rng.uniform(0, 1))
        self.network.server_start()

    def reign(self, until):
        faults = (self.kill, self.kill, self.kill, self.pull_cable, self.freeze, self.restart)
        while time.monotonic() < until:
            time.sleep(self.rng.uniform(0.1, 1))
            fault = self.rng.choice(faults)
            fault()
            self.met[fault.__name__] = self.met.get(fault.__name__, 0) + 1


def judge(user, m):
    """Holds what a machine sees against one user's model."""
    history = {}
    for branch, files in user.files.items():
        found = content(m / f"R/{branch}/{user.own(branch).name}")
        assert found == {name: cell[0] for name, cell in files.items()}, branch
        log = m.json("log", "-n", 100_000, m / f"R/{branch}")
        history[branch] = {c["id"] for c in log}
        named = {name for c in log for name in c["names"]}
        assert named >= {name for name, (b, _) in user.named.items() if b == branch}
        assert history[branch] >= {i for i, (b, _) in user.unnamed.items() if b == branch}
    for name, (_, seen) in (user.named | user.unnamed).items():
        assert content(m / f"R/commits/{name}") == seen, name
    for name, (_, seen) in user.maybe.items():
        if os.path.lexists(m / f"R/{name}"):
            assert content(m / f"R/{name}") == seen, name


def test_six_machines_lose_nothing_in_chaos(lan):
    seed = int(os.environ.get("PFS_SEED", random.randrange(1 << 32)))
    print(f"PFS_SEED={seed}")
    machines = lan(MACHINES)
    users = [User(m, i, seed + i) for i, m in enumerate(machines)]
    for user in users:
        user.begin()
    chaos = Chaos(lan.network, users, seed + MACHINES)
    until = time.monotonic() + SECONDS * PATIENCE
    ended = together(*(lambda u=u: u.work(until) for u in users), lambda: chaos.reign(until))
    for error in filter(None, ended):
        raise error
    # One settles after the other: each has what all before him have.
    for user in users:
        user.settle()
    for m in machines:
        m.ok("sync", m.path)
    print(f"{chaos.met}, {sum(u.told for u in users)} answered, {sum(u.lost for u in users)} not, "
          f"{sum(len(u.named) for u in users)} named, {sum(len(u.unnamed) for u in users)} not, "
          f"{sum(len(u.maybe) for u in users)} in doubt")
    assert chaos.met and any(u.named for u in users) and any(u.unnamed for u in users)
    assert len({str(sorted(content(m / "R/main").items())) for m in machines}) == 1
    for user in users:
        judge(user, user.m)
        judge(user, machines[(user.number + 1) % MACHINES])
