# SPDX-License-Identifier: GPL-3.0-or-later
"""Who starts runs: shells and their pipelines, make, ninja, parallel and xargs, cron, other users;
and what ends them."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import uuid

import pytest

from conftest import PFS, SECONDS, can_mount, open_to_others
from recorded import record, records, wait_for

pytestmark = can_mount

HERE = pathlib.Path(PFS).resolve().parent if "/" in PFS else pathlib.Path("/usr/bin")


def bash(shell, files, script, **more):
    """Runs a script in R/main, in which pfs is found; what came of it."""
    env = more.pop("env", None) or dict(shell.environment, PATH=f"{HERE}:{os.environ['PATH']}")
    return subprocess.run(["bash", "-c", script, "bash", *more.pop("words", ())], cwd=files,
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=SECONDS, stdin=more.pop("stdin", subprocess.DEVNULL), **more)


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}")


def by_name(mount):
    return {r["name"]: r for r in records(mount)}


def all_ok(mount, count):
    said = records(mount)
    assert [r["status"] for r in said] == ["ok"] * count
    assert all(r["outputs"][0]["published"] for r in said)


def numbers(files, pattern="{}.out"):
    return [(files / pattern.format(n)).read_text() for n in range(1, 9)]


# ---- shells ----

def test_a_pipeline_is_a_run_each_and_the_shell_knows_how_each_ended(shell, mount, files):
    done = bash(shell, files, """
        set -o pipefail
        pfs run -n a sh -c 'seq 50000; exit 3' | pfs run -n b sort -n | pfs run -n c tail -n 1 > out
        echo "${PIPESTATUS[@]}"
        pfs run -n d sh -c 'exit 4' | cat
        echo $?
        pfs run -n e true && ! pfs run -n f false && echo last""")
    assert done.stdout == "3 0 0\n4\nlast\n", done.stderr
    assert (files / "out").read_text() == "50000\n"
    said = by_name(mount)
    assert {name: said[name]["exit"] for name in said} == \
        {"a": 3, "b": 0, "c": 0, "d": 4, "e": 0, "f": 1}
    assert said["c"]["stdout"] == {"pfs": "R/main/out"}


def test_redirections_are_those_of_the_shell(shell, mount, files):
    done = bash(shell, files, """
        pfs run cat < f > a 2> b
        pfs run sh -c 'echo out; echo err >&2' > both 2>&1
        pfs run sh -c 'cat; cat <&3' 3< f >> both << END
here
END
        pfs run tr a-z A-Z <<< word | tee -a both
        x=$(pfs run cat f); echo "$x"
        pfs run diff <(echo first) f && echo same
        exec > shell.out
        pfs run echo by the shell""")
    assert done.stdout == "WORD\nfirst\nsame\n", done.stderr
    assert (files / "a").read_text() == "first\n" and (files / "b").read_text() == ""
    assert (files / "both").read_text() == "out\nerr\nhere\nfirst\nWORD\n"
    assert (files / "shell.out").read_text() == "by the shell\n"
    shown = shell.ok("runs", "show", records(mount)[0]["id"], cwd=files).splitlines()
    assert [line.split() for line in shown if line.startswith("Std")] == [
        ["Stdin:", "R/main/f"], ["Stdout:", "R/main/a"], ["Stderr:", "R/main/b"]]
    assert {r["status"] for r in records(mount)} == {"ok"}


def test_a_log_that_the_shell_holds_open_keeps_nothing_back(shell, mount, files):
    done = bash(shell, files, """
        exec 5>> log 6<> f
        echo begin >&5
        for i in 1 2 3; do pfs run sh -c "cat $((i - 1)).out; echo $i > $i.out"; echo $i >&5; done
        echo last >&6
        pfs run cat 3.out log f""")
    assert done.stdout == "1\n2\n3\nbegin\n1\n2\n3\nlast\n\n", done.stderr
    shell.ok("commit", files)
    assert (files / "log").read_text() == "begin\n1\n2\n3\n"


@pytest.mark.parametrize("other", ["clean", "changed"])
def test_what_a_run_writes_over_a_file_that_is_being_written_shows_when_that_is_closed(
        shell, mount, files, other):
    shell.ok("commit", files)
    if other == "changed":
        (files / "other").write_text("uncommitted\n")
    with open(files / "f", "r+") as f:
        assert shell.run("run", "sh", "-c", "echo run > f", cwd=files).code == 0
        assert f.read() == "first\n"
        assert (files / "f").read_text() == "first\n"
        published = record(mount)["outputs"][0]["published"]
        assert (mount / f"R/commits/{published}/f").read_text() == "run\n"
    shell.ok("sync" if other == "clean" else "commit", files)
    assert (files / "f").read_text() == "run\n"


def test_jobs_in_the_background_are_waited_for_and_killed_as_ever(shell, mount, files, tmp_path):
    done = bash(shell, files, """
        for i in 1 2 3 4 5 6 7 8; do pfs run sh -c "echo $i > $i.out" & done; wait
        mkfifo $1
        pfs run sh -c 'echo x > begun; echo > $0; exec sleep 1000' $1 &
        read x < $1; kill $!; wait $!; echo $?""", words=[tmp_path / "go"])
    assert done.stdout == "143\n", done.stderr
    assert numbers(files) == [f"{n}\n" for n in range(1, 9)]
    last = record(mount)
    assert last["status"] == "killed" and last["signal"] == signal.SIGTERM
    assert (mount / f"R/{last['outputs'][0]['kept']}/begun").exists()


def test_a_loop_over_parameters_is_found_by_them(shell, mount, files):
    done = bash(shell, files, "for lr in 0.1 0.01 0.001; do pfs run --group sweep -- "
                              "sh -c 'echo $2 > $2.out' sh --lr $lr; done")
    assert done.returncode == 0, done.stderr
    [best] = shell.json("runs", "--where", "group = sweep and lr < 0.005", "--json", cwd=files)
    assert best["params"] == {"lr": 0.001}
    assert (files / "0.001.out").exists()


# ---- those that start many ----

STEPS = """
{all}: $(addsuffix .out,1 2 3 4 5 6 7 8)
\tpfs run -n all sh -c 'cat *.out > all'
%.out: %.in
\tpfs run -n $* sh -c 'tr 0-9 a-j < $< > $@'
"""


@pytest.fixture
def inputs(shell, files):
    """1.in to 8.in, committed."""
    for n in range(1, 9):
        (files / f"{n}.in").write_text(f"{n}\n")
    shell.ok("commit", files)
    return files


LETTERS = [f"{c}\n" for c in "bcdefghi"]


def test_make_in_parallel_whose_recipes_are_runs(shell, mount, inputs):
    (inputs / "Makefile").write_text(STEPS.replace("{all}", "all"))
    done = bash(shell, inputs, "make -s -j8 && make -q")
    assert done.returncode == 0, done.stderr
    assert numbers(inputs) == LETTERS and (inputs / "all").read_text() == "".join(LETTERS)
    all_ok(mount, 9)
    place, *made = shell.json("why", "all", "--json", cwd=inputs)
    assert {m["run"]["name"] for m in made} == {"all", *"12345678"}
    # What has changed is made again, and what depends on it.
    (inputs / "3.in").write_text("33\n")
    assert bash(shell, inputs, "make -s -j8").returncode == 0
    assert (inputs / "3.out").read_text() == "dd\n"
    all_ok(mount, 11)


@needs("ninja")
def test_ninja_whose_rules_are_runs(shell, mount, inputs):
    rules = ["rule letters", "  command = pfs run -n $in sh -c 'tr 0-9 a-j < $in > $out'",
             "rule all", "  command = pfs run -n all sh -c 'cat $in > $out'"]
    rules += [f"build {n}.out: letters {n}.in" for n in range(1, 9)]
    rules += ["build all: all " + " ".join(f"{n}.out" for n in range(1, 9)), "default all"]
    (inputs / "build.ninja").write_text("\n".join(rules) + "\n")
    done = bash(shell, inputs, "ninja -j8 && ninja -n")
    assert done.returncode == 0 and "no work to do" in done.stdout, done.stdout
    assert numbers(inputs) == LETTERS and (inputs / "all").read_text() == "".join(LETTERS)
    all_ok(mount, 9)


@pytest.mark.parametrize("words", [
    pytest.param("parallel -j8 --halt now,fail=1", marks=needs("parallel")),
    "xargs -P 8 -I {}",
], ids=["parallel", "xargs"])
def test_many_at_once_from_a_list(shell, mount, inputs, words):
    inner = "pfs run -n {} sh -c 'tr 0-9 a-j < {}.in > {}.out'"
    if words.startswith("parallel"):
        inner = f'"{inner}"'
    done = bash(shell, inputs, f"seq 8 | {words} {inner}")
    assert done.returncode == 0, done.stderr
    assert numbers(inputs) == LETTERS
    all_ok(mount, 8)


def test_all_of_a_make_in_one_run_is_published_or_nothing(shell, mount, inputs):
    (inputs / "Makefile").write_text(STEPS.replace("{all}", "all") + "8.out: nothing.of.the.kind\n")
    done = bash(shell, inputs, "pfs run -n make make -s -k -j8")
    assert done.returncode == 2
    assert not (inputs / "1.out").exists()
    said = by_name(mount)
    assert said["make"]["status"] == "failed" and said["1"]["status"] == "ok"
    kept = mount / f"R/{said['make']['outputs'][0]['kept']}"
    assert (kept / "1.out").read_text() == "b\n"


# ---- without a terminal, a home, or much else ----

def test_cron_has_no_terminal_no_home_and_little_of_a_path(shell, mount, files):
    script = "cat f > g; test -t 0 || echo $PATH; tty; true"
    done = subprocess.run(["setsid", "--wait", "env", "-i", "PATH=/usr/bin:/bin", "sh", "-c",
                           'cd "$1" && exec "$0" run sh -c "$2" <&-', PFS, files, script],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=SECONDS)
    assert done.stdout.splitlines()[0] == "/usr/bin:/bin", done.stderr
    assert "pfs:" not in done.stderr
    assert (files / "g").read_text() == "first\n" and record(mount)["user"] == "root"


def test_with_no_environment_at_all_it_is_recorded(shell, mount, files):
    done = subprocess.run([PFS, "run", "/bin/sh", "-c", "cat f > g"], cwd=files, env={},
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, b"")
    assert record(mount)["env"] == {} and (files / "g").read_text() == "first\n"


def test_under_nohup_it_outlives_its_terminal(shell, mount, files, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    script = f"echo x > g; read x < {go}; echo y >> g"
    p = subprocess.Popen(["nohup", PFS, "run", "sh", "-c", script], cwd=files,
                         env=shell.environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: records(mount))
    p.send_signal(signal.SIGHUP)
    go.write_text("go\n")
    assert p.wait(SECONDS) == 0
    assert (files / "g").read_text() == "x\ny\n"


def test_a_daemon_that_a_run_starts_goes_on_and_what_it_writes_is_kept_apart(shell, mount, files,
                                                                             tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    daemon = f"""
import os
open("first", "w").write("by the command")
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    for fd in range(3):
        os.close(fd)
    open({str(go)!r}).read()
    open({str(files / "late")!r}, "w").write("by the daemon")
"""
    assert shell.run("run", sys.executable, "-c", daemon, cwd=files).code == 0
    assert (files / "first").read_text() == "by the command"
    go.write_text("go\n")
    kept = mount / f"R/run-{record(mount)['id']}"
    wait_for(lambda: (kept / "late").exists() and (kept / "late").read_text() == "by the daemon")
    assert not (files / "late").exists()


@needs("runuser")
def test_it_is_the_runs_user_who_runs(shell, mount, files):
    mount.stop()
    mount.start("allow_other")
    open_to_others(shell)
    os.chmod(files, 0o777)
    nobody = pwd.getpwnam("nobody")
    script = 'cd "$1" && exec "$0" run sh -c "id -un; cat f > g"'
    done = subprocess.run(["runuser", "-u", "nobody", "--", "sh", "-c", script, PFS, files],
                          cwd="/", env=dict(shell.environment, HOME="/nonexistent"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "nobody\n"), done.stderr
    assert os.stat(files / "g").st_uid == nobody.pw_uid
    assert record(mount)["user"] == "nobody" and record(mount)["uid"] == nobody.pw_uid


@needs("runuser")
def test_a_record_tells_of_no_stream_that_its_user_may_not_open(shell, mount, files):
    mount.stop()
    mount.start("allow_other")
    open_to_others(shell)
    os.chmod(files, 0o777)
    os.mkdir(mount / "S")
    (mount / "S/main/secret").write_text("secret\n")
    os.chmod(mount / "S/main/secret", 0o600)
    script = 'cd "$1" && "$0" run -n "$2" cat'
    for name, path in ("hidden", mount / "S/main/secret"), ("open", files / "f"):
        with open(path) as stdin, open(files / name, "w") as out:
            subprocess.run(["runuser", "-u", "nobody", "--", "sh", "-c", script, PFS, files, name],
                           cwd="/", env=dict(shell.environment, HOME="/nonexistent"), stdin=stdin,
                           stdout=out, check=True, timeout=SECONDS)
    said = by_name(mount)
    assert "stdin" not in said["hidden"] and "stdout" not in said["hidden"]
    assert said["open"]["stdin"] == {"pfs": "R/main/f"} and "stdout" not in said["open"]


@pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="needs a running systemd")
def test_a_unit_of_systemd_may_be_a_run(shell, mount, files):
    subprocess.run(["systemd-run", "--wait", "--pipe", "--quiet", f"--working-directory={files}",
                    "--setenv=HOME=" + str(shell.home), PFS, "run", "sh", "-c", "cat f > g"],
                   check=True, timeout=SECONDS)
    assert (files / "g").read_text() == "first\n" and record(mount)["status"] == "ok"


# ---- what ends them ----

@contextlib.contextmanager
def group_of_memory(limit):
    """A control group; who is in it is killed above so many bytes. None where there can be none."""
    one, two = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
    name = f"pfs-test-{uuid.uuid4().hex[:8]}"
    group = (one if one.is_dir() else two) / name
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        limits = [group / "memory.limit_in_bytes", group / "memory.max"]
        there = [path for path in limits if path.exists()]
        for path in there:
            path.write_text(str(limit))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        yield group if there else None
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


EATER = "x = bytearray(1 << 30)"


@pytest.mark.parametrize("is_first", [True, False], ids=["the command", "a child of it"])
def test_a_command_that_the_kernel_kills_for_its_memory_is_killed(shell, mount, files, is_first):
    with group_of_memory(200 << 20) as group:
        if not group:
            pytest.skip("needs a control group with a limit of memory")
        eater = f"{sys.executable} -c '{EATER}'"
        script = f"echo x > part; exec {eater}" if is_first else f"echo x > part; {eater}; exit $?"
        done = bash(shell, files, f'echo $$ > {group}/cgroup.procs; pfs run sh -c "$1"; echo $?',
                    words=[script])
        assert done.stdout == "137\n", done.stderr
    last = record(mount)
    if is_first:
        assert last["status"] == "killed" and last["signal"] == signal.SIGKILL
    else:
        assert last["status"] == "failed" and last["exit"] == 137
    assert last["usage"]["max_rss"] > 10 << 20
    assert (mount / f"R/{last['outputs'][0]['kept']}/part").exists()
    assert not (files / "part").exists()


def test_out_of_address_space_it_fails_as_it_would(shell, mount, files):
    script = f"ulimit -v 1000000; exec {sys.executable} -c '{EATER}'"
    done = shell.run("run", "sh", "-c", script, cwd=files)
    assert done.code == 1 and "MemoryError" in done.err
    assert record(mount)["exit"] == 1


def test_past_a_limit_of_size_it_dies_of_the_signal(shell, mount, files):
    done = bash(shell, files, "pfs run sh -c 'ulimit -f 10; exec head -c 100000 /dev/zero > big'; "
                              "echo $?")
    assert done.stdout == f"{128 + signal.SIGXFSZ}\n"
    last = record(mount)
    assert last["signal"] == signal.SIGXFSZ
    assert 0 < (mount / f"R/{last['outputs'][0]['kept']}/big").stat().st_size < 100000


@pytest.mark.parametrize("how, sent", [("", signal.SIGTERM), ("-s INT", signal.SIGINT)])
def test_a_time_limit_ends_it_and_what_it_wrote_is_kept(shell, mount, files, how, sent):
    script = "echo x > part; exec sleep 1000"
    done = bash(shell, files, f"timeout {how} {SECONDS // 40} pfs run sh -c '{script}'; echo $?")
    assert done.stdout == "124\n"
    last = record(mount)
    assert last["status"] == "killed" and last["signal"] == sent
    assert (mount / f"R/{last['outputs'][0]['kept']}/part").exists()
