# SPDX-License-Identifier: GPL-3.0-or-later
"""`pfs run`: what a command in a view sees, what is recorded of it, and how pfs stands for it."""

import json
import os
import pty
import select
import signal
import subprocess
import threading
import time

import pytest

from conftest import PFS, SECONDS, can_mount, open_to_others
from recorded import params, record, records, wait_for

pytestmark = can_mount


def start(shell, files, *words, **more):
    return subprocess.Popen([PFS, "run", *map(os.fspath, words)],
                            env=dict(shell.environment, **more.pop("env", {})),
                            cwd=more.pop("cwd", files), stdout=more.pop("stdout", subprocess.PIPE),
                            stderr=more.pop("stderr", subprocess.PIPE), **more)


def run(shell, files, *words, **more):
    return shell.run("run", *words, cwd=more.pop("cwd", files), **more)


# ---- what the command sees and makes ----

def test_paths_are_what_they_were(shell, files):
    done = run(shell, files, "sh", "-c", "pwd; cat f; cat $1", "sh", files / "f")
    assert done.out == f"{files}\nfirst\nfirst\n"


def test_what_it_writes_is_there_when_it_has_ended(shell, mount, files):
    assert run(shell, files, "sh", "-c", "cat f > g; ls").code == 0
    assert (files / "g").read_text() == "first\n"
    assert record(mount)["status"] == "ok"
    assert record(mount)["outputs"][0]["published"]


def test_what_it_writes_comes_as_soon_as_a_file_is_not_open_for_writing_any_more(shell, files):
    (files / "log").write_text("0\n")
    shell.ok("commit", files)
    with open(files / "log", "a"):
        (files / "f").unlink()
        assert run(shell, files, "sh", "-c", "echo 1 > log; echo again > f; echo x > g").code == 0
        assert sorted(os.listdir(files)) == ["log"]
    shell.ok("commit", files)
    assert {p.name: p.read_text() for p in files.iterdir()} == {
        "f": "again\n", "g": "x\n", "log": "1\n"}
    assert "diverged" not in shell.ok("status", files)


def test_status_in_it_tells_of_what_it_has_changed(shell, mount, files, tmp_path):
    shell.ok("commit", files)
    (files / "mine").write_text("uncommitted\n")
    go, asked, again = (tmp_path / name for name in ("go", "asked", "again"))
    os.mkfifo(go)
    p = start(shell, files, "sh", "-c",
              f"{PFS} status > {again}; echo begun; read x < {go}; mkdir d; echo made > d/g; rm f;"
              f"{PFS} status >> {again}; {PFS} status --json d > {asked}")
    assert p.stdout.readline() == b"begun\n"
    (files / "theirs").write_text("since\n")
    shell.ok("commit", files)
    go.write_text("go\n")
    assert p.wait(timeout=SECONDS) == 0
    said = json.loads(asked.read_text())
    assert said["run"] == record(mount)["id"]
    assert said["base"] == record(mount)["outputs"][0]["pinned"] and not said["is_behind"]
    assert [(c["change"], c["path"]) for c in said["changes"]] == [("added", "g")]
    first, nothing, second, changed, *changes = again.read_text().splitlines()
    assert f"R/main in the run {said['run']}, which found it at {said['base']}" == first == second
    assert nothing == "It has changed nothing." and changed == "It has changed:"
    assert [c.split() for c in changes] == [["A", "d/"], ["D", "f"]]
    assert "run" not in shell.json("status", "--json", files)


def test_diff_and_show_in_it_tell_of_what_it_sees(shell, files, tmp_path):
    shell.ok("commit", "--name", "first", files)
    go = tmp_path / "go"
    os.mkfifo(go)
    p = start(shell, files, "sh", "-c", f"echo begun; read x < {go}; echo made > g;"
                                        f"{PFS} diff first main; {PFS} show --json g")
    assert p.stdout.readline() == b"begun\n"
    (files / "theirs").write_text("since\n")
    go.write_text("go\n")
    out = p.communicate(timeout=SECONDS)[0].decode()
    [difference, shown] = out.split("\n", 1)
    assert difference.split() == ["A", "g"]
    assert json.loads(shown)["entry"]["size"] == len("made\n")


def test_of_a_branch_that_it_may_not_write_status_tells_that_it_has_changed_nothing(shell, files):
    shell.ok("branch", "create", files.parent / "other")
    out = run(shell, files, "--out", "R/other", PFS, "status").out
    assert out.splitlines()[1] == "It has changed nothing."


def test_what_others_change_meanwhile_is_not_seen(shell, files, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    p = start(shell, files, "sh", "-c", f"echo begun; read x < {go}; cat f")
    assert p.stdout.readline() == b"begun\n"
    (files / "f").write_text("second\n")
    go.write_text("go\n")
    assert p.communicate(timeout=SECONDS)[0] == b"first\n"


def test_what_a_failed_command_wrote_is_kept_on_a_branch(shell, mount, files):
    done = run(shell, files, "sh", "-c", "echo x > g; exit 7")
    assert done.code == 7
    kept = f"R/run-{record(mount)['id']}"
    assert kept in done.err
    assert not (files / "g").exists()
    assert (mount / kept / "g").read_text() == "x\n"
    assert record(mount)["status"] == "failed" and record(mount)["exit"] == 7


def test_what_was_kept_comes_to_its_branch_as_it_is_said(shell, mount, files):
    shell.ok("commit", files)
    done = run(shell, files, "sh", "-c", "echo x > g; exit 7")
    pfs, *words = done.err.split("`")[1].split()
    assert pfs == "pfs" and words[0] == "merge"
    shell.ok(*words, cwd=files)
    assert (files / "g").read_text() == "x\n"
    shell.ok("branch", "remove", mount / f"R/run-{record(mount)['id']}")


def test_runs_add_nothing_to_the_commits_that_are_shown(shell, mount, files):
    shell.ok("commit", files)
    commits = mount / "R/commits"
    before = sorted(os.listdir(commits))
    (files / "f").write_text("mine\n")
    assert run(shell, files, "sh", "-c", "cat f > g; exit 7").code == 7
    assert sorted(os.listdir(commits)) == before
    kept = record(mount)["outputs"][0]
    assert (commits / kept["pinned"] / "f").read_text() == "mine\n"
    assert (commits / kept["result"][:20] / "g").read_text() == "mine\n"
    ids = {commit["id"] for commit in shell.json("log", "--json", mount / f"R/{kept['kept']}")}
    assert {kept["pinned"], kept["result"]} <= ids


def test_a_repo_whose_files_a_run_was_begun_on_is_not_removed(shell, mount, files):
    os.mkdir(mount / "S")
    (mount / "S/main/s").write_text("never committed\n")
    assert run(shell, files, "cat", mount / "S/main/s").code == 0
    os.remove(mount / "S/main/s")
    assert "S has" in shell.fails(1, "repo", "remove", mount / "S")


def test_with_keep_going_it_is_published_all_the_same(shell, files):
    assert run(shell, files, "--keep-going", "sh", "-c", "echo x > g; exit 7").code == 7
    assert (files / "g").read_text() == "x\n"


def test_a_conflict_exits_with_3_and_says_where_the_output_is(shell, mount, files, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    p = start(shell, files, "sh", "-c", f"echo run > f; echo begun; read x < {go}")
    assert p.stdout.readline() == b"begun\n"
    (files / "f").write_text("other\n")
    shell.ok("commit", files)
    go.write_text("go\n")
    err = p.communicate(timeout=SECONDS)[1].decode()
    assert p.returncode == 3
    kept = f"R/run-{record(mount)['id']}"
    assert kept in err
    assert (mount / kept / "f").read_text() == "run\n"
    assert (files / "f").read_text() == "other\n"


def test_only_named_outputs_may_be_written(shell, mount, files):
    os.mkdir(mount / "S")
    words = ["--out", "S/main", "sh", "-c", f"echo x > {mount.path}/S/main/s; echo x > g"]
    done = run(shell, files, *words)
    assert done.code != 0 and "Read-only" in done.err
    assert record(mount)["out"] == ["S/main"]


@pytest.mark.parametrize("words", ["commit", "restore R/main/f", "merge side", "branch create R/new",
                                   "branch remove R/side", "branch rename R/side other",
                                   "repo create S", "repo remove R", "repo set R autocommit=off",
                                   "import f R/side"])
def test_in_a_run_nothing_else_is_changed(shell, mount, files, words):
    shell.ok("commit", files)
    os.mkdir(mount / "R/side")
    (files / "f").write_text("second\n")
    before = shell.ok("log", "R/main", cwd=files)
    done = run(shell, files, "sh", "-c", f"echo of the run > f; {PFS} {words}")
    assert done.code == 1 and "inside " in done.err
    assert (files / "f").read_text() == "second\n"
    assert shell.ok("log", "R/main", cwd=files) == before
    assert sorted(os.listdir(mount / "R")) == ["commits", "main", "run-" + record(mount)["id"],
                                               "side"]


def test_a_run_in_a_run_knows_its_parent(shell, mount, files):
    assert run(shell, files, "sh", "-c", f"{PFS} run cat f").out == "first\n"
    outer, inner = sorted(records(mount), key=lambda r: "parent" in r)
    assert inner["parent"] == outer["id"]


def test_runs_in_a_run_see_what_those_before_them_made(shell, mount, files):
    done = run(shell, files, "sh", "-c",
               f"exec > log; {PFS} run sh -c 'tr a-z A-Z < f > g'; cat g;"
               f"{PFS} run sh -c 'cat f g > h'; ls")
    assert done.code == 0, done.err
    assert (files / "h").read_text() == "first\nFIRST\n"
    assert (files / "log").read_text() == "FIRST\nf\ng\nh\nlog\n"
    outer, a, b = sorted(records(mount), key=lambda r: ("parent" in r, r["started"]))
    assert [r["status"] for r in (outer, a, b)] == ["ok", "ok", "ok"]
    assert [r["outputs"][0]["into"] for r in (a, b)] == [outer["id"]] * 2
    history = json.loads(shell.ok("log", "--json", files))
    assert history[0]["id"] == outer["outputs"][0]["published"]


def test_what_a_run_in_a_run_made_is_known_to_be_its(shell, mount, files):
    script = f"{PFS} run -n inner sh -c 'cat f > g'; echo x > own"
    assert run(shell, files, "-n", "outer", "sh", "-c", script).code == 0
    outer, inner = shell.json("runs", "--json", cwd=files)
    assert inner["parent"] == inner["outputs"][0]["into"] == outer["id"]
    for name, by in ("g", inner), ("own", outer):
        first, *_ = shell.json("why", "--json", files / name)
        assert (first["how"], first["run"]) == ("place", by["id"])
    lines = shell.ok("runs", cwd=files).splitlines()
    assert lines[1].startswith(outer["id"]) and lines[2].startswith("  " + inner["id"])


def test_what_a_run_in_a_run_made_is_no_input_of_the_outer_one(shell, mount, files):
    (files / "g").write_text("old\n")
    os.mkdir(mount / "R/commits/v")
    done = run(shell, files, "-n", "outer", "sh", "-c",
               f"{PFS} run sh -c 'echo new > g'; cat f g; {PFS} run cat g")
    assert done.out == "first\nnew\nnew\n"

    def readers(path):
        return {line["run"]["name"] for line in shell.json("uses", "--json", mount / "R/v" / path)
                if "name" in line.get("run", {})}

    assert readers("f") == {"outer"} and readers("g") == set()


PYTHON_WRITES = "import os; d = os.open('f', os.O_RDWR); "


@pytest.mark.parametrize("script, is_input", [
    ("echo more >> f", True),
    ("printf F | dd of=f conv=notrunc status=none", True),
    ("truncate -s 100 f", True),
    ("truncate -s 2 f", True),
    ("fallocate -l 100 f", True),
    (f'python3 -c "{PYTHON_WRITES} import mmap; mmap.mmap(d, 1)[0] = 70"', True),
    (f'python3 -c "{PYTHON_WRITES} e = os.open(\'g\', 0); os.copy_file_range(e, d, 1)"', True),
    ("$PFS run true; echo more >> f", True),
    ("echo other > f", False),
    ("echo other > f; echo more >> f", False),
    ("printf 'over\\n' | dd of=f conv=notrunc status=none", False),
    ("echo other > h; mv h f", False),
    ("truncate -s 0 f; echo other >> f", False),
    ("chmod 600 f; touch f", False),
    ("$PFS run sh -c 'echo other > f'; echo more >> f", False),
])
def test_what_it_leaves_of_a_file_that_it_changes_in_place_is_an_input(shell, mount, files, script,
                                                                       is_input):
    (files / "g").write_text("G\n")
    run(shell, files, "-n", "first", "sh", "-c", "echo made > f")
    os.mkdir(mount / "R/commits/v")
    done = run(shell, files, "-n", "then", "sh", "-c", script, env={"PFS": PFS})
    assert done.code == 0, done.err
    users = {line["run"].get("name")
             for line in shell.json("uses", "--json", mount / "R/v/f") if "run" in line}
    assert users == ({"then"} if is_input else set())
    made = [line for line in shell.json("why", "--json", files / "f") if "depth" in line]
    if is_input:
        assert [line["run"]["name"] for line in made] == ["then", "first"]


@pytest.mark.parametrize("script", [
    "mv f g", "ln f g", "mv -f f other; mv other g", "$PFS run true; mv f g",
    "echo x > g; mv --exchange f g || "
    "python3 -c \"import ctypes; assert not ctypes.CDLL(None).renameat2(-100, b'f', -100, b'g', 2)\"",
])
def test_what_it_gives_another_name_is_an_input(shell, mount, files, script):
    run(shell, files, "-n", "first", "sh", "-c", "echo made > f")
    done = run(shell, files, "-n", "then", "sh", "-c", script, env={"PFS": PFS})
    assert done.code == 0, done.err
    made = [line for line in shell.json("why", "--json", files / "g") if "depth" in line]
    assert [line["run"]["name"] for line in made] == ["then", "first"]


def test_a_configuration_that_it_adds_to_is_none_that_it_read(shell, mount, files):
    (files / "results.ini").write_text("seen = 1\n")
    assert run(shell, files, "sh", "-c", "echo acc = 2 >> results.ini").code == 0
    assert params(record(mount)) == {}


def test_many_runs_in_a_run_at_once(shell, mount, files):
    (files / "Makefile").write_text(
        "all: $(addsuffix .out,1 2 3 4 5 6 7 8)\n"
        "%.out:\n\t$(PFS) run sh -c 'echo $* > $@'\n")
    done = run(shell, files, "make", "-s", "-j8", f"PFS={PFS}")
    assert done.code == 0, done.err
    assert [(files / f"{n}.out").read_text() for n in range(1, 9)] == [f"{n}\n" for n in range(1, 9)]


def test_a_user_without_privileges_has_a_view_as_well(shell, mount, files):
    mount.stop()
    mount.start("allow_other")
    open_to_others(shell)
    home = shell.home / "user"
    home.mkdir()
    os.chown(home, 1234, 1234)
    os.chmod(files, 0o777)
    script = "id -u; cat f; echo mine > g"
    done = run(shell, files, "sh", "-c", script, user=1234, env={
        "HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(home)})
    assert (done.code, done.out) == (0, "1234\nfirst\n"), done.err
    assert os.stat(files / "g").st_uid == 1234
    assert record(mount)["uid"] == 1234


# ---- how it ends ----

@pytest.mark.parametrize("words, code", [
    (["true"], 0), (["sh", "-c", "exit 42"], 42), (["no-such-command"], 127),
    (["./none/of/these"], 127), (["/etc/passwd"], 126), (["/"], 126),
])
def test_the_exit_status_is_the_commands_own(shell, mount, files, words, code):
    done = run(shell, files, *words)
    assert done.code == code
    assert record(mount)["exit"] == code
    if code in (126, 127):
        assert words[0] in done.err


def test_it_dies_of_the_signal_that_killed_the_command(shell, mount, files):
    p = start(shell, files, "sh", "-c", "kill -KILL $$")
    p.communicate(timeout=SECONDS)
    assert p.returncode == -signal.SIGKILL
    assert record(mount)["status"] == "killed" and record(mount)["signal"] == 9


def test_outside_of_any_mount_it_fails_itself(shell, files, tmp_path):
    assert run(shell, files, "--mount", tmp_path, "true", cwd="/").code == 125
    assert run(shell, files, "--mount", tmp_path / "none", "true", cwd="/").code == 125


def test_mount_says_which(shell, mount, files):
    assert run(shell, files, "--mount", mount.path, "cat", files / "f", cwd="/").out == "first\n"
    assert record(mount)["cwd"] == "/"


@pytest.mark.parametrize("words", [
    [], ["--"], ["--out", "R", "true"], ["--out", "R/a/b", "true"], ["--param", "x", "true"],
    ["--param", "=x", "true"], ["--memory", "true"],
])
def test_wrong_options_are_refused(shell, words):
    shell.fails(2, "run", *words)


def test_an_output_that_there_is_not_is_refused_before_anything_runs(shell, mount, files):
    done = run(shell, files, "--out", "none/main", "touch", files / "ran")
    assert done.code == 125 and "none" in done.err
    assert not (files / "ran").exists() and not records(mount)


# ---- signals ----

@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_it_reaches_the_command(shell, mount, files, sent):
    script = f"trap 'echo got; exit 5' {sent.name[3:]}; echo begun; while :; do sleep 0.05; done"
    p = start(shell, files, "sh", "-c", script)
    assert p.stdout.readline() == b"begun\n"
    p.send_signal(sent)
    assert p.communicate(timeout=SECONDS)[0] == b"got\n"
    assert p.returncode == 5


def test_timeout_ends_it(shell, files):
    done = subprocess.run(["timeout", "1", PFS, "run", "sleep", "1000"], cwd=files,
                          env=shell.environment, timeout=SECONDS)
    assert done.returncode == 124


def test_ignored_signals_stay_ignored(shell, files):
    done = subprocess.run(["sh", "-c", f"trap '' HUP USR2; exec {PFS} run sh -c "
                                       "'kill -HUP $$; kill -USR2 $$; echo alive'"],
                          cwd=files, env=shell.environment, stdout=subprocess.PIPE,
                          timeout=SECONDS)
    assert done.stdout == b"alive\n"


def test_the_command_gets_the_signals_it_would_have(shell, files):
    script = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"
    plain = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True).stdout
    assert run(shell, files, "sh", "-c", script).out == plain


def test_killed_it_takes_the_command_along_and_the_run_is_lost(shell, mount, files):
    p = start(shell, files, "sh", "-c", "echo $$; echo x > g; echo; exec sleep 1000")
    pid = int(p.stdout.readline())
    p.stdout.readline()
    p.kill()
    p.communicate(timeout=SECONDS)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
    wait_for(lambda: "status" in record(mount))
    assert record(mount)["status"] == "lost"
    wait_for(lambda: (mount / f"R/run-{record(mount)['id']}/g").exists())


# ---- what it prints ----

def test_what_it_prints_passes_unchanged_and_both_ends_are_kept(shell, mount, files):
    script = "seq 100000; seq 3 >&2"
    done = run(shell, files, "sh", "-c", script)
    whole = "".join(f"{i}\n" for i in range(1, 100001))
    assert done.out == whole and done.err == "1\n2\n3\n"
    said = record(mount)["output"]
    assert said["stdout"] == {"bytes": len(whole), "head": whole[:65536], "tail": whole[-65536:]}
    assert said["stderr"] == {"bytes": 6, "head": "1\n2\n3\n", "tail": ""}


def test_bytes_that_are_no_text_pass_as_well(shell, mount, files):
    done = run(shell, files, "printf", r"a\000\377\n", text=False)
    assert done.out == b"a\0\xff\n"
    assert record(mount)["output"]["stdout"]["head"] == {"hex": "6100ff0a"}


def test_one_pipe_for_both_keeps_their_order(shell, mount, files):
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done"
    p = subprocess.run([PFS, "run", "sh", "-c", script], cwd=files, env=shell.environment,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
    assert p.stdout == "".join(f"o{i}\ne{i}\n" for i in range(1, 10))
    said = record(mount)["output"]
    assert said["stdout"]["same"] and said["stdout"]["head"] == p.stdout
    assert "stderr" not in said


def test_a_file_is_the_commands_own_and_its_part_of_it_is_kept(shell, mount, files, tmp_path):
    out = tmp_path / "out"
    out.write_text("before\n")
    with open(out, "a") as f:
        p = start(shell, files, "sh", "-c", "readlink /proc/self/fd/1; seq 30000", stdout=f)
        p.communicate(timeout=SECONDS)
    part = f"{out}\n" + "".join(f"{i}\n" for i in range(1, 30001))
    assert out.read_text() == "before\n" + part
    said = record(mount)["output"]["stdout"]
    assert said["bytes"] == len(part)
    assert said["head"] == part[:65536] and said["tail"] == part[65536:][-65536:]


def test_a_file_in_the_mount_is_recorded_as_such(shell, mount, files):
    with open(files / "out", "w") as f, open(files / "f") as g:
        start(shell, files, "cat", stdout=f, stdin=g).communicate(timeout=SECONDS)
    assert (files / "out").read_text() == "first\n"
    assert record(mount)["stdout"] == {"pfs": "R/main/out"}
    assert record(mount)["stdin"] == {"pfs": "R/main/f"}
    assert record(mount)["cwd"] == {"pfs": "R/main"}


def test_what_a_shell_redirects_there_is_read_and_written_by_the_run(shell, mount, files):
    os.mkdir(files / "logs")
    out, log = files / "out", files / "logs/err"
    with open(out, "w") as f, open(log, "w") as e, open(files / "f") as g:
        start(shell, files, "sh", "-c", "cat; echo said >&2; echo made > logs/made", stdin=g,
              stdout=f, stderr=e).communicate(timeout=SECONDS)
    made = record(mount)["id"]
    shell.ok("commit", files)
    for path in out, log, files / "logs/made":
        first, *_ = shell.json("why", "--json", path)
        assert (first["how"], first["run"]) == ("place", made), path
    _, line = shell.json("uses", "--json", files / "f")
    assert [o["path"] for o in line["outputs"]] == \
        ["R/main/logs/err", "R/main/logs/made", "R/main/out"]
    # Copied, it is a copy.
    (files / "copy").write_text(out.read_text())
    shell.ok("commit", files)
    assert shell.json("why", "--json", files / "copy")[0]["how"] == "content"


def test_what_a_shell_redirects_there_and_nothing_comes_to_is_not_written(shell, mount, files):
    (files / "log").write_text("before\n")
    with open(files / "log", "a") as f:
        start(shell, files, "true", stdout=f).communicate(timeout=SECONDS)
    shell.ok("commit", files)
    assert record(mount)["stdout"] == {"pfs": "R/main/log", "append": True}
    assert shell.json("why", "--json", files / "log")[0]["how"] == "none"


def test_stdin_of_a_named_commit_is_read_there(shell, mount, files):
    os.mkdir(mount / "R/commits/v")
    (files / "f").write_text("second\n")
    with open(mount / "R/v/f") as g:
        start(shell, files, "sh", "-c", "cat > g", stdin=g).communicate(timeout=SECONDS)
    assert (files / "g").read_text() == "first\n"
    assert record(mount)["id"] in shell.ok("uses", mount / "R/v/f")


def test_with_its_output_in_a_file_there_what_it_made_is_seen_at_its_end(shell, mount, files):
    with open(files / "out", "w") as f:
        p = start(shell, files, "sh", "-c", "echo said; echo made > made", stdout=f)
        p.communicate(timeout=SECONDS)
        assert (files / "made").read_text() == "made\n"
        f.write("more\n")
    assert (files / "out").read_text() == "said\nmore\n"
    assert shell.ok("status", cwd=files).count("  A  ") == 2


def test_a_reader_that_goes_ends_the_command(shell, mount, files):
    done = subprocess.run(f"{PFS} run sh -c 'yes; echo $? >&2' | head -n 1", shell=True, cwd=files,
                          env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=SECONDS)
    assert done.stdout == "y\n"
    assert "141" in done.stderr


def test_closed_files_are_closed_for_the_command(shell, mount, files):
    script = "for i in 0 1 2; do test -e /proc/self/fd/$i && echo $i >> open; done; true"
    p = subprocess.run(["sh", "-c", f"exec {PFS} run sh -c '{script}' <&- >&- 2>&-"], cwd=files,
                       env=shell.environment, timeout=SECONDS)
    assert p.returncode == 0
    assert not (files / "open").exists()


def test_other_descriptors_are_passed_on(shell, files, tmp_path):
    with open(tmp_path / "x", "w") as x:
        p = start(shell, files, "sh", "-c", f"echo hello > /proc/self/fd/{x.fileno()}",
                  pass_fds=[x.fileno()])
        p.communicate(timeout=SECONDS)
    assert (tmp_path / "x").read_text() == "hello\n"


def test_it_ends_when_the_command_does_and_the_rest_is_passed_on(shell, mount, files, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    p = start(shell, files, "sh", "-c", f"(read x < {go}; echo late; seq 50000) & echo early")
    assert p.wait(SECONDS) == 0
    assert p.stdout.readline() == b"early\n"
    assert record(mount)["output"]["stdout"]["head"] == "early\n"
    go.write_text("go\n")
    assert p.stdout.read().split() == [b"late", *(b"%d" % i for i in range(1, 50001))]


def test_it_ends_though_somebody_writes_on_faster_than_is_read(shell, mount, files):
    p = start(shell, files, "sh", "-c", "yes & head -c 300000 /dev/zero; echo made > made")
    ended = threading.Thread(target=p.wait)
    ended.start()
    while ended.is_alive():
        assert os.read(p.stdout.fileno(), 4096)
        ended.join(0.01)
    assert (files / "made").read_text() == "made\n"
    p.stdout.close()


def test_with_log_all_of_it_is_in_the_runs_directory(shell, mount, files):
    done = run(shell, files, "--log", "sh", "-c",
               "seq 50000; echo e >&2; sleep 0.2; wc -c < $PFS_RUN/stdout; cat $PFS_RUN/stderr")
    whole = "".join(f"{i}\n" for i in range(1, 50001))
    assert done.out == whole + f"{len(whole)}\ne\n"


# ---- terminals ----

class Terminal:
    """A session of a shell on a terminal of its own."""

    def __init__(self, shell, files):
        env = dict(shell.environment, TERM="xterm", PS1="ready> ")
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(files)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], env)
        self.seen = b""
        self.until("ready> ")

    def send(self, text):
        os.write(self.fd, text.encode())

    def until(self, text):
        """What came up to @text, and that."""
        wanted, end = text.encode(), time.monotonic() + SECONDS
        while wanted not in self.seen:
            left = max(0, end - time.monotonic())
            assert select.select([self.fd], [], [], left)[0], (text, self.seen)
            self.seen += os.read(self.fd, 65536)
        at = self.seen.index(wanted) + len(wanted)
        text, self.seen = self.seen[:at], self.seen[at:]
        return text.decode()

    def close(self):
        """Ends it, with what runs in it."""
        self.send("exit\n")
        try:
            while select.select([self.fd], [], [], SECONDS)[0] and os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(shell, files):
    t = Terminal(shell, files)
    yield t
    t.close()


def test_on_a_terminal_it_has_one(terminal):
    terminal.send(f"stty rows 33 cols 99; {PFS} run sh -c "
                  "'test -t 0 -a -t 1 -a -t 2 && stty size <&1; echo e''nd'\n")
    assert "33 99\r\nend\r\n" in terminal.until("end\r\n")


def test_what_is_shown_is_kept_as_the_program_wrote_it(terminal, mount):
    terminal.send(f"{PFS} run printf 'a\\tb\\nc\\n'\n")
    assert "a\tb\r\nc\r\n" in terminal.until("ready> ")
    assert record(mount)["output"]["stdout"]["head"] == "a\tb\nc\n"


def test_it_reads_what_is_typed(terminal):
    terminal.send(f"{PFS} run sh -c 'echo as''k; read x; echo got-$x'\n")
    terminal.until("ask\r\n")
    terminal.send("word\n")
    terminal.until("got-word\r\n")


def test_ctrl_c_reaches_the_command_once(terminal):
    terminal.send(f"{PFS} run sh -c 'trap \"echo c''aught\" INT; echo beg''un; sleep 1000; echo a''fter'\n")
    terminal.until("begun\r\n")
    time.sleep(0.3)
    terminal.send("\x03")
    shown = terminal.until("ready> ")
    assert shown.count("caught") == 1 and "after" in shown


def test_ctrl_c_ends_what_does_not_mind(terminal):
    terminal.send(f"{PFS} run sh -c 'echo beg''un; exec sleep 1000'\n")
    terminal.until("begun\r\n")
    time.sleep(0.3)
    terminal.send("\x03")
    terminal.until("ready> ")
    terminal.send("echo status-$?\n")
    terminal.until("status-130\r\n")


def test_ctrl_z_stops_it_and_fg_goes_on(terminal):
    terminal.send(f"{PFS} run python3 -c 'input(\"a\" + \"sk\"); print(\"d\" + \"one\")'\n")
    terminal.until("ask")
    terminal.send("\x1a")
    terminal.until("Stopped")
    terminal.until("ready> ")
    terminal.send("fg\n")
    terminal.send("x\n")
    terminal.until("done\r\n")


def test_programs_on_the_whole_screen_get_keys_as_they_are_pressed(terminal):
    program = ("import curses; s = curses.initscr(); curses.noecho(); curses.cbreak(); "
               "s.addstr(\"ke\" + \"y?\"); s.refresh(); k = s.getch(); curses.endwin(); "
               "print(\"g\" + \"ot\", chr(k))")
    terminal.send(f"{PFS} run python3 -c '{program}'\n")
    terminal.until("key?")
    terminal.send("q")
    terminal.until("got q")
    terminal.until("ready> ")
    terminal.send("stty -a\n")
    assert " echo " in terminal.until("ready> ")


def test_its_output_has_no_name_that_could_be_read_from(terminal):
    terminal.send(f"{PFS} run python3 -c 'import os; n = os.readlink(\"/proc/self/fd/1\"); "
                  "f = os.open(n, os.O_RDONLY | os.O_NOCTTY); "
                  "print(\"sa\" + \"me\", os.fstat(f).st_rdev == os.fstat(0).st_rdev)'\n")
    terminal.until("same True\r\n")


# ---- what is recorded ----

def test_parameters_come_from_arguments_options_files_and_the_run(shell, mount, files):
    (files / "c.json").write_text('{"depth": 3, "model": {"kind": "svm"}}')
    (files / "c.toml").write_text("rate = 0.5\n")
    (files / "broken.yaml").write_text("a: [")
    script = (f"cat *.json *.toml *.yaml; echo 'n=7' >> $PFS_RUN/params; {PFS} param seed=1 text=x; "
              f"{PFS} metric acc=0.5 --step 1; {PFS} metric acc=0.75 --step 2")
    run(shell, files, "--param", "lr=0.1", "sh", "-c", script, "sh", "--epochs", "10", "k=v")
    r = record(mount)
    said = {(p["key"], p["from"]): p["value"] for p in r["params"]}
    assert said == {("n", "run"): 7, ("seed", "run"): 1, ("text", "run"): "x",
                    ("depth", "config"): 3, ("model.kind", "config"): "svm",
                    ("rate", "config"): 0.5}
    assert {p["path"] for p in r["params"] if p["from"] == "config"} == \
        {"R/main/c.json", "R/main/c.toml"}
    assert [(m["key"], m["value"], m["step"]) for m in r["metrics"]] == \
        [("acc", 0.5, 1), ("acc", 0.75, 2)]
    assert any("broken.yaml" in e for e in r["error"])
    start_record = next(json.loads(p.read_text()) for p in mount.store.glob("runs/*/*.start"))
    assert {(p["key"], p["from"]): p["value"] for p in start_record["params"]} == \
        {("epochs", "argv"): 10, ("k", "argv"): "v", ("lr", "option"): 0.1}


def test_a_run_that_says_nothing_has_nothing_to_complain_of(shell, mount, files):
    assert run(shell, files, "true").err == ""
    assert "error" not in record(mount)
    assert record(mount)["params"] == [] and record(mount)["metrics"] == []


def test_what_it_depends_on_is_recorded(shell, mount, files):
    run(shell, files, "sh", "-c", "true", env={"PYTHONHASHSEED": "3", "MY_TOKEN": "secret"})
    r = record(mount)
    assert r["environment"]["executable"]["path"].endswith("/sh")
    assert len(r["environment"]["executable"]["sha256"]) == 64
    assert r["env"]["PYTHONHASHSEED"] == "3" and "PATH" in r["env"]
    assert "secret" not in json.dumps(r)
    assert r["argv"] == ["sh", "-c", "true"] and r["user"]


def from_files(mount):
    return {p["key"]: p["value"] for p in record(mount)["params"] if p["from"] == "config"}


def test_what_a_run_writes_itself_is_no_parameter_of_it(shell, mount, files):
    (files / "c.json").write_text('{"depth": 3}')
    (files / "state.json").write_text('{"round": 1}')
    run(shell, files, "sh", "-c", """cat c.json state.json; echo '{"acc": 1}' > r.json; cat r.json;
                                     echo '{"round": 2}' > state.json; cat state.json""")
    assert from_files(mount) == {"depth": 3, "round": 1}  # as it was read


def test_what_another_run_wrote_is_no_parameter_until_it_is_edited(shell, mount, files):
    (files / "c.json").write_text('{"depth": 3}')
    run(shell, files, "sh", "-c", """mkdir out; echo '{"acc": 1}' > out/r.json; cp c.json out""")
    look = "cat c.json out/r.json out/c.json"
    run(shell, files, "sh", "-c", look)
    assert from_files(mount) == {"depth": 3}
    assert {p["path"] for p in record(mount)["params"] if p["from"] == "config"} == {"R/main/c.json"}
    (files / "out/r.json").write_text('{"acc": 2}')
    run(shell, files, "sh", "-c", look)
    assert from_files(mount) == {"depth": 3, "acc": 2}


def test_the_configuration_lists_what_of_the_environment_is_kept(shell, mount, files):
    config = shell.home / "config/pfs"
    config.mkdir(parents=True)
    (config / "config").write_text("[default]\nrun_env = MINE, MY_TOKEN\n")
    run(shell, files, "true", env={"MINE": "1", "MY_TOKEN": "secret"})
    assert record(mount)["env"] == {"MINE": "1"}


def test_arguments_may_be_any_bytes(shell, mount, files):
    done = subprocess.run([PFS.encode(), b"run", b"printf", b"%s", b"\xff"], cwd=files,
                          env=shell.environment, stdout=subprocess.PIPE, timeout=SECONDS)
    assert done.stdout == b"\xff"
    assert record(mount)["argv"] == ["printf", "%s", {"hex": "ff"}]


@pytest.mark.parametrize("name", ["param", "metric"])
def test_outside_of_a_run_nothing_can_be_said(shell, name):
    assert "pfs run" in shell.fails(1, name, "a=1")
    shell.fails(1, name, "a=1", env={"PFS_RUN": "/nowhere"})
    shell.fails(2, name)
    shell.fails(2, name, "a")


def test_a_step_is_a_number(shell):
    shell.fails(2, "metric", "a=1", "--step", "x")
    shell.fails(2, "param", "a=1", "--step", "1")


def test_a_run_that_has_ended_is_known_without_being_asked_for(shell, mount, files):
    def known():
        return shell.json("stats", "--json", cwd=files)["runs"]["known"]

    assert known() == 0
    assert run(shell, files, "cat", "f").code == 0
    until = time.monotonic() + 60
    while known() == 0:
        assert time.monotonic() < until
        time.sleep(0.05)
    numbers = (mount / ".pfs" / "stats").read_text()
    assert "\npfs_runs_known 1\n" in numbers and "\npfs_runs_going_on 0\n" in numbers
    assert "Runs\n  known                    1\n" in shell.ok("stats", cwd=files)
