# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs as people use them, in a head."""

import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys

import pytest
from conftest import commit
from test_commits import make_one_of_each, tree

PYTHON = "/usr/bin/python3"


def run(*words, cwd=None, **kw):
    done = subprocess.run([str(w) for w in words], cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **kw)
    assert done.returncode == 0, done.stdout
    return done.stdout


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason="%s is not installed" % program)


def store_bytes(mount):
    return sum(p.stat().st_size for p in mount.store.rglob("*") if p.is_file())


def test_tar_packs_and_unpacks_everything(mount, repo):
    make_one_of_each(repo)
    one = commit(mount, "one")
    tar = mount.base / "t.tar"
    run("tar", "--xattrs", "--acls", "--sparse", "-cf", tar, ".", cwd=one)
    (repo / "copy").mkdir()
    run("tar", "--xattrs", "--acls", "--sparse", "--numeric-owner", "-xpf", tar, cwd=repo / "copy")
    before, after = tree(one), tree(repo / "copy")
    # Blocks of a sparse file may lie differently; tar keeps no times finer than its format.
    assert {k: v[:4] for k, v in before.items()} == {k: v[:4] for k, v in after.items()}
    run("tar", "-df", tar, cwd=repo / "copy")


@needs("rsync")
def test_rsync_copies_everything_and_then_nothing(mount, repo):
    (repo / "from").mkdir()
    make_one_of_each(repo / "from")
    run("rsync", "-aHAXS", "from/", "to/", cwd=repo)
    before, after = tree(repo / "from"), tree(repo / "to")
    assert {k: v[:4] + v[-1:] for k, v in before.items()} == {k: v[:4] + v[-1:] for k, v in after.items()}
    assert os.stat(repo / "to/hard").st_nlink == 2
    out = run("rsync", "-aHAXS", "--itemize-changes", "--checksum", "from/", "to/", cwd=repo)
    assert out == ""
    one = commit(mount, "one")
    assert run("rsync", "-aHAXS", "-n", "-i", "--checksum", "%s/from/" % one, "to/", cwd=repo) == ""


def test_cp_a_copies_everything(mount, repo):
    (repo / "from").mkdir()
    make_one_of_each(repo / "from")
    run("cp", "-a", "from", "to", cwd=repo)
    assert tree(repo / "from") == tree(repo / "to")
    one = commit(mount, "one")
    os.mkdir(mount / "S")
    run("cp", "-a", one / "from", mount / "S/main/from")
    assert tree(mount / "S/main/from") == tree(one / "from")


def test_cp_between_heads_commits_and_repos_stores_nothing_twice(mount, repo):
    (repo / "f").write_bytes(os.urandom(64 << 20))
    one = commit(mount, "one")
    os.mkdir(mount / "R/b")
    os.mkdir(mount / "S")
    before = store_bytes(mount)
    for place, snapshot in [("R/main/g", "R/commits/two"), ("R/b/g", "R/commits/b@three"),
                            ("S/main/g", "S/commits/four")]:
        run("cp", one / "f", mount / place)
        os.mkdir(mount / snapshot)
        assert os.path.getsize(mount / place) == 64 << 20
    run("cp", mount / "S/main/g", repo / "h")
    run("cmp", repo / "h", one / "f")
    commit(mount, "five")
    assert store_bytes(mount) - before < 64 << 10


@needs("git")
def test_git_in_a_head(mount, repo):
    env = dict(os.environ, GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b", GIT_COMMITTER_NAME="a",
               GIT_COMMITTER_EMAIL="a@b", GIT_CONFIG_GLOBAL="/dev/null", HOME="/nonexistent")

    def git(*words):
        return run("git", *words, cwd=repo / "g", env=env)

    run("git", "init", "-q", "-b", "main", repo / "g", env=env)
    for i in range(200):
        (repo / "g" / ("f%d" % i)).write_text("line %d\n" % i * 50)
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("checkout", "-q", "-b", "side")
    for i in range(0, 200, 3):
        (repo / "g" / ("f%d" % i)).write_text("changed %d\n" % i)
    git("commit", "-q", "-a", "-m", "two")
    one = commit(mount, "one")
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "merge", "side")
    git("gc", "-q", "--aggressive", "--prune=now")
    assert "missing" not in git("fsck", "--full", "--strict")
    assert git("status", "--porcelain") == ""
    assert (repo / "g/f3").read_text() == "changed 3\n"
    clone = mount.base / "clone"
    run("git", "-c", "safe.directory=*", "clone", "-q", "--no-local", one / "g", clone, env=env)
    assert (clone / "f3").read_text() == "changed 3\n"


@pytest.mark.parametrize("mode", ["delete", "wal", "truncate", "persist"])
def test_sqlite_keeps_a_database(mount, repo, mode):
    path = repo / "db"
    db = sqlite3.connect(path)
    assert db.execute("pragma journal_mode=%s" % mode).fetchone()[0] == mode
    db.execute("create table t (n integer primary key, s text)")
    for i in range(20):
        with db:
            db.executemany("insert into t (s) values (?)", [("row %d" % i,)] * 100)
    other = sqlite3.connect(path)
    assert other.execute("select count(*) from t").fetchone()[0] == 2000
    with other:
        other.execute("delete from t where n % 2")
    one = commit(mount, "one")
    with db:
        db.execute("insert into t (s) values ('later')")
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    other.close()
    db.close()
    # The commit, taken in the middle of it all, is a database too.
    copy = mount.base / "copy"
    copy.mkdir()
    for name in os.listdir(one):
        shutil.copy(one / name, copy / name)
    db = sqlite3.connect(copy / "db")
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    assert db.execute("select count(*) from t").fetchone()[0] == 1000
    db.close()


def test_sqlite_finds_its_database_after_a_kill(mount, repo):
    code = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("pragma journal_mode=wal")
db.execute("pragma synchronous=full")
db.execute("create table t (n integer)")
n = 0
while True:
    with db:
        db.execute("insert into t values (?)", (n,))
    n += 1
    print(n, flush=True)
"""
    writer = subprocess.Popen([PYTHON, "-c", code, str(repo / "db")], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    for line in writer.stdout:
        if int(line) == 100:
            break
    mount.kill()
    last = max([100] + [int(x) for x in writer.stdout.read().split()])
    writer.wait()
    mount.start()
    db = sqlite3.connect(repo / "db")
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    count = db.execute("select count(*) from t").fetchone()[0]
    assert last <= count <= last + 1
    db.close()


def test_python_imports_from_a_tree_and_from_a_zip(mount, repo):
    package = repo / "lib/pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .m import f\n")
    (package / "m.py").write_text("def f(): return 42\n")
    assert run(PYTHON, "-c", "import pkg; print(pkg.f())", env={"PYTHONPATH": str(repo / "lib")}) == "42\n"
    assert (package / "__pycache__").is_dir()
    run(PYTHON, "-m", "zipfile", "-c", repo / "l.zip", "pkg", cwd=repo / "lib")
    one = commit(mount, "one")
    for place in ("%s/lib" % one, "%s/l.zip" % one, "%s/l.zip" % repo):
        assert run(PYTHON, "-c", "import pkg; print(pkg.f())", env={"PYTHONPATH": place}) == "42\n"


def test_a_virtual_environment_works(mount, repo):
    if subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(repo / "v")]).returncode:
        pytest.skip("there is no venv")
    assert run(repo / "v/bin/python", "-c", "import sys; print(sys.prefix)").strip() == str(repo / "v")


@needs("gcc")
@needs("make")
def test_make_builds_a_project_and_knows_when_it_is_done(mount, repo):
    p = repo / "p"
    p.mkdir()
    names = ["m%d" % i for i in range(8)]
    for name in names:
        (p / (name + ".c")).write_text('#include "all.h"\nint %s(void) { return N; }\n' % name)
    (p / "all.h").write_text("#define N 1\n" + "".join("int %s(void);\n" % n for n in names))
    (p / "main.c").write_text(
        '#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%%d\\n", %s); }\n'
        % " + ".join(n + "()" for n in names)
    )
    (p / "Makefile").write_text(
        "OBJS = %s main.o\nCFLAGS = -O1 -g -MMD\nprog: $(OBJS)\n\t$(CC) -o $@ $(OBJS)\n-include *.d\n"
        % " ".join(n + ".o" for n in names)
    )
    run("make", "-j4", "-s", cwd=p)
    assert run(p / "prog") == "8\n"
    assert "up to date" in run("make", cwd=p)
    commit(mount, "one")
    assert "up to date" in run("make", cwd=p)
    (p / "all.h").write_text((p / "all.h").read_text().replace("N 1", "N 2"))
    run("make", "-j4", "-s", cwd=p)
    assert run(p / "prog") == "16\n"
    assert run(mount / "R/one/p/prog") == "8\n"


def test_sort_and_find_and_grep_and_sed(mount, repo):
    lines = ["%06d" % (i * 7919 % 100_000) for i in range(100_000)]
    (repo / "lines").write_text("\n".join(lines) + "\n")
    run("sort", "-S", "1M", "-T", ".", "-o", "lines", "lines", cwd=repo)
    assert (repo / "lines").read_text().split() == sorted(lines)
    for d in "abc":
        (repo / d).mkdir()
        for i in range(30):
            (repo / d / ("f%d" % i)).write_text("the answer is %d\n" % i)
    assert len(run("find", ".", "-name", "f*", "-newer", "lines", cwd=repo).split()) == 90
    assert run("grep", "-rl", "is 17$", ".", cwd=repo).split() != []
    run("sed", "-i", "s/answer/question/", *(repo / "a" / ("f%d" % i) for i in range(30)))
    assert (repo / "a/f29").read_text() == "the question is 29\n"
    run("find", ".", "-name", "f1*", "-delete", cwd=repo)
    assert len(os.listdir(repo / "b")) == 30 - 11
    assert os.listdir(pathlib.Path(repo)).count("lines") == 1
