# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests that hold the command `pfs` against other programs: the reader made from
the format's document, Python's tarfile, GNU tar.

The program is named by PFS. Nothing of the user's own configuration is seen.
"""

import os
import pathlib
import subprocess
import sys

import pytest

import trees

PFS = os.environ.get("PFS", "pfs")
READER = pathlib.Path(__file__).with_name("pfsread.py")
SECONDS = 300
WRONG = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion",
         "Traceback")


class Bench:
    """A store, and the programs that use it."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        self.store = self.home / "store"
        self.environment = dict(os.environ, HOME=str(self.home), LC_ALL="C.UTF-8",
                                XDG_CONFIG_HOME=str(self.home / "config"),
                                XDG_STATE_HOME=str(self.home / "state"),
                                XDG_CACHE_HOME=str(self.home / "cache"))
        self.environment.pop("PFS_STORE", None)

    def run(self, *words, stdin=None, stdout=subprocess.PIPE):
        done = subprocess.run([os.fspath(w) for w in words], stdin=stdin or subprocess.DEVNULL,
                              stdout=stdout, stderr=subprocess.PIPE, timeout=SECONDS,
                              env=self.environment)
        err = done.stderr.decode(errors="replace")
        assert not any(word in err for word in WRONG), err
        assert done.returncode >= 0, (words, done.returncode, err)
        return done.returncode, done.stdout, err

    def ok(self, *words, **more):
        code, out, err = self.run(*words, **more)
        assert code == 0, (words, code, err)
        return out.decode().rstrip("\n") if out is not None else None

    def pfs(self, *words, **more):
        return self.ok(PFS, *words, **more)

    def fails(self, *words, **more):
        """Wants failure and a sentence; the sentence."""
        code, _, err = self.run(*words, **more)
        assert code != 0, words
        assert err.strip(), words
        return err

    def create(self, repo, *options):
        self.pfs("repo", "create", "--store", self.store, *options, repo)

    def take(self, source, where, *options, **more):
        """Imports; the commit's id."""
        return self.pfs("import", "-q", "--store", self.store, *options, source, where, **more)

    def give(self, what, dest, **more):
        self.pfs("export", "-q", "--store", self.store, what, dest, **more)

    def read(self, *words):
        return self.ok(sys.executable, READER, *words)


@pytest.fixture
def bench(tmp_path):
    b = Bench(tmp_path)
    b.pfs("init", b.store)
    return b


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A bench whose repo R has a tree with everything in it, and that tree."""
    home = tmp_path_factory.mktemp("full")
    b = Bench(home)
    b.pfs("init", b.store)
    b.create("R")
    b.source = home / "source"
    trees.make(os.fsencode(b.source))
    b.commit = b.take(b.source, "R/main", "-n", "first")
    return b
