# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of all kinds as runs: what each reads and makes is known, and what it does works."""

import os
import shutil
import subprocess

import pytest

from conftest import can_mount
from recorded import record

pytestmark = can_mount

C = r"""
#include <stdio.h>
#include <sys/mman.h>
#include <fcntl.h>
#include <unistd.h>

int main(void)
{
	int in = open("in", O_RDONLY), out = open("out", O_RDWR | O_CREAT, 0644);
	char *from = mmap(NULL, 4, PROT_READ, MAP_PRIVATE, in, 0), *to;

	if (ftruncate(out, 4) < 0)
		return 1;
	to = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
	for (int i = 0; i < 3; i++)
		to[i] = from[i] - 'a' + 'A';
	to[3] = from[3];
	return 0;
}
"""

JAVA = r"""
import java.nio.file.*;

class Upper {
	public static void main(String[] args) throws Exception {
		Files.writeString(Path.of("out"), Files.readString(Path.of("in")).toUpperCase());
	}
}
"""

# {name: (what it needs, its files, how it is built outside of the run, the command)}: each makes
# out, the letters of in as capitals.
LANGUAGES = {
    "C, static, mapped": ("gcc", {"upper.c": C}, "gcc -static -O1 -o upper upper.c", "./upper"),
    "Python": ("python3", {"upper.py": 'open("out", "w").write(open("in").read().upper())\n'},
               "", "/usr/bin/python3 upper.py"),
    "Perl": ("perl", {"upper.pl": 'open I, "in"; open O, ">out"; print O uc while <I>;\n'},
             "", "perl upper.pl"),
    "bash": ("bash", {"upper.sh": '#!/bin/bash\nread -r x < in; echo "${x^^}" > out\n'},
             "chmod 755 upper.sh", "./upper.sh"),
    "awk": ("awk", {"upper.awk": '{ print toupper($0) > "out" }\n'}, "", "awk -f upper.awk in"),
    "R": ("Rscript", {"upper.R": 'writeLines(toupper(readLines("in")), "out")\n'},
          "", "Rscript upper.R"),
    "Java": ("javac", {"Upper.java": JAVA}, "javac Upper.java; rm Upper.java",
             "java -XX:+UseSerialGC -Xshare:auto Upper"),
}


def sources(files, given, build):
    (files / "in").write_text("abc\n")
    for name, text in given.items():
        (files / name).write_text(text)
    if build:
        subprocess.run(["sh", "-ec", build], cwd=files, check=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_program_reads_and_makes_is_known(shell, mount, repo, language):
    program, given, build, command = LANGUAGES[language]
    if not shutil.which(program):
        pytest.skip(f"needs {program}, which is too large to be installed for this")
    sources(repo, given, build)
    before = set(os.listdir(repo))
    done = shell.run("run", *command.split(), cwd=repo)
    assert done.code == 0, done.err
    assert (repo / "out").read_text() == "ABC\n"
    place, made = shell.json("why", "--json", "out", cwd=repo)
    read = {i["path"] for i in made["inputs"]}
    # The source of what is built was not read.
    own = {name for name in before if not name.endswith(".c")} | {"in"}
    assert read == {f"R/main/{name}" for name in own}
    environment = record(mount)["environment"]
    path = environment["executable"]["path"]
    assert os.path.basename(path) == os.path.basename(command.split()[0])
    for kind in {"Python": ["python"], "R": ["r"]}.get(language, []):
        assert environment["packages"][kind]["count"] > 0


def python(shell, repo, text, **more):
    (repo / "program.py").write_text(text)
    return shell.run("run", "python3", "program.py", cwd=repo, **more)


def inputs_of(shell, repo, name):
    place, made = shell.json("why", "--json", name, cwd=repo)[:2]
    return {i["path"] for i in made["inputs"]}


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_what_workers_of_a_pool_read_and_make_is_the_runs(shell, repo, how):
    for n in range(20):
        (repo / f"{n}.in").write_text(f"{n}\n")
    done = python(shell, repo, f"""
import multiprocessing

def work(n):
    with open(f"{{n}}.in") as i, open(f"{{n}}.out", "w") as o:
        o.write(str(int(i.read()) ** 2))
    return n

if __name__ == "__main__":
    multiprocessing.set_start_method({how!r})
    with multiprocessing.Pool(4) as pool:
        assert sum(pool.map(work, range(20))) == 190
""")
    assert done.code == 0, done.err
    assert [(repo / f"{n}.out").read_text() for n in range(20)] == [str(n * n) for n in range(20)]
    assert inputs_of(shell, repo, "7.out") == \
        {"R/main/program.py", *(f"R/main/{n}.in" for n in range(20))}


def test_arrays_that_are_mapped_are_read_and_made(shell, repo):
    pytest.importorskip("numpy")
    setup = "import numpy; numpy.save('in.npy', numpy.arange(1 << 18))"
    subprocess.run(["/usr/bin/python3", "-c", setup], cwd=repo, check=True)
    done = shell.run("run", "/usr/bin/python3", "-c", """
import numpy
a = numpy.load("in.npy", mmap_mode="r")
b = numpy.memmap("out.dat", dtype="int64", mode="w+", shape=a.shape)
b[:] = a[::-1]
b.flush()
c = numpy.memmap("out.dat", dtype="int64", mode="r+", shape=a.shape)
c[0] = -1
del c
""", cwd=repo)
    assert done.code == 0, done.err
    assert inputs_of(shell, repo, "out.dat") == {"R/main/in.npy"}
    out = (repo / "out.dat").read_bytes()
    numbers = [int.from_bytes(out[i:i + 8], "little", signed=True) for i in range(0, len(out), 8)]
    assert numbers == [-1, *range((1 << 18) - 2, -1, -1)]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_that_several_processes_write_is_whole(shell, repo, mode):
    done = python(shell, repo, f"""
import multiprocessing, sqlite3

def work(n):
    db = sqlite3.connect("db", timeout=100, isolation_level=None)
    for i in range(20):
        db.execute("begin immediate")
        [[old]] = db.execute("select sum(n) from t")
        db.execute("update t set n = ?", (old + 1,))
        db.execute("commit")
    db.close()

if __name__ == "__main__":
    db = sqlite3.connect("db")
    assert db.execute("pragma journal_mode={mode}").fetchone() == ({mode!r},)
    db.execute("create table t(n)")
    db.execute("insert into t values (0)")
    db.commit()
    db.close()
    with multiprocessing.Pool(4) as pool:
        pool.map(work, range(4))
""")
    assert done.code == 0, done.err
    shell.ok("run", "sqlite3", "db", "select n from t", cwd=repo)
    found = shell.ok("run", "sqlite3", "db", "pragma integrity_check; select n from t", cwd=repo)
    assert found == "ok\n80"


def test_a_clone_is_worked_on_and_pushed_back(shell, repo):
    """All of it in a run each: what one has committed is what the next one clones."""
    def step(script):
        done = shell.run("run", "sh", "-ec", script, cwd=repo, env={
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a", "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@a"})
        assert done.code == 0, done.err
        return done.out

    step("git init -q --bare -b trunk origin; git clone -q origin one; cd one;"
         "git checkout -qb trunk; seq 1000 > a; git add a; git commit -qm first;"
         "git push -q origin trunk")
    step("git clone -q origin two; cd two; echo more >> a; git commit -qam second; git push -q")
    assert step("cd one; git pull -q; git fsck --strict; git log --format=%s") == "second\nfirst\n"
    assert (repo / "one/a").read_text().endswith("1000\nmore\n")
    assert subprocess.run(["git", "-C", repo / "two", "status", "--short"], check=True,
                          stdout=subprocess.PIPE).stdout == b""


def test_a_project_is_unpacked_built_tested_and_packed(shell, repo):
    (repo / "src").mkdir()
    (repo / "src/m.c").write_text('#include "m.h"\nint main(void) { return ANSWER - 42; }\n')
    (repo / "src/m.h").write_text("#define ANSWER 42\n")
    (repo / "src/Makefile").write_text("m: m.o\n\tcc -o m m.o\nm.o: m.c m.h\n\tcc -c -o m.o m.c\n"
                                       "check: m\n\t./m\n")
    done = shell.run("run", "sh", "-ec",
                     "tar czf src.tgz src; mkdir b; tar xzf src.tgz -C b; make -s -C b/src check;"
                     "make -C b/src -q m; rsync -a b/src/ dist/; tar czf dist.tgz dist", cwd=repo)
    assert done.code == 0, done.err
    shell.ok("run", "make", "-C", "b/src", "-q", "m", cwd=repo)
    assert subprocess.run([repo / "dist/m"], check=False).returncode == 0
    assert inputs_of(shell, repo, "dist.tgz") == \
        {f"R/main/src/{name}" for name in ("m.c", "m.h", "Makefile")}


def test_a_program_that_is_the_output_of_a_run_is_an_input_of_the_next(shell, repo):
    (repo / "m.c").write_text('#include <stdio.h>\nint main(void) { puts("made"); }\n')
    shell.ok("run", "-n", "build", "gcc", "-o", "m", "m.c", cwd=repo)
    shell.ok("run", "-n", "use", "sh", "-c", "./m > out", cwd=repo)
    answer = shell.json("why", "--json", "out", cwd=repo)
    assert [a["run"]["name"] for a in answer if isinstance(a["run"], dict)] == ["use", "build"]
    assert (repo / "out").read_text() == "made\n"


def test_ten_thousand_small_files_are_there_at_once(shell, mount, repo):
    shell.ok("run", "sh", "-c", "mkdir many; seq 10000 | split -l 1 -a 3 - many/", cwd=repo)
    assert len(os.listdir(repo / "many")) == 10000
    assert record(mount)["status"] == "ok"
