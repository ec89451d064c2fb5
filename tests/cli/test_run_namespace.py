# SPDX-License-Identifier: GPL-3.0-or-later
"""`pfs run` where the system lets nobody have a mount namespace: the view is at $PFS_ROOT, and it
is said that the rest is not the run's."""

import ctypes
import os
import struct
import subprocess

import pytest

from conftest import PFS, SECONDS, can_mount, open_to_others
from recorded import record, records

pytestmark = can_mount

USER = 1234

# Of <linux/seccomp.h>, <linux/filter.h> and <sys/prctl.h>.
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
RET_ERRNO_EPERM, RET_ALLOW = 0x00050001, 0x7fff0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
UNSHARE = {"x86_64": 272, "aarch64": 97}


def forbid_namespaces():
    """As a container's filter does: unshare(2) is not permitted to this process and all below."""
    number = UNSHARE[os.uname().machine]
    program = b"".join(struct.pack("HBBI", *step) for step in (
        (LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, number),
        (RETURN, 0, 0, RET_ERRNO_EPERM), (RETURN, 0, 0, RET_ALLOW)))
    code = ctypes.create_string_buffer(program)
    filters = struct.pack("HxxxxxxP", 4, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters) == 0


# A namespace in which there can be no further ones.
NO_MORE = ["unshare", "-Urm", "sh", "-c", "for kind in mnt user; do "
           "echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 99; done; exec \"$@\"", "sh"]


@pytest.fixture(params=["filtered, root", "filtered, user", "no more, root", "no more, user"])
def without(request, shell, mount, repo):
    """Runs pfs, in R/main, where there are no namespaces to be had."""
    if request.param.startswith("filtered") and os.uname().machine not in UNSHARE:
        pytest.skip("the number of unshare(2) is not known here")
    mount.stop()
    mount.start("allow_other")
    open_to_others(shell)
    user = USER if request.param.endswith("user") else 0
    home = shell.home / "user"
    home.mkdir()
    for path in (home, repo):
        os.chown(path, user, user)
    (repo / "f").write_text("first\n")
    env = dict(shell.environment, HOME=str(home), XDG_CACHE_HOME=str(home))

    def run(*words):
        is_filtered = request.param.startswith("filtered")
        return subprocess.run(
            [*([] if is_filtered else NO_MORE), PFS, "run", *map(str, words)], cwd=repo, env=env,
            user=user, group=user, extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=forbid_namespaces if is_filtered else None, text=True, timeout=SECONDS)
    return run


def test_what_it_does_below_pfs_root_is_the_runs(without, shell, mount, repo):
    script = ('pwd; echo $PFS_ROOT; cat f; echo own > g; cat "$PFS_ROOT/R/main/g";'
              'echo lr=1 >> "$PFS_RUN/params"')
    done = without("sh", "-ec", script)
    assert done.returncode == 0, done.stderr
    said = record(mount)
    view = mount / f".pfs/run/{said['id']}/root"
    assert done.stdout == f"{view}/R/main\n{view}\nfirst\nown\n"
    assert (repo / "g").read_text() == "own\n"
    assert said["status"] == "ok" and said["params"][0]["key"] == "lr"
    place, made = shell.json("why", "--json", "g", cwd=repo)
    assert place["run"] == made["run"]["id"] == said["id"]
    assert [i["path"] for i in made["inputs"]] == ["R/main/f"]


def test_what_it_does_by_plain_paths_is_not_and_that_is_said(without, mount, repo):
    done = without("sh", "-c", f"cat {repo}/f; echo plain > {repo}/h; echo own > g; exit 3")
    assert done.returncode == 3 and done.stdout == "first\n"
    assert done.stderr.count("$PFS_ROOT") == 1 and str(mount.path) in done.stderr
    assert "No space" not in done.stderr
    said = record(mount)
    # The run has failed, and so its own is kept; what is not its own is where it was put.
    kept = mount / f"R/{said['outputs'][0]['kept']}"
    assert sorted(os.listdir(kept)) == ["f", "g"]
    assert sorted(os.listdir(repo)) == ["f", "h"]
    assert "$PFS_ROOT" in said["error"][0]


def test_only_named_outputs_may_be_written(without, mount, repo):
    os.mkdir(mount / "S")
    done = without("--out", "S/main", "sh", "-c", "echo x > g")
    assert done.returncode != 0 and "Read-only file system" in done.stderr
    assert os.listdir(repo) == ["f"]


def test_a_run_in_a_run_is_in_the_view_of_that(without, mount, repo):
    done = without("sh", "-ec", f"echo a > a; {PFS} run sh -c 'pwd; cat a > b'; cat b")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("$PFS_ROOT") == 1
    outer, inner = sorted(records(mount), key=lambda r: "parent" in r)
    assert inner["parent"] == outer["id"] and inner["outputs"][0]["into"] == outer["id"]
    assert (repo / "b").read_text() == "a\n"


def test_nothing_is_repeated_for_it(without, mount, repo):
    """Nobody knows what it has seen elsewhere."""
    for _ in range(2):
        done = without("--memo", "sh", "-c", "cat f")
        assert done.returncode == 0 and done.stdout == "first\n"
    assert not any("of" in r.get("memo", {}) for r in records(mount))
