# SPDX-License-Identifier: GPL-3.0-or-later
"""`pfs run --memo`: when a former run stands for a command, and when the command is run."""

import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest

from conftest import PFS, SECONDS, can_mount, on_a_terminal, open_to_others
from recorded import record

pytestmark = can_mount


class Memo:
    """Runs with --memo; each leaves a mark outside of the mount when it is really run."""

    def __init__(self, shell, mount, home):
        self.shell = shell
        self.mount = mount
        self.files = mount / "R/main"
        self.marks = home / "marks"
        self.marks.touch()

    def run(self, script, *words, stdin=subprocess.DEVNULL, **more):
        """Exit code, stdout, stderr, and whether it was run."""
        before = self.marks.stat().st_size
        done = subprocess.run([PFS, "run", "--memo", *words, "sh", "-c",
                               f"echo >> {self.marks}; {script}"],
                              cwd=self.files, env=dict(self.shell.environment, **more.pop("env", {})),
                              stdin=stdin, stdout=more.pop("stdout", subprocess.PIPE),
                              stderr=subprocess.PIPE, text=True, timeout=SECONDS, **more)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        return self.marks.stat().st_size > before

    def commit_without(self, name):
        """Removes a file, in the branch as well."""
        os.unlink(self.files / name)
        self.shell.ok("commit", self.files)

    def start(self, script):
        """The same without waiting for it."""
        return subprocess.Popen([PFS, "run", "--memo", "sh", "-c",
                                 f"echo >> {self.marks}; {script}"], cwd=self.files,
                                env=self.shell.environment, stdin=subprocess.DEVNULL)

    def last(self):
        return record(self.mount)


@pytest.fixture
def memo(shell, mount, repo, tmp_path):
    (repo / "f").write_text("first\n")
    os.mkdir(repo / "d")
    (repo / "d/in").write_text("in\n")
    return Memo(shell, mount, tmp_path)


def test_what_it_made_is_there_again_and_nothing_is_run(memo):
    script = "cat f > g; cat f; echo no >&2"
    assert memo.run(script)
    first = memo.last()
    memo.commit_without("g")
    assert not memo.run(script)
    assert (memo.code, memo.out, memo.err) == (0, "first\n", "no\n")
    assert (memo.files / "g").read_text() == "first\n"
    again = memo.last()
    assert again["status"] == "ok" and again["exit"] == 0
    assert again["memo"] == {"key": first["memo"]["key"], "of": first["id"]}
    assert again["tree"] == first["tree"] and again["output"] == first["output"]


def test_who_sits_at_a_terminal_is_told_that_nothing_was_run(memo, shell):
    words = ("run", "--memo", "cat", "f")
    text, code = on_a_terminal(shell, words, cwd=memo.files)
    assert (text.splitlines(), code) == (["first"], 0)
    first = memo.last()["id"]
    text, code = on_a_terminal(shell, words, cwd=memo.files)
    assert code == 0 and "first" in text and f"nothing was run: run {first} did the same" in text
    assert f"Repeats:  {first}" in \
        shell.ok("runs", "show", memo.last()["id"], cwd=memo.files)


def test_all_that_it_printed_is_printed(memo):
    script = r"seq 100000; printf 'a\000\377'"
    assert memo.run(script + " | od") and not memo.run(script + " | od")
    assert memo.run("seq 100000; seq 3 >&2")
    whole = memo.out, memo.err
    assert not memo.run("seq 100000; seq 3 >&2")
    assert (memo.out, memo.err) == whole and len(memo.out) > 200000


@pytest.mark.parametrize("script, change", [
    ("cat f", lambda m: (m.files / "f").write_text("second\n")),
    ("test -e f", lambda m: os.chmod(m.files / "f", 0o600)),
    ("test -e none || true", lambda m: (m.files / "none").touch()),
    ("ls d", lambda m: (m.files / "d/more").touch()),
    ("cat d/*", lambda m: (m.files / "d/in").write_text("other\n")),
    ("stat d/* | grep -c File", lambda m: os.chmod(m.files / "d/in", 0o600)),
    ("cat d/in", lambda m: os.rename(m.files / "d", m.files / "e") or os.mkdir(m.files / "d")
        or (m.files / "d/in").write_text("other\n")),
    ("rmdir d || true", lambda m: os.unlink(m.files / "d/in")),
    ("mkdir e; mv -T e d || true", lambda m: os.unlink(m.files / "d/in")),
    ("mv d e", lambda m: os.rename(m.files / "e", m.files / "d")
        or (m.files / "d/more").touch()),
    ("ls ../..", lambda m: os.mkdir(m.mount / "S")),
    ("ls ..", lambda m: os.mkdir(m.mount / "R/other")),
    ("ls ../other 2>&1 || true", lambda m: os.mkdir(m.mount / "R/other")),
    ("ls ../../S 2>&1 || true", lambda m: os.mkdir(m.mount / "S")),
])
def test_it_is_run_when_something_it_saw_is_another(memo, script, change):
    assert memo.run(script)
    change(memo)
    assert memo.run(script), script


@pytest.mark.parametrize("other", ["d", "e"])
def test_an_exchange_depends_on_all_that_is_in_either(memo, other):
    os.mkdir(memo.files / "e")
    (memo.files / "e/x").touch()
    swap = "import ctypes; assert not ctypes.CDLL(None).renameat2(-100, b'd', -100, b'e', 2)"
    script = f'python3 -c "{swap}"'
    back = [sys.executable, "-c", swap]
    assert memo.run(script) and memo.code == 0, memo.err
    subprocess.run(back, cwd=memo.files, check=True)
    assert not memo.run(script)
    assert (memo.files / "d/x").exists()
    subprocess.run(back, cwd=memo.files, check=True)
    (memo.files / other / "more").touch()
    assert memo.run(script)


def test_what_it_did_not_look_at_may_be_another(memo):
    assert memo.run("cat d/in > out")
    (memo.files / "f").write_text("second\n")
    (memo.files / "d/other").touch()
    memo.commit_without("out")
    assert not memo.run("cat d/in > out")
    assert (memo.files / "out").read_text() == "in\n"
    assert (memo.files / "f").read_text() == "second\n"


def test_a_file_that_came_back_holds_again(memo):
    assert memo.run("cat f")
    (memo.files / "f").write_text("second\n")
    assert memo.run("cat f")
    (memo.files / "f").write_text("first\n")
    assert not memo.run("cat f") and memo.out == "first\n"


@pytest.mark.parametrize("look, make", [
    ("ls ../other/f 2> /dev/null", lambda m: os.mkdir(m.mount / "R/other")),
    ("ls ../../S/main 2> /dev/null", lambda m: os.mkdir(m.mount / "S")),
    ("ls -d ../*", lambda m: os.mkdir(m.mount / "R/other")),
    ("ls -d ../../*", lambda m: os.mkdir(m.mount / "S")),
])
def test_what_came_while_it_was_run_was_not_there_at_first(memo, shell, tmp_path, look, make):
    shell.ok("commit", memo.files)
    asked, made = tmp_path / "asked", tmp_path / "made"
    script = (f"{look} > /dev/null && echo found $({look}); : > {asked}; "
              f"while [ ! -e {made} ]; do sleep 0.01; done; {look} | cat")

    def come():
        while not asked.exists():
            time.sleep(0.01)
        make(memo)
        made.touch()

    coming = threading.Thread(target=come)
    coming.start()
    assert memo.run(script), memo.err
    first = memo.out
    coming.join()
    assert memo.run(script) and memo.out != first


def test_a_name_that_leads_to_another_commit_is_another(memo, shell):
    os.mkdir(memo.mount / "R/commits/v")
    assert memo.run("cat ../v/f") and not memo.run("cat ../v/f")
    (memo.files / "f").write_text("second\n")
    os.rmdir(memo.mount / "R/commits/v")
    os.mkdir(memo.mount / "R/commits/v")
    assert memo.run("cat ../v/f") and memo.out == "second\n"


def test_other_words_environment_or_umask_are_another_command(memo):
    assert memo.run("echo $LANG")
    assert memo.run("echo  $LANG")
    assert memo.run("echo $LANG", env={"LANG": "C"})
    assert memo.run("echo $LANG", "--out", "R/main")
    assert memo.run("echo $LANG", umask=0o77)
    assert not memo.run("echo $LANG")


def test_a_file_elsewhere_that_an_argument_names_counts(memo, tmp_path):
    outside = tmp_path / "outside"
    words = [PFS, "run", "--memo", "sh", "-c", f"echo >> {memo.marks}; cat $0", outside]
    for text, count in (("1", 1), ("1", 1), ("2", 2)):
        outside.write_text(text)
        done = subprocess.run(words, cwd=memo.files, env=memo.shell.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=SECONDS)
        assert done.stdout == text and memo.marks.stat().st_size == count


def test_a_command_that_failed_is_run_again(memo):
    assert memo.run("exit 3") and memo.code == 3
    assert memo.run("exit 3") and memo.code == 3
    assert "memo" not in memo.last()


def test_stdin_from_a_file_counts_by_its_content(memo):
    with open(memo.files / "f") as f:
        assert memo.run("cat", stdin=f)
        assert f.seek(0, os.SEEK_CUR) == 0
        assert not memo.run("cat", stdin=f) and memo.out == "first\n"
    (memo.files / "f").write_text("second\n")
    with open(memo.files / "f") as f:
        assert memo.run("cat", stdin=f) and memo.out == "second\n"


def test_a_pipe_as_stdin_is_said_to_be_in_the_way(memo):
    for _ in range(2):
        r, w = os.pipe()
        os.write(w, b"piped\n")
        os.close(w)
        assert memo.run("cat", stdin=r) and memo.out == "piped\n"
        assert "cannot be repeated" in memo.err and "stdin" in memo.err
        os.close(r)


def test_who_leaves_a_process_behind_is_run_again(memo, tmp_path):
    script = "sleep 1 > /dev/null 2>&1 & true"
    assert memo.run(script) and memo.run(script)


def test_who_starts_another_run_or_asks_the_mount_is_run_again(memo):
    for script in (f"{PFS} run true", f"{PFS} status", "ls ../commits"):
        assert memo.run(script) and memo.run(script), script


def test_output_into_a_file_is_written_again(memo, tmp_path):
    for n in range(2):
        with open(tmp_path / "log", "w") as log:
            assert memo.run("cat f; echo err", stdout=log) == (n == 0)
        assert (tmp_path / "log").read_text() == "first\nerr\n"


def test_an_output_that_is_another_now_is_made_again(memo, shell):
    assert memo.run("echo new > made")
    (memo.files / "made").write_text("mine\n")
    shell.ok("commit", memo.files)
    assert memo.run("echo new > made")
    assert (memo.files / "made").read_text() == "new\n"


def test_it_holds_in_the_next_mount_and_without_the_index(memo, mount):
    assert memo.run("cat f")
    mount.stop()
    for path in (mount.state / "index").rglob("*"):
        if path.is_file():
            path.unlink()
    mount.start()
    assert not memo.run("cat f") and memo.out == "first\n"


def test_a_record_that_is_damaged_does_no_harm(memo, mount):
    assert memo.run("cat f")
    for path in pathlib.Path(mount.store).glob("runs/*/*.end"):
        os.chmod(path, 0o600)
        path.write_text("{")
    assert memo.run("cat f") and memo.out == "first\n"


def test_a_repetition_of_a_repetition_names_the_run_that_ran(memo):
    assert memo.run("cat f")
    first = memo.last()["id"]
    assert not memo.run("cat f") and not memo.run("cat f")
    assert memo.last()["memo"]["of"] == first


# ---- what it leaves ----

def restore(memo):
    """What the fixture has made is there again, and committed, and nothing else."""
    for name in os.listdir(memo.files):
        path = memo.files / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (memo.files / "f").write_text("first\n")
    os.mkdir(memo.files / "d")
    (memo.files / "d/in").write_text("in\n")


def there_is(memo):
    """What there is: modes, and what is in files."""
    return {str(p.relative_to(memo.files)): (p.stat().st_mode, p.is_file() and p.read_bytes())
            for p in memo.files.rglob("*")}


@pytest.mark.parametrize("is_committed", [True, False])
@pytest.mark.parametrize("script", [
    "rm f d/in", "rm -r d", "mkdir -p n/m", "chmod 600 f; chmod 700 d", "ln f g",
    "rm -r d; echo now a file > d", "rm f; mkdir f", "ln -s ../f d/s",
    "mkdir n; echo kept > n/a; echo away > n/a~; echo away > d/b~",
])
def test_what_it_did_is_done_again(memo, shell, script, is_committed):
    assert memo.run(script)
    made = there_is(memo)
    restore(memo)
    if is_committed:
        shell.ok("commit", memo.files)
    assert not memo.run(script) and memo.code == 0, memo.err
    assert there_is(memo) == made


def test_a_directory_is_moved_again(memo):
    assert memo.run("mv d e")
    os.rename(memo.files / "e", memo.files / "d")
    assert not memo.run("mv d e")
    assert (memo.files / "e/in").read_text() == "in\n" and not (memo.files / "d").exists()


def test_who_writes_nothing_moves_nothing(memo):
    before = os.getxattr(memo.files, "user.pfs.commit")
    assert memo.run("cat f") and not memo.run("cat f")
    assert memo.last()["outputs"] == []
    assert os.getxattr(memo.files, "user.pfs.commit") == before


def test_it_writes_where_out_says(memo, shell):
    shell.ok("commit", memo.files)
    os.mkdir(memo.mount / "R/other")
    for n in range(2):
        assert memo.run("cat f > ../other/g", "--out", "R/other") == (n == 0) and memo.code == 0
        assert (memo.mount / "R/other/g").read_text() == "first\n"
        os.unlink(memo.mount / "R/other/g")
        shell.ok("commit", memo.mount / "R/other")
    assert [o["branch"] for o in memo.last()["outputs"]] == ["other"]


def test_what_it_told_of_itself_is_told_again(memo):
    script = (f"echo lr=0.5 >> $PFS_RUN/params; {PFS} param deep=true; "
              f"echo acc=0.75 >> $PFS_RUN/metrics; {PFS} metric loss=1 --step 2; cat f")
    assert memo.run(script)
    first = memo.last()
    assert {p["key"] for p in first["params"]} >= {"lr", "deep"}
    assert not memo.run(script)
    again = memo.last()
    assert again["id"] != first["id"]
    assert again["params"] == first["params"] and again["metrics"] == first["metrics"]


def test_equal_ones_at_once_do_no_harm(memo, shell):
    script = "mkdir n; cat f > n/out; sleep 0.2"
    for was_run in (True, False):
        both = [memo.start(script) for _ in range(2)]
        assert [p.wait(SECONDS) for p in both] == [0, 0]
        assert (memo.files / "n/out").read_text() == "first\n"
        if was_run:
            marks = memo.marks.read_text()
            restore(memo)
            shell.ok("commit", memo.files)
    assert memo.marks.read_text() == marks


def test_a_conflict_keeps_what_it_made(memo, shell, mount, tmp_path):
    """The head stays behind its branch, for a file that is open in it."""
    assert memo.run("echo mine > g")
    memo.commit_without("g")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shell.ok("mount", "-o", f"state={tmp_path}/other-state", mount.store, elsewhere)
    try:
        with open(memo.files / "f", "a"):
            (elsewhere / "R/main/g").write_text("theirs\n")
            shell.ok("commit", elsewhere / "R/main")
            assert not memo.run("echo mine > g")
    finally:
        shell.ok("umount", elsewhere)
    assert memo.code == 3 and "run-" in memo.err
    end = memo.last()
    assert end["status"] == "unpublished" and end["memo"]["of"] != end["id"]
    assert (mount / "R" / end["outputs"][0]["kept"] / "g").read_text() == "mine\n"


def test_who_may_not_enter_the_repo_any_more_repeats_nothing(memo, shell, mount):
    mount.stop()
    mount.start("allow_other")
    open_to_others(shell)
    os.chmod(memo.files / "d", 0o777)
    out = memo.files / "d/out"
    script = ["runuser", "-u", "nobody", "--", PFS, "run", "--memo", "--mount", str(mount.path), "--",
              "cp", str(memo.files / "f"), str(out)]

    def copy():
        return subprocess.run(script, cwd="/", env=dict(shell.environment, HOME="/nonexistent"),
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)

    for _ in range(2):
        done = copy()
        assert done.returncode == 0, done.stderr
        assert out.read_text() == "first\n"
        os.unlink(out)
        shell.ok("commit", memo.files)
    assert "of" in memo.last()["memo"]
    os.chmod(mount / "R", 0o700)
    assert copy().returncode != 0
    assert not out.exists()
