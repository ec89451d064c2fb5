# SPDX-License-Identifier: GPL-3.0-or-later
"""What pfs says of itself, and how it takes wrong usage: exit code 2, a sentence, no harm."""

import pytest

COMMANDS = ("init mount umount repo branch commit log status diff show merge sync restore run rerun "
            "param metric runs why uses import export push pull cache stats doctor help "
            "version").split()


def test_help_lists_every_command_once(shell):
    out = shell.ok("help")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ") and
              not line.startswith("   ") and not line.startswith("  pfs") and
              not line.startswith("  mkdir") and not line.startswith("  cp")]
    assert listed == COMMANDS
    assert max(map(len, out.splitlines())) <= 80
    assert shell.ok("--help") == out
    assert shell.ok("-h") == out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(shell, command):
    out = shell.ok("help", command)
    assert out.startswith("Usage: pfs " + command)
    assert "Example" in out
    assert max(map(len, out.splitlines())) <= 80
    assert shell.ok(command, "--help") == out


def test_version_is_one_line(shell):
    assert shell.ok("version").startswith("pfs ")
    assert shell.ok("--version") == shell.ok("version")
    assert len(shell.ok("version").splitlines()) == 1


def test_no_command_is_wrong_usage(shell):
    assert "Usage:" in shell.fails(2)


def test_a_misspelt_command_is_named(shell):
    assert "`comit`" in shell.fails(2, "comit")
    assert "`comit`" in shell.fails(2, "help", "comit")
    assert "`--colour`" in shell.fails(2, "--colour", "log")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_option_is_named(shell, command):
    err = shell.fails(2, command, "--no-such-option")
    assert "--no-such-option" in err
    assert f"pfs help {command}" in err
    assert "-Z" in shell.fails(2, command, "-Z")


@pytest.mark.parametrize("words", [
    ("log", "-n"), ("log", "--limit"), ("commit", "-m"), ("commit", "--meta"), ("mount", "-o"),
    ("log", "--store"), ("repo", "create", "--chunk"),
])
def test_an_option_without_its_value_is_named(shell, words):
    assert words[-1] in shell.fails(2, *words)


@pytest.mark.parametrize("words", [
    ("init",), ("init", "a", "b"), ("mount",), ("mount", "a", "b", "c"), ("umount",),
    ("umount", "a", "b"), ("diff",), ("diff", "a"), ("diff", "a", "b", "c"), ("restore",),
    ("restore", "a", "b", "c"), ("import", "a"), ("import",), ("export", "a"),
    ("export", "a", "b", "c"), ("log", "a", "b"), ("show", "a", "b"), ("status", "a", "b"),
    ("commit", "a", "b"), ("stats", "a", "b"), ("help", "a", "b"), ("version", "a"),
    ("repo", "create"), ("repo", "create", "a", "b"), ("repo", "nonsense"), ("repo", "set", "a"),
    ("repo", "show"), ("repo", "list", "a"), ("branch", "create"), ("branch", "remove"),
    ("branch", "rename", "a/b"), ("branch", "a/b", "c", "d"), ("branch", "a", "b", "c", "d"),
])
def test_too_few_or_too_many_arguments(shell, words):
    shell.fails(2, *words)


def test_options_may_come_after_arguments(shell, store):
    shell.ok("repo", "create", "R", "--store", store)
    assert shell.json("repo", "list", "--store", store, "--json")[0]["repo"] == "R"


def test_a_full_stdout_is_a_failure(shell):
    import subprocess
    from conftest import PFS
    with open("/dev/full", "w") as full:
        done = subprocess.run([PFS, "help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "written" in done.stderr


def test_only_what_systemd_reads_is_marked_for_it(shell):
    import os
    import subprocess
    from conftest import PFS
    words = ["repo", "--store", str(shell.home / "none")]
    assert shell.fails(1, *words, env={"JOURNAL_STREAM": "1:1"}).startswith("pfs: ")
    with open(shell.home / "err", "w+") as err:
        st = os.fstat(err.fileno())
        stream = f"{st.st_dev}:{st.st_ino}"
        subprocess.run([PFS, *words], stderr=err,
                       env=dict(shell.environment, JOURNAL_STREAM=stream))
    assert (shell.home / "err").read_text().startswith("<3>")


@pytest.mark.parametrize("meta", ["novalue", "=x", "", "pfs.pin=1"])
def test_metadata_must_be_key_and_value(shell, meta):
    shell.fails(2, "commit", "--meta", meta)


def test_a_key_of_metadata_twice_is_wrong(shell):
    assert "a=" in shell.fails(2, "commit", "--meta", "a=1", "--meta", "a=2")


def test_a_number_that_is_none(shell):
    assert "`many`" in shell.fails(2, "log", "-n", "many")
    shell.fails(2, "log", "-n", "-1")
    shell.fails(2, "import", "--threads", "0", "a", "b")


def test_a_message_is_a_line_that_no_terminal_obeys(shell):
    err = shell.fails(1, "status", "/none/a\x1b[2J\nb")
    assert "/none/a?[2J?b" in err and err.rstrip("\n").isprintable()
