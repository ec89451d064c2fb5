# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as they are: which can hold a store, how they are reached, and what is said when something
is wrong with them, with the keys, the network or what lies in the bucket.
"""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import time

import pytest

import s3servers
from conftest import PFS, can_mount, mounted
from s3servers import (BUCKET, GATEWAY, KEYS, MINIO, allow, as_environment, careless, client,
                       needs_gateway, needs_minio, new_url, objects, place, session)

pytestmark = needs_minio


@pytest.fixture(autouse=True)
def keys(shell):
    shell.environment.update(as_environment(KEYS))
    shell.environment.pop("AWS_SESSION_TOKEN", None)
    return KEYS


@pytest.fixture
def store(shell):
    url = new_url(MINIO)
    shell.ok("init", url)
    return url


@contextlib.contextmanager
def mount_of(shell, url, name="m", options=""):
    path = shell.home / name
    path.mkdir(exist_ok=True)
    shell.ok("mount", "-o", f"state={path}-state,refresh=200" + options, url, path)
    try:
        yield path
    finally:
        if mounted(path):
            shell.ok("umount", path)


def log_of(shell, name="m"):
    return (shell.home / f"{name}-state/log").read_text()


# --- what a server can do


def test_a_server_that_keeps_conditions_is_noted(shell, store):
    assert json.loads(shell.ok("stats", "--json", "--store", store))["conditions"] == "proved"
    assert "proved" in shell.ok("stats", "--store", store)


def test_the_probe_leaves_nothing_in_the_bucket(store):
    assert list(objects(store)) == ["format"]


def test_what_a_killed_probe_left_is_no_obstacle(shell):
    url = new_url(MINIO)
    client().put_object(Bucket=BUCKET, Key=place(url)[1] + "probe/1/one", Body=b"x")
    shell.ok("init", url)


@pytest.mark.parametrize("conditions, said", [("dropped", "it ignores If-None-Match"),
                                              ("unknown", "does not take a PUT with If-None-Match")])
def test_a_server_without_conditions_is_for_a_single_writer_only(shell, conditions, said):
    with careless(conditions) as (endpoint, _):
        url = new_url(endpoint)
        wrong = shell.fails(1, "init", url)
        assert said in wrong and "--single-writer" in wrong
        assert objects(url) == {}
        result = shell.run("init", "--single-writer", url)
        assert result.code == 0 and result.err == ""
        assert list(objects(url)) == ["format"]


@can_mount
def test_a_single_writer_commits_without_conditions_and_stops_when_not_alone(shell):
    with careless("dropped") as (endpoint, _):
        url = new_url(endpoint)
        shell.ok("init", "--single-writer", url)
        with mount_of(shell, url, options=",single_writer") as m:
            (m / "R").mkdir()
            for i in range(3):
                (m / "R/main/f").write_text(f"{i}")
                (m / f"R/commits/c{i}").mkdir()
            assert (m / "R/c1/f").read_text() == "1"
            assert "single writer" in shell.ok("stats", m)
            assert "\npfs_single_writer 1\n" in (m / ".pfs/stats").read_text()
            heads = [key for key in objects(url) if key.startswith("heads/")]
            bucket, prefix = place(url)
            old = client().get_object(Bucket=bucket, Key=prefix + heads[0])["Body"].read()
            # Another machine, which was told the same.
            with mount_of(shell, url, "other", ",single_writer") as other:
                (other / "R/main/g").write_text("another's")
                (other / "R/commits/theirs").mkdir()
            new = client().get_object(Bucket=bucket, Key=prefix + heads[0])["Body"].read()
            assert new != old
            deadline = time.monotonic() + 30
            while "somebody else has written" not in log_of(shell):
                assert time.monotonic() < deadline
                os.listdir(m / "R/main")
                time.sleep(0.1)
            (m / "R/main/f").write_text("kept")
            with pytest.raises(OSError) as raised:
                (m / "R/commits/never").mkdir()
            assert raised.value.errno == errno.EROFS
            assert (m / "R/main/f").read_text() == "kept"
            assert client().get_object(Bucket=bucket, Key=prefix + heads[0])["Body"].read() == new


@can_mount
def test_a_machine_that_never_met_the_server_finds_out_before_it_changes_anything(shell, store):
    # The store was made through a good server; this machine comes by one that is not.
    with careless("dropped") as (endpoint, _):
        url = store.replace(MINIO, endpoint)
        with mount_of(shell, url) as m:
            before = objects(store)
            with pytest.raises(OSError) as raised:
                (m / "R").mkdir()
            assert raised.value.errno == errno.EOPNOTSUPP
            assert "single_writer" in log_of(shell)
            assert objects(store) == before
            assert json.loads(shell.ok("stats", "--json", m))["conditions"] == "unproved"


@can_mount
def test_a_machine_asks_a_server_once(shell, store):
    with careless("kept") as (endpoint, proxy):
        url = store.replace(MINIO, endpoint)
        for n in range(2):
            with mount_of(shell, url) as m:
                (m / f"R{n}").mkdir()
                assert json.loads(shell.ok("stats", "--json", m))["conditions"] == "proved"
        asked = [r for r in proxy.requests if r.method == "PUT" and r.path.endswith("/format")]
        assert len(asked) == 2  # under two conditions


@needs_gateway
def test_the_second_server_keeps_conditions_too(shell):
    url = new_url(GATEWAY)
    shell.ok("init", url)
    assert json.loads(shell.ok("stats", "--json", "--store", url))["conditions"] == "proved"


@needs_gateway
def test_a_server_that_loses_changes_now_and_then_is_refused(shell, tmp_path):
    """The gateway keeps ETags apart from bytes if it is told to, and then a GET may give those of
    different moments. It takes writers who meet to see that."""
    (tmp_path / "tags").mkdir()
    with s3servers.gateway(tmp_path / "data", "--sidecar", tmp_path / "tags") as endpoint:
        results = [shell.run("init", new_url(endpoint)) for _ in range(5)]
    refused = [result.err for result in results if result.code == 1]
    assert refused
    assert all("does not tell writers apart" in said for said in refused)


# --- how a server is reached


def roundtrip(shell, url):
    """Makes a store, writes, and reads back."""
    source = shell.home / "source"
    source.mkdir(exist_ok=True)
    (source / "f").write_bytes(os.urandom(300000))
    shell.ok("init", url)
    shell.ok("repo", "create", "R", "--store", url)
    shell.ok("import", "-q", source, "R/main", "--store", url)
    out = shell.home / f"out{len(os.listdir(shell.home))}"
    shell.ok("export", "-q", "R/main", out, "--store", url)
    assert (out / "f").read_bytes() == (source / "f").read_bytes()


def test_https_wants_a_certificate_that_it_can_trust(shell, tmp_path):
    certificates = tmp_path / "certificates"
    ca = s3servers.make_certificate(certificates, "DNS:localhost")
    with s3servers.minio(tmp_path / "tls", certificates=certificates) as address:
        endpoint = address.replace("127.0.0.1", "localhost")
        said = shell.fails(1, "init", new_url(endpoint))
        assert "certificate" in said and "ca=FILE" in said
        roundtrip(shell, new_url(endpoint, ca=ca))
        # Trusted, but it is another server's.
        said = shell.fails(1, "init", new_url(address, ca=ca))
        assert "certificate" in said and "127.0.0.1" in said
        # http spoken to it.
        said = shell.fails(1, "init", new_url(endpoint.replace("https", "http")))
        assert "400" in said and "http or https" in said


def test_a_ca_file_that_is_none_is_named(shell, tmp_path):
    endpoint = MINIO.replace("http://", "https://")
    assert "missing.crt" in shell.fails(1, "init", new_url(endpoint, ca=tmp_path / "missing.crt"))
    (tmp_path / "nonsense.crt").write_text("no certificate")
    assert "nonsense.crt" in shell.fails(1, "init", new_url(endpoint, ca=tmp_path / "nonsense.crt"))


def test_https_spoken_to_a_http_server_is_seen(shell):
    said = shell.fails(1, "init", new_url(MINIO.replace("http://", "https://")))
    assert "http://" in said and "endpoint" in said


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="needs IPv6")
def test_an_ipv6_address_is_an_endpoint(shell, tmp_path):
    with s3servers.minio(tmp_path / "six", host="::1") as endpoint:
        assert "[::1]" in endpoint
        roundtrip(shell, new_url(endpoint))


def test_the_bucket_may_be_in_the_host(shell, tmp_path):
    with s3servers.minio(tmp_path / "named", MINIO_DOMAIN="localhost") as endpoint:
        # Names below localhost mean this machine to libcurl.
        url = new_url(endpoint.replace("127.0.0.1", "localhost"), style="virtual")
        roundtrip(shell, url)
        assert "format" in objects(url, endpoint)


def test_a_region_is_said_where_the_server_has_one(shell, tmp_path):
    with s3servers.minio(tmp_path / "far", MINIO_SITE_REGION="eu-far-1") as endpoint:
        said = shell.fails(1, "init", new_url(endpoint))
        assert "eu-far-1" in said and "region=" in said
        roundtrip(shell, new_url(endpoint, region="eu-far-1"))


# --- what is no S3 server


def test_a_website_is_no_s3_server(shell, tmp_path):
    (tmp_path / "pages").mkdir()
    with s3servers.website(tmp_path / "pages") as endpoint:
        said = shell.fails(1, "init", new_url(endpoint))
        assert "not in S3's words" in said and "endpoint" in said
        assert "bucket" in shell.fails(1, "repo", "--store", new_url(endpoint))


@pytest.mark.parametrize("text", [b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
                                  b"\x15\x03\x01\x00\x02\x02\x16", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_what_answers_with_something_else_is_no_s3_server(shell, text):
    with s3servers.banner(text) as endpoint:
        said = shell.fails(1, "init", new_url(endpoint))
        assert endpoint in said and "is there an S3 server" in said
        assert len(said.strip().splitlines()) == 1


def test_a_server_that_is_not_there_is_said(shell):
    url = new_url("http://127.0.0.1:1")
    said = shell.fails(1, "init", url)
    assert said.count(url) == 1 and "onnect" in said


def test_a_host_that_is_not_there_is_said(shell):
    assert "no-such-host.invalid" in shell.fails(1, "init", new_url("http://no-such-host.invalid"))


# --- keys and rights


def test_wrong_keys_are_said(shell, store):
    shell.environment["AWS_SECRET_ACCESS_KEY"] = "another-one-entirely"
    said = shell.fails(1, "repo", "--store", store)
    assert "403" in said and "another-one-entirely" not in said and "check the secret key" in said
    shell.environment["AWS_ACCESS_KEY_ID"] = "nobody"
    assert "check the access key" in shell.fails(1, "repo", "--store", store)


ALL = ["GetObject", "PutObject", "DeleteObject", "ListBucket"]


@pytest.mark.parametrize("missing", ["GetObject", "PutObject", "ListBucket"])
def test_each_right_that_is_missing_is_named_when_a_store_is_made(shell, missing):
    shell.environment.update(as_environment(session(allow(*[a for a in ALL if a != missing]))))
    said = shell.fails(1, "init", new_url(MINIO))
    assert f"s3:{missing}" in said


def test_without_the_right_to_delete_a_store_works(shell):
    shell.environment.update(as_environment(session(allow("GetObject", "PutObject", "ListBucket"))))
    roundtrip(shell, new_url(MINIO))


def test_with_these_rights_alone_a_store_works(shell):
    shell.environment.update(as_environment(session(allow(*ALL))))
    roundtrip(shell, new_url(MINIO))


def test_who_may_only_read_reads_and_is_told_so_when_writing(shell):
    url = new_url(MINIO)
    roundtrip(shell, url)
    shell.environment.update(as_environment(session(allow("GetObject", "ListBucket"))))
    shell.ok("export", "-q", "R/main", shell.home / "mine", "--store", url)
    said = shell.fails(1, "import", "-q", shell.home / "source", "R/main", "-n", "x", "--store", url)
    assert "s3:PutObject" in said


@pytest.mark.parametrize("missing", ["GetObject", "ListBucket"])
def test_each_right_that_is_missing_is_named_when_a_store_is_used(shell, store, missing):
    shell.environment.update(as_environment(session(allow(*[a for a in ALL if a != missing]))))
    said = shell.fails(1, "repo", "--store", store)
    assert f"s3:{missing}" in said


def test_no_keys_at_all_is_said_with_where_was_looked(shell, store):
    for name in "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY":
        shell.environment.pop(name)
    said = shell.fails(1, "repo", "--store", store)
    assert "AWS_ACCESS_KEY_ID" in said and str(shell.home / ".aws/credentials") in said
    shell.environment["AWS_ACCESS_KEY_ID"] = "half"
    assert "AWS_SECRET_ACCESS_KEY" in shell.fails(1, "repo", "--store", store)


def credentials_file(path, keys, mode=0o600):
    text = f"[default]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n"
    if len(keys) > 2:
        text += f"aws_session_token = {keys[2]}\n"
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(path)


def test_a_credentials_file_is_its_owners_alone_and_makes_sense(shell):
    for name in "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY":
        shell.environment.pop(name)
    path = shell.home / "keys"
    url = new_url(MINIO, credentials=path)
    assert str(path) in shell.fails(1, "init", url)
    credentials_file(path, KEYS, 0o644)
    said = shell.fails(1, "init", url)
    assert str(path) in said and ("0600" in said or "600" in said) and KEYS[1] not in said
    for nonsense in "what is this\n", "[default\n", f"[default]\n{KEYS[1]}\n", "\0\1\2":
        path.write_text(nonsense)
        path.chmod(0o600)
        said = shell.fails(1, "init", url)
        assert str(path) in said and KEYS[1] not in said
    credentials_file(path, KEYS)
    roundtrip(shell, url)


@can_mount
def test_keys_that_are_changed_while_mounted_are_taken_over(shell):
    for name in "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY":
        shell.environment.pop(name)
    path = shell.home / "keys"
    credentials_file(path, session(allow(*ALL)))
    url = new_url(MINIO, credentials=path)
    shell.ok("init", url)
    with mount_of(shell, url) as m:
        (m / "R").mkdir()
        # The server forgets them; who has none but these is told so.
        credentials_file(path, ("gone", "and-gone", "token"))
        (m / "R/main/f").write_text("x")
        with pytest.raises(OSError):
            (m / "R/commits/first").mkdir()
        assert (m / "R/main/f").read_text() == "x"
        credentials_file(path, session(allow(*ALL)))
        (m / "R/commits/second").mkdir()
        assert (m / "R/second/f").read_text() == "x"
        assert "and-gone" not in log_of(shell)


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime")
@pytest.mark.skipif(int(os.environ.get("PFS_PATIENCE", "1")) > 1, reason="sanitizers are loaded first")
@pytest.mark.parametrize("endpoint", [e for e in (MINIO, GATEWAY) if e])
@pytest.mark.parametrize("off", ["-1h", "+1h"])
def test_a_clock_an_hour_off_is_made_good(shell, endpoint, off):
    url = new_url(endpoint)
    said = subprocess.run(["faketime", "-f", off, PFS, "init", url], env=shell.environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert said.returncode == 0, said.stderr
    assert "format" in objects(url, endpoint)


# --- what is in the bucket


def test_a_bucket_that_is_not_there_is_said(shell, store):
    said = shell.fails(1, "repo", "--store", f"s3://no-such-bucket/x?endpoint={MINIO}")
    assert "no-such-bucket" in said and "no such bucket" in said


def test_a_place_without_a_store_is_said(shell, store):
    said = shell.fails(1, "repo", "--store", new_url(MINIO))
    assert "pfs init" in said


def test_a_place_with_other_things_in_it_is_left_alone(shell):
    url = new_url(MINIO)
    prefix = place(url)[1]
    client().put_object(Bucket=BUCKET, Key=prefix + "photos/1.jpg", Body=b"x")
    assert "other things" in shell.fails(1, "init", url)
    assert list(objects(url)) == ["photos/1.jpg"]


def test_stores_side_by_side_in_a_bucket_do_not_see_each_other(shell, store):
    shell.ok("repo", "create", "R", "--store", store)
    beside = store.replace("?", "-beside?")
    shell.ok("init", beside)
    assert shell.ok("repo", "--store", beside) == ""


def test_a_store_in_the_bucket_itself_needs_it_for_itself(shell):
    name = f"pfs-cli-{os.getpid()}-{time.time_ns()}"
    url = f"s3://{name}?endpoint={MINIO}"
    shell.ok("init", url)
    shell.ok("repo", "create", "R", "--store", url)
    assert "R" in shell.ok("repo", "--store", url)


def test_a_store_of_a_newer_version_is_refused(shell, store):
    bucket, prefix = place(store)
    data = bytearray(objects(store)["format"])
    data[4:6] = (99).to_bytes(2, "little")
    client().put_object(Bucket=bucket, Key=prefix + "format", Body=bytes(data))
    assert "newer version" in shell.fails(1, "repo", "--store", store)


def test_what_is_no_store_is_refused(shell, store):
    bucket, prefix = place(store)
    for data in b"", b"hello", b"x" * 10000:
        client().put_object(Bucket=bucket, Key=prefix + "format", Body=data)
        assert "not" in shell.fails(1, "repo", "--store", store)


# --- what is written wrong


@pytest.mark.parametrize("url, said", [
    ("s3://", "bucket"), ("s3://a", "bucket"), ("s3://UPPER/x", "bucket"),
    ("s3://key:secret@bucket/x", "credentials="), ("s3://bucket/a//b", "part"),
    ("s3://bucket/x?endpoint=minio:9000", "http"), ("s3://bucket/x?endpoint=", "no value"),
    ("s3://bucket/x?endpoint=ftp://h", "http"), ("s3://bucket/x?endpoint=http://h:0", "endpoint"),
    ("s3://bucket/x?colour=red", "colour"), ("s3://bucket/x?style=both", "style"),
    ("s3://bucket/x?region=a&region=b", "twice"), ("s3://bucket/x?ca=ca.crt", "full path"),
    ("s3://bucket/x?transport=curl", "libs3"), ("s4://bucket/x", "s3://"),
])
def test_a_malformed_url_is_said(shell, url, said):
    wrong = shell.fails(1, "init", url)
    assert said in wrong and "secret" not in wrong


def test_a_configuration_file_that_cannot_be_understood_is_said(shell):
    path = shell.home / "config/pfs/config"
    path.parent.mkdir(parents=True)
    for text in "[store x\n", "[store x]\nurl\n", "[store x]\ncolour = red\n":
        path.write_text(text)
        assert str(path) in shell.fails(1, "repo", "--store", "x")
