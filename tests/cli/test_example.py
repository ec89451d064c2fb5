# SPDX-License-Identifier: GPL-3.0-or-later
"""An experiment as it is really done (tests/example), and the questions that are asked of it later:
on two mounts of one store, by root and by a user without privileges."""

import csv
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import PFS, SECONDS, can_mount, mounted, open_to_others
from s3servers import KEYS, MINIO, as_environment, new_url

pytestmark = can_mount

HERE = pathlib.Path(__file__).resolve().parents[1] / "example"
REPOS = "code", "corpus", "features", "results", "report"
MODELS = [f"{model}-{alpha}" for model in ("bayes", "logistic") for alpha in ("1", "100")]
USER = 1234


class Machine:
    """A mount, and somebody who works there."""

    def __init__(self, shell, name, store, user):
        self.shell, self.user, self.top = shell, user, shell.home / name
        self.state = shell.home / f"{name}-state"
        self.top.mkdir()
        shell.ok("mount", "-o", f"allow_other,state={self.state}", store, self.top)
        home = shell.home / f"{name}-home"
        home.mkdir()
        os.chown(home, user, user)
        self.env = dict(shell.environment, HOME=str(home), XDG_CACHE_HOME=str(home),
                        XDG_CONFIG_HOME=str(home), OMP_NUM_THREADS="1",
                        PATH=f"{pathlib.Path(PFS).resolve().parent}:/usr/bin:/bin")
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)

    def do(self, *words, at="code/main"):
        done = subprocess.run([*map(str, words)], cwd=self.top / at, env=self.env, user=self.user,
                              group=self.user, extra_groups=[], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=SECONDS)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def experiment(self, *steps, options=()):
        return self.do("./experiment", *options, self.top, *steps)

    def pfs(self, *words):
        return self.shell.run(*words, cwd=self.top, user=self.user, env=self.env)

    def ask(self, *words):
        """The answer to a question, as a program gets it."""
        return self.shell.json(*words, "--json", cwd=self.top, user=self.user, env=self.env)

    def sync(self):
        for repo in REPOS:
            self.shell.ok("sync", self.top / repo / "main")

    def stop(self):
        if mounted(self.top):
            self.shell.ok("umount", self.top, cwd="/")


def new_store(shell):
    """In a bucket, where there is a server."""
    url = shell.home / "store"
    if MINIO:
        shell.environment.update(as_environment(KEYS))
        url = new_url(MINIO)
    shell.ok("init", url)
    return url


@pytest.fixture
def machines(request, shell):
    """Two machines with the code and the corpus, committed."""
    user, both = request.param, []
    open_to_others(shell)
    store = new_store(shell)
    try:
        one = Machine(shell, "one", store, user)
        both.append(one)
        for repo in REPOS:
            (one.top / repo).mkdir()
            os.chown(one.top / repo / "main", user, user)
        for path in HERE.iterdir():
            if path.is_file():
                shutil.copy(path, one.top / "code/main")
        one.do("python3", "corpus.py", one.top / "corpus/main")
        for repo in REPOS:
            shell.ok("commit", one.top / repo / "main")
        both.append(Machine(shell, "two", store, user))
        yield both
    finally:
        for m in both:
            m.stop()


def runs_of(answer):
    """{name: its line} of the runs in an answer."""
    return {line["run"]["name"]: line for line in answer if isinstance(line.get("run"), dict)}


needs_parallel = pytest.mark.skipif(not shutil.which("parallel"), reason="needs GNU parallel")


@pytest.mark.parametrize("machines, options", [
    pytest.param(0, [], id="root, a loop"),
    pytest.param(USER, ["-j", "4"], id="a user, parallel", marks=needs_parallel),
], indirect=["machines"])
def test_an_experiment_answers_what_is_asked_of_it_later(machines, options):
    one, two = machines
    one.experiment("features", "bayes", options=options)
    two.sync()
    two.experiment("logistic", "table", options=options)
    one.sync()
    with open(one.top / "report/main/table.csv", newline="") as f:
        table = list(csv.DictReader(f))

    # Which run made the table, from what, and that from what?
    made = runs_of(one.ask("why", "report/main/table.csv"))
    assert set(made) == {"table", "features"} | set(MODELS)
    assert {i["path"] for i in made["table"]["inputs"]} == \
        {"code/main/table.py"} | {f"results/main/{m}.json" for m in MODELS}

    # On the other machine the same.
    elsewhere = runs_of(two.ask("why", "report/main/table.csv"))
    assert {name: line["run"]["id"] for name, line in elsewhere.items()} == \
        {name: line["run"]["id"] for name, line in made.items()}

    # Which features are in this .mtx?
    [features] = runs_of(two.ask("why", "features/main/features.mtx")).values()
    assert features["run"]["params"] == {"min-df": 2}
    assert len(features["inputs"]) == 1 + 120
    terms = (two.top / "features/main/terms.txt").read_text().split()
    assert "rocket" in terms
    with open(two.top / "features/main/features.mtx") as f:
        assert f"120 {len(terms)} " in f.read()

    # Which parameters gave this number, and which file has it?
    question = "--where", "metrics.accuracy > 0 and status = ok", "--sort", "-accuracy"
    best = one.ask("runs", *question)
    assert best == two.ask("runs", *question)
    assert sorted(r["name"] for r in best) == sorted(MODELS)
    assert [r["metrics"]["accuracy"] for r in best] == [float(row["accuracy"]) for row in table]
    said = {f"{r['params']['model']}-{r['params']['alpha']}" for r in best}
    assert said == set(MODELS)
    assert [r["name"] for r in one.ask("runs", "results/main/bayes-1.json")] == ["bayes-1"]

    # What is to be made again after the corpus has been put right?
    assert "stale" in one.pfs("uses", "--stale", "corpus/main/space/003.txt").out
    assert not runs_of(one.ask("uses", "--stale", "corpus/main/space/003.txt"))
    one.do("sh", "-c", "echo moon moon launch > space/003.txt", at="corpus/main")
    one.shell.ok("commit", one.top / "corpus/main")
    stale = runs_of(one.ask("uses", "--stale", "corpus/main/space/003.txt"))
    assert set(stale) == {"table", "features"} | set(MODELS)
    two.sync()
    assert set(runs_of(two.ask("uses", "--stale", "corpus/main/space/003.txt"))) == set(stale)

    # That, in order, and nothing else.
    planned = one.ask("run", "--update", "--dry-run")["steps"]
    assert [s["run"]["name"] for s in planned][0] == "features"
    assert planned[0]["reasons"][0]["path"] == "corpus/main/space/003.txt"
    done = one.ask("run", "--update", one.top / "report/main/table.csv")["steps"]
    assert {s["run"]["name"] for s in done} == {"table", "features"} | set(MODELS)
    assert [s["run"]["name"] for s in done][::5] == ["features", "table"]
    assert {s["result"] for s in done} <= {"done", "same"} and done[0]["result"] == "done"
    assert not runs_of(one.ask("uses", "--stale", "corpus/main/space/003.txt"))
    assert one.ask("run", "--update")["steps"] == []

    # And what the table was before is made again as it was, beside it.
    again = one.ask("rerun", made["table"]["run"]["id"])
    assert [c["same"] for c in again["compared"] if c["what"] == "output"] == [True]
