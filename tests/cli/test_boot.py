# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts that a machine makes when it starts: /etc/fstab with _netdev, and the systemd unit, with
nothing in the environment and the keys in a file that only root may read."""

import os
import pathlib
import re
import shutil
import subprocess
import uuid

import pytest

from conftest import PFS, can_mount

TOP = pathlib.Path(__file__).resolve().parents[2]
SERVER = os.environ.get("PFS_TEST_S3")
pytestmark = can_mount

# In a place of its own, where mount(8) finds its helper and /etc is the test's. What is mounted
# there goes with it.
START = """
set -eu
mount -t overlay -o lowerdir="$1/sbin:/usr/sbin" overlay /usr/sbin
mount -t overlay -o lowerdir="$1/etc:/etc" overlay /etc
"""


@pytest.fixture
def place(shell):
    for name in "sbin", "etc", "mnt":
        (shell.home / name).mkdir()
    os.symlink(os.path.realpath(shutil.which(PFS)), shell.home / "sbin/mount.pfs")
    return shell.home


@pytest.fixture(params=["directory", "bucket"])
def url(request, shell):
    """A store; the keys of a bucket are in a file, and nowhere else."""
    if request.param == "directory":
        shell.ok("init", shell.home / "store")
        return f"file://{shell.home}/store"
    if not SERVER:
        pytest.skip("needs an S3 server")
    keys = shell.home / "keys"
    keys.write_text("[default]\n" +
                    f"aws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n" +
                    f"aws_secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n")
    os.chmod(keys, 0o600)
    url = f"s3://pfs-cli/{uuid.uuid4().hex}?endpoint={SERVER}&credentials={keys}"
    shell.ok("init", url, env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
    return url


def run(home, script):
    """Runs it with the environment that a starting system gives."""
    words = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "unshare", "--mount", "bash", "-c",
             START + script, "bash", str(home), os.path.realpath(shutil.which(PFS))]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          cwd="/", timeout=120)
    if not done.stdout and ("overlay" in done.stderr or "unshare" in done.stderr):
        pytest.skip("needs overlayfs and mount namespaces: " + done.stderr)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done


FSTAB = """
mount -a -O no_netdev -T "$1/fstab"
findmnt -n "$1/mnt" > /dev/null && exit 1
mount -a -O _netdev -T "$1/fstab"
mount -a -T "$1/fstab"
findmnt -no SOURCE,FSTYPE "$1/mnt"
mkdir "$1/mnt/R"
echo text > "$1/mnt/R/main/file"
mkdir "$1/mnt/R/commits/first"
"$2" export "$1/mnt/R/first" "$1/out"
(cd "$1/mnt" && "$2" push --json "$1/other" R) | grep '"commits": 1,'
"$2" doctor "$1/mnt" | grep -v ^ok
umount "$1/mnt"
! findmnt -n "$1/mnt"
"""


def test_fstab_mounts_what_needs_the_network_in_its_time(shell, place, url):
    (place / "fstab").write_text(
        f"{url} {place}/mnt pfs _netdev,nofail,noatime,state={place}/state,memory=128M,"
        "x-systemd.requires=network-online.target,x-systemd.mount-timeout=60 0 0\n")
    shell.ok("init", place / "other")
    done = run(place, FSTAB)
    source, commits, summary = done.stdout.splitlines()
    assert source.split() == [url, "fuse.pfs"] and "commits" in commits
    assert summary.startswith("0 that fail"), done.stdout
    assert (place / "out/file").read_text() == "text\n"


UNIT = """
systemd_says=$(sed -n 's/^ExecStart=[^ ]*pfs //p' "$1/unit" | sed 's/%i/lab/')
"$2" $systemd_says & daemon=$!
for i in $(seq 600); do findmnt -n "$1/mnt" > /dev/null && break; sleep 0.1; done
mkdir "$1/mnt/R"
echo text > "$1/mnt/R/main/file"
kill "$daemon"
wait "$daemon" && echo "ended well"
! findmnt -n "$1/mnt"
"$2" $systemd_says & daemon=$!
for i in $(seq 600); do findmnt -n "$1/mnt" > /dev/null && break; sleep 0.1; done
cat "$1/mnt/R/main/file"
"$2" umount "$1/mnt"
wait "$daemon" && echo "ended well"
"""


def test_the_systemd_unit_mounts_a_store_of_the_configuration(shell, place, url):
    shutil.copy(TOP / "tools/systemd/pfs@.service.in", place / "unit")
    assert re.search(r"^After=.*network-online.target", (place / "unit").read_text(), re.M)
    (place / "etc/pfs.conf").write_text(
        f"[store lab]\nurl = {url}\nmount = {place}/mnt\noptions = state={place}/state\n")
    assert run(place, UNIT).stdout.split("\n") == ["ended well", "text", "ended well", ""]


OUTAGE = """
mount -a -T "$1/fstab" || echo "code $?"
findmnt -n "$1/mnt" || true
"""


def test_a_server_that_is_not_there_at_the_start_ends_the_mount_with_a_sentence(shell, place):
    (place / "keys").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    os.chmod(place / "keys", 0o600)
    (place / "fstab").write_text(
        f"s3://bucket/x?endpoint=http://127.0.0.1:1&credentials={place}/keys {place}/mnt pfs "
        f"_netdev,state={place}/state 0 0\n")
    done = run(place, OUTAGE)
    assert "code" in done.stdout and "127.0.0.1:1" in done.stderr
