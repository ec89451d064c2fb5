# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes with the command: manual, completion, installation."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import PFS, can_mount

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("PFS_BUILD")


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


def test_the_manual_names_every_mount_option():
    table = (TOP / "fs/options.c").read_text().split("options[] = {")[1].split("};")[0]
    manual = (TOP / "tools/man/pfs-mount.8").read_text()
    # An entry that has no kind is accepted and ignored.
    names = re.findall(r'{ "(\w+)", OPTION_(?!IGNORED)', table)
    assert len(names) > 15
    assert [n for n in names if not re.search(rf"^\.(It )?Cm .*\b{n}\b", manual, re.M)] == []


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
    assert complete(shell, "pfs", "repo", "set", "R", "a") == ["autocommit="]
    assert complete(shell, "pfs", "repo", "set", "R", "autocommit", "=") == ["every=", "idle=", "off"]
    assert complete(shell, "pfs", "repo", "set", "R", "autocommit", "=", "i") == ["idle="]
    assert complete(shell, "pfs", "diff", "--s") == ["--stat", "--store"]
    assert complete(shell, "pfs", "mount", "-o", "st") == ["state="]
    assert complete(shell, "pfs", "mount", "-o", "ro,me") == ["ro,memory="]
    (shell.home / "some dir").mkdir()
    (shell.home / "some file").write_text("")
    assert complete(shell, "pfs", "import", "so") == ["some dir/", "some file"]
    assert complete(shell, "pfs", "runs", "s") == ["show", "some dir/", "some file"]
    assert complete(shell, "pfs", "runs", "--where", "so") == []
    assert complete(shell, "pfs", "rerun", "so") == []


def test_completion_knows_what_the_command_knows(shell):
    listed = set(re.findall(r"^  ([a-z]+) {3,}", shell.ok("help"), re.M))
    assert set(complete(shell, "pfs", "")) == listed | {"--help", "--version"}
    for name in listed:
        # Examples may have options of other programs.
        own = shell.ok("help", name).split("\nExample")[0]
        options = set(re.findall(r"--[a-z-]+", own))
        offered = set(complete(shell, "pfs", name, "--"))
        assert options <= offered, name
        assert complete(shell, "pfs", name, "--help")


def test_an_installation_has_all_that_a_system_needs(tmp_path):
    if not BUILD:
        pytest.skip("needs PFS_BUILD, a build directory")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", tmp_path],
                   check=True, stdout=subprocess.DEVNULL)
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir()}
    for wanted in ("bin/pfs", "sbin/mount.pfs", "share/man/man1/pfs.1", "share/man/man5/pfs.5",
                   "share/man/man7/pfs-cluster.7", "share/man/man8/pfs-mount.8",
                   "share/bash-completion/completions/pfs",
                   "lib/systemd/system/pfs@.service"):
        assert any(p.endswith(wanted) for p in found), (wanted, found)
    (helper,) = (p for p in found if p.endswith("/mount.pfs"))
    target = os.readlink(tmp_path / helper)
    assert target.startswith("/") and (tmp_path / target[1:]).exists()
    (unit,) = tmp_path.rglob("pfs@.service")
    exe = re.search(r"^ExecStart=(\S+) mount -f %i$", unit.read_text(), re.M)[1]
    assert (tmp_path / exe[1:]).exists()
    assert subprocess.run([tmp_path / exe[1:], "version"]).returncode == 0


FSTAB_SCRIPT = """
set -eu
mount -t overlay -o lowerdir="$1/sbin:/usr/sbin" overlay /usr/sbin
mount -T "$1/fstab" "$1/mnt"
mkdir "$1/mnt/R"
echo text > "$1/mnt/R/main/file"
findmnt -no FSTYPE,OPTIONS "$1/mnt"
umount "$1/mnt"
mount -t pfs -o "ro,state=$1/state" "$1/store" "$1/mnt"
cat "$1/mnt/R/main/file"
! mkdir "$1/mnt/Q" 2>/dev/null
umount "$1/mnt"
mount -t pfs -o colour=blue "$1/store" "$1/mnt" && exit 1
echo "code $?"
"""


@can_mount
def test_mount8_and_fstab_mount_a_store(shell, store):
    (shell.home / "sbin").mkdir()
    (shell.home / "mnt").mkdir()
    os.symlink(os.path.realpath(shutil.which(PFS)), shell.home / "sbin/mount.pfs")
    (shell.home / "fstab").write_text(
        f"{store} {shell.home}/mnt pfs state={shell.home}/state,memory=128M,nofail,noatime,"
        "x-systemd.automount 0 0\n")
    # In a place of its own, where mount(8) finds its helper.
    words = ["unshare", "--mount", "bash", "-c", FSTAB_SCRIPT, "bash", str(shell.home)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=shell.environment, timeout=60)
    if not done.stdout and ("overlay" in done.stderr or "unshare" in done.stderr):
        pytest.skip("needs overlayfs and mount namespaces: " + done.stderr)
    assert done.returncode == 0, done.stderr
    first, text, code = done.stdout.splitlines()
    assert first.startswith("fuse.pfs") and "nosuid" in first and "nodev" in first
    assert text == "text" and code != "code 0" and "colour" in done.stderr
