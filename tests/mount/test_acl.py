# SPDX-License-Identifier: GPL-3.0-or-later
"""POSIX ACLs: inherited, kept in step with the mode, and obeyed."""

import os
import stat
import subprocess

from conftest import as_user, commit


def setfacl(*args):
    subprocess.run(["setfacl", *map(str, args)], check=True)


def getfacl(path):
    out = subprocess.run(
        ["getfacl", "-cpEn", str(path)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return [line for line in out.splitlines() if line]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_an_acl_lets_a_user_in(work):
    (work / "f").write_text("secret")
    os.chmod(work / "f", 0o600)
    setfacl("-m", "u:1234:r", work / "f")
    assert getfacl(work / "f") == ["user::rw-", "user:1234:r--", "group::---", "mask::r--", "other::---"]
    assert mode(work / "f") == 0o640
    read = "import sys\ntry: print(open(sys.argv[1]).read())\nexcept PermissionError: print('refused')"
    assert as_user(1234, read, work / "f") == "secret"
    assert as_user(1235, read, work / "f") == "refused"


def test_chmod_changes_the_mask(work):
    (work / "f").write_text("x")
    setfacl("-m", "u:1234:rwx", work / "f")
    os.chmod(work / "f", 0o604)
    assert "mask::---" in getfacl(work / "f")
    assert "other::r--" in getfacl(work / "f")
    assert mode(work / "f") == 0o604


def test_a_minimal_acl_is_the_mode(work):
    (work / "f").write_text("x")
    setfacl("-m", "u::rw,g::r,o::-", work / "f")
    assert mode(work / "f") == 0o640
    assert os.listxattr(work / "f") == []


def test_a_default_acl_is_inherited_in_place_of_the_umask(work):
    setfacl("-d", "-m", "u::rwx,g::rwx,o::-,u:1234:rw", work)
    old = os.umask(0o077)
    try:
        (work / "f").touch(0o666)
        (work / "d").mkdir(0o777)
    finally:
        os.umask(old)
    assert "user:1234:rw-" in getfacl(work / "f")
    assert mode(work / "f") == 0o660
    assert "default:user:1234:rw-" in getfacl(work / "d")
    assert mode(work / "d") == 0o770
    (work / "d/g").touch(0o644)
    assert "user:1234:rw-" in getfacl(work / "d/g")
    assert "mask::r--" in getfacl(work / "d/g")


def test_removing_an_acl_leaves_the_mode(work):
    (work / "f").write_text("x")
    os.chmod(work / "f", 0o640)
    setfacl("-m", "u:1234:r", work / "f")
    setfacl("-b", work / "f")
    assert getfacl(work / "f") == ["user::rw-", "group::r--", "other::---"]
    assert os.listxattr(work / "f") == []


def test_acls_are_committed(mount, repo):
    (repo / "f").write_text("x")
    setfacl("-m", "u:1234:r", repo / "f")
    one = commit(mount, "one")
    assert "user:1234:r--" in getfacl(one / "f")


def test_setgid_goes_with_an_acl_set_by_somebody_outside_the_group(work):
    os.chmod(work, 0o777)
    (work / "f").write_text("x")
    os.chown(work / "f", 1234, 4321)
    os.chmod(work / "f", 0o2755)
    code = "import subprocess, sys; subprocess.run(['setfacl', '-m', 'u:1:r', sys.argv[1]], check=True)"
    as_user(1234, code, work / "f")
    assert not os.stat(work / "f").st_mode & stat.S_ISGID
