# SPDX-License-Identifier: GPL-3.0-or-later
"""pfs doctor: each thing that can be wrong is made so in turn."""

import contextlib
import email.utils
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
import uuid

import pytest

from conftest import PFS, can_mount

SERVER = os.environ.get("PFS_TEST_S3")
needs_server = pytest.mark.skipif(not SERVER, reason="needs an S3 server")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def doctor(shell, *words, **more):
    """The findings as {what: [(verdict, text)]}; the exit code is held against them."""
    result = shell.run("doctor", "--json", *words, **more)
    found = {}
    for f in result.json():
        found.setdefault(f["what"], []).append((f["verdict"], f["text"]))
    fails = [f for f in result.json() if f["verdict"] == "fail"]
    assert result.code == (1 if fails else 0), (result.code, result.out, result.err)
    return found


def failures(found):
    return {what: text for what, all in found.items() for verdict, text in all if verdict == "fail"}


def verdicts(found, what):
    return {verdict for verdict, _ in found[what]}


def configure(shell, **settings):
    (shell.home / "config/pfs").mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{k} = {v}\n" for k, v in settings.items())
    (shell.home / "config/pfs/config").write_text(f"[store lab]\n{lines}")


def test_a_good_store_has_nothing_wrong_and_nothing_new_in_it(shell, store):
    before = sorted(store.rglob("*"))
    found = doctor(shell, store)
    assert not failures(found) and "warn" not in {v for all in found.values() for v, _ in all}
    assert {"versions", "fuse", "store", "latency", "rights", "conditions", "space"} <= set(found)
    assert sorted(store.rglob("*")) == before
    lines = shell.ok("doctor", store).splitlines()
    assert all(line.split()[0] == "ok" for line in lines[:-1]) and lines[-1].startswith("0 that")


def test_read_only_writes_nothing(shell, store):
    os.chmod(store, 0o500)
    found = doctor(shell, "-r", store)
    assert not failures(found) and not any("writing" in text for _, text in found["rights"])


def test_what_is_no_store_is_said(shell):
    (shell.home / "empty").mkdir()
    assert "pfs init" in failures(doctor(shell, shell.home / "empty"))["store"]
    assert "store" in failures(doctor(shell, shell.home / "not-there"))


def test_a_damaged_and_a_newer_store_are_said(shell, store):
    good = (store / "format").read_bytes()
    os.chmod(store / "format", 0o600)
    (store / "format").write_bytes(good[:30] + b"\xff" + good[31:])
    assert "damaged" in failures(doctor(shell, store))["store"]
    (store / "format").write_bytes(good[:4] + b"\x02" + good[5:])
    assert "newer" in failures(doctor(shell, store))["store"]


def test_without_any_store_the_machine_is_looked_at(shell):
    shell.environment["PFS_STORE"] = "no-such-name"
    found = doctor(shell)
    assert "store" in failures(found) and "versions" in found


def in_namespace(shell, script, *words):
    words = ["unshare", "--mount", "bash", "-c", script + '\nexec "$@"', "bash", PFS, "doctor",
             "--json", *map(str, words)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=shell.environment, timeout=60)
    if not done.stdout:
        pytest.skip("needs mount namespaces: " + done.stderr)
    return {f["what"]: f for f in json.loads(done.stdout) if f["verdict"] == "fail"}


@needs_root
def test_a_machine_without_fuse_is_told_what_to_do(shell, store):
    found = in_namespace(shell, "mount -t tmpfs none /dev", store)
    assert "modprobe fuse" in found["fuse"]["text"]
    found = in_namespace(shell, "mount --bind /dev/null /dev/fuse", store)
    assert "mknod" in found["fuse"]["text"]


@can_mount
def test_a_mount_is_looked_at_with_its_state_and_heads(shell, mount, repo):
    (repo / "f").write_text("1")
    found = doctor(shell, mount.path)
    assert not failures(found) and "1 with uncommitted" in found["heads"][0][1]
    assert any(str(mount.state) in text for _, text in found["state"])
    assert any("has it" in text for _, text in found["state"])
    assert doctor(shell, repo)["mount"] == found["mount"]
    assert doctor(shell, cwd=repo)["mount"] == found["mount"]


@can_mount
def test_a_daemon_that_has_died_is_said(shell, mount):
    (pid,) = [int(t.split()[1]) for t in
              (text for _, text in doctor(shell, mount.path)["state"] if "has it" in text)]
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while "mount" not in failures(found := doctor(shell, mount.path)):
        assert time.monotonic() < end
    assert "ended" in failures(found)["mount"] and found["store"][0][0] == "ok"
    mount.stop()


@can_mount
def test_a_head_that_has_diverged_is_said(shell, mount, repo):
    (repo / "f").write_text("1")
    shell.ok("commit", repo)
    (repo / "f").write_text("mine")
    (shell.home / "theirs").mkdir()
    (shell.home / "theirs/f").write_text("theirs")
    shell.ok("import", "-q", shell.home / "theirs", "R/main", "--store", mount.store)
    assert shell.run("commit", repo).code == 3
    end = time.monotonic() + 20
    while verdicts(found := doctor(shell, mount.path), "heads") != {"ok", "warn"}:
        assert time.monotonic() < end
    assert any("R/main has diverged" in text for _, text in found["heads"])


@can_mount
def test_state_in_memory_or_full_or_on_a_wrong_filesystem_is_said(shell, mount, repo, store):
    small = shell.home / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=True)
    try:
        configure(shell, url=store, mount=shell.home / "at", options=f"state={small}")
        found = doctor(shell, "lab")
        assert "8.0 MiB left" in failures(found)["state"]
        assert any(v == "warn" and "in memory" in text for v, text in found["state"])
    finally:
        subprocess.run(["umount", small], check=True)
    configure(shell, url=store, mount=shell.home / "at", options=f"state={repo}")
    assert "network filesystem" in failures(doctor(shell, "lab"))["state"]
    configure(shell, url=store, mount=shell.home / "at", options="colour=blue")
    assert "colour" in failures(doctor(shell, "lab"))["options"]


@needs_root
def test_a_state_directory_of_somebody_else_is_said(shell, store):
    for path in (store, *store.parents):
        if str(path).startswith("/tmp/"):
            os.chmod(path, 0o755)
    closed = shell.home / "closed"
    closed.mkdir(mode=0o755)
    for path in (shell.home / "config", shell.home / "config/pfs"):
        path.mkdir(exist_ok=True)
        os.chmod(path, 0o755)
    configure(shell, url=store, mount=shell.home / "at", options=f"state={closed}")
    found = doctor(shell, "lab", user=65534, cwd="/")
    assert ("warn", True) in [(v, "cannot be written" in text) for v, text in found["state"]]
    assert any(v in ("warn", "fail") for v, _ in found["store"])


class Answering(http.server.BaseHTTPRequestHandler):
    """Not S3, but a server."""

    skew = 0

    def do_GET(self):
        self.send_response_only(200)
        self.send_header("Date", email.utils.formatdate(time.time() + self.skew, usegmt=True))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    do_PUT = do_GET

    def do_HEAD(self):
        self.send_response_only(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(skew=0, tls=None):
    kind = type("Kind", (Answering,), {"skew": skew})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def keys(shell):
    shell.environment.update(AWS_ACCESS_KEY_ID=os.environ.get("AWS_ACCESS_KEY_ID", "nobody"),
                             AWS_SECRET_ACCESS_KEY=os.environ.get("AWS_SECRET_ACCESS_KEY", "x"))


@pytest.fixture
def bucket(shell, keys):
    url = f"s3://pfs-cli/{uuid.uuid4().hex}?endpoint={SERVER}"
    shell.ok("init", url)
    return url


def test_a_malformed_url_is_said(shell, keys):
    assert "colour" in failures(doctor(shell, "s3://bucket/x?colour=blue"))["url"]


def test_a_server_that_is_not_there_is_said(shell, keys):
    found = doctor(shell, "s3://bucket/x?endpoint=http://127.0.0.1:1")
    assert "is it running" in failures(found)["server"] and "store" not in found
    found = doctor(shell, "s3://bucket/x?endpoint=http://no-such-host.invalid")
    assert "no-such-host.invalid leads to no address" in failures(found)["server"]


def test_a_server_of_another_kind_is_said(shell, keys):
    with serving() as at:
        found = doctor(shell, f"s3://bucket/x?endpoint={at}")
    assert found["server"][-1][0] == "ok" and "no such bucket" in failures(found)["store"]


@pytest.mark.parametrize("skew, verdict", [(0, "ok"), (-300, "warn"), (300, "warn"),
                                           (3600, "fail"), (-7200, "fail")])
def test_a_clock_that_is_wrong_is_said(shell, keys, skew, verdict):
    with serving(skew) as at:
        ((found, text),) = doctor(shell, f"s3://bucket/x?endpoint={at}")["clock"]
    assert found == verdict and (skew == 0 or ("behind" if skew > 0 else "ahead") in text)


def test_a_certificate_that_is_not_trusted_is_said(shell, keys):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    cert, key = shell.home / "cert.pem", shell.home / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", key, "-out", cert], check=True, stderr=subprocess.DEVNULL)
    with serving(tls=(cert, key)) as at:
        found = doctor(shell, f"s3://bucket/x?endpoint={at}")
        assert "ca=FILE" in failures(found)["server"]
        found = doctor(shell, f"s3://bucket/x?endpoint={at}&ca={cert}")
        assert any("good certificate" in text for v, text in found["server"])


def test_keys_that_are_missing_or_open_to_others_are_said(shell):
    url = "s3://bucket/x?endpoint=http://127.0.0.1:1"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        shell.environment.pop(name, None)
    assert "0600" in failures(doctor(shell, url))["keys"]
    file = shell.home / "keys"
    file.write_text("[default]\naws_access_key_id = k\naws_secret_access_key = very-secret\n")
    os.chmod(file, 0o644)
    found = doctor(shell, f"{url}&credentials={file}")
    assert str(file) in failures(found)["keys"]
    os.chmod(file, 0o600)
    found = doctor(shell, f"{url}&credentials={file}")
    assert found["keys"] == [("ok", f"from {file}")]
    (shell.home / ".aws").mkdir()
    shutil.copy(file, shell.home / ".aws/credentials")
    found = doctor(shell, url)
    assert found["keys"] == [("ok", f"from {shell.home}/.aws/credentials")]
    assert "very-secret" not in str(found)
    shell.environment.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    assert doctor(shell, url)["keys"] == [("ok", "from the environment")]


@needs_server
def test_a_good_bucket_has_nothing_wrong(shell, bucket):
    found = doctor(shell, bucket)
    assert not failures(found)
    assert {"keys", "server", "clock", "store", "latency", "rights", "conditions"} <= set(found)
    assert [v for v, _ in found["rights"]] == ["ok"] * 4


@needs_server
def test_a_wrong_bucket_and_one_without_a_store_are_said(shell, bucket):
    found = doctor(shell, f"s3://no-such-bucket/x?endpoint={SERVER}")
    assert "no such bucket" in failures(found)["store"]
    found = doctor(shell, f"s3://pfs-cli/{uuid.uuid4().hex}?endpoint={SERVER}")
    assert "pfs init" in failures(found)["store"]


@needs_server
def test_wrong_keys_are_said(shell, bucket):
    shell.environment["AWS_SECRET_ACCESS_KEY"] = "another-one-entirely"
    found = doctor(shell, bucket)
    assert "403" in failures(found)["store"] and "another-one" not in str(found)


class Link:
    """A way to the server that can be cut."""

    def __init__(self, to):
        self.to = to
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self.listening.accept()
                there = socket.create_connection(self.to)
                self.open += here, there
                for a, b in (here, there), (there, here):
                    threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def cut(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for s in self.open:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


@needs_server
@can_mount
def test_a_mount_whose_server_has_gone_is_fine_but_for_that(shell, keys):
    server = urllib.parse.urlsplit(SERVER)
    link = Link((server.hostname, server.port))
    url = f"s3://pfs-cli/{uuid.uuid4().hex}?endpoint={link.url}"
    at = shell.home / "at"
    at.mkdir()
    shell.ok("init", url)
    shell.ok("mount", "-o", f"state={shell.home}/state-of-it", url, at)
    try:
        (at / "R").mkdir()
        found = doctor(shell, at)
        assert not failures(found) and found["heads"][0][0] == "ok"
        link.cut()
        result = shell.run("doctor", at)
        assert result.code == 1 and result.err == "" and "is it running" in result.out
        found = doctor(shell, at)
        assert found["mount"][0][0] == "ok" and set(failures(found)) == {"server"}
    finally:
        shell.ok("umount", at)


READ, WRITE, REMOVE, LIST = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"
ALL = {READ, WRITE, REMOVE, LIST, "s3:AbortMultipartUpload"}


@needs_server
@pytest.mark.parametrize("missing, what, verdict, says", [
    (None, "rights", None, None),
    (READ, "store", "fail", READ),
    (WRITE, "rights", "fail", WRITE),
    (REMOVE, "rights", "warn", REMOVE),
    (LIST, "store", "fail", LIST),
])
def test_each_right_that_is_missing_is_named(shell, bucket, missing, what, verdict, says):
    sts = pytest.importorskip("boto3").client(
        "sts", endpoint_url=SERVER, region_name="us-east-1",
        aws_access_key_id=shell.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=shell.environment["AWS_SECRET_ACCESS_KEY"])
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": sorted(ALL - {missing}),
         "Resource": ["arn:aws:s3:::pfs-cli", "arn:aws:s3:::pfs-cli/*"]}]}
    try:
        got = sts.assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="pfs",
                              Policy=json.dumps(policy))["Credentials"]
    except Exception as e:  # another server's ways
        pytest.skip(f"the server gives no keys with fewer rights: {e}")
    shell.environment.update(AWS_ACCESS_KEY_ID=got["AccessKeyId"],
                             AWS_SECRET_ACCESS_KEY=got["SecretAccessKey"],
                             AWS_SESSION_TOKEN=got["SessionToken"])
    found = doctor(shell, bucket)
    if not missing:
        assert not failures(found) and verdicts(found, "rights") == {"ok"}
    else:
        assert any(v == verdict and says in text for v, text in found[what]), found


def test_wrong_arguments_are_said(shell):
    shell.fails(2, "doctor", "a", "b")
    shell.fails(2, "doctor", "--colour")
