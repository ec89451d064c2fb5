# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of commands that go wrong, or say odd things: what is recorded is true, what is missing is
said, and nothing is lost."""

import contextlib
import json
import os
import shutil
import subprocess

import pytest

from conftest import PFS, SECONDS, Mount, can_mount, mounted, open_to_others
from recorded import params, record, records, wait_for

pytestmark = can_mount

MIB = 1 << 20


def run(shell, files, *words, **more):
    return shell.run("run", *words, cwd=more.pop("cwd", files), **more)


def kept_of(mount):
    """The head of the branch on which the last run's output is kept."""
    return mount / f"R/run-{record(mount)['id']}"


# ---- what it does to files ----

def test_inputs_that_it_changes_are_recorded_as_they_were_read(shell, mount, files):
    (files / "c.json").write_text('{"lr": 1}')
    (files / "gone.ini").write_text("depth = 3\n")
    script = "cat c.json gone.ini; echo '{\"lr\": 2}' > c.json; rm gone.ini; cat c.json"
    assert run(shell, files, "sh", "-c", script).code == 0
    assert params(record(mount)) == {"lr": 1, "depth": 3}
    assert "error" not in record(mount)
    assert (files / "c.json").read_text() == '{"lr": 2}\n'
    assert not (files / "gone.ini").exists()


def test_a_configuration_that_it_makes_itself_is_no_input(shell, mount, files):
    script = "echo '{\"lr\": 2}' > own.json; cat own.json"
    assert run(shell, files, "sh", "-c", script).code == 0
    assert params(record(mount)) == {} and "error" not in record(mount)


def test_a_run_that_removes_everything_has_done_just_that(shell, mount, files):
    shell.ok("commit", files)
    assert run(shell, files, "sh", "-c", "echo x > out; rm -r -- *").code == 0
    assert os.listdir(files) == []
    history = json.loads(shell.ok("log", "--json", files))
    assert history[0]["id"] == record(mount)["outputs"][0]["published"]
    assert (mount / f"R/commits/{history[1]['id']}/f").read_text() == "first\n"


def test_a_failed_run_that_removes_everything_leaves_the_branch(shell, mount, files):
    assert run(shell, files, "sh", "-c", "rm -r -- *; false").code == 1
    assert os.listdir(files) == ["f"]
    assert os.listdir(kept_of(mount)) == []


def test_what_may_not_be_written_is_refused_to_it_and_what_it_wrote_is_kept(shell, mount, files):
    os.mkdir(mount / "S")
    done = run(shell, files, "--out", "R/main", "sh", "-ec",
               f"echo x > g; echo y > {mount.path}/S/main/s; echo not here > h")
    assert done.code != 0 and "Read-only file system" in done.err
    assert record(mount)["status"] == "failed"
    assert kept_of(mount).name in done.err
    assert sorted(os.listdir(kept_of(mount))) == ["f", "g"]
    assert os.listdir(mount / "S/main") == [] and os.listdir(files) == ["f"]


def test_what_is_anothers_is_refused_to_it(shell, mount, files):
    mount.stop()
    mount.start("allow_other")
    open_to_others(shell)
    os.chmod(files, 0o755)
    os.chmod(files / "f", 0o600)
    done = run(shell, files, "sh", "-c", "cat f; echo mine > g", user=1234)
    assert done.code != 0 and done.err.count("Permission denied") == 2
    assert record(mount)["status"] == "failed" and record(mount)["outputs"] == []


def test_what_a_process_left_behind_goes_on_writing_is_kept_apart(shell, mount, files, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    script = f"(read x < {go}; echo late > late; echo late >> f) > /dev/null 2>&1 & echo now > now"
    assert run(shell, files, "sh", "-c", script).code == 0
    assert record(mount)["status"] == "ok"
    go.write_text("go\n")
    wait_for(lambda: (kept_of(mount) / "late").exists())
    assert (kept_of(mount) / "f").read_text() == "first\nlate\n"
    assert (files / "f").read_text() == "first\n" and not (files / "late").exists()
    assert (files / "now").read_text() == "now\n"


def test_an_output_branch_that_there_is_not_is_named(shell, mount, files):
    for out in ("nosuch/main", "R/nosuch"):
        done = run(shell, files, "--out", out, "true")
        assert done.code == 125 and out in done.err
    assert not records(mount)


# ---- what it says ----

def test_numbers_that_json_has_not_are_kept_as_they_were_written(shell, mount, files):
    (files / "c.json").write_text('{"seed": 340282366920938463463374607431768211455, "eps": NaN}')
    script = ("cat c.json; printf '%s\\n' '{\"loss\": NaN, \"step\": 7}' 'a=1e999' "
              "'{\"loss\": -Infinity, \"t\": \"NaN\"}' '{\"b\": 1e999}' > $PFS_RUN/metrics")
    assert run(shell, files, "sh", "-c", script).code == 0
    said = record(mount)
    assert params(said) == {"seed": "340282366920938463463374607431768211455", "eps": "NaN"}
    assert [(m["key"], m["value"], m.get("step")) for m in said["metrics"]] == [
        ("loss", "NaN", 7), ("a", "1e999", None), ("loss", "-Infinity", None), ("t", "NaN", None),
        ("b", "1e999", None)]
    assert "error" not in said
    shell.json("runs", "--where", "metrics.loss > 0", "--json", cwd=files)


def test_parameters_of_any_bytes_are_kept(shell, mount, files):
    value = "two\nlines, = and \x01"
    done = subprocess.run([PFS, "run", "--param", f"a={value}", "--param", b"b=\xff=\xfe",
                           "sh", "-c", "printf 'c=\\377\\n' >> $PFS_RUN/params"], cwd=files,
                          env=shell.environment, timeout=SECONDS)
    assert done.returncode == 0
    assert params(record(mount)) == {"c": {"hex": "ff"}}
    row = shell.json("runs", "--json", cwd=files)[-1]
    assert row["params"] == {"a": value, "b": {"hex": "ff3dfe"}, "c": {"hex": "ff"}}
    for words in (["runs"], ["runs", "--csv"], ["runs", "show", row["id"]]):
        shell.ok(*words, cwd=files)


def test_a_parameter_that_is_too_long_is_refused_before_anything_runs(shell, mount, files):
    for words in ("x" * 256 + "=1", "a=" + "x" * 4097):
        assert "at most 4096" in shell.fails(2, "run", "--param", words, "touch", "ran", cwd=files)
    assert not records(mount) and not (files / "ran").exists()


def test_of_what_it_says_that_is_no_parameter_the_count_is_told(shell, mount, files):
    script = ("{ echo nonsense; echo {; echo a=1; printf 'b='; head -c 1048576 /dev/zero |"
              "tr '\\0' x; echo; } >> $PFS_RUN/params")
    assert run(shell, files, "sh", "-c", script).code == 0
    assert params(record(mount)) == {"a": 1}
    assert ["3 lines" in e for e in record(mount)["error"]] == [True]


def test_of_a_hundred_thousand_parameters_the_last_are_kept(shell, mount, files):
    script = ("seq -f 'k%.0f=1' 100000 >> $PFS_RUN/params;"
              "seq -f 'loss=%.0f' 100000 >> $PFS_RUN/metrics")
    assert run(shell, files, "sh", "-c", script).code == 0
    said = record(mount)
    assert list(params(said)) == [f"k{i}" for i in range(95001, 100001)]
    assert said["metrics"][-1]["value"] == 100000
    assert sum("last 5000" in e for e in said["error"]) == 2


WILD = {
    "huge.json": b'{"a": "' + b"x" * (64 << 10) + b'"}',
    "many.json": json.dumps({f"k{i}": i for i in range(1001)}).encode(),
    "deep.json": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "latin.json": b'{"a": "\xe9"}',
    "latin.yaml": b"a: \xe9\n",
    "latin.toml": b'a = "\xe9"\n',
    "latin.ini": b"a = \xe9\n",
    "bomb.yaml": b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9))
        for c in range(ord("b"), ord("k"))),
    "circle.yaml": b"a: &a\n  b: *a\n",
    "deep.yaml": b"[" * 5000 + b"]" * 5000,
    "deep.toml": b"a = " + b"[" * 5000 + b"]" * 5000,
    "cut.json": b'{"a": ',
    "template.yaml": b"a: {{ value }}\n{% if x %}\n",
}


def test_configurations_that_cannot_be_used_are_named_and_hurt_no_others(shell, mount, files):
    for name, text in WILD.items():
        (files / name).write_bytes(text)
    (files / "good.json").write_text('{"good": 1}')
    assert run(shell, files, "sh", "-c", "cat *.json *.yaml *.toml *.ini").code == 0
    said = record(mount)
    assert params(said)["good"] == 1
    named = {name for name in WILD for e in said["error"] if f"R/main/{name} " in e}
    assert named == set(WILD)
    assert len(said["error"]) == len(WILD)
    assert len([p for p in said["params"] if p["path"] == "R/main/many.json"]) == 1000


# ---- how it ends ----

def test_a_command_line_that_is_too_long_to_be_recorded_is_refused(shell, mount, files):
    words = ["x" * 120000] * 10
    assert "too long" in shell.fails(125, "run", "true", *words, cwd=files)
    assert not records(mount)


def test_without_descriptors_it_fails_and_says_so(shell, mount, files):
    done = subprocess.run(["bash", "-c", f"ulimit -n 6; exec {PFS} run touch ran"], cwd=files,
                          env=shell.environment, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    assert done.returncode == 125 and "Too many open files" in done.stderr
    assert record(mount)["status"] == "failed" and not (files / "ran").exists()


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime")
@pytest.mark.skipif(int(os.environ.get("PFS_PATIENCE", "1")) > 1,
                    reason="sanitizers are loaded first")
def test_a_clock_that_is_set_back_meanwhile_is_no_harm(shell, mount, files, tmp_path):
    clock = tmp_path / "clock"
    clock.write_text("@2030-01-02 00:00:00")
    found = subprocess.run(["faketime", "now", "printenv", "LD_PRELOAD"], stdout=subprocess.PIPE,
                           text=True, check=True).stdout.strip()
    found = found.replace("libfaketime.so", "libfaketimeMT.so")
    fake = {"LD_PRELOAD": found, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    mount.stop()
    shell.environment.update(fake)
    mount.start()
    for name in fake:
        del shell.environment[name]
    script = f"echo '@2029-12-31 00:00:00' > {clock}; echo x > g"
    assert run(shell, files, "sh", "-c", script).code == 0
    said = record(mount)
    assert said["started"].startswith("2030-01-02T00:00:0")
    assert said["ended"].startswith("2029-12-31T00:00:0")
    assert 0 <= said["usage"]["seconds"] < SECONDS and said["status"] == "ok"
    [row] = shell.json("runs", "--json", cwd=files)
    assert row["status"] == "ok" and row["seconds"] == said["usage"]["seconds"]
    assert (files / "g").read_text() == "x\n"


# ---- disks that are full ----

@contextlib.contextmanager
def small_disk(path, size):
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextlib.contextmanager
def mount_at(shell, base):
    m = Mount(shell, base)
    os.mkdir(m / "R")
    try:
        yield m
    finally:
        if mounted(m.path):
            shell.ok("umount", m.path, cwd="/")


def test_a_full_store_keeps_the_output_here_until_there_is_room(shell, tmp_path):
    with small_disk(tmp_path / "m/the-store", 24 * MIB) as disk, mount_at(shell, disk.parent) as m:
        files = m / "R/main"
        done = run(shell, files, "sh", "-c", f"head -c {40 * MIB} /dev/urandom > big")
        assert done.code == 125
        assert "No space left on device" in done.err and "not recorded yet" in done.err
        assert not (files / "big").exists()
        subprocess.run(["mount", "-o", f"remount,size={100 * MIB}", disk], check=True)
        wait_for(lambda: "status" in record(m))
        assert record(m)["status"] == "ok" and record(m)["exit"] == 0
        wait_for((files / "big").exists)
        assert (files / "big").stat().st_size == 40 * MIB


def test_a_full_state_directory_ends_no_run_as_what_it_was_not(shell, tmp_path):
    with small_disk(tmp_path / "m/mount-state", 300 * MIB) as disk, \
            mount_at(shell, disk.parent) as m:
        files, filler = m / "R/main", disk / "filler"
        (files / "f").write_text("first\n")
        done = run(shell, files, "sh", "-c", f"cat f; echo x > g; cat /dev/zero > {filler}; true")
        assert done.code == 125
        assert "No space left on device" in done.err and "not recorded yet" in done.err
        assert "status" not in record(m)
        # Another one is not even begun, and has no record.
        done = run(shell, files, "touch", tmp_path / "ran")
        assert done.code == 125 and "No space left on device" in done.err
        assert not (tmp_path / "ran").exists() and len(records(m)) == 1
        filler.unlink()
        wait_for(lambda: "status" in records(m)[0])
        assert records(m)[0]["status"] == "ok" and records(m)[0]["exit"] == 0
        assert "could not be logged" in records(m)[0]["error"][0]
        wait_for((files / "g").exists)
        assert (files / "g").read_text() == "x\n"
        assert run(shell, files, "sh", "-c", "cat g > h").code == 0
        assert (files / "h").read_text() == "x\n"


def test_a_home_that_is_full_is_no_harm(shell, mount, files, tmp_path):
    with small_disk(tmp_path / "home", MIB) as home:
        subprocess.run(["sh", "-c", "cat /dev/zero > filler"], cwd=home, check=False,
                       stderr=subprocess.DEVNULL)
        env = {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
        done = run(shell, files, "sh", "-c", "cat f > g", env=env)
        assert (done.code, done.err) == (0, "")
        assert record(mount)["environment"]["executable"]["sha256"]
