# SPDX-License-Identifier: GPL-3.0-or-later
"""What is recorded of real programs is what a trace of their system calls says: nothing is missing,
and there is nothing more. traced.py has the rules by which the two are held against each other."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from conftest import PFS, SECONDS, Mount, Shell, can_mount, mounted
from traced import CALLS, Trace

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../reader"))
import pfsread  # noqa: E402

pytestmark = [can_mount, pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")]

KINDS = {pfsread.REG: "f", pfsread.DIRECTORY: "d", pfsread.SYMLINK: "l"}

SOURCE = """
mkdir -p d/e empty.d
for i in 1 2 3 4 5 6 7 8; do seq $((i * 50)) > d/n$i; done
echo deep > d/e/f; echo a line of a > a; echo a line of b > b; : > empty
ln -s d/n1 link; ln -s ../a d/back; ln -s d sub; ln b hard
printf '#include "h.h"\\nint main(void) { return N; }\\n' > m.c
printf '#define N 0\\n' > h.h
printf 'out: d/n1 d/n2\\n\\tcat d/n1 d/n2 > out\\nold: a\\n\\tfalse\\n' > Makefile; touch -d 2030-01-01 old
printf 'import helper\\nprint(helper.x)\\n' > p.py; echo 'x = open("a").read()' > helper.py
printf '#!/bin/sh\\n. ./lib.sh\\ncat "$1"\\n' > s.sh; chmod 755 s.sh; echo 'x=1' > lib.sh
"""

PROGRAMS = {
    "cat": "cat a d/n1 none link",
    "cp": "cp a c; cp -r d d.copy; cp -a link hard e; mkdir x; cp -a link hard x; cp a b",
    "mv": "mv a x; mv d moved; cat moved/e/f; mv b hard; mv x d",
    "mv there and back": "mv d x; ls x/e; mv x/e e; cat e/f; mv e x; cat x/n1; mv x d; ls d; "
                         "mv a b; mv b a; cat a; cat b",
    "hard links": "cat hard; cat b; ln d/n1 z; cat z; rm d/n1; mv z d/n1; cp -rl d l; cat l/n2; "
                  "echo x >> l/n3; cat d/n3; rm -r l",
    "make in parallel": "printf 'all: 1 2 3 4 5 6\n%: d/n%\n\tcat $< a > $@; cat $@\n' > M; "
                        "make -s -j4 -f M",
    "tar": "tar cf t.tar d sub link hard; tar xf t.tar -C empty.d; tar tf t.tar",
    "git": "git init -q .; git add a d m.c; git -c user.name=n -c user.email=e commit -qm m; "
           "echo more >> a; git status --short; git diff; git log",
    "gcc": "gcc -O1 -o m m.c; ./m",
    "python": "python3 p.py",
    "python with numpy": "python3 -c 'import numpy as n; x = n.loadtxt(\"d/n2\"); n.save(\"x\", x);"
                         " y = n.load(\"x.npy\", mmap_mode=\"r\"); print(y.sum())'",
    "sqlite3": "sqlite3 db 'create table t(a); insert into t values (1)'; sqlite3 db 'insert into t"
               " select 2; select * from t'; sqlite3 db '.import d/n1 t'",
    "sort": "sort -r d/n1 d/n2 -o d/n1; sort < b; sort -S 1M -T . d/n8 > s",
    "rsync": "rsync -a d/ copy/; echo x >> d/n1; rsync -a --delete d/ copy/",
    "find": "find . -name 'n*' -newer a; find d -type f -size +1 -delete",
    "grep": "grep -r line .; grep -l 7 d/n*",
    "ls": "ls -l; ls d; ls -lR empty.d d/e; ls none",
    "sed": "sed -i s/line/word/ a b; sed -n 1p d/n1",
    "make": "make out; make out; make old; make none",
    "a script": "./s.sh a; ./s.sh none",
    "bash": "cd d; for f in *; do read x < $f; done; cd ..; pushd d/e; cat f; [ -e ../none ]; popd",
    "perl": "perl -ne 'print' a d/n1; perl -pi -e s/1/2/ d/n2; perl -e 'use lib \".\"; "
            "rename \"a\", \"z\"; unlink \"b\"; symlink \"q\", \"p\"'",
    "gzip": "gzip -k a; gzip d/n1; zcat d/n1.gz; gunzip d/n1.gz",
    "zip": "zip -qr z.zip d a; unzip -qo z.zip -d empty.d",
    "awk": "awk '{ print > FILENAME \".out\" }' a d/n3; awk 'BEGIN { getline x < \"none\" }'",
    "diff": "diff a b; diff -r d empty.d; cmp d/n1 d/n2; diff -q hard b",
    "dd": "dd if=a of=o bs=4 count=1; dd if=b of=a bs=1 seek=2 conv=notrunc; dd if=d/n8 of=d/n1",
    "touch": "touch a new d/n1; touch -c none; chmod 600 b; touch -h link",
    "ln": "ln a a2; ln -s none n; cat n; ln -sf b link; ln -f a b; readlink -f sub/back",
    "install": "install -m 600 a i; install -d k/l; install a k/l; install a b",
    "rm": "rm a; rm -r d; rm -f none; mkdir d; echo own > d/n1; cat d/n1; rmdir empty.d",
    "truncate": "truncate -s 0 a; cat a; truncate -s 3 b; cat b; cat empty; echo x >> empty; "
                "cat empty; : > d/n1",
    "empty": "cat empty; head -c 0 a; cat < empty",
    "processes": "(cat a; cd d; cat n1) & (cd d/e; cat f) & wait; sh -c 'cd sub; cat back | cat'",
}


@pytest.fixture(scope="module")
def mount(tmp_path_factory):
    """A store, mounted: one for all, since each program has a repo of its own."""
    base = tmp_path_factory.mktemp("traced")
    m = Mount(Shell(base), base)
    yield m
    if mounted(m.path):
        m.stop()


def entries(store, ino, hint, path=""):
    """path, inode, xattrs of all below a directory of a run's tree."""
    for name, h in pfsread.walk(store, pfsread.DIR_TREE, ino.id, hint and hint[0], ino.sums):
        own = os.path.join(path, name.name.decode())
        yield own, name.inode, pfsread.parse_xattrs(name.inode.xattrs or b"")
        if name.type == pfsread.DIRECTORY:
            yield from entries(store, name.inode, h, own)


def recorded(mount, repo):
    """Of the last run, by paths in the branch: read, looked, listed, whole, and written."""
    end = max(pathlib.Path(mount.store).glob("runs/*/*.end"), key=os.path.getmtime)
    said = json.loads(end.read_text())
    assert "error" not in said
    tree, found = said["tree"], {}
    store = pfsread.Store(mount.store)
    sums = pfsread.Sums(tree["dirs"], tree["dirs"], tree["files"], tree["bytes"])
    root = bytes.fromhex(tree["id"])
    for name, hint in pfsread.walk(store, pfsread.DIR_TREE, root, None, sums):
        found[name.name.decode()] = {
            path[len(repo) + 6:]: (ino, xattrs) for path, ino, xattrs in
            entries(store, name.inode, hint) if path.startswith(repo + "/main")}
    return found


def kind(ino):
    return KINDS.get(ino.type, "absent")


def compare(mount, trace, repo):
    found = recorded(mount, repo)
    looked, none = found.get("looked", {}), {}
    read = {p: i.size for p, (i, _) in found.get("read", none).items()
            if i.type != pfsread.DIRECTORY}
    assert read == {p: trace.before[p].size for p in trace.read}, "read"
    assert {p: "absent" if kind(i) == "absent" else "present"
            for p, (i, _) in looked.items() if p} == trace.looked, "looked"
    assert {p for p, (_, x) in looked.items() if b"pfs.listing" in x} == trace.listed, "listed"
    assert {p for p, (_, x) in looked.items() if b"pfs.tree" in x} == trace.whole, "seen whole"
    written, old = found.get("written", none), trace.before
    assert {p: kind(i) for p, (i, _) in written.items()
            if p and not (kind(i) == "d" and p in old and old[p].kind == "d")} == \
        trace.written(), "written"


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_recorded_is_what_a_trace_says(mount, tmp_path, program):
    repo = program.replace(" ", "-")
    top = mount / repo / "main"
    os.mkdir(mount / repo)
    subprocess.run(["sh", "-e", "-c", SOURCE], cwd=top, check=True)
    trace = Trace(top)
    env = dict(mount.shell.environment, PATH="/usr/bin:/bin")
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [PFS, "run", "--keep-going", "strace", "-f", "-y", "-qq", "-s", "0", "--seccomp-bpf",
         "-o", tmp_path / "trace", "-e", "trace=" + CALLS,
         "bash" if program == "bash" else "sh", "-c", PROGRAMS[program]],
        cwd=top, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=SECONDS, text=True, errors="replace", check=False)
    assert "not found" not in done.stderr and "ModuleNotFound" not in done.stderr, done.stderr
    trace.play((tmp_path / "trace").read_text())
    assert trace.looked
    compare(mount, trace, repo)
