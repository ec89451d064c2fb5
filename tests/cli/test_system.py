# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes with the command: manual, completion, installation."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("PFS_BUILD")


@pytest.mark.parametrize("page", ["pfs.1", "pfs.5", "pfs-mount.8"])
def test_a_manual_page_has_no_faults(page):
    if not shutil.which("mandoc"):
        pytest.skip("needs mandoc")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", TOP / "tools/man" / page],
                          stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stdout


def test_the_manual_names_every_command_and_every_option(shell):
    manual = (TOP / "tools/man/pfs.1").read_text()
    for line in shell.ok("help").splitlines():
        name = re.match(r"  ([a-z]+) {3,}", line)
        if not name:
            continue
        assert re.search(rf"^\.It (Xo\n\.)?Ic {name[1]}\b", manual, re.M), name[1]
        for option in re.findall(r"--([a-z-]+)", shell.ok("help", name[1])):
            if name[1] != "mount":
                assert option in manual.replace("\\-", "-"), (name[1], option)


def complete(shell, *words):
    """What bash offers for the last of the words."""
    script = (f"source {TOP}/tools/completion/pfs.bash\n"
              'COMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n_pfs 2>/dev/null\n'
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash", *words], stdout=subprocess.PIPE, text=True,
                          env=shell.environment, cwd=shell.home, check=True)
    return sorted(filter(None, done.stdout.splitlines()))


def test_completion_offers_commands_options_and_paths(shell):
    assert complete(shell, "pfs", "st") == ["stats", "status"]
    assert complete(shell, "pfs", "help", "um") == ["umount"]
    assert complete(shell, "pfs", "repo", "cr") == ["create"]
    assert complete(shell, "pfs", "diff", "--s") == ["--stat", "--store"]
    assert complete(shell, "pfs", "mount", "-o", "st") == ["state="]
    assert complete(shell, "pfs", "mount", "-o", "ro,me") == ["ro,memory="]
    (shell.home / "some dir").mkdir()
    (shell.home / "some file").write_text("")
    assert complete(shell, "pfs", "import", "so") == ["some dir/", "some file"]


def test_completion_knows_what_the_command_knows(shell):
    listed = set(re.findall(r"^  ([a-z]+) {3,}", shell.ok("help"), re.M))
    assert set(complete(shell, "pfs", "")) == listed | {"--help", "--version"}
    for name in listed:
        options = set(re.findall(r"--[a-z-]+", shell.ok("help", name)))
        offered = set(complete(shell, "pfs", name, "--"))
        assert options <= offered, name
        assert complete(shell, "pfs", name, "--help")


def test_completion_is_clean():
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    subprocess.run(["shellcheck", "-s", "bash", TOP / "tools/completion/pfs.bash"], check=True)
    subprocess.run(["shellcheck", "-x", TOP / "tools/quickstart", TOP / "tools/check"], check=True)


def test_an_installation_has_all_that_a_system_needs(tmp_path):
    if not BUILD:
        pytest.skip("needs PFS_BUILD, a build directory")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", tmp_path],
                   check=True, stdout=subprocess.DEVNULL)
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir()}
    for wanted in ("bin/pfs", "sbin/mount.pfs", "share/man/man1/pfs.1", "share/man/man5/pfs.5",
                   "share/man/man8/pfs-mount.8", "share/bash-completion/completions/pfs",
                   "lib/systemd/system/pfs@.service"):
        assert any(p.endswith(wanted) for p in found), (wanted, found)
    (helper,) = (p for p in tmp_path.rglob("mount.pfs"))
    target = os.readlink(helper)
    assert target.startswith("/") and (tmp_path / target[1:]).exists()
    (unit,) = (p for p in tmp_path.rglob("pfs@.service"))
    exe = re.search(r"^ExecStart=(\S+) mount -f %i$", unit.read_text(), re.M)[1]
    assert (tmp_path / exe[1:]).exists()
    assert subprocess.run([tmp_path / exe[1:], "version"]).returncode == 0
