# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of tools/bench that measures pfs on a bucket: a MinIO of its own, on this machine."""

import contextlib
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import time
import urllib.request

MIB = 1 << 20
PARTS = ["small", "deep", "large", "idle"]
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Server:
    """A MinIO, started as the tests start theirs, that tells how many requests it has had."""

    def __init__(self, where):
        script = (f". {TOP}/tools/servers.sh; pfs_minio_start '{where}' >&2 || exit 1; "
                  "echo $pfs_minio_pid $pfs_minio_endpoint $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY")
        env = dict(os.environ, MINIO_PROMETHEUS_AUTH_TYPE="public")
        # The server outlives the shell and would keep a pipe open.
        with open(f"{where}.said", "w+", encoding="utf-8") as said:
            subprocess.run(["bash", "-c", script], check=True, stdout=said, env=env)
            said.seek(0)
            pid, self.endpoint, key, secret = said.read().split()
        self.pid = int(pid)
        os.environ.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)

    def url(self, bucket):
        return f"s3://{bucket}/store?endpoint={self.endpoint}"

    def requests(self):
        """As the server counts them, by kind. It does so every ten seconds."""
        time.sleep(11)
        with urllib.request.urlopen(f"{self.endpoint}/minio/v2/metrics/cluster") as reply:
            text = reply.read().decode()
        count = {}
        for api, n in re.findall(r'minio_s3_requests_total\{[^}]*api="(\w+)"[^}]*\} (\S+)', text):
            count[api] = count.get(api, 0) + int(float(n))
        return count

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)


def difference(before, after):
    return {k: n - before.get(k, 0) for k, n in after.items() if n > before.get(k, 0)}


def say(counts):
    return ", ".join(f"{n:,} {k}" for k, n in sorted(counts.items())) or "none"


def own_counts(mount):
    """What the daemon says it has asked of the store, by kind."""
    with open(f"{mount.where}/.pfs/stats", encoding="utf-8") as f:
        return {k: int(n) for k, n in
                re.findall(r'^pfs_store_requests_total\{op="(\w+)"\} (\d+)$', f.read(), re.M)}


class Bench:
    def __init__(self, options, report, mount_class):
        self.o, self.report, self.mount_class = options, report, mount_class
        self.dir = f"{options.dir}/s3"
        self.transfer_program = f"{os.path.dirname(os.path.abspath(options.pfs))}/bench-transfer"
        self.peak = 0
        self.mounts = 0

    def prepare(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        if not os.path.exists(self.transfer_program):
            raise SystemExit("bench: bench-transfer is not built (ninja tools/bench-transfer)")
        self.server = Server(f"{self.dir}/minio")

    @contextlib.contextmanager
    def machine(self, bucket):
        """A mount of a machine that has never seen the store."""
        self.mounts += 1
        m = self.mount_class(self.o.pfs, self.server.url(bucket), f"{self.dir}/mnt{self.mounts}",
                             f"{self.dir}/state{self.mounts}")
        with m:
            yield m
            m.look()
            self.peak = max(self.peak, m.peak)
        shutil.rmtree(m.state)

    def init(self, bucket):
        subprocess.run([self.o.pfs, "init", self.server.url(bucket)], check=True,
                       stdout=subprocess.DEVNULL)

    # many small files

    def small(self):
        noise = random.Random(1)
        self.init("small")
        with self.machine("small") as m:
            os.mkdir(f"{m.where}/r")
            for d in range(100):
                os.mkdir(f"{m.where}/r/main/d{d:02}")
                for f in range(1000):
                    with open(f"{m.where}/r/main/d{d:02}/f{f:03}", "wb") as out:
                        out.write(noise.randbytes(2048))
            before, own = self.server.requests(), own_counts(m)
            start = time.monotonic()
            os.mkdir(f"{m.where}/r/commits/c")
            took = time.monotonic() - start
            got = difference(before, self.server.requests())
            own = difference(own, own_counts(m))
        self.report.note(f"commit in {took:.1f} s; the server counts {say(got)}; the daemon {say(own)}")
        self.report.add("PUTs of a commit of 100,000 files of 2 KiB", got["putobject"], 999,
                        "requests")
        tree = "cd {}/r/main && "
        for how, script in (
                ("in order", tree + "tar cf - . | cat >/dev/null"),
                ("by directories in random order",
                 tree + "for d in $(ls | shuf); do cat $d/* | cat >/dev/null; done"),
                ("in random order", tree + "find . -type f | shuf | xargs cat | cat >/dev/null")):
            before = self.server.requests()
            with self.machine("small") as m:
                start = time.monotonic()
                subprocess.run(["bash", "-c", script.format(m.where)], check=True)
                took = time.monotonic() - start
                got = difference(before, self.server.requests())
            self.report.add(f"GETs of a cold machine that reads them {how}", got["getobject"], 1999,
                            "requests", f"{took:.1f} s; {say(got)}")

    # a cold mount

    def deep(self):
        noise = random.Random(2)

        def write(path, size):
            with open(path, "wb") as out:
                out.write(noise.randbytes(size))

        self.init("deep")
        with self.machine("deep") as m:
            os.mkdir(f"{m.where}/r")
            levels, path = [], f"{m.where}/r/main"
            for level in range(1, 9):
                path += f"/d{level}"
                levels.append(path)
                os.mkdir(path)
                for f in range(200):
                    write(f"{path}/file{f:03}", noise.randint(300, 3000))
                for s in range(20):
                    os.mkdir(f"{path}/side{s:02}")
                    for f in range(100):
                        write(f"{path}/side{s:02}/f{f:02}", noise.randint(300, 1500))
            times = []
            for i in range(1000):
                for _ in range(3):
                    where = noise.choice(levels)
                    name = noise.choice((f"file{noise.randrange(200):03}",
                                         f"side{noise.randrange(20):02}/f{noise.randrange(100):02}"))
                    write(f"{where}/{name}", 500)
                start = time.monotonic()
                os.mkdir(f"{m.where}/r/commits/c{i}")
                times.append(time.monotonic() - start)
            each = {k: n / 1000 for k, n in own_counts(m).items() if n}
        self.report.note(f"1,000 commits, {statistics.median(times) * 1000:.1f} ms each (median); "
                         "requests a commit: " + ", ".join(f"{n:.1f} {k}" for k, n in each.items()))
        before = self.server.requests()
        start = time.monotonic()
        with self.machine("deep") as m:
            os.listdir(f"{m.where}/r/main/" + "/".join(f"d{n}" for n in range(1, 9)))
            took = time.monotonic() - start
            own = own_counts(m)
        got = difference(before, self.server.requests())
        self.report.add("requests of a cold mount with 1,000 commits, to the first ls 8 levels deep",
                        sum(got.values()), 10, "requests",
                        f"{took * 1000:.0f} ms; the server counts {say(got)}; the daemon {say(own)}")

    # one large file

    def transfer(self, what, threads, size):
        done = subprocess.run([self.transfer_program, what, self.server.url("plain"), str(threads),
                               f"{self.dir}/noise", str(size)], check=True, stdout=subprocess.PIPE,
                              text=True)
        return float(done.stdout)

    def commit_large(self, n):
        with self.machine("large") as m:
            if not n:
                os.mkdir(f"{m.where}/r")
            # Other bytes each time, or there would be nothing to store.
            with open(f"{self.dir}/noise", "r+b") as f:
                for at in range(0, os.path.getsize(f.name), 64 << 10):
                    f.seek(at)
                    f.write(n.to_bytes(4, "little") + at.to_bytes(8, "little"))
            shutil.copyfile(f"{self.dir}/noise", f"{m.where}/r/main/f")
            os.sync()
            start = time.monotonic()
            os.mkdir(f"{m.where}/r/commits/c{n}")
            return time.monotonic() - start

    def read_large(self, n):
        with self.machine("large") as m:
            start = time.monotonic()
            subprocess.run(["dd", f"if={m.where}/r/c{n}/f", "of=/dev/null", "bs=1M"], check=True,
                           stderr=subprocess.DEVNULL)
            took = time.monotonic() - start
            subprocess.run(["cmp", f"{m.where}/r/c{n}/f", f"{self.dir}/noise"], check=True)
            return took

    def large(self):
        size = self.o.large * MIB
        with open(f"{self.dir}/noise", "wb") as f:
            for _ in range(self.o.large):
                f.write(os.urandom(MIB))
        self.init("plain")
        self.init("large")
        puts, commits, gets, reads = [], [], [], []
        for n in range(self.o.rounds):
            os.sync()
            puts.append(min(self.transfer("put", t, 32 * MIB) for t in (2, 3, 4)))
            os.sync()
            commits.append(self.commit_large(n))
            gets.append(min(self.transfer("get", t, 32 * MIB) for t in (2, 4)))
            reads.append(self.read_large(n))
        for what, ours, plain, against in (("commit", commits, puts, "parallel PUTs"),
                                           ("cold read", reads, gets, "parallel GETs")):
            a, b = statistics.median(ours), statistics.median(plain)
            self.report.add(f"{what} of {self.o.large} MiB, against {against}", a / b, 1 / 0.8, "x",
                            f"{size / a / MIB:.0f} against {size / b / MIB:.0f} MiB/s")
        os.unlink(f"{self.dir}/noise")

    # mounts that nobody uses

    def idle(self):
        self.init("idle")
        with contextlib.ExitStack() as stack:
            mounts = [stack.enter_context(self.machine("idle")) for _ in range(6)]
            os.mkdir(f"{mounts[0].where}/r")
            for m in mounts:
                os.listdir(f"{m.where}/r/main")
            time.sleep(5)
            before = [own_counts(m) for m in mounts]
            time.sleep(30)
            rates = [sum(difference(b, own_counts(m)).values()) / 15
                     for b, m in zip(before, mounts)]
        self.report.add("requests of an idle mount with one branch in use, in each refresh of 2 s",
                        max(rates), 1.2, "requests")

    def run(self, parts):
        self.prepare()
        try:
            for part in parts:
                print(f"-- s3 {part}", flush=True)
                getattr(self, part)()
        finally:
            self.server.stop()
        self.report.add("a daemon's resident memory, at its peak", self.peak / MIB, 256 + 64, "MiB")
        shutil.rmtree(self.dir, ignore_errors=True)
